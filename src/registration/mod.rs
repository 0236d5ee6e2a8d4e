//! Registration: people create their own accounts.
//!
//! In the **open** mode a registration is answered with 201 and a session, or with 409 if a name is
//! taken. There is no session if `login.require_verified` is on. Account and session are created in
//! one transaction, so there is never one without the other. If there is a notifier, the address
//! gets a mail to [prove](crate::verification) it.
//!
//! In the **strict** mode (the default with `login.require_verified` and a notifier) nobody learns
//! whether an address has an account:
//!
//! 1. For every address the answer is 202 with the same bytes, after the same one hash and the same
//!    statements. For a known address some of them change no row. There is no session. An address
//!    is required. A phone number can be added later.
//! 2. A free address gets a link and a code. If the address belongs to a verified account, its
//!    owner is told so by mail. If the account is not verified yet, the verification mail is sent
//!    again. Existing data never changes, and the name and the password of the second registration
//!    are not stored.
//! 3. A username that is taken is answered with 409, as in the open mode, because usernames are
//!    public. The account gets the requested username only when its address is proved. If it were
//!    reserved before, it would show whether the address was free.
//!
//! In this mode, a hook that wants to refuse must do so in `before_register`, which runs for every
//! address. `after_register` runs only if an account was created.
//!
//! An address that its account never proved becomes free when that account is deleted. In the open
//! mode it also becomes free when the account is disabled. This requires a notifier, so that the
//! next account is asked to prove the address. In the strict mode a disabled account keeps the
//! address, because a change would be visible. If such an account belongs to a stranger, delete it.
//!
//! Fields of your application are sent in the member `profile`. Your [hooks](crate::hook::Hooks)
//! get them, and can store them in your own table in the same transaction. If no hook reads them,
//! `profile` is an unknown field.
//!
//! # Example
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::Rejection> {
//! use portcullis::ClientInfo;
//! use portcullis::account::NewAccount;
//! use portcullis::registration::Application;
//!
//! let alice = NewAccount::username("alice");
//! let application = Application::new(alice, "correct horse battery staple");
//! let registered = auth.registration().register(application, &ClientInfo::default()).await?;
//! # let _ = registered;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//! - It never creates a superuser or a verified account. For that, use
//!   [`create`](Registration::create).
//! - It does not prove an address. See [`verification`](crate::verification).
//!
//! # Routes
//! `POST /register` (JSON, or a form from your own pages).
//!
//! # Configuration
//! `login.registration`, `login.id` and `login.require_verified`; `password`; the limits
//! [`registrations`](crate::config::RateConfig::registrations),
//! [`taken_names`](crate::config::RateConfig::taken_names) and
//! [`per_source`](crate::config::MailConfig::per_source).
//!
//! # Errors
//! `registration_closed` (403), `invalid_fields` (422, names each field), `username_taken`,
//! `email_taken`, `phone_taken` (409), `rate_limited` (429): the source registered too often,
//! whatever the names ([`registrations`](crate::config::RateConfig::registrations)), found too many
//! names taken ([`taken_names`](crate::config::RateConfig::taken_names)) or asked for too many
//! messages ([`per_source`](crate::config::MailConfig::per_source)). With a [captcha](crate::captcha)
//! also `captcha_required`, `wrong_captcha` (403) and `captcha_unavailable` (503).
//!
//! # Events
//! `user_created`; `user_create_fail` for the account whose name another person wanted to register,
//! also if the answer says that it is taken.
//!
//! # Standard
//! OWASP ASVS 5.0 6.3.8 (no enumeration of accounts).

use std::net::IpAddr;

use serde_json::Value;

use crate::account::entity::{account, login_name};
use crate::account::former::Standing;
use crate::account::{
    Account, AccountError, Email, LoginId, LoginIdKind, NameProbe, NewAccount,
    store as account_store,
};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{Factor, PassedFactors};
use crate::base::id::AccountId;
use crate::base::invalid_field::InvalidField;
use crate::base::problem::{Problem, Refusal, problem};
use crate::base::transaction::{Fault, Txn, is_unique_violation, may_fault, transaction};
use crate::captcha::{CaptchaError, CaptchaResponse, Guarded};
use crate::config::{LoginIds, Registration as Policy};
use crate::confirmation::{self, Proof};
use crate::flow::new_account;
use crate::flow::sign_in::{self, Demands, Locked, NewSession};
use crate::handle::Portcullis;
use crate::hook::{HookList, Registering, RegistrationCause, from_hooked};
use crate::identity::AuthError;
use crate::identity::request_identity::RequestIdentity;
use crate::message::{MessageKind, Recipient};
use crate::outbox::Outgoing;
use crate::outstanding::Kind;
use crate::password::{Names, Password, Passwords};
use crate::rate_limit::RateLimited;
use crate::session::issue::Replaces;
use crate::session::{Issued, SessionError, Transport};

#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::routes;

/// The data of a registration.
#[derive(Clone)]
#[must_use]
pub struct Application {
    account: NewAccount,
    password: Password,
    remember: bool,
    transport: Transport,
    profile: Value,
    captcha: Option<CaptchaResponse>,
}

impl Application {
    /// Takes the names and a password.
    pub fn new(account: NewAccount, password: impl Into<String>) -> Self {
        Self {
            account,
            password: password.into().into(),
            remember: true,
            transport: Transport::Cookie,
            profile: Value::Null,
            captcha: None,
        }
    }

    /// Adds the answer to a [captcha](crate::captcha) for the action `register`.
    pub fn captcha(mut self, response: CaptchaResponse) -> Self {
        self.captcha = Some(response);
        self
    }

    /// Sets the data that the application's [hooks](crate::hook::Hooks) get as
    /// [`Registering::profile`](crate::hook::Registering::profile).
    pub fn profile(mut self, profile: Value) -> Self {
        self.profile = profile;
        self
    }

    /// Sets whether the session is remembered after the browser closes. The default is `true`.
    pub fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    /// Sets how the token is sent. The default is the cookie.
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

/// A new account, and its first session unless it must be verified first.
#[derive(Debug)]
#[non_exhaustive]
pub struct Registered {
    /// The account.
    pub account: Account,
    /// Its session. `None` if an account must be verified before it can sign in.
    pub session: Option<Issued>,
}

/// The reason why a registration failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// Only the application creates accounts.
    #[error("registration is closed")]
    Closed,
    /// In the strict mode all registrations get the same answer, so there is no account or session
    /// to return.
    #[error("registration is strict; use `apply`, which does not tell whether a name was free")]
    Strict,
    /// The names cannot be used, or one is taken.
    #[error(transparent)]
    Account(AccountError),
    /// A captcha is needed, or its answer is wrong.
    #[error(transparent)]
    Captcha(#[from] CaptchaError),
    /// This source asked too often. See [`rate_limit`](crate::rate_limit).
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// A hook of the application refused.
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
            other => Self::Fault(Fault::Internal(other.to_string().into())),
        }
    }
}

