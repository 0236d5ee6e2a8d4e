//! Several nodes: more than one process of your service on one database.
//!
//! Nodes share the database and the secret, and nothing else. They need no message bus and no sticky sessions.
//! A change on one node takes effect on the next request to every other node, because each request reads the
//! session, the account and the versions of its grants.
//!
//! # Check list
//!
//! | what | how |
//! |---|---|
//! | the same secrets, in the same order | `PORTCULLIS_SECRET` from one place, see [below](#different-secrets) |
//! | the same configuration | public URL, issuer, cookie name and [levels](super::permissions#levels) too |
//! | the same clock | NTP; differences of up to 30 seconds do no harm |
//! | limits for all nodes together | `PORTCULLIS_RATE_STORE=database`, or Redis |
//! | the tables before the traffic | see [below](#migrations) |
//! | maintenance and outbox | spawned on every node; a lease lets one node work at a time, see [`housekeeping`](super::housekeeping) |
//! | the real client addresses | on every node, see [`proxies`](super::proxies) |
//! | a clean stop | `auth.drain()` and `auth.audit_log().flush()`, see [below](#rolling-releases) |
//!
//! # Rate limits
//!
//! By default each node counts by itself, so four nodes allow four times as many requests. Failed attempts and
//! locks are always in the database and count for all nodes.
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<portcullis::Portcullis, portcullis::ConfigErrors> {
//! use portcullis::Portcullis;
//! use portcullis::config::RateStore;
//!
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .configure(|config| config.rate.store = RateStore::Database)
//!     .build()?;
//! # Ok(auth)
//! # }
//! ```
//!
//! For much traffic, use `RedisRateLimiter` (feature `redis`). While the shared store does not answer, each
//! node counts locally with a quarter of every limit.
//!
//! # Clocks
//!
//! The absolute times in the database come from the node that wrote them. With a difference of up to 30 seconds
//! nobody is signed out, and no stolen copy of a token goes unnoticed. A larger one causes the finding
//! `clock_skew`. Sessions then end too early or too late by the difference, and codes too.
//!
//! # Migrations
//!
//! Nodes may start together and all run the migrations: they wait for each other. See
//! [`migrations`](super::migrations). If several versions run side by side, run them as a step of the release
//! instead, before the first new node starts. Call [`check_tables`](crate::Portcullis::check_tables) at the start of
//! each node, so that a node without its tables gets no traffic.
//!
//! # Rolling releases
//!
//! Old and new nodes run side by side for a while. Sessions do not notice: a token that one node made is valid
//! on all others. To stop a node without losing work:
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) {
//! use std::time::Duration;
//!
//! // After the server has finished its requests:
//! let _ = tokio::time::timeout(Duration::from_secs(10), auth.drain()).await;
//! auth.audit_log().flush().await; // denials that are only counted so far
//! # }
//! ```
//!
//! A message of a kind that only the new version knows waits for a new node. A role with a permission that only
//! the new code requires does nothing on an old node.
//!
//! # A new secret
//!
//! Every node must know the new secret before any node signs with it:
//!
//! 1. Deploy `old,new` to all nodes.
//! 2. Deploy `new,old` to all nodes. Sessions change to the new secret at their next rotation.
//! 3. Deploy `new` after the refresh window (7 days).
//!
//! Some digests are made with the first secret only. So after step 2, counts of failed attempts start again,
//! and during step 2 old and new nodes count separately.
//!
//! # Different secrets
//!
//! Perhaps one node generated its own secret, or read an old file. Then the nodes still share the database, but
//! they cannot read each other's tokens:
//!
//! | what | what happens |
//! |---|---|
//! | a request with the other node's cookie | 401 `invalid_token`, without a statement. The cookie is kept, and the session goes on at its own node |
//! | a sign-in at the other node | replaces the cookie in this browser. The first session stays valid until it ends by itself. The device counts as new, and the owner gets a notice |
//! | signing out at the other node | clears the cookie, but cannot end the session: only its own node can read the token |
//! | links and codes of the other node | are refused as wrong |
//! | messages of the other node | wait until a node with the right secret delivers them |
//! | failed attempts | count separately, so an attacker gets more guesses |
//! | ending all sessions, disabling an account, grants | work on all nodes, because they need no token |
//!
//! People notice it as "I am signed out on every second click". The operator sees the finding `foreign_cookie`
//! on each node that got a cookie of the other one. Give all nodes the same list of secrets. If both secrets are
//! in use, list both on all nodes: then nobody must sign in again.
//!
//! [`Secret::load_or_create`](crate::Secret::load_or_create) is for one node with a disk of its own. With
//! several nodes, read the secret from the place where you keep your other secrets.
