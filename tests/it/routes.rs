//! The routes of portcullis describe themselves: the lists are made from the rows, and what the rows say
//! is true.

use std::collections::BTreeSet;

use axum::Router;
use axum::http::{Method, StatusCode};
use portcullis::guard::{RouteBody, RouteCaller, RouteDescription};
use portcullis::message::RecordingNotifier;
use portcullis::port::{HookFuture, MembershipSource, SourceMembership};
use portcullis::test_kit::{TestAnswer, TestClient};
use portcullis::{AccountId, Portcullis, Stage};

use crate::on_every_database;
use crate::support::{Backend, Probe};

/// A source that knows no memberships.
struct NoMemberships;

impl MembershipSource for NoMemberships {
    fn memberships(&self, _: AccountId) -> HookFuture<'_, Vec<SourceMembership>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// An instance with every capability, and an application with all routes.
fn everything(probe: &Probe) -> (Portcullis, Router) {
    let auth = probe.rebuilt(|builder| {
        builder
            .text_messages(RecordingNotifier::default())
            .levels("list", ["reader"])
            .membership_source(NoMemberships)
            .captcha(portcullis::captcha::PictureCaptcha::new())
            .configure(|config| {
                config.password.change_page = Some("/settings/password".to_owned());
                config.rate.per_source = None;
                config.rate.per_principal = None;
                config.trusted_device.enabled = true;
                config.api_key.prefix = Some("acme".to_owned());
                config.passkey.related_origins = vec!["https://example.de".to_owned()];
                crate::device_login::clients(config);
            })
    });
    let app = auth
        .router()
        .auth_routes("/auth", auth.routes())
        .auth_routes("/auth", portcullis::anonymous::routes(&auth))
        .auth_routes("/auth", portcullis::mail_login::routes(&auth))
        .auth_routes("/auth", portcullis::account_recovery::routes(&auth))
        .auth_routes("/auth", portcullis::action_proof::routes(&auth, ["pay"]))
        .auth_routes("/auth", portcullis::own_account::routes(&auth))
        .auth_routes("/auth", portcullis::own_api_key::routes(&auth))
        .auth_routes("/auth", portcullis::second_factor::routes(&auth))
        .auth_routes("/auth", portcullis::device_login::routes(&auth))
        .auth_routes("/auth", portcullis::passkey::routes(&auth))
        .auth_routes("/auth", portcullis::federation::routes(&auth))
        .auth_routes("/", portcullis::password_change::well_known(&auth))
        .auth_routes("/", portcullis::device_login::well_known(&auth))
        .auth_routes("/", portcullis::passkey::well_known(&auth))
        .into_router();
    (auth, app)
}

fn descriptions(auth: &Portcullis) -> Vec<(String, RouteDescription)> {
    let routes = auth.guarded_routes();
    let described = routes.iter().map(|route| {
        let description = route.description().expect("it is a route of portcullis");
        (route.path().to_owned(), description.clone())
    });
    described.collect()
}

/// The codes that follow from the rest of the row, as the page of the guide says.
fn of_many(row: &RouteDescription) -> BTreeSet<&'static str> {
    let mut codes = BTreeSet::from(["rate_limited", "overloaded", "unavailable", "internal_error"]);
    if row.method != Method::GET && !row.path.starts_with("/oauth/{provider}/") {
        codes.insert("cross_site_request");
    }
    if row.body != RouteBody::None {
        codes.extend(["invalid_body", "body_too_large", "unsupported_media_type"]);
    }
    if row.caller != RouteCaller::Anyone {
        codes.extend(["not_signed_in", "invalid_token", "token_expired", "session_ended"]);
        codes.extend(["session_expired", "session_suspicious", "multiple_credentials"]);
        codes.extend(["invalid_api_key", "api_key_expired", "api_key_revoked"]);
        codes.extend(["api_key_account_unusable", "session_required"]);
        codes.extend(["invalid_dpop_proof", "use_dpop_nonce"]);
    }
    if matches!(row.caller, RouteCaller::Stage(_)) {
        codes.insert("wrong_stage");
        return codes;
    }
    if row.caller != RouteCaller::Anyone {
        codes.extend(["second_factor_required", "password_change_required", "enrolment_required"]);
    }
    let any_ceiling = matches!(row.caller, RouteCaller::SignedIn | RouteCaller::SignedInOrStage(_));
    if row.caller != RouteCaller::Anyone && !any_ceiling {
        codes.insert("limited_session");
    }
    codes
}

