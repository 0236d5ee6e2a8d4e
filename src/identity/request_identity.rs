//! The lazy handle of a request. It finds out who sent the request when it is first asked, and only
//! once.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::header::UPGRADE;
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::OnceCell;

use crate::account::Account;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::EventKind;
use crate::base::same_origin::{CrossSite, Facts, SameOrigin};
use crate::config::Binding;
use crate::dpop::{DpopRefusal, refused};
use crate::handle::Portcullis;
use crate::identity::credential::{Credential, Source, credential, handshake};
use crate::identity::enrolment;
use crate::identity::error::{AuthError, NotSignedIn};
use crate::identity::principal::Principal;
use crate::identity::refused::{Compared, Refused};
use crate::identity::resolution::Resolved;
use crate::identity::resolved::{Identity, TokenId};
use crate::identity::resolver::{Resolver, goes_on};
use crate::identity::store::Found;
#[cfg(feature = "routes")]
use crate::rate_limit::{self, RateLimited};
use crate::session::cookie::{CookieAction, SessionCookie};
use crate::session::issue::{Minting, cookie_age};
use crate::session::judge::{Ended, Generation, SessionState};
use crate::session::{
    AnonymousSession, EnrolmentSession, PasswordChangeSession, PendingSession, Session, Stage,
    Transport,
};

mod api_key;
mod bound;
mod token;
mod turn;
mod visitor;

use token::Token;
use turn::{Turn, Turned};

/// A new generation is added to an answer only if the answer leaves within this time after the
/// request arrived. Otherwise the answer of a slow handler could replace a newer cookie by an older
/// one.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(60);

/// The handle in the extensions of the request.
pub(crate) struct RequestIdentity {
    auth: Portcullis,
    resolver: Arc<Resolver>,
    credential: Credential,
    /// The refusal by the same-origin rule, which applies if the request acts with a cookie. Boxed,
    /// because it is rare.
    cross_site: Option<Box<(CrossSite, Compared)>>,
    /// True if the operator was already told that this request is refused.
    refusal_noted: AtomicBool,
    /// True if the answer is for someone who had to be signed in.
    private: AtomicBool,
    /// True if the answer depends on whether the browser asked for a page or for data.
    asked_how: AtomicBool,
    /// True if a guard of this request accepts API keys.
    api_keys: AtomicBool,
    /// True if the answer brings a nonce for the next proof of the client's key.
    brings_nonce: AtomicBool,
    /// What this request has done with the proof of its key.
    spending: AtomicU8,
    /// The status that accepts the handshake, if the request is a WebSocket handshake.
    handshake: Option<StatusCode>,
    /// When the layer received the request. The replay check and the rotation use this time. All
    /// other checks use the time at which the handler asks.
    arrived_at: Timestamp,
    source: Source,
    client: OnceLock<ClientInfo>,
    resolved: OnceCell<Resolved>,
    /// The session of a visitor that was started for this request.
    visitor: OnceCell<Resolved>,
    /// True if the browser may already have a newer cookie than the one in this request.
    newer_cookie: AtomicBool,
    outgoing: Mutex<Option<NextCookie>>,
    #[cfg(feature = "routes")]
    counts: AtomicBool,
    /// The refusal by the rate limit of the account, once the limit was checked. `None` inside
    /// means that the request passed.
    #[cfg(feature = "routes")]
    limited: OnceCell<Option<RateLimited>>,
    /// True if the response is on its way. Then no new token may be made, because it would not
    /// reach the client.
    sealed: AtomicBool,
}

/// The cookie that the answer carries.
enum NextCookie {
    Token(NextToken),
    /// The cookie of the visitor's session that was started for this request.
    Visitor(CookieAction),
}

/// The generation of the token that the client gets with the answer.
#[derive(Debug, Clone, Copy)]
struct NextToken {
    sid: [u8; 16],
    generation: i64,
    /// The absolute end of the session.
    end: Timestamp,
    persistent: bool,
    /// How long a role lets the session be idle, if a role limits that.
    idle: Option<Duration>,
}

