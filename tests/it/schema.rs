//! The tables. The migrations must create what the entities describe, which is read back from the
//! catalogs of each database. They run up and down next to the application's own migrations. Two
//! names that a person would call the same cannot both exist.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::account::{AccountError, NewAccount};
use portcullis_migration::{Migrator, MigratorTrait};
use portcullis_test_needs::needs;
use sea_orm::sea_query::ColumnType;
use sea_orm::{ConnectionTrait, DatabaseConnection, QueryResult, Statement};

use crate::on_every_database;
use crate::support::database::{TABLES, connect_at_most, drop_fresh, fresh};
use crate::support::{Backend, Probe};

/// A table, as far as the catalogs and the entities can both describe it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// From a name to its family of types, and whether it is nullable.
    columns: BTreeMap<String, (&'static str, bool)>,
    primary_key: Vec<String>,
    /// Column, other table, other column, and whether deleting there deletes here.
    foreign_keys: BTreeSet<(String, String, String, bool)>,
    /// The unique keys besides the primary key.
    unique: BTreeSet<Vec<String>>,
}

pub(crate) type Shapes = BTreeMap<String, Shape>;

/// The indexes that are not keys. The entities do not describe them.
const LOOKUPS: [(&str, &[&str]); 62] = [
    ("auth_account_group", &["group_id"]),
    ("auth_account_recovery", &["account_id"]),
    ("auth_account_recovery", &["expires_at"]),
    ("auth_account_role", &["role_id"]),
    ("auth_attempt", &["at"]),
    ("auth_attempt", &["source", "outcome", "at"]),
    ("auth_captcha", &["expires_at"]),
    ("auth_captcha_failures", &["window_started_at"]),
    ("auth_challenge", &["account_id"]),
    ("auth_challenge", &["expires_at"]),
    ("auth_challenge", &["session_id"]),
    ("auth_challenge", &["subject"]),
    ("auth_event", &["account_id", "at"]),
    ("auth_event", &["at"]),
    ("auth_former_address", &["account_id"]),
    ("auth_former_address", &["left_at"]),
    ("auth_group_role", &["role_id"]),
    ("auth_login_name", &["account_id"]),
    ("auth_outbox", &["account_id"]),
    ("auth_outbox", &["created_at"]),
    ("auth_outbox", &["recipient"]),
    ("auth_outbox", &["state", "next_try_at"]),
    ("auth_outbox_limit", &["last_at"]),
    ("auth_membership", &["resource", "resource_id"]),
    ("auth_rate", &["spent_us"]),
    ("auth_account", &["sweep_at"]),
    ("auth_account", &["on_trial_since"]),
    ("auth_account", &["superuser"]),
    ("auth_challenge_start", &["started_at"]),
    ("auth_denial", &["minute"]),
    ("auth_session", &["account_id", "expires_at"]),
    ("auth_session", &["ended_at"]),
    ("auth_session", &["expires_at"]),
    ("auth_session", &["lineage_id"]),
    ("auth_device_digest", &["began_at"]),
    ("auth_told_place", &["told_at"]),
    ("auth_recovery_code", &["account_id"]),
    ("auth_api_key", &["account_id"]),
    ("auth_api_key", &["expires_at"]),
    ("auth_api_key", &["ended_at"]),
    ("auth_trusted_device", &["account_id"]),
    ("auth_trusted_device", &["expires_at"]),
    ("auth_totp", &["account_id"]),
    ("auth_totp", &["key_id", "id"]),
    ("auth_totp", &["confirmed_at", "created_at"]),
    ("auth_device_request", &["account_id"]),
    ("auth_device_request", &["expires_at"]),
    ("auth_dpop_proof", &["expires_at"]),
    ("auth_passkey", &["account_id"]),
    ("auth_passkey_challenge", &["account_id"]),
    ("auth_passkey_challenge", &["expires_at"]),
    ("auth_provider_identity", &["account_id"]),
    ("auth_provider_flow", &["account_id"]),
    ("auth_provider_flow", &["expires_at"]),
    ("auth_pending_identity", &["account_id"]),
    ("auth_pending_identity", &["browser"]),
    ("auth_pending_identity", &["expires_at"]),
    ("auth_provider_session", &["account_id"]),
    ("auth_provider_session", &["identity"]),
    ("auth_provider_session", &["provider_session"]),
    ("auth_provider_session", &["expires_at"]),
    ("auth_logout_token", &["expires_at"]),
];

