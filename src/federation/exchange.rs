//! What a provider tells about a person: the code is exchanged, and what comes is checked.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::error::FederationError;
use super::remote::{Remote, ask};
use crate::account::Email;
use crate::base::clock::Timestamp;
use crate::base::transaction::Fault;
use crate::config::federation::{
    AppleKey, ClientAuthentication, MailTrust, OAuthEndpoints, Provider, ProviderKind, TwoFactors,
};
use crate::context::Context;
use crate::oidc::{
    ExpectedIdToken, IdToken, ProviderRefusal, TokenAnswer, object, text_claim, values,
};
use crate::port::ProviderRequest;

/// For how long the token is valid with which a service proves to Apple who it is, in seconds.
const APPLE_LIFETIME: i64 = 5 * 60;

/// The most that a provider may tell about a person, in bytes of JSON.
const MOST_CLAIM_BYTES: usize = 24 * 1024;

/// The longest name of a person that is kept, in characters.
const LONGEST_NAME: usize = 200;

/// What a provider told about a person. It was checked.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) email: Option<String>,
    /// True if the word of the provider is enough for this address.
    pub(super) email_trusted: bool,
    pub(super) display_name: Option<String>,
    /// When the person proved to the provider who they are, in Unix seconds.
    pub(super) auth_time: Option<i64>,
    /// True if the provider has checked two factors, and this counts.
    pub(super) two_factors: bool,
    /// The session of the person at the provider.
    pub(super) sid: Option<String>,
    pub(super) claims: Value,
    /// The tokens, if they are kept.
    pub(super) tokens: Option<KeptTokens>,
}

/// The tokens of a provider, as they are stored.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeptTokens {
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    /// Unix milliseconds.
    pub(super) expires_at: Option<i64>,
}

impl KeptTokens {
    /// A provider that refreshes may keep the refresh token.
    pub(super) fn of(answer: &TokenAnswer, before: Option<&Self>, now: Timestamp) -> Self {
        let seconds = answer.expires_in.and_then(|seconds| i64::try_from(seconds).ok());
        let expires_at =
            seconds.map(|seconds| now.as_millis().saturating_add(seconds.saturating_mul(1000)));
        let refresh_token = answer.refresh_token.as_ref().map(|token| token.to_string());
        Self {
            access_token: answer.access_token.to_string(),
            refresh_token: refresh_token
                .or_else(|| before.and_then(|before| before.refresh_token.clone())),
            expires_at,
        }
    }
}

impl Told {
    /// Returns the digest of issuer and subject, which together identify the person.
    pub(super) fn digest(&self) -> [u8; 32] {
        pair_digest(&self.issuer, &self.subject)
    }

    /// Returns the digest of the session at the provider.
    pub(super) fn session_digest(&self) -> Option<[u8; 32]> {
        Some(pair_digest(&self.issuer, self.sid.as_deref()?))
    }
}

/// Returns a digest of two texts. An issuer has no NUL, so two different pairs never give the same bytes.
pub(super) fn pair_digest(issuer: &str, text: &str) -> [u8; 32] {
    Sha256::new_with_prefix(issuer).chain_update([0]).chain_update(text).finalize().into()
}

/// A code that a provider gave to a browser.
pub(super) struct Code<'a> {
    pub(super) code: &'a str,
    pub(super) redirect_uri: &'a str,
    pub(super) verifier: &'a str,
    pub(super) nonce: &'a str,
    pub(super) began_at: Timestamp,
}

