//! Closing, erasing and exporting accounts.
//!
//! # Closing
//!
//! 1. The owner, who has proved a factor within the last five minutes, closes the account
//!    ([`OwnAccount::close`], `DELETE /account`). From then on, nobody can sign in. Its sessions,
//!    codes and links end. A stranger gets the same answers as for an account that does not exist
//!    or was deleted.
//! 2. A notice goes to every address and number that the account has proved. Its link leads to a
//!    page of the application. Opening it changes nothing. The page posts the token to `POST
//!    /account/keep`, which reopens the account. No session is needed, and none is started. The
//!    password is unchanged.
//! 3. After 14 days (`retention.closed_accounts`) [maintenance](crate::maintenance) erases the
//!    account. Until then all data is kept, and its names stay taken: nobody can register or import
//!    an account with them. Only a mail address that the account never proved goes to the person
//!    who proves it.
//!
//! The application can do the same with [`Accounts::close`] and [`Accounts::keep`].
//!
//! **An account without a proved address** can be closed too, because its owner may want to leave.
//! No link is sent, because another person might read it. `notices` in the answer is then 0, so
//! that your page can say so. During the waiting time, the application can reopen the account with
//! [`Accounts::keep`].
//!
//! **A thief** who knows the password can close the account. The links go to the owner, who reopens
//! the account and then asks for a new password. If the thief has changed the mail address before,
//! the old address has a [link that undoes this](crate::contact). That link reopens a closed
//! account too, and so does a link that undoes the addition of a sign-in name.
//!
//! **Administrators.** An account can be disabled and enabled while it is closed. A link then
//! reopens it, but it stays disabled. [`delete`](Accounts::delete) keeps the data of a closed
//! account: maintenance does not erase it, and no link works any more. [`erase`](Accounts::erase)
//! erases it at once.
//!
//! # Erasing
//!
//! [`Accounts::erase`] removes everything that is kept about a person, in one transaction:
//!
//! - all names and addresses, also former ones, so that they are free again at once;
//! - the password hash, the second factors, and recoveries by administrators;
//! - sessions with their data, also those of the same browser before it signed in;
//! - roles, groups, permissions and memberships;
//! - codes and links, also those that were asked for before an address had this account; messages
//!   that were not sent yet, and the record of sent ones;
//! - the record of notices about new devices, counted denials, records of attempts, and the counts
//!   of messages and requests for these names.
//!
//! Two things are kept. The first is the id, with the times of its creation and erasure, so that an
//! [import](crate::account_import) skips it. The second is the events. They keep their kind and
//! time for as long as [all events](crate::config::RetentionConfig::events). Their network
//! addresses, sessions and details are removed after 30 days (`retention.erased_sources`). Until
//! then, an operator can still investigate abuse. A request that was running may write something
//! after the erasure. Maintenance removes this an hour later.
//!
//! The hooks [`before_erase`](crate::hook::Hooks::before_erase), which may refuse, and
//! [`after_erase`](crate::hook::Hooks::after_erase) run in the same transaction. Use them to clean
//! your own tables. If a hook refuses during maintenance, maintenance asks again after a day. If it
//! fails, maintenance asks again after an hour.
//!
//! # Exporting
//!
//! [`Accounts::export`] and `GET /account/export` return one JSON object:
//!
//! | member | content |
//! |---|---|
//! | `account` | names, [state](crate::account::AccountState), times, enrolled factors, whether it has a password |
//! | `login_names`, `former_addresses` | all sign-in names; when former addresses were left (only their digests are kept) |
//! | `sessions`, `session_data` | network address, browser and times; what the application stored with them |
//! | `roles`, `groups`, `permissions`, `memberships`, `membership_questions` | what it may do |
//! | `events`, `denials`, `attempts` | what happened and from where; attempts are found by the account's names |
//! | `codes_and_links`, `messages` | what was sent and when, without codes, tokens and content |
//! | `new_devices`, `new_device_digests` | when the owner was notified about new devices |
//! | `account_recoveries` | [recoveries](crate::account_recovery) by administrators: state, reason, times |
//! | `authenticators`, `recovery_codes` | names and times of second factors, without seeds and codes |
//! | `api_keys` | names, scopes, times and last networks of [API keys](crate::api_key), without secrets |
//! | `trusted_devices` | addresses, browsers and times of [trusted devices](crate::trusted_device), without tokens |
//! | `application` | what [`exported_data`](crate::Builder::exported_data) adds |
//! | `incomplete` | the members above that have more than 10 000 rows and only show the newest |
//!
//! It has no secrets, hashes or digests.
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, id: portcullis::AccountId)
//! # -> Result<(), portcullis::own_account::OwnAccountError> {
//! let everything = auth.accounts().export(id).await?;
//! let closed = auth.accounts().close(id).await?;
//! println!("erased at {}, {} links sent: {everything}", closed.erase_at, closed.notices);
//! auth.accounts().keep(id).await?; // it is open again
//! auth.accounts().erase(id).await?; // and now only its id is left
//! # Ok(())
//! # }
//! ```
//!
//! # The last administrator
//! The last superuser whose account can be used can neither be closed nor erased. It cannot be
//! [disabled](Accounts::disable), [deleted](Accounts::delete) or
//! [demoted](Accounts::set_superuser) either. If the last two leave at the same time, one of them is
//! refused.
//!
//! # What it does not do
//! - It does not change your own tables. Use the hooks. An erasure triggers no `ON DELETE` rule on
//!   `auth_account`, because its row stays.
//! - It does not remove anything from backups, logs or mailboxes.
//! - Events of a visitor's session name no account. So the event of a visitor who later signed in
//!   keeps its network address until
//!   [its own time](crate::config::RetentionConfig::events) is over.
//! - It does not find codes that were sent to a visitor with the same address, limits in memory or
//!   in Redis, or what is counted about an address that the account never proved, because it may be
//!   another person's. All of these disappear within hours.
//!
//! # Routes
//! Mount them separately: `.nest("/auth",
//! auth.routes().merge(portcullis::own_account::routes(&auth)))`.
//! - `DELETE /account` answers `{"result":"closed","erase_at":…,"notices":1}` and signs out.
//! - `POST /account/keep` `{token}` answers 204.
//! - `GET /account/export` answers with the object above.
//!
//! A [limited session](crate::identity::owner) needs `auth-account:close` and `auth-account:export`
//! in its ceiling.
//!
//! # Configuration
//! `retention.closed_accounts`, `retention.erased_sources`, `mail.links.account_keep`,
//! `session.recent_factor`.
//!
//! # Events
//! `user_closed`, `user_kept`, `user_erased`, `user_exported`.
//!
//! # Error codes
//! `insufficient_user_authentication` (401), `limited_session` (403), `last_superuser` (409),
//! `wrong_code` (403), `link_used` (409). Only from methods: `account_not_found` (404),
//! `account_erased` (410).

