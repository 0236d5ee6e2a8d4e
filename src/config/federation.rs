//! Providers with which people sign in (OpenID Connect and OAuth 2.0), and their limits.

use std::fmt;
use std::time::Duration;

use http::Uri;
use zeroize::Zeroizing;

use super::check::Checker;
use super::{Config, DAY, MINUTE};
use crate::base::rate::Quota;

/// The longest [`FederationConfig::flow_lifetime`].
const LONGEST_FLOW: Duration = Duration::from_secs(10 * 60);

/// Rules about [signing in with providers](crate::federation).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FederationConfig {
    /// The providers. [`Builder::provider`](crate::Builder::provider) adds one. Default: none.
    pub providers: Vec<Provider>,
    /// How long a person may take at the provider, and for a confirmation afterwards. 1 to 10 min. Default: 10 min.
    pub flow_lifetime: Duration,
    /// How many sign-ins one source may begin. Each is a row. Default: 30 a minute.
    pub flows: Quota,
    /// The time limit of one request to a provider. Default: 5 s.
    pub timeout: Duration,
    /// How long the endpoints and keys of a provider are kept before they are read again. During an outage they are
    /// kept longer. Default: 1 h.
    pub metadata_age: Duration,
}

impl Default for FederationConfig {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            flow_lifetime: LONGEST_FLOW,
            flows: Quota::per_minute(30),
            timeout: Duration::from_secs(5),
            metadata_age: 60 * MINUTE,
        }
    }
}

/// What happens if somebody signs in with an identity that no account has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProviderPolicy {
    /// The identity is linked to the account with the same mail address, if the provider is [trusted](MailTrust) for it and
    /// the account has proved it too. Otherwise it gets an account of its own. The owner of a linked account is told.
    Automatic,
    /// The identity gets an account of its own. It is never linked by a mail address.
    Open,
    /// The person is asked first. They can then sign in to an account and link the identity, or get an account.
    OnRequest,
    /// The person cannot sign in. Only a signed-in person can link an identity.
    Closed,
}

/// For which mail addresses the word of a provider is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MailTrust {
    /// For none. The address is not stored.
    Never,
    /// For each address that the provider calls verified (`email_verified`). **Choose this only if nobody can make the
    /// provider call an address verified that is not theirs.**
    Verified,
    /// The same, but only for addresses in these domains, which the provider hosts.
    Domains(Vec<String>),
    /// For Google: addresses at `gmail.com`, and those of the domain in the claim `hd`, which Google hosts.
    Google,
    /// For each address for which this claim is true, such as `xms_edov` of Microsoft.
    Claim(String),
}

/// When a sign-in with a provider counts as two factors.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TwoFactors {
    /// Never.
    Never,
    /// If the claim `amr` has one of these values, such as `mfa`.
    Amr(Vec<String>),
    /// If the claim `acr` is one of these values.
    Acr(Vec<String>),
}

impl TwoFactors {
    /// Counts as two if `amr` has one of these values.
    pub fn amr<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::Amr(values.into_iter().map(Into::into).collect())
    }

    /// Counts as two if `acr` is one of these values.
    pub fn acr<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::Acr(values.into_iter().map(Into::into).collect())
    }
}

/// How the service proves to a provider who it is.
#[derive(Clone)]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// It does not. Only PKCE protects the code.
    None,
    /// The secret in the `Authorization` header (`client_secret_basic`).
    Basic(Zeroizing<String>),
    /// The secret in the body (`client_secret_post`).
    Post(Zeroizing<String>),
    /// A token that Apple's key signs, in place of a secret.
    Apple(AppleKey),
}

impl fmt::Debug for ClientAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic(_) => "Basic(..)",
            Self::Post(_) => "Post(..)",
            Self::Apple(_) => "Apple(..)",
        })
    }
}

/// The key with which a service proves to Apple who it is.
#[derive(Clone)]
#[cfg_attr(
    not(feature = "federation"),
    expect(dead_code, reason = "only federation signs with it")
)]
pub struct AppleKey {
    pub(crate) team_id: String,
    pub(crate) key_id: String,
    pub(crate) pem: Zeroizing<String>,
}

impl AppleKey {
    /// Takes the id of the team, the id of the key, and the private key (`.p8`, PKCS #8 PEM).
    pub fn new(
        team_id: impl Into<String>,
        key_id: impl Into<String>,
        pem: impl Into<String>,
    ) -> Self {
        let pem = Zeroizing::new(pem.into());
        Self { team_id: team_id.into(), key_id: key_id.into(), pem }
    }
}

