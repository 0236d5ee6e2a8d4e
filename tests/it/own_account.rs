//! Closing, erasing and exporting accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use portcullis::account::{AccountState, FurtherName, NewAccount};
use portcullis::account_import::ImportedAccount;
use portcullis::account_recovery::{NewRecovery, RecoveryActor};
use portcullis::base::clock::MockClock;
use portcullis::config::{RateStore, Registration};
use portcullis::hook::{ClosingAccount, EraseCause, ErasingAccount, HookResult, Hooks};
use portcullis::identity::{AccountOwner, owner};
use portcullis::maintenance::MaintenanceReport;
use portcullis::own_account::OwnAccountError;
use portcullis::permission::Resource;
use portcullis::port::HookFuture;
use portcullis::test_kit::StatementCounter;
use portcullis::{
    Account, AccountId, ClientInfo, Factor, MessageKind, Permission, Portcullis, Problem, Refusal,
    Rejection, Secret,
};
use portcullis_migration::{Migrator, MigratorTrait};
use portcullis_test_needs::needs;
use reqwest::Method;
use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement, TransactionTrait};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::maintenance::{fill, scanned_tables};
use crate::on_every_database;
use crate::support::browser::Answer;
use crate::support::database::{TABLES, connect, drop_fresh, fresh};
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The application of the other tests, with the routes of this capability.
fn whole(auth: &Portcullis) -> Router {
    app(auth).nest("/own", portcullis::own_account::routes(auth))
}

async fn browser(auth: &Portcullis) -> Browser {
    Browser::new(serve(whole(auth)).await)
}

/// Creates an account with a verified address.
async fn person(probe: &Probe, name: &str) -> AccountId {
    let account = NewAccount::username(name).with_email(format!("{name}@example.com")).verified();
    let account = probe.auth.registration().create(account, PASSWORD).await;
    account.expect("the account is made").id()
}

/// The same, with a browser that is signed in.
async fn signed_in(probe: &Probe, name: &str) -> (AccountId, Browser) {
    let id = person(probe, name).await;
    let mut browser = browser(&probe.auth).await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    (id, browser)
}

async fn state(auth: &Portcullis, id: AccountId) -> AccountState {
    let details = auth.accounts().details(id).await.expect("it answers");
    details.expect("the id is there").state
}

/// Returns the links of all notices about closed accounts so far, by recipient, the latest ones.
async fn links(probe: &Probe) -> BTreeMap<String, String> {
    links_of(probe, &probe.auth).await
}

/// The same links, delivered by another node.
async fn links_of(probe: &Probe, auth: &Portcullis) -> BTreeMap<String, String> {
    auth.outbox().deliver_due().await.expect("the outbox is read");
    let sent = probe.notifier.sent().into_iter();
    let notices = sent.filter(|message| message.kind == MessageKind::AccountClosed);
    let link = |text: &str| {
        let (_, rest) = text.split_once("https://app.example.com/account/keep#token=")?;
        Some(rest.chars().take_while(|c| !c.is_whitespace()).collect::<String>())
    };
    notices.map(|it| (it.to.as_str().to_owned(), link(&it.text).expect("a link"))).collect()
}

async fn close(browser: &mut Browser) -> Answer {
    browser.delete("/own/account").await
}

async fn keep(browser: &Browser, token: &str) -> Answer {
    browser.stranger().post("/own/account/keep", json!({ "token": token })).await
}

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "{answer:?}");
}

async fn maintain(auth: &Portcullis) -> MaintenanceReport {
    auth.maintenance().run().await.expect("it runs")
}

