//! Every knob and its default, on one page. Plain data: `build()` checks it and names every fault
//! at once.
//!
//! The reasons for the defaults are on the guide page [`guide::defaults`](crate::guide::defaults).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::client::TrustedProxies;
use crate::base::jwt::SigningKey;
use crate::base::public_url::PublicUrl;
use crate::base::rate::Quota;
use crate::base::secret::Secret;

pub mod check;
pub mod env;
pub mod mail;
pub mod retention;

pub use mail::{Delivery, LinkConfig, MailConfig};
pub use retention::RetentionConfig;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The whole configuration.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// Secrets and signing keys.
    pub keys: KeyConfig,
    /// Where the service lives, and which origins may call it.
    pub service: ServiceConfig,
    /// The session cookie.
    pub cookie: CookieConfig,
    /// Lifetimes and rotation of sessions.
    pub session: SessionConfig,
    /// How people sign in and register.
    pub login: LoginConfig,
    /// Password length and hashing.
    pub password: PasswordConfig,
    /// Codes that are sent and typed back.
    pub challenge: ChallengeConfig,
    /// Failed tries to sign in: delays and locks.
    pub attempts: AttemptConfig,
    /// Proving addresses.
    pub verification: VerificationConfig,
    /// Changing one's mail address and phone number.
    pub contact: ContactConfig,
    /// Proxies whose word on the client's address is taken.
    pub proxies: TrustedProxies,
    /// Levels on resources, and how long their source may take.
    pub permission: PermissionConfig,
    /// How often one may ask.
    pub rate: RateConfig,
    /// Time limits and memory.
    pub database: DatabaseConfig,
    /// Mail and text messages.
    pub mail: MailConfig,
    /// How long rows are kept.
    pub retention: RetentionConfig,
}

/// Secrets and signing keys.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyConfig {
    /// Newest first. The newest makes, the older ones are still accepted until they are removed; they may
    /// be [`Secret::in_use`].
    pub secrets: Vec<Secret>,
    /// Newest first. Default: HS256 with keys derived from the secrets.
    pub signing: Vec<SigningKey>,
}

impl Default for KeyConfig {
    fn default() -> Self {
        Self { secrets: Vec::new(), signing: vec![SigningKey::derived_hs256()] }
    }
}

/// Where the service lives, and which origins may call it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// Where people see the service, such as `https://example.com`. Links are built from it, never
    /// from a request's `Host`. A path in it (`https://example.com/app`) is what a proxy takes off
    /// before it hands a request on: it stands in front of links, redirects and `next`. A service
    /// that sees the whole path itself leaves it out.
    pub public_url: Option<String>,
    /// `iss` and `aud` of tokens. Default: the public URL, else `portcullis`. Two services that
    /// share a secret need different ones.
    pub issuer: Option<String>,
    /// Other origins whose pages may send credentials here, such as `https://app.example.com` or
    /// `capacitor://localhost`, compared exactly.
    pub trusted_origins: Vec<String>,
    /// Refuse unsafe requests with a cookie that show neither `Origin` nor `Sec-Fetch-Site`.
    /// Every current browser sends `Origin` with these; scripts such as curl send neither.
    /// Default: false.
    pub strict_origin: bool,
    /// What a guard answers to someone who is not signed in. Default: 401 problem+json.
    pub unauthenticated: Unauthenticated,
    /// Whether tokens may travel in the `Authorization` header. Default: false.
    pub bearer: bool,
    /// Whether logout also asks the browser to clear what the site stored
    /// (`Clear-Site-Data: "cookies", "storage"`). Default: false.
    pub clear_site_data: bool,
    /// Whether an answer that somebody had to be signed in for gets `Cache-Control: no-store`, if it
    /// says nothing about caching itself. Without it, the browser's Back button shows the page again
    /// after signing out. Default: true.
    pub no_store: bool,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            issuer: None,
            trusted_origins: Vec::new(),
            strict_origin: false,
            unauthenticated: Unauthenticated::Problem,
            bearer: false,
            clear_site_data: false,
            no_store: true,
        }
    }
}

/// What a guard answers to someone who is not signed in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unauthenticated {
    /// 401 with problem+json, always.
    #[default]
    Problem,
    /// 303 to this path of ours with `?next=`, for GET and HEAD requests that navigate: the browser
    /// says so (`Sec-Fetch-Mode: navigate`), or does not say and prefers HTML (`Accept`). Everything
    /// else, such as `fetch` and htmx, gets the 401. The path is written without the prefix that a
    /// proxy takes off. A form that is posted to `/login` or `/logout` is answered by redirects too, see
    /// [`login`](crate::login#forms-without-a-script).
    LoginPage(String),
}

