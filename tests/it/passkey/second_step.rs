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
        assert_eq!(alone.get("/me").await.status, 401);
        refused(&challenge(&mut alone).await, 409, "factor_used_already");

        // With an authenticator beside it, the sign-in can be finished.
        assert_eq!(step_up(&mut browser, &key).await.status, 200);
        let (_, secret) = totp::enrol(&probe, &mut browser, "phone").await;
        let mut alone = browser.stranger();
        let answer = sign_in(&mut alone, &key).await;
        assert_eq!(answer.json()["methods"], json!([{ "method": "totp" }, { "method": "passkey" }]));
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
            config.passkey.challenges = portcullis::rate_limit::Quota::per_minute(1000);
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

    async fn a_passkey_made_by_the_browser_and_one_that_was_added_are_two_factors(probe: Probe) {
        let probe = probe.configured(public);
        let (account, browser, added) = person(&probe, "alice").await;
        let auth = probe.auth.clone();
        let by_browser = super::added(&auth, &account, true).await;
        let mut fresh = browser.stranger();
        let answer = sign_in(&mut fresh, &by_browser).await;
        assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
        // The name and the passkeys of the account are told after the second factor.
        assert_eq!(answer.json()["signals"], Value::Null);
        // The first one is not the second one too.
        let asked = challenge(&mut fresh).await.json();
        assert_eq!(asked["options"]["allowCredentials"].as_array().map(Vec::len), Some(1));
        refused(&verify(&mut fresh, by_browser.get(&asked["options"])).await, 403, "wrong_code");
        assert_eq!(second_step(&mut fresh, &added).await.json()["result"], "session");
    }

    async fn a_second_step_says_what_is_no_fault_of_the_person(probe: Probe) {
        let probe = probe.configured(public);
        let (_, browser, mut authenticator) = person(&probe, "alice").await;
        authenticator.count = 5;
        assert_eq!(sign_in(&mut browser.stranger(), &authenticator).await.status, 200);
        let mut fresh = browser.stranger();
        assert_eq!(fresh.login("alice", PASSWORD).await.status, 200);
        let mut copy = authenticator.clone();
        copy.count = 4;
        let mut elsewhere = authenticator.clone();
        elsewhere.origin = "https://www.example.com".to_owned();
        for _ in 0..20 {
            refused(&second_step(&mut fresh, &copy).await, 403, "passkey_copied");
            refused(&second_step(&mut fresh, &elsewhere).await, 403, "passkey_not_accepted");
        }
        let told = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_fail'";
        assert_eq!(probe.number(told).await, 20, "those of the copy");
        // None of that was a guess.
        authenticator.count = 6;
        assert_eq!(second_step(&mut fresh, &authenticator).await.json()["result"], "session");
    }

    async fn what_an_older_node_left_behind_signs_nobody_in(probe: Probe) {
        let probe = probe.configured(public);
        let (_, browser, authenticator) = person(&probe, "alice").await;
        let none = "UPDATE auth_account SET enrolled_factors = 0, version = version + 1";
        probe.execute(none).await;
        refused(&sign_in(&mut browser.stranger(), &authenticator).await, 403, "passkey_cannot_sign_in");
        // The next one does not bring it back.
        probe.clock.advance(2 * MINUTE);
        let mut owner = browser.stranger();
        assert_eq!(owner.login("alice", PASSWORD).await.json()["result"], "session");
        prove_mailbox(&probe, &mut owner).await;
        assert_eq!(add(&mut owner, &mut Authenticator::ed25519(2), "new").await.status, 201);
        refused(&sign_in(&mut browser.stranger(), &authenticator).await, 403, "unknown_credential");
    }

    async fn an_administrator_and_the_link_of_the_notice_remove_passkeys(probe: Probe) {
        let probe = probe.configured(|config| {
            public(config);
            config.factor.prove_mailbox = true;
        });
        let (account, browser, authenticator) = person(&probe, "alice").await;
        probe.auth.accounts().set_enrolled_factors(account.id(), []).await.expect("it is set");
        refused(&sign_in(&mut browser.stranger(), &authenticator).await, 403, "unknown_credential");
        // The link removes what was added, and what a browser has made.
        let (account, browser, authenticator) = person(&probe, "bob").await;
        let mails = probe.mail().await;
        let mail = mails.iter().rfind(|mail| mail.kind == MessageKind::FactorAdded).expect("a mail");
        let (_, rest) = mail.text.split_once("#token=").expect("a link");
        let token = rest.split_whitespace().next().expect("a token").to_owned();
        let by_browser = super::added(&probe.auth, &account, true).await;
        let body = json!({ "token": token });
        assert_eq!(browser.stranger().post("/auth/second-factor/undo", body).await.status, 204);
        for one in [authenticator, by_browser] {
            refused(&sign_in(&mut browser.stranger(), &one).await, 403, "unknown_credential");
        }
    }
}
