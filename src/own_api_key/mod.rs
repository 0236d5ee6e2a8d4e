//! Making, listing, limiting, rotating and revoking [API keys](crate::api_key).
//!
//! - [`auth.own_api_keys(&owner)`](Portcullis::own_api_keys) is for the owner of an account. Making a key,
//!   replacing one and changing its scopes need a recent factor: a second factor, if the account has one.
//! - [`auth.api_keys()`](Portcullis::api_keys) is for your application: an administrator's page, or a job that
//!   hands out keys.
//!
//! ```no_run
//! use portcullis::identity::owner::ApiKeys;
//! use portcullis::own_api_key::NewApiKey;
//! use portcullis::{AccountOwner, ClientInfo, Portcullis, Rejection};
//!
//! async fn new_key(
//!     auth: Portcullis,
//!     owner: AccountOwner<ApiKeys>,
//!     client: ClientInfo,
//! ) -> Result<String, Rejection> {
//!     let new = NewApiKey::new("build server").scope("build:start");
//!     let issued = auth.own_api_keys(&owner).issue(new, &client).await?;
//!     // Show it now: only a digest is stored.
//!     Ok(issued.secret().to_owned())
//! }
//! ```
//!
//! # Rules
//! - Each scope must be a permission that the account has, within the ceiling of the session that asks. Later
//!   the rights of the account still limit the key: a scope gives nothing that the account has lost.
//! - A name belongs to one key of an account. After the key has ended, another one may have it.
//! - An account has at most [`max_per_account`](crate::config::ApiKeyConfig::max_per_account) keys that count.
//!   A key that was replaced is not counted.
//! - A rotation makes a key with a new secret, the same name and scopes, and the same lifetime again. The old
//!   one ends at once, or after an overlap of at most 24 hours. A key can be rotated once; of two requests at
//!   the same time one gets `api_key_not_found`.
//!   At most one old secret is good beside the new one. Revoking a key also ends its old secret.
//!   Removing a scope removes it from the old secret too.
//! - The owner gets a mail about each new key, about new scopes of a key, and about a key that ends soon.
//!
//! # Routes
//! [`routes`] mounts them. They accept sessions, and never an API key.
//!
//! | route | what |
//! |---|---|
//! | `GET /api-keys` | lists the keys that count, without their secrets |
//! | `POST /api-keys` | makes a key: `name`, `scopes` (a list), and if you wish `lifetime` in seconds. 201 with `key`, which is shown only once |
//! | `PUT /api-keys/{id}/scopes` | replaces the `scopes` |
//! | `POST /api-keys/{id}/rotate` | replaces a key; `overlap` in seconds, up to 86400. Without it, the old key ends at once. 201 with the new `key` |
//! | `DELETE /api-keys/{id}` | revokes one |
//! | `POST /api-keys/{id}/revoke` | the same, for [pages](crate::page) |
//!
//! # Events
//! `api_key_issued`, `api_key_rotated`, `api_key_scoped` and `api_key_revoked`, each with the id and the
//! beginning of the key, or its id and new scopes. If something else ends all keys of an account or of a sign-in, there
//! is one `api_key_revoked`, whose detail is the reason: `all sessions ended`, `session reported`, `theft`,
//! `change undone`, `account recovered` or `handed over`.
//!
//! # Error codes
//! `api_key_not_found`, `api_keys_off` (404); `api_key_name_taken`, `too_many_api_keys` (409);
//! `invalid_fields` (422), with `not_held` for a scope that the account does not have;
//! `insufficient_user_authentication` (401); `limited_session` and `denied` (403).

use std::fmt;
use std::time::Duration;

use crate::account::store as account_store;
use crate::api_key::entity::Model;
use crate::api_key::{ApiKey, Digests, NewKey, end_all, store};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::{AccountId, ApiKeyId, LineageId};
use crate::base::invalid_field::InvalidField;
use crate::base::transaction::{Db, Fault, OpenTransaction, Txn, is_unique_violation, transaction};
use crate::flow::factors;
use crate::handle::Portcullis;
use crate::identity::owner::ApiKeys as ManageKeys;
use crate::identity::resolved::Rights;
use crate::identity::{AccountOwner, AuthError, NotSignedIn};
use crate::message::{MessageKind, Values};
use crate::outbox::{self, Outgoing};
use crate::permission::{Permission, PermissionSet, parse_list, write_list};
use crate::session::{Ended, store as session_store};