/// What the token is used for. Some flows of portcullis accept more than ordinary requests do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Request,
    /// `POST /session/refresh`: the only route that accepts an expired bearer token.
    #[cfg(feature = "routes")]
    Refresh,
}

impl RequestIdentity {
    /// Records what the request carries. Runs no statement.
    pub(crate) fn new(
        auth: &Portcullis,
        resolver: &Arc<Resolver>,
        method: &Method,
        uri: &http::Uri,
        version: http::Version,
        headers: &HeaderMap,
        extensions: &http::Extensions,
    ) -> Self {
        let context = auth.context();
        let credential = credential(auth, &resolver.cookie, method, uri, headers, extensions);
        let mut request_identity = Self {
            auth: auth.clone(),
            resolver: Arc::clone(resolver),
            credential,
            cross_site: None,
            refusal_noted: AtomicBool::new(false),
            private: AtomicBool::new(false),
            asked_how: AtomicBool::new(false),
            api_keys: AtomicBool::new(false),
            brings_nonce: AtomicBool::new(false),
            spending: AtomicU8::new(0),
            handshake: None,
            arrived_at: context.now(),
            source: Source::Direct { peer: None, user_agent: None },
            client: OnceLock::new(),
            resolved: OnceCell::new(),
            visitor: OnceCell::new(),
            newer_cookie: AtomicBool::new(false),
            outgoing: Mutex::default(),
            #[cfg(feature = "routes")]
            counts: AtomicBool::new(false),
            #[cfg(feature = "routes")]
            limited: OnceCell::new(),
            sealed: AtomicBool::new(false),
        };
        // HTTP/2 opens a WebSocket with CONNECT (RFC 8441). Like an upgrade in HTTP/1.1, it
        // opens a channel that can write, so the same-origin rule applies. The rule applies to
        // everything that could be an upgrade; the restriction on new tokens applies only to
        // real handshakes.
        let upgrade = headers.contains_key(UPGRADE) || *method == Method::CONNECT;
        // This is also checked without a credential. Browsers send no `Lax` cookie with a form of
        // another site, but they accept a cookie in the answer. So a flow that starts or ends a
        // session must know where the request came from.
        if SameOrigin::concerns(method, upgrade) {
            let facts = Facts { upgrade, ..Facts::of(uri, headers) };
            let verdict = context.same_origin.check(method, &facts);
            request_identity.cross_site =
                verdict.err().map(|cross_site| Box::new((cross_site, Compared::of(&facts))));
        }
        if !matches!(request_identity.credential, Credential::None) {
            if upgrade {
                request_identity.handshake = handshake(method, uri, version, headers);
            }
            request_identity.source = Source::of(&context.config.proxies, headers, extensions);
        }
        request_identity
    }

    /// Returns the handle that the layer put into the request.
    pub(crate) fn of(extensions: &http::Extensions) -> Result<Arc<Self>, AuthError> {
        extensions.get::<Arc<Self>>().cloned().ok_or(AuthError::MissingLayer)
    }

    /// Returns the full identity of the request.
    pub(crate) async fn full(&self) -> Result<Identity, AuthError> {
        match self.resolve().await? {
            Resolved::Full(identity) => {
                self.answers_somebody();
                Ok(identity.clone())
            }
            other => Err(other.no_session()),
        }
    }

    /// Returns who acts, for a handler that serves sessions and API keys.
    pub(crate) async fn principal(&self) -> Result<Principal, AuthError> {
        let principal = match self.resolve().await? {
            Resolved::Full(identity) => Principal::Session(identity.clone()),
            Resolved::ApiKey(program) => Principal::ApiKey(program.clone()),
            other => return Err(other.no_session()),
        };
        self.answers_somebody();
        Ok(principal)
    }

    /// True if the request has an API key, and no other credential.
    pub(crate) fn shows_api_key(&self) -> bool {
        self.credential.only_api_key(self.auth.context()).is_some()
    }

    /// Notes that a guard of this request accepts API keys.
    pub(crate) fn takes_api_keys(&self) {
        self.api_keys.store(true, Ordering::Relaxed);
    }

