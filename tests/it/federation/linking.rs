//! Linking an identity to an account, being asked about one, and unlinking.

use portcullis::MessageKind;

use super::*;

async fn pending(browser: &mut Browser) -> Value {
    let answer = browser.get("/auth/pending-identity").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["identity"].clone()
}

async fn confirm(browser: &mut Browser, id: &Value) -> Answer {
    browser.post("/auth/pending-identity/link", json!({ "id": id })).await
}

on_every_database! {
    async fn an_identity_is_linked_after_its_owner_has_seen_it(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider().label("The Liar"));
        let (account, mut alice) = member(&probe, &auth, "alice").await;
        let mut elsewhere = alice.stranger();
        assert_eq!(elsewhere.login("alice", PASSWORD).await.status, 200);
        assert_eq!(pending(&mut alice).await, Value::Null);
        let query = go(&mut alice, &liar, "?intent=link&next=/settings").await;
        let answer = back(&mut alice, &liar, &query).await;
        assert_eq!((answer.status, identities(&probe).await), (200, 0), "{}", answer.text);
        let shown = pending(&mut alice).await;
        assert_eq!(shown["id"], answer.json()["id"]);
        assert_eq!((&shown["email"], &shown["display_name"], &shown["label"], &shown["links"]),
            (&json!("alice@example.com"), &json!("alice at liar"), &json!("The Liar"), &json!(true)));
        // What the provider told is encrypted.
        for value in probe.hex_dump("auth_pending_identity").await {
            assert!(!value.contains(&data_encoding::HEXLOWER.encode(b"alice@example.com")));
        }
        // Another browser neither sees nor confirms it, and neither does another session in this browser.
        assert_eq!(pending(&mut elsewhere).await, Value::Null);
        refused(&confirm(&mut elsewhere, &shown["id"]).await, 403, "pending_identity_ended");
        let (_, mallory) = member(&probe, &auth, "mallory").await;
        let mut shared = alice.clone();
        shared.cookie.clone_from(&mallory.cookie);
        refused(&confirm(&mut shared, &shown["id"]).await, 403, "pending_identity_ended");
        for id in [json!("x"), json!("00000000-0000-7000-8000-000000000000")] {
            refused(&confirm(&mut alice, &id).await, 403, "pending_identity_ended");
        }
        let answer = confirm(&mut alice, &shown["id"]).await;
        assert_eq!(signed_in(&answer), account.id().to_string());
        // All other sessions end, and the owner is told, with a link that undoes it.
        assert_eq!(elsewhere.get("/me").await.status, 401);
        assert_eq!(alice.get("/me").await.status, 200);
        let listed = alice.get("/auth/oauth").await.json()["identities"].clone();
        assert_eq!((listed.as_array().map(Vec::len), &listed[0]["provider"]), (Some(1), &json!("liar")));
        assert_eq!(listed[0]["email"], "alice@example.com");
        refused(&confirm(&mut alice, &shown["id"]).await, 403, "pending_identity_ended");
        let mut other = alice.stranger();
        assert_eq!(signed_in(&sign_in(&mut other, &liar).await), account.id().to_string());
        let mails = probe.mail().await;
        let mail = mails.iter().rev().find(|mail| mail.kind == MessageKind::FactorAdded);
        let text = &mail.expect("a mail").text;
        let (_, rest) = text.split_once("#token=").expect("a link");
        let token = rest.split_whitespace().next().expect("a token");
        let answer = other.stranger().post("/auth/second-factor/undo", json!({ "token": token })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        assert_eq!(identities(&probe).await, 0);
        assert_eq!(other.get("/me").await.status, 401);
    }

    async fn linking_needs_a_recent_factor_also_at_its_end(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let (account, mut alice) = member(&probe, &auth, "alice").await;
        let mut nobody = alice.stranger();
        refused(&nobody.get("/auth/oauth/liar?intent=link").await, 401, "not_signed_in");
        let query = go(&mut alice, &liar, "?intent=link").await;
        let answer = back(&mut alice, &liar, &query).await;
        probe.clock.advance(5 * MINUTE);
        let late = confirm(&mut alice, &answer.json()["id"]).await;
        refused(&late, 401, "insufficient_user_authentication");
        refused(&alice.get("/auth/oauth/liar?intent=link").await, 401, "insufficient_user_authentication");
        // The decision is still open after the step-up, also though the session is another one.
        let body = json!({ "password": PASSWORD });
        assert_eq!(alice.post("/auth/reauthenticate", body).await.status, 200);
        signed_in(&confirm(&mut alice, &answer.json()["id"]).await);
        // An account with a second factor needs that one.
        auth.accounts().set_enrolled_factors(account.id(), [Factor::Totp]).await.expect("it is set");
        let client = portcullis::ClientInfo::default();
        let account = auth.accounts().find(account.id()).await.expect("it answers").expect("there");
        let start = auth.sessions().start(&account, &client).factor(Factor::Password);
        let mut session = alice.with_cookie(&token_of(&start.await.expect("a session")));
        let answer = session.get("/auth/oauth/liar?intent=link").await;
        refused(&answer, 401, "insufficient_user_authentication");
        assert_eq!(answer.json()["factors"], json!(["totp"]));
        let answer = session.delete("/auth/oauth/liar").await;
        refused(&answer, 401, "insufficient_user_authentication");
    }

    async fn an_identity_belongs_to_one_account_and_an_account_has_one_of_a_provider(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let (_, mut alice) = member(&probe, &auth, "alice").await;
        let (_, mut bob) = member(&probe, &auth, "bob").await;
        link(&mut alice, &liar).await;
        let query = go(&mut bob, &liar, "?intent=link").await;
        let answer = back(&mut bob, &liar, &query).await;
        refused(&confirm(&mut bob, &answer.json()["id"]).await, 409, "identity_of_other_account");
        liar.is("another one", "", false);
        let query = go(&mut alice, &liar, "?intent=link").await;
        let answer = back(&mut alice, &liar, &query).await;
        refused(&confirm(&mut alice, &answer.json()["id"]).await, 409, "provider_already_linked");
        // Bob and Carol want one identity at the same moment.
        let (_, mut carol) = member(&probe, &auth, "carol").await;
        let mut ready = Vec::new();
        for browser in [&mut bob, &mut carol] {
            let query = go(browser, &liar, "?intent=link").await;
            let id = back(browser, &liar, &query).await.json()["id"].clone();
            ready.push((browser.clone(), id));
        }
        let answers = crate::race::parallel(2, |number| {
            let (browser, id) = ready[number].clone();
            async move {
                let request = browser.request(Method::POST, "/auth/pending-identity/link");
                send(request.json(&json!({ "id": id }))).await
            }
        })
        .await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{answers:?}");
        assert_eq!(identities(&probe).await, 2);
    }

    async fn a_confirmation_that_is_sent_many_times_links_once(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let (_, mut alice) = member(&probe, &auth, "alice").await;
        let query = go(&mut alice, &liar, "?intent=link").await;
        let id = back(&mut alice, &liar, &query).await.json()["id"].clone();
        let answers = crate::race::parallel(16, |_| {
            let request = alice.request(Method::POST, "/auth/pending-identity/link");
            send(request.json(&json!({ "id": id })))
        })
        .await;
        let good = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!((good, identities(&probe).await), (1, 1), "{answers:?}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            let code = answer.code();
            let known = ["pending_identity_ended", "session_ended", "provider_already_linked"];
            assert!(known.contains(&&*code), "{}", answer.text);
        }
    }

    async fn the_last_way_in_cannot_be_unlinked(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let second = Liar::start(&probe, "second").await;
        let both = |builder: portcullis::Builder| {
            builder
                .configure(crate::passkey::public)
                .provider(liar.provider())
                .provider(second.provider())
        };
        let auth = probe.rebuilt(both);
        let mut alice = browser(&auth).await;
        let recent = |alice: &mut Browser| {
            let mut alice = alice.clone();
            let liar = liar.clone();
            async move {
                let query = go(&mut alice, &liar, "?intent=step_up").await;
                signed_in(&back(&mut alice, &liar, &query).await);
                alice
            }
        };
        signed_in(&sign_in(&mut alice, &liar).await);
        let mut alice = recent(&mut alice).await;
        refused(&alice.delete("/auth/oauth/liar").await, 409, "last_way_in");
        refused(&alice.delete("/auth/oauth/second").await, 404, "identity_not_found");
        refused(&alice.delete("/auth/oauth/nobody").await, 404, "identity_not_found");
        // A second provider is another way in, but only while it is switched on.
        link(&mut alice, &second).await;
        let off = probe.rebuilt(|builder| {
            builder
                .configure(crate::passkey::public)
                .provider(liar.provider())
                .provider(second.provider().enabled(false))
        });
        let mut there = alice.at(serve(app(&off)).await);
        refused(&there.delete("/auth/oauth/liar").await, 409, "last_way_in");
        let mut other = alice.stranger();
        signed_in(&sign_in(&mut other, &second).await);
        let answer = alice.post("/auth/oauth/liar/unlink", json!({})).await;
        signed_in(&answer);
        // The sessions that began with it are over, and so are all others.
        assert_eq!(other.get("/me").await.status, 401);
        assert_eq!(alice.get("/me").await.status, 200);
        assert_eq!(identities(&probe).await, 1);
        let kinds: Vec<_> = probe.mail().await.iter().map(|mail| mail.kind).collect();
        assert!(!kinds.contains(&MessageKind::FactorRemoved), "it has no address: {kinds:?}");
        // One that is not configured any more can be unlinked too, if there is a password.
        let (_, mut bob) = member(&probe, &auth, "bob").await;
        liar.is("bob", "", false);
        link(&mut bob, &liar).await;
        let without = probe.rebuilt(|builder| builder.configure(crate::passkey::public));
        let mut there = bob.at(serve(app(&without)).await);
        assert_eq!(there.get("/auth/oauth").await.json()["identities"][0]["provider"], "liar");
        signed_in(&there.delete("/auth/oauth/liar").await);
        let mails = probe.mail().await;
        let mail = mails.iter().rev().find(|mail| mail.kind == MessageKind::FactorRemoved);
        assert!(mail.expect("a mail").subject.contains("way to sign in"));
    }

    async fn a_passkey_is_a_way_in_and_a_provider_is_one_for_a_passkey(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut alice = browser(&auth).await;
        let id = signed_in(&sign_in(&mut alice, &liar).await).parse().expect("an id");
        let account = auth.accounts().find(id).await.expect("it answers").expect("it is there");
        let _key = crate::passkey::added(&auth, &account, false).await;
        let account = auth.accounts().find(id).await.expect("it answers").expect("it is there");
        let client = portcullis::ClientInfo::default();
        let start = || auth.sessions().start(&account, &client).factor(Factor::Passkey);
        let mut session = alice.with_cookie(&token_of(&start().await.expect("a session")));
        let listed = session.get("/auth/passkeys").await.json();
        let key = listed["passkeys"][0]["id"].as_str().expect("an id").to_owned();
        // Both can go while the other one is there.
        signed_in(&session.delete("/auth/oauth/liar").await);
        refused(&session.delete(&format!("/auth/passkeys/{key}")).await, 409, "last_way_in");
        link(&mut session, &liar).await;
        assert_eq!(session.delete(&format!("/auth/passkeys/{key}")).await.status, 200);
        refused(&session.delete("/auth/oauth/liar").await, 409, "last_way_in");
    }

    async fn a_person_who_is_asked_gets_an_account_or_links_the_identity(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, trusted(&liar).policy(ProviderPolicy::OnRequest));
        let mut first = browser(&auth).await;
        let answer = sign_in(&mut first, &liar).await;
        assert_eq!(answer.json()["result"], "identity_pending", "{}", answer.text);
        assert_eq!((answer.json()["links"].clone(), probe.rows().await[0]), (json!(false), 0));
        assert!(first.cookie.is_none());
        let id = answer.json()["id"].clone();
        let register = |browser: &Browser, body: Value| {
            browser.request(Method::POST, "/auth/pending-identity/register").json(&body)
        };
        // An invalid name loses nothing.
        let answer = send(register(&first, json!({ "id": id, "username": "" }))).await;
        assert!(!answer.field_codes("username").is_empty());
        refused(&send(register(&first.stranger(), json!({ "id": id }))).await, 403, "pending_identity_ended");
        refused(&send(register(&first, json!({ "id": id, "email": "x" }))).await, 400, "invalid_body");
        let request = register(&first, json!({ "id": id, "username": "alice", "profile": { "a": 1 } }));
        let answer = first.send(request).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let account_id = answer.json()["account_id"].as_str().expect("one").parse().expect("an id");
        let account = auth.accounts().find(account_id).await.expect("it answers").expect("it is there");
        assert_eq!((account.username(), account.email(), account.is_verified()),
            (Some("alice"), Some("alice@example.com"), true));
        refused(&send(register(&first.stranger(), json!({ "id": id }))).await, 403, "pending_identity_ended");
        // The next time they are not asked.
        signed_in(&sign_in(&mut first.stranger(), &liar).await);
        // Bob has an account. He signs in to it, and links the identity.
        let (bob, mut browser) = member(&probe, &auth, "bob").await;
        browser.cookie = None;
        liar.is("bob", "bob@example.com", true);
        let id = sign_in(&mut browser, &liar).await.json()["id"].clone();
        refused(&send(register(&browser, json!({ "id": id }))).await, 409, "account_exists");
        refused(&confirm(&mut browser.clone(), &id).await, 401, "not_signed_in");
        assert_eq!(browser.login("bob", PASSWORD).await.status, 200);
        signed_in(&confirm(&mut browser, &id).await);
        assert_eq!(signed_in(&sign_in(&mut browser.stranger(), &liar).await), bob.id().to_string());
        // Carol does not want it.
        liar.is("carol", "carol@example.com", true);
        let mut carol = browser.stranger();
        let id = sign_in(&mut carol, &liar).await.json()["id"].clone();
        assert_eq!(carol.post("/auth/pending-identity/discard", json!({ "id": id })).await.status, 204);
        assert_eq!(carol.post("/auth/pending-identity/discard", json!({ "id": id })).await.status, 204);
        refused(&send(register(&carol, json!({ "id": id }))).await, 403, "pending_identity_ended");
        // Or she is too late.
        let id = sign_in(&mut carol, &liar).await.json()["id"].clone();
        probe.clock.advance(10 * MINUTE);
        assert_eq!(pending(&mut carol).await, Value::Null);
        refused(&send(register(&carol, json!({ "id": id }))).await, 403, "pending_identity_ended");
        // The row of nobody's identity and hers are deleted.
        probe.clock.advance(MINUTE);
        auth.maintenance().run().await.expect("it runs");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_pending_identity").await, 0);
    }

    async fn many_registrations_with_one_identity_make_one_account(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider().policy(ProviderPolicy::OnRequest));
        let mut alice = browser(&auth).await;
        let id = sign_in(&mut alice, &liar).await.json()["id"].clone();
        let answers = crate::race::parallel(8, |_| {
            let request = alice.request(Method::POST, "/auth/pending-identity/register");
            send(request.json(&json!({ "id": id })))
        })
        .await;
        let good = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!((good, identities(&probe).await, probe.rows().await[0]), (1, 1, 1), "{answers:?}");
    }
}
