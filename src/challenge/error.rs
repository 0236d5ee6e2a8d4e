//! Errors of challenges.

use std::time::Duration;

use crate::base::problem::problem;
use crate::base::transaction::{Fault, may_fault};
use crate::session::SessionError;

/// Why a challenge was not started or not answered, or does not give access to a route.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeError {
    /// The answer is wrong, or the challenge is not open to this session any more. The error does
    /// not say which.
    #[error("the code is wrong or has expired; request a new one")]
    WrongCode,
    /// The attempts for this purpose are used up. The correct code is refused too, and so is a new
    /// code.
    #[error("too many wrong codes; try again later")]
    TooManyAttempts {
        /// The time until attempts are possible again.
        retry_after: Duration,
    },
    /// The same challenge was started a short time ago and is still valid.
    #[error("a code was just sent; wait before you request another one")]
    TooSoon {
        /// The longest time until another one may be started.
        retry_after: Duration,
    },
    /// There is no address to send a code to, or nothing to send it with.
    #[error("no code can be sent: the account has no mail address, or the service sends no mail")]
    NoAddress,
    /// A step-up has replaced the session. The client must use the new session.
    #[error(transparent)]
    Session(SessionError),
    /// A route requires an answered challenge, and this session has none for its purpose.
    #[error("answer a challenge for `{0}` first")]
    Required(String),
    /// The target is longer than 255 bytes, or contains a NUL byte.
    #[error("the target must have at most 255 bytes and no NUL")]
    InvalidTarget,
    /// The application used a setting that a challenge cannot have: an empty answer, or a lifetime
    /// or cool-down outside of its limits.
    #[error("{0}")]
    Misconfigured(&'static str),
    /// The application used a text that is not a valid purpose.
    #[error("`{0}` cannot be a purpose: 1 to 48 lower-case letters, digits, dashes, underscores")]
    InvalidPurpose(String),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(ChallengeError);

problem! {
    ChallengeError {
        Self::WrongCode => FORBIDDEN, "wrong_code";
        Self::TooManyAttempts { .. } => TOO_MANY_REQUESTS, "too_many_attempts";
        Self::TooSoon { .. } => TOO_MANY_REQUESTS, "too_soon";
        Self::NoAddress => UNPROCESSABLE_ENTITY, "no_address";
        Self::Required(_) => FORBIDDEN, "challenge_required";
        Self::InvalidTarget => UNPROCESSABLE_ENTITY, "invalid_target";
        Self::Misconfigured(_) | Self::InvalidPurpose(_) => INTERNAL_SERVER_ERROR, "misconfigured";
    }
    passes on { Session, Fault }
    retry_after {
        Self::TooManyAttempts { retry_after } | Self::TooSoon { retry_after } => *retry_after,
    }
    members {
        // The challenge that the client has to start.
        Self::Required(purpose) => [("purpose".to_owned(), purpose.as_str().into())].into_iter().collect(),
    }
}
