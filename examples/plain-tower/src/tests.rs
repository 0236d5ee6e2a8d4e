//! Tests of what `main.rs` describes.

use http::header::{COOKIE, HeaderName, SET_COOKIE};
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_plain_service_signs_in_guards_and_signs_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = start(&directory).await.expect("a database");
    let password = random_password().expect("randomness");
    seed(&auth, &password).await.expect("an account");
    let service = service(&auth).expect("permissions");
    let send = async |method: Method, path: &str, cookie: &str, site: &str, body: Value| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(COOKIE, cookie)
            .header(HeaderName::from_static("sec-fetch-site"), site)
            .body(Body::from(body.to_string()))
            .expect("a request");
        let response = service.clone().oneshot(request).await.expect("an answer");
        let set = response.headers().get(SET_COOKIE).map(|set| {
            let text = set.to_str().expect("ASCII");
            text.split(';').next().unwrap_or_default().to_owned()
        });
        (response.status().as_u16(), set)
    };
    let right = json!({ "login": "alice", "password": password });
    let wrong = json!({ "login": "alice", "password": "wrong horse battery" });
    let ours = "same-origin";

    assert_eq!(send(Method::GET, "/me", "", ours, Value::Null).await, (401, None));
    assert_eq!(send(Method::POST, "/login", "", ours, Value::Null).await, (400, None));
    assert_eq!(send(Method::POST, "/login", "", ours, wrong).await, (401, None));
    assert_eq!(send(Method::POST, "/login", "", "cross-site", right.clone()).await, (403, None));
    let (status, cookie) = send(Method::POST, "/login", "", ours, right).await;
    let cookie = cookie.expect("a cookie");
    assert_eq!(status, 200);
    assert_eq!(send(Method::GET, "/me", &cookie, ours, Value::Null).await, (200, None));
    assert_eq!(send(Method::GET, "/admin", &cookie, ours, Value::Null).await, (403, None));
    let (status, _) = send(Method::POST, "/logout", &cookie, "cross-site", Value::Null).await;
    assert_eq!(status, 403);
    let (status, cleared) = send(Method::POST, "/logout", &cookie, ours, Value::Null).await;
    assert_eq!((status, cleared.as_deref()), (200, Some("__Host-session=")));
    assert_eq!(send(Method::GET, "/me", &cookie, ours, Value::Null).await.0, 401);
}
