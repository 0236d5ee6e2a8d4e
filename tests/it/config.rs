//! The configuration: what is refused at the start, and the findings for an operator.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use portcullis::config::{
    AttemptKind, AttemptOverrides, Binding, CookieConfig, LoginIds, Registration, SameSite,
    SessionConfig, Unauthenticated,
};
use portcullis::rate_limit::Quota;
use portcullis::{
    Config, ConfigError, ConfigErrors, Factor, ForwardedHeader, PeerAddr, Portcullis, Secret,
    SecretError, SigningKey, TrustedProxies,
};
use sea_orm::DatabaseConnection;

use crate::support::call::{call, request};
use crate::support::log::Log;
use crate::support::probe::app;
use crate::support::{Backend, Probe};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A connection to nothing. This is enough, because `build()` does not use the database.
fn nowhere() -> DatabaseConnection {
    DatabaseConnection::default()
}

fn build(change: impl FnOnce(&mut Config)) -> Result<Portcullis, ConfigErrors> {
    Portcullis::builder(nowhere()).secret(Secret::generate()).configure(change).build()
}

fn levels(config: &mut Config, resource: &str, levels: &[&str]) {
    let levels = levels.iter().map(|level| (*level).to_owned()).collect();
    config.permission.levels.insert(resource.to_owned(), levels);
}

fn differs(config: &mut Config, kind: AttemptKind) {
    config.attempts.kinds.insert(kind, AttemptOverrides::default());
}

fn window_of_mails(config: &mut Config, window: Duration) {
    let mut own = AttemptOverrides::default();
    own.window = Some(window);
    config.attempts.kinds.insert(AttemptKind::MailLogin, own);
}

/// Returns the settings for which a configuration is refused.
fn refused(change: impl FnOnce(&mut Config)) -> Vec<String> {
    match build(change) {
        Ok(_) => Vec::new(),
        Err(errors) => {
            let text = errors.to_string();
            for error in &errors.0 {
                assert!(text.contains(&error.to_string()), "every fault is in the text: {text}");
            }
            errors.0.iter().map(name).collect()
        }
    }
}

fn name(error: &ConfigError) -> String {
    match error {
        ConfigError::Knob { knob, .. } => (*knob).to_owned(),
        ConfigError::Variable { name, .. } => name.clone(),
        other => panic!("{other}"),
    }
}

/// Returns the codes of the findings.
fn findings(change: impl FnOnce(&mut Config)) -> Vec<&'static str> {
    let auth = build(change).expect("it is not refused");
    auth.audit().iter().map(|finding| finding.code).collect()
}

fn from(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let owned = |(name, value): &(&str, &str)| (format!("PORTCULLIS_{name}"), (*value).to_owned());
    Config::from_vars(variables.iter().map(owned))
}

type Change = fn(&mut Config);

