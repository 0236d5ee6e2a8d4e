//! The code of the guide's page about rows that have owners.

use portcullis::permission::Resource;
use portcullis::test_kit::TestClient;

use crate::on_every_database;
use crate::support::Backend;

#[expect(clippy::disallowed_methods, reason = "the code of an application")]
#[path = "../../src/guide/rows_with_owners/documents.rs"]
mod documents;

on_every_database! {
    async fn everyone_edits_their_own_documents_and_those_that_were_shared(probe: Probe) {
        let id = match probe.database.backend {
            Backend::Sqlite => "BLOB",
            Backend::Postgres => "UUID",
            Backend::MySql => "BINARY(16)",
        };
        probe.execute("DROP TABLE IF EXISTS document").await;
        probe
            .execute(&format!(
                "CREATE TABLE document (id {id} PRIMARY KEY, owner_id {id} NOT NULL, title VARCHAR(99) NOT NULL)"
            ))
            .await;
        let app = documents::app(&probe.auth, probe.db.clone());
        let auth = &probe.auth;
        let (alice, bob) = (probe.register("alice").await, probe.register("bob").await);
        let [a, b] = [&alice, &bob].map(|account| auth.test().login_as(account).into_client());
        let create = async |who: &TestClient, title: &str| {
            let answer = who.post("/docs").body("text/plain", title.to_owned()).send(&app).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            answer.json().as_str().expect("an id").to_owned()
        };
        let list = async |who: &TestClient| {
            let mut titles: Vec<String> =
                serde_json::from_value(who.get("/docs").send(&app).await.json()).expect("a list");
            titles.sort();
            titles.join(" ")
        };
        let edit = async |who: &TestClient, id: &str, title: &str| {
            let path = format!("/docs/{id}");
            let answer = who.put(&path).body("text/plain", title.to_owned()).send(&app).await;
            (answer.status().as_u16(), answer.code())
        };
        let done = (200, String::new());
        let not_found = (404, "not_found".to_owned());
        let (of_alice, of_bob) = (create(&a, "alice").await, create(&b, "bob").await);
        assert_eq!((list(&a).await, list(&b).await), ("alice".to_owned(), "bob".to_owned()));
        assert_eq!(edit(&a, &of_alice, "alice2").await, done);
        // Writing the same text again is not an error.
        assert_eq!(edit(&a, &of_alice, "alice2").await, done);
        // A document of another person gets the same answer as one that does not exist.
        let nothing = uuid::Uuid::from_u128(1).to_string();
        assert_eq!(edit(&b, &of_alice, "stolen").await, not_found);
        assert_eq!(edit(&b, &nothing, "stolen").await, not_found);
        // Bob becomes an editor of one document.
        auth.roles().create("editor", ["doc:read", "doc:edit"]).await.expect("a role");
        let shared = Resource::new("doc", &of_alice).expect("a resource");
        auth.roles().grant_on(bob.id(), "editor", &shared).await.expect("it is granted");
        assert_eq!(edit(&b, &of_alice, "ours").await, done);
        assert_eq!((list(&a).await, list(&b).await), ("ours".to_owned(), "bob ours".to_owned()));
        assert_eq!(edit(&a, &of_bob, "stolen").await, not_found);
        auth.roles().revoke_on(bob.id(), "editor", &shared).await.expect("it is revoked");
        assert_eq!(edit(&b, &of_alice, "stolen").await, not_found);
        assert_eq!(list(&b).await, "bob");
        // Support may read and edit all documents, without owning one.
        auth.roles().grant(alice.id(), "editor").await.expect("it is granted");
        assert_eq!((edit(&a, &of_bob, "bob2").await, list(&a).await), (done, "bob2 ours".to_owned()));
        let nobody = auth.test().nobody();
        assert_eq!(nobody.get("/docs").send(&app).await.status(), 401);
        probe.execute("DROP TABLE document").await;
    }
}
