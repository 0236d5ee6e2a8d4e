//! Sessions that were marked as suspicious. They get a 401 everywhere, they cannot be continued,
//! and only signing out works.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use portcullis::config::Binding;
use portcullis::port::{HookFuture, SessionReplaced};
use portcullis::{Factor, Identity, Portcullis, Rejection, Requirement, SessionId};
use reqwest::Method;
use sea_orm::{DatabaseTransaction, TransactionTrait};
use serde_json::{Value, json};

use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp;

pub(crate) const FIREFOX: &str = "Firefox/141";
pub(crate) const CURL: &str = "curl/8";
const MINUTE: Duration = Duration::from_secs(60);

/// Sends a request of this browser family. The browser keeps the cookies of the answer.
pub(crate) async fn from(
    browser: &mut Browser,
    agent: &str,
    (method, path): (Method, &str),
    body: Option<Value>,
) -> Answer {
    let mut request = browser.request(method, path).header("user-agent", agent);
    if let Some(body) = &body {
        request = request.json(body);
    }
    browser.send(request).await
}

/// Returns the status and the factors that are asked for, in the order of `/fresh`, `/password` and
/// `/totp`.
async fn asked(browser: &Browser, agent: &str) -> [(u16, Value); 3] {
    let mut asked = Vec::new();
    for path in ["/fresh", "/password", "/totp"] {
        let answer = from(&mut browser.clone(), agent, (Method::GET, path), None).await;
        if answer.status != 200 {
            assert_eq!(answer.code(), "insufficient_user_authentication", "{}", answer.text);
        }
        let factors =
            if answer.status == 200 { json!(null) } else { answer.json()["factors"].clone() };
        asked.push((answer.status, factors));
    }
    asked.try_into().expect("three answers")
}

/// Serves the routes of the probe, and some that ask for factors.
async fn asking_for_factors(auth: &Portcullis) -> Browser {
    let fresh = Requirement::within(5 * MINUTE);
    let guarded = |path: &str, rule: Requirement| -> Router {
        Router::new().route(path, get(async || "ok")).route_layer(auth.require(rule))
    };
    let rule = fresh.clone();
    let later = async move |auth: Portcullis, identity: Identity| {
        let identity = auth.recheck(&identity).await?;
        Ok::<_, Rejection>(identity.meets(&rule).to_string())
    };
    let router = guarded("/fresh", fresh)
        .merge(guarded("/password", Requirement::factor(Factor::Password)))
        .merge(guarded("/totp", Requirement::factor(Factor::Totp)))
        .route("/later", get(later))
        .nest("/own", portcullis::own_account::routes(auth))
        .merge(app(auth));
    Browser::new(serve(router.layer(auth.layer())).await)
}

pub(crate) async fn log_in(browser: &mut Browser, agent: &str, name: &str) -> Answer {
    let body = json!({ "login": name, "password": PASSWORD });
    let answer = from(browser, agent, (Method::POST, "/auth/login"), Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

async fn id_of(browser: &mut Browser) -> SessionId {
    browser.get("/session-id").await.text.parse().expect("an id")
}

/// Returns two browsers of one account.
async fn two(probe: &Probe) -> (Browser, Browser) {
    let (_, one) = probe.signed_in("alice").await;
    let mut other = one.stranger();
    assert_eq!(other.login("alice", PASSWORD).await.status, 200);
    (one, other)
}

fn check_suspicious(answer: &Answer, what: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "session_suspicious"),
        "{what}: {}",
        answer.text
    );
    assert!(answer.set_cookies().is_empty(), "{what}");
    assert!(answer.headers.contains_key("www-authenticate"), "{what}");
}

/// Returns all routes that need a session, each with a body that would otherwise be accepted.
fn routes(id: SessionId) -> Vec<(Method, String, Option<Value>)> {
    let change = json!({ "current_password": PASSWORD, "new_password": "another long password" });
    let plain = |method: Method, path: &str| (method, path.to_owned(), None);
    vec![
        plain(Method::GET, "/me"),
        plain(Method::POST, "/me"),
        plain(Method::GET, "/session-id"),
        plain(Method::GET, "/signed-in"),
        plain(Method::GET, "/admin"),
        plain(Method::GET, "/docs/42"),
        plain(Method::GET, "/editors"),
        plain(Method::GET, "/everything"),
        plain(Method::GET, "/pending"),
        plain(Method::GET, "/must-change"),
        plain(Method::GET, "/anonymous"),
        plain(Method::GET, "/auth/session"),
        plain(Method::POST, "/auth/session/refresh"),
        plain(Method::GET, "/auth/sessions"),
        plain(Method::DELETE, "/auth/sessions"),
        plain(Method::DELETE, "/auth/sessions?scope=all"),
        (Method::DELETE, format!("/auth/sessions/{id}"), None),
        (Method::POST, format!("/auth/sessions/{id}/report"), None),
        (Method::POST, "/auth/reauthenticate".to_owned(), Some(json!({ "password": PASSWORD }))),
        (Method::PUT, "/auth/password".to_owned(), Some(change)),
    ]
}

