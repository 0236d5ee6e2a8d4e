//! Several nodes on one database. A change on one node takes effect on the next request to the
//! other node, although it remembers grants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis::account::NewAccount;
use portcullis::permission::Resource;
use portcullis::{AccountId, Permission, Portcullis, Secret};
use serde_json::json;

use crate::on_every_database;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

/// The levels on a document. `reader` is the lower one.
const LEVELS: [&str; 2] = ["reader", "keeper"];

/// Builds another node. It has its own connections, memory and port, and shares the database, clock
/// and secret.
async fn node(probe: &Probe) -> (Portcullis, Browser) {
    let auth = Portcullis::builder(probe.database.connect().await)
        .clock(probe.clock.clone())
        .secret(probe.secret.clone())
        .configure(|config| {
            config.password.danger_cheap_hashing = true;
            config.password.memory_kib = 8;
            config.password.iterations = 1;
        })
        .levels("doc", LEVELS)
        .build()
        .expect("the configuration is right");
    let browser = Browser::new(serve(app(&auth)).await);
    (auth, browser)
}

/// Returns the same browser for another node.
fn at(node: &Browser, who: &Browser) -> Browser {
    let mut browser = node.clone();
    browser.cookie.clone_from(&who.cookie);
    browser
}

/// Returns the versions with which the grants of this account are remembered.
async fn versions(probe: &Probe, username: &str) -> (i64, i64) {
    let version = format!("SELECT version FROM auth_account WHERE username = '{username}'");
    (probe.number(&version).await, probe.number("SELECT version FROM auth_epoch").await)
}

