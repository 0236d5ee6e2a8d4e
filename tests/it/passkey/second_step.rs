//! Passkeys after a password, in a step-up, and passkeys whose authenticator does not verify its user.

use super::*;

async fn challenge(browser: &mut Browser) -> Answer {
    browser.post("/auth/second-factor/challenge", json!({ "method": "passkey" })).await
}

async fn verify(browser: &mut Browser, credential: Value) -> Answer {
    let body = json!({ "method": "passkey", "credential": credential });
    browser.post("/auth/second-factor/verify", body).await
}

/// Answers the challenge of a sign-in that waits for its second step.
async fn second_step(browser: &mut Browser, authenticator: &Authenticator) -> Answer {
    let answer = challenge(browser).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    verify(browser, authenticator.get(&answer.json()["options"])).await
}

async fn step_up(browser: &mut Browser, authenticator: &Authenticator) -> Answer {
    let body = json!({ "method": "passkey" });
    let answer = browser.post("/auth/reauthenticate/challenge", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let credential = authenticator.get(&answer.json()["options"]);
    browser.post("/auth/reauthenticate", json!({ "credential": credential })).await
}

fn preferred(config: &mut Config) {
    public(config);
    config.passkey.user_verification = UserVerification::Preferred;
}

/// The factors that the session has passed.
async fn passed(browser: &mut Browser) -> String {
    browser.get("/auth/session").await.json()["factors"].to_string()
}

on_every_database! {
    async fn a_passkey_is_asked_for_after_the_password(probe: Probe) {
        let probe = probe.configured(public);
        let (account, browser, authenticator) = person(&probe, "alice").await;
        let mut fresh = browser.stranger();
        let answer = fresh.login("alice", PASSWORD).await;
        assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
        assert_eq!(answer.json()["methods"], json!([{ "method": "passkey" }]));
        let answer = challenge(&mut fresh).await;
        let right = authenticator.get(&answer.json()["options"]);
        let mut wrong = right.clone();
        wrong["response"]["signature"] = base64(&[0x30, 6, 2, 1, 1, 2, 1, 1]).into();
        refused(&verify(&mut fresh, wrong).await, 403, "wrong_code");
        refused(&verify(&mut fresh, right).await, 403, "code_ended");
        // As a text, as a form has it.
        let answer = challenge(&mut fresh).await;
        let credential = authenticator.get(&answer.json()["options"]);
        let answer = verify(&mut fresh, credential.to_string().into()).await;
        assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("session")));
        assert_eq!(fresh.get("/me").await.text, account.id().to_string());
        // Once.
        refused(&verify(&mut fresh, credential).await, 401, "wrong_stage");

        // A session proves it again.
        probe.clock.advance(6 * MINUTE);
        refused(&fresh.post_empty("/auth/passkeys/challenge").await, 401, "insufficient_user_authentication");
        let answer = step_up(&mut fresh, &authenticator).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(fresh.post_empty("/auth/passkeys/challenge").await.status, 200);
    }

    async fn without_verification_it_is_one_factor_of_two(probe: Probe) {
        let probe = probe.configured(preferred);
        let (account, mut browser) = member(&probe, "alice").await;
        let mut key = Authenticator::p256();
        key.verifies = false;
        assert_eq!(add(&mut browser, &mut key, "old key").await.status, 201);
        // After the password it is the second factor.
        let mut fresh = browser.stranger();
        assert_eq!(fresh.login("alice", PASSWORD).await.json()["result"], "second_factor_required");
        assert_eq!(second_step(&mut fresh, &key).await.json()["result"], "session");
        let factors = passed(&mut fresh).await;
        assert!(factors.contains("\"passkey\""), "{factors}");

        // Alone it is the first one, and the account has no other: the same passkey is not the second.
        let mut alone = browser.stranger();
        let answer = sign_in(&mut alone, &key).await;
        assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
        assert_eq!(answer.json()["methods"], json!([]));
        assert_eq!(alone.get("/me").await.status, 401);
        refused(&challenge(&mut alone).await, 409, "factor_used_already");

        // With an authenticator beside it, the sign-in can be finished.
        assert_eq!(step_up(&mut browser, &key).await.status, 200);
        let (_, secret) = totp::enrol(&probe, &mut browser, "phone").await;
        let mut alone = browser.stranger();
        let answer = sign_in(&mut alone, &key).await;
        assert_eq!(answer.json()["methods"], json!([{ "method": "totp" }]));
        let answer = totp::verify(&mut alone, &totp::code(&probe, &secret)).await;
        assert_eq!(answer.json()["result"], "session", "{}", answer.text);
        let factors = passed(&mut alone).await;
        assert!(factors.contains("unverified_passkey") && factors.contains("totp"), "{factors}");

        // If it verifies its user beside another factor, this counts from then on.
        key.verifies = true;
        let answer = sign_in(&mut browser.stranger(), &key).await;
        assert_eq!(answer.json()["result"], "second_factor_required", "it alone says so");
        let mut fresh = browser.stranger();
        assert_eq!(fresh.login("alice", PASSWORD).await.status, 200);
        assert_eq!(second_step(&mut fresh, &key).await.json()["result"], "session");
        let mut alone = browser.stranger();
        assert_eq!(sign_in(&mut alone, &key).await.json()["result"], "session");
        assert_eq!(alone.get("/me").await.text, account.id().to_string());
        // But not at a use without it.
        key.verifies = false;
        assert_eq!(sign_in(&mut browser.stranger(), &key).await.json()["result"], "second_factor_required");
    }

    async fn the_service_decides_whether_a_passkey_is_asked_for(probe: Probe) {
        let probe = probe.configured(|config| {
            public(config);
            config.passkey.asked_after_password = false;
        });
        let (account, browser, authenticator) = person(&probe, "alice").await;
        let mut by_password = browser.stranger();
        assert_eq!(by_password.login("alice", PASSWORD).await.json()["result"], "session");
        assert_eq!(sign_in(&mut browser.stranger(), &authenticator).await.json()["result"], "session");
        // The password changes no factors.
        let refusal = by_password.post_empty("/auth/passkeys/challenge").await;
        refused(&refusal, 401, "insufficient_user_authentication");
        assert_eq!(refusal.json()["factors"], json!(["passkey"]));
        // A role that requires a factor counts at once, also for the session that had none.
        require_factor_of(&probe, &account).await;
        assert_eq!(by_password.get("/me").await.status, 401);
        let mut fresh = browser.stranger();
        assert_eq!(fresh.login("alice", PASSWORD).await.json()["result"], "second_factor_required");
        assert_eq!(second_step(&mut fresh, &authenticator).await.json()["result"], "session");
        assert_eq!(sign_in(&mut browser.stranger(), &authenticator).await.json()["result"], "session");
    }

    async fn wrong_answers_count_as_wrong_codes_and_a_lock_does_not_stop_a_passkey_alone(probe: Probe) {
        let probe = probe.configured(|config| {
            public(config);
            config.passkey.challenges_per_minute = 1000;
        });
        let (_, browser, authenticator) = person(&probe, "alice").await;
        let mut thief = browser.stranger();
        assert_eq!(thief.login("alice", PASSWORD).await.status, 200);
        for _ in 0..15 {
            let asked = challenge(&mut thief).await.json();
            let mut credential = authenticator.get(&asked["options"]);
            credential["response"]["signature"] = base64(&[0x30, 6, 2, 1, 1, 2, 1, 1]).into();
            refused(&verify(&mut thief, credential).await, 403, "wrong_code");
            probe.clock.advance(SECOND);
        }
        refused(&second_step(&mut thief, &authenticator).await, 403, "wrong_code");
        assert_eq!(sign_in(&mut browser.stranger(), &authenticator).await.json()["result"], "session");
    }
}
