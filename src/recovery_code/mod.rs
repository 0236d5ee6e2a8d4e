//! Recovery codes: ten codes on paper, for a person who has lost the other second factor.
//!
//! 1. The owner asks for codes. They get ten, once. They print them or keep them in a password manager.
//! 2. Each code works once, in place of another second factor: for an unfinished sign-in, and
//!    for a step-up. It never replaces the password. [`second_factor`](crate::second_factor) accepts it.
//! 3. A use tells how many are left, and the owner gets a mail about it. The other codes stay valid.
//!    A sign-in with the last one is not complete until the account has new codes or another factor.
//! 4. If a person asks again, they get ten new codes, and the old ones are invalid.
//!
//! # What a code is worth
//! A code has 24 characters of Crockford's base32, in four groups: 120 random bits. The case does not
//! matter, and neither do blanks and dashes. `O` is read as `0`, `I` and `L` as `1`. The database has
//! only a keyed digest of the account and the code. A digest that is sent as a code is
//! refused.
//!
//! The session then has the factor [`RecoveryCode`](crate::Factor::RecoveryCode). With it, the
//! owner can set up a new [authenticator](crate::totp), but remove none and make no new codes. The first code of the
//! new authenticator then allows both. So a thief who has the password and one recovery code can take over the account.
//!
//! # What a change needs, and what it ends
//! - The use of a code ends all [trusted devices](crate::trusted_device) of the account.
//! - To make codes, the account needs another second factor, and a second factor that is no recovery
//!   code must have been proved recently. Otherwise the answer is 401
//!   `insufficient_user_authentication`, with the factors of this account that would help.
//! - New codes end all other sessions, unfinished sign-ins, codes and links of the account. The session
//!   that asks goes on as a new one. The owner is told by mail.
//! - If the last other factor is removed, the codes are removed too. After the last code was used, the
//!   account has no recovery codes.
//! - A sign-in with the last code answers `enrolment_required`, with `recovery_codes_left` 0. It goes on
//!   when a factor is set up, or when another factor is proved and new codes are made. It ends after
//!   `session.pending_lifetime`. A step-up with the last code changes nothing about its session.
//!
//! # What a page should do
//! - After each use, show how many codes are left. Ask whether the other factor is lost. If it is, offer to
//!   set up a new authenticator now, then to remove the lost one and to make new codes. The session of the
//!   code allows this for five minutes (`session.recent_factor`).
//! - After the last one (`recovery_codes_left` 0 and the `result` `enrolment_required`), show two ways. A
//!   person who has lost the other factor sets up a new authenticator: `POST /totp` and
//!   `POST /totp/confirm`. A person who still has it proves it with `POST /reauthenticate`, and makes new
//!   codes with `POST /recovery-codes`. Either completes the sign-in.
//!
//! # Example
//!
//! ```no_run
//! use portcullis::identity::owner::{AccountOwner, Factors};
//! use portcullis::{ClientInfo, Issued, Portcullis, Rejection};
//!
//! async fn new_codes(
//!     auth: Portcullis,
//!     owner: AccountOwner<Factors>,
//!     client: ClientInfo,
//! ) -> Result<(Issued, String), Rejection> {
//!     let new = auth.recovery_codes().generate(&owner, &client).await?;
//!     let page = new.codes().join("\n");
//!     // The session goes on as a new one: it must be in the answer.
//!     Ok((new.into_issued(), page))
//! }
//! ```
//!
//! # What it does not do
//! - Codes stop working if you remove the secret with which they were digested. See
//!   [deployment](crate::guide::deployment).
//! - It does not help a person who has lost the codes too. See [`lost_access`](crate::guide::lost_access).
//!
//! # Routes
//! They are mounted with those of [`second_factor`](crate::second_factor#routes).
//! - `GET /recovery-codes` answers `{"left": 9}`.
//! - `POST /recovery-codes` takes `{}`. It answers 201 as `POST /login` does, with the member `codes`. It
//!   also takes a sign-in that must set up a factor.
//!   It takes no form, because a redirect would lose the codes. Pages without a script have their own
//!   handler.
//!
//! # Configuration
//! `session.recent_factor`: how recent the other factor must be.
//!
//! # Events
//! `user_updated` with the detail `factors enrolled`; the use of a code is part of
//! [`second_factor`](crate::second_factor).
//!
//! # Errors
//! `insufficient_user_authentication` (401), `address_not_proved`, `limited_session` (403),
//! `factor_too_weak`, `no_other_factor`, `session_limit` (409).
//!
//! # Standard
//! OWASP ASVS 5.0 6.5.1 and 6.5.2; NIST SP 800-63B-4 3.1.2 (look-up secrets, at least 112 bits).

