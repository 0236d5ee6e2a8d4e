//! What a route of portcullis takes and answers, and who may call it.

use std::fmt;

use http::{Method, StatusCode};

use crate::identity::owner::AccountPermission;
use crate::session::Stage;

/// The description of one of portcullis' own routes. The router is made from it, and so are the lists
/// of routes, so they cannot disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteDescription {
    /// The method. `HEAD` comes with `GET`.
    pub method: Method,
    /// The path before nesting, such as `/sessions/{id}`.
    pub path: &'static str,
    /// Who may call it.
    pub caller: RouteCaller,
    /// What it reads from the body.
    pub body: RouteBody,
    /// The status codes of its successful answers. A browser that posts a form gets 303 instead,
    /// see [`page`](crate::page).
    pub answers: &'static [StatusCode],
    /// Its [error codes](crate::guide::errors), in alphabetical order. A hook of the application can
    /// answer with others.
    pub errors: Vec<&'static str>,
}

/// Who may call a route of portcullis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteCaller {
    /// Anyone, with or without a session. The route may need something else, such as a code.
    Anyone,
    /// An account that is signed in.
    SignedIn,
    /// The owner of an account: signed in, and not limited by a ceiling that does not cover this
    /// permission. See [`owner`](crate::identity::owner).
    Owner(&'static str),
    /// The same, or a sign-in that is at this stage.
    OwnerOrStage(&'static str, Stage),
    /// An account that is signed in, or a sign-in that is at this stage.
    SignedInOrStage(Stage),
    /// Only a sign-in that is at this stage.
    Stage(Stage),
}

/// The kinds of body that a route of portcullis reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteBody {
    /// None; a body is ignored.
    None,
    /// An object in JSON.
    Json,
    /// An object in JSON, or a form from a page of this service.
    JsonOrForm,
    /// The same, or no body at all.
    OptionalJsonOrForm,
    /// A form that any program sends, as a standard says.
    Form,
}

impl RouteCaller {
    pub(crate) fn owner<P: AccountPermission>() -> Self {
        Self::Owner(P::TEXT)
    }

    pub(crate) fn owner_or<P: AccountPermission>(stage: Stage) -> Self {
        Self::OwnerOrStage(P::TEXT, stage)
    }

    /// The error codes of a caller who is not accepted.
    pub(crate) fn errors(self) -> Vec<&'static str> {
        match self {
            Self::Anyone => Vec::new(),
            Self::SignedIn | Self::SignedInOrStage(_) => NOT_SIGNED_IN.to_vec(),
            Self::Owner(_) | Self::OwnerOrStage(..) => {
                [NOT_SIGNED_IN.as_slice(), &["limited_session"]].concat()
            }
            Self::Stage(_) => STAGE.to_vec(),
        }
    }
}

impl RouteBody {
    /// The error codes of a body that is not accepted.
    pub(crate) fn errors(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Json | Self::JsonOrForm | Self::OptionalJsonOrForm | Self::Form => {
                &["body_too_large", "invalid_body", "unsupported_media_type"]
            }
        }
    }
}

/// A session at another stage is `wrong_stage`, whatever it is.
const STAGE: [&str; 15] = [
    "api_key_account_unusable",
    "api_key_expired",
    "api_key_revoked",
    "invalid_api_key",
    "invalid_dpop_proof",
    "invalid_token",
    "multiple_credentials",
    "not_signed_in",
    "session_ended",
    "session_expired",
    "session_required",
    "session_suspicious",
    "token_expired",
    "use_dpop_nonce",
    "wrong_stage",
];

const NOT_SIGNED_IN: [&str; 17] = [
    "api_key_account_unusable",
    "api_key_expired",
    "api_key_revoked",
    "enrolment_required",
    "invalid_api_key",
    "invalid_dpop_proof",
    "invalid_token",
    "multiple_credentials",
    "not_signed_in",
    "password_change_required",
    "second_factor_required",
    "session_ended",
    "session_expired",
    "session_required",
    "session_suspicious",
    "token_expired",
    "use_dpop_nonce",
];

impl fmt::Display for RouteCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::SignedIn => f.write_str("signed in"),
            Self::Owner(permission) => write!(f, "owner({permission})"),
            Self::OwnerOrStage(permission, stage) => {
                write!(f, "owner({permission}) or stage({})", stage.as_str())
            }
            Self::SignedInOrStage(stage) => write!(f, "signed in or stage({})", stage.as_str()),
            Self::Stage(stage) => write!(f, "stage({})", stage.as_str()),
        }
    }
}

impl fmt::Display for RouteBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Json => "JSON",
            Self::JsonOrForm => "JSON or form",
            Self::OptionalJsonOrForm => "JSON, form or none",
            Self::Form => "form",
        })
    }
}
