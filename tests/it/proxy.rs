//! Two services behind real proxies, with the configurations that the guide prints. One kind of
//! database is enough, because these tests are about the path to the service.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis::config::Unauthenticated;
use portcullis::{Identity, Portcullis, Session};
use portcullis_test_needs::needs;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::browser::{Answer, COOKIE, send};
use crate::support::probe::{app, serve};
use crate::support::program::Program;
use crate::support::proxy::{self, Kind};
use crate::support::{Backend, Browser, PASSWORD, Probe};

/// The address of the client. The proxy connects to the services from 127.0.0.1.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// So long that only an announcement inside the process ends the wait in time.
const RARELY: Duration = Duration::from_secs(24 * 60 * 60);

/// A browser that uses `https://example.com`, and the address of the proxy.
struct Site {
    browser: Browser,
    proxy: Program,
    probe: Probe,
    first: Portcullis,
}

impl Site {
    /// Builds a request, with a header that a client invents.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.browser
            .request(method, path)
            .header("host", "example.com")
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-forwarded-prefix", "/evil")
    }

    async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    async fn sign_in(&mut self) {
        let login = json!({ "login": "alice", "password": PASSWORD });
        let request = self.request(Method::POST, "/auth/login").json(&login);
        let answer = self.browser.send(request).await;
        assert_eq!(answer.status, 200, "{} {}", answer.text, self.proxy.log());
    }
}

/// Starts two services and a proxy in front of them. The second service has the prefix `/shop`.
async fn behind<F: Future<Output = ()>>(kind: Kind, test: impl FnOnce(Site) -> F) {
    crate::support::probe::run(Backend::Sqlite, async |probe| {
        let service = |url: &str, cookie: &str| {
            probe.rebuilt(|builder| {
                builder.public_url(url).configure(|config| {
                    let proxy = "127.0.0.1/32".parse().expect("a network");
                    config.proxies.networks = vec![proxy];
                    config.cookie.name = cookie.to_owned();
                    config.service.unauthenticated =
                        Unauthenticated::LoginPage("/login".to_owned());
                })
            })
        };
        let first = service("https://example.com", "session");
        let second = service("https://example.com/shop", "shop");
        let live = Router::new()
            .route("/live/stream", get(stream))
            .route("/live/socket", get(socket))
            .route("/live/headers", get(headers))
            .layer(first.layer());
        let guarded = Router::new()
            .route("/cart", get(|| async { "cart" }))
            .route_layer(second.require(portcullis::Requirement::signed_in()))
            .layer(second.layer());
        let app_at = serve(app(&first).merge(live)).await;
        let shop_at = serve(app(&second).merge(guarded)).await;
        let proxy = proxy::start(kind, app_at, shop_at).await;
        let browser = Browser::from_source(proxy.address, CLIENT);
        probe.register("alice").await;
        test(Site { browser, proxy, probe, first }).await;
    })
    .await;
}

/// Sends an event, and another one when the session ends.
async fn stream(auth: Portcullis, identity: Identity) -> impl IntoResponse {
    let ended = auth.session_end(&identity, RARELY);
    let last = futures_util::stream::once(async move {
        let _ = ended.await;
        Ok::<_, std::convert::Infallible>(Bytes::from_static(b"data: signed out\n\n"))
    });
    let first = futures_util::stream::iter([Ok(Bytes::from_static(b"data: hello\n\n"))]);
    let body = Body::from_stream(futures_util::StreamExt::chain(first, last));
    ([("content-type", "text/event-stream")], body)
}

