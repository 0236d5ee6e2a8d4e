//! Requests that other sites make a browser send.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::{any, post};
use portcullis::{Account, ClientInfo, Portcullis, Requirement, Session, Transport};

use crate::on_every_database;
use crate::support::call::{Called, call, request};
use crate::support::probe::app;
use crate::support::{Backend, PASSWORD, Probe};

const OURS: &str = "https://example.com";
const EVIL: &str = "https://attacker.example";
const LISTED: &str = "https://app.example.net";

type Headers<'a> = &'a [(&'a str, &'a str)];

fn with(method: &str, path: &str, headers: Headers<'_>) -> Request<Body> {
    let mut request = request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).expect("a request")
}

/// The application's own routes. Each is protected in another way, for every method.
fn host(auth: &Portcullis) -> Router {
    Router::new()
        .route("/extractor", any(|_: Account| async { "done" }))
        .route(
            "/option",
            any(|session: Option<Session>| async move { session.map_or("nobody", |_| "done") }),
        )
        .merge(
            Router::new()
                .route("/guard", any(|| async { "done" }))
                .route_layer(auth.require(Requirement::signed_in())),
        )
        .route("/unguarded", post(|| async { "done" }))
        .layer(auth.layer())
}

async fn account(probe: &Probe) -> Account {
    match probe.auth.accounts().find_by_login("alice").await.expect("the database answers") {
        Some(account) => account,
        None => probe.register("alice").await,
    }
}

/// Returns the cookie of a session on this instance.
async fn cookie(probe: &Probe, auth: &Portcullis) -> String {
    let account = account(probe).await;
    auth.test().login_as(&account).cookie().await.expect("a session")
}

async fn bearer(probe: &Probe, auth: &Portcullis) -> String {
    let account = account(probe).await;
    let start = auth.sessions().start(&account, &ClientInfo::default());
    let issued = start.transport(Transport::Bearer).await.expect("a session");
    format!("Bearer {}", issued.token().expect("a bearer token"))
}

fn check_refused(answer: &Called, what: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (403, "cross_site_request"), "{what}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert!(answer.rejection.is_some(), "{what}");
}

