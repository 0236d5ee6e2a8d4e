//! Floods: what happens to other clients if one source sends as many requests as it can, and how
//! many rows that leaves.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use portcullis::config::{RateStore, Registration};
use portcullis::message::Sending;
use portcullis::rate_limit::Quota;
use portcullis::{Message, MessageKind, Notifier, PeerAddr, Portcullis};
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::COOKIE;
use crate::support::call::{Called, call, request};
use crate::support::log::Log;
use crate::support::probe::app;
use crate::support::{Backend, PASSWORD, Probe, until};

const MINUTE: Duration = Duration::from_secs(60);

/// Builds a JSON request from this address, or from an unknown address.
fn sent(from: Option<&str>, method: &str, path: &str, body: &Value) -> Request<Body> {
    let request = request(method, path).header("content-type", "application/json");
    let request = match from {
        Some(address) => request.extension(PeerAddr(address.parse().expect("an address"))),
        None => request,
    };
    request.body(Body::from(body.to_string())).expect("a request")
}

/// Builds the same request with a session.
fn signed(from: &str, method: &str, path: &str, token: &str, body: &Value) -> Request<Body> {
    let mut request = sent(Some(from), method, path, body);
    let cookie = format!("{COOKIE}={token}").parse().expect("a header");
    request.headers_mut().insert("cookie", cookie);
    request
}

/// Returns every cookie that an answer sets, in the form in which a browser sends them.
fn cookies(answer: &Called) -> String {
    let lines = answer.headers.get_all("set-cookie").iter();
    let pairs = lines.filter_map(|line| line.to_str().ok()?.split(';').next());
    pairs.collect::<Vec<_>>().join("; ")
}

async fn post(app: &Router, from: Option<&str>, path: &str, body: Value) -> Called {
    call(app, sent(from, "POST", path, &body)).await
}

/// Registers with a mail address.
async fn register(app: &Router, from: Option<&str>, email: &str) -> Called {
    post(app, from, "/auth/register", json!({ "email": email, "password": PASSWORD })).await
}

fn strict(probe: &Probe) -> Portcullis {
    probe.rebuilt(|builder| {
        builder.configure(|config| {
            config.login.registration = Registration::Strict;
            config.login.require_verified = true;
        })
    })
}

fn token_of(message: &Message) -> String {
    let (_, rest) = message.text.split_once("#token=").expect("a link");
    rest.split_whitespace().next().expect("a token").to_owned()
}

/// Marks the address of every account as verified.
async fn prove_all(probe: &Probe) {
    probe.execute("UPDATE auth_account SET version = version + 1, verified_at = 1").await;
    probe.execute("UPDATE auth_login_name SET verified_at = 1").await;
}

/// Returns the number of failed registrations in the audit log.
async fn probes_recorded(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_event WHERE kind = 'user_create_fail'").await
}

fn token(answer: &Called) -> String {
    let start = format!("{COOKIE}=");
    let lines = answer.headers.get_all("set-cookie").iter();
    let mut values = lines.filter_map(|line| line.to_str().ok()?.strip_prefix(&start));
    values.next().expect("a session").split(';').next().unwrap_or_default().to_owned()
}

/// Records the kinds of messages in the order in which they are sent.
#[derive(Debug, Clone, Default)]
struct Order(Arc<Mutex<Vec<MessageKind>>>);

impl Order {
    fn take(&self) -> Vec<MessageKind> {
        std::mem::take(&mut self.0.lock().expect("not poisoned"))
    }
}

impl Notifier for Order {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        self.0.lock().expect("not poisoned").push(message.kind);
        Box::pin(async { Ok(()) })
    }
}

/// Signs in from one address over many connections, until it is stopped.
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

    /// Waits until the first request of the source is refused with a 503.
    async fn is_full(&self) {
        until("one is sent away", async || self.sent_away.load(Ordering::SeqCst) > 0).await;
    }

    async fn stop(self) {
        self.over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("no task panics");
        }
    }
}

