//! A provider of OpenID Connect for this example. It believes every name, so it is good for nothing else. Its key and the
//! secret of its only client are made at every start.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The name of its only client.
pub(crate) const CLIENT: &str = "the example";

/// What the client must know about it.
pub(crate) struct Local {
    pub(crate) issuer: String,
    pub(crate) client_secret: String,
}

struct Provider {
    issuer: String,
    client_secret: String,
    redirect_uri: String,
    key: EncodingKey,
    public: Value,
    codes: Mutex<HashMap<String, Code>>,
}

/// A code that was not exchanged yet.
struct Code {
    name: String,
    nonce: String,
    challenge: String,
}

fn random() -> String {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    BASE64URL_NOPAD.encode(&bytes)
}

/// Makes an Ed25519 key, and its public part as a member of a key set.
fn key() -> Result<(EncodingKey, Value), Box<dyn std::error::Error>> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    // The beginning of every such key in PKCS #8.
    let der =
        [&b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..], &seed].concat();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        BASE64.encode(&der)
    );
    // The first use of the crate decides which cryptography it uses.
    let _ = crypto::rust_crypto::DEFAULT_PROVIDER.install_default();
    let key = EncodingKey::from_ed_pem(pem.as_bytes())?;
    let mut public = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::EdDSA)?)?;
    public["kid"] = "one".into();
    public["use"] = "sig".into();
    Ok((key, public))
}

/// Starts the provider on a free port.
pub(crate) async fn start(redirect_uri: &str) -> Result<Local, Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let issuer = format!("http://{}", listener.local_addr()?);
    let client_secret = random();
    let (key, public) = key()?;
    let provider = Arc::new(Provider {
        issuer: issuer.clone(),
        client_secret: client_secret.clone(),
        redirect_uri: redirect_uri.to_owned(),
        key,
        public,
        codes: Mutex::default(),
    });
    let app = Router::new()
        .route("/.well-known/openid-configuration", get(document))
        .route("/keys", get(keys))
        .route("/authorize", get(ask).post(agree))
        .route("/token", post(token))
        .with_state(provider);
    tokio::spawn(async move {
        let served: io::Result<()> = axum::serve(listener, app).await;
        served
    });
    Ok(Local { issuer, client_secret })
}

type Shared = State<Arc<Provider>>;

async fn document(State(provider): Shared) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "authorization_response_iss_parameter_supported": true,
    }))
}

async fn keys(State(provider): Shared) -> Json<Value> {
    Json(json!({ "keys": [provider.public] }))
}

#[derive(Deserialize)]
struct Asked {
    client_id: String,
    redirect_uri: String,
    state: String,
    nonce: String,
    code_challenge: String,
}

/// Asks for a name. A real provider asks for a password.
async fn ask(State(provider): Shared, Query(asked): Query<Asked>) -> Response {
    if asked.client_id != CLIENT || asked.redirect_uri != provider.redirect_uri {
        return (StatusCode::BAD_REQUEST, "this client is not known here\n").into_response();
    }
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if ![&asked.state, &asked.nonce, &asked.code_challenge].into_iter().all(|text| plain(text)) {
        return (StatusCode::BAD_REQUEST, "a parameter is wrong\n").into_response();
    }
    let hidden =
        |name: &str, value: &str| format!("<input type=hidden name={name} value=\"{value}\">");
    Html(format!(
        "<!doctype html><meta charset=utf-8><title>The provider</title><h1>The provider</h1>\
         <form method=post><label>Your name <input name=name required autofocus></label>{}{}{}\
         <button>Sign in</button></form>",
        hidden("state", &asked.state),
        hidden("nonce", &asked.nonce),
        hidden("code_challenge", &asked.code_challenge),
    ))
    .into_response()
}

#[derive(Deserialize)]
struct Agreed {
    name: String,
    state: String,
    nonce: String,
    code_challenge: String,
}

async fn agree(State(provider): Shared, Form(agreed): Form<Agreed>) -> Redirect {
    let Agreed { name, state, nonce, code_challenge: challenge } = agreed;
    let code = random();
    let mut codes = provider.codes.lock().unwrap_or_else(PoisonError::into_inner);
    codes.insert(code.clone(), Code { name, nonce, challenge });
    let issuer = provider.issuer.replace(':', "%3A").replace('/', "%2F");
    Redirect::to(&format!("{}?code={code}&state={state}&iss={issuer}", provider.redirect_uri))
}

#[derive(Deserialize)]
struct Exchange {
    code: String,
    code_verifier: String,
    redirect_uri: String,
}

async fn token(
    State(provider): Shared,
    headers: axum::http::HeaderMap,
    Form(exchange): Form<Exchange>,
) -> Response {
    let refused =
        |error| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let pair = format!("{}:{}", CLIENT.replace(' ', "+"), provider.client_secret);
    let right = format!("Basic {}", BASE64.encode(pair.as_bytes()));
    if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&right) {
        return refused("invalid_client");
    }
    let mut codes = provider.codes.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(code) = codes.remove(&exchange.code) else { return refused("invalid_grant") };
    drop(codes);
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&exchange.code_verifier));
    if challenge != code.challenge || exchange.redirect_uri != provider.redirect_uri {
        return refused("invalid_grant");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let claims = json!({
        "iss": provider.issuer,
        "aud": CLIENT,
        "sub": code.name.to_lowercase(),
        "name": code.name,
        "nonce": code.nonce,
        "iat": now,
        "exp": now + 300,
        // The person has just typed their name.
        "auth_time": now,
    });
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", part(&json!({ "alg": "EdDSA", "kid": "one" })), part(&claims));
    match crypto::sign(message.as_bytes(), &provider.key, Algorithm::EdDSA) {
        Ok(signature) => Json(json!({
            "access_token": random(),
            "token_type": "Bearer",
            "id_token": format!("{message}.{signature}"),
        }))
        .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