#[test]
fn each_value_that_cannot_be_used_is_refused_by_its_name_and_its_neighbour_passes() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let rows: &[(&str, Change, Change)] = &[
        ("attempts.kinds", |c| differs(c, AttemptKind::Reset), |c| differs(c, AttemptKind::Forgot)),
        (
            "attempts.kinds",
            |c| differs(c, AttemptKind::MailLoginLink),
            |c| differs(c, AttemptKind::MailLogin),
        ),
        (
            "attempts.kinds",
            |c| window_of_mails(c, c.mail.login_lifetime - Duration::from_millis(1)),
            |c| window_of_mails(c, c.mail.login_lifetime),
        ),
        (
            "mail.login_lifetime",
            |c| c.mail.login_lifetime = HOUR + Duration::from_secs(1),
            |c| c.mail.login_lifetime = HOUR,
        ),
        (
            "mail.links.login",
            |c| c.mail.links.login = "/login/mail".to_owned(),
            |c| c.mail.links.login = "/login?by=mail#token={token}".to_owned(),
        ),
        (
            "totp.issuer",
            |c| c.totp.issuer = Some("shop:berlin".into()),
            |c| c.totp.issuer = Some("Shop & Co".into()),
        ),
        (
            "factor.mailed_code_after_reset",
            |c| c.factor.mailed_code_after_reset = 30 * DAY + Duration::from_millis(1),
            |c| c.factor.mailed_code_after_reset = 30 * DAY,
        ),
        (
            "factor.least",
            |c| c.factor.least = Factor::Password,
            |c| c.factor.least = Factor::MailedCode,
        ),
        (
            "factor.least",
            |c| c.factor.least = Factor::RecoveryCode,
            |c| c.factor.least = Factor::Passkey,
        ),
        (
            "factor.least",
            |c| c.factor.least = Factor::External,
            |c| c.factor.least = Factor::TextedCode,
        ),
        (
            "factor.grace",
            |c| c.factor.grace = 90 * DAY + Duration::from_millis(1),
            |c| c.factor.grace = 90 * DAY,
        ),
        ("factor.challenges", |c| c.factor.challenges.count = 0, |c| c.factor.challenges.count = 1),
        (
            "factor.challenges",
            |c| c.factor.challenges = Quota::new(10, Duration::ZERO),
            |c| c.factor.challenges = Quota::new(10, Duration::from_millis(1)),
        ),
        (
            "factor.challenges",
            |c| c.factor.challenges = Quota::new(10, DAY + Duration::from_millis(1)),
            |c| c.factor.challenges = Quota::new(10, DAY),
        ),
        (
            "factor.external_timeout",
            |c| c.factor.external_timeout = Duration::ZERO,
            |c| c.factor.external_timeout = Duration::from_millis(1),
        ),
        (
            "factor.external_timeout",
            |c| c.factor.external_timeout = Duration::from_millis(60_001),
            |c| c.factor.external_timeout = Duration::from_secs(60),
        ),
        (
            "trusted_device.lifetime",
            |c| c.trusted_device.lifetime = HOUR - Duration::from_millis(1),
            |c| c.trusted_device.lifetime = HOUR,
        ),
        (
            "trusted_device.lifetime",
            |c| c.trusted_device.lifetime = 90 * DAY + Duration::from_millis(1),
            |c| c.trusted_device.lifetime = 90 * DAY,
        ),
        (
            "api_key.max_per_account",
            |c| c.api_key.max_per_account = 0,
            |c| c.api_key.max_per_account = 1,
        ),
        (
            "api_key.max_per_account",
            |c| c.api_key.max_per_account = 1001,
            |c| c.api_key.max_per_account = 1000,
        ),
        (
            "api_key.max_lifetime",
            |c| c.api_key.max_lifetime = 3653 * DAY + Duration::from_millis(1),
            |c| c.api_key.max_lifetime = 3653 * DAY,
        ),
        (
            "api_key.default_lifetime",
            |c| c.api_key.default_lifetime = HOUR - Duration::from_millis(1),
            |c| c.api_key.default_lifetime = HOUR,
        ),
        (
            "api_key.default_lifetime",
            |c| c.api_key.default_lifetime = 366 * DAY + Duration::from_millis(1),
            |c| c.api_key.default_lifetime = 366 * DAY,
        ),
        (
            "api_key.notice",
            |c| c.api_key.notice = Some(Duration::ZERO),
            |c| c.api_key.notice = Some(Duration::from_millis(1)),
        ),
        (
            "api_key.notice",
            |c| c.api_key.notice = Some(90 * DAY + Duration::from_millis(1)),
            |c| c.api_key.notice = None,
        ),
        (
            "retention.api_keys",
            |c| c.retention.api_keys = HOUR - Duration::from_millis(1),
            |c| c.retention.api_keys = HOUR,
        ),
        (
            "trusted_device.max_per_account",
            |c| c.trusted_device.max_per_account = 0,
            |c| c.trusted_device.max_per_account = 1,
        ),
        (
            "trusted_device.max_per_account",
            |c| c.trusted_device.max_per_account = 101,
            |c| c.trusted_device.max_per_account = 100,
        ),
        (
            "action_proof.lifetime",
            |c| c.action_proof.lifetime = Duration::ZERO,
            |c| c.action_proof.lifetime = Duration::from_secs(1),
        ),
        (
            "action_proof.lifetime",
            |c| c.action_proof.lifetime = Duration::from_millis(7_200_001),
            |c| c.action_proof.lifetime = Duration::from_secs(7200),
        ),
        (
            "action_proof.max_per_sign_in",
            |c| c.action_proof.max_per_sign_in = 0,
            |c| c.action_proof.max_per_sign_in = 1,
        ),
        (
            "action_proof.max_per_sign_in",
            |c| c.action_proof.max_per_sign_in = 1001,
            |c| c.action_proof.max_per_sign_in = 1000,
        ),
        (
            "action_proof.remember_open",
            |c| c.action_proof.remember_open = Duration::from_millis(60_001),
            |c| c.action_proof.remember_open = Duration::from_secs(60),
        ),
        (
            "account_recovery.delay",
            |c| c.account_recovery.delay = HOUR - Duration::from_millis(1),
            |c| c.account_recovery.delay = HOUR,
        ),
        (
            "account_recovery.delay",
            |c| c.account_recovery.delay = 30 * DAY + Duration::from_millis(1),
            |c| c.account_recovery.delay = 30 * DAY,
        ),
        (
            "account_recovery.open_for",
            |c| c.account_recovery.open_for = HOUR - Duration::from_millis(1),
            |c| c.account_recovery.open_for = HOUR,
        ),
        (
            "account_recovery.open_for",
            |c| c.account_recovery.open_for = 90 * DAY + Duration::from_millis(1),
            |c| c.account_recovery.open_for = 90 * DAY,
        ),
        (
            "account_recovery.link_lifetime",
            |c| c.account_recovery.link_lifetime = Duration::from_millis(599_999),
            |c| c.account_recovery.link_lifetime = Duration::from_secs(600),
        ),
        (
            "account_recovery.link_lifetime",
            |c| c.account_recovery.link_lifetime = 7 * DAY + Duration::from_millis(1),
            |c| c.account_recovery.link_lifetime = 7 * DAY,
        ),
        ("totp.digits", |c| c.totp.digits = 5, |c| c.totp.digits = 8),
        ("totp.digits", |c| c.totp.digits = 9, |c| c.totp.digits = 6),
        (
            "totp.period",
            |c| c.totp.period = Duration::from_millis(30_500),
            |c| c.totp.period = Duration::from_secs(120),
        ),
        ("totp.max_per_account", |c| c.totp.max_per_account = 0, |c| c.totp.max_per_account = 1),
        (
            "totp.confirm_lifetime",
            |c| c.totp.confirm_lifetime = Duration::from_secs(29),
            |c| c.totp.confirm_lifetime = Duration::from_secs(30),
        ),
        (
            "service.public_url",
            |c| c.service.public_url = Some("example.com".into()),
            |c| c.service.public_url = Some("https://example.com".into()),
        ),
        (
            "service.public_url",
            |c| c.service.public_url = Some("https://example.com/app/".into()),
            |c| c.service.public_url = Some("http://localhost:3000".into()),
        ),
        (
            "service.trusted_origins",
            |c| c.service.trusted_origins = vec!["*".into()],
            |c| c.service.trusted_origins = vec!["https://app.example.com".into()],
        ),
        (
            "service.trusted_origins",
            |c| c.service.trusted_origins = vec!["https://*.example.com".into()],
            |c| c.service.trusted_origins = vec![],
        ),
        (
            "service.trusted_origins",
            |c| c.service.trusted_origins = vec!["null".into()],
            |c| c.service.trusted_origins = vec!["http://[::1]:3000".into()],
        ),
        (
            "service.issuer",
            |c| c.service.issuer = Some(String::new()),
            |c| c.service.issuer = Some("12345".into()),
        ),
        (
            "service.issuer",
            |c| c.service.issuer = Some("a".repeat(256)),
            |c| c.service.issuer = Some("a".repeat(255)),
        ),
        (
            "service.unauthenticated",
            |c| c.service.unauthenticated = Unauthenticated::LoginPage("https://evil".into()),
            |c| c.service.unauthenticated = Unauthenticated::LoginPage("/login".into()),
        ),
        (
            "service.unauthenticated",
            |c| c.service.unauthenticated = Unauthenticated::LoginPage("//evil".into()),
            |c| c.service.unauthenticated = Unauthenticated::LoginPage("/login?a=b".into()),
        ),
        (
            "service.unauthenticated",
            |c| c.service.unauthenticated = Unauthenticated::LoginPage("/login#top".into()),
            |c| c.service.unauthenticated = Unauthenticated::Problem,
        ),
        (
            "service.step_up_page",
            |c| {
                c.service.unauthenticated = Unauthenticated::LoginPage("/login".into());
                c.service.step_up_page = Some("//evil".into());
            },
            |c| {
                c.service.unauthenticated = Unauthenticated::LoginPage("/login".into());
                c.service.step_up_page = Some("/again".into());
            },
        ),
        (
            "service.step_up_page",
            |c| c.service.step_up_page = Some("/again".into()),
            |c| c.service.step_up_page = None,
        ),
        ("cookie.name", |c| c.cookie.name = String::new(), |c| c.cookie.name = "s".into()),
        ("cookie.name", |c| c.cookie.name = "a;b".into(), |c| c.cookie.name = "a-b_c.d".into()),
        (
            "cookie.name",
            |c| c.cookie.name = "__Host-session".into(),
            |c| c.cookie.name = "session2".into(),
        ),
        (
            "cookie.name",
            |c| c.cookie.name = "__SECURE-session".into(),
            |c| c.cookie.name = "12345".into(),
        ),
        ("cookie.name", |c| c.cookie.name = "a".repeat(65), |c| c.cookie.name = "a".repeat(64)),
        (
            "cookie.same_site",
            |c| {
                c.cookie.same_site = SameSite::None;
                c.cookie.danger_insecure_http_cookies = true;
            },
            |c| c.cookie.same_site = SameSite::None,
        ),
        (
            "cookie.danger_insecure_http_cookies",
            |c| {
                c.service.public_url = Some("https://example.com".into());
                c.cookie.danger_insecure_http_cookies = true;
            },
            |c| {
                c.service.public_url = Some("http://example.com".into());
                c.cookie.danger_insecure_http_cookies = true;
            },
        ),
        (
            "session.token_lifetime",
            |c| c.session.token_lifetime = c.session.replay_after,
            |c| c.session.token_lifetime = Duration::from_secs(91),
        ),
        (
            "session.absolute_lifetime",
            |c| c.session.absolute_lifetime = 401 * DAY,
            |c| c.session.absolute_lifetime = 400 * DAY,
        ),
        (
            "session.pending_lifetime",
            |c| c.session.pending_lifetime = Duration::ZERO,
            |c| c.session.pending_lifetime = Duration::from_secs(1),
        ),
        (
            "session.recent_factor",
            |c| c.session.recent_factor = Duration::ZERO,
            |c| c.session.recent_factor = DAY,
        ),
        (
            "session.refresh_window",
            |c| c.session.refresh_window = Some(c.session.token_lifetime),
            |c| c.session.refresh_window = None,
        ),
        (
            "session.replay_after",
            |c| c.session.replay_after = Duration::from_millis(59_999),
            |c| {
                c.session.replay_after = Duration::from_secs(60);
                c.session.token_lifetime = Duration::from_secs(61);
            },
        ),
        (
            "cookie.partitioned",
            |c| c.cookie.partitioned = true,
            |c| {
                c.cookie.partitioned = true;
                c.cookie.same_site = SameSite::None;
            },
        ),
        (
            "session.anonymous_per_minute",
            |c| c.session.anonymous_per_minute = 0,
            |c| c.session.anonymous_per_minute = 1,
        ),
        ("login.max_names", |c| c.login.max_names = 0, |c| c.login.max_names = 1),
        ("login.max_names", |c| c.login.max_names = 101, |c| c.login.max_names = 100),
        ("password.min_length", |c| c.password.min_length = 7, |c| c.password.min_length = 8),
        ("password.min_length", |c| c.password.min_length = 257, |c| c.password.min_length = 256),
        (
            "password.concurrent_hashes",
            |c| c.password.concurrent_hashes = Some(0),
            |c| c.password.concurrent_hashes = Some(1),
        ),
        (
            "password.hash_wait",
            |c| c.password.hash_wait = Duration::ZERO,
            |c| c.password.hash_wait = Duration::from_millis(1),
        ),
        (
            "password.hash_wait",
            |c| c.password.hash_wait = Duration::from_millis(60_001),
            |c| c.password.hash_wait = Duration::from_secs(60),
        ),
        ("permission.levels", |c| levels(c, "list", &[]), |c| levels(c, "list", &["viewer"])),
        ("permission.levels", |c| levels(c, "", &["a"]), |c| levels(c, "l", &["a"])),
        ("permission.levels", |c| levels(c, "my-list", &["a"]), |c| levels(c, "my_list", &["a"])),
        ("permission.levels", |c| levels(c, "li:st", &["a"]), |c| levels(c, "LI5T", &["A", "a"])),
        ("permission.levels", |c| levels(c, "list", &["a-b"]), |c| levels(c, "list", &["a_b"])),
        ("permission.levels", |c| levels(c, "list", &["a'b"]), |c| levels(c, "list", &["ab"])),
        (
            "permission.levels",
            |c| levels(c, "list", &["a", ""]),
            |c| levels(c, "list", &["a", "0"]),
        ),
        ("permission.levels", |c| levels(c, "list", &["é"]), |c| levels(c, "list", &["e"])),
        (
            "permission.levels",
            |c| levels(c, "list", &["a", "b", "a"]),
            |c| {
                levels(c, "list", &["a", "b", "c"]);
            },
        ),
        (
            "permission.levels",
            |c| levels(c, "list", &[&"x".repeat(33)]),
            |c| {
                levels(c, &"x".repeat(64), &[&"x".repeat(32)]);
            },
        ),
        (
            "permission.source_timeout",
            |c| c.permission.source_timeout = Duration::ZERO,
            |c| c.permission.source_timeout = Duration::from_millis(1),
        ),
        (
            "password.memory_kib",
            |c| c.password.memory_kib = 19 * 1024 - 1,
            |c| c.password.memory_kib = 19 * 1024,
        ),
        (
            "password.memory_kib",
            |c| c.password.iterations = 1,
            |c| {
                c.password.iterations = 1;
                c.password.memory_kib = 46 * 1024;
            },
        ),
        ("attempts.delay_from", |c| c.attempts.delay_from = 101, |c| c.attempts.delay_from = 100),
        (
            "attempts.longest_delay",
            |c| c.attempts.longest_delay = Duration::from_millis(999),
            |c| c.attempts.longest_delay = Duration::from_secs(1),
        ),
        (
            "attempts.longest_delay",
            |c| {
                let mut own = AttemptOverrides::default();
                own.first_delay = Some(Duration::from_secs(61));
                c.attempts.kinds.insert(AttemptKind::Forgot, own);
            },
            |c| {
                let mut own = AttemptOverrides::default();
                own.first_delay = Some(Duration::from_secs(61));
                own.longest_delay = Some(Duration::from_secs(61));
                c.attempts.kinds.insert(AttemptKind::Forgot, own);
            },
        ),
        (
            "rate.per_source, rate.per_principal, rate.taken_names, rate.registrations, mail.per_source",
            |c| c.rate.registrations = Some(Quota::new(100, 25 * HOUR)),
            |c| c.rate.registrations = None,
        ),
        // Records must be kept long enough, so that deleting them never shortens a delay.
        (
            "retention.attempts",
            |c| c.attempts.longest_delay = 24 * HOUR,
            |c| c.attempts.longest_delay = 24 * HOUR - c.attempts.window,
        ),
        (
            "retention.attempts",
            |c| {
                let mut own = AttemptOverrides::default();
                own.longest_delay = Some(48 * HOUR);
                c.attempts.kinds.insert(AttemptKind::Forgot, own);
            },
            |c| {
                let mut own = AttemptOverrides::default();
                own.longest_delay = Some(48 * HOUR);
                own.first_delay = Some(Duration::ZERO);
                c.attempts.kinds.insert(AttemptKind::Forgot, own);
            },
        ),
        // For codes, the window is the one in the settings of codes.
        (
            "retention.attempts",
            |c| {
                let mut own = AttemptOverrides::default();
                own.lockout = Some(23 * HOUR + Duration::from_secs(1));
                c.attempts.kinds.insert(AttemptKind::Challenge, own);
            },
            |c| {
                let mut own = AttemptOverrides::default();
                own.lockout = Some(23 * HOUR);
                c.attempts.kinds.insert(AttemptKind::Challenge, own);
            },
        ),
        (
            "attempts.watch.window",
            |c| c.attempts.watch.get_or_insert_default().window = Duration::ZERO,
            |c| c.attempts.watch.get_or_insert_default().window = Duration::from_secs(1),
        ),
        (
            "attempts.watch.least_failures",
            |c| c.attempts.watch.get_or_insert_default().least_failures = 0,
            |c| c.attempts.watch = None,
        ),
        (
            "attempts.watch.names_per_network",
            |c| c.attempts.watch.get_or_insert_default().names_per_network = 1,
            |c| c.attempts.watch.get_or_insert_default().names_per_network = 2,
        ),
        (
            "password.memory_kib",
            |c| c.password.memory_kib = 1024 * 1024 + 1,
            |c| c.password.memory_kib = 1024 * 1024,
        ),
        (
            "password.peppers",
            |c| {
                let pepper = ("2026".to_owned(), Secret::generate());
                c.password.peppers = vec![pepper.clone(), pepper];
            },
            |c| c.password.peppers = vec![("2026".to_owned(), Secret::generate())],
        ),
        (
            "password.peppers",
            |c| c.password.peppers = vec![(String::new(), Secret::generate())],
            |c| c.password.peppers = vec![],
        ),
        ("keys.secrets", |c| c.keys.secrets.clear(), |_| {}),
        (
            "keys.signing",
            |c| c.keys.signing.clear(),
            |c| c.keys.signing = vec![SigningKey::derived_hs256()],
        ),
        ("database.writers", |c| c.database.writers = 0, |c| c.database.writers = 1),
        ("captcha.attempts", |c| c.captcha.attempts = 0, |c| c.captcha.attempts = 1),
        ("captcha.attempts", |c| c.captcha.attempts = 11, |c| c.captcha.attempts = 10),
        ("captcha.fetches", |c| c.captcha.fetches = 0, |c| c.captcha.fetches = 1),
        ("captcha.fetches", |c| c.captcha.fetches = 101, |c| c.captcha.fetches = 100),
        ("captcha.workers", |c| c.captcha.workers = 0, |c| c.captcha.workers = 1),
        ("captcha.workers", |c| c.captcha.workers = 65, |c| c.captcha.workers = 64),
        (
            "captcha.window",
            |c| c.captcha.window = Duration::ZERO,
            |c| c.captcha.window = Duration::from_secs(1),
        ),
        (
            "captcha.lifetime",
            |c| c.captcha.lifetime = Duration::from_secs(29),
            |c| c.captcha.lifetime = Duration::from_secs(30),
        ),
        ("captcha.lifetime", |c| c.captcha.lifetime = 2 * HOUR, |c| c.captcha.lifetime = HOUR),
        (
            "captcha.per_source",
            |c| c.captcha.per_source = Quota::new(1, 25 * HOUR),
            |c| c.captcha.per_source = Quota::new(1, 24 * HOUR),
        ),
        (
            "captcha.wait",
            |c| c.captcha.wait = Duration::ZERO,
            |c| c.captcha.wait = Duration::from_millis(1),
        ),
        (
            "captcha.provider_timeout",
            |c| c.captcha.provider_timeout = Duration::from_secs(61),
            |c| c.captcha.provider_timeout = Duration::from_secs(60),
        ),
        (
            "database.hook_timeout",
            |c| c.database.hook_timeout = Duration::ZERO,
            |c| c.database.hook_timeout = Duration::from_millis(1),
        ),
        (
            "retention.challenges",
            |c| c.retention.challenges = Duration::from_secs(59),
            |c| c.retention.challenges = Duration::from_secs(60),
        ),
        (
            "retention.device_requests",
            |c| c.retention.device_requests = HOUR - Duration::from_millis(1),
            |c| c.retention.device_requests = HOUR,
        ),
        (
            "retention.device_requests",
            |c| c.retention.device_requests = 30 * DAY + Duration::from_millis(1),
            |c| c.retention.device_requests = 30 * DAY,
        ),
        (
            "retention.sessions",
            |c| c.retention.sessions = Duration::from_secs(60 * 60 - 1),
            |c| c.retention.sessions = Duration::from_secs(60 * 60),
        ),
        (
            "database.timeout",
            |c| c.database.timeout = Duration::ZERO,
            |c| c.database.timeout = Duration::from_millis(1),
        ),
    ];
    for (knob, wrong, right) in rows {
        let knobs = refused(wrong);
        assert!(
            !knobs.is_empty() && knobs.iter().all(|refused| refused == knob),
            "{knob}: {knobs:?}"
        );
        assert_eq!(refused(right), Vec::<String>::new(), "beside {knob}");
    }
}

