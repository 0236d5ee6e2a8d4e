//! A single-page application: its page comes from one port, and the service listens on another one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Html;
use axum::routing::{get, post};
use portcullis::config::{CookieConfig, SameSite};
use portcullis::{Account, Portcullis, Requirement};
use portcullis_test_needs::needs;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_http::cors::CorsLayer;

use crate::on_every_database;
use crate::support::call::{Called, call, request};
use crate::support::chromium::Chromium;
use crate::support::{Backend, PASSWORD, Probe, needed};

const PAGE: &str = "https://app.example.net";
const EVIL: &str = "https://attacker.example";
const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);

/// The CORS layer of the guide.
fn cors(origins: &[&str]) -> CorsLayer {
    let origins = origins.iter().map(|origin| origin.parse::<HeaderValue>().expect("an origin"));
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([CONTENT_TYPE])
}

/// The service, without CORS.
fn service(auth: &Portcullis) -> Router {
    auth.router()
        .route(
            "/me",
            get(async |me: Account| me.username().unwrap_or("?").to_owned()),
            Requirement::signed_in(),
        )
        .route("/save", post(async || "saved"), Requirement::within(FIVE_MINUTES))
        .auth_routes("/auth", auth.routes())
        .into_router()
}

fn trusting(probe: &Probe, origins: &[&str]) -> Portcullis {
    probe.rebuilt(|builder| {
        builder.configure(|config| {
            config.service.trusted_origins = origins.iter().map(|o| (*o).to_owned()).collect();
        })
    })
}

fn preflight(path: &str, method: &str, origin: &str) -> Request<Body> {
    request("OPTIONS", path)
        .header("origin", origin)
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-mode", "cors")
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "content-type")
        .body(Body::empty())
        .expect("a request")
}

fn allowed(answer: &Called) -> Option<(&str, &str)> {
    let text =
        |name| answer.headers.get(name).map(|value: &HeaderValue| value.to_str().expect("ASCII"));
    Some((text("access-control-allow-origin")?, text("access-control-allow-credentials")?))
}

on_every_database! {
    async fn a_preflight_is_answered_before_every_guard(probe: Probe) {
        let app = service(&trusting(&probe, &[PAGE])).layer(cors(&[PAGE]));
        for (path, method) in [("/me", "GET"), ("/save", "POST"), ("/auth/login", "POST"), ("/auth/password", "PUT")] {
            let (answer, statements) = probe.statements(call(&app, preflight(path, method, PAGE))).await;
            assert_eq!((answer.status, statements), (200, 0), "{path}");
            assert_eq!(allowed(&answer), Some((PAGE, "true")), "{path}");
            let methods = answer.headers["access-control-allow-methods"].to_str().expect("ASCII");
            assert!(methods.contains(method), "{path} {methods}");
            // A browser stops if the answer to the preflight does not name its origin.
            let answer = call(&app, preflight(path, method, EVIL)).await;
            assert_eq!(allowed(&answer), None, "{path}");
        }
        // Inside of a guard, the layer does not get the preflight.
        let inside = Router::new()
            .route("/me", get(async || "me"))
            .layer(cors(&[PAGE]))
            .route_layer(probe.auth.require(Requirement::signed_in()))
            .layer(probe.auth.layer());
        let answer = call(&inside, preflight("/me", "GET", PAGE)).await;
        assert_eq!((answer.status, allowed(&answer)), (401, None));
    }

    async fn the_page_reads_every_answer_and_other_pages_read_none(probe: Probe) {
        let auth = trusting(&probe, &[PAGE]);
        let account = probe.register("alice").await;
        let cookie = auth.test().login_as(&account).cookie().await.expect("a session");
        let app = service(&auth).layer(cors(&[PAGE]));
        let send = async |method: &str, path: &str, origin: &str, cookie: Option<&str>| {
            let mut request = request(method, path).header("origin", origin).header("sec-fetch-site", "same-site");
            if let Some(cookie) = cookie {
                request = request.header("cookie", cookie);
            }
            call(&app, request.body(Body::empty()).expect("a request")).await
        };
        // Success, and refusals whose code the page has to read.
        let me = send("GET", "/me", PAGE, Some(&cookie)).await;
        assert_eq!((me.text.as_str(), allowed(&me)), ("alice", Some((PAGE, "true"))));
        let nobody = send("GET", "/me", PAGE, None).await;
        assert_eq!((nobody.status, allowed(&nobody)), (401, Some((PAGE, "true"))));
        let step_up = send("POST", "/save", PAGE, Some(&cookie)).await;
        assert_eq!(step_up.code(), "insufficient_user_authentication");
        assert_eq!(allowed(&step_up), Some((PAGE, "true")));
        // A page that is not listed may neither write nor read.
        let evil = send("POST", "/save", EVIL, Some(&cookie)).await;
        assert_eq!((evil.status, evil.code().as_str()), (403, "cross_site_request"));
        assert_eq!(allowed(&evil), None);
        assert_eq!(allowed(&send("GET", "/me", EVIL, Some(&cookie)).await), None);
    }

    async fn the_two_lists_of_origins_do_not_replace_each_other(probe: Probe) {
        let account = probe.register("alice").await;
        let logout = |cookie: &str| {
            let request = request("POST", "/auth/logout").header("origin", PAGE);
            let request = request.header("sec-fetch-site", "same-site").header("cookie", cookie);
            request.body(Body::empty()).expect("a request")
        };
        // Only CORS: the page may read, and may not write.
        let auth = trusting(&probe, &[]);
        let cookie = auth.test().login_as(&account).cookie().await.expect("a session");
        let answer = call(&service(&auth).layer(cors(&[PAGE])), logout(&cookie)).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "cross_site_request"));
        assert_eq!(allowed(&answer), Some((PAGE, "true")));
        // Only the list of trusted origins: the page may write, and may not read.
        let auth = trusting(&probe, &[PAGE]);
        let cookie = auth.test().login_as(&account).cookie().await.expect("a session");
        let answer = call(&service(&auth), logout(&cookie)).await;
        assert_eq!((answer.status, allowed(&answer)), (204, None));
    }
}

