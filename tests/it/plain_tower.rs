//! The layers without axum: on a plain hyper server, around a function.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::header::SET_COOKIE;
use axum::http::{Request, Response};
use axum_core::extract::FromRequestParts;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use portcullis::{
    Account, ClientInfo, Identity, PeerAddr, Permission, Portcullis, Rejection, Requirement,
};
use reqwest::Method;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::on_every_database;
use crate::support::browser::send;
use crate::support::call::cookie_of;
use crate::support::{Browser, Probe};

fn permission(text: &str) -> Requirement {
    Requirement::permission(text).expect("a permission")
}

/// Returns who sends the request and from where. A service can learn this without axum.
async fn who(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (mut parts, _) = request.into_parts();
    let identity = Identity::from_request_parts(&mut parts, &()).await;
    let client = ClientInfo::from_request_parts(&mut parts, &()).await;
    let name = identity.ok().and_then(|who| who.account().username().map(str::to_owned));
    let address = client.ok().and_then(|client| client.address());
    Ok(Response::new(Full::from(format!("{name:?} {address:?}"))))
}

/// Serves a guarded function with hyper alone.
async fn serve(auth: Portcullis) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let by_path = |parts: &axum::http::request::Parts| {
                parts.uri.path().strip_prefix("/docs/").map(str::to_owned)
            };
            let service = ServiceBuilder::new()
                .map_request(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(PeerAddr(peer.ip()));
                    request
                })
                .layer(auth.layer())
                .layer(auth.require(Requirement::signed_in()))
                .layer(auth.require(permission("doc:read")).on(by_path))
                .service(service_fn(who));
            let service = TowerToHyperService::new(service);
            tokio::spawn(async move {
                let connection = auto::Builder::new(TokioExecutor::new());
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

async fn session(probe: &Probe, account: &Account) -> String {
    let cookie = probe.auth.test().login_as(account).cookie().await.expect("a session");
    cookie.split_once('=').expect("a pair").1.to_owned()
}

on_every_database! {
    async fn a_bare_hyper_server_is_guarded(probe: Probe) {
        let alice = probe.register("alice").await;
        probe.auth.roles().create("reader", ["doc:read:1,2"]).await.expect("a role");
        probe.auth.roles().grant(alice.id(), "reader").await.expect("it is granted");
        let stranger = Browser::new(serve(probe.auth.clone()).await);
        let mut browser = stranger.with_cookie(&session(&probe, &alice).await);

        for path in ["/docs/1", "/docs/2"] {
            let answer = browser.get(path).await;
            let expected = (200, "Some(\"alice\") Some(127.0.0.1)");
            assert_eq!((answer.status, answer.text.as_str()), expected);
        }
        for (path, status, code) in [
            ("/docs/3", 403, "denied"),
            ("/docs/*", 404, "not_found"),
            ("/docs/1,2", 404, "not_found"),
            ("/elsewhere", 404, "not_found"),
        ] {
            let answer = browser.get(path).await;
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            let answer = stranger.clone().get(path).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "not_signed_in"), "{path}");
            assert!(answer.headers.contains_key("www-authenticate"));
        }
        let request = browser.request(Method::POST, "/docs/1").body("any body");
        assert_eq!(send(request).await.status, 200);
        let cookie = format!("__Host-session={}", browser.cookie.as_deref().expect("a cookie"));
        let request = browser
            .raw(Method::POST, "/docs/1")
            .header("cookie", cookie)
            .header("sec-fetch-site", "cross-site");
        assert_eq!(send(request).await.code(), "cross_site_request");
    }

    async fn a_token_is_rotated_without_axum(probe: Probe) {
        let alice = probe.register("alice").await;
        probe.auth.roles().create("reader", ["doc:read"]).await.expect("a role");
        probe.auth.roles().grant(alice.id(), "reader").await.expect("it is granted");
        let mut browser = Browser::new(serve(probe.auth.clone()).await);
        browser.cookie = Some(session(&probe, &alice).await);
        let before = browser.cookie.clone();
        probe.clock.advance(Duration::from_secs(16 * 60));
        let answer = browser.get("/docs/1").await;
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 1));
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_ne!(browser.cookie, before);
        assert_eq!(browser.get("/docs/1").await.status, 200);
    }

    async fn the_layer_takes_any_body_and_leaves_the_service_its_own(probe: Probe) {
        /// A body type that no library knows.
        struct Strange;

        let alice = probe.register("alice").await;
        let inner = service_fn(async |request: Request<Strange>| {
            let signed_in = request.headers().contains_key("cookie");
            Ok::<_, Infallible>(Response::new((Strange, signed_in)))
        });
        let service = ServiceBuilder::new().layer(probe.auth.layer()).service(inner);
        let cookie = format!("__Host-session={}", session(&probe, &alice).await);
        let request = || Request::builder().uri("/").header("cookie", &cookie).body(Strange);
        let request = request().expect("a request");
        let (response, statements) = probe.statements(service.oneshot(request)).await;
        let response = response.expect("it cannot fail");
        assert_eq!(statements, 0, "nobody asked who it is");
        assert!(response.body().1 && !response.headers().contains_key(SET_COOKIE));
    }

    async fn a_guard_leaves_the_typed_error_for_layers_further_out(probe: Probe) {
        let inner = service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        });
        let guarded = ServiceBuilder::new()
            .layer(probe.auth.layer())
            .layer(probe.auth.require(permission("doc:read")))
            .service(inner);
        let response = guarded.clone().oneshot(Request::new(())).await.expect("it cannot fail");
        let rejection = response.extensions().get::<Rejection>().expect("the typed error");
        assert_eq!(rejection.problem().code(), "not_signed_in");

        let forgotten = probe.auth.require(permission("doc:read"));
        let forgotten = ServiceBuilder::new().layer(forgotten).service(inner);
        let response = forgotten.oneshot(Request::new(())).await.expect("it cannot fail");
        assert_eq!(response.status(), 500);
        let rejection = response.extensions().get::<Rejection>().expect("the typed error");
        assert!(rejection.to_string().contains("`.layer(auth.layer())`"), "{rejection}");

        let alice = probe.register("alice").await;
        let start = probe.auth.sessions().start(&alice, &ClientInfo::default());
        let ceiling = Permission::parse("doc:read").expect("a permission");
        let cookie = cookie_of(&start.ceiling([ceiling]).await.expect("a session"));
        let mut request = Request::new(());
        request.headers_mut().insert("cookie", cookie.parse().expect("a header"));
        let response = guarded.oneshot(request).await.expect("it cannot fail");
        assert_eq!(response.status(), 403, "a ceiling grants nothing");
    }
}
