//! Further names of an account.

use std::sync::Arc;
use std::time::Duration;

use portcullis::account::{AccountError, FurtherName, NewAccount};
use portcullis::config::LoginIds;
use portcullis::message::Message;
use portcullis::registration::Application;
use portcullis::{AccountId, Clock, MessageKind, Portcullis};
use reqwest::Method;
use sea_orm::TransactionTrait;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NEW_PASSWORD: &str = "another horse battery staple";
const NAMES: &str = "/auth/login-names";
const CONFIRM: &str = "/auth/login-names/confirm";
const UNDO: &str = "/auth/login-names/undo";

/// Signs in an account with a username and a verified address.
async fn person(probe: &Probe, name: &str) -> (AccountId, Browser) {
    let account = NewAccount::username(name).with_email(format!("{name}@example.com")).verified();
    let account = probe.auth.registration().create(account, PASSWORD).await;
    let mut browser = probe.browser().await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    (account.expect("the account is made").id(), browser)
}

/// Signs in an account whose address nobody has verified.
async fn claimant(probe: &Probe, name: &str, address: &str) -> (AccountId, Browser) {
    let account = NewAccount::username(name).with_email(address);
    let application = Application::new(account, PASSWORD);
    let registered = probe.auth.registration().register(application, &Default::default()).await;
    let mut browser = probe.browser().await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    (registered.expect("the account is made").account.id(), browser)
}

#[track_caller]
fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "{answer:?}");
}

#[track_caller]
fn check_session(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["result"], "session");
}

async fn add_username(browser: &mut Browser, username: &str) -> Answer {
    browser.post(NAMES, json!({ "username": username })).await
}

async fn ask(browser: &mut Browser, email: &str) {
    let answer = browser.post(NAMES, json!({ "email": email })).await;
    assert_eq!((answer.status, answer.text.as_str()), (202, "{\"result\":\"accepted\"}"));
}

/// Requests a further address and confirms it.
async fn add_email(probe: &Probe, browser: &mut Browser, email: &str) {
    probe.clock.advance(MINUTE);
    ask(browser, email).await;
    let token = confirm_token(probe, email).await;
    check_session(&browser.post(CONFIRM, json!({ "token": token })).await);
}

async fn remove(browser: &mut Browser, name: &str) -> Answer {
    browser.delete(&format!("{NAMES}/{name}")).await
}

/// Returns the sent messages, without verification mails of registrations and notices of new
/// devices.
async fn mail(probe: &Probe) -> Vec<Message> {
    let sent = probe.mail().await.into_iter();
    let others = [MessageKind::VerifyAddress, MessageKind::NewDevice];
    sent.filter(|message| !others.contains(&message.kind)).collect()
}

/// Returns the last message of this kind to this address.
async fn message(probe: &Probe, kind: MessageKind, to: &str) -> Message {
    let sent = mail(probe).await;
    let found = sent.into_iter().rfind(|message| message.kind == kind && message.to.as_str() == to);
    found.unwrap_or_else(|| panic!("no {kind:?} to {to}"))
}

fn token(message: &Message, page: &str) -> String {
    let start = format!("https://app.example.com{page}#token=");
    let (_, rest) = message.text.split_once(&start).expect("a link");
    let token: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
    assert_eq!(token.len(), 43, "{token}");
    assert!(message.html.as_ref().is_none_or(|html| html.contains(&token)));
    token
}

fn code(message: &Message) -> String {
    let (_, rest) = message.text.split_once(" is: ").expect("a code");
    rest.chars().take_while(char::is_ascii_digit).collect()
}

fn wrong(code: &str) -> String {
    code.bytes().map(|digit| char::from(b'0' + (digit - b'0' + 1) % 10)).collect()
}

async fn confirm_token(probe: &Probe, to: &str) -> String {
    token(&message(probe, MessageKind::LoginNameConfirm, to).await, "/login-names/confirm")
}

async fn undo_token(probe: &Probe, to: &str) -> String {
    token(&message(probe, MessageKind::LoginNameAdded, to).await, "/login-names/undo")
}

async fn reset_token(probe: &Probe, to: &str) -> String {
    token(&message(probe, MessageKind::PasswordReset, to).await, "/password/reset")
}

/// Returns the username of the account that has this name, if there is one.
async fn holder(probe: &Probe, normal: &str) -> Option<String> {
    let query = format!(
        "SELECT a.username FROM auth_login_name n JOIN auth_account a ON a.id = n.account_id \
         WHERE n.normal = '{normal}'"
    );
    probe.text(&query).await
}

/// Returns the normal forms of all names, sorted.
async fn names(probe: &Probe) -> Vec<String> {
    let mut names = Vec::new();
    for row in probe.dump("auth_login_name").await {
        names.push(row.split('|').next().unwrap_or_default().to_owned());
    }
    names.sort();
    names
}

