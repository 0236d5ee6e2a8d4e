//! The sessions of the own account: who is signed in, where else, and signing out there.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis::config::Registration;
use portcullis::port::HookFuture;
use portcullis::{AccountId, ClientInfo, Factor, Permission, SessionId};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::Answer;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn check_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "a refusal touched the cookie: {answer:?}");
}

/// Returns the ids of the listed sessions.
async fn listed(browser: &mut Browser) -> Vec<String> {
    let answer = browser.get("/auth/sessions").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let sessions = answer.json()["sessions"].as_array().expect("a list").clone();
    sessions.iter().map(|session| session["id"].as_str().expect("an id").to_owned()).collect()
}

async fn id_of(browser: &mut Browser) -> String {
    browser.get("/session-id").await.text
}

/// Returns browsers that are signed in to one new account. The account has no other sessions.
async fn signed_in<const N: usize>(probe: &Probe, username: &str) -> [Browser; N] {
    let account = probe.register(username).await;
    probe.auth.sessions().end_all(account.id(), None).await.expect("they end");
    let address = serve(app(&probe.auth)).await;
    let mut browsers = Vec::new();
    for _ in 0..N {
        let mut browser = Browser::new(address);
        assert_eq!(browser.login(username, PASSWORD).await.status, 200);
        browsers.push(browser);
        probe.clock.advance(Duration::from_secs(1));
    }
    browsers.try_into().unwrap_or_else(|_| unreachable!("there are as many"))
}

