//! Registration: strangers make their own accounts.
//!
//! In the open mode a registration answers 201 with a session, or 409 for a name that is taken.
//! Account and session are made in one transaction: there is never one without the other. Where there
//! is a notifier, the address is asked to be [proved](crate::verification).
//!
//! In the **strict** mode (the default where `login.require_verified` is on and there is a notifier)
//! nobody learns whose address is known:
//!
//! 1. Whatever the address, the answer is 202 with the same bytes after the same one hash and the
//!    same statements (for a known address some of them touch no row), and no session. An address is required; a phone number can be added later.
//! 2. A free address gets a link and a code, an address of an account that is verified is told that it
//!    has one, and one whose account still waits for its proof gets the proof again. Nothing that is
//!    there is changed: neither name nor password of the second one is kept.
//! 3. A username that is taken is 409, as in the open mode: usernames are public. A username that is
//!    asked for is only the account's when its address is proved; kept from others before, it would
//!    tell whether the address was free.
//!
//! In this mode a hook that wants to refuse does so in `before_register`, which runs for every
//! address; `after_register` runs only where an account was made.
//!
//! An address that its account never proved does not stay taken when that account is deleted, nor,
//! in the open mode, when it is disabled (where there is a notifier, so that the next one is asked to
//! prove it). In the strict mode a disabled account keeps it: whether it does would show. Delete the
//! account if it was a stranger's.
//!
//! Fields of the application's own come as the member `profile` and go to its
//! [hooks](crate::hook::Hooks), which keep them in its own table in the same transaction. Where no
//! hook reads them, `profile` is an unknown field.
//!
//! # Routes
//! `POST /register` (JSON, or a form from a page of ours).
//!
//! # Errors
//! `registration_closed` (403), `invalid_fields` (422, names each field), `username_taken`,
//! `email_taken`, `phone_taken` (409), `rate_limited` (429): a source that registered too often, whatever the
//! names ([`registrations`](crate::config::RateConfig::registrations)), found too many names taken
//! ([`taken_names`](crate::config::RateConfig::taken_names)) or asked for too many messages
//! ([`per_source`](crate::config::MailConfig::per_source)).
//!
//! # Events
//! `user_created`; `user_create_fail` of the account whose name somebody tried to register with, also
//! where the answer says that it is taken.
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
use crate::config::{LoginIds, Registration as Policy};
use crate::confirmation::{self, Proof};
use crate::flow::sign_in::{self, Locked, NewSession};
use crate::handle::Portcullis;
use crate::hook::{HookList, NamesBefore, NamesChange, Registering, from_hooked};
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

    /// What the application's [hooks](crate::hook::Hooks) are given as
    /// [`Registering::profile`](crate::hook::Registering::profile).
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
    /// Everybody is answered alike here, so there is no account or session to hand out.
    #[error("registration is strict; use `apply`, which does not tell whether a name was free")]
    Strict,
    /// The names cannot be used, or one is taken.
    #[error(transparent)]
    Account(AccountError),
    /// This source asked too often. See [`rate_limit`](crate::rate_limit).
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
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
    passes on { Account, RateLimited, Refused, Fault }
}

