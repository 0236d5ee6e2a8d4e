//! Rate limits: how often a source, an account or a name may ask.
//!
//! 1. Every mounted route counts the source of a request (IPv4 address, IPv6 by /64) before it
//!    reads a body. All clients without a known address count together, with the quota of ten
//!    sources ([`unknown_sources`](crate::config::RateConfig::unknown_sources)). This also applies
//!    to every other limit per source: visitors' sessions, registrations, messages, names that are
//!    taken.
//! 2. As soon as a mounted route knows the account that is signed in, it counts the account.
//! 3. A sign-in counts the device if the account knows it, or else the name that was typed, in its
//!    normal form. This happens before anything is hashed.
//! 4. A source that asks for names that are taken is counted, at registration and for further
//!    usernames. After too many it cannot ask for another name. It can still sign in.
//! 5. Registrations count for their source, with any names and any result.
//! 6. Above a limit the answer is 429 `rate_limited` with `Retry-After`, `RateLimit-Policy` and
//!    `RateLimit`. A refused request does not use up the quota.
//!
//! The limits slide. After a quiet minute the whole [`Quota`] can be used at once. From then on it
//! comes back evenly, one every `period / count`. So there is no window whose edge lets twice as
//! many through. A whole period that starts with a full burst allows the burst, and what has come
//! back meanwhile.
//!
//! # Where rates are kept
//! | store | use it for | cost |
//! |---|---|---|
//! | this process (default) | one node; with several nodes, each counts separately | nothing |
//! | the database, [`RateStore::Database`] | several nodes without another service | one statement per request to a mounted route (two if it is refused) |
//! | Redis, `RedisRateLimiter` (feature `redis`) | several nodes with much traffic | a round trip to Redis |
//! | your own [`RateLimiter`] | | |
//!
//! If a store fails or does not answer within 250 ms, it is not asked again for a second. Meanwhile
//! each node counts separately, with a quarter of every quota. So an outage makes limits stricter,
//! and never turns them off.
//!
//! # Example
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, id: portcullis::AccountId)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use portcullis::rate_limit::Quota;
//!
//! // An account of a machine that sends many requests.
//! auth.accounts().set_rate_limit(id, Some(5_000)).await?;
//! // A limit of your application, in the same store.
//! auth.rate_limits().admit("export", &id.to_string(), Quota::per_minute(2)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//! It does not distinguish wrong passwords from correct ones. It limits only the routes of this
//! library; your own routes call [`RateLimits::admit`].
//!
//! # Configuration
//! [`RateConfig`](crate::config::RateConfig); per account
//! [`set_rate_limit`](crate::account::Accounts::set_rate_limit).
//!
//! # Events
//! `excess_rate_limit_exceeded`: the first refusal of a rule and subject in a minute. The others
//! are only counted in metrics.
//!
//! # Errors
//! `rate_limited` (429).
//!
//! # Standard
//! RFC 6585 (429), draft-ietf-httpapi-ratelimit-headers-10 (`RateLimit`, `RateLimit-Policy`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::audit_log;
use crate::base::client::rate_key;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind, count};
use crate::base::id::AccountId;
use crate::base::problem::{ErrorChain, Problem};
use crate::base::rate::{RateKey, RateVerdict};
use crate::base::secret::{DigestKey, Purpose};
use crate::base::transaction::{Fault, TimedPort, transaction};
use crate::config::RateStore;
use crate::context::{Context, PerInstance};
use crate::handle::Portcullis;
use crate::port::RateLimiter;

pub(crate) mod entity;
mod memory;
#[cfg(feature = "redis")]
mod redis;
pub(crate) mod store;

#[cfg(feature = "redis")]
pub use self::redis::RedisRateLimiter;
pub use crate::base::rate::Quota;

use memory::Memory;
use store::DatabaseLimiter;

/// The rule for requests of an account.
pub(crate) const ACCOUNT: &str = "account";

/// The rule for sign-ins with a name.
pub(crate) const LOGIN: &str = "login";

/// The rules for challenges of a factor of your own: for clients that the account does not know,
/// and for its known devices together.
pub(crate) const FACTOR_CHALLENGES: &str = "factor_challenges";
pub(crate) const FACTOR_CHALLENGES_DEVICE: &str = "factor_challenges_device";

/// The rule for wrong codes of device logins, for accounts and for sources.
pub(crate) const DEVICE_CODES: &str = "device_codes";

