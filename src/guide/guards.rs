//! How a route states who may call it.
//!
//! # The guarded router
//!
//! [`auth.router()`](crate::Portcullis::router) is axum's router with one more argument for each route: who
//! may call it. Code without this argument does not compile, so you cannot forget it. `.nest()` does not
//! accept a plain axum router either. `.into_router()` adds the layer around all routes.
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
//! | a route | `.route(path, get(handler), access)`; see the next table |
//! | a handler for all other paths | `.fallback(any(handler), access)` |
//! | a service, such as one of static files | `.nest_service(prefix, service, access)` |
//! | another guarded router | `.nest(prefix, router)`, `.merge(router)` |
//! | the routes of portcullis | `.auth_routes("/auth", auth.routes())`; it panics at the start if the router contains any other route |
//! | a plain axum router, without guards | `.danger_unguarded(prefix, router)` |
//!
//! | access | who may call the route | argument of the handler |
//! |---|---|---|
//! | `public()` | everyone | `Option<Identity>` or [`Caller`](crate::guard::Caller) |
//! | `visitor()` | everyone; a request without a session gets a visitor's session | [`Visitor`](crate::guard::Visitor) |
//! | `any_session()` | every session: a visitor's, an unfinished sign-in, a finished one | [`Caller`](crate::guard::Caller), or [`FactorOwner`](crate::second_factor::FactorOwner) for a page that sets up a second factor |
//! | `stage(Stage::PendingSecondFactor)` | a sign-in at this stage, and nobody else | [`PendingSession`](crate::PendingSession) |
//! | `Requirement::signed_in()` or any other requirement | accounts that meet it | [`Identity`](crate::Identity) or [`Account`](crate::Account) |
//! | `doc::Read`, made by [`permissions!`](crate::permissions) | accounts with this permission | [`Allowed`] |
//! | `auth.require(doc::Read).on_path("id")` | accounts with this permission on the instance in the path | [`Identity`](crate::Identity) |
//!
//! `public()` also protects against other sites. If a page of another site sends a `POST`, `PUT`,
//! `PATCH` or `DELETE`, or opens a WebSocket, the answer is 403 `cross_site_request`. So a public
//! route that signs people in needs no further check. Programs that are not browsers may still call
//! it. If pages of other sites must be able to call a route, write `public().from_anywhere()`. All
//! other kinds of access need a session, and portcullis accepts a session cookie only from your own
//! site.
//!
//! The router keeps this information for you:
//!
//! - [`auth.guarded_routes()`](crate::Portcullis::guarded_routes) lists the methods, the paths and who may
//!   call them. Its `.allowed(&identity)` gives the routes for a menu.
//! - A test can write the table of [who may call what](super::testing#who-may-call-what) into a file.
//!
//! In a plain axum router the guards are layers, as in the next example. Everything else is the same.
//!
//! # Requirements
//!
//! A [`Requirement`] is a value. Create it once, where you build the routes. You can use the same value in a
//! guard, in a check inside a handler, for a menu, and for an explanation.
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
//!     // `route_layer` guards the routes above it. The routes below it are not guarded.
//!     .route("/menu", get(move |who: Option<Identity>| async move {
//!         if who.is_some_and(|who| who.meets(&print)) { "print" } else { "" }
//!     }))
//!     .layer(auth.layer());
//! # Ok(app)
//! # }
//! ```
//!
//! | requirement | met by |
//! |---|---|
//! | `signed_in()` | every account that is signed in |
//! | `permission("doc:read")?` | accounts with this permission; `doc:read,write` requires both, and they may come from different grants. The language is on the page of [`Permission`] |
//! | `typed(printer::Print)` | accounts with a permission that you declared with [`permissions!`](crate::permissions) |
//! | `role("editor")` | accounts with this role; prefer permissions, because roles change more often |
//! | `factor(..)`, `factor_within(..)`, `within(..)` | sessions that passed a factor, optionally within a given time |
//! | `at_least(..)?`, `at_least_within(..)?` | sessions that passed this factor or a stronger one, such as a passkey for [`Factor::Totp`](crate::Factor::Totp); a recovery code does not count |
//! | `all([..])?`, `any([..])?`, `not(..)?` | all of the parts, at least one part, everyone who does not meet the part |
//! | `custom(name, rule)` | your own rule, without I/O |
//!
//! A requirement has one of three outcomes:
//!
//! - *met*;
//! - *step up*: a factor is missing or too old;
//! - *denied*.
//!
//! `all` takes the worst outcome of its parts and `any` the best, so the order of the parts does not matter. An
//! empty list is an error. `not` with a factor inside is an error too, because anyone could meet it by waiting.
//!
//! The part inside `not` ignores the ceiling of a limited session. Otherwise a ceiling that hides a role would
//! make `not(role("suspended"))` true. If there is a `custom` rule inside `not`, a limited session is denied.
//!
//! [`Identity::explain`](crate::Identity::explain) returns which grant, factor or age decided. Use it in the log
//! and for administrators. Portcullis never sends it to the client.
//!
//! # Permissions on one instance
//!
//! [`on_path`] reads the instance from the path. A guard for `doc:read` on `/docs/{id}` requires
//! `doc:read:42` for a request to `/docs/42`. An account with `doc:read` may read every document. An account
//! with `doc:read:42` may read only that one. [`on`] does the same with an id from anywhere in the request.
//!
//! The id is the text in the path, percent-decoded once:
//!
//! - An id with permission syntax in it (`*`, `,`, `:`) is answered with 404, because no such instance can
//!   exist.
//! - `/docs/07` and `/docs/7` are two different instances. If your handler parses both as the number 7, reject
//!   every spelling except the one that you write yourself.
//!
//! Two set-ups are errors: a path that has two parameters with the same name (possible with nested routers),
//! and `not(..)` or `role(..)` on an instance. `auth.router()` then panics while it is built. A plain router
//! answers 500 `guard_misconfigured`. If you need a role as well, add a second guard around the first.
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
//! # API keys
//!
//! A guard refuses [API keys](crate::api_key) with 403 `session_required`, unless it accepts them:
//! `auth.require(report::Read).credentials(AcceptedCredentials::SessionOrApiKey)`. Its handler then takes a
//! [`Principal`](crate::Principal). The table of who may call what shows it.
//!
//! # As an extractor
//!
//! [`Allowed`] is the same guard as an argument of a handler. Its permission is a type:
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
//! # Answers of a guard
//!
//! | request | answer |
//! |---|---|
//! | not signed in, or an unfinished sign-in | 401 with a code, see [`errors`](super::errors) |
//! | the same, from a browser that navigates, with a login page configured | 303 to the login page, with `?next=` |
//! | without the permission | 403 `denied`; only the log says which rule denied it |
//! | allowed after one more factor | 401 `insufficient_user_authentication`. `factors` lists the account's factors that are accepted; the user must pass one of them next. `enrol` lists factors to set up, if the account has none of them. `max_age` is the maximum age of the factor. `acr_values` has the same factors [for OAuth](super::errors#acr-values) |
//! | the same, from a browser that navigates, with a step-up page configured | 303 to that page, with `?next=`, if the account has an accepted factor |
//! | sent by a page of another site | 403 `cross_site_request` |
//! | any, while the database is unavailable | 503 `unavailable` |
//!
//! A guard checks every method, also `OPTIONS`. The only exception is axum's own 405, which runs no handler.
//!
//! The CORS preflight of a browser carries no credentials. So put a `CorsLayer` outside of the guards, and
//! preferably outside of [`auth.layer()`](crate::Portcullis::layer). It then answers preflights before the
//! guards.
//!
//! # Caching
//!
//! Some answers require a signed-in user, through a guard or an extractor such as `Session`. Portcullis adds
//! `Cache-Control: no-store` to them, unless they set `Cache-Control` or `Expires` themselves. Without
//! it, the Back button would show the page after signing out.
//!
//! Answers of public routes and of handlers with `Option<Session>` are not changed. If browsers may cache
//! guarded files, set `private, max-age=…` yourself, or turn `service.no_store` off.
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
//! Only `GET` and `HEAD` requests that navigate are redirected to the login page. A request navigates if it has
//! `Sec-Fetch-Mode: navigate`. Without that header, it navigates if `Accept` prefers HTML. `fetch` and htmx get
//! the 401. Otherwise the login page would appear inside another page.
//!
//! Anyone can choose the value of `next`. Read it with
//! [`ReturnTo::parse`](crate::base::redirect::ReturnTo::parse), which accepts only a path of this site.
//!
//! The form of the login page needs no script: the mounted routes answer a browser's form with a
//! redirect, to `next` or back to the form. With `service.step_up_page`, a guard that requires a
//! factor again redirects browsers to that page. See [`server_pages`](super::server_pages).
//!
//! # Grants
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, account: portcullis::Account)
//! # -> Result<(), portcullis::permission::GrantError> {
//! use portcullis::permission::RoleDefinition;
//!
//! auth.roles().define([RoleDefinition::new("editor", ["doc:read", "doc:edit"])]).await?;
//! auth.roles().grant(account.id(), "editor").await?;
//!
//! auth.groups().create("staff").await?;
//! auth.groups().grant("staff", "editor").await?;
//! auth.groups().join("staff", account.id()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! An account has the permissions that it was granted directly, the permissions of its roles, and those of its
//! groups' roles. A superuser may do everything. You can grant a role on one resource with `grant_on`. It then
//! gives only its permissions in the domain of that resource, for that id.
//!
//! A change takes effect on the account's next request, on every node and without a new login. Each request
//! reads the version of its account's grants. The grants are loaded again only if the version has changed.
//!
//! # Limited sessions
//!
//! You can start a session with a [`ceiling`](crate::session::StartSession::ceiling). It may do only what both
//! its account *and* the ceiling allow. A role counts only if the ceiling covers `role:<name>`.
//!
//! A limited session does not act as the owner of its account. Unless its ceiling allows it, the session cannot
//! change the password, the address or the login names, and it cannot list or end other sessions. See
//! [`owner`](crate::identity::owner).
//!
//! [`Requirement`]: crate::Requirement
//! [`Permission`]: crate::Permission
//! [`Allowed`]: crate::Allowed
//! [`on_path`]: crate::guard::Require::on_path
//! [`on`]: crate::guard::Require::on