use zeroize::Zeroizing;

use crate::account::enrolled::{ChangingFactors, FactorChange, store as enrolled_store};
use crate::account::entity::account;
use crate::account::{has_unproved_mailbox, store as account_store};
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::factor::{EnrolledFactors, Factor};
use crate::base::id::AccountId;
use crate::base::transaction::{Fault, Txn, transaction};
use crate::flow::enrolling::{Changed, FactorOwner};
use crate::flow::factor_undo::NewFactor;
use crate::flow::factors::{self, Recent};
use crate::handle::Portcullis;
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::{self, Outgoing};
use crate::session::{Issued, SessionError};

mod code;
pub(crate) mod entity;
mod error;
#[cfg(feature = "routes")]
mod routes;
pub(crate) mod store;

pub use error::RecoveryCodeError;
#[cfg(feature = "routes")]
pub(crate) use routes::rows;

use code::CodeKeys;
use entity::Model;

/// How many codes there are at once.
pub const CODES: usize = 10;

/// Makes recovery codes. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct RecoveryCodes<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the flows of recovery codes.
    pub fn recovery_codes(&self) -> RecoveryCodes<'_> {
        RecoveryCodes { auth: self }
    }
}

/// New recovery codes, and the session that goes on. Show the codes to their owner once, and store them
/// nowhere.
#[must_use = "the owner needs the codes, and the session goes on as a new one"]
pub struct NewRecoveryCodes {
    codes: Vec<String>,
    issued: Issued,
}

impl NewRecoveryCodes {
    /// Returns the codes, with dashes.
    pub fn codes(&self) -> &[String] {
        &self.codes
    }

    /// Returns the session that goes on, for the answer.
    pub fn into_issued(self) -> Issued {
        self.issued
    }
}

impl std::fmt::Debug for NewRecoveryCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewRecoveryCodes(..)")
    }
}

