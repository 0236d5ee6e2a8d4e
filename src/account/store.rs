//! Queries for accounts and their login names.

use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, Func, OnConflict, Query};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbErr,
    EntityTrait, Iterable, QueryFilter, QueryOrder, QuerySelect, RelationTrait, UpdateMany,
};

use super::entity::{account, login_name, marker};
use super::former::{self, Standing};
use super::login_id::{Email, LoginIdKind, Username};
use super::stored_password::StoredPassword;
use crate::base::clock::Timestamp;
use crate::base::factor::EnrolledFactors;
use crate::base::id::AccountId;
use crate::base::secret::random_version;

pub(crate) async fn find<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<Option<account::Model>, DbErr> {
    account::Entity::find_by_id(id).one(db).await
}

/// Returns the epoch of an account, for a transaction that has increased it.
pub(crate) async fn epoch_of<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<Option<i64>, DbErr> {
    let epoch = account::Entity::find_by_id(id).select_only().column(account::Column::Epoch);
    epoch.into_tuple().one(db).await
}

/// Returns the account that signs in with this name, which is in its normal form.
pub(crate) async fn find_by_name<C: ConnectionTrait>(
    db: &C,
    normal: &str,
) -> Result<Option<account::Model>, DbErr> {
    account::Entity::find()
        .join(sea_orm::JoinType::InnerJoin, login_name::Relation::Account.def().rev())
        .filter(login_name::Column::Normal.eq(normal))
        .one(db)
        .await
}

/// Returns a name, given in its normal form, and the account that signs in with it.
pub(crate) async fn find_with_name<C: ConnectionTrait>(
    db: &C,
    normal: &str,
) -> Result<Option<(login_name::Model, account::Model)>, DbErr> {
    let found = login_name::Entity::find_by_id(normal.to_owned())
        .find_also_related(account::Entity)
        .one(db)
        .await?;
    Ok(found.and_then(|(name, account)| Some((name, account?))))
}

/// Returns the names of an account, the oldest first.
pub(crate) async fn names_of<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Vec<login_name::Model>, DbErr> {
    login_name::Entity::find()
        .filter(login_name::Column::AccountId.eq(account))
        .order_by_asc(login_name::Column::CreatedAt)
        .order_by_asc(login_name::Column::Normal)
        .all(db)
        .await
}

/// Returns which of these names already belong to an account.
pub(crate) async fn taken<C: ConnectionTrait>(
    db: &C,
    normals: &[String],
) -> Result<Vec<login_name::Model>, DbErr> {
    login_name::Entity::find()
        .filter(login_name::Column::Normal.is_in(normals.to_vec()))
        .all(db)
        .await
}

pub(crate) async fn insert<C: ConnectionTrait>(
    db: &C,
    account: account::Model,
) -> Result<(), DbErr> {
    account::Entity::insert(account::ActiveModel::from(account).reset_all())
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// A name that is about to be added to an account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) account_id: AccountId,
    pub(crate) kind: LoginIdKind,
    pub(crate) normal: &'a str,
    /// The spelling of its owner. `None` for a name that is in the account's row.
    pub(crate) typed: Option<&'a str>,
    pub(crate) verified_at: Option<Timestamp>,
    pub(crate) standing: Standing,
}

impl Name<'_> {
    fn into_row(self, now: Timestamp) -> login_name::ActiveModel {
        login_name::ActiveModel {
            normal: Set(self.normal.to_owned()),
            account_id: Set(self.account_id),
            kind: Set(self.kind.number()),
            typed: Set(self.typed.map(str::to_owned)),
            verified_at: Set(self.verified_at),
            sequence: Set(self.standing.sequence),
            held_ms: Set(self.standing.held_ms),
            created_at: Set(now),
        }
    }
}

/// Adds a name to an account. A unique violation means that the name is taken.
pub(crate) async fn insert_name<C: ConnectionTrait>(
    db: &C,
    name: Name<'_>,
    now: Timestamp,
) -> Result<(), DbErr> {
    login_name::Entity::insert(name.into_row(now)).exec_without_returning(db).await?;
    Ok(())
}

