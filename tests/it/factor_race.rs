//! Races for what works once: a step of an authenticator, a recovery code, a sign-in that waits, and the
//! answer of a captcha. A hundred requests at once, on two nodes: one of them wins, nothing is lost for
//! the others, and no busy error appears as a failure.

use axum::Router;
use axum::routing::post;
use portcullis::captcha::{CaptchaResponse, PictureCaptcha};
use portcullis::config::AttemptKind;
use portcullis::login::{Credentials, LoginError};
use portcullis::{ClientInfo, Portcullis};
use reqwest::Method;
use serde_json::{Value, json};

use std::time::Duration;

use crate::mail_login::own_factor;
use crate::on_every_database;
use crate::race::parallel;
use crate::support::browser::{Answer, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp::{code, enrol, person, start};

const AT_ONCE: usize = 100;
const MINUTE: Duration = Duration::from_secs(60);

/// Two nodes that compare every code: the limits of attempts have tests of their own.
async fn nodes(probe: &mut Probe) -> [Browser; 2] {
    let node = |probe: &Probe| {
        probe.rebuilt(|builder| {
            builder.configure(|config| {
                let own = config.attempts.kinds.entry(AttemptKind::SecondFactor).or_default();
                (own.limit, own.first_delay) = (Some(100), Some(Duration::ZERO));
                own.longest_delay = Some(Duration::ZERO);
                config.rate.per_source = None;
                config.rate.per_principal = None;
                config.attempts.source_limit = None;
            })
        })
    };
    probe.auth = node(probe);
    let other = node(probe);
    [served(&probe.auth).await, served(&other).await]
}

async fn served(auth: &Portcullis) -> Browser {
    let own = Router::new().route("/own-factor", post(own_factor)).layer(auth.layer());
    Browser::new(serve(app(auth).merge(own)).await)
}

/// Returns so many sign-ins of Alice that wait for their second factor, from devices that are not known.
async fn waiting(browser: &Browser, count: usize) -> Vec<Browser> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut browser = browser.stranger();
        let answer = browser.login("alice", PASSWORD).await;
        assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
        all.push(browser);
    }
    all
}

