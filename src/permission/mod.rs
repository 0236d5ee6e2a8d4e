//! Permissions and roles: what someone may do.
//!
//! 1. A [`Permission`] is a wildcard text such as `doc:read` or `doc:edit:42`, parsed once.
//! 2. A [role](Roles) bundles permissions under a name and is granted to accounts.
//! 3. A request's [`Grants`] are everything its account has, compiled. They stay in memory under
//!    the account's version and the global epoch, both read by the one statement of each request,
//!    so a change counts on the next request of every node without any message between them.
//!
//! Grants given to groups, to accounts directly, and roles limited to one resource are part of the
//! statement that loads them.

#[cfg_attr(
    not(feature = "test-util"),
    allow(dead_code, reason = "groups and direct grants are only named in the statements' text")
)]
pub(crate) mod entity;
mod grants;
mod language;
mod role;
pub(crate) mod store;
pub mod typed;

pub(crate) use grants::GrantRow;
pub use grants::Grants;
pub use language::{Atoms, Instances, Permission, PermissionError, PermissionSet};
pub(crate) use language::{parse_list, write_list};
pub use role::{Role, RoleError, Roles};
