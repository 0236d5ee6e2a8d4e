//! How a device proves its key while it signs in.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use portcullis::SystemClock;
use portcullis_test_needs::needs;

use super::*;
use crate::support::needed;

on_every_database! {
    async fn a_code_and_its_token_are_good_only_with_the_key_that_started(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let device = Browser::new(serve(application(&auth)).await);
        for key in [ClientKey::ed25519(1), ClientKey::p256()] {
            let thief = ClientKey::ed25519(2);
            let fresh = nonce(&device, &key).await;
            let by = |key: &ClientKey, path: &str| key.proof("POST", path, None, &fresh);
            let proof = by(&key, "/auth/device");
            let started = start(&device, "client_id=tv", Some(&proof)).await;
            // The proof of the start is used up, and is for another route.
            let again = form(&device, "/auth/device", "client_id=tv", Some(&proof)).await;
            refused(&again, "invalid_dpop_proof");
            for stolen in [None, Some(proof.clone()), Some(by(&thief, "/auth/device/token"))] {
                let answer = poll(&device, "tv", &started, stolen.as_deref()).await;
                refused(&answer, "invalid_dpop_proof");
                // Nor do they take the request back.
                let code = started["device_code"].as_str().expect("a code");
                let body = format!("client_id=tv&device_code={code}");
                let end = by(&thief, "/auth/device/end");
                refused(&form(&device, "/auth/device/end", &body, Some(&end)).await, "invalid_dpop_proof");
                refused(&form(&device, "/auth/device/end", &body, None).await, "invalid_dpop_proof");
            }
            // The polls of the thief do not slow the device down.
            let answer = poll(&device, "tv", &started, Some(&by(&key, "/auth/device/token"))).await;
            assert_eq!(answer.json()["error"], "authorization_pending");
            approve(&auth, &account, &started).await;
            probe.clock.advance(10 * SECOND);
            for stolen in [None, Some(by(&thief, "/auth/device/token"))] {
                refused(&poll(&device, "tv", &started, stolen.as_deref()).await, "invalid_dpop_proof");
                probe.clock.advance(5 * SECOND);
            }
            let proof = by(&key, "/auth/device/token");
            let answer = poll(&device, "tv", &started, Some(&proof)).await;
            let given = answer.json();
            assert_eq!((answer.status, &given["token_type"]), (200, &json!("DPoP")), "{given}");
            let token = given["access_token"].as_str().expect("a token");
            let payload = token.split('.').nth(1).expect("three parts");
            let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).expect("base64url");
            let payload: Value = serde_json::from_slice(&payload).expect("JSON");
            assert_eq!(payload["cnf"], json!({ "jkt": key.thumbprint() }));
            // An answer that was lost is given again, for a new proof of the same key.
            refused(&poll(&device, "tv", &started, Some(&proof)).await, "invalid_dpop_proof");
            for stolen in [None, Some(by(&thief, "/auth/device/token"))] {
                probe.clock.advance(5 * SECOND);
                refused(&poll(&device, "tv", &started, stolen.as_deref()).await, "invalid_dpop_proof");
            }
            probe.clock.advance(5 * SECOND);
            let again = poll(&device, "tv", &started, Some(&by(&key, "/auth/device/token"))).await;
            assert_eq!((again.status, again.json()["token_type"].as_str()), (200, Some("DPoP")));
            let token = again.json()["access_token"].as_str().expect("a token").to_owned();
            let bound = Bound { device: device.stranger(), key, nonce: fresh.clone(), token };
            assert_eq!(bound.get("/films").await.status, 200);
        }
    }

    async fn a_key_can_be_named_first_and_proved_later(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let device = Browser::new(serve(application(&auth)).await);
        let (key, thief) = (ClientKey::ed25519(1), ClientKey::ed25519(2));
        let fresh = nonce(&device, &key).await;
        let named = format!("client_id=tv&dpop_jkt={}", key.thumbprint());
        let started = start(&device, &named, None).await;
        approve(&auth, &account, &started).await;
        for stolen in [None, Some(thief.proof("POST", "/auth/device/token", None, &fresh))] {
            refused(&poll(&device, "tv", &started, stolen.as_deref()).await, "invalid_dpop_proof");
            probe.clock.advance(5 * SECOND);
        }
        let proof = key.proof("POST", "/auth/device/token", None, &fresh);
        let answer = poll(&device, "tv", &started, Some(&proof)).await;
        assert_eq!((answer.status, answer.json()["token_type"].as_str()), (200, Some("DPoP")));
        // What is named and what is proved must be one.
        let other = thief.proof("POST", "/auth/device", None, &fresh);
        refused(&form(&device, "/auth/device", &named, Some(&other)).await, "invalid_dpop_proof");
        for wrong in ["", "x", &key.thumbprint()[1..], &format!("{}=", key.thumbprint())] {
            let body = format!("client_id=tv&dpop_jkt={wrong}");
            let answer = form(&device, "/auth/device", &body, None).await;
            let expected = if wrong.is_empty() { 200 } else { 400 };
            assert_eq!(answer.status, expected, "{wrong}: {}", answer.text);
        }
    }

    async fn a_client_that_needs_a_key_gets_no_token_without_one(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let device = Browser::new(serve(application(&auth)).await);
        let key = ClientKey::p256();
        let started = start(&device, "client_id=bound", None).await;
        approve(&auth, &account, &started).await;
        let fresh = refused(&poll(&device, "bound", &started, None).await, "invalid_dpop_proof");
        probe.clock.advance(5 * SECOND);
        // Without a nonce of the service, an old one, or one that is made up.
        for wrong in ["", "AAAA", &"A".repeat(32)] {
            let proof = key.proof("POST", "/auth/device/token", None, wrong);
            refused(&poll(&device, "bound", &started, Some(&proof)).await, "use_dpop_nonce");
        }
        // What was refused did not count as a poll.
        let proof = key.proof("POST", "/auth/device/token", None, &fresh);
        let answer = poll(&device, "bound", &started, Some(&proof)).await;
        assert_eq!((answer.status, answer.json()["token_type"].as_str()), (200, Some("DPoP")));
    }

    async fn a_copied_poll_uses_up_no_attempt_at_the_digits(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let device = Browser::new(serve(application(&auth)).await);
        let key = ClientKey::ed25519(1);
        let fresh = nonce(&device, &key).await;
        let started = start(&device, "client_id=lock", None).await;
        let person = Person::of(&auth, &account).await;
        let typed = started["user_code"].as_str().expect("a code");
        let view = person.view(typed).await;
        let digits = person.approve_seen(typed, &view, None).await.expect("it is approved");
        let digits = digits.expect("two digits");
        let wrong = if digits == "00" { "01" } else { "00" };
        let code = started["device_code"].as_str().expect("a code");
        let send = async |digits: &str, proof: &str| {
            probe.clock.advance(5 * SECOND);
            let body = format!("grant_type={GRANT}&device_code={code}&client_id=lock&confirmation={digits}");
            form(&device, "/auth/device/token", &body, Some(proof)).await
        };
        let proof = key.proof("POST", "/auth/device/token", None, &fresh);
        assert_eq!(send(wrong, &proof).await.json()["error"], "confirmation_required");
        for _ in 0..3 {
            refused(&send(wrong, &proof).await, "invalid_dpop_proof");
        }
        let proof = key.proof("POST", "/auth/device/token", None, &fresh);
        let answer = send(&digits, &proof).await;
        assert_eq!((answer.status, answer.json()["token_type"].as_str()), (200, Some("DPoP")));
    }

    async fn of_many_polls_with_one_proof_one_gets_the_token(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let device = Browser::new(serve(application(&auth)).await);
        // Each poll goes to a node of its own, because a node tells those that come too soon to wait.
        let mut nodes = Vec::new();
        for _ in 0..16 {
            nodes.push(serve(application(&probe.rebuilt(|builder| builder.configure(clients)))).await);
        }
        let key = ClientKey::ed25519(1);
        let fresh = nonce(&device, &key).await;
        let started = start(&device, "client_id=tv", None).await;
        approve(&auth, &account, &started).await;
        let proof = key.proof("POST", "/auth/device/token", None, &fresh);
        let answers = parallel(16, |at| {
            let device = device.stranger().at(nodes[at]);
            let (started, proof) = (started.clone(), proof.clone());
            async move { poll(&device, "tv", &started, Some(&proof)).await.status }
        })
        .await;
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session WHERE bound_to IS NOT NULL").await, 1);
    }
}