#[test]
fn every_fault_is_named_at_once() {
    let knobs = refused(|config| {
        config.keys.secrets.clear();
        config.service.public_url = Some("nonsense".into());
        config.service.trusted_origins = vec!["nonsense".into(), "https://fine.example".into()];
        config.cookie.name = "a b".into();
        config.cookie.same_site = SameSite::None;
        config.cookie.danger_insecure_http_cookies = true;
        config.session.token_lifetime = Duration::ZERO;
        config.session.replay_after = Duration::ZERO;
        config.session.anonymous_per_minute = 0;
        config.password.min_length = 1;
        config.password.memory_kib = 8;
        config.database.timeout = Duration::ZERO;
    });
    for knob in [
        "keys.secrets",
        "service.public_url",
        "service.trusted_origins",
        "cookie.name",
        "cookie.same_site",
        "session.token_lifetime",
        "session.replay_after",
        "session.anonymous_per_minute",
        "password.min_length",
        "password.memory_kib",
        "database.timeout",
    ] {
        assert!(knobs.iter().any(|refused| refused == knob), "{knob} in {knobs:?}");
    }
}

#[test]
fn a_secret_is_random_or_refused() {
    for (text, expected) in [
        ("", SecretError::TooShort(0)),
        ("short", SecretError::TooShort(5)),
        ("0123456789abcdef0123456789abcde", SecretError::TooShort(31)),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", SecretError::Repetitive),
        ("abcabcabcabcabcabcabcabcabcabcabc", SecretError::Repetitive),
        ("changeme", SecretError::Known),
        ("CHANGE-ME-change-me-CHANGE-ME-123", SecretError::Known),
        ("your-256-bit-secret", SecretError::Known),
        ("this is an example of a secret key", SecretError::Known),
        ("correct-password-battery-staple-42", SecretError::Known),
    ] {
        assert_eq!(Secret::new(text).expect_err(text), expected);
        if text.is_empty() || text.contains(',') {
            continue;
        }
        let errors = from(&[("SECRET", text)]).expect_err("a weak secret");
        assert_eq!(name(&errors.0[0]), "PORTCULLIS_SECRET");
        assert!(!errors.to_string().contains(text), "a secret is never repeated: {errors}");
    }
    assert!(Secret::new("Tq3vYk0mVw1Jc7n4uXh8bZ5sLr2pGd6f").is_ok());
    assert!(
        Secret::new("SECRET_KEY=Tq3vYk0mVw1Jc7n4uXh8bZ5sLr2pGd6f").is_ok(),
        "a label is no fault"
    );
}

