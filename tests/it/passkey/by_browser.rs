//! Passkeys that the browser makes by itself, right after a password.

use super::*;

const START: &str = "/auth/passkeys/challenge/conditional";

/// What a browser makes by itself: nobody confirmed, and nobody was verified.
fn silent(seed: u8) -> Authenticator {
    let mut authenticator = Authenticator::ed25519(seed);
    (authenticator.is_present, authenticator.verifies, authenticator.synced) = (false, false, true);
    authenticator
}

/// Adds a passkey as a browser does by itself.
async fn make(browser: &mut Browser, authenticator: &mut Authenticator) -> Answer {
    let options = options(browser, START).await;
    // A browser that must verify its user makes none by itself.
    assert_eq!(options["authenticatorSelection"]["userVerification"], "preferred");
    let credential = authenticator.create(&options);
    browser.post("/auth/passkeys", json!({ "name": "by itself", "credential": credential })).await
}

/// An account whose browser has made a passkey by itself, which now verifies its user.
async fn with_one(probe: &Probe, name: &str) -> (Account, Browser, Authenticator) {
    let account = probe.register_with_email(name, &format!("{name}@example.com")).await;
    probe.auth.accounts().verify(account.id()).await.expect("it is verified");
    let mut browser = probe.browser().await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    let mut authenticator = silent(1);
    let answer = make(&mut browser, &mut authenticator).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    (authenticator.is_present, authenticator.verifies) = (true, true);
    (account, browser, authenticator)
}

on_every_database! {
    async fn it_signs_in_as_the_password_does_and_changes_nothing_else(probe: Probe) {
        let probe = probe.configured(public);
        let account = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(account.id()).await.expect("it is verified");
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        let before = probe.mail().await.len();
        let mut authenticator = silent(1);
        let answer = make(&mut browser, &mut authenticator).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let answer = answer.json();
        assert!(answer["id"].is_string() && answer.get("result").is_none(), "{answer}");
        let ids = &answer["signals"]["allAcceptedCredentials"]["allAcceptedCredentialIds"];
        assert_eq!(*ids, json!([base64(&authenticator.id)]));
        // It is no second factor, all sessions go on, and the owner is told.
        assert_eq!(enrolled(&probe, &account).await, []);
        assert_eq!(other.get("/me").await.status, 200);
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(other.stranger().login("alice", PASSWORD).await.json()["result"], "session");
        let told = probe.mail().await;
        assert!(told[before..].iter().any(|mail| mail.kind == MessageKind::FactorAdded), "{told:?}");

        // Later it verifies its user, and is still one factor.
        (authenticator.is_present, authenticator.verifies) = (true, true);
        let mut fresh = browser.stranger();
        let answer = sign_in(&mut fresh, &authenticator).await;
        assert_eq!(answer.json()["result"], "session", "{}", answer.text);
        let shown = fresh.get("/auth/session").await.json();
        assert!(shown["factors"].to_string().contains("unverified_passkey"), "{shown}");
        assert_eq!(fresh.get("/auth/passkeys").await.json()["passkeys"][0]["second_factor"], false);
        // It opens no change of the factors.
        refused(&fresh.post_empty("/auth/passkeys/challenge").await, 401, "insufficient_user_authentication");
        refused(&fresh.post("/auth/totp", json!({ "name": "phone" })).await, 401, "insufficient_user_authentication");
        // It is no step-up either.
        let answer = fresh.post("/auth/reauthenticate/challenge", json!({ "method": "passkey" })).await;
        refused(&answer, 409, "factor_not_enrolled");

        // With a second factor, the account asks for it.
        let mut browser = fresh.stranger();
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        prove_mailbox(&probe, &mut browser).await;
        let (_, secret) = totp::enrol(&probe, &mut browser, "phone").await;
        assert_eq!(passkeys(&probe).await, 1, "a change of other factors does not remove it");
        let mut fresh = browser.stranger();
        let answer = sign_in(&mut fresh, &authenticator).await;
        assert_eq!(answer.json()["result"], "second_factor_required");
        assert_eq!(answer.json()["methods"], json!([{ "method": "totp" }]));
        assert_eq!(totp::verify(&mut fresh, &totp::code(&probe, &secret)).await.status, 200);
    }

    async fn only_a_password_of_the_last_minute_allows_it(probe: Probe) {
        let probe = probe.configured(public);
        let (_, mut browser) = member(&probe, "alice").await;
        probe.clock.advance(MINUTE - SECOND);
        assert_eq!(browser.post_empty(START).await.status, 200);
        let asked = options(&mut browser, START).await;
        probe.clock.advance(SECOND);
        let answer = browser.post_empty(START).await;
        refused(&answer, 401, "insufficient_user_authentication");
        assert_eq!(answer.json()["factors"], json!(["password"]));
        // What was begun in time can be finished.
        let mut authenticator = silent(1);
        let body = json!({ "name": "by itself", "credential": authenticator.create(&asked) });
        assert_eq!(browser.post("/auth/passkeys", body).await.status, 201);
        // A passkey or the mailbox is not the password.
        (authenticator.is_present, authenticator.verifies) = (true, true);
        let mut fresh = browser.stranger();
        assert_eq!(sign_in(&mut fresh, &authenticator).await.status, 200);
        refused(&fresh.post_empty(START).await, 401, "insufficient_user_authentication");

        // Nobody confirmed, so such an answer is not accepted where somebody must.
        prove_mailbox(&probe, &mut browser).await;
        let mut authenticator = silent(2);
        let answer = add(&mut browser, &mut authenticator, "silent").await;
        refused(&answer, 403, "passkey_not_accepted");
        // One that the browser makes by itself is none even if somebody confirmed.
        assert_eq!(browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await.status, 200);
        (authenticator.is_present, authenticator.verifies) = (true, true);
        assert_eq!(make(&mut browser, &mut authenticator).await.status, 201);
        let listed = browser.get("/auth/passkeys").await.json();
        assert_eq!(listed["passkeys"][1]["second_factor"], false, "{listed}");
    }

    async fn it_ends_with_the_password(probe: Probe) {
        let probe = probe.configured(public);
        // Changed by its owner.
        let (_, mut browser, authenticator) = with_one(&probe, "alice").await;
        assert_eq!(sign_in(&mut browser.stranger(), &authenticator).await.status, 200);
        let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
        assert_eq!(browser.put("/auth/password", body).await.status, 200);
        refused(&sign_in(&mut browser.stranger(), &authenticator).await, 403, "unknown_credential");
        // Forgotten.
        let (_, browser, authenticator) = with_one(&probe, "bob").await;
        reset_by_mail(&probe, "bob@example.com").await;
        refused(&sign_in(&mut browser.stranger(), &authenticator).await, 403, "unknown_credential");
        // One that was added stays.
        let (_, browser, authenticator) = person(&probe, "carol").await;
        reset_by_mail(&probe, "carol@example.com").await;
        assert_eq!(sign_in(&mut browser.stranger(), &authenticator).await.status, 200);
    }
}
