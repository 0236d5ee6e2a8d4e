//! Accounts: the people and programs that sign in.
//!
//! # How it works
//!
//! 1. An account has an id and up to three own names: a username, an email address and a phone
//!    number. [Further names](crate::login_name) can be added, and sign in too. `login.id` sets
//!    with which kinds people sign in.
//! 2. Each name is stored as it was typed, and in a normal form that is unique across all accounts
//!    and kinds. Login, registration and failure records use the normal form. So `Alice`, `alice`
//!    and `Ａｌｉｃｅ` are one account with one counter.
//! 3. To disable (at once or from a date), delete or enable an account takes effect with its next
//!    request, on every node. The reason is that the one statement of a request reads these
//!    columns.
//! 4. [`list`](Accounts::list) and [`details`](Accounts::details) are for administrators. They read
//!    [`AccountDetails`]: the state of an account and its times. [`Account`] lacks these fields,
//!    because the statement of every request reads only what it needs.
//!
//! # Disabled, deleted, closed, erased
//!
//! | | who does it | effect | way back |
//! |---|---|---|---|
//! | [`disable`](Accounts::disable) | administrator | no sign-in; everything is kept | [`enable`](Accounts::enable) |
//! | [`delete`](Accounts::delete) | administrator | no sign-in, ever; everything is kept, and names stay taken | none |
//! | [`close`](Accounts::close) | the owner, or an administrator for them | no sign-in; erased after `retention.closed_accounts` | [`keep`](Accounts::keep), until then |
//! | [`erase`](Accounts::erase) | administrator, or maintenance after `close` | only the id is left; names are free again | none |
//!
//! The last superuser cannot be disabled, deleted, closed, erased or demoted, because nobody could
//! manage the service any more. If the last two leave at the same time, one of them is refused.
//!
//! Closing and erasing are explained in [`own_account`](crate::own_account), and
//! [`guide::admin_page`](crate::guide::admin_page) has the code of an administrator's page.
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) -> Result<(),
//! portcullis::account::AccountError> {
//! use portcullis::account::NewAccount;
//!
//! let account = auth.accounts().create(NewAccount::username("alice")).await?;
//! auth.accounts().disable(account.id()).await?;   // ends every session with the next request
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//!
//! - It does not compare or change passwords: see [`login`](crate::login) and
//!   [`password_change`](crate::password_change).
//! - It does not register strangers: see [`registration`](crate::registration).
//! - It has no routes. Your own handlers call these methods and check the permissions.
//!
//! # Configuration
//!
//! [`login.id`](crate::config::LoginConfig::id).
//!
//! # Events
//!
//! `user_created`; `user_updated` with a detail that says what was changed; `login_name_added` for
//! [`add_name`](Accounts::add_name).
//!
//! # Errors
//!
//! `invalid_fields` (422), `username_taken`, `email_taken`, `phone_taken` (409),
//! `account_not_found` (404), `address_not_proved` (403), `last_superuser` (409).

use sea_orm::{ConnectionTrait, DbErr};

use crate::audit_log;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{EnrolledFactors, Factor};
use crate::base::id::{AccountId, LineageId};
use crate::base::invalid_field::InvalidField;
use crate::base::secret::random_version;
use crate::base::transaction::{Db, OpenTransaction, Txn, is_unique_violation, transaction};
use crate::context::Context;
use crate::handle::Portcullis;
use crate::outstanding::{self, Ending, Kind};

pub(crate) mod closing;
pub(crate) mod enrolled;
pub(crate) mod entity;
mod error;
pub(crate) mod former;
mod further_name;
mod listing;
mod login_id;
mod name_probe;
pub(crate) mod recovering;
pub(crate) mod store;
mod stored_password;
pub(crate) mod superuser;
#[cfg(any(feature = "federation", feature = "passkey"))]
pub(crate) mod way_in;

