//! Verifying addresses, and accounts that an attacker prepared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::account::NewAccount;
use portcullis::config::Registration;
use portcullis::message::Message;
use portcullis::registration::Application;
use portcullis::{Account, ClientInfo, Factor, MessageKind};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::{Browser, PASSWORD, Probe};

const ADDRESS: &str = "alice@example.com";
const NEW: &str = "a new password of hers";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Returns the token of a link.
pub(crate) fn token_of(message: &Message) -> String {
    let (_, rest) = message.text.split_once("#token=").expect("a link");
    rest.split_whitespace().next().expect("a token").to_owned()
}

/// Returns the code of a message.
pub(crate) fn code_of(message: &Message) -> String {
    let (_, rest) = message.text.split_once("code is: ").expect("a code");
    rest.split_whitespace().next().expect("a code").to_owned()
}

/// Returns the last verification mail to this address.
pub(crate) async fn asked(probe: &Probe, address: &str) -> Message {
    let messages = probe.mail().await;
    let mut ours = messages.into_iter().filter(|message| {
        message.kind == MessageKind::VerifyAddress && message.to.as_str() == address
    });
    ours.next_back().expect("a message")
}

/// Registers through the route, and returns the browser that did it.
async fn registered(probe: &Probe, name: &str, address: &str) -> Browser {
    let mut browser = probe.browser().await;
    let body = json!({ "username": name, "email": address, "password": PASSWORD });
    let answer = browser.post("/auth/register", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    browser
}

async fn account(probe: &Probe, login: &str) -> Account {
    let found = probe.auth.accounts().find_by_login(login).await.expect("it answers");
    found.expect("the account is there")
}

async fn confirm(browser: &mut Browser, body: Value) -> Answer {
    browser.post("/auth/verification/confirm", body).await
}

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "{answer:?}");
}

fn result(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["result"].as_str().unwrap_or_default().to_owned())
}

fn is(answer: &Answer, status: u16, expected: &str) {
    assert_eq!(result(answer), (status, expected.to_owned()), "{}", answer.text);
}

async fn at_once(browsers: Vec<Browser>, path: &'static str, body: &Value) -> Vec<Answer> {
    let barrier = Arc::new(Barrier::new(browsers.len()));
    let mut tasks = JoinSet::new();
    for browser in browsers {
        let (barrier, body) = (Arc::clone(&barrier), body.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            send(browser.request(Method::POST, path).json(&body)).await
        });
    }
    tasks.join_all().await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

fn wrong(code: &str) -> String {
    code.bytes().map(|digit| char::from(b'0' + (digit - b'0' + 1) % 10)).collect()
}

