//! Outages. If the database fails in any way, a request gets a 503 with a time to try again. It
//! never gets a 401, is never allowed, never has its cookie cleared, and nothing is half done.
//! Requests that need no database still work, and all work again once the database is back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use portcullis::Portcullis;
use portcullis::account::FurtherName;
use portcullis::config::Delivery;
use portcullis_test_needs::needs;
use reqwest::{Method, RequestBuilder};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, Statement, TransactionTrait};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// Ends all connections and refuses new ones.
    Down,
    /// Passes on nothing, but ends no connection.
    Stalled,
}

/// A proxy between portcullis and its database.
pub struct Wire {
    pub address: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
    /// The number of messages to the database that still pass before `fate` happens.
    left: Arc<AtomicI64>,
    fate: Arc<watch::Sender<Mode>>,
}

impl Wire {
    pub async fn to(database: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let wire = Self {
            address: listener.local_addr().expect("an address"),
            mode: Arc::new(watch::Sender::new(Mode::Open)),
            left: Arc::new(AtomicI64::new(i64::MAX)),
            fate: Arc::new(watch::Sender::new(Mode::Down)),
        };
        let (mode, left, fate) =
            (Arc::clone(&wire.mode), Arc::clone(&wire.left), Arc::clone(&wire.fate));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *mode.borrow() == Mode::Down {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&database).await else { continue };
                let (mode, left, fate) = (Arc::clone(&mode), Arc::clone(&left), Arc::clone(&fate));
                tokio::spawn(async move {
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    let mut down = mode.subscribe();
                    let count = || {
                        if left.fetch_sub(1, Ordering::SeqCst) <= 0 {
                            mode.send_if_modified(|mode| {
                                let opened = *mode == Mode::Open;
                                if opened {
                                    *mode = *fate.borrow();
                                }
                                opened
                            });
                        }
                    };
                    tokio::select! {
                        () = carry(from_client, to_server, &mode, count) => {}
                        () = carry(from_server, to_client, &mode, || {}) => {}
                        _ = down.wait_for(|mode| *mode == Mode::Down) => {}
                    }
                });
            }
        });
        wire
    }

    /// Passes on this many messages, and then fails as `fate` says.
    pub fn fail_after(&self, messages: i64, fate: Mode) {
        self.fate.send_replace(fate);
        self.left.store(messages, Ordering::SeqCst);
    }

    /// Returns the current mode.
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    pub fn set(&self, mode: Mode) {
        self.left.store(i64::MAX, Ordering::SeqCst);
        self.mode.send_replace(mode);
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mode: &watch::Sender<Mode>,
    count: impl Fn(),
) {
    let mut open = mode.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 {
            return;
        }
        count();
        if open.wait_for(|mode| *mode != Mode::Stalled).await.is_err()
            || *mode.borrow() == Mode::Down
        {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// A node that reaches its database through a wire. It has one connection. So every message of a
/// flow passes through it, and a flow that needs two connections at once is detected.
struct Remote {
    wire: Wire,
    db: DatabaseConnection,
    browser: Browser,
}

async fn one_connection(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(1)
        .min_connections(0)
        .acquire_timeout(Duration::from_secs(20))
        .test_before_acquire(false)
        .sqlx_logging(false);
    sea_orm::Database::connect(options).await.expect("the database answers")
}

pub fn node(probe: &Probe, db: DatabaseConnection, timeout: Duration) -> Portcullis {
    Portcullis::builder(db)
        .clock(probe.clock.clone())
        .secret(probe.secret.clone())
        .notifier(probe.notifier.clone())
        .configure(|config| {
            config.mail.link_origin = Some("https://app.example.com".to_owned());
            config.mail.delivery = Delivery::ByApplication;
            config.password.danger_cheap_hashing = true;
            config.password.memory_kib = 8;
            config.password.iterations = 1;
            config.database.timeout = timeout;
            config.session.anonymous_per_minute = 10_000;
        })
        .build()
        .expect("the configuration is right")
}

/// Returns a connection to the database of a probe through a wire.
pub async fn wired(probe: &Probe) -> (Wire, DatabaseConnection) {
    let url = &probe.database.url;
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (authority, name) = rest.split_once('/').expect("a database");
    let (user, host) = authority.rsplit_once('@').expect("a user");
    let port = if probe.database.backend == Backend::Postgres { 5432 } else { 3306 };
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") };
    let wire = Wire::to(host).await;
    let db = one_connection(&format!("{scheme}://{user}@{}/{name}", wire.address)).await;
    (wire, db)
}

/// Opens the wire and waits until the delayed messages have passed.
pub async fn mended(wire: &Wire, db: &DatabaseConnection) {
    wire.set(Mode::Open);
    // The pool notices a broken connection only when it uses the connection.
    let mut errors = Vec::new();
    for _ in 0..5 {
        let one = Statement::from_string(db.get_database_backend(), "SELECT 1");
        match db.query_one_raw(one).await {
            Ok(_) => return,
            Err(error) => errors.push(error),
        }
    }
    panic!("the database does not come back: {errors:?}");
}

impl Remote {
    async fn new(probe: &Probe, timeout: Duration) -> Self {
        let (wire, db) = wired(probe).await;
        let auth = node(probe, db.clone(), timeout);
        let browser = Browser::new(serve(app(&auth)).await);
        Self { wire, db, browser }
    }

    /// Returns the same browser for this node.
    fn at(&self, who: &Browser) -> Browser {
        let mut browser = self.browser.clone();
        browser.cookie.clone_from(&who.cookie);
        browser
    }

    async fn mend(&self) {
        mended(&self.wire, &self.db).await;
    }
}

/// Checks what every answer to an outage has in common.
fn check_outage(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 503, "{what}: {}", answer.text);
    let header = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header("retry-after"), Some("2"), "{what}");
    assert_eq!(header("content-type"), Some("application/problem+json"), "{what}");
    assert_eq!(header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(header("www-authenticate"), None, "{what}");
    assert!(answer.set_cookies().is_empty(), "{what}: {:?}", answer.set_cookies());
    // These four members reveal nothing about the cause.
    let expected = json!({
        "type": "about:blank", "title": "Service Unavailable", "status": 503, "code": "unavailable",
    });
    assert_eq!(answer.json(), expected, "{what}");
}

/// Checks that routes without a database work as usual.
async fn check_public(browser: &Browser) {
    let mut browser = browser.clone();
    for path in ["/public", "/auth/methods"] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(answer.set_cookies().is_empty(), "{path}");
    }
    let mut stranger = browser.stranger();
    for (path, status) in [("/me", 401), ("/maybe", 200), ("/admin", 401)] {
        assert_eq!(stranger.get(path).await.status, status, "{path}");
    }
}

