//! Who has a role, and who is in a group, page by page.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::error::GrantError;
use super::group::{Group, Groups};
use super::resource::Resource;
use super::role::Roles;
use super::store;
use crate::account::{self, Account};
use crate::base::clock::Timestamp;
use crate::base::page::{InvalidPage, Page};

/// A page of the holders of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleHolders {
    /// The holders: first the groups, then the accounts.
    pub holders: Vec<RoleHolder>,
    /// Where the next page begins, see [`Page::after`]. `None` if this is the last page.
    pub next: Option<String>,
}

/// A group or an account that has a role.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleHolder {
    /// The group or account.
    pub holder: Holder,
    /// The resource that the role is limited to, if it is.
    pub resource: Option<Resource>,
    /// When it was granted.
    pub granted_at: Timestamp,
}

/// What can have a role.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// All members of a group have it, see [`Groups::members`].
    Group(Group),
    /// One account has it.
    Account(Account),
}

/// A page of the members of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMembers {
    /// The members.
    pub members: Vec<GroupMember>,
    /// Where the next page begins, see [`Page::after`]. `None` if this is the last page.
    pub next: Option<String>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// The account.
    pub account: Account,
    /// When it joined.
    pub joined_at: Timestamp,
}

impl Roles<'_> {
    /// Lists who has a role: groups, and accounts to which it was granted directly. An account that
    /// has it everywhere and on two lists is listed three times. Deleted accounts are left out.
    ///
    /// Members of a group are not listed as accounts. [Memberships](super::Memberships) are not
    /// listed either. They are lists of a resource.
    ///
    /// # Errors
    /// No such role; a text that is not the `next` of a page; an outage.
    pub async fn holders(&self, name: &str, page: Page) -> Result<RoleHolders, GrantError> {
        let after: Option<Place> = page.place()?;
        let db = self.db.executor();
        let role = self.db.read(store::role_by_name(&db, name)).await?;
        let role = role.ok_or(GrantError::RoleNotFound)?.id;
        // One more than a page shows whether there is another page.
        let wanted = page.limit() + 1;
        let mut found = Vec::new();
        if after.as_ref().is_none_or(|place| place.kind == PlaceKind::Group) {
            let groups = store::group_holders(&db, role, after.as_ref().map(Place::key), wanted);
            found.extend(self.db.read(groups).await?.into_iter().filter_map(|(grant, group)| {
                let resource = Resource::of_columns(grant.resource, grant.resource_id);
                let holder = Holder::Group(group?.into());
                Some(RoleHolder { holder, resource, granted_at: grant.granted_at })
            }));
        }
        if found.len() < wanted {
            let after = after.as_ref().filter(|place| place.kind == PlaceKind::Account);
            let limit = wanted - found.len();
            let accounts = store::account_holders(&db, role, after.map(Place::key), limit);
            found.extend(self.db.read(accounts).await?.into_iter().filter_map(
                |(grant, account)| {
                    let resource = Resource::of_columns(grant.resource, grant.resource_id);
                    let holder = Holder::Account(account?.into());
                    Some(RoleHolder { holder, resource, granted_at: grant.granted_at })
                },
            ));
        }
        let more = found.len() > page.limit();
        found.truncate(page.limit());
        let next = found.last().filter(|_| more).map(|last| Place::of(last).to_string());
        Ok(RoleHolders { holders: found, next })
    }
}

impl Groups<'_> {
    /// Lists the members of a group. Deleted accounts are left out.
    ///
    /// # Errors
    /// No such group; a text that is not the `next` of a page; an outage.
    pub async fn members(&self, name: &str, page: Page) -> Result<GroupMembers, GrantError> {
        let after: Option<Uuid> = page.place()?;
        let db = self.db.executor();
        let group = self.db.read(store::group_by_name(&db, name)).await?;
        let group = group.ok_or(GrantError::GroupNotFound)?.id;
        let rows = store::members_of(&db, group, after, page.limit() + 1);
        let rows: Vec<(_, Option<account::entity::account::Model>)> = self.db.read(rows).await?;
        let mut members: Vec<_> = rows
            .into_iter()
            .filter_map(|(row, account)| {
                Some(GroupMember { account: account?.into(), joined_at: row.joined_at })
            })
            .collect();
        let more = members.len() > page.limit();
        members.truncate(page.limit());
        let next = members.last().filter(|_| more).map(|last| last.account.id().to_string());
        Ok(GroupMembers { members, next })
    }
}

/// The position of a holder in the list.
struct Place {
    kind: PlaceKind,
    id: Uuid,
    resource: String,
    resource_id: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PlaceKind {
    Group,
    Account,
}

impl Place {
    fn of(holder: &RoleHolder) -> Self {
        let (kind, id) = match &holder.holder {
            Holder::Group(group) => (PlaceKind::Group, group.id.as_uuid()),
            Holder::Account(account) => (PlaceKind::Account, account.id().as_uuid()),
        };
        let everywhere = Resource::everywhere();
        let (resource, resource_id) = holder.resource.as_ref().unwrap_or(&everywhere).columns();
        Self { kind, id, resource: resource.to_owned(), resource_id: resource_id.to_owned() }
    }

    fn key(&self) -> store::HolderKey<'_> {
        store::HolderKey { id: self.id, resource: &self.resource, resource_id: &self.resource_id }
    }
}

/// Writes `account:<id>:<resource>:<id in it>`. No part contains a `:`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            PlaceKind::Group => "group",
            PlaceKind::Account => "account",
        };
        write!(f, "{kind}:{}:{}:{}", self.id, self.resource, self.resource_id)
    }
}

impl FromStr for Place {
    type Err = InvalidPage;

    fn from_str(text: &str) -> Result<Self, InvalidPage> {
        let parts: Vec<&str> = text.split(':').collect();
        let [kind, id, resource, resource_id] = *parts else { return Err(InvalidPage) };
        let kind = match kind {
            "group" => PlaceKind::Group,
            "account" => PlaceKind::Account,
            _ => return Err(InvalidPage),
        };
        let id = id.parse().map_err(|_| InvalidPage)?;
        if !(resource.is_empty() && resource_id.is_empty()) {
            Resource::new(resource, resource_id).map_err(|_| InvalidPage)?;
        }
        Ok(Self { kind, id, resource: resource.to_owned(), resource_id: resource_id.to_owned() })
    }
}
