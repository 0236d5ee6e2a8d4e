//! What can go wrong with an account's names.

use std::time::Duration;

use http::StatusCode;

use crate::account::InvalidField;
use crate::base::problem::{Problem, Refusal};
use crate::base::transaction::{Fault, MaybeFault};
use crate::rate_limit::RateLimited;
use crate::session::SessionError;

/// Why a name was not added or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginNameError {
    /// The last factor was shown too long ago.
    #[error("prove the password again first")]
    FactorTooOld {
        /// How recent it must be.
        max_age: Duration,
    },
    /// The account has no address of its own, or it was never proved.
    #[error("the account's own address has to be proved first")]
    AddressNotProved,
    /// The name cannot be used.
    #[error("some fields cannot be used")]
    Invalid(Vec<InvalidField>),
    /// The username belongs to an account already.
    #[error("this username is taken")]
    UsernameTaken,
    /// The account has as many names as it may have.
    #[error("the account has as many names as it may have; remove one first")]
    TooManyNames,
    /// The account has no such name; another account's looks the same.
    #[error("the account has no such name")]
    NotFound,
    /// It is the account's own address or number, which is changed and not removed here.
    #[error("it is the account's own address or number; change that one instead")]
    OwnAddress,
    /// The account would have no name left to sign in with.
    #[error("it is the account's last name")]
    LastName,
    /// The code or link is wrong or not good any more, or somebody else has got the address
    /// meanwhile: which, is not said.
    #[error("the code or link is wrong, or not good any more")]
    WrongCode,
    /// This browser used the code or link less than a minute ago, and it worked.
    #[error("this code or link has worked already; there is nothing left to do")]
    UsedJustNow,
    /// The tries are used up. The right code is refused too, and so is a new one.
    #[error("there were too many wrong codes; wait")]
    TooManyTries {
        /// When they are counted anew.
        retry_after: Duration,
    },
    /// An address was asked for a moment ago.
    #[error("a code was sent a moment ago; wait before asking for another")]
    TooSoon {
        /// When another may be asked for at the latest.
        retry_after: Duration,
    },
    /// The session is over.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application's refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl LoginNameError {
    pub(super) fn too_soon(limited: &RateLimited) -> Self {
        Self::TooSoon { retry_after: limited.retry_after }
    }

    pub(super) fn invalid(field: InvalidField) -> Self {
        Self::Invalid(vec![field])
    }
}

impl From<SessionError> for LoginNameError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Fault(fault) => Self::Fault(fault),
            SessionError::Refused(refusal) => Self::Refused(refusal),
            other => Self::Session(other),
        }
    }
}

impl From<sea_orm::DbErr> for LoginNameError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Fault(error.into())
    }
}

impl MaybeFault for LoginNameError {
    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}

impl Problem for LoginNameError {
    fn status(&self) -> StatusCode {
        match self {
            Self::FactorTooOld { .. } => StatusCode::UNAUTHORIZED,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::AddressNotProved | Self::WrongCode => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::UsedJustNow
            | Self::UsernameTaken
            | Self::TooManyNames
            | Self::OwnAddress
            | Self::LastName => StatusCode::CONFLICT,
            Self::TooManyTries { .. } | Self::TooSoon { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Session(error) => error.status(),
            Self::Refused(refusal) => refusal.problem().status(),
            Self::Fault(fault) => fault.status(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::FactorTooOld { .. } => "insufficient_user_authentication",
            Self::AddressNotProved => "address_not_proved",
            Self::Invalid(_) => "invalid_fields",
            Self::UsernameTaken => "username_taken",
            Self::TooManyNames => "too_many_names",
            Self::NotFound => "name_not_found",
            Self::OwnAddress => "own_address",
            Self::LastName => "last_name",
            Self::WrongCode => "wrong_code",
            Self::UsedJustNow => "link_used",
            Self::TooManyTries { .. } => "too_many_tries",
            Self::TooSoon { .. } => "too_soon",
            Self::Session(error) => error.code(),
            Self::Refused(refusal) => refusal.problem().code(),
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

    fn challenge(&self) -> Option<String> {
        match self {
            // RFC 9470
            Self::FactorTooOld { max_age } => Some(format!(
                "Bearer error=\"insufficient_user_authentication\", max_age=\"{}\"",
                max_age.as_secs()
            )),
            Self::Session(error) => error.challenge(),
            _ => None,
        }
    }

    fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        match self {
            Self::Invalid(fields) => InvalidField::members(fields),
            _ => serde_json::Map::new(),
        }
    }
}
