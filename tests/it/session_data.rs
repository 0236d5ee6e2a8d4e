//! Data that the application stores with a session.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use portcullis::session_data::{MAX_SESSION_DATA, SessionDataError};
use portcullis::{
    AnonymousSession, ClientInfo, Factor, Identity, Issued, PendingSession, Portcullis, Problem,
    Rejection, Session,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::probe::serve;
use crate::support::{Backend, Browser, PASSWORD, Probe};

const NEW: &str = "another horse battery staple";
const ROWS: &str = "SELECT COUNT(*) FROM auth_session_data";
const MOMENT: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn read(auth: Portcullis, session: Session) -> Result<String, Rejection> {
    let value = auth.session_data(&session).read::<Value>().await?;
    Ok(value.map_or_else(|| "nothing".to_owned(), |value| value.to_string()))
}

async fn write(auth: Portcullis, session: Session, body: String) -> Result<(), Rejection> {
    Ok(auth.session_data(&session).write(&body).await?)
}

async fn remove(auth: Portcullis, session: Session) -> Result<(), Rejection> {
    Ok(auth.session_data(&session).remove().await?)
}

async fn visitor_read(auth: Portcullis, visitor: AnonymousSession) -> Result<String, Rejection> {
    let value = auth.session_data(&visitor).read::<Value>().await?;
    Ok(value.map_or_else(|| "nothing".to_owned(), |value| value.to_string()))
}

async fn visitor_write(
    auth: Portcullis,
    visitor: AnonymousSession,
    body: String,
) -> Result<(), Rejection> {
    Ok(auth.session_data(&visitor).write(&body).await?)
}

/// Ends the session, and then uses its data with the identity that the handler still holds.
async fn too_late(
    State(write): State<bool>,
    auth: Portcullis,
    identity: Identity,
) -> Result<String, Rejection> {
    let session = identity.session();
    let _ = auth.sessions().end(session.id()).await?;
    auth.session_data(session).remove().await?;
    if write {
        auth.session_data(session).write(&1).await?;
    }
    let value = auth.session_data(session).read::<Value>().await?;
    Ok(format!("{value:?}"))
}

/// A second factor that the application has checked itself.
async fn finish(
    auth: Portcullis,
    pending: PendingSession,
    client: ClientInfo,
) -> Result<(Issued, &'static str), Rejection> {
    let outcome = auth.login().finish(&pending, Factor::Totp, &client).await?;
    Ok((outcome.into_issued(), "finished"))
}

async fn browser(probe: &Probe) -> Browser {
    let app = Router::new()
        .route("/data", get(read).post(write).delete(remove))
        .route("/visitor", get(visitor_read).post(visitor_write))
        .route("/finish", post(finish))
        .route("/late-read", get(too_late).with_state(false))
        .route("/late-write", get(too_late).with_state(true))
        .merge(crate::support::probe::app(&probe.auth))
        .layer(probe.auth.layer());
    Browser::new(serve(app).await)
}

async fn put(browser: &mut Browser, path: &str, text: &str) -> u16 {
    let request = browser.request(reqwest::Method::POST, path).body(text.to_owned());
    browser.send(request).await.status
}

async fn signed_in(probe: &Probe, name: &str) -> Browser {
    probe.register(name).await;
    let mut browser = browser(probe).await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    browser
}

on_every_database! {
    async fn what_is_written_is_read_by_this_session_alone(probe: Probe) {
        let (mut alice, mut bob) = (signed_in(&probe, "alice").await, signed_in(&probe, "bob").await);
        let mut other = alice.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        assert_eq!(alice.get("/data").await.text, "nothing");
        for text in ["a cart", "", "ünïcode ✓ \u{1f600} \" \\ \u{0} '", "last"] {
            assert_eq!(put(&mut alice, "/data", text).await, 200, "{text:?}");
            assert_eq!(alice.get("/data").await.text, json!(text).to_string());
        }
        assert_eq!(bob.get("/data").await.text, "nothing");
        assert_eq!(other.get("/data").await.text, "nothing", "another session of alice");
        assert_eq!(put(&mut bob, "/data", "of bob").await, 200);
        assert_eq!(alice.delete("/data").await.status, 200);
        assert_eq!(alice.delete("/data").await.status, 200);
        assert_eq!(alice.get("/data").await.text, "nothing");
        assert_eq!(bob.get("/data").await.text, "\"of bob\"");
        assert_eq!(alice.stranger().get("/data").await.status, 401);
    }

    async fn it_costs_one_statement_and_only_who_asks(probe: Probe) {
        let mut alice = signed_in(&probe, "alice").await;
        alice.get("/me").await;
        for (path, expected) in [("/me", 1), ("/data", 2)] {
            let (answer, statements) = probe.statements(alice.get(path)).await;
            assert_eq!((answer.status, statements), (200, expected), "{path}");
        }
        let (status, statements) = probe.statements(put(&mut alice, "/data", "x")).await;
        assert_eq!((status, statements), (200, 2));
    }

    async fn four_kibibytes_fit_and_one_byte_more_is_refused(probe: Probe) {
        let mut alice = signed_in(&probe, "alice").await;
        // The two quotes of the JSON text count too.
        let fits = "x".repeat(MAX_SESSION_DATA - 2);
        assert_eq!(put(&mut alice, "/data", &fits).await, 200);
        let request = alice.request(reqwest::Method::POST, "/data").body(format!("{fits}x"));
        let answer = alice.send(request).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "session_data_too_large"));
        assert_eq!(alice.get("/data").await.text, json!(fits).to_string());
        // Each of these characters has three bytes. The size is counted in bytes.
        assert_eq!(put(&mut alice, "/data", &"✓".repeat(1364)).await, 200);
        assert_eq!(put(&mut alice, "/data", &"✓".repeat(1365)).await, 413);
    }

    async fn it_goes_along_when_the_session_is_replaced_and_to_nobody_else(probe: Probe) {
        probe.register("bob").await;
        let mut alice = browser(&probe).await;
        assert_eq!(alice.post_empty("/auth/session/anonymous").await.status, 201);
        assert_eq!(put(&mut alice, "/visitor", "cart").await, 200);
        assert_eq!(alice.get("/visitor").await.text, "\"cart\"");
        let body = json!({ "username": "alice", "password": PASSWORD });
        assert_eq!(alice.post("/auth/register", body).await.status, 201);
        assert_eq!(alice.get("/data").await.text, "\"cart\"", "registered");
        assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
        assert_eq!(alice.get("/data").await.text, "\"cart\"", "signed in again");
        let proof = json!({ "password": PASSWORD });
        assert_eq!(alice.post("/auth/reauthenticate", proof).await.status, 200);
        assert_eq!(alice.get("/data").await.text, "\"cart\"", "reauthenticated");
        let change = json!({ "current_password": PASSWORD, "new_password": NEW });
        assert_eq!(alice.put("/auth/password", change).await.status, 200);
        assert_eq!(alice.get("/data").await.text, "\"cart\"", "changed the password");
        probe.clock.advance(Duration::from_secs(16 * 60));
        assert_eq!(alice.get("/rotated").await.text, "true");
        assert_eq!(alice.get("/data").await.text, "\"cart\"", "rotated");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session_data").await, 1);
        assert_eq!(alice.login("bob", PASSWORD).await.status, 200);
        assert_eq!(alice.get("/data").await.text, "nothing", "somebody else");
    }

    async fn data_of_a_visitor_goes_through_a_sign_in_with_two_steps(probe: Probe) {
        for (name, way) in [("alice", "own"), ("bob", "mounted")] {
            let (account, _, secret) = crate::totp::person(&probe, name).await;
            let mut browser = browser(&probe).await;
            assert_eq!(browser.post_empty("/auth/session/anonymous").await.status, 201);
            assert_eq!(put(&mut browser, "/visitor", "cart").await, 200);
            let visitor = browser.clone();
            let first = browser.login(name, PASSWORD).await;
            assert_eq!(first.json()["result"], "second_factor_required", "{}", first.text);
            let waiting = browser.clone();
            let answer = if way == "own" {
                browser.post_empty("/finish").await
            } else {
                crate::totp::verify(&mut browser, &crate::totp::code(&probe, &secret)).await
            };
            assert_eq!(answer.status, 200, "{way}: {}", answer.text);
            assert_eq!(browser.get("/me").await.text, account.id().to_string());
            assert_eq!(browser.get("/data").await.text, "\"cart\"", "{way}");
            // The sessions before have ended, and nobody reads the data with them.
            assert_eq!(visitor.clone().get("/visitor").await.status, 401, "{way}");
            assert_eq!(waiting.clone().get("/data").await.status, 401, "{way}");
            assert_eq!(browser.delete("/data").await.status, 200);
            probe.clock.advance(crate::totp::STEP);
        }
    }

    async fn it_ends_with_the_session_for_every_request_that_still_holds_it(probe: Probe) {
        for path in ["/late-read", "/late-write"] {
            let mut alice = signed_in(&probe, &format!("alice-{}", &path[6..])).await;
            assert_eq!(put(&mut alice, "/data", "cart").await, 200);
            let kept = probe.text("SELECT MAX(data) FROM auth_session_data").await;
            let answer = alice.get(path).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"), "{path}");
            // The data is not removed either: an ended session changes nothing.
            assert_eq!(probe.text("SELECT MAX(data) FROM auth_session_data").await, kept);
        }
    }

    async fn what_does_not_fit_its_type_is_an_error_and_stays(probe: Probe) {
        let account = probe.register("alice").await;
        let client = portcullis::ClientInfo::default();
        let issued = probe.auth.sessions().start(&account, &client).await.expect("started");
        let mut browser = browser(&probe).await;
        let cookie = crate::support::call::cookie_of(&issued);
        browser.cookie = cookie.split_once('=').map(|(_, value)| value.to_owned());
        assert_eq!(put(&mut browser, "/data", "a text").await, 200);
        let error = serde_json::from_str::<BTreeMap<u8, u8>>("\"a text\"").expect_err("a map");
        let problem = SessionDataError::Unreadable(error);
        assert_eq!((problem.status().as_u16(), problem.code()), (500, "session_data_unreadable"));
        assert_eq!(browser.get("/data").await.text, "\"a text\"");
    }

    async fn of_many_that_write_at_once_one_wins_whole(probe: Probe) {
        let mut alice = signed_in(&probe, "alice").await;
        let mut writers = JoinSet::new();
        for number in 0..16 {
            let mut twin = alice.clone();
            writers.spawn(async move { put(&mut twin, "/data", &format!("{number}").repeat(900)).await });
        }
        assert_eq!(writers.join_all().await, [200; 16]);
        let text = alice.get("/data").await.text;
        let text: String = serde_json::from_str(&text).expect("JSON");
        assert!((0..16).any(|number| text == format!("{number}").repeat(900)), "{text}");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session_data").await, 1);
    }

    async fn data_stays_as_long_as_its_session_lives_and_goes_with_it(probe: Probe) {
        let run = async || probe.auth.maintenance().run().await.expect("it runs").session_data;
        let mut alice = signed_in(&probe, "alice").await;
        assert_eq!(put(&mut alice, "/data", "a cart").await, 200);
        // A sign-in that replaces a live session gives the lineage another thirty days.
        for day in 1..=50 {
            probe.clock.advance(DAY);
            if day % 25 == 0 {
                assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
            }
            assert_eq!(alice.get("/data").await.text, "\"a cart\"", "day {day}");
            assert_eq!(run().await, 0, "day {day}");
        }
        alice.post_empty("/auth/logout").await;
        probe.clock.advance(6 * DAY);
        assert_eq!((run().await, probe.number(ROWS).await), (0, 1), "the session's row is there");
        probe.clock.advance(DAY);
        assert_eq!((run().await, probe.number(ROWS).await), (1, 0));
    }

    async fn data_of_a_visitor_goes_with_the_visitor(probe: Probe) {
        let run = async || probe.auth.maintenance().run().await.expect("it runs").session_data;
        let mut visitor = browser(&probe).await;
        assert_eq!(visitor.post_empty("/auth/session/anonymous").await.status, 201);
        assert_eq!(put(&mut visitor, "/visitor", "a cart").await, 200);
        let mut alice = visitor.stranger();
        assert_eq!(alice.post_empty("/auth/session/anonymous").await.status, 201);
        assert_eq!(put(&mut alice, "/visitor", "hers").await, 200);
        probe.register("alice").await;
        probe.clock.advance(DAY - MOMENT);
        // Alice signs in at the last moment, so her lineage continues.
        assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
        probe.clock.advance(MOMENT);
        // A sign-in of the other visitor could still be in progress, so the data stays.
        assert_eq!((run().await, probe.number(ROWS).await), (0, 2));
        probe.clock.advance(HOUR + MOMENT);
        assert_eq!((run().await, probe.number(ROWS).await), (1, 1));
        assert_eq!(alice.get("/data").await.text, "\"hers\"");
    }

    async fn data_without_a_session_goes_an_hour_after_it_was_written(probe: Probe) {
        let run = async || probe.auth.maintenance().run().await.expect("it runs").session_data;
        let (mut alice, mut bob) = (signed_in(&probe, "alice").await, signed_in(&probe, "bob").await);
        for browser in [&mut alice, &mut bob] {
            assert_eq!(put(browser, "/data", "a cart").await, 200);
        }
        // The same as if the account had been removed.
        probe.execute(
            "DELETE FROM auth_session WHERE account_id IN \
             (SELECT id FROM auth_account WHERE username = 'bob')"
        ).await;
        probe.clock.advance(HOUR);
        assert_eq!(run().await, 0);
        probe.clock.advance(MOMENT);
        assert_eq!(run().await, 1);
        assert_eq!(alice.get("/data").await.text, "\"a cart\"");
    }

    async fn more_of_it_than_a_batch_goes_and_what_lies_between_stays(probe: Probe) {
        let client = portcullis::ClientInfo::default();
        for _ in 0..1300 {
            let _ = probe.auth.sessions().start_anonymous(&client).await.expect("it starts");
        }
        probe.execute(
            "INSERT INTO auth_session_data (lineage_id, data, written_at) \
             SELECT lineage_id, '1', created_at FROM auth_session"
        ).await;
        // Lineage ids start with the time and end with random bits, so about one in sixteen stays.
        let last = match probe.database.backend {
            Backend::Postgres => "RIGHT(lineage_id::text, 1) <> '7'",
            Backend::MySql => "RIGHT(HEX(lineage_id), 1) <> '7'",
            Backend::Sqlite => "SUBSTR(HEX(lineage_id), -1) <> '7'",
        };
        probe.execute(&format!("DELETE FROM auth_session WHERE {last}")).await;
        let left = probe.number("SELECT COUNT(*) FROM auth_session").await;
        assert!((1..500).contains(&left), "{left}");
        probe.clock.advance(2 * HOUR);
        let report = probe.auth.maintenance().run().await.expect("it runs");
        assert_eq!((report.session_data as i64, probe.number(ROWS).await), (1300 - left, left));
    }

    async fn what_was_not_written_for_long_and_has_no_session_is_purged_by_hand(probe: Probe) {
        let mut alice = signed_in(&probe, "alice").await;
        let mut bob = signed_in(&probe, "bob").await;
        for browser in [&mut alice, &mut bob] {
            assert_eq!(put(browser, "/data", "old").await, 200);
        }
        bob.post_empty("/auth/logout").await;
        probe.clock.advance(2 * DAY);
        let purge = async |kept| probe.auth.purge_session_data(kept).await.expect("it answers");
        assert_eq!(purge(DAY).await, 0, "the sessions are there, one of them over");
        assert_eq!(probe.auth.sessions().purge(DAY).await.expect("it answers"), 1);
        assert_eq!(purge(2 * DAY).await, 0);
        assert_eq!(purge(2 * DAY - MOMENT).await, 1);
        assert_eq!(alice.get("/data").await.text, "\"old\"");
    }
}
