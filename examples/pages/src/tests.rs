//! Tests of what `main.rs` describes: over plain HTTP, and in a real browser.

use std::collections::BTreeMap;

use axum::body::to_bytes;
use axum::http::header::{ACCEPT, COOKIE, LOCATION, SET_COOKIE};
use portcullis::MessageKind;
use portcullis::base::clock::MockClock;
use portcullis::config::Delivery;
use portcullis::message::RecordingNotifier;
use portcullis_test_needs::needs;
use tower::ServiceExt;
use url::form_urlencoded::Serializer;

use super::*;

#[expect(unreachable_pub, reason = "it is a module of the tests of the library")]
#[path = "../../../tests/it/support/chromium.rs"]
mod chromium;

const PASSWORD: &str = "correct horse battery";
const NEW: &str = "another horse battery";

struct Service {
    auth: Portcullis,
    clock: MockClock,
    mails: RecordingNotifier,
    _directory: tempfile::TempDir,
}

async fn started(url: &str) -> Service {
    let directory = tempfile::tempdir().expect("a directory");
    let db = connect(&directory).await.expect("a database");
    let (clock, mails) = (MockClock::default(), RecordingNotifier::default());
    let auth = with_pages(Portcullis::builder(db))
        .secret(Secret::generate())
        .public_url(url)
        .clock(clock.clone())
        .notifier(mails.clone())
        .configure(|config| {
            config.mail.delivery = Delivery::ByApplication;
            config.password.danger_cheap_hashing = true;
            config.password.memory_kib = 8;
            config.password.iterations = 1;
        })
        .build()
        .expect("the configuration is right");
    Service { auth, clock, mails, _directory: directory }
}

impl Service {
    /// Returns the path and query of the link in the last mail of a kind.
    async fn link(&self, kind: MessageKind) -> String {
        self.auth.outbox().deliver_due().await.expect("the mails are sent");
        let mail = self.mails.sent_of(kind).pop().expect("a mail");
        let link = mail.value("link").expect("a link");
        let path =
            link.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        path.expect("a path").to_owned()
    }

    fn client(&self) -> Client {
        Client { app: app(&self.auth), cookies: BTreeMap::new() }
    }
}

/// A browser that keeps cookies and follows redirects.
struct Client {
    app: Router,
    cookies: BTreeMap<String, String>,
}

/// Where the browser is, and what it shows.
struct Shown {
    at: String,
    status: u16,
    html: String,
}

impl Shown {
    /// Returns the value of a field of a form.
    fn value(&self, name: &str) -> Option<String> {
        let (_, rest) = self.html.split_once(&format!("name=\"{name}\""))?;
        let (_, value) = rest.split_once('>')?.0.split_once("value=\"")?;
        Some(value.split('"').next()?.replace("&#x2f;", "/"))
    }

    #[track_caller]
    fn is(&self, at: &str, text: &str) {
        assert_eq!((self.at.as_str(), self.status), (at, 200), "{}", self.html);
        assert!(self.html.contains(text), "`{text}` is not in {}", self.html);
    }
}

impl Client {
    async fn get(&mut self, path: &str) -> Shown {
        self.go(request("GET", path, Body::empty())).await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let form = Serializer::new(String::new()).extend_pairs(fields).finish();
        self.go(request("POST", path, Body::from(form))).await
    }

