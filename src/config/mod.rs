//! All settings and their defaults, on one page. They are plain data. `build()` checks them and
//! reports all errors at once.
//!
//! The page [`guide::defaults`](crate::guide::defaults) gives the reasons for the defaults. A
//! setting can be changed with [`Builder::configure`](crate::Builder::configure), or read from the
//! [environment](crate::config::env).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::client::TrustedProxies;
use crate::base::jwt::SigningKey;
use crate::base::public_url::PublicUrl;
use crate::base::rate::Quota;
use crate::base::secret::Secret;

pub mod account_recovery;
pub mod action_proof;
pub mod api_key;
pub mod captcha;
pub mod check;
pub mod device_login;
pub mod dpop;
pub mod env;
pub mod factor;
pub mod federation;
pub mod mail;
pub mod passkey;
pub mod retention;
pub mod service;
pub mod totp;
pub mod trusted_device;

pub use account_recovery::AccountRecoveryConfig;
pub use action_proof::ActionProofConfig;
pub use api_key::ApiKeyConfig;
pub use captcha::CaptchaConfig;
pub use device_login::{DeviceClient, DeviceCodeReuse, DeviceLoginConfig, DeviceNetworks};
pub use dpop::DpopConfig;
pub use factor::FactorConfig;
pub use federation::{
    AppleKey, ClientAuthentication, FederationConfig, IdTokenAlgorithm, MailTrust, OAuthEndpoints,
    Provider, ProviderPolicy, TwoFactors,
};
pub use mail::{Delivery, LinkConfig, MailConfig};
pub use passkey::{PasskeyConfig, UserVerification};
pub use retention::RetentionConfig;
pub use service::{ServiceConfig, Unauthenticated};
pub use totp::{TotpAlgorithm, TotpConfig};
pub use trusted_device::TrustedDeviceConfig;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The whole configuration.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// Secrets and signing keys.
    pub keys: KeyConfig,
    /// The address of the service, and which origins may call it.
    pub service: ServiceConfig,
    /// The session cookie.
    pub cookie: CookieConfig,
    /// Lifetimes and rotation of sessions.
    pub session: SessionConfig,
    /// How people sign in and register.
    pub login: LoginConfig,
    /// Password length and hashing.
    pub password: PasswordConfig,
    /// Codes that are sent and that users type.
    pub challenge: ChallengeConfig,
    /// Failed attempts to sign in: delays and locks.
    pub attempts: AttemptConfig,
    /// When a captcha is needed, and its limits.
    pub captcha: CaptchaConfig,
    /// Verification of addresses.
    pub verification: VerificationConfig,
    /// Changes of the mail address and the phone number.
    pub contact: ContactConfig,
    /// Proxies that portcullis trusts to state the client's address.
    pub proxies: TrustedProxies,
    /// Levels on resources, and the time limit of their source.
    pub permission: PermissionConfig,
    /// How many requests are allowed.
    pub rate: RateConfig,
    /// Time limits of the database, and memory.
    pub database: DatabaseConfig,
    /// Mail and text messages.
    pub mail: MailConfig,
    /// How long rows are kept.
    pub retention: RetentionConfig,
    /// How authenticators make their codes.
    pub totp: TotpConfig,
    /// Which second factors are needed, when mailed codes count, and the limits of a factor of your own.
    pub factor: FactorConfig,
    /// How an administrator recovers an account.
    pub account_recovery: AccountRecoveryConfig,
    /// Devices that skip the second factor for some time.
    pub trusted_device: TrustedDeviceConfig,
    /// Lifetime and number of action proofs.
    pub action_proof: ActionProofConfig,
    /// Keys with which programs act for an account.
    pub api_key: ApiKeyConfig,
    /// Devices that a person signs in from another device.
    pub device_login: DeviceLoginConfig,
    /// Tokens that are bound to a key of their client.
    pub dpop: DpopConfig,
    /// For which domain passkeys are made, and what they must prove.
    pub passkey: PasskeyConfig,
    /// Providers with which people sign in.
    pub federation: FederationConfig,
}

/// Secrets and signing keys.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyConfig {
    /// Newest first. The newest one signs and computes digests. The older ones are only accepted,
    /// until you remove them. They may be [`Secret::in_use`].
    pub secrets: Vec<Secret>,
    /// Newest first. Default: HS256 with keys derived from the secrets.
    pub signing: Vec<SigningKey>,
}

