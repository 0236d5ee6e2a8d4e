//! A provider of our own that does what it is told: it answers rightly, or lies in one thing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use portcullis::base::clock::MockClock;
use portcullis::config::{IdTokenAlgorithm, Provider};
use portcullis::{Clock, Portcullis};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::probe::serve;
use crate::support::{Browser, Probe};

pub(crate) const CLIENT: &str = "our client";
pub(crate) const SECRET: &str = "a secret of ours: ü&=";

/// What a token endpoint and the others answer instead of the truth.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) body: String,
    pub(crate) location: Option<String>,
    pub(crate) delay: Duration,
}

impl Says {
    pub(crate) fn text(status: u16, kind: &'static str, body: impl Into<String>) -> Self {
        Self { status, kind, body: body.into(), location: None, delay: Duration::ZERO }
    }

    pub(crate) fn json(body: &Value) -> Self {
        Self::text(200, "application/json", body.to_string())
    }
}

/// A code that waits to be exchanged.
struct Waiting {
    nonce: Option<String>,
    challenge: String,
    redirect_uri: String,
    client_id: String,
    claims: Value,
}

#[derive(Default)]
pub(crate) struct Lies {
    issuer: String,
    /// The person who signs in next: claims of the ID token.
    pub(crate) person: Value,
    /// What is put over the claims, the header, the document and the answers. `null` removes a member.
    pub(crate) claims: Value,
    pub(crate) header: Value,
    pub(crate) document: Value,
    pub(crate) tokens: Value,
    /// What an endpoint answers instead, by its path.
    pub(crate) says: HashMap<&'static str, Says>,
    /// The seeds of the keys in the key set. The first one signs.
    pub(crate) keys: Vec<u8>,
    /// The seed of the key that signs, if it is another one.
    pub(crate) signs_with: Option<u8>,
    pub(crate) userinfo: Option<Value>,
    /// How often each path was asked.
    pub(crate) asked: HashMap<String, usize>,
    waiting: HashMap<String, Waiting>,
    pub(crate) refreshed: usize,
    /// How many refreshes may go on.
    pub(crate) gate: Option<Arc<tokio::sync::Semaphore>>,
}

#[derive(Clone)]
pub(crate) struct Liar {
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) lies: Arc<Mutex<Lies>>,
    clock: MockClock,
}

fn merge(into: &mut Value, over: &Value) {
    for (name, value) in over.as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(into.as_object_mut().expect("an object").remove(name)),
            value => into[name] = value.clone(),
        }
    }
}

pub(crate) fn key(seed: u8) -> (EncodingKey, Value) {
    let start = data_encoding::HEXLOWER.decode(b"302e020100300506032b657004220420");
    let der = [start.expect("hexadecimal"), vec![seed; 32]].concat();
    let text = data_encoding::BASE64.encode(&der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    let key = EncodingKey::from_ed_pem(pem.as_bytes()).expect("a key");
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::EdDSA).expect("a key");
    let x = serde_json::to_value(jwk).expect("JSON")["x"].clone();
    (
        key,
        json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "x": x, "kid": format!("key {seed}") }),
    )
}