/// Returns the numbers of all rows that a flow could leave half done.
async fn rows(probe: &Probe) -> Vec<i64> {
    let mut rows = Vec::new();
    for (what, of) in [
        ("*", "auth_account"),
        ("*", "auth_login_name"),
        ("*", "auth_session"),
        ("*", "auth_session WHERE ended_at IS NULL"),
        ("*", "auth_event"),
        ("DISTINCT password_hash", "auth_account"),
        ("*", "auth_account WHERE epoch > 0"),
        ("*", "auth_session WHERE generation > 0"),
        ("*", "auth_account WHERE last_login_at IS NULL"),
    ] {
        rows.push(probe.number(&format!("SELECT COUNT({what}) FROM {of}")).await);
    }
    rows
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    /// True if the request has a session.
    signed_in: bool,
    /// The seconds that pass before the request.
    later: u64,
    status: u16,
}

const fn flow(name: &'static str, method: &'static str, path: &'static str) -> Flow {
    Flow { name, method, path, signed_in: true, later: 0, status: 200 }
}

const FLOWS: [Flow; 18] = [
    flow("guard", "GET", "/everything"),
    flow("extractor", "GET", "/me"),
    flow("optional extractor", "GET", "/maybe"),
    Flow { later: 16 * 60, ..flow("rotation", "GET", "/me") },
    flow("who am I", "GET", "/auth/session"),
    flow("list", "GET", "/auth/sessions"),
    Flow { later: 60, ..flow("refresh", "POST", "/auth/session/refresh") },
    flow("reauthenticate", "POST", "/auth/reauthenticate"),
    flow("end the others", "DELETE", "/auth/sessions"),
    flow("password", "PUT", "/auth/password"),
    Flow { status: 204, ..flow("logout", "POST", "/auth/logout") },
    flow("login over a session", "POST", "/auth/login"),
    Flow { signed_in: false, ..flow("login", "POST", "/auth/login") },
    Flow { signed_in: false, status: 201, ..flow("register", "POST", "/auth/register") },
    Flow { signed_in: false, status: 201, ..flow("anonymous", "POST", "/auth/session/anonymous") },
    flow("names", "GET", "/auth/login-names"),
    flow("another name", "POST", "/auth/login-names"),
    flow("one name less", "DELETE", "/auth/login-names/another"),
];