impl RecoveryCodes<'_> {
    /// Makes ten new codes. The old ones are invalid from then on. The session of the owner goes on as
    /// a new one. All other sessions end. A sign-in that had to set up a factor is complete afterwards.
    ///
    /// # Errors
    /// - [`RecoveryCodeError::StepUp`]: a second factor that is no recovery code must be recent.
    /// - [`RecoveryCodeError::NoOtherFactor`], [`RecoveryCodeError::AddressNotProved`].
    /// - [`RecoveryCodeError::TooWeak`] for a sign-in that must set up a stronger factor.
    /// - [`RecoveryCodeError::Session`] if the session has ended or the account was changed meanwhile;
    ///   an outage.
    pub async fn generate(
        &self,
        owner: impl Into<FactorOwner>,
        client: &ClientInfo,
    ) -> Result<NewRecoveryCodes, RecoveryCodeError> {
        let (owner, context) = (&owner.into(), self.auth.context());
        let account = owner.account();
        if account.enrolled_factors().without(Factor::RecoveryCode).is_empty() {
            return Err(RecoveryCodeError::NoOtherFactor);
        }
        factors::require_recent(self.auth, owner, Recent::NotRecoveryCode)
            .map_err(RecoveryCodeError::StepUp)?;
        let db = context.db();
        let row = db.read(account_store::find(&db.executor(), account.id())).await?;
        let row = row.filter(|row| row.epoch == account.epoch);
        let row = row.ok_or(RecoveryCodeError::Session(SessionError::Ended))?;
        let enrolled = EnrolledFactors(row.enrolled_factors).with(Factor::RecoveryCode);
        if owner.would_still_lack(self.auth, &row, enrolled).await? {
            return Err(RecoveryCodeError::TooWeak);
        }
        let now = context.now();
        let codes: Vec<Zeroizing<String>> = (0..CODES).map(|_| code::new_code()).collect();
        let keys = self.auth.per_instance::<CodeKeys>();
        let rows: Vec<Model> = codes
            .iter()
            .map(|code| {
                let (digest, key_id) = keys.newest(row.id, code);
                let (account_id, epoch) = (row.id, row.epoch + 1);
                Model { digest, account_id, key_id, epoch, created_at: now, used_at: None }
            })
            .collect();
        let changing = ChangingFactors {
            context,
            row: &row,
            enrolled,
            change: FactorChange::Added(Factor::RecoveryCode),
            client,
        };
        let passed = owner.passed().clone();
        let gone_on = transaction!(db, |txn| {
            let epoch = changing.apply(txn).await?;
            let epoch = epoch.ok_or(RecoveryCodeError::Session(SessionError::Ended))?;
            if has_unproved_mailbox(txn, row.id).await? {
                return Err(RecoveryCodeError::AddressNotProved);
            }
            store::replace(txn, row.id, rows.clone()).await?;
            let (row, factor) = (&row, Factor::RecoveryCode);
            NewFactor { context, owner, row, factor, epoch, client }.tell(txn).await?;
            let changed = Changed { row, enrolled, epoch, passed: passed.clone() };
            Ok::<_, RecoveryCodeError>(owner.go_on(self.auth, txn, changed, client).await?)
        });
        if let Err(RecoveryCodeError::Refused(_)) = &gone_on {
            owner.record_refusal(self.auth, client).await?;
        }
        let issued = gone_on?.committed(self.auth).await;
        let codes = codes.iter().map(|code| code::printed(code)).collect();
        Ok(NewRecoveryCodes { codes, issued })
    }

    /// Returns how many unused codes the account has.
    ///
    /// # Errors
    /// An outage.
    pub async fn left(&self, owner: impl Into<FactorOwner>) -> Result<u64, RecoveryCodeError> {
        let (owner, db) = (owner.into(), self.auth.context().db());
        Ok(db.read(store::left(&db.executor(), owner.account().id())).await?)
    }
}

/// A code that was found right. It is used up by [`spend`](Self::spend).
pub(crate) struct RightRecoveryCode {
    account: AccountId,
    digests: Vec<Vec<u8>>,
}

impl RightRecoveryCode {
    /// Looks up what a person typed. The statement is the same for every account.
    pub(crate) async fn find(
        auth: &Portcullis,
        account: AccountId,
        typed: &str,
    ) -> Result<Option<Self>, Fault> {
        let db = auth.context().db();
        let tidy = code::tidy(typed);
        let text = tidy.as_ref().map_or("", |code| code.as_str());
        let digests = auth.per_instance::<CodeKeys>().digests(account, text);
        let open = db.read(store::is_open(&db.executor(), account, &digests)).await?;
        Ok((open && tidy.is_some()).then_some(Self { account, digests }))
    }

    /// Uses up the code and tells the owner. Returns how many are left, or `None` if another request
    /// used it first. If it was the last one, the account has no recovery codes any more. The
    /// transaction has locked the row of the account.
    pub(crate) async fn spend(
        &self,
        auth: &Portcullis,
        txn: &Txn<'_>,
        row: &account::Model,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<Option<u64>, sea_orm::DbErr> {
        if !store::spend(txn, self.account, &self.digests, now).await? {
            return Ok(None);
        }
        let left = store::left(txn, self.account).await?;
        if left == 0 {
            enrolled_store::used_up(txn, row, Factor::RecoveryCode).await?;
        }
        let to = row.email.as_deref().and_then(Recipient::email);
        let values = Values::new().with("left", left).with_some("address", client.address());
        let notice = Outgoing::new(MessageKind::RecoveryCodeUsed, to).account(row.id);
        outbox::put(txn, auth.context(), &notice.values(values)).await?;
        Ok(Some(left))
    }
}
