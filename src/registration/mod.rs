//! Registration: strangers make their own accounts.
//!
//! In the open mode a registration answers 201 with a session, or 409 for a name that is taken.
//! Account and session are made in one transaction: there is never one without the other.
//!
//! Fields of the application's own come as the member `profile` and go to its
//! [hooks](crate::port::Hooks), which keep them in its own table in the same transaction. Where no
//! hook reads them, `profile` is an unknown field.
//!
//! # Routes
//! `POST /register` (JSON, or a form from a page of ours).
//!
//! # Errors
//! `registration_closed` (403), `invalid_fields` (422, names each field), `username_taken`,
//! `email_taken`, `phone_taken` (409).

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use crate::account::{Account, AccountError, InvalidField, NewAccount};
use crate::base::client::ClientInfo;
use crate::base::event::EventKind;
use crate::base::factor::{Factor, PassedFactors};
use crate::base::id::AccountId;
use crate::base::problem::{Problem, Refusal};
use crate::base::transaction::{Fault, MaybeFault, transaction};
use crate::config::{LoginIds, Registration as Policy};
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::admission::slot;
use crate::identity::slot::Resolved;
use crate::password::{Names, Password, Passwords};
use crate::port::{Registering, from_hooked};
use crate::session::issue::Replaces;
use crate::session::{Issued, SessionError, StartSession, Transport};

#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::routes;

/// What someone registers with.
#[derive(Clone)]
#[must_use]
pub struct Application {
    account: NewAccount,
    password: Password,
    remember: bool,
    transport: Transport,
    profile: Value,
}

impl Application {
    /// Names and a password.
    pub fn new(account: NewAccount, password: impl Into<String>) -> Self {
        Self {
            account,
            password: password.into().into(),
            remember: true,
            transport: Transport::Cookie,
            profile: Value::Null,
        }
    }

    /// What the application's [hooks](crate::port::Hooks) are given as
    /// [`Registering::profile`](crate::port::Registering::profile).
    pub fn profile(mut self, profile: Value) -> Self {
        self.profile = profile;
        self
    }

    /// Whether the session outlives the browser. Default: yes.
    pub fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    /// How the token travels. Default: in the cookie.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }
}

impl std::fmt::Debug for Application {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Application(..)")
    }
}

/// A new account and, unless it has to be verified first, its first session.
#[derive(Debug)]
#[non_exhaustive]
pub struct Registered {
    /// The account.
    pub account: Account,
    /// Its session. None where an account has to be verified before it can sign in.
    pub session: Option<Issued>,
}

/// Why a registration failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// Accounts are made by the application.
    #[error("registration is closed")]
    Closed,
    /// The names cannot be used, or one is taken.
    #[error(transparent)]
    Account(AccountError),
    /// A hook of the application's refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<AccountError> for RegistrationError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Fault(fault) => Self::Fault(fault),
            other => Self::Account(other),
        }
    }
}

impl From<SessionError> for RegistrationError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Fault(fault) => Self::Fault(fault),
            SessionError::Refused(refusal) => Self::Refused(refusal),
            other => Self::Fault(Fault::Internal(other.to_string())),
        }
    }
}

from_hooked!(RegistrationError);

impl MaybeFault for RegistrationError {
    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}

impl Problem for RegistrationError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Closed => StatusCode::FORBIDDEN,
            Self::Account(error) => error.status(),
            Self::Refused(refusal) => refusal.problem().status(),
            Self::Fault(fault) => fault.status(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Closed => "registration_closed",
            Self::Account(error) => error.code(),
            Self::Refused(refusal) => refusal.problem().code(),
            Self::Fault(fault) => fault.code(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        self.fault().and_then(Problem::retry_after)
    }

    fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        match self {
            Self::Account(error) => error.members(),
            _ => serde_json::Map::new(),
        }
    }
}

/// Registers strangers. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Registration<'a> {
    auth: &'a Portcullis,
    /// What the request was before.
    replaces: Option<Replaces>,
}

impl Portcullis {
    /// Registration.
    pub fn registration(&self) -> Registration<'_> {
        Registration { auth: self, replaces: None }
    }
}

