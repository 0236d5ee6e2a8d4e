//! What every kind of captcha has in common.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde_json::{Map, Value};

use super::error::CaptchaError;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::handle::Portcullis;

/// The future of a [`Captcha`].
pub type CaptchaFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, CaptchaError>> + Send + 'a>>;

/// A kind of captcha. [`PictureCaptcha`](super::PictureCaptcha), [`ProofOfWork`](super::ProofOfWork)
/// and [`HostedCaptcha`](super::HostedCaptcha) implement it. Implement it yourself for another
/// provider.
pub trait Captcha: Send + Sync + 'static {
    /// Returns the name of the kind, which clients are told.
    fn kind(&self) -> &'static str;

    /// Returns what is wrong with its settings. [`build`](crate::Builder::build) refuses each of these.
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns what a page needs to show one captcha, for the answer of `POST /captcha`.
    fn offer<'a>(&'a self, request: CaptchaRequest<'a>) -> CaptchaFuture<'a, Map<String, Value>>;

    /// Checks an answer and uses it up. Of several simultaneous requests with the same answer, at most
    /// one may be [`Right`](CaptchaVerdict::Right). An answer for another action is
    /// [`Wrong`](CaptchaVerdict::Wrong).
    fn check<'a>(
        &'a self,
        response: &'a CaptchaResponse,
        request: CaptchaRequest<'a>,
    ) -> CaptchaFuture<'a, CaptchaVerdict>;
}

/// What a captcha is for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CaptchaRequest<'a> {
    /// The instance.
    pub auth: &'a Portcullis,
    /// The action, such as `login`.
    pub action: &'a str,
    /// Who asks.
    pub client: &'a ClientInfo,
    /// The present time.
    pub at: Timestamp,
}

/// Whether an answer is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a wrong answer must be refused"]
pub enum CaptchaVerdict {
    /// It is right, and was used up.
    Right,
    /// It is wrong, used, expired, or for another action.
    Wrong,
}

/// What a client sends for a captcha: the fields `captcha` and, for a picture, `captcha_id`.
#[derive(Clone)]
pub struct CaptchaResponse {
    id: Option<String>,
    text: String,
}

impl CaptchaResponse {
    /// Takes what a widget has put into its form: the token of a provider, or a proof of work.
    pub fn token(text: impl Into<String>) -> Self {
        Self { id: None, text: text.into() }
    }

    /// Takes the id of a picture, and the digits as they were typed.
    pub fn typed(id: impl Into<String>, digits: impl Into<String>) -> Self {
        Self { id: Some(id.into()), text: digits.into() }
    }

    /// Returns the id of the captcha.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns the answer.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads the fields of a body. An empty field of a form is one that was left out.
    #[cfg(feature = "routes")]
    pub(crate) fn given(text: Option<String>, id: Option<String>) -> Option<Self> {
        let text = text.filter(|text| !text.is_empty())?;
        Some(Self { id: id.filter(|id| !id.is_empty()), text })
    }
}

impl fmt::Debug for CaptchaResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CaptchaResponse(..)")
    }
}