impl Default for KeyConfig {
    fn default() -> Self {
        Self { secrets: Vec::new(), signing: vec![SigningKey::derived_hs256()] }
    }
}

/// The session cookie.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CookieConfig {
    /// The name without its prefix. Default: `session`, which is sent as `__Host-session`.
    pub name: String,
    /// The `SameSite` attribute. Default: Lax.
    pub same_site: SameSite,
    /// If true, the cookie is sent without `Secure` and without the `__Host-` prefix, for plain http
    /// beyond loopback. On loopback, Chromium and curl accept secure cookies anyway. Refused if the
    /// public URL is https. Default: false.
    pub danger_insecure_http_cookies: bool,
    /// If true, the cookie is sent as `Partitioned`, so that it works in an iframe of another site.
    /// Each such site then has its own cookies. Needs `SameSite=None`. The name gets the suffix
    /// `-partitioned`, because a browser may send an unpartitioned cookie with the same name beside
    /// it. Default: false.
    pub partitioned: bool,
}

impl Default for CookieConfig {
    fn default() -> Self {
        Self {
            name: "session".to_owned(),
            same_site: SameSite::Lax,
            danger_insecure_http_cookies: false,
            partitioned: false,
        }
    }
}

/// The `SameSite` attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameSite {
    /// Never sent from another site, not even when following a link.
    Strict,
    /// Sent from another site only when following a link.
    Lax,
    /// Always sent. It needs `Secure`.
    None,
}

/// Lifetimes and rotation of sessions.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionConfig {
    /// The age at which a token is replaced by its next generation. Default: 15 min.
    pub token_lifetime: Duration,
    /// How long a token can be replaced after it was issued. So a session may be idle for this
    /// time, counted from its last rotation. `None` turns rotation off: a session then ends with
    /// its token. Default: 7 d.
    pub refresh_window: Option<Duration>,
    /// The absolute end of a session, however often it is used. Default: 30 d.
    pub absolute_lifetime: Duration,
    /// The same for a login with `remember: false`, whose cookie is deleted when the browser
    /// closes. Default: 12 h.
    pub unremembered_lifetime: Duration,
    /// How long a sign-in waits for its second factor or enrolment. Default: 10 min.
    pub pending_lifetime: Duration,
    /// How long a sign-in waits for the new password that must be set. Default: 5 min.
    pub password_change_lifetime: Duration,
    /// The lifetime of an anonymous session. Default: 24 h.
    pub anonymous_lifetime: Duration,
    /// How many anonymous sessions one source may start per minute. Default: 10.
    pub anonymous_per_minute: u32,
    /// How old a generation of a token must be when it is used, so that the previous one becomes a
    /// replay. Until then the previous one is valid, for a browser that was killed before it wrote
    /// its cookies to disk. At least 60 s. Default: 90 s.
    pub replay_after: Duration,
    /// The maximum age of a factor for changes of the account itself. Default: 5 min.
    pub recent_factor: Duration,
    /// What happens if a session is used from another network or browser.
    /// Default: [`Binding::Log`].
    pub binding: Binding,
    /// The maximum number of full sessions of one account. Default: no limit.
    pub max_per_account: Option<u32>,
    /// What happens at a login beyond that limit. Default: the oldest session of the account ends.
    pub at_limit: AtLimit,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            token_lifetime: 15 * MINUTE,
            refresh_window: Some(7 * DAY),
            absolute_lifetime: 30 * DAY,
            unremembered_lifetime: 12 * HOUR,
            pending_lifetime: 10 * MINUTE,
            password_change_lifetime: 5 * MINUTE,
            anonymous_lifetime: 24 * HOUR,
            anonymous_per_minute: 10,
            replay_after: Duration::from_secs(90),
            recent_factor: 5 * MINUTE,
            binding: Binding::Log,
            max_per_account: None,
            at_limit: AtLimit::EvictOldest,
        }
    }
}

impl SessionConfig {
    /// NIST SP 800-63B-4 AAL1: at most 30 days. The same as the default.
    pub fn nist_aal1() -> Self {
        Self::default()
    }

    /// NIST SP 800-63B-4 AAL2: at most 24 hours, at most 1 hour idle.
    pub fn nist_aal2() -> Self {
        Self {
            refresh_window: Some(HOUR),
            absolute_lifetime: 24 * HOUR,
            unremembered_lifetime: 12 * HOUR,
            ..Self::default()
        }
    }