impl Flow {
    fn body(&self) -> Option<Value> {
        Some(match self.name {
            "reauthenticate" => json!({ "password": PASSWORD }),
            "password" => {
                json!({ "current_password": PASSWORD, "new_password": "another long password" })
            }
            "login" | "login over a session" => json!({ "login": "alice", "password": PASSWORD }),
            "register" => {
                json!({ "username": "newcomer", "email": "n@example.com", "password": PASSWORD })
            }
            "another name" => json!({ "username": "another" }),
            _ => return None,
        })
    }

    fn request(&self, browser: &Browser) -> RequestBuilder {
        let method: Method = self.method.parse().expect("a method");
        let request = browser.request(method, self.path);
        match self.body() {
            Some(body) => request.json(&body),
            None => request,
        }
    }
}

/// Undoes the one flow after which nobody else could sign in.
async fn back_to_the_usual_password(probe: &Probe, flow: Flow) {
    if flow.name == "password" {
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", "another long password").await.status, 200);
        let back = json!({ "new_password": PASSWORD });
        assert_eq!(browser.put("/auth/password", back).await.status, 200);
    }
}

/// Signs in an administrator on the probe's own node, which does not fail.
async fn administrator(probe: &Probe) -> Browser {
    let (alice, browser) = probe.signed_in("alice").await;
    probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
    probe.auth.roles().grant(alice.id(), "editor").await.expect("it is granted");
    browser
}

/// Runs each flow again and again. Each time the wire fails one message later, until the flow
/// succeeds.
async fn cut_at_every_message(probe: Probe) {
    let mut direct = administrator(&probe).await;
    let remote = Remote::new(&probe, Duration::from_secs(5)).await;
    for flow in FLOWS {
        let mut cuts = 0;
        // All these sign-ins within one minute would exceed a limit.
        probe.clock.advance(Duration::from_secs(60));
        loop {
            assert!(cuts < 100, "{} never gets through", flow.name);
            assert_eq!(
                direct.stranger().login("alice", PASSWORD).await.status,
                200,
                "{}",
                flow.name
            );
            direct.cookie = None;
            assert_eq!(direct.login("alice", PASSWORD).await.status, 200, "{}", flow.name);
            let mut browser = remote.at(&direct);
            if !flow.signed_in {
                browser.cookie = None;
            }
            probe.clock.advance(Duration::from_secs(flow.later));
            let before = rows(&probe).await;

            remote.wire.fail_after(cuts, Mode::Down);
            let answer = send(flow.request(&browser)).await;
            if answer.status == flow.status {
                remote.mend().await;
                back_to_the_usual_password(&probe, flow).await;
                break;
            }
            let what = format!("{}, cut at message {cuts}", flow.name);
            check_outage(&answer, &what);
            if cuts == 0 {
                check_public(&browser).await;
                for path in ["/maybe", "/everything", "/auth/session"] {
                    check_outage(&remote.at(&direct).get(path).await, path);
                }
                let cookie = direct.cookie.clone();
                let mut leaver = remote.at(&direct);
                check_outage(&leaver.post_empty("/auth/logout").await, "logout is not faked");
                assert_eq!(leaver.cookie, cookie);
            }
            remote.mend().await;
            assert_eq!(rows(&probe).await, before, "{what}");
            // The node recovers without a restart, and the session still exists.
            let mut again = remote.at(&direct);
            let answer = again.get("/everything").await;
            assert_eq!(answer.status, 200, "{what}: {}", answer.text);
            cuts += 1;
        }
        assert!(cuts > 0, "{} never met the wire", flow.name);
    }
}

