//! Guards and extractors: who gets access, and what the other clients are told.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::{any, get};
use portcullis::account::NewAccount;
use portcullis::config::Unauthenticated;
use portcullis::{
    Account, Allowed, AnonymousSession, ClientInfo, EnrolmentSession, Identity,
    PasswordChangeSession, PendingSession, Portcullis, Requirement, Session, Stage,
    TypedPermission,
};

use crate::on_every_database;
use crate::support::call::{Called, call, request};
use crate::support::{Backend, Probe};

struct AdminRead;

impl TypedPermission for AdminRead {
    const TEXT: &'static str = "admin:read";
}

struct NotAPermission;

impl TypedPermission for NotAPermission {
    const TEXT: &'static str = "admin::";
}

fn permission(text: &str) -> Requirement {
    Requirement::permission(text).expect("a permission")
}

fn get_with(path: &str, cookie: Option<&str>) -> Request<Body> {
    send_with("GET", path, cookie, &[])
}

fn send_with(
    method: &str,
    path: &str,
    cookie: Option<&str>,
    headers: &[(&str, &str)],
) -> Request<Body> {
    let mut request = request(method, path);
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).expect("a request")
}

/// The same requirement as a layer, as an extractor and in a handler.
fn one_permission(auth: &Portcullis) -> Router {
    Router::new()
        .route("/layer", get(|| async { "ok" }))
        .route_layer(auth.require(permission("admin:read")))
        .route(
            "/extractor",
            get(|allowed: Allowed<AdminRead>| async move {
                assert!(allowed.identity().meets(&permission("admin:read")));
                "ok"
            }),
        )
        .route(
            "/handler",
            get(|identity: Identity| async move {
                match identity.meets(&permission("admin:read")) {
                    true => Ok("ok"),
                    false => Err(portcullis::Rejection::from(portcullis::AuthError::Denied)),
                }
            }),
        )
        .layer(auth.layer())
}

/// Creates an account with these permissions, through a role of its own.
async fn account(probe: &Probe, name: &str, permissions: &[&str]) -> Account {
    let account = probe.register(name).await;
    if !permissions.is_empty() {
        probe.auth.roles().create(name, permissions).await.expect("a role");
        probe.auth.roles().grant(account.id(), name).await.expect("it is granted");
    }
    account
}

async fn superuser(probe: &Probe, name: &str) -> Account {
    let new = portcullis::account::NewAccount::username(name).superuser();
    probe.auth.accounts().create(new).await.expect("it is made")
}

async fn session(auth: &Portcullis, account: &Account) -> String {
    auth.test().login_as(account).cookie().await.expect("a session")
}

async fn staged(auth: &Portcullis, account: &Account, stage: Stage) -> String {
    auth.test().login_as(account).at_stage(stage).cookie().await.expect("a session")
}

async fn limited(auth: &Portcullis, account: &Account, ceiling: &[&str]) -> String {
    let login = auth.test().login_as(account).limited_to(ceiling.iter().copied());
    login.cookie().await.expect("a session")
}

async fn anonymous(auth: &Portcullis) -> String {
    auth.test().visitor().cookie().await.expect("a session")
}

fn check_misuse(answer: &Called, code: &str, what: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (500, code), "{what}");
    assert!(!answer.text.contains("detail"), "{what}: {}", answer.text);
}

