//! Challenges: codes for purposes of the application, and the routes that they open.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, RequestPartsExt, Router};
use portcullis::challenge::{Answered, ChallengePurpose, Holder};
use portcullis::config::{AttemptKind, AttemptOverrides, ChallengeConfig};
use portcullis::{
    AccountId, AnonymousSession, ChallengeId, ClientInfo, EnrolmentSession, Factor, Identity,
    Message, MessageKind, PasswordChangeSession, PendingSession, Portcullis, Rejection, Secret,
    Stage,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::log::Log;
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe};

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

/// The session of the request, at any stage.
struct Who(Holder);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        if let Some(identity) = parts.extract::<Option<Identity>>().await? {
            return Ok(Self(Holder::from(&identity)));
        }
        if let Some(pending) = parts.extract::<Option<PendingSession>>().await? {
            return Ok(Self(Holder::from(&pending)));
        }
        if let Some(enrolment) = parts.extract::<Option<EnrolmentSession>>().await? {
            return Ok(Self(Holder::from(&enrolment)));
        }
        if let Some(change) = parts.extract::<Option<PasswordChangeSession>>().await? {
            return Ok(Self(Holder::from(&change)));
        }
        Ok(Self(Holder::from(&parts.extract::<AnonymousSession>().await?)))
    }
}

