//! Mails about API keys.

use crate::account::store as account_store;
use crate::api_key::entity::Model;
use crate::api_key::store;
use crate::base::clock::Timestamp;
use crate::base::transaction::{Fault, transaction};
use crate::handle::Portcullis;
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::{self, Outgoing};

/// Returns a notice about a key, without its values.
pub(super) fn of(kind: MessageKind, email: Option<&str>, row: &Model) -> Outgoing {
    Outgoing::new(kind, email.and_then(Recipient::email)).account(row.account_id)
}

/// Tells the owners of up to `batch` keys that they end soon. Returns how many were looked at.
pub(crate) async fn tell_of_ends(
    auth: &Portcullis,
    now: Timestamp,
    batch: u64,
) -> Result<u64, Fault> {
    let context = auth.context();
    let config = &context.config.api_key;
    let Some(notice) = config.notice.filter(|_| config.prefix.is_some()) else { return Ok(0) };
    let db = context.db();
    let rows = db.read(store::ending_soon(&db.executor(), now, now.plus(notice), batch)).await?;
    for row in &rows {
        let days = row.expires_at.since(now).as_secs().div_ceil(24 * 60 * 60);
        let values = Values::new().with("name", &row.name).with("days", days);
        transaction!(db, |txn| {
            // Of two nodes, only one tells.
            if !store::mark_told(txn, row.id, now).await? {
                return Ok(());
            }
            let account = account_store::find(txn, row.account_id).await?;
            // A key that was made for a shorter time than this needs no reminder.
            let short = row.expires_at.since(row.created_at) <= notice;
            if let Some(account) = account.filter(|account| account.deleted_at.is_none() && !short)
            {
                let message = of(MessageKind::ApiKeyExpires, account.email.as_deref(), row);
                outbox::put(txn, context, &message.values(values.clone())).await?;
            }
            Ok::<_, Fault>(())
        })?;
    }
    Ok(rows.len() as u64)
}
