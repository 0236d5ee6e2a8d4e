//! How a flow changes the names of an account, for
//! [`Hooks::names_changed`](super::Hooks::names_changed).

use std::fmt;

use sea_orm::{ConnectionTrait, DbErr};

use super::{HookList, Hooked, NamesChanged};
use crate::account::entity::login_name::Model;
use crate::account::{Account, LoginIdKind, store as account_store};
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, SessionId};
use crate::base::transaction::{Fault, Txn};
use crate::handle::Portcullis;

/// Why names of an account changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NamesCause {
    /// The owner added a name.
    Added,
    /// The owner replaced the main address or number, or changed its spelling.
    Changed,
    /// The owner removed a name.
    Removed,
    /// An earlier change was undone, with or without a link. Names that came later were removed
    /// with it.
    Undone,
    /// The owner proved an address or number. This can add or remove names that depend on it: the
    /// username of a strict registration is added, and what was set before a reset is removed.
    Proved,
    /// Another account got the name, because this account never proved it.
    Lost,
}

/// A name of an account, as it was typed.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedName {
    /// The kind of the name.
    pub kind: LoginIdKind,
    /// The name.
    pub text: String,
}

// Names are personal data, so they must not appear in logs.
impl fmt::Debug for ChangedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangedName").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The change of the names of an account: who makes it, and when.
#[derive(Clone, Copy)]
pub(crate) struct NamesChange<'a> {
    pub(crate) auth: &'a Portcullis,
    pub(crate) cause: NamesCause,
    pub(crate) session_id: Option<SessionId>,
    pub(crate) client: &'a ClientInfo,
    pub(crate) at: Timestamp,
}

impl<'a> NamesChange<'a> {
    /// Another account gets a name that this account never proved.
    pub(crate) fn lost(auth: &'a Portcullis, client: &'a ClientInfo, at: Timestamp) -> Self {
        Self { auth, cause: NamesCause::Lost, session_id: None, client, at }
    }
}

/// The names of an account before a flow changes them. Without hooks, nothing is read.
#[must_use = "hooks hear of a change by `changed`"]
pub(crate) struct NamesBefore(Option<Snapshot>);

impl NamesBefore {
    /// Reads the names, in the transaction that will change them.
    pub(crate) async fn read<C: ConnectionTrait>(
        auth: &Portcullis,
        txn: &C,
        account: AccountId,
    ) -> Result<Self, DbErr> {
        if auth.per_instance::<HookList>().is_empty() {
            return Ok(Self(None));
        }
        Ok(Self(Snapshot::read(txn, account).await?))
    }

    /// Calls the hooks if any name has changed since.
    pub(crate) async fn changed(
        self,
        txn: &Txn<'_>,
        change: NamesChange<'_>,
    ) -> Result<(), Hooked> {
        let Self(Some(before)) = self else { return Ok(()) };
        let failed = |error: DbErr| Hooked::Failed(Fault::from(error));
        let after = Snapshot::read(txn, before.account.id()).await.map_err(failed)?;
        // The row cannot be missing, because the flow has changed it in this transaction.
        let Some(after) = after else { return Ok(()) };
        let added = after.without(&before, |_| true);
        let removed = before.without(&after, |_| true);
        let proved = after.without(&before, |known| known.proved);
        if added.is_empty() && removed.is_empty() && proved.is_empty() {
            return Ok(());
        }
        let NamesChange { auth, cause, session_id, client, at } = change;
        let call = NamesChanged {
            auth,
            account: &after.account,
            before: &before.account,
            cause,
            added: &added,
            removed: &removed,
            proved: &proved,
            session_id,
            client,
            at,
        };
        auth.per_instance::<HookList>().names_changed(call, txn).await
    }
}

/// The names of an account at one time.
struct Snapshot {
    account: Account,
    names: Vec<Known>,
}

#[derive(Clone, PartialEq, Eq)]
struct Known {
    name: ChangedName,
    proved: bool,
}

impl Snapshot {
    async fn read<C: ConnectionTrait>(txn: &C, id: AccountId) -> Result<Option<Self>, DbErr> {
        let Some(row) = account_store::find(txn, id).await? else { return Ok(None) };
        let known = |name: &Model| {
            let kind = LoginIdKind::from_number(name.kind)?;
            let text = name.as_written(&row).to_owned();
            Some(Known { name: ChangedName { kind, text }, proved: name.verified_at.is_some() })
        };
        let names = account_store::names_of(txn, id).await?;
        let names = names.iter().filter_map(known).collect();
        Ok(Some(Self { account: Account::from(row), names }))
    }

    /// Returns the names with this property that do not have it in `other`.
    fn without(&self, other: &Self, has: impl Fn(&Known) -> bool) -> Vec<ChangedName> {
        let is_new = |known: &&Known| {
            let same = |other: &Known| other.name == known.name && has(other);
            has(known) && !other.names.iter().any(same)
        };
        self.names.iter().filter(is_new).map(|known| known.name.clone()).collect()
    }
}
