//! The traits that your application can implement to extend portcullis.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use sea_orm::DatabaseTransaction;
use zeroize::Zeroizing;

use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, SessionId};
use crate::base::rate::{Quota, RateKey, RateVerdict};

/// The error of a hook. The flow that calls the hook is rolled back, and answers 503 or what a
/// [`Refusal`](crate::Refusal) says.
pub type HookError = Box<dyn std::error::Error + Send + Sync>;

/// The future of a hook.
pub type HookFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, HookError>> + Send + 'a>>;

/// One session replaced another: at a sign-in, a second factor, a reauthentication, a change of the
/// password, or when a visitor becomes an account.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SessionReplaced {
    /// The session that ended.
    pub old: SessionId,
    /// The session that continues.
    pub new: SessionId,
    /// The account of the new session.
    pub account_id: Option<AccountId>,
}

/// Called in the transaction in which one session replaces another. Use it to move data that
/// belongs to the session (a cart, a draft).
///
/// It gets no [`Portcullis`](crate::Portcullis), unlike the other hooks, because it only moves rows of
/// your own. To act on the account, use [`after_login`](crate::hook::Hooks::after_login), which runs in
/// the same transaction and has one. [`session_data`](crate::session_data) moves by itself.
pub trait OnSessionReplaced: Send + Sync + 'static {
    /// Moves what belongs to the session.
    fn replaced<'a>(
        &'a self,
        replaced: SessionReplaced,
        txn: &'a DatabaseTransaction,
    ) -> HookFuture<'a, ()>;
}

impl<F> OnSessionReplaced for F
where
    F: for<'a> Fn(SessionReplaced, &'a DatabaseTransaction) -> HookFuture<'a, ()>
        + Send
        + Sync
        + 'static,
{
    fn replaced<'a>(
        &'a self,
        replaced: SessionReplaced,
        txn: &'a DatabaseTransaction,
    ) -> HookFuture<'a, ()> {
        self(replaced, txn)
    }
}

/// Adds members of your application to `GET /session`. It runs in a separate task. The request
/// waits for it for at most [`hook_timeout`](crate::config::DatabaseConfig::hook_timeout).
///
/// If the client disconnects, it continues. At the time limit it is dropped. On MySQL and MariaDB,
/// a statement that is dropped half-way makes its connection unusable. There it may continue for
/// five minutes instead, unless more than 256 other calls already do so. It has the tracing span
/// of the request, but no task-locals of your middleware. The same applies to [`MembershipSource`],
/// [`BreachedList`], [`RateLimiter`] and [`OnSuspicion`].
pub trait SessionInfo: Send + Sync + 'static {
    /// Returns the members to add, under `"app"`.
    fn add(
        &self,
        account_id: AccountId,
        session_id: SessionId,
    ) -> HookFuture<'_, serde_json::Value>;
}

/// Adds your application's data about a person to an export of their account. It runs like
/// [`SessionInfo`].
pub trait ExportedData: Send + Sync + 'static {
    /// Returns the value of the member `application`.
    fn export(&self, account_id: AccountId) -> HookFuture<'_, serde_json::Value>;
}

impl<F> ExportedData for F
where
    F: Fn(AccountId) -> HookFuture<'static, serde_json::Value> + Send + Sync + 'static,
{
    fn export(&self, account_id: AccountId) -> HookFuture<'_, serde_json::Value> {
        self(account_id)
    }
}

impl<F> SessionInfo for F
where
    F: Fn(AccountId, SessionId) -> HookFuture<'static, serde_json::Value> + Send + Sync + 'static,
{
    fn add(
        &self,
        account_id: AccountId,
        session_id: SessionId,
    ) -> HookFuture<'_, serde_json::Value> {
        self(account_id, session_id)
    }
}

/// The SHA-1 digest of a password, to look up in a [`BreachedList`]. With a list of guesses it
/// reveals the password, so it has no `Display`, and its `Debug` is blank.
#[derive(Clone, zeroize::ZeroizeOnDrop)]
pub struct PasswordSha1([u8; 20]);

impl PasswordSha1 {
    pub(crate) fn of(password: &str) -> Self {
        use sha1::Digest;
        Self(sha1::Sha1::digest(password.as_bytes()).into())
    }

    /// Returns the digest.
    pub fn bytes(&self) -> [u8; 20] {
        self.0
    }

    /// Returns its first five hexadecimal digits, in upper case. A lookup by k-anonymity sends
    /// nothing else.
    pub fn prefix(&self) -> String {
        data_encoding::HEXUPPER.encode(&self.0)[..5].to_owned()
    }

