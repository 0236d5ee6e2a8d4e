//! PostgreSQL behind PgBouncer, with the configuration that the guide prints.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::body::Body;
use portcullis::account::NewAccount;
use portcullis::account_import::ImportedAccount;
use portcullis::permission::Resource;
use portcullis::{AccountId, Factor, Portcullis, Requirement};
use portcullis_migration::{Migrator, MigratorTrait};
use portcullis_test_needs::needs;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::call::{call, cookie_of, request};
use crate::support::database::{connect_at_most, drop_fresh, fresh};
use crate::support::probe::app;
use crate::support::program::{Program, replaced};
use crate::support::{Backend, PASSWORD, Probe, needed};

/// The number of simultaneous clients. In transaction mode they share a few server connections.
const CLIENTS: u32 = 12;

/// True if this version supports prepared statements in transaction mode.
fn keeps_statements(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("a text");
    let version = text.lines().next().and_then(|line| line.strip_prefix("PgBouncer "));
    let mut numbers = version.expect("its version").split('.').map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or_default();
    (next(), next()) >= (1, 21)
}

fn launch(program: &str, database: &str, directory: &Path, address: SocketAddr) -> Child {
    let server = url::Url::parse(&needed("PORTCULLIS_TEST_POSTGRES_URL")).expect("a URL");
    let password = server.password().map(|password| format!(" password={password}"));
    let target = format!(
        "app = host={} port={} dbname={database} user={}{}",
        server.host_str().unwrap_or("127.0.0.1"),
        server.port().unwrap_or(5432),
        server.username(),
        password.unwrap_or_default(),
    );
    let printed = include_str!("../../src/guide/pgbouncer/pgbouncer.ini");
    let printed = replaced(printed, "app = host=127.0.0.1 port=5432 dbname=app", &target);
    let port = format!("listen_port = {}", address.port());
    let printed = replaced(&printed, "listen_port = 6432", &port);
    let printed = if keeps_statements(program) {
        // Fewer than the clients, so that clients share connections.
        replaced(&printed, "default_pool_size = 20", "default_pool_size = 4")
    } else {
        // As the guide says for older versions.
        let printed = replaced(&printed, "max_prepared_statements = 300\n", "");
        replaced(&printed, "pool_mode = transaction", "pool_mode = session")
    };
    let file = directory.join("pgbouncer.ini");
    let local = "auth_type = any\nunix_socket_dir =\n";
    std::fs::write(&file, format!("{printed}{local}")).expect("a file");
    let mut command = Command::new(program);
    // PgBouncer refuses to run as root.
    if std::fs::metadata("/proc/self").expect("this process").uid() == 0 {
        command.args(["-u", "nobody"]);
    }
    let log = std::fs::File::create(directory.join("error.log")).expect("a file");
    command.arg(file).stdout(Stdio::null()).stderr(log).spawn().expect("PgBouncer starts")
}

