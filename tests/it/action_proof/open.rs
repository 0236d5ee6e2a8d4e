//! Which proofs are open: the limit of a sign-in, the list of their owner, and a check that uses nothing up.

use std::collections::BTreeSet;

use super::*;
use portcullis::Page;
use portcullis::action_proof::Recheck;

async fn is_open(probe: &Probe, token: &str, about: &str) -> bool {
    match probe.auth.action_proofs().verify(token, &pay(about)).await {
        Ok(_) => true,
        Err(ActionProofError::Ended) => false,
        Err(error) => panic!("{error:?}"),
    }
}

fn limited(most: u32) -> impl FnOnce(&mut portcullis::Config) {
    move |config| {
        config.action_proof.max_per_sign_in = most;
        config.session.recent_factor = 60 * MINUTE;
    }
}

on_every_database! {
    async fn one_proof_above_the_limit_ends_the_oldest_of_its_sign_in(probe: Probe) {
        let probe = probe.configured(limited(3));
        let alice = probe.register("alice").await;
        let (session, other) = (identity(&probe.auth, &alice).await, identity(&probe.auth, &alice).await);
        let mut tokens = Vec::new();
        for about in ["1", "2", "3"] {
            tokens.push(issued(&probe.auth, &session, about).await.token().to_owned());
            probe.clock.advance(SECOND);
        }
        let elsewhere = issued(&probe.auth, &other, "1").await.token().to_owned();
        // One that was used up makes room, and so does one that is replaced.
        let proof = probe.auth.action_proofs().verify(&tokens[1], &pay("2")).await.expect("it counts");
        assert!(proof.spend(&ClientInfo::default()).await.is_ok());
        let _four = issued(&probe.auth, &session, "4").await;
        let again = issued(&probe.auth, &session, "3").await.token().to_owned();
        assert!(is_open(&probe, &tokens[0], "1").await);
        assert!(!is_open(&probe, &tokens[2], "3").await && is_open(&probe, &again, "3").await);
        probe.clock.advance(SECOND);
        let five = issued(&probe.auth, &session, "5").await.token().to_owned();
        assert!(!is_open(&probe, &tokens[0], "1").await, "the oldest has ended");
        assert!(is_open(&probe, &again, "3").await && is_open(&probe, &five, "5").await);
        assert!(is_open(&probe, &elsewhere, "1").await, "another sign-in has its own limit");
        // A proof that is over does not count.
        probe.clock.advance(9 * MINUTE + 58 * SECOND);
        let six = issued(&probe.auth, &session, "6").await.token().to_owned();
        assert!(is_open(&probe, &six, "6").await && is_open(&probe, &five, "5").await);
    }

    async fn parallel_consents_stay_within_the_limit_and_their_costs_are_known(probe: Probe) {
        let probe = probe.configured(limited(2));
        let alice = probe.register("alice").await;
        let session = identity(&probe.auth, &alice).await;
        let results = parallel(16, |number| {
            let (auth, session) = (probe.auth.clone(), session.clone());
            async move { issued(&auth, &session, &number.to_string()).await.token().to_owned() }
        });
        let mut open = 0;
        for (number, token) in results.await.iter().enumerate() {
            open += usize::from(is_open(&probe, token, &number.to_string()).await);
        }
        assert_eq!(open, 2);
        probe.clock.advance(SECOND);
        let issue = || probe.auth.action_proofs().issue("pay", &session).resource("x");
        let client = ClientInfo::default();
        let (result, cost) = probe.statements(issue().sign(&client)).await;
        assert!(result.is_ok());
        // Lock; begin (two); end those of the same subject; insert; read those above the limit; end them; event.
        assert_eq!(cost, 8);
        let (result, cost) = probe.statements(issue().sign(&client)).await;
        assert_eq!((name(result).as_str(), cost), ("TooSoon", 3));
    }

    async fn the_list_names_proofs_of_sign_ins_that_go_on_page_by_page(probe: Probe) {
        let alice = probe.register("alice").await;
        let auth = &probe.auth;
        let (session, other) = (identity(auth, &alice).await, identity(auth, &alice).await);
        let third = identity(auth, &alice).await;
        for number in 0..5 {
            let _issued = issued(auth, &session, &number.to_string()).await;
            probe.clock.advance(SECOND);
        }
        let _of_other = issued(auth, &other, "of the other").await;
        let _of_third = issued(auth, &third, "of the third").await;
        let owner = session.owner().expect("no ceiling");
        let all = async || {
            let (mut page, mut about, mut sizes) = (Page::first().size(2), Vec::new(), Vec::new());
            loop {
                let found = auth.action_proofs().open(&owner, page).await.expect("a page");
                sizes.push(found.proofs.len());
                about.extend(found.proofs.into_iter().map(|one| one.about));
                match found.next {
                    Some(next) => page = Page::after(next).size(2),
                    None => return (about, sizes),
                }
            }
        };
        let (about, sizes) = all().await;
        assert_eq!(sizes, [2, 2, 2, 1]);
        let set: BTreeSet<_> = about.iter().cloned().collect();
        assert_eq!(set.len(), 7);
        assert_eq!(about[2..], ["pay 4", "pay 3", "pay 2", "pay 1", "pay 0"], "the newest first");
        let _cookie = auth.sessions().end(other.session().id()).await.expect("it ends");
        auth.sessions().mark_suspicious(third.session().id()).await.expect("it is marked");
        let (about, sizes) = all().await;
        assert_eq!(sizes, [2, 2, 1]);
        assert_eq!(about[0], "pay 4");
        let proofs = auth.action_proofs();
        let (first, cost) = probe.statements(proofs.open(&owner, Page::first().size(1))).await;
        assert_eq!((first.expect("a page").proofs.len(), cost), (1, 1));
        for place in ["", "x", "1", "..", &"9".repeat(10_000)] {
            assert_eq!(name(auth.action_proofs().open(&owner, Page::after(place)).await), "InvalidPage");
        }
        // A stranger's place shows nothing of theirs.
        let bob = probe.register("bob").await;
        let bobs = issued(auth, &identity(auth, &bob).await, "of bob").await;
        let found = auth.action_proofs().open(&owner, Page::after(bobs.id().to_string())).await;
        assert!(found.expect("a page").proofs.iter().all(|one| one.about != "pay of bob"));
        let (_, mut browser) = probe.signed_in("carol").await;
        browser = browser.at(serve(application(auth)).await);
        check(&browser.get("/proofs/action-proofs?after=x").await, 422, "invalid_page");
        check(&browser.get("/proofs/action-proofs?account=x").await, 400, "invalid_body");
        check(&browser.get("/proofs/action-proofs?after=1&after=2").await, 400, "invalid_body");
        assert_eq!(browser.get("/proofs/action-proofs").await.json(), json!({ "action_proofs": [] }));
    }

    async fn a_check_that_uses_nothing_up_asks_each_time_unless_it_may_remember(probe: Probe) {
        let alice = probe.register("alice").await;
        let client = ClientInfo::default();
        let start = probe.auth.sessions().start(&alice, &client).factor(Factor::Password);
        let cookie = cookie_of(&start.await.expect("a session"));
        let session: Identity = extracted(&probe.auth, &cookie).await;
        let issued = issued(&probe.auth, &session, "1").await;
        let node = |remember| {
            probe.rebuilt(|builder| builder.configure(|config| config.action_proof.remember_open = remember))
        };
        // Without the setting it asks each time.
        let auth = probe.auth.clone();
        for recheck in [Recheck::WhenDue, Recheck::WhenDue, Recheck::Now] {
            let check = auth.action_proofs();
            let (expected, session) = (pay("1"), &session);
            let check = check.check_open(issued.token(), &expected, session, recheck);
            let (result, cost) = probe.statements(check).await;
            let consent = result.expect("it is open");
            assert_eq!((consent.action(), consent.resource(), cost), ("pay", Some("1"), 1));
        }
        let auth = node(10 * SECOND);
        let asked = async |session: &Identity, recheck| {
            let (proofs, expected) = (auth.action_proofs(), pay("1"));
            let check = proofs.check_open(issued.token(), &expected, session, recheck);
            let (result, cost) = probe.statements(check).await;
            (result.err().map(|error| name::<()>(Err(error))), cost)
        };
        let due = Recheck::WhenDue;
        assert_eq!(asked(&session, due).await, (None, 1));
        assert_eq!(asked(&session, due).await, (None, 0), "it is remembered");
        assert_eq!(asked(&session, Recheck::Now).await, (None, 1), "it is forced");
        probe.clock.advance(10 * SECOND - Duration::from_millis(1));
        assert_eq!(asked(&session, due).await, (None, 0));
        probe.clock.advance(Duration::from_millis(1));
        assert_eq!(asked(&session, due).await, (None, 1), "the time is over");
        // Another sign-in is refused without a statement.
        let other = identity(&auth, &alice).await;
        assert_eq!(asked(&other, due).await, (Some("OtherSession".to_owned()), 0));
        // A change of the epoch asks again, in the same session too.
        let owner = session.owner().expect("no ceiling");
        let _ended = auth.own_sessions(&owner).end_others(&client).await.expect("they end");
        let session: Identity = extracted(&auth, &cookie).await;
        assert_eq!(asked(&session, due).await, (None, 1), "the epoch has changed");
        assert_eq!(asked(&session, due).await, (None, 0));
        // Here, the new password has ended the proof.
        let owner = session.owner().expect("no ceiling");
        let changed = probe.auth.password_change().change(&owner, None, NEW_PASSWORD, &client).await;
        let after: Identity = extracted(&auth, &cookie_of(&changed.expect("it is changed"))).await;
        assert_eq!(asked(&after, due).await, (Some("Ended".to_owned()), 1));
    }

    async fn a_remembered_check_never_makes_the_use_of_a_proof_stale(probe: Probe) {
        let alice = probe.register("alice").await;
        let auth = probe.rebuilt(|builder| builder.configure(|config| {
            config.action_proof.remember_open = MINUTE;
        }));
        let session = identity(&auth, &alice).await;
        let client = ClientInfo::default();
        let open = async |token: &str, about: &str| {
            let (proofs, expected) = (auth.action_proofs(), pay(about));
            let check = proofs.check_open(token, &expected, &session, Recheck::WhenDue).await;
            check.err().map(|error| name::<()>(Err(error)))
        };
        // This node has used it up, or taken it back: it knows at once.
        let token = issued(&auth, &session, "1").await.token().to_owned();
        assert_eq!(open(&token, "1").await, None);
        let proof = auth.action_proofs().verify(&token, &pay("1")).await.expect("it counts");
        assert!(proof.spend(&client).await.is_ok());
        assert_eq!(open(&token, "1").await.as_deref(), Some("Used"));
        let revoked = issued(&auth, &session, "2").await;
        assert_eq!(open(revoked.token(), "2").await, None);
        let owner = session.owner().expect("no ceiling");
        auth.action_proofs().revoke(&owner, revoked.id(), &client).await.expect("it ends");
        assert_eq!(open(revoked.token(), "2").await.as_deref(), Some("Ended"));
        // Another node has used it up: this one remembers for a minute, and still refuses to use it.
        let token = issued(&auth, &session, "3").await.token().to_owned();
        assert_eq!(open(&token, "3").await, None);
        let proof = auth.action_proofs().verify(&token, &pay("3")).await.expect("it counts");
        let elsewhere = probe.auth.action_proofs().verify(&token, &pay("3")).await.expect("it counts");
        assert!(elsewhere.spend(&client).await.is_ok());
        assert_eq!(open(&token, "3").await, None, "it is remembered");
        assert_eq!(name(auth.action_proofs().verify(&token, &pay("3")).await), "Used");
        assert_eq!(name(proof.spend(&client).await), "Used");
        probe.clock.advance(MINUTE);
        assert_eq!(open(&token, "3").await.as_deref(), Some("Used"));
        // The time of the proof is compared each time, and a transaction of the caller teaches nothing.
        let issue = auth.action_proofs().issue("pay", &session).resource("4").lifetime(30 * SECOND);
        let token = issue.sign(&client).await.expect("it is issued").token().to_owned();
        assert_eq!(open(&token, "4").await, None);
        probe.clock.advance(31 * SECOND);
        assert_eq!(open(&token, "4").await.as_deref(), Some("Stale"));
    }
}