on_every_database! {
    async fn layer_extractor_and_handler_decide_alike(probe: Probe) {
        let auth = &probe.auth;
        let app = one_permission(auth);
        let none = account(&probe, "none", &[]).await;
        let granted = account(&probe, "granted", &["admin:read"]).await;
        let wild = account(&probe, "wild", &["*:read"]).await;
        let above = account(&probe, "above", &["admin"]).await;
        let other = account(&probe, "other", &["admin:write", "doc:*", "admin:read:7"]).await;
        let root = superuser(&probe, "root").await;
        for (who, cookie, status, code) in [
            ("nobody", None, 401, "not_signed_in"),
            ("a forger", Some("__Host-session=forged".to_owned()), 401, "invalid_token"),
            ("a visitor", Some(anonymous(auth).await), 401, "not_signed_in"),
            (
                "half signed in",
                Some(staged(auth, &root, Stage::PendingSecondFactor).await),
                401,
                "second_factor_required",
            ),
            (
                "with an old password",
                Some(staged(auth, &root, Stage::MustChangePassword).await),
                401,
                "password_change_required",
            ),
            (
                "without a factor",
                Some(staged(auth, &root, Stage::MustEnrol).await),
                401,
                "enrolment_required",
            ),
            ("no grant", Some(session(auth, &none).await), 403, "denied"),
            ("another grant", Some(session(auth, &other).await), 403, "denied"),
            ("granted", Some(session(auth, &granted).await), 200, ""),
            ("by a wildcard", Some(session(auth, &wild).await), 200, ""),
            ("by the domain", Some(session(auth, &above).await), 200, ""),
            ("superuser", Some(session(auth, &root).await), 200, ""),
            (
                "superuser below a ceiling",
                Some(limited(auth, &root, &["doc:*"]).await),
                403,
                "denied",
            ),
            (
                "superuser under a ceiling that covers it",
                Some(limited(auth, &root, &["admin:*"]).await),
                200,
                "",
            ),
            (
                "granted, below a ceiling",
                Some(limited(auth, &granted, &["admin:write"]).await),
                403,
                "denied",
            ),
            (
                "granted, with nothing left",
                Some(limited(auth, &granted, &[]).await),
                403,
                "denied",
            ),
            (
                "a ceiling grants nothing",
                Some(limited(auth, &none, &["admin:read", "*"]).await),
                403,
                "denied",
            ),
        ] {
            let mut answers = Vec::new();
            for path in ["/layer", "/extractor", "/handler"] {
                let answer = call(&app, get_with(path, cookie.as_deref())).await;
                assert_eq!((answer.status, answer.code().as_str()), (status, code), "{who} {path}");
                assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
                assert_eq!(answer.rejection.is_some(), status != 200);
                assert!(!answer.text.contains("admin"), "which rule it was is not told");
                answers.push(answer.text);
            }
            assert!(answers.iter().all(|text| *text == answers[0]), "{who}: {answers:?}");
        }
    }

    async fn a_role_is_asked_for_by_its_name(probe: Probe) {
        let auth = &probe.auth;
        let app = crate::support::probe::app(auth);
        let alice = account(&probe, "alice", &[]).await;
        auth.roles().create("editor", ["doc:*"]).await.expect("a role");
        auth.roles().create("Editor", ["doc:*"]).await.expect("another role");
        let status = async |cookie: &str| call(&app, get_with("/editors", Some(cookie))).await.status;
        let cookie = session(auth, &alice).await;
        assert_eq!(status(&cookie).await, 403);
        auth.roles().grant(alice.id(), "Editor").await.expect("it is granted");
        assert_eq!(status(&cookie).await, 403, "a name in another case is another role");
        auth.roles().grant(alice.id(), "editor").await.expect("it is granted");
        assert_eq!(status(&cookie).await, 200);
        // A ceiling hides a role that it does not cover.
        assert_eq!(status(&limited(auth, &alice, &["doc:*"]).await).await, 403);
        assert_eq!(status(&limited(auth, &alice, &["role:writer"]).await).await, 403);
        assert_eq!(status(&limited(auth, &alice, &["role:editor"]).await).await, 200);
        assert_eq!(status(&limited(auth, &alice, &["*"]).await).await, 200);
        auth.roles().revoke(alice.id(), "editor").await.expect("it is revoked");
        assert_eq!(status(&cookie).await, 403);
    }

    async fn a_factor_too_old_is_asked_for_again_and_is_no_denial(probe: Probe) {
        let auth = &probe.auth;
        let fresh = Requirement::within(Duration::from_secs(300));
        let both = Requirement::all([permission("doc:read"), fresh.clone()]).expect("a list");
        let app = Router::new()
            .route("/fresh", get(|| async { "ok" }))
            .route_layer(auth.require(fresh))
            .merge(
                Router::new().route("/both", get(|| async { "ok" })).route_layer(auth.require(both)),
            )
            .nest("/auth", auth.routes())
            .layer(auth.layer());
        let alice = account(&probe, "alice", &["doc:read"]).await;
        let bob = account(&probe, "bob", &[]).await;
        let aged = |account: &Account, millis| {
            let factor = (portcullis::Factor::Password, Duration::from_millis(millis));
            auth.test().login_as(account).with_factors([factor])
        };
        let fine = aged(&alice, 299_999);
        let (client, denied) = (aged(&alice, 300_000), aged(&bob, 300_000));
        let code = "insufficient_user_authentication";
        for path in ["/fresh", "/both"] {
            assert_eq!(fine.get(path).send(&app).await.status(), 200, "{path}");
            let answer = client.get(path).send(&app).await;
            assert_eq!((answer.status().as_u16(), answer.code().as_str()), (401, code), "{path}");
            let challenge = answer.headers()["www-authenticate"].to_str().expect("ASCII");
            assert!(challenge.contains(&format!("error=\"{code}\"")), "{challenge}");
            assert!(challenge.contains("max_age=\"300\""), "{challenge}");
            assert!(!answer.headers().contains_key("set-cookie"), "the session is fine");
            assert_eq!(answer.json()["factors"], serde_json::json!(["password"]));
            assert_eq!(answer.json()["acr_values"], "urn:portcullis:factor:password");
            assert_eq!(answer.json()["detail"], "prove again: password");
        }
        // A step-up does not help an account that lacks the permission.
        let answer = denied.get("/both").send(&app).await;
        assert_eq!((answer.status().as_u16(), answer.code().as_str()), (403, "denied"));

        let password = serde_json::json!({ "password": crate::support::PASSWORD });
        let again = client.post("/auth/reauthenticate").json(&password).send(&app).await;
        assert_eq!(again.status(), 200);
        for path in ["/fresh", "/both"] {
            assert_eq!(client.get(path).send(&app).await.status(), 200, "{path}");
        }
        auth.audit_log().flush().await;
        let denials = auth.audit_log().denials_of(alice.id()).await.expect("the log");
        assert_eq!(denials, []);
    }

    async fn a_missing_factor_is_named_if_the_account_has_it_and_else_is_to_be_set_up(probe: Probe) {
        use portcullis::Factor::{Passkey, Totp};
        let auth = &probe.auth;
        let either = Requirement::any([Totp, Passkey].map(Requirement::factor)).expect("a list");
        let app = Router::new()
            .route("/second", get(|| async { "ok" }))
            .route_layer(auth.require(either))
            .layer(auth.layer());
        let new = NewAccount::email("new@example.com").verified();
        let alice = auth.registration().create(new, crate::support::PASSWORD).await.expect("it is made");
        for (enrolled, factors, enrol) in [
            (&[][..], serde_json::json!([]), serde_json::json!(["totp", "passkey"])),
            (&[Passkey], serde_json::json!(["passkey"]), serde_json::Value::Null),
        ] {
            let enrolled = enrolled.iter().copied();
            auth.accounts().set_enrolled_factors(alice.id(), enrolled).await.expect("they are set");
            let alice = auth.accounts().find(alice.id()).await.expect("the database answers").expect("it");
            let client = auth.test().login_as(&alice);
            let answer = client.get("/second").send(&app).await;
            assert_eq!(answer.status(), 401);
            assert_eq!((&answer.json()["factors"], &answer.json()["enrol"]), (&factors, &enrol));
        }
        let alice = auth.accounts().find(alice.id()).await.expect("the database answers").expect("it");
        let client = auth.test().login_as(&alice).with_factors([(Passkey, Duration::ZERO)]);
        assert_eq!(client.get("/second").send(&app).await.status(), 200);
    }

    async fn a_handler_that_requires_answers_as_the_layer_does(probe: Probe) {
        use portcullis::Factor::{Passkey, Password, Totp};

        let auth = &probe.auth;
        let minute = Duration::from_secs(60);
        let all = |list: [Requirement; 2]| Requirement::all(list).expect("a list");
        let any = |list: [Requirement; 2]| Requirement::any(list).expect("a list");
        let rules = [
            ("signed-in", Requirement::signed_in()),
            ("permission", permission("admin:read")),
            ("role", Requirement::role("granted")),
            ("recent", Requirement::within(minute)),
            ("factor", Requirement::factor(Totp)),
            ("recent-factor", Requirement::factor_within(Totp, 5 * minute)),
            ("either", any([Requirement::factor(Totp), Requirement::factor_within(Passkey, minute)])),
            ("both", all([permission("admin:read"), Requirement::within(minute)])),
        ];
        let mut app = Router::new();
        for (name, rule) in &rules {
            let layered = get(|| async { "ok" }).layer(auth.require(rule.clone()));
            let asked = rule.clone();
            let handler = get(|identity: Identity| async move {
                identity.require(&asked)?;
                Ok::<_, portcullis::Rejection>("ok")
            });
            app = app.route(&format!("/layer/{name}"), layered);
            app = app.route(&format!("/handler/{name}"), handler);
        }
        let app = app.layer(auth.layer());
        let enrolled = async |name: &str, permissions: &[&str], factors: &[portcullis::Factor]| {
            let account = account(&probe, name, permissions).await;
            auth.accounts().verify(account.id()).await.expect("it is verified");
            let factors = factors.iter().copied();
            auth.accounts().set_enrolled_factors(account.id(), factors).await.expect("they are set");
            let found = auth.accounts().find(account.id()).await.expect("it answers");
            found.expect("an account")
        };
        let accounts = [
            enrolled("none", &[], &[]).await,
            enrolled("granted", &["admin:read"], &[Totp]).await,
            enrolled("both", &["admin:read"], &[Totp, Passkey]).await,
        ];
        let (old, now) = (Duration::from_secs(3600), Duration::ZERO);
        let mut seen = std::collections::BTreeSet::new();
        for account in &accounts {
            for factors in [vec![], vec![(Password, old)], vec![(Password, now)], vec![(Password, now), (Totp, old)], vec![(Totp, now)]] {
                let client = auth.test().login_as(account).with_factors(factors.clone());
                for (name, _) in &rules {
                    let [layer, handler] = ["layer", "handler"].map(|way| format!("/{way}/{name}"));
                    let layer = client.get(&layer).send(&app).await;
                    let handler = client.get(&handler).send(&app).await;
                    let what = format!("{name} {:?} {factors:?}", account.username());
                    assert_eq!(handler.status(), layer.status(), "{what}");
                    assert_eq!(handler.text(), layer.text(), "{what}");
                    for header in ["www-authenticate", "cache-control", "content-type"] {
                        assert_eq!(handler.headers().get(header), layer.headers().get(header), "{what}");
                    }
                    let members = if layer.status() == 200 { Vec::new() } else {
                        let document = layer.json();
                        let members = document.as_object().expect("an object");
                        members.keys().filter(|key| ["acr_values", "factors", "enrol", "max_age"].contains(&key.as_str())).cloned().collect()
                    };
                    seen.insert((layer.status().as_u16(), members));
                }
            }
        }
        // Every kind of answer was compared.
        let known = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for expected in [
            (200, known(&[])),
            (403, known(&[])),
            (401, known(&["acr_values", "factors", "max_age"])),
            (401, known(&["enrol", "factors"])),
            (401, known(&["acr_values", "factors"])),
        ] {
            assert!(seen.contains(&expected), "{expected:?} is not in {seen:?}");
        }
    }

    async fn a_step_up_names_the_factors_for_an_authorization_server(probe: Probe) {
        use portcullis::Factor::{Passkey, Password, Totp};
        const ERROR: &str = "Bearer error=\"insufficient_user_authentication\"";
        let auth = &probe.rebuilt(|builder| builder.configure(|config| config.service.bearer = true));
        let five = Duration::from_secs(300);
        let rules = [
            ("/factor", Requirement::factor(Totp)),
            ("/recent-factor", Requirement::factor_within(Totp, five)),
            ("/within", Requirement::within(five)),
            ("/at-least", Requirement::at_least(Totp).expect("a second factor")),
        ];
        let mut app = Router::new();
        for (path, rule) in rules {
            app = app.route(path, get(|| async { "ok" }).layer(auth.require(rule)));
        }
        let app = app.layer(auth.layer());
        let enrolled = account(&probe, "enrolled", &[]).await;
        let accounts = auth.accounts();
        accounts.set_enrolled_factors(enrolled.id(), [Totp, Passkey]).await.expect("they are set");
        let enrolled = accounts.find(enrolled.id()).await.expect("it answers").expect("an account");
        let none = account(&probe, "none", &[]).await;
        let urn = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| format!("urn:portcullis:factor:{name}")).collect();
            names.join(" ")
        };
        // What the answer names, and the maximum age.
        let all = urn(&["password", "totp", "passkey"]);
        for (account, path, values, age) in [
            (&enrolled, "/factor", Some(urn(&["totp"])), None),
            (&enrolled, "/recent-factor", Some(urn(&["totp"])), Some(300)),
            (&enrolled, "/within", Some(all), Some(300)),
            (&enrolled, "/at-least", Some(urn(&["totp", "passkey"])), None),
            (&none, "/factor", None, None),
            (&none, "/recent-factor", None, Some(300)),
            (&none, "/within", Some(urn(&["password"])), Some(300)),
        ] {
            let client = auth.test().login_as(account).with_factors([(Password, five)]);
            let answer = client.get(path).send(&app).await;
            let what = format!("{path} {:?}", account.username());
            assert_eq!(answer.status(), 401, "{what}");
            let parameter = |name: &str, value: Option<String>| {
                value.map_or_else(String::new, |value| format!(", {name}=\"{value}\""))
            };
            let values_told = parameter("acr_values", values.clone());
            let age_told = parameter("max_age", age.map(|age: u64| age.to_string()));
            let told = answer.headers()["www-authenticate"].to_str().expect("ASCII");
            assert_eq!(told, format!("{ERROR}{values_told}{age_told}"), "{what}");
            let body = answer.json();
            let told = body.get("acr_values").map(|told| told.as_str().expect("a text").to_owned());
            assert_eq!(told, values, "{what}");
            assert_eq!(body.get("max_age").and_then(serde_json::Value::as_u64), age, "{what}");
        }
    }

    async fn an_id_in_the_path_narrows_what_is_asked(probe: Probe) {
        let auth = &probe.auth;
        let app = crate::support::probe::app(auth);
        let reader = account(&probe, "reader", &["doc:read:42", "doc:read:Abc"]).await;
        let root = superuser(&probe, "root").await;
        let (reader, root) = (session(auth, &reader).await, session(auth, &root).await);
        let limited = limited(auth, &superuser(&probe, "limited").await, &["doc:read:7"]).await;
        for (cookie, path, status) in [
            (&reader, "/docs/42", 200),
            (&reader, "/docs/43", 403),
            (&reader, "/docs/4", 403),
            (&reader, "/docs/42x", 403),
            (&reader, "/docs/Abc", 200),
            (&reader, "/docs/%41bc", 200),
            // Ids that differ in case are different things.
            (&reader, "/docs/abc", 403),
            (&reader, "/docs/ABC", 403),
            (&root, "/docs/43", 200),
            (&limited, "/docs/7", 200),
            (&limited, "/docs/42", 403),
        ] {
            let answer = call(&app, get_with(path, Some(cookie))).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.text);
        }
        // No resource can have such an id. A superuser gets 404 too. A client that is not signed in
        // does not learn even that.
        for id in [
            "*", "%2a", "%2A", "1,2", "1%2c2", "1,", "x:y", "x%3ay", ":", "%3A", "42:", ",", "*,42",
            "%20", "%00", "42%00", "4%0a2", "%e2%80%ae42", "%ff", "%c0%aa",
        ] {
            let path = format!("/docs/{id}");
            for cookie in [&root, &reader] {
                let answer = call(&app, get_with(&path, Some(cookie))).await;
                assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{path}");
            }
            let answer = call(&app, get_with(&path, None)).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "not_signed_in"), "{path}");
        }
        for path in ["/docs/", "/docs", "/docs/42/", "/docs//42", "//docs/42", "/DOCS/42"] {
            for cookie in [Some(root.as_str()), None] {
                assert_eq!(call(&app, get_with(path, cookie)).await.status, 404, "{path}");
            }
        }
    }

    async fn an_id_can_come_from_anywhere_in_the_request(probe: Probe) {
        let auth = &probe.auth;
        let from_header = |parts: &axum::http::request::Parts| {
            parts.headers.get("x-tenant")?.to_str().ok().map(str::to_owned)
        };
        let app = Router::new()
            .route("/tenant", get(|| async { "ok" }))
            .route_layer(auth.require(permission("tenant:read")).on(from_header))
            .layer(auth.layer());
        let reader = account(&probe, "reader", &["tenant:read:acme"]).await;
        let cookie = session(auth, &reader).await;
        for (headers, signed_in) in [
            (&[("x-tenant", "acme")][..], 200),
            (&[("x-tenant", "other")], 403),
            (&[("x-tenant", "*")], 404),
            (&[("x-tenant", "acme,other")], 404),
            (&[("x-tenant", "")], 404),
            (&[], 404),
        ] {
            let answer = call(&app, send_with("GET", "/tenant", Some(&cookie), headers)).await;
            assert_eq!(answer.status, signed_in, "{headers:?}");
        }
        let tenant = [("x-tenant", "*")];
        assert_eq!(call(&app, send_with("GET", "/tenant", None, &tenant)).await.status, 401);
    }

    async fn a_request_that_names_no_instance_is_401_for_nobody(probe: Probe) {
        let auth = &probe.auth;
        let app = Router::new()
            .route("/tenant", get(|| async { "ok" }))
            .route_layer(auth.require(permission("tenant:read")).on(|_| None))
            .layer(auth.layer());
        assert_eq!(call(&app, get_with("/tenant", None)).await.status, 401);
        let cookie = session(auth, &superuser(&probe, "root").await).await;
        assert_eq!(call(&app, get_with("/tenant", Some(&cookie))).await.status, 404);
    }

    async fn an_option_is_none_for_a_caller_who_is_not_fully_signed_in(probe: Probe) {
        let auth = &probe.auth;
        let app = Router::new()
            .route("/session", any(|s: Option<Session>| async move { s.is_some().to_string() }))
            .route("/account", any(|a: Option<Account>| async move { a.is_some().to_string() }))
            .route("/identity", any(|i: Option<Identity>| async move { i.is_some().to_string() }))
            .layer(auth.layer());
        let alice = account(&probe, "alice", &[]).await;
        let ended = session(auth, &alice).await;
        let suspicious = session(auth, &alice).await;
        let good = session(auth, &alice).await;
        let mut rows = vec![
            ("nobody", None, "false"),
            ("a forger", Some("__Host-session=forged".to_owned()), "false"),
            ("a visitor", Some(anonymous(auth).await), "false"),
            ("full", Some(good.clone()), "true"),
        ];
        for stage in [Stage::PendingSecondFactor, Stage::MustChangePassword, Stage::MustEnrol] {
            rows.push(("a stage", Some(staged(auth, &alice, stage).await), "false"));
        }
        let id = call(&crate::support::probe::app(auth), get_with("/session-id", Some(&ended))).await;
        let id = id.text.parse().expect("a session's id");
        auth.sessions().end_one(alice.id(), id).await.expect("it is ended");
        rows.push(("ended", Some(ended), "false"));
        for (who, cookie, expected) in &rows {
            for path in ["/session", "/account", "/identity"] {
                let answer = call(&app, get_with(path, cookie.as_deref())).await;
                assert_eq!((answer.status, answer.text.as_str()), (200, *expected), "{who} {path}");
            }
        }
        // A session that is marked as suspicious: `None` for an `Option`, and a code of its own
        // elsewhere.
        probe.execute("UPDATE auth_session SET version = version + 1, suspicious_at = 1").await;
        let answer = call(&app, get_with("/session", Some(&suspicious))).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "false"));
        let answer = call(&one_permission(auth), get_with("/layer", Some(&suspicious))).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "session_suspicious"));
        // An error that says nothing about the user stays an error.
        let headers = [("sec-fetch-site", "cross-site")];
        for path in ["/session", "/account", "/identity"] {
            let answer = call(&app, send_with("POST", path, Some(&good), &headers)).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "cross_site_request"));
            let twice = format!("{good}; {good}");
            // Two valid cookies count as no user here. Another program's cookie must not block
            // public pages.
            let answer = call(&app, get_with(path, Some(&twice))).await;
            assert_eq!((answer.status, answer.text.as_str()), (200, "false"));
        }
    }

    async fn layers_of_one_instance_work_once_however_often_they_are_there(probe: Probe) {
        let auth = &probe.auth;
        let app = Router::new()
            .route("/me", get(|account: Account| async move { account.id().to_string() }))
            .route_layer(auth.require(Requirement::signed_in()))
            .route_layer(auth.layer())
            .layer(auth.layer())
            .layer(tower::ServiceBuilder::new().layer(auth.layer()).layer(auth.layer()));
        let app = Router::new().nest("/nested", app).layer(auth.layer());
        let alice = account(&probe, "alice", &[]).await;
        let cookie = session(auth, &alice).await;
        call(&app, get_with("/nested/me", Some(&cookie))).await;
        let (answer, statements) =
            probe.statements(call(&app, get_with("/nested/me", Some(&cookie)))).await;
        assert_eq!((answer.status, statements), (200, 1));
        probe.clock.advance(Duration::from_secs(16 * 60));
        let answer = call(&app, get_with("/nested/me", Some(&cookie))).await;
        assert_eq!(answer.text, alice.id().to_string());
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 1);
    }

    async fn a_browser_is_sent_to_the_login_page_and_an_api_is_not(probe: Probe) {
        const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let page = Unauthenticated::LoginPage("/login".to_owned());
        let auth = probe.rebuilt(|b| b.configure(|c| c.service.unauthenticated = page));
        let inner = Router::new()
            .route("/doc/{id}", any(|| async { "ok" }))
            .route_layer(auth.require(permission("doc:read")).on_path("id"))
            .route("/extractor", any(|_: Allowed<AdminRead>| async { "ok" }));
        let app = Router::new()
            .nest("/app", Router::new().nest("/v1", inner))
            .fallback_service(
                Router::new().fallback(|| async { "ok" }).layer(auth.require(Requirement::signed_in())),
            )
            .layer(auth.layer());
        let accept = async |method: &str, path: &str, accept: &[&str]| {
            let headers: Vec<_> = accept.iter().map(|value| ("accept", *value)).collect();
            call(&app, send_with(method, path, None, &headers)).await
        };
        for (path, location) in [
            // The full path as the browser requested it, and not the rest that an inner router
            // sees.
            ("/app/v1/doc/42", "/login?next=/app/v1/doc/42"),
            ("/app/v1/doc/42?page=2&x=%20", "/login?next=/app/v1/doc/42%3Fpage%3D2%26x%3D%2520"),
            ("/app/v1/extractor", "/login?next=/app/v1/extractor"),
            ("/", "/login?next=/"),
            ("/anything", "/login?next=/anything"),
            // A path that would lead to another site is left out.
            ("//attacker.example/", "/login"),
            ("/%2f%2fattacker.example", "/login"),
            ("/%5cattacker.example", "/login"),
            ("/.//attacker.example", "/login"),
            ("/a/..//attacker.example", "/login"),
            ("/%0d%0aLocation:%20//attacker.example", "/login"),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = accept(method, path, &[BROWSER]).await;
                assert_eq!(answer.status, 303, "{method} {path}");
                assert_eq!(answer.headers["location"], location, "{method} {path}");
                assert_eq!(answer.headers["cache-control"], "no-store");
                assert!(answer.rejection.is_some());
                // A redirect contains no problem document, because that would state another status.
                assert_eq!(answer.text, "");
                assert!(!answer.headers.contains_key("content-type"));
                assert!(!answer.headers.contains_key("www-authenticate"));
            }
        }
        for (method, kinds, status) in [
            ("GET", &["text/html"][..], 303),
            ("GET", &["text/html;q=0.9"], 303),
            ("GET", &["text/html, application/json"], 303),
            ("GET", &["application/json, text/html"], 401),
            ("GET", &["application/json"], 401),
            ("GET", &["*/*"], 401),
            ("GET", &["image/avif,image/webp,*/*"], 401),
            ("GET", &[], 401),
            ("POST", &[BROWSER], 401),
            ("PUT", &[BROWSER], 401),
            ("DELETE", &[BROWSER], 401),
            ("PATCH", &[BROWSER], 401),
        ] {
            for path in ["/app/v1/doc/42", "/app/v1/extractor"] {
                let answer = accept(method, path, kinds).await;
                assert_eq!(answer.status, status, "{method} {path} {kinds:?}");
                assert_eq!(answer.headers.contains_key("location"), status == 303);
                assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
            }
        }
        // The fetch mode that the browser sends takes precedence over `Accept`.
        for (mode, kinds, status) in [
            (&["navigate"][..], BROWSER, 303),
            (&["navigate"], "*/*", 303),
            (&["cors"], BROWSER, 401),
            (&["same-origin"], BROWSER, 401),
            (&["no-cors"], BROWSER, 401),
            (&["NAVIGATE"], BROWSER, 401),
            (&["navigate", "navigate"], BROWSER, 401),
        ] {
            let mut headers = vec![("accept", kinds)];
            headers.extend(mode.iter().map(|mode| ("sec-fetch-mode", *mode)));
            for (method, status) in [("GET", status), ("HEAD", status), ("POST", 401)] {
                let request = send_with(method, "/app/v1/doc/42", None, &headers);
                let answer = call(&app, request).await;
                assert_eq!(answer.status, status, "{method} {mode:?} {kinds}");
                let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
                let named = vary.iter().any(|value| *value == "sec-fetch-mode, accept");
                assert_eq!(named, method != "POST", "{vary:?}");
                let json = answer.headers.get("content-type").is_some();
                assert_eq!(json, status == 401);
            }
        }
        // A signed-in account without the permission is not redirected, because signing in again
        // would not help.
        let cookie = session(&auth, &account(&probe, "alice", &[]).await).await;
        let request = send_with("GET", "/app/v1/doc/42", Some(&cookie), &[("accept", BROWSER)]);
        assert_eq!(call(&app, request).await.status, 403);
    }

    async fn behind_a_proxy_that_takes_a_prefix_off_redirects_have_it(probe: Probe) {
        use axum::extract::ConnectInfo;
        use std::net::SocketAddr;

        let proxied = |prefix: bool| {
            probe.rebuilt(|builder| {
                builder.public_url("https://example.com/app").configure(move |c| {
                    c.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
                    c.password.change_page = Some("/account".to_owned());
                    c.proxies.networks = vec!["10.0.0.0/8".parse().expect("a network")];
                    c.proxies.prefix = prefix;
                })
            })
        };
        let location = async |auth: &Portcullis, peer: &str, path: &str, said: &[&str]| {
            let app = one_permission(auth)
                .fallback_service(
                    Router::new()
                        .fallback(|| async { "ok" })
                        .layer(auth.require(Requirement::signed_in())),
                )
                .merge(portcullis::password_change::well_known(auth))
                .layer(auth.layer());
            let mut headers = vec![("sec-fetch-mode", "navigate")];
            headers.extend(said.iter().map(|value| ("x-forwarded-prefix", *value)));
            let mut request = send_with("GET", path, None, &headers);
            let peer = SocketAddr::new(peer.parse().expect("an address"), 80);
            request.extensions_mut().insert(ConnectInfo(peer));
            let answer = call(&app, request).await;
            assert_eq!(answer.status, 303, "{}", answer.text);
            answer.headers["location"].to_str().expect("ASCII").to_owned()
        };
        let (configured, told) = (proxied(false), proxied(true));
        let (proxy, stranger) = ("10.1.2.3", "192.0.2.1");
        for (auth, peer, said, prefix) in [
            (&configured, proxy, &[][..], "/app"),
            // The header counts only if it is switched on, comes from a listed proxy, and appears
            // once.
            (&configured, proxy, &["/other"], "/app"),
            (&told, proxy, &["/other"], "/other"),
            (&told, proxy, &["/a/b/"], "/a/b"),
            (&told, proxy, &["/"], ""),
            (&told, proxy, &[], "/app"),
            (&told, stranger, &["/other"], "/app"),
            (&told, proxy, &["/x", "/y"], "/app"),
            // Nothing in the header can lead to another site.
            (&told, proxy, &["//attacker.example"], "/app"),
            (&told, proxy, &["/\\attacker.example"], "/app"),
            (&told, proxy, &["https://attacker.example"], "/app"),
            (&told, proxy, &["/%2f%2fattacker.example"], "/app"),
            (&told, proxy, &["/.."], "/app"),
            (&told, proxy, &["/a?b"], "/app"),
        ] {
            let found = location(auth, peer, "/layer?x=1", said).await;
            let expected = format!("{prefix}/login?next={prefix}/layer%3Fx%3D1");
            assert_eq!(found, expected, "{peer} {said:?}");
            let found = location(auth, peer, "/.well-known/change-password", said).await;
            assert_eq!(found, format!("{prefix}/account"), "{peer} {said:?}");
        }
        // A path that would lead to another site without the prefix is left out with the prefix
        // too.
        for path in ["//attacker.example", "/%2f%2fattacker.example", "/..//attacker.example"] {
            assert_eq!(location(&configured, proxy, path, &[]).await, "/app/login");
        }
        // If the public URL has no path and the header is off, there is no prefix.
        let plain = probe.rebuilt(|builder| {
            builder.public_url("https://example.com").configure(|c| {
                c.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
                c.password.change_page = Some("/account".to_owned());
            })
        });
        assert_eq!(location(&plain, proxy, "/layer", &["/x"]).await, "/login?next=/layer");
    }

    async fn what_only_somebody_may_see_is_not_kept_by_the_browser(probe: Probe) {
        const PUBLIC: &str = "max-age=60";
        let routes = |auth: &Portcullis| {
            let own = || async { ([("cache-control", "private, max-age=5")], "ok") };
            let old = || async { ([("expires", "0")], "ok") };
            Router::new()
                .route("/guard", get(|| async { "ok" }))
                .route("/guard/own", get(own))
                .route("/guard/old", get(old))
                .route_layer(auth.require(permission("admin:read")))
                .route("/extractor", get(|_: Allowed<AdminRead>| async { "ok" }))
                .route("/session", get(|_: Session| async { "ok" }))
                .route("/account", get(|_: Account| async { "ok" }))
                .route("/identity", get(|_: Identity| async { "ok" }))
                .route("/option", get(|_: Option<Session>| async { "ok" }))
                .route("/public", get(|| async { "ok" }))
                .route("/public/own", get(|| async { ([("cache-control", PUBLIC)], "ok") }))
                .layer(auth.layer())
        };
        let auth = &probe.auth;
        let cookie = session(auth, &account(&probe, "alice", &["admin:read"]).await).await;
        let off = probe.rebuilt(|b| b.configure(|c| c.service.no_store = false));
        for (path, expected) in [
            ("/guard", Some("no-store")),
            ("/extractor", Some("no-store")),
            ("/session", Some("no-store")),
            ("/account", Some("no-store")),
            ("/identity", Some("no-store")),
            // A handler that sets the header itself keeps its value.
            ("/guard/own", Some("private, max-age=5")),
            ("/guard/old", None),
            // Public pages are the responsibility of the application.
            ("/option", None),
            ("/public", None),
            ("/public/own", Some(PUBLIC)),
        ] {
            let answer = call(&routes(auth), get_with(path, Some(&cookie))).await;
            assert_eq!(answer.status, 200, "{path}");
            let said = answer.headers.get("cache-control").map(|value| value.to_str().expect("ASCII"));
            assert_eq!(said, expected, "{path}");
            let answer = call(&routes(&off), get_with(path, Some(&cookie))).await;
            let said = answer.headers.get("cache-control").map(|value| value.to_str().expect("ASCII"));
            assert_eq!(said, expected.filter(|said| *said != "no-store"), "{path}");
        }
    }

    async fn a_login_page_may_have_a_query_of_its_own(probe: Probe) {
        let page = Unauthenticated::LoginPage("/sign?in=1".to_owned());
        let auth = probe.rebuilt(|b| b.configure(|c| c.service.unauthenticated = page));
        let app = one_permission(&auth);
        let request = send_with("GET", "/layer", None, &[("accept", "text/html")]);
        assert_eq!(call(&app, request).await.headers["location"], "/sign?in=1&next=/layer");
    }
}

