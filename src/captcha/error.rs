//! Errors of captchas.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::problem::{PrivateCause, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::rate_limit::RateLimited;

/// The captcha that a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeededCaptcha {
    /// The kind of captcha, such as `picture`.
    pub kind: &'static str,
    /// What it must be for, such as `login`.
    pub action: String,
}

impl NeededCaptcha {
    /// The member `captcha` of the answer.
    fn members(&self) -> Map<String, Value> {
        let needed = serde_json::json!({ "kind": self.kind, "action": self.action });
        [("captcha".to_owned(), needed)].into_iter().collect()
    }
}

/// The reason why a captcha was not offered, drawn or accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptchaError {
    /// The request needs a captcha, and has none.
    #[error("solve a captcha first")]
    Required(NeededCaptcha),
    /// The answer is wrong, used, expired, or for another action. The error does not say which. A picture
    /// can be answered until its third wrong answer. For the other kinds, a new captcha is needed.
    #[error("the captcha was not solved, or is no longer valid; solve a new one")]
    Wrong(NeededCaptcha),
    /// There is no captcha with this id: it is used or expired, or was fetched too often.
    #[error("there is no such captcha any more; ask for a new one")]
    NotFound,
    /// The text is not the name of an action.
    #[error("`{0}` cannot be an action: 1 to 48 lower-case letters, digits, dashes, underscores")]
    InvalidAction(String),
    /// The provider did not answer in time, or its answer cannot be used. Nobody gets through without
    /// a captcha meanwhile.
    #[error("captchas cannot be checked at the moment; try again later")]
    Unavailable(#[source] PrivateCause),
    /// The builder has no captcha.
    #[error("no captcha is configured: call `Builder::captcha`")]
    NotConfigured,
    /// This source asked for too many captchas.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(CaptchaError);

problem! {
    CaptchaError {
        Self::Required(_) => FORBIDDEN, "captcha_required";
        Self::Wrong(_) => FORBIDDEN, "wrong_captcha";
        Self::NotFound => NOT_FOUND, "captcha_not_found";
        Self::InvalidAction(_) => UNPROCESSABLE_ENTITY, "invalid_action";
        Self::Unavailable(_) => SERVICE_UNAVAILABLE, "captcha_unavailable";
        Self::NotConfigured => INTERNAL_SERVER_ERROR, "misconfigured";
    }
    passes on { RateLimited, Fault }
    retry_after {
        Self::Unavailable(_) => Duration::from_secs(5),
    }
    members {
        Self::Required(needed) | Self::Wrong(needed) => needed.members(),
    }
}
