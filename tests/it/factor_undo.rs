//! The link in the notice of a new second factor: it removes the factor, and works for nobody else.

use std::time::Duration;

use portcullis::permission::RoleDefinition;
use portcullis::{Factor, MessageKind};
use serde_json::json;

use crate::on_every_database;
use crate::sent_code::prove_mailbox;
use crate::support::browser::Answer;
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp::{check, code, enrol, person, verify};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const UNDO: &str = "/auth/second-factor/undo";

/// Returns the tokens in the notices of new factors, oldest first, with the factors.
async fn links(probe: &Probe) -> Vec<(String, Option<String>)> {
    let sent = probe.mail().await.into_iter();
    let notices = sent.filter(|mail| mail.kind == MessageKind::FactorAdded);
    let token = |link: &str| link.split_once("#token=").expect("a token").1.to_owned();
    let link = |mail: portcullis::Message| {
        let some = |name: &str| mail.value(name).filter(|value| !value.is_empty());
        let (factor, link) = (some("factor").expect("a factor").to_owned(), some("link"));
        assert_eq!(some("days").is_some(), link.is_some());
        assert!(link.is_none_or(|link| mail.text.contains(link)));
        (factor, link.map(token))
    };
    notices.map(link).collect()
}

async fn last_link(probe: &Probe) -> String {
    links(probe).await.pop().expect("a notice").1.expect("a link")
}

async fn undo(browser: &Browser, token: &str) -> Answer {
    browser.stranger().post(UNDO, json!({ "token": token })).await
}

async fn enrolled(probe: &Probe) -> Vec<Factor> {
    let found = probe.auth.accounts().find_by_login("alice").await.expect("it answers");
    found.expect("an account").enrolled_factors().iter().collect()
}

