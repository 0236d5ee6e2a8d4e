//! Polls while the connection to the database breaks.

use portcullis_test_needs::needs;

use super::*;
use crate::outage::{Mode, mended, wired};
use crate::support::Backend;

/// Cuts the connection at each message of a poll that fetches a token. Whatever happened, the next poll gets
/// the token of one session.
async fn cut_everywhere(probe: Probe) {
    let probe = probe.configured(clients);
    let account = alice(&probe).await;
    let (wire, db) = wired(&probe).await;
    let auth = Portcullis::builder(db.clone())
        .clock(probe.clock.clone())
        .secret(probe.secret.clone())
        .notifier(probe.notifier.clone())
        .configure(clients)
        .configure(|config| config.database.timeout = SECOND)
        .build()
        .expect("the configuration is right");
    let (mut passed, mut cut) = (0, 0);
    loop {
        let device = Device::start(&probe.auth, "tv").await;
        Person::of(&probe.auth, &account).await.approve(&device).await.expect("it is approved");
        wire.fail_after(passed, Mode::Down);
        let poll = auth.device_login().poll("tv", device.started.device_code());
        let first = poll.send(&from(SOFA)).await;
        let met = wire.mode() == Mode::Down;
        mended(&wire, &db).await;
        auth.drain().await;
        if let Err(error) = &first {
            assert_eq!(error.code(), "unavailable", "{passed}");
            cut += 1;
        }
        let token = device.poll().await.expect("a token");
        if let Ok(first) = &first {
            assert_eq!(first.session_id(), token.session_id());
        }
        assert_eq!(with_token(&probe.auth, token.token(), "/me").await, 200);
        let sessions = "SELECT COUNT(*) FROM auth_session WHERE approved_in IS NOT NULL";
        passed += 1;
        assert_eq!(probe.number(sessions).await, passed, "one session for each request");
        if !met {
            assert!(first.is_ok());
            break;
        }
        assert!(passed < 100, "it never ends");
    }
    assert!(cut > 5, "{cut} of {passed} polls were cut");
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_was_cut_can_be_repeated_on_postgres() {
    crate::support::probe::run(Backend::Postgres, cut_everywhere).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_was_cut_can_be_repeated_on_mysql() {
    crate::support::probe::run(Backend::MySql, cut_everywhere).await;
}
