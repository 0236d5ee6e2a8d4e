//! Getting started: three lines and one migration.
//!
//! # What to add
//!
//! ```toml
//! [dependencies]
//! axum = "0.8"
//! # Not on crates.io yet: put a copy of the repository next to your project.
//! portcullis = { path = "../portcullis" }
//! portcullis-migration = { path = "../portcullis/migration" }
//! sea-orm = { version = "2", default-features = false, features = ["runtime-tokio", "sqlx-sqlite"] }
//! tokio = { version = "1", features = ["full"] }
//! ```
//!
//! You choose the database driver: `sqlx-sqlite`, `sqlx-postgres` or `sqlx-mysql` (MySQL and MariaDB).
//! Portcullis uses the connection that your service already has.
//!
//! # A complete service
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
//!     // Passes the client address on, which sessions and limits need.
//!     let service = app.into_make_service_with_connect_info::<SocketAddr>();
//!     let stop = async {
//!         let _ = tokio::signal::ctrl_c().await;
//!     };
//!     axum::serve(listener, service).with_graceful_shutdown(stop).await?;
//!     // Finishes the work of requests whose clients disconnected.
//!     auth.drain().await;
//!     Ok(())
//! }
//! ```
//!
//! The three lines are `builder(..)…build()?`, `.nest("/auth", auth.routes())` and
//! `.layer(auth.layer())`. Add the layer last, so that it covers every route. Without the layer, a guard
//! or an extractor answers 500 `missing_layer`, and the log says what to add.
//!
//! You can use a [`GuardedRouter`](crate::GuardedRouter) instead of axum's router. It requires each route to
//! state who may call it, and it adds the layer itself. See [`guards`](super::guards).
//!
//! # The routes that you have now
//!
//! | request | what it does | page |
//! |---|---|---|
//! | `GET /auth/methods` | lists the ways to sign in | [`login`](crate::login) |
//! | `POST /auth/register` | creates an account and signs it in | [`registration`](crate::registration) |
//! | `POST /auth/login` | signs in | [`login`](crate::login) |
//! | `POST /auth/logout` | signs out | [`login`](crate::login) |
//! | `POST /auth/reauthenticate` | checks the password or a second factor again | [`login`](crate::login) |
//! | `PUT /auth/password` | changes the password | [`password_change`](crate::password_change) |
//! | `GET /auth/session` | shows the current session and account, and its permissions | [`own_session`](crate::own_session) |
//! | `POST /auth/session/may` | answers what the session may do, for menus | [`own_session`](crate::own_session) |
//! | `POST /auth/session/refresh` | renews the token | [`own_session`](crate::own_session) |
//! | `GET /auth/sessions` | lists the sessions of the account | [`own_session`](crate::own_session) |
//! | `DELETE /auth/sessions/{id}`, `DELETE /auth/sessions` | ends other sessions | [`own_session`](crate::own_session) |
//! | `POST /auth/sessions/{id}/report` | marks a session as suspicious | [`own_session`](crate::own_session) |
//! | `POST /auth/verification`, `POST /auth/verification/confirm` | verifies a mail address | [`verification`](crate::verification) |
//!
//! Forms cannot send `PUT` or `DELETE`, so some routes also exist with `POST`. The page [`routes`](super::routes) lists
//! them all.
//!
//! Some routes need more set-up. A notifier adds the routes of
//! [`password_reset`](crate::password_reset) and [`login_name`](crate::login_name), and those of
//! [`contact`](crate::contact) for mail addresses. A sender of text messages adds those of
//! [`contact`](crate::contact) for phone numbers. A source of memberships adds the routes of
//! [`membership`](crate::membership).
//!
//! `auth.routes()` does not include `POST /session/anonymous`. If visitors need a session, merge
//! [`anonymous::routes`](crate::anonymous::routes). It also leaves out the sign-in by mail
//! ([`mail_login`](crate::mail_login)), second factors ([`second_factor`](crate::second_factor)), the closing
//! and export of an account ([`own_account`](crate::own_account)), and the recovery of an account by an
//! administrator ([`account_recovery`](crate::account_recovery)). A [`captcha`](crate::captcha) adds its own
//! routes. Each capability has its own `routes` function, so you can
//! mount only the routes that you want:
//!
//! ```no_run
//! # fn example(auth: portcullis::Portcullis) -> axum::Router {
//! axum::Router::new()
//!     .nest("/auth", portcullis::login::routes(&auth).merge(portcullis::own_session::routes(&auth)))
//!     .layer(auth.layer())
//! # }
//! ```
//!
//! # Roles and the first administrator
//!
//! Call both at every start, on every node:
//!
//! ```no_run
//! use portcullis::account::NewAccount;
//! use portcullis::permission::RoleDefinition;
//!
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), Box<dyn std::error::Error>> {
//! let editor = RoleDefinition::new("editor", ["doc:read", "doc:edit"]);
//! auth.roles().define([editor]).await?;
//! if let Some(first) = auth.bootstrap_admin(NewAccount::username("admin")).await? {
//!     println!("the administrator's password is {}", first.password());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`define`](crate::permission::Roles::define) makes the stored roles match the code. See
//! [`permissions`](super::permissions#roles-in-code).
//!
//! There is no default account. [`bootstrap_admin`](crate::Portcullis::bootstrap_admin) creates the first
//! administrator once, and returns a random password for the operator. Your hooks for registrations run for this
//! account too. Your own code can add rows [in the same
//! transaction](crate::bootstrap::BootstrapAdmin::in_transaction).
//!
//! This account is a superuser. To require a second factor of it and of other administrators, see
//! [`permissions`](super::permissions#a-second-factor-for-administrators).
//!
//! # Every flow is also a method
//!
//! A mounted route contains no rules: it reads the request, calls the flow, and answers. You can call the
//! same flows as methods. Flows that change something can run in your own transaction:
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
//! Inside your own transaction, portcullis opens no transaction, retries nothing and sets no time limit.
//!
//! - Open the transaction with [`begin`](crate::Portcullis::begin). It is ready to write, and a client that
//!   disconnects cannot leave it open.
//! - If you open one yourself on SQLite and read before you write, use
//!   `SqliteTransactionMode::Immediate`.
//! - A client that disconnects stops your handler at any point. Use
//!   [`run_to_end`](crate::Portcullis::run_to_end) for code that must finish.
//!
//! # Before you go to production
//!
//! - [`deployment`](super::deployment): secrets, the public address, cookies, the pool.
//! - [`housekeeping`](super::housekeeping): spawn the task that deletes old rows.
//! - [`proxies`](super::proxies) and [`mail`](super::mail): addresses of clients, and real mails.
//!
//! `README.md` lists what is not available yet, and `SECURITY.md` the known limits. The page [`lockout`](super::lockout) describes what
//! failed sign-ins mean for attackers and for legitimate users.