/// The session cookie.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CookieConfig {
    /// The name without its prefix. Default: `session`, which is sent as `__Host-session`.
    pub name: String,
    /// Default: Lax.
    pub same_site: SameSite,
    /// Sends the cookie without `Secure` and without the `__Host-` prefix, for plain http beyond
    /// loopback (on loopback Chromium and curl take secure cookies as they are). Refused when the
    /// public URL is https. Default: false.
    pub danger_insecure_http_cookies: bool,
    /// Sends the cookie as `Partitioned`, so that it works in an iframe of another site, with a jar of
    /// its own for each such site. Needs `SameSite=None`, and its name ends in `-partitioned`, for a
    /// browser sends one that is not partitioned beside it. Default: false.
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
    /// Always sent. Needs `Secure`.
    None,
}

/// Lifetimes and rotation of sessions.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionConfig {
    /// After this a token is replaced by its next generation. Default: 15 min.
    pub token_lifetime: Duration,
    /// How long an expired token can still be replaced, and so how long a session may be idle,
    /// counted from its last rotation. `None` switches rotation off: a session ends with its
    /// token. Default: 7 d.
    pub refresh_window: Option<Duration>,
    /// The end of a session however busy it is. Default: 30 d.
    pub absolute_lifetime: Duration,
    /// The same for a login with `remember: false`, whose cookie ends with the browser.
    /// Default: 12 h.
    pub unremembered_lifetime: Duration,
    /// How long a sign-in waits for its second factor or enrolment. Default: 10 min.
    pub pending_lifetime: Duration,
    /// How long a sign-in waits for the new password it must set. Default: 5 min.
    pub password_change_lifetime: Duration,
    /// The life of an anonymous session. Default: 24 h.
    pub anonymous_lifetime: Duration,
    /// Anonymous sessions one source may start per minute. Default: 10.
    pub anonymous_per_minute: u32,
    /// How old a generation of a token must be when it is used, so that its use makes the one before a
    /// replay. Until then the older one is good, for a browser that was killed before it wrote its
    /// cookies to disk. At least 60 s. Default: 90 s.
    pub replay_after: Duration,
    /// How recent a factor must be for changes to the account itself. Default: 5 min.
    pub recent_factor: Duration,
    /// What happens when a session's requests come from another network or browser.
    pub binding: Binding,
    /// How many full sessions one account may have at once. Default: any number.
    pub max_per_account: Option<u32>,
    /// What happens to a login above that. Default: the account's oldest session ends.
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

/// What happens when a session's requests come from another network (IPv4 /24, IPv6 /64) or
/// another browser family than it was started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Binding {
    /// Nothing is compared.
    Off,
    /// The change is traced.
    Log,
    /// The session is marked suspicious: only signing out works.
    Suspect,
    /// The session ends.
    End,
}

/// What happens to a login of an account that has all the sessions it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AtLimit {
    /// The account's oldest session ends.
    EvictOldest,
    /// The login is refused, `session_limit`: someone has to sign out elsewhere first.
    Refuse,
}

/// How people sign in and register.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoginConfig {
    /// What names an account at login. Default: either.
    pub id: LoginIds,
    /// Whether strangers may register, and what they are told. Default: automatic.
    pub registration: Registration,
    /// Whether an account must be verified before it can sign in. Default: false.
    pub require_verified: bool,
    /// How many names to sign in with an account may have, its own among them. Default: 10.
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

/// What names an account at login.
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
    /// Strict where accounts must be verified and there is a notifier, open otherwise.
    Automatic,
    /// Anyone: 201 with a session at once, 409 for a name that is taken.
    Open,
    /// Anyone, and nobody learns whose address is known: always 202, and the rest comes by mail.
    /// Needs `login.require_verified` and a notifier.
    Strict,
    /// Nobody: accounts are made by the application.
    Closed,
}

impl Registration {
    /// The word in `GET /methods`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Open => "open",
            Self::Strict => "strict",
            Self::Closed => "closed",
        }
    }
}

