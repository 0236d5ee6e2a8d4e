//! The columns of an account that is closed or erased.
//!
//! - A closed account has `deleted_at`, so everything that refuses a deleted account refuses it too.
//!   It also has `erase_at`: until then it can be reopened.
//! - An erased account has `erased_at`, and no `erase_at`.
//! - `sweep_at` is when maintenance looks at either of them next. It is later than `erase_at` if the
//!   account could not be erased then.
//!
//! The flows are in [`own_account`](crate::own_account), because erasing touches the tables of many
//! modules. Links that undo a change of an address reopen an account too. Otherwise a thief could
//! change the address and close the account, and the owner would lose this link.

use sea_orm::DbErr;

use crate::account::store::lock_and_end_sessions;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::AccountId;
use crate::base::transaction::Txn;
use crate::outstanding::{self, Ending, Kind};

pub(crate) mod store;

/// Reopens a closed account, and ends the links that reopen it. Returns false if it is not closed,
/// or if its waiting time is over.
pub(crate) async fn reopen(
    txn: &Txn<'_>,
    id: AccountId,
    client: Option<&ClientInfo>,
    now: Timestamp,
) -> Result<bool, DbErr> {
    if !store::reopen(txn, id, now).await? {
        return Ok(false);
    }
    outstanding::end(txn, id, Ending::Kind(&Kind::AccountKeep), now).await?;
    let mut event = Event::new(EventKind::AccountKept, now).account(id);
    if let Some(client) = client {
        event = event.from_client(client);
    }
    audit_log::record(txn, &event).await?;
    Ok(true)
}

/// Ends the sessions of an account and locks its row, for a link that undoes a change. Reopens a
/// closed account first. Returns false if there is no such account.
pub(crate) async fn reopen_and_end_sessions(
    txn: &Txn<'_>,
    id: AccountId,
    client: &ClientInfo,
    now: Timestamp,
) -> Result<bool, DbErr> {
    reopen(txn, id, Some(client), now).await?;
    lock_and_end_sessions(txn, id).await
}
