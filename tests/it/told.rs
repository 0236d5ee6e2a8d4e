//! What a stranger is told about attempts depends only on what they typed. It does not depend on
//! whether a name has an owner, on the other names of that owner, or on what the owner does
//! meanwhile.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use portcullis::account::{FurtherName, NewAccount};
use portcullis::attempt::Purge;
use portcullis::config::{AttemptKind, Registration};
use portcullis::login::Credentials;
use portcullis::port::{HookFuture, OnSuspicion, Suspicion};
use portcullis::{AccountId, ClientInfo, TrustedProxies};
use serde_json::json;

use crate::attempt::{HOUR, SECOND, WRONG, browser_of, fail, login, tries};
use crate::on_every_database;
use crate::support::fault::without_events;
use crate::support::log::Log;
use crate::support::{Backend, Browser, PASSWORD, Probe, until};

const CONFIRM: &str = "/auth/verification/confirm";

/// Creates an account with a username, an address and a further address, all verified.
async fn with_two_addresses(probe: &Probe, name: &str) -> AccountId {
    let account = NewAccount::username(name).with_email(format!("{name}@one.example")).verified();
    let account = probe.auth.registration().create(account, PASSWORD).await.expect("it is made");
    let further = FurtherName::email(format!("{name}@two.example")).verified();
    probe.auth.accounts().add_name(account.id(), further).await.expect("it is added");
    account.id()
}

/// Returns the answers to this many wrong codes for an address, one after the other.
async fn wrong_codes(browser: &Browser, address: &str, count: usize) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    for _ in 0..count {
        let body = json!({ "email": address, "code": "00000000" });
        let answer = browser.stranger().post(CONFIRM, body).await;
        answers.push((answer.status, answer.text));
    }
    answers
}

fn statuses(answers: &[(u16, String)]) -> Vec<u16> {
    answers.iter().map(|(status, _)| *status).collect()
}

/// Returns a client at this address.
fn from(address: &str) -> ClientInfo {
    let address: IpAddr = address.parse().expect("an address");
    ClientInfo::resolve(Some(address), &HeaderMap::new(), &TrustedProxies::default())
}

/// Returns whether this name and password can sign in from this address.
async fn gets_in(probe: &Probe, address: &str, name: &str, password: &str) -> bool {
    let credentials = Credentials::password(name, password);
    probe.auth.login().with_password(credentials, &from(address)).await.is_ok()
}

