//! Captchas of a provider: its script runs in the page, and the server asks whether a token is valid.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::entity::captcha::Model;
use super::error::CaptchaError;
use super::keys::CaptchaKeys;
use super::kind::{Captcha, CaptchaFuture, CaptchaRequest, CaptchaResponse, CaptchaVerdict};
use super::store;
use crate::base::problem::ErrorChain;
use crate::base::secret::DigestKey;
use crate::base::transaction::TimedPort;
use crate::port::HttpClient;

/// How long a token is remembered at least. Those of both providers are valid for a shorter time.
const TOKEN_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// The longest token that is sent on.
const MOST_BYTES: usize = 4 * 1024;

/// The longest answer of a provider that is read.
const MOST_ANSWER_BYTES: usize = 64 * 1024;

/// A captcha of Cloudflare Turnstile, hCaptcha, or a service with the same interface.
///
/// The request has five seconds ([`provider_timeout`](crate::config::CaptchaConfig::provider_timeout)).
/// Without an answer nobody gets through: the answer is 503 `captcha_unavailable`. A token is accepted
/// once, even if the provider would accept it again.
pub struct HostedCaptcha {
    provider: Provider,
    url: String,
    site_key: String,
    secret: Zeroizing<String>,
    hosts: Vec<String>,
    http: Arc<dyn HttpClient>,
    /// One for all calls, so that it limits how many of them are forgotten and still wait.
    port: OnceLock<TimedPort<dyn HttpClient>>,
}

/// The name under which answers are counted for their source.
const RULE: &str = "captcha_answers";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    Turnstile,
    HCaptcha,
}

impl HostedCaptcha {
    /// Uses Cloudflare Turnstile. The `action` of the widget must be the action of the captcha, such as
    /// `login`. Otherwise its token is wrong.
    pub fn turnstile(
        site_key: impl Into<String>,
        secret: impl Into<String>,
        http: impl HttpClient,
    ) -> Self {
        let url = "https://challenges.cloudflare.com/turnstile/v0/siteverify";
        Self::new(Provider::Turnstile, url, site_key.into(), secret.into(), Arc::new(http))
    }

    /// Uses hCaptcha. It does not tell for which action a token was made, so a token for one action is
    /// accepted for another. It is still accepted once.
    pub fn hcaptcha(
        site_key: impl Into<String>,
        secret: impl Into<String>,
        http: impl HttpClient,
    ) -> Self {
        let url = "https://api.hcaptcha.com/siteverify";
        Self::new(Provider::HCaptcha, url, site_key.into(), secret.into(), Arc::new(http))
    }

    fn new(
        provider: Provider,
        url: &str,
        site_key: String,
        secret: String,
        http: Arc<dyn HttpClient>,
    ) -> Self {
        let secret = Zeroizing::new(secret);
        Self {
            provider,
            url: url.to_owned(),
            site_key,
            secret,
            hosts: Vec::new(),
            http,
            port: OnceLock::new(),
        }
    }

    /// Sets another address for the question, such as that of a proxy or of a service with the same
    /// interface.
    #[must_use]
    pub fn url(self, url: impl Into<String>) -> Self {
        Self { url: url.into(), ..self }
    }

    /// Adds a host whose pages may show the captcha, such as `www.example.com`. Without one, it is the host
    /// of links: [`mail.link_origin`](crate::config::MailConfig::link_origin), or else the public URL.
    ///
    /// The provider tells a plain name in lower case, and it is compared as it is. So
    /// [`build`](crate::Builder::build) refuses a scheme, a port, a path, a wildcard and upper case.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// True if a page of this host may have shown the captcha.
    fn is_ours(&self, host: &str, own: Option<&str>) -> bool {
        match own {
            Some(own) if self.hosts.is_empty() => own == host,
            _ => self.hosts.iter().any(|known| known == host),
        }
    }

    /// Asks the provider about a token.
    async fn ask(&self, token: &str, request: CaptchaRequest<'_>) -> Result<Told, CaptchaError> {
        let context = request.auth.context();
        let unavailable = |why: &str| {
            let why = format!("{}: {why}", self.kind());
            tracing::error!(target: "portcullis", error = ?why, "a provider of captchas cannot be asked");
            CaptchaError::Unavailable(why.into())
        };
        let new = || TimedPort::new(Arc::clone(&self.http), &context.database);
        let port = self.port.get_or_init(new);
        let (url, secret) = (self.url.clone(), self.secret.clone());
        let (token, site_key) = (token.to_owned(), self.site_key.clone());
        let provider = self.provider;
        let asked = port.ask(context.config.captcha.provider_timeout, move |http| {
            Box::pin(async move {
                let mut fields = vec![("secret", &**secret), ("response", &*token)];
                if provider == Provider::HCaptcha {
                    fields.push(("sitekey", &*site_key));
                }
                http.post_form(&url, &fields).await
            })
        });
        let answer = match asked.await {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => return Err(unavailable(&ErrorChain(&*error).to_string())),
            None => return Err(unavailable("no answer in time")),
        };
        if answer.status != 200 || answer.body.len() > MOST_ANSWER_BYTES {
            return Err(unavailable(&format!("an answer with the status {}", answer.status)));
        }
        let told: Told = serde_json::from_slice(&answer.body)
            .map_err(|error| unavailable(&format!("an answer that cannot be read: {error}")))?;
        // These say nothing about the token.
        let ours = |code: &&String| code.contains("secret") || code.contains("internal");
        match told.error_codes.iter().find(ours) {
            Some(code) if !told.success => Err(unavailable(code)),
            _ => Ok(told),
        }
    }
}

