//! What happens when a device and people decide at the same moment.

use super::{Device, Person, SECOND, SOFA, alice, big, clients, code, events, from, state};
use crate::on_every_database;
use crate::race::parallel;

on_every_database! {
    async fn of_two_approvals_one_counts(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let bob = probe.register("bob").await;
        let device = Device::start(&auth, "tv").await;
        let mut people = Vec::new();
        for at in 0..8 {
            let person = Person::of(&auth, if at % 2 == 0 { &account } else { &bob }).await;
            let view = person.view(device.code()).await;
            people.push((person, view));
        }
        let typed = device.code().to_owned();
        let results = parallel(8, |at| {
            let (person, view) = (Person::with_owner(&people[at].0), people[at].1.clone());
            let typed = typed.clone();
            async move {
                let result = person.approve_seen(&typed, &view, None).await;
                result.map(drop).map_err(|error| portcullis::Problem::code(&error))
            }
        })
        .await;
        let won: Vec<usize> = (0..8).filter(|at| results[*at].is_ok()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        for lost in results.iter().filter_map(|result| result.err()) {
            // Who comes after another account has decided does not see the request any more.
            assert!(["device_request_decided", "device_request_not_found"].contains(&lost), "{lost}");
        }
        let token = device.poll().await.expect("a token");
        assert_eq!(token.account_id(), people[won[0]].0.owner.account().id());
        assert_eq!(events(&probe).await.iter().filter(|kind| kind.ends_with("approved")).count(), 1);
    }

    async fn whoever_denies_is_right_also_against_an_approval(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        for _ in 0..5 {
            let device = Device::start(&auth, "tv").await;
            let person = Person::of(&auth, &account).await;
            let view = person.view(device.code()).await;
            let typed = device.code().to_owned();
            let results = parallel(2, |at| {
                let (person, view, typed) = (Person::with_owner(&person), view.clone(), typed.clone());
                async move {
                    let flow = person.auth.device_login();
                    match at {
                        0 => person.approve_seen(&typed, &view, None).await.is_ok(),
                        _ => flow.deny(&person.owner, &typed, &view, &person.client).await.is_ok(),
                    }
                }
            })
            .await;
            assert!(results[1], "it is denied, before or after the approval");
            assert_eq!(code(device.poll().await), "access_denied");
            assert_eq!(state(&probe, &device).await, 3);
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session WHERE ceiling IS NOT NULL").await, 0);
    }

    async fn a_hundred_polls_make_one_session(probe: Probe) {
        let probe = probe.configured(clients);
        let person = Person::of(&probe.auth, &alice(&probe).await).await;
        let device = Device::start(&probe.auth, "tv").await;
        person.approve(&device).await.expect("it is approved");
        // Each is another node, so that none is told to slow down.
        let nodes: Vec<_> = (0..100).map(|_| probe.rebuilt(|builder| builder.configure(clients))).collect();
        let long = device.started.device_code().to_owned();
        let tokens = parallel(100, |at| {
            let (node, long) = (nodes[at].clone(), long.clone());
            async move {
                let token = node.device_login().poll("tv", long).send(&from(SOFA)).await;
                token.map(|token| token.session_id()).map_err(|error| error.to_string())
            }
        })
        .await;
        let first = tokens[0].clone().expect("a token");
        assert!(tokens.iter().all(|token| *token == Ok(first)), "{tokens:?}");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session WHERE ceiling IS NOT NULL").await, 1);
        assert_eq!(events(&probe).await.iter().filter(|kind| kind.ends_with("success")).count(), 1);
        // On one node, all but one are told to slow down until the token was given out.
        let device = Device::start(&probe.auth, "tv").await;
        let long = device.started.device_code().to_owned();
        let results = parallel(100, |_| {
            let (auth, long) = (probe.auth.clone(), long.clone());
            async move { code(auth.device_login().poll("tv", long).send(&from(SOFA)).await) }
        })
        .await;
        assert_eq!(results.iter().filter(|code| **code == "authorization_pending").count(), 1, "{results:?}");
    }

    async fn a_device_comes_before_or_after_the_denial(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        for _ in 0..6 {
            let person = Person::of(&auth, &account).await;
            let device = Device::start(&auth, "tv").await;
            let view = person.view(device.code()).await;
            person.approve_seen(device.code(), &view, None).await.expect("it is approved");
            let before = probe.number("SELECT COUNT(*) FROM auth_session WHERE ceiling IS NOT NULL").await;
            let (typed, long) = (device.code().to_owned(), device.started.device_code().to_owned());
            let results = parallel(2, |at| {
                let person = Person::with_owner(&person);
                let (typed, view, long) = (typed.clone(), view.clone(), long.clone());
                async move {
                    let flow = person.auth.device_login();
                    match at {
                        0 => flow.poll("tv", long).send(&from(SOFA)).await.is_ok(),
                        _ => flow.deny(&person.owner, &typed, &view, &person.client).await.is_ok(),
                    }
                }
            })
            .await;
            assert_ne!(results[0], results[1], "exactly one of them");
            let made = probe.number("SELECT COUNT(*) FROM auth_session WHERE ceiling IS NOT NULL").await;
            assert_eq!(made - before, i64::from(results[0]));
            assert_eq!(state(&probe, &device).await, if results[0] { 2 } else { 3 });
        }
    }

    async fn a_device_that_hangs_up_gets_its_one_session_later(probe: Probe) {
        let probe = probe.configured(clients);
        let account = alice(&probe).await;
        for turns in 0..12 {
            let person = Person::of(&probe.auth, &account).await;
            let device = Device::start(&probe.auth, "tv").await;
            person.approve(&device).await.expect("it is approved");
            let query = "SELECT COUNT(*) FROM auth_session WHERE ceiling IS NOT NULL";
            let before = probe.number(query).await;
            let node = probe.rebuilt(|builder| builder.configure(clients));
            let long = device.started.device_code().to_owned();
            let poll = tokio::spawn(async move {
                let _answer = node.device_login().poll("tv", long).send(&from(SOFA)).await;
            });
            for _ in 0..turns * 4 {
                tokio::task::yield_now().await;
            }
            poll.abort();
            let _ended = poll.await;
            probe.auth.drain().await;
            let _token = device.poll().await.expect("a token");
            assert_eq!(probe.number(query).await - before, 1, "{turns}");
        }
    }

    async fn parallel_guesses_at_the_digits_are_three(probe: Probe) {
        let probe = probe.configured(clients);
        let person = Person::of(&probe.auth, &alice(&probe).await).await;
        let nodes: Vec<_> = (0..50).map(|_| probe.rebuilt(|builder| builder.configure(clients))).collect();
        let device = Device::start(&probe.auth, "lock").await;
        let digits = person.approve(&device).await.expect("it is approved").expect("two digits");
        let long = device.started.device_code().to_owned();
        let results = parallel(50, |at| {
            let (node, long, digits) = (nodes[at].clone(), long.clone(), digits.clone());
            async move {
                // None of them is right.
                let guess = format!("{}{:02}", digits, at);
                let poll = node.device_login().poll("lock", long).confirmation(guess);
                code(poll.send(&from(SOFA)).await)
            }
        })
        .await;
        assert!(results.iter().all(|code| ["confirmation_required", "access_denied"].contains(code)), "{results:?}");
        assert_eq!(probe.number(&format!("SELECT CAST(confirmations AS {}) FROM auth_device_request", big(&probe))).await, 3);
        probe.clock.advance(5 * SECOND);
        assert_eq!(code(device.poll_with(&digits).await), "access_denied");
    }
}
