//! The lazy handle: who a request is, found out when somebody first asks, once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::header::UPGRADE;
use http::{HeaderMap, Method};
use quick_cache::sync::Cache;
use tokio::sync::OnceCell;

use crate::account::Account;
use crate::audit_log;
use crate::base::client::{ClientInfo, same_browser_family, same_network};
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind, ROTATED, count};
use crate::base::id::SessionId;
use crate::base::jwt::{Claims, TokenType};
use crate::base::same_origin::{CrossSite, Facts, SameOrigin};
use crate::base::transaction::{Fault, transaction};
use crate::config::Binding;
use crate::context::Context;
use crate::handle::{Portcullis, Room};
use crate::identity::credential::{Credential, Source, bearer_token, credential};
use crate::identity::error::{AuthError, NotSignedIn};
use crate::identity::memory::{GrantsMemory, Versions};
use crate::identity::refused::{Compared, Refused};
use crate::identity::store::{Found, Statements};
use crate::identity::{Identity, IdentityData};
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::{self, Outgoing};
use crate::permission::{GrantRow, Grants, Levels, parse_list};
use crate::port::SigningOut;
#[cfg(feature = "routes")]
use crate::rate_limit::RateLimited;
use crate::session::cookie::{CookieAction, SessionCookie};
use crate::session::issue::{cookie_age, mint, token_lifetime};
use crate::session::judge::{Ended, Generation, SessionState};
use crate::session::{
    AnonymousSession, EnrolmentSession, PasswordChangeSession, PendingSession, Session, Stage,
    Transport, store as session_store,
};

/// What resolving needs that is made once per instance.
pub(crate) struct Resolver {
    pub(crate) cookie: SessionCookie,
    statements: Statements,
    memory: Option<GrantsMemory>,
    /// Sessions whose changed source was traced, so that one that stays there does not fill the
    /// log with every request.
    moved: Cache<SessionId, ClientInfo>,
}

/// How many moved sessions are remembered.
const MOVED_SESSIONS: usize = 10_000;

impl Room for Resolver {
    fn open(context: &Context) -> Self {
        Self {
            cookie: SessionCookie::new(&context.config),
            statements: Statements::new(
                context.database.backend(),
                context.session_digests.len(),
                Levels::new(&context.config.permission.levels),
            ),
            memory: GrantsMemory::new(context.config.database.remembered_grants),
            moved: Cache::new(MOVED_SESSIONS),
        }
    }
}

impl Resolver {
    /// The texts of the statements, for a test that asks the database how it would run them.
    #[cfg(feature = "test-util")]
    pub(crate) fn texts(&self) -> [&str; 3] {
        self.statements.texts()
    }
}

/// Who a request is.
#[derive(Debug, Clone)]
pub(crate) enum Resolved {
    Nobody(NotSignedIn),
    Anonymous(AnonymousSession),
    Pending(PendingSession),
    PasswordChange(PasswordChangeSession),
    Enrolment(EnrolmentSession),
    Full(Identity),
}

/// The handle in the request's extensions.
pub(crate) struct Slot {
    auth: Portcullis,
    resolver: Arc<Resolver>,
    credential: Credential,
    /// What the same-origin rule says of this request, should it act with a cookie. Boxed: seldom.
    cross_site: Option<Box<(CrossSite, Compared)>>,
    /// Whether an operator was told that this request is refused.
    refusal_noted: AtomicBool,
    /// Whether somebody had to be signed in for the answer.
    private: AtomicBool,
    /// Whether the answer depends on how the browser asked: for a page, or for data.
    asked_how: AtomicBool,
    upgrade: bool,
    source: Source,
    client: OnceLock<ClientInfo>,
    resolved: OnceCell<Resolved>,
    outgoing: Mutex<Option<CookieAction>>,
    #[cfg(feature = "routes")]
    counts: AtomicBool,
    /// That its account asks too often, once that was asked.
    #[cfg(feature = "routes")]
    limited: OnceCell<Option<RateLimited>>,
    /// The response is on its way: nothing that must reach the client may be done any more.
    sealed: AtomicBool,
}