fn described() -> Shapes {
    portcullis::schema::tables()
        .into_iter()
        .map(|table| {
            let columns = table.columns.iter().map(|column| {
                let family = match &column.kind {
                    ColumnType::Uuid => "uuid",
                    ColumnType::String(_) | ColumnType::Text => "text",
                    ColumnType::BigInteger => "bigint",
                    ColumnType::SmallInteger => "smallint",
                    ColumnType::Boolean => "boolean",
                    ColumnType::Binary(32) => "bytes",
                    other => panic!("{}.{}: {other:?}", table.name, column.name),
                };
                (column.name.clone(), (family, column.nullable))
            });
            let unique = table.columns.iter().filter(|column| column.unique);
            let shape = Shape {
                columns: columns.collect(),
                primary_key: table.primary_key.clone(),
                foreign_keys: table.foreign_keys.iter().cloned().collect(),
                unique: unique.map(|column| vec![column.name.clone()]).collect(),
            };
            (table.name, shape)
        })
        .collect()
}

async fn ask(db: &DatabaseConnection, query: &str) -> Vec<QueryResult> {
    let statement = Statement::from_string(db.get_database_backend(), query.to_owned());
    db.query_all_raw(statement).await.expect("the catalog answers")
}

fn text(row: &QueryResult, at: usize) -> String {
    row.try_get_by_index(at).expect("a text")
}

fn number(row: &QueryResult, at: usize) -> i64 {
    row.try_get_by_index::<i64>(at)
        .or_else(|_| row.try_get_by_index::<i32>(at).map(i64::from))
        .expect("a number")
}

/// Returns the names of the existing tables.
async fn tables(backend: Backend, db: &DatabaseConnection) -> BTreeSet<String> {
    let query = match backend {
        Backend::Sqlite => {
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        }
        Backend::Postgres => "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
        Backend::MySql => {
            "SELECT CAST(table_name AS CHAR) FROM information_schema.tables \
             WHERE table_schema = DATABASE()"
        }
    };
    ask(db, query).await.iter().map(|row| text(row, 0)).collect()
}

/// An index in the catalogs: table, name, whether it is unique, whether it is the primary key, and
/// column.
type IndexRow = (String, String, bool, bool, String);

async fn index_rows(backend: Backend, db: &DatabaseConnection) -> Vec<IndexRow> {
    let query = match backend {
        // `origin` identifies a primary key, for which SQLite keeps a separate index.
        Backend::Sqlite => {
            "SELECT t.name, l.name, l.\"unique\", l.origin = 'pk', c.name \
             FROM sqlite_schema t, pragma_index_list(t.name) l, pragma_index_info(l.name) c \
             WHERE t.type = 'table' AND t.name LIKE 'auth%' ORDER BY t.name, l.name, c.seqno"
        }
        Backend::Postgres => {
            "SELECT t.relname::text, i.relname::text, x.indisunique::int, x.indisprimary::int, \
             a.attname::text FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid \
             JOIN pg_class i ON i.oid = x.indexrelid \
             CROSS JOIN LATERAL unnest(x.indkey) WITH ORDINALITY AS k(attnum, place) \
             JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum \
             WHERE t.relname LIKE 'auth%' ORDER BY t.relname, i.relname, k.place"
        }
        Backend::MySql => {
            "SELECT CAST(table_name AS CHAR), CAST(index_name AS CHAR), \
             CAST(non_unique = 0 AS SIGNED), CAST(index_name = 'PRIMARY' AS SIGNED), \
             CAST(column_name AS CHAR) FROM information_schema.statistics \
             WHERE table_schema = DATABASE() ORDER BY table_name, index_name, seq_in_index"
        }
    };
    let row = |row: &QueryResult| {
        let (unique, primary) = (number(row, 2) == 1, number(row, 3) == 1);
        (text(row, 0), text(row, 1), unique, primary, text(row, 4))
    };
    ask(db, query).await.iter().map(row).collect()
}

