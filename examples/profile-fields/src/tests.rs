//! Tests of what `main.rs` describes.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use portcullis::permission::RoleDefinition;
use tower::ServiceExt;

use super::*;

const PASSWORD: &str = "correct horse battery";

struct Client {
    app: Router,
    cookie: String,
}

impl Client {
    async fn call(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .header("sec-fetch-site", "same-origin")
            .header(COOKIE, &self.cookie)
            .body(Body::from(body.to_string()))
            .expect("a request");
        let response = self.app.clone().oneshot(request).await.expect("an answer");
        if let Some(set) = response.headers().get(SET_COOKIE) {
            let pair = set.to_str().expect("ASCII").split(';').next().unwrap_or_default();
            pair.clone_into(&mut self.cookie);
        }
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

#[tokio::test]
async fn account_and_profile_are_created_together_or_not_at_all() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}/test.sqlite?mode=rwc", directory.path().display());
    let (db, auth) = start(&url, Secret::generate()).await.expect("a database");
    let mut client = Client { app: app(db, &auth).expect("permissions"), cookie: String::new() };
    let person = |name: &str, profile: Value| json!({ "username": name, "password": PASSWORD, "profile": profile });

    let alice = person("alice", json!({ "display_name": "Alice A." }));
    assert_eq!(client.call("POST", "/auth/register", alice).await.0, 201);
    let (status, me) = client.call("GET", "/me", Value::Null).await;
    assert_eq!((status, me), (200, json!({ "username": "alice", "display_name": "Alice A." })));

    for (profile, status, code) in [
        (Value::Null, 422, "invalid_fields"),
        (json!({ "display_name": "B", "admin": true }), 422, "invalid_fields"),
        (json!({ "display_name": "  " }), 422, "invalid_fields"),
        (json!({ "display_name": "b".repeat(65) }), 422, "invalid_fields"),
        (json!({ "display_name": "Alice A." }), 409, "display_name_taken"),
    ] {
        let (got, body) = client.call("POST", "/auth/register", person("bob", profile)).await;
        assert_eq!((got, &body["code"]), (status, &json!(code)));
        let bob = auth.accounts().find_by_login("bob").await.expect("it answers");
        assert!(bob.is_none(), "{code}");
    }

    let invited = |profile: &str| json!({ "username": "bob", "first_password": PASSWORD, "display_name": profile });
    assert_eq!(client.call("POST", "/people", invited("Bob")).await.0, 403);
    let alice = auth.accounts().find_by_login("alice").await.expect("it answers");
    let alice = alice.expect("alice").id();
    let host = RoleDefinition::new("host", ["people:invite"]);
    auth.roles().define([host]).await.expect("a role");
    auth.roles().grant(alice, "host").await.expect("granted");
    let (status, body) = client.call("POST", "/people", invited("Alice A.")).await;
    assert_eq!((status, &body["code"]), (409, &json!("display_name_taken")));
    assert!(auth.accounts().find_by_login("bob").await.expect("it answers").is_none());
    assert_eq!(client.call("POST", "/people", invited("Bob")).await.0, 201);
    let login = json!({ "login": "bob", "password": PASSWORD });
    let (_, answer) = client.call("POST", "/auth/login", login).await;
    assert_eq!(answer["result"], "password_change_required");
}

#[tokio::test]
async fn the_first_administrator_has_a_profile_or_is_not_created() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}/test.sqlite?mode=rwc", directory.path().display());
    let (db, auth) = start(&url, Secret::generate()).await.expect("a database");
    let app = app(db.clone(), &auth).expect("permissions");
    let mut client = Client { app, cookie: String::new() };
    let alice = json!({ "username": "alice", "password": PASSWORD,
                        "profile": { "display_name": "Administrator" } });
    assert_eq!(client.call("POST", "/auth/register", alice).await.0, 201);

    let refused = first_administrator(&auth).await.expect_err("the display name is taken");
    assert_eq!(refused.to_string(), "another person has this display name");
    assert!(auth.accounts().find_by_login("admin").await.expect("it answers").is_none());

    profile::Entity::delete_many().exec(&db).await.expect("the name is free again");
    let first = first_administrator(&auth).await.expect("it is created").expect("the first one");
    let login = json!({ "login": "admin", "password": first.password() });
    assert_eq!(client.call("POST", "/auth/login", login).await.0, 200);
    let (_, me) = client.call("GET", "/me", Value::Null).await;
    assert_eq!(me, json!({ "username": "admin", "display_name": "Administrator" }));
    assert!(first_administrator(&auth).await.expect("it answers").is_none());
}

#[tokio::test]
async fn who_may_call_what_is_written_down() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}/test.sqlite?mode=rwc", directory.path().display());
    let (db, auth) = start(&url, Secret::generate()).await.expect("a database");
    let host = RoleDefinition::new("host", ["people:invite"]);
    auth.roles().define([host]).await.expect("a role");
    let app = app(db, &auth).expect("permissions");
    auth.test().matrix(&app).await.check("access.txt");
}
