//! Signing in and out with a password.

use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use portcullis::account::NewAccount;
use portcullis::config::LoginIds;
use portcullis::login::Credentials;
use portcullis::port::HookFuture;
use portcullis::{AccountId, ClientInfo, Clock, Factor, Portcullis, Secret, SessionId};
use reqwest::Method;
use serde_json::{Value, json};

use crate::attempt::tries;
use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

const WRONG: &str = "wrong horse battery staple";

/// Returns a browser for another instance than that of the probe.
async fn browser_of(auth: &Portcullis) -> Browser {
    Browser::new(serve(app(auth)).await)
}

async fn basic(browser: &Browser, authorization: &str) -> Answer {
    send(browser.request(Method::POST, "/auth/login").header("authorization", authorization)).await
}

fn encoded(credentials: &str) -> String {
    BASE64.encode(credentials.as_bytes())
}

async fn form(browser: &Browser, origin: &[(&str, &str)], pairs: &[(&str, &str)]) -> Answer {
    let mut request = browser.raw(Method::POST, "/auth/login").form(pairs);
    for (name, value) in origin {
        request = request.header(*name, *value);
    }
    send(request).await
}

async fn stored_hash(probe: &Probe, username: &str) -> String {
    let query = format!("SELECT password_hash FROM auth_account WHERE username = '{username}'");
    probe.text(&query).await.expect("a hash")
}

async fn stored_pepper(probe: &Probe, username: &str) -> Option<String> {
    let query = format!("SELECT password_pepper FROM auth_account WHERE username = '{username}'");
    probe.text(&query).await
}

/// Checks that the cookie of an unfinished sign-in opens no route that is not made for its stage.
async fn check_opens_nothing(browser: &mut Browser, code: &str) {
    for path in ["/me", "/session-id", "/signed-in", "/admin", "/docs/1", "/editors", "/everything"]
    {
        let answer = browser.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, code), "{path}");
    }
    for path in ["/auth/session", "/auth/sessions"] {
        let answer = browser.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, code), "{path}");
    }
    assert_eq!(browser.delete("/auth/sessions").await.code(), code);
    assert_eq!(browser.post_empty("/auth/session/refresh").await.code(), code);
    let answer = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, code));
    let answer = browser.get("/maybe").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "nobody"));
    assert_eq!(browser.get("/public").await.status, 200);
}

/// A sign-in in the application's own handler, as the guide shows it.
async fn own_login(
    auth: Portcullis,
    client: ClientInfo,
    parts: Parts,
) -> Result<Response, portcullis::Rejection> {
    auth.check_same_origin(&parts)?;
    let credentials = Credentials::password("alice", PASSWORD);
    let login = auth.login().replacing(&parts.extensions).await?;
    let outcome = login.with_password(credentials, &client).await?;
    Ok((outcome.into_issued(), "signed in").into_response())
}

