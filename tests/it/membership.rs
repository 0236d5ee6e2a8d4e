//! Levels on resources, and the source that computes them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis::permission::{GrantError, MembershipOrigin, Refreshed, Resource};
use portcullis::port::{HookFuture, MembershipSource, SourceMembership};
use portcullis::{Account, AccountId, Identity, Instances, Permission, Portcullis, Problem};
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
use serde_json::json;
use tokio::sync::Notify;

use crate::on_every_database;
use crate::support::log::Log;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

const LEVELS: [&str; 3] = ["viewer", "editor", "owner"];

/// The application's own tables as a source.
#[derive(Clone, Default)]
struct Tables(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rows: Mutex<Rows>,
    asked: AtomicUsize,
    /// If set, a computed answer waits for this before it is returned.
    gate: Mutex<Option<Arc<Notify>>>,
    computed: Notify,
}

#[derive(Default, Clone)]
enum Rows {
    #[default]
    Nothing,
    These(Vec<SourceMembership>),
    Fails,
    NeverAnswers,
    /// Writes to the database before it answers.
    Writes(DatabaseConnection),
}

impl Tables {
    fn say(&self, rows: &[(&str, &str, &str)]) {
        let rows =
            rows.iter().map(|(resource, id, level)| SourceMembership::new(*resource, *id, *level));
        self.become_(Rows::These(rows.collect()));
    }

    fn become_(&self, rows: Rows) {
        *self.0.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }
}

impl MembershipSource for Tables {
    fn memberships(&self, _: AccountId) -> HookFuture<'_, Vec<SourceMembership>> {
        Box::pin(async move {
            self.0.asked.fetch_add(1, Ordering::SeqCst);
            let rows = self.0.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(gate) = gate {
                self.0.computed.notify_one();
                gate.notified().await;
            }
            match rows {
                Rows::Nothing => Ok(Vec::new()),
                Rows::These(rows) => Ok(rows),
                Rows::Fails => Err("the table of lists is away".into()),
                Rows::NeverAnswers => std::future::pending().await,
                Rows::Writes(db) => {
                    db.execute_unprepared("UPDATE auth_epoch SET epoch = epoch + 1").await?;
                    Ok(vec![SourceMembership::new("list", "1", "viewer")])
                }
            }
        })
    }
}

/// Configures levels on lists and documents.
fn with_levels(probe: Probe) -> Probe {
    probe.configured(|config| {
        let levels = LEVELS.map(str::to_owned).to_vec();
        config.permission.levels.insert("list".to_owned(), levels);
        config.permission.levels.insert("doc".to_owned(), vec!["reader".to_owned()]);
    })
}

/// Adds a source too.
fn with_source(mut probe: Probe) -> (Probe, Tables) {
    let tables = Tables::default();
    let source = tables.clone();
    probe.auth = probe.rebuilt(|builder| {
        builder.levels("list", LEVELS).levels("doc", ["reader"]).membership_source(source)
    });
    (probe, tables)
}

fn resource(domain: &str, id: &str) -> Resource {
    Resource::new(domain, id).expect("a resource")
}

/// Returns what an identity has: its roles, whether it has a permission, and on which ids.
fn asking(auth: &Portcullis) -> axum::Router {
    use axum::extract::Path;
    use axum::routing::get;
    axum::Router::new()
        .route(
            "/roles",
            get(|identity: Identity| async move {
                let roles = identity.grants().roles().iter();
                let roles: Vec<_> = roles.filter(|role| identity.has_role(role)).cloned().collect();
                roles.join(" ")
            }),
        )
        .route(
            "/may/{permission}",
            get(|identity: Identity, Path(text): Path<String>| async move {
                let asked = portcullis::Requirement::permission(&text).expect("a permission");
                identity.meets(&asked).to_string()
            }),
        )
        .route(
            "/is/{role}",
            get(|identity: Identity, Path(role): Path<String>| async move {
                identity.meets(&portcullis::Requirement::role(role)).to_string()
            }),
        )
        .route(
            "/which/{permission}",
            get(|identity: Identity, Path(text): Path<String>| async move {
                match identity.instances(&*text) {
                    Instances::All => "all".to_owned(),
                    Instances::Only(ids) => ids.into_iter().collect::<Vec<_>>().join(" "),
                }
            }),
        )
        .nest("/auth", auth.routes())
        .layer(auth.layer())
}

async fn browser(probe: &Probe) -> Browser {
    Browser::new(serve(asking(&probe.auth)).await)
}

