//! Every way to require a permission.
//!
//! | way | route in this example |
//! |---|---|
//! | at the route | `GET /reports` |
//! | at the route, for the instance in the path | `GET /docs/{id}` |
//! | an extractor | `POST /publish` |
//! | inside a handler | `DELETE /docs/{id}` |
//! | a list, filtered in SQL | `GET /docs` |
//! | a role instead of a permission | `GET /staff` |
//! | several requirements, one of them a recent password check | `GET /export` |
//!
//! `cargo run -p permissions` creates two accounts with random passwords and prints the passwords. `erin`
//! is an editor (`doc:read`, `doc:publish`, `doc:delete:2`), and `greg` is a guest (`doc:read:1`). All
//! data is deleted when the example stops. Run these commands with the printed passwords:
//!
//! ```text
//! $ cd $(mktemp -d); url=http://127.0.0.1:3001
//! $ curl -s -c erin -u erin:PASSWORD -X POST $url/auth/login
//! $ curl -s -c greg -u greg:PASSWORD -X POST $url/auth/login
//!
//! $ curl -s -b greg $url/docs                     ["1"]
//! $ curl -s -b erin $url/docs                     ["1","2","3"]
//! $ curl -s -b greg $url/docs/1                   this is document 1
//! $ curl -s -b greg $url/docs/2                   403 denied
//! $ curl -s -b greg $url/docs/1,2                 404 not_found: an id may not contain `,`
//! $ curl -s -b greg $url/reports                  403 denied
//! $ curl -s -b erin $url/reports                  the reports
//! $ curl -s -b greg $url/staff                    403 denied
//! $ curl -s -b erin $url/staff                    for staff only
//! $ curl -s -b erin -X POST $url/publish          published by erin
//! $ curl -s -b erin -X DELETE $url/docs/1         403 denied: erin is not the owner and has no permission
//! $ curl -s -b erin -X DELETE $url/docs/2         deleted: erin has `doc:delete:2`
//! $ curl -s -b erin -X DELETE $url/docs/3         deleted: erin owns document 3
//!
//! $ sleep 10; curl -s -b erin $url/export         401 insufficient_user_authentication
//! $ curl -s -b erin -c erin --json '{ "password": "PASSWORD" }' $url/auth/reauthenticate
//! $ curl -s -b erin $url/export                   everything
//! $ curl -s -b greg $url/export                   403 denied: greg lacks the permission
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{self, get, post};
use axum::{Json, Router};
use portcullis::account::NewAccount;
use portcullis::permission::RoleDefinition;
use portcullis::{
    Account, Allowed, AuthError, Identity, Instances, Portcullis, Rejection, Requirement,
    RequirementError, Secret, TypedPermission,
};
use portcullis_migration::{Migrator, MigratorTrait};
use sea_orm::{
    ColumnTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, EntityTrait,
    QueryFilter, QueryOrder,
};

mod document;
#[cfg(test)]
mod tests;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let (auth, db) = start(&directory).await?;
    for (name, role) in [("erin", "editor"), ("greg", "guest")] {
        let password = random_password()?;
        seed(&auth, name, role, &password).await?;
        println!("{name} ({role}): {password}");
    }
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 3001)).await?;
    println!("permissions serves http://{}; Ctrl-C stops it", listener.local_addr()?);
    let service = app(&auth, db)?.into_make_service_with_connect_info::<SocketAddr>();
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, service).with_graceful_shutdown(stop).await?;
    auth.drain().await;
    Ok(())
}

portcullis::permissions! {
    doc: Read, Publish, Delete;
}

