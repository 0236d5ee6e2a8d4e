//! A program for the command line that a person signs in from a page: the service with its page, and the
//! program.
//!
//! Start the service with `cargo run -p device-login`, and open the address that it prints. Then start the
//! program in another terminal: `cargo run -p device-login -- http://127.0.0.1:3008`. It prints an address, a
//! code, three words, and a QR code for a phone. A program of yours does the same, in any language.
//! Its token is valid for 15 minutes: it stores the token, and renews it with `POST /auth/session/refresh`. This one
//! proves no key; see the page `dpop` of the library.
//!
//! Read the page `guide::device_login` of the library about what such a sign-in risks.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use portcullis::config::{DeviceClient, Unauthenticated};
use portcullis::{
    Account, Builder, Config, Portcullis, Requirement, Secret, device_login, login, own_session,
    public, registration,
};
use portcullis_migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};

mod page;
mod program;
#[cfg(test)]
mod tests;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(service) => program::start(&service).await?.finish(tokio::time::sleep).await.map(drop),
        None => serve().await,
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let db = connect(&directory).await?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 3008)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let auth = with_devices(Portcullis::builder(db))
        .secret(Secret::load_or_create(directory.path().join("secret"))?)
        // Devices show an address that starts with this URL.
        .public_url(&url)
        .build()?;
    println!("device-login serves {url}; Ctrl-C stops it");
    let service = app(&auth).into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        result = axum::serve(listener, service).into_future() => result?,
        _ = tokio::signal::ctrl_c() => {}
    }
    // Finishes the work of requests whose clients disconnected.
    let _ = tokio::time::timeout(Duration::from_secs(10), auth.drain()).await;
    Ok(())
}

async fn connect(directory: &tempfile::TempDir) -> Result<DatabaseConnection, Box<dyn Error>> {
    let file = directory.path().join("device-login.sqlite");
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
    options.test_before_acquire_if_idle_for(Duration::from_secs(30)).sqlx_logging(false);
    let db = Database::connect(options).await?;
    Migrator::up(&db, None).await?;
    Ok(db)
}

/// The maximum age of the password of a person who decides.
const RECENT: Duration = Duration::from_secs(5 * 60);

/// Configures the programs that may ask, and the paths of the pages.
fn with_devices(builder: Builder) -> Builder {
    builder.configure(|config: &mut Config| {
        config.service.bearer = true;
        config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
        config.service.step_up_page = Some("/reauthenticate".to_owned());
        config.device_login.clients = vec![
            // What the program can do, however much its owner may do.
            DeviceClient::new("notes-cli", "The program for notes")
                .ceiling(["note:read", "note:write"])
                .session_lifetime(Duration::from_secs(14 * 24 * 60 * 60)),
        ];
    })
}

fn app(auth: &Portcullis) -> Router {
    let routes = login::routes(auth)
        .merge(registration::routes(auth))
        .merge(own_session::routes(auth))
        .merge(device_login::routes(auth));
    auth.router()
        .auth_routes("/auth", routes)
        // Programs find the other addresses here.
        .auth_routes("/", device_login::well_known(auth))
        .route("/", get(page::home), public())
        .route("/login", get(page::sign_in), public())
        .route("/reauthenticate", get(page::prove), Requirement::signed_in())
        .route("/device", get(page::device).post(page::decide), Requirement::within(RECENT))
        .route("/whoami", get(who_am_i), Requirement::signed_in())
        .into_router()
}

/// What the program asks for when it is signed in.
async fn who_am_i(account: Account) -> String {
    account.username().unwrap_or("somebody").to_owned()
}
