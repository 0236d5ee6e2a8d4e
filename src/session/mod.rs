//! Sessions: one row per client, and a signed token that points to it. The client belongs to an
//! account, or is an anonymous visitor.
//!
//! # How it works
//!
//! 1. A login inserts a row and gives the client a token. The token is a JWT with 128 random bits,
//!    a generation number and times. It contains nothing about the person or their rights. The row
//!    stores a keyed digest of the random bits.
//! 2. Each request finds the row by that digest, together with the account, in one statement.
//! 3. After 15 minutes the next request gets the next generation of the token. The old generation
//!    stays valid until the new one is used *late*, at least 90 seconds after it was made. So
//!    parallel requests, lost answers and killed browsers do no harm. If the old generation is used
//!    after that, someone kept a copy. The session ends and its owner is notified.
//! 4. A login, a new factor and a changed password insert a new row and end the old one in the same
//!    transaction. After a step-up, the replaced session keeps its old rights for ten seconds, for
//!    requests that other tabs have already sent. Only signing out clears the cookie. A 401 never
//!    does.
//!
//! The page [sessions](crate::guide::sessions) explains rotation and its reasons.
//!
//! You can sign someone in from your own handler:
//!
//! ```no_run
//! use axum::http::request::Parts;
//! use axum::response::{IntoResponse, Redirect};
//! use portcullis::{Account, ClientInfo, Factor, Portcullis};
//!
//! async fn signed_in_by_other_means(
//!     auth: &Portcullis,
//!     account: &Account,
//!     client: &ClientInfo,
//!     request: &Parts,
//! ) -> Result<impl IntoResponse, portcullis::Rejection> {
//!     let sign_in = auth.sign_in(account, client).proved(Factor::External);
//!     let outcome = sign_in.replacing(&request.extensions).await?.await?;
//!     Ok((outcome.into_issued(), Redirect::to("/")))
//! }
//! ```
//!
//! # Suspicious sessions
//!
//! A session can be marked suspicious by its owner (`POST /sessions/{id}/report`), by the binding
//! policy, or by the application ([`Sessions::mark_suspicious`], also inside the transaction of a
//! hook). From then on every request with it gets 401 `session_suspicious`. It is not renewed, and
//! no other session can continue it. Only signing out works. It stays in the list, marked as
//! suspicious, until it is ended.
//!
//! # What it does not do
//!
//! - It does not limit the number of sessions per account, unless
//!   [`max_per_account`](crate::config::SessionConfig::max_per_account) is set.
//! - It does not detect a thief who sends requests more often than every 90 seconds. What
//!   [`binding`](crate::config::SessionConfig::binding) compares may reveal such a thief.
//! - It does not close a stream that is already open.
//! - It stores no data of your application. Put small data into
//!   [`session_data`](crate::session_data). Put more into your own table, with the account or the
//!   [`lineage_id`](Session::lineage_id) as the key. The lineage stays the same when a session is
//!   replaced.
//!
//! # Routes
//!
//! The routes are those of [`login`](crate::login), [`own_session`](crate::own_session) and
//! [`anonymous`](crate::anonymous).
//!
//! # Configuration
//!
//! [`SessionConfig`](crate::config::SessionConfig) has lifetimes, rotation, binding and the limit
//! per account. [`CookieConfig`](crate::config::CookieConfig) has the name and the attributes of
//! the cookie.
//!
//! # Events and error codes
//!
//! The events are `session_created`, `session_ended`, `sessions_ended`, `session_suspicious` and
//! `session_cleared`. The page [`identity`](crate::identity) lists those of a request. The error
//! codes are `session_ended` (401), `session_not_found` (404) and `session_limit` (409).
//!
//! # Standard
//!
//! RFC 7519 (JWT). The presets of [`SessionConfig`](crate::config::SessionConfig) follow the time
//! limits of NIST SP 800-63B-4.

use std::net::IpAddr;

use crate::account::{Account, store as account_store};
use crate::api_key;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::PassedFactors;
use crate::base::id::{AccountId, SessionId};
use crate::base::transaction::{Db, OpenTransaction, Txn, transaction};
use crate::context::Context;
use crate::handle::Portcullis;
use crate::hook::{HookList, SigningOut};

