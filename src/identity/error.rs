//! Why a request is refused.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::api_key::ApiKeyRefusal;
use crate::base::factor::Factor;
use crate::base::problem::{Problem, Refusal, dpop_challenge, step_up_challenge, step_up_members};
use crate::base::same_origin::CrossSite;
use crate::base::transaction::Fault;
use crate::dpop::{ALGORITHMS, DpopRefusal};
use crate::hook::from_hooked;
use crate::identity::step_up::StepUp;
use crate::rate_limit::RateLimited;
use crate::session::{Ended, SessionError};

/// Why nobody is signed in with this request, or why the sign-in is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotSignedIn {
    /// The request has no credential.
    NoCredential,
    /// The token is forged, malformed or unknown.
    InvalidToken,
    /// The token is too old to be renewed here.
    TokenExpired,
    /// The session has ended.
    Ended(Ended),
    /// The sign-in still needs its second factor.
    SecondFactorRequired,
    /// The user must set a new password first.
    PasswordChangeRequired,
    /// The user must enrol a second factor first.
    EnrolmentRequired,
    /// The session belongs to a visitor without an account.
    Anonymous,
    /// The request has more than one session cookie that counts. The status is 400.
    MultipleCredentials,
    /// The API key is refused.
    ApiKey(ApiKeyRefusal),
    /// The token is bound to a key, and the proof of the key is refused.
    Dpop(DpopRefusal),
}

/// Why a request is refused.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// 401: the user must sign in, or sign in again.
    #[error("{}", detail(.0))]
    NotSignedIn(NotSignedIn),
    /// 401: the session is valid, but not of the stage that this handler takes.
    #[error("this route needs {0}")]
    WrongStage(&'static str),
    /// 403: the requirement is not met.
    #[error("this account is not allowed to do this")]
    Denied,
    /// 403: the session is limited, and its ceiling does not cover this permission of an account
    /// owner. See [`owner`](crate::identity::owner).
    #[error(
        "this sign-in is limited, and `{0}` is not part of it; sign in without a limit to change \
         the account"
    )]
    LimitedSession(&'static str),
    /// 401: the user must prove a factor, or prove it again.
    #[error("{}", step_up_detail(.0))]
    StepUp(StepUp),
    /// 403: an API key cannot prove the factor that is needed.
    #[error("this needs a factor, which an API key cannot prove; sign in instead")]
    FactorUnavailable,
    /// 403: the request has an API key, and only a session is accepted here.
    #[error("an API key is not accepted here; sign in instead")]
    SessionRequired,
    /// 403: the request has a session, and only an API key is accepted here.
    #[error("only an API key is accepted here")]
    ApiKeyRequired,
    /// 403: another site sent the request.
    #[error(transparent)]
    CrossSite(#[from] CrossSite),
    /// 400: the request has more than one credential of portcullis.
    #[error("the request carries more than one credential; send one")]
    MultipleCredentials,
    /// 404: the id in the path cannot be the id of anything.
    #[error("not found")]
    NoSuchInstance,
    /// 500: the application did not add the layer.
    #[error(
        "a guard or extractor of portcullis was used without its layer: add `.layer(auth.layer())` \
         after the last route of the Router"
    )]
    MissingLayer,
    /// 500: a guard is misconfigured. Its type does not name a valid permission, its path has the
    /// parameter not at all or twice, or its requirement does not fit one instance.
    #[error("{0}")]
    Misconfigured(String),
    /// A hook of the application refused. The hook chooses the status.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// 429: the account sends too many requests.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// 503: the infrastructure failed.
    #[error(transparent)]
    Fault(#[from] std::sync::Arc<Fault>),
}

impl AuthError {
    /// The error for a session that a step-up has replaced. The client must use the new session.
    pub(crate) fn superseded() -> Self {
        Self::NotSignedIn(NotSignedIn::Ended(Ended::Superseded))
    }
}

impl From<Fault> for AuthError {
    fn from(fault: Fault) -> Self {
        Self::Fault(std::sync::Arc::new(fault))
    }
}

from_hooked!(AuthError);

impl From<SessionError> for AuthError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Refused(refusal) => Self::Refused(refusal),
            SessionError::Fault(fault) => fault.into(),
            // No flow that starts a session converts its error here.
            SessionError::Ended
            | SessionError::NotFound
            | SessionError::LimitReached
            | SessionError::BearerOff => Self::NotSignedIn(NotSignedIn::Ended(Ended::Revoked)),
        }
    }
}

fn step_up_detail(needed: &StepUp) -> String {
    let names = |factors: &[Factor]| {
        factors.iter().map(|factor| factor.in_words()).collect::<Vec<_>>().join(" or ")
    };
    match (needed.factors.is_empty(), needed.enrol.is_empty(), needed.max_age) {
        (false, _, None) => format!("prove first: {}", names(&needed.factors)),
        (false, _, Some(_)) => format!("prove again: {}", names(&needed.factors)),
        (true, false, _) => format!("set up first: {}", names(&needed.enrol)),
        (true, true, _) => "sign in again".to_owned(),
    }
}