/// An instance whose hashes take long enough for callers to meet, and run one at a time.
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

    async fn visitors_without_a_known_address_are_limited_together(probe: Probe) {
        let app = app(&probe.auth);
        let start = "/auth/session/anonymous";
        let mut requests = JoinSet::new();
        for _ in 0..500 {
            let app = app.clone();
            requests.spawn(async move { post(&app, None, start, json!({})).await.status });
        }
        let statuses = requests.join_all().await;
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 100);
        assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 400);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, 100);
        // A source with a known address has its own limit.
        assert_eq!(post(&app, Some("192.0.2.1"), start, json!({})).await.status, 201);
        probe.clock.advance(MINUTE);
        assert_eq!(post(&app, None, start, json!({})).await.status, 201);
    }

    async fn requests_without_a_known_address_are_limited_together(probe: Probe) {
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.rate.per_source = Some(Quota::per_minute(2));
                config.rate.unknown_sources = 3;
            })
        });
        let app = app(&auth);
        for (from, most) in [(None, 6), (Some("192.0.2.1"), 2)] {
            for number in 0..most + 3 {
                let answer = call(&app, sent(from, "GET", "/auth/methods", &json!({}))).await;
                assert_eq!(answer.status, if number < most { 200 } else { 429 }, "{from:?} {number}");
            }
        }
    }

    async fn one_mailbox_gets_five_an_hour_in_all_spellings_and_from_all_sources(probe: Probe) {
        let app = app(&probe.auth);
        let spellings = |number: usize| match number % 4 {
            0 => format!("target+{number}@example.com"),
            1 => format!("Target+{number}@EXAMPLE.com"),
            2 => format!("target+a+{number}@example.com"),
            _ => format!("ｔａｒｇｅｔ+{number}@example.com"),
        };
        let mut accepted = 0;
        for number in 0..120usize {
            // Each request comes from another source.
            let from = format!("192.0.2.{}", number % 250);
            let answer = register(&app, Some(&from), &spellings(number)).await;
            accepted += usize::from(answer.status == 201);
            probe.clock.advance(Duration::from_secs(29));
        }
        assert!(accepted > 100, "{accepted}");
        let sent = probe.mail().await.len();
        assert_eq!(sent, 5, "in 58 minutes");
        // An address of another person is not one of these spellings.
        assert_eq!(register(&app, Some("192.0.2.1"), "target-2@example.com").await.status, 201);
        assert_eq!(probe.mail().await.len(), sent + 1);
    }

    async fn one_source_asks_for_a_hundred_messages_an_hour_and_leaves_no_more_than_that(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        prove_all(&probe).await;
        let app = app(&strict(&probe));
        let source = Some("192.0.2.1");
        for number in 0..100 {
            let answer = match number % 3 {
                0 => register(&app, source, &format!("u{number}@example.com")).await,
                1 => post(&app, source, "/auth/password/forgot", json!({ "login": format!("u{number}@example.com") })).await,
                _ => post(&app, source, "/auth/verification", json!({ "email": format!("u{number}@example.com") })).await,
            };
            assert_eq!(answer.status, 202, "{number}: {}", answer.text);
        }
        let count = async || {
            let mut rows = 0;
            for table in ["auth_account", "auth_outbox", "auth_challenge", "auth_event", "auth_attempt"] {
                rows += probe.number(&format!("SELECT COUNT(*) FROM {table}")).await;
            }
            rows
        };
        // The refusal itself writes one event.
        let refused = register(&app, source, "one@example.com").await;
        assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
        assert!(refused.headers.contains_key("retry-after"));
        let told = "SELECT COUNT(*) FROM auth_event WHERE kind = 'excess_rate_limit_exceeded'";
        until("it is told", async || probe.number(told).await > 0).await;
        let before = count().await;
        // For a known and an unknown address the answer is the same, and nothing is written.
        for email in ["alice@example.com", "nobody@example.com"] {
            let answers = [
                register(&app, source, email).await,
                post(&app, source, "/auth/password/forgot", json!({ "login": email })).await,
                post(&app, source, "/auth/verification", json!({ "email": email })).await,
            ];
            for answer in answers {
                assert_eq!((answer.status, &answer.text), (429, &refused.text), "{email}");
            }
        }
        assert_eq!(count().await, before);
        // Other sources are not limited, and this source can still sign in.
        assert_eq!(register(&app, Some("192.0.2.2"), "two@example.com").await.status, 202);
        let body = json!({ "login": "alice", "password": PASSWORD });
        assert_eq!(post(&app, source, "/auth/login", body).await.status, 200);
        probe.clock.advance(Duration::from_secs(60 * 60));
        assert_eq!(register(&app, source, "three@example.com").await.status, 202);
    }

    async fn a_reset_leaves_before_the_mails_of_a_flood_of_registrations(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        let order = Order::default();
        let auth = probe.rebuilt(|builder| builder.notifier(order.clone()));
        let app = app(&auth);
        for number in 0..60 {
            let from = format!("192.0.2.{number}");
            let answer = register(&app, Some(&from), &format!("u{number}@example.com")).await;
            assert_eq!(answer.status, 201, "{}", answer.text);
            probe.clock.advance(Duration::from_secs(1));
        }
        let body = json!({ "login": "alice" });
        assert_eq!(post(&app, None, "/auth/password/forgot", body.clone()).await.status, 202);
        auth.outbox().deliver_due().await.expect("the outbox is read");
        let sent = order.take();
        let at = sent.iter().position(|kind| *kind == MessageKind::PasswordReset);
        assert!(at.is_some_and(|at| at < 8), "{at:?}");
        assert_eq!(sent.len(), 61);
        // A message that has waited for an hour is not overtaken any more, so every message is sent
        // in the end.
        assert_eq!(register(&app, None, "last@example.com").await.status, 201);
        probe.clock.advance(Duration::from_secs(60 * 60 + 1));
        for number in 0..10 {
            let name = format!("bob{number}");
            probe.register_with_email(&name, &format!("{name}@example.com")).await;
            assert_eq!(post(&app, None, "/auth/password/forgot", json!({ "login": name })).await.status, 202);
        }
        auth.outbox().deliver_due().await.expect("the outbox is read");
        let at = order.take().iter().position(|kind| *kind == MessageKind::VerifyAddress);
        assert!(at.is_some_and(|at| at < 8), "{at:?}");
    }

    async fn a_stranger_who_uses_up_a_mailbox_keeps_its_owner_from_no_reset(probe: Probe) {
        probe.register_with_email("alice", "target@example.com").await;
        prove_all(&probe).await;
        let app = app(&probe.auth);
        let login = json!({ "login": "alice", "password": PASSWORD });
        let device = cookies(&post(&app, Some("198.51.100.1"), "/auth/login", login).await);
        // Accounts with other spellings that nobody has verified, and names without an account.
        for number in 0..10 {
            probe.register_with_email(&format!("m{number}"), &format!("target+{number}@example.com")).await;
            for login in [format!("m{number}"), format!("target+x{number}@example.com")] {
                let from = format!("192.0.2.{number}");
                let body = json!({ "login": login });
                assert_eq!(post(&app, Some(&from), "/auth/password/forgot", body).await.status, 202);
            }
            probe.clock.advance(MINUTE);
        }
        let others = probe.mail().await.len();
        assert!((1..=5).contains(&others), "{others}");
        // They have used nothing of the owner's limit.
        let body = json!({ "login": "target@example.com" });
        assert_eq!(post(&app, Some("203.0.113.1"), "/auth/password/forgot", body.clone()).await.status, 202);
        let sent = probe.mail().await;
        assert_eq!(sent.len(), others + 1);
        assert_eq!(sent[others].to.as_str(), "target@example.com");
        // A stranger sends requests with exactly the owner's name, until no more mail is sent.
        for number in 0..8 {
            probe.clock.advance(MINUTE);
            let from = format!("192.0.2.{}", 100 + number);
            assert_eq!(post(&app, Some(&from), "/auth/password/forgot", body.clone()).await.status, 202);
        }
        let sent = probe.mail().await;
        assert_eq!(sent.len(), others + 5);
        // On a device that the account knows, one more request is sent at once.
        let mut request = sent_from_device(&device, &body);
        request.extensions_mut().insert(PeerAddr("198.51.100.1".parse().expect("an address")));
        assert_eq!(call(&app, request).await.status, 202);
        let sent = probe.mail().await;
        assert_eq!(sent.len(), others + 6);
        // A person who reads the mailbox has a valid link, from any address.
        let newest = token_of(&sent[others + 5]);
        let body = json!({ "token": newest, "password": "another horse battery staple" });
        assert_eq!(post(&app, Some("203.0.113.2"), "/auth/password/reset", body).await.status, 204);
    }

    async fn a_name_that_is_found_taken_is_an_event_and_counts_for_its_source(probe: Probe) {
        let alice = probe.register_with_email("alice", "alice@example.com").await;
        let app = app(&probe.auth);
        let source = Some("192.0.2.1");
        let by_name = json!({ "username": "alice", "password": PASSWORD });
        let mut taken = 0;
        for number in 0..200 {
            let answer = match number % 2 {
                0 => register(&app, source, "alice@example.com").await,
                _ => post(&app, source, "/auth/register", by_name.clone()).await,
            };
            match answer.status {
                409 => taken += 1,
                429 => assert_eq!(answer.code(), "rate_limited"),
                other => panic!("{other}: {}", answer.text),
            }
        }
        assert_eq!(taken, 50);
        assert_eq!(probes_recorded(&probe).await, 50);
        let log = probe.auth.audit_log().of_account(alice.id(), 100).await.expect("the log");
        let told: Vec<_> = log.iter().filter(|event| event.kind == "user_create_fail").collect();
        assert_eq!(told.len(), 50);
        for reason in ["email_taken", "username_taken"] {
            let one = told.iter().find(|event| event.detail.as_deref() == Some(reason));
            let one = one.expect("each is told as what it is");
            assert_eq!((one.address.as_deref(), one.succeeded), (source, false));
        }
        // A free name is refused from there too, so the refusal reveals nothing.
        let answer = register(&app, source, "free@example.com").await;
        assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"));
        // Signing in works as usual, and so does everything from other sources.
        let login = json!({ "login": "alice", "password": PASSWORD });
        assert_eq!(post(&app, source, "/auth/login", login).await.status, 200);
        assert_eq!(register(&app, Some("192.0.2.2"), "free@example.com").await.status, 201);
        probe.clock.advance(Duration::from_secs(60 * 60));
        assert_eq!(register(&app, source, "other@example.com").await.status, 201);
    }

    async fn many_at_once_find_no_more_names_taken_than_one_after_the_other(probe: Probe) {
        probe.register("alice").await;
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| config.rate.taken_names = Some(Quota::per_minute(5)))
        });
        let app = app(&auth);
        let mut requests = JoinSet::new();
        for _ in 0..40 {
            let app = app.clone();
            let body = json!({ "username": "alice", "password": PASSWORD });
            requests.spawn(async move { post(&app, Some("192.0.2.1"), "/auth/register", body).await.status });
        }
        let statuses = requests.join_all().await;
        assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 5, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 35);
        assert_eq!(probes_recorded(&probe).await, 5);
    }

    async fn nodes_that_share_a_store_count_names_that_are_taken_together(probe: Probe) {
        probe.register("alice").await;
        let node = || {
            let auth = probe.rebuilt(|builder| {
                builder.configure(|config| {
                    config.rate.taken_names = Some(Quota::per_minute(5));
                    config.rate.store = RateStore::Database;
                    config.rate.timeout = Duration::from_secs(20);
                })
            });
            app(&auth)
        };
        let nodes = [node(), node()];
        let mut taken = 0;
        for number in 0..40 {
            let body = json!({ "username": "alice", "password": PASSWORD });
            let answer = post(&nodes[number % 2], Some("192.0.2.1"), "/auth/register", body).await;
            taken += usize::from(answer.status == 409);
        }
        // Each node may accept one more request before it knows of the limit.
        assert!((5..=7).contains(&taken), "{taken}");
    }

    async fn one_source_registers_a_hundred_times_an_hour_whatever_the_name(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        // In the open mode with a username and with an address, with and without mail, and in the
        // strict mode.
        let silent = Portcullis::builder(probe.db.clone()).clock(probe.clock.clone()).configure(|config| {
            config.password.danger_cheap_hashing = true;
            (config.password.memory_kib, config.password.iterations) = (8, 1);
            config.database.timeout = Duration::from_secs(20);
        });
        let silent = silent.secret(probe.secret.clone()).build().expect("the configuration is right");
        let silent = (&silent, false, 201);
        let nodes = [(&probe.auth, false, 201), (&probe.auth, true, 201), silent, (&strict(&probe), true, 202)];
        for (node, (auth, by_address, made)) in nodes.into_iter().enumerate() {
            let app = app(auth);
            let source = format!("192.0.2.{node}");
            let body = |name: &str| {
                let name = if by_address { format!("{name}@example.com") } else { name.to_owned() };
                json!({ if by_address { "email" } else { "username" }: name, "password": PASSWORD })
            };
            // A request that is refused for its fields does not count.
            for _ in 0..5 {
                let wrong = json!({ "username": "a b", "password": PASSWORD });
                assert_eq!(post(&app, Some(&source), "/auth/register", wrong).await.status, 422);
            }
            let ask = async |name: &str| post(&app, Some(&source), "/auth/register", body(name)).await;
            for number in 0..100 {
                // A taken name counts like a free one.
                let (name, expected) = match number % 10 {
                    0 if made == 202 => ("alice".to_owned(), 202),
                    0 => ("alice".to_owned(), 409),
                    _ => (format!("user{node}x{number}"), made),
                };
                let answer = ask(&name).await;
                assert_eq!(answer.status, expected, "{node} {number}: {}", answer.text);
            }
            let rows = probe.rows().await;
            let [free, taken] = [ask("another").await, ask("alice").await];
            assert_eq!((free.status, free.code().as_str()), (429, "rate_limited"));
            assert_eq!((taken.status, &taken.text), (429, &free.text), "it tells nothing of the name");
            let told = |answer: &Called, name: &str| answer.headers.get(name).cloned();
            assert!(told(&free, "retry-after").is_some());
            for name in ["retry-after", "ratelimit-policy"] {
                assert_eq!(told(&free, name), told(&taken, name));
            }
            // Nothing is written except for the event.
            assert_eq!(probe.rows().await[..3], rows[..3]);
            // Other sources can register, and this source can still sign in.
            let other = format!("198.51.100.{node}");
            let body = body(&format!("other{node}"));
            assert_eq!(post(&app, Some(&other), "/auth/register", body).await.status, made);
            if made == 201 {
                let login = json!({ "login": "alice", "password": PASSWORD });
                assert_eq!(post(&app, Some(&source), "/auth/login", login).await.status, 200);
            }
        }
    }

    async fn names_that_are_free_count_for_nothing(probe: Probe) {
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| config.rate.taken_names = Some(Quota::per_minute(2)))
        });
        let app = app(&auth);
        for number in 0..10 {
            let body = json!({ "username": format!("user{number}"), "password": PASSWORD });
            assert_eq!(post(&app, Some("192.0.2.1"), "/auth/register", body).await.status, 201);
            let body = json!({ "username": "a b", "password": PASSWORD });
            assert_eq!(post(&app, Some("192.0.2.1"), "/auth/register", body).await.status, 422);
        }
    }

    async fn usernames_are_counted_in_the_strict_mode_and_for_further_ones(probe: Probe) {
        probe.register("alice").await;
        let limit = |config: &mut portcullis::Config| {
            config.rate.taken_names = Some(Quota::per_minute(3));
        };
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                limit(config);
                config.login.registration = Registration::Strict;
                config.login.require_verified = true;
            })
        });
        let node = app(&auth);
        let ask = async |from, username: &str| {
            let body = json!({ "username": username, "email": "x@example.com", "password": PASSWORD });
            post(&node, Some(from), "/auth/register", body).await.status
        };
        for number in 0..5 {
            let expected = if number < 3 { 409 } else { 429 };
            assert_eq!(ask("192.0.2.1", "alice").await, expected, "{number}");
        }
        assert_eq!(ask("192.0.2.1", "free").await, 429);
        assert_eq!(ask("192.0.2.2", "free").await, 202);
        assert_eq!(probes_recorded(&probe).await, 3);

        probe.register("bob").await;
        let auth = probe.rebuilt(|builder| builder.configure(limit));
        let node = app(&auth);
        let login = json!({ "login": "bob", "password": PASSWORD });
        let token = token(&post(&node, Some("192.0.2.3"), "/auth/login", login).await);
        for number in 0..5 {
            let body = json!({ "username": "alice" });
            let request = signed("192.0.2.3", "POST", "/auth/login-names", &token, &body);
            let answer = call(&node, request).await;
            assert_eq!(answer.status, if number < 3 { 409 } else { 429 }, "{number}: {}", answer.text);
        }
        let query = "SELECT COUNT(*) FROM auth_event WHERE kind = 'login_name_added' AND detail = 'username_taken'";
        assert_eq!(probe.number(query).await, 3);
    }
}