/// Opens a WebSocket (RFC 6455 section 4.2.2) and closes it when the session ends.
async fn socket(
    auth: Portcullis,
    identity: Identity,
    _: Session,
    mut request: Request,
) -> Response {
    let key = request.headers()["sec-websocket-key"].as_bytes().to_vec();
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = data_encoding::BASE64.encode(&digest.finalize());
    let upgrade = hyper::upgrade::on(&mut request);
    let ended = auth.session_end(&identity, RARELY);
    tokio::spawn(async move {
        let open = upgrade.await;
        let _ = ended.await;
        drop(open);
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", accept.parse().expect("a header value"));
    response
}

/// Shows what the proxy passes on.
async fn headers(headers: HeaderMap) -> String {
    let shown = |name: &str| {
        let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
        values.collect::<Vec<_>>().join(", ")
    };
    let names = ["host", "x-forwarded-prefix", "authorization", "connection", "upgrade"];
    names.map(|name| format!("{name}={}", shown(name))).join("; ")
}

/// Opens a WebSocket through the proxy, from a page of this origin. Returns the status line.
async fn open_socket(at: SocketAddr, cookie: &str, origin: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(at).await.expect("the proxy answers");
    // Chromium sends no `Sec-Fetch-Site` with a handshake.
    let request = format!(
        "GET /live/socket HTTP/1.1\r\nHost: example.com\r\nOrigin: {origin}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: {COOKIE}={cookie}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8(head).expect("a text");
    (stream, head.lines().next().unwrap_or_default().to_owned())
}

async fn people_sign_in_from_their_own_address(mut site: Site) {
    site.sign_in().await;
    let me = site.get("/me").await;
    assert_eq!(me.status, 200, "{}", me.text);
    assert_eq!(me.headers["strict-transport-security"], "max-age=31536000");
    // A client cannot choose its address or a prefix, because the proxy sets both.
    let sessions = site.get("/auth/sessions").await.json();
    let mut sessions = sessions["sessions"].as_array().expect("a list").iter();
    let this = sessions.find(|session| session["current"] == true).expect("this one");
    assert_eq!(this["address"], "127.0.0.2");
    let seen = site.get("/live/headers").await.text;
    assert!(seen.starts_with("host=example.com; x-forwarded-prefix=; authorization=;"), "{seen}");
    let findings: Vec<_> = site.first.audit().iter().map(|finding| finding.code).collect();
    for code in ["no_peer_address", "forwarded_without_proxy", "insecure_cookies"] {
        assert!(!findings.contains(&code), "{findings:?}");
    }
    // The service uses plain http, but its cookie is for https. A page of the site may post without
    // `Sec-Fetch-Site`. A page of another site may not.
    let login = json!({ "login": "alice", "password": PASSWORD });
    for (origin, status) in [("https://example.com", 200), ("https://evil.example", 403)] {
        let request = site.browser.raw(Method::POST, "/auth/login").header("host", "example.com");
        let answer = send(request.header("origin", origin).json(&login)).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        let line = answer.set_cookies().into_iter().find(|line| line.starts_with(COOKIE));
        assert_eq!(line.is_some(), status == 200);
        assert!(line.is_none_or(|line| line.contains("Secure") && line.contains("Path=/")));
    }
}

async fn a_prefix_is_removed_from_requests_and_added_to_redirects(mut site: Site) {
    site.sign_in().await;
    let navigate =
        |path: &str| site.request(Method::GET, path).header("sec-fetch-mode", "navigate");
    let answer = send(navigate("/shop/cart?page=2")).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    assert_eq!(answer.headers["location"], "/shop/login?next=/shop/cart%3Fpage%3D2");
    assert_eq!(send(navigate("/shop/public")).await.text, "public");
    // Each service has its own cookie.
    let login = json!({ "login": "alice", "password": PASSWORD });
    let request = site.request(Method::POST, "/shop/auth/login").json(&login);
    let answer = send(request).await;
    assert_eq!((answer.status, answer.cookie()), (200, None), "{}", answer.text);
    let shop = answer.cookie_of("__Host-shop").expect("a session of the shop");
    let both = format!(
        "{COOKIE}={}; __Host-shop={shop}",
        site.browser.cookie.as_deref().unwrap_or_default()
    );
    for path in ["/me", "/shop/me", "/shop/cart"] {
        let request = site.browser.raw(Method::GET, path).header("host", "example.com");
        let answer = send(request.header("cookie", &both)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    // Without the cookie of the shop, nobody is signed in there.
    assert_eq!(site.get("/shop/me").await.status, 401);
    // The path without the slash at its end redirects to the path with the slash.
    let answer = site.get("/shop").await;
    let location = answer.headers["location"].to_str().expect("a path");
    assert!((300..400).contains(&answer.status) && location.ends_with("/shop/"), "{location}");
}

async fn an_event_stream_ends_when_its_user_signs_out(mut site: Site) {
    site.sign_in().await;
    let mut answer = site.request(Method::GET, "/live/stream").send().await.expect("an answer");
    assert_eq!(answer.chunk().await.expect("a chunk").as_deref(), Some(&b"data: hello\n\n"[..]));
    let request = site.request(Method::POST, "/auth/logout");
    assert_eq!(site.browser.send(request).await.status, 204);
    let last = answer.chunk().await.expect("a chunk");
    assert_eq!(last.as_deref(), Some(&b"data: signed out\n\n"[..]));
    assert_eq!(answer.chunk().await.expect("the end"), None);
    assert_eq!(site.get("/me").await.status, 401);
}

async fn a_websocket_passes_and_ends_when_its_user_signs_out(mut site: Site) {
    site.sign_in().await;
    let cookie = site.browser.cookie.clone().expect("a cookie");
    let at = site.proxy.address;
    let (_, status) = open_socket(at, &cookie, "https://evil.example").await;
    assert!(status.starts_with("HTTP/1.1 403"), "{status}");
    let (mut stream, status) = open_socket(at, &cookie, "https://example.com").await;
    assert!(status.starts_with("HTTP/1.1 101"), "{status}");
    let request = site.request(Method::POST, "/auth/logout");
    assert_eq!(site.browser.send(request).await.status, 204);
    let end = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut [0; 16])).await;
    assert!(matches!(end.expect("it ends"), Ok(0) | Err(_)));
    let (_, status) = open_socket(at, &cookie, "https://example.com").await;
    assert!(status.starts_with("HTTP/1.1 401"), "{status}");
    let live = "SELECT COUNT(*) FROM auth_session WHERE ended_at IS NULL";
    assert_eq!(site.probe.number(live).await, 1, "only the session of the registration is left");
}

macro_rules! behind_each_proxy {
    ($($name:ident;)+) => {
        mod nginx {
            use super::*;
            $(
                #[needs("PORTCULLIS_TEST_NGINX")]
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    behind(Kind::Nginx, super::$name).await;
                }
            )+
        }

        mod caddy {
            use super::*;
            $(
                #[needs("PORTCULLIS_TEST_CADDY")]
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    behind(Kind::Caddy, super::$name).await;
                }
            )+
        }
    };
}

behind_each_proxy! {
    people_sign_in_from_their_own_address;
    a_prefix_is_removed_from_requests_and_added_to_redirects;
    an_event_stream_ends_when_its_user_signs_out;
    a_websocket_passes_and_ends_when_its_user_signs_out;
}

#[needs("PORTCULLIS_TEST_NGINX")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_of_the_proxy_does_not_reach_the_service() {
    behind(Kind::NginxWithPassword, async |mut site: Site| {
        let answer = site.get("/public").await;
        assert_eq!(answer.status, 401);
        assert!(answer.headers["www-authenticate"].to_str().expect("text").starts_with("Basic"));
        let with = |request: RequestBuilder| request.basic_auth("tester", Some("stage"));
        let seen = send(with(site.request(Method::GET, "/live/headers"))).await;
        assert!(seen.text.contains("authorization=;"), "{}", seen.text);
        // The other headers are still set.
        assert!(seen.text.starts_with("host=example.com; x-forwarded-prefix=;"), "{}", seen.text);
        // The password of the proxy does not count as a sign-in.
        let request = with(site.request(Method::POST, "/auth/login"));
        let answer = site.browser.send(request).await;
        assert_eq!(answer.status, 415, "{}", answer.text);
        assert_eq!(site.probe.number("SELECT COUNT(*) FROM auth_attempt").await, 0);
        let login = json!({ "login": "alice", "password": PASSWORD });
        let request = with(site.request(Method::POST, "/auth/login")).json(&login);
        assert_eq!(site.browser.send(request).await.status, 200);
        let me = send(with(site.request(Method::GET, "/me"))).await;
        assert_eq!(me.status, 200, "{}", me.text);
    })
    .await;
}
