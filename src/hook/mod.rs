//! Hooks for registration, sign-in, sign-out, changes of passwords and names, and closing and
//! erasing accounts.
//!
//! # How it works
//!
//! 1. Implement [`Hooks`], whose page is the manual and has an example. Add it with
//!    [`Builder::hooks`](crate::Builder::hooks).
//! 2. A flow calls the hooks in the order in which they were added, in its own transaction. What a
//!    hook writes and what the flow writes are committed together.
//! 3. A hook can refuse. The flow is then rolled back, and the refusal is the answer.
//!
//! # Which hook for which task
//!
//! | task | hook |
//! |---|---|
//! | store your own fields of a registration | `reads_profile` and [`after_register`](Hooks::after_register) |
//! | refuse some registrations, for example by the domain of the address | [`before_register`](Hooks::before_register) |
//! | give each person who registers a role | `after_register`, with `call.auth.roles().within(txn)` |
//! | decide who may use a provider, by the claims | [`before_provider`](Hooks::before_provider) |
//! | refuse some sign-ins, for example at a certain time | [`before_login`](Hooks::before_login) |
//! | count or record sign-ins in your own table | [`after_login`](Hooks::after_login) |
//! | remove what your tables keep for a session | [`before_logout`](Hooks::before_logout); only a sign-out calls it, no other end of a session |
//! | keep a copy of an address up to date, or act when it is proved | [`names_changed`](Hooks::names_changed) |
//! | inform another system that the password is new | [`after_password_change`](Hooks::after_password_change); write a row, and send it later |
//! | refuse that an account is closed, for example with an open order | [`before_close`](Hooks::before_close) |
//! | remove your own data about a person | [`before_erase`](Hooks::before_erase) |
//! | move your data from a visitor's session to the account | [`Builder::on_session_replaced`](crate::Builder::on_session_replaced) |
//! | react to anything else, without being part of the change | no hook: read the [audit log](crate::audit_log) |
//!
//! The page of [`Hooks`] lists which flow calls which hook.
//!
//! # What it does not do
//! A hook is not the place for calls to other services, such as a mail server. It may run again, and
//! the transaction may still be rolled back. Write a row of your own, or wait for the event. To send a
//! message, put it into the outbox with `call.auth.outbox().within(txn).send(..)`. It leaves only if
//! the transaction commits, and only once.
//!
//! # Configuration
//! [`database.hook_timeout`](crate::config::DatabaseConfig::hook_timeout) limits the time of all
//! hooks of one transaction.
//!
//! # Error codes
//! A [`Refusal`] has its own status and code. Any other error is answered 503.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use sea_orm::DatabaseTransaction;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::account::Account;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::factor::PassedFactors;
use crate::base::id::{AccountId, SessionId};
use crate::base::invalid_field::{InvalidField, InvalidFields};
use crate::base::jwt::TokenType;
use crate::base::problem::Refusal;
use crate::base::transaction::{Fault, HookEnded, Txn};
use crate::context::Context;
use crate::handle::{Builder, PerInstance, Portcullis};
use crate::port::{HookError, HookFuture, OnSessionReplaced, SessionReplaced};

mod ending;
mod names;

pub use ending::{ClosingAccount, EraseCause, ErasingAccount};
pub use names::{ChangedName, NamesCause};
pub(crate) use names::{NamesBefore, NamesChange};

/// The result of a hook. An `Err` with a [`Refusal`] refuses the request. Any other error means
/// that the hook failed.
pub type HookResult = Result<(), HookError>;

/// Why an account is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistrationCause {
    /// A stranger registers.
    Stranger,
    /// A stranger [signs in by mail](crate::mail_login) with an address that no account has. It is
    /// already proved.
    MailLogin,
    /// A stranger [signs in with a provider](crate::federation). The address is proved, if there is one.
    Provider,
    /// The service creates its first administrator, see [`bootstrap`](crate::bootstrap).
    FirstAdministrator,
}

