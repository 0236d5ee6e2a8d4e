//! Trusted devices: who gets one, what it is worth, and what ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use portcullis::account_recovery::{NewRecovery, RecoveryActor};
use portcullis::config::Binding;
use portcullis::hook::{HookResult, Hooks, SigningIn};
use portcullis::login::{Credentials, LoginOutcome};
use portcullis::permission::RoleDefinition;
use portcullis::second_factor::FactorCode;
use portcullis::session::Ended;
use portcullis::{
    Account, AuthError, ClientInfo, Config, Factor, Identity, Issued, MessageKind, NotSignedIn,
    PendingSession, Permission, Portcullis, Refusal, Requirement, Secret,
};
use reqwest::Method;
use sea_orm::DatabaseTransaction;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::{Answer, COOKIE, DEVICE, TRUSTED, send};
use crate::support::call::extracted;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::suspicious::{CURL, FIREFOX, from, log_in};
use crate::totp::{STEP, check, code, enrol, person, start, step_up, verify};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NEW_PASSWORD: &str = "another horse battery staple";

fn on(config: &mut Config) {
    config.trusted_device.enabled = true;
}

/// A person with an authenticator, where devices can be trusted.
async fn trusting_person(probe: Probe, name: &str) -> (Probe, Account, Browser, String) {
    let probe = probe.configured(on);
    let (account, browser, secret) = person(&probe, name).await;
    (probe, account, browser, secret)
}

/// Signs in without a session, and with the other cookies of this browser.
async fn again(browser: &mut Browser, name: &str, password: &str) -> Answer {
    browser.cookie = None;
    browser.login(name, password).await
}

/// Signs in, and returns the result: `session` or `second_factor_required`.
async fn result(browser: &mut Browser, name: &str, password: &str) -> String {
    let answer = again(browser, name, password).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["result"].as_str().expect("a result").to_owned()
}

/// Answers the second step with a code, and ticks the box.
async fn tick(browser: &mut Browser, code: &str) -> Answer {
    let body = json!({ "code": code, "trust_device": true });
    browser.post("/auth/second-factor/verify", body).await
}

/// Trusts this browser, in a sign-in with the authenticator.
async fn trust(probe: &Probe, browser: &mut Browser, name: &str, secret: &str) -> Answer {
    probe.clock.advance(STEP);
    browser.trusted = None;
    assert_eq!(result(browser, name, PASSWORD).await, "second_factor_required");
    let answer = tick(browser, &code(probe, secret)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["trusted_device"], true, "{}", answer.text);
    assert!(browser.trusted.is_some());
    answer
}

/// Another browser, which this account trusts.
async fn device(probe: &Probe, browser: &Browser, name: &str, secret: &str) -> Browser {
    let mut device = browser.stranger();
    trust(probe, &mut device, name, secret).await;
    device
}

async fn rows(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_trusted_device").await
}

