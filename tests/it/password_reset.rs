//! Forgotten passwords.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::account::NewAccount;
use portcullis::config::{AttemptKind, AttemptOverrides};
use portcullis::hook::{ChangingPassword, HookResult, Hooks};
use portcullis::{Account, ClientInfo, Config, Factor, Message, MessageKind};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::{Answer, Browser, send};
use crate::support::probe::{app, serve};
use crate::support::{PASSWORD, Probe};

const NEW: &str = "another horse battery staple";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const SECOND: Duration = Duration::from_secs(1);

/// The delays in seconds, from the 6th request on.
const WAITS: [u64; 9] = [1, 2, 4, 8, 16, 32, 60, 60, 60];

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
}

/// Returns the token of the link in a message.
fn token(message: &Message) -> String {
    let (_, rest) = message.text.split_once("#token=").expect("a link");
    rest.split_whitespace().next().expect("a token").to_owned()
}

async fn forgot(browser: &mut Browser, login: &str) -> Answer {
    browser.post("/auth/password/forgot", json!({ "login": login })).await
}

async fn reset(browser: &mut Browser, token: &str, password: &str) -> Answer {
    let body = json!({ "token": token, "password": password });
    browser.post("/auth/password/reset", body).await
}

/// Requests a link and takes it from the mailbox.
async fn ask(probe: &Probe, browser: &mut Browser, login: &str) -> String {
    let before = probe.mail().await.len();
    assert_eq!(forgot(browser, login).await.status, 202);
    let sent = probe.mail().await;
    assert_eq!(sent.len(), before + 1, "one mail");
    token(&sent[before])
}

async fn alice(probe: &Probe) -> (Account, Browser) {
    (probe.register_with_email("alice", "alice@example.com").await, probe.browser().await)
}

async fn look(browser: &mut Browser, token: &str) -> Answer {
    browser.post("/auth/password/reset/check", json!({ "token": token })).await
}

/// Returns everything that a client sees: status, headers without the date, and body.
fn seen(mut answer: Answer) -> (u16, String, String) {
    answer.headers.remove("date");
    (answer.status, format!("{:?}", answer.headers), answer.text)
}

async fn tries(probe: &Probe, kind: AttemptKind, condition: &str) -> i64 {
    let kind = match kind {
        AttemptKind::Forgot => 1,
        AttemptKind::Reset => 2,
        other => panic!("{other:?} is not tested here"),
    };
    // Refused attempts are recorded under a part of their own.
    let count = "SELECT COUNT(*) FROM auth_attempt WHERE part <> -1 AND kind";
    probe.number(&format!("{count} = {kind} AND {condition}")).await
}

/// Locks after this many requests, without delays.
fn locking_at(probe: Probe, limit: u32) -> Probe {
    locking_at_and(probe, limit, |_| {})
}

fn locking_at_and(probe: Probe, limit: u32, more: impl FnOnce(&mut Config)) -> Probe {
    probe.configured(|config| {
        more(config);
        let mut own = AttemptOverrides::default();
        own.limit = Some(limit);
        own.first_delay = Some(Duration::ZERO);
        config.attempts.kinds.insert(AttemptKind::Forgot, own);
    })
}

/// A hook that fails while the flag is set.
#[derive(Clone, Default)]
struct Moody(Arc<AtomicBool>);

impl Hooks for Moody {
    async fn after_password_change(
        &self,
        _: ChangingPassword<'_>,
        _: &sea_orm::DatabaseTransaction,
    ) -> HookResult {
        if self.0.load(Ordering::SeqCst) { Err("not now".into()) } else { Ok(()) }
    }
}

