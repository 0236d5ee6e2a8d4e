//! Erasing an account.

use std::collections::BTreeSet;
use std::time::Duration;

use sea_orm::DbErr;
use serde_json::Value;

use super::error::OwnAccountError;
use super::store;
use crate::account::closing::store as closing_store;
use crate::account::entity::account;
use crate::account::{Account, Accounts, Email, LoginId, store as account_store, superuser};
use crate::attempt::subjects_about;
use crate::audit_log;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::AccountId;
use crate::base::transaction::{Txn, transaction};
use crate::captcha;
use crate::config::RateStore;
use crate::context::Context;
use crate::handle::Portcullis;
use crate::hook::{EraseCause, ErasingAccount, HookList};
use crate::one_time;
use crate::outbox;
use crate::outstanding::Kind;
use crate::rate_limit;

/// The time between an erasure and a second clean-up. A request that was running during the erasure
/// may have written something. No request takes this long.
const SWEPT_AFTER: Duration = Duration::from_secs(60 * 60);

impl Accounts<'_> {
    /// Erases an account: removes everything that is kept about the person, at once. Only the id is
    /// left, with the times of its creation and its erasure. The [module page](crate::own_account)
    /// lists what is removed.
    ///
    /// The names are free again. An [import](crate::account_import) skips the id and reports it. If
    /// the account is already erased, this removes what was written since, and calls no hooks.
    ///
    /// # Errors
    /// - [`OwnAccountError::NotFound`]: there was never such an account.
    /// - [`OwnAccountError::LastSuperuser`]: nobody else may do everything.
    /// - [`OwnAccountError::Refused`]: a hook refused.
    /// - [`OwnAccountError::Fault`]: the infrastructure failed. Nothing is erased then.
    pub async fn erase(&self, id: AccountId) -> Result<(), OwnAccountError> {
        let (context, now) = (self.context, self.context.now());
        transaction!(self.db, |txn| {
            let locked = superuser::lock(txn, context, id, now).await?;
            let (row, superusers) = locked.ok_or(OwnAccountError::NotFound)?;
            if superusers.is_last(id) {
                return Err(OwnAccountError::LastSuperuser);
            }
            erase(txn, context, row, EraseCause::Requested, now).await
        })
    }
}

/// The result of maintenance for one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swept {
    /// It was erased.
    Erased,
    /// What was written since its erasure was removed.
    Again,
    /// The same. Next, the caller must remove the sources and details of its events.
    Finally,
    /// Nothing was done: the account was reopened, or another node was faster.
    Left,
}

/// Erases an account that is due, or removes what was written since its erasure.
pub(crate) async fn sweep(
    auth: &Portcullis,
    id: AccountId,
    now: Timestamp,
) -> Result<Swept, OwnAccountError> {
    let context = auth.context();
    let sources = context.config.retention.erased_sources;
    transaction!(context.db(), |txn| {
        let row = closing_store::lock(txn, id).await?;
        let Some(row) = row.filter(|row| row.sweep_at.is_some_and(|at| at <= now)) else {
            return Ok(Swept::Left);
        };
        let Some(erased_at) = row.erased_at else {
            erase(txn, context, row, EraseCause::Closed, now).await?;
            return Ok(Swept::Erased);
        };
        let until = erased_at.plus(sources);
        remove(txn, context, &row).await?;
        if until > now {
            closing_store::empty(txn, id, Some(until), now).await?;
            return Ok(Swept::Again);
        }
        // The time stays, so that the next run finds the account if this one is interrupted.
        closing_store::empty(txn, id, row.sweep_at, now).await?;
        Ok(Swept::Finally)
    })
}

/// Erases an account whose row is locked.
async fn erase(
    txn: &Txn<'_>,
    context: &Context,
    row: account::Model,
    cause: EraseCause,
    now: Timestamp,
) -> Result<(), OwnAccountError> {
    let (id, next) = (row.id, Some(now.plus(SWEPT_AFTER)));
    if row.erased_at.is_some() {
        remove(txn, context, &row).await?;
        closing_store::empty(txn, id, next, now).await?;
        return Ok(());
    }
    let auth = Portcullis::of(context);
    let hooks = auth.per_instance::<HookList>();
    let before = Account::from(row.clone());
    let told = ErasingAccount { auth: &auth, account: &before, account_id: id, cause, at: now };
    hooks.before_erase(told, txn).await?;
    remove(txn, context, &row).await?;
    closing_store::empty(txn, id, next, now).await?;
    let event = Event::new(EventKind::AccountErased, now).account(id);
    audit_log::record(txn, &event).await?;
    hooks.after_erase(told, txn).await?;
    Ok(())
}

