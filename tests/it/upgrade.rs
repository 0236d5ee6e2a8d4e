//! For each released version, `tests/data/<version>` contains a filled database. These tests
//! migrate it to this version, and check that everything in it still works.
//!
//! To write the data of a version before its release, run this with its number:
//! `PORTCULLIS_TEST_RELEASE=0.1.0 cargo test --all-features --test it upgrade::written`. Never
//! replace the data of a released version.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use portcullis::account::NewAccount;
use portcullis::account_recovery::{NewRecovery, RecoveryActor};
use portcullis::base::clock::MockClock;
use portcullis::captcha::PictureCaptcha;
use portcullis::config::RateStore;
use portcullis::message::{MessageKind, RecordingNotifier};
use portcullis::permission::Resource;
use portcullis::second_factor::FactorCode;
use portcullis::{
    ClientInfo, Clock, Identity, PendingSession, Permission, Portcullis, Rejection, Secret,
    Session, Stage, Timestamp,
};
use portcullis_migration::{Migrator, MigratorTrait};
use portcullis_test_needs::needs;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::{Value, json};

use crate::migration::name;
use crate::on_every_database;
use crate::support::call::{cookie_of, extracted};
use crate::support::database::{TABLES, connect_at_most, drop_fresh, fresh};
use crate::support::probe::{app, builder, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe, given};

/// Tables that may be empty in the data. Their rows are useless after a few minutes, or belong to a
/// mail that a node collects.
const BRIEF: [&str; 2] = ["auth_device_digest", "auth_rate"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

#[expect(clippy::disallowed_methods, reason = "the data of each release has a secret of its own")]
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}

async fn read(auth: Portcullis, session: Session) -> Result<Json<Value>, Rejection> {
    let value = auth.session_data(&session).read::<Value>().await?;
    Ok(Json(value.unwrap_or_default()))
}

async fn write(
    auth: Portcullis,
    session: Session,
    Json(value): Json<Value>,
) -> Result<(), Rejection> {
    Ok(auth.session_data(&session).write(&value).await?)
}

fn service(auth: &Portcullis) -> Router {
    Router::new().route("/data", get(read).post(write)).merge(app(auth)).layer(auth.layer())
}

