//! Roles that require a second factor: accounts without one reach only the routes that set one up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use portcullis::account::FurtherName;
use portcullis::hook::{HookResult, Hooks, SigningIn};
use portcullis::login::{Credentials, LoginOutcome};
use portcullis::permission::RoleDefinition;
use portcullis::{
    Account, AuthError, ClientInfo, Factor, Identity, MessageKind, NotSignedIn, Permission,
    Portcullis, Refusal, Timestamp,
};
use sea_orm::DatabaseTransaction;
use serde_json::{Value, json};

use crate::on_every_database;
use crate::sent_code::{ask, prove_mailbox};
use crate::support::call::{cookie_of, extracted};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp::{check, code, enrol, start, verify};

const MINUTE: Duration = Duration::from_secs(60);
const PASSWORD_2: &str = "another horse battery staple";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Defines a role that requires a second factor, and gives it to an account.
async fn require(auth: &Portcullis, account: &Account) {
    let admin = RoleDefinition::new("admin", ["user:read"]).requires_factor(true);
    auth.roles().define([admin]).await.expect("it is defined");
    auth.roles().grant(account.id(), "admin").await.expect("it is granted");
}

/// An account with this role, a proved address and no second factor.
async fn admin(probe: &Probe) -> (Account, Browser) {
    let account = probe.register_with_email("alice", "alice@example.com").await;
    probe.auth.accounts().verify(account.id()).await.expect("it is verified");
    require(&probe.auth, &account).await;
    (account, probe.browser().await)
}

