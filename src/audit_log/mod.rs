//! The audit log: what happened, kept in the transaction in which it happened.
//!
//! Every flow writes one typed event into `auth_event` in the transaction of its change: if the
//! change is rolled back there is no event, and there is no change without its event. The columns
//! hold ids, a time, a source and a short word; no secrets, codes or free text of a client's.
//! Rotations and denials are frequent and change nothing, so they go to `tracing`; denials are
//! also counted here, at most one row per account, rule and minute.
//!
//! It sits below the flows because they all write to it.
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, id: portcullis::AccountId)
//! # -> Result<(), portcullis::Fault> {
//! for event in auth.audit_log().of_account(id, 20).await? {
//!     println!("{} {}", event.at, event.kind);
//! }
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use crate::base::clock::Timestamp;
use crate::base::event::{DENIED, Event, count};
use crate::base::id::{AccountId, EventId, SessionId};
use crate::base::transaction::{Commit, Fault, Txn, transaction};
use crate::context::Context;
use crate::handle::{PerInstance, Portcullis};

pub(crate) mod entity;

/// Writes an event, in the transaction of the change it tells of. It is traced and counted when that has
/// committed.
pub(crate) async fn record(txn: &Txn<'_>, event: &Event) -> Result<(), DbErr> {
    entity::event::Entity::insert(row(event)).exec_without_returning(txn).await?;
    tell(txn, event);
    Ok(())
}

/// The same for events that belong together. At least one.
pub(crate) async fn record_all(txn: &Txn<'_>, events: &[Event]) -> Result<(), DbErr> {
    let rows = events.iter().map(row);
    entity::event::Entity::insert_many(rows).exec_without_returning(txn).await?;
    events.iter().for_each(|event| tell(txn, event));
    Ok(())
}

fn tell(txn: &Txn<'_>, event: &Event) {
    let event = event.clone();
    txn.after_commit(move |commit| match commit {
        Commit::Done => event.trace(),
        Commit::Unknown => event.trace_uncommitted(),
    });
}

fn row(event: &Event) -> entity::event::ActiveModel {
    entity::event::ActiveModel {
        id: Set(EventId::new(event.at)),
        at: Set(event.at),
        kind: Set(event.kind.as_str().to_owned()),
        account_id: Set(event.account_id),
        session_id: Set(event.session_id),
        address: Set(event.address.map(|address| address.to_string())),
        succeeded: Set(event.succeeded),
        detail: Set(event.detail.as_deref().map(|detail| cut(detail, 255))),
    }
}

/// At most `length` characters.
fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

/// An event as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedEvent {
    /// When it happened.
    pub at: Timestamp,
    /// The name of its kind, see [`EventKind`](crate::EventKind).
    pub kind: String,
    /// Whose account it is about.
    pub account_id: Option<AccountId>,
    /// Which session.
    pub session_id: Option<SessionId>,
    /// Where it came from.
    pub address: Option<String>,
    /// Whether it went through.
    pub succeeded: bool,
    /// A short word that tells more.
    pub detail: Option<String>,
}

/// Reads the audit log.
#[derive(Debug, Clone, Copy)]
pub struct AuditLog<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// The audit log.
    pub fn audit_log(&self) -> AuditLog<'_> {
        AuditLog { auth: self }
    }

    /// Counts a denial without making the request wait for it.
    pub(crate) fn note_denial(&self, account: AccountId, rule: &str) {
        let now = self.context().now();
        tracing::info!(
            target: "portcullis::event",
            event = DENIED,
            account = %account,
            rule = ?rule,
        );
        count(DENIED);
        let minute = now.as_millis().div_euclid(60_000);
        let due = self.per_instance::<Denials>().count(account, rule, minute);
        if due.is_empty() {
            return;
        }
        let auth = self.clone();
        self.context().database.beside(async move { auth.write_denials(due).await });
    }

    async fn write_denials(&self, due: Vec<Denial>) {
        for denial in due {
            let result = transaction!(self.context().db(), |txn| {
                add_denials(txn, &denial).await.map_err(Fault::from)
            });
            if let Err(error) = result {
                tracing::warn!(target: "portcullis", error = ?error.to_string(), "denials could not be counted");
            }
        }
    }
}

