//! Queries for attempts.

use sea_orm::sea_query::{
    Alias, Expr, ExprTrait, OnConflict, Order, Query, SelectStatement, UnionType,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::entity::{Column, Entity, Model};
use super::key::{Key, REFUSED, SourceRule, Taken};
use super::rule::{Attempt, Outcome, Rule};
use crate::base::clock::Timestamp;
use crate::base::transaction::is_unique_violation;
use crate::config::AttemptKind;

/// The records that the rule needs: the latest attempts of a subject and of what was typed, the
/// newest first. Also the failure of the source that is `limit` failures back.
#[derive(Default)]
pub(crate) struct Records {
    pub(crate) own: Vec<Attempt>,
    pub(crate) told: Vec<Attempt>,
    pub(crate) source_full_since: Option<Timestamp>,
}

/// What a row of the answer is about.
const OWN: i64 = 0;
const TOLD: i64 = 1;
const FROM_SOURCE: i64 = 2;

/// Reads all records in one statement.
pub(crate) async fn records<C: ConnectionTrait>(
    db: &C,
    own: &Key,
    told: Option<&Key>,
    rule: &Rule,
    source: Option<&SourceRule<'_>>,
    now: Timestamp,
) -> Result<Records, DbErr> {
    let latest = |about: i64, key: &Key, count: usize| {
        columns(about)
            .cond_where(of(key))
            .order_by(Column::Number, Order::Desc)
            .limit(count as u64)
            .to_owned()
    };
    // SQLite accepts an order and a limit only in a separate select.
    let mut statement = if rule.passes_over_successes() {
        let succeeded = Outcome::Succeeded.number();
        let mut not = latest(OWN, own, rule.reads());
        not.and_where(Column::Outcome.ne(succeeded));
        // The next number follows the last one, whatever its result was. So the last one is read
        // too.
        whole(not, "own").union(UnionType::All, whole(latest(OWN, own, 1), "last")).to_owned()
    } else {
        whole(latest(OWN, own, rule.reads()), "own")
    };
    if let Some(told) = told {
        // A visible count never contains a success.
        statement.union(UnionType::All, whole(latest(TOLD, told, rule.reads()), "told"));
    }
    if let Some(rule) = source {
        let nth = columns(FROM_SOURCE)
            .and_where(Column::Source.eq(rule.source))
            .and_where(Column::Outcome.eq(Outcome::Failed.number()))
            .and_where(Column::At.gte(now.minus(rule.window)))
            .order_by(Column::At, Order::Desc)
            .limit(1)
            .offset(u64::from(rule.limit - 1))
            .to_owned();
        statement.union(UnionType::All, whole(nth, "source"));
    }
    let mut found = Records::default();
    for row in db.query_all(&statement).await? {
        let about: i64 = row.try_get_by_index(0)?;
        let number: i64 = row.try_get_by_index(1)?;
        let outcome: i16 = row.try_get_by_index(2)?;
        let at: Timestamp = row.try_get_by_index(3)?;
        let one = Attempt { number, at, outcome: Outcome::from_number(outcome) };
        match about {
            OWN => found.own.push(one),
            TOLD => found.told.push(one),
            _ => found.source_full_since = Some(at),
        }
    }
    for attempts in [&mut found.own, &mut found.told] {
        attempts.sort_by_key(|one| std::cmp::Reverse(one.number));
        attempts.dedup_by_key(|one| one.number);
    }
    Ok(found)
}

fn about() -> Alias {
    Alias::new("about")
}

fn columns(what: i64) -> SelectStatement {
    Query::select()
        .expr_as(Expr::val(what), about())
        .columns([Column::Number, Column::Outcome, Column::At])
        .from(Entity)
        .to_owned()
}

fn whole(select: SelectStatement, alias: &'static str) -> SelectStatement {
    Query::select()
        .column(about())
        .columns([Column::Number, Column::Outcome, Column::At])
        .from_subquery(select, Alias::new(alias))
        .to_owned()
}

fn of(key: &Key) -> Condition {
    Condition::all()
        .add(Column::Subject.eq(key.subject.to_vec()))
        .add(Column::Kind.eq(key.kind.number()))
        .add(Column::Part.eq(key.part))
}

fn any<'a>(rows: impl IntoIterator<Item = &'a Taken>) -> Condition {
    rows.into_iter()
        .fold(Condition::any(), |any, row| any.add(of(&row.key).add(Column::Number.eq(row.number))))
}

fn model(row: &Taken, outcome: Outcome, source: Option<&str>, at: Timestamp) -> Model {
    Model {
        subject: row.key.subject.to_vec(),
        kind: row.key.kind.number(),
        part: row.key.part,
        number: row.number,
        outcome: outcome.number(),
        source: source.map(str::to_owned),
        at,
    }
}

