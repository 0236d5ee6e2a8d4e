//! What `build()` refuses, and what it warns of.

use std::fmt;
use std::time::Duration;

use super::{
    AttemptKind, Binding, ChallengeConfig, Config, DAY, MINUTE, Registration, SameSite,
    Unauthenticated,
};
use crate::base::public_url::PublicUrl;
use crate::base::redirect::ReturnTo;
use crate::base::same_origin::Origin;
use crate::base::secret::Secret;

/// One error in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that cannot be used.
    #[error("{knob}: {reason}")]
    Knob {
        /// The path of the setting in [`Config`].
        knob: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// An environment variable that is unknown or has a wrong value.
    #[error("{name}: {reason}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// All errors in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration of portcullis cannot be used:")?;
        for error in &self.0 {
            write!(f, "\n  - {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A finding: something that works but that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// A stable code.
    pub code: &'static str,
    /// What was found and what to do about it.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

/// The OWASP password storage sheet gives equivalent pairs: less memory for more passes.
fn meets_owasp_floor(memory_kib: u32, iterations: u32) -> bool {
    [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)]
        .iter()
        .any(|(memory, passes)| memory_kib >= *memory && iterations >= *passes)
}

pub(super) struct Checker(Vec<ConfigError>);

impl Checker {
    pub(super) fn refuse_if(&mut self, wrong: bool, knob: &'static str, reason: impl Into<String>) {
        if wrong {
            self.0.push(ConfigError::Knob { knob, reason: reason.into() });
        }
    }
}

/// Browsers cut a cookie's `Max-Age` at 400 days.
const MAX_COOKIE_AGE: Duration = Duration::from_secs(400 * 24 * 60 * 60);

impl Config {
    /// Returns all errors that can be found in the configuration alone.
    pub(crate) fn faults(&self) -> Vec<ConfigError> {
        let mut check = Checker(Vec::new());
        self.check_service(&mut check);
        self.check_cookie(&mut check);
        self.check_session(&mut check);
        self.check_password(&mut check);
        self.check_challenge(&mut check);
        self.check_contact(&mut check);
        check.refuse_if(
            !(1..=100).contains(&self.login.max_names),
            "login.max_names",
            "must be between 1 and 100",
        );
        self.check_mail(&mut check);
        self.check_permission(&mut check);
        self.check_attempts(&mut check);
        self.check_captcha(&mut check);
        self.check_retention(&mut check);
        self.check_totp(&mut check);
        self.check_factor(&mut check);
        self.check_account_recovery(&mut check);
        self.check_trusted_device(&mut check);
        self.check_action_proof(&mut check);
        self.check_api_key(&mut check);
        self.check_device_login(&mut check);
        self.check_dpop(&mut check);
        self.check_passkey(&mut check);
        self.check_federation(&mut check);
        check.refuse_if(
            self.keys.secrets.is_empty(),
            "keys.secrets",
            "no secret is configured; make one with `openssl rand -base64 32` and keep it out of the repository",
        );
        check.refuse_if(
            self.keys.secrets.first().is_some_and(Secret::is_guessable),
            "keys.secrets",
            "the newest secret can be guessed: put a random one before it",
        );
        check.refuse_if(
            self.keys.signing.is_empty(),
            "keys.signing",
            "no signing key is configured; the default is `SigningKey::derived_hs256()`",
        );
        check.refuse_if(self.rate.timeout.is_zero(), "rate.timeout", "must be longer than zero");
        let longest = Duration::from_secs(24 * 60 * 60);
        check.refuse_if(
            !(1..=1000).contains(&self.rate.unknown_sources),
            "rate.unknown_sources",
            "must be at least 1 and at most 1000",
        );
        let rate = &self.rate;
        let quotas = [
            rate.per_source,
            rate.per_principal,
            rate.taken_names,
            rate.registrations,
            self.mail.per_source,
        ];
        check.refuse_if(
            quotas
                .iter()
                .flatten()
                .any(|q| q.count == 0 || q.period.is_zero() || q.period > longest),
            "rate.per_source, rate.per_principal, rate.taken_names, rate.registrations, mail.per_source",
            "need a count of at least 1 and a period of at most a day; `None` switches one off",
        );
        check.refuse_if(
            self.database.timeout.is_zero(),
            "database.timeout",
            "must be longer than zero",
        );
        check.refuse_if(
            self.database.writers == 0,
            "database.writers",
            "must be at least one, or nothing is ever written",
        );
        check.refuse_if(
            self.database.hook_timeout.is_zero(),
            "database.hook_timeout",
            "must be longer than zero",
        );
        check.0
    }

    fn check_service(&self, check: &mut Checker) {
        let service = &self.service;
        if let Some(url) = &service.public_url
            && let Err(error) = PublicUrl::parse(url)
        {
            check.refuse_if(true, "service.public_url", error.to_string());
        }
        for origin in &service.trusted_origins {
            if let Err(error) = Origin::parse(origin) {
                check.refuse_if(true, "service.trusted_origins", error.to_string());
            }
        }
        check.refuse_if(
            self.issuer().is_empty() || self.issuer().len() > 255,
            "service.issuer",
            "must have 1 to 255 bytes",
        );
        if let Unauthenticated::LoginPage(path) = &service.unauthenticated {
            check.refuse_if(
                ReturnTo::parse(path).is_none() || path.contains('#'),
                "service.unauthenticated",
                "the login page must be a path of this service such as /login",
            );
        }
        if let Some(path) = &service.step_up_page {
            check.refuse_if(
                ReturnTo::parse(path).is_none() || path.contains('#'),
                "service.step_up_page",
                "must be a path of this service such as /reauthenticate",
            );
            check.refuse_if(
                service.unauthenticated == Unauthenticated::Problem,
                "service.step_up_page",
                "needs a login page in service.unauthenticated",
            );
        }
    }

    fn check_cookie(&self, check: &mut Checker) {
        let cookie = &self.cookie;
        let token = !cookie.name.is_empty()
            && cookie.name.len() <= 64
            && cookie.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        check.refuse_if(
            !token,
            "cookie.name",
            "must have 1 to 64 letters, digits, dots, dashes or underscores",
        );
        let lower = cookie.name.to_ascii_lowercase();
        check.refuse_if(
            lower.starts_with("__host-") || lower.starts_with("__secure-"),
            "cookie.name",
            "is given without its prefix; `__Host-` is added",
        );
        let insecure = cookie.danger_insecure_http_cookies;
        check.refuse_if(
            insecure && cookie.same_site == SameSite::None,
            "cookie.same_site",
            "SameSite=None needs Secure, and danger_insecure_http_cookies leaves it out",
        );
        check.refuse_if(
            cookie.partitioned && cookie.same_site != SameSite::None,
            "cookie.partitioned",
            "needs cookie.same_site = none: any other cookie is not sent in an iframe of another site",
        );
        let https = self.service.public_url.as_ref().is_some_and(|url| url.starts_with("https:"));
        check.refuse_if(
            insecure && https,
            "cookie.danger_insecure_http_cookies",
            "the public URL is https, so cookies are sent securely",
        );
    }

    fn check_session(&self, check: &mut Checker) {
        let session = &self.session;
        let second = Duration::from_secs(1);
        for (knob, value) in [
            ("session.token_lifetime", session.token_lifetime),
            ("session.absolute_lifetime", session.absolute_lifetime),
            ("session.unremembered_lifetime", session.unremembered_lifetime),
            ("session.pending_lifetime", session.pending_lifetime),
            ("session.password_change_lifetime", session.password_change_lifetime),
            ("session.anonymous_lifetime", session.anonymous_lifetime),
            ("session.recent_factor", session.recent_factor),
        ] {
            check.refuse_if(value < second, knob, "must be at least one second");
            check.refuse_if(value > MAX_COOKIE_AGE, knob, "must be at most 400 days");
        }
        if let Some(window) = session.refresh_window {
            check.refuse_if(
                window <= session.token_lifetime,
                "session.refresh_window",
                "must be longer than session.token_lifetime, or a token could never be replaced",
            );
            check.refuse_if(
                window > MAX_COOKIE_AGE,
                "session.refresh_window",
                "must be at most 400 days",
            );
        }
        check.refuse_if(
            session.replay_after < MINUTE,
            "session.replay_after",
            "must be at least 60 seconds: a browser writes its cookies to disk up to 30 seconds late, and \
             clocks differ by up to 30 seconds",
        );
        check.refuse_if(
            session.token_lifetime <= session.replay_after,
            "session.token_lifetime",
            "must be longer than session.replay_after: a younger generation is handed out again",
        );
        check.refuse_if(
            session.max_per_account == Some(0),
            "session.max_per_account",
            "must be at least 1, or nobody could sign in",
        );
        check.refuse_if(
            session.anonymous_per_minute == 0,
            "session.anonymous_per_minute",
            "must be at least 1; to switch anonymous sessions off, leave their route out",
        );
    }

    fn check_challenge(&self, check: &mut Checker) {
        let challenge = &self.challenge;
        let alphabet = challenge.code_alphabet.as_bytes();
        let distinct = alphabet.iter().enumerate().all(|(at, c)| !alphabet[..at].contains(c));
        check.refuse_if(
            !distinct || alphabet.len() < 2 || !alphabet.iter().all(u8::is_ascii_alphanumeric),
            "challenge.code_alphabet",
            "must have at least two ASCII letters and digits, each once",
        );
        // 6 digits have 19.93 bits, so the limit is slightly lower than 20.
        let bits = challenge.code_length as f64 * (alphabet.len().max(1) as f64).log2();
        check.refuse_if(
            challenge.code_length > 64 || bits < 19.9,
            "challenge.code_length",
            "a code must have at least 20 bits (6 digits; NIST SP 800-63B-4) and at most 64 characters",
        );
        check.refuse_if(
            !(1..=100).contains(&challenge.attempts),
            "challenge.attempts",
            "must be between 1 and 100 (NIST SP 800-63B-4)",
        );
        for (purpose, attempts) in &challenge.attempts_by_purpose {
            check.refuse_if(
                !ChallengeConfig::is_purpose(purpose) || !(1..=100).contains(attempts),
                "challenge.attempts_by_purpose",
                "must name purposes (1 to 48 lower-case letters, digits, dashes, underscores) with \
                 between 1 and 100 attempts each (NIST SP 800-63B-4)",
            );
        }
        let second = Duration::from_secs(1);
        for (knob, value) in [
            ("challenge.code_lifetime", challenge.code_lifetime),
            ("challenge.attempts_window", challenge.attempts_window),
            ("challenge.answered_lifetime", challenge.answered_lifetime),
        ] {
            check.refuse_if(value < second, knob, "must be at least one second");
        }
        check.refuse_if(
            challenge.code_lifetime > Duration::from_secs(24 * 60 * 60),
            "challenge.code_lifetime",
            "must be at most 24 hours (NIST SP 800-63B-4)",
        );
        let lifetime = self.verification.lifetime;
        check.refuse_if(
            lifetime < Duration::from_secs(60) || lifetime > Duration::from_secs(7 * 24 * 60 * 60),
            "verification.lifetime",
            "must be between a minute and seven days",
        );
        check.refuse_if(
            self.login.registration == Registration::Strict && !self.login.require_verified,
            "login.registration",
            "strict needs login.require_verified: if a new account could sign in at once, that would \
             tell that its address was free",
        );
        check.refuse_if(
            challenge.attempts_window < challenge.code_lifetime,
            "challenge.attempts_window",
            "must be at least as long as challenge.code_lifetime, or one code would get attempts twice",
        );
        check.refuse_if(
            challenge.attempts_window >= challenge.code_lifetime
                && self.attempts_window() < challenge.code_lifetime,
            "attempts.kinds",
            "the window of Challenge must be at least as long as challenge.code_lifetime, or one code would \
             get attempts twice",
        );
    }

    fn check_contact(&self, check: &mut Checker) {
        let contact = &self.contact;
        check.refuse_if(
            contact.confirm_lifetime < MINUTE || contact.confirm_lifetime > DAY,
            "contact.confirm_lifetime",
            "must be between a minute and 24 hours",
        );
        check.refuse_if(
            contact.undo_lifetime.is_some_and(|time| time < DAY || time > 30 * DAY),
            "contact.undo_lifetime",
            "must be between one day and 30 days; a shorter link would expire before it is read",
        );
    }

    fn check_password(&self, check: &mut Checker) {
        let password = &self.password;
        check.refuse_if(
            !(8..=256).contains(&password.min_length),
            "password.min_length",
            "must be between 8 and 256 code points (NIST SP 800-63B-4)",
        );
        check.refuse_if(
            password.breached_timeout.is_zero(),
            "password.breached_timeout",
            "must be longer than zero",
        );
        check.refuse_if(
            password.change_page.as_deref().is_some_and(|page| ReturnTo::parse(page).is_none()),
            "password.change_page",
            "must be a path of this service such as /settings/password",
        );
        check.refuse_if(
            password.concurrent_hashes == Some(0),
            "password.concurrent_hashes",
            "must be at least 1",
        );
        check.refuse_if(
            password.hash_wait.is_zero() || password.hash_wait > MINUTE,
            "password.hash_wait",
            "must be longer than zero and at most a minute",
        );
        let mut names: Vec<_> = password.peppers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        check.refuse_if(
            names.len() != password.peppers.len()
                || names.iter().any(|name| name.is_empty() || name.len() > 64),
            "password.peppers",
            "each pepper needs a name of its own, of 1 to 64 bytes",
        );
        check.refuse_if(
            !(1..=64).contains(&password.iterations)
                || !(1..=16).contains(&password.parallelism)
                || !(8 * password.parallelism..=1024 * 1024).contains(&password.memory_kib),
            "password.memory_kib",
            "Argon2id takes 1 to 64 iterations, parallelism 1 to 16, at least 8 KiB of memory for each and at most 1 GiB",
        );
        // Above this, one sign-in occupies a core for more than about five seconds.
        check.refuse_if(
            u64::from(password.memory_kib) * u64::from(password.iterations) > 4 * 1024 * 1024,
            "password.memory_kib",
            "memory_kib times iterations must be at most 4 GiB; more would occupy a core for seconds per sign-in",
        );
        #[cfg(feature = "test-util")]
        if password.danger_cheap_hashing {
            return;
        }
        check.refuse_if(
            !meets_owasp_floor(password.memory_kib, password.iterations),
            "password.memory_kib",
            "is below the OWASP minimum for Argon2id with these iterations (19456 KiB with 2)",
        );
    }

    fn check_permission(&self, check: &mut Checker) {
        let permission = &self.permission;
        // `-` is not allowed, because it joins the parts of a level's role name. The syntax of
        // permissions and SQL is not allowed either, because the names are written into statements.
        let word = |text: &str, most: usize| {
            (1..=most).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        for (resource, levels) in &permission.levels {
            let mut names: Vec<_> = levels.iter().collect();
            names.sort_unstable();
            names.dedup();
            check.refuse_if(
                !word(resource, 64) || !levels.iter().all(|level| word(level, 32)),
                "permission.levels",
                "a resource has 1 to 64 and a level 1 to 32 ASCII letters, digits or `_`",
            );
            check.refuse_if(
                !(1..=32).contains(&levels.len()) || names.len() != levels.len(),
                "permission.levels",
                "a resource has 1 to 32 levels, each once",
            );
        }
        check.refuse_if(
            permission.source_timeout.is_zero(),
            "permission.source_timeout",
            "must be longer than zero",
        );
    }

    fn check_attempts(&self, check: &mut Checker) {
        let attempts = &self.attempts;
        let kinds = &attempts.kinds;
        let limits = kinds.values().filter_map(|kind| kind.limit).chain([attempts.limit]);
        for limit in limits {
            check.refuse_if(
                !(1..=100).contains(&limit),
                "attempts.limit",
                "must be between 1 and 100 failures (NIST SP 800-63B-4 allows no more than 100)",
            );
        }
        check.refuse_if(
            kinds.keys().any(|kind| kind.is_token()),
            "attempts.kinds",
            "the token of a link is not locked (only its source is, by attempts.source_limit): leave Reset \
             and MailLoginLink out",
        );
        let delays = kinds.values().filter_map(|kind| kind.delay_from).chain([attempts.delay_from]);
        for from in delays {
            check.refuse_if(
                !(1..=100).contains(&from),
                "attempts.delay_from",
                "must be between 1 and 100; set attempts.first_delay to zero to switch delays off",
            );
        }
        let second = Duration::from_secs(1);
        let windows = kinds.values().filter_map(|kind| kind.window).chain([attempts.window]);
        for window in windows {
            check.refuse_if(window < second, "attempts.window", "must be at least one second");
        }
        let of_mails = kinds.get(&AttemptKind::MailLogin).and_then(|own| own.window);
        check.refuse_if(
            of_mails.is_some_and(|window| window < self.mail.login_lifetime),
            "attempts.kinds",
            "the window of MailLogin must be at least as long as mail.login_lifetime, or one code would get \
             attempts twice",
        );
        let lockouts = kinds.values().filter_map(|kind| kind.lockout).chain([attempts.lockout]);
        for lockout in lockouts {
            check.refuse_if(lockout < second, "attempts.lockout", "must be at least one second");
        }
        for own in [None].into_iter().chain(kinds.values().map(Some)) {
            let first = own.and_then(|own| own.first_delay).unwrap_or(attempts.first_delay);
            let longest = own.and_then(|own| own.longest_delay).unwrap_or(attempts.longest_delay);
            check.refuse_if(
                first > longest,
                "attempts.longest_delay",
                "must not be shorter than attempts.first_delay, which every wait is at least",
            );
        }
        if let Some(watch) = &attempts.watch {
            check.refuse_if(
                watch.window < second,
                "attempts.watch.window",
                "must be at least one second",
            );
            check.refuse_if(
                watch.least_failures == 0,
                "attempts.watch.least_failures",
                "must be at least 1; `None` for attempts.watch switches it off",
            );
            check.refuse_if(
                !(2..=10_000).contains(&watch.names_per_network),
                "attempts.watch.names_per_network",
                "must be between 2 and 10 000 names",
            );
        }
        if let Some(lifetime) = attempts.device_lifetime {
            check.refuse_if(
                lifetime < second || lifetime > MAX_COOKIE_AGE,
                "attempts.device_lifetime",
                "must be between one second and 400 days",
            );
        }
        check.refuse_if(
            attempts.source_limit == Some(0),
            "attempts.source_limit",
            "must be at least 1; `None` switches the rule off",
        );
        check.refuse_if(
            attempts.source_window < second,
            "attempts.source_window",
            "must be at least one second",
        );
    }

    fn check_retention(&self, check: &mut Checker) {
        let retention = &self.retention;
        for (knob, time) in [
            ("retention.sessions", retention.sessions),
            ("retention.challenges", retention.challenges),
            ("retention.attempts", retention.attempts),
            ("retention.denials", retention.denials),
            ("retention.api_keys", retention.api_keys),
        ] {
            check.refuse_if(time > 10 * 366 * DAY, knob, "must be at most ten years");
        }
        // A replaced session keeps its old rights for some seconds, and a replay is recognized by
        // its row.
        check.refuse_if(
            retention.sessions < 60 * MINUTE,
            "retention.sessions",
            "must be at least one hour, or a replay of a session that ended would not be recognised",
        );
        check.refuse_if(
            retention.api_keys < 60 * MINUTE,
            "retention.api_keys",
            "must be at least one hour",
        );
        check.refuse_if(
            retention.challenges < MINUTE,
            "retention.challenges",
            "must be at least one minute, or a node whose clock is ahead would delete the record that a \
             captcha or a code was used, while another one still accepts it",
        );
        // A lock or a wait is caused by failures within a window, and is counted from the last of
        // them. Codes have their own window, and have no lock or wait unless one is set.
        let attempts = &self.attempts;
        let kinds = [None].into_iter().chain(attempts.kinds.iter().map(Some)).map(|kind| {
            let own = kind.map(|(_, own)| own.clone()).unwrap_or_default();
            let (window, lockout, first_delay) = match kind {
                Some((kind, _)) if kind.is_code() => {
                    (self.challenge.attempts_window, Duration::ZERO, Duration::ZERO)
                }
                _ => (attempts.window, attempts.lockout, attempts.first_delay),
            };
            let delays = !own.first_delay.unwrap_or(first_delay).is_zero();
            let delay = own.longest_delay.unwrap_or(attempts.longest_delay);
            let delay = if delays { delay } else { Duration::ZERO };
            let lasts = own.lockout.unwrap_or(lockout).max(delay);
            own.window.unwrap_or(window).saturating_add(lasts)
        });
        let longest = kinds.chain([
            attempts.source_window,
            self.challenge.attempts_window,
            self.mail.login_lifetime,
        ]);
        let longest = longest.max();
        check.refuse_if(
            longest.is_some_and(|longest| retention.attempts < longest),
            "retention.attempts",
            "must be at least as long as a window and its lockout, and its longest_delay, together, or locks \
             and waits would end early",
        );
        check.refuse_if(
            retention.events.is_some_and(|time| time < DAY),
            "retention.events",
            "must be at least one day; `None` keeps events forever",
        );
        check.refuse_if(
            retention.unverified_accounts.is_some_and(|time| time < self.verification.lifetime),
            "retention.unverified_accounts",
            "must be at least as long as verification.lifetime, or an account would end before its link",
        );
        check.refuse_if(
            retention.closed_accounts < DAY || retention.closed_accounts > 90 * DAY,
            "retention.closed_accounts",
            "must be between one day and 90 days; a shorter time would end before its link is read",
        );
        check.refuse_if(
            retention.account_recoveries < DAY || retention.account_recoveries > 400 * DAY,
            "retention.account_recoveries",
            "must be between one day and 400 days",
        );
        check.refuse_if(
            retention.erased_sources > 400 * DAY,
            "retention.erased_sources",
            "must be at most 400 days",
        );
        check.refuse_if(
            retention.device_requests < 60 * MINUTE || retention.device_requests > 30 * DAY,
            "retention.device_requests",
            "must be between one hour and 30 days",
        );
    }

    /// Returns what works but what the operator should know.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut find = |code, wrong: bool, text: &str| {
            if wrong {
                findings.push(Finding { code, text: text.to_owned() });
            }
        };
        find(
            "no_public_url",
            self.service.public_url.is_none(),
            "service.public_url is not set: tokens name the issuer `portcullis`, and links cannot be built",
        );
        let peppers = self.password.peppers.iter().map(|(_, pepper)| pepper);
        find(
            "guessable_secret",
            self.keys.secrets.iter().skip(1).chain(peppers).any(Secret::is_guessable),
            "an older secret or a pepper can be guessed: put a random one before it, and remove it when \
             nothing depends on it",
        );
        find(
            "insecure_cookies",
            self.cookie.danger_insecure_http_cookies,
            "cookies are sent without Secure and without the __Host- prefix: anyone on the network can take a session",
        );
        find(
            "same_site_none",
            self.cookie.same_site == SameSite::None,
            "cookies are sent with requests from every site; only the same-origin check protects against cross-site requests",
        );
        find(
            "password_alone_below_15",
            self.password.min_length < 15,
            "password.min_length is below 15, which NIST SP 800-63B-4 asks for where a password is the only factor",
        );
        find(
            "proxy_trusts_everyone",
            self.proxies.networks.iter().any(|network| network.prefix_len() == 0),
            "proxies.networks trusts every address: anyone can claim any source",
        );
        find(
            "lockout_revealed",
            self.attempts.reveal_lockout,
            "attempts.reveal_lockout is on: a guesser learns when they are locked out and when to come back",
        );
        find(
            "binding_off",
            self.session.binding == Binding::Off,
            "session.binding is off: a session that moves to another network and browser leaves no trace",
        );
        findings
    }
}
