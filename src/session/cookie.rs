//! The session cookie: the only place that writes `Set-Cookie`.

use std::time::Duration;

use cookie::Cookie;
use http::header::{CACHE_CONTROL, COOKIE, HeaderName, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use crate::config::{Config, SameSite};

/// The name and the attributes of the cookie, prepared once.
#[derive(Debug, Clone)]
pub(crate) struct SessionCookie {
    /// `name=`, the start of our `Set-Cookie` header and of our pair in a `Cookie` header.
    start: String,
    /// The cookie with its attributes, without value and age.
    template: Cookie<'static>,
    clear_site_data: bool,
}

/// The cookies of a request that have our name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    One(Pair),
    /// Two or more cookies with the same name. Another program may have set some of them.
    Several(Vec<Pair>),
}

/// The value of one cookie, as a part of one header. It is not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    header: HeaderValue,
    range: std::ops::Range<usize>,
}

impl Pair {
    pub(crate) fn value(&self) -> &[u8] {
        &self.header.as_bytes()[self.range.clone()]
    }
}

/// What an answer does to the cookie. The stronger action wins: a login before a logout, and a
/// logout before what the layer adds itself, which is a rotation or the first cookie of a visitor.
#[derive(Debug, Clone)]
pub(crate) enum CookieAction {
    Set(HeaderValue),
    Rotate(HeaderValue),
    Clear,
}

impl SessionCookie {
    pub(crate) fn new(config: &Config) -> Self {
        Self::named(config, config.cookie_name())
    }

    /// The cookie of known devices. It has another name and the same attributes.
    pub(crate) fn of_devices(config: &Config) -> Self {
        Self { clear_site_data: false, ..Self::named(config, config.device_cookie_name()) }
    }

    /// The cookie of trusted devices. Only the pages of this site send a password, so it may be `Strict`.
    pub(crate) fn of_trusted_devices(config: &Config) -> Self {
        Self { clear_site_data: false, ..Self::named(config, config.trusted_device_cookie_name()) }
    }

    /// A short-lived cookie of pages. It is never `Strict`, because browsers do not send a `Strict`
    /// cookie after a click on a link in a mail.
    #[cfg(feature = "routes")]
    pub(crate) fn of_pages(config: &Config, suffix: &str) -> Self {
        let mut named = Self::named(config, format!("{}-{suffix}", config.cookie_name()));
        if config.cookie.same_site == SameSite::Strict {
            named.template.set_same_site(cookie::SameSite::Lax);
        }
        Self { clear_site_data: false, ..named }
    }

    /// The cookie of browsers that asked for a sign-in by mail. It may be `Strict`, because only
    /// the pages of this site send it.
    pub(crate) fn of_mail_login(config: &Config) -> Self {
        Self { clear_site_data: false, ..Self::named(config, config.mail_login_cookie_name()) }
    }

    /// The cookie of browsers that began a sign-in with a passkey. It may be `Strict` too.
    #[cfg(feature = "passkey")]
    pub(crate) fn of_passkey(config: &Config) -> Self {
        Self { clear_site_data: false, ..Self::named(config, config.passkey_cookie_name()) }
    }

    /// The cookie of browsers that began a sign-in with a provider. The provider leads back from its own site, and browsers
    /// send no `Strict` cookie then.
    #[cfg(feature = "federation")]
    pub(crate) fn of_federation(config: &Config) -> Self {
        let mut named = Self::named(config, config.federation_cookie_name());
        if config.cookie.same_site == SameSite::Strict {
            named.template.set_same_site(cookie::SameSite::Lax);
        }
        Self { clear_site_data: false, ..named }
    }

    fn named(config: &Config, name: String) -> Self {
        let same_site = match config.cookie.same_site {
            SameSite::Strict => cookie::SameSite::Strict,
            SameSite::Lax => cookie::SameSite::Lax,
            SameSite::None => cookie::SameSite::None,
        };
        Self {
            start: format!("{name}="),
            template: Cookie::build(name)
                .path("/")
                .secure(!config.cookie.danger_insecure_http_cookies)
                .http_only(true)
                .same_site(same_site)
                .partitioned(config.cookie.partitioned)
                .build(),
            clear_site_data: config.service.clear_site_data,
        }
    }

    /// Finds the cookies with exactly this name.
    pub(crate) fn find(&self, headers: &HeaderMap) -> Found {
        let mut found = Found::Nothing;
        for header in headers.get_all(COOKIE) {
            let bytes = header.as_bytes();
            let mut at = 0;
            for pair in bytes.split(|byte| *byte == b';') {
                let blanks = pair.iter().take_while(|byte| matches!(**byte, b' ' | b'\t')).count();
                let trimmed = &pair[blanks..];
                if trimmed.starts_with(self.start.as_bytes()) {
                    let from = at + blanks + self.start.len();
                    let value = &bytes[from..at + pair.len()];
                    let tail =
                        value.iter().rev().take_while(|b| matches!(**b, b' ' | b'\t')).count();
                    let range = from..from + value.len() - tail;
                    let pair = Pair { header: header.clone(), range };
                    found = match found {
                        Found::Nothing => Found::One(pair),
                        Found::One(first) => Found::Several(vec![first, pair]),
                        Found::Several(mut pairs) => {
                            pairs.push(pair);
                            Found::Several(pairs)
                        }
                    };
                }
                at += pair.len() + 1;
            }
        }
        found
    }

    /// Returns what a client stores after an answer: a token, or an empty text if the cookie is
    /// deleted. `None` if the answer does not change the cookie.
    #[cfg(feature = "test-util")]
    pub(crate) fn received(&self, headers: &HeaderMap) -> Option<String> {
        headers.get_all(SET_COOKIE).iter().find_map(|line| {
            let value = line.to_str().ok()?.strip_prefix(&self.start)?;
            Some(value.split(';').next().unwrap_or_default().to_owned())
        })
    }

