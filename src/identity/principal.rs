//! Who acts in a request: a person with a session, or a program with an API key.

use std::fmt;
use std::sync::Arc;

use super::resolved::{Acting, Identity, Rights};
use crate::account::Account;
use crate::api_key::ApiKey;
use crate::base::clock::Timestamp;
use crate::permission::typed::IntoPermission;
use crate::permission::{Grants, Instances, PermissionSet, parse_list};

/// A program that acts for an account with an [API key](crate::api_key).
///
/// It is not an [`Identity`]: nobody has signed in, so there is no session, and no factor was proved. Flows
/// that change an account take an `Identity`, so a key cannot reach them.
///
/// As an extractor it takes only API keys. For sessions and keys, use [`Principal`].
#[derive(Clone)]
pub struct ApiKeyIdentity(Arc<ApiKeyData>);

struct ApiKeyData {
    /// How the key is found again.
    digests: Vec<[u8; 32]>,
    key: ApiKey,
    account: Arc<Account>,
    grants: Arc<Grants>,
    scopes: [PermissionSet; 1],
    resolved_at: Timestamp,
}

impl ApiKeyIdentity {
    pub(super) fn new(
        digests: Vec<[u8; 32]>,
        key: ApiKey,
        account: Account,
        grants: Arc<Grants>,
        resolved_at: Timestamp,
    ) -> Self {
        // A scope that cannot be read grants nothing.
        let scopes = [parse_list(&key.scopes).0.into_iter().collect()];
        let account = Arc::new(account);
        Self(Arc::new(ApiKeyData { digests, key, account, grants, scopes, resolved_at }))
    }

    /// Returns the key.
    pub fn key(&self) -> &ApiKey {
        &self.0.key
    }

    /// Returns the account for which the program acts.
    pub fn account(&self) -> &Account {
        &self.0.account
    }

    /// Returns the grants of the account. The scopes of the key limit them. To decide what is allowed, use
    /// `meets`.
    pub fn grants(&self) -> &Grants {
        &self.0.grants
    }

    /// Returns the permissions to which the key is limited.
    pub fn scopes(&self) -> &PermissionSet {
        &self.0.scopes[0]
    }

    /// Returns when the key was read.
    pub fn resolved_at(&self) -> Timestamp {
        self.0.resolved_at
    }

    /// Returns the ids on which a permission is granted, to filter a list in SQL. See
    /// [`Identity::instances`].
    pub fn instances(&self, permission: impl IntoPermission) -> Instances {
        self.rights().instances(permission)
    }

    /// True if the account has the role with this name, and a scope covers `role:<name>`.
    pub fn has_role(&self, name: &str) -> bool {
        self.rights().has_role(name)
    }

    /// Returns the rights against which a requirement is checked.
    pub(crate) fn rights(&self) -> Rights<'_> {
        let ApiKeyData { account, grants, scopes, .. } = &*self.0;
        Rights { account, grants, ceilings: scopes, acting: Acting::ApiKey }
    }

    pub(super) fn digests(&self) -> &[[u8; 32]] {
        &self.0.digests
    }
}

impl fmt::Debug for ApiKeyIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyIdentity")
            .field("key", &self.0.key)
            .field("account", &self.0.account)
            .finish_non_exhaustive()
    }
}

/// Who acts in a request: a person who is signed in, or a program with an [API key](crate::api_key). Use this
/// extractor in a handler that serves both.
///
/// ```
/// use portcullis::Principal;
///
/// async fn whoami(who: Principal) -> String {
///     match &who {
///         Principal::Session(identity) => format!("session {}", identity.session().id()),
///         Principal::ApiKey(program) => format!("key {}", program.key().name()),
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub enum Principal {
    /// A person who is signed in.
    Session(Identity),
    /// A program with an API key.
    ApiKey(ApiKeyIdentity),
}

impl Principal {
    /// Returns the account.
    pub fn account(&self) -> &Account {
        match self {
            Self::Session(identity) => identity.account(),
            Self::ApiKey(program) => program.account(),
        }
    }

    /// Returns the grants of the account. To decide what is allowed, use `meets`.
    pub fn grants(&self) -> &Grants {
        match self {
            Self::Session(identity) => identity.grants(),
            Self::ApiKey(program) => program.grants(),
        }
    }

    /// Returns the session, if a person acts.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Session(identity) => Some(identity),
            Self::ApiKey(_) => None,
        }
    }

    /// Returns the API key, if a program acts.
    pub fn api_key(&self) -> Option<&ApiKeyIdentity> {
        match self {
            Self::Session(_) => None,
            Self::ApiKey(program) => Some(program),
        }
    }

    /// Returns the ids on which a permission is granted, to filter a list in SQL. See
    /// [`Identity::instances`].
    pub fn instances(&self, permission: impl IntoPermission) -> Instances {
        self.rights().instances(permission)
    }

    /// True if the account has the role with this name, within what limits the session or the key.
    pub fn has_role(&self, name: &str) -> bool {
        self.rights().has_role(name)
    }

    /// Returns the rights against which a requirement is checked.
    pub(crate) fn rights(&self) -> Rights<'_> {
        match self {
            Self::Session(identity) => identity.rights(),
            Self::ApiKey(program) => program.rights(),
        }
    }
}

impl From<Identity> for Principal {
    fn from(identity: Identity) -> Self {
        Self::Session(identity)
    }
}

impl From<ApiKeyIdentity> for Principal {
    fn from(program: ApiKeyIdentity) -> Self {
        Self::ApiKey(program)
    }
}
