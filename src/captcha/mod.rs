//! Captchas: a small price for requests that strangers repeat.
//!
//! Programs solve captchas too. A captcha makes each attempt cost something. It does not stop people who
//! pay others to solve it.
//! So **no other rule relies on it**: [locks and delays](crate::attempt) and [rate
//! limits](crate::rate_limit) count the same with and without one.
//!
//! # How it works
//!
//! 1. You choose one kind with [`Builder::captcha`](crate::Builder::captcha). Without it, nothing is
//!    counted and nothing is asked.
//! 2. After some failures of the source or of the typed name, the routes that sign in, register and
//!    request a link for a forgotten password answer 403 `captcha_required`. The member `captcha` names
//!    the kind and the action.
//! 3. The page asks for a captcha for this action (`POST /captcha`), and shows it.
//! 4. It sends the request again with the answer in the field `captcha`, and for a picture with
//!    `captcha_id`. The answer is checked before a password is. It works once, for this action, on all nodes
//!    together. After a wrong answer (`wrong_captcha`), a picture takes two more; for the other kinds, and after
//!    that, the page asks for a new captcha.
//!
//! | kind | needs | what the field `captcha` has |
//! |---|---|---|
//! | [`PictureCaptcha`] (feature `captcha`) | no script, no third party | the six digits that were seen or heard |
//! | [`ProofOfWork`] | a script of ALTCHA in the page, no third party | what the widget puts into its field |
//! | [`HostedCaptcha`] | a provider, and an [`HttpClient`](crate::port::HttpClient) | the token of the widget |
//! | your own [`Captcha`] | | what you like |
//!
//! # When a route asks
//!
//! | action | route | what counts as a failure | free failures |
//! |---|---|---|---|
//! | `login` | `POST /login` | a wrong name or password | 5 |
//! | `register` | `POST /register` | every registration with valid fields, whatever its result is | 3 |
//! | `forgot` | `POST /password/forgot` | every request | 3 |
//!
//! - Failures count for ten minutes from the first one, for the source (an IPv4 address, an IPv6 /64)
//!   and for the typed name in its normal form. Both count for each action separately.
//! - Whether there is such an account makes no difference, and neither does a success. So the answer
//!   shows nothing about accounts. It can show that somebody used a name a few minutes ago.
//! - A [device that the account knows](crate::attempt#known-devices) is never asked, and its failures
//!   do not count here.
//! - A request that is refused for a missing or wrong captcha is no attempt. It does not bring a lock
//!   closer.
//!
//! # Signing in without a captcha
//!
//! Some people cannot solve a puzzle. WCAG 2.2 (3.3.8) asks for a way to sign in without one, and a
//! spoken puzzle is no such way. There are two: a known device, and the [sign-in by
//! mail](crate::mail_login), which never asks for a captcha. If a captcha guards signing in and the
//! routes of the sign-in by mail are not mounted, the finding `captcha_without_another_way` says so.
//! A [`ProofOfWork`] is no puzzle for people, but an old device needs longer for it.
//!
//! # Pictures and sounds
//!
//! A challenge has six digits. `GET /captcha/{id}/image` draws them (PNG), and `GET
//! /captcha/{id}/audio` speaks them in English (WAV). Each challenge always has the same bytes,
//! so nobody can remove the noise by comparing many pictures. It can be fetched ten times, answered
//! three times, and ends after five minutes. Drawing has its own threads and its own limit.
//!
//! The recordings were made once with Flite. `src/captcha/spoken_digits.LICENSE.txt` has their licence.
//!
//! # Example
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<(), portcullis::ConfigErrors> {
//! use portcullis::Portcullis;
//! use portcullis::captcha::ProofOfWork;
//!
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .captcha(ProofOfWork::new())
//!     // A captcha for every registration, and none for a forgotten password.
//!     .configure(|config| {
//!         config.captcha.register_after = Some(0);
//!         config.captcha.forgot_after = None;
//!     })
//!     .build()?;
//! # Ok(())
//! # }
//! ```
//!
//! A route of your own checks a captcha for an action of its own:
//!
//! ```no_run
//! # use portcullis::{ClientInfo, Portcullis, Rejection};
//! use portcullis::captcha::CaptchaResponse;
//!
//! async fn comment(
//!     auth: Portcullis,
//!     client: ClientInfo,
//!     captcha: Option<String>,
//! ) -> Result<&'static str, Rejection> {
//!     let response = captcha.map(CaptchaResponse::token);
//!     auth.captchas().check("comment", response.as_ref(), &client).await?;
//!     Ok("written")
//! }
//! ```
//!
//! # Forms without a script
//! The page of a form gets a picture with [`offer`](Captchas::offer), and writes its `image` and
//! `captcha_id` into the form. A [form that is refused](crate::page) leads back to its page with
//! `?error=captcha_required`. So the page needs a captcha only then.
//!
//! # What it does not do
//! - It does not tell people from programs. It only makes repeated requests more expensive.
//! - It does not guard routes of yours, or passwords that [your application
//!   compares](crate::attempt::Attempts::begin). Call [`check`](Captchas::check) there.
//! - It does not guard the [sign-in by mail](crate::mail_login), even if it creates accounts.
//! - It speaks no other language than English.
//! - It contains no scripts. The widgets of ALTCHA and of the providers are theirs.
//!
//! # Routes
//! They are part of [`auth.routes()`](crate::Portcullis::routes) if there is a captcha.
//! - `POST /captcha` takes `action`. It answers 200 with `kind`, `action`, `expires_in`, and what the
//!   kind needs: `captcha_id`, `image` and `audio` (addresses relative to the place where the routes
//!   are mounted); `challenge` for ALTCHA; or `site_key` of a provider.
//! - `GET /captcha/{id}/image`, `GET /captcha/{id}/audio` (feature `captcha`).
//!
//! `POST /login`, `POST /register` and `POST /password/forgot` take `captcha` and `captcha_id`. Instead
//! of `captcha`, the field may have the name that a widget gives it: `altcha`, `cf-turnstile-response`
//! or `h-captcha-response`. With hCaptcha, set `data-recaptchacompat="off"`, or its widget adds a field
//! that is refused.
//!
//! # Configuration
//! [`CaptchaConfig`].
//!
//! # Events
//! None of its own.
//!
//! # Errors
//! `captcha_required`, `wrong_captcha` (403), `captcha_not_found` (404), `invalid_action` (422),
//! `rate_limited` (429), `captcha_unavailable` and `overloaded` (503).
//!
//! # Standard
//! WCAG 2.2, 3.3.8 (accessible authentication); proof of work v2 of ALTCHA; OWASP Automated Threats to
//! Web Applications.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::client::ClientInfo;
use crate::config::check::ConfigError;
use crate::config::{CaptchaConfig, ChallengeConfig};
use crate::context::{Context, PerInstance};
use crate::handle::{Builder, Portcullis};

#[cfg(feature = "captcha")]
mod drawing;
pub(crate) mod entity;
mod error;
#[cfg(feature = "captcha")]
mod glyph;
mod guard;
mod hosted;
mod keys;
mod kind;
#[cfg(feature = "captcha")]
mod noise;
#[cfg(feature = "captcha")]
mod picture;
mod pow;
#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "captcha")]
mod speech;
pub(crate) mod store;

pub use error::{CaptchaError, NeededCaptcha};
pub(crate) use guard::{Guarded, subjects_about};
pub use hosted::HostedCaptcha;
pub use kind::{Captcha, CaptchaFuture, CaptchaRequest, CaptchaResponse, CaptchaVerdict};
#[cfg(feature = "captcha")]
pub use picture::PictureCaptcha;
pub use pow::ProofOfWork;
#[cfg(feature = "routes")]
pub use routes::routes;

/// The rule of [`rate_limit`](crate::rate_limit) for captchas that a source asks for.
const RULE: &str = "captchas";

/// What `build()` calls the captcha when it refuses its settings.
const KNOB: &str = "captcha";

/// The captcha of an instance.
#[derive(Default)]
struct Chosen(Option<Arc<dyn Captcha>>);

impl PerInstance for Chosen {
    fn open(_: &Context) -> Self {
        Self::default()
    }
}

impl Builder {
    /// Sets the captcha that strangers have to solve after some failures. See
    /// [`captcha`](crate::captcha).
    pub fn captcha(mut self, captcha: impl Captcha) -> Self {
        let is_ours = |error: &ConfigError| matches!(error, ConfigError::Knob { knob: KNOB, .. });
        self.faults.retain(|fault| !is_ours(fault));
        let fault = |reason| ConfigError::Knob { knob: KNOB, reason };
        self.faults.extend(captcha.faults().into_iter().map(fault));
        self.state::<Chosen>().0 = Some(Arc::new(captcha));
        self
    }
}

/// Offers and checks captchas. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Captchas<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the captchas of this instance.
    pub fn captchas(&self) -> Captchas<'_> {
        Captchas { auth: self }
    }
}