/// A stranger creates an account, or the service creates its first administrator.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Registering<'a> {
    /// The instance. In a hook, call only methods that work `within(txn)`: see [`Hooks`].
    pub auth: &'a Portcullis,
    /// The account, or `None` before the registration.
    pub account: Option<&'a Account>,
    /// The id of the account. Before the registration it has no row yet.
    pub account_id: AccountId,
    /// The username as it was typed.
    pub username: Option<&'a str>,
    /// The email address as it was typed. It is verified only if `cause` says so.
    pub email: Option<&'a str>,
    /// The phone number.
    pub phone: Option<&'a str>,
    /// Why it is created.
    pub cause: RegistrationCause,
    /// Where the request comes from. Unknown for the first administrator.
    pub client: &'a ClientInfo,
    /// When the request was made.
    pub at: Timestamp,
    /// The member `profile` of the request, as the client sent it. Null if there was none.
    pub profile: &'a Value,
}

impl Registering<'_> {
    /// Reads the member `profile` as your own type.
    ///
    /// # Errors
    /// A refusal (422 `invalid_fields`) that you can pass on with `?`. It names a field that is
    /// missing or unknown, and contains no value.
    pub fn profile<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        T::deserialize(self.profile).map_err(|error| {
            let field = self.invalid_profile(&error.to_string());
            Refusal::of(InvalidFields(vec![field]))
        })
    }

    /// Returns why the profile is refused. The text of serde is shown only if it names a field and
    /// no value.
    fn invalid_profile(&self, error: &str) -> InvalidField {
        let field = "profile";
        if self.profile.is_null() {
            return InvalidField::new(field, "required", "is required");
        }
        let message: String = error.chars().take(200).collect();
        let invalid = if error.starts_with("missing field") {
            InvalidField::new(field, "missing_field", message)
        } else if error.starts_with("unknown field") {
            InvalidField::new(field, "unknown_field", message)
        } else if error.starts_with("duplicate field") {
            InvalidField::new(field, "duplicate_field", message)
        } else {
            return InvalidField::new(field, "wrong_form", "does not have the required form");
        };
        let name: String = error.split('`').nth(1).unwrap_or_default().chars().take(200).collect();
        invalid.param("name", name)
    }
}

/// A user signs in. The password, or the other factor, was correct.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct SigningIn<'a> {
    /// The instance. In a hook, call only methods that work `within(txn)`: see [`Hooks`].
    pub auth: &'a Portcullis,
    /// The account, as the sign-in read it.
    pub account: &'a Account,
    /// The id of the account.
    pub account_id: AccountId,
    /// The id of the session. Before the login it has no row yet.
    pub session_id: SessionId,
    /// The type of the token that the client gets. [`TokenType::Session`] is a session. Any other
    /// type is a sign-in that is not finished.
    pub token_type: TokenType,
    /// The factors that were proved so far, with their times.
    pub factors: &'a PassedFactors,
    /// Where the request comes from.
    pub client: &'a ClientInfo,
    /// When the sign-in happens.
    pub at: Timestamp,
}

/// What happens with an identity at a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProviderUse {
    /// It gets an account.
    Register,
    /// It is linked to an account, because its owner wants it.
    Link,
    /// It is linked to an account with the same mail address.
    LinkByMail,
    /// It signs in.
    SignIn,
    /// It proves again who a signed-in person is.
    StepUp,
}

/// A user comes with an identity at a provider. It was checked.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct UsingProvider<'a> {
    /// The instance. In a hook, call only methods that work `within(txn)`: see [`Hooks`].
    pub auth: &'a Portcullis,
    /// The account. `None` if the identity is about to get one.
    pub account: Option<&'a Account>,
    /// What happens.
    pub purpose: ProviderUse,
    /// The name of the provider.
    pub provider: &'a str,
    /// Its issuer, which identifies the person together with the subject.
    pub issuer: &'a str,
    /// The subject.
    pub subject: &'a str,
    /// The mail address that the provider told. It identifies nobody.
    pub email: Option<&'a str>,
    /// True if the provider is [trusted](crate::config::MailTrust) for this address.
    pub email_trusted: bool,
    /// All claims that the provider told, as an object.
    pub claims: &'a Value,
    /// Where the request comes from.
    pub client: &'a ClientInfo,
    /// When the request was made.
    pub at: Timestamp,
}

