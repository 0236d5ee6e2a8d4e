//! Accounts: names in every spelling, and states that take effect on the next request.

use std::time::Duration;

use portcullis::account::{AccountError, AccountState, FurtherName, LoginIdKind, NewAccount};
use portcullis::message::MessageKind;
use portcullis::{Account, AccountId, Factor, Portcullis, Problem};
use sea_orm::{ConnectionTrait, TransactionTrait};

use crate::on_every_database;
use crate::support::{Browser, PASSWORD, Probe};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn named(username: Option<&str>, email: Option<&str>, phone: Option<&str>) -> NewAccount {
    let mut new = NewAccount::default();
    new.username = username.map(str::to_owned);
    new.email = email.map(str::to_owned);
    new.phone = phone.map(str::to_owned);
    new
}

async fn found(auth: &Portcullis, login: &str) -> Option<AccountId> {
    let account = auth.accounts().find_by_login(login).await.expect("the database answers");
    account.map(|account| account.id())
}

/// Returns the names of the refused fields.
fn invalid(refused: Result<Account, AccountError>) -> Vec<&'static str> {
    match refused {
        Err(AccountError::Invalid(fields)) => fields.iter().map(|field| field.field).collect(),
        other => panic!("{other:?}"),
    }
}

fn taken(refused: Result<Account, AccountError>) -> (LoginIdKind, &'static str) {
    match refused {
        Err(error @ AccountError::Taken(kind)) => (kind, error.code()),
        other => panic!("{other:?}"),
    }
}

async fn rows(probe: &Probe) -> (i64, i64) {
    (
        probe.number("SELECT COUNT(*) FROM auth_account").await,
        probe.number("SELECT COUNT(*) FROM auth_login_name").await,
    )
}

/// Checks that this request finds the session ended. Its cookie stays, because a 401 clears
/// nothing.
async fn is_over(browser: &mut Browser) {
    let answer = browser.get("/me").await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"));
    assert!(answer.set_cookies().is_empty(), "{:?}", answer.set_cookies());
}

async fn signs_in(probe: &Probe, username: &str) -> u16 {
    probe.browser().await.login(username, PASSWORD).await.status
}

