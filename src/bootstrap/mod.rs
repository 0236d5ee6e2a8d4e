//! Bootstrap: the first administrator.
//!
//! # How it works
//!
//! 1. Call [`bootstrap_admin`](crate::Portcullis::bootstrap_admin) at every start. It creates an
//!    account that may do everything. This happens only once per database, even if many nodes start
//!    at the same time.
//! 2. The password is random and is returned once, so that you can show it to the operator. The
//!    operator can also choose it: [`password`](BootstrapAdmin::password).
//! 3. The [hooks](crate::hook::Hooks) of a registration run, so that this account gets what every
//!    account has. Your own code can run [in the same transaction](BootstrapAdmin::in_transaction).
//!    If a hook or your code fails, nothing is created, and the next start repeats all of this.
//!
//! ```no_run
//! # async fn insert_profile(_: portcullis::AccountId, _: &sea_orm::DatabaseTransaction)
//! # -> Result<(), sea_orm::DbErr> { Ok(()) }
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::bootstrap::BootstrapError> {
//! use portcullis::account::NewAccount;
//!
//! let first = auth
//!     .bootstrap_admin(NewAccount::username("admin"))
//!     .in_transaction(|account, txn| {
//!         Box::pin(async move {
//!             insert_profile(account.id(), txn).await?; // a row of your own table
//!             Ok(())
//!         })
//!     })
//!     .await?;
//! if let Some(admin) = first {
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
//! The codes of [`AccountError`], such as `username_taken` (409) and `invalid_fields` (422), and
//! the code of a refusing hook.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use sea_orm::DatabaseTransaction;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::account::{Account, AccountError, NewAccount, store};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::event::{Event, EventKind};
use crate::base::id::AccountId;
use crate::base::problem::{Refusal, problem};
use crate::base::secret::random_array;
use crate::base::transaction::{Fault, MaybeFault, is_unique_violation, may_fault, transaction};
use crate::handle::Portcullis;
use crate::hook::{ForAccount, HookList, Registering, RegistrationCause, from_hooked};
use crate::password::{Names, Password, Passwords};
use crate::port::HookFuture;

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

/// The reason why the first administrator could not be created. Nothing was created, and you can
/// call it again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// A name is taken, or a name or the chosen password is invalid.
    #[error(transparent)]
    Account(AccountError),
    /// A hook, or your code in the transaction, refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure, a hook or your code failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<AccountError> for BootstrapError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Fault(fault) => Self::Fault(fault),
            other => Self::Account(other),
        }
    }
}

may_fault!(BootstrapError);
from_hooked!(BootstrapError);

problem! {
    BootstrapError {}
    passes on { Account, Refused, Fault }
}

/// Creates the first administrator when it is awaited. See [`Portcullis::bootstrap_admin`].
#[must_use = "the administrator is created when this is awaited"]
pub struct BootstrapAdmin<'a> {
    auth: &'a Portcullis,
    account: NewAccount,
    password: Option<Password>,
    profile: Value,
    code: Option<Arc<ForAccount>>,
}

impl Portcullis {
    /// Creates the first administrator when it is awaited. Returns `None` if there was one before.
    ///
    /// # Errors
    /// - [`BootstrapError::Account`] with [`AccountError::Taken`]: the name belongs to an existing
    ///   account, which is not promoted. Choose another name. With [`AccountError::Invalid`]: a
    ///   name is invalid, or the chosen password breaks the [rules](crate::password).
    /// - [`BootstrapError::Refused`]: a hook or your code refused.
    /// - [`BootstrapError::Fault`]: the infrastructure, a hook or your code failed.
    ///
    /// After an error there is no administrator, and you can call it again.
    pub fn bootstrap_admin(&self, account: NewAccount) -> BootstrapAdmin<'_> {
        BootstrapAdmin { auth: self, account, password: None, profile: Value::Null, code: None }
    }
}

