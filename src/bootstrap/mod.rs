//! Bootstrap: the first administrator.
//!
//! # How it works
//!
//! 1. Call [`bootstrap_admin`](crate::Portcullis::bootstrap_admin) at every start. It creates an
//!    account that may do everything. This happens only once per database, even if many nodes start
//!    at the same time.
//! 2. The password is random and is returned once, so that you can show it to the operator. The
//!    operator can also choose it:
//!    [`bootstrap_admin_with_password`](crate::Portcullis::bootstrap_admin_with_password).
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::account::AccountError> {
//! use portcullis::account::NewAccount;
//!
//! if let Some(admin) = auth.bootstrap_admin(NewAccount::username("admin")).await? {
//!     println!("the administrator's password is {}", admin.password());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//!
//! - It has no default password.
//! - It never promotes an existing account, because anyone may have registered that name first.
//! - It has no routes and no configuration.
//!
//! # Events
//!
//! `user_created` and `administrator_bootstrapped`.
//!
//! # Errors
//!
//! Those of [`AccountError`], such as `username_taken` (409) and `invalid_fields` (422).

use zeroize::Zeroizing;

use crate::account::{Account, AccountError, NewAccount, store};
use crate::audit_log;
use crate::base::event::{Event, EventKind};
use crate::base::secret::random_array;
use crate::base::transaction::{Fault, MaybeFault, is_unique_violation, transaction};
use crate::handle::Portcullis;
use crate::password::{Names, Password, Passwords};

/// The name of the marker that says it was done.
const MARK: &str = "administrator_bootstrapped";

/// The first administrator, which was just created.
#[derive(Debug)]
pub struct FirstAdministrator {
    account: Account,
    password: Password,
}

impl FirstAdministrator {
    /// Returns the account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Returns its password, to show it to the operator. Only its hash is stored.
    pub fn password(&self) -> &str {
        self.password.as_str()
    }
}

impl Portcullis {
    /// Creates the first administrator. Returns `None` if that was done before.
    ///
    /// # Errors
    /// - [`AccountError::Taken`]: the name belongs to an existing account, which is not promoted.
    ///   Try again with another name.
    /// - [`AccountError::Invalid`]: a name is invalid.
    /// - [`AccountError::Fault`]: the infrastructure failed.
    pub async fn bootstrap_admin(
        &self,
        account: NewAccount,
    ) -> Result<Option<FirstAdministrator>, AccountError> {
        let password = random_password();
        let made = self.bootstrap(account, &password, Origin::Random).await?;
        Ok(made.map(|account| FirstAdministrator { account, password }))
    }

    /// Creates the first administrator with a password that the operator has chosen, such as one
    /// from a secret store. After the first time the password is ignored, so a later change of it
    /// has no effect.
    ///
    /// # Errors
    /// Those of [`bootstrap_admin`](Self::bootstrap_admin). [`AccountError::Invalid`] also if the
    /// password breaks the [rules](crate::password) for new passwords. Then no account is created,
    /// and you can try again.
    pub async fn bootstrap_admin_with_password(
        &self,
        account: NewAccount,
        password: impl Into<String>,
    ) -> Result<Option<Account>, AccountError> {
        let password = Password::from(password.into());
        self.bootstrap(account, &password, Origin::Chosen).await
    }

    async fn bootstrap(
        &self,
        account: NewAccount,
        password: &Password,
        origin: Origin,
    ) -> Result<Option<Account>, AccountError> {
        let context = self.context();
        let db = context.db();
        if db.read(store::is_marked(&db.executor(), MARK)).await? {
            return Ok(None);
        }
        let passwords = self.per_instance::<Passwords>();
        if origin == Origin::Chosen {
            let names = [&account.username, &account.email, &account.phone];
            let names = Names(names.into_iter().filter_map(|name| name.as_deref()).collect());
            let faults = passwords.faults("password", password, &names, None).await?;
            if !faults.is_empty() {
                return Err(AccountError::Invalid(faults));
            }
        }
        let hashed = passwords.hash(password, None).await?;
        let new = NewAccount { password: Some(hashed), ..account.superuser().verified() };
        let accounts = self.accounts();
        let now = context.now();
        let made = transaction!(db, |txn| {
            // The mark comes first. If several nodes start at once, one of them gets it. The others
            // wait for that transaction and then see the mark.
            match store::mark(txn, MARK, now).await {
                Ok(()) => {}
                Err(error) if is_unique_violation(&error) => return Err(Bootstrap::Done),
                Err(error) => return Err(AccountError::from(error).into()),
            }
            let account = accounts.inside(txn).create(new.clone()).await?;
            let event = Event::new(EventKind::AdministratorBootstrapped, now).account(account.id());
            audit_log::record(txn, &event).await.map_err(AccountError::from)?;
            Ok(account)
        });
        match made {
            Ok(account) => Ok(Some(account)),
            Err(Bootstrap::Done) => Ok(None),
            Err(Bootstrap::Account(error)) => Err(error),
        }
    }
}

/// Where a password comes from. A random one does not need to be checked against the rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Random,
    Chosen,
}

/// The reason why the creation ends early.
enum Bootstrap {
    Done,
    Account(AccountError),
}

impl From<AccountError> for Bootstrap {
    fn from(error: AccountError) -> Self {
        Self::Account(error)
    }
}

impl From<Fault> for Bootstrap {
    fn from(fault: Fault) -> Self {
        Self::Account(fault.into())
    }
}

impl MaybeFault for Bootstrap {
    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Account(error) => error.fault(),
            Self::Done => None,
        }
    }
}

/// Creates a password of 125 random bits in five groups, so that it is easy to type.
fn random_password() -> Password {
    let text = data_encoding::BASE32_NOPAD.encode(&*Zeroizing::new(random_array::<16>()));
    let groups: Vec<&str> = (0..5).map(|group| &text[group * 5..group * 5 + 5]).collect();
    Password::from(groups.join("-").to_lowercase())
}
