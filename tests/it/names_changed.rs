//! The information that hooks get when the names of an account change. They can refuse the change.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use portcullis::account::{AccountError, NewAccount};
use portcullis::hook::{
    ChangedName, ChangingPassword, HookResult, Hooks, NamesCause, NamesChanged, Registering,
    SigningIn, SigningOut,
};
use portcullis::{AccountId, MessageKind, Refusal};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use serde_json::json;

use crate::on_every_database;
use crate::support::browser::Answer;
use crate::support::{Backend, Browser, PASSWORD, Probe};
use crate::verification::{code_of, token_of};

const MINUTE: Duration = Duration::from_secs(60);
const NUMBER: &str = "+4915112345678";
const NAMES: &str = "/auth/login-names";

/// How a hook fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    ByItself,
    InTheDatabase,
    ByTheTimeLimit,
}

/// Records its calls, and refuses one cause.
#[derive(Clone, Default)]
struct Watch {
    seen: Arc<Mutex<Vec<String>>>,
    refused: Arc<Mutex<Option<NamesCause>>>,
    failing: Arc<Mutex<Option<Failure>>>,
}

impl Watch {
    /// Returns the calls since the last call of `take`: the account, the cause, and the names that
    /// were added (`+`), removed (`-`) and verified (`!`).
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().expect("nothing panics while it is held"))
    }

    fn refuse(&self, cause: Option<NamesCause>) {
        *self.refused.lock().expect("nothing panics while it is held") = cause;
    }

    fn fail(&self, failure: Option<Failure>) {
        *self.failing.lock().expect("nothing panics while it is held") = failure;
    }
}

impl Hooks for Watch {
    async fn names_changed(
        &self,
        change: NamesChanged<'_>,
        txn: &DatabaseTransaction,
    ) -> HookResult {
        let printed = format!("{change:?}");
        assert!(!printed.contains("alice") && !printed.contains(NUMBER), "{printed}");
        let before = change.before.username().unwrap_or("nobody");
        let mut told = format!("{before}: {:?}", change.cause);
        if !change.before.is_verified() && change.account.is_verified() {
            told.push_str(" for the first time");
        }
        let lists = [('+', change.added), ('-', change.removed), ('!', change.proved)];
        for (sign, names) in lists {
            let mut texts: Vec<_> = names.iter().map(|ChangedName { text, .. }| text).collect();
            texts.sort();
            for text in texts {
                told.push_str(&format!(" {sign}{text}"));
            }
        }
        self.seen.lock().expect("nothing panics while it is held").push(told);
        if *self.refused.lock().expect("nothing panics while it is held") == Some(change.cause) {
            Err(Refusal::new(StatusCode::FORBIDDEN, "names_are_frozen", "come back tomorrow"))?;
        }
        let failing = *self.failing.lock().expect("nothing panics while it is held");
        match failing {
            None => {}
            Some(Failure::ByItself) => Err("the ledger is away")?,
            Some(Failure::InTheDatabase) => {
                txn.execute_unprepared("INSERT INTO app_no_such_table (name) VALUES ('a')").await?;
            }
            Some(Failure::ByTheTimeLimit) => tokio::time::sleep(MINUTE).await,
        }
        Ok(())
    }
}

fn watched(mut probe: Probe) -> (Probe, Watch) {
    let watch = Watch::default();
    let texts = probe.notifier.clone();
    probe.auth = probe.rebuilt(|builder| builder.hooks(watch.clone()).text_messages(texts));
    (probe, watch)
}

/// Signs in an account with a username and a verified address.
async fn person(probe: &Probe, name: &str) -> (AccountId, Browser) {
    let account = NewAccount::username(name).with_email(format!("{name}@example.com")).verified();
    let account = probe.auth.registration().create(account, PASSWORD).await;
    let mut browser = probe.browser().await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    (account.expect("the account is made").id(), browser)
}

/// Returns the token of the last message of this kind to this address.
async fn token(probe: &Probe, kind: MessageKind, to: &str) -> String {
    let mut sent = probe.mail().await.into_iter();
    let found = sent.rfind(|message| message.kind == kind && message.to.as_str() == to);
    token_of(&found.unwrap_or_else(|| panic!("no {kind:?} to {to}")))
}

