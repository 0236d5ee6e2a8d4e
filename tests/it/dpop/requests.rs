//! Requests with a bound token.

use super::*;

on_every_database! {
    async fn a_copied_token_is_worth_nothing(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        for key in [ClientKey::ed25519(1), ClientKey::p256()] {
            let bound = Bound::of(&auth, &account, key).await;
            assert_eq!(bound.get("/films").await.text, "films");
            let thief = Bound {
                device: bound.device.stranger(),
                key: ClientKey::ed25519(2),
                nonce: bound.nonce.clone(),
                token: bound.token.clone(),
            };
            let (answer, statements) = probe.statements(thief.get("/films")).await;
            check_refused(&answer, "invalid_dpop_proof");
            assert_eq!(statements, 0);
            let (answer, statements) =
                probe.statements(thief.with(Method::GET, "/films", &[])).await;
            check_refused(&answer, "invalid_dpop_proof");
            assert_eq!(statements, 0);
            // Neither under the scheme of other tokens, nor as a cookie.
            let bearer = thief.device.raw(Method::GET, "/films").bearer_auth(&thief.token);
            let bearer = bearer.header("dpop", bound.proof("GET", "/films"));
            let (answer, statements) = probe.statements(send(bearer)).await;
            check_refused(&answer, "invalid_token");
            assert_eq!(statements, 0);
            let mut cookie = thief.device.with_cookie(&thief.token);
            let (answer, statements) = probe.statements(cookie.get("/films")).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"));
            assert_eq!(statements, 0);
            // A cookie with it does not disturb the owner, and a logout with it ends nothing.
            let request = cookie.raw(Method::GET, "/films");
            let request = request.header("authorization", format!("DPoP {}", bound.token));
            let request = request.header("cookie", format!("{}={}", crate::support::browser::COOKIE, bound.token));
            let answer = send(request.header("dpop", bound.proof("GET", "/films"))).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let mut cookie = thief.device.with_cookie(&thief.token);
            assert_eq!(cookie.post_empty("/auth/logout").await.status, 204);
            let out = thief.device.raw(Method::POST, "/auth/logout").bearer_auth(&thief.token);
            check_refused(&send(out).await, "invalid_token");
            let proof = thief.proof("POST", "/auth/logout");
            for proofs in [&[][..], &[&*proof]] {
                let answer = thief.with(Method::POST, "/auth/logout", proofs).await;
                check_refused(&answer, "invalid_dpop_proof");
            }
            assert_eq!(bound.get("/films").await.status, 200, "it lives");
            let answer =
                bound.with(Method::POST, "/auth/logout", &[&bound.proof("POST", "/auth/logout")]).await;
            assert_eq!(answer.status, 204, "{}", answer.text);
            let (answer, statements) = probe.statements(bound.get("/films")).await;
            check_refused_as(&answer, "session_ended");
            assert_eq!(statements, 1, "a dead session uses up no proof");
        }
    }

    async fn a_proof_is_good_for_one_request_on_any_node(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let bound = Bound::of(&auth, &alice(&probe).await, ClientKey::p256()).await;
        let other = serve(application(&probe.rebuilt(|builder| builder.configure(clients)))).await;
        bound.get("/films").await;
        let proof = bound.proof("GET", "/films");
        let (answer, statements) =
            probe.statements(bound.with(Method::GET, "/films", &[&proof])).await;
        assert_eq!((answer.status, statements), (200, 2), "the session, and the proof");
        check_refused(&bound.with(Method::GET, "/films", &[&proof]).await, "invalid_dpop_proof");
        let there = Bound { device: bound.device.stranger().at(other), ..bound };
        check_refused(&there.with(Method::GET, "/films", &[&proof]).await, "invalid_dpop_proof");
        assert_eq!(there.get("/films").await.status, 200);
        // A replay is no theft of a session token, and no cause to end the session.
        for _ in 0..3 {
            probe.clock.advance(MINUTE);
            there.with(Method::GET, "/films", &[&proof]).await;
        }
        assert_eq!(there.get("/films").await.status, 200);
    }

    async fn of_many_requests_with_one_proof_one_counts(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let bound = Bound::of(&auth, &alice(&probe).await, ClientKey::ed25519(1)).await;
        let other = serve(application(&probe.rebuilt(|builder| builder.configure(clients)))).await;
        let proof = bound.proof("GET", "/films");
        let answers = parallel(32, |at| {
            let device = bound.device.stranger();
            let device = if at % 2 == 0 { device } else { device.at(other) };
            let request = device.raw(Method::GET, "/films").header("dpop", proof.clone());
            let request = request.header("authorization", format!("DPoP {}", bound.token));
            async move { send(request).await.status }
        })
        .await;
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|status| [200, 401].contains(status)), "{answers:?}");
        let proofs = parallel(32, |_| {
            let request = bound.device.stranger().raw(Method::GET, "/films");
            let request = request.header("dpop", bound.proof("GET", "/films"));
            let request = request.header("authorization", format!("DPoP {}", bound.token));
            async move { send(request).await.status }
        })
        .await;
        assert!(proofs.iter().all(|status| *status == 200), "{proofs:?}");
    }

    async fn a_token_that_is_not_bound_needs_no_key_and_takes_none(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let bound = Bound::of(&auth, &account, ClientKey::ed25519(1)).await;
        let started = start(&bound.device, "client_id=tv", None).await;
        approve(&auth, &account, &started).await;
        let answer = poll(&bound.device, "tv", &started, None).await.json();
        assert_eq!(answer["token_type"], "Bearer");
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        let plain = Bound { token: token.clone(), ..bound };
        let (answer, statements) = probe.statements(plain.get("/films")).await;
        check_refused_as(&answer, "invalid_token");
        assert_eq!(statements, 0);
        // A proof beside it is not looked at.
        let request = plain.device.raw(Method::GET, "/films").bearer_auth(&token);
        assert_eq!(send(request.header("dpop", "nonsense")).await.status, 200);
        // If the row says that the session is bound, a token that does not say so is none of it.
        let key = plain.key.thumbprint();
        probe.execute(&format!("UPDATE auth_session SET version = version + 1, bound_to = '{key}'")).await;
        let request = plain.device.raw(Method::GET, "/films").bearer_auth(&token);
        let answer = send(request).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"));
        probe.execute("UPDATE auth_session SET version = version + 1, bound_to = 'nonsense'").await;
        let request = plain.device.raw(Method::GET, "/films").bearer_auth(&token);
        assert_eq!(send(request).await.status, 503, "nobody guesses what it means");
    }

    async fn a_renewed_token_stays_bound(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let mut bound = Bound::of(&auth, &alice(&probe).await, ClientKey::p256()).await;
        let refresh = "/auth/session/refresh";
        let answer = bound.with(Method::POST, refresh, &[]).await;
        check_refused(&answer, "invalid_dpop_proof");
        for _ in 0..3 {
            probe.clock.advance(20 * MINUTE);
            let answer = bound.get("/films").await;
            check_refused(&answer, "use_dpop_nonce");
            bound.nonce = nonce_of(&answer);
            check_refused_as(&bound.get("/films").await, "token_expired");
            let answer = bound.with(Method::POST, refresh, &[&bound.proof("POST", refresh)]).await;
            let renewed = answer.json();
            assert_eq!((answer.status, &renewed["token_type"]), (200, &json!("DPoP")), "{renewed}");
            bound.token = renewed["token"].as_str().expect("a token").to_owned();
            assert_eq!(bound.get("/films").await.status, 200);
            let bearer = bound.device.raw(Method::GET, "/films").bearer_auth(&bound.token);
            check_refused(&send(bearer).await, "invalid_token");
        }
    }

    async fn a_client_gets_a_new_nonce_before_the_old_one_ends(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let mut bound = Bound::of(&auth, &alice(&probe).await, ClientKey::ed25519(1)).await;
        for _ in 0..8 {
            let answer = bound.get("/films").await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let brings = answer.headers.contains_key("dpop-nonce");
            if brings {
                bound.nonce = nonce_of(&answer);
            }
            probe.clock.advance(100 * SECOND);
        }
        assert_eq!(bound.get("/films").await.status, 200, "no request was refused");
        probe.clock.advance(5 * MINUTE + SECOND);
        let (answer, statements) = probe.statements(bound.get("/films")).await;
        check_refused(&answer, "use_dpop_nonce");
        assert_eq!(statements, 0);
    }

    async fn a_session_that_replaces_a_bound_one_is_bound_too(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let mut bound = Bound::of(&auth, &alice(&probe).await, ClientKey::ed25519(1)).await;
        let path = "/auth/reauthenticate";
        let request = bound.device.raw(Method::POST, path).header("dpop", bound.proof("POST", path));
        let request = request.header("authorization", format!("DPoP {}", bound.token));
        let answer = send(request.json(&json!({ "password": PASSWORD }))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let answer = answer.json();
        assert_eq!(answer["token_type"], "DPoP", "{answer}");
        let before = std::mem::replace(&mut bound.token, answer["token"].as_str().expect("a token").to_owned());
        assert_ne!(before, bound.token);
        let devices = "SELECT COUNT(*) FROM auth_session WHERE ended_at IS NULL AND approved_in IS NOT NULL";
        assert_eq!(probe.number(devices).await, 1, "it is a device still");
        assert_eq!(bound.get("/films").await.status, 200);
        let bearer = bound.device.raw(Method::GET, "/films").bearer_auth(&bound.token);
        check_refused(&send(bearer).await, "invalid_token");
    }

    async fn a_bound_token_is_one_credential_and_comes_from_no_page(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let bound = Bound::of(&auth, &account, ClientKey::ed25519(1)).await;
        // No browser adds it by itself, so the same-origin rule does not apply.
        let request = bound.device.raw(Method::POST, "/me").header("dpop", bound.proof("POST", "/me"));
        let request = request.header("authorization", format!("DPoP {}", bound.token));
        let request = request.header("sec-fetch-site", "cross-site").header("origin", "https://evil.example");
        let answer = send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.set_cookies().is_empty());
        // Beside another token or a session cookie, nobody knows which one counts.
        let cookie = cookie_of(&auth.sessions().start(&account, &portcullis::ClientInfo::default()).await.expect("a session"));
        for (name, other) in [("authorization", format!("Bearer {}", bound.token)), ("authorization", format!("DPoP {}", bound.token)), ("cookie", cookie)] {
            let request = bound.device.raw(Method::GET, "/films").header("dpop", bound.proof("GET", "/films"));
            let request = request.header("authorization", format!("DPoP {}", bound.token)).header(name, other);
            let (answer, statements) = probe.statements(send(request)).await;
            assert_eq!((answer.status, answer.code().as_str(), statements), (400, "multiple_credentials", 0), "{name}");
        }
    }

    async fn a_refused_proof_is_no_stranger(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let bound = Bound::of(&auth, &alice(&probe).await, ClientKey::ed25519(1)).await;
        assert_eq!(bound.get("/maybe").await.status, 200);
        for path in ["/maybe", "/caller", "/visit"] {
            let unsigned = bound.key.proof("GET", path, Some(&bound.token), "");
            let answer = bound.with(Method::GET, path, &[&unsigned]).await;
            check_refused(&answer, "use_dpop_nonce");
            let used = bound.proof("GET", path);
            assert_eq!(bound.with(Method::GET, path, &[&used]).await.status, 200);
            check_refused(&bound.with(Method::GET, path, &[&used]).await, "invalid_dpop_proof");
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session WHERE account_id IS NULL").await, 0);
    }

    async fn the_list_of_sessions_says_which_are_bound(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let _bound = Bound::of(&auth, &account, ClientKey::ed25519(1)).await;
        let client = portcullis::ClientInfo::default();
        let session = auth.sessions().start(&account, &client).factor(Factor::Password);
        let cookie = cookie_of(&session.await.expect("a session"));
        let person = Browser::new(serve(application(&auth)).await);
        let request = person.raw(Method::GET, "/auth/sessions").header("cookie", cookie);
        let list = send(request).await.json();
        let bound: Vec<_> = list["sessions"].as_array().expect("a list").iter()
            .filter(|session| session["key_bound"] == true)
            .collect();
        assert_eq!(bound.len(), 1, "{list}");
        assert!(bound[0].get("approved_in").is_some());
    }

    async fn maintenance_forgets_a_proof_only_when_it_is_too_old_to_be_used(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let bound = Bound::of(&auth, &alice(&probe).await, ClientKey::ed25519(1)).await;
        let proof = bound.proof("GET", "/films");
        assert_eq!(bound.with(Method::GET, "/films", &[&proof]).await.status, 200);
        let count = async || probe.number("SELECT COUNT(*) FROM auth_dpop_proof").await;
        let before = count().await;
        probe.clock.advance(15 * MINUTE + 55 * SECOND);
        auth.maintenance().run().await.expect("it runs");
        assert_eq!(count().await, before);
        // A node whose clock is behind, and that accepts proofs for longer.
        probe.clock.step_back(MINUTE);
        let longer = probe.rebuilt(|builder| builder.configure(clients).configure(|config| config.dpop.lifetime = 15 * MINUTE));
        let there = Bound { device: Browser::new(serve(application(&longer)).await), ..bound };
        check_refused(&there.with(Method::GET, "/films", &[&proof]).await, "invalid_dpop_proof");
        let bound = there;
        probe.clock.advance(2 * MINUTE);
        let report = auth.maintenance().run().await.expect("it runs");
        assert_eq!((count().await, report.dpop_proofs), (0, u64::try_from(before).expect("a count")));
        check_refused(&bound.with(Method::GET, "/films", &[&proof]).await, "use_dpop_nonce");
    }
}

/// A refusal whose reason is not the proof.
fn check_refused_as(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (401, code), "{}", answer.text);
    let challenge = answer.headers["www-authenticate"].to_str().expect("text");
    assert_eq!(challenge, "DPoP algs=\"ES256 EdDSA Ed25519\", error=\"invalid_token\"");
}