#[test]
fn an_older_secret_or_a_pepper_that_can_be_guessed_is_a_finding() {
    let text = "einsehrlangesgeheimnisfuerdenserver";
    assert_eq!(Secret::new(text).expect_err(text), SecretError::Guessable);
    let weak = Secret::in_use(text).expect("something was made under it");
    let older = |config: &mut Config| config.keys.secrets = vec![Secret::generate(), weak.clone()];
    assert!(findings(older).contains(&"guessable_secret"));
    let pepper = |config: &mut Config| {
        config.password.peppers = vec![("2020".to_owned(), weak.clone())];
    };
    assert!(findings(pepper).contains(&"guessable_secret"));
    assert_eq!(refused(|config| config.keys.secrets = vec![weak.clone()]), ["keys.secrets"]);
    // The same from the environment.
    let random = "Tq3vYk0mVw1Jc7n4uXh8bZ5sLr2pGd6f";
    assert!(from(&[("SECRET", &format!("{random},{text}"))]).is_ok());
    assert!(from(&[("SECRET", &format!("{text},{random}"))]).is_err());
    // Short or published secrets are always refused.
    assert!(Secret::in_use("short").is_err());
    assert!(Secret::in_use("your-256-bit-secret").is_err());
}

#[test]
fn a_configuration_prints_no_secret() {
    let text = "Tq3vYk0mVw1Jc7n4uXh8bZ5sLr2pGd6f";
    let secret = Secret::new(text).expect("a good secret");
    let builder = Portcullis::builder(nowhere()).secret(secret.clone()).configure(|config| {
        config.password.peppers = vec![("2026".to_owned(), secret.clone())];
    });
    let printed = format!("{builder:?}");
    let auth = builder.build().expect("the configuration is right");
    for printed in [printed, format!("{auth:?}"), format!("{auth:#?}"), format!("{secret:?}")] {
        assert!(!printed.contains(&text[..8]), "{printed}");
    }
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = Config::default();
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    assert_eq!(config.session.token_lifetime, minutes(15));
    assert_eq!(config.session.refresh_window, Some(minutes(7 * 24 * 60)));
    assert_eq!(config.session.absolute_lifetime, minutes(30 * 24 * 60));
    assert_eq!(config.session.unremembered_lifetime, minutes(12 * 60));
    assert_eq!(config.session.pending_lifetime, minutes(10));
    assert_eq!(config.session.password_change_lifetime, minutes(5));
    assert_eq!(config.session.anonymous_lifetime, minutes(24 * 60));
    assert_eq!(config.session.recent_factor, minutes(5));
    assert_eq!(config.session.replay_after, Duration::from_secs(90));
    assert_eq!(config.session.binding, Binding::Log);
    assert_eq!(config.password.min_length, 15);
    assert_eq!((config.password.memory_kib, config.password.iterations), (19_456, 2));
    assert_eq!(config.cookie.same_site, SameSite::Lax);
    assert_eq!(config.rate.registrations, Some(Quota::new(100, HOUR)));
    assert!(!config.service.bearer && !config.service.strict_origin);
    assert!(!config.login.require_verified && !config.password.danger_cheap_hashing);
    assert!(config.proxies.networks.is_empty());
    assert_eq!(findings(|_| {}), ["no_public_url"]);
    for preset in
        [SessionConfig::nist_aal1(), SessionConfig::nist_aal2(), SessionConfig::nist_aal3()]
    {
        assert_eq!(refused(|config| config.session = preset), Vec::<String>::new());
    }
}