mod error;
mod notice;
mod request;
#[cfg(feature = "routes")]
mod routes;

pub use error::ApiKeyError;
pub(crate) use notice::tell_of_ends;
pub use request::NewApiKey;
#[cfg(feature = "routes")]
pub use routes::routes;

use request::Checked;

/// The longest time for which an old key is good beside its replacement.
pub const LONGEST_OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

/// The API keys of the account that asks. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct OwnApiKeys<'a> {
    auth: &'a Portcullis,
    owner: &'a AccountOwner<ManageKeys>,
}

/// API keys of any account, for your application. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct ApiKeys<'a> {
    auth: &'a Portcullis,
    db: Db<'a>,
}

impl Portcullis {
    /// Returns the API keys of the account that asks.
    pub fn own_api_keys<'a>(&'a self, owner: &'a AccountOwner<ManageKeys>) -> OwnApiKeys<'a> {
        OwnApiKeys { auth: self, owner }
    }

    /// Returns the API keys of all accounts. It does not ask who may do this: your application does.
    pub fn api_keys(&self) -> ApiKeys<'_> {
        ApiKeys { auth: self, db: self.context().db() }
    }
}

/// A key that was made. Its text exists only here: only a digest of it is stored.
#[must_use = "the key is shown only once"]
pub struct IssuedApiKey {
    key: ApiKey,
    secret: NewKey,
}

impl IssuedApiKey {
    /// Returns what is known about the key.
    pub fn key(&self) -> &ApiKey {
        &self.key
    }

    /// Returns the key itself, for the program that uses it.
    pub fn secret(&self) -> &str {
        self.secret.as_str()
    }
}

// Written by hand: the key must not be printed.
impl fmt::Debug for IssuedApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedApiKey").field("key", &self.key).finish_non_exhaustive()
    }
}

impl OwnApiKeys<'_> {
    /// Lists the keys that count, newest first. A key that was replaced is listed while it is good.
    ///
    /// # Errors
    /// An outage.
    pub async fn list(&self) -> Result<Vec<ApiKey>, ApiKeyError> {
        self.auth.api_keys().list(self.owner.account().id()).await
    }

    /// Makes a key.
    ///
    /// # Errors
    /// Those of the [module page](self#error-codes); an outage.
    pub async fn issue(
        &self,
        new: NewApiKey,
        client: &ClientInfo,
    ) -> Result<IssuedApiKey, ApiKeyError> {
        self.check_factor()?;
        let checked = new.check(self.auth.context(), self.owner.rights())?;
        self.change(client).issue(&checked).await
    }

    /// Replaces the scopes of a key. Its next request has the new ones.
    ///
    /// # Errors
    /// Those of the [module page](self#error-codes); an outage.
    pub async fn set_scopes(
        &self,
        id: ApiKeyId,
        scopes: &[String],
        client: &ClientInfo,
    ) -> Result<(), ApiKeyError> {
        self.check_factor()?;
        let scopes = checked_scopes(scopes, self.owner.rights())?;
        self.change(client).set_scopes(id, &scopes).await
    }

    /// Replaces a key by one with a new secret. The old one ends at once, or after `overlap`, so that all
    /// machines can get the new one first. A limited session can do this only if its ceiling covers the
    /// scopes of the key.
    ///
    /// # Errors
    /// Those of the [module page](self#error-codes); an outage.
    pub async fn rotate(
        &self,
        id: ApiKeyId,
        overlap: Duration,
        client: &ClientInfo,
    ) -> Result<IssuedApiKey, ApiKeyError> {
        self.check_factor()?;
        self.change(client).rotate(id, overlap).await
    }

    /// Revokes a key. Its next request is refused, on every node.
    ///
    /// # Errors
    /// [`ApiKeyError::NotFound`], also for a key of another account; an outage.
    pub async fn revoke(&self, id: ApiKeyId, client: &ClientInfo) -> Result<(), ApiKeyError> {
        self.change(client).revoke(id).await
    }

    /// A new key is a new way in. So a thief of a session, or of the password too, must not get one.
    fn check_factor(&self) -> Result<(), ApiKeyError> {
        Ok(factors::require_recent_for_key(self.auth, self.owner)?)
    }

    fn change<'b>(&'b self, client: &'b ClientInfo) -> Change<'b> {
        let (auth, owner) = (self.auth, self.owner);
        Change {
            auth,
            db: auth.context().db(),
            account: owner.account().id(),
            owner: Some((owner, client)),
        }
    }
}

