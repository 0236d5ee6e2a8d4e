//! Removing the records of attempts.

use std::time::Duration;

use super::subject::SubjectKey;
use super::{Attempts, store};
use crate::account::{LoginId, store as account_store, trim_login_id};
use crate::audit_log;
use crate::base::event::{Event, EventKind};
use crate::base::id::AccountId;
use crate::base::transaction::{Fault, transaction};
use crate::config::AttemptKind;

/// About how many rows one statement of a purge removes.
const PURGE_BATCH: u64 = 1000;

/// Selects records of attempts to remove. All conditions must be met.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Purge {
    kind: Option<AttemptKind>,
    account: Option<AccountId>,
    login: Option<String>,
    older_than: Option<Duration>,
}

impl Purge {
    /// Selects all records.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects only records of this kind.
    pub fn kind(mut self, kind: AttemptKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Selects only records about this account, with any of its names.
    pub fn account(mut self, id: AccountId) -> Self {
        self.account = Some(id);
        self
    }

    /// Selects only records about this name: of the account that has it, with any of its names, and
    /// of the name while it had no account.
    pub fn login(mut self, login: impl Into<String>) -> Self {
        self.login = Some(login.into());
        self
    }

    /// Selects only records that are at least this old.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }
}

impl Attempts<'_> {
    /// Removes records of attempts, and with them the locks that they caused. Works in batches of
    /// about a thousand rows. Returns how many records were removed.
    ///
    /// # Errors
    /// The infrastructure failed. Records that were removed before stay removed.
    pub async fn purge(&self, purge: Purge) -> Result<u64, Fault> {
        let context = self.auth.context();
        let db = context.db();
        let executor = db.executor();
        let now = context.now();
        let mut account = purge.account;
        let mut subjects: Option<Vec<[u8; 32]>> = None;
        let key = self.auth.per_instance::<SubjectKey>();
        if let Some(id) = purge.account {
            subjects = Some(self.subjects_of(id).await?);
        }
        if let Some(login) = &purge.login {
            let parsed = LoginId::parse(login);
            let normal = parsed.as_ref().map_or_else(|_| trim_login_id(login), LoginId::normal);
            let row = db.read(account_store::find_by_name(&executor, normal)).await?;
            let mut named = vec![key.name(normal), key.typed(normal)];
            if let Some(row) = row {
                account = account.or(Some(row.id));
                named.extend(self.subjects_of(row.id).await?);
            }
            subjects = Some(match subjects {
                // Both conditions must be met.
                Some(given) => given.into_iter().filter(|one| named.contains(one)).collect(),
                None => named,
            });
        }
        let which = store::Which {
            subjects,
            kind: purge.kind.map(AttemptKind::number),
            until: purge.older_than.map(|age| now.minus(age)),
        };
        let mut removed = 0;
        loop {
            let end = db.read(store::end_of_batch(&executor, &which, PURGE_BATCH)).await?;
            let batch = match end {
                Some(until) => store::Which { until: Some(until), ..which.clone() },
                None => which.clone(),
            };
            removed += db.retry(|| store::remove(&executor, &batch)).await?;
            if end.is_none() {
                break;
            }
        }
        if removed > 0 {
            let mut event = Event::new(EventKind::AttemptsPurged, now).detail(removed.to_string());
            event.account_id = account;
            transaction!(db, |txn| {
                audit_log::record(txn, &event).await?;
                Ok::<_, Fault>(())
            })?;
        }
        Ok(removed)
    }
}
