//! What a route asks of whoever calls it.

use std::fmt;
use std::sync::Arc;

use crate::identity::Identity;
use crate::permission::typed::TypedPermission;
use crate::permission::{Atoms, Permission, PermissionError};

/// What a route asks: the same value serves a guard, a check inside a handler, and a menu.
///
/// ```
/// use portcullis::Requirement;
///
/// let read = Requirement::permission("doc:read").expect("a permission");
/// let admin = Requirement::role("admin");
/// ```
#[derive(Clone)]
pub struct Requirement(Arc<Node>);

enum Node {
    SignedIn,
    Permission(Atoms),
    Role(String),
}

/// How an identity stands to a requirement. The order matters: the worse comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It may not, whatever it proves.
    Denied,
    /// It may once it proves a factor (again).
    StepUp,
    /// It may.
    Met,
}

impl Requirement {
    /// Anyone who is signed in.
    pub fn signed_in() -> Self {
        Self(Arc::new(Node::SignedIn))
    }

    /// A permission. Several alternatives (`doc:read,write`) ask for each of them; they may come
    /// from different grants.
    ///
    /// # Errors
    /// When the text is not a permission, or asks for more than 64 at once.
    pub fn permission(text: &str) -> Result<Self, PermissionError> {
        Self::from_permission(&Permission::parse(text)?)
    }

    /// The same from a parsed permission.
    ///
    /// # Errors
    /// When it asks for more than 64 at once.
    pub fn from_permission(permission: &Permission) -> Result<Self, PermissionError> {
        Ok(Self(Arc::new(Node::Permission(permission.atoms()?))))
    }

    /// A permission declared with [`permissions!`](crate::permissions).
    ///
    /// # Panics
    /// If a [`TypedPermission`] made by hand holds a text that is not a permission; one made by the
    /// macro was checked when it was compiled.
    pub fn typed<P: TypedPermission>(_: P) -> Self {
        match Self::permission(P::TEXT) {
            Ok(requirement) => requirement,
            Err(error) => panic!("`{}` is not a permission: {error}", P::TEXT),
        }
    }

    /// A role by its name. Permissions age better: they say what a route does, not who may.
    pub fn role(name: impl Into<String>) -> Self {
        Self(Arc::new(Node::Role(name.into())))
    }

    /// The same requirement limited to one instance. What is not a permission stays as it is.
    ///
    /// A permission that names only a domain asks for every action on the instance: the id must
    /// not come to stand where an action stands, or an id could spell one.
    ///
    /// # Errors
    /// When the id has permission syntax in it.
    pub fn on(&self, id: &str) -> Result<Self, PermissionError> {
        match &*self.0 {
            Node::Permission(atoms) => {
                let permission = atoms.permission();
                let whole = !permission.as_str().contains(':');
                let narrowed = if whole {
                    Permission::parse(&format!("{permission}:*"))?.on(id)?
                } else {
                    permission.on(id)?
                };
                Self::from_permission(&narrowed)
            }
            Node::SignedIn | Node::Role(_) => Ok(self.clone()),
        }
    }

    /// How this identity stands to it. No allocation, no I/O.
    pub(crate) fn check(&self, identity: &Identity) -> Outcome {
        let met = match &*self.0 {
            Node::SignedIn => true,
            Node::Permission(atoms) => identity.allows(atoms),
            Node::Role(name) => identity.has_role(name),
        };
        if met { Outcome::Met } else { Outcome::Denied }
    }
}

/// The requirement as a rule's name in the log: `permission(doc:read)`.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Node::SignedIn => f.write_str("signed_in"),
            Node::Permission(atoms) => write!(f, "permission({})", atoms.permission()),
            Node::Role(name) => write!(f, "role({name})"),
        }
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Requirement({self})")
    }
}
