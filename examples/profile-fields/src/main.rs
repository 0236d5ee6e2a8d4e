//! The application's own profile table next to the accounts. Account and profile are always created together.
//!
//! portcullis stores sign-in names, and no other data about people. Other data belongs in your own
//! table, here `profile`, with the account's id as key. This example creates the two rows in one
//! transaction, in three ways:
//!
//! 1. People register through the mounted route. The member `profile` of their request goes to the hook
//!    [`Profiles`], which inserts the profile when the account is created.
//! 2. The service creates an account itself, in its own handler and its own transaction.
//! 3. At its first start the service creates its administrator. The same hook inserts the profile.
//!    If this fails, the administrator is not created either, and the next start repeats it.
//!
//! `cargo run -p profile-fields -- [--db URL]` accepts any database, such as
//! `postgres://user:password@localhost/name`. At the first start it prints the administrator's
//! password. Then run:
//!
//! ```text
//! $ url=http://127.0.0.1:3004
//! $ curl -c jar --json '{ "username": "alice", "password": "correct horse battery",
//!     "profile": { "display_name": "Alice A." } }' $url/auth/register
//! $ curl -b jar $url/me                      {"display_name":"Alice A.","username":"alice"}
//! $ curl --json '{ "username": "bob", "password": "correct horse battery",
//!     "profile": { "display_name": "Alice A." } }' $url/auth/register      409 display_name_taken
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis::account::NewAccount;
use portcullis::bootstrap::{BootstrapError, FirstAdministrator};
use portcullis::hook::{HookResult, Hooks, Registering};
use portcullis::{
    Account, AccountId, Fault, InvalidField, InvalidFields, PermissionError, Portcullis, Refusal,
    Rejection, Requirement, Secret,
};
use sea_orm::{
    ActiveValue::Set, ConnectOptions, ConnectionTrait, Database, DatabaseConnection,
    DatabaseTransaction, DbErr, EntityTrait, SqlErr,
};
use sea_orm_migration::MigratorTrait;
use serde::Deserialize;
use serde_json::{Value, json};

mod profile;
#[cfg(test)]
mod tests;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = match &*std::env::args().skip(1).collect::<Vec<_>>() {
        [] => "sqlite://profile-fields.sqlite?mode=rwc".to_owned(),
        [flag, url] if flag == "--db" => url.clone(),
        _ => return Err("cargo run -p profile-fields -- [--db URL]".into()),
    };
    let (db, auth) = start(&url, Secret::load_or_create("profile-fields.secret")?).await?;
    if let Some(first) = first_administrator(&auth).await? {
        println!("the first administrator is `admin` with the password {}", first.password());
    }
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 3004)).await?;
    println!("profile-fields serves http://{}; Ctrl-C stops it", listener.local_addr()?);
    let service = app(db, &auth)?.into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        result = axum::serve(listener, service).into_future() => result?,
        _ = tokio::signal::ctrl_c() => {}
    }
    // Finishes the work of requests whose clients disconnected.
    let _ = tokio::time::timeout(Duration::from_secs(10), auth.drain()).await;
    Ok(())
}

async fn start(
    url: &str,
    secret: Secret,
) -> Result<(DatabaseConnection, Portcullis), Box<dyn Error>> {
    let mut options = ConnectOptions::new(url);
    options.test_before_acquire_if_idle_for(Duration::from_secs(30)).sqlx_logging(false);
    let db = Database::connect(options).await?;
    // Each migrator has its own record of applied migrations. The profile references the account, so its
    // migration is second.
    portcullis_migration::Migrator::up(&db, None).await?;
    profile::Migrator::up(&db, None).await?;
    let auth = Portcullis::builder(db.clone()).secret(secret).hooks(Profiles).build()?;
    Ok((db, auth))
}

/// Creates the administrator at the first start, with a profile from the hook.
async fn first_administrator(
    auth: &Portcullis,
) -> Result<Option<FirstAdministrator>, BootstrapError> {
    let profile = json!({ "display_name": "Administrator" });
    auth.bootstrap_admin(NewAccount::username("admin")).profile(profile).await
}