/// Builds a request for a link with the cookies of a browser.
fn sent_from_device(cookies: &str, body: &Value) -> Request<Body> {
    let mut request = sent(None, "POST", "/auth/password/forgot", body);
    // The browser has signed out, so the session cookie is left out.
    let kept = cookies.split("; ").filter(|pair| !pair.starts_with(&format!("{COOKIE}=")));
    let kept = kept.collect::<Vec<_>>().join("; ");
    request.headers_mut().insert("cookie", kept.parse().expect("a header"));
    request
}

/// Uses one thread, so that its log can be read.
#[tokio::test]
async fn a_full_queue_fills_no_log() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let app = app(&slow(&probe, 512, Duration::from_millis(1)));
        let (log, _listening) = Log::start();
        let mut logins = JoinSet::new();
        for at in 0..12 {
            let app = app.clone();
            let body = json!({ "login": format!("nobody{at}"), "password": "wrong" });
            logins.spawn(async move { call(&app, sent(None, "POST", "/auth/login", &body)).await });
        }
        let answers = logins.join_all().await;
        let sent_away = answers.iter().filter(|answer| answer.status == 503).count();
        assert!(sent_away >= 2, "{sent_away}");
        let text = log.text();
        let of = |level: &str| {
            let lines = text.lines().filter(|line| line.contains(level));
            lines.filter(|line| line.contains(" portcullis: ")).collect::<Vec<_>>()
        };
        assert_eq!(of("ERROR"), [""; 0]);
        let full = of("WARN").iter().filter(|line| line.contains("hash_queue_full")).count();
        assert_eq!(full, 1, "{text}");
    })
    .await;
}

