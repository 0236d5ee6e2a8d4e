//! Errors of the sign-in by mail.

use std::time::Duration;

use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;
use crate::rate_limit::RateLimited;
use crate::session::{SessionError, from_session};

/// The reason why a sign-in by mail failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailLoginError {
    /// The code or link is wrong, used, expired or replaced. Or the account has changed since, or
    /// this browser did not ask for a mail. The answer does not say which.
    #[error("the code or link is wrong or no longer valid; ask for a new mail in this browser")]
    WrongCode,
    /// This browser has signed in with this code or link less than a minute ago.
    #[error("this browser has just signed in with this code or link")]
    UsedJustNow,
    /// Too many codes were wrong, or too many attempts of this source failed. For requests and
    /// links, this error needs `attempts.reveal_lockout`. Otherwise the request is accepted without
    /// effect, and the link counts as wrong.
    #[error("too many failed attempts; try again later")]
    TooManyAttempts {
        /// The time to wait before the next attempt.
        retry_after: Duration,
    },
    /// This source sent too many requests. See [`rate_limit`](crate::rate_limit).
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The session could not be started.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application refused. The code and the link are still valid.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed. The code and the link are still valid.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(MailLoginError);
from_session!(MailLoginError);
from_hooked!(MailLoginError);

problem! {
    MailLoginError {
        Self::WrongCode => FORBIDDEN, "wrong_code";
        Self::UsedJustNow => CONFLICT, "link_used";
        Self::TooManyAttempts { .. } => TOO_MANY_REQUESTS, "too_many_attempts";
    }
    passes on { RateLimited, Session, Refused, Fault }
    retry_after {
        Self::TooManyAttempts { retry_after } => *retry_after,
    }
}
