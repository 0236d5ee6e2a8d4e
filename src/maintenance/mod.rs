//! Maintenance: removes what has expired, so that no table grows forever.
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) {
//! use std::time::Duration;
//!
//! // In the service: one task on each node. Only one of them works at a time.
//! tokio::spawn(auth.maintenance().every(Duration::from_secs(3600)));
//!
//! // Or from a scheduler, in a separate program.
//! let report = auth.maintenance().run().await;
//! # let _ = report;
//! # }
//! ```
//!
//! 1. A run takes a lease, which is a row in the database. If another node has the lease, the run
//!    does nothing. A node that was killed during a run loses the lease after five minutes. The
//!    next run continues where it stopped.
//! 2. The run goes through the tables below, oldest rows first, about 500 rows at a time. Each
//!    batch is found on an index and removed by its own statements, with a pause before the next.
//!    So a request never waits for longer than one batch.
//! 3. The run records its time, and returns how many rows were removed.
//!
//! | table | when a row is removed | setting in [`RetentionConfig`](crate::config::RetentionConfig) |
//! |---|---|---|
//! | sessions | 7 days after they ended or their absolute end passed; those of visitors after an hour | `sessions` |
//! | session data | when no session of its lineage is left | |
//! | challenges (codes and links), and the time when one was last sent | an hour after they became invalid | `challenges` |
//! | records of attempts | after 24 hours, and only when no rule reads them any more | `attempts` |
//! | captchas | an hour after they expired | `challenges` |
//! | API keys | 30 days after they ended | `api_keys` |
//! | recoveries by administrators | 180 days after the time for them | `account_recoveries` |
//! | authenticators that never got their first code | an hour after they were started, or later if `totp.confirm_lifetime` is longer | `challenges` |
//! | trusted devices | when their trust has ended | |
//! | proofs of [keys](crate::dpop) | when they are too old to be accepted | |
//! | counts of failures for captchas | when their window has passed | |
//! | rates in the database | when their period has passed | |
//! | messages that were sent or given up | after 24 hours | [`mail.keep`](crate::config::MailConfig::keep) |
//! | counts of messages for each recipient | when their hour has passed | |
//! | events | after 180 days | `events` |
//! | counted denials | after 30 days | `denials` |
//! | former addresses of accounts | after 30 days | |
//! | records of notices about new devices | after 30 days | |
//! | accounts that a stranger made and nobody ever proved | after 7 days | `unverified_accounts` |
//! | closed accounts: they are erased, and their ids stay | after 14 days | `closed_accounts` |
//! | sources and details of the events of an erased account | 30 days after the erasure | `erased_sources` |
//!
//! Roles, groups, grants and all other accounts are removed only on request.
//!
//! # After a change of the secret
//! A run encrypts the seeds of [authenticators](crate::totp) with the newest secret.
//! [`old_secrets`](Maintenance::old_secrets) returns what still needs an older one.
//!
//! # Erasing closed accounts
//! An index finds the accounts whose waiting time is over. Each is erased in a separate
//! transaction, as described in [`own_account`]. A request that was still running may write
//! something after that. Maintenance removes it an hour later. If a hook of the application refuses,
//! a run after a day repeats the attempt. If a hook or a statement fails, a run after an hour does. A
//! warning names the account and the reason. Other accounts do not wait for this.
//!
//! # Rows that strangers cause
//! A request for a link or a code writes the same rows, whether the address has an account or not.
//! So does a strict registration, except for the account and its name, which are only written for a
//! free address. All these rows are removed 24 hours after they became useless. The exceptions are
//! events, which have their own time, and the accounts of the last row above.
//!
//! The rows that one source can cause in a minute are limited. Failed attempts, messages,
//! registrations and visitors' sessions each have their own limit, no matter how many requests
//! [`rate.per_source`](crate::config::RateConfig::per_source) allows. A request above a limit
//! writes only one event, at most once a minute. A client with a token that is bound to a [key](crate::dpop) writes a row
//! with each request, which stays for some minutes.
//!
//! # Accounts that nobody proved
//! If [`login.require_verified`](crate::config::LoginConfig::require_verified) is on, an account
//! cannot be used before its address is proved. A stranger who registers another person's address
//! leaves such an account. It is removed with its names, so that the address is free again. It
//! stays for longer than the 24 hours of its link. So an owner who was away over a weekend can ask
//! for another link, and still has the password and what the application stores for the account.
//! One source cannot create more of these accounts than
//! [`rate.registrations`](crate::config::RateConfig::registrations) allows.
//!
//! These accounts are never removed: those that an administrator, an import or the application
//! created, and those that were ever used or proved. If verification is not required, no account is
//! removed, because accounts can then be used without it.
//!
//! If a table of your application points to `auth_account`, it needs `ON DELETE CASCADE`. If the
//! database refuses to remove an account, because of such a key or a trigger, the account stays. A
//! warning says so, and later runs skip this account.
//!
//! # Session data
//! It is removed with the last session of its lineage, and never while one exists. No index tells
//! whether one exists, so a run reads the whole table, one page of the primary key at a time.
//! Sessions and their data are kept for at least an hour after the end of the session. During this
//! time, a sign-in that continues the session may still be in progress.
//!
//! # After a backup was restored
//! [`after_restore`](Maintenance::after_restore) ends what the backup has restored but must not be
//! valid: see [`guide::backups`](crate::guide::backups).
//!
//! # What it does not do
//! It does not change tables of your application, but your hooks can, when an account is erased. It
//! does not make files smaller: the database uses freed pages again. To make them smaller, run
//! `VACUUM` or a similar command. To delete rows at other times than configured, use the purges of
//! single capabilities, such as [`sessions().purge(..)`](crate::session::Sessions::purge).
//!
//! # Events
//! `maintenance` if something was removed, with the counts as its detail; `user_removed` for each
//! account; `backup_restored`. If no node has run maintenance for three days, a process that has
//! served for that long has the finding `maintenance_overdue`. If the clock of the node and the clock of
//! the database differ by more than five seconds, a run reports the finding `database_clock_skew`.
//!
//! # Errors
//! An outage ends a run. What was removed before stays removed, and the next run continues.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use sea_orm::DbErr;

use crate::account::closing::store as closing_store;
use crate::account::{former, store as account_store};
use crate::account_recovery::store as recovery_store;
use crate::api_key::store as api_key_store;
use crate::attempt::store as attempt_store;
use crate::audit_log;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::LineageId;
use crate::base::problem::ErrorChain;
use crate::base::transaction::{Db, Fault, transaction};
use crate::captcha::store as captcha_store;
use crate::context::Context;
use crate::device_login::store as device_login_store;
use crate::dpop::store as dpop_store;
#[cfg(feature = "federation")]
use crate::federation::store as federation_store;
use crate::handle::Portcullis;
use crate::new_device::{self, store as new_device_store};
use crate::one_time::{LONGEST_COOL_DOWN, store as challenge_store};
use crate::outbox::store as outbox_store;
use crate::own_account::{self, OwnAccountError, Swept};
use crate::own_api_key;
#[cfg(feature = "passkey")]
use crate::passkey::store as passkey_store;
use crate::permission::store as permission_store;
use crate::rate_limit::store as rate_store;
use crate::session::store as session_store;
use crate::session_data::store as session_data_store;
use crate::totp::store as totp_store;
use crate::trusted_device::store as trusted_device_store;
use crate::upkeep::Lease;

mod secrets;

pub use secrets::OldSecret;

/// About how many rows one statement removes.
const BATCH: u64 = 500;

/// The pause between two batches, so that a database with a single writer can serve requests.
const PAUSE: Duration = Duration::from_millis(10);

/// The longest time that a request is in progress. What a request has found valid is kept for this
/// time after its end, and so is what it has just written.
const UNDER_WAY: Duration = Duration::from_secs(60 * 60);

/// The time until an account is tried again whose erasure a hook refused.
const NEXT_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The same, if something failed.
const NEXT_HOUR: Duration = Duration::from_secs(60 * 60);

/// How often a run extends its lease while it works on single accounts. The lease is much longer.
const EXTEND_EVERY: Duration = Duration::from_secs(60);

/// The time until a failed run is attempted again.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// What one run has removed or changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaintenanceReport {
    /// True if another node was running maintenance, so this run did nothing or stopped.
    pub left_to_another: bool,
    /// Sessions, including those of visitors.
    pub sessions: u64,
    /// Session data.
    pub session_data: u64,
    /// Challenges, and the times when one was last sent.
    pub challenges: u64,
    /// Records of attempts.
    pub attempts: u64,
    /// Captchas, and counts of failures for them.
    pub captchas: u64,
    /// Rates in the database.
    pub rates: u64,
    /// Messages, and counts of messages.
    pub messages: u64,
    /// Events.
    pub events: u64,
    /// Counted denials.
    pub denials: u64,
    /// Former addresses of accounts.
    pub former_addresses: u64,
    /// Records of notices about new devices.
    pub new_devices: u64,
    /// Accounts that nobody proved.
    pub accounts: u64,
    /// Closed accounts that were erased.
    pub erased_accounts: u64,
    /// Events of erased accounts that lost their source and detail.
    pub erased_sources: u64,
    /// Authenticators that never got their first code.
    pub authenticators: u64,
    /// Recoveries by administrators.
    pub account_recoveries: u64,
    /// Seeds of authenticators that were encrypted with the newest secret.
    pub encrypted_seeds: u64,
    /// Trusted devices.
    pub trusted_devices: u64,
    /// API keys.
    pub api_keys: u64,
    /// API keys that end soon, whose owners were told.
    pub api_key_notices: u64,
    /// Requests of devices to be signed in.
    pub device_requests: u64,
    /// Proofs of keys that were used.
    pub dpop_proofs: u64,
    /// Challenges of passkeys that nobody has answered.
    pub passkey_challenges: u64,
    /// Sign-ins with providers that were not finished, notes about finished ones that are over, and used logout tokens.
    pub provider_flows: u64,
}

