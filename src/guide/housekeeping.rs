//! Housekeeping: delete old rows, so that no table grows without limit.
//!
//! Many rows become useless: sessions end, codes expire, attempts no longer count. Only
//! [`maintenance`](crate::maintenance) removes them. Choose one of two ways to run it.
//!
//! # In the service
//!
//! Spawn a task at the start, on every node. A lease in the database makes sure that only one node
//! works at a time.
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
//! Write a small program that runs once and ends. It needs the same configuration as the service,
//! which sets how long rows are kept. It also needs the same [hooks](crate::Builder::hooks):
//! maintenance erases closed accounts, and [`before_erase`](crate::hook::Hooks::before_erase)
//! cleans your own tables.
//!
//! ```no_run
//! use portcullis::hook::Hooks;
//! use portcullis::{Config, Portcullis};
//!
//! /// The hooks of the service. Share them, for example in a library crate of yours.
//! struct Shop;
//!
//! impl Hooks for Shop {}
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let db = sea_orm::Database::connect(std::env::var("DATABASE_URL")?).await?;
//!     let auth = Portcullis::builder(db).hooks(Shop).config(Config::from_env()?).build()?;
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
//! If a run fails, the next run does the rest. Two runs at the same time do no harm. If no run has
//! succeeded for three days, there is the finding `maintenance_overdue`.
//!
//! # What is kept, and for how long
//!
//! | table | kept for | setting |
//! |---|---|---|
//! | `auth_session`, `auth_session_data` | 7 days after the end; visitors: one hour | `retention.sessions` |
//! | `auth_challenge`, `auth_challenge_start` | one hour after a code or link expired | `retention.challenges` |
//! | `auth_totp`: authenticators that never got their first code | one hour, or `totp.confirm_lifetime` if that is longer | `retention.challenges` |
//! | `auth_api_key` | 30 days after the key ended | `retention.api_keys` |
//! | `auth_trusted_device` | until the trust ends | `trusted_device.lifetime` |
//! | `auth_dpop_proof` | 16 minutes: then the proof is too old, whatever `dpop.lifetime` is. Each request with a bound token writes a row, so with many such clients run maintenance every few minutes | |
//! | `auth_passkey_challenge` | until it cannot be answered any more: five minutes. Strangers can start some per minute and source, so run maintenance every few minutes if many do | `passkey.challenge_lifetime` |
//! | `auth_provider_flow`, `auth_pending_identity` | until they cannot be answered any more: ten minutes. Strangers can start some per minute and source | `federation.flow_lifetime` |
//! | `auth_provider_session` | until the session must have ended | `session.absolute_lifetime` |
//! | `auth_logout_token` | 12 minutes: then the token is too old | |
//! | `auth_captcha` | one hour after it expired | `retention.challenges` |
//! | `auth_captcha_failures` | until the window has passed | `captcha.window` |
//! | `auth_attempt` | 24 hours | `retention.attempts` |
//! | `auth_rate` | until the limit has recovered | |
//! | `auth_outbox` | 24 hours | `mail.keep` |
//! | `auth_outbox_limit` | one hour | |
//! | `auth_event` | 180 days | `retention.events`; `None` keeps them |
//! | `auth_denial` | 30 days | `retention.denials` |
//! | `auth_former_address` | 30 days | |
//! | `auth_told_place`, `auth_device_digest` | 30 days | |
//! | `auth_account`: accounts that strangers created and nobody verified | 7 days | `retention.unverified_accounts`; only with `login.require_verified` |
//! | `auth_account`: accounts that were closed | 14 days, then they are [erased](crate::own_account#erasing) | `retention.closed_accounts` |
//! | `auth_account_recovery` | 180 days after the time in which it could be completed, and the lifetime of a link | `retention.account_recoveries` |
//! | `auth_device_request` | 24 hours after the time to decide or to fetch the token | `retention.device_requests` |
//! | `auth_event`: addresses and details in the events of an erased account | 30 days | `retention.erased_sources` |
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
//! - All other accounts, their names, roles, groups and grants. Only your own calls remove them. A
//!   deleted or erased account keeps its row.
//! - `auth_event`, with every sign-in and change. Expect one to three rows for each sign-in. It is
//!   usually the largest table. You can send the events to your log system (see
//!   [`telemetry`](super::telemetry)) and set a shorter time.
//! - The files of the database. Deleted rows leave free space, which the database uses again. To
//!   make files smaller, use `VACUUM` (SQLite) or `OPTIMIZE TABLE` (MariaDB). On PostgreSQL,
//!   autovacuum is enough.
//!
//! # How to check that it works
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::Fault> {
//! let last = auth.maintenance().last_run().await?; // on any node; `None`: never
//! # Ok(())
//! # }
//! ```
//!
//! Each run that removed something writes one event `maintenance`, with the numbers. If a foreign
//! key of your own table prevents the removal of an account, a warning names the key. Add `ON
//! DELETE CASCADE` to it.
