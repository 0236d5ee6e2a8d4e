//! Sessions that a provider ends.

use super::*;

async fn tell(auth: &Portcullis, token: &str) -> Answer {
    let browser = browser(auth).await;
    let request = browser.raw(Method::POST, "/auth/oauth/liar/backchannel-logout");
    send(request.form(&[("logout_token", token)])).await
}

on_every_database! {
    async fn a_provider_ends_the_sessions_that_began_in_one_of_its_own(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut phone = browser(&auth).await;
        liar.set(|lies| lies.claims = json!({ "sid": "phone" }));
        let id = signed_in(&sign_in(&mut phone, &liar).await);
        let mut desk = phone.stranger();
        liar.set(|lies| lies.claims = json!({ "sid": "desk" }));
        assert_eq!(signed_in(&sign_in(&mut desk, &liar).await), id);
        let mut bob = phone.stranger();
        liar.is("bob", "", false);
        liar.set(|lies| lies.claims = json!({ "sid": "bob's" }));
        signed_in(&sign_in(&mut bob, &liar).await);
        // A step-up makes another session of the same sign-in.
        liar.repents();
        liar.is("alice", "", false);
        let query = go(&mut phone, &liar, "?intent=step_up").await;
        signed_in(&back(&mut phone, &liar, &query).await);

        let token = liar.logout_token("1", &json!({ "sub": "alice", "sid": "phone" }));
        let answer = tell(&auth, &token).await;
        assert_eq!((answer.status, &*answer.text), (200, ""));
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(phone.get("/me").await.status, 401);
        assert_eq!((desk.get("/me").await.status, bob.get("/me").await.status), (200, 200));
        // It works once.
        refused(&tell(&auth, &token).await, 400, "invalid_logout_token");
        // Without a session at the provider, all that began with the identity end, on every node.
        let mut password = phone.stranger();
        let account = auth.accounts().find(id.parse().expect("an id")).await;
        let client = portcullis::ClientInfo::default();
        let account = account.expect("it answers").expect("it is there");
        let start = auth.sessions().start(&account, &client).await.expect("a session");
        password.cookie = Some(token_of(&start));
        let node = with(&probe, liar.provider());
        let token = liar.logout_token("2", &json!({ "sub": "alice" }));
        assert_eq!(tell(&node, &token).await.status, 200);
        assert_eq!((desk.get("/me").await.status, bob.get("/me").await.status), (401, 200));
        // A session that began in another way goes on.
        assert_eq!(password.get("/me").await.status, 200);
        // Nobody, and the session of another person.
        for about in [json!({ "sub": "nobody" }), json!({ "sub": "alice", "sid": "bob's" }), json!({ "sid": "none" })] {
            assert_eq!(tell(&auth, &liar.logout_token(&about.to_string(), &about)).await.status, 200);
        }
        assert_eq!(bob.get("/me").await.status, 200);
        let token = liar.logout_token("3", &json!({ "sid": "bob's" }));
        assert_eq!(tell(&auth, &token).await.status, 200);
        assert_eq!(bob.get("/me").await.status, 401);
        // An unfinished sign-in ends too.
        auth.accounts().set_enrolled_factors(account.id(), [Factor::Totp]).await.expect("it is set");
        let mut waiting = phone.stranger();
        assert_eq!(sign_in(&mut waiting, &liar).await.json()["result"], "second_factor_required");
        assert_eq!(waiting.get("/pending").await.status, 200);
        assert_eq!(tell(&auth, &liar.logout_token("4", &json!({ "sub": "alice" }))).await.status, 200);
        assert_eq!(waiting.get("/pending").await.status, 401);
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'sessions_ended' AND detail = 'the provider has signed out'";
        assert_eq!(probe.number(events).await, 4);
        // What is remembered is deleted.
        probe.clock.advance(31 * 24 * 60 * MINUTE);
        auth.maintenance().run().await.expect("it runs");
        for table in ["auth_provider_session", "auth_logout_token"] {
            assert_eq!(probe.number(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
    }

    async fn a_token_that_is_no_logout_token_ends_nothing(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let other = Liar::start(&probe, "other").await;
        let auth = with(&probe, liar.provider());
        let mut alice = browser(&auth).await;
        signed_in(&sign_in(&mut alice, &liar).await);
        let about = json!({ "sub": "alice" });
        let now = portcullis::Clock::now(&probe.clock).as_secs();
        let with_claims = |claims: Value| {
            let mut all = about.clone();
            for (name, value) in claims.as_object().expect("an object") {
                all[name] = value.clone();
            }
            liar.logout_token("bad", &all)
        };
        let mut bad = vec![
            String::new(),
            "x".to_owned(),
            other.logout_token("1", &about),
            with_claims(json!({ "nonce": "n" })),
            with_claims(json!({ "events": null })),
            with_claims(json!({ "aud": "another" })),
            with_claims(json!({ "iss": other.issuer })),
            with_claims(json!({ "iat": now - 1000 })),
            with_claims(json!({ "exp": now - 100 })),
            with_claims(json!({ "jti": null })),
            with_claims(json!({ "sub": null })),
        ];
        liar.set(|lies| lies.header = json!({ "typ": "JWT" }));
        bad.push(liar.logout_token("2", &about));
        liar.set(|lies| lies.header = json!({ "alg": "none" }));
        bad.push(liar.logout_token("3", &about));
        liar.repents();
        for token in &bad {
            refused(&tell(&auth, token).await, 400, "invalid_logout_token");
        }
        assert_eq!(alice.get("/me").await.status, 200);
        // A script of another site, and JSON, cannot tell either.
        let browser = browser(&auth).await;
        let request = browser.raw(Method::POST, "/auth/oauth/liar/backchannel-logout");
        let answer = send(request.json(&json!({ "logout_token": "x" }))).await;
        refused(&answer, 415, "unsupported_media_type");
        let answer = send(browser.raw(Method::POST, "/auth/oauth/nobody/backchannel-logout").form(&[("logout_token", "x")])).await;
        refused(&answer, 404, "provider_not_found");
        // Of many with one token, one counts.
        let token = liar.logout_token("once", &about);
        let answers = crate::race::parallel(8, |_| {
            let request = browser.raw(Method::POST, "/auth/oauth/liar/backchannel-logout");
            send(request.form(&[("logout_token", &token)]))
        })
        .await;
        let good = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(good, 1, "{answers:?}");
        assert_eq!(alice.get("/me").await.status, 401);
    }
}
