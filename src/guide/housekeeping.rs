//! Housekeeping: delete old rows, so that no table grows without limit.
//!
//! Many rows lose their use: sessions end, codes expire, attempts are forgotten. Nothing removes them until you
//! run [`maintenance`](crate::maintenance). Choose one of two ways.
//!
//! # In the service
//!
//! Spawn one task at the start, on every node. A lease in the database makes sure that only one of them works
//! at a time.
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) {
//! use std::time::Duration;
//!
//! tokio::spawn(auth.maintenance().every(Duration::from_secs(3600)));
//! // Messages that another node left, or that wait for another attempt.
//! let outbox = auth.clone();
//! tokio::spawn(async move { outbox.outbox().run().await });
//! # }
//! ```
//!
//! # From a scheduler
//!
//! A small program of yours runs once and ends. It needs the same configuration as the service, which says how
//! long rows are kept. It also needs the same [hooks](crate::Builder::hooks): maintenance erases closed accounts, and
//! [`before_erase`](crate::hook::Hooks::before_erase) removes the rows in your own tables:
//!
//! ```no_run
//! use portcullis::{Config, Portcullis};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let db = sea_orm::Database::connect(std::env::var("DATABASE_URL")?).await?;
//!     let auth = Portcullis::builder(db).config(Config::from_env()?).build()?;
//!     let report = auth.maintenance().run().await?;
//!     println!("removed: {report}"); // such as `sessions=120 attempts=31`
//!     Ok(())
//! }
//! ```
//!
//! ```text
//! # crontab: every hour
//! 17 * * * *  app  /usr/local/bin/app-housekeeping
//! ```
//!
//! A run that fails leaves the rest for the next one. Two runs at the same time do no harm. If no run has ended
//! well for three days, the finding `maintenance_overdue` says so.
//!
//! # What is kept, and for how long
//!
//! | table | kept for | setting |
//! |---|---|---|
//! | `auth_session`, `auth_session_data` | 7 days after the end; visitors: one hour | `retention.sessions` |
//! | `auth_challenge`, `auth_challenge_start` | one hour after a code or link expired | `retention.challenges` |
//! | `auth_captcha` | one hour after it expired | `retention.challenges` |
//! | `auth_captcha_failures` | until the window has passed | `captcha.window` |
//! | `auth_attempt` | 24 hours | `retention.attempts` |
//! | `auth_rate` | until the limit has recovered | |
//! | `auth_outbox`, `auth_outbox_limit` | 24 hours after sending | `mail.keep` |
//! | `auth_event` | 180 days | `retention.events`; `None` keeps them |
//! | `auth_denial` | 30 days | `retention.denials` |
//! | `auth_former_address` | 30 days | |
//! | `auth_told_place`, `auth_device_digest` | 30 days | |
//! | accounts that strangers created and nobody verified | 7 days | `retention.unverified_accounts`; only with `login.require_verified` |
//! | accounts that were closed | 14 days, then they are [erased](crate::own_account#erasing) | `retention.closed_accounts` |
//! | addresses and details in the events of an erased account | 30 days | `retention.erased_sources` |
//!
//! ```
//! use std::time::Duration;
//!
//! # let mut config = portcullis::Config::default();
//! config.retention.events = Some(Duration::from_secs(365 * 24 * 60 * 60)); // a year
//! ```
//!
//! # What still grows
//!
//! - All other accounts, their names, roles, groups and grants. They are removed only when you say so. A deleted or
//!   erased account keeps its row.
//! - `auth_event`, with every sign-in and change. Expect one to three rows for each sign-in. It is usually the
//!   largest table. Copy the events to your log system (see [`telemetry`](super::telemetry)), and shorten the
//!   time.
//! - The files of the database. Deleted rows leave free space, which the database uses again. Only `VACUUM`
//!   (SQLite) or `OPTIMIZE TABLE` (MariaDB) makes files smaller. PostgreSQL's autovacuum is enough.
//!
//! # How to see that it works
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::Fault> {
//! let last = auth.maintenance().last_run().await?; // on any node; `None`: never
//! # Ok(())
//! # }
//! ```
//!
//! Each run that removed something writes one event `maintenance`, with the numbers. If a foreign key of your
//! own table stops the removal of an account, a warning names it: add `ON DELETE CASCADE`.