async fn start(
    auth: Portcullis,
    Who(holder): Who,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Rejection> {
    let purpose = body["purpose"].as_str().unwrap_or("transfer");
    let mut challenge = auth.challenges().start(purpose, holder);
    if let Some(millis) = body["lifetime_ms"].as_u64() {
        challenge = challenge.lifetime(Duration::from_millis(millis));
    }
    if let Some(millis) = body["cool_down_ms"].as_u64() {
        challenge = challenge.cool_down(Duration::from_millis(millis));
    }
    if let Some(target) = body["target"].as_str() {
        challenge = challenge.target(target);
    }
    if let Some(answer) = body["expecting"].as_str() {
        challenge = challenge.expecting(answer);
        let printed = format!("{challenge:?}");
        assert!(answer.trim().is_empty() || !printed.contains(answer), "an answer never prints");
    }
    let challenge = challenge.prepare().await?;
    Ok(Json(json!({ "id": challenge.id(), "code": challenge.code() })))
}

async fn answer(
    auth: Portcullis,
    Who(holder): Who,
    client: ClientInfo,
    Json(body): Json<Value>,
) -> Result<String, Rejection> {
    let purpose = body["purpose"].as_str().unwrap_or("transfer");
    let id: ChallengeId = text(&body, "id").parse().expect("an id");
    let code = text(&body, "code");
    let answered = auth.challenges().answer(purpose, holder, id, &code, &client).await?;
    assert_eq!(answered.id(), id);
    Ok(answered.target().map_or("right".to_owned(), |target| format!("right: {target}")))
}

/// Acts on the answer in the same request.
async fn confirm(
    auth: Portcullis,
    Who(holder): Who,
    client: ClientInfo,
    Json(body): Json<Value>,
) -> Result<String, Rejection> {
    let id: ChallengeId = text(&body, "id").parse().expect("an id");
    let code = text(&body, "code");
    let challenges = auth.challenges();
    let answered = challenges.answer_and_spend("transfer", holder, id, &code, &client).await?;
    Ok(answered.target().unwrap_or("nothing").to_owned())
}

/// Finishes a sign-in. Its second factor is the code of a challenge.
async fn finish(
    auth: Portcullis,
    pending: PendingSession,
    client: ClientInfo,
    Json(body): Json<Value>,
) -> Result<Response, Rejection> {
    let id: ChallengeId = text(&body, "id").parse().expect("an id");
    let code = text(&body, "code");
    let answered =
        auth.challenges().answer_and_spend("second", &pending, id, &code, &client).await?;
    assert_eq!(answered.target(), None);
    let outcome = auth.login().finish(&pending, Factor::Totp, &client).await?;
    Ok((outcome.into_issued(), "finished").into_response())
}

/// Starts a challenge and mails its code.
async fn mailed(
    auth: Portcullis,
    Who(holder): Who,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Rejection> {
    let mut challenge = auth.challenges().start("transfer", holder).target(text(&body, "target"));
    if let Some(millis) = body["lifetime_ms"].as_u64() {
        challenge = challenge.lifetime(Duration::from_millis(millis));
    }
    if let Some(millis) = body["cool_down_ms"].as_u64() {
        challenge = challenge.cool_down(Duration::from_millis(millis));
    }
    if let Some(answer) = body["expecting"].as_str() {
        challenge = challenge.expecting(answer);
    }
    let sent = challenge.send().await?;
    Ok(Json(json!({ "id": sent.id, "expires_at": sent.expires_at.as_millis() })))
}

async fn transfer(answered: Answered<Transfer>) -> String {
    answered.target().unwrap_or("nothing").to_owned()
}

/// Returns the usual application plus routes with challenges.
pub(crate) fn bank(auth: &Portcullis) -> Router {
    Router::new()
        .route("/start", post(start))
        .route("/mailed", post(mailed))
        .route("/answer", post(answer))
        .route("/confirm", post(confirm))
        .route("/finish", post(finish))
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

/// Returns a sign-in that waits for its second factor.
async fn waiting(probe: &Probe, name: &str) -> (AccountId, Browser) {
    let account = probe.register(name).await;
    let accounts = probe.auth.accounts();
    accounts.set_enrolled_factors(account.id(), [Factor::Totp]).await.expect("enrolled");
    let mut browser = Browser::new(serve(bank(&probe.auth)).await);
    let answer = browser.login(name, PASSWORD).await;
    assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
    (account.id(), browser)
}

/// Starts a challenge and returns its id and code.
async fn started(browser: &mut Browser, body: Value) -> (String, String) {
    let answer = browser.post("/start", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (text(&answer.json(), "id"), text(&answer.json(), "code"))
}

/// Signs in a customer with a mail address, and checks which codes were sent to it so far.
async fn mailbox(probe: &Probe, name: &str) -> (AccountId, Browser) {
    let account = probe.register_with_email(name, &format!("{name}@example.com")).await;
    let mut browser = Browser::new(serve(bank(&probe.auth)).await);
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    (account.id(), browser)
}

async fn codes(probe: &Probe) -> Vec<Message> {
    let ours = |message: &Message| message.kind == MessageKind::ChallengeCode;
    probe.mail().await.into_iter().filter(ours).collect()
}

/// Returns the code in a message.
fn code_of(message: &Message) -> String {
    let (_, rest) = message.text.split_once(" is: ").expect("a code");
    rest.split_whitespace().next().expect("a code").to_owned()
}

/// Returns another code with the same length and alphabet.
pub(crate) fn wrong(code: &str) -> String {
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
        let answer = browser.post("/answer", json!({ "id": id, "code": code })).await;
        assert_eq!(answer.text, "right: DE42 100 EUR");
        check(&browser.post_empty("/close").await, 403, "challenge_required");
        let answer = browser.post_empty("/transfer").await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "DE42 100 EUR"));
        check(&browser.post_empty("/transfer").await, 403, "challenge_required");
        // The same answer does not work a second time.
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
            probe.execute("DELETE FROM auth_attempt WHERE kind = 4").await;
        }
        let grouped = format!(" {first}-{last} ");
        assert_eq!(browser.post("/answer", json!({ "id": id, "code": grouped })).await.status, 200);
    }

    async fn an_answer_that_is_spent_at_once_does_one_thing(probe: Probe) {
        let probe = probe.configured(|config| config.challenge.attempts = 100);
        let (_, mut browser) = customer(&probe, "alice").await;
        let (id, code) = started(&mut browser, json!({ "target": "DE42 100 EUR" })).await;
        check(&browser.post("/confirm", json!({ "id": id, "code": wrong(&code) })).await, 403, "wrong_code");
        let right = json!({ "id": id, "code": code });
        assert_eq!(browser.post("/confirm", right.clone()).await.text, "DE42 100 EUR");
        for path in ["/transfer", "/guarded"] {
            check(&browser.post_empty(path).await, 403, "challenge_required");
        }
        for path in ["/confirm", "/answer"] {
            check(&browser.post(path, right.clone()).await, 403, "wrong_code");
        }
        // Of many at once one acts.
        let (id, code) = started(&mut browser, json!({})).await;
        let answers = at_once(&browser, "/confirm", vec![json!({ "id": id, "code": code }); 16]).await;
        assert_eq!((count(&answers, 200), count(&answers, 403)), (1, 15));
        assert_eq!(events(&probe, "authn_challenge_success").await, 2);
        check(&browser.post_empty("/transfer").await, 403, "challenge_required");
        // Nor does one that opens a route and one that acts at once make two of it.
        probe.clock.advance(MINUTE);
        let (id, code) = started(&mut browser, json!({ "target": "two ways" })).await;
        let right = vec![json!({ "id": id, "code": code }); 8];
        let [one, other] = ["/confirm", "/answer"].map(|path| at_once(&browser, path, right.clone()));
        let (one, other) = tokio::join!(one, other);
        assert_eq!(count(&one, 200) + count(&other, 200), 1);
        // Being late with a right answer is no guess: the only failure is the wrong one above.
        assert_eq!(events(&probe, "authn_challenge_fail").await, 1);
        let failed = "SELECT COUNT(*) FROM auth_attempt WHERE outcome = 1";
        assert_eq!(probe.number(failed).await, 1);
    }

    async fn of_many_right_answers_at_once_one_counts(probe: Probe) {
        let probe = probe.configured(|config| {
            config.challenge.attempts = 100;
            config.challenge.cool_down = Duration::ZERO;
        });
        let (_, mut browser) = customer(&probe, "alice").await;
        for (round, many) in [16, 50].into_iter().enumerate() {
            let (id, code) = started(&mut browser, json!({})).await;
            let answers =
                at_once(&browser, "/answer", vec![json!({ "id": id, "code": code }); many]).await;
            assert_eq!((count(&answers, 200), count(&answers, 403)), (1, many - 1));
            assert_eq!(events(&probe, "authn_challenge_success").await, round as i64 + 1);
            // If many requests use the answer at once, only one succeeds.
            let uses = at_once(&browser, "/transfer", vec![json!({}); many]).await;
            assert_eq!((count(&uses, 200), count(&uses, 403)), (1, many - 1));
            probe.execute("DELETE FROM auth_attempt WHERE kind = 4").await;
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
            // The right code comes too late, and so does the code of a new challenge.
            let late = browser.post("/answer", json!({ "id": id, "code": code })).await;
            check(&late, 429, "too_many_attempts");
            let (id, code) = started(&mut browser, json!({})).await;
            let late = browser.post("/answer", json!({ "id": id, "code": code })).await;
            check(&late, 429, "too_many_attempts");
            check(&browser.post_empty("/transfer").await, 403, "challenge_required");
        }
    }

    async fn wrong_tries_at_several_nodes_at_once_never_pass_the_limit_together(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let (id, code) = started(&mut browser, json!({})).await;
        let body = json!({ "id": id, "code": wrong(&code) });
        let nodes = [
            browser.clone(),
            browser.at(serve(bank(&probe.rebuilt(|builder| builder))).await),
            browser.at(serve(bank(&probe.rebuilt(|builder| builder))).await),
        ];
        let [one, two, three] = nodes.each_ref().map(|node| at_once(node, "/answer", vec![body.clone(); 17]));
        let answers = tokio::join!(one, two, three);
        let answers = [answers.0, answers.1, answers.2].concat();
        assert_eq!((count(&answers, 403), count(&answers, 429)), (5, 46));
        for mut node in nodes {
            let late = node.post("/answer", json!({ "id": id, "code": code })).await;
            check(&late, 429, "too_many_attempts");
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
        // Two attempts at each code, with a new code each time.
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
        check(&refused, 429, "too_many_attempts");
        let wait: u64 = refused.headers["retry-after"].to_str().expect("ASCII").parse().expect("seconds");
        assert_eq!(wait, 57 * 60, "from the first try, an hour");
        // One second before the hour has passed the code is refused. Then it is accepted.
        probe.clock.advance(56 * MINUTE - Duration::from_secs(1));
        let (id, code) = started(&mut browser, json!({})).await;
        let right = json!({ "id": id, "code": code });
        check(&browser.post("/answer", right.clone()).await, 429, "too_many_attempts");
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
        // Another account, and the same account in another browser. Many answers from there use up
        // no attempt.
        for _ in 0..6 {
            check(&mallory.post("/answer", right.clone()).await, 403, "wrong_code");
            check(&elsewhere.post("/answer", right.clone()).await, 403, "wrong_code");
        }
        assert_eq!(events(&probe, "authn_challenge_fail").await, 0);
        // Another purpose, and a challenge that does not exist.
        let other = json!({ "id": id, "code": code, "purpose": "closing" });
        check(&browser.post("/answer", other).await, 403, "wrong_code");
        let unknown = json!({ "id": "018f0000-0000-7000-8000-000000000000", "code": code });
        check(&browser.post("/answer", unknown).await, 403, "wrong_code");
        // The code of one challenge does not answer another challenge of the same account and
        // session.
        let (closing, closing_code) = started(&mut browser, json!({ "purpose": "closing" })).await;
        let mixed = json!({ "id": closing, "code": code, "purpose": "closing" });
        check(&browser.post("/answer", mixed).await, 403, "wrong_code");
        assert_eq!(browser.post("/answer", right).await.status, 200);
        // An answer in one session does not open a route in another session.
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
        // After a reauthentication the old session still works for ten seconds, but not longer.
        probe.clock.advance(Duration::from_secs(10));
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
        // A new challenge also supersedes an answer that was not used.
        probe.clock.advance(MINUTE);
        started(&mut browser, json!({ "target": "one" })).await;
        assert_eq!(browser.post_empty("/transfer").await.text, "two");
        check(&browser.post_empty("/transfer").await, 403, "challenge_required");
    }

    async fn of_many_starts_at_once_one_is_within_the_cool_down(probe: Probe) {
        let (_, browser) = customer(&probe, "alice").await;
        let answers = at_once(&browser, "/start", vec![json!({}); 16]).await;
        assert_eq!((count(&answers, 200), count(&answers, 429)), (1, 15));
        // Without a cool-down all challenges start, and only one of them is open.
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
        // The visitor may request another picture at once. It replaces the one before.
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
            // Other methods are guarded too.
            let options = browser.request(Method::OPTIONS, "/guarded");
            check(&browser.send(options).await, 403, "challenge_required");
            let (id, code) = started(&mut browser, json!({ "target": target.to_string() })).await;
            assert_eq!(browser.post("/answer", json!({ "id": id, "code": code })).await.status, 200);
            let answer = browser.post_empty(path).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.headers["cache-control"], "no-store");
            check(&browser.post_empty(path).await, 403, "challenge_required");
        }
        // An answer for one purpose cannot be used with the type of another purpose.
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
        // A purpose with the name of a built-in one gets a prefix, so it is a different purpose.
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
        // A new secret is put before the old one. Codes that were made with the old one are still
        // valid.
        let old = probe.secret.clone();
        let newer = probe.rebuilt(|_| {
            Portcullis::builder(probe.db.clone())
                .clock(probe.clock.clone())
                .secret(Secret::generate())
                .secret(old)
        });
        let mut at_newer = browser.at(serve(bank(&newer)).await);
        assert_eq!(at_newer.post("/answer", json!({ "id": id, "code": code })).await.status, 200);
        // A challenge with the new secret supersedes one that was started with the old secret.
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
        probe.clock.advance(MINUTE - Duration::from_secs(1));
        assert_eq!(purge().await, 0);
        check(&browser.post("/start", json!({})).await, 429, "too_soon");
        probe.clock.advance(10 * MINUTE);
        assert_eq!(purge().await, 1, "the challenge");
        // The start time is kept for as long as the longest possible cool-down.
        assert_eq!(purge().await, 0);
        let long = json!({ "cool_down_ms": 3_600_000 });
        let refused = browser.post("/start", long.clone()).await;
        check(&refused, 429, "too_soon");
        assert_eq!(refused.headers["retry-after"], "3600");
        // The wrong attempt still counts.
        let (id, code) = started(&mut browser, json!({})).await;
        for status in [403, 403, 403, 403, 429] {
            let answer = browser.post("/answer", json!({ "id": id, "code": wrong(&code) })).await;
            assert_eq!(answer.status, status);
        }
        probe.clock.advance(60 * MINUTE);
        assert_eq!(purge().await, 1, "the second challenge; the hour belongs to the cool-down");
        probe.clock.advance(Duration::from_millis(1));
        assert_eq!(purge().await, 1, "when it was started");
        assert_eq!(purge().await, 0);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_challenge_start").await, 0);
    }

    async fn a_code_can_be_the_second_factor_of_a_sign_in(probe: Probe) {
        let (_, mut browser) = waiting(&probe, "alice").await;
        let (id, code) = started(&mut browser, json!({ "purpose": "second" })).await;
        let bad = json!({ "id": id, "code": wrong(&code) });
        check(&browser.post("/finish", bad).await, 403, "wrong_code");
        let before = browser.clone();
        let right = json!({ "id": id, "code": code });
        assert_eq!(browser.post("/finish", right.clone()).await.text, "finished");
        assert_eq!(browser.get("/me").await.status, 200);
        // The pending sign-in has ended. Its answer opens nothing for the session that follows it.
        check(&before.clone().post("/finish", right.clone()).await, 401, "session_ended");
        check(&before.clone().post("/answer", right).await, 401, "session_ended");
        check(&browser.post_empty("/transfer").await, 403, "challenge_required");
    }

    async fn of_many_right_codes_at_once_one_finishes_the_sign_in(probe: Probe) {
        let probe = probe.configured(|config| config.challenge.attempts = 100);
        let (_, mut browser) = waiting(&probe, "alice").await;
        let (id, code) = started(&mut browser, json!({ "purpose": "second" })).await;
        let right = json!({ "id": id, "code": code });
        let answers = at_once(&browser, "/finish", vec![right; 16]).await;
        assert_eq!(count(&answers, 200), 1);
        // The other requests find either the session ended or the code used.
        assert_eq!(count(&answers, 403) + count(&answers, 401), 15);
        assert_eq!(events(&probe, "authn_challenge_success").await, 1);
    }

    async fn sign_ins_that_wait_share_the_attempts_of_their_account_and_no_codes(probe: Probe) {
        let probe = probe.configured(|config| config.challenge.cool_down = Duration::ZERO);
        let (account, mut one) = waiting(&probe, "alice").await;
        let mut two = one.stranger();
        assert_eq!(two.login("alice", PASSWORD).await.status, 200);
        let (_, mut mallory) = waiting(&probe, "mallory").await;
        let purpose = |id: &str, code: &str| json!({ "purpose": "second", "id": id, "code": code });
        let (id, code) = started(&mut one, json!({ "purpose": "second" })).await;
        // The code of one sign-in does not work in another one, of this account or another.
        check(&two.post("/answer", purpose(&id, &code)).await, 403, "wrong_code");
        check(&mallory.post("/answer", purpose(&id, &code)).await, 403, "wrong_code");
        assert_eq!(events(&probe, "authn_challenge_fail").await, 0);
        // A person who knows the password gets no more attempts by signing in again.
        let mut failed = 0;
        for browser in [&mut one, &mut two] {
            let (id, code) = started(browser, json!({ "purpose": "second" })).await;
            for _ in 0..4 {
                let answer = browser.post("/answer", purpose(&id, &wrong(&code))).await;
                failed += usize::from(answer.status == 403);
            }
        }
        assert_eq!(failed, 5);
        let mut three = one.stranger();
        assert_eq!(three.login("alice", PASSWORD).await.status, 200);
        let (id, code) = started(&mut three, json!({ "purpose": "second" })).await;
        check(&three.post("/answer", purpose(&id, &code)).await, 429, "too_many_attempts");
        let (id, code) = started(&mut mallory, json!({ "purpose": "second" })).await;
        assert_eq!(mallory.post("/answer", purpose(&id, &code)).await.status, 200);
        let ended = probe.auth.sessions().end_all(account, None).await;
        ended.expect("they are ended");
        check(&three.post("/start", json!({ "purpose": "second" })).await, 401, "session_ended");
    }

    async fn a_guarded_route_takes_the_answer_of_a_session_of_any_stage(probe: Probe) {
        let account = probe.register("alice").await;
        let address = serve(bank(&probe.auth)).await;
        let stages = [Stage::PendingSecondFactor, Stage::MustEnrol, Stage::MustChangePassword, Stage::Full];
        for (number, stage) in stages.into_iter().enumerate() {
            let client = ClientInfo::default();
            let issued = probe.auth.sessions().start(&account, &client).stage(stage).await;
            let mut headers = http::HeaderMap::new();
            issued.expect("a session").apply(&mut headers);
            let set = headers["set-cookie"].to_str().expect("ASCII").to_owned();
            let cookie = set.split(['=', ';']).nth(1).expect("a value").to_owned();
            let mut browser = Browser::new(address).with_cookie(&cookie);
            for path in ["/guarded", "/transfer"] {
                check(&browser.post_empty(path).await, 403, "challenge_required");
                let target = format!("{number} {path}");
                let (id, code) = started(&mut browser, json!({ "target": target })).await;
                let right = json!({ "id": id, "code": code });
                assert_eq!(browser.post("/answer", right).await.status, 200, "{stage:?}");
                assert_eq!(browser.post_empty(path).await.text, target);
                check(&browser.post_empty(path).await, 403, "challenge_required");
            }
        }
    }

    async fn a_code_lives_as_long_as_its_start_says(probe: Probe) {
        let (_, mut browser) = mailbox(&probe, "alice").await;
        let second = Duration::from_secs(1);
        for (lifetime, wait, status) in [
            (90_000, 90 * second, 403),
            (90_000, 90 * second - Duration::from_millis(1), 200),
            (1_000, second - Duration::from_millis(1), 200),
            (3_600_000, 60 * MINUTE - second, 200),
        ] {
            let body = json!({ "lifetime_ms": lifetime, "target": lifetime.to_string(), "cool_down_ms": 0 });
            let (id, code) = started(&mut browser, body).await;
            probe.clock.advance(wait);
            let answer = browser.post("/answer", json!({ "id": id, "code": code })).await;
            assert_eq!(answer.status, status, "{lifetime} {wait:?}: {}", answer.text);
        }
        // A lifetime may not be longer than the time for which wrong answers count. Otherwise one
        // code would get more attempts than allowed.
        for lifetime in [0, 999, 3_600_001, 90_000_000, u64::MAX] {
            let answer = browser.post("/start", json!({ "lifetime_ms": lifetime })).await;
            assert_eq!((answer.status, answer.code().as_str()), (500, "misconfigured"), "{lifetime}");
        }
        // The mail states the lifetime too.
        let answer = browser.post("/mailed", json!({ "lifetime_ms": 180_000 })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(codes(&probe).await[0].text.contains("3 minutes"));
        let expires_at = probe.auth_now().plus(3 * MINUTE).as_millis();
        assert_eq!(answer.json()["expires_at"], expires_at);
    }

    async fn a_cool_down_is_as_long_as_the_start_says_and_a_mailbox_keeps_its_own(probe: Probe) {
        let (_, mut browser) = mailbox(&probe, "alice").await;
        let second = Duration::from_secs(1);
        let long = json!({ "cool_down_ms": 300_000 });
        started(&mut browser, long.clone()).await;
        probe.clock.advance(5 * MINUTE - second);
        let refused = browser.post("/start", long.clone()).await;
        check(&refused, 429, "too_soon");
        assert_eq!(refused.headers["retry-after"], "300");
        probe.clock.advance(second);
        started(&mut browser, long).await;
        for _ in 0..3 {
            started(&mut browser, json!({ "cool_down_ms": 0 })).await;
        }
        let answer = browser.post("/start", json!({ "cool_down_ms": 3_600_001 })).await;
        assert_eq!((answer.status, answer.code().as_str()), (500, "misconfigured"));
        // A cool-down of zero does not allow anyone to flood a mailbox.
        let none = json!({ "cool_down_ms": 0, "target": "payment" });
        assert_eq!(browser.post("/mailed", none.clone()).await.status, 200);
        let refused = browser.post("/mailed", none).await;
        check(&refused, 429, "too_soon");
        assert_eq!(refused.headers["retry-after"], "60");
        assert_eq!(codes(&probe).await.len(), 1);
    }

    async fn a_purpose_may_have_a_number_of_attempts_of_its_own(probe: Probe) {
        let probe = probe.configured(|config| {
            config.challenge.attempts_by_purpose = [("closing".to_owned(), 2), ("second".to_owned(), 7)].into();
            config.challenge.cool_down = Duration::ZERO;
        });
        let (_, mut browser) = customer(&probe, "alice").await;
        for (purpose, tries) in [("closing", 2), ("second", 7), ("transfer", 5)] {
            let (id, code) = started(&mut browser, json!({ "purpose": purpose })).await;
            let body = json!({ "purpose": purpose, "id": id, "code": wrong(&code) });
            let answers = at_once(&browser, "/answer", vec![body; 16]).await;
            assert_eq!((count(&answers, 403), count(&answers, 429)), (tries, 16 - tries), "{purpose}");
            let right = json!({ "purpose": purpose, "id": id, "code": code });
            check(&browser.post("/answer", right).await, 429, "too_many_attempts");
        }
    }

    async fn a_target_that_does_not_fit_and_an_empty_answer_are_refused(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let fits = ["".to_owned(), "x".repeat(255), "é".repeat(127)];
        for target in &fits {
            started(&mut browser, json!({ "target": target })).await;
        }
        for target in ["x".repeat(256), "é".repeat(128), "a\0b".to_owned(), "x".repeat(100_000)] {
            check(&browser.post("/start", json!({ "target": target })).await, 422, "invalid_target");
        }
        for empty in ["", "  ", "\n"] {
            let answer = browser.post("/start", json!({ "expecting": empty })).await;
            assert_eq!((answer.status, answer.code().as_str()), (500, "misconfigured"), "{empty:?}");
        }
        let (id, _) = started(&mut browser, json!({ "expecting": "7" })).await;
        for other in ["", " ", "-", &"7".repeat(100_000)] {
            check(&browser.post("/answer", json!({ "id": id, "code": other })).await, 403, "wrong_code");
        }
        assert_eq!(browser.post("/answer", json!({ "id": id, "code": "7" })).await.status, 200);
        // A challenge with an expected answer has no code to send.
        let (_, mut bob) = mailbox(&probe, "bob").await;
        let answer = bob.post("/mailed", json!({ "expecting": "7" })).await;
        assert_eq!((answer.status, answer.code().as_str()), (500, "misconfigured"));
        assert!(codes(&probe).await.is_empty());
        let starts = probe.number("SELECT COUNT(*) FROM auth_challenge").await;
        // The question took the place of the one with the empty target.
        assert_eq!(starts, fits.len() as i64, "what is refused leaves nothing behind");
    }

    async fn what_is_asked_of_a_visitor_concerns_no_other_visitor(probe: Probe) {
        let address = serve(bank(&probe.auth)).await;
        let (mut visitor, mut other) = (Browser::new(address), Browser::new(address));
        for browser in [&mut visitor, &mut other] {
            assert_eq!(browser.post_empty("/auth/session/anonymous").await.status, 201);
        }
        let captcha = json!({ "purpose": "closing", "expecting": "seven", "target": "contact" });
        let (id, _) = started(&mut visitor, captcha.clone()).await;
        let (others, _) = started(&mut other, captcha).await;
        let body = |id: &str, code: &str| json!({ "purpose": "closing", "id": id, "code": code });
        for status in [403, 403, 403, 403, 403, 429] {
            assert_eq!(other.post("/answer", body(&others, "eight")).await.status, status);
        }
        // The visitor keeps the question and all attempts.
        assert_eq!(visitor.post("/answer", body(&id, "seven")).await.text, "right: contact");
        // A code that is sent to an address is different: each address has its own attempts.
        let code = json!({ "purpose": "second", "target": "a@example.com" });
        started(&mut visitor, code.clone()).await;
        check(&other.post("/start", code).await, 429, "too_soon");
    }

    async fn a_code_that_is_sent_reaches_the_account_s_address_and_opens_the_route(probe: Probe) {
        let (alice, mut browser) = mailbox(&probe, "alice").await;
        let (_, mut mallory) = mailbox(&probe, "mallory").await;
        let answer = browser.post("/mailed", json!({ "target": "DE42" })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let [message] = &codes(&probe).await[..] else { panic!("one code") };
        assert_eq!((message.to.as_str(), message.account_id), ("alice@example.com", Some(alice)));
        assert!(message.text.contains("10 minutes"), "{}", message.text);
        let code = code_of(message);
        assert!(code.len() == 8 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        assert!(message.html.as_ref().is_some_and(|html| html.contains(&code)));
        // The client learns the id and the time at which the code expires, and nothing more.
        let body = answer.json();
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(2));
        let expires_at = probe.auth_now().plus(10 * MINUTE).as_millis();
        assert_eq!(body["expires_at"], expires_at);
        assert!(!format!("{answer:?}").contains(&code));
        let right = json!({ "id": body["id"], "code": code });
        check(&mallory.post("/answer", right.clone()).await, 403, "wrong_code");
        assert_eq!(browser.post("/answer", right).await.status, 200);
        assert_eq!(browser.post_empty("/transfer").await.text, "DE42");
        // After the delivery the code is in no table. Its digits are not in the digests either.
        for table in ["auth_outbox", "auth_challenge", "auth_challenge_start", "auth_event", "auth_attempt"] {
            let digits: String = code.bytes().map(|byte| format!("{byte:02x}")).collect();
            for value in probe.hex_dump(table).await {
                assert!(!value.contains(&digits), "{table}: {value}");
            }
        }
    }

    async fn a_code_is_sent_once_in_the_cool_down_and_five_times_an_hour(probe: Probe) {
        let (_, mut browser) = mailbox(&probe, "alice").await;
        let (_, mut bob) = mailbox(&probe, "bob").await;
        let mut sent = Vec::new();
        for number in 1..=5 {
            let answer = browser.post("/mailed", json!({})).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let codes = codes(&probe).await;
            assert_eq!(codes.len(), number);
            sent.push((text(&answer.json(), "id"), code_of(&codes[number - 1])));
            probe.clock.advance(MINUTE - Duration::from_secs(1));
            let early = browser.post("/mailed", json!({})).await;
            check(&early, 429, "too_soon");
            assert_eq!(early.headers["retry-after"], "60");
            // This also applies to another target, because it is the same mailbox.
            check(&browser.post("/mailed", json!({ "target": "other" })).await, 429, "too_soon");
            probe.clock.advance(Duration::from_secs(1));
        }
        assert_eq!(codes(&probe).await.len(), 5, "what is refused sends nothing");
        let refused = browser.post("/mailed", json!({})).await;
        check(&refused, 429, "too_soon");
        assert_eq!(bob.post("/mailed", json!({})).await.status, 200, "bob has another mailbox");
        // A refused request supersedes nothing, so the last code that was sent is valid.
        for (at, status) in [(3, 403), (4, 200)] {
            let (id, code) = &sent[at];
            let answer = browser.post("/answer", json!({ "id": id, "code": code })).await;
            assert_eq!(answer.status, status, "{at}: {}", answer.text);
        }
    }

    async fn without_an_address_or_a_notifier_no_code_is_sent(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let address = serve(bank(&probe.auth)).await;
        let mut visitor = Browser::new(address);
        assert_eq!(visitor.post_empty("/auth/session/anonymous").await.status, 201);
        for asking in [&mut browser, &mut visitor] {
            check(&asking.post("/mailed", json!({})).await, 422, "no_address");
        }
        let (_, bob) = mailbox(&probe, "bob").await;
        let silent = Portcullis::builder(probe.db.clone())
            .clock(probe.clock.clone())
            .secret(probe.secret.clone())
            .build()
            .expect("the configuration is right");
        let mut at_silent = bob.at(serve(bank(&silent)).await);
        check(&at_silent.post("/mailed", json!({})).await, 422, "no_address");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_challenge").await, 0, "nothing is left behind");
        assert!(codes(&probe).await.is_empty());
        let mut bob = bob;
        assert_eq!(bob.post("/mailed", json!({})).await.status, 200);
        assert_eq!(codes(&probe).await.len(), 1);
    }

    async fn wrong_codes_are_on_record_with_their_source_and_right_ones_too(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let (id, code) = started(&mut browser, json!({})).await;
        for _ in 0..3 {
            let body = json!({ "id": id, "code": wrong(&code) });
            check(&browser.post("/answer", body).await, 403, "wrong_code");
        }
        assert_eq!(browser.post("/answer", json!({ "id": id, "code": code })).await.status, 200);
        let of = async |outcome| {
            let count = "SELECT COUNT(*) FROM auth_attempt WHERE kind = 4 AND source = '127.0.0.1'";
            probe.number(&format!("{count} AND outcome = {outcome}")).await
        };
        assert_eq!((of(0).await, of(1).await, of(2).await), (0, 3, 1));
        let failed = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_challenge_fail' AND address = '127.0.0.1'";
        assert_eq!(probe.number(failed).await, 3);
    }

    async fn a_source_with_too_many_failures_waits_with_codes_too(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.source_limit = Some(3));
        let (_, mut known) = customer(&probe, "alice").await;
        let mut browser = known.clone();
        browser.device = None;
        let (id, code) = started(&mut browser, json!({})).await;
        for name in ["x", "y", "z"] {
            assert_eq!(browser.stranger().login(name, "wrong horse battery staple").await.status, 401);
        }
        let right = json!({ "id": id, "code": code });
        let refused = browser.post("/answer", right.clone()).await;
        check(&refused, 429, "too_many_attempts");
        assert_eq!(refused.headers["retry-after"], "601");
        // This does not apply to a browser that has signed in to this account before.
        assert_eq!(known.post("/answer", right).await.status, 200);
    }

    async fn codes_may_have_limits_of_their_own_kind(probe: Probe) {
        let probe = probe.configured(|config| {
            let mut own = AttemptOverrides::default();
            own.limit = Some(2);
            own.lockout = Some(Duration::from_secs(30));
            config.attempts.kinds.insert(AttemptKind::Challenge, own);
        });
        let (_, mut browser) = customer(&probe, "alice").await;
        let (id, code) = started(&mut browser, json!({})).await;
        for status in [403, 403, 429, 429] {
            let answer = browser.post("/answer", json!({ "id": id, "code": wrong(&code) })).await;
            assert_eq!(answer.status, status);
        }
        let right = json!({ "id": id, "code": code });
        let refused = browser.post("/answer", right.clone()).await;
        check(&refused, 429, "too_many_attempts");
        assert_eq!(refused.headers["retry-after"], "31");
        probe.clock.advance(Duration::from_secs(30));
        check(&browser.post("/answer", right.clone()).await, 429, "too_many_attempts");
        probe.clock.advance(Duration::from_secs(1));
        assert_eq!(browser.post("/answer", right).await.status, 200);
        let locks = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_lock' AND detail = 'challenge'";
        assert_eq!(probe.number(locks).await, 1);
    }

    async fn a_session_that_asks_again_and_again_leaves_a_bounded_number_of_rows(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let mut visitor = browser.stranger();
        assert_eq!(visitor.post_empty("/auth/session/anonymous").await.status, 201);
        let question = json!({ "purpose": "closing", "expecting": "seven" });
        let code = json!({ "purpose": "closing", "cool_down_ms": 0 });
        let right = |id: &str| json!({ "purpose": "closing", "id": id, "code": "seven" });
        let rows = async || probe.number("SELECT COUNT(*) FROM auth_challenge").await;
        for browser in [&mut visitor, &mut browser] {
            for body in [&question, &code] {
                for _ in 0..200 {
                    started(browser, body.clone()).await;
                }
                assert_eq!(rows().await, 1, "{body}");
            }
            let (id, _) = started(browser, question.clone()).await;
            assert_eq!(browser.post("/answer", right(&id)).await.status, 200);
            // Another page of the same browser shows the question again: the answer is not lost.
            let (next, _) = started(browser, question.clone()).await;
            assert_eq!(browser.post_empty("/close").await.text, "closed");
            check(&browser.post_empty("/close").await, 403, "challenge_required");
            assert_eq!(browser.post("/answer", right(&next)).await.status, 200);
            // Nor does anyone collect answers.
            for _ in 0..20 {
                let (id, _) = started(browser, question.clone()).await;
                assert_eq!(browser.post("/answer", right(&id)).await.status, 200);
                probe.clock.advance(Duration::from_millis(1));
            }
            assert_eq!(rows().await, 2, "the answers of the last two");
            let starts = at_once(browser, "/start", vec![question.clone(); 16]).await;
            assert_eq!(count(&starts, 200), 16);
            assert_eq!(rows().await, 2, "the last answer and the last question");
            assert_eq!(browser.post_empty("/close").await.text, "closed");
            let (id, _) = started(browser, question.clone()).await;
            assert_eq!(rows().await, 1);
            assert_eq!(browser.post("/answer", right(&id)).await.status, 200);
            assert_eq!(browser.post_empty("/close").await.text, "closed");
            probe.execute("DELETE FROM auth_challenge").await;
        }
    }

    async fn an_answer_in_one_session_outlives_a_question_in_another_of_its_account(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        let mut elsewhere = browser.stranger();
        assert_eq!(elsewhere.login("alice", PASSWORD).await.status, 200);
        let question = json!({ "purpose": "closing", "expecting": "seven" });
        let (id, _) = started(&mut browser, question.clone()).await;
        let right = json!({ "purpose": "closing", "id": id, "code": "seven" });
        assert_eq!(browser.post("/answer", right).await.status, 200);
        started(&mut elsewhere, question).await;
        assert_eq!(browser.post_empty("/close").await.text, "closed");
    }

    async fn all_spellings_of_an_address_share_the_cool_down_and_the_attempts_of_visitors(probe: Probe) {
        let address = serve(bank(&probe.auth)).await;
        let (mut visitor, mut other) = (Browser::new(address), Browser::new(address));
        for browser in [&mut visitor, &mut other] {
            assert_eq!(browser.post_empty("/auth/session/anonymous").await.status, 201);
        }
        let to = |target: &str| json!({ "target": target });
        for (spellings, another) in [
            (
                ["Bob@shop.example", "bOb@SHOP.example", " bob+1@shop.example ", "bob+a+b@shop.example", "\u{ff42}ob@shop.example"],
                "rob@shop.example",
            ),
            (
                ["Jane.Doe@gmail.com", "janedoe@gmail.com", "j.anedoe+x@googlemail.com", "JANEDOE@gmail.com", "jane.doe+1@gmail.com"],
                "jane-doe@gmail.com",
            ),
            (
                ["+4915112345678", " +4915112345678", "+4915112345678 ", "+49 151 12345678", "+49-151-12345678"],
                "+4915112345679",
            ),
        ] {
            let (id, code) = started(&mut visitor, to(spellings[0])).await;
            for spelling in spellings {
                check(&other.post("/start", to(spelling)).await, 429, "too_soon");
            }
            let answer = visitor.post("/answer", json!({ "id": id, "code": code })).await;
            assert_eq!(answer.text, format!("right: {}", spellings[0]), "as it was given");
            for spelling in spellings {
                probe.clock.advance(MINUTE);
                let (id, code) = started(&mut other, to(spelling)).await;
                let body = json!({ "id": id, "code": wrong(&code) });
                check(&other.post("/answer", body).await, 403, "wrong_code");
            }
            probe.clock.advance(MINUTE);
            let (id, code) = started(&mut visitor, to(spellings[1])).await;
            let right = json!({ "id": id, "code": code });
            check(&visitor.post("/answer", right).await, 429, "too_many_attempts");
            let (id, code) = started(&mut visitor, to(another)).await;
            let right = json!({ "id": id, "code": code });
            assert_eq!(visitor.post("/answer", right).await.status, 200, "{another}");
        }
    }

    async fn what_an_account_confirms_is_told_apart_as_it_is_written(probe: Probe) {
        let (_, mut browser) = customer(&probe, "alice").await;
        // Two things to confirm, and no addresses that anything is sent to.
        let (one, first) = started(&mut browser, json!({ "target": "Bob@shop.example" })).await;
        let (two, second) = started(&mut browser, json!({ "target": "bob@shop.example" })).await;
        for (id, code) in [(one, first), (two, second)] {
            assert_eq!(browser.post("/answer", json!({ "id": id, "code": code })).await.status, 200);
        }
    }
}

