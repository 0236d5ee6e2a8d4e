//! The first administrator.
//!
//! Called at every start, it makes an account that may do everything, once in the life of the
//! database, however many nodes start at the same moment. Its password is random and given back
//! once, to be shown to the operator; or the operator chooses it
//! ([`bootstrap_admin_with_password`](crate::Portcullis::bootstrap_admin_with_password)). There is no default
//! password, and an account that exists
//! already is never promoted: whoever registered that address first may be anyone.
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

use zeroize::Zeroizing;

use crate::account::{Account, AccountError, NewAccount, store};
use crate::audit_log;
use crate::base::event::{Event, EventKind};
use crate::base::secret::random_array;
use crate::base::transaction::{Fault, MaybeFault, is_unique_violation, transaction};
use crate::handle::Portcullis;
use crate::password::{Names, Password, Passwords};

/// What marks that it was done.
const MARK: &str = "administrator_bootstrapped";

/// The first administrator, just made.
#[derive(Debug)]
pub struct FirstAdministrator {
    account: Account,
    password: Password,
}

impl FirstAdministrator {
    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Its password, for the operator's eyes; only its hash is kept.
    pub fn password(&self) -> &str {
        self.password.as_str()
    }
}

impl Portcullis {
    /// Makes the first administrator, or nothing if that was done before.
    ///
    /// # Errors
    /// [`AccountError::Taken`] when the name belongs to someone: nobody is promoted, and it can be
    /// tried again with another name. Invalid names; an outage.
    pub async fn bootstrap_admin(
        &self,
        account: NewAccount,
    ) -> Result<Option<FirstAdministrator>, AccountError> {
        let password = random_password();
        let made = self.bootstrap(account, &password, Origin::Random).await?;
        Ok(made.map(|account| FirstAdministrator { account, password }))
    }

    /// The same with a password that the operator has chosen, such as one from a secret store. Afterwards
    /// the password is not looked at any more, so a later change of it has no effect.
    ///
    /// # Errors
    /// As [`bootstrap_admin`](Self::bootstrap_admin). [`AccountError::Invalid`] for a password that breaks
    /// the [rules](crate::password) for a new one: then nothing is made, and it can be attempted again.
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
            // The mark first: of several nodes one gets it, and the others wait and then see it.
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

/// Where a password comes from. A random one breaks no rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Random,
    Chosen,
}

/// How making it ends early.
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

/// 125 bits in five groups, easy to type.
fn random_password() -> Password {
    let text = data_encoding::BASE32_NOPAD.encode(&*Zeroizing::new(random_array::<16>()));
    let groups: Vec<&str> = (0..5).map(|group| &text[group * 5..group * 5 + 5]).collect();
    Password::from(groups.join("-").to_lowercase())
}
