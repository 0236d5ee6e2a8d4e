//! Tests of what `main.rs` describes. Each creates a database of its own.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use portcullis_test_needs::needs;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tower::ServiceExt;

use super::*;

/// Creates an empty database, and returns the server's URL, its name and its URL.
async fn create_database(test: &str) -> (String, String, String) {
    let server = std::env::var("PORTCULLIS_TEST_POSTGRES_URL").expect("the test needs it");
    let name = format!("portcullis_sqlx_host_{}_{test}", std::process::id());
    let mut admin = PgConnection::connect(&server).await.expect("the server answers");
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    admin.execute(create).await.expect("a database");
    let (host, _) = server.rsplit_once('/').expect("a URL with a database");
    let url = format!("{host}/{name}");
    (server, name, url)
}

async fn drop_database(server: &str, name: &str) {
    let mut admin = PgConnection::connect(server).await.expect("the server answers");
    let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
    admin.execute(drop).await.expect("it is dropped");
}

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

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test]
async fn an_author_joins_signs_in_and_writes() {
    let (server, name, url) = create_database("writes").await;
    let (pool, auth) = start(&url, Secret::generate()).await.expect("it starts");
    let app = app(pool.clone(), &auth);
    let mut client = Client { app: app.clone(), cookie: String::new() };

    let author = |username: &str, pen_name: &str| json!({ "username": username, "password": "correct horse battery", "pen_name": pen_name });
    let (status, body) = client.call("POST", "/authors", author("alice", "Alice A.")).await;
    assert_eq!(status, 201, "{body}");
    // The pen name is taken, so no account is created either.
    let (status, body) = client.call("POST", "/authors", author("bob", "Alice A.")).await;
    assert_eq!((status, &body["code"]), (409, &json!("pen_name_taken")));
    let accounts = sqlx::query_scalar!("SELECT COUNT(*) FROM auth_account").fetch_one(&pool).await;
    assert_eq!(accounts.expect("it answers"), Some(1));

    assert_eq!(client.call("GET", "/articles", Value::Null).await.0, 401);
    let login = json!({ "login": "alice", "password": "correct horse battery" });
    assert_eq!(client.call("POST", "/auth/login", login).await.0, 200);
    let (status, written) = client.call("POST", "/articles", json!({ "title": "Hello" })).await;
    assert_eq!((status, &written["pen_name"]), (201, &json!("Alice A.")));
    let (status, listed) = client.call("GET", "/articles", Value::Null).await;
    assert_eq!((status, listed), (200, json!([written])));

    // Another author sees only their own articles.
    let mut other = Client { app, cookie: String::new() };
    assert_eq!(other.call("POST", "/authors", author("bob", "Bob")).await.0, 201);
    let login = json!({ "login": "bob", "password": "correct horse battery" });
    assert_eq!(other.call("POST", "/auth/login", login).await.0, 200);
    assert_eq!(other.call("GET", "/articles", Value::Null).await, (200, json!([])));

    pool.close().await;
    drop_database(&server, &name).await;
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test]
async fn a_forgotten_file_is_named_at_the_start() {
    let (server, name, url) = create_database("forgets").await;
    let (pool, auth) = start(&url, Secret::generate()).await.expect("it starts");
    pool.execute("ALTER TABLE auth_session DROP COLUMN suspicious_at").await.expect("a change");
    let missing = auth.check_tables().await.expect_err("a column is missing").to_string();
    assert!(missing.contains("auth_session.suspicious_at"), "{missing}");
    pool.close().await;
    drop_database(&server, &name).await;
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test]
async fn nodes_that_start_together_all_start() {
    let (server, name, url) = create_database("together").await;
    let nodes = (0..5).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            let secret = Secret::generate();
            let (pool, _) = start(&url, secret).await.map_err(|error| error.to_string())?;
            pool.close().await;
            Ok::<_, String>(())
        })
    });
    for node in nodes.collect::<Vec<_>>() {
        node.await.expect("no node panics").expect("it starts");
    }
    drop_database(&server, &name).await;
}