    async fn go(&mut self, mut request: Request) -> Shown {
        loop {
            let at = request.uri().to_string();
            let pairs: Vec<_> =
                self.cookies.iter().map(|(name, v)| format!("{name}={v}")).collect();
            let cookies = pairs.join("; ").parse().expect("a header value");
            request.headers_mut().insert(COOKIE, cookies);
            let response = self.app.clone().oneshot(request).await.expect("an answer");
            let headers = response.headers().clone();
            for line in headers.get_all(SET_COOKIE) {
                let pair = line.to_str().expect("ASCII").split(';').next().unwrap_or_default();
                let (name, value) = pair.split_once('=').expect("a name and a value");
                match value {
                    "" => self.cookies.remove(name),
                    value => self.cookies.insert(name.to_owned(), value.to_owned()),
                };
            }
            assert!(
                headers[CONTENT_SECURITY_POLICY]
                    .to_str()
                    .expect("ASCII")
                    .starts_with("default-src 'none'; style-src")
            );
            assert_eq!(headers[CACHE_CONTROL], "no-store", "{at}");
            let status = response.status().as_u16();
            if let Some(location) = headers.get(LOCATION) {
                assert_eq!(status, 303, "{at}");
                request = self::request("GET", location.to_str().expect("ASCII"), Body::empty());
                continue;
            }
            let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
            let html = String::from_utf8(bytes.to_vec()).expect("a text");
            assert!(
                html.starts_with("<!doctype html>") && !html.contains("<script"),
                "{at}: {html}"
            );
            return Shown { at, status, html };
        }
    }
}

fn request(method: &str, path: &str, body: Body) -> Request {
    Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "text/html,*/*;q=0.8")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", "same-origin")
        .body(body)
        .expect("a request")
}

#[tokio::test]
async fn the_whole_way_over_plain_http() {
    let service = started("http://localhost:3005").await;
    let mut alice = service.client();

    // A page for members leads to the login page, and from there back.
    let login = alice.get("/members").await;
    login.is("/login?next=/members", "Sign in");
    assert_eq!(login.value("next").as_deref(), Some("/members"));

    // Registration: the form comes back with its errors and what was typed.
    let paths = [("next", "/members"), ("back", "/register")];
    let names = [("username", "alice"), ("email", "alice@example.com")];
    let shown = alice
        .post("/auth/register", &[&names[..], &[("password", "s3cret")], &paths].concat())
        .await;
    shown.is("/register?error=invalid_fields&next=/members", "must have at least 15 characters");
    assert_eq!(shown.value("username").as_deref(), Some("alice"));
    assert_eq!(shown.value("password").as_deref(), Some(""));
    let shown = alice
        .post("/auth/register", &[&names[..], &[("password", PASSWORD)], &paths].concat())
        .await;
    shown.is("/members", "Welcome, alice.");

    // The link that confirms the address loses its token at once, and its page still has it.
    let link = service.link(MessageKind::VerifyAddress).await;
    let shown = alice.get(&link).await;
    shown.is("/verify", "Confirm");
    let token = shown.value("token").expect("a token");
    assert!(link.contains(&token));
    let fields = [("token", &*token), ("next", "/?result=done"), ("back", "/verify")];
    alice.post("/auth/verification/confirm", &fields).await.is("/?result=done", "It is done.");

    // Sign out, a wrong password, the right one.
    alice.post("/auth/logout", &[]).await.is("/", "You are not signed in.");
    let login = |password| {
        [("login", "alice"), ("password", password), ("next", "/members"), ("back", "/login")]
    };
    let shown = alice.post("/auth/login", &login("s3cret")).await;
    shown.is("/login?error=invalid_credentials&next=/members", "the name or the password is wrong");
    assert_eq!(shown.value("login").as_deref(), Some("alice"));
    assert_eq!(shown.value("next").as_deref(), Some("/members"));
    assert!(!shown.html.contains("s3cret"));
    alice.post("/auth/login", &login(PASSWORD)).await.is("/members", "Welcome, alice.");

    // Another browser, which this one signs out.
    let mut other = service.client();
    other.post("/auth/login", &login(PASSWORD)).await.is("/members", "Welcome, alice.");
    let shown = alice.get("/sessions").await;
    let (_, end) = shown.html.split_once("action=\"").expect("a form for the other session");
    let end = end.split('"').next().unwrap_or_default().replace("&#x2f;", "/");
    assert!(end.starts_with("/auth/sessions/") && end.ends_with("/end"), "{end}");
    let paths = [("next", "/sessions"), ("back", "/sessions")];
    let shown = alice.post(&end, &paths).await;
    shown.is("/sessions", "(this one)");
    assert!(!shown.html.contains(&*end.replace('/', "&#x2f;")), "{}", shown.html);
    other.get("/members").await.is("/login?next=/members", "Sign in");
    alice
        .post(&end, &paths)
        .await
        .is("/sessions?error=session_not_found&next=/sessions", "role=\"alert\"");

    // A new password.
    let change = |old, again| {
        [
            ("current_password", old),
            ("new_password", NEW),
            ("new_password_again", again),
            ("next", "/?result=done"),
            ("back", "/password"),
        ]
    };
    alice
        .post("/auth/password", &change(PASSWORD, "other"))
        .await
        .is("/password?error=invalid_fields&next=/%3Fresult%3Ddone", "differs");
    alice
        .post("/auth/password", &change(PASSWORD, NEW))
        .await
        .is("/?result=done", "signed in as alice");

    // A dangerous action: after some minutes, it asks for the password again.
    alice.get("/danger").await.is("/danger", "Do it");
    service.clock.advance(RECENT + Duration::from_secs(1));
    let refused = alice.post("/danger", &[]).await;
    assert_eq!((refused.status, refused.at.as_str()), (401, "/danger"));
    assert!(
        refused.html.contains("/reauthenticate?next=/danger")
            || refused.html.contains("&#x2f;reauthenticate?next=&#x2f;danger"),
        "{}",
        refused.html
    );
    alice.get("/danger").await.is("/reauthenticate?next=/danger", "signed in as alice");
    let again =
        |password| [("password", password), ("next", "/danger"), ("back", "/reauthenticate")];
    alice
        .post("/auth/reauthenticate", &again("wrong"))
        .await
        .is("/reauthenticate?error=wrong_password&next=/danger", "the password is wrong");
    alice.post("/auth/reauthenticate", &again(NEW)).await.is("/danger", "Do it");
    alice.post("/danger", &[]).await.is("/?result=done", "It is done.");
}

