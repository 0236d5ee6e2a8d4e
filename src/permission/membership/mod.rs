//! Memberships: who has which level on which resource.

use std::collections::BTreeMap;

use crate::account;
use crate::audit_log;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::AccountId;
use crate::base::problem::ErrorChain;
use crate::base::transaction::{Db, Fault, OpenTransaction, transaction};
use crate::context::Context;
use crate::handle::Portcullis;
use crate::permission::entity::membership;
use crate::permission::error::GrantError;
use crate::permission::level::{Levels, role_name};
use crate::permission::resource::Resource;
use crate::port::SourceMembership;

mod store;

/// The most memberships of one account that are taken from a source. All of them are compiled into
/// its grants; who has more has a role instead.
const MAX_SOURCED: usize = 10_000;

/// A level on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Membership {
    /// Whose it is.
    pub account_id: AccountId,
    /// On what.
    pub resource: Resource,
    /// The level, as it was stored. One that is not configured any more gives nothing.
    pub level: String,
    /// Where it comes from.
    pub origin: MembershipOrigin,
    /// Since when.
    pub granted_at: Timestamp,
}

/// Where a membership comes from. What is given by hand and what the source says stand beside each
/// other, and neither removes the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MembershipOrigin {
    /// From [`Memberships::grant`].
    Hand,
    /// From the [`MembershipSource`](crate::port::MembershipSource).
    Source,
}

impl MembershipOrigin {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::Source => "source",
        }
    }

    const fn number(self) -> i16 {
        match self {
            Self::Hand => 0,
            Self::Source => 1,
        }
    }
}

impl Membership {
    /// A row that is not one (an id with syntax in it, written past this library) is none.
    fn from_row(row: membership::Model) -> Option<Self> {
        let origin = match row.origin {
            0 => MembershipOrigin::Hand,
            1 => MembershipOrigin::Source,
            _ => return None,
        };
        Some(Self {
            account_id: row.account_id,
            resource: Resource::new(&row.resource, &row.resource_id).ok()?,
            level: row.level,
            origin,
            granted_at: row.granted_at,
        })
    }
}

/// What asking the source changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refreshed {
    /// What it said is what was stored, or there is no source.
    Unchanged,
    /// So many were added and removed; one at another level counts as both.
    Changed {
        /// How many are new.
        added: usize,
        /// How many are gone.
        removed: usize,
    },
    /// Somebody asked later and was answered earlier: that newer answer is the one that is kept.
    Superseded,
}

/// Gives and takes levels on single resources. Everything counts on the next request.
///
/// The order of the levels is configured ([`Builder::levels`](crate::Builder::levels)). Who has a
/// level has those below it too. Each is seen as the role `<resource>-<id>-<level>`, and the role
/// that is named like the level gives its permissions on that resource, as
/// [`Roles::grant_on`](crate::permission::Roles::grant_on) does.
///
/// ```no_run
/// use portcullis::permission::Resource;
///
/// # async fn example(auth: portcullis::Portcullis, account: portcullis::Account)
/// # -> Result<(), portcullis::permission::GrantError> {
/// let list = Resource::new("list", "7")?;
/// auth.roles().create("editor", ["list:edit"]).await?;
/// auth.memberships().grant(account.id(), &list, "editor").await?; // list-7-editor, list:edit:7
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Memberships<'a> {
    context: &'a Context,
    db: Db<'a>,
}

