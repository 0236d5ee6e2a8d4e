//! A sign-in at a provider: sending the browser there, and what it brings back.

use std::pin::Pin;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::browser::{Browser, ProviderBrowser};
use super::entity::flow;
use super::error::FederationError;
use super::exchange::{Code, Told, exchange};
use super::handle::Federation;
use super::pending::PendingIdentity;
use super::remote::{Remote, log_refusal};
use super::sign_in::{ProviderSignIn, SignedIn};
use super::{step_up, store};
use crate::account::has_unproved_mailbox;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::event::{Event, EventKind};
use crate::base::id::{AccountId, LineageId};
use crate::base::redirect::ReturnTo;
use crate::base::secret::random_array;
use crate::base::transaction::{Fault, transaction};
use crate::config::federation::{Provider, ProviderKind, ResponseMode};
use crate::flow::factors;
use crate::flow::sign_in::LoginOutcome;
use crate::identity::resolution::Resolved;
use crate::identity::{AccountOwner, Identity, owner};
use crate::oidc::{Metadata, ProviderAnswer, ProviderRefusal};
use crate::session::{Issued, SessionError};

/// What the answer of a provider is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intent {
    SignIn,
    Link,
    StepUp,
}

impl Intent {
    const ALL: [Self; 3] = [Self::SignIn, Self::Link, Self::StepUp];

    fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Link => "link",
            Self::StepUp => "step_up",
        }
    }
}

/// Where a person comes back to from a provider.
#[derive(Debug, Clone)]
#[must_use]
pub struct ProviderReturn {
    redirect_uri: String,
    return_to: Option<ReturnTo>,
    remember: bool,
}

impl ProviderReturn {
    /// Takes the full address of the callback. It must be registered at the provider, and be another one for each provider.
    pub fn new(redirect_uri: impl Into<String>) -> Self {
        Self { redirect_uri: redirect_uri.into(), return_to: None, remember: true }
    }

    /// Sets the page of this service that comes afterwards.
    pub fn next(mut self, page: ReturnTo) -> Self {
        self.return_to = Some(page);
        self
    }

    /// Sets whether the session is remembered after the browser closes. The default is `true`.
    pub fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }
}

/// A sign-in that goes on at the provider.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "send the browser to the location, with the cookie"]
pub struct ProviderStart {
    /// Where to send the browser (303).
    pub location: String,
    /// The cookie of the browser.
    pub browser: ProviderBrowser,
}

/// What came of an answer of a provider.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "the client is signed in when it gets this"]
pub enum ProviderOutcome {
    /// The person is signed in, or another step is needed.
    SignedIn(Box<LoginOutcome>),
    /// The session has proved again who the person is.
    SteppedUp(Box<Issued>),
    /// The person must decide what happens with the identity.
    Asks(PendingIdentity),
}

/// The end of a sign-in at a provider.
#[derive(Debug)]
#[non_exhaustive]
pub struct ProviderFinish {
    /// What came of it.
    pub outcome: ProviderOutcome,
    /// The page that comes afterwards, if the start named one.
    pub return_to: Option<ReturnTo>,
}

/// An answer of a provider that was refused. It still says where the person wanted to go.
#[derive(Debug)]
#[non_exhaustive]
pub struct ProviderFailure {
    /// Why it was refused.
    pub error: FederationError,
    /// The page that the start named.
    pub return_to: Option<ReturnTo>,
}

impl<E: Into<FederationError>> From<E> for ProviderFailure {
    fn from(error: E) -> Self {
        Self { error: error.into(), return_to: None }
    }
}

/// A boxed part of the flow, so that its callers have smaller types.
type Boxed<'f, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'f>>;