    /// Returns the account that acts. That of an API key only behind a guard that accepts keys.
    pub(crate) async fn account(&self) -> Result<Account, AuthError> {
        match self.resolve().await? {
            Resolved::ApiKey(program) if self.api_keys.load(Ordering::Relaxed) => {
                self.answers_somebody();
                Ok(program.account().clone())
            }
            _ => Ok(self.full().await?.account().clone()),
        }
    }

    /// Returns the full identity of the request, if there is one. An outage and a request from
    /// another site stay errors, because they do not mean that nobody is signed in.
    pub(crate) async fn optional(&self) -> Result<Option<Identity>, AuthError> {
        match self.resolve_optional().await? {
            Resolved::Full(identity) => Ok(Some(identity.clone())),
            _ => Ok(None),
        }
    }

    /// Returns where the request comes from.
    fn client(&self) -> &ClientInfo {
        self.client.get_or_init(|| self.source.client())
    }

    pub(crate) fn auth(&self) -> &Portcullis {
        &self.auth
    }

    /// See [`Credential::is_only_a_token`].
    #[cfg(feature = "routes")]
    pub(crate) fn has_only_a_token(&self) -> bool {
        self.credential.is_only_a_token(self.auth.context())
    }

    /// Returns who the request is, for a flow that replaces its session by a new one.
    ///
    /// # Errors
    /// Another site sent it, with or without a credential: it would sign its visitors in here, to an
    /// account of its own (login CSRF). An outage.
    pub(crate) async fn replaced(&self) -> Result<&Resolved, AuthError> {
        if let Some(cross_site) = &self.cross_site
            && !self.credential.is_only_a_token(self.auth.context())
        {
            return Err(self.refuse_cross_site(cross_site));
        }
        self.resolve().await
    }

    /// The same-origin rule, for a route that anyone may call. A request whose only credential is a
    /// token of ours in a header is exempt: no browser adds one by itself. `Basic` is not exempt,
    /// because browsers do add that.
    #[cfg(feature = "routes")]
    pub(crate) fn check_same_origin(
        &self,
        method: &Method,
        uri: &http::Uri,
        headers: &HeaderMap,
    ) -> Result<(), AuthError> {
        if self.has_only_a_token() {
            return Ok(());
        }
        self.auth.check_origin(method, &Facts::of(uri, headers))
    }

    /// Notes that from now on the answer is for someone who had to be signed in.
    pub(crate) fn answers_somebody(&self) {
        self.private.store(true, Ordering::Relaxed);
    }

    /// True if the answer must not be cached, unless the answer has its own cache headers.
    pub(crate) fn keeps_the_answer_private(&self) -> bool {
        self.private.load(Ordering::Relaxed) && self.auth.context().config.service.no_store
    }

    /// Notes that a guard looked at whether the browser asked for a page or for data.
    pub(crate) fn asked_how(&self) {
        self.asked_how.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_asked_how(&self) -> bool {
        self.asked_how.load(Ordering::Relaxed)
    }

    /// Returns the error, and tells the operator about the refusal once per request.
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
        let compared = Compared::nothing("two of: session cookie, bearer token, API key");
        self.refuse(AuthError::MultipleCredentials, Refused::SeveralCredentials, &compared)
    }

    /// Returns who sent the request. The result is kept, but after an outage the next call asks
    /// again.
    pub(crate) async fn resolve(&self) -> Result<&Resolved, AuthError> {
        if let Some(visitor) = self.visitor.get() {
            return Ok(visitor);
        }
        let resolved = self.resolved.get_or_try_init(|| self.find_out(Use::Request)).await?;
        #[cfg(feature = "routes")]
        if self.counts.load(Ordering::Relaxed) {
            // Boxed, because it is rare and its future is large.
            // A key reaches no mounted route. If it counted, its holder could lock its owner out of them.
            let counts = !matches!(resolved, Resolved::ApiKey(_));
            if let Some(account) = resolved.account().filter(|_| counts) {
                Box::pin(self.count(account)).await?;
            }
        }
        Ok(resolved)
    }

