//! A printed card as a second factor. A person signs in with a password, and then the page asks for three
//! cells of their card, such as B4, E1 and G7.
//!
//! The application prints the cards, stores their digests in its own table (`card_cell.rs`), and implements
//! the port `ExternalFactor` (`cards.rs`). Everything else is done by the mounted routes of portcullis: the
//! second step of a sign-in, the step-up, the count of wrong answers and the sessions. This example sends no
//! mail. With a notifier, the owner is told of each change.
//!
//! The handlers in this file set a card up and remove it. They are short, because portcullis checks the rules:
//!
//! 1. `POST /my-card` prints a card. It is no factor yet, and an account that uses a card gets no other one.
//! 2. `POST /my-card/question` asks for cells, so that nobody loses their account with a card that was not
//!    printed well.
//! 3. `POST /my-card/confirm` takes the digits. From now on the account needs its card. All other sessions
//!    end.
//! 4. `DELETE /my-card` removes it. The card must have been proved within five minutes.
//!
//! Start the example with `cargo run -p own-second-factor`. It keeps its data in a temporary directory, so
//! Ctrl-C deletes all accounts and cards. Then run:
//!
//! ```text
//! $ url=http://127.0.0.1:3008
//! $ curl -c jar --json '{ "username": "alice", "password": "correct horse battery" }' $url/auth/register
//! $ curl -b jar -X POST $url/my-card                    {"card":{"A1":"482","A2":"017", …
//! $ curl -b jar -X POST $url/my-card/question           {"cells":["B4","E1","G7"]}
//! $ curl -b jar -c jar --json '{ "digits": "381 042 977" }' $url/my-card/confirm
//! ```
//!
//! Put in the digits of your card. Then sign in again:
//!
//! ```text
//! $ curl -c jar --json '{ "login": "alice", "password": "correct horse battery" }' $url/auth/login
//! $ curl -b jar --json '{ "method": "external" }' $url/auth/second-factor/challenge
//! $ curl -b jar -c jar --json '{ "method": "external", "code": "115 790 264" }' $url/auth/second-factor/verify
//! $ curl -b jar $url/me
//! ```
//!
//! To replace the card, remove it and print another one. It must have been proved within five minutes. If this
//! was longer ago, prove it again with the first two commands:
//!
//! ```text
//! $ curl -b jar --json '{ "method": "external" }' $url/auth/reauthenticate/challenge
//! $ curl -b jar -c jar --json '{ "method": "external", "code": "482 017 533" }' $url/auth/reauthenticate
//! $ curl -b jar -c jar -X DELETE $url/my-card
//! $ curl -b jar -X POST $url/my-card
//! ```
//!
//! A person who finds or photographs a card still needs the password. A person who has seen some cells could
//! ask again and again until these are asked. So `factor.challenges` limits how many questions are started.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis::identity::owner;
use portcullis::second_factor::{ExternalFactorError, FactorOwner};
use portcullis::{
    Account, AccountOwner, ClientInfo, Factor, Fault, Portcullis, Rejection, Requirement, Secret,
    any_session, second_factor,
};
use sea_orm::{ConnectOptions, Database};
use sea_orm_migration::MigratorTrait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cards::Cards;

mod card_cell;
mod cards;
#[cfg(test)]
mod tests;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let (cards, auth) = start(&directory).await?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 3008)).await?;
    println!("own-second-factor serves http://{}; Ctrl-C stops it", listener.local_addr()?);
    let service = app(cards, &auth).into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        result = axum::serve(listener, service).into_future() => result?,
        _ = tokio::signal::ctrl_c() => {}
    }
    // Finishes the work of requests whose clients disconnected.
    let _ = tokio::time::timeout(Duration::from_secs(10), auth.drain()).await;
    Ok(())
}

async fn start(directory: &tempfile::TempDir) -> Result<(Cards, Portcullis), Box<dyn Error>> {
    let file = directory.path().join("own-second-factor.sqlite");
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
    options.test_before_acquire_if_idle_for(Duration::from_secs(30)).sqlx_logging(false);
    let db = Database::connect(options).await?;
    portcullis_migration::Migrator::up(&db, None).await?;
    card_cell::Migrator::up(&db, None).await?;
    let cards = Cards::open(db.clone(), &directory.path().join("card.key"))?;
    let secret = Secret::load_or_create(directory.path().join("secret"))?;
    let auth = Portcullis::builder(db)
        .secret(secret)
        .external_factor(cards.clone())
        // Removes the card of an account that is erased.
        .hooks(cards.clone())
        .build()?;
    Ok((cards, auth))
}

fn app(cards: Cards, auth: &Portcullis) -> Router {
    auth.router()
        .route("/me", get(me), Requirement::signed_in())
        // The extractors of the handlers say who may call them. `FactorOwner` also accepts a sign-in that
        // must set up a factor, because a role of the account requires one.
        .route("/my-card", post(print).delete(remove), any_session())
        .route("/my-card/question", post(ask), any_session())
        .route("/my-card/confirm", post(confirm), any_session())
        .auth_routes("/auth", auth.routes().merge(second_factor::routes(auth)))
        .with_state(cards)
        .into_router()
}

async fn me(account: Account) -> Json<Value> {
    let factors: Vec<_> = account.enrolled_factors().iter().map(Factor::as_str).collect();
    Json(json!({ "username": account.username(), "factors": factors }))
}

/// Prints a card. The answer shows its digits once.
async fn print(
    auth: Portcullis,
    owner: FactorOwner,
    State(cards): State<Cards>,
) -> Result<Json<Value>, Rejection> {
    let id = owner.account().id();
    let txn = auth.begin().await?;
    // Otherwise another request could confirm the old card at the same time, and the account would then need
    // the new one.
    auth.second_factor().end_challenges(id, &txn).await?;
    let account = auth.accounts().within(&txn).find(id).await?;
    if account.is_none_or(|account| account.enrolled_factors().contains(Factor::External)) {
        return Err(ExternalFactorError::AlreadyEnrolled.into());
    }
    let card = cards.print(id, &*txn).await.map_err(Fault::from)?;
    txn.commit().await.map_err(Fault::from)?;
    Ok(Json(json!({ "card": card })))
}

/// Asks for cells of a card that is not a factor yet.
async fn ask(
    auth: Portcullis,
    owner: FactorOwner,
    client: ClientInfo,
) -> Result<Json<Value>, Rejection> {
    let asked = auth.second_factor().challenge_external(&owner, &client).await?;
    Ok(Json(asked.map(|challenge| challenge.shown).unwrap_or_default()))
}

#[derive(Deserialize)]
struct Digits {
    digits: String,
}

/// Makes the card a second factor of the account.
async fn confirm(
    auth: Portcullis,
    owner: FactorOwner,
    client: ClientInfo,
    Json(body): Json<Digits>,
) -> Result<Response, Rejection> {
    let issued = auth.second_factor().enrol_external(&owner, body.digits, &client).await?;
    Ok((issued, StatusCode::NO_CONTENT).into_response())
}

async fn remove(
    auth: Portcullis,
    owner: AccountOwner<owner::Factors>,
    client: ClientInfo,
    State(cards): State<Cards>,
) -> Result<Response, Rejection> {
    let issued = auth.second_factor().remove_external(&owner, &client).await?;
    // If this fails, the rows stay until the next card is printed. They open nothing.
    cards.remove(owner.account().id()).await.map_err(Fault::from)?;
    Ok((issued, StatusCode::NO_CONTENT).into_response())
}
