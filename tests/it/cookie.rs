//! The session cookie as browsers and attackers see it.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http_body_util::BodyExt;
use portcullis::config::SameSite;
use portcullis::{Config, ConfigError, Portcullis, Secret};
use reqwest::Method;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::on_every_database;
use crate::support::browser::{Answer, COOKIE};
use crate::support::call::{call as call_app, request};
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NEW_PASSWORD: &str = "another horse battery staple";

fn cookie(browser: &Browser) -> String {
    browser.cookie.clone().expect("a cookie")
}

/// Checks the one session cookie of an answer. Returns its value and its age.
fn check_cookie(answer: &Answer, name: &str, attributes: &[&str]) -> (String, Option<u64>) {
    let mut lines = answer.set_cookies();
    // The answer can also set the cookie of a known device, with the same attributes.
    let of_device = |line: &String| line.starts_with(&format!("{name}-device="));
    if let Some(place) = lines.iter().position(of_device) {
        let device = lines.remove(place);
        let rest: Vec<&str> = device.split("; ").skip(1).collect();
        let age = rest.iter().find_map(|part| part.strip_prefix("Max-Age="));
        assert!(age.is_some_and(|age| age.parse::<u64>().is_ok_and(|age| age > 0)));
        assert!(attributes.iter().all(|part| rest.contains(part)), "{device}");
        assert_eq!(rest.len(), attributes.len() + 1, "{device}");
    }
    assert_eq!(lines.len(), 1, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let mut parts = lines[0].split("; ");
    let pair = parts.next().expect("a pair");
    let value = pair.strip_prefix(&format!("{name}=")).expect("our name").to_owned();
    assert!(pair.len() <= 4096);
    let mut age = None;
    let mut rest: Vec<&str> = Vec::new();
    for part in parts {
        match part.strip_prefix("Max-Age=") {
            Some(seconds) => assert_eq!(age.replace(seconds.parse().expect("seconds")), None),
            None => rest.push(part),
        }
    }
    rest.sort_unstable();
    let mut expected = attributes.to_vec();
    expected.sort_unstable();
    assert_eq!(rest, expected, "{lines:?}");
    assert!(age.is_none_or(|age| age <= 400 * DAY.as_secs()));
    (value, age)
}

const ATTRIBUTES: [&str; 4] = ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"];

/// Returns the answers in which the library sets or clears its cookie, each with a name.
async fn every_answer_with_a_cookie(
    probe: &Probe,
    browser: &Browser,
) -> Vec<(&'static str, Answer)> {
    let mut browser = browser.stranger();
    let mut answers = Vec::new();
    answers.push(("anonymous", browser.post_empty("/auth/session/anonymous").await));
    let body = json!({ "username": "alice", "password": PASSWORD });
    answers.push(("register", browser.post("/auth/register", body).await));
    answers.push(("login", browser.login("alice", PASSWORD).await));
    let body = json!({ "password": PASSWORD });
    answers.push(("reauthenticate", browser.post("/auth/reauthenticate", body).await));
    let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
    answers.push(("password", browser.put("/auth/password", body).await));
    probe.clock.advance(15 * MINUTE);
    let mut copy = browser.clone();
    answers.push(("rotation", browser.get("/me").await));
    probe.clock.advance(2 * MINUTE);
    answers.push(("refresh", browser.post_empty("/auth/session/refresh").await));
    probe.clock.advance(2 * MINUTE);
    assert_eq!(browser.get("/me").await.status, 200);
    let theft = copy.get("/me").await;
    assert_eq!((theft.status, theft.set_cookies().len()), (401, 0), "{theft:?}");
    assert_eq!(browser.login("alice", NEW_PASSWORD).await.status, 200);
    answers.push(("logout", browser.post_empty("/auth/logout").await));
    assert_eq!(browser.login("alice", NEW_PASSWORD).await.status, 200);
    answers.push(("end all", browser.delete("/auth/sessions?scope=all").await));
    answers
}

on_every_database! {
    async fn every_cookie_has_the_same_strict_attributes(probe: Probe) {
        let browser = probe.browser().await;
        for (what, answer) in every_answer_with_a_cookie(&probe, &browser).await {
            let (value, age) = check_cookie(&answer, COOKIE, &ATTRIBUTES);
            match what {
                "logout" | "end all" => assert_eq!((value.as_str(), age), ("", Some(0)), "{what}"),
                "anonymous" => assert_eq!(age, Some(DAY.as_secs()), "{what}"),
                _ => assert_eq!(age, Some(7 * DAY.as_secs()), "{what}"),
            }
            assert!(!answer.text.contains(&value) || value.is_empty(), "{what}: the token is in the body");
            assert!(!answer.headers.contains_key("clear-site-data"), "{what}");
        }
    }

    async fn every_answer_of_our_routes_is_for_one_client_alone(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let mut answers = every_answer_with_a_cookie(&probe, &browser.stranger())
            .await
            .into_iter()
            .filter(|(what, _)| !matches!(*what, "rotation" | "register"))
            .map(|(_, answer)| answer)
            .collect::<Vec<_>>();
        let mut browser = browser;
        for path in ["/auth/methods", "/auth/session", "/auth/sessions", "/auth/login"] {
            answers.push(browser.get(path).await);
            answers.push(browser.stranger().get(path).await);
        }
        for path in [
            "/auth/login", "/auth/logout", "/auth/register", "/auth/reauthenticate",
            "/auth/session/refresh", "/auth/session/anonymous",
        ] {
            answers.push(browser.stranger().post_empty(path).await);
            answers.push(browser.stranger().post(path, json!({ "x": 1 })).await);
            let request = browser.raw(Method::POST, path).body("x");
            answers.push(browser.send(request.header("content-type", "text/plain")).await);
            let request = browser.raw(Method::POST, path).header("sec-fetch-site", "cross-site");
            answers.push(browser.send(request).await);
            answers.push(browser.stranger().delete(path).await);
        }
        answers.push(browser.delete("/auth/sessions/x").await);
        answers.push(browser.stranger().put("/auth/password", json!({})).await);
        for answer in &answers {
            assert_eq!(answer.headers["cache-control"], "no-store", "{answer:?}");
            let vary: Vec<String> = answer
                .headers
                .get_all("vary")
                .iter()
                .flat_map(|line| line.to_str().expect("ASCII").split(','))
                .map(|name| name.trim().to_ascii_lowercase())
                .collect();
            for name in ["cookie", "authorization", "origin", "sec-fetch-site"] {
                assert!(vary.iter().any(|varies| varies == name), "{name}: {answer:?}");
            }
        }
        assert!(answers.len() > 40);
        // The application's own routes send `Vary` only if something has asked for the identity.
        assert_eq!(browser.get("/me").await.headers["vary"], "cookie, authorization");
        assert!(!browser.get("/public").await.headers.contains_key("vary"));
        assert!(!browser.get("/public").await.headers.contains_key("cache-control"));
    }

    async fn one_cookie_of_another_service_on_the_host_is_told_to_the_operator(probe: Probe) {
        let account = probe.register("alice").await;
        let found = |auth: &Portcullis| auth.audit().iter().any(|found| found.code == "foreign_cookie");
        let me = async |app: &Router, cookie: &str| {
            let request = request("GET", "/me").header("cookie", cookie);
            call_app(app, request.body(Body::empty()).expect("a request")).await
        };
        let secret = Secret::generate();
        let service = |issuer: &str, secret: &Secret| {
            let (issuer, secret) = (issuer.to_owned(), secret.clone());
            probe.rebuilt(|builder| {
                builder.secret(secret).configure(|config| config.service.issuer = Some(issuer))
            })
        };
        for (what, other) in [
            ("with a secret of its own", service("theirs", &Secret::generate())),
            ("with our secret", service("theirs", &secret)),
        ] {
            let auth = service("ours", &secret);
            let app = app(&auth);
            let ours = auth.test().login_as(&account).cookie().await.expect("a session");
            let forged = format!("{}{}", &ours[..ours.len() - 3], "AAA");
            for (cookie, status) in [(&ours, 200), (&forged, 401), (&format!("{COOKIE}=x"), 401)] {
                assert_eq!(me(&app, cookie).await.status, status, "{what}");
                assert!(!found(&auth), "{what}");
            }
            let theirs = other.test().login_as(&account).cookie().await.expect("a session");
            assert_eq!(me(&app, &theirs).await.code(), "invalid_token", "{what}");
            assert!(found(&auth), "{what}");
        }
    }

    async fn twins_and_look_alikes_of_the_cookie_are_never_honoured(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let (_, other) = probe.signed_in("mallory").await;
        let (good, evil) = (cookie(&browser), cookie(&other));
        let alice = browser.clone().get("/me").await.text;
        let ask = async |lines: &[String], path: &str| {
            let mut request = browser.raw(Method::GET, path);
            for line in lines {
                request = request.header("cookie", line);
            }
            probe.statements(browser.stranger().send(request)).await
        };
        for lines in [
            vec![format!("{COOKIE}={good}")],
            vec![format!("session={evil}; {COOKIE}={good}")],
            vec![format!("{COOKIE}={good}; session={evil}")],
            vec![format!("session={evil}"), format!("{COOKIE}={good}")],
            vec![format!("__Secure-session={evil}; {COOKIE}={good}")],
            vec![format!("__host-session={evil}; {COOKIE}={good}; __HOST-SESSION={evil}")],
            vec![format!("={COOKIE}={evil}; {COOKIE}={good}")],
            vec![format!("  {COOKIE}={good}  ;a=b")],
            vec![format!("a=\"x; {COOKIE}={good}")],
        ] {
            let (answer, _) = ask(&lines, "/me").await;
            assert_eq!((answer.status, &answer.text), (200, &alice), "{lines:?}");
        }
        for lines in [
            vec![format!("{COOKIE}={good}; {COOKIE}={good}")],
            vec![format!("{COOKIE}={evil}; {COOKIE}={good}")],
            vec![format!("{COOKIE}={good}; {COOKIE}={evil}")],
            vec![format!("{COOKIE}={good}; a=b; {COOKIE}={evil}; {COOKIE}=")],
            vec![format!("{COOKIE}={good}"), format!("{COOKIE}={evil}")],
        ] {
            // Routes that need to know the user refuse two cookies that could both be valid.
            for path in ["/me", "/signed-in", "/auth/session"] {
                let (answer, statements) = ask(&lines, path).await;
                assert_eq!((answer.status, answer.code().as_str()), (400, "multiple_credentials"), "{lines:?}");
                assert!(answer.set_cookies().is_empty());
                assert_eq!(statements, 0);
            }
            for (path, text) in [("/public", "public"), ("/maybe", "nobody")] {
                let (answer, statements) = ask(&lines, path).await;
                assert_eq!((answer.status, answer.text.as_str(), statements), (200, text, 0), "{lines:?}");
            }
        }
        // A cookie that is foreign, forged, damaged or ended has no effect next to the valid one.
        let foreign = probe.rebuilt(|builder| {
            builder.configure(|config| config.keys.secrets = vec![portcullis::Secret::generate()])
        });
        let mut neighbour = Browser::new(serve(app(&foreign)).await);
        assert_eq!(neighbour.login("alice", PASSWORD).await.status, 200);
        let long = "A".repeat(6000);
        for bad in ["", "x", "a.b.c", &cookie(&neighbour), &good[1..], &format!("{good}A"), &long] {
            for lines in [
                vec![format!("{COOKIE}={good}; {COOKIE}={bad}")],
                vec![format!("{COOKIE}={bad}; {COOKIE}={good}")],
                vec![format!("{COOKIE}={bad}"), format!("{COOKIE}={good}")],
                vec![format!("{COOKIE}={bad}; {COOKIE}={bad}; {COOKIE}={good}; {COOKIE}={bad}")],
            ] {
                let (answer, _) = ask(&lines, "/me").await;
                assert_eq!((answer.status, &answer.text), (200, &alice), "{lines:?}");
            }
            // Without a valid cookie nobody is signed in, and no public route is blocked.
            let lines = [format!("{COOKIE}={bad}; {COOKIE}={bad}")];
            let (answer, statements) = ask(&lines, "/me").await;
            assert_eq!((answer.code().as_str(), statements), ("invalid_token", 0), "{lines:?}");
            let (answer, _) = ask(&lines, "/maybe").await;
            assert_eq!((answer.status, answer.text.as_str()), (200, "nobody"));
        }
        assert!(probe.auth.audit().iter().any(|finding| finding.code == "foreign_cookie"));
        // Only a limited number of signatures are verified, however many cookies an attacker
        // plants.
        let forged = (0..50).map(|number| format!("{COOKIE}={}.{number}; ", good.rsplit_once('.').expect("parts").0));
        let lines = [format!("{}{COOKIE}={good}", forged.collect::<String>())];
        let (answer, statements) = ask(&lines, "/me").await;
        assert_eq!((answer.status, answer.code().as_str(), statements), (400, "multiple_credentials", 0));
        assert_eq!(ask(&lines, "/public").await.0.status, 200);
        for lines in [
            vec![format!("__host-session={good}")],
            vec![format!("__HOST-session={good}")],
            vec![format!("__Host-Session={good}")],
            vec![format!("={COOKIE}={good}")],
            vec![format!("={good}")],
            vec![format!("session={good}")],
            vec![format!("__Secure-session={good}")],
            vec![format!("x{COOKIE}={good}")],
            vec![format!("{COOKIE} ={good}")],
            vec![format!("{COOKIE}x={good}")],
            vec![format!("a={COOKIE}={good}")],
            vec![COOKIE.to_owned()],
        ] {
            let (answer, statements) = ask(&lines, "/me").await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "not_signed_in"), "{lines:?}");
            assert_eq!(statements, 0);
        }
    }

    async fn two_cookies_keep_nobody_from_signing_in_or_out(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let (_, other) = probe.signed_in("bob").await;
        let (mut ended, mut over) = (browser.stranger(), browser.stranger());
        assert_eq!(ended.login("alice", PASSWORD).await.status, 200);
        let gone = cookie(&ended);
        assert_eq!(ended.post_empty("/auth/logout").await.status, 204);
        let both = |a: &str, b: &str| format!("{COOKIE}={a}; {COOKIE}={b}");
        let ask = async |cookies: &str, path: &str, body: Value| {
            let request = browser.raw(Method::POST, path)
                .header("cookie", cookies)
                .header("sec-fetch-site", "same-origin");
            let request = if body.is_null() { request } else { request.json(&body) };
            browser.stranger().send(request).await
        };
        let (one, two) = (cookie(&browser), cookie(&other));
        let credentials = json!({ "login": "alice", "password": PASSWORD });
        for cookies in [both(&one, &two), both(&two, &gone), both("x", "y"), both(&gone, &gone)] {
            let answer = ask(&cookies, "/auth/login", credentials.clone()).await;
            assert_eq!((answer.status, answer.cookie().is_some()), (200, true), "{}", answer.text);
            let answer = ask(&cookies, "/auth/session/anonymous", Value::Null).await;
            assert_eq!(answer.status, 201, "{}", answer.text);
            let body = json!({ "username": format!("new-{}", cookies.len()), "password": PASSWORD });
            let answer = ask(&cookies, "/auth/register", body).await;
            assert!(matches!(answer.status, 201 | 409), "{}", answer.text);
        }
        // The first sign-in above replaced neither session.
        assert_eq!(browser.with_cookie(&one).get("/me").await.status, 200);
        assert_eq!(browser.with_cookie(&two).get("/me").await.status, 200);
        // Signing out ends every session whose token portcullis signed, and clears the cookie with
        // the attributes with which it was set.
        let answer = ask(&both(&one, &two), "/auth/logout", Value::Null).await;
        let cleared = [format!("{COOKIE}=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0")];
        assert_eq!((answer.status, answer.set_cookies()), (204, cleared.to_vec()));
        for token in [&one, &two] {
            assert_eq!(browser.with_cookie(token).get("/me").await.code(), "session_ended");
        }
        assert_eq!(ask(&both("x", "y"), "/auth/logout", Value::Null).await.status, 204);
        assert_eq!(over.login("alice", PASSWORD).await.status, 200);
    }

    async fn a_partitioned_cookie_has_a_name_of_its_own(probe: Probe) {
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.cookie.same_site = SameSite::None;
                config.cookie.partitioned = true;
            })
        });
        probe.register("alice").await;
        let browser = Browser::new(serve(app(&auth)).await);
        let attributes = ["Path=/", "Secure", "HttpOnly", "SameSite=None", "Partitioned"];
        let name = "__Host-session-partitioned";
        let body = json!({ "login": "alice", "password": PASSWORD });
        let answer = browser.stranger().post("/auth/login", body).await;
        let (token, _) = check_cookie(&answer, name, &attributes);
        let ask = async |name: &str| {
            let request = browser.raw(Method::GET, "/me").header("cookie", format!("{name}={token}"));
            browser.stranger().send(request).await
        };
        assert_eq!(ask(COOKIE).await.status, 401);
        assert_eq!(ask(name).await.status, 200);
        probe.clock.advance(15 * MINUTE);
        check_cookie(&ask(name).await, name, &attributes);
        // Deletion must repeat all attributes. Otherwise the browser keeps the cookie in the
        // partition.
        let answer = browser.stranger().post_empty("/auth/logout").await;
        assert_eq!(check_cookie(&answer, name, &attributes), (String::new(), Some(0)));
        // Without the setting no cookie is partitioned.
        let answer = probe.browser().await.login("alice", PASSWORD).await;
        assert!(answer.set_cookies().iter().all(|line| !line.contains("Partitioned")));
    }

    async fn cookies_of_plain_http_have_neither_prefix_nor_secure(probe: Probe) {
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| config.cookie.danger_insecure_http_cookies = true)
        });
        assert!(auth.audit().iter().any(|finding| finding.code == "insecure_cookies"));
        assert!(!probe.auth.audit().iter().any(|finding| finding.code == "insecure_cookies"));
        let attributes = ["Path=/", "HttpOnly", "SameSite=Lax"];
        probe.register("alice").await;
        let browser = Browser::new(serve(app(&auth)).await);
        let body = json!({ "login": "alice", "password": PASSWORD });
        let answer = browser.stranger().post("/auth/login", body).await;
        let (token, _) = check_cookie(&answer, "session", &attributes);
        let ask = async |method: Method, path: &str, name: &str| {
            let request = browser.raw(method, path).header("cookie", format!("{name}={token}"));
            browser.stranger().send(request.header("sec-fetch-site", "same-origin")).await
        };
        assert_eq!(ask(Method::GET, "/me", "session").await.status, 200);
        assert_eq!(ask(Method::GET, "/me", COOKIE).await.status, 401);
        probe.clock.advance(15 * MINUTE);
        check_cookie(&ask(Method::GET, "/me", "session").await, "session", &attributes);
        let answer = ask(Method::POST, "/auth/logout", "session").await;
        assert_eq!(check_cookie(&answer, "session", &attributes), (String::new(), Some(0)));
    }

    async fn same_site_and_name_are_as_configured(probe: Probe) {
        probe.register("alice").await;
        for (same_site, attribute) in [
            (SameSite::Strict, "SameSite=Strict"),
            (SameSite::Lax, "SameSite=Lax"),
            (SameSite::None, "SameSite=None"),
        ] {
            for name in ["session", "12345", "my.app-session_2"] {
                let auth = probe.rebuilt(|builder| {
                    builder.configure(|config| {
                        config.cookie.same_site = same_site;
                        config.cookie.name = name.to_owned();
                    })
                });
                let browser = Browser::new(serve(app(&auth)).await);
                let body = json!({ "login": "alice", "password": PASSWORD });
                let answer = browser.stranger().post("/auth/login", body).await;
                let attributes = ["Path=/", "Secure", "HttpOnly", attribute];
                let name = format!("__Host-{name}");
                let (token, _) = check_cookie(&answer, &name, &attributes);
                let request = browser.raw(Method::GET, "/me").header("cookie", format!("{name}={token}"));
                assert_eq!(browser.stranger().send(request).await.status, 200);
                let answer = browser.stranger().post_empty("/auth/logout").await;
                check_cookie(&answer, &name, &attributes);
            }
        }
    }

    async fn a_logout_clears_what_the_site_stored_if_that_is_wanted(probe: Probe) {
        let probe = probe.configured(|config| config.service.clear_site_data = true);
        let browser = probe.browser().await;
        for (what, answer) in every_answer_with_a_cookie(&probe, &browser).await {
            let clears = matches!(what, "logout" | "end all");
            let header = answer.headers.get("clear-site-data").map(|value| value.to_str().expect("ASCII"));
            assert_eq!(header, clears.then_some("\"cookies\", \"storage\""), "{what}");
        }
    }

    async fn the_longest_issuer_still_makes_a_cookie_that_browsers_keep(probe: Probe) {
        let issuer = "i".repeat(255);
        let probe = probe.configured(|config| config.service.issuer = Some(issuer.clone()));
        let (_, mut browser) = probe.signed_in("alice").await;
        assert!(COOKIE.len() + 1 + cookie(&browser).len() <= 4096);
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn a_request_that_fails_never_clears_the_cookie(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        for (wait, expected) in [(Duration::ZERO, false), (15 * MINUTE, true)] {
            for (path, status) in [("/admin", 403), ("/docs/a,b", 404), ("/pending", 401), ("/editors", 403)] {
                probe.clock.advance(wait);
                let answer = browser.get(path).await;
                assert_eq!(answer.status, status, "{path}");
                // A refused request can still carry the next generation.
                assert_eq!(answer.cookie().is_some(), expected, "{path}");
                assert_ne!(answer.cookie().as_deref(), Some(""));
            }
        }
        assert_eq!(browser.get("/me").await.status, 200);
    }
}