async fn signed_in(probe: &Probe, name: &str) -> (Account, Browser) {
    let account = probe.register(name).await;
    let mut browser = browser(probe).await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    (account, browser)
}

async fn roles(browser: &mut Browser) -> String {
    browser.get("/roles").await.text
}

async fn may(browser: &mut Browser, permission: &str) -> bool {
    browser.get(&format!("/may/{permission}")).await.text == "true"
}

async fn events(probe: &Probe, kind: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

/// Returns the stored memberships of an account: resource, id, level and origin.
async fn stored(probe: &Probe, account: AccountId) -> Vec<String> {
    let memberships = probe.auth.memberships().of(account).await.expect("it answers");
    let line = |m: &portcullis::permission::Membership| {
        format!("{}:{}:{}:{}", m.resource.domain(), m.resource.id(), m.level, m.origin.as_str())
    };
    memberships.iter().map(line).collect()
}

on_every_database! {
    async fn a_long_list_of_the_users_own_memberships_comes_in_pages(probe: Probe) {
        let probe = with_levels(probe);
        let (alice, browser) = probe.signed_in("alice").await;
        for number in 0..130 {
            let list = Resource::new("list", &number.to_string()).expect("a resource");
            probe.auth.memberships().grant(alice.id(), &list, "viewer").await.expect("it is given");
        }
        let app = axum::Router::new()
            .nest("/auth", portcullis::membership::routes(&probe.auth))
            .layer(probe.auth.layer());
        let mut browser = browser.at(crate::support::probe::serve(app).await);
        let first = browser.get("/auth/memberships?resource=list").await.json();
        let next = first["next"].as_str().expect("there are more").to_owned();
        let second =
            browser.get(&format!("/auth/memberships?resource=list&after={next}")).await.json();
        assert!(second.get("next").is_none());
        let ids = |page: &serde_json::Value| -> Vec<String> {
            let list = page["memberships"].as_array().expect("a list").iter();
            list.map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
        };
        let mut all = [ids(&first), ids(&second)].concat();
        assert_eq!((ids(&first).len(), all.len()), (100, 130));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 130);
    }

    async fn a_level_gives_itself_and_those_below_on_its_resource_and_nowhere_else(probe: Probe) {
        let probe = with_levels(probe);
        let manage = probe.auth.roles();
        manage.create("viewer", ["list:read", "doc:read"]).await.expect("a role");
        manage.create("editor", ["list:edit", "*", "list:read:9"]).await.expect("a role");
        manage.create("owner", ["list"]).await.expect("a role");
        let (alice, mut browser) = signed_in(&probe, "alice").await;
        let (_, mut neighbour) = signed_in(&probe, "bob").await;
        assert_eq!(roles(&mut browser).await, "");

        let memberships = probe.auth.memberships();
        let seven = resource("list", "7");
        memberships.grant(alice.id(), &seven, "editor").await.expect("it is given");
        assert_eq!(roles(&mut browser).await, "list-7-editor list-7-viewer");
        for (asked, given) in [
            ("list:read:7", true),
            ("list:edit:7", true),
            ("list:delete:7", false),
            ("list:read:8", false),
            ("list:read:9", false),
            ("list:read", false),
            ("doc:read:7", false),
            ("any:thing", false),
        ] {
            assert_eq!(may(&mut browser, asked).await, given, "{asked}");
        }
        for (role, has) in
            [("list-7-editor", true), ("list-7-viewer", true), ("list-7-owner", false), ("editor", false)]
        {
            assert_eq!(browser.get(&format!("/is/{role}")).await.text, has.to_string(), "{role}");
        }
        assert_eq!(browser.get("/which/list:edit").await.text, "7");
        assert_eq!(roles(&mut neighbour).await, "");
        assert!(!may(&mut neighbour, "list:read:7").await);

        // Another level replaces the level, higher or lower.
        memberships.grant(alice.id(), &seven, "owner").await.expect("it is raised");
        assert!(may(&mut browser, "list:delete:7").await);
        assert_eq!(stored(&probe, alice.id()).await, ["list:7:owner:hand"]);
        memberships.grant(alice.id(), &seven, "viewer").await.expect("it is lowered");
        memberships.grant(alice.id(), &seven, "viewer").await.expect("again changes nothing");
        assert_eq!(roles(&mut browser).await, "list-7-viewer");
        assert!(!may(&mut browser, "list:edit:7").await && may(&mut browser, "list:read:7").await);
        assert_eq!(events(&probe, "membership_granted").await, 3);

        // The role with the name of the level can be changed or deleted. The level stays.
        manage.set_permissions("viewer", ["list:look"]).await.expect("it is changed");
        assert!(may(&mut browser, "list:look:7").await && !may(&mut browser, "list:read:7").await);
        manage.delete("viewer").await.expect("it is deleted");
        assert!(!may(&mut browser, "list:look:7").await);
        assert_eq!(roles(&mut browser).await, "list-7-viewer");

        let holders = memberships.on(&seven).await.expect("it answers");
        assert_eq!(holders.iter().map(|m| m.account_id).collect::<Vec<_>>(), [alice.id()]);
        assert_eq!(holders[0].origin, MembershipOrigin::Hand);
        assert!(memberships.on(&resource("list", "8")).await.expect("it answers").is_empty());
        memberships.revoke(alice.id(), &resource("list", "8")).await.expect("nothing to take");
        memberships.revoke(alice.id(), &seven).await.expect("it is taken");
        memberships.revoke(alice.id(), &seven).await.expect("again changes nothing");
        assert_eq!(roles(&mut browser).await, "");
        assert_eq!(events(&probe, "membership_revoked").await, 1);
    }

    async fn the_same_when_nothing_is_remembered(probe: Probe) {
        let probe = with_levels(probe);
        probe.auth.roles().create("viewer", ["list:read"]).await.expect("a role");
        probe.auth.roles().create("other", ["doc:read"]).await.expect("a role");
        let (alice, mut browser) = signed_in(&probe, "alice").await;
        let memberships = probe.auth.memberships();
        memberships.grant(alice.id(), &resource("list", "7"), "editor").await.expect("it is given");
        probe.auth.roles().grant(alice.id(), "other").await.expect("it is granted");
        probe.auth.permissions().grant(alice.id(), &Permission::parse("a:b").expect("a permission"))
            .await.expect("it is granted");
        let forgetful = probe.rebuilt(|builder| {
            builder
                .configure(|config| config.database.remembered_grants = 0)
                .levels("list", LEVELS)
        });
        browser.address = serve(asking(&forgetful)).await;
        assert_eq!(roles(&mut browser).await, "list-7-editor list-7-viewer other");
        for (asked, given) in
            [("list:read:7", true), ("list:read:8", false), ("doc:read:1", true), ("a:b", true), ("a:c", false)]
        {
            assert_eq!(may(&mut browser, asked).await, given, "{asked}");
        }
        let (_, statements) = probe.statements(browser.get("/roles")).await;
        assert_eq!(statements, 1);
    }

    async fn a_level_that_is_not_configured_can_be_neither_given_nor_counted(probe: Probe) {
        let mut probe = with_levels(probe);
        let (alice, mut browser) = signed_in(&probe, "alice").await;
        let memberships = probe.auth.memberships();
        for (domain, level) in
            [("list", "reader"), ("list", "Owner"), ("list", ""), ("list", "owner "), ("thing", "owner"), ("doc", "owner")]
        {
            let refused = memberships.grant(alice.id(), &resource(domain, "7"), level).await;
            let Err(error @ GrantError::UnknownLevel) = refused else { panic!("{domain} {level}: {refused:?}") };
            assert_eq!((error.status().as_u16(), error.code()), (422, "unknown_level"));
        }
        memberships.grant(alice.id(), &resource("list", "7"), "owner").await.expect("it is given");
        memberships.grant(alice.id(), &resource("doc", "7"), "reader").await.expect("it is given");
        let nobody: AccountId = "018f0000-0000-7000-8000-000000000000".parse().expect("an id");
        let refused = memberships.grant(nobody, &resource("list", "7"), "owner").await;
        assert!(matches!(refused, Err(GrantError::AccountNotFound)), "{refused:?}");
        let refused = memberships.revoke(nobody, &resource("list", "7")).await;
        assert!(matches!(refused, Err(GrantError::AccountNotFound)), "{refused:?}");
        assert_eq!(roles(&mut browser).await, "doc-7-reader list-7-editor list-7-owner list-7-viewer");

        // The configuration no longer has the level. The stored membership stays, but gives
        // nothing.
        probe.auth = probe.rebuilt(|builder| builder.levels("list", ["viewer", "editor"]));
        browser.address = serve(asking(&probe.auth)).await;
        assert_eq!(roles(&mut browser).await, "");
        assert_eq!(stored(&probe, alice.id()).await, ["doc:7:reader:hand", "list:7:owner:hand"]);
        // Without any level, memberships are not even read.
        browser.address = serve(asking(&probe.rebuilt(|builder| builder))).await;
        assert_eq!(roles(&mut browser).await, "");
        // Another order changes which level is higher.
        let turned = probe.rebuilt(|builder| builder.levels("list", ["owner", "editor", "viewer"]));
        browser.address = serve(asking(&turned)).await;
        assert_eq!(roles(&mut browser).await, "list-7-owner");
    }

    async fn no_name_made_of_an_id_or_of_a_role_passes_for_a_level(probe: Probe) {
        let probe = with_levels(probe);
        let (alice, mut browser) = signed_in(&probe, "alice").await;
        let memberships = probe.auth.memberships();
        // Ids may contain a dash, as UUIDs do.
        for id in ["7-owner", "-", "a-b-c", "018f0000-0000-7000-8000-000000000000", "ключ"] {
            memberships.grant(alice.id(), &resource("list", id), "viewer").await.expect("it is given");
        }
        let mut expected: Vec<_> = ["-", "018f0000-0000-7000-8000-000000000000", "7-owner", "a-b-c", "ключ"]
            .map(|id| format!("list-{id}-viewer"))
            .to_vec();
        expected.sort();
        assert_eq!(roles(&mut browser).await, expected.join(" "));
        for role in ["list-7-owner", "list-7-viewer", "list-a-viewer", "list--viewer"] {
            assert_eq!(browser.get(&format!("/is/{role}")).await.text, "false", "{role}");
        }
        for id in ["", "a:b", "a,b", "*", "a b", "a\n", "\u{200b}", &"x".repeat(129)] {
            assert!(Resource::new("list", id).is_err(), "{id:?}");
        }

        // A role with such a name cannot be created.
        let manage = probe.auth.roles();
        for name in ["list-7-owner", "list-a-b-viewer", "doc-x-reader"] {
            let refused = manage.create(name, ["doc:read"]).await;
            let Err(error @ GrantError::ReservedName) = refused else { panic!("{name}: {refused:?}") };
            assert_eq!((error.status().as_u16(), error.code()), (422, "reserved_name"));
        }
        for name in ["list-owner", "list-7-reader", "lists-7-owner", "list-7-owners"] {
            manage.create(name, ["doc:read"]).await.expect("nothing is named so");
        }
        // A role with such a name can exist from before the levels were configured. It is not found
        // under this name.
        let before = probe.rebuilt(|builder| builder);
        before.roles().create("list-7-owner", ["doc:read"]).await.expect("no level is configured");
        before.roles().grant(alice.id(), "list-7-owner").await.expect("it is granted");
        assert_eq!(browser.get("/is/list-7-owner").await.text, "false");
        assert!(may(&mut browser, "doc:read").await, "what it gives is given");
        assert!(!roles(&mut browser).await.contains("list-7-owner "));
    }

    async fn what_the_source_says_is_stored_at_sign_in_and_by_refresh_and_never_asked_by_a_request(probe: Probe) {
        let (probe, tables) = with_source(probe);
        probe.auth.roles().create("editor", ["list:edit"]).await.expect("a role");
        tables.say(&[("list", "1", "viewer"), ("list", "2", "editor")]);
        let (alice, mut browser) = signed_in(&probe, "alice").await;
        // One call at the registration, and one at the sign-in.
        assert_eq!(tables.asked(), 2);
        assert_eq!(roles(&mut browser).await, "list-1-viewer list-2-editor list-2-viewer");
        assert!(may(&mut browser, "list:edit:2").await && !may(&mut browser, "list:edit:1").await);
        let memberships = probe.auth.memberships();
        memberships.grant(alice.id(), &resource("list", "1"), "editor").await.expect("it is given");
        memberships.grant(alice.id(), &resource("list", "9"), "viewer").await.expect("it is given");

        // One membership added, one raised and one removed. The memberships that were given by hand
        // stay.
        tables.say(&[("list", "1", "owner"), ("doc", "3", "reader")]);
        for _ in 0..5 {
            assert!(!roles(&mut browser).await.contains("owner"), "no request asks the source");
        }
        for path in ["/auth/session", "/auth/sessions", "/auth/memberships"] {
            assert_eq!(browser.get(path).await.status, 200);
        }
        probe.clock.advance(Duration::from_secs(60));
        assert_eq!(browser.post_empty("/auth/session/refresh").await.status, 200);
        let again = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(again.status, 200);
        assert_eq!(browser.stranger().login("alice", "wrong horse battery staple").await.status, 401);
        assert_eq!(tables.asked(), 2);

        let answer = browser.post_empty("/auth/memberships/refresh").await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "added": 2, "removed": 2 })));
        assert_eq!(tables.asked(), 3);
        assert_eq!(
            stored(&probe, alice.id()).await,
            ["doc:3:reader:source", "list:1:editor:hand", "list:1:owner:source", "list:9:viewer:hand"]
        );
        let owner = "doc-3-reader list-1-editor list-1-owner list-1-viewer list-9-viewer";
        assert_eq!(roles(&mut browser).await, owner);
        let answer = browser.post_empty("/auth/memberships/refresh").await;
        assert_eq!(answer.json(), json!({ "added": 0, "removed": 0 }));

        // A revocation by hand removes only memberships that were given by hand.
        memberships.revoke(alice.id(), &resource("list", "1")).await.expect("it is taken");
        memberships.revoke(alice.id(), &resource("doc", "3")).await.expect("nothing to take");
        assert_eq!(roles(&mut browser).await, owner);
        tables.say(&[]);
        assert_eq!(probe.auth.refresh_memberships(alice.id()).await.expect("it answers"),
            Refreshed::Changed { added: 0, removed: 2 });
        assert_eq!(roles(&mut browser).await, "list-9-viewer");
        assert_eq!(events(&probe, "memberships_refreshed").await, 3);
    }

    async fn every_way_that_ends_in_a_session_asks_the_source_once(probe: Probe) {
        let (probe, tables) = with_source(probe);
        tables.say(&[("list", "1", "viewer")]);
        let mut browser = browser(&probe).await;
        let carol = json!({ "username": "carol", "password": PASSWORD });
        assert_eq!(browser.post("/auth/register", carol).await.status, 201);
        assert_eq!((tables.asked(), roles(&mut browser).await.as_str()), (1, "list-1-viewer"));

        tables.say(&[("list", "2", "viewer")]);
        let mut second = browser.stranger();
        assert_eq!(second.login("carol", PASSWORD).await.status, 200);
        assert_eq!((tables.asked(), roles(&mut second).await.as_str()), (2, "list-2-viewer"));
        assert_eq!(roles(&mut browser).await, "list-2-viewer", "the account's other session sees it too");

        // An unfinished sign-in does not call the source. Its last step does.
        let carol = probe.auth.accounts().find_by_login("carol").await.expect("it answers").expect("carol");
        probe.auth.accounts().require_password_change(carol.id()).await.expect("it is set");
        tables.say(&[("list", "3", "viewer")]);
        let mut third = browser.stranger();
        assert_eq!(third.login("carol", PASSWORD).await.status, 200);
        assert_eq!(tables.asked(), 2);
        let change = json!({ "new_password": "another long password" });
        assert_eq!(third.put("/auth/password", change).await.status, 200);
        assert_eq!((tables.asked(), roles(&mut third).await.as_str()), (3, "list-3-viewer"));
    }

    async fn a_source_that_fails_or_never_answers_keeps_nobody_out_and_takes_nothing_away(probe: Probe) {
        let (mut probe, tables) = with_source(probe);
        tables.say(&[("list", "1", "viewer")]);
        let (alice, mut browser) = signed_in(&probe, "alice").await;
        let source = tables.clone();
        probe.auth = probe.rebuilt(|builder| {
            builder
                .levels("list", LEVELS)
                .membership_source(source)
                .configure(|config| config.permission.source_timeout = Duration::from_millis(20))
        });
        browser.address = serve(asking(&probe.auth)).await;
        for rows in [Rows::Fails, Rows::NeverAnswers] {
            tables.become_(rows);
            let mut other = browser.stranger();
            assert_eq!(other.login("alice", PASSWORD).await.status, 200);
            assert_eq!(roles(&mut other).await, "list-1-viewer");
            let answer = other.post_empty("/auth/memberships/refresh").await;
            assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
            assert!(!answer.text.contains("lists"), "the source's own words are for the log");
            assert_eq!(other.get("/roles").await.status, 200, "nobody is signed out by it");
        }
        assert_eq!(stored(&probe, alice.id()).await, ["list:1:viewer:source"]);
        tables.say(&[("list", "1", "owner")]);
        assert_eq!(browser.post_empty("/auth/memberships/refresh").await.status, 200);
        assert_eq!(roles(&mut browser).await, "list-1-editor list-1-owner list-1-viewer");
    }

    async fn what_a_source_says_beyond_the_grammar_or_the_levels_gives_nothing(probe: Probe) {
        let (probe, tables) = with_source(probe);
        let (alice, mut browser) = signed_in(&probe, "alice").await;
        let long = "x".repeat(129);
        tables.say(&[
            ("list", "1", "viewer"),
            ("list", "*", "owner"),
            ("list", "1,2", "owner"),
            ("list", "a:b", "owner"),
            ("list", "", "owner"),
            ("list", "a b", "owner"),
            ("list", &long, "owner"),
            ("list", "2", "admin"),
            ("list", "2", ""),
            ("", "2", "owner"),
            ("*", "2", "owner"),
            ("li-st", "2", "owner"),
            ("doc", "2", "owner"),
            // The same resource with two levels: the higher level counts, in any order.
            ("list", "3", "owner"),
            ("list", "3", "viewer"),
            ("list", "4", "viewer"),
            ("list", "4", "editor"),
            ("list", "4", "editor"),
        ]);
        let refreshed = probe.auth.refresh_memberships(alice.id()).await.expect("it answers");
        assert_eq!(refreshed, Refreshed::Changed { added: 3, removed: 0 });
        assert_eq!(
            stored(&probe, alice.id()).await,
            ["list:1:viewer:source", "list:3:owner:source", "list:4:editor:source"]
        );
        assert!(!may(&mut browser, "list:read").await);

        // As many memberships as one account may have, and then more.
        let many = |count: usize| {
            let rows = (0..count).map(|id| SourceMembership::new("list", id.to_string(), "viewer"));
            Rows::These(rows.collect())
        };
        tables.become_(many(1_000));
        let refreshed = probe.auth.refresh_memberships(alice.id()).await.expect("it answers");
        assert_eq!(refreshed, Refreshed::Changed { added: 999, removed: 2 });
        tables.become_(many(10_001));
        let refused = probe.auth.refresh_memberships(alice.id()).await;
        assert!(matches!(&refused, Err(error) if error.code() == "unavailable"), "{refused:?}");
        assert_eq!(stored(&probe, alice.id()).await.len(), 1_000);
        tables.say(&[("list", "5", "viewer")]);
        let refreshed = probe.auth.refresh_memberships(alice.id()).await.expect("it answers");
        assert_eq!(refreshed, Refreshed::Changed { added: 0, removed: 999 });
        assert_eq!(roles(&mut browser).await, "list-5-viewer");
        let nobody: AccountId = "018f0000-0000-7000-8000-000000000000".parse().expect("an id");
        let refused = probe.auth.refresh_memberships(nobody).await;
        assert!(matches!(refused, Err(GrantError::AccountNotFound)), "{refused:?}");
    }

    async fn an_old_answer_never_brings_back_what_was_taken_away(probe: Probe) {
        let (probe, tables) = with_source(probe);
        let alice = probe.register("alice").await;
        for (before, after) in [("owner", "viewer"), ("viewer", "owner")] {
            tables.say(&[("list", "1", before), ("list", "2", before)]);
            let gate = Arc::new(Notify::new());
            *tables.0.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&gate));
            let slow = tokio::spawn({
                let (auth, id) = (probe.auth.clone(), alice.id());
                async move { auth.refresh_memberships(id).await }
            });
            // Its answer is computed but not yet returned. Now the tables change, and another
            // refresh runs.
            tables.0.computed.notified().await;
            tables.say(&[("list", "1", after)]);
            probe.auth.refresh_memberships(alice.id()).await.expect("it answers");
            gate.notify_one();
            let slow = slow.await.expect("it ends").expect("it answers");
            assert_eq!(slow, Refreshed::Superseded);
            assert_eq!(stored(&probe, alice.id()).await, [format!("list:1:{after}:source")]);
        }
    }

    async fn sixteen_refreshes_at_once_store_one_answer(probe: Probe) {
        let (probe, tables) = with_source(probe);
        let alice = portcullis::account::NewAccount::username("alice");
        let alice = probe.auth.accounts().create(alice).await.expect("an account").id();
        tables.say(&[("list", "1", "viewer"), ("list", "2", "owner"), ("doc", "1", "reader")]);
        // The first refreshes of this account, all at the same time.
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16 {
            let auth = probe.auth.clone();
            tasks.spawn(async move {
                if number % 4 == 3 {
                    let list = resource("list", "9");
                    auth.memberships().grant(alice, &list, "viewer").await.expect("it is given");
                } else {
                    auth.refresh_memberships(alice).await.expect("it answers");
                }
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.expect("no task fails");
        }
        assert_eq!(
            stored(&probe, alice).await,
            ["doc:1:reader:source", "list:1:viewer:source", "list:2:owner:source", "list:9:viewer:hand"]
        );
        assert_eq!(events(&probe, "memberships_refreshed").await, 1);
        assert_eq!(events(&probe, "membership_granted").await, 1);
    }

    async fn the_source_is_asked_outside_of_every_transaction(probe: Probe) {
        let (probe, tables) = with_source(probe);
        // The source writes with its own connection. If a writing transaction of portcullis were
        // open, it would have to wait.
        tables.become_(Rows::Writes(probe.database.connect().await));
        let (_, mut browser) = signed_in(&probe, "alice").await;
        assert_eq!(browser.post_empty("/auth/memberships/refresh").await.status, 200);
        assert_eq!(roles(&mut browser).await, "list-1-viewer");
    }

    async fn users_see_their_own_memberships_as_far_as_they_count(probe: Probe) {
        let (probe, tables) = with_source(probe);
        tables.say(&[("list", "1", "editor")]);
        let (alice, mut browser) = signed_in(&probe, "alice").await;
        tables.say(&[]);
        let (_, mut neighbour) = signed_in(&probe, "bob").await;
        let memberships = probe.auth.memberships();
        memberships.grant(alice.id(), &resource("doc", "1"), "reader").await.expect("it is given");
        memberships.grant(alice.id(), &resource("list", "2"), "viewer").await.expect("it is given");
        let first = json!({ "resource": "list", "id": "1", "level": "editor", "levels": ["viewer", "editor"], "origin": "source" });
        let answer = browser.get("/auth/memberships?resource=list&id=1").await;
        assert_eq!(answer.json(), json!({ "memberships": [first] }));
        for (query, count) in [
            ("", 3),
            ("?", 3),
            ("?resource=list", 2),
            ("?id=1", 2),
            ("?resource=doc&id=2", 0),
            ("?resource=%2A", 0),
            ("?resource=list&id=%00", 0),
        ] {
            let answer = browser.get(&format!("/auth/memberships{query}")).await;
            assert_eq!(answer.status, 200, "{query}");
            assert_eq!(answer.json()["memberships"].as_array().map(Vec::len), Some(count), "{query}");
            let answer = neighbour.get(&format!("/auth/memberships{query}")).await;
            assert_eq!(answer.json(), json!({ "memberships": [] }), "{query}");
        }
        for query in ["?account=alice", "?resource=list&resource=doc", "?resource"] {
            let answer = browser.get(&format!("/auth/memberships{query}")).await;
            if query == "?resource" {
                assert_eq!(answer.json(), json!({ "memberships": [] }));
            } else {
                assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_body"), "{query}");
            }
        }
        let mut stranger = browser.stranger();
        assert_eq!(stranger.get("/auth/memberships").await.status, 401);
        assert_eq!(stranger.post_empty("/auth/memberships/refresh").await.status, 401);
        let asked = tables.asked();
        let elsewhere = browser
            .raw(reqwest::Method::POST, "/auth/memberships/refresh")
            .header("cookie", format!("{}={}", crate::support::browser::COOKIE, browser.cookie.clone().expect("a cookie")))
            .header("sec-fetch-site", "cross-site");
        let answer = crate::support::browser::send(elsewhere).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "cross_site_request"));
        assert_eq!(tables.asked(), asked);

        // A session with a ceiling sees only what its ceiling covers.
        let client = portcullis::ClientInfo::default();
        let ceiling = Permission::parse("role:list-1-viewer").expect("a permission");
        let issued = probe.auth.sessions().start(&alice, &client).ceiling([ceiling]).await.expect("it starts");
        let cookie = crate::support::call::cookie_of(&issued);
        let mut limited = browser.with_cookie(cookie.split_once('=').expect("a value").1);
        let answer = limited.get("/auth/memberships").await.json();
        assert_eq!(answer["memberships"].as_array().map(Vec::len), Some(1));
        assert_eq!(answer["memberships"][0]["levels"], json!(["viewer"]));
        assert_eq!(roles(&mut limited).await, "list-1-viewer");
    }

    async fn the_routes_are_there_where_a_source_is_set_or_they_are_mounted_by_hand(probe: Probe) {
        let mut probe = with_levels(probe);
        let (_, mut browser) = signed_in(&probe, "alice").await;
        assert_eq!(browser.get("/auth/memberships").await.status, 404);
        let by_hand = axum::Router::new()
            .nest("/auth", portcullis::membership::routes(&probe.auth))
            .layer(probe.auth.layer());
        browser.address = serve(by_hand).await;
        assert_eq!(browser.get("/auth/memberships").await.status, 200);
        // Without a source a refresh does nothing.
        let answer = browser.post_empty("/auth/memberships/refresh").await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "added": 0, "removed": 0 })));
        assert_eq!(browser.post("/auth/memberships", json!({})).await.status, 405);
        probe.auth = probe.rebuilt(|builder| builder.membership_source(Tables::default()));
        browser.address = serve(app(&probe.auth)).await;
        assert_eq!(browser.get("/auth/memberships").await.status, 200);
    }

    async fn an_outage_of_the_tables_is_never_a_denial(probe: Probe) {
        let (probe, tables) = with_source(probe);
        tables.say(&[("list", "1", "viewer")]);
        let (alice, mut browser) = signed_in(&probe, "alice").await;
        // The table that orders the refreshes is missing. A sign-in continues with the stored
        // memberships.
        probe.execute("ALTER TABLE auth_membership_turn RENAME TO auth_membership_turn_away").await;
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        assert_eq!(roles(&mut other).await, "list-1-viewer");
        assert_eq!(other.post_empty("/auth/memberships/refresh").await.status, 503);
        probe.execute("ALTER TABLE auth_membership_turn_away RENAME TO auth_membership_turn").await;

        // The memberships cannot be read. A request that needs them gets a 503.
        probe.auth.roles().create("any", ["a:b"]).await.expect("a role");
        probe.auth.roles().grant(alice.id(), "any").await.expect("it is granted");
        probe.execute("ALTER TABLE auth_membership RENAME TO auth_membership_away").await;
        let answer = browser.get("/is/list-1-viewer").await;
        assert_eq!((answer.status, answer.set_cookies().len()), (503, 0));
        probe.execute("ALTER TABLE auth_membership_away RENAME TO auth_membership").await;
        assert_eq!(browser.get("/is/list-1-viewer").await.text, "true");
    }

    async fn what_the_callers_transaction_rolls_back_was_never_given(probe: Probe) {
        let probe = with_levels(probe);
        let (alice, mut browser) = signed_in(&probe, "alice").await;
        for (commit, expected) in [(false, ""), (true, "list-7-viewer")] {
            let txn = probe.db.begin().await.expect("a transaction");
            let memberships = probe.auth.memberships().within(&txn);
            memberships.grant(alice.id(), &resource("list", "7"), "viewer").await.expect("it is given");
            assert_eq!(memberships.of(alice.id()).await.expect("it answers").len(), 1);
            match commit {
                true => txn.commit().await.expect("it commits"),
                false => txn.rollback().await.expect("it rolls back"),
            }
            assert_eq!(roles(&mut browser).await, expected);
        }
    }

    async fn many_levels_are_each_listed(probe: Probe) {
        let (probe, tables) = with_source(probe);
        probe.auth.roles().create("editor", ["list:edit"]).await.expect("a role");
        let rows = (0..300).map(|id| {
            SourceMembership::new("list", id.to_string(), if id % 2 == 0 { "editor" } else { "viewer" })
        });
        tables.become_(Rows::These(rows.collect()));
        let (_, mut browser) = signed_in(&probe, "alice").await;
        let listed = browser.get("/which/list:edit").await.text;
        let listed: BTreeSet<u32> = listed.split(' ').map(|id| id.parse().expect("a number")).collect();
        assert_eq!(listed, (0..300).step_by(2).collect());
        assert_eq!(browser.get("/which/list:delete").await.text, "");
        assert_eq!(browser.get("/which/list::").await.text, "", "what is no permission is given nowhere");
    }
}

#[tokio::test]
async fn a_failing_source_is_told_to_the_operator_and_not_to_the_client() {
    let database = crate::support::Database::new(crate::support::Backend::Sqlite).await;
    let db = database.connect().await;
    let tables = Tables::default();
    tables.become_(Rows::Fails);
    let auth = Portcullis::builder(db)
        .secret(portcullis::Secret::generate())
        .configure(|config| {
            config.password.danger_cheap_hashing = true;
            config.password.memory_kib = 8;
            config.password.iterations = 1;
        })
        .levels("list", LEVELS)
        .membership_source(tables)
        .build()
        .expect("the configuration is right");
    let (log, _guard) = Log::start();
    let application = portcullis::registration::Application::new(
        portcullis::account::NewAccount::username("alice"),
        PASSWORD,
    );
    let client = portcullis::ClientInfo::default();
    let registered = auth.registration().register(application, &client).await;
    assert!(registered.expect("the account is made").session.is_some());
    let text = log.text();
    assert!(text.contains("memberships could not be refreshed"), "{text}");
    assert!(text.contains("the table of lists is away"), "{text}");
}