    /// Returns the other 35 digits, to search for in the answer to such a lookup.
    pub fn suffix(&self) -> String {
        data_encoding::HEXUPPER.encode(&self.0)[5..].to_owned()
    }
}

impl std::fmt::Debug for PasswordSha1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordSha1(..)")
    }
}

/// Knows passwords from breaches of other services. It is asked for each new password that all
/// other rules accept. [`BreachedFile`](crate::password::BreachedFile) implements it with a local
/// file.
pub trait BreachedList: Send + Sync + 'static {
    /// Returns true if the list contains the password with this digest.
    fn contains<'a>(&'a self, password: &'a PasswordSha1) -> HookFuture<'a, bool>;
}

/// The reason why the sign-ins of one node are suspicious, although no limit of an account or a
/// source was reached. See [`attempt`](crate::attempt).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suspicion {
    /// This percentage of the sign-ins in this window failed, although usually `usual_percent`
    /// fail.
    #[non_exhaustive]
    FailedShare {
        /// The percentage in this window, so far.
        percent: u64,
        /// The percentage on the day before.
        usual_percent: u64,
        /// The number of failures in this window, so far.
        failed: u64,
    },
    /// Attempts at many different names failed from one network.
    #[non_exhaustive]
    NamesFromNetwork {
        /// The network: an IPv4 /24 or an IPv6 /48.
        network: ipnet::IpNet,
        /// The number of names. They are not counted beyond this.
        names: u64,
    },
}

impl std::fmt::Display for Suspicion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FailedShare { percent, usual_percent, .. } => {
                write!(f, "{percent} % of sign-ins failed, usually {usual_percent} %")
            }
            Self::NamesFromNetwork { network, names } => {
                write!(f, "{names} names failed from {network}")
            }
        }
    }
}

/// Is told of suspicious sign-ins, for example to alert someone, to require a captcha, or to
/// inform a firewall. It is called beside the request, at most once a window for each reason, and
/// has ten seconds to answer. Each node only reports its own sign-ins.
///
/// ```
/// use portcullis::port::{HookFuture, OnSuspicion, Suspicion};
///
/// struct Pager;
///
/// impl OnSuspicion for Pager {
///     fn suspected<'a>(&'a self, suspicion: &'a Suspicion) -> HookFuture<'a, ()> {
///         Box::pin(async move {
///             println!("{suspicion}");
///             Ok(())
///         })
///     }
/// }
/// ```
pub trait OnSuspicion: Send + Sync + 'static {
    /// Handles a suspicion. An error is logged.
    fn suspected<'a>(&'a self, suspicion: &'a Suspicion) -> HookFuture<'a, ()>;
}

/// A membership in your application's own tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct SourceMembership {
    /// The domain of the resource, such as `list`.
    pub resource: String,
    /// The id of the resource in that domain.
    pub id: String,
    /// The level; one of those that are configured for the resource.
    pub level: String,
}

impl SourceMembership {
    /// Returns this level on this resource. If it cannot be stored, because the id contains
    /// permission syntax or the level is not configured, it gives nothing and is reported.
    pub fn new(
        resource: impl Into<String>,
        id: impl Into<String>,
        level: impl Into<String>,
    ) -> Self {
        Self { resource: resource.into(), id: id.into(), level: level.into() }
    }
}

/// Computes memberships from your application's own tables.
///
/// It is called at a sign-in and by
/// [`refresh_memberships`](crate::Portcullis::refresh_memberships), and never by other requests,
/// because its answer is stored. It is not called inside a transaction. It has
/// [`source_timeout`](crate::config::PermissionConfig::source_timeout) to answer. If it fails, the
/// stored memberships continue to count, and the sign-in continues.
pub trait MembershipSource: Send + Sync + 'static {
    /// Returns all memberships of an account. Stored ones that are not among them are removed.
    fn memberships(&self, account_id: AccountId) -> HookFuture<'_, Vec<SourceMembership>>;
}

impl<F> MembershipSource for F
where
    F: Fn(AccountId) -> HookFuture<'static, Vec<SourceMembership>> + Send + Sync + 'static,
{
    fn memberships(&self, account_id: AccountId) -> HookFuture<'_, Vec<SourceMembership>> {
        self(account_id)
    }
}

/// The answer of another service.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// Takes the status and the body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into() }
    }
}

