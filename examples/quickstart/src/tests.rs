//! What the README promises of this example.

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::{Method, Request};
use tower::ServiceExt;

use super::*;

/// A client that keeps its cookie.
struct Client {
    app: Router,
    cookie: Option<String>,
}

impl Client {
    fn new(auth: &Portcullis) -> Self {
        Self { app: app(auth).expect("permissions"), cookie: None }
    }

    async fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let request = request.body(body).expect("a request");
        let response = self.app.clone().oneshot(request).await.expect("an answer");
        if let Some(set) = response.headers().get(SET_COOKIE) {
            let pair = set.to_str().expect("ASCII").split(';').next().unwrap_or_default();
            self.cookie = Some(pair.to_owned()).filter(|pair| !pair.ends_with('='));
        }
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    async fn get(&mut self, path: &str) -> u16 {
        self.call(Method::GET, path, None).await.0
    }

    async fn post(&mut self, path: &str, body: Value) -> u16 {
        self.call(Method::POST, path, Some(body)).await.0
    }
}

async fn started(path: &str) -> Portcullis {
    let db = connect(path).await.expect("a database");
    Migrator::up(&db, None).await.expect("the migrations run");
    let secret = start::secret(path).expect("a secret");
    let auth = Portcullis::builder(db).secret(secret).build().expect("a configuration");
    auth.roles().create("reader", ["doc:read"]).await.expect("a role");
    auth
}

#[tokio::test]
async fn an_account_may_what_its_roles_say_and_its_session_survives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("test.sqlite").display().to_string();
    let auth = started(&path).await;
    let first = auth.bootstrap_admin(NewAccount::username("admin")).await.expect("an account");
    let first = first.expect("it is the first");

    let mut alice = Client::new(&auth);
    assert_eq!(alice.get("/").await, 200);
    assert_eq!(alice.get("/public").await, 200);
    assert_eq!(alice.get("/me").await, 401);
    let weak = json!({ "username": "alice", "password": "short" });
    let (status, problem) = alice.call(Method::POST, "/auth/register", Some(weak)).await;
    assert_eq!(status, 422);
    assert!(problem.contains("at least 15 characters"), "{problem}");
    let fine = json!({ "username": "alice", "password": "correct horse battery" });
    assert_eq!(alice.post("/auth/register", fine).await, 201);
    assert_eq!(alice.get("/me").await, 200);
    assert_eq!(alice.get("/admin").await, 403);
    assert_eq!(alice.get("/docs/1").await, 403);
    assert_eq!(alice.call(Method::PUT, "/admin/roles/admin/alice", None).await.0, 403);

    let mut admin = Client::new(&auth);
    let login = json!({ "login": "admin", "password": first.password() });
    assert_eq!(admin.post("/auth/login", login).await, 200);
    assert_eq!(admin.get("/admin").await, 200);
    assert_eq!(admin.call(Method::PUT, "/admin/roles/reader/alice", None).await.0, 204);
    assert_eq!(admin.call(Method::PUT, "/admin/roles/reader/nobody", None).await.0, 404);
    assert_eq!(alice.get("/docs/1").await, 200);

    let again = started(&path).await;
    assert!(again.bootstrap_admin(NewAccount::username("admin")).await.expect("no").is_none());
    alice.app = app(&again).expect("permissions");
    assert_eq!(alice.get("/docs/1").await, 200);
    assert_eq!(alice.call(Method::POST, "/auth/logout", None).await.0, 204);
    assert_eq!(alice.cookie, None);
    assert_eq!(alice.get("/me").await, 401);
}

#[cfg(unix)]
#[test]
fn the_secret_is_made_once_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("test.sqlite").display().to_string();
    let file = format!("{path}.secret");
    start::secret(&path).expect("a secret");
    let made = std::fs::read(&file).expect("a file");
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    start::secret(&path).expect("the same secret");
    assert_eq!(std::fs::read(&file).expect("a file"), made);
}
