//! Recovery codes.

use std::time::Duration;

use portcullis::{Factor, MessageKind, Secret};
use serde_json::json;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp::{STEP, check, code, enrol, person, start, step_up, verify};

const MINUTE: Duration = Duration::from_secs(60);

async fn generate(browser: &mut Browser) -> Vec<String> {
    let answer = browser.post("/auth/recovery-codes", json!({})).await;
    assert_eq!(
        (answer.status, &answer.json()["result"]),
        (201, &json!("session")),
        "{}",
        answer.text
    );
    serde_json::from_value(answer.json()["codes"].clone()).expect("a list")
}

async fn waiting(browser: &Browser, name: &str) -> Browser {
    let mut browser = browser.stranger();
    assert_eq!(browser.login(name, PASSWORD).await.json()["result"], "second_factor_required");
    browser
}

async fn left(browser: &mut Browser) -> serde_json::Value {
    browser.get("/auth/recovery-codes").await.json()["left"].clone()
}

/// The number of sign-ins that were completed.
async fn full_sign_ins(probe: &Probe) -> i64 {
    let events =
        "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_login_success' AND detail IS NULL";
    probe.number(events).await
}

/// The values of `left` in the messages about used codes.
async fn told(probe: &Probe) -> Vec<String> {
    let sent = probe.mail().await;
    let used = sent.iter().filter(|mail| mail.kind == MessageKind::RecoveryCodeUsed);
    used.map(|mail| mail.value("left").expect("a number").to_owned()).collect()
}