/// The same with a wire that passes on nothing. The time limit ends the request.
async fn stall_at_many_messages(probe: Probe) {
    let mut direct = administrator(&probe).await;
    let remote = Remote::new(&probe, Duration::from_millis(300)).await;
    for (flow, step) in
        [(FLOWS[0], 1), (FLOWS[2], 1), (FLOWS[10], 3), (FLOWS[12], 3), (FLOWS[13], 4)]
    {
        // Runs the flow once without a failure, so that every statement is prepared. If a statement
        // is abandoned while MySQL prepares it, sqlx loses the connection.
        let mut browser = remote.at(&direct);
        if !flow.signed_in {
            browser.cookie = None;
        }
        let answer = send(flow.request(&browser)).await;
        assert_eq!(answer.status, flow.status, "{}: {}", flow.name, answer.text);
        probe.execute("DELETE FROM auth_account WHERE username = 'newcomer'").await;
        let mut passed = 0;
        loop {
            assert!(passed < 100, "{} never gets through", flow.name);
            assert_eq!(direct.stranger().login("alice", PASSWORD).await.status, 200);
            direct.cookie = None;
            assert_eq!(direct.login("alice", PASSWORD).await.status, 200);
            let mut browser = remote.at(&direct);
            if !flow.signed_in {
                browser.cookie = None;
            }
            let before = rows(&probe).await;
            remote.wire.fail_after(passed, Mode::Stalled);
            let answer = send(flow.request(&browser)).await;
            if answer.status == flow.status {
                remote.mend().await;
                break;
            }
            let what = format!("{}, stalled at message {passed}", flow.name);
            check_outage(&answer, &what);
            check_public(&browser).await;
            remote.mend().await;
            // The messages that were held back have passed now. Only a commit can be among them,
            // and then the whole change is done.
            let after = rows(&probe).await;
            let accounts = after[0] - before[0];
            let complete = match flow.name {
                "logout" => after[3] == before[3] - 1 && after[4] == before[4] + 1,
                // One more event can say that attempts before it failed.
                "login" => after[2] == before[2] + 1 && (1..=2).contains(&(after[4] - before[4])),
                "register" => {
                    accounts == 1
                        && after[1] == before[1] + 2
                        && after[2] == before[2] + 1
                        && after[4] == before[4] + 2
                }
                _ => false,
            };
            assert!(after == before || complete, "{what}: {before:?} {after:?}");
            if accounts == 1 {
                probe.execute("DELETE FROM auth_account WHERE username = 'newcomer'").await;
            }
            passed += step;
        }
        assert!(passed > 0, "{} never met the wire", flow.name);
        let mut again = remote.at(&direct);
        again.cookie = None;
        assert_eq!(again.login("alice", PASSWORD).await.status, 200);
        assert_eq!(again.get("/everything").await.status, 200);
    }
}

