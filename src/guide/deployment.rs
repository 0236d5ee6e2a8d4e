//! Secrets, proxies, connections, several nodes, outages.
//!
//! # The secret
//!
//! One secret of at least 32 random bytes (`openssl rand -base64 32`) signs tokens and keys the
//! digests at rest. Keep it out of the repository. Who has it can sign tokens, but a token also
//! needs a row in the database to point to.
//!
//! To rotate it, put the new one in front and keep the old one behind it:
//!
//! ```text
//! PORTCULLIS_SECRET=new,old
//! ```
//!
//! The newest makes, the older ones only verify. A session moves to the new one at its next
//! rotation. Every node must know the new secret before one of them signs with it, so roll out
//! `old,new` first, then `new,old`, and drop the old one after the refresh window (7 days), when no
//! token of it can be renewed any more. To sign everyone out at once, drop it at once.
//!
//! Peppers are rotated the same way; a hash made with an older one is replaced at the next login of
//! its account. A pepper that is removed while hashes need it fails closed: those accounts cannot
//! sign in.
//!
//! # Configuration from the environment
//!
//! [`Config::from_env`](crate::Config::from_env) reads `PORTCULLIS_*` and refuses a variable it does
//! not know, so a misspelt protection is noticed. The table is on [`config::env`](crate::config::env).
//! Nothing else reads the environment.
//!
//! # Connections
//!
//! ```no_run
//! # async fn example() -> Result<(), sea_orm::DbErr> {
//! use std::time::Duration;
//!
//! let mut options = sea_orm::ConnectOptions::new("postgres://app@db/app");
//! options
//!     // The default pings before every use of a connection: a round trip more for each request.
//!     .test_before_acquire_if_idle_for(Duration::from_secs(30))
//!     // The default writes every statement to the log.
//!     .sqlx_logging(false)
//!     .record_stmt_in_spans(false);
//! let db = sea_orm::Database::connect(options).await?;
//! # Ok(())
//! # }
//! ```
//!
//! On SQLite use a write-ahead log, so that readers do not wait for a writer, and give `ANALYZE` a
//! limit (`PRAGMA analysis_limit = 400`, or `PRAGMA optimize`): after an unlimited one the SQLite
//! that sqlx brings plans a statement anew for each value, which more than doubled the cost of a
//! request. On MySQL and MariaDB the tables are made with a binary collation; keep it.
//!
//! # Proxies
//!
//! Behind a proxy every client seems to come from it, until its network is listed in
//! `proxies.networks` (`PORTCULLIS_TRUSTED_PROXIES=10.0.0.0/8`). List only networks that clients
//! cannot connect from. The configured header is walked from right to left and believed only as far
//! as it was written by a listed proxy.
//!
//! Serve with `into_make_service_with_connect_info::<SocketAddr>()`, or insert
//! [`PeerAddr`](crate::PeerAddr) into each request. Without either the address is unknown: all clients count
//! together as [`rate.unknown_sources`](crate::config::RateConfig::unknown_sources) sources, and failed tries
//! are not counted by source at all.
//!
//! A proxy that rewrites `Host` needs `service.public_url`, or requests without `Sec-Fetch-Site` are
//! taken for another site's. Those are not only requests of old browsers: Chromium 156 sends no
//! `Sec-Fetch-Site` to plain-http hosts other than this machine (names on a local network), nor with
//! WebSocket handshakes. What is refused is a warning in the log that names what was compared, and a
//! [finding](super::operating) when it keeps happening. Terminate TLS and send HSTS at the proxy.
//!
//! A proxy that takes a prefix off the path (people see `https://example.com/app/docs`, the service is
//! asked for `/docs`) needs it in the public URL: `https://example.com/app`. It then stands in front of
//! redirects, `next` and links in messages. Where one service is reached under several prefixes, let
//! the proxy say so in `X-Forwarded-Prefix` and switch `proxies.prefix` on
//! (`PORTCULLIS_FORWARDED_PREFIX=true`). It is believed only from a listed proxy, and only if it is
//! plain segments; every listed proxy has to set or remove it. Links in messages never come from a
//! request. A service that sees the whole path itself (`Router::nest("/app", ..)`) leaves the prefix
//! out of the public URL and writes it into the paths that it configures.
//!
//! # Several nodes
//!
//! Nodes share the database and the secret, nothing else; no bus and no sticky sessions are needed.
//! Sessions, accounts and versions of grants are read with each request, so what one node changed
//! counts in the next request of every other. What is kept in memory per node: compiled grants
//! (under versions that each request reads), the gate of password hashing, and the counters of
//! [rate limits](crate::rate_limit), which therefore count per node: with four nodes a source may ask
//! four times as often. To count together, keep rates in the database
//! (`PORTCULLIS_RATE_STORE=database`; [`maintenance`](crate::maintenance) cleans up), or, for much
//! traffic, give the builder a `RedisRateLimiter` (feature `redis`). While that store is down each
//! node counts by itself with a quarter of every quota.
//!
//! Clocks of nodes may differ by up to 30 seconds. A token from further in the future still counts, for the
//! row says whether its session lives, and it is the finding `clock_skew`.
//!
//! # Several services on one host
//!
//! Browsers keep cookies by host name, not by port: two services on `example.com:8443` and `example.com:9443`,
//! or two that you develop on `localhost`, share one jar. With the same `cookie.name` each sign-in at one of
//! them replaces the cookie of the other, which signs people out there. Give each its own name
//! (`cookie.name`, `PORTCULLIS_COOKIE_NAME`), or its own host name. The finding `foreign_cookie` says that it
//! happens.
//!
//! # Inside a page of another site
//!
//! In an iframe of another site browsers send no ordinary cookie of yours. Set `cookie.same_site` to `none`
//! and `cookie.partitioned` to `true`: the browser then keeps one jar for each site that embeds you, so
//! people sign in once for each. The cookie has a name of its own (`__Host-session-partitioned`), because a
//! browser sends an older one that is not partitioned beside it; switching over signs everybody out once.
//!
//! # Outages
//!
//! With the database away, routes that ask who someone is answer 503 with `Retry-After`, never 401
//! or 403, and no cookie is cleared: clients stay signed in. `Option<Session>` is an error then too,
//! for nothing is known. Routes that ask nothing are not touched, and a forged token is still 401,
//! because it needs no database. A logout that could not be written is 503, not a success.
//!
//! A database that does not answer within `database.timeout` is an outage too. The limit ends the
//! waiting: what was not sent to be committed by then is rolled back. Only where `COMMIT` itself takes
//! longer than the limit may a 503 have been carried out all the same. A connection whose server is
//! gone without a word is only given up by TCP; keepalives, or a limit for statements on the server,
//! make that sooner.
//!
//! The limit ends the waiting of the request, but not that of the server. A statement that waits for a row
//! which another transaction holds keeps its connection, and one of `database.writers`, until the server
//! answers. So let the server give up before `database.timeout` (5 s) does: on PostgreSQL
//! `ALTER ROLE app SET lock_timeout = '4s'`, on MySQL and MariaDB
//! `SET GLOBAL innodb_lock_wait_timeout = 4` (the default there is 50 s), or the same in their
//! configuration. Do not hold locks on rows of `auth_` tables for longer than you must.
//!
//! # Clients that hang up
//!
//! A server drops the handler of a client who is gone. A driver that is dropped in the middle of a
//! statement may put a connection back into the pool with an open transaction (sqlx counts one only
//! when `BEGIN` has been answered) or, on MySQL and MariaDB, with an answer that the next query takes
//! for its own. So portcullis runs each statement that is not a plain read (there: each statement) in a
//! task of its own, and the request only waits for it. A mounted route that has opened a transaction
//! goes to its end; before that it is given up with its client.
//!
//! Your own handlers have the same trouble with their own statements, on the same pool. Run what
//! writes in [`run_to_end`](crate::Portcullis::run_to_end), and open transactions with
//! [`begin`](crate::Portcullis::begin); on MySQL and MariaDB run what reads in there too.
//!
//! Before the process ends, call [`drain`](crate::Portcullis::drain): it waits for what clients left
//! behind who hung up. How many writes are under way at once is `database.writers`.
//!
//! Busy and deadlocked transactions are tried again up to three times.
//!
//! # What an operator sees
//!
//! Events go to `tracing` under `portcullis::event` and, in the transaction of the change they tell
//! of, to `auth_event`; see [`audit_log`](crate::audit_log). Before a node stops,
//! [`flush`](crate::audit_log::AuditLog::flush) writes the denials that are still only counted.
//!
//! [`Portcullis::audit`](crate::Portcullis::audit) lists what works but should be known. What each
//! finding and each warning means, which events to watch, and what to do, is on the page
//! [`operating`](super::operating). Some of the findings:
//!
//! | finding | means |
//! |---|---|
//! | `no_public_url` | tokens name the issuer `portcullis` |
//! | `insecure_cookies` | cookies are sent without `Secure` |
//! | `same_site_none` | only the same-origin check stands between other sites and this one |
//! | `password_alone_below_15` | shorter passwords than NIST asks for a single factor |
//! | `proxy_trusts_everyone` | anyone can claim any source |
//! | `binding_off` | a session that moves leaves no trace |
//! | `clock_skew` | a token was issued in the future: a clock is, or was, wrong |
//! | `foreign_cookie` | something else signs cookies of this name on this host |
//! | `no_peer_address` | the address of clients is not known |
//! | `forwarded_without_proxy` | there seems to be a proxy that is not listed |
//!
//! # Rows that are over
//!
//! Tables grow until somebody cleans them. Spawn one task on each node; they take turns:
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) {
//! tokio::spawn(auth.maintenance().every(std::time::Duration::from_secs(3600)));
//! # }
//! ```
//!
//! or call [`auth.maintenance().run()`](crate::maintenance::Maintenance::run) from a scheduler. What goes
//! when is on the page of [`maintenance`](crate::maintenance). A process that has served for three days
//! without has the finding `maintenance_overdue`. Restoring a backup has a page of its own:
//! [`backups`](super::backups).