    /// NIST SP 800-63B-4 AAL3: at most 12 hours, at most 15 minutes idle.
    pub fn nist_aal3() -> Self {
        Self {
            token_lifetime: 5 * MINUTE,
            refresh_window: Some(15 * MINUTE),
            absolute_lifetime: 12 * HOUR,
            unremembered_lifetime: 12 * HOUR,
            ..Self::default()
        }
    }
}

/// What happens if a session is used from another network (IPv4 /24, IPv6 /64) or another browser
/// family than the one from which it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Binding {
    /// Nothing is compared.
    Off,
    /// The change is traced. A token that two clients share (`session_shared`) is also recorded in
    /// the audit log.
    Log,
    /// The session goes on, but nothing counts that was proved in it before. Where a factor is
    /// required, and for changes of the account, the answer is 401
    /// `insufficient_user_authentication`. `POST /reauthenticate` from the new source makes a new
    /// session, which belongs to that source. The change is recorded in the audit log.
    StepUp,
    /// The session is marked suspicious. Only signing out works.
    Suspect,
    /// The session ends.
    End,
}

/// What happens at a login of an account that has the maximum number of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AtLimit {
    /// The account's oldest session ends.
    EvictOldest,
    /// The login is refused with `session_limit`. The user must sign out on another device first.
    Refuse,
}

/// How people sign in and register.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoginConfig {
    /// The names with which an account can sign in. Default: either.
    pub id: LoginIds,
    /// Whether strangers may register, and what the answer tells them. Default: automatic.
    pub registration: Registration,
    /// If true, an account must be verified before it can sign in. Default: false.
    pub require_verified: bool,
    /// The maximum number of sign-in names of an account, including its main ones. Default: 10.
    pub max_names: usize,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self {
            id: LoginIds::Either,
            registration: Registration::Automatic,
            require_verified: false,
            max_names: 10,
        }
    }
}

/// The names with which an account can sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginIds {
    /// The username.
    Username,
    /// The email address.
    Email,
    /// The username or the email address.
    Either,
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Registration {
    /// Strict if accounts must be verified and there is a notifier, otherwise open.
    Automatic,
    /// Anyone. The answer is 201 with a session, or 409 if the name is taken.
    Open,
    /// Anyone, and nobody learns which addresses are known. The answer is always 202, and the rest
    /// comes by mail. Needs `login.require_verified` and a notifier.
    Strict,
    /// Nobody. The application creates the accounts.
    Closed,
}

impl Registration {
    /// Returns the word that `GET /methods` shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Open => "open",
            Self::Strict => "strict",
            Self::Closed => "closed",
        }
    }
}

/// Which passwords are accepted, and how they are hashed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PasswordConfig {
    /// The minimum number of code points. Default: 15, because the password is the only factor
    /// (NIST SP 800-63B-4). The smallest value that is accepted here is 8.
    pub min_length: usize,
    /// Rules about the characters that a password must have. Default: none.
    pub composition: Composition,
    /// Additional words that a password must not be, such as the names of the product. The host of
    /// the public URL and its parts are always included. Default: none.
    pub context_words: Vec<String>,
    /// The minimum strength of a new password, as zxcvbn rates it. Default: none.
    #[cfg(feature = "strength")]
    pub min_strength: Option<Strength>,
    /// What happens if a [list of breached passwords](crate::Builder::breached_list) does not
    /// answer. Default: the password is accepted, and the failure is traced.
    pub breached_outage: BreachedOutage,
    /// The time limit for that list. Default: 2 s.
    pub breached_timeout: Duration,
    /// The page of the application for changing a password, as a path of this service.
    /// [`/.well-known/change-password`](crate::password_change) redirects to it. Default: none.
    pub change_page: Option<String>,
    /// Argon2id memory in KiB. Default: 19 456 (OWASP).
    pub memory_kib: u32,
    /// Argon2id iterations. Default: 2 (OWASP).
    pub iterations: u32,
    /// Argon2id parallelism. Default: 1.
    pub parallelism: u32,
    /// Keys that are mixed into every hash, newest first. Each has a name, which is stored beside
    /// the hash. A key under which hashes exist already may be [`Secret::in_use`].
    pub peppers: Vec<(String, Secret)>,
    /// How many passwords are hashed at the same time. Default: the number of cores minus one, at
    /// least 1.
    pub concurrent_hashes: Option<usize>,
    /// How many more may wait in the queue. Further logins are answered 503. One source (an IPv4
    /// address, an IPv6 /64) has at most a quarter of the queue, and one IPv6 /48 has at most half.
    /// Default: 512.
    pub hash_queue: usize,
    /// How long a login waits in the queue before it is answered 503. Default: 10 s.
    pub hash_wait: Duration,
    /// If true, parameters below the OWASP minimum are accepted. Only for tests.
    #[cfg(feature = "test-util")]
    pub danger_cheap_hashing: bool,
}

