//! Clients that disconnect, and time limits that pass. At any moment, every connection must return
//! to the pool without a transaction, and a change must be done completely or not at all.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use portcullis::account::NewAccount;
use portcullis::base::clock::Timestamp;
use portcullis::base::rate::{RateKey, RateVerdict};
use portcullis::config::{Delivery, Registration};
use portcullis::hook::{HookResult, Hooks, SigningIn, SigningOut};
use portcullis::login::Credentials;
use portcullis::message::MessageKind;
use portcullis::port::{
    BreachedList, HookFuture, MembershipSource, OnSessionReplaced, PasswordSha1, RateLimiter,
    SessionInfo, SessionReplaced, SourceMembership,
};
use portcullis::rate_limit::Quota;
use portcullis::registration::Application;
use portcullis::{AccountId, Builder, ClientInfo, Portcullis, SessionId};
use portcullis_test_needs::needs;
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, Statement,
    TransactionTrait, sqlx,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;
use tower::ServiceExt;
use tracing::Instrument;

use crate::on_every_database;
use crate::outage::{Mode, Wire};
use crate::support::browser::COOKIE;
use crate::support::call::{call, cookie_of, request};
use crate::support::log::Log;
use crate::support::probe::{app, serve};
use crate::support::{Backend, PASSWORD, Probe, until};

const NEW: &str = "another horse battery staple";
const CONNECTIONS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens a pool of five connections, like a small service.
async fn five(probe: &Probe) -> DatabaseConnection {
    five_at(probe, &probe.database.url).await
}

async fn five_at(probe: &Probe, url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(CONNECTIONS)
        .min_connections(0)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .sqlx_logging(false);
    let mut db = sea_orm::Database::connect(options).await.expect("the database answers");
    probe.database.statements.count_also(&mut db);
    db
}

/// Builds a node that uses such a pool of its own.
async fn node(probe: &Probe) -> (Portcullis, DatabaseConnection) {
    let db = five(probe).await;
    (on(probe, db.clone()), db)
}

fn on(probe: &Probe, db: DatabaseConnection) -> Portcullis {
    with(probe, db, |builder| builder)
}

fn with(
    probe: &Probe,
    db: DatabaseConnection,
    change: impl FnOnce(Builder) -> Builder,
) -> Portcullis {
    let builder = Portcullis::builder(db)
        .clock(probe.clock.clone())
        .secret(probe.secret.clone())
        .notifier(probe.notifier.clone())
        .configure(|config| {
            config.mail.link_origin = Some("https://app.example.com".to_owned());
            config.mail.delivery = Delivery::ByApplication;
            config.login.registration = Registration::Open;
            config.password.danger_cheap_hashing = true;
            config.password.memory_kib = 8;
            config.password.iterations = 1;
            config.database.timeout = PATIENCE;
        });
    change(builder).build().expect("the configuration is right")
}

/// Checks that the pool has all its connections, that none has an open transaction, and that a
/// write succeeds.
async fn check_whole(probe: &Probe, auth: &Portcullis, db: &DatabaseConnection, what: &str) {
    check_whole_beside(probe, auth, db, what, 0).await;
}

/// Waits until the server lists this many open transactions. It answers a request to end a connection
/// before the transaction has ended. A transaction that nobody ends may end after 50 s, at the limit of
/// its wait for a lock, so this waits for less.
async fn check_open(probe: &Probe, query: &str, expected: i64, what: &str) {
    let ends = async {
        while listed(probe, query).await != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, ends).await.is_err() {
        let open = listed(probe, query).await;
        panic!("{what}: {open} transactions are open, not {expected}; nobody ends them");
    }
}

/// Asks for a number of transactions. MariaDB makes its list anew only if nobody has read it for 100 ms.
/// If the tests ask more often, they get the old list again and again. So they ask one after another, with a
/// pause. The pause differs each time, because another process may do the same.
async fn listed(probe: &Probe, query: &str) -> i64 {
    static NUMBER: Mutex<u64> = Mutex::const_new(0);
    if probe.database.backend != Backend::MySql {
        return probe.number(query).await;
    }
    let mut number = NUMBER.lock().await;
    *number += 1;
    let differing = (*number * 37 + u64::from(std::process::id())) % 100;
    tokio::time::sleep(Duration::from_millis(120 + differing)).await;
    probe.number(query).await
}

