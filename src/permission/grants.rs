//! The grants of an account, compiled once from its rows.

use std::collections::HashMap;
use std::time::Duration;

use super::language::{Permission, PermissionSet, parse_list};
use super::level::{Levels, role_name};

/// One row of the statement that loads grants.
#[derive(Debug, Clone)]
pub(crate) enum GrantRow {
    /// A role, granted to the account or to a group it belongs to.
    Role {
        role: RoleRow,
        /// The resource that the role is limited to; empty if it is not limited.
        resource: String,
        resource_id: String,
    },
    /// A permission granted directly.
    Permission(String),
    /// A level on one resource.
    Membership { resource: String, resource_id: String, level: String },
    /// The role with the name of a level, for an account that has some level.
    LevelRole(RoleRow),
}

/// The data of a role in a row.
#[derive(Debug, Clone)]
pub(crate) struct RoleRow {
    pub(crate) name: String,
    /// Permissions, separated by spaces.
    pub(crate) permissions: String,
    pub(crate) requires_factor: bool,
    pub(crate) trusted_devices: Option<bool>,
    pub(crate) max_idle: Option<Duration>,
}

/// What an account may do: all its permissions and roles, from all sources.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    permissions: PermissionSet,
    roles: Vec<String>,
    max_idle: Option<Duration>,
    requires_factor: bool,
    forbids_trusted_devices: bool,
}

impl Grants {
    /// Compiles rows. A permission that cannot be parsed grants nothing and is reported. A role
    /// that is limited to a resource gives its permissions on that resource, and no role name. A
    /// level that is not configured gives nothing.
    pub(crate) fn compile(rows: impl IntoIterator<Item = GrantRow>, levels: Levels<'_>) -> Self {
        let mut grants = Self::default();
        let mut memberships = Vec::new();
        let mut level_roles = HashMap::new();
        for row in rows {
            match row {
                GrantRow::Role { role, resource, resource_id } => {
                    let permissions = parsed(Some(&role.name), &role.permissions);
                    grants.limit(&role);
                    if !resource.is_empty() {
                        grants.add_on(&permissions, &resource, &resource_id);
                        continue;
                    }
                    grants.permissions.extend(permissions);
                    // The role was created before the levels were configured. It must not count as
                    // a level.
                    if levels.reserve(&role.name) {
                        tracing::error!(
                            target: "portcullis",
                            role = ?role.name,
                            "a role has the name of a level and is ignored by name",
                        );
                    } else {
                        grants.roles.push(role.name);
                    }
                }
                GrantRow::Permission(text) => {
                    grants.permissions.extend(parsed(None, &text));
                }
                GrantRow::Membership { resource, resource_id, level } => {
                    memberships.push((resource, resource_id, level));
                }
                GrantRow::LevelRole(role) => {
                    let permissions = parsed(Some(&role.name), &role.permissions);
                    level_roles.insert(role.name.clone(), (role, permissions));
                }
            }
        }
        for (resource, id, level) in &memberships {
            let reached = levels.up_to(resource, level);
            if reached.is_empty() {
                tracing::warn!(
                    target: "portcullis", ?resource, ?level, "a level that is not configured gives nothing",
                );
            }
            for level in reached {
                grants.roles.push(role_name(resource, id, level));
                if let Some((role, permissions)) = level_roles.get(level) {
                    grants.add_on(permissions, resource, id);
                    grants.limit(role);
                }
            }
        }
        grants.roles.sort_unstable();
        grants.roles.dedup();
        grants
    }

    fn add_on(&mut self, permissions: &[Permission], resource: &str, id: &str) {
        let there =
            permissions.iter().filter_map(|permission| permission.on_resource(resource, id));
        self.permissions.extend(there);
    }

    fn limit(&mut self, role: &RoleRow) {
        self.requires_factor |= role.requires_factor;
        self.forbids_trusted_devices |= !role.trusted_devices.unwrap_or(!role.requires_factor);
        if let Some(idle) = role.max_idle {
            self.max_idle = Some(self.max_idle.map_or(idle, |shortest| shortest.min(idle)));
        }
    }

    /// Returns the permissions.
    pub fn permissions(&self) -> &PermissionSet {
        &self.permissions
    }

    /// Returns the names of the roles, sorted.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Returns true if the account has a role of this name.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.binary_search_by(|role| role.as_str().cmp(name)).is_ok()
    }

    /// Returns the shortest idle time that one of the roles requires.
    pub fn max_idle(&self) -> Option<Duration> {
        self.max_idle
    }

    /// Returns true if none of the roles forbids [trusted devices](crate::trusted_device).
    pub fn allows_trusted_devices(&self) -> bool {
        !self.forbids_trusted_devices
    }

    /// Returns true if one of the roles requires a second factor.
    pub fn requires_factor(&self) -> bool {
        self.requires_factor
    }
}