// SQLite is not reached through a wire. The tests below cover failures of its file.

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_cut_off_at_any_message_is_a_503_that_leaves_nothing_behind_on_postgres() {
    crate::support::probe::run(Backend::Postgres, cut_at_every_message).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_cut_off_at_any_message_is_a_503_that_leaves_nothing_behind_on_mysql() {
    crate::support::probe::run(Backend::MySql, cut_at_every_message).await;
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_stalls_is_a_503_after_the_time_limit_on_postgres() {
    crate::support::probe::run(Backend::Postgres, stall_at_many_messages).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_stalls_is_a_503_after_the_time_limit_on_mysql() {
    crate::support::probe::run(Backend::MySql, stall_at_many_messages).await;
}

/// Uses only SQLite, because each test has its own file there. A missing table makes all statements
/// that use it fail, at any step of a flow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_any_step_is_a_503_that_leaves_nothing_behind() {
    crate::support::probe::run(Backend::Sqlite, |probe: Probe| async move {
        let mut browser = administrator(&probe).await;
        let mut met = 0;
        for flow in FLOWS {
            if flow.name == "one name less" {
                let accounts = probe.auth.accounts();
                let alice = accounts.find_by_login("alice").await.expect("it answers");
                let name = FurtherName::username("another");
                let id = alice.expect("an account").id();
                accounts.add_name(id, name).await.expect("it is added");
            }
            for table in ["auth_event", "auth_session", "auth_account", "auth_login_name"] {
                assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
                let mut asking = browser.clone();
                if !flow.signed_in {
                    asking.cookie = None;
                }
                probe.clock.advance(Duration::from_secs(flow.later));
                let before = rows(&probe).await;
                probe.execute(&format!("ALTER TABLE {table} RENAME TO gone")).await;
                let answer = send(flow.request(&asking)).await;
                let what = format!("{} without {table}", flow.name);
                if answer.status == 503 {
                    check_outage(&answer, &what);
                    check_public(&asking).await;
                    met += 1;
                }
                probe.execute(&format!("ALTER TABLE gone RENAME TO {table}")).await;
                if answer.status != 503 {
                    assert_eq!(answer.status, flow.status, "{what}: {}", answer.text);
                    probe.execute("DELETE FROM auth_account WHERE username = 'newcomer'").await;
                    back_to_the_usual_password(&probe, flow).await;
                    continue;
                }
                assert_eq!(rows(&probe).await, before, "{what}");
                assert_eq!(browser.get("/me").await.status, 200, "{what}");
            }
        }
        assert!(met >= 30, "{met}");
    })
    .await;
}

/// Uses only SQLite, because there one writer blocks all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_does_not_let_go_is_a_503_and_readers_go_on() {
    crate::support::probe::run(Backend::Sqlite, |probe: Probe| async move {
        let mut browser = administrator(&probe).await;
        let auth = node(&probe, probe.database.connect().await, Duration::from_millis(300));
        browser.address = serve(app(&auth)).await;
        let before = rows(&probe).await;
        let holder = one_connection(&probe.database.url).await;
        holder.execute_unprepared("BEGIN IMMEDIATE").await.expect("it holds the file");
        check_outage(&browser.stranger().login("alice", PASSWORD).await, "login");
        check_outage(&browser.post_empty("/auth/logout").await, "logout");
        assert_eq!(browser.get("/everything").await.status, 200);
        check_public(&browser).await;
        holder.execute_unprepared("ROLLBACK").await.expect("it lets go");
        assert_eq!(rows(&probe).await, before);
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
    })
    .await;
}

on_every_database! {
    async fn a_pool_that_is_used_up_is_a_503_after_the_time_limit(probe: Probe) {
        let mut browser = administrator(&probe).await;
        let db = one_connection(&probe.database.url).await;
        let auth = node(&probe, db.clone(), Duration::from_millis(300));
        browser.address = serve(app(&auth)).await;
        assert_eq!(browser.get("/everything").await.status, 200);

        let held = db.begin().await.expect("the only connection");
        for path in ["/everything", "/maybe", "/auth/session", "/auth/sessions"] {
            check_outage(&browser.get(path).await, path);
        }
        check_outage(&browser.stranger().login("alice", PASSWORD).await, "login");
        check_outage(&browser.post_empty("/auth/logout").await, "logout");
        check_public(&browser).await;
        held.rollback().await.expect("it is given back");

        // No flow needs two connections at once: each succeeds with only one.
        assert_eq!(browser.get("/everything").await.status, 200);
        for flow in FLOWS {
            let mut asking = browser.stranger();
            if flow.signed_in {
                assert_eq!(asking.login("alice", PASSWORD).await.status, 200, "{}", flow.name);
            }
            probe.clock.advance(Duration::from_secs(flow.later));
            let answer = send(flow.request(&asking)).await;
            assert_eq!(answer.status, flow.status, "{}: {}", flow.name, answer.text);
            back_to_the_usual_password(&probe, flow).await;
        }
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
    }

    async fn an_outage_before_anything_was_asked_is_asked_again_after_it(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        // The failure leaves no trace, neither for this client nor for its token.
        let db = one_connection(&probe.database.url).await;
        let auth = node(&probe, db.clone(), Duration::from_millis(300));
        browser.address = serve(app(&auth)).await;
        for _ in 0..2 {
            let held = db.begin().await.expect("the only connection");
            check_outage(&browser.get("/me").await, "held");
            held.rollback().await.expect("it is given back");
            assert_eq!(browser.get("/me").await.status, 200);
        }
    }
}