/// What a flow of ours may ask of a token besides what every request may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Request,
    /// `POST /session/refresh`: the one place where an expired bearer token is taken.
    #[cfg(feature = "routes")]
    Refresh,
}

impl Slot {
    /// Notes what the request carries; asks nothing.
    pub(crate) fn new(
        auth: &Portcullis,
        resolver: &Arc<Resolver>,
        method: &Method,
        uri: &http::Uri,
        headers: &HeaderMap,
        extensions: &http::Extensions,
    ) -> Self {
        let context = auth.context();
        let credential = credential(context, &resolver.cookie, headers);
        let mut slot = Self {
            auth: auth.clone(),
            resolver: Arc::clone(resolver),
            credential,
            cross_site: None,
            refusal_noted: AtomicBool::new(false),
            private: AtomicBool::new(false),
            asked_how: AtomicBool::new(false),
            upgrade: headers.contains_key(UPGRADE) || *method == Method::CONNECT,
            source: Source::Direct { peer: None, user_agent: None },
            client: OnceLock::new(),
            resolved: OnceCell::new(),
            outgoing: Mutex::default(),
            #[cfg(feature = "routes")]
            counts: AtomicBool::new(false),
            #[cfg(feature = "routes")]
            limited: OnceCell::new(),
            sealed: AtomicBool::new(false),
        };
        if !matches!(slot.credential, Credential::None) {
            // CONNECT is how HTTP/2 opens a WebSocket (RFC 8441); both open a channel that writes.
            if SameOrigin::concerns(method, slot.upgrade) {
                let facts = Facts { upgrade: slot.upgrade, ..Facts::of(uri, headers) };
                let verdict = context.same_origin.check(method, &facts);
                slot.cross_site =
                    verdict.err().map(|cross_site| Box::new((cross_site, Compared::of(&facts))));
            }
            slot.source = Source::of(&context.config.proxies, headers, extensions);
        }
        slot
    }

    /// Where the request comes from.
    fn client(&self) -> &ClientInfo {
        self.client.get_or_init(|| self.source.client())
    }

    pub(crate) fn auth(&self) -> &Portcullis {
        &self.auth
    }

    /// Whether its only credential is a token of ours in a header. No browser adds one by itself, so
    /// no other site can have made it do so.
    #[cfg(feature = "routes")]
    pub(crate) fn has_only_a_token(&self) -> bool {
        matches!(self.credential, Credential::Bearer { .. })
    }

    /// From here on the answer is for somebody who had to be signed in.
    pub(crate) fn answers_somebody(&self) {
        self.private.store(true, Ordering::Relaxed);
    }

    /// Whether the answer must not stay in a browser's memory, unless it says otherwise itself.
    pub(crate) fn keeps_the_answer_private(&self) -> bool {
        self.private.load(Ordering::Relaxed) && self.auth.context().config.service.no_store
    }

