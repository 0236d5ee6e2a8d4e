//! Sign-in attempts: they are counted before they are checked, delayed and locked, and they never
//! reveal who has an account.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;
use portcullis::account::NewAccount;
use portcullis::attempt::Purge;
use portcullis::config::{AttemptKind, AttemptOverrides};
use portcullis::login::{Credentials, LoginError};
use portcullis::message::MessageKind;
use portcullis::{ClientInfo, Portcullis, TrustedProxies};
use reqwest::Method;
use serde_json::json;

use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe, until};

pub(crate) const WRONG: &str = "wrong horse battery staple";
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The delays in seconds, from the 6th failure on.
const WAITS: [u64; 9] = [1, 2, 4, 8, 16, 32, 60, 60, 60];

pub(crate) async fn browser_of(auth: &Portcullis) -> Browser {
    Browser::new(serve(app(auth)).await)
}

/// Makes `count` wrong attempts. It waits for each delay, so that every attempt counts.
pub(crate) async fn fail(probe: &Probe, browser: &Browser, login: &str, count: usize) {
    for number in 1..=count {
        let before = tries(probe, "1 = 1").await;
        let answer = browser.stranger().login(login, WRONG).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_credentials"));
        assert_eq!(tries(probe, "1 = 1").await - before, 1, "failure {number} was judged");
        if let Some(wait) = number.checked_sub(6).and_then(|at| WAITS.get(at)) {
            probe.clock.advance(Duration::from_secs(*wait));
        }
    }
}

/// Returns everything that a client sees: status, headers without the date, and body.
fn seen(mut answer: Answer) -> (u16, HeaderMap, String) {
    answer.headers.remove("date");
    (answer.status, answer.headers, answer.text)
}

/// Signs in and returns the answer, and 1 if the attempt was checked or 0 if it was refused.
pub(crate) async fn login(
    probe: &Probe,
    browser: &Browser,
    name: &str,
    password: &str,
) -> (Answer, u64) {
    let before = tries(probe, "1 = 1").await;
    let answer = browser.stranger().login(name, password).await;
    (answer, u64::from(tries(probe, "1 = 1").await > before))
}

pub(crate) async fn is_refused(probe: &Probe, browser: &Browser, name: &str) -> bool {
    let (answer, judged) = login(probe, browser, name, PASSWORD).await;
    match (answer.status, judged) {
        (401, 0) => true,
        (200, 1) => false,
        other => panic!("{other:?}: {}", answer.text),
    }
}

/// Returns a client at this address.
pub(crate) fn from(address: &str) -> ClientInfo {
    let address: IpAddr = address.parse().expect("an address");
    ClientInfo::resolve(Some(address), &HeaderMap::new(), &TrustedProxies::default())
}

/// Signs in from this address. Returns whether the attempt was checked, and its result.
async fn try_from(
    probe: &Probe,
    address: &str,
    name: &str,
    password: &str,
) -> (bool, Result<(), LoginError>) {
    let before = tries(probe, "1 = 1").await;
    let credentials = Credentials::password(name, password);
    let result = probe.auth.login().with_password(credentials, &from(address)).await;
    (tries(probe, "1 = 1").await > before, result.map(|_| ()))
}

/// Returns the number of attempts that count. Refused attempts are recorded under a part of their
/// own.
pub(crate) async fn tries(probe: &Probe, condition: &str) -> i64 {
    let count = "SELECT COUNT(*) FROM auth_attempt WHERE part <> -1 AND";
    probe.number(&format!("{count} ({condition})")).await
}