pub(crate) mod cookie;
pub(crate) mod device;
pub(crate) mod entity;
mod error;
pub(crate) mod issue;
pub(crate) mod judge;
mod method;
mod stage;
pub(crate) mod store;
mod transport;
pub(crate) mod trusted;
mod typed;

pub use device::KnownDevice;
pub use error::SessionError;
pub(crate) use error::from_session;
pub use issue::{Issued, SignedOut, StartSession};
pub use judge::Ended;
pub use method::SecondFactorMethod;
pub(crate) use method::masked;
pub use stage::Stage;
pub use transport::Transport;
pub(crate) use transport::scheme_of;
pub use typed::{
    AnonymousSession, EnrolmentSession, PasswordChangeSession, PendingSession, Session,
};

use cookie::SessionCookie;
use device::Devices;
use issue::DeviceCookie;
use judge::{ClientMark, SessionState, lingers_until};
use store::Marked;

/// The maximum number of sessions in one list.
pub const SESSIONS_A_PAGE: usize = 100;

/// A session as its owner sees it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionSummary {
    /// The public id.
    pub id: SessionId,
    /// When it was started.
    pub created_at: Timestamp,
    /// When its token was last replaced. The session was in use at that time.
    pub rotated_at: Timestamp,
    /// The absolute end of the session.
    pub expires_at: Timestamp,
    /// The address from which it was started.
    pub address: Option<IpAddr>,
    /// The user agent with which it was started.
    pub user_agent: Option<String>,
    /// True if it was marked suspicious. It then gives no rights any more.
    pub suspicious: bool,
    /// The session that approved it, if it is the session of a [device](crate::device_login). It was approved
    /// shortly before it was started.
    pub approved_in: Option<SessionId>,
    /// True if its token is [bound to a key](crate::dpop) of its client.
    pub key_bound: bool,
}

/// Starts, lists and ends sessions. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Sessions<'a> {
    context: &'a Context,
    db: Db<'a>,
}

impl Portcullis {
    /// Returns the flows of sessions.
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions { context: self.context(), db: self.context().db() }
    }
}

