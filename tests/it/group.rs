//! Groups, direct permissions, superusers, roles on one resource.

use std::collections::BTreeSet;

use portcullis::permission::Resource;
use portcullis::{AccountId, Identity, Instances, Permission, Portcullis};

use crate::on_every_database;
use crate::support::probe::serve;
use crate::support::{Browser, Probe};

fn permission(text: &str) -> Permission {
    Permission::parse(text).expect("a permission")
}

/// Signs in to an application that answers whether each permission is granted.
async fn asking(probe: &Probe, name: &str) -> (AccountId, Browser) {
    let account = probe.register(name).await;
    let app = axum::Router::new()
        .route(
            "/may/{permission}",
            axum::routing::get(
                |identity: Identity, axum::extract::Path(text): axum::extract::Path<String>| async move {
                    let asked = portcullis::Requirement::permission(&text).expect("a permission");
                    identity.meets(&asked).to_string()
                },
            ),
        )
        .route(
            "/which/{permission}",
            axum::routing::get(
                |identity: Identity, axum::extract::Path(text): axum::extract::Path<String>| async move {
                    match identity.instances(&permission(&text)) {
                        Instances::All => "all".to_owned(),
                        Instances::Only(ids) => ids.into_iter().collect::<Vec<_>>().join(" "),
                    }
                },
            ),
        )
        .nest("/auth", probe.auth.routes())
        .layer(probe.auth.layer());
    let mut browser = Browser::new(serve(app).await);
    let answer = browser.login(name, crate::support::PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (account.id(), browser)
}

async fn may(browser: &mut Browser, permission: &str) -> bool {
    browser.get(&format!("/may/{permission}")).await.text == "true"
}

async fn two_roles(auth: &Portcullis) {
    auth.roles().create("reader", ["doc:read"]).await.expect("a role");
    auth.roles().create("owner", ["list:edit", "list", "doc:edit", "*"]).await.expect("a role");
}

on_every_database! {
    async fn rights_are_direct_ones_and_roles_and_groups_roles_together(probe: Probe) {
        two_roles(&probe.auth).await;
        let (alice, mut browser) = asking(&probe, "alice").await;
        let (_, mut bob) = asking(&probe, "bob").await;
        let auth = &probe.auth;
        auth.groups().create("staff").await.expect("a group");
        assert!(!may(&mut browser, "doc:read").await);

        auth.groups().join("staff", alice).await.expect("a member");
        assert!(!may(&mut browser, "doc:read").await);
        auth.groups().grant("staff", "reader").await.expect("a grant");
        assert!(may(&mut browser, "doc:read").await);
        assert!(!may(&mut bob, "doc:read").await);
        auth.groups().leave("staff", alice).await.expect("no member");
        assert!(!may(&mut browser, "doc:read").await);

        auth.groups().join("staff", alice).await.expect("a member");
        assert!(may(&mut browser, "doc:read").await);
        auth.groups().revoke("staff", "reader").await.expect("no grant");
        assert!(!may(&mut browser, "doc:read").await);
        auth.groups().grant("staff", "reader").await.expect("a grant");
        auth.groups().delete("staff").await.expect("no group");
        assert!(!may(&mut browser, "doc:read").await);
        auth.groups().create("staff").await.expect("another group of this name");
        assert!(!may(&mut browser, "doc:read").await);

        let print = permission("printer:print");
        auth.permissions().grant(alice, &print).await.expect("a grant");
        auth.permissions().grant(alice, &print).await.expect("the same grant");
        assert!(may(&mut browser, "printer:print:7").await);
        let direct = auth.permissions().of(alice).await.expect("a list");
        assert_eq!(direct, std::slice::from_ref(&print));
        auth.permissions().revoke(alice, &print).await.expect("no grant");
        assert!(!may(&mut browser, "printer:print:7").await);
    }

    async fn a_superuser_may_everything_from_the_next_request_on(probe: Probe) {
        let (alice, mut browser) = asking(&probe, "alice").await;
        probe.superuser("root").await;
        assert!(!may(&mut browser, "any:thing").await);
        probe.auth.accounts().set_superuser(alice, true).await.expect("an account");
        assert!(may(&mut browser, "any:thing").await);
        assert_eq!(browser.get("/which/doc:edit").await.text, "all");
        probe.auth.accounts().set_superuser(alice, false).await.expect("an account");
        assert!(!may(&mut browser, "any:thing").await);
    }

    async fn a_role_on_a_resource_gives_only_what_it_says_about_that_resource(probe: Probe) {
        two_roles(&probe.auth).await;
        let (alice, mut browser) = asking(&probe, "alice").await;
        let seven = Resource::new("list", "7").expect("a resource");
        let nothing = probe.auth.roles().grant_on(alice, "owner", &seven).await.expect("a grant");
        let nothing: Vec<_> = nothing.iter().map(Permission::as_str).collect();
        assert_eq!(nothing, ["doc:edit", "*"]);
        for (asked, given) in [
            ("list:edit:7", true),
            ("list:delete:7", true),
            ("list:edit:8", false),
            ("list:edit", false),
            ("doc:edit:7", false),
            ("any:thing", false),
        ] {
            assert_eq!(may(&mut browser, asked).await, given, "{asked}");
        }
        let eight = Resource::new("list", "8").expect("a resource");
        probe.auth.groups().create("staff").await.expect("a group");
        probe.auth.groups().join("staff", alice).await.expect("a member");
        probe.auth.groups().grant_on("staff", "owner", &eight).await.expect("a grant");
        let ids: BTreeSet<_> =
            browser.get("/which/list:edit").await.text.split(' ').map(str::to_owned).collect();
        assert_eq!(ids, BTreeSet::from(["7".to_owned(), "8".to_owned()]));
        probe.auth.roles().revoke_on(alice, "owner", &seven).await.expect("no grant");
        assert!(!may(&mut browser, "list:edit:7").await);
        assert!(may(&mut browser, "list:edit:8").await);
        probe.auth.groups().revoke_on("staff", "owner", &eight).await.expect("no grant");
        assert!(!may(&mut browser, "list:edit:8").await);
        for (domain, id) in [("", "7"), ("list", ""), ("li:st", "7"), ("list", "*"), ("list", "1,2")] {
            assert!(Resource::new(domain, id).is_err(), "{domain} {id}");
        }
    }

    async fn the_same_grant_from_sixteen_sides_is_one_grant(probe: Probe) {
        two_roles(&probe.auth).await;
        let (alice, mut browser) = asking(&probe, "alice").await;
        probe.auth.groups().create("staff").await.expect("a group");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let auth = probe.auth.clone();
            tasks.spawn(async move {
                auth.groups().create("staff").await.expect("a group");
                auth.groups().join("staff", alice).await.expect("a member");
                auth.groups().grant("staff", "reader").await.expect("a grant");
                auth.roles().grant(alice, "reader").await.expect("a grant");
                auth.permissions().grant(alice, &permission("a:b")).await.expect("a grant");
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.expect("no task fails");
        }
        for table in
            ["auth_group", "auth_account_group", "auth_group_role", "auth_account_role", "auth_account_permission"]
        {
            assert_eq!(probe.number(&format!("SELECT COUNT(*) FROM {table}")).await, 1, "{table}");
        }
        assert!(may(&mut browser, "doc:read").await && may(&mut browser, "a:b").await);
    }
}