/// Exchanges a code, and returns whose it is.
pub(super) async fn exchange(
    context: &Context,
    remote: &Remote,
    code: Code<'_>,
) -> Result<Told, FederationError> {
    let provider = &remote.provider;
    let grant = vec![
        ("grant_type", Zeroizing::new("authorization_code".to_owned())),
        ("code", Zeroizing::new(code.code.to_owned())),
        ("redirect_uri", Zeroizing::new(code.redirect_uri.to_owned())),
        ("code_verifier", Zeroizing::new(code.verifier.to_owned())),
    ];
    let answer = request_tokens(context, remote, grant).await?;
    let now = context.now();
    let mut told = match &provider.kind {
        ProviderKind::OpenId { .. } => by_id_token(context, remote, &code, &answer).await?,
        ProviderKind::OAuth(endpoints) => by_user(context, remote, endpoints, &answer).await?,
    };
    // They are kept for a decision of the person, in a column that takes 64 KiB on MySQL.
    if told.claims.to_string().len() > MOST_CLAIM_BYTES {
        return Err(ProviderRefusal::TooManyClaims.into());
    }
    for (name, value) in &provider.required_claims {
        if told.claims.get(name).and_then(Value::as_str) != Some(value) {
            return Err(ProviderRefusal::RequiredClaim.into());
        }
    }
    if provider.keeps_tokens {
        told.tokens = Some(KeptTokens::of(&answer, None, now));
    }
    Ok(told)
}

/// Asks the token endpoint.
pub(super) async fn request_tokens(
    context: &Context,
    remote: &Remote,
    mut form: Vec<(&'static str, Zeroizing<String>)>,
) -> Result<TokenAnswer, FederationError> {
    let provider = &remote.provider;
    let metadata = remote.metadata(context).await?;
    let mut request = ProviderRequest::get(&metadata.token, provider.private_addresses);
    let id = || Zeroizing::new(provider.client_id.clone());
    match &provider.client {
        ClientAuthentication::None => form.push(("client_id", id())),
        ClientAuthentication::Basic(secret) => {
            request.authorization = Some(basic(&provider.client_id, secret));
        }
        ClientAuthentication::Post(secret) => {
            form.push(("client_id", id()));
            form.push(("client_secret", secret.clone()));
        }
        ClientAuthentication::Apple(key) => {
            form.push(("client_id", id()));
            form.push(("client_secret", apple_secret(key, provider, context.now())?));
        }
    }
    request.form = Some(form);
    let answer = ask(context, provider, request).await?;
    Ok(TokenAnswer::read(answer.status, &answer.body)?)
}

/// Encodes id and secret as a form first (RFC 6749, section 2.3.1).
fn basic(id: &str, secret: &str) -> Zeroizing<String> {
    let encoded = |text: &str| {
        let pair = serde_urlencoded::to_string([("", text)]).expect("a text can be encoded");
        Zeroizing::new(pair.trim_start_matches('=').to_owned())
    };
    let pair = Zeroizing::new(format!("{}:{}", *encoded(id), *encoded(secret)));
    Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes())))
}

/// Signs what Apple takes in place of a secret.
fn apple_secret(
    key: &AppleKey,
    provider: &Provider,
    now: Timestamp,
) -> Result<Zeroizing<String>, FederationError> {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = part(&json!({ "alg": "ES256", "kid": key.key_id, "typ": "JWT" }));
    let claims = part(&json!({
        "iss": key.team_id,
        "iat": now.as_secs(),
        "exp": now.as_secs() + APPLE_LIFETIME,
        "aud": provider.issuer(),
        "sub": provider.client_id,
    }));
    let message = format!("{header}.{claims}");
    let signed = EncodingKey::from_ec_pem(key.pem.as_bytes())
        .and_then(|encoding| crypto::sign(message.as_bytes(), &encoding, Algorithm::ES256));
    let signature = signed.map_err(|error| {
        Fault::Internal(format!("the key of Apple cannot sign: {error}").into())
    })?;
    Ok(Zeroizing::new(format!("{message}.{signature}")))
}

