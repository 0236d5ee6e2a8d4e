//! What can go wrong with a challenge.

use std::time::Duration;

use crate::base::problem::problem;
use crate::base::transaction::{Fault, may_fault};
use crate::session::SessionError;

/// Why a challenge was not started, not answered, or does not open a route.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeError {
    /// The answer is wrong, or the challenge is not open to this session any more: which, is not
    /// said.
    #[error("the code is wrong, or not good any more; ask for a new one")]
    WrongCode,
    /// The tries of this purpose are used up. The right code is refused too, and so is a new one.
    #[error("there were too many wrong codes; wait")]
    TooManyTries {
        /// When they are counted anew.
        retry_after: Duration,
    },
    /// The same challenge was started a moment ago and is still good.
    #[error("a code was sent a moment ago; wait before asking for another")]
    TooSoon {
        /// When another may be started at the latest.
        retry_after: Duration,
    },
    /// There is no address to send a code to, or nothing to send it with.
    #[error("there is no address that a code could be sent to")]
    NoAddress,
    /// The session is over: a step-up has put another one in its place, which is the one to ask with.
    #[error(transparent)]
    Session(SessionError),
    /// A route asks for an answered challenge, and this session has none of its purpose.
    #[error("this needs an answered challenge: {0}")]
    Required(String),
    /// The target is longer than 255 bytes, or has a NUL in it.
    #[error("what this is about cannot be longer than 255 bytes")]
    InvalidTarget,
    /// The application set something that a challenge cannot have: an empty answer, a lifetime or a
    /// cool-down outside of its limits.
    #[error("{0}")]
    Misconfigured(&'static str),
    /// The application named a purpose that cannot be one.
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
        Self::TooManyTries { .. } => TOO_MANY_REQUESTS, "too_many_tries";
        Self::TooSoon { .. } => TOO_MANY_REQUESTS, "too_soon";
        Self::NoAddress => UNPROCESSABLE_ENTITY, "no_address";
        Self::Required(_) => FORBIDDEN, "challenge_required";
        Self::InvalidTarget => UNPROCESSABLE_ENTITY, "invalid_target";
        Self::Misconfigured(_) | Self::InvalidPurpose(_) => INTERNAL_SERVER_ERROR, "misconfigured";
    }
    passes on { Session, Fault }
    retry_after {
        Self::TooManyTries { retry_after } | Self::TooSoon { retry_after } => *retry_after,
    }
    members {
        // Which challenge to start, for a client that wants to.
        Self::Required(purpose) => [("purpose".to_owned(), purpose.as_str().into())].into_iter().collect(),
    }
}
