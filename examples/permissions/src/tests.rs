//! Tests of what `main.rs` describes.

use axum::http::Method;
use portcullis::test_kit::TestClient;
use serde_json::json;

use super::*;

async fn sign_in(auth: &Portcullis, app: &Router, name: &str, password: &str) -> TestClient {
    let client = auth.test().nobody();
    let body = json!({ "login": name, "password": password });
    assert_eq!(client.post("/auth/login").json(&body).send(app).await.status(), 200);
    client
}

#[tokio::test]
async fn each_account_gets_what_its_role_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let (auth, db) = start(&directory).await.expect("a database");
    let password = random_password().expect("randomness");
    seed(&auth, "erin", "editor", &password).await.expect("an account");
    seed(&auth, "greg", "guest", &password).await.expect("an account");
    let app = app(&auth, db).expect("permissions");
    let nobody = auth.test().nobody();
    let erin = sign_in(&auth, &app, "erin", &password).await;
    let greg = sign_in(&auth, &app, "greg", &password).await;
    for (method, path, as_nobody, as_greg, as_erin) in [
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
        for (client, expected) in [(&nobody, as_nobody), (&greg, as_greg), (&erin, as_erin)] {
            let answer = client.request(method.clone(), path).send(&app).await;
            assert_eq!(answer.status(), expected, "{method} {path} {client:?}");
        }
    }
}

#[tokio::test]
async fn a_list_contains_only_readable_documents() {
    let directory = tempfile::tempdir().expect("a directory");
    let (auth, db) = start(&directory).await.expect("a database");
    let pair = RoleDefinition::new("pair", ["doc:read:1,3", "doc:delete:2"]);
    let nobody = RoleDefinition::new("nobody", ["doc:publish"]);
    auth.roles().define([pair, nobody]).await.expect("roles");
    let app = app(&auth, db).expect("permissions");
    for (name, role, listed) in [
        ("erin", "editor", r#"["1","2","3"]"#),
        ("greg", "guest", r#"["1"]"#),
        ("paul", "pair", r#"["1","3"]"#),
        ("nora", "nobody", "[]"),
    ] {
        let account = auth.accounts().create(NewAccount::username(name)).await.expect("it is made");
        auth.roles().grant(account.id(), role).await.expect("it is granted");
        let answer = auth.test().login_as(&account).get("/docs").send(&app).await;
        assert_eq!(answer.text(), listed, "{name}");
    }
}

/// Who may call what. A change shows up in `access.txt`, so a reviewer sees it.
#[tokio::test]
async fn the_table_of_roles_and_routes_matches_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let (auth, db) = start(&directory).await.expect("a database");
    let app = app(&auth, db).expect("permissions");
    auth.test().matrix(&app).await.check("access.txt");
}