impl Registration<'_> {
    /// Registers over whatever session the request has: a visitor's goes on as the new account's,
    /// any other ends. The mounted route does this; a handler of your own passes its request's
    /// extensions.
    ///
    /// # Errors
    /// The layer is missing, another site sent the request, or an outage.
    pub async fn over(mut self, extensions: &http::Extensions) -> Result<Self, AuthError> {
        self.replaces = match slot(extensions)?.resolve().await? {
            Resolved::Anonymous(session) => Some(Replaces {
                id: session.id(),
                lineage_id: Some(session.lineage_id()),
                promotes: false,
            }),
            Resolved::Full(identity) => {
                Some(Replaces { id: identity.session().id(), lineage_id: None, promotes: false })
            }
            _ => None,
        };
        Ok(self)
    }

    /// Makes an account for a stranger and signs it in.
    ///
    /// # Errors
    /// Registration is closed; fields that cannot be used, all named at once; a name that is
    /// taken; a hook's refusal; an outage or too many passwords at once as 503.
    pub async fn register(
        &self,
        application: Application,
        client: &ClientInfo,
    ) -> Result<Registered, RegistrationError> {
        let context = self.auth.context();
        let config = &context.config;
        if config.login.registration == Policy::Closed {
            return Err(RegistrationError::Closed);
        }
        // A stranger says nothing about himself but names and a password.
        let mut account = NewAccount { verified: false, superuser: false, ..application.account };
        self.check(&account, &application.password).await?;
        let hashed = self.auth.room::<Passwords>().hash(&application.password).await?;
        account.password = Some(hashed);
        let now = context.now();
        let id = AccountId::new(now);
        account.id = Some(id);
        let registering = Registering {
            account_id: id,
            username: account.username.as_deref(),
            email: account.email.as_deref(),
            phone: account.phone.as_deref(),
            client,
            at: now,
            profile: &application.profile,
        };
        let db = context.db();
        let accounts = self.auth.accounts();
        let (account, created, session) = transaction!(db, |txn| {
            context.hooks.before_register(registering, txn).await?;
            let (account, event) = accounts.within(txn).create_quietly(account.clone()).await?;
            context.hooks.after_register(registering, txn).await?;
            if config.login.require_verified {
                return Ok((account, event, None));
            }
            let issued = StartSession::new(context, db, client)
                .of(&account)
                .passed(PassedFactors::one(Factor::Password, now))
                .remember(application.remember)
                .transport(application.transport)
                .event(EventKind::LoginSucceeded)
                .replaces(self.replaces)
                .within(txn)
                .issue()
                .await?;
            Ok::<_, RegistrationError>((account, event, Some(issued)))
        })?;
        created.trace();
        let session = session.map(|(issued, event)| {
            event.trace();
            issued
        });
        if session.is_some() {
            self.auth.memberships_at_sign_in(account.id).await;
        }
        Ok(Registered { account, session })
    }

    /// Makes an account with a password for the application itself, whether or not strangers may
    /// register: for seeding, imports by hand, or an administrator's form. Nobody is signed in.
    ///
    /// # Errors
    /// Fields that cannot be used, all named at once; a name that is taken; an outage.
    pub async fn create(
        &self,
        account: NewAccount,
        password: impl Into<String>,
    ) -> Result<Account, RegistrationError> {
        let account = self.prepare(account, password).await?;
        Ok(self.auth.accounts().create(account).await?)
    }

    /// Checks names and password as [`create`](Self::create) does and hashes it, for an account that
    /// is made in a transaction of yours: hashing takes too long to hold one open.
    ///
    /// ```no_run
    /// # use portcullis::{Portcullis, Rejection};
    /// # use sea_orm::{DatabaseConnection, TransactionTrait};
    /// # async fn example(auth: Portcullis, db: DatabaseConnection) -> Result<(), Box<dyn std::error::Error>> {
    /// use portcullis::account::NewAccount;
    ///
    /// let alice = NewAccount::username("alice");
    /// let alice = auth.registration().prepare(alice, "correct horse battery").await?;
    /// let txn = db.begin().await?;
    /// let alice = auth.accounts().within(&txn).create(alice).await?;
    /// // .. rows of your own that point to alice.id()
    /// txn.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fields that cannot be used, all named at once; an outage.
    pub async fn prepare(
        &self,
        account: NewAccount,
        password: impl Into<String>,
    ) -> Result<NewAccount, RegistrationError> {
        let password = Password::from(password.into());
        self.check(&account, &password).await?;
        let hashed = self.auth.room::<Passwords>().hash(&password).await?;
        Ok(NewAccount { password: Some(hashed), ..account })
    }

    async fn check(
        &self,
        account: &NewAccount,
        password: &Password,
    ) -> Result<(), RegistrationError> {
        let config = &self.auth.context().config;
        let mut invalid = account.parse().err().unwrap_or_default();
        let (username, email) = (account.username.is_some(), account.email.is_some());
        let missing = match config.login.id {
            LoginIds::Username => (!username).then_some("username"),
            LoginIds::Email => (!email).then_some("email"),
            LoginIds::Either => (!username && !email).then_some("username"),
        };
        if let Some(field) = missing {
            invalid.push(InvalidField::new(field, "is required"));
        }
        let names = [&account.username, &account.email, &account.phone];
        let names = Names(names.into_iter().filter_map(|name| name.as_deref()).collect());
        let passwords = self.auth.room::<Passwords>();
        invalid.extend(passwords.refused("password", password, &names).await?);
        if invalid.is_empty() { Ok(()) } else { Err(AccountError::Invalid(invalid).into()) }
    }
}