on_every_database! {
    async fn a_link_by_mail_sets_a_new_password_once(probe: Probe) {
        let (account, mut browser) = alice(&probe).await;
        let mut signed_in = browser.stranger();
        assert_eq!(signed_in.login("alice", PASSWORD).await.status, 200);
        let answer = forgot(&mut browser, "alice@example.com").await;
        assert_eq!((answer.status, answer.json()), (202, json!({ "result": "accepted" })));
        let [mail] = &probe.mail().await[..] else { panic!("one mail") };
        assert_eq!((mail.kind, mail.account_id), (MessageKind::PasswordReset, Some(account.id())));
        assert_eq!(mail.to.as_str(), "alice@example.com");
        assert!(mail.text.contains("60 minutes"), "{}", mail.text);
        let token = token(mail);
        assert!(mail.text.contains(&format!("https://app.example.com/password/reset#token={token}")));
        assert_eq!(token.len(), 43, "256 bits");

        // Checking the link does not use it up.
        for _ in 0..5 {
            let answer = browser.post("/auth/password/reset/check", json!({ "token": token })).await;
            assert_eq!(answer.status, 204, "{}", answer.text);
        }
        let answer = reset(&mut browser, &token, NEW).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
        assert!(answer.cookie().is_none(), "nobody is signed in");
        check(&signed_in.get("/me").await, 401, "session_ended");
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 401);
        assert_eq!(browser.stranger().login("alice", NEW).await.status, 200);

        // The owner gets a notice, without a link that signs in.
        let sent = probe.mail().await;
        let told = sent.iter().find(|mail| mail.kind == MessageKind::PasswordChanged);
        let told = told.expect("a notice");
        assert!(told.text.contains("127.0.0.1") && !told.text.contains("token"));
        let log = probe.auth.audit_log().of_account(account.id(), 20).await.expect("the log");
        for kind in ["authn_password_reset_request", "authn_password_reset"] {
            let event = log.iter().find(|event| event.kind == kind).expect(kind);
            assert_eq!(event.address.as_deref(), Some("127.0.0.1"));
        }

        probe.clock.advance(MINUTE);
        check(&reset(&mut browser, &token, PASSWORD).await, 400, "invalid_reset_token");
        let answer = browser.post("/auth/password/reset/check", json!({ "token": token })).await;
        check(&answer, 400, "invalid_reset_token");
        assert_eq!(browser.stranger().login("alice", NEW).await.status, 200);
    }

    async fn no_answer_to_a_request_for_a_link_comes_before_all_the_work_is_done(probe: Probe) {
        let alice = probe.register_with_email("alice", "alice@example.com").await;
        let bob = probe.register_with_email("bob", "bob@example.com").await;
        probe.auth.accounts().disable(bob.id()).await.expect("it is disabled");
        let (auth, client) = (&probe.auth, ClientInfo::default());
        for name in ["alice@example.com", "bob@example.com", "nobody@example.com", "nobody at all"] {
            let started = tokio::time::Instant::now();
            auth.password_reset().forgot(name, &client).await.expect("it is accepted");
            assert!(started.elapsed() >= Duration::from_millis(25), "forgot {name}");
            let started = tokio::time::Instant::now();
            if auth.verification().send(name, &ClientInfo::default()).await.is_ok() {
                assert!(started.elapsed() >= Duration::from_millis(25), "proof {name}");
            }
        }
        // The time does not show either whether a request was held back or refused.
        for _ in 0..20 {
            let started = tokio::time::Instant::now();
            auth.password_reset().forgot("alice", &client).await.expect("it is accepted");
            assert!(started.elapsed() >= Duration::from_millis(25));
        }
        let forgot = auth.attempts().refused_until(alice.id(), AttemptKind::Forgot).await;
        assert!(forgot.expect("the database answers").is_some(), "some of them were refused");
    }

    async fn the_answer_and_the_work_are_the_same_for_every_name(probe: Probe) {
        let mut browser = probe.browser().await;
        let accounts = probe.auth.accounts();
        let usual = probe.register_with_email("usual", "usual@example.com").await;
        accounts.verify(usual.id()).await.expect("it is verified");
        probe.register_with_email("unverified", "unverified@example.com").await;
        let disabled = probe.register_with_email("disabled", "disabled@example.com").await;
        accounts.disable(disabled.id()).await.expect("it is disabled");
        let deleted = probe.register_with_email("deleted", "deleted@example.com").await;
        accounts.delete(deleted.id()).await.expect("it is deleted");
        accounts.create(NewAccount::email("passwordless@example.com")).await.expect("it is made");
        probe.register("addressless").await;
        let mut seen = Vec::new();
        let long = format!("{}@example.com", "x".repeat(5000));
        for login in [
            "usual",
            "USUAL@example.com", // within the cool-down: held back
            "unverified@example.com",
            "disabled@example.com",
            "deleted",
            "passwordless@example.com",
            "addressless",
            "nobody",
            "nobody", // within the cool-down
            "nobody@example.com",
            "",
            " ",
            "a@b@c",
            "evil@example.com,usual@example.com",
            "usual@example.com\r\nBcc: evil@example.com",
            "+4915112345678",
            "\u{202e}",
            &long,
        ] {
            let (answer, statements) = probe.statements(forgot(&mut browser, login)).await;
            let mut headers = answer.headers.clone();
            headers.remove("date");
            seen.push((answer.status, answer.text, format!("{headers:?}"), statements));
        }
        assert_eq!(seen[0].0, 202);
        for other in &seen {
            assert_eq!(other, &seen[0]);
        }
        let mut mailed: Vec<_> =
            probe.mail().await.iter().map(|mail| mail.to.as_str().to_owned()).collect();
        mailed.sort();
        assert_eq!(mailed, ["passwordless@example.com", "unverified@example.com", "usual@example.com"]);
    }

    async fn a_change_of_anything_it_is_bound_to_kills_a_link(probe: Probe) {
        let mut browser = probe.browser().await;
        let accounts = probe.auth.accounts();
        let changes = ["nothing", "login", "password", "newer", "email", "disabled", "back", "epoch", "deleted", "time"];
        for change in changes {
            let email = format!("{change}@example.com");
            let account = probe.register_with_email(change, &email).await;
            let mut token = ask(&probe, &mut browser, change).await;
            let mut good = false;
            match change {
                "login" => assert_eq!(browser.stranger().login(change, PASSWORD).await.status, 200),
                "password" => {
                    // Signs in before, so that only the password changes.
                    let mut other = browser.stranger();
                    other.login(change, PASSWORD).await;
                    probe.clock.advance(MINUTE);
                    token = ask(&probe, &mut browser, change).await;
                    let body = json!({ "current_password": PASSWORD, "new_password": NEW });
                    assert_eq!(other.put("/auth/password", body).await.status, 200);
                }
                "newer" => {
                    probe.clock.advance(MINUTE);
                    let newer = ask(&probe, &mut browser, change).await;
                    assert_ne!(newer, token);
                    check(&reset(&mut browser, &token, NEW).await, 400, "invalid_reset_token");
                    token = newer;
                    good = true;
                }
                "email" => {
                    probe.execute("UPDATE auth_account SET version = version + 1, email = 'e@example.com' WHERE username = 'email'").await;
                }
                "disabled" => accounts.disable(account.id()).await.expect("it is disabled"),
                "back" => {
                    accounts.disable(account.id()).await.expect("it is disabled");
                    accounts.enable(account.id()).await.expect("it is enabled");
                }
                "epoch" => accounts.set_enrolled_factors(account.id(), []).await.expect("it is set"),
                "deleted" => accounts.delete(account.id()).await.expect("it is deleted"),
                "time" => probe.clock.advance(HOUR),
                _ => {
                    probe.clock.advance(HOUR - Duration::from_millis(1));
                    good = true;
                }
            }
            let looked = browser.post("/auth/password/reset/check", json!({ "token": token })).await;
            let answer = reset(&mut browser, &token, "yet another horse staple").await;
            if good {
                assert_eq!((looked.status, answer.status), (204, 204), "{change}: {}", answer.text);
            } else {
                check(&looked, 400, "invalid_reset_token");
                check(&answer, 400, "invalid_reset_token");
            }
        }
    }

    async fn of_a_hundred_who_use_a_link_at_once_one_wins(probe: Probe) {
        // The losers use a link that is already used. This counts for their source.
        let probe = probe.configured(|config| config.attempts.source_limit = None);
        let (_, mut browser) = alice(&probe).await;
        let token = ask(&probe, &mut browser, "alice").await;
        let mut racers = JoinSet::new();
        for number in 0..100 {
            let (mut browser, token) = (browser.clone(), token.clone());
            racers.spawn(async move {
                let password = format!("{NEW} {number}");
                let answer = reset(&mut browser, &token, &password).await;
                (answer.status, password)
            });
        }
        let results = racers.join_all().await;
        let winners: Vec<_> = results.iter().filter(|(status, _)| *status == 204).collect();
        let [(_, password)] = &winners[..] else { panic!("{} won", winners.len()) };
        for (status, _) in &results {
            assert!([204, 409, 503].contains(status), "{status}");
        }
        assert_eq!(browser.login("alice", password).await.status, 200);
        let done = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_password_reset'";
        assert_eq!(probe.number(done).await, 1);
        let notices = probe.mail().await;
        assert_eq!(notices.iter().filter(|mail| mail.kind == MessageKind::PasswordChanged).count(), 1);
    }

    async fn a_second_click_is_told_for_a_minute_that_the_first_one_worked(probe: Probe) {
        let (_, mut browser) = alice(&probe).await;
        let token = ask(&probe, &mut browser, "alice").await;
        let from = |agent: &str| {
            let request = browser.request(Method::POST, "/auth/password/reset");
            request.header("user-agent", agent).json(&json!({ "token": token, "password": NEW }))
        };
        // Any number of clicks at once: the second request is sent before the first is answered.
        let mut clicks = JoinSet::new();
        for _ in 0..16 {
            clicks.spawn(send(from("Mozilla/5.0 Firefox/150.0")));
        }
        let answers = clicks.join_all().await;
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(204), count(409)), (1, 15), "{answers:?}");
        let told = answers.iter().find(|answer| answer.status == 409).expect("one");
        check(told, 409, "reset_token_used");
        assert!(told.set_cookies().is_empty());
        // This does not count as a failure.
        assert_eq!(tries(&probe, AttemptKind::Reset, "outcome = 1").await, 0);
        // Another client with the link gets the answer that everybody gets.
        check(&send(from("curl/8.0")).await, 400, "invalid_reset_token");
        probe.clock.advance(MINUTE - Duration::from_millis(1));
        check(&send(from("Mozilla/5.0 Firefox/150.0")).await, 409, "reset_token_used");
        probe.clock.advance(Duration::from_millis(1));
        check(&send(from("Mozilla/5.0 Firefox/150.0")).await, 400, "invalid_reset_token");
        assert_eq!(browser.stranger().login("alice", NEW).await.status, 200);
    }

    async fn a_second_click_that_carries_the_cookies_of_the_first_answer_is_told_too(probe: Probe) {
        let (_, browser) = alice(&probe).await;
        let mut known = browser.stranger();
        assert_eq!(known.login("alice", PASSWORD).await.status, 200);
        // With the old cookie of its device, and without one.
        for mut browser in [known, browser.stranger()] {
            let token = ask(&probe, &mut browser, "alice").await;
            let first = reset(&mut browser, &token, NEW).await;
            assert_eq!(first.status, 204, "{}", first.text);
            assert!(!first.set_cookies().is_empty(), "its device is known from now on");
            check(&reset(&mut browser, &token, NEW).await, 409, "reset_token_used");
            let body = json!({ "token": token });
            let answer = browser.post("/auth/password/reset/check", body).await;
            check(&answer, 409, "reset_token_used");
        }
        assert_eq!(tries(&probe, AttemptKind::Reset, "outcome = 1").await, 0);
    }

    async fn a_link_that_was_never_used_tells_nothing(probe: Probe) {
        let (_, mut browser) = alice(&probe).await;
        let token = ask(&probe, &mut browser, "alice").await;
        // A newer link replaces the older one.
        probe.clock.advance(MINUTE);
        let newer = ask(&probe, &mut browser, "alice").await;
        assert_eq!(reset(&mut browser, &newer, NEW).await.status, 204);
        check(&reset(&mut browser, &token, NEW).await, 400, "invalid_reset_token");
        // Without a known address there is no known browser.
        probe.clock.advance(MINUTE);
        let second = ask(&probe, &mut browser, "alice").await;
        let (client, resets) = (ClientInfo::default(), probe.auth.password_reset());
        let _ = resets.reset(&second, PASSWORD, &client).await.expect("it is set");
        let again = resets.reset(&second, PASSWORD, &client).await.expect_err("it is spent");
        assert_eq!(portcullis::Problem::code(&again), "invalid_reset_token");
    }

    async fn a_password_that_cannot_be_used_leaves_the_link_good(probe: Probe) {
        let (_, mut browser) = alice(&probe).await;
        let token = ask(&probe, &mut browser, "alice").await;
        for bad in ["", "short", &"a".repeat(1025), "alice@example.com"] {
            let answer = reset(&mut browser, &token, bad).await;
            assert!(!answer.field_codes("password").is_empty());
        }
        // A wrong token reveals nothing about the password rules.
        check(&reset(&mut browser, "wrong", "short").await, 400, "invalid_reset_token");
        assert_eq!(reset(&mut browser, &token, NEW).await.status, 204);
    }

    async fn a_hook_that_fails_leaves_everything_as_it_was(probe: Probe) {
        let moody = Moody::default();
        let auth = probe.rebuilt(|builder| builder.hooks(moody.clone()));
        let (_, browser) = alice(&probe).await;
        let mut browser = browser.at(serve(app(&auth)).await);
        let token = ask(&probe, &mut browser, "alice").await;
        moody.0.store(true, Ordering::SeqCst);
        check(&reset(&mut browser, &token, NEW).await, 503, "unavailable");
        assert_eq!(browser.stranger().login("bob", PASSWORD).await.status, 401);
        assert_eq!(probe.mail().await.len(), 1, "nobody is told of what was not done");
        moody.0.store(false, Ordering::SeqCst);
        assert_eq!(reset(&mut browser, &token, NEW).await.status, 204);
        assert_eq!(browser.stranger().login("alice", NEW).await.status, 200);
    }

    async fn second_factors_of_a_verified_address_stay(probe: Probe) {
        let (account, mut browser) = alice(&probe).await;
        probe.auth.accounts().verify(account.id()).await.expect("it is verified");
        probe.auth.accounts().set_enrolled_factors(account.id(), [Factor::Totp]).await.expect("it is set");
        let token = ask(&probe, &mut browser, "alice").await;
        let answer = reset(&mut browser, &token, NEW).await;
        assert_eq!(answer.status, 204);
        // The mailbox proves no second factor, so it gives no count of guesses at one.
        assert_eq!((answer.set_cookies(), browser.device.as_ref()), (Vec::new(), None));
        let answer = browser.login("alice", NEW).await;
        assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
        check(&browser.get("/me").await, 401, "second_factor_required");
    }

    /// Classic pre-hijacking: an attacker registers with another person's address and waits.
    async fn who_receives_the_mail_of_an_unverified_account_owns_it_alone(probe: Probe) {
        let (account, mut victim) = alice(&probe).await;
        let mut attacker = victim.stranger();
        assert_eq!(attacker.login("alice", PASSWORD).await.status, 200);
        // A factor cannot be enrolled while the address is unverified. If there is one anyway, it
        // is removed, and the owner is told.
        probe.execute("UPDATE auth_account SET version = version + 1, enrolled_factors = 8").await;
        let token = ask(&probe, &mut victim, "alice@example.com").await;
        assert_eq!(reset(&mut victim, &token, NEW).await.status, 204);
        let told = probe.mail().await;
        assert_eq!(told.iter().filter(|mail| mail.kind == MessageKind::FactorRemoved).count(), 1);
        let log = probe.auth.audit_log().of_account(account.id(), 20).await.expect("the log");
        assert!(log.iter().any(|event| event.detail.as_deref() == Some("factors removed")));
        check(&attacker.get("/me").await, 401, "session_ended");
        assert_eq!(attacker.login("alice", PASSWORD).await.status, 401);
        let answer = victim.login("alice@example.com", NEW).await;
        assert_eq!(answer.json()["result"], "session", "{}", answer.text);
        let account = probe.auth.accounts().find(account.id()).await.expect("it is found");
        assert!(account.expect("it is there").is_verified());
    }

    async fn a_reset_lets_an_account_in_that_had_to_be_verified(probe: Probe) {
        let probe = probe.configured(|config| config.login.require_verified = true);
        let (_, mut browser) = alice(&probe).await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 401);
        // The right password requests a verification mail, in parallel to the answer.
        crate::registration::messages_are_written(&probe, 1).await;
        let token = ask(&probe, &mut browser, "alice").await;
        assert_eq!(reset(&mut browser, &token, NEW).await.status, 204);
        assert_eq!(browser.login("alice", NEW).await.status, 200);
    }

    async fn a_reset_lets_in_an_owner_that_strangers_have_locked_out(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.limit = 2);
        let (_, mut browser) = alice(&probe).await;
        probe.register_with_email("bob", "bob@example.com").await;
        for name in ["alice", "bob"] {
            for _ in 0..2 {
                assert_eq!(browser.stranger().login(name, "wrong").await.status, 401);
            }
            assert_eq!(browser.stranger().login(name, PASSWORD).await.status, 401, "locked");
        }
        let token = ask(&probe, &mut browser, "alice").await;
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 401, "still locked");
        assert_eq!(reset(&mut browser, &token, NEW).await.status, 204);
        assert_eq!(browser.stranger().login("alice", NEW).await.status, 200);
        assert_eq!(browser.stranger().login("bob", PASSWORD).await.status, 401, "the lock of bob stays");
    }

    async fn an_account_without_a_password_gets_its_first(probe: Probe) {
        let mut browser = probe.browser().await;
        probe.auth.accounts().create(NewAccount::email("carol@example.com")).await.expect("it is made");
        assert_eq!(browser.login("carol@example.com", "").await.status, 401);
        let token = ask(&probe, &mut browser, "carol@example.com").await;
        assert_eq!(reset(&mut browser, &token, NEW).await.status, 204);
        assert_eq!(browser.login("carol@example.com", NEW).await.status, 200);
    }

    async fn the_link_comes_from_the_configuration_whatever_the_request_says(probe: Probe) {
        let (_, mut browser) = alice(&probe).await;
        let request = browser
            .request(Method::POST, "/auth/password/forgot")
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("forwarded", "host=evil.example;proto=http")
            .header("x-original-url", "https://evil.example/")
            .header("referer", "https://evil.example/")
            .json(&json!({ "login": "alice" }));
        assert_eq!(browser.send(request).await.status, 202);
        let [mail] = &probe.mail().await[..] else { panic!("one mail") };
        for words in [&mail.text, mail.html.as_ref().expect("HTML"), &mail.subject] {
            assert!(!words.contains("evil"), "{words}");
        }
        assert!(mail.text.contains("https://app.example.com/password/reset#token="));
    }

    async fn whose_password_it_is_comes_from_the_token_alone(probe: Probe) {
        let (_, mut browser) = alice(&probe).await;
        let bob = probe.register_with_email("bob", "bob@example.com").await;
        let token = ask(&probe, &mut browser, "alice").await;
        for field in ["account_id", "login", "email", "user", "id", "verified"] {
            let mut body = json!({ "token": token, "password": NEW });
            body[field] = bob.id().to_string().into();
            check(&browser.post("/auth/password/reset", body).await, 400, "invalid_body");
            let mut body = json!({ "login": "alice" });
            body[field] = "bob@example.com".into();
            if field != "login" {
                check(&browser.post("/auth/password/forgot", body).await, 400, "invalid_body");
            }
        }
        // In a session of another account, the reset still applies to the account of the token.
        browser.login("bob", PASSWORD).await;
        assert_eq!(reset(&mut browser, &token, NEW).await.status, 204);
        assert_eq!(browser.get("/me").await.text, bob.id().to_string());
        assert_eq!(browser.stranger().login("bob", PASSWORD).await.status, 200);
        assert_eq!(browser.stranger().login("alice", NEW).await.status, 200);
    }

    async fn nothing_but_the_token_is_one(probe: Probe) {
        let (account, mut browser) = alice(&probe).await;
        let token = ask(&probe, &mut browser, "alice").await;
        let row = probe.hex_dump("auth_challenge").await;
        let hex = |text: &str| data_hex(text.as_bytes());
        assert!(row.iter().all(|value| !value.contains(&hex(&token))), "the table has the token");
        let flipped: String = token.chars().map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
        let mut tries = vec![
            String::new(), flipped, token[1..].to_owned(), format!("{token}A"), format!(" {token}"),
            format!("{token}="), "é".repeat(43), "x".repeat(15_000), account.id().to_string(), "A".repeat(43),
        ];
        tries.extend(row);
        for wrong in tries {
            let answer = reset(&mut browser, &wrong, NEW).await;
            assert!([400, 413].contains(&answer.status), "{}", answer.text);
        }
        for wrong in [json!({ "token": 7 }), json!({ "token": null }), json!({ "token": [token] }), json!({})] {
            let answer = browser.post("/auth/password/reset/check", wrong).await;
            check(&answer, 400, "invalid_body");
        }
        assert_eq!(reset(&mut browser, &token, NEW).await.status, 204);
    }

    async fn a_scanner_that_opens_links_and_a_page_of_another_site_spend_nothing(probe: Probe) {
        let (_, mut browser) = alice(&probe).await;
        let token = ask(&probe, &mut browser, "alice").await;
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
            for path in ["/auth/password/reset", "/auth/password/forgot", "/auth/password/reset/check"] {
                let request = browser.request(method.clone(), &format!("{path}?token={token}"));
                let answer = browser.send(request).await;
                assert_eq!(answer.status, 405, "{method} {path}");
            }
        }
        // The request is refused even without a cookie.
        let request = browser
            .raw(Method::POST, "/auth/password/reset")
            .header("sec-fetch-site", "cross-site")
            .json(&json!({ "token": token, "password": NEW }));
        check(&send(request).await, 403, "cross_site_request");
        let request = browser
            .raw(Method::POST, "/auth/password/forgot")
            .header("sec-fetch-site", "cross-site")
            .json(&json!({ "login": "alice" }));
        check(&send(request).await, 403, "cross_site_request");
        assert_eq!(probe.mail().await.len(), 1);
        let answer = reset(&mut browser, &token, NEW).await;
        assert_eq!((answer.status, answer.headers["cache-control"].as_bytes()), (204, &b"no-store"[..]));
    }

    async fn asking_again_at_once_leaves_the_first_link_good(probe: Probe) {
        let (_, mut browser) = alice(&probe).await;
        let token = ask(&probe, &mut browser, "alice").await;
        for login in ["alice", "ALICE@EXAMPLE.COM", "alice@example.com"] {
            assert_eq!(forgot(&mut browser, login).await.status, 202);
        }
        assert_eq!(probe.mail().await.len(), 1, "nobody's mailbox is filled");
        assert_eq!(reset(&mut browser, &token, NEW).await.status, 204);
    }

    async fn a_mailbox_gets_five_links_an_hour_however_many_ask(probe: Probe) {
        // Avoids the lock of requests, which is not tested here.
        let probe = locking_at(probe, 100);
        let (_, browser) = alice(&probe).await;
        let mut racers = JoinSet::new();
        for _ in 0..50 {
            let mut browser = browser.clone();
            racers.spawn(async move { forgot(&mut browser, "alice").await.status });
        }
        for status in racers.join_all().await {
            assert!([202, 503].contains(&status), "{status}");
        }
        assert_eq!(probe.mail().await.len(), 1);
        let mut browser = browser;
        for minute in 1..59 {
            probe.clock.advance(MINUTE);
            assert_eq!(forgot(&mut browser, "alice").await.status, 202, "minute {minute}");
        }
        assert_eq!(probe.mail().await.len(), 5);
        probe.clock.advance(MINUTE);
        assert_eq!(forgot(&mut browser, "alice").await.status, 202);
        probe.clock.advance(MINUTE);
        assert_eq!(forgot(&mut browser, "alice").await.status, 202);
        assert!(probe.mail().await.len() > 5, "the next hour");
    }

    async fn requests_are_delayed_and_locked_alike_for_every_name(probe: Probe) {
        let (_, mut browser) = alice(&probe).await;
        let accounts = probe.auth.accounts();
        let disabled = probe.register_with_email("disabled", "disabled@example.com").await;
        accounts.disable(disabled.id()).await.expect("it is disabled");
        let mut all = Vec::new();
        for login in ["alice", "disabled", "nobody", "nobody@example.com", "a@b@c"] {
            let mut course = Vec::new();
            for number in 0..20_usize {
                let before = tries(&probe, AttemptKind::Forgot, "1 = 1").await;
                let (answer, statements) = probe.statements(forgot(&mut browser, login)).await;
                let counted = tries(&probe, AttemptKind::Forgot, "1 = 1").await - before;
                // The first refusal of a minute writes a denial in parallel to the request.
                let statements = if number < 15 { statements } else { 0 };
                course.push((seen(answer), counted, statements));
                let wait = (number + 1).checked_sub(6).and_then(|at| WAITS.get(at));
                probe.clock.advance(Duration::from_secs(wait.copied().unwrap_or(0)));
            }
            let counted: Vec<_> = course.iter().map(|(_, counted, _)| *counted).collect();
            assert_eq!(counted, [[1; 15].as_slice(), &[0; 5]].concat(), "{login}");
            all.push((login, course));
            // In the last second of the lock a request is still refused. In the next second it
            // counts.
            probe.clock.advance(HOUR);
            for (wait, counts) in [(Duration::ZERO, 15), (SECOND, 16)] {
                probe.clock.advance(wait);
                let before = tries(&probe, AttemptKind::Forgot, "1 = 1").await;
                assert_eq!(forgot(&mut browser, login).await.status, 202);
                let now = tries(&probe, AttemptKind::Forgot, "1 = 1").await;
                assert_eq!(now - before, counts - 15, "{login}");
            }
        }
        for (login, course) in &all {
            assert_eq!(course, &all[0].1, "{login}");
            assert!(course.iter().all(|(seen, ..)| seen == &course[0].0), "{login}");
        }
        let mails = probe.mail().await;
        assert!(mails.iter().all(|mail| mail.to.as_str() == "alice@example.com"));
        assert!(mails.iter().all(|mail| mail.kind == MessageKind::PasswordReset), "of locks of sign-ins only");
        let locks = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_lock' AND detail = 'forgot'";
        assert_eq!(probe.number(locks).await, 5);
        assert_eq!(probe.auth.attempts().busy(), 0, "nobody is left in line");
    }

    async fn requests_are_delayed_from_the_sixth_to_the_millisecond(probe: Probe) {
        let (_, mut browser) = alice(&probe).await;
        let moment = Duration::from_millis(1);
        for login in ["alice", "nobody"] {
            let before = tries(&probe, AttemptKind::Forgot, "1 = 1").await;
            let counted = async || tries(&probe, AttemptKind::Forgot, "1 = 1").await - before;
            for _ in 0..6 {
                assert_eq!(forgot(&mut browser, login).await.status, 202);
            }
            assert_eq!(counted().await, 6);
            for (wait, after) in WAITS.into_iter().zip(7..) {
                probe.clock.advance(Duration::from_secs(wait) - moment);
                assert_eq!(forgot(&mut browser, login).await.status, 202);
                assert_eq!(counted().await, after - 1, "{wait} s are not over");
                probe.clock.advance(moment);
                assert_eq!(forgot(&mut browser, login).await.status, 202);
                assert_eq!(counted().await, after, "{wait} s are over");
            }
        }
    }

    async fn a_refused_request_does_the_work_of_one_for_an_unknown_name(probe: Probe) {
        let probe = locking_at(probe, 2);
        let (_, mut browser) = alice(&probe).await;
        for login in ["alice", "nobody"] {
            for _ in 0..2 {
                assert_eq!(forgot(&mut browser, login).await.status, 202);
            }
            let mails = probe.mail().await.len();
            for number in 0..3 {
                probe.clock.advance(2 * MINUTE);
                let unknown = format!("somebody-{login}-{number}");
                let (answer, expected) = probe.statements(forgot(&mut browser, &unknown)).await;
                let refused = probe.auth.attempts().refused();
                let (same, statements) = probe.statements(forgot(&mut browser, login)).await;
                assert_eq!(probe.auth.attempts().refused() - refused, 1);
                assert_eq!((same.status, same.text, statements), (202, answer.text, expected));
            }
            assert_eq!(probe.mail().await.len(), mails, "nothing leaves");
        }
    }

    async fn where_locks_are_told_a_refused_request_says_when_to_come_back(probe: Probe) {
        let probe = locking_at_and(probe, 2, |config| {
            config.attempts.reveal_lockout = true;
            config.attempts.source_limit = Some(10);
        });
        let (_, mut browser) = alice(&probe).await;
        for login in ["alice", "nobody"] {
            for _ in 0..2 {
                assert_eq!(forgot(&mut browser, login).await.status, 202);
            }
            let answer = forgot(&mut browser, login).await;
            check(&answer, 429, "too_many_attempts");
            assert_eq!(answer.headers["retry-after"], "3601");
        }
        for number in 0..6 {
            check(&look(&mut browser, &format!("guess {number}")).await, 400, "invalid_reset_token");
        }
        for answer in [look(&mut browser, "guess").await, reset(&mut browser, "guess", NEW).await] {
            check(&answer, 429, "too_many_attempts");
            assert_eq!(answer.headers["retry-after"], "601");
        }
    }

    async fn all_spellings_of_an_account_are_one_counter_of_requests(probe: Probe) {
        let probe = locking_at(probe, 4);
        let (_, mut browser) = alice(&probe).await;
        for login in ["alice", "ALICE", "Ａｌｉｃｅ", "Alice@Example.com", "alice@example.com", " alice"] {
            assert_eq!(forgot(&mut browser, login).await.status, 202);
        }
        assert_eq!(tries(&probe, AttemptKind::Forgot, "1 = 1").await, 4, "a blank makes no other name");
        for login in ["nobody", "NOBODY", "Nobody", "ＮＯＢＯＤＹ", "nobody"] {
            assert_eq!(forgot(&mut browser, login).await.status, 202);
        }
        assert_eq!(tries(&probe, AttemptKind::Forgot, "1 = 1").await, 4 + 4);
    }

    async fn of_fifty_requests_at_once_no_more_than_the_limit_are_counted(probe: Probe) {
        // Fifty requests wait for each other here, perhaps on a busy machine.
        let patient = |config: &mut Config| config.database.timeout = Duration::from_secs(60);
        let probe = locking_at_and(probe, 15, patient);
        let (_, browser) = alice(&probe).await;
        for (login, counted) in [("alice", 15), ("nobody", 30)] {
            let mut racers = JoinSet::new();
            for _ in 0..50 {
                let mut browser = browser.clone();
                racers.spawn(async move { forgot(&mut browser, login).await.status });
            }
            assert_eq!(racers.join_all().await, [202; 50]);
            assert_eq!(tries(&probe, AttemptKind::Forgot, "outcome = 1").await, counted);
        }
        assert_eq!(tries(&probe, AttemptKind::Forgot, "outcome <> 1").await, 0);
    }

    async fn the_owner_on_a_known_device_asks_while_strangers_keep_requests_locked(probe: Probe) {
        let probe = locking_at(probe, 2);
        let (_, mut owner) = alice(&probe).await;
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
        assert_eq!(owner.post_empty("/auth/logout").await.status, 204);
        let mut stranger = owner.stranger();
        for _ in 0..3 {
            assert_eq!(forgot(&mut stranger, "alice").await.status, 202);
        }
        probe.clock.advance(2 * MINUTE);
        let mails = probe.mail().await.len();
        assert_eq!(forgot(&mut stranger, "alice").await.status, 202);
        assert_eq!(probe.mail().await.len(), mails, "locked");
        let token = ask(&probe, &mut owner, "alice").await;
        // The limit of a source does not stop the owner either. Another client at the same address
        // may have reached it.
        let probe = probe.configured(|config| config.attempts.source_limit = Some(1));
        let mut owner = owner.at(serve(app(&probe.auth)).await);
        let mut stranger = owner.stranger();
        check(&look(&mut stranger, &token).await, 400, "invalid_reset_token");
        assert_eq!(look(&mut owner, &token).await.status, 204);
        assert_eq!(reset(&mut owner, &token, NEW).await.status, 204);
    }

    async fn a_reset_closes_the_windows_of_its_own_account_and_of_no_source(probe: Probe) {
        let probe = locking_at(probe, 3);
        let (_, mut browser) = alice(&probe).await;
        probe.register_with_email("bob", "bob@example.com").await;
        for login in ["alice", "bob", "nobody"] {
            for _ in 0..5 {
                assert_eq!(forgot(&mut browser, login).await.status, 202);
            }
        }
        assert_eq!(tries(&probe, AttemptKind::Forgot, "outcome = 1").await, 9);
        let sent = probe.mail().await;
        let mail = sent.iter().find(|mail| mail.to.as_str() == "alice@example.com");
        assert_eq!(reset(&mut browser, &token(mail.expect("a mail")), NEW).await.status, 204);
        // The failures stay recorded for their source. The success comes after them.
        assert_eq!(tries(&probe, AttemptKind::Forgot, "outcome = 1").await, 9);
        assert_eq!(tries(&probe, AttemptKind::Forgot, "outcome = 2").await, 1);
        assert_eq!(tries(&probe, AttemptKind::Reset, "outcome = 2").await, 1);
        for login in ["alice", "bob", "nobody"] {
            assert_eq!(forgot(&mut browser, login).await.status, 202);
        }
        assert_eq!(tries(&probe, AttemptKind::Forgot, "outcome = 1").await, 10, "alice's alone");
    }

    async fn tokens_that_are_no_good_are_counted_by_their_source_wherever_they_are_tried(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.source_limit = Some(20));
        let (account, mut browser) = alice(&probe).await;
        let used = ask(&probe, &mut browser, "alice").await;
        assert_eq!(reset(&mut browser, &used, NEW).await.status, 204);
        // On a known device these failures would not count.
        browser.device = None;
        probe.clock.advance(HOUR);
        let good = ask(&probe, &mut browser, "alice").await;
        // Checking a valid link is no attempt.
        for _ in 0..30 {
            assert_eq!(look(&mut browser, &good).await.status, 204);
        }
        assert_eq!(tries(&probe, AttemptKind::Reset, "1 = 1").await, 1, "the reset above");
        let mut wrong = Vec::new();
        for number in 0..9 {
            wrong.push(seen(look(&mut browser, &used).await));
            let guess = format!("{number}{}", &good[..42]);
            wrong.push(seen(reset(&mut browser, &guess, PASSWORD).await));
        }
        // The request for the link before counts too.
        wrong.push(seen(look(&mut browser, "").await));
        assert_eq!(tries(&probe, AttemptKind::Reset, "outcome = 1").await, 19);
        // The source is full now. So nobody learns whether they have found a valid link.
        for _ in 0..3 {
            wrong.push(seen(look(&mut browser, &good).await));
            wrong.push(seen(reset(&mut browser, &good, PASSWORD).await));
            wrong.push(seen(look(&mut browser, &used).await));
        }
        assert!(wrong.iter().all(|answer| answer == &wrong[0]), "{wrong:?}");
        assert_eq!(wrong[0].0, 400);
        assert_eq!(tries(&probe, AttemptKind::Reset, "outcome = 1").await, 19);
        let log = probe.auth.audit_log().of_account(account.id(), 50).await.expect("the log");
        let failed: Vec<_> =
            log.iter().filter(|event| event.kind == "authn_password_reset_fail").collect();
        assert_eq!(failed.len(), 9, "of the used one");
        assert!(failed.iter().all(|event| !event.succeeded));
        let subjects = "SELECT COUNT(*) FROM (SELECT DISTINCT subject FROM auth_attempt WHERE part <> -1 AND kind = 2) s";
        assert_eq!(probe.number(subjects).await, 1 + 9 + 1, "the account, and each guess by itself");
        probe.clock.advance(Duration::from_secs(600));
        check(&look(&mut browser, &good).await, 400, "invalid_reset_token");
        probe.clock.advance(SECOND);
        assert_eq!(reset(&mut browser, &good, PASSWORD).await.status, 204);
    }

    async fn no_lock_keeps_a_good_link_from_being_used(probe: Probe) {
        let probe = locking_at_and(probe, 3, |config| config.attempts.source_limit = None);
        let (_, mut browser) = alice(&probe).await;
        let used = ask(&probe, &mut browser, "alice").await;
        assert_eq!(reset(&mut browser, &used, NEW).await.status, 204);
        probe.clock.advance(2 * MINUTE);
        let good = ask(&probe, &mut browser, "alice").await;
        for _ in 0..3 {
            assert_eq!(forgot(&mut browser, "alice").await.status, 202);
        }
        for _ in 0..8 {
            assert_eq!(browser.stranger().login("alice", "wrong horse battery").await.status, 401);
        }
        assert_eq!(browser.stranger().login("alice", NEW).await.status, 401, "refused for now");
        // A stranger has found an old link.
        let mut racers = JoinSet::new();
        for _ in 0..50 {
            let (mut browser, used) = (browser.stranger(), used.clone());
            racers.spawn(async move { reset(&mut browser, &used, PASSWORD).await.status });
        }
        assert!(racers.join_all().await.iter().all(|status| *status == 400));
        assert_eq!(tries(&probe, AttemptKind::Reset, "outcome = 1").await, 50, "each is on record");
        assert_eq!(look(&mut browser, &good).await.status, 204);
        assert_eq!(reset(&mut browser, &good, PASSWORD).await.status, 204);
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
    }

    async fn the_method_without_a_route_does_the_same(probe: Probe) {
        let (_, mut browser) = alice(&probe).await;
        let client = ClientInfo::default();
        let flow = probe.auth.password_reset();
        flow.forgot("alice", &client).await.expect("it is asked for");
        let token = token(&probe.mail().await[0]);
        flow.check(&token, &client).await.expect("it is good");
        let known = flow.reset(&token, NEW, &client).await.expect("it is set");
        assert!(known.remember(false).token().is_none());
        assert!(flow.check(&token, &client).await.is_err());
        assert_eq!(browser.login("alice", NEW).await.status, 200);
    }

    async fn ending_other_sessions_leaves_the_owner_s_link_good(probe: Probe) {
        let (_, mut browser) = alice(&probe).await;
        let mut thief = browser.stranger();
        assert_eq!(thief.login("alice", PASSWORD).await.status, 200);
        let token = ask(&probe, &mut browser, "alice").await;
        assert_eq!(thief.delete("/auth/sessions").await.status, 200);
        assert_eq!(look(&mut browser, &token).await.status, 204);
        assert_eq!(thief.delete("/auth/sessions?scope=others").await.status, 200);
        let answer = reset(&mut browser, &token, NEW).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        check(&thief.get("/me").await, 401, "session_ended");
        // The device that did the reset is known with the epoch that the reset started.
        crate::attempt::fail(&probe, &browser.stranger(), "alice", 15).await;
        assert_eq!(browser.stranger().login("alice", NEW).await.status, 401);
        assert_eq!(browser.login("alice", NEW).await.status, 200);
    }

    async fn a_reset_gets_through_while_a_thief_ends_all_other_sessions_all_the_time(probe: Probe) {
        let probe = probe.configured(|config| {
            config.rate.per_source = None;
            config.rate.per_principal = None;
        });
        let (account, mut browser) = alice(&probe).await;
        probe.auth.accounts().verify(account.id()).await.expect("it is verified");
        for round in 0..3 {
            probe.clock.advance(2 * HOUR);
            let password = if round == 0 { PASSWORD.to_owned() } else { format!("{NEW} {round}") };
            let mut thief = browser.stranger();
            assert_eq!(thief.login("alice", &password).await.status, 200);
            let token = ask(&probe, &mut browser, "alice").await;
            let over = Arc::new(AtomicBool::new(false));
            let mut thieves = JoinSet::new();
            for _ in 0..16 {
                let (mut thief, over) = (thief.clone(), Arc::clone(&over));
                thieves.spawn(async move {
                    let mut ended = 0;
                    while !over.load(Ordering::SeqCst) {
                        match thief.delete("/auth/sessions").await.status {
                            200 => ended += 1,
                            401 => break,
                            _ => {}
                        }
                    }
                    ended
                });
            }
            let mut owner = browser.stranger();
            let answer = reset(&mut owner, &token, &format!("{NEW} {}", round + 1)).await;
            over.store(true, Ordering::SeqCst);
            thieves.join_all().await;
            assert_eq!(answer.status, 204, "round {round}: {}", answer.text);
            check(&thief.get("/me").await, 401, "session_ended");
            // The device is known with the epoch after the reset, even if the thieves increased the
            // epoch meanwhile.
            crate::attempt::fail(&probe, &browser.stranger(), "alice", 15).await;
            assert_eq!(owner.login("alice", &format!("{NEW} {}", round + 1)).await.status, 200);
            probe.forget_attempts().await;
        }
    }

    async fn what_changes_who_owns_an_account_ends_its_links_while_they_are_read(probe: Probe) {
        // Each change happens between the check of a link and its use.
        let (account, mut browser) = alice(&probe).await;
        let accounts = probe.auth.accounts();
        accounts.verify(account.id()).await.expect("it is verified");
        for change in ["disabled", "disabled and back", "factors", "must change"] {
            probe.clock.advance(2 * HOUR);
            let token = ask(&probe, &mut browser, "alice").await;
            let open = "SELECT COUNT(*) FROM auth_challenge \
                 WHERE purpose = 'password_reset' AND superseded_at IS NULL AND used_at IS NULL";
            assert_eq!(probe.number(open).await, 1, "{change}");
            match change {
                "disabled" => accounts.disable(account.id()).await.expect("it is disabled"),
                "disabled and back" => {
                    accounts.enable(account.id()).await.expect("it is enabled");
                    probe.clock.advance(HOUR);
                    let token = ask(&probe, &mut browser, "alice").await;
                    accounts.disable(account.id()).await.expect("it is disabled");
                    accounts.enable(account.id()).await.expect("it is enabled");
                    check(&reset(&mut browser, &token, NEW).await, 400, "invalid_reset_token");
                }
                "factors" => {
                    let factors = [Factor::Totp];
                    accounts.set_enrolled_factors(account.id(), factors).await.expect("enrolled");
                }
                _ => accounts.require_password_change(account.id()).await.expect("it is set"),
            }
            assert_eq!(probe.number(open).await, 0, "{change}");
            check(&reset(&mut browser, &token, NEW).await, 400, "invalid_reset_token");
            accounts.enable(account.id()).await.expect("it is enabled");
        }
    }

    async fn a_node_whose_clock_is_fast_keeps_no_link_out_of_the_owner_s_mail(probe: Probe) {
        use portcullis::Clock;
        use portcullis::base::clock::MockClock;

        // On a known device, whose requests do not share a limit with those of strangers.
        let (_, mut browser) = alice(&probe).await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        let fast = MockClock::at(probe.clock.now());
        fast.advance(30 * SECOND);
        let node = probe.rebuilt(|builder| builder.clock(fast.clone()));
        let mut stranger = browser.stranger().at(serve(app(&node)).await);
        assert_eq!(forgot(&mut stranger, "alice").await.status, 202);
        node.outbox().deliver_due().await.expect("the outbox is read");
        let before = probe.mail().await.len();
        assert_eq!(forgot(&mut browser, "alice").await.status, 202);
        let sent = probe.mail().await;
        assert_eq!(sent.len(), before + 1, "one mail");
        // The messages are ordered by their times, and the stranger's message comes from a fast
        // clock.
        assert!(sent[0].text.contains("#token="), "{}", sent[0].text);
        let token = token(&sent[0]);
        assert_eq!(reset(&mut browser, &token, NEW).await.status, 204);
    }
}

fn data_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
