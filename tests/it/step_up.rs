//! A step-up makes a new session. The old one keeps its rights for ten seconds, so that other tabs
//! can finish their requests. It cannot do anything with a lasting effect.

use std::time::Duration;

use portcullis::MessageKind;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::challenge::bank;
use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::probe::serve;
use crate::support::{Browser, PASSWORD, Probe};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const LIFETIME: Duration = Duration::from_secs(15 * 60);
const LINGERS: Duration = Duration::from_secs(10);
const NEW_PASSWORD: &str = "another horse battery staple";

fn check_refused(answer: &Answer, code: &str, what: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (401, code), "{what}: {}", answer.text);
    assert!(answer.set_cookies().is_empty(), "{what}: {answer:?}");
}

fn factor_time(answer: &Answer) -> Value {
    answer.json()["factors"][0]["passed_at"].clone()
}

/// Returns the tab that checked its password again, and a tab with the old cookie.
async fn stepped_up(probe: &Probe, username: &str) -> (Browser, Browser) {
    let (_, mut browser) = probe.signed_in(username).await;
    let old = browser.clone();
    let answer = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (browser, old)
}

on_every_database! {
    async fn requests_of_another_tab_end_as_they_began(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let signed_in_at = factor_time(&browser.get("/auth/session").await);
        probe.clock.advance(MINUTE);
        let mut requests = JoinSet::new();
        for _ in 0..20 {
            let mut tab = browser.clone();
            requests.spawn(async move { tab.get("/auth/session").await });
        }
        let body = json!({ "password": PASSWORD });
        let stepped_up = send(browser.request(Method::POST, "/auth/reauthenticate").json(&body));
        let (stepped_up, answers) = tokio::join!(stepped_up, requests.join_all());
        assert_eq!(stepped_up.status, 200, "{}", stepped_up.text);
        let mut old = browser.clone();
        let sequel = old.get("/auth/session").await;
        for answer in answers.iter().chain([&sequel]) {
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(factor_time(answer), signed_in_at);
            assert!(answer.set_cookies().is_empty());
        }
        browser.cookie = stepped_up.cookie();
        assert_ne!(factor_time(&browser.get("/auth/session").await), signed_in_at);
        probe.clock.advance(LINGERS - Duration::from_millis(1));
        assert_eq!(old.get("/me").await.status, 200);
        probe.clock.advance(Duration::from_millis(1));
        check_refused(&old.get("/me").await, "session_ended", "after ten seconds");
        assert_eq!(browser.get("/me").await.status, 200);
        let thefts = "SELECT COUNT(*) FROM auth_event WHERE kind = 'session_theft_suspected'";
        assert_eq!(probe.number(thefts).await, 0);
    }

    async fn what_lingers_does_nothing_that_lasts(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let mut old = browser.clone();
        let other = browser.stranger().login("alice", PASSWORD).await.json()["session_id"].clone();
        let other = other.as_str().expect("an id").to_owned();
        // The old session's token becomes due during the ten seconds.
        probe.clock.advance(LIFETIME - SECOND);
        let stepped_up = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(stepped_up.status, 200, "{}", stepped_up.text);
        probe.clock.advance(2 * SECOND);
        let answer = old.get("/rotated").await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "false"));
        assert!(answer.set_cookies().is_empty());
        let sessions = probe.number("SELECT COUNT(*) FROM auth_session").await;
        let change = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
        for (method, path, body) in [
            (Method::POST, "/auth/session/refresh".to_owned(), None),
            (Method::POST, "/auth/reauthenticate".to_owned(), Some(json!({ "password": PASSWORD }))),
            (Method::PUT, "/auth/password".to_owned(), Some(change)),
            (Method::GET, "/auth/sessions".to_owned(), None),
            (Method::DELETE, "/auth/sessions".to_owned(), None),
            (Method::DELETE, "/auth/sessions?scope=all".to_owned(), None),
            (Method::DELETE, format!("/auth/sessions/{other}"), None),
            (Method::POST, format!("/auth/sessions/{other}/report"), None),
        ] {
            let mut request = old.request(method.clone(), &path);
            if let Some(body) = &body {
                request = request.json(body);
            }
            check_refused(&send(request).await, "session_ended", &format!("{method} {path}"));
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, sessions);
        let generations = "SELECT COUNT(*) FROM auth_session WHERE generation > 0";
        assert_eq!(probe.number(generations).await, 0);
        assert_eq!(old.get("/me").await.status, 200);
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
    }

    async fn a_change_of_address_is_refused_while_a_session_lingers(probe: Probe) {
        let (mut browser, mut old) = stepped_up(&probe, "alice").await;
        let body = json!({ "email": "alice@example.com" });
        let answer = old.post("/auth/email", body.clone()).await;
        assert_eq!(answer.status, 401, "{}", answer.text);
        assert!(probe.mail().await.is_empty());
        let answer = browser.post("/auth/email", body).await;
        assert!(answer.status < 300, "{}", answer.text);
        let kinds: Vec<_> = probe.mail().await.iter().map(|message| message.kind).collect();
        assert_eq!(kinds, [MessageKind::EmailChangeConfirm]);
    }

    async fn what_lingers_goes_with_the_session_that_took_its_place(probe: Probe) {
        for end in ["logout", "ended", "all", "reported", "disabled", "password"] {
            let (mut browser, mut old) = stepped_up(&probe, &format!("user-{end}")).await;
            let id = browser.get("/session-id").await.text;
            assert_eq!(old.get("/me").await.status, 200, "{end}");
            let account = browser.get("/me").await.text.parse().expect("an id");
            let status = match end {
                "logout" => browser.post_empty("/auth/logout").await.status,
                "ended" => browser.delete(&format!("/auth/sessions/{id}")).await.status,
                "all" => browser.delete("/auth/sessions?scope=all").await.status,
                "reported" => browser.post_empty(&format!("/auth/sessions/{id}/report")).await.status,
                "disabled" => {
                    probe.auth.accounts().disable(account).await.expect("it is disabled");
                    200
                }
                _ => {
                    let body = json!({ "new_password": NEW_PASSWORD });
                    browser.put("/auth/password", body).await.status
                }
            };
            assert!(status < 300, "{end}: {status}");
            check_refused(&old.get("/me").await, "session_ended", end);
        }
    }

    async fn a_second_step_up_leaves_the_one_before_what_is_left_of_its_time(probe: Probe) {
        let (mut browser, mut first) = stepped_up(&probe, "alice").await;
        probe.clock.advance(6 * SECOND);
        let mut second = browser.clone();
        let answer = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!((first.get("/me").await.status, second.get("/me").await.status), (200, 200));
        probe.clock.advance(5 * SECOND);
        check_refused(&first.get("/me").await, "session_ended", "the first");
        assert_eq!(second.get("/me").await.status, 200);
        probe.clock.advance(5 * SECOND);
        check_refused(&second.get("/me").await, "session_ended", "the second");
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn what_lingers_changes_neither_number_nor_names_nor_memberships(probe: Probe) {
        use portcullis::port::{HookFuture, SourceMembership};
        let mut probe = probe;
        let texts = probe.notifier.clone();
        probe.auth = probe.rebuilt(|builder| {
            builder.text_messages(texts).levels("list", ["viewer"]).membership_source(
                |_| -> HookFuture<'static, Vec<SourceMembership>> {
                    Box::pin(async { Ok(vec![SourceMembership::new("list", "1", "viewer")]) })
                },
            )
        });
        let (mut browser, old) = stepped_up(&probe, "alice").await;
        let events = probe.number("SELECT COUNT(*) FROM auth_event").await;
        for (method, path, body) in [
            (Method::POST, "/auth/phone", Some(json!({ "phone": "+4915112345678" }))),
            (Method::POST, "/auth/phone/confirm", Some(json!({ "code": "12345678" }))),
            (Method::DELETE, "/auth/phone", None),
            (Method::POST, "/auth/email/confirm", Some(json!({ "code": "12345678" }))),
            (Method::GET, "/auth/login-names", None),
            (Method::POST, "/auth/login-names", Some(json!({ "username": "second" }))),
            (Method::POST, "/auth/login-names", Some(json!({ "email": "a@example.com" }))),
            (Method::POST, "/auth/login-names/confirm", Some(json!({ "code": "12345678" }))),
            (Method::DELETE, "/auth/login-names/alice", None),
            (Method::POST, "/auth/memberships/refresh", None),
            (Method::POST, "/auth/verification", None),
        ] {
            let mut request = old.request(method.clone(), path);
            if let Some(body) = &body {
                request = request.json(body);
            }
            check_refused(&send(request).await, "session_ended", &format!("{method} {path}"));
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_event").await, events);
        assert!(probe.mail().await.is_empty());
        assert_eq!(browser.post_empty("/auth/memberships/refresh").await.status, 200);
    }

    async fn what_lingers_starts_answers_and_spends_no_challenge(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        browser.address = serve(bank(&probe.auth)).await;
        let challenge = async |browser: &mut Browser| {
            let answer = browser.post("/start", json!({ "target": "7" })).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            answer.json()
        };
        let (answered, open) = (challenge(&mut browser).await, {
            probe.clock.advance(MINUTE);
            let purpose = json!({ "purpose": "closing" });
            browser.post("/start", purpose).await.json()
        });
        assert_eq!(browser.post("/answer", answered).await.status, 200);
        let mut old = browser.clone();
        let answer = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(old.get("/me").await.status, 200, "it lingers");
        probe.clock.advance(SECOND);
        let tries = probe.number("SELECT COUNT(*) FROM auth_attempt").await;
        let mut right = open.clone();
        right["purpose"] = json!("closing");
        for (path, body) in [
            ("/start", json!({ "target": "9" })),
            ("/start", json!({ "expecting": "a cat" })),
            ("/mailed", json!({ "target": "9" })),
            ("/answer", right),
            ("/transfer", json!({})),
        ] {
            check_refused(&old.post(path, body.clone()).await, "session_ended", &format!("{path} {body}"));
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_attempt").await, tries, "no try was taken");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_challenge").await, 2);
        // The new session may do this.
        probe.clock.advance(MINUTE);
        let own = challenge(&mut browser).await;
        assert_eq!(browser.post("/answer", own).await.status, 200);
        assert_eq!(browser.post("/transfer", json!({})).await.text, "7");
    }

    async fn a_sign_in_over_what_lingers_continues_nothing_and_ends_it(probe: Probe) {
        for way in ["the same", "another", "registration"] {
            let name = format!("alice-{}", way.replace(' ', "-"));
            let (mut browser, old) = stepped_up(&probe, &name).await;
            let lineage = browser.get("/lineage").await.text;
            let mut tab = old.clone();
            assert_eq!(tab.get("/lineage").await.text, lineage, "{way}: it lingers");
            let answer = match way {
                "the same" => tab.login(&name, PASSWORD).await,
                "another" => {
                    probe.register("bob").await;
                    tab.login("bob", PASSWORD).await
                }
                _ => {
                    let body = json!({ "username": "carol", "password": PASSWORD });
                    tab.post("/auth/register", body).await
                }
            };
            assert!(matches!(answer.status, 200 | 201), "{way}: {}", answer.text);
            assert_ne!(tab.get("/lineage").await.text, lineage, "{way}: the other one lives");
            assert_eq!(browser.get("/lineage").await.text, lineage, "{way}");
            check_refused(&old.clone().get("/me").await, "session_ended", way);
        }
    }
}
