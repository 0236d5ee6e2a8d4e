//! API keys: a program acts for an account, without a session.
//!
//! # How it works
//!
//! 1. You choose a prefix for your service ([`api_key.prefix`](crate::config::ApiKeyConfig::prefix)), such as
//!    `acme`. This turns API keys on.
//! 2. A person makes a key, gives it a name and [scopes](#scopes), and copies it into a program. It is shown
//!    only once. The database has a keyed digest of it.
//! 3. The program sends `Authorization: Bearer acme_…`, or the header that you configured.
//! 4. A guard that accepts keys lets it through, if the account *and* the scopes allow what the guard asks.
//!
//! ```
//! # #[cfg(feature = "routes")]
//! # mod example {
//! use axum::{Router, routing::get};
//! use portcullis::guard::AcceptedCredentials;
//! use portcullis::{Portcullis, Principal};
//!
//! portcullis::permissions! { report: Read; }
//!
//! async fn reports(who: Principal) -> String {
//!     format!("the reports of {}", who.account().id())
//! }
//!
//! fn app(auth: &Portcullis) -> Router {
//!     let guard = auth.require(report::Read).credentials(AcceptedCredentials::SessionOrApiKey);
//!     Router::new()
//!         .route("/reports", get(reports).route_layer(guard))
//!         .merge(portcullis::own_api_key::routes(auth))
//!         .layer(auth.layer())
//! }
//! # }
//! ```
//!
//! # Which routes accept a key
//!
//! No route does by itself. A guard says so with
//! [`credentials`](crate::guard::Require::credentials), and the access matrix shows it:
//! `permission(report:read) by session or API key`. Handlers take [`Principal`](crate::Principal),
//! [`ApiKeyIdentity`](crate::ApiKeyIdentity) or [`Account`](crate::Account). A handler that takes
//! [`Identity`](crate::Identity) or [`Session`](crate::Session) refuses keys with 403 `session_required`, even
//! behind such a guard. So does every mounted route. Without a guard, [`Principal`](crate::Principal) accepts
//! any key, so check what it may do with [`Principal::require`](crate::Principal::require).
//!
//! # Scopes
//!
//! A scope is a [permission](crate::permission). The scopes are a ceiling: what a key may do must be covered by
//! a scope and by the grants of its account at that time. `role(x)` needs the scope `role:x`, which an account
//! with this role can give. A key whose
//! account loses a right loses it at the next request.
//!
//! # What a key is not
//!
//! - It is no factor, and it cannot prove one. A route that asks for a factor answers 403 `factor_unavailable`.
//! - It never changes its account: no password, address, factor, session or API key, whatever its scopes are.
//! - It sets no cookie, and no browser sends it by itself. So a request with only a key is exempt from the
//!   [same-origin rule](crate::Portcullis::check_same_origin).
//! - A `custom` rule of yours is not met by a key, because such a rule looks at the session.
//!
//! # When it ends
//!
//! A revoked or expired key is refused from its next request on, on every node. So is a replaced one, after the
//! overlap if there is one. So is a key of an
//! account that is disabled, closed or deleted, or not verified if that is required. After the account was
//! enabled again, its keys work again. If a role requires a second factor and the account has none, its keys
//! wait too (401 `enrolment_required`), after the time of grace if the owner was given one. During that time a
//! request costs one statement more.
//!
//! All keys of an account end if its owner signs out everywhere (`DELETE /sessions?scope=all`), if a change of
//! the account is undone by a link, if an administrator recovers the account, and if another person is the first to
//! prove an address of the account. If the owner reports a session, or its theft is suspected, the keys end
//! that were made in that sign-in. A changed or reset password does not end them: programs go on. A lock
//! after wrong passwords does not stop them either. Otherwise a stranger could stop your programs by guessing.
//!
//! # What it costs
//!
//! One statement, like a session. It has the same form, with the key as its anchor. A text that only looks like
//! a key costs none: the checksum is compared first. At most once a minute, one more statement records when and
//! from which network the key was used.
//!
//! # If a key leaks
//!
//! Revoke it. Give scanners of public code the pattern [`API_KEY_PATTERN`] with your prefix, such as
//! `\bacme_[0-9A-Za-z]{49}\b`. The last six characters are a checksum of what is before them (CRC-32, in base
//! 62), so that a scanner can tell keys from similar texts.
//!
//! # Routes, events and error codes
//!
//! The page [`own_api_key`](crate::own_api_key) has them. Requests with a key can get `invalid_api_key`,
//! `api_key_expired`, `api_key_revoked`, `api_key_account_unusable` (401), `session_required`,
//! `api_key_required`, `factor_unavailable` (403) and `multiple_credentials` (400).
//!
//! # Standard
//!
//! RFC 6750 for the header. The form of a key follows what scanners of public code expect: a prefix, and a
//! checksum.

use sea_orm::DbErr;

use crate::audit_log;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::{AccountId, LineageId};
use crate::base::transaction::Txn;

pub(crate) mod entity;
mod state;
pub(crate) mod store;
mod token;

pub(crate) use state::Digests;
pub use state::{ApiKey, ApiKeyRefusal};
pub use token::API_KEY_PATTERN;
pub(crate) use token::{NewKey, is_well_formed, looks_like_one};

/// Ends the keys that were made in a sign-in which turned out to be a thief's, and records why. The row of the
/// account is locked.
pub(crate) async fn end_made_in(
    txn: &Txn<'_>,
    (account, lineage): (AccountId, LineageId),
    why: &'static str,
    now: Timestamp,
) -> Result<(), DbErr> {
    if store::end_made_in(txn, account, lineage, now).await? > 0 {
        let event = Event::new(EventKind::ApiKeyRevoked, now).account(account).detail(why);
        audit_log::record(txn, &event).await?;
    }
    Ok(())
}

/// Ends all keys of an account as a part of a larger change, and records why. The row of the account is
/// locked. Returns how many there were.
pub(crate) async fn end_all(
    txn: &Txn<'_>,
    account: AccountId,
    why: &'static str,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let count = store::end_all(txn, account, now).await?;
    if count > 0 {
        let event = Event::new(EventKind::ApiKeyRevoked, now).account(account).detail(why);
        audit_log::record(txn, &event).await?;
    }
    Ok(count)
}
