//! What the application may plug in: the seams of the core.

use std::future::Future;
use std::pin::Pin;

use sea_orm::DatabaseTransaction;

use crate::base::id::{AccountId, SessionId};

/// What a hook answers when it fails: the flow it is part of is rolled back and answers 503.
pub type HookError = Box<dyn std::error::Error + Send + Sync>;

/// The future of a hook.
pub type HookFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, HookError>> + Send + 'a>>;

/// One session took the place of another: at login, second factor, reauthentication, password
/// change, or when a visitor becomes an account.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SessionReplaced {
    /// The session that ended.
    pub old: SessionId,
    /// The session that goes on.
    pub new: SessionId,
    /// Whose session it is now.
    pub account_id: Option<AccountId>,
}

/// Called in the transaction in which one session replaces another, to move what hangs on it
/// (a cart, a draft).
pub trait OnSessionReplaced: Send + Sync + 'static {
    /// Moves what belongs to the session.
    fn replaced<'a>(
        &'a self,
        replaced: SessionReplaced,
        txn: &'a DatabaseTransaction,
    ) -> HookFuture<'a, ()>;
}

impl<F> OnSessionReplaced for F
where
    F: for<'a> Fn(SessionReplaced, &'a DatabaseTransaction) -> HookFuture<'a, ()>
        + Send
        + Sync
        + 'static,
{
    fn replaced<'a>(
        &'a self,
        replaced: SessionReplaced,
        txn: &'a DatabaseTransaction,
    ) -> HookFuture<'a, ()> {
        self(replaced, txn)
    }
}

/// Adds members of the application's own to `GET /session`.
pub trait SessionInfo: Send + Sync + 'static {
    /// The members to add, under `"app"`.
    fn add(
        &self,
        account_id: AccountId,
        session_id: SessionId,
    ) -> HookFuture<'_, serde_json::Value>;
}

impl<F> SessionInfo for F
where
    F: Fn(AccountId, SessionId) -> HookFuture<'static, serde_json::Value> + Send + Sync + 'static,
{
    fn add(
        &self,
        account_id: AccountId,
        session_id: SessionId,
    ) -> HookFuture<'_, serde_json::Value> {
        self(account_id, session_id)
    }
}