/// Removes everything about an account from all tables, except its own row and its events.
async fn remove(txn: &Txn<'_>, context: &Context, row: &account::Model) -> Result<(), DbErr> {
    let id = row.id;
    let challenges = store::challenges(txn, id).await?;
    let names = names(txn, row, &challenges).await?;
    let mut lineages = store::lineages(txn, id).await?;
    // The browser that registered the account may have signed in to another account since.
    if let Some(lineage) = row.registered_lineage_id
        && !store::belongs_to_another(txn, lineage, id).await?
    {
        lineages.push(lineage.as_uuid());
    }
    let visitors = store::visitors(txn, &lineages).await?;

    // Rows that were written while the address had no account, or for a stranger who typed it.
    let asked = one_time::traces_of(context, &names);
    let subjects = challenges.into_iter().map(|challenge| challenge.subject);
    let mut subjects: Vec<_> = subjects.chain(asked.subjects.iter().cloned()).collect();
    subjects.extend(store::subjects_with(txn, &asked.addresses).await?);
    store::remove_with(txn, "auth_challenge", "subject", &asked.subjects).await?;
    store::remove_with(txn, "auth_challenge", "session_id", &asked.addresses).await?;
    store::remove_with(txn, "auth_challenge_start", "subject", &subjects).await?;
    let subjects = subjects_about(context, id, &names);
    store::remove_with(txn, "auth_attempt", "subject", &subjects).await?;
    let failures = captcha::subjects_about(context, &names);
    store::remove_with(txn, "auth_captcha_failures", "subject", &failures).await?;
    let traces = outbox::traces_of(context, &names);
    store::remove_with(txn, "auth_outbox", "recipient", &traces.recipients).await?;
    store::remove_with(txn, "auth_outbox_limit", "digest", &traces.counts).await?;
    if context.config.rate.store == RateStore::Database {
        let keys = rate_limit::keys_about(context, id, &names);
        store::remove_with(txn, "auth_rate", "key", &keys).await?;
    }
    store::remove_with(txn, "auth_session_data", "lineage_id", &lineages).await?;
    store::remove_with(txn, "auth_challenge", "session_id", &visitors).await?;
    store::remove_with(txn, "auth_session", "id", &visitors).await?;
    store::remove_all(txn, id).await
}

/// Returns all names that an account has, and those that it had and nobody else has now: as they were
/// typed, and in their normal forms.
///
/// An address that its owner only typed is not one of them. It may be another person's. What is kept
/// about it must neither be shown nor be removed, and nobody may find out whether there is any.
pub(super) async fn names(
    txn: &Txn<'_>,
    row: &account::Model,
    challenges: &[store::Challenge],
) -> Result<Vec<String>, DbErr> {
    let mut names = BTreeSet::new();
    for name in account_store::names_of(txn, row.id).await? {
        names.extend(name.typed);
        names.insert(name.normal);
    }
    let own = [&row.username, &row.email, &row.phone];
    names.extend(own.into_iter().flatten().flat_map(|name| forms(name)));
    // An address that the account has left is still in the link that undoes this.
    let had = challenges.iter().filter(|sent| Kind::contains_own_address(&sent.purpose));
    let had =
        had.flat_map(|sent| texts(sent.data.as_deref()).into_iter().chain(sent.target.clone()));
    let had: BTreeSet<_> = had.flat_map(|name| forms(&name)).collect();
    let had: Vec<_> = had.into_iter().collect();
    let taken = account_store::taken(txn, &had).await?;
    let elsewhere: BTreeSet<_> = taken
        .into_iter()
        .filter(|name| name.account_id != row.id)
        .flat_map(|name| forms(&name.normal))
        .collect();
    let free = |name: &String| forms(name).iter().all(|form| !elsewhere.contains(form));
    names.extend(had.into_iter().filter(free));
    Ok(names.into_iter().collect())
}

/// Returns a name as it was typed, as it is shown, and in its normal form.
fn forms(name: &str) -> Vec<String> {
    let normal = LoginId::parse(name).ok().map(|name| name.normal().to_owned());
    let shown = Email::parse(name).ok().map(|email| email.as_str().to_owned());
    [name.to_owned()].into_iter().chain(normal).chain(shown).collect()
}

/// Returns the texts in the data of a code or link. It is a JSON object, or an address.
fn texts(data: Option<&str>) -> Vec<String> {
    let Some(data) = data else { return Vec::new() };
    let Ok(Value::Object(members)) = serde_json::from_str(data) else {
        return vec![data.to_owned()];
    };
    members.into_iter().filter_map(|(_, value)| value.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_however_a_flow_keeps_them() {
        assert_eq!(texts(Some("a@example.com")), ["a@example.com"]);
        let data = r#"{"email":"a@example.com","held":7,"normal":"b@example.com"}"#;
        assert_eq!(texts(Some(data)), ["a@example.com", "b@example.com"]);
        assert!(texts(None).is_empty());
    }
}
