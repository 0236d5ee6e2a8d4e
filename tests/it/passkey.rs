//! Passkeys: how they are added, what they prove, and what an answer of a browser is worth elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use portcullis::config::UserVerification;
use portcullis::{Account, ClientInfo, Config, Factor, MessageKind, Portcullis};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::on_every_database;
use crate::race::parallel;
use crate::sent_code::prove_mailbox;
use crate::support::browser::{Answer, send};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp;

mod bad_input;
mod by_browser;
mod chromium;
mod second_step;

const PUBLIC: &str = "https://example.com";
const NEW_PASSWORD: &str = "another horse battery staple";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn public(config: &mut Config) {
    config.service.public_url = Some(PUBLIC.to_owned());
    config.service.bearer = true;
}

/// An authenticator with one passkey, in software.
#[derive(Clone)]
pub(crate) struct Authenticator {
    key: EncodingKey,
    algorithm: Algorithm,
    cose: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) handle: Vec<u8>,
    rp_id: String,
    pub(crate) origin: String,
    pub(crate) count: u32,
    pub(crate) verifies: bool,
    pub(crate) is_present: bool,
    pub(crate) synced: bool,
}

const P256: [&str; 3] = [
    "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
    "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
];

impl Authenticator {
    fn new(key: EncodingKey, algorithm: Algorithm, cose: Vec<u8>) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Self {
            key,
            algorithm,
            cose,
            id: Sha256::digest(number.to_be_bytes()).to_vec(),
            handle: Vec::new(),
            rp_id: "example.com".to_owned(),
            origin: PUBLIC.to_owned(),
            count: 0,
            verifies: true,
            is_present: true,
            synced: false,
        }
    }

    /// The private key of RFC 7515, appendix A.3.
    pub(crate) fn p256() -> Self {
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url");
        let hex =
            |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hexadecimal");
        let [d, x, y] = P256.map(decode);
        let der = [
            hex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420"),
            d,
            hex("a14403420004"),
            x.clone(),
            y.clone(),
        ]
        .concat();
        let key = EncodingKey::from_ec_pem(pem(&der).as_bytes()).expect("a key");
        let cose = [hex("a5010203262001215820"), x, hex("225820"), y].concat();
        Self::new(key, Algorithm::ES256, cose)
    }

    pub(crate) fn ed25519(seed: u8) -> Self {
        let hex =
            |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hexadecimal");
        let der = [hex("302e020100300506032b657004220420"), vec![seed; 32]].concat();
        let key = EncodingKey::from_ed_pem(pem(&der).as_bytes()).expect("a key");
        let public = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::EdDSA);
        let public = serde_json::to_value(public.expect("a key")).expect("JSON");
        let x = BASE64URL_NOPAD.decode(public["x"].as_str().expect("x").as_bytes());
        let cose = [hex("a4010103272006215820"), x.expect("base64url")].concat();
        Self::new(key, Algorithm::EdDSA, cose)
    }

    fn flags(&self) -> u8 {
        [(self.is_present, 1), (self.verifies, 4), (self.synced, 0b1_1000)]
            .into_iter()
            .fold(0, |flags, (is_set, flag)| if is_set { flags | flag } else { flags })
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let domain = Sha256::digest(self.rp_id.as_bytes());
        [&domain[..], &[flags], &self.count.to_be_bytes()].concat()
    }

    fn client_data(&self, kind: &str, challenge: &str) -> Vec<u8> {
        let data = json!({ "type": kind, "challenge": challenge, "origin": self.origin,
            "crossOrigin": false });
        data.to_string().into_bytes()
    }

    /// Answers the options for a new passkey.
    pub(crate) fn create(&mut self, options: &Value) -> Value {
        assert_eq!(options["rp"]["id"], self.rp_id);
        let handle = options["user"]["id"].as_str().expect("a handle");
        self.handle = BASE64URL_NOPAD.decode(handle.as_bytes()).expect("base64url");
        let length = u16::try_from(self.id.len()).expect("short").to_be_bytes();
        let data = [
            self.data(self.flags() | 0x40),
            vec![7; 16],
            length.to_vec(),
            self.id.clone(),
            self.cose.clone(),
        ]
        .concat();
        let start = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58";
        let size = [u8::try_from(data.len()).expect("short")];
        let object = [&start[..], &size, &data].concat();
        let challenge = options["challenge"].as_str().expect("a challenge");
        let id = base64(&self.id);
        json!({ "id": id, "rawId": id, "type": "public-key", "authenticatorAttachment": "platform",
            "clientExtensionResults": { "credProps": { "rk": true } },
            "response": { "clientDataJSON": base64(&self.client_data("webauthn.create", challenge)),
                "attestationObject": base64(&object), "transports": ["internal"],
                "publicKeyAlgorithm": -7 } })
    }

    /// Answers the options for a signature.
    pub(crate) fn get(&self, options: &Value) -> Value {
        assert_eq!(options["rpId"], self.rp_id);
        self.sign(options["challenge"].as_str().expect("a challenge"))
    }

    fn sign(&self, challenge: &str) -> Value {
        let data = self.data(self.flags());
        let client_data = self.client_data("webauthn.get", challenge);
        let message = [data.as_slice(), &Sha256::digest(&client_data)].concat();
        let signed = crypto::sign(&message, &self.key, self.algorithm).expect("it signs");
        let signed = BASE64URL_NOPAD.decode(signed.as_bytes()).expect("base64url");
        let signature = if self.algorithm == Algorithm::ES256 { der(&signed) } else { signed };
        let id = base64(&self.id);
        json!({ "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
            "response": { "clientDataJSON": base64(&client_data), "authenticatorData": base64(&data),
                "signature": base64(&signature), "userHandle": base64(&self.handle) } })
    }
}

