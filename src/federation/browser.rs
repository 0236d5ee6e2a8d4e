//! The browser that began a sign-in with a provider. It keeps a random token. What PKCE and the nonce need is derived
//! from it, so no other browser can finish the sign-in, and no copy of the database either.

use std::time::Duration;

use axum_core::response::{IntoResponseParts, ResponseParts};
use data_encoding::BASE64URL_NOPAD;
use http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::base::secret::random_array;
use crate::context::Context;
use crate::session::cookie::{CookieAction, Found, SessionCookie};

const TOKEN: usize = 32;

/// The token of a browser.
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
        match SessionCookie::of_federation(&context.config).find(headers) {
            Found::One(pair) => Self::read(pair.value()),
            Found::Nothing | Found::Several(_) => None,
        }
    }

    /// Returns what is stored.
    pub(super) fn digest(self) -> [u8; 32] {
        Sha256::new_with_prefix(b"browser\0").chain_update(self.0).finalize().into()
    }

    /// Returns the code verifier of a sign-in (RFC 7636): 43 characters. Only this browser has what it is made of.
    pub(super) fn verifier(self, state: &str) -> String {
        self.derived(b"verifier\0", state)
    }

    /// Returns the nonce of a sign-in.
    pub(super) fn nonce(self, state: &str) -> String {
        self.derived(b"nonce\0", state)
    }

    fn derived(self, label: &[u8], state: &str) -> String {
        let digest = Sha256::new_with_prefix(label).chain_update(self.0).chain_update(state);
        BASE64URL_NOPAD.encode(&digest.finalize())
    }
}

/// The browser that began a sign-in with a provider. Add it to the answer. Otherwise the sign-in cannot be finished.
///
/// It is [`IntoResponseParts`], so a handler can return `(browser, Redirect::to(..))`. Elsewhere,
/// [`apply`](Self::apply) adds the cookie to the headers.
#[must_use = "only a browser that gets this can finish the sign-in"]
pub struct ProviderBrowser {
    cookie: SessionCookie,
    action: CookieAction,
}

impl ProviderBrowser {
    pub(super) fn new(context: &Context, browser: Browser) -> Self {
        let token = BASE64URL_NOPAD.encode(&browser.0);
        let cookie = SessionCookie::of_federation(&context.config);
        // Long enough for the sign-in and for a confirmation afterwards.
        let lifetime = 2 * context.config.federation.flow_lifetime + Duration::from_secs(60);
        let action = cookie.set(&token, Some(lifetime));
        Self { cookie, action }
    }

    /// Adds the cookie to the headers of an answer.
    pub fn apply(self, headers: &mut HeaderMap) {
        self.cookie.apply(headers, self.action);
    }
}

impl std::fmt::Debug for ProviderBrowser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProviderBrowser(..)")
    }
}

impl IntoResponseParts for ProviderBrowser {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        self.apply(parts.headers_mut());
        Ok(parts)
    }
}
