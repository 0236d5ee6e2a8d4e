//! A query that checks whether tables and columns exist.

use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ConnectionTrait, DbErr};

/// Reads these columns, but no row. Without a table, it only checks that the database answers.
pub(super) async fn read_nothing<C: ConnectionTrait>(
    db: &C,
    table: Option<&str>,
    columns: &[&str],
) -> Result<(), DbErr> {
    let mut query = Query::select();
    if columns.is_empty() {
        query.expr(Expr::val(1));
    }
    if let Some(table) = table {
        // The table's name is needed: SQLite reads an unknown quoted name as a text.
        let column = |&column: &&str| (table.to_owned(), column.to_owned());
        query.columns(columns.iter().map(column));
        query.from(table.to_owned()).and_where(Expr::val(1).eq(0));
    }
    db.query_one(&query).await?;
    Ok(())
}
