//! Permissions and roles: what an account may do.
//!
//! 1. A [`Permission`] is a text with wildcards such as `doc:read` or `doc:edit:42`. It is parsed
//!    once.
//! 2. A [role](Roles) is a set of permissions with a name. It is granted to accounts. At each
//!    start, your code defines the roles that it needs: [`Roles::define`].
//! 3. The [`Grants`] of a request are everything that its account has, in compiled form. They are
//!    kept in memory under the account's version and the global epoch. The one statement of each
//!    request reads both. So a change counts on the next request of every node, and nodes need no
//!    messages between them.
//!
//! Grants come from roles, from [groups](Groups), [directly](DirectPermissions), from roles that
//! are limited to one [`Resource`], and from a level on one ([`Memberships`]). The rights of an
//! account are all of them together. A superuser has all rights. The page
//! [`guide::permissions`](crate::guide::permissions) explains how to use them.
//!
//! # What it does not do
//! It has no negative permissions: a grant only adds rights. To take a right away, revoke the
//! grant.

mod catalogue;
mod definition;
mod direct;
pub(crate) mod entity;
mod error;
mod grants;
mod group;
mod holder;
mod language;
mod level;
mod membership;
mod reserved;
mod resource;
mod role;
pub(crate) mod store;
pub mod typed;

pub use catalogue::{Catalogue, Declared, Doubtful, KnownPermission, Synced};
pub use definition::{DefinedRoles, RoleDefinition};
pub use direct::DirectPermissions;
pub use error::{GrantError, InvalidRole};
pub use grants::Grants;
pub(crate) use grants::{GrantRow, RoleRow};
pub use group::{Group, Groups};
pub use holder::{GroupMember, GroupMembers, Holder, RoleHolder, RoleHolders};
pub use language::{Atoms, Instances, Permission, PermissionError, PermissionSet};
pub(crate) use language::{parse_list, write_list};
pub(crate) use level::Levels;
pub use membership::{Membership, MembershipOrigin, Memberships, Refreshed};
pub use resource::Resource;
pub use role::{Role, Roles};
