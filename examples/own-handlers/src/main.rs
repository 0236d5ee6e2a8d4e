//! Registering, signing in and out, proving and changing the password, and one's own sessions, all
//! from handlers of one's own. No route of portcullis is mounted. The other flows are methods of the
//! same kind.
//!
//! Bodies, paths and answers are the application's. What the mounted routes do besides calling a
//! flow stands here in three words: `check_same_origin` where nobody has to be signed in, `over` to
//! take the place of an old session, and the issued session in the answer.
//!
//! `cargo run -p own-handlers`, then:
//!
//! ```text
//! $ url=http://127.0.0.1:3003
//! $ curl -c jar --json '{ "name": "alice", "password": "correct horse battery" }' $url/people
//! $ curl -b jar -c jar $url/me
//! $ curl -b jar -c jar --json '{ "password": "correct horse battery" }' $url/prove
//! $ curl -b jar -c jar $url/places
//! $ curl -b jar -c jar -X DELETE $url/door
//! $ curl -c jar --json '{ "name": "alice", "password": "correct horse battery" }' $url/door
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
use portcullis::identity::owner;
use portcullis::login::{Credentials, LoginOutcome};
use portcullis::registration::Application;
use portcullis::session::SessionError;
use portcullis::{
    Account, AccountOwner, ClientInfo, Identity, PasswordChangeSession, Portcullis, Rejection,
    Requirement, Secret, SessionId, public,
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
    // What clients left behind who hung up is still carried out.
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

fn app(auth: &Portcullis) -> Router {
    auth.router()
        .route("/people", post(register), public())
        .route("/door", post(enter).delete(leave), public())
        .route("/prove", post(prove), Requirement::signed_in())
        .route("/me", get(me), Requirement::signed_in())
        .route("/my-password", post(change_password), Requirement::signed_in())
        // Whoever calls it is not signed in yet: its extractor takes that stage and no other.
        .route("/my-first-password", post(set_password), public())
        .route("/places", get(places).delete(end_other_places), Requirement::signed_in())
        .route("/places/{id}", delete(end_place), Requirement::signed_in())
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
    // Another site must not sign its visitors up here, nor in under an account of its own.
    auth.check_same_origin(&parts)?;
    let application = Application::new(NewAccount::username(body.name), body.password);
    let registration = auth.registration().replacing(&parts.extensions).await?;
    let registered = registration.register(application, &client).await?;
    // None where an account has to be verified before it can be used.
    let welcome = Json(json!({ "welcome": registered.account.username() }));
    Ok((StatusCode::CREATED, registered.session, welcome).into_response())
}

async fn enter(
    auth: Portcullis,
    client: ClientInfo,
    parts: Parts,
    Json(body): Json<NameAndPassword>,
) -> Result<Response, Rejection> {
    auth.check_same_origin(&parts)?;
    let login = auth.login().replacing(&parts.extensions).await?;
    let outcome =
        login.with_password(Credentials::password(body.name, body.password), &client).await?;
    let next = match &outcome {
        LoginOutcome::Session(_) => "/me",
        LoginOutcome::PasswordChangeRequired(_) => "/my-first-password",
        // A page that asks for the second factor, and so on.
        _ => "/not-built-here",
    };
    Ok((outcome.into_issued(), Json(json!({ "next": next }))).into_response())
}

/// Of any stage, and without complaint where nobody is signed in.
async fn leave(auth: Portcullis, parts: Parts) -> Result<Response, Rejection> {
    Ok((auth.log_out(&parts.extensions).await?, StatusCode::NO_CONTENT).into_response())
}

#[derive(Deserialize)]
struct OnePassword {
    password: String,
}

/// Proves the password again, before something that is worth it.
async fn prove(
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

/// For a sign-in that goes only as far as this.
async fn set_password(
    auth: Portcullis,
    session: PasswordChangeSession,
    client: ClientInfo,
    Json(body): Json<OnePassword>,
) -> Result<Response, Rejection> {
    let issued = auth.password_change().finish(&session, body.password, &client).await?;
    Ok((issued, StatusCode::NO_CONTENT).into_response())
}

/// Where else am I signed in?
async fn places(
    auth: Portcullis,
    owner: AccountOwner<owner::Sessions>,
) -> Result<Json<Value>, Rejection> {
    let sessions = auth.own_sessions(&owner).list().await?;
    let places = sessions.iter().map(|session| {
        let here = session.id == owner.session().id();
        json!({ "id": session.id, "here": here, "with": session.user_agent })
    });
    Ok(Json(places.collect()))
}

async fn end_place(
    auth: Portcullis,
    owner: AccountOwner<owner::Sessions>,
    Path(id): Path<String>,
) -> Result<StatusCode, Rejection> {
    let id: SessionId = id.parse().map_err(|_| SessionError::NotFound)?;
    auth.own_sessions(&owner).end_one(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end_other_places(
    auth: Portcullis,
    owner: AccountOwner<owner::Sessions>,
    client: ClientInfo,
) -> Result<impl IntoResponse, Rejection> {
    let ended = auth.own_sessions(&owner).end_others(&client).await?;
    // This browser stays one that the account is known to sign in from.
    Ok((ended.device, StatusCode::NO_CONTENT))
}
