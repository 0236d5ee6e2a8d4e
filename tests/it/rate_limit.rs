//! Rate limits per source and per principal, in each store. Exactly as many requests succeed as
//! allowed, also if they are simultaneous. If a store is down, the limits do not disappear.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use portcullis::base::clock::Timestamp;
use portcullis::base::rate::{RateKey, RateVerdict};
use portcullis::config::RateStore;
use portcullis::port::{HookFuture, RateLimiter};
use portcullis::rate_limit::{Quota, RedisRateLimiter};
use portcullis::{Builder, PeerAddr, Portcullis};
use portcullis_test_needs::needs;
use reqwest::Method;
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::outage::{Mode, Wire};
use crate::support::browser::{Answer, send};
use crate::support::call::{Called, call, request};
use crate::support::database::connect;
use crate::support::fault::without_events;
use crate::support::log::Log;
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe, needed};

const MINUTE: Duration = Duration::from_secs(60);

fn limited(probe: &Probe, source: Option<u32>, principal: Option<u32>) -> Portcullis {
    probe.rebuilt(|builder| {
        builder.configure(|config| {
            config.rate.per_source = source.map(Quota::per_minute);
            config.rate.per_principal = principal.map(Quota::per_minute);
        })
    })
}

/// Builds a request from this address.
fn from(address: &str, method: &str, path: &str) -> Request<Body> {
    let address: IpAddr = address.parse().expect("an address");
    request(method, path).extension(PeerAddr(address)).body(Body::empty()).expect("a request")
}

async fn ask(app: &Router, address: &str) -> u16 {
    call(app, from(address, "GET", "/auth/methods")).await.status
}

/// Returns how many requests succeed, one after another.
async fn admitted(app: &Router, address: &str, tries: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..tries {
        match ask(app, address).await {
            200 => admitted += 1,
            status => assert_eq!(status, 429),
        }
    }
    admitted
}

fn check_refusal(answer: &Called, rule: &str, count: u32, wait: u32) {
    assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"), "{}", answer.text);
    let header = |name: &str| answer.headers[name].to_str().expect("ASCII").to_owned();
    assert_eq!(header("retry-after"), wait.to_string());
    assert_eq!(header("ratelimit-policy"), format!("\"{rule}\";q={count};w=60"));
    assert_eq!(header("ratelimit"), format!("\"{rule}\";r=0;t={wait}"));
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("content-type"), "application/problem+json");
    assert!(!answer.headers.contains_key("set-cookie"));
}

/// Sends a hundred requests to `/auth/methods` at once, to these nodes in turn. Returns how many
/// succeeded.
async fn a_hundred_at_once(nodes: &[Portcullis]) -> usize {
    let mut browsers = Vec::new();
    for node in nodes {
        browsers.push(Browser::new(serve(app(node)).await));
    }
    let barrier = Arc::new(Barrier::new(100));
    let mut tasks = JoinSet::new();
    for number in 0..100 {
        let request = browsers[number % nodes.len()].request(Method::GET, "/auth/methods");
        let barrier = Arc::clone(&barrier);
        tasks.spawn(async move {
            barrier.wait().await;
            send(request).await
        });
    }
    let answers: Vec<Answer> = tasks.join_all().await;
    for answer in &answers {
        assert!([200, 429].contains(&answer.status), "{}: {}", answer.status, answer.text);
    }
    answers.iter().filter(|answer| answer.status == 200).count()
}

/// Returns a limiter with keys that no other test uses.
fn redis_limiter(url: &str, name: &str) -> RedisRateLimiter {
    let prefix = format!("portcullis:test:{}:{name}:", std::process::id());
    RedisRateLimiter::new(url).expect("a URL").prefix(prefix)
}

/// How a store of the application can fail.
#[derive(Clone, Copy)]
enum Broken {
    Fails,
    Hangs,
}

#[derive(Clone)]
struct Own {
    broken: Broken,
    asked: Arc<AtomicUsize>,
}

impl RateLimiter for Own {
    fn admit<'a>(&'a self, _: &'a RateKey, _: Quota, _: Timestamp) -> HookFuture<'a, RateVerdict> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let broken = self.broken;
        Box::pin(async move {
            match broken {
                Broken::Fails => Err("no such host".into()),
                Broken::Hangs => std::future::pending().await,
            }
        })
    }
}

