//! Known devices (T8): the owner gets in where strangers keep the account locked.

use http::HeaderMap;
use portcullis::message::MessageKind;
use serde_json::json;

use crate::attempt::{HOUR, SECOND, WRONG, browser_of, fail, is_refused, login, tries};
use crate::on_every_database;
use crate::support::PASSWORD;

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
        // His successes have closed his own window only.
        assert!(is_refused(&probe, &stranger, "alice").await);
        // The device has a count of its own: whoever took it cannot guess without end.
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
            // A token of a session proves nothing about a device.
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
        // Two of them: nobody can tell which is whose.
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
        // A failure and a request of the session say nothing about it.
        let mut owner = browser.clone();
        assert!(owner.login("alice", WRONG).await.set_cookies().is_empty());
        assert!(owner.get("/me").await.set_cookies().is_empty());
    }

    async fn a_new_device_is_an_event_and_a_notice_and_a_known_one_is_not(probe: Probe) {
        let probe = probe.configured(|config| config.service.bearer = true);
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
        // A client that keeps its token itself has no device.
        let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let answer = owner.stranger().post("/auth/login", body).await;
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 0));
        // Neither has one that does not get in.
        assert_eq!(owner.stranger().login("alice", WRONG).await.status, 401);
        assert_eq!((probe.number(new).await, mails().await), (0, 0));
        let mut other = owner.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        assert_eq!((probe.number(new).await, mails().await), (1, 1));
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        // A device stays one when the account's sessions were ended.
        let change = json!({ "current_password": PASSWORD, "new_password": "another long password" });
        assert_eq!(owner.put("/auth/password", change).await.status, 200);
        assert_eq!(other.login("alice", "another long password").await.status, 200);
        assert_eq!((probe.number(new).await, mails().await), (1, 1));

        let off = probe.rebuilt(|builder| {
            builder.configure(|config| config.attempts.device_lifetime = None)
        });
        let mut stranger = browser_of(&off).await;
        let answer = stranger.login("alice", "another long password").await;
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 1));
        assert_eq!((probe.number(new).await, mails().await), (1, 1));
    }

    async fn a_known_device_is_not_held_up_by_its_source(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.source_limit = Some(5));
        let (_, mut owner) = probe.signed_in("alice").await;
        for number in 0..5 {
            login(&probe, &owner, &format!("name{number}"), WRONG).await;
        }
        assert!(is_refused(&probe, &owner, "alice").await, "whoever else is behind that address");
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
    }
}