/// Returns table, column, type and whether it is nullable.
async fn column_rows(
    backend: Backend,
    db: &DatabaseConnection,
) -> Vec<(String, String, String, bool)> {
    let query = match backend {
        Backend::Sqlite => {
            "SELECT t.name, c.name, lower(c.type), c.\"notnull\" = 0 \
             FROM sqlite_schema t, pragma_table_info(t.name) c \
             WHERE t.type = 'table' AND t.name LIKE 'auth%'"
        }
        Backend::Postgres => {
            "SELECT table_name::text, column_name::text, data_type::text, \
             (is_nullable = 'YES')::int FROM information_schema.columns \
             WHERE table_schema = 'public' AND table_name LIKE 'auth%'"
        }
        Backend::MySql => {
            "SELECT CAST(table_name AS CHAR), CAST(column_name AS CHAR), \
             CAST(column_type AS CHAR), CAST(is_nullable = 'YES' AS SIGNED) \
             FROM information_schema.columns WHERE table_schema = DATABASE()"
        }
    };
    let row = |row: &QueryResult| (text(row, 0), text(row, 1), text(row, 2), number(row, 3) == 1);
    ask(db, query).await.iter().map(row).collect()
}

/// Returns table, column, other table, other column, and the effect of deleting.
async fn foreign_key_rows(
    backend: Backend,
    db: &DatabaseConnection,
) -> Vec<(String, String, String, String, bool)> {
    let query = match backend {
        Backend::Sqlite => {
            "SELECT t.name, f.\"from\", f.\"table\", f.\"to\", f.on_delete = 'CASCADE' \
             FROM sqlite_schema t, pragma_foreign_key_list(t.name) f WHERE t.type = 'table'"
        }
        Backend::Postgres => {
            "SELECT t.relname::text, a.attname::text, o.relname::text, b.attname::text, \
             (c.confdeltype = 'c')::int FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid \
             JOIN pg_class o ON o.oid = c.confrelid \
             JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = c.conkey[1] \
             JOIN pg_attribute b ON b.attrelid = o.oid AND b.attnum = c.confkey[1] \
             WHERE c.contype = 'f'"
        }
        Backend::MySql => {
            "SELECT CAST(k.table_name AS CHAR), CAST(k.column_name AS CHAR), \
             CAST(k.referenced_table_name AS CHAR), CAST(k.referenced_column_name AS CHAR), \
             CAST(r.delete_rule = 'CASCADE' AS SIGNED) \
             FROM information_schema.key_column_usage k \
             JOIN information_schema.referential_constraints r \
             ON r.constraint_schema = k.table_schema AND r.constraint_name = k.constraint_name \
             WHERE k.table_schema = DATABASE() AND k.referenced_table_name IS NOT NULL"
        }
    };
    let row = |row: &QueryResult| {
        (text(row, 0), text(row, 1), text(row, 2), text(row, 3), number(row, 4) == 1)
    };
    ask(db, query).await.iter().map(row).collect()
}

fn family(backend: Backend, kind: &str) -> &'static str {
    let (name, _) = kind.split_once('(').unwrap_or((kind, ""));
    match (backend, name, kind) {
        (Backend::Postgres, "uuid", _)
        | (Backend::MySql, _, "binary(16)")
        | (Backend::Sqlite, "uuid_text", _) => "uuid",
        (Backend::Postgres, "bytea", _)
        | (Backend::MySql, _, "binary(32)")
        | (Backend::Sqlite, "blob" | "binary_blob", _) => "bytes",
        (Backend::Postgres, "character varying" | "text", _)
        | (Backend::MySql | Backend::Sqlite, "varchar" | "text", _) => "text",
        (_, "bigint", _) | (Backend::Sqlite, "integer", _) => "bigint",
        (_, "smallint", _) => "smallint",
        (Backend::MySql, _, "tinyint(1)") | (Backend::Postgres | Backend::Sqlite, "boolean", _) => {
            "boolean"
        }
        _ => panic!("the catalog names the type {kind:?}"),
    }
}

