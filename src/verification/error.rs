//! What can go wrong when an address is proved.

use std::time::Duration;

use crate::base::invalid_field::InvalidField;
use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;
use crate::rate_limit::RateLimited;
use crate::session::{SessionError, from_session};

/// Why an address was not proved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerificationError {
    /// The code or link is wrong, expired, superseded, or made for something else; or its account
    /// cannot be used.
    #[error("the code or link is wrong, or not good any more; ask for a new one")]
    WrongCode,
    /// Too many wrong codes.
    #[error("there were too many wrong codes; use the link, or wait")]
    TooManyTries {
        /// When they are counted anew at the latest.
        retry_after: Duration,
    },
    /// The address was proved before.
    #[error("this address is verified already")]
    AlreadyVerified,
    /// The password that came along is wrong. Nothing was spent.
    #[error("the password is wrong")]
    WrongPassword,
    /// Too many wrong passwords. Told only where the configuration says so: otherwise the password
    /// that came along is wrong.
    #[error("there were too many failed tries")]
    TooManyAttempts {
        /// When to try again at the earliest.
        retry_after: Duration,
    },
    /// The account has another address that is proved, so this one is only taken from someone who
    /// is signed in, or with the password.
    #[error("sign in first, or send the password along")]
    SignInFirst,
    /// The text is no mail address.
    #[error("some fields cannot be used")]
    Invalid(Vec<InvalidField>),
    /// This source asked too often. See [`rate_limit`](crate::rate_limit).
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The session is over: a step-up has put another one in its place, which is the one to ask with.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application's refused the session.
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
        Self::TooManyTries { .. } => TOO_MANY_REQUESTS, "too_many_tries";
        Self::TooManyAttempts { .. } => TOO_MANY_REQUESTS, "too_many_attempts";
        Self::AlreadyVerified => CONFLICT, "already_verified";
        Self::WrongPassword => FORBIDDEN, "wrong_password";
        Self::SignInFirst => UNAUTHORIZED, "not_signed_in";
        Self::Invalid(_) => UNPROCESSABLE_ENTITY, "invalid_fields";
    }
    passes on { Session, RateLimited, Refused, Fault }
    retry_after {
        Self::TooManyTries { retry_after } | Self::TooManyAttempts { retry_after } => *retry_after,
    }
    members {
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}
