//! Errors of recovery codes.

use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;
use crate::identity::AuthError;
use crate::session::{SessionError, from_session};

/// The reason why no recovery codes were made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryCodeError {
    /// A factor that is no recovery code must be proved first, or again. See
    /// [`StepUp`](crate::StepUp).
    #[error(transparent)]
    StepUp(AuthError),
    /// The account has no other second factor that the codes could replace.
    #[error("set up another second factor first")]
    NoOtherFactor,
    /// A role of the account requires a stronger second factor, which must be set up first.
    #[error("a role of the account requires a stronger second factor")]
    TooWeak,
    /// The main mail address of the account is not verified. The person who verifies it owns the account.
    #[error("verify the mail address of the account first")]
    AddressNotProved,
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

may_fault!(RecoveryCodeError);
from_session!(RecoveryCodeError);
from_hooked!(RecoveryCodeError);

problem! {
    RecoveryCodeError {
        Self::NoOtherFactor => CONFLICT, "no_other_factor";
        Self::TooWeak => CONFLICT, "factor_too_weak";
        Self::AddressNotProved => FORBIDDEN, "address_not_proved";
    }
    passes on { StepUp, Session, Refused, Fault }
}
