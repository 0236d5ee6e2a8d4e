//! Starting sessions: a new row, a new token, and the end of the session that is replaced.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum_core::response::{IntoResponseParts, ResponseParts};
use http::HeaderMap;
use http::header::CACHE_CONTROL;

use super::cookie::{CookieAction, SessionCookie};
use super::device::{Devices, KnownDevice};
use super::entity::Model;
use super::error::SessionError;
use super::judge::{Ended, SessionState};
use super::stage::Stage;
use super::store;
use super::transport::{Transport, scheme_of};
use super::trusted::TrustedToken;
use super::typed::{AnonymousSession, PendingSession};
use crate::account::{Account, store as account_store};
use crate::audit_log;
use crate::base::announcement::announce;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{Factor, PassedFactors};
use crate::base::id::{AccountId, LineageId, SessionId};
use crate::base::jwk_thumbprint::JwkThumbprint;
use crate::base::jwt::Claims;
use crate::base::secret::{random_array, random_version};
use crate::base::transaction::{Db, OpenTransaction, Txn, transaction};
use crate::config::{AtLimit, SessionConfig};
use crate::context::Context;
use crate::handle::Portcullis;
use crate::hook::{HookList, SigningIn};
use crate::permission::{Permission, write_list};
use crate::port::SessionReplaced;

/// The session that a new one replaces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replaces {
    pub(crate) id: SessionId,
    /// The lineage that the new session continues. `None` if it begins a new one.
    pub(crate) lineage_id: Option<LineageId>,
    /// True if the new session continues the old one, so that the old one must still be alive: a
    /// factor was added, or a password was changed. A login only ends the old one.
    pub(crate) promotes: bool,
}

/// A session that is about to start. Change its settings, then `.await` it.
#[derive(Debug, Clone)]
#[must_use = "a session starts when this is awaited"]
pub struct StartSession<'a> {
    context: &'a Context,
    db: Db<'a>,
    /// The account, with the epoch under which the session counts.
    account: Option<Account>,
    client: ClientInfo,
    stage: Stage,
    factors: PassedFactors,
    remember: bool,
    transport: Transport,
    replaces: Option<Replaces>,
    ceiling: Option<String>,
    /// The session does not outlive this time, whatever its lifetime is.
    until: Option<Timestamp>,
    /// The lifetime of the session, instead of the configured one.
    lifetime: Option<Duration>,
    /// The session that approved it.
    approved_in: Option<SessionId>,
    /// The secret part of its token, if it is not a random one.
    sid: Option<[u8; 16]>,
    /// The key to which the session is bound.
    bound_to: Option<JwkThumbprint>,
    event: EventKind,
    /// True if the full session that is replaced keeps its old rights for a short time.
    old_lingers: bool,
    /// True if the session that is continued is a full one.
    continues_full: bool,
    /// The epoch under which the session that is continued counts.
    old_epoch: i64,
}

impl<'a> StartSession<'a> {
    pub(crate) fn new(context: &'a Context, db: Db<'a>, client: &ClientInfo) -> Self {
        Self {
            context,
            db,
            account: None,
            client: client.clone(),
            stage: Stage::Anonymous,
            factors: PassedFactors::default(),
            remember: true,
            transport: Transport::Cookie,
            replaces: None,
            ceiling: None,
            until: None,
            lifetime: None,
            approved_in: None,
            sid: None,
            bound_to: None,
            event: EventKind::SessionStarted,
            old_lingers: false,
            continues_full: false,
            old_epoch: 0,
        }
    }

    pub(crate) fn of(mut self, account: &Account) -> Self {
        self.account = Some(account.clone());
        self.stage = Stage::Full;
        self
    }

    /// Sets the epoch, for an account whose epoch this transaction increased.
    pub(crate) fn at_epoch(mut self, epoch: i64) -> Self {
        self.account = self.account.map(|account| Account { epoch, ..account });
        self
    }

    pub(crate) fn event(mut self, event: EventKind) -> Self {
        self.event = event;
        self
    }

    pub(crate) fn replaces(mut self, replaces: Option<Replaces>) -> Self {
        self.replaces = replaces;
        self
    }

