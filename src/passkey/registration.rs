//! How an account gets its passkeys, and how they are named and removed.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use uuid::Uuid;

use super::Passkeys;
use super::assertion::digest_of;
use super::challenge::{self, ChallengePurpose, Holder};
use super::entity::passkey;
use super::error::PasskeyError;
use super::options::{self, PasskeyOptions, PasskeySignals, RelyingParty};
use super::store;
use crate::account::enrolled::{ChangingFactors, FactorChange};
use crate::account::entity::account;
use crate::account::{has_unproved_mailbox, store as account_store, way_in};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{EnrolledFactors, Factor};
use crate::base::id::PasskeyId;
use crate::base::invalid_field::InvalidField;
use crate::base::transaction::transaction;
use crate::flow::enrolling::{self, Changed, FactorOwner};
use crate::flow::factor_undo::NewFactor;
use crate::flow::factors::{self, Recent};
use crate::identity::{AccountOwner, enrolment, owner};
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::{self, Outgoing};
use crate::rate_limit::PASSKEY_CHALLENGES;
use crate::session::{Issued, SessionError, store as session_store};
use crate::webauthn::{Credential, Presence, RegistrationResponse};

/// How long ago the password may have been proved when the browser makes a passkey by itself.
const AFTER_PASSWORD: Duration = Duration::from_secs(60);

/// A passkey that was added.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "the session goes on as the new one"]
pub struct AddedPasskey {
    /// Its id.
    pub id: PasskeyId,
    /// The new session of the owner, if the passkey is a second factor. Add it to the answer.
    pub issued: Option<Issued>,
    /// What the page tells the browser.
    pub signals: Option<PasskeySignals>,
}

/// The session after a passkey was removed.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "the session goes on as the new one"]
pub struct RemovedPasskey {
    /// The new session of the owner. Add it to the answer.
    pub issued: Issued,
    /// What the page tells the browser.
    pub signals: Option<PasskeySignals>,
}

/// A passkey of an account, as its owner sees it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passkey {
    /// The id.
    pub id: PasskeyId,
    /// The name that its owner has given it.
    pub name: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was used last.
    pub last_used_at: Option<Timestamp>,
    /// True if it is a second factor of the account. A passkey that the browser has made by itself is none.
    pub second_factor: bool,
    /// True if it is stored outside of its device too, so that it is not lost with the device.
    pub synced: bool,
    /// The model of its authenticator (AAGUID), if it is known.
    pub aaguid: Option<Uuid>,
}

impl From<passkey::Model> for Passkey {
    fn from(row: passkey::Model) -> Self {
        Self {
            id: row.id,
            name: row.name,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            second_factor: row.is_factor,
            synced: row.backed_up,
            aaguid: Some(row.aaguid).filter(|aaguid| !aaguid.is_nil()),
        }
    }
}

