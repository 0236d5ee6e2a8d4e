//! Sessions: how they start, what replaces them, how they end, and what is always refused.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use portcullis::config::{Binding, SessionConfig};
use portcullis::port::{HookFuture, OnSessionReplaced, SessionReplaced};
use portcullis::{
    Account, ClientInfo, EnrolmentSession, Factor, Issued, PeerAddr, Portcullis, Rejection,
    SessionId, Stage, TokenType, Transport, TrustedProxies,
};
use reqwest::Method;
use sea_orm::{ConnectionTrait, DatabaseTransaction, TransactionTrait};
use serde_json::json;
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::on_every_database;
use crate::support::browser::{Answer, COOKIE};
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NEW_PASSWORD: &str = "another horse battery staple";

fn cookie(browser: &Browser) -> String {
    browser.cookie.clone().expect("a cookie")
}

fn check_refused(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (401, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "a 401 touched the cookie: {answer:?}");
}

/// Returns the condition that selects a session's row.
fn is(probe: &Probe, id: SessionId) -> String {
    match probe.database.backend {
        Backend::Postgres => format!("id = '{id}'"),
        _ => format!("HEX(id) = UPPER(REPLACE('{id}', '-', ''))"),
    }
}

async fn session_id(browser: &mut Browser) -> SessionId {
    browser.get("/session-id").await.text.parse().expect("an id")
}

async fn events(probe: &Probe, kind: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

/// Returns a client at this address with this user agent.
fn client(address: &str, user_agent: &str) -> ClientInfo {
    let mut headers = HeaderMap::new();
    if !user_agent.is_empty() {
        headers.insert("user-agent", user_agent.parse().expect("a header value"));
    }
    let address = (!address.is_empty()).then(|| address.parse().expect("an address"));
    ClientInfo::resolve(address, &headers, &TrustedProxies::default())
}

/// Returns the token in the cookie of a session that the test started itself.
fn token(issued: &Issued) -> String {
    let mut headers = HeaderMap::new();
    issued.apply(&mut headers);
    let line = headers["set-cookie"].to_str().expect("ASCII");
    let value = line.strip_prefix(&format!("{COOKIE}=")).and_then(|rest| rest.split(';').next());
    value.expect("a value").to_owned()
}

/// The ways to replace a session.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Login,
    Reauthenticate,
    ChangePassword,
}

impl Step {
    const ALL: [Self; 3] = [Self::Login, Self::Reauthenticate, Self::ChangePassword];

    async fn take(self, browser: &mut Browser, username: &str) -> Answer {
        match self {
            Self::Login => browser.login(username, PASSWORD).await,
            Self::Reauthenticate => {
                browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await
            }
            Self::ChangePassword => {
                let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
                browser.put("/auth/password", body).await
            }
        }
    }
}

/// Records the replaced sessions in their transaction, or fails.
#[derive(Clone, Default)]
struct Hook {
    fails: bool,
    seen: Arc<Mutex<Vec<SessionReplaced>>>,
}

impl OnSessionReplaced for Hook {
    fn replaced<'a>(
        &'a self,
        replaced: SessionReplaced,
        txn: &'a DatabaseTransaction,
    ) -> HookFuture<'a, ()> {
        Box::pin(async move {
            // This change of the application is rolled back with everything else.
            txn.execute_unprepared(
                "UPDATE auth_account SET version = version + 1, phone = '+4930123456'",
            )
            .await?;
            self.seen.lock().expect("nothing panics while it is held").push(replaced);
            if self.fails { Err("the cart cannot be moved".into()) } else { Ok(()) }
        })
    }
}

