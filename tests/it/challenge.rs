//! Challenges (V1, V2): codes of the application's own purposes, and the routes they open.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use portcullis::challenge::{Answered, ChallengePurpose};
use portcullis::config::ChallengeConfig;
use portcullis::{
    AccountId, AnonymousSession, ChallengeId, Identity, Portcullis, Rejection, Secret,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

struct Transfer;
impl ChallengePurpose for Transfer {
    const NAME: &'static str = "transfer";
}

struct Closing;
impl ChallengePurpose for Closing {
    const NAME: &'static str = "closing";
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_default().to_owned()
}

async fn start(
    auth: Portcullis,
    identity: Option<Identity>,
    visitor: Option<AnonymousSession>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Rejection> {
    let purpose = body["purpose"].as_str().unwrap_or("transfer");
    let mut challenge = auth.challenges().start(purpose);
    if let Some(identity) = &identity {
        challenge = challenge.of(identity);
    } else if let Some(visitor) = &visitor {
        challenge = challenge.of(visitor);
    }
    if let Some(target) = body["target"].as_str() {
        challenge = challenge.target(target);
    }
    if let Some(answer) = body["expecting"].as_str() {
        challenge = challenge.expecting(answer);
        assert!(!format!("{challenge:?}").contains(answer), "an answer never prints");
    }
    let challenge = challenge.prepare().await?;
    Ok(Json(json!({ "id": challenge.id(), "code": challenge.code() })))
}

async fn answer(
    auth: Portcullis,
    identity: Option<Identity>,
    visitor: Option<AnonymousSession>,
    Json(body): Json<Value>,
) -> Result<&'static str, Rejection> {
    let purpose = body["purpose"].as_str().unwrap_or("transfer");
    let id: ChallengeId = text(&body, "id").parse().expect("an id");
    let code = text(&body, "code");
    match (identity, visitor) {
        (Some(identity), _) => auth.challenges().answer(purpose, &identity, id, &code).await?,
        (None, Some(visitor)) => auth.challenges().answer(purpose, &visitor, id, &code).await?,
        (None, None) => panic!("the test signs in first"),
    }
    Ok("right")
}

async fn transfer(answered: Answered<Transfer>) -> String {
    answered.target().unwrap_or("nothing").to_owned()
}

/// The usual application and one with challenges.
fn bank(auth: &Portcullis) -> Router {
    Router::new()
        .route("/start", post(start))
        .route("/answer", post(answer))
        .route("/transfer", post(transfer))
        .route("/close", post(|_: Answered<Closing>| async { "closed" }))
        .merge(
            Router::new()
                .route("/guarded", post(transfer).options(|| async { "options" }))
                .route("/guarded-only", post(|| async { "done" }))
                .route(
                    "/both",
                    post(|_: Answered<Transfer>, _: Answered<Closing>| async { "both" }),
                )
                .route_layer(auth.require_challenge("transfer")),
        )
        .route(
            "/misnamed",
            post(|| async { "never" }).route_layer(auth.require_challenge("Bad Name")),
        )
        .layer(auth.layer())
        .merge(app(auth))
}

async fn customer(probe: &Probe, name: &str) -> (AccountId, Browser) {
    let (account, browser) = probe.signed_in(name).await;
    (account.id(), browser.at(serve(bank(&probe.auth)).await))
}

/// Starts a challenge; its id and code.
async fn started(browser: &mut Browser, body: Value) -> (String, String) {
    let answer = browser.post("/start", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (text(&answer.json(), "id"), text(&answer.json(), "code"))
}

/// A code of the same kind that is another one.
fn wrong(code: &str) -> String {
    code.bytes().map(|digit| char::from(b'0' + (digit - b'0' + 1) % 10)).collect()
}

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "{answer:?}");
}

/// Sends the same kind of request many times at the same moment.
async fn at_once(browser: &Browser, path: &'static str, bodies: Vec<Value>) -> Vec<Answer> {
    let barrier = Arc::new(Barrier::new(bodies.len()));
    let mut tasks = JoinSet::new();
    for body in bodies {
        let (barrier, browser) = (Arc::clone(&barrier), browser.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            send(browser.request(Method::POST, path).json(&body)).await
        });
    }
    tasks.join_all().await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