on_every_database! {
    async fn used_up_codes_tell_no_stranger_that_an_address_got_an_owner(probe: Probe) {
        let probe = probe.configured(|config| {
            config.login.require_verified = true;
            config.login.registration = Registration::Strict;
        });
        with_two_addresses(&probe, "alice").await;
        let browser = probe.browser().await;
        let mut seen = Vec::new();
        for address in ["alice@one.example", "alice@two.example", "free@one.example"] {
            let mut answers = wrong_codes(&browser, address, 5).await;
            let body = json!({ "email": address, "password": "a fairly long password" });
            let answer = browser.stranger().post("/auth/register", body).await;
            answers.push((answer.status, answer.text));
            answers.extend(wrong_codes(&browser, address, 2).await);
            seen.push(answers);
        }
        assert_eq!(statuses(&seen[2]), [403, 403, 403, 403, 403, 202, 429, 429]);
        assert_eq!(seen[0], seen[2]);
        assert_eq!(seen[1], seen[2]);
    }

    async fn used_up_codes_at_one_address_show_at_no_other(probe: Probe) {
        with_two_addresses(&probe, "alice").await;
        let browser = probe.browser().await;
        assert_eq!(statuses(&wrong_codes(&browser, "alice@one.example", 6).await)[5], 429);
        let other = wrong_codes(&browser, "alice@two.example", 8).await;
        let strangers = wrong_codes(&browser, "nobody@two.example", 8).await;
        assert_eq!(other, strangers);
        assert_eq!(statuses(&other), [403, 403, 403, 403, 403, 429, 429, 429]);
        // They cost the same number of statements too.
        let cost = async |address: &str| {
            probe.clock.advance(HOUR);
            wrong_codes(&browser, "alice@one.example", 5).await;
            probe.statements(wrong_codes(&browser, address, 1)).await.1
        };
        assert_eq!(cost("alice@two.example").await, cost("nobody@two.example").await);
    }

    async fn where_locks_are_told_they_are_told_of_the_name_that_was_typed(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.reveal_lockout = true);
        let alice = with_two_addresses(&probe, "alice").await;
        let mut owner = probe.browser().await;
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
        let browser = owner.stranger();
        // The first name locks the account. This does not show at the other names of the account.
        let mut seen = Vec::new();
        for name in ["nobody", "alice", "alice@one.example", "alice@two.example", "nobody@one.example"] {
            let mut answers = Vec::new();
            for _ in 0..8 {
                let answer = browser.stranger().login(name, WRONG).await;
                answers.push((answer.status, answer.text));
            }
            assert_eq!(statuses(&answers), [401, 401, 401, 401, 401, 401, 429, 429], "{name}");
            seen.push(answers);
        }
        assert!(seen.iter().all(|answers| *answers == seen[0]));
        // Nothing that the owner does changes what a stranger sees.
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
        probe.auth.accounts().disable(alice).await.expect("it is disabled");
        probe.auth.accounts().enable(alice).await.expect("it is enabled");
        for name in ["alice", "alice@one.example", "nobody"] {
            assert_eq!(browser.stranger().login(name, WRONG).await.status, 429, "{name}");
        }
        // If the name gets an owner, its answers stay the same.
        probe.register("nobody").await;
        assert_eq!(browser.stranger().login("nobody", PASSWORD).await.status, 429);
        probe.clock.advance(SECOND);
        assert_eq!(browser.stranger().login("nobody", PASSWORD).await.status, 200);
    }

    async fn a_refused_attempt_does_the_work_of_a_wrong_one(probe: Probe) {
        let alice = probe.register("alice").await;
        let browser = probe.browser().await;
        fail(&probe, &browser, "alice", 15).await;
        fail(&probe, &browser, "nobody", 15).await;
        probe.clock.advance(Duration::from_secs(70));
        let mut costs = Vec::new();
        for (name, password) in
            [("alice", PASSWORD), ("alice", WRONG), ("nobody", WRONG), ("somebody", WRONG)]
        {
            let before = probe.auth.password_hashes();
            let (answer, statements) = probe.statements(browser.stranger().login(name, password)).await;
            let hashes = probe.auth.password_hashes() - before;
            costs.push((answer.status, answer.text, statements, hashes));
        }
        assert_eq!((costs[0].0, costs[0].3), (401, 1));
        assert!(costs.iter().all(|cost| *cost == costs[0]), "{costs:#?}");
        // Any number of attempts does not make the lock longer. It ends at the exact second.
        let until = probe.auth.attempts().refused_until(alice.id(), AttemptKind::Login).await;
        for _ in 0..20 {
            assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 401);
        }
        let later = probe.auth.attempts().refused_until(alice.id(), AttemptKind::Login).await;
        assert_eq!(later.expect("it answers"), until.expect("it answers"));
    }

    async fn a_locked_name_is_sent_away_from_a_full_gate_like_any_other(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        fail(&probe, &browser, "alice", 15).await;
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.password.memory_kib = 19 * 1024;
                config.password.iterations = 20;
                config.password.concurrent_hashes = Some(1);
                config.password.hash_queue = 0;
            })
        });
        let busy = browser_of(&auth).await;
        let tasks: Vec<_> = (0..16)
            .map(|number| {
                let mut browser = busy.stranger();
                // Half of the attempts use the locked name, and half use names without any
                // attempts.
                let name = if number % 2 == 0 { "alice".to_owned() } else { format!("name{number}") };
                tokio::spawn(async move { (number % 2, browser.login(&name, WRONG).await.status) })
            })
            .collect();
        let mut sent_away = [0, 0];
        for task in tasks {
            match task.await.expect("no task panics") {
                (_, 401) => {}
                (which, 503) => sent_away[which] += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(sent_away[1] > 0, "the gate was never full");
        assert!(sent_away[0] > 0, "the locked name never met the gate");
    }

    async fn a_password_that_is_too_long_is_neither_hashed_nor_counted(probe: Probe) {
        let (_, mut owner) = probe.signed_in("alice").await;
        let browser = owner.stranger();
        let long = "x".repeat(1025);
        let hashes = probe.auth.password_hashes();
        let records = tries(&probe, "1 = 1").await;
        let wrong = login(&probe, &browser, "somebody", WRONG).await.0;
        for name in ["alice", "nobody", "", "no name at all, \u{0}"] {
            for _ in 0..20 {
                let answer = browser.stranger().login(name, &long).await;
                assert_eq!((answer.status, &answer.text), (401, &wrong.text), "{name}");
            }
        }
        let body = json!({ "password": long });
        assert_eq!(owner.post("/auth/reauthenticate", body).await.code(), "wrong_password");
        let body = json!({ "current_password": long, "new_password": "another long password" });
        assert_eq!(owner.put("/auth/password", body).await.code(), "wrong_password");
        assert_eq!(probe.auth.password_hashes() - hashes, 1, "the one that was not too long");
        assert_eq!(tries(&probe, "1 = 1").await - records, 1);
        // One byte less, and the password is hashed as usual.
        let before = probe.auth.password_hashes();
        assert_eq!(browser.stranger().login("alice", &long[1..]).await.status, 401);
        assert_eq!(probe.auth.password_hashes() - before, 1);
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
    }

    async fn strangers_do_not_spend_the_logins_of_a_known_device(probe: Probe) {
        let (alice, mut owner) = probe.signed_in("alice").await;
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.rate.per_principal = Some(portcullis::rate_limit::Quota::per_minute(20));
            })
        });
        owner = owner.at(crate::support::probe::serve(crate::support::probe::app(&auth)).await);
        let stranger = owner.stranger();
        let mut refused = 0;
        for _ in 0..30 {
            refused += usize::from(stranger.stranger().login("alice", WRONG).await.status == 429);
        }
        assert_eq!(refused, 10);
        assert_eq!(stranger.stranger().login("alice", PASSWORD).await.status, 429);
        // The owner's device has its own rate limit. It is not higher than the limit of the name.
        for _ in 0..20 {
            assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
        }
        let answer = owner.login("alice", PASSWORD).await;
        assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"));
        probe.clock.advance(Duration::from_secs(3));
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
        // The account's own limit does not apply to strangers, because it would reveal who has such
        // a limit.
        probe.clock.advance(Duration::from_secs(60));
        probe.auth.accounts().set_rate_limit(alice.id(), Some(2)).await.expect("it is set");
        for name in ["alice", "nobody"] {
            for number in 0..25 {
                let answer = stranger.stranger().login(name, WRONG).await;
                assert_eq!(answer.status, if number < 20 { 401 } else { 429 }, "{name} {number}");
            }
        }
        let statuses = [owner.login("alice", PASSWORD).await.status, owner.login("alice", PASSWORD).await.status, owner.login("alice", PASSWORD).await.status];
        assert_eq!(statuses, [200, 200, 429]);
    }

    async fn a_refused_attempt_counts_for_its_source_as_a_wrong_one_does(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.source_limit = Some(20));
        with_two_addresses(&probe, "alice").await;
        probe.register("mallory").await;
        // After six failures at one name of the account, from another source, its other name is
        // refused too.
        for _ in 0..6 {
            assert!(!gets_in(&probe, "192.0.2.1", "alice@one.example", WRONG).await);
        }
        // If a stranger could see when a source is full, they could see whether two names belong to
        // one account.
        for (source, name) in [("192.0.2.2", "alice@two.example"), ("192.0.2.3", "nobody@two.example")] {
            for number in 0..20 {
                assert!(gets_in(&probe, source, "mallory", PASSWORD).await, "{name} {number}");
                assert!(!gets_in(&probe, source, name, WRONG).await);
            }
            assert!(!gets_in(&probe, source, "mallory", PASSWORD).await, "{name}");
        }
        assert!(gets_in(&probe, "192.0.2.4", "mallory", PASSWORD).await);
    }

    async fn a_lock_shorter_than_the_wait_does_not_replace_it(probe: Probe) {
        for (limit, delay_from, most) in [(3, 6, 26), (8, 6, 26), (3, 2, 22)] {
            let node = probe.rebuilt(|builder| {
                builder.configure(|config| {
                    config.attempts.limit = limit;
                    config.attempts.delay_from = delay_from;
                    config.attempts.lockout = SECOND;
                    config.attempts.source_limit = None;
                    config.rate.per_principal = None;
                })
            });
            let name = format!("name-{limit}-{delay_from}");
            // A guesser makes an attempt every two seconds for ten minutes.
            for _ in 0..300 {
                let credentials = Credentials::password(name.clone(), WRONG);
                let tried = node.login().with_password(credentials, &ClientInfo::default()).await;
                assert!(tried.is_err());
                probe.clock.advance(2 * SECOND);
            }
            let judged = tries(&probe, "part = 0").await;
            assert!(judged <= most, "{judged} with a limit of {limit} and waits from {delay_from}");
            probe.forget_attempts().await;
        }
    }

    async fn many_at_once_at_two_names_of_an_account_are_judged_as_one_and_told_as_two(probe: Probe) {
        let alice = with_two_addresses(&probe, "alice").await;
        let browser = probe.browser().await;
        let tasks: Vec<_> = (0..100)
            .map(|number| {
                let address = ["alice@one.example", "alice@two.example"][number % 2];
                let mut browser = browser.stranger();
                tokio::spawn(async move {
                    let body = json!({ "email": address, "code": "00000000" });
                    (address, browser.post(CONFIRM, body).await.status)
                })
            })
            .collect();
        let mut told = std::collections::BTreeMap::new();
        for task in tasks {
            *told.entry(task.await.expect("no task panics")).or_insert(0) += 1;
        }
        for address in ["alice@one.example", "alice@two.example"] {
            assert_eq!((told[&(address, 403)], told[&(address, 429)]), (5, 45), "{address}");
        }
        let judged = tries(&probe, "kind = 4 AND source IS NOT NULL").await;
        assert_eq!(judged, 5, "of the account, whichever address");
        let refused = "SELECT COUNT(*) FROM auth_attempt WHERE part = -1 AND kind = 4";
        assert_eq!(probe.number(refused).await, 5);

        // The same with passwords. They take time to hash.
        let tasks: Vec<_> = (0..60)
            .map(|number| {
                let name = ["alice", "alice@one.example", "alice@two.example"][number % 3];
                let mut browser = browser.stranger();
                tokio::spawn(async move { browser.login(name, WRONG).await.status })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.expect("no task panics"), 401);
        }
        assert_eq!(tries(&probe, "kind = 0 AND outcome = 1").await, 6);
        assert_eq!(probe.auth.attempts().busy(), 0);
        // A purge of the account deletes all of this.
        let purge = Purge::everything().account(alice);
        probe.auth.attempts().purge(purge).await.expect("it answers");
        assert_eq!(tries(&probe, "1 = 1").await, 0);
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
    }

    async fn a_try_does_not_wait_for_one_at_another_name_of_its_account(probe: Probe) {
        let slow = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.password.memory_kib = 128 * 1024;
                config.password.iterations = 20;
                config.password.concurrent_hashes = Some(2);
                config.attempts.limit = 1;
            })
        });
        // The hash takes long, so that one attempt is in progress when the next one comes.
        let probe = Probe { auth: slow.clone(), ..probe };
        with_two_addresses(&probe, "alice").await;
        let first = tokio::spawn(async move {
            let credentials = Credentials::password("alice@one.example", WRONG);
            slow.login().with_password(credentials, &from("192.0.2.1")).await.is_ok()
        });
        until("the try is there", async || tries(&probe, "outcome = 0").await > 0).await;
        let auth = probe.auth.clone();
        let second = tokio::spawn(async move {
            let credentials = Credentials::password("alice@two.example", PASSWORD);
            auth.login().with_password(credentials, &from("192.0.2.2")).await.is_ok()
        });
        until("it is refused", async || probe.auth.attempts().refused() > 0).await;
        assert!(!first.is_finished(), "it waited for the one before");
        assert!(!first.await.expect("no panic") && !second.await.expect("no panic"));
        assert_eq!(tries(&probe, "outcome = 1").await, 1);
        assert_eq!(probe.auth.attempts().busy(), 0);
    }

    async fn many_at_once_where_locks_are_told_are_told_of_each_name(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.reveal_lockout = true);
        with_two_addresses(&probe, "alice").await;
        let browser = probe.browser().await;
        let tasks: Vec<_> = (0..48)
            .map(|number| {
                let name = ["alice", "alice@two.example", "nobody"][number % 3];
                let mut browser = browser.stranger();
                tokio::spawn(async move { (name, browser.login(name, WRONG).await.status) })
            })
            .collect();
        let mut told = std::collections::BTreeMap::new();
        for task in tasks {
            *told.entry(task.await.expect("no task panics")).or_insert(0) += 1;
        }
        for name in ["alice", "alice@two.example", "nobody"] {
            assert_eq!((told[&(name, 401)], told[&(name, 429)]), (6, 10), "{name}");
        }
    }

    async fn a_right_password_among_tries_that_are_told_uses_up_none(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.reveal_lockout = true);
        probe.register("alice").await;
        let browser = probe.browser().await;
        for _ in 0..40 {
            assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
        }
        for _ in 0..6 {
            assert_eq!(browser.stranger().login("alice", WRONG).await.status, 401);
        }
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 429);
    }

    async fn passwords_sprayed_over_many_accounts_from_many_addresses_are_noticed(probe: Probe) {
        #[derive(Clone, Default)]
        struct Pager(Arc<Mutex<Vec<String>>>);
        impl OnSuspicion for Pager {
            fn suspected<'a>(&'a self, suspicion: &'a Suspicion) -> HookFuture<'a, ()> {
                Box::pin(async move {
                    self.0.lock().expect("no test panics there").push(suspicion.to_string());
                    Err("an error of it changes nothing".into())
                })
            }
        }
        let pager = Pager::default();
        let auth = probe.rebuilt(|builder| builder.on_suspicion(pager.clone()));
        let found = || auth.audit().iter().any(|finding| finding.code == "password_spraying");
        let spray = async |numbers: std::ops::Range<u32>, second: u8| {
            for number in numbers {
                let name = format!("person{number}@example.com");
                let address = format!("10.{second}.{}.7", number % 250);
                let credentials = Credentials::password(name, WRONG);
                let tried = auth.login().with_password(credentials, &from(&address)).await;
                assert!(tried.is_err());
            }
        };
        // A small service has failures too.
        spray(0..3, 1).await;
        probe.clock.advance(HOUR);
        spray(0..99, 1).await;
        probe.clock.advance(HOUR);
        assert!(!found() && pager.0.lock().expect("no test panics there").is_empty());
        // None of these attempts reaches a limit, because each name and each address is used only
        // once.
        spray(0..150, 2).await;
        assert!(found());
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_spraying_suspected'";
        // A separate task first writes the event and then calls the hook.
        auth.drain().await;
        assert_eq!(probe.number(events).await, 1, "once a window");
        let paged = pager.0.lock().expect("no test panics there").clone();
        assert_eq!(paged.len(), 1, "{paged:?}");
        assert!(paged[0].contains("% of sign-ins failed"), "{paged:?}");
        // The database contains no password and no name.
        let dump = probe.dump("auth_event").await.join("\n");
        assert!(!dump.contains(WRONG) && !dump.contains("person1"));
    }

    async fn sprayed_passwords_are_traced_though_the_event_cannot_be_written(probe: Probe) {
        let (log, _listening) = Log::start();
        without_events(&probe, "authn_spraying_suspected", async {
            for number in 0..50 {
                let name = format!("person{number}@example.com");
                let credentials = Credentials::password(name, WRONG);
                let from = from(&format!("192.0.2.{number}"));
                assert!(probe.auth.login().with_password(credentials, &from).await.is_err());
            }
            probe.auth.drain().await;
        })
        .await;
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_spraying_suspected'";
        assert_eq!(probe.number(events).await, 0);
        assert!(log.text().contains("an event could not be written"));
        let traced = log.events();
        let traced = traced.iter().filter(|line| line.contains("authn_spraying_suspected"));
        assert_eq!(traced.count(), 1);
    }

    async fn a_name_that_moves_takes_with_it_what_is_told_and_not_what_protects(probe: Probe) {
        let alice = with_two_addresses(&probe, "alice").await;
        let bob = with_two_addresses(&probe, "bob").await;
        let browser = probe.browser().await;
        let moved = "alice@two.example";
        // Locked by attempts at exactly this name, which then moves to another account.
        fail(&probe, &browser, moved, 15).await;
        probe.clock.advance(Duration::from_secs(70));
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 401);
        let backend = probe.database.backend;
        let id = |account: AccountId| match backend {
            Backend::Postgres => format!("'{account}'::uuid"),
            _ => format!("X'{}'", account.as_uuid().simple()),
        };
        let set = format!("UPDATE auth_login_name SET account_id = {}", id(bob));
        probe.execute(&format!("{set} WHERE normal = '{moved}'")).await;
        assert_eq!(browser.stranger().login(moved, PASSWORD).await.status, 200, "it is bob's");
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 401, "still locked");

        let probe = probe.configured(|config| config.attempts.reveal_lockout = true);
        let browser = probe.browser().await;
        for _ in 0..6 {
            assert_eq!(browser.stranger().login(moved, WRONG).await.status, 401);
        }
        let set = format!("UPDATE auth_login_name SET account_id = {}", id(alice));
        probe.execute(&format!("{set} WHERE normal = '{moved}'")).await;
        assert_eq!(browser.stranger().login(moved, WRONG).await.status, 429);
        probe.execute(&format!("DELETE FROM auth_login_name WHERE normal = '{moved}'")).await;
        assert_eq!(browser.stranger().login(moved, WRONG).await.status, 429);
    }

    async fn where_locks_are_told_requests_for_links_are_told_of_the_name_that_was_typed(probe: Probe) {
        let probe = probe.configured(|config| {
            config.attempts.reveal_lockout = true;
            config.attempts.limit = 2;
            config.attempts.first_delay = Duration::ZERO;
        });
        with_two_addresses(&probe, "alice").await;
        let browser = probe.browser().await;
        let mut seen = Vec::new();
        for name in ["nobody", "alice", "alice@one.example", "alice@two.example", "nobody@one.example"] {
            let mut answers = Vec::new();
            for _ in 0..4 {
                let body = json!({ "login": name });
                let answer = browser.stranger().post("/auth/password/forgot", body).await;
                answers.push((answer.status, answer.text));
            }
            assert_eq!(statuses(&answers), [202, 202, 429, 429], "{name}");
            seen.push(answers);
        }
        assert!(seen.iter().all(|answers| *answers == seen[0]));
        let sent = probe.mail().await;
        assert!(sent.len() <= 2, "the account is locked by its first name: {}", sent.len());
    }

    async fn a_known_device_is_told_how_its_account_stands_and_no_other_is(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.reveal_lockout = true);
        let (_, mut owner) = probe.signed_in("alice").await;
        for _ in 0..6 {
            assert_eq!(owner.login("alice", WRONG).await.status, 401);
        }
        assert_eq!(owner.login("alice", PASSWORD).await.status, 429);
        let stranger = owner.stranger();
        for name in ["alice", "nobody"] {
            assert_eq!(stranger.stranger().login(name, WRONG).await.status, 401, "{name}");
        }
        probe.clock.advance(SECOND);
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
    }

    async fn no_stranger_locks_out_a_user_who_has_reset_the_password(probe: Probe) {
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.rate.per_principal = Some(portcullis::rate_limit::Quota::per_minute(20));
                config.attempts.source_limit = None;
            })
        });
        let address = crate::support::probe::serve(crate::support::probe::app(&auth)).await;
        with_two_addresses(&probe, "alice").await;
        let mut owner = Browser::new(address);
        let strangers = async || {
            for _ in 0..25 {
                owner.stranger().login("alice", WRONG).await;
            }
            owner.stranger().login("alice", WRONG).await.status
        };
        assert_eq!(strangers().await, 429);
        let body = json!({ "login": "alice" });
        assert_eq!(owner.stranger().post("/auth/password/forgot", body).await.status, 202);
        let sent = probe.mail().await;
        let token = crate::verification::token_of(sent.last().expect("a mail"));
        let new = "another long password";
        let body = json!({ "token": token, "password": new });
        assert_eq!(owner.post("/auth/password/reset", body).await.status, 204);
        for _ in 0..3 {
            assert_eq!(owner.login("alice", new).await.status, 200);
        }
    }
}

/// A refused attempt checks the hash that the account has, and not a made-up one. The test uses one
/// database and one thread, because it reads the log of that thread.
#[tokio::test]
async fn a_refused_attempt_looks_at_the_stored_hash() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        probe.register("alice").await;
        let browser = browser_of(&probe.auth).await;
        fail(&probe, &browser, "alice", 15).await;
        probe.clock.advance(SECOND);
        probe
            .execute(
                "UPDATE auth_account SET version = version + 1, password_hash = 'no hash at all'",
            )
            .await;
        let (log, _listening) = crate::support::log::Log::start();
        for _ in 0..2 {
            let credentials = Credentials::password("alice", PASSWORD);
            let refused = probe.auth.login().with_password(credentials, &from("192.0.2.7")).await;
            assert!(refused.is_err());
        }
        assert_eq!(log.text().matches("a stored password is unusable").count(), 2);
    })
    .await;
}