/// Inserts an account with one name if `wanted` is true, and otherwise inserts nothing. Both cases
/// run the same statements, so that the time of an answer does not reveal whether a name is taken.
/// Only the writing of the rows differs. A unique violation means that the name is taken.
pub(crate) async fn insert_if<C: ConnectionTrait>(
    db: &C,
    wanted: bool,
    account: account::Model,
    name: Name<'_>,
    now: Timestamp,
) -> Result<(), DbErr> {
    insert_row_if(db, wanted, account::ActiveModel::from(account).reset_all()).await?;
    insert_row_if(db, wanted, name.into_row(now)).await
}

async fn insert_row_if<C: ConnectionTrait, A: ActiveModelTrait>(
    db: &C,
    wanted: bool,
    row: A,
) -> Result<(), DbErr> {
    let mut columns = Vec::new();
    // The values come from no table, so that no database locks a gap beside the row.
    let mut select = Query::select();
    for column in <A::Entity as EntityTrait>::Column::iter() {
        if let Some(value) = row.get(column).into_value() {
            columns.push(column);
            select.expr(column.save_as(Expr::val(value)));
        }
    }
    select.and_where(Expr::val(wanted));
    let insert = Query::insert()
        .into_table(A::Entity::default())
        .columns(columns)
        .select_from(select)
        .map_err(|error| DbErr::Custom(error.to_string()))?
        .to_owned();
    db.execute(&insert).await?;
    Ok(())
}