fn base64(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn pem(der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

/// Writes a signature of a JWT as authenticators do.
fn der(raw: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
        let zero = if bytes[start] & 0x80 != 0 { &[0][..] } else { &[] };
        let value = [zero, &bytes[start..]].concat();
        [&[2, u8::try_from(value.len()).expect("short")], value.as_slice()].concat()
    };
    let content = [number(&raw[..32]), number(&raw[32..])].concat();
    [&[0x30, u8::try_from(content.len()).expect("short")], content.as_slice()].concat()
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
    assert!(answer.cookie().is_none(), "{answer:?}");
}

/// Gives an account a passkey, by the methods of the library. The instance has a domain.
pub(crate) async fn added(auth: &Portcullis, account: &Account, by_browser: bool) -> Authenticator {
    let client = ClientInfo::default();
    // As it is now.
    let account = &auth.accounts().find(account.id()).await.expect("it answers").expect("there");
    let owner = totp::owner(auth, account).await;
    let mut authenticator = Authenticator::p256();
    let flow = auth.passkeys();
    let asked = match by_browser {
        true => flow.start_by_browser(&owner).await,
        false => flow.start(&owner).await,
    };
    let credential = authenticator.create(&asked.expect("it begins").options);
    let credential = serde_json::from_value(credential).expect("it is read");
    let name = format!("the phone of {}", account.username().unwrap_or_default());
    let added = flow.add(&owner, &name, &credential, &client).await.expect("it is added");
    assert_eq!(added.issued.is_some(), !by_browser);
    authenticator
}

/// Gives an account a passkey that the browser has made by itself, so that nothing else changes, and begins
/// another one.
pub(crate) async fn fill(probe: &Probe, account: &Account) {
    let auth = probe.rebuilt(|builder| builder.configure(public));
    added(&auth, account, true).await;
    let owner = totp::owner(&auth, account).await;
    let _begun = auth.passkeys().start_by_browser(&owner).await.expect("it begins");
}

/// An account with a proved address, and its browser, which may change factors.
async fn member(probe: &Probe, name: &str) -> (Account, Browser) {
    let account = probe.register_with_email(name, &format!("{name}@example.com")).await;
    probe.auth.accounts().verify(account.id()).await.expect("it is verified");
    let mut browser = probe.browser().await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    prove_mailbox(probe, &mut browser).await;
    (account, browser)
}

pub(crate) async fn options(browser: &mut Browser, path: &str) -> Value {
    let answer = browser.post_empty(path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["options"].clone()
}

/// Adds a passkey. Returns the answer.
pub(crate) async fn add(
    browser: &mut Browser,
    authenticator: &mut Authenticator,
    name: &str,
) -> Answer {
    let options = options(browser, "/auth/passkeys/challenge").await;
    let credential = authenticator.create(&options);
    browser.post("/auth/passkeys", json!({ "name": name, "credential": credential })).await
}

/// An account with a passkey that verifies its user.
pub(crate) async fn person(probe: &Probe, name: &str) -> (Account, Browser, Authenticator) {
    let (account, mut browser) = member(probe, name).await;
    let mut authenticator = Authenticator::p256();
    let answer = add(&mut browser, &mut authenticator, "my phone").await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    (account, browser, authenticator)
}

pub(crate) async fn begin(browser: &mut Browser) -> Value {
    let answer = browser.post("/auth/login/passkey/challenge", json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["options"].clone()
}

async fn finish(browser: &mut Browser, credential: Value) -> Answer {
    browser.post("/auth/login/passkey", json!({ "credential": credential })).await
}

/// Signs in with a passkey.
pub(crate) async fn sign_in(browser: &mut Browser, authenticator: &Authenticator) -> Answer {
    let options = begin(browser).await;
    finish(browser, authenticator.get(&options)).await
}

async fn enrolled(probe: &Probe, account: &Account) -> Vec<Factor> {
    let found = probe.auth.accounts().find(account.id()).await.expect("it answers");
    found.expect("an account").enrolled_factors().iter().collect()
}

/// Gives the account a role that requires a second factor.
async fn require_factor_of(probe: &Probe, account: &Account) {
    let roles = probe.auth.roles();
    roles.create("admin", ["admin:read"]).await.expect("a role");
    roles.require_factor("admin", true).await.expect("it is set");
    roles.grant(account.id(), "admin").await.expect("it is granted");
}

/// Replaces a forgotten password.
async fn reset_by_mail(probe: &Probe, email: &str) {
    let mut browser = probe.browser().await;
    let answer = browser.post("/auth/password/forgot", json!({ "login": email })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let mails = probe.mail().await;
    let mail = mails.iter().rev().find(|mail| mail.kind == MessageKind::PasswordReset);
    let (_, rest) = mail.expect("a mail").text.split_once("#token=").expect("a link");
    let token = rest.split_whitespace().next().expect("a token");
    let body = json!({ "token": token, "password": NEW_PASSWORD });
    let answer = browser.post("/auth/password/reset", body).await;
    assert!(answer.status < 300, "{}", answer.text);
}

async fn passkeys(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_passkey").await
}

async fn challenges(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_passkey_challenge").await
}

on_every_database! {
    async fn a_passkey_signs_in_without_a_name_and_completes_the_sign_in_alone(probe: Probe) {
        let probe = probe.configured(public);
        for (name, mut authenticator) in
            [("alice", Authenticator::p256()), ("bob", Authenticator::ed25519(3))]
        {
            let (account, mut browser) = member(&probe, name).await;
            let mut other = browser.stranger();
            assert_eq!(other.login(name, PASSWORD).await.status, 200);

            let asked = options(&mut browser, "/auth/passkeys/challenge").await;
            assert_eq!(asked["rp"]["id"], "example.com");
            assert_eq!(asked["user"]["name"], format!("{name}@example.com"));
            assert_eq!(asked["attestation"], "none");
            assert_eq!(asked["authenticatorSelection"]["residentKey"], "required");
            assert_eq!(asked["authenticatorSelection"]["userVerification"], "required");
            assert_eq!(asked["excludeCredentials"], json!([]));
            let algorithms: Vec<_> = asked["pubKeyCredParams"].as_array().expect("a list").iter()
                .map(|one| one["alg"].as_i64().expect("a number")).collect();
            assert_eq!(algorithms, [-8, -7, -257]);
            let handle = asked["user"]["id"].as_str().expect("a handle").to_owned();
            assert_eq!(handle.len(), 43, "32 random bytes");
            assert!(!handle.contains(&base64(account.id().as_uuid().as_bytes())));

            let credential = authenticator.create(&asked);
            let body = json!({ "name": " my phone ", "credential": credential });
            let answer = browser.post("/auth/passkeys", body).await;
            assert_eq!(answer.status, 201, "{}", answer.text);
            let added = answer.json();
            assert_eq!(added["result"], "session");
            let signals = &added["signals"];
            let ids = json!([base64(&authenticator.id)]);
            assert_eq!(signals["allAcceptedCredentials"], json!({ "rpId": "example.com",
                "userId": handle, "allAcceptedCredentialIds": ids }));
            let shown = format!("{name}@example.com");
            assert_eq!(signals["currentUserDetails"], json!({ "rpId": "example.com",
                "userId": handle, "name": shown, "displayName": shown }));
            assert_eq!(enrolled(&probe, &account).await, [Factor::Passkey]);
            // All other sessions have ended, and the owner is told.
            assert_eq!(other.get("/me").await.status, 401);
            assert_eq!(browser.get("/me").await.text, account.id().to_string());
            let told = probe.mail().await;
            let told = told.iter().filter(|mail| mail.kind == MessageKind::FactorAdded);
            assert!(told.count() >= 1);

            let mut fresh = browser.stranger();
            authenticator.count += 1;
            let answer = sign_in(&mut fresh, &authenticator).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(answer.json()["result"], "session");
            assert_eq!(answer.json()["account_id"], account.id().to_string());
            assert_eq!(answer.json()["signals"]["allAcceptedCredentials"]["allAcceptedCredentialIds"], ids);
            assert_eq!(fresh.get("/me").await.text, account.id().to_string());
            let shown = fresh.get("/auth/session").await.json();
            assert!(shown["factors"].to_string().contains("\"passkey\""), "{shown}");

            let listed = fresh.get("/auth/passkeys").await.json();
            let one = &listed["passkeys"][0];
            assert_eq!(one["name"], "my phone");
            assert_eq!((&one["second_factor"], &one["synced"]), (&json!(true), &json!(false)));
            assert_eq!(one["aaguid"], "07070707-0707-0707-0707-070707070707");
            assert!(one["last_used_at"].is_string() && listed["passkeys"].as_array().expect("a list").len() == 1);
            assert_eq!(listed["signals"]["allAcceptedCredentials"]["allAcceptedCredentialIds"], ids);
        }
        // Nothing is left of answered challenges.
        assert_eq!(challenges(&probe).await, 0);
    }

    async fn the_first_answer_ends_a_challenge_and_it_belongs_to_its_browser(probe: Probe) {
        let probe = probe.configured(public);
        let (_, browser, authenticator) = person(&probe, "alice").await;
        let mut fresh = browser.stranger();

        // Sent twice.
        let asked = begin(&mut fresh).await;
        let credential = authenticator.get(&asked);
        assert_eq!(finish(&mut fresh, credential.clone()).await.status, 200);
        refused(&finish(&mut fresh.clone(), credential).await, 403, "passkey_challenge_ended");

        // First a wrong answer, then the right one.
        let mut fresh = browser.stranger();
        let asked = begin(&mut fresh).await;
        let right = authenticator.get(&asked);
        let mut wrong = right.clone();
        wrong["response"]["signature"] = base64(b"wrong").into();
        refused(&finish(&mut fresh, wrong).await, 403, "passkey_not_accepted");
        refused(&finish(&mut fresh, right).await, 403, "passkey_challenge_ended");

        // In another browser, and in none: somebody else's sign-in cannot be finished in this one.
        for theirs in [true, false] {
            let mut thief = browser.stranger();
            let asked = begin(&mut thief).await;
            let mut victim = browser.stranger();
            if theirs {
                begin(&mut victim).await;
            }
            let credential = authenticator.get(&asked);
            refused(&finish(&mut victim, credential.clone()).await, 403, "passkey_challenge_ended");
            // It is final for the thief too.
            refused(&finish(&mut thief, credential).await, 403, "passkey_challenge_ended");
        }

        // The token of a cookie counts only in the cookie.
        let mut thief = browser.stranger();
        let asked = begin(&mut thief).await;
        let token = thief.begun.clone().expect("a cookie");
        let body = json!({ "credential": authenticator.get(&asked), "browser_token": token });
        let answer = browser.stranger().post("/auth/login/passkey", body).await;
        refused(&answer, 403, "passkey_challenge_ended");

        // Two tabs of one browser.
        let mut fresh = browser.stranger();
        let (first, second) = (begin(&mut fresh).await, begin(&mut fresh).await);
        assert_eq!(finish(&mut fresh, authenticator.get(&first)).await.status, 200);
        assert_eq!(finish(&mut fresh, authenticator.get(&second)).await.status, 200);

        // Too late, and just in time.
        for (wait, status) in [(5 * MINUTE - SECOND, 200), (5 * MINUTE, 403)] {
            let mut fresh = browser.stranger();
            let asked = begin(&mut fresh).await;
            probe.clock.advance(wait);
            let answer = finish(&mut fresh, authenticator.get(&asked)).await;
            assert_eq!(answer.status, status, "{wait:?}: {}", answer.text);
        }

        // A challenge that nobody asked for.
        let unknown = json!({ "challenge": base64(&[1; 32]), "rpId": "example.com" });
        refused(&finish(&mut fresh, authenticator.get(&unknown)).await, 403, "passkey_challenge_ended");

        // A client without cookies keeps the token itself.
        let fresh = browser.stranger();
        let path = "/auth/login/passkey/challenge";
        let asked = fresh.clone().post(path, json!({ "transport": "bearer" })).await;
        assert!(asked.set_cookies().is_empty());
        let token = asked.json()["browser_token"].clone();
        let body = json!({ "credential": authenticator.get(&asked.json()["options"]),
            "transport": "bearer", "browser_token": token });
        let answer = fresh.clone().post("/auth/login/passkey", body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.json()["token"].is_string());

        // What nobody answers is removed.
        begin(&mut browser.stranger()).await;
        let open = challenges(&probe).await;
        probe.clock.advance(5 * MINUTE + SECOND);
        let report = probe.auth.maintenance().run().await.expect("it runs");
        let removed = i64::try_from(report.passkey_challenges).expect("a few");
        assert_eq!((removed, challenges(&probe).await), (open, 0));
        assert!(open >= 1);
    }

    async fn a_challenge_is_for_one_purpose_and_one_session(probe: Probe) {
        let probe = probe.configured(public);
        let (_, mut alice, authenticator) = person(&probe, "alice").await;
        let (_, mut bob, of_bob) = person(&probe, "bob").await;
        let ended = "passkey_challenge_ended";

        // A challenge of a sign-in adds nothing, and one for a new passkey signs nobody in.
        let asked = begin(&mut alice).await;
        let mut new = Authenticator::ed25519(1);
        let mut forged = json!({ "rp": { "id": "example.com" }, "user": { "id": base64(&[1; 32]) } });
        forged["challenge"] = asked["challenge"].clone();
        let body = json!({ "name": "new", "credential": new.create(&forged) });
        refused(&alice.post("/auth/passkeys", body).await, 403, ended);
        let asked = options(&mut alice, "/auth/passkeys/challenge").await;
        let credential = authenticator.sign(asked["challenge"].as_str().expect("a challenge"));
        refused(&finish(&mut alice, credential.clone()).await, 403, ended);

        // That of another account.
        let asked = options(&mut alice, "/auth/passkeys/challenge").await;
        let body = json!({ "name": "new", "credential": new.create(&asked) });
        refused(&bob.post("/auth/passkeys", body).await, 403, ended);

        // A step-up with the passkey of another account, and with the challenge of another account.
        let step_up = async |browser: &mut Browser, credential: Value| {
            let body = json!({ "method": "passkey", "credential": credential });
            browser.post("/auth/reauthenticate", body).await
        };
        let challenge = async |browser: &mut Browser| {
            let answer = browser.post("/auth/reauthenticate/challenge", json!({ "method": "passkey" })).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            answer.json()["options"].clone()
        };
        let asked = challenge(&mut alice).await;
        assert_eq!(asked["allowCredentials"][0]["id"], base64(&authenticator.id));
        assert_eq!(asked["allowCredentials"][0]["transports"], json!(["internal"]));
        refused(&step_up(&mut alice, of_bob.get(&asked)).await, 403, "wrong_code");
        let asked = challenge(&mut alice).await;
        refused(&step_up(&mut bob, of_bob.get(&asked)).await, 403, "code_ended");
        refused(&step_up(&mut bob, authenticator.get(&asked)).await, 403, "code_ended");
        // Not for a sign-in either.
        let asked = challenge(&mut alice).await;
        let mut fresh = alice.stranger();
        begin(&mut fresh).await;
        refused(&finish(&mut fresh, authenticator.get(&asked)).await, 403, ended);
        let asked = begin(&mut alice).await;
        refused(&step_up(&mut alice, authenticator.get(&asked)).await, 403, "code_ended");

        // One session has challenges for two purposes.
        let asked = options(&mut alice, "/auth/passkeys/challenge").await;
        let credential = authenticator.sign(asked["challenge"].as_str().expect("a challenge"));
        refused(&step_up(&mut alice, credential).await, 403, "code_ended");
        let asked = challenge(&mut alice).await;
        forged["challenge"] = asked["challenge"].clone();
        let body = json!({ "name": "new", "credential": new.create(&forged) });
        refused(&alice.post("/auth/passkeys", body).await, 403, ended);

        // Neighbours that pass.
        let asked = challenge(&mut alice).await;
        assert_eq!(step_up(&mut alice, authenticator.get(&asked)).await.status, 200);
        assert_eq!(sign_in(&mut alice.stranger(), &authenticator).await.status, 200);
        let answer = add(&mut alice, &mut new, "new").await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }

    async fn of_sixteen_equal_answers_one_signs_in(probe: Probe) {
        let probe = probe.configured(public);
        let (_, browser, mut authenticator) = person(&probe, "alice").await;
        let mut fresh = browser.stranger();
        let asked = begin(&mut fresh).await;
        let credential = authenticator.get(&asked);
        let answers = parallel(16, |_| {
            let (mut browser, credential) = (fresh.clone(), credential.clone());
            async move { finish(&mut browser, credential).await.status }
        });
        let answers = answers.await;
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|status| [200, 403].contains(status)), "{answers:?}");

        // Different challenges with one count of the authenticator: its copies, or answers that overtook
        // each other.
        authenticator.count = 7;
        let mut asked = Vec::new();
        for _ in 0..8 {
            let mut browser = browser.stranger();
            let options = begin(&mut browser).await;
            asked.push((browser, authenticator.get(&options)));
        }
        let answers = parallel(8, |at| {
            let (mut browser, credential) = asked[at].clone();
            async move { finish(&mut browser, credential).await.status }
        });
        let answers = answers.await;
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
    }

    async fn what_the_authenticator_and_the_page_say_is_checked(probe: Probe) {
        let probe = probe.configured(public);
        let (account, browser, right) = person(&probe, "alice").await;
        let change = |change: fn(&mut Authenticator)| {
            let mut changed = right.clone();
            change(&mut changed);
            changed
        };
        let detail = async |authenticator: &Authenticator| {
            let mut fresh = browser.stranger();
            let mut asked = begin(&mut fresh).await;
            asked["rpId"] = authenticator.rp_id.clone().into();
            finish(&mut fresh, authenticator.get(&asked)).await
        };
        for (authenticator, text) in [
            (change(|one| one.origin = "https://example.com.evil.example".to_owned()), "origin"),
            (change(|one| one.origin = "https://www.example.com".to_owned()), "origin"),
            (change(|one| one.origin = "http://example.com".to_owned()), "origin"),
            (change(|one| one.rp_id = "evil.example".to_owned()), "another domain"),
            (change(|one| one.is_present = false), "anybody"),
            (change(|one| one.verifies = false), "verify its user"),
        ] {
            let answer = detail(&authenticator).await;
            refused(&answer, 403, "passkey_not_accepted");
            assert!(answer.text.contains(text), "{text}: {}", answer.text);
        }
        // Neither a wrong origin nor another service may say that a passkey is unknown: the page would delete it.
        let unknown = change(|one| one.id = vec![1; 16]);
        refused(&detail(&unknown).await, 403, "unknown_credential");
        let mut elsewhere = unknown.clone();
        elsewhere.origin = "https://staging.example.com".to_owned();
        refused(&detail(&elsewhere).await, 403, "passkey_not_accepted");
        // The passkey of another service with the same domain.
        let mut foreign = unknown.clone();
        foreign.handle = vec![9; 32];
        refused(&detail(&foreign).await, 403, "passkey_not_accepted");
        // The handle of another user, and none.
        for handle in [vec![1; 32], Vec::new()] {
            let mut other = right.clone();
            other.handle = handle;
            refused(&detail(&other).await, 403, "passkey_not_accepted");
        }
        // A disabled account.
        probe.auth.accounts().disable(account.id()).await.expect("it is disabled");
        refused(&detail(&right).await, 403, "passkey_cannot_sign_in");
        probe.auth.accounts().enable(account.id()).await.expect("it is enabled");
        assert_eq!(detail(&right).await.status, 200);
    }

    async fn a_copied_authenticator_is_noticed_by_its_count(probe: Probe) {
        let probe = probe.configured(public);
        let (_, browser, mut bound) = person(&probe, "alice").await;
        let signs_in = async |authenticator: &Authenticator| {
            sign_in(&mut browser.stranger(), authenticator).await
        };
        // Zero means that it does not count.
        assert_eq!(signs_in(&bound).await.status, 200);
        assert_eq!(signs_in(&bound).await.status, 200);
        bound.count = 5;
        assert_eq!(signs_in(&bound).await.status, 200);
        for count in [5, 4, 0] {
            bound.count = count;
            refused(&signs_in(&bound).await, 403, "passkey_copied");
        }
        bound.count = 6;
        assert_eq!(signs_in(&bound).await.status, 200);
        bound.count = u32::MAX;
        assert_eq!(signs_in(&bound).await.status, 200);

        // One that can be synchronised may be moved, and then counts anew. It cannot become one that cannot.
        let mut synced = bound.clone();
        synced.synced = true;
        synced.count = 3;
        let answer = signs_in(&synced).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        synced.count = 1;
        assert_eq!(signs_in(&synced).await.status, 200);
        synced.synced = false;
        synced.count = 9;
        refused(&signs_in(&synced).await, 403, "passkey_not_accepted");
        let told = "SELECT COUNT(*) FROM auth_event WHERE detail = 'passkey counts anew'";
        assert_eq!(probe.number(told).await, 2);
    }

    async fn passkeys_are_named_and_removed_by_their_owner(probe: Probe) {
        let probe = probe.configured(public);
        let (account, mut alice, first) = person(&probe, "alice").await;
        let (_, mut bob, _) = person(&probe, "bob").await;
        let mut second = Authenticator::ed25519(2);
        probe.clock.advance(SECOND);
        assert_eq!(add(&mut alice, &mut second, "key").await.status, 201);
        // The same one again: the browser is told not to, and the server does not accept it.
        let asked = options(&mut alice, "/auth/passkeys/challenge").await;
        let excluded: Vec<_> = asked["excludeCredentials"].as_array().expect("a list").iter()
            .map(|one| one["id"].clone()).collect();
        assert_eq!(excluded, [base64(&first.id), base64(&second.id)]);
        refused(&add(&mut alice, &mut second.clone(), "again").await, 409, "passkey_already_added");
        // Nor for another account.
        refused(&add(&mut bob, &mut second.clone(), "stolen").await, 409, "passkey_already_added");

        let listed = alice.get("/auth/passkeys").await.json();
        let id = |at: usize| listed["passkeys"][at]["id"].as_str().expect("an id").to_owned();
        let (of_first, of_second) = (id(0), id(1));
        let rename = async |browser: &mut Browser, id: &str, name: &str| {
            let path = format!("/auth/passkeys/{id}/name");
            let request = browser.request(Method::PUT, &path).json(&json!({ "name": name }));
            browser.send(request).await
        };
        assert_eq!(rename(&mut alice, &of_second, "my key").await.status, 204);
        refused(&rename(&mut bob, &of_second, "mine").await, 404, "passkey_not_found");
        refused(&rename(&mut alice, "1", "x").await, 404, "passkey_not_found");
        assert_eq!(rename(&mut alice, &of_second, "").await.field_codes("name"), ["required"]);
        let path = format!("/auth/passkeys/{of_second}/name");
        assert_eq!(alice.post(&path, json!({ "name": "green key" })).await.status, 204);
        assert_eq!(alice.get("/auth/passkeys").await.json()["passkeys"][1]["name"], "green key");

        refused(&bob.delete(&format!("/auth/passkeys/{of_first}")).await, 404, "passkey_not_found");
        let mut other = alice.stranger();
        assert_eq!(sign_in(&mut other, &first).await.status, 200);
        let answer = alice.delete(&format!("/auth/passkeys/{of_first}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let left = &answer.json()["signals"]["allAcceptedCredentials"]["allAcceptedCredentialIds"];
        assert_eq!(*left, json!([base64(&second.id)]));
        assert_eq!(other.get("/me").await.status, 401, "all other sessions end");
        refused(&sign_in(&mut alice.stranger(), &first).await, 403, "unknown_credential");
        assert_eq!(enrolled(&probe, &account).await, [Factor::Passkey]);

        // A second factor must be recent. The password is none.
        probe.clock.advance(6 * MINUTE);
        let path = format!("/auth/passkeys/{of_second}/remove");
        let answer = alice.post_empty(&path).await;
        refused(&answer, 401, "insufficient_user_authentication");
        assert_eq!(answer.json()["factors"], json!(["passkey"]));
        refused(&alice.post_empty("/auth/passkeys/challenge").await, 401, "insufficient_user_authentication");
        let mut fresh = alice.stranger();
        assert_eq!(sign_in(&mut fresh, &second).await.status, 200);
        assert_eq!(fresh.post_empty(&path).await.status, 200);
        assert_eq!(enrolled(&probe, &account).await, []);
        assert_eq!(passkeys(&probe).await, 1, "that of Bob");
        // The password alone signs in again.
        assert_eq!(alice.stranger().login("alice", PASSWORD).await.json()["result"], "session");
    }

    async fn the_last_way_in_and_a_required_factor_cannot_be_removed(probe: Probe) {
        use portcullis::account::NewAccount;

        let probe = probe.configured(|config| {
            public(config);
            config.passkey.max_per_account = 2;
        });
        // An account without a password and without a mailbox.
        let account = probe.auth.accounts().create(NewAccount::username("alice")).await.expect("made");
        let client = ClientInfo::default();
        let start = probe.auth.sessions().start(&account, &client).factor(Factor::Password);
        let mut browser = probe.browser().await;
        let cookie = crate::support::call::cookie_of(&start.await.expect("a session"));
        browser.cookie = cookie.split_once('=').map(|(_, value)| value.to_owned());
        let (mut first, mut second) = (Authenticator::p256(), Authenticator::ed25519(5));
        assert_eq!(add(&mut browser, &mut first, "one").await.status, 201);
        let id = |answer: &Value, at: usize| answer["passkeys"][at]["id"].as_str().expect("an id").to_owned();
        let listed = browser.get("/auth/passkeys").await.json();
        let path = format!("/auth/passkeys/{}", id(&listed, 0));
        refused(&browser.delete(&path).await, 409, "last_way_in");
        assert_eq!(add(&mut browser, &mut second, "two").await.status, 201);
        refused(&browser.post_empty("/auth/passkeys/challenge").await, 409, "too_many_passkeys");
        assert_eq!(browser.delete(&path).await.status, 200);

        // A role that requires a factor.
        let (carol, mut browser, mut authenticator) = person(&probe, "carol").await;
        require_factor_of(&probe, &carol).await;
        let listed = browser.get("/auth/passkeys").await.json();
        let path = format!("/auth/passkeys/{}", id(&listed, 0));
        refused(&browser.delete(&path).await, 409, "factor_required");
        authenticator.count = 1;
        assert_eq!(sign_in(&mut browser.stranger(), &authenticator).await.json()["result"], "session");
    }

    async fn a_sign_in_that_must_set_up_a_factor_does_so_with_a_passkey(probe: Probe) {
        let probe = probe.configured(public);
        let (account, browser) = member(&probe, "alice").await;
        require_factor_of(&probe, &account).await;
        let mut browser = browser.stranger();
        let answer = browser.login("alice", PASSWORD).await;
        assert_eq!(answer.json()["result"], "enrolment_required", "{}", answer.text);
        prove_mailbox(&probe, &mut browser).await;
        let mut authenticator = Authenticator::p256();
        let answer = add(&mut browser, &mut authenticator, "my phone").await;
        assert_eq!((answer.status, &answer.json()["result"]), (201, &json!("session")));
        assert_eq!(browser.get("/me").await.text, account.id().to_string());
    }

    async fn who_proves_the_mailbox_gets_the_account_without_the_passkeys_of_others(probe: Probe) {
        let probe = probe.configured(public);
        probe.register_with_email("thief", "victim@example.com").await;
        let mut thief = probe.browser().await;
        assert_eq!(thief.login("thief", PASSWORD).await.status, 200);
        let start = "/auth/passkeys/challenge";
        refused(&thief.post_empty(start).await, 403, "address_not_proved");
        let by_browser = "/auth/passkeys/challenge/conditional";
        refused(&thief.post_empty(by_browser).await, 403, "address_not_proved");
        // Should there be some nevertheless, as a second factor and made by the browser.
        let (_, mut other, authenticator) = person(&probe, "other").await;
        assert_eq!(add(&mut other, &mut Authenticator::ed25519(1), "more").await.status, 201);
        let of_other = base64(&authenticator.id);
        assert_eq!(of_other.len(), 43);
        let thief = "SELECT id FROM auth_account WHERE username = 'thief'";
        probe.execute(&format!("UPDATE auth_passkey SET account_id = ({thief})")).await;
        probe.execute("UPDATE auth_passkey SET is_factor = FALSE WHERE name = 'more'").await;
        probe.execute("UPDATE auth_account SET enrolled_factors = 32, version = version + 1 WHERE username = 'thief'").await;
        assert_eq!(passkeys(&probe).await, 2);
        reset_by_mail(&probe, "victim@example.com").await;
        assert_eq!(passkeys(&probe).await, 0);
    }

    async fn a_page_begins_a_bounded_number_of_sign_ins(probe: Probe) {
        let probe = probe.configured(|config| {
            public(config);
            config.passkey.challenges = portcullis::rate_limit::Quota::per_minute(3);
        });
        let (_, mut alice, _) = person(&probe, "alice").await;
        let mut fresh = alice.stranger();
        for _ in 0..3 {
            begin(&mut fresh).await;
        }
        let answer = fresh.post("/auth/login/passkey/challenge", json!({})).await;
        refused(&answer, 429, "rate_limited");
        assert!(answer.headers.contains_key("retry-after"));
        assert_eq!(challenges(&probe).await, 3);
        // Those of a session count for the account.
        let path = "/auth/reauthenticate/challenge";
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(alice.post(path, json!({ "method": "passkey" })).await.status);
        }
        assert_eq!(statuses, [202, 202, 202, 429], "her device is known");
        // A stranger who knows the password has a count of their own.
        let mut stranger = alice.stranger();
        assert_eq!(stranger.login("alice", PASSWORD).await.status, 200);
        let path = "/auth/second-factor/challenge";
        assert_eq!(stranger.post(path, json!({ "method": "passkey" })).await.status, 202);
    }
}