on_every_database! {
    async fn fifteen_failures_lock_for_an_hour_and_a_second_later_it_is_free(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        fail(&probe, &browser, "alice", 14).await;
        // The 15th failure locks. The delay before it has passed, so only the lock can refuse the
        // next attempt.
        let (answer, judged) = login(&probe, &browser, "alice", WRONG).await;
        assert_eq!((answer.status, judged), (401, 1));
        probe.clock.advance(Duration::from_secs(61));
        assert!(is_refused(&probe, &browser, "alice").await);
        probe.clock.advance(HOUR - Duration::from_secs(61));
        assert!(is_refused(&probe, &browser, "alice").await, "the last second belongs to the lock");
        probe.clock.advance(SECOND);
        assert!(!is_refused(&probe, &browser, "alice").await);
    }

    async fn fourteen_failures_in_the_window_and_one_later_do_not_lock(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        fail(&probe, &browser, "alice", 14).await;
        probe.clock.advance(Duration::from_secs(600));
        let (_, judged) = login(&probe, &browser, "alice", WRONG).await;
        assert_eq!(judged, 1);
        probe.clock.advance(Duration::from_secs(60));
        assert!(!is_refused(&probe, &browser, "alice").await);
    }

    async fn a_delay_grows_from_the_sixth_failure_and_refuses_the_right_password_too(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        for _ in 0..6 {
            assert_eq!(login(&probe, &browser, "alice", WRONG).await.1, 1);
        }
        for wait in &WAITS[..4] {
            assert!(is_refused(&probe, &browser, "alice").await);
            probe.clock.advance(Duration::from_secs(*wait) - Duration::from_millis(1));
            assert!(is_refused(&probe, &browser, "alice").await, "{wait}");
            probe.clock.advance(Duration::from_millis(1));
            assert_eq!(login(&probe, &browser, "alice", WRONG).await.1, 1, "{wait}");
        }
        probe.clock.advance(Duration::from_secs(16));
        assert!(!is_refused(&probe, &browser, "alice").await);
        // The success has closed the window, so six more attempts are free.
        for _ in 0..6 {
            assert_eq!(login(&probe, &browser, "alice", WRONG).await.1, 1);
        }
    }

    async fn locked_looks_like_wrong_and_costs_as_much(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        let wrong = seen(login(&probe, &browser, "somebody", WRONG).await.0);
        fail(&probe, &browser, "alice", 15).await;
        let refused = probe.auth.attempts().refused();
        for number in 0..20 {
            for password in [PASSWORD, WRONG, "", "x"] {
                let before = probe.auth.password_hashes();
                let (answer, judged) = login(&probe, &browser, "alice", password).await;
                assert_eq!(judged, 0);
                assert_eq!(probe.auth.password_hashes() - before, 1, "hashed in vain");
                assert_eq!(seen(answer), wrong, "{number}");
            }
        }
        assert_eq!(probe.auth.attempts().refused() - refused, 80);
        // Eighty refused attempts have not made the lock longer: it ends at the same time.
        probe.clock.advance(HOUR);
        assert!(is_refused(&probe, &browser, "alice").await);
        probe.clock.advance(SECOND);
        assert!(!is_refused(&probe, &browser, "alice").await);
        assert_eq!(probe.auth.attempts().busy(), 0, "nobody is left in line");
    }

    async fn nothing_tells_an_absent_name_from_a_locked_one(probe: Probe) {
        let probe = probe.configured(|config| config.login.require_verified = true);
        let accounts = probe.auth.accounts();
        for name in ["alice", "disabled", "deleted"] {
            let id = probe.register(name).await.id();
            accounts.verify(id).await.expect("it is verified");
            match name {
                "disabled" => accounts.disable(id).await.expect("it is disabled"),
                "deleted" => accounts.delete(id).await.expect("it is deleted"),
                _ => {}
            }
        }
        probe.register("unverified").await;
        let passwordless = NewAccount::username("passwordless").verified();
        accounts.create(passwordless).await.expect("it is made");
        let browser = probe.browser().await;
        let mut all = Vec::new();
        for name in ["alice", "absent", "disabled", "deleted", "unverified", "passwordless"] {
            let mut course = Vec::new();
            for number in 0..20 {
                // Once the name is locked, the right password is used, if there is one.
                let password = if number < 15 { WRONG } else { PASSWORD };
                let (answer, judged) = login(&probe, &browser, name, password).await;
                course.push((seen(answer), judged));
                let wait = (number + 1_usize).checked_sub(6).and_then(|at| WAITS.get(at));
                probe.clock.advance(Duration::from_secs(wait.copied().unwrap_or(0)));
            }
            let judged: Vec<_> = course.iter().map(|(_, judged)| *judged).collect();
            assert_eq!(judged, [[1; 15].as_slice(), &[0; 5]].concat(), "{name}");
            all.push((name, course));
            probe.clock.advance(HOUR);
        }
        for (name, course) in &all {
            assert_eq!(course, &all[0].1, "{name}");
            assert!(course.iter().all(|(seen, _)| seen == &course[0].0), "{name}");
        }
    }

    async fn all_spellings_of_an_account_are_one_counter(probe: Probe) {
        let body = json!({ "username": "alice", "email": "Alice@Example.com", "password": PASSWORD });
        let mut browser = probe.browser().await;
        assert_eq!(browser.post("/auth/register", body).await.status, 201);
        let spellings = [
            "alice", "ALICE", "Alice", "Ａｌｉｃｅ", "alice@example.com", "ALICE@EXAMPLE.COM",
            "Alice@Example.com",
        ];
        for name in &spellings[..6] {
            assert_eq!(login(&probe, &browser, name, WRONG).await.1, 1, "{name}");
        }
        for name in spellings {
            assert!(is_refused(&probe, &browser, name).await, "{name}");
        }
        // A name without an account also has one counter for all its spellings.
        for name in ["nobody", "NOBODY", "Nobody", "ＮＯＢＯＤＹ", "nobody", "nobody"] {
            assert_eq!(login(&probe, &browser, name, WRONG).await.1, 1, "{name}");
        }
        assert_eq!(login(&probe, &browser, "nObOdY", WRONG).await.1, 0);
        assert_eq!(login(&probe, &browser, "somebody", WRONG).await.1, 1, "a neighbour is free");
    }

    async fn a_success_closes_its_own_window_and_no_other(probe: Probe) {
        for name in ["mallory", "alice"] {
            probe.register(name).await;
        }
        // A guesser who signs in to another account in between gets no more attempts.
        let mut judged = 0;
        for _ in 0..20 {
            let (hashed, result) = try_from(&probe, "192.0.2.1", "alice", WRONG).await;
            assert!(result.is_err());
            judged += u32::from(hashed);
            assert!(try_from(&probe, "192.0.2.1", "mallory", PASSWORD).await.1.is_ok());
        }
        assert_eq!(judged, 6);
        assert!(try_from(&probe, "192.0.2.2", "alice", PASSWORD).await.1.is_err());
        probe.clock.advance(SECOND);
        assert!(try_from(&probe, "192.0.2.2", "alice", PASSWORD).await.1.is_ok());
    }

    async fn a_source_with_too_many_failures_waits_whatever_the_names_were(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.source_limit = Some(20));
        probe.register("alice").await;
        // All from one /64, and for a different name each time. Successes in between change
        // nothing.
        for number in 0..20 {
            let address = format!("2001:db8:0:1::{number}");
            let (hashed, _) = try_from(&probe, &address, &format!("name{number}"), WRONG).await;
            assert!(hashed, "{number}");
            if number < 19 {
                let (_, result) = try_from(&probe, &address, "alice", PASSWORD).await;
                assert!(result.is_ok(), "{number}");
            }
        }
        let (hashed, result) = try_from(&probe, "2001:db8:0:1:ffff::9", "alice", PASSWORD).await;
        assert!(!hashed && matches!(result, Err(LoginError::InvalidCredentials)));
        for elsewhere in ["2001:db8:0:2::1", "192.0.2.7"] {
            assert!(try_from(&probe, elsewhere, "alice", PASSWORD).await.1.is_ok(), "{elsewhere}");
        }
        probe.clock.advance(Duration::from_secs(600));
        assert!(!try_from(&probe, "2001:db8:0:1::1", "alice", PASSWORD).await.0);
        probe.clock.advance(SECOND);
        assert!(try_from(&probe, "2001:db8:0:1::1", "alice", PASSWORD).await.1.is_ok());

        // An IPv4 address counts as the same source in every spelling.
        for number in 0..20 {
            let address = if number % 2 == 0 { "192.0.2.9" } else { "::ffff:192.0.2.9" };
            assert!(try_from(&probe, address, &format!("other{number}"), WRONG).await.0);
        }
        for address in ["192.0.2.9", "::ffff:192.0.2.9", "::ffff:c000:209"] {
            assert!(!try_from(&probe, address, "alice", PASSWORD).await.0, "{address}");
        }
        assert!(try_from(&probe, "192.0.2.10", "alice", PASSWORD).await.0);
    }

    async fn without_an_address_the_source_rule_is_off_and_the_others_hold(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.source_limit = Some(2));
        let nowhere = ClientInfo::default();
        for number in 0..5 {
            let credentials = Credentials::password(format!("name{number}"), WRONG);
            let before = tries(&probe, "1 = 1").await;
            let result = probe.auth.login().with_password(credentials, &nowhere).await;
            assert!(result.is_err() && tries(&probe, "1 = 1").await == before + 1, "{number}");
        }
        for number in 0..7 {
            let before = tries(&probe, "1 = 1").await;
            let credentials = Credentials::password("alice", WRONG);
            let _ = probe.auth.login().with_password(credentials, &nowhere).await;
            let judged = tries(&probe, "1 = 1").await - before;
            assert_eq!(judged, i64::from(number < 6), "{number}");
        }
        // If nothing limits the refused attempts, they all use one row.
        let touched = "SELECT COUNT(*) FROM auth_attempt WHERE part = -1";
        assert_eq!(probe.number(touched).await, 1);
    }

    async fn a_forged_forwarded_header_makes_no_other_source(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.source_limit = Some(5));
        probe.register("alice").await;
        let browser = probe.browser().await;
        for number in 0..8 {
            let before = tries(&probe, "1 = 1").await;
            let body = json!({ "login": format!("name{number}"), "password": WRONG });
            let address = format!("198.51.100.{number}");
            let request = browser
                .request(Method::POST, "/auth/login")
                .header("x-forwarded-for", &address)
                .header("x-real-ip", &address)
                .header("forwarded", format!("for={address}"))
                .json(&body);
            assert_eq!(send(request).await.status, 401);
            let judged = tries(&probe, "1 = 1").await - before;
            assert_eq!(judged, i64::from(number < 5), "{number}");
        }
    }

    async fn parallel_wrong_passwords_are_judged_no_more_often_than_one_by_one(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.source_limit = None);
        probe.register("alice").await;
        let browser = probe.browser().await;
        for (name, count) in [("alice", 100), ("nobody", 50)] {
            let (before, refused) = (probe.auth.password_hashes(), probe.auth.attempts().refused());
            let tasks: Vec<_> = (0..count)
                .map(|_| {
                    let mut browser = browser.stranger();
                    let name = name.to_owned();
                    tokio::spawn(async move { browser.login(&name, WRONG).await })
                })
                .collect();
            let mut answers = std::collections::BTreeSet::new();
            for task in tasks {
                let answer = task.await.expect("no task panics");
                answers.insert((answer.status, answer.text));
            }
            assert_eq!(answers.len(), 1, "{answers:?}");
            assert!(answers.iter().all(|(status, _)| *status == 401));
            assert_eq!(probe.auth.password_hashes() - before, count, "{name}: each costs a hash");
            assert_eq!(probe.auth.attempts().refused() - refused, count - 6, "{name}");
        }
        assert_eq!(tries(&probe, "outcome = 1").await, 12);
        assert_eq!(tries(&probe, "outcome <> 1").await, 0);
        assert_eq!(probe.auth.attempts().busy(), 0);
    }

    async fn without_delays_parallel_wrong_passwords_stop_at_the_limit(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.first_delay = Duration::ZERO);
        let alice = probe.register("alice").await;
        // Two nodes that share only the database.
        let other = probe.rebuilt(|builder| {
            builder.configure(|config| config.attempts.first_delay = Duration::ZERO)
        });
        let nodes = [browser_of(&probe.auth).await, browser_of(&other).await];
        let tasks: Vec<_> = (0..100)
            .map(|number| {
                let mut browser = nodes[number % 2].stranger();
                tokio::spawn(async move { browser.login("alice", WRONG).await.status })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.expect("no task panics"), 401);
        }
        assert_eq!(tries(&probe, "outcome = 1").await, 15);
        assert_eq!(tries(&probe, "1 = 1").await, 15);
        // Each attempt cost one hash, on one of the nodes.
        let hashes = probe.auth.password_hashes() + other.password_hashes();
        assert_eq!(hashes, 1 + 100, "one of them made the account");
        for browser in &nodes {
            assert!(is_refused(&probe, browser, "alice").await);
        }
        let locks = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_lock'";
        assert_eq!(probe.number(locks).await, 1, "one lock is one event");
        let until = probe.auth.attempts().refused_until(alice.id(), AttemptKind::Login).await;
        assert_eq!(until.expect("it answers"), Some(probe.auth_now().plus(HOUR)));
    }

    async fn the_right_password_among_a_hundred_wrong_ones_opens_no_second_limit(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        let tasks: Vec<_> = (0..101)
            .map(|number| {
                let mut browser = browser.stranger();
                let password = if number == 50 { PASSWORD } else { WRONG };
                tokio::spawn(async move { browser.login("alice", password).await.status })
            })
            .collect();
        let mut signed_in = 0;
        for task in tasks {
            match task.await.expect("no task panics") {
                200 => signed_in += 1,
                401 => {}
                other => panic!("{other}"),
            }
        }
        let judged = tries(&probe, "1 = 1").await;
        // At most six attempts before the success that closes the window, six after it, the success
        // itself, and those that were under way meanwhile.
        assert!(signed_in <= 1 && (6..=17).contains(&judged), "{signed_in} in, {judged} judged");
        assert!(is_refused(&probe, &browser, "alice").await);
    }

    async fn a_hundred_right_logins_at_once_all_sign_in(probe: Probe) {
        // First one account from many places, as a script does. Then a hundred accounts of one
        // office.
        probe.register("alice").await;
        let browser = probe.browser().await;
        let burst = async |names: Vec<String>| {
            let tasks: Vec<_> = names
                .into_iter()
                .map(|name| {
                    let mut browser = browser.stranger();
                    tokio::spawn(async move { browser.login(&name, PASSWORD).await })
                })
                .collect();
            for task in tasks {
                let answer = task.await.expect("no task panics");
                assert_eq!(answer.status, 200, "{}", answer.text);
            }
        };
        burst(vec!["alice".to_owned(); 100]).await;
        let mut names = Vec::new();
        for number in 0..100 {
            let name = format!("user{number}");
            probe.register(&name).await;
            names.push(name);
        }
        burst(names).await;
        assert_eq!(tries(&probe, "outcome = 2").await, 200);
        assert_eq!(tries(&probe, "outcome <> 2").await, 0);
        assert_eq!(probe.auth.attempts().busy(), 0);
    }

    async fn a_try_whose_process_died_counts_as_a_failure(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.first_delay = Duration::ZERO);
        probe.register("alice").await;
        let browser = probe.browser().await;
        for _ in 0..15 {
            assert_eq!(login(&probe, &browser, "alice", WRONG).await.1, 1);
        }
        // The process died before it could record the results.
        probe.execute("UPDATE auth_attempt SET outcome = 0").await;
        probe.clock.advance(Duration::from_secs(61));
        assert!(is_refused(&probe, &browser, "alice").await);
        probe.clock.advance(HOUR);
        assert!(!is_refused(&probe, &browser, "alice").await);
    }

    async fn a_try_that_could_not_be_judged_is_none(probe: Probe) {
        probe.register("alice").await;
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.password.memory_kib = 19 * 1024;
                config.password.iterations = 20;
                config.password.concurrent_hashes = Some(1);
                config.password.hash_queue = 0;
            })
        });
        let browser = browser_of(&auth).await;
        let tasks: Vec<_> = (0..12)
            .map(|number| {
                let mut browser = browser.stranger();
                let name = format!("nobody{}", number % 4);
                tokio::spawn(async move { browser.login(&name, WRONG).await.status })
            })
            .collect();
        let (mut judged, mut sent_away) = (0, 0);
        for task in tasks {
            match task.await.expect("no task panics") {
                401 => judged += 1,
                503 => sent_away += 1,
                other => panic!("{other}"),
            }
        }
        assert!(judged >= 1 && sent_away >= 1, "{judged} judged, {sent_away} sent away");
        assert_eq!(tries(&probe, "outcome = 1").await, judged);
        assert_eq!(tries(&probe, "outcome <> 1").await, 0);
    }

    async fn locked_means_locked_in_every_path_that_takes_the_password(probe: Probe) {
        let (_, mut owner) = probe.signed_in("alice").await;
        // On a known device the owner would have a separate count.
        owner.device = None;
        let browser = owner.stranger();
        let reauthenticate = json!({ "password": PASSWORD });
        let change = json!({ "current_password": PASSWORD, "new_password": "another long password" });
        let mut wrong = Vec::new();
        let body = json!({ "password": WRONG });
        wrong.push(seen(owner.post("/auth/reauthenticate", body).await));
        let body = json!({ "current_password": WRONG, "new_password": "another long password" });
        wrong.push(seen(owner.put("/auth/password", body).await));
        for answer in &wrong {
            assert_eq!(answer.0, 403, "{}", answer.2);
        }
        // Both failures counted for the same subject.
        for _ in 0..4 {
            assert_eq!(login(&probe, &browser, "alice", WRONG).await.1, 1);
        }
        let before = tries(&probe, "1 = 1").await;
        let basic = format!(
            "Basic {}",
            data_encoding::BASE64.encode(format!("alice:{PASSWORD}").as_bytes())
        );
        let request = browser.request(Method::POST, "/auth/login").header("authorization", basic);
        assert_eq!(send(request).await.status, 401);
        assert_eq!(seen(owner.post("/auth/reauthenticate", reauthenticate.clone()).await), wrong[0]);
        assert_eq!(seen(owner.put("/auth/password", change.clone()).await), wrong[1]);
        assert_eq!(tries(&probe, "1 = 1").await, before, "nothing was judged");
        assert_eq!(owner.get("/me").await.status, 200, "the session goes on");
        // When the delay has passed, all paths work again.
        probe.clock.advance(SECOND);
        assert_eq!(owner.post("/auth/reauthenticate", reauthenticate).await.status, 200);
        assert_eq!(owner.put("/auth/password", change).await.status, 200);
    }

    async fn where_locks_are_told_the_answer_says_when_to_come_back(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.reveal_lockout = true);
        let (_, mut owner) = probe.signed_in("alice").await;
        owner.device = None;
        let browser = owner.stranger();
        for name in ["alice", "nobody"] {
            for _ in 0..6 {
                assert_eq!(login(&probe, &browser, name, WRONG).await.0.status, 401);
            }
            let before = probe.auth.password_hashes();
            let (answer, judged) = login(&probe, &browser, name, PASSWORD).await;
            assert_eq!((answer.status, answer.code().as_str()), (429, "too_many_attempts"));
            assert_eq!((judged, probe.auth.password_hashes()), (0, before), "nothing is hidden");
            assert_eq!(answer.headers["retry-after"], "1");
        }
        let answer = owner.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!((answer.status, answer.code().as_str()), (429, "too_many_attempts"));
        let change = json!({ "current_password": PASSWORD, "new_password": "another long password" });
        let answer = owner.put("/auth/password", change).await;
        assert_eq!((answer.status, answer.code().as_str()), (429, "too_many_attempts"));
        for wait in WAITS {
            probe.clock.advance(Duration::from_secs(wait));
            assert_eq!(login(&probe, &browser, "alice", WRONG).await.1, 1);
        }
        let (answer, _) = login(&probe, &browser, "alice", PASSWORD).await;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.headers["retry-after"], "3601");
        probe.clock.advance(HOUR + SECOND);
        assert_eq!(login(&probe, &browser, "alice", PASSWORD).await.0.status, 200);
    }

    async fn a_lock_is_an_event_and_a_notice_and_a_late_success_an_event(probe: Probe) {
        let mut browser = probe.browser().await;
        let body = json!({ "username": "alice", "email": "a@example.com", "password": PASSWORD });
        assert_eq!(browser.post("/auth/register", body).await.status, 201);
        let accounts = probe.auth.accounts();
        let alice = accounts.find_by_login("alice").await.expect("it answers").expect("alice");
        fail(&probe, &browser, "alice", 14).await;
        assert!(probe.notifier.sent_of(MessageKind::AccountLocked).is_empty());
        fail(&probe, &browser, "alice", 1).await;
        fail(&probe, &browser, "nobody", 15).await;
        for _ in 0..3 {
            assert!(is_refused(&probe, &browser, "alice").await);
        }
        probe.mail().await;
        let sent = probe.notifier.sent_of(MessageKind::AccountLocked);
        let [notice] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(notice.account_id, Some(alice.id()));
        assert!(notice.text.contains("for 60 minutes") && notice.text.contains("127.0.0.1"));
        let events = probe.auth.audit_log().of_account(alice.id(), 50).await.expect("it answers");
        let locks: Vec<_> = events.iter().filter(|e| e.kind == "authn_login_lock").collect();
        assert_eq!(locks.len(), 1);
        assert_eq!((locks[0].succeeded, locks[0].detail.as_deref()), (false, Some("login")));
        assert_eq!(locks[0].address.as_deref(), Some("127.0.0.1"));
        // The name without an account is locked too. Its event has no account.
        let kind = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_lock'";
        assert_eq!(probe.number(&format!("{kind} AND account_id IS NULL")).await, 1);
        // Refused attempts are recorded, and their event gives the reason.
        let failures = |reason: &str| {
            let failed = events.iter().filter(|event| event.kind == "authn_login_fail");
            failed.filter(|event| event.detail.as_deref() == Some(reason)).count()
        };
        assert_eq!((failures("invalid_credentials"), failures("too_many_attempts")), (15, 3));
        assert_eq!(tries(&probe, "1 = 1").await, 30);

        probe.clock.advance(HOUR + SECOND);
        assert!(!is_refused(&probe, &browser, "alice").await);
        assert!(!is_refused(&probe, &browser, "alice").await);
        let events = probe.auth.audit_log().of_account(alice.id(), 50).await.expect("it answers");
        let late: Vec<_> =
            events.iter().filter(|e| e.kind == "authn_login_successafterfail").collect();
        assert_eq!(late.len(), 1, "only the first success follows failures");
        assert_eq!((late[0].succeeded, late[0].detail.as_deref()), (true, Some("15")));
    }

    async fn a_purge_removes_what_it_names_says_how_much_and_unlocks(probe: Probe) {
        let probe = probe.configured(|config| {
            config.attempts.kinds.insert(AttemptKind::Login, {
                let mut own = AttemptOverrides::default();
                own.limit = Some(3);
                own
            });
        });
        let alice = probe.register("alice").await;
        let bob = probe.register("bob").await;
        let browser = probe.browser().await;
        let lock = async |name: &str| {
            for _ in 0..3 {
                login(&probe, &browser, name, WRONG).await;
            }
            assert_eq!(login(&probe, &browser, name, WRONG).await.1, 0, "{name} is locked");
            // Deletes the records of refused attempts, so that the purges below do not count them.
            probe.execute("DELETE FROM auth_attempt WHERE part = -1").await;
        };
        let attempts = probe.auth.attempts();
        let purge = async |purge: Purge| attempts.purge(purge).await.expect("it answers");
        for name in ["alice", "bob", "nobody"] {
            lock(name).await;
        }
        // Each condition alone and combined. Rows that do not match stay.
        assert_eq!(purge(Purge::everything().kind(AttemptKind::Challenge)).await, 0);
        assert_eq!(purge(Purge::everything().older_than(SECOND)).await, 0);
        assert_eq!(purge(Purge::everything().account(alice.id()).login("bob")).await, 0);
        assert_eq!(purge(Purge::everything().login("ALICE").kind(AttemptKind::Reset)).await, 0);
        assert!(is_refused(&probe, &browser, "alice").await);
        assert_eq!(purge(Purge::everything().account(alice.id())).await, 3 + 1, "one was refused");
        assert!(!is_refused(&probe, &browser, "alice").await);
        assert!(is_refused(&probe, &browser, "bob").await);
        let of_bob = Purge::everything().login("BOB").kind(AttemptKind::Login);
        assert_eq!(purge(of_bob).await, 3 + 1);
        assert!(!is_refused(&probe, &browser, "bob").await);
        assert_eq!(purge(Purge::everything().login("Nobody")).await, 3);
        assert_eq!(login(&probe, &browser, "nobody", WRONG).await.1, 1);
        probe.clock.advance(2 * SECOND);
        lock("bob").await;
        assert_eq!(purge(Purge::everything().older_than(SECOND)).await, 3);
        assert!(is_refused(&probe, &browser, "bob").await, "those of bob are younger");
        assert_eq!(purge(Purge::everything()).await, 3 + 1);
        assert_eq!(purge(Purge::everything()).await, 0);
        assert!(!is_refused(&probe, &browser, "bob").await);
        // A purge writes an event that names the account.
        let events = probe.auth.audit_log().of_account(bob.id(), 50).await.expect("it answers");
        assert_eq!(events.iter().filter(|event| event.kind == "attempts_purged").count(), 1);
    }

    async fn a_purge_of_many_runs_in_batches(probe: Probe) {
        let values: Vec<_> = (0..2500)
            .map(|number| {
                let subject = format!("{number:064x}");
                let subject = match probe.database.backend {
                    crate::support::Backend::Postgres => format!("decode('{subject}', 'hex')"),
                    _ => format!("X'{subject}'"),
                };
                format!("({subject}, 0, 0, 1, 1, {number})")
            })
            .collect();
        for rows in values.chunks(500) {
            let insert = "INSERT INTO auth_attempt (subject, kind, part, number, outcome, at) VALUES";
            probe.execute(&format!("{insert} {}", rows.join(", "))).await;
        }
        let (removed, statements) =
            probe.statements(probe.auth.attempts().purge(Purge::everything())).await;
        assert_eq!(removed.expect("it answers"), 2500);
        assert_eq!(statements, 3 * 2 + 1, "three batches, each found and removed, and an event");
    }

    async fn the_records_tell_no_name_and_no_account(probe: Probe) {
        let alice = probe.register("alice").await;
        let browser = probe.browser().await;
        for name in ["alice", "absent"] {
            login(&probe, &browser, name, WRONG).await;
        }
        let dump = probe.dump("auth_attempt").await;
        assert!(dump.len() == 2 && dump.iter().all(|row| row.contains("127.0.0.1")), "{dump:?}");
        let id = alice.id().as_uuid().simple().to_string();
        for row in &dump {
            let row = row.to_lowercase();
            for personal in ["alice", "absent", "616c696365", "616273656e74", &id] {
                assert!(!row.contains(personal), "{row}");
            }
        }
    }

    async fn without_its_records_nobody_is_judged(probe: Probe) {
        let (_, mut owner) = probe.signed_in("alice").await;
        let before = probe.auth.password_hashes();
        probe.execute("ALTER TABLE auth_attempt RENAME TO auth_attempt_gone").await;
        let body = json!({ "password": PASSWORD });
        let change = json!({ "current_password": PASSWORD, "new_password": "another long password" });
        for answer in [
            owner.stranger().login("alice", PASSWORD).await,
            owner.stranger().login("alice", WRONG).await,
            owner.stranger().login("nobody", WRONG).await,
            owner.login("alice", PASSWORD).await,
            owner.post("/auth/reauthenticate", body).await,
            owner.put("/auth/password", change).await,
        ] {
            assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
            assert!(answer.set_cookies().is_empty() && answer.headers.contains_key("retry-after"));
        }
        assert_eq!(probe.auth.password_hashes(), before, "an outage is no way round the count");
        probe.execute("ALTER TABLE auth_attempt_gone RENAME TO auth_attempt").await;
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
        assert_eq!(probe.auth.attempts().busy(), 0);
    }

    async fn a_client_that_hangs_up_has_failed_and_keeps_nobody_waiting(probe: Probe) {
        probe.register("alice").await;
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.password.memory_kib = 19 * 1024;
                config.password.iterations = 10;
                config.password.concurrent_hashes = Some(1);
            })
        });
        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let auth = auth.clone();
                tokio::spawn(async move {
                    let credentials = Credentials::password("alice", WRONG);
                    auth.login().with_password(credentials, &from("192.0.2.1")).await.map(|_| ())
                })
            })
            .collect();
        let reach = async |condition: &str| {
            until("six tries are there", async || tries(&probe, condition).await == 6).await;
        };
        reach("1 = 1").await;
        for task in &tasks {
            task.abort();
        }
        reach("outcome = 1").await;
        let browser = probe.browser().await;
        assert!(is_refused(&probe, &browser, "alice").await);
        probe.clock.advance(SECOND);
        assert!(!is_refused(&probe, &browser, "alice").await);
    }
}
