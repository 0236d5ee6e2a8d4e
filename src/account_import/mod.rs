//! Import of accounts from another system, with their ids, names and password hashes.
//!
//! # How it works
//!
//! 1. Each row is checked separately. Its names are parsed, and the form of its hash is checked,
//!    without computing a hash. A row with unusable names is refused with its reason. A row whose
//!    hash cannot be read is imported without it. The report names both.
//! 2. The other rows are written in batches of several hundred, each in its own transaction. A row
//!    is skipped if its account already exists with the same id and names. So you can run an
//!    interrupted import again.
//! 3. The first login with the correct password verifies the old hash and replaces it with
//!    Argon2id.
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, uuid: uuid::Uuid, now: portcullis::Timestamp)
//! # -> Result<(), portcullis::Fault> {
//! use portcullis::account_import::ImportedAccount;
//!
//! let rows = [ImportedAccount::new(uuid.into())
//!     .username("alice")
//!     .email("alice@example.com")
//!     .password_hash("$2b$12$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS")
//!     .verified_at(now)];
//! let report = auth
//!     .account_import()
//!     .run(rows, |so_far| println!("{} rows, {} imported", so_far.rows, so_far.imported))
//!     .await?;
//! for refused in &report.refused {
//!     eprintln!("row {} ({}): {}", refused.row, refused.id, refused.reason);
//! }
//! for without in &report.without_password {
//!     eprintln!("row {} ({}) has no password: {}", without.row, without.id, without.reason);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Hashes
//!
//! Argon2 (PHC) is supported. The feature `foreign-hashes` adds bcrypt, PBKDF2 and scrypt. The page
//! [`existing_users`](crate::guide::existing_users#password-hashes) lists every format. The cost
//! parameters must be within the limits of a login. So every stored hash can be verified, without
//! gigabytes of memory.
//!
//! A row without a hash, and a row whose hash cannot be read, become an account without a password.
//! It cannot sign in with a password until its owner has set one with "forgot password". A later
//! run skips the account, so it adds no hash. To see such rows first, use
//! [`refuse_unreadable_hashes`](AccountImport::refuse_unreadable_hashes). Then rows whose hash
//! cannot be read are reported and not imported.
//!
//! # Ids
//!
//! Ids are UUIDs. For rows with numbers you can use `Uuid::from_u128(number.into())`, which stays
//! the same when you run the import again.
//!
//! # Verified addresses
//!
//! Each address is verified separately. `verified_at` is about the mail address, or about the phone
//! number if there is no mail address. `phone_verified_at` is about the phone number. An unverified
//! number can be verified later with a code.
//!
//! # What it does not do
//!
//! - It does not import superusers, roles, sessions or second factors. Grant roles afterwards.
//! - It does not change existing accounts. An account that has another name by now keeps it, and a
//!   deleted account stays deleted.
//! - It does not bring back an [erased](crate::account::Accounts::erase) account. Its row is
//!   skipped, and its id is in the report.
//! - It has no routes and no configuration.
//!
//! # Events
//!
//! `user_created` with the detail `imported`, one for each account. So the history of an account
//! starts with its origin. The events are written with the batch.
//!
//! # Errors
//!
//! An outage ends the run. What was written before stays.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::account::entity::{account, login_name};
use crate::account::former::Standing;
use crate::account::{LoginIdKind, NewAccount, StoredPassword, store};
use crate::audit_log;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::AccountId;
use crate::base::invalid_field::InvalidField;
use crate::base::transaction::{Fault, MaybeFault, is_unique_violation, transaction};
use crate::handle::Portcullis;
use crate::password::Passwords;

/// The default number of rows in one transaction.
const BATCH: usize = 500;

/// The maximum number of rows in one transaction. A statement of SQLite takes at most 32 766
/// values.
const LARGEST_BATCH: usize = 1000;

/// How often a batch is checked again because someone registered one of its names in the meantime.
const RACES: usize = 5;