    /// Notes that it was looked at how the browser asked.
    pub(crate) fn asked_how(&self) {
        self.asked_how.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_asked_how(&self) -> bool {
        self.asked_how.load(Ordering::Relaxed)
    }

    /// The credential's refusal, told to the operator once for a request.
    fn refuse(&self, error: AuthError, kind: Refused, compared: &Compared) -> AuthError {
        if !self.refusal_noted.swap(true, Ordering::Relaxed) {
            self.auth.note_refused(kind, compared);
        }
        error
    }

    fn refuse_cross_site(&self, cross_site: &(CrossSite, Compared)) -> AuthError {
        let (verdict, compared) = cross_site;
        self.refuse(AuthError::CrossSite(*verdict), Refused::CrossSite, compared)
    }

    fn refuse_several(&self) -> AuthError {
        let compared = Compared::nothing("two session cookies or bearer tokens, or one of each");
        self.refuse(AuthError::MultipleCredentials, Refused::SeveralCredentials, &compared)
    }

    /// Who the request is. Asked again after an outage; otherwise answered once.
    pub(crate) async fn resolve(&self) -> Result<&Resolved, AuthError> {
        let resolved = self.resolved.get_or_try_init(|| self.find_out(Use::Request)).await?;
        #[cfg(feature = "routes")]
        if self.counts.load(Ordering::Relaxed) {
            // Boxed: seldom, and large.
            Box::pin(self.count(resolved)).await?;
        }
        Ok(resolved)
    }

    /// From here on this is a request to a route of ours, and counts for the account it is of.
    #[cfg(feature = "routes")]
    pub(crate) fn counts_for_its_account(&self) {
        self.counts.store(true, Ordering::Relaxed);
    }

    /// Counts the request for its account, once, before anything is done for it.
    #[cfg(feature = "routes")]
    async fn count(&self, resolved: &Resolved) -> Result<(), AuthError> {
        let Some(account) = resolved.account() else { return Ok(()) };
        let limited = self
            .limited
            .get_or_init(|| async {
                let (id, own) = (account.id, account.rate_limit);
                let limits = self.auth.rate_limits();
                limits.principal("account", &id.to_string(), Some(id), own).await.err()
            })
            .await;
        limited.clone().map_or(Ok(()), |limited| Err(limited.into()))
    }

    /// What was found out, if somebody asked.
    pub(crate) fn resolved(&self) -> Option<&Resolved> {
        self.resolved.get()
    }

    /// Gives the client the next generation of its token. The new token, for a bearer.
    #[cfg(feature = "routes")]
    pub(crate) async fn refresh(
        &self,
    ) -> Result<(Session, crate::session::issue::Minted), AuthError> {
        let context = self.auth.context();
        let now = context.now();
        let (token_type, claims, transport) = match self.token(Use::Refresh, now)? {
            Ok(token) => token,
            Err(reason) => return Err(AuthError::NotSignedIn(reason)),
        };
        let resolved = self.judge(token_type, claims, transport, Use::Refresh, now).await?;
        let Resolved::Full(identity) = resolved else {
            return Err(AuthError::NotSignedIn(resolved.not_signed_in()));
        };
        let session = identity.session();
        let state = &session.state;
        let mut generation = state.generation;
        let grace = context.config.session.rotation_grace;
        if generation == claims.generation && now >= state.rotated_at.plus(grace) {
            // Asked twice within the grace, the same generation is handed out twice: a client
            // that retries does not race itself.
            let digest = context.session_digests[0].digest(&claims.sid);
            let db = context.db();
            let executor = db.executor();
            db.retry(|| session_store::rotate(&executor, state.id, generation, &digest, now))
                .await?;
            generation += 1;
        }
        let idle = identity.grants().max_idle();
        let end = state.expires_at;
        let minted = mint(context, Stage::Full, claims.sid, generation, now, end, idle);
        if transport == Transport::Cookie {
            let age = state.persistent.then(|| cookie_age(context, Stage::Full, now, end));
            self.put(self.resolver.cookie.rotate(&minted.token, age));
        }
        Ok((session.clone(), minted))
    }

    /// Ends the session of the request's token, whatever stage or state it is in; any token that
    /// we signed will do, also an expired one. Nothing to end is no error. What makes the client
    /// forget it, unless it keeps the token by itself.
    pub(crate) async fn log_out(&self) -> Result<Option<crate::session::SignedOut>, AuthError> {
        let context = self.auth.context();
        let now = context.now();
        let signed_out = Some(self.auth.sessions().signed_out());
        let (bytes, signed_out) = match &self.credential {
            Credential::None => return Ok(signed_out),
            Credential::Several => return Err(self.refuse_several()),
            Credential::Cookie { header, range } => {
                if let Some(cross_site) = &self.cross_site {
                    return Err(self.refuse_cross_site(cross_site));
                }
                (&header.as_bytes()[range.clone()], signed_out)
            }
            Credential::Bearer { header } => (bearer_token(header).unwrap_or_default(), None),
        };
        let token = std::str::from_utf8(bytes).ok();
        let Some((_, claims)) = token.and_then(|token| context.jwt.verify_session(token, now))
        else {
            return Ok(signed_out);
        };
        let Some(Found { state, .. }) = self.find(&claims).await? else { return Ok(signed_out) };
        if state.ended.is_none() {
            let logout = SigningOut {
                account_id: state.account_id,
                session_id: state.id,
                client: Some(self.client()),
                at: now,
            };
            self.auth.sessions().sign_out(logout).await?;
        }
        Ok(signed_out)
    }

    /// Lets the answer do something to the cookie, unless it is on its way already.
    fn put(&self, action: CookieAction) {
        if !self.sealed.load(Ordering::Acquire) {
            *self.outgoing.lock().unwrap_or_else(PoisonError::into_inner) = Some(action);
        }
    }

    /// Ends the time in which anything can be sent along, and says what is to be sent.
    pub(crate) fn seal(&self) -> Option<CookieAction> {
        self.sealed.store(true, Ordering::Release);
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn cookie(&self) -> &SessionCookie {
        &self.resolver.cookie
    }

    /// The token of the request, verified. Asks no statement.
    fn token(
        &self,
        purpose: Use,
        now: Timestamp,
    ) -> Result<Result<(TokenType, Claims, Transport), NotSignedIn>, AuthError> {
        let (bytes, transport) = match &self.credential {
            Credential::None => return Ok(Err(NotSignedIn::NoCredential)),
            Credential::Several => return Err(self.refuse_several()),
            Credential::Cookie { header, range } => {
                if let Some(cross_site) = &self.cross_site {
                    return Err(self.refuse_cross_site(cross_site));
                }
                (&header.as_bytes()[range.clone()], Transport::Cookie)
            }
            Credential::Bearer { header } => {
                (bearer_token(header).unwrap_or_default(), Transport::Bearer)
            }
        };
        let context = self.auth.context();
        let Some((token_type, claims)) = std::str::from_utf8(bytes)
            .ok()
            .and_then(|token| context.jwt.verify_session(token, now))
        else {
            return Ok(Err(NotSignedIn::InvalidToken));
        };
        let expired = now.as_secs() >= claims.expires_at;
        let renewable = match (token_type, context.config.session.refresh_window) {
            (TokenType::Session, Some(window)) => {
                let window = i64::try_from(window.as_secs()).unwrap_or(i64::MAX);
                now.as_secs() < claims.issued_at.saturating_add(window)
                    && (transport == Transport::Cookie || purpose != Use::Request)
            }
            _ => false,
        };
        if expired && !renewable {
            return Ok(Err(NotSignedIn::TokenExpired));
        }
        Ok(Ok((token_type, claims, transport)))
    }

    async fn find_out(&self, purpose: Use) -> Result<Resolved, AuthError> {
        let now = self.auth.context().now();
        match self.token(purpose, now)? {
            // Boxed, so that a request with nothing to judge does not carry the room for it.
            Ok((token_type, claims, transport)) => {
                Box::pin(self.judge(token_type, claims, transport, purpose, now)).await
            }
            Err(reason) => Ok(Resolved::Nobody(reason)),
        }
    }

    /// Asks the statement and judges what it says. What seldom happens is boxed: a future is as
    /// large as the largest thing it may ever wait for, and this one is made for every request.
    async fn judge(
        &self,
        token_type: TokenType,
        claims: Claims,
        transport: Transport,
        purpose: Use,
        now: Timestamp,
    ) -> Result<Resolved, AuthError> {
        let context = self.auth.context();
        let mut lost_a_race = false;
        loop {
            let Some(found) = self.find(&claims).await? else {
                return Ok(Resolved::Nobody(NotSignedIn::InvalidToken));
            };
            let Found { state, account, authorization, grants } = found;
            if state.stage.token_type() != token_type {
                return Ok(Resolved::Nobody(NotSignedIn::InvalidToken));
            }
            let over = |reason| Ok(Resolved::Nobody(NotSignedIn::Ended(reason)));
            let require_verified = context.config.login.require_verified;
            if let Some(reason) = state.ended(now, account.as_ref(), require_verified) {
                return over(reason);
            }
            let grace = context.config.session.rotation_grace;
            let generation = state.generation(claims.generation, now, grace);
            match generation {
                Generation::Current | Generation::Retired => {}
                Generation::Replayed => {
                    Box::pin(self.end_for_theft(&state, account.as_ref(), now)).await?;
                    if transport == Transport::Cookie {
                        self.put(CookieAction::Clear);
                    }
                    return over(Ended::TheftSuspected);
                }
                Generation::Unknown => return Ok(Resolved::Nobody(NotSignedIn::InvalidToken)),
            }
            if !self.same_source(&state)
                && let Some(reason) = Box::pin(self.source_changed(&state, now)).await?
            {
                return over(reason);
            }
            let Some(account) = account.map(Arc::new) else {
                let state = Arc::new(state);
                return Ok(Resolved::Anonymous(AnonymousSession { state, transport }));
            };
            if state.stage != Stage::Full {
                return Ok(stage(Arc::new(state), account, transport));
            }
            let grants = self.grants(&account, authorization, grants).await?;
            if grants.max_idle().is_some_and(|idle| now >= state.rotated_at.plus(idle)) {
                return over(Ended::Expired);
            }
            let turn = Turn { state: &state, claims: &claims, generation, transport, purpose, now };
            let just_rotated = match self.turn(&turn, grants.max_idle()).await? {
                Turned::Kept => false,
                Turned::HandedOver => true,
                // Another request rotated first, or the session ended: look again, once. Its row
                // now says which, and the winner's generation is handed out.
                Turned::Lost if !lost_a_race => {
                    lost_a_race = true;
                    continue;
                }
                Turned::Lost => false,
            };
            let ceiling =
                state.ceiling.as_deref().map(|text| parse_list(text).0.into_iter().collect());
            let session = Session { state: Arc::new(state), transport, just_rotated };
            let data = IdentityData { session, account, grants, ceiling, resolved_at: now };
            return Ok(Resolved::Full(Identity(Arc::new(data))));
        }
    }

    async fn find(&self, claims: &Claims) -> Result<Option<Found>, AuthError> {
        let context = self.auth.context();
        let digests: Vec<_> =
            context.session_digests.iter().map(|key| key.digest(&claims.sid)).collect();
        let statements = &self.resolver.statements;
        let db = context.db();
        let found = if self.resolver.memory.is_some() {
            db.read(statements.find(&context.database, &digests)).await?
        } else {
            Box::pin(db.read(statements.find_with_grants(&context.database, &digests))).await?
        };
        Ok(found)
    }

    /// The account's grants: from the full statement, from memory, or by one more statement.
    async fn grants(
        &self,
        account: &Account,
        authorization: Option<i64>,
        rows: Vec<GrantRow>,
    ) -> Result<Arc<Grants>, AuthError> {
        let context = self.auth.context();
        let levels = Levels::new(&context.config.permission.levels);
        let Some(memory) = &self.resolver.memory else {
            return Ok(Arc::new(Grants::compile(rows, levels)));
        };
        let versions = authorization
            .map(|authorization| Versions { account: account.grants_version, authorization });
        if let Some(grants) = versions.and_then(|versions| memory.find(account.id, versions)) {
            return Ok(grants);
        }
        let db = context.db();
        let rows = db.read(self.resolver.statements.grants(&context.database, account.id));
        let (rows, versions) = Box::pin(rows).await?;
        let grants = Arc::new(Grants::compile(rows, levels));
        if let Some(versions) = versions {
            memory.keep(account.id, versions, Arc::clone(&grants));
        }
        Ok(grants)
    }

    /// Rotates the token, hands over a generation that is there already, or notes the first use.
    async fn turn(
        &self,
        turn: &Turn<'_>,
        idle: Option<std::time::Duration>,
    ) -> Result<Turned, AuthError> {
        let Turn { state, claims, now, .. } = *turn;
        let context = self.auth.context();
        let db = context.db();
        let may_rotate = turn.transport == Transport::Cookie
            && turn.purpose == Use::Request
            && !self.upgrade
            && !self.sealed.load(Ordering::Acquire);
        if turn.generation == Generation::Retired {
            if may_rotate {
                self.hand_over(turn, state.generation, idle);
                return Ok(Turned::HandedOver);
            }
            return Ok(Turned::Kept);
        }
        let lifetime = i64::try_from(token_lifetime(context, idle).as_secs()).unwrap_or(i64::MAX);
        let due = now.as_secs() >= claims.expires_at
            || now.as_secs() >= claims.issued_at.saturating_add(lifetime);
        if due && may_rotate && context.config.session.refresh_window.is_some() {
            let digest = context.session_digests[0].digest(&claims.sid);
            let executor = db.executor();
            let rotate =
                || session_store::rotate(&executor, state.id, state.generation, &digest, now);
            if !Box::pin(db.retry(rotate)).await? {
                return Ok(Turned::Lost);
            }
            tracing::debug!(
                target: "portcullis::event",
                event = ROTATED,
                session = %state.id,
                generation = state.generation + 1,
            );
            count(ROTATED);
            self.hand_over(turn, state.generation + 1, idle);
            return Ok(Turned::HandedOver);
        }
        if state.generation > 0 && state.used_at.is_none() {
            let executor = db.executor();
            let mark_used = || session_store::mark_used(&executor, state.id, state.generation, now);
            Box::pin(db.retry(mark_used)).await?;
        }
        Ok(Turned::Kept)
    }

    fn hand_over(&self, turn: &Turn<'_>, generation: i64, idle: Option<std::time::Duration>) {
        let context = self.auth.context();
        let end = turn.state.expires_at;
        let minted = mint(context, Stage::Full, turn.claims.sid, generation, turn.now, end, idle);
        let age = turn.state.persistent.then(|| cookie_age(context, Stage::Full, turn.now, end));
        self.put(self.resolver.cookie.rotate(&minted.token, age));
    }

    async fn end_for_theft(
        &self,
        state: &SessionState,
        account: Option<&Account>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let context = self.auth.context();
        let mut event = Event::new(EventKind::SessionTheftSuspected, now)
            .session(state.id)
            .from_client(self.client());
        if let Some(account) = account {
            event = event.account(account.id);
        }
        let notice = account.map(|account| {
            let to = account.email.as_deref().and_then(Recipient::email);
            Outgoing::new(MessageKind::SessionTheftSuspected, to)
                .account(account.id)
                .values(Values::new().with_some("address", self.client().address()))
        });
        if self.end(state, Ended::TheftSuspected, &event, notice.as_ref(), now).await? {
            event.trace();
            outbox::deliver_soon(context);
        }
        Ok(())
    }

    async fn end(
        &self,
        state: &SessionState,
        reason: Ended,
        event: &Event,
        notice: Option<&Outgoing>,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let (context, id) = (self.auth.context().clone(), state.id);
        let (event, notice) = (event.clone(), notice.cloned());
        // Whoever plays an old token again must not undo what that leads to by hanging up.
        let ending = async move {
            transaction!(context.db(), |txn| {
                let ended = session_store::end(txn, id, reason, now).await?;
                if ended {
                    audit_log::record(txn, &event).await?;
                    if let Some(notice) = &notice {
                        outbox::put(txn, &context, notice).await?;
                    }
                }
                Ok(ended)
            })
        };
        self.auth.run_to_end(ending).await
    }

    /// Whether the request comes from the network and browser the session was started from, as
    /// far as both are known.
    fn same_source(&self, state: &SessionState) -> bool {
        if self.auth.context().config.session.binding == Binding::Off {
            return true;
        }
        let from = state.address.as_deref().and_then(|text| text.parse().ok());
        let network = match (from, self.client().address()) {
            (Some(from), Some(now)) => same_network(from, now),
            _ => true,
        };
        let browser = match (state.user_agent.as_deref(), self.client().user_agent()) {
            (Some(from), Some(now)) => from == now || same_browser_family(from, now),
            _ => true,
        };
        network && browser
    }

    /// Why the session may not go on after its source changed, if so.
    async fn source_changed(
        &self,
        state: &SessionState,
        now: Timestamp,
    ) -> Result<Option<Ended>, Fault> {
        let mut event = Event::new(EventKind::SessionSourceChanged, now)
            .session(state.id)
            .from_client(self.client());
        if let Some(account) = state.account_id {
            event = event.account(account);
        }
        if self.auth.context().config.session.binding == Binding::End {
            if self.end(state, Ended::SourceChanged, &event, None, now).await? {
                event.trace();
            }
            return Ok(Some(Ended::SourceChanged));
        }
        if self.auth.context().config.session.binding == Binding::Suspect {
            event.kind = EventKind::SessionSuspected;
            let event = event.detail("source_changed");
            let marked = transaction!(self.auth.context().db(), |txn| {
                let marked = session_store::mark_suspicious(txn, None, state.id, now).await?;
                if marked == session_store::Marked::Now {
                    audit_log::record(txn, &event).await?;
                }
                Ok::<_, Fault>(marked)
            })?;
            if marked == session_store::Marked::Now {
                event.trace();
            }
            return Ok(Some(Ended::Suspicious));
        }
        let moved = &self.resolver.moved;
        if moved.get(&state.id).is_none_or(|known| known != *self.client()) {
            moved.insert(state.id, self.client().clone());
            event.trace();
        }
        Ok(None)
    }
}

/// A good token and its session, at the moment when it may be exchanged for its next generation.
struct Turn<'a> {
    state: &'a SessionState,
    claims: &'a Claims,
    generation: Generation,
    transport: Transport,
    purpose: Use,
    now: Timestamp,
}

enum Turned {
    Kept,
    HandedOver,
    Lost,
}

impl Resolved {
    /// Whose session it is, of whatever stage.
    #[cfg(feature = "routes")]
    fn account(&self) -> Option<&Account> {
        match self {
            Self::Nobody(_) | Self::Anonymous(_) => None,
            Self::Pending(session) => Some(session.account()),
            Self::PasswordChange(session) => Some(session.account()),
            Self::Enrolment(session) => Some(session.account()),
            Self::Full(identity) => Some(identity.account()),
        }
    }

    /// Why this is not a full session.
    pub(crate) fn not_signed_in(&self) -> NotSignedIn {
        match self {
            Self::Nobody(reason) => *reason,
            Self::Anonymous(_) => NotSignedIn::Anonymous,
            Self::Pending(_) => NotSignedIn::SecondFactorRequired,
            Self::PasswordChange(_) => NotSignedIn::PasswordChangeRequired,
            Self::Enrolment(_) => NotSignedIn::EnrolmentRequired,
            Self::Full(_) => NotSignedIn::NoCredential,
        }
    }
}

fn stage(state: Arc<SessionState>, account: Arc<Account>, transport: Transport) -> Resolved {
    match state.stage {
        Stage::PendingSecondFactor => {
            Resolved::Pending(PendingSession { state, account, transport })
        }
        Stage::MustChangePassword => {
            Resolved::PasswordChange(PasswordChangeSession { state, account, transport })
        }
        Stage::MustEnrol => Resolved::Enrolment(EnrolmentSession { state, account, transport }),
        Stage::Full | Stage::Anonymous => Resolved::Nobody(NotSignedIn::InvalidToken),
    }
}