impl Default for PasswordConfig {
    fn default() -> Self {
        Self {
            min_length: 15,
            composition: Composition::Any,
            context_words: Vec::new(),
            #[cfg(feature = "strength")]
            min_strength: None,
            breached_outage: BreachedOutage::Accept,
            breached_timeout: Duration::from_secs(2),
            change_page: None,
            memory_kib: 19 * 1024,
            iterations: 2,
            parallelism: 1,
            peppers: Vec::new(),
            concurrent_hashes: None,
            hash_queue: 512,
            hash_wait: Duration::from_secs(10),
            #[cfg(feature = "test-util")]
            danger_cheap_hashing: false,
        }
    }
}

/// Rules about the characters that a password must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Composition {
    /// Any characters, as NIST SP 800-63B-4 and ASVS 5.0 require.
    Any,
    /// Three of: lower case, upper case, digits, others. Only for services that must follow such a
    /// rule.
    ThreeOfFour,
}

/// How hard a password is to guess: the scores of zxcvbn.
#[cfg(feature = "strength")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Strength {
    /// More than a million guesses.
    Fair,
    /// More than 10⁸ guesses.
    Good,
    /// More than 10¹⁰ guesses.
    Strong,
}

/// What happens to a new password if the list of breached passwords does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreachedOutage {
    /// It is accepted, and the failure is traced. So an outage of the list does not prevent
    /// registrations.
    Accept,
    /// It is answered 503.
    Refuse,
}

/// Codes that are sent and that users type.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChallengeConfig {
    /// The number of characters of a code. Default: 8.
    pub code_length: usize,
    /// The characters of a code, each once: ASCII letters and digits. Default: the ten digits.
    pub code_alphabet: String,
    /// How long a code is valid. Default: 10 min.
    pub code_lifetime: Duration,
    /// How many wrong answers are allowed for one purpose of one account in
    /// [`attempts_window`](Self::attempts_window), whatever the number of codes. Default: 5.
    pub attempts: u32,
    /// The same for single purposes of your application, by their name, 1 to 100 each. It takes
    /// precedence over [`attempts`](Self::attempts) and over a limit in
    /// [`kinds`](AttemptConfig::kinds). Default: none.
    pub attempts_by_purpose: BTreeMap<String, u32>,
    /// The time in which wrong answers are counted, from the first one. Default: 1 h.
    pub attempts_window: Duration,
    /// How long an answered challenge gives access to the route that requires it. Default: 5 min.
    pub answered_lifetime: Duration,
    /// The time after which the same challenge may be sent again. Default: 1 min.
    pub cool_down: Duration,
}

impl Default for ChallengeConfig {
    fn default() -> Self {
        Self {
            code_length: 8,
            code_alphabet: "0123456789".to_owned(),
            code_lifetime: 10 * MINUTE,
            attempts: 5,
            attempts_by_purpose: BTreeMap::new(),
            attempts_window: HOUR,
            answered_lifetime: 5 * MINUTE,
            cool_down: MINUTE,
        }
    }
}

impl ChallengeConfig {
    /// True if this can be the name of a purpose: 1 to 48 lower-case ASCII letters, digits, dashes
    /// or underscores.
    pub(crate) fn is_purpose(text: &str) -> bool {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        (1..=48).contains(&text.len()) && text.bytes().all(allowed)
    }
}

/// Changes of the mail address and the phone number.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ContactConfig {
    /// How long the link and the code for a new mail address are valid. A code for a phone number
    /// is valid for [`code_lifetime`](ChallengeConfig::code_lifetime). Default: 1 h.
    pub confirm_lifetime: Duration,
    /// How long the old address can undo a change. With `None` the old address gets a notice and
    /// cannot undo. Default: 7 d.
    pub undo_lifetime: Option<Duration>,
}

