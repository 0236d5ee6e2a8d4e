//! Recovery of an account by an administrator: the delay, the notices, the ways to object, and what the
//! person gets in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use portcullis::account::{FurtherName, NewAccount};
use portcullis::account_recovery::{
    AccountRecoveryError, NewRecovery, RECOVER, RecoveryActor, RecoveryState,
};
use portcullis::base::clock::MockClock;
use portcullis::hook::{ChangingPassword, HookResult, Hooks};
use portcullis::{
    Account, AccountId, AuthError, ClientInfo, Factor, Identity, MessageKind, Permission,
    Portcullis, Refusal,
};
use sea_orm::DatabaseTransaction;
use serde_json::json;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::call::{cookie_of, extracted};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp::{check, code, person, verify};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NEW: &str = "a new horse with another battery";
const OTHER: &str = "a third horse of another stable";
const CLI: RecoveryActor<'static> = RecoveryActor::Program("cli:root@db1");

/// The application of the other tests, with the routes of this capability.
async fn browser(auth: &Portcullis) -> Browser {
    let routes: Router = portcullis::account_recovery::routes(auth);
    Browser::new(serve(app(auth).nest("/lost", routes.layer(auth.layer()))).await)
}

async fn open(probe: &Probe, id: AccountId) -> usize {
    let opened = probe.auth.account_recovery().open(id, NewRecovery::new("called back"), CLI).await;
    opened.expect("it is opened").notices
}

/// Opens a recovery, waits, and sends the link. Returns its token.
async fn completed(probe: &Probe, id: AccountId) -> String {
    open(probe, id).await;
    probe.clock.advance(3 * DAY);
    complete(&probe.auth, id).await.expect("it is completed");
    token(probe, MessageKind::RecoveryLink).await
}

async fn complete(auth: &Portcullis, id: AccountId) -> Result<(), AccountRecoveryError> {
    auth.account_recovery().complete(id, CLI).await
}

/// Returns the tokens of the latest messages of a kind, by recipient.
async fn tokens(probe: &Probe, kind: MessageKind) -> BTreeMap<String, String> {
    let sent = probe.mail().await.into_iter().filter(|message| message.kind == kind);
    let token = |text: &str| {
        let (_, rest) = text.split_once("#token=").expect("a link");
        rest.chars().take_while(|c| !c.is_whitespace()).collect::<String>()
    };
    sent.map(|message| (message.to.as_str().to_owned(), token(&message.text))).collect()
}

/// Returns the token of the latest message of a kind.
async fn token(probe: &Probe, kind: MessageKind) -> String {
    let tokens = tokens(probe, kind).await;
    assert_eq!(tokens.len(), 1, "{:?}", tokens.keys());
    tokens.into_values().next().expect("there is one")
}

async fn recipients(probe: &Probe, kind: MessageKind) -> Vec<String> {
    let sent = probe.mail().await.into_iter().filter(|message| message.kind == kind);
    let mut to: Vec<_> = sent.map(|message| message.to.as_str().to_owned()).collect();
    to.sort();
    to
}

async fn object(browser: &Browser, token: &str) -> crate::support::browser::Answer {
    browser.stranger().post("/lost/account/recovery/object", json!({ "token": token })).await
}

async fn finish(browser: &Browser, token: &str) -> crate::support::browser::Answer {
    let body = json!({ "token": token, "password": NEW });
    browser.stranger().post("/lost/account/recovery/finish", body).await
}

async fn state(probe: &Probe, id: AccountId) -> RecoveryState {
    probe.auth.account_recovery().of(id).await.expect("it answers")[0].state
}

