//! Who may put an address, a number or a name of an account back, and until when. A thief has a
//! session, the password or a mailbox of their own, and then the owner returns. After the owner has
//! changed the password and put the address back, nothing that the thief holds may work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::account::{FurtherName, NewAccount};
use portcullis::base::clock::MockClock;
use portcullis::config::Registration;
use portcullis::message::Message;
use portcullis::{AccountId, Clock, MessageKind};
use serde_json::json;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::Answer;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NEW_PASSWORD: &str = "another horse battery staple";
const OWN: &str = "alice@example.com";
const FIRST_PHONE: &str = "+4915112345670";

/// Creates an account with a verified address, and a browser without a session.
async fn owner(probe: &Probe) -> (AccountId, Browser) {
    let account = NewAccount::username("alice").with_email(OWN).verified();
    let account = probe.auth.registration().create(account, PASSWORD).await;
    (account.expect("the account is made").id(), probe.browser().await)
}

/// Adds a sender of text messages.
fn texting(mut probe: Probe) -> Probe {
    let texts = probe.notifier.clone();
    probe.auth = probe.rebuilt(|builder| builder.text_messages(texts));
    probe
}

/// Starts a new session in this browser, so that its next requests have a recent factor.
async fn sign_in(browser: &mut Browser, password: &str) {
    browser.cookie = None;
    let answer = browser.login("alice", password).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// Returns the messages of a kind to this recipient, oldest first.
async fn letters(probe: &Probe, kind: MessageKind, to: &str) -> Vec<Message> {
    let sent = probe.mail().await.into_iter();
    sent.filter(|message| message.kind == kind && message.to.as_str() == to).collect()
}

async fn letter(probe: &Probe, kind: MessageKind, to: &str) -> Message {
    letters(probe, kind, to).await.pop().unwrap_or_else(|| panic!("no {kind:?} to {to}"))
}

fn token_of(message: &Message) -> Option<String> {
    let (_, rest) = message.text.split_once("#token=")?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// Returns the undo token in the last message of a kind to this recipient, if it contains one.
async fn way_back(probe: &Probe, kind: MessageKind, to: &str) -> Option<String> {
    token_of(&letter(probe, kind, to).await)
}

/// Requests a new address and confirms it, in the browser's session.
async fn change(probe: &Probe, browser: &mut Browser, new: &str) -> Answer {
    probe.clock.advance(MINUTE);
    let answer = browser.post("/auth/email", json!({ "email": new })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let token = token_of(&letter(probe, MessageKind::EmailChangeConfirm, new).await);
    browser.post("/auth/email/confirm", json!({ "token": token })).await
}

#[track_caller]
fn worked(answer: &Answer) {
    assert!(matches!(answer.status, 200 | 204), "{}", answer.text);
}

/// Changes the address. Returns the undo token that the replaced address got, if it got one.
async fn moved(probe: &Probe, browser: &mut Browser, old: &str, new: &str) -> Option<String> {
    worked(&change(probe, browser, new).await);
    way_back(probe, MessageKind::EmailChangedUndo, old).await
}

async fn set_phone(probe: &Probe, browser: &mut Browser, new: &str) {
    probe.clock.advance(MINUTE);
    let answer = browser.post("/auth/phone", json!({ "phone": new })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let text = letter(probe, MessageKind::PhoneChangeConfirm, new).await;
    let (_, rest) = text.text.split_once(" is: ").expect("a code");
    let code: String = rest.chars().take_while(char::is_ascii_digit).collect();
    worked(&browser.post("/auth/phone/confirm", json!({ "code": code })).await);
}

async fn add_address(probe: &Probe, browser: &mut Browser, new: &str) {
    probe.clock.advance(MINUTE);
    let answer = browser.post("/auth/login-names", json!({ "email": new })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let token = token_of(&letter(probe, MessageKind::LoginNameConfirm, new).await);
    let answer = browser.post("/auth/login-names/confirm", json!({ "token": token })).await;
    worked(&answer);
}

async fn new_password(browser: &mut Browser, current: &str, new: &str) {
    let body = json!({ "current_password": current, "new_password": new });
    worked(&browser.put("/auth/password", body).await);
}

async fn undo(browser: &Browser, token: &str) -> Answer {
    browser.stranger().post("/auth/email/undo", json!({ "token": token })).await
}

async fn email(probe: &Probe) -> Option<String> {
    probe.text("SELECT email FROM auth_account WHERE username = 'alice'").await
}

async fn phone(probe: &Probe) -> Option<String> {
    probe.text("SELECT phone FROM auth_account WHERE username = 'alice'").await
}

async fn names(probe: &Probe) -> Vec<String> {
    let rows = probe.dump("auth_login_name").await;
    let mut names: Vec<_> =
        rows.iter().map(|row| row.split('|').next().unwrap_or_default().to_owned()).collect();
    names.sort();
    names
}

/// Returns whether this mailbox gets a link to set a new password.
async fn resets(probe: &Probe, browser: &Browser, login: &str) -> bool {
    probe.clock.advance(HOUR);
    let before = probe.mail().await.len();
    let body = json!({ "login": login });
    assert_eq!(browser.stranger().post("/auth/password/forgot", body).await.status, 202);
    let sent = probe.mail().await.split_off(before);
    sent.iter().any(|message| message.kind == MessageKind::PasswordReset)
}

#[track_caller]
fn no_good(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (403, "wrong_code"), "{}", answer.text);
}

on_every_database! {
    async fn a_thief_who_was_put_out_gets_no_way_back(probe: Probe) {
        let (_, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        let owners = moved(&probe, &mut thief, OWN, "thief@one.example").await;
        assert!(owners.is_some(), "the first address gets one");
        // The owner does what the mail says, but in a session.
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        new_password(&mut owner, PASSWORD, NEW_PASSWORD).await;
        assert_eq!(thief.get("/me").await.status, 401);
        let thiefs = moved(&probe, &mut owner, "thief@one.example", OWN).await;
        assert_eq!(thiefs, None, "the thief hears of it and can do nothing");
        assert_eq!(email(&probe).await.as_deref(), Some(OWN));
        assert_eq!(owner.get("/me").await.status, 200, "who puts it back stays signed in");
        assert!(!resets(&probe, &browser, "thief@one.example").await);
        assert!(resets(&probe, &browser, OWN).await);
    }

    async fn putting_an_address_back_is_an_undo_whatever_became_of_its_link(probe: Probe) {
        let (_, browser) = owner(&probe).await;
        for (round, what) in ["open", "spent", "expired"].into_iter().enumerate() {
            let mut thief = browser.clone();
            sign_in(&mut thief, PASSWORD).await;
            let new = format!("thief@r{round}.example");
            let link = moved(&probe, &mut thief, OWN, &new).await.expect("the first one's link");
            let mut last = new.clone();
            match what {
                "spent" => {
                    worked(&undo(&browser, &link).await);
                    // The thief knows the password and signs in again.
                    sign_in(&mut thief, PASSWORD).await;
                    last = format!("again@r{round}.example");
                    let again = moved(&probe, &mut thief, OWN, &last).await;
                    assert!(again.is_some(), "the way back comes anew");
                }
                "expired" => {
                    probe.clock.advance(29 * DAY);
                    no_good(&undo(&browser, &link).await);
                }
                _ => {}
            }
            let mut owner = browser.clone();
            sign_in(&mut owner, PASSWORD).await;
            assert_eq!(moved(&probe, &mut owner, &last, OWN).await, None, "{what}");
            assert_eq!(email(&probe).await.as_deref(), Some(OWN));
        }
    }

    async fn what_was_undone_is_no_address_to_be_put_back(probe: Probe) {
        // Otherwise the thief could put their own address back, and the owner's address would get
        // no link.
        let (_, browser) = owner(&probe).await;
        for round in 0..4 {
            let mut thief = browser.clone();
            sign_in(&mut thief, PASSWORD).await;
            let link = moved(&probe, &mut thief, OWN, "thief@one.example").await;
            let link = link.unwrap_or_else(|| panic!("round {round}: the owner can undo it"));
            let mut owner = browser.clone();
            if round % 2 == 0 {
                sign_in(&mut owner, PASSWORD).await;
                assert_eq!(moved(&probe, &mut owner, "thief@one.example", OWN).await, None);
            } else {
                worked(&undo(&owner, &link).await);
            }
            assert_eq!(email(&probe).await.as_deref(), Some(OWN));
        }
        // The same after the owner has changed to another address and has had it for a week.
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        assert!(moved(&probe, &mut owner, OWN, "alice@new.example").await.is_some());
        probe.clock.advance(7 * DAY);
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        let link = moved(&probe, &mut thief, "alice@new.example", "thief@one.example").await;
        worked(&undo(&browser, &link.expect("a way back")).await);
        assert_eq!(email(&probe).await.as_deref(), Some("alice@new.example"));
    }

    async fn an_address_gets_a_way_back_once_it_has_been_the_accounts_for_a_week(probe: Probe) {
        let (_, mut browser) = owner(&probe).await;
        sign_in(&mut browser, PASSWORD).await;
        assert!(moved(&probe, &mut browser, OWN, "b@example.com").await.is_some(), "it is the first");
        probe.clock.advance(7 * DAY - MINUTE - SECOND);
        sign_in(&mut browser, PASSWORD).await;
        let early = moved(&probe, &mut browser, "b@example.com", "c@example.com").await;
        assert_eq!(early, None, "a second is missing");
        // The time for which the account had the address counts, and not the time since it was
        // added.
        probe.clock.advance(3 * DAY);
        sign_in(&mut browser, PASSWORD).await;
        let unsettled = moved(&probe, &mut browser, "c@example.com", "b@example.com").await;
        assert_eq!(unsettled, None, "an earlier one is back");
        probe.clock.advance(2 * SECOND);
        sign_in(&mut browser, PASSWORD).await;
        let link = moved(&probe, &mut browser, "b@example.com", "d@example.com").await;
        worked(&undo(&browser, &link.expect("a week by now")).await);
        assert_eq!(email(&probe).await.as_deref(), Some("b@example.com"));
    }

    async fn two_nodes_whose_clocks_differ_decide_alike(probe: Probe) {
        let probe = probe.configured(|config| config.challenge.cool_down = Duration::ZERO);
        for (round, behind) in [false, true].into_iter().enumerate() {
            let name = format!("alice{round}");
            let own = format!("{name}@example.com");
            let (one, two) = (format!("one@t{round}.example"), format!("two@t{round}.example"));
            let account = NewAccount::username(&name).with_email(&own).verified();
            probe.auth.registration().create(account, PASSWORD).await.expect("it is made");
            let browser = probe.browser().await;
            // The account has had the thief's address for so long that it gets a link when it is
            // replaced.
            let mut thief = browser.clone();
            assert_eq!(thief.login(&name, PASSWORD).await.status, 200);
            add_address(&probe, &mut thief, &one).await;
            probe.clock.advance(8 * DAY);
            thief.cookie = None;
            assert_eq!(thief.login(&name, PASSWORD).await.status, 200);
            let owners = moved(&probe, &mut thief, &own, &one).await.expect("a way back");
            // The next change follows at once, on a node whose clock is 30 s behind or ahead.
            probe.clock.advance(2 * SECOND);
            let clock = MockClock::at(probe.clock.now());
            if behind { clock.step_back(30 * SECOND) } else { clock.advance(30 * SECOND) }
            let auth = probe.rebuilt(|builder| builder.clock(clock.clone()));
            let other = serve(app(&auth)).await;
            let answer = thief.post("/auth/email", json!({ "email": two })).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            let token = token_of(&letter(&probe, MessageKind::EmailChangeConfirm, &two).await);
            let mut there = thief.at(other);
            worked(&there.post("/auth/email/confirm", json!({ "token": token })).await);
            auth.outbox().deliver_due().await.expect("the outbox is read");
            let thiefs = way_back(&probe, MessageKind::EmailChangedUndo, &one).await;
            let thiefs = thiefs.expect("it is settled, so that it gets a link too");
            worked(&undo(&browser, &owners).await);
            for node in [browser.address, other] {
                no_good(&undo(&browser.at(node), &thiefs).await);
            }
            let query = format!("SELECT email FROM auth_account WHERE username = '{name}'");
            assert_eq!(probe.text(&query).await, Some(own));
        }
    }

    async fn what_came_after_a_change_goes_with_it_by_the_counter(probe: Probe) {
        // On a node that is 30 s behind, new names look older than the change before them.
        let mut probe = probe;
        let texts = probe.notifier.clone();
        probe.auth = probe.rebuilt(|builder| {
            builder.text_messages(texts).configure(|config| {
                config.rate.per_source = None;
                config.rate.per_principal = None;
            })
        });
        let (_, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        let owners = moved(&probe, &mut thief, OWN, "thief@one.example").await.expect("a way back");
        probe.clock.step_back(5 * MINUTE);
        sign_in(&mut thief, PASSWORD).await;
        add_address(&probe, &mut thief, "thief@two.example").await;
        let answer = thief.post("/auth/login-names", json!({ "username": "thief" })).await;
        worked(&answer);
        set_phone(&probe, &mut thief, "+4915112345678").await;
        worked(&undo(&browser, &owners).await);
        assert_eq!(names(&probe).await, ["alice", OWN]);
        assert_eq!(phone(&probe).await, None, "nor is a number of theirs left");
        assert!(!resets(&probe, &browser, "thief@two.example").await);
    }

    async fn what_came_before_a_change_stays_when_it_is_undone(probe: Probe) {
        let probe = texting(probe);
        let (_, browser) = owner(&probe).await;
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        set_phone(&probe, &mut owner, FIRST_PHONE).await;
        add_address(&probe, &mut owner, "alice@work.example").await;
        let link = moved(&probe, &mut owner, OWN, "thief@one.example").await.expect("a way back");
        worked(&undo(&browser, &link).await);
        assert_eq!(names(&probe).await, [FIRST_PHONE, "alice", OWN, "alice@work.example"]);
        assert_eq!(phone(&probe).await.as_deref(), Some(FIRST_PHONE));
    }

    async fn putting_an_address_back_takes_along_what_came_after_it_went(probe: Probe) {
        let (_, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        moved(&probe, &mut thief, OWN, "thief@one.example").await.expect("a way back");
        add_address(&probe, &mut thief, "thief@two.example").await;
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        new_password(&mut owner, PASSWORD, NEW_PASSWORD).await;
        assert_eq!(moved(&probe, &mut owner, "thief@one.example", OWN).await, None);
        assert_eq!(names(&probe).await, ["alice", OWN]);
        assert!(!resets(&probe, &browser, "thief@two.example").await);
    }

    async fn a_link_to_an_earlier_address_outlives_resets_passwords_and_ends(probe: Probe) {
        let (id, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        let owners = moved(&probe, &mut thief, OWN, "thief@one.example").await.expect("a way back");
        new_password(&mut thief, PASSWORD, NEW_PASSWORD).await;
        worked(&thief.delete("/auth/sessions?scope=all").await);
        probe.auth.sessions().end_all(id, None).await.expect("they end");
        let body = json!({ "login": "thief@one.example" });
        assert_eq!(thief.stranger().post("/auth/password/forgot", body).await.status, 202);
        let reset = letter(&probe, MessageKind::PasswordReset, "thief@one.example").await;
        let body = json!({ "token": token_of(&reset), "password": "a third horse battery staple" });
        worked(&thief.stranger().post("/auth/password/reset", body).await);
        worked(&undo(&browser, &owners).await);
        assert_eq!(email(&probe).await.as_deref(), Some(OWN));
    }

    async fn the_first_address_ends_what_a_settled_later_one_was_given(probe: Probe) {
        // The thief's address was there for a week before the owner returned.
        let (_, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        moved(&probe, &mut thief, OWN, "thief@one.example").await.expect("a way back");
        probe.clock.advance(8 * DAY);
        sign_in(&mut thief, PASSWORD).await;
        let thiefs = moved(&probe, &mut thief, "thief@one.example", "thief@two.example").await;
        let thiefs = thiefs.expect("it has been the account's for long enough");
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        new_password(&mut owner, PASSWORD, NEW_PASSWORD).await;
        assert_eq!(moved(&probe, &mut owner, "thief@two.example", OWN).await, None);
        no_good(&undo(&browser, &thiefs).await);
        assert_eq!(email(&probe).await.as_deref(), Some(OWN));
    }

    async fn a_number_that_has_just_come_gets_no_way_back(probe: Probe) {
        let probe = texting(probe);
        let (_, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        set_phone(&probe, &mut thief, "+4915112345678").await;
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        new_password(&mut owner, PASSWORD, NEW_PASSWORD).await;
        set_phone(&probe, &mut owner, FIRST_PHONE).await;
        let kind = MessageKind::PhoneChangedUndo;
        assert_eq!(way_back(&probe, kind, "+4915112345678").await, None);
        // The same if it is only removed.
        set_phone(&probe, &mut owner, "+4915112345679").await;
        worked(&owner.delete("/auth/phone").await);
        assert_eq!(way_back(&probe, kind, "+4915112345679").await, None);
        // A number that the account had for a week gets a link, and the link puts it back.
        set_phone(&probe, &mut owner, FIRST_PHONE).await;
        probe.clock.advance(7 * DAY);
        sign_in(&mut owner, NEW_PASSWORD).await;
        set_phone(&probe, &mut owner, "+4915112345679").await;
        let link = way_back(&probe, kind, FIRST_PHONE).await.expect("a way back");
        let answer = owner.stranger().post("/auth/phone/undo", json!({ "token": link })).await;
        worked(&answer);
        assert_eq!(phone(&probe).await.as_deref(), Some(FIRST_PHONE));
    }

    async fn a_thiefs_address_cannot_remove_what_the_owner_adds(probe: Probe) {
        let (_, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        moved(&probe, &mut thief, OWN, "thief@one.example").await.expect("a way back");
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        add_address(&probe, &mut owner, "alice@work.example").await;
        let told = letter(&probe, MessageKind::LoginNameAdded, "thief@one.example").await;
        assert_eq!(token_of(&told), None, "{}", told.text);
        // A settled address gets a link when a name is added. Putting back an earlier address ends
        // this link.
        probe.clock.advance(8 * DAY);
        sign_in(&mut owner, PASSWORD).await;
        add_address(&probe, &mut owner, "alice@club.example").await;
        let told = letter(&probe, MessageKind::LoginNameAdded, "thief@one.example").await;
        let thiefs = token_of(&told).expect("a way back");
        assert_eq!(moved(&probe, &mut owner, "thief@one.example", OWN).await, None);
        sign_in(&mut owner, PASSWORD).await;
        add_address(&probe, &mut owner, "alice@club.example").await;
        let body = json!({ "token": thiefs });
        no_good(&browser.stranger().post("/auth/login-names/undo", body).await);
        assert!(names(&probe).await.contains(&"alice@club.example".to_owned()));
    }

    async fn a_username_that_waited_for_the_proof_came_before_every_change(probe: Probe) {
        let probe = probe.configured(|config| {
            config.login.require_verified = true;
            config.login.registration = Registration::Strict;
        });
        let mut browser = probe.browser().await;
        let body = json!({ "username": "alice", "email": OWN, "password": PASSWORD });
        assert_eq!(browser.post("/auth/register", body).await.status, 202);
        let link = token_of(&letter(&probe, MessageKind::VerifyAddress, OWN).await).expect("a link");
        let proof = json!({ "token": link, "password": PASSWORD });
        worked(&browser.post("/auth/verification/confirm", proof).await);
        sign_in(&mut browser, PASSWORD).await;
        let link = moved(&probe, &mut browser, OWN, "alice@new.example").await.expect("a way back");
        worked(&undo(&browser, &link).await);
        assert_eq!(email(&probe).await.as_deref(), Some(OWN));
        assert_eq!(names(&probe).await, ["alice", OWN]);
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
    }

    async fn a_further_name_that_never_went_is_not_put_back(probe: Probe) {
        // The thief adds a name. The owner does not notice it and then changes the address.
        let (_, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        add_address(&probe, &mut thief, "thief@one.example").await;
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        moved(&probe, &mut owner, OWN, "alice@new.example").await.expect("a way back");
        probe.clock.advance(8 * DAY);
        sign_in(&mut thief, PASSWORD).await;
        let link = moved(&probe, &mut thief, "alice@new.example", "thief@one.example").await;
        // The thief can do this in any order. The owner's address came before the thief's address
        // replaced it.
        new_password(&mut thief, PASSWORD, NEW_PASSWORD).await;
        worked(&thief.delete("/auth/sessions").await);
        let link = link.expect("it has been the account's for a week");
        worked(&undo(&browser, &link).await);
        assert_eq!(email(&probe).await.as_deref(), Some("alice@new.example"));
        assert_eq!(names(&probe).await, ["alice", "alice@new.example"]);
        assert!(!resets(&probe, &browser, "thief@one.example").await);
        assert!(resets(&probe, &browser, "alice@new.example").await);
    }

    async fn nor_is_one_that_was_removed_and_added_again(probe: Probe) {
        let (_, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        add_address(&probe, &mut thief, "thief@one.example").await;
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        moved(&probe, &mut owner, OWN, "alice@new.example").await.expect("a way back");
        probe.clock.advance(8 * DAY);
        for again in [false, true] {
            sign_in(&mut thief, PASSWORD).await;
            worked(&thief.delete("/auth/login-names/thief%40one.example").await);
            if again {
                add_address(&probe, &mut thief, "thief@one.example").await;
                let told = letter(&probe, MessageKind::LoginNameAdded, "alice@new.example").await;
                assert!(token_of(&told).is_some(), "{}", told.text);
            }
            let link = moved(&probe, &mut thief, "alice@new.example", "thief@one.example").await;
            worked(&undo(&browser, &link.expect("a way back")).await);
            assert_eq!(email(&probe).await.as_deref(), Some("alice@new.example"));
            sign_in(&mut thief, PASSWORD).await;
            add_address(&probe, &mut thief, "thief@one.example").await;
        }
    }

    async fn the_first_address_ends_a_thiefs_link_whichever_other_one_took_its_place(probe: Probe) {
        // The same order of addresses with the roles exchanged. Portcullis cannot tell the two
        // cases apart, so the thief's address gets a link too. The first address ends it.
        let (_, browser) = owner(&probe).await;
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        add_address(&probe, &mut owner, "alice@work.example").await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        moved(&probe, &mut thief, OWN, "thief@one.example").await.expect("a way back");
        probe.clock.advance(8 * DAY);
        sign_in(&mut owner, PASSWORD).await;
        new_password(&mut owner, PASSWORD, NEW_PASSWORD).await;
        let thiefs = moved(&probe, &mut owner, "thief@one.example", "alice@work.example").await;
        let thiefs = thiefs.expect("it has been the account's for a week");
        assert_eq!(moved(&probe, &mut owner, "alice@work.example", OWN).await, None);
        no_good(&undo(&browser, &thiefs).await);
        assert_eq!(email(&probe).await.as_deref(), Some(OWN));
        assert!(!resets(&probe, &browser, "thief@one.example").await);
    }

    async fn an_earlier_address_keeps_its_place_while_it_is_a_further_name(probe: Probe) {
        let (id, browser) = owner(&probe).await;
        for by_operator in [false, true] {
            let mut thief = browser.clone();
            sign_in(&mut thief, PASSWORD).await;
            moved(&probe, &mut thief, OWN, "thief@one.example").await.expect("a way back");
            add_address(&probe, &mut thief, "thief@two.example").await;
            probe.clock.advance(8 * DAY);
            let mut owner = browser.clone();
            sign_in(&mut owner, PASSWORD).await;
            if by_operator {
                let name = FurtherName::email(OWN).verified();
                probe.auth.accounts().add_name(id, name).await.expect("it is added");
                sign_in(&mut owner, PASSWORD).await;
            } else {
                add_address(&probe, &mut owner, OWN).await;
                let told = letter(&probe, MessageKind::LoginNameAdded, "thief@one.example").await;
                assert_eq!(token_of(&told), None, "an earlier one is no addition: {}", told.text);
            }
            let thiefs = moved(&probe, &mut owner, "thief@one.example", OWN).await;
            assert_eq!(thiefs, None, "it is put back");
            assert_eq!(email(&probe).await.as_deref(), Some(OWN));
            assert_eq!(names(&probe).await, ["alice", OWN], "what came since goes with it");
            assert!(!resets(&probe, &browser, "thief@one.example").await);
        }
        // It is still the first address as before, after any change.
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        let link = moved(&probe, &mut thief, OWN, "thief@one.example").await;
        worked(&undo(&browser, &link.expect("a way back")).await);
        let remembered = "SELECT COUNT(*) FROM auth_former_address";
        assert_eq!(probe.number(remembered).await, 0);
    }

    async fn an_earlier_address_keeps_its_link_while_it_is_a_further_name(probe: Probe) {
        let (_, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        let link = moved(&probe, &mut thief, OWN, "thief@one.example").await.expect("a way back");
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        add_address(&probe, &mut owner, OWN).await;
        // The link does not end either when that name is removed.
        sign_in(&mut thief, PASSWORD).await;
        worked(&thief.delete("/auth/login-names/alice%40example.com").await);
        add_address(&probe, &mut thief, OWN).await;
        worked(&undo(&browser, &link).await);
        assert_eq!(email(&probe).await.as_deref(), Some(OWN));
        assert_eq!(names(&probe).await, ["alice", OWN]);
    }

    async fn an_earlier_address_that_is_added_again_came_when_it_was_added(probe: Probe) {
        // Otherwise the address would stay when an address from before it is put back.
        let (_, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        moved(&probe, &mut thief, OWN, "thief@one.example").await.expect("a way back");
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        moved(&probe, &mut owner, "thief@one.example", "alice@new.example").await;
        probe.clock.advance(8 * DAY);
        sign_in(&mut thief, PASSWORD).await;
        let link = moved(&probe, &mut thief, "alice@new.example", "thief@two.example").await;
        add_address(&probe, &mut thief, "thief@one.example").await;
        worked(&undo(&browser, &link.expect("a way back")).await);
        assert_eq!(names(&probe).await, ["alice", "alice@new.example"]);
        assert!(!resets(&probe, &browser, "thief@one.example").await);
    }

    async fn putting_a_number_back_leaves_addresses_alone(probe: Probe) {
        let probe = texting(probe);
        let (_, browser) = owner(&probe).await;
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        set_phone(&probe, &mut owner, FIRST_PHONE).await;
        probe.clock.advance(8 * DAY);
        for by_link in [false, true] {
            let mut thief = browser.clone();
            sign_in(&mut thief, PASSWORD).await;
            set_phone(&probe, &mut thief, "+4915112345678").await;
            let number = way_back(&probe, MessageKind::PhoneChangedUndo, FIRST_PHONE).await;
            add_address(&probe, &mut thief, "alice@work.example").await;
            let link = moved(&probe, &mut thief, OWN, "thief@one.example").await;
            if by_link {
                let body = json!({ "token": number.expect("it was there for a week") });
                worked(&thief.stranger().post("/auth/phone/undo", body).await);
            } else {
                set_phone(&probe, &mut thief, FIRST_PHONE).await;
            }
            assert_eq!(phone(&probe).await.as_deref(), Some(FIRST_PHONE));
            assert!(names(&probe).await.contains(&"alice@work.example".to_owned()));
            worked(&undo(&browser, &link.expect("a way back")).await);
            assert_eq!(email(&probe).await.as_deref(), Some(OWN));
            let mut owner = browser.clone();
            sign_in(&mut owner, PASSWORD).await;
            worked(&owner.delete("/auth/login-names/alice%40work.example").await);
        }
    }

    async fn a_username_that_took_the_place_of_the_own_one_goes_with_a_change(probe: Probe) {
        let (id, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        worked(&thief.post("/auth/login-names", json!({ "username": "second" })).await);
        let link = moved(&probe, &mut thief, OWN, "thief@one.example").await.expect("a way back");
        for name in ["thief1", "thief2"] {
            worked(&thief.post("/auth/login-names", json!({ "username": name })).await);
        }
        // The oldest of the other usernames becomes the account's own.
        worked(&thief.delete("/auth/login-names/alice").await);
        worked(&thief.delete("/auth/login-names/second").await);
        let username = || async {
            let account = probe.auth.accounts().find(id).await.expect("it answers");
            account.expect("an account").username().map(str::to_owned)
        };
        assert_eq!(username().await.as_deref(), Some("thief1"));
        worked(&undo(&browser, &link).await);
        assert_eq!(username().await, None);
        assert_eq!(names(&probe).await, [OWN]);
    }

    async fn the_owner_changes_twice_in_a_week_and_the_first_address_still_undoes_it(probe: Probe) {
        let (_, browser) = owner(&probe).await;
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        let first = moved(&probe, &mut owner, OWN, "alice@two.example").await.expect("a way back");
        probe.clock.advance(3 * DAY);
        sign_in(&mut owner, PASSWORD).await;
        assert_eq!(moved(&probe, &mut owner, "alice@two.example", "alice@three.example").await, None);
        let mut thief = browser.clone();
        sign_in(&mut thief, PASSWORD).await;
        let gone = moved(&probe, &mut thief, "alice@three.example", "thief@one.example").await;
        assert_eq!(gone, None);
        worked(&undo(&browser, &first).await);
        assert_eq!(email(&probe).await.as_deref(), Some(OWN));
        // The removed address may be set again, like any other.
        sign_in(&mut owner, PASSWORD).await;
        assert!(moved(&probe, &mut owner, OWN, "alice@three.example").await.is_some());
    }

    async fn another_spelling_is_the_same_address_and_a_tag_makes_another(probe: Probe) {
        let (_, browser) = owner(&probe).await;
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        worked(&change(&probe, &mut owner, "ALICE@example.com").await);
        let told = letter(&probe, MessageKind::EmailChangedUndo, OWN).await;
        assert_eq!(token_of(&told), None, "nothing went");
        let link = moved(&probe, &mut owner, "ALICE@example.com", "alice+tag@example.com").await;
        let link = link.expect("it is still the first one");
        assert_eq!(moved(&probe, &mut owner, "alice+tag@example.com", "Alice@example.com").await, None);
        no_good(&undo(&browser, &link).await);
        assert_eq!(email(&probe).await.as_deref(), Some("Alice@example.com"));
    }

    async fn former_addresses_are_kept_as_digests_and_only_for_their_time(probe: Probe) {
        let (id, browser) = owner(&probe).await;
        let mut owner = browser.clone();
        sign_in(&mut owner, PASSWORD).await;
        moved(&probe, &mut owner, OWN, "alice@two.example").await.expect("a way back");
        let rows = probe.dump("auth_former_address").await;
        assert_eq!(rows.len(), 1);
        assert!(!rows[0].contains("alice") && !rows[0].contains("example"), "{rows:?}");
        let accounts = probe.auth.accounts();
        for (wait, left) in [(30 * DAY - SECOND, 1), (SECOND, 0)] {
            probe.clock.advance(wait);
            accounts.purge_former_addresses().await.expect("it answers");
            let rows = probe.dump("auth_former_address").await;
            assert_eq!(rows.len(), left);
        }
        // After that it is an ordinary address.
        sign_in(&mut owner, PASSWORD).await;
        let link = moved(&probe, &mut owner, "alice@two.example", OWN).await;
        assert!(link.is_some(), "that one has been there for a month");
        let account = probe.auth.accounts().find(id).await.expect("it answers").expect("an account");
        assert_eq!(account.email(), Some(OWN));
    }

    async fn a_thief_who_ends_the_other_sessions_all_the_time_ends_no_way_back(probe: Probe) {
        let probe = probe.configured(|config| {
            config.rate.per_source = None;
            config.rate.per_principal = None;
        });
        let (_, browser) = owner(&probe).await;
        let mut thief = browser.clone();
        thief.address = serve(app(&probe.auth)).await;
        let browser = thief.stranger();
        sign_in(&mut thief, PASSWORD).await;
        add_address(&probe, &mut thief, "thief@two.example").await;
        let added = letter(&probe, MessageKind::LoginNameAdded, OWN).await;
        let added = token_of(&added).expect("a link");
        let link = moved(&probe, &mut thief, OWN, "thief@one.example").await.expect("a way back");
        let over = Arc::new(AtomicBool::new(false));
        let mut thieves = JoinSet::new();
        for _ in 0..16 {
            let (mut thief, over) = (thief.clone(), Arc::clone(&over));
            thieves.spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    if thief.delete("/auth/sessions").await.status == 401 {
                        break;
                    }
                }
            });
        }
        let mut owner = browser.clone();
        let body = json!({ "token": added });
        let removed = owner.post("/auth/login-names/undo", body).await;
        let undone = undo(&browser, &link).await;
        over.store(true, Ordering::SeqCst);
        thieves.join_all().await;
        worked(&removed);
        worked(&undone);
        assert_eq!(email(&probe).await.as_deref(), Some(OWN));
        assert_eq!(names(&probe).await, ["alice", OWN]);
        assert_eq!(thief.get("/me").await.code(), "session_ended");
    }
}
