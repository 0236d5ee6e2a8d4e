//! Tests of what `main.rs` describes.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use sea_orm::{DatabaseConnection, EntityTrait};
use tower::ServiceExt;

use super::*;

const PASSWORD: &str = "correct horse battery";
const QUESTION: &str = "/auth/second-factor/challenge";
const AGAIN: &str = "/auth/reauthenticate/challenge";

type Card = BTreeMap<String, String>;

/// A client that keeps its cookie.
#[derive(Clone)]
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

    async fn post(&mut self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, body).await
    }

    /// The status and the code of an answer that refuses.
    async fn refused(&mut self, path: &str, body: Value) -> (u16, String) {
        let (status, body) = self.post(path, body).await;
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    }

    /// The cells for which a page asks.
    async fn asked(&mut self, path: &str) -> Vec<String> {
        let (status, body) = self.post(path, json!({ "method": "external" })).await;
        assert!(status < 300, "{body}");
        let cells = body["challenge"].get("cells").unwrap_or(&body["cells"]);
        serde_json::from_value(cells.clone()).expect("cells")
    }

    /// Signs in with the password, in another browser.
    async fn waiting(&self, name: &str) -> Self {
        let mut other = Self { cookie: String::new(), ..self.clone() };
        let login = json!({ "login": name, "password": PASSWORD });
        let (status, body) = other.post("/auth/login", login).await;
        assert_eq!((status, &body["result"]), (200, &json!("second_factor_required")));
        assert_eq!(body["methods"], json!([{ "method": "external" }]));
        other
    }
}

fn digits(card: &Card, cells: &[String]) -> String {
    cells.iter().map(|cell| card[cell].as_str()).collect::<Vec<_>>().join(" ")
}

fn code(digits: &str) -> Value {
    json!({ "method": "external", "code": digits })
}

/// The digits, with another one at the end.
fn wrong(digits: &str) -> String {
    let (start, last) = digits.split_at(digits.len() - 1);
    format!("{start}{}", if last == "0" { "1" } else { "0" })
}

async fn registered(app: &Router, name: &str) -> Client {
    let mut client = Client { app: app.clone(), cookie: String::new() };
    let person = json!({ "username": name, "password": PASSWORD });
    assert_eq!(client.post("/auth/register", person).await.0, 201);
    client
}

async fn print(client: &mut Client) -> Card {
    let (status, body) = client.post("/my-card", Value::Null).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_value(body["card"].clone()).expect("a card")
}

/// A person who uses a card.
async fn person(app: &Router, name: &str) -> (Client, Card) {
    let mut client = registered(app, name).await;
    let card = print(&mut client).await;
    let asked = client.asked("/my-card/question").await;
    let confirmed = json!({ "digits": digits(&card, &asked) });
    assert_eq!(client.post("/my-card/confirm", confirmed).await.0, 204);
    (client, card)
}

async fn service() -> (tempfile::TempDir, DatabaseConnection, Portcullis, Router) {
    let directory = tempfile::tempdir().expect("a directory");
    let (cards, auth) = start(&directory).await.expect("a database");
    let file = directory.path().join("own-second-factor.sqlite");
    let db = Database::connect(format!("sqlite://{}", file.display())).await.expect("it opens");
    let app = app(cards, &auth);
    (directory, db, auth, app)
}

#[tokio::test]
async fn a_card_is_printed_confirmed_used_and_removed() {
    let (_directory, db, _auth, app) = service().await;
    let mut alice = registered(&app, "alice").await;
    let old = print(&mut alice).await;
    let card = print(&mut alice).await;
    assert_eq!((card.len(), card.values().all(|digits| digits.len() == 3)), (49, true));
    // Before a question, no digits are right. Afterwards those of the old card are not.
    let asked: Vec<_> = ["A1", "A2", "A3"].map(str::to_owned).to_vec();
    let guess = json!({ "digits": digits(&card, &asked) });
    assert_eq!(alice.refused("/my-card/confirm", guess).await, (403, "wrong_code".to_owned()));
    let asked = alice.asked("/my-card/question").await;
    let guess = json!({ "digits": digits(&old, &asked) });
    assert_eq!(alice.refused("/my-card/confirm", guess).await, (403, "wrong_code".to_owned()));
    let mut phone = Client { cookie: String::new(), ..alice.clone() };
    let login = json!({ "login": "alice", "password": PASSWORD });
    assert_eq!(phone.post("/auth/login", login.clone()).await.1["result"], "session");
    let right = json!({ "digits": digits(&card, &asked) });
    assert_eq!(alice.post("/my-card/confirm", right).await.0, 204);
    assert_eq!(phone.call("GET", "/me", Value::Null).await.0, 401, "other sessions have ended");
    let (_, me) = alice.call("GET", "/me", Value::Null).await;
    assert_eq!(me, json!({ "username": "alice", "factors": ["external"] }));
    // A stolen session gets no new card.
    let refused = alice.refused("/my-card", Value::Null).await;
    assert_eq!(refused, (409, "factor_already_enrolled".to_owned()));

    // A sign-in, and a step-up.
    let mut phone = alice.waiting("alice").await;
    let asked = phone.asked(QUESTION).await;
    let right = digits(&card, &asked);
    let refused = phone.refused("/auth/second-factor/verify", code(&wrong(&right))).await;
    assert_eq!(refused, (403, "wrong_code".to_owned()));
    let mut copy = phone.clone();
    // People type the digits in their own way.
    let together = right.replace(' ', "");
    let (status, body) = phone.post("/auth/second-factor/verify", code(&together)).await;
    assert_eq!((status, &body["result"]), (200, &json!("session")));
    assert_eq!(phone.call("GET", "/me", Value::Null).await.0, 200);
    let refused = copy.refused("/auth/second-factor/verify", code(&right)).await;
    assert_eq!(refused, (401, "session_ended".to_owned()));
    let again = phone.asked(AGAIN).await;
    assert_eq!(phone.post("/auth/reauthenticate", code(&digits(&card, &again))).await.0, 200);

    assert_eq!(phone.call("DELETE", "/my-card", Value::Null).await.0, 204);
    assert_eq!(alice.call("GET", "/me", Value::Null).await.0, 401, "other sessions have ended");
    assert!(card_cell::Entity::find().all(&db).await.expect("rows").is_empty());
    assert_eq!(copy.post("/auth/login", login).await.1["result"], "session");
}