impl Federation<'_> {
    /// Begins a sign-in.
    ///
    /// # Errors
    /// [`FederationError::UnknownProvider`], [`FederationError::NotForSignIn`], [`FederationError::RateLimited`],
    /// [`FederationError::Unavailable`], [`FederationError::NotAccepted`] for a discovery document that cannot be used, an outage.
    pub async fn start(
        &self,
        provider: &str,
        to: ProviderReturn,
        client: &ClientInfo,
    ) -> Result<ProviderStart, FederationError> {
        let remote = Remote::find(self.auth.context(), provider)?;
        if !remote.provider.can_sign_in() {
            return Err(FederationError::NotForSignIn);
        }
        self.begin(&remote, Intent::SignIn, None, to, client).await
    }

    /// Begins to link an identity to the account of a session. Afterwards the person confirms it, see
    /// [`link`](Self::link).
    ///
    /// # Errors
    /// As [`start`](Self::start); [`FederationError::StepUp`] without a recent factor;
    /// [`FederationError::AddressNotProved`].
    pub async fn start_link(
        &self,
        owner: &AccountOwner<owner::Factors>,
        provider: &str,
        to: ProviderReturn,
        client: &ClientInfo,
    ) -> Result<ProviderStart, FederationError> {
        let context = self.auth.context();
        let remote = Remote::find(context, provider)?;
        factors::require_recent_for_key(self.auth, owner.identity())
            .map_err(FederationError::StepUp)?;
        let db = context.db();
        if db.read(has_unproved_mailbox(&db.executor(), owner.account().id())).await? {
            return Err(FederationError::AddressNotProved);
        }
        self.begin(&remote, Intent::Link, Some(owner.identity()), to, client).await
    }

    /// Begins a step-up of a session. The provider is told to ask the person again.
    ///
    /// # Errors
    /// As [`start`](Self::start); [`FederationError::Session`] if another step-up has replaced the session.
    pub async fn start_step_up(
        &self,
        identity: &Identity,
        provider: &str,
        to: ProviderReturn,
        client: &ClientInfo,
    ) -> Result<ProviderStart, FederationError> {
        let remote = Remote::find(self.auth.context(), provider)?;
        if identity.is_superseded() {
            return Err(SessionError::Ended.into());
        }
        self.begin(&remote, Intent::StepUp, Some(identity), to, client).await
    }

    async fn begin(
        &self,
        remote: &Remote,
        intent: Intent,
        identity: Option<&Identity>,
        to: ProviderReturn,
        client: &ClientInfo,
    ) -> Result<ProviderStart, FederationError> {
        let context = self.auth.context();
        let config = &context.config.federation;
        let limits = self.auth.rate_limits();
        limits.source("provider_flows", client.address(), config.flows).await?;
        let metadata = remote.metadata(context).await?;
        // A browser keeps its token, so that two of its tabs can sign in at the same time.
        let browser = self.browser.unwrap_or_else(Browser::new);
        let state = BASE64URL_NOPAD.encode(&random_array::<32>());
        let now = context.now();
        let row = flow::Model {
            digest: Sha256::digest(&state).to_vec(),
            provider: remote.provider.name.clone(),
            intent: intent.as_str().to_owned(),
            browser: browser.digest().to_vec(),
            account_id: identity.map(|identity| identity.account().id()),
            lineage_id: identity.map(|identity| identity.session().lineage_id()),
            redirect_uri: to.redirect_uri.clone(),
            return_to: to.return_to.as_ref().map(|page| page.as_str().to_owned()),
            remember: to.remember,
            created_at: now,
            expires_at: now.plus(config.flow_lifetime),
        };
        let db = context.db();
        let executor = db.executor();
        db.retry(|| store::insert_flow(&executor, row.clone())).await?;
        let location =
            location(&remote.provider, &metadata, intent, &to.redirect_uri, &state, browser);
        Ok(ProviderStart { location, browser: ProviderBrowser::new(context, browser) })
    }

    /// Takes the answer of a provider: the parameters of its redirect or form. The sign-in is used up, whatever the result is.
    ///
    /// # Errors
    /// See [`FederationError`].
    pub async fn finish(
        &self,
        provider: &str,
        parameters: &[(String, String)],
        client: &ClientInfo,
    ) -> Result<ProviderFinish, ProviderFailure> {
        let finished: Boxed<'_, ProviderFinish, ProviderFailure> =
            Box::pin(self.answered(provider, parameters, client));
        finished.await
    }

    async fn answered(
        &self,
        provider: &str,
        parameters: &[(String, String)],
        client: &ClientInfo,
    ) -> Result<ProviderFinish, ProviderFailure> {
        let context = self.auth.context();
        let remote = Remote::find(context, provider)?;
        let answer = ProviderAnswer::read(parameters).map_err(FederationError::from)?;
        let (row, browser) = self.take(&remote, &answer.state).await?;
        let return_to = row.return_to.as_deref().and_then(ReturnTo::parse);
        let went = self.go_on(&remote, &answer, row, browser, client).await;
        match went {
            Ok(outcome) => Ok(ProviderFinish { outcome, return_to }),
            Err(error) => {
                if let FederationError::NotAccepted(refusal) = &error {
                    self.note_refusal(&remote, *refusal, client).await?;
                }
                Err(ProviderFailure { error, return_to })
            }
        }
    }

    /// Uses up the sign-in of a state, if this browser has begun it, for this provider. This is final, whatever the answer is.
    async fn take(
        &self,
        remote: &Remote,
        state: &str,
    ) -> Result<(flow::Model, Browser), FederationError> {
        let context = self.auth.context();
        let digest: [u8; 32] = Sha256::digest(state).into();
        let db = context.db();
        let executor = db.executor();
        let row = db.read(store::find_flow(&executor, &digest)).await?;
        let row = row.ok_or(FederationError::FlowEnded)?;
        // Of several answers at once, one goes on.
        if !db.retry(|| store::take_flow(&executor, &row.digest)).await? {
            return Err(FederationError::FlowEnded);
        }
        let browser = self.browser.filter(|browser| {
            bool::from(browser.digest().as_slice().ct_eq(row.browser.as_slice()))
        });
        let browser = browser.ok_or(FederationError::FlowEnded)?;
        let is_right = row.provider == remote.provider.name && context.now() < row.expires_at;
        if is_right { Ok((row, browser)) } else { Err(FederationError::FlowEnded) }
    }

    async fn go_on(
        &self,
        remote: &Remote,
        answer: &ProviderAnswer,
        row: flow::Model,
        browser: Browser,
        client: &ClientInfo,
    ) -> Result<ProviderOutcome, FederationError> {
        let context = self.auth.context();
        let intent = Intent::ALL.into_iter().find(|intent| intent.as_str() == row.intent);
        let intent = intent.ok_or(FederationError::FlowEnded)?;
        let metadata = remote.metadata(context).await?;
        check_issuer(&remote.provider, &metadata, answer.issuer.as_deref())?;
        // Before the code is exchanged. Otherwise a stranger could finish their sign-in in the session of another person.
        let live = self.live(row.account_id.zip(row.lineage_id));
        match intent {
            Intent::SignIn if !remote.provider.can_sign_in() => {
                return Err(FederationError::NotForSignIn);
            }
            Intent::SignIn => {}
            Intent::Link | Intent::StepUp if live.is_none() => {
                return Err(FederationError::FlowEnded);
            }
            Intent::Link | Intent::StepUp => {}
        }
        let code = match &answer.result {
            Ok(code) => code,
            Err(error) if error == "access_denied" || error.starts_with("user_cancelled") => {
                return Err(FederationError::Cancelled);
            }
            Err(error) => {
                let (code, provider, error) =
                    ("provider_failed", &remote.provider.name, plain(error));
                tracing::warn!(target: "portcullis", code, provider, error, "a provider answered with an error");
                return Err(FederationError::ProviderFailed(error));
            }
        };
        let code = Code {
            code,
            redirect_uri: &row.redirect_uri,
            verifier: &browser.verifier(&answer.state),
            nonce: &browser.nonce(&answer.state),
            began_at: row.created_at,
        };
        let told = exchange(context, remote, code).await?;
        match (intent, live) {
            (Intent::SignIn, _) => self.signed_in(remote, told, &row, browser, client).await,
            (Intent::Link, Some(identity)) => {
                let of = Some((identity.account().id(), identity.session().lineage_id()));
                let asked = self.ask(remote, &told, browser, of, row.remember).await?;
                Ok(ProviderOutcome::Asks(asked))
            }
            (Intent::StepUp, Some(identity)) => {
                let issued =
                    step_up::step_up(self.auth, remote, &told, &row, identity, client).await?;
                Ok(ProviderOutcome::SteppedUp(Box::new(issued)))
            }
            (Intent::Link | Intent::StepUp, None) => Err(FederationError::FlowEnded),
        }
    }

    async fn signed_in(
        &self,
        remote: &Remote,
        told: Told,
        row: &flow::Model,
        browser: Browser,
        client: &ClientInfo,
    ) -> Result<ProviderOutcome, FederationError> {
        let sign_in = ProviderSignIn {
            auth: self.auth,
            remote,
            told: &told,
            remember: row.remember,
            before: self.before.as_ref(),
            client,
            now: self.auth.context().now(),
        };
        match sign_in.run().await? {
            SignedIn::Session(made) => {
                let outcome = made.committed(self.auth).await;
                Ok(ProviderOutcome::SignedIn(Box::new(outcome)))
            }
            SignedIn::Asks => {
                let asked = self.ask(remote, &told, browser, None, row.remember).await?;
                Ok(ProviderOutcome::Asks(asked))
            }
        }
    }

    /// Returns the session of the request, if it is that of the sign-in that began the flow.
    fn live(&self, began: Option<(AccountId, LineageId)>) -> Option<&Identity> {
        let Some(Resolved::Full(identity)) = &self.before else { return None };
        let is_same = Some((identity.account().id(), identity.session().lineage_id())) == began;
        (is_same && !identity.is_superseded()).then_some(identity)
    }

    /// Records that an answer was not accepted. It may be an attack, or a wrong configuration.
    async fn note_refusal(
        &self,
        remote: &Remote,
        refusal: ProviderRefusal,
        client: &ClientInfo,
    ) -> Result<(), Fault> {
        let (context, provider) = (self.auth.context(), &remote.provider.name);
        log_refusal(provider, refusal);
        let event = Event::new(EventKind::LoginFailed, context.now()).from_client(client);
        let event = event.failed("provider_not_accepted");
        transaction!(context.db(), |txn| {
            audit_log::record(txn, &event).await?;
            Ok(())
        })
    }
}

