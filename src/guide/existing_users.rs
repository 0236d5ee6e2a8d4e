//! How to use portcullis with a users table that you already have.
//!
//! Keep your table. portcullis adds its own tables next to it (all named `auth_*`) and becomes responsible for
//! sign-in. Your other data about people stays where it is. One column connects the two.
//!
//! | column of your `users` table | where it goes |
//! |---|---|
//! | id | stays; the account gets the same id if it is a UUID, or a UUID made from the number |
//! | username, email, phone | the account, which makes sure that they are unique |
//! | password hash | the account; it is replaced with Argon2id at the next login |
//! | email verified, disabled, created | the account; a verified phone number has its own field (`phone_verified_at`) |
//! | is admin, roles, permissions | roles and grants of portcullis |
//! | name, avatar, birthday, plan, … | stays |
//! | sessions, remember-me tokens | deleted: everyone must sign in again |
//! | seeds of authenticators, recovery codes | not imported: people set up their second factors again |
//!
//! If a role requires a second factor, set `config.factor.grace` before people sign in for the first time. Otherwise each
//! of them must set one up at the first sign-in. A person whose address is imported without `verified_at` must verify
//! it before they can set up a factor: see [roles that require a
//! factor](crate::second_factor#roles-that-require-a-factor).
//!
//! # Steps
//!
//! 1. Run the migrations. They do not change your tables, and they have their own record. So you can run them
//!    before or after your own migrations.
//! 2. Import the accounts with [`account_import`](crate::account_import). It works in batches, you can repeat it
//!    after an interruption, and it reports every row that it could not import.
//!    - Add further usernames and addresses of a person with
//!      [`add_name`](crate::account::Accounts::add_name).
//!    - The report shows problems in your data, such as two names that differ only in case, or an address with a
//!      display name around it. Decide what to do with them before you continue.
//!    - In your first runs, call
//!      [`refuse_unreadable_hashes`](crate::account_import::AccountImport::refuse_unreadable_hashes).
//!      Then rows whose password hash cannot be read are only reported, and not imported. See [the
//!      table](#password-hashes).
//! 3. Connect your tables to the account: add a foreign key from `users.id` to `auth_account.id`. If your ids
//!    are numbers, add a column `account_id`: see [below](#numbers-as-ids). Rows that were refused have no account,
//!    so correct or remove them first. With `login.require_verified`, [maintenance](crate::maintenance) deletes
//!    accounts that nobody verified. Give the key `ON DELETE CASCADE` then, or no such account is deleted.
//! 4. Create both rows for new people: with a hook for the mounted registration, or in one
//!    transaction in your own handler. See [below](#new-people-create-both-rows-or-none).
//! 5. When nobody uses the old sign-in any more, drop the columns that moved. Until then, do not
//!    change passwords in the old table, because this does not change the new one.
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
//! /// The same number always gives the same account, so you can repeat the import.
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
//!     for without in report.without_password {
//!         println!("row {} must use `forgot password`: {}", without.row, without.reason);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Numbers as ids
//!
//! `account_id` above writes the number into the last bytes of a UUID: 42 becomes
//! `00000000-0000-0000-0000-00000000002a`. Each database can do the same, so one statement after the import connects
//! the rows. Rows without an account keep `NULL`.
//!
//! ```sql
//! -- PostgreSQL
//! ALTER TABLE users ADD COLUMN account_id uuid UNIQUE REFERENCES auth_account (id);
//! UPDATE users SET account_id = a.id FROM auth_account a
//!     WHERE a.id = lpad(to_hex(users.id), 32, '0')::uuid;
//!
//! -- MySQL and MariaDB
//! ALTER TABLE users ADD COLUMN account_id binary(16) UNIQUE;
//! UPDATE users JOIN auth_account a ON a.id = UNHEX(LPAD(HEX(users.id), 32, '0'))
//!     SET users.account_id = a.id;
//! ALTER TABLE users ADD FOREIGN KEY (account_id) REFERENCES auth_account (id);
//!
//! -- SQLite since 3.41; the one in sqlx is newer
//! ALTER TABLE users ADD COLUMN account_id blob REFERENCES auth_account (id);
//! UPDATE users SET account_id = unhex(printf('%032x', id))
//!     WHERE unhex(printf('%032x', id)) IN (SELECT id FROM auth_account);
//! CREATE UNIQUE INDEX users_account_id ON users (account_id);
//!
//! -- All: the rows that still have no account
//! SELECT id FROM users WHERE account_id IS NULL;
//! ```
//!
//! The number is then visible in the id of the account, as it was in your old ids. Keep the column in these cases
//! instead: your ids are texts, two old tables use the same numbers, or the numbers should not be visible. Add
//! `account_id` before the import, and let your program write a new UUID (`Uuid::now_v7()`) into each row. Import with
//! the id from this column, and add the foreign key afterwards. Because the id is stored, you can repeat the import.
//!
//! # Password hashes
//!
//! The beginning of a hash shows its format. All formats except Argon2 need the feature
//! `foreign-hashes`.
//!
//! | hash | read | how |
//! |---|---|---|
//! | `$argon2id$…`, `$argon2i$…`, `$argon2d$…` (PHC; PHP, passlib, argon2-cffi) | yes | up to 256 MiB of memory; memory × passes up to 1 GiB |
//! | `{argon2}$argon2…` (Spring, LDAP), `argon2$argon2…` (Django) | yes | without the word before it |
//! | `$2a$…`, `$2b$…`, `$2y$…` (bcrypt; PHP and Laravel, Rails, node) | yes | cost 4 to 14; passwords of up to 72 bytes |
//! | `{bcrypt}$2…` (Spring), `{CRYPT}$2…` (LDAP), `{BLF-CRYPT}$2…` (Dovecot), `bcrypt$$2…` (Django) | yes | without the word before it |
//! | `$2x$…` (an old fault of PHP) | yes | passwords of ASCII only |
//! | `$wp$2y$…` (WordPress since 6.8) | yes | bcrypt of an HMAC-SHA-384; white space around the password is ignored, as in WordPress |
//! | `bcrypt_sha256$$2b$…` (Django), `$bcrypt-sha256$…` (passlib) | yes | bcrypt of a SHA-256 |
//! | `pbkdf2_sha256$…` (Django) | yes | up to 2 000 000 iterations |
//! | `pbkdf2:sha256:…`, `pbkdf2:sha512:…` (werkzeug) | yes | the same |
//! | `$pbkdf2-sha256$…`, `$pbkdf2-sha512$…` (PHC and passlib) | yes | the same |
//! | `scrypt:32768:8:1$…` (werkzeug since 2.3), `scrypt$16384$…` (Django), `$scrypt$ln=16,…` (PHC and passlib) | yes | up to 256 MiB of memory; memory × parallelism up to 512 MiB |
//! | `!…`, `*…` (Django's unusable password, Unix) | as no password | the account has none |
//! | empty, or none | as no password | the same |
//! | `$P$…`, `$H$…` (phpass, WordPress before 6.8), `$1$…`, `$5$…`, `$6$…` (crypt), `$7$…` | no | |
//! | PBKDF2 with SHA-1, Spring's `{pbkdf2}…` and `{scrypt}…`, ASP.NET Identity, Firebase | no | |
//! | MD5, SHA-1 or SHA-256 of a password, with or without a salt; `{noop}…` and plain text | no | they are too easy to guess |
//!
//! If the hash of a row cannot be read, the account gets no password. The same is true for a hash
//! that is malformed or above a limit. The report lists such rows under `without_password`. Their
//! owners set a password with "forgot password", so these accounts need an address. A later run
//! skips existing accounts, so it cannot add a hash.
//!
//! # Roles: a column such as `is_admin`
//!
//! The import creates accounts without roles. Define a role for each group of people, and grant it after the import:
//!
//! ```no_run
//! use portcullis::permission::{GrantError, RoleDefinition};
//! use portcullis::{AccountId, Portcullis};
//!
//! async fn grant(auth: &Portcullis, admins: &[AccountId]) -> Result<(), GrantError> {
//!     let admin = RoleDefinition::new("admin", ["user:read", "user:edit"]);
//!     auth.roles().define([admin]).await?; // at every start
//!     for account in admins {
//!         auth.roles().grant(*account, "admin").await?; // once, after the import
//!     }
//!     Ok(())
//! }
//! ```
//!
//! - `admins` are the accounts of the rows with `is_admin`: `account_id(row.id)` from above. Leave out the rows
//!   that the report lists under `refused`, because `grant` returns an error for an account that does not exist.
//! - You can repeat it. An account that already has the role is not changed. But run it only until your service uses
//!   the roles of portcullis. Later it would give a role back that an administrator took away.
//! - A route that checked `is_admin` now requires what it does, for example
//!   `Requirement::permission("user:edit")`. See [`permissions`](super::permissions).
//! - A table of roles becomes one definition for each role. A table that says who may edit what can stay: see
//!   [`rows_with_owners`](super::rows_with_owners).
//! - A person who may do everything is a superuser. Use
//!   [`set_superuser`](crate::account::Accounts::set_superuser) for very few accounts, because no list of
//!   permissions limits them.
//!
//! # Accounts without a password
//!
//! People who signed in with a link, or with another provider, have no hash. Import their rows without
//! `password_hash`. Such an account gets a password, or needs none:
//!
//! | way | needs |
//! |---|---|
//! | "forgot password" sets the first one, see [`password_reset`](crate::password_reset) | a mail address |
//! | [sign-in by mail](crate::mail_login), without a password | a mail address; its routes are mounted separately |
//! | [`auth.sign_in(..)`](crate::Portcullis::sign_in), after your own check (a provider, a directory) | code of yours |
//!
//! If a row has no mail address, only the third way is left. So find its address before the import.
//!
//! Set `verified_at` only if the old system has verified the address. If it is not verified, a sign-in by mail removes the
//! imported password and the other addresses, because a stranger may have set them. Roles stay. See
//! [`verification`](super::verification).
//!
//! # New people: create both rows or none
//!
//! With the mounted `POST /register`, clients send your own fields in the member `profile`. Pass the hook to
//! [`Builder::hooks`](crate::Builder::hooks). (MySQL and MariaDB write `?` for `$1`.)
//!
//! ```no_run
//! use portcullis::hook::{HookResult, Hooks, Registering};
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
//!         let new: NewUser = registering.profile()?; // on error 422, and nothing is created
//!         txn.execute_raw(Statement::from_sql_and_values(
//!             txn.get_database_backend(),
//!             "INSERT INTO users (account_id, full_name) VALUES ($1, $2)",
//!             [registering.account_id.as_uuid().into(), new.full_name.into()],
//!         ))
//!         .await?; // on error 503, and nothing is created
//!         Ok(())
//!     }
//! }
//! ```
//!
//! This hook refuses an account without a `profile`. The first administrator gets one with
//! [`profile`](crate::bootstrap::BootstrapAdmin::profile). An account that a [sign-in by
//! mail](crate::mail_login#new-accounts) creates never has one. To allow it, look at `registering.cause` first.
//!
//! In your own handler, first call [`prepare`](crate::registration::Registration::prepare). It checks and hashes
//! the password before the transaction. This is for your administrators and your own programs. It has no limit for
//! a source, asks for no captcha, calls no hooks, and sends no mail to verify the address. For strangers, use the
//! mounted registration with a hook. Then [`within`](crate::account::Accounts::within) creates the account in
//! the transaction. `examples/profile-fields` shows both ways, with its own table, entity and migration.
//!
//! # Reading both
//!
//! Take an [`Account`](crate::Account) in your handler, and read your table by its id, with one
//! statement. If your pages often need some of this data, add it to the answer of `GET /session`
//! with [`session_info`](crate::Builder::session_info).
//!
//! # Deleting
//!
//! [`delete`](crate::account::Accounts::delete) only marks the account as deleted.
//! [`erase`](crate::account::Accounts::erase) removes its data. In both cases the row stays, so
//! your foreign keys remain valid. Remove your own data about an erased person in a hook: see
//! [`personal_data`](super::personal_data#erasing).