/// Asks another service, such as the provider of a captcha. Portcullis brings no HTTP client: implement
/// this with the one of your application. Follow no redirects, check certificates, and read no more
/// than a megabyte. It runs like [`SessionInfo`].
///
/// ```
/// use portcullis::port::{HookFuture, HttpAnswer, HttpClient};
///
/// struct Http(reqwest::Client);
///
/// impl Http {
///     fn new() -> Result<Self, reqwest::Error> {
///         // A redirect would send the secret to another address.
///         let none = reqwest::redirect::Policy::none();
///         Ok(Self(reqwest::Client::builder().redirect(none).build()?))
///     }
/// }
///
/// impl HttpClient for Http {
///     fn post_form<'a>(
///         &'a self,
///         url: &'a str,
///         fields: &'a [(&'a str, &'a str)],
///     ) -> HookFuture<'a, HttpAnswer> {
///         Box::pin(async move {
///             let answer = self.0.post(url).form(fields).send().await?;
///             let status = answer.status().as_u16();
///             Ok(HttpAnswer::new(status, answer.bytes().await?))
///         })
///     }
/// }
/// ```
pub trait HttpClient: Send + Sync + 'static {
    /// Sends these fields as a form (`application/x-www-form-urlencoded`) with `POST`, and returns the
    /// answer, whatever its status is.
    fn post_form<'a>(
        &'a self,
        url: &'a str,
        fields: &'a [(&'a str, &'a str)],
    ) -> HookFuture<'a, HttpAnswer>;
}

/// A request to a provider with which people sign in. See [`federation`](crate::federation).
#[derive(Clone)]
#[non_exhaustive]
pub struct ProviderRequest {
    /// Where it goes.
    pub url: String,
    /// The fields of a form, to be sent with `POST`. Without them it is a `GET`.
    pub form: Option<Vec<(&'static str, Zeroizing<String>)>>,
    /// The value of the header `Authorization`.
    pub authorization: Option<Zeroizing<String>>,
    /// True if the provider may have a private address, and may be asked over plain http.
    pub private_addresses: bool,
}

impl ProviderRequest {
    #[cfg_attr(not(feature = "federation"), expect(dead_code, reason = "only federation asks"))]
    pub(crate) fn get(url: &str, private_addresses: bool) -> Self {
        Self { url: url.to_owned(), form: None, authorization: None, private_addresses }
    }
}

// The form and the header have secrets in them.
impl std::fmt::Debug for ProviderRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderRequest").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Asks providers with which people sign in. `federation::ProviderClient` implements it with reqwest. Implement it
/// yourself if requests must go through a proxy. It runs like [`SessionInfo`], for at most
/// [`federation.timeout`](crate::config::FederationConfig::timeout).
///
/// The addresses come from a provider, which may be hostile. So an implementation
/// - follows no redirect, and checks certificates;
/// - reads at most 64 KiB of an answer, and fails if there is more;
/// - refuses private addresses and plain http, unless the request allows them. The name is looked up once, and the
///   connection goes to the address that was checked.
///
/// It sends `Accept: application/json`.
pub trait ProviderHttp: Send + Sync + 'static {
    /// Sends the request, and returns the answer, whatever its status is.
    fn send<'a>(&'a self, request: &'a ProviderRequest) -> HookFuture<'a, HttpAnswer>;
}

