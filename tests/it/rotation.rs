//! Rotation: an expired token is replaced by its next generation, and a copy is detected.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::routing::{any, get};
use axum::{Router, response::Response};
use http_body_util::BodyExt;
use portcullis::{Account, ClientInfo, EnrolmentSession, MessageKind, Secret, Session, Stage};
use reqwest::Method;
use serde_json::{Value, json};
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
/// After this time a token is due.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// If a generation is used at this age, the one before it becomes a replay.
const REPLAY: Duration = Duration::from_secs(90);

/// Returns the claims of a token.
fn payload(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a payload");
    let bytes = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn generation(token: &str) -> i64 {
    payload(token)["gen"].as_i64().expect("a number")
}

fn cookie(browser: &Browser) -> String {
    browser.cookie.clone().expect("a cookie")
}

/// Returns the generation in an answer, and checks that there is at most one.
fn handed_out(answer: &Answer) -> Option<i64> {
    assert!(answer.set_cookies().len() <= 1, "{:?}", answer.set_cookies());
    let cookie = answer.cookie()?;
    assert_ne!(cookie, "", "an answer cleared the cookie");
    assert_eq!(answer.headers["cache-control"], "no-store");
    Some(generation(&cookie))
}

fn check_refused(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (401, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "a 401 touched the cookie: {answer:?}");
    assert!(answer.headers.contains_key("www-authenticate"));
}

async fn highest_generation(probe: &Probe) -> i64 {
    probe.number("SELECT MAX(generation) FROM auth_session").await
}

async fn thefts(probe: &Probe) -> i64 {
    let kind = "session_theft_suspected";
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

/// Returns the number of theft notices in the outbox.
async fn notices(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_outbox").await
}

on_every_database! {
    async fn an_expired_token_is_exchanged_for_its_next_generation(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let rows = probe.number("SELECT COUNT(*) FROM auth_session").await;
        let session = browser.get("/session-id").await.text;
        probe.clock.advance(LIFETIME - SECOND);
        let answer = browser.get("/rotated").await;
        assert_eq!((answer.text.as_str(), handed_out(&answer)), ("false", None));
        probe.clock.advance(SECOND);
        let answer = browser.get("/rotated").await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "true"));
        assert_eq!(handed_out(&answer), Some(1));
        let answer = browser.get("/rotated").await;
        assert_eq!((answer.text.as_str(), handed_out(&answer)), ("false", None));
        assert_eq!(browser.get("/session-id").await.text, session);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, rows);
        assert_eq!(highest_generation(&probe).await, 1);
    }

    async fn a_route_that_asks_for_nobody_does_not_rotate(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        probe.clock.advance(HOUR);
        let (answer, statements) = probe.statements(browser.get("/public")).await;
        assert_eq!((answer.status, handed_out(&answer), statements), (200, None, 0));
    }

    async fn idle_counts_from_the_last_rotation_and_ends_after_the_refresh_window(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        probe.clock.advance(7 * DAY - SECOND);
        assert_eq!(handed_out(&browser.get("/me").await), Some(1));
        probe.clock.advance(7 * DAY - SECOND);
        assert_eq!(handed_out(&browser.get("/me").await), Some(2));
        let last = cookie(&browser);
        probe.clock.advance(7 * DAY);
        let answer = browser.with_cookie(&last).get("/me").await;
        check_refused(&answer, "token_expired");
        assert_eq!(highest_generation(&probe).await, 2);
    }

    async fn the_absolute_end_holds_though_the_session_is_used_daily(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        for day in 1..30 {
            probe.clock.advance(DAY);
            let answer = browser.get("/me").await;
            assert_eq!((answer.status, handed_out(&answer)), (200, Some(day)));
            let left = (30 - day).min(7) * 24 * 60 * 60;
            let age = format!("; Max-Age={left}");
            assert!(answer.set_cookies()[0].ends_with(&age), "{:?}", answer.set_cookies());
        }
        probe.clock.advance(DAY - SECOND);
        assert_eq!(browser.get("/me").await.status, 200);
        let refreshed = browser.post_empty("/auth/session/refresh").await;
        assert_eq!(refreshed.json()["expires_in"], 1);
        probe.clock.advance(SECOND);
        check_refused(&browser.get("/me").await, "session_expired");
        check_refused(&browser.post_empty("/auth/session/refresh").await, "session_expired");
    }

    async fn fifty_parallel_requests_make_one_generation_and_all_are_handed_it(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let other_node = serve(app(&probe.rebuilt(|builder| builder))).await;
        for round in 1..=3 {
            probe.clock.advance(LIFETIME);
            let mut requests = JoinSet::new();
            for number in 0..50 {
                let mut twin = browser.clone();
                if number % 2 == 1 {
                    twin.address = other_node;
                }
                requests.spawn(async move { twin.get("/me").await });
            }
            let answers = requests.join_all().await;
            for answer in &answers {
                assert_eq!(answer.status, 200, "{}", answer.text);
                assert_eq!(handed_out(answer), Some(round));
            }
            assert_eq!(highest_generation(&probe).await, round);
            browser.cookie = answers[0].cookie();
            let answer = browser.get("/me").await;
            assert_eq!((answer.status, handed_out(&answer)), (200, None));
        }
        assert_eq!(thefts(&probe).await, 0);
    }

    async fn a_lost_answer_is_no_theft(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let first = cookie(&browser);
        for wait in [LIFETIME, SECOND, MINUTE, HOUR, DAY] {
            probe.clock.advance(wait);
            let answer = browser.with_cookie(&first).get("/me").await;
            assert_eq!((answer.status, handed_out(&answer)), (200, Some(1)));
            browser.cookie = answer.cookie();
        }
        assert_eq!(browser.get("/rotated").await.status, 200);
        assert_eq!(thefts(&probe).await, 0);
    }

    async fn a_retired_token_is_a_theft_once_its_successor_was_used_late(probe: Probe) {
        let (account, mut browser) = probe.signed_in("alice").await;
        probe.execute("UPDATE auth_account SET version = version + 1, email = 'alice@example.com'").await;
        let first = cookie(&browser);
        probe.clock.advance(LIFETIME);
        assert_eq!(handed_out(&browser.get("/me").await), Some(1));
        probe.clock.advance(REPLAY - Duration::from_millis(1));
        // This use is slightly too early to prove that the browser keeps the generation.
        assert_eq!(browser.get("/me").await.status, 200);
        let answer = browser.with_cookie(&first).get("/rotated").await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "true"));
        assert_eq!(handed_out(&answer), Some(1));
        assert_eq!(thefts(&probe).await, 0);

        probe.clock.advance(Duration::from_millis(1));
        assert_eq!(browser.get("/me").await.status, 200);
        let answer = browser.with_cookie(&first).get("/me").await;
        // No cookie is cleared, because the browser may already have a newer one from another tab.
        check_refused(&answer, "session_ended");
        // The owner's own token is invalid too.
        check_refused(&browser.get("/me").await, "session_ended");
        check_refused(&browser.with_cookie(&first).get("/me").await, "session_ended");
        assert_eq!(thefts(&probe).await, 1);
        let [notice] = &probe.mail().await[..] else { panic!("one notice") };
        assert_eq!(notice.kind, MessageKind::SessionTheftSuspected);
        assert_eq!(notice.account_id, Some(account.id()));
        assert!(notice.text.contains("From: 127.0.0.1"), "{}", notice.text);
        // The account can have another session.
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
    }

    async fn a_replay_by_many_at_once_is_one_theft(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let first = cookie(&browser);
        probe.clock.advance(LIFETIME);
        assert_eq!(handed_out(&browser.get("/me").await), Some(1));
        probe.clock.advance(REPLAY);
        assert_eq!(browser.get("/me").await.status, 200);
        let mut requests = JoinSet::new();
        for _ in 0..16 {
            let mut twin = browser.with_cookie(&first);
            requests.spawn(async move { twin.get("/me").await });
        }
        for answer in requests.join_all().await {
            check_refused(&answer, "session_ended");
        }
        assert_eq!(thefts(&probe).await, 1);
        assert_eq!(notices(&probe).await, 1);
    }

    async fn a_token_two_generations_behind_is_a_theft(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let first = cookie(&browser);
        probe.clock.advance(LIFETIME);
        assert_eq!(handed_out(&browser.get("/me").await), Some(1));
        let second = cookie(&browser);
        // The first late use of generation 1 is the request that retires it.
        probe.clock.advance(LIFETIME);
        assert_eq!(handed_out(&browser.get("/me").await), Some(2));
        assert_eq!(handed_out(&browser.with_cookie(&second).get("/me").await), Some(2));
        check_refused(&browser.with_cookie(&first).get("/me").await, "session_ended");
        check_refused(&browser.get("/me").await, "session_ended");
        assert_eq!(thefts(&probe).await, 1);
    }

    async fn a_thief_who_rotates_first_is_found_out_when_the_owner_comes_back(probe: Probe) {
        let (_, mut owner) = probe.signed_in("alice").await;
        let mut thief = owner.clone();
        probe.clock.advance(LIFETIME);
        assert_eq!(handed_out(&thief.get("/me").await), Some(1));
        probe.clock.advance(REPLAY);
        assert_eq!(thief.get("/me").await.status, 200);
        assert_eq!(owner.get("/me").await.status, 401);
        check_refused(&thief.get("/me").await, "session_ended");
        assert_eq!(thefts(&probe).await, 1);
    }

    async fn only_a_live_session_of_a_usable_account_comes_out_of_rotation(probe: Probe) {
        let accounts = probe.auth.accounts();
        for change in ["nothing", "disabled", "deleted", "epoch", "ended", "suspicious", "expired"] {
            let (account, mut browser) = probe.signed_in(&format!("user-{change}")).await;
            let id = browser.get("/session-id").await.text;
            let id: portcullis::SessionId = id.parse().expect("an id");
            let uuid = id.to_string();
            probe.clock.advance(HOUR);
            let update = |set: &str| match probe.database.backend {
                Backend::MySql => format!(
                    "UPDATE auth_session SET version = version + 1, {set} WHERE HEX(id) = UPPER(REPLACE('{uuid}', '-', ''))"
                ),
                Backend::Sqlite => format!(
                    "UPDATE auth_session SET version = version + 1, {set} WHERE HEX(id) = UPPER(REPLACE('{uuid}', '-', ''))"
                ),
                Backend::Postgres => format!("UPDATE auth_session SET version = version + 1, {set} WHERE id = '{uuid}'"),
            };
            let code = match change {
                "disabled" => {
                    accounts.disable(account.id()).await.expect("it is disabled");
                    "session_ended"
                }
                "deleted" => {
                    accounts.delete(account.id()).await.expect("it is deleted");
                    "session_ended"
                }
                "epoch" => {
                    accounts.require_password_change(account.id()).await.expect("it is required");
                    "session_ended"
                }
                "ended" => {
                    let _ = probe.auth.sessions().end(id).await.expect("it ends");
                    "session_ended"
                }
                "suspicious" => {
                    probe.execute(&update("suspicious_at = 1")).await;
                    "session_suspicious"
                }
                "expired" => {
                    probe.execute(&update("expires_at = 1")).await;
                    "session_expired"
                }
                _ => "",
            };
            let before = cookie(&browser);
            let answer = browser.get("/me").await;
            if code.is_empty() {
                assert_eq!((answer.status, handed_out(&answer)), (200, Some(1)));
            } else {
                check_refused(&answer, code);
                let refreshed = browser.post_empty("/auth/session/refresh").await;
                check_refused(&refreshed, code);
                assert_eq!(cookie(&browser), before);
            }
        }
        let rotated = "SELECT COUNT(*) FROM auth_session WHERE generation > 0";
        assert_eq!(probe.number(rotated).await, 1);
        assert_eq!(thefts(&probe).await, 0);
    }

    async fn an_unverified_account_does_not_come_out_of_rotation(probe: Probe) {
        let (account, browser) = probe.signed_in("alice").await;
        let strict = probe.rebuilt(|builder| {
            builder.configure(|config| config.login.require_verified = true)
        });
        let mut browser = browser.at(serve(app(&strict)).await);
        probe.clock.advance(HOUR);
        check_refused(&browser.get("/me").await, "session_ended");
        strict.accounts().verify(account.id()).await.expect("it is verified");
        assert_eq!(handed_out(&browser.get("/me").await), Some(1));
    }

    async fn tokens_of_other_stages_last_as_long_as_their_rows_and_never_rotate(probe: Probe) {
        let account = probe.register("alice").await;
        let enrolment = |session: EnrolmentSession| async move { session.id().to_string() };
        let app = app(&probe.auth)
            .merge(Router::new().route("/enrolment", get(enrolment)).layer(probe.auth.layer()));
        let address = serve(app).await;
        for (stage, path, lifetime) in [
            (Some(Stage::PendingSecondFactor), "/pending", 10 * MINUTE),
            (Some(Stage::MustEnrol), "/enrolment", 10 * MINUTE),
            (Some(Stage::MustChangePassword), "/must-change", 5 * MINUTE),
            (None, "/anonymous", 24 * HOUR),
        ] {
            let mut browser = started(&probe, &account, stage, address).await;
            let body = payload(&cookie(&browser));
            let lasts = body["exp"].as_i64().zip(body["iat"].as_i64()).map(|(exp, iat)| exp - iat);
            assert_eq!(lasts, i64::try_from(lifetime.as_secs()).ok(), "{path}");
            assert_eq!(browser.get(path).await.status, 200, "{path}");
            probe.clock.advance(lifetime - SECOND);
            let answer = browser.get(path).await;
            assert_eq!((answer.status, handed_out(&answer)), (200, None), "{path}");
            assert_eq!(browser.get("/me").await.status, 401);
            assert_eq!(browser.post_empty("/auth/session/refresh").await.status, 401);
            probe.clock.advance(SECOND);
            check_refused(&browser.get(path).await, "token_expired");
            check_refused(&browser.get("/me").await, "token_expired");
        }
        assert_eq!(highest_generation(&probe).await, 0);
    }

    async fn with_refresh_off_a_session_ends_with_its_token(probe: Probe) {
        let probe = probe.configured(|config| {
            config.session.refresh_window = None;
            config.service.bearer = true;
        });
        let (_, mut browser) = probe.signed_in("alice").await;
        let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let token = browser.stranger().post("/auth/login", body).await.json()["token"].clone();
        let bearer = format!("Bearer {}", token.as_str().expect("a token"));
        probe.clock.advance(LIFETIME - SECOND);
        let answer = browser.get("/me").await;
        assert_eq!((answer.status, handed_out(&answer)), (200, None));
        // No route extends the lifetime, for a cookie or for a bearer token.
        let answer = browser.post_empty("/auth/session/refresh").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "refresh_not_enabled"));
        assert_eq!(answer.cookie(), None);
        let request = browser.raw(Method::POST, "/auth/session/refresh");
        let answer = browser.stranger().send(request.header("authorization", bearer)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "refresh_not_enabled"));
        probe.clock.advance(SECOND);
        check_refused(&browser.get("/me").await, "token_expired");
        assert_eq!(highest_generation(&probe).await, 0);
    }

    async fn a_refresh_hands_out_a_young_generation_again(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let login = cookie(&browser);
        for (wait, expected) in [
            (Duration::ZERO, 0),
            (REPLAY, 1),
            (SECOND, 1),
            // The generation is old enough, but this copy of it was issued only now.
            (REPLAY - SECOND, 1),
            (REPLAY, 2),
        ] {
            probe.clock.advance(wait);
            let answer = browser.post_empty("/auth/session/refresh").await;
            assert_eq!((answer.status, handed_out(&answer)), (200, Some(expected)), "{wait:?}");
            assert_eq!(answer.json().get("token"), None);
            assert_eq!(answer.json()["expires_in"], 900);
            assert_eq!(highest_generation(&probe).await, expected);
        }
        assert_eq!(browser.get("/me").await.status, 200);
        let answer = browser.with_cookie(&login).post_empty("/auth/session/refresh").await;
        check_refused(&answer, "session_ended");
        assert_eq!(thefts(&probe).await, 1);
    }

    async fn a_session_that_is_refreshed_all_the_time_is_never_idle(probe: Probe) {
        let window = LIFETIME + 5 * MINUTE;
        let probe = probe.configured(|config| config.session.refresh_window = Some(window));
        let (_, mut browser) = probe.signed_in("alice").await;
        // Each copy is younger than the age at which its generation is replaced.
        for round in 0..30 {
            probe.clock.advance(REPLAY - 10 * SECOND);
            let answer = browser.post_empty("/auth/session/refresh").await;
            assert_eq!(answer.status, 200, "{round}: {}", answer.text);
        }
        assert!(highest_generation(&probe).await >= 2);
    }

    async fn fifty_parallel_refreshes_all_hand_out_the_one_new_generation(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let other_node = serve(app(&probe.rebuilt(|builder| builder))).await;
        for round in 1..=3 {
            probe.clock.advance(LIFETIME);
            let mut requests = JoinSet::new();
            for number in 0..50 {
                let mut twin = browser.clone();
                if number % 2 == 1 {
                    twin.address = other_node;
                }
                requests.spawn(async move { twin.post_empty("/auth/session/refresh").await });
            }
            let answers = requests.join_all().await;
            for answer in &answers {
                assert_eq!((answer.status, handed_out(answer)), (200, Some(round)), "{}", answer.text);
            }
            assert_eq!(highest_generation(&probe).await, round);
            // Each of the tokens is valid.
            for answer in &answers {
                let mut twin = browser.with_cookie(&answer.cookie().expect("a cookie"));
                assert_eq!(twin.get("/me").await.status, 200);
            }
            browser.cookie = answers[0].cookie();
        }
        assert_eq!(thefts(&probe).await, 0);
    }

    async fn a_refresh_that_races_a_logout_is_given_no_token_that_works(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        probe.clock.advance(LIFETIME);
        let mut requests = JoinSet::new();
        for number in 0..16 {
            let mut twin = browser.clone();
            requests.spawn(async move {
                if number == 7 {
                    assert_eq!(twin.post_empty("/auth/logout").await.status, 204);
                    return None;
                }
                let answer = twin.post_empty("/auth/session/refresh").await;
                assert!(matches!(answer.status, 200 | 401), "{}", answer.text);
                answer.cookie()
            });
        }
        for token in requests.join_all().await.into_iter().flatten() {
            check_refused(&browser.with_cookie(&token).get("/me").await, "session_ended");
        }
    }

    async fn a_bearer_token_is_renewed_by_refresh_alone_and_never_sets_a_cookie(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        probe.register("alice").await;
        let browser = probe.browser().await;
        let sign_in = async || {
            let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
            let answer = browser.stranger().post("/auth/login", body).await;
            assert!(answer.set_cookies().is_empty(), "{answer:?}");
            assert_eq!(answer.json()["token_type"], "Bearer");
            assert_eq!(answer.json()["expires_in"], 900);
            answer.json()["token"].as_str().expect("a token").to_owned()
        };
        let call = async |method: Method, path: &str, token: &str| {
            let request = browser.raw(method, path).header("authorization", format!("bearer {token}"));
            let answer = browser.stranger().send(request).await;
            assert!(answer.set_cookies().is_empty(), "{path}: {answer:?}");
            answer
        };
        let refresh = "/auth/session/refresh";
        let first = sign_in().await;
        assert_eq!(call(Method::GET, "/me", &first).await.status, 200);
        probe.clock.advance(LIFETIME);
        check_refused(&call(Method::GET, "/me", &first).await, "token_expired");
        let answer = call(Method::POST, refresh, &first).await;
        assert_eq!((answer.status, &answer.json()["token_type"]), (200, &json!("Bearer")));
        let second = answer.json()["token"].as_str().expect("a token").to_owned();
        assert_eq!(generation(&second), 1);
        assert_eq!(call(Method::GET, "/me", &second).await.status, 200);
        // The answer was lost. The same request gets the same generation again.
        let again = call(Method::POST, refresh, &first).await.json();
        assert_eq!(generation(again["token"].as_str().expect("a token")), 1);
        probe.clock.advance(REPLAY);
        assert_eq!(call(Method::GET, "/me", &second).await.status, 200);
        let answer = call(Method::POST, refresh, &first).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"));
        assert_eq!(thefts(&probe).await, 1);
        assert_eq!(call(Method::GET, "/me", &second).await.code(), "session_ended");

        let idle = sign_in().await;
        probe.clock.advance(7 * DAY);
        check_refused(&call(Method::POST, refresh, &idle).await, "token_expired");
        let token = sign_in().await;
        assert_eq!(call(Method::POST, "/auth/logout", &token).await.status, 204);
        check_refused(&call(Method::GET, "/me", &token).await, "session_ended");
        let token = sign_in().await;
        assert_eq!(call(Method::DELETE, "/auth/sessions?scope=all", &token).await.status, 200);
        check_refused(&call(Method::GET, "/me", &token).await, "session_ended");
    }

    async fn only_the_handshake_of_a_websocket_counts_as_an_upgrade(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let handshake: &[(&str, &str)] = &[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ];
        let app = Router::new()
            .route("/socket", any(|session: Session| async move {
                (http::StatusCode::SWITCHING_PROTOCOLS, session.just_rotated().to_string())
            }))
            .route("/page", any(|session: Session| async move { session.just_rotated().to_string() }))
            .layer(probe.auth.layer());
        let ask = async |method: &str, path: &str, headers: &[(&str, &str)], token: &str| {
            let mut request = Request::builder().method(method).uri(path)
                .header("cookie", format!("{COOKIE}={token}"))
                .header("sec-fetch-site", "same-origin");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Body::empty()).expect("a request");
            let response = app.clone().oneshot(request).await.expect("an answer");
            let cookie = response.headers().get("set-cookie").map(|line| {
                let line = line.to_str().expect("ASCII");
                let value = line.strip_prefix(&format!("{COOKIE}=")).expect("our name");
                value.split(';').next().unwrap_or_default().to_owned()
            });
            (response.status().as_u16(), cookie)
        };
        let mut token = cookie(&browser);
        let mut made = 0;
        // A handshake gets the next generation with the 101.
        probe.clock.advance(LIFETIME);
        let (status, cookie) = ask("GET", "/socket", handshake, &token).await;
        made += 1;
        assert_eq!((status, cookie.as_deref().map(generation)), (101, Some(made)));
        token = cookie.unwrap_or(token);
        // A handshake that is not accepted gets none. The next request does.
        probe.clock.advance(LIFETIME);
        assert_eq!(ask("GET", "/page", handshake, &token).await, (200, None));
        made += 1;
        let (status, cookie) = ask("GET", "/page", &[], &token).await;
        assert_eq!((status, cookie.as_deref().map(generation)), (200, Some(made)));
        token = cookie.unwrap_or(token);
        // All other requests with an `Upgrade` header are ordinary requests.
        let without = |name: &str| {
            handshake.iter().copied().filter(|(header, _)| *header != name).collect::<Vec<_>>()
        };
        for (method, headers) in [
            ("GET", vec![("upgrade", "x")]),
            ("GET", vec![("connection", "upgrade"), ("upgrade", "h2c")]),
            ("GET", without("connection")),
            ("GET", without("sec-websocket-key")),
            ("GET", without("sec-websocket-version")),
            ("GET", [&without("sec-websocket-version")[..], &[("sec-websocket-version", "8")]].concat()),
            ("POST", handshake.to_vec()),
            ("CONNECT", vec![("sec-websocket-version", "13")]),
        ] {
            probe.clock.advance(LIFETIME);
            made += 1;
            let (status, cookie) = ask(method, "/page", &headers, &token).await;
            let expected = (200, Some(made));
            assert_eq!((status, cookie.as_deref().map(generation)), expected, "{method} {headers:?}");
            token = cookie.unwrap_or(token);
        }
        assert_eq!(highest_generation(&probe).await, made);
        assert_eq!(thefts(&probe).await, 0);
    }

    async fn a_websocket_over_http_2_is_a_connect_with_scheme_and_path(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let app = tower::ServiceBuilder::new().layer(probe.auth.layer()).service(
            tower::service_fn(async |request: Request| {
                let (mut parts, _) = request.into_parts();
                let session = Session::from_request_parts(&mut parts, &()).await;
                let accepted = session.is_ok() && !parts.headers.contains_key("x-refuse");
                let status = if accepted { 200 } else { 403 };
                Response::builder().status(status).body(Body::empty())
            }),
        );
        let ask = async |uri: &str, refuse: bool| {
            let mut request = Request::builder().method("CONNECT").uri(uri)
                .version(http::Version::HTTP_2)
                .header("cookie", format!("{COOKIE}={}", cookie(&browser)))
                .header("sec-fetch-site", "same-origin")
                .header("sec-websocket-version", "13");
            if refuse {
                request = request.header("x-refuse", "1");
            }
            let request = request.body(Body::empty()).expect("a request");
            let response = app.clone().oneshot(request).await.expect("an answer");
            (response.status().as_u16(), response.headers().contains_key("set-cookie"))
        };
        probe.clock.advance(LIFETIME);
        assert_eq!(ask("https://app.example.com/socket", true).await, (403, false));
        assert_eq!(ask("https://app.example.com/socket", false).await, (200, true));
    }

    async fn a_body_that_resolves_while_it_is_sent_does_not_rotate(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        probe.clock.advance(LIFETIME);
        let app = Router::new()
            .route("/late", get(late))
            .route("/early", get(|session: Session| async move { session.id().to_string() }))
            .layer(probe.auth.layer());
        let ask = async |path: &str| {
            let request = Request::get(path)
                .header("cookie", format!("{COOKIE}={}", cookie(&browser)))
                .body(Body::empty())
                .expect("a request");
            let response = app.clone().oneshot(request).await.expect("an answer");
            let rotated = response.headers().contains_key("set-cookie");
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            (String::from_utf8(body.to_vec()).expect("text"), rotated)
        };
        let (id, rotated) = ask("/late").await;
        assert!(!rotated);
        // The answer could not carry the next generation, so none was made.
        assert_eq!(highest_generation(&probe).await, 0);
        assert_eq!(ask("/early").await, (id, true));
        assert_eq!(highest_generation(&probe).await, 1);
    }

    async fn nested_layers_of_one_instance_are_one(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let route = || Router::new().route("/me", get(|a: Account| async move { a.id().to_string() }));
        let auth = &probe.auth;
        let nested = route().route_layer(auth.layer()).layer(auth.layer()).layer(auth.layer());
        probe.clock.advance(LIFETIME);
        let request = || {
            Request::get("/me")
                .header("cookie", format!("{COOKIE}={}", cookie(&browser)))
                .body(Body::empty())
                .expect("a request")
        };
        // The second request goes to another instance, which has to load the grants as well. So the
        // costs of both can be compared.
        let plain = route().layer(probe.rebuilt(|builder| builder).layer());
        let work = nested.clone().oneshot(request());
        let (response, statements) = probe.statements(work).await;
        let response = response.expect("an answer");
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 1);
        assert_eq!(response.headers().get_all("vary").iter().count(), 1);
        assert_eq!(highest_generation(&probe).await, 1);
        let (response, plainly) = probe.statements(plain.oneshot(request())).await;
        assert_eq!(response.expect("an answer").status(), 200);
        // The session and the rotation: the sign-in has loaded the grants. The other instance has to
        // load them, but its request comes after the rotation.
        assert_eq!((statements, plainly), (2, 2));
    }

    async fn a_session_moves_to_the_newest_secret_when_it_rotates(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let (_, idle) = probe.signed_in("bob").await;
        let new = Secret::generate();
        let both = probe.rebuilt(|builder| {
            builder.configure(|config| config.keys.secrets.insert(0, new.clone()))
        });
        let only_new = probe.rebuilt(|builder| {
            builder.configure(|config| config.keys.secrets = vec![new.clone()])
        });
        let mut browser = browser.at(serve(app(&both)).await);
        let later = serve(app(&only_new)).await;
        let answer = browser.get("/me").await;
        assert_eq!((answer.status, handed_out(&answer)), (200, None));
        probe.clock.advance(LIFETIME);
        let old_header = cookie(&browser).split('.').next().map(str::to_owned);
        assert_eq!(handed_out(&browser.get("/me").await), Some(1));
        assert_ne!(cookie(&browser).split('.').next().map(str::to_owned), old_header);
        // Nodes that still sign with the old secret accept the token, and so do nodes with both
        // secrets.
        assert_eq!(browser.get("/me").await.status, 200);
        browser.address = later;
        assert_eq!(browser.get("/me").await.status, 200);
        let mut idle = idle.at(later);
        let (answer, statements) = probe.statements(idle.get("/me")).await;
        check_refused(&answer, "invalid_token");
        assert_eq!(statements, 0);
    }

    async fn a_new_secret_under_load_signs_nobody_out(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let both = probe.rebuilt(|builder| {
            builder.configure(|config| config.keys.secrets.insert(0, Secret::generate()))
        });
        let new_node = serve(app(&both)).await;
        for round in 1..=2 {
            probe.clock.advance(LIFETIME);
            let mut requests = JoinSet::new();
            for _ in 0..20 {
                let mut twin = browser.at(new_node);
                requests.spawn(async move { twin.get("/me").await });
            }
            for answer in requests.join_all().await {
                // Each answer is lost, so the first token stays valid.
                assert_eq!((answer.status, handed_out(&answer)), (200, Some(1)), "{round}");
            }
        }
    }

    async fn a_role_can_shorten_how_long_a_session_may_be_idle(probe: Probe) {
        let (admin, mut browser) = probe.signed_in("root").await;
        let (_, mut neighbour) = probe.signed_in("alice").await;
        let roles = probe.auth.roles();
        roles.create("admin", ["admin:*"]).await.expect("a role");
        roles.limit_idle("admin", Some(15 * MINUTE)).await.expect("it is limited");
        roles.grant(admin.id(), "admin").await.expect("it is granted");
        for round in 1..=4 {
            probe.clock.advance(15 * MINUTE - SECOND);
            let answer = browser.get("/me").await;
            assert_eq!((answer.status, handed_out(&answer)), (200, Some(round)));
        }
        // A session in use rotates often enough, so it never seems idle.
        for _ in 0..12 {
            probe.clock.advance(5 * MINUTE);
            assert_eq!(browser.get("/me").await.status, 200);
        }
        probe.clock.advance(15 * MINUTE);
        check_refused(&browser.get("/me").await, "session_expired");
        check_refused(&browser.post_empty("/auth/session/refresh").await, "session_expired");
        assert_eq!(neighbour.get("/me").await.status, 200);
        // Removing the limit takes effect at once, like a grant, because the session was never
        // ended.
        roles.limit_idle("admin", None).await.expect("it is lifted");
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn a_logout_that_races_rotations_wins(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        probe.clock.advance(LIFETIME);
        let mut requests = JoinSet::new();
        for number in 0..12 {
            let mut twin = browser.clone();
            requests.spawn(async move {
                if number == 5 {
                    let answer = twin.post_empty("/auth/logout").await;
                    assert_eq!(answer.status, 204);
                    return None;
                }
                let answer = twin.get("/me").await;
                assert!(matches!(answer.status, 200 | 401), "{}", answer.text);
                answer.cookie()
            });
        }
        let mut tokens = requests.join_all().await;
        tokens.push(browser.cookie.clone());
        for token in tokens.into_iter().flatten() {
            check_refused(&browser.with_cookie(&token).get("/me").await, "session_ended");
        }
        assert_eq!(thefts(&probe).await, 0);
    }

    async fn a_clock_that_was_fast_signs_nobody_out_when_it_is_corrected(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        let codes = |probe: &Probe| {
            probe.auth.audit().iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        let account = probe.register("alice").await;
        let (_, mut ended) = probe.signed_in("bob").await;
        let kept = cookie(&ended);
        assert_eq!(ended.post_empty("/auth/logout").await.status, 204);
        // The clock is one hour ahead when each kind of token is made.
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        let mut rotated = browser.stranger();
        assert_eq!(rotated.login("alice", PASSWORD).await.status, 200);
        probe.clock.advance(LIFETIME);
        assert_eq!(handed_out(&rotated.get("/me").await), Some(1));
        let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let bearer = browser.stranger().post("/auth/login", body).await.json()["token"].clone();
        let bearer = format!("Bearer {}", bearer.as_str().expect("a token"));
        let mut others = Vec::new();
        for (stage, path) in [
            (Some(Stage::PendingSecondFactor), "/pending"),
            (Some(Stage::MustChangePassword), "/must-change"),
            (None, "/anonymous"),
        ] {
            others.push((started(&probe, &account, stage, browser.address).await, path));
        }
        assert!(!codes(&probe).contains(&"clock_skew"));
        probe.clock.step_back(30 * SECOND);
        assert_eq!(browser.get("/me").await.status, 200);
        assert!(!codes(&probe).contains(&"clock_skew"), "so much clocks may differ");
        probe.clock.step_back(HOUR);
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(rotated.get("/me").await.status, 200);
        let request = browser.raw(Method::GET, "/me").header("authorization", &bearer);
        assert_eq!(browser.stranger().send(request).await.status, 200);
        for (other, path) in &mut others {
            assert_eq!(other.get(path).await.status, 200, "{path}");
        }
        let device = browser.device.clone();
        // The rate limit counted at the wrong time. It refuses one request and then discards that
        // count.
        let _ = browser.login("alice", PASSWORD).await;
        probe.clock.advance(SECOND);
        let again = browser.login("alice", PASSWORD).await;
        assert_eq!(again.status, 200, "{}", again.text);
        assert!(device.is_some() && browser.device.is_some());
        let found = codes(&probe).iter().filter(|code| **code == "clock_skew").count();
        assert_eq!(found, 1, "the operator is told, once");
        // Sessions that the row marks as ended stay ended. Time continues correctly.
        check_refused(&ended.with_cookie(&kept).get("/me").await, "session_ended");
        for _ in 0..8 {
            probe.clock.advance(LIFETIME);
            assert_eq!(browser.get("/me").await.status, 200);
            assert_eq!(rotated.get("/me").await.status, 200);
            assert_eq!(rotated.post_empty("/auth/session/refresh").await.status, 200);
        }
        assert_eq!(thefts(&probe).await, 0);
    }
}

/// Counts what a thousand requests write. One database is enough, because the statements are the
/// same.
#[tokio::test]
async fn a_thousand_requests_in_one_interval_write_at_most_twice() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let (_, browser) = probe.signed_in("alice").await;
        let app = app(&probe.auth);
        let ask = async |token: &str| {
            let request = Request::get("/me")
                .header("cookie", format!("{COOKIE}={token}"))
                .body(Body::empty())
                .expect("a request");
            let response = app.clone().oneshot(request).await.expect("an answer");
            assert_eq!(response.status(), 200);
            let cookie = response.headers().get("set-cookie")?.to_str().expect("ASCII").to_owned();
            let value = cookie.strip_prefix(&format!("{COOKIE}="))?.split(';').next()?.to_owned();
            Some(value)
        };
        let mut token = cookie(&browser);
        ask(&token).await;
        for _ in 0..2 {
            probe.clock.advance(LIFETIME);
            let ((), statements) = probe
                .statements(async {
                    for number in 0..1000 {
                        if number == 500 {
                            probe.clock.advance(REPLAY);
                        }
                        if let Some(next) = ask(&token).await {
                            token = next;
                        }
                    }
                })
                .await;
            assert_eq!(statements, 1000 + 2, "one to rotate and one for the first late use");
        }
    })
    .await;
}

