//! Queries on what is stored for the second factors of an account. The tables are named as text,
//! because they belong to modules above this one.

use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, Value};
use uuid::Uuid;

use crate::account::entity::account;
use crate::account::store::{changing, recording};
use crate::base::clock::Timestamp;
use crate::base::factor::{EnrolledFactors, Factor, PassedFactors};
use crate::base::id::AccountId;

/// The tables with the secrets of factors.
const TABLES: [(Factor, &str); 3] = [
    (Factor::Totp, "auth_totp"),
    (Factor::RecoveryCode, "auth_recovery_code"),
    (Factor::Passkey, PASSKEYS),
];

const PASSKEYS: &str = "auth_passkey";

const IDENTITIES: &str = "auth_provider_identity";

const TRUSTED_DEVICES: &str = "auth_trusted_device";

/// Returns when the password was last replaced through the mailbox.
pub(crate) async fn password_mailed<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<Option<Timestamp>, DbErr> {
    let mailed: Option<Option<Timestamp>> = account::Entity::find_by_id(id)
        .select_only()
        .column(account::Column::PasswordMailedAt)
        .into_tuple()
        .one(db)
        .await?;
    Ok(mailed.flatten())
}

/// Returns until when an account may be used without the factor that its roles require.
pub(crate) async fn enrolment_due<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<Option<Timestamp>, DbErr> {
    let due: Option<Option<Timestamp>> = account::Entity::find_by_id(id)
        .select_only()
        .column(account::Column::EnrolmentDueAt)
        .into_tuple()
        .one(db)
        .await?;
    Ok(due.flatten())
}

/// Records until when an account may be used without the factor that its roles require, unless an earlier
/// time was recorded before.
pub(crate) async fn set_enrolment_due<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    due: Timestamp,
) -> Result<(), DbErr> {
    recording()
        .col_expr(account::Column::EnrolmentDueAt, Expr::value(Some(due)))
        .filter(account::Column::Id.eq(id))
        .filter(
            account::Column::EnrolmentDueAt.is_null().or(account::Column::EnrolmentDueAt.gt(due)),
        )
        .exec(db)
        .await?;
    Ok(())
}

/// Deletes what is stored for factors that the account does not have. The transaction has locked the row of
/// the account.
pub(super) async fn forget<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    enrolled: EnrolledFactors,
) -> Result<(), DbErr> {
    for (factor, table) in TABLES.iter().filter(|(factor, _)| !enrolled.contains(*factor)) {
        let of_account = Expr::col("account_id").eq(id);
        let which = match factor {
            // One that the browser has made by itself is no second factor.
            Factor::Passkey => of_account.and(Expr::col("is_factor").eq(true)),
            _ => of_account,
        };
        delete(db, key_of(*factor), table, which).await?;
    }
    Ok(())
}

/// Deletes the passkeys that browsers have made by themselves, because the password of the account is replaced:
/// somebody who knew the old one may have made them. The transaction has locked the row of the account.
pub(crate) async fn forget_passkeys_by_browser<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<(), DbErr> {
    let which = Expr::col("account_id").eq(id).and(Expr::col("is_factor").eq(false));
    delete(db, Key::Id, PASSKEYS, which).await?;
    Ok(())
}

/// Unlinks all identities at providers, because the account goes to another person, or is recovered. The transaction has
/// locked the row of the account.
pub(super) async fn forget_identities<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<(), DbErr> {
    delete(db, Key::Id, IDENTITIES, Expr::col("account_id").eq(id)).await?;
    Ok(())
}

/// The primary key of the table of a factor.
fn key_of(factor: Factor) -> Key {
    if factor == Factor::RecoveryCode { Key::Digest } else { Key::Id }
}

/// What kind of column the primary key is, and its name.
#[derive(Clone, Copy, PartialEq)]
enum Key {
    Id,
    Digest,
}

/// Deletes these rows of a table by the primary key. Returns true if there were any. On InnoDB, a delete by
/// the account would also lock the gap beside its rows, where other accounts insert theirs.
async fn delete<C: ConnectionTrait>(
    db: &C,
    key: Key,
    table: &'static str,
    which: Expr,
) -> Result<bool, DbErr> {
    let name = if key == Key::Id { "id" } else { "digest" };
    let mut select = Query::select();
    select.column(name).from(table).and_where(which);
    let mut keys: Vec<Value> = Vec::new();
    for row in db.query_all(&select).await? {
        keys.push(match key {
            Key::Id => row.try_get_by_index::<Uuid>(0)?.into(),
            Key::Digest => row.try_get_by_index::<Vec<u8>>(0)?.into(),
        });
    }
    if keys.is_empty() {
        return Ok(false);
    }
    let mut delete = Query::delete();
    delete.from_table(table).and_where(Expr::col(name).is_in(keys));
    db.execute(&delete).await?;
    Ok(true)
}

/// Deletes the trusted devices of an account that goes to another person. They do not count any more, but
/// they tell where the former one was.
pub(crate) async fn forget_trusted_devices<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<(), DbErr> {
    delete(db, Key::Id, TRUSTED_DEVICES, Expr::col("account_id").eq(id)).await?;
    Ok(())
}

