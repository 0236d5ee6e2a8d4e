//! The first administrator.
//!
//! Called at every start, it makes an account that may do everything, once in the life of the
//! database, however many nodes start at the same moment. Its password is random and given back
//! once, to be shown to the operator. There is no default password, and an account that exists
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
use crate::password::{Password, Passwords};

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
        let context = self.context();
        let db = context.db();
        if db.read(store::is_marked(&db.executor(), MARK)).await? {
            return Ok(None);
        }
        let password = random_password();
        let hashed = self.per_instance::<Passwords>().hash(&password, None).await?;
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
            Ok(account) => Ok(Some(FirstAdministrator { account, password })),
            Err(Bootstrap::Done) => Ok(None),
            Err(Bootstrap::Account(error)) => Err(error),
        }
    }
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