/// Fills every table through the flows. Returns what the test needs to know about the content.
async fn fill(probe: &Probe) -> Value {
    let auth = &probe.auth;
    let roles = auth.roles();
    auth.bootstrap_admin(NewAccount::username("root")).await.expect("an administrator");
    second_factors(probe).await;
    let synced = auth.catalogue().sync(["doc:read", "admin:read"]).await;
    assert_eq!(synced.expect("a catalogue").added.len(), 2);
    roles.create("editor", ["admin:read"]).await.expect("a role");
    auth.groups().create("staff").await.expect("a group");
    auth.groups().grant("staff", "editor").await.expect("it is granted");

    let alice = probe.register_with_email("alice", "alice@example.com").await;
    auth.accounts().verify(alice.id()).await.expect("it is verified");
    let direct = Permission::parse("doc:read:7").expect("a permission");
    auth.permissions().grant(alice.id(), &direct).await.expect("it is granted");
    roles.grant(alice.id(), "editor").await.expect("it is granted");
    let list = Resource::new("doc", "9").expect("a resource");
    auth.memberships().grant(alice.id(), &list, "reader").await.expect("a level");
    auth.refresh_memberships(alice.id()).await.expect("it is asked");
    auth.groups().join("staff", alice.id()).await.expect("she joins");
    let mut browser = Browser::new(serve(service(auth)).await);
    assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
    let write = browser.post("/data", json!("a cart")).await;
    assert_eq!(write.status, 200, "{}", write.text);

    // Sign-ins without the device cookie: Alice is notified of the new place.
    for _ in 0..3 {
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
    }

    // Alice changes her address. The old address can undo this.
    probe.clock.advance(Duration::from_secs(60));
    let ask = browser.post("/auth/email", json!({ "email": "new@example.com" })).await;
    assert_eq!(ask.status, 202, "{}", ask.text);
    let confirm = token(probe, MessageKind::EmailChangeConfirm, "new@example.com").await;
    let confirmed = browser.post("/auth/email/confirm", json!({ "token": confirm })).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.text);
    let undo = token(probe, MessageKind::EmailChangedUndo, "alice@example.com").await;

    // Bob is denied something, mistypes his password, and asks for a reset.
    let bob = probe.register_with_email("bob", "bob@example.com").await;
    auth.accounts().verify(bob.id()).await.expect("it is verified");
    let mut other = browser.stranger();
    assert_eq!(other.login("bob", "a wrong password").await.status, 401);
    assert_eq!(other.login("bob", PASSWORD).await.status, 200);
    assert_eq!(other.get("/admin").await.status, 403);
    auth.maintenance().run().await.expect("it runs");
    let forgot = other.stranger().post("/auth/password/forgot", json!({ "login": "bob" })).await;
    assert_eq!(forgot.status, 202);
    let reset = token(probe, MessageKind::PasswordReset, "bob@example.com").await;
    // This message is still in the outbox.
    probe.clock.advance(Duration::from_secs(600));
    let forgot = other.stranger().post("/auth/password/forgot", json!({ "login": "alice" })).await;
    assert_eq!(forgot.status, 202);
    let program = RecoveryActor::Program("cli:root@db1");
    let recovery = NewRecovery::new("called back");
    auth.account_recovery().open(bob.id(), recovery, program).await.expect("it is opened");
    let captcha = auth.captchas().offer("login", &ClientInfo::default()).await;
    let captcha = captcha.expect("a picture").parts["captcha_id"].clone();
    // A device waits for its approval.
    let with_keys = probe.rebuilt(|builder| {
        builder.configure(|config| config.api_key.prefix = Some("acme".to_owned()))
    });
    let new = portcullis::own_api_key::NewApiKey::new("robot");
    drop(with_keys.api_keys().issue(bob.id(), new).await.expect("it is made"));
    let devices = probe.rebuilt(|builder| builder.configure(crate::dpop::clients));
    let key = crate::dpop::ClientKey::ed25519(1);
    // Its sign-in would end the links of the others.
    let dora = probe.register("dora").await;
    crate::dpop::Bound::of(&devices, &dora, key).await;
    crate::passkey::fill(probe, &dora).await;
    crate::federation::fill(probe, &dora).await;
    let devices = probe.rebuilt(|builder| builder.configure(crate::device_login::clients));
    let started = devices.device_login().start("tv").begin(&ClientInfo::default()).await;
    let _started = started.expect("it starts");

    json!({
        "captcha": captcha,
        "now": probe.auth_now().as_millis(),
        "alice": browser.cookie,
        "bob": other.cookie,
        "undo": undo,
        "reset": reset,
    })
}

/// Gives the administrator an authenticator and recovery codes.
async fn second_factors(probe: &Probe) {
    let (auth, client) = (&probe.auth, ClientInfo::default());
    let root = auth.accounts().find_by_login("root").await.expect("it answers").expect("root");
    let owner = crate::totp::owner(auth, &root).await;
    let new = auth.totp().start(&owner, "phone", &client).await.expect("it is started");
    let code = crate::totp::code(probe, new.secret());
    let issued = auth.totp().confirm(&owner, new.id(), &code, &client).await.expect("it is right");
    let identity: Identity = extracted(auth, &cookie_of(&issued)).await;
    let owner = identity.owner().expect("it has no ceiling");
    let codes = auth.recovery_codes().generate(&owner, &client).await.expect("codes");
    assert_eq!(codes.codes().len(), 10);

    // The administrator also trusts a device.
    probe.clock.advance(Duration::from_secs(30));
    let root = auth.accounts().find(root.id()).await.expect("it answers").expect("root");
    let waits = auth.test().login_as(&root).at_stage(Stage::PendingSecondFactor).into_client();
    let cookie = waits.cookie().await.expect("a cookie");
    let pending: PendingSession = extracted(auth, &cookie).await;
    let code = FactorCode::totp(crate::totp::code(probe, new.secret()));
    let verified = auth.second_factor().verify_and_trust(&pending, code, &client).await;
    let issued = verified.expect("it is right").outcome.into_issued();
    assert!(issued.trusts_device());
}

async fn token(probe: &Probe, kind: MessageKind, to: &str) -> String {
    let sent = probe.mail().await;
    let found = sent.iter().rfind(|message| message.kind == kind && message.to.as_str() == to);
    let message = found.unwrap_or_else(|| panic!("no {kind:?} to {to}"));
    let (_, rest) = message.text.split_once("#token=").expect("a link");
    rest.split_whitespace().next().expect("a token").to_owned()
}

