//! How a route says who may call it.
//!
//! # A router that cannot forget
//!
//! [`auth.router()`](crate::Portcullis::router) is axum's router with one argument more: who may call
//! the route. Leaving it out does not compile, and neither does nesting a plain router by its usual
//! name. The layer is put around it all at the end.
//!
//! ```no_run
//! use axum::Router;
//! use axum::routing::{delete, get};
//! use portcullis::{Portcullis, Requirement, public};
//!
//! portcullis::permissions! { doc: Read, Delete; }
//!
//! fn app(auth: &Portcullis) -> Router {
//!     auth.router()
//!         .route("/", get(async || "hello"), public())
//!         .route("/me", get(async || "you"), Requirement::signed_in())
//!         .route("/docs/{id}", get(async || "it"), auth.require(doc::Read).on_path("id"))
//!         .route("/docs/{id}", delete(async || "gone"), doc::Delete)
//!         .auth_routes("/auth", auth.routes())
//!         .into_router()
//! }
//! ```
//!
//! | to add | call |
//! |---|---|
//! | a route | `.route(path, get(handler), access)`; the access is `public()`, a requirement, a permission made by [`permissions!`](crate::permissions), or `auth.require(..).on_path("id")` |
//! | what answers every other path | `.fallback(any(handler), access)` |
//! | a service, such as one of static files | `.nest_service(prefix, service, access)` |
//! | another guarded router | `.nest(prefix, router)`, `.merge(router)` |
//! | portcullis' own routes | `.auth_routes("/auth", auth.routes())`; a route of anybody else's among them is refused at the start |
//! | a plain axum router | `.danger_unguarded(prefix, router)` |
//!
//! What was said is known: [`auth.guarded_routes()`](crate::Portcullis::guarded_routes) lists methods,
//! paths and who may call them, `.allowed(&identity)` makes a menu of it, and a test can keep the table
//! of [who may call what](super::testing#who-may-call-what) in a file.
//!
//! In a plain axum router the guards are layers, as below. Everything else is the same.
//!
//! # Requirements
//!
//! A [`Requirement`] is a value. It is made once, where the routes are built, and serves a guard, a
//! check inside a handler, a menu, and an explanation.
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
//! | requirement | asks for |
//! |---|---|
//! | `signed_in()` | anyone |
//! | `permission("doc:read")?` | a permission; `doc:read,write` asks for both, from whichever grants. The language is on the page of [`Permission`] |
//! | `typed(printer::Print)` | one declared with [`permissions!`](crate::permissions) |
//! | `role("editor")` | a role; permissions age better |
//! | `factor(..)`, `factor_within(..)`, `within(..)` | a factor that this session passed, how recently |
//! | `all([..])?`, `any([..])?`, `not(..)?` | each, at least one, whoever does not |
//! | `custom(name, rule)` | a rule of the application's own, without I/O |
//!
//! There are three answers: denied, step up (a factor is missing or too old), met. `all` takes the
//! worst and `any` the best, so order never matters. An empty list is refused, and so is `not` over a
//! factor: it could be met by waiting.
//!
//! The part of a `not` is judged without the ceiling of a limited session, so that a limit never makes
//! `not(role("suspended"))` true. With a `custom` rule inside a `not`, a limited session is denied.
//!
//! [`Identity::explain`](crate::Identity::explain) says which grant, factor or age decided. It is for
//! the log and for administrators; the client is never told.
//!
//! # One instance
//!
//! [`on_path`] takes the instance from the route: a guard for `doc:read` on `/docs/{id}` asks for
//! `doc:read:42` when `/docs/42` is called. Who holds `doc:read` may read every document, who holds
//! `doc:read:42` only that one. An id that has permission syntax in it (`*`, `,`, `:`) is 404: no
//! such thing can exist. [`on`] does the same with an id from anywhere in the request.
//!
//! The id is the text in the path, percent-decoded once: `/docs/07` asks about another instance than
//! `/docs/7`. If your handler reads both as the number 7, refuse the spelling that you would not write
//! yourself. A path with two parameters of one name (nested routers can do that), and `not(..)` or
//! `role(..)` on an instance, are refused: `auth.router()` panics when it is built, a plain router
//! answers 500 `guard_misconfigured`. Put a role into a guard of its own, around the other.
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
//! use portcullis::Allowed;
//!
//! portcullis::permissions! { printer: Query, Print; }
//!
//! async fn print(allowed: Allowed<printer::Print>) -> String {
//!     format!("printing for {}", allowed.identity().account().id())
//! }
//! ```
//!
//! # What is answered
//!
//! | who asks | answer |
//! |---|---|
//! | nobody, or a sign-in that is not finished | 401 with a code, see [`errors`](super::errors) |
//! | the same, a browser that navigates, with a login page configured | 303 to it, with `?next=` |
//! | somebody who may not | 403 `denied`; which rule it was stays in the log |
//! | somebody who may after proving a factor | 401 `insufficient_user_authentication`: `factors` has those of the account that would do (proving one is the next step), `enrol` those to set up where it has none of them, `max_age` how recent it must be |
//! | a request of another site | 403 `cross_site_request` |
//! | anyone while the database is away | 503 `unavailable` |
//!
//! Every method is judged, `OPTIONS` too. Only axum's own 405 may pass: it runs nothing. A browser's CORS
//! preflight carries no credential, so put a `CorsLayer` outside of the guards, best outside of
//! [`auth.layer()`](crate::Portcullis::layer): it answers preflights before a guard is asked.
//!
//! # Caching
//!
//! An answer that somebody had to be signed in for (a guard, or an extractor such as `Session`) gets
//! `Cache-Control: no-store` unless it sets `Cache-Control` or `Expires` itself: without it, Back shows
//! the page after signing out. `Option<Session>` and public routes are left alone. For guarded files
//! that may be kept, set `private, max-age=…` yourself, or switch `service.no_store` off.
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
//! Only `GET` and `HEAD` requests that navigate are sent there: those with `Sec-Fetch-Mode: navigate`,
//! or without that header and with HTML preferred in `Accept`. `fetch` and htmx get the 401, or the
//! login page would land in the middle of another. What comes back in `next` is
//! anybody's text: read it with [`ReturnTo::parse`](crate::base::redirect::ReturnTo::parse), which
//! takes a path of this site and nothing else.
//!
//! # Grants
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, account: portcullis::Account)
//! # -> Result<(), portcullis::permission::GrantError> {
//! auth.roles().create("editor", ["doc:read", "doc:edit"]).await?;
//! auth.roles().grant(account.id(), "editor").await?;
//!
//! auth.groups().create("staff").await?;
//! auth.groups().grant("staff", "editor").await?;
//! auth.groups().join("staff", account.id()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! What an account may do is what it was granted directly, by its roles and by its groups' roles; a
//! superuser may do everything. A role can be granted on one resource (`grant_on`): then it gives only
//! what it says about that resource's domain, on that id.
//!
//! It counts on the account's next request, on every node and without a new login: each request
//! reads the version of its account's grants, and only a new version loads them again.
//!
//! # Limits of a session
//!
//! A session started with a [`ceiling`](crate::session::StartSession::ceiling) may do only what its
//! account *and* the ceiling imply; a role counts only where the ceiling covers `role:<name>`.
//!
//! A limited session is not the owner of its account: it changes no password, no address and no login
//! name, and it neither sees nor ends other sessions, unless its ceiling says so. See
//! [`owner`](crate::identity::owner).
//!
//! [`Requirement`]: crate::Requirement
//! [`Permission`]: crate::Permission
//! [`Allowed`]: crate::Allowed
//! [`on_path`]: crate::guard::Require::on_path
//! [`on`]: crate::guard::Require::on
