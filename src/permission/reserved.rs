//! The domains that belong to portcullis.

use super::language::Permission;

/// The prefix of the domains that applications must not use.
const PREFIX: &str = "auth-";

/// The permissions in these domains that administrators need, so they can be granted. None of them is
/// a permission of an account's owner.
const GRANTABLE: [&str; 1] = ["auth-account:recover"];

/// Returns true if a permission names a domain of portcullis and cannot be granted. `*` does not name one: it is granted
/// to those who may do everything, and gives no more in these domains than in others.
pub(crate) fn is_reserved(permission: &Permission) -> bool {
    if GRANTABLE.contains(&permission.as_str()) {
        return false;
    }
    let domains = permission.as_str().split(':').next().unwrap_or_default();
    domains.split(',').any(|domain| {
        domain.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
    })
}

/// Does the same for the domain of a permission that is declared with
/// [`permissions!`](crate::permissions).
pub(crate) const fn is_reserved_domain(domain: &[u8]) -> bool {
    let prefix = PREFIX.as_bytes();
    if domain.len() < prefix.len() {
        return false;
    }
    let mut at = 0;
    while at < prefix.len() {
        if domain[at].to_ascii_lowercase() != prefix[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{is_reserved, is_reserved_domain};
    use crate::permission::Permission;

    #[test]
    fn a_domain_is_reserved_by_how_it_begins_in_any_case_and_in_any_alternative() {
        for (text, expected) in [
            ("auth-account:manage", true),
            ("auth-anything", true),
            ("auth-account:recover", false),
            ("auth-account:recover,manage", true),
            ("auth-account:recover:7", true),
            ("Auth-Account:manage", true),
            ("doc,auth-account:manage", true),
            ("auth-:x", true),
            ("auth", false),
            ("auth:read", false),
            ("authors:read", false),
            ("my-auth-account:manage", false),
            ("doc:auth-account", false),
            ("*", false),
            ("é:read", false),
        ] {
            let permission = Permission::parse(text).expect("a permission");
            assert_eq!(is_reserved(&permission), expected, "{text}");
            let domain = text.split([':', ',']).next().expect("a domain");
            let alone = domain.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("auth-"));
            assert_eq!(is_reserved_domain(domain.as_bytes()), alone, "{text}");
        }
    }
}