/// One database is enough, because no statement depends on it.
#[tokio::test]
async fn every_method_is_guarded_and_only_the_405_of_axum_passes() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let auth = &probe.auth;
        let guard = || auth.require(permission("doc:read"));
        let ok = || async { "ok" };
        let service = Router::new().fallback(ok);
        let app = Router::new()
            .route("/any/{id}", any(ok).layer(guard().on_path("id")))
            .route("/get", get(ok))
            .route("/own-fallback", get(ok).fallback(ok))
            .nest_service("/service", service)
            .route_layer(guard())
            .route("/layered", get(ok).layer(guard()))
            .route("/methods", get(ok).route_layer(guard()))
            .merge(Router::new().route("/rest", get(ok)).fallback(ok).layer(guard()))
            .layer(auth.layer());
        for method in ["OPTIONS", "GET", "HEAD", "POST", "TRACE", "PROPFIND", "options"] {
            for path in [
                "/any/1",
                "/get",
                "/own-fallback",
                "/service",
                "/service/x",
                "/layered",
                "/rest",
                "/else",
            ] {
                let answer = call(&app, send_with(method, path, None, &[])).await;
                assert_eq!(answer.status, 401, "{method} {path}: {}", answer.text);
            }
            // A guard around the methods of one route does not cover the plain 405, which runs
            // no handler.
            let answer = call(&app, send_with(method, "/methods", None, &[])).await;
            let expected = if matches!(method, "GET" | "HEAD") { 401 } else { 405 };
            assert_eq!(
                (answer.status, answer.text.as_str() == "ok"),
                (expected, false),
                "{method}"
            );
        }
        let cookie = session(auth, &account(&probe, "alice", &["doc:read"]).await).await;
        let answer = call(&app, send_with("OPTIONS", "/any/1", Some(&cookie), &[])).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "ok"));
        // A browser's preflight carries no credential, so the layer that answers it must be outside
        // of the guard.
        let cors = tower_http::cors::CorsLayer::new()
            .allow_origin(axum::http::HeaderValue::from_static("https://app.example"))
            .allow_methods([axum::http::Method::PUT]);
        let preflight =
            [("origin", "https://app.example"), ("access-control-request-method", "PUT")];
        let answer = call(&app.layer(cors), send_with("OPTIONS", "/any/1", None, &preflight)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["access-control-allow-methods"], "PUT");
    })
    .await;
}