/// Takes these numbers for a new attempt, all or none. Returns false if another attempt has taken
/// one of them. Only the first row contains the source. Otherwise the attempt would count twice for
/// it.
pub(crate) async fn reserve<C: ConnectionTrait>(
    db: &C,
    rows: &[Taken],
    outcome: Outcome,
    source: Option<&str>,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let models = rows.iter().enumerate().map(|(at, row)| {
        let source = source.filter(|_| at == 0);
        super::entity::ActiveModel::from(model(row, outcome, source, now)).reset_all()
    });
    match Entity::insert_many(models).exec_without_returning(db).await {
        Ok(_) => Ok(true),
        Err(error) if is_unique_violation(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes this row, whether or not it exists. It costs as much as a record, but adds none.
pub(crate) async fn touch<C: ConnectionTrait>(
    db: &C,
    row: &Taken,
    now: Timestamp,
) -> Result<(), DbErr> {
    let key = [Column::Subject, Column::Kind, Column::Part, Column::Number];
    let model = super::entity::ActiveModel::from(model(row, Outcome::Failed, None, now));
    Entity::insert(model.reset_all())
        .on_conflict(OnConflict::columns(key).update_column(Column::At).to_owned())
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Records that attempts failed which nobody will report. An attempt whose result was recorded in
/// the meantime keeps its result. Returns true if any of them was still pending.
pub(crate) async fn settle_pending<'a, C: ConnectionTrait>(
    db: &C,
    rows: impl IntoIterator<Item = &'a Taken>,
) -> Result<bool, DbErr> {
    let settled = Entity::update_many()
        .col_expr(Column::Outcome, Expr::value(Outcome::Failed.number()))
        .filter(any(rows))
        .filter(Column::Outcome.eq(Outcome::Pending.number()))
        .exec(db)
        .await?;
    Ok(settled.rows_affected > 0)
}

/// Records how an attempt ended.
pub(crate) async fn settle<'a, C: ConnectionTrait>(
    db: &C,
    rows: impl IntoIterator<Item = &'a Taken>,
    outcome: Outcome,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::Outcome, Expr::value(outcome.number()))
        .filter(any(rows))
        .exec(db)
        .await?;
    Ok(())
}

/// Removes an attempt that was not judged.
pub(crate) async fn withdraw<'a, C: ConnectionTrait>(
    db: &C,
    rows: impl IntoIterator<Item = &'a Taken>,
) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(any(rows))
        .filter(Column::Outcome.ne(Outcome::Succeeded.number()))
        .exec(db)
        .await?;
    Ok(())
}

/// Closes all windows of a subject for these kinds, like a success in each of them. Earlier
/// failures stay on record and count for their source.
pub(crate) async fn close<C: ConnectionTrait>(
    txn: &C,
    subject: [u8; 32],
    kinds: &[AttemptKind],
    now: Timestamp,
) -> Result<(), DbErr> {
    // With other names, because MySQL takes the column names of the table below as those of the new
    // row.
    let [of, what, apart, last] = ["of", "what", "apart", "last"].map(Alias::new);
    let lines = Query::select()
        .expr_as(Expr::col(Column::Subject), of.clone())
        .expr_as(Expr::col(Column::Kind), what.clone())
        .expr_as(Expr::col(Column::Part), apart.clone())
        .expr_as(Expr::col(Column::Number).max(), last.clone())
        .from(Entity)
        .and_where(Column::Subject.eq(subject.to_vec()))
        .and_where(Column::Kind.is_in(kinds.iter().map(|kind| kind.number())))
        .and_where(Column::Part.ne(REFUSED))
        .add_group_by([Column::Subject, Column::Kind, Column::Part].map(Expr::col))
        .to_owned();
    let rows = Query::select()
        .columns([of, what, apart])
        .expr(Expr::col(last.clone()).add(1i64))
        .expr(Expr::val(Outcome::Succeeded.number()))
        .expr(Expr::val(now))
        .from_subquery(lines, Alias::new("lines"))
        // Without a condition, SQLite parses the conflict clause that follows as part of a join.
        .and_where(Expr::col(last).gt(0i64))
        .to_owned();
    let key = [Column::Subject, Column::Kind, Column::Part, Column::Number];
    let mut insert = Query::insert();
    insert
        .into_table(Entity)
        .columns(key.into_iter().chain([Column::Outcome, Column::At]))
        // A new attempt may take this number at the same moment. It is not one of those to close.
        .on_conflict(OnConflict::columns(key).do_nothing_on(key).to_owned());
    insert.select_from(rows).map_err(|error| DbErr::Custom(error.to_string()))?;
    txn.execute(&insert).await?;
    Ok(())
}

/// Selects attempts to remove. A missing value is not a condition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Which {
    pub(crate) subjects: Option<Vec<[u8; 32]>>,
    pub(crate) kind: Option<i16>,
    pub(crate) until: Option<Timestamp>,
}

impl Which {
    fn condition(&self) -> Condition {
        Condition::all()
            .add_option(self.subjects.as_ref().map(|subjects| {
                Column::Subject.is_in(subjects.iter().map(|subject| subject.to_vec()))
            }))
            .add_option(self.kind.map(|kind| Column::Kind.eq(kind)))
            .add_option(self.until.map(|until| Column::At.lte(until)))
    }
}

/// Returns the time up to which `batch` of these attempts were made, or `None` if there are fewer.
pub(crate) async fn end_of_batch<C: ConnectionTrait>(
    db: &C,
    which: &Which,
    batch: u64,
) -> Result<Option<Timestamp>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::At)
        .filter(which.condition())
        .order_by_asc(Column::At)
        .offset(batch - 1)
        .limit(1)
        .into_tuple()
        .one(db)
        .await
}

/// Removes attempts and returns how many.
pub(crate) async fn remove<C: ConnectionTrait>(db: &C, which: &Which) -> Result<u64, DbErr> {
    Ok(Entity::delete_many().filter(which.condition()).exec(db).await?.rows_affected)
}

/// Removes about `most` of the oldest attempts from before a time. Returns how many.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    let old = Which { until: Some(before), ..Which::default() };
    let until = end_of_batch(db, &old, most).await?.unwrap_or(before);
    remove(db, &Which { until: Some(until), ..Which::default() }).await
}
