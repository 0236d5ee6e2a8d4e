//! Limits how often a source may find out that a name is taken. Each such answer tells a stranger
//! that an account exists.
//!
//! Registration answers at once that a name is taken. In the strict mode it does so only for
//! usernames. Adding a further username does so too. Each such answer is an event, and counts for
//! its source.
//!
//! A source with too many of them is refused before a name is looked up. So the refusal is the same
//! for taken and free names. Signing in is not affected.

use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::event::Event;
use crate::base::transaction::{Fault, transaction};
use crate::handle::Portcullis;
use crate::rate_limit::{RateLimited, Reserved};

/// A check whether a name is free. If it is dropped, the name was free and nothing is counted.
pub(crate) struct NameProbe<'a> {
    auth: &'a Portcullis,
    reserved: Option<Reserved>,
}

impl<'a> NameProbe<'a> {
    /// Starts a check. Call it before the name is looked up.
    ///
    /// # Errors
    /// [`RateLimited`] if the source has found too many taken names.
    pub(crate) fn begin(auth: &'a Portcullis, client: &ClientInfo) -> Result<Self, RateLimited> {
        let quota = auth.context().config.rate.taken_names;
        let reserve = |quota| auth.rate_limits().reserve("taken_names", client.address(), quota);
        Ok(Self { auth, reserved: quota.map(reserve).transpose()? })
    }

    /// Counts and records that the name was taken.
    ///
    /// # Errors
    /// The infrastructure failed.
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
