//! A second factor that the application checks, through its port.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use portcullis::config::{AttemptKind, AttemptOverrides, RateStore};
use portcullis::hook::{HookResult, Hooks, SigningIn};
use portcullis::identity::owner::{AccountOwner, Factors};
use portcullis::login::{Credentials, LoginOutcome};
use portcullis::permission::RoleDefinition;
use portcullis::port::{
    ExternalAttempt, ExternalChallenge, ExternalFactor, ExternalVerdict, HookFuture,
};
use portcullis::rate_limit::Quota;
use portcullis::second_factor::{FactorCode, FactorOwner, SecondFactorError};
use portcullis::{
    Account, AccountId, ClientInfo, Factor, MessageKind, PendingSession, Portcullis, Problem,
    Refusal, Rejection, Secret,
};
use sea_orm::DatabaseTransaction;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::sent_code::prove_mailbox;
use crate::support::browser::Answer;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp::{check, code, enrol as enrol_totp, verify as verify_totp};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND_STEP: &str = "/auth/second-factor/challenge";
const AGAIN: &str = "/auth/reauthenticate/challenge";

/// What the card does when it is asked.
#[derive(Clone, Copy, Default)]
enum Mode {
    /// It asks for a cell, and each question has another answer.
    #[default]
    Asks,
    /// It asks nothing, and always accepts the same code.
    AsksNothing,
    Fails,
    Hangs,
    Panics,
}

/// A card of the application.
#[derive(Clone, Default)]
pub(crate) struct Card(Arc<Mutex<Seen>>);

/// Ends the challenges of an account in a transaction of the application.
struct Replacing {
    auth: Portcullis,
    account: AccountId,
}

impl Replacing {
    async fn now(self) {
        let txn = self.auth.begin().await.expect("it begins");
        let ended = self.auth.second_factor().end_challenges(self.account, &txn).await;
        ended.expect("they end");
        txn.commit().await.expect("it is committed");
    }
}

#[derive(Default)]
struct Seen {
    mode: Mode,
    replacing: Option<Replacing>,
    challenged: Vec<ExternalAttempt>,
    verified: Vec<ExternalAttempt>,
}

impl Card {
    fn does(&self, mode: Mode) {
        self.0.lock().expect("a lock").mode = mode;
    }

    /// Does this once, before the next answer.
    fn before_right(&self, replacing: Replacing) {
        self.0.lock().expect("a lock").replacing = Some(replacing);
    }

    fn mode(&self) -> Mode {
        self.0.lock().expect("a lock").mode
    }

    /// How often it was asked for a challenge, and for a check.
    fn asked(&self) -> (usize, usize) {
        let seen = self.0.lock().expect("a lock");
        (seen.challenged.len(), seen.verified.len())
    }
}

impl ExternalFactor for Card {
    fn challenge<'a>(
        &'a self,
        attempt: &'a ExternalAttempt,
    ) -> HookFuture<'a, Option<ExternalChallenge>> {
        let cell = {
            let mut seen = self.0.lock().expect("a lock");
            seen.challenged.push(attempt.clone());
            seen.challenged.len()
        };
        let mode = self.mode();
        Box::pin(async move {
            match mode {
                Mode::Asks => {
                    let shown = json!({ "cell": cell });
                    Ok(Some(ExternalChallenge::new(shown, format!("cell {cell}"))))
                }
                Mode::AsksNothing => Ok(None),
                Mode::Fails => Err("the card is in a drawer".into()),
                Mode::Hangs => std::future::pending().await,
                Mode::Panics => panic!("a card that panics"),
            }
        })
    }

    fn verify<'a>(
        &'a self,
        attempt: &'a ExternalAttempt,
        challenge: Option<&'a str>,
        code: &'a str,
    ) -> HookFuture<'a, ExternalVerdict> {
        let replacing = {
            let mut seen = self.0.lock().expect("a lock");
            seen.verified.push(attempt.clone());
            seen.replacing.take()
        };
        let mode = self.mode();
        Box::pin(async move {
            if let Some(replacing) = replacing {
                replacing.now().await;
            }
            let right = match mode {
                Mode::Asks => challenge.is_some_and(|cell| code == format!("answer of {cell}")),
                Mode::AsksNothing => challenge.is_none() && code == "paper",
                Mode::Fails => return Err("the card is in a drawer".into()),
                Mode::Hangs => std::future::pending().await,
                Mode::Panics => panic!("a card that panics"),
            };
            Ok(if right { ExternalVerdict::Right } else { ExternalVerdict::Wrong })
        })
    }
}

