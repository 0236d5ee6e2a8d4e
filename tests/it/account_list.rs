//! Lists of accounts for an administrator: pages, filters and what they cost.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis::account::{AccountFilter, AccountState, FurtherName, NewAccount};
use portcullis::account_import::ImportedAccount;
use portcullis::test_kit::StatementCounter;
use portcullis::{AccountId, Page, Portcullis, Problem, Secret};
use portcullis_migration::{Migrator, MigratorTrait};
use portcullis_test_needs::needs;
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use crate::maintenance::{fill, scanned_tables};
use crate::on_every_database;
use crate::support::database::{connect, drop_fresh, fresh};
use crate::support::{Backend, PASSWORD, Probe};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the usernames of all accounts that meet a filter, page by page.
async fn names(auth: &Portcullis, filter: &AccountFilter, most: usize) -> Vec<String> {
    let (mut names, mut page) = (Vec::new(), Page::first().size(most));
    loop {
        let found = auth.accounts().list(filter, page).await.expect("it answers");
        assert!(found.accounts.len() <= most);
        names.extend(
            found
                .accounts
                .iter()
                .map(|found| found.account.username().unwrap_or("(nobody)").to_owned()),
        );
        match found.next {
            Some(next) => page = Page::after(next).size(most),
            None => return names,
        }
    }
}

async fn made(probe: &Probe, account: NewAccount) -> AccountId {
    let account = probe.auth.registration().create(account, PASSWORD).await;
    account.expect("it is made").id()
}

