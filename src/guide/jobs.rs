//! Jobs that act as an account: a background task that respects what a person may do.
//!
//! A person starts an export, or schedules a mail for tomorrow. The work happens later, without a
//! request and perhaps without a session. Store the account's id with the job. When the job runs,
//! ask what the account may do *then*:
//!
//! ```no_run
//! use portcullis::{AccountId, JobError, JobIdentity, Portcullis, Requirement};
//!
//! portcullis::permissions! { report: Read, Send; }
//!
//! /// A row of your own table of jobs.
//! struct Job {
//!     account_id: AccountId,
//!     report: String,
//! }
//!
//! async fn run(auth: &Portcullis, job: &Job) -> Result<(), JobError> {
//!     let who = auth.job_identity(job.account_id).await?;
//!     let rule = Requirement::typed(report::Send).on(&job.report).map_err(|_| JobError::Denied)?;
//!     who.require(&rule)?;
//!     send(&who, &job.report).await
//! }
//! # async fn send(_: &JobIdentity, _: &str) -> Result<(), JobError> { Ok(()) }
//! ```
//!
//! [`job_identity`](crate::Portcullis::job_identity) costs one statement, for any number of grants.
//! The result is a snapshot. Ask again before each piece of work, not only once in an hour. Then a
//! revoked role or a disabled account stops the job at its next step.
//!
//! # What a job may do
//!
//! A [`JobIdentity`](crate::JobIdentity) answers `meets`, `check`, `require`, `explain`, `has_role` and
//! `instances` from the roles, groups, permissions and levels of the account. A superuser may do everything.
//!
//! | requirement | in a job |
//! |---|---|
//! | `permission(..)`, `role(..)`, `all`, `any`, `not` | as in a request |
//! | `signed_in()` | met: the job runs for an account |
//! | `factor(..)`, `factor_within(..)`, `within(..)` | denied: a job has proved no factor |
//! | `custom(..)`, and a `not` with a `custom` inside | denied: your rule needs a session, and a job has none |
//!
//! The outcome is never "step up", because a job cannot pass a factor. If an action needs a recent
//! password check, let the request check it *before* it stores the job. Then use a requirement
//! without it in the job.
//!
//! # What a job may not do
//!
//! A `JobIdentity` is not an [`Identity`](crate::Identity), and it has no
//! [`Session`](crate::Session) and no [`AccountOwner`](crate::AccountOwner). So a job cannot change
//! the password or an address, list sessions or answer a challenge: such code does not compile. A
//! job that works for the *service* and not for a person needs no identity. Call the methods of
//! [`Portcullis`](crate::Portcullis) directly.
//!
//! # When the account cannot be used
//!
//! | error | meaning | what to do with the job |
//! |---|---|---|
//! | [`NotFound`](crate::JobError::NotFound) | deleted, closed, erased, or never existed: see below | delete the job |
//! | [`Disabled`](crate::JobError::Disabled) | disabled now; it may be enabled again | postpone or delete it |
//! | [`NotVerified`](crate::JobError::NotVerified) | `login.require_verified` is on, and no address is verified | postpone it |
//! | [`Denied`](crate::JobError::Denied) | the account may not do this any more | delete it, and tell the person |
//! | [`Fault`](crate::JobError::Fault) | the database does not answer | run it again later; never treat this as a refusal |
//!
//! | state of the account | `job_identity` answers |
//! |---|---|
//! | active | the identity |
//! | to be disabled at a later time | the identity until then, `Disabled` afterwards |
//! | disabled | `Disabled` |
//! | closed by its owner or by [`close`](crate::account::Accounts::close) | `NotFound`; if the owner [reopens](crate::own_account) it, the identity again |
//! | [deleted](crate::account::Accounts::delete) | `NotFound`, permanently |
//! | [erased](crate::account::Accounts::erase) | `NotFound`, permanently |
//! | closed or deleted, and also disabled | `NotFound` |
//!
//! `NotFound` does not tell these apart. To keep the job of a closed account until it is erased, delete the job in
//! the hook [`before_erase`](crate::hook::Hooks::before_erase) instead.
//!
//! A lock after failed sign-ins, a required change of the password and a missing second factor stop a
//! sign-in, but not a job. To stop the jobs of an account at once, disable the account.
//!
//! # Fewer rights than the account
//!
//! A job should get only the rights that it needs. Then a fault in its code does little harm, even
//! for a superuser:
//!
//! ```no_run
//! # use portcullis::{AccountId, JobError, JobIdentity, Portcullis};
//! use portcullis::Permission;
//!
//! # async fn example(auth: Portcullis, account: AccountId, seven: Permission) -> Result<(), JobError> {
//! let who = auth.job_identity(account).await?.limited_to([seven]); // such as `report:read:7`
//! # Ok(())
//! # }
//! ```
//!
//! [`limited_to`](crate::JobIdentity::limited_to) only takes rights away. A second call limits the job
//! further. A role counts only if the limit covers `role:<name>`.
//!
//! If a limited session may start a job, limit the job in the same way: store the permissions of
//! [`identity.ceiling()`](crate::Identity::ceiling) with it. Otherwise the job could do more than
//! the session that started it.
//!
//! # What is recorded
//!
//! A denial by `require` is counted and traced like the denial of a request. Its rule is named
//! `job(permission(..))`, so that you can distinguish them in
//! [`denials_of`](crate::audit_log::AuditLog::denials_of). `meets` and `check` record nothing.
//! Record yourself what the job does to your own tables.
