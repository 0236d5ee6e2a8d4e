//! Jobs that act as an account: a background task that respects what a person may do.
//!
//! A person starts an export, or plans a mail for tomorrow. The work happens later, when no request and
//! perhaps no session is left. Store the account's id with the job. When the job runs, ask what the account
//! may do *then*:
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
//! [`job_identity`](crate::Portcullis::job_identity) costs one statement, however many grants the account
//! has. The result is a snapshot. Ask again before each piece of work, and not once for a batch that runs for
//! an hour. Then a revoked role or a disabled account stops the job at its next step.
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
//! | `factor(..)`, `factor_within(..)`, `within(..)` | denied: nobody has proved anything |
//! | `custom(..)`, and a `not` with a `custom` inside | denied: your rule looks at a session, and there is none |
//!
//! The outcome is never "step up", because nobody is there to pass a factor. If an action needs a recent
//! password check, let the request check it *before* it stores the job, and give the job a requirement
//! without it.
//!
//! # What a job may not do
//!
//! It is not an [`Identity`](crate::Identity), and it has no [`Session`](crate::Session) and no
//! [`AccountOwner`](crate::AccountOwner). So it cannot change the password or an address, list sessions or
//! answer a challenge: such code does not compile. A job that works for the *service* and not for a person
//! needs no identity at all. Call the methods of [`Portcullis`](crate::Portcullis) directly.
//!
//! # When the account cannot be used
//!
//! | error | meaning | what to do with the job |
//! |---|---|---|
//! | [`NotFound`](crate::JobError::NotFound) | deleted, closed by its owner, erased, or never there | delete the job; the owner may still reopen a closed account |
//! | [`Disabled`](crate::JobError::Disabled) | disabled now; it may be enabled again | put it off, or give it up |
//! | [`NotVerified`](crate::JobError::NotVerified) | `login.require_verified` is on, and no address is verified | put it off |
//! | [`Denied`](crate::JobError::Denied) | the account may not do this any more | give it up, and tell the person |
//! | [`Fault`](crate::JobError::Fault) | the database does not answer | try again later; never treat it as a refusal |
//!
//! A lock after failed sign-ins, a required change of the password and a missing second factor stop a
//! sign-in, but not a job. To stop the jobs of an account at once, disable the account.
//!
//! # Fewer rights than the account
//!
//! A job should get only what it needs. Then a fault in its code does little harm, even for a superuser:
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
//! [`identity.ceiling()`](crate::Identity::ceiling) with it. Otherwise the job could do more than the person
//! who started it.
//!
//! # What is recorded
//!
//! A denial by `require` is counted and traced like that of a request. Its rule is named
//! `job(permission(..))`, so that you can tell them apart in
//! [`denials_of`](crate::audit_log::AuditLog::denials_of). `meets` and `check` record nothing. What the job
//! does to your own tables is yours to record.
