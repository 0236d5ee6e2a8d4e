//! Connections that are open for longer than their request: they ask again who someone is, and end
//! with the session.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::routing::get;
use portcullis::identity::owner;
use portcullis::session::Ended;
use portcullis::{
    AuthError, ClientInfo, Factor, Identity, MessageKind, NotSignedIn, OpenTransaction, Portcullis,
};
use sea_orm::TransactionTrait;
use serde_json::json;

use crate::on_every_database;
use crate::support::browser::COOKIE;
use crate::support::call::{cookie_of, extracted};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, until};
use crate::verification::token_of;

const NEW_PASSWORD: &str = "another horse battery staple";

/// So rarely that only an announcement can end the wait in time.
const RARELY: Duration = Duration::from_secs(24 * 60 * 60);

/// As often as it may ask.
const OFTEN: Duration = Duration::ZERO;

/// Waits for the end of a session, for at most a minute.
async fn end(waiting: impl Future<Output = NotSignedIn>) -> NotSignedIn {
    let ended = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    ended.expect("the session ends")
}

/// Whether the session is still there a moment later.
async fn goes_on(waiting: impl Future<Output = NotSignedIn>) {
    let ended = tokio::time::timeout(Duration::from_millis(200), waiting).await;
    assert!(ended.is_err(), "{ended:?}");
}

/// Counts how often a task was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Woken {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls until nothing but an announcement can wake the task.
async fn idle(waiting: &mut Pin<Box<impl Future<Output = NotSignedIn>>>, woken: &Arc<Woken>) {
    let waker = Waker::from(Arc::clone(woken));
    for _ in 0..600 {
        let polled = waiting.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending(), "the session counts");
        tokio::time::sleep(Duration::from_millis(100)).await;
        if woken.take() == 0 {
            return;
        }
    }
    panic!("it is busy for a minute");
}

async fn identity(auth: &Portcullis, browser: &Browser) -> Identity {
    let cookie = browser.cookie.as_deref().expect("a cookie");
    extracted(auth, &format!("{COOKIE}={cookie}")).await
}

