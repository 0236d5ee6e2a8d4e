//! Keys with which programs act for an account.

use std::time::Duration;

use super::check::Checker;
use super::{Config, DAY, HOUR};

/// Rules about [API keys](crate::api_key).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ApiKeyConfig {
    /// What every key of your service begins with, such as `acme`: 3 to 16 lower-case letters or digits,
    /// the first one a letter. Scanners of public code find a lost key by it. With a prefix, API keys are on.
    /// A key counts only while its prefix is configured. Default: none, so there are no API keys.
    pub prefix: Option<String>,
    /// A request header in which a key may be sent too, such as `x-api-key`. `Authorization: Bearer <key>`
    /// always works. Default: none.
    pub header: Option<String>,
    /// The maximum number of keys of an account, 1 to 1000. Default: 20.
    pub max_per_account: u32,
    /// How long a key is valid if the request does not say it. 1 h to the longest. Default: 90 d.
    pub default_lifetime: Duration,
    /// The longest time that a key may be valid. 1 h to 10 years. Default: 366 d.
    pub max_lifetime: Duration,
    /// How long before its end the owner of a key is told by mail. `None` sends no mail. At most 90 d.
    /// Default: 7 d.
    pub notice: Option<Duration>,
}

impl Default for ApiKeyConfig {
    fn default() -> Self {
        Self {
            prefix: None,
            header: None,
            max_per_account: 20,
            default_lifetime: 90 * DAY,
            max_lifetime: 366 * DAY,
            notice: Some(7 * DAY),
        }
    }
}

/// Headers that mean something else, some of which browsers and proxies send by themselves.
const TAKEN_HEADERS: [&str; 17] = [
    "accept",
    "authorization",
    "connection",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "if-none-match",
    "if-range",
    "origin",
    "range",
    "referer",
    "te",
    "upgrade",
    "user-agent",
    "via",
    "x-requested-with",
];

/// The beginnings of names of such headers.
const TAKEN_PREFIXES: [&str; 8] = [
    "accept-",
    "access-control-",
    "cache-",
    "content-",
    "portcullis-",
    "proxy-",
    "sec-",
    "x-forwarded-",
];

impl Config {
    pub(super) fn check_api_key(&self, check: &mut Checker) {
        let config = &self.api_key;
        let wrong = |prefix: &String| {
            let letter = prefix.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            !letter || !(3..=16).contains(&prefix.len()) || !prefix.bytes().all(plain)
        };
        check.refuse_if(
            config.prefix.as_ref().is_some_and(wrong),
            "api_key.prefix",
            "must have 3 to 16 lower-case letters or digits, and begin with a letter",
        );
        let unusable = |header: &String| {
            let name = http::HeaderName::from_bytes(header.as_bytes());
            name.map_or(true, |name| {
                let name = name.as_str();
                TAKEN_HEADERS.contains(&name)
                    || TAKEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            })
        };
        check.refuse_if(
            config.header.as_ref().is_some_and(unusable),
            "api_key.header",
            "must be the name of a header that has no other meaning, such as `x-api-key`",
        );
        check.refuse_if(
            config.header.is_some() && config.prefix.is_none(),
            "api_key.header",
            "needs `api_key.prefix`: without it there are no API keys",
        );
        check.refuse_if(
            !(1..=1000).contains(&config.max_per_account),
            "api_key.max_per_account",
            "must be between 1 and 1000",
        );
        check.refuse_if(
            !(HOUR..=3653 * DAY).contains(&config.max_lifetime),
            "api_key.max_lifetime",
            "must be between an hour and 10 years",
        );
        check.refuse_if(
            config.default_lifetime < HOUR || config.default_lifetime > config.max_lifetime,
            "api_key.default_lifetime",
            "must be between an hour and `api_key.max_lifetime`",
        );
        check.refuse_if(
            config.notice.is_some_and(|notice| notice.is_zero() || notice > 90 * DAY),
            "api_key.notice",
            "must be longer than zero and at most 90 days, or `None`",
        );
    }
}