/// Mistakes of the application. One database is enough, because nothing depends on it.
#[tokio::test]
async fn a_guard_that_can_decide_nothing_lets_nobody_through_and_is_a_finding() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let read = || permission("doc:read");
        let not = Requirement::not(read()).expect("no factor");
        let mixed = Requirement::all([read(), Requirement::role("editor")]).expect("a list");
        let root = superuser(&probe, "root").await;
        let granted = account(&probe, "granted", &["doc:read:7", "doc:read:99"]).await;
        for (requirement, path, named) in [
            (read(), "/orgs/7/map/99", "more than one parameter of this name"),
            (not, "/docs/07", "`not(..)`"),
            (Requirement::role("editor"), "/docs/7", "`role(..)`"),
            (mixed, "/docs/7", "`role(..)`"),
            (Requirement::signed_in(), "/docs/7", "without a permission"),
        ] {
            let auth = probe.rebuilt(|builder| builder);
            let on_path = auth.require(requirement.clone()).on_path("id");
            let inner =
                Router::new().route("/map/{id}", any(|| async { "ok" }).layer(on_path.clone()));
            let app = Router::new()
                .nest("/orgs/{id}", inner)
                .route("/docs/{id}", any(|| async { "ok" }).layer(on_path))
                .layer(auth.layer());
            for account in [&root, &granted] {
                let cookie = session(&auth, account).await;
                let answer = call(&app, get_with(path, Some(&cookie))).await;
                check_misuse(&answer, "guard_misconfigured", path);
                let rejection = answer.rejection.expect("the typed error").to_string();
                assert!(rejection.contains(named), "{rejection}");
            }
            let findings = auth.audit();
            let found = findings.iter().filter(|finding| finding.code == "guard_misconfigured");
            assert_eq!(
                found.map(|finding| finding.text.contains(named)).collect::<Vec<_>>(),
                [true]
            );
            // The correct guard next to it works.
            let cookie = session(&auth, &granted).await;
            let read = Router::new()
                .route("/docs/{id}", any(|| async { "ok" }))
                .route_layer(auth.require(read()).on_path("id"))
                .layer(auth.layer());
            for (path, status) in [("/docs/7", 200), ("/docs/07", 403), ("/docs/8", 403)] {
                assert_eq!(
                    call(&read, get_with(path, Some(&cookie))).await.status,
                    status,
                    "{path}"
                );
            }
        }
        // The same with an id from another part of the request.
        let auth = &probe.auth;
        let by_header = auth.require(Requirement::role("editor")).on(|_| Some("7".to_owned()));
        let app = Router::new()
            .route("/docs", any(|| async { "ok" }))
            .route_layer(by_header)
            .layer(auth.layer());
        let cookie = session(auth, &root).await;
        let answer = call(&app, get_with("/docs", Some(&cookie))).await;
        check_misuse(&answer, "guard_misconfigured", "an id of the request");
    })
    .await;
}

