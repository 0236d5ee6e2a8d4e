//! Sessions that are bound to a key of their client (RFC 9449): what a copied token, code or proof is worth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use portcullis::config::DeviceClient;
use portcullis::guard::Caller;
use portcullis::{Account, Config, Factor, Identity, Permission, Portcullis, Requirement, Visitor};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::device_login::Person;
use crate::on_every_database;
use crate::race::parallel;
use crate::support::browser::{Answer, send};
use crate::support::call::cookie_of;
use crate::support::probe::serve;
use crate::support::{Backend, Browser, PASSWORD, Probe};

mod clients;
mod proofs;
mod requests;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const PUBLIC: &str = "https://example.com";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn clients(config: &mut Config) {
    config.service.bearer = true;
    config.service.public_url = Some(PUBLIC.to_owned());
    config.device_login.starts_per_source = None;
    config.device_login.clients = vec![
        DeviceClient::new("tv", "The TV").ceiling(["film:watch"]),
        DeviceClient::new("lock", "The door").ceiling(["film:watch"]).with_confirmation(),
        DeviceClient::new("bound", "The program").ceiling(["film:watch"]).key_bound(),
    ];
}

fn films() -> Requirement {
    Requirement::permission("film:watch").expect("a permission")
}

pub(crate) fn application(auth: &Portcullis) -> Router {
    Router::new()
        .merge(crate::support::probe::app(auth))
        .route("/films", get(async |_: Identity| "films").route_layer(auth.require(films())))
        .route("/", get(async |_: Identity| "home"))
        .route("/caller", get(async |caller: Caller| caller.identity().is_some().to_string()))
        .route("/visit", get(async |who: Visitor| who.session_id().to_string()))
        .nest("/auth", portcullis::device_login::routes(auth))
        .merge(portcullis::device_login::well_known(auth))
        .layer(auth.layer())
}

/// A key pair of a client.
pub(crate) struct ClientKey {
    encoding: EncodingKey,
    algorithm: Algorithm,
    name: &'static str,
    jwk: Value,
}

impl ClientKey {
    pub(crate) fn ed25519(seed: u8) -> Self {
        let start = data_encoding::HEXLOWER.decode(b"302e020100300506032b657004220420");
        let der = [start.expect("hexadecimal"), vec![seed; 32]].concat();
        let encoding = EncodingKey::from_ed_pem(pem(&der).as_bytes()).expect("a key");
        let public = Jwk::from_encoding_key(&encoding, Algorithm::EdDSA).expect("a key");
        let public = serde_json::to_value(public).expect("JSON");
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": public["x"] });
        Self { encoding, algorithm: Algorithm::EdDSA, name: "EdDSA", jwk }
    }

