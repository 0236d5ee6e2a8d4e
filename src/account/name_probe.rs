//! Names that are found taken: an answer that tells a stranger who has an account.
//!
//! Registration says at once that a name is taken, in the strict mode a username; so does a further
//! username. Each time is an event, and counts for its source. A source that has found too many is
//! refused before a name is looked up, whether or not it is taken. Signing in is another matter and
//! goes on.

use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::event::Event;
use crate::base::transaction::{Fault, transaction};
use crate::handle::Portcullis;
use crate::rate_limit::{RateLimited, Reserved};

/// A question whether a name is free. Dropped, it has found a free one and counts for nothing.
pub(crate) struct NameProbe<'a> {
    auth: &'a Portcullis,
    reserved: Option<Reserved>,
}

impl<'a> NameProbe<'a> {
    /// Call it before a name is looked up.
    ///
    /// # Errors
    /// [`RateLimited`]: the source has found too many names taken.
    pub(crate) fn begin(auth: &'a Portcullis, client: &ClientInfo) -> Result<Self, RateLimited> {
        let quota = auth.context().config.rate.taken_names;
        let reserve = |quota| auth.rate_limits().reserve("taken_names", client.address(), quota);
        Ok(Self { auth, reserved: quota.map(reserve).transpose()? })
    }

    /// The name was taken.
    ///
    /// # Errors
    /// An outage.
    pub(crate) async fn found_taken(self, event: Event) -> Result<(), Fault> {
        let context = self.auth.context();
        if let Some(reserved) = self.reserved {
            reserved.keep(context).await;
        }
        transaction!(context.db(), |txn| {
            audit_log::record(txn, &event).await?;
            Ok::<_, Fault>(())
        })?;
        Ok(())
    }
}
