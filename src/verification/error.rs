//! Errors of the verification of an address.

use std::time::Duration;

use crate::base::invalid_field::InvalidField;
use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;
use crate::rate_limit::RateLimited;
use crate::session::{SessionError, from_session};

/// The reason why an address was not proved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerificationError {
    /// The code or link is wrong, expired, replaced, or for something else; or its account cannot
    /// be used.
    #[error("the code or link is wrong or no longer valid; request a new one")]
    WrongCode,
    /// There were too many wrong codes.
    #[error("too many wrong codes; use the link, or try again later")]
    TooManyCodes {
        /// The longest time until the attempts are counted from zero again.
        retry_after: Duration,
    },
    /// The address was proved before.
    #[error("this address is already verified")]
    AlreadyVerified,
    /// The password in the request is wrong. The code or link is not used up.
    #[error("the password is wrong")]
    WrongPassword,
    /// There were too many wrong passwords. This is told only if the configuration says so.
    /// Otherwise the answer is that of a wrong password.
    #[error("too many failed attempts; try again later")]
    TooManyAttempts {
        /// The time to wait before the next attempt.
        retry_after: Duration,
    },
    /// The account already has another address that is proved. So this one is accepted only with a
    /// session or with the password.
    #[error("sign in first, or send the password along")]
    SignInFirst,
    /// The text is not a mail address.
    #[error("some fields are not valid")]
    Invalid(Vec<InvalidField>),
    /// This source asked too often. See [`rate_limit`](crate::rate_limit).
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The session has ended: a step-up replaced it with another session. Ask with that one.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(VerificationError);
from_session!(VerificationError);
from_hooked!(VerificationError);

problem! {
    VerificationError {
        Self::WrongCode => FORBIDDEN, "wrong_code";
        Self::TooManyCodes { .. } | Self::TooManyAttempts { .. } =>
            TOO_MANY_REQUESTS, "too_many_attempts";
        Self::AlreadyVerified => CONFLICT, "already_verified";
        Self::WrongPassword => FORBIDDEN, "wrong_password";
        Self::SignInFirst => UNAUTHORIZED, "not_signed_in";
        Self::Invalid(_) => UNPROCESSABLE_ENTITY, "invalid_fields";
    }
    passes on { Session, RateLimited, Refused, Fault }
    retry_after {
        Self::TooManyCodes { retry_after } | Self::TooManyAttempts { retry_after } => *retry_after,
    }
    members {
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}