fn fast(builder: Builder, per_source: u32) -> Builder {
    builder.configure(|config| {
        config.rate.per_source = Some(Quota::per_minute(per_source));
        config.rate.timeout = Duration::from_secs(5);
    })
}

on_every_database! {
    async fn a_source_is_limited_on_every_mounted_route_before_its_body_is_read(probe: Probe) {
        let auth = limited(&probe, Some(5), None);
        let app = app(&auth);
        assert_eq!(admitted(&app, "192.0.2.1", 7).await, 5);
        let (_, statements) = probe.statements(async {
            for (method, path) in [
                ("GET", "/auth/methods"),
                ("POST", "/auth/login"),
                ("POST", "/auth/logout"),
                ("POST", "/auth/reauthenticate"),
                ("GET", "/auth/session"),
                ("POST", "/auth/session/refresh"),
                ("GET", "/auth/sessions"),
                ("DELETE", "/auth/sessions"),
                ("POST", "/auth/register"),
                ("PUT", "/auth/password"),
                ("POST", "/auth/session/anonymous"),
            ] {
                check_refusal(&call(&app, from("192.0.2.1", method, path)).await, "source", 5, 12);
            }
            // A body that would be refused is not even checked.
            let huge = request("POST", "/auth/login")
                .extension(PeerAddr("192.0.2.1".parse().expect("an address")))
                .header("content-length", "10000000")
                .body(Body::from("x"))
                .expect("a request");
            check_refusal(&call(&app, huge).await, "source", 5, 12);
        })
        .await;
        assert!(statements <= 1, "nothing but the event: {statements}");
        // The other source still has its full limit. The routes of the application are not limited.
        assert_eq!(admitted(&app, "192.0.2.2", 7).await, 5);
        assert_eq!(call(&app, from("192.0.2.1", "GET", "/public")).await.status, 200);
        // The limit recovers evenly, not all at once.
        probe.clock.advance(Duration::from_secs(11));
        assert_eq!(admitted(&app, "192.0.2.1", 3).await, 0);
        probe.clock.advance(Duration::from_secs(1));
        assert_eq!(admitted(&app, "192.0.2.1", 3).await, 1);
        probe.clock.advance(MINUTE);
        assert_eq!(admitted(&app, "192.0.2.1", 9).await, 5);
    }

    async fn there_is_no_edge_of_a_window_to_double_the_allowance_at(probe: Probe) {
        let app = app(&limited(&probe, Some(10), None));
        // This holds at any second of a minute.
        for _ in 0..12 {
            assert_eq!(admitted(&app, "192.0.2.1", 20).await, 10);
            probe.clock.advance(Duration::from_secs(1));
            assert_eq!(admitted(&app, "192.0.2.1", 20).await, 0);
            probe.clock.advance(MINUTE + Duration::from_secs(4));
        }
    }

    async fn a_source_is_an_ipv6_site_and_headers_that_anyone_can_send_change_nothing(probe: Probe) {
        let app = app(&limited(&probe, Some(4), None));
        for address in ["2001:db8:1:2::1", "2001:db8:1:2:ffff::1", "2001:db8:1:2::3", "2001:db8:1:2:9::"] {
            assert_eq!(ask(&app, address).await, 200);
        }
        assert_eq!(ask(&app, "2001:db8:1:2:7::7").await, 429);
        assert_eq!(ask(&app, "2001:db8:1:3::1").await, 200);
        assert_eq!(admitted(&app, "192.0.2.1", 4).await, 4);
        for header in ["x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip"] {
            let mut forged = from("::ffff:192.0.2.1", "GET", "/auth/methods");
            forged.headers_mut().insert(header, "203.0.113.9".parse().expect("a value"));
            assert_eq!(call(&app, forged).await.status, 429, "{header}");
        }
    }

    async fn an_account_is_limited_over_all_its_sessions_and_can_still_sign_out(probe: Probe) {
        let auth = limited(&probe, None, Some(6));
        let address = serve(app(&auth)).await;
        let (_, first) = probe.signed_in("alice").await;
        let (_, other) = probe.signed_in("bob").await;
        let (mut first, mut other) = (first.at(address), other.at(address));
        let mut second = first.stranger();
        assert_eq!(second.login("alice", PASSWORD).await.status, 200);
        for number in 0..3 {
            assert_eq!(first.get("/auth/session").await.status, 200, "{number}");
            assert_eq!(second.get("/auth/sessions").await.status, 200, "{number}");
        }
        for browser in [&mut first, &mut second] {
            for path in ["/auth/session", "/auth/sessions"] {
                let answer = browser.get(path).await;
                assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"));
                assert_eq!(answer.headers["ratelimit-policy"], "\"account\";q=6;w=60");
                assert_eq!(answer.headers["retry-after"], "10");
            }
            let again = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
            assert_eq!(again.status, 429);
            // Routes of the application are not limited here.
            assert_eq!(browser.get("/me").await.status, 200);
        }
        assert_eq!(other.get("/auth/session").await.status, 200);
        assert_eq!(first.post_empty("/auth/logout").await.status, 204);
        probe.clock.advance(Duration::from_secs(10));
        assert_eq!(second.get("/auth/session").await.status, 200);
        assert_eq!(second.get("/auth/session").await.status, 429);
    }

    async fn refreshing_a_session_counts_for_its_account(probe: Probe) {
        let auth = limited(&probe, None, Some(3));
        let (_, browser) = probe.signed_in("alice").await;
        let (_, other) = probe.signed_in("bob").await;
        let address = serve(app(&auth)).await;
        let (mut browser, mut other) = (browser.at(address), other.at(address));
        let refresh = "/auth/session/refresh";
        for number in 0..3 {
            assert_eq!(browser.post_empty(refresh).await.status, 200, "{number}");
        }
        let rotations = "SELECT COUNT(*) FROM auth_session WHERE generation > 0";
        let before = probe.number(rotations).await;
        probe.clock.advance(Duration::from_secs(19));
        for _ in 0..2 {
            let answer = browser.post_empty(refresh).await;
            assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"));
            assert!(answer.set_cookies().is_empty());
        }
        assert_eq!(browser.get("/auth/session").await.status, 429, "one count for all");
        assert_eq!(probe.number(rotations).await, before, "nothing was done for it");
        assert_eq!(other.post_empty(refresh).await.status, 200);
        probe.clock.advance(Duration::from_secs(100));
        assert_eq!(browser.post_empty(refresh).await.status, 200);
        assert_eq!(probe.number(rotations).await, before + 1);
    }

    async fn logins_are_limited_per_name_and_nothing_is_hashed_above_it(probe: Probe) {
        let auth = limited(&probe, None, Some(3));
        let browser = Browser::new(serve(app(&auth)).await);
        probe.register("alice").await;
        for name in ["alice", "nobody"] {
            let mut before = 0;
            for number in 0..5 {
                // In any spelling.
                let spelt = if number % 2 == 0 { name.to_owned() } else { name.to_uppercase() };
                let answer = browser.stranger().login(&spelt, "a wrong password").await;
                if number < 3 {
                    assert_eq!(answer.status, 401);
                    before = auth.password_hashes();
                    continue;
                }
                assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"));
                assert_eq!(answer.headers["ratelimit-policy"], "\"login\";q=3;w=60");
                assert_eq!(answer.headers["retry-after"], "20");
                assert_eq!(auth.password_hashes(), before, "nothing is hashed");
            }
        }
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 429);
        probe.register("bob").await;
        assert_eq!(browser.stranger().login("bob", PASSWORD).await.status, 200);
        probe.clock.advance(Duration::from_secs(20));
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
    }

    async fn an_account_can_have_a_limit_of_its_own(probe: Probe) {
        let auth = limited(&probe, None, Some(2));
        let address = serve(app(&auth)).await;
        let (alice, browser) = probe.signed_in("alice").await;
        let mut browser = browser.at(address);
        let mut admitted = async |tries: usize| {
            let mut admitted = 0;
            for _ in 0..tries {
                admitted += usize::from(browser.get("/auth/session").await.status == 200);
            }
            admitted
        };
        let set = async |count: Option<u32>| {
            probe.auth.accounts().set_rate_limit(alice.id(), count).await.expect("it is set");
        };
        assert_eq!(admitted(4).await, 2);
        probe.clock.advance(MINUTE);
        set(Some(7)).await;
        assert_eq!(admitted(9).await, 7, "with its next request, on every node");
        probe.clock.advance(MINUTE);
        set(Some(1)).await;
        assert_eq!(admitted(3).await, 1);
        probe.clock.advance(MINUTE);
        set(None).await;
        assert_eq!(admitted(4).await, 2);
        let nobody = "018f0000-0000-7000-8000-000000000000".parse().expect("an id");
        assert!(probe.auth.accounts().set_rate_limit(nobody, Some(1)).await.is_err());
    }

    async fn each_rule_can_be_off_and_without_an_address_the_account_still_counts(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let off = app(&limited(&probe, None, None));
        assert_eq!(admitted(&off, "192.0.2.1", 50).await, 50);
        let app = app(&limited(&probe, Some(2), Some(3)));
        let nowhere = |path: &str| {
            let cookie = format!("__Host-session={}", browser.cookie.clone().expect("a cookie"));
            request("GET", path).header("cookie", cookie).body(Body::empty()).expect("a request")
        };
        for _ in 0..10 {
            assert_eq!(call(&app, nowhere("/auth/methods")).await.status, 200);
        }
        for number in 0..5 {
            let answer = call(&app, nowhere("/auth/session")).await;
            assert_eq!(answer.status, if number < 3 { 200 } else { 429 }, "{number}");
        }
    }

    async fn of_a_hundred_at_once_exactly_as_many_as_allowed_are_let_in(probe: Probe) {
        assert_eq!(a_hundred_at_once(&[limited(&probe, Some(30), None)]).await, 30);
    }

    async fn two_nodes_that_count_in_the_database_count_together(probe: Probe) {
        let node = |count| {
            probe.rebuilt(|builder| {
                fast(builder, count).configure(|config| config.rate.store = RateStore::Database)
            })
        };
        assert_eq!(a_hundred_at_once(&[node(30), node(30)]).await, 30);
        probe.clock.advance(Duration::from_secs(3));
        let answer = call(&app(&node(30)), from("127.0.0.1", "GET", "/auth/methods")).await;
        assert_eq!(answer.status, 200, "one more has come back");
        check_refusal(&call(&app(&node(30)), from("127.0.0.1", "GET", "/auth/methods")).await, "source", 30, 1);
        // One row per source, one statement per request, and one more per refusal.
        let app = app(&node(30));
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_rate").await, 1);
        let mut costs = Vec::new();
        for _ in 0..10 {
            probe.clock.advance(MINUTE);
            let (status, statements) = probe.statements(ask(&app, "127.0.0.1")).await;
            assert_eq!(status, 200);
            costs.push(statements);
        }
        // An event of an earlier refusal may still be in progress.
        assert_eq!(costs.iter().min(), Some(&1), "{costs:?}");
        assert_eq!(admitted(&app, "127.0.0.1", 40).await, 29);
        // Only rows that are no longer needed can be deleted.
        assert_eq!(ask(&app, "192.0.2.1").await, 200);
        assert_eq!(probe.auth.rate_limits().purge().await.expect("it answers"), 0);
        probe.clock.advance(Duration::from_secs(5));
        assert_eq!(probe.auth.rate_limits().purge().await.expect("it answers"), 1);
        probe.clock.advance(MINUTE);
        assert_eq!(probe.auth.rate_limits().purge().await.expect("it answers"), 1);
        assert_eq!(admitted(&app, "127.0.0.1", 40).await, 30);
    }

    async fn a_row_from_a_clock_that_was_ahead_locks_nobody_out(probe: Probe) {
        let node = probe.rebuilt(|builder| {
            fast(builder, 10).configure(|config| config.rate.store = RateStore::Database)
        });
        let app = app(&node);
        assert_eq!(ask(&app, "192.0.2.1").await, 200);
        probe.execute("UPDATE auth_rate SET spent_us = spent_us + 86400000000").await;
        assert_eq!(ask(&app, "192.0.2.1").await, 429);
        probe.clock.advance(MINUTE);
        assert_eq!(admitted(&app, "192.0.2.1", 12).await, 10);
    }
}

