//! Errors of changes to an account's names.

use std::time::Duration;

use crate::base::factor::Factor;
use crate::base::invalid_field::InvalidField;
use crate::base::problem::{Refusal, problem, step_up_challenge, step_up_members};
use crate::base::transaction::{Fault, may_fault};
use crate::flow::address::address_error;
use crate::hook::from_hooked;
use crate::rate_limit::RateLimited;
use crate::session::{SessionError, from_session};

/// The reason why a name was not added or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginNameError {
    /// The last factor was proved too long ago.
    #[error("prove one of your factors again first")]
    FactorTooOld {
        /// How recently a factor must have been proved.
        max_age: Duration,
        /// The factors of this account that would help.
        factors: Vec<Factor>,
    },
    /// The account has no address of its own, or it was never verified.
    #[error("verify the account's main address first")]
    AddressNotProved,
    /// The name cannot be used.
    #[error("some fields are not valid")]
    Invalid(Vec<InvalidField>),
    /// The username already belongs to an account.
    #[error("this username is taken")]
    UsernameTaken,
    /// The account already has the largest number of names (`login.max_names`).
    #[error("the account has the maximum number of names; remove one first")]
    TooManyNames,
    /// The account has no such name. A name of another account gets the same error.
    #[error("the account has no such name")]
    NotFound,
    /// It is the account's own address or number. It can be changed, but not removed here.
    #[error("this is the account's main address or number; change it instead")]
    OwnAddress,
    /// The account would have no name left to sign in with.
    #[error("this is the only sign-in name left")]
    OnlyLoginName,
    /// The code or link is wrong or not valid any more, or another account got the address
    /// meanwhile. The answer does not say which.
    #[error("the code or link is wrong or no longer valid; request a new one")]
    WrongCode,
    /// This browser used the code or link less than a minute ago, and it worked.
    #[error("this code or link was already used; nothing is left to do")]
    UsedJustNow,
    /// All attempts are used up. The correct code is refused too, and so is a new one.
    #[error("too many failed attempts; try again later")]
    TooManyAttempts {
        /// The time until the attempts are counted from zero again.
        retry_after: Duration,
    },
    /// A code for an address was requested a moment ago.
    #[error("a code was just sent; wait before you request another one")]
    TooSoon {
        /// The time until another code can be requested.
        retry_after: Duration,
    },
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

impl LoginNameError {
    pub(super) fn too_soon(limited: &RateLimited) -> Self {
        Self::TooSoon { retry_after: limited.retry_after }
    }

    pub(super) fn invalid(field: InvalidField) -> Self {
        Self::Invalid(vec![field])
    }
}

may_fault!(LoginNameError);
address_error!(LoginNameError);
from_session!(LoginNameError);
from_hooked!(LoginNameError);

problem! {
    LoginNameError {
        Self::FactorTooOld { .. } => UNAUTHORIZED, "insufficient_user_authentication";
        Self::AddressNotProved => FORBIDDEN, "address_not_proved";
        Self::Invalid(_) => UNPROCESSABLE_ENTITY, "invalid_fields";
        Self::UsernameTaken => CONFLICT, "username_taken";
        Self::TooManyNames => CONFLICT, "too_many_names";
        Self::NotFound => NOT_FOUND, "name_not_found";
        Self::OwnAddress => CONFLICT, "own_address";
        Self::OnlyLoginName => CONFLICT, "only_login_name";
        Self::WrongCode => FORBIDDEN, "wrong_code";
        Self::UsedJustNow => CONFLICT, "link_used";
        Self::TooManyAttempts { .. } => TOO_MANY_REQUESTS, "too_many_attempts";
        Self::TooSoon { .. } => TOO_MANY_REQUESTS, "too_soon";
    }
    passes on { Session, Refused, Fault }
    retry_after {
        Self::TooManyAttempts { retry_after } | Self::TooSoon { retry_after } => *retry_after,
    }
    challenge {
        Self::FactorTooOld { max_age, factors } => step_up_challenge(factors, Some(*max_age)),
    }
    members {
        Self::FactorTooOld { max_age, factors } => step_up_members(factors, &[], Some(*max_age)),
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}
