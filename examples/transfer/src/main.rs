//! A transfer of money that a person consents to, and that cannot run twice.
//!
//! The same transfer may be sent again, for example a gift each year. But each time the person must consent
//! again. A double click, a client that repeats a request, two tabs and a crash in between must not send it a
//! second time.
//!
//! 1. `POST /transfers` writes down what the person wants to send. Nothing is sent.
//! 2. `POST /transfers/{id}/consent` is the button under the text "Send 12.50 to bob". The answer has a proof
//!    that this person consented to this transfer, with this amount, and to nothing else.
//! 3. `POST /transfers/{id}` sends the money. It brings the proof in a header. The proof is used up in
//!    the transaction that moves the money. If the money cannot be moved, the transaction is rolled back, and
//!    the proof is still good.
//!
//! The function [`send`] takes a `SpentProof`, so nobody can call it without a consent that was used up.
//!
//! Start the example with `cargo run -p transfer`, then run:
//!
//! ```text
//! $ url=http://127.0.0.1:3009
//! $ curl --json '{ "username": "bob", "password": "correct horse battery" }' $url/auth/register
//! $ curl -c jar --json '{ "username": "alice", "password": "correct horse battery" }' $url/auth/register
//! $ curl -b jar $url/purse                                          {"cents":10000}
//! $ curl -b jar --json '{ "to": "bob", "cents": 1250 }' $url/transfers           {"id":1,…}
//! $ curl -b jar -X POST $url/transfers/1                            401 action_proof_required
//! $ proof=$(curl -s -b jar -X POST $url/transfers/1/consent | grep -o 'eyJ[^"]*')
//! $ curl -b jar -X POST -H "portcullis-action-proof: $proof" $url/transfers/1    {"sent":1250,…}
//! $ curl -b jar -X POST -H "portcullis-action-proof: $proof" $url/transfers/1    409 action_proof_used
//! $ curl -b jar $url/purse                                          {"cents":8750}
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis::action_proof::{Payload, SpentProof, VerifiedProof};
use portcullis::hook::{HookResult, Hooks, Registering};
use portcullis::{
    Account, ClientInfo, Fault, Identity, Portcullis, Refusal, Rejection, Requirement, Secret,
    Transaction,
};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection,
    DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
};
use sea_orm_migration::MigratorTrait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::table::{purse, transfer};

mod table;
#[cfg(test)]
mod tests;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let (db, auth) = start(&directory).await?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 3009)).await?;
    println!("transfer serves http://{}; Ctrl-C stops it", listener.local_addr()?);
    let service = app(db, &auth).into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        result = axum::serve(listener, service).into_future() => result?,
        _ = tokio::signal::ctrl_c() => {}
    }
    // Finishes the work of requests whose clients disconnected.
    let _ = tokio::time::timeout(Duration::from_secs(10), auth.drain()).await;
    Ok(())
}

async fn start(
    directory: &tempfile::TempDir,
) -> Result<(DatabaseConnection, Portcullis), Box<dyn Error>> {
    let file = directory.path().join("transfer.sqlite");
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
    options.test_before_acquire_if_idle_for(Duration::from_secs(30)).sqlx_logging(false);
    let db = Database::connect(options).await?;
    portcullis_migration::Migrator::up(&db, None).await?;
    table::Migrator::up(&db, None).await?;
    let secret = Secret::load_or_create(directory.path().join("secret"))?;
    let auth = Portcullis::builder(db.clone()).secret(secret).hooks(Purses).build()?;
    Ok((db, auth))
}

fn app(db: DatabaseConnection, auth: &Portcullis) -> Router {
    let consented = auth.require_action_proof("transfer").on_path("id");
    auth.router()
        .route("/purse", get(my_purse), Requirement::signed_in())
        .route("/transfers", post(write_down), Requirement::signed_in())
        .route("/transfers/{id}", get(show), Requirement::signed_in())
        .route("/transfers/{id}", post(carry_out), consented)
        .route("/transfers/{id}/consent", post(consent), Requirement::signed_in())
        .auth_routes("/auth", auth.routes())
        .with_state(db)
        .into_router()
}

/// What a consent is to. The page shows it, the proof contains a digest of it, and the request that sends the
/// money compares it with what the database says then.
fn details(transfer: &transfer::Model) -> Payload {
    let (to, cents) = (transfer.to_id.to_string(), transfer.cents.to_string());
    Payload::new().field("to", to).field("cents", cents)
}

fn in_words(transfer: &transfer::Model) -> String {
    format!("Send {}.{:02} to {}", transfer.cents / 100, transfer.cents % 100, transfer.to_name)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    to: String,
    cents: i64,
}

/// Writes down a transfer. Nothing is sent.
async fn write_down(
    account: Account,
    auth: Portcullis,
    State(db): State<DatabaseConnection>,
    Json(wanted): Json<Wanted>,
) -> Result<(StatusCode, Json<Value>), Rejection> {
    if wanted.cents <= 0 {
        return Err(refusal(StatusCode::UNPROCESSABLE_ENTITY, "amount", "send a positive amount"));
    }
    let to = auth.accounts().find_by_login(&wanted.to).await?;
    let to = to.filter(|to| to.id() != account.id()).ok_or_else(|| {
        refusal(StatusCode::UNPROCESSABLE_ENTITY, "recipient", "there is no such other person")
    })?;
    let row = transfer::ActiveModel {
        from_id: Set(account.id().as_uuid()),
        to_id: Set(to.id().as_uuid()),
        to_name: Set(wanted.to),
        cents: Set(wanted.cents),
        times_sent: Set(0),
        ..Default::default()
    };
    let row = transfer::Entity::insert(row).exec_with_returning(&db).await.map_err(Fault::from)?;
    Ok((StatusCode::CREATED, Json(shown(&row))))
}