on_every_database! {
    needs("PORTCULLIS_TEST_REDIS_URL");

    async fn two_nodes_that_count_in_redis_count_together(probe: Probe) {
        let url = needed("PORTCULLIS_TEST_REDIS_URL");
        let name = format!("together-{:?}-{:?}", probe.database.backend, std::thread::current().id());
        let node = || probe.rebuilt(|builder| fast(builder, 30).rate_limiter(redis_limiter(&url, &name)));
        assert_eq!(a_hundred_at_once(&[node(), node()]).await, 30);
        let app = app(&node());
        check_refusal(&call(&app, from("127.0.0.1", "GET", "/auth/methods")).await, "source", 30, 2);
        probe.clock.advance(Duration::from_secs(2));
        assert_eq!(admitted(&app, "127.0.0.1", 3).await, 1);
        assert_eq!(admitted(&app, "192.0.2.1", 31).await, 30);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_rate").await, 0);
    }

    async fn redis_down_or_silent_makes_the_limit_stricter_until_it_is_back(probe: Probe) {
        let url = needed("PORTCULLIS_TEST_REDIS_URL");
        let host = url.trim_start_matches("redis://").split('/').next().expect("a host").to_owned();
        for mode in [Mode::Down, Mode::Stalled] {
            let wire = Wire::to(host.clone()).await;
            let name = format!("down-{mode:?}-{:?}-{:?}", probe.database.backend, std::thread::current().id());
            let limiter = redis_limiter(&format!("redis://{}", wire.address), &name);
            let node = probe.rebuilt(|builder| {
                fast(builder, 40).rate_limiter(limiter).configure(|config| {
                    config.rate.timeout = Duration::from_millis(500);
                })
            });
            let app = app(&node);
            assert_eq!(admitted(&app, "192.0.2.1", 4).await, 4);
            wire.set(mode);
            // The node now counts a quarter itself. It does not ask the server again within the
            // same second.
            assert_eq!(admitted(&app, "192.0.2.1", 30).await, 10, "{mode:?}");
            wire.set(Mode::Open);
            probe.clock.advance(Duration::from_secs(2));
            let mut back = 0;
            for _ in 0..20 {
                back = admitted(&app, "192.0.2.1", 50).await;
                if back > 2 {
                    break;
                }
                // A broken connection is noticed only when it is used.
                probe.clock.advance(Duration::from_secs(2));
            }
            assert!((30..=40).contains(&back), "{mode:?}: {back}");
        }
    }
}

