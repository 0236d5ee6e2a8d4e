//! The audit log: every flow writes its event in the transaction of its change, and no secrets.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use portcullis::account::NewAccount;
use portcullis::audit_log::RecordedEvent;
use portcullis::port::HookFuture;
use portcullis::{Account, AccountId, ClientInfo, Clock, Factor, PeerAddr, Requirement, SessionId};
use sea_orm::TransactionTrait;
use serde_json::{Value, json};

use crate::on_every_database;
use crate::support::call::{Called, call, request};
use crate::support::log::Log;
use crate::support::probe::app;
use crate::support::{Backend, Browser, PASSWORD, Probe, until};

const NEW: &str = "another horse battery staple";
const WRONG: &str = "wrong horse battery staple";

/// Returns the events of this account since the last call, oldest first. The clock moves between
/// flows, so the times of their events differ.
async fn news(probe: &Probe, account: AccountId) -> Vec<RecordedEvent> {
    let now = probe.clock.now();
    let log = probe.auth.audit_log().of_account(account, 100).await.expect("the log");
    probe.clock.advance(Duration::from_secs(1));
    log.into_iter().rev().filter(|event| event.at == now).collect()
}

/// One expected event: its kind, whether it succeeded, its detail, and whether it names a session
/// and an address.
type Row<'a> = (&'a str, bool, Option<&'a str>, bool, bool);

