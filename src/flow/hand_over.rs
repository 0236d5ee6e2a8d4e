//! The first proof of an address of an account.
//!
//! Anyone can create an account with the address of another person. So there are two cases.
//! [`prove`] is for a person who certainly created the account: everything is kept. In all other
//! cases, [`HandOver`] gives the account to the owner of the mailbox. It deletes what was set
//! before, so that the creator loses all access.

use sea_orm::{ConnectionTrait, DbErr};

use crate::account::enrolled::{remove_factors, store::forget_trusted_devices};
use crate::account::entity::account;
use crate::account::store::{self as account_store, Claimed};
use crate::api_key;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::transaction::{Fault, MaybeFault, Txn, is_unique_violation};
use crate::handle::Portcullis;
use crate::hook::{Hooked, NamesBefore, NamesCause, NamesChange};
use crate::one_time;
use crate::session::store::lock_account;

/// The hand-over of an account to the person who proved its address.
pub(crate) struct HandOver<'a> {
    pub(crate) auth: &'a Portcullis,
    pub(crate) row: &'a account::Model,
    /// The normal form of the address.
    pub(crate) normal: &'a str,
    pub(crate) client: &'a ClientInfo,
    pub(crate) now: Timestamp,
    /// True if the new owner must set a password. False if they can sign in another way.
    pub(crate) new_password: bool,
}

impl HandOver<'_> {
    /// Deletes the password, sessions, factors, identities at providers, other addresses, codes, links and API keys of the account,
    /// and marks the address as proved. Returns the new epoch of the account.
    ///
    /// Returns `None` if the account was verified in the meantime, is no longer usable, or no
    /// longer has the address. Then the caller must roll back.
    pub(crate) async fn run<E>(&self, txn: &Txn<'_>) -> Result<Option<i64>, E>
    where
        E: From<DbErr> + From<Hooked>,
    {
        let Self { auth, row, normal, client, now, new_password } = *self;
        // Before the first read: on MySQL, that fixes which state later reads see.
        lock_account(txn, row.id).await?;
        let before = NamesBefore::read(auth, txn, row.id).await?;
        if !account_store::hand_over(txn, row, normal, new_password, now).await? {
            return Ok(None);
        }
        remove_factors(txn, auth.context(), row).await?;
        forget_trusted_devices(txn, row.id).await?;
        if prove(txn, row, normal, now).await?.is_none() {
            return Ok(None);
        }
        let cause = NamesCause::Proved;
        let change = NamesChange { auth, cause, session_id: None, client, at: now };
        before.changed(txn, change).await?;
        one_time::end_of_account(txn, row.id, None, now).await?;
        api_key::end_all(txn, row.id, "handed over", now).await?;
        let event = Event::new(EventKind::AddressVerified, now).account(row.id);
        audit_log::record(txn, &event.from_client(client).detail("handed over")).await?;
        Ok(account_store::epoch_of(txn, row.id).await?)
    }
}

/// Records that an address is proved. Then claims the username that waited for this proof. Returns
/// `None` if the account no longer has the address, or proved it before.
pub(crate) async fn prove<C: ConnectionTrait>(
    txn: &C,
    row: &account::Model,
    normal: &str,
    now: Timestamp,
) -> Result<Option<Claimed>, DbErr> {
    if !account_store::verify_name(txn, row, normal, now).await? {
        return Ok(None);
    }
    account_store::verify(txn, row.id, now).await?;
    let claimed = account_store::claim_username(txn, row, now).await?;
    if claimed == Claimed::Taken {
        account_store::drop_username(txn, row.id).await?;
    }
    Ok(Some(claimed))
}

/// Repeats a transaction with a proof once if another request took the username at the same moment.
/// The second run sees that the username is taken.
pub(crate) async fn claiming<T, E: MaybeFault, F>(
    row: &account::Model,
    attempt: impl Fn() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    match attempt().await {
        Err(error) if row.username.is_some() && is_taken(&error) => attempt().await,
        other => other,
    }
}

fn is_taken(error: &impl MaybeFault) -> bool {
    matches!(error.fault(), Some(Fault::Database(error)) if is_unique_violation(error))
}
