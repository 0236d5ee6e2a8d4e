//! What an account may do, compiled once from its rows and then only looked at.

use std::time::Duration;

use super::language::{Permission, PermissionSet, parse_list};

/// One row of the statement that loads grants.
#[derive(Debug, Clone)]
pub(crate) struct GrantRow {
    /// The role's name; none for a permission granted directly.
    pub(crate) role: Option<String>,
    /// The role's permissions, space separated, or the one granted directly.
    pub(crate) permissions: String,
    /// The resource the role is limited to; empty for everywhere.
    pub(crate) resource: String,
    pub(crate) resource_id: String,
    pub(crate) requires_factor: bool,
    pub(crate) max_idle: Option<Duration>,
}

/// What an account may do: its permissions and roles, from wherever they come.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    permissions: PermissionSet,
    roles: Vec<String>,
    max_idle: Option<Duration>,
    requires_factor: bool,
}

impl Grants {
    /// Compiles rows. A permission that does not parse grants nothing and is reported; a role
    /// limited to a resource gives only what it says about that resource, and no role name.
    pub(crate) fn compile(rows: impl IntoIterator<Item = GrantRow>) -> Self {
        let mut grants = Self::default();
        for row in rows {
            let (permissions, refused) = parse_list(&row.permissions);
            for (text, error) in refused {
                tracing::error!(
                    target: "portcullis",
                    role = ?row.role,
                    permission = ?text.chars().take(64).collect::<String>(),
                    %error,
                    "a stored permission grants nothing",
                );
            }
            if row.resource.is_empty() {
                grants.permissions.extend(permissions);
                if let Some(role) = row.role {
                    grants.roles.push(role);
                }
            } else {
                grants.permissions.extend(permissions.iter().filter_map(|permission| {
                    Permission::on_resource(permission, &row.resource, &row.resource_id)
                }));
            }
            grants.requires_factor |= row.requires_factor;
            if let Some(idle) = row.max_idle {
                grants.max_idle = Some(grants.max_idle.map_or(idle, |shortest| shortest.min(idle)));
            }
        }
        grants.roles.sort_unstable();
        grants.roles.dedup();
        grants
    }

    /// The permissions.
    pub fn permissions(&self) -> &PermissionSet {
        &self.permissions
    }

    /// The names of the roles, sorted.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Whether a role of this name is among them.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.binary_search_by(|role| role.as_str().cmp(name)).is_ok()
    }

    /// The shortest idle time that one of the roles asks for.
    pub fn max_idle(&self) -> Option<Duration> {
        self.max_idle
    }

    /// Whether one of the roles asks for a second factor.
    pub fn requires_factor(&self) -> bool {
        self.requires_factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(role: &str, permissions: &str, resource: &str) -> GrantRow {
        GrantRow {
            role: Some(role.to_owned()),
            permissions: permissions.to_owned(),
            resource: resource.to_owned(),
            resource_id: if resource.is_empty() { String::new() } else { "7".to_owned() },
            requires_factor: false,
            max_idle: None,
        }
    }

    fn allows(grants: &Grants, permission: &str) -> bool {
        let permission = Permission::parse(permission).expect("a permission");
        grants.permissions().allows(&permission.atoms().expect("few atoms"))
    }

    #[test]
    fn a_malformed_stored_permission_grants_nothing_and_its_neighbour_still_does() {
        let grants = Grants::compile([row("old", "a: doc:read b*", "")]);
        assert!(allows(&grants, "doc:read"));
        assert!(!allows(&grants, "a:x") && !allows(&grants, "b"));
    }

    #[test]
    fn a_role_on_a_resource_gives_only_what_it_says_about_that_resource() {
        let grants = Grants::compile([row("owner", "list:edit doc:edit *", "list")]);
        assert!(allows(&grants, "list:edit:7"));
        assert!(!allows(&grants, "list:edit:8") && !allows(&grants, "list:edit"));
        assert!(!allows(&grants, "doc:edit:7"));
        assert!(!grants.has_role("owner"));
    }

    #[test]
    fn the_shortest_idle_time_of_all_roles_counts() {
        let idle = |secs| Some(Duration::from_secs(secs));
        let rows = [Some(900), None, Some(60)]
            .map(|secs| GrantRow { max_idle: secs.and_then(idle), ..row("r", "a", "") });
        assert_eq!(Grants::compile(rows).max_idle(), idle(60));
    }
}
