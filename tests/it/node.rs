//! Several nodes on one database (P7, SES-07, SES-13, AZ-06): what one of them changes counts in
//! the next request at the other, though it remembers grants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis::account::NewAccount;
use portcullis::{AccountId, Portcullis};
use serde_json::json;

use crate::on_every_database;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

/// Another node: connections, memory and port of its own; database, clock and secret in common.
async fn node(probe: &Probe) -> (Portcullis, Browser) {
    let auth = Portcullis::builder(probe.database.connect().await)
        .clock(probe.clock.clone())
        .secret(probe.secret.clone())
        .configure(|config| {
            config.password.danger_cheap_hashing = true;
            config.password.memory_kib = 8;
            config.password.iterations = 1;
        })
        .build()
        .expect("the configuration is right");
    let browser = Browser::new(serve(app(&auth)).await);
    (auth, browser)
}

/// The same browser at another node.
fn at(node: &Browser, who: &Browser) -> Browser {
    let mut browser = node.clone();
    browser.cookie.clone_from(&who.cookie);
    browser
}

/// How far the versions are that remembered grants of this account are kept under.
async fn versions(probe: &Probe, username: &str) -> (i64, i64) {
    let version = format!("SELECT grants_version FROM auth_account WHERE username = '{username}'");
    (probe.number(&version).await, probe.number("SELECT epoch FROM auth_epoch").await)
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX; the low bits are poor, so the high ones are taken.
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

    async fn a_demoted_administrator_is_out_at_once_on_every_node(probe: Probe) {
        let root = probe.auth.bootstrap_admin(NewAccount::username("root")).await;
        let root = root.expect("the database answers").expect("an administrator");
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("root", root.password()).await.status, 200);
        let (_, other) = node(&probe).await;
        let mut other = at(&other, &browser);
        assert_eq!((browser.get("/admin").await.status, other.get("/admin").await.status), (200, 200));
        // The flag is a column of the account, read by the statement of each request.
        probe.execute("UPDATE auth_account SET superuser = FALSE").await;
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
                    // There and back, so that the next round signs in with the usual one.
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
        // A token is renewed at one node and used at the other.
        probe.clock.advance(std::time::Duration::from_secs(16 * 60));
        let answer = other.get("/me").await;
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 1));
        let mut back = at(&browser, &other);
        assert_eq!(back.get("/me").await.status, 200);
    }

    async fn every_write_that_touches_grants_moves_a_version(probe: Probe) {
        let alice = probe.register("alice").await;
        let bob = probe.register("bob").await;
        let roles = probe.auth.roles();
        roles.create("editor", ["doc:read"]).await.expect("it is made");
        roles.create("doomed", ["doc:read"]).await.expect("it is made");

        // What moves: alice's version, the epoch, bob's version.
        macro_rules! moves {
            ($what:literal, $work:expr, $expected:expr) => {{
                let (before, bobs) = (versions(&probe, "alice").await, versions(&probe, "bob").await);
                $work.await.expect($what);
                let (after, bobs_after) =
                    (versions(&probe, "alice").await, versions(&probe, "bob").await);
                let moved = (after.0 > before.0, after.1 > before.1, bobs_after.0 > bobs.0);
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
        // And the neighbours that change nobody's grants.
        moves!("create", roles.create("fresh", ["doc:read"]), nothing);
        moves!("create again", roles.create("fresh", ["doc:read"]), nothing);
        moves!("find", roles.find("fresh"), nothing);
        moves!("list", roles.list(), nothing);
        moves!("of", roles.of(alice.id()), nothing);
        moves!("verify", probe.auth.accounts().verify(alice.id()), nothing);

        // A change that fails moves nothing, so it cannot make others load for nothing either.
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
        // What the database should hold: each role's permission, if there is one, and its holder.
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

    async fn grants_loaded_while_they_change_are_never_kept_past_the_change(probe: Probe) {
        let (alice, browser) = probe.signed_in("alice").await;
        probe.auth.roles().create("editor", ["admin:read"]).await.expect("it is made");
        let (_, elsewhere) = node(&probe).await;
        let mut door = at(&elsewhere, &browser);
        // Requests all the time, so that each change meets some that are just loading.
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
            // By turns through the account's version and through the epoch.
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