#[tokio::test]
async fn a_question_belongs_to_its_sign_in_and_its_account() {
    let (_directory, _db, _auth, app) = service().await;
    let (alice, card) = person(&app, "alice").await;
    let (bob, of_bob) = person(&app, "bob").await;
    let (mut one, mut other) = (alice.waiting("alice").await, alice.waiting("alice").await);
    let mut bob = bob.waiting("bob").await;
    let (asked, asked_other) = (one.asked(QUESTION).await, other.asked(QUESTION).await);
    let asked_bob = bob.asked(QUESTION).await;
    let verify = "/auth/second-factor/verify";
    let wrong = (403, "wrong_code".to_owned());
    // Once in 110 544 times, both are asked for the same cells.
    if asked != asked_other {
        assert_eq!(one.refused(verify, code(&digits(&card, &asked_other))).await, wrong);
    }
    assert_eq!(one.refused(verify, code(&digits(&of_bob, &asked))).await, wrong);
    assert_eq!(bob.refused(verify, code(&digits(&card, &asked_bob))).await, wrong);
    // A new question replaces the last one.
    let newer = other.asked(QUESTION).await;
    if newer != asked_other {
        assert_eq!(other.refused(verify, code(&digits(&card, &asked_other))).await, wrong);
    }
    assert_eq!(one.post(verify, code(&digits(&card, &asked))).await.0, 200);
    assert_eq!(other.post(verify, code(&digits(&card, &newer))).await.0, 200);
    assert_eq!(bob.post(verify, code(&digits(&of_bob, &asked_bob))).await.0, 200);
}

#[tokio::test]
async fn nobody_may_ask_until_the_cells_that_they_know_are_asked() {
    let (_directory, _db, _auth, app) = service().await;
    let (alice, _) = person(&app, "alice").await;
    let method = json!({ "method": "external" });
    let mut answers = Vec::new();
    for _ in 0..12 {
        let mut thief = alice.waiting("alice").await;
        answers.push(thief.refused(QUESTION, method.clone()).await);
    }
    let limited = answers.iter().filter(|answer| **answer == (429, "too_soon".to_owned())).count();
    assert!((1..12).contains(&limited), "{answers:?}");
    assert_eq!(answers[0].0, 202);
}

#[tokio::test]
async fn the_table_has_digests_and_goes_with_the_account() {
    let (_directory, db, auth, app) = service().await;
    let (_, card) = person(&app, "alice").await;
    person(&app, "bob").await;
    let rows = async || card_cell::Entity::find().all(&db).await.expect("rows");
    let stored = rows().await;
    assert_eq!(stored.len(), 2 * card.len());
    for row in &stored {
        assert_eq!(row.digest.len(), 32);
    }
    let different: std::collections::BTreeSet<_> = stored.iter().map(|row| &row.digest).collect();
    assert_eq!(different.len(), stored.len(), "equal digits have different digests");
    let alice = auth.accounts().find_by_login("alice").await.expect("it answers").expect("alice");
    auth.accounts().erase(alice.id()).await.expect("erased");
    let left = rows().await;
    assert_eq!(left.len(), card.len());
    assert!(left.iter().all(|row| row.account_id != alice.id().as_uuid()));
}

#[tokio::test]
async fn who_may_call_what_is_written_down() {
    let (_directory, _db, auth, app) = service().await;
    auth.test().matrix(&app).await.check("access.txt");
}