impl Portcullis {
    /// Levels on resources.
    pub fn memberships(&self) -> Memberships<'_> {
        Memberships { context: self.context(), db: self.context().db() }
    }

    /// Asks the [`MembershipSource`](crate::port::MembershipSource) what it knows of an account, and
    /// stores that in one transaction: what is new is added, what is gone is removed, what was given
    /// by hand stays. Signing in does this by itself; call it when the application's own tables have
    /// changed.
    ///
    /// The source is asked outside of every transaction. Of several refreshes at once the answer
    /// to the one that asked last is kept, so an old answer never brings back what was taken away.
    ///
    /// # Errors
    /// No such account; the source failed or took too long, and then nothing is changed; an outage.
    pub async fn refresh_memberships(&self, account: AccountId) -> Result<Refreshed, GrantError> {
        let context = self.context();
        let Some(source) = &context.membership_source else { return Ok(Refreshed::Unchanged) };
        let turn = take_turn(context, account).await?;
        let limit = context.config.permission.source_timeout;
        let answer = match source.ask(limit, move |source| source.memberships(account)).await {
            Some(answer) => answer.map_err(Fault::of_hook)?,
            None => return Err(failed("the source of memberships did not answer in time").into()),
        };
        if answer.len() > MAX_SOURCED {
            return Err(
                failed("the source named more memberships than one account may have").into()
            );
        }
        store_answer(context, account, turn, &accept(levels(context), answer)).await
    }

    /// The same at the end of a sign-in. A source that fails keeps nobody out: what was stored
    /// before goes on counting, and the failure is traced.
    pub(crate) async fn memberships_at_sign_in(&self, account: AccountId) {
        if let Err(error) = self.refresh_memberships(account).await {
            tracing::error!(
                target: "portcullis",
                %account,
                error = ?ErrorChain(&error).to_string(),
                "memberships could not be refreshed and stay as they were",
            );
        }
    }
}

impl<'a> Memberships<'a> {
    /// The same inside a transaction of the caller's.
    #[must_use]
    pub fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { db: self.db.within(txn), ..self }
    }

    /// Gives a level on one resource, in the place of any other that was given by hand there.
    ///
    /// # Errors
    /// A level that is not configured for this resource; no such account; an outage.
    pub async fn grant(
        &self,
        account: AccountId,
        resource: &Resource,
        level: &str,
    ) -> Result<(), GrantError> {
        if levels(self.context).up_to(resource.domain(), level).is_empty() {
            return Err(GrantError::UnknownLevel);
        }
        let now = self.context.now();
        let event = Event::new(EventKind::MembershipGranted, now)
            .account(account)
            .detail(format!("{level}{resource}"));
        transaction!(self.db, |txn| {
            // First the version: it locks the account's row.
            if !account::store::bump_grants(txn, account).await? {
                return Err(GrantError::AccountNotFound);
            }
            let changed = store::set_by_hand(txn, account, resource, level, now).await?;
            if changed {
                audit_log::record(txn, &event).await?;
            }
            Ok(())
        })
    }

    /// Takes the level that was given by hand on one resource. What the source says of it stays.
    ///
    /// # Errors
    /// No such account; an outage.
    pub async fn revoke(&self, account: AccountId, resource: &Resource) -> Result<(), GrantError> {
        let event = Event::new(EventKind::MembershipRevoked, self.context.now())
            .account(account)
            .detail(resource.to_string().trim_start());
        transaction!(self.db, |txn| {
            if !account::store::bump_grants(txn, account).await? {
                return Err(GrantError::AccountNotFound);
            }
            let changed = store::remove_by_hand(txn, account, resource).await?;
            if changed {
                audit_log::record(txn, &event).await?;
            }
            Ok(())
        })
    }

    /// The memberships of an account, by resource and id.
    ///
    /// # Errors
    /// An outage.
    pub async fn of(&self, account: AccountId) -> Result<Vec<Membership>, GrantError> {
        let rows = self.db.read(store::of_account(&self.db.executor(), account)).await?;
        Ok(rows.into_iter().filter_map(Membership::from_row).collect())
    }

    /// Who has a level on one resource.
    ///
    /// # Errors
    /// An outage.
    pub async fn on(&self, resource: &Resource) -> Result<Vec<Membership>, GrantError> {
        let rows = self.db.read(store::on_resource(&self.db.executor(), resource)).await?;
        Ok(rows.into_iter().filter_map(Membership::from_row).collect())
    }

    /// The levels that a membership gives, lowest first, each with the role it is seen as; nothing
    /// for a level that is not configured.
    pub fn levels(&self, membership: &Membership) -> Vec<(String, String)> {
        let (resource, id) = membership.resource.columns();
        let levels = levels(self.context).up_to(resource, &membership.level).iter();
        levels.map(|level| (level.clone(), role_name(resource, id, level))).collect()
    }
}

