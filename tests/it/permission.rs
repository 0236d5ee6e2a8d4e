//! Roles: created, changed, granted, revoked and deleted. Malformed permissions grant nothing.

use std::time::Duration;

use portcullis::account::NewAccount;
use portcullis::permission::GrantError;
use portcullis::{AccountId, Permission, Problem, Requirement};
use sea_orm::TransactionTrait;

use crate::on_every_database;
use crate::support::{Browser, Probe};

fn texts(permissions: &[Permission]) -> Vec<&str> {
    permissions.iter().map(Permission::as_str).collect()
}

async fn roles_of(probe: &Probe, account: AccountId) -> Vec<String> {
    let roles = probe.auth.roles().of(account).await.expect("the database answers");
    roles.into_iter().map(|role| role.name).collect()
}

async fn roles(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_role").await
}

/// Returns the answers of the routes of an administrator and of an editor.
async fn doors(browser: &mut Browser) -> (u16, u16) {
    (browser.get("/admin").await.status, browser.get("/editors").await.status)
}

on_every_database! {
    async fn a_role_is_made_once_and_making_it_again_must_say_the_same(probe: Probe) {
        let roles = probe.auth.roles();
        let editor = roles.create("editor", ["doc:read", "doc:write"]).await.expect("it is made");
        assert_eq!(texts(&editor.permissions), ["doc:read", "doc:write"]);
        assert_eq!((editor.description.as_deref(), editor.max_idle), (None, None));

        for same in [vec!["doc:read", "doc:write"], vec!["doc:write", "doc:read", "doc:write"]] {
            let again = roles.create("editor", &same).await.expect("it is the same");
            assert_eq!(again, editor);
        }
        for other in [vec!["doc:read"], vec!["doc:read", "doc:write", "doc:delete"], vec![], vec!["doc:read,write"]] {
            let refused = roles.create("editor", &other).await;
            let Err(error @ GrantError::Exists { .. }) = refused else {
                panic!("{other:?}: {refused:?}")
            };
            assert_eq!((error.status().as_u16(), error.code()), (409, "role_exists"));
            assert!(error.to_string().contains("`editor`"), "{error}");
        }
        assert_eq!(roles.find("editor").await.expect("it answers"), Some(editor.clone()));
        assert_eq!(roles.find("Editor").await.expect("it answers"), None);

        // Names are case-sensitive: another spelling is another role.
        roles.create("Editor", ["doc:read"]).await.expect("it is made");
        roles.create("auditor", Vec::<&str>::new()).await.expect("a role may give nothing yet");
        let mut names: Vec<_> =
            roles.list().await.expect("it answers").into_iter().map(|role| role.name).collect();
        names.sort();
        assert_eq!(names, ["Editor", "auditor", "editor"]);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_event WHERE kind = 'role_created'").await, 3);
    }

    async fn a_role_is_described_changed_and_limited_by_its_name(probe: Probe) {
        let roles = probe.auth.roles();
        roles.create("editor", ["doc:read"]).await.expect("it is made");
        roles.describe("editor", "writes ' \" ; -- texts").await.expect("it is described");
        roles.set_permissions("editor", ["doc:write", "doc:write"]).await.expect("it is changed");
        roles.limit_idle("editor", Some(Duration::from_secs(900))).await.expect("it is limited");
        let editor = roles.find("editor").await.expect("it answers").expect("the role");
        assert_eq!(editor.description.as_deref(), Some("writes ' \" ; -- texts"));
        assert_eq!(texts(&editor.permissions), ["doc:write"]);
        assert_eq!(editor.max_idle, Some(Duration::from_secs(900)));
        roles.limit_idle("editor", None).await.expect("the limit is taken away");
        let editor = roles.find("editor").await.expect("it answers").expect("the role");
        assert_eq!(editor.max_idle, None);

        for missing in [
            roles.describe("nobody", "text").await,
            roles.set_permissions("nobody", ["doc:read"]).await,
            roles.limit_idle("nobody", None).await,
            roles.delete("nobody").await,
        ] {
            let Err(error @ GrantError::RoleNotFound) = missing else { panic!("{missing:?}") };
            assert_eq!((error.status().as_u16(), error.code()), (404, "role_not_found"));
        }
    }

    async fn names_and_permissions_that_are_none_are_refused_when_they_are_written(probe: Probe) {
        let manage = probe.auth.roles();
        let long = "x".repeat(65);
        for name in ["", " ", "a b", "a:b", "a,b", "*", "a*", " editor", "editor\n", "\u{0}", &long] {
            let refused = manage.create(name, ["doc:read"]).await;
            assert!(matches!(refused, Err(GrantError::InvalidName)), "{name:?}: {refused:?}");
        }
        assert_eq!(roles(&probe).await, 0);
        manage.create(&"x".repeat(64), ["doc:read"]).await.expect("64 bytes are a name");
        manage.create("éditeur", ["doc:read"]).await.expect("so are other letters");

        let (nine, long) = (["a"; 9].join(":"), format!("a:{}", "x".repeat(255)));
        for permission in
            ["", "a:", ":a", "a::b", "a,", ",a", "b*", "**", "a b", "a:b\n", "a:\u{0}", &nine, &long]
        {
            for refused in [
                manage.create("writer", ["doc:read", permission]).await.map(|_| ()),
                manage.set_permissions("éditeur", [permission, "doc:read"]).await,
            ] {
                let Err(error @ GrantError::InvalidPermission { .. }) = refused else {
                    panic!("{permission:?}: {refused:?}")
                };
                assert_eq!((error.status().as_u16(), error.code()), (422, "invalid_permission"));
            }
        }
        let many = |count: usize| (0..count).map(|number| format!("p{number}:read")).collect::<Vec<_>>();
        let refused = manage.create("writer", many(241)).await;
        assert!(matches!(refused, Err(GrantError::TooManyPermissions)), "{refused:?}");
        assert_eq!(roles(&probe).await, 2);
        let kept = manage.find("éditeur").await.expect("it answers").expect("the role");
        assert_eq!(texts(&kept.permissions), ["doc:read"]);
        let writer = manage.create("writer", many(240)).await.expect("as many fit");
        assert_eq!(manage.find("writer").await.expect("it answers"), Some(writer));
    }

    async fn the_longest_permissions_a_role_may_hold_are_kept_whole(probe: Probe) {
        // The column in MariaDB holds 64 KiB.
        let longest: Vec<_> = (0..240).map(|n| format!("{n:03}:{}", "x".repeat(252))).collect();
        let role = probe.auth.roles().create("big", &longest).await.expect("it is made");
        assert_eq!(texts(&role.permissions), longest);
        let read = probe.auth.roles().find("big").await.expect("it answers").expect("the role");
        assert_eq!(texts(&read.permissions), longest);
    }

    async fn a_granted_role_opens_its_doors_and_a_revoked_one_closes_them(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let (_, mut neighbour) = probe.signed_in("bob").await;
        let manage = probe.auth.roles();
        manage.create("editor", ["admin:read", "doc:read:42"]).await.expect("it is made");
        assert_eq!(doors(&mut browser).await, (403, 403));

        manage.grant(alice.id(), "editor").await.expect("it is granted");
        manage.grant(alice.id(), "editor").await.expect("again changes nothing");
        assert_eq!(doors(&mut browser).await, (200, 200));
        assert_eq!(browser.get("/docs/42").await.status, 200);
        assert_eq!(browser.get("/docs/43").await.status, 403);
        assert_eq!(roles_of(&probe, alice.id()).await, ["editor"]);
        assert_eq!(doors(&mut neighbour).await, (403, 403));
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account_role").await, 1);

        manage.revoke(alice.id(), "editor").await.expect("it is revoked");
        manage.revoke(alice.id(), "editor").await.expect("again changes nothing");
        assert_eq!(doors(&mut browser).await, (403, 403));
        assert!(roles_of(&probe, alice.id()).await.is_empty());
        for (kind, count) in [("authz_granted", 1), ("authz_revoked", 1)] {
            let events = format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'");
            assert_eq!(probe.number(&events).await, count, "{kind}");
        }
    }

    async fn a_grant_needs_a_role_and_an_account(probe: Probe) {
        let alice = probe.register("alice").await;
        let nobody: AccountId = "018f0000-0000-7000-8000-000000000000".parse().expect("an id");
        let manage = probe.auth.roles();
        manage.create("editor", ["doc:read"]).await.expect("it is made");
        for refused in [manage.grant(nobody, "editor").await, manage.revoke(nobody, "editor").await] {
            assert!(matches!(refused, Err(GrantError::AccountNotFound)), "{refused:?}");
        }
        for refused in [manage.grant(alice.id(), "Editor").await, manage.revoke(alice.id(), "none").await] {
            assert!(matches!(refused, Err(GrantError::RoleNotFound)), "{refused:?}");
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account_role").await, 0);
        manage.grant(alice.id(), "editor").await.expect("it is granted");
    }

    async fn what_a_role_gives_changes_for_everyone_who_has_it(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let manage = probe.auth.roles();
        manage.create("editor", ["doc:read"]).await.expect("it is made");
        manage.create("viewer", ["doc:read"]).await.expect("it is made");
        for role in ["viewer", "editor"] {
            manage.grant(alice.id(), role).await.expect("it is granted");
        }
        assert_eq!(roles_of(&probe, alice.id()).await, ["editor", "viewer"]);
        for (permissions, admin) in
            [(vec!["admin"], 200), (vec!["admin:write"], 403), (vec!["*"], 200), (vec![], 403)]
        {
            manage.set_permissions("editor", &permissions).await.expect("it is changed");
            assert_eq!(doors(&mut browser).await, (admin, 200), "{permissions:?}");
        }
    }

    async fn a_deleted_role_gives_nothing_and_a_new_one_of_its_name_starts_without_holders(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let manage = probe.auth.roles();
        manage.create("editor", ["admin:read"]).await.expect("it is made");
        manage.grant(alice.id(), "editor").await.expect("it is granted");
        assert_eq!(doors(&mut browser).await, (200, 200));
        manage.delete("editor").await.expect("it is deleted");
        assert_eq!(doors(&mut browser).await, (403, 403));
        assert_eq!(manage.find("editor").await.expect("it answers"), None);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account_role").await, 0);

        manage.create("editor", ["admin:read", "doc:read"]).await.expect("the name is free");
        assert_eq!(doors(&mut browser).await, (403, 403));
        assert!(roles_of(&probe, alice.id()).await.is_empty());
        manage.grant(alice.id(), "editor").await.expect("it is granted");
        assert_eq!(doors(&mut browser).await, (200, 200));
    }

    async fn a_malformed_permission_in_an_old_row_gives_nothing_and_its_neighbours_still_do(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let manage = probe.auth.roles();
        manage.create("editor", ["doc:read"]).await.expect("it is made");
        manage.grant(alice.id(), "editor").await.expect("it is granted");
        for (stored, admin, document) in [
            ("admin:", 403, 403),
            (":", 403, 403),
            ("admin: doc:read", 403, 200),
            ("adm* ** admin::read ,admin doc:read:42", 403, 200),
            ("  doc:read   admin:read ", 200, 200),
            ("", 403, 403),
        ] {
            probe.execute(&format!("UPDATE auth_role SET permissions = '{stored}'")).await;
            probe.execute("UPDATE auth_epoch SET version = version + 1").await;
            assert_eq!(browser.get("/admin").await.status, admin, "{stored:?}");
            assert_eq!(browser.get("/docs/42").await.status, document, "{stored:?}");
            // The same without remembered grants, where the full statement reads the grants.
            let forgetful = probe.rebuilt(|b| b.configure(|c| c.database.remembered_grants = 0));
            let address = crate::support::probe::serve(crate::support::probe::app(&forgetful)).await;
            let mut other = browser.clone();
            other.address = address;
            assert_eq!(other.get("/admin").await.status, admin, "{stored:?}");
            assert_eq!(other.get("/docs/42").await.status, document, "{stored:?}");
        }
    }

    async fn a_role_with_a_short_idle_time_shortens_its_holders_sessions_only(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let (_, mut neighbour) = probe.signed_in("bob").await;
        let manage = probe.auth.roles();
        manage.create("editor", ["admin:read"]).await.expect("it is made");
        // The token could not be replaced often enough.
        let short = manage.limit_idle("editor", Some(Duration::from_secs(269))).await;
        assert!(matches!(short, Err(GrantError::IdleTooShort { least }) if least.as_secs() == 270));
        manage.limit_idle("editor", Some(Duration::from_secs(270))).await.expect("it is limited");
        manage.grant(alice.id(), "editor").await.expect("it is granted");
        for _ in 0..3 {
            probe.clock.advance(Duration::from_secs(269));
            assert_eq!(browser.get("/admin").await.status, 200);
        }
        // A session in use never seems idle, even if it sends requests all the time.
        for _ in 0..20 {
            probe.clock.advance(Duration::from_secs(30));
            assert_eq!(browser.get("/admin").await.status, 200);
        }
        probe.clock.advance(Duration::from_secs(270));
        let answer = browser.get("/admin").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "session_expired"));
        assert_eq!(neighbour.get("/me").await.status, 200);
    }

    async fn a_superuser_passes_every_door_without_a_role_but_has_none(probe: Probe) {
        let root = probe.auth.bootstrap_admin(NewAccount::username("root")).await;
        let root = root.expect("the database answers").expect("an administrator");
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("root", root.password()).await.status, 200);
        assert_eq!(browser.get("/admin").await.status, 200);
        assert_eq!(browser.get("/docs/7").await.status, 200);
        assert_eq!(browser.get("/editors").await.status, 403);
    }

    async fn a_permission_from_a_group_or_given_directly_counts_like_one_from_a_role(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let (bob, mut other) = probe.signed_in("bob").await;
        probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
        let role = "SELECT id FROM auth_role WHERE name = 'editor'";
        let account = |name| format!("SELECT id FROM auth_account WHERE username = '{name}'");
        // Requests read groups and direct grants. Here the operator writes them.
        probe.execute(&format!(
            "INSERT INTO auth_group (id, name, created_at) SELECT id, 'staff', 0 FROM ({role}) r"
        )).await;
        probe.execute(&format!(
            "INSERT INTO auth_group_role (group_id, role_id, resource, resource_id, granted_at) \
             SELECT id, id, '', '', 0 FROM ({role}) r"
        )).await;
        probe.execute(&format!(
            "INSERT INTO auth_account_group (account_id, group_id, joined_at) \
             SELECT a.id, r.id, 0 FROM ({}) a, ({role}) r", account("alice")
        )).await;
        probe.execute(&format!(
            "INSERT INTO auth_account_permission (account_id, permission, granted_at) \
             SELECT id, 'admin:read', 0 FROM ({}) a", account("bob")
        )).await;
        probe.execute("UPDATE auth_epoch SET version = version + 1").await;
        assert_eq!(doors(&mut browser).await, (200, 200));
        assert_eq!(doors(&mut other).await, (200, 403));
        assert!(roles_of(&probe, alice.id()).await.is_empty(), "only what was granted to the account");
        assert!(roles_of(&probe, bob.id()).await.is_empty());

        // If the group's role is deleted, its members lose what the role gave.
        probe.auth.roles().delete("editor").await.expect("it is deleted");
        assert_eq!(doors(&mut browser).await, (403, 403));
        assert_eq!(doors(&mut other).await, (200, 403));
    }

    async fn a_role_on_a_resource_opens_only_that_one(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        probe.auth.roles().create("editor", ["doc:read", "admin:read", "doc:read:9"]).await.expect("it is made");
        probe.auth.roles().create("owner", ["*"]).await.expect("it is made");
        for role in ["editor", "owner"] {
            probe.execute(&format!(
                "INSERT INTO auth_account_role (account_id, role_id, resource, resource_id, granted_at) \
                 SELECT a.id, r.id, 'doc', '42', 0 FROM auth_account a, auth_role r WHERE r.name = '{role}'"
            )).await;
        }
        probe.execute("UPDATE auth_account SET version = version + 1").await;
        assert_eq!(browser.get("/docs/42").await.status, 200);
        for closed in ["/docs/43", "/docs/9", "/admin", "/editors"] {
            assert_eq!(browser.get(closed).await.status, 403, "{closed}");
        }
        assert!(roles_of(&probe, alice.id()).await.is_empty(), "not a role everywhere");
    }

    async fn what_the_callers_transaction_rolls_back_was_never_granted(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
        assert_eq!(doors(&mut browser).await, (403, 403));
        for (commit, expected) in [(false, (403, 403)), (true, (200, 200))] {
            let txn = probe.db.begin().await.expect("a transaction");
            let manage = probe.auth.roles().within(&txn);
            manage.grant(alice.id(), "editor").await.expect("it is granted");
            manage.create("viewer", ["doc:read"]).await.expect("it is made");
            if commit {
                txn.commit().await.expect("it commits");
            } else {
                txn.rollback().await.expect("it rolls back");
            }
            assert_eq!(doors(&mut browser).await, expected);
            assert_eq!(roles(&probe).await, if commit { 2 } else { 1 });
        }
    }

    async fn a_handler_that_asks_decides_like_the_guard(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
        let requirement = Requirement::permission("admin:read").expect("a permission");
        let asked = requirement.clone();
        let app = axum::Router::new()
            .route("/asks", axum::routing::get(move |identity: portcullis::Identity| async move {
                identity.meets(&asked).to_string()
            }))
            .route(
                "/guarded",
                axum::routing::get(|| async { "in" }).route_layer(probe.auth.require(requirement)),
            )
            .layer(probe.auth.layer());
        browser.address = crate::support::probe::serve(app).await;
        for (granted, asks, guarded) in [(false, "false", 403), (true, "true", 200), (false, "false", 403)] {
            match granted {
                true => probe.auth.roles().grant(alice.id(), "editor").await.expect("it is granted"),
                false => probe.auth.roles().revoke(alice.id(), "editor").await.expect("it is revoked"),
            }
            assert_eq!(browser.get("/asks").await.text, asks);
            assert_eq!(browser.get("/guarded").await.status, guarded);
        }
    }

    async fn a_pattern_of_more_than_64_atoms_can_be_held_and_not_asked(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let list = |count: usize| (0..count).map(|n| format!("a{n}")).collect::<Vec<_>>().join(",");
        let (most, more) = (format!("doc:{}:{}", list(8), list(8)), format!("doc:{}:{}", list(9), list(8)));
        assert!(Requirement::permission(&most).is_ok());
        let refused = Requirement::permission(&more);
        assert!(matches!(refused, Err(portcullis::PermissionError::TooManyAtoms)), "{refused:?}");
        // An added id does not make a requirement exceed the limit.
        let atoms = Requirement::permission(&format!("doc:{}", list(32))).expect("32 atoms");
        assert!(atoms.on("7").is_ok());

        probe.auth.roles().create("wide", [&*more]).await.expect("a grant may be as wide as it fits");
        probe.auth.roles().grant(alice.id(), "wide").await.expect("it is granted");
        let prefix = more.clone();
        let app = axum::Router::new()
            .route("/ids", axum::routing::get(move |identity: portcullis::Identity| async move {
                let count = |text: &str| match identity.instances(text) {
                    portcullis::Instances::All => -1,
                    portcullis::Instances::Only(ids) => i32::try_from(ids.len()).expect("few"),
                };
                let held = Requirement::permission(&most).expect("64 atoms");
                // The permission that the account has, its ids, a pattern with too many atoms, and
                // a text that is not a permission.
                format!("{} {} {} {}", identity.meets(&held), count("doc:a8"), count(&prefix), count("doc:"))
            }))
            .layer(probe.auth.layer());
        browser.address = crate::support::probe::serve(app).await;
        assert_eq!(browser.get("/ids").await.text, "true 8 0 0");
    }

    async fn a_role_may_be_empty_and_then_gives_its_name_alone(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let nothing: [&str; 0] = [];
        probe.auth.roles().create("editor", nothing).await.expect("it is made");
        probe.auth.roles().grant(alice.id(), "editor").await.expect("it is granted");
        assert_eq!(doors(&mut browser).await, (403, 200));
        // On a resource an empty role gives nothing, and neither does `*`.
        probe.auth.roles().create("owner", ["*", "*:read", "doc,admin:read"]).await.expect("it is made");
        let list = portcullis::permission::Resource::new("admin", "read").expect("a resource");
        for role in ["editor", "owner"] {
            let idle = probe.auth.roles().grant_on(alice.id(), role, &list).await.expect("it is granted");
            assert_eq!(idle.len(), if role == "owner" { 3 } else { 0 });
        }
        assert_eq!(doors(&mut browser).await, (403, 200));
        assert_eq!(browser.get("/docs/read").await.status, 403);
    }
}