fn app(db: DatabaseConnection, auth: &Portcullis) -> Result<Router, PermissionError> {
    Ok(auth
        .router()
        .route("/me", get(me), Requirement::signed_in())
        .route("/people", post(invite), Requirement::permission("people:invite")?)
        .auth_routes("/auth", auth.routes())
        .with_state(db)
        .into_router())
}

/// The data that the application stores for each person.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProfile {
    display_name: String,
}

impl NewProfile {
    /// Inserts the profile of an account, in the transaction that creates the account.
    async fn insert(self, account: AccountId, txn: &impl ConnectionTrait) -> Result<(), NotKept> {
        let display_name = self.display_name.trim().to_owned();
        if display_name.is_empty() || display_name.chars().count() > 64 {
            let field =
                InvalidField::new("profile", "wrong_length", "needs a name of 1 to 64 characters");
            let field = field.param("min", 1).param("max", 64);
            return Err(NotKept::Refused(Refusal::of(InvalidFields(vec![field]))));
        }
        let row = profile::ActiveModel {
            account_id: Set(account.as_uuid()),
            display_name: Set(display_name),
        };
        match profile::Entity::insert(row).exec_without_returning(txn).await {
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
                let reason = "another person has this display name";
                let taken = Refusal::new(StatusCode::CONFLICT, "display_name_taken", reason);
                Err(NotKept::Refused(taken))
            }
            Err(error) => Err(NotKept::Failed(error)),
            Ok(_) => Ok(()),
        }
    }
}

/// Why a profile was not stored.
enum NotKept {
    Refused(Refusal),
    Failed(DbErr),
}

/// Inserts the profile of a new registration, and of the first administrator.
struct Profiles;

impl Hooks for Profiles {
    fn reads_profile(&self) -> bool {
        true
    }

    async fn after_register(
        &self,
        registering: Registering<'_>,
        txn: &DatabaseTransaction,
    ) -> HookResult {
        // Any error ends the registration. The account is then not created either.
        //
        // An account that a sign-in by mail creates never has a profile (`registering.cause` is
        // `RegistrationCause::MailLogin`), so this line would refuse it. This service does not mount
        // that sign-in. To allow such accounts, return `Ok(())` for this cause, and ask for the display
        // name after the sign-in.
        let profile: NewProfile = registering.profile()?;
        match profile.insert(registering.account_id, txn).await {
            Ok(()) => Ok(()),
            Err(NotKept::Refused(refusal)) => Err(refusal.into()),
            Err(NotKept::Failed(error)) => Err(error.into()),
        }
    }
}

#[derive(Deserialize)]
struct Invited {
    username: String,
    first_password: String,
    #[serde(flatten)]
    profile: NewProfile,
}

/// The service creates an account. Its owner sets a new password at the first sign-in.
async fn invite(auth: Portcullis, Json(body): Json<Invited>) -> Result<StatusCode, Rejection> {
    let new = NewAccount::username(body.username);
    // Hashes the password before the transaction, so that no lock is held meanwhile.
    let new = auth.registration().prepare(new, body.first_password).await?;
    let txn = auth.begin().await?;
    // An early return drops the transaction and rolls it back.
    let accounts = auth.accounts().within(&txn);
    let account = accounts.create(new).await?;
    accounts.require_password_change(account.id()).await?;
    body.profile.insert(account.id(), &txn).await.map_err(|error| match error {
        NotKept::Refused(refusal) => Rejection::from(refusal),
        NotKept::Failed(error) => Fault::from(error).into(),
    })?;
    txn.commit().await.map_err(Fault::from)?;
    Ok(StatusCode::CREATED)
}

async fn me(
    account: Account,
    State(db): State<DatabaseConnection>,
) -> Result<Json<Value>, Rejection> {
    let profile = profile::Entity::find_by_id(account.id().as_uuid());
    let profile = profile.one(&db).await.map_err(Fault::from)?;
    let display_name = profile.map(|profile| profile.display_name);
    Ok(Json(json!({ "username": account.username(), "display_name": display_name })))
}
