//! Errors of passkeys.

use crate::base::invalid_field::InvalidField;
use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;
use crate::identity::AuthError;
use crate::rate_limit::RateLimited;
use crate::session::{SessionError, from_session};
use crate::webauthn::PasskeyRefusal;

/// The reason why a passkey was not added, changed or accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasskeyError {
    /// A factor must be proved first, or again. See [`StepUp`](crate::StepUp).
    #[error(transparent)]
    StepUp(AuthError),
    /// The service has no `service.public_url` with a domain, so there is nothing to which a passkey could belong.
    #[error(
        "this service has no domain for passkeys; set service.public_url to one, such as http://localhost:3000"
    )]
    NoDomain,
    /// The challenge was answered before, has expired, or was for something or somebody else. Begin again.
    #[error(
        "the challenge is not open any more, or belongs to another browser, session or purpose; begin again"
    )]
    ChallengeEnded,
    /// What the browser sent was not accepted.
    #[error("the passkey was not accepted: {0}")]
    NotAccepted(PasskeyRefusal),
    /// No account has this passkey. The page may tell the browser, which then stops offering it.
    #[error("no account has this passkey any more")]
    UnknownCredential,
    /// The account cannot be used, or was changed at the same time.
    #[error("this passkey cannot sign in at the moment")]
    CannotSignIn,
    /// The authenticator has counted backwards, so there may be a copy of it.
    #[error(
        "the use counter of the passkey went back, so there may be a copy of it; use another way to sign in"
    )]
    Copied,
    /// An account has this passkey already.
    #[error("this passkey was added before")]
    AlreadyAdded,
    /// The account has no passkey that is a second factor.
    #[error("the account has no passkey that is a second factor")]
    NotEnrolled,
    /// The sign-in began with a passkey.
    #[error("a passkey was the first step of the sign-in; the second one needs another factor")]
    FactorUsedAlready,
    /// The account has no such passkey.
    #[error("there is no such passkey")]
    NotFound,
    /// The account has the maximum number of passkeys.
    #[error("the account has the maximum number of passkeys; remove one first")]
    TooMany,
    /// It is the last strong factor of an account with a role that requires one.
    #[error("a role of the account requires a second factor; set up another one first")]
    Required,
    /// The account could not be signed in to any more.
    #[error(
        "this is the last way to sign in; set a password, verify a mail address or add another passkey first"
    )]
    LastWayIn,
    /// The main mail address of the account is not verified. The person who verifies it owns the account.
    #[error("verify the mail address of the account first")]
    AddressNotProved,
    /// The name cannot be used.
    #[error("some fields are not valid")]
    Invalid(Vec<InvalidField>),
    /// This source or account started too many challenges. See [`rate_limit`](crate::rate_limit).
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
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

may_fault!(PasskeyError);
from_session!(PasskeyError);
from_hooked!(PasskeyError);

impl From<PasskeyRefusal> for PasskeyError {
    fn from(refusal: PasskeyRefusal) -> Self {
        Self::NotAccepted(refusal)
    }
}

problem! {
    PasskeyError {
        Self::NoDomain => INTERNAL_SERVER_ERROR, "passkeys_not_configured";
        Self::ChallengeEnded => FORBIDDEN, "passkey_challenge_ended";
        Self::NotAccepted(_) => FORBIDDEN, "passkey_not_accepted";
        Self::UnknownCredential => FORBIDDEN, "unknown_credential";
        Self::CannotSignIn => FORBIDDEN, "passkey_cannot_sign_in";
        Self::Copied => FORBIDDEN, "passkey_copied";
        Self::AlreadyAdded => CONFLICT, "passkey_already_added";
        Self::NotEnrolled => CONFLICT, "factor_not_enrolled";
        Self::FactorUsedAlready => CONFLICT, "factor_used_already";
        Self::NotFound => NOT_FOUND, "passkey_not_found";
        Self::TooMany => CONFLICT, "too_many_passkeys";
        Self::Required => CONFLICT, "factor_required";
        Self::LastWayIn => CONFLICT, "last_way_in";
        Self::AddressNotProved => FORBIDDEN, "address_not_proved";
        Self::Invalid(_) => UNPROCESSABLE_ENTITY, "invalid_fields";
    }
    passes on { StepUp, RateLimited, Session, Refused, Fault }
    members {
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}
