//! One instance on one database, with everything that a test wants to check.

use std::future::Future;
use std::net::SocketAddr;

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use portcullis::base::clock::MockClock;
use portcullis::config::{Delivery, Registration};
use portcullis::message::{Message, RecordingNotifier};
use portcullis::{
    Account, Builder, Identity, PasswordChangeSession, PendingSession, Portcullis, Requirement,
    Secret, Session,
};
use sea_orm::DatabaseConnection;

use super::{Backend, Browser, Database, locks};

/// A password that is long enough for every policy.
pub const PASSWORD: &str = "correct horse battery staple";

/// A clock, a database, a notifier, and an instance of portcullis that uses them.
pub struct Probe {
    pub auth: Portcullis,
    pub clock: MockClock,
    pub notifier: RecordingNotifier,
    pub db: DatabaseConnection,
    pub database: Database,
    pub secret: Secret,
}

/// Runs a test on one database. For a database other than SQLite, the test must state that it needs
/// it.
pub async fn run<F: Future<Output = ()>>(backend: Backend, test: impl FnOnce(Probe) -> F) {
    let probe = Probe::on(Database::new(backend).await).await;
    if backend != Backend::MySql {
        return test(probe).await;
    }
    let indexes = locks::indexes(&probe.db).await;
    let statements = probe.database.statements.clone();
    test(probe).await;
    locks::check(indexes, statements.take());
}

impl Probe {
    async fn on(database: Database) -> Self {
        portcullis::test_kit::check_route_descriptions();
        let db = database.connect().await;
        let clock = MockClock::default();
        let notifier = RecordingNotifier::default();
        let secret = Secret::generate();
        let auth = builder(db.clone(), &clock, &notifier)
            .secret(secret.clone())
            .build()
            .expect("the configuration is right");
        Self { auth, clock, notifier, db, database, secret }
    }

    /// Builds another instance on the same database, clock and secret, with another configuration.
    /// It stands for another node, or for this node after a change of its configuration.
    pub fn rebuilt(&self, change: impl FnOnce(Builder) -> Builder) -> Portcullis {
        let builder =
            builder(self.db.clone(), &self.clock, &self.notifier).secret(self.secret.clone());
        change(builder).build().expect("the configuration is right")
    }

    /// Replaces the probe's instance with one that has another configuration.
    pub fn configured(mut self, change: impl FnOnce(&mut portcullis::Config)) -> Self {
        self.auth = self.rebuilt(|builder| builder.configure(change));
        self
    }

    /// Creates an account with a password.
    pub async fn register(&self, username: &str) -> Account {
        use portcullis::account::NewAccount;
        use portcullis::registration::Application;

        let application = Application::new(NewAccount::username(username), PASSWORD);
        let client = portcullis::ClientInfo::default();
        let registered = self.auth.registration().register(application, &client).await;
        registered.expect("the account is made").account
    }

    /// Creates an account with an address and a password. The address is not verified.
    pub async fn register_with_email(&self, username: &str, email: &str) -> Account {
        use portcullis::account::NewAccount;

        let account = NewAccount::username(username).with_email(email);
        self.auth.registration().create(account, PASSWORD).await.expect("the account is made")
    }

    /// Creates a superuser without a password.
    pub async fn superuser(&self, username: &str) -> portcullis::AccountId {
        let account = portcullis::account::NewAccount::username(username).superuser();
        self.auth.accounts().create(account).await.expect("the account is made").id()
    }

    /// Serves [`app`] and returns a browser for it.
    pub async fn browser(&self) -> Browser {
        Browser::new(serve(app(&self.auth)).await)
    }

    /// Registers an account with this name and returns a browser that is signed in to it.
    pub async fn signed_in(&self, username: &str) -> (Account, Browser) {
        let account = self.register(username).await;
        let mut browser = self.browser().await;
        let answer = browser.login(username, PASSWORD).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        (account, browser)
    }

    /// Starts another full session of an account and returns its id.
    pub async fn signed_in_as(&self, account: &Account) -> String {
        let client = portcullis::ClientInfo::default();
        let issued = self.auth.sessions().start(account, &client).await.expect("a session");
        issued.session_id().to_string()
    }

    /// Delivers the messages in the outbox and returns all messages sent so far.
    pub async fn mail(&self) -> Vec<Message> {
        self.auth.outbox().deliver_due().await.expect("the outbox is read");
        self.notifier.sent()
    }