use sea_orm::DbErr;

#[cfg(doc)]
use crate::account::Accounts;
use crate::account::entity::account;
use crate::base::clock::Timestamp;
use crate::base::id::LineageId;
use crate::base::transaction::Txn;
use crate::context::Context;
use crate::flow::factors::would_help;
use crate::handle::Portcullis;
use crate::identity::Identity;
use crate::session::store as session_store;

mod close;
mod erase;
mod error;
mod export;
#[cfg(feature = "routes")]
mod routes;
mod store;

pub use close::ClosedAccount;
pub(crate) use erase::{Swept, sweep};
pub use error::OwnAccountError;
#[cfg(feature = "routes")]
pub use routes::routes;

/// Closes, keeps and exports the account of its owner. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct OwnAccount<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the flows with which owners close, keep and export their account.
    pub fn own_account(&self) -> OwnAccount<'_> {
        OwnAccount { auth: self }
    }
}

/// Returns true if the sign-in of an owner has not ended since the request was resolved. The
/// account's row must be locked.
async fn sign_in_goes_on(
    txn: &Txn<'_>,
    row: &account::Model,
    epoch: i64,
    lineage: LineageId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let same = row.epoch == epoch && row.deleted_at.is_none();
    Ok(same && session_store::goes_on(txn, row.id, lineage, now).await?)
}

/// Checks that a factor was proved recently. A stolen session alone must not be able to close the
/// account or export its data.
fn recent_factor(context: &Context, identity: &Identity) -> Result<(), OwnAccountError> {
    if identity.has_recent_factor(context) {
        return Ok(());
    }
    let max_age = context.config.session.recent_factor;
    Err(OwnAccountError::FactorTooOld { max_age, factors: would_help(context, identity) })
}