/// `tracing` keeps its subscriber per thread. So this test uses one thread and one database.
#[tokio::test]
async fn no_code_that_is_sent_is_in_the_log() {
    crate::support::probe::run(Backend::Sqlite, |probe: Probe| async move {
        let (log, _guard) = Log::start();
        let (_, mut browser) = mailbox(&probe, "alice").await;
        let answer = browser.post("/mailed", json!({})).await;
        let code = code_of(&codes(&probe).await[0]);
        let id = text(&answer.json(), "id");
        let bad = json!({ "id": id, "code": wrong(&code) });
        check(&browser.post("/answer", bad).await, 403, "wrong_code");
        let right = json!({ "id": id, "code": code });
        assert_eq!(browser.post("/answer", right).await.status, 200);
        let text = log.text();
        for event in ["authn_challenge_fail", "authn_challenge_success"] {
            assert!(text.contains(event), "{text}");
        }
        // Ignores the lines of the test's HTTP client. The lines of portcullis are these.
        let ours = |line: &&str| line.contains("portcullis");
        for line in text.lines().filter(ours) {
            assert!(!line.contains(&code) && !line.contains(&wrong(&code)), "{line}");
        }
    })
    .await;
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
    let rows: [(&str, Change, Change); 9] = [
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
        ("attempts", |c| c.attempts = 0, |c| c.attempts = 1),
        (
            "attempts_by_purpose",
            |c| c.attempts_by_purpose = [("a".to_owned(), 0)].into(),
            |c| c.attempts_by_purpose = [("a".to_owned(), 1)].into(),
        ),
        (
            "attempts_by_purpose",
            |c| c.attempts_by_purpose = [("a".to_owned(), 101)].into(),
            |c| c.attempts_by_purpose = [("a".to_owned(), 100)].into(),
        ),
        (
            "attempts_by_purpose",
            |c| c.attempts_by_purpose = [("app:a".to_owned(), 5)].into(),
            |c| c.attempts_by_purpose = [("step_2".to_owned(), 5)].into(),
        ),
        ("attempts_window", |c| c.attempts_window = MINUTE, |c| c.attempts_window = 10 * MINUTE),
    ];
    for (knob, bad, good) in rows {
        assert!(refused(bad).contains(&format!("challenge.{knob}")), "{knob}: {}", refused(bad));
        assert_eq!(refused(good), "", "{knob}");
    }
}

#[test]
fn a_code_gets_no_more_attempts_by_settings_of_its_kind() {
    let refused = |window: Duration| {
        let auth = Portcullis::builder(sea_orm::DatabaseConnection::default())
            .secret(Secret::generate())
            .configure(|config| {
                let mut own = AttemptOverrides::default();
                own.window = Some(window);
                config.attempts.kinds.insert(AttemptKind::Challenge, own);
            })
            .build();
        auth.err().map(|errors| errors.to_string()).unwrap_or_default()
    };
    for short in [MINUTE, 10 * MINUTE - Duration::from_millis(1)] {
        let said = refused(short);
        assert!(said.contains("attempts.kinds") && said.contains("code_lifetime"), "{said}");
    }
    assert_eq!(refused(10 * MINUTE), "");
}