async fn check_every_route(browser: &Browser, id: SessionId) {
    for (method, path, body) in routes(id) {
        let mut request = browser.request(method.clone(), &path);
        if let Some(body) = &body {
            request = request.json(body);
        }
        check_suspicious(&send(request).await, &format!("{method} {path}"));
    }
    // Public pages still work, and nobody is signed in there.
    for (path, text) in [("/public", "public"), ("/maybe", "nobody")] {
        let answer = browser.clone().get(path).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, text), "{path}");
    }
}

/// Marks each session that replaces another one, in its transaction.
fn distrust(auth: Portcullis) -> impl portcullis::port::OnSessionReplaced {
    struct Distrust(Portcullis);
    impl portcullis::port::OnSessionReplaced for Distrust {
        fn replaced<'a>(
            &'a self,
            replaced: SessionReplaced,
            txn: &'a DatabaseTransaction,
        ) -> HookFuture<'a, ()> {
            Box::pin(async move {
                Ok(self.0.sessions().within(txn).mark_suspicious(replaced.new).await?)
            })
        }
    }
    Distrust(auth)
}

on_every_database! {
    async fn its_owner_reports_a_session_and_it_is_good_for_signing_out_only(probe: Probe) {
        let (mut owner, mut thief) = two(&probe).await;
        let id = id_of(&mut thief).await;
        let report = format!("/auth/sessions/{id}/report");
        for _ in 0..2 {
            assert_eq!(owner.post_empty(&report).await.status, 204, "twice is no error");
        }
        check_every_route(&thief, id).await;
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'session_suspicious'";
        assert_eq!(probe.number(events).await, 1);
        // The owner sees the mark, and ends the session.
        let sessions = owner.get("/auth/sessions").await.json();
        let marks: Vec<_> = sessions["sessions"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|session| (session["id"] == id.to_string(), session["suspicious"].as_bool()))
            .collect();
        assert_eq!(marks.iter().filter(|mark| **mark == (true, Some(true))).count(), 1);
        assert!(marks.iter().all(|(this, suspicious)| *suspicious == Some(*this)), "{marks:?}");
        let leaver = &mut thief.clone();
        let answer = leaver.post_empty("/auth/logout").await;
        assert_eq!((answer.status, leaver.cookie.as_deref()), (204, None));
        assert_eq!(thief.get("/auth/session").await.code(), "session_ended");
        assert_eq!(owner.get("/auth/session").await.status, 200);
    }

    async fn its_owner_ends_a_suspicious_session_from_elsewhere(probe: Probe) {
        let (mut owner, mut thief) = two(&probe).await;
        let id = id_of(&mut thief).await;
        assert_eq!(owner.post_empty(&format!("/auth/sessions/{id}/report")).await.status, 204);
        assert_eq!(owner.delete(&format!("/auth/sessions/{id}")).await.status, 204);
        assert_eq!(thief.get("/auth/session").await.code(), "session_ended");
        let answer = owner.post_empty(&format!("/auth/sessions/{id}/report")).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "session_not_found"));
    }

    async fn nobody_reports_anybody_elses_session(probe: Probe) {
        let (_, mut alice) = probe.signed_in("alice").await;
        let (_, mut bob) = probe.signed_in("bob").await;
        let id = id_of(&mut bob).await;
        for id in [id.to_string(), "018f0000-0000-7000-8000-000000000000".to_owned(), "x".to_owned()] {
            let answer = alice.post_empty(&format!("/auth/sessions/{id}/report")).await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "session_not_found"), "{id}");
        }
        let answer = alice.stranger().post_empty(&format!("/auth/sessions/{id}/report")).await;
        assert_eq!(answer.status, 401);
        let foreign = alice.raw(Method::POST, &format!("/auth/sessions/{id}/report"));
        let foreign = foreign
            .header("cookie", format!("__Host-session={}", alice.cookie.clone().expect("one")))
            .header("sec-fetch-site", "cross-site");
        assert_eq!(send(foreign).await.code(), "cross_site_request");
        assert_eq!(bob.get("/auth/session").await.status, 200);
        // The current session can be reported too.
        let own = id_of(&mut alice).await;
        assert_eq!(alice.post_empty(&format!("/auth/sessions/{own}/report")).await.status, 204);
        check_suspicious(&alice.get("/auth/session").await, "the present one");
    }

    async fn an_administrator_and_a_hook_mark_sessions_and_the_mark_can_be_taken_away(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let id = id_of(&mut browser).await;
        let sessions = probe.auth.sessions();
        assert!(sessions.clear_suspicion(id).await.is_err(), "there is no mark");
        sessions.mark_suspicious(id).await.expect("it is marked");
        check_every_route(&browser, id).await;
        sessions.clear_suspicion(id).await.expect("it is cleared");
        assert_eq!(browser.get("/auth/session").await.status, 200);
        let unknown = "018f0000-0000-7000-8000-000000000000".parse().expect("an id");
        assert!(sessions.mark_suspicious(unknown).await.is_err());
        // A mark that is rolled back has no effect.
        let txn = probe.db.begin().await.expect("a transaction");
        sessions.within(&txn).mark_suspicious(id).await.expect("it is marked");
        txn.rollback().await.expect("it rolls back");
        assert_eq!(browser.get("/auth/session").await.status, 200);
        let hook = distrust(probe.auth.clone());
        let auth = probe.rebuilt(|builder| builder.on_session_replaced(hook));
        let mut browser = browser.at(serve(app(&auth)).await);
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        check_suspicious(&browser.get("/auth/session").await, "marked by the hook");
    }

    async fn time_and_renewal_do_not_wash_the_mark_off(probe: Probe) {
        let (mut owner, mut thief) = two(&probe).await;
        let id = id_of(&mut thief).await;
        let old = thief.clone();
        probe.clock.advance(Duration::from_secs(16 * 60));
        assert_eq!(thief.get("/me").await.status, 200);
        assert_ne!(thief.cookie, old.cookie, "it was replaced");
        assert_eq!(owner.post_empty(&format!("/auth/sessions/{id}/report")).await.status, 204);
        for minutes in [0, 16, 60, 24 * 60] {
            probe.clock.advance(Duration::from_secs(minutes * 60));
            for browser in [&old, &thief] {
                check_suspicious(&browser.clone().get("/me").await, "renewed");
                let refresh = browser.clone().post_empty("/auth/session/refresh").await;
                check_suspicious(&refresh, "refreshed");
            }
        }
        // A new sign-in gives a normal session.
        assert_eq!(thief.login("alice", PASSWORD).await.status, 200);
        assert_eq!(thief.get("/me").await.status, 200);
        check_suspicious(&old.clone().get("/me").await, "the old one");
    }

    async fn what_was_let_in_before_the_mark_cannot_go_on_from_it(probe: Probe) {
        use portcullis::ClientInfo;
        let (alice, mut browser) = probe.signed_in("alice").await;
        let id = id_of(&mut browser).await;
        // A handler holds an identity while its session is marked.
        let auth = probe.auth.clone();
        let router: axum::Router = axum::Router::new()
            .route(
                "/late",
                axum::routing::post(async move |identity: portcullis::Identity| {
                    auth.sessions().mark_suspicious(id).await.expect("it is marked");
                    let client = ClientInfo::default();
                    let late = auth.login().reauthenticate(&identity, PASSWORD, &client).await;
                    let owner = identity.owner().expect("it has no limit");
                    let change = auth
                        .password_change()
                        .change(&owner, Some(PASSWORD), "another long password", &client)
                        .await;
                    format!("{} {}", late.is_err(), change.is_err())
                }),
            )
            .layer(probe.auth.layer());
        let answer = browser.at(serve(router).await).post_empty("/late").await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "true true"));
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
        assert!(!probe.auth.sessions().list(&alice).await.expect("it answers").is_empty());
    }

    async fn a_session_that_moves_is_suspicious_where_the_binding_says_so(probe: Probe) {
        let probe = probe.configured(|config| config.session.binding = Binding::Suspect);
        let (_, browser) = probe.signed_in("alice").await;
        let ask = |agent: &'static str| {
            let request = browser.request(Method::GET, "/auth/session");
            send(request.header("user-agent", agent))
        };
        // The session started without a user agent, so nothing is compared.
        assert_eq!(ask("Firefox/141").await.status, 200);
        let login = browser.stranger().request(Method::POST, "/auth/login");
        let login = login.header("user-agent", "Firefox/141");
        let answer = send(login.json(&json!({ "login": "alice", "password": PASSWORD }))).await;
        let cookie = answer.set_cookies()[0].clone();
        let browser = browser.with_cookie(cookie.split(['=', ';']).nth(1).expect("a token"));
        let ask = |agent: &'static str| {
            let request = browser.request(Method::GET, "/auth/session");
            send(request.header("user-agent", agent))
        };
        assert_eq!(ask("Firefox/142").await.status, 200, "an update");
        check_suspicious(&ask("curl/8").await, "another browser");
        check_suspicious(&ask("Firefox/141").await, "and back");
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'session_suspicious' \
                      AND detail = 'source_changed'";
        assert_eq!(probe.number(events).await, 1);
    }

    async fn a_session_that_moves_goes_on_but_must_prove_a_factor_again(probe: Probe) {
        let probe = probe.configured(|config| config.session.binding = Binding::StepUp);
        probe.register("alice").await;
        let mut owner = asking_for_factors(&probe.auth).await;
        log_in(&mut owner, FIREFOX, "alice").await;
        let events = async || {
            let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'session_source_changed'";
            probe.number(events).await
        };
        let met = (200, json!(null));
        let password = (401, json!(["password"]));
        let no_totp = (401, json!([]));
        assert_eq!(asked(&owner, FIREFOX).await, [met.clone(), met.clone(), no_totp.clone()]);
        assert_eq!(asked(&owner, "Firefox/142").await[0], met, "an update");
        assert_eq!(events().await, 0);

        // The same cookie from elsewhere.
        let mut moved = owner.clone();
        assert_eq!(from(&mut moved, CURL, (Method::GET, "/me"), None).await.status, 200);
        assert_eq!(asked(&moved, CURL).await, [password.clone(), password.clone(), no_totp.clone()]);
        let session = from(&mut moved, CURL, (Method::GET, "/auth/session"), None).await;
        assert_eq!((session.status, &session.json()["factors"]), (200, &json!([])));
        assert_eq!(from(&mut moved, CURL, (Method::GET, "/later"), None).await.text, "false");
        for (method, path, body) in [
            (Method::PUT, "/auth/password", Some(json!({ "new_password": "another password" }))),
            (Method::POST, "/auth/email", Some(json!({ "email": "thief@example.com" }))),
            (Method::POST, "/auth/totp", Some(json!({ "name": "phone" }))),
            (Method::DELETE, "/own/account", None),
        ] {
            let answer = from(&mut moved, CURL, (method, path), body).await;
            let code = "insufficient_user_authentication";
            assert_eq!((answer.status, answer.code().as_str()), (401, code), "{path}");
            assert_eq!(answer.json()["factors"], json!(["password"]), "{path}");
        }
        assert_eq!(events().await, 1, "once for a source");
        // Nothing has changed where the session began.
        assert_eq!(asked(&owner, FIREFOX).await[0], met);
        assert_eq!(from(&mut owner, FIREFOX, (Method::GET, "/later"), None).await.text, "true");

        let prove = async |browser: &mut Browser, agent: &str, password: &str| {
            let body = Some(json!({ "password": password }));
            from(browser, agent, (Method::POST, "/auth/reauthenticate"), body).await
        };
        assert_eq!(prove(&mut moved, CURL, "a wrong password").await.code(), "wrong_password");
        assert_eq!(asked(&moved, CURL).await[0], password);
        let proved = prove(&mut moved, CURL, PASSWORD).await;
        assert_eq!(proved.status, 200, "{}", proved.text);
        // The new session belongs to the new source.
        assert_eq!(asked(&moved, CURL).await, [met.clone(), met.clone(), no_totp.clone()]);
        assert_eq!(from(&mut moved, CURL, (Method::GET, "/later"), None).await.text, "true");
        assert_eq!(events().await, 1);
        assert_eq!(from(&mut moved.clone(), FIREFOX, (Method::GET, "/me"), None).await.status, 200);
        assert_eq!(asked(&moved, FIREFOX).await, [password.clone(), password, no_totp]);
        assert_eq!(events().await, 2, "another session");
        let change = json!({ "new_password": "another long password" });
        let changed = from(&mut moved, CURL, (Method::PUT, "/auth/password"), Some(change)).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
    }

    async fn only_what_was_proved_at_the_new_source_counts_there(probe: Probe) {
        let probe = probe.configured(|config| config.session.binding = Binding::StepUp);
        let (_, _, secret) = totp::person(&probe, "alice").await;
        let mut browser = asking_for_factors(&probe.auth).await;
        let met = (200, json!(null));
        let needs = |factor: &str| (401, json!([factor]));
        let send_code = async |browser: &mut Browser, agent: &str, path: &str| {
            let body = json!({ "code": totp::code(&probe, &secret) });
            let answer = from(browser, agent, (Method::POST, path), Some(body)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            probe.clock.advance(totp::STEP);
        };
        const VERIFY: &str = "/auth/second-factor/verify";
        const AGAIN: &str = "/auth/reauthenticate";

        // A sign-in that does not move has both factors.
        log_in(&mut browser, FIREFOX, "alice").await;
        send_code(&mut browser, FIREFOX, VERIFY).await;
        assert_eq!(asked(&browser, FIREFOX).await, [met.clone(), met.clone(), met.clone()]);

        // The password alone does not bring the old code along.
        let mut moved = browser.clone();
        assert_eq!(asked(&moved, CURL).await[1..], [needs("password"), needs("totp")]);
        let body = Some(json!({ "password": PASSWORD }));
        let proved = from(&mut moved, CURL, (Method::POST, AGAIN), body).await;
        assert_eq!(proved.status, 200, "{}", proved.text);
        assert_eq!(asked(&moved, CURL).await, [met.clone(), met.clone(), needs("totp")]);
        send_code(&mut moved, CURL, AGAIN).await;
        assert_eq!(asked(&moved, CURL).await, [met.clone(), met.clone(), met.clone()]);

        // A sign-in that moves before its second step goes on, without its password.
        let mut pending = browser.stranger();
        let answer = log_in(&mut pending, FIREFOX, "alice").await;
        assert_eq!(answer.json()["result"], "second_factor_required");
        let methods = from(&mut pending, CURL, (Method::GET, "/auth/second-factor"), None).await;
        assert_eq!(methods.json()["methods"], json!([{ "method": "totp" }]), "{}", methods.text);
        send_code(&mut pending, CURL, VERIFY).await;
        assert_eq!(asked(&pending, CURL).await, [met.clone(), needs("password"), met]);
    }

    async fn a_sign_in_that_moves_after_the_last_recovery_code_sets_up_an_authenticator(probe: Probe) {
        let probe = probe.configured(|config| config.session.binding = Binding::StepUp);
        let (_, mut owner, _) = totp::person(&probe, "alice").await;
        let answer = owner.post("/auth/recovery-codes", json!({})).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let codes = answer.json()["codes"].as_array().expect("a list").clone();
        for code in &codes[1..] {
            let code = code.as_str().expect("a text");
            assert_eq!(totp::step_up(&mut owner, code).await.status, 200);
            probe.clock.advance(Duration::from_millis(1));
        }
        let mut browser = owner.stranger();
        log_in(&mut browser, FIREFOX, "alice").await;
        let verify = (Method::POST, "/auth/second-factor/verify");
        let body = Some(json!({ "code": codes[0] }));
        let answer = from(&mut browser, FIREFOX, verify, body).await;
        assert_eq!(answer.json()["result"], "enrolment_required", "{}", answer.text);
        // The phone leaves the house while its owner installs the app.
        let body = Some(json!({ "name": "new phone" }));
        let started = from(&mut browser, CURL, (Method::POST, "/auth/totp"), body).await;
        assert_eq!(started.status, 201, "{}", started.text);
        let secret = started.json()["secret"].as_str().expect("a secret").to_owned();
        let body = json!({ "id": started.json()["id"], "code": totp::code(&probe, &secret) });
        let confirm = (Method::POST, "/auth/totp/confirm");
        let answer = from(&mut browser, CURL, confirm, Some(body)).await;
        assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("session")), "{}", answer.text);
        assert_eq!(from(&mut browser, CURL, (Method::GET, "/me"), None).await.status, 200);
    }

    async fn a_sign_in_that_moves_sets_no_new_password(probe: Probe) {
        let probe = probe.configured(|config| config.session.binding = Binding::StepUp);
        let alice = probe.register("alice").await;
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is required");
        let mut browser = asking_for_factors(&probe.auth).await;
        let answer = log_in(&mut browser, FIREFOX, "alice").await;
        assert_eq!(answer.json()["result"], "password_change_required");
        let set = async |browser: &mut Browser, agent: &str| {
            let body = Some(json!({ "new_password": "another long password" }));
            from(browser, agent, (Method::PUT, "/auth/password"), body).await
        };
        let refused = set(&mut browser.clone(), CURL).await;
        let code = "insufficient_user_authentication";
        assert_eq!((refused.status, refused.code().as_str()), (401, code));
        let told = refused.json();
        assert_eq!((&told["factors"], told.get("acr_values")), (&json!([]), None), "{told}");
        assert_eq!(set(&mut browser, FIREFOX).await.status, 200);
    }
}