impl AuditLog<'_> {
    /// The latest events of an account, newest first.
    ///
    /// # Errors
    /// An outage.
    pub async fn of_account(
        &self,
        account: AccountId,
        limit: u64,
    ) -> Result<Vec<RecordedEvent>, Fault> {
        let db = self.auth.context().db();
        let executor = db.executor();
        let query = entity::event::Entity::find()
            .filter(entity::event::Column::AccountId.eq(account))
            .order_by_desc(entity::event::Column::At)
            .order_by_desc(entity::event::Column::Id)
            .limit(limit)
            .all(&executor);
        let rows = db.read(query).await?;
        Ok(rows
            .into_iter()
            .map(|row| RecordedEvent {
                at: row.at,
                kind: row.kind,
                account_id: row.account_id,
                session_id: row.session_id,
                address: row.address,
                succeeded: row.succeeded,
                detail: row.detail,
            })
            .collect())
    }

    /// How often each rule denied this account, one count a minute, as far as it is written: the newest
    /// first, at most 1 000.
    ///
    /// # Errors
    /// An outage.
    pub async fn denials_of(&self, account: AccountId) -> Result<Vec<(String, i64)>, Fault> {
        let db = self.auth.context().db();
        let executor = db.executor();
        let query = entity::denial::Entity::find()
            .filter(entity::denial::Column::AccountId.eq(account))
            .order_by_desc(entity::denial::Column::Minute)
            .order_by_asc(entity::denial::Column::Rule)
            .limit(1000)
            .all(&executor);
        Ok(db.read(query).await?.into_iter().map(|row| (row.rule, row.count)).collect())
    }

    /// Writes the denials that are still only counted in memory; call it before stopping.
    pub async fn flush(&self) {
        let due = self.auth.per_instance::<Denials>().drain();
        self.auth.write_denials(due).await;
    }
}

/// Removes at most `most` of the oldest events from before a time. Says how many.
pub(crate) async fn purge_events<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    let ids: Vec<EventId> = entity::event::Entity::find()
        .select_only()
        .column(entity::event::Column::Id)
        .filter(entity::event::Column::At.lt(before))
        .order_by_asc(entity::event::Column::At)
        .limit(most)
        .into_tuple()
        .all(db)
        .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    let which = entity::event::Column::Id.is_in(ids);
    Ok(entity::event::Entity::delete_many().filter(which).exec(db).await?.rows_affected)
}

/// Removes about `most` of the oldest counts of denials from before a time: those of whole minutes.
/// Says how many.
pub(crate) async fn purge_denials<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    let before = before.as_millis().div_euclid(60_000);
    let last: Option<i64> = entity::denial::Entity::find()
        .select_only()
        .column(entity::denial::Column::Minute)
        .filter(entity::denial::Column::Minute.lt(before))
        .order_by_asc(entity::denial::Column::Minute)
        .offset(most - 1)
        .limit(1)
        .into_tuple()
        .one(db)
        .await?;
    let which = match last {
        Some(minute) => entity::denial::Column::Minute.lte(minute),
        None => entity::denial::Column::Minute.lt(before),
    };
    Ok(entity::denial::Entity::delete_many().filter(which).exec(db).await?.rows_affected)
}

#[derive(Debug)]
struct Denial {
    account: AccountId,
    rule: String,
    minute: i64,
    count: i64,
}

async fn add_denials<C: ConnectionTrait>(db: &C, denial: &Denial) -> Result<(), DbErr> {
    let row = entity::denial::ActiveModel {
        account_id: Set(denial.account),
        rule: Set(denial.rule.clone()),
        minute: Set(denial.minute),
        count: Set(denial.count),
    };
    let add = Expr::col((entity::denial::Entity, entity::denial::Column::Count)).add(denial.count);
    entity::denial::Entity::insert(row)
        .on_conflict(
            OnConflict::columns([
                entity::denial::Column::AccountId,
                entity::denial::Column::Rule,
                entity::denial::Column::Minute,
            ])
            .value(entity::denial::Column::Count, add)
            .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// How many (account, rule) pairs are counted in memory; beyond that the rest is written at once.
const MAX_COUNTED: usize = 10_000;

/// Denials of the current minute. The first of a minute is written at once, so that an operator
/// sees it; its repetitions are added when the minute is over.
struct Denials(Mutex<HashMap<(AccountId, String), (i64, i64)>>);

impl PerInstance for Denials {
    fn open(_: &Context) -> Self {
        Self(Mutex::default())
    }
}

impl Denials {
    /// Counts one and returns what is to be written now.
    fn count(&self, account: AccountId, rule: &str, minute: i64) -> Vec<Denial> {
        let rule = cut(rule, 255);
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        if let Some((known, count)) = counted.get_mut(&(account, rule.clone()))
            && *known == minute
        {
            *count += 1;
            return due;
        }
        // A new minute for somebody: what is over can be written, all of it.
        let over = counted.len() >= MAX_COUNTED;
        counted.retain(|(account, rule), (known, count)| {
            let keep = *known == minute && !over;
            if !keep && *count > 0 {
                due.push(Denial {
                    account: *account,
                    rule: rule.clone(),
                    minute: *known,
                    count: *count,
                });
            }
            keep
        });
        counted.insert((account, rule.clone()), (minute, 0));
        due.push(Denial { account, rule, minute, count: 1 });
        due
    }

    fn drain(&self) -> Vec<Denial> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted
            .iter_mut()
            .filter(|(_, (_, count))| *count > 0)
            .map(|((account, rule), (minute, count))| Denial {
                account: *account,
                rule: rule.clone(),
                minute: *minute,
                count: std::mem::take(count),
            })
            .collect()
    }
}