async fn events(probe: &Probe, kind: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

const MINUTE: Duration = Duration::from_secs(60);

on_every_database! {
    async fn a_right_answer_opens_a_route_of_its_purpose_once(probe: Probe) {
        let (account, mut browser) = customer(&probe, "alice").await;
        check(&browser.post_empty("/transfer").await, 403, "challenge_required");
        let (id, code) = started(&mut browser, json!({ "target": "DE42 100 EUR" })).await;
        assert_eq!(code.len(), 8);
        assert!(code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        let before = browser.post_empty("/transfer").await;
        check(&before, 403, "challenge_required");
        assert_eq!(before.json()["purpose"], "transfer");
        probe.clock.advance(Duration::from_secs(1));
        assert_eq!(browser.post("/answer", json!({ "id": id, "code": code })).await.text, "right");
        check(&browser.post_empty("/close").await, 403, "challenge_required");
        let answer = browser.post_empty("/transfer").await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "DE42 100 EUR"));
        check(&browser.post_empty("/transfer").await, 403, "challenge_required");
        // The same answer opens nothing a second time.
        check(&browser.post("/answer", json!({ "id": id, "code": code })).await, 403, "wrong_code");
        check(&browser.post_empty("/transfer").await, 403, "challenge_required");
        let log = probe.auth.audit_log().of_account(account, 1).await.expect("it answers");
        assert_eq!((log[0].kind.as_str(), log[0].detail.as_deref()), ("authn_challenge_success", Some("transfer")));
    }

    async fn a_code_is_typed_with_spaces_and_dashes_and_nothing_else_is_forgiven(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let (id, code) = started(&mut browser, json!({})).await;
        let (first, last) = code.split_at(4);
        for other in ["", " ", &code[1..], &format!("{code}0"), &format!("{first}.{last}")] {
            check(&browser.post("/answer", json!({ "id": id, "code": other })).await, 403, "wrong_code");
            probe.execute("UPDATE auth_challenge_counter SET tries = 0").await;
        }
        let grouped = format!(" {first}-{last} ");
        assert_eq!(browser.post("/answer", json!({ "id": id, "code": grouped })).await.status, 200);
    }

    async fn of_many_right_answers_at_once_one_counts(probe: Probe) {
        let probe = probe.configured(|config| {
            config.challenge.tries = 100;
            config.challenge.cool_down = Duration::ZERO;
        });
        let (_, mut browser) = customer(&probe, "alice").await;
        for (round, many) in [16, 100].into_iter().enumerate() {
            let (id, code) = started(&mut browser, json!({})).await;
            let answers =
                at_once(&browser, "/answer", vec![json!({ "id": id, "code": code }); many]).await;
            assert_eq!((count(&answers, 200), count(&answers, 403)), (1, many - 1));
            assert_eq!(events(&probe, "authn_challenge_success").await, round as i64 + 1);
            // And of many requests that would use it, one does.
            let uses = at_once(&browser, "/transfer", vec![json!({}); many]).await;
            assert_eq!((count(&uses, 200), count(&uses, 403)), (1, many - 1));
            probe.execute("UPDATE auth_challenge_counter SET tries = 0").await;
        }
    }

    async fn many_wrong_tries_at_once_never_pass_the_limit(probe: Probe) {
        let probe = probe.configured(|config| config.challenge.cool_down = Duration::ZERO);
        for (round, many) in [16, 100].into_iter().enumerate() {
            let (_, mut browser) = customer(&probe, &format!("alice{round}")).await;
            let (id, code) = started(&mut browser, json!({})).await;
            let body = json!({ "id": id, "code": wrong(&code) });
            let answers = at_once(&browser, "/answer", vec![body; many]).await;
            assert_eq!((count(&answers, 403), count(&answers, 429)), (5, many - 5));
            assert_eq!(events(&probe, "authn_challenge_fail").await, 5 * (round as i64 + 1));
            // The right code comes too late, and so does a new one.
            let late = browser.post("/answer", json!({ "id": id, "code": code })).await;
            check(&late, 429, "too_many_tries");
            let (id, code) = started(&mut browser, json!({})).await;
            let late = browser.post("/answer", json!({ "id": id, "code": code })).await;
            check(&late, 429, "too_many_tries");
            check(&browser.post_empty("/transfer").await, 403, "challenge_required");
        }
    }

    async fn a_right_answer_among_many_wrong_ones_counts_at_most_once(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let (id, code) = started(&mut browser, json!({})).await;
        let mut bodies = vec![json!({ "id": id, "code": wrong(&code) }); 12];
        bodies.insert(6, json!({ "id": id, "code": code }));
        let answers = at_once(&browser, "/answer", bodies).await;
        let right = count(&answers, 200);
        assert!(right <= 1);
        let failed = events(&probe, "authn_challenge_fail").await;
        assert!(failed <= 5, "{failed} answers were looked at");
        assert_eq!(count(&answers, 403) as i64 + right as i64 + count(&answers, 429) as i64, 13);
    }

    async fn the_last_try_may_be_the_right_one_and_the_one_after_it_may_not(probe: Probe) {
        for (name, wrong_tries, status) in [("alice", 4, 200), ("bob", 5, 429)] {
            let (_, mut browser) = customer(&probe, name).await;
            let (id, code) = started(&mut browser, json!({})).await;
            for _ in 0..wrong_tries {
                let body = json!({ "id": id, "code": wrong(&code) });
                check(&browser.post("/answer", body).await, 403, "wrong_code");
            }
            let answer = browser.post("/answer", json!({ "id": id, "code": code })).await;
            assert_eq!(answer.status, status, "{name}: {}", answer.text);
        }
    }

    async fn a_new_code_brings_no_new_tries_until_the_window_is_over(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let mut tries = 0;
        let mut refused = None;
        // Two tries a code, for as many codes as it takes.
        for _ in 0..4 {
            let (id, code) = started(&mut browser, json!({ "target": format!("payment {tries}") })).await;
            for _ in 0..2 {
                let answer = browser.post("/answer", json!({ "id": id, "code": wrong(&code) })).await;
                match answer.status {
                    403 => tries += 1,
                    _ => refused = Some(answer),
                }
            }
            probe.clock.advance(MINUTE);
        }
        assert_eq!(tries, 5);
        let refused = refused.expect("the sixth was refused");
        check(&refused, 429, "too_many_tries");
        let wait: u64 = refused.headers["retry-after"].to_str().expect("ASCII").parse().expect("seconds");
        assert_eq!(wait, 57 * 60, "from the first try, an hour");
        // To the second: one before the hour is over it is refused, then it is not.
        probe.clock.advance(56 * MINUTE - Duration::from_secs(1));
        let (id, code) = started(&mut browser, json!({})).await;
        let right = json!({ "id": id, "code": code });
        check(&browser.post("/answer", right.clone()).await, 429, "too_many_tries");
        probe.clock.advance(Duration::from_secs(1));
        assert_eq!(browser.post("/answer", right).await.status, 200);
    }

    async fn right_answers_use_up_no_tries_and_bring_back_none_of_the_wrong_ones(probe: Probe) {
        let probe = probe.configured(|config| config.challenge.cool_down = Duration::ZERO);
        let (_, mut browser) = customer(&probe, "alice").await;
        for _ in 0..8 {
            let (id, code) = started(&mut browser, json!({})).await;
            assert_eq!(browser.post("/answer", json!({ "id": id, "code": code })).await.status, 200);
        }
        for number in 0..6 {
            let (id, code) = started(&mut browser, json!({})).await;
            let answer = browser.post("/answer", json!({ "id": id, "code": wrong(&code) })).await;
            assert_eq!(answer.status, if number < 5 { 403 } else { 429 });
            let answer = browser.post("/answer", json!({ "id": id, "code": code })).await;
            assert_eq!(answer.status, if number < 4 { 200 } else { 429 }, "{number}");
        }
    }

    async fn a_challenge_is_bound_to_its_session_account_purpose_and_id(probe: Probe) {
        let (alice, mut browser) = customer(&probe, "alice").await;
        let (_, mut mallory) = customer(&probe, "mallory").await;
        let mut elsewhere = browser.stranger();
        assert_eq!(elsewhere.login("alice", PASSWORD).await.status, 200);
        let (id, code) = started(&mut browser, json!({})).await;
        let right = json!({ "id": id, "code": code });
        // Another account, and the same account in another browser, many times: it costs no try.
        for _ in 0..6 {
            check(&mallory.post("/answer", right.clone()).await, 403, "wrong_code");
            check(&elsewhere.post("/answer", right.clone()).await, 403, "wrong_code");
        }
        assert_eq!(events(&probe, "authn_challenge_fail").await, 0);
        // Another purpose, and a challenge that is not there.
        let other = json!({ "id": id, "code": code, "purpose": "closing" });
        check(&browser.post("/answer", other).await, 403, "wrong_code");
        let unknown = json!({ "id": "018f0000-0000-7000-8000-000000000000", "code": code });
        check(&browser.post("/answer", unknown).await, 403, "wrong_code");
        // The code of one challenge for another one of the same account and session.
        let (closing, closing_code) = started(&mut browser, json!({ "purpose": "closing" })).await;
        let mixed = json!({ "id": closing, "code": code, "purpose": "closing" });
        check(&browser.post("/answer", mixed).await, 403, "wrong_code");
        assert_eq!(browser.post("/answer", right).await.status, 200);
        // Answered in one session, it opens nothing in another.
        check(&mallory.post_empty("/transfer").await, 403, "challenge_required");
        check(&elsewhere.post_empty("/transfer").await, 403, "challenge_required");
        check(&browser.post_empty("/close").await, 403, "challenge_required");
        let right = json!({ "id": closing, "code": closing_code, "purpose": "closing" });
        assert_eq!(browser.post("/answer", right).await.status, 200);
        assert_eq!(browser.post_empty("/close").await.text, "closed");
        assert_eq!(browser.post_empty("/transfer").await.status, 200);
        let _ = alice;
    }

    async fn an_answer_dies_with_its_session(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let (id, code) = started(&mut browser, json!({})).await;
        assert_eq!(browser.post("/answer", json!({ "id": id, "code": code })).await.status, 200);
        let old = browser.clone();
        assert_eq!(browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await.status, 200);
        check(&browser.post_empty("/transfer").await, 403, "challenge_required");
        assert_eq!(old.clone().post_empty("/transfer").await.status, 401);
    }

    async fn a_code_and_an_answer_end_at_their_exact_moments(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let second = Duration::from_secs(1);
        for (wait, status) in [(10 * MINUTE - second, 200), (10 * MINUTE, 403)] {
            let (id, code) = started(&mut browser, json!({})).await;
            probe.clock.advance(wait);
            let answer = browser.post("/answer", json!({ "id": id, "code": code })).await;
            assert_eq!(answer.status, status);
        }
        for (wait, status) in [(5 * MINUTE - second, 200), (5 * MINUTE, 403)] {
            probe.clock.advance(5 * MINUTE);
            let (id, code) = started(&mut browser, json!({})).await;
            assert_eq!(browser.post("/answer", json!({ "id": id, "code": code })).await.status, 200);
            probe.clock.advance(wait);
            assert_eq!(browser.post_empty("/transfer").await.status, status);
        }
    }

    async fn a_newer_challenge_supersedes_the_older_of_its_purpose_account_and_target(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let first = started(&mut browser, json!({ "target": "one" })).await;
        let other = started(&mut browser, json!({ "target": "two" })).await;
        check(&browser.post("/start", json!({ "target": "one" })).await, 429, "too_soon");
        probe.clock.advance(MINUTE);
        let second = started(&mut browser, json!({ "target": "one" })).await;
        assert_ne!(first.1, second.1);
        for ((id, code), status) in [(&first, 403), (&second, 200), (&other, 200)] {
            let answer = browser.post("/answer", json!({ "id": id, "code": code })).await;
            assert_eq!(answer.status, status);
        }
        // An answer that was not used is superseded too.
        probe.clock.advance(MINUTE);
        started(&mut browser, json!({ "target": "one" })).await;
        assert_eq!(browser.post_empty("/transfer").await.text, "two");
        check(&browser.post_empty("/transfer").await, 403, "challenge_required");
    }

    async fn of_many_starts_at_once_one_is_within_the_cool_down(probe: Probe) {
        let (_, browser) = customer(&probe, "alice").await;
        let answers = at_once(&browser, "/start", vec![json!({}); 16]).await;
        assert_eq!((count(&answers, 200), count(&answers, 429)), (1, 15));
        // Without a cool-down all start, and one of them is open.
        let probe = probe.configured(|config| config.challenge.cool_down = Duration::ZERO);
        let browser = browser.at(serve(bank(&probe.auth)).await);
        let answers = at_once(&browser, "/start", vec![json!({}); 16]).await;
        assert_eq!(count(&answers, 200), 16);
        let open = "SELECT COUNT(*) FROM auth_challenge WHERE superseded_at IS NULL";
        assert_eq!(probe.number(open).await, 1);
    }

    async fn a_visitor_answers_what_the_application_asks(probe: Probe) {
        let address = serve(bank(&probe.auth)).await;
        let (mut visitor, mut other) = (Browser::new(address), Browser::new(address));
        for browser in [&mut visitor, &mut other] {
            assert_eq!(browser.post_empty("/auth/session/anonymous").await.status, 201);
        }
        let captcha = json!({ "purpose": "closing", "expecting": "Kühe 7" });
        let (id, code) = started(&mut visitor, captcha.clone()).await;
        assert_eq!(code, "", "the application knows what it asked");
        let (others, _) = started(&mut other, captcha.clone()).await;
        let body = |id: &str, code: &str| json!({ "purpose": "closing", "id": id, "code": code });
        check(&visitor.post("/answer", body(&others, "Kühe 7")).await, 403, "wrong_code");
        check(&visitor.post("/answer", body(&id, "Kühe 8")).await, 403, "wrong_code");
        assert_eq!(visitor.post("/answer", body(&id, "Kühe 7")).await.status, 200);
        assert_eq!(visitor.post_empty("/close").await.text, "closed");
        // Another picture may be asked for at once; the one before it is over.
        let (second, _) = started(&mut other, captcha).await;
        check(&other.post("/answer", body(&others, "Kühe 7")).await, 403, "wrong_code");
        assert_eq!(other.post("/answer", body(&second, "Kühe 7")).await.status, 200);
        assert_eq!(Browser::new(address).post_empty("/close").await.status, 401);
    }

    async fn a_guard_and_the_type_behind_it_spend_one_answer_together(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let mut target = 0;
        for path in ["/guarded", "/guarded-only"] {
            target += 1;
            check(&browser.post_empty(path).await, 403, "challenge_required");
            let (id, code) = started(&mut browser, json!({ "target": target.to_string() })).await;
            assert_eq!(browser.post("/answer", json!({ "id": id, "code": code })).await.status, 200);
            // OPTIONS acts on nothing and spends nothing.
            let options = browser.request(Method::OPTIONS, "/guarded");
            assert_eq!(browser.send(options).await.status, 200);
            assert_eq!(browser.post_empty(path).await.status, 200);
            check(&browser.post_empty(path).await, 403, "challenge_required");
        }
        // What was spent for one purpose is nothing for another type.
        let (id, code) = started(&mut browser, json!({ "target": "third" })).await;
        assert_eq!(browser.post("/answer", json!({ "id": id, "code": code })).await.status, 200);
        let both = browser.post_empty("/both").await;
        check(&both, 403, "challenge_required");
        assert_eq!(both.json()["purpose"], "closing");
        assert_eq!(browser.stranger().post_empty("/guarded").await.status, 401);
        let cross = browser.request(Method::POST, "/guarded").header("sec-fetch-site", "cross-site");
        assert_eq!(send(cross).await.status, 403);
    }

    async fn a_purpose_that_cannot_be_one_is_the_applications_mistake(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        for purpose in ["", "Transfer", "app:transfer", "a b", &"x".repeat(49)] {
            let answer = browser.post("/start", json!({ "purpose": purpose })).await;
            assert_eq!((answer.status, answer.code().as_str()), (500, "misconfigured"), "{purpose}");
        }
        assert_eq!(browser.post_empty("/misnamed").await.code(), "misconfigured");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_challenge").await, 0);
        // One named like ours is another one all the same.
        started(&mut browser, json!({ "purpose": "verification" })).await;
        let name = probe.text("SELECT purpose FROM auth_challenge").await;
        assert_eq!(name.as_deref(), Some("app:verification"));
    }

    async fn the_table_shows_no_code_and_no_code_of_an_older_secret_is_lost(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let (id, code) = started(&mut browser, json!({})).await;
        for (table, columns) in [
            ("auth_challenge", "purpose || COALESCE(target, '') || COALESCE(data, '')"),
            ("auth_event", "kind || COALESCE(detail, '')"),
        ] {
            let columns = match probe.database.backend {
                crate::support::Backend::MySql => columns.replace(" || ", ", "),
                _ => columns.to_owned(),
            };
            let columns = match probe.database.backend {
                crate::support::Backend::MySql => format!("CONCAT({columns})"),
                _ => columns,
            };
            let found = format!("SELECT COUNT(*) FROM {table} WHERE {columns} LIKE '%{code}%'");
            assert_eq!(probe.number(&found).await, 0);
        }
        // A new secret before the old one: what was made under that is still good.
        let old = probe.secret.clone();
        let newer = probe.rebuilt(|_| {
            Portcullis::builder(probe.db.clone())
                .clock(probe.clock.clone())
                .secret(Secret::generate())
                .secret(old)
        });
        let mut at_newer = browser.at(serve(bank(&newer)).await);
        assert_eq!(at_newer.post("/answer", json!({ "id": id, "code": code })).await.status, 200);
        // And it supersedes what was started under the old one.
        let open = "SELECT COUNT(*) FROM auth_challenge WHERE superseded_at IS NULL AND used_at IS NULL";
        assert_eq!(probe.number(open).await, 1);
        probe.clock.advance(MINUTE);
        started(&mut at_newer, json!({})).await;
        assert_eq!(probe.number(open).await, 1);
    }

    async fn codes_are_as_configured_and_do_not_repeat(probe: Probe) {
        let probe = probe.configured(|config| {
            config.challenge.code_length = 10;
            config.challenge.code_alphabet = "BCDFGHJKLMNPQRSTVWXZ".to_owned();
            config.challenge.cool_down = Duration::ZERO;
        });
        let (_, mut browser) = customer(&probe, "alice").await;
        let mut codes = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let (id, code) = started(&mut browser, json!({})).await;
            assert!(code.len() == 10 && code.chars().all(|c| "BCDFGHJKLMNPQRSTVWXZ".contains(c)));
            let typed = format!("{}-{}", &code[..5], code[5..].to_lowercase());
            assert_eq!(browser.post("/answer", json!({ "id": id, "code": typed })).await.status, 200);
            assert!(codes.insert(code));
        }
    }

    async fn what_is_over_is_removed_and_what_counts_stays(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let (id, code) = started(&mut browser, json!({})).await;
        check(&browser.post("/answer", json!({ "id": id, "code": wrong(&code) })).await, 403, "wrong_code");
        let purge = async || probe.auth.challenges().purge(Duration::ZERO).await.expect("it answers");
        assert_eq!(purge().await, 0);
        probe.clock.advance(11 * MINUTE);
        assert_eq!(purge().await, 1, "the challenge; its tries still count");
        probe.clock.advance(60 * MINUTE);
        assert!(purge().await >= 1);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_challenge_counter").await, 0);
    }
}

