//! What an account may do, for a job that runs in the background and has no session.

use std::fmt;
use std::sync::Arc;

use crate::account::Account;
use crate::base::id::AccountId;
use crate::base::problem::problem;
use crate::base::transaction::{Db, Fault, may_fault};
use crate::handle::Portcullis;
use crate::identity::resolved::{Acting, Rights};
use crate::identity::resolver::Resolver;
use crate::permission::typed::IntoPermission;
use crate::permission::{Grants, Instances, Permission, PermissionSet};

/// An account for which a job runs, and what it may do. [`Portcullis::job_identity`] returns it.
///
/// It is not an [`Identity`](crate::Identity): nobody has signed in, so there is no session and no
/// factor was proved. It is a snapshot. Ask again before each piece of work.
///
/// - `meets`, `check`, `require` and `explain` decide as in a request, except for what needs a
///   session. A factor, the age of one and a `custom` rule are never met: the outcome is
///   [`Denied`](crate::Outcome::Denied).
/// - It is not accepted by flows that change an account, list its sessions or prove something.
/// - [`limited_to`](Self::limited_to) takes rights away, for a job that needs only a few.
#[derive(Clone)]
pub struct JobIdentity {
    auth: Portcullis,
    account: Arc<Account>,
    grants: Arc<Grants>,
    ceilings: Vec<PermissionSet>,
}

/// Why a job cannot run for an account, or may not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The account does not exist, or it was closed, deleted or erased.
    #[error("there is no such account")]
    NotFound,
    /// The account is disabled.
    #[error("the account is disabled")]
    Disabled,
    /// No address of the account was verified, and `login.require_verified` is on.
    #[error("the account is not verified")]
    NotVerified,
    /// The account is not allowed to do this, or a job is not.
    #[error("this account is not allowed to do this in a job")]
    Denied,
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(JobError);

problem! {
    JobError {
        Self::NotFound => NOT_FOUND, "account_not_found";
        Self::Disabled => FORBIDDEN, "account_disabled";
        Self::NotVerified => FORBIDDEN, "account_not_verified";
        Self::Denied => FORBIDDEN, "denied";
    }
    passes on { Fault }
}

impl Portcullis {
    /// Returns what an account may do now, for a job that runs for it. This costs one statement,
    /// for any number of grants.
    ///
    /// ```no_run
    /// use portcullis::{AccountId, JobError, Portcullis, Requirement};
    ///
    /// async fn export(auth: Portcullis, account: AccountId, may: Requirement) -> Result<(), JobError> {
    ///     let job = auth.job_identity(account).await?;
    ///     job.require(&may)?;
    ///     // … the work
    ///     Ok(())
    /// }
    /// ```
    ///
    /// It does not matter whether the person can sign in now. An account keeps its rights if it
    /// must change its password or enrol a factor, or is locked after failed attempts.
    ///
    /// # Errors
    /// [`JobError::NotFound`], [`JobError::Disabled`] or [`JobError::NotVerified`] if the account
    /// cannot be used. [`JobError::Fault`] during an outage: then nothing is known, and the job
    /// should run again later.
    pub async fn job_identity(&self, account: AccountId) -> Result<JobIdentity, JobError> {
        self.job_identity_in(self.context().db(), account).await
    }

    /// The same in a transaction of the caller, if `db` has one.
    pub(crate) async fn job_identity_in(
        &self,
        db: Db<'_>,
        account: AccountId,
    ) -> Result<JobIdentity, JobError> {
        let context = self.context();
        let resolver = self.per_instance::<Resolver>();
        let found = resolver.account_in(db, context, account).await?;
        let (account, grants) = found.ok_or(JobError::NotFound)?;
        if account.deleted_at.is_some() {
            return Err(JobError::NotFound);
        }
        let now = context.now();
        if !account.is_usable(now, false) {
            return Err(JobError::Disabled);
        }
        if !account.is_usable(now, context.config.login.require_verified) {
            return Err(JobError::NotVerified);
        }
        let auth = self.clone();
        Ok(JobIdentity { auth, account: Arc::new(account), grants, ceilings: Vec::new() })
    }
}

impl JobIdentity {
    /// Returns the account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Returns the grants of the account. To decide what is allowed, use `meets`.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Limits the job to what these permissions imply. A second limit applies in addition to the
    /// first, so a job never gets rights back. With an empty list, it may do nothing that needs a
    /// permission.
    #[must_use]
    pub fn limited_to(mut self, permissions: impl IntoIterator<Item = Permission>) -> Self {
        self.ceilings.push(permissions.into_iter().collect());
        self
    }

    /// Returns the ids on which a permission is granted, to filter a list in SQL. See
    /// [`Identity::instances`](crate::Identity::instances).
    pub fn instances(&self, permission: impl IntoPermission) -> Instances {
        self.rights().instances(permission)
    }

    /// True if the account has the role with this name. See
    /// [`Identity::has_role`](crate::Identity::has_role).
    pub fn has_role(&self, name: &str) -> bool {
        self.rights().has_role(name)
    }

    /// Returns the rights against which a requirement is checked.
    pub(crate) fn rights(&self) -> Rights<'_> {
        let Self { account, grants, ceilings, .. } = self;
        Rights { account, grants, ceilings, acting: Acting::Job }
    }

    /// Counts a denial of this job.
    pub(crate) fn note_denial(&self, rule: &str) {
        self.auth.note_denial(self.account.id(), rule);
    }
}

impl fmt::Debug for JobIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobIdentity").field("account", &self.account).finish_non_exhaustive()
    }
}
