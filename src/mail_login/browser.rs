//! The browser that asked for a mail: a signed token that only this browser has.
//!
//! The token contains a random number for the browser, and a keyed digest of the name that was
//! typed last. It contains nothing about accounts, so tokens for known and unknown names look the
//! same.

use std::time::Duration;

use axum_core::response::{IntoResponseParts, ResponseParts};
use data_encoding::BASE64URL_NOPAD;
use http::HeaderMap;

use crate::base::clock::Timestamp;
use crate::base::jwt::{MAX_TOKEN_BYTES, MailLoginClaims};
use crate::base::secret::random_array;
use crate::context::Context;
use crate::session::cookie::{CookieAction, Found, Pair, SessionCookie};

/// The number of bytes that identify a browser, and of the digest of a name.
const ID: usize = 18;
const TYPED: usize = 32;

/// The maximum number of cookies with our name that are verified. Without a limit, one request
/// could make the server verify as many as fit into its headers.
const MOST_COOKIES: usize = 8;

/// A browser, and the last name for which it asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Browser {
    id: [u8; ID],
    typed: [u8; TYPED],
}

impl Browser {
    /// Returns the browser of a request that asks for this name. A browser that has asked before
    /// keeps its number, so that its earlier links still work.
    pub(super) fn asks(before: Option<&Self>, typed: [u8; TYPED]) -> Self {
        Self { id: before.map_or_else(random_array, |before| before.id), typed }
    }

    /// Returns the keyed digest of the name that was typed.
    pub(super) fn typed(&self) -> [u8; TYPED] {
        self.typed
    }

    /// Returns the text that the row of a mail stores. Nobody can make a token from it.
    pub(super) fn target(&self) -> String {
        BASE64URL_NOPAD.encode(&[self.id.as_slice(), &self.typed].concat())
    }

    /// Returns true if this browser asked for the mail with this target, for any name.
    pub(super) fn asked_for(&self, target: Option<&str>) -> bool {
        target.and_then(Self::read).is_some_and(|asked| asked.id == self.id)
    }

    fn read(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (id, typed) = bytes.split_first_chunk()?;
        Some(Self { id: *id, typed: typed.try_into().ok()? })
    }

    /// Reads a token, if it was signed here and has not expired.
    pub(super) fn verify(context: &Context, token: &[u8]) -> Option<Self> {
        let token = std::str::from_utf8(token).ok().filter(|text| text.len() <= MAX_TOKEN_BYTES)?;
        let claims = context.jwt.verify_mail_login(token)?;
        let in_time = context.now().as_secs() < claims.expires_at;
        Self::read(&claims.asked).filter(|_| in_time)
    }

    /// Returns the browser that the cookies of a request identify. `None` if two of them are valid.
    pub(super) fn shown(context: &Context, headers: &HeaderMap) -> Option<Self> {
        let pairs: Vec<Pair> = match SessionCookie::of_mail_login(&context.config).find(headers) {
            Found::Nothing => return None,
            Found::One(pair) => vec![pair],
            Found::Several(pairs) => pairs,
        };
        let verified = pairs.iter().take(MOST_COOKIES);
        let mut verified = verified.filter_map(|pair| Self::verify(context, pair.value()));
        let (first, other) = (verified.next(), verified.next());
        first.filter(|_| other.is_none() && pairs.len() <= MOST_COOKIES)
    }
}

/// The browser that asked for a mail. Add it to the answer. Otherwise neither the code nor the link
/// can sign in.
///
/// It is [`IntoResponseParts`], so a handler can return `(asking, StatusCode::ACCEPTED)`.
/// Elsewhere, [`apply`](Self::apply) adds the cookie to the headers.
#[must_use = "only a browser that gets this can use the mail"]
pub struct AskingBrowser {
    cookie: SessionCookie,
    action: CookieAction,
    token: String,
}

impl AskingBrowser {
    pub(super) fn new(context: &Context, browser: &Browser, now: Timestamp) -> Self {
        let lifetime = context.config.mail.login_lifetime;
        // It lasts a moment longer than the link, so that a late second click gets the right
        // answer.
        let lifetime = lifetime + Duration::from_secs(60);
        let claims =
            MailLoginClaims { asked: browser.target(), expires_at: now.plus(lifetime).as_secs() };
        let token = context.jwt.sign_mail_login(&claims);
        let cookie = SessionCookie::of_mail_login(&context.config);
        let action = cookie.set(&token, Some(lifetime));
        Self { cookie, action, token }
    }

    /// Returns the token, for a client that stores it itself and passes it to
    /// [`in_browser`](super::MailLogin::in_browser). A browser gets it in the cookie.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Adds the cookie to the headers of an answer.
    pub fn apply(&self, headers: &mut HeaderMap) {
        self.cookie.apply(headers, self.action.clone());
    }
}

impl IntoResponseParts for AskingBrowser {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        self.apply(parts.headers_mut());
        Ok(parts)
    }
}

impl std::fmt::Debug for AskingBrowser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AskingBrowser(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_keeps_its_number_and_is_told_from_every_other() {
        let first = Browser::asks(None, [1; TYPED]);
        let again = Browser::asks(Some(&first), [2; TYPED]);
        let other = Browser::asks(None, [1; TYPED]);
        assert_ne!(first.target(), again.target(), "another name");
        assert!(again.asked_for(Some(&first.target())) && first.asked_for(Some(&again.target())));
        assert!(!other.asked_for(Some(&first.target())));
        assert_eq!(Browser::read(&first.target()), Some(first));
        let target = first.target();
        for text in ["", "a", &target[1..], &format!("{target}A"), &format!("{target}AAAA")] {
            assert_eq!(Browser::read(text), None, "{text}");
            assert!(!first.asked_for(Some(text)));
        }
        assert!(!first.asked_for(None));
    }
}
