//! A service with accounts, sessions and permissions, on one SQLite file.
//!
//! Run `cargo run -p quickstart` and open the address that it prints. The README of the repository uses the
//! same routes with curl. This file contains the code for portcullis. `start.rs` contains the arguments and
//! the port.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use portcullis::account::{AccountError, NewAccount};
use portcullis::captcha::PictureCaptcha;
use portcullis::message::ConsoleNotifier;
use portcullis::permission::{GrantError, RoleDefinition};
use portcullis::{
    Account, PermissionError, Portcullis, Rejection, Requirement, Secret, anonymous, mail_login,
    passkey, public, second_factor,
};
use portcullis_migration::{Migrator, MigratorTrait};
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

mod start;
#[cfg(test)]
mod tests;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).init();
    let Some(arguments) = start::arguments()? else { return Ok(()) };

    let db = connect(&arguments.database)
        .await
        .map_err(|error| format!("{}: {error}", arguments.database))?;
    Migrator::up(&db, None).await?;

    let listener = start::listen(arguments.port).await?;
    // Passkeys belong to a domain, and an address is none. So browsers open `localhost`.
    let url = format!("http://localhost:{}", listener.local_addr()?.port());
    let auth = Portcullis::builder(db.clone())
        // Created at the first start and kept in a file, so that sessions survive a restart. In
        // production, load it from the same place as your other secrets.
        .secret(Secret::load_or_create(format!("{}.secret", arguments.database))?)
        // Links in mails start with this URL, and passkeys belong to its host.
        .public_url(&url)
        // Prints mail on the terminal. In production, use an `SmtpNotifier`.
        .notifier(ConsoleNotifier)
        // After some failures, strangers have to type digits from a picture or a sound.
        .captcha(PictureCaptcha::new())
        .build()?;
    prepare(&auth).await?;
    // Sends messages that an earlier run left in the outbox.
    let outbox = auth.clone();
    tokio::spawn(async move { outbox.outbox().run().await });
    // Deletes old rows. Without it the tables would grow without limit.
    tokio::spawn(auth.maintenance().every(Duration::from_secs(3600)));

    println!("quickstart serves {url} from {}; Ctrl-C stops it", arguments.database);
    // With connect info, each session stores the client address.
    let service = app(&auth)?.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(stop_asked());
    // Running requests may finish, but an idle connection of a browser must not delay the end.
    tokio::select! {
        result = serving.into_future() => result?,
        () = async { stop_asked().await; tokio::time::sleep(Duration::from_secs(2)).await } => {}
    }
    // Finishes the work of requests whose clients disconnected, unless the database is unavailable.
    let _ = tokio::time::timeout(Duration::from_secs(10), auth.drain()).await;
    db.close().await?;
    Ok(())
}

async fn stop_asked() {
    let _ = tokio::signal::ctrl_c().await;
}

