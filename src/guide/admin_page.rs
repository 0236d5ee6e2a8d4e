//! An administrator's page: list accounts, show one, change its roles, disable it, end its
//! sessions, erase it.
//!
//! The page [`lost_access`](super::lost_access) has the handlers that help people who have lost everything.
//!
//! Portcullis has no routes for administrators, because every service has its own rules about who
//! may do what. Copy these complete handlers, and change the permissions.
//!
//! ```no_run
//! use axum::extract::{Path, Query, State};
//! use axum::http::StatusCode;
//! use axum::routing::{delete, get, put};
//! use axum::{Json, Router};
//! use portcullis::account::{AccountDetails, AccountError, AccountFilter, AccountState};
//! use portcullis::{
//!     AccountId, GuardedRouter, Page, PermissionError, Portcullis, Rejection, Requirement, public,
//! };
//! use serde::Deserialize;
//! use serde_json::{Value, json};
//!
//! type Auth = State<Portcullis>;
//! type Done = Result<StatusCode, Rejection>;
//!
//! /// Your whole service. Its state may have any type.
//! fn app(auth: &Portcullis) -> Result<Router, PermissionError> {
//!     Ok(auth
//!         .router()
//!         .route("/", get(async || "hello"), public())
//!         .merge(administration(auth)?)
//!         .auth_routes("/auth", auth.routes())
//!         .into_router())
//! }
//!
//! fn administration<S: Clone + Send + Sync + 'static>(
//!     auth: &Portcullis,
//! ) -> Result<GuardedRouter<S>, PermissionError> {
//!     let read = Requirement::permission("account:read")?;
//!     let write = Requirement::permission("account:write")?;
//!     let account = "/admin/accounts/{id}";
//!     Ok(auth
//!         .router()
//!         .route("/admin/accounts", get(list), read.clone())
//!         .route(account, get(show), read)
//!         .route(&format!("{account}/roles/{{role}}"), put(grant).delete(revoke), write.clone())
//!         .route(&format!("{account}/disabled"), put(disable).delete(enable), write.clone())
//!         .route(&format!("{account}/sessions"), delete(end_sessions), write.clone())
//!         .route(&format!("{account}/data"), delete(erase), write)
//!         .with_state(auth.clone()))
//! }
//!
//! fn shown(details: &AccountDetails) -> Value {
//!     json!({
//!         "id": details.account.id(),
//!         "username": details.account.username(),
//!         "email": details.account.email(),
//!         "state": details.state,
//!         "superuser": details.account.is_superuser(),
//!         "created_at": details.created_at,
//!         "last_login_at": details.last_login_at,
//!     })
//! }
//!
//! #[derive(Deserialize)]
//! struct Search {
//!     name: Option<String>,
//!     role: Option<String>,
//!     disabled: Option<bool>,
//!     after: Option<String>,
//! }
//!
//! // GET /admin/accounts?name=al&after=018f…
//! async fn list(
//!     State(auth): Auth,
//!     Query(search): Query<Search>,
//! ) -> Result<Json<Value>, Rejection> {
//!     let mut filter = AccountFilter::all();
//!     if let Some(name) = search.name {
//!         filter = filter.name_prefix(name);
//!     }
//!     if let Some(role) = search.role {
//!         filter = filter.role(role);
//!     }
//!     if search.disabled == Some(true) {
//!         filter = filter.state(AccountState::Disabled);
//!     }
//!     let page = Page::from(search.after).size(50);
//!     let found = auth.accounts().list(&filter, page).await?;
//!     let accounts: Vec<_> = found.accounts.iter().map(shown).collect();
//!     Ok(Json(json!({ "accounts": accounts, "next": found.next })))
//! }
//!
//! async fn show(
//!     State(auth): Auth,
//!     Path(id): Path<AccountId>,
//! ) -> Result<Json<Value>, Rejection> {
//!     let details = auth.accounts().details(id).await?.ok_or(AccountError::NotFound)?;
//!     let roles = auth.roles().of(id).await?;
//!     let roles: Vec<_> = roles.iter().map(|role| &role.name).collect();
//!     let sessions = auth.sessions().list(&details.account).await?;
//!     let events = auth.audit_log().of_account(id, 50).await?;
//!     let events: Vec<_> =
//!         events.iter().map(|event| json!({ "at": event.at, "kind": event.kind })).collect();
//!     Ok(Json(json!({
//!         "account": shown(&details),
//!         "roles": roles,
//!         "sessions": sessions.len(),
//!         "events": events,
//!     })))
//! }
//!
//! async fn grant(State(auth): Auth, Path((id, role)): Path<(AccountId, String)>) -> Done {
//!     auth.roles().grant(id, &role).await?;
//!     Ok(StatusCode::NO_CONTENT)
//! }
//!
//! async fn revoke(State(auth): Auth, Path((id, role)): Path<(AccountId, String)>) -> Done {
//!     auth.roles().revoke(id, &role).await?;
//!     Ok(StatusCode::NO_CONTENT)
//! }
//!
//! // Disabling ends the sessions too.
//! async fn disable(State(auth): Auth, Path(id): Path<AccountId>) -> Done {
//!     auth.accounts().disable(id).await?;
//!     Ok(StatusCode::NO_CONTENT)
//! }
//!
//! async fn enable(State(auth): Auth, Path(id): Path<AccountId>) -> Done {
//!     auth.accounts().enable(id).await?;
//!     Ok(StatusCode::NO_CONTENT)
//! }
//!
//! async fn end_sessions(State(auth): Auth, Path(id): Path<AccountId>) -> Done {
//!     auth.sessions().end_all(id, None).await?;
//!     Ok(StatusCode::NO_CONTENT)
//! }
//!
//! // Only the id is left.
//! async fn erase(State(auth): Auth, Path(id): Path<AccountId>) -> Done {
//!     auth.accounts().erase(id).await?;
//!     Ok(StatusCode::NO_CONTENT)
//! }
//! ```
//!
//! # How the routes join yours
//!
//! `administration` returns a guarded router that already has its state. So `.merge(..)` accepts it in a guarded router
//! with any state, and its routes are in the list and the [table](super::testing#who-may-call-what) of your service. Do
//! not call `.into_router()` in `administration`: a guarded router does not accept a plain one. `.nest("/admin", ..)`
//! adds the routes under a prefix. Leave `/admin` out of their paths then.
//!
//! In a plain axum router, use `.merge(administration(&auth)?.into_router())`. It brings `auth.layer()` with it.
//!
//! # Before you use it
//!
//! - Require a recent factor: `Requirement::all([write, Requirement::within(..)])?`. A stolen
//!   session of an administrator is worse than any other.
//! - Require a second factor of administrators: see
//!   [`permissions`](super::permissions#a-second-factor-for-administrators). Then a stolen password is not enough.
//! - A person who may grant every role can get every permission. Give `account:write` only to
//!   people who may have every permission, or check in `grant` which roles they may grant.
//! - Every change writes an event with the account that was changed. The event does not name the
//!   administrator, so log this in your handler.
//! - A list contains names and addresses of other people. Do not cache it. Routes behind a guard
//!   answer with `no-store`.
//! - The last superuser cannot be disabled, deleted, erased or demoted. The methods return the error
//!   `last_superuser` (409). So two administrators who demote each other at the same time do not
//!   lock everybody out.
//!
//! # Finding one account
//!
//! [`find_by_login`](crate::account::Accounts::find_by_login) finds an account by any of its sign-in names,
//! in any spelling. [`AccountFilter::name_prefix`](crate::account::AccountFilter::name_prefix) finds names that
//! begin with a text.
//!
//! # What the states mean
//!
//! See [`AccountState`](crate::account::AccountState), and the table of
//! [disabled, deleted, closed and erased](crate::account).
