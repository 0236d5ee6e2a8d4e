//! Hooks around registration, sign-in, sign-out, and changes of passwords and names.
//!
//! [`Hooks`] is the manual. A hook runs in the transaction of its flow: what it writes and what the flow
//! writes are one, and it can refuse.
//!
//! # What it does not do
//! A hook is no place for calls to other services, such as a mail server: it may run again, and the transaction
//! may still be rolled back. Write a row of your own, or wait for the event. To send a message, put it into the
//! outbox with `call.auth.outbox().within(txn).send(..)`: it leaves only if the transaction commits, and once.

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

mod names;

pub use names::{ChangedName, NamesCause};
pub(crate) use names::{NamesBefore, NamesChange};

/// What a hook answers: `Err` with a [`Refusal`] refuses what was asked for, with any other error
/// it failed.
pub type HookResult = Result<(), HookError>;

/// A stranger makes an account.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Registering<'a> {
    /// The instance. In a hook call only what works `within(txn)`: see [`Hooks`].
    pub auth: &'a Portcullis,
    /// The account; none before the registration.
    pub account: Option<&'a Account>,
    /// The id of the account; before the registration there is no row of it yet.
    pub account_id: AccountId,
    /// The username as it was typed.
    pub username: Option<&'a str>,
    /// The email address as it was typed. Nothing proves yet that it is theirs.
    pub email: Option<&'a str>,
    /// The phone number.
    pub phone: Option<&'a str>,
    /// Where the request comes from.
    pub client: &'a ClientInfo,
    /// When.
    pub at: Timestamp,
    /// The member `profile` of the request, as the client sent it; null if it sent none.
    pub profile: &'a Value,
}

impl Registering<'_> {
    /// The member `profile` as a type of the application's own.
    ///
    /// # Errors
    /// A refusal (422 `invalid_fields`) to pass on with `?`. It names a field that is missing or not
    /// known, and repeats no value.
    pub fn profile<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        T::deserialize(self.profile).map_err(|error| {
            let field = self.invalid_profile(&error.to_string());
            Refusal::of(InvalidFields(vec![field]))
        })
    }

    /// Why the profile is refused. serde's text is shown only if it names a field, and no value.
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
            return InvalidField::new(field, "wrong_form", "is not of the form that is asked for");
        };
        let name: String = error.split('`').nth(1).unwrap_or_default().chars().take(200).collect();
        invalid.param("name", name)
    }
}

/// Someone signs in: the password, or whatever else it was, was right.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct SigningIn<'a> {
    /// The instance. In a hook call only what works `within(txn)`: see [`Hooks`].
    pub auth: &'a Portcullis,
    /// Who, as the sign-in found them.
    pub account: &'a Account,
    /// Their id.
    pub account_id: AccountId,
    /// The id of the session; before the login there is no row of it yet.
    pub session_id: SessionId,
    /// What the client gets: [`TokenType::Session`] is a session, any other type a sign-in that
    /// still waits for something.
    pub token_type: TokenType,
    /// What was shown so far, with times.
    pub factors: &'a PassedFactors,
    /// Where the request comes from.
    pub client: &'a ClientInfo,
    /// When.
    pub at: Timestamp,
}

/// Someone signs out.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct SigningOut<'a> {
    /// The instance. In a hook call only what works `within(txn)`: see [`Hooks`].
    pub auth: &'a Portcullis,
    /// Whose session ends; none for a visitor's.
    pub account: Option<&'a Account>,
    /// The id of the account.
    pub account_id: Option<AccountId>,
    /// The session that ends.
    pub session_id: SessionId,
    /// Where the request comes from, if the caller said so.
    pub client: Option<&'a ClientInfo>,
    /// When.
    pub at: Timestamp,
}

/// Someone sets another password.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct ChangingPassword<'a> {
    /// The instance. In a hook call only what works `within(txn)`: see [`Hooks`].
    pub auth: &'a Portcullis,
    /// Whose password.
    pub account: &'a Account,
    /// The id of the account.
    pub account_id: AccountId,
    /// The session that asks; none where there is no session.
    pub session_id: Option<SessionId>,
    /// Where the request comes from.
    pub client: &'a ClientInfo,
    /// When.
    pub at: Timestamp,
}

