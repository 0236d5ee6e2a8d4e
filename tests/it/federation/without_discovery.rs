//! A provider without discovery and ID tokens, and the tokens of providers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis::config::OAuthEndpoints;

use super::liar::Says;
use super::*;

fn endpoints(liar: &Liar) -> OAuthEndpoints {
    OAuthEndpoints {
        issuer: liar.issuer.clone(),
        authorization: format!("{}/auth", liar.issuer),
        token: format!("{}/token", liar.issuer),
        user: format!("{}/user", liar.issuer),
        emails: Some(format!("{}/emails", liar.issuer)),
        subject: "id".to_owned(),
    }
}

fn hub(liar: &Liar) -> Provider {
    Provider::oauth2("liar", endpoints(liar), liar::CLIENT, liar::SECRET)
        .scopes(["read:user"])
        .danger_private_addresses()
}

on_every_database! {
    async fn a_person_is_the_number_that_the_provider_tells(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, hub(&liar).mail(MailTrust::Verified));
        let mut alice = browser(&auth).await;
        let answer = alice.get("/auth/oauth/liar").await;
        let location = answer.headers["location"].to_str().expect("ASCII").to_owned();
        assert!(!location.contains("nonce=") && location.contains("code_challenge="), "{location}");
        let id = signed_in(&sign_in(&mut alice, &liar).await);
        let account = auth.accounts().find(id.parse().expect("an id")).await;
        let account = account.expect("it answers").expect("it is there");
        // The address is the one that the provider has checked, and not the one in the profile.
        assert_eq!(account.email(), Some("octocat@example.com"));
        let subject = probe.text("SELECT subject FROM auth_provider_identity").await;
        assert_eq!(subject.as_deref(), Some("583231"));
        let name = probe.text("SELECT display_name FROM auth_provider_identity").await;
        assert_eq!(name.as_deref(), Some("octocat"));
        assert_eq!((liar.asked("/document"), liar.asked("/keys")), (0, 0));
        // The name of the login may be given to somebody else. It identifies nobody.
        let renamed = Says::json(&json!({ "id": 583_231, "login": "somebody" }));
        liar.set(|lies| drop(lies.says.insert("/user", renamed)));
        assert_eq!(signed_in(&sign_in(&mut alice.stranger(), &liar).await), id);
        for body in [
            json!({ "login": "octocat" }),
            json!({ "id": null }),
            json!({ "id": 0 }),
            json!({ "id": -1 }),
            json!({ "id": 1.5 }),
            json!({ "id": [583_231] }),
            json!({ "id": "" }),
        ] {
            liar.set(|lies| drop(lies.says.insert("/user", Says::json(&body))));
            let answer = sign_in(&mut alice.stranger(), &liar).await;
            refused(&answer, 403, "provider_not_accepted");
        }
        liar.repents();
        for (path, says) in [
            ("/user", Says::text(401, "application/json", "{}")),
            ("/user", Says::text(200, "text/html", "<html>")),
            ("/emails", Says::text(200, "application/json", "{}")),
            ("/emails", Says::text(403, "application/json", "[]")),
        ] {
            liar.set(|lies| drop(lies.says.insert(path, says)));
            refused(&sign_in(&mut alice.stranger(), &liar).await, 403, "provider_not_accepted");
            liar.repents();
        }
        // It does not tell when it has asked, so it cannot step up. It ends no sessions either.
        let query = go(&mut alice, &liar, "?intent=step_up").await;
        refused(&back(&mut alice, &liar, &query).await, 403, "provider_did_not_ask");
        let request = alice.raw(Method::POST, "/auth/oauth/liar/backchannel-logout");
        let answer = send(request.form(&[("logout_token", "x")])).await;
        refused(&answer, 404, "provider_not_found");
    }

    async fn an_account_with_no_other_way_in_can_get_one_after_each_sign_in(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, hub(&liar));
        let mut alice = browser(&auth).await;
        let id = signed_in(&sign_in(&mut alice, &liar).await);
        // The provider never tells when it has asked, and vouches for no address.
        assert_eq!(alice.get("/auth/oauth/liar?intent=link").await.status, 303);
        probe.clock.advance(6 * MINUTE);
        let address = json!({ "email": "alice@example.com" });
        refused(&alice.post("/auth/email", address.clone()).await, 401, "insufficient_user_authentication");
        assert_eq!(signed_in(&sign_in(&mut alice, &liar).await), id);
        let answer = alice.post("/auth/email", address).await;
        assert!(answer.status < 300, "{}", answer.text);
        // With a password, the sign-in is old again: the owner can prove that.
        let password = portcullis::account::NewAccount::username("bob");
        let bob = auth.registration().create(password, PASSWORD).await.expect("an account");
        liar.set(|lies| drop(lies.says.insert("/user", Says::json(&json!({ "id": 7, "login": "bob" })))));
        linked(&auth, &bob, &liar, "unused").await;
        let mut elsewhere = alice.stranger();
        assert_eq!(signed_in(&sign_in(&mut elsewhere, &liar).await), bob.id().to_string());
        let answer = elsewhere.get("/auth/oauth/liar?intent=link").await;
        refused(&answer, 401, "insufficient_user_authentication");
    }

    async fn a_refresh_token_stays_until_there_is_another_one(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider().keep_tokens());
        let mut alice = browser(&auth).await;
        let id = signed_in(&sign_in(&mut alice, &liar).await).parse().expect("an id");
        liar.set(|lies| lies.tokens = json!({ "refresh_token": null, "access_token": "access-later" }));
        signed_in(&sign_in(&mut alice.stranger(), &liar).await);
        let tokens = auth.provider_tokens(id, "liar").await.expect("they are kept");
        assert_eq!((&**tokens.access_token, tokens.refresh_token.as_ref().map(|token| token.to_string())),
            ("access-later", Some("refresh 0".to_owned())));
        liar.repents();
        assert!(auth.refresh_provider_tokens(id, "liar").await.is_ok());
        // Nobody knows whether a provider that did not answer has used the token, so it is not sent again at once.
        liar.set(|lies| drop(lies.says.insert("/token", Says::text(500, "text/plain", ""))));
        let asked = liar.asked("/token");
        for code in ["provider_unavailable", "provider_tokens_refreshing"] {
            let error = auth.refresh_provider_tokens(id, "liar").await.expect_err("it is refused");
            assert_eq!(portcullis::Problem::code(&error), code);
        }
        assert_eq!(liar.asked("/token") - asked, 1);
        liar.repents();
        probe.clock.advance(4 * MINUTE);
        assert!(auth.refresh_provider_tokens(id, "liar").await.is_ok());
    }

    async fn tokens_are_kept_only_if_asked_for_and_encrypted(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut alice = browser(&auth).await;
        let id = signed_in(&sign_in(&mut alice, &liar).await).parse().expect("an id");
        assert!(auth.provider_tokens(id, "liar").await.is_err());
        let auth = with(&probe, liar.provider().keep_tokens());
        let mut there = alice.at(serve(app(&auth)).await);
        let answer = sign_in(&mut there, &liar).await;
        signed_in(&answer);
        assert!(!answer.text.contains("access-0"));
        let tokens = auth.provider_tokens(id, "liar").await.expect("they are kept");
        assert_eq!((&**tokens.access_token, tokens.refresh_token.as_ref().map(|token| token.to_string())),
            ("access-0", Some("refresh 0".to_owned())));
        let now = portcullis::Clock::now(&probe.clock);
        assert_eq!(tokens.expires_at, Some(now.plus(MINUTE)));
        assert_eq!(format!("{tokens:?}"), "ProviderTokens(..)");
        let secret = data_encoding::HEXLOWER.encode(b"access-0");
        for value in probe.hex_dump("auth_provider_identity").await {
            assert!(!value.contains(&secret));
        }
        assert!(auth.provider_tokens(id, "other").await.is_err());
        for path in ["/auth/oauth", "/auth/session", "/auth/account/export"] {
            assert!(!there.get(path).await.text.contains("access-0"), "{path}");
        }
        // Tokens that were moved to another row do not open.
        let mut bob = there.stranger();
        liar.is("bob", "", false);
        let other = signed_in(&sign_in(&mut bob, &liar).await).parse().expect("an id");
        probe.execute("UPDATE auth_provider_identity SET tokens = (SELECT tokens FROM (SELECT tokens FROM auth_provider_identity WHERE subject = 'alice') AS a) WHERE subject = 'bob'").await;
        assert!(auth.provider_tokens(other, "liar").await.is_err());
    }

    async fn of_many_refreshes_at_once_one_asks_the_provider(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider().keep_tokens());
        let mut alice = browser(&auth).await;
        let id = signed_in(&sign_in(&mut alice, &liar).await).parse().expect("an id");
        let before = liar.asked("/token");
        let nodes = [auth.clone(), with(&probe, liar.provider().keep_tokens())];
        // The provider answers when all others have been refused.
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        liar.set(|lies| lies.gate = Some(Arc::clone(&gate)));
        let refused = Arc::new(AtomicUsize::new(0));
        let results = crate::race::parallel(16, |number| {
            let (auth, gate, refused) =
                (nodes[number % 2].clone(), Arc::clone(&gate), Arc::clone(&refused));
            async move {
                let result = auth.refresh_provider_tokens(id, "liar").await;
                if result.is_err() && refused.fetch_add(1, Ordering::SeqCst) == 14 {
                    gate.add_permits(100);
                }
                result.map(|tokens| tokens.access_token.to_string())
            }
        })
        .await;
        let good: Vec<_> = results.iter().filter_map(|result| result.as_deref().ok()).collect();
        assert_eq!((good, liar.asked("/token") - before), (vec!["access-1"], 1), "{results:?}");
        let tokens = auth.provider_tokens(id, "liar").await.expect("they are kept");
        assert_eq!(&**tokens.access_token, "access-1");
        let tokens = auth.refresh_provider_tokens(id, "liar").await.expect("they are refreshed");
        assert_eq!(&**tokens.access_token, "access-2");
        // A refusal keeps the old ones, and the next attempt is possible at once.
        liar.set(|lies| drop(lies.says.insert("/token", Says::text(400, "application/json", "{\"error\":\"invalid_grant\"}"))));
        for _ in 0..2 {
            let error = auth.refresh_provider_tokens(id, "liar").await.expect_err("it is refused");
            assert!(error.to_string().contains("did not accept"), "{error}");
        }
        liar.repents();
        assert!(auth.refresh_provider_tokens(id, "liar").await.is_ok());
    }
}