/// Returns the valid permissions of a row, and reports the others.
fn parsed(role: Option<&str>, text: &str) -> Vec<Permission> {
    let (permissions, refused) = parse_list(text);
    for (text, error) in refused {
        tracing::error!(
            target: "portcullis",
            ?role,
            permission = ?text.chars().take(64).collect::<String>(),
            %error,
            "a stored permission grants nothing",
        );
    }
    permissions
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn role(name: &str, permissions: &str, max_idle: Option<Duration>) -> RoleRow {
        let (name, permissions) = (name.to_owned(), permissions.to_owned());
        RoleRow { name, permissions, requires_factor: false, trusted_devices: None, max_idle }
    }

    fn row(name: &str, permissions: &str, resource: &str) -> GrantRow {
        GrantRow::Role {
            role: role(name, permissions, None),
            resource: resource.to_owned(),
            resource_id: if resource.is_empty() { String::new() } else { "7".to_owned() },
        }
    }

    fn member(resource: &str, id: &str, level: &str) -> GrantRow {
        let [resource, resource_id, level] = [resource, id, level].map(str::to_owned);
        GrantRow::Membership { resource, resource_id, level }
    }

    fn compile(rows: impl IntoIterator<Item = GrantRow>) -> Grants {
        let levels = ["viewer", "editor", "owner"].map(str::to_owned).to_vec();
        let configured = BTreeMap::from([("list".to_owned(), levels)]);
        Grants::compile(rows, Levels::new(&configured))
    }

    fn allows(grants: &Grants, permission: &str) -> bool {
        let permission = Permission::parse(permission).expect("a permission");
        grants.permissions().allows(&permission.atoms().expect("few atoms"))
    }

    #[test]
    fn a_malformed_stored_permission_grants_nothing_and_its_neighbour_still_does() {
        let grants = compile([row("old", "a: doc:read b*", "")]);
        assert!(allows(&grants, "doc:read"));
        assert!(!allows(&grants, "a:x") && !allows(&grants, "b"));
    }

    #[test]
    fn a_role_on_a_resource_gives_only_what_it_says_about_that_resource() {
        let grants = compile([row("owner", "list:edit doc:edit *", "list")]);
        assert!(allows(&grants, "list:edit:7"));
        assert!(!allows(&grants, "list:edit:8") && !allows(&grants, "list:edit"));
        assert!(!allows(&grants, "doc:edit:7"));
        assert!(!grants.has_role("owner"));
    }

    #[test]
    fn the_shortest_idle_time_of_all_roles_counts() {
        let idle = |secs| Some(Duration::from_secs(secs));
        let rows = [Some(900), None, Some(60)].map(|secs| GrantRow::Role {
            role: role("r", "a", secs.and_then(idle)),
            resource: String::new(),
            resource_id: String::new(),
        });
        assert_eq!(compile(rows).max_idle(), idle(60));
        // The role with the name of the level counts only if that level is reached.
        let owner = || GrantRow::LevelRole(role("owner", "list", idle(30)));
        assert_eq!(compile([owner(), member("list", "7", "owner")]).max_idle(), idle(30));
        assert_eq!(compile([owner(), member("list", "7", "editor")]).max_idle(), None);
    }

    #[test]
    fn a_role_that_requires_a_factor_forbids_trusted_devices_unless_it_allows_them() {
        let row = |requires_factor, trusted_devices| GrantRow::Role {
            role: RoleRow { requires_factor, trusted_devices, ..role("r", "a", None) },
            resource: String::new(),
            resource_id: String::new(),
        };
        let allows = |rows: Vec<GrantRow>| compile(rows).allows_trusted_devices();
        assert!(allows(vec![]) && allows(vec![row(false, None)]));
        assert!(allows(vec![row(true, Some(true)), row(false, Some(true))]));
        assert!(!allows(vec![row(true, None)]) && !allows(vec![row(false, Some(false))]));
        // One role that forbids it is enough, also on one resource only or by a level.
        assert!(!allows(vec![row(true, Some(true)), row(true, None)]));
        let on_one = |resource: &str| GrantRow::Role {
            role: RoleRow { requires_factor: true, ..role("r", "a", None) },
            resource: resource.to_owned(),
            resource_id: "7".to_owned(),
        };
        assert!(!allows(vec![on_one("list")]));
        let owner =
            || GrantRow::LevelRole(RoleRow { requires_factor: true, ..role("owner", "a", None) });
        assert!(!allows(vec![owner(), member("list", "7", "owner")]));
        assert!(allows(vec![owner(), member("list", "7", "editor")]));
    }

    #[test]
    fn a_level_gives_itself_and_those_below_on_its_resource() {
        let grants = compile([
            member("list", "7", "editor"),
            GrantRow::LevelRole(role("viewer", "list:read doc:read", None)),
            GrantRow::LevelRole(role("editor", "list:edit *", None)),
            GrantRow::LevelRole(role("owner", "list", None)),
        ]);
        assert_eq!(grants.roles(), ["list-7-editor", "list-7-viewer"]);
        assert!(allows(&grants, "list:read:7") && allows(&grants, "list:edit:7"));
        for asked in ["list:delete:7", "list:read:8", "list:read", "doc:read:7", "doc:read"] {
            assert!(!allows(&grants, asked), "{asked}");
        }
    }

    #[test]
    fn of_two_memberships_on_one_resource_the_higher_counts() {
        for rows in [["viewer", "owner"], ["owner", "viewer"]] {
            let grants = compile(rows.map(|level| member("list", "7", level)));
            assert_eq!(grants.roles(), ["list-7-editor", "list-7-owner", "list-7-viewer"]);
        }
    }

    #[test]
    fn an_unknown_level_gives_nothing() {
        for (resource, level) in [("list", "admin"), ("list", ""), ("doc", "owner"), ("", "owner")]
        {
            let grants = compile([
                member(resource, "7", level),
                GrantRow::LevelRole(role("admin", "list", None)),
                GrantRow::LevelRole(role("owner", "list doc", None)),
            ]);
            assert!(
                grants.roles().is_empty() && grants.permissions().is_empty(),
                "{resource} {level}"
            );
        }
    }

    #[test]
    fn a_role_named_like_a_level_is_not_seen_under_its_name() {
        let grants =
            compile([row("list-7-owner", "doc:read", ""), row("list-7-x", "doc:edit", "")]);
        assert_eq!(grants.roles(), ["list-7-x"]);
        assert!(allows(&grants, "doc:read"));
    }
}
