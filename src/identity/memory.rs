//! Compiled grants, remembered under the versions they were read at.
//!
//! The statement of each request reads the account's `grants_version` and the global epoch. A set
//! is used only under exactly those, so no node ever needs to be told of a change. A set is read
//! after its versions, so it can only be as new as they are or newer; if it is newer, the next
//! request brings the new version and misses it.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::base::id::AccountId;
use crate::permission::Grants;

/// The versions that a set of grants belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) account: i64,
    pub(crate) epoch: i64,
}

pub(crate) struct GrantsMemory(Cache<AccountId, (Versions, Arc<Grants>)>);

impl GrantsMemory {
    /// Room for so many accounts; `None` when nothing is to be remembered.
    pub(crate) fn new(accounts: usize) -> Option<Self> {
        (accounts > 0).then(|| Self(Cache::new(accounts)))
    }

    pub(crate) fn find(&self, account: AccountId, versions: Versions) -> Option<Arc<Grants>> {
        self.0.get(&account).filter(|(known, _)| *known == versions).map(|(_, grants)| grants)
    }

    pub(crate) fn keep(&self, account: AccountId, versions: Versions, grants: Arc<Grants>) {
        self.0.insert(account, (versions, grants));
    }
}