/// The rules for challenges of passkeys in sessions, of known devices apart.
pub(crate) const PASSKEY_CHALLENGES: &str = "passkey_challenges_account";
pub(crate) const PASSKEY_CHALLENGES_DEVICE: &str = "passkey_challenges_device";

/// The rules whose subject is an account.
const OF_ACCOUNT: [&str; 6] = [
    ACCOUNT,
    FACTOR_CHALLENGES,
    FACTOR_CHALLENGES_DEVICE,
    DEVICE_CODES,
    PASSKEY_CHALLENGES,
    PASSKEY_CHALLENGES_DEVICE,
];

/// How long a store is not asked after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The divisor for a quota while the shared store cannot be asked.
const FALLBACK_PART: u32 = 4;

/// How many subjects get their own event in a minute.
const EVENTS_A_MINUTE: usize = 100;

/// There were too many requests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("too many requests; try again later")]
pub struct RateLimited {
    /// The rule: `source`, `account`, `login`, `login_device`, `anonymous`, `registrations`,
    /// `device_starts`, `device_codes`, `messages`, `taken_names`, `factor_challenges`, `factor_challenges_device`, or one of your
    /// application.
    pub rule: &'static str,
    /// The quota of the rule.
    pub quota: Quota,
    /// The time to wait before the next request.
    pub retry_after: Duration,
}

impl Problem for RateLimited {
    fn status(&self) -> StatusCode {
        StatusCode::TOO_MANY_REQUESTS
    }

    fn code(&self) -> &'static str {
        "rate_limited"
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(self.retry_after)
    }

    fn headers(&self) -> Vec<(HeaderName, String)> {
        let seconds = |duration: Duration| duration.as_millis().div_ceil(1000).max(1);
        let (rule, Quota { count, period, .. }) = (self.rule, self.quota);
        let policy = format!("\"{rule}\";q={count};w={}", seconds(period));
        let now = format!("\"{rule}\";r=0;t={}", seconds(self.retry_after));
        vec![
            (HeaderName::from_static("ratelimit-policy"), policy),
            (HeaderName::from_static("ratelimit"), now),
        ]
    }
}

/// The state of an instance's limits.
struct Limits {
    /// Counts if there is no shared store, and reserves in any case.
    local: Memory,
    /// Counts while the shared store cannot be asked.
    fallback: Memory,
    shared: Option<Arc<TimedPort<dyn RateLimiter>>>,
    /// The end of the pause of the shared store, in milliseconds; 0 while it answers.
    paused_until: AtomicI64,
    key: DigestKey,
    noted: Mutex<Noted>,
}

/// The subjects that got an event in this minute.
#[derive(Default)]
struct Noted {
    minute: i64,
    subjects: HashMap<RateKey, ()>,
}

impl PerInstance for Limits {
    fn open(context: &Context) -> Self {
        let shared = match (&context.rate_limiter, context.config.rate.store) {
            (Some(limiter), _) => Some(Arc::clone(limiter)),
            (None, RateStore::Database) => {
                let database = context.database.clone();
                let timeout = context.config.database.timeout;
                let limiter = DatabaseLimiter { database: database.clone(), timeout };
                Some(Arc::new(TimedPort::new(Arc::new(limiter) as Arc<dyn RateLimiter>, &database)))
            }
            (None, RateStore::Process) => None,
        };
        Self {
            local: Memory::default(),
            fallback: Memory::default(),
            shared,
            paused_until: AtomicI64::new(0),
            key: DigestKey::new(&context.config.keys.secrets[0], Purpose::RateKey),
            noted: Mutex::default(),
        }
    }
}

impl Limits {
    async fn admit(
        &self,
        context: &Context,
        key: RateKey,
        quota: Quota,
        now: Timestamp,
    ) -> RateVerdict {
        let Some(shared) = &self.shared else { return self.local.admit(key, quota, now) };
        let paused_until = self.paused_until.load(Ordering::Acquire);
        if now.as_millis() >= paused_until
            // If the clock was set back, the pause must not become longer.
            || paused_until - now.as_millis() > PAUSE.as_millis() as i64
        {
            let asked = shared.ask(context.config.rate.timeout, move |shared| {
                Box::pin(async move { shared.admit(&key, quota, now).await })
            });
            let failed = match asked.await {
                Some(Ok(verdict)) => {
                    if paused_until != 0 {
                        self.paused_until.store(0, Ordering::Release);
                        tracing::info!(target: "portcullis", "the rate store answers again");
                    }
                    return verdict;
                }
                Some(Err(error)) => ErrorChain(&*error).to_string(),
                None => "it did not answer in time".to_owned(),
            };
            self.paused_until.store(now.plus(PAUSE).as_millis(), Ordering::Release);
            if paused_until == 0 {
                tracing::error!(
                    target: "portcullis",
                    error = ?failed,
                    "the rate store does not answer; each node counts locally, with stricter limits",
                );
            }
        }
        let strict = Quota::new((quota.count / FALLBACK_PART).max(1), quota.period);
        self.fallback.admit(key, strict, now)
    }

