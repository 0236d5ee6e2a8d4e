//! Replays: what only looks like a stolen copy of a token, and what is one. A killed browser, a
//! lost answer, clocks that differ and a slow handler sign nobody out. A thief is detected.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis::base::clock::MockClock;
use portcullis::config::Binding;
use portcullis::{PeerAddr, Portcullis, Session};
use reqwest::Method;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;

use crate::on_every_database;
use crate::support::browser::{Answer, COOKIE, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const LIFETIME: Duration = Duration::from_secs(15 * 60);
const REPLAY: Duration = Duration::from_secs(90);

fn generation(token: &str) -> i64 {
    let payload = token.split('.').nth(1).expect("a payload");
    let bytes = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).expect("base64url");
    let payload: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    payload["gen"].as_i64().expect("a number")
}

fn cookie(browser: &Browser) -> String {
    browser.cookie.clone().expect("a cookie")
}

fn handed_out(answer: &Answer) -> Option<i64> {
    let cookie = answer.cookie()?;
    assert_ne!(cookie, "", "an answer cleared the cookie");
    Some(generation(&cookie))
}

fn check_refused(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (401, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "a 401 touched the cookie: {answer:?}");
}

async fn events(probe: &Probe, kind: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

async fn thefts(probe: &Probe) -> i64 {
    events(probe, "session_theft_suspected").await
}

/// Builds a node with its own connections and clock.
async fn node(probe: &Probe, clock: &MockClock) -> SocketAddr {
    let auth = Portcullis::builder(probe.database.connect().await)
        .clock(clock.clone())
        .secret(probe.secret.clone())
        .configure(|config| config.database.timeout = Duration::from_secs(20))
        .build()
        .expect("the configuration is right");
    serve(app(&auth)).await
}

/// Handlers that wait before they ask for the identity, or before they answer.
#[derive(Clone)]
struct Slow {
    arrived: Arc<Semaphore>,
    goes_on: Arc<Semaphore>,
}

impl Slow {
    fn new() -> Self {
        Self { arrived: Arc::new(Semaphore::new(0)), goes_on: Arc::new(Semaphore::new(0)) }
    }

    fn app(&self, auth: &Portcullis) -> Router {
        let (late, answers_late) = (self.clone(), self.clone());
        Router::new()
            .route("/asks-late", get(move |request: Request| late.clone().ask_late(request)))
            .route(
                "/answers-late",
                get(move |session: Session| answers_late.clone().answer_late(session)),
            )
            .layer(auth.layer())
    }

    async fn wait(&self) {
        self.arrived.add_permits(1);
        self.goes_on.acquire().await.expect("it is never closed").forget();
    }

    async fn ask_late(self, request: Request) -> Response {
        self.wait().await;
        let (mut parts, _) = request.into_parts();
        match Session::from_request_parts(&mut parts, &()).await {
            Ok(session) => session.id().to_string().into_response(),
            Err(rejection) => rejection.into_response(),
        }
    }

    async fn answer_late(self, session: Session) -> String {
        self.wait().await;
        session.just_rotated().to_string()
    }

    /// Sends a request and waits until its handler runs.
    async fn start(auth: &Portcullis, path: &str, token: &str) -> Started {
        let slow = Self::new();
        let app = slow.app(auth);
        let request = Request::get(path)
            .header("cookie", format!("{COOKIE}={token}"))
            .body(Body::empty())
            .expect("a request");
        let answer = tokio::spawn(async move { app.oneshot(request).await.expect("an answer") });
        slow.arrived.acquire().await.expect("it is never closed").forget();
        Started { slow, answer }
    }
}

/// A request whose handler waits.
struct Started {
    slow: Slow,
    answer: JoinHandle<Response>,
}

impl Started {
    /// Lets the handler continue. Returns the status, and the generation in the answer.
    async fn finish(self) -> (u16, Option<i64>) {
        self.slow.goes_on.add_permits(1);
        let answer = self.answer.await.expect("no panic");
        let cookie = answer.headers().get("set-cookie").map(|line| {
            let line = line.to_str().expect("ASCII").strip_prefix(&format!("{COOKIE}="));
            generation(line.and_then(|rest| rest.split(';').next()).expect("a value"))
        });
        (answer.status().as_u16(), cookie)
    }
}

on_every_database! {
    async fn a_browser_that_was_killed_before_it_wrote_its_cookies_stays_signed_in(probe: Probe) {
        for killed_after in [Duration::ZERO, SECOND, 30 * SECOND, REPLAY - SECOND] {
            let (_, mut browser) = probe.signed_in(&format!("user{}", killed_after.as_secs())).await;
            let on_disk = cookie(&browser);
            probe.clock.advance(LIFETIME);
            assert_eq!(handed_out(&browser.get("/me").await), Some(1));
            probe.clock.advance(killed_after);
            assert_eq!(browser.get("/me").await.status, 200);
            for pause in [SECOND, MINUTE, HOUR] {
                probe.clock.advance(pause);
                // The browser has the old cookie again, several times.
                browser = browser.with_cookie(&on_disk);
                let answer = browser.get("/me").await;
                assert_eq!((answer.status, handed_out(&answer)), (200, Some(1)));
            }
            // The session continues. The old token becomes invalid as soon as it is certain that
            // the browser has the new one.
            for _ in 0..3 {
                probe.clock.advance(REPLAY);
                assert_eq!(browser.get("/me").await.status, 200);
            }
            assert_eq!(thefts(&probe).await, 0);
        }
    }

    async fn a_page_that_loads_in_parallel_after_a_lost_answer_stays_signed_in(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        probe.clock.advance(LIFETIME);
        // The answer is lost, so the browser keeps its old token.
        assert_eq!(handed_out(&browser.clone().get("/me").await), Some(1));
        probe.clock.advance(HOUR);
        let mut first = browser.clone();
        assert_eq!(handed_out(&first.get("/me").await), Some(1));
        // The parallel requests of the page still show the old token, after the new one was used.
        assert_eq!(first.get("/me").await.status, 200);
        let mut requests = JoinSet::new();
        for _ in 0..16 {
            let mut twin = browser.clone();
            requests.spawn(async move { twin.get("/me").await });
        }
        for answer in requests.join_all().await {
            assert_eq!((answer.status, handed_out(&answer)), (200, Some(1)), "{}", answer.text);
        }
        assert_eq!(thefts(&probe).await, 0);
        // Later it is a replay like any other.
        probe.clock.advance(REPLAY);
        assert_eq!(first.get("/me").await.status, 200);
        check_refused(&browser.clone().get("/me").await, "session_ended");
        assert_eq!(thefts(&probe).await, 1);
    }

    async fn nodes_whose_clocks_differ_by_thirty_seconds_take_nobody_for_a_thief(probe: Probe) {
        let (behind, ahead) = (MockClock::default(), MockClock::default());
        ahead.advance(30 * SECOND);
        let clocks = [probe.clock.clone(), behind.clone(), ahead.clone()];
        let pass = |time: Duration| clocks.iter().for_each(|clock| clock.advance(time));
        let nodes = [node(&probe, &behind).await, node(&probe, &ahead).await];
        for (name, first, second) in [("alice", 0, 1), ("bob", 1, 0)] {
            let (_, browser) = probe.signed_in(name).await;
            let on_disk = cookie(&browser);
            pass(LIFETIME + MINUTE);
            let mut browser = browser.at(nodes[first]);
            assert_eq!(handed_out(&browser.get("/me").await), Some(1));
            // For thirty seconds after a rotation the file may contain the old token. The nodes
            // take turns.
            for _ in 0..2 {
                for node in [second, first, second] {
                    assert_eq!(browser.at(nodes[node]).get("/me").await.status, 200);
                    let mut revived = browser.with_cookie(&on_disk).at(nodes[node]);
                    let answer = revived.get("/me").await;
                    assert_eq!((answer.status, handed_out(&answer)), (200, Some(1)), "{name}");
                }
                pass(15 * SECOND);
            }
            assert_eq!(browser.at(nodes[second]).get("/me").await.status, 200);
            let answer = browser.with_cookie(&on_disk).at(nodes[first]).get("/me").await;
            assert_eq!((answer.status, handed_out(&answer)), (200, Some(1)), "{name}");
            // Later the old token is a copy, on any node.
            pass(2 * MINUTE);
            assert_eq!(browser.at(nodes[second]).get("/me").await.status, 200);
            pass(MINUTE);
            let before = thefts(&probe).await;
            check_refused(&browser.with_cookie(&on_disk).at(nodes[first]).get("/me").await, "session_ended");
            assert_eq!(thefts(&probe).await, before + 1);
        }
    }

    async fn a_handler_that_asks_late_is_judged_by_when_its_request_arrived(probe: Probe) {
        let auth = &probe.auth;
        let (_, mut browser) = probe.signed_in("alice").await;
        let first = cookie(&browser);
        probe.clock.advance(LIFETIME);
        let early = Slow::start(auth, "/asks-late", &first).await;
        let earlier = Slow::start(auth, "/asks-late", &first).await;
        let earliest = Slow::start(auth, "/asks-late", &first).await;
        probe.clock.advance(SECOND);
        assert_eq!(handed_out(&browser.get("/me").await), Some(1));
        probe.clock.advance(REPLAY);
        assert_eq!(browser.get("/me").await.status, 200);
        // Its token is a replay now, but was valid when it was sent. The answer is too late to
        // carry a new token, which could replace a newer one.
        assert_eq!(early.finish().await, (200, None));
        probe.clock.advance(LIFETIME);
        assert_eq!(handed_out(&browser.get("/me").await), Some(2));
        assert_eq!(earlier.finish().await, (200, None));
        probe.clock.advance(LIFETIME);
        assert_eq!(handed_out(&browser.get("/me").await), Some(3));
        // Nobody knows whether a token from so long ago was valid. It is refused, but this does not
        // count as a theft.
        assert_eq!(earliest.finish().await, (401, None));
        assert_eq!(thefts(&probe).await, 0);
        assert_eq!(browser.get("/me").await.status, 200);
        // All other checks use the time at which the handler asks.
        let asked = Slow::start(auth, "/asks-late", &cookie(&browser)).await;
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
        assert_eq!(asked.finish().await, (401, None));
    }

    async fn a_slow_answer_carries_no_new_token_and_the_next_one_does(probe: Probe) {
        for (takes, carries) in [(MINUTE, true), (MINUTE + SECOND, false)] {
            let (_, mut browser) = probe.signed_in(&format!("user{}", takes.as_secs())).await;
            probe.clock.advance(LIFETIME);
            let answer = Slow::start(&probe.auth, "/answers-late", &cookie(&browser)).await;
            probe.clock.advance(takes);
            assert_eq!(answer.finish().await, (200, carries.then_some(1)));
            let answer = browser.get("/me").await;
            assert_eq!((answer.status, handed_out(&answer)), (200, Some(1)));
            // The answer was sent late. The time until the generation counts as stored starts then.
            probe.clock.advance(MINUTE);
            assert_eq!(browser.get("/me").await.status, 200);
        }
        assert_eq!(thefts(&probe).await, 0);
    }

    async fn a_stolen_token_is_found_out_after_its_owner_went_on(probe: Probe) {
        for stolen in [0, 1] {
            let name = format!("user{stolen}");
            let (_, mut owner) = probe.signed_in(&name).await;
            let mut thief = owner.clone();
            probe.clock.advance(LIFETIME);
            assert_eq!(handed_out(&owner.get("/me").await), Some(1));
            if stolen == 1 {
                thief = owner.clone();
                probe.clock.advance(LIFETIME);
                assert_eq!(handed_out(&owner.get("/me").await), Some(2));
            }
            probe.clock.advance(REPLAY);
            assert_eq!(owner.get("/me").await.status, 200);
            let before = thefts(&probe).await;
            check_refused(&thief.get("/me").await, "session_ended");
            check_refused(&owner.get("/me").await, "session_ended");
            assert_eq!(thefts(&probe).await, before + 1);
        }
    }

    async fn a_replay_clears_no_cookie(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let old = cookie(&browser);
        probe.clock.advance(LIFETIME);
        assert_eq!(handed_out(&browser.get("/me").await), Some(1));
        probe.clock.advance(REPLAY);
        assert_eq!(browser.get("/me").await.status, 200);
        let mut copy = browser.with_cookie(&old);
        for path in ["/me", "/maybe", "/signed-in", "/auth/session", "/auth/sessions"] {
            let answer = copy.get(path).await;
            assert!(answer.set_cookies().is_empty(), "{path}: {answer:?}");
        }
        assert!(copy.post_empty("/auth/session/refresh").await.set_cookies().is_empty());
        let again = copy.login("alice", PASSWORD).await;
        assert_eq!((again.status, again.cookie().is_some()), (200, true));
        assert_eq!(copy.get("/me").await.status, 200);
    }

    async fn a_successor_handed_to_another_network_and_browser_is_a_shared_session(probe: Probe) {
        const OWNER: (&str, &str) = ("192.0.2.1", "Mozilla/5.0 Firefox/140.0");
        let shared = "session_shared";
        for (binding, status, event, noted) in [
            (Binding::Off, 200, shared, 0),
            (Binding::Log, 200, shared, 1),
            (Binding::StepUp, 200, shared, 1),
            (Binding::Suspect, 401, "session_suspicious", 1),
            (Binding::End, 401, shared, 1),
        ] {
            let auth = probe.rebuilt(|builder| {
                builder.configure(|config| config.session.binding = binding)
            });
            let app = app(&auth);
            for (address, agent, elsewhere) in [
                ("192.0.2.9", "curl/8.0", false),
                ("198.51.100.7", "Mozilla/5.0 Firefox/141.0", false),
                ("198.51.100.7", "curl/8.0", true),
                ("198.51.100.7", "", true),
                ("", "curl/8.0", false),
            ] {
                let name = format!("{binding:?}-{address}-{}", agent.len());
                let account = probe.register(&name).await;
                // The session has no recorded source. So the rule about the source of the start
                // does not apply.
                let issued = auth.sessions().start(&account, &Default::default()).await;
                let token = crate::support::call::cookie_of(&issued.expect("a session"));
                probe.clock.advance(LIFETIME);
                assert_eq!(ask(&app, &token, OWNER).await.0, 200);
                let before = events(&probe, event).await;
                for round in 0..3 {
                    let expected = if elsewhere { status } else { 200 };
                    let answered = ask(&app, &token, (address, agent)).await;
                    assert_eq!(answered, (expected, expected == 200), "{binding:?} {address} {agent} {round}");
                }
                let noted = if elsewhere { noted } else { 0 };
                assert_eq!(events(&probe, event).await - before, noted, "{binding:?} {address} {agent}");
            }
        }
        assert_eq!(thefts(&probe).await, 0);
    }

    async fn an_answer_that_was_lost_on_the_way_is_handed_out_again(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let first = cookie(&browser);
        probe.clock.advance(LIFETIME);
        // A proxy answers 502 after the service has rotated the token.
        let lost = send(browser.request(Method::GET, "/me")).await;
        assert_eq!(handed_out(&lost), Some(1));
        for wait in [Duration::ZERO, SECOND, MINUTE] {
            probe.clock.advance(wait);
            let answer = browser.with_cookie(&first).get("/me").await;
            assert_eq!((answer.status, handed_out(&answer)), (200, Some(1)));
            browser.cookie = answer.cookie();
        }
        assert_eq!(browser.post_empty("/auth/session/refresh").await.status, 200);
        assert_eq!(thefts(&probe).await, 0);
    }
}

/// Requests the identity from this source. Returns the status, and whether the answer sets a
/// cookie.
async fn ask(app: &Router, pair: &str, (address, agent): (&str, &str)) -> (u16, bool) {
    let mut request = Request::get("/me").header("cookie", pair);
    if !agent.is_empty() {
        request = request.header("user-agent", agent);
    }
    let mut request = request.body(Body::empty()).expect("a request");
    if !address.is_empty() {
        request.extensions_mut().insert(PeerAddr(address.parse().expect("an address")));
    }
    let response = app.clone().oneshot(request).await.expect("an answer");
    (response.status().as_u16(), response.headers().contains_key("set-cookie"))
}
