//! Recovery of an account by an administrator, for a person who has lost everything: with a delay, a
//! notice, and ways to object.
//!
//! The page [`guide::lost_access`](crate::guide::lost_access) says what people can do before this, and
//! how administrators find out who asks.
//!
//! 1. A person who can no longer sign in asks an administrator. The administrator checks who they are,
//!    outside of portcullis, and [opens](AccountRecoveries::open) a recovery with a reason. If the
//!    person cannot read any verified mail address of the account, the administrator also enters a new
//!    one.
//! 2. At once, every verified address and number of the account gets a notice with a link to object. The
//!    link needs no sign-in. Nothing else changes: the owner signs in as before.
//! 3. For 72 hours ([`delay`](crate::config::AccountRecoveryConfig::delay)) nobody can go on. The
//!    recovery ends at once if somebody [objects](AccountRecoveries::object), also
//!    [in a session](AccountRecoveries::object_in_session) of the account, or if somebody proves a
//!    second factor of the account, in a sign-in or a step-up.
//! 4. After the delay, an administrator [completes](AccountRecoveries::complete) it. This sends a link
//!    to the new address, or else to a verified mail address of the account. All sessions, unfinished
//!    sign-ins, codes and links end, and every verified address gets a second notice, with a link of
//!    its own to object. The factors and the password are unchanged, so a sign-in still needs all that
//!    it needed before. Objecting is still possible. If the recovery has a new address, the
//!    administrator who opened it cannot complete it
//!    ([`second_administrator`](crate::config::AccountRecoveryConfig::second_administrator)).
//! 5. The person opens the link and [sets a new password](AccountRecoveries::finish). In the same
//!    transaction the link is used up, all second factors and recovery codes are removed, the new address
//!    becomes the address of the account, and all sessions end. The person then signs in with the new
//!    password. If a role requires a second factor, this sign-in [sets one
//!    up](crate::second_factor#roles-that-require-a-factor).
//!
//! An account has at most one open recovery. It also ends, without an event, if the account is
//! disabled, closed, deleted or erased, if it becomes a superuser, if it goes to the person who verifies
//! its address for the first time, if a backup is restored, or 14 days after the delay. A link that was
//! sent at the end of these days is valid for its lifetime.
//!
//! # What does not end it
//! - A sign-in with the password alone. Otherwise a thief of the password could stop every recovery.
//! - A new password, also by a mail for a forgotten one, a change of an address, and signing out
//!   everywhere. A thief in a session or in the mailbox can do all this. They could end the link of the
//!   owner without a trace, and a reset by mail removes no second factor, so the person may still need
//!   the link. An objection is recorded. So an owner who did not ask for a recovery must object: tell
//!   them so on these pages too. Only a link that was sent to an address of the account stops working
//!   when the account leaves this address.
//! - A trusted device. Its sign-in proves no second factor. An owner who uses one, or whose session lasts
//!   for weeks, does not end a recovery by what they do every day. Then only the notices warn them. So
//!   show a banner on your pages while `GET /account/recovery` says `open` or `completed`, with a button
//!   to object.
//!
//! # Administrators
//! [`RecoveryActor::Administrator`] takes the identity of a request. These rules are always checked:
//!
//! - The session has the permission [`auth-account:recover`](RECOVER). Grant it, or put it into a role.
//!   It is the only permission of a domain of portcullis that can be granted. A superuser and an account
//!   with `*` have it too.
//! - A factor was proved in the last five minutes
//!   ([`recent_factor`](crate::config::SessionConfig::recent_factor)).
//! - It is not the account of the administrator.
//! - The account has no right that the session lacks: no permission, no role, and it is no superuser.
//!   Otherwise the administrator could get this right with the account. So a role for a help desk also
//!   needs the permissions and the roles of the accounts that it helps. Roles of
//!   [levels](crate::permission) are compared by their permissions.
//!
//! [`RecoveryActor::Program`] is for a program of the operator. It checks nothing.
//!
//! # What a link says
//! The routes answer the same for a link that is wrong, used, too old, or whose recovery has ended. So
//! a stranger learns nothing about an account. Only the browser that used a link is told for one minute
//! that it worked.
//!
//! # An address that was replaced
//! The new address replaces all mail addresses of the account, because each of them could reset the
//! password. Usernames and the phone number stay. The replaced main address gets the notice and the link
//! of every [change of the address](crate::contact), which puts it back for seven days. So an owner who
//! was away while they could object still gets the account back. If the new address was the main address
//! before, it is put back itself, and the address that it replaces gets no link.
//!
//! # Example
//!
//! ```no_run
//! use portcullis::account_recovery::{NewRecovery, RECOVER, RecoveryActor};
//! use portcullis::{AccountId, Identity, Portcullis, Rejection};
//!
//! async fn open(auth: Portcullis, admin: Identity, id: AccountId) -> Result<(), Rejection> {
//!     // `open` also checks the permission. A guard answers earlier and records the denial.
//!     let new = NewRecovery::new("called back at the number in the contract");
//!     let actor = RecoveryActor::Administrator(&admin);
//!     let opened = auth.account_recovery().open(id, new, actor).await?;
//!     if opened.notices == 0 {
//!         println!("nobody can object to {:?}", opened.recovery);
//!     }
//!     Ok(())
//! }
//!
//! # fn rule() -> Result<portcullis::Requirement, portcullis::PermissionError> {
//! let guard = portcullis::Requirement::permission(RECOVER)?;
//! # Ok(guard)
//! # }
//! ```
//!
//! # What it does not do
//! - It does not check who a person is.
//! - It never signs anybody in, and shows the link to no administrator. But an administrator could enter
//!   an address of their own as the new one. So another administrator must complete such a recovery, every
//!   step is recorded with who did it, and the rights of both are compared.
//! - An objection always wins. If a thief reads the mail of the account or has its second factor,
//!   portcullis cannot tell them from the owner. See
//!   [`guide::lost_access`](crate::guide::lost_access#somebody-else-is-in-the-account).
//! - It needs a notifier, because the link is sent by mail.
//!
//! # Routes
//! They are separate: `.nest("/auth", auth.routes().merge(portcullis::account_recovery::routes(&auth)))`.
//! Without them the links of the notices lead nowhere. Administrators use your own handlers.
//! - `GET /account/recovery` answers `{"recoveries":[{"state":"open", …}]}`, the newest first, for the
//!   owner.
//! - `POST /account/recovery/reject` objects in a session. It answers 204.
//! - `POST /account/recovery/object` takes the `token` of a notice. It answers 204.
//! - `POST /account/recovery/finish` takes the `token` of the link and a `password`. It answers 204.
//!
//! A [limited session](crate::identity::owner) needs `auth-account:factors` in its ceiling.
//!
//! # Configuration
//! [`AccountRecoveryConfig`](crate::config::AccountRecoveryConfig);
//! `retention.account_recoveries`; `mail.links.recovery_object`, `mail.links.account_recovery`.
//!
//! # Events
//! `account_recovery_opened`, `account_recovery_objected`, `account_recovery_cancelled`,
//! `account_recovery_completed`, `account_recovered`; `user_updated` with `factors removed`;
//! `email_changed` with `account recovery`. The detail of what an administrator does is who it was, after
//! `again` if the link was sent again, and the event has their session. If an administrator may not do
//! it, this is counted as a denial of their account: `recovery(own_account)`, `recovery(more_rights)`, or
//! the requirement.
//!
//! # Error codes
//! `wrong_code` (403), `link_used` (409), `invalid_fields` (422), `email_taken` (409),
//! `recovery_not_found` (404). Only from methods: `own_account`, `more_rights`, `same_administrator`,
//! `account_disabled`, `address_not_proved` (403), `account_not_found` (404), `recovery_open`,
//! `recovery_too_early` (409).
//!
//! # Standard
//! NIST SP 800-63B-4 4.2; OWASP ASVS 5.0 6.4.4 and 6.4.6.

use crate::base::transaction::{Db, OpenTransaction};
use crate::handle::Portcullis;

mod actor;
mod address;
mod administer;
pub(crate) mod entity;
mod error;
mod notice;
mod person;
mod recovery;
#[cfg(feature = "routes")]
mod routes;
pub(crate) mod store;

pub use crate::account::recovering::RecoveryState;
pub use actor::{RECOVER, RecoveryActor};
pub use error::AccountRecoveryError;
pub use recovery::{AccountRecovery, NewRecovery, OpenedRecovery};
#[cfg(feature = "routes")]
pub use routes::routes;

/// Recovers accounts. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct AccountRecoveries<'a> {
    auth: &'a Portcullis,
    db: Db<'a>,
}

impl Portcullis {
    /// Returns the flows with which administrators recover accounts.
    pub fn account_recovery(&self) -> AccountRecoveries<'_> {
        AccountRecoveries { auth: self, db: self.context().db() }
    }
}

impl<'a> AccountRecoveries<'a> {
    /// Does the same inside a transaction of the caller. Nothing is stored unless the caller commits.
    #[must_use]
    pub fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { db: self.db.within(txn), ..self }
    }
}