fn markdown(auth: &Portcullis) -> String {
    let mut text =
        "| route | who may call it | body | answers | error codes of its own |\n".to_owned();
    text.push_str("|---|---|---|---|---|\n");
    for (_, row) in descriptions(auth) {
        let common = of_many(&row);
        let own: Vec<_> = row.errors.iter().filter(|code| !common.contains(*code)).collect();
        let own: Vec<_> = own.into_iter().map(|code| format!("`{code}`")).collect();
        let answers: Vec<_> = row.answers.iter().map(StatusCode::as_str).collect();
        let optional = [
            "anonymous",
            "login/mail",
            "well-known",
            "/account",
            "/action-proofs",
            "/api-keys",
            "/second-factor",
            "/totp",
            "/recovery-codes",
            "/sent-codes",
            "/trusted-devices",
            "/reauthenticate/",
            "/device",
        ];
        let star = if optional.iter().any(|part| row.path.contains(part)) { "*" } else { "" };
        text.push_str(&format!(
            "| `{} {}`{star} | {} | {} | {} | {} |\n",
            row.method,
            row.path,
            row.caller,
            row.body,
            answers.join(", "),
            own.join(", "),
        ));
    }
    text
}

fn uri(path: &str) -> String {
    path.replace("{id}", "018f0000-0000-7000-8000-000000000000")
        .replace("{name}", "nobody")
        .replace("{user_code}", "BCDF-GHJK")
        .replace("{*path}", "app")
}

/// A request with a body that the row takes, but that says nothing.
async fn ask(client: &TestClient, app: &Router, path: &str, row: &RouteDescription) -> TestAnswer {
    let request = client.request(row.method.clone(), &uri(path));
    match row.body {
        RouteBody::None => request.send(app).await,
        // Without an address it is for accounts that are signed in.
        _ if row.path == "/verification" => {
            request.json(&serde_json::json!({ "email": "nobody@example.com" })).send(app).await
        }
        _ => request.json(&serde_json::json!({})).send(app).await,
    }
}

