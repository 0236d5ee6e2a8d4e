//! Queries on accounts and their login names.

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

/// The epoch of an account, for a transaction that has moved it.
pub(crate) async fn epoch_of<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<Option<i64>, DbErr> {
    let epoch = account::Entity::find_by_id(id).select_only().column(account::Column::Epoch);
    epoch.into_tuple().one(db).await
}

/// The account that signs in with this name, in its normal form.
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

/// A name in its normal form, and the account that signs in with it.
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

/// The names of an account, the oldest first.
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

/// Which of these names belong to an account already.
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

/// A name on its way to an account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) account_id: AccountId,
    pub(crate) kind: LoginIdKind,
    pub(crate) normal: &'a str,
    /// As its owner wrote it; none for one that the account's row has.
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

/// Gives an account a name to sign in with. A unique violation says that it is taken.
pub(crate) async fn insert_name<C: ConnectionTrait>(
    db: &C,
    name: Name<'_>,
    now: Timestamp,
) -> Result<(), DbErr> {
    login_name::Entity::insert(name.into_row(now)).exec_without_returning(db).await?;
    Ok(())
}

/// Inserts an account with one name, or neither: the statements are the same, and so is what they
/// cost but for the rows. A unique violation says that the name is taken.
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
    // Of no table, so that no database locks a gap beside the row.
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

/// The same, also where it is the account's already: then it is as `name` says from now on. What was proved
/// before keeps the time that it was held, and as a further name its place among the others too. False
/// when it is another account's: the key decides.
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
    // MySQL sets columns from left to right, each seeing those before it: when it was proved comes last.
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

/// Makes a further username the account's own, or leaves it none.
pub(crate) async fn set_username<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    next: Option<&login_name::Model>,
) -> Result<(), DbErr> {
    let typed = next.and_then(|name| name.typed.as_deref());
    account::Entity::update_many()
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

/// An update of an account that is not deleted, which ends its sessions.
pub(crate) fn ending_sessions(id: AccountId) -> UpdateMany<account::Entity> {
    account::Entity::update_many()
        .col_expr(account::Column::Epoch, Expr::col(account::Column::Epoch).add(1))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::DeletedAt.is_null())
}

/// Ends the sessions of an account, and with that keeps everybody else from changing it until this
/// transaction is over. False when there is none.
pub(crate) async fn lock_and_end_sessions<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<bool, DbErr> {
    Ok(ending_sessions(id).exec(db).await?.rows_affected > 0)
}

/// Which of these ids belong to an account already, and when that was deleted.
pub(crate) async fn present<C: ConnectionTrait>(
    db: &C,
    ids: &[AccountId],
) -> Result<Vec<(AccountId, Option<Timestamp>)>, DbErr> {
    account::Entity::find()
        .select_only()
        .column(account::Column::Id)
        .column(account::Column::DeletedAt)
        .filter(account::Column::Id.is_in(ids.iter().copied()))
        .into_tuple()
        .all(db)
        .await
}

/// The names of these accounts, and these names of whatever account.
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

/// Inserts many accounts with their names. A unique violation says that one of them came between.
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

/// Notes that an address or number of an account was proved, one that was not before. False when it
/// was, or is not the account's.
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

/// Notes that the account has a proved address, unless it had one.
pub(crate) async fn verify<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = account::Entity::update_many()
        .col_expr(account::Column::VerifiedAt, Expr::value(Some(now)))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::VerifiedAt.is_null())
        .filter(account::Column::DeletedAt.is_null())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Hands an account that was never verified to whoever proved its address: no password, no factor,
/// no session and no other address that was there before is left, and nobody has ever signed in. False
/// when it was verified meanwhile, is disabled or deleted.
///
/// An end of its sessions meanwhile does not matter: the person who prepared the account could keep it from its
/// owner by ending them all the time.
pub(crate) async fn hand_over<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    normal: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let id = row.id;
    let updated = account::Entity::update_many()
        .col_expr(account::Column::PasswordHash, Expr::value(None::<String>))
        .col_expr(account::Column::PasswordPepper, Expr::value(None::<String>))
        .col_expr(account::Column::MustChangePassword, Expr::value(true))
        .col_expr(account::Column::EnrolledFactors, Expr::value(0i64))
        .col_expr(account::Column::Phone, Expr::value(None::<String>))
        .col_expr(account::Column::RegisteredLineageId, Expr::value(None::<uuid::Uuid>))
        .col_expr(account::Column::VerifiedAt, Expr::value(Some(now)))
        .col_expr(account::Column::LastLoginAt, Expr::value(None::<i64>))
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