impl Liar {
    pub(crate) async fn start(probe: &Probe, name: &str) -> Self {
        let keys = vec![1];
        let lies = Arc::new(Mutex::new(Lies { keys, ..Lies::default() }));
        let mut liar =
            Self { name: name.to_owned(), issuer: String::new(), lies, clock: probe.clock.clone() };
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(document))
            .route("/keys", get(keys_of))
            .route("/token", post(token))
            .route("/me", get(me))
            .route("/user", get(user))
            .route("/emails", get(emails))
            .with_state(liar.clone());
        let address: SocketAddr = serve(app).await;
        liar.issuer = format!("http://{address}");
        liar.is("alice", "alice@example.com", true);
        liar
    }

    /// Returns the provider for the configuration.
    pub(crate) fn provider(&self) -> Provider {
        Provider::openid(&self.name, &self.issuer, CLIENT, SECRET)
            .algorithm(IdTokenAlgorithm::EdDsa)
            .danger_private_addresses()
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Lies)) {
        change(&mut self.lies.lock().expect("nobody panics with it"));
    }

    /// Sets who signs in next.
    pub(crate) fn is(&self, subject: &str, email: &str, verified: bool) {
        let person = json!({ "sub": subject, "email": email, "email_verified": verified,
            "name": format!("{subject} at {}", self.name) });
        self.set(|lies| lies.person = person);
    }

    pub(crate) fn asked(&self, path: &str) -> usize {
        let lies = self.lies.lock().expect("nobody panics with it");
        lies.asked.get(path).copied().unwrap_or_default()
    }

    /// Ends all lies.
    pub(crate) fn repents(&self) {
        self.set(|lies| {
            for over in [&mut lies.claims, &mut lies.header, &mut lies.document, &mut lies.tokens] {
                *over = Value::Null;
            }
            lies.says.clear();
            lies.signs_with = None;
            lies.userinfo = None;
        });
    }

    /// Does what the provider does when the person has agreed: returns the query of the callback.
    pub(crate) fn agrees(&self, location: &str) -> String {
        let url = url::Url::parse(location).expect("a URL");
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["client_id"], CLIENT);
        let mut lies = self.lies.lock().expect("nobody panics with it");
        let code = format!("code {}", lies.waiting.len());
        let auth_time = (query.get("max_age").map(String::as_str) == Some("0"))
            .then(|| Clock::now(&self.clock).as_secs());
        let mut claims = lies.person.clone();
        if let Some(auth_time) = auth_time {
            claims["auth_time"] = auth_time.into();
        }
        let waiting = Waiting {
            nonce: query.get("nonce").cloned(),
            challenge: query["code_challenge"].clone(),
            redirect_uri: query["redirect_uri"].clone(),
            client_id: query["client_id"].clone(),
            claims,
        };
        lies.waiting.insert(code.clone(), waiting);
        let state = &query["state"];
        serde_urlencoded::to_string([("code", &code), ("state", state)]).expect("a query")
    }

    fn id_token(&self, lies: &Lies, waiting: &Waiting) -> String {
        let now = Clock::now(&self.clock).as_secs();
        let mut claims = json!({ "iss": lies.issuer, "aud": waiting.client_id,
            "exp": now + 300, "iat": now, "nonce": waiting.nonce });
        merge(&mut claims, &waiting.claims);
        merge(&mut claims, &lies.claims);
        self.sign(lies, &json!({}), &claims)
    }

    /// Signs a token as this provider does.
    pub(crate) fn sign(&self, lies: &Lies, header: &Value, claims: &Value) -> String {
        let seed = lies.signs_with.unwrap_or(lies.keys[0]);
        let mut full = json!({ "alg": "EdDSA", "kid": format!("key {seed}"), "typ": "JWT" });
        merge(&mut full, header);
        merge(&mut full, &lies.header);
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(&full), part(claims));
        let signature = crypto::sign(message.as_bytes(), &key(seed).0, Algorithm::EdDSA);
        format!("{message}.{}", signature.expect("it signs"))
    }

    /// Returns a logout token for a person, or a session at the provider.
    pub(crate) fn logout_token(&self, id: &str, about: &Value) -> String {
        let now = Clock::now(&self.clock).as_secs();
        let mut claims = json!({ "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 60,
            "jti": id, "events": { "http://schemas.openid.net/event/backchannel-logout": {} } });
        merge(&mut claims, about);
        let lies = self.lies.lock().expect("nobody panics with it");
        self.sign(&lies, &json!({ "typ": "logout+jwt" }), &claims)
    }
}

/// Notes a request, and returns what the provider says instead of the truth.
async fn instead(liar: &Liar, path: &'static str, headers: &HeaderMap) -> Option<Response> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let says = {
        let mut lies = liar.lies.lock().expect("nobody panics with it");
        // It is known only when it listens.
        lies.issuer = format!("http://{host}");
        *lies.asked.entry(path.to_owned()).or_default() += 1;
        lies.says.get(path).cloned()
    };
    let says = says?;
    tokio::time::sleep(says.delay).await;
    let status = StatusCode::from_u16(says.status).expect("a status");
    let mut response = (status, [(header::CONTENT_TYPE, says.kind)], says.body).into_response();
    if let Some(location) = says.location {
        let location = location.parse().expect("a location");
        response.headers_mut().insert(header::LOCATION, location);
    }
    Some(response)
}

async fn document(State(liar): State<Liar>, headers: HeaderMap) -> Response {
    if let Some(lie) = instead(&liar, "/document", &headers).await {
        return lie;
    }
    let lies = liar.lies.lock().expect("nobody panics with it");
    let issuer = &lies.issuer;
    let mut document = json!({ "issuer": issuer, "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
        "userinfo_endpoint": format!("{issuer}/me") });
    merge(&mut document, &lies.document);
    Json(document).into_response()
}

async fn keys_of(State(liar): State<Liar>, headers: HeaderMap) -> Response {
    if let Some(lie) = instead(&liar, "/keys", &headers).await {
        return lie;
    }
    let lies = liar.lies.lock().expect("nobody panics with it");
    let keys: Vec<Value> = lies.keys.iter().map(|seed| key(*seed).1).collect();
    Json(json!({ "keys": keys })).into_response()
}