impl Default for ContactConfig {
    fn default() -> Self {
        Self { confirm_lifetime: HOUR, undo_lifetime: Some(7 * DAY) }
    }
}

/// Levels on resources, and the time limit of their source.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PermissionConfig {
    /// The levels that a user can have on one resource, lowest first, by the resource's domain: for
    /// example `list` to `viewer`, `editor`, `owner`. A level includes those below it. Only
    /// letters, digits and `_`, so that `list-7-editor` has only one meaning. Default: none.
    pub levels: BTreeMap<String, Vec<String>>,
    /// The time limit of a membership source. After it, a sign-in continues with the stored
    /// memberships. Default: 2 s.
    pub source_timeout: Duration,
}

impl Default for PermissionConfig {
    fn default() -> Self {
        Self { levels: BTreeMap::new(), source_timeout: Duration::from_secs(2) }
    }
}

macro_rules! attempt_kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal);+ $(;)?) => {
        /// What an attempt is about. Failures of one kind never lock another kind.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum AttemptKind { $($(#[$doc])* $name),+ }

        impl AttemptKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The number of the kind in the row.
            pub(crate) const fn number(self) -> i16 {
                match self { $(Self::$name => $number),+ }
            }

            /// Returns the word that events contain.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

attempt_kinds! {
    /// The password: at login, at a reauthentication, and when it is changed.
    Login = 0, "login";
    /// A request for a link to reset a password. It counts as failed until a reset succeeds.
    Forgot = 1, "forgot";
    /// The token of such a link. It is limited only per source.
    Reset = 2, "reset";
    /// A second factor.
    SecondFactor = 3, "second_factor";
    /// A code that was sent or shown.
    Challenge = 4, "challenge";
    /// The code that another device shows.
    UserCode = 5, "user_code";
    /// An API key.
    ApiKey = 6, "api_key";
    /// A request for a sign-in by mail. It counts as failed until such a sign-in succeeds.
    MailLoginRequest = 7, "mail_login_request";
    /// The code of such a mail.
    MailLogin = 8, "mail_login";
    /// The link of such a mail. It is limited only per source.
    MailLoginLink = 9, "mail_login_link";
}

impl AttemptKind {
    /// True for codes that a person types from a message or a picture. They have the limits of
    /// [`ChallengeConfig`], and the client is told how long to wait.
    pub(crate) const fn is_code(self) -> bool {
        matches!(self, Self::Challenge | Self::MailLogin)
    }

    /// True for the tokens of links. They cannot be guessed, and a limit per account would stop the
    /// owner. So only their source is limited.
    pub(crate) const fn is_token(self) -> bool {
        matches!(self, Self::Reset | Self::MailLoginLink)
    }
}

/// Failed attempts: what delays the next one, and what locks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AttemptConfig {
    /// The number of failures for one subject within `window` that locks it, 1 to 100. Default: 15.
    pub limit: u32,
    /// The longest time between the first and the last of them. Default: 600 s.
    pub window: Duration,
    /// How long the lock lasts, counted from the failure that caused it. Default: 3600 s.
    pub lockout: Duration,
    /// The failure within `window` after which the next attempt must wait. Each further failure
    /// doubles the wait. It continues beyond `limit`, if a lock is shorter than the wait. 1 to 100.
    /// Default: 6.
    pub delay_from: u32,
    /// The wait after that failure. Zero turns delays off. Default: 1 s.
    pub first_delay: Duration,
    /// The longest wait. Default: 60 s.
    pub longest_delay: Duration,
    /// The number of failures from one source (an IPv4 address, an IPv6 /64) within `source_window`
    /// that stops it. All kinds and subjects count together. The source must wait until the first
    /// of these failures is older. `None` turns this rule off. Default: 100.
    pub source_limit: Option<u32>,
    /// The time in which failures of one source are counted. Default: 600 s.
    pub source_window: Duration,
    /// If true, a locked or delayed attempt is answered with 429 and `Retry-After`. Otherwise it
    /// looks like a wrong password, or like an accepted request for a link. An attacker then also
    /// learns when to stop and for how long. The answer depends only on the name that was typed.
    /// Default: false.
    pub reveal_lockout: bool,
    /// How long a browser stays known to an account that signed in from it. A known device has its
    /// own failure counter, so the owner can still sign in while strangers keep the account locked.
    /// `None` turns this off, and also the notice of new devices. Default: 180 d.
    pub device_lifetime: Option<Duration>,
    /// Detects guesses at many accounts from many addresses. `None` turns this off. Default: on,
    /// see [`WatchConfig`].
    pub watch: Option<WatchConfig>,
    /// Different values for one kind. A field that is `None` keeps the value from above. Codes have
    /// [`attempts`](ChallengeConfig::attempts) in
    /// [`attempts_window`](ChallengeConfig::attempts_window) instead, without delays and without a
    /// further lock. Their `window` must not be shorter than
    /// [`code_lifetime`](ChallengeConfig::code_lifetime), or for `MailLogin` than
    /// [`login_lifetime`](MailConfig::login_lifetime). Tokens of links
    /// ([`Reset`](AttemptKind::Reset), [`MailLoginLink`](AttemptKind::MailLoginLink)) are counted
    /// and never locked, so nothing can be set for them. Default: second factors are locked for 12 h.
    pub kinds: BTreeMap<AttemptKind, AttemptOverrides>,
}