on_every_database! {
    async fn pages_are_complete_and_stay_in_order_while_accounts_come_and_go(probe: Probe) {
        let mut expected = Vec::new();
        for number in 0..7 {
            expected.push(format!("user{number}"));
            made(&probe, NewAccount::username(format!("user{number}"))).await;
            probe.clock.advance(Duration::from_millis(1));
        }
        for most in [1, 2, 3, 6, 7, 8] {
            assert_eq!(names(&probe.auth, &AccountFilter::all(), most).await, expected, "{most}");
        }
        // An account that is created in between hides no other account. An account that is erased
        // leaves no gap.
        let accounts = probe.auth.accounts();
        let first = accounts.list(&AccountFilter::all(), Page::first().size(3)).await.expect("a page");
        let (before, next) = (first.accounts[0].account.id(), first.next.expect("more"));
        let early = ImportedAccount::new(AccountId::from(Uuid::from_u128(7))).username("early");
        probe.auth.account_import().run([early], |_| {}).await.expect("it is imported");
        probe.execute("DELETE FROM auth_account WHERE username = 'user1'").await;
        let rest = accounts.list(&AccountFilter::all(), Page::after(next).size(50)).await;
        let rest = rest.expect("a page").accounts;
        let rest: Vec<_> = rest.iter().filter_map(|found| found.account.username()).collect();
        assert_eq!(rest, ["user3", "user4", "user5", "user6"]);
        assert!(AccountId::from(Uuid::from_u128(7)) < before);
        // The size has bounds, whatever a client asks for.
        for (asked, got) in [(0, 1), (1, 1), (usize::MAX, 7)] {
            let page = accounts.list(&AccountFilter::all(), Page::first().size(asked)).await;
            assert_eq!(page.expect("a page").accounts.len(), got, "{asked}");
        }
        let after = AccountId::from(Uuid::max());
        let nothing = accounts.list(&AccountFilter::all(), Page::after(after.to_string()).size(5)).await;
        let nothing = nothing.expect("a page");
        assert!(nothing.accounts.is_empty() && nothing.next.is_none());
        for wrong in ["", "x", "018f0000", "' OR 1 = 1"] {
            let refused = accounts.list(&AccountFilter::all(), Page::after(wrong)).await;
            let error = refused.expect_err("no page has returned this");
            assert_eq!((error.status().as_u16(), error.code()), (422, "invalid_page"), "{wrong}");
        }
        // A page is one statement.
        let (_, count) = probe.statements(names(&probe.auth, &AccountFilter::all(), 50)).await;
        assert_eq!(count, 1);
    }

    async fn each_state_is_found_and_told(probe: Probe) {
        let probe = probe.configured(|config| config.login.require_verified = true);
        let accounts = probe.auth.accounts();
        let verified = |name: &str| NewAccount::username(name).verified();
        made(&probe, verified("active")).await;
        made(&probe, NewAccount::username("unverified")).await;
        let disabled = made(&probe, verified("disabled")).await;
        accounts.disable(disabled).await.expect("it is disabled");
        let later = made(&probe, verified("later")).await;
        let tomorrow = probe.auth_now().plus(DAY);
        accounts.disable_from(later, tomorrow).await.expect("it is set");
        let closing = made(&probe, verified("closing")).await;
        accounts.close(closing).await.expect("it is closed");
        let deleted = made(&probe, verified("deleted")).await;
        accounts.delete(deleted).await.expect("it is deleted");
        let erased = made(&probe, verified("erased")).await;
        accounts.erase(erased).await.expect("it is erased");

        let state = async |id| accounts.details(id).await.expect("it answers").map(|it| it.state);
        let table: [(AccountState, &[&str]); 6] = [
            (AccountState::Active, &["active", "later"]),
            (AccountState::Unverified, &["unverified"]),
            (AccountState::Disabled, &["disabled"]),
            (AccountState::Closing, &["closing"]),
            (AccountState::Deleted, &["deleted"]),
            (AccountState::Erased, &["(nobody)"]),
        ];
        for (wanted, expected) in table {
            let filter = AccountFilter::all().state(wanted);
            let found = accounts.list(&filter, Page::first().size(50)).await.expect("a page").accounts;
            assert!(found.iter().all(|found| found.state == wanted), "{found:?}");
            let expected: BTreeSet<_> = expected.iter().map(|name| (*name).to_owned()).collect();
            let found: BTreeSet<_> = names(&probe.auth, &filter, 1).await.into_iter().collect();
            assert_eq!(found, expected, "{wanted:?}");
        }
        assert_eq!(state(closing).await, Some(AccountState::Closing));
        assert_eq!(state(AccountId::from(Uuid::nil())).await, None);
        let details = accounts.details(closing).await.expect("it answers").expect("it is there");
        assert_eq!(details.erase_at, Some(probe.auth_now().plus(14 * DAY)));
        let details = accounts.details(erased).await.expect("it answers").expect("its id is there");
        assert_eq!((details.erase_at, details.erased_at), (None, Some(probe.auth_now())));
        probe.clock.advance(DAY);
        assert_eq!(state(later).await, Some(AccountState::Disabled));
        // Without the setting, no account is unverified.
        let open = probe.rebuilt(|builder| builder);
        let unverified = AccountFilter::all().state(AccountState::Unverified);
        assert_eq!(names(&open, &unverified, 5).await, [""; 0]);
        let active = AccountFilter::all().state(AccountState::Active);
        let found: BTreeSet<_> = names(&open, &active, 1).await.into_iter().collect();
        assert_eq!(found, ["active", "unverified"].map(str::to_owned).into());
    }

    async fn a_prefix_finds_every_kind_of_name_in_any_spelling(probe: Probe) {
        let alice = made(&probe, NewAccount::username("Alice").with_email("Alice@One.example")).await;
        let further = FurtherName::email("zoe@two.example").verified();
        probe.auth.accounts().add_name(alice, further).await.expect("it is added");
        made(&probe, NewAccount::username("alan").with_phone("+49151234567")).await;
        made(&probe, NewAccount::username("élan")).await;
        made(&probe, NewAccount::username("al_x")).await;
        made(&probe, NewAccount::username("bob-x")).await;
        let table: [(&str, &[&str]); 15] = [
            ("", &["Alice", "alan", "élan", "al_x", "bob-x"]),
            ("al", &["Alice", "alan", "al_x"]),
            ("AL", &["Alice", "alan", "al_x"]),
            ("Ａｌ", &["Alice", "alan", "al_x"]),
            (" ali", &["Alice"]),
            ("alice@one.", &["Alice"]),
            ("ZOE@", &["Alice"]),
            ("+4915", &["alan"]),
            ("É", &["élan"]),
            ("e", &[]),
            ("al_", &["al_x"]),
            ("a%", &[]),
            ("bob-", &["bob-x"]),
            ("al\u{10ffff}", &[]),
            ("'; DROP TABLE auth_account; --", &[]),
        ];
        for (prefix, expected) in table {
            let found = names(&probe.auth, &AccountFilter::all().name_prefix(prefix), 2).await;
            let sorted = |names: Vec<String>| names.into_iter().collect::<BTreeSet<_>>();
            let expected = expected.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(found.len(), sorted(found.clone()).len(), "{prefix:?} finds one twice");
            assert_eq!(sorted(found), sorted(expected), "{prefix:?}");
        }
        let huge = "a".repeat(100_000);
        assert_eq!(names(&probe.auth, &AccountFilter::all().name_prefix(huge), 2).await, [""; 0]);
    }

    async fn roles_and_times_select_and_conditions_add_up(probe: Probe) {
        let [alice, bob, carol, _dave] = {
            let mut ids = [AccountId::from(Uuid::nil()); 4];
            for (at, name) in ["alice", "bob", "carol", "dave"].into_iter().enumerate() {
                ids[at] = made(&probe, NewAccount::username(name)).await;
                probe.clock.advance(DAY);
            }
            ids
        };
        let (roles, groups) = (probe.auth.roles(), probe.auth.groups());
        roles.create("editor", ["doc:edit"]).await.expect("it is made");
        roles.grant(alice, "editor").await.expect("it is granted");
        groups.create("staff").await.expect("it is made");
        groups.grant("staff", "editor").await.expect("it is granted");
        groups.join("staff", bob).await.expect("bob joins");
        let resource = portcullis::permission::Resource::new("doc", "7").expect("a resource");
        roles.grant_on(carol, "editor", &resource).await.expect("it is granted");
        let filter = AccountFilter::all;
        assert_eq!(names(&probe.auth, &filter().role("editor"), 2).await, ["alice", "bob", "carol"]);
        assert_eq!(names(&probe.auth, &filter().role("nobody"), 2).await, [""; 0]);
        let both = filter().role("editor").name_prefix("b");
        assert_eq!(names(&probe.auth, &both, 2).await, ["bob"]);

        let start = probe.auth_now();
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        probe.clock.advance(DAY);
        assert_eq!(browser.stranger().login("bob", PASSWORD).await.status, 200);
        let noon = start.plus(DAY / 2);
        assert_eq!(names(&probe.auth, &filter().last_login_before(noon), 2).await, ["alice"]);
        assert_eq!(names(&probe.auth, &filter().last_login_after(noon), 2).await, ["bob"]);
        let never = filter().never_signed_in();
        assert_eq!(names(&probe.auth, &never, 2).await, ["carol", "dave"]);
        let second = start.minus(3 * DAY);
        assert_eq!(names(&probe.auth, &filter().created_before(second), 2).await, ["alice"]);
        let later = filter().created_after(second).never_signed_in().role("editor");
        assert_eq!(names(&probe.auth, &later, 2).await, ["carol"]);
        let details = probe.auth.accounts().details(alice).await.expect("it answers");
        let details = details.expect("it is there");
        assert_eq!(details.last_login_at, Some(start));
        assert_eq!(details.created_at, start.minus(4 * DAY));
        assert!(details.has_password);
        // The debug output contains no name and no hash.
        let printed = format!("{details:?}");
        assert!(!printed.contains("alice") && !printed.contains("argon2"), "{printed}");
    }
}

