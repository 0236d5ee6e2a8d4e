//! Compiled grants, kept in memory under the versions at which they were read.
//!
//! The statement of each request reads the account's `version` and the version of all
//! authorization. A cached set is used only if both match. So no node must be told about a change.
//!
//! Both versions are random, and the statement that loads a set reads them again. So one version
//! identifies one state of the database, even after a backup was restored. With counters, a
//! restored database would reach the same numbers again. A set that was cached before the restore
//! would then be used for the wrong state.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::base::id::AccountId;
use crate::permission::Grants;

/// The versions to which a set of grants belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) account: i64,
    pub(crate) authorization: i64,
}

pub(crate) struct GrantCache(Cache<AccountId, (Versions, Arc<Grants>)>);

impl GrantCache {
    /// Creates a cache for this number of accounts. Returns `None` for zero: then nothing is
    /// cached.
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
