//! Compiled grants, remembered under the versions they were read at.
//!
//! The statement of each request reads the account's `grants_version` and the version of all
//! authorization. A set is used only under exactly those, so no node ever needs to be told of a
//! change.
//!
//! Both versions are random, and the statement that loads a set reads them again. So a version names
//! one state of the database and no other, also after a backup was restored: counters would come to
//! the same numbers again, and a set kept under numbers that were read before it would pass for
//! theirs.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::base::id::AccountId;
use crate::permission::Grants;

/// The versions that a set of grants belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) account: i64,
    pub(crate) authorization: i64,
}

pub(crate) struct GrantCache(Cache<AccountId, (Versions, Arc<Grants>)>);

impl GrantCache {
    /// PerInstance for so many accounts; `None` when nothing is to be remembered.
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