fn detail(reason: &NotSignedIn) -> Cow<'static, str> {
    Cow::Borrowed(match *reason {
        NotSignedIn::NoCredential | NotSignedIn::Anonymous => "sign in first",
        NotSignedIn::InvalidToken => "the session token is not valid; sign in again",
        NotSignedIn::TokenExpired => "the token has expired; renew it or sign in again",
        NotSignedIn::Ended(Ended::Suspicious) => "the session was marked suspicious; sign out",
        NotSignedIn::Ended(_) => "the session has ended; sign in again",
        NotSignedIn::SecondFactorRequired => "prove the second factor first",
        NotSignedIn::PasswordChangeRequired => "set a new password first",
        NotSignedIn::EnrolmentRequired => "enrol a second factor first",
        NotSignedIn::MultipleCredentials => {
            "the request carries more than one credential; send one"
        }
        NotSignedIn::ApiKey(ApiKeyRefusal::Invalid) => "the API key is not valid",
        NotSignedIn::ApiKey(ApiKeyRefusal::Expired) => "the API key has expired; make a new one",
        NotSignedIn::ApiKey(ApiKeyRefusal::Revoked) => {
            "the API key was revoked or replaced; use the new one"
        }
        NotSignedIn::ApiKey(ApiKeyRefusal::Account) => {
            "the account of this API key cannot be used at present"
        }
        NotSignedIn::Dpop(refusal) => return Cow::Owned(refusal.to_string()),
    })
}

impl Problem for AuthError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotSignedIn(NotSignedIn::MultipleCredentials) => StatusCode::BAD_REQUEST,
            Self::NotSignedIn(_) | Self::WrongStage(_) | Self::StepUp(_) => {
                StatusCode::UNAUTHORIZED
            }
            Self::Denied
            | Self::LimitedSession(_)
            | Self::FactorUnavailable
            | Self::SessionRequired
            | Self::ApiKeyRequired
            | Self::CrossSite(_) => StatusCode::FORBIDDEN,
            Self::MultipleCredentials => StatusCode::BAD_REQUEST,
            Self::NoSuchInstance => StatusCode::NOT_FOUND,
            Self::MissingLayer | Self::Misconfigured(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Refused(refusal) => refusal.problem().status(),
            Self::RateLimited(limited) => limited.status(),
            Self::Fault(fault) => fault.status(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotSignedIn(reason) => match reason {
                NotSignedIn::NoCredential | NotSignedIn::Anonymous => "not_signed_in",
                NotSignedIn::InvalidToken => "invalid_token",
                NotSignedIn::TokenExpired => "token_expired",
                NotSignedIn::Ended(Ended::Expired) => "session_expired",
                NotSignedIn::Ended(Ended::Suspicious) => "session_suspicious",
                NotSignedIn::Ended(_) => "session_ended",
                NotSignedIn::SecondFactorRequired => "second_factor_required",
                NotSignedIn::PasswordChangeRequired => "password_change_required",
                NotSignedIn::EnrolmentRequired => "enrolment_required",
                NotSignedIn::MultipleCredentials => "multiple_credentials",
                NotSignedIn::ApiKey(ApiKeyRefusal::Invalid) => "invalid_api_key",
                NotSignedIn::ApiKey(ApiKeyRefusal::Expired) => "api_key_expired",
                NotSignedIn::ApiKey(ApiKeyRefusal::Revoked) => "api_key_revoked",
                NotSignedIn::ApiKey(ApiKeyRefusal::Account) => "api_key_account_unusable",
                NotSignedIn::Dpop(refusal) => refusal.code(),
            },
            Self::WrongStage(_) => "wrong_stage",
            Self::StepUp(_) => "insufficient_user_authentication",
            Self::Denied => "denied",
            Self::LimitedSession(_) => "limited_session",
            Self::FactorUnavailable => "factor_unavailable",
            Self::SessionRequired => "session_required",
            Self::ApiKeyRequired => "api_key_required",
            Self::CrossSite(_) => "cross_site_request",
            Self::MultipleCredentials => "multiple_credentials",
            Self::NoSuchInstance => "not_found",
            Self::MissingLayer => "missing_layer",
            Self::Misconfigured(_) => "guard_misconfigured",
            Self::Refused(refusal) => refusal.problem().code(),
            Self::RateLimited(limited) => limited.code(),
            Self::Fault(fault) => fault.code(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited(limited) => Problem::retry_after(limited),
            Self::Fault(fault) => fault.retry_after(),
            _ => None,
        }
    }

    fn headers(&self) -> Vec<(HeaderName, String)> {
        match self {
            Self::RateLimited(limited) => limited.headers(),
            _ => Vec::new(),
        }
    }

    /// Adds what would meet the requirement, so that a client can ask the user for exactly that.
    fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        match self {
            Self::StepUp(needed) => step_up_members(&needed.factors, &needed.enrol, needed.max_age),
            _ => serde_json::Map::new(),
        }
    }

    /// RFC 6750 section 3.1: the challenge names an error only if the request had a token.
    fn challenge(&self) -> Option<String> {
        match self {
            Self::NotSignedIn(NotSignedIn::MultipleCredentials) => None,
            Self::NotSignedIn(NotSignedIn::NoCredential | NotSignedIn::Anonymous)
            | Self::WrongStage(_) => Some("Bearer".to_owned()),
            Self::NotSignedIn(NotSignedIn::Dpop(refusal)) => {
                Some(dpop_challenge(&format!(" error=\"{}\"", refusal.code()), &ALGORITHMS))
            }
            Self::NotSignedIn(_) => Some("Bearer error=\"invalid_token\"".to_owned()),
            Self::StepUp(needed) => Some(step_up_challenge(&needed.factors, needed.max_age)),
            _ => None,
        }
    }
}
