//! What is known of each provider: its endpoints and its keys. They are read when they are first needed, and again after
//! a while. Of several requests, one asks the provider, and the others wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::client::ProviderClient;
use super::error::FederationError;
use crate::base::clock::Timestamp;
use crate::base::problem::ErrorChain;
use crate::base::transaction::TimedPort;
use crate::config::federation::{Provider, ProviderKind};
use crate::context::{Context, PerInstance};
use crate::hook::caught;
use crate::oidc::{KeySet, Metadata, ProviderRefusal, UnknownKey, discovery_url};
use crate::port::{HttpAnswer, ProviderHttp, ProviderRequest};

/// How long a provider is not asked again after it has failed.
const PAUSE: Duration = Duration::from_secs(10);

/// How often the key set is read again because a token names a key that is not in it.
const UNKNOWN_KEY: Duration = Duration::from_secs(5 * 60);

/// What asks providers.
#[derive(Default)]
pub(super) struct Asking {
    pub(super) own: Option<Arc<dyn ProviderHttp>>,
    port: OnceLock<TimedPort<dyn ProviderHttp>>,
}

impl PerInstance for Asking {
    fn open(_: &Context) -> Self {
        Self::default()
    }
}

impl Asking {
    fn port(&self, context: &Context) -> Result<&TimedPort<dyn ProviderHttp>, FederationError> {
        if let Some(port) = self.port.get() {
            return Ok(port);
        }
        let http: Arc<dyn ProviderHttp> = match &self.own {
            Some(own) => Arc::clone(own),
            None => Arc::new(ProviderClient::new().map_err(|error| {
                let error = ErrorChain(&*error).to_string();
                unavailable("https", &error)
            })?),
        };
        Ok(self.port.get_or_init(|| TimedPort::new(http, &context.database)))
    }
}

/// Logs why a provider cannot be asked, and returns the error for the client, which does not learn it.
fn unavailable(provider: &str, why: &str) -> FederationError {
    let code = "provider_unavailable";
    tracing::warn!(target: "portcullis", code, provider, error = ?why, "a provider cannot be asked");
    FederationError::Unavailable(why.to_owned())
}

/// Logs why an answer of a provider was not accepted.
pub(super) fn log_refusal(provider: &str, refusal: ProviderRefusal) {
    let code = "provider_not_accepted";
    tracing::warn!(target: "portcullis", code, provider, %refusal, "an answer of a provider was not accepted");
}

/// Logs why a document of a provider was not accepted. The one before may still be used, so nobody else would learn it.
fn logged<T>(provider: &Provider, read: Result<T, FederationError>) -> Result<T, FederationError> {
    if let Err(FederationError::NotAccepted(refusal)) = &read {
        log_refusal(&provider.name, *refusal);
    }
    read
}

/// Asks a provider. An answer with a status of 500 or above counts as none.
pub(super) async fn ask(
    context: &Context,
    provider: &Provider,
    request: ProviderRequest,
) -> Result<HttpAnswer, FederationError> {
    let asking = context.per_instance::<Asking>();
    let port = asking.port(context)?;
    let asked = port.ask(context.config.federation.timeout, move |http| {
        Box::pin(async move { caught("the client of providers", || http.send(&request)).await })
    });
    match asked.await {
        Some(Ok(answer)) if answer.status < 500 => Ok(answer),
        Some(Ok(answer)) => {
            Err(unavailable(&provider.name, &format!("it answered {}", answer.status)))
        }
        Some(Err(error)) => Err(unavailable(&provider.name, &ErrorChain(&*error).to_string())),
        None => Err(unavailable(&provider.name, "it did not answer in time")),
    }
}

/// The providers of an instance, by their names.
pub(super) struct Providers(HashMap<String, Arc<Remote>>);

impl PerInstance for Providers {
    fn open(context: &Context) -> Self {
        let remotes = context.config.federation.providers.iter().map(|provider| {
            let remote = Remote {
                provider: provider.clone(),
                metadata: Kept::default(),
                keys: Kept::default(),
                asked_for_key: Mutex::default(),
                logged_logout: Mutex::default(),
            };
            (provider.name.clone(), Arc::new(remote))
        });
        Self(remotes.collect())
    }
}

/// One provider.
pub(super) struct Remote {
    pub(super) provider: Provider,
    metadata: Kept<Metadata>,
    keys: Kept<KeySet>,
    /// When the key set was last read because of an unknown key.
    asked_for_key: Mutex<Option<Timestamp>>,
    /// When a refused logout token was last logged.
    logged_logout: Mutex<Option<Timestamp>>,
}

impl Remote {
    /// Returns a provider that is switched on.
    pub(super) fn find(context: &Context, name: &str) -> Result<Arc<Self>, FederationError> {
        let providers = context.per_instance::<Providers>();
        let found = providers.0.get(name).filter(|remote| remote.provider.enabled);
        found.cloned().ok_or(FederationError::UnknownProvider)
    }

    /// Returns its endpoints.
    pub(super) async fn metadata(
        &self,
        context: &Context,
    ) -> Result<Arc<Metadata>, FederationError> {
        let provider = &self.provider;
        let issuer = match &provider.kind {
            ProviderKind::OAuth(endpoints) => {
                return Ok(Arc::new(Metadata {
                    authorization: endpoints.authorization.clone(),
                    token: endpoints.token.clone(),
                    userinfo: Some(endpoints.user.clone()),
                    key_set: String::new(),
                    names_issuer: false,
                }));
            }
            ProviderKind::OpenId { issuer } => issuer,
        };
        let fetch = || async {
            let url = discovery_url(issuer);
            let request = ProviderRequest::get(&url, provider.private_addresses);
            let answer = ask(context, provider, request).await?;
            let read = only_200(&answer, ProviderRefusal::Metadata)
                .and_then(|body| Ok(Metadata::read(body, issuer, provider.private_addresses)?));
            logged(provider, read)
        };
        self.metadata.get(context, None, fetch).await
    }

