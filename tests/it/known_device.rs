//! Known devices: the owner can sign in while strangers keep the account locked.

use http::HeaderMap;
use portcullis::message::MessageKind;
use serde_json::json;

use crate::attempt::{HOUR, SECOND, WRONG, browser_of, fail, is_refused, login, tries};
use crate::on_every_database;
use crate::support::browser::send;
use crate::support::{Browser, PASSWORD};

on_every_database! {
    async fn the_owner_on_a_known_device_gets_in_while_strangers_keep_the_account_locked(probe: Probe) {
        let (_, mut owner) = probe.signed_in("alice").await;
        assert!(owner.device.is_some());
        assert_eq!(owner.post_empty("/auth/logout").await.status, 204);
        assert!(owner.device.is_some(), "signing out does not forget the device");
        let stranger = owner.stranger();
        fail(&probe, &stranger, "alice", 15).await;
        for _ in 0..3 {
            assert!(is_refused(&probe, &stranger, "alice").await);
            assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
            let body = json!({ "password": PASSWORD });
            assert_eq!(owner.post("/auth/reauthenticate", body).await.status, 200);
        }
        // These successes have closed only the window of this device.
        assert!(is_refused(&probe, &stranger, "alice").await);
        // The device has a separate count, so a thief with the cookie cannot guess without limit.
        for number in 0..10 {
            let before = tries(&probe, "1 = 1").await;
            assert_eq!(owner.login("alice", WRONG).await.status, 401);
            let judged = tries(&probe, "1 = 1").await - before;
            assert_eq!(judged, i64::from(number < 6), "{number}");
        }
        assert_eq!(owner.login("alice", PASSWORD).await.status, 401);
        probe.clock.advance(SECOND);
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
        let new = json!({ "current_password": PASSWORD, "new_password": "another long password" });
        assert_eq!(owner.put("/auth/password", new).await.status, 200);
        assert_eq!(owner.login("alice", "another long password").await.status, 200);
        assert!(is_refused(&probe, &stranger, "alice").await);
    }

    async fn a_device_is_known_to_one_account_until_its_epoch_moves(probe: Probe) {
        let (alice, owner) = probe.signed_in("alice").await;
        let (_, mallory) = probe.signed_in("mallory").await;
        let stranger = owner.stranger();
        fail(&probe, &stranger, "alice", 15).await;
        let tried = async |device: Option<&str>| {
            let mut browser = stranger.clone();
            browser.device = device.map(str::to_owned);
            let before = tries(&probe, "1 = 1").await;
            let status = browser.login("alice", PASSWORD).await.status;
            (status, tries(&probe, "1 = 1").await - before)
        };
        let known = owner.device.clone().expect("a device");
        let (message, signature) = known.rsplit_once('.').expect("three parts");
        let flipped: String = signature.chars().rev().collect();
        for other in [
            mallory.device.clone().expect("a device"),
            // A session token proves nothing about a device.
            owner.cookie.clone().expect("a cookie"),
            mallory.cookie.clone().expect("a cookie"),
            String::new(),
            "x".to_owned(),
            format!("{message}.{flipped}"),
            format!("{known}.{known}"),
            "A".repeat(8000),
        ] {
            assert_eq!(tried(Some(&other)).await, (401, 0), "{other}");
        }
        // If there are two device cookies, it is not clear which one belongs to the browser.
        let twins = format!("{known}; {}={known}", crate::support::browser::DEVICE);
        assert_eq!(tried(Some(&twins)).await, (401, 0));
        assert_eq!(tried(None).await, (401, 0));
        assert_eq!(tried(Some(&known)).await, (200, 1));
        probe.auth.accounts().disable(alice.id()).await.expect("disabled");
        probe.auth.accounts().enable(alice.id()).await.expect("enabled");
        assert_eq!(tried(Some(&known)).await, (401, 0), "its epoch has moved");
    }

    async fn a_known_device_is_forgotten_after_its_time(probe: Probe) {
        let (_, mut owner) = probe.signed_in("alice").await;
        let stranger = owner.stranger();
        let day = 24 * HOUR;
        probe.clock.advance(179 * day);
        fail(&probe, &stranger, "alice", 15).await;
        let old = owner.clone();
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
        probe.clock.advance(day);
        fail(&probe, &stranger, "alice", 15).await;
        assert_eq!(old.clone().login("alice", PASSWORD).await.status, 401);
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200, "renewed by the last login");
    }

    async fn a_known_device_skips_no_factor_and_an_unfinished_login_makes_none(probe: Probe) {
        let (alice, mut owner) = probe.signed_in("alice").await;
        let factors = [portcullis::Factor::Totp];
        probe.auth.accounts().set_enrolled_factors(alice.id(), factors).await.expect("enrolled");
        let device = owner.device.clone();
        let answer = owner.login("alice", PASSWORD).await;
        assert_eq!(answer.json()["result"], "second_factor_required");
        assert_eq!(answer.set_cookies().len(), 1);
        assert_eq!(owner.device, device);
        assert_eq!(owner.get("/me").await.status, 401);

        let bob = probe.register("bob").await;
        probe.auth.accounts().require_password_change(bob.id()).await.expect("it is set");
        let mut browser = owner.stranger();
        assert_eq!(browser.login("bob", PASSWORD).await.set_cookies().len(), 1);
        let new = json!({ "new_password": "another long password" });
        let answer = browser.put("/auth/password", new).await;
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 2), "now it is finished");
    }

    async fn the_device_s_cookie_has_the_attributes_of_the_session_s(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let answer = browser.stranger().login("alice", PASSWORD).await;
        let [session, device] = &answer.set_cookies()[..] else { panic!("{answer:?}") };
        assert!(session.starts_with("__Host-session="));
        let (value, attributes) = device.split_once(';').expect("attributes");
        assert!(value.starts_with("__Host-session-device=") && value.len() < 4096);
        let expected = " HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=15552000";
        assert_eq!(attributes, expected);
        let mut headers = HeaderMap::new();
        probe.auth.sessions().signed_out().apply(&mut headers);
        assert_eq!(headers.get_all("set-cookie").iter().count(), 1, "a logout keeps the device");
        probe.auth.sessions().signed_out().forget_device().apply(&mut headers);
        let cleared: Vec<_> = headers.get_all("set-cookie").iter().collect();
        assert_eq!(cleared, [
            "__Host-session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0",
            "__Host-session-device=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0",
        ]);
        // A failed login and a request of the session do not change the device cookie.
        let mut owner = browser.clone();
        assert!(owner.login("alice", WRONG).await.set_cookies().is_empty());
        assert!(owner.get("/me").await.set_cookies().is_empty());
    }

    async fn a_new_device_is_an_event_and_a_notice_and_a_known_one_is_not(probe: Probe) {
        let mut owner = probe.browser().await;
        let body = json!({ "username": "alice", "email": "a@example.com", "password": PASSWORD });
        assert_eq!(owner.post("/auth/register", body).await.status, 201);
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
        let new = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_new_device'";
        let mails = async || {
            let sent = probe.mail().await;
            sent.iter().filter(|message| message.kind == MessageKind::NewDevice).count()
        };
        for _ in 0..3 {
            assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
        }
        // A failed sign-in does not count as a new device.
        assert_eq!(owner.stranger().login("alice", WRONG).await.status, 401);
        assert_eq!((probe.number(new).await, mails().await), (0, 0));
        let mut other = owner.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        assert_eq!((probe.number(new).await, mails().await), (1, 1));
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        // The change of the password made the other device a new one. The owner was told of its
        // network and browser before, so there is no second notice.
        let change = json!({ "current_password": PASSWORD, "new_password": "another long password" });
        assert_eq!(owner.put("/auth/password", change).await.status, 200);
        assert_eq!(owner.login("alice", "another long password").await.status, 200);
        assert_eq!((probe.number(new).await, mails().await), (1, 1));
        assert_eq!(other.login("alice", "another long password").await.status, 200);
        assert_eq!((probe.number(new).await, mails().await), (2, 1));

        let off = probe.rebuilt(|builder| {
            builder.configure(|config| config.attempts.device_lifetime = None)
        });
        let mut stranger = browser_of(&off).await;
        let answer = stranger.login("alice", "another long password").await;
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 1));
        assert_eq!((probe.number(new).await, mails().await), (2, 1));
    }

    async fn a_known_device_is_not_held_up_by_its_source(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.source_limit = Some(5));
        let (_, mut owner) = probe.signed_in("alice").await;
        for number in 0..5 {
            login(&probe, &owner, &format!("name{number}"), WRONG).await;
        }
        assert!(is_refused(&probe, &owner, "alice").await, "others behind that address are refused");
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
    }

    async fn one_browser_is_known_to_five_accounts_and_the_one_used_longest_ago_goes(probe: Probe) {
        let names = ["anna", "berta", "cora", "dora", "emma", "frida"];
        let mut browser = probe.browser().await;
        let stranger = browser.stranger();
        for name in names {
            probe.register(name).await;
            assert_eq!(browser.login(name, PASSWORD).await.status, 200);
            fail(&probe, &stranger, name, 15).await;
        }
        let knows = async |browser: &Browser, name: &str| {
            let status = browser.clone().login(name, PASSWORD).await.status;
            assert!(matches!(status, 200 | 401), "{status}");
            status == 200
        };
        for (number, name) in names.iter().enumerate() {
            assert_eq!(knows(&browser, name).await, number > 0, "{name}");
        }
        let device = browser.device.clone().expect("a device");
        assert!(device.len() < 2000, "{}", device.len());
        // The account that was used last moves to the front. The one that was used longest ago is
        // removed next.
        assert_eq!(browser.login("berta", PASSWORD).await.status, 200);
        probe.forget_attempts().await;
        assert_eq!(browser.login("anna", PASSWORD).await.status, 200);
        for name in names {
            fail(&probe, &stranger, name, 15).await;
        }
        for name in names {
            assert_eq!(knows(&browser, name).await, name != "cora", "{name}");
        }
    }

    async fn each_account_of_a_browser_has_a_count_and_an_epoch_of_its_own(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        probe.register("bob").await;
        assert_eq!(browser.login("bob", PASSWORD).await.status, 200);
        let stranger = browser.stranger();
        fail(&probe, &stranger, "alice", 15).await;
        fail(&probe, &stranger, "bob", 15).await;
        for _ in 0..10 {
            assert_eq!(browser.login("alice", WRONG).await.status, 401);
        }
        assert_eq!(browser.login("alice", PASSWORD).await.status, 401, "too many wrong ones");
        assert_eq!(browser.login("bob", PASSWORD).await.status, 200);
        probe.clock.advance(HOUR);
        fail(&probe, &stranger, "alice", 15).await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        probe.auth.accounts().disable(alice.id()).await.expect("disabled");
        probe.auth.accounts().enable(alice.id()).await.expect("enabled");
        fail(&probe, &stranger, "bob", 15).await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 401, "its epoch has moved");
        assert_eq!(browser.login("bob", PASSWORD).await.status, 200);
    }

    async fn who_asks_not_to_be_remembered_leaves_no_account_behind(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        probe.register("bob").await;
        let body = json!({ "login": "bob", "password": PASSWORD, "remember": false });
        let answer = browser.post("/auth/login", body).await;
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 1));
        let stranger = browser.stranger();
        for name in ["alice", "bob"] {
            fail(&probe, &stranger, name, 15).await;
        }
        assert_eq!(browser.login("bob", PASSWORD).await.status, 401);
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
    }

    async fn a_reset_makes_its_browser_a_known_one(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        let stranger = browser.stranger();
        let before = "another long password";
        let reset = async |browser: &mut Browser, more: serde_json::Value| {
            probe.clock.advance(2 * HOUR);
            let asked = browser.post("/auth/password/forgot", json!({ "login": "alice" })).await;
            assert_eq!(asked.status, 202);
            let mails = probe.mail().await;
            let sent = mails.iter().rfind(|mail| mail.kind == MessageKind::PasswordReset);
            let (_, token) = sent.expect("a link").text.split_once("#token=").expect("a token");
            let mut body = json!({ "token": &token[..43], "password": before });
            for (name, value) in more.as_object().expect("an object") {
                body[name] = value.clone();
            }
            browser.post("/auth/password/reset", body).await
        };
        let mut other = browser.stranger();
        let answer = reset(&mut other, json!({})).await;
        assert_eq!((answer.status, answer.set_cookies().len()), (204, 1), "{answer:?}");
        assert!(answer.set_cookies()[0].starts_with("__Host-session-device="));
        fail(&probe, &stranger, "alice", 15).await;
        assert_eq!(browser.login("alice", before).await.status, 401, "it was put out");
        assert_eq!(other.login("alice", before).await.status, 200);
        let new = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_new_device'";
        assert_eq!(probe.number(new).await, 0, "who reads the mail of the account is no news");
        // A browser that shall not remember the user does not become a known device.
        let mut public = browser.stranger();
        let answer = reset(&mut public, json!({ "remember": false })).await;
        assert_eq!((answer.status, answer.set_cookies().len()), (204, 0), "{answer:?}");
        fail(&probe, &stranger, "alice", 15).await;
        assert_eq!(public.login("alice", before).await.status, 401);
    }

    async fn of_two_sign_ins_at_once_the_later_answer_stays(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        for name in ["bob", "cora"] {
            probe.register(name).await;
        }
        // Both requests carry the old cookie, and the browser keeps only one of the two new
        // cookies.
        let (mut left, mut right) = (browser.clone(), browser.clone());
        let (a, b) = tokio::join!(left.login("bob", PASSWORD), right.login("cora", PASSWORD));
        assert_eq!((a.status, b.status), (200, 200));
        let mut browser = left.clone();
        browser.device = right.device.clone();
        for name in ["alice", "bob", "cora"] {
            fail(&probe, &browser.stranger(), name, 15).await;
        }
        assert_eq!(browser.clone().login("alice", PASSWORD).await.status, 200);
        assert_eq!(browser.clone().login("cora", PASSWORD).await.status, 200);
        assert_eq!(browser.clone().login("bob", PASSWORD).await.status, 401, "as in a new browser");
        // The next sign-in adds the account again. The others stay.
        probe.forget_attempts().await;
        assert_eq!(browser.login("bob", PASSWORD).await.status, 200);
        for name in ["alice", "bob", "cora"] {
            fail(&probe, &browser.stranger(), name, 15).await;
            assert_eq!(browser.clone().login(name, PASSWORD).await.status, 200, "{name}");
        }
    }

    async fn a_bearer_is_known_by_what_it_shows(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        probe.register("alice").await;
        let browser = probe.browser().await;
        let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let answer = browser.stranger().post("/auth/login", body.clone()).await.json();
        let device = answer["device_token"].as_str().expect("a device token").to_owned();
        let token = answer["token"].as_str().expect("a token").to_owned();
        let shown = |path: &str, body: &serde_json::Value, device: &str| {
            let bearer = format!("Bearer {token}");
            let request = browser.stranger().request(reqwest::Method::POST, path).json(body);
            let request = request.header("portcullis-device", device);
            if path == "/auth/login" { request } else { request.header("authorization", bearer) }
        };
        fail(&probe, &browser, "alice", 15).await;
        let proof = json!({ "password": PASSWORD });
        let denied = send(shown("/auth/reauthenticate", &proof, "x")).await;
        assert_eq!(denied.status, 403, "a bearer that does not say what it is");
        assert_eq!(send(shown("/auth/login", &body, "x")).await.status, 401);
        let answer = send(shown("/auth/login", &body, &device)).await;
        assert_eq!(answer.status, 200);
        assert!(answer.json()["device_token"].is_string(), "renewed");
        let answer = send(shown("/auth/reauthenticate", &proof, &device)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // If bearer tokens are off, the header is ignored.
        let off = probe.rebuilt(|builder| builder);
        let mut plain = body.clone();
        plain.as_object_mut().expect("an object").remove("transport");
        let request = browser_of(&off).await.request(reqwest::Method::POST, "/auth/login");
        let answer = send(request.header("portcullis-device", &device).json(&plain)).await;
        assert_eq!(answer.status, 401);
    }

    async fn ending_other_sessions_leaves_the_browser_that_asks_a_known_one(probe: Probe) {
        for scope in ["", "?scope=others", "?scope=all"] {
            let name = format!("user{}", scope.len());
            let (_, mut owner) = probe.signed_in(&name).await;
            let mut other = owner.stranger();
            assert_eq!(other.login(&name, PASSWORD).await.status, 200);
            let stranger = owner.stranger();
            fail(&probe, &stranger, &name, 15).await;
            let answer = owner.delete(&format!("/auth/sessions{scope}")).await;
            assert_eq!(answer.status, 200, "{scope}: {}", answer.text);
            assert_eq!(answer.headers["cache-control"], "no-store");
            owner.post_empty("/auth/logout").await;
            assert_eq!(owner.login(&name, PASSWORD).await.status, 200, "{scope}");
            assert_eq!(other.login(&name, PASSWORD).await.status, 401, "{scope}: it was put out");
            // The same again, and then in a browser without a device cookie.
            assert_eq!(owner.delete(&format!("/auth/sessions{scope}")).await.status, 200);
            assert_eq!(owner.login(&name, PASSWORD).await.status, 200, "{scope}");
            owner.device = None;
            let answer = owner.delete(&format!("/auth/sessions{scope}")).await;
            assert_eq!((answer.status, answer.cookie_of(crate::support::browser::DEVICE)), (200, None));
        }
    }

    async fn a_bearer_that_ends_the_other_sessions_stays_a_known_device(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
        probe.register("alice").await;
        let browser = probe.browser().await;
        let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let answer = browser.stranger().post("/auth/login", body.clone()).await.json();
        let device = answer["device_token"].as_str().expect("a device token").to_owned();
        let token = answer["token"].as_str().expect("a token").to_owned();
        let ask = |device: &str| {
            let request = browser.raw(reqwest::Method::DELETE, "/auth/sessions");
            request.header("authorization", format!("Bearer {token}")).header("portcullis-device", device)
        };
        let answer = send(ask("x")).await;
        assert_eq!((answer.status, answer.json().get("device_token").cloned()), (200, None));
        // The last call increased the epoch, and did not renew this token.
        let answer = send(ask(&device)).await;
        assert_eq!(answer.json().get("device_token"), None, "{}", answer.text);
        let again = browser.raw(reqwest::Method::POST, "/auth/login").json(&body);
        let answer = send(again.header("portcullis-device", &device)).await.json();
        let device = answer["device_token"].as_str().expect("a device token").to_owned();
        let answer = send(ask(&device)).await;
        assert!(answer.set_cookies().is_empty());
        let answer = answer.json();
        let device = answer["device_token"].as_str().expect("a device token").to_owned();
        fail(&probe, &browser, "alice", 15).await;
        let again = browser.raw(reqwest::Method::POST, "/auth/login").json(&body);
        assert_eq!(send(again.header("portcullis-device", &device)).await.status, 200);
    }
}
