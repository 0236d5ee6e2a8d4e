//! Memberships: which account has which level on which resource.

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

/// The largest number of memberships of one account that are accepted from a source. All of them
/// are compiled into its grants, so an account with more should have a role instead.
const MAX_SOURCED: usize = 10_000;

/// A level on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Membership {
    /// The account.
    pub account_id: AccountId,
    /// The resource.
    pub resource: Resource,
    /// The level as it was stored. A level that is not configured any more gives nothing.
    pub level: String,
    /// The origin.
    pub origin: MembershipOrigin,
    /// When it was granted.
    pub granted_at: Timestamp,
}

/// The origin of a membership. Memberships of both origins can exist at the same time, and neither
/// removes the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MembershipOrigin {
    /// From [`Memberships::grant`].
    Hand,
    /// From the [`MembershipSource`](crate::port::MembershipSource).
    Source,
}

impl MembershipOrigin {
    /// Returns the stable name.
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
    /// Reads a row. Returns `None` for an invalid row that another program wrote, for example with
    /// syntax in its id.
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

/// The result of asking the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refreshed {
    /// The answer equals what was stored, or there is no source.
    Unchanged,
    /// Memberships were added and removed. A change of the level counts as both.
    Changed {
        /// The number of new memberships.
        added: usize,
        /// The number of removed memberships.
        removed: usize,
    },
    /// A later question was answered earlier. That newer answer is kept.
    Superseded,
}

/// Grants and revokes levels on single resources. Every change counts on the next request.
///
/// The order of the levels is configured ([`Builder::levels`](crate::Builder::levels)). An account
/// with a level also has those below it. Each counts as the role `<resource>-<id>-<level>`. The
/// role with the name of the level gives its permissions on that resource, like
/// [`Roles::grant_on`](crate::permission::Roles::grant_on).
///
/// ```no_run
/// use portcullis::permission::{Resource, RoleDefinition};
///
/// # async fn example(auth: portcullis::Portcullis, account: portcullis::Account)
/// # -> Result<(), portcullis::permission::GrantError> {
/// let list = Resource::new("list", "7")?;
/// auth.roles().define([RoleDefinition::new("editor", ["list:edit"])]).await?;
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
    /// Returns the levels on resources.
    pub fn memberships(&self) -> Memberships<'_> {
        Memberships { context: self.context(), db: self.context().db() }
    }

    /// Asks the [`MembershipSource`](crate::port::MembershipSource) about an account, and stores
    /// the answer in one transaction. New memberships are added, missing ones are removed, and
    /// those that were given by hand stay. A sign-in does this automatically. Call it when your
    /// application's own tables have changed.
    ///
    /// The source is asked outside of every transaction. If there are several refreshes at once,
    /// the answer to the last question is kept. So an old answer never restores what was taken
    /// away.
    ///
    /// # Errors
    /// No such account; the source failed or took too long, or named more memberships than an
    /// account may have, and then nothing is changed; an outage.
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

    /// Does the same at the end of a sign-in. A source that fails does not stop the sign-in: the
    /// stored memberships continue to count, and the failure is logged.
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
    /// Works inside your transaction.
    #[must_use]
    pub fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { db: self.db.within(txn), ..self }
    }

    /// Gives a level on one resource. It replaces any other level that was given by hand there.
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
            // The version comes first, because this locks the account's row.
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

    /// Removes the level that was given by hand on one resource. A level from the source stays.
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

    /// Returns the memberships of an account, sorted by resource and id.
    ///
    /// # Errors
    /// An outage.
    pub async fn of(&self, account: AccountId) -> Result<Vec<Membership>, GrantError> {
        let rows = self.db.read(store::of_account(&self.db.executor(), account)).await?;
        Ok(rows.into_iter().filter_map(Membership::from_row).collect())
    }

    /// Returns the accounts that have a level on one resource.
    ///
    /// # Errors
    /// An outage.
    pub async fn on(&self, resource: &Resource) -> Result<Vec<Membership>, GrantError> {
        let rows = self.db.read(store::on_resource(&self.db.executor(), resource)).await?;
        Ok(rows.into_iter().filter_map(Membership::from_row).collect())
    }

    /// Returns the levels that a membership gives, lowest first, each with the role that it counts
    /// as. The result is empty for a level that is not configured.
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

/// The level by resource and id.
type Answer = BTreeMap<(String, String), String>;

/// Returns the part of an answer that can be stored. Invalid resources and levels that are not
/// configured are left out and reported. Of two levels on one resource the higher one is taken.
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
            "the source returned invalid resources or unknown levels",
        );
    }
    accepted.into_iter().map(|(key, (_, level))| (key, level)).collect()
}

/// Records that the source is about to be asked. The numbers increase in the order of the
/// questions. So a late answer to an earlier question can be recognised.
async fn take_turn(context: &Context, account: AccountId) -> Result<i64, GrantError> {
    let db = context.db();
    for _ in 0..2 {
        let turn =
            transaction!(db, |txn| { Ok::<_, GrantError>(store::next_turn(txn, account).await?) })?;
        if let Some(turn) = turn {
            return Ok(turn);
        }
        // This is the first question for the account. The row is inserted outside of the
        // transaction, whose lock on a gap would block other inserts.
        let made = db.retry(|| store::first_turn(&context.database, account)).await;
        made.map_err(|fault| match fault {
            Fault::Database(error) => GrantError::or_gone(error, GrantError::AccountNotFound),
            other => other.into(),
        })?;
    }
    Err(GrantError::AccountNotFound)
}

/// Stores the answer of the source, unless a later question was answered before.
async fn store_answer(
    context: &Context,
    account: AccountId,
    turn: i64,
    answer: &Answer,
) -> Result<Refreshed, GrantError> {
    let now = context.now();
    transaction!(context.db(), |txn| {
        // This locks the row of the question, so answers about one account are written one after
        // the other.
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