impl<'a> Sessions<'a> {
    /// Returns the same flows inside a transaction of the caller.
    #[must_use]
    pub fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { db: self.db.within(txn), ..self }
    }

    /// The same inside the transaction of another flow of portcullis.
    pub(crate) fn inside(self, txn: &'a Txn<'a>) -> Self {
        Self { db: self.db.inside(txn), ..self }
    }

    /// Starts a session without a sign-in: for a test, for a program that acts as an account, or
    /// for a session with a [ceiling](StartSession::ceiling). It runs no login hooks and makes no
    /// device known. It ends no other session, unless the account has reached its
    /// [limit](crate::config::SessionConfig::max_per_account). A full session without a ceiling is
    /// recorded as the last login of the account. To sign someone in, use [`Portcullis::sign_in`].
    ///
    /// This does not check whether the account may be used. But a session counts only if the
    /// account is unchanged since it was read: if it was disabled in the meantime, the session
    /// never counts.
    pub fn start(&self, account: &Account, client: &ClientInfo) -> StartSession<'a> {
        StartSession::new(self.context, self.db, client).of(account)
    }

    /// Starts a session for a visitor without an account.
    pub fn start_anonymous(&self, client: &ClientInfo) -> StartSession<'a> {
        StartSession::new(self.context, self.db, client)
    }

    /// Signs out: the session is invalid from its next request on, on every node.
    ///
    /// # Errors
    /// A hook refused; an outage. It is no error if the session has already ended.
    pub async fn end(&self, id: SessionId) -> Result<SignedOut, SessionError> {
        let account_id = self.db.read(store::account_of(&self.db.executor(), id)).await?;
        let at = self.context.now();
        self.sign_out(id, account_id, None, at).await?;
        Ok(self.signed_out())
    }

    /// Ends a session for its owner. It is no error if the session has already ended.
    pub(crate) async fn sign_out(
        &self,
        session_id: SessionId,
        account_id: Option<AccountId>,
        client: Option<&ClientInfo>,
        at: Timestamp,
    ) -> Result<(), SessionError> {
        let mut event = Event::new(EventKind::SessionEnded, at).session(session_id);
        if let Some(account) = account_id {
            event = event.account(account);
        }
        if let Some(client) = client {
            event = event.from_client(client);
        }
        let auth = Portcullis::of(self.context);
        let hooks = auth.per_instance::<HookList>();
        transaction!(self.db, |txn| {
            // The first statement, so that only one of two simultaneous logouts runs the hooks.
            if !store::end(txn, session_id, Ended::LoggedOut, at).await? {
                // If a step-up replaced the session before, its remaining rights end here.
                store::stop_lingering(txn, session_id).await?;
                return Ok(());
            }
            let row = match account_id.filter(|_| !hooks.is_empty()) {
                Some(id) => account_store::find(txn, id).await?,
                None => None,
            };
            let account = row.map(Account::from);
            let (auth, account) = (&auth, account.as_ref());
            let logout = SigningOut { auth, account, account_id, session_id, client, at };
            hooks.before_logout(logout, txn).await?;
            audit_log::record(txn, &event).await?;
            hooks.after_logout(logout, txn).await?;
            Ok(())
        })
    }

    /// True if the account is known to sign in from the device of the client; see [known
    /// devices](crate::attempt#known-devices). This does not prove who the client is. It runs no
    /// statement.
    pub fn knows_device(&self, account: &Account, client: &ClientInfo) -> bool {
        let devices = self.context.per_instance::<Devices>();
        let device = devices.recognize(self.context, client, account.id, account.epoch);
        device.known().is_some()
    }

    /// Returns what makes a client forget its session, for your own answer.
    pub fn signed_out(&self) -> SignedOut {
        let config = &self.context.config;
        SignedOut {
            cookie: SessionCookie::new(config),
            device: DeviceCookie::Kept(SessionCookie::of_devices(config)),
            trusted: config
                .trusted_device
                .enabled
                .then(|| SessionCookie::of_trusted_devices(config)),
        }
    }

    /// Returns the sessions of an account that have not ended, newest first. Suspicious ones are
    /// included. The list has at most [`SESSIONS_A_PAGE`] sessions. If it is full, pass its last id
    /// to [`list_after`](Self::list_after) for more.
    ///
    /// # Errors
    /// An outage.
    pub async fn list(&self, account: &Account) -> Result<Vec<SessionSummary>, SessionError> {
        self.page(account, None).await
    }

    /// Returns the next page of [`list`](Self::list), after this session. Any session id works,
    /// even of a session that has ended since.
    ///
    /// # Errors
    /// An outage.
    pub async fn list_after(
        &self,
        account: &Account,
        after: SessionId,
    ) -> Result<Vec<SessionSummary>, SessionError> {
        self.page(account, Some(after)).await
    }

    async fn page(
        &self,
        account: &Account,
        after: Option<SessionId>,
    ) -> Result<Vec<SessionSummary>, SessionError> {
        let now = self.context.now();
        let require_verified = self.context.config.login.require_verified;
        let executor = self.db.executor();
        let most = SESSIONS_A_PAGE as u64;
        let rows = store::of_account(&executor, account.id, after, most, now, require_verified);
        let rows = self.db.read(rows).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| SessionState::try_from(row).ok())
            .map(|state| SessionSummary {
                id: state.id,
                created_at: state.created_at,
                rotated_at: state.rotated_at,
                expires_at: state.expires_at,
                address: state.address.as_deref().and_then(|text| text.parse().ok()),
                user_agent: state.user_agent,
                suspicious: state.suspicious,
                approved_in: state.approved_in,
                key_bound: state.bound_to.is_some(),
            })
            .collect())
    }

    /// Ends one session of an account. This does not end the trust in its
    /// [device](crate::trusted_device).
    ///
    /// # Errors
    /// [`SessionError::NotFound`] if the account has no active session with this id. The answer is
    /// the same for the session of another account. An outage.
    pub async fn end_one(&self, account: AccountId, id: SessionId) -> Result<(), SessionError> {
        let now = self.context.now();
        let event = Event::new(EventKind::SessionEnded, now).account(account).session(id);
        transaction!(self.db, |txn| {
            if !store::end_own(txn, account, id, now).await? {
                return Err(SessionError::NotFound);
            }
            let account_id = store::account_of(txn, id).await?;
            audit_log::record(txn, &Event { account_id, ..event.clone() }).await?;
            Ok(())
        })?;
        Ok(())
    }

    /// Marks a session of this account suspicious: "this was not me". This also ends the [trusted
    /// devices](crate::trusted_device) of the account.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] as in [`end_one`](Self::end_one). It is no error if the session
    /// is already marked. An outage.
    pub async fn report(&self, account: AccountId, id: SessionId) -> Result<(), SessionError> {
        self.suspect(Some(account), id, "owner").await
    }

    /// Marks any session suspicious, for an administrator or a hook.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] if there is no active session with this id. It is no error if the
    /// session is already marked. An outage.
    pub async fn mark_suspicious(&self, id: SessionId) -> Result<(), SessionError> {
        self.suspect(None, id, "application").await
    }

    async fn suspect(
        &self,
        account: Option<AccountId>,
        id: SessionId,
        by: &'static str,
    ) -> Result<(), SessionError> {
        let now = self.context.now();
        let event = Event::new(EventKind::SessionSuspected, now).session(id).detail(by);
        let copied = trusted::of_copied(self.context, account);
        transaction!(self.db, |txn| {
            if let Some(account) = account {
                store::lock_account(txn, account).await?;
            }
            let marked = store::mark_suspicious(txn, account, id, now).await?;
            match marked {
                Marked::Now => {
                    let account_id = store::account_of(txn, id).await?;
                    audit_log::record(txn, &Event { account_id, ..event.clone() }).await?;
                }
                Marked::Before => {}
                Marked::Nothing => return Err(SessionError::NotFound),
            }
            // Also if the binding or the application marked it before, which ends no trust.
            if let Some(account) = copied {
                trusted::end_copied(txn, account, &event, "session reported").await?;
            }
            if let Some(made_in) = account.zip(store::lineage_of(txn, id).await?) {
                api_key::end_made_in(txn, made_in, "session reported", now).await?;
            }
            Ok(())
        })
    }

    /// Removes the mark, after the owner confirmed that the session is theirs.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] if there is no active session with this id that has the mark. An
    /// outage.
    pub async fn clear_suspicion(&self, id: SessionId) -> Result<(), SessionError> {
        let now = self.context.now();
        let event = Event::new(EventKind::SessionCleared, now).session(id);
        transaction!(self.db, |txn| {
            if !store::clear_suspicion(txn, id, now).await? {
                return Err(SessionError::NotFound);
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        })?;
        Ok(())
    }

    /// Deletes, in batches, sessions that were ended at least `kept` ago, or whose absolute end
    /// passed at least `kept` ago. Returns how many were deleted. As long as the row exists, an old
    /// token gets the reason for its refusal (`session_ended`). Later it is only unknown. A session
    /// that ended because it was idle, or because of its account, stays until its absolute end.
    ///
    /// [`maintenance`](crate::maintenance) does this for every table.
    ///
    /// # Errors
    /// An outage. Batches that were already deleted stay deleted.
    pub async fn purge(&self, kept: std::time::Duration) -> Result<u64, SessionError> {
        const BATCH: u64 = 500;
        let then = self.context.now().minus(kept);
        let executor = self.db.executor();
        let mut purged = 0;
        loop {
            let ended = self.db.retry(|| store::purge_ended(&executor, then, BATCH)).await?;
            let expired = self.db.retry(|| store::purge_expired(&executor, then, BATCH)).await?;
            purged += ended + expired;
            if ended < BATCH && expired < BATCH {
                return Ok(purged);
            }
        }
    }

    /// Ends all sessions of an account, except `except`. Returns how many were ended. Without `except`, its
    /// [API keys](crate::api_key) end too. A sign-in
    /// that is still in progress and commits later is invalid as well, because the epoch of the
    /// account increases. So read the [`Account`] again before you [`start`](Self::start) a session
    /// for it.
    ///
    /// From then on every device of the account counts as new, even that of the session `except`.
    /// [`own_sessions`](crate::own_session) keeps the device of the user who asks known.
    ///
    /// # Errors
    /// [`SessionError::Ended`] if `except` does not count any more. Then nothing is ended, because
    /// it may have been replaced by a session that should continue. An outage.
    pub async fn end_all(
        &self,
        account: AccountId,
        except: Option<SessionId>,
    ) -> Result<u64, SessionError> {
        let (count, _) = self.end_all_of(account, except, None, Epoch::NotAsked).await?;
        Ok(count)
    }

    /// The same for the user who asks. If their device was known, it stays known under the new
    /// epoch.
    pub(crate) async fn end_all_from(
        &self,
        account: &Account,
        except: Option<SessionId>,
        client: &ClientInfo,
    ) -> Result<SessionsEnded, SessionError> {
        let devices = self.context.per_instance::<Devices>();
        let device = devices.recognize(self.context, client, account.id, account.epoch);
        let asked = match device.known() {
            Some(_) => Epoch::Asked,
            None => Epoch::NotAsked,
        };
        // With `except`, the epoch of that session is compared instead.
        let seen = except.is_none().then_some(account.epoch);
        let (count, epoch) = self.end_all_of(account.id, except, seen, asked).await?;
        let device = match epoch {
            Some(epoch) => devices.remember(self.context, client, account.id, epoch),
            None => devices.unchanged(),
        };
        Ok(SessionsEnded { count, device })
    }

    /// Returns how many sessions were ended, and the new epoch if it was requested.
    async fn end_all_of(
        &self,
        account: AccountId,
        except: Option<SessionId>,
        seen: Option<i64>,
        epoch: Epoch,
    ) -> Result<(u64, Option<i64>), SessionError> {
        let now = self.context.now();
        let event = Event::new(EventKind::SessionsEnded, now).account(account);
        let ended = transaction!(self.db, |txn| {
            let ended = store::end_all(txn, account, except, seen, now).await?;
            let count = ended.ok_or(SessionError::Ended)?;
            // "Everywhere" means programs too. The row of the account is locked.
            if except.is_none() {
                api_key::end_all(txn, account, "all sessions ended", now).await?;
            }
            let epoch = match epoch {
                Epoch::Asked => account_store::epoch_of(txn, account).await?,
                Epoch::NotAsked => None,
            };
            audit_log::record(txn, &event).await?;
            Ok::<_, SessionError>((count, epoch))
        })?;
        Ok(ended)
    }
}