/// A user signs out.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct SigningOut<'a> {
    /// The instance. In a hook, call only methods that work `within(txn)`: see [`Hooks`].
    pub auth: &'a Portcullis,
    /// The account whose session ends. `None` for the session of a visitor.
    pub account: Option<&'a Account>,
    /// The id of the account.
    pub account_id: Option<AccountId>,
    /// The session that ends.
    pub session_id: SessionId,
    /// Where the request comes from, if the caller passed it.
    pub client: Option<&'a ClientInfo>,
    /// When the session ends.
    pub at: Timestamp,
}

/// A user sets another password.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct ChangingPassword<'a> {
    /// The instance. In a hook, call only methods that work `within(txn)`: see [`Hooks`].
    pub auth: &'a Portcullis,
    /// The account whose password changes.
    pub account: &'a Account,
    /// The id of the account.
    pub account_id: AccountId,
    /// The session that makes the change, or `None` without a session.
    pub session_id: Option<SessionId>,
    /// Where the request comes from.
    pub client: &'a ClientInfo,
    /// When the password changes.
    pub at: Timestamp,
}

/// The names of an account have changed: mail addresses, phone numbers, usernames.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct NamesChanged<'a> {
    /// The instance. In a hook, call only methods that work `within(txn)`: see [`Hooks`].
    pub auth: &'a Portcullis,
    /// The account as it is now.
    pub account: &'a Account,
    /// The account as it was before.
    pub before: &'a Account,
    /// Why the names changed.
    pub cause: NamesCause,
    /// The names that it has now and did not have before.
    pub added: &'a [ChangedName],
    /// The names that it had before and does not have now.
    pub removed: &'a [ChangedName],
    /// The addresses and numbers that are verified now and were not before. One that was added and
    /// proved at the same time is in both lists.
    pub proved: &'a [ChangedName],
    /// The session that makes the change, or `None` without a session.
    pub session_id: Option<SessionId>,
    /// Where the request comes from.
    pub client: &'a ClientInfo,
    /// When the names changed.
    pub at: Timestamp,
}

