//! How long rows are kept. [`maintenance`](crate::maintenance) deletes them afterwards.

use std::time::Duration;

use super::{DAY, HOUR};

/// How long rows are kept after they stopped counting. See [`maintenance`](crate::maintenance).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetentionConfig {
    /// Sessions after their end, and their data. At least one hour. Until they are deleted, an old
    /// token gets the reason for its refusal. Default: 7 d.
    pub sessions: Duration,
    /// Codes, links and captchas after they expired. At least one minute. Default: 1 h.
    pub challenges: Duration,
    /// Records of attempts. At least as long as any rule reads them: a window plus its lockout or
    /// its longest delay. Default: 24 h.
    pub attempts: Duration,
    /// Events. `None` keeps them forever. Default: 180 d.
    pub events: Option<Duration>,
    /// Denials, counted per account, rule and minute. Default: 30 d.
    pub denials: Duration,
    /// Accounts that strangers created while
    /// [`login.require_verified`](super::LoginConfig::require_verified) was on, and that nobody
    /// ever verified or used. `None` keeps them. Default: 7 d.
    pub unverified_accounts: Option<Duration>,
    /// Closed accounts. During this time they can be reopened. Then they are erased. Between one
    /// day and 90 days. Default: 14 d.
    pub closed_accounts: Duration,
    /// Recoveries by administrators, after their time and that of a last link. At least one day and at
    /// most 400 days. Default: 180 d.
    pub account_recoveries: Duration,
    /// API keys after they ended. At least one hour. Until they are deleted, an old key gets the reason for
    /// its refusal. Default: 30 d.
    pub api_keys: Duration,
    /// The sources and details of the events of an erased account. Afterwards, the events only have
    /// their kind and time. At most 400 days, counted from the erasure. Default: 30 d.
    pub erased_sources: Duration,
    /// Requests of [devices](crate::device_login) after their time is over, so that a decision can be read.
    /// At least one hour and at most 30 days. Default: 24 h.
    pub device_requests: Duration,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            sessions: 7 * DAY,
            challenges: HOUR,
            attempts: DAY,
            events: Some(180 * DAY),
            denials: 30 * DAY,
            unverified_accounts: Some(7 * DAY),
            closed_accounts: 14 * DAY,
            account_recoveries: 180 * DAY,
            api_keys: 30 * DAY,
            erased_sources: 30 * DAY,
            device_requests: DAY,
        }
    }
}