/// An account of another system.
#[derive(Clone)]
#[must_use]
pub struct ImportedAccount {
    id: AccountId,
    names: NewAccount,
    hash: Option<String>,
    must_change_password: bool,
    verified_at: Option<Timestamp>,
    phone_verified_at: Option<Timestamp>,
    disabled_at: Option<Timestamp>,
    created_at: Option<Timestamp>,
}

impl ImportedAccount {
    /// Creates an account with this id. It also needs a name.
    pub fn new(id: AccountId) -> Self {
        Self {
            id,
            names: NewAccount::default(),
            hash: None,
            must_change_password: false,
            verified_at: None,
            phone_verified_at: None,
            disabled_at: None,
            created_at: None,
        }
    }

    /// Sets the username. An empty text means none, here and below.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.names.username = given(username.into());
        self
    }

    /// Sets the email address.
    pub fn email(mut self, email: impl Into<String>) -> Self {
        self.names.email = given(email.into());
        self
    }

    /// Sets the phone number, in E.164 form.
    pub fn phone(mut self, phone: impl Into<String>) -> Self {
        self.names.phone = given(phone.into());
        self
    }

    /// Sets the password hash, as the other system stored it.
    pub fn password_hash(mut self, hash: impl Into<String>) -> Self {
        self.hash = given(hash.into());
        self
    }

    /// Requires a new password at the next sign-in. Until it is set, the sign-in has no access.
    pub fn must_change_password(mut self) -> Self {
        self.must_change_password = true;
        self
    }

    /// Sets when its mail address was verified. This is not about its phone number, which has a
    /// [separate time](Self::phone_verified_at). Without a mail address, it is about the phone
    /// number.
    pub fn verified_at(mut self, at: Timestamp) -> Self {
        self.verified_at = Some(at);
        self
    }

    /// Sets when its phone number was verified.
    pub fn phone_verified_at(mut self, at: Timestamp) -> Self {
        self.phone_verified_at = Some(at);
        self
    }

    /// Disables the account from this time on.
    pub fn disabled_at(mut self, at: Timestamp) -> Self {
        self.disabled_at = Some(at);
        self
    }

    /// Sets when the account was created. Default: now.
    pub fn created_at(mut self, at: Timestamp) -> Self {
        self.created_at = Some(at);
        self
    }
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl fmt::Debug for ImportedAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportedAccount").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why an imported account has no password. It contains no hash.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoPassword {
    /// The row has no hash.
    NoHash,
    /// The other system marked the password as unusable: the text begins with `!` or `*`.
    Disabled,
    /// The hash cannot be read, for this reason.
    Unreadable(String),
}

impl fmt::Display for NoPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHash => f.write_str("the row has no hash"),
            Self::Disabled => f.write_str("the other system marked the password as unusable"),
            Self::Unreadable(reason) => f.write_str(reason),
        }
    }
}

/// A row that became an account without a password.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowWithoutPassword {
    /// The index of the row, counted from 0.
    pub row: u64,
    /// The id of the row.
    pub id: AccountId,
    /// The reason.
    pub reason: NoPassword,
}

/// The reason why a row was refused. It contains no names and no hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportRefusal {
    /// Some names are invalid. Each has its reason.
    Invalid(Vec<InvalidField>),
    /// It has no username, no email address and no phone number.
    Nameless,
    /// A name belongs to another account.
    Taken(LoginIdKind),
    /// The id belongs to an account with other names.
    IdTaken,
    /// The hash can never be verified. Only with
    /// [`refuse_unreadable_hashes`](AccountImport::refuse_unreadable_hashes).
    Hash(String),
}