/// Adds a name to an account, or changes the name if it already belongs to this account. Returns
/// false if the name belongs to another account: the unique key decides.
///
/// A name that was verified before keeps its verification and the time for which it was held. As a
/// further name it also keeps its sequence.
pub(crate) async fn claim_name<C: ConnectionTrait>(
    db: &C,
    name: Name<'_>,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let there_already = OnConflict::column(login_name::Column::Normal)
        .do_nothing_on([login_name::Column::Normal])
        .to_owned();
    login_name::Entity::insert(name.into_row(now))
        .on_conflict(there_already)
        .exec_without_returning(db)
        .await?;
    let verified_at = Expr::col(login_name::Column::VerifiedAt);
    let unless_proved = |column: login_name::Column, new: i64| {
        CaseStatement::new()
            .case(verified_at.clone().is_null(), Expr::value(new))
            .finally(Expr::col(column))
    };
    use login_name::Column::{HeldMs, Sequence};
    let sequence = match name.typed {
        Some(_) => unless_proved(Sequence, name.standing.sequence).into(),
        None => Expr::value(name.standing.sequence),
    };
    let held_ms = unless_proved(HeldMs, name.standing.held_ms);
    // MySQL sets columns from left to right, and each expression sees the values set before it. So
    // `verified_at`, which the other expressions read, comes last.
    let updated = login_name::Entity::update_many()
        .col_expr(Sequence, sequence)
        .col_expr(HeldMs, held_ms.into())
        .col_expr(login_name::Column::Typed, Expr::value(name.typed))
        .col_expr(
            login_name::Column::VerifiedAt,
            Func::coalesce([verified_at, Expr::value(name.verified_at)]).into(),
        )
        .filter(login_name::Column::Normal.eq(name.normal))
        .filter(login_name::Column::AccountId.eq(name.account_id))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Makes a further username the account's own username. With `None` the account has no own
/// username.
pub(crate) async fn set_username<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    next: Option<&login_name::Model>,
) -> Result<(), DbErr> {
    let typed = next.and_then(|name| name.typed.as_deref());
    changing()
        .col_expr(account::Column::Username, Expr::value(typed))
        .filter(account::Column::Id.eq(id))
        .exec(db)
        .await?;
    let Some(next) = next else { return Ok(()) };
    login_name::Entity::update_many()
        .col_expr(login_name::Column::Typed, Expr::value(None::<String>))
        .filter(login_name::Column::Normal.eq(next.normal.as_str()))
        .filter(login_name::Column::AccountId.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Returns an update of accounts that a request can notice. It replaces their version, so cached
/// data of these accounts is no longer used. All changed rows may get the same version, because
/// each account has its own cache entry.
pub(crate) fn changing() -> UpdateMany<account::Entity> {
    account::Entity::update_many().col_expr(account::Column::Version, Expr::value(random_version()))
}

/// Returns an update of columns that no request reads: a new hash of the same password, the time of
/// the last sign-in, the trial, the time of an erasure. The version stays.
pub(crate) fn recording() -> UpdateMany<account::Entity> {
    account::Entity::update_many()
}

/// Returns an update of an account that is not deleted. It also ends the account's sessions.
pub(crate) fn ending_sessions(id: AccountId) -> UpdateMany<account::Entity> {
    changing()
        .col_expr(account::Column::Epoch, Expr::col(account::Column::Epoch).add(1))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::DeletedAt.is_null())
}

/// Ends the sessions of an account. The UPDATE also locks the row, so that nobody else can change
/// the account until this transaction ends. Returns false if there is no such account.
pub(crate) async fn lock_and_end_sessions<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<bool, DbErr> {
    Ok(ending_sessions(id).exec(db).await?.rows_affected > 0)
}

/// Returns which of these ids already belong to an account, and when each account was deleted or
/// erased.
pub(crate) async fn present<C: ConnectionTrait>(
    db: &C,
    ids: &[AccountId],
) -> Result<Vec<(AccountId, Option<Timestamp>, Option<Timestamp>)>, DbErr> {
    account::Entity::find()
        .select_only()
        .column(account::Column::Id)
        .column(account::Column::DeletedAt)
        .column(account::Column::ErasedAt)
        .filter(account::Column::Id.is_in(ids.iter().copied()))
        .into_tuple()
        .all(db)
        .await
}

/// Returns the names of these accounts, and also these names of any account.
pub(crate) async fn names_of_or_like<C: ConnectionTrait>(
    db: &C,
    ids: &[AccountId],
    normals: &[String],
) -> Result<Vec<login_name::Model>, DbErr> {
    let ours = login_name::Column::AccountId.is_in(ids.iter().copied());
    login_name::Entity::find()
        .filter(ours.or(login_name::Column::Normal.is_in(normals.to_vec())))
        .all(db)
        .await
}

/// Inserts many accounts with their names. A unique violation means that another insert took one of
/// them in the meantime.
pub(crate) async fn insert_all<C: ConnectionTrait>(
    db: &C,
    accounts: impl IntoIterator<Item = &account::Model>,
    names: impl IntoIterator<Item = login_name::Model>,
) -> Result<(), DbErr> {
    let accounts =
        accounts.into_iter().map(|row| account::ActiveModel::from(row.clone()).reset_all());
    account::Entity::insert_many(accounts).exec_without_returning(db).await?;
    let names = names.into_iter().map(|row| login_name::ActiveModel::from(row).reset_all());
    login_name::Entity::insert_many(names).exec_without_returning(db).await?;
    Ok(())
}

/// Marks an address or number of an account as verified. Returns false if it was already verified,
/// or does not belong to the account.
pub(crate) async fn verify_name<C: ConnectionTrait>(
    db: &C,
    account: &account::Model,
    normal: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let standing = match account.verified_at {
        None => Standing::FIRST,
        Some(_) => Standing::from_epoch(account.epoch),
    };
    let updated = login_name::Entity::update_many()
        .col_expr(login_name::Column::VerifiedAt, Expr::value(Some(now)))
        .col_expr(login_name::Column::Sequence, Expr::value(standing.sequence))
        .col_expr(login_name::Column::HeldMs, Expr::value(standing.held_ms))
        .filter(login_name::Column::Normal.eq(normal))
        .filter(login_name::Column::AccountId.eq(account.id))
        .filter(login_name::Column::Kind.ne(LoginIdKind::Username.number()))
        .filter(login_name::Column::VerifiedAt.is_null())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Marks an account as verified. Returns false if it was already verified or is deleted.
pub(crate) async fn verify<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = changing()
        .col_expr(account::Column::VerifiedAt, Expr::value(Some(now)))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::VerifiedAt.is_null())
        .filter(account::Column::DeletedAt.is_null())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Gives an account that was never verified to the person who proved its address. It removes
/// everything that an earlier person set: the password, factors, sessions, other addresses and the
/// last sign-in. So the person who registered it cannot keep access (account pre-hijacking).
/// Returns false if it was verified in the meantime, or is disabled or deleted.
///
/// The epoch is not compared. Otherwise the person who registered the account could keep it from
/// its owner by ending its sessions again and again.
pub(crate) async fn hand_over<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    normal: &str,
    new_password: bool,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let id = row.id;
    let updated = changing()
        .col_expr(account::Column::PasswordHash, Expr::value(None::<String>))
        .col_expr(account::Column::PasswordPepper, Expr::value(None::<String>))
        .col_expr(account::Column::MustChangePassword, Expr::value(new_password))
        .col_expr(account::Column::EnrolledFactors, Expr::value(0i64))
        .col_expr(account::Column::Phone, Expr::value(None::<String>))
        .col_expr(account::Column::RegisteredLineageId, Expr::value(None::<uuid::Uuid>))
        .col_expr(account::Column::VerifiedAt, Expr::value(Some(now)))
        .col_expr(account::Column::LastLoginAt, Expr::value(None::<i64>))
        .col_expr(account::Column::PasswordMailedAt, Expr::value(Some(now)))
        .col_expr(account::Column::EnrolmentDueAt, Expr::value(None::<i64>))
        .col_expr(account::Column::RecoveryId, no_recovery())
        .col_expr(account::Column::Epoch, Expr::col(account::Column::Epoch).add(1))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::VerifiedAt.is_null())
        .filter(account::Column::DeletedAt.is_null())
        .filter(account::Column::DisabledAt.is_null().or(account::Column::DisabledAt.gt(now)))
        .exec(db)
        .await?;
    if updated.rows_affected == 0 {
        return Ok(false);
    }
    keep_only(db, id, normal).await?;
    former::forget_all(db, id).await?;
    Ok(true)
}