/// A captcha to show.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OfferedCaptcha {
    /// The kind, such as `picture`.
    pub kind: &'static str,
    /// What it is for.
    pub action: String,
    /// How long it can be answered.
    pub expires_in: Duration,
    /// What the kind needs to show it. See the [routes](self#routes).
    pub parts: Map<String, Value>,
}

impl OfferedCaptcha {
    /// Returns the answer of `POST /captcha`.
    pub fn to_json(&self) -> Value {
        let mut json = self.parts.clone();
        json.insert("kind".to_owned(), self.kind.into());
        json.insert("action".to_owned(), self.action.as_str().into());
        json.insert("expires_in".to_owned(), self.expires_in.as_secs().into());
        json.into()
    }
}

impl Captchas<'_> {
    /// True if the builder has a captcha.
    pub fn are_on(&self) -> bool {
        self.captcha().is_some()
    }

    fn captcha(&self) -> Option<Arc<dyn Captcha>> {
        self.auth.per_instance::<Chosen>().0.clone()
    }

    fn config(&self) -> &CaptchaConfig {
        &self.auth.context().config.captcha
    }

    /// Makes a captcha for an action: `login`, `register`, `forgot`, or one of your own.
    ///
    /// # Errors
    /// [`CaptchaError::InvalidAction`]; [`CaptchaError::RateLimited`] if this source has asked for too
    /// many; [`CaptchaError::NotConfigured`]; an outage.
    pub async fn offer(
        &self,
        action: &str,
        client: &ClientInfo,
    ) -> Result<OfferedCaptcha, CaptchaError> {
        let captcha = self.captcha().ok_or(CaptchaError::NotConfigured)?;
        let request = self.request(action, client)?;
        let quota = self.config().per_source;
        self.auth.rate_limits().source(RULE, client.address(), quota).await?;
        let parts = captcha.offer(request).await?;
        let (kind, expires_in) = (captcha.kind(), self.config().lifetime);
        Ok(OfferedCaptcha { kind, action: action.to_owned(), expires_in, parts })
    }

    /// Checks the answer to a captcha for an action, and uses it up. For a route of your own.
    ///
    /// # Errors
    /// [`CaptchaError::Required`] without an answer; [`CaptchaError::Wrong`];
    /// [`CaptchaError::Unavailable`]; [`CaptchaError::InvalidAction`];
    /// [`CaptchaError::NotConfigured`]; an outage.
    pub async fn check(
        &self,
        action: &str,
        response: Option<&CaptchaResponse>,
        client: &ClientInfo,
    ) -> Result<(), CaptchaError> {
        let captcha = self.captcha().ok_or(CaptchaError::NotConfigured)?;
        self.check_with(&*captcha, action, response, client).await
    }

    async fn check_with(
        &self,
        captcha: &dyn Captcha,
        action: &str,
        response: Option<&CaptchaResponse>,
        client: &ClientInfo,
    ) -> Result<(), CaptchaError> {
        let request = self.request(action, client)?;
        let needed = || NeededCaptcha { kind: captcha.kind(), action: action.to_owned() };
        let response = response.ok_or_else(|| CaptchaError::Required(needed()))?;
        match captcha.check(response, request).await? {
            CaptchaVerdict::Right => Ok(()),
            CaptchaVerdict::Wrong => Err(CaptchaError::Wrong(needed())),
        }
    }

    fn request<'r>(
        &'r self,
        action: &'r str,
        client: &'r ClientInfo,
    ) -> Result<CaptchaRequest<'r>, CaptchaError> {
        // An action is a word like the purpose of a code.
        if !ChallengeConfig::is_purpose(action) {
            return Err(CaptchaError::InvalidAction(action.to_owned()));
        }
        Ok(CaptchaRequest { auth: self.auth, action, client, at: self.auth.context().now() })
    }
}

