//! How every way to sign in ends, including the application's own means.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use portcullis::account::NewAccount;
use portcullis::config::AtLimit;
use portcullis::hook::{HookResult, Hooks, SigningIn};
use portcullis::login::{Credentials, LoginError, LoginOutcome};
use portcullis::message::MessageKind;
use portcullis::port::{HookFuture, MembershipSource, SourceMembership};
use portcullis::registration::Application;
use portcullis::second_factor::{FactorCode, SecondFactorError};
use portcullis::session::SessionError;
use portcullis::{
    Account, AccountId, ClientInfo, Factor, Identity, Issued, PendingSession, Portcullis, Problem,
    Refusal, Rejection, Stage, Transport,
};
use reqwest::Method;
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use serde_json::json;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::{COOKIE, send};
use crate::support::call::{cookie_of, extracted};
use crate::support::log::Log;
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe};
use crate::totp;
use crate::verification::token_of;

/// Records which hooks were called, and the requests for memberships.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn note(&self, text: String) {
        self.0.lock().expect("nothing panics while it is held").push(text);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("nothing panics while it is held"))
    }
}

impl Hooks for Seen {
    async fn before_login(&self, login: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
        let factors: Vec<_> = login.factors.iter().map(|(factor, _)| factor.as_str()).collect();
        self.note(format!("before {:?} {}", login.token_type, factors.join("+")));
        Ok(())
    }

    async fn after_login(&self, _: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
        self.note("after".to_owned());
        Ok(())
    }
}

