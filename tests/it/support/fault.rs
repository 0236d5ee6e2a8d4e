//! Errors of databases: errors that a driver would report, and errors that a driver did report.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use sea_orm::sqlx::error::{DatabaseError, ErrorKind};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, RuntimeErr, TransactionTrait, sqlx};

use super::database::connect;
use super::{Backend, Probe};

/// The content of an error that a driver reports.
#[derive(Debug)]
struct Reported {
    code: &'static str,
    text: &'static str,
}

impl fmt::Display for Reported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl Error for Reported {}

impl DatabaseError for Reported {
    fn message(&self) -> &str {
        self.text
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.into())
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// Returns an error with this code, as a driver reports it.
pub fn reported(code: &'static str, text: &'static str) -> DbErr {
    let error = sqlx::Error::Database(Box::new(Reported { code, text }));
    DbErr::Query(RuntimeErr::SqlxError(Arc::new(error)))
}

/// Causes conflicts between transactions, and returns the errors that this database really reports.
/// If possible, their language is not English.
pub async fn real_conflicts(probe: &Probe) -> Vec<(&'static str, DbErr)> {
    let url = &probe.database.url;
    probe.execute("CREATE TABLE app_thing (id INTEGER PRIMARY KEY, n INTEGER)").await;
    probe.execute("INSERT INTO app_thing VALUES (1, 0), (2, 0)").await;
    let (one, other) = (connect(url).await, connect(url).await);
    let mut met = Vec::new();
    match probe.database.backend {
        Backend::Sqlite => {
            for db in [&one, &other] {
                // The waiting time does not matter here.
                db.execute_unprepared("PRAGMA busy_timeout = 0").await.expect("it is set");
            }
            // A snapshot that is too old to write.
            let first = one.begin().await.expect("it opens");
            first
                .query_all_raw(statement(probe, "SELECT n FROM app_thing"))
                .await
                .expect("it is read");
            other.execute_unprepared("UPDATE app_thing SET n = 1").await.expect("it is written");
            met.push(("snapshot", failed(&first, "UPDATE app_thing SET n = 2").await));
            first.rollback().await.expect("it ends");
            let holder = one.begin().await.expect("it opens");
            holder.execute_unprepared("UPDATE app_thing SET n = 3").await.expect("it is written");
            let second = other.begin().await.expect("it opens");
            second.execute_unprepared("PRAGMA busy_timeout = 0").await.expect("it is set");
            met.push(("busy", failed(&second, "UPDATE app_thing SET n = 4").await));
        }
        Backend::Postgres | Backend::MySql => {
            let postgres = probe.database.backend == Backend::Postgres;
            let impatient = if postgres {
                "SET LOCAL lock_timeout = '50ms'"
            } else {
                "SET innodb_lock_wait_timeout = 1, lc_messages = 'de_DE'"
            };
            let holder = one.begin().await.expect("it opens");
            holder
                .execute_unprepared("UPDATE app_thing SET n = 1 WHERE id = 1")
                .await
                .expect("it is written");
            let waiter = other.begin().await.expect("it opens");
            waiter.execute_unprepared(impatient).await.expect("it is set");
            met.push(("lock", failed(&waiter, "UPDATE app_thing SET n = 2 WHERE id = 1").await));
            waiter.rollback().await.expect("it ends");
            holder.rollback().await.expect("it ends");

            let (first, second) =
                (one.begin().await.expect("it opens"), other.begin().await.expect("it opens"));
            for (txn, id) in [(&first, 1), (&second, 2)] {
                if !postgres {
                    let patient = "SET innodb_lock_wait_timeout = 50, lc_messages = 'de_DE'";
                    txn.execute_unprepared(patient).await.expect("it is set");
                }
                let held = format!("UPDATE app_thing SET n = 1 WHERE id = {id}");
                txn.execute_unprepared(&held).await.expect("it is written");
            }
            let crossed = async {
                tokio::join!(
                    crossing(first, "UPDATE app_thing SET n = 1 WHERE id = 2"),
                    crossing(second, "UPDATE app_thing SET n = 1 WHERE id = 1"),
                )
            };
            let (a, b) = crossed.await;
            met.push(("deadlock", a.or(b).expect("one of two is chosen")));

            if postgres {
                let serializable = Some(sea_orm::IsolationLevel::Serializable);
                let first = one.begin_with_config(serializable, None).await.expect("it opens");
                first
                    .query_all_raw(statement(probe, "SELECT n FROM app_thing"))
                    .await
                    .expect("it is read");
                other
                    .execute_unprepared("UPDATE app_thing SET n = n + 1")
                    .await
                    .expect("it is written");
                met.push(("serialization", failed(&first, "UPDATE app_thing SET n = 9").await));
                let german =
                    "DO $$ BEGIN RAISE EXCEPTION 'Verklemmung' USING ERRCODE = '40P01'; END $$";
                let second = other.begin().await.expect("it opens");
                met.push(("in other words", failed(&second, german).await));
            }
        }
    }
    probe.execute("DROP TABLE app_thing").await;
    met
}

fn statement(probe: &Probe, text: &str) -> sea_orm::Statement {
    sea_orm::Statement::from_string(probe.db.get_database_backend(), text)
}

async fn failed(txn: &DatabaseTransaction, text: &str) -> DbErr {
    txn.execute_unprepared(text).await.err().unwrap_or_else(|| panic!("{text} meets nobody"))
}

/// Runs a statement that may be chosen as the victim of a deadlock, and returns the error. The
/// transaction ends in any case, so that the other one continues.
async fn crossing(txn: DatabaseTransaction, text: &str) -> Option<DbErr> {
    let error = txn.execute_unprepared(text).await.err();
    txn.rollback().await.expect("it ends");
    error
}

/// Runs a test while the database refuses every event of this kind.
pub async fn without_events(probe: &Probe, kind: &str, test: impl Future<Output = ()>) {
    let (refuse, allow) = match probe.database.backend {
        Backend::Sqlite => (
            format!(
                "CREATE TRIGGER no_event BEFORE INSERT ON auth_event WHEN NEW.kind = '{kind}' \
                 BEGIN SELECT RAISE(ABORT, 'there is no room'); END"
            ),
            "DROP TRIGGER no_event",
        ),
        _ => (
            format!("ALTER TABLE auth_event ADD CONSTRAINT no_event CHECK (kind <> '{kind}')"),
            "ALTER TABLE auth_event DROP CONSTRAINT no_event",
        ),
    };
    probe.execute(&refuse).await;
    test.await;
    probe.execute(allow).await;
}
