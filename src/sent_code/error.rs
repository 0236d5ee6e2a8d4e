//! Errors of mailed and texted codes.

use std::time::Duration;

use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;
use crate::identity::AuthError;
use crate::session::{SessionError, from_session};

/// The reason why a code was not sent, or not made a factor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SentCodeError {
    /// A factor must be proved first, or again. See [`StepUp`](crate::StepUp).
    #[error(transparent)]
    StepUp(AuthError),
    /// The account does not have this factor.
    #[error("the account does not use this factor")]
    NotEnrolled,
    /// The account already has this factor.
    #[error("the account already uses this factor")]
    AlreadyEnrolled,
    /// It is the last strong factor of an account with a role that requires one.
    #[error("a role of the account requires a second factor; set up another one first")]
    Required,
    /// A role of the account requires a stronger factor than this one, which must be set up first.
    #[error("a role of the account requires a stronger second factor")]
    TooWeak,
    /// The account has no password, so its sign-ins already prove the mailbox.
    #[error("set a password first; a sign-in by mail already proves the mailbox")]
    NoPassword,
    /// The sign-in began with this factor.
    #[error("this factor was the first step of the sign-in; the second one needs another factor")]
    FactorUsedAlready,
    /// The password was replaced through the same mailbox a short time ago.
    #[error(
        "the password was set by mail a short time ago, so a mailed code is not enough; use another \
         second factor or a recovery code, or ask an administrator"
    )]
    AfterReset,
    /// The account has no such address or number, or the service cannot send there.
    #[error(
        "no code can be sent: there is no verified address or number, or nothing to send it with"
    )]
    NoAddress,
    /// The address or number of the account waits for its proof.
    #[error("no code can be sent to {target} before it is verified; verify it first")]
    NotProved {
        /// The address or number. Most of it is hidden.
        target: String,
    },
    /// A mail address of the account is not verified. The person who verifies it owns the account.
    #[error("verify the mail address of the account first")]
    AddressNotProved,
    /// A code was sent a short time ago.
    #[error("a code was just sent; wait before you request another one")]
    TooSoon {
        /// The longest time until another one may be requested.
        retry_after: Duration,
    },
    /// The sign-in or the session has ended, or the account was changed at the same time.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(SentCodeError);
from_session!(SentCodeError);
from_hooked!(SentCodeError);

problem! {
    SentCodeError {
        Self::NotEnrolled => CONFLICT, "factor_not_enrolled";
        Self::AlreadyEnrolled => CONFLICT, "factor_already_enrolled";
        Self::Required => CONFLICT, "factor_required";
        Self::TooWeak => CONFLICT, "factor_too_weak";
        Self::NoPassword => CONFLICT, "no_password";
        Self::FactorUsedAlready => CONFLICT, "factor_used_already";
        Self::AfterReset => FORBIDDEN, "mailed_code_after_reset";
        Self::NoAddress => UNPROCESSABLE_ENTITY, "no_address";
        Self::NotProved { .. } => FORBIDDEN, "address_not_proved";
        Self::AddressNotProved => FORBIDDEN, "address_not_proved";
        Self::TooSoon { .. } => TOO_MANY_REQUESTS, "too_soon";
    }
    passes on { StepUp, Session, Refused, Fault }
    retry_after {
        Self::TooSoon { retry_after } => *retry_after,
    }
    members {
        Self::NotProved { target } => {
            serde_json::Map::from_iter([("target".to_owned(), target.as_str().into())])
        }
    }
}