impl MembershipSource for Seen {
    fn memberships(&self, _: AccountId) -> HookFuture<'_, Vec<SourceMembership>> {
        self.note("memberships".to_owned());
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Lets nobody in while it is closed.
#[derive(Clone, Default)]
struct Nights {
    closed: Arc<AtomicBool>,
    /// Its table is not there.
    broken: Arc<AtomicBool>,
}

impl Hooks for Nights {
    async fn before_login(&self, _: SigningIn<'_>, txn: &DatabaseTransaction) -> HookResult {
        if self.broken.load(Ordering::SeqCst) {
            txn.execute_unprepared("INSERT INTO app_no_such_table (name) VALUES ('a')").await?;
        }
        if self.closed.load(Ordering::SeqCst) {
            Err(Refusal::new(StatusCode::FORBIDDEN, "closed", "come back tomorrow"))?;
        }
        Ok(())
    }
}

/// Builds an instance that records what a sign-in calls.
fn seeing(probe: &Probe) -> (Portcullis, Seen) {
    let seen = Seen::default();
    let auth = probe.rebuilt(|builder| builder.hooks(seen.clone()).membership_source(seen.clone()));
    (auth, seen)
}

/// A sign-in in the application's own handler. The header `who` names the person, where a real
/// application would ask a directory.
async fn own_login(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    parts: Parts,
) -> Result<Response, Rejection> {
    let header = |name: &str| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let found = auth.accounts().find_by_login(header("who")).await?;
    let account = found.ok_or(LoginError::InvalidCredentials)?;
    let mut sign_in = auth.sign_in(&account, &client).proved(Factor::External);
    if header("factor") == "totp" {
        sign_in = sign_in.proved(Factor::Totp);
    }
    let outcome = sign_in.replacing(&parts.extensions).await?.await?;
    let result = match &outcome {
        LoginOutcome::Session(_) => "session",
        LoginOutcome::SecondFactorRequired(_) => "second factor",
        LoginOutcome::PasswordChangeRequired(_) => "password",
        _ => "other",
    };
    Ok((outcome.into_issued(), result).into_response())
}

/// A second factor of the application, which the application has checked.
async fn own_factor(
    State(auth): State<Portcullis>,
    pending: PendingSession,
    client: ClientInfo,
) -> Result<Response, Rejection> {
    let outcome = auth.login().finish(&pending, Factor::Totp, &client).await?;
    Ok((outcome.into_issued(), "finished").into_response())
}

async fn browser_of(auth: &Portcullis) -> Browser {
    let own = axum::Router::new()
        .route("/own", post(own_login))
        .route("/own-factor", post(own_factor))
        .with_state(auth.clone());
    Browser::new(serve(app(auth).merge(own.layer(auth.layer()))).await)
}

async fn own(browser: &mut Browser, who: &str, factor: &str) -> (u16, String) {
    let request = browser.request(reqwest::Method::POST, "/own");
    let answer = browser.send(request.header("who", who).header("factor", factor)).await;
    (answer.status, answer.text)
}

/// Returns why a browser is not signed in. It is empty if it is.
async fn refusal(browser: &Browser) -> String {
    let answer = browser.clone().get("/me").await;
    if answer.status == 200 { String::new() } else { answer.code() }
}

async fn events(probe: &Probe, kind: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

async fn with_totp(probe: &Probe, name: &str) -> Account {
    let account = probe.register_with_email(name, &format!("{name}@example.com")).await;
    probe.auth.accounts().verify(account.id()).await.expect("it is verified");
    probe.auth.accounts().set_enrolled_factors(account.id(), [Factor::Totp]).await.expect("set");
    account
}

/// Returns a sign-in of this account that waits for its second factor.
async fn pending(auth: &Portcullis, browser: &mut Browser, name: &str) -> PendingSession {
    let answer = browser.login(name, PASSWORD).await;
    assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
    let cookie = browser.cookie.clone().expect("a cookie");
    extracted(auth, &format!("{COOKIE}={cookie}")).await
}

async fn pending_of(auth: &Portcullis, issued: &Issued) -> PendingSession {
    extracted(auth, &cookie_of(issued)).await
}

async fn identity_of(auth: &Portcullis, issued: &Issued) -> Identity {
    extracted(auth, &cookie_of(issued)).await
}

on_every_database! {
    async fn a_second_factor_of_the_applications_own_finishes_a_sign_in_like_any_other(probe: Probe) {
        let (auth, seen) = seeing(&probe);
        with_totp(&probe, "alice").await;
        let mut browser = browser_of(&auth).await;
        // The account signs in once before, so that another device is a new one.
        browser.login("alice", PASSWORD).await;
        assert_eq!(browser.post_empty("/own-factor").await.status, 200);
        assert_eq!(browser.get("/me").await.status, 200);
        assert!(browser.device.is_some(), "the device is known");
        let expected = [
            "before SecondFactor password",
            "before Session password+totp",
            "after",
            "memberships",
        ];
        assert_eq!(seen.take(), expected);
        assert_eq!(events(&probe, "authn_login_success").await, 2);

        let mut thief = browser.stranger();
        assert_eq!(thief.login("alice", PASSWORD).await.status, 200);
        let waiting = thief.cookie.clone().expect("a cookie");
        assert_eq!(events(&probe, "authn_new_device").await, 0, "not in yet");
        assert_eq!(thief.post_empty("/own-factor").await.status, 200);
        assert_eq!(events(&probe, "authn_new_device").await, 1);
        let told = probe.mail().await;
        assert!(told.iter().any(|mail| mail.kind == MessageKind::NewDevice), "the owner hears of it");
        // The pending sign-in has ended, so it cannot make a second session.
        let mut again = browser.with_cookie(&waiting);
        let answer = again.post_empty("/own-factor").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"));
    }

    async fn of_many_who_finish_one_sign_in_one_gets_a_session(probe: Probe) {
        let account = with_totp(&probe, "alice").await;
        let mut browser = probe.browser().await;
        let pending = pending(&probe.auth, &mut browser, "alice").await;
        let mut finishing = JoinSet::new();
        for _ in 0..16 {
            let (auth, pending) = (probe.auth.clone(), pending.clone());
            finishing.spawn(async move {
                let client = ClientInfo::default();
                auth.login().finish(&pending, Factor::Totp, &client).await
            });
        }
        let mut finished = 0;
        while let Some(result) = finishing.join_next().await {
            match result.expect("no panic") {
                Ok(LoginOutcome::Session(_)) => finished += 1,
                Ok(other) => panic!("{other:?}"),
                Err(LoginError::Session(SessionError::Ended)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(finished, 1);
        assert_eq!(probe.auth.sessions().list(&account).await.expect("it answers").len(), 1);
    }

    async fn a_sign_in_is_not_finished_with_what_the_account_does_not_have(probe: Probe) {
        let account = with_totp(&probe, "alice").await;
        let mut browser = probe.browser().await;
        let waiting = pending(&probe.auth, &mut browser, "alice").await;
        let client = ClientInfo::default();
        let login = probe.auth.login();
        let refused = login.finish(&waiting, Factor::Passkey, &client).await;
        let refused = refused.expect_err("it is not enrolled");
        assert_eq!((refused.status().as_u16(), refused.code()), (409, "factor_not_enrolled"));
        // It is also refused if the account was disabled meanwhile.
        probe.auth.accounts().disable(account.id()).await.expect("it is disabled");
        let refused = login.finish(&waiting, Factor::Totp, &client).await;
        assert!(matches!(refused, Err(LoginError::Session(SessionError::Ended))), "{refused:?}");
        assert_eq!(probe.auth.sessions().list(&account).await.expect("it answers").len(), 0);
    }

    async fn a_second_step_is_a_second_factor_and_the_same_factor_twice_is_none(probe: Probe) {
        let accounts = probe.auth.accounts();
        let account = probe.register("keyed").await;
        accounts.set_enrolled_factors(account.id(), [Factor::External]).await.expect("enrolled");
        let account = accounts.find(account.id()).await.expect("it answers").expect("an account");
        let (auth, client) = (&probe.auth, ClientInfo::default());
        // A service knows the person, and then a hardware key: both are `External`.
        let outcome = auth.sign_in(&account, &client).proved(Factor::External).await.expect("a sign-in");
        assert!(matches!(outcome, LoginOutcome::SecondFactorRequired(_)), "{outcome:?}");
        let issued = outcome.into_issued();
        let waiting = pending_of(auth, &issued).await;
        let outcome = auth.login().finish(&waiting, Factor::External, &client).await.expect("a session");
        assert!(matches!(outcome, LoginOutcome::Session(_)), "{outcome:?}");
        // Nothing was named for the first step.
        let account = with_totp(&probe, "nameless").await;
        let account = accounts.find(account.id()).await.expect("it answers").expect("an account");
        let outcome = auth.sign_in(&account, &client).await.expect("a sign-in");
        assert!(matches!(outcome, LoginOutcome::SecondFactorRequired(_)), "{outcome:?}");
        let waiting = pending_of(auth, &outcome.into_issued()).await;
        let outcome = auth.login().finish(&waiting, Factor::Totp, &client).await.expect("a session");
        assert!(matches!(outcome, LoginOutcome::Session(_)), "{outcome:?}");
        // One mailed code after another is one factor, and says so.
        let account = probe.register_with_email("mailed", "mailed@example.com").await;
        accounts.verify_name(account.id(), "mailed@example.com").await.expect("verified");
        let both = [Factor::MailedCode, Factor::Totp];
        accounts.set_enrolled_factors(account.id(), both).await.expect("enrolled");
        let account = accounts.find(account.id()).await.expect("it answers").expect("an account");
        let outcome = auth.sign_in(&account, &client).proved(Factor::MailedCode).await.expect("a sign-in");
        let waiting = pending_of(auth, &outcome.into_issued()).await;
        let again = auth.login().finish(&waiting, Factor::MailedCode, &client).await;
        assert!(matches!(again, Err(LoginError::FactorUsedAlready)), "{again:?}");
        let outcome = auth.login().finish(&waiting, Factor::Totp, &client).await.expect("a session");
        assert!(matches!(outcome, LoginOutcome::Session(_)), "{outcome:?}");
    }

    async fn a_step_up_by_other_means_keeps_the_end_and_the_ceiling(probe: Probe) {
        let account = probe.register("alice").await;
        let auth = &probe.auth;
        let client = ClientInfo::default();
        let ceiling = [portcullis::Permission::parse("doc:read").expect("a permission")];
        let start = auth.sessions().start(&account, &client).ceiling(ceiling);
        let issued = start.await.expect("a session");
        let before = identity_of(auth, &issued).await;
        assert!(before.session().factors().passed_at(Factor::Password).is_none());
        probe.clock.advance(Duration::from_secs(3_600));
        for factor in [Factor::Password, Factor::External] {
            let issued = auth.login().step_up(&before, factor, &client).await.expect("a step-up");
            let after = identity_of(auth, &issued).await;
            assert_ne!(after.session().id(), before.session().id());
            assert_eq!(after.session().expires_at(), before.session().expires_at());
            assert_eq!(format!("{:?}", after.ceiling()), format!("{:?}", before.ceiling()));
            assert!(after.ceiling().is_some());
            assert_eq!(after.session().factors().passed_at(factor), Some(probe.auth_now()));
            // The first one has been replaced, so the next step-up is refused.
            let again = auth.login().step_up(&before, factor, &client).await;
            assert!(matches!(again, Err(LoginError::Session(_))), "{again:?}");
            if factor == Factor::Password {
                let refused = auth.login().step_up(&after, Factor::Totp, &client).await;
                assert!(matches!(refused, Err(LoginError::FactorNotEnrolled)), "{refused:?}");
                let _ = auth.sessions().end(after.session().id()).await.expect("it ends");
                let ended = auth.login().step_up(&after, Factor::Password, &client).await;
                assert!(matches!(ended, Err(LoginError::Session(_))), "{ended:?}");
                break;
            }
        }
    }

    async fn no_flow_starts_or_ends_a_session_for_another_site(probe: Probe) {
        probe.register("alice").await;
        let register = async |auth: Portcullis, parts: Parts| -> Result<Response, Rejection> {
            let new = portcullis::account::NewAccount::username("mallory");
            let application = portcullis::registration::Application::new(new, PASSWORD);
            let registration = auth.registration().replacing(&parts.extensions).await?;
            let registered = registration.register(application, &ClientInfo::default()).await?;
            Ok((registered.session, "registered").into_response())
        };
        let sign_out = async |auth: Portcullis, parts: Parts| -> Result<Response, Rejection> {
            Ok((auth.log_out(&parts.extensions).await?, "signed out").into_response())
        };
        // A plain router, and handlers that check nothing themselves.
        let own = axum::Router::new()
            .route("/own", post(own_login).with_state(probe.auth.clone()))
            .route("/register", post(register))
            .route("/sign-out", post(sign_out))
            .layer(probe.auth.layer());
        let browser = Browser::new(serve(own).await);
        for path in ["/own", "/register", "/sign-out"] {
            for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
                let request = browser.raw(Method::POST, path).header("who", "alice");
                let answer = send(request.header(name, value)).await;
                assert_eq!((answer.status, answer.code().as_str()), (403, "cross_site_request"), "{path}");
                assert!(answer.set_cookies().is_empty(), "{path}");
            }
            let answer = send(browser.raw(Method::POST, path).header("who", "alice")).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        }
    }

    async fn no_token_is_made_that_nobody_would_take(probe: Probe) {
        let account = probe.register("alice").await;
        let client = ClientInfo::default();
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        let alive = "SELECT COUNT(*) FROM auth_session WHERE ended_at IS NULL";
        let before = probe.number(alive).await;
        let refused = probe.auth.sign_in(&account, &client).transport(Transport::Bearer).await;
        assert!(matches!(refused, Err(LoginError::Session(SessionError::BearerOff))), "{refused:?}");
        let credentials = Credentials::password("alice", PASSWORD).transport(Transport::Bearer);
        let refused = probe.auth.login().with_password(credentials, &client).await;
        assert!(matches!(refused, Err(LoginError::Session(SessionError::BearerOff))), "{refused:?}");
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(probe.number(alive).await, before);
    }

    async fn what_changes_an_account_meanwhile_ends_its_unfinished_sign_in(probe: Probe) {
        let account = with_totp(&probe, "alice").await;
        let accounts = probe.auth.accounts();
        let mut browser = browser_of(&probe.auth).await;
        for change in ["factors", "sessions"] {
            assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
            match change {
                "factors" => {
                    let factors = [Factor::Totp, Factor::Passkey];
                    accounts.set_enrolled_factors(account.id(), factors).await.expect("they are set");
                }
                _ => drop(probe.auth.sessions().end_all(account.id(), None).await.expect("they end")),
            }
            let answer = browser.post_empty("/own-factor").await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"), "{change}");
        }
        assert_eq!(probe.auth.sessions().list(&account).await.expect("it answers").len(), 0);
    }

    async fn a_hook_that_refuses_leaves_a_sign_in_unfinished(probe: Probe) {
        let account = with_totp(&probe, "alice").await;
        let nights = Nights::default();
        let auth = probe.rebuilt(|builder| builder.hooks(nights.clone()));
        let mut browser = browser_of(&auth).await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        nights.closed.store(true, Ordering::SeqCst);
        let answer = browser.post_empty("/own-factor").await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "closed"));
        assert_eq!(events(&probe, "authn_login_fail").await, 1);
        assert_eq!(probe.auth.sessions().list(&account).await.expect("it answers").len(), 0);
        assert_eq!(own(&mut browser.stranger(), "alice", "totp").await.0, 403);
        assert_eq!(events(&probe, "authn_login_fail").await, 2);
        nights.closed.store(false, Ordering::SeqCst);
        assert_eq!(browser.post_empty("/own-factor").await.status, 200);
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn a_sign_in_that_a_hook_refuses_at_its_new_password_is_on_record(probe: Probe) {
        let account = probe.register("alice").await;
        let accounts = probe.auth.accounts();
        accounts.require_password_change(account.id()).await.expect("it is required");
        let nights = Nights::default();
        let auth = probe.rebuilt(|builder| builder.hooks(nights.clone()));
        let mut browser = browser_of(&auth).await;
        let answer = browser.login("alice", PASSWORD).await;
        assert_eq!(answer.json()["result"], "password_change_required");
        nights.closed.store(true, Ordering::SeqCst);
        let change = json!({ "new_password": "another horse battery staple" });
        let answer = browser.put("/auth/password", change.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "closed"));
        let refused = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_fail' AND detail = 'refused'";
        assert_eq!(probe.number(refused).await, 1);
        nights.closed.store(false, Ordering::SeqCst);
        assert_eq!(browser.put("/auth/password", change).await.status, 200);
        assert_eq!(probe.number(refused).await, 1);
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn a_hook_that_fails_makes_no_right_password_wrong(probe: Probe) {
        probe.register("alice").await;
        let nights = Nights::default();
        let auth = probe.rebuilt(|builder| builder.hooks(nights.clone()));
        let mut browser = browser_of(&auth).await;
        nights.broken.store(true, Ordering::SeqCst);
        for _ in 0..20 {
            let answer = browser.login("alice", PASSWORD).await;
            assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
        }
        nights.broken.store(false, Ordering::SeqCst);
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        assert_eq!(events(&probe, "authn_login_lock").await, 0);
    }

    async fn a_finished_sign_in_keeps_what_was_chosen_at_its_beginning(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        with_totp(&probe, "alice").await;
        let browser = browser_of(&probe.auth).await;
        // A cookie that ends with the browser stays one.
        let mut short = browser.stranger();
        let body = json!({ "login": "alice", "password": PASSWORD, "remember": false });
        assert_eq!(short.post("/auth/login", body).await.status, 200);
        let answer = short.post_empty("/own-factor").await;
        let lines = answer.set_cookies();
        let line = lines.iter().find(|line| line.starts_with("__Host-session="));
        let line = line.expect("a session cookie");
        assert!(!line.to_lowercase().contains("max-age"), "{line}");
        // A client that keeps its token itself gets no cookie.
        let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let answer = browser.stranger().post("/auth/login", body).await;
        let token = answer.json()["token"].as_str().expect("a token").to_owned();
        let request = browser.stranger().request(reqwest::Method::POST, "/own-factor");
        let answer = send(request.header("authorization", format!("Bearer {token}"))).await;
        assert_eq!((answer.status, answer.cookie()), (200, None));
        let query = "SELECT COUNT(*) FROM auth_session WHERE stage = 0 AND ended_at IS NULL";
        assert_eq!(probe.number(query).await, 2);
    }

    async fn a_finished_sign_in_counts_for_the_limit_of_sessions(probe: Probe) {
        let probe = probe.configured(|config| {
            config.session.max_per_account = Some(1);
            config.session.at_limit = AtLimit::Refuse;
        });
        with_totp(&probe, "alice").await;
        let mut first = browser_of(&probe.auth).await;
        let mut second = first.stranger();
        for browser in [&mut first, &mut second] {
            assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        }
        assert_eq!(first.post_empty("/own-factor").await.status, 200);
        let answer = second.post_empty("/own-factor").await;
        assert_eq!((answer.status, answer.code().as_str()), (409, "session_limit"));
        // It waits, and goes on once there is room.
        assert_eq!(first.post_empty("/auth/logout").await.status, 204);
        assert_eq!(second.post_empty("/own-factor").await.status, 200);
    }

    async fn a_password_is_no_second_factor(probe: Probe) {
        let account = with_totp(&probe, "alice").await;
        let accounts = probe.auth.accounts();
        let factors = [Factor::Password, Factor::Totp];
        accounts.set_enrolled_factors(account.id(), factors).await.expect("they are set");
        let mut browser = browser_of(&probe.auth).await;
        let answer = browser.login("alice", PASSWORD).await;
        assert_eq!(answer.json()["result"], "second_factor_required");
        // One factor cannot be both the first and the second.
        assert_eq!(own(&mut browser.stranger(), "alice", "").await.1, "second factor");
        accounts.set_enrolled_factors(account.id(), [Factor::External]).await.expect("they are set");
        assert_eq!(own(&mut browser.stranger(), "alice", "").await.1, "second factor");
        accounts.set_enrolled_factors(account.id(), [Factor::Password]).await.expect("they are set");
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.json()["result"], "session");
    }

    async fn a_finished_sign_in_still_has_to_set_the_password_that_is_due(probe: Probe) {
        let account = with_totp(&probe, "alice").await;
        let accounts = probe.auth.accounts();
        accounts.require_password_change(account.id()).await.expect("it is set");
        let mut browser = browser_of(&probe.auth).await;
        assert_eq!(browser.login("alice", PASSWORD).await.json()["result"], "second_factor_required");
        assert_eq!(browser.post_empty("/own-factor").await.status, 200);
        assert_eq!(browser.get("/me").await.code(), "password_change_required");
        let body = json!({ "new_password": "another horse battery staple" });
        assert_eq!(browser.put("/auth/password", body).await.status, 200);
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn a_sign_in_by_other_means_does_what_a_password_does(probe: Probe) {
        let (auth, seen) = seeing(&probe);
        let account = probe.register_with_email("alice", "alice@example.com").await;
        let mut browser = browser_of(&auth).await;
        assert_eq!(own(&mut browser, "alice", "").await, (200, "session".to_owned()));
        assert!(browser.device.is_some(), "the device is known");
        assert_eq!(seen.take(), ["before Session external", "after", "memberships"]);
        assert_eq!(events(&probe, "authn_login_success").await, 1);
        assert_eq!(events(&probe, "authn_new_device").await, 0, "the first ever");
        let query = "SELECT COUNT(*) FROM auth_account WHERE last_login_at IS NOT NULL";
        assert_eq!(probe.number(query).await, 1);

        let mut thief = browser.stranger();
        assert_eq!(own(&mut thief, "alice", "").await.0, 200);
        assert_eq!(events(&probe, "authn_new_device").await, 1);
        assert_eq!(own(&mut browser, "alice", "").await.0, 200);
        assert_eq!(events(&probe, "authn_new_device").await, 1, "the owner's device is known");

        // The account's requirements apply to every way to sign in.
        let accounts = auth.accounts();
        accounts.require_password_change(account.id()).await.expect("it is set");
        assert_eq!(own(&mut browser.stranger(), "alice", "").await, (200, "password".to_owned()));
        accounts.verify(account.id()).await.expect("it is verified");
        accounts.set_enrolled_factors(account.id(), [Factor::Totp]).await.expect("they are set");
        let answer = own(&mut browser.stranger(), "alice", "").await;
        assert_eq!(answer, (200, "second factor".to_owned()));
        assert_eq!(own(&mut browser.stranger(), "alice", "totp").await.1, "password");
    }

    async fn who_cannot_be_signed_in_is_not_by_other_means_either(probe: Probe) {
        let account = probe.register("alice").await;
        let mut browser = browser_of(&probe.auth).await;
        probe.auth.accounts().disable(account.id()).await.expect("it is disabled");
        assert_eq!(own(&mut browser, "alice", "").await.0, 401);
        assert_eq!(browser.cookie, None);
        assert_eq!(events(&probe, "authn_login_fail").await, 1);
        // The same for an account that was changed after the application read it.
        let bob = probe.register("bob").await;
        probe.auth.sessions().end_all(bob.id(), None).await.expect("they end");
        let client = ClientInfo::default();
        let refused = probe.auth.sign_in(&bob, &client).proved(Factor::External).await;
        assert!(matches!(refused, Err(LoginError::InvalidCredentials)), "{refused:?}");
    }

    async fn a_sign_in_by_other_means_takes_the_place_of_what_was_there(probe: Probe) {
        probe.register("alice").await;
        probe.register("bob").await;
        let mut browser = browser_of(&probe.auth).await;
        assert_eq!(browser.post_empty("/auth/session/anonymous").await.status, 201);
        let visitor = browser.clone();
        let lineage = browser.get("/anonymous").await.text;
        assert_eq!(own(&mut browser, "alice", "").await.0, 200);
        assert_eq!(browser.get("/lineage").await.text, lineage, "the visitor goes on as the account");
        assert_eq!(visitor.clone().get("/anonymous").await.code(), "session_ended");
        let first = browser.clone();
        assert_eq!(own(&mut browser, "bob", "").await.0, 200);
        assert_ne!(browser.get("/lineage").await.text, lineage, "nothing goes on for another account");
        assert_eq!(first.clone().get("/me").await.code(), "session_ended");
    }

    async fn a_mounted_second_factor_finishes_a_sign_in_like_any_other(probe: Probe) {
        let (auth, seen) = seeing(&probe);
        let (_, browser, secret) = totp::person(&probe, "alice").await;
        let mut other = browser.at(serve(app(&auth)).await).stranger();
        assert_eq!(other.login("alice", PASSWORD).await.json()["result"], "second_factor_required");
        assert_eq!(seen.take(), ["before SecondFactor password"]);
        let before = events(&probe, "authn_login_success").await;
        let wrong = totp::verify(&mut other, &totp::wrong_code(&probe, &secret)).await;
        assert_eq!((wrong.status, wrong.code().as_str()), (403, "wrong_code"));
        assert_eq!(seen.take(), [""; 0]);
        assert_eq!(events(&probe, "authn_new_device").await, 0, "not in yet");
        assert_eq!(other.device, None);
        let waiting = other.cookie.clone().expect("a cookie");
        let answer = totp::verify(&mut other, &totp::code(&probe, &secret)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(other.device.is_some(), "the device is known");
        assert_eq!(seen.take(), ["before Session password+totp", "after", "memberships"]);
        assert_eq!(events(&probe, "authn_login_success").await, before + 1);
        assert_eq!(events(&probe, "authn_new_device").await, 1);
        let told = probe.mail().await;
        assert!(told.iter().any(|mail| mail.kind == MessageKind::NewDevice), "the owner hears of it");
        // The pending sign-in has ended, so it cannot make a second session.
        probe.clock.advance(totp::STEP);
        let answer = totp::verify(&mut other.with_cookie(&waiting), &totp::code(&probe, &secret)).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"));
        // The device is known the next time.
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        assert_eq!(totp::verify(&mut other, &totp::code(&probe, &secret)).await.status, 200);
        assert_eq!(events(&probe, "authn_new_device").await, 1);
    }

    async fn a_mounted_second_factor_keeps_what_was_chosen_at_the_beginning(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        let (_, browser, secret) = totp::person(&probe, "alice").await;
        for remember in [false, true] {
            let mut other = browser.stranger();
            let body = json!({ "login": "alice", "password": PASSWORD, "remember": remember });
            assert_eq!(other.post("/auth/login", body).await.status, 200);
            let answer = totp::verify(&mut other, &totp::code(&probe, &secret)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let lines = answer.set_cookies();
            let line = lines.iter().find(|line| line.starts_with("__Host-session="));
            let line = line.expect("a session cookie").to_lowercase();
            assert_eq!(line.contains("max-age"), remember, "{line}");
            probe.clock.advance(totp::STEP);
        }
        let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let answer = browser.stranger().post("/auth/login", body).await;
        let token = answer.json()["token"].as_str().expect("a token").to_owned();
        let code = json!({ "code": totp::code(&probe, &secret) });
        let request = browser.stranger().request(Method::POST, "/auth/second-factor/verify");
        let request = request.json(&code).header("authorization", format!("Bearer {token}"));
        let answer = send(request).await;
        assert_eq!((answer.status, answer.cookie()), (200, None), "{}", answer.text);
        assert!(answer.json()["token"].is_string(), "{}", answer.text);
    }

    async fn a_session_limit_uses_up_no_code(probe: Probe) {
        let probe = probe.configured(|config| {
            config.session.max_per_account = Some(1);
            config.session.at_limit = AtLimit::Refuse;
        });
        let (_, mut browser, secret) = totp::person(&probe, "alice").await;
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        let code = totp::code(&probe, &secret);
        for _ in 0..10 {
            let answer = totp::verify(&mut other, &code).await;
            assert_eq!((answer.status, answer.code().as_str()), (409, "session_limit"));
        }
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
        let answer = totp::verify(&mut other, &code).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(other.get("/me").await.status, 200);
    }

    async fn a_step_up_by_a_code_keeps_the_end_and_the_ceiling(probe: Probe) {
        let (account, _, secret) = totp::person(&probe, "alice").await;
        let auth = &probe.auth;
        let client = ClientInfo::default();
        let account = auth.accounts().find(account.id()).await.expect("it answers").expect("alice");
        let ceiling = [portcullis::Permission::parse("doc:read").expect("a permission")];
        let start = auth.sessions().start(&account, &client).ceiling(ceiling).remember(false);
        let before = identity_of(auth, &start.await.expect("a session")).await;
        probe.clock.advance(Duration::from_secs(3_600));
        let code = || FactorCode::totp(totp::code(&probe, &secret));
        let stepped_up = auth.second_factor().step_up(&before, code(), &client).await;
        let after = identity_of(auth, &stepped_up.expect("a step-up").issued).await;
        assert_ne!(after.session().id(), before.session().id());
        assert_eq!(after.session().expires_at(), before.session().expires_at());
        assert_eq!(format!("{:?}", after.ceiling()), format!("{:?}", before.ceiling()));
        assert!(after.ceiling().is_some());
        assert_eq!(after.session().lineage_id(), before.session().lineage_id());
        assert_eq!(after.session().factors().passed_at(Factor::Totp), Some(probe.auth_now()));
        // The first session has been replaced. Its step-up is refused, and uses up no code.
        let lingering = auth.recheck(&before).await.expect("it counts for a moment");
        probe.clock.advance(totp::STEP);
        for old in [&before, &lingering] {
            let again = auth.second_factor().step_up(old, code(), &client).await;
            assert!(matches!(again, Err(SecondFactorError::Session(_))), "{again:?}");
        }
        let next = auth.second_factor().step_up(&after, code(), &client).await;
        assert!(next.is_ok(), "{next:?}");
    }

    async fn a_replaced_session_is_refused_before_its_password_is_compared(probe: Probe) {
        let account = probe.register("alice").await;
        let (auth, client) = (&probe.auth, ClientInfo::default());
        let issued = auth.sessions().start(&account, &client).await.expect("a session");
        let before = identity_of(auth, &issued).await;
        let issued = auth.login().reauthenticate(&before, PASSWORD, &client).await.expect("a session");
        let after = identity_of(auth, &issued).await;
        // A request that arrives now, with the old session.
        let before = auth.recheck(&before).await.expect("it counts for a moment");
        for password in [PASSWORD, "wrong"] {
            let refused = auth.login().reauthenticate(&before, password, &client).await;
            assert!(matches!(refused, Err(LoginError::Session(SessionError::Ended))), "{refused:?}");
            let refused = auth.login().step_up(&before, Factor::Password, &client).await;
            assert!(matches!(refused, Err(LoginError::Session(SessionError::Ended))), "{refused:?}");
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_attempt").await, 1, "no attempt was taken");
        let wrong = auth.login().reauthenticate(&after, "wrong", &client).await;
        assert!(matches!(wrong, Err(LoginError::WrongPassword)), "{wrong:?}");
    }

    async fn every_way_to_sign_in_ends_the_session_before_at_every_stage(probe: Probe) {
        let browser = browser_of(&probe.auth).await;
        let stages = [
            (Stage::Anonymous, "not_signed_in"),
            (Stage::PendingSecondFactor, "second_factor_required"),
            (Stage::MustChangePassword, "password_change_required"),
            (Stage::MustEnrol, "enrolment_required"),
            (Stage::Full, ""),
        ];
        for (number, (stage, before)) in stages.into_iter().enumerate() {
            let old = probe.register(&format!("old-{number}")).await;
            for flow in ["register", "password", "own", "mail", "verification"] {
                let what = format!("{stage:?} {flow}");
                let sessions = probe.auth.sessions();
                let client = ClientInfo::default();
                let start = match stage {
                    Stage::Anonymous => sessions.start_anonymous(&client),
                    stage => sessions.start(&old, &client).stage(stage),
                };
                let cookie = cookie_of(&start.await.expect("it starts"));
                let (_, cookie) = cookie.split_once('=').expect("a cookie");
                let mut browser = browser.stranger().with_cookie(cookie);
                let unfinished = browser.clone();
                assert_eq!(refusal(&browser).await, before, "{what}");
                let name = format!("{flow}-{number}");
                let address = format!("{name}@example.com");
                if flow != "register" {
                    let account = probe.register_with_email(&name, &address).await;
                    if flow != "verification" {
                        probe.auth.accounts().verify(account.id()).await.expect("it is verified");
                    }
                }
                let answer = match flow {
                    "register" => {
                        let body = json!({ "username": name, "password": PASSWORD });
                        browser.post("/auth/register", body).await
                    }
                    "password" => browser.login(&name, PASSWORD).await,
                    "own" => {
                        let request = browser.request(Method::POST, "/own").header("who", &name);
                        browser.send(request).await
                    }
                    flow => {
                        let (path, body) = match flow {
                            "mail" => ("/auth/login/mail", json!({ "login": address })),
                            _ => ("/auth/verification", json!({ "email": address })),
                        };
                        let asked = browser.post(path, body).await;
                        assert_eq!(asked.status, 202, "{what}: {}", asked.text);
                        let mail = probe.mail().await.pop().expect("a mail");
                        assert_eq!(mail.to.as_str(), address);
                        let body = json!({ "token": token_of(&mail) });
                        browser.post(&format!("{path}/confirm"), body).await
                    }
                };
                assert!(answer.status < 300, "{what}: {}", answer.text);
                assert_ne!(browser.cookie, unfinished.cookie, "{what}");
                let expected = if flow == "verification" { "password_change_required" } else { "" };
                assert_eq!(refusal(&browser).await, expected, "{what}");
                assert_eq!(refusal(&unfinished).await, "session_ended", "{what}");
            }
        }
    }

    async fn registering_over_an_unfinished_sign_in_ends_it(probe: Probe) {
        for (stage, path) in [
            (Stage::MustChangePassword, "/must-change"),
            (Stage::PendingSecondFactor, "/pending"),
        ] {
            let name = format!("old-{}", stage.as_str().replace('_', "-"));
            let account = probe.register(&name).await;
            let start = probe.auth.sessions().start(&account, &ClientInfo::default());
            let issued = start.stage(stage).await.expect("it starts");
            let cookie = cookie_of(&issued);
            let (_, cookie) = cookie.split_once('=').expect("a cookie");
            let mut browser = probe.browser().await.with_cookie(cookie);
            let unfinished = browser.clone();
            assert_eq!(browser.get(path).await.status, 200);
            let body = json!({ "username": format!("new-{name}"), "password": PASSWORD });
            assert_eq!(browser.post("/auth/register", body).await.status, 201);
            assert_eq!(browser.get("/me").await.status, 200);
            assert_eq!(unfinished.clone().get(path).await.code(), "session_ended", "{stage:?}");
            let body = json!({ "new_password": "another horse battery staple" });
            assert_eq!(unfinished.clone().put("/auth/password", body).await.status, 401);
        }
    }
}

/// Creates a second account with each registration, and refuses some registrations after that.
#[derive(Clone, Default)]
struct Twins(Arc<std::sync::OnceLock<Portcullis>>);

impl Hooks for Twins {
    async fn after_register(
        &self,
        registering: portcullis::hook::Registering<'_>,
        txn: &DatabaseTransaction,
    ) -> HookResult {
        let name = registering.username.unwrap_or_default();
        let auth = self.0.get().expect("it is built");
        let twin = NewAccount::username(format!("twin-of-{name}"));
        auth.accounts().within(txn).create(twin).await?;
        match name {
            "refused" => Err(Refusal::new(StatusCode::FORBIDDEN, "refused", "not today"))?,
            _ => Ok(()),
        }
    }
}

/// Checks that events of a hook in its transaction are reported together with those of the flow.
async fn told_with_its_flow(probe: Probe) {
    let twins = Twins::default();
    let auth = probe.rebuilt(|builder| builder.hooks(twins.clone()));
    assert!(twins.0.set(auth.clone()).is_ok());
    let (log, _listening) = Log::start();
    let told = || log.events().iter().filter(|line| line.contains("user_created")).count();
    for (name, count) in [("refused", 0), ("carol", 2)] {
        let application = Application::new(NewAccount::username(name), PASSWORD);
        let client = ClientInfo::default();
        let registered = auth.registration().register(application, &client).await;
        assert_eq!(registered.is_ok(), count > 0, "{registered:?}");
        assert_eq!(told(), count, "{}", log.text());
        assert!(!log.text().contains("uncommitted"), "{}", log.text());
    }
}

/// Checks that events of a caller's transaction are reported after the commit, and not after a
/// rollback.
async fn told_after_the_commit(probe: Probe) {
    let (log, _listening) = Log::start();
    let told = |name: &str| log.events().iter().filter(|line| line.contains(name)).count();
    let new = |name: &str| NewAccount::username(name);
    let accounts = || probe.auth.accounts();

    let txn = probe.auth.begin().await.expect("it begins");
    let account = accounts().within(&txn).create(new("alice")).await.expect("it is made");
    txn.rollback().await;
    assert_eq!(told("user_created"), 0, "{}", log.text());
    assert_eq!(told(&account.id().to_string()), 0);

    let txn = probe.auth.begin().await.expect("it begins");
    let account = accounts().within(&txn).create(new("alice")).await.expect("it is made");
    assert_eq!(told("user_created"), 0);
    txn.commit().await.expect("it commits");
    assert_eq!(told("user_created"), 1, "{}", log.text());
    assert_eq!(told(&account.id().to_string()), 1);

    // The end of a transaction that portcullis did not open is not known, so its events are marked
    // as uncommitted.
    let txn = sea_orm::TransactionTrait::begin(&probe.db).await.expect("it begins");
    let account = accounts().within(&txn).create(new("bob")).await.expect("it is made");
    txn.rollback().await.expect("it is rolled back");
    assert_eq!(told("user_created"), 1, "{}", log.text());
    let id = account.id().to_string();
    let text = log.text();
    let lines = text.lines().filter(|line| line.contains(&id));
    let lines: Vec<_> = lines.filter(|line| line.contains("user_created")).collect();
    assert!(lines.iter().all(|line| line.contains("portcullis::event::uncommitted")), "{lines:?}");
    assert_eq!(lines.len(), 1);

    // A failed flow reports nothing.
    let first = accounts().create(new("carol")).await;
    assert!(first.is_ok());
    assert!(accounts().create(new("carol")).await.is_err());
    assert_eq!(told("user_created"), 2);
}

// Uses one thread, because the log is kept per thread.
mod nothing_is_told_before_its_commit {
    use super::*;
    use crate::support::probe::run;

    #[tokio::test]
    async fn sqlite() {
        run(Backend::Sqlite, told_after_the_commit).await;
    }

    #[::portcullis_test_needs::needs("PORTCULLIS_TEST_POSTGRES_URL")]
    #[tokio::test]
    async fn postgres() {
        run(Backend::Postgres, told_after_the_commit).await;
    }

    #[::portcullis_test_needs::needs("PORTCULLIS_TEST_MYSQL_URL")]
    #[tokio::test]
    async fn mysql() {
        run(Backend::MySql, told_after_the_commit).await;
    }

    #[tokio::test]
    async fn from_a_hook_on_sqlite() {
        run(Backend::Sqlite, told_with_its_flow).await;
    }

    #[::portcullis_test_needs::needs("PORTCULLIS_TEST_POSTGRES_URL")]
    #[tokio::test]
    async fn from_a_hook_on_postgres() {
        run(Backend::Postgres, told_with_its_flow).await;
    }

    #[::portcullis_test_needs::needs("PORTCULLIS_TEST_MYSQL_URL")]
    #[tokio::test]
    async fn from_a_hook_on_mysql() {
        run(Backend::MySql, told_with_its_flow).await;
    }
}
