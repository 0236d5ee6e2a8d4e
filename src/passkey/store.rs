//! Queries on passkeys, on the handles of their users, and on challenges.

use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::entity::{challenge, passkey, user};
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, PasskeyId};
use crate::base::transaction::is_unique_violation;

/// Returns the passkeys of an account, the oldest first. There are only a few.
pub(super) async fn of_account<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Vec<passkey::Model>, DbErr> {
    passkey::Entity::find()
        .filter(passkey::Column::AccountId.eq(account))
        .order_by_asc(passkey::Column::CreatedAt)
        .order_by_asc(passkey::Column::Id)
        .all(db)
        .await
}

/// Returns the passkey with this id of an authenticator, of any account.
pub(super) async fn by_credential<C: ConnectionTrait>(
    db: &C,
    digest: &[u8; 32],
) -> Result<Option<passkey::Model>, DbErr> {
    passkey::Entity::find()
        .filter(passkey::Column::CredentialDigest.eq(digest.to_vec()))
        .one(db)
        .await
}

/// Inserts a passkey. Returns false if there is one with the same id of an authenticator, of any
/// account. On PostgreSQL, the transaction can then only be rolled back.
pub(super) async fn insert<C: ConnectionTrait>(db: &C, row: passkey::Model) -> Result<bool, DbErr> {
    let row = passkey::ActiveModel::from(row).reset_all();
    match passkey::Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(true),
        Err(error) if is_unique_violation(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a use of a passkey changes.
#[derive(Clone, Copy)]
pub(super) struct Used {
    pub(super) sign_count: u32,
    /// True if its verification of the user counts from now on.
    pub(super) verified: bool,
    /// True if it can be synchronised. If not, what is stored is kept.
    pub(super) backup_eligible: bool,
    pub(super) backed_up: bool,
    pub(super) at: Timestamp,
}

/// Records a use of a passkey. Returns false if it was removed, or was used since `row` was read. So of two
/// answers with the same count of the authenticator, only one is accepted.
pub(super) async fn record_use<C: ConnectionTrait>(
    db: &C,
    row: &passkey::Model,
    used: Used,
) -> Result<bool, DbErr> {
    let mut update = passkey::Entity::update_many();
    // These only ever become true, so that a use at the same time does not undo them.
    if used.verified {
        update = update.col_expr(passkey::Column::Verified, Expr::value(true));
    }
    if used.backup_eligible {
        update = update.col_expr(passkey::Column::BackupEligible, Expr::value(true));
    }
    let updated = update
        .col_expr(passkey::Column::SignCount, Expr::value(i64::from(used.sign_count)))
        .col_expr(passkey::Column::BackedUp, Expr::value(used.backed_up))
        .col_expr(passkey::Column::LastUsedAt, Expr::value(Some(used.at)))
        .filter(passkey::Column::Id.eq(row.id))
        .filter(passkey::Column::AccountId.eq(row.account_id))
        .filter(passkey::Column::SignCount.eq(row.sign_count))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Gives a passkey another name. Returns false if the account has no such one.
pub(super) async fn rename<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    id: PasskeyId,
    name: &str,
) -> Result<bool, DbErr> {
    let updated = passkey::Entity::update_many()
        .col_expr(passkey::Column::Name, Expr::value(name))
        .filter(passkey::Column::Id.eq(id))
        .filter(passkey::Column::AccountId.eq(account))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Removes a passkey. Returns false if the account has no such one.
pub(super) async fn remove<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    id: PasskeyId,
) -> Result<bool, DbErr> {
    let deleted = passkey::Entity::delete_many()
        .filter(passkey::Column::Id.eq(id))
        .filter(passkey::Column::AccountId.eq(account))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected > 0)
}

/// Removes the passkeys of an account that are second factors.
pub(super) async fn remove_factors<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<(), DbErr> {
    // By the primary key: on InnoDB, a delete by the account would also lock the gap beside its rows, where
    // other accounts insert theirs.
    let factors: Vec<PasskeyId> = passkey::Entity::find()
        .select_only()
        .column(passkey::Column::Id)
        .filter(passkey::Column::AccountId.eq(account))
        .filter(passkey::Column::IsFactor.eq(true))
        .into_tuple()
        .all(db)
        .await?;
    if !factors.is_empty() {
        let gone = passkey::Entity::delete_many().filter(passkey::Column::Id.is_in(factors));
        gone.exec(db).await?;
    }
    Ok(())
}

/// Returns what authenticators know of an account, if they know something.
pub(super) async fn handle_of<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Option<Vec<u8>>, DbErr> {
    let row = user::Entity::find_by_id(account).one(db).await?;
    Ok(row.map(|row| row.handle))
}

/// Returns true if an account has this handle.
pub(super) async fn knows_handle<C: ConnectionTrait>(db: &C, handle: &[u8]) -> Result<bool, DbErr> {
    let found = user::Entity::find().filter(user::Column::Handle.eq(handle.to_vec())).one(db);
    Ok(found.await?.is_some())
}

/// Stores a handle for an account, unless it has one.
pub(super) async fn give_handle<C: ConnectionTrait>(db: &C, row: user::Model) -> Result<(), DbErr> {
    user::Entity::insert(user::ActiveModel::from(row).reset_all())
        .on_conflict(
            OnConflict::column(user::Column::AccountId)
                .do_nothing_on([user::Column::AccountId])
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}

pub(super) async fn insert_challenge<C: ConnectionTrait>(
    db: &C,
    row: challenge::Model,
) -> Result<(), DbErr> {
    let row = challenge::ActiveModel::from(row).reset_all();
    challenge::Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

pub(super) async fn find_challenge<C: ConnectionTrait>(
    db: &C,
    digest: &[u8; 32],
) -> Result<Option<challenge::Model>, DbErr> {
    challenge::Entity::find_by_id(digest.to_vec()).one(db).await
}

/// Deletes a challenge. Returns false if another answer came first.
pub(super) async fn take_challenge<C: ConnectionTrait>(
    db: &C,
    digest: &[u8],
) -> Result<bool, DbErr> {
    let deleted = challenge::Entity::delete_many()
        .filter(challenge::Column::Digest.eq(digest.to_vec()))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected > 0)
}

/// Deletes at most `batch` challenges that nobody has answered in time. Returns how many.
pub(crate) async fn purge_challenges<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let digests: Vec<Vec<u8>> = challenge::Entity::find()
        .select_only()
        .column(challenge::Column::Digest)
        .filter(challenge::Column::ExpiresAt.lt(now))
        .order_by_asc(challenge::Column::ExpiresAt)
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if digests.is_empty() {
        return Ok(0);
    }
    let gone = challenge::Entity::delete_many().filter(challenge::Column::Digest.is_in(digests));
    Ok(gone.exec(db).await?.rows_affected)
}
