//! What the page at the top of this example promises.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::{Method, Request};
use axum::response::Response;
use tower::ServiceExt;

use super::*;

async fn send(app: &Router, request: Request<Body>) -> Response {
    app.clone().oneshot(request).await.expect("an answer")
}

async fn sign_in(app: &Router, name: &str, password: &str) -> String {
    let body = format!(r#"{{ "login": "{name}", "password": "{password}" }}"#);
    let request = Request::post("/auth/login").header(CONTENT_TYPE, "application/json");
    let response = send(app, request.body(Body::from(body)).expect("a request")).await;
    let cookie = response.headers()[SET_COOKIE].to_str().expect("ASCII");
    cookie.split(';').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn each_account_gets_what_its_role_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let (auth, db) = start(&directory).await.expect("a database");
    let password = random_password().expect("randomness");
    seed(&auth, "erin", "editor", &password).await.expect("an account");
    seed(&auth, "greg", "guest", &password).await.expect("an account");
    let app = app(&auth, db).expect("permissions");
    let erin = sign_in(&app, "erin", &password).await;
    let greg = sign_in(&app, "greg", &password).await;
    for (method, path, nobody, as_greg, as_erin) in [
        (Method::GET, "/docs", 401, 200, 200),
        (Method::GET, "/docs/1", 401, 200, 200),
        (Method::GET, "/docs/2", 401, 403, 200),
        (Method::GET, "/docs/1,2", 401, 404, 404),
        (Method::GET, "/reports", 401, 403, 200),
        (Method::GET, "/staff", 401, 403, 200),
        (Method::GET, "/export", 401, 403, 200),
        (Method::POST, "/publish", 401, 403, 200),
        (Method::DELETE, "/docs/1", 401, 403, 403),
        (Method::DELETE, "/docs/2", 401, 403, 200),
        (Method::DELETE, "/docs/3", 401, 403, 200),
        (Method::DELETE, "/docs/1,2", 401, 404, 404),
    ] {
        for (cookie, expected) in [("", nobody), (&*greg, as_greg), (&*erin, as_erin)] {
            let request = Request::builder().method(method.clone()).uri(path);
            let request = request.header(COOKIE, cookie).body(Body::empty()).expect("a request");
            let status = send(&app, request).await.status().as_u16();
            assert_eq!(status, expected, "{method} {path} {cookie}");
        }
    }
}

#[tokio::test]
async fn a_list_holds_what_may_be_read_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let (auth, db) = start(&directory).await.expect("a database");
    let password = random_password().expect("randomness");
    auth.roles().create("pair", ["doc:read:1,3", "doc:delete:2"]).await.expect("a role");
    auth.roles().create("nobody", ["doc:publish"]).await.expect("a role");
    let app = app(&auth, db).expect("permissions");
    for (name, role, listed) in [
        ("erin", "editor", r#"["1","2","3"]"#),
        ("greg", "guest", r#"["1"]"#),
        ("paul", "pair", r#"["1","3"]"#),
        ("nora", "nobody", "[]"),
    ] {
        seed(&auth, name, role, &password).await.expect("an account");
        let cookie = sign_in(&app, name, &password).await;
        let request = Request::get("/docs").header(COOKIE, cookie);
        let response = send(&app, request.body(Body::empty()).expect("a request")).await;
        let body = axum::body::to_bytes(response.into_body(), 1 << 10).await.expect("a body");
        assert_eq!(body, listed, "{name}");
    }
}
