//! What the application may plug in: the seams of the core.

use std::future::Future;
use std::pin::Pin;

use sea_orm::DatabaseTransaction;

use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, SessionId};
use crate::base::rate::{Quota, RateKey, RateVerdict};

/// What a hook answers when it fails: the flow it is part of is rolled back and answers 503, or
/// what a [`Refusal`](crate::Refusal) says.
pub type HookError = Box<dyn std::error::Error + Send + Sync>;

/// The future of a hook.
pub type HookFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, HookError>> + Send + 'a>>;

/// One session took the place of another: at login, second factor, reauthentication, password
/// change, or when a visitor becomes an account.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SessionReplaced {
    /// The session that ended.
    pub old: SessionId,
    /// The session that goes on.
    pub new: SessionId,
    /// Whose session it is now.
    pub account_id: Option<AccountId>,
}

/// Called in the transaction in which one session replaces another, to move what hangs on it
/// (a cart, a draft).
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

/// Adds members of the application's own to `GET /session`. It runs in a task of its own and is waited for
/// as long as [`hook_timeout`](crate::config::DatabaseConfig::hook_timeout) says.
///
/// A client who hangs up does not end it. At the limit it is dropped. On MySQL and MariaDB, where a
/// statement that is dropped half-way spoils its connection, it may go on for five minutes instead, as long
/// as no more than 256 others of its kind do. Task-locals of your middleware are not there; the tracing span is. The same holds for [`MembershipSource`],
/// [`BreachedList`], [`RateLimiter`] and [`OnSuspicion`].
pub trait SessionInfo: Send + Sync + 'static {
    /// The members to add, under `"app"`.
    fn add(
        &self,
        account_id: AccountId,
        session_id: SessionId,
    ) -> HookFuture<'_, serde_json::Value>;
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

/// The SHA-1 digest of a password that is asked for in a [`BreachedList`]. As telling as the
/// password itself for anyone who can guess, so it has no `Display` and a blank `Debug`.
#[derive(Clone, zeroize::ZeroizeOnDrop)]
pub struct PasswordSha1([u8; 20]);

impl PasswordSha1 {
    pub(crate) fn of(password: &str) -> Self {
        use sha1::Digest;
        Self(sha1::Sha1::digest(password.as_bytes()).into())
    }

    /// The digest.
    pub fn bytes(&self) -> [u8; 20] {
        self.0
    }

    /// Its first five hexadecimal digits, in upper case: all that a lookup by k-anonymity sends.
    pub fn prefix(&self) -> String {
        data_encoding::HEXUPPER.encode(&self.0)[..5].to_owned()
    }

    /// The other 35: what is looked for in the answer to such a lookup.
    pub fn suffix(&self) -> String {
        data_encoding::HEXUPPER.encode(&self.0)[5..].to_owned()
    }
}

impl std::fmt::Debug for PasswordSha1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordSha1(..)")
    }
}

/// Knows passwords from breaches of other services. Asked for each new password that every other
/// rule lets pass; [`BreachedFile`](crate::password::BreachedFile) is one that asks nobody else.
pub trait BreachedList: Send + Sync + 'static {
    /// Whether the list has the password with this digest.
    fn contains<'a>(&'a self, password: &'a PasswordSha1) -> HookFuture<'a, bool>;
}

/// What makes the sign-ins of one node suspicious, though no limit of an account or a source was met.
/// See [`attempt`](crate::attempt).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suspicion {
    /// So many percent of the sign-ins of this window failed, where `usual_percent` do.
    #[non_exhaustive]
    FailedShare {
        /// Of this window, so far.
        percent: u64,
        /// Of the day before.
        usual_percent: u64,
        /// How many failed in this window, so far.
        failed: u64,
    },
    /// So many different names failed from one network.
    #[non_exhaustive]
    NamesFromNetwork {
        /// The IPv4 /24 or the IPv6 /48.
        network: ipnet::IpNet,
        /// How many names; they are not counted any further.
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

/// Hears of suspicious sign-ins: to page somebody, to ask for a captcha, to tell a firewall. Called
/// beside the request, at most once a window for each reason, with ten seconds to answer. Each node
/// tells of what it saw itself.
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
    /// Something was seen. An error is logged.
    fn suspected<'a>(&'a self, suspicion: &'a Suspicion) -> HookFuture<'a, ()>;
}

/// A membership as the application's own tables know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct SourceMembership {
    /// The domain of the resource, such as `list`.
    pub resource: String,
    /// Its id there.
    pub id: String,
    /// The level, one of those configured for the resource.
    pub level: String,
}

impl SourceMembership {
    /// This level on this resource. What cannot be stored (an id with permission syntax in it, a
    /// level that is not configured) gives nothing and is reported.
    pub fn new(
        resource: impl Into<String>,
        id: impl Into<String>,
        level: impl Into<String>,
    ) -> Self {
        Self { resource: resource.into(), id: id.into(), level: level.into() }
    }
}

/// Computes memberships from the application's own tables.
///
/// It is asked when someone signs in and by
/// [`refresh_memberships`](crate::Portcullis::refresh_memberships), never by a request: what it says
/// is stored. It is not called inside a transaction, and has
/// [`source_timeout`](crate::config::PermissionConfig::source_timeout) to answer. If it fails, what
/// was stored before goes on counting, and signing in goes on.
pub trait MembershipSource: Send + Sync + 'static {
    /// All memberships of an account. What is not among them is taken away.
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

/// Counts how often something happens, for all nodes that share it. See
/// [`rate_limit`](crate::rate_limit).
pub trait RateLimiter: Send + Sync + 'static {
    /// Counts one more for this subject at `now`, or refuses it: in one step, so that of any number
    /// at once exactly as many are admitted as the quota says. [`Quota::judge`] has the arithmetic.
    fn admit<'a>(
        &'a self,
        key: &'a RateKey,
        quota: Quota,
        now: Timestamp,
    ) -> HookFuture<'a, RateVerdict>;
}
