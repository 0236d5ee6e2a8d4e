//! The maximum number of sessions per account, which sessions count, and what is deleted when they
//! have ended.

use std::sync::Arc;
use std::time::Duration;

use portcullis::config::AtLimit;
use portcullis::session::SessionError;
use portcullis::{Account, ClientInfo, Clock, Factor, Issued, Stage};
use reqwest::Method;
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::call::cookie_of;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn limited(probe: Probe, most: u32, at_limit: AtLimit) -> Probe {
    probe.configured(|config| {
        config.session.max_per_account = Some(most);
        config.session.at_limit = at_limit;
    })
}

/// Signs in with a new browser, one second after the last sign-in.
async fn log_in(probe: &Probe, browser: &Browser, username: &str) -> (Answer, Browser) {
    probe.clock.advance(Duration::from_secs(1));
    let mut browser = browser.stranger();
    let answer = browser.login(username, PASSWORD).await;
    (answer, browser)
}

async fn status(browser: &Browser) -> (u16, String) {
    let answer = browser.clone().get("/auth/session").await;
    let code = answer.code();
    (answer.status, code)
}

/// Starts a hundred sessions of an account at the same moment, as every kind of sign-in does.
async fn start_a_hundred(probe: &Probe, account: &Account) -> Vec<Result<Issued, SessionError>> {
    let barrier = Arc::new(Barrier::new(100));
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let (auth, account) = (probe.auth.clone(), account.clone());
        let barrier = Arc::clone(&barrier);
        tasks.spawn(async move {
            barrier.wait().await;
            auth.sessions().start(&account, &ClientInfo::default()).await
        });
    }
    tasks.join_all().await
}

