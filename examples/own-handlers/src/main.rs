//! Registration, sign-in and sign-out, reauthentication, a change of the password, and the list of
//! sessions, all in the application's own handlers. No route of portcullis is mounted. You can call the
//! other flows in the same way.
//!
//! Three handlers show checks of the application itself: a password that a directory knows, a factor of your
//! own (the code of a key), and a question that a visitor without an account has to answer.
//!
//! The application chooses bodies, paths and answers. A handler that signs someone in must do two
//! things that the mounted routes do too:
//!
//! 1. call `replacing`, so that the new session replaces an old one;
//! 2. return the issued session in the answer.
//!
//! `public()` refuses what another site sends, so the handlers need no check of their own. In a plain axum
//! router they call `auth.check_same_origin(..)`.
//!
//! Start the example with `cargo run -p own-handlers`, then run:
//!
//! ```text
//! $ url=http://127.0.0.1:3003
//! $ curl -c jar --json '{ "name": "alice", "password": "correct horse battery" }' $url/people
//! $ curl -b jar -c jar $url/me
//! $ curl -b jar -c jar --json '{ "password": "correct horse battery" }' $url/reauthenticate
//! $ curl -b jar -c jar $url/sessions
//! $ curl -b jar -c jar -X DELETE $url/session
//! $ curl -c jar --json '{ "name": "alice", "password": "correct horse battery" }' $url/session
//! ```
//!
//! A password of the directory. The account must exist, and needs no password here:
//!
//! ```text
//! $ curl -c jar --json '{ "name": "alice", "password": "password of the directory" }' $url/directory-session
//! ```
//!
//! A key as the second factor. Setting it up ends the sessions of the account:
//!
//! ```text
//! $ curl -b jar -X POST $url/my-key
//! $ curl -c jar --json '{ "name": "alice", "password": "correct horse battery" }' $url/session
//! $ curl -b jar -c jar --json '{ "code": "424242" }' $url/my-key-code
//! $ curl -b jar -c jar $url/me
//! ```
//!
//! A message of a visitor. The first request starts the visitor's session. Put the `id` of its answer into
//! the second one:
//!
//! ```text
//! $ curl -c visitor $url/question
//! $ curl -b visitor --json '{ "id": "019b…", "answer": "7", "text": "Hello" }' $url/messages
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use portcullis::account::NewAccount;
use portcullis::challenge::ChallengeError;
use portcullis::identity::owner;
use portcullis::login::{Credentials, Guess, LoginError, LoginOutcome, Verdict};
use portcullis::registration::Application;
use portcullis::session::SessionError;
use portcullis::{
    Account, AccountOwner, ChallengeId, ClientInfo, Factor, Identity, PasswordChangeSession,
    PendingSession, Portcullis, Refusal, Rejection, Requirement, Secret, SessionId, Stage, Visitor,
    any_session, public, stage, visitor,
};
use portcullis_migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, Database};
use serde::Deserialize;
use serde_json::{Value, json};

#[cfg(test)]
mod tests;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let auth = start(&directory).await?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 3003)).await?;
    println!("own-handlers serves http://{}; Ctrl-C stops it", listener.local_addr()?);
    let service = app(&auth).into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        result = axum::serve(listener, service).into_future() => result?,
        _ = tokio::signal::ctrl_c() => {}
    }
    // Finishes the work of requests whose clients disconnected.
    let _ = tokio::time::timeout(Duration::from_secs(10), auth.drain()).await;
    Ok(())
}

async fn start(directory: &tempfile::TempDir) -> Result<Portcullis, Box<dyn Error>> {
    let file = directory.path().join("own-handlers.sqlite");
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
    options.test_before_acquire_if_idle_for(Duration::from_secs(30)).sqlx_logging(false);
    let db = Database::connect(options).await?;
    Migrator::up(&db, None).await?;
    let secret = Secret::load_or_create(directory.path().join("secret"))?;
    Ok(Portcullis::builder(db).secret(secret).build()?)
}

/// The maximum age of the last factor when a user sets up a key.
const KEY_WITHIN: Duration = Duration::from_secs(5 * 60);

