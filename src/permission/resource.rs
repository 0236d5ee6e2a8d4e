//! The resource that a role can be limited to.

use std::fmt;

use super::error::GrantError;
use super::language::Permission;

/// One resource: a domain of permissions and an id in it, for example list 7.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    domain: String,
    id: String,
}

impl Resource {
    /// Returns the resource of this domain with this id.
    ///
    /// # Errors
    /// One of them is empty or too long, or contains permission syntax or white space.
    pub fn new(domain: &str, id: &str) -> Result<Self, GrantError> {
        let token = |text: &str| {
            Permission::parse(text).is_ok_and(|p| !p.as_str().contains([':', ',', '*']))
        };
        if domain.len() > 64 || id.len() > 128 || !token(domain) || !token(id) {
            return Err(GrantError::InvalidResource);
        }
        Ok(Self { domain: domain.to_owned(), id: id.to_owned() })
    }

    /// Returns the domain, such as `list`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the id in the domain.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the value for "no limit", which is stored as empty columns.
    pub(crate) fn everywhere() -> Self {
        Self { domain: String::new(), id: String::new() }
    }

    /// Returns the resource of stored columns, or `None` if the grant has no resource.
    pub(crate) fn of_columns(domain: String, id: String) -> Option<Self> {
        (!domain.is_empty()).then_some(Self { domain, id })
    }

    pub(crate) fn columns(&self) -> (&str, &str) {
        (&self.domain, &self.id)
    }
}

/// Writes ` on list:7`, or nothing if there is no limit.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain.is_empty() {
            return Ok(());
        }
        write!(f, " on {}:{}", self.domain, self.id)
    }
}
