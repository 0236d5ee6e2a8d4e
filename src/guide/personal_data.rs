//! Personal data: what is kept about people, where, for how long, and how it is removed.
//!
//! This page describes what portcullis does. It is not legal advice. You are responsible for your own tables,
//! logs and backups.
//!
//! # What is kept
//!
//! | what | table | for how long |
//! |---|---|---|
//! | username, mail address, phone number, as typed and in a normal form | `auth_account`, `auth_login_name` | until they are removed, or the account is erased |
//! | former addresses, as keyed digests | `auth_former_address` | 30 days |
//! | password hash, enrolled factors, times of creation and of the last sign-in | `auth_account` | until the account is erased |
//! | second factors: the name of an authenticator, its encrypted seed, digests of recovery codes, times | `auth_totp`, `auth_recovery_code` | until they are removed, or the account is erased |
//! | [passkeys](crate::passkey): their names, public keys and ids, the model of the authenticator, times; a random number by which authenticators know the account | `auth_passkey`, `auth_passkey_user` | until they are removed, or the account is erased |
//! | challenges of passkeys: purpose, session, times | `auth_passkey_challenge` | until the first maintenance after five minutes |
//! | identities of [providers](crate::federation): the subject, mail address and name that the provider told, times; its tokens, encrypted, if the provider keeps them | `auth_provider_identity` | until they are unlinked, or the account is erased |
//! | sign-ins at providers that are not finished, and identities about which the person is asked: mail address and name | `auth_provider_flow`, `auth_pending_identity` | until the first maintenance after ten minutes |
//! | which sessions began with which identity, as digests | `auth_provider_session` | until the session must have ended |
//! | recoveries by administrators: reason, new address, times | `auth_account_recovery` | 180 days after the time for it, or until the account is erased |
//! | [API keys](crate::api_key): name, scopes, times, the network of the last use; a digest of the key | `auth_api_key` | 30 days after the key ended |
//! | [trusted devices](crate::trusted_device): network address, browser, times; a digest of the token | `auth_trusted_device` | until the trust ends, 30 days; one that ended earlier may stay as long |
//! | sessions: network address, browser, times, the thumbprint of a [key](crate::dpop) | `auth_session` | 7 days after their end |
//! | requests of [devices](crate::device_login): network address, browser, what the device says about itself, times; digests of the codes and of a name that it asks for | `auth_device_request` | 24 hours after the time to decide |
//! | what your application stores with a session | `auth_session_data` | as long as the session |
//! | roles, groups, permissions, levels | `auth_account_role`, `auth_account_group`, `auth_account_permission`, `auth_membership` | until they are revoked, or the account is erased |
//! | how often your source of memberships was asked about an account | `auth_membership_turn` | until the account is erased |
//! | codes and links: their purpose and address; only digests of the codes | `auth_challenge`, `auth_challenge_start` | an hour after their end |
//! | messages: recipient and content are encrypted, and the content is deleted when it is sent | `auth_outbox`, `auth_outbox_limit` | 24 hours; counts one hour |
//! | requests, counted by keyed digests; only with `rate.store = database` | `auth_rate` | until the limit has recovered |
//! | failures before a [captcha](crate::captcha): keyed digests of names and sources | `auth_captcha_failures` | 10 minutes |
//! | attempts to sign in: keyed digests of names, and the network address | `auth_attempt` | 24 hours |
//! | events: what happened, when, and the network address; for an [action proof](crate::action_proof), the text to which the person agreed | `auth_event` | 180 days |
//! | denials, counted by rule and minute | `auth_denial` | 30 days |
//! | networks and browsers about which the owner was notified, as keyed digests | `auth_told_place`, `auth_device_digest` | 30 days |
//!
//! The times are defaults: see [`RetentionConfig`](crate::config::RetentionConfig) and the
//! [reasons](super::defaults). They only apply if [maintenance](crate::maintenance) runs.
//!
//! Logs are not in this table. The traces of portcullis contain ids and network addresses, and no names,
//! mail addresses or secrets.
//!
//! # Erasing
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, id: portcullis::AccountId)
//! # -> Result<(), portcullis::own_account::OwnAccountError> {
//! auth.accounts().erase(id).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Only the id is left, with the times of creation and erasure, so that an import does not bring
//! the person back. Events keep their kind and time, and lose their network addresses and details
//! after 30 days. The names are free again at once. [`own_account`](crate::own_account) lists what
//! is removed.
//!
//! [`delete`](crate::account::Accounts::delete) is different. It keeps a person out and keeps all
//! data, so that nobody can register with the same names (except with a mail address that was never
//! verified). Use it after abuse, or if a law requires you to keep the data. Call
//! [`erase`](crate::account::Accounts::erase) when you may.
//!
//! Clean your own tables with a hook, in the same transaction. (MySQL and MariaDB write `?` for
//! `$1`.)
//!
//! ```no_run
//! use portcullis::Refusal;
//! use portcullis::hook::{ErasingAccount, HookResult, Hooks};
//! use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement};
//!
//! struct Shop;
//!
//! impl Hooks for Shop {
//!     async fn before_erase(
//!         &self,
//!         erasing: ErasingAccount<'_>,
//!         txn: &DatabaseTransaction,
//!     ) -> HookResult {
//!         let id = [erasing.account_id.as_uuid().into()];
//!         let backend = txn.get_database_backend();
//!         let open = "SELECT 1 FROM orders WHERE account_id = $1 AND paid_at IS NULL";
//!         let open = Statement::from_sql_and_values(backend, open, id.clone());
//!         if txn.query_one_raw(open).await?.is_some() {
//!             let reason = "an order is not paid yet";
//!             return Err(Refusal::new(http::StatusCode::CONFLICT, "open_order", reason).into());
//!         }
//!         let profile = "DELETE FROM profiles WHERE account_id = $1";
//!         txn.execute_raw(Statement::from_sql_and_values(backend, profile, id)).await?;
//!         Ok(())
//!     }
//! }
//! ```
//!
//! # Closing by the owner
//!
//! Mount these routes. Then owners can close their account, and reopen it within 14 days:
//!
//! ```no_run
//! # fn example(auth: portcullis::Portcullis) -> axum::Router {
//! use portcullis::own_account;
//!
//! axum::Router::new().nest("/auth", auth.routes().merge(own_account::routes(&auth)))
//! # }
//! ```
//!
//! 1. Your page asks for the password (`POST /auth/reauthenticate`), then sends `DELETE /auth/account`.
//! 2. The answer contains the time until which the account can be reopened, and the number of
//!    addresses to which a link was sent. If `notices` is 0, tell the user to contact you if they
//!    want to reopen it.
//! 3. The link opens your page `/account/keep`, which posts the token to `/auth/account/keep`.
//!
//! A hook [`before_close`](crate::hook::Hooks::before_close) can refuse, for example while an order is open.
//!
//! # Exporting
//!
//! `GET /auth/account/export` gives the owner everything as JSON, and
//! [`accounts().export(id)`](crate::account::Accounts::export) gives it to your own code. Add what your
//! application keeps:
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<(), portcullis::ConfigErrors> {
//! use portcullis::AccountId;
//! use portcullis::port::HookFuture;
//! use serde_json::{Value, json};
//!
//! fn exported(id: AccountId) -> HookFuture<'static, Value> {
//!     Box::pin(async move { Ok(json!({ "profile": id.to_string() })) }) // … read your tables
//! }
//!
//! let auth = portcullis::Portcullis::builder(db).secret(secret).exported_data(exported).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Backups
//!
//! A [restored backup](super::backups) brings erased accounts back. Keep a list of erased ids
//! outside of the database (the event `user_erased` is also traced). After a restore, erase these
//! accounts again.