impl MaintenanceReport {
    /// Returns the sum of all counts.
    pub fn total(&self) -> u64 {
        self.named().iter().map(|(_, count)| count).sum()
    }

    fn named(&self) -> [(&'static str, u64); 24] {
        [
            ("sessions", self.sessions),
            ("session_data", self.session_data),
            ("challenges", self.challenges),
            ("attempts", self.attempts),
            ("captchas", self.captchas),
            ("rates", self.rates),
            ("messages", self.messages),
            ("events", self.events),
            ("denials", self.denials),
            ("former_addresses", self.former_addresses),
            ("new_devices", self.new_devices),
            ("accounts", self.accounts),
            ("erased_accounts", self.erased_accounts),
            ("erased_sources", self.erased_sources),
            ("authenticators", self.authenticators),
            ("account_recoveries", self.account_recoveries),
            ("encrypted_seeds", self.encrypted_seeds),
            ("trusted_devices", self.trusted_devices),
            ("api_keys", self.api_keys),
            ("api_key_notices", self.api_key_notices),
            ("device_requests", self.device_requests),
            ("dpop_proofs", self.dpop_proofs),
            ("passkey_challenges", self.passkey_challenges),
            ("provider_flows", self.provider_flows),
        ]
    }
}

impl fmt::Display for MaintenanceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, count) in self.named().into_iter().filter(|(_, count)| *count > 0) {
            write!(f, "{separator}{name}={count}")?;
            separator = " ";
        }
        if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}

