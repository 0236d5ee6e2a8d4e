//! A provider that lies in one thing at a time: claims, keys, header, endpoints, redirects, size and delay.

use super::liar::Says;
use super::*;

/// Signs in, and expects a refusal for this reason. Nothing is created.
async fn lie(probe: &Probe, auth: &Portcullis, liar: &Liar, what: &str, reason: &str) {
    let mut browser = browser(auth).await;
    let answer = sign_in(&mut browser, liar).await;
    assert_eq!((answer.status, &*answer.code()), (403, "provider_not_accepted"), "{what}");
    let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
    assert!(detail.contains(reason), "{what}: {detail}");
    assert!(answer.cookie().is_none() && browser.cookie.is_none(), "{what}");
    assert_eq!((identities(probe).await, probe.rows().await[0]), (0, 0), "{what}");
    liar.repents();
}

on_every_database! {
    async fn a_provider_that_lies_in_one_thing_signs_nobody_in(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let now = portcullis::Clock::now(&probe.clock).as_secs();
        let another = "another issuer";
        for (claims, reason) in [
            (json!({ "iss": "https://accounts.google.com" }), another),
            (json!({ "iss": format!("{}/", liar.issuer) }), another),
            (json!({ "iss": null }), another),
            (json!({ "aud": "another client" }), "another client"),
            (json!({ "aud": ["our client", "another client"] }), "another client"),
            (json!({ "azp": "another client" }), "another client"),
            (json!({ "aud": null }), "another client"),
            (json!({ "exp": now - 100 }), "expired"),
            (json!({ "exp": null }), "wrong type"),
            (json!({ "iat": now + 100 }), "not issued for this sign-in"),
            (json!({ "iat": now - 1000 }), "not issued for this sign-in"),
            (json!({ "nonce": "another" }), "belongs to another sign-in"),
            (json!({ "nonce": null }), "belongs to another sign-in"),
            (json!({ "sub": null }), "who the person is"),
            (json!({ "sub": "" }), "who the person is"),
            (json!({ "sub": 7 }), "who the person is"),
            (json!({ "auth_time": "yesterday" }), "wrong type"),
            (json!({ "at_hash": "another" }), "does not belong to the access token"),
            (json!({ "email": 7 }), "wrong type"),
        ] {
            liar.set(|lies| lies.claims = claims.clone());
            lie(&probe, &auth, &liar, &claims.to_string(), reason).await;
        }
        for (header, reason) in [
            (json!({ "alg": "none" }), "another algorithm"),
            (json!({ "alg": "HS256" }), "another algorithm"),
            (json!({ "typ": "logout+jwt" }), "another type"),
            (json!({ "crit": ["b64"] }), "malformed"),
        ] {
            liar.set(|lies| lies.header = header.clone());
            lie(&probe, &auth, &liar, &header.to_string(), reason).await;
        }
        // A key that is not in the set, under the name of one that is.
        liar.set(|lies| {
            lies.signs_with = Some(9);
            lies.header = json!({ "kid": "key 1" });
        });
        lie(&probe, &auth, &liar, "a forged signature", "signature").await;
        for (tokens, reason) in [
            (json!({ "id_token": null }), "no ID token"),
            (json!({ "id_token": "" }), "token endpoint"),
            (json!({ "id_token": "a.b.c" }), "malformed"),
            (json!({ "access_token": null }), "token endpoint"),
            (json!({ "token_type": "mac" }), "token endpoint"),
        ] {
            liar.set(|lies| lies.tokens = tokens.clone());
            lie(&probe, &auth, &liar, &tokens.to_string(), reason).await;
        }
        let html = "<!doctype html><title>Welcome</title>";
        for (says, reason) in [
            (Says::text(200, "text/html", html), "token endpoint"),
            (Says::text(200, "application/json", "[]"), "token endpoint"),
            (Says::text(200, "application/json", ""), "token endpoint"),
            (Says::text(400, "application/json", "{\"error\":\"invalid_grant\"}"), "did not accept the code"),
            (Says::text(401, "application/json", "{\"error\":\"invalid_client\"}"), "the client id or the secret"),
            (Says::text(200, "application/json", "{\"error\":\"bad_verification_code\"}"), "did not accept the code"),
            (Says::text(404, "text/plain", "nothing here"), "token endpoint"),
        ] {
            let what = format!("{} {}", says.status, says.body);
            liar.set(|lies| drop(lies.says.insert("/token", says)));
            lie(&probe, &auth, &liar, &what, reason).await;
        }
        // A redirect of the token endpoint would get the code and the secret.
        let mut elsewhere = Says::text(307, "text/plain", "");
        elsewhere.location = Some(format!("{}/me", liar.issuer));
        liar.set(|lies| drop(lies.says.insert("/token", elsewhere)));
        let before = liar.asked("/me");
        lie(&probe, &auth, &liar, "a redirect", "token endpoint").await;
        assert_eq!(liar.asked("/me"), before);
        // Afterwards the truth signs in.
        signed_in(&sign_in(&mut browser(&auth).await, &liar).await);
        let events = probe.number(
            "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_fail' AND detail = 'provider_not_accepted'",
        );
        assert!(events.await > 30);
    }

    async fn userinfo_is_about_the_same_person_or_nobody(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, trusted(&liar).ask_userinfo());
        for (info, reason) in [
            (json!({ "sub": "bob", "email": "bob@example.com" }), "another person"),
            (json!({ "email": "bob@example.com" }), "another person"),
            (json!({ "sub": ["alice"] }), "another person"),
        ] {
            liar.set(|lies| lies.userinfo = Some(info.clone()));
            lie(&probe, &auth, &liar, &info.to_string(), reason).await;
        }
        for says in [
            Says::text(200, "text/html", "<html>"),
            Says::text(401, "application/json", "{}"),
            Says::text(200, "application/json", "{\"sub\":\"alice\",\"sub\":\"alice\"}"),
        ] {
            let what = says.body.clone();
            liar.set(|lies| drop(lies.says.insert("/me", says)));
            lie(&probe, &auth, &liar, &what, "about the person").await;
        }
        // What the ID token says wins over what userinfo says.
        liar.set(|lies| lies.userinfo = Some(json!({ "sub": "alice", "email": "boss@example.com" })));
        let id = signed_in(&sign_in(&mut browser(&auth).await, &liar).await).parse().expect("an id");
        let account = auth.accounts().find(id).await.expect("it answers").expect("it is there");
        assert_eq!(account.email(), Some("alice@example.com"));
    }

    async fn a_discovery_document_is_that_of_its_issuer_or_is_refused(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        for (document, reason) in [
            (json!({ "issuer": "https://accounts.google.com" }), "another issuer"),
            (json!({ "issuer": null }), "another issuer"),
            (json!({ "token_endpoint": null }), "an endpoint"),
            (json!({ "token_endpoint": "ftp://example.com/token" }), "an endpoint"),
            (json!({ "jwks_uri": "file:///etc/passwd" }), "an endpoint"),
            (json!({ "authorization_endpoint": "javascript:alert(1)" }), "an endpoint"),
        ] {
            liar.set(|lies| lies.document = document.clone());
            // Nothing is kept of it, so each instance is new.
            let mut browser = browser(&with(&probe, liar.provider())).await;
            let answer = browser.get("/auth/oauth/liar").await;
            refused(&answer, 403, "provider_not_accepted");
            let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
            assert!(detail.contains(reason), "{document}: {detail}");
            liar.repents();
        }
        for (says, status, code) in [
            (Says::text(200, "text/html", "<html>"), 403, "provider_not_accepted"),
            (Says::text(404, "text/plain", ""), 403, "provider_not_accepted"),
            (Says::text(301, "text/plain", ""), 403, "provider_not_accepted"),
            (Says::text(503, "text/plain", ""), 503, "provider_unavailable"),
            (Says::text(200, "application/json", "x".repeat(10 * 1024 * 1024)), 503, "provider_unavailable"),
        ] {
            let status_said = says.status;
            liar.set(|lies| drop(lies.says.insert("/document", says)));
            let mut browser = browser(&with(&probe, liar.provider())).await;
            let answer = browser.get("/auth/oauth/liar").await;
            refused(&answer, status, code);
            if status == 503 {
                assert!(answer.headers.contains_key("retry-after"), "{status_said}");
                // The text may have addresses of your network in it.
                assert!(answer.json()["detail"].is_null(), "{}", answer.text);
            }
            liar.repents();
        }
        assert_eq!(flows(&probe).await, 0);
    }

    async fn private_addresses_are_not_asked_unless_allowed(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        // It counts who connects, before TLS.
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let connected = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&connected);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        let page = browser(&with(&probe, liar.provider())).await;
        for (host, allowed) in [("127.0.0.1", false), ("localhost", false), ("localhost", true)] {
            let provider = Provider::openid("liar", format!("https://{host}:{port}"), "id", "secret");
            let provider = if allowed { provider.danger_private_addresses() } else { provider };
            let mut there = page.at(serve(app(&with(&probe, provider))).await);
            refused(&there.get("/auth/oauth/liar").await, 503, "provider_unavailable");
            let connected = connected.load(std::sync::atomic::Ordering::SeqCst);
            assert_eq!(connected > 0, allowed, "{host}");
        }
        let refused_by_build = portcullis::Portcullis::builder(probe.db.clone())
            .secret(probe.secret.clone())
            .public_url("https://example.com")
            .provider(Provider::openid("liar", &liar.issuer, "id", "secret"))
            .build();
        let why = refused_by_build.expect_err("plain http").to_string();
        assert!(why.contains("https"), "{why}");
    }

    async fn a_slow_provider_costs_the_person_a_clear_answer(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = probe.rebuilt(|builder| {
            let configure = |config: &mut portcullis::Config| {
                crate::passkey::public(config);
                config.federation.timeout = Duration::from_secs(1);
            };
            builder.configure(configure).provider(liar.provider())
        });
        let mut alice = browser(&auth).await;
        let query = go(&mut alice, &liar, "").await;
        let mut slow = Says::json(&json!({}));
        slow.delay = Duration::from_secs(120);
        liar.set(|lies| drop(lies.says.insert("/token", slow)));
        refused(&back(&mut alice, &liar, &query).await, 503, "provider_unavailable");
        liar.repents();
        signed_in(&sign_in(&mut alice, &liar).await);
    }

    async fn a_new_key_is_looked_up_once_in_five_minutes(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut alice = browser(&auth).await;
        signed_in(&sign_in(&mut alice, &liar).await);
        assert_eq!((liar.asked("/document"), liar.asked("/keys")), (1, 1));
        signed_in(&sign_in(&mut alice, &liar).await);
        assert_eq!((liar.asked("/document"), liar.asked("/keys")), (1, 1));
        // The provider has a new key.
        liar.set(|lies| lies.keys = vec![2, 1]);
        signed_in(&sign_in(&mut alice, &liar).await);
        assert_eq!(liar.asked("/keys"), 2);
        // A flood of tokens with unknown keys does not reach it.
        liar.set(|lies| lies.signs_with = Some(9));
        for _ in 0..10 {
            refused(&sign_in(&mut alice.stranger(), &liar).await, 403, "provider_not_accepted");
        }
        assert_eq!(liar.asked("/keys"), 2);
        probe.clock.advance(5 * MINUTE);
        refused(&sign_in(&mut alice.stranger(), &liar).await, 403, "provider_not_accepted");
        assert_eq!(liar.asked("/keys"), 3);
        liar.repents();
        signed_in(&sign_in(&mut alice, &liar).await);
        // A key that the provider has withdrawn is worth nothing after an hour.
        liar.set(|lies| {
            lies.keys = vec![2];
            lies.signs_with = Some(1);
        });
        signed_in(&sign_in(&mut alice, &liar).await);
        probe.clock.advance(61 * MINUTE);
        refused(&sign_in(&mut alice.stranger(), &liar).await, 403, "provider_not_accepted");
    }

    async fn an_outage_of_the_document_or_the_keys_stops_nobody_who_knows_them(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut alice = browser(&auth).await;
        signed_in(&sign_in(&mut alice, &liar).await);
        probe.clock.advance(120 * MINUTE);
        liar.set(|lies| {
            lies.says.insert("/document", Says::text(503, "text/plain", ""));
            lies.says.insert("/keys", Says::text(503, "text/plain", ""));
        });
        signed_in(&sign_in(&mut alice.stranger(), &liar).await);
        let asked = liar.asked("/document");
        // It is not asked again at once.
        signed_in(&sign_in(&mut alice.stranger(), &liar).await);
        assert_eq!(liar.asked("/document"), asked);
        // A new node knows nothing yet. It asks once, and then not for ten seconds.
        let mut there = alice.at(serve(app(&with(&probe, liar.provider()))).await);
        refused(&there.get("/auth/oauth/liar").await, 503, "provider_unavailable");
        refused(&there.get("/auth/oauth/liar").await, 503, "provider_unavailable");
        assert_eq!(liar.asked("/document"), asked + 1);
        liar.repents();
        probe.clock.advance(Duration::from_secs(10));
        assert_eq!(there.get("/auth/oauth/liar").await.status, 303);
    }

    async fn many_sign_ins_at_once_ask_for_the_document_once(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let browser = browser(&auth).await;
        let answers = crate::race::parallel(16, |_| send(browser.request(Method::GET, "/auth/oauth/liar"))).await;
        assert!(answers.iter().all(|answer| answer.status == 303));
        assert_eq!(liar.asked("/document"), 1);
    }

    async fn an_answer_names_its_issuer_if_the_document_says_so(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        liar.set(|lies| {
            lies.document = json!({ "authorization_response_iss_parameter_supported": true });
        });
        let auth = with(&probe, liar.provider());
        let mut alice = browser(&auth).await;
        let right: String = serde_urlencoded::to_string([("iss", &liar.issuer)]).expect("a query");
        for (iss, good) in [
            (String::new(), false),
            ("&iss=https%3A%2F%2Faccounts.google.com".to_owned(), false),
            (format!("&{right}%2F"), false),
            ("&iss=".to_owned(), false),
            (format!("&{right}&{right}"), false),
            (format!("&{right}"), true),
        ] {
            let query = go(&mut alice, &liar, "").await;
            let before = liar.asked("/token");
            let answer = back(&mut alice.clone(), &liar, &format!("{query}{iss}")).await;
            match good {
                true => drop(signed_in(&answer)),
                false => {
                    refused(&answer, 403, "provider_not_accepted");
                    assert_eq!(liar.asked("/token"), before, "{iss}");
                }
            }
        }
        // Also if it is not announced, a wrong one is refused. An error has it too.
        liar.repents();
        let auth = with(&probe, liar.provider());
        let mut bob = browser(&auth).await;
        let query = go(&mut bob, &liar, "").await;
        let answer = back(&mut bob, &liar, &format!("{query}&iss=https%3A%2F%2Fevil.example")).await;
        refused(&answer, 403, "provider_not_accepted");
    }

    async fn each_parameter_of_a_callback_is_read_strictly(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut alice = browser(&auth).await;
        let long = "a".repeat(9000);
        let query = go(&mut alice, &liar, "").await;
        let state = query.split("state=").nth(1).expect("a state").to_owned();
        for bad in [
            String::new(),
            "code=x".to_owned(),
            format!("state={state}"),
            format!("code=&state={state}"),
            format!("code=x&code=y&state={state}"),
            format!("code=x&state={state}&state={state}"),
            format!("code=x&error=y&state={state}"),
            format!("code={long}&state={state}"),
            "code=x&state=%00".to_owned() + &long,
        ] {
            let answer = back(&mut alice, &liar, &bad).await;
            assert!(answer.status == 403, "{} {}", answer.status, &bad[..bad.len().min(60)]);
            assert!(["provider_not_accepted", "provider_flow_ended"].contains(&&*answer.code()));
        }
        // None of them has used up the sign-in.
        signed_in(&back(&mut alice, &liar, &query).await);
        for (error, status, code) in [
            ("access_denied", 403, "provider_cancelled"),
            ("user_cancelled_authorize", 403, "provider_cancelled"),
            ("login_required", 403, "provider_failed"),
            ("<script>", 403, "provider_failed"),
        ] {
            let query = go(&mut alice, &liar, "").await;
            let state = query.split("state=").nth(1).expect("a state").to_owned();
            let error = serde_urlencoded::to_string([("error", error)]).expect("a query");
            let answer = back(&mut alice, &liar, &format!("{error}&state={state}")).await;
            assert_eq!((answer.status, &*answer.code()), (status, code), "{error}");
            assert!(!answer.text.contains("<script>"));
        }
        for bad in ["?next=/a&next=/b", "?what=x", "?intent=steal", "?remember=perhaps"] {
            refused(&alice.get(&format!("/auth/oauth/liar{bad}")).await, 400, "invalid_body");
        }
        for name in ["nobody", "LIAR", "li%61r%00", "..", "%2e%2e", "a/b"] {
            let answer = alice.get(&format!("/auth/oauth/{name}")).await;
            assert_eq!(answer.status, 404, "{name}: {}", answer.text);
        }
    }

    async fn required_claims_keep_other_people_out(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider().requires_claim("hd", "example.com"));
        for claims in [json!({}), json!({ "hd": "evil.example" }), json!({ "hd": ["example.com"] })] {
            liar.set(|lies| lies.claims = claims.clone());
            lie(&probe, &auth, &liar, &claims.to_string(), "other people").await;
        }
        liar.set(|lies| lies.claims = json!({ "hd": "example.com" }));
        signed_in(&sign_in(&mut browser(&auth).await, &liar).await);
    }
}