/// Removes all names of an account except its own username and this address.
async fn keep_only<C: ConnectionTrait>(db: &C, id: AccountId, address: &str) -> Result<(), DbErr> {
    let other = Condition::any()
        .add(login_name::Column::Kind.ne(LoginIdKind::Username.number()))
        .add(login_name::Column::Typed.is_not_null());
    login_name::Entity::delete_many()
        .filter(login_name::Column::AccountId.eq(id))
        .filter(other)
        .filter(login_name::Column::Normal.ne(address))
        .exec(db)
        .await?;
    Ok(())
}

/// Decides which names stay when a password reset has verified an account's address for the first
/// time. All other addresses and numbers are removed, and the reserved username becomes its own.
pub(crate) async fn settle_names<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    now: Timestamp,
) -> Result<(), DbErr> {
    let email = row.email.as_deref().and_then(|email| Email::parse(email).ok());
    let Some(email) = email.filter(|_| row.verified_at.is_none()) else { return Ok(()) };
    verify_name(db, row, email.normal(), now).await?;
    keep_only(db, row.id, email.normal()).await?;
    former::forget_all(db, row.id).await?;
    changing()
        .col_expr(account::Column::Phone, Expr::value(None::<String>))
        .filter(account::Column::Id.eq(row.id))
        .exec(db)
        .await?;
    if claim_username(db, row, now).await? == Claimed::Taken {
        drop_username(db, row.id).await?;
    }
    Ok(())
}

