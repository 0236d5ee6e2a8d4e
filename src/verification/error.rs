//! What can go wrong when an address is proved.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::account::InvalidField;
use crate::base::problem::{Problem, Refusal};
use crate::base::transaction::{Fault, MaybeFault};
use crate::rate_limit::RateLimited;
use crate::session::SessionError;

/// Why an address was not proved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerificationError {
    /// The code or link is wrong, expired, superseded, or made for something else; or its account
    /// cannot be used.
    #[error("the code or link is wrong, or not good any more; ask for a new one")]
    WrongCode,
    /// Too many wrong codes.
    #[error("there were too many wrong codes; use the link, or wait")]
    TooManyTries {
        /// When they are counted anew at the latest.
        retry_after: Duration,
    },
    /// The address was proved before.
    #[error("this address is verified already")]
    AlreadyVerified,
    /// The password that came along is wrong. Nothing was spent.
    #[error("the password is wrong")]
    WrongPassword,
    /// Too many wrong passwords. Told only where the configuration says so: otherwise the password
    /// that came along is wrong.
    #[error("there were too many failed tries")]
    TooManyAttempts {
        /// When to try again at the earliest.
        retry_after: Duration,
    },
    /// The account has another address that is proved, so this one is only taken from someone who
    /// is signed in, or with the password.
    #[error("sign in first, or send the password along")]
    SignInFirst,
    /// The text is no mail address.
    #[error("some fields cannot be used")]
    Invalid(Vec<InvalidField>),
    /// This source asked too often. See [`rate_limit`](crate::rate_limit).
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The session is over: a step-up has put another one in its place, which is the one to ask with.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application's refused the session.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<sea_orm::DbErr> for VerificationError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Fault(error.into())
    }
}

impl From<SessionError> for VerificationError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Fault(fault) => Self::Fault(fault),
            SessionError::Refused(refusal) => Self::Refused(refusal),
            other => Self::Session(other),
        }
    }
}

impl MaybeFault for VerificationError {
    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}

impl Problem for VerificationError {
    fn status(&self) -> StatusCode {
        match self {
            Self::WrongCode | Self::WrongPassword => StatusCode::FORBIDDEN,
            Self::TooManyTries { .. } | Self::TooManyAttempts { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::AlreadyVerified => StatusCode::CONFLICT,
            Self::SignInFirst => StatusCode::UNAUTHORIZED,
            Self::Session(error) => error.status(),
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited(limited) => limited.status(),
            Self::Refused(refusal) => refusal.problem().status(),
            Self::Fault(fault) => fault.status(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::WrongCode => "wrong_code",
            Self::TooManyTries { .. } => "too_many_tries",
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::AlreadyVerified => "already_verified",
            Self::WrongPassword => "wrong_password",
            Self::SignInFirst => "not_signed_in",
            Self::Session(error) => error.code(),
            Self::Invalid(_) => "invalid_fields",
            Self::RateLimited(limited) => limited.code(),
            Self::Refused(refusal) => refusal.problem().code(),
            Self::Fault(fault) => fault.code(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyTries { retry_after } | Self::TooManyAttempts { retry_after } => {
                Some(*retry_after)
            }
            Self::RateLimited(limited) => Problem::retry_after(limited),
            _ => self.fault().and_then(Problem::retry_after),
        }
    }

    fn headers(&self) -> Vec<(HeaderName, String)> {
        match self {
            Self::RateLimited(limited) => limited.headers(),
            _ => Vec::new(),
        }
    }

    fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        match self {
            Self::Invalid(fields) => InvalidField::members(fields),
            _ => serde_json::Map::new(),
        }
    }
}