/// What a password may be, and how it is hashed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PasswordConfig {
    /// The least number of code points. Default: 15, because the password is the only factor
    /// (NIST SP 800-63B-4); 8 is the least accepted here.
    pub min_length: usize,
    /// Rules about which characters there must be. Default: none.
    pub composition: Composition,
    /// More words that no password may be, such as the names of the product. The host of the
    /// public URL and its parts are known without. Default: none.
    pub context_words: Vec<String>,
    /// The least strength of a new password as zxcvbn judges it. Default: none.
    #[cfg(feature = "strength")]
    pub min_strength: Option<Strength>,
    /// What happens when a [list of breached passwords](crate::Builder::breached_list) cannot be
    /// asked. Default: the password is accepted, and the failure traced.
    pub breached_outage: BreachedOutage,
    /// How long that list may take. Default: 2 s.
    pub breached_timeout: Duration,
    /// The page of the application on which a password is changed, as a path of this service: where
    /// [`/.well-known/change-password`](crate::password_change) leads. Default: none.
    pub change_page: Option<String>,
    /// Argon2id memory in KiB. Default: 19 456 (OWASP).
    pub memory_kib: u32,
    /// Argon2id passes. Default: 2 (OWASP).
    pub iterations: u32,
    /// Argon2id lanes. Default: 1.
    pub parallelism: u32,
    /// Keys mixed into every hash, newest first, each with a name that is kept beside the hash. One that
    /// hashes were made under already may be [`Secret::in_use`].
    pub peppers: Vec<(String, Secret)>,
    /// How many passwords are hashed at once. Default: one less than there are cores, at least 1.
    pub concurrent_hashes: Option<usize>,
    /// How many more may wait before a login is answered 503. One source (an IPv4 address, an IPv6
    /// /64) has at most a quarter of these places, one IPv6 /48 half. Default: 512.
    pub hash_queue: usize,
    /// How long one of them waits before it is answered 503. Default: 10 s.
    pub hash_wait: Duration,
    /// Accepts parameters below the OWASP floor. Only a test wants this.
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

/// Rules about which characters a password must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Composition {
    /// Any characters. What NIST SP 800-63B-4 and ASVS 5.0 ask for.
    Any,
    /// Three of lower case, upper case, digits, others: for whoever is bound by such a rule.
    ThreeOfFour,
}

/// How hard a password must be to guess: the scores of zxcvbn.
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

/// What happens to a new password when the list of breached ones cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreachedOutage {
    /// It is accepted, and the failure traced: whoever runs the list does not decide whether people
    /// can register here.
    Accept,
    /// It is answered 503.
    Refuse,
}

/// Codes that are sent and typed back.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChallengeConfig {
    /// How many characters a code has. Default: 8.
    pub code_length: usize,
    /// The characters a code is made of, each once: ASCII letters and digits. Default: the ten
    /// digits.
    pub code_alphabet: String,
    /// How long a code is good. Default: 10 min.
    pub code_lifetime: Duration,
    /// How many wrong answers one purpose of one account may get in
    /// [`tries_window`](Self::tries_window), however many codes it asks for. Default: 5.
    pub tries: u32,
    /// The same for single purposes of the application's own, by their name, 1 to 100 each. It wins over
    /// [`tries`](Self::tries) and over a limit in [`kinds`](AttemptConfig::kinds). Default: none.
    pub tries_by_purpose: BTreeMap<String, u32>,
    /// The time in which tries are counted, from the first one. Default: 1 h.
    pub tries_window: Duration,
    /// How long an answered challenge opens the route that asks for it. Default: 5 min.
    pub answered_lifetime: Duration,
    /// How soon the same challenge may be sent again. Default: 1 min.
    pub cool_down: Duration,
}

impl Default for ChallengeConfig {
    fn default() -> Self {
        Self {
            code_length: 8,
            code_alphabet: "0123456789".to_owned(),
            code_lifetime: 10 * MINUTE,
            tries: 5,
            tries_by_purpose: BTreeMap::new(),
            tries_window: HOUR,
            answered_lifetime: 5 * MINUTE,
            cool_down: MINUTE,
        }
    }
}

impl ChallengeConfig {
    /// Whether this can be the name of a purpose: 1 to 48 lower-case ASCII letters, digits, dashes or
    /// underscores.
    pub(crate) fn is_purpose(text: &str) -> bool {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        (1..=48).contains(&text.len()) && text.bytes().all(allowed)
    }
}

/// Changing one's mail address and phone number.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ContactConfig {
    /// How long the link and the code that prove a new mail address are good. A code to a phone is
    /// good for [`code_lifetime`](ChallengeConfig::code_lifetime). Default: 1 h.
    pub confirm_lifetime: Duration,
    /// How long the old address can undo a change. `None`: it is told, and cannot. Default: 7 d.
    pub undo_lifetime: Option<Duration>,
}

