//! Errors of changing an address.

use std::time::Duration;

use crate::account::LoginIdKind;
use crate::base::factor::Factor;
use crate::base::invalid_field::InvalidField;
use crate::base::problem::{Refusal, problem, step_up_challenge, step_up_members};
use crate::base::transaction::{Fault, may_fault};
use crate::flow::address::address_error;
use crate::hook::from_hooked;
use crate::session::{SessionError, from_session};

/// Why a mail address or phone number was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContactError {
    /// The last factor was proved too long ago.
    #[error("prove one of your factors again first")]
    FactorTooOld {
        /// The maximum age of the factor.
        max_age: Duration,
        /// The factors of this account that would help.
        factors: Vec<Factor>,
    },
    /// The new address cannot be used.
    #[error("some fields are not valid")]
    Invalid(Vec<InvalidField>),
    /// The code or link is wrong or has expired, or another account has taken the address in the
    /// meantime. The error does not say which.
    #[error("the code or link is wrong or no longer valid; request a new one")]
    WrongCode,
    /// This browser used the code or link successfully less than a minute ago.
    #[error("this code or link was already used; nothing is left to do")]
    UsedJustNow,
    /// The attempts are used up. The correct code is refused too, and so is a new code.
    #[error("too many failed attempts; try again later")]
    TooManyAttempts {
        /// The time until attempts are possible again.
        retry_after: Duration,
    },
    /// A change was requested a short time ago.
    #[error("a code was just sent; wait before you request another one")]
    TooSoon {
        /// The longest time until another one may be requested.
        retry_after: Duration,
    },
    /// The old address should be put back, but another account has proved it since.
    #[error("the old address or number now belongs to another account")]
    Taken(LoginIdKind),
    /// The account would have no sign-in name left.
    #[error("this is the only sign-in name left")]
    OnlyLoginName,
    /// Codes to this number are a second factor of the account.
    #[error("codes to this number are a second factor; switch them off first")]
    FactorInUse,
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
        Self::TooManyAttempts { .. } => TOO_MANY_REQUESTS, "too_many_attempts";
        Self::TooSoon { .. } => TOO_MANY_REQUESTS, "too_soon";
        Self::Taken(LoginIdKind::Phone) => CONFLICT, "phone_taken";
        Self::Taken(_) => CONFLICT, "email_taken";
        Self::OnlyLoginName => CONFLICT, "only_login_name";
        Self::FactorInUse => CONFLICT, "factor_in_use";
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
