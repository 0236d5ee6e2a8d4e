//! Permissions and roles: what someone may do.
//!
//! 1. A [`Permission`] is a wildcard text such as `doc:read` or `doc:edit:42`, parsed once.
//! 2. A [role](Roles) bundles permissions under a name and is granted to accounts.
//! 3. A request's [`Grants`] are everything its account has, compiled. They stay in memory under
//!    the account's version and the global epoch, both read by the one statement of each request,
//!    so a change counts on the next request of every node without any message between them.
//!
//! Grants come from roles, from [groups](Groups), [directly](DirectPermissions), from roles that are
//! limited to one [`Resource`], and from a level on one ([`Memberships`]). An account's rights are all
//! of them together; a superuser has all there are. How to use them is on the page
//! [`guide::permissions`](crate::guide::permissions).

mod catalogue;
mod direct;
pub(crate) mod entity;
mod error;
mod grants;
mod group;
mod language;
mod level;
mod membership;
mod reserved;
mod resource;
mod role;
pub(crate) mod store;
pub mod typed;

pub use catalogue::{Catalogue, Declared, Doubtful, KnownPermission, Synced};
pub use direct::DirectPermissions;
pub use error::GrantError;
pub use grants::Grants;
pub(crate) use grants::{GrantRow, RoleRow};
pub use group::{Group, Groups};
pub use language::{Atoms, Instances, Permission, PermissionError, PermissionSet};
pub(crate) use language::{parse_list, write_list};
pub(crate) use level::Levels;
pub use membership::{Membership, MembershipOrigin, Memberships, Refreshed};
pub use resource::Resource;
pub use role::{Role, Roles};
