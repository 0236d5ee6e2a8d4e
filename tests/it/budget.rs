//! The cost of requests: the number of their statements, and the query plans of the databases on
//! full tables. The driver does not count `BEGIN` and `COMMIT`.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use portcullis::account::NewAccount;
use portcullis::permission::Resource;
use portcullis::test_kit::StatementCounter;
use portcullis::{Account, MessageKind, Portcullis, Secret};
use portcullis_migration::{Migrator, MigratorTrait};
use portcullis_test_needs::needs;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TransactionTrait};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::external_factor::{self, enrol, member, waiting, with_card};
use crate::on_every_database;
use crate::sent_code::prove_mailbox;
use crate::support::browser::COOKIE;
use crate::support::database::{connect, drop_fresh, fresh};
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe, until};

const MINUTE: Duration = Duration::from_secs(60);

/// Returns a signed-in account that may read what administrators read. Its grants are in memory.
async fn administrator(probe: &Probe) -> (Account, Browser) {
    let (account, mut browser) = probe.signed_in("alice").await;
    probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
    probe.auth.roles().grant(account.id(), "editor").await.expect("it is granted");
    assert_eq!(browser.get("/everything").await.status, 200);
    (account, browser)
}

/// Sends a GET and returns its status and the number of its statements.
async fn cost(probe: &Probe, browser: &mut Browser, path: &str) -> (u16, usize) {
    let (answer, statements) = probe.statements(browser.get(path)).await;
    (answer.status, statements)
}

/// Waits until the first denial of the minute is in its table. It is written in parallel to the
/// request.
async fn denial_is_written(probe: &Probe, account: &Account) {
    let written = async || {
        let denials = probe.auth.audit_log().denials_of(account.id()).await;
        !denials.expect("the database answers").is_empty()
    };
    until("the denial is written", written).await;
}

/// Returns an id as this database writes it.
fn id(backend: Backend, kind: u8, number: usize) -> String {
    let hex = format!("{kind:02x}{number:030x}");
    match backend {
        Backend::Postgres => format!("'{hex}'::uuid"),
        _ => format!("X'{hex}'"),
    }
}

/// Gives the only account this many grants: permissions, roles, and roles of groups in turn.
async fn give(probe: &Probe, from: usize, to: usize) {
    let account = "(SELECT id FROM auth_account)";
    let backend = probe.database.backend;
    let mut tables: [(&str, Vec<String>); 6] = [
        ("auth_account_permission (account_id, permission, granted_at)", Vec::new()),
        ("auth_role (id, name, permissions, requires_factor, created_at)", Vec::new()),
        ("auth_group (id, name, created_at)", Vec::new()),
        ("auth_account_role (account_id, role_id, resource, resource_id, granted_at)", Vec::new()),
        ("auth_account_group (account_id, group_id, joined_at)", Vec::new()),
        ("auth_group_role (group_id, role_id, resource, resource_id, granted_at)", Vec::new()),
    ];
    for number in from..to {
        let (role, group) = (id(backend, 1, number), id(backend, 2, number));
        let mut put = |table: usize, row: String| tables[table].1.push(row);
        if number % 3 == 0 {
            put(0, format!("({account}, 'p{number}:read', 0)"));
            continue;
        }
        put(1, format!("({role}, 'role{number}', 'p{number}:read', FALSE, 0)"));
        if number % 3 == 1 {
            put(3, format!("({account}, {role}, '', '', 0)"));
        } else {
            put(2, format!("({group}, 'group{number}', 0)"));
            put(4, format!("({account}, {group}, 0)"));
            put(5, format!("({group}, {role}, '', '', 0)"));
        }
    }
    for (table, rows) in tables.iter().filter(|(_, rows)| !rows.is_empty()) {
        probe.execute(&format!("INSERT INTO {table} VALUES {}", rows.join(", "))).await;
    }
    probe.execute("UPDATE auth_account SET version = version + 1").await;
}

/// Returns the same token with another signature.
fn forged(token: &str, number: usize) -> String {
    let (body, _) = token.rsplit_once('.').expect("a token has a signature");
    let bytes: Vec<u8> = (0..32).map(|at| (number.wrapping_mul(31) >> (at % 24)) as u8).collect();
    format!("{body}.{}", data_encoding::BASE64URL_NOPAD.encode(&bytes))
}

async fn oneshot(app: &axum::Router, path: &str, token: &str) -> u16 {
    let request = Request::get(path)
        .header("cookie", format!("{COOKIE}={token}"))
        .body(Body::empty())
        .expect("a request");
    app.clone().oneshot(request).await.expect("it answers").status().as_u16()
}

