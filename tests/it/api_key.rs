//! Requests with API keys: what a key opens, what it costs, and when it stops.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use portcullis::guard::{AcceptedCredentials, Caller, RouteCaller};
use portcullis::own_api_key::{IssuedApiKey, NewApiKey};
use portcullis::permission::RoleDefinition;
use portcullis::{
    Account, ApiKeyIdentity, AuthError, ClientInfo, Identity, MessageKind, NotSignedIn, Permission,
    Portcullis, Principal, Requirement, Secret, Session, Visitor,
};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::on_every_database;
use crate::race::parallel;
use crate::support::browser::{Answer, COOKIE, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp::check;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const PREFIX: &str = "acme";
const HEADER: &str = "x-acme-key";

/// A node with API keys.
pub(crate) fn with_keys(probe: Probe) -> Probe {
    probe.configured(|config| {
        config.api_key.prefix = Some(PREFIX.to_owned());
        config.api_key.header = Some(HEADER.to_owned());
        config.service.bearer = true;
    })
}

fn permission(text: &str) -> Requirement {
    Requirement::permission(text).expect("a permission")
}

/// A route for each way to accept keys, or to refuse them.
fn application(auth: &Portcullis) -> Router {
    let read = || permission("report:read");
    let both =
        |requirement| auth.require(requirement).credentials(AcceptedCredentials::SessionOrApiKey);
    let not_banned = Requirement::not(permission("report:banned")).expect("it is allowed");
    let fresh = Requirement::within(5 * MINUTE);
    let fresh_read = Requirement::all([read(), fresh.clone()]).expect("two");
    let read_or_fresh = Requirement::any([read(), fresh]).expect("two");
    let custom = Requirement::custom("always", |_| true);
    async fn who(who: Principal) -> String {
        match who {
            Principal::Session(identity) => format!("session {}", identity.account().id()),
            Principal::ApiKey(program) => format!("key {}", program.key().name()),
        }
    }
    let guarded =
        |path: &str, guard| Router::new().route(path, get(who).post(who)).route_layer(guard);
    let identity = Router::new()
        .route("/identity", get(|_: Identity| async { "a person" }))
        .route("/session", get(|_: Session| async { "a session" }))
        .route("/account", get(|account: Account| async move { account.id().to_string() }))
        .route_layer(both(read()));
    Router::new()
        .merge(guarded("/reports", both(read())))
        .merge(guarded("/reports/{id}", both(read()).on_path("id")))
        .merge(guarded("/machines", auth.require(read()).credentials(AcceptedCredentials::ApiKey)))
        .merge(guarded("/people", auth.require(read())))
        .merge(guarded("/everybody", both(Requirement::signed_in())))
        .merge(guarded("/fresh", both(fresh_read)))
        .merge(guarded("/read-or-fresh", both(read_or_fresh)))
        .merge(guarded("/of-editors", both(Requirement::role("editor"))))
        .merge(guarded("/not-banned", both(not_banned)))
        .merge(guarded("/custom", both(custom)))
        .merge(identity)
        .route("/whoami", get(who))
        .route(
            "/program",
            get(|program: ApiKeyIdentity| async move { program.key().name().to_owned() }),
        )
        .route("/bare-account", get(|account: Account| async move { account.id().to_string() }))
        .route(
            "/maybe-identity",
            get(|who: Option<Identity>| async move { who.is_some().to_string() }),
        )
        .route(
            "/maybe-principal",
            get(|who: Option<Principal>| async move { who.is_some().to_string() }),
        )
        .route("/visit", get(|who: Visitor| async move { who.session_id().to_string() }))
        .route(
            "/caller",
            post(|caller: Caller| async move {
                match caller {
                    Caller::Nobody => "nobody",
                    Caller::ApiKey(_) => "a program",
                    Caller::SignedIn(_) => "a person",
                    _ => "somebody else",
                }
            }),
        )
        .layer(auth.layer())
        .nest("/keys", portcullis::own_api_key::routes(auth))
        .merge(app(auth))
}

async fn server(probe: &Probe) -> Browser {
    Browser::new(serve(application(&probe.auth)).await)
}

pub(crate) async fn grant(probe: &Probe, account: &Account, texts: &[&str]) {
    for text in texts {
        let permission = Permission::parse(text).expect("a permission");
        probe.auth.permissions().grant(account.id(), &permission).await.expect("it is granted");
    }
}

/// An account with a key that has these scopes, all of which the account has.
async fn keyed(probe: &Probe, name: &str, scopes: &[&str]) -> (Account, IssuedApiKey) {
    let account = probe.register(name).await;
    grant(probe, &account, scopes).await;
    let issued = key_of(&probe.auth, &account, "robot", scopes).await;
    (account, issued)
}

pub(crate) async fn key_of(
    auth: &Portcullis,
    account: &Account,
    name: &str,
    scopes: &[&str],
) -> IssuedApiKey {
    let new = NewApiKey::new(name).scopes(scopes.iter().copied());
    auth.api_keys().issue(account.id(), new).await.expect("it is made")
}

fn with(browser: &Browser, method: Method, path: &str, key: &str) -> RequestBuilder {
    browser.raw(method, path).header("authorization", format!("Bearer {key}"))
}

async fn ask(browser: &Browser, path: &str, key: &str) -> Answer {
    send(with(browser, Method::GET, path, key)).await
}

on_every_database! {
    async fn a_key_acts_within_its_scopes_and_the_rights_of_its_account(probe: Probe) {
        let probe = with_keys(probe);
        let account = probe.register("alice").await;
        grant(&probe, &account, &["report:read", "report:write"]).await;
        let editor = RoleDefinition::new("editor", ["doc:edit"]);
        probe.auth.roles().define([editor]).await.expect("it is defined");
        probe.auth.roles().grant(account.id(), "editor").await.expect("it is granted");
        let keys = probe.auth.api_keys();
        let key = async |name: &str, scopes: &[&str]| {
            let new = NewApiKey::new(name).scopes(scopes.iter().copied());
            keys.issue(account.id(), new).await.map(|issued| issued.secret().to_owned())
        };
        let reads = key("reads", &["report:read"]).await.expect("it is made");
        let one = key("one", &["report:read:7"]).await.expect("it is made");
        let writes = key("writes", &["report:write"]).await.expect("it is made");
        let none = key("none", &[]).await.expect("it is made");
        // A role is no permission, but the account has it.
        let edits = key("edits", &["role:editor"]).await.expect("it is made");
        for other in ["role:admin", "role:*", "role", "role:editor,admin", "role:editor:7"] {
            assert!(key("other", &[other]).await.is_err(), "{other}");
        }
        let browser = server(&probe).await;
        let table = [
            ("/reports", [200, 403, 403, 403]),
            ("/reports/7", [200, 200, 403, 403]),
            ("/reports/8", [200, 403, 403, 403]),
            ("/machines", [200, 403, 403, 403]),
            ("/people", [403, 403, 403, 403]),
            ("/everybody", [200, 200, 200, 200]),
            ("/fresh", [403, 403, 403, 403]),
            ("/read-or-fresh", [200, 403, 403, 403]),
            ("/of-editors", [403, 403, 403, 403]),
            ("/not-banned", [200, 200, 200, 200]),
            ("/custom", [403, 403, 403, 403]),
            ("/identity", [403, 403, 403, 403]),
            ("/session", [403, 403, 403, 403]),
            ("/account", [200, 403, 403, 403]),
            ("/whoami", [200, 200, 200, 200]),
            ("/program", [200, 200, 200, 200]),
            ("/bare-account", [403, 403, 403, 403]),
            ("/maybe", [200, 200, 200, 200]),
            ("/public", [200, 200, 200, 200]),
            ("/me", [403, 403, 403, 403]),
            ("/signed-in", [403, 403, 403, 403]),
            ("/visit", [403, 403, 403, 403]),
        ];
        for (path, statuses) in table {
            for (key, status) in [&reads, &one, &writes, &none].into_iter().zip(statuses) {
                let answer = ask(&browser, path, key).await;
                assert_eq!(answer.status, status, "{path}: {}", answer.text);
                assert!(answer.set_cookies().is_empty(), "{answer:?}");
            }
        }
        for (path, code) in [
            ("/people", "session_required"),
            ("/identity", "session_required"),
            ("/session", "session_required"),
            ("/bare-account", "session_required"),
            ("/visit", "session_required"),
            ("/signed-in", "session_required"),
            ("/fresh", "factor_unavailable"),
            ("/of-editors", "denied"),
            ("/custom", "denied"),
        ] {
            check(&ask(&browser, path, &reads).await, 403, code);
        }
        check(&ask(&browser, "/read-or-fresh", &none).await, 403, "factor_unavailable");
        assert_eq!(ask(&browser, "/of-editors", &edits).await.text, "key edits");
        check(&ask(&browser, "/reports", &edits).await, 403, "denied");
        assert_eq!(ask(&browser, "/reports", &reads).await.text, "key reads");
        assert_eq!(ask(&browser, "/account", &reads).await.text, account.id().to_string());
        assert_eq!(ask(&browser, "/maybe-principal", &reads).await.text, "true");
        assert_eq!(ask(&browser, "/maybe-identity", &reads).await.text, "false");
        let caller = send(with(&browser, Method::POST, "/caller", &reads)).await;
        assert_eq!(caller.text, "a program");
        // A person with a session is refused only where a key is needed.
        let mut alice = browser.clone();
        assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
        assert_eq!(alice.get("/reports").await.text, format!("session {}", account.id()));
        check(&alice.get("/machines").await, 403, "api_key_required");
        check(&alice.get("/program").await, 403, "api_key_required");
        check(&browser.stranger().get("/machines").await, 401, "not_signed_in");
        // What the account loses, the key loses.
        let permission = Permission::parse("report:read").expect("a permission");
        probe.auth.permissions().revoke(account.id(), &permission).await.expect("it is revoked");
        check(&ask(&browser, "/reports", &reads).await, 403, "denied");
    }

    async fn a_role_needs_a_scope_that_covers_it(probe: Probe) {
        let probe = with_keys(probe);
        let id = probe.superuser("root").await;
        let editor = RoleDefinition::new("editor", ["doc:edit"]);
        probe.auth.roles().define([editor]).await.expect("it is defined");
        probe.auth.roles().grant(id, "editor").await.expect("it is granted");
        let browser = server(&probe).await;
        for (scope, status) in [("*", 200), ("role:editor", 200), ("role:other", 403), ("doc", 403)] {
            let new = NewApiKey::new(scope).scope(scope);
            let issued = probe.auth.api_keys().issue(id, new).await.expect("a superuser has it");
            assert_eq!(ask(&browser, "/of-editors", issued.secret()).await.status, status, "{scope}");
        }
    }

    async fn a_key_costs_one_statement_and_a_text_that_only_looks_like_one_none(probe: Probe) {
        let probe = with_keys(probe);
        let (account, issued) = keyed(&probe, "alice", &["report:read"]).await;
        let key = issued.secret();
        let browser = server(&probe).await;
        let cost = async |path: &str, key: &str| {
            let (answer, cost) = probe.statements(ask(&browser, path, key)).await;
            (answer.status, cost)
        };
        // The first use is recorded.
        assert_eq!(cost("/reports", key).await, (200, 2));
        for _ in 0..3 {
            assert_eq!(cost("/reports", key).await, (200, 1));
        }
        assert_eq!(cost("/public", key).await, (200, 0));
        probe.clock.advance(MINUTE);
        assert_eq!(cost("/reports", key).await, (200, 2));
        assert_eq!(cost("/reports", key).await, (200, 1));
        let changed = |at: usize| {
            let mut text = key.as_bytes().to_vec();
            text[at] = if text[at] == b'a' { b'b' } else { b'a' };
            String::from_utf8(text).expect("ASCII")
        };
        for broken in [
            changed(PREFIX.len() + 1),
            changed(key.len() - 7),
            changed(key.len() - 1),
            key[..key.len() - 1].to_owned(),
            format!("{key}a"),
            format!("{PREFIX}_"),
            format!("{PREFIX}_{}", "a".repeat(5000)),
        ] {
            let (answer, cost) = probe.statements(ask(&browser, "/reports", &broken)).await;
            check(&answer, 401, "invalid_api_key");
            assert_eq!(cost, 0, "{broken}");
        }
        // Nothing is kept in memory.
        let plain = probe.rebuilt(|builder| builder.configure(|config| {
            config.api_key.prefix = Some(PREFIX.to_owned());
            config.database.remembered_grants = 0;
        }));
        let plain = Browser::new(serve(application(&plain)).await);
        probe.clock.advance(MINUTE);
        assert_eq!(ask(&plain, "/reports", key).await.status, 200);
        let (answer, cost) = probe.statements(ask(&plain, "/reports", key)).await;
        assert_eq!((answer.status, cost), (200, 1));
        let one = Permission::parse("report:read").expect("a permission");
        probe.auth.permissions().revoke(account.id(), &one).await.expect("it is revoked");
        check(&ask(&plain, "/reports", key).await, 403, "denied");
    }

    async fn each_end_of_a_key_counts_on_the_next_request_on_every_node(probe: Probe) {
        let probe = with_keys(probe);
        let account = probe.register_with_email("alice", "alice@example.com").await;
        grant(&probe, &account, &["report:read"]).await;
        let other = probe.rebuilt(|builder| builder.configure(|config| {
            config.api_key.prefix = Some(PREFIX.to_owned());
            config.login.require_verified = true;
        }));
        let (browser, other) = (server(&probe).await, Browser::new(serve(application(&other)).await));
        let keys = probe.auth.api_keys();
        let ended = async |key: &IssuedApiKey, code: &str| {
            check(&ask(&browser, "/reports", key.secret()).await, 401, code);
            check(&ask(&other, "/reports", key.secret()).await, 401, code);
        };
        let one = key_of(&probe.auth, &account, "one", &["report:read"]).await;
        check(&ask(&other, "/reports", one.secret()).await, 401, "api_key_account_unusable");
        let accounts = probe.auth.accounts();
        accounts.verify(account.id()).await.expect("it is verified");
        let good = async |key: &IssuedApiKey| {
            for browser in [&browser, &other] {
                assert_eq!(ask(browser, "/reports", key.secret()).await.status, 200);
            }
        };
        good(&one).await;
        accounts.disable(account.id()).await.expect("it is disabled");
        ended(&one, "api_key_account_unusable").await;
        accounts.enable(account.id()).await.expect("it is enabled");
        good(&one).await;
        keys.revoke(account.id(), one.key().id()).await.expect("it is revoked");
        ended(&one, "api_key_revoked").await;

        let two = key_of(&probe.auth, &account, "two", &["report:read"]).await;
        good(&two).await;
        let three = keys.rotate(account.id(), two.key().id(), Duration::ZERO).await.expect("it is replaced");
        ended(&two, "api_key_revoked").await;
        good(&three).await;
        keys.set_scopes(account.id(), three.key().id(), &[]).await.expect("it is limited");
        for browser in [&browser, &other] {
            check(&ask(browser, "/reports", three.secret()).await, 403, "denied");
        }
        let scopes = ["report:read".to_owned()];
        keys.set_scopes(account.id(), three.key().id(), &scopes).await.expect("it is widened");
        good(&three).await;
        probe.clock.advance(90 * DAY - Duration::from_millis(1));
        good(&three).await;
        probe.clock.advance(Duration::from_millis(1));
        ended(&three, "api_key_expired").await;

        let four = key_of(&probe.auth, &account, "four", &["report:read"]).await;
        good(&four).await;
        accounts.delete(account.id()).await.expect("it is deleted");
        ended(&four, "api_key_account_unusable").await;
    }

    async fn a_role_that_requires_a_factor_stops_the_keys_of_an_account_without_one(probe: Probe) {
        let probe = with_keys(probe);
        let (account, issued) = keyed(&probe, "alice", &["report:read"]).await;
        let browser = server(&probe).await;
        assert_eq!(ask(&browser, "/reports", issued.secret()).await.status, 200);
        let admin = RoleDefinition::new("admin", ["user:read"]).requires_factor(true);
        probe.auth.roles().define([admin]).await.expect("it is defined");
        probe.auth.roles().grant(account.id(), "admin").await.expect("it is granted");
        let page = with(&browser, Method::GET, "/reports", issued.secret()).header("accept", "text/html");
        check(&send(page).await, 401, "enrolment_required");
        check(&ask(&browser, "/reports", issued.secret()).await, 401, "enrolment_required");
        // With a time of grace, the program goes on, and does not begin the time of its owner.
        let graceful = probe.rebuilt(|builder| builder.configure(|config| {
            config.api_key.prefix = Some(PREFIX.to_owned());
            config.factor.grace = 14 * DAY;
        }));
        let mut graceful = Browser::new(serve(application(&graceful)).await);
        assert_eq!(ask(&graceful, "/reports", issued.secret()).await.status, 200);
        probe.clock.advance(20 * DAY);
        assert_eq!(ask(&graceful, "/reports", issued.secret()).await.status, 200);
        assert_eq!(graceful.login("alice", PASSWORD).await.status, 200);
        assert_eq!(graceful.get("/reports").await.status, 200, "the owner has time");
        probe.clock.advance(14 * DAY);
        check(&ask(&graceful, "/reports", issued.secret()).await, 401, "enrolment_required");
        probe.auth.roles().revoke(account.id(), "admin").await.expect("it is revoked");
        assert_eq!(ask(&browser, "/reports", issued.secret()).await.status, 200);
    }

    async fn only_the_right_secret_opens_it_in_every_header_that_may_carry_it(probe: Probe) {
        let probe = with_keys(probe);
        let (account, issued) = keyed(&probe, "alice", &["report:read"]).await;
        let other = key_of(&probe.auth, &account, "other", &["report:read"]).await;
        let browser = server(&probe).await;
        let key = issued.secret().to_owned();
        let get = |path: &str| browser.raw(Method::GET, path);
        // Another key of the right form, which nobody made: cold, and after a good use.
        let forged = {
            let elsewhere = probe.rebuilt(|builder| builder.configure(|config| {
                config.api_key.prefix = Some(PREFIX.to_owned());
            }));
            let made = key_of(&elsewhere, &account, "gone", &[]).await;
            probe.execute("DELETE FROM auth_api_key WHERE name = 'gone'").await;
            made.secret().to_owned()
        };
        check(&ask(&browser, "/reports", &forged).await, 401, "invalid_api_key");
        assert_eq!(ask(&browser, "/reports", &key).await.status, 200);
        check(&ask(&browser, "/reports", &forged).await, 401, "invalid_api_key");
        for request in [
            get("/reports").header("authorization", format!("bearer {key}")),
            get("/reports").header("authorization", format!("BEARER   {key} ")),
            get("/reports").header(HEADER, &key),
            get("/reports").header(HEADER, format!(" {key} ")),
        ] {
            assert_eq!(send(request).await.status, 200);
        }
        // The restrictions of a route are the same in each header.
        for request in [
            get("/people").header("authorization", format!("Bearer {key}")),
            get("/people").header(HEADER, &key),
        ] {
            check(&send(request).await, 403, "session_required");
        }
        for request in [
            get("/reports").header("authorization", format!("ApiKey {key}")),
            get("/reports").header("authorization", key.as_str()),
            get("/reports").basic_auth(&key, Some("")),
            get("/reports").basic_auth("alice", Some(&key)),
            get("/reports").header("x-api-key", &key),
            get(&format!("/reports?api_key={key}&access_token={key}")),
            get("/reports").header("cookie", format!("session={key}")),
        ] {
            check(&send(request).await, 401, "not_signed_in");
        }
        check(&send(get("/reports").header("cookie", format!("{COOKIE}={key}"))).await, 401, "invalid_token");
        check(&send(get("/reports").header(HEADER, "something else")).await, 401, "not_signed_in");
        check(&send(get("/reports").header(HEADER, "")).await, 401, "not_signed_in");
        // What the database keeps opens nothing.
        for row in probe.hex_dump("auth_api_key").await {
            for part in row.split('|') {
                check(&ask(&browser, "/reports", &format!("{PREFIX}_{part}")).await, 401, "invalid_api_key");
            }
        }
        // Two credentials are one too many, where somebody must be known.
        let mut alice = browser.clone();
        assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
        let bearer = {
            let issued = probe.auth.sessions().start(&account, &ClientInfo::default());
            let issued = issued.transport(portcullis::Transport::Bearer).await.expect("a session");
            issued.token().expect("a token").to_owned()
        };
        let two = [
            alice.request(Method::GET, "/reports").header("authorization", format!("Bearer {key}")),
            alice.request(Method::GET, "/reports").header(HEADER, &key),
            get("/reports").header("authorization", format!("Bearer {key}")).header(HEADER, other.secret()),
            get("/reports").header("authorization", format!("Bearer {key}")).header(HEADER, &key),
            get("/reports").header(HEADER, &key).header(HEADER, other.secret()),
            get("/reports").header("authorization", format!("Bearer {bearer}")).header(HEADER, &key),
            get("/reports").header("authorization", format!("Bearer {bearer}"))
                .header("authorization", format!("Bearer {key}")),
        ];
        for request in two {
            let (answer, cost) = probe.statements(send(request)).await;
            check(&answer, 400, "multiple_credentials");
            assert_eq!(cost, 0);
        }
        let both = alice.request(Method::GET, "/public").header(HEADER, &key);
        assert_eq!(send(both).await.status, 200);
        // A cache must not give the answer for one key to another.
        let vary = |answer: &Answer| {
            let lines = answer.headers.get_all("vary").iter();
            lines.map(|line| line.to_str().expect("ASCII")).collect::<Vec<_>>().join(", ")
        };
        let answer = send(get("/maybe-principal").header(HEADER, &key)).await;
        assert!(vary(&answer).contains(HEADER) && vary(&answer).contains("authorization"), "{answer:?}");
        // A cookie that does not count is none.
        let stale = get("/reports").header(HEADER, &key).header("cookie", format!("{COOKIE}=old"));
        assert_eq!(send(stale).await.status, 200);
    }

    async fn without_a_prefix_there_are_no_keys(probe: Probe) {
        let on = with_keys(probe);
        let (account, issued) = keyed(&on, "alice", &["report:read"]).await;
        let off = on.rebuilt(|builder| builder);
        let browser = Browser::new(serve(application(&off)).await);
        check(&ask(&browser, "/reports", issued.secret()).await, 401, "not_signed_in");
        // A route for keys alone is closed then, and the operator is told.
        let closed = || off.audit().into_iter().any(|found| found.code == "api_key_route_closed");
        assert!(!closed());
        check(&ask(&browser, "/machines", issued.secret()).await, 401, "not_signed_in");
        assert!(closed());
        let made = off.api_keys().issue(account.id(), NewApiKey::new("more")).await;
        assert!(matches!(made, Err(portcullis::own_api_key::ApiKeyError::Off)), "{made:?}");
        // Another prefix makes other keys.
        let other = on.rebuilt(|builder| builder.configure(|config| {
            config.api_key.prefix = Some("brand".to_owned());
        }));
        let browser = Browser::new(serve(application(&other)).await);
        check(&ask(&browser, "/reports", issued.secret()).await, 401, "not_signed_in");
        let branded = key_of(&other, &account, "branded", &["report:read"]).await;
        assert!(branded.secret().starts_with("brand_"));
        assert_eq!(ask(&browser, "/reports", branded.secret()).await.status, 200);
    }

    async fn a_key_opens_no_mounted_route_that_needs_a_session(probe: Probe) {
        let probe = with_keys(probe);
        let id = probe.superuser("root").await;
        let issued = probe.auth.api_keys().issue(id, NewApiKey::new("all").scope("*")).await;
        let issued = issued.expect("it is made");
        let app = probe.auth.router()
            .auth_routes("/auth", probe.auth.routes())
            .auth_routes("/auth", portcullis::anonymous::routes(&probe.auth))
            .auth_routes("/auth", portcullis::mail_login::routes(&probe.auth))
            .auth_routes("/auth", portcullis::device_login::routes(&probe.auth))
            .auth_routes("/auth", portcullis::account_recovery::routes(&probe.auth))
            .auth_routes("/auth", portcullis::action_proof::routes(&probe.auth, ["pay"]))
            .auth_routes("/auth", portcullis::own_account::routes(&probe.auth))
            .auth_routes("/auth", portcullis::own_api_key::routes(&probe.auth))
            .auth_routes("/auth", portcullis::second_factor::routes(&probe.auth))
            .into_router();
        let browser = Browser::new(serve(app).await);
        let mut count = 0;
        for route in probe.auth.guarded_routes().iter() {
            let description = route.description().expect("a route of portcullis");
            if description.caller == RouteCaller::Anyone {
                continue;
            }
            let path = route.path().replace("{id}", &id.to_string()).replace("{name}", "x").replace("{user_code}", "BCDF-GHJK");
            let request = with(&browser, description.method.as_str().parse().expect("a method"), &path, issued.secret());
            check(&send(request.json(&json!({}))).await, 403, "session_required");
            count += 1;
        }
        assert!(count > 40, "{count}");
        for path in ["/auth/logout", "/auth/session/refresh", "/auth/session/anonymous"] {
            let request = with(&browser, Method::POST, path, issued.secret());
            check(&send(request.json(&json!({}))).await, 403, "session_required");
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, 0);
    }

    async fn a_request_with_only_a_key_may_come_from_any_site_and_gets_no_cookie(probe: Probe) {
        let probe = with_keys(probe);
        let (_, issued) = keyed(&probe, "alice", &["report:read"]).await;
        let browser = server(&probe).await;
        for path in ["/reports", "/caller"] {
            let request = with(&browser, Method::POST, path, issued.secret())
                .header("sec-fetch-site", "cross-site")
                .header("origin", "https://elsewhere.example");
            let answer = send(request).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            assert!(answer.set_cookies().is_empty(), "{answer:?}");
        }
        // The neighbour: a cookie.
        let mut alice = browser.clone();
        assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
        let request = alice.raw(Method::POST, "/reports")
            .header("cookie", format!("{COOKIE}={}", alice.cookie.clone().expect("a cookie")))
            .header("sec-fetch-site", "cross-site");
        check(&send(request).await, 403, "cross_site_request");
    }

    async fn a_lock_and_a_new_password_do_not_stop_a_key(probe: Probe) {
        let probe = with_keys(probe);
        let (account, issued) = keyed(&probe, "alice", &["report:read"]).await;
        let browser = server(&probe).await;
        let mut alice = browser.clone();
        assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
        let mut stranger = browser.stranger();
        for _ in 0..20 {
            stranger.login("alice", "wrong password").await;
        }
        assert_ne!(stranger.login("alice", PASSWORD).await.status, 200, "it is locked");
        assert_eq!(ask(&browser, "/reports", issued.secret()).await.status, 200);
        let body = json!({ "current_password": PASSWORD, "new_password": "another horse battery staple" });
        let changed = alice.put("/auth/password", body).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        assert_eq!(ask(&browser, "/reports", issued.secret()).await.status, 200);
        let ended = alice.delete("/auth/sessions").await;
        assert_eq!(ended.status, 200, "{}", ended.text);
        assert_eq!(ask(&browser, "/reports", issued.secret()).await.status, 200, "only the other sessions ended");
        let ended = alice.delete("/auth/sessions?scope=all").await;
        assert_eq!(ended.status, 200, "{}", ended.text);
        check(&ask(&browser, "/reports", issued.secret()).await, 401, "api_key_revoked");
        let why = "SELECT detail FROM auth_event WHERE kind = 'api_key_revoked'";
        assert_eq!(probe.texts(why).await, ["all sessions ended"]);
        assert!(probe.auth.api_keys().list(account.id()).await.expect("a list").is_empty());
    }

    async fn the_keys_of_whoever_registered_an_address_end_when_its_owner_proves_it(probe: Probe) {
        let probe = with_keys(probe);
        // A thief registers the address of the victim, and makes a key.
        let account = probe.register_with_email("thief", "victim@example.com").await;
        grant(&probe, &account, &["report:read"]).await;
        let issued = key_of(&probe.auth, &account, "robot", &["report:read"]).await;
        let browser = server(&probe).await;
        assert_eq!(ask(&browser, "/reports", issued.secret()).await.status, 200);
        let mut victim = browser.stranger();
        let asked = victim.post("/auth/password/forgot", json!({ "login": "victim@example.com" })).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        let mails = probe.mail().await;
        let mail = mails.into_iter().rfind(|mail| mail.kind == MessageKind::PasswordReset);
        let mail = mail.expect("a link is sent");
        let (_, token) = mail.text.split_once("#token=").expect("a link");
        let token: String = token.chars().take_while(|c| !c.is_whitespace()).collect();
        let body = json!({ "token": token, "password": "another horse battery staple" });
        let reset = victim.post("/auth/password/reset", body).await;
        assert_eq!(reset.status, 204, "{}", reset.text);
        check(&ask(&browser, "/reports", issued.secret()).await, 401, "api_key_revoked");
        let why = "SELECT detail FROM auth_event WHERE kind = 'api_key_revoked'";
        assert_eq!(probe.texts(why).await, ["handed over"]);
    }

    async fn the_keys_of_a_session_end_when_its_owner_reports_it(probe: Probe) {
        let probe = with_keys(probe);
        let account = probe.register("alice").await;
        grant(&probe, &account, &["report:read"]).await;
        let owners = key_of(&probe.auth, &account, "robot", &["report:read"]).await;
        let mut thief = server(&probe).await;
        assert_eq!(thief.login("alice", PASSWORD).await.status, 200);
        let body = json!({ "name": "backdoor", "scopes": ["report:read"] });
        let answer = thief.post("/keys/api-keys", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let backdoor = answer.json()["key"].as_str().expect("a key").to_owned();
        let session = thief.get("/session-id").await.text;
        let mut alice = thief.stranger();
        assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
        assert_eq!(ask(&alice, "/reports", &backdoor).await.status, 200);
        let reported = alice.post_empty(&format!("/auth/sessions/{session}/report")).await;
        assert_eq!(reported.status, 204, "{}", reported.text);
        check(&ask(&alice, "/reports", &backdoor).await, 401, "api_key_revoked");
        assert_eq!(ask(&alice, "/reports", owners.secret()).await.status, 200, "it is not of that session");
        let why = "SELECT detail FROM auth_event WHERE kind = 'api_key_revoked'";
        assert_eq!(probe.texts(why).await, ["session reported"]);
    }

    async fn the_holder_of_a_key_does_not_use_up_what_its_owner_may_ask(probe: Probe) {
        let probe = probe.configured(|config| {
            config.api_key.prefix = Some(PREFIX.to_owned());
            config.rate.per_source = None;
            config.rate.per_principal = portcullis::rate_limit::Quota::per_minute(5).into();
        });
        let (_, issued) = keyed(&probe, "alice", &[]).await;
        let browser = server(&probe).await;
        for _ in 0..10 {
            check(&ask(&browser, "/auth/session", issued.secret()).await, 403, "session_required");
        }
        let mut alice = browser.clone();
        assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
        assert_eq!(alice.get("/auth/session").await.status, 200);
    }

    async fn the_last_use_is_recorded_once_a_minute_with_its_network(probe: Probe) {
        let probe = with_keys(probe);
        let (account, issued) = keyed(&probe, "alice", &["report:read"]).await;
        let browser = server(&probe).await;
        let listed = async || {
            let keys = probe.auth.api_keys().list(account.id()).await.expect("a list");
            (keys[0].last_used_at(), keys[0].last_used_from().map(str::to_owned))
        };
        assert_eq!(listed().await, (None, None));
        let began = probe.auth_now();
        let requests = parallel(16, |_| {
            let (browser, key) = (browser.clone(), issued.secret().to_owned());
            async move { ask(&browser, "/reports", &key).await.status }
        });
        let (statuses, cost) = probe.statements(requests).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        // Each reads its key. Few write, and usually only one.
        assert!((16 + 1..=16 * 2).contains(&cost), "{cost}");
        let network = Some("127.0.0.0".to_owned());
        assert_eq!(listed().await, (Some(began), network.clone()));
        probe.clock.advance(MINUTE - Duration::from_millis(1));
        assert_eq!(ask(&browser, "/reports", issued.secret()).await.status, 200);
        assert_eq!(listed().await, (Some(began), network.clone()));
        probe.clock.advance(Duration::from_millis(1));
        assert_eq!(ask(&browser, "/reports", issued.secret()).await.status, 200);
        assert_eq!(listed().await, (Some(began.plus(MINUTE)), network));
        // A node whose clock is behind does not turn the time back.
        probe.clock.step_back(30 * MINUTE);
        let behind = with_keys_again(&probe);
        let behind = Browser::new(serve(application(&behind)).await);
        assert_eq!(ask(&behind, "/reports", issued.secret()).await.status, 200);
        assert_eq!(listed().await.0, Some(began.plus(MINUTE)));
    }

    async fn a_key_outlives_a_change_of_the_secret_if_it_is_used_in_time(probe: Probe) {
        let probe = with_keys(probe);
        let (account, used) = keyed(&probe, "alice", &["report:read"]).await;
        let unused = key_of(&probe.auth, &account, "unused", &["report:read"]).await;
        let next = Secret::generate();
        let node = |secrets: &[&Secret]| {
            let builder = Portcullis::builder(probe.db.clone()).clock(probe.clock.clone());
            let builder = secrets.iter().fold(builder, |builder, secret| builder.secret((*secret).clone()));
            builder.configure(|config| config.api_key.prefix = Some(PREFIX.to_owned())).build().expect("it is right")
        };
        let (both, alone) = (node(&[&next, &probe.secret]), node(&[&next]));
        let server = async |auth: &Portcullis| Browser::new(serve(application(auth)).await);
        let (at_both, at_next) = (server(&both).await, server(&alone).await);
        check(&ask(&at_next, "/reports", used.secret()).await, 401, "invalid_api_key");
        let left = async || {
            let left = both.maintenance().old_secrets().await.expect("it answers");
            left.iter().map(|old| old.api_keys).sum::<u64>()
        };
        assert_eq!(left().await, 2);
        assert_eq!(ask(&at_both, "/reports", used.secret()).await.status, 200);
        assert_eq!(left().await, 1);
        assert_eq!(ask(&at_next, "/reports", used.secret()).await.status, 200);
        check(&ask(&at_next, "/reports", unused.secret()).await, 401, "invalid_api_key");
        assert_eq!(ask(&at_both, "/reports", unused.secret()).await.status, 200);
        assert_eq!(ask(&at_next, "/reports", unused.secret()).await.status, 200);
        assert_eq!(left().await, 0);
    }

    async fn nodes_with_different_newest_secrets_write_no_more_than_others(probe: Probe) {
        let probe = with_keys(probe);
        let (_, issued) = keyed(&probe, "alice", &["report:read"]).await;
        let next = Secret::generate();
        let node = async |secrets: [&Secret; 2]| {
            let auth = probe.rebuilt(|builder| builder.configure(|config| {
                config.api_key.prefix = Some(PREFIX.to_owned());
                config.keys.secrets = secrets.into_iter().cloned().collect();
            }));
            Browser::new(serve(application(&auth)).await)
        };
        let nodes = [node([&next, &probe.secret]).await, node([&probe.secret, &next]).await];
        for minute in 0..3 {
            let (_, statements) = probe.statements(async {
                for at in 0..10 {
                    let answer = ask(&nodes[(at + minute) % 2], "/reports", issued.secret()).await;
                    assert_eq!(answer.status, 200, "{minute}: {}", answer.text);
                }
            }).await;
            // Each node loads the grants once.
            let most = if minute == 0 { 10 + 1 + 2 } else { 10 + 1 };
            assert!(statements <= most, "{minute}: {statements}");
            probe.clock.advance(MINUTE);
        }
    }

    async fn an_open_connection_learns_that_its_key_has_ended(probe: Probe) {
        let probe = with_keys(probe);
        let (account, issued) = keyed(&probe, "alice", &["report:read"]).await;
        let program = program(&probe.auth, issued.secret()).await;
        assert!(program.meets(&permission("report:read")));
        assert_eq!(program.key().name(), "robot");
        let again = probe.auth.recheck_api_key(&program).await.expect("it counts");
        assert_eq!(again.key().id(), issued.key().id());
        let ended = probe.auth.api_key_end(&program, Duration::from_secs(3600));
        let waiting = tokio::spawn(ended);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        probe.auth.api_keys().revoke(account.id(), issued.key().id()).await.expect("it is revoked");
        let reason = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        let reason = reason.expect("it ends at once").expect("it does not panic");
        assert!(matches!(reason, NotSignedIn::ApiKey(_)), "{reason:?}");
        let again = probe.auth.recheck_api_key(&program).await;
        assert!(matches!(again, Err(AuthError::NotSignedIn(NotSignedIn::ApiKey(_)))), "{again:?}");
    }

    async fn a_list_of_routes_says_which_credentials_each_accepts(probe: Probe) {
        let auth = &probe.auth;
        let guard = |credentials| auth.require(permission("report:read")).credentials(credentials);
        let both = guard(AcceptedCredentials::SessionOrApiKey).on_path("id");
        let _: Router = auth
            .router()
            .route("/people", get(async || ""), permission("report:read"))
            .route("/both/{id}", get(async || ""), both)
            .route("/programs", post(async || ""), guard(AcceptedCredentials::ApiKey))
            .into_router();
        let routes = auth.guarded_routes();
        let accesses: Vec<_> = routes.iter().map(|route| route.access().to_string()).collect();
        assert_eq!(
            accesses,
            [
                "permission(report:read) on {id} by session or API key",
                "permission(report:read)",
                "permission(report:read) by API key",
            ]
        );
        let taken: Vec<_> = routes.iter().map(|route| route.access().credentials()).collect();
        let [both, people, programs] =
            [AcceptedCredentials::SessionOrApiKey, AcceptedCredentials::Session, AcceptedCredentials::ApiKey].map(Some);
        assert_eq!(taken, [both, people, programs]);
    }

    async fn the_access_matrix_says_which_routes_accept_keys(probe: Probe) {
        let probe = with_keys(probe);
        let auth = &probe.auth;
        let guard = |credentials| auth.require(permission("report:read")).credentials(credentials);
        let app: Router = auth
            .router()
            .route("/both", get(async || ""), guard(AcceptedCredentials::SessionOrApiKey))
            .route("/programs", post(async || ""), guard(AcceptedCredentials::ApiKey))
            .into_router();
        let matrix = auth.test().matrix(&app).await.to_string();
        let row = |path: &str| matrix.lines().find(|line| line.contains(path)).expect("a row").to_owned();
        assert!(row("/both").contains("permission(report:read) by session or API key"), "{matrix}");
        let programs = row("/programs");
        assert!(programs.contains("permission(report:read) by API key"), "{matrix}");
        // No person may, whatever their roles.
        assert!(!programs.contains("yes"), "{matrix}");
    }

    async fn no_request_passes_after_its_key_was_revoked_or_limited(probe: Probe) {
        let probe = with_keys(probe);
        let (account, _) = keyed(&probe, "alice", &["report:read"]).await;
        let browser = server(&probe).await;
        for round in 0..4 {
            let issued = key_of(&probe.auth, &account, &format!("round {round}"), &["report:read"]).await;
            let (auth, key) = (probe.auth.clone(), issued.key().clone());
            let results = parallel(16, |number| {
                let (auth, browser, key) = (auth.clone(), browser.clone(), key.clone());
                let secret = issued.secret().to_owned();
                async move {
                    if number != 7 {
                        return vec![ask(&browser, "/reports", &secret).await.status];
                    }
                    let keys = auth.api_keys();
                    match round % 2 {
                        0 => keys.revoke(key.account_id(), key.id()).await.expect("it is revoked"),
                        _ => keys.set_scopes(key.account_id(), key.id(), &[]).await.expect("it is limited"),
                    }
                    vec![ask(&browser, "/reports", &secret).await.status]
                }
            });
            let refused = if round % 2 == 0 { 401 } else { 403 };
            let results = results.await;
            assert_eq!(results[7], [refused]);
            assert!(results.concat().iter().all(|status| [200, refused].contains(status)), "{results:?}");
            assert_eq!(ask(&browser, "/reports", issued.secret()).await.status, refused);
        }
    }
}

fn with_keys_again(probe: &Probe) -> Portcullis {
    probe.rebuilt(|builder| {
        builder.configure(|config| config.api_key.prefix = Some(PREFIX.to_owned()))
    })
}

/// The program that shows this key.
async fn program(auth: &Portcullis, key: &str) -> ApiKeyIdentity {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let app = Router::new()
        .route(
            "/",
            get(move |program: ApiKeyIdentity| async move {
                sender.send(program).expect("somebody waits");
            }),
        )
        .layer(auth.layer());
    let browser = Browser::new(serve(app).await);
    assert_eq!(ask(&browser, "/", key).await.status, 200);
    receiver.recv().await.expect("a program")
}

#[test]
fn names_that_are_no_prefix_are_refused() {
    let faults = |prefix: Option<&str>, header: Option<&str>| {
        let db = sea_orm::DatabaseConnection::default();
        let built = Portcullis::builder(db).secret(Secret::generate()).configure(|config| {
            config.api_key.prefix = prefix.map(str::to_owned);
            config.api_key.header = header.map(str::to_owned);
        });
        match built.build() {
            Ok(_) => 0,
            Err(error) => error.to_string().matches("api_key.").count(),
        }
    };
    for prefix in
        ["", "ab", "Acme", "1acme", "a-c", "a_c", "acmé", "abcdefghijklmnopq", "a b", "acme\n"]
    {
        assert_eq!(faults(Some(prefix), None), 1, "{prefix:?}");
    }
    for prefix in ["abc", "acme2", "abcdefghijklmnop"] {
        assert_eq!(faults(Some(prefix), Some("x-api-key")), 0, "{prefix:?}");
    }
    for header in ["", "Authorization", "cookie", "x y", "ü", "portcullis-device"] {
        assert_eq!(faults(Some("acme"), Some(header)), 1, "{header:?}");
    }
    assert!(faults(None, Some("x-api-key")) > 0);
    assert_eq!(faults(None, None), 0);
}