on_every_database! {
    async fn a_link_proves_the_address_once_and_again_is_a_conflict(probe: Probe) {
        let mut browser = registered(&probe, "alice", ADDRESS).await;
        let message = asked(&probe, ADDRESS).await;
        assert!(message.text.contains("https://app.example.com/verify#token="), "{}", message.text);
        assert!(!account(&probe, "alice").await.is_verified());
        let token = json!({ "token": token_of(&message) });
        is(&confirm(&mut browser, token.clone()).await, 200, "verified");
        let alice = account(&probe, "alice").await;
        assert!(alice.is_verified());
        let names = "SELECT COUNT(*) FROM auth_login_name WHERE verified_at IS NOT NULL";
        assert_eq!(probe.number(names).await, 1, "the address and not the username");
        check(&confirm(&mut browser, token.clone()).await, 409, "already_verified");
        check(&confirm(&mut browser.stranger(), token).await, 409, "already_verified");
        check(&browser.post_empty("/auth/verification").await, 409, "already_verified");
        // Nothing else changes: this session and the password still work.
        assert_eq!(browser.get("/me").await.text, alice.id().to_string());
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
        let log = probe.auth.audit_log().of_account(alice.id(), 20).await.expect("the log");
        assert_eq!(log.iter().filter(|event| event.kind == "user_verified").count(), 1);
    }

    async fn opening_the_link_changes_nothing(probe: Probe) {
        let browser = registered(&probe, "alice", ADDRESS).await;
        let token = token_of(&asked(&probe, ADDRESS).await);
        for _ in 0..5 {
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                for path in ["/auth/verification/confirm", "/auth/verification", "/verify"] {
                    let path = format!("{path}?token={token}");
                    let answer = send(browser.stranger().request(method.clone(), &path)).await;
                    assert!(matches!(answer.status, 404 | 405), "{path}: {}", answer.status);
                }
            }
        }
        assert!(!account(&probe, "alice").await.is_verified());
        is(&confirm(&mut browser.clone(), json!({ "token": token })).await, 200, "verified");
    }

    async fn the_code_proves_it_as_well_with_a_session_or_the_address(probe: Probe) {
        for (name, with_session) in [("alice", true), ("bob", false)] {
            let address = format!("{name}@example.com");
            let mut browser = registered(&probe, name, &address).await;
            let code = code_of(&asked(&probe, &address).await);
            let body = |code: &str| match with_session {
                true => json!({ "code": code }),
                false => json!({ "email": address.to_uppercase(), "code": code }),
            };
            check(&confirm(&mut browser, body(&wrong(&code))).await, 403, "wrong_code");
            assert!(!account(&probe, name).await.is_verified());
            is(&confirm(&mut browser, body(&code)).await, 200, "verified");
            check(&confirm(&mut browser, body(&code)).await, 409, "already_verified");
        }
        // Without a session, a code without an address belongs to nobody.
        check(&confirm(&mut probe.browser().await, json!({ "code": "12345678" })).await, 403, "wrong_code");
    }

    async fn from_the_browser_that_registered_or_with_the_password_everything_stays(probe: Probe) {
        let probe = probe.configured(|config| {
            config.login.require_verified = true;
            config.login.registration = Registration::Strict;
        });
        // A visitor registers, and is recognised by the anonymous session.
        let mut visitor = probe.browser().await;
        assert_eq!(visitor.post_empty("/auth/session/anonymous").await.status, 201);
        let body = json!({ "username": "alice", "email": ADDRESS, "password": PASSWORD });
        assert_eq!(visitor.post("/auth/register", body).await.status, 202);
        let token = json!({ "token": token_of(&asked(&probe, ADDRESS).await) });
        is(&confirm(&mut visitor, token).await, 200, "verified");
        assert_eq!(visitor.login("alice", PASSWORD).await.status, 200);
        // Any browser with the password.
        let bob = json!({ "username": "bob", "email": "bob@example.com", "password": PASSWORD });
        assert_eq!(probe.browser().await.post("/auth/register", bob).await.status, 202);
        let token = token_of(&asked(&probe, "bob@example.com").await);
        let mut phone = probe.browser().await;
        let body = |password: &str| json!({ "token": token, "password": password });
        for wrong in ["", "wrong horse battery staple", NEW] {
            check(&confirm(&mut phone, body(wrong)).await, 403, "wrong_password");
        }
        assert!(!account(&probe, "bob@example.com").await.is_verified(), "nothing was spent");
        is(&confirm(&mut phone, body(PASSWORD)).await, 200, "verified");
        assert_eq!(phone.login("bob", PASSWORD).await.status, 200);
    }

    async fn another_visitor_or_session_is_not_the_browser_that_registered(probe: Probe) {
        let (_, mut mallory) = probe.signed_in("mallory").await;
        registered(&probe, "alice", ADDRESS).await;
        let token = json!({ "token": token_of(&asked(&probe, ADDRESS).await) });
        // The browser is signed in to another account. The account is handed over, and the other
        // session ends.
        let answer = confirm(&mut mallory, token).await;
        is(&answer, 200, "password_change_required");
        assert_eq!(mallory.get("/me").await.status, 401);
        let mut visitor = probe.browser().await;
        assert_eq!(visitor.post_empty("/auth/session/anonymous").await.status, 201);
        registered(&probe, "bob", "bob@example.com").await;
        let token = json!({ "token": token_of(&asked(&probe, "bob@example.com").await) });
        is(&confirm(&mut visitor, token).await, 200, "password_change_required");
    }

    async fn from_anywhere_else_nothing_that_was_set_before_is_left(probe: Probe) {
        // An attacker registers with alice's address.
        let mut mallory = probe.browser().await;
        let body = json!({
            "username": "alice", "email": ADDRESS, "phone": "+4917012345678", "password": PASSWORD,
        });
        assert_eq!(mallory.post("/auth/register", body).await.status, 201);
        let id = account(&probe, "alice").await.id();
        let mut second = probe.browser().await;
        assert_eq!(second.login(ADDRESS, PASSWORD).await.status, 200);
        let token = json!({ "token": token_of(&asked(&probe, ADDRESS).await) });

        let mut alice = probe.browser().await;
        let answer = confirm(&mut alice, token.clone()).await;
        is(&answer, 200, "password_change_required");
        assert!(alice.cookie.is_some());
        // This is no full session. It can only set a password.
        check(&alice.get("/me").await, 401, "password_change_required");
        for browser in [&mut mallory, &mut second] {
            assert_eq!(browser.get("/me").await.status, 401, "a session that was there before");
        }
        for login in ["alice", ADDRESS, "+4917012345678"] {
            let answer = probe.browser().await.login(login, PASSWORD).await;
            check(&answer, 401, "invalid_credentials");
        }
        let row = account(&probe, ADDRESS).await;
        assert_eq!((row.id(), row.phone(), row.is_verified()), (id, None, true));
        assert!(probe.auth.accounts().find_by_login("+4917012345678").await.expect("it answers").is_none());
        let answer = alice.put("/auth/password", json!({ "new_password": NEW })).await;
        is(&answer, 200, "session");
        assert_eq!(alice.get("/me").await.text, id.to_string());
        assert_eq!(probe.browser().await.login(ADDRESS, NEW).await.status, 200);
        assert_eq!(probe.browser().await.login(ADDRESS, PASSWORD).await.status, 401);
        check(&confirm(&mut mallory, token).await, 409, "already_verified");
    }

    async fn a_factor_that_was_enrolled_before_does_not_lock_the_new_owner_out(probe: Probe) {
        registered(&probe, "alice", ADDRESS).await;
        let id = account(&probe, "alice").await.id();
        let refused = probe.auth.accounts().set_enrolled_factors(id, [Factor::Totp]).await;
        assert!(matches!(refused, Err(portcullis::account::AccountError::AddressNotProved)));
        // A factor that was added in another way.
        probe.execute("UPDATE auth_account SET version = version + 1, enrolled_factors = 8").await;
        let token = json!({ "token": token_of(&asked(&probe, ADDRESS).await) });
        let mut alice = probe.browser().await;
        is(&confirm(&mut alice, token).await, 200, "password_change_required");
        is(&alice.put("/auth/password", json!({ "new_password": NEW })).await, 200, "session");
        is(&probe.browser().await.login("alice", NEW).await, 200, "session");
        // The removal is reported.
        let sent = probe.mail().await;
        assert!(sent.iter().any(|m| m.kind == MessageKind::FactorRemoved && m.to.as_str() == ADDRESS));
        let log = probe.auth.audit_log().of_account(id, 20).await.expect("the log");
        assert!(log.iter().any(|event| event.detail.as_deref() == Some("factors removed")));
    }

    async fn an_account_that_is_verified_is_never_handed_over(probe: Probe) {
        let mut alice = registered(&probe, "alice", ADDRESS).await;
        let token = json!({ "token": token_of(&asked(&probe, ADDRESS).await) });
        // The account was verified in another way, but the address itself was not.
        probe.execute("UPDATE auth_account SET version = version + 1, verified_at = 1").await;
        let mut elsewhere = probe.browser().await;
        check(&confirm(&mut elsewhere, token.clone()).await, 401, "not_signed_in");
        assert_eq!(alice.get("/me").await.status, 200);
        is(&confirm(&mut alice, token).await, 200, "verified");
        assert_eq!(probe.browser().await.login("alice", PASSWORD).await.status, 200);
    }

    async fn an_unknown_and_a_known_address_are_answered_alike_and_only_one_gets_mail(probe: Probe) {
        for name in ["alice", "verified", "disabled", "deleted"] {
            registered(&probe, name, &format!("{name}@example.com")).await;
        }
        let accounts = probe.auth.accounts();
        accounts.verify(account(&probe, "verified").await.id()).await.expect("it is set");
        accounts.disable(account(&probe, "disabled").await.id()).await.expect("it is set");
        accounts.delete(account(&probe, "deleted").await.id()).await.expect("it is set");
        let before = probe.mail().await.len();
        probe.clock.advance(2 * MINUTE);
        let mut browser = probe.browser().await;
        let mut answers = Vec::new();
        for name in ["alice", "verified", "disabled", "deleted", "nobody"] {
            // Two requests. The second is within the cool-down.
            for _ in 0..2 {
                let body = json!({ "email": format!("{name}@example.com") });
                let (answer, statements) =
                    probe.statements(browser.post("/auth/verification", body)).await;
                let headers: Vec<_> = answer
                    .headers
                    .iter()
                    .filter(|(name, _)| *name != "date")
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                answers.push((answer.status, answer.text, headers, statements));
            }
        }
        assert_eq!(answers[0].0, 202);
        for pair in answers.chunks(2) {
            assert_eq!((&pair[0].1, &pair[0].2), (&answers[0].1, &answers[0].2));
            assert_eq!((&pair[1].1, &pair[1].2), (&answers[0].1, &answers[0].2));
            assert_eq!((pair[0].3, pair[1].3), (answers[0].3, answers[1].3), "the same work");
        }
        let sent = probe.mail().await;
        assert_eq!(sent.len(), before + 1);
        assert_eq!(sent[before].to.as_str(), ADDRESS);
    }

    async fn what_is_sent_again_replaces_what_was_sent_and_not_before_it_is_sent(probe: Probe) {
        let mut browser = registered(&probe, "alice", ADDRESS).await;
        let first = asked(&probe, ADDRESS).await;
        // Within the cool-down no mail is sent, and the first one stays valid.
        probe.clock.advance(59 * SECOND);
        let body = json!({ "email": "ALICE@example.com" });
        assert_eq!(browser.stranger().post("/auth/verification", body.clone()).await.status, 202);
        assert_eq!(token_of(&asked(&probe, ADDRESS).await), token_of(&first));
        probe.clock.advance(SECOND);
        assert_eq!(browser.post_empty("/auth/verification").await.status, 202);
        let second = asked(&probe, ADDRESS).await;
        assert_ne!(token_of(&second), token_of(&first));
        for body in [json!({ "token": token_of(&first) }), json!({ "code": code_of(&first) })] {
            check(&confirm(&mut browser, body).await, 403, "wrong_code");
        }
        is(&confirm(&mut browser, json!({ "token": token_of(&second) })).await, 200, "verified");
        // A verified address gets no more mail.
        probe.clock.advance(HOUR);
        assert_eq!(browser.stranger().post("/auth/verification", body).await.status, 202);
        assert_eq!(token_of(&asked(&probe, ADDRESS).await), token_of(&second));
    }

    async fn a_link_is_good_for_a_day_to_the_second(probe: Probe) {
        for (name, wait, expected) in
            [("alice", 24 * HOUR - SECOND, 200), ("bob", 24 * HOUR, 403)]
        {
            let address = format!("{name}@example.com");
            let browser = registered(&probe, name, &address).await;
            let message = asked(&probe, &address).await;
            probe.clock.advance(wait);
            let body = json!({ "token": token_of(&message), "password": PASSWORD });
            let answer = confirm(&mut browser.stranger(), body).await;
            assert_eq!(answer.status, expected, "{}", answer.text);
            let body = json!({ "email": address, "code": code_of(&message), "password": PASSWORD });
            assert_ne!(confirm(&mut browser.stranger(), body).await.status, 200);
        }
    }

    async fn wrong_codes_are_few_and_the_link_works_when_they_are_used_up(probe: Probe) {
        let browser = registered(&probe, "alice", ADDRESS).await;
        let message = asked(&probe, ADDRESS).await;
        let bad = json!({ "email": ADDRESS, "code": wrong(&code_of(&message)) });
        let answers = at_once(vec![browser.stranger(); 100], "/auth/verification/confirm", &bad).await;
        assert_eq!((count(&answers, 403), count(&answers, 429)), (5, 95));
        let right = json!({ "email": ADDRESS, "code": code_of(&message), "password": PASSWORD });
        check(&confirm(&mut browser.stranger(), right).await, 429, "too_many_attempts");
        // A new code gives no new attempts (keycloak #26180).
        probe.clock.advance(2 * MINUTE);
        let body = json!({ "email": ADDRESS });
        assert_eq!(browser.stranger().post("/auth/verification", body).await.status, 202);
        let message = asked(&probe, ADDRESS).await;
        let right = json!({ "email": ADDRESS, "code": code_of(&message), "password": PASSWORD });
        check(&confirm(&mut browser.stranger(), right).await, 429, "too_many_attempts");
        let body = json!({ "token": token_of(&message) });
        is(&confirm(&mut browser.clone(), body).await, 200, "verified");
    }

    async fn wrong_codes_for_an_address_that_nobody_has_are_counted_alike(probe: Probe) {
        registered(&probe, "alice", ADDRESS).await;
        let right = code_of(&asked(&probe, ADDRESS).await);
        let mut browser = probe.browser().await;
        let unasked = "unasked@example.com";
        let body = json!({ "email": "nobody@example.com" });
        assert_eq!(browser.post("/auth/verification", body).await.status, 202);
        let mut seen: Vec<Vec<(u16, String, usize)>> = Vec::new();
        for address in [ADDRESS, "nobody@example.com", unasked] {
            let mut answers = Vec::new();
            for _ in 0..20 {
                let body = json!({ "email": address, "code": wrong(&right) });
                let (answer, statements) = probe.statements(confirm(&mut browser, body)).await;
                answers.push((answer.status, answer.text, statements));
            }
            seen.push(answers);
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[0], seen[2]);
        assert_eq!((seen[0][4].0, seen[0][5].0), (403, 429));
    }

    async fn of_many_uses_of_one_link_at_once_one_counts(probe: Probe) {
        for (name, many) in [("alice", 16), ("bob", 100)] {
            let address = format!("{name}@example.com");
            let browser = registered(&probe, name, &address).await;
            let message = asked(&probe, &address).await;
            let body = json!({ "token": token_of(&message) });
            let answers =
                at_once(vec![browser.stranger(); many], "/auth/verification/confirm", &body).await;
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            assert_eq!(count(&answers, 200), 1, "{statuses:?}");
            assert_eq!(count(&answers, 409), many - 1, "{statuses:?}");
            let winner = answers.into_iter().find(|answer| answer.status == 200);
            let cookie = winner.and_then(|answer| answer.cookie()).expect("a sign-in");
            let mut owner = browser.with_cookie(&cookie);
            let new = json!({ "new_password": NEW });
            is(&owner.put("/auth/password", new).await, 200, "session");
        }
    }

    async fn a_proof_that_keeps_and_one_that_hands_over_do_not_mix(probe: Probe) {
        for round in 0..4 {
            let (name, address) = (format!("alice{round}"), format!("alice{round}@example.com"));
            let mut mine = registered(&probe, &name, &address).await;
            let body = json!({ "token": token_of(&asked(&probe, &address).await) });
            let both = vec![mine.clone(), mine.stranger()];
            let answers = at_once(both, "/auth/verification/confirm", &body).await;
            assert_eq!(count(&answers, 200), 1);
            let winner = answers.iter().find(|answer| answer.status == 200).expect("one");
            let kept = winner.json()["result"] == "verified";
            let status = if kept { 200 } else { 401 };
            assert_eq!(mine.get("/me").await.status, status);
            assert_eq!(mine.stranger().login(&name, PASSWORD).await.status, status);
        }
    }

    async fn a_proof_is_worth_nothing_for_another_account_purpose_or_shape(probe: Probe) {
        let mut alice = registered(&probe, "alice", ADDRESS).await;
        let mut bob = registered(&probe, "bob", "bob@example.com").await;
        let message = asked(&probe, ADDRESS).await;
        let (token, code) = (token_of(&message), code_of(&message));
        // Alice's code with Bob's session, and with Bob's address.
        check(&confirm(&mut bob, json!({ "code": code })).await, 403, "wrong_code");
        check(&confirm(&mut bob, json!({ "email": "bob@example.com", "code": code })).await, 403, "wrong_code");
        let challenge = probe.text("SELECT purpose FROM auth_challenge").await;
        assert_eq!(challenge.as_deref(), Some("verification"));
        for bad in [
            "", " ", "null", &token[1..], &format!("{token}="), &format!("{token} "), &token.to_lowercase(),
            &"x".repeat(43), &"é".repeat(21), &"x".repeat(10_000), &code,
        ] {
            check(&confirm(&mut alice, json!({ "token": bad })).await, 403, "wrong_code");
        }
        for body in [
            json!({}), json!({ "token": token, "code": code }), json!({ "email": ADDRESS }),
            json!({ "token": token, "email": ADDRESS }), json!({ "token": 7 }), json!([token]),
            json!({ "token": token, "account_id": "x" }), json!({ "token": token, "verified": true }),
        ] {
            check(&confirm(&mut alice, body).await, 400, "invalid_body");
        }
        for email in ["", "alice", "a@x,b@y", "alice@example.com\r\nBcc: b@example.com", &"a".repeat(9_000)] {
            let body = json!({ "email": email, "code": code });
            check(&confirm(&mut bob, body).await, 403, "wrong_code");
            let answer = bob.post("/auth/verification", json!({ "email": email })).await;
            check(&answer, 422, "invalid_fields");
        }
        check(&bob.stranger().post_empty("/auth/verification").await, 401, "not_signed_in");
        is(&confirm(&mut alice, json!({ "token": token })).await, 200, "verified");
        assert!(!account(&probe, "bob").await.is_verified());
    }

    async fn another_site_can_neither_ask_nor_prove(probe: Probe) {
        let browser = registered(&probe, "alice", ADDRESS).await;
        let token = token_of(&asked(&probe, ADDRESS).await);
        for (path, body) in [
            ("/auth/verification", json!({ "email": ADDRESS })),
            ("/auth/verification/confirm", json!({ "token": token })),
        ] {
            let cross = browser.raw(Method::POST, path).header("sec-fetch-site", "cross-site");
            assert_eq!(send(cross.json(&body)).await.code(), "cross_site_request");
        }
        // Another site can send a form without a preflight. A form must prove where it comes from.
        let form = || browser.raw(Method::POST, "/auth/verification/confirm").form(&[("token", &token)]);
        let cross = form().header("sec-fetch-site", "cross-site");
        assert_eq!(send(cross).await.code(), "cross_site_request");
        assert_eq!(send(form()).await.status, 415);
        assert!(!account(&probe, "alice").await.is_verified());
        assert_eq!(send(form().header("sec-fetch-site", "same-origin")).await.status, 200);
        assert!(account(&probe, "alice").await.is_verified());
    }

    async fn a_link_to_an_account_that_cannot_be_used_proves_nothing(probe: Probe) {
        for (name, disable) in [("alice", true), ("bob", false)] {
            let address = format!("{name}@example.com");
            let mut browser = registered(&probe, name, &address).await;
            let token = json!({ "token": token_of(&asked(&probe, &address).await) });
            let id = account(&probe, name).await.id();
            if disable {
                probe.auth.accounts().disable(id).await.expect("it is disabled");
            } else {
                probe.auth.accounts().delete(id).await.expect("it is deleted");
            }
            check(&confirm(&mut browser, token.clone()).await, 403, "wrong_code");
            check(&confirm(&mut browser.stranger(), token).await, 403, "wrong_code");
            assert!(!account(&probe, name).await.is_verified());
        }
    }

    async fn an_account_that_the_application_made_is_its_owners_with_the_first_proof(probe: Probe) {
        let new = NewAccount::username("alice").with_email("Alice@Example.com");
        let made = probe.auth.registration().create(new, PASSWORD).await.expect("it is made");
        let mut alice = probe.browser().await;
        let body = json!({ "email": "alice@example.com" });
        assert_eq!(alice.post("/auth/verification", body).await.status, 202);
        // The mail goes to the address as the application stores it, not as a stranger typed it.
        let message = asked(&probe, "Alice@Example.com").await;
        is(&confirm(&mut alice, json!({ "token": token_of(&message) })).await, 200, "password_change_required");
        is(&alice.put("/auth/password", json!({ "new_password": NEW })).await, 200, "session");
        assert_eq!(alice.get("/me").await.text, made.id().to_string());
        assert_eq!(account(&probe, "alice").await.id(), made.id(), "the username stays");
    }

    // The five attacks of the paper "Pre-hijacked accounts", as far as portcullis has such flows.
    // It has no flow yet that merges accounts with those of an identity provider, and none for a
    // provider that verifies nothing.

    async fn prehijacking_a_password_set_before_opens_nothing_afterwards(probe: Probe) {
        let mut mallory = registered(&probe, "victim", ADDRESS).await;
        let mut victim = probe.browser().await;
        let token = json!({ "token": token_of(&asked(&probe, ADDRESS).await) });
        is(&confirm(&mut victim, token).await, 200, "password_change_required");
        // The old password does not work while the new one is not yet set, either.
        check(&mallory.login(ADDRESS, PASSWORD).await, 401, "invalid_credentials");
        is(&victim.put("/auth/password", json!({ "new_password": NEW })).await, 200, "session");
        check(&mallory.login(ADDRESS, PASSWORD).await, 401, "invalid_credentials");
        check(&mallory.login("victim", PASSWORD).await, 401, "invalid_credentials");
    }

    async fn prehijacking_by_an_unexpired_session_ends_with_the_proof(probe: Probe) {
        let mut mallory = registered(&probe, "victim", ADDRESS).await;
        // The sessions are kept alive, in several browsers, and rotated recently.
        probe.clock.advance(16 * MINUTE);
        assert_eq!(mallory.get("/me").await.status, 200);
        let mut second = mallory.stranger();
        assert_eq!(second.login("victim", PASSWORD).await.status, 200);
        let mut victim = probe.browser().await;
        let token = json!({ "token": token_of(&asked(&probe, ADDRESS).await) });
        is(&confirm(&mut victim, token).await, 200, "password_change_required");
        is(&victim.put("/auth/password", json!({ "new_password": NEW })).await, 200, "session");
        for browser in [&mut mallory, &mut second] {
            assert_eq!(browser.get("/me").await.status, 401);
            assert_eq!(browser.post_empty("/auth/session/refresh").await.status, 401);
            assert_eq!(browser.put("/auth/password", json!({ "new_password": PASSWORD })).await.status, 401);
        }
        assert_eq!(probe.auth.sessions().list(&account(&probe, ADDRESS).await).await.expect("a list").len(), 1);
    }

    async fn prehijacking_by_a_trojan_identifier_ends_with_the_proof(probe: Probe) {
        let mut mallory = probe.browser().await;
        let body = json!({
            "username": "victim", "email": ADDRESS, "phone": "+4917099999999", "password": PASSWORD,
        });
        assert_eq!(mallory.post("/auth/register", body).await.status, 201);
        let mut victim = probe.browser().await;
        let token = json!({ "token": token_of(&asked(&probe, ADDRESS).await) });
        is(&confirm(&mut victim, token).await, 200, "password_change_required");
        is(&victim.put("/auth/password", json!({ "new_password": NEW })).await, 200, "session");
        let trojan = probe.auth.accounts().find_by_login("+4917099999999").await.expect("it answers");
        assert!(trojan.is_none(), "the number leads nowhere");
        let addresses = "SELECT COUNT(*) FROM auth_login_name WHERE kind <> 1";
        assert_eq!(probe.number(addresses).await, 1, "the victim is the sole owner");
    }

    async fn prehijacking_ends_with_a_reset_of_the_password_as_well(probe: Probe) {
        let mut mallory = probe.browser().await;
        let body = json!({
            "username": "victim", "email": ADDRESS, "phone": "+4917099999999", "password": PASSWORD,
        });
        assert_eq!(mallory.post("/auth/register", body).await.status, 201);
        let link = json!({ "token": token_of(&asked(&probe, ADDRESS).await) });
        let mut victim = probe.browser().await;
        assert_eq!(victim.post("/auth/password/forgot", json!({ "login": ADDRESS })).await.status, 202);
        let sent = probe.mail().await;
        let message = sent.iter().find(|message| message.kind == MessageKind::PasswordReset);
        let token = token_of(message.expect("a link"));
        let body = json!({ "token": token, "password": NEW });
        assert_eq!(victim.post("/auth/password/reset", body).await.status, 204);
        assert_eq!(mallory.get("/me").await.status, 401);
        check(&mallory.login("victim", PASSWORD).await, 401, "invalid_credentials");
        let trojan = probe.auth.accounts().find_by_login("+4917099999999").await.expect("it answers");
        assert!(trojan.is_none(), "the number leads nowhere");
        let owner = account(&probe, ADDRESS).await;
        assert_eq!((owner.is_verified(), owner.phone()), (true, None));
        let proved = "SELECT COUNT(*) FROM auth_login_name WHERE kind = 2 AND verified_at IS NOT NULL";
        assert_eq!(probe.number(proved).await, 1);
        check(&confirm(&mut mallory, link).await, 409, "already_verified");
        assert_eq!(victim.login("victim", NEW).await.status, 200);
    }

    async fn prehijacking_by_the_visitor_who_registered_ends_with_a_reset_as_well(probe: Probe) {
        let probe = probe.configured(|config| {
            config.login.require_verified = true;
            config.login.registration = Registration::Strict;
        });
        let mut mallory = probe.browser().await;
        assert_eq!(mallory.post_empty("/auth/session/anonymous").await.status, 201);
        let body = json!({ "email": ADDRESS, "password": PASSWORD });
        assert_eq!(mallory.post("/auth/register", body).await.status, 202);
        let remembered = "SELECT COUNT(*) FROM auth_account WHERE registered_lineage_id IS NOT NULL";
        assert_eq!(probe.number(remembered).await, 1);
        let mut victim = mallory.stranger();
        victim.post("/auth/password/forgot", json!({ "login": ADDRESS })).await;
        let sent = probe.mail().await;
        let message = sent.iter().rfind(|message| message.kind == MessageKind::PasswordReset);
        let body = json!({ "token": token_of(message.expect("a link")), "password": NEW });
        assert_eq!(victim.post("/auth/password/reset", body).await.status, 204);
        assert_eq!(probe.number(remembered).await, 0);
    }

    async fn prehijacking_by_an_open_code_ends_with_the_proof(probe: Probe) {
        let mut mallory = registered(&probe, "victim", ADDRESS).await;
        probe.clock.advance(2 * MINUTE);
        assert_eq!(mallory.post_empty("/auth/verification").await.status, 202);
        let token = json!({ "token": token_of(&asked(&probe, ADDRESS).await) });
        is(&confirm(&mut probe.browser().await, token).await, 200, "password_change_required");
        let open = "SELECT COUNT(*) FROM auth_challenge WHERE used_at IS NULL AND superseded_at IS NULL";
        assert_eq!(probe.number(open).await, 0);
    }

    async fn prehijacking_by_a_known_browser_does_not_hide_a_later_sign_in(probe: Probe) {
        // Otherwise the attacker who prepared the account could return with a stolen password, and
        // the owner would not be told.
        let mut mallory = probe.browser().await;
        let body = json!({ "username": "alice", "email": ADDRESS, "password": PASSWORD });
        assert_eq!(mallory.post("/auth/register", body).await.status, 201);
        assert_eq!(mallory.login("alice", PASSWORD).await.status, 200);
        assert!(mallory.device.is_some());
        let mut owner = mallory.stranger();
        let token = token_of(&asked(&probe, ADDRESS).await);
        let answer = owner.post("/auth/verification/confirm", json!({ "token": token })).await;
        assert_eq!(answer.json()["result"], "password_change_required");
        let change = json!({ "new_password": "another long password" });
        assert_eq!(owner.put("/auth/password", change).await.status, 200);
        let news = async || {
            let sent = probe.mail().await;
            sent.iter().filter(|message| message.kind == MessageKind::NewDevice).count()
        };
        probe.clock.advance(2 * SECOND);
        let mut second = owner.stranger();
        assert_eq!(second.login("alice", "another long password").await.status, 200);
        assert_eq!(news().await, 1);
        // The owner's own browsers stay known when the account's sessions end.
        let change = json!({ "new_password": "a third long password" });
        assert_eq!(owner.put("/auth/password", change).await.status, 200);
        assert_eq!(second.login("alice", "a third long password").await.status, 200);
        assert_eq!(news().await, 1);
        // Another kind of browser. Otherwise the sign-in would wait for the digest.
        let body = json!({ "login": "alice", "password": "a third long password" });
        let login = mallory.request(reqwest::Method::POST, "/auth/login").json(&body);
        assert_eq!(login.header("user-agent", "curl/8.5.0").send().await.expect("an answer").status(), 200);
        assert_eq!(news().await, 2);
    }

    async fn the_tables_show_neither_link_nor_code(probe: Probe) {
        use sea_orm::{ConnectionTrait, Statement};

        registered(&probe, "alice", ADDRESS).await;
        let message = asked(&probe, ADDRESS).await;
        let secrets = [token_of(&message), code_of(&message)];
        let raw = data_encoding::BASE64URL_NOPAD.decode(secrets[0].as_bytes()).expect("base64");
        for table in ["auth_challenge", "auth_challenge_start", "auth_event"] {
            let query = Statement::from_string(
                probe.db.get_database_backend(),
                format!("SELECT * FROM {table}"),
            );
            let rows = probe.db.query_all_raw(query).await.expect("rows");
            assert!(!rows.is_empty());
            for row in rows {
                for column in row.column_names() {
                    let bytes = row.try_get::<Vec<u8>>("", &column).unwrap_or_default();
                    assert_ne!(bytes, raw, "{table}.{column}");
                    let text = row.try_get::<String>("", &column).unwrap_or_default();
                    assert!(secrets.iter().all(|s| !text.contains(s)), "{table}.{column}");
                }
            }
        }
    }

    async fn the_flow_is_there_without_http(probe: Probe) {
        use portcullis::verification::{Confirmation, Confirmed, VerificationError};

        let application = Application::new(NewAccount::email(ADDRESS), PASSWORD);
        let client = ClientInfo::default();
        probe.auth.registration().apply(application, &client).await.expect("it is taken");
        let flow = probe.auth.verification();
        let token = token_of(&asked(&probe, ADDRESS).await);
        let confirmed = flow.confirm(Confirmation::token(&token).password(PASSWORD), &client).await;
        let Ok(Confirmed::Verified(verified)) = confirmed else { panic!("{confirmed:?}") };
        assert_eq!(verified.account_id, account(&probe, ADDRESS).await.id());
        let again = flow.confirm(Confirmation::token(&token), &client).await;
        assert!(matches!(again, Err(VerificationError::AlreadyVerified)), "{again:?}");
        assert_eq!(format!("{:?}", Confirmation::token(token)), "Confirmation(..)");
    }

    async fn an_attacker_who_prepared_an_account_cannot_keep_it_by_ending_its_sessions(probe: Probe) {
        let probe = probe.configured(|config| {
            config.rate.per_source = None;
            config.rate.per_principal = None;
        });
        for round in 0..3 {
            let address = format!("alice{round}@example.com");
            let attacker = registered(&probe, &format!("mallory{round}"), &address).await;
            let token = token_of(&asked(&probe, &address).await);
            let over = Arc::new(AtomicBool::new(false));
            let mut attackers = JoinSet::new();
            for _ in 0..16 {
                let (mut attacker, over) = (attacker.clone(), Arc::clone(&over));
                attackers.spawn(async move {
                    while !over.load(Ordering::SeqCst) {
                        if attacker.delete("/auth/sessions").await.status == 401 {
                            break;
                        }
                    }
                });
            }
            let mut owner = attacker.stranger();
            let answer = confirm(&mut owner, json!({ "token": token })).await;
            over.store(true, Ordering::SeqCst);
            attackers.join_all().await;
            is(&answer, 200, "password_change_required");
            let answer = owner.put("/auth/password", json!({ "new_password": NEW })).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(owner.get("/me").await.status, 200);
            assert_eq!(attacker.clone().get("/me").await.code(), "session_ended");
        }
    }

    async fn a_session_that_lingers_is_not_the_browser_that_registered(probe: Probe) {
        let mut browser = registered(&probe, "alice", ADDRESS).await;
        let mut old = browser.clone();
        let token = json!({ "token": token_of(&asked(&probe, ADDRESS).await) });
        let answer = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(old.get("/me").await.status, 200, "it lingers");
        // The old sign-in can neither use its own code nor request another one.
        let code = json!({ "code": code_of(&asked(&probe, ADDRESS).await) });
        check(&confirm(&mut old, code).await, 401, "session_ended");
        check(&confirm(&mut old, token.clone()).await, 401, "session_ended");
        check(&old.post_empty("/auth/verification").await, 401, "session_ended");
        assert!(!account(&probe, "alice").await.is_verified());
        is(&confirm(&mut browser, token).await, 200, "verified");
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn what_a_session_can_do_leaves_the_proof_of_an_address_good_and_a_disabling_ends_it(probe: Probe) {
        for change in ["sessions", "password", "name", "factors", "disabled"] {
            let address = format!("{change}@example.com");
            let mut browser = registered(&probe, change, &address).await;
            let token = token_of(&asked(&probe, &address).await);
            let id = account(&probe, change).await.id();
            let accounts = probe.auth.accounts();
            match change {
                "sessions" => drop(browser.delete("/auth/sessions?scope=all").await),
                "password" => {
                    let body = json!({ "new_password": NEW });
                    assert_eq!(browser.put("/auth/password", body).await.status, 200);
                }
                "name" => {
                    let answer = browser.delete(&format!("/auth/login-names/{change}")).await;
                    assert_eq!(answer.status, 200, "{}", answer.text);
                }
                "disabled" => {
                    accounts.disable(id).await.expect("it is disabled");
                    accounts.enable(id).await.expect("it is enabled");
                }
                _ => accounts.set_enrolled_factors(id, []).await.expect("they are set"),
            }
            let answer = confirm(&mut browser.stranger(), json!({ "token": token })).await;
            match change {
                "disabled" => check(&answer, 403, "wrong_code"),
                _ => is(&answer, 200, "password_change_required"),
            }
        }
    }
}