on_every_database! {
    async fn the_owner_removes_a_factor_that_somebody_else_has_set_up(probe: Probe) {
        let (_, mut thief, _) = person(&probe, "alice").await;
        let token = last_link(&probe).await;
        let mut waits = thief.stranger();
        assert_eq!(waits.login("alice", PASSWORD).await.json()["result"], "second_factor_required");
        // A scanner of mails opens links, and changes nothing.
        assert_eq!(thief.get(UNDO).await.status, 405);
        assert_eq!(undo(&thief, &token).await.status, 204);
        check(&thief.get("/me").await, 401, "session_ended");
        check(&waits.get("/auth/second-factor").await, 401, "session_ended");
        assert_eq!(enrolled(&probe).await, []);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_totp").await, 0);
        let told = probe.mail().await;
        let removed = told.iter().filter(|mail| mail.kind == MessageKind::FactorRemoved);
        assert_eq!(removed.map(|mail| mail.value("factor")).collect::<Vec<_>>(), [Some("totp")]);
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'user_updated' AND detail = 'factor undone'";
        assert_eq!(probe.number(events).await, 1);
        // A second click in the same browser is told that the first one worked. Later it is worth nothing.
        check(&undo(&thief, &token).await, 409, "link_used");
        probe.clock.advance(2 * MINUTE);
        check(&undo(&thief, &token).await, 403, "wrong_code");
        assert_eq!(thief.stranger().login("alice", PASSWORD).await.json()["result"], "session");
        assert_eq!(probe.number(events).await, 1);
    }

    async fn older_factors_stay_and_later_ones_go(probe: Probe) {
        let (_, mut browser, phone) = person(&probe, "alice").await;
        enrol(&probe, &mut browser, "tablet").await;
        let tablet = last_link(&probe).await;
        assert_eq!(browser.post("/auth/recovery-codes", json!({})).await.status, 201);
        prove_mailbox(&probe, &mut browser).await;
        let mailed = browser.post("/auth/sent-codes", json!({ "method": "mailed_code" })).await;
        assert_eq!(mailed.status, 200, "{}", mailed.text);
        let kinds: Vec<_> = links(&probe).await.into_iter().map(|(factor, _)| factor).collect();
        assert_eq!(kinds, ["totp", "totp", "recovery code", "mailed code"]);
        let mailed = last_link(&probe).await;
        assert_eq!(undo(&browser, &mailed).await.status, 204);
        assert_eq!(enrolled(&probe).await, [Factor::Totp, Factor::RecoveryCode]);
        // The link of the second authenticator also removes what came after it.
        assert_eq!(undo(&browser, &tablet).await.status, 204);
        assert_eq!(enrolled(&probe).await, [Factor::Totp]);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_totp").await, 1);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_recovery_code").await, 0);
        probe.clock.advance(MINUTE);
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.json()["result"], "second_factor_required");
        assert_eq!(verify(&mut other, &code(&probe, &phone)).await.status, 200);
    }

    async fn nothing_that_a_thief_does_next_ends_the_link_and_it_ends_after_three_days(probe: Probe) {
        let (alice, mut thief, _) = person(&probe, "alice").await;
        let token = last_link(&probe).await;
        let new = json!({ "current_password": PASSWORD, "new_password": "another horse battery staple" });
        assert_eq!(thief.put("/auth/password", new).await.status, 200);
        assert_eq!(thief.post("/auth/recovery-codes", json!({})).await.status, 201);
        probe.auth.sessions().end_all(alice.id(), None).await.expect("they end");
        probe.clock.advance(3 * DAY - MINUTE);
        assert_eq!(undo(&thief, &token).await.status, 204);
        assert_eq!(enrolled(&probe).await, []);
        // A neighbour that is too late.
        let mut late = thief.stranger();
        assert_eq!(late.login("alice", "another horse battery staple").await.status, 200);
        prove_mailbox(&probe, &mut late).await;
        enrol(&probe, &mut late, "phone").await;
        let token = last_link(&probe).await;
        probe.clock.advance(3 * DAY);
        check(&undo(&thief, &token).await, 403, "wrong_code");
        assert_eq!(enrolled(&probe).await, [Factor::Totp]);
    }

    async fn a_link_works_only_for_the_address_to_which_it_was_sent(probe: Probe) {
        let (_, mut browser, _) = person(&probe, "alice").await;
        let old = last_link(&probe).await;
        probe.clock.advance(MINUTE);
        let answer = browser.post("/auth/email", json!({ "email": "thief@example.com" })).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let sent = probe.mail().await;
        let asks = sent.iter().rfind(|mail| mail.kind == MessageKind::EmailChangeConfirm);
        let proof = json!({ "code": asks.expect("a mail").value("code").expect("a code") });
        let answer = browser.post("/auth/email/confirm", proof).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        check(&undo(&browser, &old).await, 403, "wrong_code");
        // The thief gets a link too. It ends when the owner puts the address back.
        assert_eq!(browser.post("/auth/recovery-codes", json!({})).await.status, 201);
        let thiefs = last_link(&probe).await;
        let sent = probe.mail().await;
        let notice = sent.iter().rfind(|mail| mail.kind == MessageKind::EmailChangedUndo);
        let link = notice.expect("a mail").value("link").expect("a link");
        let (_, back) = link.split_once("#token=").expect("a token");
        let answer = browser.stranger().post("/auth/email/undo", json!({ "token": back })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        check(&undo(&browser, &thiefs).await, 403, "wrong_code");
        assert_eq!(enrolled(&probe).await, [Factor::Totp]);
        // The address is the account's again, and so is its link.
        assert_eq!(undo(&browser, &old).await.status, 204);
        assert_eq!(enrolled(&probe).await, []);
    }

    async fn the_mailbox_alone_does_not_undo_a_factor_that_a_role_requires(probe: Probe) {
        let (alice, mut browser, _) = person(&probe, "alice").await;
        let early = last_link(&probe).await;
        let admin = RoleDefinition::new("admin", ["user:read"]).requires_factor(true);
        probe.auth.roles().define([admin]).await.expect("it is defined");
        probe.auth.roles().grant(alice.id(), "admin").await.expect("it is granted");
        assert_eq!(browser.post("/auth/recovery-codes", json!({})).await.status, 201);
        assert_eq!(links(&probe).await.pop(), Some(("recovery code".to_owned(), None)));
        // She had no such role when this link was sent.
        check(&undo(&browser, &early).await, 403, "wrong_code");
        assert_eq!(enrolled(&probe).await, [Factor::Totp, Factor::RecoveryCode]);
        // A sign-in that must set up a factor.
        let bob = probe.register_with_email("bob", "bob@example.com").await;
        probe.auth.accounts().verify(bob.id()).await.expect("it is verified");
        probe.auth.roles().grant(bob.id(), "admin").await.expect("it is granted");
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("bob", PASSWORD).await.json()["result"], "enrolment_required");
        prove_mailbox(&probe, &mut browser).await;
        enrol(&probe, &mut browser, "phone").await;
        assert_eq!(links(&probe).await.pop(), Some(("totp".to_owned(), None)));
        // Where the set-up does not ask for the mailbox, a thief of the password could do it.
        let probe = probe.configured(|config| config.factor.prove_mailbox = false);
        let carol = probe.register_with_email("carol", "carol@example.com").await;
        probe.auth.accounts().verify(carol.id()).await.expect("it is verified");
        probe.auth.roles().grant(carol.id(), "admin").await.expect("it is granted");
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("carol", PASSWORD).await.json()["result"], "enrolment_required");
        enrol(&probe, &mut browser, "phone").await;
        assert!(links(&probe).await.pop().expect("a notice").1.is_some());
    }

    async fn no_link_without_a_verified_address_or_if_it_is_switched_off(probe: Probe) {
        let account = probe.register("bob").await;
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("bob", PASSWORD).await.status, 200);
        enrol(&probe, &mut browser, "phone").await;
        assert_eq!(links(&probe).await, [], "there is no address");
        // An administrator sets no factor by mistake.
        let carol = probe.register_with_email("carol", "carol@example.com").await;
        probe.auth.accounts().verify(carol.id()).await.expect("it is verified");
        for id in [account.id(), carol.id()] {
            probe.auth.accounts().set_enrolled_factors(id, [Factor::Passkey]).await.expect("set");
        }
        assert_eq!(links(&probe).await, [("passkey".to_owned(), None)]);
        let probe = probe.configured(|config| config.factor.undo_lifetime = None);
        person(&probe, "alice").await;
        assert_eq!(links(&probe).await.pop(), Some(("totp".to_owned(), None)));
        let kept = "SELECT COUNT(*) FROM auth_challenge WHERE purpose = 'factor_undo'";
        assert_eq!(probe.number(kept).await, 0);
    }
}