on_every_database! {
    async fn whatever_begins_anew_makes_a_row_and_ends_the_one_before(probe: Probe) {
        for step in Step::ALL {
            let name = format!("user-{step:?}");
            let (_, mut browser) = probe.signed_in(&name).await;
            let (old, id) = (cookie(&browser), session_id(&mut browser).await);
            let lineage = browser.get("/lineage").await.text;
            let end = browser.get("/auth/session").await.json()["session"]["expires_at"].clone();
            let rows = probe.number("SELECT COUNT(*) FROM auth_session").await;
            probe.clock.advance(MINUTE);
            let answer = step.take(&mut browser, &name).await;
            assert_eq!(answer.status, 200, "{step:?}: {}", answer.text);
            assert!(answer.cookie().is_some());
            assert_ne!(cookie(&browser), old);
            assert_ne!(session_id(&mut browser).await, id);
            assert_eq!(browser.get("/lineage").await.text, lineage);
            let new_end = &browser.get("/auth/session").await.json()["session"]["expires_at"];
            // Only a login moves the end of the session.
            assert_eq!(*new_end == end, step != Step::Login, "{step:?}");
            assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, rows + 1);
            let reason = if step == Step::Reauthenticate { "stepped_up" } else { "superseded" };
            let superseded = format!(
                "SELECT COUNT(*) FROM auth_session WHERE end_reason = '{reason}' AND {}",
                is(&probe, id)
            );
            assert_eq!(probe.number(&superseded).await, 1, "{step:?}");
            // The old cookie is invalid, without any suspicion of theft, also when it would have
            // rotated. Only after a step-up it works for a while, so that other tabs can finish
            // their requests.
            let over = if step == Step::Reauthenticate { 10 * SECOND } else { Duration::ZERO };
            for wait in [over, HOUR] {
                probe.clock.advance(wait);
                check_refused(&browser.with_cookie(&old).get("/me").await, "session_ended");
                let refresh = browser.with_cookie(&old).post_empty("/auth/session/refresh").await;
                check_refused(&refresh, "session_ended");
            }
            assert_eq!(browser.get("/me").await.status, 200);
        }
        assert_eq!(events(&probe, "session_theft_suspected").await, 0);
    }

    async fn a_login_as_somebody_else_ends_the_session_and_continues_nothing(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let bob = probe.register("bob").await;
        let (old, lineage) = (cookie(&browser), browser.get("/lineage").await.text);
        assert_eq!(browser.login("bob", PASSWORD).await.status, 200);
        assert_eq!(browser.get("/me").await.text, bob.id().to_string());
        assert_ne!(browser.get("/lineage").await.text, lineage);
        check_refused(&browser.with_cookie(&old).get("/me").await, "session_ended");
    }

    async fn a_refused_step_leaves_the_session_as_it_was(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let id = session_id(&mut browser).await;
        assert_eq!(browser.login("alice", "wrong horse battery staple").await.status, 401);
        let wrong = json!({ "password": "wrong horse battery staple" });
        assert_eq!(browser.post("/auth/reauthenticate", wrong).await.status, 403);
        assert_eq!(session_id(&mut browser).await, id);
    }

    async fn the_application_is_told_in_the_transaction_that_replaces_a_session(probe: Probe) {
        let hook = Hook::default();
        let auth = probe.rebuilt(|builder| builder.on_session_replaced(hook.clone()));
        let address = serve(app(&auth)).await;
        for step in Step::ALL {
            let name = format!("user-{step:?}");
            let (account, browser) = probe.signed_in(&name).await;
            let mut browser = browser.at(address);
            let old = session_id(&mut browser).await;
            assert_eq!(step.take(&mut browser, &name).await.status, 200);
            let new = session_id(&mut browser).await;
            let seen = hook.seen.lock().expect("nothing panics while it is held").pop();
            let seen = seen.expect("the hook was called");
            assert_eq!((seen.old, seen.new, seen.account_id), (old, new, Some(account.id())));
            let moved = "SELECT COUNT(*) FROM auth_account WHERE phone IS NOT NULL";
            assert!(probe.number(moved).await > 0, "the hook's change was not committed");
        }
        let seen = hook.seen.lock().expect("nothing panics while it is held").len();
        assert_eq!(seen, 0, "the hook was called once for each");
    }

    async fn a_hook_that_fails_undoes_the_whole_step(probe: Probe) {
        let hook = Hook { fails: true, ..Hook::default() };
        let auth = probe.rebuilt(|builder| builder.on_session_replaced(hook));
        let address = serve(app(&auth)).await;
        for step in Step::ALL {
            let name = format!("user-{step:?}");
            let (_, browser) = probe.signed_in(&name).await;
            let mut browser = browser.at(address);
            let id = session_id(&mut browser).await;
            let rows = probe.number("SELECT COUNT(*) FROM auth_session").await;
            let logged = probe.number("SELECT COUNT(*) FROM auth_event").await;
            let answer = step.take(&mut browser, &name).await;
            assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{step:?}");
            assert!(!answer.text.contains("cart"), "{}", answer.text);
            assert!(answer.set_cookies().is_empty());
            assert_eq!(session_id(&mut browser).await, id, "{step:?}");
            assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, rows);
            assert_eq!(probe.number("SELECT COUNT(*) FROM auth_event").await, logged);
            let moved = "SELECT COUNT(*) FROM auth_account WHERE phone IS NOT NULL";
            assert_eq!(probe.number(moved).await, 0);
            assert_eq!(browser.stranger().login(&name, PASSWORD).await.status, 200, "{step:?}");
        }
    }

    async fn of_parallel_promotions_of_one_session_one_wins(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let mut requests = JoinSet::new();
        for _ in 0..8 {
            let mut twin = browser.clone();
            requests.spawn(async move {
                let body = json!({ "password": PASSWORD });
                (twin.post("/auth/reauthenticate", body).await, twin)
            });
        }
        let mut won = 0;
        for (answer, mut browser) in requests.join_all().await {
            match answer.status {
                200 => {
                    won += 1;
                    assert_eq!(browser.get("/me").await.status, 200);
                }
                _ => check_refused(&answer, "session_ended"),
            }
        }
        assert_eq!(won, 1);
    }

    async fn a_logout_ends_the_session_and_repeats_itself_without_harm(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let token = cookie(&browser);
        let cleared = [format!("{COOKIE}=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0")];
        for round in 0..3 {
            let mut twin = browser.with_cookie(&token);
            let answer = twin.post_empty("/auth/logout").await;
            assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{round}");
            assert_eq!(answer.set_cookies(), cleared);
            assert_eq!(answer.headers["cache-control"], "no-store");
            check_refused(&browser.get("/me").await, "session_ended");
        }
        assert_eq!(events(&probe, "session_ended").await, 1);
        // Ending a session that does not exist is no error. The client forgets its cookie.
        for unknown in [None, Some(""), Some("nonsense"), Some("a.b.c")] {
            let mut browser = browser.stranger();
            browser.cookie = unknown.map(str::to_owned);
            let (answer, statements) = probe.statements(browser.post_empty("/auth/logout")).await;
            assert_eq!((answer.status, statements), (204, 0), "{unknown:?}");
            assert_eq!(answer.set_cookies(), cleared);
        }
    }

    async fn a_logout_takes_a_post_from_our_own_pages_only(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
            let request = browser.request(method, "/auth/logout");
            assert_eq!(browser.send(request).await.status, 405);
        }
        let request = browser
            .raw(Method::POST, "/auth/logout")
            .header("cookie", format!("{COOKIE}={}", cookie(&browser)))
            .header("sec-fetch-site", "cross-site");
        assert_eq!(browser.send(request).await.code(), "cross_site_request");
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
    }

    async fn a_logout_works_for_expired_and_suspicious_sessions_and_every_stage(probe: Probe) {
        let account = probe.register("alice").await;
        let browser = probe.browser().await;
        let live = "SELECT COUNT(*) FROM auth_session WHERE ended_at IS NULL AND stage <> 0 \
             OR end_reason = 'logged_out'";
        for (number, (stage, age, suspicious)) in [
            (Some(Stage::Full), Duration::ZERO, true),
            (Some(Stage::Full), 2 * HOUR, false),
            (Some(Stage::Full), 8 * DAY, false),
            (Some(Stage::PendingSecondFactor), MINUTE, false),
            (Some(Stage::PendingSecondFactor), HOUR, false),
            (Some(Stage::MustChangePassword), MINUTE, false),
            (Some(Stage::MustEnrol), MINUTE, false),
            (None, HOUR, false),
        ]
        .into_iter()
        .enumerate()
        {
            let sessions = probe.auth.sessions();
            let issued = match stage {
                Some(stage) => sessions.start(&account, &ClientInfo::default()).stage(stage).await,
                None => sessions.start_anonymous(&ClientInfo::default()).await,
            };
            let issued = issued.expect("a session");
            if suspicious {
                let row = is(&probe, issued.session_id());
                probe
                    .execute(&format!("UPDATE auth_session SET version = version + 1, suspicious_at = 1 WHERE {row}"))
                    .await;
            }
            probe.clock.advance(age);
            let mut browser = browser.with_cookie(&token(&issued));
            let answer = browser.post_empty("/auth/logout").await;
            assert_eq!((answer.status, answer.cookie().as_deref()), (204, Some("")), "{stage:?}");
            let ended = i64::try_from(number).expect("a small number") + 1;
            assert_eq!(probe.number(live).await, ended, "{stage:?} after {age:?}");
        }
    }

    async fn a_suspicious_session_can_do_nothing_but_log_out(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let row = is(&probe, session_id(&mut browser).await);
        probe.execute(&format!("UPDATE auth_session SET version = version + 1, suspicious_at = 1 WHERE {row}")).await;
        for path in ["/me", "/signed-in", "/auth/session", "/auth/sessions", "/pending"] {
            check_refused(&browser.get(path).await, "session_suspicious");
        }
        assert_eq!(browser.get("/maybe").await.text, "nobody");
        let body = json!({ "password": PASSWORD });
        check_refused(&browser.post("/auth/reauthenticate", body).await, "session_suspicious");
        let refresh = browser.post_empty("/auth/session/refresh").await;
        check_refused(&refresh, "session_suspicious");
        check_refused(&browser.delete("/auth/sessions").await, "session_suspicious");
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
        assert_eq!(browser.cookie, None);
    }

    async fn each_stage_reaches_its_own_extractor_and_nothing_else(probe: Probe) {
        let account = probe.register("alice").await;
        let enrolment = |session: EnrolmentSession| async move { session.id().to_string() };
        let address = serve(
            app(&probe.auth)
                .merge(Router::new().route("/enrolment", get(enrolment)).layer(probe.auth.layer())),
        )
        .await;
        let own = ["/pending", "/must-change", "/enrolment", "/anonymous"];
        for (stage, extractor, code) in [
            (Some(Stage::PendingSecondFactor), "/pending", "second_factor_required"),
            (Some(Stage::MustChangePassword), "/must-change", "password_change_required"),
            (Some(Stage::MustEnrol), "/enrolment", "enrolment_required"),
            (None, "/anonymous", "not_signed_in"),
        ] {
            let sessions = probe.auth.sessions();
            let issued = match stage {
                Some(stage) => sessions.start(&account, &ClientInfo::default()).stage(stage).await,
                None => sessions.start_anonymous(&ClientInfo::default()).await,
            };
            let mut browser = Browser::new(address).with_cookie(&token(&issued.expect("started")));
            for path in own {
                let answer = browser.get(path).await;
                if path == extractor {
                    assert_eq!(answer.status, 200, "{stage:?} {path}: {}", answer.text);
                } else {
                    check_refused(&answer, "wrong_stage");
                }
            }
            for path in [
                "/me", "/session-id", "/rotated", "/lineage", "/signed-in", "/admin", "/docs/1",
                "/editors", "/everything", "/auth/session", "/auth/sessions",
            ] {
                check_refused(&browser.get(path).await, code);
            }
            assert_eq!(browser.get("/maybe").await.text, "nobody");
            let someone = SessionId::from(uuid::Uuid::from_u128(1));
            check_refused(&browser.post_empty("/me").await, code);
            check_refused(&browser.post_empty("/auth/session/refresh").await, code);
            check_refused(&browser.delete("/auth/sessions").await, code);
            check_refused(&browser.delete("/auth/sessions?scope=all").await, code);
            check_refused(&browser.delete(&format!("/auth/sessions/{someone}")).await, code);
            let body = json!({ "password": PASSWORD });
            let answer = browser.post("/auth/reauthenticate", body).await;
            match stage {
                // It proves the mailbox there with a code. Its password is proved already.
                Some(Stage::MustEnrol) => assert_eq!(answer.code(), "invalid_body"),
                _ => check_refused(&answer, code),
            }
            if stage != Some(Stage::MustChangePassword) {
                let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
                check_refused(&browser.put("/auth/password", body).await, code);
            }
            assert_eq!(browser.get(extractor).await.status, 200);
        }
        // A full session is not accepted as any of these stages.
        let (_, browser) = probe.signed_in("bob").await;
        let mut browser = browser.at(address);
        for path in own {
            check_refused(&browser.get(path).await, "wrong_stage");
        }
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn an_optional_session_is_none_for_a_caller_who_is_not_signed_in(probe: Probe) {
        let (account, mut browser) = probe.signed_in("alice").await;
        let id = session_id(&mut browser).await;
        assert_eq!(browser.get("/maybe").await.text, id.to_string());
        let ended = cookie(&browser);
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
        let start = probe.auth.sessions().start(&account, &ClientInfo::default());
        let pending = token(&start.stage(Stage::PendingSecondFactor).await.expect("started"));
        for cookie in [None, Some(ended.as_str()), Some("forged"), Some(pending.as_str())] {
            let mut browser = browser.stranger();
            browser.cookie = cookie.map(str::to_owned);
            let answer = browser.get("/maybe").await;
            assert_eq!((answer.status, answer.text.as_str()), (200, "nobody"));
            assert!(answer.set_cookies().is_empty());
        }
        // A request from another site says nothing about the user, so it stays an error.
        let request = browser
            .raw(Method::POST, "/maybe")
            .header("cookie", format!("{COOKIE}={ended}"))
            .header("sec-fetch-site", "cross-site");
        let answer = browser.send(request).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "cross_site_request"));
    }

    async fn what_happens_to_the_account_counts_with_the_next_request_on_every_node(probe: Probe) {
        let other_node = serve(app(&probe.rebuilt(|builder| builder))).await;
        let accounts = probe.auth.accounts();
        for change in ["disable", "delete", "factors", "must-change"] {
            let (account, mut browser) = probe.signed_in(&format!("user-{change}")).await;
            let mut elsewhere = browser.at(other_node);
            assert_eq!(elsewhere.get("/me").await.status, 200);
            let id = account.id();
            match change {
                "disable" => accounts.disable(id).await,
                "delete" => accounts.delete(id).await,
                "factors" => accounts.set_enrolled_factors(id, [Factor::Totp]).await,
                _ => accounts.require_password_change(id).await,
            }
            .expect("it is changed");
            check_refused(&browser.get("/me").await, "session_ended");
            check_refused(&elsewhere.get("/me").await, "session_ended");
            if change == "disable" {
                accounts.enable(id).await.expect("it is enabled");
                // After enabling, old sessions stay ended.
                check_refused(&browser.get("/me").await, "session_ended");
                let name = "user-disable";
                assert_eq!(browser.stranger().login(name, PASSWORD).await.status, 200);
            }
        }
    }

    async fn an_account_disabled_from_a_date_is_signed_out_at_that_moment(probe: Probe) {
        let (account, mut browser) = probe.signed_in("alice").await;
        let accounts = probe.auth.accounts();
        let now = portcullis::Clock::now(&probe.clock);
        accounts.disable_from(account.id(), now.plus(MINUTE)).await.expect("it is disabled");
        probe.clock.advance(MINUTE - Duration::from_millis(1));
        assert_eq!(browser.get("/me").await.status, 200);
        probe.clock.advance(Duration::from_millis(1));
        check_refused(&browser.get("/me").await, "session_ended");
        accounts.enable(account.id()).await.expect("it is enabled");
        check_refused(&browser.get("/me").await, "session_ended");
    }

    async fn a_session_of_an_account_that_changed_meanwhile_never_counts(probe: Probe) {
        let account = probe.register("alice").await;
        probe.auth.accounts().disable(account.id()).await.expect("it is disabled");
        probe.auth.accounts().enable(account.id()).await.expect("it is enabled");
        // `account` is the state from before the change.
        let issued = probe.auth.sessions().start(&account, &ClientInfo::default()).await;
        let mut browser = probe.browser().await.with_cookie(&token(&issued.expect("started")));
        check_refused(&browser.get("/me").await, "session_ended");
    }

    async fn a_login_to_be_forgotten_lasts_twelve_hours_and_ends_with_the_browser(probe: Probe) {
        probe.register("alice").await;
        for (remember, age, lifetime) in [(false, None, 12 * HOUR), (true, Some(7 * DAY), 7 * DAY)] {
            let mut browser = probe.browser().await;
            let body = json!({ "login": "alice", "password": PASSWORD, "remember": remember });
            let answer = browser.post("/auth/login", body).await;
            let max_age = |answer: &Answer| {
                let line = answer.set_cookies().remove(0);
                let age = line.split("; ").find_map(|part| part.strip_prefix("Max-Age="))?;
                age.parse().ok().map(Duration::from_secs)
            };
            assert_eq!(max_age(&answer), age);
            probe.clock.advance(HOUR);
            let answer = browser.get("/me").await;
            assert_eq!((answer.status, max_age(&answer)), (200, age), "also when it rotates");
            probe.clock.advance(lifetime - HOUR - SECOND);
            assert_eq!(browser.get("/me").await.status, 200);
            probe.clock.advance(if remember { lifetime } else { SECOND });
            assert_eq!(browser.get("/me").await.status, 401);
        }
    }

    async fn lifetimes_follow_the_configured_preset(probe: Probe) {
        let account = probe.register("alice").await;
        for (preset, token_secs, idle, absolute) in [
            (SessionConfig::default(), 900, 7 * DAY, 30 * DAY),
            (SessionConfig::nist_aal1(), 900, 7 * DAY, 30 * DAY),
            (SessionConfig::nist_aal2(), 900, HOUR, 24 * HOUR),
            (SessionConfig::nist_aal3(), 300, 15 * MINUTE, 12 * HOUR),
        ] {
            let auth = probe.rebuilt(|builder| {
                builder.configure(|config| config.session = preset.clone())
            });
            let issued = auth.sessions().start(&account, &ClientInfo::default()).await;
            let issued = issued.expect("a session");
            assert_eq!(issued.expires_in(), Duration::from_secs(token_secs));
            let row = is(&probe, issued.session_id());
            for (column, expected) in [("expires_at - created_at", absolute), ("idle_ms", idle)] {
                let query = format!("SELECT {column} FROM auth_session WHERE {row}");
                let millis = i64::try_from(expected.as_millis()).expect("a small number");
                assert_eq!(probe.number(&query).await, millis, "{column}");
            }
            let browser = Browser::new(serve(app(&auth)).await);
            let mut browser = browser.with_cookie(&token(&issued));
            probe.clock.advance(idle - SECOND);
            assert_eq!(browser.get("/me").await.status, 200);
            probe.clock.advance(idle);
            assert_eq!(browser.get("/me").await.status, 401);
        }
    }

    async fn a_session_is_bound_to_its_network_and_browser_as_configured(probe: Probe) {
        const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        const NEWER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0";
        let account = probe.register("alice").await;
        // The source at the start, the source of the request, and whether they count as the same.
        let moves = [
            (("192.0.2.1", FIREFOX), ("192.0.2.1", FIREFOX), true),
            (("192.0.2.1", FIREFOX), ("192.0.2.254", NEWER), true),
            (("192.0.2.1", FIREFOX), ("192.0.3.1", FIREFOX), false),
            (("192.0.2.1", FIREFOX), ("192.0.2.1", "curl/8.0"), false),
            (("192.0.2.1", FIREFOX), ("::ffff:192.0.2.9", FIREFOX), true),
            (("192.0.2.1", FIREFOX), ("2001:db8::1", FIREFOX), false),
            (("2001:db8:1:2::1", FIREFOX), ("2001:db8:1:2:ffff::1", FIREFOX), true),
            (("2001:db8:1:2::1", FIREFOX), ("2001:db8:1:3::1", FIREFOX), false),
            // Unknown values are not compared.
            (("", ""), ("192.0.2.1", FIREFOX), true),
            (("192.0.2.1", FIREFOX), ("", ""), true),
        ];
        for binding in [Binding::Off, Binding::Log, Binding::StepUp, Binding::End] {
            let auth = probe.rebuilt(|builder| {
                builder.configure(|config| config.session.binding = binding)
            });
            let app = app(&auth);
            for ((address, agent), (to, to_agent), same) in moves {
                let before = events(&probe, "session_source_changed").await;
                let issued = auth.sessions().start(&account, &client(address, agent)).await;
                let token = token(&issued.expect("a session"));
                let response = ask(&app, &token, to, to_agent, &[]).await;
                let ends = binding == Binding::End && !same;
                let expected = if ends { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
                assert_eq!(response.status(), expected, "{binding:?} {address} -> {to} {to_agent}");
                assert!(!response.headers().contains_key("set-cookie"));
                // After that the session has ended for the owner too.
                let response = ask(&app, &token, address, agent, &[]).await;
                assert_eq!(response.status(), expected);
                let noted = events(&probe, "session_source_changed").await - before;
                let steps_up = binding == Binding::StepUp && !same;
                assert_eq!(noted, i64::from(ends || steps_up), "{binding:?} {address} -> {to} {to_agent}");
            }
        }
    }

    async fn only_a_trusted_proxy_says_where_a_request_comes_from(probe: Probe) {
        let account = probe.register("alice").await;
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.session.binding = Binding::End;
                config.proxies.networks = vec!["10.0.0.0/8".parse().expect("a network")];
            })
        });
        let app = app(&auth);
        for (peer, forwarded, status) in [
            ("10.0.0.1", "192.0.2.7", 200),
            ("10.0.0.1", "198.51.100.1, 192.0.2.7", 200),
            ("10.0.0.1", "192.0.2.7, 198.51.100.1", 401),
            ("198.51.100.1", "192.0.2.7", 401),
            ("192.0.2.9", "198.51.100.1", 200),
        ] {
            let issued = auth.sessions().start(&account, &client("192.0.2.1", "")).await;
            let token = token(&issued.expect("a session"));
            let headers = [("x-forwarded-for", forwarded)];
            let response = ask(&app, &token, peer, "", &headers).await;
            assert_eq!(response.status().as_u16(), status, "{peer} {forwarded}");
        }
    }

    async fn any_address_and_any_user_agent_can_be_stored(probe: Probe) {
        let account = probe.register("alice").await;
        let long = "ä".repeat(5000);
        let binary = HeaderValue::from_bytes(b"\xff\xfe\x80 \t junk").expect("opaque bytes");
        for (address, agent) in [
            ("255.255.255.255", HeaderValue::from_static("")),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", HeaderValue::from_bytes(long.as_bytes()).expect("opaque bytes")),
            ("::ffff:192.0.2.1", binary),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            let mut headers = HeaderMap::new();
            headers.insert("user-agent", agent);
            let client = ClientInfo::resolve(Some(address), &headers, &TrustedProxies::default());
            let issued = probe.auth.sessions().start(&account, &client).await.expect("a session");
            let sessions = probe.auth.sessions().list(&account).await.expect("a list");
            let mine = sessions.iter().find(|s| s.id == issued.session_id()).expect("listed");
            assert_eq!(mine.address, Some(address.to_canonical()));
            assert!(mine.user_agent.as_deref().unwrap_or_default().len() <= 256);
        }
    }

    async fn a_handler_of_the_application_signs_in_and_out(probe: Probe) {
        probe.register("alice").await;
        let app = Router::new()
            .route("/enter", get(enter))
            .route("/enter-by-hand", get(enter_by_hand))
            .route("/leave", get(leave))
            .merge(app(&probe.auth))
            .layer(probe.auth.layer());
        let mut browser = Browser::new(serve(app).await);
        for path in ["/enter", "/enter-by-hand"] {
            let answer = browser.get(path).await;
            assert_eq!(answer.set_cookies().len(), 1, "{path}: {answer:?}");
            assert_eq!(answer.headers["cache-control"], "no-store");
            assert_eq!(browser.get("/me").await.status, 200);
        }
        let token = cookie(&browser);
        let answer = browser.get("/leave").await;
        assert_eq!((answer.status, browser.cookie.as_deref()), (303, None));
        check_refused(&browser.with_cookie(&token).get("/me").await, "session_ended");
        assert_eq!(browser.get("/enter").await.status, 303);
    }

    async fn a_session_started_inside_a_transaction_exists_when_that_commits(probe: Probe) {
        let account = probe.register("alice").await;
        let browser = probe.browser().await;
        for commits in [false, true] {
            let txn = probe.db.begin().await.expect("a transaction");
            let start = probe.auth.sessions().within(&txn).start(&account, &ClientInfo::default());
            let token = token(&start.await.expect("a session"));
            if commits {
                txn.commit().await.expect("it commits");
                assert_eq!(browser.with_cookie(&token).get("/me").await.status, 200);
            } else {
                txn.rollback().await.expect("it rolls back");
                check_refused(&browser.with_cookie(&token).get("/me").await, "invalid_token");
            }
        }
    }

    async fn a_bearer_session_gives_its_token_and_no_cookie(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        let account = probe.register("alice").await;
        let sessions = probe.auth.sessions();
        let start = sessions.start(&account, &ClientInfo::default());
        let issued = start.transport(Transport::Bearer).await.expect("a session");
        let mut headers = HeaderMap::new();
        issued.apply(&mut headers);
        assert!(!headers.contains_key("set-cookie"));
        assert_eq!(headers["cache-control"], "no-store");
        let token = issued.token().expect("a bearer token").to_owned();
        assert!(!format!("{issued:?}").contains(&token));
        let mut browser = probe.browser().await;
        let request = browser.raw(Method::GET, "/me").header("authorization", format!("Bearer {token}"));
        assert_eq!(browser.send(request).await.text, account.id().to_string());
        let cookie = sessions.start(&account, &ClientInfo::default()).await.expect("a session");
        assert_eq!(cookie.token(), None);
    }

    async fn a_header_that_is_not_our_bearer_token_belongs_to_the_application(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        let (account, mut browser) = probe.signed_in("alice").await;
        let issued = probe.auth.sessions().start(&account, &ClientInfo::default());
        let issued = issued.transport(Transport::Bearer).await.expect("a session");
        let token = issued.token().expect("a token").to_owned();
        for (header, status) in [
            ("Basic YWxpY2U6cGFzc3dvcmQ=".to_owned(), 200),
            ("Bearer opaque-token-of-somebody-else".to_owned(), 200),
            ("Bearer eyJhbGciOiJIUzI1NiJ9.e30.AAAA".to_owned(), 200),
            ("Bearer".to_owned(), 200),
            ("DPoP opaque-token-of-somebody-else".to_owned(), 200),
            (format!("DPoP {token}"), 400),
            (format!("Bearer {token}"), 400),
            (format!("bEARER   {token}  "), 400),
        ] {
            let request = browser.request(Method::GET, "/me").header("authorization", &header);
            let (answer, statements) = probe.statements(browser.send(request)).await;
            assert_eq!(answer.status, status, "{header}: {}", answer.text);
            assert!(answer.set_cookies().is_empty());
            if status == 400 {
                assert_eq!((answer.code().as_str(), statements), ("multiple_credentials", 0));
            }
        }
        // Two tokens of portcullis are refused, even without a cookie.
        let request = browser
            .raw(Method::GET, "/me")
            .header("authorization", format!("Bearer {token}"))
            .header("authorization", format!("Bearer {token}"));
        assert_eq!(browser.stranger().send(request).await.code(), "multiple_credentials");
    }

    async fn bearer_tokens_are_neither_made_nor_taken_unless_switched_on(probe: Probe) {
        let (account, mut browser) = probe.signed_in("alice").await;
        for (path, body) in [
            ("/auth/login", json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" })),
            ("/auth/register", json!({ "username": "bob", "password": PASSWORD, "transport": "bearer" })),
            ("/auth/session/anonymous", json!({ "transport": "bearer" })),
        ] {
            let answer = browser.stranger().post(path, body).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "bearer_not_enabled"));
            assert!(answer.set_cookies().is_empty());
        }
        let client = ClientInfo::default();
        let start = probe.auth.sessions().start(&account, &client).transport(Transport::Bearer);
        assert!(matches!(start.await, Err(portcullis::session::SessionError::BearerOff)));
        // A node on which they are switched on makes one.
        let other = probe.rebuilt(|builder| builder.configure(|config| config.service.bearer = true));
        let start = other.sessions().start(&account, &client).transport(Transport::Bearer);
        let issued = start.await.expect("a session");
        let header = format!("Bearer {}", issued.token().expect("a token"));
        let request = browser.raw(Method::GET, "/me").header("authorization", &header);
        check_refused(&browser.stranger().send(request).await, "not_signed_in");
        let request = browser.request(Method::GET, "/me").header("authorization", &header);
        assert_eq!(browser.send(request).await.status, 200);
    }

    async fn peeking_asks_no_statement_and_lets_nobody_in(probe: Probe) {
        let (account, browser) = probe.signed_in("alice").await;
        let peek = |cookies: &[&str]| {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                let line = format!("theme=dark; {COOKIE}={cookie}");
                headers.append("cookie", line.parse().expect("a header value"));
            }
            probe.auth.peek(&headers)
        };
        let token = cookie(&browser);
        let (peeked, statements) = probe.statements(async { peek(&[&token]) }).await;
        let peeked = peeked.expect("a token");
        assert_eq!((peeked.token_type, statements), (TokenType::Session, 0));
        assert_eq!(peeked.expires_at, peeked.issued_at.plus(15 * MINUTE));
        let start = probe.auth.sessions().start(&account, &ClientInfo::default());
        let pending = start.stage(Stage::PendingSecondFactor).await.expect("started");
        let pending = self::token(&pending);
        let peeked = peek(&[&pending]).expect("a token");
        assert_eq!(peeked.token_type, TokenType::SecondFactor);
        let forged = format!("{}A", &token[..token.len() - 1]);
        for cookies in [&[][..], &[""], &["nonsense"], &[&token, &token], &[&forged[1..]]] {
            assert_eq!(peek(cookies), None, "{cookies:?}");
        }
        probe.clock.advance(15 * MINUTE);
        assert_eq!(peek(&[&token]), None);
    }

    async fn no_value_in_the_table_of_sessions_works_as_a_token(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        assert_eq!(browser.get("/me").await.status, 200);
        let backend = probe.db.get_database_backend();
        let query = sea_orm::Statement::from_string(backend, "SELECT * FROM auth_session");
        let rows = probe.db.query_all_raw(query).await.expect("the rows");
        let token = cookie(&browser);
        let parts: Vec<&str> = token.split('.').collect();
        let mut tried = 0;
        for row in rows {
            for column in row.column_names() {
                let mut values: Vec<Vec<u8>> = Vec::new();
                if let Ok(Some(bytes)) = row.try_get::<Option<Vec<u8>>>("", &column) {
                    values.push(bytes);
                }
                if let Ok(Some(text)) = row.try_get::<Option<String>>("", &column) {
                    values.push(text.into_bytes());
                }
                if let Ok(Some(id)) = row.try_get::<Option<uuid::Uuid>>("", &column) {
                    values.push(id.as_bytes().to_vec());
                    values.push(id.to_string().into_bytes());
                }
                if let Ok(Some(number)) = row.try_get::<Option<i64>>("", &column) {
                    values.push(number.to_string().into_bytes());
                }
                for value in values {
                    let base64 = data_encoding::BASE64URL_NOPAD.encode(&value);
                    let hex = data_encoding::HEXLOWER.encode(&value);
                    for text in [
                        base64.clone(),
                        hex,
                        format!("{}.{}.{base64}", parts[0], parts[1]),
                        format!("{}.{base64}.{}", parts[0], parts[2]),
                    ] {
                        let mut twin = browser.with_cookie(&text);
                        let (answer, statements) = probe.statements(twin.get("/me")).await;
                        check_refused(&answer, "invalid_token");
                        assert_eq!(statements, 0, "{column}");
                        tried += 1;
                    }
                }
            }
        }
        assert!(tried > 100, "{tried} values were tried");
        assert_eq!(browser.get("/me").await.status, 200);
    }
}

