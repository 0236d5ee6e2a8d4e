//! Action proofs: what a proof is bound to, that it is used up once and with the action, and the routes.

use std::time::Duration;

use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis::action_proof::{
    ActionProofError, ActionProofId, Expected, IssuedProof, Payload, SpentProof, VerifiedProof,
};
use portcullis::base::clock::MockClock;
use portcullis::permission::RoleDefinition;

use portcullis::{Account, ClientInfo, Factor, Fault, Identity, Permission, Portcullis, Rejection};
use reqwest::Method;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::json;

use crate::on_every_database;
use crate::race::parallel;
use crate::support::browser::{Answer, send};
use crate::support::call::{cookie_of, extracted};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp::check;

mod guard;
mod open;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HEADER: &str = "portcullis-action-proof";
const NEW_PASSWORD: &str = "another horse battery staple";

/// A session of this account with a recent password.
async fn identity(auth: &Portcullis, account: &Account) -> Identity {
    let client = ClientInfo::default();
    let start = auth.sessions().start(account, &client).factor(Factor::Password);
    extracted(auth, &cookie_of(&start.await.expect("a session"))).await
}

async fn issued(auth: &Portcullis, identity: &Identity, resource: &str) -> IssuedProof {
    let issue = auth.action_proofs().issue("pay", identity).resource(resource);
    issue.sign(&ClientInfo::default()).await.expect("it is issued")
}

fn pay(resource: &str) -> Expected<'_> {
    Expected::action("pay").resource(resource)
}

fn details(amount: &str) -> Payload {
    Payload::new().field("amount", amount)
}

/// The variant of an error, without its fields.
fn name<T>(result: Result<T, ActionProofError>) -> String {
    let error = format!("{:?}", result.err().expect("it is refused"));
    error.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

/// The details of events, without the id of the proof with which each begins.
async fn events(probe: &Probe, kind: &str) -> Vec<String> {
    let query = format!("SELECT detail FROM auth_event WHERE kind = '{kind}' ORDER BY at, id");
    let details = probe.texts(&query).await;
    let about = details.iter().map(|detail| {
        let (id, about) = detail.split_once(' ').expect("an id and a text");
        assert!(id.parse::<ActionProofId>().is_ok(), "{detail}");
        about.to_owned()
    });
    about.collect()
}

/// The bookings of the action, in a table of the application.
async fn bookings(probe: &Probe) {
    probe.execute("DROP TABLE IF EXISTS app_booking").await;
    probe.execute("CREATE TABLE app_booking (invoice VARCHAR(64) NOT NULL)").await;
}

async fn booked(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM app_booking").await
}

/// Only a proof that was used up gets here.
async fn book(txn: &portcullis::Transaction, spent: &SpentProof) {
    let invoice = spent.proof().resource().expect("an invoice");
    let insert = format!("INSERT INTO app_booking VALUES ('{invoice}')");
    txn.execute_unprepared(&insert).await.expect("it is booked");
}

async fn paid(
    auth: Portcullis,
    client: ClientInfo,
    proof: VerifiedProof,
    Json(amount): Json<String>,
) -> Result<&'static str, Rejection> {
    let proof = proof.check_payload(&details(&amount))?;
    let txn = auth.begin().await?;
    let spent = proof.spend_within(&txn, &client).await?;
    book(&txn, &spent).await;
    txn.commit().await.map_err(Fault::from)?;
    Ok("paid")
}

fn application(auth: &Portcullis) -> Router {
    let pay = Router::new()
        .route("/invoices/{id}/pay", post(paid))
        .route_layer(auth.require_action_proof("pay").on_path("id"));
    let close = Router::new()
        .route("/close", get(async |proof: VerifiedProof| proof.action().to_owned()))
        .route_layer(auth.require_action_proof("close"));
    let forgotten = Router::new().route("/forgotten", get(async |_: VerifiedProof| "open"));
    let own = pay.merge(close).merge(forgotten).layer(auth.layer());
    own.nest("/proofs", portcullis::action_proof::routes(auth, ["pay", "close"])).merge(app(auth))
}