/// Sends each row to every route of the application with a cookie.
async fn check(probe: &Probe, auth: &Portcullis, rows: &[(&str, Headers<'_>, bool)]) {
    let cookie = cookie(probe, auth).await;
    let app = host(auth);
    for (method, headers, passes) in rows {
        for path in ["/extractor", "/option", "/guard"] {
            let what = format!("{method} {path} {headers:?}");
            let mut request = with(method, path, headers);
            request.headers_mut().insert("cookie", cookie.parse().expect("a header"));
            let (answer, statements) = probe.statements(call(&app, request)).await;
            if *passes {
                assert_eq!(answer.status, 200, "{what}: {}", answer.text);
                assert!(*method == "HEAD" || answer.text == "done", "{what}");
            } else {
                check_refused(&answer, &what);
                assert_eq!(statements, 0, "{what}");
            }
        }
    }
}

on_every_database! {
    async fn only_pages_of_ours_make_a_cookie_act(probe: Probe) {
        check(&probe, &probe.auth, &[
            ("POST", &[("sec-fetch-site", "same-origin")], true),
            ("POST", &[("sec-fetch-site", "none")], true),
            ("POST", &[("sec-fetch-site", "cross-site")], false),
            ("POST", &[("sec-fetch-site", "same-site")], false),
            ("POST", &[("sec-fetch-site", "unheard-of")], false),
            ("POST", &[("sec-fetch-site", "SAME-ORIGIN")], false),
            ("POST", &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")], false),
            // A site on another subdomain is not trusted, even if it sends our origin.
            ("POST", &[("sec-fetch-site", "same-site"), ("origin", OURS)], false),
            ("POST", &[("sec-fetch-site", "cross-site"), ("origin", OURS)], false),
            ("POST", &[("sec-fetch-site", "cross-site"), ("origin", LISTED)], false),
            // Old browsers send only their origin.
            ("POST", &[("origin", OURS)], true),
            ("POST", &[("origin", "http://example.com")], true),
            ("POST", &[("origin", EVIL)], false),
            ("POST", &[("origin", LISTED)], false),
            ("POST", &[("origin", "null")], false),
            ("POST", &[("origin", "https://example.com.attacker.example")], false),
            ("POST", &[("origin", "https://example.com@attacker.example")], false),
            ("POST", &[("origin", "https://example.com:8443")], false),
            ("POST", &[("origin", "https://example.com/")], false),
            ("POST", &[("origin", "https://sub.example.com")], false),
            ("POST", &[("origin", "example.com")], false),
            ("POST", &[("origin", OURS), ("origin", OURS)], false),
            // Scripts send neither header.
            ("POST", &[], true),
            // Reading is always allowed. All other methods are checked.
            ("GET", &[("sec-fetch-site", "cross-site")], true),
            ("HEAD", &[("sec-fetch-site", "cross-site")], true),
            ("GET", &[("origin", EVIL)], true),
            ("PUT", &[("sec-fetch-site", "cross-site")], false),
            ("PATCH", &[("sec-fetch-site", "cross-site")], false),
            ("DELETE", &[("sec-fetch-site", "cross-site")], false),
            ("TRACE", &[("sec-fetch-site", "cross-site")], false),
            ("DELETE", &[("sec-fetch-site", "same-origin")], true),
            // A header does not change the method.
            (
                "POST",
                &[("x-http-method-override", "GET"), ("sec-fetch-site", "cross-site")],
                false,
            ),
        ])
        .await;
    }

    async fn a_listed_origin_may_write(probe: Probe) {
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| config.service.trusted_origins = vec![LISTED.to_owned()])
        });
        check(&probe, &auth, &[
            ("POST", &[("sec-fetch-site", "cross-site"), ("origin", LISTED)], true),
            ("POST", &[("sec-fetch-site", "same-site"), ("origin", LISTED)], true),
            ("POST", &[("origin", LISTED)], true),
            ("POST", &[("sec-fetch-site", "cross-site")], false),
            ("POST", &[("sec-fetch-site", "same-site"), ("origin", EVIL)], false),
            ("POST", &[("origin", "http://app.example.net")], false),
            ("POST", &[("origin", "https://app.example.net:444")], false),
        ])
        .await;
    }

    async fn an_origin_of_any_scheme_can_be_listed_and_is_compared_exactly(probe: Probe) {
        let extension = "chrome-extension://abcdefghijklmnopabcdefghijklmnop";
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                let listed = ["capacitor://localhost", "ionic://localhost", "tauri://localhost", extension];
                config.service.trusted_origins = listed.map(str::to_owned).to_vec();
            })
        });
        check(&probe, &auth, &[
            ("POST", &[("origin", "capacitor://localhost")], true),
            ("POST", &[("origin", "ionic://localhost"), ("sec-fetch-site", "cross-site")], true),
            ("POST", &[("origin", "tauri://localhost"), ("sec-fetch-site", "same-site")], true),
            ("POST", &[("origin", extension)], true),
            ("POST", &[("origin", "capacitor://localhost:80")], false),
            ("POST", &[("origin", "capacitor://localhost/")], false),
            ("POST", &[("origin", "Capacitor://localhost")], false),
            ("POST", &[("origin", "capacitor://LOCALHOST")], false),
            ("POST", &[("origin", "capacitor://localhost.attacker.example")], false),
            ("POST", &[("origin", "http://localhost")], false),
            // An app scheme with the same host name is a different origin.
            ("POST", &[("origin", "capacitor://example.com")], false),
            ("POST", &[("origin", "null")], false),
            ("POST", &[("origin", "null"), ("sec-fetch-site", "cross-site")], false),
        ])
        .await;
        // Origins that are not listed are refused.
        check(&probe, &probe.auth, &[("POST", &[("origin", "capacitor://localhost")], false)]).await;
    }

    async fn behind_a_proxy_that_rewrites_the_host_the_public_url_counts(probe: Probe) {
        let public = "https://public.example";
        let rows: &[(&str, Headers<'_>, bool)] = &[
            ("POST", &[("origin", public)], true),
            ("POST", &[("origin", "http://public.example")], false),
            ("POST", &[("origin", EVIL)], false),
        ];
        let auth = probe.rebuilt(|builder| builder.public_url(public));
        check(&probe, &auth, rows).await;
        check(&probe, &probe.auth, &[("POST", &[("origin", public)], false)]).await;
    }

    async fn in_strict_mode_silence_is_refused(probe: Probe) {
        let auth = probe
            .rebuilt(|builder| builder.configure(|config| config.service.strict_origin = true));
        check(&probe, &auth, &[
            ("POST", &[], false),
            ("DELETE", &[], false),
            ("GET", &[], true),
            ("POST", &[("sec-fetch-site", "same-origin")], true),
            ("POST", &[("origin", OURS)], true),
        ])
        .await;
        // Without a cookie there is nothing to protect on the application's routes.
        let answer = call(&host(&auth), with("POST", "/option", &[])).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "nobody"));
        let answer = call(&app(&auth), with("POST", "/auth/logout", &[])).await;
        check_refused(&answer, "a mounted route");
    }

    async fn a_websocket_is_opened_only_by_pages_of_ours(probe: Probe) {
        const UPGRADE: (&str, &str) = ("upgrade", "websocket");
        check(&probe, &probe.auth, &[
            ("GET", &[UPGRADE, ("sec-fetch-site", "cross-site")], false),
            ("GET", &[UPGRADE, ("sec-fetch-site", "same-site")], false),
            ("GET", &[UPGRADE, ("origin", EVIL)], false),
            ("GET", &[UPGRADE, ("origin", "null")], false),
            ("GET", &[UPGRADE, ("sec-fetch-site", "same-origin")], true),
            ("GET", &[UPGRADE, ("origin", OURS)], true),
            ("GET", &[UPGRADE], true),
        ])
        .await;
    }

    async fn without_a_cookie_the_host_s_own_routes_are_left_alone(probe: Probe) {
        let app = host(&probe.auth);
        let evil: Headers<'_> = &[("sec-fetch-site", "cross-site"), ("origin", EVIL)];
        let answer = call(&app, with("POST", "/option", evil)).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "nobody"));
        for path in ["/extractor", "/guard"] {
            let answer = call(&app, with("POST", path, evil)).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "not_signed_in"), "{path}");
        }
        // The rule does not apply to a route that does not ask for an identity, with or without a
        // cookie.
        let mut request = with("POST", "/unguarded", evil);
        let cookie = cookie(&probe, &probe.auth).await;
        request.headers_mut().insert("cookie", cookie.parse().expect("a header"));
        assert_eq!(call(&app, request).await.status, 200);
    }

    async fn mounted_routes_are_protected_with_and_without_a_cookie(probe: Probe) {
        let app = app(&probe.auth);
        let cookie = cookie(&probe, &probe.auth).await;
        let before = probe.number("SELECT COUNT(*) FROM auth_event").await;
        for (method, path) in [
            ("POST", "/auth/login"),
            ("POST", "/auth/logout"),
            ("POST", "/auth/reauthenticate"),
            ("POST", "/auth/register"),
            ("PUT", "/auth/password"),
            ("POST", "/auth/session/refresh"),
            ("POST", "/auth/session/anonymous"),
            ("DELETE", "/auth/sessions"),
            ("DELETE", "/auth/sessions/0197f0e0-0000-7000-8000-000000000000"),
            // A method that the path does not accept is checked in the same way.
            ("PATCH", "/auth/login"),
        ] {
            for cookie in [None, Some(&cookie)] {
                for headers in [
                    &[("sec-fetch-site", "cross-site")][..],
                    &[("sec-fetch-site", "same-site")],
                    &[("origin", EVIL)],
                    &[("origin", "null")],
                ] {
                    let mut request = with(method, path, headers);
                    if let Some(cookie) = cookie {
                        let cookie = cookie.parse().expect("a header");
                        request.headers_mut().insert("cookie", cookie);
                    }
                    let (answer, statements) = probe.statements(call(&app, request)).await;
                    check_refused(&answer, &format!("{method} {path} {headers:?} {cookie:?}"));
                    assert_eq!(statements, 0);
                    assert!(!answer.headers.contains_key("set-cookie"));
                    assert!(!answer.headers.contains_key("access-control-allow-origin"));
                }
            }
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_event").await, before);
        let mut request = with("POST", "/auth/logout", &[("sec-fetch-site", "same-origin")]);
        request.headers_mut().insert("cookie", cookie.parse().expect("a header"));
        assert_eq!(call(&app, request).await.status, 204);
    }

    async fn reading_a_path_that_writes_changes_nothing(probe: Probe) {
        let app = app(&probe.auth);
        let cookie = cookie(&probe, &probe.auth).await;
        for path in ["/auth/login", "/auth/logout", "/auth/register", "/auth/session/refresh"] {
            for method in ["GET", "HEAD", "OPTIONS"] {
                let request = with(method, path, &[("cookie", &cookie)]);
                let (answer, statements) = probe.statements(call(&app, request)).await;
                assert_eq!((answer.status, statements), (405, 0), "{method} {path}");
            }
        }
        let answer = call(&app, with("GET", "/me", &[("cookie", &cookie)])).await;
        assert_eq!(answer.status, 200, "it is still signed in");
    }

    async fn no_answer_invites_other_origins(probe: Probe) {
        let app = app(&probe.auth);
        let cookie = cookie(&probe, &probe.auth).await;
        for origin in [EVIL, "null", LISTED, OURS] {
            for (method, path) in [("GET", "/auth/session"), ("OPTIONS", "/auth/login")] {
                let headers = [
                    ("origin", origin),
                    ("cookie", cookie.as_str()),
                    ("access-control-request-method", "POST"),
                ];
                let answer = call(&app, with(method, path, &headers)).await;
                let cors = answer.headers.keys().find(|k| k.as_str().starts_with("access-control"));
                assert_eq!(cors, None, "{method} {path} from {origin}");
            }
        }
    }

    async fn a_bearer_token_is_exempt_because_no_browser_adds_it_by_itself(probe: Probe) {
        let auth = probe.rebuilt(|builder| builder.configure(|c| c.service.bearer = true));
        let app = host(&auth);
        let token = bearer(&probe, &auth).await;
        for path in ["/extractor", "/option", "/guard"] {
            for headers in [
                &[("authorization", token.as_str()), ("sec-fetch-site", "cross-site")][..],
                &[("authorization", token.as_str()), ("origin", EVIL)],
            ] {
                let answer = call(&app, with("POST", path, headers)).await;
                assert_eq!((answer.status, answer.text.as_str()), (200, "done"), "{path}");
                assert!(!answer.headers.contains_key("set-cookie"));
            }
        }
    }

    async fn a_bearer_token_is_exempt_on_mounted_routes_too(probe: Probe) {
        let auth = probe.rebuilt(|builder| builder.configure(|c| c.service.bearer = true));
        let app = app(&auth);
        let cookie = cookie(&probe, &auth).await;
        let evil = [("sec-fetch-site", "cross-site"), ("origin", EVIL)];
        for (method, path, status) in [
            ("POST", "/auth/session/refresh", 200),
            ("DELETE", "/auth/sessions", 200),
            ("POST", "/auth/logout", 204),
        ] {
            let token = bearer(&probe, &auth).await;
            let with = |credentials: Headers<'_>| with(method, path, &[credentials, &evil].concat());
            // Browsers send Basic credentials and cookies on their own, so they do not exempt a
            // request.
            for credentials in [
                &[][..],
                &[("authorization", "Basic YWxpY2U6c2VjcmV0")],
                &[("authorization", "Bearer of.bad.news")],
                &[("cookie", cookie.as_str())],
                &[("cookie", cookie.as_str()), ("authorization", token.as_str())],
            ] {
                check_refused(&call(&app, with(credentials)).await, &format!("{path} {credentials:?}"));
            }
            let answer = call(&app, with(&[("authorization", token.as_str())])).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.text);
            assert!(!answer.headers.contains_key("set-cookie"), "{path}");
        }
        // From our own page, both together are refused where the user must be known.
        let token = bearer(&probe, &auth).await;
        let both = [
            ("cookie", cookie.as_str()),
            ("authorization", token.as_str()),
            ("sec-fetch-site", "same-origin"),
        ];
        let (answer, statements) =
            probe.statements(call(&app, with("DELETE", "/auth/sessions", &both))).await;
        let refused = (answer.status, answer.code(), statements);
        assert_eq!(refused, (400, "multiple_credentials".to_owned(), 0));
        // If bearer tokens are off, the token is ignored and exempts nothing.
        let headers = [("authorization", token.as_str()), ("sec-fetch-site", "cross-site")];
        let off = crate::support::probe::app(&probe.auth);
        check_refused(&call(&off, with("POST", "/auth/logout", &headers)).await, "switched off");
    }

    async fn a_cookie_that_counts_no_more_is_no_second_credential(probe: Probe) {
        let auth = probe.rebuilt(|builder| builder.configure(|c| c.service.bearer = true));
        let asked = async |parts: axum::http::request::Parts| -> String {
            let auth = parts.extensions.get::<Portcullis>().expect("it").clone();
            match auth.check_same_origin(&parts) {
                Ok(()) => "passes".to_owned(),
                Err(rejection) => rejection.problem().code().to_owned(),
            }
        };
        let host = host(&auth).merge(
            Router::new().route("/asked", post(asked)).layer(axum::Extension(auth.clone())),
        );
        let (fresh, app) = (cookie(&probe, &auth).await, app(&auth));
        let stale = cookie(&probe, &auth).await;
        let evil = [("sec-fetch-site", "cross-site"), ("origin", EVIL)];
        let of = |cookie: &str, token: &str| {
            [("cookie", cookie.to_owned()), ("authorization", token.to_owned())]
        };
        let token = bearer(&probe, &auth).await;
        let both = of(&fresh, &token);
        let both: Vec<_> = both.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for path in ["/extractor", "/option", "/guard"] {
            assert_eq!(call(&host, with("GET", path, &both)).await.status, 400, "{path}");
        }
        let answer = call(&host, with("POST", "/asked", &[&both[..], &evil].concat())).await;
        assert_eq!(answer.text, "cross_site_request");
        // The cookie can no longer be renewed. It is still stored by a client that now uses tokens.
        probe.clock.advance(std::time::Duration::from_secs(40 * 24 * 60 * 60));
        let token = bearer(&probe, &auth).await;
        for cookie in [&stale, "__Host-session=nonsense"] {
            let both = of(cookie, &token);
            let both: Vec<_> = both.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let all = [&both[..], &evil].concat();
            for path in ["/extractor", "/option", "/guard"] {
                let answer = call(&host, with("POST", path, &all)).await;
                assert_eq!((answer.status, answer.text.as_str()), (200, "done"), "{path} {cookie}");
            }
            assert_eq!(call(&host, with("POST", "/asked", &all)).await.text, "passes", "{cookie}");
            let answer = call(&app, with("POST", "/auth/session/refresh", &all)).await;
            assert_eq!(answer.status, 200, "{cookie} {}", answer.text);
        }
        let both = of(&stale, &token);
        let both: Vec<_> = both.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(call(&app, with("POST", "/auth/logout", &both)).await.status, 204);
        let alone = [("authorization", token.as_str())];
        assert_eq!(call(&host, with("GET", "/guard", &alone)).await.code(), "session_ended");
    }

    async fn a_form_with_a_bearer_token_needs_no_proof_of_its_origin(probe: Probe) {
        let auth = probe.rebuilt(|builder| builder.configure(|c| c.service.bearer = true));
        let app = app(&auth);
        let token = bearer(&probe, &auth).await;
        let form = |token: Option<&str>| {
            let mut request = request("POST", "/auth/email")
                .header("content-type", "application/x-www-form-urlencoded");
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            request.body(Body::from("email=a%40example.com")).expect("a request")
        };
        assert_ne!(call(&app, form(Some(&token))).await.status, 415);
        assert_eq!(call(&app, form(None)).await.status, 401);
    }

    async fn two_credentials_of_ours_are_refused_without_a_statement(probe: Probe) {
        let auth = probe.rebuilt(|builder| builder.configure(|c| c.service.bearer = true));
        let app = host(&auth);
        let (cookie, token) = (cookie(&probe, &auth).await, bearer(&probe, &auth).await);
        let twice = format!("{cookie}; {cookie}");
        for path in ["/extractor", "/option", "/guard"] {
            for method in ["GET", "POST"] {
                for headers in [
                    &[("cookie", cookie.as_str()), ("authorization", token.as_str())][..],
                    &[("cookie", twice.as_str())],
                    &[("cookie", cookie.as_str()), ("cookie", cookie.as_str())],
                    &[("authorization", token.as_str()), ("authorization", token.as_str())],
                ] {
                    let request = with(method, path, headers);
                    let (answer, statements) = probe.statements(call(&app, request)).await;
                    assert_eq!(statements, 0);
                    // Two cookies do not block a route that works without a user.
                    if path == "/option" && headers.iter().all(|(name, _)| *name == "cookie") {
                        assert_eq!(answer.status, 200, "{method} {path} {headers:?}");
                        continue;
                    }
                    assert_eq!(
                        (answer.status, answer.code().as_str()),
                        (400, "multiple_credentials"),
                        "{method} {path} {headers:?}"
                    );
                }
                // An `Authorization` header that is not a portcullis token belongs to the
                // application.
                for foreign in ["Basic YWxpY2U6c2VjcmV0", "Bearer of.bad.news", "Negotiate abc", ""] {
                    let headers = [("cookie", cookie.as_str()), ("authorization", foreign)];
                    let answer = call(&app, with(method, path, &headers)).await;
                    assert_eq!((answer.status, answer.text.as_str()), (200, "done"), "{foreign}");
                }
            }
        }
        // If bearer tokens are off, a token in the header belongs to the application too.
        let app = host(&probe.auth);
        let headers = [("cookie", cookie.as_str()), ("authorization", token.as_str())];
        assert_eq!(call(&app, with("POST", "/extractor", &headers)).await.status, 200);
        let headers = [("authorization", token.as_str())];
        assert_eq!(call(&app, with("GET", "/extractor", &headers)).await.code(), "not_signed_in");
    }
}