#[tokio::test]
async fn without_the_layer_every_guard_and_extractor_says_what_to_add() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let auth = &probe.auth;
        let routes = || {
            Router::new()
                .route("/layer", get(|| async { "ok" }))
                .route_layer(auth.require(permission("admin:read")))
                .merge(
                    Router::new()
                        .route("/layer/{id}", get(|| async { "ok" }))
                        .route_layer(auth.require(permission("admin:read")).on_path("id")),
                )
                .route("/allowed", get(|_: Allowed<AdminRead>| async { "ok" }))
                .route("/session", get(|_: Session| async { "ok" }))
                .route("/account", get(|_: Account| async { "ok" }))
                .route("/identity", get(|_: Identity| async { "ok" }))
                .route("/option/session", get(|_: Option<Session>| async { "ok" }))
                .route("/option/account", get(|_: Option<Account>| async { "ok" }))
                .route("/option/identity", get(|_: Option<Identity>| async { "ok" }))
                .route("/pending", get(|_: PendingSession| async { "ok" }))
                .route("/option/pending", get(|_: Option<PendingSession>| async { "ok" }))
                .route("/change", get(|_: PasswordChangeSession| async { "ok" }))
                .route("/enrol", get(|_: EnrolmentSession| async { "ok" }))
                .route("/anonymous", get(|_: AnonymousSession| async { "ok" }))
                .route("/option/anonymous", get(|_: Option<AnonymousSession>| async { "ok" }))
                .route("/client", get(|_: ClientInfo| async { "ok" }))
                .route("/portcullis", get(|_: Portcullis| async { "ok" }))
        };
        let app = routes();
        for path in [
            "/layer",
            "/layer/1",
            "/allowed",
            "/session",
            "/account",
            "/identity",
            "/option/session",
            "/option/account",
            "/option/identity",
            "/pending",
            "/option/pending",
            "/change",
            "/enrol",
            "/anonymous",
            "/option/anonymous",
            "/client",
            "/portcullis",
        ] {
            let answer = call(&app, get_with(path, None)).await;
            check_misuse(&answer, "missing_layer", path);
            let rejection = answer.rejection.expect("the typed error").to_string();
            assert!(rejection.contains("`.layer(auth.layer())`"), "{rejection}");
            let answer = call(&routes().layer(auth.layer()), get_with(path, None)).await;
            assert_ne!(answer.status, 500, "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_guard_that_names_what_is_not_there_is_a_fault_of_the_application() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let auth = &probe.auth;
        let app = Router::new()
            .route("/doc/{id}", get(|| async { "ok" }))
            .route_layer(auth.require(permission("doc:read")).on_path("doc_id"))
            .route("/allowed", get(|_: Allowed<NotAPermission>| async { "ok" }))
            .layer(auth.layer());
        let cookie = session(auth, &superuser(&probe, "root").await).await;
        for (path, named) in [("/doc/1", "doc_id"), ("/allowed", "admin::")] {
            let answer = call(&app, get_with(path, Some(&cookie))).await;
            check_misuse(&answer, "guard_misconfigured", path);
            let rejection = answer.rejection.expect("the typed error").to_string();
            assert!(rejection.contains(named), "{rejection}");
        }
        // Outside of any route there is no parameter.
        let app = Router::new()
            .fallback(|| async { "ok" })
            .layer(auth.require(permission("doc:read")).on_path("id"))
            .layer(auth.layer());
        let answer = call(&app, get_with("/doc/1", Some(&cookie))).await;
        check_misuse(&answer, "guard_misconfigured", "a fallback");
    })
    .await;
}