on_every_database! {
    async fn a_store_that_was_never_there_is_a_strict_local_limit(probe: Probe) {
        let limiter = RedisRateLimiter::new("redis://127.0.0.1:1").expect("a URL");
        let node = probe.rebuilt(|builder| fast(builder, 8).rate_limiter(limiter));
        assert_eq!(admitted(&app(&node), "192.0.2.1", 9).await, 2);
        assert!(RedisRateLimiter::new("http://127.0.0.1").is_err());
    }

    async fn a_store_of_the_application_that_fails_or_hangs_is_left_alone_for_a_second(probe: Probe) {
        for broken in [Broken::Fails, Broken::Hangs] {
            let own = Own { broken, asked: Arc::default() };
            let asked = || own.asked.load(Ordering::SeqCst);
            let node = probe.rebuilt(|builder| {
                builder.rate_limiter(own.clone()).configure(|config| {
                    config.rate.per_source = Some(Quota::per_minute(2));
                    config.rate.timeout = Duration::from_millis(20);
                })
            });
            let app = app(&node);
            // A quarter of two is rounded up to one, so nobody is locked out completely.
            assert_eq!(admitted(&app, "192.0.2.1", 10).await, 1);
            assert_eq!(asked(), 1);
            probe.clock.advance(Duration::from_secs(1));
            assert_eq!(admitted(&app, "192.0.2.2", 10).await, 1);
            assert_eq!(asked(), 2);
        }
    }

    async fn the_first_refusal_of_a_minute_is_an_event_and_the_others_are_not(probe: Probe) {
        let (alice, browser) = probe.signed_in("alice").await;
        let node = limited(&probe, Some(3), Some(2));
        let app = app(&node);
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'excess_rate_limit_exceeded'";
        let written = async |expected: i64| {
            node.drain().await;
            assert_eq!(probe.number(events).await, expected);
        };
        assert_eq!(admitted(&app, "192.0.2.1", 30).await, 3);
        written(1).await;
        assert_eq!(admitted(&app, "192.0.2.2", 30).await, 3);
        written(2).await;
        let mut browser = browser.at(serve(app.clone()).await);
        for _ in 0..3 {
            browser.get("/auth/session").await;
        }
        written(3).await;
        probe.clock.advance(Duration::from_secs(80));
        assert_eq!(admitted(&app, "192.0.2.1", 30).await, 3);
        written(4).await;
        let address = format!("{events} AND address = '192.0.2.1' AND detail = 'source'");
        assert_eq!(probe.number(&address).await, 2);
        let told = probe.auth.audit_log().of_account(alice.id(), 50).await.expect("it answers");
        let told = told.iter().find(|event| event.kind == "excess_rate_limit_exceeded");
        let told = told.expect("it names the account");
        assert_eq!((told.succeeded, told.detail.as_deref()), (false, Some("account")));
        // A flood of sources does not fill the table.
        for number in 0..300 {
            let address = format!("198.51.{}.{}", number / 250, number % 250 + 1);
            assert_eq!(admitted(&app, &address, 4).await, 3);
        }
        node.drain().await;
        assert!(probe.number(events).await <= 4 + 100);
    }

    async fn a_refusal_that_cannot_be_written_is_traced_all_the_same(probe: Probe) {
        let node = limited(&probe, Some(1), None);
        let app = app(&node);
        let (log, _listening) = Log::start();
        without_events(&probe, "excess_rate_limit_exceeded", async {
            assert_eq!(admitted(&app, "192.0.2.1", 5).await, 1);
            node.drain().await;
        })
        .await;
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'excess_rate_limit_exceeded'";
        assert_eq!(probe.number(events).await, 0);
        assert!(log.text().contains("an event could not be written"), "{}", log.text());
        let traced = log.events();
        let traced: Vec<_> =
            traced.iter().filter(|line| line.contains("excess_rate_limit_exceeded")).collect();
        assert_eq!(traced.len(), 1, "{}", log.text());
        assert!(traced[0].contains("192.0.2.1"), "{traced:?}");
    }

    async fn an_application_limits_what_it_likes(probe: Probe) {
        let limits = probe.auth.rate_limits();
        let quota = Quota::new(2, Duration::from_secs(10));
        for (subject, expected) in [("a", true), ("a", true), ("a", false), ("b", true)] {
            assert_eq!(limits.admit("export", subject, quota).await.is_ok(), expected, "{subject}");
        }
        assert!(limits.admit("import", "a", quota).await.is_ok(), "another rule");
        let refused = limits.admit("export", "a", quota).await.expect_err("above the limit");
        assert_eq!((refused.rule, refused.retry_after), ("export", Duration::from_secs(5)));
    }
}

