//! Restoring a backup: what comes back to life, and how it is ended.
//!
//! A backup is an old state of the database. Restoring one undoes everything that happened since,
//! also what was done for safety: sessions that were ended, passwords that were changed, links that were
//! used.
//!
//! # What comes back
//!
//! | what | why | ended by `after_restore` |
//! |---|---|---|
//! | sessions that had ended | their rows say that they go on, and somebody may still have the cookie | yes |
//! | known devices of before a password change | they are bound to the account's epoch, which is lower again | yes: every device is a new one, and the owner is told of its next sign-in |
//! | links and codes that were used or replaced | their rows are open again | yes, all: people ask for new ones |
//! | messages that were sent | their rows wait again and would be sent twice | yes, they are given up |
//! | passwords from before a change | the old hash is back | no: see below |
//! | roles and permissions that were revoked | their rows are back | no: see below |
//! | disabled or deleted accounts | they work again | no: see below |
//! | locks | they are as they were | no; they end by themselves |
//! | sessions of visitors | they have no account | no; they end within a day |
//!
//! Grants that a running node remembers are safe without your doing: they are kept under random
//! versions, and a restored row has another one.
//!
//! # What to do
//! 1. Stop every node, or keep traffic away from them.
//! 2. Restore the database.
//! 3. Call [`auth.maintenance().after_restore()`](crate::maintenance::Maintenance::after_restore) from
//!    one process, before the first node takes traffic:
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::Fault> {
//! let accounts = auth.maintenance().after_restore().await?;
//! println!("everybody signs in again: {accounts} accounts");
//! # Ok(())
//! # }
//! ```
//!
//! 4. Repeat from your own records what was done for safety since the backup: accounts that were
//!    disabled, roles that were revoked. The events of that time are lost with it, so keep a copy of
//!    them elsewhere: `tracing` with the target `portcullis::event` tells each.
//! 5. If the backup may have been read by somebody, change the secret as well: it signs tokens, and
//!    with the database it is all that a thief needs.
//! 6. Tell people who changed their password since that the old one is back. An account of which you
//!    know that its old password was stolen needs
//!    [`require_password_change`](crate::account::Accounts::require_password_change), or a reset.
//!
//! # How the epoch is raised
//! Each account has a counter, its epoch, which everything that ends with its sessions is bound to. It
//! only grows. A restored one is lower, and would come to numbers again that the lost time has used: a
//! device that became known then would be known once more. So `after_restore` sets it to the present
//! time in milliseconds, which is above every number so far, or adds one where it is higher already.
//!
//! # Copies for tests
//! A copy of the real database in a test system is a restored backup too. Give it another secret: then
//! no cookie of the real one works there, and the other way round. Messages that wait in it are sealed
//! under the old secret and cannot be sent.
