//! Three lines, one migration.
//!
//! # What to add
//!
//! ```toml
//! [dependencies]
//! axum = "0.8"
//! portcullis = "0.1"
//! portcullis-migration = "0.1"
//! sea-orm = { version = "2", default-features = false, features = ["runtime-tokio", "sqlx-sqlite"] }
//! tokio = { version = "1", features = ["full"] }
//! ```
//!
//! The database driver is yours to choose: `sqlx-sqlite`, `sqlx-postgres` or `sqlx-mysql`
//! (MySQL and MariaDB). Portcullis uses the connection your service has already.
//!
//! # A whole service
//!
//! ```no_run
//! use std::net::SocketAddr;
//!
//! use axum::{Router, routing::get};
//! use portcullis::{Account, Config, Portcullis};
//! use portcullis_migration::{Migrator, MigratorTrait};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let db = sea_orm::Database::connect("sqlite://app.sqlite?mode=rwc").await?;
//!     Migrator::up(&db, None).await?;
//!
//!     // PORTCULLIS_SECRET holds what `openssl rand -base64 32` printed.
//!     let auth = Portcullis::builder(db).config(Config::from_env()?).build()?;
//!     let app: Router = Router::new()
//!         .route("/me", get(|account: Account| async move { account.id().to_string() }))
//!         .nest("/auth", auth.routes())
//!         .layer(auth.layer());
//!
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     // With the peer's address, so that sessions and limits know where a request comes from.
//!     let service = app.into_make_service_with_connect_info::<SocketAddr>();
//!     let stop = async {
//!         let _ = tokio::signal::ctrl_c().await;
//!     };
//!     axum::serve(listener, service).with_graceful_shutdown(stop).await?;
//!     // What clients left behind who hung up is still carried out.
//!     auth.drain().await;
//!     Ok(())
//! }
//! ```
//!
//! The three lines are `builder(..)…build()?`, `.nest("/auth", auth.routes())` and
//! `.layer(auth.layer())`. The layer comes last, so that it is around every route; a guard or an
//! extractor without it answers 500 `missing_layer` and says what to add.
//!
//! A [`GuardedRouter`](crate::GuardedRouter) in the place of axum's takes no route without saying who
//! may call it, and puts the layer around by itself: see [`guards`](super::guards).
//!
//! # What it can do now
//!
//! | request | does | page |
//! |---|---|---|
//! | `GET /auth/methods` | which ways to sign in there are | [`login`](crate::login) |
//! | `POST /auth/register` | makes an account and signs it in | [`registration`](crate::registration) |
//! | `POST /auth/login` | signs in | [`login`](crate::login) |
//! | `POST /auth/logout` | signs out | [`login`](crate::login) |
//! | `POST /auth/reauthenticate` | proves the password again | [`login`](crate::login) |
//! | `PUT /auth/password` | changes the password | [`password_change`](crate::password_change) |
//! | `GET /auth/session` | who am I | [`own_session`](crate::own_session) |
//! | `POST /auth/session/refresh` | the next token | [`own_session`](crate::own_session) |
//! | `GET /auth/sessions` | where am I signed in | [`own_session`](crate::own_session) |
//! | `DELETE /auth/sessions/{id}`, `DELETE /auth/sessions` | sign out elsewhere | [`own_session`](crate::own_session) |
//!
//! `POST /session/anonymous` is not part of the usual set: merge
//! [`anonymous::routes`](crate::anonymous::routes) where visitors need a session. Each capability
//! has its `routes` function, so a service can mount only those it wants.
//!
//! ```no_run
//! # fn example(auth: portcullis::Portcullis) -> axum::Router {
//! axum::Router::new()
//!     .nest("/auth", portcullis::login::routes(&auth).merge(portcullis::own_session::routes(&auth)))
//!     .layer(auth.layer())
//! # }
//! ```
//!
//! # The first administrator
//!
//! There is no default account. [`bootstrap_admin`](crate::Portcullis::bootstrap_admin), called at
//! every start, makes one once, with a random password that it gives back for the operator.
//!
//! # Every flow is also a method
//!
//! A mounted route holds no rule: it reads the request, calls the flow, and answers. The same flows
//! are methods, and those that change something can run in a transaction of yours:
//!
//! ```no_run
//! # async fn example(
//! #     auth: portcullis::Portcullis,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use portcullis::account::NewAccount;
//!
//! let txn = auth.begin().await?;
//! let account = auth.accounts().within(&txn).create(NewAccount::username("alice")).await?;
//! // … and a row of your own profile table, keyed by account.id()
//! txn.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Inside a transaction of yours nothing is opened, retried or timed. [`begin`](crate::Portcullis::begin)
//! opens one that writes and that no hang-up leaves open; one of your own that reads before it writes
//! opens on SQLite with `SqliteTransactionMode::Immediate`. A client who hangs up ends a handler
//! wherever it is: [`run_to_end`](crate::Portcullis::run_to_end) carries it through.
//!
//! # Before it meets the internet
//!
//! Read what is not there yet in `SECURITY.md`. What failed sign-ins do, to a guesser and to honest
//! people, is on the page [`lockout`](super::lockout).
