//! How a route says who may call it.
//!
//! # Requirements
//!
//! A [`Requirement`] is a value: anyone signed in, a permission, a role. It is made once, where the
//! routes are built, and serves a guard, a check inside a handler, and a menu.
//!
//! ```no_run
//! use axum::{Router, routing::{get, post}};
//! use portcullis::{Identity, Portcullis, Requirement};
//!
//! # fn example(auth: Portcullis) -> Result<Router, portcullis::PermissionError> {
//! let print = Requirement::permission("printer:print")?;
//! let app: Router = Router::new()
//!     .route("/print", post(|| async { "printing" }))
//!     .route_layer(auth.require(print.clone()))
//!     // `route_layer` guards the routes above it; those below are open.
//!     .route("/menu", get(move |who: Option<Identity>| async move {
//!         if who.is_some_and(|who| who.meets(&print)) { "print" } else { "" }
//!     }))
//!     .layer(auth.layer());
//! # Ok(app)
//! # }
//! ```
//!
//! `doc:read,write` asks for both, and they may come from different grants. The language is on the
//! page of [`Permission`].
//!
//! # One instance
//!
//! [`on_path`] takes the instance from the route: a guard for `doc:read` on `/docs/{id}` asks for
//! `doc:read:42` when `/docs/42` is called. Who holds `doc:read` may read every document, who holds
//! `doc:read:42` only that one. An id that has permission syntax in it (`*`, `,`, `:`) is 404: no
//! such thing can exist. [`on`] does the same with an id from anywhere in the request.
//!
//! ```no_run
//! # use axum::{Router, routing::get};
//! # use portcullis::{Portcullis, Requirement};
//! # fn example(auth: Portcullis) -> Result<Router, portcullis::PermissionError> {
//! let reads = auth.require(Requirement::permission("doc:read")?).on_path("id");
//! let app: Router = Router::new()
//!     .route("/docs/{id}", get(|| async { "a document" }).route_layer(reads))
//!     .layer(auth.layer());
//! # Ok(app)
//! # }
//! ```
//!
//! # As an extractor
//!
//! [`Allowed`] is the same guard in a handler's signature, with a permission that is a type:
//!
//! ```
//! use portcullis::{Allowed, TypedPermission};
//!
//! struct PrintPages;
//!
//! impl TypedPermission for PrintPages {
//!     const TEXT: &'static str = "printer:print";
//! }
//!
//! async fn print(allowed: Allowed<PrintPages>) -> String {
//!     format!("printing for {}", allowed.identity().account().id())
//! }
//! ```
//!
//! # What is answered
//!
//! | who asks | answer |
//! |---|---|
//! | nobody, or a sign-in that is not finished | 401 with a code, see [`errors`](super::errors) |
//! | the same, a browser asking for a page, with a login page configured | 303 to it, with `?next=` |
//! | somebody who may not | 403 `denied`; which rule it was stays in the log |
//! | a request of another site | 403 `cross_site_request` |
//! | anyone while the database is away | 503 `unavailable` |
//!
//! `OPTIONS` passes: it acts on nothing and a browser's preflight carries no credential.
//!
//! # A login page
//!
//! ```no_run
//! # use portcullis::{Config, Portcullis, Secret};
//! # fn example(db: sea_orm::DatabaseConnection, secret: Secret) -> Result<(), portcullis::ConfigErrors> {
//! use portcullis::config::Unauthenticated;
//!
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .configure(|config| {
//!         config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
//!     })
//!     .build()?;
//! # Ok(())
//! # }
//! ```
//!
//! Only `GET` and `HEAD` requests that prefer HTML are sent there. What comes back in `next` is
//! anybody's text: read it with [`ReturnTo::parse`](crate::base::redirect::ReturnTo::parse), which
//! takes a path of this site and nothing else.
//!
//! # Roles and grants
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, account: portcullis::Account)
//! # -> Result<(), portcullis::permission::RoleError> {
//! auth.roles().create("editor", ["doc:read", "doc:edit"]).await?;
//! auth.roles().grant(account.id(), "editor").await?;
//! # Ok(())
//! # }
//! ```
//!
//! It counts on the account's next request, on every node and without a new login: each request
//! reads the version of its account's grants, and only a new version loads them again.
//!
//! # Limits of a session
//!
//! A session started with a [`ceiling`](crate::session::StartSession::ceiling) may do only what its
//! account *and* the ceiling imply; a role counts only where the ceiling covers `role:<name>`.
//!
//! [`Requirement`]: crate::Requirement
//! [`Permission`]: crate::Permission
//! [`Allowed`]: crate::Allowed
//! [`on_path`]: crate::identity::Require::on_path
//! [`on`]: crate::identity::Require::on