/// Returns a browser with a session of this stage. Without a stage it is an anonymous session.
async fn started(
    probe: &Probe,
    account: &Account,
    stage: Option<Stage>,
    address: std::net::SocketAddr,
) -> Browser {
    let client = ClientInfo::default();
    let sessions = probe.auth.sessions();
    let issued = match stage {
        Some(stage) => sessions.start(account, &client).stage(stage).await,
        None => sessions.start_anonymous(&client).await,
    };
    let mut headers = axum::http::HeaderMap::new();
    issued.expect("a session").apply(&mut headers);
    let line = headers["set-cookie"].to_str().expect("ASCII").to_owned();
    let value = line.strip_prefix(&format!("{COOKIE}=")).and_then(|rest| rest.split(';').next());
    Browser::new(address).with_cookie(value.expect("a value"))
}

/// Answers at once, and asks for the identity when the body is read.
async fn late(request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    Response::new(Body::new(LateBody(Some(Box::pin(async move {
        let session = Session::from_request_parts(&mut parts, &()).await;
        session.map_or_else(|_| "nobody".to_owned(), |session| session.id().to_string())
    })))))
}

struct LateBody(Option<Pin<Box<dyn Future<Output = String> + Send>>>);

impl http_body::Body for LateBody {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        let Some(work) = self.0.as_mut() else { return Poll::Ready(None) };
        let text = std::task::ready!(work.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(Some(Ok(http_body::Frame::data(text.into()))))
    }
}
