//! You already have a users table.
//!
//! Keep it. portcullis brings its own tables beside it (all named `auth_*`) and takes over who may
//! sign in; what you know about people stays where it is. Between them stands one column.
//!
//! | your `users` has | where it goes |
//! |---|---|
//! | id | stays; the account takes the same id if it is a UUID, or one made of the number |
//! | username, email, phone | the account, which decides what is unique |
//! | password hash | the account; replaced by Argon2id at the next login |
//! | email verified, disabled, created | the account; whether a phone number was verified is said apart (`phone_verified_at`) |
//! | is admin, roles, permissions | roles and grants of portcullis |
//! | name, avatar, birthday, plan, … | stays |
//! | sessions, remember-me tokens | thrown away: everybody signs in once more |
//!
//! # The steps
//!
//! 1. Run the migrations. They touch no table of yours, and keep their own record, so they may run
//!    before or after your own.
//! 2. Import ([`account_import`](crate::account_import)): in batches, again if it was cut off, with
//!    a report of every row that could not be taken. Who has more than one username or address gets the
//!    others by [`add_name`](crate::account::Accounts::add_name). Two people whose names differ only in case, or
//!    an address with a display name around it, are found here; decide about them before you go on.
//! 3. Point your tables at the account: a foreign key from `users.id` to `auth_account.id`, or a
//!    column `account_id` if your ids are numbers.
//! 4. Let new people have both rows: a hook for the mounted registration, or one transaction in a
//!    handler of your own. Both below.
//! 5. When nobody signs in the old way any more, drop the columns that moved. Until then do not
//!    write to both: a password changed there is not changed here.
//!
//! ```no_run
//! use portcullis::account_import::ImportedAccount;
//! use portcullis::{AccountId, Portcullis, Timestamp};
//! use uuid::Uuid;
//!
//! /// A row of yours.
//! struct User {
//!     id: i64,
//!     email: String,
//!     password: String,
//!     email_verified: bool,
//!     created_at_millis: i64,
//! }
//!
//! /// The same number is always the same account, so the import can be run again.
//! fn account_id(user: i64) -> AccountId {
//!     Uuid::from_u128(user.unsigned_abs().into()).into()
//! }
//!
//! async fn import(auth: &Portcullis, users: Vec<User>) -> Result<(), portcullis::Fault> {
//!     let rows = users.into_iter().map(|user| {
//!         let created_at = Timestamp::from_millis(user.created_at_millis);
//!         let row = ImportedAccount::new(account_id(user.id))
//!             .email(user.email)
//!             .password_hash(user.password)
//!             .created_at(created_at);
//!         if user.email_verified { row.verified_at(created_at) } else { row }
//!     });
//!     let report = auth.account_import().run(rows, |so_far| println!("{}", so_far.rows)).await?;
//!     for refused in report.refused {
//!         println!("row {}: {}", refused.row, refused.reason);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Hashes are taken in the forms of PHC (Argon2; PBKDF2), bcrypt, Django and werkzeug; the last
//! four need the feature `foreign-hashes`. Whoever has another kind is imported without one and
//! needs a new password.
//!
//! # New people: both rows or none
//!
//! Through the mounted `POST /register`, with the fields of yours in the member `profile`:
//!
//! ```no_run
//! use portcullis::port::{HookResult, Hooks, Registering};
//! use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct NewUser {
//!     full_name: String,
//! }
//!
//! struct Users;
//!
//! impl Hooks for Users {
//!     fn reads_profile(&self) -> bool {
//!         true
//!     }
//!
//!     async fn after_register(
//!         &self,
//!         registering: Registering<'_>,
//!         txn: &DatabaseTransaction,
//!     ) -> HookResult {
//!         let new: NewUser = registering.profile()?; // else 422, and nothing was made
//!         txn.execute_raw(Statement::from_sql_and_values(
//!             txn.get_database_backend(),
//!             "INSERT INTO users (account_id, full_name) VALUES ($1, $2)",
//!             [registering.account_id.as_uuid().into(), new.full_name.into()],
//!         ))
//!         .await?; // else 503, and nothing was made
//!         Ok(())
//!     }
//! }
//! ```
//!
//! In a handler of your own, [`prepare`](crate::registration::Registration::prepare) checks and
//! hashes the password before the transaction, and
//! [`within`](crate::account::Accounts::within) makes the account in it. `examples/profile-fields`
//! does both, with a table, an entity and a migration of its own.
//!
//! # Reading both
//!
//! A handler takes an [`Account`](crate::Account) and asks your table by its id; that is one
//! statement of yours. What a page needs of it at every request can come with `GET /session` through
//! [`session_info`](crate::Builder::session_info).
//!
//! # Deleting
//!
//! [`delete`](crate::account::Accounts::delete) is soft, so a foreign key of yours keeps its target.