/// Returns the rows of all tables as INSERT statements, without the record of migrations.
async fn rows(probe: &Probe) -> String {
    let backend = probe.database.backend;
    let mut text = String::new();
    let mut tables = portcullis::schema::tables();
    // A table comes after the tables to which it refers.
    let order: Vec<_> = TABLES.iter().rev().copied().chain(["auth_epoch"]).collect();
    tables.sort_by_key(|table| order.iter().position(|name| *name == table.name));
    let mut empty = BTreeSet::new();
    for table in tables {
        let quote = if backend == Backend::MySql { '`' } else { '"' };
        let names = table.columns.iter().map(|column| format!("{quote}{}{quote}", column.name));
        let names: Vec<_> = names.collect();
        let literals: Vec<_> = table
            .columns
            .iter()
            .map(|column| {
                use sea_orm::sea_query::ColumnType;
                let name = &column.name;
                let bytes = matches!(column.kind, ColumnType::Binary(_) | ColumnType::Uuid);
                match backend {
                    Backend::Sqlite => format!("quote(\"{name}\")"),
                    Backend::Postgres => format!("quote_nullable(\"{name}\"::text)"),
                    Backend::MySql if bytes => {
                        format!("COALESCE(CONCAT('X''', HEX(`{name}`), ''''), 'NULL')")
                    }
                    Backend::MySql => format!("QUOTE(`{name}`)"),
                }
            })
            .collect();
        let joined = match backend {
            Backend::MySql => format!("CONCAT_WS(', ', {})", literals.join(", ")),
            _ => literals.join(" || ', ' || "),
        };
        let query = format!("SELECT {joined} FROM {}", table.name);
        let statement = Statement::from_string(probe.db.get_database_backend(), query);
        let found = probe.db.query_all_raw(statement).await.expect("the table is read");
        if found.is_empty() {
            empty.insert(table.name.clone());
        }
        if table.name == "auth_epoch" {
            text.push_str("DELETE FROM auth_epoch;\n");
        }
        for row in found {
            let values: String = row.try_get_by_index(0).expect("a text");
            text.push_str(&format!(
                "INSERT INTO {} ({}) VALUES ({values});\n",
                table.name,
                names.join(", ")
            ));
        }
    }
    let full = empty.iter().all(|name| BRIEF.contains(&name.as_str()));
    assert!(full, "these tables are empty: {empty:?}");
    text
}

/// Returns the SQL files of the migrations, one after the other.
fn schema(backend: Backend) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migration/sql").join(name(backend));
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).expect("a file")).collect()
}

on_every_database! {
    async fn written_data_is_read_back(probe: Probe) {
        let mut probe = probe;
        let text = data_encoding::HEXLOWER.encode(&random());
        probe.secret = Secret::new(&text).expect("a secret");
        probe.auth = probe.rebuilt(configure);
        let mut facts = fill(&probe).await;
        facts["secret"] = json!(text);
        let text = format!("{}\n{}", schema(probe.database.backend), rows(&probe).await);
        if let Some(version) = given("PORTCULLIS_TEST_RELEASE") {
            assert_eq!(version, env!("CARGO_PKG_VERSION"), "the data is of this version");
            let folder = folder().join(version);
            std::fs::create_dir_all(&folder).expect("a folder");
            let backend = name(probe.database.backend);
            for (ending, text) in [("sql", text.clone()), ("json", format!("{facts:#}\n"))] {
                let file = folder.join(format!("{backend}.{ending}"));
                assert!(!file.exists(), "{} is never written again", file.display());
                std::fs::write(file, text).expect("a file");
            }
        }
        works_after_the_upgrade(probe.database.backend, &text, &facts).await;
    }
}

