//! How to test your own service.
//!
//! Use the feature `test-util` only in tests. It adds:
//!
//! - a clock that you can advance;
//! - a notifier that records messages;
//! - cheap password hashing;
//! - the [`test_kit`](crate::test_kit): signed-in clients, a counter of statements, and the table of who may
//!   call what.
//!
//! ```toml
//! [dev-dependencies]
//! portcullis = { path = "../portcullis", features = ["test-util"] }
//! ```
//!
//! # A test instance
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use portcullis::test_kit::TestInstance;
//! use portcullis_migration::{Migrator, MigratorTrait};
//!
//! let mut options = sea_orm::ConnectOptions::new("sqlite::memory:");
//! options.max_connections(1); // each connection would have its own in-memory database
//! let db = sea_orm::Database::connect(options).await?;
//! Migrator::up(&db, None).await?;
//!
//! let TestInstance { auth, clock, notifier, .. } = TestInstance::new(db);
//! // Makes a session idle for a week, without waiting.
//! clock.advance(Duration::from_secs(7 * 24 * 60 * 60));
//! auth.outbox().deliver_due().await?; // delivers the messages in the outbox
//! assert!(notifier.sent().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! [`TestInstance::with`] takes a closure for the configuration, so that it can match your service. You can also test
//! the instance of your service itself. The rest of this page works with every instance.
//!
//! # Without the migration crate
//!
//! A service [on sqlx](super::sqlx) has the SQL files of portcullis in its own folder `migrations`. In its tests
//! `#[sqlx::test]` creates a database for each test and applies this folder:
//!
//! ```no_run
//! use portcullis::test_kit::TestInstance;
//! use sea_orm::SqlxPostgresConnector;
//! use sea_orm::sqlx::PgPool;
//!
//! // With `#[sqlx::test]`, which needs DATABASE_URL, except on SQLite.
//! async fn a_reader_may_not_write(pool: PgPool) {
//!     let db = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
//!     let TestInstance { auth, .. } = TestInstance::new(db);
//!     auth.check_tables().await.expect("no file was forgotten");
//!     // Build your router with the pool and `auth`, and send requests to it.
//! }
//! ```
//!
//! For another test harness, call `sqlx::migrate!().run(&pool)` first. On SQLite and MySQL, the
//! [connector](super::sqlx#on-sqlite-mysql-or-mariadb) has another name. An in-memory SQLite database needs a pool with
//! one connection, as above.
//!
//! # A protected route
//!
//! ```no_run
//! # async fn example(
//! #     auth: portcullis::Portcullis,
//! #     app: axum::Router,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use portcullis::Factor;
//! use portcullis::account::NewAccount;
//!
//! let alice = auth.accounts().create(NewAccount::username("alice")).await?;
//! auth.roles().grant(alice.id(), "editor").await?;
//! let alice = auth.test().login_as(&alice).with_factors([(Factor::Totp, Duration::from_secs(60))]);
//!
//! assert_eq!(alice.get("/docs").send(&app).await.status(), 200);
//! let answer = alice.post("/users").json(&"bob").send(&app).await;
//! assert_eq!((answer.status().as_u16(), &*answer.code()), (403, "denied"));
//! # Ok(())
//! # }
//! ```
//!
//! The client uses a real session in the database. Its requests pass through all layers and guards of the application,
//! which can be any tower service. The client sends the same headers as a browser on a page of the same origin, and
//! updates its cookie from the answers. There are more kinds of clients:
//!
//! | method | client |
//! |---|---|
//! | [`nobody`] | not signed in, until it posts to a login route |
//! | [`visitor`] | has an anonymous session |
//! | [`at_stage`] | an unfinished sign-in, which still needs its second factor, a new password or the set-up of a second factor |
//! | [`limited_to`] | has a session with a ceiling |
//!
//! To test the real flow of an authenticator, read the member `secret` in the answer of `POST /totp`. It is the seed as
//! Base32 (RFC 4648) without padding. Compute the codes from it with the default settings of RFC 6238: HMAC-SHA-1, six
//! digits, 30 seconds. Use the time of the test clock. Each code works once, so advance the clock by 30 seconds before
//! the next one. Mailed codes are in the messages of `notifier`, after `auth.outbox().deliver_due()`.
//!
//! # Who may call what
//!
//! If your routes are in a [guarded router](super::guards#the-guarded-router), one test can call
//! all of them as every kind of user. These are: nobody, a visitor, unfinished sign-ins, an account
//! without a role, each role, and a superuser. Accounts are tested with different factors. An account
//! that must have a second factor gets one. The result is a table in a file. So a reviewer notices when a change of a route or a role gives
//! someone access:
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, app: axum::Router) {
//! auth.test().matrix(&app).await.check("tests/access.txt");
//! # }
//! ```
//!
//! ```text
//! A  nobody
//! B  no role
//! C  role editor: no fresh factor
//! D  role editor: any factor fresh
//! E  role guest
//!
//! method  path          asks for                                A        B    C        D    E
//! GET     /docs/{id}    permission(doc:read) on {id}            sign in  no   yes      yes  no
//! GET     /docs/{id=1}  permission(doc:read) on {id}            sign in  no   yes      yes  yes
//! GET     /export       all(permission(doc:read), within(10s))  sign in  no   step up  yes  no
//! ```
//!
//! `PORTCULLIS_TEST_UPDATE=1 cargo test` updates the file. The test runs the real guards, with real sessions, but
//! not the handlers. So the table does not include extractors in the arguments of a handler.
//!
//! # Number of statements and hashes
//!
//! [`StatementCounter`] counts the statements of a connection. So a test can check that a request needs only one.
//! [`Portcullis::password_hashes`](crate::Portcullis::password_hashes) counts hashes.
//!
//! [`TestInstance::with`]: crate::test_kit::TestInstance::with
//! [`StatementCounter`]: crate::test_kit::StatementCounter
//! [`nobody`]: crate::test_kit::TestKit::nobody
//! [`visitor`]: crate::test_kit::TestKit::visitor
//! [`at_stage`]: crate::test_kit::TestLogin::at_stage
//! [`limited_to`]: crate::test_kit::TestLogin::limited_to
