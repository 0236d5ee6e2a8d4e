//! Errors of second factors.

use std::time::Duration;

use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;
use crate::session::{SessionError, from_session};

/// The reason why a code was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecondFactorError {
    /// The code is wrong, was used before, or the account does not have this factor. Or there were too
    /// many attempts. The answer does not say which.
    #[error("the code is wrong or was already used")]
    WrongCode,
    /// Too many wrong codes were typed for the code that was sent.
    #[error("too many wrong codes were typed; request a new code")]
    CodeEnded,
    /// The sign-in began with this factor.
    #[error("this factor was the first step of the sign-in; the second one needs another factor")]
    FactorUsedAlready,
    /// The password was replaced through the same mailbox a short time ago.
    #[error(
        "the password was set by mail a short time ago, so a mailed code is not enough; use another \
         second factor or a recovery code, or ask an administrator"
    )]
    AfterReset,
    /// Too many attempts failed. This is told only with `attempts.reveal_lockout`. Otherwise the
    /// answer is that of a wrong code.
    #[error("too many failed attempts; try again later")]
    TooManyAttempts {
        /// The time to wait before the next attempt.
        retry_after: Duration,
    },
    /// The sign-in or the session has ended, or was already continued. Or the account can no longer be
    /// used, or was changed.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application refused. The code is still valid.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed. The code is still valid.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(SecondFactorError);
from_session!(SecondFactorError);
from_hooked!(SecondFactorError);

problem! {
    SecondFactorError {
        Self::WrongCode => FORBIDDEN, "wrong_code";
        Self::CodeEnded => FORBIDDEN, "code_ended";
        Self::FactorUsedAlready => CONFLICT, "factor_used_already";
        Self::AfterReset => FORBIDDEN, "mailed_code_after_reset";
        Self::TooManyAttempts { .. } => TOO_MANY_REQUESTS, "too_many_attempts";
    }
    passes on { Session, Refused, Fault }
    retry_after {
        Self::TooManyAttempts { retry_after } => *retry_after,
    }
}
