//! Maintenance: every row is deleted when its time has passed and not before. This holds on every
//! database, next to other nodes and live traffic.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use data_encoding::BASE64URL_NOPAD;
use http::Method;
use portcullis::account::{AccountState, NewAccount};
use portcullis::account_import::ImportedAccount;
use portcullis::account_recovery::{NewRecovery, RecoveryActor};
use portcullis::config::Registration;
use portcullis::maintenance::MaintenanceReport;
use portcullis::rate_limit::Quota;
use portcullis::registration::Application;
use portcullis::test_kit::StatementCounter;
use portcullis::{
    ClientInfo, Clock, Config, Fault, PeerAddr, Portcullis, Secret, SystemClock, Timestamp,
};
use portcullis_migration::{Migrator, MigratorTrait};
use portcullis_test_needs::needs;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, Value};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::on_every_database;
use crate::support::call::{call, request};
use crate::support::database::{TABLES, connect, drop_fresh, fresh};
use crate::support::fault::without_events;
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe, until};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

/// Returns the number of rows of each table that is not empty.
async fn rows(probe: &Probe) -> BTreeMap<&'static str, i64> {
    let mut rows = BTreeMap::new();
    for table in TABLES {
        let count = probe.number(&format!("SELECT COUNT(*) FROM {table}")).await;
        if count > 0 {
            rows.insert(table, count);
        }
    }
    rows
}

fn strict(probe: Probe) -> Probe {
    probe.configured(|config| {
        config.login.registration = Registration::Strict;
        config.login.require_verified = true;
    })
}

/// Sends each kind of request that a stranger can send for an address, once.
async fn ask_for_everything(probe: &Probe, address: &str) {
    let mut browser = probe.browser().await;
    let wrong = "not the right password";
    browser.login(address, wrong).await;
    for (path, body) in [
        ("/auth/verification", json!({ "email": address })),
        ("/auth/verification/confirm", json!({ "email": address, "code": "12345678" })),
        ("/auth/password/forgot", json!({ "login": address })),
        ("/auth/password/reset", json!({ "token": "A".repeat(43), "password": PASSWORD })),
        ("/auth/session/anonymous", json!({})),
    ] {
        let request = browser.request(Method::POST, path).json(&body);
        let answer = browser.stranger().send(request).await;
        assert!(answer.status < 500, "{path}: {} {}", answer.status, answer.text);
    }
}

/// The quotas of one source. They are like the defaults but smaller.
const REGISTRATIONS: i64 = 6;
const MESSAGES: i64 = 8;
const TRIES: i64 = 10;
const VISITORS: i64 = 5;
const REQUESTS: i64 = 600;

/// Returns the maximum number of rows that one source leaves in one minute with [`ask_from`].
fn bound(table: &str) -> i64 {
    match table {
        "auth_account" | "auth_login_name" => REGISTRATIONS,
        // In the open mode a registration also signs in.
        "auth_session" => VISITORS + REGISTRATIONS,
        "auth_challenge" | "auth_challenge_start" | "auth_outbox" | "auth_outbox_limit" => MESSAGES,
        // An attempt at a code has two rows. Each kind also has one row that a full source updates.
        "auth_attempt" => 2 * TRIES + 4,
        // Each registration has two events. Each exceeded limit has one: registrations, messages,
        // visitors, and guesses at many names.
        "auth_event" => TRIES + 2 * REGISTRATIONS + VISITORS + MESSAGES + 4,
        _ => 0,
    }
}

/// Sends every kind of request that a stranger can send, once, from one source.
async fn ask_from(app: &Router, source: &str, address: &str) -> Vec<u16> {
    let wrong = "not the right password";
    let token = BASE64URL_NOPAD.encode(&Sha256::digest(address));
    let mut statuses = Vec::new();
    for (path, body) in [
        ("/auth/register", json!({ "email": address, "password": PASSWORD })),
        ("/auth/login", json!({ "login": address, "password": wrong })),
        ("/auth/verification", json!({ "email": address })),
        ("/auth/verification/confirm", json!({ "email": address, "code": "12345678" })),
        ("/auth/verification/confirm", json!({ "token": token, "password": wrong })),
        ("/auth/password/forgot", json!({ "login": address })),
        ("/auth/password/reset/check", json!({ "token": token })),
        ("/auth/password/reset", json!({ "token": token, "password": PASSWORD })),
        ("/auth/session/anonymous", json!({})),
        ("/auth/session/refresh", json!({})),
    ] {
        let request = request("POST", path)
            .header("content-type", "application/json")
            .extension(PeerAddr(source.parse().expect("an address")));
        let request = request.body(Body::from(body.to_string())).expect("a request");
        let answer = call(app, request).await;
        assert!(answer.status < 500, "{path}: {} {}", answer.status, answer.text);
        statuses.push(answer.status);
    }
    statuses
}

/// The clock of a node, ahead of the real time by this many milliseconds.
#[derive(Debug)]
struct Ahead(i64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().as_millis() + self.0)
    }
}

