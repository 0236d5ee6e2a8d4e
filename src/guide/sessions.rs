//! How sessions work.
//!
//! # One row per session, and a token that points to it
//!
//! A session is one row in the database. The client holds a signed token (a JWT) that points to this row.
//!
//! - The token contains 128 random bits, a generation number, times, the issuer and the audience.
//! - It contains nothing about the person or their permissions, so its content cannot become outdated.
//! - The row stores a keyed digest of the random bits. A dump of the database therefore contains no usable
//!   token.
//! - The `id` of the row, which lists show, is not a token either.
//!
//! The signature is checked first. A forged, foreign or oversized token is refused without a database
//! statement. A valid token costs one statement, which reads the session, the account and the versions of
//! its grants together.
//!
//! # Rotation
//!
//! Portcullis replaces tokens regularly, so that it can detect a stolen copy.
//!
//! 1. A token is valid for 15 minutes. The first request after that succeeds as usual. Its answer has a
//!    `Set-Cookie` header with the next generation of the token. [`Session::just_rotated`] is then true.
//! 2. The old generation stays valid until the new one has been used *late*. A use is late if its request
//!    arrived at least 90 seconds ([`replay_after`](crate::config::SessionConfig::replay_after)) after the
//!    token was made. Until then every request with the old generation succeeds, and its answer has the new
//!    one.
//! 3. After a late use of the new generation, a request with the old one must come from a copy. The session
//!    ends, portcullis writes an event and notifies the owner, and both holders must sign in again. No
//!    cookie is cleared.
//! 4. A replay is detected by the time at which the request *arrived*, even if the handler asks later. All
//!    other checks use the time at which the handler asks.
//! 5. An answer carries a new token only if it is sent within 60 seconds after the request arrived. Otherwise
//!    the next request gets the new token.
//! 6. A token that was not used for 7 days is not renewed. A session always ends 30 days after the login.
//!
//! The 90 seconds protect legitimate users. None of these cases signs anyone out: parallel requests, a lost
//! answer, a browser that was killed before it saved its cookies, and clocks that differ by 30 seconds.
//!
//! Ordinary requests cause only two kinds of writes: a rotation, and the first late use of a new token.
//!
//! Rotation does not detect a thief who sends requests more often than every 90 seconds. The thief receives
//! each new generation in time, like another browser tab. But the thief may use another network *and* another
//! browser family than the client that caused the rotation. This is the event `session_shared`, and
//! [`binding`](crate::config::SessionConfig::binding) sets what happens then.
//!
//! # A session that moves
//!
//! Portcullis also compares each request with the network (IPv4 /24, IPv6 /64) and the browser family from
//! which the session was started. What is not known counts as the same. If one of them differs,
//! [`binding`](crate::config::SessionConfig::binding) decides:
//!
//! | `session.binding` | what follows |
//! |---|---|
//! | `Off` | nothing |
//! | `Log` (the default) | the change is traced |
//! | `StepUp` | the session goes on, but nothing counts from there that was proved in it before |
//! | `Suspect` | the session is marked suspicious and can only sign out |
//! | `End` | the session ends |
//!
//! With `StepUp`, ordinary routes work as before. `factor(..)`, `within(..)` and changes of the account answer
//! 401 `insufficient_user_authentication` with the factors of the account. `POST /reauthenticate` from the new
//! source makes a new session that belongs to the new source. Only the factor that was proved there counts in
//! it, and from then on the old source is the one that moved. [`Session::factors`](crate::Session::factors) is
//! empty in a request from another source. Each node records the event `session_source_changed` once for each
//! network of a session. An unfinished sign-in is judged too: its first factor does not count in the session that
//! it becomes, and it cannot set a new password from another source. Use `StepUp` only if people can prove a
//! factor again in your service.
//!
//! # Stages
//!
//! An unfinished sign-in is not a session. It has a different token type and a different extractor:
//!
//! | extractor | the sign-in still needs |
//! |---|---|
//! | [`PendingSession`] | the second factor |
//! | [`PasswordChangeSession`] | a new password |
//! | [`EnrolmentSession`] | the set-up of a second factor that a role requires |
//!
//! A handler that takes a [`Session`] does not run for any of them. The answer is 401, with a code that tells
//! the client what is missing. [`AnonymousSession`] is the session of a visitor without an account.
//!
//! If an account has a second factor, its password starts an unfinished sign-in. Portcullis checks the codes of
//! authenticators, recovery codes and codes that are sent, see [`second_factor`](crate::second_factor). Your application
//! can check a [factor of your own](crate::second_factor#a-factor-of-your-own): with an
//! [`ExternalFactor`](crate::port::ExternalFactor), or in your own handlers with [`Login::finish`]. Each sign-in can be
//! finished once.
//!
//! # When a session is replaced
//!
//! A login, a reauthentication and a change of the password start a new session. They end the old one in the
//! same transaction. So a token that an attacker planted before the login is useless after it.
//!
//! There is one exception. After `POST /reauthenticate`, the replaced session keeps its old rights for ten
//! seconds. This lets other tabs finish the requests that they have already sent. During this time:
//!
//! - the old session is not renewed or replaced, and no cookie is set for it;
//! - the flows that change the account refuse it, and it holds no challenge;
//! - it ends immediately if the new session ends.
//!
//! A handler can check [`Session::is_superseded`](crate::Session::is_superseded).
//!
//! The [`lineage_id`](crate::Session::lineage_id) stays the same when a session is replaced. If you store data
//! by session id, move the data with a hook, in the same transaction:
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
//! # Using a session in the request that starts it
//!
//! The next request of a browser carries the new cookie, but sometimes a handler needs the session at once.
//!
//! - For a visitor, the extractor [`Visitor`](crate::guard::Visitor) starts a session if the request has none.
//!   Everything that runs later in the request finds it.
//! - After a sign-in, the [`Issued`](crate::Issued) says what it made. A visitor's session can hold a challenge
//!   ([`anonymous_session`](crate::Issued::anonymous_session)), and so can an unfinished sign-in that needs its
//!   second factor ([`pending_session`](crate::Issued::pending_session)). So the answer to the password can
//!   already say that a code was sent.
//!
//! # What ends a session
//!
//! - `POST /logout`;
//! - the owner of the account, in the list of sessions;
//! - a newer session, if the account has reached `session.max_per_account`;
//! - a replay of an old token;
//! - the idle limit or the absolute limit;
//! - a change of the password, or disabling, enabling, closing, deleting or erasing the account.
//!   These increase the account's epoch, and sessions with an older epoch are invalid.
//!
//! All of this takes effect on the next request to every node, because that request reads the row. If all
//! sessions of an account are ended, a sign-in that is still in progress ends too, even if it commits later.
//!
//! Only signing out, on one device or on all, clears the cookie. A 401 never clears it, and an outage is
//! answered with 503.
//!
//! # Two cookies with the same name
//!
//! A request can carry another cookie with the name of the session cookie. It can come from another program on
//! the same host, or from an earlier set-up. Portcullis uses the cookie that it signed and can still renew, and
//! ignores the others.
//!
//! If two cookies meet this condition, portcullis cannot know which one is meant. A route that needs to know
//! the user then answers 400 `multiple_credentials`. Public routes, signing in and signing out still work.
//!
//! # Sign-in from your own handler
//!
//! If you identified a person in another way, you can sign them in:
//!
//! ```no_run
//! use axum::http::request::Parts;
//! use axum::response::{IntoResponse, Redirect};
//! use portcullis::{ClientInfo, Factor, Portcullis, Rejection};
//!
//! async fn by_our_means(
//!     auth: Portcullis,
//!     client: ClientInfo,
//!     request: Parts,
//! ) -> Result<impl IntoResponse, Rejection> {
//!     auth.check_same_origin(&request)?;
//!     # let name = "alice";
//!     let Some(account) = auth.accounts().find_by_login(name).await? else {
//!         return Err(portcullis::login::LoginError::InvalidCredentials.into());
//!     };
//!     // Not `External`: a guard that requires a second factor of your own would accept this sign-in.
//!     let sign_in = auth.sign_in(&account, &client).proved(Factor::Password).remember(false);
//!     let outcome = sign_in.replacing(&request.extensions).await?.await?;
//!     Ok((outcome.into_issued(), Redirect::to("/")))
//! }
//! ```
//!
//! This does everything that a sign-in with a password does: hooks, events, the known device, the notice of a
//! new device, memberships, and the end of the session that the client had. If the account has second
//! factors, the outcome is a sign-in that still needs one. After your own check of that factor, call
//! [`auth.login().finish(..)`](crate::login::Login::finish).
//!
//! A `public()` route of [`auth.router()`](crate::Portcullis::router) checks the origin itself. There you can
//! leave out the call of `check_same_origin`.
//!
//! Return [`Issued`](crate::Issued) as part of the answer. Otherwise the client does not receive its session.
//! [`Issued::apply`](crate::Issued::apply) adds it to a plain `HeaderMap`.
//!
//! [`Portcullis::peek`](crate::Portcullis::peek) reads a token without a statement. Use it to decide whether a
//! page shows "sign in". Never use it to grant access.
//!
//! # Bearer tokens
//!
//! Bearer tokens are off by default. If `service.bearer` is on, a client can send `"transport": "bearer"` at
//! login. It then gets `{"token": …, "token_type": "Bearer", "expires_in": …}` instead of a cookie.
//!
//! - The client sends the token in the `Authorization` header, and renews it with `POST /session/refresh`.
//! - A request with a bearer token never rotates the token and never gets a cookie.
//! - Portcullis ignores an `Authorization` header that is not one of its tokens, so your application can use it.
//! - A cookie and a bearer token in one request are answered with 400 `multiple_credentials`.
//!
//! # WebSockets and open streams
//!
//! The same-origin rule applies to a WebSocket handshake, although it is a `GET`. Its token is replaced like
//! any other. The new token comes with the answer that accepts the handshake: 101, or 200 to an extended
//! `CONNECT` of HTTP/2. Other requests with an `Upgrade` header are ordinary requests.
//!
//! Portcullis does not close an open stream when its session ends, and an [`Identity`](crate::Identity) never
//! changes. If you keep streams open:
//!
//! | to | call |
//! |---|---|
//! | close the stream with its session | [`auth.session_end(&identity, every)`](crate::Portcullis::session_end), a future for `select!` |
//! | check permissions before you act on a message | [`auth.recheck(&identity)`](crate::Portcullis::recheck) returns a new `Identity`, or 401 |
//!
//! The future completes at once if this process ends the session. It also asks the database at the
//! interval `every`, because other nodes or your own `DatabaseTransaction` may end the session.
//! Neither call renews the session. So a client that only listens must send a request before its
//! idle time is over.
//!
//! [`Session`]: crate::Session
//! [`Session::just_rotated`]: crate::Session::just_rotated
//! [`PendingSession`]: crate::PendingSession
//! [`PasswordChangeSession`]: crate::PasswordChangeSession
//! [`EnrolmentSession`]: crate::EnrolmentSession
//! [`AnonymousSession`]: crate::AnonymousSession
//! [`Login::finish`]: crate::login::Login::finish
