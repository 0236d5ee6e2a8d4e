//! Undoing the set-up of a second factor, with the link in its notice.

use super::SecondFactor;
use crate::account::closing::reopen_and_end_sessions;
use crate::account::{enrolled, store as account_store};
use crate::api_key;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::event::{Event, EventKind};
use crate::base::problem::problem;
use crate::base::transaction::{Fault, may_fault, transaction};
use crate::flow::address::{Undoing, link_error};
use crate::flow::factor_undo;
use crate::identity::enrolment::requires_factor;
use crate::identity::resolver::Resolver;
use crate::one_time;
use crate::outstanding::Kind;

/// The reason why nothing was undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactorUndoError {
    /// The link is wrong or no longer valid: expired, used, or sent to an address that the account does
    /// not have any more. Or a role of the account requires a factor.
    #[error("the link is wrong or no longer valid")]
    WrongCode,
    /// This browser has used the link a moment ago, and it worked.
    #[error("this link was just used, and it worked")]
    UsedJustNow,
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(FactorUndoError);
link_error!(FactorUndoError);

problem! {
    FactorUndoError {
        Self::WrongCode => FORBIDDEN, "wrong_code";
        Self::UsedJustNow => CONFLICT, "link_used";
    }
    passes on { Fault }
}

impl SecondFactor<'_> {
    /// Removes a second factor, with the token in the notice of its set-up, and all that were set up after
    /// it. All sessions, codes and links of the account end. No session is needed.
    ///
    /// # Errors
    /// See [`FactorUndoError`]. After an error nothing is changed.
    pub async fn undo(&self, token: &str, client: &ClientInfo) -> Result<(), FactorUndoError> {
        let context = self.auth.context();
        let (kind, now) = (&Kind::FactorUndo, context.now());
        let undoing = Undoing { context, kind, token, client, now };
        let challenge = undoing.find::<FactorUndoError>().await?;
        let id = challenge.account_id().ok_or(FactorUndoError::WrongCode)?;
        let event = Event::new(EventKind::AccountUpdated, now).account(id).from_client(client);
        let event = event.detail("factor undone");
        // A role may have been granted since the link was sent. A mailbox is then not enough any more.
        if context.config.factor.prove_mailbox {
            let found = self.auth.per_instance::<Resolver>().account(context, id).await?;
            if found.is_some_and(|(account, grants)| {
                requires_factor(context, account.is_superuser(), &grants)
            }) {
                return Err(FactorUndoError::WrongCode);
            }
        }
        let done = transaction!(context.db(), |txn| {
            let spent = challenge.spend_from(txn, context, client, now).await?;
            if !spent || !reopen_and_end_sessions(txn, id, client, now).await? {
                return Err(FactorUndoError::WrongCode);
            }
            let row = account_store::find(txn, id).await?.ok_or(FactorUndoError::WrongCode)?;
            let since = factor_undo::since(context, &challenge, &row);
            let since = since.ok_or(FactorUndoError::WrongCode)?;
            enrolled::removed_since(txn, context, id, since).await?;
            one_time::end_of_account(txn, id, None, now).await?;
            // The person who made the change may have made a key too.
            api_key::end_all(txn, id, "change undone", now).await?;
            audit_log::record(txn, &event).await?;
            Ok(())
        });
        undoing.end(done).await
    }
}