async fn every_release_upgrades(backend: Backend) {
    let Ok(versions) = std::fs::read_dir(folder()) else { return };
    for version in versions {
        let file = version.expect("a folder").path().join(name(backend));
        let text = std::fs::read_to_string(file.with_extension("sql")).expect("the data");
        let facts = std::fs::read_to_string(file.with_extension("json")).expect("the facts");
        let facts = serde_json::from_str(&facts).expect("JSON");
        works_after_the_upgrade(backend, &text, &facts).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_released_version_upgrades_on_sqlite() {
    every_release_upgrades(Backend::Sqlite).await;
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_released_version_upgrades_on_postgres() {
    every_release_upgrades(Backend::Postgres).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_released_version_upgrades_on_mysql() {
    every_release_upgrades(Backend::MySql).await;
}

fn configure(builder: portcullis::Builder) -> portcullis::Builder {
    use portcullis::port::{HookFuture, SourceMembership};
    builder
        .levels("doc", ["reader", "owner"])
        .membership_source(|_| -> HookFuture<'static, Vec<SourceMembership>> {
            Box::pin(async { Ok(vec![SourceMembership::new("doc", "9", "reader")]) })
        })
        .captcha(PictureCaptcha::new())
        .configure(|config| {
            config.rate.store = RateStore::Database;
            config.trusted_device.enabled = true;
            config.trusted_device.superusers = true;
        })
}

async fn works_after_the_upgrade(backend: Backend, sql: &str, facts: &Value) {
    let (url, _directory) = fresh(backend).await;
    let db = connect_at_most(&url, 5).await;
    for statement in sql.split(";\n") {
        let comment = |line: &str| line.is_empty() || line.starts_with("--");
        if !statement.lines().all(comment) {
            db.execute_unprepared(statement).await.expect(statement);
        }
    }
    Migrator::up(&db, None).await.expect("it is migrated");
    crate::schema::check(backend, &db).await;
    let now = facts["now"].as_i64().expect("a time");
    let clock = MockClock::at(Timestamp::from_millis(now));
    let notifier = RecordingNotifier::default();
    let secret = facts["secret"].as_str().expect("a secret");
    let secret = Secret::new(secret).expect("a secret");
    let builder = builder(db.clone(), &clock, &notifier).secret(secret);
    let auth = configure(builder).build().expect("it is built");
    auth.check_tables().await.expect("all is there");
    // Version 0.1 had no captchas.
    if let Some(id) = facts["captcha"].as_str() {
        auth.captchas().image(id).await.expect("it is drawn");
    }
    people_go_on(&auth, &db, facts).await;

    auth.outbox().deliver_due().await.expect("the outbox is read");
    let waiting = notifier.sent();
    let link = waiting.iter().find(|message| message.kind == MessageKind::PasswordReset);
    assert_eq!(link.expect("the message that waited").to.as_str(), "new@example.com");
    clock.advance(Duration::from_secs(3_600));
    auth.maintenance().run().await.expect("it runs");
    assert!(clock.now() > Timestamp::from_millis(now));
    db.close().await.expect("the connection closes");
    drop_fresh(backend, &url).await;
}

async fn people_go_on(auth: &Portcullis, db: &DatabaseConnection, facts: &Value) {
    let address = serve(service(auth)).await;
    let cookie = |name: &str| facts[name].as_str().expect("a cookie").to_owned();
    // Sessions, grants of each kind, and data of sessions.
    let mut alice = Browser::new(address).with_cookie(&cookie("alice"));
    for (path, status) in [("/me", 200), ("/admin", 200), ("/docs/7", 200), ("/docs/9", 403)] {
        assert_eq!(alice.get(path).await.status, status, "{path}");
    }
    assert_eq!(alice.get("/data").await.text, "\"a cart\"");
    let account = auth.accounts().find_by_login("new@example.com").await.expect("it answers");
    let account = account.expect("alice");
    let list = Resource::new("doc", "9").expect("a resource");
    let on = auth.memberships().on(&list).await.expect("it answers");
    let memberships = on.iter().filter(|membership| membership.account_id == account.id()).count();
    assert_eq!(memberships, 2, "by hand and from the source: {on:?}");
    let mut bob = Browser::new(address).with_cookie(&cookie("bob"));
    assert_eq!((bob.get("/me").await.status, bob.get("/admin").await.status), (200, 403));

    // Passwords, links, and the return to an earlier address.
    let mut browser = Browser::new(address);
    assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
    // A change of grants takes effect at once.
    assert_eq!(browser.get("/admin").await.status, 200);
    auth.roles().revoke(account.id(), "editor").await.expect("it is revoked");
    auth.groups().leave("staff", account.id()).await.expect("she leaves");
    assert_eq!(browser.get("/admin").await.status, 403);
    let password = "another horse battery staple";
    let reset = json!({ "token": facts["reset"], "password": password });
    let answer = browser.stranger().post("/auth/password/reset", reset).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert_eq!(browser.stranger().login("bob", password).await.status, 200);
    let answer = browser.post("/auth/email/undo", json!({ "token": facts["undo"] })).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    let back = auth.accounts().find_by_login("alice@example.com").await.expect("it answers");
    assert_eq!(back.expect("alice").id(), account.id());
    let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'user_created'";
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), events)).await;
    let count: i64 =
        row.expect("it answers").expect("a row").try_get_by_index(0).expect("a number");
    // The data of a release have three accounts, and new data one more, with a device.
    assert!((3..=4).contains(&count), "{count}");
}