pub use error::AccountError;
pub use further_name::FurtherName;
pub use listing::{AccountDetails, AccountFilter, AccountList, AccountState};
pub(crate) use login_id::trim as trim_login_id;
pub use login_id::{Email, LoginId, LoginIdError, LoginIdKind, Phone, Username};
pub(crate) use name_probe::NameProbe;
pub(crate) use stored_password::StoredPassword;

/// How many rows a purge removes at once.
const PURGE_BATCH: u64 = 1_000;

/// An account as it was when the request was authenticated. All values are from one consistent
/// read.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    pub(crate) id: AccountId,
    pub(crate) username: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) superuser: bool,
    pub(crate) epoch: i64,
    pub(crate) version: i64,
    pub(crate) enrolled: EnrolledFactors,
    pub(crate) verified_at: Option<Timestamp>,
    pub(crate) disabled_at: Option<Timestamp>,
    pub(crate) deleted_at: Option<Timestamp>,
    pub(crate) rate_limit: Option<i64>,
    /// When a mailed code is a second factor again. It is known only for an unfinished sign-in that needs one.
    pub(crate) mailed_code_at: Option<Timestamp>,
}

impl Account {
    /// Returns the account's id.
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// Returns the username as it was typed.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Returns the email address as it was typed. A domain in another script is in its `xn--` form.
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    /// Returns the phone number in E.164 form.
    pub fn phone(&self) -> Option<&str> {
        self.phone.as_deref()
    }

    /// Returns true if the account may do everything.
    pub fn is_superuser(&self) -> bool {
        self.superuser
    }

    /// Returns true if an address of the account was verified.
    pub fn is_verified(&self) -> bool {
        self.verified_at.is_some()
    }

    /// Returns the second factors that it has enrolled.
    pub fn enrolled_factors(&self) -> EnrolledFactors {
        self.enrolled
    }

    /// Returns true if others may take its addresses: it is unusable and never verified one.
    /// Otherwise a person could register another person's address, and keep it from its owner after
    /// the account is disabled or deleted.
    pub(crate) fn has_no_claim(&self, now: Timestamp) -> bool {
        self.verified_at.is_none() && !self.is_usable(now, false)
    }

    /// Returns true if it may be used at `now`.
    pub(crate) fn is_usable(&self, now: Timestamp, require_verified: bool) -> bool {
        self.deleted_at.is_none()
            && self.disabled_at.is_none_or(|at| at > now)
            && (!require_verified || self.verified_at.is_some())
    }
}

// Names are personal data and must not appear in a log by accident.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("id", &self.id).finish_non_exhaustive()
    }
}

impl From<entity::account::Model> for Account {
    fn from(row: entity::account::Model) -> Self {
        Self {
            id: row.id,
            username: row.username,
            email: row.email,
            phone: row.phone,
            superuser: row.superuser,
            epoch: row.epoch,
            version: row.version,
            enrolled: EnrolledFactors(row.enrolled_factors),
            verified_at: row.verified_at,
            disabled_at: row.disabled_at,
            deleted_at: row.deleted_at,
            rate_limit: row.rate_limit,
            mailed_code_at: None,
        }
    }
}

/// The data of a new account.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
#[must_use]
pub struct NewAccount {
    /// A username.
    pub username: Option<String>,
    /// An email address.
    pub email: Option<String>,
    /// A phone number.
    pub phone: Option<String>,
    /// True if its mail address counts as verified, or its phone number if it has no mail address.
    pub verified: bool,
    /// True if it may do everything.
    pub superuser: bool,
    /// Its id, if the id must be known before the account is created.
    pub(crate) id: Option<AccountId>,
    /// The lineage of the visitor who registers.
    pub(crate) lineage_id: Option<LineageId>,
    /// True if a stranger creates it, and it cannot be used before its address is verified.
    pub(crate) on_trial: bool,
    /// True if the creation signs the person in.
    pub(crate) signs_in: bool,
    pub(crate) password: Option<StoredPassword>,
    /// True if it may have no name, because its owner signs in with a provider.
    pub(crate) nameless: bool,
}