async fn events(probe: &Probe, kind: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

/// The number of events of removed devices with this detail.
async fn removed(probe: &Probe, cause: &str) -> i64 {
    let query =
        "SELECT COUNT(*) FROM auth_event WHERE kind = 'trusted_device_removed' AND detail = ";
    probe.number(&format!("{query}'{cause}'")).await
}

async fn told(probe: &Probe) -> usize {
    let sent = probe.mail().await;
    sent.iter().filter(|mail| mail.kind == MessageKind::TrustedDeviceAdded).count()
}

/// Returns the token of the link in the last message of this kind.
async fn link(probe: &Probe, kind: MessageKind) -> String {
    let sent = probe.mail().await;
    let mail = sent.iter().rfind(|mail| mail.kind == kind).expect("a mail");
    let (_, token) = mail.value("link").expect("a link").split_once("#token=").expect("a token");
    token.to_owned()
}

async fn recovery_codes(browser: &mut Browser) -> Vec<String> {
    let answer = browser.post("/auth/recovery-codes", json!({})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    serde_json::from_value(answer.json()["codes"].clone()).expect("a list")
}

async fn move_address(probe: &Probe, browser: &mut Browser, to: &str) {
    let answer = browser.post("/auth/email", json!({ "email": to })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let token = link(probe, MessageKind::EmailChangeConfirm).await;
    let answer = browser.post("/auth/email/confirm", json!({ "token": token })).await;
    assert!(answer.status < 300, "{}", answer.text);
}

async fn listed(browser: &mut Browser) -> Vec<Value> {
    let answer = browser.get("/auth/trusted-devices").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["trusted_devices"].as_array().expect("a list").clone()
}

/// A sign-in of an account by its methods, with what this client shows.
async fn sign_in(auth: &Portcullis, name: &str, client: &ClientInfo) -> LoginOutcome {
    let credentials = Credentials::password(name, PASSWORD);
    auth.login().with_password(credentials, client).await.expect("the password is right")
}

fn pending(outcome: LoginOutcome) -> PendingSession {
    match outcome {
        LoginOutcome::SecondFactorRequired(issued) => issued.pending_session().expect("it waits"),
        other => panic!("{other:?}"),
    }
}

/// Returns the trusted cookie of an answer.
fn token_of(issued: &Issued) -> Option<String> {
    let mut headers = axum::http::HeaderMap::new();
    issued.apply(&mut headers);
    let lines = headers.get_all("set-cookie").iter().map(|line| line.to_str().expect("ASCII"));
    let mut found = lines.filter_map(|line| line.strip_prefix(TRUSTED)?.strip_prefix('='));
    found.next().map(|rest| rest.split(';').next().unwrap_or_default().to_owned())
}

/// Refuses sign-ins while the flag is set.
#[derive(Clone, Default)]
struct Nights(Arc<AtomicBool>);

impl Hooks for Nights {
    async fn before_login(&self, _: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
        match self.0.load(Ordering::SeqCst) {
            true => Err(Refusal::new(StatusCode::FORBIDDEN, "closed", "come back later").into()),
            false => Ok(()),
        }
    }
}

on_every_database! {
    async fn a_trusted_device_skips_the_second_step_and_no_other_does(probe: Probe) {
        let (probe, _, browser, secret) = trusting_person(probe, "alice").await;
        let mut device = browser.stranger();
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "second_factor_required");
        assert_eq!(device.get("/auth/second-factor").await.json()["offers_trust"], true);
        let answer = tick(&mut device, &code(&probe, &secret)).await;
        assert_eq!((answer.status, &answer.json()["trusted_device"]), (200, &json!(true)), "{}", answer.text);
        assert_eq!((rows(&probe).await, events(&probe, "trusted_device_added").await), (1, 1));
        assert_eq!(told(&probe).await, 1);
        // This session has passed the factor itself.
        let session = device.get("/auth/session").await.json();
        assert!(session.get("trusted_device").is_none() && session["factors"].as_array().expect("a list").len() == 2);
        for _ in 0..3 {
            let before = device.trusted.clone();
            let answer = again(&mut device, "alice", PASSWORD).await;
            assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("session")), "{}", answer.text);
            assert_ne!(device.trusted, before, "the token is replaced");
            let session = device.get("/auth/session").await.json();
            assert_eq!(session["trusted_device"], true);
            assert_eq!(session["factors"].as_array().expect("a list").len(), 1, "only the password");
            assert_eq!(device.get("/me").await.status, 200);
        }
        let detail = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_success' AND detail = 'trusted_device'";
        assert_eq!(probe.number(detail).await, 3);
        assert_eq!((rows(&probe).await, told(&probe).await), (1, 1), "a use tells nobody");
        // The password is asked as always. A wrong one changes nothing.
        let before = device.trusted.clone();
        check(&again(&mut device, "alice", "not the right password").await, 401, "invalid_credentials");
        assert_eq!(device.trusted, before);
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "session");
        // Another browser, and this one without the cookie.
        assert_eq!(result(&mut browser.stranger(), "alice", PASSWORD).await, "second_factor_required");
        let mut bare = device.clone().showing(None);
        assert_eq!(result(&mut bare, "alice", PASSWORD).await, "second_factor_required");
        // A sign-out keeps it. To forget the device does not.
        assert_eq!(device.post_empty("/auth/logout").await.status, 204);
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "session");
        let mut headers = axum::http::HeaderMap::new();
        probe.auth.sessions().signed_out().forget_device().apply(&mut headers);
        let cleared = headers.get_all("set-cookie").iter().filter(|line| {
            line.to_str().is_ok_and(|line| line.starts_with(&format!("{TRUSTED}=;")) && line.ends_with("Max-Age=0"))
        });
        assert_eq!(cleared.count(), 1);
    }

    async fn the_end_is_absolute_and_the_cookie_has_it_at_each_use(probe: Probe) {
        let (probe, _, browser, secret) = trusting_person(probe, "alice").await;
        let mut device = browser.stranger();
        let attributes = |answer: &Answer| {
            let cookies = answer.set_cookies();
            let line = cookies.iter().find(|line| line.starts_with(&format!("{TRUSTED}="))).expect("a cookie");
            line.split_once(';').expect("attributes").1.to_owned()
        };
        let answer = trust(&probe, &mut device, "alice", &secret).await;
        let began = probe.auth_now();
        let expected = |age: u64| format!(" HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age={age}");
        // The token ends at a whole second.
        let whole = 30 * DAY.as_secs();
        let near = |text: &str, age: u64| [age - 1, age].iter().any(|age| text == expected(*age));
        assert!(near(&attributes(&answer), whole), "{}", attributes(&answer));
        let mut old = Vec::new();
        for day in [1, 10, 20, 29] {
            probe.clock.advance(began.plus(day * DAY).since(probe.auth_now()));
            old.push(device.trusted.clone());
            let answer = again(&mut device, "alice", PASSWORD).await;
            assert_eq!(answer.json()["result"], "session", "day {day}");
            let age = whole - u64::from(day) * DAY.as_secs();
            assert!(near(&attributes(&answer), age), "day {day}: {}", attributes(&answer));
            // No token works twice.
            for token in &old {
                let mut copy = browser.stranger().showing(token.clone());
                assert_eq!(result(&mut copy, "alice", PASSWORD).await, "second_factor_required");
                assert_eq!(&copy.trusted, token, "the answer sets no cookie");
            }
        }
        let last = began.plus(30 * DAY).minus(SECOND);
        probe.clock.advance(last.since(probe.auth_now()));
        let mut copy = device.clone();
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "session", "a second before the end");
        probe.clock.advance(SECOND);
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "second_factor_required");
        assert_eq!(result(&mut copy, "alice", PASSWORD).await, "second_factor_required");
        // A client that writes another end into its token has another token.
        let bytes = data_encoding::BASE64URL_NOPAD.decode(device.trusted.as_deref().expect("a token").as_bytes());
        let mut bytes = bytes.expect("base64");
        bytes[32..40].copy_from_slice(&probe.auth_now().plus(DAY).as_secs().to_be_bytes());
        device.trusted = Some(data_encoding::BASE64URL_NOPAD.encode(&bytes));
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "second_factor_required");
        // The row goes with the next maintenance, and not before.
        let report = probe.auth.maintenance().run().await.expect("it runs");
        assert_eq!((report.trusted_devices, rows(&probe).await), (1, 0), "{report}");
    }

    async fn only_a_person_who_passed_a_factor_and_asked_for_it_gets_one(probe: Probe) {
        let (probe, alice, mut browser, secret) = trusting_person(probe, "alice").await;
        let codes = recovery_codes(&mut browser).await;
        // Not asked.
        for body in [json!({}), json!({ "trust_device": false })] {
            probe.clock.advance(STEP);
            let mut other = browser.stranger();
            assert_eq!(result(&mut other, "alice", PASSWORD).await, "second_factor_required");
            let mut body = body;
            body["code"] = code(&probe, &secret).into();
            let answer = other.post("/auth/second-factor/verify", body).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert!(answer.json().get("trusted_device").is_none() && other.trusted.is_none());
        }
        // Asked, after a wrong code, and after a recovery code.
        let mut other = browser.stranger();
        assert_eq!(result(&mut other, "alice", PASSWORD).await, "second_factor_required");
        check(&tick(&mut other, "000000-000000-000000-000000").await, 403, "wrong_code");
        let answer = tick(&mut other, &codes[0]).await;
        assert_eq!((answer.status, &answer.json()["trusted_device"]), (200, &json!(false)), "{}", answer.text);
        assert!(other.trusted.is_none());
        // A step-up and a sign-in without a second step have no such box.
        let body = json!({ "code": code(&probe, &secret), "trust_device": true });
        check(&browser.post("/auth/reauthenticate", body).await, 400, "invalid_body");
        let body = json!({ "login": "alice", "password": PASSWORD, "trust_device": true });
        check(&browser.post("/auth/login", body).await, 400, "invalid_body");
        // An account that must set a new password.
        probe.clock.advance(STEP);
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is set");
        let mut other = browser.stranger();
        assert_eq!(result(&mut other, "alice", PASSWORD).await, "second_factor_required");
        let answer = tick(&mut other, &code(&probe, &secret)).await;
        let told_so = answer.json();
        assert_eq!(told_so["result"], "password_change_required", "{}", answer.text);
        assert_eq!((&told_so["trusted_device"], other.trusted.is_none()), (&json!(false), true));
        assert_eq!((rows(&probe).await, told(&probe).await), (0, 0));
    }

    async fn a_form_ticks_it_too(probe: Probe) {
        let (probe, _, browser, secret) = trusting_person(probe, "alice").await;
        let mut other = browser.stranger();
        assert_eq!(result(&mut other, "alice", PASSWORD).await, "second_factor_required");
        let code = code(&probe, &secret);
        let form = [("code", code.as_str()), ("trust_device", "true")];
        let request = other.request(Method::POST, "/auth/second-factor/verify").form(&form);
        let answer = other.send(request).await;
        assert_eq!((answer.status, &answer.json()["trusted_device"]), (200, &json!(true)), "{}", answer.text);
        assert_eq!(result(&mut other, "alice", PASSWORD).await, "session");
    }

    async fn it_is_no_factor(probe: Probe) {
        let (mut probe, alice, browser, secret) = trusting_person(probe, "alice").await;
        let read = Permission::parse("doc:read").expect("a permission");
        probe.auth.permissions().grant(alice.id(), &read).await.expect("it is granted");
        let guarded = |auth: &Portcullis| {
            let within = Requirement::within(5 * MINUTE);
            let totp = Requirement::factor(Factor::Totp);
            let strong = Requirement::at_least(Factor::Totp).expect("a factor with a place");
            let route = |path: &str, rule: Requirement| {
                Router::new().route(path, get(|| async { "done" })).route_layer(auth.require(rule))
            };
            let routes = route("/within", within).merge(route("/totp", totp)).merge(route("/strong", strong));
            app(auth)
                .merge(routes.layer(auth.layer()))
                .nest("/own", portcullis::own_account::routes(auth))
        };
        probe.auth = probe.rebuilt(|builder| builder.configure(on));
        let browser = browser.at(serve(guarded(&probe.auth)).await);
        let mut device = device(&probe, &browser, "alice", &secret).await;
        for path in ["/within", "/totp", "/strong"] {
            assert_eq!(device.get(path).await.status, 200, "the factor was passed: {path}");
        }
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "session");
        let refused = |answer: &Answer| {
            check(answer, 401, "insufficient_user_authentication");
            assert_eq!(answer.json()["factors"], json!(["totp"]), "{}", answer.text);
        };
        let refusals = async |device: &mut Browser| {
            for path in ["/within", "/totp", "/strong", "/own/account/export"] {
                refused(&device.get(path).await);
            }
            refused(&device.post("/auth/totp", json!({ "name": "theirs" })).await);
            refused(&device.post("/auth/recovery-codes", json!({})).await);
            refused(&device.post("/auth/email", json!({ "email": "thief@example.com" })).await);
            refused(&device.put("/auth/password", json!({ "new_password": NEW_PASSWORD })).await);
            let known = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
            refused(&device.put("/auth/password", known).await);
            refused(&device.delete("/own/account").await);
        };
        refusals(&mut device).await;
        // A password alone does not help, although it is a factor elsewhere.
        let answer = device.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        refusals(&mut device).await;
        let may = async |device: &mut Browser| {
            let asked = json!({ "questions": [{ "permission": "doc:read", "max_age": 300 }] });
            device.post("/auth/session/may", asked).await.json()["answers"][0]["outcome"].clone()
        };
        assert_eq!(may(&mut device).await, "step_up");
        // A second factor of the account does.
        probe.clock.advance(STEP);
        assert_eq!(step_up(&mut device, &code(&probe, &secret)).await.status, 200);
        for path in ["/within", "/totp", "/strong", "/own/account/export"] {
            assert_eq!(device.get(path).await.status, 200, "{path}");
        }
        assert_eq!(may(&mut device).await, "met");
        assert_eq!(device.get("/auth/session").await.json()["trusted_device"], true, "how it began");
        probe.clock.advance(5 * MINUTE);
        refused(&device.get("/within").await);
        assert_eq!(device.get("/totp").await.status, 200, "any time ago");
        // Then the password can be changed, like everything else, with a second factor that is recent.
        let known = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
        refused(&device.put("/auth/password", known.clone()).await);
        probe.clock.advance(STEP);
        assert_eq!(step_up(&mut device, &code(&probe, &secret)).await.status, 200);
        assert_eq!(device.put("/auth/password", known).await.status, 200);
        assert_eq!(device.get("/auth/session").await.json()["trusted_device"], true);
        let back = json!({ "current_password": NEW_PASSWORD, "new_password": PASSWORD });
        assert_eq!(device.put("/auth/password", back).await.status, 200);
        probe.clock.advance(STEP);
        // In a session that has passed both, the password is enough, as always.
        let mut other = browser.stranger();
        assert_eq!(result(&mut other, "alice", PASSWORD).await, "second_factor_required");
        assert_eq!(verify(&mut other, &code(&probe, &secret)).await.status, 200);
        probe.clock.advance(5 * MINUTE);
        assert_eq!(other.get("/within").await.status, 401);
        let answer = other.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(other.get("/within").await.status, 200);
    }

    async fn without_any_factor_left_a_session_is_like_every_other(probe: Probe) {
        let (probe, _, browser, secret) = trusting_person(probe, "alice").await;
        let mut device = device(&probe, &browser, "alice", &secret).await;
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "session");
        probe.clock.advance(STEP);
        assert_eq!(step_up(&mut device, &code(&probe, &secret)).await.status, 200);
        let id = device.get("/auth/totp").await.json()["authenticators"][0]["id"].clone();
        let removed = device.delete(&format!("/auth/totp/{}", id.as_str().expect("an id"))).await;
        assert_eq!(removed.status, 200, "{}", removed.text);
        // The password is the only factor now. Otherwise nothing could be changed.
        probe.clock.advance(5 * MINUTE);
        check(&device.post("/auth/email", json!({ "email": "a@example.com" })).await, 401, "insufficient_user_authentication");
        let answer = device.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(device.post("/auth/email", json!({ "email": "a@example.com" })).await.status, 202);
    }

    async fn each_change_that_secures_an_account_ends_its_trusted_devices(probe: Probe) {
        let mut probe = probe;
        let texts = probe.notifier.clone();
        probe.auth = probe.rebuilt(|builder| builder.text_messages(texts).configure(on));
        let auth = probe.auth.clone();
        let changes = [
            "authenticator added", "authenticator removed", "recovery codes made", "code at a sign-in",
            "code at a step-up", "code by own means", "code proved in a sign-in", "password changed",
            "password reset", "address changed", "address put back", "factors set", "others ended",
            "all ended", "ended by an administrator", "disabled", "closed", "removed by an administrator",
            "number changed", "factor undone", "recovered", "handed over", "restored",
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let name = format!("person{number}");
            let (alice, mut browser, secret) = person(&probe, &name).await;
            let id = alice.id();
            let tablet = match change {
                "authenticator removed" | "factor undone" => {
                    Some(enrol(&probe, &mut browser, "tablet").await.0)
                }
                _ => None,
            };
            let codes = match change.starts_with("code") {
                true => recovery_codes(&mut browser).await,
                false => Vec::new(),
            };
            let new = format!("{name}@new.example");
            if change == "address put back" {
                move_address(&probe, &mut browser, &new).await;
            }
            let before = rows(&probe).await;
            let mut one = device(&probe, &browser, &name, &secret).await;
            let mut two = device(&probe, &browser, &name, &secret).await;
            assert_eq!(result(&mut one, &name, PASSWORD).await, "session", "{change}");
            let client = ClientInfo::default();
            let mut password = PASSWORD;
            match change {
                "authenticator added" => drop(enrol(&probe, &mut browser, "tablet").await),
                "authenticator removed" => {
                    let path = format!("/auth/totp/{}", tablet.expect("a second one"));
                    assert_eq!(browser.delete(&path).await.status, 200);
                }
                "recovery codes made" => drop(recovery_codes(&mut browser).await),
                "code at a sign-in" => {
                    let mut other = browser.stranger();
                    assert_eq!(result(&mut other, &name, PASSWORD).await, "second_factor_required");
                    assert_eq!(verify(&mut other, &codes[0]).await.status, 200);
                }
                "code at a step-up" => assert_eq!(step_up(&mut browser, &codes[0]).await.status, 200),
                "code by own means" => {
                    let waits = pending(sign_in(&auth, &name, &client).await);
                    let outcome = auth.login().finish(&waits, Factor::RecoveryCode, &client).await;
                    assert!(matches!(outcome, Ok(LoginOutcome::Session(_))), "{outcome:?}");
                }
                "code proved in a sign-in" => {
                    let account = auth.accounts().find(id).await.expect("it answers").expect("alice");
                    let proving = auth.sign_in(&account, &client).proved(Factor::Password);
                    let outcome = proving.proved(Factor::RecoveryCode).await;
                    assert!(matches!(outcome, Ok(LoginOutcome::Session(_))), "{outcome:?}");
                }
                "password changed" => {
                    password = NEW_PASSWORD;
                    let body = json!({ "current_password": PASSWORD, "new_password": password });
                    assert_eq!(browser.put("/auth/password", body).await.status, 200);
                }
                "password reset" => {
                    password = NEW_PASSWORD;
                    let forgot = json!({ "login": format!("{name}@example.com") });
                    assert_eq!(browser.post("/auth/password/forgot", forgot).await.status, 202);
                    let token = link(&probe, MessageKind::PasswordReset).await;
                    let body = json!({ "token": token, "password": password });
                    assert!(browser.post("/auth/password/reset", body).await.status < 300);
                }
                "address changed" => move_address(&probe, &mut browser, &new).await,
                "address put back" => {
                    let token = link(&probe, MessageKind::EmailChangedUndo).await;
                    let undo = json!({ "token": token });
                    assert_eq!(browser.stranger().post("/auth/email/undo", undo).await.status, 204);
                }
                "factors set" => {
                    let set = [Factor::Totp, Factor::MailedCode];
                    auth.accounts().set_enrolled_factors(id, set).await.expect("they are set");
                }
                "others ended" => assert_eq!(browser.delete("/auth/sessions").await.status, 200),
                "all ended" => assert_eq!(browser.delete("/auth/sessions?scope=all").await.status, 200),
                "ended by an administrator" => {
                    auth.sessions().end_all(id, None).await.expect("they end");
                }
                "disabled" => {
                    auth.accounts().disable(id).await.expect("it is disabled");
                    auth.accounts().enable(id).await.expect("it is enabled");
                }
                "closed" => {
                    auth.accounts().close(id).await.expect("it is closed");
                    auth.accounts().keep(id).await.expect("it is kept");
                }
                "removed by an administrator" => {
                    assert_eq!(auth.trusted_devices().end_of(id).await.expect("they end"), 2);
                    assert_eq!(auth.trusted_devices().end_of(id).await.expect("none is left"), 0);
                }
                "number changed" => {
                    let number = format!("+49151123456{number:02}");
                    let answer = browser.post("/auth/phone", json!({ "phone": number })).await;
                    assert_eq!(answer.status, 202, "{}", answer.text);
                    let sent = probe.mail().await;
                    let asks = sent.iter().rfind(|mail| mail.kind == MessageKind::PhoneChangeConfirm);
                    let proof = json!({ "code": asks.expect("a text").value("code").expect("a code") });
                    let answer = browser.post("/auth/phone/confirm", proof).await;
                    assert_eq!(answer.status, 200, "{}", answer.text);
                }
                "factor undone" => {
                    let undo = json!({ "token": link(&probe, MessageKind::FactorAdded).await });
                    let answer = browser.stranger().post("/auth/second-factor/undo", undo).await;
                    assert_eq!(answer.status, 204, "{}", answer.text);
                }
                "recovered" => {
                    password = NEW_PASSWORD;
                    let (recovery, cli) = (auth.account_recovery(), RecoveryActor::Program("cli"));
                    recovery.open(id, NewRecovery::new("called back"), cli).await.expect("it is opened");
                    probe.clock.advance(3 * DAY);
                    recovery.complete(id, cli).await.expect("it is completed");
                    let token = link(&probe, MessageKind::RecoveryLink).await;
                    recovery.finish(&token, password, &client).await.expect("it is finished");
                }
                "handed over" => {
                    password = NEW_PASSWORD;
                    for change in [
                        format!("UPDATE auth_account SET version = version + 1, verified_at = NULL WHERE username = '{name}'"),
                        format!("UPDATE auth_login_name SET verified_at = NULL WHERE normal = '{name}@example.com'"),
                    ] {
                        probe.execute(&change).await;
                    }
                    let mut owner = browser.stranger();
                    let asked = json!({ "login": format!("{name}@example.com") });
                    assert_eq!(owner.post("/auth/login/mail", asked).await.status, 202);
                    let body = json!({ "token": link(&probe, MessageKind::MailLogin).await });
                    let answer = owner.post("/auth/login/mail/confirm", body).await;
                    assert_eq!(answer.json()["result"], "password_change_required", "{}", answer.text);
                    let body = json!({ "new_password": password });
                    assert_eq!(owner.put("/auth/password", body).await.status, 200);
                    assert_eq!(rows(&probe).await, before, "they tell where somebody else was");
                }
                "restored" => drop(auth.maintenance().after_restore().await.expect("it runs")),
                other => panic!("{other}"),
            }
            if matches!(change, "recovered" | "handed over") {
                // The account has no factor any more for which a device could stand in.
                for device in [&mut one, &mut two] {
                    assert_eq!(result(device, &name, password).await, "session", "{change}");
                    let session = device.get("/auth/session").await.json();
                    assert!(session.get("trusted_device").is_none(), "{change}: {session}");
                    assert!(listed(device).await.is_empty(), "{change}");
                }
                continue;
            }
            for device in [&mut one, &mut two] {
                let result = result(device, &name, password).await;
                assert_eq!(result, "second_factor_required", "{change}");
            }
            // Nobody has them in the list any more.
            probe.clock.advance(STEP);
            assert_eq!(verify(&mut two, &code(&probe, &secret)).await.status, 200, "{change}");
            assert!(listed(&mut two).await.is_empty(), "{change}");
            probe.forget_attempts().await;
        }
        assert_eq!(removed(&probe, "recovery code used").await, 4);
        assert_eq!(removed(&probe, "administrator").await, 1);
    }

    async fn a_session_that_a_device_began_ends_when_its_owner_may_not_trust_it_any_more(probe: Probe) {
        let (probe, alice, browser, secret) = trusting_person(probe, "alice").await;
        let (auth, id) = (probe.auth.clone(), alice.id());
        probe.superuser("root").await;
        let plain = RoleDefinition::new("plain", ["doc:read"]);
        let admin = RoleDefinition::new("admin", ["user:read"]).requires_factor(true);
        auth.roles().define([plain, admin]).await.expect("they are defined");
        auth.roles().grant(id, "plain").await.expect("it is granted");
        // This session has passed the factor when its device became trusted.
        let mut device = device(&probe, &browser, "alice", &secret).await;
        let mut began = device.clone();
        // This one passes it later.
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "session");
        let mut stepped = device.clone();
        probe.clock.advance(STEP);
        assert_eq!(step_up(&mut stepped, &code(&probe, &secret)).await.status, 200);
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "session");
        let cookie = format!("{COOKIE}={}", device.cookie.as_deref().expect("a cookie"));
        let open: Identity = extracted(&auth, &cookie).await;
        for cause in ["a role that requires a factor", "a role that forbids it", "a superuser"] {
            let change = async |on: bool| match (cause, on) {
                ("a superuser", on) => auth.accounts().set_superuser(id, on).await.expect("it is set"),
                ("a role that forbids it", on) => {
                    auth.roles().allow_trusted_devices("plain", !on).await.expect("it is changed");
                }
                (_, true) => auth.roles().grant(id, "admin").await.expect("it is granted"),
                (_, false) => auth.roles().revoke(id, "admin").await.expect("it is revoked"),
            };
            assert_eq!(device.get("/me").await.status, 200, "{cause}");
            assert!(auth.recheck(&open).await.is_ok(), "{cause}");
            change(true).await;
            check(&device.get("/me").await, 401, "session_ended");
            let (answer, statements) = probe.statements(device.get("/me")).await;
            assert_eq!((answer.status, statements), (401, 1), "{cause}");
            check(&device.post_empty("/auth/session/refresh").await, 401, "session_ended");
            let body = json!({ "code": code(&probe, &secret) });
            check(&device.post("/auth/reauthenticate", body).await, 401, "session_ended");
            let rechecked = auth.recheck(&open).await;
            let ended = AuthError::NotSignedIn(NotSignedIn::Ended(Ended::Revoked)).to_string();
            assert_eq!(rechecked.expect_err("it has ended").to_string(), ended, "{cause}");
            for other in [&mut began, &mut stepped] {
                assert_eq!(other.get("/me").await.status, 200, "{cause}");
            }
            // The next sign-in there asks for the factor.
            let mut again = device.clone();
            assert_eq!(result(&mut again, "alice", PASSWORD).await, "second_factor_required", "{cause}");
            change(false).await;
        }
        assert_eq!(device.get("/me").await.status, 200);
        let off = serve(app(&probe.rebuilt(|builder| builder))).await;
        check(&device.at(off).get("/me").await, 401, "session_ended");
        assert_eq!(stepped.at(off).get("/me").await.status, 200);
        assert_eq!(device.at(off).post_empty("/auth/logout").await.status, 204);
    }

    async fn a_factor_that_was_passed_before_the_session_moved_is_enough_to_keep_it(probe: Probe) {
        let (probe, alice, browser, secret) = trusting_person(probe, "alice").await;
        let probe = probe.configured(|config| {
            on(config);
            config.session.binding = Binding::StepUp;
        });
        let admin = RoleDefinition::new("admin", ["user:read"]).requires_factor(true);
        probe.auth.roles().define([admin]).await.expect("it is defined");
        let address = serve(app(&probe.auth)).await;
        let mut device = device(&probe, &browser, "alice", &secret).await.at(address);
        device.cookie = None;
        assert_eq!(log_in(&mut device, FIREFOX, "alice").await.json()["result"], "session");
        let mut stepped = device.clone();
        stepped.cookie = None;
        assert_eq!(log_in(&mut stepped, FIREFOX, "alice").await.json()["result"], "session");
        probe.clock.advance(STEP);
        let body = Some(json!({ "code": code(&probe, &secret) }));
        let answer = from(&mut stepped, FIREFOX, (Method::POST, "/auth/reauthenticate"), body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        probe.auth.roles().grant(alice.id(), "admin").await.expect("it is granted");
        for agent in [FIREFOX, CURL] {
            let me = from(&mut stepped, agent, (Method::GET, "/me"), None).await;
            assert_eq!(me.status, 200, "{agent}: {}", me.text);
            check(&from(&mut device, agent, (Method::GET, "/me"), None).await, 401, "session_ended");
        }
        // It moved all the same: the factor does not count there.
        let session = from(&mut stepped, CURL, (Method::GET, "/auth/session"), None).await;
        assert_eq!(session.json()["factors"], json!([]), "{}", session.text);
    }

    async fn a_copied_session_ends_the_trust_in_all_devices(probe: Probe) {
        let (probe, _, browser, secret) = trusting_person(probe, "alice").await;
        let (_, _, bobs_secret) = person(&probe, "bob").await;
        let mut bob = device(&probe, &browser, "bob", &bobs_secret).await;
        // The third session was marked before its owner reported it.
        let causes = ["session reported", "theft", "session reported"];
        for (number, cause) in causes.into_iter().enumerate() {
            let mut one = device(&probe, &browser, "alice", &secret).await;
            let mut two = device(&probe, &browser, "alice", &secret).await;
            assert_eq!(result(&mut one, "alice", PASSWORD).await, "session");
            let of_one = one.get("/auth/session").await.json()["session"]["id"].as_str().expect("an id").to_owned();
            let report = format!("/auth/sessions/{of_one}/report");
            if cause == "theft" {
                let mut copy = one.clone();
                for pass in [20, 5] {
                    probe.clock.advance(pass * MINUTE);
                    assert_eq!(one.get("/me").await.status, 200);
                }
                check(&copy.get("/me").await, 401, "session_ended");
                check(&copy.get("/me").await, 401, "session_ended");
                assert_eq!(events(&probe, "session_theft_suspected").await, 1);
            } else {
                // To end a session, or another person's, ends nothing else.
                let mut third = one.stranger().showing(one.trusted.clone());
                assert_eq!(result(&mut third, "alice", PASSWORD).await, "session");
                let of_third = third.get("/auth/session").await.json()["session"]["id"].as_str().expect("an id").to_owned();
                assert_eq!(bob.get("/me").await.status, 200);
                check(&bob.post_empty(&report).await, 404, "session_not_found");
                assert_eq!(two.delete(&format!("/auth/sessions/{of_third}")).await.status, 204);
                assert_eq!(result(&mut third, "alice", PASSWORD).await, "session");
                one.trusted = third.trusted.clone();
                if number == 2 {
                    let id = of_one.parse().expect("an id");
                    probe.auth.sessions().mark_suspicious(id).await.expect("it is marked");
                    assert_eq!(rows(&probe).await, 3, "the application alone ends no trust");
                }
                for _ in 0..2 {
                    assert_eq!(two.post_empty(&report).await.status, 204);
                }
            }
            assert_eq!(rows(&probe).await, 1, "{cause}");
            let times = causes[..=number].iter().filter(|of| **of == cause).count();
            assert_eq!(removed(&probe, cause).await, i64::try_from(times).expect("small"));
            assert_eq!(events(&probe, "trusted_device_removed").await, 1 + i64::try_from(number).expect("small"));
            for device in [&mut one, &mut two] {
                assert_eq!(result(device, "alice", PASSWORD).await, "second_factor_required", "{cause}");
            }
        }
        assert_eq!(result(&mut bob, "bob", PASSWORD).await, "session", "another account's stays");
    }

    async fn a_report_costs_one_statement_more_where_devices_are_trusted(probe: Probe) {
        let mut cost = Vec::new();
        for enabled in [false, true] {
            let auth = probe.rebuilt(|builder| builder.configure(|config| config.trusted_device.enabled = enabled));
            let name = format!("person-{enabled}");
            probe.register(&name).await;
            let mut owner = Browser::new(serve(app(&auth)).await);
            let mut other = owner.stranger();
            assert_eq!(result(&mut owner, &name, PASSWORD).await, "session");
            assert_eq!(result(&mut other, &name, PASSWORD).await, "session");
            let id = other.get("/auth/session").await.json()["session"]["id"].as_str().expect("an id").to_owned();
            assert_eq!(owner.get("/me").await.status, 200);
            let path = format!("/auth/sessions/{id}/report");
            let (answer, statements) = probe.statements(owner.post_empty(&path)).await;
            assert_eq!(answer.status, 204, "{}", answer.text);
            cost.push(statements);
        }
        // The session of the owner, the lock, the mark, whose it is, the event, its sign-in, and the keys that
        // were made in it. Then the devices.
        assert_eq!(cost, [7, 8]);
        assert_eq!(events(&probe, "trusted_device_removed").await, 0, "there was none");
    }

    async fn a_lifetime_that_was_made_shorter_counts_for_devices_that_are_trusted(probe: Probe) {
        let (probe, _, browser, secret) = trusting_person(probe, "alice").await;
        let short = probe.rebuilt(|builder| builder.configure(|config| {
            on(config);
            config.trusted_device.lifetime = 10 * DAY;
        }));
        let (long, short) = (browser.address, serve(app(&short)).await);
        let mut device = device(&probe, &browser, "alice", &secret).await;
        let first = probe.auth_now();
        let kept = crate::trusted_device::device(&probe, &browser, "alice", &secret).await;
        let began = probe.auth_now();
        let list = listed(&mut device.at(short)).await;
        let ends: Vec<_> = list.iter().map(|one| one["expires_at"].clone()).collect();
        assert_eq!(ends, [json!(began.plus(10 * DAY)), json!(first.plus(10 * DAY))]);
        assert_eq!((list.len(), listed(&mut device).await.len()), (2, 2));
        probe.clock.advance(9 * DAY);
        let answer = again(&mut device.at(short), "alice", PASSWORD).await;
        assert_eq!(answer.json()["result"], "session", "{}", answer.text);
        device.trusted = answer.cookie_of(TRUSTED);
        let cookies = answer.set_cookies();
        let line = cookies.iter().find(|line| line.starts_with(TRUSTED)).expect("a cookie");
        let age: u64 = line.rsplit("Max-Age=").next().expect("an age").parse().expect("a number");
        assert!(age <= DAY.as_secs() && age > DAY.as_secs() - 60, "{line}");
        probe.clock.advance(began.plus(10 * DAY).since(probe.auth_now()));
        for device in [&device, &kept] {
            assert_eq!(result(&mut device.at(short), "alice", PASSWORD).await, "second_factor_required");
        }
        // Nobody sees or removes what does not count. A node with the longer time still does.
        let mut signed_in = browser.stranger().at(short);
        assert_eq!(result(&mut signed_in, "alice", PASSWORD).await, "second_factor_required");
        assert_eq!(verify(&mut signed_in, &code(&probe, &secret)).await.status, 200);
        assert!(listed(&mut signed_in).await.is_empty());
        let id = list[0]["id"].as_str().expect("an id");
        check(&signed_in.delete(&format!("/auth/trusted-devices/{id}")).await, 404, "trusted_device_not_found");
        assert_eq!(result(&mut kept.at(long), "alice", PASSWORD).await, "session");
        assert_eq!(signed_in.delete("/auth/trusted-devices").await.json()["removed"], 0);
        assert_eq!(events(&probe, "trusted_device_removed").await, 0);
    }

    async fn roles_and_superusers_do_not_get_it_unless_that_is_allowed(probe: Probe) {
        let (mut probe, alice, browser, secret) = trusting_person(probe, "alice").await;
        let auth = probe.auth.clone();
        let mut device = device(&probe, &browser, "alice", &secret).await;
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "session");
        let plain = RoleDefinition::new("plain", ["doc:read"]);
        let admin = RoleDefinition::new("admin", ["user:read"]).requires_factor(true);
        auth.roles().define([plain, admin]).await.expect("they are defined");
        let role = auth.roles().find("admin").await.expect("it answers").expect("a role");
        assert!(role.requires_factor && !role.allows_trusted_devices);
        // A device that was trusted before counts only as long as the roles allow it.
        let check_step = async |device: &mut Browser, name: &str, allowed: bool, what: &str| {
            let expected = if allowed { "session" } else { "second_factor_required" };
            assert_eq!(result(device, name, PASSWORD).await, expected, "{what}");
            let mut other = device.stranger();
            assert_eq!(result(&mut other, name, PASSWORD).await, "second_factor_required");
            let page = other.get("/auth/second-factor").await.json();
            assert_eq!(page["offers_trust"], allowed, "{what}");
        };
        auth.roles().grant(alice.id(), "plain").await.expect("it is granted");
        check_step(&mut device, "alice", true, "a plain role").await;
        auth.roles().grant(alice.id(), "admin").await.expect("it is granted");
        check_step(&mut device, "alice", false, "a role that requires a factor").await;
        auth.roles().allow_trusted_devices("admin", true).await.expect("it is changed");
        check_step(&mut device, "alice", true, "a role that allows it").await;
        auth.roles().allow_trusted_devices("plain", false).await.expect("it is changed");
        check_step(&mut device, "alice", false, "another role that forbids it").await;
        // A person who ticks the box nevertheless.
        probe.clock.advance(STEP);
        let mut other = browser.stranger();
        assert_eq!(result(&mut other, "alice", PASSWORD).await, "second_factor_required");
        let answer = tick(&mut other, &code(&probe, &secret)).await;
        assert_eq!((answer.status, &answer.json()["trusted_device"]), (200, &json!(false)), "{}", answer.text);
        assert!(other.trusted.is_none());
        // The code says it again, for a role that exists.
        let plain = RoleDefinition::new("plain", ["doc:read"]).trusted_devices(true);
        let admin = RoleDefinition::new("admin", ["user:read"]);
        let defined = auth.roles().define([plain, admin]).await.expect("they are defined");
        assert_eq!((defined.changed, defined.unchanged), (vec!["plain".to_owned()], vec!["admin".to_owned()]));
        check_step(&mut device, "alice", true, "defined").await;
        auth.roles().revoke(alice.id(), "admin").await.expect("it is revoked");
        auth.roles().require_factor("plain", true).await.expect("it is changed");
        check_step(&mut device, "alice", true, "it says so itself").await;
        // Superusers, unless the configuration says otherwise.
        auth.accounts().set_superuser(alice.id(), true).await.expect("it is set");
        check_step(&mut device, "alice", false, "a superuser").await;
        probe.auth = probe.rebuilt(|builder| builder.configure(|config| {
            on(config);
            config.trusted_device.superusers = true;
        }));
        let address = serve(app(&probe.auth)).await;
        let mut device = device.at(address);
        check_step(&mut device, "alice", true, "superusers may").await;
    }

    async fn a_device_stands_in_only_for_a_factor_that_is_enough(probe: Probe) {
        let (probe, alice, mut browser, secret) = trusting_person(probe, "alice").await;
        // Mailed codes are a second factor too, and the device was trusted with one.
        let body = json!({ "method": "mailed_code" });
        assert_eq!(browser.post("/auth/sent-codes", body).await.status, 200);
        probe.clock.advance(MINUTE);
        let mut by_mail = browser.stranger();
        assert_eq!(result(&mut by_mail, "alice", PASSWORD).await, "second_factor_required");
        let mailed = crate::sent_code::ask(&probe, &mut by_mail, "/auth/second-factor/challenge", "mailed_code").await;
        let body = json!({ "method": "mailed_code", "code": mailed, "trust_device": true });
        let answer = by_mail.post("/auth/second-factor/verify", body).await;
        assert_eq!((answer.status, &answer.json()["trusted_device"]), (200, &json!(true)), "{}", answer.text);
        let mut by_app = device(&probe, &browser, "alice", &secret).await;
        for device in [&mut by_mail, &mut by_app] {
            assert_eq!(result(device, "alice", PASSWORD).await, "session");
            assert_eq!(device.get("/me").await.status, 200);
        }
        let admin = RoleDefinition::new("admin", ["user:read"]).requires_factor(true).trusted_devices(true);
        probe.auth.roles().define([admin]).await.expect("it is defined");
        probe.auth.roles().grant(alice.id(), "admin").await.expect("it is granted");
        // Nor does it go on standing in for one.
        check(&by_mail.get("/me").await, 401, "session_ended");
        assert_eq!(by_app.get("/me").await.status, 200);
        assert_eq!(result(&mut by_mail, "alice", PASSWORD).await, "second_factor_required");
        assert_eq!(result(&mut by_app, "alice", PASSWORD).await, "session");
    }

    async fn an_account_that_must_set_up_a_factor_gets_none_before(probe: Probe) {
        let probe = probe.configured(|config| {
            on(config);
            config.factor.grace = DAY;
        });
        let auth = probe.auth.clone();
        let alice = probe.register_with_email("alice", "alice@example.com").await;
        auth.accounts().verify(alice.id()).await.expect("it is verified");
        let browser = probe.browser().await;
        auth.accounts().set_enrolled_factors(alice.id(), [Factor::MailedCode]).await.expect("set");
        let admin = RoleDefinition::new("admin", ["user:read"]).requires_factor(true).trusted_devices(true);
        auth.roles().define([admin]).await.expect("it is defined");
        // Trusted before the role came: the weak factor is not enough any more.
        let by_mail = async |browser: &mut Browser| {
            probe.clock.advance(MINUTE);
            assert_eq!(result(browser, "alice", PASSWORD).await, "second_factor_required");
            let mailed = crate::sent_code::ask(&probe, browser, "/auth/second-factor/challenge", "mailed_code").await;
            let body = json!({ "method": "mailed_code", "code": mailed, "trust_device": true });
            browser.post("/auth/second-factor/verify", body).await
        };
        let mut before = browser.stranger();
        assert_eq!(by_mail(&mut before).await.json()["trusted_device"], true);
        assert_eq!(result(&mut before, "alice", PASSWORD).await, "session");
        auth.roles().grant(alice.id(), "admin").await.expect("it is granted");
        assert_eq!(result(&mut before, "alice", PASSWORD).await, "second_factor_required");
        // Neither during the time of grace nor after it.
        for result in ["session", "enrolment_required"] {
            let mut during = browser.stranger();
            let answer = by_mail(&mut during).await.json();
            assert_eq!((&answer["result"], &answer["trusted_device"]), (&json!(result), &json!(false)), "{answer}");
            assert!(during.trusted.is_none());
            probe.clock.advance(2 * DAY);
        }
    }

    async fn what_is_no_token_of_the_account_asks_for_the_second_step(probe: Probe) {
        let probe = probe.configured(|config| {
            on(config);
            config.service.bearer = true;
        });
        let (_, mut browser, secret) = person(&probe, "alice").await;
        let (_, bobs, bob_secret) = person(&probe, "bob").await;
        let codes = recovery_codes(&mut browser).await;
        let mut alice = device(&probe, &browser, "alice", &secret).await;
        let bob = device(&probe, &bobs, "bob", &bob_secret).await;
        let token = alice.trusted.clone().expect("a token");
        let mut waiting = browser.stranger();
        assert_eq!(result(&mut waiting, "alice", PASSWORD).await, "second_factor_required");
        let stored = probe.hex_dump("auth_trusted_device").await;
        let digests: Vec<_> = stored.iter().filter(|value| value.len() == 64).collect();
        assert_eq!(digests.len(), 2);
        let bytes = data_encoding::BASE64URL_NOPAD.decode(token.as_bytes()).expect("base64");
        let flipped = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            data_encoding::BASE64URL_NOPAD.encode(&bytes)
        };
        let mut wrong = vec![
            String::new(), "x".to_owned(), "x".repeat(5000), token[1..].to_owned(), format!("{token}="),
            token.to_uppercase(), format!("{token}{token}{token}{token}{token}{token}"),
            // Other kinds of tokens and codes.
            alice.cookie.clone().expect("a session"), alice.device.clone().expect("a known device"),
            waiting.cookie.clone().expect("a sign-in that waits"), codes[0].clone(), code(&probe, &secret),
            // Another account's.
            bob.trusted.clone().expect("a token"),
        ];
        wrong.extend([0, 31, 32, 39, 40, 47].map(flipped));
        wrong.extend(digests.iter().flat_map(|digest| {
            let raw = data_encoding::HEXLOWER.decode(digest.as_bytes()).expect("hex");
            [(*digest).clone(), data_encoding::BASE64URL_NOPAD.encode(&raw)]
        }));
        let before = rows(&probe).await;
        for presented in &wrong {
            let mut other = browser.stranger();
            other.trusted = Some(presented.clone());
            assert_eq!(result(&mut other, "alice", PASSWORD).await, "second_factor_required", "{presented}");
            assert_eq!(other.trusted.as_ref(), Some(presented), "the answer sets no cookie");
            // It ends no session, and is no obstacle to one.
            let mut signed_in = browser.clone();
            signed_in.trusted = Some(presented.clone());
            assert_eq!(signed_in.get("/me").await.status, 200, "{presented}");
            probe.forget_attempts().await;
        }
        assert_eq!(rows(&probe).await, before);
        // Two cookies of the name: another program may have set one.
        let twice = browser.raw(Method::POST, "/auth/login").header("sec-fetch-site", "same-origin");
        let twice = twice.header("cookie", format!("{TRUSTED}={token}; {TRUSTED}=x"));
        let answer = send(twice.json(&json!({ "login": "alice", "password": PASSWORD }))).await;
        assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
        // This token at every other door.
        for name in [COOKIE, DEVICE] {
            let request = browser.raw(Method::GET, "/me").header("sec-fetch-site", "same-origin");
            let answer = send(request.header("cookie", format!("{name}={token}"))).await;
            assert_eq!(answer.status, 401, "{name}");
        }
        let bearer = browser.raw(Method::GET, "/me").header("authorization", format!("Bearer {token}"));
        assert_eq!(send(bearer).await.status, 401);
        for method in ["totp", "recovery_code", "mailed_code", "texted_code"] {
            let body = json!({ "method": method, "code": token });
            check(&waiting.post("/auth/second-factor/verify", body).await, 403, "wrong_code");
            probe.forget_attempts().await;
        }
        check(&browser.post("/auth/reauthenticate", json!({ "code": token })).await, 403, "wrong_code");
        check(&browser.post("/auth/reauthenticate", json!({ "password": token })).await, 403, "wrong_password");
        check(&browser.stranger().login("alice", &token).await, 401, "invalid_credentials");
        for (path, body) in [
            ("/auth/password/reset", json!({ "token": token, "password": NEW_PASSWORD })),
            ("/auth/verification/confirm", json!({ "token": token })),
            ("/auth/email/confirm", json!({ "token": token })),
            ("/auth/email/undo", json!({ "token": token })),
            ("/auth/login/mail/confirm", json!({ "token": token })),
        ] {
            let answer = browser.clone().post(path, body).await;
            assert!((400..500).contains(&answer.status), "{path}: {}", answer.text);
        }
        // The neighbours still work.
        assert_eq!(result(&mut alice, "alice", PASSWORD).await, "session");
        assert_eq!(result(&mut bob.clone(), "bob", PASSWORD).await, "session");
        // A row that is moved to another account opens nothing.
        let of = |name: &str| format!("(SELECT id FROM auth_account WHERE username = '{name}')");
        let moved = format!(
            "UPDATE auth_trusted_device SET account_id = {}, epoch = (SELECT epoch FROM auth_account \
             WHERE username = 'bob') WHERE account_id = {}", of("bob"), of("alice")
        );
        probe.execute(&moved).await;
        assert_eq!(result(&mut alice, "alice", PASSWORD).await, "second_factor_required");
        let mut as_bob = alice.clone();
        assert_eq!(result(&mut as_bob, "bob", PASSWORD).await, "second_factor_required");
    }

    async fn accounts_of_one_browser_do_not_end_each_others_trust(probe: Probe) {
        let probe = probe.configured(on);
        let mut people = Vec::new();
        for number in 0..6 {
            let name = format!("person{number}");
            let (_, browser, secret) = person(&probe, &name).await;
            people.push((name, browser, secret));
        }
        let mut shared = people[0].1.stranger();
        for (name, _, secret) in &people[..5] {
            probe.clock.advance(STEP);
            assert_eq!(result(&mut shared, name, PASSWORD).await, "second_factor_required");
            assert_eq!(tick(&mut shared, &code(&probe, secret)).await.json()["trusted_device"], true);
        }
        for round in 0..2 {
            for (name, ..) in &people[..5] {
                assert_eq!(result(&mut shared, name, PASSWORD).await, "session", "{round} {name}");
            }
        }
        // A sixth one replaces the one that was used least recently.
        probe.clock.advance(STEP);
        assert_eq!(result(&mut shared, "person5", PASSWORD).await, "second_factor_required");
        assert_eq!(tick(&mut shared, &code(&probe, &people[5].2)).await.json()["trusted_device"], true);
        assert_eq!(result(&mut shared, "person0", PASSWORD).await, "second_factor_required");
        for name in ["person1", "person4", "person5"] {
            assert_eq!(result(&mut shared, name, PASSWORD).await, "session", "{name}");
        }
        // To trust a browser again replaces its first trust.
        let (name, _, secret) = &people[5];
        probe.clock.advance(STEP);
        let before = rows(&probe).await;
        let kept = shared.trusted.clone();
        let body = json!({ "login": name, "password": PASSWORD });
        let mut fresh = shared.stranger().showing(None);
        assert_eq!(fresh.post("/auth/login", body).await.status, 200);
        fresh.trusted = kept.clone();
        assert_eq!(tick(&mut fresh, &code(&probe, secret)).await.json()["trusted_device"], true);
        assert_eq!((rows(&probe).await, removed(&probe, "replaced").await), (before, 1));
        assert_eq!(events(&probe, "trusted_device_removed").await, 1);
        let mut old = shared.stranger().showing(kept);
        assert_eq!(result(&mut old, name, PASSWORD).await, "second_factor_required");
        assert_eq!(result(&mut fresh, name, PASSWORD).await, "session");
        assert_eq!(result(&mut fresh, "person4", PASSWORD).await, "session", "the others stay");
    }

    async fn of_a_hundred_sign_ins_with_one_token_one_uses_it(probe: Probe) {
        let (probe, _, browser, secret) = trusting_person(probe, "alice").await;
        let device = device(&probe, &browser, "alice", &secret).await;
        let mut requests = JoinSet::new();
        for _ in 0..100 {
            let mut copy = device.clone();
            requests.spawn(async move {
                let answer = again(&mut copy, "alice", PASSWORD).await;
                (answer, copy)
            });
        }
        let answers = requests.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(answer, _)| answer.json()["result"] == "session");
        assert_eq!(won.len(), 1);
        for (answer, copy) in &lost {
            assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
            assert_eq!(copy.trusted, device.trusted, "a loser gets no token");
        }
        let full = "SELECT COUNT(*) FROM auth_session WHERE stage = 0 AND factors LIKE '%d%'";
        assert_eq!(probe.number(full).await, 1);
        let (_, mut winner) = won.into_iter().next().expect("one");
        assert_eq!(result(&mut winner, "alice", PASSWORD).await, "session");
        assert_eq!(rows(&probe).await, 1);
    }

    async fn owners_see_and_remove_their_devices(probe: Probe) {
        let (probe, alice, mut browser, secret) = trusting_person(probe, "alice").await;
        let (_, bobs, bob_secret) = person(&probe, "bob").await;
        assert!(listed(&mut browser).await.is_empty());
        let mut one = device(&probe, &browser, "alice", &secret).await;
        let mut two = device(&probe, &browser, "alice", &secret).await;
        let mut bob = device(&probe, &bobs, "bob", &bob_secret).await;
        let list = listed(&mut two).await;
        let current: Vec<_> = list.iter().map(|device| device["current"].as_bool()).collect();
        assert_eq!(current, [Some(true), Some(false)], "{list:?}");
        assert!(list.iter().all(|device| device["address"] == "127.0.0.1" && device["expires_at"].is_string()));
        assert!(listed(&mut browser).await.iter().all(|device| device["current"] == false));
        assert_eq!(result(&mut one, "alice", PASSWORD).await, "session");
        assert_eq!(listed(&mut one).await[0]["current"], true, "the one that was used last comes first");
        // Another account's, no id, and one that is gone.
        let of_bob = listed(&mut bob).await[0]["id"].as_str().expect("an id").to_owned();
        let of_one = listed(&mut one).await[0]["id"].as_str().expect("an id").to_owned();
        for id in [of_bob.as_str(), "x", "%ff"] {
            check(&browser.delete(&format!("/auth/trusted-devices/{id}")).await, 404, "trusted_device_not_found");
            check(&browser.post_empty(&format!("/auth/trusted-devices/{id}/remove")).await, 404, "trusted_device_not_found");
        }
        // This needs no recent factor. A session that it began goes on.
        probe.clock.advance(5 * MINUTE);
        assert_eq!(browser.delete(&format!("/auth/trusted-devices/{of_one}")).await.status, 204);
        check(&browser.delete(&format!("/auth/trusted-devices/{of_one}")).await, 404, "trusted_device_not_found");
        assert_eq!(one.get("/me").await.status, 200);
        assert_eq!(result(&mut one, "alice", PASSWORD).await, "second_factor_required");
        assert_eq!(result(&mut two, "alice", PASSWORD).await, "session");
        let of_two = listed(&mut two).await[0]["id"].as_str().expect("an id").to_owned();
        assert_eq!(browser.post_empty(&format!("/auth/trusted-devices/{of_two}/remove")).await.status, 204);
        assert_eq!(result(&mut two, "alice", PASSWORD).await, "second_factor_required");
        for by_form in [false, true] {
            let mut three = device(&probe, &browser, "alice", &secret).await;
            let mut four = device(&probe, &browser, "alice", &secret).await;
            let answer = match by_form {
                false => browser.delete("/auth/trusted-devices").await,
                true => browser.post_empty("/auth/trusted-devices/remove").await,
            };
            assert_eq!((answer.status, &answer.json()["removed"]), (200, &json!(2)), "{}", answer.text);
            for device in [&mut three, &mut four] {
                assert_eq!(result(device, "alice", PASSWORD).await, "second_factor_required");
            }
        }
        assert_eq!(result(&mut bob, "bob", PASSWORD).await, "session", "another account's stays");
        assert_eq!((events(&probe, "trusted_device_removed").await, removed(&probe, "all").await), (4, 2));
        // A limited session is not the owner.
        let ceiling = [Permission::parse("doc:read").expect("a permission")];
        let account = probe.auth.accounts().find(alice.id()).await.expect("it answers").expect("alice");
        let limited = probe.auth.sessions().start(&account, &ClientInfo::default()).ceiling(ceiling);
        let cookie = crate::support::call::cookie_of(&limited.await.expect("it starts"));
        let (_, cookie) = cookie.split_once('=').expect("a value");
        let mut limited = browser.with_cookie(cookie);
        check(&limited.get("/auth/trusted-devices").await, 403, "limited_session");
        check(&limited.delete("/auth/trusted-devices").await, 403, "limited_session");
        // Nobody and a sign-in that waits see nothing.
        check(&browser.stranger().get("/auth/trusted-devices").await, 401, "not_signed_in");
        check(&two.get("/auth/trusted-devices").await, 401, "second_factor_required");
    }

    async fn an_account_has_a_limited_number_of_them(probe: Probe) {
        let probe = probe.configured(|config| {
            on(config);
            config.trusted_device.max_per_account = 2;
        });
        let (_, browser, secret) = person(&probe, "alice").await;
        let mut one = device(&probe, &browser, "alice", &secret).await;
        let mut two = device(&probe, &browser, "alice", &secret).await;
        probe.clock.advance(STEP);
        assert_eq!(result(&mut one, "alice", PASSWORD).await, "session");
        let mut three = device(&probe, &browser, "alice", &secret).await;
        assert_eq!((rows(&probe).await, removed(&probe, "limit").await), (2, 1));
        assert_eq!(events(&probe, "trusted_device_removed").await, 1);
        assert_eq!(result(&mut two, "alice", PASSWORD).await, "second_factor_required", "used least recently");
        for device in [&mut one, &mut three] {
            assert_eq!(result(device, "alice", PASSWORD).await, "session");
        }
    }

    async fn a_sign_in_without_the_cookie_costs_no_statement_more(probe: Probe) {
        let (_, browser, secret) = person(&probe, "alice").await;
        let mut cost = Vec::new();
        for enabled in [false, true] {
            let auth = probe.rebuilt(|builder| builder.configure(|config| config.trusted_device.enabled = enabled));
            let other = browser.stranger().at(serve(app(&auth)).await);
            // The first request also makes what is kept per instance.
            again(&mut other.clone(), "alice", PASSWORD).await;
            for shown in [None, Some("x".to_owned()), Some("A".repeat(64)), Some("A".repeat(320))] {
                let mut other = other.clone().showing(shown);
                let (answer, statements) = probe.statements(again(&mut other, "alice", PASSWORD)).await;
                assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
                cost.push(statements);
            }
        }
        assert!(cost.iter().all(|one| *one == cost[0]), "{cost:?}");
        let probe = probe.configured(on);
        let browser = browser.at(serve(app(&probe.auth)).await);
        let mut device = device(&probe, &browser, "alice", &secret).await;
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "session");
        let (answer, statements) = probe.statements(again(&mut device, "alice", PASSWORD)).await;
        assert_eq!(answer.json()["result"], "session", "{}", answer.text);
        // Compared with a sign-in that needs no second factor, in which the roles are read too: the device,
        // the lock of the account, and the new token.
        let (_, mut bob) = probe.signed_in("bob").await;
        assert_eq!(result(&mut bob, "bob", PASSWORD).await, "session");
        let (answer, without) = probe.statements(again(&mut bob, "bob", PASSWORD)).await;
        assert_eq!(answer.json()["result"], "session", "{}", answer.text);
        assert_eq!((cost[0], without, statements), (7, 8, 11));
    }

    async fn own_means_trust_and_are_trusted_after_a_password(probe: Probe) {
        let (probe, alice, _, _) = trusting_person(probe, "alice").await;
        let auth = &probe.auth;
        let client = ClientInfo::default();
        let account = auth.accounts().find(alice.id()).await.expect("it answers").expect("alice");
        let waits = pending(sign_in(auth, "alice", &client).await);
        assert!(waits.offers_trust());
        let outcome = auth.login().finish_and_trust(&waits, Factor::Totp, &client).await.expect("it ends");
        let issued = outcome.into_issued();
        assert!(issued.trusts_device() && issued.trusted_device_token().is_none());
        let shown = |token: &str| ClientInfo::default().with_trusted_device_token(token);
        let mut token = token_of(&issued).expect("a token");
        // A password that the application checked, and one that portcullis did.
        let issued = match auth.sign_in(&account, &shown(&token)).proved(Factor::Password).await.expect("it ends") {
            LoginOutcome::Session(issued) => issued,
            other => panic!("{other:?}"),
        };
        token = token_of(&issued).expect("a token");
        let LoginOutcome::Session(issued) = sign_in(auth, "alice", &shown(&token)).await else { panic!("it waits") };
        token = token_of(&issued).expect("a token");
        // Nothing else than a password: not the mailbox, and not what another service says.
        for factor in [Factor::External, Factor::MailedCode] {
            let outcome = auth.sign_in(&account, &shown(&token)).proved(factor).await.expect("it ends");
            assert!(matches!(outcome, LoginOutcome::SecondFactorRequired(_)), "{factor:?}: {outcome:?}");
        }
        // A real factor does not use it up.
        let client = shown(&token);
        let both = auth.sign_in(&account, &client).proved(Factor::Password).proved(Factor::Totp);
        let LoginOutcome::Session(issued) = both.await.expect("it ends") else { panic!("it waits") };
        assert!(token_of(&issued).is_none());
        assert!(matches!(sign_in(auth, "alice", &shown(&token)).await, LoginOutcome::Session(_)));
        // Without the wish there is no token.
        let client = ClientInfo::default();
        let waits = pending(sign_in(auth, "alice", &client).await);
        let outcome = auth.login().finish(&waits, Factor::Totp, &client).await.expect("it ends");
        assert!(!outcome.into_issued().trusts_device());
        let waits = pending(sign_in(auth, "alice", &client).await);
        let code = FactorCode::totp("000000");
        assert!(auth.second_factor().verify_and_trust(&waits, code, &client).await.is_err());
    }

    async fn a_bearer_stores_its_token_itself(probe: Probe) {
        let probe = probe.configured(|config| {
            on(config);
            config.service.bearer = true;
        });
        let (_, browser, secret) = person(&probe, "alice").await;
        let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let login = |token: &str| {
            let request = browser.raw(Method::POST, "/auth/login").json(&body);
            if token.is_empty() { request } else { request.header("portcullis-trusted-device", token) }
        };
        let waits = send(login("")).await.json();
        let bearer = format!("Bearer {}", waits["token"].as_str().expect("a token"));
        let verify = browser.raw(Method::POST, "/auth/second-factor/verify").header("authorization", bearer);
        let answer = send(verify.json(&json!({ "code": code(&probe, &secret), "trust_device": true }))).await;
        assert!(answer.set_cookies().is_empty());
        let mut token = answer.json()["trusted_device_token"].as_str().expect("a token").to_owned();
        for _ in 0..2 {
            let answer = send(login(&token)).await;
            assert!(answer.set_cookies().is_empty());
            assert_eq!(answer.json()["result"], "session", "{}", answer.text);
            let next = answer.json()["trusted_device_token"].as_str().expect("a token").to_owned();
            assert_ne!(next, token);
            assert_eq!(send(login(&token)).await.json()["result"], "second_factor_required");
            token = next;
        }
        assert_eq!(send(login(&token).header("portcullis-trusted-device", "x")).await.json()["result"], "second_factor_required");
        assert_eq!(send(login("x")).await.json()["result"], "second_factor_required");
        // Without bearer tokens the header says nothing.
        let off = probe.rebuilt(|builder| builder.configure(on));
        let plain = json!({ "login": "alice", "password": PASSWORD });
        let other = browser.at(serve(app(&off)).await);
        let request = other.raw(Method::POST, "/auth/login").header("sec-fetch-site", "same-origin");
        let answer = send(request.header("portcullis-trusted-device", &token).json(&plain)).await;
        assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
    }

    async fn when_it_is_off_there_is_none(probe: Probe) {
        let (mut probe, _, browser, secret) = trusting_person(probe, "alice").await;
        let mut device = device(&probe, &browser, "alice", &secret).await;
        probe.auth = probe.rebuilt(|builder| builder);
        let off = serve(app(&probe.auth)).await;
        let mut there = device.at(off);
        assert_eq!(result(&mut there, "alice", PASSWORD).await, "second_factor_required");
        assert_eq!(there.get("/auth/second-factor").await.json()["offers_trust"], false);
        probe.clock.advance(STEP);
        let answer = tick(&mut there, &code(&probe, &secret)).await;
        assert_eq!((answer.status, &answer.json()["trusted_device"]), (200, &json!(false)), "{}", answer.text);
        assert_eq!((rows(&probe).await, result(&mut device, "alice", PASSWORD).await), (1, "session".to_owned()));
    }

    async fn a_sign_in_that_is_refused_uses_up_nothing(probe: Probe) {
        let (mut probe, alice, browser, secret) = trusting_person(probe, "alice").await;
        let nights = Nights::default();
        let hooks = nights.clone();
        probe.auth = probe.rebuilt(|builder| builder.configure(on).hooks(hooks));
        let browser = browser.at(serve(app(&probe.auth)).await);
        let mut device = device(&probe, &browser, "alice", &secret).await;
        nights.0.store(true, Ordering::SeqCst);
        check(&again(&mut device, "alice", PASSWORD).await, 403, "closed");
        let mut other = browser.stranger();
        nights.0.store(false, Ordering::SeqCst);
        assert_eq!(result(&mut other, "alice", PASSWORD).await, "second_factor_required");
        probe.clock.advance(STEP);
        nights.0.store(true, Ordering::SeqCst);
        check(&tick(&mut other, &code(&probe, &secret)).await, 403, "closed");
        nights.0.store(false, Ordering::SeqCst);
        assert_eq!((rows(&probe).await, told(&probe).await), (1, 1));
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "session");
        // An account that must set a new password is asked for its factor.
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is set");
        assert_eq!(result(&mut device, "alice", PASSWORD).await, "second_factor_required");
        // A factor that waits for its first code changes nothing.
        let (_, mut bob, bob_secret) = person(&probe, "bob").await;
        let mut bobs = crate::trusted_device::device(&probe, &browser, "bob", &bob_secret).await;
        start(&mut bob, "tablet").await;
        assert_eq!(result(&mut bobs, "bob", PASSWORD).await, "session");
    }
}