/// The same check while the test itself has this many transactions open.
async fn check_whole_beside(
    probe: &Probe,
    auth: &Portcullis,
    db: &DatabaseConnection,
    what: &str,
    open_ones: i64,
) {
    let given = "no connection is lost";
    let silent = "a connection answers what it is asked";
    match probe.database.backend {
        Backend::Sqlite => {
            let mut held = Vec::new();
            for _ in 0..CONNECTIONS {
                let connection = db.get_sqlite_connection_pool().acquire().await;
                let mut connection = connection.unwrap_or_else(|e| panic!("{what}: {given}: {e}"));
                for text in ["BEGIN IMMEDIATE", "ROLLBACK"] {
                    let done = sqlx::query(text).execute(&mut *connection).await;
                    done.unwrap_or_else(|error| panic!("{what}: {text}: {error}"));
                }
                held.push(connection);
            }
        }
        Backend::Postgres => {
            let mut held = Vec::new();
            for number in 0..CONNECTIONS as i32 {
                let connection = db.get_postgres_connection_pool().acquire().await;
                let mut connection = connection.unwrap_or_else(|e| panic!("{what}: {given}: {e}"));
                let answer = sqlx::query_scalar::<_, i32>("SELECT $1::int")
                    .bind(number)
                    .fetch_one(&mut *connection)
                    .await;
                assert_eq!(answer.expect(silent), number, "{what}: {silent}");
                held.push(connection);
            }
            let idle = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND state LIKE 'idle in transaction%'";
            check_open(probe, idle, open_ones, what).await;
        }
        Backend::MySql => {
            let mut held = Vec::new();
            for number in 0..i64::from(CONNECTIONS) {
                let connection = db.get_mysql_connection_pool().acquire().await;
                let mut connection = connection.unwrap_or_else(|e| panic!("{what}: {given}: {e}"));
                let answer = sqlx::query_as::<_, (i64, i64)>(
                    "SELECT CAST(? AS SIGNED), CAST(@@in_transaction AS SIGNED)",
                )
                .bind(number)
                .fetch_one(&mut *connection);
                let answer = tokio::time::timeout(PATIENCE, answer).await.expect(silent);
                assert_eq!(answer.expect(silent), (number, 0), "{what}: {silent}");
                held.push(connection);
            }
            let open = "SELECT COUNT(*) FROM information_schema.innodb_trx t \
                JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id \
                WHERE p.db = DATABASE()";
            check_open(probe, open, open_ones, what).await;
        }
    }
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("after{}", NUMBER.fetch_add(1, Ordering::SeqCst));
    let made = auth.accounts().create(NewAccount::username(name)).await.expect("it is made");
    let found = probe.auth.accounts().find(made.id()).await.expect("the database answers");
    assert!(found.is_some(), "{what}: a write is seen by others");
}

/// When a request is dropped.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// After so many polls, while the last operation that it started is still running.
    Polls(usize),
    /// When so many statements have been answered.
    Statements(usize),
}

