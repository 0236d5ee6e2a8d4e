//! Levels: the configured order of what an account can be on one resource.

use std::collections::{BTreeMap, BTreeSet};

/// The configured levels, lowest first, by the domain of their resource.
///
/// A level counts as the role `<resource>-<id>-<level>`. The configuration refuses a `-` in the
/// name of a resource or a level. So such a name can be read in only one way, whatever the id
/// contains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Levels<'a>(&'a BTreeMap<String, Vec<String>>);

impl<'a> Levels<'a> {
    pub(crate) fn new(configured: &'a BTreeMap<String, Vec<String>>) -> Self {
        Self(configured)
    }

    /// Returns this level and those below it, lowest first. The result is empty for a level that is
    /// not configured.
    pub(crate) fn up_to(self, resource: &str, level: &str) -> &'a [String] {
        let Some(levels) = self.0.get(resource) else { return &[] };
        levels.iter().position(|known| known == level).map_or(&[], |last| &levels[..=last])
    }

    /// Returns true if a role of this name would look like a level that an account has.
    pub(crate) fn reserve(self, role: &str) -> bool {
        let Some((resource, rest)) = role.split_once('-') else { return false };
        let Some((id, level)) = rest.rsplit_once('-') else { return false };
        !id.is_empty() && !self.up_to(resource, level).is_empty()
    }

    /// Returns every level of every resource, each once.
    pub(crate) fn all(self) -> BTreeSet<&'a str> {
        self.0.values().flatten().map(String::as_str).collect()
    }
}

/// Returns the name of the role that a level counts as.
pub(crate) fn role_name(resource: &str, id: &str, level: &str) -> String {
    format!("{resource}-{id}-{level}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured() -> BTreeMap<String, Vec<String>> {
        let levels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        BTreeMap::from([
            ("list".to_owned(), levels(&["viewer", "editor", "owner"])),
            ("doc".to_owned(), levels(&["reader"])),
        ])
    }

    #[test]
    fn a_level_is_itself_and_those_below_it() {
        let configured = configured();
        let levels = Levels::new(&configured);
        assert_eq!(levels.up_to("list", "viewer"), ["viewer"]);
        assert_eq!(levels.up_to("list", "owner"), ["viewer", "editor", "owner"]);
        for (resource, level) in [("list", "reader"), ("doc", "owner"), ("", ""), ("list", "")] {
            assert!(levels.up_to(resource, level).is_empty(), "{resource} {level}");
        }
        assert_eq!(levels.all(), BTreeSet::from(["viewer", "editor", "owner", "reader"]));
    }

    #[test]
    fn a_name_is_reserved_exactly_when_a_level_could_be_named_so() {
        let configured = configured();
        let levels = Levels::new(&configured);
        for name in ["list-7-owner", "list-a-b-c-viewer", "list---viewer", "doc-7-reader"] {
            assert!(levels.reserve(name), "{name}");
        }
        for name in [
            "",
            "-",
            "list",
            "list-owner",
            "list--owner",
            "list-7-reader",
            "lists-7-owner",
            "owner",
        ] {
            assert!(!levels.reserve(name), "{name}");
        }
    }
}