/// Runs in registration, sign-in, sign-out, changes of passwords and names, and when accounts are
/// closed and erased, in the transaction of the flow.
///
/// Implement the methods that you need, as `async fn`. The others do nothing. Add the hooks with
/// [`Builder::hooks`](crate::Builder::hooks), as many as you like. They run in that order.
///
/// ```
/// use axum::http::StatusCode;
/// use portcullis::Refusal;
/// use portcullis::hook::{HookResult, Hooks, SigningIn};
/// use sea_orm::DatabaseTransaction;
///
/// struct NightlyMaintenance;
///
/// impl Hooks for NightlyMaintenance {
///     async fn before_login(&self, login: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
///         if login.at.as_millis() % 86_400_000 < 600_000 {
///             let reason = "come back at ten past midnight";
///             return Err(Refusal::new(StatusCode::FORBIDDEN, "maintenance", reason).into());
///         }
///         Ok(())
///     }
/// }
/// ```
///
/// - **What a hook writes through `txn` is committed together with what the flow writes, or not at
///   all.** Write only through `txn`. On SQLite another connection would wait for this transaction.
/// - **Use `auth` only for what works inside the transaction**, such as
///   `call.auth.roles().within(txn).grant(..)`. Every other call opens its own connection. It does
///   not see what the flow has written. If it writes, it waits for this transaction until the time
///   of the hook is over.
/// - **A [`Refusal`]**, from a `before_…` or an `after_…`, rolls everything back and is the answer,
///   unchanged. A login is refused only after the user was identified. It is recorded in the audit
///   log as failed.
/// - **Any other error** rolls everything back and is answered 503 without its text. So is a panic.
/// - **All hooks of one transaction share
///   [`hook_timeout`](crate::config::DatabaseConfig::hook_timeout).** A longer time counts as an
///   error. The connection of the transaction is then ended at the server, with all its locks, even
///   if a statement is still waiting for a lock. A transaction of your own (`within(&txn)`) cannot
///   be used after that. To know which connection to end, portcullis runs one small statement
///   before the first hook of a transaction, and before each hook in your own
///   `DatabaseTransaction`. On SQLite nobody else can write while a hook runs, and a statement that
///   computes for a long time is waited for.
/// - **A hook runs in its own task**, like a statement. So a client that disconnects does not
///   interrupt its statements. Task-locals of your middleware are not available. The tracing span
///   is.
/// - **A hook may be called again** for the same request: a transaction with a deadlock or a busy
///   database is retried up to three times. So do not call other services from a hook. Write a row,
///   or wait for the event. A message goes into the [outbox](crate::outbox), with
///   `call.auth.outbox().within(txn).send(..)`. It leaves only if the transaction commits.
/// - On PostgreSQL a failed statement ends the transaction. If you expect a failure, open a nested
///   transaction with `txn.begin()`.
/// - A hook never gets a password.
///
/// Which hooks are called:
///
/// | flow | hooks |
/// |---|---|
/// | registration by a stranger | `before_register`, the account, `after_register`, then what a login calls |
/// | the [first administrator](crate::bootstrap) | `before_register`, the account, `after_register` |
/// | login, by whatever means, also [`sign_in`](crate::Portcullis::sign_in) and [`finish`](crate::login::Login::finish) | `before_login` at each step; `after_login` once there is a session |
/// | `POST /logout`, [`Sessions::end`](crate::session::Sessions::end) of a session that lives | `before_logout`, `after_logout` |
/// | a changed password, also one that had to be changed; a reset | `before_password_change`, `after_password_change` |
/// | a mail address, phone number or username of an account is added, changed, removed or proved, or such a change is undone | `names_changed` |
/// | an account is closed, by its owner or by [`close`](crate::account::Accounts::close) | `before_close` |
/// | an account is erased, by [`erase`](crate::account::Accounts::erase) or by maintenance | `before_erase`, `after_erase` |
/// | an unverified address is given to another account that proved it or registers with it | `names_changed`, for the account that loses it |
///
/// What the application does itself (`accounts().create(..)`, `add_name`, `verify_name`,
/// `sessions().start(..)`, `end_one`, `end_all`) calls no hooks. The caller can run its own code
/// there, with `within(&txn)`.
pub trait Hooks: Send + Sync + 'static {
    /// True if this hook reads [`Registering::profile`]. If no hook does, a registration with a
    /// `profile` is refused, like one with any other unknown field.
    fn reads_profile(&self) -> bool {
        false
    }

    /// Called before an account is created.
    fn before_register(
        &self,
        registering: Registering<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (registering, txn);
        async { Ok(()) }
    }

    /// Called after the account was created, before anyone is signed in.
    fn after_register(
        &self,
        registering: Registering<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (registering, txn);
        async { Ok(()) }
    }

    /// Called after the user was identified, before they get a session. If a sign-in has several
    /// steps, it is called at each step.
    fn before_login(
        &self,
        login: SigningIn<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (login, txn);
        async { Ok(()) }
    }

    /// Called after the session was created.
    fn after_login(
        &self,
        login: SigningIn<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (login, txn);
        async { Ok(()) }
    }

    /// Called before an identity at a provider gets an account, is linked, or signs in. Refuse people whom you
    /// do not know, for example by their groups in the claims.
    fn before_provider(
        &self,
        using: UsingProvider<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (using, txn);
        async { Ok(()) }
    }

    /// Called before a session is ended by its owner. A refusal leaves the user signed in, so
    /// refuse only for a good reason.
    fn before_logout(
        &self,
        logout: SigningOut<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (logout, txn);
        async { Ok(()) }
    }

    /// Called after the session has ended.
    fn after_logout(
        &self,
        logout: SigningOut<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (logout, txn);
        async { Ok(()) }
    }

    /// Called before a password is replaced.
    fn before_password_change(
        &self,
        change: ChangingPassword<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (change, txn);
        async { Ok(()) }
    }

    /// Called after the new password was stored and all older sessions have ended.
    fn after_password_change(
        &self,
        change: ChangingPassword<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (change, txn);
        async { Ok(()) }
    }

    /// Called before an account is closed. A refusal leaves it open.
    fn before_close(
        &self,
        closing: ClosingAccount<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (closing, txn);
        async { Ok(()) }
    }

    /// Called before an account is erased. Remove what your own tables keep about the person, or
    /// refuse. If you refuse maintenance, it asks again after a day.
    fn before_erase(
        &self,
        erasing: ErasingAccount<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (erasing, txn);
        async { Ok(()) }
    }

    /// Called after an account was erased, before the flow commits. `account` is as it was before.
    fn after_erase(
        &self,
        erasing: ErasingAccount<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (erasing, txn);
        async { Ok(()) }
    }

    /// Called after names of an account have changed, before the flow commits. A refusal rolls back
    /// the change.
    fn names_changed(
        &self,
        change: NamesChanged<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (change, txn);
        async { Ok(()) }
    }
}