on_every_database! {
    async fn there_are_ten_codes_and_the_database_has_only_digests(probe: Probe) {
        let (_, mut browser, _) = person(&probe, "alice").await;
        assert_eq!(left(&mut browser).await, 0);
        let mut other = waiting(&browser, "alice").await;
        let codes = generate(&mut browser).await;
        assert_eq!(codes.iter().collect::<std::collections::BTreeSet<_>>().len(), 10);
        for code in &codes {
            let groups: Vec<_> = code.split('-').map(str::len).collect();
            assert_eq!(groups, [6, 6, 6, 6], "{code}");
        }
        assert_eq!(left(&mut browser).await, 10);
        // A change of factors ends what waits.
        check(&verify(&mut other, &codes[0]).await, 401, "session_ended");
        for table in ["auth_recovery_code", "auth_event", "auth_outbox", "auth_totp"] {
            for value in probe.hex_dump(table).await {
                for code in &codes {
                    let plain = code.replace('-', "");
                    for text in [code, &plain] {
                        let needle = data_encoding::HEXLOWER.encode(text.as_bytes());
                        assert!(!value.contains(&needle), "{table}");
                    }
                }
            }
        }
        let mails = probe.mail().await;
        let added = mails.iter().filter(|mail| mail.kind == MessageKind::FactorAdded);
        let added: Vec<_> = added.map(|mail| mail.value("factor").expect("a factor").to_owned()).collect();
        assert_eq!(added, ["totp", "recovery code"]);
        assert!(mails.iter().all(|mail| codes.iter().all(|code| !mail.text.contains(code))));
    }

    async fn codes_need_another_second_factor_which_is_recent(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        check(&browser.post("/auth/recovery-codes", json!({})).await, 409, "no_other_factor");
        let (_, secret) = enrol(&probe, &mut browser, "phone").await;
        probe.clock.advance(5 * MINUTE);
        let refused = browser.post("/auth/recovery-codes", json!({})).await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["totp"]));
        assert_eq!(step_up(&mut browser, &code(&probe, &secret)).await.status, 200);
        generate(&mut browser).await;
    }

    async fn each_code_works_once_and_harms_no_other(probe: Probe) {
        let (_, mut browser, secret) = person(&probe, "alice").await;
        let codes = generate(&mut browser).await;
        let spellings = [
            codes[0].clone(),
            codes[1].to_lowercase(),
            codes[2].replace('-', ""),
            format!(" {} ", codes[3].replace('-', " ")),
            codes[4].replace('0', "O").replace('1', "l"),
        ];
        for (number, spelling) in spellings.iter().enumerate() {
            let mut other = waiting(&browser, "alice").await;
            let answer = verify(&mut other, spelling).await;
            assert_eq!(answer.status, 200, "{spelling:?}: {}", answer.text);
            assert_eq!(answer.json()["recovery_codes_left"], 9 - number);
            assert_eq!(other.get("/me").await.status, 200);
            // In any spelling.
            let mut again = waiting(&browser, "alice").await;
            check(&verify(&mut again, &codes[number]).await, 403, "wrong_code");
        }
        let mut told = told(&probe).await;
        told.sort_unstable();
        assert_eq!(told, ["5", "6", "7", "8", "9"]);
        assert_eq!(left(&mut browser).await, 5);
        assert_eq!(verify(&mut waiting(&browser, "alice").await, &code(&probe, &secret)).await.status, 200);
    }

    async fn of_many_requests_with_one_code_one_succeeds(probe: Probe) {
        let (_, mut browser, _) = person(&probe, "alice").await;
        let codes = generate(&mut browser).await;
        let mut requests = JoinSet::new();
        for number in 0..16 {
            let code = codes[0].clone();
            let mut client = match number % 2 {
                0 => waiting(&browser, "alice").await,
                _ => browser.clone(),
            };
            requests.spawn(async move {
                match number % 2 {
                    0 => verify(&mut client, &code).await,
                    _ => step_up(&mut client, &code).await,
                }
            });
        }
        let answers = requests.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer.status < 500), "{answers:?}");
        assert_eq!(told(&probe).await, ["9"]);
        let used = "SELECT COUNT(*) FROM auth_recovery_code WHERE used_at IS NOT NULL";
        assert_eq!(probe.number(used).await, 1);
    }

    async fn a_digest_from_the_database_opens_nothing(probe: Probe) {
        let (_, mut browser, _) = person(&probe, "alice").await;
        let codes = generate(&mut browser).await;
        let stored = probe.hex_dump("auth_recovery_code").await;
        let digest = stored.iter().find(|value| value.len() == 64).expect("a digest").clone();
        let bytes = data_encoding::HEXLOWER.decode(digest.as_bytes()).expect("hex");
        let mut other = waiting(&browser, "alice").await;
        for presented in [
            digest.clone(),
            digest.to_uppercase(),
            format!("\\x{digest}"),
            data_encoding::BASE64.encode(&bytes),
            data_encoding::BASE64URL_NOPAD.encode(&bytes),
            data_encoding::BASE32_NOPAD.encode(&bytes),
            digest[..24].to_owned(),
        ] {
            let body = json!({ "method": "recovery_code", "code": presented });
            check(&other.post("/auth/second-factor/verify", body).await, 403, "wrong_code");
            probe.forget_attempts().await;
        }
        assert_eq!(verify(&mut other, &codes[0]).await.status, 200, "the code itself does");
    }

    async fn a_row_that_is_moved_to_another_account_opens_nothing(probe: Probe) {
        let (_, mut alice, _) = person(&probe, "alice").await;
        let (_, mut bob, _) = person(&probe, "bob").await;
        let codes = generate(&mut alice).await;
        generate(&mut bob).await;
        let of = |name: &str| format!("(SELECT id FROM auth_account WHERE username = '{name}')");
        let moved = format!("UPDATE auth_recovery_code SET account_id = {} WHERE account_id = {}", of("bob"), of("alice"));
        probe.execute(&moved).await;
        let mut other = waiting(&bob, "bob").await;
        check(&verify(&mut other, &codes[0]).await, 403, "wrong_code");
    }

    async fn new_codes_replace_the_old_ones_and_a_code_does_not_make_new_ones(probe: Probe) {
        let (_, mut browser, _) = person(&probe, "alice").await;
        let old = generate(&mut browser).await;
        let codes = generate(&mut browser).await;
        assert!(old.iter().all(|code| !codes.contains(code)));
        let mut other = waiting(&browser, "alice").await;
        check(&verify(&mut other, &old[0]).await, 403, "wrong_code");
        assert_eq!(verify(&mut other, &codes[0]).await.status, 200);
        assert_eq!(left(&mut other).await, 9);
        // With a recovery code alone: neither new codes nor a removal.
        let refused = other.post("/auth/recovery-codes", json!({})).await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["totp"]));
        let lost = other.get("/auth/totp").await.json()["authenticators"][0]["id"].clone();
        let lost = format!("/auth/totp/{}", lost.as_str().expect("an id"));
        check(&other.delete(&lost).await, 401, "insufficient_user_authentication");
        // The way back of a person who has lost the phone: a new one, whose code is enough for the rest.
        enrol(&probe, &mut other, "new phone").await;
        assert_eq!(other.delete(&lost).await.status, 200);
        assert_eq!(generate(&mut other).await.len(), 10);
    }

    async fn after_the_last_code_the_account_has_none(probe: Probe) {
        let (alice, mut browser, secret) = person(&probe, "alice").await;
        let codes = generate(&mut browser).await;
        for (number, code) in codes.iter().enumerate() {
            let answer = step_up(&mut browser, code).await;
            assert_eq!(answer.json()["recovery_codes_left"], 9 - number, "{}", answer.text);
            probe.clock.advance(Duration::from_millis(1));
        }
        assert!(told(&probe).await.contains(&"0".to_owned()));
        let account = probe.auth.accounts().find(alice.id()).await.expect("it answers").expect("alice");
        assert_eq!(account.enrolled_factors().iter().collect::<Vec<_>>(), [Factor::Totp]);
        assert_eq!(browser.get("/me").await.status, 200, "no session ended");
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.json()["methods"], json!([{ "method": "totp" }]));
        check(&verify(&mut other, &codes[0]).await, 403, "wrong_code");
        assert_eq!(verify(&mut other, &code(&probe, &secret)).await.status, 200);
        probe.clock.advance(STEP);
        assert_eq!(step_up(&mut browser, &code(&probe, &secret)).await.status, 200);
        assert_eq!(generate(&mut browser).await.len(), 10);
    }

    async fn a_person_who_used_the_last_code_can_set_up_a_new_authenticator(probe: Probe) {
        let (alice, mut browser, _) = person(&probe, "alice").await;
        let codes = generate(&mut browser).await;
        for code in &codes[1..] {
            assert_eq!(step_up(&mut browser, code).await.status, 200);
            probe.clock.advance(Duration::from_millis(1));
        }
        // The phone is lost, and one code is left.
        let mut other = waiting(&browser, "alice").await;
        let answer = verify(&mut other, &codes[0]).await;
        let said = (answer.status, &answer.json()["result"], &answer.json()["recovery_codes_left"]);
        assert_eq!(said, (200, &json!("enrolment_required"), &json!(0)), "{}", answer.text);
        // Not even the owner of a code may go on as if nothing had happened.
        for path in ["/me", "/auth/session", "/auth/totp", "/auth/recovery-codes"] {
            check(&other.get(path).await, 401, "enrolment_required");
        }
        let lost = browser.get("/auth/totp").await.json()["authenticators"][0]["id"].clone();
        let lost = format!("/auth/totp/{}", lost.as_str().expect("an id"));
        check(&other.delete(&lost).await, 401, "enrolment_required");
        // A code alone makes no new codes, and is used up.
        let refused = other.post("/auth/recovery-codes", json!({})).await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["totp"]));
        check(&step_up(&mut other, &codes[0]).await, 403, "wrong_code");
        assert_eq!(full_sign_ins(&probe).await, 1, "this one is not complete");
        // It takes longer than a proof is recent, because the person must install an app first.
        probe.clock.advance(Duration::from_secs(6 * 60));
        enrol(&probe, &mut other, "new phone").await;
        assert_eq!(full_sign_ins(&probe).await, 2);
        assert_eq!(other.get("/me").await.status, 200);
        assert_eq!(other.delete(&lost).await.status, 200);
        assert_eq!(generate(&mut other).await.len(), 10);
        let account = probe.auth.accounts().find(alice.id()).await.expect("it answers").expect("alice");
        assert!(account.enrolled_factors().contains(Factor::RecoveryCode));
    }

    async fn after_the_last_code_another_factor_and_new_codes_complete_the_sign_in(probe: Probe) {
        let (alice, mut browser, secret) = person(&probe, "alice").await;
        let codes = generate(&mut browser).await;
        for code in &codes[2..] {
            assert_eq!(step_up(&mut browser, code).await.status, 200);
            probe.clock.advance(Duration::from_millis(1));
        }
        // A sign-in with the last code but one is complete.
        let answer = verify(&mut waiting(&browser, "alice").await, &codes[1]).await;
        let said = (answer.json()["result"].clone(), answer.json()["recovery_codes_left"].clone());
        assert_eq!(said, (json!("session"), json!(1)));
        // A new password is asked for after the factor.
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is required");
        let mut other = waiting(&browser, "alice").await;
        let answer = verify(&mut other, &codes[0]).await;
        assert_eq!(answer.json()["result"], "enrolment_required", "{}", answer.text);
        let new = json!({ "new_password": "another horse battery staple" });
        check(&other.put("/auth/password", new.clone()).await, 401, "enrolment_required");
        let answer = step_up(&mut other, &code(&probe, &secret)).await;
        assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("enrolment_required")), "{}", answer.text);
        let copy = other.clone();
        let answer = other.post("/auth/recovery-codes", json!({})).await;
        assert_eq!((answer.status, &answer.json()["result"]), (201, &json!("password_change_required")), "{}", answer.text);
        assert_eq!(answer.json()["codes"].as_array().map(Vec::len), Some(10));
        check(&copy.clone().post("/auth/recovery-codes", json!({})).await, 401, "session_ended");
        assert_eq!(other.put("/auth/password", new).await.status, 200);
        assert_eq!(other.get("/me").await.status, 200);
        assert_eq!(left(&mut other).await, 10);
    }

    async fn at_the_limit_of_authenticators_a_code_allows_one_more(probe: Probe) {
        let probe = probe.configured(|config| config.totp.max_per_account = 1);
        let (_, mut browser, _) = person(&probe, "alice").await;
        let codes = generate(&mut browser).await;
        let full = browser.post("/auth/totp", json!({ "name": "tablet" })).await;
        check(&full, 409, "too_many_authenticators");
        let mut other = waiting(&browser, "alice").await;
        assert_eq!(verify(&mut other, &codes[0]).await.status, 200);
        let lost = other.get("/auth/totp").await.json()["authenticators"][0]["id"].clone();
        enrol(&probe, &mut other, "new phone").await;
        let full = other.post("/auth/totp", json!({ "name": "tablet" })).await;
        check(&full, 409, "too_many_authenticators");
        let lost = format!("/auth/totp/{}", lost.as_str().expect("an id"));
        assert_eq!(other.delete(&lost).await.status, 200);
    }

    async fn a_code_never_replaces_the_password(probe: Probe) {
        let (_, mut browser, _) = person(&probe, "alice").await;
        let codes = generate(&mut browser).await;
        let mut other = browser.stranger();
        check(&other.login("alice", &codes[0]).await, 401, "invalid_credentials");
        check(&verify(&mut other, &codes[0]).await, 401, "not_signed_in");
        let body = json!({ "password": codes[0] });
        check(&browser.post("/auth/reauthenticate", body).await, 403, "wrong_password");
        assert_eq!(left(&mut browser).await, 10);
        // Nor is it the first code of an authenticator.
        let (id, _) = start(&mut browser, "tablet").await;
        let body = json!({ "id": id, "code": codes[0] });
        check(&browser.post("/auth/totp/confirm", body).await, 403, "wrong_code");
    }
    async fn an_unused_code_needs_the_secret_with_which_it_was_made(probe: Probe) {
        let (_, mut browser, _) = person(&probe, "alice").await;
        let codes = generate(&mut browser).await;
        let new = Secret::generate();
        let node = async |secrets: Vec<Secret>| {
            let auth = probe.rebuilt(|builder| builder.configure(|config| config.keys.secrets = secrets));
            waiting(&browser.at(serve(app(&auth)).await), "alice").await
        };
        let both = || vec![new.clone(), probe.secret.clone()];
        let mut rotated = node(both()).await;
        assert_eq!(verify(&mut rotated, &codes[0]).await.status, 200);
        let mut removed = node(vec![new.clone()]).await;
        check(&verify(&mut removed, &codes[1]).await, 403, "wrong_code");
        // It was not used up.
        let mut rotated = node(both()).await;
        assert_eq!(verify(&mut rotated, &codes[1]).await.status, 200);
        assert_eq!(left(&mut rotated).await, 8);
    }
}
