//! Codes that are sent by mail or text message: for the first second factor, for a step-up, and as a
//! second factor.

use std::time::Duration;

use portcullis::account::{FurtherName, NewAccount};
use portcullis::config::{AttemptKind, AttemptOverrides};
use portcullis::login::Credentials;
use portcullis::rate_limit::Quota;
use portcullis::second_factor::{FactorCode, SecondFactorError};
use portcullis::sent_code::{CodeChannel, SentCodeError};
use portcullis::{Account, ClientInfo, Factor, MessageKind, Problem, Secret};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::Answer;
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp::{check, code, enrol, verify};

const MINUTE: Duration = Duration::from_secs(60);
const NEW: &str = "another horse battery staple";

/// Asks for a code in a session, and returns it.
pub(crate) async fn ask(probe: &Probe, browser: &mut Browser, path: &str, method: &str) -> String {
    let answer = browser.post(path, json!({ "method": method })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    newest(probe).await
}

/// Returns the code that was sent last.
pub(crate) async fn newest(probe: &Probe) -> String {
    let sent = probe.mail().await;
    let mail = sent.iter().rev().find(|mail| mail.kind == MessageKind::FactorCode);
    mail.expect("a code was sent").value("code").expect("a code").to_owned()
}

/// Proves the mailbox of an account in its session, which the first second factor needs.
pub(crate) async fn prove_mailbox(probe: &Probe, browser: &mut Browser) {
    let code = ask(probe, browser, "/auth/reauthenticate/challenge", "mailed_code").await;
    let answer = browser.post("/auth/reauthenticate", body("mailed_code", &code)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

fn body(method: &str, code: &str) -> Value {
    json!({ "method": method, "code": code })
}

/// An account with a proved address and no second factor, and its browser.
async fn member(probe: &Probe, name: &str) -> (Account, Browser) {
    let account = probe.register_with_email(name, &format!("{name}@example.com")).await;
    probe.auth.accounts().verify(account.id()).await.expect("it is verified");
    let mut browser = probe.browser().await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    (account, browser)
}

/// The same, with mailed codes as a second factor.
async fn person(probe: &Probe, name: &str) -> (Account, Browser) {
    let (account, mut browser) = member(probe, name).await;
    prove_mailbox(probe, &mut browser).await;
    let answer = browser.post("/auth/sent-codes", json!({ "method": "mailed_code" })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    probe.clock.advance(MINUTE);
    (account, browser)
}

async fn waiting(browser: &Browser, name: &str, password: &str) -> Browser {
    let mut browser = browser.stranger();
    let answer = browser.login(name, password).await;
    assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
    browser
}

async fn ask_second(probe: &Probe, browser: &mut Browser) -> String {
    ask(probe, browser, "/auth/second-factor/challenge", "mailed_code").await
}

async fn verify_mailed(browser: &mut Browser, code: &str) -> Answer {
    browser.post("/auth/second-factor/verify", body("mailed_code", code)).await
}

fn wrong(code: &str) -> String {
    code.chars().map(|c| if c == '0' { '1' } else { '0' }).collect()
}

async fn factors(browser: &mut Browser) -> Vec<String> {
    let answer = browser.get("/auth/session").await;
    let list = answer.json()["factors"].clone();
    let list = list.as_array().expect("a list").iter();
    list.map(|factor| factor["factor"].as_str().expect("a name").to_owned()).collect()
}

/// Signs in with the code of a mail, without a password.
async fn mail_sign_in(probe: &Probe, browser: &mut Browser, name: &str) {
    let login = json!({ "login": format!("{name}@example.com") });
    assert_eq!(browser.post("/auth/login/mail", login).await.status, 202);
    let sent = probe.mail().await;
    let mail = sent.iter().rev().find(|mail| mail.kind == MessageKind::MailLogin).expect("a mail");
    let code = json!({ "code": mail.value("code").expect("a code") });
    let answer = browser.post("/auth/login/mail/confirm", code).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

async fn enrolled(probe: &Probe, account: &Account) -> Vec<Factor> {
    let found = probe.auth.accounts().find(account.id()).await.expect("it answers");
    found.expect("an account").enrolled_factors().iter().collect()
}

async fn reset_password(probe: &Probe, browser: &mut Browser) {
    let forgot = json!({ "login": "alice@example.com" });
    assert_eq!(browser.post("/auth/password/forgot", forgot).await.status, 202);
    let sent = probe.mail().await;
    let reset = |mail: &&portcullis::Message| mail.kind == MessageKind::PasswordReset;
    let mail = sent.iter().rev().find(reset).expect("a mail");
    let (_, token) = mail.value("link").expect("a link").split_once("#token=").expect("a token");
    let answer =
        browser.post("/auth/password/reset", json!({ "token": token, "password": NEW })).await;
    assert!(answer.status < 300, "{}", answer.text);
}

on_every_database! {
    async fn a_thief_of_the_password_cannot_set_up_the_first_second_factor(probe: Probe) {
        let (account, mut owner) = member(&probe, "alice").await;
        let mut thief = owner.stranger();
        assert_eq!(thief.login("alice", PASSWORD).await.status, 200);
        let name = json!({ "name": "phone" });
        let refused = thief.post("/auth/totp", name.clone()).await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!((&refused.json()["factors"], &refused.json()["max_age"]), (&json!(["mailed_code"]), &json!(300)));
        // Another proof of the password is not that proof, and neither is a guess.
        let password = json!({ "password": PASSWORD });
        assert_eq!(thief.post("/auth/reauthenticate", password).await.status, 200);
        check(&thief.post("/auth/totp", name.clone()).await, 401, "insufficient_user_authentication");
        check(&thief.post("/auth/sent-codes", json!({ "method": "mailed_code" })).await, 401, "insufficient_user_authentication");
        let sent = ask(&probe, &mut thief, "/auth/reauthenticate/challenge", "mailed_code").await;
        check(&thief.post("/auth/reauthenticate", body("mailed_code", &wrong(&sent))).await, 403, "wrong_code");
        check(&thief.post("/auth/totp", name.clone()).await, 401, "insufficient_user_authentication");
        // The code belongs to the session that asked. The owner asks for one of their own.
        check(&owner.post("/auth/reauthenticate", body("mailed_code", &sent)).await, 403, "wrong_code");
        probe.clock.advance(MINUTE);
        let own = ask(&probe, &mut owner, "/auth/reauthenticate/challenge", "mailed_code").await;
        check(&thief.post("/auth/reauthenticate", body("mailed_code", &own)).await, 403, "wrong_code");
        assert_eq!(owner.post("/auth/reauthenticate", body("mailed_code", &own)).await.status, 200);
        assert_eq!(factors(&mut owner).await, ["password", "mailed_code"]);
        check(&thief.post("/auth/totp", name.clone()).await, 401, "insufficient_user_authentication");
        let new = owner.post("/auth/totp", name.clone()).await;
        assert_eq!(new.status, 201, "{}", new.text);
        // What was proved is too old after five minutes.
        let confirm = |probe: &Probe| {
            let secret = new.json()["secret"].as_str().expect("a secret").to_owned();
            json!({ "id": new.json()["id"], "code": code(probe, &secret) })
        };
        probe.clock.advance(5 * MINUTE);
        check(&owner.post("/auth/totp/confirm", confirm(&probe)).await, 401, "insufficient_user_authentication");
        prove_mailbox(&probe, &mut owner).await;
        assert_eq!(owner.post("/auth/totp/confirm", confirm(&probe)).await.status, 200);
        assert_eq!(enrolled(&probe, &account).await, [Factor::Totp]);
        // From now on the factor itself is needed, and no mailed code.
        probe.clock.advance(5 * MINUTE);
        prove_mailbox(&probe, &mut owner).await;
        let refused = owner.post("/auth/totp", name).await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["totp"]));
    }

    async fn the_mailbox_is_asked_only_where_there_is_one(probe: Probe) {
        // No address.
        let (_, mut browser) = probe.signed_in("bob").await;
        let name = json!({ "name": "phone" });
        assert_eq!(browser.post("/auth/totp", name.clone()).await.status, 201);
        let answer = browser.post("/auth/reauthenticate/challenge", json!({ "method": "mailed_code" })).await;
        check(&answer, 422, "no_address");
        // An address that nobody has proved gets no code.
        probe.register_with_email("carol", "carol@example.com").await;
        let mut browser = browser.stranger();
        assert_eq!(browser.login("carol", PASSWORD).await.status, 200);
        let answer = browser.post("/auth/reauthenticate/challenge", json!({ "method": "mailed_code" })).await;
        check(&answer, 403, "address_not_proved");
        assert_eq!(answer.json()["target"], "c***@e***.com");
        assert!(answer.json()["detail"].as_str().is_some_and(|text| text.contains("c***@e***.com")));
        assert!(probe.mail().await.iter().all(|mail| mail.kind != MessageKind::FactorCode));
        // Switched off, a recent password is enough.
        let probe = probe.configured(|config| config.factor.prove_mailbox = false);
        let (_, mut browser) = member(&probe, "dora").await;
        assert_eq!(browser.post("/auth/totp", name.clone()).await.status, 201);
    }

    async fn a_sign_in_by_mail_proves_the_mailbox_too(probe: Probe) {
        let (_, browser) = member(&probe, "alice").await;
        let mut browser = browser.stranger();
        mail_sign_in(&probe, &mut browser, "alice").await;
        assert_eq!(factors(&mut browser).await, ["mailed_code"]);
        assert_eq!(browser.post("/auth/totp", json!({ "name": "phone" })).await.status, 201);
        // But it is no second factor besides itself.
        let account = probe.auth.accounts().create(NewAccount::email("bob@example.com").verified()).await;
        let account = account.expect("it is made");
        let mut browser = browser.stranger();
        mail_sign_in(&probe, &mut browser, "bob").await;
        check(&browser.post("/auth/sent-codes", json!({ "method": "mailed_code" })).await, 409, "no_password");
        assert!(enrolled(&probe, &account).await.is_empty());
    }

    async fn what_was_set_up_after_a_change_of_the_address_goes_with_its_undo(probe: Probe) {
        for had_one in [false, true] {
            let name = if had_one { "alice" } else { "bob" };
            let (account, mut browser) = member(&probe, name).await;
            prove_mailbox(&probe, &mut browser).await;
            let own = if had_one { Some(enrol(&probe, &mut browser, "owner").await) } else { None };
            let email = format!("thief-of-{name}@example.com");
            assert_eq!(browser.post("/auth/email", json!({ "email": email })).await.status, 202);
            let sent = probe.mail().await;
            let asks = |mail: &&portcullis::Message| mail.kind == MessageKind::EmailChangeConfirm;
            let confirm = sent.iter().rev().find(asks).expect("a mail").value("code").expect("a code").to_owned();
            assert_eq!(browser.post("/auth/email/confirm", json!({ "code": confirm })).await.status, 200);
            if !had_one {
                probe.clock.advance(MINUTE);
                prove_mailbox(&probe, &mut browser).await;
            }
            let (_, stolen) = enrol(&probe, &mut browser, "thief").await;
            assert_eq!(browser.post("/auth/recovery-codes", json!({})).await.status, 201);
            let sent = probe.mail().await;
            let to = format!("{name}@example.com");
            let undo = |mail: &&portcullis::Message| {
                mail.kind == MessageKind::EmailChangedUndo && mail.to.as_str() == to
            };
            let link = sent.iter().rev().find(undo).expect("a mail").value("link").expect("a link");
            let (_, token) = link.split_once("#token=").expect("a token");
            let mut owner = browser.stranger();
            assert_eq!(owner.post("/auth/email/undo", json!({ "token": token })).await.status, 204);
            let answer = owner.login(name, PASSWORD).await.json();
            match own {
                // What the owner had set up before is not the thief's.
                Some((_, secret)) => {
                    assert_eq!(answer["methods"], json!([{ "method": "totp" }]));
                    probe.clock.advance(MINUTE);
                    check(&verify(&mut owner, &code(&probe, &stolen)).await, 403, "wrong_code");
                    assert_eq!(verify(&mut owner, &code(&probe, &secret)).await.status, 200);
                }
                None => {
                    assert_eq!(answer["result"], "session");
                    assert!(enrolled(&probe, &account).await.is_empty());
                    let told = probe.mail().await;
                    assert!(told.iter().any(|mail| mail.kind == MessageKind::FactorRemoved));
                }
            }
        }
    }

    async fn a_mail_to_a_further_address_does_not_prove_the_mailbox(probe: Probe) {
        // A thief of the password adds an address of their own, and signs in by mail there.
        let (_, mut thief) = member(&probe, "alice").await;
        let further = json!({ "email": "thief@example.com" });
        let answer = thief.post("/auth/login-names", further).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let sent = probe.mail().await;
        let asks = |mail: &&portcullis::Message| mail.kind == MessageKind::LoginNameConfirm;
        let confirm = sent.iter().rev().find(asks).expect("a mail").value("code").expect("a code").to_owned();
        let answer = thief.post("/auth/login-names/confirm", json!({ "code": confirm })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let mut thief = thief.stranger();
        mail_sign_in(&probe, &mut thief, "thief").await;
        let refused = thief.post("/auth/totp", json!({ "name": "phone" })).await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["mailed_code"]));
        // The code goes to the address of the account.
        let answer = thief.post("/auth/reauthenticate/challenge", json!({ "method": "mailed_code" })).await;
        assert_eq!(answer.json()["target"], "a***@e***.com");
    }

    async fn codes_cannot_be_switched_on_right_after_a_reset(probe: Probe) {
        let (_, mut browser) = member(&probe, "alice").await;
        reset_password(&probe, &mut browser).await;
        let mut browser = browser.stranger();
        assert_eq!(browser.login("alice", NEW).await.status, 200);
        prove_mailbox(&probe, &mut browser).await;
        let method = json!({ "method": "mailed_code" });
        check(&browser.post("/auth/sent-codes", method.clone()).await, 403, "mailed_code_after_reset");
        probe.clock.advance(24 * 60 * MINUTE);
        prove_mailbox(&probe, &mut browser).await;
        assert_eq!(browser.post("/auth/sent-codes", method).await.status, 200);
    }

    async fn a_change_of_the_address_of_a_factor_needs_a_second_factor(probe: Probe) {
        let (_, browser) = person(&probe, "alice").await;
        probe.clock.advance(5 * MINUTE);
        let mut thief = browser.clone();
        let password = json!({ "password": PASSWORD });
        assert_eq!(thief.post("/auth/reauthenticate", password.clone()).await.status, 200);
        let email = json!({ "email": "thief@example.com" });
        let refused = thief.post("/auth/email", email.clone()).await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["mailed_code"]));
        prove_mailbox(&probe, &mut thief).await;
        assert_eq!(thief.post("/auth/email", email).await.status, 202);
        let sent = probe.mail().await;
        let asks = |mail: &&portcullis::Message| mail.kind == MessageKind::EmailChangeConfirm;
        let confirm = sent.iter().rev().find(asks).expect("a mail").value("code").expect("a code").to_owned();
        assert_eq!(thief.post("/auth/email/confirm", json!({ "code": confirm })).await.status, 200);
        // What was proved of the old address says nothing about the new one.
        assert_eq!(factors(&mut thief).await, ["password"]);
        // Without such a factor, a recent password is enough.
        let (_, mut other) = member(&probe, "bob").await;
        assert_eq!(other.post("/auth/email", json!({ "email": "new@example.com" })).await.status, 202);
    }

    async fn codes_count_in_the_limit_of_mails_for_one_source(probe: Probe) {
        let probe = probe.configured(|config| {
            config.mail.per_source = Some(Quota::new(2, 24 * 60 * MINUTE));
        });
        let (_, mut browser) = member(&probe, "alice").await;
        let method = json!({ "method": "mailed_code" });
        for _ in 0..2 {
            assert_eq!(browser.post("/auth/reauthenticate/challenge", method.clone()).await.status, 202);
            probe.clock.advance(MINUTE);
        }
        let refused = browser.post("/auth/reauthenticate/challenge", method).await;
        check(&refused, 429, "too_soon");
    }

    async fn of_many_step_ups_with_one_code_one_succeeds(probe: Probe) {
        let (_, mut browser) = member(&probe, "alice").await;
        let sent = ask(&probe, &mut browser, "/auth/reauthenticate/challenge", "mailed_code").await;
        let mut requests = JoinSet::new();
        for _ in 0..16 {
            let (mut browser, sent) = (browser.clone(), sent.clone());
            requests.spawn(async move { browser.post("/auth/reauthenticate", body("mailed_code", &sent)).await });
        }
        let answers = requests.join_all().await;
        let succeeded = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(succeeded, 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer.status < 500), "{answers:?}");
    }

    async fn the_applications_own_mailed_code_is_not_enough_after_a_reset_either(probe: Probe) {
        let (_, browser) = person(&probe, "alice").await;
        reset_password(&probe, &mut browser.stranger()).await;
        let (auth, client) = (&probe.auth, ClientInfo::default());
        let pending = async || {
            let outcome = auth.login().with_password(Credentials::password("alice", NEW), &client).await;
            outcome.expect("it is right").into_issued().pending_session().expect("it waits")
        };
        let refused = auth.login().finish(&pending().await, Factor::MailedCode, &client).await;
        assert_eq!(refused.expect_err("too soon").code(), "mailed_code_after_reset");
        probe.clock.advance(24 * 60 * MINUTE);
        let finished = auth.login().finish(&pending().await, Factor::MailedCode, &client).await;
        let _ = finished.expect("a day has passed");
    }

    async fn a_mailed_code_is_a_second_factor_after_its_owner_switched_it_on(probe: Probe) {
        let (account, mut browser) = member(&probe, "alice").await;
        let method = json!({ "method": "mailed_code" });
        // That the address was proved once is not enough, and neither is the password.
        let refused = browser.post("/auth/sent-codes", method.clone()).await;
        check(&refused, 401, "insufficient_user_authentication");
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        prove_mailbox(&probe, &mut browser).await;
        let answer = browser.post("/auth/sent-codes", method.clone()).await;
        assert_eq!((answer.status, answer.json()["result"].as_str()), (200, Some("session")), "{}", answer.text);
        check(&other.get("/me").await, 401, "session_ended");
        check(&browser.post("/auth/sent-codes", method.clone()).await, 409, "factor_already_enrolled");
        assert_eq!(enrolled(&probe, &account).await, [Factor::MailedCode]);
        let told = probe.mail().await;
        let added = told.iter().filter(|mail| mail.kind == MessageKind::FactorAdded);
        assert_eq!(added.map(|mail| mail.value("factor")).collect::<Vec<_>>(), [Some("mailed code")]);
        // A sign-in.
        probe.clock.advance(MINUTE);
        let mut other = waiting(&browser, "alice", PASSWORD).await;
        let methods = json!([{ "method": "mailed_code", "target": "a***@e***.com" }]);
        assert_eq!(other.get("/auth/second-factor").await.json()["methods"], methods);
        check(&verify_mailed(&mut other, "12345678").await, 403, "wrong_code");
        let answer = other.post("/auth/second-factor/challenge", method.clone()).await;
        assert_eq!((answer.status, &answer.json()["target"]), (202, &json!("a***@e***.com")), "{}", answer.text);
        assert!(answer.json()["expires_at"].is_string() && !answer.text.contains("alice@"));
        let sent = newest(&probe).await;
        check(&verify_mailed(&mut other, &wrong(&sent)).await, 403, "wrong_code");
        // The name of another method makes another check.
        check(&other.post("/auth/second-factor/verify", body("texted_code", &sent)).await, 403, "wrong_code");
        check(&verify(&mut other, &sent).await, 403, "wrong_code");
        let copy = other.clone();
        assert_eq!(verify_mailed(&mut other, &sent).await.status, 200);
        assert_eq!(factors(&mut other).await, ["password", "mailed_code"]);
        check(&verify_mailed(&mut copy.clone(), &sent).await, 401, "session_ended");
        // The owner switches it off again, with a recent code.
        probe.clock.advance(5 * MINUTE);
        let refused = other.delete("/auth/sent-codes/mailed_code").await;
        check(&refused, 401, "insufficient_user_authentication");
        prove_mailbox(&probe, &mut other).await;
        check(&other.delete("/auth/sent-codes/texted_code").await, 409, "factor_not_enrolled");
        check(&other.delete("/auth/sent-codes/totp").await, 409, "factor_not_enrolled");
        assert_eq!(other.delete("/auth/sent-codes/mailed_code").await.status, 200);
        assert!(enrolled(&probe, &account).await.is_empty());
        assert_eq!(other.stranger().login("alice", PASSWORD).await.json()["result"], "session");
    }

    async fn a_code_belongs_to_its_sign_in_and_works_once(probe: Probe) {
        let (_, browser) = person(&probe, "alice").await;
        let mut first = waiting(&browser, "alice", PASSWORD).await;
        let mut second = waiting(&browser, "alice", PASSWORD).await;
        let of_first = ask_second(&probe, &mut first).await;
        // The limit of the mailbox holds for all sign-ins.
        let again = second.post("/auth/second-factor/challenge", json!({ "method": "mailed_code" })).await;
        check(&again, 429, "too_soon");
        assert!(again.headers.contains_key("retry-after"));
        probe.clock.advance(MINUTE);
        let of_second = ask_second(&probe, &mut second).await;
        check(&verify_mailed(&mut first, &of_second).await, 403, "wrong_code");
        check(&verify_mailed(&mut second, &of_first).await, 403, "wrong_code");
        // That another sign-in asked has not replaced it. A next one of the same sign-in does.
        probe.clock.advance(MINUTE);
        let newer = ask_second(&probe, &mut second).await;
        check(&verify_mailed(&mut second, &of_second).await, 403, "wrong_code");
        let mut copy = first.clone();
        assert_eq!(verify_mailed(&mut first, &of_first).await.status, 200);
        check(&verify_mailed(&mut copy, &of_first).await, 401, "session_ended");
        assert_eq!(verify_mailed(&mut second, &newer).await.status, 200);
        // Nor is it good for a step-up of that session, or after its ten minutes.
        check(&first.post("/auth/reauthenticate", body("mailed_code", &of_first)).await, 403, "wrong_code");
        probe.clock.advance(MINUTE);
        let late = ask(&probe, &mut first, "/auth/reauthenticate/challenge", "mailed_code").await;
        probe.clock.advance(10 * MINUTE);
        check(&first.post("/auth/reauthenticate", body("mailed_code", &late)).await, 403, "wrong_code");
    }

    async fn of_many_requests_with_one_code_one_succeeds(probe: Probe) {
        let (_, browser) = person(&probe, "alice").await;
        let mut one = waiting(&browser, "alice", PASSWORD).await;
        let sent = ask_second(&probe, &mut one).await;
        let mut requests = JoinSet::new();
        for _ in 0..16 {
            let (mut one, sent) = (one.clone(), sent.clone());
            requests.spawn(async move { verify_mailed(&mut one, &sent).await });
        }
        let answers = requests.join_all().await;
        let succeeded = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(succeeded, 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer.status < 500), "{answers:?}");
    }

    async fn the_database_has_only_a_digest_which_opens_nothing(probe: Probe) {
        let (_, browser) = person(&probe, "alice").await;
        let mut other = waiting(&browser, "alice", PASSWORD).await;
        let sent = ask_second(&probe, &mut other).await;
        let stored = probe.hex_dump("auth_challenge").await;
        let hex = data_encoding::HEXLOWER.encode(sent.as_bytes());
        assert!(!stored.iter().any(|value| value.contains(&hex)));
        for digest in stored.iter().filter(|value| value.len() == 64) {
            check(&verify_mailed(&mut other, digest).await, 403, "wrong_code");
            probe.forget_attempts().await;
            // So that every one of them is compared.
            probe.execute("UPDATE auth_challenge SET data = NULL WHERE purpose = 'factor_code'").await;
        }
        assert_eq!(verify_mailed(&mut other, &sent).await.status, 200, "the code itself does");
    }

    async fn guesses_count_with_those_of_all_other_factors(probe: Probe) {
        let probe = probe.configured(|config| {
            let mut own = AttemptOverrides::default();
            own.first_delay = Some(Duration::ZERO);
            config.attempts.kinds.insert(AttemptKind::SecondFactor, own);
        });
        let (_, mut browser) = person(&probe, "alice").await;
        prove_mailbox(&probe, &mut browser).await;
        let (_, secret) = enrol(&probe, &mut browser, "phone").await;
        assert_eq!(browser.post("/auth/recovery-codes", json!({})).await.status, 201);
        probe.clock.advance(MINUTE);
        let mut other = waiting(&browser, "alice", PASSWORD).await;
        for number in 0..15 {
            let answer = match number % 4 {
                0 => verify_mailed(&mut other, "00000000").await,
                1 => verify(&mut other, "not a code").await,
                2 => verify(&mut other, "000000-000000-000000-000000").await,
                // Neither a new sign-in nor a new code brings attempts.
                _ => {
                    other = waiting(&browser, "alice", PASSWORD).await;
                    probe.clock.advance(MINUTE);
                    let sent = ask_second(&probe, &mut other).await;
                    verify_mailed(&mut other, &wrong(&sent)).await
                }
            };
            check(&answer, 403, "wrong_code");
        }
        probe.clock.advance(MINUTE);
        check(&verify(&mut other, &code(&probe, &secret)).await, 403, "wrong_code");
    }

    async fn a_mailed_code_is_not_enough_after_a_reset_through_the_same_mailbox(probe: Probe) {
        let (account, browser) = person(&probe, "alice").await;
        let mut thief = browser.stranger();
        reset_password(&probe, &mut thief).await;
        let (accounts, both) = (probe.auth.accounts(), [Factor::MailedCode, Factor::Totp]);
        accounts.set_enrolled_factors(account.id(), both).await.expect("set");
        // The answer says when, for a page that shows it.
        let usable_at = serde_json::to_value(probe.auth_now().plus(24 * 60 * MINUTE)).expect("a time");
        let methods = json!([
            { "method": "mailed_code", "target": "a***@e***.com", "usable_at": usable_at },
            { "method": "totp" },
        ]);
        let mut thief = browser.stranger();
        assert_eq!(thief.login("alice", NEW).await.json()["methods"], methods);
        assert_eq!(thief.get("/auth/second-factor").await.json()["methods"], methods);
        let asked = thief.post("/auth/second-factor/challenge", json!({ "method": "mailed_code" })).await;
        check(&asked, 403, "mailed_code_after_reset");
        check(&verify_mailed(&mut thief, "12345678").await, 403, "mailed_code_after_reset");
        let (auth, client) = (&probe.auth, ClientInfo::default());
        let outcome = auth.login().with_password(Credentials::password("alice", NEW), &client).await;
        let pending = outcome.expect("it is right").into_issued().pending_session().expect("it waits");
        let refused = auth.sent_codes().send(&pending, CodeChannel::Mail, &client).await;
        assert!(matches!(refused, Err(SentCodeError::AfterReset)), "{refused:?}");
        let guess = FactorCode::sent(CodeChannel::Mail, "12345678");
        let refused = auth.second_factor().verify(&pending, guess, &client).await;
        assert!(matches!(refused, Err(SecondFactorError::AfterReset)), "{refused:?}");
        // A day later it is the owner who waited, or who had the time to react to the mails.
        probe.clock.advance(24 * 60 * MINUTE - MINUTE);
        let mut other = waiting(&browser, "alice", NEW).await;
        let asked = other.post("/auth/second-factor/challenge", json!({ "method": "mailed_code" })).await;
        check(&asked, 403, "mailed_code_after_reset");
        probe.clock.advance(MINUTE);
        let page = other.get("/auth/second-factor").await.json();
        assert_eq!(page["methods"][0], json!({ "method": "mailed_code", "target": "a***@e***.com" }));
        let sent = ask_second(&probe, &mut other).await;
        assert_eq!(verify_mailed(&mut other, &sent).await.status, 200);
        // A password that needed only the mailed one before still comes from the mailbox.
        reset_password(&probe, &mut other.stranger()).await;
        probe.auth.accounts().set_enrolled_factors(account.id(), []).await.expect("set");
        assert_eq!(other.login("alice", NEW).await.status, 200);
        let change = json!({ "current_password": NEW, "new_password": PASSWORD });
        assert_eq!(other.put("/auth/password", change).await.status, 200);
        let mailed = [Factor::MailedCode];
        probe.auth.accounts().set_enrolled_factors(account.id(), mailed).await.expect("set");
        probe.clock.advance(MINUTE);
        let mut other = waiting(&browser, "alice", PASSWORD).await;
        let asked = other.post("/auth/second-factor/challenge", json!({ "method": "mailed_code" })).await;
        check(&asked, 403, "mailed_code_after_reset");
    }

    async fn a_code_ends_after_five_wrong_ones_and_says_so(probe: Probe) {
        let (_, browser) = person(&probe, "alice").await;
        let mut other = waiting(&browser, "alice", PASSWORD).await;
        let sent = ask_second(&probe, &mut other).await;
        for _ in 0..4 {
            check(&verify_mailed(&mut other, &wrong(&sent)).await, 403, "wrong_code");
        }
        // The fifth one may be right.
        probe.forget_attempts().await;
        assert_eq!(verify_mailed(&mut other.clone(), &sent).await.status, 200);
        let mut other = waiting(&browser, "alice", PASSWORD).await;
        probe.clock.advance(MINUTE);
        let sent = ask_second(&probe, &mut other).await;
        for _ in 0..5 {
            check(&verify_mailed(&mut other, &wrong(&sent)).await, 403, "wrong_code");
        }
        probe.forget_attempts().await;
        for code in [&sent, &wrong(&sent)] {
            check(&verify_mailed(&mut other, code).await, 403, "code_ended");
        }
        // A new one works, and that of a session counts by itself.
        probe.clock.advance(MINUTE);
        probe.forget_attempts().await;
        let sent = ask_second(&probe, &mut other).await;
        assert_eq!(verify_mailed(&mut other, &sent).await.status, 200);
        probe.clock.advance(MINUTE);
        let sent = ask(&probe, &mut other, "/auth/reauthenticate/challenge", "mailed_code").await;
        for number in 0..7 {
            probe.forget_attempts().await;
            let answer = other.post("/auth/reauthenticate", body("mailed_code", &wrong(&sent))).await;
            check(&answer, 403, if number < 5 { "wrong_code" } else { "code_ended" });
        }
        // Nothing is compared with a code that has ended. So it counts nothing, and does not tell of a lock.
        for _ in 0..20 {
            let answer = other.post("/auth/reauthenticate", body("mailed_code", &sent)).await;
            check(&answer, 403, "code_ended");
        }
        probe.clock.advance(MINUTE);
        let again = ask(&probe, &mut other, "/auth/reauthenticate/challenge", "mailed_code").await;
        for _ in 0..5 {
            let answer = other.post("/auth/reauthenticate", body("mailed_code", &wrong(&again))).await;
            check(&answer, 403, "wrong_code");
        }
        for _ in 0..20 {
            let answer = other.post("/auth/reauthenticate", body("totp", "123456")).await;
            check(&answer, 403, "wrong_code");
        }
        let answer = other.post("/auth/reauthenticate", body("mailed_code", &again)).await;
        check(&answer, 403, "code_ended");
    }

    async fn of_a_hundred_wrong_codes_at_once_five_are_compared(probe: Probe) {
        let probe = probe.configured(|config| {
            let own = config.attempts.kinds.entry(AttemptKind::SecondFactor).or_default();
            (own.limit, own.first_delay) = (Some(100), Some(Duration::ZERO));
            own.longest_delay = Some(Duration::ZERO);
            config.attempts.source_limit = None;
            config.rate.per_source = None;
        });
        let (_, browser) = person(&probe, "alice").await;
        let mut other = waiting(&browser, "alice", PASSWORD).await;
        let sent = ask_second(&probe, &mut other).await;
        let answers = crate::race::parallel(100, |_| {
            let (mut tab, code) = (other.clone(), wrong(&sent));
            async move { verify_mailed(&mut tab, &code).await }
        })
        .await;
        let codes: Vec<_> = answers.iter().map(Answer::code).collect();
        assert_eq!(codes.iter().filter(|code| *code == "wrong_code").count(), 5, "{codes:?}");
        assert_eq!(codes.iter().filter(|code| *code == "code_ended").count(), 95, "{codes:?}");
        probe.forget_attempts().await;
        check(&verify_mailed(&mut other, &sent).await, 403, "code_ended");
    }

    async fn a_change_of_factors_locks_nothing_of_other_accounts(probe: Probe) {
        use sea_orm::TransactionTrait;
        if probe.database.backend == crate::support::Backend::Sqlite {
            // A writer locks the whole file.
            return;
        }
        let (alice, mut browser) = member(&probe, "alice").await;
        prove_mailbox(&probe, &mut browser).await;
        enrol(&probe, &mut browser, "phone").await;
        let codes = browser.post("/auth/recovery-codes", json!({})).await;
        assert_eq!(codes.status, 201, "{}", codes.text);
        let (_, mut other) = member(&probe, "bob").await;
        prove_mailbox(&probe, &mut other).await;
        let txn = probe.db.begin().await.expect("a transaction");
        let accounts = probe.auth.accounts().within(&txn);
        accounts.set_enrolled_factors(alice.id(), []).await.expect("set");
        // The other account begins to set one up, while the change of the first one is not committed.
        let limit = Duration::from_secs(10);
        let setting_up = tokio::time::timeout(limit, crate::totp::start(&mut other, "phone"));
        setting_up.await.expect("nothing waits for the other account");
        txn.commit().await.expect("it commits");
        assert_eq!(enrolled(&probe, &alice).await, []);
    }

    async fn a_password_that_the_mailbox_alone_has_set_is_one_that_came_by_mail(probe: Probe) {
        let (_, browser) = member(&probe, "alice").await;
        for (current, refused) in [(false, true), (true, false)] {
            let mut thief = browser.stranger();
            mail_sign_in(&probe, &mut thief, "alice").await;
            let mut change = json!({ "new_password": if current { PASSWORD } else { NEW } });
            if current {
                change["current_password"] = json!(NEW);
            }
            assert_eq!(thief.put("/auth/password", change).await.status, 200);
            probe.clock.advance(MINUTE);
            prove_mailbox(&probe, &mut thief).await;
            let answer = thief.post("/auth/sent-codes", json!({ "method": "mailed_code" })).await;
            match refused {
                true => check(&answer, 403, "mailed_code_after_reset"),
                // A day later, with the password that was known before.
                false => assert_eq!(answer.status, 200, "{}", answer.text),
            }
            probe.clock.advance(24 * 60 * MINUTE);
        }
    }

    async fn a_reset_through_a_further_address_says_nothing_about_the_mailbox(probe: Probe) {
        let (account, browser) = person(&probe, "alice").await;
        let further = FurtherName::email("work@example.com").verified();
        probe.auth.accounts().add_name(account.id(), further).await.expect("it is added");
        let mut other = browser.stranger();
        let forgot = json!({ "login": "work@example.com" });
        assert_eq!(other.post("/auth/password/forgot", forgot).await.status, 202);
        let sent = probe.mail().await;
        let reset = |mail: &&portcullis::Message| mail.kind == MessageKind::PasswordReset;
        let mail = sent.iter().rev().find(reset).expect("a mail");
        assert_eq!(mail.to.as_str(), "work@example.com");
        let (_, token) = mail.value("link").expect("a link").split_once("#token=").expect("a token");
        let body = json!({ "token": token, "password": NEW });
        assert!(other.post("/auth/password/reset", body).await.status < 300);
        probe.clock.advance(MINUTE);
        let mut other = waiting(&browser, "alice", NEW).await;
        let sent = ask_second(&probe, &mut other).await;
        assert_eq!(verify_mailed(&mut other, &sent).await.status, 200);
    }

    async fn a_texted_code_that_is_no_factor_opens_nothing_that_belongs_to_the_owner(probe: Probe) {
        let mut probe = probe;
        let texts = probe.notifier.clone();
        probe.auth = probe.rebuilt(|builder| builder.text_messages(texts));
        let (_, mut browser) = member(&probe, "alice").await;
        assert_eq!(browser.post("/auth/phone", json!({ "phone": "+4915112345678" })).await.status, 202);
        let sent = probe.mail().await;
        let asks = |mail: &&portcullis::Message| mail.kind == MessageKind::PhoneChangeConfirm;
        let number = sent.iter().find(asks).expect("a text").value("code").expect("a code").to_owned();
        assert_eq!(browser.post("/auth/phone/confirm", json!({ "code": number })).await.status, 200);
        // A thief has the session and the phone.
        probe.clock.advance(6 * MINUTE);
        let texted = ask(&probe, &mut browser, "/auth/reauthenticate/challenge", "texted_code").await;
        assert_eq!(browser.post("/auth/reauthenticate", body("texted_code", &texted)).await.status, 200);
        let change = json!({ "new_password": NEW });
        let refused = browser.put("/auth/password", change.clone()).await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["password"]), "{}", refused.text);
        let email = json!({ "email": "thief@example.com" });
        check(&browser.post("/auth/email", email.clone()).await, 401, "insufficient_user_authentication");
        check(&browser.post("/auth/totp", json!({ "name": "thief" })).await, 401, "insufficient_user_authentication");
        // With the mailbox, the owner makes it a second factor. Then it counts.
        prove_mailbox(&probe, &mut browser).await;
        let method = json!({ "method": "texted_code" });
        assert_eq!(browser.post("/auth/sent-codes", method).await.status, 200);
        probe.clock.advance(6 * MINUTE);
        check(&browser.post("/auth/email", email.clone()).await, 401, "insufficient_user_authentication");
        let texted = ask(&probe, &mut browser, "/auth/reauthenticate/challenge", "texted_code").await;
        assert_eq!(browser.post("/auth/reauthenticate", body("texted_code", &texted)).await.status, 200);
        assert_eq!(browser.post("/auth/email", email).await.status, 202);
    }

    async fn a_code_that_is_no_factor_ends_no_count_of_wrong_ones(probe: Probe) {
        let probe = probe.configured(|config| {
            let mut own = AttemptOverrides::default();
            own.first_delay = Some(Duration::ZERO);
            config.attempts.kinds.insert(AttemptKind::SecondFactor, own);
        });
        let (_, mut browser) = member(&probe, "alice").await;
        prove_mailbox(&probe, &mut browser).await;
        let (_, secret) = enrol(&probe, &mut browser, "phone").await;
        for number in 0..15 {
            if number == 10 {
                probe.clock.advance(MINUTE);
                prove_mailbox(&probe, &mut browser).await;
            }
            check(&browser.post("/auth/reauthenticate", body("totp", "00000")).await, 403, "wrong_code");
        }
        probe.clock.advance(MINUTE);
        let right = body("totp", &code(&probe, &secret));
        check(&browser.post("/auth/reauthenticate", right).await, 403, "wrong_code");
        // A code of the authenticator ends the count.
        probe.clock.advance(12 * 60 * MINUTE);
        for _ in 0..2 {
            for _ in 0..14 {
                let wrong = browser.post("/auth/reauthenticate", body("totp", "00000")).await;
                assert_eq!(wrong.code(), "wrong_code");
            }
            probe.clock.advance(MINUTE);
            let right = body("totp", &code(&probe, &secret));
            let answer = browser.post("/auth/reauthenticate", right).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
    }

    async fn a_change_of_an_address_needs_a_second_factor_if_there_is_one(probe: Probe) {
        let mut probe = probe;
        let texts = probe.notifier.clone();
        probe.auth = probe.rebuilt(|builder| builder.text_messages(texts));
        let (_, browser, secret) = crate::totp::person(&probe, "alice").await;
        let mut thief = browser.clone();
        probe.clock.advance(6 * MINUTE);
        assert_eq!(thief.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await.status, 200);
        let (email, phone) = (json!({ "email": "thief@example.com" }), json!({ "phone": "+4915112345678" }));
        for (path, body) in [("/auth/email", &email), ("/auth/phone", &phone)] {
            let refused = thief.post(path, body.clone()).await;
            check(&refused, 401, "insufficient_user_authentication");
            assert_eq!(refused.json()["factors"], json!(["totp"]));
        }
        let right = body("totp", &code(&probe, &secret));
        assert_eq!(thief.post("/auth/reauthenticate", right).await.status, 200);
        assert_eq!(thief.post("/auth/phone", phone).await.status, 202);
        assert_eq!(thief.post("/auth/email", email).await.status, 202);
    }

    async fn an_undo_removes_each_factor_by_its_own_age(probe: Probe) {
        let mut probe = probe;
        let texts = probe.notifier.clone();
        probe.auth = probe.rebuilt(|builder| builder.text_messages(texts));
        let (account, mut browser) = person(&probe, "alice").await;
        let code_for = async |kind: MessageKind| {
            let sent = probe.mail().await;
            let mail = sent.iter().rev().find(|mail| mail.kind == kind).expect("a message");
            mail.value("code").expect("a code").to_owned()
        };
        assert_eq!(browser.post("/auth/email", json!({ "email": "thief@example.com" })).await.status, 202);
        let code = code_for(MessageKind::EmailChangeConfirm).await;
        assert_eq!(browser.post("/auth/email/confirm", json!({ "code": code })).await.status, 200);
        // The thief adds texted codes, and a factor of the application.
        probe.clock.advance(MINUTE);
        prove_mailbox(&probe, &mut browser).await;
        assert_eq!(browser.post("/auth/phone", json!({ "phone": "+4915112345678" })).await.status, 202);
        let code = code_for(MessageKind::PhoneChangeConfirm).await;
        assert_eq!(browser.post("/auth/phone/confirm", json!({ "code": code })).await.status, 200);
        let texted = ask(&probe, &mut browser, "/auth/reauthenticate/challenge", "texted_code").await;
        assert_eq!(browser.post("/auth/reauthenticate", body("texted_code", &texted)).await.status, 200);
        assert_eq!(browser.post("/auth/sent-codes", json!({ "method": "texted_code" })).await.status, 200);
        let all = [Factor::MailedCode, Factor::TextedCode, Factor::External];
        probe.auth.accounts().set_enrolled_factors(account.id(), all).await.expect("they are set");
        let sent = probe.mail().await;
        let undo = sent.iter().rev().find(|mail| mail.kind == MessageKind::EmailChangedUndo).expect("a link");
        let (_, token) = undo.value("link").expect("a link").split_once("#token=").expect("a token");
        let owner = &mut browser.stranger();
        assert_eq!(owner.post("/auth/email/undo", json!({ "token": token })).await.status, 204);
        // The mailed codes were the owner's before, and go to the owner again.
        assert_eq!(enrolled(&probe, &account).await, [Factor::MailedCode]);
    }

    async fn another_factor_is_enough_after_a_reset_and_the_rule_can_be_switched_off(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        prove_mailbox(&probe, &mut browser).await;
        let (_, secret) = enrol(&probe, &mut browser, "phone").await;
        reset_password(&probe, &mut browser.stranger()).await;
        let mut other = waiting(&browser, "alice", NEW).await;
        assert_eq!(verify(&mut other, &code(&probe, &secret)).await.status, 200);
        // A password that is set with another factor does not come from the mailbox alone.
        let mut changed = other.clone();
        let change = json!({ "current_password": NEW, "new_password": PASSWORD });
        assert_eq!(changed.put("/auth/password", change).await.status, 200);
        probe.clock.advance(MINUTE);
        let mut other = waiting(&browser, "alice", PASSWORD).await;
        let sent = ask_second(&probe, &mut other).await;
        assert_eq!(verify_mailed(&mut other, &sent).await.status, 200);
        reset_password(&probe, &mut browser.stranger()).await;
        let probe = probe.configured(|config| config.factor.mailed_code_after_reset = Duration::ZERO);
        let other = probe.browser().await;
        probe.clock.advance(MINUTE);
        let mut other = waiting(&other, "alice", NEW).await;
        let sent = ask_second(&probe, &mut other).await;
        assert_eq!(verify_mailed(&mut other, &sent).await.status, 200);
    }

    async fn a_sign_in_that_waits_asks_only_for_a_factor_of_the_account(probe: Probe) {
        let (_, browser, _) = crate::totp::person(&probe, "alice").await;
        let mut other = waiting(&browser, "alice", PASSWORD).await;
        for method in ["mailed_code", "texted_code"] {
            let answer = other.post("/auth/second-factor/challenge", json!({ "method": method })).await;
            check(&answer, 409, "factor_not_enrolled");
        }
        for method in ["totp", "recovery_code", "password", ""] {
            let answer = other.post("/auth/second-factor/challenge", json!({ "method": method })).await;
            check(&answer, 400, "invalid_body");
        }
        // The routes of sessions are not for it, and its routes are not for others.
        let method = json!({ "method": "mailed_code" });
        check(&other.post("/auth/reauthenticate/challenge", method.clone()).await, 401, "second_factor_required");
        check(&other.post("/auth/sent-codes", method.clone()).await, 401, "second_factor_required");
        check(&other.delete("/auth/sent-codes/mailed_code").await, 401, "second_factor_required");
        let mut session = browser.clone();
        check(&session.post("/auth/second-factor/challenge", method.clone()).await, 401, "wrong_stage");
        check(&browser.stranger().post("/auth/second-factor/challenge", method).await, 401, "not_signed_in");
    }

    async fn a_texted_code_goes_to_the_number_which_then_stays(probe: Probe) {
        let mut probe = probe;
        let texts = probe.notifier.clone();
        probe.auth = probe.rebuilt(|builder| builder.text_messages(texts));
        let (account, mut browser) = member(&probe, "alice").await;
        prove_mailbox(&probe, &mut browser).await;
        let method = json!({ "method": "texted_code" });
        check(&browser.post("/auth/reauthenticate/challenge", method.clone()).await, 422, "no_address");
        assert_eq!(browser.post("/auth/phone", json!({ "phone": "+4915112345678" })).await.status, 202);
        // A number that waits for its proof gets no such code.
        check(&browser.post("/auth/reauthenticate/challenge", method.clone()).await, 422, "no_address");
        let sent = probe.mail().await;
        let asks = |mail: &&portcullis::Message| mail.kind == MessageKind::PhoneChangeConfirm;
        let number = sent.iter().find(asks).expect("a text").value("code").expect("a code").to_owned();
        assert_eq!(browser.post("/auth/phone/confirm", json!({ "code": number })).await.status, 200);
        let texted = ask(&probe, &mut browser, "/auth/reauthenticate/challenge", "texted_code").await;
        let sent = probe.notifier.sent();
        let last = sent.iter().rev().find(|sent| sent.kind == MessageKind::FactorCode).expect("a text");
        assert_eq!((last.to.as_str(), last.html.is_none()), ("+4915112345678", true));
        check(&browser.post("/auth/reauthenticate", body("mailed_code", &texted)).await, 403, "wrong_code");
        assert_eq!(browser.post("/auth/reauthenticate", body("texted_code", &texted)).await.status, 200);
        assert_eq!(browser.post("/auth/sent-codes", method.clone()).await.status, 200);
        assert_eq!(enrolled(&probe, &account).await, [Factor::TextedCode]);
        // Without the number nobody could sign in any more.
        check(&browser.delete("/auth/phone").await, 409, "factor_in_use");
        probe.clock.advance(MINUTE);
        let mut other = waiting(&browser, "alice", PASSWORD).await;
        let methods = json!([{ "method": "texted_code", "target": "***78" }]);
        assert_eq!(other.get("/auth/second-factor").await.json()["methods"], methods);
        let texted = ask(&probe, &mut other, "/auth/second-factor/challenge", "texted_code").await;
        let answer = other.post("/auth/second-factor/verify", body("texted_code", &texted)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(other.delete("/auth/sent-codes/texted_code").await.status, 200);
        assert_eq!(other.delete("/auth/phone").await.status, 200);
    }

    async fn an_undo_that_removes_a_number_removes_its_factor(probe: Probe) {
        let mut probe = probe;
        let texts = probe.notifier.clone();
        probe.auth = probe.rebuilt(|builder| builder.text_messages(texts));
        // If the number was there before, it stays, but codes to it are no factor any more.
        for (name, number_first) in [("alice", false), ("bob", true)] {
        let (account, mut browser) = member(&probe, name).await;
        // A thief of the session changes the address, and adds a number as a second factor.
        let code_for = async |kind: MessageKind| {
            let sent = probe.mail().await;
            let mail = sent.iter().rev().find(|mail| mail.kind == kind).expect("a message");
            mail.value("code").expect("a code").to_owned()
        };
        let phone = async |browser: &mut Browser| {
            assert_eq!(browser.post("/auth/phone", json!({ "phone": "+4915112345678" })).await.status, 202);
            let code = code_for(MessageKind::PhoneChangeConfirm).await;
            assert_eq!(browser.post("/auth/phone/confirm", json!({ "code": code })).await.status, 200);
        };
        if number_first {
            phone(&mut browser).await;
        }
        let email = format!("thief-of-{name}@example.com");
        assert_eq!(browser.post("/auth/email", json!({ "email": email })).await.status, 202);
        let code = code_for(MessageKind::EmailChangeConfirm).await;
        assert_eq!(browser.post("/auth/email/confirm", json!({ "code": code })).await.status, 200);
        if !number_first {
            phone(&mut browser).await;
        }
        prove_mailbox(&probe, &mut browser).await;
        let code = ask(&probe, &mut browser, "/auth/reauthenticate/challenge", "texted_code").await;
        assert_eq!(browser.post("/auth/reauthenticate", body("texted_code", &code)).await.status, 200);
        assert_eq!(browser.post("/auth/sent-codes", json!({ "method": "texted_code" })).await.status, 200);
        // The owner undoes it, and is not locked out by a number that is gone.
        let sent = probe.mail().await;
        let undo = sent.iter().rev().find(|mail| mail.kind == MessageKind::EmailChangedUndo).expect("a link");
        let (_, token) = undo.value("link").expect("a link").split_once("#token=").expect("a token");
        let mut owner = browser.stranger();
        assert_eq!(owner.post("/auth/email/undo", json!({ "token": token })).await.status, 204);
        assert!(enrolled(&probe, &account).await.is_empty());
        assert_eq!(owner.login(name, PASSWORD).await.json()["result"], "session");
        let told = probe.mail().await;
        let removed = told.iter().rev().find(|mail| mail.kind == MessageKind::FactorRemoved).expect("a notice");
        assert_eq!(removed.value("factor"), Some("texted code"));
        // The owner is told, and not the thief.
        assert_eq!(removed.to.as_str(), format!("{name}@example.com"));
        // The number may be proved for another account.
        probe.clock.advance(MINUTE);
        owner.delete("/auth/phone").await;
        }
    }
    async fn a_code_needs_the_secret_with_which_it_was_sent(probe: Probe) {
        person(&probe, "alice").await;
        let (auth, client, new) = (&probe.auth, ClientInfo::default(), Secret::generate());
        let node = |secrets: Vec<Secret>| {
            probe.rebuilt(|builder| builder.configure(|config| config.keys.secrets = secrets))
        };
        let rotated = node(vec![new.clone(), probe.secret.clone()]);
        let removed = node(vec![new]);
        for (there, is_right) in [(&rotated, true), (&removed, false)] {
            probe.clock.advance(MINUTE);
            let credentials = Credentials::password("alice", PASSWORD);
            let outcome = auth.login().with_password(credentials, &client).await.expect("it is right");
            let waits = outcome.into_issued().pending_session().expect("it waits");
            auth.sent_codes().send(&waits, CodeChannel::Mail, &client).await.expect("it is sent");
            let code = newest(&probe).await;
            let typed = || FactorCode::sent(CodeChannel::Mail, code.clone());
            let verified = there.second_factor().verify(&waits, typed(), &client).await;
            match is_right {
                true => assert!(verified.is_ok(), "{verified:?}"),
                false => {
                    assert!(matches!(verified, Err(SecondFactorError::WrongCode)), "{verified:?}");
                    // It was not used up.
                    let verified = rotated.second_factor().verify(&waits, typed(), &client).await;
                    assert!(verified.is_ok(), "{verified:?}");
                }
            }
        }
    }
}