on_every_database! {
    async fn every_row_keeps_what_it_says_about_its_callers_and_bodies(probe: Probe) {
        let (auth, app) = everything(&probe);
        let account = probe.register("alice").await;
        let nobody = auth.test().nobody();
        for (path, row) in descriptions(&auth) {
            let name = format!("{} {path}", row.method);
            // An earlier route may have closed the account or ended all its sessions.
            let _ = auth.accounts().keep(account.id()).await;
            let account = auth.accounts().find(account.id()).await.expect("it answers");
            let account = account.expect("the account is there");
            let full = || auth.test().login_as(&account);
            let is_get = row.method == Method::GET;
            // Another site.
            let foreign = nobody.request(row.method.clone(), &uri(&path));
            let foreign = foreign.header("sec-fetch-site", "cross-site").send(&app).await;
            let refuses = row.errors.contains(&"cross_site_request");
            assert_eq!(foreign.code() == "cross_site_request", refuses, "{name}");
            // What a provider sends proves by itself where it comes from.
            let of_provider = path.ends_with("/callback") || path.ends_with("/backchannel-logout");
            assert!(refuses || is_get || of_provider, "{name}");
            // A method that the path does not take.
            let other = nobody.request(Method::PATCH, &uri(&path)).send(&app).await;
            assert_eq!(other.code(), "method_not_allowed", "{name}");
            // Nobody, and sessions that are not far enough.
            let answer = ask(&nobody, &app, &path, &row).await;
            let anyone = row.caller == RouteCaller::Anyone;
            if anyone {
                assert_ne!(answer.code(), "not_signed_in", "{name}");
            } else {
                let refused = (answer.status(), answer.code());
                assert_eq!(refused, (StatusCode::UNAUTHORIZED, "not_signed_in".to_owned()), "{name}");
            }
            for (stage, code) in [
                (Stage::Anonymous, "not_signed_in"),
                (Stage::PendingSecondFactor, "second_factor_required"),
                (Stage::MustChangePassword, "password_change_required"),
                (Stage::MustEnrol, "enrolment_required"),
            ] {
                let client = match stage {
                    Stage::Anonymous => auth.test().visitor(),
                    stage => full().at_stage(stage).into_client(),
                };
                let answer = ask(&client, &app, &path, &row).await;
                let code = match row.caller {
                    RouteCaller::Stage(_) => "wrong_stage",
                    _ => code,
                };
                let accepted = match row.caller {
                    RouteCaller::Anyone => true,
                    RouteCaller::Stage(named) => named == stage,
                    RouteCaller::OwnerOrStage(_, named) => named == stage,
                    RouteCaller::SignedInOrStage(named) => named == stage,
                    _ => false,
                };
                assert_eq!(answer.code() == code, !accepted, "{name} {stage:?} {}", answer.code());
            }
            // A session that is limited to something else.
            let limited = full().limited_to(["doc:read"]).into_client();
            let answer = ask(&limited, &app, &path, &row).await;
            let for_owners =
                matches!(row.caller, RouteCaller::Owner(_) | RouteCaller::OwnerOrStage(..));
            assert_eq!(answer.code() == "limited_session", for_owners, "{name} {}", answer.code());
            if let RouteCaller::Owner(permission) | RouteCaller::OwnerOrStage(permission, _) = row.caller {
                let limited = full().limited_to([permission]).into_client();
                let answer = ask(&limited, &app, &path, &row).await;
                assert_ne!(answer.code(), "limited_session", "{name}");
            }
            // A session that is further than the route.
            if matches!(row.caller, RouteCaller::Stage(_)) {
                let answer = ask(&full().into_client(), &app, &path, &row).await;
                assert_eq!(answer.code(), "wrong_stage", "{name}");
            }
            // Bodies. Each request has its own session, because a route may end this session or all
            // sessions.
            let account = auth.accounts().find(account.id()).await.expect("it answers");
            let account = account.expect("the account is there");
            let suited = || match row.caller {
                RouteCaller::Stage(stage) => auth.test().login_as(&account).at_stage(stage),
                _ => auth.test().login_as(&account),
            };
            let client = suited().into_client();
            let plain = client.request(row.method.clone(), &uri(&path)).body("text/plain", "x");
            let plain = plain.send(&app).await;
            let refused = plain.code() == "unsupported_media_type";
            assert_eq!(refused, row.body != RouteBody::None, "{name} {}", plain.code());
            let client = suited().into_client();
            let form = client.request(row.method.clone(), &uri(&path));
            let form = form.header("sec-fetch-site", "same-origin");
            let form = form.body("application/x-www-form-urlencoded", "no_field=1").send(&app).await;
            let refused = form.code() == "unsupported_media_type";
            assert_eq!(refused, row.body == RouteBody::Json, "{name} {}", form.code());
            let client = suited().into_client();
            let huge = client.request(row.method.clone(), &uri(&path));
            let huge = huge.body("application/json", "x".repeat(17 * 1024)).send(&app).await;
            assert_eq!(huge.code() == "body_too_large", row.body != RouteBody::None, "{name}");
        }
    }

    async fn the_list_of_a_guarded_router_says_who_may_call_the_routes_of_portcullis(probe: Probe) {
        let (auth, _app) = everything(&probe);
        let routes = auth.guarded_routes();
        let line = |path: &str| {
            let lines = routes.iter().filter(|route| route.path() == path);
            lines.map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(line("/auth/login"), "POST /auth/login: own: anyone");
        assert_eq!(line("/auth/session"), "GET /auth/session: own: signed in");
        assert_eq!(
            line("/auth/sessions"),
            "DELETE /auth/sessions: own: owner(auth-account:sessions); \
             GET /auth/sessions: own: owner(auth-account:sessions)"
        );
        assert_eq!(
            line("/auth/password"),
            "POST /auth/password: own: owner(auth-account:password) or stage(password_change_required); \
             PUT /auth/password: own: owner(auth-account:password) or stage(password_change_required)"
        );
        assert_eq!(
            line("/.well-known/change-password"),
            "GET /.well-known/change-password: own: anyone"
        );
        for (_, row) in descriptions(&auth) {
            let sorted: BTreeSet<_> = row.errors.iter().copied().collect();
            assert_eq!(sorted.into_iter().collect::<Vec<_>>(), row.errors, "{} {}", row.method, row.path);
            assert!(of_many(&row).iter().all(|code| row.errors.contains(code)), "{row:?}");
        }
    }
}

/// With `PORTCULLIS_TEST_UPDATE=1` this writes the page.
#[tokio::test]
async fn the_guide_lists_every_route() {
    crate::support::probe::run(Backend::Sqlite, check_the_guide).await;
}

async fn check_the_guide(probe: Probe) {
    let (auth, _app) = everything(&probe);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/routes.md");
    let text = markdown(&auth);
    if std::env::var_os("PORTCULLIS_TEST_UPDATE").is_some() {
        std::fs::write(path, text).expect("the page is written");
        return;
    }
    let kept = std::fs::read_to_string(path).expect("the page is there");
    assert_eq!(kept, text, "run this test with PORTCULLIS_TEST_UPDATE=1");
}
