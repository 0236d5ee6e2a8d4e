//! Races: many requests at once, on real connections. The loser gets the winner's result or a plain
//! refusal. Nothing is half done, and no busy error or deadlock appears as a failure.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis::account::{AccountError, LoginIdKind, NewAccount};
use portcullis::permission::GrantError;
use portcullis::port::{HookFuture, OnSessionReplaced, SessionReplaced};
use portcullis::registration::{Application, RegistrationError};
use portcullis::{ClientInfo, Portcullis};
use reqwest::Method;
use sea_orm::{DatabaseTransaction, DbErr};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::fault::{real_conflicts, reported};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

/// Runs `count` tasks that start at the same moment. Returns the results in the order of their
/// numbers.
pub(crate) async fn parallel<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(count));
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let (barrier, work) = (Arc::clone(&barrier), task(number));
        tasks.spawn(async move {
            barrier.wait().await;
            (number, work.await)
        });
    }
    let mut results = tasks.join_all().await;
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Returns how many answers have this status. Every other answer must have one of the allowed
/// statuses.
fn count(answers: &[Answer], status: u16, others: &[u16]) -> usize {
    for answer in answers {
        let known = answer.status == status || others.contains(&answer.status);
        assert!(known, "{}: {}", answer.status, answer.text);
    }
    answers.iter().filter(|answer| answer.status == status).count()
}

async fn rows(probe: &Probe, table: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM {table}")).await
}

async fn live_sessions(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_session WHERE ended_at IS NULL").await
}

/// Returns the number of sessions and names without an account. An incomplete registration would
/// leave them.
async fn orphans(probe: &Probe) -> i64 {
    let mut orphans = 0;
    for table in ["auth_session", "auth_login_name"] {
        orphans += probe
            .number(&format!(
                "SELECT COUNT(*) FROM {table} t LEFT JOIN auth_account a ON a.id = t.account_id \
                 WHERE a.id IS NULL"
            ))
            .await;
    }
    let nameless = "SELECT COUNT(*) FROM auth_account a LEFT JOIN auth_login_name n \
                    ON n.account_id = a.id WHERE n.normal IS NULL";
    orphans + probe.number(nameless).await
}

fn new_password(number: usize) -> String {
    format!("a new password, number {number}")
}

fn change_to(browser: &Browser, number: usize) -> impl Future<Output = Answer> + Send + 'static {
    let body = json!({ "new_password": new_password(number) });
    send(browser.request(Method::PUT, "/auth/password").json(&body))
}

/// Returns which of these passwords work.
async fn passwords_that_work(probe: &Probe, username: &str, count: usize) -> Vec<usize> {
    let mut working = Vec::new();
    for number in 0..count {
        probe.forget_attempts().await;
        let answer = probe.browser().await.login(username, &new_password(number)).await;
        if answer.status == 200 {
            working.push(number);
        }
    }
    working
}

/// A hook that fails like a busy database, this many times, in the middle of a transaction.
struct Busy {
    error: DbErr,
    left: Arc<AtomicUsize>,
    met: Arc<AtomicUsize>,
}

impl OnSessionReplaced for Busy {
    fn replaced<'a>(
        &'a self,
        _: SessionReplaced,
        _: &'a DatabaseTransaction,
    ) -> HookFuture<'a, ()> {
        self.met.fetch_add(1, Ordering::SeqCst);
        let take = |left: usize| left.checked_sub(1);
        let fails = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
        Box::pin(async move { if fails { Err(self.error.clone().into()) } else { Ok(()) } })
    }
}

fn winners(answers: &[Answer]) -> Vec<usize> {
    answers.iter().enumerate().filter(|(_, a)| a.status == 200).map(|(number, _)| number).collect()
}