/// Each route states who may call it. `cargo test` compares the whole table with `access.txt`.
fn app(auth: &Portcullis, db: DatabaseConnection) -> Result<Router, RequirementError> {
    // The password was checked in the last ten seconds. A real service would allow minutes.
    let fresh = Requirement::within(Duration::from_secs(10));
    let export = Requirement::all([Requirement::typed(doc::Read), fresh])?;
    Ok(auth
        .router()
        // Requires `doc:read` for all documents. An account with `doc:read:1` is denied.
        .route("/reports", get(async || "the reports\n"), doc::Read)
        // The same for one instance: GET /docs/1 requires `doc:read:1`. Another method of the same path
        // can have another requirement. For DELETE, the handler checks the permission.
        .route("/docs/{id}", get(show), auth.require(doc::Read).on_path("id"))
        .route("/docs/{id}", routing::delete(delete), Requirement::signed_in())
        // A role. Prefer permissions: they depend on what a route does, and not on who uses it.
        .route("/staff", get(async || "for staff only\n"), Requirement::role("editor"))
        .route("/export", get(async || "everything\n"), export)
        .route("/docs", get(list), Requirement::signed_in())
        .route("/publish", post(publish), Requirement::signed_in())
        .auth_routes("/auth", auth.routes())
        .with_state(db)
        .into_router())
}

async fn show(Path(id): Path<String>) -> String {
    format!("this is document {id}\n")
}

/// An extractor: without the permission, the body of this function does not run.
async fn publish(allowed: Allowed<doc::Publish>) -> String {
    format!("published by {}\n", name(allowed.identity().account()))
}

/// A list from the application's own table. The database returns only documents that the user may read.
async fn list(
    identity: Identity,
    State(db): State<DatabaseConnection>,
) -> Result<Json<Vec<String>>, StatusCode> {
    let documents = document::Entity::find().order_by_asc(document::Column::Id);
    let documents = match identity.instances(doc::Read) {
        Instances::All => documents,
        // Without any id the list is empty, because `IN ()` matches nothing.
        Instances::Only(ids) => documents.filter(document::Column::Id.is_in(ids)),
    };
    let documents = documents.all(&db).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(Json(documents.into_iter().map(|document| document.id).collect()))
}

/// Inside a handler, other conditions can count too: the owner of a document needs no permission.
async fn delete(identity: Identity, Path(id): Path<String>) -> Result<&'static str, Rejection> {
    // An id with `:`, `,` or `*` would change the requirement. No document has such an id.
    let delete = Requirement::typed(doc::Delete).on(&id).map_err(|_| AuthError::NoSuchInstance)?;
    let owns = owner(&id) == name(identity.account());
    if owns || identity.meets(&delete) { Ok("deleted\n") } else { Err(AuthError::Denied.into()) }
}

/// A real application would read this from its own table.
fn owner(id: &str) -> &'static str {
    if id == "3" { "erin" } else { "somebody else" }
}

fn name(account: &Account) -> &str {
    account.username().unwrap_or("somebody")
}

async fn start(
    directory: &tempfile::TempDir,
) -> Result<(Portcullis, DatabaseConnection), Box<dyn Error>> {
    let file = directory.path().join("permissions.sqlite");
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
    options.test_before_acquire_if_idle_for(Duration::from_secs(30)).sqlx_logging(false);
    let db = Database::connect(options).await?;
    Migrator::up(&db, None).await?;
    db.execute_unprepared("CREATE TABLE document (id TEXT PRIMARY KEY)").await?;
    db.execute_unprepared("INSERT INTO document (id) VALUES ('1'), ('2'), ('3')").await?;
    // The secret is not kept: all sessions end with the process, like all data of this example.
    let auth = Portcullis::builder(db.clone()).secret(Secret::generate()).build()?;
    let editor = [doc::Read::TEXT, doc::Publish::TEXT, "doc:delete:2"];
    let guest = RoleDefinition::new("guest", ["doc:read:1"]);
    auth.roles().define([RoleDefinition::new("editor", editor), guest]).await?;
    Ok((auth, db))
}

async fn seed(
    auth: &Portcullis,
    name: &str,
    role: &str,
    password: &str,
) -> Result<(), Box<dyn Error>> {
    let account = auth.registration().create(NewAccount::username(name), password).await?;
    auth.roles().grant(account.id(), role).await?;
    Ok(())
}

/// 128 bits in hexadecimal.
fn random_password() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
