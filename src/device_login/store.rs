//! Queries on requests of devices. Every change is one conditional UPDATE, and the number of changed rows
//! tells whether it happened.

use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, UpdateMany,
};

use super::entity::{ActiveModel, Column, Entity, Model};
use super::state::DeviceRequestState as State;
use crate::base::clock::Timestamp;
use crate::base::column::without_index;
use crate::base::id::{AccountId, DeviceRequestId, LineageId, SessionId};
use crate::base::jwk_thumbprint::JwkThumbprint;

pub(super) async fn insert<C: ConnectionTrait>(db: &C, row: Model) -> Result<(), DbErr> {
    Entity::insert(ActiveModel::from(row).reset_all()).exec_without_returning(db).await?;
    Ok(())
}

/// Finds the request of a device by the digests of its code, one for each secret.
pub(super) async fn find_by_device<C: ConnectionTrait>(
    db: &C,
    digests: Vec<Vec<u8>>,
) -> Result<Option<Model>, DbErr> {
    Entity::find().filter(Column::DeviceDigest.is_in(digests)).one(db).await
}

/// Finds a request by the digests of the code that a person typed, one for each secret.
pub(super) async fn find_by_user<C: ConnectionTrait>(
    db: &C,
    digests: Vec<Vec<u8>>,
) -> Result<Option<Model>, DbErr> {
    Entity::find().filter(Column::UserDigest.is_in(digests)).one(db).await
}

/// Who decides about a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decider {
    pub(super) account: AccountId,
    pub(super) epoch: i64,
    pub(super) session: SessionId,
    pub(super) lineage: LineageId,
    pub(super) factor_at: Option<Timestamp>,
    pub(super) at: Timestamp,
}

/// What an approval says.
#[derive(Debug, Clone)]
pub(super) struct Approval {
    pub(super) granted: Option<String>,
    pub(super) confirmation: Option<i16>,
    pub(super) redeem_by: Timestamp,
}

fn moving(id: DeviceRequestId, from: State, to: State) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::State, Expr::value(to.number()))
        .filter(Column::Id.eq(id))
        .filter(Column::State.eq(from.number()))
}

fn decided(update: UpdateMany<Entity>, by: &Decider) -> UpdateMany<Entity> {
    update
        .col_expr(Column::AccountId, Expr::value(Some(by.account)))
        .col_expr(Column::AccountEpoch, Expr::value(Some(by.epoch)))
        .col_expr(Column::DecidedIn, Expr::value(Some(by.session)))
        .col_expr(Column::DecidedLineage, Expr::value(Some(by.lineage)))
        .col_expr(Column::DecidedAt, Expr::value(Some(by.at)))
        .col_expr(Column::FactorAt, Expr::value(by.factor_at))
}

fn is_in_time(now: Timestamp) -> Expr {
    without_index(Column::ExpiresAt).gt(now)
}

/// Returns false if somebody has decided before, or its time is over.
pub(super) async fn approve<C: ConnectionTrait>(
    db: &C,
    id: DeviceRequestId,
    by: &Decider,
    approval: &Approval,
) -> Result<bool, DbErr> {
    let updated = decided(moving(id, State::Pending, State::Approved), by)
        .col_expr(Column::Granted, Expr::value(approval.granted.clone()))
        .col_expr(Column::Confirmation, Expr::value(approval.confirmation))
        .col_expr(Column::ExpiresAt, Expr::value(approval.redeem_by))
        .filter(is_in_time(by.at))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Moves a request to `to` that waits for a decision, or that this account has approved, or, with
/// `redeemed`, whose device has a session of this account. Returns false if it is none of these.
pub(super) async fn refuse<C: ConnectionTrait>(
    db: &C,
    id: DeviceRequestId,
    by: &Decider,
    to: State,
    redeemed: bool,
) -> Result<bool, DbErr> {
    let own = || Column::AccountId.eq(by.account);
    let state = |state: State| Column::State.eq(state.number());
    let waits = Condition::any().add(state(State::Pending)).add(state(State::Approved).and(own()));
    let mut which = Condition::any().add(Condition::all().add(waits).add(is_in_time(by.at)));
    if redeemed {
        which = which.add(state(State::Redeemed).and(own()));
    }
    let update = Entity::update_many()
        .col_expr(Column::State, Expr::value(to.number()))
        .filter(Column::Id.eq(id))
        .filter(which);
    Ok(decided(update, by).exec(db).await?.rows_affected > 0)
}

/// Uses up an approval, and records the key to which its session is bound. Returns false if it is not approved any more, or its time is over.
pub(super) async fn redeem<C: ConnectionTrait>(
    db: &C,
    id: DeviceRequestId,
    key: Option<JwkThumbprint>,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = moving(id, State::Approved, State::Redeemed)
        .col_expr(Column::RedeemedAt, Expr::value(Some(now)))
        .col_expr(Column::BoundTo, Expr::value(key.map(|key| key.to_string())))
        .filter(is_in_time(now))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Records the session that the device has got, in the transaction of [`redeem`].
pub(super) async fn note_session<C: ConnectionTrait>(
    db: &C,
    id: DeviceRequestId,
    session: SessionId,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::SessionId, Expr::value(Some(session)))
        .filter(Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Returns the session that the device has got.
pub(super) async fn session_of<C: ConnectionTrait>(
    db: &C,
    id: DeviceRequestId,
) -> Result<Option<SessionId>, DbErr> {
    let session = Entity::find_by_id(id).select_only().column(Column::SessionId);
    Ok(session.into_tuple().one(db).await?.flatten())
}

/// Takes one of the attempts at the digits. Returns false if there is none, or if it is not approved any
/// more.
pub(super) async fn take_confirmation<C: ConnectionTrait>(
    db: &C,
    id: DeviceRequestId,
    most: i16,
) -> Result<bool, DbErr> {
    let taken = Entity::update_many()
        .col_expr(Column::Confirmations, Expr::col(Column::Confirmations).add(1))
        .filter(Column::Id.eq(id))
        .filter(Column::State.eq(State::Approved.number()))
        .filter(Column::Confirmations.lt(most))
        .exec(db)
        .await?;
    Ok(taken.rows_affected > 0)
}

/// Denies a request whose attempts at the digits are used up. Returns false if some are left.
pub(super) async fn deny_unconfirmed<C: ConnectionTrait>(
    db: &C,
    id: DeviceRequestId,
    most: i16,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let denied = moving(id, State::Approved, State::Denied)
        .col_expr(Column::EndedAt, Expr::value(Some(now)))
        .filter(Column::Confirmations.gte(most))
        .exec(db)
        .await?;
    Ok(denied.rows_affected > 0)
}

/// Ends a request in this state. Returns false if it is in another one.
pub(super) async fn end<C: ConnectionTrait>(
    db: &C,
    id: DeviceRequestId,
    from: State,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let ended = moving(id, from, State::Ended)
        .col_expr(Column::EndedAt, Expr::value(Some(now)))
        .filter(is_in_time(now))
        .exec(db)
        .await?;
    Ok(ended.rows_affected > 0)
}

/// Deletes at most `batch` requests whose time was over before `before`. Returns how many.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let ids: Vec<DeviceRequestId> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::ExpiresAt.lt(before))
        .order_by_asc(Column::ExpiresAt)
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    Ok(Entity::delete_many().filter(Column::Id.is_in(ids)).exec(db).await?.rows_affected)
}
