//! What can go wrong with a challenge.

use std::time::Duration;

use http::StatusCode;

use crate::base::problem::Problem;
use crate::base::transaction::{Fault, MaybeFault};
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
    /// The application named a purpose that cannot be one.
    #[error("`{0}` cannot be a purpose: 1 to 48 lower-case letters, digits, dashes, underscores")]
    InvalidPurpose(String),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<sea_orm::DbErr> for ChallengeError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Fault(error.into())
    }
}

impl MaybeFault for ChallengeError {
    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}

impl Problem for ChallengeError {
    fn status(&self) -> StatusCode {
        match self {
            Self::WrongCode | Self::Required(_) => StatusCode::FORBIDDEN,
            Self::TooManyTries { .. } | Self::TooSoon { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NoAddress => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Session(error) => error.status(),
            Self::InvalidPurpose(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Fault(fault) => fault.status(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::WrongCode => "wrong_code",
            Self::TooManyTries { .. } => "too_many_tries",
            Self::TooSoon { .. } => "too_soon",
            Self::NoAddress => "no_address",
            Self::Session(error) => error.code(),
            Self::Required(_) => "challenge_required",
            Self::InvalidPurpose(_) => "misconfigured",
            Self::Fault(fault) => fault.code(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyTries { retry_after } | Self::TooSoon { retry_after } => {
                Some(*retry_after)
            }
            Self::Fault(fault) => fault.retry_after(),
            _ => None,
        }
    }

    /// Which challenge to start, for a client that wants to.
    fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut members = serde_json::Map::new();
        if let Self::Required(purpose) = self {
            members.insert("purpose".to_owned(), purpose.as_str().into());
        }
        members
    }
}