fn app(auth: &Portcullis) -> Router {
    auth.router()
        .route("/people", post(register), public())
        .route("/session", post(sign_in).delete(sign_out), public())
        .route("/directory-session", post(sign_in_by_directory), public())
        .route("/reauthenticate", post(reauthenticate), Requirement::signed_in())
        .route("/me", get(me), Requirement::signed_in())
        .route("/my-password", post(change_password), Requirement::signed_in())
        // A sign-in that is not finished may call only the route that takes it further.
        .route("/my-first-password", post(set_password), stage(Stage::MustChangePassword))
        .route("/sessions", get(sessions).delete(end_other_sessions), Requirement::signed_in())
        .route("/sessions/{id}", delete(end_session), Requirement::signed_in())
        // A stolen session must not bind the account to the thief's key, so the password must be fresh.
        .route("/my-key", post(set_up_key), Requirement::within(KEY_WITHIN))
        .route("/my-key-code", post(check_key), stage(Stage::PendingSecondFactor))
        // Starts a session for a visitor who has none. The message needs that session.
        .route("/question", get(ask), visitor())
        .route("/messages", post(leave_message), any_session())
        .into_router()
}

#[derive(Deserialize)]
struct NameAndPassword {
    name: String,
    password: String,
}

async fn register(
    auth: Portcullis,
    client: ClientInfo,
    parts: Parts,
    Json(body): Json<NameAndPassword>,
) -> Result<Response, Rejection> {
    let application = Application::new(NewAccount::username(body.name), body.password);
    let registration = auth.registration().replacing(&parts.extensions).await?;
    let registered = registration.register(application, &client).await?;
    // `session` is None if an account must be verified before it can be used.
    let welcome = Json(json!({ "welcome": registered.account.username() }));
    Ok((StatusCode::CREATED, registered.session, welcome).into_response())
}

async fn sign_in(
    auth: Portcullis,
    client: ClientInfo,
    parts: Parts,
    Json(body): Json<NameAndPassword>,
) -> Result<Response, Rejection> {
    let login = auth.login().replacing(&parts.extensions).await?;
    let outcome =
        login.with_password(Credentials::password(body.name, body.password), &client).await?;
    let next = next_step(&outcome);
    Ok((outcome.into_issued(), Json(json!({ "next": next }))).into_response())
}

/// Signs in a person whose password a directory knows. The attempt is counted before the directory is
/// asked, and `judge` says what its answer is worth: after too many wrong passwords a right one is refused
/// too.
async fn sign_in_by_directory(
    auth: Portcullis,
    client: ClientInfo,
    parts: Parts,
    Json(body): Json<NameAndPassword>,
) -> Result<Response, Rejection> {
    let attempt = auth.attempts().begin(Guess::Password(&body.name), &client).await?;
    // The attempt counts for this account, so no other one may be signed in.
    let account = attempt.account().cloned();
    let accepted = directory_accepts(&body.name, &body.password);
    let (Verdict::Right, Some(account)) =
        (attempt.judge(accepted && account.is_some()).await?, account)
    else {
        return Err(LoginError::InvalidCredentials.into());
    };
    // Not `External`: a guard that requires a second factor of your own would accept this sign-in.
    let sign_in = auth.sign_in(&account, &client).proved(Factor::Password);
    let outcome = sign_in.replacing(&parts.extensions).await?.await?;
    let next = next_step(&outcome);
    Ok((outcome.into_issued(), Json(json!({ "next": next }))).into_response())
}

/// Your application asks its directory here. If the directory does not answer, call `withdraw` on the
/// attempt. This directory knows two people.
fn directory_accepts(name: &str, password: &str) -> bool {
    ["alice", "bob"].contains(&name) && password == "password of the directory"
}

/// The next page of a sign-in.
fn next_step(outcome: &LoginOutcome) -> &'static str {
    match outcome {
        LoginOutcome::Session(_) => "/me",
        LoginOutcome::PasswordChangeRequired(_) => "/my-first-password",
        LoginOutcome::SecondFactorRequired(_) => "/my-key-code",
        _ => "/not-in-this-example",
    }
}

/// Works at every stage of a sign-in, and also without a session.
async fn sign_out(auth: Portcullis, parts: Parts) -> Result<Response, Rejection> {
    Ok((auth.log_out(&parts.extensions).await?, StatusCode::NO_CONTENT).into_response())
}

#[derive(Deserialize)]
struct OnePassword {
    password: String,
}

/// Checks the password again, before a sensitive action.
async fn reauthenticate(
    auth: Portcullis,
    identity: Identity,
    client: ClientInfo,
    Json(body): Json<OnePassword>,
) -> Result<Response, Rejection> {
    let issued = auth.login().reauthenticate(&identity, body.password, &client).await?;
    Ok((issued, StatusCode::NO_CONTENT).into_response())
}

async fn me(account: Account) -> Json<Value> {
    Json(json!({ "name": account.username() }))
}

