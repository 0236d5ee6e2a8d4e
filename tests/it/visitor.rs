//! Visitors whose session starts while their request is handled.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis::base::clock::MockClock;
use portcullis::challenge::{Answered, ChallengePurpose};
use portcullis::config::SameSite;
use portcullis::login::{Credentials, LoginOutcome};
use portcullis::{
    AnonymousSession, ChallengeId, ClientInfo, Factor, Identity, Portcullis, Rejection, Visitor,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::{Answer, COOKIE, send};
use crate::support::call::{call, request};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

struct Captcha;
impl ChallengePurpose for Captcha {
    const NAME: &'static str = "captcha";
}

async fn picture(auth: Portcullis, visitor: Visitor) -> Result<Json<Value>, Rejection> {
    let challenge = auth.challenges().start(Captcha::NAME, &visitor).expecting("seven").prepare();
    Ok(Json(json!({ "id": challenge.await?.id(), "session": visitor.session_id() })))
}

async fn answer(
    auth: Portcullis,
    visitor: Visitor,
    client: ClientInfo,
    Json(body): Json<Value>,
) -> Result<&'static str, Rejection> {
    let id: ChallengeId = body["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let code = body["code"].as_str().expect("a code");
    let _ = auth.challenges().answer(Captcha::NAME, &visitor, id, code, &client).await?;
    Ok("right")
}

/// Returns the user, as each extractor after the first one sees it.
async fn who(
    before: Option<Identity>,
    visitor: Visitor,
    after: Option<AnonymousSession>,
    again: Visitor,
) -> String {
    assert_eq!(visitor.session_id(), again.session_id());
    assert_eq!(before.is_some(), visitor.identity().is_some());
    let id = after.as_ref().map(AnonymousSession::id);
    assert_eq!(id, visitor.anonymous().map(AnonymousSession::id));
    match (visitor.identity(), visitor.anonymous()) {
        (Some(identity), None) => format!("account {}", identity.account().id()),
        (None, Some(session)) => format!("visitor {}", session.lineage_id()),
        _ => format!("unfinished {}", visitor.session_id()),
    }
}

/// Signs in and replaces the session that was started for the same request.
async fn sign_in(
    auth: Portcullis,
    visitor: Visitor,
    client: ClientInfo,
    parts: Parts,
) -> Result<Response, Rejection> {
    let before = visitor.anonymous().expect("a visitor").lineage_id().to_string();
    let login = auth.login().replacing(&parts.extensions).await?;
    let outcome = login.with_password(Credentials::password("alice", PASSWORD), &client).await?;
    Ok((outcome.into_issued(), before).into_response())
}

async fn slow(State(clock): State<MockClock>, _: Visitor) -> &'static str {
    clock.advance(Duration::from_secs(61));
    "late"
}

/// Starts the code of the second factor in the answer to the password.
async fn password(auth: Portcullis, client: ClientInfo) -> Result<Response, Rejection> {
    let credentials = Credentials::password("alice", PASSWORD);
    let outcome = auth.login().with_password(credentials, &client).await?;
    let LoginOutcome::SecondFactorRequired(issued) = outcome else { panic!("{outcome:?}") };
    assert!(issued.anonymous_session().is_none());
    let pending = issued.pending_session().expect("it waits");
    let challenge = auth.challenges().start("second", &pending).prepare().await?;
    let body = json!({ "id": challenge.id(), "code": challenge.code() });
    Ok((issued, Json(body)).into_response())
}

async fn second(
    auth: Portcullis,
    pending: portcullis::PendingSession,
    client: ClientInfo,
    Json(body): Json<Value>,
) -> Result<Response, Rejection> {
    let id: ChallengeId = body["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let code = body["code"].as_str().expect("a code");
    let _ = auth.challenges().answer_and_spend("second", &pending, id, code, &client).await?;
    let outcome = auth.login().finish(&pending, Factor::Totp, &client).await?;
    Ok((outcome.into_issued(), "finished").into_response())
}

fn shop(auth: &Portcullis, clock: &MockClock) -> Router {
    Router::new()
        .route("/picture", get(picture).post(picture))
        .route("/answer", post(answer))
        .route("/message", post(|_: Answered<Captcha>| async { "sent" }))
        .route("/who", get(who).post(who))
        .route("/sign-in", post(sign_in))
        .route("/slow", get(slow))
        .route("/password", post(password))
        .route("/second", post(second))
        .route("/fails", get(|_: Visitor| async { StatusCode::IM_A_TEAPOT }))
        .route("/leaves", get(leaves))
        .with_state(clock.clone())
        .layer(auth.layer())
        .merge(app(auth))
}

/// Signs out in the request that started the session.
async fn leaves(auth: Portcullis, _: Visitor, parts: Parts) -> Result<Response, Rejection> {
    Ok((auth.log_out(&parts.extensions).await?, "gone").into_response())
}

async fn browser_of(probe: &Probe) -> Browser {
    Browser::new(serve(shop(&probe.auth, &probe.clock)).await)
}

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "{answer:?}");
}

async fn sessions(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_session").await
}

const MINUTE: Duration = Duration::from_secs(60);