#[test]
fn what_works_but_should_be_known_is_listed() {
    let rows: &[(&str, Change)] = &[
        ("no_public_url", |_| {}),
        ("insecure_cookies", |c| c.cookie.danger_insecure_http_cookies = true),
        ("same_site_none", |c| c.cookie.same_site = SameSite::None),
        ("password_alone_below_15", |c| c.password.min_length = 14),
        ("proxy_trusts_everyone", |c| {
            c.proxies.networks = vec!["0.0.0.0/0".parse().expect("a network")];
        }),
        ("proxy_trusts_everyone", |c| {
            c.proxies.networks = vec!["::/0".parse().expect("a network")];
        }),
        ("binding_off", |c| c.session.binding = Binding::Off),
    ];
    for (code, change) in rows {
        assert!(findings(change).contains(code), "{code}");
    }
    let all_well = findings(|config| {
        config.service.public_url = Some("https://example.com".into());
        config.proxies.networks = vec!["10.0.0.0/8".parse().expect("a network")];
    });
    assert_eq!(all_well, Vec::<&str>::new());
    let auth = build(|config| config.password.min_length = 8).expect("it is not refused");
    let list: Vec<_> = auth.audit().iter().map(ToString::to_string).collect();
    assert!(list.iter().any(|line| line.starts_with("password_alone_below_15: ")), "{list:?}");
}