/// Names of an account have changed: mail addresses, phone numbers, usernames.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct NamesChanged<'a> {
    /// The instance. In a hook call only what works `within(txn)`: see [`Hooks`].
    pub auth: &'a Portcullis,
    /// The account as it is now.
    pub account: &'a Account,
    /// The account as it was.
    pub before: &'a Account,
    /// Why.
    pub cause: NamesCause,
    /// The names that it has now and did not have before.
    pub added: &'a [ChangedName],
    /// The names that it had and has no longer.
    pub removed: &'a [ChangedName],
    /// The addresses and numbers that are proved now and were not before. One that was proved and added
    /// at once is in both lists.
    pub proved: &'a [ChangedName],
    /// The session that asks; none where there is no session.
    pub session_id: Option<SessionId>,
    /// Where the request comes from.
    pub client: &'a ClientInfo,
    /// When.
    pub at: Timestamp,
}

/// Runs beside registration, sign-in, sign-out, and changes of passwords and names, in their
/// transaction.
///
/// Implement what you need, as `async fn`; the rest does nothing. Add it with
/// [`Builder::hooks`](crate::Builder::hooks), as many as you like; they run in that order.
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
/// - **What a hook writes through `txn` and what the flow writes are one**: both or neither. Write
///   through nothing else; on SQLite another connection would wait for this very transaction.
/// - **`auth` is there for what works inside the transaction**, such as
///   `call.auth.roles().within(txn).grant(..)`. Every other call of it opens a connection of its own: it
///   does not see what the flow has written, and if it writes it waits for this very transaction, until the
///   hook's time is over.
/// - **A [`Refusal`]**, from a `before_…` or an `after_…`, rolls everything back and is the answer,
///   exactly as given. A login is refused only to somebody who has proved who they are, and is written to
///   the audit log as failed.
/// - **Any other error** rolls everything back and is 503 without a word of it. So is a panic.
/// - **All hooks of one transaction together have
///   [`hook_timeout`](crate::config::DatabaseConfig::hook_timeout).** Longer than that is an error like
///   any other, and the connection of the transaction is ended at the server, with all locks that it
///   has; a statement that waits for a lock is no exception. In a transaction of your own (`within(&txn)`)
///   nothing can be done any more after that. Knowing which connection to end costs one small
///   statement before the first hook of a transaction, and before each hook in a `DatabaseTransaction` of
///   your own. On SQLite nobody else can write while a hook
///   runs, and a statement that computes for long is waited for.
/// - **A hook runs in a task of its own**, like a statement, so that a client who hangs up does not
///   cut its statements short. Task-locals of your middleware are not there; the tracing span is.
/// - **A hook may be called again** for the same request: a transaction that met a deadlock or a busy
///   database is tried up to three times more. So call no other service from here; note it in a table, or
///   wait for the event. A message goes into the [outbox](crate::outbox), with
///   `call.auth.outbox().within(txn).send(..)`: it leaves only if the transaction commits.
/// - On PostgreSQL a failed statement ends the transaction; where a failure is expected, open a nested
///   one with `txn.begin()`.
/// - No hook ever sees a password.
///
/// What is called when:
///
/// | flow | hooks |
/// |---|---|
/// | registration by a stranger | `before_register`, the account, `after_register`, then what a login calls |
/// | login, by whatever means, also [`sign_in`](crate::Portcullis::sign_in) and [`finish`](crate::login::Login::finish) | `before_login` at each step; `after_login` once there is a session |
/// | `POST /logout`, [`Sessions::end`](crate::session::Sessions::end) of a session that lives | `before_logout`, `after_logout` |
/// | a changed password, also one that had to be changed; a reset | `before_password_change`, `after_password_change` |
/// | a mail address, phone number or username of an account is added, changed, removed or proved, or such a change is undone | `names_changed` |
/// | an unproved address is given to another account that proved it or registers with it | `names_changed`, for the account that loses it |
///
/// The methods that the application calls itself (`accounts().create(..)`, `add_name`, `verify_name`,
/// `sessions().start(..)`, `end_one`, `end_all`) call no hooks. The calling code can add its own work in the
/// same transaction, with `within(&txn)`.
pub trait Hooks: Send + Sync + 'static {
    /// Whether this hook reads [`Registering::profile`]. Unless one does, a registration with a
    /// `profile` is refused like any other unknown field.
    fn reads_profile(&self) -> bool {
        false
    }

    /// Before an account is made.
    fn before_register(
        &self,
        registering: Registering<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (registering, txn);
        async { Ok(()) }
    }

    /// When the account is there, before anyone is signed in.
    fn after_register(
        &self,
        registering: Registering<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (registering, txn);
        async { Ok(()) }
    }

    /// When someone showed who they are, before they get a session. Called at each step of a sign-in
    /// of several.
    fn before_login(
        &self,
        login: SigningIn<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (login, txn);
        async { Ok(()) }
    }

    /// When the session is there.
    fn after_login(
        &self,
        login: SigningIn<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (login, txn);
        async { Ok(()) }
    }

    /// Before a session is ended by its owner. Refusing leaves them signed in: have a good reason.
    fn before_logout(
        &self,
        logout: SigningOut<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (logout, txn);
        async { Ok(()) }
    }

    /// When the session is over.
    fn after_logout(
        &self,
        logout: SigningOut<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (logout, txn);
        async { Ok(()) }
    }

    /// Before a password is replaced.
    fn before_password_change(
        &self,
        change: ChangingPassword<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (change, txn);
        async { Ok(()) }
    }

    /// When the new password counts and all older sessions are over.
    fn after_password_change(
        &self,
        change: ChangingPassword<'_>,
        txn: &DatabaseTransaction,
    ) -> impl Future<Output = HookResult> + Send {
        let _ = (change, txn);
        async { Ok(()) }
    }

    /// When names of an account have changed, before the flow commits. A refusal undoes the change.
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
    /// Runs beside registration, sign-in, sign-out, and changes of passwords and names, in their
    /// transaction. Several run in the order in which they were added. See [`Hooks`].
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.state::<HookList>().hooks.push(Arc::new(hooks));
        self
    }

    /// Runs in the transaction in which one session replaces another.
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

