//! The kit for tests of services, used like a service's own tests use it.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use portcullis::account::NewAccount;
use portcullis::permission::RoleDefinition;
use portcullis::test_kit::{StatementCounter, TestInstance};
use portcullis::{
    Account, AnonymousSession, ClientInfo, Factor, Identity, PendingSession, Portcullis,
    Requirement, Stage, public,
};
use serde_json::json;

use crate::on_every_database;
use crate::support::PASSWORD;
use crate::support::database::connect;
use crate::support::probe::app;

portcullis::permissions! {
    doc: Read, Write;
}

async fn hello() -> &'static str {
    "hello"
}

async fn made(auth: &Portcullis, name: &str) -> Account {
    auth.accounts().create(NewAccount::username(name)).await.expect("an account")
}

on_every_database! {
    async fn a_client_is_who_it_was_told_to_be(probe: Probe) {
        let auth = &probe.auth;
        let alice = made(auth, "alice").await;
        auth.roles().create("reader", ["doc:read"]).await.expect("a role");
        auth.roles().grant(alice.id(), "reader").await.expect("it is granted");
        let minute = Duration::from_secs(60);
        let fresh = Requirement::factor_within(Factor::Totp, minute);
        let service: Router = auth
            .router()
            .route("/me", get(async |account: Account| account.id().to_string()), public())
            .route("/pending", get(async |_: PendingSession| "pending"), public())
            .route("/visitor", get(async |_: AnonymousSession| "visitor"), public())
            .route("/from", get(async |client: ClientInfo| format!("{:?}", client.address())), public())
            .route("/docs", get(hello).post(hello).put(hello).patch(hello).delete(hello), doc::Read)
            .route("/fresh", post(hello), fresh)
            .into_router();
        let kit = auth.test();
        let client = kit.login_as(&alice);
        assert_eq!(client.get("/me").send(&service).await.text(), alice.id().to_string());
        // The same-origin rule is on: these are requests of a browser on a page of the same origin.
        for request in [
            client.get("/docs"),
            client.post("/docs"),
            client.put("/docs"),
            client.patch("/docs"),
            client.delete("/docs"),
        ] {
            assert_eq!(request.send(&service).await.status(), 200);
        }
        let cross = client.post("/docs").header("sec-fetch-site", "cross-site").send(&service).await;
        assert_eq!((cross.status().as_u16(), cross.code().as_str()), (403, "cross_site_request"));
        assert!(cross.rejection().is_some());
        assert_eq!(client.get("/from").send(&service).await.text(), "Some(127.0.0.1)");

        for (ages, status) in [
            (&[][..], 401),
            (&[(Factor::Totp, minute)], 401),
            (&[(Factor::Totp, minute - Duration::from_millis(1))], 200),
            (&[(Factor::Password, Duration::ZERO)], 401),
            (&[(Factor::Password, minute * 9), (Factor::Totp, Duration::ZERO)], 200),
        ] {
            let client = client.clone().with_factors(ages.iter().copied());
            assert_eq!(client.post("/fresh").send(&service).await.status(), status, "{ages:?}");
        }
        let limited = client.clone().limited_to(["doc:write"]);
        assert_eq!(limited.get("/docs").send(&service).await.status(), 403);
        let pending = client.clone().at_stage(Stage::PendingSecondFactor);
        assert_eq!(pending.get("/pending").send(&service).await.text(), "pending");
        assert_eq!(pending.get("/docs").send(&service).await.code(), "second_factor_required");
        assert_eq!(kit.visitor().get("/visitor").send(&service).await.text(), "visitor");
        assert_eq!(kit.nobody().get("/docs").send(&service).await.code(), "not_signed_in");
        assert_eq!(kit.nobody().cookie().await, None);
    }

    async fn a_client_keeps_its_cookie_as_answers_change_it(probe: Probe) {
        let service = app(&probe.auth);
        let alice = probe.register("alice").await;
        let client = probe.auth.test().nobody();
        let login = json!({ "login": "alice", "password": PASSWORD });
        let answer = client.post("/auth/login").json(&login).send(&service).await;
        assert_eq!(answer.json()["account_id"], alice.id().to_string());
        let first = client.cookie().await.expect("it is signed in");
        assert_eq!(client.clone().get("/me").send(&service).await.status(), 200, "clones share it");
        probe.clock.advance(Duration::from_secs(16 * 60));
        assert_eq!(client.get("/rotated").send(&service).await.text(), "true");
        assert_ne!(client.cookie().await.expect("it is signed in"), first);
        assert_eq!(client.get("/rotated").send(&service).await.text(), "false");
        assert_eq!(client.post("/auth/logout").send(&service).await.status(), 204);
        assert_eq!(client.cookie().await, None);
        assert_eq!(client.get("/me").send(&service).await.code(), "not_signed_in");

        // A client uses one session for all its requests. Another client uses another session.
        let client = probe.auth.test().login_as(&alice);
        let id = async || client.get("/session-id").send(&service).await.text();
        assert_eq!(id().await, id().await);
        let other = probe.auth.test().login_as(&alice).get("/session-id").send(&service).await;
        assert_ne!(id().await, other.text());
    }

    async fn an_instance_for_tests_counts_its_statements(probe: Probe) {
        let TestInstance { auth, clock, notifier, statements, db, .. } =
            TestInstance::with(connect(&probe.database.url).await, |builder| {
                builder.configure(|config| config.session.refresh_window = None)
            });
        let service = app(&auth);
        let alice = made(&auth, "alice").await;
        let client = auth.test().login_as(&alice);
        assert_eq!(client.get("/me").send(&service).await.status(), 200);
        let (answer, count) = statements.during(client.get("/me").send(&service)).await;
        assert_eq!((answer.status().as_u16(), count), (200, 1));
        statements.take();
        client.get("/me").send(&service).await;
        assert_eq!(statements.take(), [auth.statements()[0].clone()]);
        assert_eq!((statements.count(), statements.take().len()), (0, 0));
        clock.advance(Duration::from_secs(16 * 60));
        assert_eq!(client.get("/me").send(&service).await.code(), "token_expired");
        assert!(notifier.sent().is_empty());
        // Statements on another connection are counted where the test installs the counter.
        let mut other = db.clone();
        let counter = StatementCounter::install(&mut other);
        let auth = Portcullis::builder(other).secret(portcullis::Secret::generate()).build();
        auth.expect("a configuration").accounts().find_by_login("alice").await.expect("an answer");
        assert_eq!(counter.count(), 1);
    }

    async fn a_matrix_says_who_may_call_what_and_runs_no_handler(probe: Probe) {
        let auth = &probe.auth;
        auth.roles().create("reader", ["doc:read"]).await.expect("a role");
        auth.roles().create("trial", ["doc:read:7,8", "other:read:9"]).await.expect("a role");
        auth.roles().create("writer", ["doc:write", "doc:read:*"]).await.expect("a role");
        let never = async || -> &'static str { panic!("a matrix runs no handler") };
        let minute = Duration::from_secs(60);
        let both = [
            Requirement::typed(doc::Write),
            Requirement::factor_within(Factor::Password, minute),
            Requirement::factor(Factor::Totp),
        ];
        let service: Router = auth
            .router()
            .route("/", get(never), public())
            .route("/docs/{id}", get(never).delete(never), auth.require(doc::Read).on_path("id"))
            .route("/docs/new", post(never), doc::Write)
            .route("/reauth", post(never), Requirement::all(both).expect("a list"))
            .route("/raw", axum::routing::any(never), Requirement::role("trial"))
            .danger_unguarded("/old", Router::new().route("/x", get(never)))
            .auth_routes("/auth", auth.routes())
            .fallback(get(never), Requirement::signed_in())
            .into_router();
        let matrix = auth.test().matrix(&service).await;
        matrix.check("tests/it/test_kit.txt");
        // A second time, with other accounts: the text is the same.
        assert_eq!(auth.test().matrix(&service).await, matrix);
    }

    async fn a_matrix_shows_what_a_change_of_a_role_or_a_route_opens(probe: Probe) {
        // The matrix also works for an account that may not have a second session.
        let auth = &probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.session.max_per_account = Some(1);
                config.session.at_limit = portcullis::config::AtLimit::Refuse;
            })
        });
        auth.roles().create("guest", ["menu:read"]).await.expect("a role");
        let build = |access: Requirement| -> Router {
            auth.router().route("/docs", get(hello), access).into_router()
        };
        let cells = async |service: Router| {
            let text = auth.test().matrix(&service).await.to_string();
            let guest = text.lines().find(|line| line.contains("role guest")).expect("a line");
            let line = text.lines().find(|line| line.starts_with("GET")).expect("a line");
            (guest.to_owned(), line.split_whitespace().skip(3).collect::<Vec<_>>().join(" "))
        };
        let strict = cells(build(Requirement::typed(doc::Read))).await;
        assert_eq!(strict.1, "sign in no yes");
        auth.roles().set_permissions("guest", ["doc:*"]).await.expect("it is set");
        let wider = cells(build(Requirement::typed(doc::Read))).await;
        assert_ne!(strict, wider);
        let open = cells(build(Requirement::signed_in())).await;
        assert_eq!(open.1, "sign in yes");
    }

    async fn a_matrix_gives_accounts_the_factor_that_they_must_have(probe: Probe) {
        let auth = &probe.rebuilt(|builder| {
            builder.configure(|config| config.factor.superusers = true)
        });
        let strict = RoleDefinition::new("strict", ["doc:read"]).requires_factor(true);
        auth.roles().define([strict]).await.expect("it is defined");
        let service: Router =
            auth.router().route("/docs", get(hello), Requirement::typed(doc::Read)).into_router();
        let text = auth.test().matrix(&service).await.to_string();
        assert!(text.contains("C  role strict\n   superuser\n"), "{text}");
        assert!(text.contains("superuser whose enrolment is missing\nB  no role\n"), "{text}");
        let line = text.lines().find(|line| line.starts_with("GET")).expect("a line");
        let cells: Vec<_> = line.split_whitespace().skip(3).collect();
        assert_eq!(cells.join(" "), "sign in no yes");
    }

    async fn a_matrix_of_an_application_that_lacks_its_routes_fails(probe: Probe) {
        let auth = &probe.auth;
        let recorded = || -> Router { auth.router().route("/docs", get(hello), doc::Read).into_router() };
        let moved = Router::new().nest("/v1", recorded());
        let shadowed = Router::new().route("/docs", get(hello));
        let elsewhere = Router::new().fallback(hello).layer(auth.layer());
        for (service, part) in [
            (moved, "404"),
            (shadowed, "asked of no guard"),
            (elsewhere, "asked of no guard"),
        ] {
            let auth = auth.clone();
            let failed = tokio::spawn(async move { auth.test().matrix(&service).await }).await;
            let panic = failed.expect_err("it fails").into_panic();
            let text = panic.downcast::<String>().expect("a text");
            assert!(text.contains(part), "{text}");
        }
        let nothing = probe.rebuilt(|builder| builder);
        let failed = tokio::spawn(async move { nothing.test().matrix(&Router::new()).await }).await;
        assert!(failed.is_err(), "a table of nothing proves nothing");
    }

    async fn what_only_the_matrix_may_send_stops_at_the_guards(probe: Probe) {
        // A handler of the application cannot create the marker, so the marker cannot leak. The
        // same request without the kit runs the handler. A refused request does not reach it.
        let auth = &probe.auth;
        let service: Router = auth
            .router()
            .route("/who", get(async |who: Identity| who.account().id().to_string()), Requirement::signed_in())
            .into_router();
        let alice = made(auth, "alice").await;
        auth.test().matrix(&service).await;
        let client = auth.test().login_as(&alice);
        assert_eq!(client.get("/who").send(&service).await.text(), alice.id().to_string());
    }
}