    /// Continues a session that must still be alive. Keeps its lineage, its ceiling and, for a full
    /// session, its end.
    pub(crate) fn going_on_from(mut self, old: &SessionState, transport: Transport) -> Self {
        self.replaces =
            Some(Replaces { id: old.id, lineage_id: Some(old.lineage_id), promotes: true });
        self.old_epoch = old.account_epoch;
        self.remember = old.persistent;
        self.transport = transport;
        self.ceiling.clone_from(&old.ceiling);
        self.approved_in = old.approved_in;
        self.bound_to = old.bound_to;
        self.continues_full = old.stage == Stage::Full;
        if self.continues_full {
            self.until = Some(old.expires_at);
        }
        self
    }

    /// Continues a full session of the same account after a step-up. The old session keeps its old
    /// rights for a short time, for requests that other tabs have already sent. Nobody gains rights
    /// by this, because the same account had these rights a moment ago. Everything else that
    /// replaces a session ends it immediately.
    pub(crate) fn stepping_up(mut self, old: &SessionState, transport: Transport) -> Self {
        self.old_lingers = old.stage == Stage::Full;
        self.going_on_from(old, transport)
    }

    pub(crate) fn passed(mut self, factors: PassedFactors) -> Self {
        self.factors = factors;
        self
    }

    /// Starts a session at this stage, for a test.
    #[cfg(feature = "test-util")]
    pub fn stage(self, stage: Stage) -> Self {
        self.at_stage(stage)
    }

    /// Stays at the stage of a session that this one continues, and keeps its end.
    pub(crate) fn staying_at_stage_of(mut self, old: &SessionState) -> Self {
        self.stage = old.stage;
        self.until = Some(old.expires_at);
        self
    }

