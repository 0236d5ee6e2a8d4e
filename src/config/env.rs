//! The configuration from the environment. It is read only on request.
//!
//! Every variable starts with `PORTCULLIS_`. An unknown one is refused, because a protection would
//! be lost without notice if its name was misspelt. (`PORTCULLIS_TEST_*` belongs to the test suite
//! and is skipped.) A text stays a text: `12345` is a valid cookie name. Durations are written as
//! `15m`, `12h`, `7d`, `90s`. Lists are separated by commas.
//!
//! Some settings have no variable: `config.passkey`, `password.peppers`, `keys.signing`, `permission.levels`, all settings of captchas,
//! `config.factor`, `config.account_recovery`, `config.action_proof`, `config.device_login`, `config.totp` except the
//! issuer, `trusted_device.max_per_account` and `superusers`, the rest of `config.api_key`,
//! `retention.account_recoveries`, `retention.device_requests`, the paths of `mail.links`, `attempts.kinds`, and single
//! numbers that
//! are rarely changed. Set them in the code, after [`Config::from_env`], with
//! [`Builder::configure`](crate::Builder::configure). Read secrets such as a pepper from the place where your service
//! keeps its other secrets, under a name that does not start with `PORTCULLIS_`.
//!
//! | variable | setting |
//! |---|---|
//! | `PORTCULLIS_SECRET` | the secret; several, newest first, separated by commas |
//! | `PORTCULLIS_PUBLIC_URL`, `PORTCULLIS_ISSUER`, `PORTCULLIS_TRUSTED_ORIGINS` | [`ServiceConfig`](super::ServiceConfig) |
//! | `PORTCULLIS_STRICT_ORIGIN`, `PORTCULLIS_BEARER`, `PORTCULLIS_CLEAR_SITE_DATA`, `PORTCULLIS_NO_STORE` | `true` or `false` |
//! | `PORTCULLIS_LOGIN_PAGE` | path of the page a guard sends browsers to |
//! | `PORTCULLIS_STEP_UP_PAGE` | path of the page that asks for a factor again |
//! | `PORTCULLIS_COOKIE_NAME`, `PORTCULLIS_COOKIE_SAME_SITE` | `strict`, `lax` or `none` |
//! | `PORTCULLIS_DANGER_INSECURE_HTTP_COOKIES` | `true` or `false` |
//! | `PORTCULLIS_COOKIE_PARTITIONED` | `true` or `false` |
//! | `PORTCULLIS_REPLAY_AFTER` | duration |
//! | `PORTCULLIS_TOKEN_LIFETIME`, `PORTCULLIS_REFRESH_WINDOW` (or `off`), `PORTCULLIS_ABSOLUTE_LIFETIME`, `PORTCULLIS_UNREMEMBERED_LIFETIME` | durations |
//! | `PORTCULLIS_BINDING` | `off`, `log`, `step-up`, `suspect` or `end` |
//! | `PORTCULLIS_SESSIONS_PER_ACCOUNT` | number |
//! | `PORTCULLIS_AT_SESSION_LIMIT` | `evict-oldest` or `refuse` |
//! | `PORTCULLIS_LOGIN_IDS` | `username`, `email` or `either` |
//! | `PORTCULLIS_REGISTRATION` | `automatic`, `open`, `strict` or `closed` |
//! | `PORTCULLIS_REQUIRE_VERIFIED` | `true` or `false` |
//! | `PORTCULLIS_NAMES_PER_ACCOUNT` | number |
//! | `PORTCULLIS_PASSWORD_MIN_LENGTH`, `PORTCULLIS_PASSWORD_MEMORY_KIB`, `PORTCULLIS_PASSWORD_ITERATIONS`, `PORTCULLIS_CONCURRENT_HASHES`, `PORTCULLIS_HASH_QUEUE` | numbers |
//! | `PORTCULLIS_HASH_WAIT` | like `10s` |
//! | `PORTCULLIS_PASSWORD_COMPOSITION` | `any` or `three-of-four` |
//! | `PORTCULLIS_PASSWORD_MIN_STRENGTH` (feature `strength`) | `fair`, `good` or `strong` |
//! | `PORTCULLIS_PASSWORD_CONTEXT_WORDS` | words |
//! | `PORTCULLIS_PASSWORD_CHANGE_PAGE` | path of the page on which a password is changed |
//! | `PORTCULLIS_CODE_LENGTH`, `PORTCULLIS_CODE_ALPHABET`, `PORTCULLIS_CODE_LIFETIME`, `PORTCULLIS_CODE_ATTEMPTS`, `PORTCULLIS_CODE_ATTEMPTS_WINDOW`, `PORTCULLIS_CODE_COOL_DOWN` | [`ChallengeConfig`](super::ChallengeConfig) |
//! | `PORTCULLIS_ATTEMPT_LIMIT` | number |
//! | `PORTCULLIS_ATTEMPT_WINDOW`, `PORTCULLIS_LOCKOUT` | durations |
//! | `PORTCULLIS_ATTEMPT_SOURCE_LIMIT` | number or `off` |
//! | `PORTCULLIS_REVEAL_LOCKOUT` | `true` or `false` |
//! | `PORTCULLIS_WATCH` | `true` or `false` |
//! | `PORTCULLIS_WATCH_FAILURES`, `PORTCULLIS_WATCH_NAMES` | numbers |
//! | `PORTCULLIS_VERIFICATION_LIFETIME` | duration |
//! | `PORTCULLIS_CONTACT_CONFIRM_LIFETIME`, `PORTCULLIS_CONTACT_UNDO_LIFETIME` (or `off`) | durations |
//! | `PORTCULLIS_FACTOR_UNDO_LIFETIME` | duration or `off` |
//! | `PORTCULLIS_TOTP_ISSUER` | text |
//! | `PORTCULLIS_API_KEY_PREFIX`, `PORTCULLIS_API_KEY_HEADER` | [`ApiKeyConfig`](super::ApiKeyConfig) |
//! | `PORTCULLIS_API_KEY_MAX_LIFETIME` | duration |
//! | `PORTCULLIS_TRUSTED_DEVICES` | `true` or `false` |
//! | `PORTCULLIS_TRUSTED_DEVICE_LIFETIME` | duration |
//! | `PORTCULLIS_TRUSTED_PROXIES` | networks such as `10.0.0.0/8` |
//! | `PORTCULLIS_FORWARDED_HEADER` | `x-forwarded-for` or `forwarded` |
//! | `PORTCULLIS_FORWARDED_PREFIX` | `true` or `false` |
//! | `PORTCULLIS_MEMBERSHIP_SOURCE_TIMEOUT` | duration |
//! | `PORTCULLIS_RATE_PER_SOURCE`, `PORTCULLIS_RATE_PER_PRINCIPAL` | number a minute, or `off` |
//! | `PORTCULLIS_RATE_TAKEN_NAMES`, `PORTCULLIS_RATE_REGISTRATIONS`, `PORTCULLIS_MAIL_PER_SOURCE` | number an hour, or `off` |
//! | `PORTCULLIS_RATE_UNKNOWN_SOURCES` | number |
//! | `PORTCULLIS_RATE_STORE` | `process` or `database` |
//! | `PORTCULLIS_DATABASE_TIMEOUT` | duration |
//! | `PORTCULLIS_DATABASE_WRITERS` | number |
//! | `PORTCULLIS_DATABASE_HOOK_TIMEOUT` | duration |
//! | `PORTCULLIS_REMEMBERED_GRANTS` | number |
//! | `PORTCULLIS_MAIL_SERVICE_NAME`, `PORTCULLIS_MAIL_SENDER`, `PORTCULLIS_MAIL_LINK_ORIGIN` | texts |
//! | `PORTCULLIS_MAIL_COOL_DOWN`, `PORTCULLIS_PASSWORD_RESET_LIFETIME`, `PORTCULLIS_MAIL_LOGIN_LIFETIME`, `PORTCULLIS_MAIL_SEND_TIMEOUT` | durations |
//! | `PORTCULLIS_MAIL_LOGIN_CREATES_ACCOUNTS` | `true` or `false` |
//! | `PORTCULLIS_MAIL_PER_HOUR`, `PORTCULLIS_MAIL_ATTEMPTS` | numbers |
//! | `PORTCULLIS_RETENTION_SESSIONS`, `PORTCULLIS_RETENTION_CHALLENGES`, `PORTCULLIS_RETENTION_ATTEMPTS`, `PORTCULLIS_RETENTION_DENIALS`, `PORTCULLIS_RETENTION_CLOSED_ACCOUNTS`, `PORTCULLIS_RETENTION_API_KEYS`, `PORTCULLIS_RETENTION_ERASED_SOURCES` | durations |
//! | `PORTCULLIS_RETENTION_EVENTS`, `PORTCULLIS_RETENTION_UNVERIFIED_ACCOUNTS` | durations, or `off` to keep them |

