//! The browser that began a sign-in: a random token that only this browser has. So nobody can make the browser
//! of another person finish a sign-in that they have begun themselves.

use std::time::Duration;

use axum_core::response::{IntoResponseParts, ResponseParts};
use data_encoding::BASE64URL_NOPAD;
use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::challenge::Holder;
use crate::base::secret::random_array;
use crate::context::Context;
use crate::session::cookie::{CookieAction, Found, SessionCookie};

const TOKEN: usize = 18;

/// A token of a browser.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Browser([u8; TOKEN]);

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Browser(..)")
    }
}

impl Browser {
    pub(super) fn new() -> Self {
        Self(random_array())
    }

    pub(super) fn read(token: &[u8]) -> Option<Self> {
        BASE64URL_NOPAD.decode(token).ok()?.try_into().ok().map(Self)
    }

    /// Returns the token in the cookie of a request. `None` if there are two: nobody knows which one is ours.
    pub(super) fn shown(context: &Context, headers: &HeaderMap) -> Option<Self> {
        match SessionCookie::of_passkey(&context.config).find(headers) {
            Found::One(pair) => Self::read(pair.value()),
            Found::Nothing | Found::Several(_) => None,
        }
    }

    pub(super) fn holder(self) -> Holder {
        Holder::Browser(Sha256::digest(self.0).into())
    }
}

/// The browser that began a sign-in. Add it to the answer. Otherwise the sign-in cannot be finished.
///
/// It is [`IntoResponseParts`], so a handler can return `(browser, Json(options))`. Elsewhere,
/// [`apply`](Self::apply) adds the cookie to the headers.
#[must_use = "only a browser that gets this can finish the sign-in"]
pub struct PasskeyBrowser {
    cookie: SessionCookie,
    action: CookieAction,
    token: String,
}

impl PasskeyBrowser {
    pub(super) fn new(context: &Context, browser: Browser) -> Self {
        let token = BASE64URL_NOPAD.encode(&browser.0);
        let cookie = SessionCookie::of_passkey(&context.config);
        let lifetime = context.config.passkey.challenge_lifetime + Duration::from_secs(60);
        let action = cookie.set(&token, Some(lifetime));
        Self { cookie, action, token }
    }

    /// Returns the token, for a client that stores it itself and passes it to
    /// [`in_browser`](super::PasskeyLogin::in_browser). A browser gets it in the cookie.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Adds the cookie to the headers of an answer.
    pub fn apply(&self, headers: &mut HeaderMap) {
        self.cookie.apply(headers, self.action.clone());
    }
}

impl IntoResponseParts for PasskeyBrowser {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        self.apply(parts.headers_mut());
        Ok(parts)
    }
}

impl std::fmt::Debug for PasskeyBrowser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasskeyBrowser(..)")
    }
}
