//! A connection as the server of the database knows it, so that another connection can end it there.
//!
//! A hook that is given up may be in the middle of a statement that waits for a lock. Whatever is
//! sent on its own connection queues behind that statement, `ROLLBACK` and `KILL` too. Only from
//! another connection can it be ended, and with it the locks of its transaction.
//!
//! Ended is the connection and not the statement: a request to cancel may arrive before the statement
//! does, and then it stops nothing. Limits set at the server (`statement_timeout`,
//! `max_statement_time`) were the alternative: they would also stop statements of the flow that come
//! after the hook, MySQL has none for statements that write, and on MySQL and MariaDB they outlive the
//! transaction.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement,
};

/// The name of a connection at its server.
#[derive(Debug, Clone)]
pub(super) struct ServerConnection {
    id: i64,
    /// Which server: behind one address there may be several, and each numbers its own.
    server: String,
}

impl ServerConnection {
    /// None on SQLite, where a connection has no server and nobody else writes.
    pub(super) async fn of(txn: &DatabaseTransaction) -> Result<Option<Self>, DbErr> {
        let backend = txn.get_database_backend();
        let text = match backend {
            DbBackend::Postgres => {
                "SELECT pg_backend_pid()::bigint, \
                 ((extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint)::text"
            }
            DbBackend::MySql => {
                "SELECT CAST(CONNECTION_ID() AS SIGNED), \
                 CAST(HEX(CONCAT(@@hostname, ':', @@port)) AS CHAR)"
            }
            _ => return Ok(None),
        };
        let row = txn.query_one_raw(Statement::from_string(backend, text)).await?;
        let row = row.ok_or_else(|| DbErr::Custom("a connection has no name".to_owned()))?;
        Ok(Some(Self { id: row.try_get_by_index(0)?, server: row.try_get_by_index(1)? }))
    }

    /// Ends it, from a connection of the pool.
    pub(super) async fn end(&self, pool: &DatabaseConnection) -> Result<(), DbErr> {
        let Self { id, server } = self;
        let backend = pool.get_database_backend();
        if backend == DbBackend::Postgres {
            let text = "SELECT pg_terminate_backend($1::integer) FROM (SELECT 1) AS one \
                WHERE ((extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint)::text = $2";
            let id = i32::try_from(*id).unwrap_or_default();
            let values = [id.into(), server.as_str().into()];
            let row =
                pool.query_one_raw(Statement::from_sql_and_values(backend, text, values)).await?;
            // False: it has ended by itself.
            return row
                .map(drop)
                .ok_or_else(|| DbErr::Custom("another server answered".to_owned()));
        }
        // One statement, because two of a pool may be two connections. On another server this names a
        // connection that there never is. `server` is hexadecimal.
        let text = format!(
            "KILL CONNECTION IF(HEX(CONCAT(@@hostname, ':', @@port)) = '{server}', {id}, 0)"
        );
        pool.execute_unprepared(&text).await.map(drop)
    }
}