impl<'a> ApiKeys<'a> {
    /// Returns the same flows inside a transaction of the caller.
    #[must_use]
    pub fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { db: self.db.within(txn), ..self }
    }

    /// Lists the keys of an account that count, newest first.
    ///
    /// # Errors
    /// An outage.
    pub async fn list(&self, account: AccountId) -> Result<Vec<ApiKey>, ApiKeyError> {
        let (executor, now) = (self.db.executor(), self.auth.context().now());
        let rows = self.db.read(store::live_of(&executor, account, now)).await?;
        Ok(rows.into_iter().map(ApiKey::of).collect())
    }

    /// Makes a key for an account. Each scope must be a permission that the account has.
    ///
    /// # Errors
    /// Those of the [module page](self#error-codes); [`ApiKeyError::Account`]; an outage.
    pub async fn issue(
        &self,
        account: AccountId,
        new: NewApiKey,
    ) -> Result<IssuedApiKey, ApiKeyError> {
        let job = self.auth.job_identity_in(self.db, account).await?;
        let checked = new.check(self.auth.context(), job.rights())?;
        self.change(account).issue(&checked).await
    }

    /// Replaces the scopes of a key.
    ///
    /// # Errors
    /// Those of [`issue`](Self::issue).
    pub async fn set_scopes(
        &self,
        account: AccountId,
        id: ApiKeyId,
        scopes: &[String],
    ) -> Result<(), ApiKeyError> {
        let job = self.auth.job_identity_in(self.db, account).await?;
        let scopes = checked_scopes(scopes, job.rights())?;
        self.change(account).set_scopes(id, &scopes).await
    }

    /// Replaces a key, as [`OwnApiKeys::rotate`].
    ///
    /// # Errors
    /// Those of [`issue`](Self::issue).
    pub async fn rotate(
        &self,
        account: AccountId,
        id: ApiKeyId,
        overlap: Duration,
    ) -> Result<IssuedApiKey, ApiKeyError> {
        self.auth.job_identity_in(self.db, account).await?;
        self.change(account).rotate(id, overlap).await
    }

    /// Revokes a key of an account.
    ///
    /// # Errors
    /// [`ApiKeyError::NotFound`]; an outage.
    pub async fn revoke(&self, account: AccountId, id: ApiKeyId) -> Result<(), ApiKeyError> {
        self.change(account).revoke(id).await
    }

    /// Revokes all keys of an account. Returns how many there were. A key that is being made meanwhile is
    /// made before, and revoked too, or afterwards.
    ///
    /// # Errors
    /// An outage.
    pub async fn revoke_all(&self, account: AccountId) -> Result<u64, ApiKeyError> {
        let now = self.auth.context().now();
        transaction!(self.db, |txn| {
            session_store::lock_account(txn, account).await?;
            Ok(end_all(txn, account, "all", now).await?)
        })
    }

    fn change(&self, account: AccountId) -> Change<'a> {
        Change { auth: self.auth, db: self.db, account, owner: None }
    }
}

/// How an event names a key. Its name was typed by a person, so it must not outlive their account.
fn named(row: &Model) -> String {
    format!("{} {}", row.id, row.hint)
}

fn covers(wider: &[Permission], scope: &Permission) -> bool {
    let wider: PermissionSet = wider.iter().cloned().collect();
    wider.allows_permission(scope).unwrap_or(false)
}

fn checked_scopes(texts: &[String], rights: Rights<'_>) -> Result<String, ApiKeyError> {
    request::scopes(texts, rights).map_err(|fault| ApiKeyError::Invalid(vec![fault]))
}

/// A change of the keys of one account, by its owner or by the application.
#[derive(Clone, Copy)]
struct Change<'a> {
    auth: &'a Portcullis,
    db: Db<'a>,
    account: AccountId,
    owner: Option<(&'a AccountOwner<ManageKeys>, &'a ClientInfo)>,
}