/// Removes the mail addresses that an account never verified.
pub(crate) async fn release_unproved<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<(), DbErr> {
    login_name::Entity::delete_many()
        .filter(login_name::Column::AccountId.eq(id))
        .filter(login_name::Column::Kind.eq(LoginIdKind::Email.number()))
        .filter(login_name::Column::VerifiedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Takes an address or number from an account that never verified it, and ends that account's
/// sessions. Returns false if the account has verified it, or no longer has it.
pub(crate) async fn evict<C: ConnectionTrait>(
    db: &C,
    holder: &account::Model,
    normal: &str,
) -> Result<bool, DbErr> {
    let deleted = login_name::Entity::delete_many()
        .filter(login_name::Column::Normal.eq(normal))
        .filter(login_name::Column::AccountId.eq(holder.id))
        .filter(login_name::Column::VerifiedAt.is_null())
        .exec(db)
        .await?;
    if deleted.rows_affected == 0 {
        return Ok(false);
    }
    let email = holder.email.as_deref().and_then(|email| Email::parse(email).ok());
    let mut update = changing()
        .col_expr(account::Column::Epoch, Expr::col(account::Column::Epoch).add(1))
        .filter(account::Column::Id.eq(holder.id));
    if email.is_some_and(|email| email.normal() == normal) {
        update = update.col_expr(account::Column::Email, Expr::value(None::<String>));
    }
    if holder.phone.as_deref() == Some(normal) {
        update = update.col_expr(account::Column::Phone, Expr::value(None::<String>));
    }
    update.exec(db).await?;
    Ok(true)
}

/// The result of claiming a username that was reserved until its account was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// It belongs to the account.
    Yes,
    /// It belongs to another account.
    Taken,
}

/// Makes the username in the account's row a name to sign in with, if it is not one yet.
pub(crate) async fn claim_username<C: ConnectionTrait>(
    db: &C,
    account: &account::Model,
    now: Timestamp,
) -> Result<Claimed, DbErr> {
    let Some(Ok(username)) = account.username.as_deref().map(Username::parse) else {
        return Ok(Claimed::Yes);
    };
    let normal = username.normal();
    match taken(db, &[normal.to_owned()]).await?.first() {
        Some(row) if row.account_id == account.id => return Ok(Claimed::Yes),
        Some(_) => return Ok(Claimed::Taken),
        None => {}
    }
    let kind = LoginIdKind::Username;
    // The username has been in the row since the account was created, so it came before every
    // change.
    let standing = Standing::FIRST;
    let name =
        Name { account_id: account.id, kind, normal, typed: None, verified_at: None, standing };
    insert_name(db, name, now).await?;
    Ok(Claimed::Yes)
}

/// Removes a username from an account's row, because another account has it.
pub(crate) async fn drop_username<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<(), DbErr> {
    changing()
        .col_expr(account::Column::Username, Expr::value(None::<String>))
        .filter(account::Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// What happens to the sessions when the state of an account changes.
#[derive(Clone, Copy)]
pub(crate) enum Sessions {
    /// The account's sessions continue.
    Keep,
    /// The sessions end, because the epoch increases.
    End,
    /// Ends the sessions only if the account is already disabled at this time.
    EndIfDisabled(Timestamp),
}

impl Sessions {
    /// Returns true if the change may end sessions.
    pub(crate) fn end(self) -> bool {
        !matches!(self, Self::Keep)
    }
}

/// Sets the own username of an account, if it has none. Returns false if it has one.
pub(crate) async fn set_first_username<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    typed: &str,
) -> Result<bool, DbErr> {
    let updated = changing()
        .col_expr(account::Column::Username, Expr::value(Some(typed)))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::Username.is_null())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// The value of the column of an account without an open recovery.
pub(crate) fn no_recovery() -> Expr {
    Expr::value(None::<uuid::Uuid>)
}

/// The condition that an account is closed and not erased.
pub(crate) fn is_closing() -> Expr {
    account::Column::SweepAt.is_not_null().and(account::Column::ErasedAt.is_null())
}

/// Sets one column of an account that is not deleted, or that its owner has closed and may reopen.
/// Returns false if there is no such account.
pub(crate) async fn set<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    column: account::Column,
    value: impl Into<sea_orm::Value> + Send,
    sessions: Sessions,
) -> Result<bool, DbErr> {
    let epoch = Expr::col(account::Column::Epoch);
    let mut update = changing();
    // MySQL sets columns from left to right, and each expression sees the values set before it. The
    // epoch comes first, because its expression reads the old `disabled_at`.
    update = match sessions {
        Sessions::Keep => update,
        Sessions::End => update.col_expr(account::Column::Epoch, epoch.add(1)),
        Sessions::EndIfDisabled(now) => {
            let disabled = Expr::col(account::Column::DisabledAt).lte(now);
            let moved = CaseStatement::new().case(disabled, epoch.clone().add(1)).finally(epoch);
            update.col_expr(account::Column::Epoch, moved.into())
        }
    };
    let value = value.into();
    use account::Column::{DeletedAt, DisabledAt, Superuser};
    let none = [value.as_null(), sea_orm::Value::from(false)].contains(&value);
    if matches!(column, DisabledAt | DeletedAt | Superuser) && !none {
        // A recovery does not wait until the account is enabled again. Nor may it give somebody the
        // rights that the account gets meanwhile.
        update = update.col_expr(account::Column::RecoveryId, no_recovery());
    }
    let updated = update
        .col_expr(column, Expr::value(value))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::DeletedAt.is_null().or(is_closing()))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Sets the second factors of an account and ends its sessions, if the account is still as in
/// `row`. Returns false if it was changed in the meantime: it may have got an address that nobody
/// verified. `enough` is true if one of them is strong enough for every role. Then a later time of grace
/// begins anew.
pub(crate) async fn set_enrolled_factors<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    enrolled: EnrolledFactors,
    enough: bool,
) -> Result<bool, DbErr> {
    let mut update = changing();
    if enough {
        update = update.col_expr(account::Column::EnrolmentDueAt, Expr::value(None::<i64>));
    }
    let updated = update
        .col_expr(account::Column::EnrolledFactors, Expr::value(enrolled.0))
        .col_expr(account::Column::Epoch, Expr::col(account::Column::Epoch).add(1))
        .filter(account::Column::Id.eq(row.id))
        .filter(account::Column::Epoch.eq(row.epoch))
        .filter(account::Column::EnrolledFactors.eq(row.enrolled_factors))
        .filter(account::Column::DeletedAt.is_null())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Whether the mailbox alone was enough to set the present password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MailedPassword {
    /// As before.
    Unchanged,
    No,
    Since(Timestamp),
}

/// Replaces the password in `row` with a new one, and ends all sessions by increasing the epoch.
/// Returns false if the stored hash or the epoch changed in the meantime. The reason may be another
/// new password, or anything else that ended the requesting session. If `signs_in_at` is set, the
/// change also completes a sign-in. `mailed` says what is known about the mailbox afterwards.
pub(crate) async fn change_password<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    new: StoredPassword,
    signs_in_at: Option<Timestamp>,
    mailed: MailedPassword,
) -> Result<bool, DbErr> {
    let unchanged = match &row.password_hash {
        Some(hash) => account::Column::PasswordHash.eq(hash),
        None => account::Column::PasswordHash.is_null(),
    };
    let mut update = changing();
    if let Some(at) = signs_in_at {
        update = update.col_expr(account::Column::LastLoginAt, Expr::value(Some(at)));
    }
    let mailed_at = match mailed {
        MailedPassword::Unchanged => None,
        MailedPassword::No => Some(None),
        MailedPassword::Since(at) => Some(Some(at)),
    };
    if let Some(at) = mailed_at {
        update = update.col_expr(account::Column::PasswordMailedAt, Expr::value(at));
    }
    let updated = update
        .col_expr(account::Column::PasswordHash, Expr::value(new.hash))
        .col_expr(account::Column::PasswordPepper, Expr::value(new.pepper))
        .col_expr(account::Column::MustChangePassword, Expr::value(false))
        .col_expr(account::Column::Epoch, Expr::col(account::Column::Epoch).add(1))
        .filter(account::Column::Id.eq(row.id))
        .filter(account::Column::Epoch.eq(row.epoch))
        .filter(account::Column::DeletedAt.is_null())
        .filter(unchanged)
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Sets the password of an account after its owner proved that mail reaches them, and ends all
/// sessions. Returns false if its address, password or last sign-in is no longer as in `row`, or
/// the account cannot be used.
///
/// The address then counts as verified. If it was not verified before, another person may have
/// created the account. So enrolled factors are removed with the password, and the browser that
/// registered is forgotten.
///
/// It counts as a sign-in. The device that resets the password becomes known, and later sign-ins
/// from unknown devices are reported.
///
/// The epoch is not compared. Otherwise a thief with one session could prevent the reset by ending
/// the account's other sessions again and again.
pub(crate) async fn reset_password<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    new: StoredPassword,
    further: bool,
    now: Timestamp,
) -> Result<bool, DbErr> {
    use account::Column;

    let hash = match &row.password_hash {
        Some(hash) => Column::PasswordHash.eq(hash),
        None => Column::PasswordHash.is_null(),
    };
    let last_login = match row.last_login_at {
        Some(at) => Column::LastLoginAt.eq(at),
        None => Column::LastLoginAt.is_null(),
    };
    let mut update = changing()
        .col_expr(Column::PasswordHash, Expr::value(new.hash))
        .col_expr(Column::PasswordPepper, Expr::value(new.pepper))
        .col_expr(Column::MustChangePassword, Expr::value(false))
        .col_expr(Column::LastLoginAt, Expr::value(Some(now)))
        .col_expr(Column::Epoch, Expr::col(Column::Epoch).add(1))
        .filter(Column::Id.eq(row.id))
        .filter(Column::DeletedAt.is_null())
        .filter(Column::DisabledAt.is_null().or(Column::DisabledAt.gt(now)))
        .filter(Column::Email.eq(row.email.as_deref()))
        .filter(hash)
        .filter(last_login);
    if !further {
        // Mailed codes go to the main address. So the mailbox would prove the same thing twice.
        update = update.col_expr(Column::PasswordMailedAt, Expr::value(Some(now)));
    }
    if row.verified_at.is_none() {
        update = update
            .col_expr(Column::VerifiedAt, Expr::value(Some(now)))
            .col_expr(Column::EnrolledFactors, Expr::value(0i64))
            .col_expr(Column::RegisteredLineageId, Expr::value(None::<uuid::Uuid>))
            .col_expr(Column::RecoveryId, no_recovery())
            .filter(Column::VerifiedAt.is_null());
    }
    Ok(update.exec(db).await?.rows_affected > 0)
}

