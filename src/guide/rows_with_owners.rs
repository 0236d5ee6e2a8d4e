//! Rows have owners: "everyone edits their own documents, and may share them".
//!
//! Put the account's id into the row, and compare it. Do not grant a permission for each row.
//!
//! A test runs this code:
//!
//! ```no_run
#![doc = include_str!("../../tests/it/rows_with_owners/documents.rs")]
//! ```
//!
//! # Why not one grant for each row
//!
//! A grant on each new document (`doc:edit:42`) looks simpler, but:
//!
//! - Every grant changes the version of the account's grants. So the next request loads all of them again.
//!   For an account with 1 500 grants this took 13 to 74 ms after each `POST /docs`.
//! - The grants in memory grow with the rows of your table.
//! - A document and its owner can get out of step, for example if the document is deleted. A column cannot.
//!
//! Reading is cheap in both designs. With 1 000 grants a request takes about as long as with one.
//!
//! # Grants are for sharing
//!
//! Give access to *other* people's rows with grants. They are few, and they change rarely:
//!
//! | who may | how |
//! |---|---|
//! | the owner | the column |
//! | one more person, one document | `auth.roles().grant_on(account, "editor", &Resource::new("doc", id)?)` |
//! | viewers, editors and keepers of a list | [levels](super::permissions#levels) |
//! | support staff, every document | `auth.roles().grant(account, "support")` with `doc:read` |
//!
//! Your application may already store who shares what. Then either ask your table in the same statement, as
//! above for the owner, or implement a [`MembershipSource`](crate::port::MembershipSource).
//!
//! When you delete a row, revoke what was granted on it. Ids that are never used again (UUIDs) make a
//! forgotten grant harmless.
//!
//! # Limited sessions
//!
//! The column knows no [ceiling](super::guards#limited-sessions). If your service starts limited sessions,
//! the owner's way must ask for the ceiling too: let a limited session through only if
//! [`identity.ceiling()`](crate::Identity::ceiling) is `None`, or if it covers the permission.
//!
//! # When an account is deleted or erased
//!
//! [`delete`](crate::account::Accounts::delete) and [`erase`](crate::account::Accounts::erase) keep the row of the
//! account, so a foreign key of yours stays valid. Decide what happens to the rows of that person: give them to
//! somebody else, or delete them.
//!
//! - If your code deletes the account, do it in the same transaction (`auth.accounts().within(&txn).delete(..)`).
//! - If the owner closes the account, maintenance erases it later. Change your rows in the hook
//!   [`before_erase`](crate::hook::Hooks::before_erase): see [`personal_data`](super::personal_data#erasing).
