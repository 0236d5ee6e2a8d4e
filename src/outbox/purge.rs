//! Removes messages that are finished.

use std::time::Duration;

use super::store;
use crate::base::transaction::Fault;
use crate::context::Context;

/// The number of rows that one statement removes.
const BATCH: u64 = 500;

/// The time in which messages to one recipient are counted.
pub(crate) const WINDOW: Duration = Duration::from_secs(60 * 60);

/// Removes finished messages older than `mail.keep`, and counts that have expired.
pub(super) async fn purge(context: &Context) -> Result<u64, Fault> {
    let db = context.db();
    let now = context.now();
    let mut removed = 0;
    loop {
        let executor = db.executor();
        let old = now.minus(context.config.mail.keep);
        let over = now.minus(WINDOW.max(context.config.mail.cool_down));
        let messages = db.retry(|| store::purge(&executor, old, BATCH)).await?;
        let limits = db.retry(|| store::purge_limits(&executor, over, BATCH)).await?;
        removed += messages + limits;
        if messages < BATCH && limits < BATCH {
            return Ok(removed);
        }
    }
}
