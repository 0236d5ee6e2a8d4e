//! Errors of sessions.

use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;

/// Why a session could not be started, replaced or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The session that should continue has ended.
    #[error("the session has ended; sign in again")]
    Ended,
    /// The account has no such session.
    #[error("there is no such session")]
    NotFound,
    /// A hook of the application refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The account has the maximum number of sessions.
    #[error("too many active sessions; sign out on another device first")]
    LimitReached,
    /// A bearer token was asked for, and they are not switched on
    /// ([`bearer`](crate::config::ServiceConfig::bearer)).
    #[error("bearer tokens are switched off; leave `transport` out")]
    BearerOff,
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(SessionError);
from_hooked!(SessionError);

problem! {
    SessionError {
        Self::Ended => UNAUTHORIZED, "session_ended";
        Self::NotFound => NOT_FOUND, "session_not_found";
        Self::LimitReached => CONFLICT, "session_limit";
        Self::BearerOff => BAD_REQUEST, "bearer_not_enabled";
    }
    passes on { Refused, Fault }
}

/// Converts a [`SessionError`] into the error of a flow that makes a session. That error needs the
/// variants `Session`, `Refused` and `Fault`.
macro_rules! from_session {
    ($error:ident) => {
        impl From<$crate::session::SessionError> for $error {
            fn from(error: $crate::session::SessionError) -> Self {
                match error {
                    $crate::session::SessionError::Fault(fault) => Self::Fault(fault),
                    $crate::session::SessionError::Refused(refusal) => Self::Refused(refusal),
                    other => Self::Session(other),
                }
            }
        }
    };
}
pub(crate) use from_session;
