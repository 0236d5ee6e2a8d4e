//! A connection as the database server knows it, so that another connection can end it there.
//!
//! A hook that exceeded its limit may be in the middle of a statement that waits for a lock.
//! Anything that is sent on its own connection queues behind that statement, including `ROLLBACK`
//! and `KILL`. Only another connection can end it and release the locks of its transaction.
//!
//! The connection is ended, not the statement: a request to cancel may arrive before the statement
//! does, and then it stops nothing. It may also arrive after it. Then it stops the next statement,
//! which can be one of another request.
//!
//! Without this, a hook that waits for a lock would keep its connection and its own locks until
//! that lock is free. Other requests would queue behind them. A client could cause this on purpose,
//! with a few requests whose hooks need the same row.
//!
//! Limits set at the server (`statement_timeout`, `max_statement_time`) were the alternative. They
//! would also stop statements of the flow that come after the hook. MySQL has none for statements
//! that write. On MySQL and MariaDB they stay active after the transaction.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement,
};

/// The identifier of a connection at its server.
#[derive(Debug, Clone)]
pub(super) struct ServerConnection {
    id: i64,
    /// Identifies the server. There may be several servers behind one address, and each one numbers
    /// its own connections.
    server: String,
}

impl ServerConnection {
    /// Asks for the identifier. Returns `None` on SQLite, where a connection has no server and
    /// nobody else writes. It must be asked before the hook runs: while a statement is running,
    /// nothing else can be asked on its connection.
    pub(super) async fn of(txn: &DatabaseTransaction) -> Result<Option<Self>, DbErr> {
        let backend = txn.get_database_backend();
        let text = match backend {
            // The start time of the server, in microseconds. Two servers behind one address do not
            // start at the same microsecond, and a server that was restarted is another one.
            DbBackend::Postgres => {
                "SELECT pg_backend_pid()::bigint, \
                 ((extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint)::text"
            }
            // Here the numbers of connections increase and are not used again while the server
            // runs, so its name and port are enough.
            DbBackend::MySql => {
                "SELECT CAST(CONNECTION_ID() AS SIGNED), \
                 CAST(HEX(CONCAT(@@hostname, ':', @@port)) AS CHAR)"
            }
            _ => return Ok(None),
        };
        let row = txn.query_one_raw(Statement::from_string(backend, text)).await?;
        let row = row.ok_or_else(|| {
            DbErr::Custom("the database did not return the id of the connection".to_owned())
        })?;
        Ok(Some(Self { id: row.try_get_by_index(0)?, server: row.try_get_by_index(1)? }))
    }

    /// Ends this connection, from a connection of the pool. Both servers let a user end their own
    /// connections, so the database user needs no further right.
    pub(super) async fn end(&self, pool: &DatabaseConnection) -> Result<(), DbErr> {
        let Self { id, server } = self;
        let backend = pool.get_database_backend();
        if backend == DbBackend::Postgres {
            // The server checks the condition before it calls the function. So on another server
            // nothing is ended, and there is no row.
            let text = "SELECT pg_terminate_backend($1::integer) FROM (SELECT 1) AS one \
                WHERE ((extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint)::text = $2";
            // The id of a process is an `i32`. 0 is never one, so it ends nothing.
            let id = i32::try_from(*id).unwrap_or_default();
            let values = [id.into(), server.as_str().into()];
            let row =
                pool.query_one_raw(Statement::from_sql_and_values(backend, text, values)).await?;
            // A row with `false` means that the connection has already ended.
            return row
                .map(drop)
                .ok_or_else(|| DbErr::Custom("another server answered".to_owned()));
        }
        // One statement, because two statements of a pool may use two connections. On another
        // server this names connection 0, which never exists. `server` is hexadecimal, so it needs
        // no escaping.
        let text = format!(
            "KILL CONNECTION IF(HEX(CONCAT(@@hostname, ':', @@port)) = '{server}', {id}, 0)"
        );
        // Not prepared: the time limit of the caller may drop this, and the driver loses its place
        // in the stream only if it is dropped while it prepares a statement.
        pool.execute_unprepared(&text).await.map(drop)
    }
}