impl fmt::Display for ImportRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(fields) => {
                for (number, field) in fields.iter().enumerate() {
                    let separator = if number == 0 { "" } else { "; " };
                    write!(f, "{separator}{}: {}", field.field, field.message)?;
                }
                Ok(())
            }
            Self::Nameless => f.write_str("it has no username, mail address or phone number"),
            Self::Taken(LoginIdKind::Username) => f.write_str("its username is taken"),
            Self::Taken(LoginIdKind::Email) => f.write_str("its email address is taken"),
            Self::Taken(LoginIdKind::Phone) => f.write_str("its phone number is taken"),
            Self::IdTaken => f.write_str("its id belongs to an account with other names"),
            Self::Hash(reason) => f.write_str(reason),
        }
    }
}

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedRow {
    /// The index of the row, counted from 0.
    pub row: u64,
    /// The id of the row.
    pub id: AccountId,
    /// The reason.
    pub reason: ImportRefusal,
}

/// The result of an import, or its progress.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// The number of rows that were read.
    pub rows: u64,
    /// The number of accounts that were created.
    pub imported: u64,
    /// The number of rows whose account already existed, also if it was deleted or erased.
    pub skipped: u64,
    /// The ids of the skipped rows whose account was erased. Remove these rows from the other
    /// system too, if it still has them.
    pub erased: Vec<AccountId>,
    /// The rows that created no account.
    pub refused: Vec<RefusedRow>,
    /// The rows that this run imported without a password. Their owners use "forgot password".
    pub without_password: Vec<RowWithoutPassword>,
}

/// Imports accounts. See the [module page](self).
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct AccountImport<'a> {
    auth: &'a Portcullis,
    batch: usize,
    unreadable: Unreadable,
}

/// What happens to a row whose hash cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unreadable {
    /// It is imported without the hash.
    LeftOut,
    Refused,
}

impl Portcullis {
    /// Returns the import of accounts from another system.
    pub fn account_import(&self) -> AccountImport<'_> {
        AccountImport { auth: self, batch: BATCH, unreadable: Unreadable::LeftOut }
    }
}