async fn events(probe: &Probe, kind: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

/// Sends requests at the same moment. Returns the answers in the order of the requests.
async fn at_once(requests: Vec<reqwest::RequestBuilder>) -> Vec<Answer> {
    let barrier = Arc::new(Barrier::new(requests.len()));
    let mut tasks = JoinSet::new();
    for (number, request) in requests.into_iter().enumerate() {
        let barrier = Arc::clone(&barrier);
        tasks.spawn(async move {
            barrier.wait().await;
            (number, send(request).await)
        });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn post(browser: &Browser, path: &str, body: &Value) -> reqwest::RequestBuilder {
    browser.request(Method::POST, path).json(body)
}

on_every_database! {
    async fn a_username_is_added_at_once_signs_in_and_ends_the_other_sessions(probe: Probe) {
        let (alice, mut browser) = person(&probe, "alice").await;
        let lineage = browser.get("/lineage").await.text;
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        let old_session = browser.clone();
        check_session(&add_username(&mut browser, "Wonderland").await);
        assert_eq!(browser.get("/me").await.text, alice.to_string());
        assert_eq!(browser.get("/lineage").await.text, lineage);
        for mut over in [other, old_session] {
            check(&over.get("/me").await, 401, "session_ended");
        }
        for name in ["wonderland", "WONDERLAND", "alice", "Alice@example.com"] {
            assert_eq!(browser.stranger().login(name, PASSWORD).await.status, 200, "{name}");
        }
        // The account shows the same names as before.
        let me = browser.get("/auth/session").await.json();
        assert_eq!((&me["account"]["username"], &me["account"]["email"]), (&json!("alice"), &json!("alice@example.com")));
        assert_eq!(events(&probe, "login_name_added").await, 1);
    }

    async fn an_address_proves_itself_and_signs_in_from_then_on(probe: Probe) {
        let (alice, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "Alice@Work.example").await;
        let mail = message(&probe, MessageKind::LoginNameConfirm, "Alice@Work.example").await;
        assert_eq!(mail.account_id, Some(alice));
        assert!(mail.text.contains("60 minutes"), "{}", mail.text);
        // Before the confirmation the address belongs to nobody.
        assert_eq!(holder(&probe, "alice@work.example").await, None);
        assert_eq!(browser.stranger().login("alice@work.example", PASSWORD).await.status, 401);
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        let token = token(&mail, "/login-names/confirm");
        // A name that was requested with a recent factor can be confirmed later.
        probe.clock.advance(30 * MINUTE);
        check_session(&browser.post(CONFIRM, json!({ "token": token })).await);
        check(&other.get("/me").await, 401, "session_ended");
        assert_eq!(browser.get("/me").await.status, 200);
        for name in ["alice@work.example", "ALICE@work.EXAMPLE", "alice@example.com"] {
            assert_eq!(browser.stranger().login(name, PASSWORD).await.status, 200, "{name}");
        }
        for kind in ["login_name_requested", "login_name_added"] {
            assert_eq!(events(&probe, kind).await, 1, "{kind}");
        }
        check(&browser.post(CONFIRM, json!({ "token": token })).await, 409, "link_used");
    }

    async fn the_code_does_the_same_as_the_link(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@work.example").await;
        let mail = message(&probe, MessageKind::LoginNameConfirm, "alice@work.example").await;
        let (token, code) = (token(&mail, "/login-names/confirm"), code(&mail));
        check(&browser.post(CONFIRM, json!({ "code": wrong(&code) })).await, 403, "wrong_code");
        assert_eq!(events(&probe, "authn_challenge_fail").await, 1);
        let typed = format!(" {}-{} ", &code[..4], &code[4..]);
        check_session(&browser.post(CONFIRM, json!({ "code": typed })).await);
        assert_eq!(holder(&probe, "alice@work.example").await.as_deref(), Some("alice"));
        for body in [json!({ "code": code }), json!({ "token": token })] {
            check(&browser.post(CONFIRM, body).await, 409, "link_used");
        }
    }

    async fn a_list_shows_the_names_as_they_were_written(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        probe.clock.advance(MINUTE);
        check_session(&add_username(&mut browser, "Wonderland").await);
        add_email(&probe, &mut browser, "Alice@Work.example").await;
        assert_eq!(browser.get("/me").await.status, 200, "its grants are in memory from here");
        let (answer, statements) = probe.statements(browser.get(NAMES)).await;
        assert_eq!((answer.status, statements), (200, 2), "who is asking, and the names");
        let mut shown: Vec<_> = answer.json()["names"]
            .as_array()
            .expect("names")
            .iter()
            .map(|name| {
                assert!(name["created_at"].is_string());
                format!("{} {} {} {}", name["name"], name["kind"], name["own"], name["verified"])
            })
            .collect();
        shown[..2].sort();
        assert_eq!(shown, [
            "\"alice\" \"username\" true false",
            "\"alice@example.com\" \"email\" true true",
            "\"Wonderland\" \"username\" false false",
            "\"Alice@Work.example\" \"email\" false true",
        ]);
        check(&browser.stranger().get(NAMES).await, 401, "not_signed_in");
        let (_, mut bob) = person(&probe, "bob").await;
        assert_eq!(bob.get(NAMES).await.json()["names"].as_array().map(Vec::len), Some(2));
    }

    async fn removing_the_main_username_puts_the_oldest_other_one_in_its_place(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        for name in ["Second", "third"] {
            probe.clock.advance(MINUTE);
            check_session(&add_username(&mut browser, name).await);
        }
        check_session(&remove(&mut browser, "ALICE").await);
        assert_eq!(browser.get("/auth/session").await.json()["account"]["username"], "Second");
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 401);
        assert_eq!(browser.stranger().login("second", PASSWORD).await.status, 200);
        for name in ["second", "third"] {
            check_session(&remove(&mut browser, name).await);
        }
        assert_eq!(browser.get("/auth/session").await.json()["account"]["username"], Value::Null);
        // The first username of an account without one becomes its own username.
        check_session(&add_username(&mut browser, "Fourth").await);
        assert_eq!(browser.get("/auth/session").await.json()["account"]["username"], "Fourth");
        let listed = browser.get(NAMES).await.json();
        assert!(listed["names"].as_array().expect("names").iter().all(|name| name["own"] == true), "{listed}");
        // A name that an account gave up is free for everybody.
        let (_, mut bob) = person(&probe, "bob").await;
        check_session(&add_username(&mut bob, "alice").await);
    }

    async fn a_name_is_removed_in_any_spelling_and_everybody_concerned_is_told(probe: Probe) {
        let (alice, mut browser) = person(&probe, "alice").await;
        add_email(&probe, &mut browser, "Alice+x/y@Work.example").await;
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        let answer = remove(&mut browser, "aLICE%2Bx%2Fy%40work.example").await;
        check_session(&answer);
        check(&other.get("/me").await, 401, "session_ended");
        assert_eq!(browser.get("/me").await.text, alice.to_string());
        assert_eq!(browser.stranger().login("alice+x/y@work.example", PASSWORD).await.status, 401);
        assert_eq!(names(&probe).await, ["alice", "alice@example.com"]);
        assert_eq!(events(&probe, "login_name_removed").await, 1);
        for (kind, to) in [
            (MessageKind::LoginNameRemoved, "alice@example.com"),
            (MessageKind::AddressRemoved, "Alice+x/y@Work.example"),
        ] {
            let told = message(&probe, kind, to).await;
            assert_eq!((told.account_id, told.at), (Some(alice), probe.clock.now()));
            for words in [&told.text, told.html.as_ref().expect("HTML")] {
                assert!(words.contains("From: 127.0.0.1") && words.contains(" UTC"), "{words}");
                assert!(!words.contains("token") && !words.contains("work.example"), "{words}");
            }
        }
    }

    async fn a_name_that_is_the_path_of_another_route_is_removed_like_any_other(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        for name in ["confirm", "undo", "Confirm"] {
            check(&remove(&mut browser, name).await, 404, "name_not_found");
            check_session(&add_username(&mut browser, name).await);
            check_session(&remove(&mut browser, name).await);
        }
        assert_eq!(names(&probe).await, ["alice", "alice@example.com"]);
    }

    async fn a_user_can_only_remove_names_of_their_own_account(probe: Probe) {
        let (_, mut alice) = person(&probe, "alice").await;
        let (_, mut bob) = person(&probe, "bob").await;
        check_session(&add_username(&mut bob, "robert").await);
        let before = (names(&probe).await, probe.rows().await);
        for name in [
            "robert", "bob", "bob%40example.com", "nobody", "nobody%40example.com", "%40", "%20", "%00", "%ff",
            "a%0d%0ab", "+4915112345678", "..%2falice", "al%E2%80%AEice", &"a".repeat(5_000),
        ] {
            check(&remove(&mut alice, name).await, 404, "name_not_found");
        }
        check(&remove(&mut alice, "alice%40example.com").await, 409, "own_address");
        assert_eq!((names(&probe).await, probe.rows().await), before);
        assert_eq!(alice.get("/me").await.status, 200);
        check(&remove(&mut alice.stranger(), "alice").await, 401, "not_signed_in");
        check_session(&remove(&mut bob, "robert").await);
    }

    async fn adding_and_removing_need_a_recent_factor(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        check_session(&add_username(&mut browser, "second").await);
        probe.clock.advance(5 * MINUTE);
        let answers = [
            add_username(&mut browser, "third").await,
            browser.post(NAMES, json!({ "email": "alice@work.example" })).await,
            remove(&mut browser, "second").await,
            remove(&mut browser, "nobody").await,
        ];
        for answer in answers {
            assert_eq!((answer.status, answer.code().as_str()), (401, "insufficient_user_authentication"));
            assert_eq!(
                answer.headers["www-authenticate"],
                "Cookie cookie-name=\"__Host-session\", error=\"insufficient_user_authentication\", \
             acr_values=\"urn:portcullis:factor:password\", max_age=\"300\""
            );
        }
        assert_eq!(names(&probe).await, ["alice", "alice@example.com", "second"]);
        let proven = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(proven.status, 200);
        check_session(&add_username(&mut browser, "third").await);
        ask(&mut browser, "alice@work.example").await;
        check_session(&remove(&mut browser, "second").await);
    }

    async fn an_account_whose_own_address_was_never_proved_gets_no_further_names(probe: Probe) {
        let (_, mut mallory) = claimant(&probe, "mallory", "victim@example.com").await;
        check(&add_username(&mut mallory, "trap").await, 403, "address_not_proved");
        let answer = mallory.post(NAMES, json!({ "email": "mallory@example.com" })).await;
        check(&answer, 403, "address_not_proved");
        assert_eq!(names(&probe).await, ["mallory", "victim@example.com"]);
        assert!(mail(&probe).await.is_empty());
        // An account without an address cannot be handed over to another person, so it may add
        // usernames. Its first address would be its main address and not a further name.
        let (_, mut alice) = probe.signed_in("alice").await;
        check_session(&add_username(&mut alice, "wonderland").await);
        let answer = alice.post(NAMES, json!({ "email": "alice@example.com" })).await;
        check(&answer, 403, "address_not_proved");
        assert_eq!(mail(&probe).await.len(), 0, "and nobody to tell");
    }

    async fn a_username_that_cannot_be_one_or_is_taken_is_refused(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        person(&probe, "bob").await;
        add_email(&probe, &mut browser, "alice@work.example").await;
        let mut before = (names(&probe).await, probe.rows().await);
        for bad in [
            "", " ", "a b", " alice", "a@b", "bob@example.com", "@", "+4915112345678", "a\r\nb", "a\u{0}b", "a:b",
            "alice\u{202e}", "½", "...", &"a".repeat(65), &"é".repeat(3_000), "alice", "ALICE", "Ａlice",
        ] {
            let answer = add_username(&mut browser, bad).await;
            let code = match bad {
                "" | " " => "required",
                "..." => "no_letter_or_digit",
                "alice" | "ALICE" | "Ａlice" | " alice" | "alice\u{202e}" => "already_yours",
                long if long.len() > 64 => "too_long",
                _ => "invalid_character",
            };
            assert_eq!(answer.field_codes("username"), [code], "{bad:?}");
        }
        for taken in ["bob", "BOB", "Ｂob"] {
            check(&add_username(&mut browser, taken).await, 409, "username_taken");
            // The answer that the name is taken writes an event.
            before.1[3] += 1;
        }
        for body in [
            json!({}),
            json!({ "username": "a", "email": "a@b.example" }),
            json!({ "username": null }),
            json!({ "username": ["a"] }),
            json!({ "username": "a", "verified": true }),
            json!({ "username": "a", "account_id": "x" }),
            json!({ "phone": "+4915112345678" }),
        ] {
            check(&browser.post(NAMES, body).await, 400, "invalid_body");
        }
        assert_eq!((names(&probe).await, probe.rows().await), before);
        // A name with another letter is another name.
        check_session(&add_username(&mut browser, "bób").await);
    }

    async fn what_is_not_one_plain_mailbox_is_refused_and_nothing_leaves(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        add_email(&probe, &mut browser, "alice@work.example").await;
        let sent = mail(&probe).await.len();
        for bad in [
            "", " ", "alice", "@", "a@", "@example.com", "a@b@example.com", "a@example", "a@x.example,b@y.example",
            "a@x.example;b@y.example", "a@x.example b@y.example", "a@x.example\r\nBcc: b@y.example", "a\n@x.example",
            "a@\tx.example", "\"a b\"@x.example", "Alice <a@x.example>", "<a@x.example>", "a@x.example(comment)",
            "a@[127.0.0.1]", "a\u{0}@x.example", "a@x.\u{202e}example", "+4915112345678",
            &format!("{}@x.example", "a".repeat(65)), &format!("a@{}.example", "x".repeat(300)),
            "alice@example.com", "ALICE@Example.com", "alice@WORK.example", "Ａlice@work.example",
        ] {
            let answer = browser.post(NAMES, json!({ "email": bad })).await;
            assert_eq!(answer.field_codes("email").len(), 1, "{bad:?}");
        }
        for body in [json!({ "email": ["a@x.example", "b@y.example"] }), json!({ "email": null })] {
            check(&browser.post(NAMES, body).await, 400, "invalid_body");
        }
        for body in [json!({}), json!({ "token": "a", "code": "b" }), json!({ "token": null })] {
            check(&browser.post(CONFIRM, body).await, 400, "invalid_body");
        }
        check(&browser.post(UNDO, json!({})).await, 400, "invalid_body");
        assert_eq!(mail(&probe).await.len(), sent);
        assert_eq!(events(&probe, "login_name_requested").await, 1);
        probe.clock.advance(MINUTE);
        ask(&mut browser, "a@x.example").await;
        assert_eq!(mail(&probe).await.len(), sent + 1);
    }

    async fn whether_an_address_is_taken_cannot_be_told_and_its_owner_is(probe: Probe) {
        let (_, mut alice) = person(&probe, "alice").await;
        let (bob, mut bobs) = person(&probe, "bob").await;
        add_email(&probe, &mut bobs, "Bob@Work.example").await;
        let (dora, _) = claimant(&probe, "dora", "Dora@Example.com").await;
        let (carol, _) = person(&probe, "carol").await;
        probe.auth.accounts().delete(carol).await.expect("it is deleted");
        let proven = alice.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(proven.status, 200);
        assert_eq!(alice.get("/me").await.status, 200, "its grants are in memory from here");
        let before = mail(&probe).await.len();
        let mut seen = Vec::new();
        for address in ["free@example.com", "bob@WORK.example", "dora@EXAMPLE.com", "carol@example.com"] {
            probe.clock.advance(MINUTE);
            let (answer, statements) = probe.statements(alice.post(NAMES, json!({ "email": address }))).await;
            let mut headers = answer.headers.clone();
            headers.remove("date");
            seen.push((answer.status, answer.text, format!("{headers:?}"), statements));
        }
        assert_eq!(seen[0].0, 202);
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:#?}");
        let sent: Vec<_> = mail(&probe)
            .await
            .into_iter()
            .skip(before)
            .map(|m| (m.kind, m.to.as_str().to_owned(), m.account_id))
            .collect();
        assert_eq!(sent.len(), 3, "nobody is told of an account that was deleted: {sent:?}");
        // The addresses as their owners wrote them.
        let taken = MessageKind::EmailChangeTaken;
        assert_eq!(sent[1..], [
            (taken, "Bob@Work.example".to_owned(), Some(bob)),
            (taken, "Dora@Example.com".to_owned(), Some(dora)),
        ]);
        let told = message(&probe, taken, "Bob@Work.example").await;
        for words in [&told.text, told.html.as_ref().expect("HTML")] {
            assert!(!words.contains("token") && !words.contains("alice"), "{words}");
        }
    }

    async fn an_account_that_cannot_be_used_keeps_no_unproved_address_from_its_owner(probe: Probe) {
        let (squatter, _) = claimant(&probe, "squatter", "alice@work.example").await;
        let (_, mut alice) = person(&probe, "alice").await;
        // While the other account can be used, its address can be claimed only with a password
        // reset.
        ask(&mut alice, "alice@work.example").await;
        message(&probe, MessageKind::EmailChangeTaken, "alice@work.example").await;
        probe.auth.accounts().disable(squatter).await.expect("it is disabled");
        add_email(&probe, &mut alice, "alice@work.example").await;
        assert_eq!(holder(&probe, "alice@work.example").await.as_deref(), Some("alice"));
        probe.auth.accounts().enable(squatter).await.expect("it is enabled");
        let squatter = probe.auth.accounts().find(squatter).await.expect("it answers");
        assert_eq!(squatter.expect("an account").email(), None);
        // A verified address stays with its account, even if the account is disabled.
        let (bob, _) = person(&probe, "bob").await;
        probe.auth.accounts().disable(bob).await.expect("it is disabled");
        probe.clock.advance(MINUTE);
        ask(&mut alice, "bob@example.com").await;
        assert_eq!(holder(&probe, "bob@example.com").await.as_deref(), Some("bob"));
        message(&probe, MessageKind::EmailChangeTaken, "bob@example.com").await;
    }

    async fn of_two_accounts_that_confirm_one_address_at_once_one_gets_it(probe: Probe) {
        let probe = probe.configured(|config| config.login.max_names = 100);
        let (_, mut alice) = person(&probe, "alice").await;
        let (_, mut bob) = person(&probe, "bob").await;
        for round in 0..5 {
            for browser in [&mut alice, &mut bob] {
                let proven = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
                assert_eq!(proven.status, 200);
            }
            let address = format!("shared{round}@example.com");
            let mut bodies = Vec::new();
            for browser in [&mut alice, &mut bob] {
                probe.clock.advance(MINUTE);
                ask(browser, &address).await;
                bodies.push(json!({ "token": confirm_token(&probe, &address).await }));
            }
            // Each account sends eight requests.
            let requests = (0..16).map(|n| post(if n % 2 == 0 { &alice } else { &bob }, CONFIRM, &bodies[n % 2]));
            let answers = at_once(requests.collect()).await;
            let won: Vec<_> = answers.iter().enumerate().filter(|(_, answer)| answer.status == 200).collect();
            let [(won, winner)] = won[..] else { panic!("one wins: {answers:?}") };
            for (number, answer) in answers.iter().enumerate().filter(|(number, _)| *number != won) {
                match (answer.status, answer.code().as_str()) {
                    (403, "wrong_code") => {}
                    (409, "link_used") if number % 2 == won % 2 => {}
                    // All other sessions of the winner have ended.
                    (401, "session_ended") if number % 2 == won % 2 => {}
                    other => panic!("{other:?}"),
                }
            }
            let (name, winning, losing) =
                if won % 2 == 0 { ("alice", &mut alice, &mut bob) } else { ("bob", &mut bob, &mut alice) };
            winning.cookie = winner.cookie();
            assert_eq!(holder(&probe, &address).await.as_deref(), Some(name));
            assert_eq!(winning.get("/me").await.status, 200);
            assert_eq!(losing.get("/me").await.status, 200, "and nothing else happened to the loser");
        }
        assert_eq!(events(&probe, "login_name_added").await, 5);
    }

    async fn of_a_hundred_confirmations_of_one_token_one_counts(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@work.example").await;
        let mail = message(&probe, MessageKind::LoginNameConfirm, "alice@work.example").await;
        let bodies = [json!({ "token": token(&mail, "/login-names/confirm") }), json!({ "code": code(&mail) })];
        let requests = (0..100).map(|n| post(&browser, CONFIRM, &bodies[usize::from(n % 10 == 0)]));
        let answers = at_once(requests.collect()).await;
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert!(matches!(answer.status, 401 | 403 | 409 | 429), "{}", answer.text);
        }
        assert_eq!(events(&probe, "login_name_added").await, 1);
        assert_eq!(probe.number("SELECT epoch FROM auth_account").await, 1);
        browser.cookie = won[0].cookie();
        assert_eq!(browser.get("/me").await.status, 200);

        let body = json!({ "token": undo_token(&probe, "alice@example.com").await });
        let stranger = browser.stranger();
        let answers = at_once((0..100).map(|_| post(&stranger, UNDO, &body)).collect()).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 204).count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 204) {
            check(answer, 409, "link_used");
        }
        assert_eq!(events(&probe, "login_name_undone").await, 1);
        assert_eq!(names(&probe).await, ["alice", "alice@example.com"]);
    }

    async fn wrong_codes_are_few_and_a_new_code_brings_no_new_tries(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@work.example").await;
        let right = code(&message(&probe, MessageKind::LoginNameConfirm, "alice@work.example").await);
        let body = json!({ "code": wrong(&right) });
        let answers = at_once((0..50).map(|_| post(&browser, CONFIRM, &body)).collect()).await;
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(403), count(429)), (5, 45));
        check(&browser.post(CONFIRM, json!({ "code": right })).await, 429, "too_many_attempts");
        probe.clock.advance(MINUTE);
        ask(&mut browser, "alice@third.example").await;
        let mail = message(&probe, MessageKind::LoginNameConfirm, "alice@third.example").await;
        check(&browser.post(CONFIRM, json!({ "code": code(&mail) })).await, 429, "too_many_attempts");
        // A link cannot be guessed, so it still works.
        check_session(&browser.post(CONFIRM, json!({ "token": token(&mail, "/login-names/confirm") })).await);
    }

    async fn a_mailbox_is_not_flooded_and_the_link_it_got_stays_good(probe: Probe) {
        let (_, mut alice) = person(&probe, "alice").await;
        let (_, mut mallory) = person(&probe, "mallory").await;
        ask(&mut alice, "new@work.example").await;
        let token = confirm_token(&probe, "new@work.example").await;
        ask(&mut alice, "new@work.example").await;
        ask(&mut mallory, "new@work.example").await;
        assert_eq!(mail(&probe).await.len(), 1);
        let soon = alice.post(NAMES, json!({ "email": "other@work.example" })).await;
        check(&soon, 429, "too_soon");
        assert_eq!(soon.headers["retry-after"], "60");
        check_session(&alice.post(CONFIRM, json!({ "token": token })).await);
    }

    async fn a_token_is_worth_nothing_in_other_hands_or_for_another_purpose(probe: Probe) {
        let (_, mut alice) = person(&probe, "alice").await;
        let (_, mut mallory) = person(&probe, "mallory").await;
        ask(&mut alice, "alice@work.example").await;
        let mail = message(&probe, MessageKind::LoginNameConfirm, "alice@work.example").await;
        let (added, code) = (token(&mail, "/login-names/confirm"), code(&mail));
        let answer = alice.post("/auth/email", json!({ "email": "alice@new.example" })).await;
        assert_eq!(answer.status, 202);
        let change = message(&probe, MessageKind::EmailChangeConfirm, "alice@new.example").await;
        let changed = token(&change, "/email/confirm");
        for body in [json!({ "token": added }), json!({ "code": code })] {
            check(&mallory.post(CONFIRM, body.clone()).await, 403, "wrong_code");
            check(&alice.stranger().post(CONFIRM, body).await, 401, "not_signed_in");
        }
        for (path, token) in [
            ("/auth/email/confirm", &added), ("/auth/email/undo", &added), (UNDO, &added),
            (CONFIRM, &changed), (UNDO, &changed),
        ] {
            check(&alice.post(path, json!({ "token": token })).await, 403, "wrong_code");
        }
        check(&alice.post("/auth/verification/confirm", json!({ "token": added })).await, 403, "wrong_code");
        let body = json!({ "token": added, "password": NEW_PASSWORD });
        check(&alice.post("/auth/password/reset", body).await, 400, "invalid_reset_token");
        for other in ["", "x", &added[1..], &added.to_lowercase(), &"A".repeat(43), &"é".repeat(4_500)] {
            check(&alice.post(CONFIRM, json!({ "token": other })).await, 403, "wrong_code");
            check(&alice.post(UNDO, json!({ "token": other })).await, 403, "wrong_code");
        }
        check_session(&alice.post(CONFIRM, json!({ "token": added })).await);
        let undo = undo_token(&probe, "alice@example.com").await;
        check(&alice.post(CONFIRM, json!({ "token": undo })).await, 403, "wrong_code");
        check(&alice.post("/auth/email/undo", json!({ "token": undo })).await, 403, "wrong_code");
        assert_eq!(alice.stranger().post(UNDO, json!({ "token": undo })).await.status, 204);
    }

    async fn no_other_site_may_send_any_of_it_and_opening_a_link_changes_nothing(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@work.example").await;
        let token = confirm_token(&probe, "alice@work.example").await;
        for path in [CONFIRM, UNDO] {
            let answer = browser.get(&format!("{path}?token={token}")).await;
            check(&answer, 405, "method_not_allowed");
        }
        let cookie = browser.cookie.clone().expect("a cookie");
        for (method, path, body) in [
            (Method::POST, NAMES, json!({ "username": "mallory" })),
            (Method::POST, NAMES, json!({ "email": "mallory@example.com" })),
            (Method::POST, CONFIRM, json!({ "token": token })),
            (Method::POST, UNDO, json!({ "token": token })),
            (Method::DELETE, "/auth/login-names/alice", json!({})),
        ] {
            let request = browser
                .raw(method, path)
                .header("cookie", format!("{}={cookie}", crate::support::browser::COOKIE))
                .header("sec-fetch-site", "cross-site")
                .json(&body);
            let answer = send(request).await;
            check(&answer, 403, "cross_site_request");
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
        let request = browser
            .request(Method::POST, CONFIRM)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}"));
        let answer = browser.send(request).await;
        check_session(&answer);
        assert_eq!(answer.headers["cache-control"], "no-store");
    }

    async fn what_was_asked_for_dies_with_what_changes_the_account(probe: Probe) {
        let ends = [
            "nothing", "another address", "a new password", "this session is ended", "signing out", "disabling",
            "a username", "a removal", "a change of address", "a name of the application's",
        ];
        for (number, end) in ends.into_iter().enumerate() {
            let name = format!("alice{number}");
            let (id, mut asking) = person(&probe, &name).await;
            check_session(&add_username(&mut asking, &format!("spare{number}")).await);
            let mut other = asking.stranger();
            assert_eq!(other.login(&name, PASSWORD).await.status, 200);
            let address = format!("{name}@work.example");
            let asked_in = asking.get("/session-id").await.text;
            ask(&mut asking, &address).await;
            let mail = message(&probe, MessageKind::LoginNameConfirm, &address).await;
            probe.clock.advance(MINUTE);
            match end {
                "nothing" => {}
                "another address" => ask(&mut asking, &format!("{name}@third.example")).await,
                "a new password" => {
                    let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
                    assert_eq!(asking.put("/auth/password", body).await.status, 200);
                }
                "this session is ended" => {
                    assert_eq!(other.delete(&format!("/auth/sessions/{asked_in}")).await.status, 204);
                }
                "signing out" => assert_eq!(asking.post_empty("/auth/logout").await.status, 204),
                "disabling" => {
                    probe.auth.accounts().disable(id).await.expect("it is disabled");
                    probe.auth.accounts().enable(id).await.expect("it is enabled");
                }
                "a username" => check_session(&add_username(&mut asking, &format!("other{number}")).await),
                "a removal" => check_session(&remove(&mut asking, &format!("spare{number}")).await),
                "a change of address" => {
                    let new = format!("{name}@new.example");
                    assert_eq!(asking.post("/auth/email", json!({ "email": new })).await.status, 202);
                    let sent = message(&probe, MessageKind::EmailChangeConfirm, &new).await;
                    let body = json!({ "token": token(&sent, "/email/confirm") });
                    check_session(&asking.post("/auth/email/confirm", body).await);
                }
                _ => {
                    let username = FurtherName::username(format!("given{number}"));
                    probe.auth.accounts().add_name(id, username).await.expect("it is added");
                }
            }
            let password = if end == "a new password" { NEW_PASSWORD } else { PASSWORD };
            assert_eq!(other.login(&name, password).await.status, 200, "{end}");
            for body in [json!({ "token": token(&mail, "/login-names/confirm") }), json!({ "code": code(&mail) })] {
                let answer = other.post(CONFIRM, body).await;
                if end == "nothing" {
                    check_session(&answer);
                    break;
                }
                assert_eq!((answer.status, answer.code().as_str()), (403, "wrong_code"), "{end}");
            }
            let expected = (end == "nothing").then_some(name);
            assert_eq!(holder(&probe, &address).await, expected, "{end}");
        }
    }

    async fn a_link_is_good_for_an_hour(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@work.example").await;
        let mail = message(&probe, MessageKind::LoginNameConfirm, "alice@work.example").await;
        probe.clock.advance(60 * MINUTE);
        assert_eq!(browser.get("/me").await.status, 200);
        for body in [json!({ "token": token(&mail, "/login-names/confirm") }), json!({ "code": code(&mail) })] {
            check(&browser.post(CONFIRM, body).await, 403, "wrong_code");
        }
        assert_eq!(holder(&probe, "alice@work.example").await, None);
    }

    async fn the_accounts_own_address_is_told_and_removes_exactly_what_was_added(probe: Probe) {
        let (alice, mut browser) = person(&probe, "alice").await;
        check_session(&add_username(&mut browser, "kept").await);
        add_email(&probe, &mut browser, "thief@work.example").await;
        let undo = undo_token(&probe, "alice@example.com").await;
        let told = message(&probe, MessageKind::LoginNameAdded, "alice@example.com").await;
        assert_eq!((told.account_id, told.at), (Some(alice), probe.clock.now()));
        for words in [&told.text, told.html.as_ref().expect("HTML")] {
            assert!(words.contains("From: 127.0.0.1") && words.contains(" UTC"), "{words}");
            assert!(words.contains("7 days") && words.contains(&undo), "{words}");
            assert!(!words.contains("thief"), "{words}");
        }
        // The thief has already requested the next address.
        probe.clock.advance(MINUTE);
        ask(&mut browser, "thief@third.example").await;
        let pending = confirm_token(&probe, "thief@third.example").await;
        // The owner does not need to be signed in, and gets no session.
        let mut owner = browser.stranger();
        let answer = owner.post(UNDO, json!({ "token": undo })).await;
        assert_eq!((answer.status, answer.text.as_str(), answer.set_cookies().len()), (204, "", 0));
        check(&browser.get("/me").await, 401, "session_ended");
        assert_eq!(names(&probe).await, ["alice", "alice@example.com", "kept"]);
        check(&owner.post(UNDO, json!({ "token": undo })).await, 409, "link_used");
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
        check(&owner.post(CONFIRM, json!({ "token": pending })).await, 403, "wrong_code");
        message(&probe, MessageKind::LoginNameRemoved, "alice@example.com").await;
        let detail = "SELECT detail FROM auth_event WHERE kind = 'login_name_undone'";
        assert_eq!(probe.text(detail).await.as_deref(), Some("email"));
        // The removed address gets no notice.
        let told = mail(&probe).await.into_iter().filter(|m| m.to.as_str() == "thief@work.example");
        assert!(told.map(|m| m.kind).eq([MessageKind::LoginNameConfirm]));
    }

    async fn a_second_click_is_told_for_a_minute_that_the_first_one_worked(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        probe.clock.advance(MINUTE);
        ask(&mut browser, "alice@work.example").await;
        let sent = message(&probe, MessageKind::LoginNameConfirm, "alice@work.example").await;
        let link = json!({ "token": token(&sent, "/login-names/confirm") });
        let typed = json!({ "code": code(&sent) });
        let other = |browser: &Browser, path: &str, body: &Value| {
            let request = browser.request(Method::POST, path);
            send(request.header("user-agent", "curl/8.0").json(body))
        };
        check_session(&browser.post(CONFIRM, typed.clone()).await);
        for body in [&link, &typed] {
            check(&browser.post(CONFIRM, body.clone()).await, 409, "link_used");
            check(&other(&browser, CONFIRM, body).await, 403, "wrong_code");
        }
        let body = json!({ "code": wrong(&code(&sent)) });
        check(&browser.post(CONFIRM, body).await, 403, "wrong_code");
        let undo = json!({ "token": undo_token(&probe, "alice@example.com").await });
        let answers = at_once((0..8).map(|_| post(&browser.stranger(), UNDO, &undo)).collect()).await;
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(204), count(409)), (1, 7), "{answers:?}");
        check(&other(&browser.stranger(), UNDO, &undo).await, 403, "wrong_code");
        for (wait, status, code) in [
            (MINUTE - Duration::from_millis(1), 409, "link_used"),
            (Duration::from_millis(1), 403, "wrong_code"),
        ] {
            probe.clock.advance(wait);
            check(&browser.stranger().post(UNDO, undo.clone()).await, status, code);
        }
        assert_eq!(events(&probe, "authn_challenge_fail").await, 0);
        assert_eq!(events(&probe, "login_name_undone").await, 1);
    }

    async fn an_addition_can_be_undone_for_seven_days(probe: Probe) {
        for (name, wait, status) in [
            ("alice", 7 * DAY - Duration::from_millis(1), 204),
            ("bob", 7 * DAY, 403),
        ] {
            let (_, mut browser) = person(&probe, name).await;
            check_session(&add_username(&mut browser, &format!("{name}2")).await);
            let undo = undo_token(&probe, &format!("{name}@example.com")).await;
            probe.clock.advance(wait);
            let answer = browser.stranger().post(UNDO, json!({ "token": undo })).await;
            assert_eq!(answer.status, status, "{}", answer.text);
        }
        let silent = probe.configured(|config| config.contact.undo_lifetime = None);
        let (_, mut browser) = person(&silent, "carol").await;
        check_session(&add_username(&mut browser, "carol2").await);
        let told = message(&silent, MessageKind::LoginNameAdded, "carol@example.com").await;
        assert!(!told.text.contains("token") && !told.text.contains("days"), "{}", told.text);
    }

    async fn nothing_that_a_thief_can_do_ends_the_way_back(probe: Probe) {
        let (_, mut thief) = person(&probe, "alice").await;
        add_email(&probe, &mut thief, "thief@one.example").await;
        let undo = undo_token(&probe, "alice@example.com").await;
        // A new password, the thief's address as the main address, another name, and the end of all
        // sessions.
        let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
        assert_eq!(thief.put("/auth/password", body).await.status, 200);
        probe.clock.advance(MINUTE);
        let body = json!({ "email": "thief@one.example" });
        assert_eq!(thief.post("/auth/email", body).await.status, 202);
        let sent = message(&probe, MessageKind::EmailChangeConfirm, "thief@one.example").await;
        let body = json!({ "token": token(&sent, "/email/confirm") });
        check_session(&thief.post("/auth/email/confirm", body).await);
        assert_eq!(names(&probe).await, ["alice", "thief@one.example"], "a further name became its own");
        assert_eq!(thief.get("/auth/session").await.json()["account"]["email"], "thief@one.example");
        check_session(&add_username(&mut thief, "thief").await);
        add_email(&probe, &mut thief, "thief@two.example").await;
        assert_eq!(thief.delete("/auth/sessions").await.status, 200);
        let answer = thief.stranger().post(UNDO, json!({ "token": undo })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        check(&thief.get("/me").await, 401, "session_ended");
        assert_eq!(holder(&probe, "thief@one.example").await, None);
        assert_eq!(probe.text("SELECT email FROM auth_account").await, None);
        // Undoing the change of the main address also removes what was added after it.
        let change = message(&probe, MessageKind::EmailChangedUndo, "alice@example.com").await;
        let body = json!({ "token": token(&change, "/email/undo") });
        assert_eq!(thief.stranger().post("/auth/email/undo", body).await.status, 204);
        assert_eq!(names(&probe).await, ["alice", "alice@example.com"]);
        assert_eq!(probe.text("SELECT email FROM auth_account").await.as_deref(), Some("alice@example.com"));
    }

    async fn undoing_a_change_of_address_takes_along_only_what_was_added_since(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        check_session(&add_username(&mut browser, "before").await);
        add_email(&probe, &mut browser, "before@work.example").await;
        probe.clock.advance(MINUTE);
        let answer = browser.post("/auth/email", json!({ "email": "thief@one.example" })).await;
        assert_eq!(answer.status, 202);
        let sent = message(&probe, MessageKind::EmailChangeConfirm, "thief@one.example").await;
        let body = json!({ "token": token(&sent, "/email/confirm") });
        check_session(&browser.post("/auth/email/confirm", body).await);
        check_session(&add_username(&mut browser, "after").await);
        add_email(&probe, &mut browser, "after@work.example").await;
        let sent = message(&probe, MessageKind::EmailChangedUndo, "alice@example.com").await;
        let body = json!({ "token": token(&sent, "/email/undo") });
        assert_eq!(browser.stranger().post("/auth/email/undo", body).await.status, 204);
        assert_eq!(names(&probe).await, ["alice", "alice@example.com", "before", "before@work.example"]);
    }

    async fn a_way_back_removes_no_name_that_is_somebody_elses_by_now(probe: Probe) {
        let (_, mut alice) = person(&probe, "alice").await;
        check_session(&add_username(&mut alice, "shared").await);
        let undo = undo_token(&probe, "alice@example.com").await;
        check_session(&remove(&mut alice, "shared").await);
        let (_, mut bob) = person(&probe, "bob").await;
        check_session(&add_username(&mut bob, "shared").await);
        check(&bob.post(UNDO, json!({ "token": undo })).await, 403, "wrong_code");
        assert_eq!(holder(&probe, "shared").await.as_deref(), Some("bob"));
        for browser in [&mut alice, &mut bob] {
            assert_eq!(browser.get("/me").await.status, 200);
        }
        // An attacker who can write to the database cannot redirect a token to another name.
        let undo = undo_token(&probe, "bob@example.com").await;
        probe.execute("UPDATE auth_challenge SET target = 'bob' WHERE purpose = 'login_name_undo'").await;
        check(&bob.post(UNDO, json!({ "token": undo })).await, 403, "wrong_code");
        assert_eq!(holder(&probe, "bob").await.as_deref(), Some("bob"));
    }

    async fn the_last_name_to_sign_in_with_stays(probe: Probe) {
        // Only names that the configuration allows for signing in count.
        for (ids, name, last) in [
            (LoginIds::Username, "anna", true),
            (LoginIds::Email, "berta", false),
            (LoginIds::Either, "clara", false),
        ] {
            let probe_auth = probe.rebuilt(|builder| builder.configure(|config| config.login.id = ids));
            person(&probe, name).await;
            let mut browser = Browser::new(serve(app(&probe_auth)).await);
            let login = if ids == LoginIds::Email { format!("{name}@example.com") } else { name.to_owned() };
            assert_eq!(browser.login(&login, PASSWORD).await.status, 200, "{ids:?}");
            let answer = remove(&mut browser, name).await;
            if last {
                check(&answer, 409, "only_login_name");
                assert_eq!(browser.get("/me").await.status, 200, "and nothing was ended");
                check_session(&add_username(&mut browser, "anna2").await);
                check_session(&remove(&mut browser, name).await);
                check(&remove(&mut browser, "anna2").await, 409, "only_login_name");
                // The undo does not remove the only name either.
                let undo = undo_token(&probe, "anna@example.com").await;
                check(&browser.stranger().post(UNDO, json!({ "token": undo })).await, 409, "only_login_name");
                assert_eq!(browser.get("/me").await.status, 200);
                check_session(&add_username(&mut browser, "anna3").await);
                let answer = browser.stranger().post(UNDO, json!({ "token": undo })).await;
                assert_eq!(answer.status, 204, "the link was not spent: {}", answer.text);
                assert_eq!(holder(&probe, "anna3").await.as_deref(), Some("anna3"));
            } else {
                check_session(&answer);
            }
        }
        let (_, mut alone) = probe.signed_in("alone").await;
        check(&remove(&mut alone, "alone").await, 409, "only_login_name");
    }

    async fn of_two_names_that_are_removed_at_once_one_stays(probe: Probe) {
        for round in 0..8 {
            let (first, second) = (format!("first{round}"), format!("second{round}"));
            let (id, mut browser) = probe.signed_in(&first).await;
            check_session(&add_username(&mut browser, &second).await);
            // The requests come from two sessions, so that neither request ends the session of the
            // other.
            let mut other = browser.stranger();
            assert_eq!(other.login(&first, PASSWORD).await.status, 200);
            let answers = at_once(vec![
                browser.request(Method::DELETE, &format!("{NAMES}/{first}")),
                other.request(Method::DELETE, &format!("{NAMES}/{second}")),
            ])
            .await;
            assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
            let left = probe.auth.accounts().find(id.id()).await.expect("it answers").expect("an account");
            let left = left.username().expect("a name").to_owned();
            assert!(left == first || left == second, "{left}");
            assert_eq!(browser.stranger().login(&left, PASSWORD).await.status, 200);
        }
    }

    async fn an_account_has_so_many_names_and_no_more(probe: Probe) {
        let probe = probe.configured(|config| config.login.max_names = 4);
        let (_, mut browser) = person(&probe, "alice").await;
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        // Of sixteen simultaneous requests one succeeds. It ends the sessions of the others.
        let bodies: Vec<_> = (0..16).map(|n| json!({ "username": format!("name{n}") })).collect();
        let requests = bodies.iter().enumerate().map(|(n, body)| post(if n % 2 == 0 { &browser } else { &other }, NAMES, body));
        let answers = at_once(requests.collect()).await;
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(answer.code(), "session_ended");
        }
        browser.cookie = won[0].cookie();
        // The limit also applies when an address is confirmed that was requested before the limit
        // was reached.
        ask(&mut browser, "alice@work.example").await;
        let asked = confirm_token(&probe, "alice@work.example").await;
        let given = FurtherName::email("alice@given.example").verified();
        let id = probe.auth.accounts().find_by_login("alice").await.expect("it answers").expect("alice").id();
        probe.auth.accounts().add_name(id, given).await.expect("it is added");
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        check(&browser.post(CONFIRM, json!({ "token": asked })).await, 403, "wrong_code");
        for body in [json!({ "username": "more" }), json!({ "email": "alice@more.example" })] {
            check(&browser.post(NAMES, body).await, 409, "too_many_names");
        }
        assert_eq!(names(&probe).await.len(), 4);
        check_session(&remove(&mut browser, "alice%40given.example").await);
        check_session(&add_username(&mut browser, "more").await);
    }

    async fn a_forgotten_password_is_set_anew_by_the_proved_address_that_was_typed(probe: Probe) {
        let (id, mut browser) = person(&probe, "alice").await;
        add_email(&probe, &mut browser, "Alice@Work.example").await;
        check_session(&add_username(&mut browser, "wonderland").await);
        let unproved = FurtherName::email("alice@unproved.example");
        probe.auth.accounts().add_name(id, unproved).await.expect("it is added");
        let mut stranger = browser.stranger();
        let mut costs = Vec::new();
        for (login, to) in [
            ("ALICE@work.example", "Alice@Work.example"),
            ("wonderland", "alice@example.com"),
            ("alice", "alice@example.com"),
            ("alice@EXAMPLE.com", "alice@example.com"),
            // The owner has not verified this address.
            ("alice@unproved.example", "alice@example.com"),
        ] {
            probe.clock.advance(2 * MINUTE);
            let before = mail(&probe).await.len();
            let body = json!({ "login": login });
            let (answer, statements) = probe.statements(stranger.post("/auth/password/forgot", body)).await;
            assert_eq!(answer.status, 202);
            costs.push(statements);
            let sent: Vec<_> = mail(&probe).await.split_off(before);
            assert_eq!(sent.len(), 1, "{login}");
            assert_eq!((sent[0].kind, sent[0].to.as_str()), (MessageKind::PasswordReset, to), "{login}");
        }
        let body = json!({ "login": "nobody@example.com" });
        probe.clock.advance(2 * MINUTE);
        costs.push(probe.statements(stranger.post("/auth/password/forgot", body)).await.1);
        assert!(costs.iter().all(|cost| *cost == costs[0]), "{costs:?}");
        // A newer link replaces the older one, even if it went to another address.
        let older = reset_token(&probe, "alice@example.com").await;
        probe.clock.advance(2 * MINUTE);
        let body = json!({ "login": "alice@work.example" });
        assert_eq!(stranger.post("/auth/password/forgot", body).await.status, 202);
        let newer = reset_token(&probe, "Alice@Work.example").await;
        let answer = stranger.post("/auth/password/reset/check", json!({ "token": older })).await;
        check(&answer, 400, "invalid_reset_token");
        let body = json!({ "token": newer, "password": NEW_PASSWORD });
        assert_eq!(stranger.post("/auth/password/reset", body).await.status, 204);
        message(&probe, MessageKind::PasswordChanged, "alice@example.com").await;
        for name in ["alice", "wonderland", "alice@work.example"] {
            assert_eq!(stranger.stranger().login(name, NEW_PASSWORD).await.status, 200, "{name}");
        }
    }

    async fn a_link_for_a_forgotten_password_dies_with_the_name_that_it_went_to(probe: Probe) {
        for (name, by_owner) in [("alice", true), ("bob", false)] {
            let (_, mut browser) = person(&probe, name).await;
            let address = format!("{name}@work.example");
            add_email(&probe, &mut browser, &address).await;
            let mut stranger = browser.stranger();
            let body = json!({ "login": address });
            assert_eq!(stranger.post("/auth/password/forgot", body).await.status, 202);
            let reset = reset_token(&probe, &address).await;
            let check_reset = json!({ "token": reset });
            let good = stranger.post("/auth/password/reset/check", check_reset.clone()).await;
            assert_eq!(good.status, 204, "{}", good.text);
            if by_owner {
                check_session(&remove(&mut browser, &format!("{name}%40work.example")).await);
            } else {
                // This is the case even if nothing else of the account has changed.
                probe.execute(&format!("DELETE FROM auth_login_name WHERE normal = '{address}'")).await;
            }
            let answer = stranger.post("/auth/password/reset/check", check_reset).await;
            check(&answer, 400, "invalid_reset_token");
            let body = json!({ "token": reset, "password": NEW_PASSWORD });
            check(&stranger.post("/auth/password/reset", body).await, 400, "invalid_reset_token");
            assert_eq!(stranger.login(name, PASSWORD).await.status, 200);
        }
    }

    async fn failed_tries_are_counted_for_the_account_whichever_name_was_typed(probe: Probe) {
        let probe = probe.configured(|config| {
            config.attempts.limit = 8;
            config.attempts.first_delay = Duration::ZERO;
        });
        let (_, mut browser) = person(&probe, "alice").await;
        check_session(&add_username(&mut browser, "second").await);
        add_email(&probe, &mut browser, "alice@work.example").await;
        let logins = ["alice", "SECOND", "alice@example.com", "Alice@Work.example"];
        for number in 0..8 {
            let login = logins[number % logins.len()];
            assert_eq!(browser.stranger().login(login, "a wrong password").await.status, 401);
        }
        for login in logins {
            assert_eq!(browser.stranger().login(login, PASSWORD).await.status, 401, "{login} is locked");
        }
        // Any one of the names is enough to remove the lock.
        let purge = portcullis::attempt::Purge::everything().login("alice@WORK.example");
        let purged = probe.auth.attempts().purge(purge).await.expect("it answers");
        assert_eq!(purged, 8 + 4 + 1, "those, the refused ones and the sign-in at the beginning");
        for login in logins {
            assert_eq!(browser.stranger().login(login, PASSWORD).await.status, 200, "{login}");
        }
    }

    async fn a_further_address_becomes_the_accounts_own_by_a_change_and_comes_back_undone(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        add_email(&probe, &mut browser, "Alice@Work.example").await;
        probe.clock.advance(MINUTE);
        let answer = browser.post("/auth/email", json!({ "email": "alice@WORK.example" })).await;
        assert_eq!(answer.status, 202);
        let sent = message(&probe, MessageKind::EmailChangeConfirm, "alice@WORK.example").await;
        let body = json!({ "token": token(&sent, "/email/confirm") });
        check_session(&browser.post("/auth/email/confirm", body).await);
        assert_eq!(names(&probe).await, ["alice", "alice@work.example"]);
        let listed = browser.get(NAMES).await.json();
        for name in listed["names"].as_array().expect("names") {
            assert_eq!(name["own"], true, "{listed}");
        }
        // It is the main address now, so it cannot be removed as a further name.
        check(&remove(&mut browser, "alice%40work.example").await, 409, "own_address");
        let sent = message(&probe, MessageKind::EmailChangedUndo, "alice@example.com").await;
        let body = json!({ "token": token(&sent, "/email/undo") });
        assert_eq!(browser.stranger().post("/auth/email/undo", body).await.status, 204);
        assert_eq!(names(&probe).await, ["alice", "alice@example.com"]);
        assert_eq!(browser.login("alice@example.com", PASSWORD).await.status, 200);
    }

    async fn registering_with_a_further_address_tells_its_owner(probe: Probe) {
        let (id, mut browser) = person(&probe, "alice").await;
        add_email(&probe, &mut browser, "Alice@Work.example").await;
        let body = json!({ "username": "other", "email": "alice@WORK.example", "password": PASSWORD });
        let answer = browser.stranger().post("/auth/register", body.clone()).await;
        check(&answer, 409, "email_taken");
        let body_of_name = json!({ "username": "Alice", "password": PASSWORD });
        check(&browser.stranger().post("/auth/register", body_of_name).await, 409, "username_taken");
        let strict = probe.configured(|config| {
            config.login.require_verified = true;
            config.login.registration = portcullis::config::Registration::Strict;
        });
        let mut stranger = strict.browser().await;
        assert_eq!(stranger.post("/auth/register", body).await.status, 202);
        let told = message(&strict, MessageKind::AlreadyRegistered, "Alice@Work.example").await;
        assert_eq!(told.account_id, Some(id));
        assert_eq!(holder(&strict, "alice@work.example").await.as_deref(), Some("alice"));
    }

    async fn names_that_the_application_added_go_when_the_account_is_handed_over(probe: Probe) {
        for (name, by_link) in [("mallory", true), ("oscar", false)] {
            let victim = format!("victim-of-{name}@example.com");
            let (id, mut squatter) = claimant(&probe, name, &victim).await;
            for further in [
                FurtherName::username(format!("{name}2")),
                FurtherName::email(format!("{name}@one.example")).verified(),
                FurtherName::email(format!("{name}@two.example")),
            ] {
                probe.auth.accounts().add_name(id, further).await.expect("it is added");
            }
            let mut owner = squatter.stranger();
            if by_link {
                let mut sent = probe.mail().await.into_iter();
                let sent = sent
                    .rfind(|m| m.kind == MessageKind::VerifyAddress && m.to.as_str() == victim)
                    .expect("a proof is asked for");
                let body = json!({ "token": token(&sent, "/verify") });
                let answer = owner.post("/auth/verification/confirm", body).await;
                assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("password_change_required")));
            } else {
                // A request with one of the squatter's names does not help the squatter: the link
                // goes to the account's main address.
                let body = json!({ "login": format!("{name}@one.example") });
                assert_eq!(owner.post("/auth/password/forgot", body).await.status, 202);
                let body = json!({ "token": reset_token(&probe, &victim).await, "password": NEW_PASSWORD });
                assert_eq!(owner.post("/auth/password/reset", body).await.status, 204);
            }
            let query = format!(
                "SELECT COUNT(*) FROM auth_login_name n JOIN auth_account a ON a.id = n.account_id \
                 WHERE a.username = '{name}'"
            );
            assert_eq!(probe.number(&query).await, 2, "its username and the proved address");
            assert_eq!(holder(&probe, &victim).await.as_deref(), Some(name));
            assert_eq!(squatter.get("/me").await.status, 401);
        }
    }

    async fn the_application_adds_names_in_a_transaction_of_its_own(probe: Probe) {
        let (id, mut browser) = person(&probe, "alice").await;
        let (bob, _) = person(&probe, "bob").await;
        let accounts = probe.auth.accounts();
        let before = probe.rows().await;
        let txn = probe.db.begin().await.expect("a transaction");
        let within = accounts.within(&txn);
        within.add_name(id, FurtherName::username("second")).await.expect("it is added");
        // A refusal leaves the transaction usable.
        for (name, taken) in [("bob", true), ("second", true), ("a b", false)] {
            let refused = within.add_name(id, FurtherName::username(name)).await;
            assert_eq!(matches!(refused, Err(AccountError::Taken(_))), taken, "{refused:?}");
            assert_eq!(matches!(refused, Err(AccountError::Invalid(_))), !taken, "{refused:?}");
        }
        let address = FurtherName::email("alice@work.example").verified();
        within.add_name(id, address).await.expect("it is added");
        txn.rollback().await.expect("it is undone");
        assert_eq!(probe.rows().await, before);
        assert_eq!(browser.get("/me").await.status, 200);

        let txn = probe.db.begin().await.expect("a transaction");
        for name in [FurtherName::username("Second"), FurtherName::email("Alice@Work.example")] {
            accounts.within(&txn).add_name(id, name).await.expect("it is added");
        }
        txn.commit().await.expect("it is kept");
        check(&browser.get("/me").await, 401, "session_ended");
        for login in ["second", "alice@work.example"] {
            assert_eq!(browser.stranger().login(login, PASSWORD).await.status, 200, "{login}");
        }
        let told = mail(&probe).await.into_iter().filter(|m| m.kind == MessageKind::LoginNameAdded);
        assert_eq!(told.count(), 0, "nobody is told");
        for bad in [FurtherName::email("a@b,c@d"), FurtherName::email("alice"), FurtherName::username("a@b.example")] {
            assert!(matches!(accounts.add_name(id, bad).await, Err(AccountError::Invalid(_))));
        }
        let nobody = AccountId::from(uuid::Uuid::from_u128(7));
        let refused = accounts.add_name(nobody, FurtherName::username("third")).await;
        assert!(matches!(refused, Err(AccountError::NotFound)), "{refused:?}");
        accounts.delete(bob).await.expect("it is deleted");
        let refused = accounts.add_name(bob, FurtherName::username("third")).await;
        assert!(matches!(refused, Err(AccountError::NotFound)), "{refused:?}");

        // The owner verifies the address that was added without verification.
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        ask(&mut browser, "alice@WORK.example").await;
        let token = confirm_token(&probe, "alice@WORK.example").await;
        check_session(&browser.post(CONFIRM, json!({ "token": token })).await);
        let proved = "SELECT COUNT(*) FROM auth_login_name WHERE kind = 2 AND verified_at IS NOT NULL AND typed = 'alice@WORK.example'";
        assert_eq!(probe.number(proved).await, 1);
        let again = browser.post(NAMES, json!({ "email": "alice@work.example" })).await;
        assert_eq!(again.field_codes("email"), ["already_yours"]);
        // The first username becomes the account's own username.
        let nameless = probe.auth.accounts().create(NewAccount::email("carol@example.com")).await.expect("carol");
        accounts.add_name(nameless.id(), FurtherName::username("Carol")).await.expect("it is added");
        let carol = accounts.find(nameless.id()).await.expect("it answers").expect("an account");
        assert_eq!(carol.username(), Some("Carol"));
    }

    async fn of_many_who_want_one_username_at_once_one_gets_it(probe: Probe) {
        let mut browsers = Vec::new();
        for number in 0..16 {
            browsers.push(person(&probe, &format!("person{number}")).await.1);
        }
        let body = json!({ "username": "Wanted" });
        let mut requests: Vec<_> = browsers.iter().map(|browser| post(browser, NAMES, &body)).collect();
        let register = json!({ "username": "wanted", "password": PASSWORD });
        requests.push(post(&browsers[0].stranger(), "/auth/register", &register));
        let answers = at_once(requests).await;
        assert_eq!(answers.iter().filter(|answer| matches!(answer.status, 200 | 201)).count(), 1, "{answers:?}");
        for answer in answers.iter().filter(|answer| !matches!(answer.status, 200 | 201)) {
            check(answer, 409, "username_taken");
        }
        // The sessions of the losers continue.
        let mut live = 0;
        for browser in &mut browsers {
            live += usize::from(browser.get("/me").await.status == 200);
        }
        assert!(live >= 15, "{live}");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_login_name WHERE normal = 'wanted'").await, 1);
    }

    async fn without_a_notifier_there_are_no_routes(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        let silent = Portcullis::builder(probe.db.clone())
            .clock(probe.clock.clone())
            .secret(probe.secret.clone())
            .build()
            .expect("the configuration is right");
        browser.address = serve(app(&silent)).await;
        assert_eq!(browser.get(NAMES).await.status, 404);
        assert_eq!(add_username(&mut browser, "second").await.status, 404);
    }

    async fn a_dump_of_the_database_shows_no_token_and_no_code(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@work.example").await;
        let mail = message(&probe, MessageKind::LoginNameConfirm, "alice@work.example").await;
        let (token, code) = (token(&mail, "/login-names/confirm"), code(&mail));
        let data = probe.text("SELECT data FROM auth_challenge WHERE purpose = 'login_name'").await.expect("data");
        assert!(data.contains("alice@work.example") && !data.contains(&token) && !data.contains(&code));
        // An attacker who can write to the database cannot redirect a token to another address.
        let forged = data.replace("alice@work.example", "victim@example.com");
        probe.execute(&format!("UPDATE auth_challenge SET data = '{forged}' WHERE purpose = 'login_name'")).await;
        check(&browser.post(CONFIRM, json!({ "token": token })).await, 403, "wrong_code");
        assert_eq!(names(&probe).await, ["alice", "alice@example.com"]);
    }

    async fn an_import_meets_further_names_as_it_meets_others(probe: Probe) {
        use portcullis::account_import::ImportedAccount;

        let rows = |to: u128| {
            (1..to).map(|number| {
                ImportedAccount::new(uuid::Uuid::from_u128(number).into())
                    .username(format!("user{number}"))
                    .email(format!("user{number}@example.com"))
            })
        };
        let import = || probe.auth.account_import();
        let report = import().run(rows(3), |_| {}).await.expect("the database answers");
        assert_eq!((report.imported, report.skipped), (2, 0));
        let first = AccountId::from(uuid::Uuid::from_u128(1));
        for name in [FurtherName::username("second"), FurtherName::email("user3@example.com")] {
            probe.auth.accounts().add_name(first, name).await.expect("it is added");
        }
        let report = import().run(rows(4), |_| {}).await.expect("the database answers");
        // Existing accounts are skipped. An address that is a further name of another account is
        // taken.
        assert_eq!((report.imported, report.skipped, report.refused.len()), (0, 2, 1));
    }
}