/// Stores a new hash of the same password, unless the password was changed in the meantime.
/// Sessions continue.
pub(crate) async fn rehash<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    old_hash: &str,
    new: StoredPassword,
) -> Result<bool, DbErr> {
    let updated = recording()
        .col_expr(account::Column::PasswordHash, Expr::value(new.hash))
        .col_expr(account::Column::PasswordPepper, Expr::value(new.pepper))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::PasswordHash.eq(old_hash))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Records a sign-in. The UPDATE also locks the row, so that nobody else can change the account
/// until this transaction ends. Returns false if the epoch has changed, or the account cannot be
/// used. So a sign-in that began before all sessions were ended cannot complete after it.
pub(crate) async fn note_login<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    epoch: i64,
    at: Timestamp,
) -> Result<bool, DbErr> {
    let updated = recording()
        .col_expr(account::Column::LastLoginAt, Expr::value(Some(at)))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::Epoch.eq(epoch))
        .filter(account::Column::DeletedAt.is_null())
        .filter(account::Column::DisabledAt.is_null().or(account::Column::DisabledAt.gt(at)))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

pub(crate) async fn set_last_login<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    at: Timestamp,
) -> Result<(), DbErr> {
    recording()
        .col_expr(account::Column::LastLoginAt, Expr::value(Some(at)))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::DeletedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Makes cached grants of this account stale. Returns false if there is no such account. An erased
/// account cannot get new grants.
pub(crate) async fn bump_grants<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<bool, DbErr> {
    let updated = changing()
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::ErasedAt.is_null())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Records an event that happens only once. A unique violation means that it happened before.
pub(crate) async fn mark<C: ConnectionTrait>(
    db: &C,
    name: &str,
    now: Timestamp,
) -> Result<(), DbErr> {
    let row = marker::ActiveModel { name: Set(name.to_owned()), created_at: Set(now) };
    marker::Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Returns true if an event that happens only once has happened.
pub(crate) async fn is_marked<C: ConnectionTrait>(db: &C, name: &str) -> Result<bool, DbErr> {
    Ok(marker::Entity::find_by_id(name.to_owned()).one(db).await?.is_some())
}

/// Returns at most `most` account ids in ascending order, starting after `after`.
pub(crate) async fn ids_after<C: ConnectionTrait>(
    db: &C,
    after: Option<AccountId>,
    most: u64,
) -> Result<Vec<AccountId>, DbErr> {
    let mut query = account::Entity::find().select_only().column(account::Column::Id);
    if let Some(after) = after {
        query = query.filter(account::Column::Id.gt(after));
    }
    query.order_by_asc(account::Column::Id).limit(most).into_tuple().all(db).await
}

/// Ends the sessions of these accounts. It sets their epochs to the current time in milliseconds,
/// or increases them by one if they are not lower. After the restore of a backup this also exceeds
/// epochs that the backup does not contain.
///
/// Grants are cached per account, so all accounts can get the same new version.
pub(crate) async fn raise_epochs<C: ConnectionTrait>(
    db: &C,
    ids: &[AccountId],
    now: Timestamp,
) -> Result<u64, DbErr> {
    let epoch = || Expr::col(account::Column::Epoch);
    let least = now.as_millis();
    let raised = CaseStatement::new().case(epoch().lt(least), least).finally(epoch().add(1));
    let updated = changing()
        .col_expr(account::Column::Epoch, raised.into())
        .col_expr(account::Column::RecoveryId, no_recovery())
        .filter(account::Column::Id.is_in(ids.iter().copied()))
        .exec(db)
        .await?;
    Ok(updated.rows_affected)
}

/// Returns at most `most` accounts that strangers created before a time and that still wait for
/// verification.
pub(crate) async fn on_trial<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    most: u64,
) -> Result<Vec<AccountId>, DbErr> {
    account::Entity::find()
        .select_only()
        .column(account::Column::Id)
        .filter(account::Column::OnTrialSince.lt(before))
        .order_by_asc(account::Column::OnTrialSince)
        .limit(most)
        .into_tuple()
        .all(db)
        .await
}

/// Removes an account on trial that was neither verified nor used since its creation. Returns false
/// if it was, or is gone.
pub(crate) async fn remove_unproved<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<bool, DbErr> {
    let mut proved = Query::select();
    proved
        .expr(Expr::val(1))
        .from(login_name::Entity)
        .and_where(login_name::Column::AccountId.eq(id))
        .and_where(login_name::Column::VerifiedAt.is_not_null());
    let deleted = account::Entity::delete_many()
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::OnTrialSince.is_not_null())
        .filter(account::Column::VerifiedAt.is_null())
        .filter(account::Column::LastLoginAt.is_null())
        .filter(account::Column::DeletedAt.is_null())
        .filter(account::Column::Superuser.eq(false))
        .filter(Expr::exists(proved).not())
        .exec(db)
        .await?;
    Ok(deleted.rows_affected > 0)
}

/// Ends the trial: the account stays.
pub(crate) async fn end_trial<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<(), DbErr> {
    recording()
        .col_expr(account::Column::OnTrialSince, Expr::value(None::<i64>))
        .filter(account::Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}