on_every_database! {
    async fn a_node_whose_clock_differs_from_that_of_the_database_tells_the_operator(probe: Probe) {
        let found = |auth: &Portcullis| {
            let found = auth.audit().into_iter().find(|found| found.code == "database_clock_skew");
            found.map(|found| found.text)
        };
        let node = |ahead: i64| probe.rebuilt(|builder| builder.clock(Ahead(ahead)));
        for (ahead, expected) in [
            (0, None),
            (60_000, Some("60 s ahead of")),
            (-60_000, Some("60 s behind")),
            (86_400_000, Some("86400 s ahead of")),
        ] {
            let auth = node(ahead);
            assert_eq!(found(&auth), None);
            auth.maintenance().run().await.expect("it runs");
            let text = found(&auth);
            assert_eq!(text.is_some(), expected.is_some(), "{ahead}: {text:?}");
            let text = text.unwrap_or_default();
            // A slow answer only makes the difference look smaller.
            assert!(expected.is_none_or(|expected| {
                let seconds = ahead.abs() / 1000;
                let near = (seconds - 20..=seconds).map(|it| expected.replace(&seconds.to_string(), &it.to_string()));
                near.into_iter().any(|near| text.contains(&near))
            }), "{ahead}: {text}");
        }
        // A clock that a test moves is not the real time.
        probe.auth.maintenance().run().await.expect("it runs");
        assert_eq!(found(&probe.auth), None);
    }

    async fn what_one_source_leaves_has_a_bound_for_each_minute(probe: Probe) {
        let smaller = |config: &mut portcullis::Config| {
            let many = |count: i64| u32::try_from(count).expect("a count");
            config.rate.per_source = Some(Quota::per_minute(many(REQUESTS)));
            config.rate.registrations = Some(Quota::new(many(REGISTRATIONS), HOUR));
            config.mail.per_source = Some(Quota::new(many(MESSAGES), HOUR));
            config.attempts.source_limit = Some(many(TRIES));
            config.session.anonymous_per_minute = many(VISITORS);
            let watch = config.attempts.watch.get_or_insert_default();
            (watch.names_per_network, watch.least_failures) = (10, 10);
        };
        for number in 0..90 {
            let account = NewAccount::email(format!("known{number}@example.com")).verified();
            probe.auth.registration().create(account, PASSWORD).await.expect("it is made");
        }
        let open = || probe.rebuilt(|builder| builder.configure(smaller));
        let strict = || probe.rebuilt(|builder| builder.configure(|config| {
            smaller(config);
            config.login.registration = Registration::Strict;
            config.login.require_verified = true;
        }));
        let silent = || {
            let builder = Portcullis::builder(probe.db.clone()).secret(probe.secret.clone());
            let builder = builder.clock(probe.clock.clone()).configure(|config| {
                smaller(config);
                config.password.danger_cheap_hashing = true;
                (config.password.memory_kib, config.password.iterations) = (8, 1);
                config.database.timeout = Duration::from_secs(20);
            });
            builder.build().expect("the configuration is right")
        };
        let nodes: [(&str, &dyn Fn() -> Portcullis); 3] = [("open", &open), ("strict", &strict), ("silent", &silent)];
        for (at, (mode, node)) in nodes.into_iter().enumerate() {
            for (of, name) in ["known", "unknown"].into_iter().enumerate() {
                // Rates are kept per instance. This one is new.
                let auth = node();
                let app = app(&auth);
                let source = format!("192.0.2.{}", at * 2 + of);
                let ask = async |numbers: std::ops::Range<usize>| {
                    let mut statuses = Vec::new();
                    for number in numbers {
                        let name = if of == 0 { format!("known{number}") } else { format!("{name}{mode}{number}") };
                        statuses.extend(ask_from(&app, &source, &format!("{name}@example.com")).await);
                    }
                    auth.drain().await;
                    statuses
                };
                let before = rows(&probe).await;
                ask(0..30).await;
                let full = rows(&probe).await;
                for (table, count) in &full {
                    let added = count - before.get(table).unwrap_or(&0);
                    assert!(added <= bound(table), "{mode} {name}: {table} has {added} more");
                }
                // Each of these requests exceeds a limit, and leaves no row.
                ask(30..50).await;
                assert_eq!(rows(&probe).await, full, "{mode} {name}");
                // The last requests exceed the request rate, which writes one event.
                let mut statuses = ask(50..90).await;
                // Without mail there are no routes for a forgotten password.
                statuses.retain(|status| *status != 404);
                assert!(statuses.ends_with(&[429; 20]), "{mode} {name}: {statuses:?}");
                let mut expected = full.clone();
                *expected.get_mut("auth_event").expect("events") += 1;
                assert_eq!(rows(&probe).await, expected, "{mode} {name}");
            }
        }
    }

    async fn a_strict_registration_leaves_the_same_for_any_address_but_the_account_of_a_free_one(probe: Probe) {
        let probe = strict(probe);
        for (name, proved) in [("proved", true), ("waiting", false)] {
            let account = NewAccount::email(format!("{name}@example.com"));
            let account = if proved { account.verified() } else { account };
            probe.auth.registration().create(account, PASSWORD).await.expect("it is made");
        }
        let mut left = BTreeMap::new();
        for name in ["free", "waiting", "proved"] {
            let before = rows(&probe).await;
            let account = NewAccount::email(format!("{name}@example.com"));
            let application = Application::new(account, PASSWORD);
            probe.auth.registration().apply(application, &ClientInfo::default()).await.expect("it is taken");
            let mut more = rows(&probe).await;
            more.retain(|table, count| before.get(table) != Some(&*count));
            assert_eq!(more.contains_key("auth_account"), name == "free");
            left.insert(name, more.into_keys().collect::<Vec<_>>());
        }
        let taken =
            ["auth_challenge", "auth_challenge_start", "auth_event", "auth_outbox", "auth_outbox_limit"];
        assert_eq!((&*left["waiting"], &*left["proved"]), (&taken[..], &taken[..]));
        let account = ["auth_account", "auth_login_name"];
        left.get_mut("free").expect("its rows").retain(|table| !account.contains(table));
        assert_eq!(left["free"], taken);
    }

    async fn it_is_run_again_and_again(probe: Probe) {
        let task = tokio::spawn(probe.auth.maintenance().every(Duration::ZERO));
        for _ in 0..2 {
            probe.clock.advance(HOUR);
            let now = Some(probe.auth_now());
            while probe.auth.maintenance().last_run().await.expect("it answers") != now {
                tokio::task::yield_now().await;
            }
        }
        task.abort();
    }

    async fn what_strangers_leave_is_the_same_for_known_and_unknown_and_gone_within_a_day(probe: Probe) {
        let probe = probe.configured(|config| config.retention.events = Some(2 * DAY));
        let account = NewAccount::email("known@example.com").verified();
        probe.auth.registration().create(account, PASSWORD).await.expect("it is made");
        let account_alone = rows(&probe).await;
        let mut left = Vec::new();
        for address in ["known@example.com", "unknown@example.com"] {
            let before = rows(&probe).await;
            ask_for_everything(&probe, address).await;
            let after = rows(&probe).await;
            let added: Vec<_> = after
                .into_iter()
                .map(|(table, count)| (table, count - before.get(table).unwrap_or(&0)))
                .filter(|(_, count)| *count > 0)
                .collect();
            left.push(added);
            probe.mail().await;
        }
        // The first round also creates rows that stay, such as the row of a visitor's source.
        assert_eq!(left[0], left[1]);
        assert!(left[0].len() >= 5, "{left:?}");

        // A day after the last of it expired. A row may stay while it can still be used.
        probe.clock.advance(DAY + DAY);
        let report = probe.auth.maintenance().run().await.expect("it runs");
        assert!(!report.left_to_another && report.challenges > 0 && report.messages > 0, "{report}");
        let mut expected = account_alone.clone();
        let left = rows(&probe).await;
        // Events have a retention time of their own. The run itself writes one event.
        expected.insert("auth_event", left["auth_event"]);
        expected.insert("auth_maintenance", 1);
        assert_eq!(left, expected);
        probe.clock.advance(2 * DAY + Duration::from_millis(1));
        probe.auth.maintenance().run().await.expect("it runs");
        assert_eq!(rows(&probe).await["auth_event"], 1, "what the run itself says");
    }

    async fn each_table_keeps_what_is_of_use_and_loses_what_is_over(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        other.post_empty("/auth/logout").await;
        assert_eq!(browser.get("/admin").await.status, 403);
        probe.auth.audit_log().flush().await;
        let run = async || probe.auth.maintenance().run().await.expect("it runs");
        assert_eq!(run().await.total(), 0, "nothing is over yet");

        // The session is used and renewed each day. Only the ended session is deleted, after seven
        // days.
        let mut removed = Vec::new();
        for day in 1..=31 {
            probe.clock.advance(DAY);
            if day < 30 {
                assert_eq!(browser.get("/me").await.status, 200, "day {day}");
            }
            let report = run().await;
            for (what, count) in [
                ("sessions", report.sessions),
                ("attempts", report.attempts),
                ("denials", report.denials),
            ] {
                if count > 0 {
                    removed.push((day, what, count));
                }
            }
        }
        // The attempts of the first day, and the denial after 30 days.
        assert_eq!(removed, [(1, "attempts", 2), (7, "sessions", 1), (31, "denials", 1)]);
        probe.clock.advance(7 * DAY);
        let report = run().await;
        assert_eq!((report.sessions, report.accounts), (2, 0), "{report}");
        probe.clock.advance(180 * DAY);
        assert!(run().await.events > 0);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account").await, 1);
    }

    async fn what_owners_were_told_of_new_devices_goes_after_thirty_days(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        let browser = probe.browser().await;
        for _ in 0..3 {
            assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
        }
        let told = async || {
            let rows = rows(&probe).await;
            ["auth_told_place", "auth_device_digest"].map(|table| rows.get(table).copied())
        };
        let run = async || probe.auth.maintenance().run().await.expect("it runs");
        assert_eq!(told().await, [Some(1), Some(1)]);
        probe.clock.advance(30 * DAY - Duration::from_millis(1));
        run().await;
        assert_eq!(told().await, [Some(1), Some(1)]);
        probe.clock.advance(Duration::from_millis(1));
        run().await;
        assert_eq!(told().await, [None, None]);
    }

    async fn an_account_that_nobody_proved_goes_and_every_other_stays(probe: Probe) {
        let probe = strict(probe);
        let auth = &probe.auth;
        let register = async |email: &str| {
            let application = Application::new(NewAccount::email(email), PASSWORD);
            auth.registration().apply(application, &ClientInfo::default()).await.expect("it is taken");
        };
        register("squatter@example.com").await;
        register("proved@example.com").await;
        register("by-hand@example.com").await;
        let made = NewAccount::email("made@example.com");
        auth.registration().create(made, PASSWORD).await.expect("an administrator makes it");
        let id = uuid::Uuid::from_u128(7).into();
        let imported = [ImportedAccount::new(id).email("imported@example.com")];
        auth.account_import().run(imported, |_| {}).await.expect("it is imported");
        let proved = auth.accounts().find_by_login("proved@example.com").await.expect("it answers");
        auth.accounts().verify(proved.expect("an account").id()).await.expect("it is verified");
        // An administrator's statement verifies the address, without ending the trial of the
        // account.
        probe.execute(
            "UPDATE auth_login_name SET verified_at = 1 WHERE normal = 'by-hand@example.com'"
        ).await;

        let left = async || {
            let mut left = Vec::new();
            for name in ["squatter", "proved", "by-hand", "made", "imported"] {
                let found = auth.accounts().find_by_login(&format!("{name}@example.com")).await;
                if found.expect("it answers").is_some() {
                    left.push(name);
                }
            }
            left
        };
        probe.clock.advance(7 * DAY - Duration::from_secs(1));
        assert_eq!(auth.maintenance().run().await.expect("it runs").accounts, 0);
        assert_eq!(left().await.len(), 5);
        probe.clock.advance(Duration::from_secs(2));
        assert_eq!(auth.maintenance().run().await.expect("it runs").accounts, 1);
        assert_eq!(left().await, ["proved", "by-hand", "made", "imported"]);
        let trials = "SELECT COUNT(*) FROM auth_account WHERE on_trial_since IS NOT NULL";
        assert_eq!(probe.number(trials).await, 0, "nobody is looked at twice");
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'user_removed'";
        assert_eq!(probe.number(events).await, 1);
        // The address is free again, and its owner can register.
        register("squatter@example.com").await;
        assert_eq!(left().await.len(), 5);

        // If unverified accounts can be used, no account is on trial.
        let open = probe.rebuilt(|builder| builder);
        let application = Application::new(NewAccount::email("open@example.com"), PASSWORD);
        open.registration().register(application, &ClientInfo::default()).await.expect("it is made");
        probe.clock.advance(400 * DAY);
        assert_eq!(auth.maintenance().run().await.expect("it runs").accounts, 1, "the squatter's");
        assert!(open.accounts().find_by_login("open@example.com").await.expect("it answers").is_some());
    }

    async fn an_account_that_the_database_keeps_stays_and_stops_nobody(probe: Probe) {
        let probe = strict(probe);
        for name in ["key", "restrict", "trigger", "free"] {
            let account = NewAccount::email(format!("{name}@example.com"));
            let application = Application::new(account, PASSWORD);
            probe.auth.registration().apply(application, &ClientInfo::default()).await.expect("it is taken");
            // The accounts have different ages.
            probe.clock.advance(Duration::from_secs(1));
        }
        let (kind, trigger, untrigger) = match probe.database.backend {
            Backend::Postgres => (
                "uuid",
                "CREATE FUNCTION keep() RETURNS trigger AS $$ BEGIN RAISE 'kept'; END $$ LANGUAGE plpgsql; \
                 CREATE TRIGGER kept BEFORE DELETE ON auth_account FOR EACH ROW \
                 WHEN (OLD.email = 'trigger@example.com') EXECUTE FUNCTION keep()",
                "DROP TRIGGER kept ON auth_account; DROP FUNCTION keep",
            ),
            Backend::MySql => (
                "binary(16)",
                "CREATE TRIGGER kept BEFORE DELETE ON auth_account FOR EACH ROW \
                 IF OLD.email = 'trigger@example.com' THEN \
                 SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'kept'; END IF",
                "DROP TRIGGER kept",
            ),
            Backend::Sqlite => (
                "blob",
                "CREATE TRIGGER kept BEFORE DELETE ON auth_account \
                 WHEN OLD.email = 'trigger@example.com' BEGIN SELECT RAISE(ABORT, 'kept'); END",
                "DROP TRIGGER kept",
            ),
        };
        for (name, action) in [("key", ""), ("restrict", "ON DELETE RESTRICT")] {
            probe.execute(&format!("DROP TABLE IF EXISTS held_by_{name}")).await;
            probe.execute(&format!(
                "CREATE TABLE held_by_{name} (id {kind} NOT NULL, \
                 FOREIGN KEY (id) REFERENCES auth_account (id) {action})"
            )).await;
            probe.execute(&format!(
                "INSERT INTO held_by_{name} SELECT id FROM auth_account WHERE email = '{name}@example.com'"
            )).await;
        }
        probe.execute(trigger).await;
        probe.clock.advance(8 * DAY);
        let run = async || {
            let report = probe.auth.maintenance().run().await;
            let left = "SELECT COUNT(*) FROM auth_account";
            let on_trial = format!("{left} WHERE on_trial_since IS NOT NULL");
            (report, probe.number(left).await, probe.number(&on_trial).await)
        };
        let (first, second) = (run().await, run().await);
        for end in [untrigger, "DROP TABLE held_by_key", "DROP TABLE held_by_restrict"] {
            probe.execute(end).await;
        }
        let removed = |report: Result<MaintenanceReport, _>| {
            report.map(|report| report.accounts).map_err(|fault: Fault| format!("{fault:?}"))
        };
        assert_eq!((removed(first.0), first.1, first.2), (Ok(1), 3, 0));
        assert_eq!((removed(second.0), second.1, second.2), (Ok(0), 3, 0));
    }

    async fn an_account_whose_removal_cannot_be_noted_is_tried_again(probe: Probe) {
        let probe = strict(probe);
        let application = Application::new(NewAccount::email("squatter@example.com"), PASSWORD);
        probe.auth.registration().apply(application, &ClientInfo::default()).await.expect("it is taken");
        probe.clock.advance(8 * DAY);
        without_events(&probe, "user_removed", async {
            let run = probe.auth.maintenance().run().await;
            run.expect_err("the event is refused, and not the removal");
        }).await;
        let trials = "SELECT COUNT(*) FROM auth_account WHERE on_trial_since IS NOT NULL";
        assert_eq!(probe.number(trials).await, 1);
        probe.clock.advance(DAY);
        assert_eq!(probe.auth.maintenance().run().await.expect("it runs").accounts, 1);
    }

    async fn two_nodes_at_once_remove_everything_once(probe: Probe) {
        let client = ClientInfo::default();
        for _ in 0..1200 {
            let _ = probe.auth.sessions().start_anonymous(&client).await.expect("it starts");
        }
        probe.clock.advance(2 * DAY);
        let other = probe.rebuilt(|builder| builder);
        let (one, two) = (probe.auth.maintenance(), other.maintenance());
        let (here, there) = tokio::join!(one.run(), two.run());
        let reports = [here.expect("it runs"), there.expect("it runs")];
        assert_eq!(reports.iter().filter(|report| report.left_to_another).count(), 1);
        assert_eq!(reports.iter().map(|report| report.sessions).sum::<u64>(), 1200);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, 0);
        let ran = probe.auth.maintenance().last_run().await.expect("it answers");
        assert_eq!(ran, Some(probe.auth_now()));
        // Without the lease two nodes do not disturb each other either: the rows are deleted once.
        for _ in 0..600 {
            let _ = probe.auth.sessions().start_anonymous(&client).await.expect("it starts");
        }
        probe.clock.advance(2 * DAY);
        let (one, two) = (probe.auth.sessions(), other.sessions());
        let (here, there) = tokio::join!(one.purge(Duration::ZERO), two.purge(Duration::ZERO));
        assert_eq!(here.expect("it runs") + there.expect("it runs"), 600);
    }

    async fn after_a_node_was_killed_in_the_middle_another_goes_on(probe: Probe) {
        // So many batches that the node is killed before the last one.
        const MANY: i64 = 3000;
        let client = ClientInfo::default();
        for _ in 0..MANY {
            let _ = probe.auth.sessions().start_anonymous(&client).await.expect("it starts");
        }
        probe.clock.advance(2 * DAY);
        // The run is dropped after its first batch, in the pause before the second.
        let killed = probe.rebuilt(|builder| builder);
        let dead = killed.clone();
        let task = tokio::spawn(async move { killed.maintenance().run().await });
        let sessions = "SELECT COUNT(*) FROM auth_session";
        until("a batch is gone", async || probe.number(sessions).await < MANY).await;
        task.abort();
        let _ = task.await;
        // A statement that was already running still ends.
        dead.drain().await;
        let left = probe.number("SELECT COUNT(*) FROM auth_session").await;
        assert!(left > 0, "it was killed in the middle");
        let report = probe.auth.maintenance().run().await.expect("it runs");
        assert!(report.left_to_another, "the lease of the dead is not over");
        assert_eq!(probe.auth.maintenance().last_run().await.expect("it answers"), None);
        probe.clock.advance(Duration::from_secs(5 * 60));
        let report = probe.auth.maintenance().run().await.expect("it runs");
        assert_eq!(report.sessions, u64::try_from(left).expect("a count"));
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, 0);
    }

    async fn every_time_of_the_retention_is_kept_to_the_millisecond(probe: Probe) {
        let mut wrong = Vec::new();
        for kept in kept() {
            for table in TABLES {
                probe.execute(&format!("DELETE FROM {table}")).await;
            }
            let auth = probe.rebuilt(|builder| builder.configure(kept.change));
            leave(&probe, &auth, kept.setting).await;
            let (setting, table) = (kept.setting, kept.count);
            let count = async || probe.number(&format!("SELECT COUNT(*) FROM {table}")).await;
            let run = async || auth.maintenance().run().await.expect("it runs");
            let made = count().await;
            assert!(made > 0, "{setting}: nothing was left behind");
            let mut after = kept.after;
            if setting == "denials" {
                // They are counted by the minute, so their minute must have ended.
                let within = probe.auth_now().as_millis().rem_euclid(60_000);
                after += MINUTE - Duration::from_millis(u64::try_from(within).expect("positive"));
            }
            run().await;
            probe.clock.advance(after - MOMENT);
            run().await;
            if count().await != made {
                wrong.push(format!("{setting}: {table} goes too early"));
            }
            probe.clock.advance(2 * MOMENT);
            run().await;
            if count().await != 0 {
                wrong.push(format!("{setting}: {table} stays too long"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    async fn the_waiting_time_of_a_closed_account_is_what_its_owner_is_told(probe: Probe) {
        let mut probe = probe;
        probe.auth = probe.rebuilt(|builder| builder.configure(|config| config.retention.closed_accounts = 5 * DAY));
        let auth = probe.auth.clone();
        let mut closed = Vec::new();
        for name in ["alice", "bob"] {
            let account = NewAccount::email(format!("{name}@example.com")).verified();
            let account = auth.registration().create(account, PASSWORD).await.expect("it is made");
            let told = auth.accounts().close(account.id()).await.expect("it is closed");
            assert_eq!(told.erase_at, probe.auth_now().plus(5 * DAY));
            let notice = probe.mail().await.pop().expect("a notice");
            assert_eq!(notice.value("days"), Some("5"), "{}", notice.text);
            assert!(notice.text.contains("5 days"), "{}", notice.text);
            let token = notice.value("link").and_then(|link| link.split_once("#token="));
            closed.push((account.id(), token.expect("a link").1.to_owned()));
        }
        let client = ClientInfo::default();
        probe.clock.advance(5 * DAY - MOMENT);
        auth.own_account().keep(&closed[0].1, &client).await.expect("it still works");
        probe.clock.advance(MOMENT);
        auth.own_account().keep(&closed[1].1, &client).await.expect_err("it has expired");
        assert_eq!(auth.maintenance().run().await.expect("it runs").erased_accounts, 1);
        for (at, state) in [AccountState::Active, AccountState::Erased].into_iter().enumerate() {
            let details = auth.accounts().details(closed[at].0).await.expect("it answers");
            assert_eq!(details.expect("the id is there").state, state);
        }
    }

    async fn a_lease_from_a_clock_that_was_wrong_holds_nobody_up(probe: Probe) {
        assert!(!probe.auth.maintenance().run().await.expect("it runs").left_to_another);
        let lease = |until: portcullis::Timestamp| {
            format!("UPDATE auth_maintenance SET lease = 7, leased_until = {}", until.as_millis())
        };
        probe.execute(&lease(probe.auth_now().plus(Duration::from_secs(60)))).await;
        assert!(probe.auth.maintenance().run().await.expect("it runs").left_to_another);
        probe.execute(&lease(probe.auth_now().plus(365 * DAY))).await;
        assert!(!probe.auth.maintenance().run().await.expect("it runs").left_to_another);
    }

    async fn requests_go_on_while_thousands_of_rows_are_removed(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let client = ClientInfo::default();
        for _ in 0..2000 {
            let _ = probe.auth.sessions().start_anonymous(&client).await.expect("it starts");
        }
        probe.clock.advance(2 * DAY);
        let auth = probe.auth.clone();
        let task = tokio::spawn(async move { auth.maintenance().run().await });
        let mut served = 0;
        while !task.is_finished() {
            let answer = browser.stranger().login("alice", PASSWORD).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(browser.get("/me").await.status, 200);
            served += 1;
        }
        assert_eq!(task.await.expect("no panic").expect("it runs").sessions, 2000);
        assert!(served > 0);
    }

    async fn a_service_without_maintenance_tells_its_operator(probe: Probe) {
        probe.register("alice").await;
        let found = || probe.auth.audit().iter().any(|finding| finding.code == "maintenance_overdue");
        let login = async || {
            let browser = probe.browser().await;
            assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
        };
        login().await;
        probe.clock.advance(3 * DAY - HOUR);
        login().await;
        assert!(!found());
        probe.clock.advance(HOUR);
        login().await;
        until("it is found", async || found()).await;
        // The finding disappears as soon as maintenance runs, on this node or another.
        probe.auth.maintenance().run().await.expect("it runs");
        assert!(!found());
        let other = probe.rebuilt(|builder| builder);
        for _ in 0..5 {
            probe.clock.advance(DAY);
            other.maintenance().run().await.expect("it runs");
            login().await;
        }
        assert!(!found());
    }

    async fn a_restored_backup_brings_no_session_link_or_message_back(probe: Probe) {
        let alice = probe.register_with_email("alice", "alice@example.com").await;
        let mut browser = probe.browser().await;
        // Signs in twice, because the first sign-in of an account is compared with nothing.
        for _ in 0..2 {
            browser.cookie = None;
            assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        }
        let new_devices = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_new_device'";
        assert_eq!(probe.number(new_devices).await, 0, "it is known");
        let mut visitor = probe.browser().await;
        assert_eq!(visitor.post_empty("/auth/session/anonymous").await.status, 201);
        let account = NewAccount::email("bob@example.com").verified();
        probe.auth.registration().create(account, PASSWORD).await.expect("it is made");
        let forgot = json!({ "login": "bob@example.com" });
        assert_eq!(browser.stranger().post("/auth/password/forgot", forgot.clone()).await.status, 202);
        let mail = probe.mail().await.pop().expect("a link").text;
        let token = mail.split_once("#token=").expect("a token").1[..43].to_owned();
        probe.clock.advance(Duration::from_secs(120));
        // This message has not been sent yet.
        let carol = NewAccount::email("carol@example.com").verified();
        probe.auth.registration().create(carol, PASSWORD).await.expect("it is made");
        let body = json!({ "login": "carol@example.com" });
        assert_eq!(browser.stranger().post("/auth/password/forgot", body).await.status, 202);
        let device = browser.device.clone();

        assert_eq!(probe.auth.maintenance().after_restore().await.expect("it is done"), 3);
        let answer = browser.get("/me").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"));
        let check = json!({ "token": token });
        assert_ne!(browser.stranger().post("/auth/password/reset/check", check).await.status, 204);
        let sent = probe.mail().await.len();
        assert_eq!(probe.mail().await.len(), sent, "nothing is sent twice");
        assert_eq!(sent, 1);
        // The epoch is higher than any that the lost time can have used, and it increases with each
        // call.
        let epoch = "SELECT epoch FROM auth_account WHERE username = 'alice'";
        let first = probe.number(epoch).await;
        assert_eq!(first, probe.auth_now().as_millis());
        assert_eq!(probe.auth.maintenance().after_restore().await.expect("it is done"), 3);
        assert_eq!(probe.number(epoch).await, first + 1);
        assert!(probe.number("SELECT epoch FROM auth_epoch").await >= first);
        // Everybody can sign in again. The known browser has become a new device, and the owner is
        // told.
        browser.device = device;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        assert_eq!(probe.number(new_devices).await, 1);
        let notice = probe.mail().await.pop().expect("a notice");
        assert_eq!((notice.kind.as_str(), notice.to.as_str()), ("new_device", "alice@example.com"));
        let sent = sent + 1;
        assert_eq!(browser.get("/me").await.text, alice.id().to_string());
        assert_eq!(browser.stranger().post("/auth/password/forgot", forgot).await.status, 202);
        assert_eq!(probe.mail().await.len(), sent + 1, "new messages leave");
    }
}

/// A setting of the retention, with a value that is not the default.
struct Kept {
    setting: &'static str,
    change: fn(&mut Config),
    /// The rows that it keeps.
    count: &'static str,
    /// How long they are kept after [`leave`] has made them.
    after: Duration,
}

/// A link for a forgotten password is valid for an hour, so its row is kept for longer.
fn kept() -> Vec<Kept> {
    vec![
        Kept {
            setting: "sessions",
            change: |config| config.retention.sessions = 3 * DAY,
            count: "auth_session",
            after: 3 * DAY,
        },
        Kept {
            setting: "challenges",
            change: |config| config.retention.challenges = 5 * HOUR,
            count: "auth_challenge",
            after: 6 * HOUR,
        },
        Kept {
            setting: "challenges",
            change: |config| config.retention.challenges = 5 * HOUR,
            count: "auth_challenge_start",
            after: 5 * HOUR,
        },
        Kept {
            setting: "attempts",
            change: |config| config.retention.attempts = 3 * DAY,
            count: "auth_attempt",
            after: 3 * DAY,
        },
        Kept {
            setting: "denials",
            change: |config| config.retention.denials = 2 * DAY,
            count: "auth_denial",
            after: 2 * DAY,
        },
        Kept {
            setting: "unverified_accounts",
            change: |config| {
                config.login.registration = Registration::Strict;
                config.login.require_verified = true;
                config.retention.unverified_accounts = Some(9 * DAY);
            },
            count: "auth_account",
            after: 9 * DAY,
        },
        Kept {
            setting: "closed_accounts",
            change: |config| config.retention.closed_accounts = 5 * DAY,
            count: "auth_account WHERE erased_at IS NULL",
            after: 5 * DAY,
        },
        Kept {
            setting: "erased_sources",
            change: |config| config.retention.erased_sources = 3 * DAY,
            count: "auth_event WHERE kind = 'authn_login_success' AND address IS NOT NULL",
            after: 3 * DAY,
        },
        Kept {
            setting: "events",
            change: |config| config.retention.events = Some(2 * DAY),
            count: "auth_event WHERE kind = 'authn_login_success'",
            after: 2 * DAY,
        },
        Kept {
            setting: "mail.keep",
            change: |config| config.mail.keep = 5 * HOUR,
            count: "auth_outbox",
            after: 5 * HOUR,
        },
        Kept {
            setting: "account_recoveries",
            change: |config| config.retention.account_recoveries = 2 * DAY,
            count: "auth_account_recovery",
            // The delay, the time after it, and the time of a link that is sent at its end come first.
            after: 20 * DAY,
        },
        Kept {
            setting: "device_requests",
            change: |config| {
                crate::device_login::clients(config);
                config.retention.device_requests = 5 * HOUR;
            },
            count: "auth_device_request",
            // The time to decide comes first.
            after: 5 * HOUR + 10 * MINUTE,
        },
        Kept {
            setting: "captchas",
            change: |config| config.retention.challenges = 5 * HOUR,
            count: "auth_captcha",
            after: 5 * HOUR,
        },
    ]
}

/// Makes the rows that this setting keeps, at the present time.
async fn leave(probe: &Probe, auth: &Portcullis, setting: &str) {
    let account = NewAccount::username("alice").with_email("alice@example.com").verified();
    if setting == "unverified_accounts" {
        let application = Application::new(NewAccount::email("squatter@example.com"), PASSWORD);
        auth.registration().apply(application, &ClientInfo::default()).await.expect("it is taken");
        return;
    }
    let alice = auth.registration().create(account, PASSWORD).await.expect("it is made").id();
    let mut browser = Browser::new(serve(app(auth)).await);
    let forgot = json!({ "login": "alice" });
    match setting {
        "sessions" => {
            assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
            assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
        }
        "challenges" | "mail.keep" => {
            assert_eq!(browser.post("/auth/password/forgot", forgot).await.status, 202);
            auth.outbox().deliver_due().await.expect("it is sent");
        }
        "attempts" => assert_eq!(browser.login("alice", "wrong password").await.status, 401),
        "denials" => {
            assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
            assert_eq!(browser.get("/admin").await.status, 403);
            // The first denial of a minute is written in a task.
            auth.drain().await;
            auth.audit_log().flush().await;
        }
        "closed_accounts" => {
            auth.accounts().close(alice).await.expect("it is closed");
        }
        "erased_sources" => {
            assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
            auth.accounts().erase(alice).await.expect("it is erased");
        }
        "events" => assert_eq!(browser.login("alice", PASSWORD).await.status, 200),
        "account_recoveries" => {
            let actor = RecoveryActor::Program("cli");
            let opened = auth.account_recovery().open(alice, NewRecovery::new("lost"), actor).await;
            opened.expect("it is opened");
        }
        "device_requests" => {
            let begun = auth.device_login().start("tv").begin(&ClientInfo::default()).await;
            let _started = begun.expect("it begins");
        }
        "captchas" => {
            let (id, now) = (uuid::Uuid::from_u128(7), probe.auth_now().as_millis());
            let id = match probe.database.backend {
                Backend::Postgres => format!("'{id}'"),
                Backend::Sqlite | Backend::MySql => format!("X'{}'", id.simple()),
            };
            probe
                .execute(&format!(
                    "INSERT INTO auth_captcha (id, action, key_id, fetches, attempts, expires_at) \
                 VALUES ({id}, 'a', '', 0, 0, {now})"
                ))
                .await;
        }
        other => panic!("{other}"),
    }
}

/// Rows per table that have not expired. A planner prefers an index for this many rows.
const FILLED: usize = 20_000;

/// The tables that maintenance does not clean, each with the reason why it does not grow without
/// limit.
const STAY: [(&str, &str); 17] = [
    ("auth_maintenance", "one row"),
    (
        "auth_marker",
        "one row for each thing that happens once, such as making the first administrator",
    ),
    ("auth_login_name", "names go with their account, or when somebody removes them"),
    ("auth_permission", "what the code asks for: as many as are written in it"),
    ("auth_role", "what administrators make"),
    ("auth_group", "what administrators make"),
    ("auth_group_role", "what administrators give, and it goes with the group or the role"),
    ("auth_account_role", "what administrators give, and it goes with the account or the role"),
    ("auth_account_group", "what administrators give, and it goes with the account or the group"),
    ("auth_account_permission", "what administrators give, and it goes with the account"),
    (
        "auth_membership",
        "what the source says and the application gives, and it goes with the account",
    ),
    ("auth_membership_turn", "one row for an account, and it goes with the account"),
    ("auth_totp", "a few for an account, and they go with it; one that waits too long is removed"),
    ("auth_recovery_code", "ten for an account, and they go with the account"),
    ("auth_passkey", "a few for an account, and they go with it"),
    ("auth_passkey_user", "one row for an account, and it goes with the account"),
    ("auth_provider_identity", "one of each provider for an account, and they go with it"),
];

#[test]
fn the_guide_names_every_table_that_is_cleaned() {
    let page = include_str!("../../src/guide/housekeeping.rs");
    let (_, list) = page.split_once("//! # What is kept").expect("the list");
    let (list, _) = list.split_once("//! # What still grows").expect("its end");
    for (table, ..) in FILLING {
        assert!(list.contains(&format!("`{table}`")), "{table} is missing");
    }
}

#[test]
fn every_table_is_cleaned_or_stays_for_a_reason() {
    let cleaned = FILLING.iter().map(|(table, ..)| *table);
    let mut told: Vec<_> = cleaned.chain(STAY.iter().map(|(table, _)| *table)).collect();
    told.sort_unstable();
    let mut tables = TABLES.to_vec();
    tables.sort_unstable();
    assert_eq!(told, tables, "each table stands in exactly one of the two lists");
    // The counter of all grants is one row, which is never removed.
    let mut known: Vec<_> =
        portcullis::schema::tables().into_iter().map(|table| table.name).collect();
    known.retain(|table| table != "auth_epoch");
    known.sort_unstable();
    assert_eq!(known, tables);
}

/// The tables that maintenance cleans, with the values that fill them from a counter `i`. `{id}`
/// and `{bytes}` stand for values of those types.
const FILLING: [(&str, &str, &str); 26] = [
    (
        "auth_account",
        "id, username, must_change_password, superuser, epoch, version, enrolled_factors, created_at",
        "{id}, {text}, FALSE, FALSE, 0, 0, 0, 0",
    ),
    (
        "auth_session",
        "id, token_digest, version, lineage_id, account_id, account_epoch, stage, generation, rotated_at, \
         created_at, expires_at, idle_ms, persistent, factors",
        "{id}, {bytes}, 0, {id}, {id}, 0, 0, 0, {late}, {late}, {late}, 0, FALSE, ''",
    ),
    ("auth_session_data", "lineage_id, data, written_at", "{id}, '', {late}"),
    (
        "auth_account_recovery",
        "id, account_id, opened_by, reason, state, opened_at, ready_at, expires_at",
        "{id}, {id}, 'p', 'r', 0, {late}, {late}, {late}",
    ),
    (
        "auth_device_request",
        "id, device_digest, user_digest, client_id, state, phrase, created_at, expires_at, confirmations",
        "{id}, {bytes}, {bytes}, 'c', 0, 'p', {late}, {late}, 0",
    ),
    (
        "auth_challenge",
        "id, purpose, subject, token_digest, created_at, expires_at",
        "{id}, 'p', {bytes}, {bytes}, {late}, {late}",
    ),
    ("auth_challenge_start", "subject, started_at", "{bytes}, {late}"),
    ("auth_attempt", "subject, kind, part, number, outcome, at", "{bytes}, 0, 0, 0, 0, {late}"),
    ("auth_rate", "key, spent_us", "{bytes}, {late} * 1000"),
    (
        "auth_outbox",
        "id, kind, recipient, key_id, state, attempts, next_try_at, expires_at, created_at",
        "{id}, 'k', {bytes}, 'k', 'sent', 0, {late}, {late}, {late}",
    ),
    ("auth_outbox_limit", "digest, window_started_at, sent, last_at", "{bytes}, 0, 0, {late}"),
    ("auth_event", "id, at, kind, succeeded", "{id}, {late}, 'k', TRUE"),
    (
        "auth_former_address",
        "digest, account_id, kind, sequence, held_ms, left_epoch, settled, left_at",
        "{bytes}, {id}, 0, 0, 0, 0, FALSE, {late}",
    ),
    ("auth_told_place", "account_id, place, told_at", "{id}, {bytes}, {late}"),
    ("auth_device_digest", "account_id, message_id, began_at, sign_ins", "{id}, {id}, {late}, 1"),
    (
        "auth_captcha",
        "id, action, key_id, fetches, attempts, expires_at",
        "{id}, 'a', '', 0, 0, {late}",
    ),
    ("auth_captcha_failures", "subject, failures, window_started_at", "{bytes}, 1, {late}"),
    ("auth_dpop_proof", "digest, expires_at", "{bytes}, {late}"),
    (
        "auth_passkey_challenge",
        "digest, purpose, created_at, expires_at",
        "{bytes}, 'p', {late}, {late}",
    ),
    (
        "auth_provider_flow",
        "digest, provider, intent, browser, redirect_uri, remember, created_at, expires_at",
        "{bytes}, 'p', 'sign_in', {bytes}, '', TRUE, {late}, {late}",
    ),
    (
        "auth_pending_identity",
        "id, provider, browser, told, told_key_id, remember, created_at, expires_at",
        "{id}, 'p', {bytes}, '', '', TRUE, {late}, {late}",
    ),
    (
        "auth_provider_session",
        "lineage_id, account_id, identity, created_at, expires_at",
        "{id}, {id}, {bytes}, {late}, {late}",
    ),
    ("auth_logout_token", "digest, expires_at", "{bytes}, {late}"),
    ("auth_denial", "account_id, rule, minute, count", "{id}, 'r', {late}, 1"),
    (
        "auth_trusted_device",
        "id, account_id, digest, factor, epoch, created_at, last_used_at, expires_at",
        "{id}, {id}, {bytes}, 'totp', 0, {late}, {late}, {late}",
    ),
    (
        "auth_api_key",
        "id, token_digest, key_id, version, first_id, account_id, name, slot, hint, scopes, created_at, \
         expires_at, ended_at",
        "{id}, {bytes}, '', 0, {id}, {id}, 'n', {text}, 'h', '', {late}, {late}, {late}",
    ),
];

pub async fn fill(backend: Backend, db: &DatabaseConnection, late: i64) {
    fill_rows(backend, db, late, FILLED).await;
}

/// Fills each table with at most [`FILLED`] rows, whose times are those after `late`.
async fn fill_rows(backend: Backend, db: &DatabaseConnection, late: i64, count: usize) {
    let (id, bytes, counter) = match backend {
        Backend::Sqlite => (
            "CAST(printf('%016d', i) AS BLOB)",
            "CAST(printf('%032d', i) AS BLOB)",
            format!(
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {FILLED}) \
                 SELECT i FROM n) n"
            ),
        ),
        Backend::Postgres => (
            "md5('a' || i)::uuid",
            "decode(md5('d' || i) || md5('e' || i), 'hex')",
            format!("generate_series(1, {FILLED}) AS n(i)"),
        ),
        Backend::MySql => (
            "UNHEX(MD5(CONCAT('a', i)))",
            "UNHEX(CONCAT(MD5(CONCAT('d', i)), MD5(CONCAT('e', i))))",
            {
                let digits = (0..10).map(|d| format!("SELECT {d} d")).collect::<Vec<_>>();
                let digits = digits.join(" UNION ALL ");
                let tables: Vec<_> = (0..4).map(|at| format!("({digits}) t{at}")).collect();
                format!(
                    "(SELECT 1 + t0.d + t1.d * 10 + t2.d * 100 + t3.d * 1000 + two.d * 10000 AS i \
                     FROM {}, (SELECT 0 d UNION ALL SELECT 1) two) n",
                    tables.join(", ")
                )
            },
        ),
    };
    let text = if backend == Backend::MySql { "CONCAT('u', i)" } else { "'u' || i" };
    for (table, columns, values) in FILLING {
        let values = values
            .replace("{id}", id)
            .replace("{bytes}", bytes)
            .replace("{text}", text)
            .replace("{late}", &format!("({late} + i)"));
        // `key` is a reserved word in MySQL and MariaDB.
        let columns = match backend {
            Backend::MySql => columns.replace("key,", "`key`,"),
            _ => columns.to_owned(),
        };
        let insert = format!(
            "INSERT INTO {table} ({columns}) SELECT {values} FROM {counter} WHERE i <= {count}"
        );
        db.execute_unprepared(&insert).await.unwrap_or_else(|error| panic!("{table}: {error}"));
        let look = if backend == Backend::MySql { "ANALYZE TABLE" } else { "ANALYZE" };
        db.execute_unprepared(&format!("{look} {table}")).await.expect("it is analysed");
    }
}

/// Returns the tables that a statement reads as a whole.
pub async fn scanned_tables(
    backend: Backend,
    db: &DatabaseConnection,
    statement: &Statement,
) -> Vec<String> {
    let steps = scans(backend, db, statement).await;
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let tables = steps.iter().flat_map(|step| match backend {
        Backend::Sqlite => vec![word(step.trim_start_matches("SCAN "))],
        Backend::MySql => vec![word(step)],
        Backend::Postgres => {
            let scans = step.split("\"Seq Scan\"").skip(1);
            let named = scans.filter_map(|scan| scan.split("\"Relation Name\":\"").nth(1));
            named.map(word).collect()
        }
    });
    tables.collect()
}

/// Returns the steps of a plan that read a whole table or a whole index.
async fn scans(backend: Backend, db: &DatabaseConnection, statement: &Statement) -> Vec<String> {
    let explain = match backend {
        Backend::Sqlite => "EXPLAIN QUERY PLAN",
        Backend::Postgres => "EXPLAIN (FORMAT JSON)",
        Backend::MySql => "EXPLAIN",
    };
    let asked = Statement { sql: format!("{explain} {}", statement.sql), ..statement.clone() };
    let rows = db.query_all_raw(asked).await.unwrap_or_else(|e| panic!("{}: {e}", statement.sql));
    let mut scans = Vec::new();
    for row in rows {
        match backend {
            Backend::Sqlite => {
                let step: String = row.try_get_by_index(3).expect("a text");
                if step.starts_with("SCAN") {
                    scans.push(step);
                }
            }
            Backend::Postgres => {
                let json: serde_json::Value = row.try_get_by_index(0).expect("JSON");
                let text = json.to_string();
                if text.contains("\"Seq Scan\"") {
                    scans.push(text);
                }
            }
            Backend::MySql => {
                let field = |name: &str| {
                    row.try_get::<Option<String>>("", name).expect("a text").unwrap_or_default()
                };
                if matches!(field("type").as_str(), "ALL" | "index") {
                    scans.push(format!("{} {}", field("table"), field("key")));
                }
            }
        }
    }
    scans
}

/// Checks that no statement of a run that finds nothing reads a whole table.
async fn no_statement_of_maintenance_reads_a_whole_table(backend: Backend) {
    let (url, _directory) = fresh(backend).await;
    let db = connect(&url).await;
    Migrator::up(&db, None).await.expect("the migrations run");
    let clock = portcullis::base::clock::MockClock::default();
    let late = portcullis::Clock::now(&clock).as_millis();
    fill(backend, &db, late).await;
    let mut told = connect(&url).await;
    let texts = StatementCounter::install(&mut told);
    let auth = Portcullis::builder(told)
        .clock(clock)
        .secret(Secret::generate())
        .build()
        .expect("the configuration is right");
    let report = auth.maintenance().run().await.expect("it runs");
    assert_eq!(report.total(), 0, "{report}");
    let ran: Vec<_> = texts.take_statements();
    let touched = |table: &str| ran.iter().any(|statement| statement.sql.contains(table));
    for (table, ..) in FILLING {
        assert!(touched(table), "{table} is never looked at");
    }
    // A write has the same plan as the search for its rows.
    for statement in ran.iter().filter(|statement| !statement.sql.starts_with("INSERT")) {
        if statement.sql.contains("auth_maintenance") {
            continue;
        }
        let found = scans(backend, &db, statement).await;
        assert!(found.is_empty(), "{}\n{found:#?}", statement.sql);
    }
    // This proves that the test works: it finds a statement that no index helps.
    let blind = Statement::from_string(
        db.get_database_backend(),
        "SELECT id FROM auth_session WHERE idle_ms = 7",
    );
    assert!(!scans(backend, &db, &blind).await.is_empty());
    drop(auth);
    db.close().await.expect("the connection closes");
    drop_fresh(backend, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_maintenance_reads_a_whole_table_on_sqlite() {
    no_statement_of_maintenance_reads_a_whole_table(Backend::Sqlite).await;
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_maintenance_reads_a_whole_table_on_postgres() {
    no_statement_of_maintenance_reads_a_whole_table(Backend::Postgres).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_maintenance_reads_a_whole_table_on_mysql() {
    no_statement_of_maintenance_reads_a_whole_table(Backend::MySql).await;
}

/// Checks that no statement of a run removes more rows than one batch, whatever the table.
async fn no_statement_of_maintenance_removes_more_than_a_batch(backend: Backend) {
    const BATCH: i64 = 500;
    const ROWS: i64 = 1100;
    let (url, _directory) = fresh(backend).await;
    let db = connect(&url).await;
    Migrator::up(&db, None).await.expect("the migrations run");
    let clock = portcullis::base::clock::MockClock::default();
    let late = portcullis::Clock::now(&clock).minus(400 * DAY).as_millis();
    fill_rows(backend, &db, late, ROWS as usize).await;
    for change in [
        // Denials are counted by the minute.
        format!("UPDATE auth_denial SET minute = minute - {late}"),
        // A stranger made each account.
        format!("UPDATE auth_account SET on_trial_since = {late}, version = version + 1"),
    ] {
        db.execute_unprepared(&change).await.expect("it is changed");
    }
    let mut told = connect(&url).await;
    let texts = StatementCounter::install(&mut told);
    let auth = Portcullis::builder(told)
        .clock(clock)
        .secret(Secret::generate())
        .build()
        .expect("the configuration is right");
    let report = auth.maintenance().run().await.expect("it runs");
    assert_eq!(report.accounts, ROWS as u64, "{report}");
    let mut removed: BTreeMap<&str, (i64, usize)> = BTreeMap::new();
    for statement in texts.take_statements() {
        let words = statement.sql.replace(['"', '`'], "");
        let Some(rest) = words.strip_prefix("DELETE FROM ") else { continue };
        let name = rest.split(' ').next().unwrap_or_default();
        let found = FILLING.iter().find(|(table, ..)| *table == name);
        let (table, ..) = found.unwrap_or_else(|| panic!("{name} is not in the list"));
        let values = statement.values.map(|values| values.0).unwrap_or_default();
        let keys = values.iter().filter(|value| matches!(value, Value::Bytes(_) | Value::Uuid(_)));
        let (before, statements) = removed.get(table).copied().unwrap_or_default();
        let most = match keys.count() {
            // All rows up to a time. Each has its own.
            0 => {
                let time = values.iter().rev().find_map(|value| match value {
                    Value::BigInt(time) => *time,
                    _ => None,
                });
                let first = if *table == "auth_denial" { 0 } else { late };
                (time.expect("a time") - first).min(ROWS) - before
            }
            keys => keys as i64,
        };
        assert!(most <= BATCH, "{most} rows: {}", statement.sql);
        removed.insert(table, (before + most, statements + 1));
    }
    for (table, ..) in FILLING {
        let (rows, statements) = removed.get(table).copied().unwrap_or_default();
        assert!(rows >= ROWS && statements >= 3, "{table}: {rows} rows, {statements} statements");
        let query = format!("SELECT COUNT(*) FROM {table}");
        let query = Statement::from_string(db.get_database_backend(), query);
        let row = db.query_one_raw(query).await.expect("it answers").expect("a row");
        let left: i64 = row.try_get_by_index(0).expect("a number");
        // The run itself writes events: one for each account, and one about the run.
        let written = if table == "auth_event" { ROWS + 1 } else { 0 };
        assert_eq!(left, written, "{table}");
    }
    drop(auth);
    db.close().await.expect("the connection closes");
    drop_fresh(backend, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_maintenance_removes_more_than_a_batch_on_sqlite() {
    no_statement_of_maintenance_removes_more_than_a_batch(Backend::Sqlite).await;
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_maintenance_removes_more_than_a_batch_on_postgres() {
    no_statement_of_maintenance_removes_more_than_a_batch(Backend::Postgres).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_maintenance_removes_more_than_a_batch_on_mysql() {
    no_statement_of_maintenance_removes_more_than_a_batch(Backend::MySql).await;
}