/// Returns what the catalogs contain about the tables of portcullis, without its bookkeeping table
/// and the application's tables.
pub(crate) async fn catalog(
    backend: Backend,
    db: &DatabaseConnection,
) -> (Shapes, BTreeSet<(String, Vec<String>)>) {
    let mut shapes = Shapes::new();
    for (table, column, kind, nullable) in column_rows(backend, db).await {
        if table == "auth_migration" || !table.starts_with("auth_") {
            continue;
        }
        let shape = shapes.entry(table).or_default();
        shape.columns.insert(column, (family(backend, &kind), nullable));
    }
    let mut indexes: BTreeMap<(String, String, bool, bool), Vec<String>> = BTreeMap::new();
    for (table, name, unique, primary, column) in index_rows(backend, db).await {
        indexes.entry((table, name, unique, primary)).or_default().push(column);
    }
    let mut lookups = BTreeSet::new();
    for ((table, _, unique, primary), columns) in indexes {
        let Some(shape) = shapes.get_mut(&table) else { continue };
        match (unique, primary) {
            (_, true) => shape.primary_key = columns,
            (true, _) => assert!(shape.unique.insert(columns), "{table} has one key twice"),
            _ => assert!(lookups.insert((table, columns)), "one index twice"),
        }
    }
    for (table, column, to, at, cascades) in foreign_key_rows(backend, db).await {
        let shape = shapes.get_mut(&table).expect("its columns were listed");
        shape.foreign_keys.insert((column, to, at, cascades));
    }
    (shapes, lookups)
}

pub(crate) async fn check(backend: Backend, db: &DatabaseConnection) {
    let (shapes, lookups) = catalog(backend, db).await;
    let described = described();
    for (name, shape) in &described {
        assert_eq!(shapes.get(name), Some(shape), "{name}");
    }
    let names = |shapes: &Shapes| shapes.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&shapes), names(&described));
    let wanted = LOOKUPS.iter().map(|(table, columns)| {
        ((*table).to_owned(), columns.iter().map(|column| (*column).to_owned()).collect())
    });
    assert_eq!(lookups, wanted.collect());

    for (name, shape) in &shapes {
        // A key with a nullable column does not guarantee uniqueness.
        for column in shape.unique.iter().flatten().chain(&shape.primary_key) {
            assert!(!shape.columns[column].1, "{name}.{column} may be empty and is part of a key");
        }
    }
}