impl Default for ContactConfig {
    fn default() -> Self {
        Self { confirm_lifetime: HOUR, undo_lifetime: Some(7 * DAY) }
    }
}

/// Levels on resources, and how long their source may take.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PermissionConfig {
    /// What someone can be on one resource, lowest first, by the resource's domain: `list` to
    /// `viewer`, `editor`, `owner`. A level includes those below it. Letters, digits and `_` only, so
    /// that `list-7-editor` reads in one way. Default: none.
    pub levels: BTreeMap<String, Vec<String>>,
    /// How long a membership source may take before a sign-in goes on with what was stored before.
    /// Default: 2 s.
    pub source_timeout: Duration,
}

impl Default for PermissionConfig {
    fn default() -> Self {
        Self { levels: BTreeMap::new(), source_timeout: Duration::from_secs(2) }
    }
}

/// What someone tries to prove. Failures of one kind never lock another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AttemptKind {
    /// The password: at login, to prove it again, to change it.
    Login,
    /// A request to recover a lost password. It has failed until a reset succeeds.
    Forgot,
    /// The token of such a recovery: only its source is bounded.
    Reset,
    /// A second factor.
    SecondFactor,
    /// A code that was sent or shown.
    Challenge,
    /// The code that another device shows.
    UserCode,
    /// An API key.
    ApiKey,
}

impl AttemptKind {
    /// The number in the row.
    pub(crate) const fn number(self) -> i16 {
        match self {
            Self::Login => 0,
            Self::Forgot => 1,
            Self::Reset => 2,
            Self::SecondFactor => 3,
            Self::Challenge => 4,
            Self::UserCode => 5,
            Self::ApiKey => 6,
        }
    }

    /// The word in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Forgot => "forgot",
            Self::Reset => "reset",
            Self::SecondFactor => "second_factor",
            Self::Challenge => "challenge",
            Self::UserCode => "user_code",
            Self::ApiKey => "api_key",
        }
    }
}

/// Failed tries: what delays the next one, and what locks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AttemptConfig {
    /// So many failures of one subject within `window` lock it, 1 to 100. Default: 15.
    pub limit: u32,
    /// How far apart the first and the last of them may be. Default: 600 s.
    pub window: Duration,
    /// How long the lock lasts, counted from the failure that made it. Default: 3600 s.
    pub lockout: Duration,
    /// The failure within `window` after which the next try has to wait; each one more doubles the
    /// wait. Counts on beyond `limit`, where a lock is shorter than the wait. 1 to 100. Default: 6.
    pub delay_from: u32,
    /// The wait after that failure. Zero switches delays off. Default: 1 s.
    pub first_delay: Duration,
    /// No wait is longer. Default: 60 s.
    pub longest_delay: Duration,
    /// So many failures from one source (an IPv4 address, an IPv6 /64) within `source_window`, of
    /// whatever kind and subject, and nothing more is tried from there until the first of them is
    /// older. `None` switches the rule off. Default: 100.
    pub source_limit: Option<u32>,
    /// Default: 600 s.
    pub source_window: Duration,
    /// Answers 429 with `Retry-After` while locked or delayed, instead of looking like a wrong
    /// password, or a request for a link like one that was accepted. Tells a guesser that they can stop,
    /// and for how long. It is told by what was typed, whoever it belongs to. Default: false.
    pub reveal_lockout: bool,
    /// How long a browser stays known to the account that signed in from it. A known one has its
    /// own count of failures, so that its owner gets in while strangers keep the account locked.
    /// `None` switches that off, and with it the notice of new devices. Default: 180 d.
    pub device_lifetime: Option<Duration>,
    /// Watches for guesses at many accounts from many addresses. `None` switches that off. Default: on,
    /// see [`WatchConfig`].
    pub watch: Option<WatchConfig>,
    /// What is different for one kind; what it leaves out is as above. For codes that is
    /// [`tries`](ChallengeConfig::tries) in [`tries_window`](ChallengeConfig::tries_window), without
    /// delays and without a lock beyond that; its `window` is no shorter than
    /// [`code_lifetime`](ChallengeConfig::code_lifetime). Tokens of a [`Reset`](AttemptKind::Reset) are counted
    /// and never locked: nothing can be set for them.
    pub kinds: BTreeMap<AttemptKind, AttemptOverrides>,
}

impl Default for AttemptConfig {
    fn default() -> Self {
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
            kinds: BTreeMap::new(),
        }
    }
}

