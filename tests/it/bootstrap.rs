//! The first administrator: created once, with a random password, and never by changing an existing
//! account. The test of parallel starts is in `race`.

use portcullis::Portcullis;
use portcullis::account::{AccountError, LoginIdKind, NewAccount};

use crate::on_every_database;
use crate::support::Probe;

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

    async fn whoever_had_the_name_before_is_not_promoted_and_another_name_still_works(probe: Probe) {
        let squatter = probe.register("Admin").await;
        let mut named = NewAccount::email("admin@example.com");
        named.username = Some("someone".to_owned());
        let owner = probe.auth.accounts().create(named).await.expect("the account is made");

        for (wanted, kind) in [
            (NewAccount::username("ADMIN"), LoginIdKind::Username),
            (NewAccount::username("root").with_email("Admin@Example.com"), LoginIdKind::Email),
        ] {
            let refused = probe.auth.bootstrap_admin(wanted).await;
            let Err(AccountError::Taken(taken)) = refused else { panic!("{refused:?}") };
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
            assert!(matches!(refused, Err(AccountError::Invalid(_))), "{name:?}: {refused:?}");
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account").await, 0);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_marker").await, 0);
        assert!(start(&probe.auth, "root").await.is_some());
    }

    async fn a_deleted_administrator_does_not_come_back_with_the_next_start(probe: Probe) {
        let made = probe.auth.bootstrap_admin(NewAccount::username("root")).await;
        let admin = made.expect("the database answers").expect("an administrator");
        probe.auth.accounts().delete(admin.account().id()).await.expect("it is deleted");
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
            let refused = auth.bootstrap_admin_with_password(new, weak).await.expect_err(weak);
            let AccountError::Invalid(fields) = &refused else { panic!("{refused}") };
            assert_eq!((fields[0].field, fields[0].code), ("password", code));
            assert!(weak.is_empty() || !format!("{refused:?}").contains(weak), "{refused:?}");
            assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account").await, 0);
        }
        let new = || NewAccount::username("administrator");
        let made = auth.bootstrap_admin_with_password(new(), CHOSEN).await.expect("it is made");
        let made = made.expect("it is the first");
        assert!(made.is_superuser());
        // Only once in the life of the database, with either method.
        let again = auth.bootstrap_admin_with_password(new(), "another password of theirs").await;
        assert!(again.expect("it answers").is_none());
        assert!(auth.bootstrap_admin(new()).await.expect("it answers").is_none());
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("administrator", "another password of theirs").await.status, 401);
        assert_eq!(browser.login("administrator", CHOSEN).await.status, 200);
    }
}