/// Leaves an account none of its names but the username and the address in its row.
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

/// Settles the names of an account whose address was proved for the first time by whoever set its
/// password anew: no other address or number is left, and the username that waited is its own.
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
    account::Entity::update_many()
        .col_expr(account::Column::Phone, Expr::value(None::<String>))
        .filter(account::Column::Id.eq(row.id))
        .exec(db)
        .await?;
    if claim_username(db, row, now).await? == Claimed::Taken {
        drop_username(db, row.id).await?;
    }
    Ok(())
}

/// Takes from an account the mail addresses that it never proved.
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

/// Takes an address or number from an account that never proved it, and ends that account's sessions.
/// False when it did prove it, or has it no more.
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
    let mut update = account::Entity::update_many()
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

/// What became of a username that waited for its account's address to be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// It is the account's.
    Yes,
    /// Somebody else has it.
    Taken,
}

/// Gives an account the username in its row as a name to sign in with, if it has not got it yet.
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
    // It has been in the row since the account was made, so it came before every change.
    let standing = Standing::FIRST;
    let name =
        Name { account_id: account.id, kind, normal, typed: None, verified_at: None, standing };
    insert_name(db, name, now).await?;
    Ok(Claimed::Yes)
}

/// Takes the username out of an account's row that could not get it.
pub(crate) async fn drop_username<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<(), DbErr> {
    account::Entity::update_many()
        .col_expr(account::Column::Username, Expr::value(None::<String>))
        .filter(account::Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// What a change of an account's state writes besides the column itself.
#[derive(Clone, Copy)]
pub(crate) enum Sessions {
    /// The account's sessions go on.
    Keep,
    /// They are over: the epoch moves.
    End,
    /// Those are over that the account has been disabled under, now.
    EndIfDisabled(Timestamp),
}

impl Sessions {
    /// Whether the change may end them.
    pub(crate) fn end(self) -> bool {
        !matches!(self, Self::Keep)
    }
}

/// Gives an account its own username, if it has none.
pub(crate) async fn set_first_username<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    typed: &str,
) -> Result<bool, DbErr> {
    let updated = account::Entity::update_many()
        .col_expr(account::Column::Username, Expr::value(Some(typed)))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::Username.is_null())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Sets one column of an account that is not deleted. False when there is none.
pub(crate) async fn set<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    column: account::Column,
    value: impl Into<sea_orm::Value> + Send,
    sessions: Sessions,
) -> Result<bool, DbErr> {
    let epoch = Expr::col(account::Column::Epoch);
    let mut update = account::Entity::update_many();
    // MySQL sets columns from left to right, each seeing those before it: the epoch comes first.
    update = match sessions {
        Sessions::Keep => update,
        Sessions::End => update.col_expr(account::Column::Epoch, epoch.add(1)),
        Sessions::EndIfDisabled(now) => {
            let disabled = Expr::col(account::Column::DisabledAt).lte(now);
            let moved = CaseStatement::new().case(disabled, epoch.clone().add(1)).finally(epoch);
            update.col_expr(account::Column::Epoch, moved.into())
        }
    };
    let updated = update
        .col_expr(column, Expr::value(value.into()))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::DeletedAt.is_null())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Sets the second factors of an account that is as `row` says, and ends its sessions. False when it was