/// A change of alice's permissions: one of her grants, or the permissions of one of her roles.
#[derive(Debug)]
enum Change {
    Grant(&'static str),
    Role(&'static str),
}

impl Change {
    async fn make(&self, roles: &portcullis::permission::Roles<'_>, account: AccountId) {
        match self {
            Self::Grant(role) => roles.grant(account, role).await.expect("it is granted"),
            Self::Role(means) => {
                roles.set_permissions("reader", [*means]).await.expect("it is changed");
            }
        }
    }

    fn opens_admin(&self) -> bool {
        matches!(self, Self::Grant("editor") | Self::Role("admin:read"))
    }
}

/// A copy of the rows that contain permissions.
struct Backup;

impl Backup {
    const TABLES: [&str; 4] = ["auth_account", "auth_account_role", "auth_role", "auth_epoch"];

    async fn take(probe: &Probe) -> Self {
        for table in Self::TABLES {
            probe.execute(&format!("DROP TABLE IF EXISTS backup_{table}")).await;
            probe.execute(&format!("CREATE TABLE backup_{table} AS SELECT * FROM {table}")).await;
        }
        Self
    }

    async fn restore(&self, probe: &Probe) {
        // Rows with references to them are set back. The other rows are replaced.
        for (table, columns) in [
            ("auth_account", &["version"][..]),
            ("auth_role", &["permissions"]),
            ("auth_epoch", &["epoch", "version"]),
        ] {
            for column in columns {
                let was =
                    format!("SELECT b.{column} FROM backup_{table} b WHERE b.id = {table}.id");
                probe.execute(&format!("UPDATE {table} SET {column} = ({was})")).await;
            }
        }
        probe.execute("DELETE FROM auth_account_role").await;
        let rows = "SELECT * FROM backup_auth_account_role";
        probe.execute(&format!("INSERT INTO auth_account_role {rows}")).await;
    }

    async fn forget(self, probe: &Probe) {
        for table in Self::TABLES {
            probe.execute(&format!("DROP TABLE backup_{table}")).await;
        }
    }
}

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX generator. Its low bits are poor, so the high bits are used.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

on_every_database! {
    async fn a_change_of_grants_at_one_node_counts_in_the_next_request_at_the_other(probe: Probe) {
        let (alice, browser) = probe.signed_in("alice").await;
        let (_, other) = node(&probe).await;
        let mut other = at(&other, &browser);
        let roles = probe.auth.roles();
        roles.create("editor", ["admin:read"]).await.expect("it is made");
        assert_eq!(other.get("/admin").await.status, 403);

        roles.grant(alice.id(), "editor").await.expect("it is granted");
        assert_eq!(other.get("/admin").await.status, 200);
        assert_eq!(other.get("/editors").await.status, 200);
        roles.set_permissions("editor", ["doc:read"]).await.expect("it is changed");
        assert_eq!(other.get("/admin").await.status, 403);
        assert_eq!(other.get("/docs/1").await.status, 200);
        assert_eq!(other.get("/editors").await.status, 200);
        roles.set_permissions("editor", ["admin"]).await.expect("it is changed");
        assert_eq!(other.get("/admin").await.status, 200);
        roles.revoke(alice.id(), "editor").await.expect("it is revoked");
        assert_eq!(other.get("/admin").await.status, 403);
        roles.grant(alice.id(), "editor").await.expect("it is granted");
        assert_eq!(other.get("/admin").await.status, 200);
        roles.delete("editor").await.expect("it is deleted");
        assert_eq!(other.get("/admin").await.status, 403);
        assert_eq!(other.get("/editors").await.status, 403);
        assert_eq!(other.get("/me").await.status, 200);
    }

    async fn every_kind_of_grant_at_one_node_counts_in_the_next_request_at_the_other(probe: Probe) {
        use portcullis::port::{HookFuture, SourceMembership};
        let says = Arc::new(AtomicBool::new(true));
        let said = Arc::clone(&says);
        let source = move |_| -> HookFuture<'static, Vec<SourceMembership>> {
            let rows = said.load(Ordering::SeqCst).then(|| SourceMembership::new("doc", "1", "reader"));
            Box::pin(async move { Ok(rows.into_iter().collect()) })
        };
        let mut probe = probe;
        probe.auth = probe.rebuilt(|builder| builder.levels("doc", LEVELS).membership_source(source));
        says.store(false, Ordering::SeqCst);
        let (alice, browser) = probe.signed_in("alice").await;
        let (_, other) = node(&probe).await;
        let mut other = at(&other, &browser);
        let auth = &probe.auth;
        auth.roles().create("reader", ["doc:read"]).await.expect("it is made");
        auth.groups().create("staff").await.expect("it is made");
        let document = Resource::new("doc", "1").expect("a resource");
        let read = Permission::parse("doc:read:1").expect("a permission");
        let id = alice.id();
        // Otherwise alice would be the last superuser, who stays one.
        probe.superuser("root").await;
        // Each write, and the answers of `/docs/1` and `/docs/2` on the other node right after it.
        macro_rules! then {
            ($($work:expr => $first:literal, $second:literal;)+) => { $(
                $work.await.expect(stringify!($work));
                let decided = (other.get("/docs/1").await.status, other.get("/docs/2").await.status);
                assert_eq!(decided, ($first, $second), stringify!($work));
            )+ };
        }
        then! {
            auth.permissions().grant(id, &read) => 200, 403;
            auth.permissions().revoke(id, &read) => 403, 403;
            auth.roles().grant(id, "reader") => 200, 200;
            auth.roles().revoke(id, "reader") => 403, 403;
            auth.roles().grant_on(id, "reader", &document) => 200, 403;
            auth.roles().revoke_on(id, "reader", &document) => 403, 403;
            auth.groups().join("staff", id) => 403, 403;
            auth.groups().grant("staff", "reader") => 200, 200;
            auth.groups().leave("staff", id) => 403, 403;
            auth.groups().join("staff", id) => 200, 200;
            auth.groups().revoke("staff", "reader") => 403, 403;
            auth.groups().grant_on("staff", "reader", &document) => 200, 403;
            auth.groups().revoke_on("staff", "reader", &document) => 403, 403;
            auth.groups().grant("staff", "reader") => 200, 200;
            auth.groups().delete("staff") => 403, 403;
            auth.memberships().grant(id, &document, "keeper") => 200, 403;
            auth.roles().set_permissions("reader", ["doc:write"]) => 403, 403;
            auth.roles().set_permissions("reader", ["doc:read"]) => 200, 403;
            auth.memberships().revoke(id, &document) => 403, 403;
        }
        says.store(true, Ordering::SeqCst);
        then! { auth.refresh_memberships(id) => 200, 403; }
        says.store(false, Ordering::SeqCst);
        then! {
            auth.refresh_memberships(id) => 403, 403;
            auth.memberships().grant(id, &document, "reader") => 200, 403;
            auth.roles().delete("reader") => 403, 403;
            // The level came first. The role with its name takes effect as soon as it exists.
            auth.roles().create("reader", ["doc:read"]) => 200, 403;
            auth.accounts().set_superuser(id, true) => 200, 200;
            auth.accounts().set_superuser(id, false) => 200, 403;
        }
    }

    async fn a_demoted_administrator_is_out_at_once_on_every_node(probe: Probe) {
        let root = probe.auth.bootstrap_admin(NewAccount::username("root")).await;
        let root = root.expect("the database answers").expect("an administrator");
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("root", root.password()).await.status, 200);
        let (_, other) = node(&probe).await;
        let mut other = at(&other, &browser);
        assert_eq!((browser.get("/admin").await.status, other.get("/admin").await.status), (200, 200));
        // The flag is a column of the account, which the statement of each request reads.
        probe.execute("UPDATE auth_account SET version = version + 1, superuser = FALSE").await;
        assert_eq!((browser.get("/admin").await.status, other.get("/admin").await.status), (403, 403));
    }