async fn events(probe: &Probe, kind: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

/// A session of an account, with factors that were passed just now.
async fn identity(auth: &Portcullis, account: &Account) -> Identity {
    let client = ClientInfo::default();
    let start = auth.sessions().start(account, &client).factor(Factor::Password);
    extracted(auth, &cookie_of(&start.await.expect("a session"))).await
}

/// An account with a verified address and without a second factor.
async fn member(probe: &Probe, name: &str) -> Account {
    let account = probe.register_with_email(name, &format!("{name}@example.com")).await;
    probe.auth.accounts().verify(account.id()).await.expect("it is verified");
    probe.auth.accounts().find(account.id()).await.expect("it answers").expect("there is one")
}

/// The same, for an administrator of recoveries.
async fn helper(probe: &Probe, name: &str) -> Account {
    let account = member(probe, name).await;
    let recover = Permission::parse(RECOVER).expect("a permission");
    probe.auth.permissions().grant(account.id(), &recover).await.expect("it is granted");
    account
}

async fn session_of(auth: &Portcullis, account: Option<&Account>) -> Option<Identity> {
    match account {
        Some(account) => Some(identity(auth, account).await),
        None => None,
    }
}

/// Refuses new passwords while the flag is set.
#[derive(Clone, Default)]
struct Nights(Arc<AtomicBool>);

impl Hooks for Nights {
    async fn before_password_change(
        &self,
        _: ChangingPassword<'_>,
        _: &DatabaseTransaction,
    ) -> HookResult {
        match self.0.load(Ordering::SeqCst) {
            true => Err(Refusal::new(StatusCode::FORBIDDEN, "closed", "come back later").into()),
            false => Ok(()),
        }
    }
}

on_every_database! {
    async fn a_recovery_waits_and_tells_the_owner_and_then_sets_a_new_password(probe: Probe) {
        let (alice, mut at_home, secret) = person(&probe, "alice").await;
        let id = alice.id();
        let stranger = browser(&probe.auth).await;
        assert_eq!(open(&probe, id).await, 1);
        assert_eq!(recipients(&probe, MessageKind::RecoveryOpened).await, ["alice@example.com"]);
        assert_eq!(state(&probe, id).await, RecoveryState::Open);
        // Until the end of the delay nothing else happens, to the millisecond.
        assert_eq!(at_home.get("/me").await.status, 200);
        probe.clock.advance(3 * DAY - Duration::from_millis(1));
        let ready_at = probe.auth_now().plus(Duration::from_millis(1));
        match complete(&probe.auth, id).await {
            Err(AccountRecoveryError::TooEarly(at)) => assert_eq!(at, ready_at),
            other => panic!("{other:?}"),
        }
        assert!(recipients(&probe, MessageKind::RecoveryLink).await.is_empty());
        probe.clock.advance(Duration::from_millis(1));
        let mut waits = stranger.stranger();
        assert_eq!(waits.login("alice", PASSWORD).await.json()["result"], "second_factor_required");
        complete(&probe.auth, id).await.expect("it is completed");
        assert_eq!(state(&probe, id).await, RecoveryState::Completed);
        // Sessions and unfinished sign-ins end, and every address is told. The factors stay.
        assert_eq!(at_home.get("/me").await.status, 401);
        check(&verify(&mut waits, &code(&probe, &secret)).await, 401, "session_ended");
        assert_eq!(recipients(&probe, MessageKind::RecoveryCompleted).await, ["alice@example.com"]);
        let answer = stranger.stranger().login("alice", PASSWORD).await.json();
        assert_eq!(answer["result"], "second_factor_required");
        assert!(matches!(complete(&probe.auth, id).await, Err(AccountRecoveryError::NotOpen)));

        let link = token(&probe, MessageKind::RecoveryLink).await;
        let weak = json!({ "token": link, "password": "short" });
        let answer = stranger.stranger().post("/lost/account/recovery/finish", weak).await;
        check(&answer, 422, "invalid_fields");
        let answer = finish(&stranger, &link).await;
        assert_eq!((answer.status, answer.set_cookies()), (204, vec![]), "{}", answer.text);
        assert_eq!(state(&probe, id).await, RecoveryState::Finished);
        for table in ["auth_totp", "auth_recovery_code"] {
            assert_eq!(probe.number(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
        assert_eq!(stranger.stranger().login("alice", PASSWORD).await.status, 401);
        let answer = stranger.stranger().login("alice", NEW).await;
        assert_eq!((answer.status, answer.json()["result"].as_str()), (200, Some("session")));
        let told: Vec<_> = probe.mail().await.into_iter().map(|message| message.kind).collect();
        assert!(told.contains(&MessageKind::PasswordChanged) && told.contains(&MessageKind::FactorRemoved));
        for kind in ["account_recovery_opened", "account_recovery_completed", "account_recovered"] {
            assert_eq!(events(&probe, kind).await, 1, "{kind}");
        }
        // A second click is told that it worked. Later, the link is as any other text.
        check(&finish(&stranger, &link).await, 409, "link_used");
        probe.clock.advance(MINUTE);
        check(&finish(&stranger, &link).await, 403, "wrong_code");
    }

    async fn every_proved_address_can_object_without_a_sign_in(probe: Probe) {
        let texts = probe.notifier.clone();
        let probe = Probe { auth: probe.rebuilt(|builder| builder.text_messages(texts)), ..probe };
        let account = NewAccount::username("alice").with_email("alice@example.com");
        let account = account.with_phone("+4915112345678").verified();
        let accounts = probe.auth.accounts();
        let id = probe.auth.registration().create(account, PASSWORD).await.expect("made").id();
        accounts.verify_name(id, "+4915112345678").await.expect("it is verified");
        let further = FurtherName::email("alice@further.example").verified();
        accounts.add_name(id, further).await.expect("it is added");
        accounts.add_name(id, FurtherName::email("bob@example.com")).await.expect("it is added");
        let stranger = browser(&probe.auth).await;
        assert_eq!(open(&probe, id).await, 3);
        let links = tokens(&probe, MessageKind::RecoveryOpened).await;
        let to: Vec<_> = links.keys().map(String::as_str).collect();
        assert_eq!(to, ["+4915112345678", "alice@example.com", "alice@further.example"]);

        let number = &links["+4915112345678"];
        assert_eq!(object(&stranger, number).await.status, 204);
        assert_eq!(state(&probe, id).await, RecoveryState::Objected);
        assert_eq!(events(&probe, "account_recovery_objected").await, 1);
        check(&object(&stranger, number).await, 409, "link_used");
        probe.clock.advance(3 * DAY);
        assert!(matches!(complete(&probe.auth, id).await, Err(AccountRecoveryError::NotOpen)));
        // A wrong, a used and an old link get the same answer. An old link does not end a new recovery.
        open(&probe, id).await;
        let mut answers = vec![object(&stranger, &"A".repeat(43)).await.text];
        for link in links.values() {
            let answer = object(&stranger, link).await;
            check(&answer, 403, "wrong_code");
            answers.push(answer.text);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(state(&probe, id).await, RecoveryState::Open);
        let link = tokens(&probe, MessageKind::RecoveryOpened).await["alice@further.example"].clone();
        assert_eq!(object(&stranger, &link).await.status, 204);
        assert_eq!(state(&probe, id).await, RecoveryState::Objected);
    }

    async fn an_objection_counts_until_the_link_is_used(probe: Probe) {
        let (alice, ..) = person(&probe, "alice").await;
        let stranger = browser(&probe.auth).await;
        let link = completed(&probe, alice.id()).await;
        let objection = token(&probe, MessageKind::RecoveryOpened).await;
        assert_eq!(object(&stranger, &objection).await.status, 204);
        check(&finish(&stranger, &link).await, 403, "wrong_code");
        let answer = stranger.stranger().login("alice", PASSWORD).await.json();
        assert_eq!(answer["result"], "second_factor_required");
        // After its use there is nothing to object to.
        probe.clock.advance(HOUR);
        let link = completed(&probe, alice.id()).await;
        let objection = token(&probe, MessageKind::RecoveryOpened).await;
        assert_eq!(finish(&stranger, &link).await.status, 204);
        check(&object(&stranger, &objection).await, 403, "wrong_code");
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::Finished);
    }

    async fn a_sign_in_with_a_second_factor_ends_a_recovery_and_a_password_does_not(probe: Probe) {
        let (alice, at_home, secret) = person(&probe, "alice").await;
        open(&probe, alice.id()).await;
        let mut browser = at_home.stranger();
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::Open);
        assert_eq!(verify(&mut browser, &code(&probe, &secret)).await.status, 200);
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::SignedIn);
        assert_eq!(events(&probe, "account_recovery_cancelled").await, 1);
        probe.clock.advance(3 * DAY);
        assert!(matches!(complete(&probe.auth, alice.id()).await, Err(AccountRecoveryError::NotOpen)));
        // So does a step-up in a session that was there before.
        open(&probe, alice.id()).await;
        assert_eq!(browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await.status, 200);
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::Open);
        probe.clock.advance(MINUTE);
        let proof = json!({ "method": "totp", "code": code(&probe, &secret) });
        assert_eq!(browser.post("/auth/reauthenticate", proof).await.status, 200);
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::SignedIn);
        assert_eq!(events(&probe, "account_recovery_cancelled").await, 2);
        // Without a second factor, a thief of the password could stop every recovery.
        let bob = member(&probe, "bob").await;
        open(&probe, bob.id()).await;
        assert_eq!(browser.stranger().login("bob", PASSWORD).await.status, 200);
        assert_eq!(state(&probe, bob.id()).await, RecoveryState::Open);
    }

    async fn a_sign_in_without_an_open_recovery_costs_no_statement(probe: Probe) {
        let (alice, at_home, secret) = person(&probe, "alice").await;
        let mut counts = Vec::new();
        for opened in [false, true] {
            if opened {
                open(&probe, alice.id()).await;
            }
            probe.clock.advance(MINUTE);
            let mut browser = at_home.stranger();
            assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
            let code = code(&probe, &secret);
            let (answer, count) = probe.statements(verify(&mut browser, &code)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            counts.push(count);
        }
        // Two changes of the recovery, which also look whether its time is over, the end of both kinds of
        // links, and the event.
        assert_eq!(counts[1], counts[0] + 5, "{counts:?}");
    }

    async fn the_owner_sees_a_recovery_and_objects_in_a_session(probe: Probe) {
        let alice = member(&probe, "alice").await;
        let bob = member(&probe, "bob").await;
        let mut at_home = browser(&probe.auth).await;
        assert_eq!(at_home.login("alice", PASSWORD).await.status, 200);
        let page = "/lost/account/recovery";
        assert_eq!(at_home.get(page).await.json(), json!({ "recoveries": [] }));
        check(&at_home.post_empty("/lost/account/recovery/reject").await, 404, "recovery_not_found");
        open(&probe, alice.id()).await;
        open(&probe, bob.id()).await;
        let list = at_home.get(page).await.json();
        let list = list["recoveries"].as_array().expect("a list");
        assert_eq!((list.len(), &list[0]["state"]), (1, &json!("open")));
        // Not who the administrator is, nor what they noted.
        assert!(list[0].get("reason").is_none() && list[0].get("opened_by").is_none());
        check(&at_home.stranger().get(page).await, 401, "not_signed_in");
        let reject = "/lost/account/recovery/reject";
        check(&at_home.stranger().post_empty(reject).await, 401, "not_signed_in");
        assert_eq!(at_home.post_empty(reject).await.status, 204);
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::Objected);
        assert_eq!(state(&probe, bob.id()).await, RecoveryState::Open);
        check(&at_home.post_empty(reject).await, 404, "recovery_not_found");
        assert_eq!(at_home.get(page).await.json()["recoveries"][0]["state"], "objected");
    }

    async fn a_limited_session_does_not_object(probe: Probe) {
        let alice = member(&probe, "alice").await;
        open(&probe, alice.id()).await;
        let routes: Router = portcullis::account_recovery::routes(&probe.auth);
        let app = Router::new().nest("/lost", routes).layer(probe.auth.layer());
        for (ceiling, status) in [("doc:read", 403), ("auth-account:factors", 204)] {
            let client = probe.auth.test().login_as(&alice).limited_to([ceiling]).into_client();
            let answer = client.request(reqwest::Method::POST, "/lost/account/recovery/reject");
            assert_eq!(answer.send(&app).await.status().as_u16(), status, "{ceiling}");
        }
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::Objected);
    }

    async fn an_administrator_needs_the_permission_a_recent_factor_and_all_rights_of_the_account(probe: Probe) {
        let alice = member(&probe, "alice").await;
        let help = member(&probe, "help").await;
        let (roles, permissions) = (probe.auth.roles(), probe.auth.permissions());
        let recoveries = probe.auth.account_recovery();
        let try_open = async |id| {
            let admin = identity(&probe.auth, &help).await;
            let actor = RecoveryActor::Administrator(&admin);
            let result = recoveries.open(id, NewRecovery::new("called back"), actor).await;
            if result.is_ok() {
                recoveries.cancel(id, actor).await.expect("it is cancelled");
            }
            result
        };
        let denied = try_open(alice.id()).await;
        assert!(matches!(denied, Err(AccountRecoveryError::Auth(AuthError::Denied))), "{denied:?}");
        // Of its domain, only this permission can be granted.
        roles.create("helpdesk", [RECOVER]).await.expect("it is made");
        assert!(roles.create("owners", ["auth-account:manage"]).await.is_err());
        roles.grant(help.id(), "helpdesk").await.expect("it is granted");
        try_open(alice.id()).await.expect("it is opened");
        let by = &recoveries.of(alice.id()).await.expect("a list")[0].opened_by;
        assert_eq!(*by, format!("account:{}", help.id()));
        let own = try_open(help.id()).await;
        assert!(matches!(own, Err(AccountRecoveryError::OwnAccount)), "{own:?}");

        // More rights: a permission, a role, everything.
        let write = Permission::parse("doc:write:7").expect("a permission");
        permissions.grant(alice.id(), &write).await.expect("it is granted");
        let more = try_open(alice.id()).await;
        assert!(matches!(more, Err(AccountRecoveryError::MoreRights)), "{more:?}");
        let doc = Permission::parse("doc").expect("a permission");
        permissions.grant(help.id(), &doc).await.expect("it is granted");
        try_open(alice.id()).await.expect("the wider permission covers it");
        roles.create("auditor", Vec::<&str>::new()).await.expect("it is made");
        roles.grant(alice.id(), "auditor").await.expect("it is granted");
        let more = try_open(alice.id()).await;
        assert!(matches!(more, Err(AccountRecoveryError::MoreRights)), "{more:?}");
        roles.grant(help.id(), "auditor").await.expect("it is granted");
        try_open(alice.id()).await.expect("both have the role");
        probe.auth.accounts().set_superuser(alice.id(), true).await.expect("it is set");
        let more = try_open(alice.id()).await;
        assert!(matches!(more, Err(AccountRecoveryError::MoreRights)), "{more:?}");
        let everything = Permission::parse("*").expect("a permission");
        permissions.grant(help.id(), &everything).await.expect("it is granted");
        let more = try_open(alice.id()).await;
        assert!(matches!(more, Err(AccountRecoveryError::MoreRights)), "{more:?}");
        probe.auth.accounts().set_superuser(help.id(), true).await.expect("it is set");
        let help = probe.auth.accounts().find(help.id()).await.expect("it answers").expect("it");
        let admin = identity(&probe.auth, &help).await;
        let actor = RecoveryActor::Administrator(&admin);
        let opened = recoveries.open(alice.id(), NewRecovery::new("called back"), actor).await;
        opened.expect("a superuser may recover a superuser");

        // The same rules apply to every step, and a factor must be recent.
        let carol = member(&probe, "carol").await;
        let carol = identity(&probe.auth, &carol).await;
        let other = RecoveryActor::Administrator(&carol);
        for result in [
            recoveries.complete(alice.id(), other).await,
            recoveries.send_again(alice.id(), other).await,
            recoveries.cancel(alice.id(), other).await,
        ] {
            assert!(matches!(result, Err(AccountRecoveryError::Auth(AuthError::Denied))), "{result:?}");
        }
        probe.clock.advance(6 * MINUTE);
        let late = extracted_again(&probe, &help).await;
        let late = recoveries.cancel(alice.id(), RecoveryActor::Administrator(&late)).await;
        assert!(matches!(late, Err(AccountRecoveryError::Auth(AuthError::StepUp(_)))), "{late:?}");
        recoveries.cancel(alice.id(), CLI).await.expect("a program may");
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::Cancelled);
    }

    async fn what_cannot_be_recovered_is_refused(probe: Probe) {
        let (auth, recoveries) = (&probe.auth, probe.auth.account_recovery());
        let new = || NewRecovery::new("called back");
        let alice = member(&probe, "alice").await;
        let bob = member(&probe, "bob").await;
        for reason in ["", "  ", &"x".repeat(1_001)] {
            let result = recoveries.open(alice.id(), NewRecovery::new(reason), CLI).await;
            assert!(matches!(result, Err(AccountRecoveryError::Invalid(_))), "{result:?}");
        }
        let result = recoveries.open(alice.id(), new().with_email("no address"), CLI).await;
        assert!(matches!(result, Err(AccountRecoveryError::Invalid(_))), "{result:?}");
        let result = recoveries.open(alice.id(), new().with_email("Bob@example.com"), CLI).await;
        assert!(matches!(result, Err(AccountRecoveryError::Taken)), "{result:?}");
        // Nobody has proved the address of this account, so its mailbox decides.
        let carol = probe.register_with_email("carol", "carol@example.com").await;
        let result = recoveries.open(carol.id(), new(), CLI).await;
        assert!(matches!(result, Err(AccountRecoveryError::AddressNotProved)), "{result:?}");
        // Without a mailbox there is nowhere to send the link.
        let dave = probe.register("dave").await;
        let result = recoveries.open(dave.id(), new(), CLI).await;
        assert!(matches!(result, Err(AccountRecoveryError::Invalid(_))), "{result:?}");
        let opened = recoveries.open(dave.id(), new().with_email("dave@example.com"), CLI).await;
        assert_eq!(opened.expect("it is opened").notices, 0);
        auth.accounts().disable(bob.id()).await.expect("it is disabled");
        let result = recoveries.open(bob.id(), new(), CLI).await;
        assert!(matches!(result, Err(AccountRecoveryError::Disabled)), "{result:?}");
        auth.accounts().close(alice.id()).await.expect("it is closed");
        let result = recoveries.open(alice.id(), new(), CLI).await;
        assert!(matches!(result, Err(AccountRecoveryError::NotFound)), "{result:?}");
        let result = recoveries.complete(alice.id(), CLI).await;
        assert!(matches!(result, Err(AccountRecoveryError::NotFound)), "{result:?}");
    }

    async fn a_change_of_the_account_ends_its_recovery(probe: Probe) {
        let accounts = probe.auth.accounts();
        let ends = ["disable", "disable later", "close", "delete", "promote", "restore"];
        let stays = ["enable", "demote", "neither"];
        for change in ends.into_iter().chain(stays) {
            let name = change.replace(' ', "-");
            let id = member(&probe, &name).await.id();
            open(&probe, id).await;
            match change {
                "disable" => accounts.disable(id).await.expect("it is disabled"),
                "disable later" => {
                    let date = probe.auth_now().plus(30 * DAY);
                    accounts.disable_from(id, date).await.expect("it is disabled later");
                }
                "close" => {
                    accounts.close(id).await.expect("it is closed");
                    accounts.keep(id).await.expect("it is open");
                }
                "delete" => accounts.delete(id).await.expect("it is deleted"),
                "promote" => {
                    accounts.set_superuser(id, true).await.expect("it is set");
                }
                "demote" => {
                    accounts.set_superuser(id, false).await.expect("it is set");
                }
                "enable" => accounts.enable(id).await.expect("it is enabled"),
                "restore" => {
                    probe.auth.maintenance().after_restore().await.expect("it runs");
                }
                _ => {}
            }
            if change.starts_with("disable") {
                accounts.enable(id).await.expect("it is enabled");
            }
            let expected = match stays.contains(&change) {
                true => RecoveryState::Open,
                false => RecoveryState::Ended,
            };
            assert_eq!(state(&probe, id).await, expected, "{change}");
            probe.clock.advance(3 * DAY);
            let done = complete(&probe.auth, id).await;
            assert_eq!(done.is_ok(), stays.contains(&change), "{change}: {done:?}");
        }
        let id = member(&probe, "erased").await.id();
        open(&probe, id).await;
        let link = tokens(&probe, MessageKind::RecoveryOpened).await["erased@example.com"].clone();
        accounts.erase(id).await.expect("it is erased");
        assert!(probe.auth.account_recovery().of(id).await.expect("a list").is_empty());
        check(&object(&browser(&probe.auth).await, &link).await, 403, "wrong_code");
    }

    async fn a_link_that_was_sent_ends_with_the_account_or_its_time(probe: Probe) {
        let stranger = browser(&probe.auth).await;
        let alice = member(&probe, "alice").await;
        let link = completed(&probe, alice.id()).await;
        probe.auth.accounts().disable(alice.id()).await.expect("it is disabled");
        check(&finish(&stranger, &link).await, 403, "wrong_code");
        probe.auth.accounts().enable(alice.id()).await.expect("it is enabled");
        check(&finish(&stranger, &link).await, 403, "wrong_code");

        let link = completed(&probe, alice.id()).await;
        probe.clock.advance(DAY);
        check(&finish(&stranger, &link).await, 403, "wrong_code");
        // It can be sent again. The one before it is then replaced.
        let recoveries = probe.auth.account_recovery();
        recoveries.send_again(alice.id(), CLI).await.expect("it is sent");
        let second = token(&probe, MessageKind::RecoveryLink).await;
        recoveries.send_again(alice.id(), CLI).await.expect("it is sent");
        let third = token(&probe, MessageKind::RecoveryLink).await;
        check(&finish(&stranger, &second).await, 403, "wrong_code");
        assert_eq!(finish(&stranger, &third).await.status, 204);
        let again = recoveries.send_again(alice.id(), CLI).await;
        assert!(matches!(again, Err(AccountRecoveryError::NotOpen)), "{again:?}");

        // Nobody completes it in time.
        open(&probe, alice.id()).await;
        let twice = recoveries.open(alice.id(), NewRecovery::new("again"), CLI).await;
        assert!(matches!(twice, Err(AccountRecoveryError::AlreadyOpen)), "{twice:?}");
        probe.clock.advance(17 * DAY);
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::Ended);
        assert!(matches!(complete(&probe.auth, alice.id()).await, Err(AccountRecoveryError::NotOpen)));
        open(&probe, alice.id()).await;
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::Open);
    }

    async fn a_new_address_replaces_the_lost_one_and_the_lost_one_can_undo_it(probe: Probe) {
        let (alice, ..) = person(&probe, "alice").await;
        let id = alice.id();
        let (accounts, recoveries) = (probe.auth.accounts(), probe.auth.account_recovery());
        let further = FurtherName::email("alice@further.example").verified();
        accounts.add_name(id, further).await.expect("it is added");
        let stranger = browser(&probe.auth).await;
        let new = NewRecovery::new("showed a passport").with_email("Alice@new.example");
        assert_eq!(recoveries.open(id, new, CLI).await.expect("it is opened").notices, 2);
        probe.clock.advance(3 * DAY);
        complete(&probe.auth, id).await.expect("it is completed");
        // The link goes to the new address alone, which is none of the account yet.
        assert_eq!(recipients(&probe, MessageKind::RecoveryLink).await, ["Alice@new.example"]);
        let account = accounts.find_by_login("alice@new.example").await.expect("it answers");
        assert!(account.is_none());
        let link = token(&probe, MessageKind::RecoveryLink).await;
        assert_eq!(finish(&stranger, &link).await.status, 204);
        let account = accounts.find(id).await.expect("it answers").expect("alice");
        assert_eq!((account.email(), account.username()), (Some("Alice@new.example"), Some("alice")));
        assert!(account.enrolled_factors().is_empty());
        for gone in ["alice@example.com", "alice@further.example"] {
            assert!(accounts.find_by_login(gone).await.expect("it answers").is_none(), "{gone}");
        }
        assert_eq!(recipients(&probe, MessageKind::AddressRemoved).await, ["alice@further.example"]);
        assert_eq!(stranger.stranger().login("alice@new.example", NEW).await.status, 200);
        // The owner was away while they could object.
        let undo = token(&probe, MessageKind::EmailChangedUndo).await;
        let answer = stranger.stranger().post("/auth/email/undo", json!({ "token": undo })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        let account = accounts.find(id).await.expect("it answers").expect("alice");
        assert_eq!(account.email(), Some("alice@example.com"));
    }

    async fn an_address_that_a_thief_replaced_comes_back_and_the_thief_gets_no_link(probe: Probe) {
        let alice = member(&probe, "alice").await;
        let mut thief = browser(&probe.auth).await;
        assert_eq!(thief.login("alice", PASSWORD).await.status, 200);
        thief.post("/auth/email", json!({ "email": "thief@example.com" })).await;
        let confirm = token(&probe, MessageKind::EmailChangeConfirm).await;
        let answer = thief.post("/auth/email/confirm", json!({ "token": confirm })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // The link that undoes this is not used in time.
        probe.mail().await;
        probe.clock.advance(8 * DAY);
        let recoveries = probe.auth.account_recovery();
        let new = NewRecovery::new("showed a passport").with_email("alice@example.com");
        recoveries.open(alice.id(), new, CLI).await.expect("it is opened");
        probe.clock.advance(3 * DAY);
        complete(&probe.auth, alice.id()).await.expect("it is completed");
        let link = token(&probe, MessageKind::RecoveryLink).await;
        assert_eq!(finish(&thief, &link).await.status, 204);
        let account = probe.auth.accounts().find(alice.id()).await.expect("it answers");
        assert_eq!(account.expect("alice").email(), Some("alice@example.com"));
        let told = probe.mail().await.into_iter();
        let told = told.filter(|it| it.kind == MessageKind::EmailChangedUndo);
        let told: Vec<_> = told.map(|it| (it.to.as_str().to_owned(), it.text.contains("#token="))).collect();
        let expected = [("alice@example.com".to_owned(), true), ("thief@example.com".to_owned(), false)];
        assert_eq!(told, expected);
    }

    async fn an_address_that_another_account_got_meanwhile_is_refused(probe: Probe) {
        let alice = member(&probe, "alice").await;
        let stranger = browser(&probe.auth).await;
        let recoveries = probe.auth.account_recovery();
        let new = NewRecovery::new("showed a passport").with_email("new@example.com");
        recoveries.open(alice.id(), new, CLI).await.expect("it is opened");
        probe.clock.advance(3 * DAY);
        complete(&probe.auth, alice.id()).await.expect("it is completed");
        let link = token(&probe, MessageKind::RecoveryLink).await;
        let bob = NewAccount::username("bob").with_email("new@example.com").verified();
        let bob = probe.auth.accounts().create(bob).await.expect("it is made");
        check(&finish(&stranger, &link).await, 409, "email_taken");
        // Nothing was changed, and the link is valid again when the address is free.
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::Completed);
        assert_eq!(stranger.stranger().login("alice", PASSWORD).await.status, 200);
        probe.auth.accounts().erase(bob.id()).await.expect("it is erased");
        assert_eq!(finish(&stranger, &link).await.status, 204);
    }

    async fn an_account_without_a_mailbox_gets_its_first_one(probe: Probe) {
        let dave = probe.register("dave").await;
        let stranger = browser(&probe.auth).await;
        let new = NewRecovery::new("showed a passport").with_email("dave@example.com");
        let opened = probe.auth.account_recovery().open(dave.id(), new, CLI).await;
        opened.expect("it is opened");
        probe.clock.advance(3 * DAY);
        complete(&probe.auth, dave.id()).await.expect("it is completed");
        let link = token(&probe, MessageKind::RecoveryLink).await;
        assert_eq!(finish(&stranger, &link).await.status, 204);
        let dave = probe.auth.accounts().find(dave.id()).await.expect("it answers").expect("dave");
        assert!(dave.is_verified() && dave.email() == Some("dave@example.com"));
        assert_eq!(stranger.stranger().login("dave", NEW).await.status, 200);
        let sequence = "SELECT sequence FROM auth_login_name WHERE normal = 'dave@example.com'";
        assert_eq!(probe.number(sequence).await, 0);
    }

    async fn a_required_factor_must_be_set_up_again(probe: Probe) {
        let (alice, ..) = person(&probe, "alice").await;
        let roles = probe.auth.roles();
        roles.create("staff", ["doc:read"]).await.expect("it is made");
        roles.require_factor("staff", true).await.expect("it is set");
        roles.grant(alice.id(), "staff").await.expect("it is granted");
        let stranger = browser(&probe.auth).await;
        let link = completed(&probe, alice.id()).await;
        assert_eq!(finish(&stranger, &link).await.status, 204);
        let mut browser = stranger.stranger();
        let answer = browser.login("alice", NEW).await;
        assert_eq!(answer.json()["result"], "enrolment_required", "{}", answer.text);
        crate::sent_code::prove_mailbox(&probe, &mut browser).await;
        crate::totp::enrol(&probe, &mut browser, "new phone").await;
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn a_hook_that_refuses_leaves_the_link_valid(probe: Probe) {
        let nights = Nights::default();
        let hooks = nights.clone();
        let probe = Probe { auth: probe.rebuilt(|builder| builder.hooks(hooks)), ..probe };
        let alice = member(&probe, "alice").await;
        let stranger = browser(&probe.auth).await;
        let link = completed(&probe, alice.id()).await;
        nights.0.store(true, Ordering::SeqCst);
        check(&finish(&stranger, &link).await, 403, "closed");
        nights.0.store(false, Ordering::SeqCst);
        assert_eq!(finish(&stranger, &link).await.status, 204);
    }

    async fn of_many_at_once_one_opens_and_one_completes(probe: Probe) {
        let alice = member(&probe, "alice").await.id();
        let mut tasks = JoinSet::new();
        for _ in 0..16 {
            let auth = probe.auth.clone();
            tasks.spawn(async move {
                auth.account_recovery().open(alice, NewRecovery::new("lost"), CLI).await.is_ok()
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|opened| *opened).count(), 1);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account_recovery").await, 1);
        probe.clock.advance(3 * DAY);
        let mut tasks = JoinSet::new();
        for _ in 0..16 {
            let auth = probe.auth.clone();
            tasks.spawn(async move { complete(&auth, alice).await.is_ok() });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|done| *done).count(), 1);
        assert_eq!(recipients(&probe, MessageKind::RecoveryLink).await.len(), 1);
    }

    async fn an_objection_wins_against_completing_and_only_one_of_objecting_and_finishing_counts(probe: Probe) {
        for round in 0..4 {
            let name = format!("alice{round}");
            let id = member(&probe, &name).await.id();
            open(&probe, id).await;
            let address = format!("{name}@example.com");
            let objection = tokens(&probe, MessageKind::RecoveryOpened).await[&address].clone();
            probe.clock.advance(3 * DAY);
            if round % 2 == 1 {
                complete(&probe.auth, id).await.expect("it is completed");
            }
            let link = tokens(&probe, MessageKind::RecoveryLink).await.get(&address).cloned();
            let mut tasks = JoinSet::new();
            for number in 0..32 {
                let (auth, objection, link) = (probe.auth.clone(), objection.clone(), link.clone());
                tasks.spawn(async move {
                    let (recoveries, client) = (auth.account_recovery(), ClientInfo::default());
                    let done = match (number % 2, link) {
                        (0, _) => recoveries.object(&objection, &client).await,
                        (_, None) => recoveries.complete(id, CLI).await,
                        (_, Some(link)) => recoveries.finish(&link, NEW, &client).await,
                    };
                    (number % 2, done.is_ok())
                });
            }
            let done = tasks.join_all().await;
            let count = |kind| done.iter().filter(|done| **done == (kind, true)).count();
            let password = if count(1) == 1 && link.is_some() { NEW } else { PASSWORD };
            for (other, status) in [(PASSWORD, 200), (NEW, 401)] {
                let status = if password == PASSWORD { status } else { 601 - status };
                let answer = probe.browser().await.login(&name, other).await;
                assert_eq!(answer.status, status, "{other}: {}", answer.text);
            }
            match link {
                None => {
                    assert!(count(0) == 1 && count(1) <= 1, "{done:?}");
                    assert_eq!(state(&probe, id).await, RecoveryState::Objected);
                }
                Some(_) => {
                    assert_eq!(count(0) + count(1), 1, "{done:?}");
                    let expected = match count(0) {
                        1 => RecoveryState::Objected,
                        _ => RecoveryState::Finished,
                    };
                    assert_eq!(state(&probe, id).await, expected);
                }
            }
        }
    }

    async fn a_node_with_another_clock_changes_the_delay_only_by_the_difference(probe: Probe) {
        let alice = member(&probe, "alice").await.id();
        let ahead = MockClock::at(probe.auth_now().plus(MINUTE));
        let other = probe.rebuilt(|builder| builder.clock(ahead.clone()));
        open(&probe, alice).await;
        let early = 3 * DAY - 2 * MINUTE;
        for clock in [&probe.clock, &ahead] {
            clock.advance(early);
        }
        for auth in [&probe.auth, &other] {
            let result = complete(auth, alice).await;
            assert!(matches!(result, Err(AccountRecoveryError::TooEarly(_))), "{result:?}");
        }
        for clock in [&probe.clock, &ahead] {
            clock.advance(MINUTE);
        }
        let result = complete(&probe.auth, alice).await;
        assert!(matches!(result, Err(AccountRecoveryError::TooEarly(_))), "{result:?}");
        complete(&other, alice).await.expect("by its clock the time is over");
        // The node behind still takes the objection.
        let link = token(&probe, MessageKind::RecoveryOpened).await;
        assert_eq!(object(&browser(&probe.auth).await, &link).await.status, 204);
        assert_eq!(state(&probe, alice).await, RecoveryState::Objected);
    }

    async fn the_times_are_checked(probe: Probe) {
        let refused = |change: fn(&mut portcullis::Config)| {
            let builder = Portcullis::builder(probe.db.clone()).secret(probe.secret.clone());
            builder.configure(change).build().is_err()
        };
        assert!(!refused(|config| config.account_recovery.delay = HOUR));
        assert!(refused(|config| config.account_recovery.delay = HOUR - MINUTE));
        assert!(refused(|config| config.account_recovery.delay = 31 * DAY));
        assert!(refused(|config| config.account_recovery.open_for = MINUTE));
        assert!(refused(|config| config.account_recovery.link_lifetime = MINUTE));
        assert!(refused(|config| config.retention.account_recoveries = HOUR));
    }

    async fn a_new_address_that_was_taken_during_the_delay_is_refused_and_nothing_ends(probe: Probe) {
        let alice = member(&probe, "alice").await.id();
        let recoveries = probe.auth.account_recovery();
        let new = NewRecovery::new("showed a passport").with_email("new@example.com");
        recoveries.open(alice, new, CLI).await.expect("it is opened");
        probe.clock.advance(3 * DAY);
        let mut at_home = probe.browser().await;
        assert_eq!(at_home.login("alice", PASSWORD).await.status, 200);
        let taken = async |name: &str| {
            let other = NewAccount::username(name).with_email("new@example.com").verified();
            probe.auth.accounts().create(other).await.expect("it is made").id()
        };
        let bob = taken("bob").await;
        let result = complete(&probe.auth, alice).await;
        assert!(matches!(result, Err(AccountRecoveryError::Taken)), "{result:?}");
        // Nor if the caller commits in spite of it.
        let txn = probe.auth.begin().await.expect("a transaction");
        let result = recoveries.within(&txn).complete(alice, CLI).await;
        assert!(matches!(result, Err(AccountRecoveryError::Taken)), "{result:?}");
        txn.commit().await.expect("it commits");
        assert_eq!(at_home.get("/me").await.status, 200);
        assert_eq!(state(&probe, alice).await, RecoveryState::Open);
        assert!(recipients(&probe, MessageKind::RecoveryLink).await.is_empty());
        probe.auth.accounts().erase(bob).await.expect("it is erased");
        complete(&probe.auth, alice).await.expect("it is completed");
        assert_eq!(at_home.get("/me").await.status, 401);
        taken("carol").await;
        let result = recoveries.send_again(alice, CLI).await;
        assert!(matches!(result, Err(AccountRecoveryError::Taken)), "{result:?}");
        assert_eq!(recipients(&probe, MessageKind::RecoveryLink).await.len(), 1);
    }

    async fn a_recovery_whose_time_is_over_is_not_open_and_ends_without_an_event(probe: Probe) {
        let (alice, at_home, secret) = person(&probe, "alice").await;
        let alice = alice.id();
        let bob = member(&probe, "bob").await.id();
        let stranger = browser(&probe.auth).await;
        let recoveries = probe.auth.account_recovery();
        for id in [alice, bob] {
            open(&probe, id).await;
        }
        probe.clock.advance(3 * DAY);
        for id in [alice, bob] {
            complete(&probe.auth, id).await.expect("it is completed");
        }
        // The link can be sent until an hour later, and is valid for a day.
        probe.clock.advance(14 * DAY - HOUR);
        for id in [alice, bob] {
            recoveries.send_again(id, CLI).await.expect("it is sent");
        }
        probe.clock.advance(DAY - Duration::from_millis(1));
        let again = recoveries.send_again(bob, CLI).await;
        assert!(matches!(again, Err(AccountRecoveryError::NotOpen)), "{again:?}");
        assert_eq!(state(&probe, bob).await, RecoveryState::Completed);
        let twice = recoveries.open(bob, NewRecovery::new("again"), CLI).await;
        assert!(matches!(twice, Err(AccountRecoveryError::AlreadyOpen)), "{twice:?}");
        probe.clock.advance(Duration::from_millis(1));
        assert_eq!(state(&probe, bob).await, RecoveryState::Ended);
        let mut owner = stranger.stranger();
        assert_eq!(owner.login("bob", PASSWORD).await.status, 200);
        let page = owner.get("/lost/account/recovery").await.json();
        assert_eq!(page["recoveries"][0]["state"], "ended");
        let reject = owner.post_empty("/lost/account/recovery/reject").await;
        check(&reject, 404, "recovery_not_found");
        let result = recoveries.cancel(bob, CLI).await;
        assert!(matches!(result, Err(AccountRecoveryError::NotOpen)), "{result:?}");
        // A second factor has nothing to end any more. It only tidies up.
        let mut phone = at_home.stranger();
        assert_eq!(phone.login("alice", PASSWORD).await.status, 200);
        assert_eq!(verify(&mut phone, &code(&probe, &secret)).await.status, 200);
        assert_eq!(state(&probe, alice).await, RecoveryState::Ended);
        for kind in ["account_recovery_cancelled", "account_recovery_objected"] {
            assert_eq!(events(&probe, kind).await, 0, "{kind}");
        }
        let named = "SELECT COUNT(*) FROM auth_account WHERE recovery_id IS NOT NULL";
        assert_eq!(probe.number(named).await, 1);
        let links = tokens(&probe, MessageKind::RecoveryLink).await;
        for link in links.values() {
            check(&finish(&stranger, link).await, 403, "wrong_code");
        }
        for id in [alice, bob] {
            open(&probe, id).await;
            assert_eq!(state(&probe, id).await, RecoveryState::Open);
        }
    }

    async fn a_new_password_does_not_end_the_link_and_leaving_its_address_does(probe: Probe) {
        let (alice, ..) = person(&probe, "alice").await;
        let bob = member(&probe, "bob").await.id();
        let stranger = browser(&probe.auth).await;
        let sent = completed(&probe, alice.id()).await;
        // Who reads the mail resets the password. The second factor is still missing.
        let answer = stranger.stranger().post("/auth/password/forgot", json!({ "login": "alice" })).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let reset = token(&probe, MessageKind::PasswordReset).await;
        let body = json!({ "token": reset, "password": OTHER });
        let answer = stranger.stranger().post("/auth/password/reset", body).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        let answer = stranger.stranger().login("alice", OTHER).await.json();
        assert_eq!(answer["result"], "second_factor_required");
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::Completed);
        assert_eq!(finish(&stranger, &sent).await.status, 204);
        assert_eq!(stranger.stranger().login("alice", NEW).await.status, 200);

        // The same by a session, which may be a thief's.
        open(&probe, bob).await;
        probe.clock.advance(3 * DAY);
        complete(&probe.auth, bob).await.expect("it is completed");
        let link = tokens(&probe, MessageKind::RecoveryLink).await["bob@example.com"].clone();
        let mut inside = stranger.stranger();
        assert_eq!(inside.login("bob", PASSWORD).await.status, 200);
        let change = json!({ "current_password": PASSWORD, "new_password": OTHER });
        assert_eq!(inside.put("/auth/password", change).await.status, 200);
        // In a mailbox that the account has left, the link is worth nothing.
        inside.post("/auth/email", json!({ "email": "elsewhere@example.com" })).await;
        let confirm = token(&probe, MessageKind::EmailChangeConfirm).await;
        let answer = inside.post("/auth/email/confirm", json!({ "token": confirm })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        check(&finish(&stranger, &link).await, 403, "wrong_code");
        assert_eq!(state(&probe, bob).await, RecoveryState::Completed);
        let undo = token(&probe, MessageKind::EmailChangedUndo).await;
        let answer = stranger.stranger().post("/auth/email/undo", json!({ "token": undo })).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        assert_eq!(finish(&stranger, &link).await.status, 204);
        assert_eq!(stranger.stranger().login("bob", NEW).await.status, 200);
    }

    async fn a_factor_that_the_application_checks_ends_a_recovery_too(probe: Probe) {
        let alice = member(&probe, "alice").await;
        let accounts = probe.auth.accounts();
        accounts.set_enrolled_factors(alice.id(), [Factor::Passkey]).await.expect("it is set");
        let alice = accounts.find(alice.id()).await.expect("it answers").expect("alice");
        open(&probe, alice.id()).await;
        let client = ClientInfo::default();
        for (factor, expected) in [
            (Factor::Password, RecoveryState::Open),
            // The account has not enrolled it.
            (Factor::External, RecoveryState::Open),
            (Factor::Passkey, RecoveryState::SignedIn),
        ] {
            let identity = identity(&probe.auth, &alice).await;
            let issued = probe.auth.login().step_up(&identity, factor, &client).await;
            assert!(issued.is_ok(), "{issued:?}");
            assert_eq!(state(&probe, alice.id()).await, expected, "{factor:?}");
        }
        assert_eq!(events(&probe, "account_recovery_cancelled").await, 1);
    }

    async fn a_second_factor_before_a_required_new_password_ends_a_recovery(probe: Probe) {
        let (alice, at_home, secret) = person(&probe, "alice").await;
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is required");
        open(&probe, alice.id()).await;
        let mut browser = at_home.stranger();
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::Open);
        let answer = verify(&mut browser, &code(&probe, &secret)).await;
        assert_eq!(answer.json()["result"], "password_change_required", "{}", answer.text);
        assert_eq!(state(&probe, alice.id()).await, RecoveryState::SignedIn);
    }

    async fn an_address_that_was_proved_after_the_first_notice_can_object(probe: Probe) {
        let alice = member(&probe, "alice").await.id();
        let stranger = browser(&probe.auth).await;
        assert_eq!(open(&probe, alice).await, 1);
        let further = FurtherName::email("alice@further.example").verified();
        probe.auth.accounts().add_name(alice, further).await.expect("it is added");
        probe.clock.advance(3 * DAY);
        complete(&probe.auth, alice).await.expect("it is completed");
        let links = tokens(&probe, MessageKind::RecoveryCompleted).await;
        let to: Vec<_> = links.keys().map(String::as_str).collect();
        assert_eq!(to, ["alice@example.com", "alice@further.example"]);
        assert_eq!(object(&stranger, &links["alice@further.example"]).await.status, 204);
        assert_eq!(state(&probe, alice).await, RecoveryState::Objected);
        // One objection ends all links.
        check(&object(&stranger, &links["alice@example.com"]).await, 403, "wrong_code");
        let first = token(&probe, MessageKind::RecoveryOpened).await;
        check(&object(&stranger, &first).await, 403, "wrong_code");
    }

    async fn what_administrators_do_and_may_not_do_is_recorded(probe: Probe) {
        let alice = member(&probe, "alice").await;
        let help = helper(&probe, "help").await;
        let carol = member(&probe, "carol").await;
        let recoveries = probe.auth.account_recovery();
        let new = || NewRecovery::new("called back");
        let own = identity(&probe.auth, &help).await;
        let actor = RecoveryActor::Administrator(&own);
        let nobody = identity(&probe.auth, &carol).await;
        assert!(recoveries.open(alice.id(), new(), RecoveryActor::Administrator(&nobody)).await.is_err());
        assert!(recoveries.open(help.id(), new(), actor).await.is_err());
        probe.auth.accounts().set_superuser(carol.id(), true).await.expect("it is set");
        assert!(recoveries.open(carol.id(), new(), actor).await.is_err());
        probe.auth.drain().await;
        probe.auth.audit_log().flush().await;
        let mut denied = probe.texts("SELECT rule FROM auth_denial").await;
        denied.sort();
        assert_eq!(denied.len(), 3, "{denied:?}");
        assert!(denied[0].contains(RECOVER), "{denied:?}");
        assert_eq!(denied[1..], ["recovery(more_rights)", "recovery(own_account)"]);

        recoveries.open(alice.id(), new(), actor).await.expect("it is opened");
        probe.clock.advance(3 * DAY);
        let later = identity(&probe.auth, &help).await;
        let actor = RecoveryActor::Administrator(&later);
        recoveries.complete(alice.id(), actor).await.expect("it is completed");
        recoveries.send_again(alice.id(), actor).await.expect("it is sent");
        recoveries.cancel(alice.id(), actor).await.expect("it is cancelled");
        let events = probe.auth.audit_log().of_account(alice.id(), 100).await.expect("it answers");
        let events = events.into_iter().rev().filter(|event| event.kind.starts_with("account_recovery"));
        let by = format!("account:{}", help.id());
        let told: Vec<_> = events.map(|event| (event.session_id, event.detail.expect("who"))).collect();
        let sessions = [own.session().id(), later.session().id(), later.session().id(), later.session().id()];
        let details = [by.clone(), by.clone(), format!("again {by}"), by];
        let expected: Vec<_> = sessions.map(Some).into_iter().zip(details).collect();
        let unordered = |mut list: Vec<_>| { list.sort_by_key(|entry| format!("{entry:?}")); list };
        assert_eq!(unordered(told), unordered(expected));
    }

    async fn an_administrator_within_a_transaction_needs_no_second_connection(probe: Probe) {
        let alice = member(&probe, "alice").await.id();
        let help = helper(&probe, "help").await;
        let admin = identity(&probe.auth, &help).await;
        let db = crate::support::database::connect_at_most(&probe.database.url, 1).await;
        let auth = crate::support::probe::builder(db, &probe.clock, &probe.notifier)
            .secret(probe.secret.clone())
            .configure(|config| config.database.timeout = Duration::from_secs(5))
            .build()
            .expect("the configuration is right");
        let actor = RecoveryActor::Administrator(&admin);
        let txn = auth.begin().await.expect("a transaction");
        let recoveries = auth.account_recovery().within(&txn);
        recoveries.open(alice, NewRecovery::new("called back"), actor).await.expect("it is opened");
        assert_eq!(recoveries.of(alice).await.expect("a list").len(), 1);
        recoveries.cancel(alice, actor).await.expect("it is cancelled");
        txn.commit().await.expect("it commits");
        assert_eq!(state(&probe, alice).await, RecoveryState::Cancelled);
    }

    async fn a_recovery_is_kept_as_long_as_its_link_is_valid(probe: Probe) {
        let probe = probe.configured(|config| {
            config.retention.account_recoveries = DAY;
            config.account_recovery.link_lifetime = 7 * DAY;
        });
        let alice = member(&probe, "alice").await.id();
        let stranger = browser(&probe.auth).await;
        open(&probe, alice).await;
        probe.clock.advance(17 * DAY - HOUR);
        complete(&probe.auth, alice).await.expect("it is completed");
        let link = token(&probe, MessageKind::RecoveryLink).await;
        probe.clock.advance(6 * DAY);
        let report = probe.auth.maintenance().run().await.expect("it runs");
        assert_eq!(report.account_recoveries, 0);
        assert_eq!(finish(&stranger, &link).await.status, 204);
        probe.clock.advance(3 * DAY);
        let report = probe.auth.maintenance().run().await.expect("it runs");
        assert_eq!(report.account_recoveries, 1);
    }

    async fn the_new_address_is_no_password(probe: Probe) {
        const ADDRESS: &str = "alice.of.wonderland@new.example";
        let alice = member(&probe, "alice").await.id();
        let stranger = browser(&probe.auth).await;
        let new = NewRecovery::new("showed a passport").with_email(ADDRESS);
        probe.auth.account_recovery().open(alice, new, CLI).await.expect("it is opened");
        probe.clock.advance(3 * DAY);
        complete(&probe.auth, alice).await.expect("it is completed");
        let link = token(&probe, MessageKind::RecoveryLink).await;
        let body = json!({ "token": link, "password": ADDRESS });
        let answer = stranger.stranger().post("/lost/account/recovery/finish", body).await;
        check(&answer, 422, "invalid_fields");
        assert!(answer.text.contains("is_login_name"), "{}", answer.text);
        assert_eq!(finish(&stranger, &link).await.status, 204);
    }

    async fn of_many_clicks_one_works_and_the_others_are_told_so(probe: Probe) {
        let alice = member(&probe, "alice").await.id();
        let stranger = browser(&probe.auth).await;
        let link = completed(&probe, alice).await;
        let mut tasks = JoinSet::new();
        for _ in 0..24 {
            let (browser, link) = (stranger.stranger(), link.clone());
            tasks.spawn(async move {
                let answer = finish(&browser, &link).await;
                (answer.status, answer.text)
            });
        }
        let answers = tasks.join_all().await;
        let of = |status| answers.iter().filter(|answer| answer.0 == status).count();
        assert_eq!((of(204), of(409)), (1, 23), "{answers:?}");
    }

    async fn a_right_that_the_account_got_meanwhile_stops_the_administrator(probe: Probe) {
        let alice = member(&probe, "alice").await.id();
        let help = helper(&probe, "help").await;
        let (roles, recoveries) = (probe.auth.roles(), probe.auth.account_recovery());
        let admin = identity(&probe.auth, &help).await;
        let new = NewRecovery::new("called back");
        let opened = recoveries.open(alice, new, RecoveryActor::Administrator(&admin)).await;
        opened.expect("it is opened");
        roles.create("auditor", Vec::<&str>::new()).await.expect("it is made");
        roles.grant(alice, "auditor").await.expect("it is granted");
        probe.clock.advance(3 * DAY);
        let admin = identity(&probe.auth, &help).await;
        let more = recoveries.complete(alice, RecoveryActor::Administrator(&admin)).await;
        assert!(matches!(more, Err(AccountRecoveryError::MoreRights)), "{more:?}");
        assert_eq!(state(&probe, alice).await, RecoveryState::Open);
        roles.revoke(alice, "auditor").await.expect("it is revoked");
        let admin = identity(&probe.auth, &help).await;
        let done = recoveries.complete(alice, RecoveryActor::Administrator(&admin)).await;
        done.expect("it is completed");
    }

    async fn a_recovery_with_a_new_address_needs_a_second_administrator(probe: Probe) {
        let alice = member(&probe, "alice").await.id();
        let (first, second) = (helper(&probe, "first").await, helper(&probe, "second").await);
        let with = |email: &str| NewRecovery::new("showed a passport").with_email(email);
        let alone = probe.rebuilt(|builder| {
            builder.configure(|config| config.account_recovery.second_administrator = false)
        });
        // Who opens it with which address, who completes it on which node, and whether this works.
        let table = [
            (Some(&first), true, Some(&first), &probe.auth, false),
            (Some(&first), true, Some(&second), &probe.auth, true),
            (Some(&first), true, None, &probe.auth, true),
            (None, true, Some(&first), &probe.auth, true),
            (None, true, None, &probe.auth, true),
            (Some(&first), false, Some(&first), &probe.auth, true),
            (Some(&first), true, Some(&first), &alone, true),
        ];
        for (number, (opens, new_address, completes, auth, works)) in table.into_iter().enumerate() {
            let new = match new_address {
                true => with(&format!("new{number}@example.com")),
                false => NewRecovery::new("called back"),
            };
            let session = session_of(auth, opens).await;
            let actor = session.as_ref().map_or(CLI, RecoveryActor::Administrator);
            let opened = auth.account_recovery().open(alice, new, actor).await.expect("it is opened");
            let second = opens.is_some() && new_address && number != 6;
            assert_eq!(opened.needs_second_administrator, second, "{number}");
            probe.clock.advance(3 * DAY);
            let session = session_of(auth, completes).await;
            let actor = session.as_ref().map_or(CLI, RecoveryActor::Administrator);
            let done = auth.account_recovery().complete(alice, actor).await;
            let refused = matches!(done, Err(AccountRecoveryError::SameAdministrator));
            assert_eq!((done.is_ok(), refused), (works, !works), "{number}: {done:?}");
            let expected = if works { RecoveryState::Completed } else { RecoveryState::Open };
            assert_eq!(state(&probe, alice).await, expected, "{number}");
            auth.account_recovery().cancel(alice, CLI).await.expect("it is cancelled");
        }
    }
}

/// A session of an account whose factor was passed some minutes ago.
async fn extracted_again(probe: &Probe, account: &Account) -> Identity {
    let before = MockClock::at(probe.auth_now().minus(6 * MINUTE));
    let earlier = probe.rebuilt(|builder| builder.clock(before));
    let client = ClientInfo::default();
    let start = earlier.sessions().start(account, &client).factor(Factor::Password);
    extracted(&probe.auth, &cookie_of(&start.await.expect("a session"))).await
}
