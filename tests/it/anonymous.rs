//! Anonymous sessions: a visitor without an account, who is recognised again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use portcullis::port::{HookFuture, OnSessionReplaced, SessionReplaced};
use portcullis::{ClientInfo, PeerAddr, Stage};
use reqwest::Method;
use sea_orm::DatabaseTransaction;
use serde_json::json;
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::on_every_database;
use crate::support::browser::{Answer, COOKIE};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD};

const START: &str = "/auth/session/anonymous";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn check_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "a refusal touched the cookie: {answer:?}");
}

async fn visitor(browser: &Browser) -> Browser {
    let mut visitor = browser.stranger();
    let answer = visitor.post_empty(START).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    visitor
}

/// Records which sessions were replaced.
#[derive(Clone, Default)]
struct Hook(Arc<Mutex<Vec<SessionReplaced>>>);

impl OnSessionReplaced for Hook {
    fn replaced<'a>(
        &'a self,
        replaced: SessionReplaced,
        _: &'a DatabaseTransaction,
    ) -> HookFuture<'a, ()> {
        self.0.lock().expect("nothing panics while it is held").push(replaced);
        Box::pin(std::future::ready(Ok(())))
    }
}

on_every_database! {
    async fn a_visitor_is_recognised_again_and_may_do_nothing(probe: Probe) {
        let mut browser = probe.browser().await;
        let answer = browser.post_empty(START).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.json()["result"], "anonymous");
        assert_eq!(answer.json()["expires_in"], 24 * 60 * 60);
        assert_eq!((answer.json().get("account_id"), answer.json().get("token")), (None, None));
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(answer.set_cookies()[0].ends_with("; Max-Age=86400"), "{answer:?}");
        let lineage = browser.get("/anonymous").await;
        assert_eq!(lineage.status, 200);
        assert_eq!(browser.get("/anonymous").await.text, lineage.text);
        assert_eq!(browser.get("/maybe").await.text, "nobody");
        for path in ["/me", "/session-id", "/signed-in", "/admin", "/docs/1", "/editors"] {
            check_refused(&browser.get(path).await, 401, "not_signed_in");
        }
        probe.clock.advance(DAY - SECOND);
        assert_eq!(browser.get("/anonymous").await.status, 200);
        probe.clock.advance(SECOND);
        check_refused(&browser.get("/anonymous").await, 401, "token_expired");
    }

    async fn a_visitor_who_signs_in_or_registers_keeps_the_lineage(probe: Probe) {
        let hook = Hook::default();
        let auth = probe.rebuilt(|builder| builder.on_session_replaced(hook.clone()));
        probe.register("alice").await;
        let browser = Browser::new(serve(app(&auth)).await);
        let credentials = json!({ "password": PASSWORD });
        for (path, name) in [("/auth/login", "login"), ("/auth/register", "username")] {
            let mut visitor = visitor(&browser).await;
            let lineage = visitor.get("/anonymous").await.text;
            let mut planted = visitor.clone();
            let mut body = credentials.clone();
            body[name] = json!(if name == "login" { "alice" } else { "bob" });
            let answer = visitor.post(path, body).await;
            assert!(matches!(answer.status, 200 | 201), "{}", answer.text);
            assert_eq!(visitor.get("/lineage").await.text, lineage);
            let seen = hook.0.lock().expect("nothing panics while it is held").pop();
            let seen = seen.expect("the hook was called");
            assert_eq!(answer.json()["session_id"], seen.new.to_string());
            assert_eq!(answer.json()["account_id"], seen.account_id.expect("whose").to_string());
            // An attacker who planted the visitor's cookie gains nothing.
            for path in ["/anonymous", "/me"] {
                check_refused(&planted.get(path).await, 401, "session_ended");
            }
            assert_eq!(visitor.get("/me").await.status, 200);
        }
    }

    async fn a_visitor_who_goes_on_to_a_second_factor_keeps_the_lineage(probe: Probe) {
        let account = probe.register("alice").await;
        let factors = [portcullis::Factor::Totp];
        probe.auth.accounts().set_enrolled_factors(account.id(), factors).await.expect("enrolled");
        let mut visitor = visitor(&probe.browser().await).await;
        let old = visitor.clone();
        let answer = visitor.login("alice", PASSWORD).await;
        assert_eq!(answer.json()["result"], "second_factor_required");
        assert_eq!(visitor.get("/pending").await.status, 200);
        check_refused(&old.clone().get("/anonymous").await, 401, "session_ended");
        let lineages = "SELECT COUNT(DISTINCT lineage_id) FROM auth_session WHERE stage <> 0";
        assert_eq!(probe.number(lineages).await, 1);
    }

    async fn a_login_that_fails_leaves_the_visitor_alone(probe: Probe) {
        probe.register("alice").await;
        let mut visitor = visitor(&probe.browser().await).await;
        let lineage = visitor.get("/anonymous").await.text;
        assert_eq!(visitor.login("alice", "wrong horse battery staple").await.status, 401);
        let body = json!({ "username": "alice", "password": PASSWORD });
        assert_eq!(visitor.post("/auth/register", body).await.status, 409);
        assert_eq!(visitor.get("/anonymous").await.text, lineage);
    }

    async fn who_has_a_session_already_starts_no_other(probe: Probe) {
        let (account, mut browser) = probe.signed_in("alice").await;
        check_refused(&browser.post_empty(START).await, 409, "already_signed_in");
        assert_eq!(browser.get("/me").await.status, 200);
        let mut visitor = visitor(&browser).await;
        check_refused(&visitor.post_empty(START).await, 409, "already_signed_in");
        assert_eq!(visitor.get("/anonymous").await.status, 200);
        let start = probe.auth.sessions().start(&account, &ClientInfo::default());
        let pending = start.stage(Stage::PendingSecondFactor).await.expect("a session");
        let mut headers = axum::http::HeaderMap::new();
        pending.apply(&mut headers);
        let line = headers["set-cookie"].to_str().expect("ASCII");
        let token = line.split_once('=').and_then(|(_, rest)| rest.split(';').next());
        let mut pending = browser.with_cookie(token.expect("a token"));
        check_refused(&pending.post_empty(START).await, 409, "already_signed_in");
        // An ended session does not prevent a new one.
        let ended = visitor.clone();
        assert_eq!(visitor.post_empty("/auth/logout").await.status, 204);
        assert_eq!(ended.clone().post_empty(START).await.status, 201);
    }

    async fn each_source_starts_ten_a_minute(probe: Probe) {
        let app = app(&probe.auth);
        // An IPv6 customer has a whole /64, which counts as one source.
        let sources = [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::1"),
            ("::ffff:192.0.2.2", "192.0.2.2"),
        ];
        for (first, second) in sources {
            for number in 0..10 {
                let source = if number % 2 == 0 { first } else { second };
                assert_eq!(start_from(&app, source).await.status(), 201, "{source} {number}");
            }
            let response = start_from(&app, second).await;
            assert_eq!(response.status(), 429, "{second}");
            let wait = response.headers()["retry-after"].to_str().expect("ASCII").to_owned();
            assert!((1..=60).contains(&wait.parse::<u32>().expect("seconds")), "{wait}");
            assert!(!response.headers().contains_key("set-cookie"));
        }
        assert_eq!(start_from(&app, "192.0.2.3").await.status(), 201);
        assert_eq!(start_from(&app, "2001:db8:1:3::1").await.status(), 201);
        probe.clock.advance(MINUTE);
        for (first, _) in sources {
            assert_eq!(start_from(&app, first).await.status(), 201);
        }
    }

    async fn parallel_starts_do_not_pass_the_limit(probe: Probe) {
        let browser = probe.browser().await;
        let mut requests = JoinSet::new();
        for _ in 0..30 {
            let mut twin = browser.clone();
            requests.spawn(async move { twin.post_empty(START).await.status });
        }
        let statuses = requests.join_all().await;
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 10);
        assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 20);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, 10);
    }

    async fn there_are_none_unless_their_route_is_mounted(probe: Probe) {
        let app = Router::new().nest("/auth", probe.auth.routes()).layer(probe.auth.layer());
        let mut browser = Browser::new(serve(app).await);
        assert_eq!(browser.post_empty(START).await.status, 404);
        assert_eq!(browser.get("/auth/methods").await.status, 200);
    }

    async fn a_visitor_may_carry_a_bearer_token(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        let mut browser = probe.browser().await;
        let answer = browser.post(START, json!({ "transport": "bearer" })).await;
        assert_eq!(answer.status, 201);
        assert!(answer.set_cookies().is_empty());
        assert_eq!(answer.json()["token_type"], "Bearer");
        let header = format!("Bearer {}", answer.json()["token"].as_str().expect("a token"));
        let request = browser.raw(Method::GET, "/anonymous").header("authorization", &header);
        assert_eq!(browser.send(request).await.status, 200);
        let request = browser.raw(Method::GET, "/me").header("authorization", &header);
        check_refused(&browser.send(request).await, 401, "not_signed_in");
    }

    async fn another_site_and_a_strange_body_start_nothing(probe: Probe) {
        let mut browser = probe.browser().await;
        let request = browser.raw(Method::POST, START).header("sec-fetch-site", "cross-site");
        check_refused(&browser.send(request).await, 403, "cross_site_request");
        let answer = browser.post(START, json!({ "account_id": 1 })).await;
        check_refused(&answer, 400, "invalid_body");
        let answer = browser.post(START, json!({ "transport": "carrier pigeon" })).await;
        check_refused(&answer, 400, "invalid_body");
        assert_eq!(browser.get(START).await.status, 405);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, 0);
        assert_eq!(browser.post(START, json!({})).await.status, 201);
    }
}

/// Starts an anonymous session from an address.
async fn start_from(app: &Router, address: &str) -> Response {
    let mut request = Request::post(START)
        .header("sec-fetch-site", "same-origin")
        .body(Body::empty())
        .expect("a request");
    request.extensions_mut().insert(PeerAddr(address.parse().expect("an address")));
    let response = app.clone().oneshot(request).await.expect("an answer");
    if let Some(cookie) = response.headers().get("set-cookie") {
        assert!(cookie.to_str().expect("ASCII").starts_with(COOKIE));
    }
    response
}