/// changed meanwhile: it may have got an address that nobody proved.
pub(crate) async fn set_enrolled_factors<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    enrolled: EnrolledFactors,
) -> Result<bool, DbErr> {
    let updated = account::Entity::update_many()
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

/// Puts a new password in the place of the one in `row` (the exact text that was checked), and ends
/// all sessions through the epoch. False when someone else was faster, with a password or with
/// anything else that ends the session which asks. With `signs_in_at` a sign-in is finished by it.
pub(crate) async fn change_password<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    new: StoredPassword,
    signs_in_at: Option<Timestamp>,
) -> Result<bool, DbErr> {
    let unchanged = match &row.password_hash {
        Some(hash) => account::Column::PasswordHash.eq(hash),
        None => account::Column::PasswordHash.is_null(),
    };
    let mut update = account::Entity::update_many();
    if let Some(at) = signs_in_at {
        update = update.col_expr(account::Column::LastLoginAt, Expr::value(Some(at)));
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

/// Sets the password of an account whose owner has shown that mail reaches them, if its address, its
/// password and its last sign-in are still as `row` says and it can be used; ends all sessions. The
/// address counts as verified from then on. Where it did not before, the person who made the account was
/// somebody else: enrolled factors go with the password, and the browser that registered is forgotten.
///
/// It counts as a sign-in: the device that does it is known, and one that is not known afterwards is
/// told of.
///
/// The epoch may have moved meanwhile. A thief with one session can move it all the time, by ending the
/// account's other sessions.
pub(crate) async fn reset_password<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    new: StoredPassword,
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
    let mut update = account::Entity::update_many()
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
    if row.verified_at.is_none() {
        update = update
            .col_expr(Column::VerifiedAt, Expr::value(Some(now)))
            .col_expr(Column::EnrolledFactors, Expr::value(0i64))
            .col_expr(Column::RegisteredLineageId, Expr::value(None::<uuid::Uuid>))
            .filter(Column::VerifiedAt.is_null());
    }
    Ok(update.exec(db).await?.rows_affected > 0)
}

/// Writes the same password hashed anew, unless it was changed meanwhile. Sessions go on.
pub(crate) async fn rehash<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    old_hash: &str,
    new: StoredPassword,
) -> Result<bool, DbErr> {
    let updated = account::Entity::update_many()
        .col_expr(account::Column::PasswordHash, Expr::value(new.hash))
        .col_expr(account::Column::PasswordPepper, Expr::value(new.pepper))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::PasswordHash.eq(old_hash))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Notes a sign-in, and with that keeps everybody else from changing the account until this transaction is
/// over. False when its epoch is another one by now, or it cannot be used.
pub(crate) async fn note_login<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    epoch: i64,
    at: Timestamp,
) -> Result<bool, DbErr> {
    let updated = account::Entity::update_many()
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
    account::Entity::update_many()
        .col_expr(account::Column::LastLoginAt, Expr::value(Some(at)))
        .filter(account::Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Tells remembered grants of this account that they are stale. False when there is no such
/// account.
pub(crate) async fn bump_grants<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<bool, DbErr> {
    let updated = account::Entity::update_many()
        .col_expr(account::Column::GrantsVersion, Expr::value(random_version()))
        .filter(account::Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Notes that something happened that happens only once. A unique violation says it did before.
pub(crate) async fn mark<C: ConnectionTrait>(
    db: &C,
    name: &str,
    now: Timestamp,
) -> Result<(), DbErr> {
    let row = marker::ActiveModel { name: Set(name.to_owned()), created_at: Set(now) };
    marker::Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Whether something that happens only once has happened.
pub(crate) async fn is_marked<C: ConnectionTrait>(db: &C, name: &str) -> Result<bool, DbErr> {
    Ok(marker::Entity::find_by_id(name.to_owned()).one(db).await?.is_some())
}

/// At most `most` ids of accounts, in their order, after one of them.
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

/// Raises the epochs of these accounts to the present time in milliseconds, or by one where that is
/// less, and so ends their sessions. Remembered grants are kept for one account each, so one new
/// version does for all of them.
pub(crate) async fn raise_epochs<C: ConnectionTrait>(
    db: &C,
    ids: &[AccountId],
    now: Timestamp,
) -> Result<u64, DbErr> {
    let epoch = || Expr::col(account::Column::Epoch);
    let least = now.as_millis();
    let raised = CaseStatement::new().case(epoch().lt(least), least).finally(epoch().add(1));
    let updated = account::Entity::update_many()
        .col_expr(account::Column::Epoch, raised.into())
        .col_expr(account::Column::GrantsVersion, Expr::value(random_version()))
        .filter(account::Column::Id.is_in(ids.iter().copied()))
        .exec(db)
        .await?;
    Ok(updated.rows_affected)
}

/// At most `most` accounts that strangers made before a time and that still wait to be proved.
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

/// Removes an account on trial that was neither proved nor used since it was made. False when it was.
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

/// Notes that an account stays.
pub(crate) async fn end_trial<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<(), DbErr> {
    account::Entity::update_many()
        .col_expr(account::Column::OnTrialSince, Expr::value(None::<i64>))
        .filter(account::Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}