async fn token(State(liar): State<Liar>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(lie) = instead(&liar, "/token", &headers).await {
        return lie;
    }
    let refused =
        |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let form: HashMap<String, String> = serde_urlencoded::from_bytes(&body).expect("a form");
    let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let pair = serde_urlencoded::to_string([(CLIENT, SECRET)]).expect("a pair").replace('=', ":");
    let right = format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
    let posted = form.get("client_secret").map(String::as_str) == Some(SECRET);
    if basic != Some(&*right) && !posted {
        return refused("invalid_client");
    }
    let gate = liar.lies.lock().expect("nobody panics with it").gate.clone();
    if let Some(gate) = gate.filter(|_| form["grant_type"] == "refresh_token") {
        gate.acquire().await.expect("it is not closed").forget();
    }
    let mut lies = liar.lies.lock().expect("nobody panics with it");
    if form["grant_type"] == "refresh_token" {
        if form["refresh_token"] != format!("refresh {}", lies.refreshed) {
            return refused("invalid_grant");
        }
        lies.refreshed += 1;
        let tokens = json!({ "access_token": format!("access-{}", lies.refreshed),
            "token_type": "Bearer", "refresh_token": format!("refresh {}", lies.refreshed),
            "expires_in": 60 });
        return Json(tokens).into_response();
    }
    let Some(waiting) = lies.waiting.remove(&form["code"]) else { return refused("invalid_grant") };
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&form["code_verifier"]));
    if challenge != waiting.challenge || form["redirect_uri"] != waiting.redirect_uri {
        return refused("invalid_grant");
    }
    lies.waiting.insert(format!("used {}", form["code"]), Waiting { ..placeholder() });
    let id_token = liar.id_token(&lies, &waiting);
    let mut tokens = json!({ "access_token": "access-0", "token_type": "Bearer",
        "id_token": id_token, "refresh_token": format!("refresh {}", lies.refreshed),
        "expires_in": 60 });
    merge(&mut tokens, &lies.tokens);
    Json(tokens).into_response()
}

/// So that no code is given twice.
fn placeholder() -> Waiting {
    Waiting {
        nonce: None,
        challenge: String::new(),
        redirect_uri: String::new(),
        client_id: String::new(),
        claims: Value::Null,
    }
}

async fn me(State(liar): State<Liar>, headers: HeaderMap) -> Response {
    if let Some(lie) = instead(&liar, "/me", &headers).await {
        return lie;
    }
    assert!(headers[header::AUTHORIZATION].to_str().expect("ASCII").starts_with("Bearer access-"));
    let lies = liar.lies.lock().expect("nobody panics with it");
    Json(lies.userinfo.clone().unwrap_or_else(|| lies.person.clone())).into_response()
}

async fn user(State(liar): State<Liar>, headers: HeaderMap) -> Response {
    if let Some(lie) = instead(&liar, "/user", &headers).await {
        return lie;
    }
    Json(json!({ "id": 583_231, "login": "octocat", "name": null, "email": "spoofed@example.com" }))
        .into_response()
}

async fn emails(State(liar): State<Liar>, headers: HeaderMap) -> Response {
    if let Some(lie) = instead(&liar, "/emails", &headers).await {
        return lie;
    }
    Json(json!([
        { "email": "old@example.com", "primary": false, "verified": true },
        { "email": "octocat@example.com", "primary": true, "verified": true },
    ]))
    .into_response()
}

/// An instance with this provider, whose pages are at `https://example.com`.
pub(crate) fn with(probe: &Probe, provider: Provider) -> Portcullis {
    probe.rebuilt(|builder| {
        let configure = |config: &mut portcullis::Config| {
            crate::passkey::public(config);
            config.federation.flows = portcullis::rate_limit::Quota::per_minute(10_000);
            // A busy machine is no slow provider.
            config.federation.timeout = Duration::from_secs(60);
        };
        builder.configure(configure).provider(provider)
    })
}

/// Goes to a provider and comes back. Returns the answer of the callback.
pub(crate) async fn sign_in(browser: &mut Browser, liar: &Liar) -> crate::support::browser::Answer {
    let query = go(browser, liar, "").await;
    back(browser, liar, &query).await
}

/// Goes to a provider. Returns the query with which it sends the browser back.
pub(crate) async fn go(browser: &mut Browser, liar: &Liar, query: &str) -> String {
    let answer = browser.get(&format!("/auth/oauth/{}{query}", liar.name)).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let location = answer.headers["location"].to_str().expect("ASCII");
    assert!(location.starts_with(&format!("{}/auth?", liar.issuer)), "{location}");
    liar.agrees(location)
}

pub(crate) async fn back(
    browser: &mut Browser,
    liar: &Liar,
    query: &str,
) -> crate::support::browser::Answer {
    browser.get(&format!("/auth/oauth/{}/callback?{query}", liar.name)).await
}