/// Deletes the trusted devices of an account that count. Returns true if there were any. The transaction has
/// locked the row of the account.
pub(crate) async fn end_trusted_devices<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let mut epoch = Query::select();
    epoch.column("epoch").from("auth_account").and_where(Expr::col("id").eq(id));
    let counts = Expr::col("account_id")
        .eq(id)
        .and(Expr::col("expires_at").gt(now))
        .and(Expr::col("epoch").in_subquery(epoch));
    delete(db, Key::Id, TRUSTED_DEVICES, counts).await
}

/// Deletes what was stored for factors of an account in the epoch `since` or later. Returns the factors
/// that it has left, and those of which something that counted was deleted.
pub(super) async fn forget_since<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    since: i64,
) -> Result<(EnrolledFactors, Vec<Factor>), DbErr> {
    let mut left = EnrolledFactors(row.enrolled_factors);
    let mut forgotten = Vec::new();
    forget_passkeys_by_browser(db, row.id).await?;
    // An authenticator counts when it is confirmed, and a recovery code until it is used.
    let confirmed = Expr::col("confirmed_at").is_not_null();
    let unused = Expr::col("used_at").is_null();
    for (factor, table, counts) in [
        (Factor::Totp, "auth_totp", confirmed),
        (Factor::RecoveryCode, "auth_recovery_code", unused),
        (Factor::Passkey, PASSKEYS, Expr::col("is_factor").eq(true)),
    ] {
        let of_this = |select: &mut SelectStatement| {
            select.expr(Expr::val(1)).from(table).limit(1);
            select.and_where(Expr::col("account_id").eq(row.id)).and_where(counts.clone());
        };
        let mut new = Query::select();
        of_this(&mut new);
        new.and_where(Expr::col("epoch").gte(since));
        let had_new = db.query_one(&new).await?.is_some();
        let of_account = Expr::col("account_id").eq(row.id);
        delete(db, key_of(factor), table, of_account.and(Expr::col("epoch").gte(since))).await?;
        if !had_new {
            continue;
        }
        forgotten.push(factor);
        let mut rest = Query::select();
        of_this(&mut rest);
        if db.query_one(&rest).await?.is_none() {
            left = left.left_without(factor);
        }
    }
    let linked = Expr::col("account_id").eq(row.id).and(Expr::col("epoch").gte(since));
    if delete(db, Key::Id, IDENTITIES, linked).await? {
        forgotten.push(Factor::Provider);
    }
    for (factor, epoch) in FactorEpochs::of(row).0 {
        if left.contains(factor) && epoch >= since {
            forgotten.push(factor);
            left = left.left_without(factor);
        }
    }
    Ok((left, forgotten))
}

/// In which epoch each factor was set up that has no rows of its own, as in the column: `m3x12`.
struct FactorEpochs(Vec<(Factor, i64)>);

impl FactorEpochs {
    fn of(row: &account::Model) -> Self {
        // The column has the form of the factors that a session has passed, with epochs for times.
        let passed = PassedFactors::from_column(row.factor_epochs.as_deref().unwrap_or_default());
        Self(passed.iter().map(|(factor, epoch)| (factor, epoch.as_millis())).collect())
    }

    fn to_column(&self) -> String {
        let epochs = self.0.iter().map(|(factor, epoch)| (*factor, Timestamp::from_millis(*epoch)));
        epochs.fold(PassedFactors::default(), |all, (factor, at)| all.with(factor, at)).to_column()
    }
}

/// Records that the account has had these factors since the epoch `epoch`, those of them that have no
/// rows of their own. The transaction has locked the row of the account.
pub(super) async fn set_epochs<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    added: impl Iterator<Item = Factor>,
    epoch: i64,
) -> Result<(), DbErr> {
    // An application may check passkeys itself, and then they have no rows here.
    let in_rows = |factor| matches!(factor, Factor::Totp | Factor::RecoveryCode);
    let added: Vec<_> = added.filter(|factor| !in_rows(*factor)).collect();
    if added.is_empty() {
        return Ok(());
    }
    let mut epochs = FactorEpochs::of(row);
    epochs.0.retain(|(factor, _)| !added.contains(factor));
    epochs.0.extend(added.into_iter().map(|factor| (factor, epoch)));
    recording()
        .col_expr(account::Column::FactorEpochs, Expr::value(Some(epochs.to_column())))
        .filter(account::Column::Id.eq(row.id))
        .exec(db)
        .await?;
    Ok(())
}

/// Sets the factors of an account whose row the transaction has locked.
pub(super) async fn set<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    enrolled: EnrolledFactors,
) -> Result<(), DbErr> {
    changing()
        .col_expr(account::Column::EnrolledFactors, Expr::value(enrolled.0))
        .filter(account::Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Records that nothing is left of a factor, without ending the sessions: the last recovery code was
/// used. The transaction has locked the row of the account.
pub(crate) async fn used_up<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    factor: Factor,
) -> Result<(), DbErr> {
    let left = EnrolledFactors(row.enrolled_factors).without(factor);
    changing()
        .col_expr(account::Column::EnrolledFactors, Expr::value(left.0))
        .filter(account::Column::Id.eq(row.id))
        .filter(account::Column::Epoch.eq(row.epoch))
        .filter(account::Column::EnrolledFactors.eq(row.enrolled_factors))
        .exec(db)
        .await?;
    Ok(())
}
