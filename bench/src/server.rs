//! The servers. Each runs in a separate process.

use std::net::{Ipv4Addr, SocketAddr};

use axum::routing::get;
use axum::{Json, Router};
use portcullis::config::Registration;
use portcullis::message::SmtpNotifier;
use portcullis::{Account, Portcullis, Requirement, Secret};
use sea_orm::{DatabaseConnection, DbBackend};
use tokio::net::TcpListener;

use crate::by_hand::{self, Me};
use crate::database::{CONNECTIONS, connect};
use crate::{Failure, process};

/// The kinds of servers that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// axum, no authentication.
    Open,
    /// By hand: the statement with plain sqlx.
    Sqlx,
    /// By hand: the statement with sea-orm's raw statement.
    SeaOrm,
    Portcullis,
    /// portcullis without remembered grants: the full statement for each request.
    Forgetful,
    /// By hand: only the signature is checked.
    Stateless,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Open, Self::Sqlx, Self::SeaOrm, Self::Portcullis, Self::Forgetful, Self::Stateless];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sqlx => "sqlx",
            Self::SeaOrm => "sea-orm",
            Self::Portcullis => "portcullis",
            Self::Forgetful => "forgetful",
            Self::Stateless => "stateless",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Open => "(a) axum, no auth",
            Self::Sqlx => "(b) by hand, plain sqlx",
            Self::SeaOrm => "(c) by hand, sea-orm raw",
            Self::Portcullis => "(d) portcullis",
            Self::Forgetful => "(e) portcullis, nothing remembered",
            Self::Stateless => "(f) stateless HS256",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self, Failure> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| format!("there is no server {name:?}").into())
    }
}

/// The settings with which a server process is started.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    pub(crate) secret: String,
    /// How many logins may wait. `None` uses the default.
    pub(crate) hash_queue: Option<usize>,
    /// The port of a mail server. If it is set, registration is strict, and accounts must be
    /// verified.
    pub(crate) mail: Option<u16>,
}

impl Setup {
    /// Returns the settings without any of the options.
    pub(crate) fn new(kind: Kind, url: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { kind, url: url.into(), secret: secret.into(), hash_queue: None, mail: None }
    }

    /// Returns the application name that PostgreSQL shows for the connections of this server.
    pub(crate) fn application(kind: Kind) -> String {
        format!("bench-{}", kind.name())
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        let queue = self.hash_queue.map_or_else(|| "-".to_owned(), |queue| queue.to_string());
        let mail = self.mail.map_or_else(|| "-".to_owned(), |port| port.to_string());
        let arguments = ["serve", self.kind.name(), &self.url, &self.secret, &queue, &mail];
        arguments.map(str::to_owned).to_vec()
    }

    pub(crate) fn from_arguments(arguments: &[String]) -> Result<Self, Failure> {
        let [kind, url, secret, queue, mail] = arguments else {
            return Err("serve is for the bench itself".into());
        };
        Ok(Self {
            kind: Kind::parse(kind)?,
            url: url.clone(),
            secret: secret.clone(),
            hash_queue: queue.parse().ok(),
            mail: mail.parse().ok(),
        })
    }

    async fn router(&self) -> Result<Router, Failure> {
        let secret = &self.secret;
        if self.kind == Kind::Open {
            return Ok(open());
        }
        if self.kind == Kind::Stateless {
            return Ok(by_hand::stateless(secret));
        }
        let db = connect(&self.url, &Self::application(self.kind), CONNECTIONS).await?;
        let queue = self.hash_queue;
        let notifier =
            self.mail.map(|port| SmtpNotifier::danger_plaintext("127.0.0.1", port)).transpose()?;
        let auth = instance(db.clone(), secret, |builder| {
            let builder = match notifier {
                Some(notifier) => builder.notifier(notifier),
                None => builder,
            };
            builder.configure(|config| {
                if self.mail.is_some() {
                    config.login.require_verified = true;
                    config.login.registration = Registration::Strict;
                    config.mail.sender = Some("no-reply@bench.example".to_owned());
                    // The bench needs locked accounts, but not the minutes of delay before the
                    // lock.
                    config.attempts.first_delay = std::time::Duration::ZERO;
                }
                if self.kind == Kind::Forgetful {
                    config.database.remembered_grants = 0;
                }
                if let Some(queue) = queue {
                    config.password.hash_queue = queue;
                }
            })
        })?;
        let [statement, ..] = auth.statements();
        Ok(match (self.kind, db.get_database_backend()) {
            (Kind::Sqlx, DbBackend::Sqlite) => {
                by_hand::sqlite(secret, statement, db.get_sqlite_connection_pool().clone())
            }
            (Kind::Sqlx, _) => {
                by_hand::postgres(secret, statement, db.get_postgres_connection_pool().clone())
            }
            (Kind::SeaOrm, _) => by_hand::sea_orm(secret, statement, db),
            _ => guarded(&auth)?,
        })
    }
}

/// Builds an instance of the library with its defaults, except for the settings below.
pub(crate) fn instance(
    db: DatabaseConnection,
    secret: &str,
    change: impl FnOnce(portcullis::Builder) -> portcullis::Builder,
) -> Result<Portcullis, Failure> {
    let builder = Portcullis::builder(db)
        .secret(Secret::new(secret)?)
        .public_url("https://bench.example")
        // No rotation during the measurement. In production it costs one write per session every 15
        // minutes.
        .configure(|config| {
            config.session.token_lifetime = std::time::Duration::from_secs(7_200);
            // The bench does not measure how fast rate limits refuse.
            config.rate.per_source = None;
            config.rate.per_principal = None;
            // All load comes from few addresses, and much of it fails on purpose.
            config.attempts.source_limit = None;
            config.mail.per_source = None;
            config.rate.taken_names = None;
            config.rate.registrations = None;
        });
    Ok(change(builder).build()?)
}

/// Builds the routes without authentication.
pub(crate) fn open() -> Router {
    let me = async || {
        Json(Me {
            id: "0198c0de-0000-7000-8000-000000000000".to_owned(),
            username: "user00000".to_owned(),
        })
    };
    Router::new()
        .route("/me", get(me))
        .route("/admin", get(async || "welcome"))
        .route("/public", get(async || "welcome"))
}

/// Builds the same routes, protected by portcullis.
pub(crate) fn guarded(auth: &Portcullis) -> Result<Router, Failure> {
    let me = async |account: Account| {
        Json(Me {
            id: account.id().to_string(),
            username: account.username().unwrap_or_default().to_owned(),
        })
    };
    let guard = auth.require(Requirement::permission("admin:read")?);
    Ok(Router::new()
        .route("/admin", get(async || "welcome").route_layer(guard))
        .route("/me", get(me))
        .route("/public", get(async || "welcome"))
        .nest("/auth", auth.routes().merge(portcullis::mail_login::routes(auth)))
        .layer(auth.layer()))
}

/// Serves until the process ends.
pub(crate) async fn serve(setup: Setup) -> Result<(), Failure> {
    let router = setup.router().await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    process::announce(listener.local_addr()?);
    let app = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}