use std::ffi::OsString;
use std::time::Duration;

#[cfg(feature = "strength")]
use super::Strength;
use super::check::{ConfigError, ConfigErrors};
use super::{
    AtLimit, Binding, Composition, Config, LoginIds, RateStore, Registration, SameSite,
    Unauthenticated, WatchConfig,
};
use crate::base::client::ForwardedHeader;
use crate::base::rate::Quota;
use crate::base::secret::Secret;

const PREFIX: &str = "PORTCULLIS_";

/// True if a test should write the files with which it compares: `PORTCULLIS_TEST_UPDATE=1`.
#[cfg(feature = "test-util")]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(crate) fn updates_snapshots() -> bool {
    std::env::var("PORTCULLIS_TEST_UPDATE").is_ok_and(|value| value == "1")
}

impl Config {
    /// Reads the configuration from `PORTCULLIS_*` variables. All other settings have their
    /// defaults.
    ///
    /// # Errors
    /// Names all variables of portcullis that are unknown, have a wrong value or are not UTF-8. The
    /// errors do not contain the values, because a value may be a secret. Other variables are
    /// ignored.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn from_env() -> Result<Self, ConfigErrors> {
        Self::from_os_vars(std::env::vars_os())
    }

    /// The same from any list of names and values.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_vars(
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        Self::from_os_vars(vars.into_iter().map(|(name, value)| (name.into(), value.into())))
    }

    /// Variables of other programs need not be valid UTF-8. Only those of portcullis must be.
    fn from_os_vars(
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigErrors> {
        let mut config = Self::default();
        let mut errors = Vec::new();
        let mut vars: Vec<_> = vars.into_iter().collect();
        // Sorted, so that the errors do not depend on the order of the environment: `WATCH` must
        // come before `WATCH_NAMES`.
        vars.sort_by(|one, other| one.0.cmp(&other.0));
        for (name, value) in vars {
            if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                continue;
            }
            // A name that is not UTF-8 is shown as well as possible. It is always unknown.
            let name = name.to_string_lossy().into_owned();
            let key = name.strip_prefix(PREFIX).unwrap_or_default();
            if key.starts_with("TEST_") {
                continue;
            }
            let set = match value.to_str() {
                Some(value) => config.set(key, value),
                None => Err("is not valid UTF-8".to_owned()),
            };
            if let Err(reason) = set {
                errors.push(ConfigError::Variable { name, reason });
            }
        }
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "SECRET" => {
                // The first one is used for everything new. What was made with the others must
                // stay valid, so they only verify.
                let take = |(number, text): (usize, &str)| match number {
                    0 => Secret::new(text),
                    _ => Secret::in_use(text),
                };
                self.keys.secrets = list(value)
                    .enumerate()
                    .map(|numbered| take(numbered).map_err(|error| error.to_string()))
                    .collect::<Result<_, _>>()?;
            }
            "PUBLIC_URL" => self.service.public_url = Some(value.to_owned()),
            "ISSUER" => self.service.issuer = Some(value.to_owned()),
            "TRUSTED_ORIGINS" => {
                self.service.trusted_origins = list(value).map(str::to_owned).collect();
            }
            "STRICT_ORIGIN" => self.service.strict_origin = boolean(value)?,
            "BEARER" => self.service.bearer = boolean(value)?,
            "CLEAR_SITE_DATA" => self.service.clear_site_data = boolean(value)?,
            "NO_STORE" => self.service.no_store = boolean(value)?,
            "LOGIN_PAGE" => {
                self.service.unauthenticated = Unauthenticated::LoginPage(value.to_owned());
            }
            "STEP_UP_PAGE" => self.service.step_up_page = Some(value.to_owned()),
            "COOKIE_NAME" => value.clone_into(&mut self.cookie.name),
            "COOKIE_SAME_SITE" => {
                self.cookie.same_site = word(
                    value,
                    &[
                        ("strict", SameSite::Strict),
                        ("lax", SameSite::Lax),
                        ("none", SameSite::None),
                    ],
                )?;
            }
            "DANGER_INSECURE_HTTP_COOKIES" => {
                self.cookie.danger_insecure_http_cookies = boolean(value)?;
            }
            "COOKIE_PARTITIONED" => self.cookie.partitioned = boolean(value)?,
            "REPLAY_AFTER" => self.session.replay_after = duration(value)?,
            "TOKEN_LIFETIME" => self.session.token_lifetime = duration(value)?,
            "REFRESH_WINDOW" if value == "off" => self.session.refresh_window = None,
            "REFRESH_WINDOW" => self.session.refresh_window = Some(duration(value)?),
            "ABSOLUTE_LIFETIME" => self.session.absolute_lifetime = duration(value)?,
            "UNREMEMBERED_LIFETIME" => self.session.unremembered_lifetime = duration(value)?,
            "BINDING" => {
                let words = [
                    ("off", Binding::Off),
                    ("log", Binding::Log),
                    ("step-up", Binding::StepUp),
                    ("suspect", Binding::Suspect),
                    ("end", Binding::End),
                ];
                self.session.binding = word(value, &words)?;
            }
            "SESSIONS_PER_ACCOUNT" => self.session.max_per_account = Some(number(value)?),
            "AT_SESSION_LIMIT" => {
                let words = [("evict-oldest", AtLimit::EvictOldest), ("refuse", AtLimit::Refuse)];
                self.session.at_limit = word(value, &words)?;
            }
            "LOGIN_IDS" => {
                let words = [
                    ("username", LoginIds::Username),
                    ("email", LoginIds::Email),
                    ("either", LoginIds::Either),
                ];
                self.login.id = word(value, &words)?;
            }
            "REGISTRATION" => {
                let words = [
                    ("automatic", Registration::Automatic),
                    ("open", Registration::Open),
                    ("strict", Registration::Strict),
                    ("closed", Registration::Closed),
                ];
                self.login.registration = word(value, &words)?;
            }
            "REQUIRE_VERIFIED" => self.login.require_verified = boolean(value)?,
            "NAMES_PER_ACCOUNT" => self.login.max_names = number(value)?,
            "PASSWORD_MIN_LENGTH" => self.password.min_length = number(value)?,
            "PASSWORD_COMPOSITION" => {
                let words =
                    [("any", Composition::Any), ("three-of-four", Composition::ThreeOfFour)];
                self.password.composition = word(value, &words)?;
            }
            #[cfg(feature = "strength")]
            "PASSWORD_MIN_STRENGTH" => {
                let words = [
                    ("fair", Strength::Fair),
                    ("good", Strength::Good),
                    ("strong", Strength::Strong),
                ];
                self.password.min_strength = Some(word(value, &words)?);
            }
            "PASSWORD_CONTEXT_WORDS" => {
                self.password.context_words = list(value).map(str::to_owned).collect();
            }
            "PASSWORD_CHANGE_PAGE" => self.password.change_page = Some(value.to_owned()),
            "PASSWORD_MEMORY_KIB" => self.password.memory_kib = number(value)?,
            "PASSWORD_ITERATIONS" => self.password.iterations = number(value)?,
            "CONCURRENT_HASHES" => self.password.concurrent_hashes = Some(number(value)?),
            "HASH_QUEUE" => self.password.hash_queue = number(value)?,
            "HASH_WAIT" => self.password.hash_wait = duration(value)?,
            "CODE_LENGTH" => self.challenge.code_length = number(value)?,
            "CODE_ALPHABET" => value.clone_into(&mut self.challenge.code_alphabet),
            "CODE_LIFETIME" => self.challenge.code_lifetime = duration(value)?,
            "CODE_ATTEMPTS" => self.challenge.attempts = number(value)?,
            "CODE_ATTEMPTS_WINDOW" => self.challenge.attempts_window = duration(value)?,
            "CODE_COOL_DOWN" => self.challenge.cool_down = duration(value)?,
            "ATTEMPT_LIMIT" => self.attempts.limit = number(value)?,
            "ATTEMPT_WINDOW" => self.attempts.window = duration(value)?,
            "LOCKOUT" => self.attempts.lockout = duration(value)?,
            "ATTEMPT_SOURCE_LIMIT" if value == "off" => self.attempts.source_limit = None,
            "ATTEMPT_SOURCE_LIMIT" => self.attempts.source_limit = Some(number(value)?),
            "WATCH" => self.attempts.watch = boolean(value)?.then(Default::default),
            "WATCH_FAILURES" => self.watch()?.least_failures = number(value)?,
            "WATCH_NAMES" => self.watch()?.names_per_network = number(value)?,
            "REVEAL_LOCKOUT" => self.attempts.reveal_lockout = boolean(value)?,
            "VERIFICATION_LIFETIME" => self.verification.lifetime = duration(value)?,
            "CONTACT_CONFIRM_LIFETIME" => self.contact.confirm_lifetime = duration(value)?,
            "CONTACT_UNDO_LIFETIME" if value == "off" => self.contact.undo_lifetime = None,
            "CONTACT_UNDO_LIFETIME" => self.contact.undo_lifetime = Some(duration(value)?),
            "FACTOR_UNDO_LIFETIME" if value == "off" => self.factor.undo_lifetime = None,
            "FACTOR_UNDO_LIFETIME" => self.factor.undo_lifetime = Some(duration(value)?),
            "TOTP_ISSUER" => self.totp.issuer = Some(value.to_owned()),
            "API_KEY_PREFIX" => self.api_key.prefix = Some(value.to_owned()),
            "API_KEY_HEADER" => self.api_key.header = Some(value.to_owned()),
            "API_KEY_MAX_LIFETIME" => self.api_key.max_lifetime = duration(value)?,
            "TRUSTED_DEVICES" => self.trusted_device.enabled = boolean(value)?,
            "TRUSTED_DEVICE_LIFETIME" => self.trusted_device.lifetime = duration(value)?,
            "TRUSTED_PROXIES" => {
                self.proxies.networks = list(value)
                    .map(|text| {
                        text.parse().map_err(|_| "a network looks like 10.0.0.0/8".to_owned())
                    })
                    .collect::<Result<_, _>>()?;
            }
            "FORWARDED_HEADER" => {
                let words = [
                    ("x-forwarded-for", ForwardedHeader::XForwardedFor),
                    ("forwarded", ForwardedHeader::Forwarded),
                ];
                self.proxies.header = word(value, &words)?;
            }
            "FORWARDED_PREFIX" => self.proxies.prefix = boolean(value)?,
            "MEMBERSHIP_SOURCE_TIMEOUT" => self.permission.source_timeout = duration(value)?,
            "RATE_PER_SOURCE" => self.rate.per_source = per_minute(value)?,
            "RATE_PER_PRINCIPAL" => self.rate.per_principal = per_minute(value)?,
            "RATE_TAKEN_NAMES" => self.rate.taken_names = per_hour(value)?,
            "RATE_REGISTRATIONS" => self.rate.registrations = per_hour(value)?,
            "RATE_UNKNOWN_SOURCES" => self.rate.unknown_sources = number(value)?,
            "RATE_STORE" => {
                let words = [("process", RateStore::Process), ("database", RateStore::Database)];
                self.rate.store = word(value, &words)?;
            }
            "DATABASE_TIMEOUT" => self.database.timeout = duration(value)?,
            "DATABASE_WRITERS" => self.database.writers = number(value)?,
            "DATABASE_HOOK_TIMEOUT" => self.database.hook_timeout = duration(value)?,
            "REMEMBERED_GRANTS" => self.database.remembered_grants = number(value)?,
            "MAIL_SERVICE_NAME" => self.mail.service_name = Some(value.to_owned()),
            "MAIL_SENDER" => self.mail.sender = Some(value.to_owned()),
            "MAIL_LINK_ORIGIN" => self.mail.link_origin = Some(value.to_owned()),
            "MAIL_PER_SOURCE" => self.mail.per_source = per_hour(value)?,
            "MAIL_COOL_DOWN" => self.mail.cool_down = duration(value)?,
            "PASSWORD_RESET_LIFETIME" => self.mail.password_reset_lifetime = duration(value)?,
            "MAIL_LOGIN_LIFETIME" => self.mail.login_lifetime = duration(value)?,
            "MAIL_LOGIN_CREATES_ACCOUNTS" => self.mail.login_creates_accounts = boolean(value)?,
            "MAIL_SEND_TIMEOUT" => self.mail.send_timeout = duration(value)?,
            "MAIL_PER_HOUR" => self.mail.per_hour = number(value)?,
            "MAIL_ATTEMPTS" => self.mail.attempts = number(value)?,
            "RETENTION_SESSIONS" => self.retention.sessions = duration(value)?,
            "RETENTION_CHALLENGES" => self.retention.challenges = duration(value)?,
            "RETENTION_ATTEMPTS" => self.retention.attempts = duration(value)?,
            "RETENTION_EVENTS" => self.retention.events = duration_or_off(value)?,
            "RETENTION_DENIALS" => self.retention.denials = duration(value)?,
            "RETENTION_UNVERIFIED_ACCOUNTS" => {
                self.retention.unverified_accounts = duration_or_off(value)?;
            }
            "RETENTION_CLOSED_ACCOUNTS" => self.retention.closed_accounts = duration(value)?,
            "RETENTION_API_KEYS" => self.retention.api_keys = duration(value)?,
            "RETENTION_ERASED_SOURCES" => self.retention.erased_sources = duration(value)?,
            _ => return Err("is not a variable of portcullis".to_owned()),
        }
        Ok(())
    }

    /// Returns the settings of the watch, unless it is turned off.
    fn watch(&mut self) -> Result<&mut WatchConfig, String> {
        let off = "configures the watch, which PORTCULLIS_WATCH turns off; remove one of them";
        self.attempts.watch.as_mut().ok_or_else(|| off.to_owned())
    }
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn boolean(value: &str) -> Result<bool, String> {
    word(value, &[("true", true), ("false", false)])
}