/// The configuration does not use the database.
#[test]
fn a_cookie_that_browsers_would_refuse_is_refused_when_building() {
    let faults = |change: &dyn Fn(&mut Config)| {
        let db = sea_orm::DatabaseConnection::default();
        let built = Portcullis::builder(db)
            .secret(portcullis::Secret::generate())
            .configure(|config| change(config))
            .build();
        let mut knobs = Vec::new();
        if let Err(errors) = built {
            for error in errors.0 {
                match error {
                    ConfigError::Knob { knob, .. } => knobs.push(knob),
                    other => panic!("{other}"),
                }
            }
        }
        knobs
    };
    let insecure = |config: &mut Config| config.cookie.danger_insecure_http_cookies = true;
    let https = |config: &mut Config| {
        config.service.public_url = Some("https://example.com".to_owned());
    };
    let http = |config: &mut Config| {
        config.service.public_url = Some("http://192.0.2.1:8080".to_owned());
    };
    let none = |config: &mut Config| config.cookie.same_site = SameSite::None;
    assert_eq!(faults(&|_| {}), [""; 0]);
    assert_eq!(faults(&|c| none(c)), [""; 0]);
    assert_eq!(faults(&|c| insecure(c)), [""; 0]);
    assert_eq!(faults(&|c| (insecure(c), http(c)).0), [""; 0]);
    assert_eq!(faults(&|c| (insecure(c), none(c)).0), ["cookie.same_site"]);
    assert_eq!(faults(&|c| (insecure(c), https(c)).0), ["cookie.danger_insecure_http_cookies"]);
    let long = "n".repeat(65);
    for name in [
        "",
        "__Host-session",
        "__host-session",
        "__Secure-session",
        "a b",
        "a;b",
        "a=b",
        "a,b",
        "a\r\nb",
        "a\tb",
        "ä",
        "a\"b",
        "a/b",
        "\0",
        &long,
    ] {
        assert_eq!(faults(&|c| name.clone_into(&mut c.cookie.name)), ["cookie.name"], "{name:?}");
    }
    for name in ["a", "SESSION", "12345", &long[1..]] {
        assert_eq!(faults(&|c| name.clone_into(&mut c.cookie.name)), [""; 0], "{name:?}");
    }
    let days = |days: u32| DAY * days;
    assert_eq!(faults(&|c| c.session.refresh_window = Some(days(400))), [""; 0]);
    let over = days(400) + Duration::from_secs(1);
    assert_eq!(faults(&|c| c.session.refresh_window = Some(over)), ["session.refresh_window"]);
    let short = 15 * MINUTE;
    assert_eq!(faults(&|c| c.session.refresh_window = Some(short)), ["session.refresh_window"]);
    assert_eq!(faults(&|c| c.session.absolute_lifetime = over), ["session.absolute_lifetime"]);
    assert_eq!(faults(&|c| c.session.token_lifetime = Duration::ZERO).len(), 2);
}