    async fn the_end_of_a_session_at_one_node_counts_in_the_next_request_at_the_other(probe: Probe) {
        let account = probe.register("alice").await;
        let (auth, elsewhere) = node(&probe).await;
        let id = account.id();
        for change in ["logout", "others", "all", "password", "disable", "enable", "delete"] {
            let mut browser = probe.browser().await;
            assert_eq!(browser.login("alice", PASSWORD).await.status, 200, "{change}");
            let mut other = at(&elsewhere, &browser);
            assert_eq!(other.get("/me").await.status, 200, "{change}");
            let mut second = probe.browser().await;
            assert_eq!(second.login("alice", PASSWORD).await.status, 200, "{change}");
            match change {
                "logout" => assert_eq!(browser.post_empty("/auth/logout").await.status, 204),
                "others" => assert_eq!(second.delete("/auth/sessions").await.status, 200),
                "all" => assert_eq!(second.delete("/auth/sessions?scope=all").await.status, 200),
                "password" => {
                    // Changes the password and changes it back, so that the next round can sign in
                    // with the usual one.
                    for new in ["another long password", PASSWORD] {
                        let answer = second.put("/auth/password", json!({ "new_password": new })).await;
                        assert_eq!(answer.status, 200, "{}", answer.text);
                    }
                }
                "disable" => {
                    auth.accounts().disable(id).await.expect("it is disabled");
                    probe.auth.accounts().enable(id).await.expect("it is enabled");
                }
                "enable" => auth.accounts().enable(id).await.expect("it is enabled"),
                _ => auth.accounts().delete(id).await.expect("it is deleted"),
            }
            for browser in [&browser, &elsewhere] {
                let mut one = at(browser, &other);
                let answer = one.get("/me").await;
                assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"), "{change}");
            }
        }
    }

