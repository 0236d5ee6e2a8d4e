//! How an administrator recovers the account of a person who has lost everything.

use std::time::Duration;

use super::check::Checker;
use super::{Config, DAY, HOUR, MINUTE};

/// The rules of a [recovery by an administrator](crate::account_recovery).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AccountRecoveryConfig {
    /// How long the owner can object before anything happens. Between one hour and 30 days. Default:
    /// 72 h.
    pub delay: Duration,
    /// For how long after the delay an administrator may send the link. Between one hour and 90 days.
    /// Default: 14 d.
    pub open_for: Duration,
    /// How long the link is valid with which the person sets a new password. Between ten minutes and
    /// seven days. Default: 24 h.
    pub link_lifetime: Duration,
    /// Whether a recovery with a new mail address needs a second administrator: the one who opened it
    /// cannot complete it. A [program](crate::account_recovery::RecoveryActor::Program) can. Default: true.
    pub second_administrator: bool,
}

impl Default for AccountRecoveryConfig {
    fn default() -> Self {
        Self { delay: 3 * DAY, open_for: 14 * DAY, link_lifetime: DAY, second_administrator: true }
    }
}

impl AccountRecoveryConfig {
    /// How long an objection can count.
    pub(crate) fn whole(&self) -> Duration {
        self.delay + self.open_for + self.link_lifetime
    }
}

impl Config {
    pub(super) fn check_account_recovery(&self, check: &mut Checker) {
        let recovery = &self.account_recovery;
        check.refuse_if(
            recovery.delay < HOUR || recovery.delay > 30 * DAY,
            "account_recovery.delay",
            "must be between one hour, so that the owner can object, and 30 days",
        );
        check.refuse_if(
            recovery.open_for < HOUR || recovery.open_for > 90 * DAY,
            "account_recovery.open_for",
            "must be between one hour and 90 days",
        );
        check.refuse_if(
            recovery.link_lifetime < 10 * MINUTE || recovery.link_lifetime > 7 * DAY,
            "account_recovery.link_lifetime",
            "must be between ten minutes and seven days",
        );
    }
}
