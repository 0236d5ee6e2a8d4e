//! Everything that a session may do, as a list.

use std::collections::BTreeMap;

use super::resolved::Identity;
use crate::permission::Permission;

/// The maximum number of permissions in a list.
const MAX_LISTED: usize = 500;

/// The maximum number of pairs that are compared: a grant and a part of the ceiling.
const MAX_PAIRS: usize = 50_000;

/// What a session may do, for menus. Returned by [`Identity::effective_permissions`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EffectivePermissions {
    /// True if the account is a superuser and its session is not limited.
    pub superuser: bool,
    /// The permissions, sorted by their texts, at most 500. For a superuser it is `*`, or the
    /// ceiling.
    pub permissions: Vec<Permission>,
    /// True if permissions are missing from the list.
    pub truncated: bool,
}

impl Identity {
    /// Lists what the session may do: direct permissions, and those of roles, of groups, of roles
    /// on a resource and of levels, all limited by the ceiling of the session. It runs no
    /// statement.
    ///
    /// The list is for menus. It ends after 500 permissions and says so, because an account can
    /// have thousands. To decide what is allowed, use [`meets`](Self::meets). For questions of a
    /// menu, use [`may`](Self::may).
    pub fn effective_permissions(&self) -> EffectivePermissions {
        let everything = Permission::parse("*").expect("`*` is a permission");
        let grants: Vec<&Permission> = if self.account().is_superuser() {
            vec![&everything]
        } else {
            self.grants().permissions().iter().collect()
        };
        let Some(ceiling) = self.ceiling() else {
            return listed(self, grants.into_iter().cloned(), false);
        };
        let ceiling: Vec<&Permission> = ceiling.iter().collect();
        let mut truncated = grants.len().saturating_mul(ceiling.len()) > MAX_PAIRS;
        let mut shared = Vec::new();
        let pairs = grants.iter().flat_map(|grant| ceiling.iter().map(move |limit| (grant, limit)));
        for (grant, limit) in pairs.take(MAX_PAIRS) {
            match grant.intersection(limit) {
                None => {}
                Some(Ok(permission)) => shared.push(permission),
                // The shared permission would be too long.
                Some(Err(_)) => truncated = true,
            }
        }
        listed(self, shared, truncated)
    }
}

fn listed(
    identity: &Identity,
    permissions: impl IntoIterator<Item = Permission>,
    truncated: bool,
) -> EffectivePermissions {
    let texts =
        permissions.into_iter().map(|permission| (permission.as_str().to_owned(), permission));
    let sorted: BTreeMap<String, Permission> = texts.collect();
    let truncated = truncated || sorted.len() > MAX_LISTED;
    let permissions: Vec<_> = sorted.into_values().take(MAX_LISTED).collect();
    let everything = permissions.iter().any(|permission| permission.as_str() == "*");
    let superuser = identity.account().is_superuser() && everything;
    EffectivePermissions { superuser, permissions, truncated }
}