async fn connect(path: &str) -> Result<DatabaseConnection, DbErr> {
    let path = path.to_owned();
    let mut options = ConnectOptions::new("sqlite:");
    options
        // By default the pool pings a connection before every use, and logs every statement. Together
        // this costs more than the statement itself.
        .test_before_acquire_if_idle_for(Duration::from_secs(30))
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        // With a write-ahead log, readers do not wait for a writer.
        .map_sqlx_sqlite_opts(move |options| {
            options
                .filename(&path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
        });
    Database::connect(options).await
}

/// Makes the stored roles match the code, and creates the first administrator. It runs at every
/// start.
async fn prepare(auth: &Portcullis) -> Result<(), Box<dyn Error>> {
    define_roles(auth).await?;
    if let Some(first) = auth.bootstrap_admin(NewAccount::username("admin")).await? {
        println!("the first administrator is `admin` with the password {}", first.password());
        println!("write it down: only its hash is stored, and it is not shown again");
    }
    Ok(())
}

async fn define_roles(auth: &Portcullis) -> Result<(), GrantError> {
    let roles = [
        RoleDefinition::new("admin", ["admin:read", "role:grant"]),
        RoleDefinition::new("reader", ["doc:read"]).description("Reads every document."),
        RoleDefinition::new("trial", ["doc:read:1"]).description("Reads the document 1 only."),
    ];
    for name in auth.roles().define(roles).await?.changed {
        println!("the role {name} was different, and is now as the code says");
    }
    Ok(())
}

/// Every route states who may call it. A route without this does not compile.
fn app(auth: &Portcullis) -> Result<Router, PermissionError> {
    // For the instance in the path: GET /docs/1 requires `doc:read:1`.
    let reads = auth.require(Requirement::permission("doc:read")?).on_path("id");
    let grants = Requirement::permission("role:grant")?;
    let only_admins = get(async || "only for administrators\n");
    let (css, js) = (include_str!("../page/page.css"), include_str!("../page/page.js"));
    let routes = auth
        .routes()
        .merge(anonymous::routes(auth))
        .merge(mail_login::routes(auth))
        // The page sets up one authenticator. It has no recovery codes, and no page for a role that
        // requires a factor. The example `second-factor` has them.
        .merge(second_factor::routes(auth))
        .merge(passkey::routes(auth));
    // A signed-in person must prove a factor again, and then has two minutes.
    let recent = Requirement::within(Duration::from_secs(120));
    Ok(auth
        .router()
        .route("/public", get(greet), public())
        .route("/me", get(me), Requirement::signed_in())
        .route("/admin", only_admins, Requirement::permission("admin:read")?)
        .route("/admin/roles/{role}/{login}", put(grant), grants)
        .route("/docs/{id}", get(doc), reads)
        .route("/danger", post(async || "done, this once\n"), recent)
        .auth_routes("/auth", routes)
        .route("/", get(page()), public())
        // Pages for the links in mails. Opening one changes nothing; sending its form does.
        .route("/verify", get(page()), public())
        .route("/password/reset", get(page()), public())
        .route("/login/mail", get(page()), public())
        .route("/email/confirm", get(page()), public())
        .route("/email/undo", get(page()), public())
        .route("/login-names/confirm", get(page()), public())
        .route("/login-names/undo", get(page()), public())
        .route("/second-factor/undo", get(page()), public())
        .route("/page.css", get(file("text/css", css)), public())
        .route("/page.js", get(file("text/javascript", js)), public())
        .route("/passkeys.js", get(file("text/javascript", passkey::SCRIPT)), public())
        .into_router())
}

/// For anyone: with `Option` a visitor is `None` and does not get a 401.
async fn greet(account: Option<Account>) -> Json<Value> {
    Json(json!({ "hello": account.as_ref().and_then(Account::username).unwrap_or("stranger"),
                 "signed_in": account.is_some() }))
}

/// For any account. In a plain axum router the extractor alone would refuse other requests.
async fn me(account: Account) -> Json<Value> {
    Json(json!({ "id": account.id(), "username": account.username(), "email": account.email() }))
}

async fn doc(Path(id): Path<String>) -> String {
    format!("this is document {id}\n")
}

/// `PUT /admin/roles/reader/alice`: takes effect on alice's next request, without a new login.
async fn grant(
    auth: Portcullis,
    Path((role, login)): Path<(String, String)>,
) -> Result<StatusCode, Rejection> {
    let account = auth.accounts().find_by_login(&login).await?.ok_or(AccountError::NotFound)?;
    auth.roles().grant(account.id(), &role).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn page() -> impl IntoResponse + Clone {
    // Allows only our own script and style. No site may show the page in a frame.
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
        connect-src 'self'; img-src 'self' data:; media-src 'self'; form-action 'self'; base-uri 'none'; \
        frame-ancestors 'none'";
    let headers = [("content-security-policy", POLICY), ("referrer-policy", "no-referrer")];
    (headers, Html(include_str!("../page/page.html")))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse + Clone {
    ([("content-type", kind), ("x-content-type-options", "nosniff")], text)
}
