//! Guesses that an application checks itself. They count in the same way as guesses at the
//! passwords of portcullis, and together with them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::HeaderMap;
use portcullis::config::{AttemptKind, LoginIds};
use portcullis::login::{Guess, LoginError, Verdict};
use portcullis::message::MessageKind;
use portcullis::rate_limit::Quota;
use portcullis::{
    ClientInfo, Factor, PendingSession, Portcullis, Problem, Rejection, TrustedProxies,
};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::attempt::{HOUR, SECOND, tries};
use crate::on_every_database;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe, until};

/// The password that the application's directory accepts.
const DIRECTORY_PASSWORD: &str = "the password of the directory";

fn client() -> ClientInfo {
    let address: IpAddr = "192.0.2.7".parse().expect("an address");
    ClientInfo::resolve(Some(address), &HeaderMap::new(), &TrustedProxies::default())
}

async fn guess(probe: &Probe, guess: Guess<'_>, right: bool) -> Verdict {
    let attempt = probe.auth.attempts().begin(guess, &client()).await.expect("it begins");
    attempt.judge(right).await.expect("it is judged")
}

/// Makes many guesses at the same moment. Returns how many were right and counted.
async fn at_once(auth: &Portcullis, name: &'static str, right: bool, many: usize) -> usize {
    let barrier = Arc::new(Barrier::new(many));
    let mut guesses = JoinSet::new();
    for _ in 0..many {
        let (auth, barrier) = (auth.clone(), Arc::clone(&barrier));
        guesses.spawn(async move {
            barrier.wait().await;
            let attempt = auth.attempts().begin(Guess::Password(name), &client()).await;
            attempt.expect("it begins").judge(right).await.expect("it is judged")
        });
    }
    let verdicts = guesses.join_all().await;
    verdicts.into_iter().filter(|verdict| *verdict == Verdict::Right).count()
}

async fn events(probe: &Probe, condition: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE {condition}")).await
}

/// A sign-in with a directory, as the documentation of `begin` shows it.
async fn directory(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    parts: Parts,
    Json(body): Json<Value>,
) -> Result<Response, Rejection> {
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    let attempt = auth.attempts().begin(Guess::Password(text("login")), &client).await?;
    let account = attempt.account().cloned();
    let accepted = text("password") == DIRECTORY_PASSWORD;
    match (attempt.judge(accepted && account.is_some()).await?, account) {
        (Verdict::Right, Some(account)) => {
            let sign_in = auth.sign_in(&account, &client).proved(Factor::Password);
            let outcome = sign_in.replacing(&parts.extensions).await?.await?;
            Ok((outcome.into_issued(), "signed in").into_response())
        }
        _ => Err(LoginError::InvalidCredentials.into()),
    }
}

/// A sign-in with the code of a hardware key, which is always the same.
async fn hardware_key(
    State(auth): State<Portcullis>,
    pending: PendingSession,
    client: ClientInfo,
    Json(body): Json<Value>,
) -> Result<Response, Rejection> {
    let guess = Guess::SecondFactor(pending.account());
    let attempt = auth.attempts().begin(guess, &client).await?;
    if attempt.judge(body["code"] == "1234").await? == Verdict::Wrong {
        return Err(LoginError::WrongPassword.into());
    }
    let outcome = auth.login().finish(&pending, Factor::External, &client).await?;
    Ok((outcome.into_issued(), "finished").into_response())
}

async fn browser_of(auth: &Portcullis) -> Browser {
    let own = Router::new()
        .route("/directory", post(directory))
        .route("/hardware-key", post(hardware_key))
        .with_state(auth.clone());
    Browser::new(serve(app(auth).merge(own.layer(auth.layer()))).await)
}