/// Tells whether the caller needs the new epoch. Reading it costs one more statement.
#[derive(Debug, Clone, Copy)]
enum Epoch {
    Asked,
    NotAsked,
}

/// Sessions of one account that its owner ended together.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "the device that asked stays known when it gets what is in here"]
pub struct SessionsEnded {
    /// How many sessions were ended.
    pub count: u64,
    /// The device of the user who asked. It stays known if you add this to the answer.
    pub device: KnownDevice,
}

/// The row has a value that this version cannot read.
#[derive(Debug)]
pub(crate) struct Unreadable;

impl TryFrom<entity::Model> for SessionState {
    type Error = Unreadable;

    fn try_from(row: entity::Model) -> Result<Self, Unreadable> {
        Ok(Self {
            id: row.id,
            lineage_id: row.lineage_id,
            account_id: row.account_id,
            account_epoch: row.account_epoch,
            stage: Stage::from_number(row.stage).ok_or(Unreadable)?,
            generation: row.generation,
            rotated_at: row.rotated_at,
            late_use_at: row.late_use_at,
            previous_late_use_at: row.previous_late_use_at,
            rotated_by: ClientMark { network: row.rotated_network, browser: row.rotated_browser },
            created_at: row.created_at,
            expires_at: row.expires_at,
            idle: std::time::Duration::from_millis(u64::try_from(row.idle_ms).unwrap_or(0)),
            persistent: row.persistent,
            factors: PassedFactors::from_column(&row.factors),
            proved_elsewhere: None,
            ceiling: row.ceiling,
            address: row.address,
            user_agent: row.user_agent,
            ended_at: row.ended_at,
            ended: row.ended_at.map(|_| Ended::from_column(row.end_reason.as_deref())),
            lingers_until: lingers_until(row.ended_at, row.end_reason.as_deref()),
            suspicious: row.suspicious_at.is_some(),
            approved_in: row.approved_in,
            bound_to: row.bound_to.map(|key| key.parse()).transpose().map_err(|_| Unreadable)?,
        })
    }
}