/// The actions of one person, with the statements of most flows.
async fn one_person(auth: Portcullis, name: String) -> AccountId {
    let app = app(&auth);
    let post = |path: &str, body: serde_json::Value, cookie: &str| {
        let request = request("POST", path).header("sec-fetch-site", "same-origin");
        let request = request.header("cookie", cookie).header("content-type", "application/json");
        request.body(Body::from(body.to_string())).expect("a request")
    };
    let get = |path: &str, cookie: &str| {
        request("GET", path).header("cookie", cookie).body(Body::empty()).expect("a request")
    };
    let made =
        call(&app, post("/auth/register", json!({ "username": name, "password": PASSWORD }), ""))
            .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let wrong =
        call(&app, post("/auth/login", json!({ "login": name, "password": "wrong" }), "")).await;
    assert_eq!(wrong.status, 401, "{}", wrong.text);
    let login = json!({ "login": name, "password": PASSWORD });
    let answer = call(&app, post("/auth/login", login, "")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);

    let account =
        auth.accounts().find_by_login(&name).await.expect("an answer").expect("they are there");
    let id = account.id();
    let client = portcullis::ClientInfo::default();
    let session = auth.sessions().start(&account, &client).factor(Factor::Password).await;
    let cookie = cookie_of(&session.expect("a session"));
    let document = Resource::new("doc", "7").expect("a resource");
    for round in 0..5 {
        assert_eq!(call(&app, get("/me", &cookie)).await.text, id.to_string(), "{round}");
        assert_eq!(call(&app, get("/docs/7", &cookie)).await.status, 403, "{round}");
        auth.roles().grant_on(id, "reader", &document).await.expect("it is granted");
        assert_eq!(call(&app, get("/docs/7", &cookie)).await.status, 200, "{round}");
        let job = auth.job_identity(id).await.expect("the account can be used");
        let read = Requirement::permission("doc:read:7").expect("a permission");
        assert!(job.meets(&read), "{round}");
        auth.roles().revoke_on(id, "reader", &document).await.expect("it is revoked");
    }
    assert_eq!(call(&app, get("/auth/sessions", &cookie)).await.status, 200);
    assert_eq!(call(&app, post("/auth/logout", json!({}), &cookie)).await.status, 204);
    assert_eq!(call(&app, get("/me", &cookie)).await.status, 401);
    id
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL" "PORTCULLIS_TEST_PGBOUNCER")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_behind_pgbouncer() {
    crate::support::probe::run(Backend::Postgres, async |probe: Probe| {
        let program = needed("PORTCULLIS_TEST_PGBOUNCER");
        let (_, database) = probe.database.url.rsplit_once('/').expect("a database");
        let pooler =
            Program::start(|directory, address| launch(&program, database, directory, address))
                .await;
        let db = connect_at_most(&format!("postgres://app@{}/app", pooler.address), CLIENTS).await;
        let auth = Portcullis::builder(db.clone())
            .clock(probe.clock.clone())
            .secret(probe.secret.clone())
            .configure(|config| {
                config.password.danger_cheap_hashing = true;
                config.password.memory_kib = 8;
                config.password.iterations = 1;
                config.database.timeout = Duration::from_secs(20);
                config.login.registration = portcullis::config::Registration::Open;
            })
            .build()
            .expect("the configuration is right");
        auth.roles().create("reader", ["doc:read"]).await.unwrap_or_else(|error| {
            panic!("{error:?} {}", pooler.log());
        });
        let mut people = JoinSet::new();
        for number in 0..2 * CLIENTS {
            people.spawn(one_person(auth.clone(), format!("person{number}")));
        }
        let ids = people.join_all().await;
        // Each person got only their own rows.
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        let logins = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_success'";
        assert_eq!(probe.number(logins).await, 2 * i64::from(CLIENTS) * 2);
        // A transaction of the application, and one that is rolled back.
        let txn = auth.begin().await.expect("a transaction");
        let within = auth.accounts().within(&txn);
        within.create(NewAccount::username("kept")).await.expect("it is made");
        txn.commit().await.expect("it is stored");
        let txn = auth.begin().await.expect("a transaction");
        let within = auth.accounts().within(&txn);
        within.create(NewAccount::username("lost")).await.expect("it is made");
        txn.rollback().await;
        let found =
            async |name| auth.accounts().find_by_login(name).await.expect("an answer").is_some();
        assert_eq!((found("kept").await, found("lost").await), (true, false));
        // The flows with locks of rows, and with the longest transactions.
        auth.check_tables().await.expect("all tables are there");
        let accounts = auth.accounts();
        let exported = accounts.export(ids[0]).await.expect("it is exported");
        assert_eq!(exported["account"]["state"], "active");
        accounts.close(ids[0]).await.expect("it is closed");
        accounts.keep(ids[0]).await.expect("it is open again");
        accounts.erase(ids[0]).await.expect("it is erased");
        let row = |number: u128| {
            ImportedAccount::new(uuid::Uuid::from_u128(number).into())
                .username(format!("imported{number}"))
        };
        let report = auth.account_import().run((1..600).map(row), |_| {}).await.expect("it runs");
        assert_eq!((report.imported, report.refused.len()), (599, 0));
        let report = auth.maintenance().run().await.expect("it runs");
        assert!(!report.left_to_another);
        db.close().await.expect("the connections close");
    })
    .await;
}

/// Their lock is in one transaction, so they need no session.
#[needs("PORTCULLIS_TEST_POSTGRES_URL" "PORTCULLIS_TEST_PGBOUNCER")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_migrate_behind_pgbouncer() {
    let program = needed("PORTCULLIS_TEST_PGBOUNCER");
    let (url, _directory) = fresh(Backend::Postgres).await;
    let (_, database) = url.rsplit_once('/').expect("a database");
    let pooler =
        Program::start(|directory, address| launch(&program, database, directory, address)).await;
    let through = format!("postgres://app@{}/app", pooler.address);
    let mut starts = JoinSet::new();
    for _ in 0..5 {
        let through = through.clone();
        starts.spawn(async move {
            let db = connect_at_most(&through, 1).await;
            Migrator::up(&db, None).await.expect("a node starts");
            db.close().await.expect("the connection closes");
        });
    }
    starts.join_all().await;
    let direct = connect_at_most(&url, 1).await;
    crate::schema::check(Backend::Postgres, &direct).await;
    direct.close().await.expect("the connection closes");
    // The database can be dropped when PgBouncer has left it.
    drop(pooler);
    drop_fresh(Backend::Postgres, &url).await;
}