    /// Returns a `Set-Cookie` with this token. Without an age the cookie ends with the browser.
    pub(crate) fn set(&self, token: &str, max_age: Option<Duration>) -> CookieAction {
        CookieAction::Set(self.with_token(token, max_age))
    }

    /// The same for the next generation of a token.
    pub(crate) fn rotate(&self, token: &str, max_age: Option<Duration>) -> CookieAction {
        CookieAction::Rotate(self.with_token(token, max_age))
    }

    fn with_token(&self, token: &str, max_age: Option<Duration>) -> HeaderValue {
        let mut cookie = self.template.clone();
        cookie.set_value(token);
        cookie.set_max_age(
            max_age.map(|age| {
                time::Duration::seconds(i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
            }),
        );
        header(&cookie)
    }

    fn cleared(&self) -> HeaderValue {
        self.with_token("", Some(Duration::ZERO))
    }

    /// Applies one action to the cookie. A weaker action than one that is already in the answer
    /// changes nothing. A rotation comes last, because only the layer adds one. An answer that sets
    /// a cookie is never stored by a cache.
    pub(crate) fn apply(&self, headers: &mut HeaderMap, action: CookieAction) {
        let ours = |value: &HeaderValue| value.as_bytes().starts_with(self.start.as_bytes());
        let present: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
        let has_ours = present.iter().any(ours);
        // A login has a value. A deletion has none.
        let is_login = |value: &HeaderValue| {
            ours(value) && value.as_bytes().get(self.start.len()) != Some(&b';')
        };
        let clears = matches!(action, CookieAction::Clear);
        let value = match action {
            CookieAction::Set(value) => value,
            CookieAction::Rotate(_) if has_ours => return,
            CookieAction::Rotate(value) => value,
            CookieAction::Clear if present.iter().any(is_login) => return,
            CookieAction::Clear => self.cleared(),
        };
        if has_ours {
            headers.remove(SET_COOKIE);
            for other in present.iter().filter(|value| !ours(value)) {
                headers.append(SET_COOKIE, other.clone());
            }
        }
        headers.append(SET_COOKIE, value);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if clears && self.clear_site_data {
            headers.insert(
                HeaderName::from_static("clear-site-data"),
                HeaderValue::from_static("\"cookies\", \"storage\""),
            );
        }
    }
}

fn header(cookie: &Cookie<'_>) -> HeaderValue {
    let mut value = HeaderValue::try_from(cookie.to_string())
        .expect("a checked cookie name, a base64url token and fixed attributes are visible ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie() -> SessionCookie {
        SessionCookie::new(&Config::default())
    }

    fn find(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_str(line).expect("a header value"));
        }
        match cookie().find(&headers) {
            Found::Nothing => None,
            Found::Several(pairs) => Some(format!("{} of them", pairs.len())),
            Found::One(pair) => Some(String::from_utf8(pair.value().to_vec()).expect("ASCII")),
        }
    }

    #[test]
    fn only_the_exact_name_is_honoured_and_twins_are_all_found() {
        for (lines, expected) in [
            (&["__Host-session=abc"][..], Some("abc")),
            (&["a=b; __Host-session=abc ; c=d"], Some("abc")),
            (&["a=b", "__Host-session=abc"], Some("abc")),
            (&["session=evil; __Host-session=good"], Some("good")),
            (&["__Host-session=good; session=evil"], Some("good")),
            (&["__Host-session=a; __Host-session=b"], Some("2 of them")),
            (&["__Host-session=a; x=y;__Host-session=b", "__Host-session=a"], Some("3 of them")),
            (&["__host-session=abc"], None),
            (&["__HOST-SESSION=abc"], None),
            (&["=__Host-session=abc"], None),
            (&["x__Host-session=abc"], None),
            (&["__Host-session =abc"], None),
            (&["x=\"; __Host-session2=abc\""], None),
            (&["__Host-session"], None),
            (&["__Host-session="], Some("")),
            (&[";;;="], None),
            (&[""], None),
        ] {
            assert_eq!(find(lines).as_deref(), expected, "{lines:?}");
        }
    }

    #[test]
    fn login_wins_over_logout_and_both_over_the_rotation_that_comes_last() {
        let cookie = cookie();
        let login = cookie.set("login", None);
        let rotation = cookie.rotate("rotated", None);
        let logout = CookieAction::Clear;
        for (actions, expected) in [
            (&[&login, &logout, &rotation][..], "=login;"),
            (&[&logout, &login, &rotation], "=login;"),
            (&[&logout, &rotation], "=; HttpOnly;"),
            (&[&logout, &logout], "=; HttpOnly;"),
            (&[&rotation], "=rotated;"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(SET_COOKIE, HeaderValue::from_static("theirs=1"));
            for action in actions {
                cookie.apply(&mut headers, (*action).clone());
            }
            let set: Vec<_> = headers
                .get_all(SET_COOKIE)
                .iter()
                .map(|value| value.to_str().expect("ASCII"))
                .collect();
            assert_eq!(set.len(), 2, "{set:?}");
            assert_eq!(set[0], "theirs=1");
            assert!(set[1].contains(expected), "{set:?}");
            assert_eq!(headers[CACHE_CONTROL], "no-store");
        }
    }

    #[test]
    fn deletion_repeats_the_attributes() {
        let cookie = cookie();
        let set = cookie.with_token("t", Some(Duration::from_secs(60)));
        assert_eq!(set, "__Host-session=t; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60");
        assert_eq!(
            cookie.cleared(),
            "__Host-session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0"
        );
    }
}