#[test]
fn what_should_be_known_is_also_said_at_the_start() {
    let (log, _listening) = Log::start();
    build(|config| config.password.min_length = 8).expect("it is not refused");
    let text = log.text();
    for code in ["no_public_url", "password_alone_below_15"] {
        let lines = text.lines().filter(|line| line.contains(code) && line.contains("WARN"));
        assert_eq!(lines.count(), 1, "{code} in {text}");
    }
}

#[test]
fn the_environment_sets_every_knob_it_names() {
    let config = from(&[
        ("SECRET", "Tq3vYk0mVw1Jc7n4uXh8bZ5sLr2pGd6f, 9aYk0mVw1Jc7n4uXh8bZ5sLr2pGd6fQz"),
        ("PUBLIC_URL", "https://example.com"),
        ("ISSUER", "12345"),
        ("TRUSTED_ORIGINS", "https://a.example, https://b.example"),
        ("STRICT_ORIGIN", "true"),
        ("BEARER", "true"),
        ("CLEAR_SITE_DATA", "true"),
        ("LOGIN_PAGE", "/login"),
        ("COOKIE_NAME", "12345"),
        ("COOKIE_SAME_SITE", "none"),
        ("DANGER_INSECURE_HTTP_COOKIES", "false"),
        ("TOKEN_LIFETIME", "90s"),
        ("REFRESH_WINDOW", "12h"),
        ("ABSOLUTE_LIFETIME", "2d"),
        ("UNREMEMBERED_LIFETIME", "1h"),
        ("BINDING", "end"),
        ("LOGIN_IDS", "email"),
        ("NAMES_PER_ACCOUNT", "3"),
        ("REGISTRATION", "closed"),
        ("REQUIRE_VERIFIED", "true"),
        ("PASSWORD_MIN_LENGTH", "20"),
        ("PASSWORD_MEMORY_KIB", "65536"),
        ("PASSWORD_ITERATIONS", "3"),
        ("CONCURRENT_HASHES", "2"),
        ("HASH_QUEUE", "7"),
        ("HASH_WAIT", "2s"),
        ("RATE_TAKEN_NAMES", "7"),
        ("RATE_REGISTRATIONS", "8"),
        ("MAIL_PER_SOURCE", "off"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, ::1/128"),
        ("FORWARDED_HEADER", "forwarded"),
        ("FORWARDED_PREFIX", "true"),
        ("NO_STORE", "false"),
        ("STEP_UP_PAGE", "/again"),
        ("MEMBERSHIP_SOURCE_TIMEOUT", "7s"),
        ("TOTP_ISSUER", "Shop & Co"),
        ("TRUSTED_DEVICES", "true"),
        ("TRUSTED_DEVICE_LIFETIME", "14d"),
        ("DATABASE_TIMEOUT", "3s"),
        ("DATABASE_WRITERS", "3"),
        ("DATABASE_HOOK_TIMEOUT", "7s"),
        ("REPLAY_AFTER", "61s"),
        ("COOKIE_PARTITIONED", "true"),
        ("REMEMBERED_GRANTS", "0"),
        ("WATCH", "true"),
        ("WATCH_FAILURES", "30"),
        ("WATCH_NAMES", "9"),
        ("RETENTION_SESSIONS", "1d"),
        ("RETENTION_CHALLENGES", "2h"),
        ("RETENTION_ATTEMPTS", "48h"),
        ("RETENTION_DENIALS", "3d"),
        ("RETENTION_EVENTS", "off"),
        ("RETENTION_UNVERIFIED_ACCOUNTS", "4d"),
        ("RETENTION_CLOSED_ACCOUNTS", "5d"),
        ("RETENTION_ERASED_SOURCES", "0s"),
    ])
    .expect("all of them are known");
    assert_eq!(config.permission.source_timeout, Duration::from_secs(7));
    assert_eq!(config.totp.issuer.as_deref(), Some("Shop & Co"));
    assert!(config.trusted_device.enabled);
    assert_eq!(config.trusted_device.lifetime, Duration::from_secs(14 * 24 * 3600));
    assert_eq!(config.keys.secrets.len(), 2);
    let service = &config.service;
    assert_eq!(service.public_url.as_deref(), Some("https://example.com"));
    assert_eq!(service.issuer.as_deref(), Some("12345"));
    assert_eq!(service.trusted_origins, ["https://a.example", "https://b.example"]);
    assert!(service.strict_origin && service.bearer && service.clear_site_data);
    assert!(!service.no_store && config.proxies.prefix);
    assert_eq!(service.unauthenticated, Unauthenticated::LoginPage("/login".into()));
    assert_eq!(service.step_up_page.as_deref(), Some("/again"));
    assert_eq!(config.session.replay_after, Duration::from_secs(61));
    assert!(config.cookie.partitioned);
    let CookieConfig { name, same_site, danger_insecure_http_cookies, .. } = &config.cookie;
    assert_eq!((name.as_str(), *same_site), ("12345", SameSite::None));
    assert!(!danger_insecure_http_cookies);
    assert_eq!(config.session.token_lifetime, Duration::from_secs(90));
    assert_eq!(config.session.refresh_window, Some(Duration::from_secs(12 * 3600)));
    assert_eq!(config.session.absolute_lifetime, Duration::from_secs(2 * 24 * 3600));
    assert_eq!(config.session.unremembered_lifetime, Duration::from_secs(3600));
    assert_eq!(config.session.binding, Binding::End);
    assert_eq!(
        (config.login.id, config.login.registration),
        (LoginIds::Email, Registration::Closed)
    );
    assert!(config.login.require_verified);
    assert_eq!(config.login.max_names, 3);
    let password = &config.password;
    assert_eq!((password.min_length, password.memory_kib, password.iterations), (20, 65_536, 3));
    assert_eq!((password.concurrent_hashes, password.hash_queue), (Some(2), 7));
    assert_eq!(password.hash_wait, Duration::from_secs(2));
    assert_eq!(
        (config.proxies.networks.len(), config.proxies.header),
        (2, ForwardedHeader::Forwarded)
    );
    assert_eq!(config.database.timeout, Duration::from_secs(3));
    assert_eq!(config.database.writers, 3);
    assert_eq!(config.database.hook_timeout, Duration::from_secs(7));
    assert_eq!(config.database.remembered_grants, 0);
    assert_eq!(config.rate.taken_names, Some(Quota::new(7, HOUR)));
    assert_eq!(
        (config.rate.registrations, config.mail.per_source),
        (Some(Quota::new(8, HOUR)), None)
    );
    let watch = config.attempts.watch.as_ref().expect("it is on");
    assert_eq!((watch.least_failures, watch.names_per_network), (30, 9));
    let hours = |time: Duration| time.as_secs() / 3600;
    let kept = &config.retention;
    let times = [kept.sessions, kept.challenges, kept.attempts, kept.denials].map(hours);
    assert_eq!(times, [24, 2, 48, 72]);
    assert_eq!((kept.events, kept.unverified_accounts.map(hours)), (None, Some(96)));
    assert_eq!([kept.closed_accounts, kept.erased_sources].map(hours), [120, 0]);
    Portcullis::builder(nowhere()).config(config).build().expect("it can be built");
}

#[test]
fn each_binding_has_a_word() {
    for (word, binding) in [
        ("off", Binding::Off),
        ("log", Binding::Log),
        ("step-up", Binding::StepUp),
        ("suspect", Binding::Suspect),
        ("end", Binding::End),
    ] {
        let config = from(&[("BINDING", word)]).expect("it is known");
        assert_eq!(config.session.binding, binding, "{word}");
    }
}

/// This is not a separate test. The next test starts it as a process with its own environment.
#[test]
#[ignore = "started by `variables_of_others_may_be_anything_and_ours_are_named`"]
fn says_what_it_makes_of_its_environment() {
    match Config::from_env() {
        Ok(config) => println!("understood: {}", config.cookie.name),
        Err(errors) => println!("refused: {errors}"),
    }
}

#[cfg(unix)]
#[test]
fn variables_of_others_may_be_anything_and_ours_are_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let said = |name: &[u8], value: &[u8]| {
        let output = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "config::says_what_it_makes_of_its_environment", "--ignored"])
            .arg("--nocapture")
            .env("PORTCULLIS_COOKIE_NAME", "name")
            .env(OsStr::from_bytes(name), OsStr::from_bytes(value))
            .output()
            .expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (name, value) in [
        (&b"LESS_TERMCAP_mb"[..], &b"\xffsecret"[..]),
        (b"NOT_\xff_TEXT", b"secret"),
        (b"XPORTCULLIS_\xff", b"\xffsecret"),
        (b"PORTCULLIS_TEST_OTHER", b"\xffsecret"),
    ] {
        let text = said(name, value);
        assert!(text.contains("understood: name"), "{name:?}: {text}");
    }
    for (name, value, reason) in [
        (&b"PORTCULLIS_SECRET"[..], &b"\xffsecret"[..], "PORTCULLIS_SECRET: is not valid UTF-8"),
        (b"PORTCULLIS_\xff", b"secret", "PORTCULLIS_\u{fffd}: is not a variable of portcullis"),
        (b"PORTCULLIS_SECRE\xff", b"\xffsecret", "PORTCULLIS_SECRE\u{fffd}: is not valid UTF-8"),
    ] {
        let text = said(name, value);
        assert!(text.contains("refused: ") && text.contains(reason), "{name:?}: {text}");
        assert!(!text.contains("secret\n"), "{text}");
    }
}