    /// The same, for a handler that serves strangers too. A client whose proof of a key was refused is none: it
    /// must learn that it has to send another one.
    pub(crate) async fn resolve_optional(&self) -> Result<&Resolved, AuthError> {
        match self.resolve().await? {
            Resolved::Nobody(reason @ NotSignedIn::Dpop(_)) => Err(AuthError::NotSignedIn(*reason)),
            found => Ok(found),
        }
    }

    /// Notes that this is a request to a mounted route. It then counts for the rate limit of its
    /// account.
    #[cfg(feature = "routes")]
    pub(crate) fn counts_for_its_account(&self) {
        self.counts.store(true, Ordering::Relaxed);
    }

    /// Counts the request for its account, once, before the request has any effect.
    #[cfg(feature = "routes")]
    async fn count(&self, account: &Account) -> Result<(), AuthError> {
        let limited = self
            .limited
            .get_or_init(|| async {
                let (id, own) = (account.id, account.rate_limit);
                let limits = self.auth.rate_limits();
                limits.principal(rate_limit::ACCOUNT, &id.to_string(), Some(id), own).await.err()
            })
            .await;
        limited.clone().map_or(Ok(()), |limited| Err(limited.into()))
    }

    /// Returns the result, if someone asked for it before.
    pub(crate) fn resolved(&self) -> Option<&Resolved> {
        self.visitor.get().or_else(|| self.resolved.get())
    }

    /// Gives the client a new token. Returns it, for a client with a bearer token.
    #[cfg(feature = "routes")]
    pub(crate) async fn refresh(
        &self,
    ) -> Result<(Session, crate::session::issue::Minted), AuthError> {
        let context = self.auth.context();
        let now = context.now();
        let token = self.token(Use::Refresh, now)?.map_err(AuthError::NotSignedIn)?;
        let Judged { resolved, generation, max_idle } =
            self.judge(token, Use::Refresh, now).await?;
        let session = match resolved {
            Resolved::Full(identity) => identity.session().clone(),
            // A full session whose account must set up a factor. It stays limited to that, and without
            // a fresh token it could not do so.
            Resolved::Enrolment(EnrolmentSession { state, transport, .. })
                if state.stage == Stage::Full =>
            {
                Session { state, transport, just_rotated: false }
            }
            resolved => return Err(resolved.no_session()),
        };
        let next = NextToken {
            sid: token.claims.sid,
            generation,
            end: session.state.expires_at,
            persistent: session.state.persistent,
            idle: max_idle,
        };
        if token.transport == Transport::Cookie {
            self.put(NextCookie::Token(next));
        }
        let minting = Minting {
            stage: Stage::Full,
            sid: next.sid,
            generation,
            end: next.end,
            idle: next.idle,
            bound_to: session.state.bound_to,
        };
        let minted = minting.sign(context, now);
        Ok((session, minted))
    }

    /// Sets the cookie that the answer will carry, unless the answer is already on its way.
    fn put(&self, outgoing: NextCookie) {
        if !self.sealed.load(Ordering::Acquire) {
            *self.outgoing.lock().unwrap_or_else(PoisonError::into_inner) = Some(outgoing);
        }
    }

    /// Closes the handle for new cookies. Returns the cookie for an answer with this status, if
    /// there is one. The token is signed only now, so that its `iat` says when it left.
    pub(crate) fn seal(&self, status: Option<StatusCode>) -> Option<CookieAction> {
        self.sealed.store(true, Ordering::Release);
        let outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        if status.is_none() || self.handshake.is_some_and(|accepts| status != Some(accepts)) {
            return None;
        }
        let context = self.auth.context();
        let now = context.now();
        if now.since(self.arrived_at) > HAND_OVER_WITHIN {
            return None;
        }
        let NextToken { sid, generation, end, persistent, idle } = match outgoing {
            NextCookie::Token(next) => next,
            NextCookie::Visitor(action) => return Some(action),
        };
        // No cookie is bound to a key.
        let stage = Stage::Full;
        let minting = Minting { stage, sid, generation, end, idle, bound_to: None };
        let minted = minting.sign(context, now);
        let age = persistent.then(|| cookie_age(context, Stage::Full, now, end));
        Some(self.resolver.cookie.rotate(&minted.token, age))
    }