fn levels(context: &Context) -> Levels<'_> {
    Levels::new(&context.config.permission.levels)
}

fn failed(what: &str) -> Fault {
    Fault::Internal(what.into())
}

/// Level by resource and id.
type Answer = BTreeMap<(String, String), String>;

/// What of an answer can be stored. What is no resource, and levels that are not configured, are
/// left out and reported; of two levels on one resource the higher is taken.
fn accept(levels: Levels<'_>, answer: Vec<SourceMembership>) -> Answer {
    let mut accepted = BTreeMap::new();
    let mut refused = 0;
    for SourceMembership { resource, id, level } in answer {
        let height = levels.up_to(&resource, &level).len();
        if height == 0 || Resource::new(&resource, &id).is_err() {
            refused += 1;
            continue;
        }
        let known = accepted.entry((resource, id)).or_insert((0, String::new()));
        if known.0 < height {
            *known = (height, level);
        }
    }
    if refused > 0 {
        tracing::warn!(
            target: "portcullis",
            refused,
            "the source named resources that are none, or levels that are not configured",
        );
    }
    accepted.into_iter().map(|(key, (_, level))| (key, level)).collect()
}

/// Notes that the source is about to be asked. Numbers rise in the order of asking.
async fn take_turn(context: &Context, account: AccountId) -> Result<i64, GrantError> {
    let db = context.db();
    for _ in 0..2 {
        let turn =
            transaction!(db, |txn| { Ok::<_, GrantError>(store::next_turn(txn, account).await?) })?;
        if let Some(turn) = turn {
            return Ok(turn);
        }
        // The first time; outside of the transaction, whose lock on a gap would block others.
        let made = db.retry(|| store::first_turn(&context.database, account)).await;
        made.map_err(|fault| match fault {
            Fault::Database(error) => GrantError::or_gone(error, GrantError::AccountNotFound),
            other => other.into(),
        })?;
    }
    Err(GrantError::AccountNotFound)
}

/// Makes what is stored of the source what it said, unless a later question was answered before.
async fn store_answer(
    context: &Context,
    account: AccountId,
    turn: i64,
    answer: &Answer,
) -> Result<Refreshed, GrantError> {
    let now = context.now();
    transaction!(context.db(), |txn| {
        // Locks the turn's row: answers of one account are written one after the other.
        if !store::keep_turn(txn, account, turn).await? {
            return Ok(Refreshed::Superseded);
        }
        let stored: Answer = store::from_source(txn, account)
            .await?
            .into_iter()
            .map(|row| ((row.resource, row.resource_id), row.level))
            .collect();
        let differs = |from: &Answer, to: &Answer| {
            let gone = from.iter().filter(|(key, level)| to.get(*key) != Some(level));
            gone.map(|(key, level)| (key.clone(), level.clone())).collect::<Vec<_>>()
        };
        let (removed, added) = (differs(&stored, answer), differs(answer, &stored));
        if removed.is_empty() && added.is_empty() {
            return Ok(Refreshed::Unchanged);
        }
        if !account::store::bump_grants(txn, account).await? {
            return Err(GrantError::AccountNotFound);
        }
        store::remove_sourced(txn, account, &removed).await?;
        store::add_sourced(txn, account, &added, now).await?;
        let event = Event::new(EventKind::MembershipsRefreshed, now)
            .account(account)
            .detail(format!("{} added, {} removed", added.len(), removed.len()));
        audit_log::record(txn, &event).await?;
        let changed = Refreshed::Changed { added: added.len(), removed: removed.len() };
        Ok(changed)
    })
}
