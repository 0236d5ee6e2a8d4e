//! Sessions: one row per signed-in (or anonymous) client, and the signed pointer to it.
//!
//! 1. A login inserts a row and hands the client a token: a JWT with 128 random bits, a generation
//!    and times; nothing about the person, nothing about rights. The row keeps a keyed digest.
//! 2. Each request finds the row by that digest, together with its account, in one statement.
//! 3. After 15 minutes the next request gets the next generation of the token. The old one stays
//!    good until the new one was used *late*, 90 seconds after it was made, so parallel requests, lost
//!    answers and killed browsers are harmless. After that its use means that someone kept a copy: the
//!    session ends and its owner is told.
//! 4. A login, a new factor, a changed password make a new row and end the old one in the same
//!    transaction. One that a step-up replaced keeps its old rights for ten seconds, for what other tabs
//!    have under way. Only signing out clears a cookie; a 401 never does.
//!
//! Sign someone in from a handler of your own:
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
//! A session can be marked suspicious: by its owner (`POST /sessions/{id}/report`), by the
//! application ([`Sessions::mark_suspicious`], also inside a hook's transaction), or by the binding
//! policy. From then on it is 401 `session_suspicious` everywhere, is not renewed, and nothing goes
//! on from it; only signing out works. It stays in the list, as such, until it is ended.
//!
//! An account has as many sessions as it likes, unless
//! [`max_per_account`](crate::config::SessionConfig::max_per_account) says otherwise.
//!
//! Data of the application's own: a little of it in [`session_data`](crate::session_data), more of it
//! in a table of yours, keyed by the account or by the session's
//! [`lineage_id`](Session::lineage_id), which stays the same when a session is replaced.

use std::net::IpAddr;

use crate::account::{Account, store as account_store};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::PassedFactors;
use crate::base::id::{AccountId, SessionId};
use crate::base::transaction::{Db, OpenTransaction, transaction};
use crate::context::Context;
use crate::handle::Portcullis;
use crate::hook::{HookList, SigningOut};

pub(crate) mod cookie;
pub(crate) mod device;
pub(crate) mod entity;
mod error;
pub(crate) mod issue;
pub(crate) mod judge;
mod stage;
pub(crate) mod store;
mod transport;
mod typed;

pub use device::KnownDevice;
pub use error::SessionError;
pub(crate) use error::from_session;
pub use issue::{Issued, SignedOut, StartSession};
pub use judge::Ended;
pub use stage::Stage;
pub use transport::Transport;
pub use typed::{
    AnonymousSession, EnrolmentSession, PasswordChangeSession, PendingSession, Session,
};

use cookie::SessionCookie;
use device::Devices;
use issue::DeviceCookie;
use judge::{ClientMark, SessionState, lingers_until};
use store::Marked;

/// How many sessions a list has at most.
pub const SESSIONS_A_PAGE: usize = 100;

/// A session as its owner sees it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionSummary {
    /// The public id.
    pub id: SessionId,
    /// When it was started.
    pub created_at: Timestamp,
    /// When its token was last replaced; it was in use then.
    pub rotated_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// Where it was started from.
    pub address: Option<IpAddr>,
    /// What it was started with.
    pub user_agent: Option<String>,
    /// Whether it was marked suspicious: it counts for nothing any more.
    pub suspicious: bool,
}

/// Starts, lists and ends sessions. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Sessions<'a> {
    context: &'a Context,
    db: Db<'a>,
}

impl Portcullis {
    /// Sessions.
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions { context: self.context(), db: self.context().db() }
    }
}