/// Uses one thread, so that its log can be read.
#[portcullis_test_needs::needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test]
async fn tries_that_wait_too_long_for_others_are_told_once() {
    crate::support::probe::run(Backend::Postgres, async |probe: Probe| {
        probe.register("alice").await;
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| config.database.timeout = Duration::from_millis(300))
        });
        let app = app(&auth);
        let holder = probe.db.begin().await.expect("it opens");
        let lock = "LOCK TABLE auth_attempt IN ACCESS EXCLUSIVE MODE";
        holder.execute_unprepared(lock).await.expect("nobody else has it");
        let (log, _listening) = Log::start();
        let mut logins = JoinSet::new();
        for _ in 0..8 {
            let app = app.clone();
            let body = json!({ "login": "alice", "password": PASSWORD });
            logins.spawn(async move { call(&app, sent(None, "POST", "/auth/login", &body)).await });
        }
        let answers = logins.join_all().await;
        holder.rollback().await.expect("it ends");
        let sent_away = answers.iter().filter(|answer| answer.code() == "overloaded").count();
        assert!(sent_away >= 2, "{sent_away}");
        let text = log.text();
        let told = text.lines().filter(|line| line.contains("attempts_overloaded")).count();
        assert_eq!(told, 1, "{text}");
    })
    .await;
}