#[tokio::test]
async fn a_forgotten_password_and_one_that_must_be_changed() {
    let service = started("http://localhost:3005").await;
    let mut alice = service.client();
    let names = [("username", "alice"), ("email", "alice@example.com"), ("password", PASSWORD)];
    alice.post("/auth/register", &names).await.is("/", "signed in as alice");
    alice.post("/auth/logout", &[]).await.is("/", "You are not signed in.");

    // The answer does not reveal whether there is such an account.
    for login in ["alice", "nobody"] {
        let fields = [("login", login), ("next", "/?result=mailed"), ("back", "/forgot")];
        alice
            .post("/auth/password/forgot", &fields)
            .await
            .is("/?result=mailed", "If there is such an account");
    }
    let link = service.link(MessageKind::PasswordReset).await;
    let shown = alice.get(&link).await;
    shown.is("/password/reset", "New password");
    let token = shown.value("token").expect("a token");
    let reset = |password| {
        [
            ("token", &*token),
            ("password", password),
            ("next", "/login"),
            ("back", "/password/reset"),
        ]
    };
    let shown = alice.post("/auth/password/reset", &reset("short")).await;
    shown
        .is("/password/reset?error=invalid_fields&next=/login", "must have at least 15 characters");
    // The page still has the token after the refusal.
    assert_eq!(shown.value("token").as_deref(), Some(&*token));
    alice.post("/auth/password/reset", &reset(NEW)).await.is("/login", "Sign in");
    service
        .client()
        .get("/password/reset")
        .await
        .is("/password/reset", "open the link in your mail again");
    let login = |password| [("login", "alice"), ("password", password), ("back", "/login")];
    alice
        .post("/auth/login", &login(PASSWORD))
        .await
        .is("/login?error=invalid_credentials", "wrong");

    // A sign-in that requires a new password.
    let account = service.auth.accounts().find_by_login("alice").await.expect("found");
    let account = account.expect("alice");
    service.auth.accounts().require_password_change(account.id()).await.expect("required");
    let shown = alice.post("/auth/login", &login(NEW)).await;
    shown.is("/password?result=password_change_required", "New password again");
    assert!(!shown.html.contains("current_password"), "{}", shown.html);
    let fields =
        [("new_password", PASSWORD), ("new_password_again", PASSWORD), ("back", "/password")];
    alice.post("/auth/password", &fields).await.is("/", "signed in as alice");
}

