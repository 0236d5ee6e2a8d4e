//! PgBouncer and other connection poolers for PostgreSQL.
//!
//! sqlx names the statements that it prepares, and uses them again on the same connection. A pooler
//! may give a client another server connection, where these statements do not exist.
//!
//! | pool mode | PgBouncer | works |
//! |---|---|---|
//! | `session` | every version | yes |
//! | `transaction` | 1.21 or newer, with `max_prepared_statements` above 0 | yes |
//! | `transaction` | older, or `max_prepared_statements = 0` | **no** |
//! | `statement` | every version | no: transactions are impossible |
//!
//! Never use the third row. There, two clients use the same name for different statements on one
//! server connection. Most requests then get 503, with `prepared statement "sqlx_s_1" does not
//! exist` or `already exists` in the log. A client can even run another client's statement. sqlx's
//! `statement-cache-capacity=0` does not help, because sqlx still names its statements.
//!
//! # A configuration
//!
//! ```ini
#![doc = include_str!("pgbouncer/pgbouncer.ini")]
//! ```
//!
//! - `ignore_startup_parameters`: sqlx sets `extra_float_digits` when it connects. Without this line PgBouncer
//!   refuses the connection.
//! - `max_prepared_statements`: above 0. If the number is higher than the number of different
//!   statements in your service, no statement is prepared twice. For versions before 1.21, leave
//!   this line out and set `pool_mode = session`.
//! - `default_pool_size`: more than `database.writers` of all nodes together, so that a read never waits for a
//!   writer. If a hook hangs, portcullis ends its connection from *another* connection of the pool.
//! - `query_wait_timeout`: shorter than `database.timeout`, so that an overloaded pool causes an
//!   ordinary 503.
//!
//! Add your own authentication, TLS and limits. Debian 12 has PgBouncer 1.18, so use `session`
//! there.
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
//! In transaction mode, the effect of a `SET` stays on the server connection and affects other
//! clients. Set limits for the role instead, as described in [waits for
//! locks](super::deployment#waits-for-locks):
//!
//! ```sql
//! ALTER ROLE app SET lock_timeout = '4s';
//! ```
//!
//! Portcullis does not use `SET`, `LISTEN`, temporary tables or session locks. Its migrations hold
//! their lock in one transaction, so they work through PgBouncer too. Migrations of your
//! application may need a session (`sqlx::migrate!` does). Run those directly against PostgreSQL.
//!
//! # What was tested
//!
//! Tests start PgBouncer with the configuration above. Many clients then sign in, write and read
//! at the same time, an import and an erasure run, and several nodes migrate an empty database
//! together. With a version before 1.21, the tests use `session` instead. In addition, some
//! tests of this repository ran through PgBouncer once, by hand:
//!
//! | PgBouncer | mode | result |
//! |---|---|---|
//! | 1.18.0 (Debian 12) | `session` | the test above passes |
//! | 1.25.2 | `transaction`, `max_prepared_statements = 200`, a pool of 4 | the tests of sign-in, nodes, races, hooks and rotation passed. Two tests of hooks that hang failed, because they hold all four server connections and need one more. Another could not drop its database, because PgBouncer was connected to it |
//! | 1.25.2 | `transaction`, `max_prepared_statements = 0` | every test failed at once: `prepared statement "sqlx_s_1" already exists` |
//! | 1.18.0 | `transaction` | the same |
//!
//! Other poolers (Supavisor, pgcat, RDS Proxy) were not tested. Check in their manuals whether they
//! support named prepared statements in transaction mode.