    pub(crate) fn cookie(&self) -> &SessionCookie {
        &self.resolver.cookie
    }

    async fn find_out(&self, purpose: Use) -> Result<Resolved, AuthError> {
        let now = self.auth.context().now();
        if let Some(key) = self.credential.only_api_key(self.auth.context()) {
            return Box::pin(self.by_api_key(key)).await;
        }
        match self.token(purpose, now)? {
            // Boxed, so that the future of a request without a token stays small.
            Ok(token) => Ok(Box::pin(self.judge(token, purpose, now)).await?.resolved),
            Err(reason) => Ok(Resolved::Nobody(reason)),
        }
    }

    /// Runs the statement and decides what its result means. Rare branches are boxed. A future is
    /// as large as its largest branch, and this one is made for every request.
    ///
    /// The order of the checks matters. The stage and the life of the session come first, so that a
    /// token of an ended session can never accuse anyone of a theft. The replay check comes before
    /// everything that gives rights.
    async fn judge(&self, token: Token, purpose: Use, now: Timestamp) -> Result<Judged, AuthError> {
        let context = self.auth.context();
        let Token { token_type, claims, transport, proved } = token;
        let mut lost_a_race = false;
        loop {
            let Some(found) = self.resolver.find(context, &claims.sid).await? else {
                return Ok(Judged::nobody(NotSignedIn::InvalidToken));
            };
            let Found { mut state, account, authorization, grants } = found;
            // A token of one stage must never open a session of another stage: an unfinished
            // sign-in would otherwise become a full session.
            if state.stage.token_type() != token_type || state.bound_to != claims.bound_to {
                return Ok(Judged::nobody(NotSignedIn::InvalidToken));
            }
            let over = |reason| Ok(Judged::nobody(NotSignedIn::Ended(reason)));
            let require_verified = context.config.login.require_verified;
            if let Some(reason) = state.ended(now, account.as_ref(), require_verified) {
                self.note_newer_cookie(&state, now);
                return over(reason);
            }
            // A step-up replaced this session seconds ago. Its requests still pass, but it is never
            // renewed, and it ends together with the session that replaced it.
            if state.lingers(now)
                && (purpose != Use::Request || !Box::pin(goes_on(context, &state, now)).await?)
            {
                self.note_newer_cookie(&state, now);
                return over(Ended::Superseded);
            }
            // Before anything follows from the request. A thief who repeats a copied request must not even end
            // the session.
            if let Some(proved) = &proved
                && !Box::pin(self.spend_proof(proved)).await?
            {
                return Ok(Judged::nobody(NotSignedIn::Dpop(refused(DpopRefusal::Replayed))));
            }
            let generation = state.generation(claims.generation, self.arrived_at);
            match generation {
                Generation::Current | Generation::Retired => {}
                Generation::Replayed => {
                    Box::pin(self.end_for_theft(&state, account.as_ref(), now)).await?;
                    return over(Ended::TheftSuspected);
                }
                Generation::Forgotten => {
                    // The session lives, and its browser may hold the present generation. So no
                    // other cookie is set.
                    self.newer_cookie.store(true, Ordering::Relaxed);
                    return Ok(Judged::nobody(NotSignedIn::TokenExpired));
                }
                Generation::Unknown => return Ok(Judged::nobody(NotSignedIn::InvalidToken)),
            }
            if !self.same_source(&state) {
                let kind = EventKind::SessionSourceChanged;
                if let Some(reason) = Box::pin(self.source_changed(&state, kind, now)).await? {
                    return over(reason);
                }
                if context.config.session.binding == Binding::StepUp {
                    state.move_away();
                }
            }
            let account = match account {
                Some(account) if state.stage == Stage::PendingSecondFactor => {
                    Some(enrolment::waiting(context, &self.resolver, account).await?)
                }
                account => account,
            };
            let Some(account) = account.map(Arc::new) else {
                let state = Arc::new(state);
                let visitor = AnonymousSession { state, transport };
                return Ok(Judged {
                    resolved: Resolved::Anonymous(visitor),
                    generation: 0,
                    max_idle: None,
                });
            };
            // `resolve` counts a request once. A refresh does not go through it, so it is counted
            // here.
            #[cfg(feature = "routes")]
            if purpose == Use::Refresh {
                Box::pin(self.count(&account)).await?;
            }
            if state.stage != Stage::Full {
                let trusts = context.config.trusted_device.enabled && state.ceiling.is_none();
                let offers_trust = trusts && state.stage == Stage::PendingSecondFactor && {
                    let grants = self.resolver.grants(context, &account, authorization, grants);
                    let grants = Box::pin(grants).await?;
                    enrolment::allows_trusted_devices(context, account.superuser, &grants)
                };
                let resolved = stage(Arc::new(state), account, transport, offers_trust);
                return Ok(Judged { resolved, generation: 0, max_idle: None });
            }
            let grants = self.resolver.grants(context, &account, authorization, grants).await?;
            if state.idles_longer_than(grants.max_idle(), now) {
                return over(Ended::Expired);
            }
            if enrolment::stand_in_is_over(context, &state, &account, &grants) {
                return over(Ended::Revoked);
            }
            let turn = Turn { state: &state, claims: &claims, generation, transport, purpose, now };
            let (just_rotated, generation) = match self.turn(&turn, grants.max_idle()).await? {
                Turned::Kept => (false, state.generation),
                Turned::HandedOver(generation) => (true, generation),
                Turned::Shared(reason) => return over(reason),
                // Another request rotated first, or the session ended. Reading the row once more
                // tells which, and then the generation of the winner is handed out.
                Turned::Lost if !lost_a_race => {
                    lost_a_race = true;
                    continue;
                }
                // The row says that the session is valid. It does not matter who rotated it.
                Turned::Lost => (false, state.generation),
            };
            let due = enrolment::due(context, &state, &account, &grants, now).await?;
            let state = Arc::new(state);
            let max_idle = grants.max_idle();
            if due.is_some_and(|due| due <= now) {
                self.auth.note_enrolment_required();
                let session = EnrolmentSession { state, account, transport };
                let resolved = Resolved::Enrolment(session);
                return Ok(Judged { resolved, generation, max_idle });
            }
            let session = Session { state, transport, just_rotated };
            let identity = Identity::new(TokenId(claims.sid), session, account, grants, now);
            let identity = identity.with_enrolment_due(due);
            return Ok(Judged { resolved: Resolved::Full(identity), generation, max_idle });
        }
    }
}

/// Who a token belongs to, and the generation that its client has from now on.
struct Judged {
    resolved: Resolved,
    #[cfg_attr(not(feature = "routes"), expect(dead_code, reason = "only a route refreshes"))]
    generation: i64,
    /// The idle time that the roles of the account require.
    #[cfg_attr(not(feature = "routes"), expect(dead_code, reason = "only a route refreshes"))]
    max_idle: Option<Duration>,
}

impl Judged {
    fn nobody(reason: NotSignedIn) -> Self {
        Self { resolved: Resolved::Nobody(reason), generation: 0, max_idle: None }
    }
}

fn stage(
    state: Arc<SessionState>,
    account: Arc<Account>,
    transport: Transport,
    offers_trust: bool,
) -> Resolved {
    match state.stage {
        Stage::PendingSecondFactor => {
            Resolved::Pending(PendingSession { state, account, transport, offers_trust })
        }
        Stage::MustChangePassword => {
            Resolved::PasswordChange(PasswordChangeSession { state, account, transport })
        }
        Stage::MustEnrol => Resolved::Enrolment(EnrolmentSession { state, account, transport }),
        Stage::Full | Stage::Anonymous => Resolved::Nobody(NotSignedIn::InvalidToken),
    }
}
