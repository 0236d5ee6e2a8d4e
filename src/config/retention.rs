//! How long rows are kept. [`maintenance`](crate::maintenance) removes them afterwards.

use std::time::Duration;

use super::{DAY, HOUR};

/// How long rows are kept once they are of no use, or old. See [`maintenance`](crate::maintenance).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetentionConfig {
    /// Sessions after their end, and the data kept with them; an hour at least. Until then an old token
    /// is told why it is refused. Default: 7 d.
    pub sessions: Duration,
    /// Codes and links after they stopped being good. Default: 1 h.
    pub challenges: Duration,
    /// Records of tries, at least as long as any rule reads them: a window, and its lockout or its
    /// longest delay. Default: 24 h.
    pub attempts: Duration,
    /// Events. `None` keeps them for ever. Default: 180 d.
    pub events: Option<Duration>,
    /// Denials, counted per account, rule and minute. Default: 30 d.
    pub denials: Duration,
    /// Accounts that a stranger made while
    /// [`login.require_verified`](super::LoginConfig::require_verified) was on, and that nobody ever
    /// proved or used. `None` keeps them. Default: 7 d.
    pub unverified_accounts: Option<Duration>,
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
        }
    }
}
