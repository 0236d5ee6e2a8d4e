//! Which second factors are needed, and when mailed codes count.

use std::time::Duration;

use super::check::Checker;
use super::{Config, DAY};

/// Rules about [second factors](crate::second_factor).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FactorConfig {
    /// If true, the first second factor of an account with a proved mail address needs a recent
    /// [mailed code](crate::sent_code) or sign-in by mail. Otherwise a thief of the password could set
    /// one up and lock out the owner. It has no effect without a notifier. Default: true.
    pub prove_mailbox: bool,
    /// For how long a mailed code is no second factor after a password was replaced through the same
    /// mailbox. Zero switches this off. At most 30 days. Default: 24 h.
    pub mailed_code_after_reset: Duration,
}

impl Default for FactorConfig {
    fn default() -> Self {
        Self { prove_mailbox: true, mailed_code_after_reset: DAY }
    }
}

impl Config {
    pub(super) fn check_factor(&self, check: &mut Checker) {
        check.refuse_if(
            self.factor.mailed_code_after_reset > 30 * DAY,
            "factor.mailed_code_after_reset",
            "must be at most 30 days",
        );
    }
}
