//! Tests of your own service.
//!
//! The feature `test-util`, for tests only, adds a clock that is moved, a notifier that remembers,
//! cheap password hashing, and the [`test_kit`](crate::test_kit): clients that are signed in, a
//! counter of statements, and the table of who may call what.
//!
//! ```toml
//! [dev-dependencies]
//! portcullis = { version = "0.1", features = ["test-util"] }
//! ```
//!
//! # An instance
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use portcullis::test_kit::TestInstance;
//! use portcullis_migration::{Migrator, MigratorTrait};
//!
//! let mut options = sea_orm::ConnectOptions::new("sqlite::memory:");
//! options.max_connections(1); // each connection would have a memory of its own
//! let db = sea_orm::Database::connect(options).await?;
//! Migrator::up(&db, None).await?;
//!
//! let TestInstance { auth, clock, notifier, .. } = TestInstance::new(db);
//! // No sleeping: a session is idle for a week.
//! clock.advance(Duration::from_secs(7 * 24 * 60 * 60));
//! auth.outbox().deliver_due().await?; // what the flows have put into the outbox
//! assert!(notifier.sent().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! [`TestInstance::with`] takes a closure that configures it as the service is. An instance of the
//! service's own can be tested as well; what follows works with any.
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
//! The session is a real one in the database, and the request goes through all layers and guards of
//! the application, which may be any tower service. The client sends what a browser on a page of the
//! same origin would, and keeps its cookie as answers change it. [`nobody`] is not signed in until it
//! posts to a login route; [`visitor`] has an anonymous session; [`at_stage`] is a sign-in that still
//! lacks its second factor or a new password; [`limited_to`] sets a ceiling.
//!
//! # Who may call what
//!
//! For an application whose routes are in a [guarded router](super::guards#the-guarded-router)
//! one test asks all of them about everybody: each role, nobody, a superuser, with every state of
//! factors. The table is kept in a file, so that a review sees when a change of a route or a role opens
//! something:
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
//! `PORTCULLIS_TEST_UPDATE=1 cargo test` writes the file anew. The guards are really asked, with real
//! sessions; only the handlers do not run. So an extractor in a handler's signature does not show.
//!
//! # What it costs
//!
//! [`StatementCounter`] counts the statements of a connection, so that a test can hold that a request
//! costs one. [`Portcullis::password_hashes`](crate::Portcullis::password_hashes) counts hashes.
//!
//! [`TestInstance::with`]: crate::test_kit::TestInstance::with
//! [`StatementCounter`]: crate::test_kit::StatementCounter
//! [`nobody`]: crate::test_kit::TestKit::nobody
//! [`visitor`]: crate::test_kit::TestKit::visitor
//! [`at_stage`]: crate::test_kit::TestLogin::at_stage
//! [`limited_to`]: crate::test_kit::TestLogin::limited_to