/// When many failed sign-ins together are suspicious, though no limit of an account or a source is met:
/// an event `authn_spraying_suspected`, a finding, a call of [`OnSuspicion`](crate::port::OnSuspicion).
/// Nothing is refused. Each node judges what it serves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchConfig {
    /// How long sign-ins are counted together. They are compared with the 144 windows before: with the
    /// default, a day. Default: 600 s.
    pub window: Duration,
    /// With fewer failures in a window their share is not looked at. Default: 100.
    pub least_failures: u32,
    /// So many different names that fail from one network (IPv4 /24, IPv6 /48) within a window, and no
    /// more successes than that from there. 2 to 10 000. Default: 50.
    pub names_per_network: u32,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self { window: 10 * MINUTE, least_failures: 100, names_per_network: 50 }
    }
}

/// How often one may ask; see [`rate_limit`](crate::rate_limit).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RateConfig {
    /// Requests of one source (IPv4 address, IPv6 /64) to the mounted routes. `None` for any number.
    /// Default: 3 000 a minute.
    pub per_source: Option<Quota>,
    /// Requests of one account to the mounted routes, logins from one known device, and logins under one
    /// name from elsewhere, each. `None` for any number. Default: 300 a minute.
    pub per_principal: Option<Quota>,
    /// How often one source may find that a name is taken, when it registers or adds a username:
    /// then it may ask for no other name until the next one is due. Sign-ins are not concerned.
    /// `None` for any number. Default: 50 an hour.
    pub taken_names: Option<Quota>,
    /// How often one source may register, whatever the names and however it ends. `None` for any
    /// number. Default: 100 an hour.
    pub registrations: Option<Quota>,
    /// Clients whose address is not known count together, as so many sources. Default: 10.
    pub unknown_sources: u32,
    /// Where rates are kept, unless the builder has a
    /// [`rate_limiter`](crate::Builder::rate_limiter). Default: in this process.
    pub store: RateStore,
    /// How long another store may take. Default: 250 ms.
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

/// What is different for one kind of tries: see the fields of the same name in [`AttemptConfig`].
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

/// Proving addresses.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerificationConfig {
    /// How long a link or code that proves an address is good. Default: 24 h.
    pub lifetime: Duration,
}

impl Default for VerificationConfig {
    fn default() -> Self {
        Self { lifetime: DAY }
    }
}

/// Where rates are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateStore {
    /// In this process: several nodes count each by itself.
    Process,
    /// In the database: nodes count together, for a statement a request to a mounted route.
    Database,
}

/// Time limits and memory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DatabaseConfig {
    /// How long one flow may wait for the database before it is answered 503. Default: 5 s.
    pub timeout: Duration,
    /// How many writes may be under way at once in this process; further ones wait in order, within
    /// `timeout`. Fewer than the pool has connections, so that requests that only read always find
    /// one, and a hook that hangs can be ended. On SQLite it is always one, because the file takes one writer at a time. Default: 6.
    pub writers: usize,
    /// How long all hooks of one transaction together may run before the request is answered 503 and
    /// its connection is ended, from another connection of the pool. Others may wait for its locks
    /// meanwhile; on SQLite all who write do. Default: 2 s.
    pub hook_timeout: Duration,
    /// How many accounts' compiled grants are kept in memory. They are never stale: each request
    /// reads their version. 0 loads grants with every request. Default: 10 000.
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
    /// How long a wrong code counts.
    pub(crate) fn tries_window(&self) -> Duration {
        let own = self.attempts.kinds.get(&AttemptKind::Challenge).and_then(|own| own.window);
        own.unwrap_or(self.challenge.tries_window)
    }

    /// `iss` and `aud` of tokens.
    pub(crate) fn issuer(&self) -> &str {
        self.service
            .issuer
            .as_deref()
            .or(self.service.public_url.as_deref())
            .unwrap_or("portcullis")
    }

    /// Where people see the service, if that is configured.
    pub(crate) fn public_url(&self) -> Option<PublicUrl> {
        self.service.public_url.as_ref().and_then(|url| PublicUrl::parse(url).ok())
    }

    /// The cookie's name as it is sent.
    pub(crate) fn cookie_name(&self) -> String {
        let prefix = if self.cookie.danger_insecure_http_cookies { "" } else { "__Host-" };
        let suffix = if self.cookie.partitioned { "-partitioned" } else { "" };
        format!("{prefix}{}{suffix}", self.cookie.name)
    }

    /// The name of the cookie that tells known devices.
    pub(crate) fn device_cookie_name(&self) -> String {
        format!("{}-device", self.cookie_name())
    }
}
