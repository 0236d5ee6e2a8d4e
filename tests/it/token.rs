//! Tokens over HTTP. A forged, oversized or invalid token costs no statement, and its answer
//! reveals nothing.
//!
//! The tests of claims and headers are next to `base::jwt`, where the keys are.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use portcullis::{Secret, SigningKey};
use reqwest::Method;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::on_every_database;
use crate::support::browser::{Answer, COOKIE, DEVICE};
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn base64(bytes: impl AsRef<[u8]>) -> String {
    data_encoding::BASE64URL_NOPAD.encode(bytes.as_ref())
}

/// Returns the header and the payload of a token.
fn read(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| {
        let bytes = data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url");
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    });
    (parts.next().expect("a header"), parts.next().expect("a payload"))
}

fn cookie(browser: &Browser) -> String {
    browser.cookie.clone().expect("a cookie")
}

fn check_refused(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (401, code), "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert!(answer.headers.contains_key("www-authenticate"));
    assert!(answer.set_cookies().is_empty(), "a 401 touched the cookie: {answer:?}");
}

/// Returns tokens that an attacker without the key can make from a valid one.
fn forgeries(good: &str, other: &str) -> Vec<String> {
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let others: Vec<&str> = other.split('.').collect();
    let none = |alg: &str| base64(format!(r#"{{"alg":"{alg}","typ":"sess+jwt"}}"#));
    let (head, body) = read(good);
    let mut admin = body.clone();
    admin["gen"] = json!(1);
    let with = |name: &str, value: &Value| {
        let mut head = head.clone();
        head[name] = value.clone();
        base64(head.to_string())
    };
    vec![
        String::new(),
        "x".to_owned(),
        "..".to_owned(),
        "....".to_owned(),
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{}", "A".repeat(43)),
        format!("{header}.{payload}.{}", others[2]),
        format!("{header}.{}.{signature}", others[1]),
        format!("{header}.{}.{signature}", base64(admin.to_string())),
        format!("{}.{payload}.{signature}", none("HS256")),
        format!("{}.{payload}.", none("none")),
        format!("{}.{payload}.{signature}", none("None")),
        format!("{}.{payload}.", none("nOnE")),
        format!("{}.{payload}.{signature}", with("kid", &json!("../../dev/null"))),
        format!("{}.{payload}.{signature}", with("kid", &json!("' OR '1'='1"))),
        format!("{}.{payload}.{signature}", with("kid", &json!("\0"))),
        format!("{}.{payload}.{signature}", with("kid", &json!("k".repeat(2000)))),
        format!("{}.{payload}.{signature}", with("jku", &json!("http://127.0.0.1:1/"))),
        format!("{}.{payload}.{signature}", with("typ", &json!("mfa+jwt"))),
        format!("{}.{payload}.{signature}", with("typ", &json!("anon+jwt"))),
        format!("{good}="),
        format!("{good}.AAAA.AAAA"),
        format!("\"{good}\""),
        good.to_uppercase(),
        format!("{good}{}", "A".repeat(4096)),
        "A".repeat(8 * 1024),
        ".".repeat(8 * 1024),
    ]
}

on_every_database! {
    async fn a_forged_or_oversized_token_costs_no_statement_and_tells_nothing(probe: Probe) {
        let (_, mut alice) = probe.signed_in("alice").await;
        let (_, bob) = probe.signed_in("bob").await;
        let elsewhere = probe.rebuilt(|builder| {
            builder.configure(|config| config.keys.secrets = vec![Secret::generate()])
        });
        let mut other = alice.at(serve(app(&elsewhere)).await);
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        let neighbour = probe.rebuilt(|builder| {
            builder.configure(|config| config.service.issuer = Some("https://other.test".into()))
        });
        let mut next_door = alice.stranger().at(serve(app(&neighbour)).await);
        assert_eq!(next_door.login("alice", PASSWORD).await.status, 200);
        let mut tokens = forgeries(&cookie(&alice), &cookie(&bob));
        tokens.extend([cookie(&other), cookie(&next_door)]);
        let mut answers = BTreeSet::new();
        for token in tokens {
            let mut thief = alice.with_cookie(&token);
            for path in ["/me", "/signed-in", "/pending", "/anonymous", "/auth/session"] {
                let (answer, statements) = probe.statements(thief.get(path)).await;
                check_refused(&answer, "invalid_token");
                assert_eq!(statements, 0, "{token}");
                answers.insert(answer.text);
            }
            let refresh = thief.post_empty("/auth/session/refresh");
            let (answer, statements) = probe.statements(refresh).await;
            check_refused(&answer, "invalid_token");
            assert_eq!(statements, 0, "{token}");
            answers.insert(answer.text);
            let (answer, statements) = probe.statements(thief.get("/maybe")).await;
            assert_eq!((answer.text.as_str(), statements), ("nobody", 0));
        }
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(alice.get("/me").await.status, 200);
    }

    async fn a_forged_bearer_token_costs_no_statement_either(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        let (_, mut alice) = probe.signed_in("alice").await;
        let good = cookie(&alice);
        let header = good.split('.').next().expect("a header");
        for token in [
            format!("{header}."),
            format!("{header}.."),
            format!("{header}.AAAA.AAAA"),
            format!("{header}.{}", "A".repeat(8 * 1024)),
            format!("{good}A"),
            format!("{good} {good}"),
        ] {
            let request = alice.raw(Method::GET, "/me").header("authorization", format!("Bearer {token}"));
            let (answer, statements) = probe.statements(alice.stranger().send(request)).await;
            check_refused(&answer, "invalid_token");
            assert_eq!(statements, 0);
        }
        // The token makes the session, and not the header.
        let request = alice.raw(Method::GET, "/me").header("authorization", format!("Bearer {good}"));
        assert_eq!(alice.stranger().send(request).await.status, 200);
        assert_eq!(alice.get("/me").await.status, 200);
    }

    async fn a_token_too_old_to_be_renewed_costs_no_statement(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        probe.clock.advance(7 * DAY);
        for path in ["/me", "/auth/session"] {
            let (answer, statements) = probe.statements(browser.get(path)).await;
            check_refused(&answer, "token_expired");
            assert_eq!(statements, 0);
        }
    }

    async fn a_good_signature_is_nothing_without_its_row(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        assert_eq!(browser.get("/me").await.status, 200);
        probe.execute("DELETE FROM auth_session").await;
        let (answer, statements) = probe.statements(browser.get("/me")).await;
        check_refused(&answer, "invalid_token");
        assert_eq!(statements, 1);
        check_refused(&browser.post_empty("/auth/session/refresh").await, "invalid_token");
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
    }

    async fn a_token_of_one_purpose_finds_no_row_of_another(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        assert_eq!(browser.get("/me").await.status, 200);
        for stage in 1..=5 {
            probe.execute(&format!("UPDATE auth_session SET version = version + 1, stage = {stage}")).await;
            for path in ["/me", "/pending", "/must-change", "/anonymous"] {
                let answer = browser.get(path).await;
                if stage < 5 {
                    check_refused(&answer, "invalid_token");
                } else {
                    // This version does not know the stage, which belongs to a later version.
                    assert_eq!(answer.status, 503, "{path}: {answer:?}");
                    assert!(answer.set_cookies().is_empty());
                }
            }
        }
        probe.execute("UPDATE auth_session SET version = version + 1, stage = 0").await;
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn the_token_of_a_known_device_is_no_session_and_costs_no_statement(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        let (_, mut alice) = probe.signed_in("alice").await;
        let device = alice.device.clone().expect("a device");
        assert_eq!(read(&device).0["typ"], "dev+jwt");
        let mut thief = alice.with_cookie(&device);
        for path in ["/me", "/signed-in", "/pending", "/must-change", "/anonymous", "/auth/session"] {
            let (answer, statements) = probe.statements(thief.get(path)).await;
            check_refused(&answer, "invalid_token");
            assert_eq!(statements, 0, "{path}");
            let request = alice.raw(Method::GET, path).header("authorization", format!("Bearer {device}"));
            let (answer, statements) = probe.statements(alice.stranger().send(request)).await;
            check_refused(&answer, "invalid_token");
            assert_eq!(statements, 0, "{path}");
        }
        let (answer, statements) = probe.statements(thief.post_empty("/auth/logout")).await;
        assert_eq!((answer.status, statements), (204, 0));
        assert_eq!(alice.get("/me").await.status, 200);
    }

    async fn no_token_says_who_a_person_is_or_what_they_may_do(probe: Probe) {
        let account = probe.register("alice-in-wonderland").await;
        let roles = probe.auth.roles();
        roles.create("queen-of-hearts", ["heads:off"]).await.expect("a role");
        roles.grant(account.id(), "queen-of-hearts").await.expect("it is granted");
        let mut browser = probe.browser().await;
        let mut tokens = Vec::new();
        let mut devices = Vec::new();
        let mut keep = |answer: Answer| {
            assert!(answer.status < 300, "{}", answer.text);
            devices.extend(answer.cookie_of(DEVICE));
            tokens.push(answer.cookie().expect("a cookie"));
        };
        keep(browser.post_empty("/auth/session/anonymous").await);
        keep(browser.login("alice-in-wonderland", PASSWORD).await);
        keep(browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await);
        probe.clock.advance(20 * MINUTE);
        keep(browser.get("/me").await);
        probe.clock.advance(20 * MINUTE);
        keep(browser.post_empty("/auth/session/refresh").await);
        let new = json!({ "current_password": PASSWORD, "new_password": "another horse battery staple" });
        keep(browser.put("/auth/password", new).await);
        let mail = json!({ "email": "rabbit@example.com", "password": PASSWORD });
        keep(browser.stranger().post("/auth/register", mail).await);
        let accounts = probe.auth.accounts();
        accounts.set_enrolled_factors(account.id(), [portcullis::Factor::Totp]).await.expect("enrolled");
        let body = json!({ "login": "alice-in-wonderland", "password": "another horse battery staple" });
        keep(browser.stranger().post("/auth/login", body).await);
        let session = browser.get("/session-id").await.text;
        assert!(devices.len() > 2);
        for (number, token) in tokens.iter().chain(&devices).enumerate() {
            let (header, payload) = read(token);
            let names = |value: &Value| value.as_object().expect("members").keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&header), ["alg", "kid", "typ"]);
            if number < tokens.len() {
                assert_eq!(names(&payload), ["aud", "exp", "gen", "iat", "iss", "sid"]);
                assert_eq!(payload["sid"].as_str().map(str::len), Some(22));
            } else {
                assert_eq!(names(&payload), ["acc", "aud", "exp", "iss"]);
                // One account takes 32 bytes.
                assert_eq!(payload["acc"].as_str().map(str::len), Some(43));
            }
            let text = format!("{header}{payload}");
            for personal in ["alice", "rabbit", "queen", "heads", "127.0.0.1", &session, &account.id().to_string()] {
                assert!(!text.contains(personal), "{text}");
            }
        }
        let sids: BTreeSet<_> = tokens.iter().map(|token| read(token).1["sid"].to_string()).collect();
        assert_eq!(sids.len(), tokens.len() - 2, "only a rotation keeps its sid");
    }

    async fn sessions_move_to_a_new_algorithm_as_they_rotate(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let (_, idle) = probe.signed_in("bob").await;
        let key = SigningKey::ed25519_pem(ed25519());
        let both = probe.rebuilt(|builder| {
            builder.configure(|config| config.keys.signing.insert(0, key.clone()))
        });
        let only_new = probe.rebuilt(|builder| {
            builder.configure(|config| config.keys.signing = vec![key.clone()])
        });
        let mut browser = browser.at(serve(app(&both)).await);
        assert_eq!(read(&cookie(&browser)).0["alg"], "HS256");
        probe.clock.advance(15 * MINUTE);
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(read(&cookie(&browser)).0["alg"], "EdDSA");
        let later = serve(app(&only_new)).await;
        assert_eq!(browser.at(later).get("/me").await.status, 200);
        assert_eq!(browser.get("/me").await.status, 200);
        check_refused(&idle.at(later).get("/me").await, "invalid_token");
        let forged = forgeries(&cookie(&browser), &cookie(&idle));
        for token in forged {
            let (answer, statements) = probe.statements(browser.with_cookie(&token).get("/me")).await;
            check_refused(&answer, "invalid_token");
            assert_eq!(statements, 0);
        }
    }
}

/// One database is enough, because no statement runs.
#[tokio::test]
async fn thousands_of_forged_tokens_and_a_megabyte_cost_no_statement() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let (_, browser) = probe.signed_in("alice").await;
        let good = cookie(&browser);
        let (message, _) = good.rsplit_once('.').expect("three parts");
        let app = app(&probe.auth);
        let ask = async |cookie: String| {
            let request = Request::get("/me").header("cookie", cookie);
            let request = request.body(Body::empty()).expect("a request");
            let response = app.clone().oneshot(request).await.expect("an answer");
            assert!(!response.headers().contains_key("set-cookie"));
            response.status().as_u16()
        };
        let work = async {
            for number in 0..2000_u32 {
                let signature = base64([number.to_be_bytes(); 8].concat());
                let status = ask(format!("{COOKIE}={message}.{signature}")).await;
                assert_eq!(status, 401);
            }
            let megabyte = 1024 * 1024;
            for large in [
                format!("{COOKIE}={}", "A".repeat(megabyte)),
                format!("{COOKIE}={good}{}", "A".repeat(megabyte)),
                format!("{COOKIE}={}", ".".repeat(megabyte)),
            ] {
                assert_eq!(ask(large).await, 401);
            }
            // A large cookie next to it has no effect either.
            let many = format!("{}{COOKIE}=x", "a=b; ".repeat(megabyte / 5));
            assert_eq!(ask(many).await, 401);
        };
        assert_eq!(probe.statements(work).await.1, 0);
        assert_eq!(ask(format!("{}{COOKIE}={good}", "a=b; ".repeat(10_000))).await, 200);
    })
    .await;
}

/// Returns an Ed25519 key in PKCS #8: a fixed start and 32 bytes.
fn ed25519() -> String {
    let start = "302e020100300506032b657004220420";
    let mut der = data_encoding::HEXLOWER.decode(start.as_bytes()).expect("hexadecimal");
    der.extend([9; 32]);
    let text = data_encoding::BASE64.encode(&der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}
