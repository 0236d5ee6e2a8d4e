//! What can go wrong with a change of address.

use std::time::Duration;

use crate::account::LoginIdKind;
use crate::base::invalid_field::InvalidField;
use crate::base::problem::{Refusal, problem, step_up_challenge};
use crate::base::transaction::{Fault, may_fault};
use crate::flow::address::address_error;
use crate::hook::from_hooked;
use crate::session::{SessionError, from_session};

/// Why an address or a number was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContactError {
    /// The last factor was shown too long ago.
    #[error("prove the password again first")]
    FactorTooOld {
        /// How recent it must be.
        max_age: Duration,
    },
    /// The new address cannot be used.
    #[error("some fields cannot be used")]
    Invalid(Vec<InvalidField>),
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
    /// A change was asked for a moment ago.
    #[error("a code was sent a moment ago; wait before asking for another")]
    TooSoon {
        /// When another may be asked for at the latest.
        retry_after: Duration,
    },
    /// The old address, which is to come back, has been proved by another account since.
    #[error("the old one belongs to another account now")]
    Taken(LoginIdKind),
    /// The account would have no name left to sign in with.
    #[error("this is the only sign-in name left")]
    OnlyLoginName,
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

may_fault!(ContactError);
address_error!(ContactError);
from_session!(ContactError);
from_hooked!(ContactError);

problem! {
    ContactError {
        Self::FactorTooOld { .. } => UNAUTHORIZED, "insufficient_user_authentication";
        Self::Invalid(_) => UNPROCESSABLE_ENTITY, "invalid_fields";
        Self::WrongCode => FORBIDDEN, "wrong_code";
        Self::UsedJustNow => CONFLICT, "link_used";
        Self::TooManyTries { .. } => TOO_MANY_REQUESTS, "too_many_tries";
        Self::TooSoon { .. } => TOO_MANY_REQUESTS, "too_soon";
        Self::Taken(LoginIdKind::Phone) => CONFLICT, "phone_taken";
        Self::Taken(_) => CONFLICT, "email_taken";
        Self::OnlyLoginName => CONFLICT, "only_login_name";
    }
    passes on { Session, Refused, Fault }
    retry_after {
        Self::TooManyTries { retry_after } | Self::TooSoon { retry_after } => *retry_after,
    }
    challenge {
        Self::FactorTooOld { max_age } => step_up_challenge(*max_age),
    }
    members {
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}