impl Default for AttemptConfig {
    fn default() -> Self {
        let second_factor =
            AttemptOverrides { lockout: Some(12 * HOUR), ..AttemptOverrides::default() };
        Self {
            limit: 15,
            window: 10 * MINUTE,
            lockout: HOUR,
            delay_from: 6,
            first_delay: Duration::from_secs(1),
            longest_delay: MINUTE,
            source_limit: Some(100),
            source_window: 10 * MINUTE,
            reveal_lockout: false,
            device_lifetime: Some(180 * DAY),
            watch: Some(WatchConfig::default()),
            kinds: BTreeMap::from([(AttemptKind::SecondFactor, second_factor)]),
        }
    }
}

/// When many failed sign-ins together are suspicious, although no account and no source reaches a
/// limit. The consequences are an event `authn_spraying_suspected`, a finding, and a call of
/// [`OnSuspicion`](crate::port::OnSuspicion). Nothing is refused. Each node judges only its own
/// requests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchConfig {
    /// The time in which sign-ins are counted together. It is compared with the 144 windows before
    /// it, which is one day with the default. Default: 600 s.
    pub window: Duration,
    /// The minimum number of failures in a window. Below it, the share of failures is ignored.
    /// Default: 100.
    pub least_failures: u32,
    /// The number of different names that fail from one network (IPv4 /24, IPv6 /48) within a
    /// window and are suspicious, if fewer sign-ins from there succeed. 2 to 10 000. Default: 50.
    pub names_per_network: u32,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self { window: 10 * MINUTE, least_failures: 100, names_per_network: 50 }
    }
}

/// How many requests are allowed; see [`rate_limit`](crate::rate_limit).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RateConfig {
    /// Requests from one source (IPv4 address, IPv6 /64) to the mounted routes. `None`: no limit.
    /// Default: 3 000 a minute.
    pub per_source: Option<Quota>,
    /// Three separate limits: requests of one account to the mounted routes, logins from one known
    /// device, and logins with one name from elsewhere. `None`: no limit. Default: 300 a minute.
    pub per_principal: Option<Quota>,
    /// How often one source may find that a name is taken, when it registers or adds a username.
    /// After that it cannot ask for any other name until the limit allows one more. Sign-ins are
    /// not affected. `None`: no limit. Default: 50 an hour.
    pub taken_names: Option<Quota>,
    /// How often one source may register, whatever the names and the results are. `None`: no limit.
    /// Default: 100 an hour.
    pub registrations: Option<Quota>,
    /// Clients without a known address share a limit, which is as high as for this number of
    /// sources. Default: 10.
    pub unknown_sources: u32,
    /// Where rates are stored, unless the builder has a
    /// [`rate_limiter`](crate::Builder::rate_limiter). Default: in this process.
    pub store: RateStore,
    /// The time limit of another store. Default: 250 ms.
    pub timeout: Duration,
}

impl Default for RateConfig {
    fn default() -> Self {
        Self {
            per_source: Some(Quota::per_minute(3_000)),
            per_principal: Some(Quota::per_minute(300)),
            taken_names: Some(Quota::new(50, HOUR)),
            registrations: Some(Quota::new(100, HOUR)),
            unknown_sources: 10,
            store: RateStore::Process,
            timeout: Duration::from_millis(250),
        }
    }
}

