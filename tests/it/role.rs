//! Roles that the code defines, and the lists of holders of a role and members of a group.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis::permission::{
    DefinedRoles, GrantError, Holder, Resource, Role, RoleDefinition, RoleHolder,
};
use portcullis::{AccountId, Page, Permission, Portcullis, Problem};

use crate::on_every_database;
use crate::support::Probe;

/// The roles of an imaginary release.
fn release(editor: &[&str]) -> [RoleDefinition; 3] {
    [
        RoleDefinition::new("viewer", ["doc:read"]),
        RoleDefinition::new("editor", editor).description("Writes texts."),
        RoleDefinition::new("auditor", ["admin:read"]).max_idle(Duration::from_secs(900)),
    ]
}

fn names(defined: &DefinedRoles) -> [Vec<&str>; 3] {
    [&defined.created, &defined.changed, &defined.unchanged]
        .map(|names| names.iter().map(String::as_str).collect())
}

async fn role(auth: &Portcullis, name: &str) -> Role {
    auth.roles().find(name).await.expect("it answers").expect("the role")
}

fn texts(role: &Role) -> Vec<&str> {
    role.permissions.iter().map(Permission::as_str).collect()
}

/// The version of all authorization. A new value makes grants in memory outdated.
async fn version(probe: &Probe) -> (i64, i64) {
    let epoch = probe.number("SELECT epoch FROM auth_epoch").await;
    (epoch, probe.number("SELECT version FROM auth_epoch").await)
}

