//! The messages to the owner of an account about sign-ins from unknown devices.

use std::time::Duration;

use portcullis::message::{Message, MessageKind};
use portcullis::{ClientInfo, Transport, TrustedProxies};
use reqwest::Method;
use serde_json::{Value, json};

use crate::attempt::{WRONG, browser_of};
use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::{Browser, PASSWORD, Probe};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A digest is sent a day after its first sign-in. One second more allows for some milliseconds of
/// difference.
const A_DAY_LATER: Duration = Duration::from_secs(24 * 60 * 60 + 1);
const EVENTS: &str = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_new_device'";
const NEW: &str = "another horse battery staple";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";

/// Builds an instance behind a proxy that sends the client addresses, and `alice`. She has signed
/// in once before, because the first sign-in of an account causes no notice.
async fn alice(probe: Probe) -> (Probe, Browser) {
    let probe = probe.configured(|config| {
        config.service.bearer = true;
        let networks = vec!["127.0.0.0/8".parse().expect("a network")];
        config.proxies = TrustedProxies::new(networks, Default::default());
    });
    probe.register_with_email("alice", "alice@example.com").await;
    let browser = browser_of(&probe.auth).await;
    assert_eq!(sign_in(&browser, "192.0.2.1", "curl/8.5.0").await.status, 200);
    assert_eq!(notices(&probe).await, (0, 0));
    (probe, browser)
}

/// Signs in as `alice` from this address, with a client that has no cookies.
async fn sign_in(browser: &Browser, address: &str, agent: &str) -> Answer {
    sign_in_with(browser, address, agent, json!({ "login": "alice", "password": PASSWORD })).await
}

async fn sign_in_with(browser: &Browser, address: &str, agent: &str, body: Value) -> Answer {
    let request = browser
        .stranger()
        .request(Method::POST, "/auth/login")
        .header("x-forwarded-for", address)
        .header("user-agent", agent)
        .json(&body);
    send(request).await
}

async fn verify(probe: &Probe) {
    let account = probe.auth.accounts().find_by_login("alice").await.expect("it answers");
    let id = account.expect("an account").id();
    probe.auth.accounts().verify(id).await.expect("it is verified");
}

/// Requests a reset link for `alice` and returns the message.
async fn link(probe: &Probe, browser: &Browser) -> Message {
    let body = json!({ "login": "alice" });
    assert_eq!(browser.stranger().post("/auth/password/forgot", body).await.status, 202);
    let sent = probe.mail().await;
    let link = sent.into_iter().rfind(|mail| mail.kind == MessageKind::PasswordReset);
    link.expect("a link")
}

/// Returns the messages of both kinds so far, oldest first.
async fn mails(probe: &Probe) -> Vec<Message> {
    let sent = probe.mail().await;
    let kinds = ["new_device", "new_device_digest"];
    sent.into_iter().filter(|message| kinds.contains(&message.kind.as_str())).collect()
}

/// Returns the number of notices of one sign-in, and the number of digests.
async fn notices(probe: &Probe) -> (usize, usize) {
    let mails = mails(probe).await;
    let own = mails.iter().filter(|mail| mail.kind == MessageKind::NewDevice).count();
    (own, mails.len() - own)
}

