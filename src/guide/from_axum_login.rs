//! Coming from axum-login.
//!
//! axum-login (0.18) brings the shape of a login, and leaves what fills it to the application: the
//! user type, the look-up, the comparison of passwords, the permissions. portcullis brings all of
//! that, with its tables; so most of this page is code that goes away.
//!
//! | axum-login | here |
//! |---|---|
//! | `trait AuthUser`, your `User` | [`Account`](crate::Account), from the table `auth_account`; your own fields in a table of your own |
//! | `AuthUser::id` | [`Account::id`](crate::Account::id), a UUID |
//! | `AuthUser::session_auth_hash` | the account's epoch, which moves in the transaction that changes a password and ends all sessions but the one that asked |
//! | `trait AuthnBackend`, `authenticate` | [`login().with_password(..)`](crate::login::Login::with_password): one answer and one hash's work, whatever is wrong |
//! | `AuthnBackend::get_user` | the one statement of a request, for session, account and rights together |
//! | `trait AuthzBackend`, `get_user_permissions`, `get_group_permissions` | [permissions](crate::permission), roles, groups; compiled once, remembered under their version |
//! | `AuthzBackend::has_perm` | [`Identity::meets`](crate::Identity::meets), [`Requirement`](crate::Requirement) |
//! | the extractor `AuthSession<Backend>`, with `user: Option<User>` | [`Account`](crate::Account), [`Identity`](crate::Identity), or `Option` of them; no type parameter |
//! | `AuthSession::login` | [`Issued`](crate::Issued) in the answer, from [`login`](crate::login) or [`sessions().start(..)`](crate::session::Sessions::start) |
//! | `AuthSession::logout` | [`auth.log_out(..)`](crate::Portcullis::log_out), or `POST /auth/logout` |
//! | `login_required!(Backend, login_url = "/login")` | [`Requirement::signed_in()`](crate::Requirement::signed_in) in [`auth.require(..)`](crate::Portcullis::require); [`Unauthenticated::LoginPage`](crate::config::Unauthenticated) sends browsers to a page |
//! | `permission_required!(Backend, "a.b")` | [`Requirement::permission("a:b")`](crate::Requirement::permission), or `Allowed<a::B>` in the handler's arguments |
//! | `predicate_required!` | all, any and not over [`Requirement`](crate::Requirement)s, or [`Identity`](crate::Identity) in the handler |
//! | `AuthManagerLayerBuilder`, `AuthManagerLayer` | [`auth.layer()`](crate::Portcullis::layer) |
//! | `SessionManagerLayer` and a store of tower-sessions | nothing: sessions are rows of `auth_session` |
//! | `Expiry`, `with_secure`, `with_same_site`, … | [`SessionConfig`](crate::config::SessionConfig); the cookie is `__Host-` unless told otherwise |
//! | `cycle_id` at login | each login makes a new row and ends the old one |
//! | data in `tower_sessions::Session` | [`session_data`](crate::session_data), up to 4 KiB; or a table of yours, keyed by the session's [`lineage_id`](crate::Session::lineage_id) |
//!
//! # Before and after
//!
//! The service that axum-login's macros guard:
//!
//! ```text
//! let app = Router::new()
//!     .route("/reports", get(reports))
//!     .route_layer(permission_required!(Backend, login_url = "/login", "reports.read"))
//!     .route("/me", get(me))
//!     .route_layer(login_required!(Backend, login_url = "/login"))
//!     .route("/login", post(login))
//!     .layer(AuthManagerLayerBuilder::new(backend, SessionManagerLayer::new(store)).build());
//! ```
//!
//! and the same here:
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use portcullis::config::Unauthenticated;
//! use portcullis::{Account, Portcullis, Requirement, Secret};
//!
//! # fn example(db: sea_orm::DatabaseConnection, secret: Secret)
//! # -> Result<Router, Box<dyn std::error::Error>> {
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .configure(|config| {
//!         config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
//!     })
//!     .build()?;
//! let reads = auth.require(Requirement::permission("reports:read")?);
//! let app = Router::new()
//!     .route("/reports", get(async || "the reports").route_layer(reads))
//!     .route("/me", get(async |account: Account| account.id().to_string()))
//!     .nest("/auth", auth.routes()) // POST /auth/login, /auth/logout, and the rest
//!     .layer(auth.layer());
//! # Ok(app)
//! # }
//! ```
//!
//! A login handler of your own stays, if you want it; it calls the flow instead of the backend:
//!
//! ```no_run
//! use axum::Form;
//! use axum::http::request::Parts;
//! use axum::response::{IntoResponse, Redirect};
//! use portcullis::login::Credentials;
//! use portcullis::{ClientInfo, Portcullis, Rejection};
//!
//! #[derive(serde::Deserialize)]
//! struct LoginForm {
//!     username: String,
//!     password: String,
//! }
//!
//! async fn login(
//!     auth: Portcullis,
//!     client: ClientInfo,
//!     parts: Parts,
//!     Form(form): Form<LoginForm>,
//! ) -> Result<impl IntoResponse, Rejection> {
//!     auth.check_same_origin(&parts)?;
//!     let login = auth.login().replacing(&parts.extensions).await?;
//!     let credentials = Credentials::password(form.username, form.password);
//!     let outcome = login.with_password(credentials, &client).await?;
//!     Ok((outcome.into_issued(), Redirect::to("/")))
//! }
//! ```
//!
//! `examples/own-handlers` has every flow that way.
//!
//! # What to do, in order
//!
//! 1. Run the migrations of portcullis beside your own.
//! 2. [Import](crate::account_import) your users: [`existing_users`](crate::guide::existing_users)
//!    says how. The crate password-auth, which axum-login's examples use, writes Argon2 in PHC
//!    form unless told otherwise, and that is taken as it is.
//! 3. Turn permissions into roles: a string of yours such as `reports.read` becomes `reports:read`.
//!    In this language `:` separates parts, and what is granted may have `*`.
//! 4. Replace layers, macros and extractors by the table above.
//! 5. Take the session store out. Everybody signs in once more.
//!
//! # What is different
//!
//! - A refusal is problem details in JSON with a stable code, unless a login page is configured, and
//!   then only for browsers that ask for a page.
//! - An outage is 503 and not "nobody is signed in".
//! - Requests of other sites that carry the cookie are refused for unsafe methods. A form on another
//!   origin of yours needs that origin in `service.trusted_origins`.
//! - There is one kind of account and no trait to put LDAP or a provider behind. What proves somebody
//!   by other means ends in [`sessions().start(..)`](crate::session::Sessions::start).
//! - tower-sessions may stay for other things (a cart, flash messages): its cookie and ours do not
//!   know of each other. Move or clear what hangs on it at login, as it goes on beside.
