//! The audit log: what happened, stored in the transaction in which it happened.
//!
//! # How it works
//!
//! 1. Every flow writes one typed event into `auth_event`, in the transaction of its change. So
//!    neither a change nor its event exists without the other.
//! 2. After the commit, the event is also written to `tracing` and counted.
//! 3. Rotations and denials are frequent and change nothing, so they go to `tracing` instead.
//!    Denials are also counted here, with at most one row per account, rule and minute.
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
//!
//! # What it does not do
//!
//! - It stores no secrets, no codes and no free text of a client. The columns contain ids, a time,
//!   a source and a short word.
//! - It has no routes. Your own handlers call [`of_account`](AuditLog::of_account) and
//!   [`denials_of`](AuditLog::denials_of), and check the permissions.
//!
//! The module is below the flows, because they all write to it.
//!
//! # Configuration
//!
//! [`retention.events`](crate::config::RetentionConfig::events) (default: 180 days) and
//! [`retention.denials`](crate::config::RetentionConfig::denials) (default: 30 days).
//!
//! # Standard
//!
//! The names of the events follow the OWASP logging vocabulary where it has one:
//! [`EventKind`](crate::EventKind).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use crate::base::clock::Timestamp;
use crate::base::event::{DENIED, Event, count};
use crate::base::id::{AccountId, EventId, SessionId};
use crate::base::transaction::{Commit, Fault, Txn, transaction};
use crate::context::Context;
use crate::handle::{PerInstance, Portcullis};

pub(crate) mod entity;

/// Writes an event, in the transaction of the change that it describes. After the commit it is
/// traced and counted.
pub(crate) async fn record(txn: &Txn<'_>, event: &Event) -> Result<(), DbErr> {
    entity::event::Entity::insert(row(event)).exec_without_returning(txn).await?;
    tell(txn, event);
    Ok(())
}

/// Writes several events that belong together, at least one.
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

/// Returns at most `length` characters.
fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

/// An event as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedEvent {
    /// The time of the event.
    pub at: Timestamp,
    /// The name of its kind, see [`EventKind`](crate::EventKind).
    pub kind: String,
    /// The account that the event is about.
    pub account_id: Option<AccountId>,
    /// The session that the event is about or came from.
    pub session_id: Option<SessionId>,
    /// The client's address.
    pub address: Option<String>,
    /// True if the action succeeded.
    pub succeeded: bool,
    /// A short word with more detail.
    pub detail: Option<String>,
}

/// Reads the audit log.
#[derive(Debug, Clone, Copy)]
pub struct AuditLog<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the audit log.
    pub fn audit_log(&self) -> AuditLog<'_> {
        AuditLog { auth: self }
    }

    /// Counts a denial. The request does not wait for it.
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
    /// Returns the latest events of an account, the newest first.
    ///
    /// # Errors
    /// The infrastructure failed.
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

    /// Returns how often each rule denied this account, with one entry per rule and minute. The
    /// newest minute comes first. There are at most 1 000 entries. Denials that are still counted
    /// in memory are missing.
    ///
    /// # Errors
    /// The infrastructure failed.
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

    /// Writes the denials that are still only counted in memory. Call it before the process stops.
    pub async fn flush(&self) {
        let due = self.auth.per_instance::<Denials>().drain();
        self.auth.write_denials(due).await;
    }
}

/// Removes the sources and details of at most `most` events of an account. Returns how many.
pub(crate) async fn clear_sources<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    most: u64,
) -> Result<u64, DbErr> {
    use entity::event::Column;

    let left = Condition::any()
        .add(Column::Address.is_not_null())
        .add(Column::SessionId.is_not_null())
        .add(Column::Detail.is_not_null());
    let ids: Vec<EventId> = entity::event::Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::AccountId.eq(account))
        .filter(left)
        .limit(most)
        .into_tuple()
        .all(db)
        .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    let none = || Expr::value(None::<String>);
    let cleared = entity::event::Entity::update_many()
        .col_expr(Column::Address, none())
        .col_expr(Column::SessionId, Expr::value(None::<uuid::Uuid>))
        .col_expr(Column::Detail, none())
        .filter(Column::Id.is_in(ids));
    Ok(cleared.exec(db).await?.rows_affected)
}

/// Removes at most `most` of the oldest events from before a time. Returns how many.
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

/// Removes about `most` of the oldest counts of denials from before a time. It removes whole
/// minutes, so the number may differ. Returns how many.
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

/// How many pairs of account and rule are counted in memory. With more pairs, all counts are
/// written at once.
const MAX_COUNTED: usize = 10_000;

/// The denials of the current minute. The first one of a minute is written at once, so that an
/// operator sees it. Its repetitions are added when the minute has ended. So a client that sends
/// requests in a loop cannot fill the table.
struct Denials(Mutex<HashMap<(AccountId, String), (i64, i64)>>);

impl PerInstance for Denials {
    fn open(_: &Context) -> Self {
        Self(Mutex::default())
    }
}

impl Denials {
    /// Counts one denial and returns the counts that must be written now.
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
        // A new minute, or a new pair of account and rule: write all counts of earlier minutes.
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