on_every_database! {
    async fn twenty_sign_ins_of_a_client_without_cookies_are_one_notice_and_one_digest(probe: Probe) {
        let (probe, browser) = alice(probe).await;
        for _ in 0..20 {
            assert_eq!(sign_in(&browser, "192.0.2.1", "curl/8.5.0").await.status, 200);
            probe.clock.advance(Duration::from_secs(60));
        }
        assert_eq!(probe.number(EVENTS).await, 20, "each is an event");
        assert_eq!(notices(&probe).await, (1, 0));
        probe.clock.advance(A_DAY_LATER);
        assert_eq!(notices(&probe).await, (1, 1));
        let digest = mails(&probe).await.pop().expect("a digest");
        assert!(digest.text.contains("19"), "{}", digest.text);
        assert!(digest.text.contains("192.0.2.1"), "{}", digest.text);
        // Without another sign-in nothing is sent. The next sign-in starts a new digest.
        probe.clock.advance(2 * DAY);
        assert_eq!(notices(&probe).await, (1, 1));
        assert_eq!(sign_in(&browser, "192.0.2.1", "curl/8.5.0").await.status, 200);
        assert_eq!(notices(&probe).await, (1, 1));
        probe.clock.advance(A_DAY_LATER);
        assert_eq!(notices(&probe).await, (1, 2));
        let digest = mails(&probe).await.pop().expect("a digest");
        assert!(digest.text.contains("Sign-ins: 1\n"), "{}", digest.text);
    }

    async fn a_new_network_or_browser_is_told_by_itself_whatever_noise_came_before(probe: Probe) {
        let (probe, browser) = alice(probe).await;
        for _ in 0..30 {
            assert_eq!(sign_in(&browser, "192.0.2.1", "curl/8.5.0").await.status, 200);
        }
        assert_eq!(notices(&probe).await, (1, 0));
        // The same network and browser: another address in the /24, and another version.
        assert_eq!(sign_in(&browser, "192.0.2.200", "curl/8.19.1").await.status, 200);
        assert_eq!(notices(&probe).await, (1, 0));
        for (number, (address, agent)) in [
            ("198.51.100.1", "curl/8.5.0"),
            ("192.0.2.1", FIREFOX),
            ("198.51.100.1", FIREFOX),
            ("2001:db8:0:1::1", "curl/8.5.0"),
            ("2001:db8:0:2::1", "curl/8.5.0"),
        ]
        .into_iter()
        .enumerate()
        {
            for _ in 0..2 {
                assert_eq!(sign_in(&browser, address, agent).await.status, 200);
            }
            assert_eq!(notices(&probe).await, (2 + number, 0), "{address} {agent}");
            let mail = mails(&probe).await.pop().expect("a mail");
            assert!(mail.text.contains(address), "{}", mail.text);
        }
        // Each account has its own notices. One account's notice does not prevent another's.
        probe.register_with_email("bob", "bob@example.com").await;
        let bob = json!({ "login": "bob", "password": PASSWORD });
        for _ in 0..2 {
            let answer = sign_in_with(&browser, "192.0.2.1", "curl/8.5.0", bob.clone()).await;
            assert_eq!(answer.status, 200);
        }
        assert_eq!(mails(&probe).await.pop().expect("a mail").to.as_str(), "bob@example.com");
        probe.clock.advance(A_DAY_LATER);
        assert_eq!(notices(&probe).await, (7, 1), "all repeats of a day are one digest");
    }

    async fn ten_are_told_a_day_and_what_is_above_is_in_the_digest(probe: Probe) {
        let (probe, browser) = alice(probe).await;
        for number in 0..13 {
            let address = format!("198.51.{number}.1");
            assert_eq!(sign_in(&browser, &address, "curl/8.5.0").await.status, 200);
        }
        assert_eq!(notices(&probe).await, (10, 0));
        probe.clock.advance(A_DAY_LATER);
        assert_eq!(notices(&probe).await, (10, 1));
        let digest = mails(&probe).await.pop().expect("a digest");
        assert!(digest.text.contains("Sign-ins: 3\n"), "{}", digest.text);
        // The sign-ins above the limit of ten had no notice of their own, so their networks are
        // still new.
        assert_eq!(sign_in(&browser, "198.51.12.1", "curl/8.5.0").await.status, 200);
        assert_eq!(sign_in(&browser, "198.51.0.1", "curl/8.5.0").await.status, 200);
        assert_eq!(notices(&probe).await, (11, 1));
    }

    async fn a_place_is_told_again_when_thirty_days_have_passed(probe: Probe) {
        let (probe, browser) = alice(probe).await;
        assert_eq!(sign_in(&browser, "192.0.2.1", "curl/8.5.0").await.status, 200);
        assert_eq!(notices(&probe).await, (1, 0));
        for day in 1..=30 {
            probe.clock.advance(DAY);
            assert_eq!(sign_in(&browser, "192.0.2.1", "curl/8.5.0").await.status, 200);
            assert_eq!(notices(&probe).await.0, if day < 30 { 1 } else { 2 }, "{day}");
        }
        let rows = "SELECT COUNT(*) FROM auth_told_place";
        assert_eq!(probe.number(rows).await, 1, "one row a place");
        probe.clock.advance(31 * DAY);
        assert_eq!(sign_in(&browser, "198.51.100.1", "curl/8.5.0").await.status, 200);
        assert_eq!(probe.number(rows).await, 1, "what is older is gone");
    }

    async fn of_sixteen_sign_ins_at_once_from_one_new_place_one_is_told_by_itself(probe: Probe) {
        let (probe, browser) = alice(probe).await;
        let mut racers = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let browser = browser.clone();
            racers.spawn(async move { sign_in(&browser, "198.51.100.1", "curl/8.5.0").await.status });
        }
        let statuses = racers.join_all().await;
        assert_eq!(statuses, [200; 16]);
        assert_eq!(notices(&probe).await, (1, 0));
        probe.clock.advance(A_DAY_LATER);
        assert_eq!(notices(&probe).await, (1, 1));
        let digest = mails(&probe).await.pop().expect("a digest");
        assert!(digest.text.contains("Sign-ins: 15\n"), "{}", digest.text);
    }

    async fn no_way_of_carrying_the_token_keeps_the_notice_from_the_owner(probe: Probe) {
        let (probe, browser) = alice(probe).await;
        let body = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let answer = sign_in_with(&browser, "203.0.113.9", FIREFOX, body.clone()).await;
        assert_eq!(answer.status, 200);
        assert!(answer.set_cookies().is_empty());
        assert_eq!((probe.number(EVENTS).await, notices(&probe).await), (1, (1, 0)));
        // A client that is not to be remembered causes a notice too.
        let mut forgettable = body.clone();
        forgettable["remember"] = json!(false);
        let answer = sign_in_with(&browser, "203.0.113.9", "curl/8.5.0", forgettable).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json().get("device_token"), None, "and leaves nothing behind");
        assert_eq!(notices(&probe).await, (2, 0));
        // A client with its device token is not new, from any address.
        let answer = sign_in_with(&browser, "203.0.113.9", FIREFOX, body.clone()).await;
        let device = answer.json()["device_token"].as_str().expect("a device token").to_owned();
        let request = browser
            .stranger()
            .request(Method::POST, "/auth/login")
            .header("x-forwarded-for", "100.64.7.7")
            .header("portcullis-device", &device)
            .json(&body);
        let answer = send(request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(notices(&probe).await, (2, 0));
        // A client with an invalid device token is new.
        let token = answer.json()["token"].as_str().expect("a token").to_owned();
        for shown in [token, format!("{device}x"), "x".to_owned(), "A".repeat(5000)] {
            let request = browser
                .stranger()
                .request(Method::POST, "/auth/login")
                .header("x-forwarded-for", "100.64.7.7")
                .header("portcullis-device", &shown)
                .json(&body);
            assert_eq!(send(request).await.status, 200);
        }
        assert_eq!(notices(&probe).await, (3, 0));
        assert_eq!(probe.number(EVENTS).await, 3 + 4);
    }

    async fn two_accounts_by_turns_in_one_browser_are_new_to_nobody(probe: Probe) {
        let (probe, mut browser) = alice(probe).await;
        probe.register_with_email("bob", "bob@example.com").await;
        for name in ["alice", "bob"] {
            assert_eq!(browser.login(name, PASSWORD).await.status, 200);
        }
        let before = probe.number(EVENTS).await;
        for _ in 0..4 {
            for name in ["alice", "bob"] {
                assert_eq!(browser.login(name, PASSWORD).await.status, 200);
            }
        }
        assert_eq!(probe.number(EVENTS).await, before);
        // A failed sign-in causes no notice, and does not make the device known.
        assert_eq!(browser.stranger().login("alice", WRONG).await.status, 401);
        probe.clock.advance(HOUR);
        assert_eq!((probe.number(EVENTS).await, notices(&probe).await), (before, (1, 0)));
    }

    async fn an_account_without_an_address_is_not_written_to_and_keeps_nothing(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        for _ in 0..2 {
            assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
        }
        // There is also an event for the first one, because the registration signed in from another
        // place.
        assert_eq!(probe.number(EVENTS).await, 3);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_outbox").await, 0);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_told_place").await, 0);
    }

    async fn a_device_that_was_put_out_is_told_of_when_it_comes_back(probe: Probe) {
        let (probe, browser) = alice(probe).await;
        verify(&probe).await;
        // A thief with a phished password signs in once. The owner gets a notice and sets a new
        // password.
        let thief = sign_in(&browser, "203.0.113.9", FIREFOX).await;
        let device = thief.cookie_of(crate::support::browser::DEVICE).expect("a device");
        assert_eq!((probe.number(EVENTS).await, notices(&probe).await), (1, (1, 0)));
        let token = crate::verification::token_of(&link(&probe, &browser).await);
        let body = json!({ "token": token, "password": NEW });
        let mut owner = browser.stranger();
        assert_eq!(owner.post("/auth/password/reset", body).await.status, 204);
        // The thief gets the new password too, and shows the old device token in another network.
        let again = |address: &str, device: &str| {
            let cookie = format!("{}={device}", crate::support::browser::DEVICE);
            browser
                .stranger()
                .request(Method::POST, "/auth/login")
                .header("x-forwarded-for", address.to_owned())
                .header("user-agent", FIREFOX)
                .header("cookie", cookie)
                .json(&json!({ "login": "alice", "password": NEW }))
        };
        assert_eq!(send(again("198.51.100.7", &device)).await.status, 200);
        assert_eq!((probe.number(EVENTS).await, notices(&probe).await), (2, (2, 0)));
        let mail = mails(&probe).await.pop().expect("a mail");
        assert!(mail.text.contains("198.51.100.7"), "{}", mail.text);
        // The device that did the reset is known, from any address.
        let device = owner.device.clone().expect("a device");
        assert_eq!(send(again("192.0.2.77", &device)).await.status, 200);
        assert_eq!((probe.number(EVENTS).await, notices(&probe).await), (2, (2, 0)));
    }

    async fn only_a_sign_in_brings_a_device_back_that_was_put_out(probe: Probe) {
        let (probe, browser) = alice(probe).await;
        let thief = sign_in(&browser, "203.0.113.9", FIREFOX).await;
        let device = thief.cookie_of(crate::support::browser::DEVICE).expect("a device");
        let find = async || {
            let found = probe.auth.accounts().find_by_login("alice").await.expect("it answers");
            found.expect("an account")
        };
        for put_out in [false, true] {
            if put_out {
                let mut owner = browser.stranger();
                assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
                assert_eq!(owner.delete("/auth/sessions").await.status, 200);
            }
            // The application starts a session on the device. Then the password is checked again in
            // this session.
            let client = ClientInfo::default().with_device_token(&device);
            let account = find().await;
            let start = probe.auth.sessions().start(&account, &client);
            let issued = start.transport(Transport::Bearer).await.expect("it starts");
            assert_eq!(issued.device_token().is_none(), put_out);
            let token = issued.token().expect("a token");
            let request = browser
                .stranger()
                .request(Method::POST, "/auth/reauthenticate")
                .header("authorization", format!("Bearer {token}"))
                .header("portcullis-device", &device)
                .json(&json!({ "password": PASSWORD }));
            let answer = send(request).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let shown = &answer.json()["device_token"];
            assert_eq!(shown.is_null(), put_out, "{shown}");
        }
    }

    async fn an_honest_person_hears_once_of_each_other_place_after_a_reset(probe: Probe) {
        let (probe, browser) = alice(probe).await;
        verify(&probe).await;
        // A browser at home, which the owner was told of, and one at work, which has not signed in
        // for a long time.
        let home = sign_in(&browser, "192.0.2.1", FIREFOX).await;
        let home = home.cookie_of(crate::support::browser::DEVICE).expect("a device");
        let work = sign_in(&browser, "198.51.100.1", FIREFOX).await;
        let work = work.cookie_of(crate::support::browser::DEVICE).expect("a device");
        let before = notices(&probe).await;
        assert_eq!(before, (2, 0));
        probe.clock.advance(31 * DAY);
        let token = crate::verification::token_of(&link(&probe, &browser).await);
        let mut owner = browser.stranger();
        owner.device = Some(home);
        let body = json!({ "token": token, "password": NEW });
        assert_eq!(owner.post("/auth/password/reset", body).await.status, 204);
        for _ in 0..3 {
            assert_eq!(owner.login("alice", NEW).await.status, 200);
        }
        assert_eq!(notices(&probe).await, before, "the device that did it");
        let mut other = browser.stranger();
        other.device = Some(work);
        for _ in 0..3 {
            assert_eq!(other.login("alice", NEW).await.status, 200);
        }
        assert_eq!(notices(&probe).await, (3, 0), "one elsewhere");
        probe.clock.advance(2 * DAY);
        assert_eq!(notices(&probe).await, (3, 0), "and no digest");
    }

    async fn the_first_password_sign_in_after_another_way_in_is_told(probe: Probe) {
        let address = crate::support::probe::serve(crate::support::probe::app(&probe.auth)).await;
        let browser = Browser::new(address);
        for way in ["registered", "reset", "forced", "started"] {
            let email = format!("{way}@example.com");
            let mut owner = browser.stranger();
            let mut password = PASSWORD;
            let told = async || {
                let sent = probe.mail().await;
                let ours = sent.iter().filter(|mail| mail.to.as_str() == email);
                ours.filter(|mail| mail.kind == MessageKind::NewDevice).count()
            };
            let events = probe.number(EVENTS).await;
            if way == "registered" {
                let body = json!({ "username": way, "email": email, "password": PASSWORD });
                assert_eq!(owner.post("/auth/register", body).await.status, 201);
            } else {
                let account = probe.register_with_email(way, &email).await;
                match way {
                    "reset" => {
                        let body = json!({ "login": way });
                        let answer = owner.post("/auth/password/forgot", body).await;
                        assert_eq!(answer.status, 202);
                        let sent = probe.mail().await;
                        let link = sent.iter().rfind(|mail| mail.kind == MessageKind::PasswordReset);
                        let token = crate::verification::token_of(link.expect("a link"));
                        let body = json!({ "token": token, "password": NEW });
                        assert_eq!(owner.post("/auth/password/reset", body).await.status, 204);
                        password = NEW;
                    }
                    "forced" => {
                        let accounts = probe.auth.accounts();
                        accounts.require_password_change(account.id()).await.expect("it is set");
                        assert_eq!(owner.login(way, PASSWORD).await.status, 200);
                        let body = json!({ "new_password": NEW });
                        assert_eq!(owner.put("/auth/password", body).await.status, 200);
                        password = NEW;
                    }
                    _ => drop(probe.signed_in_as(&account).await),
                }
            }
            assert_eq!((probe.number(EVENTS).await - events, told().await), (0, 0), "{way}");
            if way != "started" {
                assert_eq!(owner.login(way, password).await.status, 200);
                assert_eq!((probe.number(EVENTS).await - events, told().await), (0, 0), "{way}");
            }
            let mut thief = browser.stranger();
            assert_eq!(thief.login(way, password).await.status, 200);
            assert_eq!((probe.number(EVENTS).await - events, told().await), (1, 1), "{way}");
        }
    }

    async fn who_finishes_a_sign_in_by_a_new_password_is_told_of_like_any_other(probe: Probe) {
        let (probe, browser) = alice(probe).await;
        let account = probe.auth.accounts().find_by_login("alice").await.expect("it answers");
        let id = account.expect("an account").id();
        probe.auth.accounts().require_password_change(id).await.expect("it is set");
        let thief = sign_in(&browser, "203.0.113.9", FIREFOX).await;
        assert_eq!(thief.json()["result"], "password_change_required");
        assert_eq!((probe.number(EVENTS).await, notices(&probe).await), (0, (0, 0)), "not yet in");
        let cookie = thief.cookie().expect("a cookie");
        let request = browser
            .with_cookie(&cookie)
            .request(Method::PUT, "/auth/password")
            .header("x-forwarded-for", "203.0.113.9")
            .header("user-agent", FIREFOX)
            .json(&json!({ "new_password": NEW }));
        let answer = send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!((probe.number(EVENTS).await, notices(&probe).await), (1, (1, 0)));
        // A change of the password in a full session is not a sign-in, so there is no second
        // notice.
        let mut thief = browser.with_cookie(&answer.cookie().expect("a cookie"));
        let body = json!({ "new_password": "a third horse battery staple" });
        assert_eq!(thief.put("/auth/password", body).await.status, 200);
        assert_eq!((probe.number(EVENTS).await, notices(&probe).await), (1, (1, 0)));
    }
}
