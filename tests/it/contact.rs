//! Changing the mail address and the phone number.

use std::sync::Arc;
use std::time::Duration;

use portcullis::account::NewAccount;
use portcullis::message::Message;
use portcullis::registration::Application;
use portcullis::{AccountId, Clock, MessageKind, Portcullis};
use reqwest::Method;
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

/// Signs in an account with a username and a verified address.
async fn person(probe: &Probe, name: &str) -> (AccountId, Browser) {
    let address = format!("{name}@example.com");
    let (id, browser) = claimant(probe, name, &address).await;
    let now = probe.clock.now().as_millis();
    probe
        .execute(&format!(
            "UPDATE auth_login_name SET verified_at = {now} WHERE normal = '{address}'"
        ))
        .await;
    probe
        .execute(&format!("UPDATE auth_account SET version = version + 1, verified_at = {now} WHERE username = '{name}'"))
        .await;
    (id, browser)
}

/// Signs in an account whose address nobody has verified.
async fn claimant(probe: &Probe, name: &str, address: &str) -> (AccountId, Browser) {
    let account = NewAccount::username(name).with_email(address);
    let application = Application::new(account, PASSWORD);
    let registered = probe.auth.registration().register(application, &Default::default()).await;
    let id = registered.expect("the account is made").account.id();
    let mut browser = probe.browser().await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    (id, browser)
}

/// Adds a sender of text messages.
fn texting(mut probe: Probe) -> Probe {
    probe.auth = with_texts(&probe, |_| {});
    probe
}

fn with_texts(probe: &Probe, change: impl FnOnce(&mut portcullis::Config)) -> Portcullis {
    let texts = probe.notifier.clone();
    probe.rebuilt(|builder| builder.text_messages(texts).configure(change))
}

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "{answer:?}");
}

async fn ask(browser: &mut Browser, email: &str) {
    let answer = browser.post("/auth/email", json!({ "email": email })).await;
    assert_eq!((answer.status, answer.text.as_str()), (202, "{\"result\":\"accepted\"}"));
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
    token(&message(probe, MessageKind::EmailChangeConfirm, to).await, "/email/confirm")
}

async fn undo_token(probe: &Probe, to: &str) -> String {
    token(&message(probe, MessageKind::EmailChangedUndo, to).await, "/email/undo")
}