/// Databases that are reached through a wire.
async fn a_database_that_is_cut_off(probe: Probe) {
    let url = &probe.database.url;
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (authority, name) = rest.split_once('/').expect("a database");
    let (user, host) = authority.rsplit_once('@').expect("a user");
    let port = if probe.database.backend == Backend::Postgres { 5432 } else { 3306 };
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") };
    let wire = Wire::to(host).await;
    let db = connect(&format!("{scheme}://{user}@{}/{name}", wire.address)).await;
    let node = Portcullis::builder(db)
        .clock(probe.clock.clone())
        .secret(probe.secret.clone())
        .configure(|config| {
            config.rate.per_source = Some(Quota::per_minute(40));
            config.rate.timeout = Duration::from_millis(500);
            config.rate.store = RateStore::Database;
        })
        .build()
        .expect("the configuration is right");
    let app = app(&node);
    assert_eq!(admitted(&app, "192.0.2.1", 4).await, 4);
    wire.set(Mode::Down);
    assert_eq!(admitted(&app, "192.0.2.1", 30).await, 10);
    wire.set(Mode::Open);
    let mut back = 0;
    for _ in 0..20 {
        probe.clock.advance(Duration::from_secs(2));
        back = admitted(&app, "192.0.2.1", 50).await;
        if back > 2 {
            break;
        }
    }
    assert!((30..=40).contains(&back), "{back}");
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_cut_off_makes_the_limit_stricter_on_postgres() {
    crate::support::probe::run(Backend::Postgres, a_database_that_is_cut_off).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_cut_off_makes_the_limit_stricter_on_mysql() {
    crate::support::probe::run(Backend::MySql, a_database_that_is_cut_off).await;
}
