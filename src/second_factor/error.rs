//! Errors of second factors, and of a factor of your own.

use std::time::Duration;

use crate::base::problem::{PrivateCause, Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;
use crate::identity::AuthError;
use crate::session::{SessionError, from_session};

/// The reason why a code was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecondFactorError {
    /// The code is wrong, was used before, or the account does not have this factor. Or there were too
    /// many attempts. The answer does not say which.
    #[error("the code is wrong or was already used")]
    WrongCode,
    /// Too many wrong codes were typed for the code that was sent, or for the challenge of a
    /// [factor of your own](crate::port::ExternalFactor).
    #[error("too many wrong codes were typed; request a new code")]
    CodeEnded,
    /// The sign-in began with this factor.
    #[error("this factor was the first step of the sign-in; the second one needs another factor")]
    FactorUsedAlready,
    /// The password was replaced through the same mailbox a short time ago.
    #[error(
        "the password was set by mail a short time ago, so a mailed code is not enough; use another \
         second factor or a recovery code, or ask an administrator"
    )]
    AfterReset,
    /// What the browser returned for a [passkey](crate::passkey) was not accepted, for a reason that is no fault of the
    /// person, such as the origin of the page. No attempt is counted.
    #[error("the passkey was not accepted: {0}")]
    PasskeyNotAccepted(String),
    /// The authenticator of a passkey has counted backwards, so there may be a copy of it. No attempt is counted.
    #[error(
        "the use counter of the passkey went back, so there may be a copy of it; use another factor"
    )]
    PasskeyCopied,
    /// Too many attempts failed. This is told only with `attempts.reveal_lockout`. Otherwise the
    /// answer is that of a wrong code.
    #[error("too many failed attempts; try again later")]
    TooManyAttempts {
        /// The time to wait before the next attempt.
        retry_after: Duration,
    },
    /// The builder has no [factor of your own](crate::Builder::external_factor).
    #[error("this service checks no such factor")]
    NoExternalFactor,
    /// The [factor of your own](crate::port::ExternalFactor) failed, or did not answer in time. No attempt
    /// is counted.
    #[error("the second factor cannot be checked at the moment; try again later")]
    Unavailable(#[source] PrivateCause),
    /// The sign-in or the session has ended, or was already continued. Or the account can no longer be
    /// used, or was changed.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application refused. The code is still valid, unless a
    /// [factor of your own](crate::port::ExternalFactor) uses up its codes itself.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed. The code is still valid, with the same exception.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(SecondFactorError);
from_session!(SecondFactorError);
from_hooked!(SecondFactorError);

problem! {
    SecondFactorError {
        Self::WrongCode => FORBIDDEN, "wrong_code";
        Self::CodeEnded => FORBIDDEN, "code_ended";
        Self::FactorUsedAlready => CONFLICT, "factor_used_already";
        Self::AfterReset => FORBIDDEN, "mailed_code_after_reset";
        Self::PasskeyNotAccepted(_) => FORBIDDEN, "passkey_not_accepted";
        Self::PasskeyCopied => FORBIDDEN, "passkey_copied";
        Self::TooManyAttempts { .. } => TOO_MANY_REQUESTS, "too_many_attempts";
        Self::NoExternalFactor => CONFLICT, "factor_not_enrolled";
        Self::Unavailable(_) => SERVICE_UNAVAILABLE, "external_factor_unavailable";
    }
    passes on { Session, Refused, Fault }
    retry_after {
        Self::TooManyAttempts { retry_after } => *retry_after,
        Self::Unavailable(_) => Duration::from_secs(5),
    }
}

/// The reason why a [factor of your own](crate::port::ExternalFactor) was not asked, set up or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExternalFactorError {
    /// A factor must be proved first, or again. See [`StepUp`](crate::StepUp).
    #[error(transparent)]
    StepUp(AuthError),
    /// The account does not have the factor, or the builder has none.
    #[error("the account does not use this factor")]
    NotEnrolled,
    /// The account already has the factor.
    #[error("the account already uses this factor")]
    AlreadyEnrolled,
    /// It is the last strong factor of an account with a role that requires one.
    #[error("a role of the account requires a second factor; set up another one first")]
    Required,
    /// The main mail address of the account is not verified. The person who verifies it owns the account.
    #[error("verify the mail address of the account first")]
    AddressNotProved,
    /// Too many challenges were started.
    #[error("too many challenges were started; wait before you request another one")]
    TooSoon {
        /// The time until another one may be started.
        retry_after: Duration,
    },
    /// The code was not accepted, or the factor failed.
    #[error(transparent)]
    Code(SecondFactorError),
    /// The sign-in or the session has ended, or the account was changed at the same time.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application refused. The challenge can still be answered, unless the factor uses up
    /// its codes itself.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed. The challenge can still be answered, with the same exception.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(ExternalFactorError);
from_session!(ExternalFactorError);
from_hooked!(ExternalFactorError);

impl From<SecondFactorError> for ExternalFactorError {
    fn from(error: SecondFactorError) -> Self {
        match error {
            SecondFactorError::Session(session) => Self::Session(session),
            SecondFactorError::Refused(refusal) => Self::Refused(refusal),
            SecondFactorError::Fault(fault) => Self::Fault(fault),
            SecondFactorError::NoExternalFactor => Self::NotEnrolled,
            other => Self::Code(other),
        }
    }
}

problem! {
    ExternalFactorError {
        Self::NotEnrolled => CONFLICT, "factor_not_enrolled";
        Self::AlreadyEnrolled => CONFLICT, "factor_already_enrolled";
        Self::Required => CONFLICT, "factor_required";
        Self::AddressNotProved => FORBIDDEN, "address_not_proved";
        Self::TooSoon { .. } => TOO_MANY_REQUESTS, "too_soon";
    }
    passes on { StepUp, Code, Session, Refused, Fault }
    retry_after {
        Self::TooSoon { retry_after } => *retry_after,
    }
}