/// True if a provider can tell this as the host of a page.
fn is_host(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    !text.is_empty()
        && text.len() <= 253
        && text.chars().all(plain)
        && text.split('.').all(|label| !label.is_empty())
}

impl Captcha for HostedCaptcha {
    fn kind(&self) -> &'static str {
        match self.provider {
            Provider::Turnstile => "turnstile",
            Provider::HCaptcha => "hcaptcha",
        }
    }

    fn faults(&self) -> Vec<String> {
        let never = self.hosts.iter().filter(|host| !is_host(host));
        let fault = |host: &String| {
            format!(
                "the host {host:?} never matches; it must be a name in lower case such as \
                 www.example.com, without a scheme, port, path or wildcard"
            )
        };
        never.map(fault).collect()
    }

    fn offer<'a>(&'a self, _: CaptchaRequest<'a>) -> CaptchaFuture<'a, Map<String, Value>> {
        Box::pin(async move {
            let site_key = Value::from(self.site_key.clone());
            Ok([("site_key".to_owned(), site_key)].into_iter().collect())
        })
    }

    fn check<'a>(
        &'a self,
        response: &'a CaptchaResponse,
        request: CaptchaRequest<'a>,
    ) -> CaptchaFuture<'a, CaptchaVerdict> {
        Box::pin(async move {
            let context = request.auth.context();
            let token = response.text();
            if token.is_empty() || token.len() > MOST_BYTES {
                return Ok(CaptchaVerdict::Wrong);
            }
            // Each answer is a question to the provider, which limits how many it takes.
            let quota = context.config.captcha.per_source;
            let limits = request.auth.rate_limits();
            limits.source(RULE, request.client.address(), quota).await?;
            let told = self.ask(token, request).await?;
            let own = context.config.link_host();
            let host = told.hostname.as_deref().unwrap_or_default();
            let for_action = match self.provider {
                Provider::Turnstile => told.action.as_deref() == Some(request.action),
                Provider::HCaptcha => true,
            };
            if !(told.success && for_action && self.is_ours(host, own.as_deref())) {
                return Ok(CaptchaVerdict::Wrong);
            }
            // A row says that the token was used. It has only a part of a keyed digest. There is one row
            // for each secret: while a secret is replaced, another node may have another newest one.
            let keys = context.per_instance::<CaptchaKeys>();
            let row = |id: Uuid| Model {
                id,
                action: request.action.to_owned(),
                key_id: String::new(),
                answer: None,
                fetches: 0,
                attempts: 1,
                expires_at: request.at.plus(TOKEN_LIFETIME),
                used_at: Some(request.at),
            };
            let id = |key: &DigestKey| {
                let digest = key.digest(token.as_bytes());
                Uuid::from_slice(&digest[..16]).expect("16 of 32 bytes")
            };
            // In a fixed order, so that two nodes do not deadlock.
            let mut ids: Vec<Uuid> = keys.tokens.iter().map(id).collect();
            ids.sort_unstable();
            ids.dedup();
            let rows: Vec<Model> = ids.into_iter().map(row).collect();
            let db = context.db();
            let executor = db.executor();
            let first = db.retry(|| store::insert_all(&executor, rows.clone())).await?;
            Ok(if first { CaptchaVerdict::Right } else { CaptchaVerdict::Wrong })
        })
    }
}

/// The answer of a provider.
#[derive(Deserialize)]
struct Told {
    success: bool,
    hostname: Option<String>,
    action: Option<String>,
    #[serde(default, rename = "error-codes")]
    error_codes: Vec<String>,
}

impl fmt::Debug for HostedCaptcha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostedCaptcha").field("provider", &self.provider).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_plain_name_in_lower_case() {
        for good in
            ["example.com", "www.example.com", "localhost", "xn--bcher-kva.example", "10.0.0.1"]
        {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "https://example.com",
            "example.com:443",
            "example.com/",
            "example.com/login",
            "Example.com",
            "*.example.com",
            ".example.com",
            "example.com.",
            "a..b",
            "bücher.example",
            " example.com",
        ] {
            assert!(!is_host(bad), "{bad:?}");
        }
    }
}