/// Different values for one kind of attempts: see the fields with the same names in
/// [`AttemptConfig`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are explained where their defaults are")]
pub struct AttemptOverrides {
    pub limit: Option<u32>,
    pub window: Option<Duration>,
    pub lockout: Option<Duration>,
    pub delay_from: Option<u32>,
    pub first_delay: Option<Duration>,
    pub longest_delay: Option<Duration>,
}

/// Verification of addresses.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerificationConfig {
    /// How long a link or code that verifies an address is valid. Default: 24 h.
    pub lifetime: Duration,
}

impl Default for VerificationConfig {
    fn default() -> Self {
        Self { lifetime: DAY }
    }
}

/// Where rates are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateStore {
    /// In this process. Each node counts separately.
    Process,
    /// In the database. All nodes count together. This costs one statement per request to a mounted
    /// route.
    Database,
}

/// Time limits of the database, and memory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DatabaseConfig {
    /// How long one flow may wait for the database before it is answered 503. Default: 5 s.
    pub timeout: Duration,
    /// How many writes may run at the same time in this process. Further ones wait in order, within
    /// `timeout`. Set it lower than the number of connections in the pool. Then requests that only
    /// read always get a connection, and the connection of a hook that hangs can be ended. On
    /// SQLite it is always one, because the file accepts one writer at a time. Default: 6.
    pub writers: usize,
    /// How long all hooks of one transaction may take together. After that the request is answered
    /// 503, and the connection of the transaction is ended from another connection of the pool.
    /// Until then others may wait for its locks. On SQLite all writers wait. It must be shorter than
    /// `timeout` to have an effect, because that also ends the transaction. Default: 2 s.
    pub hook_timeout: Duration,
    /// For how many accounts compiled grants are kept in memory. They are never outdated, because
    /// each request reads their version. With 0, every request loads the grants. Default: 10 000.
    pub remembered_grants: usize,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            writers: 6,
            hook_timeout: Duration::from_secs(2),
            remembered_grants: 10_000,
        }
    }
}

impl Config {
    /// Returns how long a wrong code counts.
    pub(crate) fn attempts_window(&self) -> Duration {
        let own = self.attempts.kinds.get(&AttemptKind::Challenge).and_then(|own| own.window);
        own.unwrap_or(self.challenge.attempts_window)
    }

    /// Returns `iss` and `aud` of tokens.
    pub(crate) fn issuer(&self) -> &str {
        self.service
            .issuer
            .as_deref()
            .or(self.service.public_url.as_deref())
            .unwrap_or("portcullis")
    }

    /// Returns the address at which users see the service, if it is configured.
    pub(crate) fn public_url(&self) -> Option<PublicUrl> {
        self.service.public_url.as_ref().and_then(|url| PublicUrl::parse(url).ok())
    }

    /// Returns the name of the session cookie, with its prefix.
    pub(crate) fn cookie_name(&self) -> String {
        let prefix = if self.cookie.danger_insecure_http_cookies { "" } else { "__Host-" };
        let suffix = if self.cookie.partitioned { "-partitioned" } else { "" };
        format!("{prefix}{}{suffix}", self.cookie.name)
    }

    /// Returns the name of the cookie for known devices.
    pub(crate) fn device_cookie_name(&self) -> String {
        format!("{}-device", self.cookie_name())
    }

    /// Returns the name of the cookie for trusted devices.
    pub(crate) fn trusted_device_cookie_name(&self) -> String {
        format!("{}-trusted", self.cookie_name())
    }

    /// Returns the name of the cookie for browsers that asked for a sign-in by mail.
    pub(crate) fn mail_login_cookie_name(&self) -> String {
        format!("{}-mail", self.cookie_name())
    }

    /// Returns the name of the cookie for browsers that began a sign-in with a passkey.
    #[cfg(feature = "passkey")]
    pub(crate) fn passkey_cookie_name(&self) -> String {
        format!("{}-passkey", self.cookie_name())
    }

    /// Returns the name of the cookie for browsers that began a sign-in with a provider.
    #[cfg(feature = "federation")]
    pub(crate) fn federation_cookie_name(&self) -> String {
        format!("{}-oauth", self.cookie_name())
    }
}