/// Requests a change and confirms the new address. Returns the answer to the confirmation.
async fn proved(probe: &Probe, browser: &mut Browser, path: &str, address: &str) -> Answer {
    probe.clock.advance(MINUTE);
    let answer = browser.post(path, json!({ "email": address })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let kind = match path {
        NAMES => MessageKind::LoginNameConfirm,
        _ => MessageKind::EmailChangeConfirm,
    };
    let token = token(probe, kind, address).await;
    browser.post(&format!("{path}/confirm"), json!({ "token": token })).await
}

/// The same for a phone number.
async fn proved_number(probe: &Probe, browser: &mut Browser) -> Answer {
    probe.clock.advance(MINUTE);
    let answer = browser.post("/auth/phone", json!({ "phone": NUMBER })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let sent = probe.mail().await;
    let found = sent.iter().rfind(|message| message.kind == MessageKind::PhoneChangeConfirm);
    // A text message has other words around the code than a mail.
    let text = &found.expect("a code").text;
    let digits: String = text
        .split(|c: char| !c.is_ascii_digit())
        .find(|d| d.len() >= 6)
        .expect("a code")
        .to_owned();
    browser.post("/auth/phone/confirm", json!({ "code": digits })).await
}

async fn names(probe: &Probe, account: AccountId) -> i64 {
    let its_own = match probe.database.backend {
        Backend::Postgres => format!("account_id = '{account}'"),
        Backend::Sqlite | Backend::MySql => {
            format!("HEX(account_id) = UPPER(REPLACE('{account}', '-', ''))")
        }
    };
    probe.number(&format!("SELECT COUNT(*) FROM auth_login_name WHERE {its_own}")).await
}

/// Uses the account and the instance that every hook receives.
#[derive(Clone, Default)]
struct Knows(Arc<Mutex<Vec<String>>>);

impl Knows {
    fn note(&self, text: String) -> HookResult {
        self.0.lock().expect("nothing panics while it is held").push(text);
        Ok(())
    }
}

impl Hooks for Knows {
    async fn before_register(&self, r: Registering<'_>, _: &DatabaseTransaction) -> HookResult {
        self.note(format!("before_register {}", r.account.is_some()))
    }

    async fn after_register(&self, r: Registering<'_>, txn: &DatabaseTransaction) -> HookResult {
        let account = r.account.expect("the account is there");
        assert_eq!(account.id(), r.account_id);
        r.auth.roles().within(txn).grant(account.id(), "member").await?;
        self.note(format!("after_register {:?}", account.username()))
    }

    async fn before_login(&self, login: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
        assert_eq!(login.account.id(), login.account_id);
        self.note(format!("before_login {:?}", login.account.username()))
    }

    async fn after_login(&self, login: SigningIn<'_>, txn: &DatabaseTransaction) -> HookResult {
        let found = login.auth.accounts().within(txn).find(login.account_id).await?;
        self.note(format!("after_login {}", found.is_some()))
    }

    async fn before_logout(&self, logout: SigningOut<'_>, _: &DatabaseTransaction) -> HookResult {
        self.note(format!("before_logout {:?}", logout.account.and_then(|a| a.username())))
    }

    async fn after_password_change(
        &self,
        change: ChangingPassword<'_>,
        txn: &DatabaseTransaction,
    ) -> HookResult {
        assert_eq!(change.account.id(), change.account_id);
        change.auth.roles().within(txn).revoke(change.account_id, "member").await?;
        self.note(format!("after_password_change {:?}", change.account.username()))
    }
}

on_every_database! {
    async fn a_hook_knows_the_account_and_works_with_the_instance_inside_the_transaction(probe: Probe) {
        let knows = Knows::default();
        let mut probe = probe;
        probe.auth = probe.rebuilt(|builder| builder.hooks(knows.clone()));
        probe.auth.roles().create("member", ["doc:read"]).await.expect("a role");
        let mut browser = probe.browser().await;
        let body = json!({ "username": "alice", "password": PASSWORD });
        assert_eq!(browser.post("/auth/register", body).await.status, 201);
        let alice = probe.auth.accounts().find_by_login("alice").await.expect("it answers");
        let alice = alice.expect("the account is there").id();
        let roles = async || probe.auth.roles().of(alice).await.expect("it answers").len();
        assert_eq!(roles().await, 1, "what the hook granted is granted");
        let body = json!({ "current_password": PASSWORD, "new_password": "another horse battery staple" });
        assert_eq!(browser.put("/auth/password", body).await.status, 200);
        assert_eq!(roles().await, 0);
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
        // The session of a visitor has no account.
        let seen = std::mem::take(&mut *knows.0.lock().expect("nothing panics while it is held"));
        assert_eq!(seen, [
            "before_register false",
            "after_register Some(\"alice\")",
            "before_login Some(\"alice\")",
            "after_login true",
            "after_password_change Some(\"alice\")",
            "before_logout Some(\"alice\")",
        ]);
    }

    async fn every_flow_says_which_names_came_went_and_were_proved(probe: Probe) {
        let (probe, watch) = watched(probe);
        let (_, mut alice) = person(&probe, "alice").await;
        assert_eq!(watch.take(), [""; 0], "the application knows what it does itself");
        let check = |answer: Answer, expected: &[&str]| {
            assert!(answer.status < 300, "{}", answer.text);
            assert_eq!(watch.take(), expected);
        };
        let answer = alice.post(NAMES, json!({ "username": "wonderland" })).await;
        check(answer, &["alice: Added +wonderland"]);
        let answer = proved(&probe, &mut alice, NAMES, "alice@work.example").await;
        check(answer, &["alice: Added +alice@work.example !alice@work.example"]);
        let answer = alice.delete(&format!("{NAMES}/wonderland")).await;
        check(answer, &["alice: Removed -wonderland"]);
        // The next username becomes the account's own. This is no addition and no removal.
        assert_eq!(alice.post(NAMES, json!({ "username": "liddell" })).await.status, 200);
        watch.take();
        check(alice.delete(&format!("{NAMES}/alice")).await, &["alice: Removed -alice"]);

        let answer = proved(&probe, &mut alice, "/auth/email", "alice@new.example").await;
        check(answer, &[
            "liddell: Changed +alice@new.example -alice@example.com !alice@new.example",
        ]);
        let answer = proved(&probe, &mut alice, "/auth/email", "Alice@new.example").await;
        check(answer, &["liddell: Changed +Alice@new.example -alice@new.example !Alice@new.example"]);
        check(proved_number(&probe, &mut alice).await, &["liddell: Added ++4915112345678 !+4915112345678"]);
        check(alice.delete("/auth/phone").await, &["liddell: Removed -+4915112345678"]);
        let undo = token(&probe, MessageKind::EmailChangedUndo, "alice@example.com").await;
        let answer = alice.stranger().post("/auth/email/undo", json!({ "token": undo })).await;
        check(answer, &[
            "liddell: Undone +alice@example.com -Alice@new.example !alice@example.com",
        ]);

        let mut bob = probe.browser().await;
        let body = json!({ "username": "bob", "email": "bob@example.com", "password": PASSWORD });
        let answer = bob.post("/auth/register", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_eq!(watch.take(), [""; 0], "what a registration brings is told by its own hooks");
        let link = token(&probe, MessageKind::VerifyAddress, "bob@example.com").await;
        let answer = bob.post("/auth/verification/confirm", json!({ "token": link })).await;
        check(answer, &["bob: Proved for the first time !bob@example.com"]);
    }

    async fn an_undone_addition_and_a_reset_are_told(probe: Probe) {
        let (probe, watch) = watched(probe);
        let (_, mut alice) = person(&probe, "alice").await;
        assert_eq!(alice.post(NAMES, json!({ "username": "wonderland" })).await.status, 200);
        watch.take();
        let undo = token(&probe, MessageKind::LoginNameAdded, "alice@example.com").await;
        let answer = alice.stranger().post(&format!("{NAMES}/undo"), json!({ "token": undo })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        assert_eq!(watch.take(), ["alice: Undone -wonderland"]);

        // A reset verifies an address that was not verified, and removes a number from before.
        let mut new = NewAccount::username("bob").with_email("bob@example.com");
        new.phone = Some(NUMBER.to_owned());
        probe.auth.registration().create(new, PASSWORD).await.expect("the account is made");
        let mut bob = probe.browser().await;
        let body = json!({ "login": "bob@example.com" });
        assert_eq!(bob.post("/auth/password/forgot", body).await.status, 202);
        let reset = token(&probe, MessageKind::PasswordReset, "bob@example.com").await;
        let body = json!({ "token": reset, "password": "another horse battery staple" });
        let answer = bob.post("/auth/password/reset", body).await;
        assert!(answer.status < 300, "{}", answer.text);
        assert_eq!(watch.take(), ["bob: Proved for the first time -+4915112345678 !bob@example.com"]);
    }

    async fn a_sign_in_by_mail_and_a_hand_over_are_told(probe: Probe) {
        let (probe, watch) = watched(probe);
        let mail_login = async |browser: &mut Browser, address: &str| {
            probe.clock.advance(MINUTE);
            let asked = browser.post("/auth/login/mail", json!({ "login": address })).await;
            assert_eq!(asked.status, 202, "{}", asked.text);
            let token = token(&probe, MessageKind::MailLogin, address).await;
            browser.post("/auth/login/mail/confirm", json!({ "token": token })).await
        };
        for (name, flow, expected) in [
            // The address of an account that somebody else may have created. Its other address goes.
            ("carol", "mail", "carol: Proved for the first time -second@carol.example !carol@example.com"),
            ("dave", "link", "dave: Proved for the first time -second@dave.example !dave@example.com"),
        ] {
            let address = format!("{name}@example.com");
            let new = NewAccount::username(name).with_email(address.as_str());
            let account = probe.auth.registration().create(new, PASSWORD).await.expect("an account");
            let second = portcullis::account::FurtherName::email(format!("second@{name}.example"));
            probe.auth.accounts().add_name(account.id(), second.verified()).await.expect("it is added");
            assert_eq!(watch.take(), [""; 0], "the application knows what it does itself");
            let mut browser = probe.browser().await;
            let answer = if flow == "mail" {
                mail_login(&mut browser, &address).await
            } else {
                let asked = browser.post("/auth/verification", json!({ "email": address })).await;
                assert_eq!(asked.status, 202, "{}", asked.text);
                let token = token(&probe, MessageKind::VerifyAddress, &address).await;
                browser.post("/auth/verification/confirm", json!({ "token": token })).await
            };
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(answer.json()["result"], "password_change_required", "{}", answer.text);
            assert_eq!(watch.take(), [expected], "{flow}");
        }
        // Of a proved account nothing changes.
        let (_, browser) = person(&probe, "alice").await;
        let answer = mail_login(&mut browser.stranger(), "alice@example.com").await;
        assert_eq!(answer.json()["result"], "session", "{}", answer.text);
        assert_eq!(watch.take(), [""; 0]);
        // A hook that refuses leaves the account with whoever has it, and the link is not used up.
        let new = NewAccount::username("erin").with_email("erin@example.com");
        probe.auth.registration().create(new, PASSWORD).await.expect("an account");
        watch.refuse(Some(NamesCause::Proved));
        let mut erin = probe.browser().await;
        let answer = mail_login(&mut erin, "erin@example.com").await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "names_are_frozen"));
        let unchanged = probe.auth.accounts().find_by_login("erin").await.expect("it answers");
        assert!(!unchanged.expect("an account").is_verified());
        watch.refuse(None);
        let token = token(&probe, MessageKind::MailLogin, "erin@example.com").await;
        let answer = erin.post("/auth/login/mail/confirm", json!({ "token": token })).await;
        assert_eq!(answer.json()["result"], "password_change_required", "{}", answer.text);
        assert_eq!(erin.stranger().login("erin", PASSWORD).await.status, 401);
    }

    async fn an_account_that_loses_a_number_to_its_owner_is_told_of_too(probe: Probe) {
        let (probe, watch) = watched(probe);
        let mut new = NewAccount::username("mallory");
        new.phone = Some(NUMBER.to_owned());
        probe.auth.accounts().create(new).await.expect("the account is made");
        let (_, mut alice) = person(&probe, "alice").await;
        let answer = proved_number(&probe, &mut alice).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(watch.take(), [
            "mallory: Lost -+4915112345678",
            "alice: Added ++4915112345678 !+4915112345678",
        ]);
    }

    async fn a_refused_change_changes_nothing_and_can_be_made_later(probe: Probe) {
        let (probe, watch) = watched(probe);
        let (id, mut alice) = person(&probe, "alice").await;
        let before = names(&probe, id).await;
        assert_eq!(before, 2, "the username and the address");
        watch.refuse(Some(NamesCause::Added));
        for _ in 0..2 {
            let answer = alice.post(NAMES, json!({ "username": "wonderland" })).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "names_are_frozen"));
        }
        // A change with another cause succeeds.
        let answer = proved(&probe, &mut alice, "/auth/email", "alice@new.example").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        watch.refuse(Some(NamesCause::Changed));
        let answer = proved(&probe, &mut alice, "/auth/email", "alice@third.example").await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "names_are_frozen"));
        assert_eq!(names(&probe, id).await, before);
        let account = probe.auth.accounts().find(id).await.expect("it answers").expect("alice");
        assert_eq!(account.email(), Some("alice@new.example"));
        // The link was not used up.
        watch.refuse(None);
        let link = token(&probe, MessageKind::EmailChangeConfirm, "alice@third.example").await;
        let answer = alice.post("/auth/email/confirm", json!({ "token": link })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // A right code that a hook refuses does not count as an attempt either.
        watch.refuse(Some(NamesCause::Changed));
        probe.clock.advance(MINUTE);
        let asked = alice.post("/auth/email", json!({ "email": "alice@fourth.example" })).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        let sent = probe.mail().await;
        let mail = sent.iter().rfind(|mail| mail.to.as_str() == "alice@fourth.example");
        let code = code_of(mail.expect("a code"));
        for _ in 0..7 {
            let answer = alice.post("/auth/email/confirm", json!({ "code": code })).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "names_are_frozen"));
        }
        watch.refuse(None);
        let answer = alice.post("/auth/email/confirm", json!({ "code": code })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // If the name is taken, no hook is called.
        let taken = probe.auth.accounts().create(NewAccount::username("alice")).await;
        assert!(matches!(taken, Err(AccountError::Taken(_))));
    }

    async fn a_failing_hook_uses_up_no_attempts_at_a_right_code(probe: Probe) {
        let (mut probe, watch) = watched(probe);
        let texts = probe.notifier.clone();
        probe.auth = probe.rebuilt(|builder| {
            let builder = builder.hooks(watch.clone()).text_messages(texts);
            builder.configure(|config| config.database.hook_timeout = Duration::from_millis(50))
        });
        let failures = [Failure::ByItself, Failure::InTheDatabase, Failure::ByTheTimeLimit];
        let last = async |kind: MessageKind| {
            let sent = probe.mail().await;
            code_of(sent.iter().rfind(|mail| mail.kind == kind).expect("a code"))
        };
        let check = async |browser: &mut Browser, path: &str, code: String, failure: Failure| {
            let body = json!({ "code": code });
            watch.fail(Some(failure));
            for _ in 0..7 {
                let answer = browser.post(path, body.clone()).await;
                assert_eq!(answer.status, 503, "{path} {failure:?}: {}", answer.text);
            }
            watch.fail(None);
            let answer = browser.post(path, body).await;
            assert_eq!(answer.status, 200, "{path} {failure:?}: {}", answer.text);
        };
        for (number, failure) in failures.into_iter().enumerate() {
            let (_, mut alice) = person(&probe, &format!("alice{number}")).await;
            for (path, kind) in [
                ("/auth/email", MessageKind::EmailChangeConfirm),
                (NAMES, MessageKind::LoginNameConfirm),
            ] {
                probe.clock.advance(MINUTE);
                let address = format!("alice@{}{number}.example", path.len());
                let asked = alice.post(path, json!({ "email": address })).await;
                assert_eq!(asked.status, 202, "{}", asked.text);
                let code = last(kind).await;
                check(&mut alice, &format!("{path}/confirm"), code, failure).await;
            }
            // A verification, in the browser that registered.
            let mut bob = probe.browser().await;
            let name = format!("bob{number}");
            let address = format!("{name}@example.com");
            let body = json!({ "username": name, "email": address, "password": PASSWORD });
            assert_eq!(bob.post("/auth/register", body).await.status, 201);
            let code = last(MessageKind::VerifyAddress).await;
            check(&mut bob, "/auth/verification/confirm", code, failure).await;
        }
    }
}