/// The pages of the application on which a card is set up and removed.
pub(crate) fn card_pages(auth: &Portcullis) -> Router {
    async fn ask(
        auth: Portcullis,
        owner: FactorOwner,
        client: ClientInfo,
    ) -> Result<Response, Rejection> {
        let asked = auth.second_factor().challenge_external(&owner, &client).await?;
        let shown = asked.map(|challenge| challenge.shown);
        Ok((StatusCode::ACCEPTED, axum::Json(json!({ "challenge": shown }))).into_response())
    }
    async fn enrol(
        auth: Portcullis,
        owner: FactorOwner,
        client: ClientInfo,
        code: String,
    ) -> Result<Response, Rejection> {
        let issued = auth.second_factor().enrol_external(&owner, code, &client).await?;
        Ok((issued, "enrolled").into_response())
    }
    async fn remove(
        auth: Portcullis,
        owner: AccountOwner<Factors>,
        client: ClientInfo,
    ) -> Result<Response, Rejection> {
        let issued = auth.second_factor().remove_external(&owner, &client).await?;
        Ok((issued, "removed").into_response())
    }
    Router::new()
        .route("/card", post(enrol).delete(remove))
        .route("/card/challenge", post(ask))
        .layer(auth.layer())
}

/// The probe with a card.
pub(crate) fn with_card(
    mut probe: Probe,
    change: impl FnOnce(&mut portcullis::Config),
) -> (Probe, Card) {
    let card = Card::default();
    let port = card.clone();
    probe.auth = probe
        .rebuilt(|builder| builder.external_factor(port).configure(no_delay).configure(change));
    (probe, card)
}

async fn browser(probe: &Probe) -> Browser {
    Browser::new(serve(app(&probe.auth).merge(card_pages(&probe.auth))).await)
}

/// An account with a proved address and no second factor, and its browser.
pub(crate) async fn member(probe: &Probe, name: &str) -> (Account, Browser) {
    let account = probe.register_with_email(name, &format!("{name}@example.com")).await;
    probe.auth.accounts().verify(account.id()).await.expect("it is verified");
    let mut browser = browser(probe).await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    (account, browser)
}

/// The same, with a card.
async fn person(probe: &Probe, name: &str) -> (Account, Browser) {
    let (account, mut browser) = member(probe, name).await;
    prove_mailbox(probe, &mut browser).await;
    let answer = ask(&mut browser, "/card/challenge").await;
    let enrolled = enrol(&mut browser, &answer).await;
    assert_eq!(enrolled.status, 200, "{}", enrolled.text);
    probe.clock.advance(MINUTE);
    (account, browser)
}

/// Starts a challenge, and returns its answer.
async fn ask(browser: &mut Browser, path: &str) -> String {
    let asked = browser.post(path, json!({ "method": "external" })).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    format!("answer of cell {}", asked.json()["challenge"]["cell"])
}

pub(crate) async fn enrol(browser: &mut Browser, code: &str) -> Answer {
    let request = browser.request(axum::http::Method::POST, "/card").body(code.to_owned());
    browser.send(request).await
}

fn body(code: &str) -> Value {
    json!({ "method": "external", "code": code })
}

pub(crate) async fn verify(browser: &mut Browser, code: &str) -> Answer {
    browser.post("/auth/second-factor/verify", body(code)).await
}

pub(crate) async fn step_up(browser: &mut Browser, code: &str) -> Answer {
    browser.post("/auth/reauthenticate", body(code)).await
}

pub(crate) async fn waiting(browser: &Browser, name: &str) -> Browser {
    let mut browser = browser.stranger();
    let answer = browser.login(name, PASSWORD).await;
    assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
    browser
}

async fn factors(browser: &mut Browser) -> Vec<String> {
    let answer = browser.get("/auth/session").await;
    let list = answer.json()["factors"].clone();
    let list = list.as_array().expect("a list").iter();
    list.map(|factor| factor["factor"].as_str().expect("a name").to_owned()).collect()
}

async fn enrolled(probe: &Probe, account: &Account) -> Vec<Factor> {
    let found = probe.auth.accounts().find(account.id()).await.expect("it answers");
    found.expect("an account").enrolled_factors().iter().collect()
}

async fn told(probe: &Probe, kind: MessageKind) -> Vec<String> {
    let sent = probe.mail().await;
    let told = sent.iter().filter(|mail| mail.kind == kind);
    told.map(|mail| mail.value("factor").unwrap_or_default().to_owned()).collect()
}

/// Without the delay between wrong codes, only their number counts.
fn no_delay(config: &mut portcullis::Config) {
    let mut own = AttemptOverrides::default();
    own.first_delay = Some(Duration::ZERO);
    config.attempts.kinds.insert(AttemptKind::SecondFactor, own);
}

/// Refuses sign-ins while the flag is set.
#[derive(Clone, Default)]
struct Nights(Arc<AtomicBool>);

impl Hooks for Nights {
    async fn before_login(&self, _: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
        match self.0.load(Ordering::SeqCst) {
            true => Err(Refusal::new(StatusCode::FORBIDDEN, "closed", "come back later").into()),
            false => Ok(()),
        }
    }
}