async fn consent(browser: &mut Browser, invoice: &str, amount: &str) -> String {
    let body = json!({ "action": "pay", "resource": invoice, "fields": [["amount", amount]] });
    let answer = browser.post("/proofs/action-proofs", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["action_proof"].as_str().expect("a proof").to_owned()
}

async fn try_to_pay(browser: &mut Browser, invoice: &str, amount: &str, proof: &[&str]) -> Answer {
    let mut request = browser.request(Method::POST, &format!("/invoices/{invoice}/pay"));
    for proof in proof {
        request = request.header(HEADER, *proof);
    }
    browser.send(request.json(&json!(amount))).await
}

on_every_database! {
    async fn a_proof_says_who_consented_and_is_used_up_once(probe: Probe) {
        let alice = probe.register("alice").await;
        let admin = RoleDefinition::new("payer", ["invoice:pay"]);
        probe.auth.roles().define([admin]).await.expect("it is defined");
        probe.auth.roles().grant(alice.id(), "payer").await.expect("it is granted");
        let session = identity(&probe.auth, &alice).await;
        let proofs = probe.auth.action_proofs();
        let issue = proofs.issue("pay", &session).resource("42").agreed_to("Pay 100.00 EUR");
        let issued = issue.sign(&ClientInfo::default()).await.expect("it is issued");
        assert_eq!(issued.expires_at(), probe.auth_now().plus(10 * MINUTE));
        assert_eq!(events(&probe, "action_proof_issued").await, ["pay 42: Pay 100.00 EUR"]);

        let (proof, cost) = probe.statements(proofs.verify(issued.token(), &pay("42"))).await;
        let proof = proof.expect("it counts");
        assert_eq!(cost, 3);
        assert_eq!((proof.account().id(), proof.session_id()), (alice.id(), session.session().id()));
        assert_eq!((proof.action(), proof.resource()), ("pay", Some("42")));
        assert_eq!(proof.grants().roles(), ["payer"]);
        let (groups, cost) = probe.statements(proof.groups()).await;
        assert_eq!((groups.expect("it answers").len(), cost), (0, 1));
        for group in ["books", "staff"] {
            probe.auth.groups().create(group).await.expect("it is created");
            probe.auth.groups().join(group, alice.id()).await.expect("it joins");
        }
        let groups = proof.groups().await.expect("it answers");
        let mut groups: Vec<_> = groups.into_iter().map(|group| group.name).collect();
        groups.sort();
        assert_eq!(groups, ["books", "staff"]);
        assert!(proof.is_of(&session) && proof.is_from(alice.id(), proof.issuer()));
        assert!(!proof.is_from(alice.id(), "https://elsewhere.example"));
        let bob = probe.register("bob").await;
        assert!(!proof.is_from(bob.id(), proof.issuer()));
        assert!(!proof.is_of(&identity(&probe.auth, &bob).await));
        assert!(!proof.is_of(&identity(&probe.auth, &alice).await), "another sign-in");

        let client = ClientInfo::default();
        let copy = proof.clone();
        let spent = proof.spend(&client).await.expect("it is used up");
        assert_eq!(spent.proof().id(), issued.id());
        assert!(spent.is_about("pay", Some("42")));
        for (action, resource) in [("pay", None), ("pay", Some("4")), ("pay", Some("")), ("pays", Some("42"))] {
            assert!(!spent.is_about(action, resource), "{action} {resource:?}");
        }
        let ids = probe.texts("SELECT detail FROM auth_event WHERE kind LIKE 'action_proof_%'").await;
        assert_eq!(ids.len(), 2);
        assert!(ids.iter().all(|detail| detail.starts_with(&format!("{} pay 42", issued.id()))), "{ids:?}");
        assert_eq!(name(copy.spend(&client).await), "Used");
        assert_eq!(name(proofs.verify(issued.token(), &pay("42")).await), "Used");
        assert_eq!(events(&probe, "action_proof_spent").await, ["pay 42"]);
        // Another process with the same secret knows it too.
        let restarted = probe.rebuilt(|builder| builder);
        assert_eq!(name(restarted.action_proofs().verify(issued.token(), &pay("42")).await), "Used");
    }

    async fn each_difference_has_an_error_of_its_own_and_uses_nothing_up(probe: Probe) {
        let alice = probe.register("alice").await;
        let right = Permission::parse("invoice:pay,read:42").expect("a permission");
        probe.auth.permissions().grant(alice.id(), &right).await.expect("it is granted");
        let session = identity(&probe.auth, &alice).await;
        let proofs = probe.auth.action_proofs();
        let issue = proofs.issue("pay", &session).resource("ABC123").over(&details("100.00"));
        let issue = issue.scope("books payments").permissions(["invoice:pay:42", "invoice:read:42"]);
        let token = issue.sign(&ClientInfo::default()).await.expect("it is issued").token().to_owned();
        let (one, other) = (details("100.00"), details("100"));
        let right = || pay("ABC123");
        let table = [
            (Expected::action("pays").resource("ABC123"), "OtherAction"),
            (Expected::action("Pay").resource("ABC123"), "OtherAction"),
            (Expected::action("").resource("ABC123"), "OtherAction"),
            (Expected::action("pay"), "OtherResource"),
            // A part of it is something else.
            (pay("ABC"), "OtherResource"),
            (pay("abc123"), "OtherResource"),
            (pay("ABC1234"), "OtherResource"),
            (pay("e"), "OtherResource"),
            (pay(""), "OtherResource"),
            (right().payload(&other), "OtherPayload"),
            (right().scope("book"), "OtherScope"),
            (right().scope("books payments"), "OtherScope"),
            (right().scope(""), "OtherScope"),
            (right().permission("invoice:pay:43"), "LacksPermission"),
            (right().permission("invoice:pay"), "LacksPermission"),
            (right().permission("invoice:pay:42").permission("invoice:write:42"), "LacksPermission"),
            (right().permission("not a permission:"), "LacksPermission"),
        ];
        for (expected, error) in table {
            let (result, cost) = probe.statements(proofs.verify(&token, &expected)).await;
            assert_eq!((name(result).as_str(), cost), (error, 0), "{expected:?}");
        }
        let fits = [
            right(),
            right().payload(&one),
            right().scope("books"),
            right().scope("payments").permission("invoice:pay:42").permission("invoice:read:42"),
        ];
        for expected in fits {
            let result = proofs.verify(&token, &expected).await;
            assert!(result.is_ok(), "{expected:?}: {result:?}");
        }
        // What is no proof of ours.
        let cookie = cookie_of(&probe.auth.sessions().start(&alice, &ClientInfo::default()).await.expect("a session"));
        let session_token = cookie.split_once('=').expect("a pair").1;
        // One character of the signature, and one of the payload.
        let parts: Vec<_> = token.split('.').map(str::len).collect();
        let changed = |at: usize| {
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            format!("{}{other}{}", &token[..at], &token[at + 1..])
        };
        let (signature, payload) = (changed(token.len() - parts[2] / 2), changed(parts[0] + 1 + parts[1] / 2));
        for no_proof in ["", ".", "a.b.c", session_token, &signature, &payload, &token[1..], &"x".repeat(100_000)] {
            let (result, cost) = probe.statements(proofs.verify(no_proof, &right())).await;
            assert_eq!((name(result).as_str(), cost), ("Invalid", 0), "{no_proof:.40}");
        }
        let other = probe.rebuilt(|builder| builder.configure(|config| {
            config.service.issuer = Some("https://other.example".to_owned());
        }));
        let (result, cost) = probe.statements(other.action_proofs().verify(&token, &right())).await;
        assert_eq!((name(result).as_str(), cost), ("OtherService", 0));
        // Who does not compare the details cannot use it up.
        let client = ClientInfo::default();
        let proof = proofs.verify(&token, &right()).await.expect("it counts");
        assert_eq!(name(proof.clone().spend(&client).await), "PayloadNotCompared");
        assert_eq!(name(proof.clone().check_payload(&details("1")) ), "OtherPayload");
        let proof = proof.check_payload(&one).expect("the same details");
        assert!(proof.spend(&client).await.is_ok(), "nothing was used up before");
    }

    async fn a_word_of_a_resource_counts_only_if_it_is_asked_for_and_only_for_its_action(probe: Probe) {
        let alice = probe.register("alice").await;
        let session = identity(&probe.auth, &alice).await;
        let proofs = probe.auth.action_proofs();
        let create = async |resource: &str| {
            let issue = proofs.issue("create", &session).resource(resource);
            issue.sign(&ClientInfo::default()).await.expect("it is issued").token().to_owned()
        };
        let token = create("ABC123 express").await;
        let word = |word| Expected::action("create").danger_accept_component(word);
        for accepted in ["ABC123", "express"] {
            assert!(proofs.verify(&token, &word(accepted)).await.is_ok(), "{accepted}");
        }
        for refused in [
            "", " ", "e", "ABC", "BC123", "ABC123 ", " ABC123", "ABC123 express", "abc123", "ABC123e", "create",
            "express ABC123", "ABC123\u{a0}express",
        ] {
            let (result, cost) = probe.statements(proofs.verify(&token, &word(refused))).await;
            assert_eq!((name(result).as_str(), cost), ("OtherResource", 0), "{refused:?}");
        }
        // It is off unless it is asked for, and another action is another action.
        assert_eq!(name(proofs.verify(&token, &Expected::action("create").resource("ABC123")).await), "OtherResource");
        for action in ["delete", "creat", "create-all", ""] {
            let expected = Expected::action(action).danger_accept_component("ABC123");
            assert_eq!(name(proofs.verify(&token, &expected).await), "OtherAction", "{action}");
        }
        // The last of the two calls counts.
        assert_eq!(name(proofs.verify(&token, &word("ABC123").resource("ABC123")).await), "OtherResource");
        let whole = Expected::action("create").resource("x").danger_accept_component("ABC123");
        assert!(proofs.verify(&token, &whole).await.is_ok());
        // A resource of one word is this word. Blanks make no empty word, and no resource has none.
        assert!(proofs.verify(&create("ABC123").await, &word("ABC123")).await.is_ok());
        let blanks = create(" ABC123  x ").await;
        assert!(proofs.verify(&blanks, &word("ABC123")).await.is_ok());
        assert_eq!(name(proofs.verify(&blanks, &word("")).await), "OtherResource");
        let none = proofs.issue("create", &session).sign(&ClientInfo::default()).await.expect("it is issued");
        for refused in ["", "create"] {
            assert_eq!(name(proofs.verify(none.token(), &word(refused)).await), "OtherResource");
        }
    }

    async fn a_proof_has_an_age(probe: Probe) {
        let alice = probe.register("alice").await;
        let session = identity(&probe.auth, &alice).await;
        let proofs = probe.auth.action_proofs();
        let issue = |lifetime| proofs.issue("pay", &session).resource("1").lifetime(lifetime);
        for lifetime in [Duration::ZERO, Duration::from_secs(7201)] {
            assert_eq!(name(issue(lifetime).sign(&ClientInfo::default()).await), "InvalidProof");
        }
        for seconds in [1, 7200] {
            let lifetime = Duration::from_secs(seconds);
            let issued = issue(lifetime).resource(format!("for {seconds} s")).sign(&ClientInfo::default()).await;
            assert_eq!(issued.expect("it is issued").expires_at(), probe.auth_now().plus(lifetime));
        }
        let longer = probe.rebuilt(|builder| builder.configure(|config| {
            config.action_proof.lifetime = Duration::from_secs(3600);
        }));
        let issued_longer = issued(&longer, &session, "long").await;
        assert_eq!(issued_longer.expires_at(), probe.auth_now().plus(60 * MINUTE));
        let token = issued(&probe.auth, &session, "1").await.token().to_owned();
        // A node whose clock is behind.
        for (behind, expected) in [(30, None), (31, Some("FromTheFuture"))] {
            let clock = MockClock::at(probe.auth_now().minus(behind * SECOND));
            let node = probe.rebuilt(|builder| builder.clock(clock));
            let result = node.action_proofs().verify(&token, &pay("1")).await;
            assert_eq!(result.err().map(|error| name::<()>(Err(error))).as_deref(), expected, "{behind}");
        }
        probe.clock.advance(MINUTE);
        assert!(proofs.verify(&token, &pay("1").max_age(MINUTE)).await.is_ok());
        assert_eq!(name(proofs.verify(&token, &pay("1").max_age(MINUTE - SECOND)).await), "Stale");
        probe.clock.advance(9 * MINUTE);
        let proof = proofs.verify(&token, &pay("1")).await.expect("the limit counts");
        probe.clock.advance(SECOND);
        let (result, cost) = probe.statements(proofs.verify(&token, &pay("1"))).await;
        assert_eq!((name(result).as_str(), cost), ("Stale", 0));
        assert_eq!(name(proof.spend(&ClientInfo::default()).await), "Ended");
        probe.clock.advance(24 * 60 * MINUTE + 30 * MINUTE);
        assert_eq!(name(proofs.verify(&token, &pay("1")).await), "Stale");
    }

    async fn a_proof_ends_with_its_sign_in_and_what_ends_the_links_of_the_account(probe: Probe) {
        let auth = probe.auth.clone();
        let client = ClientInfo::default();
        for cause in ["signed out", "suspicious", "disabled", "new password", "taken back", "replaced"] {
            let person = cause.replace(' ', "-");
            let alice = probe.register(&person).await;
            let session = identity(&auth, &alice).await;
            let other = identity(&auth, &alice).await;
            let token = issued(&auth, &session, "1").await.token().to_owned();
            let proof = auth.action_proofs().verify(&token, &pay("1")).await.expect("it counts");
            match cause {
                "signed out" => {
                    let _cookie = auth.sessions().end(session.session().id()).await.expect("it ends");
                }
                "suspicious" => {
                    auth.sessions().mark_suspicious(session.session().id()).await.expect("it is marked");
                }
                "disabled" => auth.accounts().disable(alice.id()).await.expect("it is disabled"),
                "new password" => {
                    let owner = other.owner().expect("it has no ceiling");
                    let changed = auth.password_change().change(&owner, None, NEW_PASSWORD, &client).await;
                    let _issued = changed.expect("it is changed");
                }
                "taken back" => {
                    let bob = identity(&auth, &probe.register("bob").await).await;
                    let (owner, stranger) = (other.owner().expect("no ceiling"), bob.owner().expect("no ceiling"));
                    let revoke = async |owner| auth.action_proofs().revoke(owner, proof.id(), &client).await;
                    assert_eq!(name(revoke(&stranger).await), "NotFound");
                    revoke(&owner).await.expect("it ends");
                    assert_eq!(name(revoke(&owner).await), "NotFound");
                }
                _ => {
                    // Another session and another resource replace nothing.
                    let _other = issued(&auth, &other, "1").await;
                    let _other = issued(&auth, &session, "2").await;
                    assert!(auth.action_proofs().verify(&token, &pay("1")).await.is_ok());
                    probe.clock.advance(SECOND);
                    let newer = issued(&auth, &session, "1").await.token().to_owned();
                    assert!(auth.action_proofs().verify(&newer, &pay("1")).await.is_ok());
                }
            }
            assert_eq!(name(auth.action_proofs().verify(&token, &pay("1")).await), "Ended", "{cause}");
            // Also if it was checked before, and the handler took its time.
            assert_eq!(name(proof.spend(&client).await), "Ended", "{cause}");
        }
        assert_eq!(events(&probe, "action_proof_spent").await.len(), 0);
        assert_eq!(events(&probe, "action_proof_revoked").await, ["pay 1"]);
    }

    async fn the_record_of_a_consent_is_whole_or_there_is_no_proof(probe: Probe) {
        let alice = probe.register("alice").await;
        let session = identity(&probe.auth, &alice).await;
        let sign = async |resource: usize, text: usize| {
            let issue = probe.auth.action_proofs().issue("pay", &session).resource("é".repeat(resource / 2));
            issue.agreed_to("x".repeat(text)).sign(&ClientInfo::default()).await
        };
        // `pay `, 160 bytes, `: `, and the text.
        let issued = sign(160, 218 - 4 - 160 - 2).await.expect("it is issued");
        assert_eq!(issued.agreed_to().len(), 218);
        assert_eq!(events(&probe, "action_proof_issued").await, [issued.agreed_to()]);
        let about = format!("pay {}", "é".repeat(80));
        let proofs = probe.auth.action_proofs();
        let resource = "é".repeat(80);
        let proof = proofs.verify(issued.token(), &pay(&resource)).await.expect("it counts");
        assert!(proof.spend(&ClientInfo::default()).await.is_ok());
        assert_eq!(events(&probe, "action_proof_spent").await, [about]);
        assert_eq!(name(sign(160, 218 - 4 - 160 - 1).await), "InvalidProof");
        assert_eq!(name(sign(162, 1).await), "InvalidProof");
        assert_eq!(name(sign(2, 0).await), "InvalidProof");
    }

    async fn a_step_up_keeps_the_proofs_of_its_sign_in(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        browser = browser.at(serve(application(&probe.auth)).await);
        bookings(&probe).await;
        let proof = consent(&mut browser, "7", "10").await;
        let mut earlier = browser.clone();
        let answer = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // The session before does nothing that lasts.
        check(&try_to_pay(&mut earlier, "7", "10", &[&proof]).await, 401, "session_ended");
        let body = json!({ "action": "pay", "resource": "7" });
        check(&earlier.post("/proofs/action-proofs", body).await, 401, "session_ended");
        assert_eq!(try_to_pay(&mut browser, "7", "10", &[&proof]).await.text, "paid");
        // A second consent to the same thing replaces the first one, also after a step-up.
        let first = consent(&mut browser, "8", "100").await;
        let answer = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        probe.clock.advance(SECOND);
        let second = consent(&mut browser, "8", "120").await;
        check(&try_to_pay(&mut browser, "8", "100", &[&first]).await, 403, "action_proof_ended");
        assert_eq!(try_to_pay(&mut browser, "8", "120", &[&second]).await.text, "paid");
        assert_eq!(booked(&probe).await, 2);
        probe.execute("DROP TABLE app_booking").await;
    }

    async fn a_limited_session_consents_within_its_ceiling_and_manages_nothing(probe: Probe) {
        let alice = probe.register("alice").await;
        for text in ["invoice:pay", "invoice:read"] {
            let right = Permission::parse(text).expect("a permission");
            probe.auth.permissions().grant(alice.id(), &right).await.expect("it is granted");
        }
        let (auth, client) = (&probe.auth, ClientInfo::default());
        let start = auth.sessions().start(&alice, &client).factor(Factor::Password);
        let start = start.ceiling([Permission::parse("invoice:read").expect("a permission")]);
        let cookie = cookie_of(&start.await.expect("a session"));
        let limited: Identity = extracted(auth, &cookie).await;
        let full = identity(auth, &alice).await;
        let of_owner = issued(auth, &full, "1").await.token().to_owned();
        let issue = |permission| {
            let issue = auth.action_proofs().issue("pay", &limited).resource("1");
            issue.permissions([permission]).sign(&client)
        };
        assert_eq!(name(issue("invoice:pay").await), "MoreRights");
        let token = issue("invoice:read").await.expect("it is issued").token().to_owned();
        assert_eq!(name(auth.action_proofs().verify(&token, &pay("1").permission("invoice:pay")).await), "LacksPermission");
        // It replaces nothing of the owner, and its proof is not theirs.
        assert!(auth.action_proofs().verify(&of_owner, &pay("1").of(&full)).await.is_ok());
        let (result, cost) = probe.statements(auth.action_proofs().verify(&token, &pay("1").of(&full))).await;
        assert_eq!((name(result).as_str(), cost), ("OtherSession", 0));
        let pair = cookie.split_once('=').expect("a pair").1;
        let mut browser = Browser::new(serve(application(auth)).await).with_cookie(pair);
        check(&browser.get("/proofs/action-proofs").await, 403, "limited_session");
        check(&browser.delete("/proofs/action-proofs/x").await, 403, "limited_session");
    }

    async fn of_a_hundred_uses_of_one_proof_on_two_nodes_one_succeeds(probe: Probe) {
        let alice = probe.register("alice").await;
        let session = identity(&probe.auth, &alice).await;
        let nodes = [probe.auth.clone(), probe.rebuilt(|builder| builder)];
        let token = issued(&probe.auth, &session, "1").await.token().to_owned();
        let results = parallel(100, |number| {
            let (node, token) = (nodes[number % 2].clone(), token.clone());
            async move {
                let proof = node.action_proofs().verify(&token, &pay("1")).await?;
                proof.spend(&ClientInfo::default()).await.map(drop)
            }
        });
        let results = results.await;
        let won = results.iter().filter(|result| result.is_ok()).count();
        for result in results {
            if result.is_err() {
                assert_eq!(name(result), "Used");
            }
        }
        assert_eq!((won, events(&probe, "action_proof_spent").await.len()), (1, 1));
    }

    async fn a_proof_is_used_up_with_the_action_and_not_without_it(probe: Probe) {
        let alice = probe.register("alice").await;
        let session = identity(&probe.auth, &alice).await;
        let (auth, client) = (probe.auth.clone(), ClientInfo::default());
        bookings(&probe).await;
        let token = issued(&auth, &session, "1").await.token().to_owned();
        let verified = async || auth.action_proofs().verify(&token, &pay("1")).await;
        // The action fails, or the process dies before the commit.
        for dropped in [false, true] {
            let txn = auth.begin().await.expect("it opens");
            let spent = verified().await.expect("it counts").spend_within(&txn, &client).await;
            book(&txn, &spent.expect("it is used up")).await;
            if dropped { drop(txn) } else { txn.rollback().await }
            auth.drain().await;
        }
        assert_eq!((booked(&probe).await, events(&probe, "action_proof_spent").await.len()), (0, 0));
        // Also in a transaction of SeaORM.
        let txn = probe.db.begin().await.expect("it opens");
        let spent = verified().await;
        if probe.database.backend != crate::support::Backend::Sqlite {
            let spent = spent.expect("it counts").spend_within(&txn, &client).await;
            assert!(spent.is_ok());
        }
        txn.rollback().await.expect("it ends");
        let txn = auth.begin().await.expect("it opens");
        let proof = verified().await.expect("it counts");
        let spent = proof.clone().spend_within(&txn, &client).await.expect("it is used up");
        assert_eq!(name(proof.spend_within(&txn, &client).await), "Used");
        book(&txn, &spent).await;
        txn.commit().await.expect("it is committed");
        assert_eq!((booked(&probe).await, events(&probe, "action_proof_spent").await.len()), (1, 1));
        assert_eq!(name(verified().await), "Used");
        probe.execute("DROP TABLE app_booking").await;
    }

    async fn while_one_use_waits_for_its_end_another_one_waits_for_it(probe: Probe) {
        let alice = probe.register("alice").await;
        let session = identity(&probe.auth, &alice).await;
        let client = ClientInfo::default();
        let nodes = [probe.auth.clone(), probe.rebuilt(|builder| builder)];
        for (round, commits) in [(0, false), (1, true), (2, false), (3, true)] {
            let resource = round.to_string();
            let token = issued(&nodes[0], &session, &resource).await.token().to_owned();
            let first = nodes[0].action_proofs().verify(&token, &pay(&resource)).await.expect("it counts");
            let second = nodes[1].action_proofs().verify(&token, &pay(&resource)).await.expect("it counts");
            let txn = nodes[0].begin().await.expect("it opens");
            let _spent = first.spend_within(&txn, &client).await.expect("it is used up");
            let other = nodes[1].clone();
            let waits = tokio::spawn(async move {
                let txn = other.begin().await.expect("it opens");
                let spent = second.spend_within(&txn, &ClientInfo::default()).await.map(drop);
                if spent.is_ok() {
                    txn.commit().await.expect("it is committed");
                } else {
                    txn.rollback().await;
                }
                spent
            });
            // Nothing can be said before the first one has ended.
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(!waits.is_finished(), "{round}");
            if commits {
                txn.commit().await.expect("it is committed");
            } else {
                txn.rollback().await;
            }
            let result = waits.await.expect("it ends");
            if commits {
                assert_eq!(name(result), "Used", "{round}");
            } else {
                result.expect("the consent is still there");
            }
            assert_eq!(events(&probe, "action_proof_spent").await.len(), round + 1);
        }
    }

    async fn a_route_takes_only_the_proof_of_its_own_session_and_resource(probe: Probe) {
        bookings(&probe).await;
        let address = serve(application(&probe.auth)).await;
        let (_, alice) = probe.signed_in("alice").await;
        let (_, bob) = probe.signed_in("bob").await;
        let (mut alice, mut bob) = (alice.at(address), bob.at(address));
        let missing = try_to_pay(&mut alice, "42", "10", &[]).await;
        check(&missing, 401, "action_proof_required");
        let said = (missing.json()["action"].clone(), missing.json()["resource"].clone());
        assert_eq!(said, (json!("pay"), json!("42")));
        let challenge = missing.headers["www-authenticate"].to_str().expect("ASCII").to_owned();
        let expected = "error=\"action_proof_required\", action=\"pay\", resource=\"42\"";
        assert!(challenge.ends_with(expected), "{challenge}");
        let nobody = try_to_pay(&mut alice.stranger(), "42", "10", &[]).await;
        check(&nobody, 401, "not_signed_in");
        let missing = alice.get("/close").await;
        assert_eq!((missing.code().as_str(), missing.json().get("resource")), ("action_proof_required", None));

        let proof = consent(&mut alice, "42", "10").await;
        let theirs = consent(&mut bob, "42", "10").await;
        let mut elsewhere = alice.stranger();
        assert_eq!(elsewhere.login("alice", PASSWORD).await.status, 200);
        for (browser, invoice, amount, proofs, code) in [
            (&alice, "43", "10", &[&*proof][..], "action_proof_of_other_resource"),
            (&alice, "42", "11", &[&*proof][..], "action_proof_of_other_payload"),
            (&alice, "42", "10", &[&*theirs][..], "action_proof_of_other_session"),
            (&elsewhere, "42", "10", &[&*proof][..], "action_proof_of_other_session"),
            (&alice, "42", "10", &[&*proof, &*proof][..], "action_proof_invalid"),
            (&alice, "42", "10", &["x"][..], "action_proof_invalid"),
        ] {
            check(&try_to_pay(&mut browser.clone(), invoice, amount, proofs).await, 403, code);
        }
        let close = alice.request(Method::GET, "/close").header(HEADER, &proof);
        check(&send(close).await, 403, "action_proof_of_other_action");
        assert_eq!(booked(&probe).await, 0);
        assert_eq!(try_to_pay(&mut alice, "42", "10", &[&proof]).await.text, "paid");
        check(&try_to_pay(&mut alice, "42", "10", &[&proof]).await, 409, "action_proof_used");
        assert_eq!(booked(&probe).await, 1);
        // A handler without its guard lets nobody through.
        let forgotten = alice.request(Method::GET, "/forgotten").header(HEADER, &theirs);
        assert_eq!(send(forgotten).await.status, 500);
        probe.execute("DROP TABLE app_booking").await;
    }

    async fn the_routes_issue_list_and_take_back(probe: Probe) {
        let address = serve(application(&probe.auth)).await;
        let (alice, browser) = probe.signed_in("alice").await;
        let mut browser = browser.at(address);
        let ask = async |browser: &mut Browser, body| browser.post("/proofs/action-proofs", body).await;
        let pays = |resource: &str| json!({ "action": "pay", "resource": resource });
        let answer = ask(&mut browser, json!({
            "action": "pay", "resource": "1", "fields": [["amount", "10"], ["to", "Bob"]],
        })).await;
        assert_eq!((answer.status, &answer.json()["agreed_to"]), (201, &json!(r#"pay 1: "amount": "10", "to": "Bob""#)));
        let payload = details("10").field("to", "Bob");
        let token = answer.json()["action_proof"].as_str().expect("a proof").to_owned();
        let expected = pay("1").payload(&payload);
        assert!(probe.auth.action_proofs().verify(&token, &expected).await.is_ok());
        assert_eq!(events(&probe, "action_proof_issued").await, [r#"pay 1: "amount": "10", "to": "Bob""#]);

        check(&ask(&mut browser, pays("1")).await, 429, "too_soon");
        let long = "x".repeat(201);
        let fields: Vec<_> = (0..33).map(|number| json!(["name", number.to_string()])).collect();
        let many: Vec<_> = (0..17).map(|number| format!("a:{number}")).collect();
        for (body, status, code) in [
            (json!({ "action": "steal" }), 422, "unknown_action"),
            (pays(""), 422, "invalid_action_proof"),
            (pays(&long), 422, "invalid_action_proof"),
            (pays("a\0b"), 422, "invalid_action_proof"),
            (json!({ "action": "pay", "scope": "" }), 422, "invalid_action_proof"),
            (json!({ "action": "pay", "fields": fields }), 422, "invalid_action_proof"),
            (json!({ "action": "pay", "fields": [["text", "x".repeat(251)]] }), 422, "invalid_action_proof"),
            (json!({ "action": "pay", "permissions": ["a:"] }), 422, "invalid_action_proof"),
            (json!({ "action": "pay", "permissions": many }), 422, "invalid_action_proof"),
            (json!({ "action": "pay", "permissions": ["invoice:pay"] }), 403, "denied"),
            (json!({ "action": "pay", "permissions": ["*"] }), 403, "denied"),
            (json!({ "action": "pay", "account_id": alice.id() }), 400, "invalid_body"),
            (json!({}), 400, "invalid_body"),
        ] {
            check(&ask(&mut browser, body).await, status, code);
        }
        assert_eq!(ask(&mut browser, pays("Rechnung №7/ü")).await.status, 201);
        let empty = ask(&mut browser, json!({ "action": "close", "fields": [] })).await;
        assert_eq!((empty.status, &empty.json()["agreed_to"]), (201, &json!("close")));
        let proof = empty.json()["action_proof"].as_str().expect("a proof").to_owned();
        let verified = probe.auth.action_proofs().verify(&proof, &Expected::action("close")).await;
        assert!(verified.expect("it counts").spend(&ClientInfo::default()).await.is_ok());
        let listed = browser.get("/proofs/action-proofs").await.json()["action_proofs"].clone();
        let about: Vec<_> = listed.as_array().expect("a list").iter().map(|one| one["about"].clone()).collect();
        assert_eq!(about.len(), 2, "one was used up");
        assert!(about.contains(&json!("pay 1")) && about.contains(&json!("pay Rechnung №7/ü")));
        let (_, bob) = probe.signed_in("bob").await;
        let mut bob = bob.at(address);
        assert_eq!(bob.get("/proofs/action-proofs").await.json()["action_proofs"], json!([]));
        let id = listed.as_array().expect("a list").iter().find(|one| one["about"] == "pay 1").expect("it is listed");
        let path = format!("/proofs/action-proofs/{}", id["id"].as_str().expect("an id"));
        check(&bob.delete(&path).await, 404, "action_proof_not_found");
        check(&browser.delete("/proofs/action-proofs/x").await, 404, "action_proof_not_found");
        assert_eq!(browser.delete(&path).await.status, 204);
        check(&browser.delete(&path).await, 404, "action_proof_not_found");
        assert_eq!(name(probe.auth.action_proofs().verify(&token, &expected).await), "Ended");
        // The factor must be recent.
        probe.clock.advance(6 * MINUTE);
        assert_eq!(browser.get("/me").await.status, 200);
        let old = ask(&mut browser, pays("2")).await;
        check(&old, 401, "insufficient_user_authentication");
        assert_eq!(old.json()["factors"], json!(["password"]));
        assert_eq!(ask(&mut browser.stranger(), pays("2")).await.status, 401);
        // Nothing of a proof is in the database that opens anything, and it goes with maintenance.
        probe.clock.advance(60 * 24 * 60 * MINUTE);
        probe.auth.maintenance().run().await.expect("it runs");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_challenge").await, 0);
    }
}