impl NewAccount {
    /// Creates the data of an account with this username.
    pub fn username(name: impl Into<String>) -> Self {
        Self { username: Some(name.into()), ..Self::default() }
    }

    /// Creates the data of an account with this email address.
    pub fn email(email: impl Into<String>) -> Self {
        Self { email: Some(email.into()), ..Self::default() }
    }

    /// Adds this email address.
    pub fn with_email(mut self, email: impl Into<String>) -> Self {
        self.email = Some(email.into());
        self
    }

    /// Adds this phone number.
    pub fn with_phone(mut self, phone: impl Into<String>) -> Self {
        self.phone = Some(phone.into());
        self
    }

    /// Allows the account to do everything.
    pub fn superuser(mut self) -> Self {
        self.superuser = true;
        self
    }

    /// Marks its mail address as verified, or its phone number if it has no mail address. Only one
    /// address is marked.
    pub fn verified(mut self) -> Self {
        self.verified = true;
        self
    }

    /// Returns the row of an account with these names, created at `now`.
    pub(crate) fn into_row(self, names: Names, now: Timestamp) -> entity::account::Model {
        entity::account::Model {
            id: self.id.unwrap_or_else(|| AccountId::new(now)),
            username: names.username.map(|name| name.as_str().to_owned()),
            email: names.email.map(|email| email.as_str().to_owned()),
            phone: names.phone.map(|phone| phone.as_str().to_owned()),
            password_hash: self.password.as_ref().map(|password| password.hash.clone()),
            password_pepper: self.password.and_then(|password| password.pepper),
            must_change_password: false,
            superuser: self.superuser,
            epoch: 0,
            version: random_version(),
            enrolled_factors: 0,
            verified_at: self.verified.then_some(now),
            registered_lineage_id: self.lineage_id,
            on_trial_since: self.on_trial.then_some(now),
            disabled_at: None,
            deleted_at: None,
            erase_at: None,
            sweep_at: None,
            erased_at: None,
            rate_limit: None,
            last_login_at: self.signs_in.then_some(now),
            password_mailed_at: None,
            enrolment_due_at: None,
            factor_epochs: None,
            recovery_id: None,
            created_at: now,
        }
    }

    /// Parses the names. A missing field is not an error, but an empty one is.
    pub(crate) fn parse(&self) -> Result<Names, Vec<InvalidField>> {
        let mut invalid = Vec::new();
        let username = parse(self.username.as_deref(), "username", Username::parse, &mut invalid);
        let email = parse(self.email.as_deref(), "email", Email::parse, &mut invalid);
        let phone = parse(self.phone.as_deref(), "phone", Phone::parse, &mut invalid);
        if invalid.is_empty() { Ok(Names { username, email, phone }) } else { Err(invalid) }
    }
}

fn parse<T>(
    text: Option<&str>,
    field: &'static str,
    parse: fn(&str) -> Result<T, LoginIdError>,
    invalid: &mut Vec<InvalidField>,
) -> Option<T> {
    match parse(text?) {
        Ok(name) => Some(name),
        Err(error) => {
            invalid.push(error.in_field(field));
            None
        }
    }
}

/// The parsed names of an account.
pub(crate) struct Names {
    pub(crate) username: Option<Username>,
    pub(crate) email: Option<Email>,
    pub(crate) phone: Option<Phone>,
}

impl Names {
    /// Returns the normal forms to store, each with its kind.
    pub(crate) fn normals(&self) -> Vec<(LoginIdKind, String)> {
        let mut normals = Vec::new();
        if let Some(name) = &self.username {
            normals.push((LoginIdKind::Username, name.normal().to_owned()));
        }
        if let Some(email) = &self.email {
            normals.push((LoginIdKind::Email, email.normal().to_owned()));
        }
        if let Some(phone) = &self.phone {
            normals.push((LoginIdKind::Phone, phone.normal().to_owned()));
        }
        normals
    }

