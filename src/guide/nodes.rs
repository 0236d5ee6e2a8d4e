//! Several nodes: more than one process of your service on one database.
//!
//! Nodes share only the database and the secret. They need no message bus and no sticky sessions. A
//! change on one node takes effect on the next request to every other node, because each request
//! reads the session, the account and the versions of its grants.
//!
//! # Checklist
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
//! For heavy traffic, use `RedisRateLimiter` (feature `redis`). While the shared store does not
//! answer, each node counts locally with a quarter of every limit.
//!
//! # Clocks
//!
//! Each node writes times of its own clock into the database. Differences of up to 30 seconds sign
//! nobody out and hide no stolen token. A larger difference causes the finding `clock_skew`.
//! Sessions and codes then end too early or too late by this difference.
//!
//! Each run of [`maintenance`](crate::maintenance) compares the clock of its node with the clock of the
//! database. If they differ by more than five seconds, the node has the finding
//! `database_clock_skew`.
//!
//! Codes of authenticators depend most on the clocks, because each is shown for 30 seconds. A node
//! accepts one step more and one less. A code works once on all nodes, and so do the codes before it.
//! So if one node is a step ahead and accepts a code, a slower node may refuse the next code of the
//! same app for up to 30 seconds.
//!
//! # Migrations
//!
//! Nodes may start together and all run the migrations, because they wait for each other. See
//! [`migrations`](super::migrations). If several versions run side by side, run the migrations as a
//! step of the release instead, before the first new node starts. Call
//! [`check_tables`](crate::Portcullis::check_tables) at the start of each node, so that a node
//! without its tables gets no traffic.
//!
//! # Rolling releases
//!
//! Old and new nodes run side by side for a while. A token from one node is valid on all others. To
//! stop a node without losing work:
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
//! If only the new version knows the kind of a message, the message waits for a new node. A
//! permission that only the new code requires has no effect on an old node.
//!
//! Turn [trusted devices](crate::trusted_device) on only when all nodes run a version that knows them. An older
//! node takes the sessions of such devices for ordinary ones. Before you go back to an older version, end all
//! sessions.
//!
//! # A new secret
//!
//! Every node must know the new secret before any node signs with it:
//!
//! 1. Deploy `old,new` to all nodes.
//! 2. Deploy `new,old` to all nodes. Sessions change to the new secret at their next rotation.
//! 3. Deploy `new` when nothing needs the old secret any more: see [`deployment`](super::deployment).
//!
//! The counts of failed attempts use only the first secret. So they start again after step 2. During
//! step 2, old and new nodes count separately.
//!
//! # Different secrets
//!
//! This happens if one node generated its own secret, or read an old file. The nodes still share
//! the database, but they cannot read each other's tokens:
//!
//! | what | what happens |
//! |---|---|
//! | a request with the other node's cookie | 401 `invalid_token`, without a statement. The cookie is kept, and the session still works on its own node |
//! | a sign-in at the other node | replaces the cookie in this browser. The first session stays valid until it ends by itself. The device counts as new, and the owner gets a notice |
//! | signing out at the other node | clears the cookie, but cannot end the session: only its own node can read the token |
//! | links and codes of the other node | are refused as wrong |
//! | messages of the other node | wait until a node with the right secret delivers them |
//! | failed attempts | count separately, so an attacker gets more guesses |
//! | ending all sessions, disabling an account, grants | work on all nodes, because they need no token |
//!
//! People report that they are signed out on every second click. The operator sees the finding
//! `foreign_cookie` on each node that received a cookie of the other node. Give all nodes the same
//! list of secrets. If both secrets are in use, list both on all nodes. Then nobody has to sign in
//! again.
//!
//! [`Secret::load_or_create`](crate::Secret::load_or_create) is for one node with its own disk.
//! With several nodes, read the secret from the place where you keep your other secrets.
