//! What an account may do, for a job that runs in the background and has no session.

use std::fmt;
use std::sync::Arc;

use crate::account::Account;
use crate::base::id::AccountId;
use crate::base::problem::problem;
use crate::base::transaction::{Fault, may_fault};
use crate::handle::Portcullis;
use crate::identity::resolved::Rights;
use crate::identity::resolver::Resolver;
use crate::permission::typed::IntoPermission;
use crate::permission::{Grants, Instances, Permission, PermissionSet};

/// An account for which a job runs, and what it may do. [`Portcullis::job_identity`] returns it.
///
/// It is not an [`Identity`](crate::Identity): nobody has signed in, so there is no session and no
/// factor was proved. It says the truth about one moment. Ask again before each piece of work.
///
/// - `meets`, `check`, `require` and `explain` decide like those of a request, except for what only
///   a session can have. A factor, the age of one and a `custom` rule are never met, and the
///   outcome is [`Denied`](crate::Outcome::Denied).
/// - No flow that changes an account, lists its sessions or proves something accepts it.
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
    /// The account does not exist or was deleted.
    #[error("there is no such account")]
    NotFound,
    /// The account is disabled.
    #[error("the account is disabled")]
    Disabled,
    /// No address of the account was verified, and `login.require_verified` is on.
    #[error("the account is not verified")]
    NotVerified,
    /// The account is not allowed to do this, or not in a job.
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
    /// however many grants there are.
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
    /// It does not matter whether the person could sign in now. An account that must change its
    /// password or enrol a factor, or that is locked after failed attempts, still has its rights.
    ///
    /// # Errors
    /// [`JobError::NotFound`], [`JobError::Disabled`] or [`JobError::NotVerified`] if the account
    /// cannot be used. [`JobError::Fault`] during an outage: then nothing is known, and the job
    /// should be tried again later.
    pub async fn job_identity(&self, account: AccountId) -> Result<JobIdentity, JobError> {
        let context = self.context();
        let resolver = self.per_instance::<Resolver>();
        let found = resolver.account(context, account).await?;
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

    /// Limits the job to what these permissions imply, whatever its account may do. A second limit
    /// applies in addition to the first, so a job can never get back what was taken away. Without
    /// any permission, it may do nothing that needs one.
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

    /// Returns what a requirement is checked against.
    pub(crate) fn rights(&self) -> Rights<'_> {
        let Self { account, grants, ceilings, .. } = self;
        Rights { account, grants, ceilings, identity: None }
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
