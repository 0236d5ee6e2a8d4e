//! Which second factors are needed, and when mailed codes count.

use std::time::Duration;

use super::check::Checker;
use super::{Config, DAY};
use crate::base::factor::Factor;

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
    /// The weakest second factor that is enough for an account with a role that
    /// [requires one](crate::permission::Roles::require_factor). The order is
    /// [`Factor::at_least`]. A factor that your application checks is always enough. Default:
    /// [`Factor::Totp`].
    pub least: Factor,
    /// For how long an account may be used without the factor that a role requires, from the first
    /// request or sign-in that lacks it. The time begins anew only after the account had such a factor.
    /// Zero means not at all. At most 90 days. Default: zero.
    pub grace: Duration,
    /// If true, superusers need a second factor too, whatever their roles are. Default: false.
    pub superusers: bool,
}

impl Default for FactorConfig {
    fn default() -> Self {
        Self {
            prove_mailbox: true,
            mailed_code_after_reset: DAY,
            least: Factor::Totp,
            grace: Duration::ZERO,
            superusers: false,
        }
    }
}

impl Config {
    pub(super) fn check_factor(&self, check: &mut Checker) {
        check.refuse_if(
            self.factor.mailed_code_after_reset > 30 * DAY,
            "factor.mailed_code_after_reset",
            "must be at most 30 days",
        );
        check.refuse_if(
            Factor::at_least(self.factor.least).next().is_none(),
            "factor.least",
            "must be a mailed code, a texted code, an authenticator or a passkey",
        );
        check.refuse_if(self.factor.grace > 90 * DAY, "factor.grace", "must be at most 90 days");
    }
}