#[derive(Deserialize)]
struct OldAndNew {
    old: String,
    new: String,
}

async fn change_password(
    auth: Portcullis,
    owner: AccountOwner<owner::Password>,
    client: ClientInfo,
    Json(body): Json<OldAndNew>,
) -> Result<Response, Rejection> {
    let change = auth.password_change();
    let issued = change.change(&owner, Some(&body.old), body.new, &client).await?;
    Ok((issued, StatusCode::NO_CONTENT).into_response())
}

/// For a sign-in that still needs a new password.
async fn set_password(
    auth: Portcullis,
    session: PasswordChangeSession,
    client: ClientInfo,
    Json(body): Json<OnePassword>,
) -> Result<Response, Rejection> {
    let issued = auth.password_change().finish(&session, body.password, &client).await?;
    Ok((issued, StatusCode::NO_CONTENT).into_response())
}

/// Lists the sessions of the account.
async fn sessions(
    auth: Portcullis,
    owner: AccountOwner<owner::Sessions>,
) -> Result<Json<Value>, Rejection> {
    let sessions = auth.own_sessions(&owner).list().await?;
    let sessions = sessions.iter().map(|session| {
        let current = session.id == owner.session().id();
        json!({ "id": session.id, "current": current, "user_agent": session.user_agent })
    });
    Ok(Json(sessions.collect()))
}

async fn end_session(
    auth: Portcullis,
    owner: AccountOwner<owner::Sessions>,
    Path(id): Path<String>,
) -> Result<StatusCode, Rejection> {
    let id: SessionId = id.parse().map_err(|_| SessionError::NotFound)?;
    auth.own_sessions(&owner).end_one(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end_other_sessions(
    auth: Portcullis,
    owner: AccountOwner<owner::Sessions>,
    client: ClientInfo,
) -> Result<impl IntoResponse, Rejection> {
    let ended = auth.own_sessions(&owner).end_others(&client).await?;
    // This browser stays a known device of the account.
    Ok((ended.device, StatusCode::NO_CONTENT))
}

/// Lets the account sign in only with its key from now on. This ends its sessions.
async fn set_up_key(
    auth: Portcullis,
    owner: AccountOwner<owner::Password>,
) -> Result<StatusCode, Rejection> {
    auth.accounts().set_enrolled_factors(owner.account().id(), [Factor::External]).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct KeyCode {
    code: String,
}

/// Finishes a sign-in with the code of the key. The attempt is counted before the code is compared, and
/// `judge` says what the result is worth: after too many wrong codes a right one is refused too.
async fn check_key(
    auth: Portcullis,
    pending: PendingSession,
    client: ClientInfo,
    Json(body): Json<KeyCode>,
) -> Result<Response, Rejection> {
    let guess = Guess::SecondFactor(pending.account());
    let attempt = auth.attempts().begin(guess, &client).await?;
    match attempt.judge(key_shows(&body.code)).await? {
        Verdict::Right => {}
        Verdict::Wrong => {
            let text = "this is not the code of the key";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "wrong_key_code", text).into());
        }
    }
    let outcome = auth.login().finish(&pending, Factor::External, &client).await?;
    let next = next_step(&outcome);
    Ok((outcome.into_issued(), Json(json!({ "next": next }))).into_response())
}

/// Your application asks the service of the key here. This key always shows the same code.
fn key_shows(code: &str) -> bool {
    code == "424242"
}

/// Asks a visitor a question. `Visitor` starts a session if the request has none. Your application draws a
/// picture of a question that changes.
async fn ask(auth: Portcullis, visitor: Visitor) -> Result<Json<Value>, Rejection> {
    let question = auth.challenges().start("question", &visitor).expecting("7").prepare().await?;
    Ok(Json(json!({ "id": question.id(), "question": "How many days does a week have?" })))
}

#[derive(Deserialize)]
struct VisitorMessage {
    id: String,
    answer: String,
    text: String,
}

/// Accepts one message for each answered question.
async fn leave_message(
    auth: Portcullis,
    visitor: Visitor,
    client: ClientInfo,
    Json(body): Json<VisitorMessage>,
) -> Result<Json<Value>, Rejection> {
    let id: ChallengeId = body.id.parse().map_err(|_| ChallengeError::WrongCode)?;
    let challenges = auth.challenges();
    // This handler acts on the answer, so it also spends it.
    let answer = challenges.answer_and_spend("question", &visitor, id, &body.answer, &client);
    let answered = answer.await?;
    Ok(Json(json!({ "received": body.text, "question": answered.id() })))
}