/// A request that the service received: path, `Sec-Fetch-Site`, whether it had the session cookie,
/// and the status of the answer.
type Log = Arc<Mutex<Vec<(String, String, bool, u16)>>>;

async fn noted(State(log): State<Log>, request: Request, next: Next) -> axum::response::Response {
    let (path, site, cookie) = {
        let text = |name: &str| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let path = request.uri().path().to_owned();
        (path, text("sec-fetch-site"), text("cookie").contains("__Host-session"))
    };
    let response = next.run(request).await;
    let status = response.status().as_u16();
    log.lock().expect("nothing panics while it is held").push((path, site, cookie, status));
    response
}

async fn port() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

fn serve(listener: TcpListener, app: Router) {
    let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
}

/// Serves the static page, which calls this service, and returns its port.
async fn page(service: &str) -> u16 {
    const SCRIPT: &str = include_str!("../../src/guide/single_page.js");
    let html = include_str!("support/single_page.html").replace("SERVICE", service);
    let app = Router::new()
        .route("/", get(move || async move { Html(html) }))
        .route("/single_page.js", get(async || ([("content-type", "text/javascript")], SCRIPT)));
    let (listener, port) = port().await;
    serve(listener, app);
    port
}

/// Serves the service for two pages: one on the same site, one on another. Returns the received
/// requests.
async fn site(probe: &Probe, cookie: impl FnOnce(&mut CookieConfig)) -> (String, u16, Log) {
    let (listener, port) = port().await;
    let address = format!("http://127.0.0.1:{port}");
    let page = page(&address).await;
    let origins = [format!("http://127.0.0.1:{page}"), format!("http://localhost:{page}")];
    let origins: Vec<_> = origins.iter().map(String::as_str).collect();
    let auth = probe.rebuilt(|builder| {
        builder.configure(|config| {
            config.service.trusted_origins = origins.iter().map(|o| (*o).to_owned()).collect();
            cookie(&mut config.cookie);
        })
    });
    let log = Log::default();
    let app = service(&auth).layer(cors(&origins));
    let app = app.layer(from_fn_with_state(Arc::clone(&log), noted));
    serve(listener, app);
    (address, page, log)
}

async fn ask(browser: &Chromium, method: &str, path: &str, body: Option<Value>) -> Value {
    let body = body.map_or_else(|| "undefined".to_owned(), |body| body.to_string());
    browser.run(&format!("return await window.ask('{method}', '{path}', {body});")).await
}

fn credentials() -> Option<Value> {
    Some(json!({ "login": "alice", "password": PASSWORD }))
}

fn last(log: &Log) -> (String, String, bool, u16) {
    log.lock().expect("nothing panics while it is held").last().cloned().expect("a request")
}

/// Runs a test in a browser.
async fn run<F: Future<Output = ()>>(test: impl FnOnce(Probe, Chromium) -> F) {
    let path = needed("PORTCULLIS_TEST_CHROMEDRIVER");
    let profile = tempfile::tempdir().expect("a directory");
    let browser = Chromium::start(&path, profile.path()).await;
    crate::support::probe::run(Backend::Sqlite, async |probe| test(probe, browser).await).await;
}