on_every_database! {
    async fn a_long_list_of_sessions_comes_in_pages(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let bob = probe.register("bob").await;
        let client = ClientInfo::default();
        for number in 0..250 {
            // Many sessions start at the same moment, and sessions of another account in between.
            if number % 50 == 0 {
                probe.clock.advance(Duration::from_millis(1));
            }
            let _ = probe.auth.sessions().start(&alice, &client).await.expect("it starts");
            let _ = probe.auth.sessions().start(&bob, &client).await.expect("it starts");
        }
        let first = browser.get("/auth/sessions").await;
        assert!(first.text.len() < 40_000, "{} bytes", first.text.len());
        let ids = |page: &Value| -> Vec<String> {
            let sessions = page["sessions"].as_array().expect("a list").iter();
            sessions.map(|session| session["id"].as_str().expect("an id").to_owned()).collect()
        };
        let (mut page, mut seen, mut sizes) = (first.json(), Vec::new(), Vec::new());
        loop {
            sizes.push(ids(&page).len());
            seen.extend(ids(&page));
            let Some(next) = page["next"].as_str().map(str::to_owned) else { break };
            page = browser.get(&format!("/auth/sessions?after={next}")).await.json();
        }
        // These sessions, and those of the registration and of the sign-in.
        assert_eq!(sizes, [100, 100, 52]);
        // Each session is listed once, newest first. The session of the request is among them.
        let mut sorted = seen.clone();
        sorted.sort();
        sorted.dedup();
        sorted.reverse();
        assert_eq!(seen, sorted);
        assert_eq!(seen.len(), 252);
        let current = browser.get("/session-id").await.text;
        assert!(seen.contains(&current));

        // The list can continue after a session that has ended or belongs to another account.
        let gone = seen[99].clone();
        assert_eq!(browser.delete(&format!("/auth/sessions/{gone}")).await.status, 204);
        let page = browser.get(&format!("/auth/sessions?after={gone}")).await.json();
        assert_eq!(ids(&page), seen[100..200]);
        for query in ["after=", "after=7", "after=x%27", "before=1", "after=1&after=2"] {
            let answer = browser.get(&format!("/auth/sessions?{query}")).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_body"), "{query}");
        }
        // Ending the sessions covers all pages.
        let answer = browser.delete("/auth/sessions").await;
        assert_eq!(answer.json()["ended"], 250);
        assert_eq!(ids(&browser.get("/auth/sessions").await.json()), [current]);
    }

    async fn a_session_says_who_one_is_and_nobody_else_is_told(probe: Probe) {
        let (account, mut browser) = probe.signed_in("Alice").await;
        let answer = browser.get("/auth/session").await;
        assert_eq!(answer.status, 200);
        let body = answer.json();
        assert_eq!(body["stage"], "full");
        assert_eq!(body["account"]["id"], account.id().to_string());
        assert_eq!(body["account"]["username"], "Alice");
        assert_eq!(body["account"]["email"], Value::Null);
        assert_eq!(body["account"]["verified"], false);
        assert_eq!(body["account"]["second_factors"], json!([]));
        assert_eq!(body["session"]["id"], id_of(&mut browser).await);
        assert_eq!(body["session"]["created_at"], "2026-09-21T14:13:20Z");
        assert_eq!(body["session"]["expires_at"], "2026-10-21T14:13:20Z");
        let factor = json!({ "factor": "password", "passed_at": "2026-09-21T14:13:20Z" });
        assert_eq!(body["factors"], json!([factor]));
        assert_eq!((&body["roles"], &body["ceiling"]), (&json!([]), &Value::Null));
        assert_eq!(body.get("app"), None);
        check_refused(&browser.stranger().get("/auth/session").await, 401, "not_signed_in");
        let anonymous = &mut browser.stranger();
        assert_eq!(anonymous.post_empty("/auth/session/anonymous").await.status, 201);
        check_refused(&anonymous.get("/auth/session").await, 401, "not_signed_in");
    }

    async fn roles_are_shown_as_far_as_the_ceiling_lets_them_count(probe: Probe) {
        let (account, mut browser) = probe.signed_in("alice").await;
        let roles = probe.auth.roles();
        for name in ["editor", "printer"] {
            roles.create(name, [format!("{name}:use")]).await.expect("a role");
            roles.grant(account.id(), name).await.expect("it is granted");
        }
        let shown = |answer: &Answer| {
            let mut roles = answer.json()["roles"].as_array().expect("a list").clone();
            roles.sort_by_key(ToString::to_string);
            roles
        };
        assert_eq!(shown(&browser.get("/auth/session").await), ["editor", "printer"]);
        let permission = |text| Permission::parse(text).expect("a permission");
        let ceiling = [permission("editor:use"), permission("role:editor")];
        let start = probe.auth.sessions().start(&account, &ClientInfo::default());
        let issued = start.ceiling(ceiling).factor(Factor::Totp).await.expect("a session");
        let mut headers = axum::http::HeaderMap::new();
        issued.apply(&mut headers);
        let line = headers["set-cookie"].to_str().expect("ASCII");
        let token = line.split_once('=').and_then(|(_, rest)| rest.split(';').next());
        let answer = browser.with_cookie(token.expect("a token")).get("/auth/session").await;
        assert_eq!(shown(&answer), ["editor"]);
        assert_eq!(answer.json()["ceiling"].as_array().map(Vec::len), Some(2));
        assert_eq!(answer.json()["factors"][0]["factor"], Factor::Totp.as_str());
    }

    async fn the_application_adds_what_it_knows(probe: Probe) {
        let (account, browser) = probe.signed_in("alice").await;
        let auth = probe.rebuilt(|builder| {
            builder.session_info(|account: AccountId, session: SessionId| -> HookFuture<'static, Value> {
                Box::pin(async move { Ok(json!({ "cart": account, "of": session })) })
            })
        });
        let mut browser = browser.at(serve(app(&auth)).await);
        let app_members = browser.get("/auth/session").await.json()["app"].clone();
        let id = id_of(&mut browser).await;
        assert_eq!(app_members, json!({ "cart": account.id(), "of": id }));

        let auth = probe.rebuilt(|builder| {
            builder.session_info(|_: AccountId, _: SessionId| -> HookFuture<'static, Value> {
                Box::pin(async { Err("the cart is on fire".into()) })
            })
        });
        let answer = browser.at(serve(self::app(&auth)).await).get("/auth/session").await;
        check_refused(&answer, 503, "unavailable");
        assert!(!answer.text.contains("fire"));
    }

    async fn the_list_shows_the_users_own_live_sessions_newest_first(probe: Probe) {
        let (_, mut stranger) = probe.signed_in("bob").await;
        let [mut first, mut second] = signed_in(&probe, "alice").await;
        let body = json!({ "login": "alice", "password": PASSWORD });
        let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let request = second.stranger().request(Method::POST, "/auth/login");
        let request = request.header("user-agent", agent).json(&body);
        let mut third = second.stranger();
        assert_eq!(third.send(request).await.status, 200);
        let ids = [id_of(&mut third).await, id_of(&mut second).await, id_of(&mut first).await];
        assert_eq!(listed(&mut first).await, ids);
        let sessions = second.get("/auth/sessions").await.json()["sessions"].clone();
        for (number, session) in sessions.as_array().expect("a list").iter().enumerate() {
            assert_eq!(session["current"], number == 1);
            assert_eq!(session["address"], "127.0.0.1");
            let expected = if number == 0 { json!(agent) } else { Value::Null };
            assert_eq!(session["user_agent"], expected);
            for time in ["created_at", "rotated_at", "expires_at"] {
                assert!(session[time].as_str().expect("a time").starts_with("2026-"));
            }
            assert_eq!(session.as_object().map(serde_json::Map::len), Some(8), "{session}");
        }
        assert!(!listed(&mut stranger).await.iter().any(|id| ids.contains(id)));

        // Sessions that are no longer valid are not listed.
        assert_eq!(third.post_empty("/auth/logout").await.status, 204);
        assert_eq!(listed(&mut first).await, ids[1..]);
        probe.clock.advance(6 * DAY);
        assert_eq!(first.get("/me").await.status, 200);
        probe.clock.advance(DAY);
        assert_eq!(listed(&mut first).await, ids[2..], "the second was idle for too long");
    }

    async fn an_id_from_the_list_is_no_token(probe: Probe) {
        let [mut browser] = signed_in(&probe, "alice").await;
        for id in listed(&mut browser).await {
            for text in [id.clone(), id.replace('-', "")] {
                check_refused(&browser.with_cookie(&text).get("/me").await, 401, "invalid_token");
            }
        }
    }

    async fn a_user_can_end_one_of_their_sessions_once(probe: Probe) {
        let [mut first, mut second] = signed_in(&probe, "alice").await;
        let path = format!("/auth/sessions/{}", id_of(&mut second).await);
        let answer = first.delete(&path).await;
        assert_eq!((answer.status, answer.cookie()), (204, None));
        check_refused(&second.get("/me").await, 401, "session_ended");
        check_refused(&first.delete(&path).await, 404, "session_not_found");
        assert_eq!(first.get("/me").await.status, 200);
        // The own current session can be ended too. Only a logout clears the cookie.
        let path = format!("/auth/sessions/{}", id_of(&mut first).await);
        let answer = first.delete(&path).await;
        assert_eq!((answer.status, answer.cookie()), (204, None));
        check_refused(&first.get("/me").await, 401, "session_ended");
    }

    async fn of_parallel_endings_of_one_session_one_finds_it(probe: Probe) {
        let [browser, mut other] = signed_in(&probe, "alice").await;
        let path = format!("/auth/sessions/{}", id_of(&mut other).await);
        let mut requests = JoinSet::new();
        for _ in 0..8 {
            let (mut twin, path) = (browser.clone(), path.clone());
            requests.spawn(async move { twin.delete(&path).await.status });
        }
        let mut statuses = requests.join_all().await;
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 404, 404, 404, 404, 404, 404, 404]);
    }

    async fn another_accounts_session_is_not_found_and_goes_on(probe: Probe) {
        let (_, mut attacker) = probe.signed_in("mallory").await;
        let [mut alice] = signed_in(&probe, "alice").await;
        let id = id_of(&mut alice).await;
        let foreign = attacker.delete(&format!("/auth/sessions/{id}")).await;
        check_refused(&foreign, 404, "session_not_found");
        let missing = uuid::Uuid::from_u128(7);
        let missing = attacker.delete(&format!("/auth/sessions/{missing}")).await;
        assert_eq!((missing.status, &missing.text), (foreign.status, &foreign.text));
        let ended = attacker.delete("/auth/sessions?scope=others").await;
        assert_eq!(ended.json()["ended"], 1, "the one of the registration");
        assert_eq!(attacker.delete("/auth/sessions?scope=all").await.status, 200);
        assert_eq!(alice.get("/me").await.status, 200);
    }

    async fn an_id_that_is_none_is_not_found(probe: Probe) {
        let [mut browser] = signed_in(&probe, "alice").await;
        let long = "a".repeat(4000);
        for id in ["x", "..%2fsessions", "%00", "*", "1", "' OR 1=1 --", "%ff", &long] {
            let answer = browser.delete(&format!("/auth/sessions/{}", id.replace(' ', "%20"))).await;
            assert!(matches!(answer.status, 400 | 404), "{id}: {answer:?}");
        }
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn a_session_that_is_over_is_not_found(probe: Probe) {
        let [mut changed, mut first] = signed_in(&probe, "alice").await;
        let id = id_of(&mut first).await;
        let body = json!({
            "current_password": PASSWORD,
            "new_password": "another horse battery staple",
        });
        assert_eq!(changed.put("/auth/password", body).await.status, 200);
        check_refused(&first.get("/me").await, 401, "session_ended");
        let answer = changed.delete(&format!("/auth/sessions/{id}")).await;
        check_refused(&answer, 404, "session_not_found");
        let [mut busy, mut idle] = signed_in(&probe, "bob").await;
        let id = id_of(&mut idle).await;
        probe.clock.advance(6 * DAY);
        assert_eq!(busy.get("/me").await.status, 200);
        probe.clock.advance(DAY);
        assert_eq!(busy.get("/me").await.status, 200);
        let answer = busy.delete(&format!("/auth/sessions/{id}")).await;
        check_refused(&answer, 404, "session_not_found");
    }

    async fn all_others_can_be_ended_and_this_one_goes_on(probe: Probe) {
        for (round, path) in ["/auth/sessions", "/auth/sessions?scope=others"].into_iter().enumerate() {
            let [mut first, mut second, mut third] = signed_in(&probe, &format!("user{round}")).await;
            let answer = second.delete(path).await;
            assert_eq!((answer.status, answer.json()), (200, json!({ "ended": 2 })));
            assert_eq!(answer.cookie(), None);
            assert_eq!(second.get("/me").await.status, 200);
            for other in [&mut first, &mut third] {
                check_refused(&other.get("/me").await, 401, "session_ended");
            }
            assert_eq!(listed(&mut second).await.len(), 1);
            assert_eq!(second.delete(path).await.json()["ended"], 0);
        }
    }

    async fn ending_all_signs_out_here_too(probe: Probe) {
        let [mut first, mut second] = signed_in(&probe, "alice").await;
        let token = first.cookie.clone().expect("a cookie");
        let answer = first.delete("/auth/sessions?scope=all").await;
        assert_eq!((answer.status, answer.json()["ended"].as_i64()), (200, Some(2)));
        assert_eq!((answer.cookie().as_deref(), &first.cookie), (Some(""), &None));
        check_refused(&second.get("/me").await, 401, "session_ended");
        check_refused(&first.with_cookie(&token).get("/me").await, 401, "session_ended");
    }

    async fn a_scope_that_is_not_known_ends_nothing(probe: Probe) {
        let [mut first, mut second] = signed_in(&probe, "alice").await;
        for query in ["scope=everything", "scope=ALL", "scope", "all", "scope=all&scope=others", "x=1"] {
            let answer = first.delete(&format!("/auth/sessions?{query}")).await;
            check_refused(&answer, 400, "invalid_body");
        }
        assert_eq!(second.get("/me").await.status, 200);
    }

    async fn another_site_ends_no_session(probe: Probe) {
        let [first, mut second] = signed_in(&probe, "alice").await;
        let cookie = format!("__Host-session={}", first.cookie.clone().expect("a cookie"));
        let id = id_of(&mut second).await;
        for site in ["cross-site", "same-site"] {
            for (method, path) in [
                (Method::DELETE, format!("/auth/sessions/{id}")),
                (Method::DELETE, "/auth/sessions?scope=all".to_owned()),
                (Method::POST, "/auth/session/refresh".to_owned()),
                (Method::POST, "/auth/logout".to_owned()),
            ] {
                let request = first.raw(method, &path).header("cookie", &cookie);
                let answer = first.clone().send(request.header("sec-fetch-site", site)).await;
                check_refused(&answer, 403, "cross_site_request");
            }
        }
        assert_eq!(first.clone().get("/me").await.status, 200);
        assert_eq!(second.get("/me").await.status, 200);
    }

    async fn the_list_follows_rotation(probe: Probe) {
        let [mut browser] = signed_in(&probe, "alice").await;
        let before = browser.get("/auth/sessions").await.json()["sessions"][0].clone();
        probe.clock.advance(HOUR);
        assert_eq!(browser.get("/me").await.status, 200);
        let after = browser.get("/auth/sessions").await.json()["sessions"][0].clone();
        assert_ne!(before["rotated_at"], after["rotated_at"]);
        for same in ["id", "created_at", "expires_at", "address", "user_agent"] {
            assert_eq!(before[same], after[same], "{same}");
        }
    }

    async fn ones_sessions_can_be_ended_while_registration_is_closed(probe: Probe) {
        let [first, mut second] = signed_in(&probe, "alice").await;
        let closed = probe.rebuilt(|builder| {
            builder.configure(|config| config.login.registration = Registration::Closed)
        });
        let address: SocketAddr = serve(app(&closed)).await;
        probe.clock.advance(MINUTE);
        assert_eq!(first.at(address).delete("/auth/sessions").await.json()["ended"], 1);
        check_refused(&second.get("/me").await, 401, "session_ended");
    }
}