#[cfg(feature = "captcha")]
impl Captchas<'_> {
    /// Draws a challenge of [`PictureCaptcha`], as a PNG.
    ///
    /// # Errors
    /// [`CaptchaError::NotFound`]; too much to draw at once, or an outage.
    pub async fn image(&self, id: &str) -> Result<Vec<u8>, CaptchaError> {
        self.show(id, picture::Medium::Image).await
    }

    /// Speaks a challenge of [`PictureCaptcha`], as a WAV.
    ///
    /// # Errors
    /// [`CaptchaError::NotFound`]; too much to speak at once, or an outage.
    pub async fn audio(&self, id: &str) -> Result<Vec<u8>, CaptchaError> {
        self.show(id, picture::Medium::Audio).await
    }

    /// Returns the digits of a challenge of [`PictureCaptcha`], for tests.
    #[cfg(feature = "test-util")]
    pub async fn digits(&self, id: &str) -> Option<String> {
        picture::digits(self.auth.context(), uuid::Uuid::parse_str(id).ok()?).await
    }

    async fn show(&self, id: &str, medium: picture::Medium) -> Result<Vec<u8>, CaptchaError> {
        let id = uuid::Uuid::parse_str(id).map_err(|_| CaptchaError::NotFound)?;
        picture::show(self.auth.context(), id, medium).await
    }
}