/// Requests a new address and confirms it.
async fn confirmed(probe: &Probe, browser: &mut Browser, new: &str) {
    probe.clock.advance(MINUTE);
    ask(browser, new).await;
    let token = confirm_token(probe, new).await;
    let answer = browser.post("/auth/email/confirm", json!({ "token": token })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// Changes the address and returns the undo token that the old address got.
async fn change(probe: &Probe, browser: &mut Browser, old: &str, new: &str) -> String {
    confirmed(probe, browser, new).await;
    undo_token(probe, old).await
}

async fn email(probe: &Probe, name: &str) -> Option<String> {
    probe.text(&format!("SELECT email FROM auth_account WHERE username = '{name}'")).await
}

async fn phone(probe: &Probe, name: &str) -> Option<String> {
    probe.text(&format!("SELECT phone FROM auth_account WHERE username = '{name}'")).await
}

/// Returns the username of the account that has this name. `normal` is the normal form of the name.
async fn holder(probe: &Probe, normal: &str) -> Option<String> {
    let query = format!(
        "SELECT a.username FROM auth_login_name n JOIN auth_account a ON a.id = n.account_id \
         WHERE n.normal = '{normal}'"
    );
    probe.text(&query).await
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
    async fn a_new_address_proves_itself_and_takes_the_place_of_the_old_one(probe: Probe) {
        let (alice, mut browser) = person(&probe, "alice").await;
        let lineage = browser.get("/lineage").await.text;
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        let old_session = browser.clone();
        ask(&mut browser, "Alice@New.example").await;
        // Nothing changes until the new address is confirmed.
        assert_eq!(email(&probe, "alice").await.as_deref(), Some("alice@example.com"));
        assert_eq!(browser.stranger().login("alice@example.com", PASSWORD).await.status, 200);
        assert_eq!(browser.stranger().login("alice@new.example", PASSWORD).await.status, 401);
        let mail = message(&probe, MessageKind::EmailChangeConfirm, "Alice@New.example").await;
        assert_eq!(mail.account_id, Some(alice));
        probe.clock.advance(MINUTE);
        let token = token(&mail, "/email/confirm");
        let answer = browser.post("/auth/email/confirm", json!({ "token": token })).await;
        assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("session")));
        assert_eq!(email(&probe, "alice").await.as_deref(), Some("Alice@New.example"));
        assert_eq!(holder(&probe, "alice@new.example").await.as_deref(), Some("alice"));
        assert_eq!(holder(&probe, "alice@example.com").await, None);
        // The client that requested the change continues in a new session. All other sessions have
        // ended.
        assert_eq!(browser.get("/me").await.text, alice.to_string());
        assert_eq!(browser.get("/lineage").await.text, lineage);
        for mut over in [other, old_session] {
            check(&over.get("/me").await, 401, "session_ended");
        }
        assert_eq!(browser.stranger().login("alice@new.example", PASSWORD).await.status, 200);
        assert_eq!(browser.stranger().login("alice@example.com", PASSWORD).await.status, 401);
        // The old address learns when and from where it was changed, and how to undo it. The notice
        // contains no secret and not the new address.
        let notice = message(&probe, MessageKind::EmailChangedUndo, "alice@example.com").await;
        assert_eq!((notice.account_id, notice.at), (Some(alice), probe.clock.now()));
        for words in [&notice.text, notice.html.as_ref().expect("HTML")] {
            assert!(words.contains("From: 127.0.0.1") && words.contains(" UTC"), "{words}");
            assert!(words.contains("#token=") && words.contains("7 days"), "{words}");
            assert!(!words.to_lowercase().contains("new.example"), "{words}");
        }
        for kind in ["email_change_requested", "email_changed"] {
            assert_eq!(events(&probe, kind).await, 1, "{kind}");
        }
        let again = browser.post("/auth/email/confirm", json!({ "token": token })).await;
        check(&again, 409, "link_used");
    }

    async fn the_code_does_the_same_as_the_link(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@new.example").await;
        let mail = message(&probe, MessageKind::EmailChangeConfirm, "alice@new.example").await;
        let (token, code) = (token(&mail, "/email/confirm"), code(&mail));
        assert_eq!(code.len(), 8);
        let typed = format!(" {}-{} ", &code[..4], &code[4..]);
        let answer = browser.post("/auth/email/confirm", json!({ "code": typed })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(email(&probe, "alice").await.as_deref(), Some("alice@new.example"));
        for body in [json!({ "code": code }), json!({ "token": token })] {
            check(&browser.post("/auth/email/confirm", body).await, 409, "link_used");
        }
    }

    async fn a_form_of_ours_may_post_the_token_and_no_other_site_may(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@new.example").await;
        let token = confirm_token(&probe, "alice@new.example").await;
        // Opening the link or one of these paths changes nothing.
        for path in ["/auth/email", "/auth/email/confirm", "/auth/email/undo"] {
            let answer = browser.get(&format!("{path}?token={token}")).await;
            check(&answer, 405, "method_not_allowed");
        }
        for (path, body) in [
            ("/auth/email", json!({ "email": "mallory@example.com" })),
            ("/auth/email/confirm", json!({ "token": token })),
            ("/auth/email/undo", json!({ "token": token })),
        ] {
            let cookie = browser.cookie.clone().expect("a cookie");
            let request = browser
                .raw(Method::POST, path)
                .header("cookie", format!("{}={cookie}", crate::support::browser::COOKIE))
                .header("sec-fetch-site", "cross-site")
                .json(&body);
            check(&send(request).await, 403, "cross_site_request");
        }
        let request = browser
            .request(Method::POST, "/auth/email/confirm")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}"));
        assert_eq!(browser.send(request).await.status, 200);
    }

    async fn a_token_is_worth_nothing_in_other_hands(probe: Probe) {
        let (_, mut alice) = person(&probe, "alice").await;
        let (_, mut mallory) = person(&probe, "mallory").await;
        ask(&mut alice, "alice@new.example").await;
        let mail = message(&probe, MessageKind::EmailChangeConfirm, "alice@new.example").await;
        let (token, code) = (token(&mail, "/email/confirm"), code(&mail));
        for body in [json!({ "token": token }), json!({ "code": code })] {
            check(&mallory.post("/auth/email/confirm", body.clone()).await, 403, "wrong_code");
            let nobody = alice.stranger().post("/auth/email/confirm", body).await;
            check(&nobody, 401, "not_signed_in");
        }
        // A token for one purpose is not valid for another.
        let answer = alice.post("/auth/email/undo", json!({ "token": token })).await;
        check(&answer, 403, "wrong_code");
        for other in ["", "x", &token[1..], &token.to_lowercase(), &"A".repeat(43), &"é".repeat(9_000 / 2)] {
            let answer = alice.post("/auth/email/confirm", json!({ "token": other })).await;
            check(&answer, 403, "wrong_code");
            let answer = alice.post("/auth/email/undo", json!({ "token": other })).await;
            check(&answer, 403, "wrong_code");
        }
        assert_eq!(email(&probe, "mallory").await.as_deref(), Some("mallory@example.com"));
        let answer = alice.post("/auth/email/confirm", json!({ "token": token })).await;
        assert_eq!(answer.status, 200, "and in the right ones it still is: {}", answer.text);
        let undo = undo_token(&probe, "alice@example.com").await;
        let answer = alice.post("/auth/email/confirm", json!({ "token": undo })).await;
        check(&answer, 403, "wrong_code");
    }

    async fn a_change_needs_a_recent_factor(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        probe.clock.advance(5 * MINUTE);
        let answer = browser.post("/auth/email", json!({ "email": "alice@new.example" })).await;
        check(&answer, 401, "insufficient_user_authentication");
        assert_eq!(
            answer.headers["www-authenticate"],
            "Cookie cookie-name=\"__Host-session\", error=\"insufficient_user_authentication\", \
             acr_values=\"urn:portcullis:factor:password\", max_age=\"300\""
        );
        assert!(mail(&probe).await.is_empty());
        let proven = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(proven.status, 200);
        ask(&mut browser, "alice@new.example").await;
        // A change that was requested in time can be confirmed later.
        probe.clock.advance(Duration::from_millis(3_599_999));
        let token = confirm_token(&probe, "alice@new.example").await;
        let answer = browser.post("/auth/email/confirm", json!({ "token": token })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    async fn a_link_is_good_for_an_hour(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@new.example").await;
        let mail = message(&probe, MessageKind::EmailChangeConfirm, "alice@new.example").await;
        assert!(mail.text.contains("60 minutes"), "{}", mail.text);
        probe.clock.advance(60 * MINUTE);
        assert_eq!(browser.get("/me").await.status, 200);
        for body in [json!({ "token": token(&mail, "/email/confirm") }), json!({ "code": code(&mail) })] {
            check(&browser.post("/auth/email/confirm", body).await, 403, "wrong_code");
        }
    }

    async fn what_is_not_one_plain_mailbox_is_refused_and_nothing_leaves(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        for bad in [
            "", " ", "alice", "@", "a@", "@example.com", "a@b@example.com", "a@example",
            "a@x.example,b@y.example", "a@x.example;b@y.example", "a@x.example b@y.example",
            "a@x.example\r\nBcc: b@y.example", "a\n@x.example", "a@\tx.example",
            "\"a b\"@x.example", "\"a@y.example,\"@x.example", "Alice <a@x.example>",
            "<a@x.example>", "-a@x.example", "--help@x.example", "a@x.example(comment)", "a@[127.0.0.1]", "a\u{0}@x.example",
            "a@x.\u{202e}example", "a%0d%0abcc:b@y.example", "alice@example.com",
            "+4915112345678", &format!("{}@x.example", "a".repeat(65)),
            &format!("a@{}.example", "x".repeat(300)),
        ] {
            let answer = browser.post("/auth/email", json!({ "email": bad })).await;
            let codes = answer.field_codes("email");
            let expected = match bad {
                "" | " " => "required",
                "alice@example.com" => "unchanged",
                "a@example" | "a@[127.0.0.1]" => "invalid_domain",
                _ => {
                    assert_eq!(codes.len(), 1, "{bad:?}");
                    continue;
                }
            };
            assert_eq!(codes, [expected], "{bad:?}");
        }
        for body in [
            json!({}),
            json!({ "email": ["a@x.example", "b@y.example"] }),
            json!({ "email": { "a@x.example": 1 } }),
            json!({ "email": null }),
            json!({ "email": "a@x.example", "account_id": "x" }),
            json!({ "email": "a@x.example", "token": "x" }),
        ] {
            check(&browser.post("/auth/email", body).await, 400, "invalid_body");
        }
        for body in [json!({}), json!({ "token": "a", "code": "b" }), json!({ "token": null })] {
            check(&browser.post("/auth/email/confirm", body).await, 400, "invalid_body");
        }
        assert!(mail(&probe).await.is_empty());
        assert_eq!(events(&probe, "email_change_requested").await, 0);
        ask(&mut browser, "a@x.example").await;
        assert_eq!(mail(&probe).await.len(), 1);
    }

    async fn whether_an_address_is_taken_cannot_be_told_and_its_owner_is(probe: Probe) {
        let (_, mut alice) = person(&probe, "alice").await;
        let (bob, _) = claimant(&probe, "bob", "Bob@Example.com").await;
        let (carol, _) = person(&probe, "carol").await;
        probe.auth.accounts().delete(carol).await.expect("it is deleted");
        assert_eq!(alice.get("/me").await.status, 200, "its grants are in memory from here");
        let mut seen = Vec::new();
        for address in ["free@example.com", "bob@EXAMPLE.com", "carol@example.com"] {
            probe.clock.advance(MINUTE);
            let request = alice.post("/auth/email", json!({ "email": address }));
            let (answer, statements) = probe.statements(request).await;
            let mut headers = answer.headers.clone();
            headers.remove("date");
            seen.push((answer.status, answer.text, format!("{headers:?}"), statements));
        }
        assert_eq!(seen[0].0, 202);
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:#?}");
        let sent: Vec<_> =
            mail(&probe).await.into_iter().map(|m| (m.kind, m.to.as_str().to_owned(), m.account_id)).collect();
        assert_eq!(sent.len(), 2, "nobody is told of an account that was deleted: {sent:?}");
        // The address is written as Bob wrote it. The mail contains nothing that confirms the
        // change.
        assert_eq!(sent[1], (MessageKind::EmailChangeTaken, "Bob@Example.com".to_owned(), Some(bob)));
        let told = message(&probe, MessageKind::EmailChangeTaken, "Bob@Example.com").await;
        for words in [&told.text, told.html.as_ref().expect("HTML")] {
            assert!(!words.contains("token") && !words.contains("alice"), "{words}");
        }
        // If no code was sent, a guess gets the same answer as any wrong code.
        for code in ["00000000", "12345678"] {
            let answer = alice.post("/auth/email/confirm", json!({ "code": code })).await;
            check(&answer, 403, "wrong_code");
        }
    }

    async fn a_mailbox_is_not_flooded_and_the_link_it_got_stays_good(probe: Probe) {
        let (_, mut alice) = person(&probe, "alice").await;
        let (_, mut mallory) = person(&probe, "mallory").await;
        ask(&mut alice, "new@new.example").await;
        let token = confirm_token(&probe, "new@new.example").await;
        // The same request again, and one from another account: nothing is sent, and the answers do
        // not change.
        ask(&mut alice, "new@new.example").await;
        ask(&mut mallory, "new@new.example").await;
        assert_eq!(mail(&probe).await.len(), 1);
        let soon = alice.post("/auth/email", json!({ "email": "other@new.example" })).await;
        check(&soon, 429, "too_soon");
        assert_eq!(soon.headers["retry-after"], "60");
        let answer = alice.post("/auth/email/confirm", json!({ "token": token })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    async fn of_two_changes_at_once_a_token_confirms_only_its_own_address_devise_5783(probe: Probe) {
        let probe = probe.configured(|config| {
            config.challenge.cool_down = Duration::ZERO;
            config.mail.per_hour = 10_000;
            config.mail.per_source = None;
            config.mail.cool_down = Duration::from_secs(1);
        });
        let (_, mut browser) = person(&probe, "mallory").await;
        let mut confirmed = 0;
        for round in 0..200 {
            probe.clock.advance(Duration::from_secs(1));
            let (mine, victims) = (format!("mallory{round}@example.com"), "victim@example.com");
            let to_mine = json!({ "email": mine });
            let to_victims = json!({ "email": victims });
            let answers = at_once(vec![
                post(&browser, "/auth/email", &to_mine),
                post(&browser, "/auth/email", &to_victims),
            ])
            .await;
            for answer in &answers {
                assert_eq!(answer.status, 202, "{}", answer.text);
            }
            let token = confirm_token(&probe, &mine).await;
            probe.clock.advance(Duration::from_millis(1000));
            // Also confirms while another change of the same account is requested.
            let body = json!({ "token": token });
            let mut answers = at_once(vec![
                post(&browser, "/auth/email/confirm", &body),
                post(&browser, "/auth/email", &to_victims),
            ])
            .await;
            answers.truncate(1);
            let answer = answers.remove(0);
            let now = email(&probe, "mallory").await.expect("an address");
            assert_ne!(now, victims, "round {round}");
            assert_eq!(holder(&probe, victims).await, None, "round {round}");
            if answer.status == 200 {
                assert_eq!(now, mine, "round {round}");
                browser.cookie = answer.cookie();
                confirmed += 1;
            } else {
                check(&answer, 403, "wrong_code");
            }
            if round % 50 == 49 {
                assert_eq!(browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await.status, 200);
            }
        }
        assert!(confirmed > 0, "the race has to have both outcomes");
    }

    async fn of_two_accounts_that_confirm_one_address_at_once_one_gets_it(probe: Probe) {
        let (_, mut alice) = person(&probe, "alice").await;
        let (_, mut bob) = person(&probe, "bob").await;
        for round in 0..5 {
            probe.clock.advance(MINUTE);
            let address = format!("shared{round}@example.com");
            ask(&mut alice, &address).await;
            let first = confirm_token(&probe, &address).await;
            probe.clock.advance(MINUTE);
            ask(&mut bob, &address).await;
            let second = confirm_token(&probe, &address).await;
            assert_ne!(first, second);
            let answers = at_once(vec![
                post(&alice, "/auth/email/confirm", &json!({ "token": first })),
                post(&bob, "/auth/email/confirm", &json!({ "token": second })),
            ])
            .await;
            let made_up = alice.with_cookie(alice.cookie.as_deref().unwrap_or_default());
            let won = answers.iter().position(|answer| answer.status == 200).expect("one wins");
            let (winner, loser) = if won == 0 { ("alice", "bob") } else { ("bob", "alice") };
            // The loser gets the same answer as for any invalid link.
            check(&answers[1 - won], 403, "wrong_code");
            let winning = if won == 0 { &mut alice } else { &mut bob };
            winning.cookie = answers[won].cookie();
            let mut made_up = made_up.with_cookie(winning.cookie.as_deref().unwrap_or_default());
            let nothing = made_up.post("/auth/email/confirm", json!({ "token": "A".repeat(43) })).await;
            assert_eq!(nothing.text, answers[1 - won].text);
            assert_eq!(email(&probe, winner).await.as_deref(), Some(&*address));
            assert_ne!(email(&probe, loser).await.as_deref(), Some(&*address));
            assert_eq!(holder(&probe, &address).await.as_deref(), Some(winner));
            let losing = if won == 0 { &mut bob } else { &mut alice };
            assert_eq!(losing.get("/me").await.status, 200, "and nothing else happened to the loser");
            for browser in [&mut alice, &mut bob] {
                let proven = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
                assert_eq!(proven.status, 200);
            }
        }
    }

    async fn an_address_that_was_registered_meanwhile_stays_with_its_new_account(probe: Probe) {
        let (_, mut alice) = person(&probe, "alice").await;
        ask(&mut alice, "new@example.com").await;
        let mail = message(&probe, MessageKind::EmailChangeConfirm, "new@example.com").await;
        claimant(&probe, "bob", "new@example.com").await;
        for body in [json!({ "token": token(&mail, "/email/confirm") }), json!({ "code": code(&mail) })] {
            check(&alice.post("/auth/email/confirm", body).await, 403, "wrong_code");
        }
        assert_eq!(email(&probe, "alice").await.as_deref(), Some("alice@example.com"));
        assert_eq!(holder(&probe, "alice@example.com").await.as_deref(), Some("alice"));
        assert_eq!(holder(&probe, "new@example.com").await.as_deref(), Some("bob"));
        assert_eq!(alice.get("/me").await.status, 200);
    }

    async fn of_a_hundred_confirmations_of_one_token_one_counts(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@new.example").await;
        let mail = message(&probe, MessageKind::EmailChangeConfirm, "alice@new.example").await;
        let bodies = [json!({ "token": token(&mail, "/email/confirm") }), json!({ "code": code(&mail) })];
        let requests =
            (0..100).map(|n| post(&browser, "/auth/email/confirm", &bodies[usize::from(n % 10 == 0)]));
        let answers = at_once(requests.collect()).await;
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert!(matches!(answer.status, 401 | 403 | 409 | 429), "{}", answer.text);
        }
        assert_eq!(events(&probe, "email_changed").await, 1);
        let live = "SELECT COUNT(*) FROM auth_session s JOIN auth_account a ON a.id = s.account_id \
                    AND a.epoch = s.account_epoch WHERE s.ended_at IS NULL";
        assert_eq!(probe.number(live).await, 1);
        assert_eq!(probe.number("SELECT epoch FROM auth_account").await, 1);
        browser.cookie = won[0].cookie();
        assert_eq!(browser.get("/me").await.status, 200);

        let undo = undo_token(&probe, "alice@example.com").await;
        let body = json!({ "token": undo });
        let stranger = browser.stranger();
        let requests = (0..100).map(|_| post(&stranger, "/auth/email/undo", &body));
        let answers = at_once(requests.collect()).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 204).count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 204) {
            check(answer, 409, "link_used");
        }
        assert_eq!(events(&probe, "email_change_undone").await, 1);
        assert_eq!(email(&probe, "alice").await.as_deref(), Some("alice@example.com"));
    }

    async fn a_change_that_was_asked_for_dies_with_what_changes_the_account(probe: Probe) {
        let ends = [
            "nothing", "another change", "a new password", "the others are ended", "all are ended",
            "this one is ended", "signing out", "disabling", "another address",
        ];
        for (number, end) in ends.into_iter().enumerate() {
            let name = format!("alice{number}");
            let (id, mut asking) = person(&probe, &name).await;
            let mut other = asking.stranger();
            assert_eq!(other.login(&name, PASSWORD).await.status, 200);
            let new = format!("{name}@new.example");
            let asked_in = asking.get("/session-id").await.text;
            ask(&mut asking, &new).await;
            let mail = message(&probe, MessageKind::EmailChangeConfirm, &new).await;
            probe.clock.advance(MINUTE);
            match end {
                "nothing" => {}
                "another change" => ask(&mut asking, &format!("{name}@third.example")).await,
                "a new password" => {
                    let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
                    assert_eq!(asking.put("/auth/password", body).await.status, 200);
                    other = asking.clone();
                }
                "the others are ended" => {
                    assert_eq!(other.delete("/auth/sessions").await.status, 200);
                }
                "all are ended" => {
                    assert_eq!(other.delete("/auth/sessions?scope=all").await.status, 200);
                }
                "this one is ended" => {
                    let path = format!("/auth/sessions/{asked_in}");
                    assert_eq!(other.delete(&path).await.status, 204);
                }
                "signing out" => assert_eq!(asking.post_empty("/auth/logout").await.status, 204),
                "disabling" => {
                    probe.auth.accounts().disable(id).await.expect("it is disabled");
                    probe.auth.accounts().enable(id).await.expect("it is enabled");
                }
                _ => {
                    // The address changes and changes back. The value is the old one, but the
                    // account has a new epoch.
                    let third = format!("{name}@third.example");
                    let old = format!("{name}@example.com");
                    let undo = change(&probe, &mut asking, &old, &third).await;
                    let undone = other.post("/auth/email/undo", json!({ "token": undo })).await;
                    assert_eq!(undone.status, 204);
                }
            }
            if other.cookie.is_none() || other.get("/me").await.status != 200 {
                let password = if end == "a new password" { NEW_PASSWORD } else { PASSWORD };
                assert_eq!(other.login(&name, password).await.status, 200, "{end}");
            }
            for body in [json!({ "token": token(&mail, "/email/confirm") }), json!({ "code": code(&mail) })] {
                let answer = other.post("/auth/email/confirm", body).await;
                if end == "nothing" {
                    assert_eq!(answer.status, 200, "{}", answer.text);
                    break;
                }
                assert_eq!((answer.status, answer.code().as_str()), (403, "wrong_code"), "{end}");
            }
            let expected = if end == "nothing" { new } else { format!("{name}@example.com") };
            assert_eq!(email(&probe, &name).await, Some(expected), "{end}");
        }
    }

    async fn other_codes_and_links_end_with_the_change(probe: Probe) {
        let probe = texting(probe);
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@new.example").await;
        let answer = browser.post("/auth/phone", json!({ "phone": "+4915112345678" })).await;
        assert_eq!(answer.status, 202);
        let text = message(&probe, MessageKind::PhoneChangeConfirm, "+4915112345678").await;
        let token = confirm_token(&probe, "alice@new.example").await;
        assert_eq!(browser.post("/auth/email/confirm", json!({ "token": token })).await.status, 200);
        let answer = browser.post("/auth/phone/confirm", json!({ "code": code(&text) })).await;
        check(&answer, 403, "wrong_code");
        assert_eq!(phone(&probe, "alice").await, None);
    }

    async fn wrong_codes_are_few_and_a_new_code_brings_no_new_tries(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@new.example").await;
        let right = code(&message(&probe, MessageKind::EmailChangeConfirm, "alice@new.example").await);
        let body = json!({ "code": wrong(&right) });
        let answers = at_once((0..100).map(|_| post(&browser, "/auth/email/confirm", &body)).collect()).await;
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(403), count(429)), (5, 95));
        assert_eq!(events(&probe, "authn_challenge_fail").await, 5);
        let late = browser.post("/auth/email/confirm", json!({ "code": right })).await;
        check(&late, 429, "too_many_attempts");
        probe.clock.advance(MINUTE);
        ask(&mut browser, "alice@third.example").await;
        let mail = message(&probe, MessageKind::EmailChangeConfirm, "alice@third.example").await;
        let late = browser.post("/auth/email/confirm", json!({ "code": code(&mail) })).await;
        check(&late, 429, "too_many_attempts");
        // A link cannot be guessed, so it still works.
        let body = json!({ "token": token(&mail, "/email/confirm") });
        assert_eq!(browser.post("/auth/email/confirm", body).await.status, 200);
    }

    async fn the_old_address_undoes_a_change_once(probe: Probe) {
        let (alice, mut browser) = person(&probe, "alice").await;
        let undo = change(&probe, &mut browser, "alice@example.com", "mallory@new.example").await;
        // The thief has already requested the next change.
        probe.clock.advance(MINUTE);
        ask(&mut browser, "mallory@third.example").await;
        let pending = confirm_token(&probe, "mallory@third.example").await;
        // The owner does not need to be signed in, and gets no session.
        let mut owner = browser.stranger();
        let answer = owner.post("/auth/email/undo", json!({ "token": undo })).await;
        assert_eq!((answer.status, answer.text.as_str(), answer.set_cookies().len()), (204, "", 0));
        check(&browser.get("/me").await, 401, "session_ended");
        assert_eq!(email(&probe, "alice").await.as_deref(), Some("alice@example.com"));
        assert_eq!(holder(&probe, "mallory@new.example").await, None);
        assert_eq!(owner.stranger().login("mallory@new.example", PASSWORD).await.status, 401);
        assert_eq!(owner.login("alice@example.com", PASSWORD).await.status, 200);
        let answer = owner.post("/auth/email/confirm", json!({ "token": pending })).await;
        check(&answer, 403, "wrong_code");
        probe.clock.advance(MINUTE);
        let again = owner.post("/auth/email/undo", json!({ "token": undo })).await;
        check(&again, 403, "wrong_code");
        let told = message(&probe, MessageKind::EmailChangeUndone, "alice@example.com").await;
        assert_eq!(told.account_id, Some(alice));
        assert!(told.text.contains("From: 127.0.0.1"), "{}", told.text);
        assert_eq!(events(&probe, "email_change_undone").await, 1);
        // The address that is taken away gets no notice and no undo link.
        let to_other = mail(&probe).await;
        assert!(to_other.iter().all(|m| m.to.as_str() != "mallory@new.example" || m.kind == MessageKind::EmailChangeConfirm));
    }

    async fn a_second_click_is_told_for_a_minute_that_the_first_one_worked(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        probe.clock.advance(MINUTE);
        ask(&mut browser, "alice@new.example").await;
        let sent = message(&probe, MessageKind::EmailChangeConfirm, "alice@new.example").await;
        let (link, code) = (token(&sent, "/email/confirm"), code(&sent));
        let link = json!({ "token": link });
        assert_eq!(browser.post("/auth/email/confirm", link.clone()).await.status, 200);
        for body in [link.clone(), json!({ "code": code })] {
            check(&browser.post("/auth/email/confirm", body).await, 409, "link_used");
        }
        let with = |browser: &Browser, agent: &str, path: &str, body: &Value| {
            let request = browser.request(Method::POST, path);
            send(request.header("user-agent", agent.to_owned()).json(body))
        };
        // Another browser gets the answer that everybody gets. So does a client that sends another
        // code.
        check(&with(&browser, "curl/8.0", "/auth/email/confirm", &link).await, 403, "wrong_code");
        let body = json!({ "code": wrong(&code) });
        check(&browser.post("/auth/email/confirm", body).await, 403, "wrong_code");
        let undo = undo_token(&probe, "alice@example.com").await;
        let undo = json!({ "token": undo });
        // The same for simultaneous clicks: the second request is sent before the first is
        // answered.
        let mut clicks = JoinSet::new();
        for _ in 0..8 {
            let (browser, undo) = (browser.stranger(), undo.clone());
            let request = browser.request(Method::POST, "/auth/email/undo").json(&undo);
            clicks.spawn(send(request));
        }
        let answers = clicks.join_all().await;
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(204), count(409)), (1, 7), "{answers:?}");
        let other = browser.stranger();
        check(&with(&other, "curl/8.0", "/auth/email/undo", &undo).await, 403, "wrong_code");
        for (wait, status, code) in [
            (MINUTE - Duration::from_millis(1), 409, "link_used"),
            (Duration::from_millis(1), 403, "wrong_code"),
        ] {
            probe.clock.advance(wait);
            let answer = browser.stranger().post("/auth/email/undo", undo.clone()).await;
            check(&answer, status, code);
        }
        assert_eq!(events(&probe, "authn_challenge_fail").await, 0);
        assert_eq!(events(&probe, "email_change_undone").await, 1);
    }

    async fn a_change_can_be_undone_for_seven_days(probe: Probe) {
        for (name, wait, status) in [
            ("alice", 7 * DAY - Duration::from_millis(1), 204),
            ("bob", 7 * DAY, 403),
        ] {
            let (_, mut browser) = person(&probe, name).await;
            let (old, new) = (format!("{name}@example.com"), format!("{name}@new.example"));
            let undo = change(&probe, &mut browser, &old, &new).await;
            probe.clock.advance(wait);
            let answer = browser.stranger().post("/auth/email/undo", json!({ "token": undo })).await;
            assert_eq!(answer.status, status, "{}", answer.text);
        }
    }

    async fn nothing_that_a_thief_can_do_ends_the_owners_way_back(probe: Probe) {
        let (_, mut thief) = person(&probe, "alice").await;
        let owners = change(&probe, &mut thief, "alice@example.com", "thief@one.example").await;
        let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
        assert_eq!(thief.put("/auth/password", body).await.status, 200);
        confirmed(&probe, &mut thief, "thief@two.example").await;
        assert_eq!(thief.delete("/auth/sessions").await.status, 200);
        let thiefs = message(&probe, MessageKind::EmailChangedUndo, "thief@one.example").await;
        assert!(!thiefs.text.contains("token"), "it had just come: {}", thiefs.text);
        let answer = thief.stranger().post("/auth/email/undo", json!({ "token": owners })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        assert_eq!(email(&probe, "alice").await.as_deref(), Some("alice@example.com"));
        for name in ["thief@one.example", "thief@two.example"] {
            assert_eq!(holder(&probe, name).await, None);
        }
    }

    async fn a_number_that_came_with_a_registration_is_proved_by_its_code(probe: Probe) {
        let probe = texting(probe);
        let number = "+4915112345678";
        let mut browser = probe.browser().await;
        let body = json!({ "username": "alice", "phone": number, "password": PASSWORD });
        assert_eq!(browser.post("/auth/register", body).await.status, 201);
        let proved = "SELECT COUNT(*) FROM auth_login_name WHERE kind = 3 AND verified_at IS NOT NULL";
        let body = json!({ "phone": number });
        assert_eq!(browser.post("/auth/phone", body.clone()).await.status, 202);
        assert_eq!(probe.number(proved).await, 0);
        let text = message(&probe, MessageKind::PhoneChangeConfirm, number).await;
        let answer = browser.post("/auth/phone/confirm", json!({ "code": code(&text) })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!((probe.number(proved).await, phone(&probe, "alice").await.as_deref()), (1, Some(number)));
        assert_eq!(mail(&probe).await.len(), 1, "nothing was changed that anybody has to be told");
        probe.clock.advance(MINUTE);
        assert_eq!(browser.post("/auth/phone", body).await.field_codes("phone"), ["unchanged"]);
    }

    async fn an_address_that_was_never_proved_gets_no_way_back(probe: Probe) {
        // The unverified address may belong to a stranger, because the user mistyped it.
        let (_, mut browser) = claimant(&probe, "alice", "stranger@example.com").await;
        ask(&mut browser, "alice@example.com").await;
        let token = confirm_token(&probe, "alice@example.com").await;
        assert_eq!(browser.post("/auth/email/confirm", json!({ "token": token })).await.status, 200);
        let told = message(&probe, MessageKind::EmailChangedUndo, "stranger@example.com").await;
        assert!(!told.text.contains("token") && !told.text.contains("days"), "{}", told.text);
        let undos = "SELECT COUNT(*) FROM auth_challenge WHERE purpose = 'email_undo'";
        assert_eq!(probe.number(undos).await, 0);
        let verified = "SELECT COUNT(*) FROM auth_account WHERE verified_at IS NOT NULL";
        assert_eq!(probe.number(verified).await, 1, "the new one was proved");
    }

    async fn without_ways_back_the_old_address_is_told_all_the_same(probe: Probe) {
        let probe = probe.configured(|config| config.contact.undo_lifetime = None);
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@new.example").await;
        let token = confirm_token(&probe, "alice@new.example").await;
        assert_eq!(browser.post("/auth/email/confirm", json!({ "token": token })).await.status, 200);
        let told = message(&probe, MessageKind::EmailChangedUndo, "alice@example.com").await;
        assert!(!told.text.contains("token"), "{}", told.text);
    }

    async fn an_old_address_is_taken_back_from_an_account_that_never_proved_it(probe: Probe) {
        let (_, mut alice) = person(&probe, "alice").await;
        let undo = change(&probe, &mut alice, "alice@example.com", "thief@example.com").await;
        let (_, mut squatter) = claimant(&probe, "squatter", "Alice@Example.com").await;
        assert_eq!(holder(&probe, "alice@example.com").await.as_deref(), Some("squatter"));
        let answer = alice.stranger().post("/auth/email/undo", json!({ "token": undo })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        assert_eq!(holder(&probe, "alice@example.com").await.as_deref(), Some("alice"));
        assert_eq!((email(&probe, "alice").await.as_deref(), email(&probe, "squatter").await), (Some("alice@example.com"), None));
        check(&squatter.get("/me").await, 401, "session_ended");
        assert_eq!(squatter.login("squatter", PASSWORD).await.status, 200, "the other name still belongs to the squatter");
    }

    async fn an_old_address_that_another_account_has_proved_since_stays_with_it(probe: Probe) {
        let (_, mut alice) = person(&probe, "alice").await;
        let undo = change(&probe, &mut alice, "alice@example.com", "alice@new.example").await;
        let (_, mut bob) = person(&probe, "bob").await;
        change(&probe, &mut bob, "bob@example.com", "alice@example.com").await;
        let answer = alice.stranger().post("/auth/email/undo", json!({ "token": undo })).await;
        check(&answer, 409, "email_taken");
        // Nothing has changed.
        assert_eq!(email(&probe, "alice").await.as_deref(), Some("alice@new.example"));
        assert_eq!(holder(&probe, "alice@example.com").await.as_deref(), Some("bob"));
        for browser in [&mut alice, &mut bob] {
            assert_eq!(browser.get("/me").await.status, 200);
        }
        // Once the address is free, the link works again.
        confirmed(&probe, &mut bob, "bob@third.example").await;
        let answer = alice.stranger().post("/auth/email/undo", json!({ "token": undo })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        assert_eq!(email(&probe, "alice").await.as_deref(), Some("alice@example.com"));
    }

    async fn an_account_without_an_address_gets_its_first_one(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        ask(&mut browser, "alice@example.com").await;
        let token = confirm_token(&probe, "alice@example.com").await;
        assert_eq!(browser.post("/auth/email/confirm", json!({ "token": token })).await.status, 200);
        assert_eq!(email(&probe, "alice").await.as_deref(), Some("alice@example.com"));
        assert_eq!(mail(&probe).await.len(), 1, "there is no old one to tell");
        assert_eq!(browser.stranger().login("alice@example.com", PASSWORD).await.status, 200);
        let account = probe.auth.accounts().find(alice.id()).await.expect("it answers");
        assert!(account.expect("an account").is_verified());
    }

    async fn another_spelling_of_the_same_address_is_a_change_of_spelling(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "Alice@example.com").await;
        let token = confirm_token(&probe, "Alice@example.com").await;
        assert_eq!(browser.post("/auth/email/confirm", json!({ "token": token })).await.status, 200);
        assert_eq!(email(&probe, "alice").await.as_deref(), Some("Alice@example.com"));
        assert_eq!(holder(&probe, "alice@example.com").await.as_deref(), Some("alice"));
        assert_eq!(browser.stranger().login("ALICE@example.com", PASSWORD).await.status, 200);
    }

    async fn phones_have_routes_only_with_a_sender_of_text_messages(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        for path in ["/auth/phone", "/auth/phone/confirm", "/auth/phone/undo"] {
            assert_eq!(browser.post(path, json!({ "phone": "+4915112345678" })).await.status, 404);
        }
        browser.address = serve(app(&with_texts(&probe, |_| {}))).await;
        let answer = browser.post("/auth/phone", json!({ "phone": "+4915112345678" })).await;
        assert_eq!(answer.status, 202);
        let silent = Portcullis::builder(probe.db.clone())
            .clock(probe.clock.clone())
            .secret(probe.secret.clone())
            .build()
            .expect("the configuration is right");
        browser.address = serve(app(&silent)).await;
        let answer = browser.post("/auth/email", json!({ "email": "a@new.example" })).await;
        assert_eq!(answer.status, 404, "nor mail without a notifier");
    }

    async fn a_phone_number_is_added_changed_undone_and_removed(probe: Probe) {
        let probe = texting(probe);
        let (_, mut browser) = person(&probe, "alice").await;
        let (first, second) = ("+4915112345678", "+4915112345679");
        for number in [first, second] {
            // A number that the account had for a week can be put back.
            probe.clock.advance(7 * DAY);
            assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
            let answer = browser.post("/auth/phone", json!({ "phone": number })).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            let text = message(&probe, MessageKind::PhoneChangeConfirm, number).await;
            assert!(text.subject.is_empty() && text.html.is_none() && !text.text.contains("token"));
            let wrong = browser.post("/auth/phone/confirm", json!({ "code": wrong(&code(&text)) })).await;
            check(&wrong, 403, "wrong_code");
            let answer = browser.post("/auth/phone/confirm", json!({ "code": code(&text) })).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(phone(&probe, "alice").await.as_deref(), Some(number));
            assert_eq!(holder(&probe, number).await.as_deref(), Some("alice"));
            probe.mail().await;
        }
        assert_eq!(holder(&probe, first).await, None);
        // Both the mail address and the old number get a notice.
        message(&probe, MessageKind::PhoneChanged, "alice@example.com").await;
        assert_eq!(probe.notifier.sent_of(MessageKind::PhoneChanged).len(), 2);
        let undo = message(&probe, MessageKind::PhoneChangedUndo, first).await;
        let answer = browser.delete("/auth/phone").await;
        assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("session")));
        assert_eq!((phone(&probe, "alice").await, holder(&probe, second).await), (None, None));
        assert_eq!(browser.delete("/auth/phone").await.status, 204, "there is none any more");
        let undo = token(&undo, "/phone/undo");
        let mail = browser.stranger().post("/auth/email/undo", json!({ "token": undo })).await;
        check(&mail, 403, "wrong_code");
        let answer = browser.stranger().post("/auth/phone/undo", json!({ "token": undo })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        assert_eq!(phone(&probe, "alice").await.as_deref(), Some(first));
        let told = message(&probe, MessageKind::PhoneChangeUndone, first).await;
        assert!(told.text.contains("again"), "{}", told.text);
        for (kind, count) in
            [("phone_change_requested", 2), ("phone_changed", 2), ("phone_removed", 1), ("phone_change_undone", 1)]
        {
            assert_eq!(events(&probe, kind).await, count, "{kind}");
        }
        for bad in ["", "0151123456", "+49 151 12345678", "+49", "a@x.example"] {
            let answer = browser.stranger().post("/auth/phone", json!({ "phone": bad })).await;
            check(&answer, 401, "not_signed_in");
            let mut again = browser.stranger();
            again.login("alice", PASSWORD).await;
            let answer = again.post("/auth/phone", json!({ "phone": bad })).await;
            let code = if bad.is_empty() { "required" } else { "invalid_phone" };
            assert_eq!(answer.field_codes("phone"), [code], "{bad:?}");
        }
    }

    async fn a_number_that_is_taken_looks_free_and_its_owner_is_told(probe: Probe) {
        let probe = texting(probe);
        let (_, mut alice) = person(&probe, "alice").await;
        let number = "+4915112345678";
        alice.post("/auth/phone", json!({ "phone": number })).await;
        let text = message(&probe, MessageKind::PhoneChangeConfirm, number).await;
        assert_eq!(alice.post("/auth/phone/confirm", json!({ "code": code(&text) })).await.status, 200);
        probe.clock.advance(MINUTE);
        let (bob, mut bobs) = person(&probe, "bob").await;
        let answer = bobs.post("/auth/phone", json!({ "phone": number })).await;
        assert_eq!((answer.status, answer.text.as_str()), (202, "{\"result\":\"accepted\"}"));
        let told = message(&probe, MessageKind::PhoneChangeTaken, number).await;
        assert_ne!(told.account_id, Some(bob));
        assert_eq!(probe.notifier.sent_of(MessageKind::PhoneChangeConfirm).len(), 1);
    }

    async fn a_number_that_somebody_only_wrote_down_is_whose_it_proves_to_be(probe: Probe) {
        let probe = texting(probe);
        let number = "+4915112345678";
        let mut mallory = probe.browser().await;
        let body = json!({ "username": "mallory", "phone": number, "password": PASSWORD });
        assert_eq!(mallory.post("/auth/register", body).await.status, 201);
        let (alice, mut browser) = person(&probe, "alice").await;
        browser.post("/auth/phone", json!({ "phone": number })).await;
        let text = message(&probe, MessageKind::PhoneChangeConfirm, number).await;
        assert_eq!(holder(&probe, number).await.as_deref(), Some("mallory"), "nothing is proved yet");
        let answer = browser.post("/auth/phone/confirm", json!({ "code": code(&text) })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(holder(&probe, number).await.as_deref(), Some("alice"));
        assert_eq!((phone(&probe, "alice").await.as_deref(), phone(&probe, "mallory").await), (Some(number), None));
        check(&mallory.get("/me").await, 401, "session_ended");
        // The number is verified now. So the next account that requests it gets no code.
        probe.clock.advance(MINUTE);
        assert_eq!(mallory.login("mallory", PASSWORD).await.status, 200);
        mallory.post("/auth/phone", json!({ "phone": number })).await;
        let told = message(&probe, MessageKind::PhoneChangeTaken, number).await;
        assert_eq!(told.account_id, Some(alice));
    }

    async fn an_address_of_an_account_that_is_over_yields_to_its_proof(probe: Probe) {
        let address = "new@example.com";
        let (squatter, _) = claimant(&probe, "mallory", address).await;
        let (_, mut alice) = person(&probe, "alice").await;
        ask(&mut alice, address).await;
        message(&probe, MessageKind::EmailChangeTaken, address).await;
        probe.auth.accounts().disable(squatter).await.expect("it is disabled");
        probe.clock.advance(MINUTE);
        ask(&mut alice, address).await;
        let token = confirm_token(&probe, address).await;
        let answer = alice.post("/auth/email/confirm", json!({ "token": token })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(holder(&probe, address).await.as_deref(), Some("alice"));
        assert_eq!(email(&probe, "mallory").await, None);
    }

    async fn the_last_name_of_an_account_cannot_be_removed(probe: Probe) {
        let probe = texting(probe);
        let (alice, mut browser) = probe.signed_in("alice").await;
        let number = "+4915112345678";
        browser.post("/auth/phone", json!({ "phone": number })).await;
        let text = message(&probe, MessageKind::PhoneChangeConfirm, number).await;
        assert_eq!(browser.post("/auth/phone/confirm", json!({ "code": code(&text) })).await.status, 200);
        // Only a change in the database can leave an account without its other names.
        let id = alice.id();
        probe.execute("DELETE FROM auth_login_name WHERE normal = 'alice'").await;
        let over = browser.delete("/auth/phone").await;
        assert_eq!((over.status, over.code().as_str()), (401, "session_ended"), "{}", over.text);
        probe.execute("UPDATE auth_account SET version = version + 1, username = NULL").await;
        check(&browser.delete("/auth/phone").await, 409, "only_login_name");
        let account = probe.auth.accounts().find(id).await.expect("it answers").expect("an account");
        assert_eq!(account.phone(), Some(number));
    }

    async fn removing_a_number_needs_a_recent_factor(probe: Probe) {
        let probe = texting(probe);
        let (_, mut browser) = person(&probe, "alice").await;
        browser.post("/auth/phone", json!({ "phone": "+4915112345678" })).await;
        let text = message(&probe, MessageKind::PhoneChangeConfirm, "+4915112345678").await;
        assert_eq!(browser.post("/auth/phone/confirm", json!({ "code": code(&text) })).await.status, 200);
        probe.clock.advance(5 * MINUTE);
        check(&browser.delete("/auth/phone").await, 401, "insufficient_user_authentication");
        assert!(phone(&probe, "alice").await.is_some());
    }

    async fn a_number_proves_no_mail_address(probe: Probe) {
        // Otherwise a person who registered with another person's address could get it verified
        // this way.
        let probe = texting(probe);
        let (alice, mut browser) = claimant(&probe, "alice", "victim@example.com").await;
        let (bob, mut other) = probe.signed_in("bob").await;
        for (id, browser, number, verified) in [
            (alice, &mut browser, "+4915112345678", false),
            (bob.id(), &mut other, "+4915112345679", true),
        ] {
            browser.post("/auth/phone", json!({ "phone": number })).await;
            let text = message(&probe, MessageKind::PhoneChangeConfirm, number).await;
            let answer = browser.post("/auth/phone/confirm", json!({ "code": code(&text) })).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let account = probe.auth.accounts().find(id).await.expect("it answers");
            assert_eq!(account.expect("an account").is_verified(), verified);
        }
    }

    async fn a_number_of_an_account_that_was_never_verified_gets_no_way_back(probe: Probe) {
        // Otherwise it would be a trap for the person who verifies the account's address later.
        let probe = texting(probe);
        let (_, mut mallory) = claimant(&probe, "mallory", "victim@example.com").await;
        for number in ["+4915112345678", "+4915112345679"] {
            probe.clock.advance(MINUTE);
            mallory.post("/auth/phone", json!({ "phone": number })).await;
            let text = message(&probe, MessageKind::PhoneChangeConfirm, number).await;
            let answer = mallory.post("/auth/phone/confirm", json!({ "code": code(&text) })).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        let told = message(&probe, MessageKind::PhoneChangedUndo, "+4915112345678").await;
        assert!(!told.text.contains("token"), "{}", told.text);
    }

    async fn pre_hijacking_by_an_unexpired_change_of_address_fails(probe: Probe) {
        let (_, mut mallory) = claimant(&probe, "mallory", "victim@example.com").await;
        ask(&mut mallory, "mallory@example.com").await;
        let mail = message(&probe, MessageKind::EmailChangeConfirm, "mallory@example.com").await;
        let mut victim = mallory.stranger();
        let body = json!({ "login": "victim@example.com" });
        assert_eq!(victim.post("/auth/password/forgot", body).await.status, 202);
        let reset = message(&probe, MessageKind::PasswordReset, "victim@example.com").await;
        let body = json!({ "token": token(&reset, "/password/reset"), "password": NEW_PASSWORD });
        assert_eq!(victim.post("/auth/password/reset", body).await.status, 204);
        check(&mallory.get("/me").await, 401, "session_ended");
        assert_eq!(mallory.login("mallory", PASSWORD).await.status, 401);
        // The old link does not work in the victim's session either.
        assert_eq!(victim.login("victim@example.com", NEW_PASSWORD).await.status, 200);
        for body in [json!({ "token": token(&mail, "/email/confirm") }), json!({ "code": code(&mail) })] {
            check(&victim.post("/auth/email/confirm", body).await, 403, "wrong_code");
        }
        assert_eq!(email(&probe, "mallory").await.as_deref(), Some("victim@example.com"));
    }

    async fn a_thief_who_resets_the_password_does_not_end_the_owners_way_back(probe: Probe) {
        let (_, mut thief) = person(&probe, "alice").await;
        let undo = change(&probe, &mut thief, "alice@example.com", "thief@example.com").await;
        let mut thief = thief.stranger();
        let body = json!({ "login": "thief@example.com" });
        assert_eq!(thief.post("/auth/password/forgot", body).await.status, 202);
        let reset = message(&probe, MessageKind::PasswordReset, "thief@example.com").await;
        let body = json!({ "token": token(&reset, "/password/reset"), "password": NEW_PASSWORD });
        assert_eq!(thief.post("/auth/password/reset", body).await.status, 204);
        let answer = thief.post("/auth/email/undo", json!({ "token": undo })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        // Then the owner follows the instructions in the mail.
        probe.clock.advance(MINUTE);
        let body = json!({ "login": "alice@example.com" });
        assert_eq!(thief.post("/auth/password/forgot", body).await.status, 202);
        let reset = message(&probe, MessageKind::PasswordReset, "alice@example.com").await;
        assert!(reset.text.contains("/password/reset#token="));
    }

    async fn a_dump_of_the_database_shows_no_token_and_no_code(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        ask(&mut browser, "alice@new.example").await;
        let mail = message(&probe, MessageKind::EmailChangeConfirm, "alice@new.example").await;
        let data = probe.text("SELECT data FROM auth_challenge WHERE purpose = 'email_change'").await.expect("data");
        assert!(data.contains("alice@new.example"));
        for secret in [token(&mail, "/email/confirm"), code(&mail)] {
            assert!(!data.contains(&secret));
        }
        // An attacker who can write to the database cannot redirect a token to another address.
        let forged = data.replace("alice@new.example", "victim@example.com");
        probe.execute(&format!("UPDATE auth_challenge SET data = '{forged}' WHERE purpose = 'email_change'")).await;
        let answer = browser.post("/auth/email/confirm", json!({ "token": token(&mail, "/email/confirm") })).await;
        check(&answer, 403, "wrong_code");
        assert_eq!(email(&probe, "alice").await.as_deref(), Some("alice@example.com"));
    }
}
