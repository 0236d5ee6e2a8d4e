//! How sessions work.
//!
//! # A row and a pointer
//!
//! A session is one row. The client holds a signed token (a JWT) that points to it: 128 random bits,
//! a generation, times, issuer and audience. It says nothing about the person and nothing about
//! rights, so nothing in it can go stale. The row keeps a keyed digest of the random bits: what is
//! in a dump of the database is no token. The row's `id`, shown in lists, is no token either.
//!
//! The signature is checked first. A forged, foreign or oversized token is refused without a
//! statement; a good one costs one, which reads session, account and the versions of its grants
//! together.
//!
//! # Rotation
//!
//! 1. A token lasts 15 minutes. The first request after that is answered as usual, and with a
//!    `Set-Cookie` that holds the next generation of the token. [`Session::just_rotated`] says so.
//! 2. The old generation stays good until the new one has been used *late*: by a request that arrived at
//!    least 90 seconds ([`replay_after`](crate::config::SessionConfig::replay_after)) after the token it
//!    shows was made. Until then every request with the old one succeeds and is handed the new one. So
//!    parallel requests, a lost answer, a browser that was killed before it wrote its cookies to disk and
//!    clocks that are 30 seconds apart sign nobody out.
//! 3. After that, the old generation can only come from a copy. The session ends, an event and a
//!    notice are written, and both holders have to sign in. No cookie is cleared.
//! 4. Whether a token is a replay is judged by the moment at which its request *arrived*, however late a
//!    handler asks. Everything else is judged when it is asked.
//! 5. A new token goes on an answer only if that leaves within 60 seconds of the arrival. Otherwise the
//!    next request gets it.
//! 6. A token that was not used for 7 days is not renewed; 30 days after the login the session ends
//!    however busy it was.
//!
//! A rotation and the first late use are the only writes that plain requests cause.
//!
//! A thief who asks more often than every 90 seconds is not found by rotation: each generation is handed to
//! them in time, as to another tab. If they come from another network *and* another browser family than the
//! client that made the generation, that is the event `session_shared`, and
//! [`binding`](crate::config::SessionConfig::binding) says what follows.
//!
//! # Stages
//!
//! A sign-in that has not come all the way is not a session. It has another token type and another
//! extractor: [`PendingSession`] waits for a second factor, [`PasswordChangeSession`] for a new
//! password, [`EnrolmentSession`] for the first second factor. A handler that takes a [`Session`]
//! cannot be reached with any of them; it answers 401 with a code that tells the client what is
//! missing. [`AnonymousSession`] is a visitor without an account.
//!
//! In this version the factors themselves are not built: an account that has one enrolled
//! ([`Accounts::set_enrolled_factors`]) gets a pending session at login, and the application has to
//! check the factor and finish with [`Sessions::start`].
//!
//! # New rows
//!
//! Login, reauthentication and a changed password start a new session and end the old one in the
//! same transaction: a token planted before a login is worth nothing after it.
//!
//! There is one exception. A session that was replaced because its owner showed a factor again
//! (`POST /reauthenticate`) keeps its old rights for ten seconds, so that requests which other tabs had under
//! way end as they began. In that time it is not renewed, nothing takes its place, no account flow takes it,
//! it holds no challenge and no cookie is set for it; it ends at once with the session that took its place.
//! [`Session::is_superseded`](crate::Session::is_superseded) tells a handler. What stays the same
//! is the [`lineage_id`](crate::Session::lineage_id). A service that hangs data on a session moves it with
//! a hook, in the same transaction:
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<portcullis::Portcullis, portcullis::ConfigErrors> {
//! use portcullis::Portcullis;
//! use portcullis::port::{HookFuture, OnSessionReplaced, SessionReplaced};
//! use sea_orm::{ConnectionTrait, DatabaseTransaction};
//!
//! struct MoveCart;
//!
//! impl OnSessionReplaced for MoveCart {
//!     fn replaced<'a>(
//!         &'a self,
//!         replaced: SessionReplaced,
//!         txn: &'a DatabaseTransaction,
//!     ) -> HookFuture<'a, ()> {
//!         Box::pin(async move {
//!             let (old, new) = (replaced.old, replaced.new);
//!             let sql = format!("UPDATE cart SET session_id = '{new}' WHERE session_id = '{old}'");
//!             txn.execute_unprepared(&sql).await?;
//!             Ok(())
//!         })
//!     }
//! }
//!
//! let auth = Portcullis::builder(db).secret(secret).on_session_replaced(MoveCart).build()?;
//! # Ok(auth)
//! # }
//! ```
//!
//! # What ends a session
//!
//! `POST /logout`; its owner, from the list of sessions; a replay; its times; a changed password, a
//! disabled, deleted or re-enabled account, which move the account's epoch. All of it counts on the
//! next request of every node, because that request reads the row. Only signing out, here or everywhere,
//! clears the cookie: a 401 never does, and an outage is 503. Ending all sessions of an account also ends a
//! sign-in that is under way and commits later.
//!
//! # Two cookies of one name
//!
//! Another program on the same host, or one that the browser kept from an earlier set-up, may have a cookie of
//! our name. The one that counts is the one that we signed and that can still be renewed; the others do no
//! harm. If two count, nobody can tell which one is meant: 400 `multiple_credentials`, but only where
//! somebody must be known. A public route, a sign-in and signing out work.
//!
//! # From a handler of your own
//!
//! Whoever was recognised by other means can be signed in:
//!
//! ```no_run
//! use axum::response::{IntoResponse, Redirect};
//! use portcullis::{ClientInfo, Portcullis, Rejection};
//!
//! async fn by_our_means(
//!     auth: Portcullis,
//!     client: ClientInfo,
//! ) -> Result<impl IntoResponse, Rejection> {
//!     # let name = "alice";
//!     let Some(account) = auth.accounts().find_by_login(name).await? else {
//!         return Err(portcullis::login::LoginError::InvalidCredentials.into());
//!     };
//!     let issued = auth.sessions().start(&account, &client).remember(false).await?;
//!     Ok((issued, Redirect::to("/")))
//! }
//! ```
//!
//! [`Issued`](crate::Issued) must become part of the answer, or the client never hears of its
//! session; [`Issued::apply`](crate::Issued::apply) does that on a plain `HeaderMap`.
//! [`Portcullis::peek`](crate::Portcullis::peek) reads a token without a statement: enough to
//! decide whether a page shows "sign in", never to let someone in.
//!
//! # Bearer tokens
//!
//! Off by default. With `service.bearer` a client may ask for `"transport": "bearer"` at login and
//! gets `{"token": …, "token_type": "Bearer", "expires_in": …}` instead of a cookie. It sends the
//! token in the `Authorization` header and renews it with `POST /session/refresh`; a request with a
//! bearer token never rotates and never gets a cookie. A header that is not a token of ours is left
//! to the application. A cookie and a bearer token together are 400 `multiple_credentials`.
//!
//! # Streams
//!
//! A WebSocket handshake is judged by the same-origin rule although it is a `GET`. Its token is replaced like
//! any other, and the new one comes with the answer that accepts it (101, or 200 to an extended `CONNECT` of
//! HTTP/2). Other requests with an `Upgrade` header are ordinary ones. An open stream is not closed when its session ends: a service that keeps streams open
//! asks again from time to time.
//!
//! [`Session`]: crate::Session
//! [`Session::just_rotated`]: crate::Session::just_rotated
//! [`PendingSession`]: crate::PendingSession
//! [`PasswordChangeSession`]: crate::PasswordChangeSession
//! [`EnrolmentSession`]: crate::EnrolmentSession
//! [`AnonymousSession`]: crate::AnonymousSession
//! [`Accounts::set_enrolled_factors`]: crate::account::Accounts::set_enrolled_factors
//! [`Sessions::start`]: crate::session::Sessions::start