/// A second factor that your application checks, such as a printed card or a hardware key. It must answer at
/// once. To wait for a person who confirms on a phone, use [`Login::finish`](crate::login::Login::finish) in
/// your own handler. See [`second_factor`](crate::second_factor#a-factor-of-your-own).
///
/// Portcullis keeps whether an account has it, counts wrong codes together with those of all other second
/// factors, and makes the session. Your application keeps what it needs to check a code.
///
/// Both methods run like [`SessionInfo`], outside of transactions, for at most
/// [`factor.external_timeout`](crate::config::FactorConfig::external_timeout). If they fail, panic or
/// take longer, the request is answered 503 `external_factor_unavailable`. Nobody gets through, and no attempt is
/// counted.
///
/// ```
/// use portcullis::port::{
///     ExternalAttempt, ExternalChallenge, ExternalFactor, ExternalVerdict, HookFuture,
/// };
/// # struct Directory;
/// # impl Directory {
/// #     async fn ask(&self, _: &str) -> Result<String, std::io::Error> { Ok(String::new()) }
/// #     async fn accepts(&self, _: &str, _: &str) -> Result<bool, std::io::Error> { Ok(true) }
/// # }
///
/// /// Keys that another service knows.
/// struct Keys(Directory);
///
/// impl ExternalFactor for Keys {
///     fn challenge<'a>(
///         &'a self,
///         attempt: &'a ExternalAttempt,
///     ) -> HookFuture<'a, Option<ExternalChallenge>> {
///         Box::pin(async move {
///             let nonce = self.0.ask(&attempt.account_id.to_string()).await?;
///             Ok(Some(ExternalChallenge::new(nonce.clone(), nonce)))
///         })
///     }
///
///     fn verify<'a>(
///         &'a self,
///         _: &'a ExternalAttempt,
///         challenge: Option<&'a str>,
///         code: &'a str,
///     ) -> HookFuture<'a, ExternalVerdict> {
///         Box::pin(async move {
///             // Nothing was asked in this session, so no code can be right.
///             let Some(nonce) = challenge else { return Ok(ExternalVerdict::Wrong) };
///             Ok(match self.0.accepts(nonce, code).await? {
///                 true => ExternalVerdict::Right,
///                 false => ExternalVerdict::Wrong,
///             })
///         })
///     }
/// }
/// ```
pub trait ExternalFactor: Send + Sync + 'static {
    /// Starts something for this attempt: chooses what to ask, or sends a message. Returns what the page
    /// shows, and what [`verify`](Self::verify) needs again. `None` means that there is nothing to ask,
    /// because the code alone can be checked. This is the default.
    ///
    /// [`factor.challenges`](crate::config::FactorConfig::challenges) limits how often this is called
    /// for one account.
    fn challenge<'a>(
        &'a self,
        attempt: &'a ExternalAttempt,
    ) -> HookFuture<'a, Option<ExternalChallenge>> {
        let _ = attempt;
        Box::pin(async { Ok(None) })
    }

    /// Returns whether this code is right. `challenge` is the state of the newest challenge of this
    /// session, or `None` if there is none that is open. A factor that needs one must then return
    /// [`Wrong`](ExternalVerdict::Wrong).
    ///
    /// Portcullis uses up the challenge, so its answer works once. Without a challenge, your application
    /// must accept a code only once, if it could be used again. After five wrong codes the challenge is worth
    /// nothing: the answer is `code_ended`. Then this is not called, except for requests at the same time, whose
    /// results are discarded. After too many wrong codes of the account
    /// it is called, but the result is discarded, and the answer is `wrong_code`.
    ///
    /// [`Right`](ExternalVerdict::Right) does not mean that the sign-in succeeds: a hook may refuse it, or
    /// the database may fail. So let portcullis use up a challenge, instead of using up the code yourself.
    fn verify<'a>(
        &'a self,
        attempt: &'a ExternalAttempt,
        challenge: Option<&'a str>,
        code: &'a str,
    ) -> HookFuture<'a, ExternalVerdict>;
}

/// The attempt for which an [`ExternalFactor`] is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExternalAttempt {
    /// The account.
    pub account_id: AccountId,
    /// The session, or the unfinished sign-in.
    pub session_id: SessionId,
    /// The address of the client, if it is known.
    pub address: Option<IpAddr>,
}

/// What an [`ExternalFactor`] asks. Its `Debug` is blank, because the state may reveal the answer.
#[derive(Clone)]
pub struct ExternalChallenge {
    pub(crate) shown: serde_json::Value,
    pub(crate) state: Zeroizing<String>,
}

impl ExternalChallenge {
    /// Takes what the page gets, and the state for [`ExternalFactor::verify`]. The state is stored
    /// encrypted, for one session, and has at most 16 KiB.
    pub fn new(shown: impl Into<serde_json::Value>, state: impl Into<String>) -> Self {
        Self { shown: shown.into(), state: Zeroizing::new(state.into()) }
    }
}

impl std::fmt::Debug for ExternalChallenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExternalChallenge(..)")
    }
}

/// The result of [`ExternalFactor::verify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum ExternalVerdict {
    /// The code is right.
    Right,
    /// The code is wrong. It counts as a wrong code of the account.
    Wrong,
}

/// Counts how often something happens, for all nodes that share it. See
/// [`rate_limit`](crate::rate_limit).
pub trait RateLimiter: Send + Sync + 'static {
    /// Counts one more for this subject at `now`, or refuses it. This must be one atomic step, so
    /// that simultaneous requests never exceed the quota. [`Quota::judge`] does the calculation.
    fn admit<'a>(
        &'a self,
        key: &'a RateKey,
        quota: Quota,
        now: Timestamp,
    ) -> HookFuture<'a, RateVerdict>;
}
