//! What can go wrong with a session.

use std::time::Duration;

use http::StatusCode;

use crate::base::problem::{Problem, Refusal};
use crate::base::transaction::{Fault, MaybeFault};
use crate::port::from_hooked;

/// Why a session could not be started, replaced or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The session this should go on from is over.
    #[error("the session is over; sign in again")]
    Over,
    /// There is no such session of this account.
    #[error("there is no such session")]
    NotFound,
    /// A hook of the application's refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The account has as many sessions as it may have.
    #[error("you are signed in in too many places; sign out somewhere first")]
    LimitReached,
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<sea_orm::DbErr> for SessionError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Fault(error.into())
    }
}

from_hooked!(SessionError);

impl MaybeFault for SessionError {
    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}

impl Problem for SessionError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Over => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Refused(refusal) => refusal.problem().status(),
            Self::LimitReached => StatusCode::CONFLICT,
            Self::Fault(fault) => fault.status(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Over => "session_ended",
            Self::NotFound => "session_not_found",
            Self::Refused(refusal) => refusal.problem().code(),
            Self::LimitReached => "session_limit",
            Self::Fault(fault) => fault.code(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        self.fault().and_then(Problem::retry_after)
    }
}