impl Builder {
    /// Adds hooks for registration, sign-in, sign-out, changes of passwords and names, and closing
    /// and erasing accounts. They run in the transaction of the flow, in the order in which they
    /// were added. See [`Hooks`].
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.state::<HookList>().hooks.push(Arc::new(hooks));
        self
    }

    /// Adds a hook that runs in the transaction in which one session replaces another.
    pub fn on_session_replaced(mut self, hook: impl OnSessionReplaced) -> Self {
        self.state::<HookList>().on_session_replaced.push(Arc::new(hook));
        self
    }
}

/// How a hook ended a flow.
#[derive(Debug)]
pub(crate) enum Hooked {
    Refused(Refusal),
    Failed(Fault),
}

impl From<HookError> for Hooked {
    fn from(error: HookError) -> Self {
        match error.downcast::<Refusal>() {
            Ok(refusal) => Self::Refused(*refusal),
            Err(error) => Self::Failed(Fault::of_hook(error)),
        }
    }
}

/// Converts [`Hooked`] into the error of a flow. That error needs the variants `Refused` and
/// `Fault`.
macro_rules! from_hooked {
    ($error:ident) => {
        impl From<$crate::hook::Hooked> for $error {
            fn from(hooked: $crate::hook::Hooked) -> Self {
                match hooked {
                    $crate::hook::Hooked::Refused(refusal) => Self::Refused(refusal),
                    $crate::hook::Hooked::Failed(fault) => fault.into(),
                }
            }
        }
    };
}
pub(crate) use from_hooked;

macro_rules! hook_list {
    ($($method:ident($call:ident)),+ $(,)?) => {
        /// [`Hooks`] without its type.
        trait AnyHooks: Send + Sync {
            fn reads_profile(&self) -> bool;
            $(
                #[cfg_attr(not(feature = "federation"), allow(dead_code, reason = "one is for providers"))]
                fn $method<'a>(
                    &'a self,
                    call: $call<'a>,
                    txn: &'a DatabaseTransaction,
                ) -> HookFuture<'a, ()>;
            )+
        }

        impl<H: Hooks> AnyHooks for H {
            fn reads_profile(&self) -> bool {
                Hooks::reads_profile(self)
            }
            $( fn $method<'a>(
                &'a self,
                call: $call<'a>,
                txn: &'a DatabaseTransaction,
            ) -> HookFuture<'a, ()> {
                Box::pin(Hooks::$method(self, call, txn))
            } )+
        }

        impl HookList {
            $(
            #[cfg_attr(not(feature = "federation"), allow(dead_code, reason = "one is for providers"))]
            pub(crate) async fn $method(
                &self,
                call: $call<'_>,
                txn: &Txn<'_>,
            ) -> Result<(), Hooked> {
                let context = call.auth.context().clone();
                for hooks in &self.hooks {
                    let (hooks, call) = (Arc::clone(hooks), call.kept());
                    self.run(&context, txn, move |txn| {
                        Box::pin(async move { caught("a hook", || hooks.$method(call.call(), txn)).await })
                    })
                    .await?;
                }
                Ok(())
            } )+
        }
    };
}

hook_list! {
    before_register(Registering),
    after_register(Registering),
    before_login(SigningIn),
    after_login(SigningIn),
    before_provider(UsingProvider),
    before_logout(SigningOut),
    after_logout(SigningOut),
    before_password_change(ChangingPassword),
    after_password_change(ChangingPassword),
    before_close(ClosingAccount),
    before_erase(ErasingAccount),
    after_erase(ErasingAccount),
    names_changed(NamesChanged),
}

/// Code of the application that runs in the transaction that creates an account.
pub(crate) type ForAccount =
    dyn for<'t> Fn(&'t Account, &'t DatabaseTransaction) -> HookFuture<'t, ()> + Send + Sync;

/// The hooks of an instance, in the order in which they were added.
#[derive(Clone, Default)]
pub(crate) struct HookList {
    hooks: Vec<Arc<dyn AnyHooks>>,
    on_session_replaced: Vec<Arc<dyn OnSessionReplaced>>,
}

