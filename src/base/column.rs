//! How a column is written in a condition.

use sea_orm::sea_query::{Expr, ExprTrait, IntoColumnRef};

/// Returns a number of a row for a condition, in a form for which no index is used.
///
/// It is for an UPDATE that names its row by the key and compares another column that has an index.
/// MySQL may find the row by that index when few rows match there. It then locks the index first and the
/// row second, and an UPDATE by the key locks them in the other order. Two requests for one row deadlock.
pub(crate) fn without_index(column: impl IntoColumnRef) -> Expr {
    Expr::col(column).add(0i64)
}