/// Checks that a page uses an index, for any number of accounts.
async fn no_page_reads_all_accounts(backend: Backend) {
    let (url, _directory) = fresh(backend).await;
    let db = connect(&url).await;
    Migrator::up(&db, None).await.expect("the migrations run");
    fill(backend, &db, 1_000_000).await;
    let names = "INSERT INTO auth_login_name (normal, account_id, kind, created_at) \
                 SELECT username, id, 1, 0 FROM auth_account";
    db.execute_unprepared(names).await.expect("names are added");
    let look = if backend == Backend::MySql { "ANALYZE TABLE" } else { "ANALYZE" };
    db.execute_unprepared(&format!("{look} auth_login_name")).await.expect("it is analysed");
    let mut told = connect(&url).await;
    let texts = StatementCounter::install(&mut told);
    let auth = Portcullis::builder(told).secret(Secret::generate()).build();
    let auth = auth.expect("the configuration is right");
    let all = AccountFilter::all;
    let filters = [
        all(),
        all().name_prefix("u1999"),
        all().role("editor"),
        all().state(AccountState::Closing),
    ];
    for filter in filters {
        let first = auth.accounts().list(&filter, Page::first().size(50)).await.expect("a page");
        if let Some(next) = first.next {
            auth.accounts().list(&filter, Page::after(next).size(50)).await.expect("a page");
        }
        for statement in texts.take_statements() {
            let scanned = scanned_tables(backend, &db, &statement).await;
            let large = ["auth_account", "auth_login_name"];
            let found: Vec<_> = scanned.iter().filter(|table| large.contains(&&***table)).collect();
            assert!(found.is_empty(), "{found:?}: {filter:?} {}", statement.sql);
        }
    }
    // This proves that the test works.
    let blind = sea_orm::Statement::from_string(
        db.get_database_backend(),
        "SELECT id FROM auth_account WHERE epoch = 7",
    );
    assert_eq!(scanned_tables(backend, &db, &blind).await, ["auth_account"]);
    drop(auth);
    db.close().await.expect("the connection closes");
    drop_fresh(backend, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_reads_all_accounts_on_sqlite() {
    no_page_reads_all_accounts(Backend::Sqlite).await;
}

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_reads_all_accounts_on_postgres() {
    no_page_reads_all_accounts(Backend::Postgres).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_reads_all_accounts_on_mysql() {
    no_page_reads_all_accounts(Backend::MySql).await;
}
