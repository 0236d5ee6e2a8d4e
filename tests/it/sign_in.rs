//! How every way to sign in ends, including the application's own means.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use portcullis::account::NewAccount;
use portcullis::hook::{HookResult, Hooks, SigningIn};
use portcullis::login::{LoginError, LoginOutcome};
use portcullis::message::MessageKind;
use portcullis::port::{HookFuture, MembershipSource, SourceMembership};
use portcullis::registration::Application;
use portcullis::session::SessionError;
use portcullis::{
    Account, AccountId, ClientInfo, Factor, PendingSession, Portcullis, Problem, Refusal,
    Rejection, Stage,
};
use sea_orm::DatabaseTransaction;
use serde_json::json;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::COOKIE;
use crate::support::call::{call, cookie_of, request};
use crate::support::log::Log;
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe};

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
    let found = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&found);
    let handler = move |session: PendingSession| async move {
        *keep.lock().expect("nothing panics while it is held") = Some(session);
    };
    let app = axum::Router::new().route("/", axum::routing::get(handler)).layer(auth.layer());
    let request = request("GET", "/").header("cookie", format!("{COOKIE}={cookie}"));
    call(&app, request.body(axum::body::Body::empty()).expect("a request")).await;
    let pending = found.lock().expect("nothing panics while it is held").take();
    pending.expect("a sign-in that waits")
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
                Err(LoginError::Session(SessionError::Over)) => {}
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
        assert!(matches!(refused, Err(LoginError::Session(SessionError::Over))), "{refused:?}");
        assert_eq!(probe.auth.sessions().list(&account).await.expect("it answers").len(), 0);
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