impl fmt::Debug for AppleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppleKey(..)")
    }
}

/// The algorithm with which a provider signs its ID tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdTokenAlgorithm {
    /// RSA with SHA-256. Every OpenID provider supports it.
    Rs256,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// The endpoints of a provider that has no discovery document and no ID tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthEndpoints {
    /// A URL that stands for the provider in the database. **Never change it.**
    pub issuer: String,
    /// Where people are sent.
    pub authorization: String,
    /// Where the code is exchanged.
    pub token: String,
    /// What is asked for the person, with the access token. It answers with a JSON object.
    pub user: String,
    /// What is asked for the mail addresses: a JSON list of objects with `email`, `primary` and `verified`.
    pub emails: Option<String>,
    /// The member of the person's object that identifies them forever: a number or a text. Not a name that can be changed.
    pub subject: String,
}

/// Where the endpoints of a provider come from.
#[derive(Debug, Clone)]
pub(crate) enum ProviderKind {
    /// From the discovery document of this issuer.
    OpenId {
        issuer: String,
    },
    OAuth(Box<OAuthEndpoints>),
}

/// How the provider sends its answer to the browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseMode {
    Query,
    FormPost,
}

/// A provider with which people sign in.
///
/// ```
/// use portcullis::config::{Provider, ProviderPolicy, TwoFactors};
///
/// # let (id, secret) = ("id", "secret");
/// let google = Provider::google(id, secret);
/// let company = Provider::openid("company", "https://login.example.com", id, secret)
///     .label("Example Inc.")
///     .policy(ProviderPolicy::Closed)
///     .counts_as_two_when(TwoFactors::amr(["mfa"]));
/// ```
#[derive(Debug, Clone)]
pub struct Provider {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) kind: ProviderKind,
    pub(crate) client_id: String,
    pub(crate) client: ClientAuthentication,
    pub(crate) scopes: Vec<String>,
    pub(crate) algorithm: IdTokenAlgorithm,
    pub(crate) policy: ProviderPolicy,
    pub(crate) mail: MailTrust,
    pub(crate) two_factors: TwoFactors,
    pub(crate) response_mode: ResponseMode,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) required_claims: Vec<(String, String)>,
    pub(crate) enabled: bool,
    pub(crate) signs_in: bool,
    pub(crate) keeps_tokens: bool,
    pub(crate) asks_userinfo: bool,
    /// True if it writes `email_verified` as a text.
    pub(crate) text_booleans: bool,
    pub(crate) private_addresses: bool,
}