on_every_database! {
    async fn the_last_superuser_can_be_neither_disabled_nor_deleted_nor_demoted(probe: Probe) {
        let accounts = probe.auth.accounts();
        let root = probe.superuser("root").await;
        let tomorrow = probe.auth_now().plus(DAY);
        let refused = async || {
            for (what, result) in [
                ("disable", accounts.disable(root).await),
                ("disable from tomorrow", accounts.disable_from(root, tomorrow).await),
                ("delete", accounts.delete(root).await),
                ("demote", accounts.set_superuser(root, false).await),
            ] {
                let error = result.expect_err(what);
                assert_eq!((error.code(), error.status().as_u16()), ("last_superuser", 409), "{what}");
            }
            let found = accounts.find(root).await.expect("it answers").expect("root");
            assert!(found.is_superuser());
            assert_eq!(accounts.details(root).await.expect("it answers").expect("root").state, AccountState::Active);
        };
        refused().await;
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_event WHERE kind = 'user_updated'").await, 0);
        // These do not count: one that is disabled, one that is deleted, and one that will be
        // disabled.
        for name in ["disabled", "deleted", "ending"] {
            let id = probe.superuser(name).await;
            match name {
                "disabled" => accounts.disable(id).await,
                "deleted" => accounts.delete(id).await,
                _ => accounts.disable_from(id, tomorrow).await,
            }
            .expect("root is left");
            refused().await;
        }
        // With another one, each of the changes is possible. What is no superuser is not counted.
        let plain = accounts.create(NewAccount::username("plain")).await.expect("it is made").id();
        accounts.disable(plain).await.expect("it is no superuser");
        refused().await;
        accounts.enable(plain).await.expect("it is enabled");
        accounts.set_superuser(plain, true).await.expect("it is one now");
        accounts.set_superuser(root, false).await.expect("another one is left");
        accounts.set_superuser(root, true).await.expect("it is one again");
        accounts.disable(root).await.expect("another one is left");
        accounts.enable(root).await.expect("it is enabled");
        accounts.disable_from(root, tomorrow).await.expect("another one is left");
        accounts.delete(root).await.expect("another one is left");
        let last = accounts.delete(plain).await.expect_err("it is the last one now");
        assert_eq!(last.code(), "last_superuser");
    }

    async fn a_superuser_whose_address_nobody_proved_does_not_count_if_that_is_required(probe: Probe) {
        let root = probe.superuser("root").await;
        probe.superuser("other").await;
        let strict = probe.rebuilt(|builder| builder.configure(|config| config.login.require_verified = true));
        strict.accounts().verify(root).await.expect("it is verified");
        let refused = strict.accounts().disable(root).await.expect_err("nobody else could sign in");
        assert_eq!(refused.code(), "last_superuser");
        probe.auth.accounts().disable(root).await.expect("the other one can sign in here");
    }

    async fn superusers_who_remove_each_other_at_once_leave_one(probe: Probe) {
        for round in 0..6 {
            let mut all = Vec::new();
            for number in 0..6 {
                all.push(probe.superuser(&format!("root{round}{number}")).await);
            }
            let mut tasks = tokio::task::JoinSet::new();
            for (at, id) in all.iter().copied().enumerate() {
                let auth = probe.auth.clone();
                tasks.spawn(async move {
                    let accounts = auth.accounts();
                    match at % 3 {
                        0 => accounts.set_superuser(id, false).await,
                        1 => accounts.disable(id).await,
                        _ => accounts.delete(id).await,
                    }
                });
            }
            let refused = tasks.join_all().await.into_iter().filter_map(Result::err);
            let refused: Vec<_> = refused.map(|error| error.code()).collect();
            // In later rounds, the one that was left before is still there.
            assert_eq!(refused, if round == 0 { vec!["last_superuser"] } else { vec![] }, "{round}");
            let left = "SELECT COUNT(*) FROM auth_account WHERE superuser AND disabled_at IS NULL AND deleted_at IS NULL";
            assert_eq!(probe.number(left).await, 1, "{round}");
        }
    }

    async fn a_second_verification_does_not_move_the_first_one(probe: Probe) {
        let account = probe.register_with_email("twice", "twice@example.com").await;
        let accounts = probe.auth.accounts();
        let verified_at = "SELECT verified_at FROM auth_account WHERE verified_at IS NOT NULL";
        accounts.verify(account.id()).await.expect("it is verified");
        let first = probe.number(verified_at).await;
        probe.clock.advance(std::time::Duration::from_secs(3_600));
        accounts.verify(account.id()).await.expect("it stays verified");
        accounts.verify_name(account.id(), "twice@example.com").await.expect("it stays verified");
        assert_eq!(probe.number(verified_at).await, first);
    }

    async fn an_account_is_found_by_each_of_its_names_in_every_spelling(probe: Probe) {
        let new = named(Some("Alice"), Some("Alice.B@Example.COM"), Some("+41791234567"));
        let alice = probe.auth.accounts().create(new).await.expect("the account is made");
        assert_eq!(alice.username(), Some("Alice"));
        let neighbour = named(Some("alicé"), Some("alice.b@example.net"), Some("+41791234568"));
        let neighbour = probe.auth.accounts().create(neighbour).await.expect("the account is made");

        for (login, expected) in [
            ("alice", Some(alice.id())),
            ("ALICE", Some(alice.id())),
            ("Ａｌｉｃｅ", Some(alice.id())),
            ("alice.b@example.com", Some(alice.id())),
            ("ALICE.B@EXAMPLE.COM", Some(alice.id())),
            ("+41791234567", Some(alice.id())),
            ("alicé", Some(neighbour.id())),
            ("ALICÉ", Some(neighbour.id())),
            ("alice\u{301}", Some(neighbour.id())),
            ("alice.b@example.net", Some(neighbour.id())),
            ("+41791234568", Some(neighbour.id())),
            ("alic", None),
            ("alice ", Some(alice.id())),
            (" alice\u{a0}", Some(alice.id())),
            ("al ice", None),
            ("alice%", None),
            ("41791234567", None),
            ("", None),
            ("alice' OR '1'='1", None),
        ] {
            assert_eq!(found(&probe.auth, login).await, expected, "{login:?}");
        }
        let by_id = probe.auth.accounts().find(alice.id()).await.expect("the database answers");
        assert_eq!(by_id, Some(alice));
    }

    async fn a_name_that_is_taken_is_named_and_nothing_is_made(probe: Probe) {
        let new = named(Some("alice"), Some("alice@example.com"), Some("+41791234567"));
        probe.auth.accounts().create(new).await.expect("the account is made");
        let before = rows(&probe).await;
        for (new, kind, code) in [
            (named(Some("ALICE"), None, None), LoginIdKind::Username, "username_taken"),
            (named(Some("Ａlice"), Some("b@example.com"), None), LoginIdKind::Username, "username_taken"),
            (named(Some("bob"), Some("Alice@EXAMPLE.com"), None), LoginIdKind::Email, "email_taken"),
            (named(Some("bob"), None, Some("+41791234567")), LoginIdKind::Phone, "phone_taken"),
            (
                named(Some("bob"), Some("b@example.com"), Some("+41791234567")),
                LoginIdKind::Phone,
                "phone_taken",
            ),
        ] {
            assert_eq!(taken(probe.auth.accounts().create(new).await), (kind, code));
            assert_eq!(rows(&probe).await, before);
        }
        let bob = named(Some("bob"), Some("b@example.com"), Some("+41791234568"));
        probe.auth.accounts().create(bob).await.expect("the names of bob are free");
    }

    async fn every_field_that_cannot_be_a_name_is_named_at_once(probe: Probe) {
        for (new, fields) in [
            (named(Some(""), None, None), vec!["username"]),
            (named(Some("a b"), None, None), vec!["username"]),
            (named(Some("a@b"), None, None), vec!["username"]),
            (named(Some("al\tice"), None, None), vec!["username"]),
            (named(Some("al\u{a0}ice"), None, None), vec!["username"]),
            (named(Some("al\u{0}ice"), None, None), vec!["username"]),
            (named(Some("alice"), Some("nobody"), Some("123")), vec!["email", "phone"]),
            (named(Some("\u{202e}"), Some("a@b,c@d"), Some("+1")), vec!["username", "email", "phone"]),
            (named(None, None, None), vec!["username"]),
        ] {
            assert_eq!(invalid(probe.auth.accounts().create(new.clone()).await), fields, "{new:?}");
        }
        assert_eq!(rows(&probe).await, (0, 0));
        for new in [
            named(Some("alice"), None, None),
            named(None, Some("bob@example.com"), None),
            named(None, None, Some("+41791234567")),
        ] {
            probe.auth.accounts().create(new).await.expect("one name is enough");
        }
    }

    async fn a_disabled_account_is_out_with_its_next_request_and_comes_back_by_a_new_login(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let (_, mut neighbour) = probe.signed_in("bob").await;
        assert_eq!(browser.get("/me").await.status, 200);
        probe.auth.accounts().disable(alice.id()).await.expect("it is disabled");
        is_over(&mut browser).await;
        assert_eq!(browser.get("/maybe").await.text, "nobody");
        assert_eq!(signs_in(&probe, "alice").await, 401);
        assert_eq!(neighbour.get("/me").await.status, 200);

        probe.auth.accounts().enable(alice.id()).await.expect("it is enabled");
        is_over(&mut browser).await;
        assert_eq!(signs_in(&probe, "alice").await, 200);
    }

    async fn a_date_disables_from_its_first_moment_on_and_enabling_clears_a_past_one(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let date = portcullis::Clock::now(&probe.clock).plus(DAY);
        probe.auth.accounts().disable_from(alice.id(), date).await.expect("the date is set");
        probe.clock.advance(DAY - Duration::from_millis(1));
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(signs_in(&probe, "alice").await, 200);
        probe.clock.advance(Duration::from_millis(1));
        is_over(&mut browser).await;
        assert_eq!(signs_in(&probe, "alice").await, 401);

        probe.clock.advance(DAY);
        probe.auth.accounts().enable(alice.id()).await.expect("it is enabled");
        assert_eq!(signs_in(&probe, "alice").await, 200);
        is_over(&mut browser).await;
    }

    async fn a_date_that_is_past_disables_at_once(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let now = portcullis::Clock::now(&probe.clock);
        probe.auth.accounts().disable_from(alice.id(), now.minus(DAY)).await.expect("the date is set");
        is_over(&mut browser).await;
        assert_eq!(signs_in(&probe, "alice").await, 401);
    }

    async fn a_date_that_is_moved_brings_back_nothing_that_it_has_ended(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let accounts = probe.auth.accounts();
        let tomorrow = || portcullis::Clock::now(&probe.clock).plus(DAY);
        accounts.disable_from(alice.id(), tomorrow()).await.expect("the date is set");
        accounts.disable_from(alice.id(), tomorrow()).await.expect("the date is moved");
        assert_eq!(browser.get("/me").await.status, 200, "it had not come");
        probe.clock.advance(DAY);
        accounts.disable_from(alice.id(), tomorrow()).await.expect("the date is moved");
        is_over(&mut browser).await;
        assert_eq!(signs_in(&probe, "alice").await, 200);
    }

    async fn a_date_that_is_taken_back_in_time_changes_nothing(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let date = portcullis::Clock::now(&probe.clock).plus(DAY);
        probe.auth.accounts().disable_from(alice.id(), date).await.expect("the date is set");
        probe.auth.accounts().enable(alice.id()).await.expect("the date is cleared");
        probe.clock.advance(2 * DAY);
        assert_eq!(signs_in(&probe, "alice").await, 200);
        // Enabling an account ends its sessions. A person who had one while the account was
        // disabled, or was to be disabled, must sign in again.
        is_over(&mut browser).await;
    }

    async fn a_deleted_account_is_gone_for_good_and_its_names_stay_taken(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let accounts = probe.auth.accounts();
        accounts.delete(alice.id()).await.expect("it is deleted");
        is_over(&mut browser).await;
        assert_eq!(signs_in(&probe, "alice").await, 401);
        let again = accounts.create(NewAccount::username("Alice")).await;
        assert_eq!(taken(again).0, LoginIdKind::Username);
        for again in [
            accounts.enable(alice.id()).await,
            accounts.verify(alice.id()).await,
            accounts.delete(alice.id()).await,
        ] {
            assert!(matches!(again, Err(AccountError::NotFound)), "{again:?}");
        }
        assert_eq!(signs_in(&probe, "alice").await, 401);
        assert!(accounts.find(alice.id()).await.expect("the database answers").is_some());
    }

    async fn an_account_that_is_not_verified_is_out_where_that_is_required(probe: Probe) {
        let alice = probe.register("alice").await;
        let (_, mut browser) = probe.signed_in("bob").await;
        let probe = probe.configured(|config| config.login.require_verified = true);
        browser.address = probe.browser().await.address;
        is_over(&mut browser).await;
        assert_eq!(signs_in(&probe, "alice").await, 401);
        probe.auth.accounts().verify(alice.id()).await.expect("it is verified");
        assert_eq!(signs_in(&probe, "alice").await, 200);
        assert_eq!(signs_in(&probe, "bob").await, 401);
    }

    async fn verifying_ends_no_session(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        probe.auth.accounts().verify(alice.id()).await.expect("it is verified");
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn what_a_login_must_still_do_ends_the_sessions_there_are(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is set");
        is_over(&mut browser).await;
        let answer = browser.login("alice", PASSWORD).await;
        assert_eq!(answer.json()["result"], "password_change_required", "{}", answer.text);
        let answer = browser.get("/me").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "password_change_required"));
        assert_eq!(browser.get("/must-change").await.status, 200);

        let (bob, mut browser) = probe.signed_in("bob").await;
        probe.auth.accounts().set_enrolled_factors(bob.id(), [Factor::Totp]).await.expect("it is set");
        is_over(&mut browser).await;
        let answer = browser.login("bob", PASSWORD).await;
        assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
        assert_eq!(browser.get("/pending").await.status, 200);
        assert_eq!(browser.get("/me").await.status, 401);
        probe.auth.accounts().set_enrolled_factors(bob.id(), []).await.expect("it is set");
        assert_eq!(browser.login("bob", PASSWORD).await.json()["result"], "session");
    }

    async fn the_owner_is_told_of_each_factor_that_comes_or_goes(probe: Probe) {
        use MessageKind::{FactorAdded, FactorRemoved};

        let alice = probe.register_with_email("alice", "alice@example.com").await;
        probe.mail().await;
        let accounts = probe.auth.accounts();
        accounts.verify(alice.id()).await.expect("it is verified");
        type Told = &'static [(MessageKind, &'static str)];
        let steps: [(&[Factor], Told); 4] = [
            (&[Factor::Totp], &[(FactorAdded, "totp")]),
            (&[Factor::Totp], &[]),
            (&[Factor::RecoveryCode, Factor::Passkey], &[
                (FactorRemoved, "totp"),
                (FactorAdded, "recovery code"),
                (FactorAdded, "passkey"),
            ]),
            (&[], &[(FactorRemoved, "recovery code"), (FactorRemoved, "passkey")]),
        ];
        for (factors, told) in steps {
            let before = probe.notifier.sent().len();
            accounts.set_enrolled_factors(alice.id(), factors.iter().copied()).await.expect("set");
            let sent = probe.mail().await.split_off(before);
            assert_eq!(sent.len(), told.len(), "{factors:?}");
            for (kind, factor) in told {
                let of_factor = format!("({factor})");
                let notice = sent.iter().find(|m| m.kind == *kind && m.text.contains(&of_factor));
                let notice = notice.unwrap_or_else(|| panic!("{kind:?} {factor}: {sent:?}"));
                assert_eq!(notice.to.as_str(), "alice@example.com");
                assert!(notice.text.contains("When: "), "{}", notice.text);
            }
        }
        // An account without an address gets no notice.
        let bob = probe.register("bob").await;
        let before = probe.notifier.sent().len();
        accounts.set_enrolled_factors(bob.id(), [Factor::Totp]).await.expect("set");
        assert_eq!(probe.mail().await.len(), before);
    }

    async fn of_factors_changed_at_once_the_owner_hears_what_really_changed(probe: Probe) {
        let alice = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(alice.id()).await.expect("it is verified");
        let epoch = probe.number("SELECT epoch FROM auth_account").await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16 {
            let (auth, id) = (probe.auth.clone(), alice.id());
            let factors = if number % 2 == 0 { vec![Factor::Totp] } else { Vec::new() };
            tasks.spawn(async move { auth.accounts().set_enrolled_factors(id, factors).await });
        }
        for done in tasks.join_all().await {
            done.expect("each is made, one after the other");
        }
        let rows = "SELECT COUNT(*) FROM auth_outbox WHERE kind = ";
        let added = probe.number(&format!("{rows}'factor_added'")).await;
        let removed = probe.number(&format!("{rows}'factor_removed'")).await;
        let left = probe.number("SELECT enrolled_factors FROM auth_account").await;
        assert_eq!(added - removed, i64::from(left != 0), "{added} added, {removed} removed");
        assert_eq!(probe.number("SELECT epoch FROM auth_account").await - epoch, 16);
    }

    async fn nobody_enrols_a_factor_while_the_main_address_is_not_proved(probe: Probe) {
        let accounts = probe.auth.accounts();
        let alice = probe.register_with_email("alice", "alice@example.com").await.id();
        let enrolled = async |factors: &[Factor]| {
            accounts.set_enrolled_factors(alice, factors.iter().copied()).await
        };
        let refused = enrolled(&[Factor::Totp]).await.expect_err("it may be somebody else's");
        assert!(matches!(refused, AccountError::AddressNotProved), "{refused:?}");
        assert_eq!((refused.status().as_u16(), refused.code()), (403, "address_not_proved"));
        enrolled(&[]).await.expect("nothing is added");
        accounts.verify(alice).await.expect("it is verified");
        enrolled(&[Factor::Totp]).await.expect("now it is hers");
        // A further address stops nobody, because who verifies it gets nothing of the account.
        let further = FurtherName::email("alice@work.example");
        accounts.add_name(alice, further).await.expect("it is added");
        enrolled(&[Factor::Totp, Factor::Passkey]).await.expect("all are hers");
        enrolled(&[]).await.expect("they are removed");
        let log = probe.auth.audit_log().of_account(alice, 30).await.expect("the log");
        let removals = log.iter().filter(|e| e.detail.as_deref() == Some("factors removed"));
        assert_eq!(removals.count(), 1);
        // A phone number does not block a factor, because it gives nobody access. Neither does an
        // account without an address, because it cannot belong to anyone else.
        let mut with_phone = NewAccount::username("bob");
        with_phone.phone = Some("+4915112345678".to_owned());
        let bob = accounts.create(with_phone).await.expect("it is made").id();
        accounts.set_enrolled_factors(bob, [Factor::Totp]).await.expect("set");
    }

    async fn each_address_is_proved_by_itself(probe: Probe) {
        let accounts = probe.auth.accounts();
        let proved = async |normal: &str| {
            let query = "SELECT COUNT(*) FROM auth_login_name WHERE verified_at IS NOT NULL";
            probe.number(&format!("{query} AND normal = '{normal}'")).await == 1
        };
        let (phone, other) = ("+4915112345678", "+4915112345679");
        let mut new = NewAccount::username("alice").with_email("alice@example.com").verified();
        new.phone = Some(phone.to_owned());
        let alice = accounts.create(new).await.expect("it is made").id();
        assert!(proved("alice@example.com").await);
        assert!(!proved(phone).await, "the address says nothing of the number");
        accounts.verify(alice).await.expect("it is verified");
        assert!(!proved(phone).await);
        accounts.verify_name(alice, phone).await.expect("it is verified");
        assert!(proved(phone).await);
        for (name, text) in [("bob", "bob"), ("bob", "nobody@example.com"), ("bob", phone)] {
            let id = match accounts.find_by_login(name).await.expect("it answers") {
                Some(account) => account.id(),
                None => {
                    let mut new = NewAccount::username(name).with_email("bob@example.com");
                    new.phone = Some(other.to_owned());
                    accounts.create(new).await.expect("it is made").id()
                }
            };
            let refused = accounts.verify_name(id, text).await.expect_err("it is not an address of the account");
            assert_eq!(refused.code(), "invalid_fields", "{text}");
            let AccountError::Invalid(fields) = refused else { panic!("{refused}") };
            assert_eq!((fields[0].field, fields[0].code), ("name", "unknown_address"), "{text}");
        }
        // A phone number verifies an account only if the account has no mail address.
        let bob = accounts.find_by_login("bob").await.expect("it answers").expect("bob");
        accounts.verify_name(bob.id(), other).await.expect("it is verified");
        let is_verified = async |id| {
            let account = accounts.find(id).await.expect("it answers");
            account.expect("an account").is_verified()
        };
        assert!(!is_verified(bob.id()).await);
        accounts.verify_name(bob.id(), "BOB@example.com").await.expect("it is verified");
        assert!(is_verified(bob.id()).await);
        let mut new = NewAccount::username("carol").verified();
        new.phone = Some("+4915112345670".to_owned());
        accounts.create(new).await.expect("it is made");
        assert!(proved("+4915112345670").await, "it is the only address left");
    }

    async fn changing_an_account_that_is_not_there_is_an_error(probe: Probe) {
        let alice = probe.register("alice").await;
        let nobody: AccountId = "018f0000-0000-7000-8000-000000000000".parse().expect("an id");
        let now = portcullis::Clock::now(&probe.clock);
        for (id, expected) in [(nobody, false), (alice.id(), true)] {
            let accounts = probe.auth.accounts();
            for done in [
                accounts.verify(id).await,
                accounts.disable(id).await,
                accounts.disable_from(id, now).await,
                accounts.enable(id).await,
                accounts.require_password_change(id).await,
                accounts.set_enrolled_factors(id, [Factor::Totp]).await,
                accounts.delete(id).await,
            ] {
                assert_eq!(done.is_ok(), expected, "{done:?}");
                assert!(expected || matches!(done, Err(AccountError::NotFound)), "{done:?}");
            }
        }
        let kept = "SELECT COUNT(*) FROM auth_event WHERE kind = 'user_updated'";
        assert_eq!(probe.number(kept).await, 7);
    }

    async fn what_the_callers_transaction_rolls_back_never_was(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let before = (rows(&probe).await, probe.number("SELECT COUNT(*) FROM auth_event").await);
        let txn = probe.db.begin().await.expect("a transaction");
        let bob = probe.auth.accounts().within(&txn).create(NewAccount::username("bob")).await;
        let bob = bob.expect("the account is made");
        let accounts = probe.auth.accounts().within(&txn);
        assert_eq!(accounts.find(bob.id()).await.expect("it answers"), Some(bob.clone()));
        accounts.disable(alice.id()).await.expect("it is disabled");
        txn.rollback().await.expect("it rolls back");
        assert_eq!(found(&probe.auth, "bob").await, None);
        assert_eq!(browser.get("/me").await.status, 200);
        let after = (rows(&probe).await, probe.number("SELECT COUNT(*) FROM auth_event").await);
        assert_eq!(after, before);

        let txn = probe.db.begin().await.expect("a transaction");
        let bob = probe.auth.accounts().within(&txn).create(NewAccount::username("bob")).await;
        let bob = bob.expect("the account is made");
        probe.auth.accounts().within(&txn).disable(alice.id()).await.expect("it is disabled");
        txn.commit().await.expect("it commits");
        assert_eq!(found(&probe.auth, "bob").await, Some(bob.id()));
        is_over(&mut browser).await;
    }

    async fn a_name_that_is_taken_leaves_the_callers_transaction_usable(probe: Probe) {
        probe.register("alice").await;
        let txn = probe.db.begin().await.expect("a transaction");
        let accounts = probe.auth.accounts().within(&txn);
        assert_eq!(taken(accounts.create(NewAccount::username("ALICE")).await).0, LoginIdKind::Username);
        // PostgreSQL aborts a transaction when a key is violated. Portcullis asks first, so the
        // transaction stays usable.
        txn.execute_unprepared("UPDATE auth_epoch SET epoch = epoch + 7").await.expect("it goes on");
        let bob = accounts.create(NewAccount::username("bob")).await.expect("the account is made");
        txn.commit().await.expect("it commits");
        assert_eq!(found(&probe.auth, "bob").await, Some(bob.id()));
        assert_eq!(probe.number("SELECT epoch FROM auth_epoch").await, 7);
    }
}
