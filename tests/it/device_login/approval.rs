//! Who may approve a device, what they must have seen, and what ends an approval.

use std::net::IpAddr;
use std::time::Duration;

use portcullis::config::DeviceNetworks;
use portcullis::device_login::{DeviceRequestState as State, NetworkNames};
use portcullis::identity::owner::Devices;
use portcullis::{Account, ClientInfo, Factor, Identity, Permission, Portcullis};
use serde_json::json;

use super::{
    ABROAD, DAY, Device, HOME, MINUTE, Person, SECOND, SOFA, alice, clients, code, events, from,
    state, with_token,
};
use crate::on_every_database;
use crate::support::Browser;
use crate::support::call::{cookie_of, extracted};
use crate::support::probe::{app, serve};

on_every_database! {
    async fn who_approves_must_have_seen_what_they_approve(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let person = Person::of(&auth, &account).await;
        let device = Device::start(&auth, "tv").await;
        let other = Device::start(&auth, "tv").await;
        let view = person.view(device.code()).await;
        // Another sign-in of the account, another person, another request, and what was changed.
        let elsewhere = Person::of(&auth, &account).await;
        let bob = Person::of(&auth, &probe.register("bob").await).await;
        let (of_other, of_bob) = (person.view(other.code()).await, bob.view(device.code()).await);
        let changed = format!("{}{}", &view[..view.len() - 1], if view.ends_with('A') { 'B' } else { 'A' });
        for (who, view) in [(&elsewhere, &*view), (&bob, &*view), (&person, &*of_other), (&person, &*of_bob), (&person, &*changed), (&person, ""), (&person, "."), (&person, &*"x.".repeat(5000))] {
            let flow = auth.device_login();
            assert_eq!(code(who.approve_seen(device.code(), view, None).await), "device_view_outdated");
            assert_eq!(code(flow.deny(&who.owner, device.code(), view, &who.client).await), "device_view_outdated");
            assert_eq!(code(flow.report(&who.owner, device.code(), view, &who.client).await), "device_view_outdated");
        }
        // The person has moved, so they would read something else now.
        let moved = Person { client: from(ABROAD), ..Person::with_owner(&person) };
        assert_eq!(code(moved.approve_seen(device.code(), &view, None).await), "device_view_outdated");
        assert_eq!(state(&probe, &device).await, 0);
        // A step-up is the same sign-in.
        let mut browser = Browser::new(serve(app(&auth)).await);
        let of = |answer: &crate::support::browser::Answer| {
            format!("__Host-session={}", answer.cookie().expect("a cookie"))
        };
        let cookie = of(&browser.login("alice", crate::support::PASSWORD).await);
        let before = Person::with(&auth, &cookie).await;
        let view = before.view(device.code()).await;
        let answer = browser.post("/auth/reauthenticate", json!({ "password": crate::support::PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let superseded: Identity = extracted(&auth, &cookie).await;
        assert!(superseded.owner::<Devices>().is_err(), "a step-up has replaced it");
        let after = Person::with(&auth, &of(&answer)).await;
        after.approve_seen(device.code(), &view, None).await.expect("it is approved");
        // A view is not older than a request can be.
        let device = Device::start(&auth, "tv").await;
        let view = person.view(device.code()).await;
        person.approve_seen(device.code(), &view, None).await.expect("it is approved");
        let _token = device.poll().await.expect("a token");
        probe.clock.advance(10 * MINUTE + SECOND);
        let late = Person::of(&auth, &account).await;
        let flow = auth.device_login();
        let report = flow.report(&late.owner, device.code(), &view, &late.client).await;
        assert_eq!(code(report), "device_view_outdated");
        let view = late.view(device.code()).await;
        flow.report(&late.owner, device.code(), &view, &late.client).await.expect("it is reported");
    }

    async fn only_a_recent_factor_of_the_right_account_approves(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let client = from(HOME);
        let device = Device::start(&auth, "tv").await;
        // A factor that is too old, and none.
        let stale = Person::of(&auth, &account).await;
        probe.clock.advance(5 * MINUTE);
        let start = auth.sessions().start(&account, &client);
        let without = Person::with(&auth, &cookie_of(&start.await.expect("a session"))).await;
        for person in [&stale, &without] {
            assert_eq!(code(person.approve(&device).await), "insufficient_user_authentication");
            assert_eq!(code(person.deny(&device).await), "insufficient_user_authentication");
        }
        // A session with a ceiling.
        for (ceiling, may) in [("film:watch", false), ("auth-account:sessions", false), ("auth-account:devices", true), ("auth-account:manage", true), ("*", true)] {
            let permission = Permission::parse(ceiling).expect("a permission");
            let start = auth.sessions().start(&account, &client).factor(Factor::Password).ceiling([permission]);
            let identity: Identity = extracted(&auth, &cookie_of(&start.await.expect("a session"))).await;
            let owner = identity.owner::<Devices>();
            assert_eq!(owner.is_ok(), may, "{ceiling}");
            let Ok(owner) = owner else { continue };
            // It cannot give what it does not have.
            let limited = Person { auth: auth.clone(), owner, client: client.clone() };
            let device = Device::start(&auth, "tv").await;
            let result = limited.approve(&device).await;
            match ceiling {
                "*" => assert!(result.is_ok(), "{result:?}"),
                _ => assert_eq!(code(result), "device_scope_refused", "{ceiling}"),
            }
        }
        // The account that the device names, by any of its names.
        let bob = Person::of(&auth, &probe.register("bob").await).await;
        for hint in ["alice", "Alice@Example.COM", " alice@example.com"] {
            let start = auth.device_login().start("tv").login_hint(hint).begin(&from(SOFA)).await;
            let device = Device { auth: auth.clone(), client: "tv", started: start.expect("it starts") };
            assert_eq!(code(bob.look(device.code()).await), "device_of_other_account");
            let person = Person::of(&auth, &account).await;
            person.approve(&device).await.expect("it is the account");
        }
        let start = auth.device_login().start("tv").login_hint("nobody").begin(&from(SOFA)).await;
        let device = Device { auth: auth.clone(), client: "tv", started: start.expect("nobody learns it") };
        assert_eq!(code(bob.look(device.code()).await), "device_of_other_account");
    }

    async fn a_device_has_two_minutes_after_the_approval(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let moment = Duration::from_millis(1);
        for (lifetime_used, waits, fetched) in [
            (Duration::ZERO, 2 * MINUTE - moment, true),
            (Duration::ZERO, 2 * MINUTE, false),
            // An approval at the last moment leaves as much time.
            (10 * MINUTE - moment, 2 * MINUTE - moment, true),
            (10 * MINUTE - moment, 2 * MINUTE, false),
        ] {
            let device = Device::start(&auth, "tv").await;
            probe.clock.advance(lifetime_used);
            Person::of(&auth, &account).await.approve(&device).await.expect("it is approved");
            probe.clock.advance(waits);
            let polled = device.poll().await;
            if fetched {
                let token = polled.expect("a token");
                assert_eq!(with_token(&auth, token.token(), "/me").await, 200);
            } else {
                assert_eq!(code(polled), "expired_token", "{waits:?}");
            }
        }
    }

    async fn two_networks_with_one_name_are_one(probe: Probe) {
        struct Providers;
        impl NetworkNames for Providers {
            fn name_of(&self, address: IpAddr) -> Option<String> {
                let IpAddr::V4(address) = address else { return None };
                (address.octets()[0] != 203).then(|| if address.octets()[0] == 10 { "office" } else { "Alice's provider" }.to_owned())
            }
        }
        let probe = probe.configured(clients);
        let auth = probe.rebuilt(|builder| builder.network_names(Providers).configure(|config| {
            clients(config);
            config.device_login.networks = DeviceNetworks::Require;
        }));
        let account = alice(&probe).await;
        for (address, name, same) in [
            (ABROAD, Some("Alice's provider"), true),
            ("10.0.0.1", Some("office"), false),
            // Two networks without a name are not one.
            ("203.0.113.9", None, false),
            ("2001:db8::1", None, false),
        ] {
            let person = Person::of(&auth, &account).await;
            let started = auth.device_login().start("tv").begin(&from(address)).await.expect("it starts");
            let device = Device { auth: auth.clone(), client: "tv", started };
            let request = person.look(device.code()).await.expect("it is shown");
            assert_eq!(request.network_name.as_deref(), name, "{address}");
            assert_eq!(request.networks.as_str(), if same { "same" } else { "different" }, "{address}");
            assert_eq!(person.approve(&device).await.is_ok(), same, "{address}");
        }
        let mut nameless = Person::of(&auth, &account).await;
        nameless.client = from("203.0.113.9");
        let started = auth.device_login().start("tv").begin(&from("203.0.114.9")).await.expect("it starts");
        let request = nameless.look(started.user_code()).await.expect("it is shown");
        assert_eq!(request.networks.as_str(), "different");
    }

    async fn a_device_changes_nothing_of_its_account_whatever_its_ceiling_is(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let address = serve(app(&auth)).await;
        let mut person = Browser::new(address);
        assert_eq!(person.login("alice", crate::support::PASSWORD).await.status, 200);
        let session = person.get("/session-id").await.text;
        for client in ["cli", "tv"] {
            let token = crate::device_login::token_for(&auth, &account, client).await;
            for (method, path) in [
                ("GET", "/auth/sessions".to_owned()),
                ("DELETE", format!("/auth/sessions/{session}")),
                ("DELETE", "/auth/sessions".to_owned()),
                ("DELETE", "/auth/sessions?scope=all".to_owned()),
                ("POST", format!("/auth/sessions/{session}/end")),
                ("POST", format!("/auth/sessions/{session}/report")),
            ] {
                let method = method.parse().expect("a method");
                let request = person.raw(method, &path).bearer_auth(&token);
                let answer = crate::support::browser::send(request).await;
                crate::totp::check(&answer, 403, "limited_session");
            }
            assert_eq!(with_token(&auth, &token, "/me").await, 200);
        }
        assert_eq!(person.get("/me").await.status, 200);
    }

    async fn networks_are_compared_and_shown(probe: Probe) {
        let probe = probe.configured(clients);
        let account = alice(&probe).await;
        let nodes = [DeviceNetworks::Off, DeviceNetworks::Show, DeviceNetworks::Require];
        let nodes = nodes.map(|policy| probe.rebuilt(|builder| builder.configure(|config| {
            clients(config);
            config.device_login.networks = policy;
        })));
        let unknown = ClientInfo::default();
        let table = [
            (from(SOFA), "same"),
            (from(ABROAD), "different"),
            (from("2001:db8::1"), "different"),
            (unknown.clone(), "unknown"),
        ];
        for (client, expected) in table {
            for (at, auth) in nodes.iter().enumerate() {
                let person = Person::of(auth, &account).await;
                let started = auth.device_login().start("tv").begin(&client).await.expect("it starts");
                let device = Device { auth: auth.clone(), client: "tv", started };
                let request = person.look(device.code()).await.expect("it is shown");
                let expected = if at == 0 { "not_compared" } else { expected };
                assert_eq!(request.networks.as_str(), expected);
                assert_eq!(request.networks.in_words().is_some(), at > 0);
                let result = person.approve(&device).await;
                if at == 2 && expected != "same" {
                    assert_eq!(code(result), "device_on_other_network", "{expected}");
                    person.deny(&device).await.expect("it can be denied");
                } else {
                    assert!(result.is_ok(), "{expected} {at}: {result:?}");
                }
            }
        }
        let auth = &nodes[2];
        let mut person = Person::of(auth, &account).await;
        let started = auth.device_login().start("tv").begin(&from("2001:db8::1")).await.expect("it starts");
        let device = Device { auth: auth.clone(), client: "tv", started };
        person.client = from("2001:db8::ffff:1");
        person.approve(&device).await.expect("the same /64");
    }

    async fn an_approval_ends_with_what_it_rests_on(probe: Probe) {
        let probe = probe.configured(|config| {
            clients(config);
            config.attempts.limit = 3;
        });
        let auth = probe.auth.clone();
        let causes = ["nothing", "disabled", "new password", "sessions ended", "signed out", "suspicious", "locked", "locked before"];
        for cause in causes {
            let account = probe.register(&cause.replace(' ', "-")).await;
            if cause == "locked before" {
                lock(&auth, &account).await;
                probe.clock.advance(SECOND);
            }
            let person = Person::of(&auth, &account).await;
            probe.clock.advance(SECOND);
            let device = Device::start(&auth, "tv").await;
            person.approve(&device).await.expect("it is approved");
            let session = person.owner.session().id();
            match cause {
                "disabled" => auth.accounts().disable(account.id()).await.expect("it is disabled"),
                "new password" => {
                    let other = Person::of(&auth, &account).await;
                    let owner = other.owner.identity().owner().expect("no ceiling");
                    let changed = auth.password_change().change(&owner, None, "another horse battery", &other.client).await;
                    let _issued = changed.expect("it is changed");
                }
                "sessions ended" => {
                    auth.sessions().end_all(account.id(), None).await.expect("they end");
                }
                "signed out" => {
                    let _cookie = auth.sessions().end(session).await.expect("it ends");
                }
                "suspicious" => auth.sessions().mark_suspicious(session).await.expect("it is marked"),
                "locked" => lock(&auth, &account).await,
                _ => {}
            }
            let result = device.poll().await;
            if cause == "nothing" || cause == "locked before" {
                assert!(result.is_ok(), "{cause}: {result:?}");
                continue;
            }
            assert_eq!(code(result), "access_denied", "{cause}");
            // It stays dead.
            assert_eq!(state(&probe, &device).await, 5, "{cause}");
            if cause == "disabled" {
                auth.accounts().enable(account.id()).await.expect("it is enabled");
            }
            probe.forget_attempts().await;
            probe.clock.advance(5 * SECOND);
            assert_eq!(code(device.poll().await), "invalid_grant", "{cause}");
        }
        // The same before the approval.
        let account = alice(&probe).await;
        for cause in ["disabled", "sessions ended", "signed out", "locked"] {
            let account = auth.accounts().find(account.id()).await.expect("it answers").expect("it is there");
            let person = Person::of(&auth, &account).await;
            probe.clock.advance(SECOND);
            let device = Device::start(&auth, "tv").await;
            let refusal = match cause {
                "disabled" => {
                    auth.accounts().disable(account.id()).await.expect("it is disabled");
                    "session_ended"
                }
                "sessions ended" => {
                    auth.sessions().end_all(account.id(), None).await.expect("they end");
                    "session_ended"
                }
                "signed out" => {
                    let _cookie = auth.sessions().end(person.owner.session().id()).await.expect("it ends");
                    "session_ended"
                }
                _ => {
                    lock(&auth, &account).await;
                    "insufficient_user_authentication"
                }
            };
            assert_eq!(code(person.approve(&device).await), refusal, "{cause}");
            assert_eq!(state(&probe, &device).await, 0, "{cause}");
            auth.accounts().enable(account.id()).await.expect("it is enabled");
            // Who passes a factor after the lock began can approve it.
            probe.clock.advance(SECOND);
            let account = auth.accounts().find(account.id()).await.expect("it answers").expect("it is there");
            let person = Person::of(&auth, &account).await;
            person.approve(&device).await.expect("it is approved");
            assert!(device.poll().await.is_ok(), "{cause}");
            probe.forget_attempts().await;
        }
    }

    async fn what_was_decided_is_shown_to_the_account_that_decided(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let person = Person::of(&auth, &account).await;
        let bob = Person::of(&auth, &probe.register("bob").await).await;
        let device = Device::start(&auth, "tv").await;
        let of_bob = bob.view(device.code()).await;
        person.deny(&device).await.expect("it is denied");
        assert_eq!(code(bob.look(device.code()).await), "device_request_not_found");
        assert_eq!(code(bob.approve_seen(device.code(), &of_bob, None).await), "device_request_not_found");
        let request = person.look(device.code()).await.expect("it is shown");
        assert_eq!((request.state, request.view()), (State::Denied, None));
        assert_eq!(request.decided_at, Some(probe.auth_now()));
        assert_eq!(events(&probe).await, ["device_login_denied", "device_login_requested"]);
        // A report after the approval ends the session of the device, on its next request.
        let device = Device::start(&auth, "tv").await;
        person.approve(&device).await.expect("it is approved");
        let token = device.poll().await.expect("a token");
        assert_eq!(with_token(&auth, token.token(), "/me").await, 200);
        let view = person.view(device.code()).await;
        auth.device_login().report(&person.owner, device.code(), &view, &person.client).await.expect("it is reported");
        assert_eq!(with_token(&auth, token.token(), "/me").await, 401);
        // After a day, nothing is left of it.
        probe.clock.advance(DAY + 11 * MINUTE);
        let report = auth.maintenance().run().await.expect("it runs");
        assert_eq!(report.device_requests, 2);
        let late = Person::of(&auth, &account).await;
        assert_eq!(code(late.look(device.code()).await), "device_request_not_found");
    }

    async fn a_rolled_back_decision_is_none(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let person = Person::of(&auth, &alice(&probe).await).await;
        let device = Device::start(&auth, "tv").await;
        let view = person.view(device.code()).await;
        for keep in [false, true] {
            let txn = auth.begin().await.expect("it begins");
            let flow = auth.device_login().within(&txn);
            let _approved = flow.approve(&person.owner, device.code(), &view, None, &person.client).await.expect("it is approved");
            if keep {
                txn.commit().await.expect("it commits");
            } else {
                drop(txn);
            }
            probe.clock.advance(5 * SECOND);
            assert_eq!(device.poll().await.is_ok(), keep);
        }
        assert_eq!(events(&probe).await.iter().filter(|kind| kind.ends_with("approved")).count(), 1);
    }
}

/// Guesses at an account until it is locked.
async fn lock(auth: &Portcullis, account: &Account) {
    let name = account.username().expect("a name").to_owned();
    let mut browser = Browser::new(serve(app(auth)).await);
    for _ in 0..3 {
        browser.login(&name, "wrong password").await;
    }
}