    /// Returns every column of every row of a table, as the hexadecimal digits of its bytes. This
    /// is what an attacker with a copy of the table has.
    pub async fn hex_dump(&self, table: &str) -> Vec<String> {
        use sea_orm::ConnectionTrait;
        let tables = portcullis::schema::tables();
        let found = tables.iter().find(|found| found.name == table).expect("a table");
        let mut values = Vec::new();
        for column in &found.columns {
            let name = format!("{table}.{}", column.name);
            let bytes = matches!(column.kind, sea_orm::sea_query::ColumnType::Binary(_));
            let hex = match (self.database.backend, bytes) {
                (Backend::Sqlite | Backend::MySql, _) => format!("HEX({name})"),
                (Backend::Postgres, true) => format!("encode({name}, 'hex')"),
                (Backend::Postgres, false) => {
                    format!("encode(convert_to({name}::text, 'UTF8'), 'hex')")
                }
            };
            let query = format!("SELECT {hex} FROM {table} WHERE {name} IS NOT NULL");
            let statement = sea_orm::Statement::from_string(self.db.get_database_backend(), query);
            for row in self.db.query_all_raw(statement).await.expect("the query runs") {
                values.push(row.try_get_by_index::<String>(0).expect("hex").to_lowercase());
            }
        }
        values
    }

    /// Runs `work` and returns the number of its statements.
    pub async fn statements<T>(&self, work: impl Future<Output = T>) -> (T, usize) {
        self.database.statements.during(work).await
    }

    /// Returns the number that a query selects.
    pub async fn number(&self, query: &str) -> i64 {
        use sea_orm::ConnectionTrait;
        let statement =
            sea_orm::Statement::from_string(self.db.get_database_backend(), query.to_owned());
        let row = self.db.query_one_raw(statement).await.expect("the query runs");
        row.expect("a row").try_get_by_index(0).expect("a number")
    }

    /// Returns the text that a query selects. It is `None` for NULL and if there is no row.
    pub async fn text(&self, query: &str) -> Option<String> {
        use sea_orm::ConnectionTrait;
        let statement =
            sea_orm::Statement::from_string(self.db.get_database_backend(), query.to_owned());
        let row = self.db.query_one_raw(statement).await.expect("the query runs");
        row.and_then(|row| row.try_get_by_index(0).expect("a text"))
    }

    /// Returns the texts that a query selects, one of each row.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        use sea_orm::ConnectionTrait;
        let statement =
            sea_orm::Statement::from_string(self.db.get_database_backend(), query.to_owned());
        let rows = self.db.query_all_raw(statement).await.expect("the query runs");
        rows.iter().map(|row| row.try_get_by_index(0).expect("a text")).collect()
    }

    /// Returns the numbers of accounts, login names, sessions and events, which flows write.
    pub async fn rows(&self) -> [i64; 4] {
        let mut counts = [0; 4];
        let tables = ["auth_account", "auth_login_name", "auth_session", "auth_event"];
        for (count, table) in counts.iter_mut().zip(tables) {
            *count = self.number(&format!("SELECT COUNT(*) FROM {table}")).await;
        }
        counts
    }

    /// Returns the present time of the probe's clock.
    pub fn auth_now(&self) -> portcullis::Timestamp {
        portcullis::Clock::now(&self.clock)
    }

    /// Deletes all recorded attempts, for a test that guesses more often than allowed.
    pub async fn forget_attempts(&self) {
        let purged = self.auth.attempts().purge(portcullis::attempt::Purge::everything()).await;
        purged.expect("the records are removed");
    }

    /// Returns all rows of a table as text, with bytes in hexadecimal.
    pub async fn dump(&self, table: &str) -> Vec<String> {
        use sea_orm::ConnectionTrait;
        let columns: Vec<_> = portcullis::schema::tables()
            .into_iter()
            .find(|known| known.name == table)
            .expect("a table of ours")
            .columns
            .into_iter()
            .map(|column| {
                let bytes = matches!(
                    column.kind,
                    sea_orm::sea_query::ColumnType::Binary(_)
                        | sea_orm::sea_query::ColumnType::Uuid
                );
                // With the table, because one column has the name of a MariaDB keyword.
                let name = format!("{table}.{}", column.name);
                let text = match (self.database.backend, bytes) {
                    (Backend::Postgres, _) => format!("{name}::text"),
                    (_, true) => format!("HEX({name})"),
                    (_, false) => format!("CAST({name} AS CHAR)"),
                };
                format!("COALESCE({text}, '')")
            })
            .collect();
        let separated = match self.database.backend {
            Backend::MySql => format!("CONCAT_WS('|', {})", columns.join(", ")),
            _ => columns.join(" || '|' || "),
        };
        let query = format!("SELECT {separated} FROM {table}");
        let statement = sea_orm::Statement::from_string(self.db.get_database_backend(), query);
        let rows = self.db.query_all_raw(statement).await.expect("the query runs");
        rows.iter().map(|row| row.try_get_by_index(0).expect("a text")).collect()
    }

    /// Runs a statement as an operator would.
    pub async fn execute(&self, statement: &str) {
        use sea_orm::ConnectionTrait;
        self.db.execute_unprepared(statement).await.expect("the statement runs");
    }
}