/// Lets a flow's error say that a hook ended it: its variants `Refused` and `Fault`.
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
        /// [`Hooks`] without their type.
        trait AnyHooks: Send + Sync {
            fn reads_profile(&self) -> bool;
            $( fn $method<'a>(
                &'a self,
                call: $call<'a>,
                txn: &'a DatabaseTransaction,
            ) -> HookFuture<'a, ()>; )+
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
            $( pub(crate) async fn $method(
                &self,
                call: $call<'_>,
                txn: &Txn<'_>,
            ) -> Result<(), Hooked> {
                let context = call.auth.context().clone();
                for hooks in &self.hooks {
                    let (hooks, call) = (Arc::clone(hooks), call.kept());
                    self.run(&context, txn, move |txn| {
                        Box::pin(async move { caught(|| hooks.$method(call.call(), txn)).await })
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
    before_logout(SigningOut),
    after_logout(SigningOut),
    before_password_change(ChangingPassword),
    after_password_change(ChangingPassword),
    names_changed(NamesChanged),
}

/// The hooks of an instance, in the order in which they were added.
#[derive(Clone, Default)]
pub(crate) struct HookList {
    hooks: Vec<Arc<dyn AnyHooks>>,
    on_session_replaced: Vec<Arc<dyn OnSessionReplaced>>,
}

impl PerInstance for HookList {
    /// An instance that nothing was added to.
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

    /// Says that one session took the place of another.
    pub(crate) async fn session_replaced(
        &self,
        context: &Context,
        replaced: SessionReplaced,
        txn: &Txn<'_>,
    ) -> Result<(), Hooked> {
        for hook in &self.on_session_replaced {
            let hook = Arc::clone(hook);
            self.run(context, txn, move |txn| {
                Box::pin(async move { caught(|| hook.replaced(replaced, txn)).await })
            })
            .await?;
        }
        Ok(())
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
            Err(HookEnded::Died) => Err(HookError::from("a hook was not run to its end").into()),
        }
    }
}

/// Runs a hook. A panic in it is an error of it: the transaction is rolled back in order, and the
/// client gets an answer instead of a closed connection.
async fn caught<'a>(hook: impl FnOnce() -> HookFuture<'a, ()>) -> HookResult {
    let panicked = || HookError::from("a hook panicked");
    let mut future = catch_unwind(AssertUnwindSafe(hook)).map_err(|_| panicked())?;
    poll_fn(|context| {
        // After a panic the future is not polled again, so nobody sees what it left half done.
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)))
            .unwrap_or_else(|_| Poll::Ready(Err(panicked())))
    })
    .await
}

/// What a hook is told, for a task of its own: each field that is borrowed is kept.
macro_rules! kept {
    ($($kept:ident => $call:ident { $($copied:ident: $copied_type:ty),* ; $($field:ident: $type:ty = $keep:expr, $lend:expr);* $(;)? })+) => { $(
        struct $kept {
            $($copied: $copied_type,)*
            $($field: $type,)*
        }

        impl $call<'_> {
            fn kept(self) -> $kept {
                $kept { $($copied: self.$copied,)* $($field: ($keep)(self.$field),)* }
            }
        }

        impl $kept {
            fn call(&self) -> $call<'_> {
                $call { $($copied: self.$copied,)* $($field: ($lend)(&self.$field),)* }
            }
        }
    )+ };
}

kept! {
    KeptRegistering => Registering {
        account_id: AccountId, at: Timestamp;
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
        // Names are personal data; they do not belong in a log by accident.
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
    SigningOut: session_id,
    ChangingPassword: account_id,
    NamesChanged: cause,
}