#[track_caller]
fn check(events: &[RecordedEvent], expected: &[Row<'_>]) {
    let mut found: Vec<_> = events
        .iter()
        .map(|event| {
            let RecordedEvent { kind, succeeded, detail, session_id, address, .. } = event;
            let whence = address.as_deref() == Some("127.0.0.1");
            (kind.as_str(), *succeeded, detail.as_deref(), session_id.is_some(), whence)
        })
        .collect();
    let mut expected = expected.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

async fn staged_login(probe: &Probe, browser: &Browser, name: &str, result: &str) -> Account {
    let account = probe.auth.accounts().find_by_login(name).await.expect("the database answers");
    let mut browser = browser.stranger();
    assert_eq!(browser.login(name, PASSWORD).await.json()["result"], result);
    account.expect("the account is there")
}

/// Waits for denials, which a separate task writes.
async fn denials(probe: &Probe, account: AccountId, total: i64) -> Vec<(String, i64)> {
    let found = async || probe.auth.audit_log().denials_of(account).await.expect("the log");
    let written = async || found().await.iter().map(|(_, count)| count).sum::<i64>() >= total;
    until("the denials are written", written).await;
    let mut denials = found().await;
    denials.sort();
    denials
}

on_every_database! {
    async fn every_flow_has_its_event_with_who_when_where_and_result(probe: Probe) {
        let mut browser = probe.browser().await;
        let body = json!({ "username": "alice", "password": PASSWORD });
        let answer = browser.post("/auth/register", body).await;
        let alice: AccountId =
            answer.json()["account_id"].as_str().expect("an id").parse().expect("an id");
        let event = news(&probe, alice).await;
        check(&event, &[
            ("user_created", true, None, false, false),
            ("authn_login_success", true, None, true, true),
        ]);
        let session = event.iter().find_map(|event| event.session_id).expect("a session");
        assert_eq!(session.to_string(), answer.json()["session_id"]);

        browser.login("alice", WRONG).await;
        let failed = ("authn_login_fail", false, Some("invalid_credentials"), false, true);
        check(&news(&probe, alice).await, &[failed]);
        browser.login("alice", PASSWORD).await;
        let late = ("authn_login_successafterfail", true, Some("1"), false, true);
        check(&news(&probe, alice).await, &[
            late,
            ("authn_login_success", true, None, true, true),
        ]);

        browser.post("/auth/reauthenticate", json!({ "password": WRONG })).await;
        let failed = ("authn_login_fail", false, Some("wrong_password"), true, true);
        check(&news(&probe, alice).await, &[failed]);
        browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        check(&news(&probe, alice).await, &[
            late,
            ("authn_reauthenticated", true, None, true, true),
        ]);

        let body = json!({ "current_password": WRONG, "new_password": NEW });
        browser.put("/auth/password", body).await;
        let failed = ("authn_password_change_fail", false, Some("wrong_password"), true, true);
        check(&news(&probe, alice).await, &[failed]);
        let body = json!({ "current_password": PASSWORD, "new_password": NEW });
        browser.put("/auth/password", body).await;
        check(&news(&probe, alice).await, &[
            ("authn_password_change", true, None, true, true),
            late,
            ("session_created", true, None, true, true),
        ]);

        let mut other = browser.stranger();
        other.login("alice", NEW).await;
        news(&probe, alice).await;
        let id = other.get("/session-id").await.text;
        assert_eq!(browser.delete(&format!("/auth/sessions/{id}")).await.status, 204);
        let events = news(&probe, alice).await;
        assert_eq!((events.len(), events[0].kind.as_str()), (1, "session_ended"));
        assert_eq!(events[0].session_id.map(|id| id.to_string()), Some(id));
        assert_eq!(browser.delete("/auth/sessions").await.status, 200);
        let events = news(&probe, alice).await;
        assert_eq!((events.len(), events[0].kind.as_str()), (1, "sessions_ended"));

        browser.post_empty("/auth/logout").await;
        check(&news(&probe, alice).await, &[("session_ended", true, None, true, true)]);
        // No session ended, so there is no event.
        browser.post_empty("/auth/logout").await;
        check(&news(&probe, alice).await, &[]);
    }

    async fn what_is_done_to_an_account_has_its_event(probe: Probe) {
        let auth = &probe.auth;
        let accounts = auth.accounts();
        let alice = accounts.create(NewAccount::username("alice")).await.expect("made").id();
        check(&news(&probe, alice).await, &[("user_created", true, None, false, false)]);
        let updated = |what: &'static str| ("user_updated", true, Some(what), false, false);
        accounts.verify(alice).await.expect("verified");
        check(&news(&probe, alice).await, &[updated("verified")]);
        accounts.disable(alice).await.expect("disabled");
        check(&news(&probe, alice).await, &[updated("disabled")]);
        accounts.enable(alice).await.expect("enabled");
        check(&news(&probe, alice).await, &[updated("enabled")]);
        accounts.disable_from(alice, probe.clock.now()).await.expect("disabled");
        check(&news(&probe, alice).await, &[updated("disabled from a date")]);
        accounts.require_password_change(alice).await.expect("set");
        check(&news(&probe, alice).await, &[updated("must change password")]);
        accounts.set_enrolled_factors(alice, [Factor::Totp]).await.expect("set");
        check(&news(&probe, alice).await, &[updated("factors enrolled")]);
        auth.roles().create("editor", ["doc:*"]).await.expect("a role");
        auth.roles().grant(alice, "editor").await.expect("granted");
        let events = news(&probe, alice).await;
        let granted = (events[0].kind.as_str(), events[0].detail.as_deref());
        assert_eq!((events.len(), granted), (1, ("authz_granted", Some("editor"))));
        auth.roles().revoke(alice, "editor").await.expect("revoked");
        let events = news(&probe, alice).await;
        let revoked = (events[0].kind.as_str(), events[0].detail.as_deref());
        assert_eq!((events.len(), revoked), (1, ("authz_revoked", Some("editor"))));
        accounts.delete(alice).await.expect("deleted");
        check(&news(&probe, alice).await, &[updated("deleted")]);
        accounts.delete(alice).await.expect_err("deleted before");
        check(&news(&probe, alice).await, &[]);
    }

    async fn a_login_that_is_not_finished_says_how_far_it_came(probe: Probe) {
        let browser = probe.browser().await;
        let accounts = probe.auth.accounts();
        let id = probe.register("alice").await.id();
        accounts.require_password_change(id).await.expect("set");
        probe.clock.advance(Duration::from_secs(1));
        let alice = staged_login(&probe, &browser, "alice", "password_change_required").await.id();
        let success = |stage| ("authn_login_success", true, Some(stage), true, true);
        check(&news(&probe, alice).await, &[success("password_change_required")]);
        accounts.set_enrolled_factors(id, [Factor::Totp]).await.expect("set");
        probe.clock.advance(Duration::from_secs(1));
        staged_login(&probe, &browser, "alice", "second_factor_required").await;
        check(&news(&probe, alice).await, &[success("second_factor_required")]);
    }

    async fn nobody_s_events_name_nobody(probe: Probe) {
        let browser = probe.browser().await;
        browser.stranger().login("nobody", PASSWORD).await;
        browser.stranger().post_empty("/auth/session/anonymous").await;
        let count = |kind: &str, rest: &str| {
            format!(
                "SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}' AND account_id IS NULL \
                 AND address = '127.0.0.1' AND {rest}"
            )
        };
        let failed = count("authn_login_fail", "NOT succeeded AND session_id IS NULL");
        assert_eq!(probe.number(&failed).await, 1);
        let started = count("session_created", "succeeded AND session_id IS NOT NULL");
        assert_eq!(probe.number(&started).await, 1);
        assert_eq!(probe.rows().await[3], 2);
    }

    async fn without_its_event_nothing_is_changed(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let mut other = browser.stranger();
        other.login("alice", PASSWORD).await;
        let other_id = other.get("/session-id").await.text;
        let auth = &probe.auth;
        auth.roles().create("editor", ["doc:*"]).await.expect("a role");
        let hash = "SELECT password_hash FROM auth_account WHERE username = 'alice'";
        let before = (probe.text(hash).await, probe.rows().await);

        probe.execute("ALTER TABLE auth_event RENAME TO auth_event_away").await;
        let mut answers = Vec::new();
        for (path, body) in [
            ("/auth/register", json!({ "username": "bob", "password": PASSWORD })),
            ("/auth/login", json!({ "login": "alice", "password": PASSWORD })),
            ("/auth/login", json!({ "login": "alice", "password": WRONG })),
            ("/auth/session/anonymous", json!({})),
        ] {
            answers.push((path, browser.stranger().post(path, body).await));
        }
        let body = json!({ "password": PASSWORD });
        answers.push(("reauthenticate", browser.post("/auth/reauthenticate", body).await));
        let body = json!({ "current_password": PASSWORD, "new_password": NEW });
        answers.push(("password", browser.put("/auth/password", body).await));
        let path = format!("/auth/sessions/{other_id}");
        answers.push(("end one", browser.delete(&path).await));
        answers.push(("end all", browser.delete("/auth/sessions").await));
        answers.push(("logout", browser.post_empty("/auth/logout").await));
        let methods = [
            auth.accounts().disable(alice.id()).await.is_err(),
            auth.accounts().delete(alice.id()).await.is_err(),
            auth.accounts().create(NewAccount::username("carol")).await.is_err(),
            auth.roles().grant(alice.id(), "editor").await.is_err(),
            auth.roles().create("writer", ["doc:*"]).await.is_err(),
            auth.roles().delete("editor").await.is_err(),
        ];
        probe.execute("ALTER TABLE auth_event_away RENAME TO auth_event").await;

        for (what, answer) in &answers {
            assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{what}");
            assert!(answer.headers.contains_key("retry-after"), "{what}");
            assert_eq!(answer.cookie(), None, "{what}: the client is told of no change");
        }
        assert_eq!(methods, [true; 6]);
        assert_eq!((probe.text(hash).await, probe.rows().await), before);
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(other.get("/me").await.status, 200);
        assert_eq!(browser.get("/editors").await.status, 403);
        assert!(auth.roles().find("writer").await.expect("the database answers").is_none());
        assert!(auth.roles().find("editor").await.expect("the database answers").is_some());
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
    }

    async fn without_its_change_there_is_no_event(probe: Probe) {
        let auth = &probe.auth;
        let alice = probe.register("alice").await;
        let before = probe.rows().await;
        let client = ClientInfo::default();
        for commit in [false, true] {
            let txn = probe.db.begin().await.expect("a transaction");
            let accounts = auth.accounts().within(&txn);
            accounts.create(NewAccount::username("bob")).await.expect("it is made");
            accounts.verify(alice.id()).await.expect("it is verified");
            let issued = auth.sessions().start(&alice, &client).within(&txn).await;
            let id: SessionId = issued.expect("a session").session_id();
            auth.sessions().within(&txn).end_one(alice.id(), id).await.expect("it is ended");
            if commit {
                txn.commit().await.expect("it is committed");
                let [accounts, names, sessions, events] = before;
                let after = [accounts + 1, names + 1, sessions + 1, events + 4];
                assert_eq!(probe.rows().await, after);
            } else {
                txn.rollback().await.expect("it is rolled back");
                assert_eq!(probe.rows().await, before);
            }
        }
    }

    async fn denials_are_counted_by_account_rule_and_minute(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let (bob, mut bobs) = probe.signed_in("bob").await;
        let events = probe.rows().await[3];
        for _ in 0..5 {
            assert_eq!(browser.get("/admin").await.status, 403);
        }
        for _ in 0..3 {
            assert_eq!(browser.get("/editors").await.status, 403);
        }
        // One row for the rule, and not one for each id that a client asks for.
        assert_eq!(browser.get("/docs/42").await.status, 403);
        assert_eq!(browser.get("/docs/43").await.status, 403);
        assert_eq!(bobs.get("/admin").await.status, 403);
        // The first denial of each rule is written at once, before the minute has passed.
        assert_eq!(denials(&probe, bob.id(), 1).await, [("permission(admin:read)".to_owned(), 1)]);
        let rules = ["permission(admin:read)", "permission(doc:read)", "role(editor)"];
        let with = |counts: [i64; 3]| -> Vec<_> {
            rules.map(str::to_owned).into_iter().zip(counts).collect()
        };
        assert_eq!(denials(&probe, alice.id(), 3).await, with([1, 1, 1]));
        // The other denials are added once, even if `flush` is called twice.
        for _ in 0..2 {
            probe.auth.audit_log().flush().await;
            assert_eq!(denials(&probe, alice.id(), 10).await, with([5, 2, 3]));
        }
        let rows = "SELECT COUNT(*) FROM auth_denial";
        assert_eq!(probe.number(rows).await, 4);

        // Another minute gets another row.
        probe.clock.advance(Duration::from_secs(60));
        for _ in 0..2 {
            assert_eq!(browser.get("/admin").await.status, 403);
        }
        probe.auth.audit_log().flush().await;
        let counts = denials(&probe, alice.id(), 12).await;
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<i64>(), 12);
        assert_eq!(probe.number(rows).await, 5);
        // Denials are no events. A request without a session is not denied: the client is asked to
        // sign in.
        assert_eq!(browser.stranger().get("/admin").await.status, 401);
        assert_eq!(probe.number(rows).await, 5);
        assert_eq!(probe.rows().await[3], events);
    }

    async fn a_minute_s_denials_are_written_when_the_next_one_comes(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        for _ in 0..4 {
            browser.get("/admin").await;
        }
        probe.clock.advance(Duration::from_secs(60));
        browser.get("/editors").await;
        let counts = denials(&probe, alice.id(), 5).await;
        let expected = [("permission(admin:read)".to_owned(), 4), ("role(editor)".to_owned(), 1)];
        assert_eq!(counts, expected);
    }

    async fn a_rule_longer_than_its_column_is_cut(probe: Probe) {
        let alice = probe.register("alice").await;
        let rule = Requirement::role("ä".repeat(1000));
        let app = Router::new()
            .route("/", get(|| async { "ok" }))
            .route_layer(probe.auth.require(rule))
            .layer(probe.auth.layer());
        let cookie = probe.auth.test().login_as(&alice).cookie().await.expect("a session");
        for _ in 0..2 {
            let request = request("GET", "/").header("cookie", &cookie).body(Body::empty());
            assert_eq!(call(&app, request.expect("a request")).await.status, 403);
        }
        probe.auth.audit_log().flush().await;
        let [(rule, count)] = &denials(&probe, alice.id(), 2).await[..] else { panic!("one row") };
        assert_eq!((rule.chars().count(), *count), (255, 2));
    }
}

// The tests below check what one thread traces. They use one database, because databases trace
// nothing.

const AGENT: &str = "agent-canary-7c1d";

fn sent(method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Request<Body> {
    let mut request = request(method, path).header("user-agent", AGENT);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let mut request = request.body(body).expect("a request");
    request.extensions_mut().insert(PeerAddr([192, 0, 2, 7].into()));
    request
}

fn cookie_in(answer: &Called) -> String {
    let line = answer.headers["set-cookie"].to_str().expect("ASCII");
    line.split(';').next().expect("a pair").to_owned()
}

#[tokio::test]
async fn no_password_token_or_key_is_traced_or_stored() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let (log, _listening) = Log::start();
        let secret = "Tq3vYk0mVw1Jc7n4uXh8bZ5sLr2pGd6f";
        let pepper = "pW5vYk0mVw1Jc7n4uXh8bZ5sLr2pGd6f";
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.keys.secrets = vec![portcullis::Secret::new(secret).expect("a secret")];
                let pepper = portcullis::Secret::new(pepper).expect("a secret");
                config.password.peppers = vec![("2026".to_owned(), pepper)];
                config.service.bearer = true;
            })
        });
        let app = app(&auth);
        let (first, second) = ("canary first password", "canary second password");
        let (wrong, name) = ("canary wrong password", "canary-username");
        let mut secrets: Vec<String> =
            [secret, pepper, first, second, wrong].map(str::to_owned).to_vec();

        let body = json!({ "username": name, "email": "canary@example.com", "password": first });
        let answer = call(&app, sent("POST", "/auth/register", &[], Some(&body))).await;
        let mut cookie = cookie_in(&answer);
        secrets.push(cookie.clone());
        for password in [wrong, first] {
            let body = json!({ "login": name, "password": password });
            call(&app, sent("POST", "/auth/login", &[], Some(&body))).await;
            let encoded = data_encoding::BASE64.encode(format!("{name}:{password}").as_bytes());
            let basic = format!("Basic {encoded}");
            call(&app, sent("POST", "/auth/login", &[("authorization", &basic)], None)).await;
            secrets.push(encoded);
            let body = json!({ "password": password });
            let request = sent("POST", "/auth/reauthenticate", &[("cookie", &cookie)], Some(&body));
            let answer = call(&app, request).await;
            if password == first {
                cookie = cookie_in(&answer);
                secrets.push(cookie.clone());
            }
        }
        let body = json!({ "login": name, "password": first, "transport": "bearer" });
        let answer = call(&app, sent("POST", "/auth/login", &[], Some(&body))).await;
        let token: Value = serde_json::from_str(&answer.text).expect("JSON");
        let token = token["token"].as_str().expect("a token").to_owned();
        let bearer = format!("Bearer {token}");
        call(&app, sent("GET", "/admin", &[("authorization", &bearer)], None)).await;
        secrets.push(token);
        for (current, new) in [(wrong, second), (first, "short"), (first, second)] {
            let body = json!({ "current_password": current, "new_password": new });
            let request = sent("PUT", "/auth/password", &[("cookie", &cookie)], Some(&body));
            let answer = call(&app, request).await;
            if new == second && current == first {
                assert_eq!(answer.status, 200, "{}", answer.text);
                secrets.push(cookie_in(&answer));
                cookie = cookie_in(&answer);
            }
        }
        // A rotation, a replay, and bodies with a wrong field or a wrong type.
        probe.clock.advance(Duration::from_secs(16 * 60));
        let answer = call(&app, sent("GET", "/me", &[("cookie", &cookie)], None)).await;
        let rotated = cookie_in(&answer);
        probe.clock.advance(Duration::from_secs(90));
        call(&app, sent("GET", "/me", &[("cookie", &rotated)], None)).await;
        call(&app, sent("GET", "/me", &[("cookie", &cookie)], None)).await;
        secrets.push(rotated);
        let body = json!({ "login": name, "password": first, wrong: wrong });
        call(&app, sent("POST", "/auth/login", &[], Some(&body))).await;
        let body = json!({ "login": name, "password": [first] });
        call(&app, sent("POST", "/auth/login", &[], Some(&body))).await;

        // One flow whose database table is missing.
        probe.execute("ALTER TABLE auth_event RENAME TO auth_event_away").await;
        let body = json!({ "login": name, "password": second });
        assert_eq!(call(&app, sent("POST", "/auth/login", &[], Some(&body))).await.status, 503);
        probe.execute("ALTER TABLE auth_event_away RENAME TO auth_event").await;
        auth.audit_log().flush().await;

        let text = log.text();
        for kind in [
            "authn_login_success",
            "authn_login_fail",
            "authn_reauthenticated",
            "authn_password_change",
            "authn_password_change_fail",
            "session_rotated",
            "session_theft_suspected",
            "authz_fail",
            "user_created",
            "request failed",
        ] {
            assert!(text.contains(kind), "{kind} is traced");
        }
        let path = probe.database.url.trim_start_matches("sqlite://");
        let path = path.split('?').next().expect("a path");
        let mut stored = Vec::new();
        for file in [path.to_owned(), format!("{path}-wal")] {
            stored.extend(std::fs::read(file).unwrap_or_default());
        }
        let stored = String::from_utf8_lossy(&stored);
        assert!(stored.contains(name), "the file is the database");
        for secret in &secrets {
            // The claims and the signature of a token are also checked separately.
            let secret = secret.trim_start_matches("__Host-session=");
            for part in secret
                .split('.')
                .filter(|part| part.len() > 12)
                .skip(usize::from(secret.matches('.').count() == 2))
            {
                assert!(!text.contains(part), "{part} is traced");
                assert!(!stored.contains(part), "{part} is stored");
            }
        }
        for personal in [name, "canary@example.com"] {
            assert!(!text.contains(personal), "{personal} is traced");
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_a_stranger_sends_forges_a_line_of_the_log() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        const FORGED: &str = "2026-01-01T00:00:00Z  INFO portcullis::event: event=\"forged\"";
        let info = |_: AccountId, _: SessionId| -> HookFuture<'static, Value> {
            Box::pin(async { Err(format!("a hook says\n{FORGED}\u{1b}[31m\r\u{202e}").into()) })
        };
        let auth = probe.rebuilt(|builder| builder.session_info(info));
        let role = format!("editor\n{FORGED}\u{1b}[2J\u{202e}");
        let app = Router::new()
            .route("/", get(|| async { "ok" }))
            .route_layer(auth.require(Requirement::role(role)))
            .merge(app(&auth))
            .layer(auth.layer());
        probe.register("alice").await;
        let (log, _listening) = Log::start();
        let agents: [&[u8]; 4] = [
            "\u{202e}agent\u{2028}".as_bytes(),
            b"\xc2\x85agent\xc2\x9b31m",
            b"\"} {\"event\":\"forged\"",
            b"agent event=\"forged\" account=root",
        ];
        let evil = format!("alice\r\n{FORGED}\u{1b}[31m\0\u{202e}");
        for agent in agents {
            for login in [evil.as_str(), "alice", "\",\"event\":\"forged"] {
                for password in [PASSWORD, evil.as_str()] {
                    let body = json!({ "login": login, "password": password });
                    let mut request = sent("POST", "/auth/login", &[], Some(&body));
                    let agent = axum::http::HeaderValue::from_bytes(agent).expect("a header");
                    request.headers_mut().insert("user-agent", agent);
                    let forwarded = "1.2.3.4, event=\"forged\", \u{202e}";
                    let forwarded = axum::http::HeaderValue::from_bytes(forwarded.as_bytes());
                    request.headers_mut().insert("x-forwarded-for", forwarded.expect("a header"));
                    let answer = call(&app, request).await;
                    if answer.status != 200 {
                        assert_eq!(answer.status, 401);
                        continue;
                    }
                    let cookie = cookie_in(&answer);
                    let request = sent("GET", "/", &[("cookie", &cookie)], None);
                    assert_eq!(call(&app, request).await.status, 403);
                    let request = sent("GET", "/auth/session", &[("cookie", &cookie)], None);
                    assert_eq!(call(&app, request).await.status, 503);
                }
            }
        }
        let text = log.text();
        assert!(text.contains("authz_fail") && text.contains("a hook says"), "{text}");
        for line in text.lines() {
            // The subscriber began each line: with a time, a level and a target.
            let mut words = line.split_whitespace();
            let time = words.next().unwrap_or_default();
            let level = words.next().unwrap_or_default();
            assert!(
                time.len() > 20 && time.ends_with('Z') && !time.starts_with("2026-01-01"),
                "{line}"
            );
            assert!(["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].contains(&level), "{line}");
        }
        for line in log.events() {
            let names = line.matches(" event=\"").count();
            assert!(!line.contains("event=\"forged\""), "{line}");
            assert_eq!(names, 1, "{line}");
        }
        let strange =
            |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{2028}');
        assert_eq!(text.chars().find(|c| strange(*c)), None);
    })
    .await;
}