pub fn builder(db: DatabaseConnection, clock: &MockClock, notifier: &RecordingNotifier) -> Builder {
    Portcullis::builder(db).clock(clock.clone()).notifier(notifier.clone()).configure(|config| {
        config.mail.link_origin = Some("https://app.example.com".to_owned());
        // The test delivers messages when it needs them, so that statements can be counted.
        config.mail.delivery = Delivery::ByApplication;
        // A hundred requests at once on a busy machine must not count as an outage.
        config.database.timeout = Duration::from_secs(20);
        // Most tests use accounts with only a username. The tests of strict registration change
        // this.
        config.login.registration = Registration::Open;
        config.password.danger_cheap_hashing = true;
        config.password.memory_kib = 8;
        config.password.iterations = 1;
    })
}

/// Returns an application with a route for every kind of protection.
pub fn app(auth: &Portcullis) -> Router {
    let permission = |text| Requirement::permission(text).expect("a permission");
    let optional = portcullis::anonymous::routes(auth)
        .merge(portcullis::mail_login::routes(auth))
        .merge(portcullis::second_factor::routes(auth))
        .merge(portcullis::passkey::routes(auth))
        .merge(portcullis::federation::routes(auth));
    Router::new()
        .route("/public", get(|| async { "public" }))
        .route("/me", get(|account: Account| async move { account.id().to_string() }))
        .route("/me", post(|account: Account| async move { account.id().to_string() }))
        .route("/maybe", get(maybe).post(maybe))
        .route("/session-id", get(|session: Session| async move { session.id().to_string() }))
        .route(
            "/rotated",
            get(|session: Session| async move { session.just_rotated().to_string() }),
        )
        .route("/pending", get(|s: PendingSession| async move { s.id().to_string() }))
        .route("/must-change", get(|s: PasswordChangeSession| async move { s.id().to_string() }))
        .route(
            "/anonymous",
            get(|s: portcullis::AnonymousSession| async move { s.lineage_id().to_string() }),
        )
        .route("/lineage", get(|session: Session| async move { session.lineage_id().to_string() }))
        .merge(
            Router::new()
                .route("/signed-in", get(|| async { "signed in" }))
                .route_layer(auth.require(Requirement::signed_in())),
        )
        .merge(
            Router::new()
                .route("/admin", get(|| async { "admin" }).post(|| async { "posted" }))
                .route_layer(auth.require(permission("admin:read"))),
        )
        .merge(
            Router::new()
                .route("/docs/{id}", get(|| async { "a document" }))
                .route_layer(auth.require(permission("doc:read")).on_path("id")),
        )
        .merge(
            Router::new()
                .route("/editors", get(|| async { "editors" }))
                .route_layer(auth.require(Requirement::role("editor"))),
        )
        .merge(
            Router::new()
                .route(
                    "/everything",
                    get(|_: Identity, _: Session, _: Account, _: Option<Session>| async { "ok" }),
                )
                .route_layer(auth.require(permission("admin:read")))
                .route_layer(auth.require(Requirement::signed_in())),
        )
        .nest("/auth", auth.routes().merge(optional))
        .layer(auth.layer())
}

async fn maybe(session: Option<Session>) -> String {
    session.map_or_else(|| "nobody".to_owned(), |session| session.id().to_string())
}

/// Serves an application on a free port until the test ends.
pub async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}
