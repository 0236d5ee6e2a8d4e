//! A session with a ceiling is not the owner of its account, unless the ceiling says so.

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use portcullis::identity::owner::Password as PasswordPermission;
use portcullis::identity::owner::{
    AccountPermission, Contact, Factors, LoginNames, Memberships, Sessions,
};
use portcullis::permission::{GrantError, Permission};
use portcullis::{Account, AuthError, Factor, Identity};
use serde_json::{Value, json};

use crate::on_every_database;
use crate::support::call::{Called, call, cookie_of, request};
use crate::support::{PASSWORD, Probe, until};

const NEW: &str = "another long password";

/// Starts a session with this ceiling and a recent password check. So only the ceiling can refuse
/// it.
async fn limited(probe: &Probe, account: &Account, ceiling: &[&str]) -> String {
    let client = portcullis::ClientInfo::default();
    let parse = |text: &&str| Permission::parse(text).expect("a permission");
    let start = probe.auth.sessions().start(account, &client).factor(Factor::Password);
    let start = start.ceiling(ceiling.iter().map(parse).collect::<Vec<_>>());
    cookie_of(&start.await.expect("a session"))
}

fn app(probe: &Probe) -> Router {
    let routes = probe.auth.routes().merge(portcullis::membership::routes(&probe.auth));
    Router::new()
        .nest(
            "/auth",
            routes
                .merge(portcullis::second_factor::routes(&probe.auth))
                .merge(portcullis::passkey::routes(&probe.auth))
                .merge(portcullis::federation::routes(&probe.auth)),
        )
        .layer(probe.auth.layer())
}

async fn send(app: &Router, cookie: &str, method: &str, path: &str, body: Option<Value>) -> Called {
    let request = request(method, path).header("cookie", cookie);
    let request = match body {
        Some(body) => {
            request.header("content-type", "application/json").body(Body::from(body.to_string()))
        }
        None => request.body(Body::empty()),
    };
    call(app, request.expect("a request")).await
}

/// Each change of the account and each view of its sessions, with the permission that it needs. The
/// routes that end the session come last.
fn account_routes(other: &str) -> Vec<(&'static str, Method, String, Option<Value>)> {
    let text = |path: &str| format!("/auth{path}");
    vec![
        (Memberships::TEXT, Method::POST, text("/memberships/refresh"), None),
        (Sessions::TEXT, Method::GET, text("/sessions"), None),
        (Sessions::TEXT, Method::POST, format!("/auth/sessions/{other}/report"), None),
        (Sessions::TEXT, Method::DELETE, format!("/auth/sessions/{other}"), None),
        (Sessions::TEXT, Method::DELETE, text("/sessions"), None),
        (Factors::TEXT, Method::GET, text("/totp"), None),
        (Factors::TEXT, Method::POST, text("/totp"), Some(json!({ "name": "phone" }))),
        (Factors::TEXT, Method::DELETE, text("/totp/nothing"), None),
        (Factors::TEXT, Method::GET, text("/passkeys"), None),
        (Factors::TEXT, Method::POST, text("/passkeys/challenge"), None),
        (Factors::TEXT, Method::POST, text("/passkeys/challenge/conditional"), None),
        (Factors::TEXT, Method::DELETE, text("/passkeys/nothing"), None),
        (Factors::TEXT, Method::GET, text("/oauth"), None),
        (Factors::TEXT, Method::DELETE, text("/oauth/nobody"), None),
        (
            Factors::TEXT,
            Method::POST,
            text("/pending-identity/link"),
            Some(json!({ "id": "nothing" })),
        ),
        (Factors::TEXT, Method::GET, text("/recovery-codes"), None),
        (Factors::TEXT, Method::POST, text("/recovery-codes"), Some(json!({}))),
        (LoginNames::TEXT, Method::GET, text("/login-names"), None),
        (
            LoginNames::TEXT,
            Method::POST,
            text("/login-names"),
            Some(json!({ "email": "a@work.example" })),
        ),
        (
            LoginNames::TEXT,
            Method::POST,
            text("/login-names/confirm"),
            Some(json!({ "code": "12345678" })),
        ),
        (LoginNames::TEXT, Method::DELETE, text("/login-names/nothing"), None),
        (Contact::TEXT, Method::POST, text("/email"), Some(json!({ "email": "a@new.example" }))),
        (Contact::TEXT, Method::POST, text("/email/confirm"), Some(json!({ "code": "12345678" }))),
        (
            PasswordPermission::TEXT,
            Method::PUT,
            text("/password"),
            Some(json!({ "current_password": PASSWORD, "new_password": NEW })),
        ),
        (Sessions::TEXT, Method::DELETE, text("/sessions?scope=all"), None),
    ]
}