/// Awaits `work` until the point is reached. Returns `None` if `work` was dropped.
async fn up_to<T>(probe: &Probe, point: Point, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut polls = 0;
    let answered = probe.database.statements.count();
    poll_fn(|context| {
        if let Poll::Ready(result) = work.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        polls += 1;
        match point {
            Point::Polls(most) if polls > most => Poll::Ready(None),
            Point::Polls(_) => Poll::Pending,
            Point::Statements(most) => {
                if probe.database.statements.count() - answered > most {
                    return Poll::Ready(None);
                }
                // Statements are answered in other tasks, which do not wake this one.
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}

const FLOWS: [&str; 10] = [
    "register",
    "login",
    "rotation",
    "password",
    "logout",
    "forgot",
    "reset",
    "contact",
    "visitor",
    "not an account",
];

/// Builds a request that starts this flow, with an account of its own.
async fn prepared(probe: &Probe, flow: &str, number: usize) -> Request<Body> {
    let name = format!("{}{number}", flow.replace(' ', ""));
    let email = format!("{name}@example.com");
    let (method, path, body) = match flow {
        "register" => ("POST", "/auth/register", json!({ "username": name, "password": PASSWORD })),
        "login" => ("POST", "/auth/login", json!({ "login": name, "password": PASSWORD })),
        "rotation" => ("GET", "/me", Value::Null),
        "password" => {
            ("PUT", "/auth/password", json!({ "current_password": PASSWORD, "new_password": NEW }))
        }
        "logout" => ("POST", "/auth/logout", Value::Null),
        "forgot" => ("POST", "/auth/password/forgot", json!({ "login": email })),
        "reset" => ("POST", "/auth/password/reset", Value::Null),
        "contact" => {
            ("POST", "/auth/email", json!({ "email": format!("new{number}@example.com") }))
        }
        "visitor" => ("POST", "/auth/session/anonymous", Value::Null),
        _ => ("POST", "/auth/login", json!({ "login": "nobody", "password": PASSWORD })),
    };
    let mut request = request(method, path).header("sec-fetch-site", "same-origin");
    let mut body = body;
    if !["register", "visitor", "not an account"].contains(&flow) {
        probe.register_with_email(&name, &email).await;
        let credentials = Credentials::password(name.as_str(), PASSWORD);
        let signed_in = probe.auth.login().with_password(credentials, &ClientInfo::default()).await;
        let issued = signed_in.expect("it is right").into_issued();
        if ["rotation", "password", "logout", "contact"].contains(&flow) {
            request = request.header("cookie", cookie_of(&issued));
        }
        if flow == "rotation" {
            probe.clock.advance(Duration::from_secs(16 * 60));
        }
        if flow == "reset" {
            let (reset, client) = (probe.auth.password_reset(), ClientInfo::default());
            reset.forgot(&email, &client).await.expect("it is accepted");
            let sent = probe.mail().await;
            let link = sent.iter().rfind(|message| message.kind == MessageKind::PasswordReset);
            let text = &link.expect("a link was sent").text;
            let (_, rest) = text.split_once("#token=").expect("a link");
            let token = rest.split_whitespace().next().expect("a token");
            body = json!({ "token": token, "password": NEW });
        }
    }
    if body.is_null() {
        return request.body(Body::empty()).expect("a request");
    }
    request
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a request")
}

async fn answered(app: &Router, request: Request<Body>) -> StatusCode {
    match app.clone().oneshot(request).await {
        Ok(response) => response.status(),
        Err(never) => match never {},
    }
}

/// Drops each flow at one point after another, until it ends before the point is reached.
async fn give_up_everywhere(probe: &Probe, point: impl Fn(usize) -> Point) {
    let (auth, db) = node(probe).await;
    let app = app(&auth);
    let mut number = 0;
    for flow in FLOWS {
        let mut given_up = 0;
        loop {
            let request = prepared(probe, flow, number).await;
            number += 1;
            let status = up_to(probe, point(given_up), answered(&app, request)).await;
            if let Some(status) = status {
                assert!(status.is_success() || flow == "not an account", "{flow}: {status}");
                break;
            }
            given_up += 1;
            assert!(given_up < 500, "{flow} never ends");
        }
        auth.drain().await;
        check_whole(probe, &auth, &db, &format!("{flow}, given up {given_up} times")).await;
    }
}

/// Stalls the database at every third message of each flow, for longer than the time limit.
async fn run_out_of_time_everywhere(probe: Probe) {
    let url = &probe.database.url;
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (authority, name) = rest.split_once('/').expect("a database");
    let (user, host) = authority.rsplit_once('@').expect("a user");
    let port = if probe.database.backend == Backend::Postgres { 5432 } else { 3306 };
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") };
    let wire = Wire::to(host).await;
    let db = five_at(&probe, &format!("{scheme}://{user}@{}/{name}", wire.address)).await;
    let auth = with(&probe, db.clone(), |builder| {
        builder.configure(|config| config.database.timeout = Duration::from_millis(150))
    });
    let app = app(&auth);
    let mut number = 0;
    for flow in FLOWS {
        let mut passed = number % 3;
        loop {
            let request = prepared(&probe, flow, number as usize).await;
            number += 1;
            wire.fail_after(passed, Mode::Stalled);
            let status = answered(&app, request).await;
            let met = wire.mode() == Mode::Stalled;
            wire.set(Mode::Open);
            auth.drain().await;
            if !met {
                break;
            }
            let usual = status.is_success() || flow == "not an account";
            let fault = status == StatusCode::SERVICE_UNAVAILABLE;
            assert!(usual || fault, "{flow} at {passed}: {status}");
            passed += 3;
            assert!(passed < 300, "{flow} never ends");
        }
        check_whole(&probe, &on(&probe, db.clone()), &db, &format!("{flow}, out of time")).await;
    }
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_limit_that_runs_out_anywhere_leaves_the_pool_whole_on_postgres() {
    crate::support::probe::run(Backend::Postgres, run_out_of_time_everywhere).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_limit_that_runs_out_anywhere_leaves_the_pool_whole_on_mysql() {
    crate::support::probe::run(Backend::MySql, run_out_of_time_everywhere).await;
}

/// Makes a login wait inside its transaction.
#[derive(Clone, Default)]
struct Waits {
    inside: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Hooks for Waits {
    async fn before_login(&self, _: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
        self.inside.notify_one();
        self.go_on.notified().await;
        Ok(())
    }
}

/// Never returns, for the account with this name.
#[derive(Clone)]
struct Hangs {
    account: AccountId,
    statement: Option<&'static str>,
}

impl Hooks for Hangs {
    async fn before_login(&self, login: SigningIn<'_>, txn: &DatabaseTransaction) -> HookResult {
        if login.account_id == self.account {
            if let Some(statement) = self.statement {
                txn.execute_unprepared(statement).await?;
            }
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

/// Locks the row of the account, and then waits for a row of the application.
#[derive(Clone)]
struct WaitsForRow;

/// A long computation for SQLite. A writer is alone there, so it cannot wait for a row.
const SLOW: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) \
    SELECT COUNT(*) FROM n";

impl WaitsForRow {
    async fn wait(account: AccountId, txn: &DatabaseTransaction) -> HookResult {
        let (backend, id) = (txn.get_database_backend(), account.as_uuid());
        let text = match backend {
            DbBackend::Sqlite => {
                txn.execute_unprepared(SLOW).await?;
                return Ok(());
            }
            DbBackend::Postgres => "SELECT id FROM auth_account WHERE id = $1 FOR UPDATE",
            _ => "SELECT id FROM auth_account WHERE id = ? FOR UPDATE",
        };
        let own = Statement::from_sql_and_values(backend, text, [id.into()]);
        txn.query_one_raw(own).await?;
        let others = "SELECT id FROM app_row WHERE id = 1 FOR UPDATE";
        txn.query_one_raw(Statement::from_string(backend, others)).await?;
        Ok(())
    }
}

impl Hooks for WaitsForRow {
    async fn before_login(&self, login: SigningIn<'_>, txn: &DatabaseTransaction) -> HookResult {
        Self::wait(login.account_id, txn).await
    }

    async fn before_logout(&self, logout: SigningOut<'_>, txn: &DatabaseTransaction) -> HookResult {
        Self::wait(logout.account_id.expect("somebody is signed in"), txn).await
    }
}

impl OnSessionReplaced for WaitsForRow {
    fn replaced<'a>(
        &'a self,
        replaced: SessionReplaced,
        txn: &'a DatabaseTransaction,
    ) -> HookFuture<'a, ()> {
        Box::pin(Self::wait(replaced.account_id.expect("somebody signs in"), txn))
    }
}

/// Creates a row of the application, and locks it until the transaction ends.
async fn held_row(probe: &Probe) -> DatabaseTransaction {
    probe.execute("DROP TABLE IF EXISTS app_row").await;
    probe.execute("CREATE TABLE app_row (id INTEGER PRIMARY KEY)").await;
    probe.execute("INSERT INTO app_row VALUES (1)").await;
    let holder = probe.db.begin().await.expect("it opens");
    if probe.database.backend != Backend::Sqlite {
        let row = "SELECT id FROM app_row WHERE id = 1 FOR UPDATE";
        holder.execute_unprepared(row).await.expect("nobody else has it");
    }
    holder
}

/// Reads a row of a locked table through the application's own pool, in every port. The database
/// does not even prepare this statement until the lock is released.
#[derive(Clone)]
struct AsksThePool {
    db: DatabaseConnection,
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl AsksThePool {
    fn answer<T: Send + 'static>(&self, answer: T) -> HookFuture<'static, T> {
        let this = self.clone();
        Box::pin(async move {
            this.begun.fetch_add(1, Ordering::SeqCst);
            let backend = this.db.get_database_backend();
            let text = match backend {
                DbBackend::Sqlite => format!("{SLOW} WHERE i <> ?"),
                DbBackend::Postgres => "SELECT id FROM app_row WHERE id = $1".to_owned(),
                _ => "SELECT id FROM app_row WHERE id = ?".to_owned(),
            };
            let asked = Statement::from_sql_and_values(backend, text, [1.into()]);
            this.db.query_one_raw(asked).await?.ok_or("a row is there")?;
            this.ended.fetch_add(1, Ordering::SeqCst);
            Ok(answer)
        })
    }
}

impl MembershipSource for AsksThePool {
    fn memberships(&self, _: AccountId) -> HookFuture<'_, Vec<SourceMembership>> {
        self.answer(Vec::new())
    }
}

impl SessionInfo for AsksThePool {
    fn add(&self, _: AccountId, _: SessionId) -> HookFuture<'_, Value> {
        self.answer(Value::Null)
    }
}

impl BreachedList for AsksThePool {
    fn contains<'a>(&'a self, _: &'a PasswordSha1) -> HookFuture<'a, bool> {
        self.answer(false)
    }
}

impl RateLimiter for AsksThePool {
    fn admit<'a>(
        &'a self,
        _: &'a RateKey,
        quota: Quota,
        at: Timestamp,
    ) -> HookFuture<'a, RateVerdict> {
        self.answer(quota.judge(0, at))
    }
}

/// Does not answer while the flag is set.
#[derive(Clone)]
struct AnswersNobody(Arc<AtomicBool>);

impl MembershipSource for AnswersNobody {
    fn memberships(&self, _: AccountId) -> HookFuture<'_, Vec<SourceMembership>> {
        Box::pin(async {
            if self.0.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            Ok(Vec::new())
        })
    }
}

/// Returns the number that the server uses for the only connection of a pool.
async fn number_of(db: &DatabaseConnection) -> i64 {
    let backend = db.get_database_backend();
    let text = match backend {
        DbBackend::Postgres => "SELECT pg_backend_pid()::bigint",
        DbBackend::MySql => "SELECT CAST(CONNECTION_ID() AS SIGNED)",
        _ => "SELECT 0",
    };
    let row = db.query_one_raw(Statement::from_string(backend, text)).await;
    row.expect("it answers").expect("a row").try_get_by_index(0).expect("a number")
}

/// Creates a table of the application, and locks it so that nobody else can read it.
async fn locked_table(probe: &Probe) -> DatabaseTransaction {
    probe.execute("DROP TABLE IF EXISTS app_row").await;
    probe.execute("CREATE TABLE app_row (id INTEGER PRIMARY KEY)").await;
    probe.execute("INSERT INTO app_row VALUES (1)").await;
    let holder = probe.db.begin().await.expect("it opens");
    let lock = match probe.database.backend {
        Backend::Sqlite => "SELECT 1",
        Backend::Postgres => "LOCK TABLE app_row IN ACCESS EXCLUSIVE MODE",
        Backend::MySql => "LOCK TABLES app_row WRITE",
    };
    holder.execute_unprepared(lock).await.expect("nobody else has it");
    holder
}

async fn unlock(probe: &Probe, holder: DatabaseTransaction) {
    if probe.database.backend == Backend::MySql {
        holder.execute_unprepared("UNLOCK TABLES").await.expect("it is let go");
    }
    holder.rollback().await.expect("it ends");
}

/// Writes a log line in a hook, so that the test sees to which span the line belongs.
struct Tells;

impl Hooks for Tells {
    async fn before_login(&self, _: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
        tracing::info!(target: "app", "in the hook");
        Ok(())
    }
}

fn sign_in(name: &str) -> Request<Body> {
    let body = json!({ "login": name, "password": PASSWORD });
    request("POST", "/auth/login")
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a request")
}

on_every_database! {
    async fn a_request_that_is_dropped_at_any_poll_leaves_the_pool_whole(probe: Probe) {
        give_up_everywhere(&probe, Point::Polls).await;
    }

    async fn a_request_that_is_dropped_after_any_statement_leaves_the_pool_whole(probe: Probe) {
        give_up_everywhere(&probe, Point::Statements).await;
    }

    async fn a_flow_in_a_handler_of_the_applications_may_be_dropped_too(probe: Probe) {
        let (auth, db) = node(&probe).await;
        let client = ClientInfo::default();
        for (flow, which) in [("register", 0), ("login", 1), ("forgot", 2), ("within", 3)] {
            let mut given_up = 0;
            loop {
                let name = format!("{flow}{given_up}");
                let email = format!("{name}@example.com");
                if which == 1 || which == 2 {
                    probe.register_with_email(&name, &email).await;
                }
                let work = async {
                    match which {
                        0 => {
                            let account = NewAccount::username(name.as_str());
                            let application = Application::new(account, PASSWORD);
                            let made = auth.registration().register(application, &client).await;
                            made.map(drop).expect("it is made");
                        }
                        1 => {
                            let credentials = Credentials::password(name.as_str(), PASSWORD);
                            let issued = auth.login().with_password(credentials, &client).await;
                            issued.map(drop).expect("it is right");
                        }
                        2 => {
                            let asked = auth.password_reset().forgot(&email, &client).await;
                            asked.expect("it is accepted");
                        }
                        _ => {
                            let txn = auth.begin().await.expect("it opens");
                            let accounts = auth.accounts().within(&txn);
                            accounts.create(NewAccount::username(name.as_str())).await.expect("it is made");
                            txn.commit().await.expect("it commits");
                        }
                    }
                };
                if up_to(&probe, Point::Polls(given_up), work).await.is_some() {
                    break;
                }
                given_up += 1;
                assert!(given_up < 500, "{flow} never ends");
            }
            assert!(given_up > 0, "{flow} was given up {given_up} times");
            auth.drain().await;
            check_whole(&probe, &auth, &db, &format!("{flow}, given up {given_up} times")).await;
        }
    }

    async fn clients_that_hang_up_leave_the_pool_whole(probe: Probe) {
        let (auth, db) = node(&probe).await;
        let address = serve(app(&auth)).await;
        let mut requests = Vec::new();
        for number in 0..40 {
            let flow = FLOWS[number % FLOWS.len()];
            let (parts, body) = prepared(&probe, flow, number).await.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
            let mut text = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri);
            for (name, value) in &parts.headers {
                text.push_str(&format!("{name}: {}\r\n", value.to_str().expect("ASCII")));
            }
            text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
            let mut bytes = text.into_bytes();
            bytes.extend_from_slice(&body);
            requests.push(bytes);
        }
        let mut clients = JoinSet::new();
        for (number, bytes) in requests.into_iter().enumerate() {
            let statements = probe.database.statements.clone();
            clients.spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(address).await.expect("it answers");
                stream.write_all(&bytes).await.expect("it is sent");
                // Stays until all clients together have received so many answers from the database,
                // so the moment varies.
                let from = statements.count();
                for _ in 0..200 {
                    if statements.count() - from > number % 23 {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        clients.join_all().await;
        auth.drain().await;
        check_whole(&probe, &auth, &db, "forty clients hung up").await;
    }

    async fn what_has_begun_is_done_though_the_client_is_gone(probe: Probe) {
        let alice = probe.register("alice").await;
        let waits = Waits::default();
        let auth = with(&probe, five(&probe).await, |builder| builder.hooks(waits.clone()));
        let app = app(&auth);
        {
            let mut login = pin!(answered(&app, sign_in("alice")));
            let mut inside = pin!(waits.inside.notified());
            poll_fn(|context| {
                assert!(login.as_mut().poll(context).is_pending(), "the hook waits");
                inside.as_mut().poll(context)
            })
            .await;
        }
        waits.go_on.notify_one();
        auth.drain().await;
        let sessions = probe.auth.sessions().list(&alice).await.expect("the database answers");
        // The session of the registration, and the session of the login.
        assert_eq!(sessions.len(), 2);
    }

    async fn a_flow_of_the_applications_ends_once_it_has_opened_a_transaction(probe: Probe) {
        let (auth, db) = node(&probe).await;
        for opens in [false, true] {
            let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let name = format!("opens{opens}");
            let flow = {
                let (auth, started, go_on) = (auth.clone(), Arc::clone(&started), Arc::clone(&go_on));
                let name = name.clone();
                async move {
                    let txn = if opens { Some(auth.begin().await.expect("it opens")) } else { None };
                    started.notify_one();
                    go_on.notified().await;
                    let txn = match txn {
                        Some(txn) => txn,
                        None => auth.begin().await.expect("it opens"),
                    };
                    let accounts = auth.accounts().within(&txn);
                    accounts.create(NewAccount::username(name)).await.expect("it is made");
                    txn.commit().await.expect("it commits");
                }
            };
            {
                let mut work = pin!(auth.run_to_end(flow));
                let mut started = pin!(started.notified());
                poll_fn(|context| {
                    assert!(work.as_mut().poll(context).is_pending(), "it waits");
                    started.as_mut().poll(context)
                })
                .await;
            }
            if !opens {
                // The flow has ended before it could continue, also on a busy machine.
                auth.drain().await;
            }
            go_on.notify_one();
            auth.drain().await;
            let found = probe.auth.accounts().find_by_login(&name).await.expect("an answer");
            assert_eq!(found.is_some(), opens);
        }
        check_whole(&probe, &auth, &db, "flows of the application").await;
    }

    async fn a_transaction_that_is_not_committed_is_rolled_back(probe: Probe) {
        let (auth, db) = node(&probe).await;
        for (name, committed) in [("dropped", false), ("rolled", false), ("kept", true)] {
            let txn = auth.begin().await.expect("it opens");
            let accounts = auth.accounts().within(&txn);
            accounts.create(NewAccount::username(name)).await.expect("it is made");
            match name {
                "dropped" => drop(txn),
                "rolled" => txn.rollback().await,
                _ => txn.commit().await.expect("it commits"),
            }
            auth.drain().await;
            let found = probe.auth.accounts().find_by_login(name).await.expect("an answer");
            assert_eq!(found.is_some(), committed, "{name}");
        }
        check_whole(&probe, &auth, &db, "three transactions").await;
    }

    async fn a_hook_that_hangs_costs_its_own_request_and_nobody_elses(probe: Probe) {
        let alice = probe.register("alice").await;
        probe.register("bob").await;
        let sleeps = match probe.database.backend {
            Backend::Sqlite => "SELECT 1",
            Backend::Postgres => "SELECT pg_sleep(2)",
            Backend::MySql => "SELECT SLEEP(2)",
        };
        for statement in [None, Some(sleeps)] {
            let db = five(&probe).await;
            let hangs = Hangs { account: alice.id(), statement };
            let auth = with(&probe, db.clone(), |builder| {
                builder.hooks(hangs).configure(|config| {
                    config.database.hook_timeout = Duration::from_millis(200);
                })
            });
            let app = app(&auth);
            let both = async {
                tokio::join!(call(&app, sign_in("alice")), call(&app, sign_in("bob")))
            };
            let limit = Duration::from_secs(10);
            let (hung, other) = tokio::time::timeout(limit, both).await.expect("nobody waits long");
            assert_eq!((hung.status, hung.code().as_str()), (503, "unavailable"), "{}", hung.text);
            assert!(hung.headers.get("set-cookie").is_none());
            assert_eq!(other.status, 200, "{}", other.text);
            auth.drain().await;
            check_whole(&probe, &auth, &db, "a hook that hung").await;
        }
        let sessions = probe.auth.sessions().list(&alice).await.expect("the database answers");
        // Only the session of the registration.
        assert_eq!(sessions.len(), 1);
    }

    async fn a_hook_that_waits_for_a_row_gives_back_its_locks_at_its_limit(probe: Probe) {
        let mut accounts = Vec::new();
        for number in 0..6 {
            accounts.push(probe.register(&format!("alice{number}")).await);
        }
        let holder = held_row(&probe).await;
        let db = five(&probe).await;
        let auth = with(&probe, db.clone(), |builder| {
            builder.hooks(WaitsForRow).configure(|config| {
                config.database.writers = 3;
                config.database.hook_timeout = Duration::from_millis(100);
            })
        });
        let app = app(&auth);
        let mut requests = JoinSet::new();
        for number in 0..accounts.len() {
            let app = app.clone();
            requests.spawn(async move { call(&app, sign_in(&format!("alice{number}"))).await });
        }
        // Twice as many requests as permits. The second half gets permits when the first half has
        // ended.
        let ended = tokio::time::timeout(PATIENCE, requests.join_all());
        for answer in ended.await.expect("nobody waits for the row") {
            assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{}", answer.text);
        }
        for account in &accounts {
            let accounts = auth.accounts();
            let other = accounts.disable(account.id());
            let other = tokio::time::timeout(PATIENCE, other).await;
            other.expect("its row is free").expect("it is written");
        }
        tokio::time::timeout(PATIENCE, auth.drain()).await.expect("nothing is left behind");
        check_whole_beside(&probe, &auth, &db, "a hook waited for a row", 1).await;
        holder.rollback().await.expect("it ends");
        probe.execute("DROP TABLE app_row").await;
    }

    async fn a_hook_inside_a_transaction_of_the_applications_waits_no_longer(probe: Probe) {
        let alice = probe.register("alice").await;
        let holder = held_row(&probe).await;
        let db = five(&probe).await;
        let auth = with(&probe, db.clone(), |builder| {
            builder.hooks(WaitsForRow).configure(|config| {
                config.database.hook_timeout = Duration::from_millis(100);
            })
        });
        let started = probe.auth.sessions().start(&alice, &ClientInfo::default()).await;
        let session = started.expect("it starts").session_id();
        for own in [true, false] {
            let ended = async {
                if own {
                    let txn = auth.begin().await.expect("it opens");
                    let ended = auth.sessions().within(&txn).end(session).await;
                    txn.rollback().await;
                    ended
                } else {
                    let txn = db.begin().await.expect("it opens");
                    let ended = auth.sessions().within(&txn).end(session).await;
                    let _ = txn.rollback().await;
                    ended
                }
            };
            let ended = tokio::time::timeout(PATIENCE, ended).await;
            ended.expect("it does not wait for the row").expect_err("the hook took too long");
            tokio::time::timeout(PATIENCE, auth.drain()).await.expect("nothing is left behind");
            check_whole_beside(&probe, &auth, &db, "a hook inside a transaction", 1).await;
        }
        holder.rollback().await.expect("it ends");
        probe.execute("DROP TABLE app_row").await;
    }

    async fn a_hook_whose_connection_cannot_be_ended_gives_back_its_permit(probe: Probe) {
        let alice = probe.register("alice").await;
        let holder = held_row(&probe).await;
        let mut options = ConnectOptions::new(&probe.database.url);
        // The pool has only one connection, so no other one can end the connection of the hook.
        options.max_connections(1).acquire_timeout(PATIENCE).sqlx_logging(false);
        let db = sea_orm::Database::connect(options).await.expect("the database answers");
        let auth = with(&probe, db.clone(), |builder| {
            builder.hooks(WaitsForRow).configure(|config| {
                config.database.writers = 1;
                config.database.hook_timeout = Duration::from_millis(100);
            })
        });
        let started = probe.auth.sessions().start(&alice, &ClientInfo::default()).await;
        let session = started.expect("it starts").session_id();
        let before = number_of(&db).await;
        let sessions = auth.sessions();
        let ended = tokio::time::timeout(PATIENCE, sessions.end(session)).await;
        ended.expect("it does not wait for the row").expect_err("the hook took too long");
        // A write gets the permit, and then waits for the connection.
        let accounts = auth.accounts();
        let mut writes = pin!(accounts.disable(alice.id()));
        let waited = tokio::time::timeout(Duration::from_secs(4), writes.as_mut()).await;
        assert!(waited.is_err() || probe.database.backend == Backend::Sqlite, "it has one");
        holder.rollback().await.expect("it ends");
        if waited.is_err() {
            let written = tokio::time::timeout(PATIENCE, writes).await;
            written.expect("there is a connection").expect("it is whole");
            // The command to end the old connection may arrive late. It must not end a connection
            // that is in use again.
            let is_new = number_of(&db).await != before;
            assert!(is_new || probe.database.backend == Backend::Sqlite, "the connection is used again");
        }
        tokio::time::timeout(PATIENCE, auth.drain()).await.expect("nothing is left behind");
        probe.execute("DROP TABLE app_row").await;
    }

    async fn a_hook_of_replaced_sessions_that_hangs_is_given_up_like_the_others(probe: Probe) {
        let alice = probe.register("alice").await;
        let (db, holder) = (five(&probe).await, held_row(&probe).await);
        let auth = with(&probe, db.clone(), |builder| {
            builder.on_session_replaced(WaitsForRow).configure(|config| {
                config.database.hook_timeout = Duration::from_millis(100);
            })
        });
        let started = probe.auth.sessions().start(&alice, &ClientInfo::default()).await;
        let mut request = sign_in("alice");
        let cookie = cookie_of(&started.expect("it starts")).parse().expect("a header");
        request.headers_mut().insert("cookie", cookie);
        let app = app(&auth);
        let answer = tokio::time::timeout(PATIENCE, call(&app, request)).await;
        let answer = answer.expect("it does not wait for the row");
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{}", answer.text);
        tokio::time::timeout(PATIENCE, auth.drain()).await.expect("nothing is left behind");
        check_whole_beside(&probe, &auth, &db, "a replaced session", 1).await;
        holder.rollback().await.expect("it ends");
        probe.execute("DROP TABLE app_row").await;
    }

    async fn what_the_application_is_asked_may_ask_its_pool_for_longer_than_it_is_waited_for(probe: Probe) {
        let (alice, browser) = probe.signed_in("alice").await;
        let db = five(&probe).await;
        let slow = AsksThePool { db: db.clone(), begun: Arc::default(), ended: Arc::default() };
        let limit = Duration::from_millis(100);
        let auth = with(&probe, db.clone(), |builder| {
            let builder = builder.membership_source(slow.clone()).session_info(slow.clone());
            builder.breached_list(slow.clone()).rate_limiter(slow.clone()).configure(|config| {
                config.permission.source_timeout = limit;
                config.database.hook_timeout = limit;
                config.password.breached_timeout = limit;
                config.rate.timeout = limit;
                config.rate.per_source = None;
                config.rate.per_principal = None;
            })
        });
        let holder = locked_table(&probe).await;
        let all = async {
            auth.refresh_memberships(alice.id()).await.expect_err("its source takes too long");
            let asked = request("GET", "/auth/session")
                .header("cookie", format!("{COOKIE}={}", browser.cookie.expect("a session")))
                .body(Body::empty())
                .expect("a request");
            assert_eq!(call(&app(&auth), asked).await.status, 503);
            let made = auth.registration().create(NewAccount::username("bob"), PASSWORD).await;
            made.expect("the list is not waited for");
            let limits = auth.rate_limits();
            limits.admit("reports", "alice", Quota::per_minute(5)).await.expect("it is let through");
        };
        tokio::time::timeout(PATIENCE, all).await.expect("nothing waits for the table");
        tokio::time::timeout(PATIENCE, auth.drain()).await.expect("a shutdown does not either");
        unlock(&probe, holder).await;
        let begun = slow.begun.load(Ordering::SeqCst);
        assert!(begun >= 4, "{begun} were asked");
        if probe.database.backend == Backend::MySql {
            let ended = async || slow.ended.load(Ordering::SeqCst) == begun;
            until("what was asked is answered, and not cut short", ended).await;
        }
        check_whole(&probe, &auth, &db, "four that took too long").await;
        if probe.database.backend != Backend::MySql {
            // These drivers tolerate a dropped statement, so it does not continue.
            assert_eq!(slow.ended.load(Ordering::SeqCst), 0);
        }
        probe.execute("DROP TABLE app_row").await;
    }

    async fn what_hung_for_hundreds_is_asked_again_when_it_answers(probe: Probe) {
        let alice = probe.register("alice").await;
        let source = AnswersNobody(Arc::new(AtomicBool::new(true)));
        let auth = probe.rebuilt(|builder| {
            let builder = builder.membership_source(source.clone());
            builder.configure(|config| config.permission.source_timeout = Duration::from_millis(50))
        });
        for _ in 0..3 {
            let mut asked = JoinSet::new();
            for _ in 0..100 {
                let (auth, id) = (auth.clone(), alice.id());
                asked.spawn(async move { auth.refresh_memberships(id).await });
            }
            assert!(asked.join_all().await.iter().all(Result::is_err), "it hangs");
        }
        source.0.store(false, Ordering::SeqCst);
        auth.refresh_memberships(alice.id()).await.expect("it answers");
    }

    async fn what_a_task_of_a_write_traces_belongs_to_the_span_of_the_request(probe: Probe) {
        probe.register("alice").await;
        let mut options = ConnectOptions::new(&probe.database.url);
        // Each statement writes a line to the log.
        options.max_connections(1).sqlx_logging(true);
        let db = sea_orm::Database::connect(options).await.expect("the database answers");
        let auth = with(&probe, db, |builder| builder.hooks(Tells));
        let app = app(&auth);
        let (log, _listening) = Log::start();
        let request = tracing::info_span!("of_a_request", number = 7);
        let answer = call(&app, sign_in("alice")).instrument(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let text = log.text();
        let of_request = |line: &&str| line.contains("of_a_request{number=7}");
        let told = text.lines().find(|line| line.ends_with("in the hook"));
        assert!(of_request(&told.expect("the hook was there")), "{told:?}");
        let writes = ["INSERT INTO", "UPDATE "];
        let statements = text.lines().filter(|line| line.contains(" sqlx::query: "));
        let written: Vec<_> =
            statements.filter(|line| writes.iter().any(|write| line.contains(write))).collect();
        // On SQLite a thread of the driver runs the statements, and this test does not read its
        // log.
        assert!(!written.is_empty() || probe.database.backend == Backend::Sqlite, "{text}");
        assert!(written.iter().all(of_request), "{written:?}");
    }

    async fn a_session_info_that_hangs_is_a_503(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let auth = with(&probe, five(&probe).await, |builder| {
            let hangs = |_: AccountId, _: SessionId| -> HookFuture<'static, Value> {
                Box::pin(std::future::pending())
            };
            builder.session_info(hangs).configure(|config| {
                config.database.hook_timeout = Duration::from_millis(200);
            })
        });
        let asked = request("GET", "/auth/session")
            .header("cookie", format!("{COOKIE}={}", browser.cookie.expect("a session")))
            .body(Body::empty())
            .expect("a request");
        let limit = Duration::from_secs(10);
        let app = app(&auth);
        let answer = tokio::time::timeout(limit, call(&app, asked)).await.expect("it is not waited for");
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    }

    async fn a_panic_in_a_mounted_route_is_a_500_that_tells_nothing(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let auth = with(&probe, five(&probe).await, |builder| {
            let panics = |_: AccountId, _: SessionId| -> HookFuture<'static, Value> {
                panic!("the ledger is at 10.0.0.7")
            };
            builder.session_info(panics)
        });
        let asked = request("GET", "/auth/session")
            .header("cookie", format!("{COOKIE}={}", browser.cookie.expect("a session")))
            .body(Body::empty())
            .expect("a request");
        let answer = call(&app(&auth), asked).await;
        assert_eq!((answer.status, answer.code().as_str()), (500, "internal_error"));
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(!answer.text.contains("ledger"), "{}", answer.text);
    }

    async fn more_writers_than_permits_wait_in_order_and_all_get_through(probe: Probe) {
        let auth = with(&probe, five(&probe).await, |builder| {
            builder.configure(|config| config.database.writers = 2)
        });
        let mut writers = JoinSet::new();
        for number in 0..50 {
            let auth = auth.clone();
            writers.spawn(async move {
                auth.accounts().create(NewAccount::username(format!("writer{number}"))).await
            });
        }
        for made in writers.join_all().await {
            made.expect("it is made");
        }
    }
}
