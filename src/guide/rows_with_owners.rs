//! Rows with owners: people edit their own documents, and can share them.
//!
//! Store the account's id in the row, and compare it. Do not grant a permission for each row.
//!
//! A test runs this code:
//!
//! ```no_run
#![doc = include_str!("rows_with_owners/documents.rs")]
//! ```
//!
//! # Why not one grant for each row
//!
//! A grant on each new document (`doc:edit:42`) looks simpler, but:
//!
//! - Every grant changes the version of the account's grants. So the next request loads all of them again.
//!   For an account with 1 500 grants this took 13 to 74 ms after each `POST /docs`.
//! - The grants in memory grow with the rows of your table.
//! - A grant can become wrong, for example when its document is deleted. A column cannot.
//!
//! Reading is fast in both designs. With 1 000 grants a request takes about as long as with one.
//!
//! # Grants are for sharing
//!
//! Use grants to share rows with *other* people. Such grants are few, and they change rarely:
//!
//! | who may | how |
//! |---|---|
//! | the owner | the column |
//! | one more person, one document | `auth.roles().grant_on(account, "editor", &Resource::new("doc", id)?)` |
//! | viewers, editors and keepers of a list | [levels](super::permissions#levels) |
//! | support staff, every document | `auth.roles().grant(account, "support")` with `doc:read` |
//!
//! Your application may already store who shares what. Then query your table in the same statement,
//! as above for the owner, or implement a [`MembershipSource`](crate::port::MembershipSource).
//!
//! When you delete a row, revoke the grants on it. If ids are never used again (UUIDs), a forgotten
//! grant does no harm.
//!
//! # Limited sessions
//!
//! The column does not respect a [ceiling](super::guards#limited-sessions). If your service starts
//! limited sessions, check the ceiling too: allow the owner only if
//! [`identity.ceiling()`](crate::Identity::ceiling) is `None` or covers the permission.
//!
//! # When an account is deleted or erased
//!
//! [`delete`](crate::account::Accounts::delete) and [`erase`](crate::account::Accounts::erase) keep
//! the row of the account, so a foreign key of yours stays valid. Decide what happens to the rows
//! of that person: give them to another person, or delete them.
//!
//! - If your code deletes the account, do it in the same transaction (`auth.accounts().within(&txn).delete(..)`).
//! - If the owner closes the account, maintenance erases it later. Change your rows in the hook
//!   [`before_erase`](crate::hook::Hooks::before_erase): see [`personal_data`](super::personal_data#erasing).
