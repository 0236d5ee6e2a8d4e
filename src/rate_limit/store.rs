//! Rates in the database, so that several nodes count together without another service.
//!
//! An admission is one conditional UPDATE. A refusal also reads the row. The first request of a
//! subject inserts it.

use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::entity::{ActiveModel, Column, Entity};
use crate::base::clock::Timestamp;
use crate::base::column::without_index;
use crate::base::rate::{Quota, RateKey, RateVerdict, now_us};
use crate::base::transaction::{Database, Db, Fault, is_unique_violation};
use crate::port::{HookFuture, RateLimiter};

/// Counts in `auth_rate`.
pub(crate) struct DatabaseLimiter {
    pub(crate) database: Database,
    pub(crate) timeout: Duration,
}

/// How often a request starts again because another one has just inserted or reset the same
/// subject.
const ROUNDS: usize = 4;

impl DatabaseLimiter {
    async fn decide(
        &self,
        key: &RateKey,
        quota: Quota,
        now: Timestamp,
    ) -> Result<RateVerdict, Fault> {
        let db = Db::new(&self.database, self.timeout);
        let mut refused = None;
        for _ in 0..ROUNDS {
            if db.retry(|| self.spend(key, quota, now)).await? {
                // Only a refusal needs to know how much is left, so it is not read here.
                let verdict = quota.judge(0, now);
                return Ok(RateVerdict { remaining: 0, ..verdict });
            }
            let Some(spent) = db.read(self.spent(key)).await? else {
                if db.retry(|| self.first(key, quota, now)).await? {
                    return Ok(quota.judge(0, now));
                }
                continue;
            };
            let verdict = quota.judge(spent, now);
            if !verdict.admitted {
                if spent > verdict.spent_us {
                    // The value is from before the clock was set back, or from a longer period.
                    db.retry(|| self.reset(key, spent, verdict.spent_us)).await?;
                }
                return Ok(verdict);
            }
            // Another request was faster, so this one starts again. If that happens in every round,
            // the request is refused: a contended limit must not let requests through.
            refused = Some(RateVerdict { admitted: false, ..verdict });
        }
        refused.ok_or_else(|| Fault::Internal("a rate is contended".into()))
    }

    async fn spend(&self, key: &RateKey, quota: Quota, now: Timestamp) -> Result<bool, DbErr> {
        let now = now_us(now);
        let (interval, burst) = (quota.interval_us(), quota.burst_us());
        let spent = Expr::col(Column::SpentUs);
        let from = Expr::case(spent.clone().gt(now), spent.clone()).finally(now);
        let updated = Entity::update_many()
            .col_expr(Column::SpentUs, Expr::expr(from).add(interval))
            .filter(Column::Key.eq(key.as_bytes().to_vec()))
            .filter(without_index(Column::SpentUs).lte(now + burst - interval))
            .exec(&self.database)
            .await?;
        Ok(updated.rows_affected > 0)
    }

    async fn spent(&self, key: &RateKey) -> Result<Option<i64>, DbErr> {
        Entity::find_by_id(key.as_bytes().to_vec())
            .select_only()
            .column(Column::SpentUs)
            .into_tuple()
            .one(&self.database)
            .await
    }

    /// Inserts the row of a subject. Returns false if another request inserted it at the same
    /// moment.
    async fn first(&self, key: &RateKey, quota: Quota, now: Timestamp) -> Result<bool, DbErr> {
        let spent_us = quota.judge(0, now).spent_us;
        let row = ActiveModel { key: Set(key.as_bytes().to_vec()), spent_us: Set(spent_us) };
        match Entity::insert(row).exec_without_returning(&self.database).await {
            Ok(_) => Ok(true),
            // This is not "on conflict do nothing", because MySQL counts an unchanged row as
            // written.
            Err(error) if is_unique_violation(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn reset(&self, key: &RateKey, from: i64, to: i64) -> Result<bool, DbErr> {
        let updated = Entity::update_many()
            .col_expr(Column::SpentUs, Expr::value(to))
            .filter(Column::Key.eq(key.as_bytes().to_vec()))
            .filter(without_index(Column::SpentUs).eq(from))
            .exec(&self.database)
            .await?;
        Ok(updated.rows_affected > 0)
    }
}

impl RateLimiter for DatabaseLimiter {
    fn admit<'a>(
        &'a self,
        key: &'a RateKey,
        quota: Quota,
        now: Timestamp,
    ) -> HookFuture<'a, RateVerdict> {
        Box::pin(async move { Ok(self.decide(key, quota, now).await?) })
    }
}

/// Deletes at most `most` rows of subjects that made no requests for their whole period.
pub(crate) async fn purge_batch<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    let quiet_since = now_us(now);
    let keys: Vec<Vec<u8>> = Entity::find()
        .select_only()
        .column(Column::Key)
        .filter(Column::SpentUs.lte(quiet_since))
        .order_by_asc(Column::SpentUs)
        .limit(most)
        .into_tuple()
        .all(db)
        .await?;
    if keys.is_empty() {
        return Ok(0);
    }
    // The condition is checked again, because a request may have come meanwhile.
    let deleted = Entity::delete_many()
        .filter(Column::Key.is_in(keys))
        .filter(without_index(Column::SpentUs).lte(quiet_since))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected)
}
