//! The query for a page of accounts.

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Query as Select, SelectStatement, UnionType};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use uuid::Uuid;

use super::{AccountFilter, AccountState};
use crate::account::entity::account::{Column, Entity, Model};
use crate::account::entity::login_name;
use crate::account::store::is_closing;
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;

pub(in crate::account) struct Query<'a> {
    pub(super) filter: &'a AccountFilter,
    /// The prefix in its normal form.
    pub(super) prefix: Option<String>,
    /// The account after which the page begins.
    pub(super) after: Option<AccountId>,
    /// The number of accounts on the page.
    pub(super) limit: usize,
    pub(super) require_verified: bool,
    pub(super) now: Timestamp,
}

impl Query<'_> {
    /// Returns the accounts of the page, and one more if there is a next page.
    pub(in crate::account) async fn run<C: ConnectionTrait>(
        &self,
        db: &C,
    ) -> Result<Vec<Model>, DbErr> {
        // The first page has a condition too, so that every page starts at the primary key.
        let start = match self.after {
            Some(after) => Column::Id.gt(after),
            None => Column::Id.gte(AccountId::from(Uuid::nil())),
        };
        let filter = self.filter;
        let condition = Condition::all()
            .add(start)
            .add_option(filter.state.map(|state| self.in_state(state)))
            .add_option(filter.role.as_deref().map(|name| Column::Id.in_subquery(holders(name))))
            .add_option(self.prefix.as_deref().map(|prefix| Column::Id.in_subquery(named(prefix))))
            .add_option(filter.last_login_before.map(|at| Column::LastLoginAt.lt(at)))
            .add_option(filter.last_login_after.map(|at| Column::LastLoginAt.gte(at)))
            .add_option(filter.never_signed_in.then(|| Column::LastLoginAt.is_null()))
            .add_option(filter.created_before.map(|at| Column::CreatedAt.lt(at)))
            .add_option(filter.created_after.map(|at| Column::CreatedAt.gte(at)));
        Entity::find()
            .filter(condition)
            .order_by_asc(Column::Id)
            .limit(self.limit as u64 + 1)
            .all(db)
            .await
    }

    /// The condition of a state. It is the same as in [`AccountState::of`].
    fn in_state(&self, state: AccountState) -> Condition {
        let all = Condition::all;
        let enabled = Column::DisabledAt.is_null().or(Column::DisabledAt.gt(self.now));
        match state {
            AccountState::Erased => all().add(Column::ErasedAt.is_not_null()),
            AccountState::Closing => all().add(Column::DeletedAt.is_not_null()).add(is_closing()),
            AccountState::Deleted => all()
                .add(Column::DeletedAt.is_not_null())
                .add(Column::ErasedAt.is_null())
                .add(Column::EraseAt.is_null()),
            AccountState::Disabled => {
                all().add(Column::DeletedAt.is_null()).add(Column::DisabledAt.lte(self.now))
            }
            AccountState::Unverified if !self.require_verified => all().add(Expr::val(1).eq(0)),
            AccountState::Unverified => all()
                .add(Column::DeletedAt.is_null())
                .add(enabled)
                .add(Column::VerifiedAt.is_null()),
            AccountState::Active => all()
                .add(Column::DeletedAt.is_null())
                .add(enabled)
                .add_option(self.require_verified.then(|| Column::VerifiedAt.is_not_null())),
        }
    }
}

/// Selects the accounts with a name that begins with this text. It compares bytes.
fn named(prefix: &str) -> SelectStatement {
    let mut names = Select::select();
    names
        .column(login_name::Column::AccountId)
        .from(login_name::Entity)
        .and_where(login_name::Column::Normal.gte(prefix));
    if let Some(end) = after_all_with(prefix) {
        names.and_where(login_name::Column::Normal.lt(end));
    }
    names
}

/// Returns the first text after all texts that begin with this one, or `None` if there is no such
/// text.
fn after_all_with(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // `nth` skips numbers that are not characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// Selects the accounts that have a role, directly or through a group. The tables belong to a
/// module above this one, so they are named as text.
fn holders(role: &str) -> SelectStatement {
    let roles = || {
        Select::select()
            .column("id")
            .from("auth_role")
            .and_where(Expr::col("name").eq(role))
            .to_owned()
    };
    let direct = Select::select()
        .column("account_id")
        .from("auth_account_role")
        .and_where(Expr::col("role_id").in_subquery(roles()))
        .to_owned();
    let groups = Select::select()
        .column("group_id")
        .from("auth_group_role")
        .and_where(Expr::col("role_id").in_subquery(roles()))
        .to_owned();
    let members = Select::select()
        .column("account_id")
        .from("auth_account_group")
        .and_where(Expr::col("group_id").in_subquery(groups))
        .to_owned();
    let both = direct.clone().union(UnionType::All, members).to_owned();
    // The union needs a name, because some databases require one for a subquery.
    Select::select().column("account_id").from_subquery(both, Alias::new("holders")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::after_all_with;

    #[test]
    fn the_end_of_a_prefix_is_after_every_text_with_it_and_not_later() {
        let table = [
            ("a", Some("b")),
            ("al", Some("am")),
            ("z\u{10ffff}", Some("{")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("\u{10ffff}\u{10ffff}", None),
            ("", None),
        ];
        for (prefix, end) in table {
            assert_eq!(after_all_with(prefix).as_deref(), end, "{prefix:?}");
            for rest in ["", "a", "\u{10ffff}"] {
                let text = format!("{prefix}{rest}");
                assert!(end.is_none_or(|end| text.as_str() < end), "{text:?}");
            }
        }
    }
}