async fn pending(auth: &Portcullis, name: &str) -> PendingSession {
    let credentials = Credentials::password(name, PASSWORD);
    let outcome = auth.login().with_password(credentials, &ClientInfo::default()).await;
    outcome.expect("it is right").into_issued().pending_session().expect("it waits")
}

on_every_database! {
    async fn it_is_set_up_used_and_removed_like_every_other_factor(probe: Probe) {
        let (probe, card) = with_card(probe, |_| {});
        let (account, mut browser) = member(&probe, "alice").await;
        // The first factor of an account needs the mailbox. The password is not enough.
        let refused = enrol(&mut browser, "anything").await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["mailed_code"]));
        assert_eq!(card.asked().1, 0, "the card is asked only then");
        prove_mailbox(&probe, &mut browser).await;
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        check(&enrol(&mut browser, "answer of cell 1").await, 403, "wrong_code");
        let answer = ask(&mut browser, "/card/challenge").await;
        check(&enrol(&mut browser, "answer of cell 7").await, 403, "wrong_code");
        // Another session of the same account cannot answer it.
        prove_mailbox_later(&probe, &mut other).await;
        check(&enrol(&mut other, &answer).await, 403, "wrong_code");
        assert!(enrolled(&probe, &account).await.is_empty());
        assert_eq!(enrol(&mut browser, &answer).await.status, 200);
        assert_eq!(enrolled(&probe, &account).await, [Factor::External]);
        assert_eq!(factors(&mut browser).await, ["password", "mailed_code", "external"]);
        check(&other.get("/me").await, 401, "session_ended");
        assert_eq!(told(&probe, MessageKind::FactorAdded).await, ["external"]);
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'user_updated' AND detail = 'factors enrolled'";
        assert_eq!(probe.number(events).await, 1);
        let epochs = probe.text("SELECT factor_epochs FROM auth_account").await.expect("it is set");
        let epoch = probe.number("SELECT epoch FROM auth_account").await;
        assert_eq!(epochs, format!("x{epoch}"));
        check(&enrol(&mut browser, "anything").await, 409, "factor_already_enrolled");
        // A sign-in.
        probe.clock.advance(MINUTE);
        let mut other = waiting(&browser, "alice").await;
        let methods = json!([{ "method": "external" }]);
        assert_eq!(other.get("/auth/second-factor").await.json()["methods"], methods);
        check(&verify(&mut other, &answer).await, 403, "wrong_code");
        let asked = other.post(SECOND_STEP, json!({ "method": "external" })).await;
        assert_eq!((asked.status, &asked.json()["challenge"]), (202, &json!({ "cell": 2 })), "{}", asked.text);
        assert!(asked.json()["expires_at"].is_string());
        check(&verify(&mut other, &answer).await, 403, "wrong_code");
        // The name of another method makes another check.
        let right = "answer of cell 2";
        check(&other.post("/auth/second-factor/verify", json!({ "method": "mailed_code", "code": right })).await, 403, "wrong_code");
        check(&verify_totp(&mut other, right).await, 403, "wrong_code");
        assert_eq!(verify(&mut other, right).await.status, 200);
        assert_eq!(factors(&mut other).await, ["password", "external"]);
        // A step-up, and the removal, which needs a recent one.
        probe.clock.advance(6 * MINUTE);
        check(&other.delete("/card").await, 401, "insufficient_user_authentication");
        assert_eq!(other.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await.status, 200);
        check(&other.delete("/card").await, 401, "insufficient_user_authentication");
        let answer = ask(&mut other, AGAIN).await;
        check(&step_up(&mut other, right).await, 403, "wrong_code");
        assert_eq!(step_up(&mut other, &answer).await.status, 200);
        assert_eq!(other.delete("/card").await.status, 200);
        check(&browser.get("/me").await, 401, "session_ended");
        assert_eq!(told(&probe, MessageKind::FactorRemoved).await, ["external"]);
        check(&other.delete("/card").await, 409, "factor_not_enrolled");
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.json()["result"], "session");
        assert!(enrolled(&probe, &account).await.is_empty());
    }

    async fn a_challenge_belongs_to_its_session_and_works_once(probe: Probe) {
        let (probe, _) = with_card(probe, |_| {});
        let (_, browser) = person(&probe, "alice").await;
        let (_, other) = person(&probe, "bob").await;
        let mut first = waiting(&browser, "alice").await;
        let mut second = waiting(&browser, "alice").await;
        let mut bob = waiting(&other, "bob").await;
        let of_first = ask(&mut first, SECOND_STEP).await;
        let of_second = ask(&mut second, SECOND_STEP).await;
        let of_bob = ask(&mut bob, SECOND_STEP).await;
        // Not in another sign-in of the account, and not in one of another account.
        check(&verify(&mut first, &of_second).await, 403, "wrong_code");
        check(&verify(&mut second, &of_first).await, 403, "wrong_code");
        check(&verify(&mut first, &of_bob).await, 403, "wrong_code");
        check(&verify(&mut bob, &of_first).await, 403, "wrong_code");
        // The next one of the same sign-in replaces it.
        let newer = ask(&mut second, SECOND_STEP).await;
        check(&verify(&mut second, &of_second).await, 403, "wrong_code");
        let mut copy = first.clone();
        assert_eq!(verify(&mut first, &of_first).await.status, 200);
        check(&verify(&mut copy, &of_first).await, 401, "session_ended");
        assert_eq!(verify(&mut second, &newer).await.status, 200);
        // Nor for a step-up of that session, twice, or after its ten minutes.
        check(&step_up(&mut first, &of_first).await, 403, "wrong_code");
        let again = ask(&mut first, AGAIN).await;
        assert_eq!(step_up(&mut first, &again).await.status, 200);
        check(&step_up(&mut first, &again).await, 403, "wrong_code");
        let late = ask(&mut first, AGAIN).await;
        probe.clock.advance(10 * MINUTE);
        check(&step_up(&mut first, &late).await, 403, "wrong_code");
        assert_eq!(verify(&mut bob, &of_bob).await.code(), "token_expired");
    }

    async fn a_challenge_ends_with_the_change_that_ends_its_session(probe: Probe) {
        let (probe, _) = with_card(probe, |_| {});
        let (account, browser) = person(&probe, "alice").await;
        let mut other = waiting(&browser, "alice").await;
        let answer = ask(&mut other, SECOND_STEP).await;
        let open = "SELECT COUNT(*) FROM auth_challenge WHERE purpose = 'factor_code' AND superseded_at IS NULL AND used_at IS NULL";
        assert_eq!(probe.number(open).await, 1);
        probe.auth.accounts().set_enrolled_factors(account.id(), [Factor::External, Factor::Totp]).await.expect("set");
        check(&verify(&mut other, &answer).await, 401, "session_ended");
        check(&other.post(SECOND_STEP, json!({ "method": "external" })).await, 401, "session_ended");
    }

    async fn of_many_requests_with_one_answer_one_succeeds(probe: Probe) {
        let (probe, _) = with_card(probe, |_| {});
        let (_, browser) = person(&probe, "alice").await;
        for signs_in in [true, false] {
            let mut one = browser.clone();
            if signs_in {
                one = waiting(&browser, "alice").await;
            }
            let answer = ask(&mut one, if signs_in { SECOND_STEP } else { AGAIN }).await;
            let mut requests = JoinSet::new();
            for _ in 0..8 {
                let (mut one, answer) = (one.clone(), answer.clone());
                requests.spawn(async move {
                    match signs_in {
                        true => verify(&mut one, &answer).await,
                        false => step_up(&mut one, &answer).await,
                    }
                });
            }
            let answers = requests.join_all().await;
            let succeeded = answers.iter().filter(|answer| answer.status == 200).count();
            assert_eq!(succeeded, 1, "{answers:?}");
            assert!(answers.iter().all(|answer| answer.status < 500), "{answers:?}");
            probe.forget_attempts().await;
        }
    }

    async fn a_card_that_fails_lets_nobody_through_and_counts_nothing(probe: Probe) {
        let (probe, card) = with_card(probe, |config| {
            config.factor.external_timeout = Duration::from_millis(50);
        });
        let (_, browser) = person(&probe, "alice").await;
        let (account, mut member) = member(&probe, "bob").await;
        prove_mailbox(&probe, &mut member).await;
        let mut other = waiting(&browser, "alice").await;
        let answer = ask(&mut other, SECOND_STEP).await;
        let setting_up = ask(&mut member, "/card/challenge").await;
        let mut session = browser.clone();
        for mode in [Mode::Fails, Mode::Hangs, Mode::Panics] {
            card.does(mode);
            for _ in 0..6 {
                let refused = verify(&mut other, &answer).await;
                check(&refused, 503, "external_factor_unavailable");
                assert!(refused.headers.contains_key("retry-after"));
                assert!(!refused.text.contains("drawer"), "{}", refused.text);
            }
            let method = json!({ "method": "external" });
            check(&session.post(AGAIN, method).await, 503, "external_factor_unavailable");
            check(&step_up(&mut session, &answer).await, 503, "external_factor_unavailable");
            check(&enrol(&mut member, &setting_up).await, 503, "external_factor_unavailable");
        }
        assert!(enrolled(&probe, &account).await.is_empty());
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_fail'").await, 0);
        // 18 wrong codes would have locked the account. The challenge can still be answered.
        card.does(Mode::Asks);
        assert_eq!(verify(&mut other, &answer).await.status, 200);
        assert_eq!(enrol(&mut member, &setting_up).await.status, 200);
    }

    async fn wrong_codes_count_with_those_of_all_other_factors(probe: Probe) {
        let (probe, card) = with_card(probe, |config| {
            config.factor.challenges = Quota::new(100, MINUTE);
        });
        let (_, mut browser) = person(&probe, "alice").await;
        let again = ask(&mut browser, AGAIN).await;
        assert_eq!(step_up(&mut browser, &again).await.status, 200);
        let (_, secret) = enrol_totp(&probe, &mut browser, "phone").await;
        probe.clock.advance(MINUTE);
        let mut other = waiting(&browser, "alice").await;
        for number in 0..15 {
            let answer = match number % 3 {
                0 => verify(&mut other, "no answer").await,
                1 => verify_totp(&mut other, "not a code").await,
                // Neither a new sign-in nor a new challenge brings attempts.
                _ => {
                    other = waiting(&browser, "alice").await;
                    ask(&mut other, SECOND_STEP).await;
                    verify(&mut other, "no answer").await
                }
            };
            check(&answer, 403, "wrong_code");
        }
        let answer = ask(&mut other, SECOND_STEP).await;
        let before = card.asked().1;
        check(&verify(&mut other, &answer).await, 403, "wrong_code");
        assert_eq!(card.asked().1, before + 1, "the work is the same, and the result does not count");
        check(&verify_totp(&mut other, &code(&probe, &secret)).await, 403, "wrong_code");
        // After the lock, a right code ends the count.
        probe.clock.advance(12 * 60 * MINUTE);
        for _ in 0..2 {
            let mut other = waiting(&browser, "alice").await;
            for _ in 0..14 {
                check(&verify(&mut other, "no answer").await, 403, "wrong_code");
            }
            let answer = ask(&mut other, SECOND_STEP).await;
            assert_eq!(verify(&mut other, &answer).await.status, 200);
        }
    }

    async fn guesses_at_the_set_up_count_too(probe: Probe) {
        let (probe, _) = with_card(probe, |config| {
            config.factor.challenges = Quota::new(100, MINUTE);
        });
        let (account, mut browser) = member(&probe, "alice").await;
        prove_mailbox(&probe, &mut browser).await;
        for number in 0..15 {
            if number % 5 == 0 {
                ask(&mut browser, "/card/challenge").await;
            }
            check(&enrol(&mut browser, "no answer").await, 403, "wrong_code");
        }
        let answer = ask(&mut browser, "/card/challenge").await;
        check(&enrol(&mut browser, &answer).await, 403, "wrong_code");
        assert!(enrolled(&probe, &account).await.is_empty());
    }

    async fn a_challenge_is_worth_nothing_after_five_wrong_answers(probe: Probe) {
        let (probe, _) = with_card(probe, |_| {});
        let (_, browser) = person(&probe, "alice").await;
        let mut other = waiting(&browser, "alice").await;
        let answer = ask(&mut other, SECOND_STEP).await;
        for _ in 0..5 {
            check(&verify(&mut other, "no answer").await, 403, "wrong_code");
        }
        check(&verify(&mut other, &answer).await, 403, "code_ended");
        let answer = ask(&mut other, SECOND_STEP).await;
        assert_eq!(verify(&mut other, &answer).await.status, 200);

        // Requests at the same time get no more tries.
        probe.forget_attempts().await;
        let mut other = waiting(&browser, "alice").await;
        ask(&mut other, SECOND_STEP).await;
        let mut guesses = JoinSet::new();
        for number in 0..12 {
            let mut other = other.clone();
            let guess = async move { verify(&mut other, &format!("guess {number}")).await };
            guesses.spawn(guess);
        }
        let answers = guesses.join_all().await;
        let codes: Vec<_> = answers.iter().map(|answer| answer.code().to_owned()).collect();
        assert_eq!(codes.iter().filter(|code| *code == "wrong_code").count(), 5, "{codes:?}");
        assert_eq!(codes.iter().filter(|code| *code == "code_ended").count(), 7, "{codes:?}");
    }

    async fn a_card_that_is_replaced_meanwhile_is_not_set_up(probe: Probe) {
        let (probe, card) = with_card(probe, |_| {});
        let (account, mut browser) = member(&probe, "alice").await;
        let (_, other) = person(&probe, "bob").await;
        prove_mailbox(&probe, &mut browser).await;
        let answer = ask(&mut browser, "/card/challenge").await;
        let mut bob = waiting(&other, "bob").await;
        let of_bob = ask(&mut bob, SECOND_STEP).await;
        // The answer was found right. Before it is used, another request prints a new card.
        let replacing = Replacing { auth: probe.auth.clone(), account: account.id() };
        card.before_right(replacing);
        check(&enrol(&mut browser, &answer).await, 403, "wrong_code");
        assert!(enrolled(&probe, &account).await.is_empty());
        let answer = ask(&mut browser, "/card/challenge").await;
        assert_eq!(enrol(&mut browser, &answer).await.status, 200);
        assert_eq!(verify(&mut bob, &of_bob).await.status, 200, "another account");
    }

    async fn challenges_are_limited_for_each_account(probe: Probe) {
        let (probe, card) = with_card(probe, |config| {
            config.factor.challenges = Quota::new(3, 60 * MINUTE);
        });
        let (_, browser) = person(&probe, "alice").await;
        let (_, other) = person(&probe, "bob").await;
        let before = card.asked().0;
        let method = json!({ "method": "external" });
        // A new sign-in brings no new ones.
        for _ in 0..3 {
            let mut thief = waiting(&browser, "alice").await;
            ask(&mut thief, SECOND_STEP).await;
        }
        let mut thief = waiting(&browser, "alice").await;
        let refused = thief.post(SECOND_STEP, method.clone()).await;
        check(&refused, 429, "too_soon");
        assert!(refused.headers.contains_key("retry-after"));
        assert_eq!(card.asked().0, before + 3);
        // Another account has its own, and so has the known device of the owner.
        ask(&mut waiting(&other, "bob").await, SECOND_STEP).await;
        let mut owner = browser.clone();
        let answer = ask(&mut owner, AGAIN).await;
        assert_eq!(step_up(&mut owner, &answer).await.status, 200);
        probe.clock.advance(60 * MINUTE);
        let mut thief = waiting(&browser, "alice").await;
        ask(&mut thief, SECOND_STEP).await;
    }

    async fn a_factor_that_asks_nothing_is_checked_by_its_code_alone(probe: Probe) {
        let (probe, card) = with_card(probe, |_| {});
        card.does(Mode::AsksNothing);
        let (account, mut browser) = member(&probe, "alice").await;
        prove_mailbox(&probe, &mut browser).await;
        check(&enrol(&mut browser, "plastic").await, 403, "wrong_code");
        assert_eq!(enrol(&mut browser, "paper").await.status, 200);
        assert_eq!(enrolled(&probe, &account).await, [Factor::External]);
        let mut other = waiting(&browser, "alice").await;
        let asked = other.post(SECOND_STEP, json!({ "method": "external" })).await;
        assert_eq!((asked.status, asked.json()), (202, json!({ "challenge": null })));
        check(&verify(&mut other, "plastic").await, 403, "wrong_code");
        assert_eq!(verify(&mut other, "paper").await.status, 200);
    }

    async fn an_account_without_it_is_not_asked_about(probe: Probe) {
        let (probe, card) = with_card(probe, |_| {});
        card.does(Mode::AsksNothing);
        let (_, browser, _) = crate::totp::person(&probe, "alice").await;
        let mut other = waiting(&browser, "alice").await;
        let method = json!({ "method": "external" });
        check(&other.post(SECOND_STEP, method.clone()).await, 409, "factor_not_enrolled");
        check(&verify(&mut other, "paper").await, 403, "wrong_code");
        let mut session = browser.clone();
        check(&session.post(AGAIN, method).await, 409, "factor_not_enrolled");
        check(&step_up(&mut session, "paper").await, 403, "wrong_code");
        assert_eq!(card.asked(), (0, 0));
    }

    async fn without_a_port_the_application_finishes_sign_ins_itself(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let account = probe.auth.accounts().find_by_login("alice").await.expect("it answers").expect("alice");
        let external = [Factor::External];
        probe.auth.accounts().set_enrolled_factors(account.id(), external).await.expect("set");
        let mut other = waiting(&browser, "alice").await;
        for _ in 0..20 {
            check(&verify(&mut other, "anything").await, 409, "factor_not_enrolled");
        }
        let method = json!({ "method": "external" });
        check(&other.post(SECOND_STEP, method).await, 409, "factor_not_enrolled");
        let client = ClientInfo::default();
        let (with_port, card) = with_card(probe, |_| {});
        for auth in [&with_port.rebuilt(|builder| builder), &with_port.auth] {
            let waits = pending(auth, "alice").await;
            let refused = auth.second_factor().verify(&waits, FactorCode::external("x"), &client).await;
            let refused = refused.expect_err("it is wrong");
            let expected = if std::ptr::eq(auth, &with_port.auth) { "wrong_code" } else { "factor_not_enrolled" };
            assert_eq!(refused.code(), expected);
            // The application's own means still finish it, with and without a port.
            let finished = auth.login().finish(&waits, Factor::External, &client).await;
            assert!(matches!(finished, Ok(LoginOutcome::Session(_))), "{finished:?}");
        }
        assert_eq!(card.asked().1, 1);
        // A sign-in may begin and end with what only the application tells apart.
        card.does(Mode::AsksNothing);
        let auth = &with_port.auth;
        let account = auth.accounts().find(account.id()).await.expect("it answers").expect("alice");
        let outcome = auth.sign_in(&account, &client).proved(Factor::External).await.expect("it begins");
        let waits = outcome.into_issued().pending_session().expect("it waits");
        let verified = auth.second_factor().verify(&waits, FactorCode::external("paper"), &client).await;
        assert!(matches!(verified.expect("it is right").outcome, LoginOutcome::Session(_)));
    }

    async fn a_sign_in_that_must_set_up_a_factor_ends_with_it(probe: Probe) {
        let nights = Nights::default();
        let (mut probe, card) = with_card(probe, |_| {});
        let (port, hooks) = (card.clone(), nights.clone());
        probe.auth = probe.rebuilt(|builder| builder.external_factor(port).hooks(hooks));
        let (account, mut browser) = member(&probe, "alice").await;
        let admin = RoleDefinition::new("admin", ["user:read"]).requires_factor(true);
        probe.auth.roles().define([admin]).await.expect("it is defined");
        probe.auth.roles().grant(account.id(), "admin").await.expect("it is granted");
        assert_eq!(browser.login("alice", PASSWORD).await.json()["result"], "enrolment_required");
        check(&enrol(&mut browser, "anything").await, 401, "insufficient_user_authentication");
        prove_mailbox(&probe, &mut browser).await;
        // The question comes from a page of the application, or from the route.
        ask(&mut browser, "/card/challenge").await;
        let answer = ask(&mut browser, AGAIN).await;
        check(&step_up(&mut browser, &answer).await, 403, "wrong_code");
        // A hook that refuses leaves everything as it was.
        nights.0.store(true, Ordering::SeqCst);
        assert_eq!(enrol(&mut browser, &answer).await.code(), "closed");
        assert!(enrolled(&probe, &account).await.is_empty());
        nights.0.store(false, Ordering::SeqCst);
        assert_eq!(enrol(&mut browser, &answer).await.status, 200);
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(enrolled(&probe, &account).await, [Factor::External]);
        // It is enough for the role, and so it is the last one.
        check(&browser.delete("/card").await, 409, "factor_required");
        let mut other = waiting(&browser, "alice").await;
        let answer = ask(&mut other, SECOND_STEP).await;
        nights.0.store(true, Ordering::SeqCst);
        assert_eq!(verify(&mut other, &answer).await.code(), "closed");
        nights.0.store(false, Ordering::SeqCst);
        assert_eq!(verify(&mut other, &answer).await.status, 200);
    }

    async fn a_card_that_came_after_a_change_of_the_address_goes_with_its_undo(probe: Probe) {
        let (probe, _) = with_card(probe, |_| {});
        let (account, mut browser) = member(&probe, "alice").await;
        prove_mailbox(&probe, &mut browser).await;
        let email = json!({ "email": "thief@example.com" });
        assert_eq!(browser.post("/auth/email", email).await.status, 202);
        let newest = async |kind: MessageKind, value: &str| {
            let sent = probe.mail().await;
            let mail = sent.iter().rev().find(|mail| mail.kind == kind).expect("a mail");
            mail.value(value).expect("a value").to_owned()
        };
        let confirm = newest(MessageKind::EmailChangeConfirm, "code").await;
        assert_eq!(browser.post("/auth/email/confirm", json!({ "code": confirm })).await.status, 200);
        prove_mailbox_later(&probe, &mut browser).await;
        let answer = ask(&mut browser, "/card/challenge").await;
        assert_eq!(enrol(&mut browser, &answer).await.status, 200);
        assert_eq!(enrolled(&probe, &account).await, [Factor::External]);
        let link = newest(MessageKind::EmailChangedUndo, "link").await;
        let (_, token) = link.split_once("#token=").expect("a token");
        let mut owner = browser.stranger();
        assert_eq!(owner.post("/auth/email/undo", json!({ "token": token })).await.status, 204);
        assert!(enrolled(&probe, &account).await.is_empty());
        assert_eq!(owner.login("alice", PASSWORD).await.json()["result"], "session");
    }

    async fn the_link_in_its_notice_removes_it(probe: Probe) {
        let (probe, _) = with_card(probe, |_| {});
        let (account, browser) = person(&probe, "alice").await;
        let sent = probe.mail().await;
        let notice = sent.iter().find(|mail| mail.kind == MessageKind::FactorAdded).expect("a notice");
        let link = notice.value("link").expect("a link");
        let (_, token) = link.split_once("#token=").expect("a token");
        let mut owner = browser.stranger();
        let answer = owner.post("/auth/second-factor/undo", json!({ "token": token })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        assert!(enrolled(&probe, &account).await.is_empty());
        check(&browser.clone().get("/me").await, 401, "session_ended");
    }

    async fn the_state_is_encrypted_and_belongs_to_its_session(probe: Probe) {
        let (probe, _) = with_card(probe, |_| {});
        let (account, browser) = person(&probe, "alice").await;
        let mut other = waiting(&browser, "alice").await;
        let answer = ask(&mut other, SECOND_STEP).await;
        let state = answer.trim_start_matches("answer of ");
        let stored = probe.hex_dump("auth_challenge").await;
        let hex = data_encoding::HEXLOWER.encode(state.as_bytes());
        assert!(!stored.iter().any(|value| value.contains(&hex)));
        let exported = probe.auth.accounts().export(account.id()).await.expect("an export");
        let codes = &exported["codes_and_links"];
        let sent = codes.as_array().expect("a list").iter().filter(|one| one["purpose"] == "factor_code");
        let sent: Vec<_> = sent.collect();
        assert!(!sent.is_empty() && sent.iter().all(|one| one["data"].is_null()), "{codes}");
        // The state of another session cannot be read, so it is no challenge.
        probe.clock.advance(Duration::from_secs(1));
        let mut third = waiting(&browser, "alice").await;
        let of_third = ask(&mut third, SECOND_STEP).await;
        let data = probe.texts("SELECT data FROM auth_challenge WHERE purpose = 'factor_code' AND data IS NOT NULL AND superseded_at IS NULL AND used_at IS NULL ORDER BY created_at, id").await;
        let [_, newest] = &data[..] else { panic!("two are open: {data:?}") };
        probe.execute(&format!("UPDATE auth_challenge SET data = '{newest}' WHERE purpose = 'factor_code' AND used_at IS NULL")).await;
        check(&verify(&mut other, &answer).await, 403, "wrong_code");
        check(&verify(&mut other, &of_third).await, 403, "wrong_code");
        assert_eq!(verify(&mut third, &of_third).await.status, 200);
    }

    async fn what_is_kept_about_the_limit_goes_when_the_account_is_erased(probe: Probe) {
        let (probe, _) = with_card(probe, |config| {
            config.rate.store = RateStore::Database;
            (config.rate.per_source, config.rate.per_principal) = (None, None);
            config.mail.per_source = None;
        });
        let (account, browser) = person(&probe, "alice").await;
        ask(&mut waiting(&browser, "alice").await, SECOND_STEP).await;
        let rows = "SELECT COUNT(*) FROM auth_rate";
        assert_eq!(probe.number(rows).await, 2, "one for known devices, and one for others");
        probe.auth.accounts().erase(account.id()).await.expect("it is erased");
        assert_eq!(probe.number(rows).await, 0);
    }

    async fn the_application_may_call_everything_without_the_routes(probe: Probe) {
        let (probe, _) = with_card(probe, |_| {});
        let (_, _) = person(&probe, "alice").await;
        let (auth, client) = (&probe.auth, ClientInfo::default());
        let waits = pending(auth, "alice").await;
        let asked = auth.second_factor().challenge_external(&waits, &client).await;
        let shown = asked.expect("it asks").expect("a question").shown;
        let refused = auth.second_factor().verify(&waits, FactorCode::external("no"), &client).await;
        assert!(matches!(refused, Err(SecondFactorError::WrongCode)), "{refused:?}");
        let code = FactorCode::external(format!("answer of cell {}", shown["cell"]));
        assert_eq!(code.factor(), Factor::External);
        let verified = auth.second_factor().verify(&waits, code, &client).await.expect("it is right");
        assert!(matches!(verified.outcome, LoginOutcome::Session(_)));
    }

    async fn a_challenge_needs_the_secret_with_which_it_was_started(probe: Probe) {
        let (probe, card) = with_card(probe, |_| {});
        person(&probe, "alice").await;
        let (auth, client, new) = (&probe.auth, ClientInfo::default(), Secret::generate());
        let node = |secrets: Vec<Secret>| {
            probe.rebuilt(|builder| {
                let builder = builder.external_factor(card.clone()).configure(no_delay);
                builder.configure(|config| config.keys.secrets = secrets)
            })
        };
        let rotated = node(vec![new.clone(), probe.secret.clone()]);
        let removed = node(vec![new]);
        for (there, is_right) in [(&rotated, true), (&removed, false)] {
            let waits = pending(auth, "alice").await;
            let asked = auth.second_factor().challenge_external(&waits, &client).await;
            let shown = asked.expect("it asks").expect("a question").shown;
            let typed = || FactorCode::external(format!("answer of cell {}", shown["cell"]));
            let verified = there.second_factor().verify(&waits, typed(), &client).await;
            match is_right {
                true => assert!(verified.is_ok(), "{verified:?}"),
                false => {
                    assert!(matches!(verified, Err(SecondFactorError::WrongCode)), "{verified:?}");
                    // It was not used up.
                    let verified = rotated.second_factor().verify(&waits, typed(), &client).await;
                    assert!(verified.is_ok(), "{verified:?}");
                }
            }
        }
    }
}

/// The same as [`prove_mailbox`], a minute after the last mail.
async fn prove_mailbox_later(probe: &Probe, browser: &mut Browser) {
    probe.clock.advance(MINUTE);
    prove_mailbox(probe, browser).await;
}
