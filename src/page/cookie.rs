//! The two short-lived cookies of pages. They are encrypted, so nobody can read or forge their
//! content. Each is valid for one page only.

use std::time::Duration;

use http::HeaderMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::seal::Sealer;
use crate::base::secret::Purpose;
use crate::context::{Context, PerInstance};
use crate::session::cookie::{Found, SessionCookie};

/// Browsers store no cookie with more than 4 096 bytes, including its name and attributes.
const MAX_BYTES: usize = 3800;

/// How far the clocks of two nodes may differ.
const CLOCK_SKEW: i64 = 60;

/// The cookies of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageCookie {
    /// What was wrong with a form.
    Feedback,
    /// The token of a link.
    Link,
}

impl PageCookie {
    fn lifetime(self) -> Duration {
        match self {
            Self::Feedback => Duration::from_secs(2 * 60),
            // Long enough to choose a password. The link itself is not valid for longer.
            Self::Link => Duration::from_secs(60 * 60),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Feedback => "form",
            Self::Link => "link",
        }
    }

    /// The associated data of the encryption. It binds the cookie to its kind and its page.
    fn name_of(self, page: &str) -> Vec<u8> {
        format!("{} {page}", self.suffix()).into_bytes()
    }
}

/// The names of these cookies, and the key that encrypts them.
pub(super) struct PageCookies {
    sealer: Sealer,
    feedback: SessionCookie,
    link: SessionCookie,
}

impl PerInstance for PageCookies {
    fn open(context: &Context) -> Self {
        let config = &context.config;
        let named = |cookie: PageCookie| SessionCookie::of_pages(config, cookie.suffix());
        Self {
            sealer: Sealer::new(&config.keys.secrets, Purpose::PageCookie),
            feedback: named(PageCookie::Feedback),
            link: named(PageCookie::Link),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Dated<T> {
    at: i64,
    value: T,
}

impl PageCookies {
    fn header_of(&self, cookie: PageCookie) -> &SessionCookie {
        match cookie {
            PageCookie::Feedback => &self.feedback,
            PageCookie::Link => &self.link,
        }
    }

    /// Adds the cookie to an answer. Returns false if the value is too long for one.
    pub(super) fn write(
        &self,
        context: &Context,
        headers: &mut HeaderMap,
        cookie: PageCookie,
        page: &str,
        value: &impl Serialize,
    ) -> bool {
        let dated = Dated { at: context.now().as_secs(), value };
        let plain = serde_json::to_vec(&dated).expect("texts in maps serialize");
        // Checked early, to encrypt no long value. Base64 makes it a third longer.
        if plain.len() > MAX_BYTES {
            return false;
        }
        let sealed = self.sealer.seal(&plain, &cookie.name_of(page));
        let text = format!("{}.{}", sealed.key_id, sealed.text);
        if text.len() > MAX_BYTES {
            return false;
        }
        let header = self.header_of(cookie);
        header.apply(headers, header.set(&text, Some(cookie.lifetime())));
        true
    }

    /// Returns the value, if the request has exactly one such cookie, and if it is valid for this
    /// page and not too old.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        context: &Context,
        headers: &HeaderMap,
        cookie: PageCookie,
        page: &str,
    ) -> Option<T> {
        let Found::One(pair) = self.header_of(cookie).find(headers) else { return None };
        let text = std::str::from_utf8(pair.value()).ok().filter(|text| text.len() <= MAX_BYTES)?;
        let (key_id, sealed) = text.split_once('.')?;
        let plain = self.sealer.open(key_id, sealed, &cookie.name_of(page))?;
        let dated: Dated<T> = serde_json::from_slice(&plain).ok()?;
        let age = context.now().as_secs().saturating_sub(dated.at);
        let most = i64::try_from(cookie.lifetime().as_secs()).unwrap_or(i64::MAX);
        (-CLOCK_SKEW..=most).contains(&age).then_some(dated.value)
    }
}
