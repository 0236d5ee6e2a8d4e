//! Tests of what `main.rs` describes.

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::{Method, Request};
use tower::ServiceExt;

use super::*;

const PASSWORD: &str = "correct horse battery";
const NEW: &str = "another horse battery";

/// A client that keeps its cookie.
#[derive(Clone)]
struct Client {
    app: Router,
    site: &'static str,
    cookie: Option<String>,
}

impl Client {
    fn new(auth: &Portcullis) -> Self {
        Self { app: app(auth), site: "same-origin", cookie: None }
    }

    async fn call(&mut self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .header("sec-fetch-site", self.site)
            .header(COOKIE, self.cookie.as_deref().unwrap_or_default())
            .body(Body::from(body.to_string()))
            .expect("a request");
        let response = self.app.clone().oneshot(request).await.expect("an answer");
        if let Some(set) = response.headers().get(SET_COOKIE) {
            let pair = set.to_str().expect("ASCII").split(';').next().unwrap_or_default();
            self.cookie = Some(pair.to_owned()).filter(|pair| !pair.ends_with('='));
        }
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn get(&mut self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, Value::Null).await
    }

    async fn post(&mut self, path: &str, body: Value) -> u16 {
        self.call(Method::POST, path, body).await.0
    }

    async fn delete(&mut self, path: &str) -> u16 {
        self.call(Method::DELETE, path, Value::Null).await.0
    }
}

#[tokio::test]
async fn every_flow_works_in_the_handlers_of_the_application() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = start(&directory).await.expect("a database");
    let mut alice = Client::new(&auth);
    let stranger = alice.clone();
    let person = json!({ "name": "alice", "password": PASSWORD });

    let mut other_site = Client { site: "cross-site", ..stranger.clone() };
    assert_eq!(other_site.post("/people", person.clone()).await, 403);
    assert_eq!(alice.get("/me").await.0, 401);
    assert_eq!(alice.post("/people", person.clone()).await, 201);
    assert_eq!(alice.get("/me").await, (200, json!({ "name": "alice" })));
    assert_eq!(stranger.clone().post("/people", person.clone()).await, 409);

    assert_eq!(other_site.post("/session", person.clone()).await, 403);
    let mut phone = stranger.clone();
    let wrong = json!({ "name": "alice", "password": NEW });
    assert_eq!(phone.post("/session", wrong).await, 401);
    let (status, body) = phone.call(Method::POST, "/session", person.clone()).await;
    assert_eq!((status, &body["next"]), (200, &json!("/me")));
    // Signing in again replaces the existing session.
    let before = phone.clone();
    assert_eq!(phone.post("/session", person.clone()).await, 200);
    assert_eq!(before.clone().get("/me").await.0, 401);

    let (_, sessions) = alice.get("/sessions").await;
    let sessions = sessions.as_array().expect("a list");
    assert_eq!(sessions.len(), 2);
    let other = sessions.iter().find(|session| session["current"] == false);
    let id = other.expect("the phone")["id"].as_str().expect("an id").to_owned();
    assert_eq!(alice.delete(&format!("/sessions/{id}")).await, 204);
    assert_eq!(phone.get("/me").await.0, 401);
    assert_eq!(alice.delete(&format!("/sessions/{id}")).await, 404);
    assert_eq!(alice.delete("/sessions/unknown").await, 404);
    assert_eq!(phone.post("/session", person.clone()).await, 200);
    assert_eq!(alice.delete("/sessions").await, 204);
    assert_eq!(phone.get("/me").await.0, 401);

    assert_eq!(alice.post("/reauthenticate", json!({ "password": NEW })).await, 403);
    assert_eq!(alice.post("/reauthenticate", json!({ "password": PASSWORD })).await, 204);
    let change = json!({ "old": PASSWORD, "new": NEW });
    assert_eq!(alice.post("/my-password", change.clone()).await, 204);
    assert_eq!(alice.post("/my-password", change).await, 403);

    let copy = alice.clone();
    assert_eq!(Client { site: "cross-site", ..alice.clone() }.delete("/session").await, 403);
    assert_eq!(alice.delete("/session").await, 204);
    assert_eq!((alice.cookie.clone(), copy.clone().get("/me").await.0), (None, 401));
    assert_eq!(alice.delete("/session").await, 204);
}

#[tokio::test]
async fn an_unfinished_sign_in_can_be_finished_or_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = start(&directory).await.expect("a database");
    let made = auth.registration().create(NewAccount::username("alice"), PASSWORD).await;
    let alice = made.expect("an account");
    auth.accounts().require_password_change(alice.id()).await.expect("required");
    let mut client = Client::new(&auth);
    let person = json!({ "name": "alice", "password": PASSWORD });
    for sign_out in [true, false] {
        let (status, body) = client.call(Method::POST, "/session", person.clone()).await;
        assert_eq!((status, &body["next"]), (200, &json!("/my-first-password")));
        assert_eq!(client.get("/me").await.0, 401);
        let copy = client.clone();
        if sign_out {
            assert_eq!(client.delete("/session").await, 204);
            let first = json!({ "password": NEW });
            assert_eq!(copy.clone().post("/my-first-password", first).await, 401);
        }
    }
    assert_eq!(client.post("/my-first-password", json!({ "password": NEW })).await, 204);
    assert_eq!(client.get("/me").await.0, 200);
}