on_every_database! {
    async fn a_route_that_asks_for_nobody_costs_nothing_and_any_number_of_askers_cost_one(probe: Probe) {
        let (_, mut browser) = administrator(&probe).await;
        for (path, expected) in [
            ("/public", 0),
            ("/auth/methods", 0),
            ("/nowhere", 0),
            // This route has two guards and four extractors.
            ("/everything", 1),
            ("/me", 1),
            ("/maybe", 1),
            ("/session-id", 1),
            ("/signed-in", 1),
            ("/admin", 1),
            ("/editors", 1),
            ("/auth/session", 1),
        ] {
            for _ in 0..2 {
                let (status, statements) = cost(&probe, &mut browser, path).await;
                assert_eq!(statements, expected, "{path}");
                assert_eq!(status, if path == "/nowhere" { 404 } else { 200 }, "{path}");
            }
        }
        let mut stranger = browser.stranger();
        for (path, status) in [("/public", 200), ("/everything", 401), ("/me", 401), ("/maybe", 200)] {
            assert_eq!(cost(&probe, &mut stranger, path).await, (status, 0), "{path}");
        }
    }

    async fn a_request_costs_one_more_when_it_loads_rotates_or_first_uses_a_new_token_late(probe: Probe) {
        let (alice, mut browser) = administrator(&probe).await;
        assert_eq!(cost(&probe, &mut browser, "/everything").await, (200, 1));
        // Two cases in which grants are not in memory: after a change, and on a node that has just
        // started.
        probe.auth.roles().revoke(alice.id(), "editor").await.expect("it is revoked");
        probe.auth.roles().grant(alice.id(), "editor").await.expect("it is granted");
        assert_eq!(cost(&probe, &mut browser, "/everything").await, (200, 2));
        assert_eq!(cost(&probe, &mut browser, "/everything").await, (200, 1));
        let mut fresh = browser.clone();
        fresh.address = serve(app(&probe.rebuilt(|builder| builder))).await;
        assert_eq!(cost(&probe, &mut fresh, "/everything").await, (200, 2));
        assert_eq!(cost(&probe, &mut fresh, "/everything").await, (200, 1));

        // A due token is used twice. The holder of the retired token gets its successor without
        // another statement.
        for _ in 0..2 {
            let old = browser.clone();
            probe.clock.advance(16 * MINUTE);
            assert_eq!(cost(&probe, &mut browser, "/everything").await, (200, 2));
            assert_eq!(cost(&probe, &mut old.clone(), "/everything").await, (200, 1));
            assert_eq!(cost(&probe, &mut browser, "/everything").await, (200, 1), "its first use");
            probe.clock.advance(2 * MINUTE);
            assert_eq!(cost(&probe, &mut browser, "/everything").await, (200, 2), "its first late use");
            assert_eq!(cost(&probe, &mut browser, "/everything").await, (200, 1));
        }
        assert_eq!(cost(&probe, &mut browser, "/public").await, (200, 0));
    }

    async fn many_reads_write_nothing_until_the_token_is_due(probe: Probe) {
        let (_, mut browser) = administrator(&probe).await;
        let (_, statements) = probe.statements(async {
            for _ in 0..100 {
                assert_eq!(browser.get("/everything").await.status, 200);
            }
        })
        .await;
        assert_eq!(statements, 100);
    }

    async fn what_is_refused_costs_no_more_than_what_is_allowed(probe: Probe) {
        let (bob, mut other) = probe.signed_in("bob").await;
        // The first request loads the grants. Its denial is written in parallel, once a minute.
        assert_eq!(other.get("/admin").await.status, 403);
        denial_is_written(&probe, &bob).await;
        for _ in 0..5 {
            assert_eq!(cost(&probe, &mut other, "/admin").await, (403, 1));
        }
        assert_eq!(probe.auth.audit_log().denials_of(bob.id()).await.expect("it answers").len(), 1);
    }

    async fn without_memory_everything_comes_in_one_statement(probe: Probe) {
        let (alice, mut browser) = administrator(&probe).await;
        let probe = probe.configured(|config| config.database.remembered_grants = 0);
        browser.address = serve(app(&probe.auth)).await;
        for _ in 0..3 {
            assert_eq!(cost(&probe, &mut browser, "/everything").await, (200, 1));
            // A change of the grants does not need a second statement either.
            probe.auth.roles().revoke(alice.id(), "editor").await.expect("it is revoked");
            assert_eq!(cost(&probe, &mut browser, "/me").await, (200, 1));
            probe.auth.roles().grant(alice.id(), "editor").await.expect("it is granted");
        }
        assert_eq!(cost(&probe, &mut browser, "/public").await, (200, 0));
    }

    async fn one_short_statement_is_enough_however_many_grants_there_are(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        probe.execute(
            "INSERT INTO auth_account_permission (account_id, permission, granted_at) \
             SELECT id, 'admin:read', 0 FROM auth_account"
        ).await;
        // A node that records the texts of its statements.
        let mut db = connect(&probe.database.url).await;
        let texts = StatementCounter::install(&mut db);
        let auth = Portcullis::builder(db)
            .clock(probe.clock.clone())
            .secret(probe.secret.clone())
            .build()
            .expect("the configuration is right");
        let ran = || texts.take();
        browser.address = serve(app(&auth)).await;
        let [short, _, grants, ..] = auth.statements();

        let mut given = 0;
        for count in [1, 10, 100, 1000] {
            give(&probe, given, count).await;
            given = count;
            assert_eq!(browser.get("/everything").await.status, 200, "{count}");
            assert_eq!(ran(), [short.clone(), grants.clone()], "{count}");
            for _ in 0..3 {
                assert_eq!(browser.get("/everything").await.status, 200, "{count}");
                assert_eq!(ran(), std::slice::from_ref(&short), "{count}");
            }
        }
        // All grants count. One of each kind is checked.
        let identity = axum::Router::new()
            .route("/count", axum::routing::get(|identity: portcullis::Identity| async move {
                let kinds = ["p999:read", "p997:read", "p998:read"].iter().filter(|text| {
                    let asked = portcullis::Requirement::permission(text).expect("a permission");
                    identity.meets(&asked)
                });
                format!("{} {}", kinds.count(), identity.grants().roles().len())
            }))
            .layer(auth.layer());
        browser.address = serve(identity).await;
        assert_eq!(browser.get("/count").await.text, "3 666");
    }

    async fn roles_groups_and_levels_together_cost_the_same_short_statement(probe: Probe) {
        let probe = probe.configured(|config| {
            let levels = ["viewer", "editor"].map(str::to_owned).to_vec();
            config.permission.levels.insert("list".to_owned(), levels);
        });
        let (alice, mut browser) = probe.signed_in("alice").await;
        let auth = &probe.auth;
        auth.roles().create("admin", ["admin:read"]).await.expect("it is made");
        auth.roles().create("editor", ["list:edit"]).await.expect("it is made");
        auth.roles().grant(alice.id(), "admin").await.expect("it is granted");
        // Twenty roles, ten groups with one role each, thirty roles on resources, and thirty
        // levels.
        for number in 0..20 {
            let role = format!("role{number}");
            auth.roles().create(&role, [format!("p{number}:read")]).await.expect("it is made");
            auth.roles().grant(alice.id(), &role).await.expect("it is granted");
        }
        for number in 0..10 {
            let (group, role) = (format!("group{number}"), format!("member{number}"));
            auth.roles().create(&role, [format!("g{number}:read")]).await.expect("it is made");
            auth.groups().create(&group).await.expect("it is made");
            auth.groups().grant(&group, &role).await.expect("it is granted");
            auth.groups().join(&group, alice.id()).await.expect("a member");
        }
        for number in 0..30 {
            let list = Resource::new("list", &number.to_string()).expect("a resource");
            auth.roles().grant_on(alice.id(), "editor", &list).await.expect("it is granted");
            let other = Resource::new("list", &format!("m{number}")).expect("a resource");
            auth.memberships().grant(alice.id(), &other, "editor").await.expect("it is given");
        }
        // One more statement loads all of them, once. After that the short statement is enough.
        assert_eq!(cost(&probe, &mut browser, "/everything").await, (200, 2));
        for _ in 0..5 {
            assert_eq!(cost(&probe, &mut browser, "/everything").await, (200, 1));
        }
        let session = browser.get("/auth/session").await.json();
        // The role `admin`, twenty roles, ten roles of groups, and `viewer` and `editor` on each of
        // the thirty lists.
        assert_eq!(session["roles"].as_array().map(Vec::len), Some(1 + 20 + 10 + 60));
    }

    async fn a_source_of_memberships_costs_a_sign_in_four_statements_and_a_request_none(probe: Probe) {
        use portcullis::port::{HookFuture, SourceMembership};
        let mut probe = probe;
        probe.auth = probe.rebuilt(|builder| {
            builder.levels("list", ["viewer"]).membership_source(
                |_| -> HookFuture<'static, Vec<SourceMembership>> {
                    Box::pin(async { Ok(vec![SourceMembership::new("list", "1", "viewer")]) })
                },
            )
        });
        let (_, mut browser) = probe.signed_in("alice").await;
        let (answer, statements) = probe.statements(browser.stranger().login("alice", PASSWORD)).await;
        // One more statement records the new device, and one asks whether a role requires a factor.
        assert_eq!((answer.status, statements), (200, 7 + 2 + 4));
        assert_eq!(cost(&probe, &mut browser, "/me").await, (200, 1), "its grants are known");
        // Unchanged memberships do not change the version.
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
        assert_eq!(cost(&probe, &mut browser, "/me").await, (200, 1));
        let (answer, statements) = probe.statements(browser.post_empty("/auth/memberships/refresh")).await;
        assert_eq!((answer.status, statements), (200, 1 + 4));
        assert_eq!(cost(&probe, &mut browser, "/auth/memberships").await, (200, 2));
    }

    async fn forged_and_dead_tokens_cost_nothing(probe: Probe) {
        let (_, browser) = administrator(&probe).await;
        let token = browser.cookie.clone().expect("a cookie");
        let app = app(&probe.auth);
        let other = probe.rebuilt(|_| {
            Portcullis::builder(probe.db.clone()).clock(probe.clock.clone()).secret(Secret::generate())
        });
        let issued = other.sessions().start_anonymous(&Default::default()).await.expect("it starts");
        let mut headers = http::HeaderMap::new();
        issued.apply(&mut headers);
        let foreign = headers["set-cookie"].to_str().expect("ASCII").to_owned();
        let foreign = foreign.split(['=', ';']).nth(1).expect("a value").to_owned();

        let (_, statements) = probe.statements(async {
            for number in 0..100 {
                assert_eq!(oneshot(&app, "/everything", &forged(&token, number)).await, 401);
            }
            for bad in [
                "", ".", "..", "a.b.c", "null", &foreign, &token[1..], &token[..token.len() - 1],
                &format!("{token}."), &token.replace('.', ".."), &"x".repeat(8 * 1024),
            ] {
                assert_eq!(oneshot(&app, "/everything", bad).await, 401, "{bad}");
                assert_eq!(oneshot(&app, "/maybe", bad).await, 200, "{bad}");
            }
        })
        .await;
        assert_eq!(statements, 0);
        let (status, statements) = probe.statements(oneshot(&app, "/everything", &token)).await;
        assert_eq!((status, statements), (200, 1), "the good one still is");

        // After the refresh window even a valid signature does not cause a statement.
        probe.clock.advance(8 * 24 * 60 * MINUTE);
        let (status, statements) = probe.statements(oneshot(&app, "/everything", &token)).await;
        assert_eq!((status, statements), (401, 0));
    }

    async fn adding_and_removing_a_name_costs_what_this_table_says(probe: Probe) {
        let account = NewAccount::username("alice").with_email("alice@example.com").verified();
        probe.auth.registration().create(account, PASSWORD).await.expect("the account is made");
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        assert_eq!(browser.get("/me").await.status, 200, "its grants are in memory");
        let mut costs: Vec<(&str, u16, usize)> = Vec::new();
        macro_rules! costs {
            ($what:literal, $work:expr) => {{
                let (answer, statements) = probe.statements($work).await;
                costs.push(($what, answer.status, statements));
            }};
        }
        let names = "/auth/login-names";
        costs!("list", browser.get(names));
        costs!("username", browser.post(names, json!({ "username": "second" })));
        costs!("no username", browser.post(names, json!({ "username": "a b" })));
        costs!("ask", browser.post(names, json!({ "email": "a@example.com" })));
        costs!("ask, just before", browser.post(names, json!({ "email": "a@example.com" })));
        costs!("ask, no mailbox", browser.post(names, json!({ "email": "a" })));
        let confirm = "/auth/login-names/confirm";
        costs!("wrong code", browser.post(confirm, json!({ "code": "x" })));
        costs!("wrong token", browser.post(confirm, json!({ "token": "A".repeat(43) })));
        probe.mail().await;
        let sent = probe.notifier.sent_of(MessageKind::LoginNameConfirm);
        let (_, token) = sent[0].text.split_once("#token=").expect("a link");
        let token: String = token.chars().take(43).collect();
        costs!("confirm", browser.post(confirm, json!({ "token": token })));
        costs!("remove", browser.delete("/auth/login-names/a%40example.com"));
        costs!("remove, not there", browser.delete("/auth/login-names/nobody"));
        let sent = probe.notifier.sent_of(MessageKind::LoginNameAdded);
        let (_, token) = sent[0].text.split_once("#token=").expect("a link");
        let token: String = token.chars().take(43).collect();
        let undo = "/auth/login-names/undo";
        costs!("undo, wrong token", browser.stranger().post(undo, json!({ "token": "A".repeat(43) })));
        costs!("undo", browser.stranger().post(undo, json!({ "token": token })));
        let expected = [
            ("list", 200, 2),
            ("username", 200, 16),
            ("no username", 422, 2),
            ("ask", 202, 11),
            ("ask, just before", 202, 8),
            ("ask, no mailbox", 422, 1),
            ("wrong code", 403, 5),
            ("wrong token", 403, 2),
            ("confirm", 200, 18),
            ("remove", 200, 12),
            ("remove, not there", 404, 4),
            ("undo, wrong token", 403, 1),
            ("undo", 204, 11),
        ];
        assert_eq!(costs, expected);
    }

    async fn a_change_of_address_costs_what_this_table_says(probe: Probe) {
        let (_, mut browser) = administrator(&probe).await;
        let mut costs: Vec<(&str, u16, usize)> = Vec::new();
        macro_rules! costs {
            ($what:literal, $work:expr) => {{
                let (answer, statements) = probe.statements($work).await;
                costs.push(($what, answer.status, statements));
            }};
        }
        for (first, address) in [(true, "a@example.com"), (false, "b@example.com")] {
            probe.clock.advance(MINUTE);
            let body = json!({ "email": address });
            costs!("ask", browser.post("/auth/email", body.clone()));
            if first {
                costs!("ask, just before", browser.post("/auth/email", body));
                costs!("ask, no mailbox", browser.post("/auth/email", json!({ "email": "a" })));
                costs!("wrong code", browser.post("/auth/email/confirm", json!({ "code": "x" })));
                let body = json!({ "token": "A".repeat(43) });
                costs!("wrong token", browser.post("/auth/email/confirm", body.clone()));
                costs!("undo, wrong token", browser.post("/auth/email/undo", body));
            }
            let sent = probe.mail().await.pop().expect("a message");
            let (_, token) = sent.text.split_once("#token=").expect("a link");
            let token: String = token.chars().take(43).collect();
            costs!("confirm", browser.post("/auth/email/confirm", json!({ "token": token })));
        }
        let sent = probe.mail().await.pop().expect("a message");
        let (_, token) = sent.text.split_once("#token=").expect("a link");
        let token: String = token.chars().take(43).collect();
        costs!("undo", browser.stranger().post("/auth/email/undo", json!({ "token": token })));
        let expected = [
            ("ask", 202, 10),
            ("ask, just before", 202, 7),
            ("ask, no mailbox", 422, 1),
            ("wrong code", 403, 5),
            ("wrong token", 403, 2),
            ("undo, wrong token", 403, 1),
            ("confirm", 200, 13),
            ("ask", 202, 11),
            ("confirm", 200, 20),
            ("undo", 204, 29),
        ];
        assert_eq!(costs, expected);
    }

    async fn a_factor_of_the_application_costs_what_this_table_says(probe: Probe) {
        let (probe, _) = with_card(probe, |_| {});
        let (_, mut browser) = member(&probe, "alice").await;
        prove_mailbox(&probe, &mut browser).await;
        assert_eq!(browser.get("/me").await.status, 200, "its grants are in memory");
        let mut costs: Vec<(&str, u16, usize)> = Vec::new();
        macro_rules! costs {
            ($what:literal, $work:expr) => {{
                let (answer, statements) = probe.statements($work).await;
                costs.push(($what, answer.status, statements));
                answer
            }};
        }
        macro_rules! asks {
            ($what:literal, $browser:expr, $path:expr) => {{
                let answer = costs!($what, $browser.post($path, json!({ "method": "external" })));
                format!("answer of cell {}", answer.json()["challenge"]["cell"])
            }};
        }
        let code = asks!("ask to set it up", browser, "/card/challenge");
        costs!("set up, wrong code", enrol(&mut browser, "wrong"));
        costs!("set up", enrol(&mut browser, &code));
        costs!("set up again", enrol(&mut browser, &code));
        probe.clock.advance(MINUTE);
        let mut waits = waiting(&browser, "alice").await;
        costs!("methods", waits.get("/auth/second-factor"));
        let code = asks!("ask in a sign-in", waits, "/auth/second-factor/challenge");
        costs!("sign in, wrong code", external_factor::verify(&mut waits, "wrong"));
        costs!("sign in", external_factor::verify(&mut waits, &code));
        probe.clock.advance(6 * MINUTE);
        assert_eq!(browser.get("/me").await.status, 200);
        costs!("remove, too late", browser.delete("/card"));
        let code = asks!("ask for a step-up", browser, "/auth/reauthenticate/challenge");
        costs!("step-up, wrong code", external_factor::step_up(&mut browser, "wrong"));
        costs!("step-up", external_factor::step_up(&mut browser, &code));
        costs!("remove", browser.delete("/card"));
        costs!("remove again", browser.delete("/card"));
        let expected = [
            ("ask to set it up", 202, 7),
            ("set up, wrong code", 403, 9),
            // Ends all codes, links and other sessions of the account, and tells the owner.
            ("set up", 200, 27),
            ("set up again", 409, 2),
            ("methods", 200, 1),
            ("ask in a sign-in", 202, 7),
            ("sign in, wrong code", 403, 8),
            ("sign in", 200, 17),
            ("remove, too late", 401, 1),
            ("ask for a step-up", 202, 7),
            ("step-up, wrong code", 403, 8),
            ("step-up", 200, 12),
            ("remove", 200, 12),
            ("remove again", 409, 3),
        ];
        assert_eq!(costs, expected);
    }

    async fn each_route_of_ours_costs_what_this_table_says(probe: Probe) {
        let (_, mut browser) = administrator(&probe).await;
        let auth = probe.auth.clone();
        let bob = probe.register("bob").await;
        auth.accounts().require_password_change(bob.id()).await.expect("it is set");
        let mut costs: Vec<(&str, u16, usize)> = Vec::new();
        macro_rules! costs {
            ($what:literal, $work:expr) => {{
                let (answer, statements) = probe.statements($work).await;
                costs.push(($what, answer.status, statements));
            }};
        }
        let mut stranger = browser.stranger();
        costs!("methods", stranger.get("/auth/methods"));
        costs!("login, unknown name", stranger.login("nobody", PASSWORD));
        costs!("login, wrong password", stranger.login("alice", "wrong horse battery staple"));
        costs!("login", stranger.login("alice", PASSWORD));
        costs!("login over a session", stranger.login("alice", PASSWORD));
        costs!("session", stranger.get("/auth/session"));
        costs!("sessions", stranger.get("/auth/sessions"));
        costs!("refresh, too early", stranger.post_empty("/auth/session/refresh"));
        probe.clock.advance(2 * MINUTE);
        costs!("refresh", stranger.post_empty("/auth/session/refresh"));
        costs!("session, first use", stranger.get("/auth/session"));
        probe.clock.advance(2 * MINUTE);
        costs!("session, first late use", stranger.get("/auth/session"));
        costs!("reauthenticate, wrong", stranger.post("/auth/reauthenticate", json!({ "password": "wrong" })));
        costs!("reauthenticate", stranger.post("/auth/reauthenticate", json!({ "password": PASSWORD })));
        let weak = json!({ "new_password": "short" });
        costs!("password, weak", stranger.put("/auth/password", weak));
        let wrong = json!({ "current_password": "wrong", "new_password": "another long password" });
        costs!("password, wrong", stranger.put("/auth/password", wrong));
        let change = json!({ "new_password": "another long password" });
        costs!("password", stranger.put("/auth/password", change));
        costs!("end a foreign session", stranger.delete("/auth/sessions/018f0000-0000-7000-8000-000000000000"));
        costs!("end the others", stranger.delete("/auth/sessions"));
        let cookie = stranger.cookie.clone().expect("a cookie");
        costs!("logout", stranger.post_empty("/auth/logout"));
        costs!("logout again", stranger.with_cookie(&cookie).post_empty("/auth/logout"));
        costs!("logout of nobody", stranger.post_empty("/auth/logout"));
        let mut forced = browser.stranger();
        costs!("login to a forced change", forced.login("bob", PASSWORD));
        let change = json!({ "new_password": "another long password" });
        costs!("forced change", forced.put("/auth/password", change));
        let mut visitor = browser.stranger();
        costs!("anonymous", visitor.post_empty("/auth/session/anonymous"));
        let carol = json!({ "username": "carol", "password": PASSWORD });
        costs!("register over a visitor", visitor.post("/auth/register", carol.clone()));
        costs!("register, taken", browser.stranger().post("/auth/register", carol));
        costs!("register, invalid", browser.stranger().post("/auth/register", json!({ "username": "a b", "password": "x" })));
        let dave = json!({ "username": "dave", "email": "dave@example.com", "password": PASSWORD });
        costs!("register with two names", browser.stranger().post("/auth/register", dave));
        let body = |email: &str| json!({ "email": email });
        costs!("ask for a proof, unknown", browser.stranger().post("/auth/verification", body("nobody@example.com")));
        costs!("ask for a proof, too soon", browser.stranger().post("/auth/verification", body("dave@example.com")));
        let message = crate::verification::asked(&probe, "dave@example.com").await;
        let wrong = json!({ "email": "dave@example.com", "code": "wrong" });
        costs!("prove, wrong code", browser.stranger().post("/auth/verification/confirm", wrong));
        let token = crate::verification::token_of(&message);
        let right = json!({ "token": token, "password": PASSWORD });
        costs!("prove, with the password", browser.stranger().post("/auth/verification/confirm", right.clone()));
        costs!("prove, again", browser.stranger().post("/auth/verification/confirm", right));
        costs!("no such route", browser.get("/auth/nowhere"));
        let forgot = |login: &str| json!({ "login": login });
        costs!("forgot", visitor.post("/auth/password/forgot", forgot("dave")));
        costs!("forgot, just before", visitor.post("/auth/password/forgot", forgot("dave")));
        costs!("forgot, unknown", visitor.post("/auth/password/forgot", forgot("nobody")));
        let mail = probe.mail().await.pop().expect("a link").text;
        let (_, token) = mail.split_once("#token=").expect("a token");
        let token = &token[..43];
        costs!("check a link", visitor.post("/auth/password/reset/check", json!({ "token": token })));
        let reset = |token: &str| json!({ "token": token, "password": "another long password" });
        costs!("reset, wrong token", visitor.post("/auth/password/reset", reset("wrong")));
        costs!("reset, unknown token", visitor.post("/auth/password/reset", reset(&"A".repeat(43))));
        costs!("reset", visitor.post("/auth/password/reset", reset(token)));

        let expected = [
            ("methods", 200, 0),
            ("login, unknown name", 401, 5),
            ("login, wrong password", 401, 5),
            ("login", 200, 10),
            ("login over a session", 200, 10),
            ("session", 200, 1),
            ("sessions", 200, 2),
            ("refresh, too early", 200, 1),
            ("refresh", 200, 2),
            ("session, first use", 200, 1),
            ("session, first late use", 200, 2),
            ("reauthenticate, wrong", 403, 6),
            ("reauthenticate", 200, 10),
            // The new password must not be one of the account's names, and there can be several.
            ("password, weak", 422, 2),
            ("password, wrong", 403, 7),
            // Ends the codes and links that were sent to the account before, and the passkeys that a
            // browser has made by itself.
            ("password", 200, 12),
            ("end a foreign session", 404, 3),
            // The epochs of the account and of the session that continues, the other sessions, and
            // the event. One more statement reads the new epoch for the device that stays known.
            ("end the others", 200, 6),
            ("logout", 204, 3),
            ("logout again", 204, 1),
            ("logout of nobody", 204, 0),
            ("login to a forced change", 200, 8),
            // With the event of the new device.
            ("forced change", 200, 14),
            ("anonymous", 201, 2),
            ("register over a visitor", 201, 8),
            // Reads who has the name, and writes the event.
            ("register, taken", 409, 3),
            ("register, invalid", 422, 0),
            ("register with two names", 201, 14),
            ("ask for a proof, unknown", 202, 8),
            // As many as for a code that is sent, so that the cost does not reveal whether one was
            // sent.
            ("ask for a proof, too soon", 202, 8),
            ("prove, wrong code", 403, 5),
            // The password counts as an attempt at the password.
            ("prove, with the password", 200, 11),
            ("prove, again", 409, 2),
            ("no such route", 404, 0),
            // Each request is an attempt: two statements take its number, and a failure writes an
            // event.
            ("forgot", 202, 11),
            ("forgot, just before", 202, 11),
            ("forgot, unknown", 202, 11),
            ("check a link", 204, 5),
            ("reset, wrong token", 400, 3),
            ("reset, unknown token", 400, 4),
            // One statement reads the epoch with which the device is known.
            ("reset", 204, 15),
        ];
        assert_eq!(costs, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_forged_tokens_cost_nothing() {
    // One database is enough, because no statement runs.
    crate::support::probe::run(Backend::Sqlite, |probe: Probe| async move {
        let (_, browser) = administrator(&probe).await;
        let token = browser.cookie.clone().expect("a cookie");
        let app = app(&probe.auth);
        let (_, statements) = probe
            .statements(async {
                for number in 0..10_000 {
                    assert_eq!(oneshot(&app, "/me", &forged(&token, number)).await, 401);
                }
            })
            .await;
        assert_eq!(statements, 0);
        assert_eq!(oneshot(&app, "/me", &token).await, 200);
    })
    .await;
}

/// The number of rows in the tables that the statements join.
const JOINED: usize = 10_000;
const ACCOUNTS: usize = 100_000;

/// Returns an expression of this database that makes an id from a counter.
fn counted_id(backend: Backend, prefix: &str, counter: &str) -> String {
    match backend {
        Backend::Sqlite => format!("CAST(printf('{prefix}%014d', {counter}) AS BLOB)"),
        Backend::Postgres => format!("md5('{prefix}' || {counter})::uuid"),
        Backend::MySql => format!("UNHEX(MD5(CONCAT('{prefix}', {counter})))"),
    }
}

/// Returns an expression that makes a text from a counter.
fn counted_text(backend: Backend, prefix: &str) -> String {
    match backend {
        Backend::MySql => format!("CONCAT('{prefix}', i)"),
        _ => format!("'{prefix}' || i"),
    }
}

/// Returns an expression for the digest of session number `i`, which has 32 bytes.
fn counted_digest(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "CAST(printf('%032d', i) AS BLOB)",
        Backend::Postgres => "decode(md5('d' || i) || md5('e' || i), 'hex')",
        Backend::MySql => "UNHEX(CONCAT(MD5(CONCAT('d', i)), MD5(CONCAT('e', i))))",
    }
}

/// Fills every table that the statements read, and lets the database analyze them.
async fn fill(backend: Backend, db: &DatabaseConnection) {
    let account = counted_id(backend, "aa", "i");
    let (role, group) = (counted_id(backend, "bb", "i"), counted_id(backend, "cc", "i"));
    let (session, name) = (counted_id(backend, "dd", "i"), |prefix| counted_text(backend, prefix));
    let digest = counted_digest(backend);
    for (table, columns, values, rows) in [
        (
            "auth_account",
            "id, username, must_change_password, superuser, epoch, version, \
             enrolled_factors, created_at",
            format!("{account}, {}, FALSE, FALSE, 0, 0, 0, 0", name("user")),
            ACCOUNTS,
        ),
        (
            "auth_session",
            "id, token_digest, version, lineage_id, account_id, account_epoch, stage, generation, \
             rotated_at, created_at, expires_at, idle_ms, persistent, factors",
            format!("{session}, {digest}, 0, {session}, {account}, 0, 0, 0, 0, 0, 0, 0, FALSE, ''"),
            JOINED,
        ),
        (
            "auth_api_key",
            "id, token_digest, key_id, version, first_id, account_id, name, slot, hint, scopes, \
             created_at, expires_at",
            format!(
                "{session}, {digest}, '', 0, {session}, {account}, 'n', {}, '', '', 0, 0",
                name("slot")
            ),
            JOINED,
        ),
        (
            "auth_role",
            "id, name, permissions, requires_factor, created_at",
            format!("{role}, {}, 'doc:read', FALSE, 0", name("role")),
            JOINED,
        ),
        ("auth_group", "id, name, created_at", format!("{group}, {}, 0", name("group")), JOINED),
        (
            "auth_account_role",
            "account_id, role_id, granted_at",
            format!("{account}, {role}, 0"),
            JOINED,
        ),
        (
            "auth_account_group",
            "account_id, group_id, joined_at",
            format!("{account}, {group}, 0"),
            JOINED,
        ),
        ("auth_group_role", "group_id, role_id, granted_at", format!("{group}, {role}, 0"), JOINED),
        (
            "auth_account_permission",
            "account_id, permission, granted_at",
            format!("{account}, 'doc:read', 0"),
            JOINED,
        ),
        (
            "auth_membership",
            "account_id, resource, resource_id, origin, level, granted_at",
            format!("{account}, 'list', {}, 0, 'viewer', 0", name("list")),
            JOINED,
        ),
    ] {
        let counter = match backend {
            Backend::Sqlite => format!(
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
                 SELECT i FROM n)"
            ),
            Backend::Postgres => format!("generate_series(1, {rows}) AS n(i)"),
            // Joins ten digits five or four times. MySQL and MariaDB both support this.
            Backend::MySql => {
                let digits = "SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 \
                    UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 \
                    UNION ALL SELECT 8 UNION ALL SELECT 9";
                let places = rows.ilog10();
                let sum: Vec<_> =
                    (0..places).map(|at| format!("t{at}.d * {}", 10_u32.pow(at))).collect();
                let tables: Vec<_> = (0..places).map(|at| format!("({digits}) t{at}")).collect();
                format!("(SELECT 1 + {} AS i FROM {}) n", sum.join(" + "), tables.join(", "))
            }
        };
        let insert = format!("INSERT INTO {table} ({columns}) SELECT {values} FROM {counter}");
        db.execute_unprepared(&insert).await.expect("the table is filled");
        let look = if backend == Backend::MySql {
            format!("ANALYZE TABLE {table}")
        } else {
            format!("ANALYZE {table}")
        };
        db.execute_unprepared(&look).await.expect("the table is analysed");
    }
}