impl PerInstance for HookList {
    /// The hooks of an instance to which none were added.
    fn open(_: &Context) -> Self {
        Self::default()
    }
}

impl HookList {
    pub(crate) fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    #[cfg_attr(not(feature = "routes"), expect(dead_code, reason = "only a route reads bodies"))]
    pub(crate) fn read_profile(&self) -> bool {
        self.hooks.iter().any(|hooks| hooks.reads_profile())
    }

    /// Tells the hooks that one session replaced another.
    pub(crate) async fn session_replaced(
        &self,
        context: &Context,
        replaced: SessionReplaced,
        txn: &Txn<'_>,
    ) -> Result<(), Hooked> {
        for hook in &self.on_session_replaced {
            let hook = Arc::clone(hook);
            self.run(context, txn, move |txn| {
                Box::pin(async move { caught("a hook", || hook.replaced(replaced, txn)).await })
            })
            .await?;
        }
        Ok(())
    }

    /// Runs code of the application for a new account, under the rules for hooks.
    pub(crate) async fn run_for(
        &self,
        context: &Context,
        account: Account,
        code: Arc<ForAccount>,
        txn: &Txn<'_>,
    ) -> Result<(), Hooked> {
        self.run(context, txn, move |txn| {
            Box::pin(async move { caught("a hook", || code(&account, txn)).await })
        })
        .await
    }

    async fn run(
        &self,
        context: &Context,
        txn: &Txn<'_>,
        hook: impl for<'t> FnOnce(
            &'t DatabaseTransaction,
        ) -> Pin<Box<dyn Future<Output = HookResult> + Send + 't>>
        + Send
        + 'static,
    ) -> Result<(), Hooked> {
        let limit = context.config.database.hook_timeout;
        match txn.run_hook(&context.database, limit, hook).await {
            Ok(result) => Ok(result?),
            Err(HookEnded::Failed(error)) => Err(Hooked::Failed(error.into())),
            Err(HookEnded::TookTooLong) => {
                let code = "hook_timeout";
                tracing::warn!(target: "portcullis", code, ?limit, "a hook took too long");
                Err(HookError::from("a hook took too long").into())
            }
            Err(HookEnded::Died) => {
                Err(HookError::from("a hook was stopped before it finished").into())
            }
        }
    }
}

/// Runs code of the application. A panic counts as an error. So the transaction of a hook is rolled
/// back, and the client gets an answer instead of a closed connection.
pub(crate) async fn caught<'a, T>(
    what: &'static str,
    hook: impl FnOnce() -> HookFuture<'a, T>,
) -> Result<T, HookError> {
    let panicked = || HookError::from(format!("{what} panicked"));
    let mut future = catch_unwind(AssertUnwindSafe(hook)).map_err(|_| panicked())?;
    poll_fn(|context| {
        // After a panic the future is not polled again, because it may be in an inconsistent state.
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)))
            .unwrap_or_else(|_| Poll::Ready(Err(panicked())))
    })
    .await
}

/// The arguments of a hook, owned, because a task cannot borrow them.
macro_rules! kept {
    ($($kept:ident => $call:ident { $($copied:ident: $copied_type:ty),* ; $($field:ident: $type:ty = $keep:expr, $lend:expr);* $(;)? })+) => { $(
        #[cfg_attr(not(feature = "federation"), allow(dead_code, reason = "one is for providers"))]
        struct $kept {
            $($copied: $copied_type,)*
            $($field: $type,)*
        }

        impl $call<'_> {
            #[cfg_attr(not(feature = "federation"), allow(dead_code, reason = "one is for providers"))]
            fn kept(self) -> $kept {
                $kept { $($copied: self.$copied,)* $($field: ($keep)(self.$field),)* }
            }
        }

        impl $kept {
            #[cfg_attr(not(feature = "federation"), allow(dead_code, reason = "one is for providers"))]
            fn call(&self) -> $call<'_> {
                $call { $($copied: self.$copied,)* $($field: ($lend)(&self.$field),)* }
            }
        }
    )+ };
}