/// Removes what has expired. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Maintenance<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the maintenance of this instance.
    pub fn maintenance(&self) -> Maintenance<'_> {
        Maintenance { auth: self }
    }
}

impl Maintenance<'_> {
    /// Runs maintenance now and then once every `period`, as long as the process lives: spawn it. A
    /// failed run is attempted again after a minute, and a warning is logged. An hour is a good
    /// period.
    pub fn every(&self, period: Duration) -> impl Future<Output = ()> + Send + 'static {
        let auth = self.auth.clone();
        repeat(period, move || {
            let auth = auth.clone();
            async move { auth.maintenance().run().await.map(drop) }
        })
    }

    /// Removes everything that has expired, and returns how much that was.
    ///
    /// # Errors
    /// An outage. What was removed before stays removed.
    pub async fn run(&self) -> Result<MaintenanceReport, Fault> {
        // Before the lease: only one node gets it, and each has a clock of its own.
        self.auth.compare_clocks().await?;
        let mut report = MaintenanceReport::default();
        let Some(lease) = self.auth.take_upkeep().await? else {
            report.left_to_another = true;
            return Ok(report);
        };
        let result = Sweep { auth: self.auth, lease: &lease }.run(&mut report).await;
        let done = result.is_ok();
        let ended = self.auth.end_upkeep(&lease, done).await;
        match result {
            Ok(()) => ended?,
            Err(Stopped::Overtaken) => report.left_to_another = true,
            Err(Stopped::Fault(fault)) => return Err(fault),
        }
        if report.total() > 0 {
            let now = self.auth.context().now();
            let event = Event::new(EventKind::Maintained, now).detail(report.to_string());
            self.record(&event).await?;
        }
        Ok(report)
    }

    /// Returns when maintenance last ran to its end, on any node; `None` if it never did.
    ///
    /// # Errors
    /// An outage.
    pub async fn last_run(&self) -> Result<Option<Timestamp>, Fault> {
        self.auth.last_upkeep().await
    }

    /// Ends what a restored backup has made valid again: every session, all known devices, every API
    /// key, every open code and link, open recoveries by administrators, and messages that wait to be sent. Each device is a new one afterwards,
    /// and its owner is told. Returns how many accounts there are. Call it once, before the first
    /// node starts on the restored database. A second call does no harm.
    ///
    /// The epoch of every account increases, to at least the present time in milliseconds. So it is
    /// above every number that was given out in the lost time. Grants stay as they are in the
    /// backup.
    ///
    /// # Errors
    /// An outage. Call it again.
    pub async fn after_restore(&self) -> Result<u64, Fault> {
        let context = self.auth.context();
        let (db, now) = (context.db(), context.now());
        let executor = db.executor();
        let (mut accounts, mut after) = (0, None);
        loop {
            let ids = db.read(account_store::ids_after(&executor, after, BATCH)).await?;
            let Some(last) = ids.last() else { break };
            after = Some(*last);
            accounts += db.retry(|| account_store::raise_epochs(&executor, &ids, now)).await?;
        }
        while db.retry(|| challenge_store::end_open(&executor, now, BATCH)).await? > 0 {}
        while db.retry(|| api_key_store::end_everything(&executor, now, BATCH)).await? > 0 {}
        while db.retry(|| outbox_store::give_up_due(&executor, now, BATCH)).await? > 0 {}
        let event = Event::new(EventKind::BackupRestored, now);
        transaction!(db, |txn| {
            permission_store::raise_epoch(txn, now).await?;
            audit_log::record(txn, &event).await?;
            Ok::<_, Fault>(())
        })?;
        Ok(accounts)
    }

    async fn record(&self, event: &Event) -> Result<(), Fault> {
        transaction!(self.auth.context().db(), |txn| {
            audit_log::record(txn, event).await?;
            Ok::<_, Fault>(())
        })?;
        Ok(())
    }
}