/// Returns every step of the plan by which this database runs `text`, and the steps that read a
/// whole table.
async fn plan(backend: Backend, db: &DatabaseConnection, text: &str) -> (Vec<String>, Vec<String>) {
    let (mut steps, mut scans) = (Vec::new(), Vec::new());
    match backend {
        Backend::Sqlite => {
            let explain = format!("EXPLAIN QUERY PLAN {text}");
            for row in db
                .query_all_raw(Statement::from_string(db.get_database_backend(), explain))
                .await
                .expect("a plan")
            {
                let step: String = row.try_get_by_index(3).expect("a text");
                if step.starts_with("SCAN") && !step.contains("CONSTANT ROW") {
                    scans.push(step.clone());
                }
                steps.push(step);
            }
        }
        Backend::Postgres => {
            let takes = if text.contains("token_digest") {
                ("bytea", "'\\x00'")
            } else {
                ("uuid", "'00000000-0000-0000-0000-000000000000'")
            };
            let count = if text.contains("$2") { 2 } else { 1 };
            let list = |item: &str| vec![item; count].join(", ");
            let txn = db.begin().await.expect("a transaction");
            for setting in [
                "SET LOCAL enable_seqscan = off",
                "SET LOCAL plan_cache_mode = force_generic_plan",
                &format!("PREPARE asked ({}) AS {text}", list(takes.0)),
            ] {
                txn.execute_unprepared(setting).await.expect("it is set");
            }
            let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE asked ({})", list(takes.1));
            let row = txn
                .query_one_raw(Statement::from_string(txn.get_database_backend(), explain))
                .await;
            let json: Value =
                row.expect("a plan").expect("a row").try_get_by_index(0).expect("JSON");
            txn.execute_unprepared("DEALLOCATE asked").await.expect("it is forgotten");
            txn.rollback().await.expect("it rolls back");
            walk(&json[0]["Plan"], &mut steps, &mut scans);
        }
        Backend::MySql => {
            // The database plans no statement without values, so the values of an existing row are
            // used.
            let value = if text.contains("token_digest") {
                "(SELECT token_digest FROM auth_session ORDER BY id LIMIT 1)"
            } else {
                "(SELECT account_id FROM auth_account_role ORDER BY account_id LIMIT 1)"
            };
            let found = format!("SELECT HEX({value})");
            let row =
                db.query_one_raw(Statement::from_string(db.get_database_backend(), found)).await;
            let hex: String =
                row.expect("it answers").expect("a row").try_get_by_index(0).expect("hex");
            let explain = format!("EXPLAIN {}", text.replace('?', &format!("X'{hex}'")));
            for row in db
                .query_all_raw(Statement::from_string(db.get_database_backend(), explain))
                .await
                .expect("a plan")
            {
                let field = |name: &str| {
                    row.try_get::<Option<String>>("", name).expect("a text").unwrap_or_default()
                };
                let (table, access) = (field("table"), field("type"));
                let step = format!("{table} {access} {} {}", field("key"), field("Extra"));
                // The result of a union is not a table.
                if matches!(access.as_str(), "ALL" | "index") && !table.starts_with('<') {
                    scans.push(step.clone());
                }
                steps.push(step);
            }
        }
    }
    (steps, scans)
}