async fn by_id_token(
    context: &Context,
    remote: &Remote,
    code: &Code<'_>,
    answer: &TokenAnswer,
) -> Result<Told, FederationError> {
    let provider = &remote.provider;
    let id_token = answer.id_token.as_ref().ok_or(ProviderRefusal::NoIdToken)?;
    let expected = ExpectedIdToken {
        algorithm: provider.algorithm,
        issuer: provider.issuer(),
        client_id: &provider.client_id,
        nonce: code.nonce,
        access_token: Some(&answer.access_token),
        began_at: code.began_at.as_secs(),
        now: context.now().as_secs(),
    };
    let token = remote.check(context, |keys| IdToken::check(id_token, keys, &expected)).await?;
    let IdToken { subject, auth_time, acr, amr, sid, mut claims } = token;
    let metadata = remote.metadata(context).await?;
    let wants_email = provider.scopes.iter().any(|scope| scope == "email");
    let lacks = wants_email && !claims.contains_key("email");
    if let Some(url) = metadata.userinfo.as_deref().filter(|_| lacks || provider.asks_userinfo) {
        let info = about(context, remote, url, answer).await?;
        let info = object(&info).ok_or(ProviderRefusal::Userinfo)?;
        // An access token of another person could have been put beside the ID token (OpenID Connect Core, 5.3.2).
        if info.get("sub").and_then(Value::as_str) != Some(&*subject) {
            return Err(ProviderRefusal::UserinfoSubject.into());
        }
        add(&mut claims, info, &provider.mail);
    }
    let two_factors = match &provider.two_factors {
        TwoFactors::Never => false,
        TwoFactors::Amr(enough) => amr.iter().any(|one| enough.contains(one)),
        TwoFactors::Acr(enough) => acr.is_some_and(|acr| enough.contains(&acr)),
    };
    let (email, email_trusted) = mail(provider, &claims)?;
    Ok(Told {
        issuer: provider.issuer().to_owned(),
        subject,
        email,
        email_trusted,
        display_name: display_name(&claims, &["name", "preferred_username"]),
        auth_time,
        two_factors,
        sid,
        claims: Value::Object(claims),
        tokens: None,
    })
}

/// Adds what the userinfo endpoint told. The ID token counts first. `email_verified` is about the address beside it, so it
/// comes from where the address comes from. So does the claim that decides about trust.
fn add(claims: &mut Map<String, Value>, mut info: Map<String, Value>, trust: &MailTrust) {
    let deciding = match trust {
        MailTrust::Claim(name) => name,
        _ => "email_verified",
    };
    for name in ["email_verified", deciding] {
        match claims.contains_key("email") {
            true if claims.get("email") == info.get("email") => {}
            true => drop(info.remove(name)),
            false => drop(claims.remove(name)),
        }
    }
    for (name, value) in info {
        claims.entry(name).or_insert(value);
    }
}

/// Asks a provider without ID tokens who the person is.
async fn by_user(
    context: &Context,
    remote: &Remote,
    endpoints: &OAuthEndpoints,
    answer: &TokenAnswer,
) -> Result<Told, FederationError> {
    let provider = &remote.provider;
    let body = about(context, remote, &endpoints.user, answer).await?;
    let mut claims = object(&body).ok_or(ProviderRefusal::Userinfo)?;
    let subject = match claims.get(&endpoints.subject) {
        Some(Value::Number(number)) if number.as_u64().is_some_and(|number| number > 0) => {
            number.to_string()
        }
        Some(Value::String(text))
            if (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) =>
        {
            text.clone()
        }
        _ => return Err(ProviderRefusal::Subject.into()),
    };
    if let Some(url) = &endpoints.emails {
        let body = about(context, remote, url, answer).await?;
        let all = values(&body).ok_or(ProviderRefusal::Userinfo)?;
        let main = all.iter().find(|one| one.get("primary") == Some(&Value::Bool(true)));
        // What the object of the person says about mail is not checked by anybody.
        claims.remove("email_verified");
        claims.remove("email");
        if let Some(main) = main {
            for (from, to) in [("email", "email"), ("verified", "email_verified")] {
                if let Some(value) = main.get(from) {
                    claims.insert(to.to_owned(), value.clone());
                }
            }
        }
    }
    let (email, email_trusted) = mail(provider, &claims)?;
    Ok(Told {
        issuer: endpoints.issuer.clone(),
        subject,
        email,
        email_trusted,
        display_name: display_name(&claims, &["name", "login"]),
        auth_time: None,
        two_factors: false,
        sid: None,
        claims: Value::Object(claims),
        tokens: None,
    })
}