    pub(crate) fn at_stage(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    /// Records that this factor was proved now.
    pub fn factor(mut self, factor: Factor) -> Self {
        let now = self.context.now();
        self.factors = self.factors.with(factor, now);
        self
    }

    /// Sets whether the cookie survives a restart of the browser. Without it, the session has the
    /// shorter `unremembered_lifetime`, which is 12 hours by default. Default: true.
    pub fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    /// Sets how the token is sent. Default: in the cookie.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Limits the session to what these permissions imply, whatever its account may do.
    pub fn ceiling(mut self, permissions: impl IntoIterator<Item = Permission>) -> Self {
        let permissions: Vec<_> = permissions.into_iter().collect();
        self.ceiling = Some(write_list(&permissions));
        self
    }

    /// Sets how long the session lasts, whatever is configured.
    pub(crate) fn lasting(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// For a device that another session has approved. `sid` is the secret part of the token. The device
    /// may ask for the token again, so the caller has derived it from what only the device knows.
    pub(crate) fn approved_in(mut self, session: SessionId, sid: [u8; 16]) -> Self {
        (self.approved_in, self.sid) = (Some(session), Some(sid));
        self
    }

    /// Binds the session to a key, if there is one.
    pub(crate) fn bound_to(mut self, key: Option<JwkThumbprint>) -> Self {
        self.bound_to = key;
        self
    }

    /// Starts the session inside a transaction of the caller. It exists after the commit.
    pub fn within(mut self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        self.db = self.db.within(txn);
        self
    }

    /// The same inside the transaction of another flow of portcullis.
    pub(crate) fn inside(mut self, txn: &'a Txn<'a>) -> Self {
        self.db = self.db.inside(txn);
        self
    }

    /// Starts the session.
    pub(crate) async fn issue(self) -> Result<Issued, SessionError> {
        let context = self.context;
        // Nobody takes such a token, so the client would have lost its old session for nothing.
        if self.transport == Transport::Bearer && !context.config.service.bearer {
            return Err(SessionError::BearerOff);
        }
        let now = context.now();
        let config = &context.config.session;
        let sid = self.sid.unwrap_or_else(random_array);
        let row = self.row(&sid, now);
        let id = row.id;
        let event = self.started(id, now);
        let signs_in = self.event == EventKind::LoginSucceeded;
        let auth = Portcullis::of(context);
        let hooks = auth.per_instance::<HookList>();
        let login = self.account.as_ref().filter(|_| signs_in).map(|account| SigningIn {
            auth: &auth,
            account,
            account_id: account.id,
            session_id: id,
            token_type: self.stage.token_type(),
            factors: &self.factors,
            client: &self.client,
            at: now,
        });
        let require_verified = context.config.login.require_verified;
        // The application identified the user itself, so this counts as the last login. A session
        // with a ceiling does not: it is for a device or a program.
        let begins = self.event == EventKind::SessionStarted
            && self.stage == Stage::Full
            && self.replaces.is_none()
            && self.ceiling.is_none();
        transaction!(self.db, |txn| {
            if let Some(account) = self.account.as_ref().filter(|_| begins) {
                // The account's row is locked first, as in every sign-in, so that two flows do not
                // deadlock.
                account_store::set_last_login(txn, account.id, now).await?;
            }
            if let Some(login) = login {
                hooks.before_login(login, txn).await?;
            }
            // A full session that continues another one adds none.
            let limit = config.max_per_account;
            let limit = limit.filter(|_| self.stage == Stage::Full && !self.continues_full);
            let limited = row.account_id.zip(limit);
            if let Some((account, _)) = limited {
                store::lock_account(txn, account).await?;
            }
            store::insert(txn, row.clone()).await?;
            if let Some(old) = self.replaces {
                self.end_replaced(txn, old, &row, now).await?;
            }
            if let Some((account, most)) = limited {
                keep_to_limit(txn, config, account, most, &event, require_verified).await?;
            }
            audit_log::record(txn, &event).await?;
            if let Some(login) = login.filter(|_| self.stage == Stage::Full) {
                hooks.after_login(login, txn).await?;
            }
            Ok::<_, SessionError>(())
        })?;
        let minted = Minting {
            stage: self.stage,
            sid,
            generation: 0,
            end: row.expires_at,
            idle: None,
            bound_to: self.bound_to,
        }
        .sign(context, now);
        let cookie = SessionCookie::new(&context.config);
        let device = self.device(signs_in);
        let age = self.remember.then(|| cookie_age(context, self.stage, now, row.expires_at));
        let issued = Issued {
            session_id: id,
            account_id: row.account_id,
            stage: self.stage,
            expires_in: minted.expires_in,
            transport: self.transport,
            set_cookie: cookie.set(&minted.token, age),
            token: minted.token,
            cookie,
            device,
            account: self.account.map(Arc::new),
            state: SessionState::try_from(row).ok().map(Arc::new),
            enrolment_due_at: None,
            trusted: None,
            offers_trust: false,
        };
        Ok(issued)
    }

    /// Returns how long the session may last, and how long it may be idle.
    fn lifetimes(&self) -> (Duration, Duration) {
        let config = &self.context.config.session;
        let lifetime = match self.stage {
            Stage::Full if self.remember => self.lifetime.unwrap_or(config.absolute_lifetime),
            Stage::Full => config.unremembered_lifetime,
            Stage::PendingSecondFactor | Stage::MustEnrol => config.pending_lifetime,
            Stage::MustChangePassword => config.password_change_lifetime,
            Stage::Anonymous => config.anonymous_lifetime,
        };
        match (self.stage, config.refresh_window) {
            (Stage::Full, Some(window)) => (lifetime, window.min(lifetime)),
            // Tokens are not renewed, so the session ends with its token, also for an open
            // connection that shows no token.
            (Stage::Full, None) => {
                let lifetime = lifetime.min(config.token_lifetime);
                (lifetime, lifetime)
            }
            _ => (lifetime, lifetime),
        }
    }

    /// Returns the row of the session. `sid` is its id in the token.
    fn row(&self, sid: &[u8; 16], now: Timestamp) -> Model {
        let (lifetime, idle) = self.lifetimes();
        let end = now.plus(lifetime);
        let lineage_id = self.replaces.and_then(|old| old.lineage_id);
        Model {
            id: SessionId::new(now),
            token_digest: self.context.session_digests[0].digest(sid).to_vec(),
            version: random_version(),
            lineage_id: lineage_id.unwrap_or_else(|| LineageId::new(now)),
            account_id: self.account.as_ref().map(Account::id),
            account_epoch: self.account.as_ref().map_or(0, |account| account.epoch),
            stage: self.stage.number(),
            generation: 0,
            rotated_at: now,
            late_use_at: None,
            previous_late_use_at: None,
            rotated_network: None,
            rotated_browser: None,
            created_at: now,
            expires_at: self.until.map_or(end, |until| until.min(end)),
            idle_ms: i64::try_from(idle.as_millis()).unwrap_or(i64::MAX),
            persistent: self.remember,
            factors: self.factors.to_column(),
            ceiling: self.ceiling.clone(),
            address: self.client.address().map(|address| address.to_string()),
            // The column counts characters and the text was cut by bytes, so it fits.
            user_agent: self.client.user_agent().map(str::to_owned),
            ended_at: None,
            end_reason: None,
            suspicious_at: None,
            approved_in: self.approved_in,
            bound_to: self.bound_to.map(|key| key.to_string()),
        }
    }

    /// Returns the event of the start.
    fn started(&self, id: SessionId, now: Timestamp) -> Event {
        let mut event = Event::new(self.event, now).session(id).from_client(&self.client);
        if let Some(account) = &self.account {
            event = event.account(account.id);
        }
        if self.stage != Stage::Full {
            event = event.detail(self.stage.as_str());
        } else if self.event == EventKind::LoginSucceeded
            && self.factors.trusted_device_at().is_some()
        {
            event = event.detail("trusted_device");
        }
        event
    }

    /// Ends the session that the new one replaces, or continues it.
    async fn end_replaced(
        &self,
        txn: &Txn<'_>,
        old: Replaces,
        new: &Model,
        now: Timestamp,
    ) -> Result<(), SessionError> {
        let ended = if old.promotes {
            store::promote(txn, old.id, self.old_epoch, self.old_lingers, now).await?
        } else {
            store::end(txn, old.id, Ended::Superseded, now).await?
        };
        if old.promotes && !ended {
            return Err(SessionError::Ended);
        }
        // An open connection of the old session ends with it. The event names only the new one.
        txn.once_committed(move || announce(None, Some(old.id)));
        if !ended {
            // If a step-up replaced the session before, its remaining rights end here.
            return Ok(store::stop_lingering(txn, old.id).await?);
        }
        // Of two logins that replace the same session, only the one that ended it takes over its
        // data.
        let replaced = SessionReplaced { old: old.id, new: new.id, account_id: new.account_id };
        let hooks = Portcullis::of(self.context).per_instance::<HookList>();
        Ok(hooks.session_replaced(self.context, replaced, txn).await?)
    }

    /// Returns what makes the device known, if the sign-in is complete. A device that was known
    /// stays known, even if this change increases the epoch. A device whose epoch is outdated stays
    /// unknown until a sign-in, because only a sign-in tells the owner about a new device.
    fn device(&self, signs_in: bool) -> Option<KnownDevice> {
        let account = self.account.as_ref()?;
        let epoch = account.epoch;
        // A client that asked not to be remembered is not remembered.
        if self.stage != Stage::Full || !self.remember || self.ceiling.is_some() {
            return None;
        }
        let devices = self.context.per_instance::<Devices>();
        if !signs_in {
            let before = match self.replaces {
                Some(old) if old.promotes => self.old_epoch,
                _ => epoch,
            };
            devices.recognize(self.context, &self.client, account.id, before).known()?;
        }
        Some(devices.remember(self.context, &self.client, account.id, epoch))
    }
}

impl<'a> IntoFuture for StartSession<'a> {
    type Output = Result<Issued, SessionError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.issue())
    }
}

