//! The second step of a sign-in, and a step-up by a second factor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use portcullis::config::{AttemptKind, AttemptOverrides};
use portcullis::hook::{HookResult, Hooks, SigningIn};
use portcullis::{Config, Factor, MessageKind, Portcullis, Refusal, Requirement, Stage};
use reqwest::Method;
use sea_orm::DatabaseTransaction;
use serde_json::json;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp::{STEP, check, code, code_at, enrol, person, step_up, verify, wrong_code};

const MINUTE: Duration = Duration::from_secs(60);

/// Returns a browser with a sign-in of this account that waits for its second factor.
async fn waiting(browser: &Browser, name: &str) -> Browser {
    let mut browser = browser.stranger();
    let answer = browser.login(name, PASSWORD).await;
    assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
    browser
}

async fn recovery_codes(browser: &mut Browser) -> Vec<String> {
    let answer = browser.post("/auth/recovery-codes", json!({})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    serde_json::from_value(answer.json()["codes"].clone()).expect("a list")
}

async fn reset_password(probe: &Probe, browser: &mut Browser, new: &str) {
    let forgot = json!({ "login": "alice@example.com" });
    assert_eq!(browser.post("/auth/password/forgot", forgot).await.status, 202);
    let sent = probe.mail().await;
    let mail = sent.iter().find(|mail| mail.kind == MessageKind::PasswordReset).expect("a mail");
    let (_, token) = mail.value("link").expect("a link").split_once("#token=").expect("a token");
    let reset = json!({ "token": token, "password": new });
    let answer = browser.post("/auth/password/reset", reset).await;
    assert!(answer.status < 300, "{}", answer.text);
}

async fn full_sessions(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_session WHERE ended_at IS NULL AND stage = 0").await
}

async fn failures(probe: &Probe, detail: &str) -> i64 {
    let query = format!(
        "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_fail' AND detail = '{detail}'"
    );
    probe.number(&query).await
}

/// Guesses without delays, so that only the limit counts.
fn without_delays(config: &mut Config) {
    let mut own = AttemptOverrides::default();
    own.first_delay = Some(Duration::ZERO);
    config.attempts.kinds.insert(AttemptKind::SecondFactor, own);
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

/// An application with a route that asks for a recent authenticator.
fn guarded(auth: &Portcullis) -> Router {
    let recent = Requirement::factor_within(Factor::Totp, MINUTE);
    let danger =
        Router::new().route("/danger", get(|| async { "done" })).route_layer(auth.require(recent));
    app(auth).merge(danger.layer(auth.layer()))
}

/// An application with a route for each factor that a guard can ask for, and how recent.
fn by_factor(auth: &Portcullis, factors: &[Factor]) -> Router {
    let open = |requirement| {
        Router::new().route("/", get(|| async { "open" })).route_layer(auth.require(requirement))
    };
    let routes = factors.iter().fold(Router::new(), |routes, factor| {
        let (ever, recent) =
            (Requirement::factor(*factor), Requirement::factor_within(*factor, MINUTE));
        let name = factor.as_str();
        routes
            .nest(&format!("/ever/{name}"), open(ever))
            .nest(&format!("/recent/{name}"), open(recent))
    });
    let strong = Requirement::at_least(Factor::Totp).expect("it has an order");
    routes.nest("/strong", open(strong)).layer(auth.layer()).merge(app(auth))
}

on_every_database! {
    async fn a_guard_looks_at_the_method_that_was_proved_and_when(probe: Probe) {
        use Factor::{External, MailedCode, Passkey, Password, RecoveryCode, TextedCode, Totp};

        const ALL: [Factor; 7] = [Password, MailedCode, TextedCode, Totp, RecoveryCode, Passkey, External];
        let account = probe.register("alice").await;
        let second = ALL.into_iter().filter(|factor| *factor != Password);
        probe.auth.accounts().set_enrolled_factors(account.id(), second).await.expect("set");
        let account = probe.auth.accounts().find(account.id()).await.expect("it answers").expect("alice");
        let app = by_factor(&probe.auth, &ALL);
        for proved in ALL {
            for (age, fresh) in [(Duration::ZERO, true), (MINUTE - Duration::from_millis(1), true), (MINUTE, false)] {
                // Another factor that is fresher proves nothing about this one.
                let other = if proved == Password { External } else { Password };
                let factors = [(proved, age), (other, Duration::ZERO)];
                let client = probe.auth.test().login_as(&account).with_factors(factors).into_client();
                let opens = async |path: String| {
                    let answer = client.get(&path).send(&app).await;
                    match answer.status().as_u16() {
                        200 => true,
                        status => {
                            assert_eq!((status, answer.code().as_str()), (401, "insufficient_user_authentication"));
                            false
                        }
                    }
                };
                for asked in ALL {
                    let (name, is_other) = (asked.as_str(), asked == other);
                    let what = format!("{proved:?} {age:?} at {asked:?}");
                    assert_eq!(opens(format!("/ever/{name}")).await, asked == proved || is_other, "{what}");
                    let recent = asked == proved && fresh || is_other;
                    assert_eq!(opens(format!("/recent/{name}")).await, recent, "{what}");
                }
                let strong = matches!(proved, Totp | Passkey);
                assert_eq!(opens("/strong".to_owned()).await, strong, "{proved:?} at the strong one");
            }
        }
        // A method that is switched off: its routes still answer, and prove nothing.
        probe.auth.accounts().set_enrolled_factors(account.id(), [Passkey]).await.expect("set");
        let account = probe.auth.accounts().find(account.id()).await.expect("it answers").expect("alice");
        let waits = probe.auth.test().login_as(&account).at_stage(Stage::PendingSecondFactor);
        let full = probe.auth.test().login_as(&account);
        for method in ["totp", "recovery_code", "mailed_code", "texted_code"] {
            let body = json!({ "method": method, "code": "123456" });
            for (client, path) in [(&waits, "/auth/second-factor/verify"), (&full, "/auth/reauthenticate")] {
                let answer = client.post(path).json(&body).send(&app).await;
                assert_eq!((answer.status().as_u16(), answer.code().as_str()), (403, "wrong_code"), "{method}");
            }
            for path in ["/strong".to_owned(), format!("/ever/{method}")] {
                assert_eq!(full.get(&path).send(&app).await.status(), 401, "{method}");
                assert_eq!(waits.get(&path).send(&app).await.code(), "second_factor_required");
            }
        }
    }

    async fn a_sign_in_that_waits_says_how_it_can_go_on(probe: Probe) {
        let (alice, mut browser, secret) = person(&probe, "alice").await;
        recovery_codes(&mut browser).await;
        let accounts = probe.auth.accounts();
        let all = [Factor::RecoveryCode, Factor::Totp, Factor::MailedCode, Factor::Passkey];
        accounts.set_enrolled_factors(alice.id(), all).await.expect("set");
        let mut other = browser.stranger();
        let answer = other.login("alice", PASSWORD).await.json();
        let methods = json!([
            { "method": "mailed_code", "target": "a***@e***.com" },
            { "method": "totp" },
            { "method": "passkey" },
            { "method": "recovery_code" },
        ]);
        assert_eq!((&answer["result"], &answer["methods"]), (&json!("second_factor_required"), &methods));
        let page = other.get("/auth/second-factor").await;
        assert_eq!((page.status, &page.json()["methods"]), (200, &methods));
        assert!(page.json()["expires_at"].is_string());
        // It reaches nothing else.
        for path in ["/me", "/auth/session", "/auth/sessions", "/auth/totp", "/auth/recovery-codes"] {
            check(&other.get(path).await, 401, "second_factor_required");
        }
        check(&other.post("/auth/totp", json!({ "name": "x" })).await, 401, "second_factor_required");
        check(&step_up(&mut other, &code(&probe, &secret)).await, 401, "second_factor_required");
        // A session and nobody have nothing to finish.
        let answer = verify(&mut other, &code(&probe, &secret)).await;
        assert_eq!((answer.status, answer.json()["result"].as_str()), (200, Some("session")), "{}", answer.text);
        assert!(answer.json().get("methods").is_none());
        assert_eq!(other.get("/me").await.status, 200);
        check(&other.get("/auth/second-factor").await, 401, "wrong_stage");
        check(&verify(&mut other, &code(&probe, &secret)).await, 401, "wrong_stage");
        check(&verify(&mut browser.stranger(), "123456").await, 401, "not_signed_in");
    }

    async fn a_code_is_used_up_at_every_route(probe: Probe) {
        let (_, mut browser, secret) = person(&probe, "alice").await;
        let id = browser.get("/auth/totp").await.json()["authenticators"][0]["id"].clone();
        let id = id.as_str().expect("an id").to_owned();
        // At a sign-in, and then at a step-up, another sign-in and a removal.
        let used = code(&probe, &secret);
        let mut first = waiting(&browser, "alice").await;
        assert_eq!(verify(&mut first, &used).await.status, 200);
        check(&step_up(&mut browser, &used).await, 403, "wrong_code");
        check(&verify(&mut waiting(&browser, "alice").await, &used).await, 403, "wrong_code");
        probe.clock.advance(5 * MINUTE);
        check(&step_up(&mut browser, &used).await, 403, "wrong_code");
        check(&browser.delete(&format!("/auth/totp/{id}")).await, 401, "insufficient_user_authentication");
        // At a step-up, and then at a sign-in.
        let used = code(&probe, &secret);
        assert_eq!(step_up(&mut browser, &used).await.status, 200);
        check(&verify(&mut waiting(&browser, "alice").await, &used).await, 403, "wrong_code");
        check(&step_up(&mut browser, &used).await, 403, "wrong_code");
        assert_eq!(browser.get("/me").await.status, 200, "a wrong code ends nothing");
        assert_eq!(browser.delete(&format!("/auth/totp/{id}")).await.status, 200);
    }

    async fn of_many_requests_with_one_code_one_succeeds(probe: Probe) {
        let (account, browser, secret) = person(&probe, "alice").await;
        let before = full_sessions(&probe).await;
        // One sign-in, many sign-ins, and step-ups of one session.
        for way in ["one sign-in", "many sign-ins", "sign-ins and step-ups"] {
            probe.clock.advance(STEP);
            let mut clients = vec![waiting(&browser, "alice").await];
            for number in 1..16 {
                let client = match way {
                    "one sign-in" => clients[0].clone(),
                    "many sign-ins" => waiting(&browser, "alice").await,
                    _ if number % 2 == 0 => waiting(&browser, "alice").await,
                    _ => browser.clone(),
                };
                clients.push(client);
            }
            let right = code(&probe, &secret);
            let mut requests = JoinSet::new();
            for (number, mut client) in clients.into_iter().enumerate() {
                let (right, steps_up) = (right.clone(), way == "sign-ins and step-ups" && number % 2 == 1);
                requests.spawn(async move {
                    match steps_up {
                        true => step_up(&mut client, &right).await,
                        false => verify(&mut client, &right).await,
                    }
                });
            }
            let answers = requests.join_all().await;
            let succeeded = answers.iter().filter(|answer| answer.status == 200).count();
            assert_eq!(succeeded, 1, "{way}: {answers:?}");
            assert!(answers.iter().all(|answer| answer.status < 500), "{way}: {answers:?}");
            probe.forget_attempts().await;
        }
        assert!(full_sessions(&probe).await <= before + 3);
        assert!(probe.auth.sessions().list(&account).await.is_ok());
    }

    async fn a_sign_in_makes_one_session_and_takes_no_code_of_another_account(probe: Probe) {
        let (_, browser, secret) = person(&probe, "alice").await;
        let (_, _, other) = person(&probe, "bob").await;
        let mut alice = waiting(&browser, "alice").await;
        check(&verify(&mut alice, &code(&probe, &other)).await, 403, "wrong_code");
        // Alice's code is right for Alice, and Bob's code for Bob.
        let copy = alice.clone();
        assert_eq!(verify(&mut alice, &code(&probe, &secret)).await.status, 200);
        assert_eq!(verify(&mut waiting(&browser, "bob").await, &code(&probe, &other)).await.status, 200);
        // The token of the sign-in is worth nothing any more, whatever the code is.
        probe.clock.advance(STEP);
        check(&verify(&mut copy.clone(), &code(&probe, &secret)).await, 401, "session_ended");
        check(&copy.clone().get("/auth/second-factor").await, 401, "session_ended");
        assert_eq!(alice.get("/me").await.status, 200);
        // So is one that has waited too long.
        let mut late = waiting(&browser, "alice").await;
        probe.clock.advance(10 * MINUTE);
        check(&verify(&mut late, &code(&probe, &secret)).await, 401, "token_expired");
    }

    async fn what_changes_the_account_ends_the_sign_in_that_waits(probe: Probe) {
        let (alice, mut browser, secret) = person(&probe, "alice").await;
        let (tablet_id, tablet) = enrol(&probe, &mut browser, "tablet").await;
        for change in ["removed", "sessions", "disabled"] {
            let mut waits = waiting(&browser, "alice").await;
            let body = json!({ "code": code(&probe, &secret) });
            match change {
                "removed" => {
                    let removed = browser.delete(&format!("/auth/totp/{tablet_id}")).await;
                    assert_eq!(removed.status, 200, "{}", removed.text);
                    check(&verify(&mut waits, &code(&probe, &tablet)).await, 401, "session_ended");
                }
                "sessions" => drop(probe.auth.sessions().end_all(alice.id(), None).await.expect("they end")),
                _ => probe.auth.accounts().disable(alice.id()).await.expect("it is disabled"),
            }
            let answer = waits.post("/auth/second-factor/verify", body).await;
            check(&answer, 401, "session_ended");
        }
    }

    async fn all_second_factors_of_an_account_have_one_count(probe: Probe) {
        let probe = probe.configured(without_delays);
        let (_, mut browser, secret) = person(&probe, "alice").await;
        let codes = recovery_codes(&mut browser).await;
        let mut other = waiting(&browser, "alice").await;
        for number in 0..15 {
            let wrong = match number % 3 {
                0 => verify(&mut other, &wrong_code(&probe, &secret)).await,
                1 => verify(&mut other, "000000-000000-000000-000000").await,
                // A sign-in that begins again brings no attempts.
                _ => {
                    other = waiting(&browser, "alice").await;
                    verify(&mut other, "not a code").await
                }
            };
            check(&wrong, 403, "wrong_code");
        }
        assert_eq!(failures(&probe, "wrong_second_factor").await, 15);
        // The right codes are wrong now, with the same answer, and they are not used up.
        for right in [&code(&probe, &secret), &codes[0]] {
            check(&verify(&mut other, right).await, 403, "wrong_code");
        }
        assert_eq!(failures(&probe, "too_many_attempts").await, 2);
        let locked = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_lock' AND detail = 'second_factor'";
        assert_eq!(probe.number(locked).await, 1);
        // The password is not locked, and neither is a device that the account knows.
        assert_eq!(other.stranger().login("alice", PASSWORD).await.status, 200);
        assert_eq!(step_up(&mut browser, &codes[0]).await.status, 200);
        // After the lock, everything is as before.
        probe.clock.advance(61 * MINUTE);
        let mut other = waiting(&browser, "alice").await;
        assert_eq!(verify(&mut other, &code(&probe, &secret)).await.status, 200);
    }

    async fn a_lock_lasts_twelve_hours_and_the_owner_is_told(probe: Probe) {
        let probe = probe.configured(|config| {
            let kinds = &mut config.attempts.kinds;
            kinds.entry(AttemptKind::SecondFactor).or_default().first_delay = Some(Duration::ZERO);
        });
        let (_, browser, secret) = person(&probe, "alice").await;
        let mut other = waiting(&browser, "alice").await;
        let told = async |probe: &Probe| {
            let sent = probe.mail().await;
            let locks = sent.iter().filter(|mail| mail.kind == MessageKind::SecondFactorLocked);
            locks.map(|mail| (mail.to.as_str().to_owned(), mail.value("minutes").map(str::to_owned))).collect::<Vec<_>>()
        };
        for _ in 0..15 {
            check(&verify(&mut other, &wrong_code(&probe, &secret)).await, 403, "wrong_code");
        }
        assert_eq!(told(&probe).await, [("alice@example.com".to_owned(), Some("720".to_owned()))]);
        probe.clock.advance(11 * 60 * MINUTE);
        let mut other = waiting(&browser, "alice").await;
        check(&verify(&mut other, &code(&probe, &secret)).await, 403, "wrong_code");
        probe.clock.advance(61 * MINUTE);
        let mut other = waiting(&browser, "alice").await;
        assert_eq!(verify(&mut other, &code(&probe, &secret)).await.status, 200);
        // A refused attempt locks nothing, and tells nobody again.
        assert_eq!(told(&probe).await.len(), 1);
    }

    async fn a_lock_is_told_only_if_that_is_configured(probe: Probe) {
        let probe = probe.configured(|config| {
            without_delays(config);
            config.attempts.reveal_lockout = true;
        });
        let (_, browser, secret) = person(&probe, "alice").await;
        let mut other = waiting(&browser, "alice").await;
        for _ in 0..15 {
            check(&verify(&mut other, &wrong_code(&probe, &secret)).await, 403, "wrong_code");
        }
        let refused = verify(&mut other, &code(&probe, &secret)).await;
        check(&refused, 429, "too_many_attempts");
        assert!(refused.headers.contains_key("retry-after"));
    }

    async fn the_name_of_a_method_is_not_believed(probe: Probe) {
        let (alice, mut browser, secret) = person(&probe, "alice").await;
        let codes = recovery_codes(&mut browser).await;
        let mut other = waiting(&browser, "alice").await;
        let right = code(&probe, &secret);
        let body = |method: &str, code: &str| json!({ "method": method, "code": code });
        for method in ["passkey", "password", "TOTP", ""] {
            let answer = other.post("/auth/second-factor/verify", body(method, &right)).await;
            check(&answer, 400, "invalid_body");
            let answer = browser.post("/auth/reauthenticate", body(method, &right)).await;
            check(&answer, 400, "invalid_body");
        }
        // This service has no factor of its own.
        let answer = other.post("/auth/second-factor/verify", body("external", &right)).await;
        check(&answer, 409, "factor_not_enrolled");
        for (method, code) in [("totp", &codes[0]), ("recovery_code", &right)] {
            let answer = other.post("/auth/second-factor/verify", body(method, code)).await;
            check(&answer, 403, "wrong_code");
        }
        for body in [
            json!({ "code": right, "factor": "passkey" }),
            json!({ "code": right, "account_id": alice.id() }),
            json!({}),
        ] {
            check(&other.post("/auth/second-factor/verify", body).await, 400, "invalid_body");
        }
        let answer = other.post("/auth/second-factor/verify", body("recovery_code", &codes[0])).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // The session says what was checked.
        let factors = other.get("/auth/session").await.json()["factors"].clone();
        let names: Vec<_> = factors.as_array().expect("a list").iter().map(|f| f["factor"].clone()).collect();
        assert_eq!(names, ["password", "recovery_code"]);
        // A factor that the account does not have is not checked, although its code is stored.
        probe.execute("UPDATE auth_account SET version = version + 1, enrolled_factors = 16").await;
        let mut other = waiting(&browser, "alice").await;
        check(&verify(&mut other, &right).await, 403, "wrong_code");
    }

    async fn a_hook_that_refuses_uses_up_no_code(probe: Probe) {
        let (_, mut browser, secret) = person(&probe, "alice").await;
        let codes = recovery_codes(&mut browser).await;
        let nights = Nights::default();
        let auth = probe.rebuilt(|builder| builder.hooks(nights.clone()));
        let browser = browser.at(serve(app(&auth)).await);
        let mut other = waiting(&browser, "alice").await;
        nights.0.store(true, Ordering::SeqCst);
        for right in [&code(&probe, &secret), &codes[0]] {
            for _ in 0..10 {
                check(&verify(&mut other, right).await, 403, "closed");
            }
        }
        assert_eq!(failures(&probe, "refused").await, 20);
        assert!(probe.mail().await.iter().all(|mail| mail.kind != MessageKind::RecoveryCodeUsed));
        nights.0.store(false, Ordering::SeqCst);
        assert_eq!(verify(&mut other, &code(&probe, &secret)).await.status, 200);
        assert_eq!(verify(&mut waiting(&browser, "alice").await, &codes[0]).await.status, 200);
    }

    async fn a_step_up_by_a_code_opens_what_asks_for_it(probe: Probe) {
        let (_, mut browser, secret) = person(&probe, "alice").await;
        browser.address = serve(guarded(&probe.auth)).await;
        let codes = recovery_codes(&mut browser).await;
        probe.clock.advance(2 * MINUTE);
        let refused = browser.get("/danger").await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["totp"]));
        // Another factor is not that one, however fresh it is.
        let password = json!({ "password": PASSWORD });
        assert_eq!(browser.post("/auth/reauthenticate", password).await.status, 200);
        check(&browser.get("/danger").await, 401, "insufficient_user_authentication");
        let answer = step_up(&mut browser, &codes[0]).await;
        assert_eq!((answer.status, &answer.json()["recovery_codes_left"]), (200, &json!(9)), "{}", answer.text);
        check(&browser.get("/danger").await, 401, "insufficient_user_authentication");
        // Requests that are on their way with the old session are not signed out, and get no new right.
        let old = browser.clone();
        let mut requests = JoinSet::new();
        for _ in 0..20 {
            let mut tab = old.clone();
            requests.spawn(async move { (tab.get("/me").await.status, tab.get("/danger").await.code()) });
        }
        let answer = step_up(&mut browser, &code(&probe, &secret)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        for outcome in requests.join_all().await {
            assert_eq!(outcome, (200, "insufficient_user_authentication".to_owned()));
        }
        assert_eq!(browser.get("/danger").await.text, "done");
        // What lingers proves nothing.
        probe.clock.advance(STEP / 5);
        check(&step_up(&mut old.clone(), &codes[1]).await, 401, "session_ended");
        assert_eq!(browser.get("/auth/recovery-codes").await.json()["left"], 9);
        probe.clock.advance(MINUTE);
        check(&browser.get("/danger").await, 401, "insufficient_user_authentication");
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_reauthenticated'";
        // The first one proved the mailbox for the authenticator.
        assert_eq!(probe.number(events).await, 4);
    }

    async fn every_change_of_the_account_says_which_factors_would_help(probe: Probe) {
        let (_, mut browser, _) = person(&probe, "alice").await;
        browser.address = serve(app(&probe.auth).nest("/own", portcullis::own_account::routes(&probe.auth))).await;
        recovery_codes(&mut browser).await;
        probe.clock.advance(5 * MINUTE);
        for (method, path, body) in [
            (Method::POST, "/auth/email", Some(json!({ "email": "new@example.com" }))),
            (Method::POST, "/auth/login-names", Some(json!({ "username": "second" }))),
            (Method::PUT, "/auth/password", Some(json!({ "new_password": "another horse battery" }))),
            (Method::GET, "/own/account/export", None),
            (Method::DELETE, "/own/account", None),
        ] {
            let mut request = browser.request(method, path);
            if let Some(body) = &body {
                request = request.json(body);
            }
            let refused = browser.send(request).await;
            check(&refused, 401, "insufficient_user_authentication");
            let factors = json!(["password", "mailed_code", "totp", "recovery_code"]);
            assert_eq!((&refused.json()["factors"], &refused.json()["max_age"]), (&factors, &json!(300)), "{path}");
        }
    }

    async fn a_step_up_takes_either_a_password_or_a_code(probe: Probe) {
        let (_, mut browser, secret) = person(&probe, "alice").await;
        let right = code(&probe, &secret);
        for body in [
            json!({}),
            json!({ "password": PASSWORD, "code": right }),
            json!({ "password": PASSWORD, "method": "totp" }),
            json!({ "method": "totp" }),
        ] {
            check(&browser.post("/auth/reauthenticate", body).await, 400, "invalid_body");
        }
        // The neighbour passes.
        let answer = browser.post("/auth/reauthenticate", json!({ "code": right, "method": "totp" })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    async fn a_new_password_comes_after_the_second_factor(probe: Probe) {
        let (alice, browser, secret) = person(&probe, "alice").await;
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is required");
        let mut other = waiting(&browser, "alice").await;
        let new = json!({ "new_password": "another horse battery staple" });
        check(&other.put("/auth/password", new.clone()).await, 401, "second_factor_required");
        let answer = verify(&mut other, &code(&probe, &secret)).await;
        assert_eq!(answer.json()["result"], "password_change_required", "{}", answer.text);
        check(&other.get("/me").await, 401, "password_change_required");
        check(&verify(&mut other, &code_at(&secret, probe.auth_now().plus(STEP))).await, 401, "wrong_stage");
        assert_eq!(other.put("/auth/password", new).await.status, 200);
        assert_eq!(other.get("/me").await.status, 200);
    }

    async fn the_first_proof_of_an_address_deletes_what_was_set_up_before(probe: Probe) {
        let (alice, mut browser, secret) = person(&probe, "alice").await;
        recovery_codes(&mut browser).await;
        // As if nobody had proved the address before.
        probe.execute("UPDATE auth_login_name SET verified_at = NULL").await;
        probe.execute("UPDATE auth_account SET version = version + 1, verified_at = NULL").await;
        let new = "another horse battery staple";
        reset_password(&probe, &mut browser.stranger(), new).await;
        for table in ["auth_totp", "auth_recovery_code"] {
            assert_eq!(probe.number(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
        assert_eq!(browser.stranger().login("alice", new).await.json()["result"], "session");
        // Nor do they come back.
        let both = [Factor::Totp, Factor::RecoveryCode];
        probe.auth.accounts().set_enrolled_factors(alice.id(), both).await.expect("set");
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", new).await.json()["result"], "second_factor_required");
        check(&verify(&mut other, &code(&probe, &secret)).await, 403, "wrong_code");
    }

    async fn a_reset_of_the_password_keeps_the_second_factor(probe: Probe) {
        let (_, browser, secret) = person(&probe, "alice").await;
        let mut other = browser.stranger();
        let new = "another horse battery staple";
        reset_password(&probe, &mut other, new).await;
        // The mailbox proves no second factor, so this device gets no guesses of its own.
        assert!(other.device.is_none());
        assert_eq!(other.login("alice", new).await.json()["result"], "second_factor_required");
        assert_eq!(verify(&mut other, &code(&probe, &secret)).await.status, 200);
        assert_eq!(other.get("/me").await.status, 200);
    }
}