impl AccountImport<'_> {
    /// Sets how many rows are written in one transaction, at most 1000. Default: 500.
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = rows.clamp(1, LARGEST_BATCH);
        self
    }

    /// Refuses rows whose hash cannot be read, instead of importing them without it. Rows without a
    /// hash are imported.
    pub fn refuse_unreadable_hashes(mut self) -> Self {
        self.unreadable = Unreadable::Refused;
        self
    }

    /// Imports all rows. The iterator may produce them one by one. `progress` is called after each
    /// batch.
    ///
    /// # Errors
    /// The infrastructure failed, or names of one batch were registered by others again and again.
    /// What was written before stays: run it again with the same rows. An unusable row is not an
    /// error.
    pub async fn run(
        self,
        accounts: impl IntoIterator<Item = ImportedAccount, IntoIter: Send>,
        mut progress: impl FnMut(&ImportReport) + Send,
    ) -> Result<ImportReport, Fault> {
        let mut report = ImportReport::default();
        let mut accounts = accounts.into_iter();
        loop {
            let mut candidates = Vec::with_capacity(self.batch);
            let before = report.rows;
            for account in accounts.by_ref().take(self.batch) {
                let (row, id) = (report.rows, account.id);
                report.rows += 1;
                match self.candidate(row, account) {
                    Ok(candidate) => candidates.push(candidate),
                    Err(reason) => report.refused.push(RefusedRow { row, id, reason }),
                }
            }
            if report.rows == before {
                return Ok(report);
            }
            if !candidates.is_empty() {
                self.write(&candidates, &mut report).await?;
            }
            report.refused.sort_by_key(|refused| refused.row);
            progress(&report);
        }
    }

    /// Checks a row without the database.
    fn candidate(&self, row: u64, new: ImportedAccount) -> Result<Candidate, ImportRefusal> {
        let names = new.names.parse().map_err(ImportRefusal::Invalid)?;
        if names.normals().is_empty() {
            return Err(ImportRefusal::Nameless);
        }
        let (password, no_password) = match self.password(new.hash.as_deref()) {
            Ok(password) => (Some(password), None),
            Err(NoPassword::Unreadable(reason)) if self.unreadable == Unreadable::Refused => {
                return Err(ImportRefusal::Hash(reason));
            }
            Err(reason) => (None, Some(reason)),
        };
        let now = self.auth.context().now();
        let made = NewAccount { id: Some(new.id), password, ..new.names };
        // Mail address and number are verified separately. The account as a whole is verified by
        // its mail address, or by its number if it has no mail address.
        let proved_at = |kind: LoginIdKind| match kind {
            LoginIdKind::Email => new.verified_at,
            LoginIdKind::Phone => new.phone_verified_at,
            LoginIdKind::Username => None,
        };
        let verified_at = match (&names.email, &names.phone) {
            (None, Some(_)) => new.phone_verified_at.or(new.verified_at),
            _ => new.verified_at,
        };
        let imported: Vec<_> = names
            .normals()
            .into_iter()
            .map(|(kind, normal)| {
                // For an account with only a number, `verified_at` is about the number.
                let alone = kind == LoginIdKind::Phone && names.email.is_none();
                let proved_at = if alone { verified_at } else { proved_at(kind) };
                ImportedName { kind, normal, verified_at: proved_at }
            })
            .collect();
        let account = account::Model {
            must_change_password: new.must_change_password,
            verified_at,
            disabled_at: new.disabled_at,
            created_at: new.created_at.unwrap_or(now),
            ..made.into_row(names, now)
        };
        Ok(Candidate { row, account, names: imported, no_password })
    }

    /// Returns the password of a row, or why the account gets none.
    fn password(&self, hash: Option<&str>) -> Result<StoredPassword, NoPassword> {
        match hash {
            None => Err(NoPassword::NoHash),
            // Django writes `!` and a random text. The shadow file of Unix uses both.
            Some(hash) if hash.starts_with(['!', '*']) => Err(NoPassword::Disabled),
            Some(hash) => {
                let adopted = self.auth.per_instance::<Passwords>().adopt(hash);
                adopted.map_err(NoPassword::Unreadable)
            }
        }
    }

    /// Writes the new accounts of a batch, in one transaction.
    async fn write(
        &self,
        candidates: &[Candidate],
        report: &mut ImportReport,
    ) -> Result<(), Fault> {
        let context = self.auth.context();
        let ids: Vec<_> = candidates.iter().map(|candidate| candidate.account.id).collect();
        let names = candidates.iter().flat_map(|candidate| &candidate.names);
        let normals: Vec<_> = names.map(|name| name.normal.clone()).collect();
        let mut races = 0;
        let sorted = loop {
            let written = transaction!(context.db(), |txn| {
                let present = store::present(txn, &ids).await?;
                let names = store::names_of_or_like(txn, &ids, &normals).await?;
                let sorted = Sorted::new(candidates, &present, &names);
                let now = context.now();
                let imported = |new: &&Candidate| {
                    Event::new(EventKind::AccountCreated, now)
                        .account(new.account.id)
                        .detail("imported")
                };
                let events: Vec<_> = sorted.new.iter().map(imported).collect();
                if !events.is_empty() {
                    let accounts = sorted.new.iter().map(|new| &new.account);
                    let names = sorted.new.iter().flat_map(|new| new.names());
                    store::insert_all(txn, accounts, names).await?;
                    audit_log::record_all(txn, &events).await?;
                }
                Ok::<_, BatchError>(sorted)
            });
            match written {
                Ok(written) => break written,
                Err(BatchError::Raced(_)) if races < RACES => races += 1,
                Err(BatchError::Raced(fault) | BatchError::Fault(fault)) => return Err(fault),
            }
        };
        report.imported += sorted.new.len() as u64;
        report.skipped += sorted.skipped;
        report.erased.extend(sorted.erased);
        report.refused.extend(sorted.refused);
        report.without_password.extend(sorted.new.iter().filter_map(|new| {
            let (row, id) = (new.row, new.account.id);
            let reason = new.no_password.clone()?;
            Some(RowWithoutPassword { row, id, reason })
        }));
        Ok(())
    }
}