on_every_database! {
    async fn a_sign_in_that_commits_after_all_sessions_were_ended_is_over(probe: Probe) {
        use sea_orm::TransactionTrait;
        let account = probe.register("alice").await;
        let browser = probe.browser().await;
        let txn = probe.db.begin().await.expect("a transaction");
        let start = probe.auth.sessions().within(&txn).start(&account, &ClientInfo::default());
        let issued = start.await.expect("a session");
        let (auth, id) = (probe.auth.clone(), account.id());
        let ending = tokio::spawn(async move { auth.sessions().end_all(id, None).await });
        // The later one waits for the first one, because both lock the account's row before
        // anything else.
        txn.commit().await.expect("it commits");
        ending.await.expect("no panic").expect("they end");
        let pair = crate::support::call::cookie_of(&issued);
        let request = browser.raw(Method::GET, "/me").header("cookie", pair);
        assert_eq!(send(request).await.code(), "session_ended");
        // A sign-in after that works.
        let mut browser = browser;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn sign_ins_and_ends_of_all_sessions_at_once_wait_for_each_other(probe: Probe) {
        let (account, mut mine) = probe.signed_in("alice").await;
        let current = mine.get("/session-id").await.text.parse().expect("an id");
        let (account, browser) = (account.id(), probe.browser().await);
        let statuses = parallel(64, |number| {
            let (mut twin, auth) = (browser.clone(), probe.auth.clone());
            async move {
                if number % 4 == 0 {
                    let ended = auth.sessions().end_all(account, Some(current)).await;
                    return ended.map(|_| Vec::new()).map_err(|error| error.to_string());
                }
                let answer = twin.login("alice", PASSWORD).await;
                match answer.status {
                    200 => Ok(answer.cookie().into_iter().collect()),
                    // The sessions were ended between the time when the sign-in read the account
                    // and the time when it locked the row.
                    401 if answer.code() == "session_ended" => Ok(Vec::new()),
                    status => Err(format!("{status}: {}", answer.text)),
                }
            }
        })
        .await;
        let tokens: Vec<String> = statuses.into_iter().flat_map(|made| made.expect("it works")).collect();
        assert!(tokens.len() <= 48);
        // The session that asked continues through all of this.
        assert_eq!(mine.get("/me").await.status, 200);
        probe.auth.sessions().end_all(account, Some(current)).await.expect("they end");
        for token in tokens {
            assert_eq!(browser.with_cookie(&token).get("/me").await.code(), "session_ended");
        }
        assert_eq!(mine.get("/me").await.status, 200);
        let listed = mine.get("/auth/sessions").await.json()["sessions"].clone();
        assert_eq!(listed.as_array().map(Vec::len), Some(1));
    }

    async fn no_end_of_an_account_is_outlived_by_a_sign_in_that_commits_later(probe: Probe) {
        use sea_orm::TransactionTrait;
        let browser = probe.browser().await;
        for end in ["all", "disable", "delete", "factors", "password", "must change"] {
            let account = probe.register(&format!("user-{}", end.replace(' ', "-"))).await;
            let fresh = probe.auth.accounts().find(account.id()).await.expect("it is read");
            let fresh = fresh.expect("an account");
            // The session is made with what was read before the end, and commits after it.
            let stale = fresh.clone();
            let accounts = probe.auth.accounts();
            match end {
                "all" => drop(probe.auth.sessions().end_all(account.id(), None).await.expect("ended")),
                "disable" => {
                    accounts.disable(account.id()).await.expect("it is disabled");
                    accounts.enable(account.id()).await.expect("it is enabled");
                }
                "delete" => accounts.delete(account.id()).await.expect("it is deleted"),
                "factors" => {
                    let factors = [portcullis::Factor::Totp];
                    accounts.set_enrolled_factors(account.id(), factors).await.expect("enrolled");
                }
                "password" => {
                    let mut other = browser.stranger();
                    assert_eq!(other.login(account.username().expect("a name"), PASSWORD).await.status, 200);
                    let body = json!({ "new_password": new_password(1) });
                    assert_eq!(other.put("/auth/password", body).await.status, 200);
                }
                _ => accounts.require_password_change(account.id()).await.expect("it is required"),
            }
            let txn = probe.db.begin().await.expect("a transaction");
            let start = probe.auth.sessions().within(&txn).start(&stale, &ClientInfo::default());
            let issued = start.await.expect("a session");
            txn.commit().await.expect("it commits");
            let request = browser.raw(Method::GET, "/me");
            let request = request.header("cookie", crate::support::call::cookie_of(&issued));
            assert_eq!(send(request).await.code(), "session_ended", "{end}");
        }
    }

    async fn a_step_up_that_meets_an_end_of_the_other_sessions_leaves_its_owner_signed_in(probe: Probe) {
        for round in 0..8 {
            let (_, mut mine) = probe.signed_in(&format!("user{round}")).await;
            let step_up = mine.request(Method::POST, "/auth/reauthenticate");
            let step_up = send(step_up.json(&json!({ "password": PASSWORD })));
            let end_others = send(mine.request(Method::DELETE, "/auth/sessions"));
            let (stepped_up, ended) = tokio::join!(step_up, end_others);
            assert!(matches!(ended.status, 200 | 401), "{}", ended.text);
            match stepped_up.status {
                200 => mine.cookie = stepped_up.cookie(),
                status => assert_eq!(status, 401, "{}", stepped_up.text),
            }
            assert_eq!(mine.get("/me").await.status, 200, "{} {}", stepped_up.text, ended.text);
        }
    }

    async fn eight_nodes_that_start_at_once_make_one_administrator(probe: Probe) {
        let nodes: Vec<Portcullis> = (0..8).map(|_| probe.rebuilt(|builder| builder)).collect();
        let made = parallel(8, |number| {
            let node = nodes[number].clone();
            async move {
                // Half of the calls use another name. There is still only one administrator.
                let name = if number % 2 == 0 { "root" } else { "admin" };
                let made = node.bootstrap_admin(NewAccount::username(name)).await;
                made.expect("the database answers").map(|admin| admin.password().to_owned())
            }
        })
        .await;
        let passwords: Vec<_> = made.into_iter().flatten().collect();
        assert_eq!(passwords.len(), 1);
        let superusers = "SELECT COUNT(*) FROM auth_account WHERE superuser = TRUE";
        assert_eq!(probe.number(superusers).await, 1);
        assert_eq!((rows(&probe, "auth_account").await, orphans(&probe).await), (1, 0));
        let mut browser = probe.browser().await;
        let (root, admin) = (
            browser.login("root", &passwords[0]).await.status,
            browser.login("admin", &passwords[0]).await.status,
        );
        assert_eq!(root.min(admin), 200);
    }

    async fn one_name_registered_in_many_spellings_at_once_makes_one_account(probe: Probe) {
        let browser = probe.browser().await;
        let answers = parallel(32, |number| {
            let username = ["alice", "ALICE", "Alice", "Ａｌｉｃｅ"][number % 4];
            let body = json!({ "username": username, "password": PASSWORD });
            send(browser.request(Method::POST, "/auth/register").json(&body))
        })
        .await;
        assert_eq!(count(&answers, 201, &[409]), 1);
        for lost in answers.iter().filter(|answer| answer.status == 409) {
            assert_eq!(lost.code(), "username_taken");
            assert!(lost.set_cookies().is_empty());
        }
        let winner = answers.iter().find(|answer| answer.status == 201).expect("one wins");
        let mut winner = browser.with_cookie(&winner.cookie().expect("a cookie"));
        assert_eq!(winner.get("/me").await.status, 200);
        for table in ["auth_account", "auth_login_name", "auth_session"] {
            assert_eq!(rows(&probe, table).await, 1, "{table}");
        }
        assert_eq!(orphans(&probe).await, 0);
        let created = "SELECT COUNT(*) FROM auth_event WHERE kind = 'user_created'";
        assert_eq!(probe.number(created).await, 1);
    }

    async fn one_address_registered_at_once_under_many_usernames_is_named_as_what_is_taken(probe: Probe) {
        let client = ClientInfo::default();
        let results = parallel(24, |number| {
            let (auth, client) = (probe.auth.clone(), client.clone());
            async move {
                let address = if number % 2 == 0 { "alice@example.com" } else { "Alice@EXAMPLE.com" };
                let new = NewAccount::username(format!("user{number}")).with_email(address);
                let application = Application::new(new, PASSWORD);
                auth.registration().register(application, &client).await
            }
        })
        .await;
        let mut made = 0;
        for result in results {
            match result {
                Ok(_) => made += 1,
                Err(RegistrationError::Account(AccountError::Taken(kind))) => {
                    assert_eq!(kind, LoginIdKind::Email);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(made, 1);
        assert_eq!((rows(&probe, "auth_account").await, rows(&probe, "auth_login_name").await), (1, 2));
        assert_eq!((rows(&probe, "auth_session").await, orphans(&probe).await), (1, 0));
    }

    async fn a_role_made_many_times_at_once_is_one_role(probe: Probe) {
        let same = parallel(16, |_| {
            let auth = probe.auth.clone();
            async move { auth.roles().create("editor", ["doc:read", "doc:write"]).await }
        })
        .await;
        let ids: Vec<_> = same.into_iter().map(|role| role.expect("the same is no error").id).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");

        let other = parallel(16, |number| {
            let auth = probe.auth.clone();
            async move { auth.roles().create("viewer", [format!("doc:{number}")]).await }
        })
        .await;
        let mut made = Vec::new();
        for (number, result) in other.into_iter().enumerate() {
            match result {
                Ok(role) => made.push((number, role)),
                Err(GrantError::Exists { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        let [(number, role)] = &made[..] else { panic!("{made:?}") };
        let kept = probe.auth.roles().find("viewer").await.expect("it answers").expect("the role");
        assert_eq!(kept.id, role.id);
        assert_eq!(kept.permissions[0].as_str(), format!("doc:{number}"));
        assert_eq!(rows(&probe, "auth_role").await, 2);
        let created = "SELECT COUNT(*) FROM auth_event WHERE kind = 'role_created'";
        assert_eq!(probe.number(created).await, 2);
    }

    async fn a_role_granted_many_times_at_once_is_granted_once(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
        for (grant, granted) in [(true, 1), (false, 0), (true, 1)] {
            let done = parallel(32, |_| {
                let (auth, id) = (probe.auth.clone(), alice.id());
                async move {
                    if grant {
                        auth.roles().grant(id, "editor").await
                    } else {
                        auth.roles().revoke(id, "editor").await
                    }
                }
            })
            .await;
            for result in done {
                result.expect("doing it again changes nothing");
            }
            assert_eq!(rows(&probe, "auth_account_role").await, granted);
            assert_eq!(browser.get("/admin").await.status, if granted == 1 { 200 } else { 403 });
        }
        for (kind, expected) in [("authz_granted", 2), ("authz_revoked", 1)] {
            let events = format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'");
            assert_eq!(probe.number(&events).await, expected, "{kind}");
        }
    }

    async fn grants_of_many_roles_at_once_are_all_counted(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        for number in 0..16 {
            let name = format!("role{number}");
            probe.auth.roles().create(&name, [format!("doc:read:{number}")]).await.expect("it is made");
        }
        let done = parallel(16, |number| {
            let (auth, id) = (probe.auth.clone(), alice.id());
            async move { auth.roles().grant(id, &format!("role{number}")).await }
        })
        .await;
        for result in done {
            result.expect("it is granted");
        }
        for number in 0..16 {
            assert_eq!(browser.get(&format!("/docs/{number}")).await.status, 200, "{number}");
        }
    }

    async fn a_role_deleted_while_it_is_granted_leaves_no_grant(probe: Probe) {
        let alice = probe.register("alice").await;
        for _ in 0..4 {
            probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
            let done = parallel(16, |number| {
                let (auth, id) = (probe.auth.clone(), alice.id());
                async move {
                    if number == 8 {
                        auth.roles().delete("editor").await
                    } else {
                        auth.roles().grant(id, "editor").await
                    }
                }
            })
            .await;
            for (number, result) in done.into_iter().enumerate() {
                let gone = matches!(result, Err(GrantError::RoleNotFound));
                assert!(result.is_ok() || (gone && number != 8), "{number}: {result:?}");
            }
            assert_eq!(rows(&probe, "auth_role").await, 0);
            assert_eq!(rows(&probe, "auth_account_role").await, 0);
        }
    }

    async fn of_many_password_changes_at_once_one_wins_and_its_password_works(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let answers = parallel(16, |number| change_to(&browser, number)).await;
        assert_eq!(count(&answers, 200, &[401, 409]), 1);
        assert_eq!(passwords_that_work(&probe, "alice", 16).await, winners(&answers));
        let old = probe.browser().await.login("alice", PASSWORD).await;
        assert_eq!(old.status, 401);
        for lost in answers.iter().filter(|answer| answer.status != 200) {
            assert!(lost.set_cookies().is_empty(), "the loser clears nothing");
        }
        let won = answers.iter().find(|answer| answer.status == 200).expect("one wins");
        let mut won = browser.with_cookie(&won.cookie().expect("a cookie"));
        assert_eq!(won.get("/me").await.status, 200);
        let changed = "SELECT COUNT(*) FROM auth_event WHERE kind = 'authn_password_change'";
        assert_eq!(probe.number(changed).await, 1);
    }

    async fn of_password_changes_in_two_sessions_at_once_exactly_one_password_works(probe: Probe) {
        let (_, first) = probe.signed_in("alice").await;
        let mut second = probe.browser().await;
        assert_eq!(second.login("alice", PASSWORD).await.status, 200);
        let answers = parallel(16, |number| {
            change_to(if number % 2 == 0 { &first } else { &second }, number)
        })
        .await;
        // Both may succeed, one after the other. Then the later one counts.
        assert!((1..=2).contains(&count(&answers, 200, &[401, 409])));
        let working = passwords_that_work(&probe, "alice", 16).await;
        assert_eq!(working.len(), 1, "{working:?}");
        assert!(winners(&answers).contains(&working[0]));
        assert_eq!(probe.browser().await.login("alice", PASSWORD).await.status, 401);
    }

    async fn a_forced_password_change_is_finished_exactly_once(probe: Probe) {
        let alice = probe.register("alice").await;
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is set");
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.json()["result"], "password_change_required");
        let answers = parallel(16, |number| change_to(&browser, number)).await;
        assert_eq!(count(&answers, 200, &[401, 409]), 1);
        assert_eq!(passwords_that_work(&probe, "alice", 16).await, winners(&answers));
        let won = answers.iter().find(|answer| answer.status == 200).expect("one wins");
        let mut won = browser.with_cookie(&won.cookie().expect("a cookie"));
        assert_eq!(won.get("/me").await.status, 200);
        assert_eq!(browser.get("/must-change").await.status, 401);
    }

    async fn many_logins_at_once_make_a_session_each(probe: Probe) {
        probe.register("alice").await;
        let before = live_sessions(&probe).await;
        let browser = probe.browser().await;
        let answers = parallel(24, |_| {
            let body = json!({ "login": "alice", "password": PASSWORD });
            send(browser.request(Method::POST, "/auth/login").json(&body))
        })
        .await;
        assert_eq!(count(&answers, 200, &[]), 24);
        assert_eq!(live_sessions(&probe).await, before + 24);
        for answer in &answers {
            let mut one = browser.with_cookie(&answer.cookie().expect("a cookie"));
            assert_eq!(one.get("/me").await.status, 200);
        }
    }

    async fn many_logins_over_one_session_at_once_leave_it_ended_once(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let before = live_sessions(&probe).await;
        let answers = parallel(16, |_| {
            let body = json!({ "login": "alice", "password": PASSWORD });
            send(browser.request(Method::POST, "/auth/login").json(&body))
        })
        .await;
        assert_eq!(count(&answers, 200, &[]), 16);
        assert_eq!(live_sessions(&probe).await, before - 1 + 16);
        assert_eq!(browser.clone().get("/me").await.status, 401);
    }

    async fn of_many_reauthentications_of_one_session_at_once_one_succeeds(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let before = live_sessions(&probe).await;
        let answers = parallel(16, |_| {
            let body = json!({ "password": PASSWORD });
            send(browser.request(Method::POST, "/auth/reauthenticate").json(&body))
        })
        .await;
        assert_eq!(count(&answers, 200, &[401]), 1);
        for lost in answers.iter().filter(|answer| answer.status == 401) {
            assert_eq!(lost.code(), "session_ended");
            assert!(lost.set_cookies().is_empty(), "the loser clears nothing");
        }
        assert_eq!(live_sessions(&probe).await, before);
        let won = answers.iter().find(|answer| answer.status == 200).expect("one wins");
        let mut won = browser.with_cookie(&won.cookie().expect("a cookie"));
        assert_eq!(won.get("/me").await.status, 200);
    }

    async fn a_logout_beside_a_reauthentication_ends_the_session_they_both_came_from(probe: Probe) {
        probe.register("alice").await;
        let browser = probe.browser().await;
        for _ in 0..8 {
            let mut one = browser.clone();
            assert_eq!(one.login("alice", PASSWORD).await.status, 200);
            let before = live_sessions(&probe).await;
            let mut answers = parallel(2, |number| {
                send(if number == 0 {
                    one.request(Method::POST, "/auth/logout")
                } else {
                    let body = json!({ "password": PASSWORD });
                    one.request(Method::POST, "/auth/reauthenticate").json(&body)
                })
            })
            .await;
            let (proved, left) = (answers.pop().expect("two"), answers.pop().expect("two"));
            assert_eq!((left.status, left.cookie().as_deref()), (204, Some("")), "{}", left.text);
            // In either order the old session has ended. There is a new session only if the
            // reauthentication came first.
            let went_through = count(std::slice::from_ref(&proved), 200, &[401]) == 1;
            assert_eq!(live_sessions(&probe).await, before - 1 + i64::from(went_through));
            assert_eq!(one.get("/me").await.status, 401);
            if went_through {
                let mut new = browser.with_cookie(&proved.cookie().expect("a cookie"));
                assert_eq!(new.get("/me").await.status, 200);
            }
        }
    }

    async fn many_logouts_of_one_session_at_once_all_succeed_and_are_one_event(probe: Probe) {
        let (_, browser) = probe.signed_in("alice").await;
        let answers = parallel(16, |_| send(browser.request(Method::POST, "/auth/logout"))).await;
        assert_eq!(count(&answers, 204, &[]), 16);
        assert_eq!(browser.clone().get("/me").await.status, 401);
        let ended = "SELECT COUNT(*) FROM auth_event WHERE kind = 'session_ended'";
        assert_eq!(probe.number(ended).await, 1);
    }

    async fn a_login_beside_a_disabling_never_leaves_a_session_that_counts(probe: Probe) {
        let alice = probe.register("alice").await;
        let browser = probe.browser().await;
        for _ in 0..4 {
            let results = parallel(16, |number| {
                let (auth, id) = (probe.auth.clone(), alice.id());
                let body = json!({ "login": "alice", "password": PASSWORD });
                let login = send(browser.request(Method::POST, "/auth/login").json(&body));
                async move {
                    if number == 8 {
                        auth.accounts().disable(id).await.expect("it is disabled");
                        return None;
                    }
                    Some(login.await)
                }
            })
            .await;
            let answers: Vec<_> = results.into_iter().flatten().collect();
            count(&answers, 200, &[401]);
            for answer in answers.iter().filter(|answer| answer.status == 200) {
                let mut one = browser.with_cookie(&answer.cookie().expect("a cookie"));
                assert_eq!(one.get("/me").await.status, 401);
            }
            probe.auth.accounts().enable(alice.id()).await.expect("it is enabled");
            // The ended sessions stay ended: enabling the account does not bring them back.
            for answer in answers.iter().filter(|answer| answer.status == 200) {
                let mut one = browser.with_cookie(&answer.cookie().expect("a cookie"));
                assert_eq!(one.get("/me").await.status, 401);
            }
        }
    }

    async fn everything_at_once_to_one_account_is_answered_and_never_fails(probe: Probe) {
        let (alice, browser) = probe.signed_in("alice").await;
        probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
        let answers = parallel(100, |number| {
            let (auth, id) = (probe.auth.clone(), alice.id());
            let post = |path: &str, body| send(browser.request(Method::POST, path).json(&body));
            let proof = json!({ "password": PASSWORD });
            let login = json!({ "login": "alice", "password": PASSWORD });
            let name = json!({ "username": format!("user{}", number % 10), "password": PASSWORD });
            let request: std::pin::Pin<Box<dyn Future<Output = Option<Answer>> + Send>> = match number % 8 {
                0 => { let work = post("/auth/login", login); Box::pin(async { Some(work.await) }) }
                1 => { let work = post("/auth/reauthenticate", proof); Box::pin(async { Some(work.await) }) }
                2 => { let work = post("/auth/register", name); Box::pin(async { Some(work.await) }) }
                3 => { let work = send(browser.request(Method::GET, "/everything")); Box::pin(async { Some(work.await) }) }
                4 => { let work = send(browser.request(Method::DELETE, "/auth/sessions")); Box::pin(async { Some(work.await) }) }
                5 => Box::pin(async move { auth.roles().grant(id, "editor").await.expect("granted"); None }),
                6 => Box::pin(async move { auth.roles().revoke(id, "editor").await.expect("revoked"); None }),
                _ => Box::pin(async move {
                    auth.roles().set_permissions("editor", ["admin"]).await.expect("changed");
                    None
                }),
            };
            request
        })
        .await;
        let answers: Vec<_> = answers.into_iter().flatten().collect();
        count(&answers, 200, &[201, 401, 403, 409]);
        assert_eq!(orphans(&probe).await, 0);
    }

    async fn a_transaction_that_met_a_busy_database_is_tried_three_times_more(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        for (text, error) in real_conflicts(&probe).await {
            for (fails, status, attempts) in [(3, 200, 4), (4, 503, 4)] {
                let (left, met) = (Arc::new(AtomicUsize::new(fails)), Arc::<AtomicUsize>::default());
                let hook = Busy { error: error.clone(), left, met: Arc::clone(&met) };
                let node = probe.rebuilt(|builder| builder.on_session_replaced(hook));
                browser.address = serve(app(&node)).await;
                let before = (live_sessions(&probe).await, rows(&probe, "auth_session").await);
                let cookie = browser.cookie.clone();
                let answer = browser.login("alice", PASSWORD).await;
                assert_eq!(answer.status, status, "{text}: {}", answer.text);
                assert_eq!(met.load(Ordering::SeqCst), attempts, "{text}");
                // Either one new session replaces the old one, or nothing has changed.
                let made = i64::from(status == 200);
                let after = (live_sessions(&probe).await, rows(&probe, "auth_session").await);
                assert_eq!(after, (before.0, before.1 + made), "{text}");
                assert_eq!(browser.cookie == cookie, status == 503, "{text}");
                assert_eq!(browser.get("/me").await.status, 200, "{text}");
            }
        }
    }

    async fn a_transaction_that_failed_otherwise_is_not_tried_again(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        // The error text alone does not cause a repetition. Only the code does.
        let others = [
            reported("53100", "the disk is full"),
            reported("23505", "deadlock detected"),
            reported("HY000", "1105 (HY000): database is locked; try restarting transaction"),
            reported("HY000", "12051 (HY000): Lock wait timeout exceeded"),
            reported("19", "could not serialize access"),
            DbErr::Custom("deadlock detected".to_owned()),
        ];
        for error in others {
            let (left, met) = (Arc::new(AtomicUsize::new(1)), Arc::<AtomicUsize>::default());
            let hook = Busy { error, left, met: Arc::clone(&met) };
            let node = probe.rebuilt(|builder| builder.on_session_replaced(hook));
            browser.address = serve(app(&node)).await;
            let answer = browser.login("alice", PASSWORD).await;
            assert_eq!((answer.status, met.load(Ordering::SeqCst)), (503, 1), "{}", answer.text);
            assert!(!answer.text.contains("disk"), "{}", answer.text);
            assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        }
    }
}