    fn key_of(&self, rule: &str, subject: &str) -> RateKey {
        // No rule's name contains a NUL, so two different pairs never give the same text.
        RateKey::new(self.key.digest(format!("{rule}\0{subject}").as_bytes()))
    }

    /// Returns true if this refusal is the first one of its subject in this minute. The number of
    /// events in a minute is limited, so that many subjects cannot fill the audit log.
    fn is_news(&self, key: RateKey, now: Timestamp) -> bool {
        let minute = now.as_millis().div_euclid(60_000);
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.minute != minute {
            *noted = Noted { minute, subjects: HashMap::new() };
        }
        noted.subjects.len() < EVENTS_A_MINUTE && noted.subjects.insert(key, ()).is_none()
    }
}

/// Returns the keys that count what an account does and sign-ins with these names.
pub(crate) fn keys_about(context: &Context, id: AccountId, names: &[String]) -> Vec<Vec<u8>> {
    let limits = context.per_instance::<Limits>();
    let names = names.iter().map(|name| limits.key_of(LOGIN, name));
    names
        .chain(OF_ACCOUNT.map(|rule| limits.key_of(rule, &id.to_string())))
        .map(|key| key.as_bytes().to_vec())
        .collect()
}

/// The account or address of a limit, for the event.
#[derive(Debug, Clone, Copy, Default)]
struct About {
    account: Option<AccountId>,
    address: Option<IpAddr>,
}

/// One request of a source's quota, reserved until it is known whether it counts.
pub(crate) struct Reserved {
    limits: Arc<Limits>,
    key: RateKey,
    quota: Quota,
    kept: bool,
}

impl Reserved {
    /// Counts the reserved request, on every node that shares the store.
    pub(crate) async fn keep(mut self, context: &Context) {
        self.kept = true;
        if self.limits.shared.is_none() {
            return;
        }
        let verdict = self.limits.admit(context, self.key, self.quota, context.now()).await;
        if !verdict.admitted {
            self.limits.local.at_least(self.key, verdict.spent_us);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.kept {
            self.limits.local.give_back(self.key, self.quota);
        }
    }
}

/// Limits how often something happens. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct RateLimits<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the rate limits.
    pub fn rate_limits(&self) -> RateLimits<'_> {
        RateLimits { auth: self }
    }
}