on_every_database! {
    async fn of_more_sessions_than_allowed_the_oldest_ends(probe: Probe) {
        let probe = limited(probe, 2, AtLimit::EvictOldest);
        // The registration starts the first session.
        let alice = probe.register("alice").await;
        let browser = probe.browser().await;
        let (_, first) = log_in(&probe, &browser, "alice").await;
        let (_, other) = probe.signed_in("bob").await;
        let (_, second) = log_in(&probe, &first, "alice").await;
        assert_eq!(status(&first).await.0, 200);
        let (answer, third) = log_in(&probe, &first, "alice").await;
        assert_eq!(answer.status, 200);
        assert_eq!(status(&first).await, (401, "session_ended".to_owned()));
        for browser in [&second, &third, &other] {
            assert_eq!(status(browser).await.0, 200);
        }
        let events = probe.auth.audit_log().of_account(alice.id(), 20).await.expect("it answers");
        let evicted = events.iter().filter(|event| event.detail.as_deref() == Some("evicted"));
        assert_eq!(evicted.count(), 2, "the registration's session, and the first login's");
    }

    async fn at_the_limit_a_login_is_refused_where_configured_and_nothing_changes(probe: Probe) {
        let probe = limited(probe, 2, AtLimit::Refuse);
        let (_, mut first) = probe.signed_in("alice").await;
        let before = probe.rows().await;
        let (answer, _) = log_in(&probe, &first, "alice").await;
        assert_eq!((answer.status, answer.code().as_str()), (409, "session_limit"));
        assert!(answer.set_cookies().is_empty());
        assert_eq!(probe.rows().await, before);
        assert_eq!(status(&first).await.0, 200);
        // A session that replaces another does not count as an additional one.
        let again = first.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(again.status, 200, "{}", again.text);
        assert_eq!(first.login("alice", PASSWORD).await.status, 200, "over its own session");
        // After signing out elsewhere, another sign-in is allowed.
        assert_eq!(first.delete("/auth/sessions").await.status, 200);
        assert_eq!(log_in(&probe, &first, "alice").await.0.status, 200);
        assert_eq!(log_in(&probe, &first, "alice").await.0.status, 409);
        // The same after a change of the password. It ends the other sessions only by the epoch.
        let change = json!({ "new_password": "another long password" });
        assert_eq!(first.put("/auth/password", change).await.status, 200);
        let mut browser = first.stranger();
        assert_eq!(browser.login("alice", "another long password").await.status, 200);
    }

    async fn a_step_up_works_above_a_limit_that_was_lowered(probe: Probe) {
        let (_, mut first) = probe.signed_in("alice").await;
        let second = log_in(&probe, &first, "alice").await.1;
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.session.max_per_account = Some(1);
                config.session.at_limit = AtLimit::Refuse;
            })
        });
        first = first.at(serve(app(&auth)).await);
        let again = first.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(again.status, 200, "{}", again.text);
        assert_eq!(status(&first).await.0, 200);
        assert_eq!(status(&second).await.0, 200);
        // It gives no way to one more.
        let answer = first.stranger().login("alice", PASSWORD).await;
        assert_eq!((answer.status, answer.code().as_str()), (409, "session_limit"));
    }

    async fn only_what_counts_is_counted(probe: Probe) {
        let probe = limited(probe, 1, AtLimit::Refuse);
        let alice = probe.register("alice").await;
        let browser = probe.browser().await;
        assert_eq!(log_in(&probe, &browser, "alice").await.0.status, 409);
        let id = probe.auth.sessions().list(&alice).await.expect("it answers")[0].id;
        // A suspicious session does not count. If the mark is removed, it counts again.
        probe.auth.sessions().mark_suspicious(id).await.expect("it is marked");
        let (answer, mut second) = log_in(&probe, &browser, "alice").await;
        assert_eq!(answer.status, 200);
        assert_eq!(second.post_empty("/auth/logout").await.status, 204);
        probe.auth.sessions().clear_suspicion(id).await.expect("it is cleared");
        assert_eq!(log_in(&probe, &browser, "alice").await.0.status, 409);
        // The session was idle for too long, so it does not count.
        probe.clock.advance(8 * DAY);
        assert_eq!(log_in(&probe, &browser, "alice").await.0.status, 200);
        assert_eq!(log_in(&probe, &browser, "alice").await.0.status, 409);
        // An unfinished sign-in does not count. A finished one does.
        let client = ClientInfo::default();
        let sessions = probe.auth.sessions();
        let pending = sessions.start(&alice, &client).stage(Stage::PendingSecondFactor).await;
        assert!(pending.is_ok());
        let full = sessions.start(&alice, &client).factor(Factor::Totp).await;
        assert_eq!(full.expect_err("there is no room").to_string(), SessionError::LimitReached.to_string());
    }

    async fn a_hundred_sign_ins_at_once_leave_no_more_than_allowed(probe: Probe) {
        let probe = limited(probe, 5, AtLimit::EvictOldest);
        let alice = probe.register("alice").await;
        // If several sessions have the same start time, any of them can be evicted. One second
        // later, the session of the registration is the oldest.
        probe.clock.advance(Duration::from_secs(1));
        let browser = Browser::new(serve(app(&probe.auth)).await);
        let mut alive = 0;
        for issued in start_a_hundred(&probe, &alice).await {
            let cookie = cookie_of(&issued.expect("it starts"));
            let token = cookie.split_once('=').map_or("", |(_, token)| token);
            match status(&browser.with_cookie(token)).await.0 {
                200 => alive += 1,
                other => assert_eq!(other, 401),
            }
        }
        assert_eq!(alive, 5);
        assert_eq!(probe.auth.sessions().list(&alice).await.expect("it answers").len(), 5);
    }

    async fn of_a_hundred_sign_ins_at_once_as_many_as_allowed_are_let_in(probe: Probe) {
        let probe = limited(probe, 5, AtLimit::Refuse);
        let alice = probe.register("alice").await;
        probe.auth.sessions().end_all(alice.id(), None).await.expect("they end");
        // Reads the account again, because an old copy has an old epoch and cannot start a session.
        let alice = probe.auth.accounts().find(alice.id()).await.expect("it answers");
        let alice = alice.expect("an account");
        let mut started = 0;
        for issued in start_a_hundred(&probe, &alice).await {
            match issued {
                Ok(_) => started += 1,
                Err(error) => assert!(matches!(error, SessionError::LimitReached), "{error}"),
            }
        }
        assert_eq!(started, 5);
        assert_eq!(probe.auth.sessions().list(&alice).await.expect("it answers").len(), 5);
    }

    async fn what_is_listed_is_exactly_what_signs_in(probe: Probe) {
        let (alice, browser) = probe.signed_in("alice").await;
        let now = probe.clock.now().as_millis();
        let day = 86_400_000;
        // Each case changes the row of a separate session. The second value says whether the
        // session is still valid.
        for (change, lives) in [
            ("generation = 0".to_owned(), true),
            (format!("expires_at = {}", now + 1), true),
            (format!("expires_at = {now}"), false),
            (format!("rotated_at = {}, idle_ms = {day}", now - day + 1), true),
            (format!("rotated_at = {}, idle_ms = {day}", now - day), false),
            (format!("ended_at = {now}, end_reason = 'revoked'"), false),
            (format!("ended_at = {}, end_reason = 'revoked'", now + day), false),
            ("account_epoch = account_epoch + 1".to_owned(), false),
            ("account_epoch = account_epoch - 1".to_owned(), false),
        ] {
            let (answer, mut other) = log_in_now(&browser).await;
            let id = answer.json()["session_id"].as_str().expect("an id").to_owned();
            let row = row_of(&probe, &id);
            probe.execute(&format!("UPDATE auth_session SET version = version + 1, {change} WHERE {row}")).await;
            let listed = probe.auth.sessions().list(&alice).await.expect("it answers");
            let listed = listed.iter().any(|session| session.id.to_string() == id);
            let signed_in = other.get("/auth/session").await.status == 200;
            assert_eq!((listed, signed_in), (lives, lives), "{change}");
            // An invalid session cannot be ended or reported either.
            for path in ["", "/report"] {
                let path = format!("/auth/sessions/{id}{path}");
                let method = if path.ends_with("report") { Method::POST } else { Method::DELETE };
                if !lives {
                    let answer = send(browser.request(method, &path)).await;
                    assert_eq!(answer.status, 404, "{change}");
                }
            }
        }
        // The same for the account: a past date, deleted, and not verified where this is required.
        for (change, lives) in [
            (format!("disabled_at = {}", now + 1), true),
            (format!("disabled_at = {now}"), false),
            ("disabled_at = NULL".to_owned(), true),
            (format!("deleted_at = {now}"), false),
            ("deleted_at = NULL".to_owned(), true),
        ] {
            probe.execute(&format!("UPDATE auth_account SET version = version + 1, {change}")).await;
            let listed = !probe.auth.sessions().list(&alice).await.expect("it answers").is_empty();
            assert_eq!((listed, status(&browser).await.0 == 200), (lives, lives), "{change}");
        }
        let strict = probe.rebuilt(|builder| builder.configure(|c| c.login.require_verified = true));
        assert!(strict.sessions().list(&alice).await.expect("it answers").is_empty());
        probe.auth.accounts().verify(alice.id()).await.expect("it is verified");
        assert!(!strict.sessions().list(&alice).await.expect("it answers").is_empty());
    }

    async fn what_has_been_over_for_long_enough_is_purged_and_nothing_else(probe: Probe) {
        let (alice, browser) = probe.signed_in("alice").await;
        let (_, mut logged_out) = log_in(&probe, &browser, "alice").await;
        logged_out.post_empty("/auth/logout").await;
        let mut visitor = browser.stranger();
        assert_eq!(visitor.post_empty("/auth/session/anonymous").await.status, 201);
        let sessions = || probe.number("SELECT COUNT(*) FROM auth_session");
        assert_eq!(sessions().await, 4);
        let purge = async |kept: Duration| {
            probe.auth.sessions().purge(kept).await.expect("the database answers")
        };
        assert_eq!(purge(DAY).await, 0);
        assert_eq!(purge(Duration::ZERO).await, 1, "the one that was signed out");
        probe.clock.advance(2 * DAY);
        assert_eq!(purge(2 * DAY).await, 0);
        assert_eq!(purge(DAY).await, 1, "the visitor's");
        assert_eq!(status(&browser).await.0, 200);
        // Sessions that ended with their account's epoch stay until their absolute end.
        let (_, after) = log_in(&probe, &browser, "alice").await;
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is required");
        assert_eq!(status(&after).await.0, 401);
        assert_eq!(purge(Duration::ZERO).await, 0);
        probe.clock.advance(28 * DAY);
        assert_eq!(purge(Duration::ZERO).await, 2);
        probe.clock.advance(2 * DAY);
        assert_eq!(purge(Duration::ZERO).await, 1);
        assert_eq!(sessions().await, 0);
    }

    async fn many_rows_are_purged_in_batches(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let client = ClientInfo::default();
        for _ in 0..1100 {
            let issued = probe.auth.sessions().start_anonymous(&client).await;
            assert!(issued.is_ok());
        }
        probe.clock.advance(2 * DAY);
        let (purged, statements) = probe.statements(probe.auth.sessions().purge(DAY)).await;
        assert_eq!(purged.expect("the database answers"), 1100);
        // Three reads for ended sessions, and three reads for expired ones, each with a delete.
        assert_eq!(statements, 3 + 3 * 2);
        assert_eq!(status(&browser).await.0, 200);
    }
}

async fn log_in_now(browser: &Browser) -> (Answer, Browser) {
    let mut browser = browser.stranger();
    let answer = browser.login("alice", PASSWORD).await;
    (answer, browser)
}

/// Returns a condition for the row of this session, in the form in which its database writes ids.
fn row_of(probe: &Probe, id: &str) -> String {
    let hex = id.replace('-', "");
    match probe.database.backend {
        crate::support::Backend::Postgres => format!("id = '{hex}'::uuid"),
        _ => format!("id = X'{hex}'"),
    }
}
