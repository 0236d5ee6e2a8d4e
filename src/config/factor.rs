//! Which second factors are needed, when mailed codes count, and the limits of a factor of your own.

use std::time::Duration;

use super::check::Checker;
use super::{Config, DAY, HOUR, MINUTE};
use crate::base::factor::Factor;
use crate::base::rate::Quota;

/// Rules about [second factors](crate::second_factor).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FactorConfig {
    /// If true, the first second factor of an account with a verified mail address needs a recent
    /// [mailed code](crate::sent_code) or sign-in by mail. Otherwise a thief of the password could set
    /// one up and lock out the owner. It has no effect without a notifier. Default: true.
    pub prove_mailbox: bool,
    /// For how long a mailed code is no second factor after a password was replaced through the same
    /// mailbox. Zero switches this off. At most 30 days. Default: 24 h.
    pub mailed_code_after_reset: Duration,
    /// The weakest second factor that is enough for an account with a role that
    /// [requires one](crate::permission::Roles::require_factor), and for a change of the second factors of an
    /// account that has one that is as strong. The order is
    /// [`Factor::at_least`]. A factor that your application checks is always enough. Default:
    /// [`Factor::Totp`].
    pub least: Factor,
    /// For how long an account may be used without the factor that a role requires, from the first
    /// request or sign-in that lacks it. The time begins anew only after the account had such a factor.
    /// Zero means not at all. At most 90 days. Default: zero.
    pub grace: Duration,
    /// If true, superusers need a second factor too, whatever their roles are. Default: false.
    pub superusers: bool,
    /// For how long the link in the notice of a new second factor can remove it. `None` sends no link. With
    /// it, a person who can read the mailbox can remove the factor too. So there is none in an account one of
    /// whose roles requires a factor, unless [`prove_mailbox`](Self::prove_mailbox) is off. 1 d to 30 d.
    /// Default: 3 d.
    pub undo_lifetime: Option<Duration>,
    /// How many challenges of a [factor of your own](crate::port::ExternalFactor) may be started for one
    /// account. Its known devices have a count of their own. With many of them, a person who has seen a
    /// part of a printed card could wait for a question that they can answer. Default: 10 an hour.
    pub challenges: Quota,
    /// The time limit of a [factor of your own](crate::port::ExternalFactor). After it, the request is
    /// answered 503. Default: 5 s.
    pub external_timeout: Duration,
}

impl Default for FactorConfig {
    fn default() -> Self {
        Self {
            prove_mailbox: true,
            mailed_code_after_reset: DAY,
            least: Factor::Totp,
            grace: Duration::ZERO,
            superusers: false,
            undo_lifetime: Some(3 * DAY),
            challenges: Quota::new(10, HOUR),
            external_timeout: Duration::from_secs(5),
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
        check.refuse_if(
            self.factor.undo_lifetime.is_some_and(|time| !(DAY..=30 * DAY).contains(&time)),
            "factor.undo_lifetime",
            "must be between a day and 30 days",
        );
        let quota = self.factor.challenges;
        check.refuse_if(
            quota.count == 0 || quota.period.is_zero() || quota.period > DAY,
            "factor.challenges",
            "needs a count of at least 1 and a period of at most a day",
        );
        let timeout = self.factor.external_timeout;
        check.refuse_if(
            timeout.is_zero() || timeout > MINUTE,
            "factor.external_timeout",
            "must be longer than zero and at most a minute",
        );
    }
}