may_fault!(RegistrationError);
from_hooked!(RegistrationError);

problem! {
    RegistrationError {
        Self::Closed => FORBIDDEN, "registration_closed";
        Self::Strict => INTERNAL_SERVER_ERROR, "misconfigured";
    }
    passes on { Account, Captcha, RateLimited, Refused, Fault }
}

/// Registers new accounts. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Registration<'a> {
    auth: &'a Portcullis,
    /// What the session of the new account replaces.
    replaces: Option<Replaces>,
}

impl Portcullis {
    /// Returns the flow for registration.
    pub fn registration(&self) -> Registration<'_> {
        Registration { auth: self, replaces: None }
    }
}

impl Registration<'_> {
    /// Sets the session that the registration replaces: the one of the request. A visitor's session
    /// continues as the new account's; any other ends. The mounted route does this. Your own
    /// handler passes the extensions of its request.
    ///
    /// # Errors
    /// The layer is missing, another site sent the request, or there is an outage.
    pub async fn replacing(mut self, extensions: &http::Extensions) -> Result<Self, AuthError> {
        let request_identity = RequestIdentity::of(extensions)?;
        self.replaces = sign_in::replaces(request_identity.replaced().await?, None);
        Ok(self)
    }

    /// Creates an account and signs it in, in the open mode.
    ///
    /// # Errors
    /// Registration is closed or strict; fields that cannot be used, all reported at once; a name
    /// that is taken; too many requests from this source; a hook's refusal; an outage, or too many
    /// passwords at once, as 503.
    pub async fn register(
        &self,
        application: Application,
        client: &ClientInfo,
    ) -> Result<Registered, RegistrationError> {
        let context = self.auth.context();
        let config = &context.config;
        match config.login.registration {
            Policy::Closed => return Err(RegistrationError::Closed),
            Policy::Strict => return Err(RegistrationError::Strict),
            Policy::Automatic | Policy::Open => {}
        }
        let probe = NameProbe::begin(self.auth, client)?;
        // People who register can choose only names and a password. The rest is reset, so nobody
        // can make themselves verified or a superuser.
        let mut account = NewAccount { verified: false, superuser: false, ..application.account };
        self.check(&account, &application.password, Policy::Open, client.address()).await?;
        self.ask_for_captcha(&account, application.captcha.as_ref(), client).await?;
        // A registration with invalid fields is not counted, because it needed no work.
        new_account::count(self.auth, client).await?;
        if account.email.is_some() {
            self.auth.count_message(client).await?;
        }
        let hashed = self
            .auth
            .per_instance::<Passwords>()
            .hash(&application.password, client.address())
            .await?;
        account.password = Some(hashed);
        let now = context.now();
        let id = AccountId::new(now);
        account.id = Some(id);
        account.lineage_id = self.replaces.and_then(|replaces| replaces.lineage_id);
        account.on_trial = context.config.login.require_verified;
        account.signs_in = !context.config.login.require_verified;
        let registering = Registering {
            auth: self.auth,
            account: None,
            account_id: id,
            username: account.username.as_deref(),
            email: account.email.as_deref(),
            phone: account.phone.as_deref(),
            cause: RegistrationCause::Stranger,
            client,
            at: now,
            profile: &application.profile,
        };
        let db = context.db();
        let accounts = self.auth.accounts();
        let hooks = self.auth.per_instance::<HookList>();
        let mut freed = false;
        let made = loop {
            let made = transaction!(db, |txn| {
                hooks.before_register(registering, txn).await?;
                let row = accounts.inside(txn).create_row(account.clone()).await?;
                let account = Account::from(row.clone());
                let registered = Registering { account: Some(&account), ..registering };
                hooks.after_register(registered, txn).await?;
                self.ask_for_proof(txn, &account).await?;
                if config.login.require_verified {
                    return Ok((account, None));
                }
                // This is the account's first sign-in, which never counts as a new device.
                let row = account::Model { last_login_at: None, ..row };
                let proved = PassedFactors::one(Factor::Password, now);
                let made = NewSession::new(
                    self.auth,
                    &row,
                    proved,
                    Demands::of_new(context, &row),
                    client,
                    now,
                )
                .remember(application.remember)
                .transport(application.transport)
                .replacing(self.replaces)
                .make(txn, Locked::by_the_flow())
                .await?;
                Ok::<_, RegistrationError>((account, Some(made)))
            });
            freed = match &made {
                Err(RegistrationError::Account(AccountError::Taken(LoginIdKind::Email)))
                    if !freed =>
                {
                    self.free(account.email.as_deref(), client).await?
                }
                _ => break made,
            };
            if !freed {
                break made;
            }
        };
        let (account, session) = match made {
            Err(RegistrationError::Account(AccountError::Taken(kind))) => {
                return Err(self.found_taken(Some(probe), kind, &account, client).await);
            }
            made => made?,
        };
        let session = match session {
            Some(made) => Some(made.committed(self.auth).await.into_issued()),
            None => None,
        };
        Ok(Registered { account, session })
    }

    /// Asks for a captcha after some registrations, and counts this one. Each counts, whatever its
    /// result is, because the answer of a strict registration does not show its result either.
    async fn ask_for_captcha(
        &self,
        account: &NewAccount,
        response: Option<&CaptchaResponse>,
        client: &ClientInfo,
    ) -> Result<(), CaptchaError> {
        let names = [&account.username, &account.email, &account.phone];
        let names = names.into_iter().flatten().filter_map(|name| LoginId::parse(name).ok());
        let names: Vec<_> = names.collect();
        let normals: Vec<_> = names.iter().map(LoginId::normal).collect();
        if let Some(guard) = self.auth.captchas().guard(Guarded::Register, &normals, client) {
            guard.admit(response).await?;
        }
        Ok(())
    }

    /// Returns the error for a name that is taken. The audit log records that a stranger got this
    /// answer.
    async fn found_taken(
        &self,
        probe: Option<NameProbe<'_>>,
        kind: LoginIdKind,
        account: &NewAccount,
        client: &ClientInfo,
    ) -> RegistrationError {
        let told = RegistrationError::from(AccountError::Taken(kind));
        let context = self.auth.context();
        let event = Event::new(EventKind::RegistrationFailed, context.now()).from_client(client);
        let mut event = event.failed(told.code());
        let asked = match kind {
            LoginIdKind::Username => &account.username,
            LoginIdKind::Email => &account.email,
            LoginIdKind::Phone => &account.phone,
        };
        let asked = asked.as_deref().and_then(|name| LoginId::parse(name).ok());
        let db = context.db();
        let normal = asked.as_ref().map_or("", LoginId::normal);
        match db.read(account_store::find_by_name(&db.executor(), normal)).await {
            Ok(holder) => event.account_id = holder.map(|row| row.id),
            Err(fault) => return fault.into(),
        }
        match probe {
            Some(probe) => probe.found_taken(event).await.map_or_else(Into::into, |()| told),
            None => told,
        }
    }

    /// Removes an address from an account that has no claim to it, if the new account will be asked
    /// to prove it.
    async fn free(
        &self,
        email: Option<&str>,
        client: &ClientInfo,
    ) -> Result<bool, RegistrationError> {
        let context = self.auth.context();
        let email = email.filter(|_| context.notifier.is_some());
        let Some(Ok(email)) = email.map(Email::parse) else { return Ok(false) };
        let now = context.now();
        transaction!(context.db(), |txn| {
            new_account::free(self.auth, txn, &email, client, now).await
        })
    }

    /// Sends the mail that asks to prove the address of a new account, if there is a notifier.
    async fn ask_for_proof(&self, txn: &Txn<'_>, account: &Account) -> Result<(), sea_orm::DbErr> {
        let context = self.auth.context();
        let Some(mailbox) = account.email().filter(|_| context.notifier.is_some()) else {
            return Ok(());
        };
        let Ok(email) = Email::parse(mailbox) else { return Ok(()) };
        let to = Some((account.id(), mailbox));
        let proof = Proof { kind: &Kind::Verification, to, normal: email.normal() };
        confirmation::send(txn, context, &proof).await
    }

    /// Creates an account without telling whether the address was free. The rest follows by mail.
    /// The route does this in the strict mode.
    ///
    /// # Errors
    /// Registration is closed; fields that cannot be used, all reported at once; a username that is
    /// taken; too many requests from this source; a hook's refusal; an outage, or too many
    /// passwords at once, as 503.
    pub async fn apply(
        &self,
        application: Application,
        client: &ClientInfo,
    ) -> Result<(), RegistrationError> {
        let context = self.auth.context();
        if context.config.login.registration == Policy::Closed {
            return Err(RegistrationError::Closed);
        }
        // In this mode only a username is ever reported as taken.
        let probe = match application.account.username {
            Some(_) => Some(NameProbe::begin(self.auth, client)?),
            None => None,
        };
        let mut account = NewAccount { verified: false, superuser: false, ..application.account };
        self.check(&account, &application.password, Policy::Strict, client.address()).await?;
        self.ask_for_captcha(&account, application.captcha.as_ref(), client).await?;
        new_account::count(self.auth, client).await?;
        self.auth.count_message(client).await?;
        // The hash is computed before anything is looked up, and also for a known address. So the
        // time is the same.
        let hashed = self
            .auth
            .per_instance::<Passwords>()
            .hash(&application.password, client.address())
            .await?;
        account.password = Some(hashed);
        account.lineage_id = self.replaces.and_then(|replaces| replaces.lineage_id);
        account.on_trial = context.config.login.require_verified;
        let mut attempts = 3;
        loop {
            let result = self.try_apply(&account, &application.profile, client).await;
            match result {
                // Another request registered the address at the same moment. The next round sees
                // it.
                Err(RegistrationError::Account(AccountError::Taken(LoginIdKind::Email)))
                    if attempts > 1 =>
                {
                    attempts -= 1;
                }
                Err(RegistrationError::Account(AccountError::Taken(kind))) if probe.is_some() => {
                    return Err(self.found_taken(probe, kind, &account, client).await);
                }
                other => return other,
            }
        }
    }

    /// Runs the same statements for a free and for a taken address. A statement that only one of
    /// them needs changes no row for the other.
    async fn try_apply(
        &self,
        account: &NewAccount,
        profile: &Value,
        client: &ClientInfo,
    ) -> Result<(), RegistrationError> {
        let context = self.auth.context();
        let now = context.now();
        let id = AccountId::new(now);
        let account = NewAccount { id: Some(id), ..account.clone() };
        let registering = Registering {
            auth: self.auth,
            account: None,
            account_id: id,
            username: account.username.as_deref(),
            email: account.email.as_deref(),
            phone: None,
            cause: RegistrationCause::Stranger,
            client,
            at: now,
            profile,
        };
        let names = account.parse().map_err(AccountError::Invalid)?;
        let email = names.email.as_ref().map(|email| email.normal().to_owned());
        let email = email.unwrap_or_default();
        let username = names.username.as_ref().map(|name| name.normal().to_owned());
        let wanted: Vec<String> = username.iter().chain([&email]).cloned().collect();
        let row = account.clone().into_row(names, now);
        let hooks = self.auth.per_instance::<HookList>();
        // The account gets the username only when its address is proved. Whether the username is
        // free after a registration would otherwise tell whether the address was free.
        let kind = LoginIdKind::Email;
        let (normal, verified_at) = (email.as_str(), None);
        let name = account_store::Name {
            account_id: id,
            kind,
            normal,
            typed: None,
            verified_at,
            standing: Standing::FIRST,
        };
        transaction!(context.db(), |txn| {
            hooks.before_register(registering, txn).await?;
            let taken = account_store::taken(txn, &wanted).await?;
            if taken.iter().any(|row| username.as_ref() == Some(&row.normal)) {
                return Err(AccountError::Taken(LoginIdKind::Username).into());
            }
            let holding = taken.iter().find(|row| row.normal == email);
            let holder = holding.map(|row| row.account_id);
            let free = holder.is_none();
            // No account has this new id, so the statement finds nothing but is still sent.
            let owner = account_store::find(txn, holder.unwrap_or(id)).await?;
            let event = match holder {
                None => Event::new(EventKind::AccountCreated, now).account(id),
                Some(holder) => Event::new(EventKind::RegistrationFailed, now)
                    .account(holder)
                    .failed("email_taken"),
            };
            let event = event.from_client(client);
            let made = account_store::insert_if(txn, free, row.clone(), name, now).await;
            made.map_err(|error| {
                if is_unique_violation(&error) { AccountError::Taken(kind) } else { error.into() }
            })?;
            audit_log::record(txn, &event).await?;
            if free {
                let account = Account::from(row.clone());
                let registered = Registering { account: Some(&account), ..registering };
                hooks.after_register(registered, txn).await?;
                let to = row.email.as_deref().map(|mailbox| (id, mailbox));
                let proof = Proof { kind: &Kind::Verification, to, normal: &email };
                confirmation::send(txn, context, &proof).await?;
            } else {
                self.tell_owner(txn, owner.as_ref().zip(holding), &email).await?;
            }
            Ok::<_, RegistrationError>(())
        })
    }

    /// Tells the owner of the address that someone wanted to register with it.
    async fn tell_owner(
        &self,
        txn: &Txn<'_>,
        owner: Option<(&account::Model, &login_name::Model)>,
        normal: &str,
    ) -> Result<(), sea_orm::DbErr> {
        let context = self.auth.context();
        let now = context.now();
        if let Some((row, _)) = owner
            && confirmation::unproved(row, now).as_deref() == Some(normal)
        {
            let to = row.email.as_deref().map(|mailbox| (row.id, mailbox));
            let proof = Proof { kind: &Kind::Verification, to, normal };
            return confirmation::send(txn, context, &proof).await;
        }
        let owner = owner.filter(|(row, _)| Account::from((*row).clone()).is_usable(now, false));
        // The mail goes to the address as its owner wrote it.
        let recipient = owner.and_then(|(row, name)| Recipient::email(name.as_written(row)));
        let mut outgoing = Outgoing::new(MessageKind::AlreadyRegistered, recipient);
        if let Some((row, _)) = owner {
            outgoing = outgoing.account(row.id);
        }
        confirmation::send_instead(txn, context, &outgoing, normal).await
    }

    /// Creates an account with a password for the application itself, in every mode: for seeding,
    /// manual imports, or an administrator's form. It does not sign in.
    ///
    /// # Errors
    /// Fields that cannot be used, all reported at once; a name that is taken; an outage.
    pub async fn create(
        &self,
        account: NewAccount,
        password: impl Into<String>,
    ) -> Result<Account, RegistrationError> {
        let account = self.prepare(account, password).await?;
        Ok(self.auth.accounts().create(account).await?)
    }

    /// Checks names and password like [`create`](Self::create), and hashes the password, for an
    /// account that you create in your own transaction. Hashing takes too long to keep a
    /// transaction open for it.
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
    /// Fields that cannot be used, all reported at once; an outage.
    pub async fn prepare(
        &self,
        account: NewAccount,
        password: impl Into<String>,
    ) -> Result<NewAccount, RegistrationError> {
        let password = Password::from(password.into());
        self.check(&account, &password, Policy::Open, None).await?;
        let hashed = self.auth.per_instance::<Passwords>().hash(&password, None).await?;
        Ok(NewAccount { password: Some(hashed), ..account })
    }

    async fn check(
        &self,
        account: &NewAccount,
        password: &Password,
        policy: Policy,
        source: Option<IpAddr>,
    ) -> Result<(), RegistrationError> {
        let config = &self.auth.context().config;
        let mut invalid = account.parse().err().unwrap_or_default();
        let (username, email) = (account.username.is_some(), account.email.is_some());
        let strict = policy == Policy::Strict;
        let mut missing = Vec::new();
        match config.login.id {
            LoginIds::Username if !username => missing.push("username"),
            LoginIds::Either if !username && !email && !strict => missing.push("username"),
            _ => {}
        }
        if !email && (strict || config.login.id == LoginIds::Email) {
            missing.push("email");
        }
        invalid.extend(
            missing.into_iter().map(|field| InvalidField::new(field, "required", "is required")),
        );
        if strict && account.phone.is_some() {
            // The answer would show whether a number is known, as it would for an address.
            let message = "can be added when you are signed in";
            invalid.push(InvalidField::new("phone", "add_after_sign_in", message));
        }
        let names = [&account.username, &account.email, &account.phone];
        let names = Names(names.into_iter().filter_map(|name| name.as_deref()).collect());
        let passwords = self.auth.per_instance::<Passwords>();
        invalid.extend(passwords.faults("password", password, &names, source).await?);
        if invalid.is_empty() { Ok(()) } else { Err(AccountError::Invalid(invalid).into()) }
    }
}