/// Registers strangers. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Registration<'a> {
    auth: &'a Portcullis,
    /// What the new account's session takes the place of.
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
    pub async fn replacing(mut self, extensions: &http::Extensions) -> Result<Self, AuthError> {
        let request_identity = RequestIdentity::of(extensions)?;
        self.replaces = sign_in::replaces(request_identity.replaced().await?, None);
        Ok(self)
    }

    /// Makes an account for a stranger and signs it in, in the open mode.
    ///
    /// # Errors
    /// Registration is closed or strict; fields that cannot be used, all named at once; a name that is
    /// taken; a hook's refusal; an outage or too many passwords at once as 503.
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
        // A stranger says nothing about themselves but names and a password.
        let mut account = NewAccount { verified: false, superuser: false, ..application.account };
        self.check(&account, &application.password, Policy::Open, client.address()).await?;
        self.count(client).await?;
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
                // The first sign-in ever, which is from a new device by nature.
                let row = account::Model { last_login_at: None, ..row };
                let proved = PassedFactors::one(Factor::Password, now);
                let made = NewSession::new(self.auth, &row, proved, client, now)
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

    /// Counts a registration for its source, before anything is hashed or looked up: the answer depends
    /// on nothing but the source. What has been refused for its fields made no work.
    async fn count(&self, client: &ClientInfo) -> Result<(), RateLimited> {
        match self.auth.context().config.rate.registrations {
            Some(quota) => {
                self.auth.rate_limits().source("registrations", client.address(), quota).await
            }
            None => Ok(()),
        }
    }

    /// A name is taken, which the answer says. Whoever has it can see in the audit log that somebody
    /// was told.
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

    /// Takes an address from an account that has no claim to it, where the new one is asked to prove it.
    async fn free(
        &self,
        email: Option<&str>,
        client: &ClientInfo,
    ) -> Result<bool, RegistrationError> {
        let context = self.auth.context();
        let email = email.filter(|_| context.notifier.is_some());
        let Some(Ok(email)) = email.map(Email::parse) else { return Ok(false) };
        transaction!(context.db(), |txn| {
            let holder = account_store::find_by_name(txn, email.normal()).await?;
            let now = context.now();
            let no_claim = |row: &account::Model| Account::from(row.clone()).has_no_claim(now);
            let Some(holder) = holder.filter(no_claim) else { return Ok(false) };
            let names = NamesBefore::read(self.auth, txn, holder.id).await?;
            let freed = account_store::evict(txn, &holder, email.normal()).await?;
            names.changed(txn, NamesChange::lost(self.auth, client, now)).await?;
            Ok::<_, RegistrationError>(freed)
        })
    }

    /// Asks for the address of an account just made to be proved, where that can be done.
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

    /// Makes an account for a stranger without saying whether the address was free; what follows
    /// comes by mail. What the route does in the strict mode.
    ///
    /// # Errors
    /// Registration is closed; fields that cannot be used, all named at once; a username that is
    /// taken; a hook's refusal; an outage or too many passwords at once as 503.
    pub async fn apply(
        &self,
        application: Application,
        client: &ClientInfo,
    ) -> Result<(), RegistrationError> {
        let context = self.auth.context();
        if context.config.login.registration == Policy::Closed {
            return Err(RegistrationError::Closed);
        }
        // Only a username is ever said to be taken here.
        let probe = match application.account.username {
            Some(_) => Some(NameProbe::begin(self.auth, client)?),
            None => None,
        };
        let mut account = NewAccount { verified: false, superuser: false, ..application.account };
        self.check(&account, &application.password, Policy::Strict, client.address()).await?;
        self.count(client).await?;
        self.auth.count_message(client).await?;
        // Before anything is looked up: it is computed for a known address too.
        let hashed = self
            .auth
            .per_instance::<Passwords>()
            .hash(&application.password, client.address())
            .await?;
        account.password = Some(hashed);
        account.lineage_id = self.replaces.and_then(|replaces| replaces.lineage_id);
        account.on_trial = context.config.login.require_verified;
        let mut tries = 3;
        loop {
            let result = self.try_apply(&account, &application.profile, client).await;
            match result {
                // Somebody registered the address in the same moment: now it is seen.
                Err(RegistrationError::Account(AccountError::Taken(LoginIdKind::Email)))
                    if tries > 1 =>
                {
                    tries -= 1;
                }
                Err(RegistrationError::Account(AccountError::Taken(kind))) if probe.is_some() => {
                    return Err(self.found_taken(probe, kind, &account, client).await);
                }
                other => return other,
            }
        }
    }

    /// A free address and one that is taken cost the same statements: what only one
    /// of them needs, the other does to no row.
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
        // The username waits until the address is proved: whether it is free afterwards would tell
        // whether the address was.
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
            // Nobody has an id that was just made.
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

    /// Tells whoever has the address that somebody tried to register with it.
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
        // As they wrote it themselves.
        let recipient = owner.and_then(|(row, name)| Recipient::email(name.as_written(row)));
        let mut outgoing = Outgoing::new(MessageKind::AlreadyRegistered, recipient);
        if let Some((row, _)) = owner {
            outgoing = outgoing.account(row.id);
        }
        confirmation::send_instead(txn, context, &outgoing, normal).await
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
            // Whether a number is known would show as plainly as whether an address is.
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