on_every_database! {
    async fn a_closed_account_is_shut_at_once_and_a_link_opens_it_again(probe: Probe) {
        let (id, mut alice) = signed_in(&probe, "alice").await;
        let mut elsewhere = alice.stranger();
        assert_eq!(elsewhere.login("alice", PASSWORD).await.status, 200);
        let answer = close(&mut alice).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let erase_at = probe.auth_now().plus(14 * DAY);
        let expected = json!({ "result": "closed", "erase_at": erase_at, "notices": 1 });
        assert_eq!(answer.json(), expected);
        // The account is signed out here and everywhere else.
        assert_eq!(alice.cookie, None);
        check(&elsewhere.get("/me").await, 401, "session_ended");
        assert_eq!(state(&probe.auth, id).await, AccountState::Closing);
        // A stranger gets the same answers as for an unknown name.
        let mut stranger = alice.stranger();
        for path in ["/auth/login", "/auth/password/forgot"] {
            let mut answers = Vec::new();
            for name in ["alice", "nobody"] {
                let body = json!({ "login": name, "password": PASSWORD });
                let body = if path.ends_with("forgot") { json!({ "login": name }) } else { body };
                let answer = stranger.post(path, body).await;
                answers.push((answer.status, answer.text));
            }
            assert_eq!(answers[0], answers[1], "{path}");
        }
        let body = json!({ "username": "alice", "password": PASSWORD });
        check(&stranger.post("/auth/register", body).await, 409, "username_taken");
        let sent = links(&probe).await;
        assert_eq!(sent.keys().collect::<Vec<_>>(), ["alice@example.com"]);
        let kinds = probe.mail().await.into_iter().map(|message| message.kind);
        let kinds: BTreeSet<_> = kinds.collect();
        let told = [MessageKind::AccountClosed, MessageKind::NewDevice];
        assert_eq!(kinds, told.into(), "nothing else was sent to alice");
        // The link needs no session. A second click in the same browser gets the answer that it
        // worked.
        let token = &sent["alice@example.com"];
        assert_eq!(keep(&alice, token).await.status, 204);
        check(&keep(&alice, token).await, 409, "link_used");
        assert_eq!(state(&probe.auth, id).await, AccountState::Active);
        probe.clock.advance(MINUTE);
        check(&keep(&alice, token).await, 403, "wrong_code");
        // Old sessions stay ended. The password is unchanged.
        check(&elsewhere.get("/me").await, 401, "session_ended");
        assert_eq!(elsewhere.login("alice", PASSWORD).await.status, 200);
        assert_eq!(elsewhere.get("/me").await.text, id.to_string());
        for kind in ["user_closed", "user_kept"] {
            let count = format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'");
            assert_eq!(probe.number(&count).await, 1, "{kind}");
        }
    }

    async fn closing_and_exporting_need_a_recent_factor_and_the_whole_session(probe: Probe) {
        let (id, mut alice) = signed_in(&probe, "alice").await;
        probe.clock.advance(6 * MINUTE);
        check(&close(&mut alice).await, 401, "insufficient_user_authentication");
        let answer = alice.get("/own/account/export").await;
        check(&answer, 401, "insufficient_user_authentication");
        check(&close(&mut alice.stranger()).await, 401, "not_signed_in");
        let foreign = alice.request(Method::DELETE, "/own/account");
        let foreign = foreign.header("sec-fetch-site", "cross-site");
        let answer = alice.clone().send(foreign).await;
        check(&answer, 403, "cross_site_request");
        assert_eq!(state(&probe.auth, id).await, AccountState::Active);
        let again = alice.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(again.status, 200, "{}", again.text);
        assert_eq!(alice.get("/own/account/export").await.status, 200);

        let account = probe.auth.accounts().find(id).await.expect("it answers").expect("alice");
        let app = whole(&probe.auth);
        let ask = async |ceiling: &str, method: Method, path: &str| {
            let client = probe.auth.test().login_as(&account).with_factors([(Factor::Password, MINUTE)]);
            let client = client.limited_to([ceiling]).into_client();
            let answer = client.request(method, path).send(&app).await;
            (answer.status().as_u16(), answer.code())
        };
        let (account_path, export) = ("/own/account", "/own/account/export");
        let refused = (403, "limited_session".to_owned());
        assert_eq!(ask("doc:read", Method::DELETE, account_path).await, refused);
        assert_eq!(ask("doc:read", Method::GET, export).await, refused);
        assert_eq!(ask("auth-account:close", Method::GET, export).await, refused);
        assert_eq!(ask("auth-account:export", Method::DELETE, account_path).await, refused);
        assert_eq!(ask("auth-account:export", Method::GET, export).await.0, 200);
        assert_eq!(state(&probe.auth, id).await, AccountState::Active);
        assert_eq!(ask("auth-account:close", Method::DELETE, account_path).await.0, 200);
        assert_eq!(state(&probe.auth, id).await, AccountState::Closing);
    }

    async fn every_proved_address_gets_its_own_link_and_one_is_enough(probe: Probe) {
        let texts = probe.notifier.clone();
        let auth = probe.rebuilt(|builder| builder.text_messages(texts));
        let account = NewAccount::username("alice").with_email("Alice@example.com");
        let account = account.with_phone("+4915112345678").verified();
        let id = auth.registration().create(account, PASSWORD).await.expect("it is made").id();
        for (address, verified) in [("alice@two.example", true), ("alice@three.example", false)] {
            let name = FurtherName::email(address);
            let name = if verified { name.verified() } else { name };
            auth.accounts().add_name(id, name).await.expect("it is added");
        }
        let closed = auth.accounts().close(id).await.expect("it is closed");
        assert_eq!(closed.notices, 2, "the number was never verified");
        auth.accounts().keep(id).await.expect("it is open");
        auth.accounts().verify_name(id, "+4915112345678").await.expect("it is verified");
        let early = links_of(&probe, &auth).await;
        assert_eq!(auth.accounts().close(id).await.expect("it is closed").notices, 3);
        let sent = links_of(&probe, &auth).await;
        // Closing again changes nothing and sends nothing.
        probe.clock.advance(DAY);
        let again = auth.accounts().close(id).await.expect("it is closed");
        assert_eq!((again.erase_at, again.notices), (closed.erase_at, 0));
        assert_eq!(links_of(&probe, &auth).await, sent);
        let to: Vec<_> = sent.keys().map(String::as_str).collect();
        assert_eq!(to, ["+4915112345678", "Alice@example.com", "alice@two.example"]);
        let page = browser(&auth).await;
        // A link of an earlier closing is no longer valid.
        check(&keep(&page, &early["alice@two.example"]).await, 403, "wrong_code");
        assert_eq!(keep(&page, &sent["+4915112345678"]).await.status, 204);
        assert_eq!(state(&auth, id).await, AccountState::Active);
        // The other links are no longer valid either, even if the account is closed again.
        auth.accounts().close(id).await.expect("it is closed");
        check(&keep(&page, &sent["alice@two.example"]).await, 403, "wrong_code");
        assert_eq!(state(&auth, id).await, AccountState::Closing);
    }

    async fn without_a_proved_address_only_the_application_can_reopen_it(probe: Probe) {
        let id = probe.register_with_email("alice", "alice@example.com").await.id();
        let mut alice = browser(&probe.auth).await;
        assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
        assert_eq!(close(&mut alice).await.json()["notices"], 0);
        assert!(links(&probe).await.is_empty());
        assert_eq!(state(&probe.auth, id).await, AccountState::Closing);
        probe.clock.advance(13 * DAY);
        assert_eq!(maintain(&probe.auth).await.erased_accounts, 0);
        probe.auth.accounts().keep(id).await.expect("it is open again");
        assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
        let again = probe.auth.accounts().keep(id).await;
        assert!(matches!(again, Err(OwnAccountError::NotFound)), "{again:?}");
    }

    async fn a_link_works_only_for_its_own_purpose(probe: Probe) {
        let (id, mut alice) = signed_in(&probe, "alice").await;
        probe.clock.advance(MINUTE);
        let forgot = json!({ "login": "alice" });
        assert_eq!(alice.stranger().post("/auth/password/forgot", forgot).await.status, 202);
        alice.post("/auth/email", json!({ "email": "new@example.com" })).await;
        let others: Vec<String> = probe.mail().await.iter().filter_map(|message| {
            let (_, rest) = message.text.split_once("#token=")?;
            Some(rest.chars().take_while(|c| !c.is_whitespace()).collect())
        }).collect();
        assert_eq!(others.len(), 2);
        assert_eq!(close(&mut alice).await.status, 200);
        let huge = "A".repeat(10_000);
        for token in others.iter().map(String::as_str).chain(["", "é", &huge, &"A".repeat(43)]) {
            check(&keep(&alice, token).await, 403, "wrong_code");
        }
        let token = links(&probe).await["alice@example.com"].clone();
        for path in ["/auth/email/undo", "/auth/login-names/undo", "/auth/password/reset/check"] {
            let answer = alice.stranger().post(path, json!({ "token": token })).await;
            assert!([400, 403].contains(&answer.status), "{path}: {}", answer.text);
        }
        let body = json!({ "token": token, "password": PASSWORD });
        for path in ["/auth/password/reset", "/auth/verification/confirm"] {
            let answer = alice.stranger().post(path, body.clone()).await;
            assert!([400, 403].contains(&answer.status), "{path}: {}", answer.text);
        }
        assert_eq!(state(&probe.auth, id).await, AccountState::Closing);
        assert_eq!(keep(&alice, &token).await.status, 204);
    }

    async fn after_the_waiting_time_maintenance_erases_it_and_the_link_is_over(probe: Probe) {
        let (id, mut alice) = signed_in(&probe, "alice").await;
        let bob = person(&probe, "bob").await;
        assert_eq!(close(&mut alice).await.status, 200);
        let token = links(&probe).await["alice@example.com"].clone();
        probe.clock.advance(14 * DAY - MINUTE);
        assert_eq!(maintain(&probe.auth).await.erased_accounts, 0);
        assert_eq!(state(&probe.auth, id).await, AccountState::Closing);
        probe.clock.advance(MINUTE);
        check(&keep(&alice, &token).await, 403, "wrong_code");
        assert_eq!(maintain(&probe.auth).await.erased_accounts, 1);
        assert_eq!(state(&probe.auth, id).await, AccountState::Erased);
        check(&keep(&alice, &token).await, 403, "wrong_code");
        assert_eq!(state(&probe.auth, bob).await, AccountState::Active);
        // The names are free, and the new account has another id.
        let body = json!({ "username": "alice", "email": "alice@example.com", "password": PASSWORD });
        let answer = alice.stranger().post("/auth/register", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_ne!(answer.json()["account_id"], id.to_string());
        // The id has no effect any more, not even for administrators.
        let accounts = probe.auth.accounts();
        for result in [accounts.disable(id).await, accounts.enable(id).await, accounts.delete(id).await] {
            assert_eq!(result.expect_err("it is erased").code(), "account_not_found");
        }
        for result in [accounts.keep(id).await, accounts.close(id).await.map(drop)] {
            assert_eq!(result.expect_err("it is erased").code(), "account_not_found");
        }
        probe.auth.roles().create("editor", ["doc:edit"]).await.expect("it is made");
        let granted = probe.auth.roles().grant(id, "editor").await;
        assert_eq!(granted.expect_err("it is erased").code(), "account_not_found");
    }

    async fn maintenance_comes_back_for_what_was_under_way_and_for_the_sources(probe: Probe) {
        let (id, mut alice) = signed_in(&probe, "alice").await;
        alice.get("/admin").await;
        probe.auth.accounts().erase(id).await.expect("it is erased");
        let with_source =
            "SELECT COUNT(*) FROM auth_event WHERE account_id IN (SELECT id FROM auth_account \
             WHERE erased_at IS NOT NULL) AND (address IS NOT NULL OR detail IS NOT NULL \
             OR session_id IS NOT NULL)";
        let events = "SELECT COUNT(*) FROM auth_event";
        assert!(probe.number(with_source).await > 0);
        // A request that was still running wrote a row after the erasure.
        probe.execute(
            "INSERT INTO auth_account_permission (account_id, permission, granted_at) \
             SELECT id, 'late:one', 0 FROM auth_account WHERE erased_at IS NOT NULL",
        ).await;
        let late = "SELECT COUNT(*) FROM auth_account_permission";
        maintain(&probe.auth).await;
        assert_eq!(probe.number(late).await, 1);
        probe.clock.advance(HOUR);
        maintain(&probe.auth).await;
        assert_eq!(probe.number(late).await, 0);
        let left = probe.number(with_source).await;
        assert!(left > 0, "they stay for thirty days");
        probe.clock.advance(30 * DAY - 2 * HOUR);
        assert_eq!(maintain(&probe.auth).await.erased_sources, 0);
        probe.clock.advance(HOUR);
        let before = probe.number(events).await;
        let report = maintain(&probe.auth).await;
        assert_eq!(report.erased_sources as i64, left, "{report}");
        assert_eq!(probe.number(with_source).await, 0);
        // The event of this run is new. Kinds and times are kept.
        assert_eq!(probe.number(events).await, before + 1);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account WHERE sweep_at IS NOT NULL").await, 0);
        let kinds = probe.auth.audit_log().of_account(id, 50).await.expect("events");
        assert!(kinds.iter().any(|event| event.kind == "user_erased"), "{kinds:?}");
        assert_eq!(state(&probe.auth, id).await, AccountState::Erased);
    }

    async fn an_import_skips_an_erased_account_and_reports_it(probe: Probe) {
        let id = person(&probe, "alice").await;
        probe.auth.accounts().erase(id).await.expect("it is erased");
        let row = |id, name: &str| ImportedAccount::new(id).username(name);
        let bob = AccountId::from(uuid::Uuid::from_u128(7));
        let rows = [row(id, "alice"), row(bob, "bob")];
        let report = probe.auth.account_import().run(rows, |_| {}).await.expect("it runs");
        assert_eq!((report.imported, report.skipped), (1, 1));
        assert_eq!((report.erased, report.refused.len()), (vec![id], 0));
        assert_eq!(state(&probe.auth, id).await, AccountState::Erased);
        // A closed account is skipped too, but not reported.
        probe.auth.accounts().close(bob).await.expect("it is closed");
        let report = probe.auth.account_import().run([row(bob, "bob")], |_| {}).await;
        let report = report.expect("it runs");
        assert_eq!((report.skipped, report.erased.len()), (1, 0));
        assert_eq!(state(&probe.auth, bob).await, AccountState::Closing);
    }

    async fn administrators_may_disable_a_closed_account_or_keep_its_data(probe: Probe) {
        let (id, mut alice) = signed_in(&probe, "alice").await;
        close(&mut alice).await;
        let accounts = probe.auth.accounts();
        accounts.disable(id).await.expect("it is disabled");
        assert_eq!(state(&probe.auth, id).await, AccountState::Closing);
        let token = links(&probe).await["alice@example.com"].clone();
        assert_eq!(keep(&alice, &token).await.status, 204, "the link still works");
        assert_eq!(state(&probe.auth, id).await, AccountState::Disabled);
        assert_eq!(alice.login("alice", PASSWORD).await.status, 401);
        accounts.enable(id).await.expect("it is enabled");
        assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
        // Deleting keeps the data, although the owner closed the account.
        close(&mut alice).await;
        let token = links(&probe).await["alice@example.com"].clone();
        accounts.delete(id).await.expect("it is deleted");
        assert_eq!(state(&probe.auth, id).await, AccountState::Deleted);
        check(&keep(&alice, &token).await, 403, "wrong_code");
        assert!(matches!(accounts.keep(id).await, Err(OwnAccountError::NotFound)));
        assert!(matches!(accounts.close(id).await, Err(OwnAccountError::NotFound)));
        probe.clock.advance(100 * DAY);
        assert_eq!(maintain(&probe.auth).await.erased_accounts, 0);
        assert_eq!(state(&probe.auth, id).await, AccountState::Deleted);
        accounts.erase(id).await.expect("a deleted account can be erased");
        assert_eq!(state(&probe.auth, id).await, AccountState::Erased);
    }

    async fn a_link_that_undoes_a_change_reopens_an_account_that_a_thief_has_closed(probe: Probe) {
        let (id, mut thief) = signed_in(&probe, "alice").await;
        probe.clock.advance(MINUTE);
        thief.post("/auth/email", json!({ "email": "thief@example.com" })).await;
        let token_of = async |kind: MessageKind| {
            let sent = probe.mail().await;
            let message = sent.into_iter().rfind(|message| message.kind == kind).expect("a mail");
            let (_, rest) = message.text.split_once("#token=").expect("a link");
            rest.chars().take_while(|c| !c.is_whitespace()).collect::<String>()
        };
        let confirm = token_of(MessageKind::EmailChangeConfirm).await;
        let answer = thief.post("/auth/email/confirm", json!({ "token": confirm })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(close(&mut thief).await.status, 200);
        // The notice goes to the thief. Alice has the link that undoes the change.
        assert_eq!(links(&probe).await.keys().collect::<Vec<_>>(), ["thief@example.com"]);
        let undo = token_of(MessageKind::EmailChangedUndo).await;
        let answer = thief.stranger().post("/auth/email/undo", json!({ "token": undo })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        assert_eq!(state(&probe.auth, id).await, AccountState::Active);
        let account = probe.auth.accounts().find(id).await.expect("it answers").expect("alice");
        assert_eq!(account.email(), Some("alice@example.com"));
        // The thief's link is no longer valid, and maintenance erases nothing.
        let token = links(&probe).await["thief@example.com"].clone();
        check(&keep(&thief, &token).await, 403, "wrong_code");
        probe.clock.advance(15 * DAY);
        assert_eq!(maintain(&probe.auth).await.erased_accounts, 0);
    }

    async fn keeping_and_erasing_at_once_ends_in_one_of_the_two(probe: Probe) {
        for round in 0..8 {
            let name = format!("alice{round}");
            let id = person(&probe, &name).await;
            probe.auth.accounts().close(id).await.expect("it is closed");
            let token = links(&probe).await[&format!("{name}@example.com")].clone();
            probe.clock.advance(14 * DAY - MINUTE);
            // The clock of another node is ahead, so its maintenance erases early.
            let ahead = MockClock::at(probe.auth_now().plus(2 * MINUTE));
            let other = probe.rebuilt(|builder| builder.clock(ahead));
            let mut tasks = JoinSet::new();
            for _ in 0..15 {
                let (auth, token) = (probe.auth.clone(), token.clone());
                tasks.spawn(async move {
                    let client = ClientInfo::default();
                    auth.own_account().keep(&token, &client).await.is_ok()
                });
            }
            tasks.spawn(async move {
                maintain(&other).await;
                false
            });
            let kept = tasks.join_all().await.into_iter().filter(|kept| *kept).count();
            let found = probe.auth.accounts().find_by_login(&name).await.expect("it answers");
            match state(&probe.auth, id).await {
                AccountState::Active => assert!(kept == 1 && found.is_some(), "{kept}"),
                AccountState::Erased => assert!(kept == 0 && found.is_none(), "{kept}"),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn of_parallel_closings_one_counts_and_a_session_that_ended_closes_nothing(probe: Probe) {
        let (id, alice) = signed_in(&probe, "alice").await;
        let mut tasks = JoinSet::new();
        for _ in 0..16 {
            let mut browser = alice.clone();
            tasks.spawn(async move { close(&mut browser).await.status });
        }
        let mut statuses = tasks.join_all().await;
        statuses.sort_unstable();
        assert_eq!(statuses[0], 200);
        assert!(statuses[1..].iter().all(|status| *status == 401), "{statuses:?}");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_event WHERE kind = 'user_closed'").await, 1);
        assert_eq!(links(&probe).await.len(), 1);
        probe.auth.accounts().keep(id).await.expect("it is open");
        check(&close(&mut alice.clone()).await, 401, "session_ended");
        assert_eq!(state(&probe.auth, id).await, AccountState::Active);
    }

    async fn the_last_administrator_stays(probe: Probe) {
        let accounts = probe.auth.accounts();
        let superuser = async |name: &str| {
            let account = NewAccount::username(name).superuser();
            accounts.create(account).await.expect("it is made").id()
        };
        let root = superuser("root").await;
        let refused = |result: Result<(), OwnAccountError>| {
            assert_eq!(result.expect_err("it is the last").code(), "last_superuser");
        };
        refused(accounts.erase(root).await);
        refused(accounts.close(root).await.map(drop));
        // A superuser that cannot be used does not count, and may leave.
        let disabled = superuser("disabled").await;
        accounts.disable(disabled).await.expect("it is disabled");
        let closed = superuser("closed").await;
        accounts.close(closed).await.expect("root is left");
        refused(accounts.erase(root).await);
        accounts.erase(disabled).await.expect("root is left");
        accounts.erase(closed).await.expect("root is left");
        // Several superusers leave at once, and one remains.
        let mut all = vec![root];
        for number in 0..7 {
            all.push(superuser(&format!("root{number}")).await);
        }
        let mut tasks = JoinSet::new();
        for (at, id) in all.iter().copied().enumerate() {
            let auth = probe.auth.clone();
            tasks.spawn(async move {
                match at % 2 {
                    0 => auth.accounts().erase(id).await,
                    _ => auth.accounts().close(id).await.map(drop),
                }
            });
        }
        let left = tasks.join_all().await.into_iter().filter_map(Result::err);
        let left: Vec<_> = left.map(|error| error.code()).collect();
        assert_eq!(left, ["last_superuser"]);
        // The route gives the owner the same answer.
        let last = "SELECT username FROM auth_account WHERE superuser AND deleted_at IS NULL";
        let name = probe.text(last).await.expect("one is left");
        let account = accounts.find_by_login(&name).await.expect("it answers").expect("it is there");
        let client = probe.auth.test().login_as(&account);
        let client = client.with_factors([(Factor::Password, MINUTE)]).into_client();
        let answer = client.request(http::Method::DELETE, "/own/account").send(&whole(&probe.auth)).await;
        assert_eq!((answer.status().as_u16(), answer.code()), (409, "last_superuser".to_owned()));
    }

    async fn within_a_callers_transaction_it_is_erased_with_it_or_not_at_all(probe: Probe) {
        let id = person(&probe, "alice").await;
        let txn = probe.auth.begin().await.expect("it begins");
        probe.auth.accounts().within(&txn).erase(id).await.expect("it is erased");
        txn.rollback().await;
        assert_eq!(state(&probe.auth, id).await, AccountState::Active);
        let txn = probe.db.begin().await.expect("it begins");
        let accounts = probe.auth.accounts().within(&txn);
        accounts.close(id).await.expect("it is closed");
        accounts.keep(id).await.expect("it is open");
        accounts.export(id).await.expect("it is exported");
        accounts.erase(id).await.expect("it is erased");
        txn.commit().await.expect("it is committed");
        assert_eq!(state(&probe.auth, id).await, AccountState::Erased);
        assert!(links(&probe).await.is_empty(), "the notice went with the account");
    }

    async fn an_export_shows_everything_and_no_secret(probe: Probe) {
        let probe = with_everything(probe);
        let alice = live(&probe, "alice").await;
        let exported = probe.auth.accounts().export(alice.id).await.expect("it is exported");
        assert_eq!(exported["account"]["username"], "Alice");
        assert_eq!(exported["account"]["state"], "active");
        assert_eq!(exported["application"], json!({ "orders": 3 }));
        assert_eq!(exported["incomplete"], json!([]));
        for (table, member) in EXPORTED {
            let rows = exported[member].as_array().unwrap_or_else(|| panic!("{member} of {table}"));
            assert!(!rows.is_empty(), "{member} is empty, so this test shows nothing about {table}");
        }
        assert_eq!(exported["roles"][0]["role"], "editor");
        assert_eq!(exported["groups"][0]["group"], "staff");
        assert_eq!(exported["memberships"][0]["origin"], "hand");
        assert_eq!(exported["session_data"][0]["data"], "{\"cart\":\"alice's shoes\"}");
        let names: BTreeSet<_> = exported["login_names"].as_array().expect("names").iter()
            .filter_map(|name| name["name"].as_str()).collect();
        let expected = ["Alice", "alice@new.example", "alice@further.example"];
        assert_eq!(names, expected.into());
        // It contains no column with a digest or a hash.
        let text = exported.to_string().to_lowercase();
        assert!(!text.contains("argon2"), "{text}");
        for table in TABLES {
            for row in secrets(&probe, table).await {
                assert!(!text.contains(&row), "{table}: {row}");
            }
        }
        // The owner gets the same export. A closed account can be exported too.
        let mut browser = alice.browser;
        let own = browser.get("/own/account/export").await;
        assert_eq!(own.status, 200, "{}", own.text);
        assert_eq!(own.json()["account"], exported["account"]);
        let known = "SELECT COUNT(*) FROM auth_event WHERE kind = 'user_exported' AND session_id IS NOT NULL \
                     AND address IS NOT NULL";
        assert_eq!(probe.number(known).await, 1, "who read it, and where");
        probe.auth.accounts().close(alice.id).await.expect("it is closed");
        let closed = probe.auth.accounts().export(alice.id).await.expect("it is exported");
        assert_eq!(closed["account"]["state"], "closing");
        // An export is never partial, and needs an account.
        probe.auth.accounts().erase(alice.id).await.expect("it is erased");
        let erased = probe.auth.accounts().export(alice.id).await.expect_err("nothing is left");
        assert_eq!((erased.code(), erased.status().as_u16()), ("account_erased", 410));
        let nobody = probe.auth.accounts().export(AccountId::from(uuid::Uuid::nil())).await;
        assert_eq!(nobody.expect_err("there is none").code(), "account_not_found");
    }

    async fn an_export_beside_an_erasure_is_whole_or_an_error(probe: Probe) {
        let id = person(&probe, "alice").await;
        probe.auth.roles().create("editor", ["doc:edit"]).await.expect("it is made");
        probe.auth.roles().grant(id, "editor").await.expect("it is granted");
        let mut tasks = JoinSet::new();
        for at in 0..16 {
            let auth = probe.auth.clone();
            tasks.spawn(async move {
                if at == 8 {
                    auth.accounts().erase(id).await.expect("it is erased");
                    return;
                }
                match auth.accounts().export(id).await {
                    Ok(whole) => {
                        assert_eq!(whole["account"]["username"], "alice");
                        assert_eq!(whole["login_names"].as_array().map(Vec::len), Some(2));
                        assert_eq!(whole["roles"].as_array().map(Vec::len), Some(1));
                    }
                    Err(error) => assert_eq!(error.code(), "account_erased"),
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(state(&probe.auth, id).await, AccountState::Erased);
    }

    async fn nothing_of_an_erased_person_is_left_in_any_table(probe: Probe) {
        let probe = with_everything(probe);
        // Bob's data must stay.
        let bob = live(&probe, "bob").await;
        let before = contents(&probe).await;
        let alice = live(&probe, "alice").await;
        let filled = contents(&probe).await;
        for table in TABLES.iter().filter(|table| !OTHERS.contains(table)) {
            let grew = filled[table].len() > before[table].len();
            assert!(grew, "{table} has nothing of alice, so this test shows nothing about it");
        }
        probe.auth.accounts().erase(alice.id).await.expect("it is erased");
        let after = contents(&probe).await;
        for table in TABLES {
            let others = ["auth_account", "auth_event", "auth_logout_token", "auth_outbox_limit", "auth_rate"];
            if !others.contains(&table) {
                assert_eq!(after[table], before[table], "{table}");
            }
        }
        // The number that was never proved may be another person's. Its count remains for an hour.
        let counts = |contents: &BTreeMap<&str, BTreeSet<String>>| contents["auth_outbox_limit"].clone();
        let [before_counts, filled_counts, after_counts] = [&before, &filled, &after].map(counts);
        assert!(after_counts.is_superset(&before_counts));
        assert_eq!(after_counts.len(), before_counts.len() + 1);
        assert!(filled_counts.len() > after_counts.len() + 2);
        // The counts of a source change with every request. One more count remains for a minute:
        // that of the browser, under the digest of a number that only its cookie contains.
        let keys = |rows: &BTreeSet<String>| {
            let key = |row: &String| row.split('|').next().unwrap_or_default().to_owned();
            rows.iter().map(key).collect::<BTreeSet<_>>()
        };
        let [before, filled, after] =
            [&before, &filled, &after].map(|contents| keys(&contents["auth_rate"]));
        assert_eq!(after.difference(&before).count(), 1);
        assert!(filled.len() > after.len() + 2, "{} {}", filled.len(), after.len());
        // Searches every column of every table, as bytes.
        for table in TABLES {
            let dump = probe.hex_dump(table).await;
            for needle in ["alice", "Alice", "ALICE", "491511234", "agent/alice"] {
                let needle = data_encoding::HEXLOWER.encode(needle.as_bytes());
                let found: Vec<_> = dump.iter().filter(|value| value.contains(&needle)).collect();
                assert!(found.is_empty(), "{table}: {found:?}");
            }
        }
        let id = alice.id.as_uuid().simple().to_string();
        for table in TABLES {
            let dump = probe.dump(table).await.join("\n").to_lowercase().replace('-', "");
            let there = dump.contains(&id);
            assert_eq!(there, ["auth_account", "auth_event"].contains(&table), "{table}");
        }
        let row =
            "SELECT COUNT(*) FROM auth_account WHERE erased_at IS NOT NULL AND username IS NULL \
             AND email IS NULL AND phone IS NULL AND password_hash IS NULL AND NOT superuser \
             AND verified_at IS NULL AND registered_lineage_id IS NULL AND last_login_at IS NULL \
             AND enrolled_factors = 0";
        assert_eq!(probe.number(row).await, 1);
        // Once more, as a second administrator would.
        let events = probe.number("SELECT COUNT(*) FROM auth_event").await;
        probe.auth.accounts().erase(alice.id).await.expect("it is erased already");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_event").await, events);
        // The names are free for another person, and Bob is not affected.
        for name in ["alice", "alice@new.example", "alice@further.example", "alice@example.com"] {
            let found = probe.auth.accounts().find_by_login(name).await.expect("it answers");
            assert!(found.is_none(), "{name}");
        }
        let again = NewAccount::username("alice").with_email("alice@example.com");
        probe.auth.registration().create(again, PASSWORD).await.expect("the names are free");
        let mut bobs = bob.browser;
        assert_eq!(bobs.get("/me").await.text, bob.id.to_string());
    }

    async fn what_was_asked_for_before_an_account_had_the_address_is_exported_and_erased(probe: Probe) {
        let probe = probe.configured(|config| config.mail.login_creates_accounts = true);
        let page = browser(&probe.auth).await;
        let ask = async |login: &str| {
            let mut asking = page.stranger();
            let answer = asking.post("/auth/login/mail", json!({ "login": login })).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            asking
        };
        // The first mail expires, and the second one is never used.
        let _ = ask("Newcomer@example.com").await;
        probe.clock.advance(11 * MINUTE);
        let _ = ask("newcomer@example.com").await;
        let _ = ask("registrar@example.com").await;
        let _ = ask("bystander@example.com").await;
        probe.clock.advance(2 * MINUTE);
        let mut newcomer = ask("Newcomer@Example.com").await;
        let mail = probe.mail().await.pop().expect("a mail");
        let answer = newcomer.post("/auth/login/mail/confirm", json!({ "code": mail.value("code") })).await;
        assert_eq!(answer.json()["result"], "session", "{}", answer.text);
        let accounts = probe.auth.accounts();
        let first = accounts.find_by_login("newcomer@example.com").await.expect("it answers");
        let first = first.expect("an account").id();
        let used = "SELECT COUNT(*) FROM auth_challenge WHERE purpose = 'mail_login' AND account_id IS NOT NULL";
        assert_eq!(probe.number(used).await, 1, "it belongs to the account that it has made");
        // This address gets an account in another way.
        let second = NewAccount::email("registrar@example.com").verified();
        let second = probe.auth.registration().create(second, PASSWORD).await.expect("it is made").id();
        // A stranger asks for a proof of each address.
        let addresses = ["newcomer@example.com", "registrar@example.com", "bystander@example.com"];
        for address in addresses {
            let answer = page.stranger().post("/auth/verification", json!({ "email": address })).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
        }
        let sent = async |id: AccountId| {
            let exported = accounts.export(id).await.expect("it is exported");
            let sent = exported["codes_and_links"].as_array().expect("a list").clone();
            let of = |purpose: &str| sent.iter().filter(|it| it["purpose"] == purpose).count();
            assert_eq!(of("mail_login") + of("verification"), sent.len());
            assert!(sent.iter().all(|it| it["target"] == Value::Null), "{sent:?}");
            (of("mail_login"), of("verification"))
        };
        assert_eq!((sent(first).await, sent(second).await), ((3, 1), (1, 1)));
        let rows = async || {
            let mut rows = Vec::new();
            for table in ["auth_challenge", "auth_challenge_start"] {
                rows.push(probe.number(&format!("SELECT COUNT(*) FROM {table}")).await);
            }
            rows
        };
        assert_eq!(rows().await, [8, 8]);
        // Another node erases them, with a newer secret.
        let old = probe.secret.clone();
        let other = probe.rebuilt(|builder| {
            builder.configure(|config| config.keys.secrets = vec![Secret::generate(), old])
        });
        for id in [first, second] {
            other.accounts().erase(id).await.expect("it is erased");
        }
        assert_eq!(rows().await, [2, 2], "those of the bystander");
        for table in TABLES {
            let dump = probe.hex_dump(table).await;
            for (name, kept) in [("ewcomer", false), ("registrar", false), ("bystander", table == "auth_challenge")] {
                let needle = data_encoding::HEXLOWER.encode(name.as_bytes());
                let found = dump.iter().any(|value| value.contains(&needle));
                assert_eq!(found, kept, "{table}: {name}");
            }
        }
    }

    async fn hooks_may_refuse_and_what_they_write_goes_with_the_account(probe: Probe) {
        probe.execute("DROP TABLE IF EXISTS app_profile").await;
        probe.execute("CREATE TABLE app_profile (name VARCHAR(64) NOT NULL)").await;
        let shop = Shop::default();
        let auth = probe.rebuilt(|builder| builder.hooks(shop.clone()));
        let profiles = "SELECT COUNT(*) FROM app_profile";
        let mut ids = Vec::new();
        for name in ["alice", "owes", "carol"] {
            ids.push(person(&probe, name).await);
            probe.execute(&format!("INSERT INTO app_profile VALUES ('{name}')")).await;
        }
        let [alice, owes, carol] = ids.try_into().expect("three");
        auth.accounts().erase(alice).await.expect("it is erased");
        assert_eq!(probe.number(profiles).await, 2);
        let refused = auth.accounts().erase(owes).await.expect_err("something is owed");
        assert_eq!(refused.code(), "open_order");
        assert_eq!(state(&auth, owes).await, AccountState::Active);
        assert_eq!(probe.number(profiles).await, 2);
        // Closing has a separate hook.
        let refused = auth.accounts().close(owes).await.expect_err("something is owed");
        assert_eq!(refused.code(), "open_order");
        let mut browser = browser(&auth).await;
        assert_eq!(browser.login("owes", PASSWORD).await.status, 200);
        check(&close(&mut browser).await, 409, "open_order");
        // Maintenance goes on with the others, and tries again after a day.
        let closed = probe.auth.accounts().close(owes).await.expect("this node has no hooks");
        auth.accounts().close(carol).await.expect("it is closed");
        probe.clock.advance(14 * DAY);
        assert_eq!(maintain(&auth).await.erased_accounts, 1);
        let details = auth.accounts().details(owes).await.expect("it answers").expect("an account");
        // The time that the owner was told does not move.
        assert_eq!((details.state, details.erase_at), (AccountState::Closing, Some(closed.erase_at)));
        assert_eq!(state(&auth, carol).await, AccountState::Erased);
        assert_eq!(probe.number(profiles).await, 1);
        let asked = shop.asked.load(Ordering::SeqCst);
        probe.clock.advance(2 * HOUR);
        maintain(&auth).await;
        assert_eq!(shop.asked.load(Ordering::SeqCst), asked, "not before a day has passed");
        shop.paid.store(1, Ordering::SeqCst);
        probe.clock.advance(DAY);
        assert_eq!(maintain(&auth).await.erased_accounts, 1);
        assert_eq!(state(&auth, owes).await, AccountState::Erased);
        assert_eq!(probe.number(profiles).await, 0);
        probe.execute("DROP TABLE app_profile").await;
    }

    async fn a_hook_is_not_asked_about_what_cannot_be_closed(probe: Probe) {
        let shop = Shop::default();
        let auth = probe.rebuilt(|builder| builder.hooks(shop.clone()));
        let id = person(&probe, "owes").await;
        let mut browser = browser(&auth).await;
        assert_eq!(browser.login("owes", PASSWORD).await.status, 200);
        check(&close(&mut browser).await, 409, "open_order");
        let asked = shop.asked.load(Ordering::SeqCst);
        assert!(asked > 0);
        // The session ends while the request waits for the account.
        let ended = Router::new().route("/close", post(close_after_the_end)).layer(auth.layer());
        let mut ending = browser.clone().at(serve(ended).await);
        check(&ending.post("/close", json!({})).await, 401, "session_ended");
        assert_eq!(state(&auth, id).await, AccountState::Active);
        probe.auth.accounts().erase(id).await.expect("this node has no hooks");
        let refused = auth.accounts().close(id).await.expect_err("it is erased");
        assert_eq!(refused.code(), "account_not_found");
        assert_eq!(shop.asked.load(Ordering::SeqCst), asked, "the hook learns nothing of it");
    }

    async fn an_export_that_waits_while_the_owner_ends_all_sessions_shows_nothing(probe: Probe) {
        let db = probe.db.clone();
        let probe = Probe {
            auth: probe.rebuilt(|builder| builder.exported_data(move |_| ending(db.clone()))),
            ..probe
        };
        let (_, mut thief) = signed_in(&probe, "alice").await;
        check(&thief.get("/own/account/export").await, 401, "session_ended");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_event WHERE kind = 'user_exported'").await, 0);
    }

    async fn an_export_says_nothing_about_an_address_that_was_only_typed(probe: Probe) {
        let (_, mut mallory) = signed_in(&probe, "mallory").await;
        person(&probe, "victim").await;
        let attempts = async |browser: &mut Browser| {
            let exported = browser.get("/own/account/export").await;
            assert_eq!(exported.status, 200, "{}", exported.text);
            exported.json()["attempts"].as_array().expect("a list").len()
        };
        let before = attempts(&mut mallory).await;
        for (path, field) in [("/auth/email", "email"), ("/auth/login-names", "email")] {
            for address in ["victim@example.com", "nobody@example.com"] {
                let answer = mallory.post(path, json!({ field: address })).await;
                assert_eq!(answer.status, 202, "{path}: {}", answer.text);
                // Somebody else's attempts with this address.
                assert_eq!(mallory.stranger().login(address, "wrong password").await.status, 401);
                let forgot = json!({ "login": address });
                assert_eq!(mallory.stranger().post("/auth/password/forgot", forgot).await.status, 202);
                assert_eq!(attempts(&mut mallory).await, before, "{path} {address}");
                probe.clock.advance(MINUTE);
            }
        }
    }

    async fn erasing_touches_nothing_of_an_address_that_was_only_typed(probe: Probe) {
        let (mallory, mut browser) = signed_in(&probe, "mallory").await;
        person(&probe, "victim").await;
        for address in ["victim@example.com", "nobody@example.com"] {
            let answer = browser.post("/auth/email", json!({ "email": address })).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            for body in [json!({ "login": address, "password": "wrong password" }), json!({ "login": address })] {
                let path = if body.get("password").is_some() { "/auth/login" } else { "/auth/password/forgot" };
                browser.stranger().post(path, body).await;
            }
            probe.clock.advance(MINUTE);
        }
        let others = async || {
            let mut counts = Vec::new();
            for table in ["auth_attempt", "auth_outbox_limit", "auth_outbox"] {
                let own = "account_id IS NULL OR account_id = (SELECT account_id FROM auth_login_name WHERE normal = 'victim')";
                let filter = if table == "auth_outbox" { own } else { "1 = 1" };
                counts.push(probe.number(&format!("SELECT COUNT(*) FROM {table} WHERE {filter}")).await);
            }
            counts
        };
        let before = others().await;
        assert!(before.iter().all(|count| *count > 0), "{before:?}");
        // The sign-in of mallory itself.
        let own = probe.number("SELECT COUNT(*) FROM auth_attempt WHERE outcome = 2").await;
        probe.auth.accounts().erase(mallory).await.expect("it is erased");
        let after = others().await;
        assert_eq!(after[0], before[0] - own, "attempts");
        assert_eq!(after[2], before[2], "messages");
        let victims = probe.number("SELECT COUNT(*) FROM auth_challenge WHERE purpose = 'password_reset'").await;
        assert_eq!(victims, 2);
    }

    async fn attempts_at_an_address_that_the_account_has_left_are_erased_too(probe: Probe) {
        let (alice, mut browser) = signed_in(&probe, "alice").await;
        let answer = browser.post("/auth/email", json!({ "email": "new@example.com" })).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let sent = probe.mail().await;
        let asks = |mail: &&portcullis::Message| mail.kind == MessageKind::EmailChangeConfirm;
        let code = sent.iter().rev().find(asks).expect("a mail").value("code").expect("a code").to_owned();
        assert_eq!(browser.post("/auth/email/confirm", json!({ "code": code })).await.status, 200);
        // Somebody still tries the old address, which nobody has now.
        let attempts = async || probe.number("SELECT COUNT(*) FROM auth_attempt").await;
        let before = attempts().await;
        let wrong = json!({ "login": "alice@example.com", "password": "wrong password" });
        assert_eq!(browser.stranger().post("/auth/login", wrong).await.status, 401);
        assert!(attempts().await > before);
        probe.auth.accounts().erase(alice).await.expect("it is erased");
        assert_eq!(attempts().await, 0);
    }

    async fn an_account_whose_erasure_fails_does_not_hold_up_the_others(probe: Probe) {
        let auth = probe.rebuilt(|builder| builder.hooks(Strict));
        let mut ids = Vec::new();
        for name in ["broken", "carol"] {
            ids.push(person(&probe, name).await);
            auth.accounts().close(ids[ids.len() - 1]).await.expect("it is closed");
            probe.clock.advance(MINUTE);
        }
        probe.clock.advance(14 * DAY);
        assert_eq!(maintain(&auth).await.erased_accounts, 1, "the second one");
        assert_eq!(state(&auth, ids[0]).await, AccountState::Closing);
        assert!(auth.maintenance().last_run().await.expect("it answers").is_some());
        // After an hour it is tried again.
        assert_eq!(maintain(&probe.auth).await.erased_accounts, 0);
        probe.clock.advance(HOUR);
        assert_eq!(maintain(&probe.auth).await.erased_accounts, 1);
    }

    async fn slow_hooks_do_not_lose_the_lease_of_maintenance(probe: Probe) {
        let hook = Slow { db: probe.db.clone(), clock: probe.clock.clone(), left: Arc::default() };
        let auth = probe.rebuilt(|builder| builder.hooks(hook.clone()));
        for number in 0..5 {
            let id = person(&probe, &format!("person{number}")).await;
            probe.auth.accounts().close(id).await.expect("it is closed");
        }
        probe.clock.advance(14 * DAY);
        assert_eq!(maintain(&auth).await.erased_accounts, 5);
        let left = hook.left.lock().expect("nothing panics").clone();
        assert_eq!(left.len(), 5);
        assert!(left.iter().all(|left| *left > 0), "the lease was over: {left:?}");
    }

    async fn an_export_names_no_browser_that_asked_for_a_mail(probe: Probe) {
        let id = person(&probe, "alice").await;
        let asked = probe.auth.mail_login().ask("alice", &ClientInfo::default()).await;
        let _asking = asked.expect("it is accepted");
        let exported = probe.auth.accounts().export(id).await.expect("it is exported");
        let sent = exported["codes_and_links"].as_array().expect("a list");
        let mail = sent.iter().find(|sent| sent["purpose"] == "mail_login").expect("the mail");
        assert_eq!((&mail["target"], &mail["data"]), (&Value::Null, &json!("alice@example.com")));
        let target = "SELECT COUNT(*) FROM auth_challenge WHERE purpose = 'mail_login' AND target IS NOT NULL";
        assert_eq!(probe.number(target).await, 1, "there was something to hide");
    }

    async fn erasing_leaves_a_browser_that_is_somebody_elses_now(probe: Probe) {
        let (alice, _) = signed_in(&probe, "alice").await;
        let (_, mut bob) = signed_in(&probe, "bob").await;
        // A visitor registered alice and then signed in to bob's account, in one browser.
        let lineage = "(SELECT lineage_id FROM auth_session WHERE account_id = \
                       (SELECT account_id FROM auth_login_name WHERE normal = 'bob'))";
        probe.execute(&format!(
            "INSERT INTO auth_session_data (lineage_id, data, written_at) VALUES ({lineage}, 'cart', 0)"
        )).await;
        probe.execute(&format!(
            "UPDATE auth_account SET version = version + 1, registered_lineage_id = {lineage} \
             WHERE username = 'alice'"
        )).await;
        probe.auth.accounts().erase(alice).await.expect("it is erased");
        assert_eq!(bob.get("/me").await.status, 200);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session_data").await, 1);
    }

    async fn leaving_does_not_wait_for_administrators(probe: Probe) {
        let root = NewAccount::username("root").superuser();
        probe.auth.registration().create(root, PASSWORD).await.expect("it is made");
        let ids = [person(&probe, "alice").await, person(&probe, "bob").await];
        // An administrator's row is in use. SQLite has one writer and no locks of rows.
        let txn = probe.db.begin().await.expect("it begins");
        if probe.database.backend != Backend::Sqlite {
            let lock = "SELECT id FROM auth_account WHERE id = \
                        (SELECT account_id FROM auth_login_name WHERE normal = 'root') FOR UPDATE";
            txn.execute_unprepared(lock).await.expect("it is locked");
        }
        let leaving = async {
            probe.auth.accounts().close(ids[0]).await.expect("it is closed");
            probe.auth.accounts().erase(ids[1]).await.expect("it is erased");
        };
        tokio::time::timeout(Duration::from_secs(30), leaving).await.expect("nothing waits");
        txn.rollback().await.expect("it is over");
    }
}

/// Closes the account of a session that ends after the request was resolved.
async fn close_after_the_end(
    auth: Portcullis,
    owner: AccountOwner<owner::Close>,
    client: ClientInfo,
) -> Result<(), Rejection> {
    auth.sessions().end_all(owner.account().id(), None).await?;
    auth.own_account().close(&owner, &client).await?;
    Ok(())
}

/// Ends all sessions of all accounts, as their owners would.
fn ending(db: sea_orm::DatabaseConnection) -> HookFuture<'static, Value> {
    Box::pin(async move {
        let end = "UPDATE auth_account SET epoch = epoch + 1, version = version + 1";
        db.execute_unprepared(end).await?;
        Ok(json!({}))
    })
}

/// An application whose hook takes two minutes for each account. It records how long the lease of
/// maintenance was still valid, in milliseconds.
#[derive(Clone)]
struct Slow {
    db: sea_orm::DatabaseConnection,
    clock: MockClock,
    left: Arc<Mutex<Vec<i64>>>,
}

impl Hooks for Slow {
    async fn before_erase(&self, _: ErasingAccount<'_>, _: &DatabaseTransaction) -> HookResult {
        let lease = "SELECT leased_until FROM auth_maintenance";
        let lease = Statement::from_string(self.db.get_database_backend(), lease);
        let row = self.db.query_one_raw(lease).await?.ok_or("there is no lease")?;
        let until: i64 = row.try_get_by_index(0)?;
        let now = portcullis::Clock::now(&self.clock).as_millis();
        self.left.lock().expect("nothing panics").push(until - now);
        self.clock.advance(2 * MINUTE);
        Ok(())
    }
}

/// An application whose hook fails, because a row of its own is missing.
struct Strict;

impl Hooks for Strict {
    async fn before_erase(&self, told: ErasingAccount<'_>, _: &DatabaseTransaction) -> HookResult {
        match told.account.username() {
            Some("broken") => Err(sea_orm::DbErr::RecordNotFound("the profile".to_owned()).into()),
            _ => Ok(()),
        }
    }
}

/// An application with its own table.
#[derive(Clone, Default)]
struct Shop {
    asked: Arc<AtomicUsize>,
    paid: Arc<AtomicUsize>,
}

impl Shop {
    fn judge(&self, account: &Account) -> HookResult {
        if account.username() == Some("owes") && self.paid.load(Ordering::SeqCst) == 0 {
            let reason = "an order is open";
            return Err(Refusal::new(StatusCode::CONFLICT, "open_order", reason).into());
        }
        Ok(())
    }
}

impl Hooks for Shop {
    async fn before_close(&self, told: ClosingAccount<'_>, _: &DatabaseTransaction) -> HookResult {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.judge(told.account)
    }

    async fn before_erase(
        &self,
        told: ErasingAccount<'_>,
        txn: &DatabaseTransaction,
    ) -> HookResult {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let name = told.account.username().expect("it still has its name");
        match name {
            "alice" => assert_eq!(told.cause, EraseCause::Requested),
            "carol" => assert_eq!(told.cause, EraseCause::Closed),
            _ => {}
        }
        txn.execute_unprepared(&format!("DELETE FROM app_profile WHERE name = '{name}'")).await?;
        self.judge(told.account)
    }

    async fn after_erase(&self, told: ErasingAccount<'_>, txn: &DatabaseTransaction) -> HookResult {
        // The row is empty now, but the hook gets the account as it was before.
        let found = told.auth.accounts().within(txn).find(told.account_id).await;
        let found = found.map_err(|error| error.to_string())?.ok_or("the id is gone")?;
        assert!(found.username().is_none() && told.account.username().is_some());
        Ok(())
    }
}

/// The tables that contain no personal data, so this test does not fill them.
const OTHERS: [&str; 10] = [
    "auth_captcha",
    "auth_captcha_failures",
    "auth_dpop_proof",
    "auth_logout_token",
    "auth_maintenance",
    "auth_permission",
    "auth_group_role",
    "auth_group",
    "auth_role",
    "auth_marker",
];

/// The tables with an account, and the member of an export with their rows.
const EXPORTED: [(&str, &str); 27] = [
    ("auth_account_recovery", "account_recoveries"),
    ("auth_account_group", "groups"),
    ("auth_account_permission", "permissions"),
    ("auth_account_role", "roles"),
    ("auth_api_key", "api_keys"),
    ("auth_challenge", "codes_and_links"),
    ("auth_denial", "denials"),
    ("auth_device_digest", "new_device_digests"),
    ("auth_event", "events"),
    ("auth_former_address", "former_addresses"),
    ("auth_login_name", "login_names"),
    ("auth_membership", "memberships"),
    ("auth_membership_turn", "membership_questions"),
    ("auth_outbox", "messages"),
    ("auth_passkey", "passkeys"),
    ("auth_passkey_challenge", "passkey_challenges"),
    ("auth_passkey_user", "passkey_users"),
    ("auth_pending_identity", "pending_identities"),
    ("auth_provider_flow", "provider_flows"),
    ("auth_provider_identity", "provider_identities"),
    ("auth_provider_session", "provider_sessions"),
    ("auth_recovery_code", "recovery_codes"),
    ("auth_session", "sessions"),
    ("auth_told_place", "new_devices"),
    ("auth_totp", "authenticators"),
    ("auth_trusted_device", "trusted_devices"),
    ("auth_device_request", "device_requests"),
];

/// The tables without an account: the member of an export with their rows, or the reason why they
/// are not in it.
const ALSO: [(&str, &str); 17] = [
    ("auth_captcha", "digits to type, of nobody in particular"),
    ("auth_captcha_failures", "counts of ten minutes, under digests"),
    ("auth_dpop_proof", "digests of a few minutes"),
    ("auth_account", "the member `account`"),
    ("auth_attempt", "the member `attempts`, by the digests of the names"),
    ("auth_session_data", "the member `session_data`, by the lineages of the sessions"),
    ("auth_challenge_start", "only the time of a code that is a member itself"),
    ("auth_outbox_limit", "counts of an hour, under digests"),
    ("auth_rate", "counts of a minute, under digests"),
    ("auth_epoch", "one row for the service"),
    ("auth_marker", "what happens once"),
    ("auth_logout_token", "digests, which name nobody"),
    ("auth_maintenance", "one row for the service"),
    ("auth_permission", "what the code asks for"),
    ("auth_role", "what administrators make"),
    ("auth_group", "what administrators make"),
    ("auth_group_role", "what administrators make"),
];

#[test]
fn every_table_with_an_account_is_exported_and_every_other_has_a_reason() {
    let tables = portcullis::schema::tables();
    let has_account = |table: &&portcullis::schema::Table| {
        table.columns.iter().any(|column| column.name == "account_id")
    };
    let with: BTreeSet<_> = tables.iter().filter(has_account).map(|table| &*table.name).collect();
    assert_eq!(with, EXPORTED.iter().map(|(table, _)| *table).collect());
    let without = tables.iter().filter(|table| !has_account(table)).map(|table| &*table.name);
    assert_eq!(without.collect::<BTreeSet<_>>(), ALSO.iter().map(|(table, _)| *table).collect());
}

#[test]
fn the_guide_names_every_table_with_an_account() {
    let page = include_str!("../../src/guide/personal_data.rs");
    let (_, list) = page.split_once("//! # What is kept").expect("the list");
    let (list, _) = list.split_once("//! # Erasing").expect("its end");
    for table in portcullis::schema::tables() {
        let with_account = table.name == "auth_account"
            || table.columns.iter().any(|column| column.name == "account_id");
        let named = list.contains(&format!("`{}`", table.name));
        assert!(named || !with_account, "{} is missing", table.name);
    }
}

/// Returns all rows of each table.
async fn contents(probe: &Probe) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut contents = BTreeMap::new();
    for table in TABLES {
        contents.insert(table, probe.dump(table).await.into_iter().collect());
    }
    contents
}

/// Returns the values of the secret columns of a table, in lower case: texts unchanged, and bytes
/// in hexadecimal.
async fn secrets(probe: &Probe, table: &str) -> Vec<String> {
    let tables = portcullis::schema::tables();
    let found = tables.iter().find(|found| found.name == table).expect("a table");
    let secret = [
        "digest",
        "hash",
        "subject",
        "binding",
        "recipient",
        "place",
        "payload",
        "used_from",
        "seed",
        "tokens",
        "told",
    ];
    let mut values = Vec::new();
    for column in &found.columns {
        // The subject at a provider is the name of the person there.
        let told = (table, column.name.as_str()) == ("auth_provider_identity", "subject");
        let number = matches!(column.kind, sea_orm::sea_query::ColumnType::BigInteger);
        if told || number || !secret.iter().any(|part| column.name.contains(part)) {
            continue;
        }
        let name = &column.name;
        let bytes = matches!(column.kind, sea_orm::sea_query::ColumnType::Binary(_));
        let shown = match (probe.database.backend, bytes) {
            (_, false) => name.clone(),
            (Backend::Postgres, true) => format!("encode({name}, 'hex')"),
            (_, true) => format!("HEX({name})"),
        };
        let query = format!("SELECT {shown} FROM {table} WHERE {name} IS NOT NULL");
        let statement = sea_orm::Statement::from_string(probe.db.get_database_backend(), query);
        for row in probe.db.query_all_raw(statement).await.expect("the query runs") {
            let value: String = row.try_get_by_index(0).expect("a text");
            values.push(value.to_lowercase());
        }
    }
    values
}

/// An instance with every capability. Its limits per source are off, because their rows do not
/// belong to an account.
fn with_everything(mut probe: Probe) -> Probe {
    let texts = probe.notifier.clone();
    fn orders(_: AccountId) -> HookFuture<'static, Value> {
        Box::pin(async { Ok(json!({ "orders": 3 })) })
    }
    probe.auth = probe.rebuilt(|builder| {
        builder
            .text_messages(texts)
            .levels("list", ["reader", "owner"])
            .membership_source(Lists)
            .exported_data(orders)
            .configure(|config| {
                config.rate.store = RateStore::Database;
                config.rate.per_source = None;
                config.rate.registrations = None;
                config.rate.taken_names = None;
                config.mail.per_source = None;
                config.login.registration = Registration::Open;
            })
    });
    probe
}

/// A source of memberships.
struct Lists;

impl portcullis::port::MembershipSource for Lists {
    fn memberships(&self, _: AccountId) -> HookFuture<'_, Vec<portcullis::port::SourceMembership>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// A person who has used everything.
struct Living {
    id: AccountId,
    browser: Browser,
}

/// Uses every capability as one person, so that every table has rows about this person.
async fn live(probe: &Probe, name: &str) -> Living {
    let auth = &probe.auth;
    let capital = name[..1].to_uppercase() + &name[1..];
    // A visitor who then registers.
    let mut browser = Browser::new(serve(whole(auth)).await);
    let agent = format!("Agent/{name}");
    let visit = browser.request(Method::POST, "/auth/session/anonymous");
    let visit = visit.header("user-agent", &agent).json(&json!({}));
    assert_eq!(browser.send(visit).await.status, 201);
    let body = json!({
        "username": capital, "email": format!("{name}@example.com"), "password": PASSWORD,
    });
    let register = browser.request(Method::POST, "/auth/register").json(&body);
    let answer = browser.send(register.header("user-agent", &agent)).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let id: AccountId =
        answer.json()["account_id"].as_str().expect("an id").parse().expect("an id");
    auth.accounts().verify(id).await.expect("it is verified");
    // Failed sign-ins, a forgotten password, a denial.
    let mut stranger = browser.stranger();
    for login in [&capital, &format!("{name}@example.com")] {
        assert_eq!(stranger.login(login, "not the right password").await.status, 401);
    }
    probe.clock.advance(MINUTE);
    let forgot = json!({ "login": format!("{name}@example.com") });
    assert_eq!(stranger.post("/auth/password/forgot", forgot).await.status, 202);
    // Sign-ins from new devices. The second one in the same place waits for the daily message.
    for program in ["Mozilla/5.0 Firefox/140.0", "Mozilla/5.0 Firefox/140.0", "curl/8"] {
        let body = json!({ "login": name, "password": PASSWORD });
        let mut new = browser.stranger();
        let login = new.request(Method::POST, "/auth/login").json(&body);
        assert_eq!(new.send(login.header("user-agent", program)).await.status, 200);
        probe.clock.advance(MINUTE);
    }
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    assert_eq!(browser.get("/admin").await.status, 403);
    auth.audit_log().flush().await;
    // A new address, a further name, an unverified number.
    probe.clock.advance(MINUTE);
    let new = format!("{name}@new.example");
    let answer = browser.post("/auth/email", json!({ "email": new })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let sent = probe.mail().await;
    let confirm =
        sent.iter().rfind(|it| it.kind == MessageKind::EmailChangeConfirm).expect("a mail");
    let (_, rest) = confirm.text.split_once("#token=").expect("a link");
    let token: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
    let answer = browser.post("/auth/email/confirm", json!({ "token": token })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let further = FurtherName::email(format!("{name}@further.example")).verified();
    auth.accounts().add_name(id, further).await.expect("it is added");
    // This has ended the sessions.
    probe.clock.advance(MINUTE);
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    let number = if name == "alice" { "+4915112345678" } else { "+4915212345678" };
    let answer = browser.post("/auth/phone", json!({ "phone": number })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    // Roles, groups, permissions, memberships.
    let (roles, groups) = (auth.roles(), auth.groups());
    if roles.find("editor").await.expect("it answers").is_none() {
        roles.create("editor", ["doc:edit"]).await.expect("it is made");
        groups.create("staff").await.expect("it is made");
    }
    roles.grant(id, "editor").await.expect("it is granted");
    groups.join("staff", id).await.expect("they join");
    let read = Permission::parse("doc:read:7").expect("a permission");
    auth.permissions().grant(id, &read).await.expect("it is granted");
    let list = Resource::new("list", &name.len().to_string()).expect("a resource");
    auth.memberships().grant(id, &list, "reader").await.expect("it is granted");
    // Second factors.
    probe.clock.advance(MINUTE);
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    crate::sent_code::prove_mailbox(probe, &mut browser).await;
    let (_, secret) = crate::totp::enrol(probe, &mut browser, &format!("{name}'s phone")).await;
    let answer = browser.post("/auth/recovery-codes", json!({})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    // A trusted device.
    let trusts =
        probe.rebuilt(|builder| builder.configure(|config| config.trusted_device.enabled = true));
    let mut device = browser.stranger().at(serve(whole(&trusts)).await);
    assert_eq!(device.login(name, PASSWORD).await.status, 200);
    let ticked = json!({ "code": crate::totp::code(probe, &secret), "trust_device": true });
    let answer = device.post("/auth/second-factor/verify", ticked).await;
    assert_eq!(answer.json()["trusted_device"], true, "{}", answer.text);
    // A recovery that an administrator has opened.
    let new = NewRecovery::new(format!("{name} called")).with_email(format!("{name}@lost.example"));
    let opened = auth.account_recovery().open(id, new, RecoveryActor::Program("cli")).await;
    opened.expect("it is opened");
    // A passkey, and a challenge that waits.
    let found = auth.accounts().find(id).await.expect("it answers").expect("an account");
    crate::passkey::fill(probe, &found).await;
    // An identity at a provider, a session that began with it, one that waits, and one about which she is asked.
    // Linking ends all her sessions, so she signs in again.
    browser.cookie = Some(crate::federation::fill(probe, &found).await);
    // A device that waits for its token.
    crate::device_login::approved_for(probe, id).await;
    // An API key.
    let with_keys = probe.rebuilt(|builder| {
        builder.configure(|config| config.api_key.prefix = Some("acme".to_owned()))
    });
    let new = portcullis::own_api_key::NewApiKey::new(format!("{name}'s robot"));
    drop(with_keys.api_keys().issue(id, new).await.expect("it is made"));
    // Data of the application in the session.
    let data = format!(
        "INSERT INTO auth_session_data (lineage_id, data, written_at) \
         SELECT lineage_id, '{{\"cart\":\"{name}''s shoes\"}}', 0 FROM auth_session \
         WHERE ended_at IS NULL AND account_id = (SELECT account_id FROM auth_login_name \
         WHERE normal = '{name}') AND created_at = (SELECT MAX(created_at) FROM auth_session)"
    );
    probe.execute(&data).await;
    // Deliver everything, so that the mail of the next person does not change these rows.
    probe.mail().await;
    Living { id, browser }
}

/// Checks that no statement of erasing, exporting and closing reads a whole table.
async fn no_statement_reads_a_whole_table(backend: Backend) {
    let (url, _directory) = fresh(backend).await;
    let db = connect(&url).await;
    Migrator::up(&db, None).await.expect("the migrations run");
    let clock = MockClock::default();
    // No row is old, so that maintenance only erases.
    let late = portcullis::Clock::now(&clock).plus(100 * DAY).as_millis();
    fill(backend, &db, late).await;
    let mut told = connect(&url).await;
    let texts = StatementCounter::install(&mut told);
    let auth = Portcullis::builder(told).clock(clock.clone()).secret(Secret::generate());
    let auth = auth.configure(|config| config.rate.store = RateStore::Database);
    let auth = auth.build().expect("the configuration is right");
    let account = NewAccount::username("alice").with_email("alice@example.com").verified();
    let account = auth.accounts().create(account).await.expect("it is made");
    let client = ClientInfo::default();
    let _ = auth.sessions().start(&account, &client).await.expect("a session");
    texts.take_statements();
    auth.accounts().export(account.id()).await.expect("it is exported");
    auth.accounts().close(account.id()).await.expect("it is closed");
    clock.advance(14 * DAY);
    auth.maintenance().run().await.expect("it runs");
    let ran = texts.take_statements();
    assert!(
        ran.iter().any(|statement| statement.sql.starts_with("DELETE FROM")),
        "nothing was erased"
    );
    // Only the tables that `fill` has filled, because a planner reads an empty table as a whole.
    let large = [
        "auth_account",
        "auth_session",
        "auth_session_data",
        "auth_challenge",
        "auth_challenge_start",
        "auth_attempt",
        "auth_rate",
        "auth_outbox",
        "auth_outbox_limit",
        "auth_event",
        "auth_former_address",
        "auth_told_place",
        "auth_device_digest",
        "auth_denial",
        "auth_captcha",
        "auth_captcha_failures",
    ];
    for statement in ran.iter().filter(|statement| !statement.sql.starts_with("INSERT")) {
        let scanned = scanned_tables(backend, &db, statement).await;
        let found: Vec<_> = scanned.iter().filter(|table| large.contains(&&***table)).collect();
        assert!(found.is_empty(), "{found:?}: {}", statement.sql);
    }
    drop(auth);
    db.close().await.expect("the connection closes");
    drop_fresh(backend, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_reads_a_whole_table_on_sqlite() {
    no_statement_reads_a_whole_table(Backend::Sqlite).await;
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_reads_a_whole_table_on_postgres() {
    no_statement_reads_a_whole_table(Backend::Postgres).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_reads_a_whole_table_on_mysql() {
    no_statement_reads_a_whole_table(Backend::MySql).await;
}
