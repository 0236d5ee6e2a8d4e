//! Tests of what `main.rs` describes.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use tower::ServiceExt;

use super::*;

const PASSWORD: &str = "correct horse battery";

/// A client that keeps its cookie.
#[derive(Clone)]
struct Client {
    app: Router,
    cookie: String,
}

impl Client {
    async fn registered(app: &Router, name: &str) -> Self {
        let mut client = Self { app: app.clone(), cookie: String::new() };
        let person = json!({ "username": name, "password": PASSWORD });
        let (status, body) = client.call("POST", "/auth/register", None, person).await;
        assert_eq!(status, 201, "{body}");
        client
    }

    async fn call(
        &mut self,
        method: &str,
        path: &str,
        proof: Option<&str>,
        body: Value,
    ) -> (u16, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .header("sec-fetch-site", "same-origin")
            .header(COOKIE, &self.cookie);
        if let Some(proof) = proof {
            request = request.header("portcullis-action-proof", proof);
        }
        let request = request.body(Body::from(body.to_string())).expect("a request");
        let response = self.app.clone().oneshot(request).await.expect("an answer");
        if let Some(set) = response.headers().get(SET_COOKIE) {
            let pair = set.to_str().expect("ASCII").split(';').next().unwrap_or_default();
            pair.clone_into(&mut self.cookie);
        }
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn write_down(&mut self, to: &str, cents: i64) -> String {
        let wanted = json!({ "to": to, "cents": cents });
        let (status, body) = self.call("POST", "/transfers", None, wanted).await;
        assert_eq!(status, 201, "{body}");
        body["id"].to_string()
    }

    async fn consent(&mut self, id: &str) -> String {
        let path = format!("/transfers/{id}/consent");
        let (status, body) = self.call("POST", &path, None, Value::Null).await;
        assert_eq!(status, 200, "{body}");
        body["action_proof"].as_str().expect("a proof").to_owned()
    }

    async fn send(&mut self, id: &str, proof: Option<&str>) -> (u16, String) {
        let path = format!("/transfers/{id}");
        let (status, body) = self.call("POST", &path, proof, Value::Null).await;
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    }

    async fn cents(&mut self) -> i64 {
        self.call("GET", "/purse", None, Value::Null).await.1["cents"].as_i64().expect("a number")
    }
}

/// The directory must stay until the end of the test.
async fn world() -> (tempfile::TempDir, DatabaseConnection, Portcullis, Client, Client) {
    let directory = tempfile::tempdir().expect("a directory");
    let (db, auth) = start(&directory).await.expect("a database");
    let app = app(db.clone(), &auth);
    let (alice, bob) =
        (Client::registered(&app, "alice").await, Client::registered(&app, "bob").await);
    (directory, db, auth, alice, bob)
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_transfer_runs_once_for_each_consent() {
    let (_directory, _, auth, mut alice, mut bob) = world().await;
    let id = alice.write_down("bob", 1250).await;
    let (_, shown) = alice.call("GET", &format!("/transfers/{id}"), None, Value::Null).await;
    assert_eq!(shown["text"], "Send 12.50 to bob");
    assert_eq!(alice.send(&id, None).await, refused(401, "action_proof_required"));
    let proof = alice.consent(&id).await;
    // Sixteen requests at once, as of a client that repeats what was slow.
    let requests = (0..16).map(|_| {
        let (mut alice, id, proof) = (alice.clone(), id.clone(), proof.clone());
        tokio::spawn(async move { alice.send(&id, Some(&proof)).await })
    });
    let mut answers = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        answers.push(request.await.expect("an answer"));
    }
    answers.sort();
    assert_eq!(answers[0], (200, String::new()));
    assert!(answers[1..].iter().all(|answer| *answer == refused(409, "action_proof_used")));
    assert_eq!((alice.cents().await, bob.cents().await), (8750, 11_250));
    assert!(auth.audit().iter().all(|finding| finding.code != "action_proof_not_spent"));
}

#[tokio::test]
async fn a_transfer_that_fails_does_not_use_the_consent_up() {
    let (_directory, _, _, mut alice, mut bob) = world().await;
    let id = alice.write_down("bob", 10_001).await;
    let proof = alice.consent(&id).await;
    assert_eq!(alice.send(&id, Some(&proof)).await, refused(409, "not_enough_money"));
    assert_eq!((alice.cents().await, bob.cents().await), (10_000, 10_000));
    let gift = bob.write_down("alice", 1).await;
    let consent = bob.consent(&gift).await;
    assert_eq!(bob.send(&gift, Some(&consent)).await.0, 200);
    assert_eq!(alice.send(&id, Some(&proof)).await.0, 200, "the same consent is still good");
    assert_eq!((alice.cents().await, bob.cents().await), (0, 20_000));
}

#[tokio::test]
async fn a_consent_is_to_one_transfer_of_one_person_with_its_amount() {
    let (_directory, db, _, mut alice, mut bob) = world().await;
    let (id, other) = (alice.write_down("bob", 100).await, alice.write_down("bob", 200).await);
    let proof = alice.consent(&id).await;
    assert_eq!(
        alice.send(&other, Some(&proof)).await,
        refused(403, "action_proof_of_other_resource")
    );
    assert_eq!(bob.send(&id, Some(&proof)).await, refused(403, "action_proof_of_other_session"));
    assert_eq!(alice.send(&format!("0{id}"), Some(&proof)).await.0, 403);
    let consent = format!("/transfers/{id}/consent");
    assert_eq!(bob.call("POST", &consent, None, Value::Null).await.0, 404);
    // Somebody changes the amount after the person has read it.
    transfer::Entity::update_many()
        .col_expr(transfer::Column::Cents, Expr::value(9999))
        .exec(&db)
        .await
        .expect("it is changed");
    assert_eq!(alice.send(&id, Some(&proof)).await, refused(403, "action_proof_of_other_payload"));
    assert_eq!((alice.cents().await, bob.cents().await), (10_000, 10_000));
    for (to, cents) in [("bob", 0), ("bob", -5), ("alice", 5), ("nobody", 5)] {
        let wanted = json!({ "to": to, "cents": cents });
        assert_eq!(alice.call("POST", "/transfers", None, wanted).await.0, 422, "{to} {cents}");
    }
}

#[tokio::test]
async fn the_routes_are_open_to_those_who_may_call_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let (db, auth) = start(&directory).await.expect("a database");
    auth.test().matrix(&app(db, &auth)).await.check("access.txt");
}