#[tokio::test]
async fn a_directory_signs_people_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = start(&directory).await.expect("a database");
    let made = auth.accounts().create(NewAccount::username("alice")).await;
    let alice = made.expect("an account");
    let path = "/directory-session";
    let person = |name: &str, password: &str| json!({ "name": name, "password": password });
    let right = person("alice", "password of the directory");
    let mut client = Client::new(&auth);
    let stranger = client.clone();
    for wrong in [
        person("alice", PASSWORD),
        // The directory knows bob, but he has no account here.
        person("bob", "password of the directory"),
        person("nobody", "password of the directory"),
    ] {
        let (status, body) = client.call(Method::POST, path, wrong).await;
        assert_eq!((status, &body["code"]), (401, &json!("invalid_credentials")));
    }
    let mut other_site = Client { site: "cross-site", ..stranger.clone() };
    assert_eq!(other_site.post(path, right.clone()).await, 403);
    assert_eq!((client.cookie.as_ref(), other_site.cookie.as_ref()), (None, None));
    // The session of a visitor becomes the session of the account.
    assert_eq!(client.get("/question").await.0, 200);
    let visitor = client.clone();
    let (status, body) = client.call(Method::POST, path, right.clone()).await;
    assert_eq!((status, &body["next"]), (200, &json!("/me")));
    assert_eq!(client.get("/me").await, (200, json!({ "name": "alice" })));
    assert_ne!(visitor.cookie, client.cookie);
    let message =
        json!({ "id": "018f0000-0000-7000-8000-000000000000", "answer": "7", "text": "" });
    assert_eq!(
        visitor.clone().post("/messages", message).await,
        401,
        "the visitor's session ended"
    );
    // An account with a key has a second step here too.
    auth.accounts().verify(alice.id()).await.expect("verified");
    auth.accounts().set_enrolled_factors(alice.id(), [Factor::External]).await.expect("set");
    let (status, body) = client.call(Method::POST, path, right.clone()).await;
    assert_eq!((status, &body["next"]), (200, &json!("/my-key-code")));
    // Six wrong passwords, and the right one has to wait.
    let mut thief = stranger.clone();
    for _ in 0..6 {
        assert_eq!(thief.post(path, person("alice", "wrong")).await, 401);
    }
    assert_eq!(thief.post(path, right).await, 401);
}

#[tokio::test]
async fn a_key_is_a_second_factor() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = start(&directory).await.expect("a database");
    let mut alice = Client::new(&auth);
    let person = json!({ "name": "alice", "password": PASSWORD });
    assert_eq!(alice.post("/people", person.clone()).await, 201);
    assert_eq!(alice.post("/my-key-code", json!({ "code": "424242" })).await, 401, "not asked for");
    assert_eq!(alice.post("/my-key", Value::Null).await, 204);
    assert_eq!(alice.get("/me").await.0, 401);
    let (_, body) = alice.call(Method::POST, "/session", person.clone()).await;
    assert_eq!(body["next"], "/my-key-code");
    assert_eq!(alice.get("/me").await.0, 401);
    let (status, body) = alice.call(Method::POST, "/my-key-code", json!({ "code": "1" })).await;
    assert_eq!((status, &body["code"]), (403, &json!("wrong_key_code")));
    let waiting = alice.clone();
    assert_eq!(alice.post("/my-key-code", json!({ "code": "424242" })).await, 200);
    assert_eq!(alice.get("/me").await.0, 200);
    assert_eq!(waiting.clone().post("/my-key-code", json!({ "code": "424242" })).await, 401);
    // Six wrong codes, and the right one has to wait, in another sign-in too.
    let mut thief = Client::new(&auth);
    assert_eq!(thief.post("/session", person.clone()).await, 200);
    for _ in 0..6 {
        assert_eq!(thief.post("/my-key-code", json!({ "code": "1" })).await, 403);
    }
    assert_eq!(thief.post("/session", person).await, 200);
    let (status, body) =
        thief.call(Method::POST, "/my-key-code", json!({ "code": "424242" })).await;
    assert_eq!((status, &body["code"]), (403, &json!("wrong_key_code")));
}

#[tokio::test]
async fn a_visitor_answers_a_question_and_leaves_a_message() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = start(&directory).await.expect("a database");
    let mut visitor = Client::new(&auth);
    let (status, question) = visitor.get("/question").await;
    assert_eq!((status, visitor.cookie.is_some()), (200, true));
    let message = |answer: &str| json!({ "id": question["id"], "answer": answer, "text": "Hello" });
    let mut other = Client::new(&auth);
    assert_eq!(other.post("/messages", message("7")).await, 401, "no session");
    assert_eq!(other.get("/question").await.0, 200);
    assert_eq!(other.post("/messages", message("7")).await, 403, "another visitor");
    assert_eq!(visitor.post("/messages", message("8")).await, 403);
    let (status, body) = visitor.call(Method::POST, "/messages", message("7")).await;
    assert_eq!((status, &body["received"]), (200, &json!("Hello")));
    assert_eq!(visitor.post("/messages", message("7")).await, 403, "once");
    let mut other_site = Client { site: "cross-site", ..Client::new(&auth) };
    assert_eq!(other_site.post("/messages", message("7")).await, 401);
    assert_eq!(other_site.cookie, None);
    let credentials = json!({ "name": "alice", "password": "correct horse battery" });
    assert_eq!(other_site.post("/people", credentials).await, 403, "a form of another site");
    assert_eq!(other_site.cookie, None);
}

#[tokio::test]
async fn who_may_call_what_is_written_down() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = start(&directory).await.expect("a database");
    auth.test().matrix(&app(&auth)).await.check("access.txt");
}