kept! {
    KeptRegistering => Registering {
        account_id: AccountId, cause: RegistrationCause, at: Timestamp;
        auth: Portcullis = Portcullis::clone, std::convert::identity;
        account: Option<Account> = Option::<&Account>::cloned, Option::as_ref;
        username: Option<String> = |text: Option<&str>| text.map(str::to_owned), Option::as_deref;
        email: Option<String> = |text: Option<&str>| text.map(str::to_owned), Option::as_deref;
        phone: Option<String> = |text: Option<&str>| text.map(str::to_owned), Option::as_deref;
        client: ClientInfo = ClientInfo::clone, std::convert::identity;
        profile: Value = Value::clone, std::convert::identity;
    }
    KeptSigningIn => SigningIn {
        account_id: AccountId, session_id: SessionId, token_type: TokenType, at: Timestamp;
        auth: Portcullis = Portcullis::clone, std::convert::identity;
        account: Account = Account::clone, std::convert::identity;
        factors: PassedFactors = PassedFactors::clone, std::convert::identity;
        client: ClientInfo = ClientInfo::clone, std::convert::identity;
    }
    KeptUsingProvider => UsingProvider {
        purpose: ProviderUse, email_trusted: bool, at: Timestamp;
        auth: Portcullis = Portcullis::clone, std::convert::identity;
        account: Option<Account> = Option::<&Account>::cloned, Option::as_ref;
        provider: String = str::to_owned, String::as_str;
        issuer: String = str::to_owned, String::as_str;
        subject: String = str::to_owned, String::as_str;
        email: Option<String> = |text: Option<&str>| text.map(str::to_owned), Option::as_deref;
        claims: Value = Value::clone, std::convert::identity;
        client: ClientInfo = ClientInfo::clone, std::convert::identity;
    }
    KeptSigningOut => SigningOut {
        account_id: Option<AccountId>, session_id: SessionId, at: Timestamp;
        auth: Portcullis = Portcullis::clone, std::convert::identity;
        account: Option<Account> = Option::<&Account>::cloned, Option::as_ref;
        client: Option<ClientInfo> = Option::<&ClientInfo>::cloned, Option::as_ref;
    }
    KeptChangingPassword => ChangingPassword {
        account_id: AccountId, session_id: Option<SessionId>, at: Timestamp;
        auth: Portcullis = Portcullis::clone, std::convert::identity;
        account: Account = Account::clone, std::convert::identity;
        client: ClientInfo = ClientInfo::clone, std::convert::identity;
    }
    KeptClosingAccount => ClosingAccount {
        account_id: AccountId, session_id: Option<SessionId>, at: Timestamp;
        auth: Portcullis = Portcullis::clone, std::convert::identity;
        account: Account = Account::clone, std::convert::identity;
        client: Option<ClientInfo> = Option::<&ClientInfo>::cloned, Option::as_ref;
    }
    KeptErasingAccount => ErasingAccount {
        account_id: AccountId, cause: EraseCause, at: Timestamp;
        auth: Portcullis = Portcullis::clone, std::convert::identity;
        account: Account = Account::clone, std::convert::identity;
    }
    KeptNamesChanged => NamesChanged {
        cause: NamesCause, session_id: Option<SessionId>, at: Timestamp;
        auth: Portcullis = Portcullis::clone, std::convert::identity;
        account: Account = Account::clone, std::convert::identity;
        before: Account = Account::clone, std::convert::identity;
        added: Vec<ChangedName> = <[ChangedName]>::to_vec, Vec::as_slice;
        removed: Vec<ChangedName> = <[ChangedName]>::to_vec, Vec::as_slice;
        proved: Vec<ChangedName> = <[ChangedName]>::to_vec, Vec::as_slice;
        client: ClientInfo = ClientInfo::clone, std::convert::identity;
    }
}

macro_rules! debug_without_names {
    ($($name:ident: $id:ident),+ $(,)?) => { $(
        // Names are personal data, so they must not appear in logs.
        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field(stringify!($id), &self.$id).finish_non_exhaustive()
            }
        }
    )+ };
}

debug_without_names! {
    Registering: account_id,
    SigningIn: account_id,
    UsingProvider: purpose,
    SigningOut: session_id,
    ChangingPassword: account_id,
    ClosingAccount: account_id,
    ErasingAccount: account_id,
    NamesChanged: cause,
}
