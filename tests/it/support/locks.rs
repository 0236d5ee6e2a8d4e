//! Which index MariaDB may use to find a row that it locks.
//!
//! A statement that names its row by the primary key and also compares a column of another index may find
//! the row by that index. Then it locks the index first and the row second. A statement that finds the row
//! by its key locks them in the other order, so two requests for one row deadlock. Such a column is compared
//! in a form for which no index is used. This is checked for the statements of all tests, except those that a
//! test took out of the counter. Comparisons inside parentheses are not looked at.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::sync::OnceCell;

/// The columns of each index of each table. The primary key has the name `PRIMARY`.
pub type Indexes = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// Returns the indexes of the migrated databases.
pub async fn indexes(db: &DatabaseConnection) -> &'static Indexes {
    static INDEXES: OnceCell<Indexes> = OnceCell::const_new();
    INDEXES.get_or_init(|| read(db)).await
}

/// # Panics
/// Panics if one of these statements may lock its row by another index than its key.
pub fn check(indexes: &Indexes, statements: Vec<String>) {
    let statements: BTreeSet<String> = statements.into_iter().collect();
    for statement in &statements {
        if let Some(column) = other_way(indexes, statement) {
            panic!("it may find its row by the index of {column}: {statement}");
        }
    }
}

async fn read(db: &DatabaseConnection) -> Indexes {
    let query = "SELECT CAST(table_name AS CHAR), CAST(index_name AS CHAR), CAST(column_name AS CHAR) \
                 FROM information_schema.statistics WHERE table_schema = DATABASE() \
                 ORDER BY table_name, index_name, seq_in_index";
    let statement = sea_orm::Statement::from_string(db.get_database_backend(), query);
    let mut indexes = Indexes::new();
    for row in db.query_all_raw(statement).await.expect("it lists its indexes") {
        let text = |at| row.try_get_by_index::<String>(at).expect("a name");
        indexes.entry(text(0)).or_default().entry(text(1)).or_default().push(text(2));
    }
    assert!(!indexes.is_empty());
    indexes
}

/// Returns the column by whose index a statement may find the row that its key names.
fn other_way(indexes: &Indexes, statement: &str) -> Option<String> {
    let locks = statement.starts_with("UPDATE ")
        || statement.starts_with("DELETE ")
        || statement.starts_with("SELECT ") && statement.ends_with(" FOR UPDATE");
    let after = if statement.starts_with("UPDATE ") { "UPDATE `" } else { " FROM `" };
    let (_, table) = statement.split_once(after)?;
    let indexes = indexes.get(table.split('`').next()?)?;
    let (_, condition) = statement.split_once(" WHERE ")?;
    if !locks {
        return None;
    }
    let (mut equal, mut ranges) = (BTreeSet::new(), BTreeSet::new());
    for part in parts(condition.trim_end_matches(" FOR UPDATE")) {
        let mut words = part.split(' ');
        let column = words.next()?.trim_matches('`').rsplit("`.`").next()?.to_owned();
        match words.next() {
            Some("=") => equal.insert(column),
            Some("<" | "<=" | ">" | ">=") => ranges.insert(column),
            _ => continue,
        };
    }
    if !indexes.get("PRIMARY")?.iter().all(|column| equal.contains(column)) {
        return None;
    }
    ranges.into_iter().find(|range| {
        indexes.iter().any(|(name, columns)| {
            let mut columns = columns.iter().skip_while(|column| equal.contains(*column));
            name != "PRIMARY" && columns.next() == Some(range)
        })
    })
}

/// The parts of a condition that must all be true.
fn parts(condition: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, letter) in condition.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 && condition[at..].starts_with(" AND ") {
            parts.push(&condition[from..at]);
            from = at + " AND ".len();
        }
    }
    parts.push(&condition[from..]);
    parts
}

#[test]
fn a_statement_that_may_find_its_row_in_two_ways_is_found() {
    let columns = |columns: &[&str]| columns.iter().map(|column| (*column).to_owned()).collect();
    let of_row = BTreeMap::from([
        ("PRIMARY".to_owned(), columns(&["id"])),
        ("by_time".to_owned(), columns(&["at"])),
        ("by_kind".to_owned(), columns(&["kind", "until"])),
    ]);
    let indexes = Indexes::from([("auth_row".to_owned(), of_row)]);
    let found = |statement: &str| other_way(&indexes, statement);
    let at = Some("at".to_owned());
    assert_eq!(found("UPDATE `auth_row` SET `n` = ? WHERE `id` = ? AND `at` <= ?"), at);
    assert_eq!(
        found("DELETE FROM `auth_row` WHERE `auth_row`.`at` > ? AND `auth_row`.`id` = ?"),
        at
    );
    assert_eq!(found("SELECT `id` FROM `auth_row` WHERE `id` = ? AND `at` > ? FOR UPDATE"), at);
    let both = "UPDATE `auth_row` SET `n` = ? WHERE `id` = ? AND `kind` = ? AND `until` < ?";
    assert_eq!(found(both), Some("until".to_owned()));
    for fine in [
        "UPDATE `auth_row` SET `at` = ? WHERE `id` = ? AND `at` + ? <= ?",
        "UPDATE `auth_row` SET `n` = ? WHERE `id` = ? AND `until` < ?",
        "UPDATE `auth_row` SET `n` = ? WHERE `id` = ? AND (`n` < ? OR `at` < ?)",
        "DELETE FROM `auth_row` WHERE `at` < ?",
        "SELECT `id` FROM `auth_row` WHERE `id` = ? AND `at` > ?",
        "UPDATE `other` SET `n` = ? WHERE `id` = ? AND `at` <= ?",
    ] {
        assert_eq!(found(fine), None, "{fine}");
    }
}
