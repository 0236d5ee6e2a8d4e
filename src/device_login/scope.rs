//! Scopes: permissions that are separated by blanks, and what a client may ask for.

use crate::config::DeviceClient;
use crate::permission::{Permission, write_list};

/// The most permissions that one request names.
const MOST: usize = 32;

/// The ceiling of a client. A text that is no permission grants nothing.
pub(super) fn ceiling(client: &DeviceClient) -> Vec<Permission> {
    client.ceiling.iter().filter_map(|text| Permission::parse(text).ok()).collect()
}

/// A list of permissions that is written in a row.
pub(super) fn read(text: &str) -> Vec<Permission> {
    text.split(' ').filter_map(|one| Permission::parse(one).ok()).collect()
}

/// Returns the permissions that a text or a list names. A pattern is refused: a person cannot see what a
/// star or a list of alternatives will mean tomorrow. `None` if one of them is no permission, or there are
/// too many or none.
pub(super) fn parse<'a>(named: impl Iterator<Item = &'a str>) -> Option<Vec<Permission>> {
    let mut permissions: Vec<Permission> = Vec::new();
    for text in named {
        if text.contains(['*', ',']) || permissions.len() == MOST {
            return None;
        }
        let permission = Permission::parse(text).ok()?;
        if permissions.iter().all(|other| other.as_str() != permission.as_str()) {
            permissions.push(permission);
        }
    }
    (!permissions.is_empty()).then_some(permissions)
}

/// True if one of `wide` covers each of `narrow`.
pub(super) fn covers(wide: &[Permission], narrow: &[Permission]) -> bool {
    narrow.iter().all(|one| wide.iter().any(|other| other.covers(one)))
}

/// Returns those of `granted` that the client may still have. Its ceiling may have become lower since.
pub(super) fn within(client: &DeviceClient, granted: Option<&str>) -> Vec<Permission> {
    let ceiling = ceiling(client);
    let Some(granted) = granted else { return ceiling };
    let granted = read(granted).into_iter();
    granted.filter(|one| covers(&ceiling, std::slice::from_ref(one))).collect()
}

/// The form of a row and of an answer.
pub(super) fn write(permissions: &[Permission]) -> String {
    write_list(permissions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Permission> {
        text.split(' ').map(|one| Permission::parse(one).expect("a permission")).collect()
    }

    #[test]
    fn a_scope_is_a_list_of_permissions_and_no_pattern() {
        let parsed = parse("doc:read doc:edit:7 doc:read".split(' ')).expect("a list");
        assert_eq!(write(&parsed), "doc:read doc:edit:7");
        for wrong in [
            "",
            "*",
            "doc:*",
            "doc:read,edit",
            "doc:read  doc:edit",
            "doc:",
            "doc:re*d",
            "doc:read\u{a0}",
        ] {
            assert!(parse(wrong.split(' ')).is_none(), "{wrong:?}");
        }
        let many: Vec<String> = (0..33).map(|at| format!("doc:read:{at}")).collect();
        assert!(parse(many.iter().map(String::as_str)).is_none());
        assert!(parse(many[1..].iter().map(String::as_str)).is_some());
    }

    #[test]
    fn nothing_is_wider_than_the_ceiling() {
        let ceiling = list("doc:read invoice:*:7");
        for (asked, covered) in [
            ("doc:read", true),
            ("doc:read:1", true),
            ("doc:read invoice:pay:7", true),
            ("doc:edit", false),
            ("doc", false),
            ("invoice:pay", false),
            ("doc:read doc:edit", false),
        ] {
            assert_eq!(covers(&ceiling, &list(asked)), covered, "{asked}");
        }
        let client = DeviceClient::new("tv", "TV").ceiling(["doc:read", "not a permission"]);
        assert_eq!(write(&within(&client, None)), "doc:read");
        assert_eq!(write(&within(&client, Some("doc:read:1 doc:edit"))), "doc:read:1");
    }
}