/// Runs openid-client as a device with a key of this algorithm. It makes its own proofs, and follows nonces.
async fn openid_client_with(algorithm: &'static str) {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let service = format!("http://{}", listener.local_addr().expect("an address"));
        // The program waits by the clock on the wall.
        let auth = probe.rebuilt(|builder| {
            builder.clock(SystemClock).configure(|config| {
                clients(config);
                config.device_login.interval = SECOND;
                config.service.public_url = Some(service.clone());
            })
        });
        let account = alice(&probe).await;
        let app = application(&auth);
        tokio::spawn(async move { axum::serve(listener, app).await });
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/openid_client.mjs");
        let folder = needed("PORTCULLIS_TEST_OPENID_CLIENT");
        let mut command = Command::new("node");
        command.args([script, &folder, &service, "bound", "film:watch", algorithm]);
        let mut program = command.stdout(Stdio::piped()).spawn().expect("the program runs");
        let mut lines = BufReader::new(program.stdout.take().expect("its output")).lines();
        let mut next = move || -> Value {
            let line = lines.next().expect("a line").expect("a text");
            serde_json::from_str(&line).expect("JSON")
        };
        let first = tokio::task::spawn_blocking(move || (next(), next)).await;
        let (started, mut next) = first.expect("a line");
        approve(&auth, &account, &started).await;
        let rest = tokio::task::spawn_blocking(move || [next(), next(), next()]).await;
        let [token, films, me] = rest.expect("three lines");
        assert!(program.wait().expect("it ends").success());
        let scheme = token["token_type"].as_str().expect("a text").to_lowercase();
        assert_eq!(scheme, "dpop", "{token}");
        assert_eq!(films, json!({ "status": 200, "text": "films" }));
        assert_eq!(me["status"], 200, "{me}");
        // Its token is worth nothing elsewhere.
        let token = token["access_token"].as_str().expect("a token");
        let device = Browser::new(serve(application(&auth)).await);
        check_refused(
            &send(device.raw(Method::GET, "/films").bearer_auth(token)).await,
            "invalid_token",
        );
    })
    .await;
}

#[needs("PORTCULLIS_TEST_OPENID_CLIENT")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openid_client_binds_its_session_to_a_key_of_p_256() {
    openid_client_with("ES256").await;
}

#[needs("PORTCULLIS_TEST_OPENID_CLIENT")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openid_client_binds_its_session_to_a_key_of_ed25519() {
    openid_client_with("Ed25519").await;
}