#[test]
fn a_variable_that_is_not_known_or_not_understood_is_refused_without_its_value() {
    for (name, value) in [
        ("SESION_LIFETIME", "1d"),
        ("", "x"),
        ("secret", "Tq3vYk0mVw1Jc7n4uXh8bZ5sLr2pGd6f"),
        ("SECRETS", "Tq3vYk0mVw1Jc7n4uXh8bZ5sLr2pGd6f"),
        ("BEARER", "TRUE"),
        ("BEARER", "1"),
        ("BEARER", ""),
        ("COOKIE_SAME_SITE", "Lax"),
        ("TOKEN_LIFETIME", "15"),
        ("TOKEN_LIFETIME", "15 min"),
        ("TOKEN_LIFETIME", "-15m"),
        ("TOKEN_LIFETIME", "1.5h"),
        ("TOKEN_LIFETIME", ""),
        ("TOKEN_LIFETIME", "999999999999999999d"),
        ("ABSOLUTE_LIFETIME", "off"),
        ("BINDING", "step_up"),
        ("LOGIN_IDS", "phone"),
        ("REGISTRATION", "invited"),
        ("HASH_QUEUE", "-1"),
        ("HASH_QUEUE", "many"),
        ("PASSWORD_MEMORY_KIB", "19456KiB"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,*"),
        ("FORWARDED_HEADER", "X-Real-IP"),
    ] {
        let errors = from(&[(name, value), ("COOKIE_NAME", "session")]).expect_err(name);
        assert_eq!(errors.0.len(), 1, "{name}={value}");
        assert_eq!(self::name(&errors.0[0]), format!("PORTCULLIS_{name}"));
        assert!(value.len() < 8 || !errors.to_string().contains(value), "{errors}");
    }
    // Variables of other programs are ignored.
    let theirs =
        [("HOME", "/root"), ("portcullis_bearer", "x"), ("PORTCULLIS_TEST_MYSQL_URL", "x")];
    let theirs = theirs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(Config::from_vars(theirs).is_ok());
}

/// Only requests can show this. It does not depend on the database.
#[tokio::test]
async fn an_operator_is_warned_once_when_nobody_s_address_is_known() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let (log, _listening) = Log::start();
        let app = app(&probe.auth);
        let login = |peer: Option<IpAddr>, header: Option<&str>| {
            let mut request =
                request("POST", "/auth/login").header("content-type", "application/json");
            if let Some(header) = header {
                request = request.header(header, "203.0.113.9");
            }
            let body = Body::from(r#"{"login":"nobody","password":"x"}"#);
            let mut request = request.body(body).expect("a request");
            if let Some(peer) = peer {
                request.extensions_mut().insert(PeerAddr(peer));
            }
            request
        };
        let count = |code: &str| {
            let found = probe.auth.audit().iter().filter(|finding| finding.code == code).count();
            let warned = log.text().lines().filter(|line| line.contains(code)).count();
            assert_eq!(found, warned, "{code}");
            found
        };
        let peer = Some([192, 0, 2, 7].into());
        call(&app, login(peer, None)).await;
        assert_eq!((count("no_peer_address"), count("forwarded_without_proxy")), (0, 0));
        for _ in 0..3 {
            assert_eq!(call(&app, login(None, None)).await.status, 401);
        }
        assert_eq!((count("no_peer_address"), count("forwarded_without_proxy")), (1, 0));
        assert!(log.text().contains("into_make_service_with_connect_info"));
        for header in ["x-forwarded-for", "forwarded", "x-real-ip"] {
            call(&app, login(peer, Some(header))).await;
        }
        assert_eq!((count("no_peer_address"), count("forwarded_without_proxy")), (1, 1));

        probe.forget_attempts().await;
        // With the proxy configured there is no finding.
        let networks = vec!["192.0.2.0/24".parse().expect("a network")];
        let proxies = TrustedProxies::new(networks, ForwardedHeader::XForwardedFor);
        let auth = probe.rebuilt(|builder| builder.configure(|c| c.proxies = proxies));
        let app = self::app(&auth);
        call(&app, login(peer, Some("x-forwarded-for"))).await;
        let codes: Vec<_> = auth.audit().iter().map(|finding| finding.code).collect();
        assert!(!codes.contains(&"forwarded_without_proxy"), "{codes:?}");
        assert!(!codes.contains(&"no_peer_address"), "{codes:?}");
        let address = probe.text("SELECT MAX(address) FROM auth_event").await;
        assert_eq!(address.as_deref(), Some("203.0.113.9"));
    })
    .await;
}

