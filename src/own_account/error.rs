//! Errors of closing, erasing and exporting accounts.

use std::time::Duration;

use crate::base::factor::Factor;
use crate::base::problem::{Refusal, problem, step_up_challenge, step_up_members};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;
use crate::session::{SessionError, from_session};

/// Why an account was not closed, reopened, erased or exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnAccountError {
    /// The account does not exist or was deleted. Or the caller wants to reopen an account that is
    /// not closed.
    #[error("there is no such account")]
    NotFound,
    /// The account was erased. Nothing is kept about it except its id.
    #[error("this account was erased")]
    Erased,
    /// This is the last superuser. Without it, nobody could manage the service.
    #[error(
        "this is the last account that may do everything; give this right to another one first"
    )]
    LastSuperuser,
    /// The last factor was proved too long ago.
    #[error("prove one of your factors again first")]
    FactorTooOld {
        /// The maximum age of the factor.
        max_age: Duration,
        /// The factors of this account that would help.
        factors: Vec<Factor>,
    },
    /// The link is wrong or has expired, or the account is no longer closed.
    #[error("the link is wrong or no longer valid")]
    WrongCode,
    /// This browser used the link successfully less than a minute ago.
    #[error("this link was already used; nothing is left to do")]
    UsedJustNow,
    /// The session has ended.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(OwnAccountError);
from_session!(OwnAccountError);
from_hooked!(OwnAccountError);

problem! {
    OwnAccountError {
        Self::NotFound => NOT_FOUND, "account_not_found";
        Self::Erased => GONE, "account_erased";
        Self::LastSuperuser => CONFLICT, "last_superuser";
        Self::FactorTooOld { .. } => UNAUTHORIZED, "insufficient_user_authentication";
        Self::WrongCode => FORBIDDEN, "wrong_code";
        Self::UsedJustNow => CONFLICT, "link_used";
    }
    passes on { Session, Refused, Fault }
    challenge {
        Self::FactorTooOld { max_age, factors } => step_up_challenge(factors, Some(*max_age)),
    }
    members {
        Self::FactorTooOld { max_age, factors } => step_up_members(factors, &[], Some(*max_age)),
    }
}