async fn recovery_codes(browser: &mut Browser) -> Vec<String> {
    let answer = browser.post("/auth/recovery-codes", json!({})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    serde_json::from_value(answer.json()["codes"].clone()).expect("a list")
}

fn body(code: &str) -> Value {
    json!({ "code": code })
}

/// Sends all requests at once, and returns the answers of those that succeeded. All others were refused
/// with one of these codes.
async fn winners(requests: Vec<(Browser, &'static str, Value)>, refused: &[&str]) -> Vec<Answer> {
    let count = requests.len();
    let answers = parallel(count, |number| {
        let (browser, path, body) = &requests[number];
        send(browser.request(Method::POST, path).json(body))
    })
    .await;
    let (won, lost): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    for answer in lost {
        assert!(refused.contains(&answer.code().as_str()), "{}: {}", answer.status, answer.text);
        assert!(answer.cookie().is_none(), "{answer:?}");
    }
    won
}

/// The number of full sessions that count.
async fn full_sessions(probe: &Probe) -> i64 {
    let query = "SELECT COUNT(*) FROM auth_session WHERE ended_at IS NULL AND stage = 0";
    probe.number(query).await
}

const VERIFY: &str = "/auth/second-factor/verify";
const STEP_UP: &str = "/auth/reauthenticate";
const CONFIRM: &str = "/auth/totp/confirm";

on_every_database! {
    async fn of_a_hundred_sign_ins_and_step_ups_with_one_totp_code_one_succeeds(probe: Probe) {
        let mut probe = probe;
        let at = nodes(&mut probe).await;
        let (_, alice, seed) = person(&probe, "alice").await;
        let alice = alice.at(at[0].address);
        let sessions = full_sessions(&probe).await;
        let mut requests = Vec::new();
        let right = code(&probe, &seed);
        for (number, waits) in waiting(&at[0], AT_ONCE / 2).await.into_iter().enumerate() {
            requests.push((waits.at(at[number % 2].address), VERIFY, body(&right)));
            requests.push((alice.at(at[number % 2].address), STEP_UP, body(&right)));
        }
        let won = winners(requests, &["wrong_code", "session_ended"]).await;
        assert_eq!(won.len(), 1, "{won:?}");
        let mut winner = alice.with_cookie(&won[0].cookie().expect("a session"));
        assert_eq!(winner.get("/me").await.status, 200);
        // A step-up continues the session, and a sign-in makes one.
        assert!((sessions..=sessions + 1).contains(&full_sessions(&probe).await));
        // The next code is right for the others.
        probe.clock.advance(MINUTE);
        probe.forget_attempts().await;
        let mut other = waiting(&at[1], 1).await.remove(0);
        assert_eq!(other.post(VERIFY, body(&code(&probe, &seed))).await.status, 200);
    }

    async fn of_a_hundred_confirmations_with_one_totp_code_one_sets_up_the_authenticator(probe: Probe) {
        let mut probe = probe;
        let at = nodes(&mut probe).await;
        let (_, mut alice, _) = person(&probe, "alice").await;
        let (id, seed) = start(&mut alice, "tablet").await;
        let proof = json!({ "id": id, "code": code(&probe, &seed) });
        let requests = (0..AT_ONCE).map(|number| (alice.at(at[number % 2].address), CONFIRM, proof.clone()));
        let refused = ["wrong_code", "session_ended", "authenticator_not_found"];
        let won = winners(requests.collect(), &refused).await;
        assert_eq!(won.len(), 1, "{won:?}");
        let mut winner = alice.with_cookie(&won[0].cookie().expect("a session"));
        let listed = winner.get("/auth/totp").await.json()["authenticators"].clone();
        assert_eq!(listed.as_array().map(Vec::len), Some(2));
        assert_eq!(full_sessions(&probe).await, 1);
    }

    async fn a_totp_code_and_the_removal_of_its_authenticator_end_in_one_of_the_two(probe: Probe) {
        let mut probe = probe;
        let at = nodes(&mut probe).await;
        let (_, mut alice, _) = person(&probe, "alice").await;
        let (id, seed) = enrol(&probe, &mut alice, "tablet").await;
        let right = code(&probe, &seed);
        let mut requests = Vec::new();
        for (number, waits) in waiting(&at[0], AT_ONCE - 10).await.into_iter().enumerate() {
            requests.push((waits.at(at[number % 2].address), VERIFY, body(&right)));
        }
        for number in 0..10 {
            let tab = alice.at(at[number % 2].address);
            requests.insert(number * 9, (tab, "/auth/totp/REMOVE/remove", json!({})));
        }
        let count = requests.len();
        let answers = parallel(count, |number| {
            let (browser, path, body) = &requests[number];
            send(browser.request(Method::POST, &path.replace("REMOVE", &id)).json(body))
        })
        .await;
        let removes = |number: usize| requests[number].1 != VERIFY;
        let mut won = [Vec::new(), Vec::new()];
        for (number, answer) in answers.iter().enumerate() {
            match answer.status {
                200 => won[usize::from(removes(number))].push(answer.cookie().expect("a session")),
                status => assert!(status < 500, "{}", answer.text),
            }
        }
        let [signed_in, removed] = won;
        assert_eq!(removed.len(), 1, "nobody else changes the account");
        assert!(signed_in.len() <= 1, "{signed_in:?}");
        // The removal ended every other session, also one that a code had just made. So a session that
        // lives was made by no code of the removed authenticator.
        for cookie in signed_in {
            assert_eq!(alice.with_cookie(&cookie).get("/me").await.code(), "session_ended");
        }
        assert_eq!(alice.with_cookie(&removed[0]).get("/me").await.status, 200);
        assert_eq!(full_sessions_of_the_account(&probe).await, 1);
        probe.clock.advance(MINUTE);
        probe.forget_attempts().await;
        let mut other = waiting(&at[0], 1).await.remove(0);
        assert_eq!(other.post(VERIFY, body(&code(&probe, &seed))).await.code(), "wrong_code");
    }

    async fn of_a_hundred_requests_with_one_recovery_code_one_succeeds(probe: Probe) {
        let mut probe = probe;
        let at = nodes(&mut probe).await;
        let (_, mut alice, _) = person(&probe, "alice").await;
        let codes = recovery_codes(&mut alice).await;
        let mut requests = Vec::new();
        for (number, waits) in waiting(&at[0], AT_ONCE / 2).await.into_iter().enumerate() {
            requests.push((waits.at(at[number % 2].address), VERIFY, body(&codes[0])));
            requests.push((alice.at(at[number % 2].address), STEP_UP, body(&codes[0])));
        }
        let won = winners(requests, &["wrong_code", "session_ended"]).await;
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(won[0].json()["recovery_codes_left"], 9);
        let used = "SELECT COUNT(*) FROM auth_recovery_code WHERE used_at IS NOT NULL";
        assert_eq!(probe.number(used).await, 1);
        let mut winner = alice.with_cookie(&won[0].cookie().expect("a session"));
        assert_eq!(winner.get("/me").await.status, 200);
    }

    async fn a_sign_in_that_waits_is_finished_once_and_no_other_code_is_used_up(probe: Probe) {
        let mut probe = probe;
        let at = nodes(&mut probe).await;
        let (_, mut alice, seed) = person(&probe, "alice").await;
        let mut codes = recovery_codes(&mut alice).await;
        codes.push(code(&probe, &seed));
        let waits = waiting(&at[0], 1).await.remove(0);
        let requests = (0..AT_ONCE).map(|number| {
            (waits.at(at[number % 2].address), VERIFY, body(&codes[number % codes.len()]))
        });
        let won = winners(requests.collect(), &["wrong_code", "session_ended", "wrong_stage"]).await;
        assert_eq!(won.len(), 1, "{won:?}");
        let mut winner = alice.with_cookie(&won[0].cookie().expect("a session"));
        assert_eq!(winner.get("/me").await.status, 200);
        assert_eq!(full_sessions(&probe).await, 2);
        // Only the code of the winner is used up.
        let used = "SELECT COUNT(*) FROM auth_recovery_code WHERE used_at IS NOT NULL";
        let by_paper = won[0].json().get("recovery_codes_left").is_some();
        assert_eq!(probe.number(used).await, i64::from(by_paper));
        probe.forget_attempts().await;
        let mut other = waiting(&at[1], 1).await.remove(0);
        let answer = other.post(VERIFY, body(codes.last().expect("a code"))).await;
        assert_eq!(answer.status, if by_paper { 200 } else { 403 }, "{}", answer.text);
    }

    async fn of_two_ways_to_finish_a_sign_in_one_succeeds(probe: Probe) {
        let mut probe = probe;
        let at = nodes(&mut probe).await;
        let (account, alice, seed) = person(&probe, "alice").await;
        let waits = waiting(&at[0], 1).await.remove(0);
        let right = body(&code(&probe, &seed));
        let answers = parallel(AT_ONCE, |number| {
            let tab = waits.at(at[number / 2 % 2].address);
            let request = match number % 2 {
                0 => tab.request(Method::POST, VERIFY).json(&right),
                // The application checked the factor itself.
                _ => tab.request(Method::POST, "/own-factor").header("factor", "totp"),
            };
            send(request)
        })
        .await;
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1, "{won:?}");
        for lost in answers.iter().filter(|answer| answer.status != 200) {
            let known = ["session_ended", "wrong_code", "wrong_stage"].contains(&lost.code().as_str());
            assert!(known && lost.cookie().is_none(), "{}", lost.text);
        }
        assert_eq!(full_sessions(&probe).await, 2);
        let mut winner = alice.with_cookie(&won[0].cookie().expect("a session"));
        assert_eq!(winner.get("/me").await.text, account.id().to_string());
    }

    async fn of_a_hundred_sign_ins_with_one_answer_of_a_captcha_one_succeeds(probe: Probe) {
        probe.register("alice").await;
        let node = || {
            probe.rebuilt(|builder| {
                builder.captcha(PictureCaptcha::new()).configure(|config| {
                    config.captcha.login_after = Some(0);
                    config.captcha.attempts = 10;
                    config.rate.per_source = None;
                })
            })
        };
        let nodes = [node(), node()];
        let (client, before) = (ClientInfo::default(), full_sessions(&probe).await);
        for round in 0..3 {
            let offer = nodes[round % 2].captchas().offer("login", &client).await.expect("a picture");
            let id = offer.parts["captcha_id"].as_str().expect("an id").to_owned();
            let digits = nodes[0].captchas().digits(&id).await.expect("digits");
            let results = parallel(AT_ONCE, |number| {
                let auth = nodes[number % 2].clone();
                let response = CaptchaResponse::typed(&id, &digits);
                let credentials = Credentials::password("alice", PASSWORD).captcha(response);
                async move { auth.login().with_password(credentials, &ClientInfo::default()).await }
            })
            .await;
            let mut won = 0;
            for result in results {
                match result {
                    Ok(_) => won += 1,
                    Err(LoginError::Captcha(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            assert_eq!(won, 1);
            let rounds = i64::try_from(round).expect("small") + 1;
            assert_eq!(full_sessions(&probe).await, before + rounds);
        }
    }
}

/// The same for sessions that the epoch of the account has not ended.
async fn full_sessions_of_the_account(probe: &Probe) -> i64 {
    let query = "SELECT COUNT(*) FROM auth_session s JOIN auth_account a ON a.id = s.account_id \
                 WHERE s.ended_at IS NULL AND s.stage = 0 AND s.account_epoch = a.epoch";
    probe.number(query).await
}