/// Enforces the session limit of an account: ends its oldest sessions, or refuses the newest one,
/// which is in `started`. The account's row is locked. So each of a hundred simultaneous logins
/// sees what the earlier ones left.
async fn keep_to_limit(
    txn: &Txn<'_>,
    config: &SessionConfig,
    account: AccountId,
    most: u32,
    started: &Event,
    require_verified: bool,
) -> Result<(), SessionError> {
    let now = started.at;
    let mut live = store::live_of(txn, account, now, require_verified).await?;
    let above = live.len().saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
    if above == 0 {
        return Ok(());
    }
    if config.at_limit == AtLimit::Refuse {
        return Err(SessionError::LimitReached);
    }
    live.retain(|id| Some(*id) != started.session_id);
    live.truncate(above);
    store::evict(txn, &live, now).await?;
    let mut event = Event::new(EventKind::SessionsEnded, now).account(account).detail("evicted");
    event.address = started.address;
    audit_log::record(txn, &event).await?;
    Ok(())
}

/// A token and how long it is valid.
pub(crate) struct Minted {
    pub(crate) token: String,
    pub(crate) expires_in: Duration,
}

/// Returns how long a token of a full session is valid. This is the configured time, but at most a
/// third of an idle time that a role shortens. Otherwise the session would end before it could
/// rotate.
pub(crate) fn token_lifetime(context: &Context, idle: Option<Duration>) -> Duration {
    let configured = context.config.session.token_lifetime;
    // Not shorter than `replay_after`, because the same generation is handed out again until then.
    let shortest = context.config.session.replay_after;
    idle.map_or(configured, |idle| configured.min(idle / 3).max(shortest))
}