    /// The private key of RFC 7515, appendix A.3.
    pub(crate) fn p256() -> Self {
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url");
        let [d, x, y] = [
            "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        ];
        let hex =
            |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hexadecimal");
        let der = [
            hex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420"),
            decode(d),
            hex("a14403420004"),
            decode(x),
            decode(y),
        ]
        .concat();
        let encoding = EncodingKey::from_ec_pem(pem(&der).as_bytes()).expect("a key");
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        Self { encoding, algorithm: Algorithm::ES256, name: "ES256", jwk }
    }

    /// The thumbprint, in the way of RFC 7638: the members in the order of their names.
    pub(crate) fn thumbprint(&self) -> String {
        let text = self.jwk.as_object().expect("an object");
        let mut members: Vec<_> =
            text.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
        members.sort();
        BASE64URL_NOPAD.encode(&Sha256::digest(format!("{{{}}}", members.join(","))))
    }

    /// Signs a proof after a change of its header and its claims.
    fn sign(&self, claims: &Value, change: impl FnOnce(&mut Value)) -> String {
        let mut header = json!({ "typ": "dpop+jwt", "alg": self.name, "jwk": self.jwk });
        change(&mut header);
        let encode = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let message = format!("{}.{}", encode(&header), encode(claims));
        let signed = crypto::sign(message.as_bytes(), &self.encoding, self.algorithm);
        format!("{message}.{}", signed.expect("it signs"))
    }

    /// A proof for the route of the token, or with a token for another request.
    pub(crate) fn proof(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        nonce: &str,
    ) -> String {
        self.sign(&claims(method, &format!("{PUBLIC}{path}"), token, nonce), |_| {})
    }
}

fn pem(der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

/// The claims of a proof with an id of its own.
fn claims(method: &str, url: &str, token: Option<&str>, nonce: &str) -> Value {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let id = format!("proof {}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut claims = json!({ "jti": id, "htm": method, "htu": url, "iat": 1_790_000_000 });
    if let Some(token) = token {
        claims["ath"] = BASE64URL_NOPAD.encode(&Sha256::digest(token)).into();
    }
    if !nonce.is_empty() {
        claims["nonce"] = nonce.into();
    }
    claims
}

async fn form(device: &Browser, path: &str, body: &str, proof: Option<&str>) -> Answer {
    let request = device.raw(Method::POST, path);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let request = match proof {
        Some(proof) => request.header("dpop", proof),
        None => request,
    };
    send(request.body(body.to_owned())).await
}

/// A refusal as RFC 6749 says, with a nonce.
fn refused(answer: &Answer, error: &str) -> String {
    let body = answer.json();
    assert_eq!((answer.status, body["error"].as_str()), (400, Some(error)), "{}", answer.text);
    nonce_of(answer)
}

pub(crate) fn nonce_of(answer: &Answer) -> String {
    let nonce = answer.headers.get("dpop-nonce").expect("a nonce");
    nonce.to_str().expect("text").to_owned()
}

/// Asks the service for a nonce.
async fn nonce(device: &Browser, key: &ClientKey) -> String {
    let proof = key.proof("POST", "/auth/device", None, "");
    refused(&form(device, "/auth/device", "client_id=tv", Some(&proof)).await, "use_dpop_nonce")
}

async fn start(device: &Browser, body: &str, proof: Option<&str>) -> Value {
    let answer = form(device, "/auth/device", body, proof).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

async fn poll(device: &Browser, client: &str, started: &Value, proof: Option<&str>) -> Answer {
    let code = started["device_code"].as_str().expect("a code");
    let body = format!("grant_type={GRANT}&device_code={code}&client_id={client}");
    form(device, "/auth/device/token", &body, proof).await
}

async fn approve(auth: &Portcullis, account: &Account, started: &Value) {
    approve_by(&Person::of(auth, account).await, started).await;
}

async fn approve_by(person: &Person, started: &Value) {
    let code = started["user_code"].as_str().expect("a code");
    let view = person.view(code).await;
    person.approve_seen(code, &view, None).await.expect("it is approved");
}

/// An account that may watch films.
async fn alice(probe: &Probe) -> Account {
    let account = probe.register("alice").await;
    let film = Permission::parse("film:watch").expect("a permission");
    probe.auth.permissions().grant(account.id(), &film).await.expect("it is granted");
    account
}

/// A device with a session that is bound to its key.
pub(crate) struct Bound {
    pub(crate) device: Browser,
    pub(crate) key: ClientKey,
    pub(crate) nonce: String,
    pub(crate) token: String,
}

impl Bound {
    pub(crate) async fn of(auth: &Portcullis, account: &Account, key: ClientKey) -> Self {
        Self::by(auth, &Person::of(auth, account).await, key).await
    }

    /// The same, approved by this person.
    pub(crate) async fn by(auth: &Portcullis, person: &Person, key: ClientKey) -> Self {
        let device = Browser::new(serve(application(auth)).await);
        let nonce = nonce(&device, &key).await;
        let started = start(&device, "client_id=tv", None).await;
        approve_by(person, &started).await;
        let proof = key.proof("POST", "/auth/device/token", None, &nonce);
        let answer = poll(&device, "tv", &started, Some(&proof)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        Self { device, key, nonce, token }
    }

    pub(crate) fn proof(&self, method: &str, path: &str) -> String {
        self.key.proof(method, path, Some(&self.token), &self.nonce)
    }

    /// A request with the token and these proofs.
    async fn with(&self, method: Method, path: &str, proofs: &[&str]) -> Answer {
        let request = self.device.raw(method, path);
        let mut request = request.header("authorization", format!("DPoP {}", self.token));
        for proof in proofs {
            request = request.header("dpop", *proof);
        }
        send(request).await
    }

    /// A request as the client makes it.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.with(Method::GET, path, &[&self.proof("GET", path)]).await
    }
}

/// A refusal of a request with a bound token.
fn check_refused(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (401, code), "{}", answer.text);
    let challenge = answer.headers["www-authenticate"].to_str().expect("text");
    let expected = format!("DPoP algs=\"ES256 EdDSA Ed25519\", error=\"{code}\"");
    assert_eq!(challenge, expected);
    assert_eq!(answer.headers["cache-control"], "no-store");
}