on_every_database! {
    async fn a_limited_session_changes_nothing_of_its_account(probe: Probe) {
        let alice = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(alice.id()).await.expect("it is verified");
        let app = app(&probe);
        let cookie = limited(&probe, &alice, &["doc:read", "auth-other", "account:manage"]).await;
        let other = probe.signed_in_as(&alice).await;
        for (permission, method, path, body) in account_routes(&other) {
            let before = probe.dump("auth_account").await;
            let sessions = probe.dump("auth_session").await;
            let answer = send(&app, &cookie, method.as_str(), &path, body).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "limited_session"), "{path}");
            assert!(answer.text.contains(permission), "{path}: {}", answer.text);
            assert_eq!(probe.dump("auth_account").await, before, "{path}");
            assert_eq!(probe.dump("auth_session").await, sessions, "{path}");
        }
        assert_eq!(probe.mail().await.len(), 0);
        // What belongs to the session and not to the account still works.
        let me = send(&app, &cookie, "GET", "/auth/session", None).await;
        assert_eq!((me.status, me.text.contains("doc:read")), (200, true));
        assert_eq!(send(&app, &cookie, "GET", "/auth/memberships", None).await.status, 200);
        assert_eq!(send(&app, &cookie, "POST", "/auth/session/refresh", None).await.status, 200);
        assert_eq!(send(&app, &cookie, "POST", "/auth/logout", None).await.status, 204);
    }

    async fn a_superuser_below_a_ceiling_is_limited_too(probe: Probe) {
        let root = probe.register("root").await;
        probe.auth.accounts().set_superuser(root.id(), true).await.expect("a superuser");
        let app = app(&probe);
        let cookie = limited(&probe, &root, &["doc:read"]).await;
        let answer = send(&app, &cookie, "GET", "/auth/sessions", None).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "limited_session"));
        let cookie = limited(&probe, &root, &["*"]).await;
        assert_eq!(send(&app, &cookie, "GET", "/auth/sessions", None).await.status, 200);
    }

    async fn a_ceiling_that_covers_a_flow_opens_that_flow_and_no_other(probe: Probe) {
        let probe = probe.configured(crate::passkey::public);
        let alice = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(alice.id()).await.expect("it is verified");
        let app = app(&probe);
        let everything = ["*", "auth-account", "auth-account:manage"];
        let narrow = [
            Memberships::TEXT,
            Sessions::TEXT,
            LoginNames::TEXT,
            Factors::TEXT,
            Contact::TEXT,
            PasswordPermission::TEXT,
        ];
        for ceiling in everything.into_iter().chain(narrow) {
            let other = probe.signed_in_as(&alice).await;
            for (permission, method, path, body) in account_routes(&other) {
                // Each request has a session of its own, because some of them end it. The account
                // is read again, because an old copy has an old epoch and starts only invalid
                // sessions.
                let alice = probe.auth.accounts().find(alice.id()).await.expect("it answers");
                let alice = alice.expect("an account");
                let cookie = limited(&probe, &alice, &["doc:read", ceiling]).await;
                // The wrong password keeps the password unchanged for the next request.
                let body = body.map(|mut body| {
                    if let Some(current) = body.get_mut("current_password") {
                        *current = json!("a wrong password");
                    }
                    body
                });
                let answer = send(&app, &cookie, method.as_str(), &path, body).await;
                let covered = ceiling == permission || everything.contains(&ceiling);
                let refused = answer.code() == "limited_session";
                assert_eq!(refused, !covered, "{ceiling} {method} {path}: {}", answer.text);
                assert!(answer.status < 500, "{path}: {}", answer.text);
            }
        }
        let alice = probe.auth.accounts().find(alice.id()).await.expect("it answers");
        let alice = alice.expect("an account");
        let cookie = limited(&probe, &alice, &[PasswordPermission::TEXT]).await;
        let body = json!({ "current_password": PASSWORD, "new_password": NEW });
        let answer = send(&app, &cookie, "PUT", "/auth/password", Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // The new session keeps the ceiling.
        let cookie = answer.headers["set-cookie"].to_str().expect("ASCII");
        let cookie = cookie.split(';').next().expect("a cookie").to_owned();
        let answer = send(&app, &cookie, "GET", "/auth/sessions", None).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "limited_session"));
    }

    async fn proving_the_password_again_lifts_no_ceiling(probe: Probe) {
        let alice = probe.register("alice").await;
        let app = app(&probe);
        let cookie = limited(&probe, &alice, &["doc:read"]).await;
        let body = json!({ "password": PASSWORD });
        let answer = send(&app, &cookie, "POST", "/auth/reauthenticate", Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let cookie = answer.headers["set-cookie"].to_str().expect("ASCII");
        let cookie = cookie.split(';').next().expect("a cookie").to_owned();
        let answer = send(&app, &cookie, "GET", "/auth/sessions", None).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "limited_session"));
    }

    async fn the_refusals_are_counted_as_denials(probe: Probe) {
        let alice = probe.register("alice").await;
        let app = app(&probe);
        let cookie = limited(&probe, &alice, &["doc:read"]).await;
        send(&app, &cookie, "GET", "/auth/sessions", None).await;
        probe.auth.audit_log().flush().await;
        let denials = async || {
            probe.auth.audit_log().denials_of(alice.id()).await.expect("the log")
        };
        // A separate task writes the first denial of a minute.
        until("it is counted", async || !denials().await.is_empty()).await;
        assert_eq!(denials().await, [("ceiling(auth-account:sessions)".to_owned(), 1)]);
    }

    async fn the_methods_refuse_a_limited_identity_as_the_routes_do(probe: Probe) {
        let alice = probe.register("alice").await;
        let router: Router = Router::new()
            .route("/owner", axum::routing::get(async |identity: Identity| {
                match identity.owner::<Sessions>() {
                    Ok(owner) => owner.account().id().to_string(),
                    Err(AuthError::LimitedSession(permission)) => permission.to_owned(),
                    Err(error) => format!("{error:?}"),
                }
            }))
            .layer(probe.auth.layer());
        for (ceiling, answer) in [
            (["doc:read"].as_slice(), Sessions::TEXT.to_owned()),
            (&[Sessions::TEXT], alice.id().to_string()),
            (&[], Sessions::TEXT.to_owned()),
        ] {
            let cookie = limited(&probe, &alice, ceiling).await;
            assert_eq!(send(&router, &cookie, "GET", "/owner", None).await.text, answer);
        }
    }

    async fn nobody_declares_or_grants_permissions_in_the_domains_of_portcullis(probe: Probe) {
        let alice = probe.register("alice").await;
        let reserved = |error| matches!(error, Err(GrantError::ReservedDomain { .. }));
        let roles = probe.auth.roles();
        for text in ["auth-account:manage", "doc,auth-admin:read", "Auth-account:x"] {
            let permission = Permission::parse(text).expect("a permission");
            assert!(reserved(roles.create("owner", [text]).await.map(drop)), "{text}");
            let granted = probe.auth.permissions().grant(alice.id(), &permission).await;
            assert!(reserved(granted), "{text}");
            assert!(reserved(probe.auth.catalogue().sync([text]).await.map(drop)), "{text}");
        }
        roles.create("editor", ["doc:read"]).await.expect("a role");
        assert!(reserved(roles.set_permissions("editor", ["auth-account:manage"]).await));
        // Names that only look similar belong to the application.
        roles.set_permissions("editor", ["author:read", "auth:read"]).await.expect("they are its own");
        let permission = Permission::parse("auth:read").expect("a permission");
        probe.auth.permissions().grant(alice.id(), &permission).await.expect("it is granted");
        // An existing grant of this kind can be revoked.
        let permission = Permission::parse("auth-account:manage").expect("a permission");
        probe.auth.permissions().revoke(alice.id(), &permission).await.expect("nothing to revoke");
    }
}
