//! Counters of events. The test uses only SQLite, because the counters do not depend on the
//! database. The recorder belongs to a thread, so everything runs on one thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use portcullis::account::NewAccount;
use portcullis::hook::{HookResult, Hooks, Registering, SigningIn};
use portcullis::login::Credentials;
use portcullis::registration::Application;
use portcullis::{ClientInfo, OpenTransaction, Refusal};
use sea_orm::{DatabaseTransaction, TransactionTrait};

use crate::support::call::{call, cookie_of, request};
use crate::support::{Backend, PASSWORD, Probe, probe};

/// Counters, by the value of the label `event`.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counts {
    fn of(&self, event: &str) -> u64 {
        let counts = self.0.lock().expect("nothing panics while it is held");
        counts.get(event).map_or(0, |count| count.load(Ordering::SeqCst))
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        assert_eq!(key.name(), "portcullis_events_total");
        let event = key.labels().next().expect("a label");
        assert_eq!(event.key(), "event");
        let mut counts = self.0.lock().expect("nothing panics while it is held");
        Counter::from_arc(Arc::clone(counts.entry(event.value().to_owned()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn events_rotations_and_denials_are_counted() {
    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    probe::run(Backend::Sqlite, async |probe: Probe| {
        let alice = probe.register("alice").await;
        let app = probe::app(&probe.auth);
        let issued = probe
            .auth
            .sessions()
            .start(&alice, &portcullis::ClientInfo::default())
            .await
            .expect("a session");
        let cookie = cookie_of(&issued);
        let get = |path| {
            let request = request("GET", path).header("cookie", &cookie);
            call(&app, request.body(Body::empty()).expect("a request"))
        };
        assert_eq!(get("/admin").await.status, 403);
        assert_eq!(get("/admin").await.status, 403);
        assert_eq!(counts.of("session_rotated"), 0);
        probe.clock.advance(Duration::from_secs(16 * 60));
        assert_eq!(get("/me").await.status, 200);
        for (event, expected) in [
            ("user_created", 1),
            ("session_created", 1),
            ("authz_fail", 2),
            ("session_rotated", 1),
            ("authn_login_fail", 0),
        ] {
            assert_eq!(counts.of(event), expected, "{event}");
        }
    })
    .await;
}

/// Refuses to register and to sign in.
struct Closed;

impl Hooks for Closed {
    async fn after_register(&self, _: Registering<'_>, _: &DatabaseTransaction) -> HookResult {
        Err(Refusal::new(StatusCode::FORBIDDEN, "closed", "come back later").into())
    }

    async fn after_login(&self, _: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
        Err(Refusal::new(StatusCode::FORBIDDEN, "closed", "come back later").into())
    }
}

#[tokio::test]
async fn nothing_is_counted_before_it_is_committed() {
    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    probe::run(Backend::Sqlite, async |probe: Probe| {
        let auth = &probe.auth;
        let create = async |txn: OpenTransaction<'_>, name: &str| {
            let made = auth.accounts().within(txn).create(NewAccount::username(name)).await;
            made.expect("it is made");
        };
        let txn = auth.begin().await.expect("a transaction");
        create((&txn).into(), "bob").await;
        txn.rollback().await;
        assert_eq!(counts.of("user_created"), 0, "rolled back");
        let txn = auth.begin().await.expect("a transaction");
        create((&txn).into(), "bob").await;
        assert_eq!(counts.of("user_created"), 0, "not committed yet");
        txn.commit().await.expect("it is committed");
        assert_eq!(counts.of("user_created"), 1);
        // The end of a plain transaction is not visible, so it is never counted.
        for commit in [false, true] {
            let txn = probe.db.begin().await.expect("a transaction");
            create((&txn).into(), "dora").await;
            if commit { txn.commit().await } else { txn.rollback().await }.expect("it ends");
            assert_eq!(counts.of("user_created"), 1, "{commit}");
        }

        // A flow whose hook refuses is rolled back.
        probe.register("alice").await;
        assert_eq!(counts.of("user_created"), 2);
        let closed = probe.rebuilt(|builder| builder.hooks(Closed));
        let client = ClientInfo::default();
        for (auth, succeeds) in [(&closed, false), (auth, true)] {
            let carol = Application::new(NewAccount::username("carol"), PASSWORD);
            let registered = auth.registration().register(carol, &client).await;
            assert_eq!(registered.is_ok(), succeeds, "{registered:?}");
            let alice = Credentials::password("alice", PASSWORD);
            let signed_in = auth.login().with_password(alice, &client).await;
            assert_eq!(signed_in.is_ok(), succeeds, "{signed_in:?}");
            let done = u64::from(succeeds);
            for (event, expected) in [
                ("user_created", 2 + done),
                ("authn_login_success", 1 + 2 * done),
                ("authn_login_fail", 1),
            ] {
                assert_eq!(counts.of(event), expected, "{event} {succeeds}");
            }
        }
    })
    .await;
}
