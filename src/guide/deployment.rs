//! Production set-up: secrets, database connections, cookies, outages.
//!
//! # The secret
//!
//! The secret signs tokens and is the key for the digests in the database. It must have at least 32 random
//! bytes (`openssl rand -base64 32`). Keep it out of your repository. Anyone with the secret can sign tokens,
//! but a token also needs a row in the database.
//!
//! To rotate the secret, put the new one first and keep the old one after it:
//!
//! ```text
//! PORTCULLIS_SECRET=new,old
//! ```
//!
//! Portcullis signs with the first secret, and verifies with all of them. A session changes to the new secret
//! at its next rotation. Every node must know the new secret before any node signs with it, so rotate in
//! three steps:
//!
//! 1. Deploy `old,new` to all nodes.
//! 2. Deploy `new,old` to all nodes.
//! 3. Remove the old secret when nothing needs it any more. Keep it at the end of the list until then:
//!
//! | what needs the old secret | for how long |
//! |---|---|
//! | sessions | the refresh window, 7 days |
//! | links and codes; the longest is the link that objects to a recovery | 18 days (`account_recovery.delay` + `open_for` + `link_lifetime`) |
//! | addresses that accounts have left | 30 days |
//! | requests of [devices](crate::device_login) | half an hour |
//! | nonces for proofs of [keys](crate::dpop); without it, a client must ask once more | 5 minutes (`dpop.lifetime`) |
//! | known devices: without it, people who have not signed in since count as new on their device | 180 days (`attempts.device_lifetime`) |
//! | [API keys](crate::api_key): a use moves a key to the new secret. One that is not used until the old secret is removed is lost. `old_secrets` counts them | until each key was used |
//! | [trusted devices](crate::trusted_device): without it, the next sign-in asks for the second factor again. A use moves the device to the new secret | 30 days (`trusted_device.lifetime`) |
//! | seeds of [authenticators](crate::totp): maintenance encrypts them again, and so does a use | until the next [maintenance](crate::maintenance) |
//! | [recovery codes](crate::recovery_code): they are digested with the secret of their time | until their owners have made new ones |
//!
//! [`maintenance().old_secrets()`](crate::maintenance::Maintenance::old_secrets) counts the authenticators, recovery
//! codes and waiting messages that still need an old secret.
//!
//! **If you remove it earlier, people with an authenticator or with recovery codes cannot sign in.** An administrator
//! must then remove their factors with [`set_enrolled_factors`](crate::account::Accounts::set_enrolled_factors).
//!
//! To sign everyone out at once, do not remove a secret. Call
//! [`sessions().end_all(..)`](crate::session::Sessions::end_all) for each account.
//!
//! Rotate peppers (`config.password.peppers`) in the same way. A hash that was made with an older pepper is replaced at
//! the next login of its account. If you remove a pepper that hashes still need, those accounts cannot sign in.
//!
//! # Configuration from the environment
//!
//! [`Config::from_env`](crate::Config::from_env) reads the variables `PORTCULLIS_*`. It rejects unknown
//! variables, so a misspelt security setting is noticed. The page [`config::env`](crate::config::env) lists
//! all variables. No other code reads the environment.
//!
//! # Connections
//!
//! ```no_run
//! # async fn example() -> Result<(), sea_orm::DbErr> {
//! use std::time::Duration;
//!
//! let mut options = sea_orm::ConnectOptions::new("postgres://app@db/app");
//! options
//!     // By default the pool pings a connection before every use. That is one more round trip per request.
//!     .test_before_acquire_if_idle_for(Duration::from_secs(30))
//!     // By default every statement is written to the log.
//!     .sqlx_logging(false)
//!     .record_stmt_in_spans(false);
//! let db = sea_orm::Database::connect(options).await?;
//! # Ok(())
//! # }
//! ```
//!
//! On SQLite:
//!
//! - Use a write-ahead log, so that readers do not wait for a writer.
//! - Limit `ANALYZE`, with `PRAGMA analysis_limit = 400` or `PRAGMA optimize`. After an unlimited `ANALYZE`,
//!   the SQLite version in sqlx plans a statement again for each value. That more than doubled the cost of a
//!   request.
//!
//! On MySQL and MariaDB, the tables have a binary collation. Do not change it.
//!
//! # Proxies and several nodes
//!
//! See the pages [`proxies`](super::proxies), [`nodes`](super::nodes) and
//! [`pgbouncer`](super::pgbouncer).
//!
//! # Several services on one host
//!
//! Browsers store cookies by host name, not by port. Two services on `example.com:8443` and `example.com:9443`
//! share their cookies, and so do two services on `localhost`. If both use the same `cookie.name`, a sign-in
//! at one service replaces the cookie of the other and signs people out there. Give each service its own
//! cookie name (`cookie.name`, `PORTCULLIS_COOKIE_NAME`) or its own host name. The finding `foreign_cookie`
//! reports this problem.
//!
//! # Inside a page of another site
//!
//! In an iframe on another site, browsers do not send ordinary cookies. To support this, set
//! `cookie.same_site` to `none` and `cookie.partitioned` to `true`. The browser then stores separate cookies
//! for each site that embeds your service, so people sign in once for each site.
//!
//! This cookie has its own name, `__Host-session-partitioned`, because a browser also sends an older cookie
//! that is not partitioned. When you turn the setting on or off, everyone is signed out once.
//!
//! # Outages
//!
//! If the database is unavailable, routes that need to know the user answer 503 with `Retry-After`. They never
//! answer 401 or 403, and no cookie is cleared, so clients stay signed in.
//!
//! - `Option<Session>` is an error too, because portcullis cannot know whether there is a session.
//! - Routes that do not need to know the user work as usual.
//! - A forged token is still answered with 401, because this check needs no database.
//! - A logout that could not be stored is answered with 503.
//!
//! ## The time limit
//!
//! A database that does not answer within `database.timeout` counts as an outage. Changes that were not yet
//! sent for commit are rolled back. If `COMMIT` itself takes longer than the limit, the answer is 503 although
//! the change may have been stored.
//!
//! If a database server disappears without closing its connections, only TCP detects this, after a long time.
//! TCP keepalives, or a statement time limit on the server, make the detection faster.
//!
//! ## Waits for locks
//!
//! The limit ends the wait of the request, but not the wait of the database server. A statement may wait for a
//! row that another transaction has locked. Until the server answers, it keeps its connection and one of
//! `database.writers`. So set a lock limit on the server that is shorter than `database.timeout` (5 s):
//!
//! | server | command (or the same in its configuration) |
//! |---|---|
//! | PostgreSQL | `ALTER ROLE app SET lock_timeout = '4s'` |
//! | MySQL and MariaDB | `SET GLOBAL innodb_lock_wait_timeout = 4` (the default is 50 s) |
//!
//! Lock rows of `auth_` tables only for short times.
//!
//! # Clients that disconnect
//!
//! A server drops the handler of a client that has disconnected. This can damage a connection, if it stops a
//! database driver in the middle of a statement:
//!
//! - The driver may put a connection with an open transaction back into the pool. (sqlx counts a transaction
//!   only after `BEGIN` has been answered.)
//! - On MySQL and MariaDB, the next query may receive the answer to the interrupted one.
//!
//! So portcullis runs statements in separate tasks, and the request only waits for them. It does this for all
//! statements except plain reads, and on MySQL and MariaDB for plain reads too. A mounted route that has
//! opened a transaction always finishes. Before that point it stops when the client disconnects.
//!
//! Your own handlers on the same pool have the same problem. Run code that writes in
//! [`run_to_end`](crate::Portcullis::run_to_end), and open transactions with
//! [`begin`](crate::Portcullis::begin). On MySQL and MariaDB, use `run_to_end` for code that reads, too.
//!
//! Call [`drain`](crate::Portcullis::drain) before the process ends. It waits for the work of clients that have
//! disconnected. `database.writers` is the maximum number of writes at the same time.
//!
//! Portcullis retries a transaction up to three times if the database reports it as busy or deadlocked.
//!
//! # Monitoring
//!
//! Each event goes to `tracing`, under `portcullis::event`. It is also written to the table
//! `auth_event`, in the transaction of the change that it describes; see
//! [`audit_log`](crate::audit_log). Before you stop a node, call
//! [`flush`](crate::audit_log::AuditLog::flush). It writes the denials that are only counted in
//! memory so far.
//!
//! [`Portcullis::audit`](crate::Portcullis::audit) lists findings: problems that do not stop the service. The
//! page [`operating`](super::operating) explains each finding, each warning and the important events, and what to
//! do. Some of the findings:
//!
//! | finding | meaning |
//! |---|---|
//! | `no_public_url` | tokens have the issuer `portcullis` |
//! | `insecure_cookies` | cookies are sent without `Secure` |
//! | `same_site_none` | only the same-origin check protects against requests from other sites |
//! | `password_alone_below_15` | the minimum password length is below the NIST minimum for a single factor |
//! | `proxy_trusts_everyone` | any client can claim any address |
//! | `binding_off` | a session that moves to another network and browser is not recorded |
//! | `clock_skew` | a token has an issue time in the future: a clock is or was wrong |
//! | `foreign_cookie` | another service on this host signs cookies with the same name |
//! | `no_peer_address` | client addresses are unknown |
//! | `forwarded_without_proxy` | there seems to be a proxy that is not listed |
//!
//! # Maintenance
//!
//! Tables grow until old rows are deleted. Start one task on each node. The nodes take turns:
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) {
//! tokio::spawn(auth.maintenance().every(std::time::Duration::from_secs(3600)));
//! # }
//! ```
//!
//! Or call [`auth.maintenance().run()`](crate::maintenance::Maintenance::run) from a scheduler. The page
//! [`maintenance`](crate::maintenance) says when each row is deleted. If maintenance has not run for three days, a
//! running process reports the finding `maintenance_overdue`.
//!
//! Restoring a backup has its own page: [`backups`](super::backups).
