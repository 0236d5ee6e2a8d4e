//! What a real browser does with the session cookie. These tests use one database, because they
//! test the browser.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use portcullis::Session;
use portcullis_test_needs::needs;
use sha1::{Digest, Sha1};

use crate::support::browser::COOKIE;
use crate::support::chromium::Chromium;
use crate::support::probe::{app, serve};
use crate::support::{Backend, PASSWORD, Probe, needed};

const LIFETIME: Duration = Duration::from_secs(15 * 60);
const REPLAY: Duration = Duration::from_secs(90);

/// Runs a test in a browser.
async fn run<F: Future<Output = ()>>(test: impl FnOnce(Probe, String) -> F) {
    let path = needed("PORTCULLIS_TEST_CHROMEDRIVER");
    crate::support::probe::run(Backend::Sqlite, async |probe| test(probe, path).await).await;
}

/// The application with a route that shows which generation the browser sends, and a WebSocket.
fn site(probe: &Probe) -> Router {
    app(&probe.auth)
        .route("/shown", get(shown))
        .merge(Router::new().route("/socket", get(socket)).layer(probe.auth.layer()))
}

async fn shown(headers: HeaderMap) -> String {
    let cookies = headers.get("cookie").and_then(|line| line.to_str().ok()).unwrap_or_default();
    let token = cookies.split("; ").find_map(|pair| pair.strip_prefix(&format!("{COOKIE}=")));
    let Some(payload) = token.and_then(|token| token.split('.').nth(1)) else {
        return "none".to_owned();
    };
    let payload = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).expect("base64url");
    let payload: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
    payload["gen"].to_string()
}

/// Opens a WebSocket (RFC 6455 section 4.2.2) and keeps it open without sending anything.
async fn socket(_: Session, mut request: Request) -> Response {
    let key = request.headers()["sec-websocket-key"].as_bytes().to_vec();
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = data_encoding::BASE64.encode(&digest.finalize());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let _open = upgrade.await;
        std::future::pending::<()>().await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", accept.parse().expect("a header value"));
    response
}

async fn sign_in(browser: &Chromium, site: &str) {
    browser.open(&format!("{site}/public")).await;
    let script = format!(
        "const answer = await fetch('/auth/login', {{ method: 'POST', \
         headers: {{ 'content-type': 'application/json' }}, \
         body: JSON.stringify({{ login: 'alice', password: '{PASSWORD}' }}) }}); \
         return answer.status;"
    );
    assert_eq!(browser.run(&script).await, 200);
}

async fn thefts(probe: &Probe) -> i64 {
    let kind = "session_theft_suspected";
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

#[needs("PORTCULLIS_TEST_CHROMEDRIVER")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_was_killed_before_it_wrote_its_cookies_stays_signed_in() {
    run(async |probe, chromedriver| {
        let account = probe.register("alice").await.id().to_string();
        let site = format!("http://{}", serve(site(&probe)).await);
        let profile = tempfile::tempdir().expect("a directory");
        let start = async || {
            let browser = Chromium::start(&chromedriver, profile.path()).await;
            browser.open(&format!("{site}/public")).await;
            browser
        };
        let browser = start().await;
        sign_in(&browser, &site).await;
        browser.quit().await;

        // On a busy machine the browser may save its cookies before it is killed. Then the test
        // repeats this.
        let mut shown = 0;
        let browser = loop {
            let browser = start().await;
            assert_eq!(browser.fetch("/me").await, (200, account.clone()));
            probe.clock.advance(LIFETIME);
            assert_eq!(browser.fetch("/rotated").await, (200, "true".to_owned()));
            assert_eq!(browser.fetch("/shown").await, (200, (shown + 1).to_string()));
            assert_eq!(browser.fetch("/me").await, (200, account.clone()));
            browser.kill();

            let browser = start().await;
            let (_, found) = browser.fetch("/shown").await;
            if found == shown.to_string() {
                // The old cookie is back, because it was the one on disk.
                break browser;
            }
            shown += 1;
            assert!(shown < 10, "it always writes its cookies before it is killed");
            browser.quit().await;
        };
        probe.clock.advance(Duration::from_secs(60 * 60));
        assert_eq!(browser.fetch("/rotated").await, (200, "true".to_owned()));
        assert_eq!(browser.fetch("/shown").await, (200, (shown + 1).to_string()));
        for _ in 0..3 {
            probe.clock.advance(REPLAY);
            assert_eq!(browser.fetch("/me").await, (200, account.clone()));
        }
        probe.clock.advance(LIFETIME);
        assert_eq!(browser.fetch("/me").await, (200, account.clone()));
        assert_eq!(browser.fetch("/shown").await, (200, (shown + 2).to_string()));
        assert_eq!(thefts(&probe).await, 0);
        browser.quit().await;
    })
    .await;
}

#[needs("PORTCULLIS_TEST_CHROMEDRIVER")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_takes_the_next_token_from_the_answer_to_a_websocket_handshake() {
    run(async |probe, chromedriver| {
        probe.register("alice").await;
        let site = format!("http://{}", serve(site(&probe)).await);
        let profile = tempfile::tempdir().expect("a directory");
        let browser = Chromium::start(&chromedriver, profile.path()).await;
        sign_in(&browser, &site).await;
        assert_eq!(browser.fetch("/shown").await, (200, "0".to_owned()));
        let connect = "const socket = new WebSocket('ws://' + location.host + '/socket'); \
             return await new Promise(done => { \
               socket.onopen = () => done('open'); socket.onerror = () => done('refused'); });";
        assert_eq!(browser.run(connect).await, "open");
        assert_eq!(browser.fetch("/shown").await, (200, "0".to_owned()), "it was not due");
        probe.clock.advance(LIFETIME);
        assert_eq!(browser.run(connect).await, "open");
        assert_eq!(browser.fetch("/shown").await, (200, "1".to_owned()));
        assert_eq!(browser.fetch("/rotated").await, (200, "false".to_owned()));
        probe.clock.advance(REPLAY);
        assert_eq!(browser.fetch("/me").await.0, 200);
        assert_eq!(thefts(&probe).await, 0);
        browser.quit().await;
    })
    .await;
}