impl<'a> BootstrapAdmin<'a> {
    /// Sets a password that the operator has chosen, such as one from a secret store. It must
    /// follow the [rules](crate::password) for new passwords. Once the administrator exists, this
    /// setting is ignored.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Password::from(password.into()));
        self
    }

    /// Sets the data that the [hooks](crate::hook::Hooks) get as
    /// [`Registering::profile`].
    pub fn profile(mut self, profile: Value) -> Self {
        self.profile = profile;
        self
    }

    /// Runs your code in the transaction that creates the account, after the hooks. If it fails,
    /// nothing is created. Like a hook, it may run again, and has a [time
    /// limit](crate::config::DatabaseConfig::hook_timeout). A [`Refusal`] is passed on as
    /// [`BootstrapError::Refused`].
    pub fn in_transaction<F>(mut self, code: F) -> Self
    where
        F: for<'t> Fn(&'t Account, &'t DatabaseTransaction) -> HookFuture<'t, ()>
            + Send
            + Sync
            + 'static,
    {
        self.code = Some(Arc::new(code));
        self
    }

    async fn run(self) -> Result<Option<FirstAdministrator>, BootstrapError> {
        let Self { auth, account, password, profile, code } = self;
        let context = auth.context();
        let db = context.db();
        if db.read(store::is_marked(&db.executor(), MARK)).await? {
            return Ok(None);
        }
        let passwords = auth.per_instance::<Passwords>();
        let password = match password {
            Some(chosen) => {
                let names = [&account.username, &account.email, &account.phone];
                let names = Names(names.into_iter().filter_map(|name| name.as_deref()).collect());
                let faults = passwords.faults("password", &chosen, &names, None).await?;
                if !faults.is_empty() {
                    return Err(AccountError::Invalid(faults).into());
                }
                chosen
            }
            // A random password needs no check of the rules.
            None => random_password(),
        };
        let hashed = passwords.hash(&password, None).await?;
        let now = context.now();
        let id = AccountId::new(now);
        let new = NewAccount { id: Some(id), password: Some(hashed), ..account };
        let new = new.superuser().verified();
        let client = ClientInfo::default();
        let registering = Registering {
            auth,
            account: None,
            account_id: id,
            username: new.username.as_deref(),
            email: new.email.as_deref(),
            phone: new.phone.as_deref(),
            cause: RegistrationCause::FirstAdministrator,
            client: &client,
            at: now,
            profile: &profile,
        };
        let hooks = auth.per_instance::<HookList>();
        let accounts = auth.accounts();
        let made = transaction!(db, |txn| {
            // The mark comes first. If several nodes start at once, one of them gets it. The others
            // wait for that transaction and then see the mark.
            match store::mark(txn, MARK, now).await {
                Ok(()) => {}
                Err(error) if is_unique_violation(&error) => return Err(Ended::Done),
                Err(error) => return Err(Fault::from(error).into()),
            }
            hooks.before_register(registering, txn).await?;
            let account = accounts.inside(txn).create(new.clone()).await?;
            let registered = Registering { account: Some(&account), ..registering };
            hooks.after_register(registered, txn).await?;
            if let Some(code) = &code {
                hooks.run_for(context, account.clone(), Arc::clone(code), txn).await?;
            }
            let event = Event::new(EventKind::AdministratorBootstrapped, now).account(account.id());
            audit_log::record(txn, &event).await.map_err(Fault::from)?;
            Ok(account)
        });
        match made {
            Ok(account) => Ok(Some(FirstAdministrator { account, password })),
            Err(Ended::Done) => Ok(None),
            Err(Ended::Error(error)) => Err(error),
        }
    }
}

impl<'a> IntoFuture for BootstrapAdmin<'a> {
    type Output = Result<Option<FirstAdministrator>, BootstrapError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for BootstrapAdmin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootstrapAdmin(..)")
    }
}

/// The reason why the creation ends early.
enum Ended {
    Done,
    Error(BootstrapError),
}

impl<E: Into<BootstrapError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl MaybeFault for Ended {
    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Error(error) => error.fault(),
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