/// Uses one database and one thread, because it reads the log of that thread.
#[tokio::test]
async fn what_is_refused_for_its_origin_is_told_and_becomes_a_finding() {
    use crate::support::log::Log;
    use std::time::Duration;

    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let auth = probe.rebuilt(|builder| builder.public_url("https://public.example"));
        let app = app(&auth);
        let cookie = cookie(&probe, &auth).await;
        let (log, _listening) = Log::start();
        let warnings = || {
            let text = log.text();
            let lines = text.lines().filter(|line| line.contains("WARN"));
            lines.filter(|line| line.contains("refused")).map(str::to_owned).collect::<Vec<_>>()
        };
        let evil = "https://attacker.example\u{e9}\" public_url=\u{7f}forged";
        let send = async |count: usize| {
            for _ in 0..count {
                let mut request =
                    with("POST", "/auth/logout", &[("origin", "x"), ("cookie", &cookie)]);
                let evil =
                    axum::http::HeaderValue::from_bytes(evil.replace('\u{7f}', "").as_bytes());
                request.headers_mut().insert("origin", evil.expect("a value"));
                check_refused(&call(&app, request).await, "a page of another site");
            }
        };
        send(3).await;
        // One warning a minute, which says what was compared. Nothing in the request can end a
        // field of the log.
        let told = warnings();
        assert_eq!(told.len(), 1, "{told:#?}");
        for part in [
            "cross_site_requests_refused",
            "Sec-Fetch-Site none",
            "attacker.example",
            "https://public.example",
        ] {
            assert!(told[0].contains(part), "{part}: {}", told[0]);
        }
        assert!(told[0].contains("\\\" public_url="), "it is not escaped: {}", told[0]);
        probe.clock.advance(Duration::from_secs(60));
        send(1).await;
        let told = warnings();
        assert_eq!(told.len(), 2, "{told:#?}");
        assert!(told[1].contains("unlogged_before=2"), "{}", told[1]);
        let findings = |auth: &Portcullis| {
            let all = auth.audit().into_iter();
            all.filter(|found| found.code.ends_with("_refused")).collect::<Vec<_>>()
        };
        send(15).await;
        assert_eq!(findings(&auth), [], "nineteen are no finding");
        send(5).await;
        let found = findings(&auth);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].code, "cross_site_requests_refused");
        assert!(found[0].text.contains("https://public.example"), "{}", found[0].text);
        // The other kinds of refusals are logged too, without any credential.
        let twice = format!("{cookie}; {cookie}");
        call(&app, with("GET", "/me", &[("cookie", &twice)])).await;
        let form = request("POST", "/auth/login")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from("login=alice&password=x"))
            .expect("a request");
        assert_eq!(call(&app, form).await.status, 415);
        let text = log.text();
        for code in ["several_credentials_refused", "forms_without_origin_refused"] {
            assert!(text.contains(code), "{code}");
        }
        assert!(!text.contains(cookie.split('=').nth(1).expect("a token")), "a credential is told");
        // An empty body has no media type, whatever the client says, so nothing is refused.
        let forms = || log.text().matches("forms_without_origin_refused").count();
        let before = forms();
        probe.clock.advance(Duration::from_secs(60));
        let basic = data_encoding::BASE64.encode(format!("alice:{PASSWORD}").as_bytes());
        for _ in 0..25 {
            let login = request("POST", "/auth/login")
                .header("content-type", "application/x-www-form-urlencoded")
                .header("authorization", format!("Basic {basic}"))
                .body(Body::empty())
                .expect("a request");
            assert_eq!(call(&app, login).await.status, 200);
        }
        assert_eq!(forms(), before);
        // Requests of a stranger do not hide a misconfigured proxy that appears later.
        probe.clock.advance(Duration::from_secs(600));
        let own = [("origin", "https://www.public.example"), ("cookie", &*cookie)];
        for _ in 0..20 {
            call(&app, with("POST", "/auth/logout", &own)).await;
        }
        let found = findings(&auth);
        assert_eq!(found.len(), 1);
        assert!(found[0].text.contains("https://www.public.example"), "{}", found[0].text);
        // If the clock is set back, warnings continue at once.
        let told = warnings().len();
        probe.clock.step_back(Duration::from_secs(60 * 60));
        send(1).await;
        assert_eq!(warnings().len(), told + 1);
        probe.clock.advance(Duration::from_secs(60));
        send(1).await;
        assert_eq!(warnings().len(), told + 2);
        // Slow refusals are no finding: an operator does not need to know about one bot request a
        // minute.
        let calm = probe.rebuilt(|builder| builder);
        let app = crate::support::probe::app(&calm);
        for _ in 0..30 {
            probe.clock.advance(Duration::from_secs(60));
            call(&app, with("POST", "/auth/logout", &[("origin", EVIL)])).await;
        }
        assert_eq!(findings(&calm), []);
    })
    .await;
}

/// Forms of other sites. One database is enough, because no statement runs.
#[tokio::test]
async fn a_route_that_takes_json_takes_no_form_or_plain_text() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let app = app(&probe.auth);
        let cookie = cookie(&probe, &probe.auth).await;
        for (method, path, form) in
            [("POST", "/auth/reauthenticate", true), ("PUT", "/auth/password", false)]
        {
            for media_type in [
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
                "text/plain",
                "text/plain; application/json",
            ] {
                let request = request(method, path)
                    .header("cookie", &cookie)
                    .header("sec-fetch-site", "same-origin")
                    .header("content-type", media_type)
                    .body(Body::from(r#"{"password":"correct horse battery staple"}"#))
                    .expect("a request");
                let answer = call(&app, request).await;
                // JSON is not a form, even with the content type of a form.
                let expected = match form && media_type.ends_with("urlencoded") {
                    true => (400, "invalid_body"),
                    false => (415, "unsupported_media_type"),
                };
                let found = (answer.status, answer.code());
                assert_eq!((found.0, &*found.1), expected, "{method} {path} {media_type}");
            }
        }
    })
    .await;
}