/// What the page shows above the button.
async fn show(
    account: Account,
    State(db): State<DatabaseConnection>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Rejection> {
    Ok(Json(shown(&own(&db, &account, &id).await?)))
}

/// The person has read the text and pressed the button.
async fn consent(
    auth: Portcullis,
    identity: Identity,
    client: ClientInfo,
    State(db): State<DatabaseConnection>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Rejection> {
    let transfer = own(&db, identity.account(), &id).await?;
    let issue = auth.action_proofs().issue("transfer", &identity).resource(id);
    let issue = issue.over(&details(&transfer)).agreed_to(in_words(&transfer));
    let issued = issue.sign(&client).await?;
    Ok(Json(json!({
        "action_proof": issued.token(),
        "agreed_to": issued.agreed_to(),
        "expires_at": issued.expires_at(),
    })))
}

/// Carries out the transfer. The guard has checked the proof: of this person, of this transfer, and not used.
async fn carry_out(
    auth: Portcullis,
    proof: VerifiedProof,
    client: ClientInfo,
    Path(id): Path<String>,
) -> Result<Json<Value>, Rejection> {
    let txn = auth.begin().await?;
    // An early return drops the transaction, which rolls it back. The consent is then still good.
    let transfer = own(&txn, proof.account(), &id).await?;
    let proof = proof.check_payload(&details(&transfer))?;
    let spent = proof.spend_within(&txn, &client).await?;
    send(&txn, &transfer, &spent).await?;
    txn.commit().await.map_err(Fault::from)?;
    Ok(Json(json!({ "sent": transfer.cents, "to": transfer.to_name })))
}

/// Moves the money. Only a consent that was used up in this transaction gets here.
async fn send(
    txn: &Transaction,
    transfer: &transfer::Model,
    spent: &SpentProof,
) -> Result<(), Rejection> {
    if !spent.is_about("transfer", Some(&transfer.id.to_string())) {
        return Err(refusal(StatusCode::FORBIDDEN, "consent", "the consent is to something else"));
    }
    let enough = add(txn, transfer.from_id, -transfer.cents).await.map_err(Fault::from)?;
    if !enough {
        return Err(refusal(StatusCode::CONFLICT, "not_enough_money", "you do not have so much"));
    }
    add(txn, transfer.to_id, transfer.cents).await.map_err(Fault::from)?;
    transfer::Entity::update_many()
        .col_expr(transfer::Column::TimesSent, Expr::col(transfer::Column::TimesSent).add(1))
        .filter(transfer::Column::Id.eq(transfer.id))
        .exec(txn)
        .await
        .map_err(Fault::from)?;
    Ok(())
}

/// Adds an amount to a purse. Returns false if it would have less than nothing.
async fn add(
    txn: &Transaction,
    account: sea_orm::prelude::Uuid,
    cents: i64,
) -> Result<bool, DbErr> {
    let changed = purse::Entity::update_many()
        .col_expr(purse::Column::Cents, Expr::col(purse::Column::Cents).add(cents))
        .filter(purse::Column::AccountId.eq(account))
        .filter(Expr::col(purse::Column::Cents).add(cents).gte(0))
        .exec(txn)
        .await?;
    Ok(changed.rows_affected > 0)
}

/// Returns a transfer of this person. That of another person does not exist for them.
async fn own(
    db: &impl ConnectionTrait,
    account: &Account,
    id: &str,
) -> Result<transfer::Model, Rejection> {
    let none = || refusal(StatusCode::NOT_FOUND, "no_such_transfer", "there is no such transfer");
    // `07` is not another name of the transfer `7`: the proof is about the text in the path.
    let number: i32 = id.parse().map_err(|_| none())?;
    if number.to_string() != id {
        return Err(none());
    }
    let found = transfer::Entity::find_by_id(number)
        .filter(transfer::Column::FromId.eq(account.id().as_uuid()))
        .one(db)
        .await
        .map_err(Fault::from)?;
    found.ok_or_else(none)
}

fn shown(transfer: &transfer::Model) -> Value {
    json!({
        "id": transfer.id,
        "text": in_words(transfer),
        "times_sent": transfer.times_sent,
    })
}

fn refusal(status: StatusCode, code: &'static str, text: &'static str) -> Rejection {
    Refusal::new(status, code, text).into()
}

async fn my_purse(
    account: Account,
    State(db): State<DatabaseConnection>,
) -> Result<Json<Value>, Rejection> {
    let found = purse::Entity::find_by_id(account.id().as_uuid()).one(&db).await;
    let cents = found.map_err(Fault::from)?.map_or(0, |purse| purse.cents);
    Ok(Json(json!({ "cents": cents })))
}

/// Everyone who registers gets some money.
struct Purses;

impl Hooks for Purses {
    async fn after_register(&self, new: Registering<'_>, txn: &DatabaseTransaction) -> HookResult {
        let row =
            purse::ActiveModel { account_id: Set(new.account_id.as_uuid()), cents: Set(10_000) };
        purse::Entity::insert(row).exec_without_returning(txn).await?;
        Ok(())
    }
}
