//! Errors of authenticators.

use crate::base::invalid_field::InvalidField;
use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;
use crate::identity::AuthError;
use crate::session::{SessionError, from_session};

/// The reason why an authenticator was not set up or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TotpError {
    /// A factor must be proved first, or again. See [`StepUp`](crate::StepUp).
    #[error(transparent)]
    StepUp(AuthError),
    /// The code is wrong, was used before, or the authenticator has waited too long for it.
    #[error("the code is wrong or was already used; wait for the next one")]
    WrongCode,
    /// The account has no such authenticator.
    #[error("there is no such authenticator")]
    NotFound,
    /// The account has the maximum number of authenticators.
    #[error("the account has the maximum number of authenticators; remove one first")]
    TooMany,
    /// It is the last strong factor of an account with a role that requires one.
    #[error("a role of the account requires a second factor; set up another one first")]
    Required,
    /// A role of the account requires a stronger factor than this one, which must be set up first.
    #[error("a role of the account requires a stronger second factor")]
    TooWeak,
    /// The main mail address of the account is not verified. The person who verifies it owns the account.
    #[error("verify the mail address of the account first")]
    AddressNotProved,
    /// The name cannot be used.
    #[error("some fields are not valid")]
    Invalid(Vec<InvalidField>),
    /// The session has ended, or the account was changed at the same time.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(TotpError);
from_session!(TotpError);
from_hooked!(TotpError);

problem! {
    TotpError {
        Self::WrongCode => FORBIDDEN, "wrong_code";
        Self::NotFound => NOT_FOUND, "authenticator_not_found";
        Self::TooMany => CONFLICT, "too_many_authenticators";
        Self::Required => CONFLICT, "factor_required";
        Self::TooWeak => CONFLICT, "factor_too_weak";
        Self::AddressNotProved => FORBIDDEN, "address_not_proved";
        Self::Invalid(_) => UNPROCESSABLE_ENTITY, "invalid_fields";
    }
    passes on { StepUp, Session, Refused, Fault }
    members {
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}
