//! Errors of signing in with providers.

use crate::account::AccountError;
use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;
use crate::identity::AuthError;
use crate::oidc::ProviderRefusal;
use crate::rate_limit::RateLimited;
use crate::session::{SessionError, from_session};

/// The reason why a sign-in with a provider did not begin or succeed, or an identity was not linked or unlinked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FederationError {
    /// There is no provider with this name, or it is switched off.
    #[error("this service has no such provider")]
    UnknownProvider,
    /// The provider can be used only by people who are signed in.
    #[error("nobody can sign in with this provider")]
    NotForSignIn,
    /// The answer of the provider belongs to no sign-in of this browser: it was used before, has expired, or was begun in
    /// another browser, session or for another provider.
    #[error("this sign-in was finished before, has expired, or was begun elsewhere; begin again")]
    FlowEnded,
    /// The person did not agree at the provider.
    #[error("the sign-in was cancelled at the provider")]
    Cancelled,
    /// The provider answered with an error.
    #[error("the provider answered with the error `{0}`")]
    ProviderFailed(String),
    /// What the provider sent was not accepted.
    #[error("the sign-in was not accepted: {0}")]
    NotAccepted(ProviderRefusal),
    /// The provider did not answer, or with something else than the standard says.
    #[error("the provider cannot be asked at the moment: {0}")]
    Unavailable(String),
    /// No account has this identity, and the provider gives nobody an account.
    #[error("no account has this identity; sign in another way, and link it")]
    NotLinked,
    /// An account has the mail address of the person, and the identity is not linked to it.
    #[error(
        "an account with this mail address exists; sign in to it another way, and link the identity"
    )]
    AccountExists,
    /// The service accepts only verified mail addresses, and the provider is not trusted for one.
    #[error(
        "this service needs a mail address that the provider is trusted for; register another way"
    )]
    AddressNeeded,
    /// The account cannot be used, or was changed at the same time.
    #[error("this identity cannot sign in at the moment")]
    CannotSignIn,
    /// Another account has the identity.
    #[error("another account has this identity")]
    OfOtherAccount,
    /// The account has another identity of this provider.
    #[error("the account has another identity of this provider; unlink it first")]
    AlreadyLinked,
    /// The identity is not linked to the account.
    #[error("the account has no identity of this provider")]
    NotFound,
    /// The person could not sign in any more.
    #[error(
        "without it, nobody could sign in to the account; set a password or verify the mail address first"
    )]
    LastWayIn,
    /// The provider did not ask the person again.
    #[error(
        "the provider did not tell that the person has just signed in again; prove another factor"
    )]
    NotAskedAgain,
    /// Nobody is asked about an identity in this browser, or the decision came too late.
    #[error("there is nothing to confirm any more; begin again")]
    PendingEnded,
    /// The main address of the account is not verified.
    #[error("verify the mail address of the account first")]
    AddressNotProved,
    /// The account keeps no tokens of the provider.
    #[error("no tokens of this provider are kept for the account")]
    NoTokens,
    /// The tokens are being refreshed by another request, or were changed by it.
    #[error("the tokens are being refreshed; read them again")]
    Refreshing,
    /// A factor must be proved first, or again. See [`StepUp`](crate::StepUp).
    #[error(transparent)]
    StepUp(AuthError),
    /// The names of a new account cannot be used, or one is taken.
    #[error(transparent)]
    Account(AccountError),
    /// This source began too many sign-ins, or registered too often.
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

/// The reason why a logout token was not accepted. The standard wants 400 for all of them.
#[cfg(feature = "routes")]
#[derive(Debug, thiserror::Error)]
#[error("the logout token was not accepted: {0}")]
pub(super) struct InvalidLogoutToken(pub(super) ProviderRefusal);

#[cfg(feature = "routes")]
impl crate::base::problem::Problem for InvalidLogoutToken {
    fn status(&self) -> http::StatusCode {
        http::StatusCode::BAD_REQUEST
    }

    fn code(&self) -> &'static str {
        "invalid_logout_token"
    }
}

may_fault!(FederationError);
from_session!(FederationError);
from_hooked!(FederationError);

impl From<ProviderRefusal> for FederationError {
    fn from(refusal: ProviderRefusal) -> Self {
        Self::NotAccepted(refusal)
    }
}

impl From<AccountError> for FederationError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Fault(fault) => Self::Fault(fault),
            other => Self::Account(other),
        }
    }
}

problem! {
    FederationError {
        Self::UnknownProvider => NOT_FOUND, "provider_not_found";
        Self::NotForSignIn => FORBIDDEN, "provider_not_for_sign_in";
        Self::FlowEnded => FORBIDDEN, "provider_flow_ended";
        Self::Cancelled => FORBIDDEN, "provider_cancelled";
        Self::ProviderFailed(_) => FORBIDDEN, "provider_failed";
        Self::NotAccepted(_) => FORBIDDEN, "provider_not_accepted";
        Self::Unavailable(_) => SERVICE_UNAVAILABLE, "provider_unavailable";
        Self::NotLinked => FORBIDDEN, "identity_not_linked";
        Self::AccountExists => CONFLICT, "account_exists";
        Self::AddressNeeded => FORBIDDEN, "verified_address_needed";
        Self::CannotSignIn => FORBIDDEN, "identity_cannot_sign_in";
        Self::OfOtherAccount => CONFLICT, "identity_of_other_account";
        Self::AlreadyLinked => CONFLICT, "provider_already_linked";
        Self::NotFound => NOT_FOUND, "identity_not_found";
        Self::LastWayIn => CONFLICT, "last_way_in";
        Self::NotAskedAgain => FORBIDDEN, "provider_did_not_ask";
        Self::PendingEnded => FORBIDDEN, "pending_identity_ended";
        Self::AddressNotProved => FORBIDDEN, "address_not_proved";
        Self::NoTokens => NOT_FOUND, "no_provider_tokens";
        Self::Refreshing => CONFLICT, "provider_tokens_refreshing";
    }
    passes on { StepUp, Account, RateLimited, Session, Refused, Fault }
    retry_after { Self::Unavailable(_) => std::time::Duration::from_secs(10) }
}