fn why(checked: Result<Identity, AuthError>) -> NotSignedIn {
    match checked {
        Err(AuthError::NotSignedIn(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

on_every_database! {
    async fn asking_again_costs_one_statement_and_shows_what_has_changed(probe: Probe) {
        let (account, browser) = probe.signed_in("alice").await;
        let before = identity(&probe.auth, &browser).await;
        assert!(!before.has_role("editor"));
        let (again, statements) = probe.statements(probe.auth.recheck(&before)).await;
        assert_eq!(statements, 1);
        assert_eq!(again.expect("it counts").session().id(), before.session().id());
        probe.auth.roles().create("editor", ["doc:read"]).await.expect("a role");
        probe.auth.roles().grant(account.id(), "editor").await.expect("it is granted");
        let after = probe.auth.recheck(&before).await.expect("it counts");
        assert!(after.has_role("editor") && !before.has_role("editor"));
        assert!(after.resolved_at() >= before.resolved_at());
        // It renews nothing.
        assert!(!after.session().just_rotated());
        probe.auth.roles().revoke(account.id(), "editor").await.expect("it is revoked");
        assert!(!probe.auth.recheck(&before).await.expect("it counts").has_role("editor"));
        // What a handler kept shows no token.
        assert!(!format!("{before:?}").contains(browser.cookie.as_deref().expect("a cookie")));
    }

    async fn a_session_that_ends_in_this_process_ends_the_wait_at_once(probe: Probe) {
        for how in ["sign out", "end all", "disable", "password", "delete", "suspicious"] {
            let name = how.replace(' ', "-");
            let (account, mut browser) = probe.signed_in(&name).await;
            let identity = identity(&probe.auth, &browser).await;
            let waiting = tokio::spawn(probe.auth.session_end(&identity, RARELY));
            let another = probe.signed_in(&format!("{name}-2")).await;
            assert!(!waiting.is_finished(), "{how}");
            let accounts = probe.auth.accounts();
            match how {
                "sign out" => assert_eq!(browser.post_empty("/auth/logout").await.status, 204),
                "end all" => {
                    let ended = probe.auth.sessions().end_all(account.id(), None).await;
                    assert_eq!(ended.expect("they end"), 2);
                }
                "disable" => accounts.disable(account.id()).await.expect("it is disabled"),
                "password" => {
                    let mut elsewhere = browser.stranger();
                    assert_eq!(elsewhere.login(&name, PASSWORD).await.status, 200);
                    let change = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
                    assert_eq!(elsewhere.put("/auth/password", change).await.status, 200);
                }
                "delete" => accounts.delete(account.id()).await.expect("it is deleted"),
                _ => {
                    let id = identity.session().id();
                    probe.auth.sessions().mark_suspicious(id).await.expect("it is marked");
                }
            }
            let waiting = tokio::time::timeout(Duration::from_secs(60), waiting).await;
            let reason = waiting.unwrap_or_else(|_| panic!("{how} ends nothing")).expect("no panic");
            let expected = match how {
                "sign out" => Ended::LoggedOut,
                "suspicious" => Ended::Suspicious,
                _ => Ended::Account,
            };
            assert!(matches!(reason, NotSignedIn::Ended(found) if found == expected
                || how == "end all" && found == Ended::Revoked), "{how}: {reason:?}");
            assert_eq!(why(probe.auth.recheck(&identity).await), reason, "{how}");
            // Others stay.
            assert_eq!(another.1.clone().get("/me").await.status, 200);
        }
    }

    async fn every_change_of_the_account_that_ends_its_sessions_ends_the_wait_at_once(probe: Probe) {
        for how in [
            "factors set", "factors removed", "password reset", "closed", "erased", "handed over",
        ] {
            let name = how.replace(' ', "-");
            let address = format!("{name}@example.com");
            let account = probe.register_with_email(&name, &address).await;
            let accounts = probe.auth.accounts();
            if how != "handed over" {
                accounts.verify(account.id()).await.expect("it is verified");
            }
            if how == "factors removed" {
                accounts.set_enrolled_factors(account.id(), [Factor::Totp]).await.expect("set");
            }
            let account = accounts.find(account.id()).await.expect("it answers").expect("there");
            let start = probe.auth.sessions().start(&account, &ClientInfo::default());
            let cookie = cookie_of(&start.factor(Factor::Password).await.expect("a session"));
            let identity: Identity = extracted(&probe.auth, &cookie).await;
            let waiting = tokio::spawn(probe.auth.session_end(&identity, RARELY));
            let another = probe.signed_in(&format!("{name}-2")).await;
            assert!(!waiting.is_finished(), "{how}");
            let mut browser = probe.browser().await;
            let mut confirm = async |ask: &str, login: &str, path: &str, mut body: serde_json::Value| {
                let asked = browser.post(ask, json!({ login: address })).await;
                assert_eq!(asked.status, 202, "{how}: {}", asked.text);
                let mut mails = probe.mail().await.into_iter();
                let kinds = [MessageKind::PasswordReset, MessageKind::MailLogin];
                let mail = mails.rfind(|mail| kinds.contains(&mail.kind)).expect("a link");
                body["token"] = token_of(&mail).into();
                let answer = browser.post(path, body).await;
                assert!(answer.status < 300, "{how}: {}", answer.text);
            };
            match how {
                "factors set" => {
                    accounts.set_enrolled_factors(account.id(), [Factor::Totp]).await.expect("set");
                }
                "factors removed" => {
                    accounts.set_enrolled_factors(account.id(), []).await.expect("removed");
                }
                "password reset" => {
                    let body = json!({ "password": NEW_PASSWORD });
                    confirm("/auth/password/forgot", "login", "/auth/password/reset", body).await;
                }
                "closed" => {
                    let owner = identity.owner::<owner::Close>().expect("the owner");
                    let closed = probe.auth.own_account().close(&owner, &ClientInfo::default()).await;
                    closed.expect("it is closed");
                }
                "erased" => accounts.erase(account.id()).await.expect("it is erased"),
                _ => confirm("/auth/login/mail", "login", "/auth/login/mail/confirm", json!({})).await,
            }
            let waiting = tokio::time::timeout(Duration::from_secs(60), waiting).await;
            let reason = waiting.unwrap_or_else(|_| panic!("{how} ends nothing")).expect("no panic");
            assert!(matches!(reason, NotSignedIn::Ended(_)), "{how}: {reason:?}");
            assert_eq!(why(probe.auth.recheck(&identity).await), reason, "{how}");
            assert_eq!(another.1.clone().get("/me").await.status, 200, "{how}");
        }
    }

    async fn a_transaction_announces_only_after_a_commit_that_is_known(probe: Probe) {
        let (account, browser) = probe.signed_in("alice").await;
        let identity = identity(&probe.auth, &browser).await;
        let mut waiting = Box::pin(probe.auth.session_end(&identity, RARELY));
        let woken = Arc::new(Woken::default());
        let change = async |txn: OpenTransaction<'_>| {
            let accounts = probe.auth.accounts().within(txn);
            accounts.require_password_change(account.id()).await.expect("it is required");
        };
        // A plain transaction: its end is not visible.
        for commit in [false, true] {
            idle(&mut waiting, &woken).await;
            let txn = probe.db.begin().await.expect("a transaction");
            change((&txn).into()).await;
            if commit { txn.commit().await } else { txn.rollback().await }.expect("it ends");
            assert_eq!(woken.take(), 0, "{commit}");
        }
        // A transaction of portcullis.
        for commit in [false, true] {
            idle(&mut waiting, &woken).await;
            let txn = probe.auth.begin().await.expect("a transaction");
            change((&txn).into()).await;
            assert_eq!(woken.take(), 0, "before the commit");
            if commit {
                txn.commit().await.expect("it is committed");
                until("it is woken", async || woken.take() > 0).await;
            } else {
                txn.rollback().await;
                assert_eq!(woken.take(), 0);
            }
        }
    }

    async fn another_account_in_the_same_browser_ends_the_connection_at_once(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        probe.register("bob").await;
        let identity = identity(&probe.auth, &browser).await;
        let waiting = tokio::spawn(probe.auth.session_end(&identity, RARELY));
        tokio::task::yield_now().await;
        let mut browser = browser;
        assert_eq!(browser.login("bob", PASSWORD).await.status, 200);
        let reason = end(async { waiting.await.expect("it does not panic") }).await;
        assert_eq!(reason, NotSignedIn::Ended(Ended::Superseded));
    }

    async fn without_renewal_a_connection_ends_with_its_token(probe: Probe) {
        let probe = probe.configured(|config| config.session.refresh_window = None);
        let (_, browser) = probe.signed_in("alice").await;
        let identity = identity(&probe.auth, &browser).await;
        let token = probe.auth_now().as_millis() + 15 * 60 * 1000;
        assert_eq!(identity.session().expires_at().as_millis(), token);
        goes_on(probe.auth.session_end(&identity, OFTEN)).await;
        probe.clock.advance(Duration::from_secs(15 * 60 + 1));
        assert_eq!(why(probe.auth.recheck(&identity).await), NotSignedIn::Ended(Ended::Expired));
        let reason = end(probe.auth.session_end(&identity, RARELY)).await;
        assert_eq!(reason, NotSignedIn::Ended(Ended::Expired));
    }

    async fn what_another_process_ends_is_found_by_asking(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let identity = identity(&probe.auth, &browser).await;
        goes_on(probe.auth.session_end(&identity, OFTEN)).await;
        let waiting = tokio::spawn(probe.auth.session_end(&identity, OFTEN));
        // Another program writes the row; nothing is announced here.
        let now = probe.auth_now().as_millis();
        probe.execute(&format!("UPDATE auth_session SET version = version + 1, ended_at = {now}, end_reason = 'revoked'")).await;
        let reason = end(async { waiting.await.expect("it does not panic") }).await;
        assert_eq!(reason, NotSignedIn::Ended(Ended::Revoked));
        // One whose row is gone.
        let (_, browser) = probe.signed_in("bob").await;
        let identity = self::identity(&probe.auth, &browser).await;
        probe.execute("DELETE FROM auth_session").await;
        assert_eq!(why(probe.auth.recheck(&identity).await), NotSignedIn::Ended(Ended::Revoked));
    }

    async fn time_ends_it_too_and_a_role_may_shorten_it(probe: Probe) {
        let (account, browser) = probe.signed_in("alice").await;
        let identity = identity(&probe.auth, &browser).await;
        probe.auth.roles().create("hasty", ["doc:read"]).await.expect("a role");
        let idle = Some(Duration::from_secs(300));
        probe.auth.roles().limit_idle("hasty", idle).await.expect("it is set");
        probe.clock.advance(Duration::from_secs(301));
        goes_on(probe.auth.session_end(&identity, OFTEN)).await;
        probe.auth.roles().grant(account.id(), "hasty").await.expect("it is granted");
        assert_eq!(why(probe.auth.recheck(&identity).await), NotSignedIn::Ended(Ended::Expired));
        probe.auth.roles().revoke(account.id(), "hasty").await.expect("it is revoked");
        goes_on(probe.auth.session_end(&identity, OFTEN)).await;
        probe.clock.advance(Duration::from_secs(400 * 24 * 60 * 60));
        let reason = end(probe.auth.session_end(&identity, RARELY)).await;
        assert_eq!(reason, NotSignedIn::Ended(Ended::Expired));
    }

    async fn a_step_up_lets_the_old_connection_finish_and_then_ends_it(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let before = identity(&probe.auth, &browser).await;
        let client = ClientInfo::default();
        let issued = probe.auth.login().step_up(&before, Factor::Password, &client).await.expect("a step-up");
        let lingering = probe.auth.recheck(&before).await.expect("it counts for a moment");
        assert!(lingering.session().is_superseded());
        let after: Identity = extracted(&probe.auth, &cookie_of(&issued)).await;
        goes_on(probe.auth.session_end(&after, OFTEN)).await;
        probe.clock.advance(Duration::from_secs(11));
        let reason = end(probe.auth.session_end(&before, OFTEN)).await;
        assert_eq!(reason, NotSignedIn::Ended(Ended::Superseded));
        goes_on(probe.auth.session_end(&after, OFTEN)).await;
        // The rights of the old one end with the new one, also in that moment.
        let again = probe.auth.login().step_up(&after, Factor::Password, &client).await.expect("a step-up");
        let newest: Identity = extracted(&probe.auth, &cookie_of(&again)).await;
        let _ = probe.auth.sessions().end(newest.session().id()).await.expect("it ends");
        assert_eq!(why(probe.auth.recheck(&after).await), NotSignedIn::Ended(Ended::Superseded));
    }

    async fn an_outage_ends_nothing(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let identity = identity(&probe.auth, &browser).await;
        let waiting = probe.auth.session_end(&identity, OFTEN);
        probe.db.close_by_ref().await.expect("it closes");
        assert!(matches!(probe.auth.recheck(&identity).await, Err(AuthError::Fault(_))));
        goes_on(waiting).await;
    }

    async fn an_open_stream_is_closed_when_its_user_signs_out(probe: Probe) {
        let stream = async |auth: Portcullis, identity: Identity| {
            let ended = auth.session_end(&identity, RARELY);
            let last = futures_util::stream::once(async move {
                let _ = ended.await;
                Ok::<_, std::convert::Infallible>(Bytes::from_static(b"signed out"))
            });
            let first = futures_util::stream::iter([Ok(Bytes::from_static(b"hello, "))]);
            Body::from_stream(futures_util::StreamExt::chain(first, last))
        };
        let own = axum::Router::new().route("/stream", get(stream)).layer(probe.auth.layer());
        let mut browser = Browser::new(serve(app(&probe.auth).merge(own)).await);
        probe.register("alice").await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        let request = browser.request(reqwest::Method::GET, "/stream");
        let mut answer = request.send().await.expect("an answer");
        assert_eq!(answer.chunk().await.expect("a chunk").as_deref(), Some(&b"hello, "[..]));
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
        assert_eq!(answer.chunk().await.expect("a chunk").as_deref(), Some(&b"signed out"[..]));
        assert_eq!(answer.chunk().await.expect("the end"), None);
    }
}