/// Visits the nodes of a PostgreSQL plan. Without sequential scans the planner may read a whole
/// index, so an index without a condition also counts as a scan.
fn walk(node: &Value, steps: &mut Vec<String>, scans: &mut Vec<String>) {
    let (kind, relation) = (&node["Node Type"], &node["Relation Name"]);
    let kind = kind.as_str().unwrap_or_default();
    let step = format!("{kind} {relation} {} {}", node["Index Name"], node["Index Cond"]);
    let reads_all = kind == "Seq Scan"
        || (matches!(kind, "Index Scan" | "Index Only Scan" | "Bitmap Index Scan")
            && node["Index Cond"].is_null());
    if reads_all {
        scans.push(step.clone());
    }
    steps.push(step);
    for child in node["Plans"].as_array().into_iter().flatten() {
        walk(child, steps, scans);
    }
}

/// Checks that no statement of a request reads a whole table, with one secret or with two.
async fn no_statement_reads_a_whole_table(backend: Backend) {
    let (url, _directory) = fresh(backend).await;
    let db = connect(&url).await;
    Migrator::up(&db, None).await.expect("the migrations run");
    fill(backend, &db).await;
    for secrets in [1, 2] {
        let builder = (0..secrets)
            .fold(Portcullis::builder(db.clone()), |builder, _| builder.secret(Secret::generate()));
        let builder = builder.levels("list", ["viewer", "editor"]).levels("doc", ["reader"]);
        let auth = builder.build().expect("the configuration is right");
        for text in auth.statements() {
            let (steps, scans) = plan(backend, &db, &text).await;
            assert!(steps.len() > 1, "{steps:#?}");
            assert!(scans.is_empty(), "{text}\n{scans:#?}\nof {steps:#?}");
        }
    }
    // This proves that the test works: it finds a statement that no index helps.
    let blind = if backend == Backend::Postgres {
        "SELECT id FROM auth_session WHERE idle_ms = 7 AND token_digest || token_digest <> $1"
    } else {
        "SELECT id FROM auth_session WHERE idle_ms = 7 AND token_digest <> ?"
    };
    let (steps, scans) = plan(backend, &db, blind).await;
    assert!(!scans.is_empty(), "{steps:#?}");
    db.close().await.expect("the connection closes");
    drop_fresh(backend, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_a_request_reads_a_whole_table_on_sqlite() {
    no_statement_reads_a_whole_table(Backend::Sqlite).await;
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_a_request_reads_a_whole_table_on_postgres() {
    no_statement_reads_a_whole_table(Backend::Postgres).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_a_request_reads_a_whole_table_on_mysql() {
    no_statement_reads_a_whole_table(Backend::MySql).await;
}
