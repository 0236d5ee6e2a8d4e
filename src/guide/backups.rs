//! Backups: what to back up, what a restored backup brings back, and what to do about it.
//!
//! # What to back up
//!
//! Back up the whole database at once, your tables together with the tables `auth_*`. They refer to each other.
//!
//! | database | command |
//! |---|---|
//! | SQLite | `sqlite3 app.sqlite "VACUUM INTO 'backup.sqlite'"`; never copy the file while the service runs |
//! | PostgreSQL | `pg_dump --format=custom app > backup.dump` |
//! | MySQL and MariaDB | `mariadb-dump --single-transaction app > backup.sql` |
//!
//! Back up the secrets and the peppers too, but in another place. A thief of the backup then has
//! password hashes and addresses, but no keys.
//!
//! | lost | what happens |
//! |---|---|
//! | the secret | everyone signs in again; links and codes are invalid; waiting mails cannot be sent; each device counts as new; authenticators and recovery codes are useless, and an administrator must remove these factors |
//! | a pepper | nobody whose hash needs it can sign in; they must reset their passwords |
//! | a signing key of your own | everyone signs in again |
//!
//! A backup contains personal data. Delete old backups as your rules demand. They also contain
//! people who were deleted since.
//!
//! # A restored backup is an old state
//!
//! A backup is an old state of the database. Restoring it undoes every later change. This includes changes
//! that were made for security: ended sessions, changed passwords, used links.
//!
//! ## What comes back
//!
//! | what | reason | ended by `after_restore` |
//! |---|---|---|
//! | sessions that had ended | their rows are valid again, and someone may still have the cookie | yes |
//! | devices that were known before a change of the password | they are bound to the account's epoch, which is lower again | yes: every device counts as new, and the owner is notified of its next sign-in |
//! | [API keys](crate::api_key) that had ended | their rows are back | yes: every key ends, and its owner makes a new one |
//! | [trusted devices](crate::trusted_device) that had ended | their rows are back | yes: every sign-in asks for the second factor |
//! | links, codes and [action proofs](crate::action_proof) that were used or replaced | their rows are valid again | yes, all of them: people request new ones |
//! | recoveries by administrators that an owner had stopped | their rows are open again | yes, all of them |
//! | requests of [devices](crate::device_login) that were approved, denied or used | their rows are back. One that nobody had decided can be decided until its time is over | yes, if they were approved |
//! | messages that were sent | their rows are waiting again and would be sent twice | yes, they are given up |
//! | passwords from before a change | the old hash is back | no: see below |
//! | roles and permissions that were revoked | their rows are back | no: see below |
//! | accounts that were disabled or deleted | they work again | no: see below |
//! | locks after failed attempts | they are as they were at the time of the backup | no; they end by themselves |
//! | sessions of visitors | they have no account | no; they end within a day |
//!
//! You need no action for grants that a running node has cached. They are stored under random versions, and a
//! restored row has a different version.
//!
//! # What to do
//! 1. Stop every node, or keep traffic away from them.
//! 2. Restore the database.
//! 3. Call [`auth.maintenance().after_restore()`](crate::maintenance::Maintenance::after_restore) from
//!    one process, before the first node gets traffic:
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::Fault> {
//! let accounts = auth.maintenance().after_restore().await?;
//! println!("everyone must sign in again: {accounts} accounts");
//! # Ok(())
//! # }
//! ```
//!
//! 4. Use your own records to repeat the security changes since the backup, such as disabled accounts and
//!    revoked roles. The restored database does not contain the events of that time, so keep a copy of events
//!    elsewhere. `tracing` reports each one with the target `portcullis::event`.
//! 5. If someone may have read the backup, change the secret too, and keep the old one at the end of the list: see
//!    [`deployment`](super::deployment). The secret signs tokens. A thief who has the secret and the database needs
//!    nothing else.
//! 6. Tell people who changed their password after the backup that their old password is valid again. If you know
//!    that an old password was stolen, call
//!    [`require_password_change`](crate::account::Accounts::require_password_change) for the account, or let
//!    its owner reset the password.
//!
//! # How `after_restore` increases the epoch
//! Each account has a counter, its epoch. Everything that ends with the account's sessions is bound to it. The
//! epoch only increases.
//!
//! A restored epoch is lower, and would reach numbers again that were already used after the backup. A device
//! that became known in that time would then be known again. So `after_restore` sets the epoch to the current
//! time in milliseconds. This is normally higher than every number that was used before. If the epoch is
//! already higher, `after_restore` adds one.
//!
//! # Copies for tests
//! A copy of the production database in a test system is also a restored backup. Use a different
//! secret there. Then cookies of one system do not work in the other. Waiting messages are
//! encrypted with the production secret, so the test system cannot send them.
