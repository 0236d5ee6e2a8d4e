//! The arguments of hooks when an account is closed or erased.

use crate::account::Account;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, SessionId};
use crate::handle::Portcullis;

/// An account is about to be closed. It can be reopened until it is erased.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct ClosingAccount<'a> {
    /// The instance. In a hook, call only methods that work `within(txn)`: see
    /// [`Hooks`](super::Hooks).
    pub auth: &'a Portcullis,
    /// The account as it is now.
    pub account: &'a Account,
    /// The id of the account.
    pub account_id: AccountId,
    /// The session of the owner. `None` if the application closes the account.
    pub session_id: Option<SessionId>,
    /// Where the request comes from. `None` if the application closes the account.
    pub client: Option<&'a ClientInfo>,
    /// When the account is closed.
    pub at: Timestamp,
}

/// Why an account is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EraseCause {
    /// The application has called [`erase`](crate::account::Accounts::erase).
    Requested,
    /// It was closed, and the waiting time is over.
    Closed,
}

/// An account is erased.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct ErasingAccount<'a> {
    /// The instance. In a hook, call only methods that work `within(txn)`: see
    /// [`Hooks`](super::Hooks).
    pub auth: &'a Portcullis,
    /// The account as it was before the erasure, with its names.
    pub account: &'a Account,
    /// The id of the account, which stays.
    pub account_id: AccountId,
    /// Why it is erased.
    pub cause: EraseCause,
    /// When it is erased.
    pub at: Timestamp,
}
