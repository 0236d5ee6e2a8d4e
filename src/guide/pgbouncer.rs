//! PgBouncer and other connection poolers for PostgreSQL.
//!
//! sqlx names the statements that it prepares, and uses them again on the same connection. So what counts is
//! whether the pooler gives a client the same server connection again.
//!
//! | pool mode | PgBouncer | works |
//! |---|---|---|
//! | `session` | every version | yes |
//! | `transaction` | 1.21 or newer, with `max_prepared_statements` above 0 | yes |
//! | `transaction` | older, or `max_prepared_statements = 0` | **no** |
//! | `statement` | every version | no: transactions are impossible |
//!
//! The third row fails badly. Two clients use the same name for different statements on one server connection.
//! Most requests then answer 503, with `prepared statement "sqlx_s_1" does not exist` or `already exists` in
//! the log. A client can even run the statement of another one. sqlx's `statement-cache-capacity=0` does not
//! help: sqlx still names its statements.
//!
//! # A configuration
//!
//! ```ini
#![doc = include_str!("pgbouncer/pgbouncer.ini")]
//! ```
//!
//! - `ignore_startup_parameters`: sqlx sets `extra_float_digits` when it connects. Without this line PgBouncer
//!   refuses the connection.
//! - `max_prepared_statements`: above 0. With a number above the different statements of your service, none has to
//!   be prepared twice. Leave the line out for a version before 1.21, and set `pool_mode = session`.
//! - `default_pool_size`: more than `database.writers` of all nodes together, so that a read never waits for a
//!   writer. If a hook hangs, portcullis ends its connection from *another* connection of the pool.
//! - `query_wait_timeout`: shorter than `database.timeout`, so that an overloaded pool is an ordinary 503.
//!
//! Authentication, TLS and limits of your own come in addition. On Debian 12 PgBouncer is 1.18, so there use
//! `session`.
//!
//! In the service:
//!
//! ```no_run
//! # async fn example() -> Result<(), sea_orm::DbErr> {
//! use std::time::Duration;
//!
//! let mut options = sea_orm::ConnectOptions::new("postgres://app@127.0.0.1:6432/app");
//! options
//!     .max_connections(20)
//!     .test_before_acquire_if_idle_for(Duration::from_secs(30))
//!     .sqlx_logging(false);
//! let db = sea_orm::Database::connect(options).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Settings of a session
//!
//! In transaction mode a `SET` of yours stays at the server connection and reaches other clients. Set limits
//! at the role instead, as the page about [waits for locks](super::deployment#waits-for-locks) says:
//!
//! ```sql
//! ALTER ROLE app SET lock_timeout = '4s';
//! ```
//!
//! Portcullis sets nothing in a session. It uses no `LISTEN`, no temporary tables and no locks of a session. Its
//! migrations hold their lock in one transaction, so they work through PgBouncer too. The migrations of your
//! application may need a session (`sqlx::migrate!` does): run them directly against PostgreSQL.
//!
//! # What was tried
//!
//! A test starts PgBouncer with the configuration above, and signs in, writes and reads with many clients at
//! once. With a version before 1.21 it uses `session` instead. In addition, parts of the tests of this repository
//! ran through PgBouncer once, by hand:
//!
//! | PgBouncer | mode | result |
//! |---|---|---|
//! | 1.18.0 (Debian 12) | `session` | the test above passes |
//! | 1.25.2 | `transaction`, `max_prepared_statements = 200`, a pool of 4 | the tests of sign-in, nodes, races, hooks and rotation passed. Two tests of hooks that hang failed, because they hold all four server connections and need one more. Another could not drop its database, because PgBouncer was connected to it |
//! | 1.25.2 | `transaction`, `max_prepared_statements = 0` | every test failed at once: `prepared statement "sqlx_s_1" already exists` |
//! | 1.18.0 | `transaction` | the same |
//!
//! Other poolers (Supavisor, pgcat, RDS Proxy) were not tried. Ask their manuals for named prepared statements
//! in transaction mode.