impl RateLimits<'_> {
    /// Counts one more of `rule` for `subject`, or refuses it.
    ///
    /// # Errors
    /// [`RateLimited`], which a handler can return. An outage is no error: then a stricter limit
    /// counts.
    pub async fn admit(
        &self,
        rule: &'static str,
        subject: &str,
        quota: Quota,
    ) -> Result<(), RateLimited> {
        self.decide(rule, subject, quota, About::default()).await
    }

    /// Counts an action of an account.
    pub(crate) async fn of_account(
        &self,
        rule: &'static str,
        account: AccountId,
        quota: Quota,
    ) -> Result<(), RateLimited> {
        let about = About { account: Some(account), ..About::default() };
        self.decide(rule, &account.to_string(), quota, about).await
    }

    /// Counts an action of a source. All clients without a known address are one source, which may
    /// do as much as several.
    pub(crate) async fn source(
        &self,
        rule: &'static str,
        address: Option<IpAddr>,
        quota: Quota,
    ) -> Result<(), RateLimited> {
        let (subject, quota, about) = self.of_source(address, quota);
        self.decide(rule, &subject, quota, about).await
    }

    fn of_source(&self, address: Option<IpAddr>, quota: Quota) -> (String, Quota, About) {
        let about = About { address, ..About::default() };
        if let Some(address) = address {
            return (rate_key(address).to_string(), quota, about);
        }
        let together = quota.count.saturating_mul(self.auth.context().config.rate.unknown_sources);
        ("unknown".to_owned(), Quota::new(together, quota.period), about)
    }

    /// Reserves one request of `rule` for a source, for an action that counts only with a certain
    /// result. Call [`keep`](Reserved::keep) for that result. If it is dropped, the request is
    /// given back. So simultaneous requests cannot exceed the limit either. With several nodes and
    /// a shared store, each node may allow one more than is left.
    ///
    /// # Errors
    /// [`RateLimited`] if the quota is used up.
    pub(crate) fn reserve(
        &self,
        rule: &'static str,
        address: Option<IpAddr>,
        quota: Quota,
    ) -> Result<Reserved, RateLimited> {
        let (subject, quota, about) = self.of_source(address, quota);
        self.reserve_for(rule, &subject, quota, about)
    }

    /// The same for an account.
    ///
    /// # Errors
    /// [`RateLimited`] if the quota is used up.
    pub(crate) fn reserve_of_account(
        &self,
        rule: &'static str,
        account: AccountId,
        quota: Quota,
    ) -> Result<Reserved, RateLimited> {
        let about = About { account: Some(account), ..About::default() };
        self.reserve_for(rule, &account.to_string(), quota, about)
    }

    fn reserve_for(
        &self,
        rule: &'static str,
        subject: &str,
        quota: Quota,
        about: About,
    ) -> Result<Reserved, RateLimited> {
        let context = self.auth.context();
        let limits = context.per_instance::<Limits>();
        let now = context.now();
        let key = limits.key_of(rule, subject);
        let verdict = limits.local.admit(key, quota, now);
        if verdict.admitted {
            return Ok(Reserved { limits, key, quota, kept: false });
        }
        Err(self.refuse(rule, quota, about, (key, verdict, now)))
    }

    /// Counts a request of an account, or a sign-in as `name`. `own` is the account's own limit. Do
    /// not pass it for an unknown device: a different limit would tell which name has an account
    /// with one.
    pub(crate) async fn principal(
        &self,
        rule: &'static str,
        name: &str,
        account: Option<AccountId>,
        own: Option<i64>,
    ) -> Result<(), RateLimited> {
        let Some(quota) = self.auth.context().config.rate.per_principal else { return Ok(()) };
        let count = own.map_or(quota.count, |own| u32::try_from(own).unwrap_or(quota.count));
        let about = About { account, ..About::default() };
        self.decide(rule, name, Quota::new(count, quota.period), about).await
    }

    async fn decide(
        &self,
        rule: &'static str,
        subject: &str,
        quota: Quota,
        about: About,
    ) -> Result<(), RateLimited> {
        let context = self.auth.context();
        let limits = context.per_instance::<Limits>();
        let now = context.now();
        let key = limits.key_of(rule, subject);
        let verdict = limits.admit(context, key, quota, now).await;
        if verdict.admitted {
            return Ok(());
        }
        Err(self.refuse(rule, quota, about, (key, verdict, now)))
    }

    /// Counts a refusal and reports it.
    fn refuse(
        &self,
        rule: &'static str,
        quota: Quota,
        about: About,
        (key, verdict, now): (RateKey, RateVerdict, Timestamp),
    ) -> RateLimited {
        count(EventKind::RateLimitExceeded.as_str());
        if self.auth.context().per_instance::<Limits>().is_news(key, now) {
            self.tell(rule, about, now);
        }
        // Zero would mean that the client need not wait.
        let retry_after = verdict.retry_after.max(Duration::from_millis(1));
        RateLimited { rule, quota, retry_after }
    }

    /// Writes the event beside the request, which does not wait for it.
    fn tell(&self, rule: &'static str, about: About, now: Timestamp) {
        let mut event = Event::new(EventKind::RateLimitExceeded, now).failed(rule);
        event.account_id = about.account;
        event.address = about.address;
        let context = self.auth.context().clone();
        context.clone().database.beside(async move {
            let written = transaction!(context.db(), |txn| {
                audit_log::record(txn, &event).await.map_err(Fault::from)
            });
            if let Err(error) = written {
                tracing::warn!(target: "portcullis", error = ?error.to_string(), "an event could not be written");
                // The refusal has happened, so it is at least traced.
                event.trace();
            }
        });
    }

    /// Deletes the rows of subjects that made no requests for their whole period, if rates are kept
    /// in the database. Returns how many there were. [`auth.maintenance()`](crate::maintenance)
    /// does this too.
    ///
    /// # Errors
    /// An outage.
    pub async fn purge(&self) -> Result<u64, Fault> {
        const BATCH: u64 = 500;
        let context = self.auth.context();
        let (db, now) = (context.db(), context.now());
        let executor = db.executor();
        let mut purged = 0;
        loop {
            let batch = db.retry(|| store::purge_batch(&executor, now, BATCH)).await?;
            purged += batch;
            if batch < BATCH {
                return Ok(purged);
            }
        }
    }
}