on_every_database! {
    async fn a_handler_of_the_application_signs_in_over_the_session_of_the_request(probe: Probe) {
        probe.register("alice").await;
        let own = axum::Router::new().route("/own", axum::routing::post(own_login));
        let app = app(&probe.auth).merge(own.layer(probe.auth.layer()));
        let mut browser = Browser::new(serve(app).await);
        assert_eq!(browser.post_empty("/auth/session/anonymous").await.status, 201);
        let visitor = browser.clone();
        let lineage = browser.get("/anonymous").await.text;

        let elsewhere = browser.raw(Method::POST, "/own").header("sec-fetch-site", "cross-site");
        let answer = send(elsewhere).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "cross_site_request"));
        assert_eq!(answer.cookie(), None);

        let answer = browser.post_empty("/own").await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "signed in"));
        assert_eq!(browser.get("/lineage").await.text, lineage);
        let answer = visitor.clone().get("/anonymous").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"));
    }

    async fn a_right_password_signs_in_and_a_logout_signs_out(probe: Probe) {
        probe.register("alice").await;
        let mut browser = probe.browser().await;
        assert_eq!(browser.get("/me").await.status, 401);
        let answer = browser.login("alice", "wrong horse battery staple").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_credentials"));
        let answer = browser.login("ALICE", PASSWORD).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["result"], "session");
        let cookie = browser.cookie.clone().expect("a cookie");
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
        assert_eq!(browser.cookie, None);
        let mut thief = browser.with_cookie(&cookie);
        let answer = thief.get("/me").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"));
    }

    async fn an_answer_to_a_login_names_the_account_and_keeps_the_token_to_the_cookie(
        probe: Probe
    ) {
        let alice = probe.register("alice").await;
        let mut browser = probe.browser().await;
        let answer = browser.login("alice", PASSWORD).await;
        let body = answer.json();
        assert_eq!(body["account_id"], alice.id().to_string());
        assert_eq!(body["expires_in"], 900);
        assert_eq!(body.get("token"), None, "a script of the page must not see the token");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(browser.get("/session-id").await.text, body["session_id"]);
    }

    async fn a_form_signs_in_only_with_proof_that_a_page_of_ours_sent_it(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        let ours = format!("http://{}", browser.address);
        let pairs = [("login", "alice"), ("password", PASSWORD)];
        for (headers, expected) in [
            (&[("sec-fetch-site", "same-origin")][..], 200),
            (&[("origin", ours.as_str())], 200),
            (&[("sec-fetch-site", "same-origin"), ("origin", ours.as_str())], 200),
            // These headers neither prove nor exclude that our own page sent the form.
            (&[], 415),
            (&[("sec-fetch-site", "none")], 415),
            // Login CSRF: another site would sign its visitor in to the attacker's account.
            (&[("sec-fetch-site", "cross-site")], 403),
            (&[("sec-fetch-site", "same-site"), ("origin", ours.as_str())], 403),
            (&[("origin", "https://attacker.example")], 403),
            (&[("origin", "null")], 403),
        ] {
            let answer = form(&browser, headers, &pairs).await;
            assert_eq!(answer.status, expected, "{headers:?}: {}", answer.text);
            assert_eq!(answer.cookie().is_some(), expected == 200, "{headers:?}");
        }
        // Another site cannot send JSON without a preflight, so JSON needs no proof of its origin.
        let body = json!({ "login": "alice", "password": PASSWORD });
        let answer = send(browser.raw(Method::POST, "/auth/login").json(&body)).await;
        assert_eq!(answer.status, 200);
    }

    async fn a_basic_header_signs_in_with_any_password(probe: Probe) {
        let mut browser = probe.browser().await;
        for (username, password) in [
            ("alice", "colons: here :and: there:"),
            ("bob", ":starts and ends with one:"),
            ("carol", "pässwörd ✓ as long as it needs to be"),
            ("dörte", " spaces stay where they are "),
        ] {
            let body = json!({ "username": username, "password": password });
            assert_eq!(browser.stranger().post("/auth/register", body).await.status, 201);
            let credentials = encoded(&format!("{username}:{password}"));
            for scheme in ["Basic", "basic", "BASIC", "bAsIc"] {
                let answer = basic(&browser, &format!("{scheme} {credentials}")).await;
                assert_eq!(answer.status, 200, "{scheme} {username}: {}", answer.text);
                assert!(answer.cookie().is_some());
            }
            let wrong = encoded(&format!("{username}:{}", &password[..password.len() - 1]));
            assert_eq!(basic(&browser, &format!("Basic {wrong}")).await.status, 401);
        }
        // The body may contain the other fields of a login.
        let credentials = format!("Basic {}", encoded("alice:colons: here :and: there:"));
        let request = browser
            .request(Method::POST, "/auth/login")
            .header("authorization", credentials.as_str())
            .json(&json!({ "remember": false }));
        let answer = browser.send(request).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.set_cookies()[0].contains("Max-Age"));
    }

    async fn a_malformed_basic_header_is_400_and_writes_nothing(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        let before = probe.number("SELECT COUNT(*) FROM auth_event").await;
        let good = encoded(&format!("alice:{PASSWORD}"));
        for authorization in [
            "Basic".to_owned(),
            "Basic ".to_owned(),
            "Basic    ".to_owned(),
            "Basic !".to_owned(),
            "Basic YWxpY2U".to_owned(),
            format!("Basic {good} {good}"),
            format!("Basic {good}=="),
            format!("Basic \"{good}\""),
            format!("Basic {}", encoded("alice")),
            format!("Basic {}", encoded("")),
            format!("Basic {}", encoded(&format!(":{PASSWORD}"))),
            format!("Basic {}", encoded("alice:nul\0in the password")),
            format!("Basic {}", encoded("ali\nce:a line break in the name")),
            format!("Basic {}", BASE64.encode(b"alice:\xff\xfe\xfd not UTF-8")),
        ] {
            let answer = basic(&browser, &authorization).await;
            let code = answer.code();
            assert_eq!(
                (answer.status, code.as_str()),
                (400, "invalid_basic_authorization"),
                "{authorization}"
            );
            assert_eq!(answer.headers["content-type"], "application/problem+json");
        }
        let header = format!("Basic {good}");
        let twice = browser
            .request(Method::POST, "/auth/login")
            .header("authorization", &header)
            .header("authorization", &header);
        assert_eq!(send(twice).await.status, 400);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_event").await, before);
        assert_eq!(basic(&browser, &header).await.status, 200);
    }

    async fn names_in_the_body_win_over_a_basic_header(probe: Probe) {
        probe.register("alice").await;
        probe.register("proxy").await;
        let browser = probe.browser().await;
        let proxy = format!("Basic {}", encoded(&format!("proxy:{PASSWORD}")));
        let body = json!({ "login": "alice", "password": PASSWORD });
        let post = |headers: &[&str], body: &Value| {
            let request = browser.request(Method::POST, "/auth/login").json(body);
            headers.iter().fold(request, |request, header| request.header("authorization", *header))
        };
        let alice = |answer: &Answer| {
            let id = answer.json()["account_id"].as_str().map(str::to_owned);
            (answer.status, id)
        };
        let own = alice(&send(post(&[], &body)).await);
        for headers in [
            &[&*proxy][..],
            &["Basic"],
            &["Basic !"],
            &["Basic bm8gY29sb24="],
            &["Negotiate abc"],
            &["Basic \u{e4}"],
            &[&*proxy, &*proxy],
            &[&*proxy, "Bearer of.bad.news"],
        ] {
            let answer = send(post(headers, &body)).await;
            assert_eq!(alice(&answer), own, "{headers:?}: {}", answer.text);
        }
        // A form is a body too.
        let form = browser
            .request(Method::POST, "/auth/login")
            .header("authorization", &proxy)
            .form(&[("login", "alice"), ("password", PASSWORD)]);
        assert_eq!(alice(&send(form).await), own);
        // If the body has one of the two fields, the header does not supply the missing one.
        for half in [json!({ "login": "alice" }), json!({ "password": PASSWORD })] {
            let answer = send(post(&[&proxy], &half)).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_body"));
        }
        // A wrong password in the body is refused, even if the header has the right one.
        let wrong = json!({ "login": "alice", "password": WRONG });
        assert_eq!(send(post(&[&proxy], &wrong)).await.status, 401);
        // If the body has neither name nor password, the header is used.
        let answer = send(post(&[&proxy], &json!({ "remember": true }))).await;
        assert_eq!(answer.status, 200);
        assert_ne!(alice(&answer), own);
        let answer = send(post(&["Basic !"], &json!({}))).await;
        assert_eq!(answer.code(), "invalid_basic_authorization");
    }

    async fn no_other_route_of_ours_minds_a_basic_header(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        let mut browser = probe.browser().await;
        for (authorization, number) in [("Basic cHJveHk6c2VjcmV0", 1), ("Basic !", 2)] {
            let name = format!("alice{number}");
            let mail = format!("{name}@example.com");
            let new = json!({ "username": &name, "email": mail, "password": PASSWORD });
            let proof = json!({ "password": PASSWORD });
            let login = json!({ "login": &name, "password": PASSWORD });
            let forgot = json!({ "login": &name });
            for (method, path, body, status) in [
                (Method::POST, "/auth/register", Some(new), 201),
                (Method::POST, "/auth/login", Some(login), 200),
                (Method::GET, "/auth/session", None, 200),
                (Method::GET, "/me", None, 200),
                (Method::POST, "/auth/reauthenticate", Some(proof), 200),
                (Method::POST, "/auth/password/forgot", Some(forgot), 202),
                (Method::GET, "/auth/sessions", None, 200),
                (Method::POST, "/auth/logout", None, 204),
            ] {
                let request = browser.request(method, path).header("authorization", authorization);
                let request = match &body {
                    Some(body) => request.json(body),
                    None => request,
                };
                let answer = browser.send(request).await;
                assert_eq!(answer.status, status, "{path}: {}", answer.text);
            }
        }
    }

    async fn what_cannot_be_seen_around_a_name_is_not_part_of_it(probe: Probe) {
        probe.register_with_email("mia", "mia@example.com").await;
        let mut browser = probe.browser().await;
        let around = [("", " "), (" ", ""), ("\t", "\r\n"), ("\u{a0}", "\u{3000}"), ("\u{feff}", "\u{200b}"),
            ("\u{202a}", "\u{202c}"), (" \u{200e} ", " \u{2060}")];
        for (before, after) in around {
            for name in ["mia", "MIA", "mia@example.com"] {
                let typed = format!("{before}{name}{after}");
                let answer = browser.stranger().login(&typed, PASSWORD).await;
                assert_eq!(answer.status, 200, "{typed:?}: {}", answer.text);
            }
            // Nothing is removed from a password.
            let answer = browser.stranger().login("mia", &format!("{before}{PASSWORD}{after}")).await;
            assert_eq!(answer.status, 401, "{before:?} {after:?}");
        }
        let header = format!("Basic {}", encoded(&format!(" mia\u{a0}:{PASSWORD}")));
        assert_eq!(basic(&browser, &header).await.status, 200);
        // Such characters inside a name are not removed, and a name of only such characters belongs
        // to nobody.
        for typed in ["m ia", "m\u{200b}ia", " ", "\u{feff}", ""] {
            assert_eq!(browser.stranger().login(typed, PASSWORD).await.status, 401, "{typed:?}");
        }
        // Stored names never contain them, in whatever way they were entered.
        let new = json!({ "username": " zoe\u{a0}", "email": "\u{feff}zoe@example.com ", "password": PASSWORD });
        let answer = browser.post("/auth/register", new.clone()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_eq!(browser.stranger().post("/auth/register", new).await.status, 409);
        assert_eq!(browser.login("zoe ", PASSWORD).await.status, 200);
        let zoe = probe.auth.accounts().find_by_login(" zoe@example.com\n").await.expect("it answers");
        let zoe = zoe.expect("an account");
        assert_eq!((zoe.username(), zoe.email()), (Some("zoe"), Some("zoe@example.com")));
        probe.auth.accounts().verify(zoe.id()).await.expect("it is verified");
        let body = json!({ "username": " second\t" });
        assert_eq!(browser.post("/auth/login-names", body).await.status, 200);
        assert_eq!(browser.delete("/auth/login-names/second%20").await.status, 200);
        let further = portcullis::account::FurtherName::email(" other@example.com ").verified();
        probe.auth.accounts().add_name(zoe.id(), further).await.expect("it is added");
        let import = portcullis::account_import::ImportedAccount::new(AccountId::from(uuid::Uuid::from_u128(7)))
            .username("\u{200b}ida ").email("ida@example.com ").phone("\u{202a}+491701234567\u{202c}");
        let report = probe.auth.account_import().run([import], |_| {}).await.expect("it runs");
        assert_eq!((report.imported, report.refused.len()), (1, 0), "{:?}", report.refused);
        for (table, column) in [
            ("auth_account", "username"), ("auth_account", "email"), ("auth_account", "phone"),
            ("auth_login_name", "normal"), ("auth_login_name", "typed"),
        ] {
            let query = format!("SELECT {column} FROM {table} WHERE {column} IS NOT NULL");
            for at in 0..3 {
                let text = probe.text(&format!("{query} ORDER BY 1 LIMIT 1 OFFSET {at}")).await;
                let Some(text) = text else { continue };
                assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{column}: {text:?}");
            }
        }
        assert_eq!(browser.stranger().login(" other@example.com", PASSWORD).await.status, 200);
    }

    async fn blanks_around_a_name_make_no_count_of_their_own(probe: Probe) {
        probe.register_with_email("mia", "mia@example.com").await;
        let browser = probe.browser().await;
        // A name that cannot belong to anyone also has one counter, with and without such
        // characters around it.
        for (name, spelt) in [("mia", " mia\u{200b}"), ("no:body", "no:body ")] {
            for number in 0..8 {
                let typed = if number % 2 == 0 { name } else { spelt };
                assert_eq!(browser.stranger().login(typed, WRONG).await.status, 401);
            }
            let before = tries(&probe, "1 = 1").await;
            for typed in [name, spelt] {
                assert_eq!(browser.stranger().login(typed, WRONG).await.status, 401);
            }
            assert_eq!(tries(&probe, "1 = 1").await, before, "{name} is locked in both spellings");
            let purge = portcullis::attempt::Purge::everything().login(spelt);
            probe.auth.attempts().purge(purge).await.expect("they are removed");
            assert_eq!(tries(&probe, "1 = 1").await, 0, "{name}");
        }
        let mut forgetful = browser.stranger();
        let answer = forgetful.post("/auth/password/forgot", json!({ "login": " mia@example.com " })).await;
        assert_eq!(answer.status, 202);
        let mails = probe.mail().await;
        let link = mails.iter().find(|mail| mail.kind == portcullis::MessageKind::PasswordReset);
        assert_eq!(link.expect("a link").to.as_str(), "mia@example.com");
    }

    async fn every_failed_login_looks_and_costs_the_same(probe: Probe) {
        let probe = probe.configured(|config| config.login.require_verified = true);
        let accounts = probe.auth.accounts();
        for name in ["right", "wrong", "disabled", "expired", "deleted", "unverified"] {
            let id = probe.register(name).await.id();
            if name != "unverified" {
                accounts.verify(id).await.expect("it is verified");
            }
            match name {
                "disabled" => accounts.disable(id).await.expect("it is disabled"),
                "expired" => {
                    let now = probe.clock.now();
                    accounts.disable_from(id, now).await.expect("it is disabled");
                }
                "deleted" => accounts.delete(id).await.expect("it is deleted"),
                _ => {}
            }
        }
        let passwordless = NewAccount::username("passwordless").verified();
        accounts.create(passwordless).await.expect("it is made");
        let browser = probe.browser().await;
        let mut answers = Vec::new();
        for (login, password) in [
            ("unknown", PASSWORD),
            ("wrong", WRONG),
            ("wrong", ""),
            ("disabled", PASSWORD),
            ("expired", PASSWORD),
            ("deleted", PASSWORD),
            ("unverified", PASSWORD),
            ("passwordless", PASSWORD),
            ("passwordless", ""),
            // Texts that cannot be anyone's name.
            ("", PASSWORD),
            ("wr ong", PASSWORD),
            (" wrong ", "wrong horse battery staple"),
            ("two@at@signs", PASSWORD),
            ("nobody@example.com", PASSWORD),
            ("+4917012345678", PASSWORD),
        ] {
            let hashes = probe.auth.password_hashes();
            let mut stranger = browser.stranger();
            let (mut answer, statements) = probe.statements(stranger.login(login, password)).await;
            let hashes = probe.auth.password_hashes() - hashes;
            answer.headers.remove("date");
            let seen = (answer.status, answer.headers, answer.text, hashes, statements);
            answers.push((format!("{login}/{password}"), seen));
        }
        let (_, first) = &answers[0];
        assert_eq!((first.0, first.3), (401, 1));
        assert!(!first.1.contains_key("set-cookie"));
        for (who, seen) in &answers {
            assert_eq!(seen, first, "{who}");
        }
        assert_eq!(browser.stranger().login("right", PASSWORD).await.status, 200);
    }

    async fn a_password_too_long_to_be_one_costs_no_hash_for_anybody(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        let before = probe.auth.password_hashes();
        let long = "a".repeat(1025);
        let known = browser.stranger().login("alice", &long).await;
        let unknown = browser.stranger().login("nobody", &long).await;
        assert_eq!((known.status, &known.text), (401, &unknown.text));
        assert_eq!(probe.auth.password_hashes(), before);
        browser.stranger().login("alice", &"a".repeat(1024)).await;
        assert_eq!(probe.auth.password_hashes(), before + 1);
    }

    async fn a_disabled_account_with_an_outdated_hash_still_costs_one(probe: Probe) {
        for name in ["alice", "bob"] {
            probe.register(name).await;
        }
        let bob = probe.auth.accounts().find_by_login("bob").await.expect("found").expect("bob");
        probe.auth.accounts().disable(bob.id()).await.expect("it is disabled");
        let auth = probe.rebuilt(|builder| builder.configure(|c| c.password.iterations = 2));
        let browser = browser_of(&auth).await;
        for (login, status, hashes) in [("bob", 401, 1), ("alice", 200, 2), ("alice", 200, 1)] {
            let before = auth.password_hashes();
            assert_eq!(browser.stranger().login(login, PASSWORD).await.status, status);
            assert_eq!(auth.password_hashes() - before, hashes, "{login}");
        }
    }

    async fn a_name_signs_in_in_every_spelling_and_only_by_the_kinds_configured(probe: Probe) {
        let alice = NewAccount::username("Alice").with_email("Alice.B@Example.com");
        let application = portcullis::registration::Application::new(alice, PASSWORD);
        let client = portcullis::ClientInfo::default();
        probe.auth.registration().register(application, &client).await.expect("it is registered");
        let usernames = ["Alice", "alice", "ALICE", "Ａｌｉｃｅ"];
        let emails = ["Alice.B@Example.com", "alice.b@example.com", "ALICE.B@EXAMPLE.COM"];
        for (kinds, by_username, by_email) in [
            (LoginIds::Either, 200, 200),
            (LoginIds::Username, 200, 401),
            (LoginIds::Email, 401, 200),
        ] {
            let auth = probe.rebuilt(|builder| builder.configure(|c| c.login.id = kinds));
            let browser = browser_of(&auth).await;
            for (names, status) in [(&usernames[..], by_username), (&emails[..], by_email)] {
                for name in names {
                    let answer = browser.stranger().login(name, PASSWORD).await;
                    assert_eq!(answer.status, status, "{kinds:?} {name}");
                }
            }
        }
        let browser = probe.browser().await;
        for other in ["alicé", "alic e", "a1ice", "alice.b+tag@example.com", "aliceb@example.com"] {
            assert_eq!(browser.stranger().login(other, PASSWORD).await.status, 401, "{other}");
        }
    }

    async fn a_session_that_is_not_remembered_ends_with_the_browser(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        for (remember, max_age) in [(json!(null), true), (json!(true), true), (json!(false), false)]
        {
            let body = json!({ "login": "alice", "password": PASSWORD, "remember": remember });
            let answer = browser.stranger().post("/auth/login", body).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let cookies = answer.set_cookies();
            assert_eq!(cookies.len(), if max_age { 2 } else { 1 }, "no device cookie stays here");
            let cookie = &cookies[0];
            assert_eq!(cookie.contains("Max-Age="), max_age, "{remember}: {cookie}");
        }
        let mut browser = browser;
        let body = json!({ "login": "alice", "password": PASSWORD, "remember": false });
        browser.post("/auth/login", body).await;
        let session = browser.get("/auth/session").await.json();
        let end = probe.clock.now().plus(std::time::Duration::from_secs(12 * 60 * 60));
        assert_eq!(session["session"]["expires_at"], end.to_string());
    }

    async fn a_bearer_token_is_given_only_where_it_is_switched_on(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let answer = browser.stranger().post("/auth/login", body.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bearer_not_enabled"));

        let auth = probe.rebuilt(|builder| builder.configure(|c| c.service.bearer = true));
        let browser = browser_of(&auth).await;
        let answer = browser.stranger().post("/auth/login", body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.set_cookies(), Vec::<String>::new());
        let body = answer.json();
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)));
        let token = body["token"].as_str().expect("a token");
        for scheme in ["Bearer", "bearer"] {
            let request = browser
                .raw(Method::GET, "/me")
                .header("authorization", format!("{scheme} {token}"));
            assert_eq!(send(request).await.status, 200);
        }
        let as_cookie = browser.with_cookie(token).get("/me").await;
        assert_eq!(as_cookie.status, 200, "the transport is how it travels, not what it is");
    }

    async fn a_sign_in_that_must_change_its_password_opens_nothing_else(probe: Probe) {
        let alice = probe.register("alice").await;
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is set");
        let mut browser = probe.browser().await;
        let answer = browser.login("alice", PASSWORD).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["result"], "password_change_required");
        assert_eq!(browser.get("/must-change").await.status, 200);
        let answer = browser.get("/pending").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "wrong_stage"));
        check_opens_nothing(&mut browser, "password_change_required").await;
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
    }

    async fn a_sign_in_that_needs_a_second_factor_opens_nothing_else(probe: Probe) {
        let alice = probe.register("alice").await;
        let accounts = probe.auth.accounts();
        accounts.set_enrolled_factors(alice.id(), [Factor::Totp]).await.expect("it is set");
        let mut browser = probe.browser().await;
        let answer = browser.login("alice", PASSWORD).await;
        assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("second_factor_required")));
        assert_eq!(browser.get("/pending").await.status, 200);
        check_opens_nothing(&mut browser, "second_factor_required").await;
        let body = json!({ "new_password": "another horse battery staple" });
        let answer = browser.put("/auth/password", body).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "second_factor_required"));
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);

        accounts.set_enrolled_factors(alice.id(), []).await.expect("it is set");
        assert_eq!(browser.login("alice", PASSWORD).await.json()["result"], "session");
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn a_second_factor_comes_before_a_new_password(probe: Probe) {
        let alice = probe.register("alice").await;
        let accounts = probe.auth.accounts();
        accounts.require_password_change(alice.id()).await.expect("it is set");
        accounts.set_enrolled_factors(alice.id(), [Factor::Passkey]).await.expect("it is set");
        let mut browser = probe.browser().await;
        let answer = browser.login("alice", PASSWORD).await;
        assert_eq!(answer.json()["result"], "second_factor_required");
        let answer = browser.get("/must-change").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "wrong_stage"));
        let body = json!({ "new_password": "another horse battery staple" });
        assert_eq!(browser.put("/auth/password", body).await.status, 401);
        assert_eq!(probe.browser().await.login("alice", PASSWORD).await.status, 200);
    }

    async fn methods_lists_what_is_mounted(probe: Probe) {
        let methods = async |auth: &Portcullis, app: axum::Router| {
            let browser = Browser::new(serve(app.layer(auth.layer())).await);
            let answer = send(browser.raw(Method::GET, "/auth/methods")).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.headers["cache-control"], "no-store");
            answer.json()
        };
        let expected = |registration: &str| {
            json!({ "methods": ["password"], "count": 1, "registration": registration,
                "providers": [] })
        };
        let all = |auth: &Portcullis| axum::Router::new().nest("/auth", auth.routes());
        assert_eq!(methods(&probe.auth, all(&probe.auth)).await, expected("open"));

        let closed = probe.rebuilt(|builder| {
            builder.configure(|c| c.login.registration = portcullis::config::Registration::Closed)
        });
        assert_eq!(methods(&closed, all(&closed)).await, expected("closed"));

        let only_login = probe.rebuilt(|builder| builder);
        let router = axum::Router::new().nest("/auth", portcullis::login::routes(&only_login));
        assert_eq!(methods(&only_login, router).await, expected("closed"));
    }

    async fn session_tells_who_one_is(probe: Probe) {
        let info = |account: AccountId, _: SessionId| -> HookFuture<'static, Value> {
            Box::pin(async move { Ok(json!({ "cart_of": account.to_string() })) })
        };
        let auth = probe.rebuilt(|builder| builder.session_info(info));
        let mut browser = browser_of(&auth).await;
        let answer = browser.get("/auth/session").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "not_signed_in"));
        assert!(answer.headers.contains_key("www-authenticate"));

        assert_eq!(browser.post_empty("/auth/session/anonymous").await.status, 201);
        let answer = browser.get("/auth/session").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "not_signed_in"));

        let alice = probe.register("alice").await;
        auth.roles().create("editor", ["doc:*"]).await.expect("a role");
        auth.roles().grant(alice.id(), "editor").await.expect("it is granted");
        browser.login("alice", PASSWORD).await;
        let body = browser.get("/auth/session").await.json();
        let now = probe.clock.now().to_string();
        assert_eq!(body["stage"], "full");
        assert_eq!(body["account"]["id"], alice.id().to_string());
        assert_eq!(body["account"]["username"], "alice");
        assert_eq!(body["account"]["verified"], false);
        assert_eq!(body["roles"], json!(["editor"]));
        assert_eq!(body["ceiling"], Value::Null);
        assert_eq!(body["factors"], json!([{ "factor": "password", "passed_at": now }]));
        assert_eq!(body["session"]["created_at"], now);
        assert_eq!(body["app"], json!({ "cart_of": alice.id().to_string() }));
    }

    async fn a_session_info_hook_that_fails_is_503_without_its_words(probe: Probe) {
        let info = |_: AccountId, _: SessionId| -> HookFuture<'static, Value> {
            Box::pin(async { Err("the cart service is at 10.0.0.7".into()) })
        };
        let auth = probe.rebuilt(|builder| builder.session_info(info));
        probe.register("alice").await;
        let mut browser = browser_of(&auth).await;
        browser.login("alice", PASSWORD).await;
        let answer = browser.get("/auth/session").await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
        assert!(answer.headers.contains_key("retry-after"));
        assert!(!answer.text.contains("cart"), "{}", answer.text);
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn reauthentication_makes_the_factor_fresh_and_moves_no_end(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let before = browser.get("/auth/session").await.json();
        let old = browser.clone();
        probe.clock.advance(std::time::Duration::from_secs(600));

        let answer = browser.post("/auth/reauthenticate", json!({ "password": WRONG })).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "wrong_password"));
        assert_eq!(answer.cookie(), None);
        assert_eq!(browser.get("/auth/session").await.json(), before, "nothing changed");

        let lineage = browser.get("/lineage").await.text;
        let answer = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let after = browser.get("/auth/session").await.json();
        assert_eq!(after["factors"][0]["passed_at"], probe.clock.now().to_string());
        assert_ne!(after["factors"], before["factors"]);
        assert_eq!(after["session"]["expires_at"], before["session"]["expires_at"]);
        assert_ne!(after["session"]["id"], before["session"]["id"]);
        assert_eq!(browser.get("/lineage").await.text, lineage);
        // The requests of another tab still succeed for ten seconds. Then the old session has
        // ended.
        assert_eq!(old.clone().get("/me").await.status, 200);
        probe.clock.advance(std::time::Duration::from_secs(10));
        let answer = old.clone().get("/me").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"));
        assert_eq!(probe.mail().await.len(), 0, "a replaced session is no theft");

        let answer = browser
            .stranger()
            .post("/auth/reauthenticate", json!({ "password": PASSWORD }))
            .await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "not_signed_in"));
    }

    async fn a_login_brings_an_old_hash_up_to_date_and_keeps_the_sessions(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        assert!(stored_hash(&probe, "alice").await.contains("m=8,t=1,p=1"));
        let auth = probe.rebuilt(|builder| builder.configure(|c| c.password.memory_kib = 16));
        let mut other = browser_of(&auth).await;
        assert_eq!(other.login("alice", WRONG).await.status, 401);
        assert!(stored_hash(&probe, "alice").await.contains("m=8,t=1,p=1"));
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        let hash = stored_hash(&probe, "alice").await;
        assert!(hash.starts_with("$argon2id$v=19$m=16,t=1,p=1$"), "{hash}");
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        assert_eq!(stored_hash(&probe, "alice").await, hash, "it is up to date now");
        assert_eq!(browser.get("/me").await.status, 200, "the other session goes on");
    }

    async fn a_pepper_is_rotated_by_logins_and_a_lost_one_fails_closed(probe: Probe) {
        let (first, second) = (Secret::generate(), Secret::generate());
        let with = |peppers: &[(&str, &Secret)]| {
            let peppers: Vec<_> =
                peppers.iter().map(|(name, key)| ((*name).to_owned(), (*key).clone())).collect();
            probe.rebuilt(|builder| builder.configure(|c| c.password.peppers = peppers))
        };
        let login = async |auth: &Portcullis| {
            browser_of(auth).await.login("alice", PASSWORD).await.status
        };
        probe.register("alice").await;
        assert_eq!(stored_pepper(&probe, "alice").await, None);
        assert_eq!(login(&with(&[("2025", &first)])).await, 200);
        assert_eq!(stored_pepper(&probe, "alice").await.as_deref(), Some("2025"));
        assert_eq!(login(&with(&[("2026", &second), ("2025", &first)])).await, 200);
        assert_eq!(stored_pepper(&probe, "alice").await.as_deref(), Some("2026"));
        let hash = stored_hash(&probe, "alice").await;
        for lost in [with(&[]), with(&[("2025", &first)]), with(&[("2026", &first)])] {
            let before = lost.password_hashes();
            assert_eq!(login(&lost).await, 401);
            assert_eq!(lost.password_hashes() - before, 1);
            assert_eq!(stored_hash(&probe, "alice").await, hash);
        }
        assert_eq!(login(&with(&[("2026", &second)])).await, 200);
    }

    async fn hashes_of_other_systems_sign_in_once_and_are_replaced(probe: Probe) {
        let browser = probe.browser().await;
        for (name, hash) in [
            ("bcrypt", "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS"),
            ("phc", "$pbkdf2-sha256$i=1000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI"),
            ("django", "pbkdf2_sha256$1000$0123456789abcdef$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI="),
            ("werkzeug", "pbkdf2:sha256:1000$0123456789abcdef$caa4aad92ca0635b01e04707f5fd851b42533044bec2a2ec393e589a2441a652"),
        ] {
            let account = NewAccount::username(name);
            probe.auth.accounts().create(account).await.expect("it is made");
            let update = format!(
                "UPDATE auth_account SET version = version + 1, password_hash = '{hash}' WHERE username = '{name}'"
            );
            probe.execute(&update).await;
            assert_eq!(browser.stranger().login(name, WRONG).await.status, 401, "{name}");
            assert_eq!(stored_hash(&probe, name).await, hash);
            assert_eq!(browser.stranger().login(name, PASSWORD).await.status, 200, "{name}");
            assert!(stored_hash(&probe, name).await.starts_with("$argon2id$"));
            assert_eq!(browser.stranger().login(name, PASSWORD).await.status, 200, "{name}");
        }
    }

    async fn a_stored_hash_that_asks_for_too_much_or_is_none_is_a_wrong_password(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        for hash in [
            "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZWhhc2hzb21laGFzaHNvbWVoYXNoc29tZWhhc2g",
            "$argon2id$v=19$m=8,t=4294967295,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZWhhc2hzb21laGFzaHNvbWVoYXNoc29tZWhhc2g",
            "$2b$31$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS",
            "correct horse battery staple",
            "plain$correct horse battery staple",
            "$argon2id$",
            "",
        ] {
            let update = format!(
                "UPDATE auth_account SET version = version + 1, password_hash = '{hash}' WHERE username = 'alice'"
            );
            probe.execute(&update).await;
            probe.forget_attempts().await;
            let before = probe.auth.password_hashes();
            assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 401, "{hash}");
            assert_eq!(browser.stranger().login("alice", "").await.status, 401, "{hash}");
            assert_eq!(probe.auth.password_hashes() - before, 2, "{hash}");
        }
    }

    async fn more_logins_than_can_be_hashed_are_told_to_come_back(probe: Probe) {
        // The hash takes long enough that simultaneous logins overlap. No clock is involved.
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.password.memory_kib = 19 * 1024;
                config.password.iterations = 20;
                config.password.concurrent_hashes = Some(1);
                config.password.hash_queue = 0;
            })
        });
        let browser = browser_of(&auth).await;
        let logins: Vec<_> = (0..12)
            .map(|_| {
                let mut browser = browser.stranger();
                tokio::spawn(async move { browser.login("nobody", PASSWORD).await })
            })
            .collect();
        let (mut judged, mut sent_away) = (0, 0);
        for login in logins {
            let answer = login.await.expect("no task panics");
            match answer.status {
                401 => judged += 1,
                503 => {
                    sent_away += 1;
                    assert_eq!(answer.code(), "overloaded");
                    let wait = answer.headers["retry-after"].to_str().expect("ASCII");
                    assert!(wait.parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{wait}");
                    assert!(!answer.text.contains("detail"), "{}", answer.text);
                }
                other => panic!("{other}: {}", answer.text),
            }
        }
        assert!(judged >= 1 && sent_away >= 1, "{judged} judged, {sent_away} sent away");
        assert_eq!(auth.password_hashes(), judged);
        assert_eq!(browser.stranger().login("nobody", PASSWORD).await.status, 401);
    }
}
