//! How to move from axum-login to portcullis.
//!
//! axum-login (0.18) provides the structure of a login. The application writes the rest: the user type, the
//! look-up, the comparison of passwords, and the permissions. portcullis contains all of this, with its
//! tables. So you can delete most of that code.
//!
//! | axum-login | portcullis |
//! |---|---|
//! | `trait AuthUser`, your `User` | [`Account`](crate::Account), from the table `auth_account`; keep your own fields in your own table |
//! | `AuthUser::id` | [`Account::id`](crate::Account::id), a UUID |
//! | `AuthUser::session_auth_hash` | the account's epoch; it increases in the transaction that changes a password, and this ends all sessions except the current one |
//! | `trait AuthnBackend`, `authenticate` | [`login().with_password(..)`](crate::login::Login::with_password): the same answer and the work of one hash for every kind of error |
//! | `AuthnBackend::get_user` | one statement per request reads session, account and permissions together |
//! | `trait AuthzBackend`, `get_user_permissions`, `get_group_permissions` | [permissions](crate::permission), roles, groups; compiled once and cached by version |
//! | `AuthzBackend::has_perm` | [`Identity::meets`](crate::Identity::meets), [`Requirement`](crate::Requirement) |
//! | the extractor `AuthSession<Backend>`, with `user: Option<User>` | [`Account`](crate::Account), [`Identity`](crate::Identity), or `Option` of one of them; no type parameter |
//! | `AuthSession::login` | [`Issued`](crate::Issued) in the answer, from [`login`](crate::login) or [`auth.sign_in(..)`](crate::Portcullis::sign_in) |
//! | `AuthSession::logout` | [`auth.log_out(..)`](crate::Portcullis::log_out), or `POST /auth/logout` |
//! | `login_required!(Backend, login_url = "/login")` | [`Requirement::signed_in()`](crate::Requirement::signed_in) in [`auth.require(..)`](crate::Portcullis::require); [`Unauthenticated::LoginPage`](crate::config::Unauthenticated) sends browsers to a page |
//! | `permission_required!(Backend, "a.b")` | [`Requirement::permission("a:b")`](crate::Requirement::permission), or `Allowed<a::B>` in the handler's arguments |
//! | `predicate_required!` | [`Requirement`](crate::Requirement)s combined with all, any and not, or [`Identity`](crate::Identity) in the handler |
//! | `AuthManagerLayerBuilder`, `AuthManagerLayer` | [`auth.layer()`](crate::Portcullis::layer) |
//! | `SessionManagerLayer` and a store of tower-sessions | not needed: sessions are rows of `auth_session` |
//! | `Expiry`, `with_secure`, `with_same_site`, … | [`SessionConfig`](crate::config::SessionConfig); by default the cookie has the prefix `__Host-` |
//! | `cycle_id` at login | each login creates a new row and ends the old one |
//! | data in `tower_sessions::Session` | [`session_data`](crate::session_data), up to 4 KiB; or your own table, with the session's [`lineage_id`](crate::Session::lineage_id) as key |
//!
//! # Before and after
//!
//! A service with the macros of axum-login:
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
//! The same service with portcullis:
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
//! You can keep your own login handler. It calls the flow instead of the backend:
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
//! `examples/own-handlers` shows sign-in, registration, passwords and sessions in the application's own handlers.
//!
//! # Steps
//!
//! 1. Run the migrations of portcullis in addition to your own.
//! 2. [Import](crate::account_import) your users, as [`existing_users`](crate::guide::existing_users) describes. The
//!    examples of axum-login use the crate password-auth. By default it writes Argon2 in PHC form, which the
//!    import accepts without changes.
//! 3. Turn your permissions into roles. Your permission `reports.read` becomes `reports:read`. In the permission
//!    language of portcullis, `:` separates parts, and a grant may contain `*`.
//! 4. Replace layers, macros and extractors as the table above shows.
//! 5. Remove the session store. Everyone must sign in again.
//!
//! # Differences
//!
//! - A refusal is answered with problem details in JSON, with a stable code. If you configure a login page,
//!   browsers that request a page are redirected to it.
//! - An outage is answered with 503, and not treated as "not signed in".
//! - Portcullis refuses requests with an unsafe method that another site sends with the cookie. If you have a form
//!   on another origin, list that origin in `service.trusted_origins`.
//! - There is one kind of account, and there is no trait for LDAP or another provider. If you identify people in
//!   another way, call [`auth.sign_in(..)`](crate::Portcullis::sign_in) afterwards.
//! - You can keep tower-sessions for other data, such as a cart or flash messages. Its cookie and the cookie of
//!   portcullis are independent. A login does not change the session of tower-sessions, so move or clear its data
//!   yourself.
