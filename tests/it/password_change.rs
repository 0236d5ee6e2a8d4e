//! Changing the own password.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::account::NewAccount;
use portcullis::password_change::PasswordChangeError;
use portcullis::registration::Application;
use portcullis::session::SessionError;
use portcullis::{Clock, Factor, Identity, MessageKind};
use reqwest::Method;
use serde_json::{Value, json};

use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::verification::token_of;

const NEW: &str = "another horse battery staple";
const WRONG: &str = "wrong horse battery staple";

async fn hash(probe: &Probe, username: &str) -> String {
    let query = format!("SELECT password_hash FROM auth_account WHERE username = '{username}'");
    probe.text(&query).await.expect("a hash")
}

async fn events(probe: &Probe, kind: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
}

on_every_database! {
    async fn the_current_password_changes_it_and_ends_every_other_session(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let mut others = Vec::new();
        for _ in 0..3 {
            let mut other = browser.stranger();
            assert_eq!(other.login("alice", PASSWORD).await.status, 200);
            others.push(other);
        }
        let (_, mut bob) = probe.signed_in("bob").await;
        let (old, lineage) = (browser.clone(), browser.get("/lineage").await.text);
        let session = browser.get("/auth/session").await.json();
        probe.clock.advance(Duration::from_secs(600));

        let body = json!({
            "current_password": PASSWORD,
            "new_password": NEW,
            "new_password_again": NEW,
        });
        let answer = browser.put("/auth/password", body).await;
        assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("session")));
        assert_eq!(browser.get("/me").await.text, alice.id().to_string());
        assert_eq!(browser.get("/lineage").await.text, lineage);
        let now = browser.get("/auth/session").await.json();
        assert_eq!(now["session"]["expires_at"], session["session"]["expires_at"]);
        assert_eq!(now["factors"][0]["passed_at"], probe.clock.now().to_string());
        others.push(old);
        for other in &mut others {
            check(&other.get("/me").await, 401, "session_ended");
        }
        assert_eq!(bob.get("/me").await.status, 200);
        check(&browser.stranger().login("alice", PASSWORD).await, 401, "invalid_credentials");
        assert_eq!(browser.stranger().login("alice", NEW).await.status, 200);
        assert_eq!(browser.stranger().login("bob", PASSWORD).await.status, 200);
    }

    async fn the_owner_is_told_and_the_log_knows(probe: Probe) {
        let alice = NewAccount::username("alice").with_email("Alice@example.com");
        let application = Application::new(alice, PASSWORD);
        let registered = probe.auth.registration().register(application, &Default::default()).await;
        let alice = registered.expect("she registers").account;
        let mut browser = probe.browser().await;
        browser.login("alice", PASSWORD).await;
        let session = browser.get("/session-id").await.text;
        let body = json!({ "current_password": PASSWORD, "new_password": NEW });
        assert_eq!(browser.put("/auth/password", body).await.status, 200);
        // The other mail asks to verify the address.
        probe.mail().await;
        let notices = probe.notifier.sent_of(MessageKind::PasswordChanged);
        let [notice] = &notices[..] else { panic!("one notice") };
        assert_eq!(notice.account_id, Some(alice.id()));
        assert_eq!(notice.to.as_str(), "Alice@example.com");
        assert_eq!(notice.at, probe.clock.now());
        for words in [&notice.text, notice.html.as_ref().expect("HTML")] {
            assert!(words.contains("From: 127.0.0.1") && words.contains(" UTC"), "{words}");
            assert!(!words.contains("token"), "{words}");
        }
        let log = probe.auth.audit_log().of_account(alice.id(), 10).await.expect("the log");
        let event = log.iter().find(|event| event.kind == "authn_password_change");
        let event = event.expect("the event");
        assert_eq!(event.session_id.map(|id| id.to_string()), Some(session));
        assert_eq!(event.address.as_deref(), Some("127.0.0.1"));
        assert!(event.succeeded && event.at == probe.clock.now());
    }

    async fn a_wrong_current_password_changes_nothing(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let mut other = browser.stranger();
        other.login("alice", PASSWORD).await;
        let before = hash(&probe, "alice").await;
        // The factor is recent, but the given password must be right.
        for wrong in [WRONG, "", "Correct horse battery staple", NEW, &"a".repeat(2000)] {
            let body = json!({ "current_password": wrong, "new_password": NEW });
            let answer = browser.put("/auth/password", body).await;
            check(&answer, 403, "wrong_password");
            assert_eq!(answer.cookie(), None);
        }
        assert_eq!(hash(&probe, "alice").await, before);
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(other.get("/me").await.status, 200);
        assert_eq!(events(&probe, "authn_password_change").await, 0);
        // A password that is too long for any account is refused at once, without a record.
        assert_eq!(events(&probe, "authn_password_change_fail").await, 4);
        let log = probe.auth.audit_log().of_account(alice.id(), 20).await.expect("the log");
        let event = log.iter().find(|event| event.kind == "authn_password_change_fail");
        let event = event.expect("the event");
        assert_eq!((event.succeeded, event.detail.as_deref()), (false, Some("wrong_password")));
        assert_eq!(probe.mail().await.len(), 0);
    }

    async fn a_new_password_that_cannot_be_used_is_named(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice-in-wonderland").await;
        let before = hash(&probe, "alice-in-wonderland").await;
        let hashes = probe.auth.password_hashes();
        let again = |again: &str| json!({ "new_password": NEW, "new_password_again": again });
        for (body, field, code) in [
            (json!({ "new_password": "fourteen chars" }), "new_password", "too_short"),
            (json!({ "new_password": "" }), "new_password", "too_short"),
            (json!({ "new_password": "a".repeat(1025) }), "new_password", "too_long"),
            (json!({ "new_password": "Alice-in-Wonderland" }), "new_password", "is_login_name"),
            (again("another"), "new_password_again", "repetition_differs"),
            (again(""), "new_password_again", "repetition_differs"),
            (again(&NEW.to_uppercase()), "new_password_again", "repetition_differs"),
        ] {
            for current in [json!(PASSWORD), Value::Null] {
                let mut body = body.clone();
                body["current_password"] = current;
                let answer = browser.put("/auth/password", body.clone()).await;
                check(&answer, 422, "invalid_fields");
                let errors = answer.json()["errors"].as_object().expect("fields").clone();
                assert_eq!(errors.keys().collect::<Vec<_>>(), [field], "{body}");
                assert_eq!(answer.field_codes(field), [code], "{body}");
            }
        }
        assert_eq!(probe.auth.password_hashes(), hashes, "refused before any hashing");
        // The same password again would not end anything that a thief has.
        let body = json!({ "current_password": PASSWORD, "new_password": PASSWORD });
        let answer = browser.put("/auth/password", body).await;
        assert_eq!(answer.field_codes("new_password"), ["unchanged"]);
        assert_eq!(hash(&probe, "alice-in-wonderland").await, before);
        let body = json!({ "current_password": PASSWORD, "new_password": NEW });
        assert_eq!(browser.put("/auth/password", body).await.status, 200);
    }

    async fn a_recent_factor_stands_in_for_the_current_password(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        probe.clock.advance(Duration::from_millis(299_999));
        let answer = browser.put("/auth/password", json!({ "new_password": NEW })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // The new password works.
        assert_eq!(browser.stranger().login("alice", NEW).await.status, 200);
    }

    async fn a_factor_too_old_asks_to_step_up(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let before = hash(&probe, "alice").await;
        probe.clock.advance(Duration::from_secs(300));
        let answer = browser.put("/auth/password", json!({ "new_password": NEW })).await;
        check(&answer, 401, "insufficient_user_authentication");
        assert_eq!(
            answer.headers["www-authenticate"],
            "Cookie cookie-name=\"__Host-session\", error=\"insufficient_user_authentication\", \
             acr_values=\"urn:portcullis:factor:password\", max_age=\"300\""
        );
        assert_eq!(answer.cookie(), None, "the session is fine");
        let members = (&answer.json()["factors"], &answer.json()["max_age"]);
        assert_eq!(members, (&json!(["password"]), &json!(300)));
        assert_eq!(answer.json()["acr_values"], "urn:portcullis:factor:password");
        assert_eq!(hash(&probe, "alice").await, before);
        let body = json!({ "password": PASSWORD });
        assert_eq!(browser.post("/auth/reauthenticate", body).await.status, 200);
        let answer = browser.put("/auth/password", json!({ "new_password": NEW })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    async fn how_recent_is_configured_and_told(probe: Probe) {
        let probe = probe.configured(|config| {
            config.session.recent_factor = Duration::from_secs(60);
        });
        let (_, mut browser) = probe.signed_in("alice").await;
        probe.clock.advance(Duration::from_secs(60));
        let answer = browser.put("/auth/password", json!({ "new_password": NEW })).await;
        check(&answer, 401, "insufficient_user_authentication");
        let challenge = answer.headers["www-authenticate"].to_str().expect("ASCII");
        assert!(challenge.ends_with("max_age=\"60\""), "{challenge}");
        let body = json!({ "current_password": PASSWORD, "new_password": NEW });
        assert_eq!(browser.put("/auth/password", body).await.status, 200);
    }

    async fn whose_password_it_is_comes_from_the_session_alone(probe: Probe) {
        let (bob, _) = probe.signed_in("bob").await;
        let (_, mut alice) = probe.signed_in("alice").await;
        let before = hash(&probe, "bob").await;
        for field in ["account_id", "id", "login", "username", "account", "email", "user"] {
            let mut body = json!({ "current_password": PASSWORD, "new_password": NEW });
            body[field] = bob.id().to_string().into();
            check(&alice.put("/auth/password", body).await, 400, "invalid_body");
        }
        let body = json!({ "current_password": PASSWORD, "new_password": NEW });
        let path = format!("/auth/password?account_id={}&login=bob", bob.id());
        assert_eq!(alice.put(&path, body).await.status, 200);
        assert_eq!(hash(&probe, "bob").await, before);
        assert_eq!(alice.stranger().login("alice", NEW).await.status, 200);
    }

    async fn nobody_changes_a_password_without_a_session(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let body = json!({ "current_password": PASSWORD, "new_password": NEW });
        let mut stranger = browser.stranger();
        let answer = stranger.put("/auth/password", body.clone()).await;
        check(&answer, 401, "not_signed_in");
        assert!(answer.headers.contains_key("www-authenticate"));
        assert_eq!(stranger.post_empty("/auth/session/anonymous").await.status, 201);
        check(&stranger.put("/auth/password", body.clone()).await, 401, "not_signed_in");
        check(&browser.with_cookie("forged").put("/auth/password", body.clone()).await, 401, "invalid_token");
        // A browser sends the cookie with a request of another site, but it also says where the
        // request comes from.
        let cookie = browser.cookie.clone().expect("a cookie");
        let request = browser
            .raw(Method::PUT, "/auth/password")
            .header("cookie", format!("__Host-session={cookie}"))
            .header("sec-fetch-site", "cross-site")
            .json(&body);
        check(&send(request).await, 403, "cross_site_request");
        probe.auth.accounts().disable(alice.id()).await.expect("she is disabled");
        check(&browser.put("/auth/password", body).await, 401, "session_ended");
        assert_eq!(events(&probe, "authn_password_change").await, 0);
    }

    async fn a_sign_in_that_must_change_its_password_does_and_is_a_session(probe: Probe) {
        let alice = probe.register("alice").await;
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is set");
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.json()["result"], "password_change_required");
        let half = browser.clone();

        // The present password is not a change.
        let answer = browser.put("/auth/password", json!({ "new_password": PASSWORD })).await;
        assert_eq!(answer.field_codes("new_password"), ["unchanged"]);
        let answer = browser.put("/auth/password", json!({ "new_password": "short" })).await;
        check(&answer, 422, "invalid_fields");
        let body = json!({ "new_password": NEW, "new_password_again": "different" });
        check(&browser.put("/auth/password", body).await, 422, "invalid_fields");
        assert_eq!(browser.get("/must-change").await.status, 200, "it can be tried again");

        let answer = browser.put("/auth/password", json!({ "new_password": NEW })).await;
        assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("session")));
        assert_eq!(browser.get("/me").await.status, 200);
        check(&half.clone().get("/must-change").await, 401, "session_ended");
        let body = json!({ "new_password": "yet another horse staple" });
        check(&half.clone().put("/auth/password", body).await, 401, "session_ended");
        assert_eq!(browser.login("alice", NEW).await.json()["result"], "session");
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 401);
        // The account has no address, so a row says that there is no recipient.
        assert_eq!(probe.mail().await.len(), 0);
        assert_eq!(probe.text("SELECT kind FROM auth_outbox").await.as_deref(), Some("none"));
    }

    async fn a_sign_in_that_must_change_its_password_has_five_minutes(probe: Probe) {
        let alice = probe.register("alice").await;
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is set");
        let mut browser = probe.browser().await;
        browser.login("alice", PASSWORD).await;
        probe.clock.advance(Duration::from_secs(300));
        let answer = browser.put("/auth/password", json!({ "new_password": NEW })).await;
        check(&answer, 401, "token_expired");
        browser.login("alice", PASSWORD).await;
        probe.clock.advance(Duration::from_secs(299));
        let answer = browser.put("/auth/password", json!({ "new_password": NEW })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    async fn a_request_that_began_before_the_account_changed_hands_changes_no_password(probe: Probe) {
        // The request was accepted while its session was valid. Its factor is recent, so it does
        // not need the password.
        let held: Arc<Mutex<Option<Identity>>> = Arc::default();
        let hold = {
            let held = Arc::clone(&held);
            move |identity: Identity| async move {
                *held.lock().expect("nothing panics while it is held") = Some(identity);
            }
        };
        let hold = axum::routing::get(hold);
        let app = app(&probe.auth).route("/hold", hold.layer(probe.auth.layer()));
        let address = serve(app).await;
        let client = portcullis::ClientInfo::default();
        for end in ["nothing", "reset", "handed over", "changed", "disabled and enabled"] {
            let name = end.replace(' ', "-");
            let mail = format!("{name}@example.com");
            let id = probe.register_with_email(&name, &mail).await.id();
            let mut mallory = Browser::new(address);
            assert_eq!(mallory.login(&name, PASSWORD).await.status, 200);
            assert_eq!(mallory.get("/hold").await.status, 200);
            let identity = held.lock().expect("nothing panics while it is held").take();
            let identity = identity.expect("it was let in");
            let owner = || mallory.stranger();
            let link = async || {
                let mut sent = probe.mail().await.into_iter();
                let link = sent.rfind(|m| m.to.as_str() == mail && m.text.contains("#token="));
                token_of(&link.expect("a link"))
            };
            match end {
                "reset" => {
                    owner().post("/auth/password/forgot", json!({ "login": mail })).await;
                    let body = json!({ "token": link().await, "password": NEW });
                    assert_eq!(owner().post("/auth/password/reset", body).await.status, 204);
                }
                "handed over" => {
                    owner().post("/auth/verification", json!({ "email": mail })).await;
                    let body = json!({ "token": link().await });
                    let answer = owner().post("/auth/verification/confirm", body).await;
                    assert_eq!(answer.json()["result"], "password_change_required");
                }
                "changed" => {
                    let mut owner = owner();
                    owner.login(&name, PASSWORD).await;
                    let answer = owner.put("/auth/password", json!({ "new_password": NEW })).await;
                    assert_eq!(answer.status, 200, "{}", answer.text);
                }
                "disabled and enabled" => {
                    probe.auth.accounts().disable(id).await.expect("it is disabled");
                    probe.auth.accounts().enable(id).await.expect("it is enabled");
                }
                _ => {}
            }
            let before = format!("SELECT password_hash FROM auth_account WHERE username = '{name}'");
            let hash = probe.text(&before).await;
            let theirs = "a password of hers alone";
            let owner = identity.owner().expect("it has no limit");
            let changed = probe.auth.password_change().change(&owner, None, theirs, &client).await;
            let over = matches!(changed, Err(PasswordChangeError::Session(SessionError::Ended)));
            assert_eq!((changed.is_ok(), over), (end == "nothing", end != "nothing"), "{end}");
            assert_eq!(probe.text(&before).await == hash, end != "nothing", "{end}");
            let status = Browser::new(address).login(&name, theirs).await.status;
            assert_eq!(status, if end == "nothing" { 200 } else { 401 }, "{end}");
        }
    }

    async fn a_session_without_any_factor_shows_the_current_password(probe: Probe) {
        let alice = probe.register("alice").await;
        let auth = probe.rebuilt(|builder| builder.configure(|c| c.service.bearer = true));
        let client = portcullis::ClientInfo::default();
        let start = async |factor: Option<Factor>| {
            let start = auth.sessions().start(&alice, &client);
            let start = start.transport(portcullis::Transport::Bearer);
            match factor {
                Some(factor) => start.factor(factor).await,
                None => start.await,
            }
            .expect("a session")
        };
        let browser = crate::support::Browser::new(
            crate::support::probe::serve(crate::support::probe::app(&auth)).await,
        );
        let change = async |token: &str, body: Value| {
            let request = browser
                .raw(Method::PUT, "/auth/password")
                .header("authorization", format!("Bearer {token}"));
            send(request.json(&body)).await
        };
        let none = start(None).await;
        let token = none.token().expect("a bearer token");
        let answer = change(token, json!({ "new_password": NEW })).await;
        check(&answer, 401, "insufficient_user_authentication");
        let body = json!({ "new_password": NEW, "current_password": PASSWORD });
        let answer = change(token, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.set_cookies().len(), 0, "a bearer stays a bearer");
        assert!(answer.json()["token"].is_string());
    }
}