/// Checks from which provider an answer came. A hostile provider could send the code of another one (mix-up).
fn check_issuer(
    provider: &Provider,
    metadata: &Metadata,
    issuer: Option<&str>,
) -> Result<(), ProviderRefusal> {
    let is_right = match (issuer, &provider.kind) {
        (None, _) => !metadata.names_issuer,
        (Some(issuer), ProviderKind::OpenId { issuer: ours }) => issuer == ours,
        // It has no issuer in the sense of the standard. Its callback is its own.
        (Some(_), ProviderKind::OAuth(_)) => true,
    };
    if is_right { Ok(()) } else { Err(ProviderRefusal::AnswerIssuer) }
}

/// Returns an error of a provider as a short plain word.
fn plain(error: &str) -> String {
    let is_plain = |found: &char| found.is_ascii_alphanumeric() || "_-. ".contains(*found);
    error.chars().filter(is_plain).take(64).collect()
}

/// Returns where the browser is sent.
fn location(
    provider: &Provider,
    metadata: &Metadata,
    intent: Intent,
    redirect_uri: &str,
    state: &str,
    browser: Browser,
) -> String {
    let scopes = provider.scopes.join(" ");
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(browser.verifier(state)));
    let nonce = browser.nonce(state);
    let mut query = vec![
        ("response_type", "code"),
        ("client_id", &provider.client_id),
        ("redirect_uri", redirect_uri),
        ("scope", &scopes),
        ("state", state),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    if let ProviderKind::OpenId { .. } = provider.kind {
        query.push(("nonce", &nonce));
    }
    if provider.response_mode == ResponseMode::FormPost {
        query.push(("response_mode", "form_post"));
    }
    let asks_again = intent == Intent::StepUp;
    if asks_again {
        query.extend([("prompt", "login"), ("max_age", "0")]);
    }
    let own = provider.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    query.extend(own.filter(|(name, _)| !asks_again || *name != "prompt"));
    let query = serde_urlencoded::to_string(query).expect("texts can be encoded");
    let endpoint = &metadata.authorization;
    let separator = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{separator}{query}")
}