async fn migrate_beside_a_host(backend: Backend) {
    let (url, _directory) = fresh(backend).await;
    // One connection. A second connection of SQLite remembers an index that the first one has dropped
    // with its table, and then refuses to create it. It reads the schema again only if a table is missing.
    let db = connect_at_most(&url, 1).await;
    // An application that uses the bookkeeping table of sea-orm, and has a table of its own.
    for own in [
        "CREATE TABLE seaql_migrations (version VARCHAR(255) NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)",
        "INSERT INTO seaql_migrations VALUES ('m20260101_the_hosts', 7)",
        "CREATE TABLE authors (id BIGINT NOT NULL PRIMARY KEY)",
    ] {
        db.execute_unprepared(own).await.expect("the host's table is made");
    }
    let hosts: BTreeSet<String> = ["seaql_migrations", "authors"].map(str::to_owned).into();
    let ours: BTreeSet<String> =
        described().into_keys().chain(["auth_migration".to_owned()]).collect();
    let applied = "SELECT COUNT(*) FROM auth_migration";
    let count = Migrator::migrations().len() as i64;

    Migrator::up(&db, None).await.expect("they go up");
    let first = catalog(backend, &db).await;
    check(backend, &db).await;
    assert_eq!(tables(backend, &db).await, &hosts | &ours);
    assert_eq!(number(&ask(&db, applied).await[0], 0), count);
    Migrator::up(&db, None).await.expect("again changes nothing");
    assert_eq!(number(&ask(&db, applied).await[0], 0), count);
    let epoch = ask(&db, "SELECT id, epoch FROM auth_epoch").await;
    assert_eq!(epoch.len(), 1);
    let first_epoch: (i16, i64) = (
        epoch[0].try_get_by_index(0).expect("a number"),
        epoch[0].try_get_by_index(1).expect("a number"),
    );
    assert_eq!(first_epoch, (1, 0));

    Migrator::down(&db, None).await.expect("they go down");
    let mut left = hosts.clone();
    left.insert("auth_migration".to_owned());
    assert_eq!(tables(backend, &db).await, left);
    assert_eq!(number(&ask(&db, applied).await[0], 0), 0);

    // Also one by one, down and up.
    for done in 1..=count {
        Migrator::up(&db, Some(1)).await.expect("one goes up");
        assert_eq!(number(&ask(&db, applied).await[0], 0), done);
    }
    for left in (0..count).rev() {
        Migrator::down(&db, Some(1)).await.expect("one goes down");
        assert_eq!(number(&ask(&db, applied).await[0], 0), left);
    }
    Migrator::up(&db, None).await.expect("they go up again");
    check(backend, &db).await;
    assert_eq!(catalog(backend, &db).await, first);
    assert_eq!(tables(backend, &db).await, &hosts | &ours);

    let kept = ask(&db, "SELECT version, applied_at FROM seaql_migrations").await;
    assert_eq!(kept.len(), 1);
    let row: (String, i64) = (text(&kept[0], 0), number(&kept[0], 1));
    assert_eq!(row, ("m20260101_the_hosts".to_owned(), 7));
    db.close().await.expect("the connection closes");
    drop_fresh(backend, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_migrations_go_up_and_down_beside_a_hosts_own_on_sqlite() {
    migrate_beside_a_host(Backend::Sqlite).await;
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_migrations_go_up_and_down_beside_a_hosts_own_on_postgres() {
    migrate_beside_a_host(Backend::Postgres).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_migrations_go_up_and_down_beside_a_hosts_own_on_mysql() {
    migrate_beside_a_host(Backend::MySql).await;
}

#[test]
fn the_entities_describe_every_table_with_its_keys() {
    let described = described();
    // The list of tables that are emptied between tests has all tables except the epoch, whose row
    // stays.
    let emptied: BTreeSet<&str> = TABLES.into_iter().chain(["auth_epoch"]).collect();
    assert_eq!(described.keys().map(String::as_str).collect::<BTreeSet<_>>(), emptied);
    let foreign_keys: Vec<_> = described
        .iter()
        .flat_map(|(name, shape)| {
            shape.foreign_keys.iter().map(move |(column, table, to, cascades)| {
                assert!(*cascades, "{name}.{column}");
                format!("{name}.{column} -> {table}.{to}")
            })
        })
        .collect();
    assert_eq!(
        foreign_keys,
        [
            "auth_account_group.account_id -> auth_account.id",
            "auth_account_group.group_id -> auth_group.id",
            "auth_account_permission.account_id -> auth_account.id",
            "auth_account_recovery.account_id -> auth_account.id",
            "auth_account_role.account_id -> auth_account.id",
            "auth_account_role.role_id -> auth_role.id",
            "auth_api_key.account_id -> auth_account.id",
            "auth_challenge.account_id -> auth_account.id",
            "auth_device_digest.account_id -> auth_account.id",
            "auth_device_request.account_id -> auth_account.id",
            "auth_former_address.account_id -> auth_account.id",
            "auth_group_role.group_id -> auth_group.id",
            "auth_group_role.role_id -> auth_role.id",
            "auth_login_name.account_id -> auth_account.id",
            "auth_membership.account_id -> auth_account.id",
            "auth_membership_turn.account_id -> auth_account.id",
            "auth_passkey.account_id -> auth_account.id",
            "auth_passkey_challenge.account_id -> auth_account.id",
            "auth_passkey_user.account_id -> auth_account.id",
            "auth_pending_identity.account_id -> auth_account.id",
            "auth_provider_flow.account_id -> auth_account.id",
            "auth_provider_identity.account_id -> auth_account.id",
            "auth_provider_session.account_id -> auth_account.id",
            "auth_recovery_code.account_id -> auth_account.id",
            "auth_session.account_id -> auth_account.id",
            "auth_told_place.account_id -> auth_account.id",
            "auth_totp.account_id -> auth_account.id",
            "auth_trusted_device.account_id -> auth_account.id",
        ]
    );
}

/// Only MySQL and MariaDB have a character set and collation per column, which could be wrong.
///
/// `auth_migration` is left out: sea-orm creates it, with the collation of the database. Its text
/// column contains the names of our migrations and nothing that a person types. These names differ in
/// their numbers, so they are equal under no collation.
#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_text_column_compares_byte_by_byte_on_mysql() {
    crate::support::probe::run(Backend::MySql, |probe: Probe| async move {
        let rows = ask(
            &probe.db,
            "SELECT CAST(table_name AS CHAR), CAST(column_name AS CHAR), \
             CAST(character_set_name AS CHAR), CAST(collation_name AS CHAR) \
             FROM information_schema.columns WHERE table_schema = DATABASE() \
             AND character_set_name IS NOT NULL AND table_name <> 'auth_migration'",
        )
        .await;
        let described = described();
        let mut texts: Vec<String> = Vec::new();
        for (table, shape) in &described {
            let columns = shape.columns.iter().filter(|(_, (family, _))| *family == "text");
            texts.extend(columns.map(|(column, _)| format!("{table}.{column}")));
        }
        let mut found: Vec<_> =
            rows.iter().map(|row| format!("{}.{}", text(row, 0), text(row, 1))).collect();
        texts.sort();
        found.sort();
        assert_eq!(found, texts);
        for row in &rows {
            let column = format!("{}.{}", text(row, 0), text(row, 1));
            assert_eq!(
                (text(row, 2).as_str(), text(row, 3).as_str()),
                ("utf8mb4", "utf8mb4_bin"),
                "{column}"
            );
        }
    })
    .await;
}

on_every_database! {
    async fn names_that_differ_in_case_meet_and_those_that_differ_in_an_accent_do_not(probe: Probe) {
        let accounts = probe.auth.accounts();
        accounts.create(NewAccount::username("Alice")).await.expect("it is made");
        for twin in ["alice", "ALICE", "aLiCe", "Ａｌｉｃｅ"] {
            let refused = accounts.create(NewAccount::username(twin)).await;
            assert!(matches!(refused, Err(AccountError::Taken(_))), "{twin}: {refused:?}");
        }
        for other in ["alicé", "alıce", "älice", "alice_", "alice-", "alice.", "а1ice"] {
            accounts.create(NewAccount::username(other)).await.expect(other);
        }
        for spaced in ["alice ", " alice", "alice\t", "alice\n", "alice\u{a0}", "alice\u{3000}", "alice\u{200b}"] {
            let refused = accounts.create(NewAccount::username(spaced)).await;
            assert!(matches!(refused, Err(AccountError::Taken(_))), "{spaced:?}: {refused:?}");
        }
        for spaced in ["al ice", "al\u{a0}ice", "al\u{200b}ice", " "] {
            let refused = accounts.create(NewAccount::username(spaced)).await;
            assert!(matches!(refused, Err(AccountError::Invalid(_))), "{spaced:?}: {refused:?}");
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account").await, 8);
    }

    async fn the_keys_themselves_tell_case_and_accents_apart(probe: Probe) {
        // Writes the keys directly, without the normal form, as an import or another program does.
        let alice = probe.register("zoe").await;
        assert_eq!(alice.username(), Some("zoe"));
        let insert = |normal: &str| {
            format!(
                "INSERT INTO auth_login_name (normal, account_id, kind, created_at) \
                 SELECT '{normal}', id, 1, 0 FROM auth_account"
            )
        };
        for normal in ["alice", "Alice", "alicé", "ALICE", "straße", "strasse", "ﬁ", "fi"] {
            probe.execute(&insert(normal)).await;
        }
        for normal in ["alice", "alicé", "straße"] {
            let again = probe.db.execute_unprepared(&insert(normal)).await;
            assert!(again.is_err(), "{normal}");
        }
        for (normal, found) in [("alice", 1), ("ALICE", 1), ("aLICE", 0), ("alicè", 0)] {
            let query = format!("SELECT COUNT(*) FROM auth_login_name WHERE normal = '{normal}'");
            assert_eq!(probe.number(&query).await, found, "{normal}");
        }
    }

    async fn an_account_that_is_removed_takes_what_belongs_to_it_along_and_leaves_the_log(probe: Probe) {
        let (alice, _) = probe.signed_in("alice").await;
        let (bob, mut browser) = probe.signed_in("bob").await;
        probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
        for account in [alice.id(), bob.id()] {
            probe.auth.roles().grant(account, "editor").await.expect("it is granted");
        }
        let events = probe.number("SELECT COUNT(*) FROM auth_event").await;
        probe.execute("DELETE FROM auth_account WHERE username = 'alice'").await;
        for (table, left) in
            [("auth_login_name", 1), ("auth_session", 2), ("auth_account_role", 1), ("auth_role", 1)]
        {
            let count = format!("SELECT COUNT(*) FROM {table}");
            assert_eq!(probe.number(&count).await, left, "{table}");
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_event").await, events);
        assert_eq!(browser.get("/admin").await.status, 200);
    }
}