#[tokio::test]
async fn who_may_call_what_is_written_down() {
    let service = started("http://localhost:3005").await;
    let app = app(&service.auth);
    service.auth.test().matrix(&app).await.check("access.txt");
}

#[needs("PORTCULLIS_TEST_CHROMEDRIVER")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_way_in_a_real_browser() {
    let chromedriver = std::env::var("PORTCULLIS_TEST_CHROMEDRIVER").expect("the test needs it");
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let site = format!("http://{}", listener.local_addr().expect("an address"));
    let service = started(&site).await;
    let serve = app(&service.auth).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, serve).await });
    let profile = tempfile::tempdir().expect("a directory");
    let browser = chromium::Chromium::start(&chromedriver, profile.path()).await;
    let at = async |path: &str| assert_eq!(browser.address().await, format!("{site}{path}"));

    // Register, and come to the page for members.
    browser.open(&format!("{site}/register")).await;
    browser.fill("#username", "alice").await;
    browser.fill("#email", "alice@example.com").await;
    browser.fill("#password", "short").await;
    browser.press("main button").await;
    at("/register?error=invalid_fields&next=/members").await;
    assert!(browser.text("em").await.contains("at least 15 characters"));
    assert_eq!(browser.property("#email", "value").await, "alice@example.com");
    assert_eq!(browser.property("#password", "value").await, "");
    browser.fill("#password", PASSWORD).await;
    browser.press("main button").await;
    at("/members").await;
    browser.open(&format!("{site}/")).await;
    browser.press("#sign-out").await;
    at("/").await;
    assert_eq!(browser.text("#who").await, "You are not signed in.");

    // Sign in, first with a wrong password.
    browser.open(&format!("{site}/members")).await;
    at("/login?next=/members").await;
    browser.fill("#login", "alice").await;
    browser.fill("#password", "wrong").await;
    browser.press("main button").await;
    assert_eq!(browser.text("[role=alert]").await, "the name or the password is wrong");
    assert_eq!(browser.property("#login", "value").await, "alice");
    browser.fill("#password", PASSWORD).await;
    browser.press("main button").await;
    at("/members").await;
    assert_eq!(browser.text("#who").await, "Welcome, alice.");

    // A step-up.
    service.clock.advance(RECENT + Duration::from_secs(1));
    browser.open(&format!("{site}/danger")).await;
    at("/reauthenticate?next=/danger").await;
    browser.fill("#password", PASSWORD).await;
    browser.press("main button").await;
    at("/danger").await;
    browser.press("#do-it").await;
    at("/?result=done").await;
    assert_eq!(browser.text("[role=status]").await, "It is done.");

    // The list of sessions, and a new password.
    browser.open(&format!("{site}/sessions")).await;
    assert!(browser.text("#sessions").await.contains("(this one)"));
    browser.press("#end-others").await;
    at("/sessions").await;
    browser.open(&format!("{site}/password")).await;
    browser.fill("#current_password", PASSWORD).await;
    browser.fill("#new_password", NEW).await;
    browser.fill("#new_password_again", NEW).await;
    browser.press("main button").await;
    at("/?result=done").await;
    browser.press("#sign-out").await;

    // A forgotten password: the token is in no address that the browser shows.
    browser.open(&format!("{site}/forgot")).await;
    browser.fill("#login", "alice@example.com").await;
    browser.press("main button").await;
    at("/?result=mailed").await;
    let link = service.link(MessageKind::PasswordReset).await;
    browser.open(&format!("{site}{link}")).await;
    at("/password/reset").await;
    browser.fill("#password", PASSWORD).await;
    browser.press("main button").await;
    at("/login").await;
    browser.fill("#login", "alice").await;
    browser.fill("#password", PASSWORD).await;
    browser.press("main button").await;
    at("/").await;
    assert_eq!(browser.text("#who").await, "You are signed in as alice.");
    browser.quit().await;
}