impl Provider {
    /// A provider of OpenID Connect with this issuer. The name is a part of its routes: `/oauth/{name}`. Its
    /// endpoints come from the discovery document.
    pub fn openid(
        name: impl Into<String>,
        issuer: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> Self {
        let kind = ProviderKind::OpenId { issuer: issuer.into() };
        let secret = Zeroizing::new(client_secret.into());
        Self::new(name.into(), kind, client_id.into(), ClientAuthentication::Basic(secret))
            .scopes(["openid", "email", "profile"])
    }

    /// A provider of OAuth 2.0 without discovery and ID tokens.
    pub fn oauth2(
        name: impl Into<String>,
        endpoints: OAuthEndpoints,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> Self {
        let kind = ProviderKind::OAuth(Box::new(endpoints));
        let secret = Zeroizing::new(client_secret.into());
        Self::new(name.into(), kind, client_id.into(), ClientAuthentication::Post(secret))
    }

    fn new(
        name: String,
        kind: ProviderKind,
        client_id: String,
        client: ClientAuthentication,
    ) -> Self {
        Self {
            label: name.clone(),
            name,
            kind,
            client_id,
            client,
            scopes: Vec::new(),
            algorithm: IdTokenAlgorithm::Rs256,
            policy: ProviderPolicy::Automatic,
            mail: MailTrust::Never,
            two_factors: TwoFactors::Never,
            response_mode: ResponseMode::Query,
            parameters: Vec::new(),
            required_claims: Vec::new(),
            enabled: true,
            signs_in: true,
            keeps_tokens: false,
            asks_userinfo: false,
            text_booleans: false,
            private_addresses: false,
        }
    }

    /// Google, as `google`. It is trusted for the addresses that it hosts.
    pub fn google(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self::openid("google", "https://accounts.google.com", client_id, client_secret)
            .label("Google")
            .mail(MailTrust::Google)
    }

    /// Microsoft Entra, as `microsoft`, for the people of one tenant: its id, which is a UUID. Its addresses are never trusted, because
    /// an administrator of a tenant can set any. Use [`MailTrust::Claim`] with `xms_edov` if your application has it.
    ///
    /// The tenants `common`, `organizations` and `consumers` have no issuer of their own, and are refused.
    pub fn microsoft(
        tenant_id: impl fmt::Display,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> Self {
        let issuer = format!("https://login.microsoftonline.com/{tenant_id}/v2.0");
        Self::openid("microsoft", issuer, client_id, client_secret).label("Microsoft")
    }

    /// Apple, as `apple`. It answers with a form from its own site. It is trusted for the addresses that it hosts.
    pub fn apple(client_id: impl Into<String>, key: AppleKey) -> Self {
        let kind = ProviderKind::OpenId { issuer: "https://appleid.apple.com".to_owned() };
        let domains = ["icloud.com", "me.com", "mac.com", "privaterelay.appleid.com"];
        let mut apple =
            Self::new("apple".to_owned(), kind, client_id.into(), ClientAuthentication::Apple(key))
                .scopes(["openid", "email", "name"])
                .label("Apple")
                .mail(MailTrust::Domains(domains.map(str::to_owned).to_vec()));
        apple.response_mode = ResponseMode::FormPost;
        apple.text_booleans = true;
        apple
    }

    /// GitHub, as `github`. It has no ID tokens, and does not tell when a person has signed in. Its addresses are not
    /// trusted: it has checked them once, maybe years ago.
    pub fn github(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        let endpoints = OAuthEndpoints {
            issuer: "https://github.com".to_owned(),
            authorization: "https://github.com/login/oauth/authorize".to_owned(),
            token: "https://github.com/login/oauth/access_token".to_owned(),
            user: "https://api.github.com/user".to_owned(),
            emails: Some("https://api.github.com/user/emails".to_owned()),
            subject: "id".to_owned(),
        };
        Self::oauth2("github", endpoints, client_id, client_secret)
            .scopes(["read:user", "user:email"])
            .label("GitHub")
    }

    /// GitLab, as `gitlab`: `https://gitlab.com`, or your own installation. Its addresses are not trusted.
    pub fn gitlab(
        issuer: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> Self {
        Self::openid("gitlab", issuer, client_id, client_secret).label("GitLab")
    }

    /// Sets another name, for a second provider of one kind.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how pages call it. Default: its name.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the scopes that are asked for. OpenID Connect needs `openid`.
    #[must_use]
    pub fn scopes<T: Into<String>>(mut self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the algorithm of its ID tokens. A token with another one is refused. Default: RS256.
    #[must_use]
    pub fn algorithm(mut self, algorithm: IdTokenAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Sets how the service proves who it is.
    #[must_use]
    pub fn client_authentication(mut self, client: ClientAuthentication) -> Self {
        self.client = client;
        self
    }

    /// Sets what happens with an identity that no account has. Default: automatic.
    #[must_use]
    pub fn policy(mut self, policy: ProviderPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets for which mail addresses its word is enough. Default: for none.
    #[must_use]
    pub fn mail(mut self, trust: MailTrust) -> Self {
        self.mail = trust;
        self
    }

    /// Sets when a sign-in with it counts as two factors. Then the second factor of the account is not asked for. Default: never.
    #[must_use]
    pub fn counts_as_two_when(mut self, two_factors: TwoFactors) -> Self {
        self.two_factors = two_factors;
        self
    }

    /// Adds a parameter to the address to which people are sent, such as `acr_values` or `hd`.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Refuses people for whom this claim has another value, such as `hd` for those of one Google Workspace.
    #[must_use]
    pub fn requires_claim(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.required_claims.push((name.into(), value.into()));
        self
    }

    /// Switches it on or off. While it is off, nobody can use it, and its links stay. Default: on.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Allows it only for linking and step-ups, and not for signing in.
    #[must_use]
    pub fn only_linked_step_up(mut self) -> Self {
        self.signs_in = false;
        self
    }

    /// Keeps its tokens, encrypted, for calls of your application. See
    /// [`provider_tokens`](crate::Portcullis::provider_tokens). Default: they are forgotten after the sign-in.
    #[must_use]
    pub fn keep_tokens(mut self) -> Self {
        self.keeps_tokens = true;
        self
    }

    /// Asks its userinfo endpoint too, for claims that are not in its ID tokens.
    #[must_use]
    pub fn ask_userinfo(mut self) -> Self {
        self.asks_userinfo = true;
        self
    }

    /// Allows private addresses, and plain http, for this provider: one in your own network, or on your machine.
    #[must_use]
    pub fn danger_private_addresses(mut self) -> Self {
        self.private_addresses = true;
        self
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how pages call it.
    pub fn shown_as(&self) -> &str {
        &self.label
    }

    /// True if pages offer it to people who sign in.
    #[cfg(feature = "routes")]
    pub(crate) fn is_offered(&self) -> bool {
        self.enabled && self.signs_in
    }

    /// Returns who gets an account with it, as `GET /methods` shows it.
    #[cfg(feature = "routes")]
    pub(crate) fn registration(&self) -> &'static str {
        match self.policy {
            ProviderPolicy::Automatic => "automatic",
            ProviderPolicy::Open => "open",
            ProviderPolicy::OnRequest => "on_request",
            ProviderPolicy::Closed => "closed",
        }
    }

    /// True if people can sign in with it.
    pub(crate) fn can_sign_in(&self) -> bool {
        self.enabled && self.signs_in
    }

    /// Returns its issuer. Together with the subject it identifies a person.
    pub(crate) fn issuer(&self) -> &str {
        match &self.kind {
            ProviderKind::OpenId { issuer } => issuer,
            ProviderKind::OAuth(endpoints) => &endpoints.issuer,
        }
    }
}

/// Returns true for a URL that a server of ours may ask: https, with a host, and without user information and fragment.
/// Plain http only if private addresses are allowed.
pub(crate) fn is_provider_url(text: &str, private_addresses: bool) -> bool {
    let visible = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>`#".contains(&byte);
    let Ok(url) = text.parse::<Uri>() else { return false };
    let scheme = match url.scheme_str() {
        Some("https") => true,
        Some("http") => private_addresses,
        _ => false,
    };
    let host = url
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@') && !authority.host().is_empty());
    scheme && host && text.len() <= 2048 && text.bytes().all(visible)
}

impl Config {
    pub(super) fn check_federation(&self, check: &mut Checker) {
        let config = &self.federation;
        let second = Duration::from_secs(1);
        check.refuse_if(
            !(MINUTE..=LONGEST_FLOW).contains(&config.flow_lifetime),
            "federation.flow_lifetime",
            "must be between 1 and 10 minutes",
        );
        check.refuse_if(
            config.timeout < second || config.timeout > MINUTE,
            "federation.timeout",
            "must be between one second and a minute",
        );
        check.refuse_if(
            config.metadata_age < 5 * MINUTE || config.metadata_age > DAY,
            "federation.metadata_age",
            "must be between 5 minutes and a day",
        );
        let quota = config.flows;
        check.refuse_if(
            quota.count == 0 || quota.period.is_zero() || quota.period > DAY,
            "federation.flows",
            "needs a count of at least 1 and a period of at most a day",
        );
        check.refuse_if(
            !config.providers.is_empty() && self.service.public_url.is_none(),
            "federation.providers",
            "need service.public_url, because a provider sends people back to it",
        );
        for (at, provider) in config.providers.iter().enumerate() {
            for fault in provider.faults() {
                check.refuse_if(
                    true,
                    "federation.providers",
                    format!("`{}`: {fault}", provider.name),
                );
            }
            let before = &config.providers[..at];
            // The issuer of OAuth 2.0 is a text of the operator. A wrong one would mix up the people of two providers.
            let is_oauth = |one: &Provider| matches!(one.kind, ProviderKind::OAuth(_));
            let shares = |one: &Provider| {
                let both_sign_in = one.can_sign_in() && provider.can_sign_in();
                one.issuer() == provider.issuer()
                    && (both_sign_in || is_oauth(one) || is_oauth(provider))
            };
            check.refuse_if(
                before.iter().any(shares),
                "federation.providers",
                format!(
                    "`{}`: another one has the same issuer, and so the same people",
                    provider.name
                ),
            );
            check.refuse_if(
                before.iter().any(|one| one.name == provider.name),
                "federation.providers",
                format!("there are two with the name `{}`; see `Provider::named`", provider.name),
            );
        }
    }
}

impl Provider {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut refuse_if = |wrong: bool, reason: &str| {
            if wrong {
                faults.push(reason.to_owned());
            }
        };
        let name = &self.name;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        refuse_if(
            !(1..=32).contains(&name.len()) || !name.bytes().all(plain),
            "the name must have 1 to 32 lower-case letters, digits or dashes",
        );
        refuse_if(
            self.client_id.is_empty() || self.client_id.len() > 255,
            "the client id must have 1 to 255 bytes",
        );
        match &self.client {
            ClientAuthentication::Basic(secret) | ClientAuthentication::Post(secret) => refuse_if(
                secret.is_empty(),
                "the client secret is empty; use `ClientAuthentication::None` if there is none",
            ),
            ClientAuthentication::Apple(key) => refuse_if(
                !key.pem.contains("PRIVATE KEY"),
                "the key of Apple is not a private key in PEM form",
            ),
            ClientAuthentication::None => {}
        }
        let url = |text: &str| is_provider_url(text, self.private_addresses);
        match &self.kind {
            ProviderKind::OpenId { issuer } => {
                refuse_if(
                    !url(issuer) || issuer.contains('?'),
                    "the issuer must be a https URL without query and fragment",
                );
                let shared = ["common", "organizations", "consumers"];
                refuse_if(
                    shared.iter().any(|tenant| {
                        *issuer == format!("https://login.microsoftonline.com/{tenant}/v2.0")
                    }),
                    "this is no issuer; name the tenant by its id",
                );
                refuse_if(
                    !self.scopes.iter().any(|scope| scope == "openid"),
                    "the scopes must contain `openid`",
                );
            }
            ProviderKind::OAuth(endpoints) => {
                let all = [
                    Some(&endpoints.issuer),
                    Some(&endpoints.authorization),
                    Some(&endpoints.token),
                    Some(&endpoints.user),
                    endpoints.emails.as_ref(),
                ];
                refuse_if(
                    !all.into_iter().flatten().all(|one| url(one)),
                    "its endpoints must be https URLs",
                );
                refuse_if(endpoints.subject.is_empty(), "the member of the subject has no name");
            }
        }
        const OURS: [&str; 12] = [
            "client_id",
            "redirect_uri",
            "response_type",
            "response_mode",
            "scope",
            "state",
            "nonce",
            "code_challenge",
            "code_challenge_method",
            "request",
            "request_uri",
            "max_age",
        ];
        refuse_if(
            self.parameters.iter().any(|(name, _)| OURS.contains(&name.as_str())),
            "a parameter has the name of one that portcullis sets",
        );
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_provider_is_https_and_names_a_host() {
        for good in ["https://a.example", "https://a.example:8443/b/c", "https://a.example/x?y=z"] {
            assert!(is_provider_url(good, false), "{good}");
        }
        for bad in [
            "",
            "a.example",
            "/a",
            "http://a.example",
            "ftp://a.example",
            "https://",
            "https:///a",
            "https://user@a.example",
            "https://user:pass@a.example/",
            "https://a.example/#b",
            "https://a.example/ b",
            "https://a.example\\@b.example",
            "javascript:alert(1)",
            "https://a.example/\"",
            &format!("https://a.example/{}", "a".repeat(2048)),
        ] {
            assert!(!is_provider_url(bad, false), "{bad}");
        }
        assert!(is_provider_url("http://127.0.0.1:3000", true));
        assert!(!is_provider_url("ftp://127.0.0.1:3000", true));
    }

    #[test]
    fn a_provider_says_everything_that_is_wrong_with_it() {
        let openid = |issuer: &str| Provider::openid("a", issuer, "id", "secret");
        assert_eq!(openid("https://a.example").faults(), Vec::<String>::new());
        for preset in [
            Provider::google("id", "secret"),
            Provider::microsoft("8a1a3a5e-0000-4000-8000-000000000000", "id", "secret"),
            Provider::apple("id", AppleKey::new("team", "key", "-----BEGIN PRIVATE KEY-----")),
            Provider::github("id", "secret"),
            Provider::gitlab("https://gitlab.com", "id", "secret"),
        ] {
            assert_eq!(preset.faults(), Vec::<String>::new(), "{}", preset.name());
        }
        for bad in [
            openid("http://a.example"),
            openid("https://a.example?b"),
            openid("https://a.example").named("A"),
            openid("https://a.example").named(""),
            openid("https://a.example").named("a/b"),
            openid("https://a.example").scopes(["email"]),
            openid("https://a.example").parameter("state", "x"),
            Provider::openid("a", "https://a.example", "", "secret"),
            Provider::openid("a", "https://a.example", "id", ""),
            Provider::microsoft("common", "id", "secret"),
            Provider::apple("id", AppleKey::new("team", "key", "")),
        ] {
            assert_eq!(bad.faults().len(), 1, "{bad:?}");
        }
        let debug = format!("{:?}", openid("https://a.example"));
        assert!(!debug.contains("secret"), "{debug}");
    }
}