async fn result(browser: &mut Browser) -> String {
    let answer = browser.login("alice", PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["result"].as_str().expect("a result").to_owned()
}

async fn confirm(probe: &Probe, browser: &mut Browser, (id, secret): (String, String)) -> Value {
    let body = json!({ "id": id, "code": code(probe, &secret) });
    let answer = browser.post("/auth/totp/confirm", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

async fn sign_ins(probe: &Probe) -> i64 {
    // The events of an unfinished sign-in name its stage.
    let events =
        "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_success' AND detail IS NULL";
    probe.number(events).await
}

fn shown(due: Timestamp) -> Value {
    serde_json::to_value(due).expect("a time")
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
    async fn a_sign_in_without_the_factor_reaches_only_what_sets_it_up(probe: Probe) {
        let account = probe.register("alice").await;
        require(&probe.auth, &account).await;
        let mut browser = probe.browser().await;
        assert_eq!(result(&mut browser).await, "enrolment_required");
        for path in ["/me", "/auth/session", "/auth/sessions", "/auth/totp", "/auth/recovery-codes"] {
            check(&browser.get(path).await, 401, "enrolment_required");
        }
        let new = json!({ "new_password": "another horse battery staple", "current_password": PASSWORD });
        check(&browser.put("/auth/password", new).await, 401, "enrolment_required");
        check(&browser.get("/auth/second-factor").await, 401, "wrong_stage");
        check(&browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await, 400, "invalid_body");
        let before = sign_ins(&probe).await;
        let new = start(&mut browser, "phone").await;
        let copy = browser.clone();
        let confirmed = confirm(&probe, &mut browser, new.clone()).await;
        assert_eq!(confirmed["result"], "session");
        assert_eq!(sign_ins(&probe).await, before + 1, "only now the sign-in is complete");
        assert_eq!(browser.get("/me").await.status, 200);
        // The sign-in is used up.
        check(&copy.clone().get("/me").await, 401, "session_ended");
        check(&copy.clone().post("/auth/totp", json!({ "name": "x" })).await, 401, "session_ended");
        probe.clock.advance(MINUTE);
        let mut other = browser.stranger();
        assert_eq!(result(&mut other).await, "second_factor_required");
        assert_eq!(verify(&mut other, &code(&probe, &new.1)).await.status, 200);
        // A sign-in that must set up a factor ends like every other one.
        let probe = probe.configured(|_| {});
        let bob = probe.register("bob").await;
        probe.auth.roles().grant(bob.id(), "admin").await.expect("it is granted");
        let mut browser = browser.stranger();
        assert_eq!(browser.login("bob", PASSWORD).await.json()["result"], "enrolment_required");
        assert_eq!(browser.post("/auth/logout", json!({})).await.status, 204);
        let mut browser = browser.stranger();
        browser.login("bob", PASSWORD).await;
        probe.clock.advance(10 * MINUTE);
        check(&browser.post("/auth/totp", json!({ "name": "x" })).await, 401, "token_expired");
    }

    async fn a_role_that_is_granted_later_counts_on_the_next_request(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        assert_eq!(browser.get("/me").await.status, 200);
        require(&probe.auth, &alice).await;
        check(&browser.get("/me").await, 401, "enrolment_required");
        check(&browser.get("/auth/session").await, 401, "enrolment_required");
        // The token is renewed as always, and stays what it is.
        probe.clock.advance(20 * MINUTE);
        let renewed = browser.get("/me").await;
        assert_eq!((renewed.status, renewed.code().as_str()), (401, "enrolment_required"));
        // This needs a recent factor, like every change.
        check(&browser.post("/auth/totp", json!({ "name": "phone" })).await, 401, "insufficient_user_authentication");
        // Without the role, everything is as before.
        let roles = probe.auth.roles();
        roles.require_factor("admin", false).await.expect("it is changed");
        assert_eq!(browser.get("/me").await.status, 200);
        roles.require_factor("admin", true).await.expect("it is changed");
        check(&browser.get("/me").await, 401, "enrolment_required");
        roles.revoke(alice.id(), "admin").await.expect("it is revoked");
        assert_eq!(browser.get("/me").await.status, 200);
        roles.grant(alice.id(), "admin").await.expect("it is granted");
        // A session that was full goes on as a full one, with its end.
        assert_eq!(result(&mut browser).await, "enrolment_required");
        let new = start(&mut browser, "phone").await;
        assert_eq!(confirm(&probe, &mut browser, new).await["result"], "session");
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn a_full_session_sets_up_the_factor_and_goes_on(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        require(&probe.auth, &alice).await;
        let before = sign_ins(&probe).await;
        let new = start(&mut browser, "phone").await;
        assert_eq!(confirm(&probe, &mut browser, new).await["result"], "session");
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(sign_ins(&probe).await, before, "it was a sign-in before");
    }

    async fn a_session_whose_role_came_later_is_still_the_browser_that_registered(probe: Probe) {
        for with_code in [false, true] {
            let name = if with_code { "bob" } else { "alice" };
            let email = format!("{name}@example.com");
            let mut browser = probe.browser().await;
            let body = json!({ "username": name, "email": email, "password": PASSWORD });
            assert_eq!(browser.post("/auth/register", body).await.status, 201);
            let account = probe.auth.accounts().find_by_login(name).await.expect("it answers");
            require(&probe.auth, &account.expect("an account")).await;
            check(&browser.get("/me").await, 401, "enrolment_required");
            let mail = crate::verification::asked(&probe, &email).await;
            let proof = match with_code {
                false => json!({ "token": crate::verification::token_of(&mail) }),
                true => json!({ "code": crate::verification::code_of(&mail) }),
            };
            let answer = browser.post("/auth/verification/confirm", proof).await;
            assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("verified")), "{}", answer.text);
            // The password is still the one of the owner.
            let answer = browser.stranger().login(name, PASSWORD).await;
            assert_eq!(answer.json()["result"], "enrolment_required", "{}", answer.text);
        }
    }

    async fn a_further_address_that_nobody_has_verified_stops_nobody(probe: Probe) {
        let (account, mut browser) = admin(&probe).await;
        let further = FurtherName::email("work@example.com");
        probe.auth.accounts().add_name(account.id(), further).await.expect("it is added");
        assert_eq!(result(&mut browser).await, "enrolment_required");
        probe.clock.advance(MINUTE);
        prove_mailbox(&probe, &mut browser).await;
        let new = start(&mut browser, "phone").await;
        assert_eq!(confirm(&probe, &mut browser, new).await["result"], "session");
    }

    async fn what_lingers_of_a_session_whose_role_came_later_does_nothing_that_lasts(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let lineage = browser.get("/lineage").await.text;
        let mut old = browser.clone();
        let answer = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        require(&probe.auth, &alice).await;
        check(&old.get("/me").await, 401, "enrolment_required");
        assert_eq!(result(&mut old).await, "enrolment_required");
        probe.auth.roles().revoke(alice.id(), "admin").await.expect("it is revoked");
        assert_eq!(old.login("alice", PASSWORD).await.json()["result"], "session");
        assert_ne!(old.get("/lineage").await.text, lineage, "the other session has it");
        assert_eq!(browser.get("/lineage").await.text, lineage);
    }

    async fn a_thief_of_the_password_cannot_set_up_the_required_factor(probe: Probe) {
        let (_, mut browser) = admin(&probe).await;
        assert_eq!(result(&mut browser).await, "enrolment_required");
        let refused = browser.post("/auth/totp", json!({ "name": "phone" })).await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["mailed_code"]));
        let sent = ask(&probe, &mut browser, "/auth/reauthenticate/challenge", "mailed_code").await;
        let body = |code: &str| json!({ "method": "mailed_code", "code": code });
        check(&browser.post("/auth/reauthenticate", body("00000000")).await, 403, "wrong_code");
        let before = browser.clone();
        let proved = browser.post("/auth/reauthenticate", body(&sent)).await;
        assert_eq!((proved.status, &proved.json()["result"]), (200, &json!("enrolment_required")), "{}", proved.text);
        check(&browser.get("/me").await, 401, "enrolment_required");
        // The code was for that sign-in, which goes on as a new one.
        check(&before.clone().post("/auth/totp", json!({ "name": "x" })).await, 401, "session_ended");
        check(&browser.post("/auth/reauthenticate", body(&sent)).await, 403, "wrong_code");
        let new = start(&mut browser, "phone").await;
        assert_eq!(confirm(&probe, &mut browser, new).await["result"], "session");
        let factors = browser.get("/auth/session").await.json()["factors"].clone();
        let names: Vec<_> = factors.as_array().expect("a list").iter().map(|f| f["factor"].clone()).collect();
        assert_eq!(names, ["password", "mailed_code", "totp"]);
    }

    async fn during_the_time_of_grace_the_session_is_full_and_says_until_when(probe: Probe) {
        let probe = probe.configured(|config| config.factor.grace = 7 * DAY);
        let (_, mut browser) = admin(&probe).await;
        let due = probe.auth_now().plus(7 * DAY);
        let answer = browser.login("alice", PASSWORD).await.json();
        assert_eq!((&answer["result"], &answer["enrolment_due_at"]), (&json!("session"), &shown(due)));
        assert_eq!(browser.get("/auth/session").await.json()["enrolment_due_at"], shown(due));
        // Another sign-in does not move it.
        probe.clock.advance(DAY);
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.json()["enrolment_due_at"], shown(due));
        probe.clock.advance(6 * DAY - Duration::from_secs(60));
        assert_eq!(result(&mut browser).await, "session");
        assert_eq!(browser.get("/me").await.status, 200);
        probe.clock.advance(Duration::from_secs(60));
        check(&browser.get("/me").await, 401, "enrolment_required");
        assert_eq!(result(&mut browser).await, "enrolment_required");
        prove_mailbox(&probe, &mut browser).await;
        let new = start(&mut browser, "phone").await;
        let confirmed = confirm(&probe, &mut browser, new).await;
        assert_eq!((&confirmed["result"], confirmed.get("enrolment_due_at")), (&json!("session"), None));
        assert!(browser.get("/auth/session").await.json().get("enrolment_due_at").is_none());
    }

    async fn the_grace_of_a_role_that_is_granted_later_begins_with_the_next_request(probe: Probe) {
        let probe = probe.configured(|config| config.factor.grace = 2 * DAY);
        let (alice, mut browser) = probe.signed_in("alice").await;
        probe.clock.advance(DAY);
        require(&probe.auth, &alice).await;
        let due = probe.auth_now().plus(2 * DAY);
        assert_eq!(browser.get("/auth/session").await.json()["enrolment_due_at"], shown(due));
        // Nothing moves it: neither a new session of the same sign-in, nor another sign-in, nor one that
        // the application starts.
        probe.clock.advance(DAY);
        let password = json!({ "password": PASSWORD });
        assert_eq!(browser.post("/auth/reauthenticate", password).await.status, 200);
        assert_eq!(browser.get("/auth/session").await.json()["enrolment_due_at"], shown(due));
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.json()["enrolment_due_at"], shown(due));
        let started = probe.auth.sessions().start(&alice, &ClientInfo::default()).await.expect("a session");
        let identity: Identity = extracted(&probe.auth, &cookie_of(&started)).await;
        assert_eq!(identity.enrolment_due_at(), Some(due));
        // An open connection learns of it too.
        let again = probe.auth.recheck(&identity).await.expect("it counts");
        assert_eq!(again.enrolment_due_at(), Some(due));
        probe.clock.advance(DAY);
        assert_eq!(browser.get("/auth/session").await.code(), "enrolment_required");
        assert_eq!(result(&mut browser).await, "enrolment_required");
        let refused = probe.auth.recheck(&identity).await;
        assert!(matches!(refused, Err(AuthError::NotSignedIn(NotSignedIn::EnrolmentRequired))), "{refused:?}");
        let ended = probe.auth.session_end(&identity, DAY).await;
        assert!(matches!(ended, NotSignedIn::EnrolmentRequired), "{ended:?}");
    }

    async fn a_shorter_grace_counts_at_once_and_a_lost_factor_brings_a_new_one(probe: Probe) {
        let long = probe.rebuilt(|builder| builder.configure(|config| config.factor.grace = 7 * DAY));
        let none = probe.rebuilt(|builder| builder);
        let account = probe.register("alice").await;
        require(&long, &account).await;
        let mut browser = Browser::new(serve(app(&long)).await);
        assert_eq!(result(&mut browser).await, "session");
        // A shorter one begins now, and is not moved again.
        let short = probe.rebuilt(|builder| builder.configure(|config| config.factor.grace = DAY));
        let mut shorter = browser.at(serve(app(&short)).await);
        let due = probe.auth_now().plus(DAY);
        assert_eq!(shorter.get("/auth/session").await.json()["enrolment_due_at"], shown(due));
        probe.clock.advance(DAY / 2);
        assert_eq!(shorter.get("/auth/session").await.json()["enrolment_due_at"], shown(due));
        assert_eq!(shorter.stranger().login("alice", PASSWORD).await.json()["enrolment_due_at"], shown(due));
        let mut browser = browser.stranger();
        assert_eq!(result(&mut browser).await, "session");
        let mut strict = browser.at(serve(app(&none)).await);
        check(&strict.get("/me").await, 401, "enrolment_required");
        assert_eq!(result(&mut strict.stranger()).await, "enrolment_required");
        let new = start(&mut browser, "phone").await;
        assert_eq!(confirm(&probe, &mut browser, new).await["result"], "session");
        // The administrator removes a lost factor much later.
        probe.clock.advance(30 * DAY);
        long.accounts().set_enrolled_factors(account.id(), []).await.expect("set");
        let due = probe.auth_now().plus(7 * DAY);
        let answer = browser.stranger().login("alice", PASSWORD).await.json();
        assert_eq!((&answer["result"], &answer["enrolment_due_at"]), (&json!("session"), &shown(due)));
    }

    async fn every_way_to_a_session_looks_at_the_role(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        let (account, mut browser) = admin(&probe).await;
        let (auth, client) = (&probe.auth, ClientInfo::default());
        let refused = |answer: crate::support::browser::Answer, way: &str| {
            assert_eq!((answer.status, answer.code().as_str()), (401, "enrolment_required"), "{way}");
        };
        // By mail.
        assert_eq!(browser.post("/auth/login/mail", json!({ "login": "alice" })).await.status, 202);
        let sent = probe.mail().await;
        let mail = sent.iter().rev().find(|mail| mail.kind == MessageKind::MailLogin).expect("a mail");
        let code = json!({ "code": mail.value("code").expect("a code") });
        let answer = browser.post("/auth/login/mail/confirm", code).await;
        assert_eq!(answer.json()["result"], "enrolment_required", "{}", answer.text);
        refused(browser.get("/me").await, "by mail");
        // The mailbox is proved by that, so the factor can be set up.
        assert_eq!(browser.post("/auth/totp", json!({ "name": "phone" })).await.status, 201);
        // A visitor who signs in.
        let mut visitor = browser.stranger();
        assert_eq!(visitor.post_empty("/auth/session/anonymous").await.status, 201);
        assert_eq!(result(&mut visitor).await, "enrolment_required");
        refused(visitor.get("/me").await, "a visitor");
        // Means of the application.
        let outcome = auth.sign_in(&account, &client).proved(Factor::External).await.expect("it ends");
        assert!(matches!(outcome, LoginOutcome::EnrolmentRequired(_)), "{outcome:?}");
        let started = auth.sessions().start(&account, &client).await.expect("a session");
        let (_, token) = cookie_of(&started).split_once('=').map(|(n, t)| (n.to_owned(), t.to_owned())).expect("a cookie");
        refused(browser.with_cookie(&token).get("/me").await, "a session of the application");
        // A reset, and then a sign-in.
        assert_eq!(browser.post("/auth/password/forgot", json!({ "login": "alice" })).await.status, 202);
        let sent = probe.mail().await;
        let mail = sent.iter().rev().find(|mail| mail.kind == MessageKind::PasswordReset).expect("a mail");
        let (_, token) = mail.value("link").expect("a link").split_once("#token=").expect("a token");
        let reset = json!({ "token": token, "password": PASSWORD_2 });
        assert!(browser.stranger().post("/auth/password/reset", reset).await.status < 300);
        let answer = browser.stranger().login("alice", PASSWORD_2).await;
        assert_eq!(answer.json()["result"], "enrolment_required", "{}", answer.text);
        // A bearer token.
        let body = json!({ "login": "alice", "password": PASSWORD_2, "transport": "bearer" });
        let answer = browser.stranger().post("/auth/login", body).await.json();
        assert_eq!(answer["result"], "enrolment_required");
        let token = answer["token"].as_str().expect("a token").to_owned();
        let request = browser.raw(reqwest::Method::GET, "/me").bearer_auth(&token);
        refused(crate::support::browser::send(request).await, "a bearer");
    }

    async fn a_bearer_whose_role_was_granted_later_renews_its_token_to_set_up_the_factor(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        let account = probe.register("alice").await;
        let browser = probe.browser().await;
        let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let answer = browser.stranger().post("/auth/login", body).await.json();
        let token = answer["token"].as_str().expect("a token").to_owned();
        require(&probe.auth, &account).await;
        probe.clock.advance(16 * MINUTE);
        let send = async |method: reqwest::Method, path: &str, token: &str| {
            crate::support::browser::send(browser.raw(method, path).bearer_auth(token)).await
        };
        check(&send(reqwest::Method::GET, "/me", &token).await, 401, "token_expired");
        let renewed = send(reqwest::Method::POST, "/auth/session/refresh", &token).await;
        assert_eq!(renewed.status, 200, "{}", renewed.text);
        let token = renewed.json()["token"].as_str().expect("a token").to_owned();
        check(&send(reqwest::Method::GET, "/me", &token).await, 401, "enrolment_required");
        let request = browser.raw(reqwest::Method::POST, "/auth/totp").bearer_auth(&token);
        let answer = crate::support::browser::send(request.json(&json!({ "name": "phone" }))).await;
        check(&answer, 401, "insufficient_user_authentication");
    }

    async fn a_weak_factor_changes_no_factor_of_an_account_with_a_strong_one(probe: Probe) {
        let (account, browser, secret) = crate::totp::person(&probe, "alice").await;
        let both = [Factor::Totp, Factor::MailedCode];
        probe.auth.accounts().set_enrolled_factors(account.id(), both).await.expect("set");
        require(&probe.auth, &account).await;
        let account = probe.auth.accounts().find(account.id()).await.expect("it answers").expect("alice");
        let start = probe.auth.sessions().start(&account, &ClientInfo::default());
        let started = start.factor(Factor::Password).factor(Factor::MailedCode).await.expect("a session");
        let cookie = cookie_of(&started);
        let (_, token) = cookie.split_once('=').expect("a cookie");
        let mut thief = browser.with_cookie(token);
        let name = json!({ "name": "thief" });
        let refused = thief.post("/auth/totp", name.clone()).await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["totp"]));
        // Without a role too.
        probe.auth.roles().revoke(account.id(), "admin").await.expect("it is revoked");
        let totp = thief.get("/auth/totp").await.json()["authenticators"][0]["id"].clone();
        let totp = format!("/auth/totp/{}", totp.as_str().expect("an id"));
        for path in [&totp, "/auth/sent-codes/mailed_code"] {
            check(&thief.delete(path).await, 401, "insufficient_user_authentication");
        }
        for (path, body) in [("/auth/totp", &name), ("/auth/recovery-codes", &json!({}))] {
            let refused = thief.post(path, body.clone()).await;
            check(&refused, 401, "insufficient_user_authentication");
            assert_eq!(refused.json()["factors"], json!(["totp"]));
        }
        // With the strong one, the same session may.
        probe.clock.advance(MINUTE);
        let proof = json!({ "method": "totp", "code": code(&probe, &secret) });
        assert_eq!(thief.post("/auth/reauthenticate", proof).await.status, 200);
        assert_eq!(thief.delete("/auth/sent-codes/mailed_code").await.status, 200);
        // An operator may decide that a mailed code is strong enough.
        let probe = probe.configured(|config| config.factor.least = Factor::MailedCode);
        probe.auth.accounts().set_enrolled_factors(account.id(), both).await.expect("set");
        let account = probe.auth.accounts().find(account.id()).await.expect("it answers").expect("alice");
        let start = probe.auth.sessions().start(&account, &ClientInfo::default());
        let started = start.factor(Factor::Password).factor(Factor::MailedCode).await.expect("a session");
        let cookie = cookie_of(&started);
        let (_, token) = cookie.split_once('=').expect("a cookie");
        let mut weak = probe.browser().await.with_cookie(token);
        assert_eq!(weak.post("/auth/totp", name).await.status, 201);
    }

    async fn an_authenticator_is_not_enough_where_a_passkey_is_required(probe: Probe) {
        let probe = probe.configured(|config| config.factor.least = Factor::Passkey);
        let account = probe.register("alice").await;
        require(&probe.auth, &account).await;
        let mut browser = probe.browser().await;
        assert_eq!(result(&mut browser).await, "enrolment_required");
        let (id, secret) = start(&mut browser, "phone").await;
        let body = json!({ "id": id, "code": code(&probe, &secret) });
        check(&browser.post("/auth/totp/confirm", body).await, 409, "factor_too_weak");
        // A factor that the application checks is always enough.
        probe.auth.accounts().set_enrolled_factors(account.id(), [Factor::External]).await.expect("set");
        assert_eq!(result(&mut browser).await, "second_factor_required");
    }

    async fn an_operator_learns_that_the_routes_are_missing(probe: Probe) {
        let account = probe.register("alice").await;
        require(&probe.auth, &account).await;
        let client = ClientInfo::default();
        let found = |auth: &Portcullis| {
            auth.audit().iter().any(|finding| finding.code == "factor_required_without_routes")
        };
        for mounted in [true, false] {
            let auth = probe.rebuilt(|builder| builder);
            if mounted {
                drop(app(&auth));
            }
            let credentials = Credentials::password("alice", PASSWORD);
            let outcome = auth.login().with_password(credentials, &client).await.expect("it is right");
            assert!(matches!(outcome, LoginOutcome::EnrolmentRequired(_)), "{outcome:?}");
            assert_eq!(found(&auth), !mounted);
        }
    }

    async fn a_weaker_factor_is_not_enough(probe: Probe) {
        let account = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(account.id()).await.expect("it is verified");
        let mut browser = probe.browser().await;
        assert_eq!(result(&mut browser).await, "session");
        prove_mailbox(&probe, &mut browser).await;
        let mailed = json!({ "method": "mailed_code" });
        assert_eq!(browser.post("/auth/sent-codes", mailed.clone()).await.status, 200);
        require(&probe.auth, &account).await;
        probe.clock.advance(MINUTE);
        // What the account has is asked first, and then the stronger one is set up.
        assert_eq!(result(&mut browser).await, "second_factor_required");
        let sent = ask(&probe, &mut browser, "/auth/second-factor/challenge", "mailed_code").await;
        let body = json!({ "method": "mailed_code", "code": sent });
        let answer = browser.post("/auth/second-factor/verify", body).await;
        assert_eq!(answer.json()["result"], "enrolment_required", "{}", answer.text);
        let new = start(&mut browser, "phone").await;
        assert_eq!(confirm(&probe, &mut browser, new.clone()).await["result"], "session");
        // From then on the weaker one neither stands in for it nor is it offered.
        probe.clock.advance(MINUTE);
        let mut other = browser.stranger();
        let answer = other.login("alice", PASSWORD).await.json();
        assert_eq!(answer["methods"], json!([{ "method": "totp" }]));
        assert_eq!(other.get("/auth/second-factor").await.json()["methods"], json!([{ "method": "totp" }]));
        check(&other.post("/auth/second-factor/challenge", mailed.clone()).await, 409, "factor_not_enrolled");
        let body = json!({ "method": "mailed_code", "code": "12345678" });
        check(&other.post("/auth/second-factor/verify", body).await, 403, "wrong_code");
        assert_eq!(verify(&mut other, &code(&probe, &new.1)).await.status, 200);
        // Without the role, both are second factors.
        probe.auth.roles().revoke(account.id(), "admin").await.expect("it is revoked");
        let mut other = browser.stranger();
        let answer = other.login("alice", PASSWORD).await.json();
        assert_eq!(answer["methods"].as_array().map(Vec::len), Some(2));
        let sent = ask(&probe, &mut other, "/auth/second-factor/challenge", "mailed_code").await;
        let body = json!({ "method": "mailed_code", "code": sent });
        assert_eq!(other.post("/auth/second-factor/verify", body).await.status, 200);
    }

    async fn a_factor_that_is_not_strong_enough_anyway_can_be_removed_alike(probe: Probe) {
        let probe = probe.configured(|config| {
            (config.factor.least, config.factor.grace) = (Factor::Passkey, DAY);
        });
        let (account, mut browser) = admin(&probe).await;
        assert_eq!(result(&mut browser).await, "session", "the time of grace");
        prove_mailbox(&probe, &mut browser).await;
        let (id, _) = enrol(&probe, &mut browser, "phone").await;
        let answer = browser.post("/auth/sent-codes", json!({ "method": "mailed_code" })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // The account lacks a strong one with them and without them.
        assert_eq!(browser.delete("/auth/sent-codes/mailed_code").await.status, 200);
        let answer = browser.delete(&format!("/auth/totp/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let found = probe.auth.accounts().find(account.id()).await.expect("it answers");
        assert!(found.expect("an account").enrolled_factors().is_empty());
    }

    async fn reauthenticating_at_this_stage_says_how_many_recovery_codes_are_left(probe: Probe) {
        let (_, mut browser, _) = crate::totp::person(&probe, "alice").await;
        let codes = browser.post("/auth/recovery-codes", json!({})).await.json()["codes"].clone();
        let account = probe.auth.accounts().find_by_login("alice").await.expect("it answers");
        // The role asks for more than the account has.
        let probe = probe.configured(|config| config.factor.least = Factor::Passkey);
        require(&probe.auth, &account.expect("an account")).await;
        let mut other = probe.browser().await;
        assert_eq!(result(&mut other).await, "second_factor_required");
        assert_eq!(verify(&mut other, codes[0].as_str().expect("a code")).await.json()["result"], "enrolment_required");
        let answer = other.post("/auth/reauthenticate", json!({ "code": codes[1] })).await;
        let said = (answer.status, &answer.json()["result"], &answer.json()["recovery_codes_left"]);
        assert_eq!(said, (200, &json!("enrolment_required"), &json!(8)), "{}", answer.text);
    }

    async fn recovery_codes_are_no_factor_that_a_role_requires(probe: Probe) {
        let account = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(account.id()).await.expect("it is verified");
        let weak = [Factor::MailedCode];
        probe.auth.accounts().set_enrolled_factors(account.id(), weak).await.expect("it is set");
        require(&probe.auth, &account).await;
        let mut browser = probe.browser().await;
        assert_eq!(result(&mut browser).await, "second_factor_required");
        let sent = ask(&probe, &mut browser, "/auth/second-factor/challenge", "mailed_code").await;
        let body = json!({ "method": "mailed_code", "code": sent });
        let answer = browser.post("/auth/second-factor/verify", body).await;
        assert_eq!(answer.json()["result"], "enrolment_required", "{}", answer.text);
        check(&browser.post("/auth/recovery-codes", json!({})).await, 409, "factor_too_weak");
        check(&browser.get("/me").await, 401, "enrolment_required");
        // Without the role, it is only the missing codes.
        probe.auth.roles().require_factor("admin", false).await.expect("it is changed");
        let answer = browser.post("/auth/recovery-codes", json!({})).await;
        assert_eq!((answer.status, &answer.json()["result"]), (201, &json!("session")), "{}", answer.text);
    }

    async fn a_mailed_code_is_enough_if_that_is_configured(probe: Probe) {
        let (account, mut browser) = admin(&probe).await;
        assert_eq!(result(&mut browser).await, "enrolment_required");
        prove_mailbox(&probe, &mut browser).await;
        let mailed = json!({ "method": "mailed_code" });
        check(&browser.post("/auth/sent-codes", mailed.clone()).await, 409, "factor_too_weak");
        let probe = probe.configured(|config| config.factor.least = Factor::MailedCode);
        let mut browser = probe.browser().await;
        assert_eq!(result(&mut browser).await, "enrolment_required");
        probe.clock.advance(MINUTE);
        prove_mailbox(&probe, &mut browser).await;
        let answer = browser.post("/auth/sent-codes", mailed).await;
        assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("session")), "{}", answer.text);
        let found = probe.auth.accounts().find(account.id()).await.expect("it answers").expect("alice");
        assert!(found.enrolled_factors().contains(Factor::MailedCode));
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn the_last_required_factor_stays_and_there_is_a_way_back(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let (first, secret) = enrol(&probe, &mut browser, "phone").await;
        require(&probe.auth, &alice).await;
        check(&browser.delete(&format!("/auth/totp/{first}")).await, 409, "factor_required");
        // Not the last one.
        let (second, _) = enrol(&probe, &mut browser, "tablet").await;
        assert_eq!(browser.delete(&format!("/auth/totp/{second}")).await.status, 200);
        check(&browser.delete(&format!("/auth/totp/{first}")).await, 409, "factor_required");
        // An administrator removes a lost one. The owner must then set up another.
        probe.auth.accounts().set_enrolled_factors(alice.id(), []).await.expect("set");
        assert_eq!(result(&mut browser).await, "enrolment_required");
        let (third, _) = start(&mut browser, "phone").await;
        assert_ne!(third, first);
        drop(secret);
        // Without the role, the second factor can be switched off again.
        probe.auth.roles().revoke(alice.id(), "admin").await.expect("it is revoked");
        assert_eq!(result(&mut browser).await, "session");
        let (id, _) = enrol(&probe, &mut browser, "phone").await;
        assert_eq!(browser.delete(&format!("/auth/totp/{id}")).await.status, 200);
        assert_eq!(result(&mut browser.stranger()).await, "session");
    }

    async fn a_limited_session_does_not_become_the_owner_by_setting_up_a_factor(probe: Probe) {
        let alice = probe.register("alice").await;
        let client = ClientInfo::default();
        let limited = async || {
            let start = probe.auth.sessions().start(&alice, &client).factor(Factor::Password);
            start.ceiling([Permission::parse("doc:read").expect("it is one")]).await.expect("a session")
        };
        let issued = limited().await;
        require(&probe.auth, &alice).await;
        let browser = probe.browser().await;
        let cookie = crate::support::call::cookie_of(&issued);
        let (_, token) = cookie.split_once('=').expect("a name and a value");
        let mut browser = browser.with_cookie(token);
        check(&browser.get("/me").await, 401, "enrolment_required");
        check(&browser.post("/auth/totp", json!({ "name": "phone" })).await, 403, "limited_session");
        check(&browser.post("/auth/sent-codes", json!({ "method": "mailed_code" })).await, 403, "limited_session");
    }

    async fn a_new_password_comes_before_the_factor_and_a_hook_may_refuse_at_the_end(probe: Probe) {
        let account = probe.register("alice").await;
        require(&probe.auth, &account).await;
        probe.auth.accounts().require_password_change(account.id()).await.expect("it is required");
        let nights = Nights::default();
        let auth = probe.rebuilt(|builder| builder.hooks(nights.clone()));
        let mut browser = Browser::new(serve(app(&auth)).await);
        assert_eq!(result(&mut browser).await, "password_change_required");
        check(&browser.post("/auth/totp", json!({ "name": "phone" })).await, 401, "password_change_required");
        let new = "another horse battery staple";
        let answer = browser.put("/auth/password", json!({ "new_password": new })).await;
        assert_eq!(answer.json()["result"], "enrolment_required", "{}", answer.text);
        check(&browser.get("/me").await, 401, "enrolment_required");
        let (id, secret) = start(&mut browser, "phone").await;
        nights.0.store(true, Ordering::SeqCst);
        let body = json!({ "id": id, "code": code(&probe, &secret) });
        check(&browser.post("/auth/totp/confirm", body.clone()).await, 403, "closed");
        let found = probe.auth.accounts().find(account.id()).await.expect("it answers").expect("alice");
        assert!(found.enrolled_factors().is_empty(), "nothing is changed");
        assert!(probe.mail().await.iter().all(|mail| mail.kind != MessageKind::FactorAdded));
        nights.0.store(false, Ordering::SeqCst);
        let answer = browser.post("/auth/totp/confirm", body).await;
        assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("session")), "{}", answer.text);
    }

    async fn superusers_need_a_factor_only_if_that_is_configured(probe: Probe) {
        let account = probe.register("alice").await;
        probe.auth.accounts().set_superuser(account.id(), true).await.expect("set");
        let mut browser = probe.browser().await;
        assert_eq!(result(&mut browser).await, "session");
        let probe = probe.configured(|config| config.factor.superusers = true);
        let mut strict = probe.browser().await;
        assert_eq!(result(&mut strict).await, "enrolment_required");
        let new = start(&mut strict, "phone").await;
        assert_eq!(confirm(&probe, &mut strict, new).await["result"], "session");
    }
}
