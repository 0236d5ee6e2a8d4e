//! Device logins over HTTP: what programs of others send and read, and the routes of the page.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::routing::post;
use portcullis::action_proof::VerifiedProof;
use portcullis::{ClientInfo, Fault, Portcullis, Rejection, SessionId, SystemClock};
use portcullis_test_needs::needs;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Person, SECOND, alice, clients};
use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::probe::serve;
use crate::support::{Backend, Browser, PASSWORD, Probe, needed, until};
use crate::totp::check;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn application(auth: &Portcullis) -> Router {
    Router::new()
        .route("/devices/{id}/log-out", post(log_out))
        .route_layer(auth.require_action_proof("logout").on_path("id"))
        .merge(crate::support::probe::app(auth))
        .nest("/auth", portcullis::device_login::routes(auth))
        .nest("/proofs", portcullis::action_proof::routes(auth, ["logout"]))
        .merge(portcullis::device_login::well_known(auth))
        .layer(auth.layer())
}

/// Ends a session by the consent to exactly that, as the guide shows.
async fn log_out(
    auth: Portcullis,
    client: ClientInfo,
    proof: VerifiedProof,
    axum::extract::Path(id): axum::extract::Path<SessionId>,
) -> Result<StatusCode, Rejection> {
    let txn = auth.begin().await?;
    let account = proof.account().id();
    let _spent = proof.spend_within(&txn, &client).await?;
    auth.sessions().within(&txn).end_one(account, id).await?;
    txn.commit().await.map_err(Fault::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a form as a program does: without cookies and without an origin.
async fn form(browser: &Browser, path: &str, body: &str) -> Answer {
    let request = browser.raw(Method::POST, path);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    send(request.body(body.to_owned())).await
}

async fn start(browser: &Browser, body: &str) -> Value {
    let answer = form(browser, "/auth/device", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

async fn poll(browser: &Browser, started: &Value) -> Answer {
    let code = started["device_code"].as_str().expect("a code");
    form(
        browser,
        "/auth/device/token",
        &format!("grant_type={GRANT}&device_code={code}&client_id=tv"),
    )
    .await
}

/// A refusal as RFC 6749 says, and nothing else.
fn refused(answer: &Answer, status: u16, error: &str) {
    let body = answer.json();
    assert_eq!((answer.status, body["error"].as_str()), (status, Some(error)), "{}", answer.text);
    let members: Vec<_> = body.as_object().expect("an object").keys().collect();
    assert!(
        members.iter().all(|name| ["error", "error_description"].contains(&name.as_str())),
        "{members:?}"
    );
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert!(answer.set_cookies().is_empty());
}

async fn signed_in(probe: &Probe) -> (Browser, Browser) {
    alice(probe).await;
    let mut person = Browser::new(serve(application(&probe.auth)).await);
    assert_eq!(person.login("alice", PASSWORD).await.status, 200);
    let device = person.stranger();
    (person, device)
}

fn path(started: &Value, action: &str) -> String {
    format!("/auth/device/{}{action}", started["user_code"].as_str().expect("a code"))
}

async fn view(person: &mut Browser, started: &Value) -> Value {
    let answer = person.get(&path(started, "")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    json!({ "view": answer.json()["view"] })
}

on_every_database! {
    async fn a_program_and_a_page_sign_in_a_device(probe: Probe) {
        let probe = probe.configured(clients);
        let (mut person, device) = signed_in(&probe).await;
        let request = device.raw(Method::POST, "/auth/device").header("user-agent", "TV/1.0");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let body = "client_id=tv&scope=film%3Awatch+doc%3Aread&device_name=TV+%22x%22&unknown=1";
        let answer = send(request.body(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(answer.set_cookies().is_empty(), "no cookie");
        let started = answer.json();
        assert_eq!((&started["expires_in"], &started["interval"]), (&json!(600), &json!(5)));
        assert_eq!(started.get("confirmation"), None);
        refused(&poll(&device, &started).await, 400, "authorization_pending");
        refused(&poll(&device, &started).await, 400, "slow_down");
        let shown = person.get(&path(&started, "")).await.json();
        assert_eq!((&shown["state"], &shown["client"]), (&json!("pending"), &json!("The TV")));
        assert_eq!(shown["claimed"], json!({ "name": "TV \"x\"", "message": null }));
        assert_eq!(shown["permissions"], json!(["film:watch", "doc:read"]));
        assert_eq!(shown["phrase"], started["phrase"]);
        assert_eq!((&shown["address"], &shown["user_agent"]), (&json!("127.0.0.1"), &json!("TV/1.0")));
        let time = |member: &str| shown[member].as_str().expect("a time").to_owned();
        assert_eq!(time("created_at"), json!(probe.auth_now()));
        assert_eq!(time("expires_at"), json!(probe.auth_now().plus(600 * SECOND)));
        assert_eq!(shown["confirmation"], false);
        let words = "The device is in the same network as you.";
        assert_eq!(shown["network"], json!({ "result": "same", "text": words, "name": null }));
        // What a person sends is read as strictly.
        let sealed = shown["view"].as_str().expect("a view");
        for (action, wrong) in [
            ("/approve", json!({ "view": sealed, "permissions": ["film:watch"] })),
            ("/approve", json!({ "view": sealed, "account_id": "x" })),
            ("/approve", json!({ "view": [sealed] })),
            ("/approve", json!({ "view": sealed, "scope": 1 })),
            ("/deny", json!({ "view": sealed, "scope": "film:watch" })),
            ("/report", json!({ "view": null })),
        ] {
            check(&person.post(&path(&started, action), wrong).await, 400, "invalid_body");
        }
        for twice in [format!("{{\"view\":\"a\",\"view\":\"{sealed}\"}}"), format!("view=a&view={sealed}")] {
            let kind = if twice.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
            let request = person.request(Method::POST, &path(&started, "/approve")).header("content-type", kind);
            check(&send(request.body(twice)).await, 400, "invalid_body");
        }
        let mut body = view(&mut person, &started).await;
        body["scope"] = "film:watch".into();
        let answer = person.post(&path(&started, "/approve"), body.clone()).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "result": "approved" })));
        check(&person.post(&path(&started, "/approve"), body).await, 409, "device_request_decided");
        probe.clock.advance(10 * SECOND);
        let answer = poll(&device, &started).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(answer.set_cookies().is_empty());
        let token = answer.json();
        assert_eq!((&token["token_type"], &token["scope"]), (&json!("Bearer"), &json!("film:watch")));
        assert_eq!(token["expires_in"], 900);
        let bearer = token["access_token"].as_str().expect("a token");
        let me = send(device.raw(Method::GET, "/me").bearer_auth(bearer)).await;
        assert_eq!(me.status, 200);
        // The token renews itself, and signs itself out.
        let renewed = send(device.raw(Method::POST, "/auth/session/refresh").bearer_auth(bearer)).await;
        assert_eq!(renewed.status, 200, "{}", renewed.text);
        let list = person.get("/auth/sessions").await.json();
        let listed = list["sessions"].as_array().expect("a list").iter().find(|one| one["id"] == token["session_id"]);
        assert!(listed.expect("it is listed")["approved_in"].is_string(), "{list}");
        assert_eq!(send(device.raw(Method::POST, "/auth/logout").bearer_auth(bearer)).await.status, 204);
        assert_eq!(send(device.raw(Method::GET, "/me").bearer_auth(bearer)).await.status, 401);
        // A limited session decides about nothing.
        let other = start(&device, "client_id=tv").await;
        let body = view(&mut person, &other).await;
        let answer = person.post(&path(&other, "/deny"), body).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        refused(&poll(&device, &other).await, 400, "access_denied");
    }

    async fn requests_that_the_standard_forbids_are_refused_as_it_says(probe: Probe) {
        let probe = probe.configured(clients);
        let (mut person, device) = signed_in(&probe).await;
        for (body, error) in [
            ("", "invalid_request"),
            ("client_id=", "invalid_request"),
            ("client_id=tv&client_id=tv", "invalid_request"),
            ("client_id=tv&x=1&x=1", "invalid_request"),
            ("client_id=tv&scope=film%3Awatch&scope=", "invalid_request"),
            ("client_id=nobody", "invalid_client"),
            ("client_id=tv%00", "invalid_client"),
            ("client_id=tv&scope=%2A", "invalid_scope"),
            ("client_id=tv&scope=door%3Aopen", "invalid_scope"),
            ("client_id=tv&device_name=%00", "invalid_request"),
            ("client_id=tv&message=%E2%80%AEevil", "invalid_request"),
            ("client_id=tv&message=%FF", "invalid_request"),
        ] {
            let answer = form(&device, "/auth/device", body).await;
            if body.contains("%FF") {
                // Not UTF-8: it is read as the replacement character, which is shown as such.
                assert_eq!(answer.status, 200);
                continue;
            }
            refused(&answer, 400, error);
        }
        let long = format!("client_id=tv&message={}", "x".repeat(201));
        refused(&form(&device, "/auth/device", &long).await, 400, "invalid_request");
        refused(&form(&device, "/auth/device", &"x".repeat(17 * 1024)).await, 413, "body_too_large");
        // An empty scope counts as none.
        let started = start(&device, "client_id=tv&scope=&message=").await;
        let code = started["device_code"].as_str().expect("a code");
        for (body, error) in [
            (String::new(), "invalid_request"),
            (format!("grant_type={GRANT}&device_code={code}"), "invalid_request"),
            (format!("device_code={code}&client_id=tv"), "invalid_request"),
            (format!("grant_type={GRANT}&client_id=tv"), "invalid_request"),
            (format!("grant_type={GRANT}&client_id=tv&device_code="), "invalid_request"),
            (format!("grant_type={GRANT}&grant_type={GRANT}&client_id=tv&device_code={code}"), "invalid_request"),
            (format!("grant_type={GRANT}&client_id=tv&client_id=cli&device_code={code}"), "invalid_request"),
            (format!("grant_type=password&client_id=tv&device_code={code}"), "unsupported_grant_type"),
            (format!("grant_type={GRANT}&client_id=nobody&device_code={code}"), "invalid_client"),
            (format!("grant_type={GRANT}&client_id=cli&device_code={code}"), "invalid_grant"),
            (format!("grant_type={GRANT}&client_id=tv&device_code={code}%00"), "invalid_grant"),
        ] {
            refused(&form(&device, "/auth/device/token", &body).await, 400, error);
        }
        // JSON is no form, and a page of another site asks nothing.
        let answer = send(device.raw(Method::POST, "/auth/device").json(&json!({ "client_id": "tv" }))).await;
        refused(&answer, 415, "unsupported_media_type");
        let foreign = device.raw(Method::POST, "/auth/device").header("sec-fetch-site", "cross-site");
        let foreign = foreign.header("content-type", "application/x-www-form-urlencoded").body("client_id=tv");
        refused(&send(foreign).await, 403, "cross_site_request");
        refused(&poll(&device, &started).await, 400, "authorization_pending");
        // Taking it back.
        let end = async |client: &str| form(&device, "/auth/device/end", &format!("client_id={client}&device_code={code}")).await;
        refused(&end("cli").await, 400, "invalid_grant");
        assert_eq!(end("tv").await.status, 204);
        refused(&end("tv").await, 400, "invalid_grant");
        check(&person.get("/auth/device/%FF").await, 404, "device_request_not_found");
        check(&person.get("/auth/device/BCDF-GHJK").await, 404, "device_request_not_found");
        check(&person.stranger().get("/auth/device/BCDF-GHJK").await, 401, "not_signed_in");
        let unseen = person.post("/auth/device/BCDF-GHJK/approve", json!({ "view": "x" })).await;
        check(&unseen, 404, "device_request_not_found");
        check(&person.post("/auth/device/BCDF-GHJK/approve", json!({})).await, 400, "invalid_body");
        // `token` and `end` are no codes of people.
        check(&person.get("/auth/device/token").await, 405, "method_not_allowed");
    }

    async fn the_browser_that_asks_cannot_approve_itself(probe: Probe) {
        let probe = probe.configured(clients);
        let (mut person, _) = signed_in(&probe).await;
        let request = person.request(Method::POST, "/auth/device");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let started = person.send(request.body("client_id=tv")).await.json();
        let body = view(&mut person, &started).await;
        let own = person.post(&path(&started, "/approve"), body.clone()).await;
        check(&own, 403, "device_in_same_browser");
        // After a step-up it is the same browser.
        let answer = person.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        check(&person.post(&path(&started, "/approve"), body.clone()).await, 403, "device_in_same_browser");
        // Another browser of the same person can.
        let mut other = person.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        check(&other.post(&path(&started, "/approve"), body).await, 409, "device_view_outdated");
        let body = view(&mut other, &started).await;
        assert_eq!(other.post(&path(&started, "/approve"), body).await.status, 200);
    }

    async fn another_session_ends_by_a_consent_to_exactly_that(probe: Probe) {
        let probe = probe.configured(clients);
        let (mut person, device) = signed_in(&probe).await;
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let started = start(&device, "client_id=tv").await;
            let body = view(&mut person, &started).await;
            assert_eq!(person.post(&path(&started, "/approve"), body).await.status, 200);
            tokens.push(poll(&device, &started).await.json());
        }
        let id = |at: usize| tokens[at]["session_id"].as_str().expect("an id").to_owned();
        let lives = async |at: usize| {
            let token = tokens[at]["access_token"].as_str().expect("a token");
            send(device.raw(Method::GET, "/me").bearer_auth(token)).await.status == 200
        };
        let consent = json!({ "action": "logout", "resource": id(0) });
        let proof = person.post("/proofs/action-proofs", consent).await.json();
        let proof = proof["action_proof"].as_str().expect("a proof").to_owned();
        let end = |at: usize, proof: Option<&str>| {
            let request = person.request(Method::POST, &format!("/devices/{}/log-out", id(at)));
            match proof {
                Some(proof) => request.header("portcullis-action-proof", proof),
                None => request,
            }
        };
        check(&send(end(0, None)).await, 401, "action_proof_required");
        check(&send(end(1, Some(&proof))).await, 403, "action_proof_of_other_resource");
        assert!(lives(0).await && lives(1).await);
        assert_eq!(send(end(0, Some(&proof))).await.status, 204);
        assert!(!lives(0).await && lives(1).await);
        check(&send(end(0, Some(&proof))).await, 409, "action_proof_used");
        // The device itself cannot end the other one: it has no factor to consent with.
        let bearer = tokens[1]["access_token"].as_str().expect("a token");
        let consent = device.raw(Method::POST, "/proofs/action-proofs").bearer_auth(bearer);
        let consent = consent.json(&json!({ "action": "logout", "resource": id(0) }));
        check(&send(consent).await, 401, "insufficient_user_authentication");
        let list = send(device.raw(Method::GET, "/auth/sessions").bearer_auth(bearer)).await;
        check(&list, 403, "limited_session");
    }

    async fn the_metadata_is_at_the_root_and_behind_the_path_of_the_service(probe: Probe) {
        let well_known = "/.well-known/oauth-authorization-server";
        for (public, prefix) in [("https://example.com", ""), ("https://example.com/app", "/app")] {
            let auth = probe.rebuilt(|builder| builder.configure(|config| {
                clients(config);
                config.service.public_url = Some(public.to_owned());
            }));
            let mut browser = Browser::new(serve(application(&auth)).await);
            for path in [well_known.to_owned(), format!("{well_known}{prefix}")] {
                let document = browser.get(&path).await.json();
                assert_eq!(document, json!({
                    "issuer": public,
                    "device_authorization_endpoint": format!("{public}/auth/device"),
                    "token_endpoint": format!("{public}/auth/device/token"),
                    "grant_types_supported": [GRANT],
                    "response_types_supported": [],
                    "token_endpoint_auth_methods_supported": ["none"],
                    "dpop_signing_alg_values_supported": ["ES256", "EdDSA", "Ed25519"],
                }));
            }
            check(&browser.get(&format!("{well_known}/other")).await, 404, "route_not_found");
        }
        // Without a client there is none.
        let mut browser = Browser::new(serve(application(&probe.auth)).await);
        assert_eq!(browser.get(well_known).await.status, 404);
        refused(&form(&browser, "/auth/device", "client_id=tv").await, 400, "invalid_client");
    }
}

/// Runs a program of others as the device. A person approves it after its first poll.
async fn a_program_of_others_signs_in(probe: &Probe, command: impl FnOnce(&str) -> Command) {
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
    let account = alice(probe).await;
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let count = from_fn(move |request: Request, next: Next| {
        let counted = Arc::clone(&counted);
        async move {
            let polls = request.uri().path().ends_with("/token");
            let answer = next.run(request).await;
            counted.fetch_add(usize::from(polls), Ordering::SeqCst);
            answer
        }
    });
    let app = application(&auth).layer(count);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut command = command(&service);
    let mut program = command.stdout(Stdio::piped()).spawn().expect("the program runs");
    let mut lines = BufReader::new(program.stdout.take().expect("its output")).lines();
    let mut next = move || -> Value {
        let line = lines.next().expect("a line").expect("a text");
        serde_json::from_str(&line).expect("JSON")
    };
    let (started, next) =
        tokio::task::spawn_blocking(move || (next(), next)).await.expect("a line");
    until("the program polls", async || polls.load(Ordering::SeqCst) > 0).await;
    let person = Person::of(&auth, &account).await;
    let code = started["user_code"].as_str().expect("a code").to_owned();
    let view = person.view(&code).await;
    person.approve_seen(&code, &view, Some(&["doc:read"])).await.expect("it is approved");
    let token = tokio::task::spawn_blocking(next).await.expect("a line");
    assert!(program.wait().expect("it ends").success());
    let bearer = token["access_token"].as_str().expect("a token");
    assert_eq!(super::with_token(&auth, bearer, "/me").await, 200);
    assert!(
        token["scope"].as_str().is_some_and(|scope| scope == "doc:read")
            || token["scope"] == json!(["doc:read"]),
        "{token}"
    );
    assert!(polls.load(Ordering::SeqCst) > 1);
}

#[needs("PORTCULLIS_TEST_OPENID_CLIENT")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openid_client_signs_in_a_device() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        a_program_of_others_signs_in(&probe, |service| {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/openid_client.mjs");
            let folder = needed("PORTCULLIS_TEST_OPENID_CLIENT");
            let mut command = Command::new("node");
            command.args([script, &folder, service, "tv", "film:watch doc:read"]);
            command
        })
        .await;
    })
    .await;
}

#[needs("PORTCULLIS_TEST_OAUTHLIB")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oauthlib_signs_in_a_device() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        a_program_of_others_signs_in(&probe, |service| {
            let script =
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/oauthlib_device.py");
            let mut command = Command::new(needed("PORTCULLIS_TEST_OAUTHLIB"));
            command.args([script, service, "tv", "film:watch doc:read"]);
            command
        })
        .await;
    })
    .await;
}
