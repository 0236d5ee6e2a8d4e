//! Second factors on pages without a script: an authenticator with its QR code, recovery codes, codes
//! by mail, and administrators who must have a second factor.
//!
//! - `sign_in.rs`: registration, the first step of a sign-in, the address that must be confirmed, and a
//!   forgotten password.
//! - `prove.rs`: the second step of a sign-in with the box to trust the device, and the page that asks again
//!   who is there.
//! - `account.rs`: which second factors and trusted devices an account has, and how one is set up or removed.
//! - `admin.rs`: a page for administrators, and an action that needs a recent proof.
//! - `view.rs`: how a page is made.
//!
//! Start the example with `cargo run -p second-factor`, and open the address that it prints. It also
//! prints its mails, and the password of the first administrator. With `cargo run -p second-factor -- 7`
//! administrators have seven days to set up a second factor. Otherwise they must do it at once.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use portcullis::account::NewAccount;
use portcullis::config::{LinkConfig, Unauthenticated};
use portcullis::message::ConsoleNotifier;
use portcullis::permission::{GrantError, RoleDefinition};
use portcullis::{
    Builder, Config, Portcullis, Requirement, RequirementError, Secret, any_session, login,
    password_reset, public, registration, second_factor, verification,
};
use portcullis_migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};

mod account;
mod admin;
mod prove;
mod sign_in;
#[cfg(test)]
mod tests;
mod view;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The maximum age of the last proof before something dangerous, and before a change of the second
/// factors.
const RECENT: Duration = Duration::from_secs(5 * 60);

/// The role of administrators.
const ADMIN: &str = "admin";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let days: u32 = match std::env::args().nth(1) {
        Some(days) => days.parse().map_err(|_| format!("`{days}` is not a number of days"))?,
        None => 0,
    };
    let directory = tempfile::tempdir()?;
    let db = connect(&directory).await?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 3006)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let auth = configured(Portcullis::builder(db), DAY * days)
        .secret(Secret::load_or_create(directory.path().join("secret"))?)
        // Links in mails start with this URL.
        .public_url(&url)
        // Prints mail on the terminal. In production, use an `SmtpNotifier`.
        .notifier(ConsoleNotifier)
        .build()?;
    define_roles(&auth).await?;
    if let Some(first) = auth.bootstrap_admin(NewAccount::username("admin")).await? {
        println!("the first administrator is `admin` with the password {}", first.password());
    }
    println!("second-factor serves {url}; Ctrl-C stops it and deletes its data");
    let service = app(&auth)?.into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        result = axum::serve(listener, service).into_future() => result?,
        _ = tokio::signal::ctrl_c() => {}
    }
    // Finishes the work of requests whose clients disconnected.
    let _ = tokio::time::timeout(Duration::from_secs(10), auth.drain()).await;
    Ok(())
}

async fn connect(directory: &tempfile::TempDir) -> Result<DatabaseConnection, Box<dyn Error>> {
    let file = directory.path().join("second-factor.sqlite");
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
    options.test_before_acquire_if_idle_for(Duration::from_secs(30)).sqlx_logging(false);
    let db = Database::connect(options).await?;
    Migrator::up(&db, None).await?;
    Ok(db)
}

/// Configures the pages, and how long administrators may work without a second factor.
fn configured(builder: Builder, grace: Duration) -> Builder {
    builder.configure(move |config: &mut Config| {
        config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
        config.service.step_up_page = Some("/again".to_owned());
        // Without a script, no page can read the part of an address after the `#`.
        config.mail.links = LinkConfig::in_query();
        // Authenticator apps show this name above the code.
        config.mail.service_name = Some("Second factor example".to_owned());
        // The first administrator is a superuser, and has no role that could require a factor.
        config.factor.superusers = true;
        config.factor.grace = grace;
        config.session.recent_factor = RECENT;
        // A person may skip the second factor on a device that they trust. It is off by default. Accounts
        // with the role of administrators never may, and neither may superusers.
        config.trusted_device.enabled = true;
    })
}

/// Makes the stored roles match the code. It runs at every start.
async fn define_roles(auth: &Portcullis) -> Result<(), GrantError> {
    let admin = RoleDefinition::new(ADMIN, ["account:read", "account:promote"])
        .description("Sees all accounts and makes administrators.")
        .requires_factor(true);
    auth.roles().define([admin]).await?;
    Ok(())
}

fn app(auth: &Portcullis) -> Result<Router, RequirementError> {
    let routes = login::routes(auth)
        .merge(registration::routes(auth))
        .merge(verification::routes(auth))
        .merge(password_reset::routes(auth))
        .merge(second_factor::routes(auth));
    let may_promote = Requirement::typed(admin::account::Promote);
    let promotes = Requirement::all([may_promote, Requirement::within(RECENT)])?;
    Ok(auth
        .router()
        .auth_routes("/auth", routes)
        .route("/", get(sign_in::home), public())
        .route("/register", get(sign_in::register), public())
        .route("/login", get(sign_in::login), public())
        .route("/verify", get(sign_in::verify), public())
        .route("/forgot", get(sign_in::forgot), public())
        .route("/password/reset", get(sign_in::reset), public())
        .route("/second-factor/undo", get(sign_in::undo), public())
        // It finds out itself which sign-in waits, and leads all others on.
        .route("/second-step", get(prove::second_step), public())
        .route("/again", get(prove::again), any_session())
        .route("/account", get(account::overview), Requirement::signed_in())
        // A sign-in that must set up a second factor has no full session yet.
        .route(account::SET_UP, get(account::name).post(account::start), any_session())
        .route(account::CODE, get(account::code), any_session())
        .route(
            account::RECOVERY_CODES,
            get(account::recovery_codes).post(account::make_recovery_codes),
            any_session(),
        )
        .route("/account/recovery-codes/kept", post(account::kept), Requirement::signed_in())
        .route(account::MAILED_CODES, get(account::mailed_codes), Requirement::signed_in())
        .route("/admin", get(admin::list), admin::account::Read)
        .route("/admin", post(admin::promote), promotes)
        .route("/page.css", get(view::style), public())
        .into_router()
        .layer(from_fn(view::for_browsers)))
}