async fn repeat<F: Future<Output = Result<(), Fault>>>(period: Duration, run: impl Fn() -> F) {
    loop {
        let wait = match run().await {
            Ok(()) => period,
            Err(fault) => {
                tracing::warn!(target: "portcullis", error = ?ErrorChain(&fault).to_string(), "maintenance failed and will be retried");
                period.min(TRY_AGAIN)
            }
        };
        tokio::time::sleep(wait.max(Duration::from_secs(1))).await;
    }
}

/// The reason why a run stopped before its end.
enum Stopped {
    /// Another node has the lease now.
    Overtaken,
    Fault(Fault),
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// One run.
struct Sweep<'a> {
    auth: &'a Portcullis,
    lease: &'a Lease,
}

impl Sweep<'_> {
    async fn run(&self, report: &mut MaintenanceReport) -> Result<(), Stopped> {
        let context: &Context = self.auth.context();
        let config = &context.config;
        let (kept, db, now) = (&config.retention, context.db(), context.now());
        let executor = db.executor();

        let sessions = &mut report.sessions;
        let over = now.minus(UNDER_WAY);
        self.batches(&db, sessions, || session_store::purge_visitors(&executor, over, BATCH))
            .await?;
        let over = now.minus(kept.sessions.max(UNDER_WAY));
        self.batches(&db, sessions, || session_store::purge_ended(&executor, over, BATCH)).await?;
        self.batches(&db, sessions, || session_store::purge_expired(&executor, over, BATCH))
            .await?;
        self.session_data(&db, now.minus(UNDER_WAY), &mut report.session_data).await?;

        let before = now.minus(kept.challenges);
        let challenges = &mut report.challenges;
        self.batches(&db, challenges, || challenge_store::purge(&executor, before, BATCH)).await?;
        // A minimum time between codes can last longer than the code itself.
        let cool_down = config.challenge.cool_down.max(LONGEST_COOL_DOWN);
        let before = now.minus(kept.challenges.max(cool_down));
        self.batches(&db, challenges, || challenge_store::purge_starts(&executor, before, BATCH))
            .await?;

        let before = now.minus(kept.challenges);
        let captchas = &mut report.captchas;
        self.batches(&db, captchas, || captcha_store::purge(&executor, before, BATCH)).await?;
        let before = now.minus(config.captcha.window);
        self.batches(&db, captchas, || captcha_store::purge_failures(&executor, before, BATCH))
            .await?;

        let before = now.minus(kept.api_keys);
        let api_keys = &mut report.api_keys;
        self.batches(&db, api_keys, || api_key_store::purge(&executor, before, BATCH)).await?;
        loop {
            let told = own_api_key::tell_of_ends(self.auth, now, BATCH).await?;
            report.api_key_notices += told;
            if told < BATCH {
                break;
            }
            self.pause().await?;
        }

        let before = now.minus(kept.attempts);
        let attempts = &mut report.attempts;
        self.batches(&db, attempts, || attempt_store::purge(&executor, before, BATCH)).await?;
        let rates = &mut report.rates;
        self.batches(&db, rates, || rate_store::purge_batch(&executor, now, BATCH)).await?;

        let before = now.minus(config.mail.keep);
        let messages = &mut report.messages;
        self.batches(&db, messages, || outbox_store::purge(&executor, before, BATCH)).await?;
        let before = now.minus(crate::outbox::WINDOW.max(config.mail.cool_down));
        self.batches(&db, messages, || outbox_store::purge_limits(&executor, before, BATCH))
            .await?;

        if let Some(time) = kept.events {
            let before = now.minus(time);
            let events = &mut report.events;
            self.batches(&db, events, || audit_log::purge_events(&executor, before, BATCH)).await?;
        }
        let before = now.minus(kept.denials);
        let denials = &mut report.denials;
        self.batches(&db, denials, || audit_log::purge_denials(&executor, before, BATCH)).await?;

        let former_addresses = &mut report.former_addresses;
        self.batches(&db, former_addresses, || former::purge(&executor, now, BATCH)).await?;

        let before = now.minus(new_device::TOLD_FOR);
        let told = &mut report.new_devices;
        self.batches(&db, told, || new_device_store::purge_places(&executor, before, BATCH))
            .await?;
        self.batches(&db, told, || new_device_store::purge_digests(&executor, before, BATCH))
            .await?;

        let before = now.minus(config.totp.confirm_lifetime.max(kept.challenges));
        let waiting = &mut report.authenticators;
        self.batches(&db, waiting, || totp_store::purge_waiting(&executor, before, BATCH)).await?;
        self.seeds(&mut report.encrypted_seeds).await?;

        // A link that was sent at the last moment is still valid for its lifetime.
        let before = now.minus(kept.account_recoveries + config.account_recovery.link_lifetime);
        let recoveries = &mut report.account_recoveries;
        self.batches(&db, recoveries, || recovery_store::purge(&executor, before, BATCH)).await?;
        let trusted = &mut report.trusted_devices;
        self.batches(&db, trusted, || trusted_device_store::purge(&executor, now, BATCH)).await?;
        let before = now.minus(kept.device_requests);
        let requests = &mut report.device_requests;
        self.batches(&db, requests, || device_login_store::purge(&executor, before, BATCH)).await?;
        let proofs = &mut report.dpop_proofs;
        self.batches(&db, proofs, || dpop_store::purge(&executor, now, BATCH)).await?;
        #[cfg(feature = "passkey")]
        {
            let begun = &mut report.passkey_challenges;
            let purge = || passkey_store::purge_challenges(&executor, now, BATCH);
            self.batches(&db, begun, purge).await?;
        }
        #[cfg(feature = "federation")]
        {
            let flows = &mut report.provider_flows;
            let purge = || federation_store::purge_flows(&executor, now, BATCH);
            self.batches(&db, flows, purge).await?;
            let purge = || federation_store::purge_pending(&executor, now, BATCH);
            self.batches(&db, flows, purge).await?;
            let purge = || federation_store::purge_sessions(&executor, now, BATCH);
            self.batches(&db, flows, purge).await?;
            let purge = || federation_store::purge_logout_tokens(&executor, now, BATCH);
            self.batches(&db, flows, purge).await?;
        }

        if let Some(time) = kept.unverified_accounts {
            self.accounts(&db, now.minus(time), now, &mut report.accounts).await?;
        }
        self.erasures(&db, now, report).await
    }

    /// Erases the accounts whose waiting time is over, and removes what was written about erased
    /// accounts since.
    async fn erasures(
        &self,
        db: &Db<'_>,
        now: Timestamp,
        report: &mut MaintenanceReport,
    ) -> Result<(), Stopped> {
        let executor = db.executor();
        let mut extended_at = now;
        loop {
            let ids = db.read(closing_store::due(&executor, now, BATCH)).await?;
            for id in &ids {
                // A hook of the application may take seconds for each account.
                self.extend(&mut extended_at).await?;
                match own_account::sweep(self.auth, *id, now).await {
                    Ok(Swept::Erased) => report.erased_accounts += 1,
                    Ok(Swept::Again | Swept::Left) => {}
                    Ok(Swept::Finally) => {
                        let clear = || audit_log::clear_sources(&executor, *id, BATCH);
                        self.batches(db, &mut report.erased_sources, clear).await?;
                        db.retry(|| closing_store::finish(&executor, *id)).await?;
                    }
                    // Whatever failed: otherwise this account would be the first one of every later
                    // run, and no account after it would be erased. If the database is down, this
                    // statement fails too.
                    Err(error) => {
                        let refused = matches!(error, OwnAccountError::Refused(_));
                        let wait = if refused { NEXT_DAY } else { NEXT_HOUR };
                        tracing::warn!(target: "portcullis", account = %id, after = ?wait, error = ?ErrorChain(&error).to_string(), "a closed account could not be erased; maintenance will try again");
                        let until = now.plus(wait);
                        db.retry(|| closing_store::postpone(&executor, *id, until)).await?;
                    }
                }
            }
            if (ids.len() as u64) < BATCH {
                return Ok(());
            }
            self.pause().await?;
        }
    }

    /// Removes batches until one is not full.
    async fn batches<F: Future<Output = Result<u64, DbErr>>>(
        &self,
        db: &Db<'_>,
        count: &mut u64,
        batch: impl Fn() -> F,
    ) -> Result<(), Stopped> {
        loop {
            let removed = db.retry(&batch).await?;
            *count += removed;
            if removed < BATCH {
                return Ok(());
            }
            self.pause().await?;
        }
    }

    /// Goes through the session data, and removes what has no session any more.
    async fn session_data(
        &self,
        db: &Db<'_>,
        before: Timestamp,
        count: &mut u64,
    ) -> Result<(), Stopped> {
        let executor = db.executor();
        let mut after = LineageId::FIRST;
        loop {
            let look = || session_data_store::purge(&executor, before, after, BATCH);
            let looked = db.retry(look).await?;
            *count += looked.removed;
            let Some(next) = looked.next else { return Ok(()) };
            after = next;
            self.pause().await?;
        }
    }

    /// Extends the lease if it was last extended some time ago.
    async fn extend(&self, extended_at: &mut Timestamp) -> Result<(), Stopped> {
        let now = self.auth.context().now();
        if now.since(*extended_at) < EXTEND_EVERY {
            return Ok(());
        }
        *extended_at = now;
        match self.auth.keep_upkeep(self.lease).await? {
            true => Ok(()),
            false => Err(Stopped::Overtaken),
        }
    }

    async fn pause(&self) -> Result<(), Stopped> {
        if !self.auth.keep_upkeep(self.lease).await? {
            return Err(Stopped::Overtaken);
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// Removes accounts that nobody proved, one by one, because a table of the application may
    /// prevent the removal of one.
    async fn accounts(
        &self,
        db: &Db<'_>,
        before: Timestamp,
        now: Timestamp,
        count: &mut u64,
    ) -> Result<(), Stopped> {
        let executor = db.executor();
        let mut extended_at = now;
        loop {
            let ids = db.read(account_store::on_trial(&executor, before, BATCH)).await?;
            for id in &ids {
                self.extend(&mut extended_at).await?;
                let event =
                    Event::new(EventKind::AccountRemoved, now).account(*id).detail("never proved");
                // Tells whether the event is being written. If that fails, the account itself was
                // not refused.
                let mut noting = false;
                let removed = transaction!(*db, |txn| {
                    noting = false;
                    let removed = account_store::remove_unproved(txn, *id).await?;
                    if removed {
                        noting = true;
                        audit_log::record(txn, &event).await?;
                        noting = false;
                    } else {
                        // The account was proved or used since, so it stays.
                        account_store::end_trial(txn, *id).await?;
                    }
                    Ok::<_, Fault>(removed)
                });
                match removed {
                    Ok(true) => {
                        *count += 1;
                    }
                    Ok(false) => {}
                    // Otherwise it would be the first one of every later run, and no account after
                    // it would be removed.
                    Err(fault) if !noting && fault.is_refusal() => {
                        tracing::warn!(target: "portcullis", account = %id, error = ?ErrorChain(&fault).to_string(), "an unverified account was kept: the database refuses to delete it; a table of the application that points to it needs ON DELETE CASCADE");
                        db.retry(|| account_store::end_trial(&executor, *id)).await?;
                    }
                    Err(fault) => return Err(fault.into()),
                }
            }
            if (ids.len() as u64) < BATCH {
                return Ok(());
            }
            self.pause().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Fault, repeat};

    /// Returns when the runs of the first hours began, in seconds. `true` in `failed` stands for a
    /// failed run.
    async fn began(period: Duration, failed: &[bool]) -> Vec<u64> {
        let (start, times) = (Instant::now(), Mutex::new(Vec::new()));
        let run = || {
            let mut times = times.lock().expect("nothing panics");
            let fails = failed.get(times.len()).copied().unwrap_or_default();
            times.push(start.elapsed().as_secs());
            async move {
                if fails { Err(Fault::Internal("the database is away".into())) } else { Ok(()) }
            }
        };
        let hours = Duration::from_secs(2 * 60 * 60 + 30 * 60);
        tokio::time::timeout(hours, repeat(period, run)).await.expect_err("it never ends");
        times.into_inner().expect("nothing panics")
    }

    #[tokio::test(start_paused = true)]
    async fn it_runs_at_once_and_each_period_and_a_minute_after_a_failure() {
        let hour = Duration::from_secs(60 * 60);
        assert_eq!(began(hour, &[]).await, [0, 3600, 7200]);
        let failed = [true, true, false, true];
        assert_eq!(began(hour, &failed).await, [0, 60, 120, 3720, 3780, 7380]);
        // It never waits longer than a period, and there is always a pause.
        let half = Duration::from_secs(30);
        assert_eq!(began(half, &failed).await[..6], [0, 30, 60, 90, 120, 150]);
        assert_eq!(began(Duration::ZERO, &failed).await[..6], [0, 1, 2, 3, 4, 5]);
    }
}
