//! Lists of accounts, for an administrator's page.

use crate::account::entity::account::Model;
use crate::account::{Account, AccountError, Accounts, login_id};
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;
use crate::base::page::Page;

pub(super) mod store;

/// What can be done with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AccountState {
    /// It can sign in.
    Active,
    /// It cannot sign in, because no address was verified and
    /// [`login.require_verified`](crate::config::LoginConfig::require_verified) is on.
    Unverified,
    /// An administrator has [disabled](Accounts::disable) it. If it is disabled from a date, it is
    /// [`Active`](Self::Active) until then.
    Disabled,
    /// It was [closed](Accounts::close), and can be reopened until it is erased.
    Closing,
    /// An administrator has [deleted](Accounts::delete) it. Its data is kept.
    Deleted,
    /// It was [erased](Accounts::erase). Only its id is left.
    Erased,
}

impl AccountState {
    /// Returns the stable name, such as `active`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Unverified => "unverified",
            Self::Disabled => "disabled",
            Self::Closing => "closing",
            Self::Deleted => "deleted",
            Self::Erased => "erased",
        }
    }

    fn of(row: &Model, require_verified: bool, now: Timestamp) -> Self {
        if row.erased_at.is_some() {
            Self::Erased
        } else if row.deleted_at.is_some() && row.erase_at.is_some() {
            Self::Closing
        } else if row.deleted_at.is_some() {
            Self::Deleted
        } else if row.disabled_at.is_some_and(|at| at <= now) {
            Self::Disabled
        } else if require_verified && row.verified_at.is_none() {
            Self::Unverified
        } else {
            Self::Active
        }
    }
}

/// An account with its state and its times, for an administrator. It contains no secrets.
///
/// [`Account`] lacks these fields. It comes from the one statement of every request, which reads
/// only what it needs to decide about the request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountDetails {
    /// The account: its id, its own names, and whether it may do everything.
    pub account: Account,
    /// What can be done with it now.
    pub state: AccountState,
    /// True if it has a password.
    pub has_password: bool,
    /// True if a new password is required at the next sign-in.
    pub must_change_password: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last signed in. `None` if it never did.
    pub last_login_at: Option<Timestamp>,
    /// When its first address was verified.
    pub verified_at: Option<Timestamp>,
    /// When it was disabled, or will be.
    pub disabled_at: Option<Timestamp>,
    /// When it was deleted or closed.
    pub deleted_at: Option<Timestamp>,
    /// When it will be erased, if it was closed.
    pub erase_at: Option<Timestamp>,
    /// When it was erased.
    pub erased_at: Option<Timestamp>,
}

impl AccountDetails {
    pub(crate) fn of(row: Model, require_verified: bool, now: Timestamp) -> Self {
        Self {
            state: AccountState::of(&row, require_verified, now),
            has_password: row.password_hash.is_some(),
            must_change_password: row.must_change_password,
            created_at: row.created_at,
            last_login_at: row.last_login_at,
            verified_at: row.verified_at,
            disabled_at: row.disabled_at,
            deleted_at: row.deleted_at,
            erase_at: row.erase_at,
            erased_at: row.erased_at,
            account: Account::from(row),
        }
    }
}

/// Which accounts to list. Several conditions must all be met.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct AccountFilter {
    state: Option<AccountState>,
    role: Option<String>,
    name_prefix: Option<String>,
    last_login_before: Option<Timestamp>,
    last_login_after: Option<Timestamp>,
    never_signed_in: bool,
    created_before: Option<Timestamp>,
    created_after: Option<Timestamp>,
}

impl AccountFilter {
    /// Selects all accounts, also deleted and erased ones.
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects accounts in this state.
    pub fn state(mut self, state: AccountState) -> Self {
        self.state = Some(state);
        self
    }

    /// Selects accounts that have this role: everywhere or on a resource, directly or through a
    /// group. A role that does not exist selects none.
    pub fn role(mut self, name: impl Into<String>) -> Self {
        self.role = Some(name.into());
        self
    }

    /// Selects accounts with a sign-in name that begins with this text, in any spelling. All names
    /// count: username, address, number and further names.
    pub fn name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.name_prefix = Some(prefix.into());
        self
    }

    /// Selects accounts whose last sign-in was before this time. It does not select accounts that
    /// never signed in: see [`never_signed_in`](Self::never_signed_in).
    pub fn last_login_before(mut self, at: Timestamp) -> Self {
        self.last_login_before = Some(at);
        self
    }

    /// Selects accounts that have signed in at this time or later.
    pub fn last_login_after(mut self, at: Timestamp) -> Self {
        self.last_login_after = Some(at);
        self
    }

    /// Selects accounts that never signed in.
    pub fn never_signed_in(mut self) -> Self {
        self.never_signed_in = true;
        self
    }

    /// Selects accounts that were created before this time.
    pub fn created_before(mut self, at: Timestamp) -> Self {
        self.created_before = Some(at);
        self
    }

    /// Selects accounts that were created at this time or later.
    pub fn created_after(mut self, at: Timestamp) -> Self {
        self.created_after = Some(at);
        self
    }
}

/// A page of accounts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AccountList {
    /// The accounts, by id.
    pub accounts: Vec<AccountDetails>,
    /// Where the next page begins, see [`Page::after`]. `None` if this is the last one.
    pub next: Option<String>,
}

impl Accounts<'_> {
    /// Returns an account with its state and its times. A deleted or erased account is returned
    /// too.
    ///
    /// # Errors
    /// [`AccountError::Fault`] if the infrastructure failed.
    pub async fn details(&self, id: AccountId) -> Result<Option<AccountDetails>, AccountError> {
        let row = self.db.read(super::store::find(&self.db.executor(), id)).await?;
        Ok(row.map(|row| self.details_of(row)))
    }

    /// Returns a page of accounts. To find one account by a sign-in name, use
    /// [`find_by_login`](Self::find_by_login).
    ///
    /// The accounts are sorted by id. So an account never changes its place, and a new account
    /// comes last. An imported account has the place of its id.
    ///
    /// Each page is one statement. It uses an index: the primary key, the names, the holders of a
    /// role, or the closed accounts. With the primary key alone, it reads accounts until the page
    /// is full. If few accounts meet it, that can be the whole table. So do not offer it to
    /// everyone.
    ///
    /// # Errors
    /// [`AccountError::InvalidPage`] for a place that no page has returned; [`AccountError::Fault`] if
    /// the infrastructure failed.
    pub async fn list(
        &self,
        filter: &AccountFilter,
        page: Page,
    ) -> Result<AccountList, AccountError> {
        let now = self.context.now();
        let require_verified = self.context.config.login.require_verified;
        let prefix = filter.name_prefix.as_deref().map(login_id::normal_prefix);
        let (after, limit) = (page.place()?, page.limit());
        let query = store::Query { filter, prefix, after, limit, require_verified, now };
        let mut rows = self.db.read(query.run(&self.db.executor())).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
        let accounts = rows.into_iter().map(|row| self.details_of(row)).collect();
        Ok(AccountList { accounts, next })
    }

    fn details_of(&self, row: Model) -> AccountDetails {
        AccountDetails::of(row, self.context.config.login.require_verified, self.context.now())
    }
}
