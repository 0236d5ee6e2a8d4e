//! The first administrator: created once, with a random password, and never by changing an existing
//! account. Hooks and code of the service run in its transaction. Another test of parallel starts
//! is in `race`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis::account::{AccountError, LoginIdKind, NewAccount};
use portcullis::bootstrap::BootstrapError;
use portcullis::hook::{HookResult, Hooks, Registering, RegistrationCause};
use portcullis::port::HookFuture;
use portcullis::{Account, Portcullis, Problem, Refusal};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use serde_json::json;

use crate::on_every_database;
use crate::support::{PASSWORD, Probe};

async fn superusers(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_account WHERE superuser = TRUE").await
}

/// Returns the password of the administrator that this start created, if it created one.
async fn start(auth: &Portcullis, name: &str) -> Option<String> {
    let made = auth.bootstrap_admin(NewAccount::username(name)).await;
    made.expect("the database answers").map(|admin| admin.password().to_owned())
}

on_every_database! {
    async fn the_first_start_makes_an_administrator_and_later_ones_make_none(probe: Probe) {
        let made = probe.auth.bootstrap_admin(NewAccount::username("Root").with_email("root@example.com")).await;
        let admin = made.expect("the database answers").expect("an administrator");
        assert!(admin.account().is_superuser() && admin.account().is_verified());
        assert_eq!(admin.account().username(), Some("Root"));

        let mut browser = probe.browser().await;
        for login in ["root", "ROOT@example.com"] {
            let answer = browser.login(login, admin.password()).await;
            assert_eq!(answer.status, 200, "{login}: {}", answer.text);
        }
        assert_eq!(browser.get("/admin").await.status, 200);
        assert_eq!(browser.get("/docs/42").await.status, 200);

        assert_eq!(start(&probe.auth, "root").await, None);
        assert_eq!(start(&probe.auth, "another").await, None);
        assert_eq!(start(&probe.rebuilt(|builder| builder), "another").await, None);
        assert_eq!(superusers(&probe).await, 1);
        let events = "SELECT COUNT(*) FROM auth_event WHERE kind = 'administrator_bootstrapped'";
        assert_eq!(probe.number(events).await, 1);
    }

    async fn the_password_is_random_and_only_its_hash_is_kept(probe: Probe) {
        let first = start(&probe.auth, "root").await.expect("an administrator");
        // Only the mark prevents a second administrator. An operator can delete the mark.
        probe.execute("DELETE FROM auth_marker").await;
        let second = start(&probe.auth, "root2").await.expect("an administrator");
        assert_ne!(first, second);
        for password in [&first, &second] {
            assert!(password.len() >= 25, "too short to hold 125 bits");
            let kept = format!(
                "SELECT COUNT(*) FROM auth_account WHERE password_hash LIKE '%{password}%'"
            );
            assert_eq!(probe.number(&kept).await, 0);
        }
        let mut browser = probe.browser().await;
        for guess in ["", "root", "admin", "password", "root2", &second] {
            assert_eq!(browser.login("root", guess).await.status, 401, "{guess}");
        }
        probe.forget_attempts().await;
        assert_eq!(browser.login("root", &first).await.status, 200);
    }

    async fn an_account_that_had_the_name_before_is_not_promoted_and_another_name_still_works(probe: Probe) {
        let squatter = probe.register("Admin").await;
        let mut named = NewAccount::email("admin@example.com");
        named.username = Some("someone".to_owned());
        let owner = probe.auth.accounts().create(named).await.expect("the account is made");

        for (wanted, kind) in [
            (NewAccount::username("ADMIN"), LoginIdKind::Username),
            (NewAccount::username("root").with_email("Admin@Example.com"), LoginIdKind::Email),
        ] {
            let refused = probe.auth.bootstrap_admin(wanted).await;
            let Err(BootstrapError::Account(AccountError::Taken(taken))) = refused else {
                panic!("{refused:?}")
            };
            assert_eq!(taken, kind);
        }
        for account in [&squatter, &owner] {
            let found = probe.auth.accounts().find(account.id()).await.expect("the database answers");
            let found = found.expect("the account is still there");
            assert!(!found.is_superuser() && !found.is_verified());
        }
        assert_eq!(superusers(&probe).await, 0);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account").await, 2);

        // The refused calls left no mark.
        assert!(start(&probe.auth, "root").await.is_some());
        assert_eq!(superusers(&probe).await, 1);
    }

    async fn a_name_that_cannot_be_one_makes_nothing_and_can_be_corrected(probe: Probe) {
        for name in ["", " ", "root root", "@"] {
            let refused = probe.auth.bootstrap_admin(NewAccount::username(name)).await;
            let Err(BootstrapError::Account(AccountError::Invalid(_))) = &refused else {
                panic!("{name:?}: {refused:?}")
            };
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account").await, 0);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_marker").await, 0);
        assert!(start(&probe.auth, "root").await.is_some());
    }

    async fn a_deleted_administrator_does_not_come_back_with_the_next_start(probe: Probe) {
        let made = probe.auth.bootstrap_admin(NewAccount::username("root")).await;
        let admin = made.expect("the database answers").expect("an administrator");
        // The last superuser cannot be deleted, so there is another one.
        let accounts = probe.auth.accounts();
        let refused = accounts.delete(admin.account().id()).await.expect_err("it is the last one");
        assert_eq!(refused.code(), "last_superuser");
        accounts.create(NewAccount::username("other").superuser()).await.expect("it is made");
        accounts.delete(admin.account().id()).await.expect("it is deleted");
        assert_eq!(start(&probe.auth, "root").await, None);
        assert_eq!(start(&probe.auth, "root2").await, None);
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("root", admin.password()).await.status, 401);
    }

    async fn an_administrator_gets_the_password_that_the_operator_chose(probe: Probe) {
        const CHOSEN: &str = "a password of the operator's";
        let auth = &probe.auth;
        // A weak password creates nothing, so that the operator can call it again with another one.
        for (weak, code) in [("tiny", "too_short"), ("administrator12", "is_login_name"), ("", "too_short")] {
            let new = NewAccount::username("administrator");
            let refused = auth.bootstrap_admin(new).password(weak).await.expect_err(weak);
            let BootstrapError::Account(AccountError::Invalid(fields)) = &refused else {
                panic!("{refused}")
            };
            assert_eq!((fields[0].field, fields[0].code), ("password", code));
            assert!(weak.is_empty() || !format!("{refused:?}").contains(weak), "{refused:?}");
            assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account").await, 0);
        }
        let new = || NewAccount::username("administrator");
        let made = auth.bootstrap_admin(new()).password(CHOSEN).await.expect("it is made");
        let made = made.expect("it is the first");
        assert!(made.account().is_superuser());
        assert_eq!(made.password(), CHOSEN);
        // Only once in the life of the database, with either method.
        let again = auth.bootstrap_admin(new()).password("another password of theirs").await;
        assert!(again.expect("it answers").is_none());
        assert!(auth.bootstrap_admin(new()).await.expect("it answers").is_none());
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("administrator", "another password of theirs").await.status, 401);
        assert_eq!(browser.login("administrator", CHOSEN).await.status, 200);
    }

    async fn the_hooks_and_the_code_of_the_service_run_in_the_transaction(probe: Probe) {
        table(&probe).await;
        let auth = probe.rebuilt(|builder| builder.hooks(Rows));
        let rows = || async { probe.texts("SELECT name FROM app_row ORDER BY name").await };
        let new = || NewAccount::username("root").with_email("root@example.com");
        let nothing = || async {
            assert!(rows().await.is_empty());
            for table in ["auth_account", "auth_login_name", "auth_marker", "auth_event"] {
                let count = format!("SELECT COUNT(*) FROM {table}");
                assert_eq!(probe.number(&count).await, 0, "{table}");
            }
        };

        // The hook refuses a profile without a name.
        let refused = auth.bootstrap_admin(new()).await.expect_err("there is no profile");
        let BootstrapError::Refused(refusal) = &refused else { panic!("{refused:?}") };
        assert_eq!(refusal.problem().code(), "invalid_fields");
        assert_eq!((refused.status().as_u16(), refused.code()), (422, "invalid_fields"));
        nothing().await;

        // The code of the service refuses, fails, or panics, each time after it has written a row.
        let profile = json!({ "name": "of the hook" });
        for (end, status, code) in [
            (End::Refuses, 409, "no_administrator_today"),
            (End::Fails, 503, "unavailable"),
            (End::Panics, 503, "unavailable"),
        ] {
            let made = auth.bootstrap_admin(new()).profile(profile.clone());
            let refused = made.in_transaction(insert(end)).await.expect_err("it ends early");
            assert_eq!((refused.status().as_u16(), refused.code()), (status, code), "{refused:?}");
            nothing().await;
        }

        // Nothing was left behind, so the next start creates the administrator and both rows.
        let made = auth.bootstrap_admin(new()).profile(profile.clone()).in_transaction(insert(End::Goes));
        let admin = made.await.expect("it is made").expect("the first one");
        assert_eq!(rows().await, ["after: of the hook", "before: of the hook", "code: root"]);
        assert_eq!(probe.browser().await.login("root", admin.password()).await.status, 200);

        // Later starts run neither hooks nor code.
        let again = auth.bootstrap_admin(new()).in_transaction(insert(End::Fails)).await;
        assert!(again.expect("it answers").is_none());
        assert_eq!(rows().await.len(), 3);

        // A stranger's registration has another cause.
        let body = json!({ "username": "alice", "password": PASSWORD, "profile": { "name": "Alice" } });
        let mut browser = probe.browser().await;
        browser.address = crate::support::probe::serve(crate::support::probe::app(&auth)).await;
        let answer = browser.post("/auth/register", body).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "strangers_are_refused"));
    }

    async fn eight_starts_at_once_run_the_code_of_one(probe: Probe) {
        table(&probe).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..8 {
            let auth = probe.rebuilt(|builder| builder.hooks(Rows));
            tasks.spawn(async move {
                let made = auth.bootstrap_admin(NewAccount::username(format!("root{number}")));
                let made = made.profile(json!({ "name": "hook" })).in_transaction(insert(End::Goes));
                made.await.expect("the database answers").is_some()
            });
        }
        let made = tasks.join_all().await.into_iter().filter(|made| *made).count();
        assert_eq!((made, superusers(&probe).await), (1, 1));
        assert_eq!(probe.number("SELECT COUNT(*) FROM app_row").await, 3);
    }

    async fn code_that_meets_a_busy_database_runs_again(probe: Probe) {
        table(&probe).await;
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let made = probe.auth.bootstrap_admin(NewAccount::username("root"));
        let made = made.in_transaction(move |account, txn| {
            let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
            Box::pin(async move {
                txn.execute_unprepared(&row(&format!("code: {}", account.id()))).await?;
                if first {
                    let busy = crate::support::fault::reported("40001", "a deadlock");
                    return Err(busy.into());
                }
                Ok(())
            })
        });
        let admin = made.await.expect("it is made").expect("the first one");
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        let rows = probe.texts("SELECT name FROM app_row").await;
        assert_eq!(rows, [format!("code: {}", admin.account().id())]);
    }
}