#[test]
fn registration_is_strict_where_that_works_and_refused_where_it_does_not() {
    use portcullis::config::Registration;
    use portcullis::message::RecordingNotifier;

    let build = |registration, verified: bool, notifier: bool| {
        let mut builder = Portcullis::builder(nowhere())
            .secret(Secret::generate())
            .public_url("https://example.com")
            .configure(|config| {
                config.login.registration = registration;
                config.login.require_verified = verified;
            });
        if notifier {
            builder = builder.notifier(RecordingNotifier::default());
        }
        builder.build().map(drop).map_err(|errors| errors.to_string())
    };
    for registration in [Registration::Automatic, Registration::Open, Registration::Closed] {
        for (verified, notifier) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(build(registration, verified, notifier), Ok(()));
        }
    }
    assert_eq!(build(Registration::Strict, true, true), Ok(()));
    for (verified, notifier) in [(false, true), (true, false), (false, false)] {
        let error = build(Registration::Strict, verified, notifier).expect_err("it is refused");
        assert!(error.contains("login.registration"), "{error}");
    }
}

#[tokio::test]
async fn links_in_messages_have_the_prefix_that_a_proxy_takes_off() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let alice = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(alice.id()).await.expect("it is verified");
        let auth = probe.rebuilt(|builder| {
            builder
                .public_url("https://example.com/app")
                .configure(|config| config.mail.link_origin = None)
        });
        let client = portcullis::ClientInfo::default();
        auth.password_reset().forgot("alice@example.com", &client).await.expect("it is asked for");
        auth.outbox().deliver_due().await.expect("the outbox is read");
        let sent = probe.notifier.sent();
        let message = sent.last().expect("a message");
        let link = "https://example.com/app/password/reset#token=";
        assert!(message.text.contains(link), "{}", message.text);
    })
    .await;
}