/// Requests the account from this address, with this user agent.
async fn ask(
    app: &Router,
    token: &str,
    address: &str,
    user_agent: &str,
    headers: &[(&str, &str)],
) -> Response {
    let mut request = Request::get("/me").header("cookie", format!("{COOKIE}={token}"));
    if !user_agent.is_empty() {
        request = request.header("user-agent", user_agent);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).expect("a request");
    if !address.is_empty() {
        request.extensions_mut().insert(PeerAddr(address.parse().expect("an address")));
    }
    app.clone().oneshot(request).await.expect("an answer")
}

async fn alice(auth: &Portcullis) -> Account {
    let found = auth.accounts().find_by_login("alice").await.expect("the database answers");
    found.expect("an account")
}

async fn enter(auth: Portcullis, client: ClientInfo) -> Result<impl IntoResponse, Rejection> {
    let issued = auth.sessions().start(&alice(&auth).await, &client).await?;
    Ok((issued, Redirect::to("/")))
}

async fn enter_by_hand(auth: Portcullis, client: ClientInfo) -> Result<Response, Rejection> {
    let issued = auth.sessions().start(&alice(&auth).await, &client).await?;
    let mut response = Response::new(Body::from("welcome"));
    issued.apply(response.headers_mut());
    Ok(response)
}

async fn leave(
    auth: Portcullis,
    session: portcullis::Session,
) -> Result<impl IntoResponse, Rejection> {
    let signed_out = auth.sessions().end(session.id()).await?;
    Ok((signed_out, Redirect::to("/")))
}