/// Asks a provider about a person.
async fn about(
    context: &Context,
    remote: &Remote,
    url: &str,
    answer: &TokenAnswer,
) -> Result<Vec<u8>, FederationError> {
    let provider = &remote.provider;
    let mut request = ProviderRequest::get(url, provider.private_addresses);
    request.authorization = Some(Zeroizing::new(format!("Bearer {}", *answer.access_token)));
    let answer = ask(context, provider, request).await?;
    if answer.status == 200 { Ok(answer.body) } else { Err(ProviderRefusal::Userinfo.into()) }
}

/// Returns the mail address, and whether the word of the provider is enough for it.
fn mail(
    provider: &Provider,
    claims: &Map<String, Value>,
) -> Result<(Option<String>, bool), ProviderRefusal> {
    // GitHub writes null for none.
    let none = claims.get("email").is_none_or(Value::is_null);
    let Some(text) = (if none { None } else { text_claim(claims, "email")? }) else {
        return Ok((None, false));
    };
    let Ok(email) = Email::parse(text) else { return Ok((None, false)) };
    let verified = match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(text)) => provider.text_booleans && text == "true",
        _ => false,
    };
    let domain = email.normal().rsplit_once('@').map_or("", |(_, domain)| domain);
    let is_trusted = match &provider.mail {
        MailTrust::Never => false,
        MailTrust::Verified => verified,
        MailTrust::Domains(domains) => {
            verified && domains.iter().any(|one| one.eq_ignore_ascii_case(domain))
        }
        MailTrust::Google => {
            let hosted = claims.get("hd").and_then(Value::as_str);
            let hosted = hosted.is_some_and(|hosted| hosted.eq_ignore_ascii_case(domain));
            verified && (hosted || domain == "gmail.com")
        }
        MailTrust::Claim(name) => claims.get(name) == Some(&Value::Bool(true)),
    };
    Ok((Some(email.as_str().to_owned()), is_trusted))
}

/// Returns the first of these that can be shown.
fn display_name(claims: &Map<String, Value>, names: &[&str]) -> Option<String> {
    let shown = names.iter().filter_map(|name| claims.get(*name)?.as_str()).map(str::trim);
    let mut shown = shown.filter(|name| !name.is_empty() && !name.chars().any(char::is_control));
    shown.next().map(|name| name.chars().take(LONGEST_NAME).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_an_address_is_verified_is_told_by_whom_the_address_is_from() {
        let object = |value: Value| value.as_object().cloned().expect("an object");
        let with = |token: Value, info: Value, trust: &MailTrust| {
            let mut claims = object(token);
            add(&mut claims, object(info), trust);
            Value::Object(claims)
        };
        let added = |token, info| with(token, info, &MailTrust::Verified);
        let (a, b) = ("a@example.com", "b@example.com");
        let verified = json!({ "email": b, "email_verified": true, "hd": "example.com" });
        // It is about another address.
        let claims = added(json!({ "email": a }), verified.clone());
        assert_eq!(claims, json!({ "email": a, "hd": "example.com" }));
        let claims = added(json!({ "email": a, "email_verified": false }), verified.clone());
        assert_eq!(claims["email_verified"], false);
        // The ID token has no address that it could be about.
        let claims = added(json!({ "email_verified": true }), json!({ "email": b }));
        assert_eq!(claims, json!({ "email": b }));
        // Both are about one address.
        let claims = added(json!({ "email": b }), verified.clone());
        assert_eq!(claims, verified);
        assert_eq!(added(json!({ "sub": "x" }), verified.clone())["email_verified"], true);
        // A claim of the provider's own decides in the same way.
        let own = MailTrust::Claim("edov".to_owned());
        let claims = with(json!({ "edov": true }), json!({ "email": b }), &own);
        assert_eq!(claims, json!({ "email": b }));
        let claims = with(json!({ "email": a }), json!({ "email": b, "edov": true }), &own);
        assert_eq!(claims, json!({ "email": a }));
    }
}