/// What a new token says.
pub(crate) struct Minting {
    pub(crate) stage: Stage,
    pub(crate) sid: [u8; 16],
    pub(crate) generation: i64,
    /// The absolute end of the session.
    pub(crate) end: Timestamp,
    /// How long a role lets the session be idle, if a role limits that.
    pub(crate) idle: Option<Duration>,
    /// The key of the session.
    pub(crate) bound_to: Option<JwkThumbprint>,
}

impl Minting {
    /// Signs the token. A token of any other stage than a full session is valid as long as its row.
    pub(crate) fn sign(self, context: &Context, now: Timestamp) -> Minted {
        let expires_at = match self.stage {
            Stage::Full => self.end.min(now.plus(token_lifetime(context, self.idle))),
            _ => self.end,
        };
        let claims = Claims {
            sid: self.sid,
            generation: self.generation,
            issued_at: now.as_secs(),
            // Rounded up, so that the token never expires before its row does.
            expires_at: Timestamp::from_millis(expires_at.as_millis().saturating_add(999))
                .as_secs(),
            bound_to: self.bound_to,
        };
        Minted {
            token: context.jwt.sign(self.stage.token_type(), &claims),
            expires_in: expires_at.since(now),
        }
    }
}

/// Returns how long the browser keeps the cookie: as long as its token can still be replaced.
pub(crate) fn cookie_age(
    context: &Context,
    stage: Stage,
    now: Timestamp,
    end: Timestamp,
) -> Duration {
    let session = &context.config.session;
    let window = match stage {
        Stage::Full => session.refresh_window.unwrap_or(session.token_lifetime),
        _ => return end.since(now),
    };
    window.min(end.since(now))
}

/// A session that was started. Add it to the answer.
///
/// It is [`IntoResponseParts`], so a handler can return `(issued, Redirect::to("/"))`. Elsewhere,
/// [`apply`](Self::apply) adds it to the headers. A session with [`Transport::Bearer`] sets no
/// cookie. Read its token with [`token`](Self::token).
#[must_use = "the client is signed in when it gets this"]
pub struct Issued {
    session_id: SessionId,
    account_id: Option<AccountId>,
    stage: Stage,
    token: String,
    expires_in: Duration,
    transport: Transport,
    cookie: SessionCookie,
    set_cookie: CookieAction,
    device: Option<KnownDevice>,
    account: Option<Arc<Account>>,
    state: Option<Arc<SessionState>>,
    enrolment_due_at: Option<Timestamp>,
    trusted: Option<TrustedToken>,
    offers_trust: bool,
}

impl Issued {
    /// Adds the token of a trusted device.
    pub(crate) fn with_trusted_device(self, token: TrustedToken) -> Self {
        Self { trusted: Some(token), ..self }
    }

    /// Sets whether an unfinished sign-in may trust the device with its second step.
    pub(crate) fn offering_trust(self, offers_trust: bool) -> Self {
        Self { offers_trust, ..self }
    }

    /// Sets until when the account must set up a second factor.
    pub(crate) fn with_enrolment_due(self, due: Option<Timestamp>) -> Self {
        Self { enrolment_due_at: due, ..self }
    }

    /// Returns until when the account must set up the second factor that one of its roles requires, if
    /// it lacks one. Tell its owner.
    pub fn enrolment_due_at(&self) -> Option<Timestamp> {
        self.enrolment_due_at
    }

    /// Returns the public id of the session.
    pub fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// Returns the lineage of the session.
    #[cfg(feature = "federation")]
    pub(crate) fn lineage_id(&self) -> Option<LineageId> {
        self.state.as_ref().map(|state| state.lineage_id)
    }

    /// Returns the account of the session, or `None` for an anonymous one.
    pub fn account_id(&self) -> Option<AccountId> {
        self.account_id
    }

    /// Returns how far the sign-in has progressed.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns how the token is sent.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Returns how long the token is valid before it must be renewed.
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// Returns the token, for a client that sends it in the `Authorization` header. `None` if the
    /// token is in the cookie, because scripts of a page must not see it.
    pub fn token(&self) -> Option<&str> {
        (self.transport == Transport::Bearer).then_some(&*self.token)
    }