#[test]
fn a_configuration_that_would_be_guessed_is_refused_and_its_neighbour_passes() {
    let refused = |change: fn(&mut ChallengeConfig)| {
        let auth = Portcullis::builder(sea_orm::DatabaseConnection::default())
            .secret(Secret::generate())
            .configure(|config| change(&mut config.challenge))
            .build();
        auth.err().map(|errors| errors.to_string()).unwrap_or_default()
    };
    type Change = fn(&mut ChallengeConfig);
    let rows: [(&str, Change, Change); 6] = [
        ("code_length", |c| c.code_length = 5, |c| c.code_length = 6),
        ("code_length", |c| c.code_length = 65, |c| c.code_length = 64),
        (
            "code_alphabet",
            |c| c.code_alphabet = "00123456789".into(),
            |c| c.code_alphabet = "0123456789".into(),
        ),
        (
            "code_alphabet",
            |c| c.code_alphabet = "0123456789 ".into(),
            |c| c.code_alphabet = "abcdefgh".into(),
        ),
        ("tries", |c| c.tries = 0, |c| c.tries = 1),
        ("tries_window", |c| c.tries_window = MINUTE, |c| c.tries_window = 10 * MINUTE),
    ];
    for (knob, bad, good) in rows {
        assert!(refused(bad).contains(&format!("challenge.{knob}")), "{knob}: {}", refused(bad));
        assert_eq!(refused(good), "", "{knob}");
    }
}