#[needs("PORTCULLIS_TEST_CHROMEDRIVER")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_on_another_port_signs_in_and_out_and_a_third_one_can_do_nothing() {
    run(async |probe, browser| {
        probe.register("alice").await;
        let (service, port, log) = site(&probe, |_| {}).await;
        browser.open(&format!("http://127.0.0.1:{port}/")).await;
        assert_eq!(ask(&browser, "GET", "/me", None).await, "not_signed_in");
        assert_eq!(browser.text("#login").await, "not_signed_in");
        let wrong = Some(json!({ "login": "alice", "password": "wrong" }));
        assert_eq!(ask(&browser, "POST", "/auth/login", wrong).await, "invalid_credentials");
        assert_eq!(ask(&browser, "POST", "/auth/login", credentials()).await["result"], "session");
        assert_eq!(ask(&browser, "GET", "/me", None).await, "alice");
        // Two ports of one host are one site, so the browser sends the `Lax` cookie.
        assert_eq!(last(&log), ("/me".to_owned(), "same-site".to_owned(), true, 200));
        assert_eq!(ask(&browser, "POST", "/save", None).await, "saved");
        // Later the service asks for the password again. Then the same request succeeds.
        probe.clock.advance(FIVE_MINUTES + Duration::from_secs(1));
        let refused = ask(&browser, "POST", "/save", None).await;
        assert_eq!(refused, "insufficient_user_authentication");
        browser.run(&format!("window.password = '{PASSWORD}'; return 0;")).await;
        assert_eq!(ask(&browser, "POST", "/save", None).await, "saved");

        // A page on a third port, in the same browser. The browser sends the cookie with its
        // requests too.
        let third = page(&service).await;
        browser.open(&format!("http://127.0.0.1:{third}/")).await;
        assert_eq!(ask(&browser, "GET", "/me", None).await, "TypeError");
        assert_eq!(last(&log), ("/me".to_owned(), "same-site".to_owned(), true, 200));
        let before = log.lock().expect("nothing panics while it is held").len();
        assert_eq!(ask(&browser, "POST", "/auth/logout", Some(json!({}))).await, "TypeError");
        let seen = log.lock().expect("nothing panics while it is held")[before..].to_vec();
        assert!(seen.iter().all(|(_, _, cookie, _)| !cookie), "only a preflight: {seen:?}");
        // A form needs no preflight, so the service refuses it.
        let form = format!(
            "await fetch('{service}/save', {{ method: 'POST', mode: 'no-cors', \
             credentials: 'include', body: new URLSearchParams({{ a: '1' }}) }}); return 0;"
        );
        assert_eq!(browser.run(&form).await, 0);
        assert_eq!(last(&log), ("/save".to_owned(), "same-site".to_owned(), true, 403));

        // The listed page is still signed in, and signs out.
        browser.open(&format!("http://127.0.0.1:{port}/")).await;
        assert_eq!(ask(&browser, "GET", "/me", None).await, "alice");
        assert_eq!(ask(&browser, "POST", "/auth/logout", None).await, "");
        assert_eq!(ask(&browser, "GET", "/me", None).await, "not_signed_in");
        browser.quit().await;
    })
    .await;
}

#[needs("PORTCULLIS_TEST_CHROMEDRIVER")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_site_needs_a_partitioned_cookie() {
    run(async |probe, browser| {
        probe.register("alice").await;
        // `localhost` and `127.0.0.1` are two sites.
        let (_, port, log) = site(&probe, |_| {}).await;
        browser.open(&format!("http://localhost:{port}/")).await;
        assert_eq!(ask(&browser, "POST", "/auth/login", credentials()).await["result"], "session");
        assert_eq!(ask(&browser, "GET", "/me", None).await, "not_signed_in");
        assert_eq!(last(&log), ("/me".to_owned(), "cross-site".to_owned(), false, 401));
        // Chromium stores no cookie of another site, except a partitioned one.
        let (_, port, log) = site(&probe, |cookie| cookie.same_site = SameSite::None).await;
        browser.open(&format!("http://localhost:{port}/")).await;
        assert_eq!(ask(&browser, "POST", "/auth/login", credentials()).await["result"], "session");
        assert_eq!(ask(&browser, "GET", "/me", None).await, "not_signed_in");
        assert_eq!(last(&log), ("/me".to_owned(), "cross-site".to_owned(), false, 401));
        let partitioned = |cookie: &mut CookieConfig| {
            cookie.same_site = SameSite::None;
            cookie.partitioned = true;
        };
        let (_, port, log) = site(&probe, partitioned).await;
        browser.open(&format!("http://localhost:{port}/")).await;
        assert_eq!(ask(&browser, "POST", "/auth/login", credentials()).await["result"], "session");
        assert_eq!(ask(&browser, "GET", "/me", None).await, "alice");
        assert_eq!(last(&log), ("/me".to_owned(), "cross-site".to_owned(), true, 200));
        assert_eq!(ask(&browser, "POST", "/save", None).await, "saved");
        assert_eq!(ask(&browser, "POST", "/auth/logout", None).await, "");
        assert_eq!(ask(&browser, "GET", "/me", None).await, "not_signed_in");
        browser.quit().await;
    })
    .await;
}
