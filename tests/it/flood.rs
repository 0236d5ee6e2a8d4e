//! Floods: what one source takes from others when it asks as often as it can, and what it leaves
//! behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use portcullis::{PeerAddr, Portcullis};
use serde_json::{Value, json};

use crate::on_every_database;
use crate::support::browser::COOKIE;
use crate::support::call::{Called, call, request};
use crate::support::probe::app;
use crate::support::{PASSWORD, Probe};

/// A request with a body in JSON from this address, or from nowhere that is known.
fn sent(from: Option<&str>, method: &str, path: &str, body: &Value) -> Request<Body> {
    let request = request(method, path).header("content-type", "application/json");
    let request = match from {
        Some(address) => request.extension(PeerAddr(address.parse().expect("an address"))),
        None => request,
    };
    request.body(Body::from(body.to_string())).expect("a request")
}

/// The same with a session.
fn signed(from: &str, method: &str, path: &str, token: &str, body: &Value) -> Request<Body> {
    let mut request = sent(Some(from), method, path, body);
    let cookie = format!("{COOKIE}={token}").parse().expect("a header");
    request.headers_mut().insert("cookie", cookie);
    request
}

fn token(answer: &Called) -> String {
    let start = format!("{COOKIE}=");
    let lines = answer.headers.get_all("set-cookie").iter();
    let mut values = lines.filter_map(|line| line.to_str().ok()?.strip_prefix(&start));
    values.next().expect("a session").split(';').next().unwrap_or_default().to_owned()
}

/// Signs in from one address over many connections, again and again until it is told to stop.
struct Storm {
    over: Arc<AtomicBool>,
    sent_away: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Storm {
    fn start(app: &Router, address: &'static str, connections: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let sent_away = Arc::new(AtomicUsize::new(0));
        let tasks = (0..connections)
            .map(|at| {
                let (app, over, sent_away) =
                    (app.clone(), Arc::clone(&over), Arc::clone(&sent_away));
                tokio::spawn(async move {
                    let body = json!({ "login": format!("nobody{at}"), "password": "wrong" });
                    while !over.load(Ordering::SeqCst) {
                        let answer =
                            call(&app, sent(Some(address), "POST", "/auth/login", &body)).await;
                        match answer.status {
                            401 => {}
                            503 => {
                                assert_eq!(answer.code(), "overloaded");
                                assert!(answer.headers.contains_key("retry-after"));
                                sent_away.fetch_add(1, Ordering::SeqCst);
                            }
                            other => panic!("{other}: {}", answer.text),
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        Self { over, sent_away, tasks }
    }

    /// Until the source has had its share for the first time.
    async fn is_full(&self) {
        while self.sent_away.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) {
        self.over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("no task panics");
        }
    }
}

/// Hashes that take long enough for callers to meet, one at a time.
fn slow(probe: &Probe, queue: usize, wait: Duration) -> Portcullis {
    probe.rebuilt(|builder| {
        builder.configure(|config| {
            config.password.memory_kib = 19 * 1024;
            config.password.iterations = 4;
            config.password.concurrent_hashes = Some(1);
            config.password.hash_queue = queue;
            config.password.hash_wait = wait;
            config.rate.per_source = None;
            config.rate.per_principal = None;
            config.attempts.source_limit = None;
            config.attempts.limit = 100;
            config.attempts.first_delay = Duration::ZERO;
        })
    })
}

on_every_database! {
    async fn a_login_storm_from_one_source_sends_nobody_else_away(probe: Probe) {
        let app = app(&slow(&probe, 16, Duration::from_secs(60)));
        let storm = Storm::start(&app, "192.0.2.1", 24);
        storm.is_full().await;
        let honest = "198.51.100.1";
        let body = json!({ "username": "alice", "password": PASSWORD });
        let answer = call(&app, sent(Some(honest), "POST", "/auth/register", &body)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let body = json!({ "login": "alice", "password": PASSWORD });
        let answer = call(&app, sent(Some(honest), "POST", "/auth/login", &body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let first = token(&answer);
        let body = json!({ "password": PASSWORD });
        let answer = call(&app, signed(honest, "POST", "/auth/reauthenticate", &first, &body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let new = "another horse battery staple";
        let body = json!({ "current_password": PASSWORD, "new_password": new });
        let answer = call(&app, signed(honest, "PUT", "/auth/password", &token(&answer), &body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        storm.stop().await;
    }

    async fn a_login_that_waits_for_too_long_is_told_to_come_back(probe: Probe) {
        let app = app(&slow(&probe, 512, Duration::from_millis(1)));
        let logins: Vec<_> = (0..12)
            .map(|at| {
                let app = app.clone();
                let body = json!({ "login": format!("nobody{at}"), "password": "wrong" });
                tokio::spawn(async move { call(&app, sent(None, "POST", "/auth/login", &body)).await })
            })
            .collect();
        let (mut judged, mut sent_away) = (0, 0);
        for login in logins {
            let answer = login.await.expect("no task panics");
            match answer.status {
                401 => judged += 1,
                503 => {
                    assert_eq!(answer.code(), "overloaded");
                    assert!(answer.headers.contains_key("retry-after"));
                    sent_away += 1;
                }
                other => panic!("{other}: {}", answer.text),
            }
        }
        assert!(judged >= 1 && sent_away >= 1, "{judged} judged, {sent_away} sent away");
    }
}