fn word<T: Clone>(value: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| meaning.clone()).ok_or_else(
        || {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            format!("must be one of: {}", known.join(", "))
        },
    )
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| "must be a whole number".to_owned())
}

fn per_minute(value: &str) -> Result<Option<Quota>, String> {
    quota(value, Duration::from_secs(60))
}

fn per_hour(value: &str) -> Result<Option<Quota>, String> {
    quota(value, Duration::from_secs(60 * 60))
}

fn quota(value: &str, period: Duration) -> Result<Option<Quota>, String> {
    if value == "off" {
        return Ok(None);
    }
    match number(value)? {
        0 => Err("must be at least 1, or `off`".to_owned()),
        count => Ok(Some(Quota::new(count, period))),
    }
}

fn duration_or_off(value: &str) -> Result<Option<Duration>, String> {
    if value == "off" { Ok(None) } else { duration(value).map(Some) }
}

fn duration(value: &str) -> Result<Duration, String> {
    let wrong = || "must be a duration such as 90s, 15m, 12h or 7d".to_owned();
    let split = value.len().checked_sub(1).filter(|at| value.is_char_boundary(*at));
    let (digits, unit) = value.split_at(split.ok_or_else(wrong)?);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    count.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        Config::from_vars(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn known_variables_are_understood_and_others_left_alone() {
        let config = from(&[
            ("PORTCULLIS_COOKIE_NAME", "12345"),
            ("PORTCULLIS_TOKEN_LIFETIME", "5m"),
            ("PORTCULLIS_REFRESH_WINDOW", "off"),
            ("PORTCULLIS_TRUSTED_PROXIES", "10.0.0.0/8, ::1/128"),
            ("PORTCULLIS_PASSWORD_COMPOSITION", "three-of-four"),
            ("PORTCULLIS_PASSWORD_CONTEXT_WORDS", "acme, 12345"),
            ("PORTCULLIS_TEST_POSTGRES_URL", "postgres://localhost"),
            ("HOME", "/root"),
        ])
        .expect("all of them are right");
        assert_eq!(config.cookie.name, "12345");
        assert_eq!(config.session.token_lifetime, Duration::from_secs(300));
        assert_eq!(config.session.refresh_window, None);
        assert_eq!(config.proxies.networks.len(), 2);
        assert_eq!(config.password.composition, Composition::ThreeOfFour);
        assert_eq!(config.password.context_words, ["acme", "12345"]);
    }

    #[test]
    fn the_table_has_every_variable_and_no_other() {
        let source = include_str!("env.rs");
        let (_, rest) = source.split_once("match key {").expect("the variables");
        let (arms, _) = rest.split_once("_ => return Err(").expect("the last arm");
        let read: BTreeSet<&str> = arms
            .lines()
            .filter_map(|line| line.strip_prefix("            \""))
            .filter_map(|line| line.split_once('"'))
            .map(|(name, _)| name)
            .collect();
        assert!(read.len() > 70 && read.contains("SECRET"), "{read:?}");
        let told: BTreeSet<&str> = source
            .lines()
            .filter(|line| line.starts_with("//! | `PORTCULLIS_"))
            .flat_map(|line| line.split("`PORTCULLIS_").skip(1))
            .filter_map(|rest| rest.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(told, read);
    }

    #[test]
    fn a_watch_that_is_off_stays_off_in_any_order() {
        let off = ("PORTCULLIS_WATCH", "false");
        for other in [("PORTCULLIS_WATCH_NAMES", "9"), ("PORTCULLIS_WATCH_FAILURES", "9")] {
            for pairs in [[off, other], [other, off]] {
                let errors = from(&pairs).expect_err("one says off, the other how").to_string();
                assert!(errors.contains(other.0), "{errors}");
            }
            let on = ("PORTCULLIS_WATCH", "true");
            for pairs in [[on, other], [other, on]] {
                let watch = from(&pairs).expect("it is right").attempts.watch.expect("it is on");
                assert!([watch.names_per_network, watch.least_failures].contains(&9));
            }
            assert!(from(&[other]).is_ok());
        }
        assert_eq!(from(&[off]).expect("it is right").attempts.watch.map(|_| ()), None);
    }

    #[test]
    fn every_wrong_variable_is_named_at_once_and_no_value_is_repeated() {
        let errors = from(&[
            ("PORTCULLIS_SECRET", "hunter2hunter2"),
            ("PORTCULLIS_SESION_LIFETIME", "1d"),
            ("PORTCULLIS_BEARER", "yes"),
            ("PORTCULLIS_TOKEN_LIFETIME", "15 min"),
            ("PORTCULLIS_ABSOLUTE_LIFETIME", "é"),
            ("PORTCULLIS_HASH_QUEUE", "-1"),
        ])
        .expect_err("all of them are wrong");
        let text = errors.to_string();
        for name in ["SECRET", "SESION_LIFETIME", "BEARER", "TOKEN_LIFETIME", "HASH_QUEUE"] {
            assert!(text.contains(&format!("PORTCULLIS_{name}")), "{text}");
        }
        assert_eq!(errors.0.len(), 6);
        assert!(!text.contains("hunter2"), "{text}");
    }
}