    /// Returns the address that counts as verified if the account as a whole is marked as verified.
    /// It is the mail address, or the phone number if there is no mail address. One address does
    /// not verify another.
    pub(crate) fn main_address(&self) -> Option<&str> {
        let email = self.email.as_ref().map(Email::normal);
        email.or(self.phone.as_ref().map(Phone::normal))
    }
}

/// Creates, finds and changes accounts. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Accounts<'a> {
    pub(crate) context: &'a Context,
    pub(crate) db: Db<'a>,
}

impl Portcullis {
    /// Returns the methods for accounts.
    pub fn accounts(&self) -> Accounts<'_> {
        Accounts { context: self.context(), db: self.context().db() }
    }
}

impl<'a> Accounts<'a> {
    /// Does the same inside a transaction of the caller. Nothing is stored unless the caller
    /// commits.
    #[must_use]
    pub fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { db: self.db.within(txn), ..self }
    }

    /// Does the same inside the transaction of another portcullis flow.
    pub(crate) fn inside(self, txn: &'a Txn<'a>) -> Self {
        Self { db: self.db.inside(txn), ..self }
    }

    /// Creates an account.
    ///
    /// # Errors
    /// - [`AccountError::Invalid`]: invalid fields, each with its reason.
    /// - [`AccountError::Taken`]: a name belongs to another account.
    /// - [`AccountError::Fault`]: the infrastructure failed.
    pub async fn create(&self, new: NewAccount) -> Result<Account, AccountError> {
        self.create_row(new).await.map(Account::from)
    }

    /// Creates an account, for a flow that needs the whole row.
    pub(crate) async fn create_row(
        &self,
        new: NewAccount,
    ) -> Result<entity::account::Model, AccountError> {
        let names = new.parse().map_err(AccountError::Invalid)?;
        let nameless = new.nameless;
        let normals = names.normals();
        let main_address = names.main_address().map(str::to_owned);
        if normals.is_empty() && !nameless {
            let message = "an account needs a username, an email address or a phone number";
            let field = InvalidField::new("username", "name_required", message);
            return Err(AccountError::Invalid(vec![field]));
        }
        let now = self.context.now();
        let row = new.into_row(names, now);
        let event = Event::new(EventKind::AccountCreated, now).account(row.id);
        let created = transaction!(self.db, |txn| {
            // Checked before the insert, so that the caller's transaction survives a taken name.
            // PostgreSQL aborts a transaction when a key is violated. The key still decides.
            let wanted: Vec<_> = normals.iter().map(|(_, normal)| normal.clone()).collect();
            let taken = store::taken(txn, &wanted).await?;
            if let Some((kind, _)) =
                normals.iter().find(|(_, normal)| taken.iter().any(|row| row.normal == *normal))
            {
                return Err(AccountError::Taken(*kind));
            }
            store::insert(txn, row.clone()).await?;
            // One by one, because only the row tells which name violated the key.
            for (kind, normal) in &normals {
                let proved = main_address.as_deref() == Some(normal.as_str());
                let name = store::Name {
                    account_id: row.id,
                    kind: *kind,
                    normal,
                    typed: None,
                    verified_at: row.verified_at.filter(|_| proved),
                    standing: former::Standing::FIRST,
                };
                let kind = *kind;
                store::insert_name(txn, name, now).await.map_err(|error| {
                    if is_unique_violation(&error) {
                        AccountError::Taken(kind)
                    } else {
                        error.into()
                    }
                })?;
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        });
        created?;
        Ok(row)
    }

    /// Returns the account with this id. A deleted account is returned too.
    ///
    /// # Errors
    /// [`AccountError::Fault`] if the infrastructure failed.
    pub async fn find(&self, id: AccountId) -> Result<Option<Account>, AccountError> {
        let row = self.db.read(store::find(&self.db.executor(), id)).await?;
        Ok(row.map(Account::from))
    }

    /// Returns the account that signs in with this name, in any spelling. A text that cannot be a
    /// name is not an error: the result is `None`.
    ///
    /// # Errors
    /// [`AccountError::Fault`] if the infrastructure failed.
    pub async fn find_by_login(&self, login: &str) -> Result<Option<Account>, AccountError> {
        let Ok(login) = LoginId::parse(login) else { return Ok(None) };
        let row = self.db.read(store::find_by_name(&self.db.executor(), login.normal())).await?;
        Ok(row.map(Account::from))
    }

    /// Disables an account at once. Its sessions end with their next request, and stay ended when
    /// the account is enabled again. The codes and links that were sent to it end too, except links
    /// that undo a change of its address.
    ///
    /// # Errors
    /// - [`AccountError::NotFound`]: the account does not exist or was deleted.
    /// - [`AccountError::LastSuperuser`]: no other superuser is left.
    /// - [`AccountError::Fault`]: the infrastructure failed.
    pub async fn disable(&self, id: AccountId) -> Result<(), AccountError> {
        let now = self.context.now();
        let change = Change {
            what: "disabled",
            column: entity::account::Column::DisabledAt,
            sessions: store::Sessions::End,
            leaves: true,
        };
        self.set(id, change, now).await
    }

    /// Disables an account from a date on. Until then it works as before, but the codes and links
    /// that were sent to it end now. Sessions that an earlier date has already ended stay ended.
    ///
    /// # Errors
    /// - [`AccountError::NotFound`]: the account does not exist or was deleted.
    /// - [`AccountError::LastSuperuser`]: no other superuser is left from then on.
    /// - [`AccountError::Fault`]: the infrastructure failed.
    pub async fn disable_from(&self, id: AccountId, date: Timestamp) -> Result<(), AccountError> {
        let now = self.context.now();
        let sessions = match date > now {
            true => store::Sessions::EndIfDisabled(now),
            false => store::Sessions::End,
        };
        let change = Change {
            what: "disabled from a date",
            column: entity::account::Column::DisabledAt,
            sessions,
            leaves: true,
        };
        self.set(id, change, date).await
    }

    /// Enables an account again, including one that was disabled by a date. Remaining sessions,
    /// codes and links end, so that nothing old becomes valid again.
    ///
    /// # Errors
    /// [`AccountError::NotFound`] if the account does not exist or was deleted.
    /// [`AccountError::Fault`] if the infrastructure failed.
    pub async fn enable(&self, id: AccountId) -> Result<(), AccountError> {
        let never: Option<Timestamp> = None;
        let change = Change {
            what: "enabled",
            column: entity::account::Column::DisabledAt,
            sessions: store::Sessions::End,
            leaves: false,
        };
        self.set(id, change, never).await
    }

    /// Marks the account and its mail address as verified, or its phone number if it has no mail
    /// address. Use it if you verified the address without a [confirmation](crate::verification).
    ///
    /// For any other address call [`verify_name`](Self::verify_name), because one address does not
    /// verify another. A username that was reserved until the verification now belongs to the
    /// account.
    ///
    /// # Errors
    /// - [`AccountError::NotFound`]: the account does not exist or was deleted.
    /// - [`AccountError::Taken`]: another account took the username in the meantime.
    /// - [`AccountError::Fault`]: the infrastructure failed.
    pub async fn verify(&self, id: AccountId) -> Result<(), AccountError> {
        let now = self.context.now();
        let event = Event::new(EventKind::AccountUpdated, now).account(id).detail("verified");
        transaction!(self.db, |txn| {
            let row = store::find(txn, id).await?;
            let row = row.filter(|row| row.deleted_at.is_none()).ok_or(AccountError::NotFound)?;
            self.verified(txn, &row, row.main_address().as_deref(), now).await?;
            audit_log::record(txn, &event).await?;
            Ok::<_, AccountError>(())
        })?;
        Ok(())
    }

    /// Marks one address or number of an account as verified, if you verified it in another way. It
    /// may be its own or a further one, in any spelling. If it is the own mail address, or the own
    /// phone number of an account without a mail address, the account becomes verified too.
    ///
    /// # Errors
    /// - [`AccountError::Invalid`]: the text is not an address of the account.
    /// - [`AccountError::NotFound`]: the account does not exist or was deleted.
    /// - [`AccountError::Taken`]: another account took the username in the meantime.
    /// - [`AccountError::Fault`]: the infrastructure failed.
    pub async fn verify_name(&self, id: AccountId, name: &str) -> Result<(), AccountError> {
        let invalid = |field| AccountError::Invalid(vec![field]);
        let name = LoginId::parse(name).map_err(|error| invalid(error.in_field("name")))?;
        let now = self.context.now();
        let event = Event::new(EventKind::AccountUpdated, now).account(id).detail("verified");
        transaction!(self.db, |txn| {
            let row = store::find(txn, id).await?;
            let row = row.filter(|row| row.deleted_at.is_none()).ok_or(AccountError::NotFound)?;
            let names = store::names_of(txn, id).await?;
            let found = names.iter().find(|found| found.normal == name.normal());
            if found.is_none_or(|found| found.kind == LoginIdKind::Username.number()) {
                let message = "is not an address of this account";
                return Err(invalid(InvalidField::new("name", "unknown_address", message)));
            }
            if row.main_address().as_deref() == Some(name.normal()) {
                self.verified(txn, &row, Some(name.normal()), now).await?;
            } else {
                store::verify_name(txn, &row, name.normal(), now).await?;
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        })?;
        Ok(())
    }

    /// Marks the account as verified, and this own address if there is one.
    async fn verified<C: ConnectionTrait>(
        &self,
        txn: &C,
        row: &entity::account::Model,
        address: Option<&str>,
        now: Timestamp,
    ) -> Result<(), AccountError> {
        if let Some(address) = address {
            store::verify_name(txn, row, address, now).await?;
        }
        let column = entity::account::Column::VerifiedAt;
        // The time of the first verification stays.
        if row.verified_at.is_none()
            && !store::set(txn, row.id, column, now, store::Sessions::Keep).await?
        {
            return Err(AccountError::NotFound);
        }
        match store::claim_username(txn, row, now).await? {
            store::Claimed::Yes => Ok(()),
            store::Claimed::Taken => Err(AccountError::Taken(LoginIdKind::Username)),
        }
    }

    /// Requires a new password at the next sign-in, and ends the existing sessions. Until the
    /// password is set, the sign-in has no access. The codes and links that were sent to the
    /// account end too, except links that undo a change of its address.
    ///
    /// # Errors
    /// [`AccountError::NotFound`] if the account does not exist or was deleted.
    /// [`AccountError::Fault`] if the infrastructure failed.
    pub async fn require_password_change(&self, id: AccountId) -> Result<(), AccountError> {
        let change = Change {
            what: "must change password",
            column: entity::account::Column::MustChangePassword,
            sessions: store::Sessions::End,
            leaves: false,
        };
        self.set(id, change, true).await
    }

    /// Sets which second factors the account has enrolled. With at least one, a password alone does
    /// not sign in. Ends the account's sessions and its outstanding codes and links. Notifies the
    /// owner of each factor that was added or removed.
    ///
    /// No factor can be added while the main mail address of the account is not verified. The person who
    /// verifies it owns the account, and an earlier factor might belong to a stranger.
    ///
    /// # Errors
    /// - [`AccountError::NotFound`]: the account does not exist or was deleted.
    /// - [`AccountError::AddressNotProved`]: the main mail address of the account is not verified.
    /// - [`AccountError::Fault`]: the infrastructure failed.
    pub async fn set_enrolled_factors(
        &self,
        id: AccountId,
        factors: impl IntoIterator<Item = Factor>,
    ) -> Result<(), AccountError> {
        // These are no second factors.
        let first = [Factor::Password, Factor::UnverifiedPasskey];
        let second = factors.into_iter().filter(|factor| !first.contains(factor));
        let factors: EnrolledFactors = second.collect();
        loop {
            let set = transaction!(self.db, |txn| {
                let row = store::find(txn, id).await?.ok_or(AccountError::NotFound)?;
                if row.deleted_at.is_some() {
                    return Err(AccountError::NotFound);
                }
                let before = EnrolledFactors(row.enrolled_factors);
                let adds = Factor::ALL.iter().any(|f| factors.contains(*f) && !before.contains(*f));
                if adds && has_unproved_mailbox(txn, id).await? {
                    return Err(AccountError::AddressNotProved);
                }
                let enough = !factors.enough(self.context.config.factor.least).is_empty();
                if !store::set_enrolled_factors(txn, &row, factors, enough).await? {
                    return Ok(false);
                }
                let verified = row.verified_at.is_some();
                let ending = Ending::BySession { verified };
                outstanding::end(txn, id, ending, self.context.now()).await?;
                enrolled::factors_set(txn, self.context, &row, factors).await?;
                Ok(true)
            })?;
            // Not set: another change happened at the same time. Start again, so that the owner is
            // told what really changed.
            if set {
                return Ok(());
            }
        }
    }

    /// Sets a separate rate limit for the account: `count` requests per period of
    /// [`rate.per_principal`](crate::config::RateConfig::per_principal) to the mounted routes, at
    /// least one. The same number of logins is allowed from a device that is known to the account.
    /// `None` restores the default.
    ///
    /// Logins from other devices count for the typed name, with the same limit for every name. A
    /// separate limit would reveal that the account exists. A program that signs in more often
    /// keeps its device token or its session.
    ///
    /// # Errors
    /// [`AccountError::NotFound`] if the account does not exist or was deleted.
    /// [`AccountError::Fault`] if the infrastructure failed.
    pub async fn set_rate_limit(
        &self,
        id: AccountId,
        count: Option<u32>,
    ) -> Result<(), AccountError> {
        let count = count.map(|count| i64::from(count.max(1)));
        let change = Change {
            what: "rate limit",
            column: entity::account::Column::RateLimit,
            sessions: store::Sessions::Keep,
            leaves: false,
        };
        self.set(id, change, count).await
    }

    /// Allows an account to do everything, or stops allowing it. It takes effect with the next
    /// request.
    ///
    /// # Errors
    /// - [`AccountError::NotFound`]: the account does not exist or was deleted.
    /// - [`AccountError::LastSuperuser`]: no other superuser is left.
    /// - [`AccountError::Fault`]: the infrastructure failed.
    pub async fn set_superuser(&self, id: AccountId, superuser: bool) -> Result<(), AccountError> {
        let change = Change {
            what: if superuser { "made superuser" } else { "no longer superuser" },
            column: entity::account::Column::Superuser,
            sessions: store::Sessions::Keep,
            leaves: !superuser,
        };
        self.set(id, change, superuser).await
    }

    /// Marks an account as deleted. It can never sign in again. Everything else is kept: its
    /// password hash, its roles, the data of your application, and its names, which stay taken. Use
    /// this to keep a person out, or if you must keep the data. To remove the data of a person,
    /// call [`erase`](Self::erase). You can do so before or after this.
    ///
    /// You can also delete a [closed](crate::own_account) account. Maintenance then does not erase
    /// it, and the owner cannot reopen it.
    ///
    /// If a notifier is configured, mail addresses that the account never verified are free again.
    /// Otherwise a stranger could keep such an address from its owner forever. Without a notifier
    /// nobody can verify an address, so all names stay taken.
    ///
    /// # Errors
    /// - [`AccountError::NotFound`]: the account does not exist, or was already deleted or erased.
    /// - [`AccountError::LastSuperuser`]: no other superuser is left.
    /// - [`AccountError::Fault`]: the infrastructure failed.
    pub async fn delete(&self, id: AccountId) -> Result<(), AccountError> {
        let now = self.context.now();
        let event = Event::new(EventKind::AccountUpdated, now).account(id).detail("deleted");
        transaction!(self.db, |txn| {
            self.may_leave(txn, id, now).await?;
            let column = entity::account::Column::DeletedAt;
            if !store::set(txn, id, column, now, store::Sessions::End).await? {
                return Err(AccountError::NotFound);
            }
            closing::store::cancel_erasure(txn, id).await?;
            outstanding::end(txn, id, Ending::All, now).await?;
            outstanding::end(txn, id, Ending::Kind(&Kind::AccountKeep), now).await?;
            if self.context.notifier.is_some() {
                store::release_unproved(txn, id).await?;
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        })?;
        Ok(())
    }

    /// Removes the records of addresses that accounts left 30 days ago or earlier, because they can
    /// no longer be restored as an undo. Works in batches. Returns how many were removed.
    ///
    /// # Errors
    /// [`AccountError::Fault`] if the infrastructure failed.
    pub async fn purge_former_addresses(&self) -> Result<u64, AccountError> {
        let now = self.context.now();
        let executor = self.db.executor();
        let mut removed = 0;
        loop {
            let batch = self.db.retry(|| former::purge(&executor, now, PURGE_BATCH)).await?;
            removed += batch;
            if batch < PURGE_BATCH {
                return Ok(removed);
            }
        }
    }

    /// Locks an account that is disabled, deleted or demoted. Fails if it is the last superuser.
    async fn may_leave(
        &self,
        txn: &Txn<'_>,
        id: AccountId,
        now: Timestamp,
    ) -> Result<(), AccountError> {
        match superuser::lock(txn, self.context, id, now).await? {
            None => Err(AccountError::NotFound),
            Some((_, superusers)) if superusers.is_last(id) => Err(AccountError::LastSuperuser),
            Some(_) => Ok(()),
        }
    }

    async fn set(
        &self,
        id: AccountId,
        change: Change,
        value: impl Into<sea_orm::Value>,
    ) -> Result<(), AccountError> {
        let value = value.into();
        let now = self.context.now();
        let Change { what, column, sessions, leaves } = change;
        let event = Event::new(EventKind::AccountUpdated, now).account(id).detail(what);
        transaction!(self.db, |txn| {
            if leaves {
                self.may_leave(txn, id, now).await?;
            }
            if !store::set(txn, id, column, value.clone(), sessions).await? {
                return Err(AccountError::NotFound);
            }
            // A change that ends sessions also ends what was sent to the account. Neither becomes
            // valid again with the account.
            if sessions.end() {
                outstanding::end(txn, id, Ending::All, now).await?;
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        })?;
        Ok(())
    }
}

/// A change of one column of an account.
#[derive(Clone, Copy)]
struct Change {
    /// The detail of the event.
    what: &'static str,
    column: entity::account::Column,
    sessions: store::Sessions,
    /// True if a superuser is none afterwards, or cannot be used.
    leaves: bool,
}

/// Returns true if the main mail address of the account is not verified. Nobody adds a factor before that:
/// the person who verifies it owns the account. A further address gives nobody the account.
pub(crate) async fn has_unproved_mailbox<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<bool, DbErr> {
    let unproved = |name: &entity::login_name::Model| {
        let further = name.typed.is_some();
        name.kind == LoginIdKind::Email.number() && !further && name.verified_at.is_none()
    };
    Ok(store::names_of(db, id).await?.iter().any(unproved))
}

impl entity::account::Model {
    /// Returns the normal form of its own mail address, or of its phone number if it has no mail
    /// address.
    fn main_address(&self) -> Option<String> {
        let email = self.email.as_deref().and_then(|email| Email::parse(email).ok());
        let phone = self.phone.as_deref().and_then(|phone| Phone::parse(phone).ok());
        match email {
            Some(email) => Some(email.normal().to_owned()),
            None => phone.map(|phone| phone.normal().to_owned()),
        }
    }
}