    /// Returns its keys.
    async fn keys(
        &self,
        context: &Context,
        newer_than: Option<&Arc<KeySet>>,
    ) -> Result<Arc<KeySet>, FederationError> {
        let provider = &self.provider;
        let fetch = || async {
            let metadata = self.metadata(context).await?;
            let request = ProviderRequest::get(&metadata.key_set, provider.private_addresses);
            let answer = ask(context, provider, request).await?;
            let read = only_200(&answer, ProviderRefusal::KeySet)
                .and_then(|body| Ok(KeySet::read(body, provider.algorithm)?));
            logged(provider, read)
        };
        self.keys.get(context, newer_than, fetch).await
    }

    /// Checks a token with the keys of the provider. If it has a new key, its set is read again, at most once in five
    /// minutes: everybody can name unknown keys.
    pub(super) async fn check<T>(
        &self,
        context: &Context,
        check: impl Fn(&KeySet) -> Result<Result<T, UnknownKey>, ProviderRefusal>,
    ) -> Result<T, FederationError> {
        let keys = self.keys(context, None).await?;
        if let Ok(token) = check(&keys)? {
            return Ok(token);
        }
        if !self.may_ask_for_key(context.now()) {
            return Err(ProviderRefusal::UnknownKey.into());
        }
        let keys = self.keys(context, Some(&keys)).await?;
        check(&keys)?.map_err(|UnknownKey| ProviderRefusal::UnknownKey.into())
    }

    fn may_ask_for_key(&self, now: Timestamp) -> bool {
        is_due(&self.asked_for_key, UNKNOWN_KEY, now)
    }

    /// Logs why a logout token was not accepted, at most once a minute: everybody can send one.
    pub(super) fn log_logout_refusal(&self, refusal: ProviderRefusal, now: Timestamp) {
        if is_due(&self.logged_logout, Duration::from_secs(60), now) {
            log_refusal(&self.provider.name, refusal);
        }
    }
}

/// True if the last time is at least `pause` ago. Then it is `now`.
fn is_due(last: &Mutex<Option<Timestamp>>, pause: Duration, now: Timestamp) -> bool {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    // A clock that was set back must not stop this for long.
    let waits = last.is_some_and(|at| now.since(at) < pause && at <= now);
    if !waits {
        *last = Some(now);
    }
    !waits
}

fn only_200(answer: &HttpAnswer, refusal: ProviderRefusal) -> Result<&[u8], FederationError> {
    if answer.status == 200 { Ok(&answer.body) } else { Err(refusal.into()) }
}

/// Something that is read from a provider and kept for a while.
struct Kept<T> {
    now: Mutex<Snapshot<T>>,
    /// Held by the request that asks the provider.
    asking: tokio::sync::Mutex<()>,
}

struct Snapshot<T> {
    value: Option<(Arc<T>, Timestamp)>,
    failed_at: Option<Timestamp>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        let now = Mutex::new(Snapshot { value: None, failed_at: None });
        Self { now, asking: tokio::sync::Mutex::default() }
    }
}

impl<T> Kept<T> {
    /// Returns it. It is read again if it is too old, or if it is the one that is not wanted any more. If that fails, the old
    /// one counts, so that people can sign in during an outage of the provider.
    async fn get<F: Future<Output = Result<T, FederationError>>>(
        &self,
        context: &Context,
        unwanted: Option<&Arc<T>>,
        fetch: impl Fn() -> F,
    ) -> Result<Arc<T>, FederationError> {
        if let Some(value) = self.fresh(context, unwanted) {
            return Ok(value);
        }
        let _asking = self.asking.lock().await;
        // Another request may have asked meanwhile.
        if let Some(value) = self.fresh(context, unwanted) {
            return Ok(value);
        }
        let now = context.now();
        if self.lock().failed_at.is_some_and(|at| now.since(at) < PAUSE && at <= now) {
            let old = self.lock().value.as_ref().map(|(value, _)| Arc::clone(value));
            return old
                .ok_or_else(|| FederationError::Unavailable("it failed a moment ago".to_owned()));
        }
        match fetch().await {
            Ok(value) => {
                let value = Arc::new(value);
                let mut snapshot = self.lock();
                snapshot.value = Some((Arc::clone(&value), context.now()));
                snapshot.failed_at = None;
                Ok(value)
            }
            Err(error) => {
                let mut snapshot = self.lock();
                snapshot.failed_at = Some(context.now());
                let old = snapshot.value.as_ref().map(|(value, _)| Arc::clone(value));
                old.ok_or(error)
            }
        }
    }

    fn fresh(&self, context: &Context, unwanted: Option<&Arc<T>>) -> Option<Arc<T>> {
        let (now, age) = (context.now(), context.config.federation.metadata_age);
        let snapshot = self.lock();
        let (value, read_at) = snapshot.value.as_ref()?;
        let is_unwanted = unwanted.is_some_and(|unwanted| Arc::ptr_eq(unwanted, value));
        (now.since(*read_at) < age && !is_unwanted).then(|| Arc::clone(value))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot<T>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