async fn events(probe: &Probe, kind: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

/// Returns another node with its own pool.
async fn node(probe: &Probe) -> Portcullis {
    Portcullis::builder(probe.database.connect().await)
        .clock(probe.clock.clone())
        .secret(probe.secret.clone())
        .build()
        .expect("the configuration is right")
}

/// Reads all pages of the holders of a role, each with this many entries.
async fn holders(auth: &Portcullis, role: &str, size: usize) -> Vec<RoleHolder> {
    let mut all = Vec::new();
    let mut page = Page::first().size(size);
    loop {
        let found = auth.roles().holders(role, page).await.expect("it answers");
        assert!(found.holders.len() <= size, "{} on a page", found.holders.len());
        all.extend(found.holders);
        let Some(next) = found.next else { return all };
        page = Page::after(next).size(size);
    }
}

/// Writes holders as texts, such as `group staff on list:7`.
fn told(holders: &[RoleHolder]) -> BTreeSet<String> {
    let one = |holder: &RoleHolder| {
        let who = match &holder.holder {
            Holder::Group(group) => format!("group {}", group.name),
            Holder::Account(account) => account.username().unwrap_or_default().to_owned(),
            other => panic!("{other:?}"),
        };
        let on = holder.resource.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{who}{on}")
    };
    holders.iter().map(one).collect()
}

on_every_database! {
    async fn roles_become_what_the_code_says_and_the_report_says_what_was_different(probe: Probe) {
        let manage = probe.auth.roles();
        manage.create("own", ["doc:print"]).await.expect("a role of an administrator");
        let defined = manage.define(release(&["doc:read", "doc:write"])).await.expect("defined");
        assert_eq!(names(&defined), [vec!["auditor", "editor", "viewer"], vec![], vec![]]);
        let editor = role(&probe.auth, "editor").await;
        assert_eq!(texts(&editor), ["doc:read", "doc:write"]);
        assert_eq!(editor.description.as_deref(), Some("Writes texts."));
        assert_eq!(role(&probe.auth, "auditor").await.max_idle, Some(Duration::from_secs(900)));
        assert_eq!(events(&probe, "role_created").await, 4);

        // An administrator changes values that the definition sets, and values that it does not
        // set.
        manage.set_permissions("editor", ["doc:delete"]).await.expect("changed");
        manage.describe("viewer", "sees all").await.expect("described");
        manage.limit_idle("viewer", Some(Duration::from_secs(600))).await.expect("limited");
        let events_before = events(&probe, "role_changed").await;
        let defined = manage.define(release(&["doc:write", "doc:read"])).await.expect("defined");
        assert_eq!(names(&defined), [vec![], vec!["editor"], vec!["auditor", "viewer"]]);
        assert_eq!(texts(&role(&probe.auth, "editor").await), ["doc:write", "doc:read"]);
        assert_eq!(role(&probe.auth, "editor").await.id, editor.id, "it is the same role");
        let viewer = role(&probe.auth, "viewer").await;
        assert_eq!(viewer.description.as_deref(), Some("sees all"));
        assert_eq!(viewer.max_idle, Some(Duration::from_secs(600)));
        assert_eq!(events(&probe, "role_changed").await, events_before + 1);

        // The next release removes the description and the limit of one role, and describes
        // another.
        let next = [
            RoleDefinition::new("viewer", ["doc:read"]).description("").max_idle(None),
            RoleDefinition::new("editor", ["doc:read", "doc:write"]).description("Writes."),
        ];
        let defined = manage.define(next).await.expect("defined");
        assert_eq!(names(&defined), [vec![], vec!["editor", "viewer"], vec![]]);
        let viewer = role(&probe.auth, "viewer").await;
        assert_eq!((viewer.description, viewer.max_idle), (None, None));
        assert_eq!(role(&probe.auth, "editor").await.description.as_deref(), Some("Writes."));

        // Roles that the code does not name are kept.
        assert_eq!(texts(&role(&probe.auth, "own").await), ["doc:print"]);
        assert_eq!(texts(&role(&probe.auth, "auditor").await), ["admin:read"]);
        let defined = manage.define([]).await.expect("nothing");
        assert_eq!(defined, DefinedRoles::default());
    }

    async fn a_role_that_exists_gets_what_its_definition_says_about_factors(probe: Probe) {
        let roles = probe.auth.roles();
        let definition = || RoleDefinition::new("admin", ["user:read"]);
        roles.define([definition()]).await.expect("it is defined");
        for required in [true, false, true] {
            let defined = roles.define([definition().requires_factor(required)]).await;
            assert_eq!(defined.expect("it is defined").changed, ["admin"]);
            let stored = role(&probe.auth, "admin").await;
            assert_eq!((stored.requires_factor, stored.allows_trusted_devices), (required, !required));
        }
        roles.define([definition().trusted_devices(true)]).await.expect("it is defined");
        let stored = role(&probe.auth, "admin").await;
        assert!(stored.requires_factor && stored.allows_trusted_devices);
        let defined = roles.define([definition().requires_factor(true).trusted_devices(true)]).await;
        assert_eq!(defined.expect("it is defined").unchanged, ["admin"]);
    }

    async fn nothing_is_written_when_nothing_is_different(probe: Probe) {
        let manage = probe.auth.roles();
        let _ = manage.define(release(&["doc:read", "doc:write"])).await.expect("defined");
        let tables = async || {
            let mut rows = Vec::new();
            for table in ["auth_role", "auth_epoch", "auth_event"] {
                rows.extend(probe.dump(table).await);
            }
            rows
        };
        let before = tables().await;
        // Order and repetition of permissions do not matter.
        for same in [
            &["doc:read", "doc:write"][..],
            &["doc:write", "doc:read"],
            &["doc:read", "doc:write", "doc:read"],
        ] {
            let (defined, statements) = probe.statements(manage.define(release(same))).await;
            let defined = defined.expect("defined");
            assert_eq!(names(&defined), [vec![], vec![], vec!["auditor", "editor", "viewer"]]);
            assert_eq!(statements, 1, "one read");
            assert_eq!(tables().await, before);
        }
        let txn = probe.auth.begin().await.expect("a transaction");
        let within = probe.auth.roles().within(&txn);
        let defined = within.define(release(&["doc:read", "doc:write"])).await.expect("defined");
        assert_eq!(defined.unchanged.len(), 3);
        txn.commit().await.expect("it commits");
        assert_eq!(tables().await, before);
    }

    async fn a_change_counts_on_the_next_request_of_every_node(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let other = node(&probe).await;
        let _ = probe.auth.roles().define(release(&["doc:read"])).await.expect("defined");
        probe.auth.roles().grant(alice.id(), "editor").await.expect("granted");
        assert_eq!(browser.get("/admin").await.status, 403);
        let before = version(&probe).await;
        let _ = other.roles().define(release(&["admin:read"])).await.expect("defined");
        assert_ne!(version(&probe).await, before);
        assert_eq!(browser.get("/admin").await.status, 200);
        let _ = other.roles().define(release(&["doc:read"])).await.expect("defined");
        assert_eq!(browser.get("/admin").await.status, 403);
    }

    async fn an_error_names_the_role_and_the_permission_and_nothing_is_written(probe: Probe) {
        let before = version(&probe).await;
        let fine = || RoleDefinition::new("fine", ["doc:read"]);
        let many = (0..241).map(|number| format!("p{number}"));
        for (wrong, status, code, text) in [
            (
                RoleDefinition::new("editor", ["doc:read", "doc:"]),
                422,
                "invalid_permission",
                "role `editor`: `doc:` is not a permission: part 2 is empty",
            ),
            (
                RoleDefinition::new("editor", ["auth-account:manage"]),
                422,
                "reserved_domain",
                "role `editor`: `auth-account:manage`: the domains that begin with `auth-` belong \
                 to portcullis",
            ),
            (
                RoleDefinition::new("a b", ["doc:read"]),
                422,
                "invalid_name",
                "role `a b`: a name has 1 to 64 bytes without white space, `:`, `,` or `*`",
            ),
            (
                RoleDefinition::new("editor", many),
                422,
                "invalid_permission",
                "role `editor`: a role holds at most 240 permissions",
            ),
            (
                RoleDefinition::new("editor", ["doc:read"]).max_idle(Duration::from_secs(60)),
                422,
                "idle_too_short",
                "role `editor`: an idle time must be at least 270 seconds",
            ),
            (
                RoleDefinition::new("fine", ["doc:write"]),
                422,
                "role_defined_twice",
                "role `fine`: it is defined twice",
            ),
        ] {
            let refused = probe.auth.roles().define([fine(), wrong]).await;
            let Err(error @ GrantError::Role(_)) = refused else { panic!("{refused:?}") };
            assert_eq!(error.to_string(), text);
            assert_eq!((error.status().as_u16(), error.code()), (status, code), "{text}");
            assert_eq!(probe.number("SELECT COUNT(*) FROM auth_role").await, 0, "{text}");
        }
        assert_eq!(version(&probe).await, before);
        let _ = probe.auth.roles().define([fine()]).await.expect("alone it is fine");

        // A name that looks like a level.
        let levels = probe.rebuilt(|builder| builder.levels("list", ["owner"]));
        let refused = levels.roles().define([RoleDefinition::new("list-7-owner", ["list"])]).await;
        let error = refused.expect_err("it would look like a level");
        assert_eq!(error.code(), "reserved_name");
    }

    async fn what_an_old_row_cannot_mean_is_replaced(probe: Probe) {
        let manage = probe.auth.roles();
        let _ = manage.define(release(&["doc:read"])).await.expect("defined");
        probe.execute("UPDATE auth_role SET permissions = 'doc:read b**' WHERE name = 'editor'").await;
        let defined = manage.define(release(&["doc:read"])).await.expect("defined");
        assert_eq!(defined.changed, ["editor"]);
        let stored = probe.text("SELECT permissions FROM auth_role WHERE name = 'editor'").await;
        assert_eq!(stored.as_deref(), Some("doc:read"));
        let long = "é".repeat(4_000);
        let long = || RoleDefinition::new("long", ["doc:read"]).description(long.clone());
        assert_eq!(manage.define([long()]).await.expect("defined").created, ["long"]);
        assert_eq!(manage.define([long()]).await.expect("defined").unchanged, ["long"]);
    }

    async fn nodes_that_start_at_once_define_everything_once(probe: Probe) {
        let nodes = [probe.auth.clone(), node(&probe).await, node(&probe).await];
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16 {
            let auth = nodes[number % nodes.len()].clone();
            tasks.spawn(async move {
                let mut roles: Vec<_> =
                    (0..20).map(|n| RoleDefinition::new(format!("role{n}"), ["doc:read"])).collect();
                if number % 2 == 0 {
                    roles.reverse();
                }
                auth.roles().define(roles).await.expect("defined").created.len()
            });
        }
        let created: usize = tasks.join_all().await.into_iter().sum();
        assert_eq!(created, 20, "each is new to one of them");
        assert_eq!(events(&probe, "role_created").await, 20);
    }

    async fn old_and_new_code_at_once_leave_one_of_the_two(probe: Probe) {
        let nodes = [probe.auth.clone(), node(&probe).await];
        let old = || release(&["doc:read"]);
        let new = || {
            let mut roles = release(&["doc:read", "doc:write"]).to_vec();
            roles.push(RoleDefinition::new("printer", ["doc:print"]));
            roles
        };
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16 {
            let auth = nodes[number % 2].clone();
            tasks.spawn(async move {
                let roles = if number % 2 == 0 { old().to_vec() } else { new() };
                auth.roles().define(roles).await.expect("defined");
                // Old code creates a role, and an administrator changes one at the same time.
                let _ = auth.roles().create("printer", ["doc:print"]).await.expect("it is the same");
                auth.roles().describe("editor", &format!("by {number}")).await.expect("described");
            });
        }
        let _ = tasks.join_all().await;
        let editor = role(&probe.auth, "editor").await;
        let editor = texts(&editor).join(" ");
        assert!(["doc:read", "doc:read doc:write"].contains(&&*editor), "{editor}");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_role").await, 4);
        // The last start decides.
        let _ = nodes[1].roles().define(new()).await.expect("defined");
        assert_eq!(texts(&role(&probe.auth, "editor").await), ["doc:read", "doc:write"]);
    }

    async fn a_failure_in_the_middle_changes_no_role(probe: Probe) {
        let _ = probe.auth.roles().define(release(&["doc:read"])).await.expect("defined");
        let before = (probe.dump("auth_role").await, version(&probe).await);
        crate::support::fault::without_events(&probe, "role_changed", async {
            let refused = probe.auth.roles().define(release(&["doc:write"])).await;
            assert_eq!(refused.expect_err("no event is written").status().as_u16(), 503);
        })
        .await;
        assert_eq!((probe.dump("auth_role").await, version(&probe).await), before);
        let defined = probe.auth.roles().define(release(&["doc:write"])).await.expect("defined");
        assert_eq!(defined.changed, ["editor"]);
    }

    async fn roles_are_defined_in_a_transaction_of_the_caller(probe: Probe) {
        let txn = probe.auth.begin().await.expect("a transaction");
        let _ = probe.auth.roles().within(&txn).define(release(&["doc:read"])).await.expect("defined");
        txn.rollback().await;
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_role").await, 0);
        let txn = probe.auth.begin().await.expect("a transaction");
        let within = probe.auth.roles().within(&txn);
        let _ = within.define(release(&["doc:read"])).await.expect("defined");
        let defined = within.define(release(&["doc:write"])).await.expect("defined");
        assert_eq!(defined.changed, ["editor"]);
        txn.commit().await.expect("it commits");
        assert_eq!(texts(&role(&probe.auth, "editor").await), ["doc:write"]);
    }

    async fn who_has_a_role_is_listed_in_pages(probe: Probe) {
        let auth = &probe.auth;
        let _ = auth.roles().define(release(&["list:edit"])).await.expect("defined");
        let seven = Resource::new("list", "7").expect("a resource");
        let eight = Resource::new("list", "8").expect("a resource");
        let mut expected = BTreeSet::new();
        for name in ["staff", "guests"] {
            auth.groups().create(name).await.expect("a group");
            auth.groups().grant_on(name, "editor", &seven).await.expect("granted");
            expected.insert(format!("group {name} on list:7"));
        }
        auth.groups().grant("staff", "editor").await.expect("granted");
        expected.insert("group staff".to_owned());
        let mut accounts = Vec::new();
        for number in 0..12 {
            let name = format!("user{number}");
            let new = portcullis::account::NewAccount::username(&name);
            let account = auth.accounts().create(new).await.expect("an account");
            auth.roles().grant(account.id(), "editor").await.expect("granted");
            auth.roles().grant(account.id(), "viewer").await.expect("granted");
            expected.insert(name.clone());
            if number % 3 == 0 {
                auth.roles().grant_on(account.id(), "editor", &eight).await.expect("granted");
                auth.roles().grant_on(account.id(), "editor", &seven).await.expect("granted");
                expected.insert(format!("{name} on list:7"));
                expected.insert(format!("{name} on list:8"));
            }
            // A member of a group is not listed as a holder.
            auth.groups().join("staff", account.id()).await.expect("joined");
            accounts.push(account);
        }
        let gone = accounts.pop().expect("the last");
        auth.accounts().delete(gone.id()).await.expect("deleted");
        expected.remove("user11");
        assert_eq!(expected.len(), 3 + 11 + 8);
        for size in [1, 2, 3, 5, 100] {
            let found = holders(auth, "editor", size).await;
            assert_eq!(found.len(), expected.len(), "pages of {size}: {:?}", told(&found));
            assert_eq!(told(&found), expected, "pages of {size}");
            assert!(matches!(found[0].holder, Holder::Group(_)), "groups come first");
            assert_eq!(found[0].granted_at, probe.auth_now());
        }
        assert_eq!(holders(auth, "viewer", 4).await.len(), 11);
        assert!(holders(auth, "auditor", 4).await.is_empty());

        // The next page also works if its last holder has lost the role in between.
        let first = auth.roles().holders("viewer", Page::first().size(4)).await.expect("a page");
        let next = first.next.clone().expect("there are more");
        let Holder::Account(last) = &first.holders[3].holder else { panic!("{first:?}") };
        auth.roles().revoke(last.id(), "viewer").await.expect("revoked");
        let rest = auth.roles().holders("viewer", Page::after(next)).await.expect("a page");
        assert_eq!((rest.holders.len(), rest.next), (7, None));

        for wrong in ["", "x", "account", "account:1::", "role:018f0000-0000-7000-8000-000000000000::",
            "account:018f0000-0000-7000-8000-000000000000:list:", "group:'; DROP TABLE::"]
        {
            let refused = auth.roles().holders("viewer", Page::after(wrong)).await;
            let Err(error @ GrantError::InvalidPage(_)) = refused else { panic!("{wrong}: {refused:?}") };
            assert_eq!((error.status().as_u16(), error.code()), (422, "invalid_page"));
        }
        let missing = auth.roles().holders("nobody", Page::first()).await;
        assert!(matches!(missing, Err(GrantError::RoleNotFound)), "{missing:?}");
    }

    async fn who_is_in_a_group_is_listed_in_pages(probe: Probe) {
        let auth = &probe.auth;
        for name in ["staff", "empty"] {
            auth.groups().create(name).await.expect("a group");
        }
        let mut ids: Vec<AccountId> = Vec::new();
        for number in 0..230 {
            let new = portcullis::account::NewAccount::username(format!("user{number}"));
            let account = auth.accounts().create(new).await.expect("an account");
            auth.groups().join("staff", account.id()).await.expect("joined");
            ids.push(account.id());
        }
        auth.accounts().delete(ids.remove(7)).await.expect("deleted");
        ids.sort();
        let (mut seen, mut sizes, mut page) = (Vec::new(), Vec::new(), Page::first().size(1_000_000));
        loop {
            let found = auth.groups().members("staff", page).await.expect("a page");
            sizes.push(found.members.len());
            assert!(found.members.iter().all(|member| member.joined_at == probe.auth_now()));
            seen.extend(found.members.iter().map(|member| member.account.id()));
            let Some(next) = found.next else { break };
            page = Page::after(next);
        }
        assert_eq!(sizes, [100, 100, 29], "a page has at most 100");
        assert_eq!(seen, ids);
        let one = auth.groups().members("staff", Page::first().size(0)).await.expect("a page");
        assert_eq!((one.members.len(), one.next.is_some()), (1, true));
        let empty = auth.groups().members("empty", Page::first()).await.expect("a page");
        assert_eq!((empty.members.len(), empty.next), (0, None));
        let missing = auth.groups().members("nobody", Page::first()).await;
        assert!(matches!(missing, Err(GrantError::GroupNotFound)), "{missing:?}");
        let wrong = auth.groups().members("staff", Page::after("x")).await;
        assert!(matches!(wrong, Err(GrantError::InvalidPage(_))), "{wrong:?}");
    }

    async fn a_list_of_holders_costs_the_same_for_one_and_for_many(probe: Probe) {
        let auth = &probe.auth;
        let _ = auth.roles().define(release(&["list:edit"])).await.expect("defined");
        let (_, one) = probe.statements(auth.roles().holders("editor", Page::first())).await;
        for number in 0..30 {
            let new = portcullis::account::NewAccount::username(format!("user{number}"));
            let account = auth.accounts().create(new).await.expect("an account");
            auth.roles().grant(account.id(), "editor").await.expect("granted");
        }
        let (_, many) = probe.statements(auth.roles().holders("editor", Page::first())).await;
        assert_eq!((one, many), (3, 3));
    }
}
