//! A recovery, as administrators and owners see it.

use std::fmt;
use std::time::Duration;

use super::entity::Model;
use crate::account::Email;
use crate::account::recovering::RecoveryState;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, AccountRecoveryId};
use crate::base::invalid_field::InvalidField;

/// The longest reason, in characters.
const LONGEST_REASON: usize = 1_000;

/// What an administrator enters to open a recovery.
#[derive(Clone)]
#[non_exhaustive]
#[must_use]
pub struct NewRecovery {
    /// Why, and how the person has shown who they are: at most 1000 characters. Administrators see it,
    /// and so does the owner in an export.
    pub reason: String,
    /// A new mail address, if the person cannot read any verified address of the account. The link
    /// goes to it, and the use of the link makes it the address of the account.
    pub email: Option<String>,
}

// The reason and the address are personal data.
impl fmt::Debug for NewRecovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRecovery").finish_non_exhaustive()
    }
}

impl NewRecovery {
    /// For a person who can still read mail at a verified address of the account.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), email: None }
    }

    /// Sets a new mail address.
    pub fn with_email(mut self, email: impl Into<String>) -> Self {
        self.email = Some(email.into());
        self
    }

    /// Returns the tidy reason and the new address.
    pub(super) fn parse(&self) -> Result<(String, Option<Email>), Vec<InvalidField>> {
        let mut invalid = Vec::new();
        let reason = self.reason.trim();
        if reason.is_empty() {
            invalid.push(InvalidField::new("reason", "required", "say why"));
        } else if reason.chars().count() > LONGEST_REASON {
            let message = "has at most 1000 characters";
            invalid.push(InvalidField::new("reason", "too_long", message));
        }
        let email = match self.email.as_deref().map(Email::parse) {
            Some(Ok(email)) => Some(email),
            Some(Err(error)) => {
                invalid.push(error.in_field("email"));
                None
            }
            None => None,
        };
        if invalid.is_empty() { Ok((reason.to_owned(), email)) } else { Err(invalid) }
    }
}

/// A recovery of an account, in any state.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountRecovery {
    /// Its id.
    pub id: AccountRecoveryId,
    /// The account.
    pub account_id: AccountId,
    /// Who opened it: `account:<id>` or `program:<name>`.
    pub opened_by: String,
    /// Why.
    pub reason: String,
    /// The new mail address, if there is one.
    pub email: Option<String>,
    /// What became of it.
    pub state: RecoveryState,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When the link may be sent.
    pub ready_at: Timestamp,
    /// Until when the link may be sent.
    pub expires_at: Timestamp,
    /// Who sent the latest link, and when.
    pub completed: Option<(String, Timestamp)>,
    /// When it ended, if this was recorded.
    pub ended_at: Option<Timestamp>,
}

impl AccountRecovery {
    /// Returns the recovery of a row. `open` is the open one of its account.
    pub(super) fn of(
        row: Model,
        open: Option<AccountRecoveryId>,
        link_lifetime: Duration,
        now: Timestamp,
    ) -> Self {
        let stored = RecoveryState::from_number(row.state).unwrap_or(RecoveryState::Ended);
        // Whatever ends a recovery clears the column of the account. It need not change this row. A link
        // that was sent late is valid for longer than it could be sent: `recovering::store::end` has the
        // same rule.
        let link_ends_at = row.completed_at.map(|at| at.plus(link_lifetime));
        let ends_at = link_ends_at.map_or(row.expires_at, |ends_at| ends_at.max(row.expires_at));
        let over = open != Some(row.id) || ends_at <= now;
        let state = if stored.is_open() && over { RecoveryState::Ended } else { stored };
        Self {
            id: row.id,
            account_id: row.account_id,
            opened_by: row.opened_by,
            reason: row.reason,
            email: row.email,
            state,
            opened_at: row.opened_at,
            ready_at: row.ready_at,
            expires_at: row.expires_at,
            completed: row.completed_by.zip(row.completed_at),
            ended_at: row.ended_at,
        }
    }
}

impl fmt::Debug for AccountRecovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountRecovery")
            .field("id", &self.id)
            .field("account_id", &self.account_id)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A recovery that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenedRecovery {
    /// The recovery.
    pub recovery: AccountRecovery,
    /// To how many addresses and numbers of the account the notice goes. If it is 0, the owner cannot
    /// object by a link.
    pub notices: usize,
    /// True if another administrator must [complete](super::AccountRecoveries::complete) it, or a program on
    /// the server. Show this at once, so that nobody learns it only after the delay.
    pub needs_second_administrator: bool,
}
