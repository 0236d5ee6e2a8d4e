//! Sessions that were marked as suspicious. They get a 401 everywhere, they cannot be continued,
//! and only signing out works.

use std::time::Duration;

use portcullis::config::Binding;
use portcullis::port::{HookFuture, SessionReplaced};
use portcullis::{Portcullis, SessionId};
use reqwest::Method;
use sea_orm::{DatabaseTransaction, TransactionTrait};
use serde_json::{Value, json};

use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

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
}