on_every_database! {
    async fn a_visitor_answers_a_question_without_a_session_before(probe: Probe) {
        let mut browser = browser_of(&probe).await;
        check(&browser.post_empty("/message").await, 401, "not_signed_in");
        let answer = browser.get("/picture").await;
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 1), "{}", answer.text);
        assert!(answer.set_cookies()[0].ends_with("; Max-Age=86400"), "{answer:?}");
        assert_eq!(answer.headers["cache-control"], "no-store");
        let first = answer.json();
        let body = |code: &str| json!({ "id": first["id"], "code": code });
        // Another visitor cannot answer the question. The attempt gives them a session.
        let mut other = browser.stranger();
        let refused = other.post("/answer", body("seven")).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "wrong_code"));
        assert!(other.cookie.is_some());
        assert_eq!(browser.post("/answer", body("eight")).await.status, 403);
        let right = browser.post("/answer", body("seven")).await;
        assert_eq!((right.text.as_str(), right.set_cookies().len()), ("right", 0));
        assert_eq!(browser.post_empty("/message").await.text, "sent");
        check(&browser.post_empty("/message").await, 403, "challenge_required");
        check(&other.post_empty("/message").await, 403, "challenge_required");
        // An existing session continues.
        let again = browser.get("/picture").await;
        assert_eq!((again.json()["session"].clone(), again.set_cookies().len()), (first["session"].clone(), 0));
        assert_eq!(sessions(&probe).await, 2);
    }

    async fn every_extractor_after_it_sees_the_session_that_it_started(probe: Probe) {
        let mut browser = browser_of(&probe).await;
        let first = browser.get("/who").await;
        assert!(first.text.starts_with("visitor "), "{}", first.text);
        assert_eq!(browser.get("/who").await.text, first.text);
        assert_eq!(browser.post_empty("/who").await.text, first.text);
        assert_eq!(sessions(&probe).await, 1);
        // The visitor is recognised from then on, even if the answer is an error.
        let mut other = browser.stranger();
        assert_eq!(other.get("/fails").await.status, 418);
        assert!(other.get("/who").await.set_cookies().is_empty());
    }

    async fn those_who_are_signed_in_and_those_who_wait_keep_their_session(probe: Probe) {
        let account = probe.register("alice").await;
        let mut browser = browser_of(&probe).await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        let answer = browser.get("/who").await;
        assert_eq!(answer.text, format!("account {}", account.id()));
        assert!(answer.set_cookies().is_empty());
        let picture = browser.get("/picture").await.json();
        let body = json!({ "id": picture["id"], "code": "seven" });
        assert_eq!(browser.post("/answer", body).await.text, "right");
        let accounts = probe.auth.accounts();
        accounts.set_enrolled_factors(account.id(), [Factor::Totp]).await.expect("enrolled");
        let mut waiting = browser.stranger();
        assert_eq!(waiting.login("alice", PASSWORD).await.json()["result"], "second_factor_required");
        let answer = waiting.get("/who").await;
        assert!(answer.text.starts_with("unfinished ") && answer.set_cookies().is_empty(), "{answer:?}");
        assert_eq!(waiting.get("/pending").await.status, 200);
        let started = probe.number("SELECT COUNT(*) FROM auth_session WHERE account_id IS NULL").await;
        assert_eq!(started, 0);
    }

    async fn a_sign_in_in_the_same_request_goes_on_from_it(probe: Probe) {
        probe.register("alice").await;
        let mut browser = browser_of(&probe).await;
        let answer = browser.post_empty("/sign-in").await;
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 2), "session and device: {answer:?}");
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(browser.get("/lineage").await.text, answer.text, "the lineage goes on");
        // A cookie action of the answer itself takes precedence.
        let mut other = browser.stranger();
        let answer = other.get("/leaves").await;
        assert_eq!((answer.status, answer.cookie().as_deref()), (200, Some("")), "{answer:?}");
    }

    async fn the_limit_is_that_of_the_route_and_both_count_together(probe: Probe) {
        let browser = browser_of(&probe).await;
        let mut visits = JoinSet::new();
        for _ in 0..16 {
            let browser = browser.clone();
            visits.spawn(async move { send(browser.request(Method::GET, "/who")).await });
        }
        let answers = visits.join_all().await;
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(200), count(429)), (10, 6));
        assert_eq!(sessions(&probe).await, 10);
        check(&browser.clone().get("/who").await, 429, "rate_limited");
        check(&browser.clone().post_empty("/auth/session/anonymous").await, 429, "rate_limited");
        // A visitor with a session is not limited.
        let cookie = answers.iter().find_map(Answer::cookie).expect("a cookie");
        assert_eq!(browser.with_cookie(&cookie).get("/who").await.status, 200);
        probe.clock.advance(MINUTE);
        assert_eq!(browser.clone().post_empty("/auth/session/anonymous").await.status, 201);
        assert_eq!(browser.clone().get("/who").await.status, 200);
    }

    async fn no_other_site_starts_one(probe: Probe) {
        let browser = browser_of(&probe).await;
        let from = |method: Method, site: &str| browser.raw(method, "/who").header("sec-fetch-site", site);
        for site in ["cross-site", "same-site"] {
            check(&send(from(Method::POST, site)).await, 403, "cross_site_request");
        }
        let foreign = browser.raw(Method::POST, "/who").header("origin", "https://evil.example");
        check(&send(foreign).await, 403, "cross_site_request");
        assert_eq!(sessions(&probe).await, 0);
        // Browsers send a `Lax` cookie when a link is followed. So without a cookie there is no
        // session yet.
        assert_eq!(send(from(Method::GET, "cross-site")).await.status, 200);
        // Browsers do not send a `Strict` cookie with such a request. A new session would replace
        // the cookie and sign people out.
        let strict = probe.configured(|config| config.cookie.same_site = SameSite::Strict);
        let browser = browser_of(&strict).await;
        let from = |site: &str| browser.raw(Method::GET, "/who").header("sec-fetch-site", site);
        check(&send(from("cross-site")).await, 403, "cross_site_request");
        for site in ["none", "same-origin", "same-site"] {
            assert_eq!(send(from(site)).await.status, 200, "{site}");
        }
    }

    async fn a_cookie_that_another_tab_got_meanwhile_stays(probe: Probe) {
        probe.register("alice").await;
        let mut browser = browser_of(&probe).await;
        assert_eq!(browser.get("/who").await.status, 200);
        let mut slow_tab = browser.clone();
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        check(&slow_tab.get("/who").await, 401, "session_ended");
        probe.clock.advance(MINUTE);
        check(&slow_tab.get("/who").await, 401, "session_ended");
        // If the answer to the sign-in was lost, the visitor gets a new session after a while.
        probe.clock.advance(Duration::from_millis(1));
        let answer = slow_tab.get("/who").await;
        assert!(answer.text.starts_with("visitor ") && answer.cookie().is_some(), "{answer:?}");
        // If a session ended in another way, the browser has no newer cookie.
        let mut gone = browser.clone();
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
        assert!(gone.get("/who").await.text.starts_with("visitor "));
        // The same applies to a foreign cookie, and to one that is too old.
        let mut odd = browser.with_cookie("odd");
        assert!(odd.get("/who").await.text.starts_with("visitor "));
        probe.clock.advance(Duration::from_secs(24 * 60 * 60));
        assert!(odd.get("/who").await.text.starts_with("visitor "));
    }

    async fn a_slow_answer_brings_no_cookie(probe: Probe) {
        let mut browser = browser_of(&probe).await;
        let answer = browser.get("/slow").await;
        assert_eq!((answer.text.as_str(), answer.set_cookies().len()), ("late", 0));
    }

    async fn a_client_that_keeps_its_token_gets_no_cookie(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        probe.register("alice").await;
        let mut browser = browser_of(&probe).await;
        let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let token = browser.post("/auth/login", body).await.json()["token"].as_str().expect("a token").to_owned();
        let with = |token: &str| browser.raw(Method::GET, "/who").bearer_auth(token);
        assert!(send(with(&token)).await.text.starts_with("account "));
        probe.clock.advance(16 * MINUTE);
        check(&send(with(&token)).await, 401, "token_expired");
        // A token of another program is ignored.
        assert!(send(with("another")).await.text.starts_with("visitor "));
        // Two valid cookies. A third one would not help.
        let mut two = Vec::new();
        for _ in 0..2 {
            let mut visitor = browser.stranger();
            assert_eq!(visitor.get("/who").await.status, 200);
            two.push(format!("{COOKIE}={}", visitor.cookie.expect("a cookie")));
        }
        let request = browser.raw(Method::GET, "/who").header("cookie", two.join("; "));
        check(&send(request).await, 400, "multiple_credentials");
    }

    async fn a_code_can_be_sent_with_the_answer_to_the_password(probe: Probe) {
        let account = probe.register("alice").await;
        let accounts = probe.auth.accounts();
        accounts.set_enrolled_factors(account.id(), [Factor::Totp]).await.expect("enrolled");
        let mut browser = browser_of(&probe).await;
        let sent = browser.post_empty("/password").await.json();
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        assert_eq!(other.post("/second", sent.clone()).await.status, 403, "another sign-in");
        assert_eq!(browser.post("/second", sent).await.text, "finished");
        assert_eq!(browser.get("/me").await.status, 200);
        let client = ClientInfo::default();
        let issued = probe.auth.sessions().start_anonymous(&client).await.expect("a session");
        let visitor = issued.anonymous_session().expect("a visitor's");
        assert_eq!(visitor.id(), issued.session_id());
        assert!(issued.pending_session().is_none());
        assert!(probe.auth.challenges().start("captcha", &visitor).prepare().await.is_ok());
    }

    async fn without_the_layer_it_says_so(probe: Probe) {
        let bare: Router = Router::new().route("/who", get(who));
        let request = request("GET", "/who").body(Body::empty()).expect("a request");
        let answer = call(&bare, request).await;
        assert_eq!((answer.status, answer.code().as_str()), (500, "missing_layer"));
        assert_eq!(sessions(&probe).await, 0);
    }
}