on_every_database! {
    async fn guesses_at_a_directory_count_with_those_at_our_passwords(probe: Probe) {
        probe.register("alice").await;
        probe.register("bob").await;
        let browser = probe.browser().await;
        for _ in 0..3 {
            assert_eq!(guess(&probe, Guess::Password(" Alice"), false).await, Verdict::Wrong);
            assert_eq!(browser.stranger().login("alice", "wrong horse battery staple").await.status, 401);
        }
        // After the sixth failure there is a delay. A right guess is refused in both places.
        assert_eq!(guess(&probe, Guess::Password("alice"), true).await, Verdict::Wrong);
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 401);
        assert_eq!(guess(&probe, Guess::Password("bob"), true).await, Verdict::Right);
        probe.clock.advance(SECOND);
        assert_eq!(guess(&probe, Guess::Password("alice"), true).await, Verdict::Right);
        // A success closes the window, so there are six more attempts.
        for _ in 0..6 {
            assert_eq!(guess(&probe, Guess::Password("alice"), false).await, Verdict::Wrong);
        }
        assert_eq!(guess(&probe, Guess::Password("alice"), true).await, Verdict::Wrong);
        let kind = "kind = 'authn_login_fail' AND detail";
        assert_eq!(events(&probe, &format!("{kind} = 'invalid_credentials'")).await, 12);
        assert_eq!(events(&probe, &format!("{kind} = 'too_many_attempts'")).await, 3);
        assert_eq!(events(&probe, "kind = 'authn_login_successafterfail' AND detail = '6'").await, 1);
    }

    async fn fifteen_failures_lock_and_the_owner_is_told_once(probe: Probe) {
        let account = probe.register_with_email("alice", "alice@example.com").await;
        for number in 1..=15 {
            // A name without an account is locked in the same way.
            for name in ["alice", "nobody"] {
                assert_eq!(guess(&probe, Guess::Password(name), false).await, Verdict::Wrong);
            }
            assert_eq!(tries(&probe, "1 = 1").await, 2 * number, "each was judged");
            // The delays after the sixth failure: 1, 2, 4 … 60 seconds.
            if number >= 6 {
                probe.clock.advance(Duration::from_secs(60.min(1 << (number - 6))));
            }
        }
        for name in ["alice", "alice@example.com", "nobody"] {
            assert_eq!(guess(&probe, Guess::Password(name), true).await, Verdict::Wrong);
        }
        let own = Guess::PasswordOf(&account);
        assert_eq!(guess(&probe, own, true).await, Verdict::Wrong, "nor from inside");
        let locked = probe.auth.attempts().refused_until(account.id(), AttemptKind::Login).await;
        assert!(locked.expect("it answers").is_some());
        let mails = probe.mail().await;
        let told = mails.iter().filter(|mail| mail.kind == MessageKind::AccountLocked).count();
        assert_eq!(told, 1);
        probe.clock.advance(HOUR + SECOND);
        assert_eq!(guess(&probe, Guess::Password("alice"), true).await, Verdict::Right);
    }

    async fn a_dropped_attempt_has_failed(probe: Probe) {
        let account = probe.register("alice").await;
        for number in 1..=6 {
            drop(probe.auth.attempts().begin(Guess::SecondFactor(&account), &client()).await.expect("it begins"));
            until("it has failed", async || tries(&probe, "outcome = 1").await == number).await;
        }
        assert_eq!(guess(&probe, Guess::SecondFactor(&account), true).await, Verdict::Wrong);
        probe.clock.advance(SECOND);
        assert_eq!(guess(&probe, Guess::SecondFactor(&account), true).await, Verdict::Right);
    }

    async fn a_directory_that_is_down_costs_nobody_an_attempt(probe: Probe) {
        let account = probe.register("alice").await;
        for guessed in [Guess::Password("alice"), Guess::Password("nobody"), Guess::SecondFactor(&account)] {
            for _ in 0..20 {
                let attempt = probe.auth.attempts().begin(guessed, &client()).await.expect("it begins");
                attempt.withdraw().await;
            }
            assert_eq!(guess(&probe, guessed, true).await, Verdict::Right);
        }
        assert_eq!(events(&probe, "kind = 'authn_login_fail'").await, 0);
        // A refused one that is taken back gives nobody a new one.
        for _ in 0..6 {
            assert_eq!(guess(&probe, Guess::Password("alice"), false).await, Verdict::Wrong);
        }
        for _ in 0..3 {
            let attempt = probe.auth.attempts().begin(Guess::Password("alice"), &client()).await;
            attempt.expect("it begins").withdraw().await;
        }
        assert_eq!(guess(&probe, Guess::Password("alice"), true).await, Verdict::Wrong);
    }

    async fn a_lock_that_dropped_attempts_bring_about_is_told(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        for number in 1..=15 {
            let attempt = probe.auth.attempts().begin(Guess::Password("alice"), &client()).await;
            drop(attempt.expect("it begins"));
            until("it has failed", async || tries(&probe, "outcome = 1").await == number).await;
            if number >= 6 {
                probe.clock.advance(Duration::from_secs(60.min(1 << (number - 6))));
            }
        }
        let failed = "kind = 'authn_login_fail' AND detail = 'invalid_credentials' AND account_id IS NOT NULL";
        assert_eq!(events(&probe, failed).await, 15);
        assert_eq!(events(&probe, "kind = 'authn_login_lock'").await, 1);
        let mails = probe.mail().await;
        assert_eq!(mails.iter().filter(|mail| mail.kind == MessageKind::AccountLocked).count(), 1);
    }

    async fn a_client_that_hangs_up_while_its_result_is_written_changes_no_result(probe: Probe) {
        let account = probe.register("alice").await;
        for round in 0_u64..40 {
            let right = round % 2 == 0;
            let attempt = probe.auth.attempts().begin(Guess::SecondFactor(&account), &client()).await;
            let judged = attempt.expect("it begins").judge(right);
            let wait = Duration::from_micros(50 * round);
            let _ = tokio::time::timeout(wait, judged).await;
            until("nothing is pending", async || tries(&probe, "outcome = 0").await == 0).await;
            probe.clock.advance(HOUR);
        }
        // What was not told by its transaction was told by the drop, and nothing was told twice.
        let failed = tries(&probe, "outcome = 1").await;
        assert_eq!(events(&probe, "kind = 'authn_login_fail'").await, failed);
        assert_eq!(tries(&probe, "outcome = 2").await + failed, 40);
    }

    async fn a_name_that_signs_nobody_in_gives_no_attempts_at_its_owner(probe: Probe) {
        let new = portcullis::account::NewAccount::username("alice").with_email("alice@example.com");
        let new = new.with_phone("+493012345678").verified();
        let account = probe.auth.accounts().create(new).await.expect("an account");
        let begin = async |probe: &Probe, name: &str| {
            probe.auth.attempts().begin(Guess::Password(name), &client()).await.expect("it begins")
        };
        // The phone number signs nobody in; nor does the username where only addresses do.
        assert_eq!(begin(&probe, "alice").await.account().map(portcullis::Account::id), Some(account.id()));
        assert!(begin(&probe, "+49 30 12345678").await.account().is_none());
        assert!(begin(&probe, "+493012345678").await.account().is_none());
        let probe = probe.configured(|config| config.login.id = LoginIds::Email);
        probe.forget_attempts().await;
        assert!(begin(&probe, "alice@example.com").await.account().is_some());
        probe.forget_attempts().await;
        // All spellings have one count.
        for name in ["alice", "aLice", "alIce", "aliCe", "alicE", " ALICE "] {
            assert_eq!(guess(&probe, Guess::Password(name), false).await, Verdict::Wrong, "{name}");
        }
        assert_eq!(guess(&probe, Guess::Password("ALice"), true).await, Verdict::Wrong);
        // Also of a name that portcullis cannot read.
        probe.forget_attempts().await;
        for name in ["CORP\\bob", "corp\\bob", "Corp\\Bob", "CORP\\BOB", "corp\\BOB", "CORP\\Bob"] {
            assert_eq!(guess(&probe, Guess::Password(name), false).await, Verdict::Wrong, "{name}");
        }
        assert_eq!(guess(&probe, Guess::Password("corp\\boB"), true).await, Verdict::Wrong);
    }

    async fn of_many_at_once_no_more_are_judged_than_there_may_be_and_all_right_ones_are(probe: Probe) {
        probe.register("alice").await;
        assert_eq!(at_once(&probe.auth, "alice", true, 16).await, 16);
        assert_eq!(tries(&probe, "outcome = 2").await, 16);
        probe.forget_attempts().await;
        assert_eq!(at_once(&probe.auth, "alice", false, 16).await, 0);
        assert_eq!(tries(&probe, "1 = 1").await, 6, "then there is a wait");
        assert_eq!(at_once(&probe.auth, "alice", true, 16).await, 0);
    }

    async fn a_second_factor_has_a_count_of_its_own_for_each_account(probe: Probe) {
        let (alice, bob) = (probe.register("alice").await, probe.register("bob").await);
        for _ in 0..6 {
            assert_eq!(guess(&probe, Guess::SecondFactor(&alice), false).await, Verdict::Wrong);
        }
        assert_eq!(guess(&probe, Guess::SecondFactor(&alice), true).await, Verdict::Wrong);
        assert_eq!(guess(&probe, Guess::SecondFactor(&bob), true).await, Verdict::Right);
        for own in [Guess::Password("alice"), Guess::PasswordOf(&alice)] {
            assert_eq!(guess(&probe, own, true).await, Verdict::Right);
        }
        // The right password gives no new attempts at the second factor.
        assert_eq!(guess(&probe, Guess::SecondFactor(&alice), true).await, Verdict::Wrong);
        let failed = "kind = 'authn_login_fail' AND detail = 'wrong_second_factor'";
        assert_eq!(events(&probe, failed).await, 6);
    }

    async fn empty_and_huge_names_are_counted_like_others(probe: Probe) {
        let huge = "x".repeat(1_000_000);
        for name in ["", " ", "\0", "a\nb", "é@", &huge] {
            probe.forget_attempts().await;
            for _ in 0..6 {
                assert_eq!(guess(&probe, Guess::Password(name), false).await, Verdict::Wrong);
            }
            assert_eq!(tries(&probe, "1 = 1").await, 6);
            assert_eq!(guess(&probe, Guess::Password(name), true).await, Verdict::Wrong);
        }
        assert_eq!(format!("{:?}", Guess::Password("secret")), "Guess(..)");
    }

    async fn a_refused_sign_in_with_a_directory_looks_like_a_wrong_one(probe: Probe) {
        probe.register("alice").await;
        let mut browser = browser_of(&probe.auth).await;
        let body = |login: &str, password: &str| json!({ "login": login, "password": password });
        let answer = browser.post("/directory", body("alice", DIRECTORY_PASSWORD)).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "signed in"));
        assert_eq!(browser.get("/me").await.status, 200);
        let mut stranger = browser.stranger();
        let mut wrong = Vec::new();
        for name in ["alice", "nobody"] {
            for _ in 0..6 {
                wrong.push(stranger.post("/directory", body(name, "wrong")).await);
            }
        }
        let refused = stranger.post("/directory", body("alice", DIRECTORY_PASSWORD)).await;
        for mut answer in wrong {
            answer.headers.remove("date");
            let mut refused = refused.clone();
            refused.headers.remove("date");
            assert_eq!((answer.status, answer.headers, answer.text), (refused.status, refused.headers, refused.text));
        }
        // The owner can sign in on a browser that is known to the account.
        assert!(browser.device.is_some());
        let answer = browser.post("/directory", body("alice", DIRECTORY_PASSWORD)).await;
        assert_eq!(answer.text, "signed in", "{}", answer.status);
        // If lockouts are revealed, the answer comes before anything is compared, and depends on
        // the typed name.
        let telling = probe.configured(|config| config.attempts.reveal_lockout = true);
        for _ in 0..6 {
            assert_eq!(guess(&telling, Guess::Password("nobody at all"), false).await, Verdict::Wrong);
        }
        let told = telling.auth.attempts().begin(Guess::Password("nobody at all"), &client()).await;
        assert!(matches!(told, Err(LoginError::TooManyAttempts { retry_after }) if retry_after == SECOND));
    }

    async fn a_rate_limit_refuses_before_an_attempt_is_taken(probe: Probe) {
        let account = probe.register("alice").await;
        let quota = Quota::per_minute(3);
        let probe = probe.configured(|config| config.rate.per_principal = Some(quota));
        let begin = async |guess: Guess<'_>| probe.auth.attempts().begin(guess, &client()).await;
        for name in ["alice", "nobody"] {
            // All spellings have one limit.
            for spelling in [name.to_owned(), name.to_uppercase(), format!(" {name} ")] {
                begin(Guess::Password(&spelling)).await.expect("it begins").withdraw().await;
            }
            let before = tries(&probe, "1 = 1").await;
            let refused = begin(Guess::Password(name)).await;
            let Err(LoginError::RateLimited(limited)) = refused else { panic!("{refused:?}") };
            assert_eq!(limited.status(), 429);
            assert!(limited.retry_after().is_some_and(|wait| wait <= Duration::from_secs(60)));
            assert_eq!(tries(&probe, "1 = 1").await, before, "no attempt was taken");
        }
        // Other names are not affected, nor is a client with a session or a sign-in of the account.
        for guess in [Guess::Password("bob"), Guess::PasswordOf(&account), Guess::SecondFactor(&account)] {
            begin(guess).await.expect("it begins").withdraw().await;
        }
        assert_eq!(events(&probe, "kind = 'authn_login_fail'").await, 0);
        probe.clock.advance(Duration::from_secs(60));
        begin(Guess::Password("alice")).await.expect("it begins").withdraw().await;
    }

    async fn a_hardware_key_finishes_a_sign_in_and_another_sign_in_brings_no_new_attempts(probe: Probe) {
        let account = probe.register("alice").await;
        let accounts = probe.auth.accounts();
        accounts.set_enrolled_factors(account.id(), [Factor::External]).await.expect("enrolled");
        let mut browser = browser_of(&probe.auth).await;
        let mut failed = 0;
        for _ in 0..3 {
            assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
            for _ in 0..3 {
                let answer = browser.post("/hardware-key", json!({ "code": "0000" })).await;
                assert_eq!((answer.status, answer.code().as_str()), (403, "wrong_password"));
                failed += 1;
            }
        }
        assert_eq!((failed, tries(&probe, "kind = 3").await), (9, 6));
        assert_eq!(browser.post("/hardware-key", json!({ "code": "1234" })).await.status, 403);
        probe.clock.advance(SECOND);
        assert_eq!(browser.post("/hardware-key", json!({ "code": "1234" })).await.text, "finished");
        assert_eq!(browser.get("/me").await.status, 200);
    }
}