/// `tracing` keeps its subscriber per thread. So this test uses one thread and one database.
#[tokio::test]
async fn no_token_and_no_password_is_ever_in_a_body_or_a_trace() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nothing panics while it is held").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // If there is only one subscriber, `tracing` asks the first thread that reaches an event
    // whether anyone listens, and remembers a negative answer. With a second one it asks the
    // subscribers.
    let _second =
        tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let _guard = tracing::subscriber::set_default(subscriber);
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let app = app(&probe.auth);
        let mut tokens = Vec::new();
        let mut bodies = String::new();
        let mut jar = None;
        let body = json!({ "username": "alice", "password": PASSWORD });
        let login = json!({ "login": "alice", "password": PASSWORD });
        let wrong = json!({ "login": "alice", "password": "wrong horse battery staple" });
        let proof = json!({ "password": PASSWORD });
        let change = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
        for (method, path, body, wait) in [
            (Method::POST, "/auth/register", body, 0),
            (Method::POST, "/auth/login", wrong, 0),
            (Method::POST, "/auth/login", login, 0),
            (Method::GET, "/me", Value::Null, 15),
            (Method::GET, "/admin", Value::Null, 0),
            (Method::GET, "/auth/session", Value::Null, 0),
            (Method::GET, "/auth/sessions", Value::Null, 0),
            (Method::POST, "/auth/reauthenticate", proof, 0),
            (Method::PUT, "/auth/password", change, 0),
            (Method::POST, "/auth/session/refresh", Value::Null, 1),
            (Method::POST, "/auth/logout", Value::Null, 0),
            (Method::GET, "/me", Value::Null, 0),
        ] {
            probe.clock.advance(wait * MINUTE);
            let (status, text, token) = call(&app, method, path, &body, jar.as_deref()).await;
            assert!(status < 500, "{path}: {text}");
            bodies.push_str(&text);
            if let Some(token) = token {
                tokens.push(token.clone());
                jar = Some(token);
            }
        }
        // The first token of this session was copied before its rotation, so that a theft is also
        // reported.
        let login = json!({ "login": "alice", "password": NEW_PASSWORD });
        let (_, _, copy) = call(&app, Method::POST, "/auth/login", &login, None).await;
        let mut jar = copy.clone();
        for wait in [15, 2, 0] {
            probe.clock.advance(wait * MINUTE);
            let (_, _, next) = call(&app, Method::GET, "/me", &Value::Null, jar.as_deref()).await;
            jar = next.or(jar);
        }
        let (status, _, touched) =
            call(&app, Method::GET, "/me", &Value::Null, copy.as_deref()).await;
        assert_eq!((status, touched.as_deref()), (401, None));
        tokens.extend(copy.into_iter().chain(jar));
        assert!(tokens.iter().filter(|token| !token.is_empty()).count() >= 7);
        let log = log.0.lock().expect("nothing panics while it is held").clone();
        let log = String::from_utf8(log).expect("text");
        for kind in [
            "authn_login_success",
            "authn_login_fail",
            "session_rotated",
            "session_theft_suspected",
            "authn_password_change",
        ] {
            assert!(log.contains(kind), "{kind} was not traced: {log}");
        }
        for secret in [PASSWORD, NEW_PASSWORD, "wrong horse battery staple"] {
            assert!(!log.contains(secret) && !bodies.contains(secret));
        }
        for token in tokens.iter().filter(|token| !token.is_empty()) {
            for part in token.split('.').skip(1) {
                assert!(!log.contains(part), "a token was traced");
                assert!(!bodies.contains(part), "a token was in a body");
            }
        }
    })
    .await;
}

/// Calls the application on this thread. Returns status, body and the new token.
async fn call(
    app: &Router,
    method: Method,
    path: &str,
    body: &Value,
    token: Option<&str>,
) -> (u16, String, Option<String>) {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("sec-fetch-site", "same-origin");
    if let Some(token) = token {
        request = request.header("cookie", format!("{COOKIE}={token}"));
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        request = request.header("content-type", "application/json");
        Body::from(body.to_string())
    };
    let request = request.body(body).expect("a request");
    let response = app.clone().oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let headers = format!("{:?}", response.headers());
    let token = response.headers().get("set-cookie").map(|value| {
        let line = value.to_str().expect("ASCII").trim_start_matches(&format!("{COOKIE}="));
        line.split(';').next().unwrap_or_default().to_owned()
    });
    if let Some(token) = token.as_ref().filter(|token| !token.is_empty()) {
        assert!(!headers.contains(token), "headers that are printed show a token");
    }
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(bytes.to_vec()).expect("text"), token)
}