on_every_database! {
    async fn a_device_that_was_not_used_needs_the_secret_with_which_it_was_trusted(probe: Probe) {
        let (probe, _, browser, secret) = trusting_person(probe, "alice").await;
        let mut used = device(&probe, &browser, "alice", &secret).await;
        let mut unused = device(&probe, &browser, "alice", &secret).await;
        let new = Secret::generate();
        let node = async |secrets: Vec<Secret>| {
            let auth = probe.rebuilt(|builder| {
                builder.configure(|config| {
                    on(config);
                    config.keys.secrets = secrets;
                })
            });
            serve(app(&auth)).await
        };
        let rotated = node(vec![new.clone(), probe.secret.clone()]).await;
        used = used.at(rotated);
        assert_eq!(result(&mut used, "alice", PASSWORD).await, "session");
        let removed = node(vec![new]).await;
        // A use moved this one to the new secret.
        used = used.at(removed);
        assert_eq!(result(&mut used, "alice", PASSWORD).await, "session");
        unused = unused.at(removed);
        assert_eq!(result(&mut unused, "alice", PASSWORD).await, "second_factor_required");
        // Where the old secret is still known, it is trusted.
        unused = unused.at(rotated);
        assert_eq!(result(&mut unused, "alice", PASSWORD).await, "session");
    }
}
