//! Queries on identities at providers, sign-ins that are under way, and what a provider can end.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::entity::{flow, identity, logout_token, pending, session};
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, LineageId, PendingIdentityId, ProviderIdentityId};
use crate::base::transaction::is_unique_violation;

/// Returns an identity by the digest of its issuer and subject.
pub(super) async fn by_digest<C: ConnectionTrait>(
    db: &C,
    digest: &[u8; 32],
) -> Result<Option<identity::Model>, DbErr> {
    let found = identity::Entity::find().filter(identity::Column::Digest.eq(digest.to_vec()));
    found.one(db).await
}

/// Returns the identities of an account, the oldest first. There are only a few.
pub(super) async fn of_account<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Vec<identity::Model>, DbErr> {
    identity::Entity::find()
        .filter(identity::Column::AccountId.eq(account))
        .order_by_asc(identity::Column::CreatedAt)
        .order_by_asc(identity::Column::Id)
        .all(db)
        .await
}

/// Links an identity. Returns false if an account has it. On PostgreSQL, the transaction can then only be rolled back.
pub(super) async fn insert<C: ConnectionTrait>(
    db: &C,
    row: identity::Model,
) -> Result<bool, DbErr> {
    let row = identity::ActiveModel::from(row).reset_all();
    match identity::Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(true),
        Err(error) if is_unique_violation(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a use of an identity changes.
#[derive(Clone)]
pub(super) struct Used {
    pub(super) email: Option<String>,
    pub(super) display_name: Option<String>,
    /// The tokens and the name of their secret, if they are kept.
    pub(super) tokens: Option<(String, String)>,
    pub(super) at: Timestamp,
}

/// Records a use of an identity. Returns false if it is not linked to the account any more.
pub(super) async fn record_use<C: ConnectionTrait>(
    db: &C,
    row: &identity::Model,
    used: Used,
) -> Result<bool, DbErr> {
    let mut update = identity::Entity::update_many()
        .col_expr(identity::Column::Email, Expr::value(used.email))
        .col_expr(identity::Column::DisplayName, Expr::value(used.display_name))
        .col_expr(identity::Column::LastUsedAt, Expr::value(Some(used.at)));
    if let Some((tokens, key)) = used.tokens {
        update = update
            .col_expr(identity::Column::Tokens, Expr::value(Some(tokens)))
            .col_expr(identity::Column::TokensKeyId, Expr::value(Some(key)))
            // A refresh that is under way is about the tokens before.
            .col_expr(identity::Column::RefreshingAt, Expr::value(None::<i64>))
            .col_expr(
                identity::Column::TokensVersion,
                Expr::col(identity::Column::TokensVersion).add(1),
            );
    }
    let updated = update
        .filter(identity::Column::Id.eq(row.id))
        .filter(identity::Column::AccountId.eq(row.account_id))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Unlinks an identity. Returns false if the account has no such one.
pub(super) async fn remove<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    id: ProviderIdentityId,
) -> Result<bool, DbErr> {
    let deleted = identity::Entity::delete_many()
        .filter(identity::Column::Id.eq(id))
        .filter(identity::Column::AccountId.eq(account))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected > 0)
}

/// Takes the right to refresh the tokens. Returns false if they have changed since `row` was read, or somebody else
/// began after `since`.
pub(super) async fn begin_refresh<C: ConnectionTrait>(
    db: &C,
    row: &identity::Model,
    since: Timestamp,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let refreshing = identity::Column::RefreshingAt;
    let updated = identity::Entity::update_many()
        .col_expr(refreshing, Expr::value(Some(now)))
        .filter(identity::Column::Id.eq(row.id))
        .filter(identity::Column::TokensVersion.eq(row.tokens_version))
        .filter(refreshing.is_null().or(refreshing.lt(since)))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Stores refreshed tokens, or ends the attempt that began at `began` without new ones.
pub(super) async fn end_refresh<C: ConnectionTrait>(
    db: &C,
    row: &identity::Model,
    began: Timestamp,
    tokens: Option<(String, String)>,
) -> Result<bool, DbErr> {
    let mut update = identity::Entity::update_many()
        .col_expr(identity::Column::RefreshingAt, Expr::value(None::<i64>));
    if let Some((tokens, key)) = tokens {
        update = update
            .col_expr(identity::Column::Tokens, Expr::value(Some(tokens)))
            .col_expr(identity::Column::TokensKeyId, Expr::value(Some(key)))
            .col_expr(identity::Column::TokensVersion, Expr::value(row.tokens_version + 1));
    }
    let updated = update
        .filter(identity::Column::Id.eq(row.id))
        .filter(identity::Column::TokensVersion.eq(row.tokens_version))
        .filter(identity::Column::RefreshingAt.eq(began))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

pub(super) async fn insert_flow<C: ConnectionTrait>(db: &C, row: flow::Model) -> Result<(), DbErr> {
    let row = flow::ActiveModel::from(row).reset_all();
    flow::Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

pub(super) async fn find_flow<C: ConnectionTrait>(
    db: &C,
    digest: &[u8; 32],
) -> Result<Option<flow::Model>, DbErr> {
    flow::Entity::find_by_id(digest.to_vec()).one(db).await
}

/// Deletes a flow. Returns false if another answer came first.
pub(super) async fn take_flow<C: ConnectionTrait>(db: &C, digest: &[u8]) -> Result<bool, DbErr> {
    let deleted = flow::Entity::delete_many()
        .filter(flow::Column::Digest.eq(digest.to_vec()))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected > 0)
}

pub(super) async fn insert_pending<C: ConnectionTrait>(
    db: &C,
    row: pending::Model,
) -> Result<(), DbErr> {
    let row = pending::ActiveModel::from(row).reset_all();
    pending::Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Returns the newest identity about which this browser is asked.
pub(super) async fn newest_pending<C: ConnectionTrait>(
    db: &C,
    browser: &[u8; 32],
    now: Timestamp,
) -> Result<Option<pending::Model>, DbErr> {
    pending::Entity::find()
        .filter(pending::Column::Browser.eq(browser.to_vec()))
        .filter(pending::Column::ExpiresAt.gt(now))
        .order_by_desc(pending::Column::CreatedAt)
        .order_by_desc(pending::Column::Id)
        .one(db)
        .await
}

pub(super) async fn find_pending<C: ConnectionTrait>(
    db: &C,
    id: PendingIdentityId,
) -> Result<Option<pending::Model>, DbErr> {
    pending::Entity::find_by_id(id).one(db).await
}

/// Deletes an identity about which a person was asked. Returns false if another answer came first.
pub(super) async fn take_pending<C: ConnectionTrait>(
    db: &C,
    id: PendingIdentityId,
) -> Result<bool, DbErr> {
    let deleted =
        pending::Entity::delete_many().filter(pending::Column::Id.eq(id)).exec(db).await?;
    Ok(deleted.rows_affected > 0)
}

/// Notes that a sign-in began with an identity. A sign-in that continues another one of the same browser replaces it.
pub(super) async fn note_session<C: ConnectionTrait>(
    db: &C,
    row: session::Model,
) -> Result<(), DbErr> {
    let update = [
        session::Column::AccountId,
        session::Column::Identity,
        session::Column::ProviderSession,
        session::Column::CreatedAt,
        session::Column::ExpiresAt,
    ];
    session::Entity::insert(session::ActiveModel::from(row).reset_all())
        .on_conflict(
            OnConflict::column(session::Column::LineageId).update_columns(update).to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Returns the sign-ins that began with this identity, or in this session at the provider.
pub(super) async fn sessions<C: ConnectionTrait>(
    db: &C,
    identity: Option<&[u8; 32]>,
    provider_session: Option<&[u8; 32]>,
) -> Result<Vec<(LineageId, AccountId)>, DbErr> {
    let mut query = session::Entity::find()
        .select_only()
        .column(session::Column::LineageId)
        .column(session::Column::AccountId);
    if let Some(digest) = identity {
        query = query.filter(session::Column::Identity.eq(digest.to_vec()));
    }
    if let Some(digest) = provider_session {
        query = query.filter(session::Column::ProviderSession.eq(digest.to_vec()));
    }
    query.into_tuple().all(db).await
}

/// Notes that a logout token was used. Returns false if it was used before.
pub(super) async fn spend_logout_token<C: ConnectionTrait>(
    db: &C,
    digest: &[u8; 32],
    expires_at: Timestamp,
) -> Result<bool, DbErr> {
    let row = logout_token::Model { digest: digest.to_vec(), expires_at };
    let row = logout_token::ActiveModel::from(row).reset_all();
    match logout_token::Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(true),
        Err(error) if is_unique_violation(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

macro_rules! purge {
    ($($(#[$doc:meta])* $name:ident: $table:ident by $key:ident as $type:ty;)+) => { $(
        $(#[$doc])*
        pub(crate) async fn $name<C: ConnectionTrait>(
            db: &C,
            now: Timestamp,
            batch: u64,
        ) -> Result<u64, DbErr> {
            let keys: Vec<$type> = $table::Entity::find()
                .select_only()
                .column($table::Column::$key)
                .filter($table::Column::ExpiresAt.lt(now))
                .order_by_asc($table::Column::ExpiresAt)
                .limit(batch)
                .into_tuple()
                .all(db)
                .await?;
            if keys.is_empty() {
                return Ok(0);
            }
            let gone = $table::Entity::delete_many().filter($table::Column::$key.is_in(keys));
            Ok(gone.exec(db).await?.rows_affected)
        }
    )+ };
}

purge! {
    /// Deletes at most `batch` sign-ins that nobody has finished in time. Returns how many.
    purge_flows: flow by Digest as Vec<u8>;
    /// Deletes at most `batch` identities about which nobody has decided in time. Returns how many.
    purge_pending: pending by Id as PendingIdentityId;
    /// Deletes at most `batch` notes about sign-ins that have ended. Returns how many.
    purge_sessions: session by LineageId as LineageId;
    /// Deletes at most `batch` logout tokens that nobody would accept any more. Returns how many.
    purge_logout_tokens: logout_token by Digest as Vec<u8>;
}