impl<'a> Sessions<'a> {
    /// The same inside a transaction of the caller's.
    #[must_use]
    pub fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { db: self.db.within(txn), ..self }
    }

    /// Makes a session that no sign-in precedes: for a test, for a program that acts as an account, for a
    /// session with a [ceiling](StartSession::ceiling). It runs no login hooks and makes no device known. It
    /// ends no other session, unless the account has
    /// [as many as it may have](crate::config::SessionConfig::max_per_account). A full one without a ceiling
    /// is noted as the account's last login. To sign somebody in, use [`Portcullis::sign_in`].
    ///
    /// Nothing is checked here but that the account is still what it was when it was read: a session of
    /// one disabled meanwhile never counts.
    pub fn start(&self, account: &Account, client: &ClientInfo) -> StartSession<'a> {
        StartSession::new(self.context, self.db, client).of(account)
    }

    /// Starts a session for a visitor without an account.
    pub fn start_anonymous(&self, client: &ClientInfo) -> StartSession<'a> {
        StartSession::new(self.context, self.db, client)
    }

    /// Signs out: the session is over with its next request, here and on every node.
    ///
    /// # Errors
    /// A hook's refusal; an outage. Ending one that is over already is no error.
    pub async fn end(&self, id: SessionId) -> Result<SignedOut, SessionError> {
        let account_id = if self.context.per_instance::<HookList>().is_empty() {
            None
        } else {
            self.db.read(store::account_of(&self.db.executor(), id)).await?
        };
        let at = self.context.now();
        self.sign_out(id, account_id, None, at).await?;
        Ok(self.signed_out())
    }

    /// Ends a session for its owner; nothing to end is no error.
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
            // First, so that of two at once only one runs the hooks.
            if !store::end(txn, session_id, Ended::LoggedOut, at).await? {
                // If a step-up was faster, what is left of it is over too.
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

    /// Whether an account is known to sign in from the client's device; see
    /// [known devices](crate::attempt#known-devices). It is no proof of who the client is. No statement.
    pub fn knows_device(&self, account: &Account, client: &ClientInfo) -> bool {
        let devices = self.context.per_instance::<Devices>();
        let device = devices.recognize(self.context, client, account.id, account.epoch);
        device.known().is_some()
    }

    /// What makes a client forget its session, for an answer of your own.
    pub fn signed_out(&self) -> SignedOut {
        let config = &self.context.config;
        SignedOut {
            cookie: SessionCookie::new(config),
            device: DeviceCookie::Kept(SessionCookie::of_devices(config)),
        }
    }

    /// The sessions of an account that are not over, newest first; those that were marked
    /// suspicious too. A page of at most [`SESSIONS_A_PAGE`]: if it is full, ask
    /// [`list_after`](Self::list_after) its last one for more.
    ///
    /// # Errors
    /// An outage.
    pub async fn list(&self, account: &Account) -> Result<Vec<SessionSummary>, SessionError> {
        self.page(account, None).await
    }

    /// The next page of [`list`](Self::list), after this session: an id of any session will do, also
    /// of one that has ended since.
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
            })
            .collect())
    }

    /// Ends one session of an account.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] when the account has no such session that still counts: another
    /// account's id looks the same as none.
    pub async fn end_one(&self, account: AccountId, id: SessionId) -> Result<(), SessionError> {
        let now = self.context.now();
        let event = Event::new(EventKind::SessionEnded, now).account(account).session(id);
        transaction!(self.db, |txn| {
            if !store::end_own(txn, account, id, now).await? {
                return Err(SessionError::NotFound);
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        })?;
        Ok(())
    }

    /// Marks one of an account's own sessions suspicious: "this was not me".
    ///
    /// # Errors
    /// [`SessionError::NotFound`] as [`end_one`](Self::end_one). One that is marked already is no
    /// error.
    pub async fn report(&self, account: AccountId, id: SessionId) -> Result<(), SessionError> {
        self.suspect(Some(account), id, "owner").await
    }

    /// Marks any session suspicious, for an administrator or a hook.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] when there is no such session that still stands. One that is
    /// marked already is no error.
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
        let mut event = Event::new(EventKind::SessionSuspected, now).session(id).detail(by);
        event.account_id = account;
        transaction!(self.db, |txn| {
            let marked = store::mark_suspicious(txn, account, id, now).await?;
            match marked {
                Marked::Now => audit_log::record(txn, &event).await?,
                Marked::Before => {}
                Marked::Nothing => return Err(SessionError::NotFound),
            }
            Ok(())
        })
    }

    /// Takes the mark away again, after its owner said that it was them.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] when there is no such session that has the mark and still stands.
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

    /// Deletes the rows of sessions that were ended at least `kept` ago, or whose absolute end passed
    /// then, in batches. Says how many there were. Until then an old token is told why it is refused
    /// (`session_ended`), afterwards only that it is not known. A session that idled away or ended
    /// with its account stays until its absolute end.
    ///
    /// [`maintenance`](crate::maintenance) does this, and the same for every other table.
    ///
    /// # Errors
    /// An outage; what was deleted until then stays deleted.
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

    /// Ends the sessions of an account, except maybe the one that asks. Says how many there were. A
    /// sign-in that is under way and commits later is over too: the account's epoch moves, so read
    /// the [`Account`] again before you [`start`](Self::start) a session for it.
    ///
    /// Every device of the account is a new one from then on, also that of the session that goes on.
    /// [`own_sessions`](crate::own_session) keeps the device of the one who asks a known one.
    ///
    /// # Errors
    /// [`SessionError::Over`] when the one that is to go on does not count any more: nothing is
    /// ended then, for it may have been replaced by one that should go on. An outage.
    pub async fn end_all(
        &self,
        account: AccountId,
        except: Option<SessionId>,
    ) -> Result<u64, SessionError> {
        let (count, _) = self.end_all_of(account, except, None, Epoch::NotAsked).await?;
        Ok(count)
    }

    /// The same for the one who asks. The device is known as it was, under the epoch that begins.
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
        // With one that goes on it is the session's own epoch that is compared.
        let seen = except.is_none().then_some(account.epoch);
        let (count, epoch) = self.end_all_of(account.id, except, seen, asked).await?;
        let device = match epoch {
            Some(epoch) => devices.remember(self.context, client, account.id, epoch),
            None => devices.unchanged(),
        };
        Ok(SessionsEnded { count, device })
    }

    /// How many there were, and the epoch that began, if asked.
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
            let count = ended.ok_or(SessionError::Over)?;
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

/// Whether the epoch that began is asked for, which is one more statement.
#[derive(Debug, Clone, Copy)]
enum Epoch {
    Asked,
    NotAsked,
}

/// Sessions of one account that were ended together, by its owner.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "the device that asked stays known when it gets what is in here"]
pub struct SessionsEnded {
    /// How many there were.
    pub count: u64,
    /// The device of the one who asked, which stays known: add it to the answer.
    pub device: KnownDevice,
}

/// A row whose stage this version does not know.
#[derive(Debug)]
pub(crate) struct UnknownStage;

impl TryFrom<entity::Model> for SessionState {
    type Error = UnknownStage;

    fn try_from(row: entity::Model) -> Result<Self, UnknownStage> {
        Ok(Self {
            id: row.id,
            lineage_id: row.lineage_id,
            account_id: row.account_id,
            account_epoch: row.account_epoch,
            stage: Stage::from_number(row.stage).ok_or(UnknownStage)?,
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
            ceiling: row.ceiling,
            address: row.address,
            user_agent: row.user_agent,
            ended_at: row.ended_at,
            ended: row.ended_at.map(|_| Ended::from_column(row.end_reason.as_deref())),
            lingers_until: lingers_until(row.ended_at, row.end_reason.as_deref()),
            suspicious: row.suspicious_at.is_some(),
        })
    }
}
