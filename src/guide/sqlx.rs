//! Your service uses sqlx: one pool, your own migrations, and no migration crate.
//!
//! portcullis talks to the database through sea-orm, and sea-orm uses sqlx. So both sides can share one pool and one
//! version of sqlx (0.9). Your code does not need sea-orm, except for rows that you write in a transaction of
//! portcullis. `examples/sqlx-host` is a complete service with `query_as!`, chrono and PostgreSQL.
//!
//! # Why not the migration crate
//!
//! `portcullis-migration` depends on `sea-orm-migration`, which turns on the default features of
//! sea-orm. One of them is `sqlx/time`. With it, `query_as!` expects types of the crate `time` for
//! times. If your structs have `chrono::DateTime<Utc>`, they no longer compile. portcullis itself
//! does not turn this feature on. So use the SQL files. If your service uses `time`, or no macros,
//! you can use the crate.
//!
//! # Set-up
//!
//! ```toml
//! [dependencies]
//! portcullis = { path = "../portcullis" }
//! sea-orm = { version = "2", default-features = false, features = ["runtime-tokio", "sqlx-postgres"] }
//! sqlx = { version = "0.9", default-features = false, features = ["runtime-tokio", "postgres", "macros", "migrate", "chrono", "uuid"] }
//! ```
//!
//! Copy the files for your database into your folder of migrations. Their names decide the order in
//! which they are applied:
//!
//! ```console
//! $ for file in ../portcullis/migration/sql/postgres/*.sql; do
//! >     name=$(basename "$file"); cp "$file" "migrations/2026010100${name%%_*}_auth_${name#*_}"
//! > done
//! ```
//!
//! The files of portcullis come before those of your tables that point to them. If you number your files from
//! `0001`, number the copies too, and put them first.
//!
//! A new version of portcullis may have new files. Give the copies names that sort after your
//! latest migration. Never change a file that was applied, because sqlx compares checksums.
//!
//! ```ignore
//! let pool = PgPoolOptions::new()
//!     .max_connections(10)
//!     // A ping before each use doubles the cost of a request. A connection that was idle for long
//!     // may be dead.
//!     .test_before_acquire(false)
//!     .before_acquire(|connection, meta| {
//!         Box::pin(async move {
//!             if meta.idle_for > Duration::from_secs(30) {
//!                 sqlx::Connection::ping(connection).await?;
//!             }
//!             Ok(true)
//!         })
//!     })
//!     .connect(url)
//!     .await?;
//! // sqlx has its own lock, so several nodes may start together.
//! sqlx::migrate!().run(&pool).await?;
//! let db = SqlxPostgresConnector::from_sqlx_postgres_pool(pool.clone());
//! let auth = Portcullis::builder(db).secret(secret).build()?;
//! // Fails at once if an SQL file was forgotten.
//! auth.check_tables().await?;
//! ```
//!
//! # Your rows next to the accounts
//!
//! | you want | do |
//! |---|---|
//! | the account's id in your table | a column `uuid` with a foreign key to `auth_account (id)` |
//! | the account in a handler | take [`Account`](crate::Account), and bind `account.id().as_uuid()` |
//! | the names of accounts in your own list | join `auth_account`: `username`, `email` and `phone` are the main names as they were typed |
//! | an account and your row in one transaction | [`auth.begin()`](crate::Portcullis::begin), and your row by a statement of sea-orm |
//! | your row with each registration | [`Hooks::after_register`](crate::hook::Hooks::after_register) gets the transaction |
//!
//! Delete old rows in the background, as [`housekeeping`](super::housekeeping) describes.
//!
//! Only read the tables `auth_*`. Change them through the methods, which also end sessions, record events and
//! notify owners.
//!
//! sea-orm does not give access to the sqlx connection inside its transaction. So `query!` cannot
//! check the statements of such a transaction:
//!
//! ```no_run
//! use portcullis::account::NewAccount;
//! use portcullis::{Fault, Portcullis, Rejection};
//! use sea_orm::{ConnectionTrait, DbBackend, Statement};
//!
//! async fn join(auth: &Portcullis, name: String, pen_name: String) -> Result<(), Rejection> {
//!     let txn = auth.begin().await?;
//!     let account = auth.accounts().within(&txn).create(NewAccount::username(name)).await?;
//!     let author = Statement::from_sql_and_values(
//!         DbBackend::Postgres,
//!         "INSERT INTO author (account_id, pen_name) VALUES ($1, $2)",
//!         [account.id().as_uuid().into(), pen_name.into()],
//!     );
//!     txn.execute_raw(author).await.map_err(Fault::from)?;
//!     txn.commit().await.map_err(Fault::from)?;
//!     Ok(())
//! }
//! ```
//!
//! If an early return drops the transaction, it is rolled back.
//!
//! # On SQLite, MySQL or MariaDB
//!
//! The example is for PostgreSQL. These parts are different on other databases. The same files and types are for MySQL
//! and MariaDB.
//!
//! | | PostgreSQL | SQLite | MySQL, MariaDB |
//! |---|---|---|---|
//! | folder in `migration/sql` | `postgres` | `sqlite` | `mysql` |
//! | features of sea-orm and sqlx | `sqlx-postgres`, `postgres` | `sqlx-sqlite`, `sqlite` | `sqlx-mysql`, `mysql` |
//! | from the pool to sea-orm | `SqlxPostgresConnector::from_sqlx_postgres_pool` | `SqlxSqliteConnector::from_sqlx_sqlite_pool` | `SqlxMySqlConnector::from_sqlx_mysql_pool` |
//! | `DbBackend` of a statement | `Postgres` | `Sqlite` | `MySql` |
//! | placeholders | `$1` | `?` or `$1` | `?` |
//! | your column for an account's id | `uuid` | `uuid_text` or `blob` | `binary(16)` |
//! | what `query_as!` reads from an id | `Uuid` | `String`, which fails; write `id AS "id: Uuid"` | `Vec<u8>`; write ``id AS `id: Uuid` `` |
//! | `sqlx::migrate!` on several nodes at once | waits for a lock | has no lock: run it on one node first | waits for a lock |
//! | a migration that fails | is undone | is undone | stays half done |
//!
//! - Always bind and read the 16 bytes of an id (`uuid::Uuid`), never its text. Text with hyphens
//!   matches no row, because every database except PostgreSQL compares bytes.
//! - On SQLite, turn on the write-ahead log, as `examples/quickstart` does. Otherwise readers wait
//!   for writers. sqlx checks foreign keys by default.
//! - On MySQL and MariaDB, text in `auth_*` is compared byte by byte (`utf8mb4_bin`). `WHERE username = ?` finds
//!   only the same spelling. Look for a name with
//!   [`find_by_login`](crate::account::Accounts::find_by_login), and join over the id.
//! - `RETURNING` does not exist on MySQL. On MariaDB it works with `INSERT` and `DELETE`.
//!
//! # Tests
//!
//! See [tests without the migration crate](super::testing#without-the-migration-crate).
//!
//! # Types
//!
//! | column | PostgreSQL | MySQL, MariaDB | SQLite | in Rust |
//! |---|---|---|---|---|
//! | ids | `uuid` | `binary(16)` | `uuid_text` (16 bytes) | `uuid::Uuid` |
//! | times (`…_at`) | `bigint` | `bigint` | `integer` | `i64`, milliseconds since 1970 UTC |
//! | digests | `bytea` | `binary(32)` | `blob` | `Vec<u8>` |
//!
//! `DateTime::from_timestamp_millis` of chrono reads such a time.