/// A hook that writes a row before and after, and refuses strangers.
struct Rows;

#[derive(serde::Deserialize)]
struct Profile {
    name: String,
}

impl Hooks for Rows {
    fn reads_profile(&self) -> bool {
        true
    }

    async fn before_register(
        &self,
        call: Registering<'_>,
        txn: &DatabaseTransaction,
    ) -> HookResult {
        if call.cause == RegistrationCause::Stranger {
            let status = axum::http::StatusCode::FORBIDDEN;
            let refusal = Refusal::new(status, "strangers_are_refused", "not today");
            return Err(refusal.into());
        }
        assert!(
            call.account.is_none() && call.username.is_some_and(|name| name.starts_with("root"))
        );
        let profile: Profile = call.profile()?;
        txn.execute_unprepared(&row(&format!("before: {}", profile.name))).await?;
        Ok(())
    }

    async fn after_register(&self, call: Registering<'_>, txn: &DatabaseTransaction) -> HookResult {
        let account = call.account.expect("the account");
        assert_eq!(account.id(), call.account_id);
        assert!(account.is_superuser());
        let profile: Profile = call.profile()?;
        txn.execute_unprepared(&row(&format!("after: {}", profile.name))).await?;
        Ok(())
    }
}

async fn table(probe: &Probe) {
    // An earlier test may have left this table in the database.
    probe.execute("DROP TABLE IF EXISTS app_row").await;
    probe.execute("CREATE TABLE app_row (name VARCHAR(200) NOT NULL)").await;
}

fn row(name: &str) -> String {
    format!("INSERT INTO app_row (name) VALUES ('{name}')")
}

/// How the code of the service ends.
#[derive(Clone, Copy)]
enum End {
    Goes,
    Refuses,
    Fails,
    Panics,
}

/// Code that inserts a row and ends like this.
fn insert(
    end: End,
) -> impl for<'t> Fn(&'t Account, &'t DatabaseTransaction) -> HookFuture<'t, ()> + Send + Sync {
    move |account, txn| {
        Box::pin(async move {
            let name = account.username().unwrap_or_default();
            txn.execute_unprepared(&row(&format!("code: {name}"))).await?;
            match end {
                End::Goes => Ok(()),
                End::Refuses => {
                    let status = axum::http::StatusCode::CONFLICT;
                    Err(Refusal::new(status, "no_administrator_today", "try again").into())
                }
                End::Fails => Err("the code of the service failed".into()),
                End::Panics => panic!("the code of the service panicked"),
            }
        })
    }
}
