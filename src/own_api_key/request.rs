//! What a person asks for when they make a key, and what is wrong with it.

use std::time::Duration;

use super::error::ApiKeyError;
use crate::api_key::entity::Model;
use crate::api_key::{Digests, NewKey};
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, ApiKeyId, LineageId};
use crate::base::invalid_field::InvalidField;
use crate::base::secret::random_version;
use crate::context::Context;
use crate::identity::resolved::Rights;
use crate::permission::{Permission, write_list};

const MAX_SCOPES: usize = 50;

/// All scopes of a key together, in bytes.
const MAX_SCOPES_BYTES: usize = 4000;

/// The shortest lifetime of a key.
const SHORTEST: Duration = Duration::from_secs(60);

/// A key that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it is made by `issue`"]
pub struct NewApiKey {
    name: String,
    scopes: Vec<String>,
    lifetime: Option<Duration>,
}

impl NewApiKey {
    /// Begins a key with this name. Its owner recognizes it by the name, which no other key of the account
    /// may have: 1 to 64 characters. Without a scope it may do nothing that needs a permission.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), scopes: Vec::new(), lifetime: None }
    }

    /// Adds a scope: a permission that the account has. At most 50.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Adds several scopes.
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Sets how long it is valid: at least a minute, and at most
    /// [`max_lifetime`](crate::config::ApiKeyConfig::max_lifetime).
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Checks everything, for an account with these rights.
    pub(super) fn check(
        self,
        context: &Context,
        rights: Rights<'_>,
    ) -> Result<Checked, ApiKeyError> {
        let mut faults = Vec::new();
        let name = InvalidField::label(&self.name).map_err(|fault| faults.push(fault));
        let scopes = scopes(&self.scopes, rights).map_err(|fault| faults.push(fault));
        let lifetime = self.lifetime.unwrap_or(context.config.api_key.default_lifetime);
        faults.extend(lifetime_fault(context, lifetime));
        match (name, scopes) {
            (Ok(name), Ok(scopes)) if faults.is_empty() => Ok(Checked { name, scopes, lifetime }),
            _ => Err(ApiKeyError::Invalid(faults)),
        }
    }
}

/// What is known to be good.
pub(super) struct Checked {
    pub(super) name: String,
    pub(super) scopes: String,
    pub(super) lifetime: Duration,
}

impl Checked {
    /// Returns the row of a new key. `first_id` is that of the key which it replaces.
    pub(super) fn row(
        &self,
        secrets: &Digests,
        key: &NewKey,
        (account_id, made_in): (AccountId, Option<LineageId>),
        first_id: Option<ApiKeyId>,
        now: Timestamp,
    ) -> Model {
        let id = ApiKeyId::new(now);
        let (key_id, digest) = secrets.newest(key.as_str().as_bytes());
        Model {
            id,
            token_digest: digest.to_vec(),
            key_id: key_id.to_owned(),
            version: random_version(),
            first_id: first_id.unwrap_or(id),
            account_id,
            made_in,
            name: self.name.clone(),
            slot: Model::slot(account_id, &self.name),
            hint: key.hint(),
            scopes: self.scopes.clone(),
            created_at: now,
            expires_at: now.plus(self.lifetime),
            rotated_at: None,
            ended_at: None,
            end_reason: None,
            last_used_at: None,
            last_used_from: None,
            told_at: None,
        }
    }
}

pub(super) fn lifetime_fault(context: &Context, lifetime: Duration) -> Option<InvalidField> {
    let longest = context.config.api_key.max_lifetime;
    let fits = (SHORTEST..=longest).contains(&lifetime);
    let text = format!("must be between 60 and {} seconds", longest.as_secs());
    let fault = || {
        InvalidField::new("lifetime", "out_of_range", text)
            .param("min", SHORTEST.as_secs())
            .param("max", longest.as_secs())
    };
    (!fits).then(fault)
}

/// Checks scopes against these rights, and writes them as they are stored.
pub(super) fn scopes(texts: &[String], rights: Rights<'_>) -> Result<String, InvalidField> {
    let at_scope = |at: usize, fault: InvalidField| fault.param("scope", at + 1);
    if texts.len() > MAX_SCOPES || texts.iter().map(String::len).sum::<usize>() > MAX_SCOPES_BYTES {
        let text = "must be at most 50 scopes, with 4000 bytes together";
        return Err(InvalidField::new("scopes", "too_many", text).param("max", MAX_SCOPES));
    }
    let mut scopes = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let parsed = Permission::parse(text).and_then(|scope| Ok((scope.atoms()?, scope)));
        let Ok((atoms, scope)) = parsed else {
            let text = "must be permissions such as `doc:read`";
            return Err(at_scope(at, InvalidField::new("scopes", "invalid", text)));
        };
        // A key never manages its account, so such a scope would promise what it does not give.
        if is_reserved(&scope) {
            let text = "must not be in the domain of accounts (`auth-account`)";
            return Err(at_scope(at, InvalidField::new("scopes", "reserved", text)));
        }
        // A role is no permission, but a requirement can ask for it.
        let role =
            scope.as_str().strip_prefix("role:").filter(|name| !name.contains([':', ',', '*']));
        if !rights.allow(&atoms) && !role.is_some_and(|name| rights.has_role(name)) {
            let text = "must be permissions or roles that the account has";
            return Err(at_scope(at, InvalidField::new("scopes", "not_held", text)));
        }
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(write_list(&scopes))
}

fn is_reserved(scope: &Permission) -> bool {
    let domains = scope.as_str().split(':').next().unwrap_or_default();
    domains.split(',').any(|domain| domain == "auth-account")
}