impl Change<'_> {
    async fn issue(&self, new: &Checked) -> Result<IssuedApiKey, ApiKeyError> {
        let (context, now) = (self.auth.context(), self.auth.context().now());
        let secret = self.new_key()?;
        let secrets = self.auth.per_instance::<Digests>();
        let row = new.row(&secrets, &secret, (self.account, self.lineage()), None, now);
        let event = self.event(EventKind::ApiKeyIssued, now).detail(named(&row));
        let most = usize::try_from(context.config.api_key.max_per_account).unwrap_or(usize::MAX);
        let made = transaction!(self.db, |txn| {
            let email = self.lock(txn, now).await?;
            let live = store::live_of(txn, self.account, now).await?;
            let current = live.iter().filter(|key| key.rotated_at.is_none());
            if current.clone().any(|key| key.name == row.name) {
                return Err(ApiKeyError::NameTaken);
            }
            if current.count() >= most {
                return Err(ApiKeyError::TooMany);
            }
            store::free_names(txn, self.account, now).await?;
            store::insert(txn, row.clone()).await?;
            audit_log::record(txn, &event).await?;
            let notice = self.notice(MessageKind::ApiKeyIssued, email.as_deref(), &row);
            outbox::put(txn, context, &notice).await?;
            Ok(())
        });
        match made {
            // The row of the account is locked, so this is a transaction of the caller that sees an older state.
            Err(ApiKeyError::Fault(Fault::Database(error))) if is_unique_violation(&error) => {
                Err(ApiKeyError::NameTaken)
            }
            Err(error) => Err(error),
            Ok(()) => Ok(IssuedApiKey { key: ApiKey::of(row), secret }),
        }
    }

    async fn set_scopes(&self, id: ApiKeyId, scopes: &str) -> Result<(), ApiKeyError> {
        let (context, now) = (self.auth.context(), self.auth.context().now());
        let event = self.event(EventKind::ApiKeyScoped, now);
        transaction!(self.db, |txn| {
            let email = self.lock(txn, now).await?;
            let row = store::find_current(txn, self.account, id, now).await?;
            let row = row.ok_or(ApiKeyError::NotFound)?;
            if !store::set_scopes(txn, self.account, id, scopes, now).await? {
                return Err(ApiKeyError::NotFound);
            }
            let wanted = parse_list(scopes).0;
            // What it has replaced and is still good gets no right by this, and keeps no other one.
            for old in store::replaced_by(txn, &row, now).await? {
                let kept = parse_list(&old.scopes).0;
                let kept: Vec<_> = kept.into_iter().filter(|one| covers(&wanted, one)).collect();
                store::narrow_replaced(txn, old.id, &write_list(&kept)).await?;
            }
            audit_log::record(txn, &event.clone().detail(format!("{id} {scopes}"))).await?;
            let before = parse_list(&row.scopes).0;
            if !wanted.iter().all(|scope| covers(&before, scope)) {
                let notice = self.notice(MessageKind::ApiKeyChanged, email.as_deref(), &row);
                outbox::put(txn, context, &notice).await?;
            }
            Ok(())
        })
    }

    async fn rotate(&self, id: ApiKeyId, overlap: Duration) -> Result<IssuedApiKey, ApiKeyError> {
        if overlap > LONGEST_OVERLAP {
            let most = LONGEST_OVERLAP.as_secs();
            let fault =
                InvalidField::new("overlap", "out_of_range", "must be at most 86400 seconds");
            return Err(ApiKeyError::Invalid(vec![fault.param("max", most)]));
        }
        let (context, now) = (self.auth.context(), self.auth.context().now());
        let secret = self.new_key()?;
        let secrets = self.auth.per_instance::<Digests>();
        let event = self.event(EventKind::ApiKeyRotated, now);
        let row = transaction!(self.db, |txn| {
            let email = self.lock(txn, now).await?;
            let old = store::find_current(txn, self.account, id, now).await?;
            let old = old.ok_or(ApiKeyError::NotFound)?;
            self.check_ceiling(&old.scopes)?;
            if !store::replace(txn, &old, now.plus(overlap), now).await? {
                return Err(ApiKeyError::NotFound);
            }
            // At most one old secret is good beside the new one.
            store::end_replaced(txn, &old, now).await?;
            let longest = context.config.api_key.max_lifetime;
            let new = Checked {
                name: old.name.clone(),
                scopes: old.scopes.clone(),
                lifetime: old.expires_at.since(old.created_at).min(longest),
            };
            let row =
                new.row(&secrets, &secret, (self.account, self.lineage()), Some(old.first_id), now);
            store::insert(txn, row.clone()).await?;
            audit_log::record(txn, &event.clone().detail(named(&row))).await?;
            let notice = self.notice(MessageKind::ApiKeyIssued, email.as_deref(), &row);
            outbox::put(txn, context, &notice).await?;
            Ok::<_, ApiKeyError>(row)
        })?;
        Ok(IssuedApiKey { key: ApiKey::of(row), secret })
    }

    async fn revoke(&self, id: ApiKeyId) -> Result<(), ApiKeyError> {
        let now = self.auth.context().now();
        let event = self.event(EventKind::ApiKeyRevoked, now);
        transaction!(self.db, |txn| {
            // The account comes first, as in every change of keys. So of a rotation at the same time, this
            // ends the new key, or comes before it.
            session_store::lock_account(txn, self.account).await?;
            let row = store::find_live(txn, self.account, id, now).await?;
            let row = row.ok_or(ApiKeyError::NotFound)?;
            if !store::end(txn, self.account, id, now).await? {
                return Err(ApiKeyError::NotFound);
            }
            if row.rotated_at.is_none() {
                store::end_replaced(txn, &row, now).await?;
            }
            audit_log::record(txn, &event.clone().detail(named(&row))).await?;
            Ok(())
        })
    }

    /// A limited session must not get the text of a key that may do more than the session. What the account
    /// has lost does not matter here: it limits the key in each request.
    fn check_ceiling(&self, scopes: &str) -> Result<(), AuthError> {
        let Some(ceiling) = self.owner.and_then(|(owner, _)| owner.ceiling()) else {
            return Ok(());
        };
        let (scopes, broken) = parse_list(scopes);
        let covers = |scope| ceiling.allows_permission(scope).unwrap_or(false);
        if broken.is_empty() && scopes.iter().all(covers) {
            return Ok(());
        }
        Err(AuthError::Denied)
    }

    fn new_key(&self) -> Result<NewKey, ApiKeyError> {
        let prefix = self.auth.context().config.api_key.prefix.as_deref();
        Ok(NewKey::generate(prefix.ok_or(ApiKeyError::Off)?))
    }

    fn event(&self, kind: EventKind, now: Timestamp) -> Event {
        let event = Event::new(kind, now).account(self.account);
        match self.owner {
            Some((owner, client)) => event.session(owner.session().id()).from_client(client),
            None => event,
        }
    }

    /// Locks the row of the account, and checks that the one who asks may still do so. Returns the mail
    /// address of the account. Of two changes of one account, the second waits here. A change that ends
    /// everything has moved the epoch before, or ends the new key too.
    async fn lock(&self, txn: &Txn<'_>, now: Timestamp) -> Result<Option<String>, ApiKeyError> {
        session_store::lock_account(txn, self.account).await?;
        let row = account_store::find(txn, self.account).await?;
        let ended = || AuthError::NotSignedIn(NotSignedIn::Ended(Ended::Revoked));
        let row = row.filter(|row| row.deleted_at.is_none()).ok_or_else(ended)?;
        if let Some((owner, _)) = self.owner {
            let lineage = owner.session().lineage_id();
            if row.epoch != owner.account().epoch
                || !session_store::goes_on(txn, self.account, lineage, now).await?
            {
                return Err(ended().into());
            }
        }
        Ok(row.email)
    }

    /// The sign-in in which the owner asks.
    fn lineage(&self) -> Option<LineageId> {
        self.owner.map(|(owner, _)| owner.session().lineage_id())
    }

    fn notice(&self, kind: MessageKind, email: Option<&str>, row: &Model) -> Outgoing {
        let address = self.owner.and_then(|(_, client)| client.address());
        notice::of(kind, email, row)
            .values(Values::new().with("name", &row.name).with_some("address", address))
    }
}