    /// Returns the scheme with which the token is sent in `Authorization`: `Bearer`, or `DPoP` for one that is
    /// [bound to a key](crate::dpop).
    pub fn token_scheme(&self) -> &'static str {
        scheme_of(self.state.as_ref().is_some_and(|state| state.bound_to.is_some()))
    }

    /// Returns the token of the device, for a client that stores its tokens itself. The client
    /// sends it in the header `Portcullis-Device` at the next sign-in, and is then not a new
    /// device. `None` if the session is in the cookie, because the device token is then in a cookie
    /// too, and if the client asked not to be remembered.
    pub fn device_token(&self) -> Option<&str> {
        let device = self.device.as_ref().filter(|_| self.transport == Transport::Bearer);
        device.and_then(KnownDevice::token)
    }

    /// True if the device is [trusted](crate::trusted_device): from now on, or as it was before.
    pub fn trusts_device(&self) -> bool {
        self.trusted.is_some()
    }

    /// Returns the token of the trusted device, for a client that stores its tokens itself. The client sends
    /// it in the header `Portcullis-Trusted-Device` at the next sign-in. It replaces the one before. `None`
    /// if the session is in the cookie, because this token is then in a cookie too.
    pub fn trusted_device_token(&self) -> Option<&str> {
        let trusted = self.trusted.as_ref().filter(|_| self.transport == Transport::Bearer);
        trusted.map(TrustedToken::token)
    }

    /// Returns the visitor's session that was started, if it is one. It is the value that the
    /// extractor gives in later requests. Use it to start a challenge in the same answer.
    pub fn anonymous_session(&self) -> Option<AnonymousSession> {
        let state = self.state.clone().filter(|state| state.stage == Stage::Anonymous)?;
        Some(AnonymousSession { state, transport: self.transport })
    }

    /// Returns the sign-in that still needs its second factor, if it is one. It is the value that
    /// the extractor gives in later requests. Use it to send a code with the answer to the
    /// password.
    pub fn pending_session(&self) -> Option<PendingSession> {
        let state = self.state.clone().filter(|state| state.stage == Stage::PendingSecondFactor)?;
        let (transport, offers_trust) = (self.transport, self.offers_trust);
        Some(PendingSession { state, account: self.account.clone()?, transport, offers_trust })
    }

    /// Returns the cookie as one that the layer adds itself: any other action of the answer wins
    /// over it.
    pub(crate) fn into_first_cookie(self) -> CookieAction {
        match self.set_cookie {
            CookieAction::Set(cookie) => CookieAction::Rotate(cookie),
            weaker => weaker,
        }
    }

    /// Adds the session to the headers of an answer.
    pub fn apply(&self, headers: &mut HeaderMap) {
        match self.transport {
            Transport::Cookie => {
                self.cookie.apply(headers, self.set_cookie.clone());
                if let Some(device) = &self.device {
                    device.apply(headers);
                }
                if let Some(trusted) = &self.trusted {
                    trusted.apply(headers);
                }
            }
            Transport::Bearer => {
                headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
            }
        }
    }
}

impl IntoResponseParts for Issued {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        self.apply(parts.headers_mut());
        Ok(parts)
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("session_id", &self.session_id)
            .field("stage", &self.stage)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// A session that was ended. Add it to the answer, so that the client forgets the session.
#[must_use = "the client forgets the session when it gets this"]
#[derive(Debug)]
pub struct SignedOut {
    pub(crate) cookie: SessionCookie,
    pub(crate) device: DeviceCookie,
    /// The cookie of trusted devices, if they are on.
    pub(crate) trusted: Option<SessionCookie>,
}

/// What an answer does to the cookie of the known device.
#[derive(Debug)]
pub(crate) enum DeviceCookie {
    Kept(SessionCookie),
    Cleared(SessionCookie),
}

impl SignedOut {
    /// Also makes the browser forget that the account has signed in there, and that it is a
    /// [trusted device](crate::trusted_device), for a shared computer. Signing out alone does not. The trusted
    /// device stays in the list of its owner.
    pub fn forget_device(mut self) -> Self {
        let (DeviceCookie::Kept(cookie) | DeviceCookie::Cleared(cookie)) = self.device;
        self.device = DeviceCookie::Cleared(cookie);
        self
    }

    /// Adds the deletion of the cookie to the headers of an answer.
    pub fn apply(&self, headers: &mut HeaderMap) {
        self.cookie.apply(headers, CookieAction::Clear);
        if let DeviceCookie::Cleared(cookie) = &self.device {
            cookie.apply(headers, CookieAction::Clear);
            if let Some(trusted) = &self.trusted {
                trusted.apply(headers, CookieAction::Clear);
            }
        }
    }
}

impl IntoResponseParts for SignedOut {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        self.apply(parts.headers_mut());
        Ok(parts)
    }
}