/// A name that is about to be imported.
struct ImportedName {
    kind: LoginIdKind,
    normal: String,
    verified_at: Option<Timestamp>,
}

/// A row that is valid, before its names are compared with the database.
struct Candidate {
    row: u64,
    account: account::Model,
    names: Vec<ImportedName>,
    no_password: Option<NoPassword>,
}

impl Candidate {
    fn names(&self) -> impl Iterator<Item = login_name::Model> + '_ {
        self.names.iter().map(|name| login_name::Model {
            normal: name.normal.clone(),
            account_id: self.account.id,
            kind: name.kind.number(),
            typed: None,
            verified_at: name.verified_at,
            sequence: Standing::FIRST.sequence,
            held_ms: Standing::FIRST.held_ms,
            created_at: self.account.created_at,
        })
    }
}

/// A batch, compared with what is in the database.
struct Sorted<'a> {
    new: Vec<&'a Candidate>,
    skipped: u64,
    erased: Vec<AccountId>,
    refused: Vec<RefusedRow>,
}

impl<'a> Sorted<'a> {
    fn new(
        candidates: &'a [Candidate],
        present: &[(AccountId, Option<Timestamp>, Option<Timestamp>)],
        names: &[login_name::Model],
    ) -> Self {
        // The remaining names of a deleted account say nothing, because its deletion may have freed
        // some.
        let deleted = present.iter().filter(|(_, deleted_at, _)| deleted_at.is_some());
        let deleted: HashSet<AccountId> = deleted.map(|(id, ..)| *id).collect();
        let erased = present.iter().filter(|(.., erased_at)| erased_at.is_some());
        let erased: HashSet<AccountId> = erased.map(|(id, ..)| *id).collect();
        let mut present: HashSet<AccountId> = present.iter().map(|(id, ..)| *id).collect();
        let mut owners: HashMap<&str, AccountId> =
            names.iter().map(|name| (name.normal.as_str(), name.account_id)).collect();
        let mut sorted =
            Self { new: Vec::new(), skipped: 0, erased: Vec::new(), refused: Vec::new() };
        for candidate in candidates {
            let id = candidate.account.id;
            if deleted.contains(&id) {
                sorted.skipped += 1;
                sorted.erased.extend(erased.get(&id));
                continue;
            }
            let owner = |name: &ImportedName| owners.get(name.normal.as_str()).copied();
            let taken =
                candidate.names.iter().find(|name| owner(name).is_some_and(|owner| owner != id));
            let refused = match taken {
                Some(name) => Some(ImportRefusal::Taken(name.kind)),
                None if !present.contains(&id) => None,
                None if candidate.names.iter().all(|name| owner(name) == Some(id)) => {
                    sorted.skipped += 1;
                    continue;
                }
                None => Some(ImportRefusal::IdTaken),
            };
            if let Some(reason) = refused {
                sorted.refused.push(RefusedRow { row: candidate.row, id, reason });
                continue;
            }
            // A later row of the same batch must be compared with this one as if it already
            // existed.
            present.insert(id);
            owners.extend(candidate.names.iter().map(|name| (name.normal.as_str(), id)));
            sorted.new.push(candidate);
        }
        sorted
    }
}

/// The reason why a batch was not written.
enum BatchError {
    /// Someone took a name or an id between the check and the insert.
    Raced(Fault),
    Fault(Fault),
}

impl From<sea_orm::DbErr> for BatchError {
    fn from(error: sea_orm::DbErr) -> Self {
        if is_unique_violation(&error) {
            Self::Raced(error.into())
        } else {
            Self::Fault(error.into())
        }
    }
}

impl From<Fault> for BatchError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl MaybeFault for BatchError {
    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::Raced(_) => None,
        }
    }
}
