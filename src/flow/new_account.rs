//! Accounts that strangers create: what a registration shares with a sign-in by mail.

use sea_orm::DbErr;

use crate::account::{Account, Email, store as account_store};
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::transaction::Txn;
use crate::handle::Portcullis;
use crate::hook::{Hooked, NamesBefore, NamesChange};
use crate::rate_limit::RateLimited;

/// Counts a registration for its source, before anything is hashed or looked up. So the answer
/// depends only on the source.
pub(crate) async fn count(auth: &Portcullis, client: &ClientInfo) -> Result<(), RateLimited> {
    match auth.context().config.rate.registrations {
        Some(quota) => auth.rate_limits().source("registrations", client.address(), quota).await,
        None => Ok(()),
    }
}

/// Removes an address from an account that has no claim to it, for a new account that proves it or
/// will be asked to. Returns false if there is no such account.
pub(crate) async fn free<E>(
    auth: &Portcullis,
    txn: &Txn<'_>,
    email: &Email,
    client: &ClientInfo,
    now: Timestamp,
) -> Result<bool, E>
where
    E: From<DbErr> + From<Hooked>,
{
    let holder = account_store::find_by_name(txn, email.normal()).await?;
    let no_claim = |row: &_| Account::from(Clone::clone(row)).has_no_claim(now);
    let Some(holder) = holder.filter(no_claim) else { return Ok(false) };
    let names = NamesBefore::read(auth, txn, holder.id).await?;
    let freed = account_store::evict(txn, &holder, email.normal()).await?;
    names.changed(txn, NamesChange::lost(auth, client, now)).await?;
    Ok(freed)
}