    async fn a_login_at_one_node_is_a_session_at_the_other(probe: Probe) {
        let (alice, browser) = probe.signed_in("alice").await;
        let (_, other) = node(&probe).await;
        let mut other = at(&other, &browser);
        assert_eq!(other.get("/me").await.text, alice.id().to_string());
        // A token is renewed on one node and used on the other.
        probe.clock.advance(std::time::Duration::from_secs(16 * 60));
        let answer = other.get("/me").await;
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 1));
        let mut back = at(&browser, &other);
        assert_eq!(back.get("/me").await.status, 200);
    }

    async fn nodes_with_different_secrets_harm_no_session_of_each_other_and_tell_the_operator(probe: Probe) {
        let found = |auth: &Portcullis| auth.audit().iter().any(|finding| finding.code == "foreign_cookie");
        let account = probe.register_with_email("alice", "alice@example.com").await;
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        let strange = probe.rebuilt(|builder| {
            builder.configure(|config| config.keys.secrets = vec![Secret::generate()])
        });
        let elsewhere = serve(app(&strange)).await;
        let mut other = browser.at(elsewhere);
        // Two nodes with the same secret, for comparison.
        let same = probe.rebuilt(|builder| builder);
        let mut twin = browser.at(serve(app(&same)).await);
        assert_eq!(twin.get("/me").await.status, 200);

        let sessions = probe.dump("auth_session").await;
        for (method, path, status) in [
            ("GET", "/me", 401),
            ("POST", "/me", 401),
            ("GET", "/auth/session", 401),
            ("POST", "/auth/session/refresh", 401),
            ("DELETE", "/auth/sessions?scope=all", 401),
            ("GET", "/public", 200),
            ("GET", "/maybe", 200),
        ] {
            let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
            let request = other.request(method, path);
            let (answer, statements) = probe.statements(other.send(request)).await;
            assert_eq!((answer.status, statements), (status, 0), "{path}: {}", answer.text);
            if status == 401 {
                assert_eq!(answer.code(), "invalid_token", "{path}");
            }
            // The cookie is kept, and still works on the node that made it.
            assert!(answer.set_cookies().is_empty(), "{path}: {:?}", answer.set_cookies());
            assert_eq!(other.cookie, browser.cookie, "{path}");
        }
        assert_eq!(probe.dump("auth_session").await, sessions);
        assert!(found(&strange) && !found(&probe.auth) && !found(&same));
        // The session continues and is renewed on its own node.
        assert_eq!(browser.get("/me").await.text, account.id().to_string());
        probe.clock.advance(std::time::Duration::from_secs(16 * 60));
        let answer = browser.get("/me").await;
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 1));
        assert_eq!(browser.get("/me").await.status, 200);

        // A sign-in on the other node ends no session of the first node. In a browser, its cookie
        // replaces the first cookie.
        let mut moved = browser.at(elsewhere);
        assert_eq!(moved.login("alice", PASSWORD).await.status, 200);
        assert_eq!((moved.get("/me").await.status, browser.get("/me").await.status), (200, 200));
        let mut back = at(&browser, &moved);
        let answer = back.get("/me").await;
        assert_eq!((answer.code().as_str(), answer.set_cookies().len()), ("invalid_token", 0));
        assert!(found(&probe.auth));
        // Only signing out clears the cookie. The session itself continues.
        let mut leaving = browser.at(elsewhere);
        let answer = leaving.post_empty("/auth/logout").await;
        assert_eq!((answer.status, leaving.cookie), (204, None));
        assert_eq!(browser.get("/me").await.status, 200);
        // Everything that needs the account and no token works on both nodes.
        strange.sessions().end_all(account.id(), None).await.expect("they end");
        assert_eq!((moved.get("/me").await.status, browser.get("/me").await.status), (401, 401));

        // Mail waits for the node that can read it. Each node first sends its own.
        strange.outbox().deliver_due().await.expect("the outbox is read");
        let sent = probe.mail().await.len();
        let body = json!({ "login": "alice" });
        assert_eq!(browser.post("/auth/password/forgot", body).await.status, 202);
        let delivered = strange.outbox().deliver_due().await.expect("the outbox is read");
        assert_eq!((delivered.sent, delivered.put_off, delivered.given_up), (0, 1, 0));
        probe.clock.advance(std::time::Duration::from_secs(60));
        assert_eq!(probe.mail().await.len(), sent + 1);
    }

    async fn every_write_that_touches_grants_moves_a_version(probe: Probe) {
        use portcullis::port::{HookFuture, SourceMembership};
        let mut probe = probe;
        let alice = probe.register("alice").await;
        let bob = probe.register("bob").await;
        probe.auth = probe.rebuilt(|builder| {
            builder.levels("doc", LEVELS).membership_source(
                |_| -> HookFuture<'static, Vec<SourceMembership>> {
                    Box::pin(async { Ok(vec![SourceMembership::new("doc", "9", "reader")]) })
                },
            )
        });
        let roles = probe.auth.roles();
        roles.create("editor", ["doc:read"]).await.expect("it is made");
        roles.create("doomed", ["doc:read"]).await.expect("it is made");

        // Which versions change: alice's version, the version of all authorization, and bob's
        // version.
        macro_rules! moves {
            ($what:literal, $work:expr, $expected:expr) => {{
                let (before, bobs) = (versions(&probe, "alice").await, versions(&probe, "bob").await);
                $work.await.expect($what);
                let (after, bobs_after) =
                    (versions(&probe, "alice").await, versions(&probe, "bob").await);
                let moved = (after.0 != before.0, after.1 != before.1, bobs_after.0 != bobs.0);
                assert_eq!(moved, $expected, $what);
            }};
        }
        let (account, epoch, nothing) = ((true, false, false), (false, true, false), (false, false, false));
        moves!("grant", roles.grant(alice.id(), "editor"), account);
        moves!("grant to another", roles.grant(bob.id(), "editor"), (false, false, true));
        moves!("revoke", roles.revoke(alice.id(), "editor"), account);
        moves!("set_permissions", roles.set_permissions("editor", ["admin"]), epoch);
        moves!("limit_idle", roles.limit_idle("editor", Some(std::time::Duration::from_secs(900))), epoch);
        moves!("delete", roles.delete("doomed"), epoch);
        moves!("create", roles.create("fresh", ["doc:read"]), epoch);
        let auth = &probe.auth;
        let list = Resource::new("doc", "7").expect("a resource");
        let direct = Permission::parse("doc:read").expect("a permission");
        moves!("grant_on", roles.grant_on(alice.id(), "editor", &list), account);
        moves!("revoke_on", roles.revoke_on(alice.id(), "editor", &list), account);
        moves!("permission", auth.permissions().grant(alice.id(), &direct), account);
        moves!("no permission", auth.permissions().revoke(alice.id(), &direct), account);
        moves!("group", auth.groups().create("staff"), nothing);
        moves!("join", auth.groups().join("staff", alice.id()), account);
        moves!("grant to group", auth.groups().grant("staff", "editor"), epoch);
        moves!("grant to group on", auth.groups().grant_on("staff", "editor", &list), epoch);
        moves!("revoke from group on", auth.groups().revoke_on("staff", "editor", &list), epoch);
        moves!("revoke from group", auth.groups().revoke("staff", "editor"), epoch);
        moves!("leave", auth.groups().leave("staff", alice.id()), account);
        moves!("delete group", auth.groups().delete("staff"), epoch);
        moves!("level", auth.memberships().grant(alice.id(), &list, "reader"), account);
        moves!("another level", auth.memberships().grant(alice.id(), &list, "keeper"), account);
        moves!("no level", auth.memberships().revoke(alice.id(), &list), account);
        moves!("a source that adds", auth.refresh_memberships(alice.id()), account);
        moves!("the same source", auth.refresh_memberships(alice.id()), nothing);
        // These similar calls change nobody's grants.
        moves!("memberships of", auth.memberships().of(alice.id()), nothing);
        moves!("memberships on", auth.memberships().on(&list), nothing);

        moves!("create again", roles.create("fresh", ["doc:read"]), nothing);
        moves!("find", roles.find("fresh"), nothing);
        moves!("list", roles.list(), nothing);
        moves!("of", roles.of(alice.id()), nothing);
        // Other changes of the account move its version too.
        moves!("verify", probe.auth.accounts().verify(alice.id()), account);

        // A failed change moves no version. So it cannot make other requests load their grants in
        // vain.
        let before = (versions(&probe, "alice").await, versions(&probe, "bob").await);
        assert!(roles.grant(alice.id(), "missing").await.is_err());
        assert!(roles.revoke(alice.id(), "missing").await.is_err());
        assert!(roles.set_permissions("missing", ["admin"]).await.is_err());
        assert!(roles.set_permissions("editor", ["admin:"]).await.is_err());
        assert!(roles.delete("missing").await.is_err());
        assert_eq!((versions(&probe, "alice").await, versions(&probe, "bob").await), before);
    }

    async fn a_write_that_is_rolled_back_moves_no_version(probe: Probe) {
        use sea_orm::TransactionTrait;
        let alice = probe.register("alice").await;
        probe.auth.roles().create("editor", ["doc:read"]).await.expect("it is made");
        let before = versions(&probe, "alice").await;
        let txn = probe.db.begin().await.expect("a transaction");
        let roles = probe.auth.roles().within(&txn);
        roles.grant(alice.id(), "editor").await.expect("it is granted");
        roles.set_permissions("editor", ["admin"]).await.expect("it is changed");
        txn.rollback().await.expect("it rolls back");
        assert_eq!(versions(&probe, "alice").await, before);
    }

    async fn after_any_change_at_any_node_every_node_decides_the_same_and_right(probe: Probe) {
        let (alice, browser) = probe.signed_in("alice").await;
        let (other, elsewhere) = node(&probe).await;
        let nodes = [probe.auth.clone(), other];
        let mut doors = [browser.clone(), at(&elsewhere, &browser)];
        let names = ["editor", "reader", "keeper"];
        // The expected content of the database: each role's permission, if there is one, and
        // whether alice has the role.
        let mut model = [(None::<u64>, false); 3];
        let mut numbers = Numbers(42);
        for step in 0..60 {
            let roles = nodes[numbers.below(2) as usize].roles();
            let which = numbers.below(3) as usize;
            let (name, permission) = (names[which], numbers.below(2));
            let text = ["admin:read", "doc:read"][permission as usize];
            let (is_there, _) = model[which];
            match numbers.below(5) {
                0 if is_there.is_none() => {
                    roles.create(name, [text]).await.expect("it is made");
                    model[which] = (Some(permission), false);
                }
                _ if is_there.is_none() => continue,
                0 | 1 => {
                    roles.grant(alice.id(), name).await.expect("it is granted");
                    model[which].1 = true;
                }
                2 => {
                    roles.revoke(alice.id(), name).await.expect("it is revoked");
                    model[which].1 = false;
                }
                3 => {
                    roles.set_permissions(name, [text]).await.expect("it is changed");
                    model[which].0 = Some(permission);
                }
                _ => {
                    roles.delete(name).await.expect("it is deleted");
                    model[which] = (None, false);
                }
            }
            let has = |wanted| model.iter().any(|(gives, held)| *held && *gives == Some(wanted));
            let status = |open| if open { 200 } else { 403 };
            let expected = (status(has(0)), status(has(1)), status(model[0].1));
            for (node, door) in doors.iter_mut().enumerate() {
                let decided = (
                    door.get("/admin").await.status,
                    door.get("/docs/1").await.status,
                    door.get("/editors").await.status,
                );
                assert_eq!(decided, expected, "step {step} at node {node}: {model:?}");
            }
        }
    }

    async fn a_restored_backup_brings_no_grants_of_the_time_after_it(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let (_, elsewhere) = node(&probe).await;
        let mut other = at(&elsewhere, &browser);
        let roles = probe.auth.roles();
        roles.create("editor", ["admin:read"]).await.expect("it is made");
        roles.create("reader", ["doc:read"]).await.expect("it is made");
        let backup = Backup::take(&probe).await;
        // Tests both ways in which grants change. After the restore there are as many changes as
        // before it, so counters would reach the same numbers.
        for (before, after) in [(Change::Grant("editor"), Change::Grant("reader")),
                                (Change::Role("admin:read"), Change::Role("doc:read"))] {
            for change in [&before, &after] {
                if matches!(change, Change::Role(_)) {
                    roles.grant(alice.id(), "reader").await.expect("it is granted");
                }
                change.make(&roles, alice.id()).await;
                let admin = change.opens_admin();
                for door in [&mut browser, &mut other] {
                    let decided = (door.get("/admin").await.status, door.get("/docs/1").await.status);
                    let expected = if admin { (200, 403) } else { (403, 200) };
                    assert_eq!(decided, expected, "{change:?}");
                }
                backup.restore(&probe).await;
                for door in [&mut browser, &mut other] {
                    let decided = (door.get("/admin").await.status, door.get("/docs/1").await.status);
                    assert_eq!(decided, (403, 403), "after {change:?}");
                }
            }
        }
        backup.forget(&probe).await;
    }

    async fn grants_loaded_while_they_change_are_never_kept_past_the_change(probe: Probe) {
        let (alice, browser) = probe.signed_in("alice").await;
        probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
        let (_, elsewhere) = node(&probe).await;
        let mut door = at(&elsewhere, &browser);
        // Requests run all the time, so that each change meets some that are just loading.
        let over = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (mut reader, over) = (door.clone(), Arc::clone(&over));
                tokio::spawn(async move {
                    while !over.load(Ordering::SeqCst) {
                        let status = reader.get("/admin").await.status;
                        assert!(status == 200 || status == 403, "{status}");
                    }
                })
            })
            .collect();
        let roles = probe.auth.roles();
        let mut wrong = Vec::new();
        for round in 0..30 {
            // Alternates between changes of the account's version and of the version of all
            // authorization.
            let status = match round % 4 {
                0 => { roles.grant(alice.id(), "editor").await.expect("it is granted"); 200 }
                1 => { roles.set_permissions("editor", ["doc"]).await.expect("it is changed"); 403 }
                2 => { roles.set_permissions("editor", ["admin"]).await.expect("it is changed"); 200 }
                _ => { roles.revoke(alice.id(), "editor").await.expect("it is revoked"); 403 }
            };
            let answered = door.get("/admin").await.status;
            if answered != status {
                wrong.push((round, answered));
            }
        }
        over.store(true, Ordering::SeqCst);
        for reader in readers {
            reader.await.expect("no reader was answered anything else");
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    async fn one_accounts_change_leaves_what_is_remembered_of_others(probe: Probe) {
        let (_, mut bob) = probe.signed_in("bob").await;
        let (alice, mut browser) = probe.signed_in("alice").await;
        probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
        for who in [&mut bob, &mut browser] {
            assert_eq!(who.get("/me").await.status, 200);
        }
        probe.auth.roles().grant(alice.id(), "editor").await.expect("it is granted");
        let (_, cost) = probe.statements(bob.get("/me")).await;
        assert_eq!(cost, 1, "bob's grants were not touched");
        let (_, cost) = probe.statements(browser.get("/me")).await;
        assert_eq!(cost, 2, "alice's are loaded anew");
        probe.auth.roles().set_permissions("editor", ["doc"]).await.expect("it is changed");
        for who in [&mut bob, &mut browser] {
            let (_, cost) = probe.statements(who.get("/me")).await;
            assert_eq!(cost, 2, "a role means something else to everyone");
        }
        let nobody: AccountId = "018f0000-0000-7000-8000-000000000000".parse().expect("an id");
        assert!(probe.auth.roles().grant(nobody, "editor").await.is_err());
        let (_, cost) = probe.statements(bob.get("/me")).await;
        assert_eq!(cost, 1);
    }
}