impl Passkeys<'_> {
    /// Begins to add a passkey. Pass the options to the browser, and its answer to [`add`](Self::add).
    ///
    /// # Errors
    /// - [`PasskeyError::StepUp`], [`PasskeyError::AddressNotProved`], [`PasskeyError::TooMany`],
    ///   [`PasskeyError::NoDomain`].
    /// - [`PasskeyError::RateLimited`] if too many challenges were started for the account.
    /// - [`PasskeyError::Session`] if the account was changed meanwhile; an outage.
    pub async fn start(
        &self,
        owner: impl Into<FactorOwner>,
    ) -> Result<PasskeyOptions, PasskeyError> {
        let owner = &owner.into();
        factors::require_recent(self.auth, owner, Recent::SecondFactor)
            .map_err(PasskeyError::StepUp)?;
        self.options(owner, ChallengePurpose::Add).await
    }

    /// Begins to add a passkey that the browser makes by itself, right after its user has typed the password
    /// (`mediation: 'conditional'`). Such a passkey signs in as the password does: it is one factor, and no
    /// second factor. It ends with the password.
    ///
    /// # Errors
    /// As [`start`](Self::start). The password must have been proved in this session within the last minute.
    pub async fn start_by_browser(
        &self,
        owner: &AccountOwner<owner::Factors>,
    ) -> Result<PasskeyOptions, PasskeyError> {
        let asks = &FactorOwner::from(owner);
        factors::require_factor_within(self.auth, asks, Factor::Password, AFTER_PASSWORD)
            .map_err(PasskeyError::StepUp)?;
        self.options(asks, ChallengePurpose::AddByBrowser).await
    }

    async fn options(
        &self,
        owner: &FactorOwner,
        purpose: ChallengePurpose,
    ) -> Result<PasskeyOptions, PasskeyError> {
        let context = self.auth.context();
        let party = RelyingParty::of(context)?;
        self.count(PASSKEY_CHALLENGES, owner.account().id()).await?;
        let (row, passkeys) = self.read(owner).await?;
        self.has_room(owner, &passkeys)?;
        let db = context.db();
        if db.read(has_unproved_mailbox(&db.executor(), row.id)).await? {
            return Err(PasskeyError::AddressNotProved);
        }
        let handle = options::handle(context, row.id).await?;
        let holder = Holder::Session(row.id, owner.session_id());
        let new = challenge::begin(context, purpose, &holder).await?;
        Ok(party.creation(context, &row, &handle, &passkeys, purpose, &new))
    }

    /// Adds the passkey that the browser has made. If it is a second factor, the session of the owner goes on as
    /// a new one, in which it is proved, and all other sessions end. A sign-in that had to set up a factor is
    /// complete afterwards.
    ///
    /// # Errors
    /// - [`PasskeyError::Invalid`] for a name that is empty, longer than 64 characters, or contains a control
    ///   character. The challenge is still open.
    /// - [`PasskeyError::ChallengeEnded`], [`PasskeyError::NotAccepted`], [`PasskeyError::AlreadyAdded`].
    /// - [`PasskeyError::StepUp`], [`PasskeyError::AddressNotProved`], [`PasskeyError::TooMany`],
    ///   [`PasskeyError::NoDomain`].
    /// - [`PasskeyError::Session`] if the session has ended or the account was changed meanwhile; an outage.
    pub async fn add(
        &self,
        owner: impl Into<FactorOwner>,
        name: &str,
        response: &RegistrationResponse,
        client: &ClientInfo,
    ) -> Result<AddedPasskey, PasskeyError> {
        let (owner, context) = (&owner.into(), self.auth.context());
        let name = InvalidField::label(name).map_err(|fault| PasskeyError::Invalid(vec![fault]))?;
        let party = RelyingParty::of(context)?;
        let holders = [Holder::Session(owner.account().id(), owner.session_id())];
        let purposes = [ChallengePurpose::Add, ChallengePurpose::AddByBrowser];
        let purpose = challenge::take(context, response.challenge(), &purposes, &holders).await?;
        let by_browser = purpose == ChallengePurpose::AddByBrowser;
        if !by_browser {
            factors::require_recent(self.auth, owner, Recent::SecondFactor)
                .map_err(PasskeyError::StepUp)?;
        }
        let presence = if by_browser { Presence::NotRequired } else { Presence::Required };
        let credential = response.check(party.expected(), presence)?;
        let (row, passkeys) = self.read(owner).await?;
        self.has_room(owner, &passkeys)?;
        let now = context.now();
        let new = New { credential, name, by_browser, now };
        let id = PasskeyId::new(now);
        let issued = match by_browser {
            true => self.insert_by_browser(&row, new.row(id, &row, row.epoch), client).await?,
            false => {
                Some(self.insert(owner, &row, new.row(id, &row, row.epoch + 1), client).await?)
            }
        };
        Ok(AddedPasskey { id, issued, signals: options::signals_after(context, &row).await })
    }

    async fn insert(
        &self,
        owner: &FactorOwner,
        row: &account::Model,
        new: passkey::Model,
        client: &ClientInfo,
    ) -> Result<Issued, PasskeyError> {
        let context = self.auth.context();
        let enrolled = EnrolledFactors(row.enrolled_factors).with(Factor::Passkey);
        let change = FactorChange::Added(Factor::Passkey);
        let changing = ChangingFactors { context, row, enrolled, change, client };
        let passed = owner.passed().clone().with(Factor::Passkey, new.created_at);
        let gone_on = transaction!(context.db(), |txn| {
            let epoch = changing.apply(txn).await?;
            let epoch = epoch.ok_or(PasskeyError::Session(SessionError::Ended))?;
            if has_unproved_mailbox(txn, row.id).await? {
                return Err(PasskeyError::AddressNotProved);
            }
            if !EnrolledFactors(row.enrolled_factors).contains(Factor::Passkey) {
                // Something took the factor away without deleting them, such as an older version on another
                // node. They must not count again now.
                store::remove_factors(txn, row.id).await?;
            }
            if !store::insert(txn, new.clone()).await? {
                return Err(PasskeyError::AlreadyAdded);
            }
            NewFactor { context, owner, row, factor: Factor::Passkey, epoch, client }
                .tell(txn)
                .await?;
            let changed = Changed { row, enrolled, epoch, passed: passed.clone() };
            Ok::<_, PasskeyError>(owner.go_on(self.auth, txn, changed, client).await?)
        });
        if let Err(PasskeyError::Refused(_)) = &gone_on {
            owner.record_refusal(self.auth, client).await?;
        }
        Ok(gone_on?.committed(self.auth).await)
    }

    async fn insert_by_browser(
        &self,
        row: &account::Model,
        new: passkey::Model,
        client: &ClientInfo,
    ) -> Result<Option<Issued>, PasskeyError> {
        let context = self.auth.context();
        let event = Event::new(EventKind::AccountUpdated, new.created_at).account(row.id);
        let event = event.from_client(client).detail("passkey made by the browser");
        let to = row.email.as_deref().and_then(Recipient::email);
        let values =
            Values::new().with("factor", Factor::Passkey.in_words()).with("by_browser", true);
        let values = values.with_some("address", client.address());
        let notice = Outgoing::new(MessageKind::FactorAdded, to).account(row.id).values(values);
        transaction!(context.db(), |txn| {
            session_store::lock_account(txn, row.id).await?;
            let now = account_store::find(txn, row.id).await?;
            if now.is_none_or(|now| now.epoch != row.epoch) {
                return Err(PasskeyError::Session(SessionError::Ended));
            }
            if has_unproved_mailbox(txn, row.id).await? {
                return Err(PasskeyError::AddressNotProved);
            }
            // Again, because such a passkey does not change the epoch.
            let most = context.config.passkey.max_per_account as usize;
            if store::of_account(txn, row.id).await?.len() >= most {
                return Err(PasskeyError::TooMany);
            }
            if !store::insert(txn, new.clone()).await? {
                return Err(PasskeyError::AlreadyAdded);
            }
            audit_log::record(txn, &event).await?;
            outbox::put(txn, context, &notice).await?;
            Ok(())
        })?;
        Ok(None)
    }

    /// Lists the passkeys of the account, the oldest first.
    ///
    /// # Errors
    /// An outage.
    pub async fn list(
        &self,
        owner: &AccountOwner<owner::Factors>,
    ) -> Result<Vec<Passkey>, PasskeyError> {
        let db = self.auth.context().db();
        let rows = db.read(store::of_account(&db.executor(), owner.account().id())).await?;
        Ok(rows.into_iter().map(Passkey::from).collect())
    }

    /// Returns what a page tells the browser about the passkeys of the account. `None` if it has never had one.
    ///
    /// # Errors
    /// [`PasskeyError::Session`], an outage.
    pub async fn signals(
        &self,
        owner: &AccountOwner<owner::Factors>,
    ) -> Result<Option<PasskeySignals>, PasskeyError> {
        let (row, _) = self.read(&FactorOwner::from(owner)).await?;
        Ok(options::signals(self.auth.context(), &row).await?)
    }

    /// Gives a passkey another name.
    ///
    /// # Errors
    /// - [`PasskeyError::Invalid`], as for [`add`](Self::add).
    /// - [`PasskeyError::NotFound`], also for a passkey of another account; an outage.
    pub async fn rename(
        &self,
        owner: &AccountOwner<owner::Factors>,
        id: PasskeyId,
        name: &str,
        client: &ClientInfo,
    ) -> Result<(), PasskeyError> {
        let (context, account) = (self.auth.context(), owner.account().id());
        let name = InvalidField::label(name).map_err(|fault| PasskeyError::Invalid(vec![fault]))?;
        let event = Event::new(EventKind::AccountUpdated, context.now()).account(account);
        let event = event.from_client(client).detail("passkey renamed");
        transaction!(context.db(), |txn| {
            if !store::rename(txn, account, id, &name).await? {
                return Err(PasskeyError::NotFound);
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        })
    }

    /// Removes a passkey. If it was the last one that is a second factor, and only recovery codes are left, they
    /// are removed too. The session of the owner goes on as a new one. All other sessions end.
    ///
    /// # Errors
    /// - [`PasskeyError::StepUp`]: a second factor that is no recovery code must be recent.
    /// - [`PasskeyError::Required`]: it is the last factor, and a role of the account requires one.
    /// - [`PasskeyError::LastWayIn`]: the account has no password and no mailbox that could sign it in.
    /// - [`PasskeyError::NotFound`], also for a passkey of another account.
    /// - [`PasskeyError::Session`] if the session has ended or the account was changed meanwhile; an outage.
    pub async fn remove(
        &self,
        owner: &AccountOwner<owner::Factors>,
        id: PasskeyId,
        client: &ClientInfo,
    ) -> Result<RemovedPasskey, PasskeyError> {
        let (asks, context) = (&FactorOwner::from(owner), self.auth.context());
        factors::require_recent(self.auth, asks, Recent::NotRecoveryCode)
            .map_err(PasskeyError::StepUp)?;
        let (row, passkeys) = self.read(asks).await?;
        let removed = passkeys.iter().find(|one| one.id == id).ok_or(PasskeyError::NotFound)?;
        let others = || passkeys.iter().filter(|one| one.id != id);
        let before = EnrolledFactors(row.enrolled_factors);
        let enrolled = match removed.is_factor && !others().any(|one| one.is_factor) {
            true => before.left_without(Factor::Passkey),
            false => before,
        };
        // One that is one factor signs in alone only if the account asks for no second one.
        let mut signs_in =
            others().filter(|one| one.is_factor && one.verified || enrolled.is_empty());
        if signs_in.next().is_none() && !way_in::by_password_or_mail(context, &row) {
            let db = context.db();
            let executor = db.executor();
            if !db.read(way_in::by_provider(&executor, context, row.id, None)).await? {
                return Err(PasskeyError::LastWayIn);
            }
        }
        if enrolment::would_lack(context, owner, enrolled)
            && !enrolment::would_lack(context, owner, before)
        {
            return Err(PasskeyError::Required);
        }
        let change = FactorChange::Removed(Factor::Passkey);
        let changing = ChangingFactors { context, row: &row, enrolled, change, client };
        let passed = owner.session().factors().clone();
        let issued = transaction!(context.db(), |txn| {
            let epoch = changing.apply(txn).await?;
            let epoch = epoch.ok_or(PasskeyError::Session(SessionError::Ended))?;
            // If the account does not have the factor any more, it is deleted already.
            let is_left = !removed.is_factor || enrolled.contains(Factor::Passkey);
            if is_left && !store::remove(txn, row.id, id).await? {
                return Err(PasskeyError::NotFound);
            }
            let go_on = enrolling::go_on(self.auth, txn, owner, epoch, passed.clone(), client);
            Ok(Box::pin(go_on).await?)
        })?;
        Ok(RemovedPasskey { issued, signals: options::signals_after(context, &row).await })
    }

    /// Reads the account and its passkeys, in this order. If another request changes them in between, the epoch
    /// of the account is not that of the row any more, and nothing is changed.
    async fn read(
        &self,
        owner: &FactorOwner,
    ) -> Result<(account::Model, Vec<passkey::Model>), PasskeyError> {
        let account = owner.account();
        let db = self.auth.context().db();
        let executor = db.executor();
        let row = db.read(account_store::find(&executor, account.id())).await?;
        let row = row.filter(|row| row.epoch == account.epoch && !owner.is_superseded());
        let row = row.ok_or(PasskeyError::Session(SessionError::Ended))?;
        let passkeys = db.read(store::of_account(&executor, row.id)).await?;
        Ok((row, passkeys))
    }

    /// Checks the limit of passkeys. A person who has only a recovery code may remove none of them, and so may
    /// have one more. It then allows to remove the others.
    fn has_room(
        &self,
        owner: &FactorOwner,
        passkeys: &[passkey::Model],
    ) -> Result<(), PasskeyError> {
        let most = self.auth.context().config.passkey.max_per_account as usize;
        let may_remove = factors::require_recent(self.auth, owner, Recent::NotRecoveryCode).is_ok();
        match passkeys.len() < if may_remove { most } else { most + 1 } {
            true => Ok(()),
            false => Err(PasskeyError::TooMany),
        }
    }
}

/// A passkey that is about to be inserted.
struct New {
    credential: Credential,
    name: String,
    by_browser: bool,
    now: Timestamp,
}

impl New {
    fn row(self, id: PasskeyId, account: &account::Model, epoch: i64) -> passkey::Model {
        let Self { credential, name, by_browser, now } = self;
        passkey::Model {
            id,
            account_id: account.id,
            credential_digest: digest_of(&credential.id).to_vec(),
            credential_id: BASE64URL_NOPAD.encode(&credential.id),
            public_key: BASE64URL_NOPAD.encode(&credential.public_key),
            sign_count: credential.seen.sign_count.into(),
            is_factor: !by_browser,
            verified: credential.seen.verified && !by_browser,
            backup_eligible: credential.seen.backup_eligible,
            backed_up: credential.seen.backed_up,
            aaguid: Uuid::from_bytes(credential.aaguid),
            transports: credential.transports.join(" "),
            name,
            epoch,
            created_at: now,
            last_used_at: None,
        }
    }
}
