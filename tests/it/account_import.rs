//! Import of accounts from another system.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis::account::LoginIdKind;
use portcullis::account_import::{
    ImportRefusal, ImportReport, ImportedAccount, NoPassword, RowWithoutPassword,
};
use portcullis::{AccountId, Clock, MessageKind, Portcullis, Timestamp};
use portcullis_test_needs::needs;
use serde_json::json;
use uuid::Uuid;

use crate::on_every_database;
use crate::outage::{Mode, mended, node, wired};
use crate::support::{Backend, PASSWORD, Probe, probe};

// Made with Python: bcrypt 5.0, hashlib.pbkdf2_hmac, argon2-cffi. The password is PASSWORD.
const BCRYPT: &str = "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS";
const DJANGO: &str =
    "pbkdf2_sha256$1000$0123456789abcdef$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI=";
const PHC: &str =
    "$pbkdf2-sha256$i=1000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI";
const ARGON2: &str = "$argon2id$v=19$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$gAwJW5vx5itn2V9KHlEUjyUCrpDYgKyQf0gMaHGx1h4";

/// Hashes of PASSWORD in the formats of other systems, and the forms that portcullis stores.
/// `src/password/foreign.rs` says how they were made.
const FORMATS: [(&str, &str, &str); 12] = [
    ("laravel", "$2y$05$jGWU8D7baXmP8xcMp3S/XO2.KQ04NpNbsDnBEVyKMk/seuGwXABfO", ""),
    ("spring", "{bcrypt}$2y$05$jGWU8D7baXmP8xcMp3S/XO2.KQ04NpNbsDnBEVyKMk/seuGwXABfO", "{bcrypt}"),
    ("wordpress", "$wp$2y$05$lJpPqEoPMABcGP.Vus2Ng.10E/xnScRRxE7jVbgjK6yLRkl3SKfuK", ""),
    (
        "django_bcrypt",
        "bcrypt_sha256$$2b$05$abcdefghijklmnopqrstuuo5UaIBysJIH5CaMip.8XQbctZzHcXPa",
        "",
    ),
    (
        "django_plain",
        "bcrypt$$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS",
        "bcrypt$",
    ),
    (
        "django_scrypt",
        "scrypt$1024$0123456789abcdefABCDEF$8$5$Cx+6t/u/2Eo4+vvYNgMEInOPQ2ErhQQYlMft/EzCBiaIrfgR3JtHIcS5t4GxVfjcF+fOy6L4s+SARUy6QyX1aQ==",
        "",
    ),
    (
        "django_argon2",
        "argon2$argon2id$v=19$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$gAwJW5vx5itn2V9KHlEUjyUCrpDYgKyQf0gMaHGx1h4",
        "argon2",
    ),
    (
        "werkzeug",
        "scrypt:1024:8:1$0123456789abcdef$ec09f322cc31c048a7a70cfe9edc9d9dd61f5473ef3800a65fd56fa3c84ed6a3af9fcd3a3be8379f06faa31f6677ac1e5831a014e04eb80db05c93adbc335180",
        "",
    ),
    (
        "werkzeug_old",
        "pbkdf2:sha256:1000$0123456789abcdef$caa4aad92ca0635b01e04707f5fd851b42533044bec2a2ec393e589a2441a652",
        "",
    ),
    (
        "passlib",
        "$pbkdf2-sha256$1000$8PHy8/T19vf4.fr7/P3./w$0A35jjZ8X.jm/Nj9sc4uzmU/RqA2wljSyf5enbVFSOY",
        "",
    ),
    (
        "passlib_bcrypt",
        "$bcrypt-sha256$v=2,t=2b,r=5$abcdefghijklmnopqrstuu$bsungiydZLgcxsIddv6ixH21Pl8kSiy",
        "",
    ),
    (
        "passlib_scrypt",
        "$scrypt$ln=10,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$7AnzIswxwEinpwz+ntydndYfVHPvOACmX9Vvo8hO1qM",
        "",
    ),
];

fn id(number: u128) -> AccountId {
    Uuid::from_u128(number).into()
}

/// Returns accounts with the names `user1` and so on.
fn users(numbers: std::ops::Range<u128>) -> impl Iterator<Item = ImportedAccount> + Send {
    numbers.map(|number| {
        ImportedAccount::new(id(number))
            .username(format!("user{number}"))
            .email(format!("user{number}@example.com"))
            .password_hash(DJANGO)
    })
}

async fn import(
    auth: &Portcullis,
    rows: impl IntoIterator<Item = ImportedAccount, IntoIter: Send>,
) -> ImportReport {
    auth.account_import().run(rows, |_| {}).await.expect("the database answers")
}

fn counts(report: &ImportReport) -> (u64, u64, u64, usize) {
    (report.rows, report.imported, report.skipped, report.refused.len())
}

async fn stored_hash(probe: &Probe, username: &str) -> String {
    let query = format!("SELECT password_hash FROM auth_account WHERE username = '{username}'");
    probe.text(&query).await.expect("a hash")
}

on_every_database! {
    async fn imported_people_sign_in_with_their_old_password_and_get_a_new_hash(probe: Probe) {
        let earlier = Timestamp::from_millis(1_500_000_000_123);
        let hashes = [("bcrypt", BCRYPT), ("django", DJANGO), ("phc", PHC), ("argon", ARGON2)];
        let rows = hashes.iter().zip(7..).map(|((name, hash), number)| {
            ImportedAccount::new(id(number))
                .username(*name)
                .email(format!("{name}@example.com"))
                .phone(format!("+4930123450{number:02}"))
                .password_hash(*hash)
                .verified_at(earlier)
                .created_at(earlier)
        });
        let report = import(&probe.auth, rows).await;
        assert_eq!(counts(&report), (4, 4, 0, 0), "{report:?}");
        let imported_at = probe.clock.now();
        probe.clock.advance(Duration::from_secs(60));
        let mut browser = probe.browser().await;
        for ((name, hash), number) in hashes.iter().zip(7..) {
            assert_eq!(stored_hash(&probe, name).await, *hash);
            let wrong = browser.login(name, "wrong horse battery staple").await;
            assert_eq!(wrong.status, 401, "{name}");
            assert_eq!(stored_hash(&probe, name).await, *hash, "a wrong password replaces nothing");
            let answer = browser.login(&format!("{name}@example.com"), PASSWORD).await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.text);
            assert_eq!(answer.json()["account_id"], id(number).to_string());
            let replaced = stored_hash(&probe, name).await;
            assert!(replaced.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{name}: {replaced}");
            assert_eq!(browser.login(name, PASSWORD).await.status, 200, "{name}");
            let account = probe.auth.accounts().find(id(number)).await.expect("it answers");
            let account = account.expect("the account");
            assert!(account.is_verified());
            assert_eq!(account.phone(), Some(&*format!("+4930123450{number:02}")));
        }
        let old = "SELECT COUNT(*) FROM auth_account WHERE created_at = 1500000000123";
        assert_eq!(probe.number(old).await, 4);
        for number in 7..11 {
            let events = probe.auth.audit_log().of_account(id(number), 100).await.expect("the log");
            let first = events.last().expect("an event");
            assert_eq!(first.kind, "user_created");
            assert_eq!((first.detail.as_deref(), first.at), (Some("imported"), imported_at));
        }
    }

    async fn every_format_that_is_read_signs_in_once_and_is_replaced(probe: Probe) {
        let rows = FORMATS.iter().zip(1..).map(|((name, hash, _), number)| {
            ImportedAccount::new(id(number)).username(*name).password_hash(*hash)
        });
        let report = import(&probe.auth, rows).await;
        assert_eq!(counts(&report), (12, 12, 0, 0), "{report:?}");
        assert!(report.without_password.is_empty(), "{report:?}");
        let mut browser = probe.browser().await;
        for (name, hash, kind) in FORMATS {
            assert_eq!(stored_hash(&probe, name).await, hash.strip_prefix(kind).expect("its kind"));
            let wrong = browser.login(name, "wrong horse battery staple").await;
            assert_eq!(wrong.code(), "invalid_credentials", "{name}");
            assert_eq!(browser.login(name, PASSWORD).await.status, 200, "{name}");
            let replaced = stored_hash(&probe, name).await;
            assert!(replaced.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{name}: {replaced}");
            assert_eq!(browser.login(name, PASSWORD).await.status, 200, "{name}");
            probe.forget_attempts().await;
        }
    }

    async fn white_space_around_a_password_of_wordpress_keeps_its_hash(probe: Probe) {
        let (_, hash, _) = FORMATS[2];
        let row = ImportedAccount::new(id(1)).username("alice").password_hash(hash);
        assert_eq!(counts(&import(&probe.auth, [row]).await), (1, 1, 0, 0));
        let mut browser = probe.browser().await;
        let spaced = format!("{PASSWORD} ");
        for password in [&spaced, &spaced] {
            assert_eq!(browser.login("alice", password).await.status, 200);
            assert_eq!(stored_hash(&probe, "alice").await, hash);
        }
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        assert!(stored_hash(&probe, "alice").await.starts_with("$argon2id$"));
    }

    async fn a_row_whose_hash_is_not_read_is_imported_without_it_and_reported(probe: Probe) {
        let rows = || {
            let base = |number: u128| {
                ImportedAccount::new(id(number))
                    .username(format!("user{number}"))
                    .email(format!("user{number}@example.com"))
                    .verified_at(Timestamp::from_millis(1))
            };
            [
                base(1).password_hash(BCRYPT),
                base(2),
                base(3).password_hash("!N1em1f6UyZESa6TpvlWqGmdopU4uxgq87pECO1uw"),
                base(4).password_hash("*"),
                base(5).password_hash("5f4dcc3b5aa765d61d8327deb882cf99"),
                base(6).password_hash("$P$BDTg0o4rFvkqUlEFpfzYH5dZLkLRtU/"),
                base(7).password_hash("$2y$05$"),
                base(8).password_hash(ARGON2.replace("m=64", "m=4194304")),
                base(9).password_hash("scrypt:16384:8:16$0123456789abcdef$ec09f322cc31c048a7a70cfe9edc9d9d"),
                base(10).password_hash("scrypt:65536:8:16$0123456789abcdef$ec09f322cc31c048a7a70cfe9edc9d9d"),
            ]
        };
        // In a first run, rows that would lose their password are refused.
        let careful = probe.auth.account_import().refuse_unreadable_hashes();
        let report = careful.run(rows().into_iter().skip(4), |_| {}).await.expect("it answers");
        assert_eq!(counts(&report), (6, 1, 0, 5), "{report:?}");
        let refused = |reason: &str| ImportRefusal::Hash(format!("the stored hash {reason}"));
        let reasons: Vec<_> = report.refused.iter().map(|refused| refused.reason.clone()).collect();
        let dear = "asks for too much work; its owner needs a new password (a reset)";
        assert_eq!(reasons, [
            refused("is in no known format"),
            refused("is in no known format"),
            refused("is malformed"),
            refused("has parameters out of bounds"),
            refused(dear),
        ]);

        let report = import(&probe.auth, rows()).await;
        assert_eq!(counts(&report), (10, 9, 1, 0), "{report:?}");
        let unreadable = |reason: &str| NoPassword::Unreadable(format!("the stored hash {reason}"));
        let told: Vec<_> =
            report.without_password.iter().map(|row| (row.row, row.id, row.reason.clone())).collect();
        assert_eq!(told, [
            (1, id(2), NoPassword::NoHash),
            (2, id(3), NoPassword::Disabled),
            (3, id(4), NoPassword::Disabled),
            (4, id(5), unreadable("is in no known format")),
            (5, id(6), unreadable("is in no known format")),
            (6, id(7), unreadable("is malformed")),
            (7, id(8), unreadable("has parameters out of bounds")),
            (9, id(10), unreadable(dear)),
        ]);
        let RowWithoutPassword { reason, .. } = &report.without_password[0];
        assert_eq!(reason.to_string(), "the row has no hash");
        let hashes = "SELECT COUNT(*) FROM auth_account WHERE password_hash IS NOT NULL";
        assert_eq!(probe.number(hashes).await, 2);
        // A second run reports only what it imports.
        let again = import(&probe.auth, rows()).await;
        assert_eq!(counts(&again), (10, 0, 10, 0));
        assert!(again.without_password.is_empty());

        // Without a password, every sign-in fails.
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("user1", PASSWORD).await.status, 200);
        for (name, password) in
            [("user3", "!N1em1f6UyZESa6TpvlWqGmdopU4uxgq87pECO1uw"), ("user4", "*"), ("user5", "password")]
        {
            assert_eq!(browser.login(name, password).await.code(), "invalid_credentials", "{name}");
        }
        // The owner sets one with "forgot password".
        let mut owner = browser.stranger();
        let body = json!({ "login": "user5" });
        let answer = owner.post("/auth/password/forgot", body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let mail = probe.mail().await;
        let mail = mail.iter().find(|mail| mail.kind == MessageKind::PasswordReset).expect("a mail");
        let (_, link) = mail.text.split_once("#token=").expect("a link");
        let token = link.split_whitespace().next().expect("a token");
        let body = json!({ "token": token, "password": "another horse battery" });
        let reset = owner.post("/auth/password/reset", body).await;
        assert_eq!(reset.status, 204, "{}", reset.text);
        assert_eq!(browser.login("user5", "another horse battery").await.status, 200);
    }

    async fn a_name_that_another_account_has_stops_nobody(probe: Probe) {
        probe.register("user7").await;
        let mut so_far = Vec::new();
        let rows = users(1..31).collect::<Vec<_>>();
        let run = probe.auth.account_import().batch(10).run(rows, |report| {
            so_far.push((report.rows, report.imported, report.refused.len()));
        });
        let report = run.await.expect("the database answers");
        assert_eq!(so_far, [(10, 9, 1), (20, 19, 1), (30, 29, 1)]);
        let [refused] = &*report.refused else { panic!("{report:?}") };
        assert_eq!((refused.row, refused.id), (6, id(7)));
        assert_eq!(refused.reason, ImportRefusal::Taken(LoginIdKind::Username));
    }

    async fn what_an_account_was_it_still_is(probe: Probe) {
        let now = probe.clock.now();
        let hour = Duration::from_secs(3600);
        let rows = [
            ImportedAccount::new(id(1)).username("disabled").password_hash(ARGON2).disabled_at(now),
            ImportedAccount::new(id(2)).username("later").password_hash(ARGON2).disabled_at(now.plus(hour)),
            ImportedAccount::new(id(3)).username("forced").password_hash(ARGON2).must_change_password(),
            ImportedAccount::new(id(4)).username("without").email("").phone("").password_hash(""),
        ];
        assert_eq!(counts(&import(&probe.auth, rows).await), (4, 4, 0, 0));
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("disabled", PASSWORD).await.code(), "invalid_credentials");
        assert_eq!(browser.login("later", PASSWORD).await.json()["result"], "session");
        let forced = browser.login("forced", PASSWORD).await;
        assert_eq!(forced.json()["result"], "password_change_required");
        for password in ["", PASSWORD] {
            assert_eq!(browser.login("without", password).await.code(), "invalid_credentials");
        }
        probe.clock.advance(hour);
        assert_eq!(browser.login("later", PASSWORD).await.code(), "invalid_credentials");
        let superusers = "SELECT COUNT(*) FROM auth_account WHERE superuser";
        assert_eq!(probe.number(superusers).await, 0);
    }

    async fn a_bad_row_is_refused_with_its_reason_and_holds_up_nobody(probe: Probe) {
        probe.register("alice").await;
        let base = |number| ImportedAccount::new(id(number));
        let huge = ARGON2.replace("m=64", "m=4194304");
        let rows = [
            base(1).username("fine"),
            base(2).username("a b").email("nobody"),
            base(3),
            base(4).username("ALICE"),
            base(5).username("bob").email("Fine@Example.com").password_hash(BCRYPT),
            base(6).username("carol").email("fine@example.com"),
            base(7).username("dave").password_hash(huge),
            base(8).username("erin").password_hash(BCRYPT.replace("$05$", "$31$")),
            base(9).username("frank").password_hash(DJANGO.replace("$1000$", "$999999999$")),
            base(10).username("grace").password_hash("5f4dcc3b5aa765d61d8327deb882cf99"),
            base(11).username("heidi").password_hash("$argon2id$v=19$m=64,t=2,p=1$MDEy"),
            base(12).username("ivan").password_hash("x".repeat(1 << 20)),
            base(1).username("fine"),
            base(1).username("other"),
            base(13).username("Ｆｉｎｅ"),
            base(14).username("last"),
        ];
        let careful = probe.auth.account_import().refuse_unreadable_hashes();
        let report = careful.run(rows, |_| {}).await.expect("the database answers");
        assert_eq!(counts(&report), (16, 3, 1, 12), "{report:?}");
        let hash = |reason: &str| ImportRefusal::Hash(format!("the stored hash {reason}"));
        let bounds = || hash("has parameters out of bounds");
        let unknown = || hash("is in no known format");
        let expected = [
            (2, ImportRefusal::Nameless),
            (3, ImportRefusal::Taken(LoginIdKind::Username)),
            (5, ImportRefusal::Taken(LoginIdKind::Email)),
            (6, bounds()),
            (7, bounds()),
            (8, bounds()),
            (9, unknown()),
            (10, hash("is malformed")),
            (11, unknown()),
            (13, ImportRefusal::IdTaken),
            (14, ImportRefusal::Taken(LoginIdKind::Username)),
        ];
        let ImportRefusal::Invalid(fields) = &report.refused[0].reason else { panic!("{report:?}") };
        assert_eq!(fields.iter().map(|field| field.field).collect::<Vec<_>>(), ["username", "email"]);
        for (refused, (row, reason)) in report.refused[1..].iter().zip(expected) {
            assert_eq!((refused.row, &refused.reason), (row, &reason));
            let text = refused.reason.to_string();
            assert!(!text.contains("xxx") && !text.contains('@'), "{text}");
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account").await, 4);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_login_name").await, 5);
        assert_eq!(probe.browser().await.login("bob", PASSWORD).await.status, 200);
        // A second run does not import what the first one refused, and imports nothing twice.
        let again = import(&probe.auth, [base(1).username("fine"), base(4).username("alice")]).await;
        assert_eq!(counts(&again), (2, 0, 1, 1));
    }

    async fn an_import_that_was_cut_off_is_run_again(probe: Probe) {
        // The import is dropped in the middle, after so many steps of its future.
        for steps in [1, 3, 9, 27, 81] {
            let import = probe.auth.account_import().batch(40);
            let mut run = pin!(import.run(users(1..121), |_| {}));
            for _ in 0..steps {
                let mut waker = Context::from_waker(Waker::noop());
                if let Poll::Ready(done) = run.as_mut().poll(&mut waker) {
                    done.expect("the database answers");
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let mut batches = Vec::new();
        let import = probe.auth.account_import().batch(40);
        let report = import.run(users(1..121), |so_far| batches.push(so_far.rows)).await;
        let report = report.expect("the database answers");
        assert_eq!(batches, [40, 80, 120]);
        assert_eq!((report.rows, report.imported + report.skipped), (120, 120));
        assert_eq!(probe.rows().await, [120, 240, 0, 120]);
        assert_eq!(counts(&self::import(&probe.auth, users(1..121)).await), (120, 0, 120, 0));
        assert_eq!(probe.rows().await, [120, 240, 0, 120]);
    }

    async fn who_changed_since_the_import_keeps_what_they_have(probe: Probe) {
        import(&probe.auth, users(1..3)).await;
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("user1", PASSWORD).await.status, 200);
        let body = json!({ "current_password": PASSWORD, "new_password": "another horse battery" });
        assert_eq!(browser.put("/auth/password", body).await.status, 200);
        probe.auth.accounts().delete(id(2)).await.expect("deleted");
        assert_eq!(counts(&import(&probe.auth, users(1..3)).await), (2, 0, 2, 0));
        let mut stranger = browser.stranger();
        assert_eq!(stranger.login("user1", PASSWORD).await.status, 401);
        assert_eq!(stranger.login("user1", "another horse battery").await.status, 200);
        assert_eq!(stranger.login("user2", PASSWORD).await.status, 401);
    }

    async fn imports_and_registrations_at_once_make_each_account_once(probe: Probe) {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let auth = probe.auth.clone();
            tasks.spawn(async move {
                let report = auth.account_import().batch(10).run(users(1..31), |_| {}).await;
                report.expect("the database answers").imported
            });
        }
        let browser = probe.browser().await;
        for number in 1..9 {
            let mut browser = browser.stranger();
            tasks.spawn(async move {
                let name = format!("user{}", number * 3);
                let body = json!({ "username": name, "password": PASSWORD });
                let answer = browser.post("/auth/register", body).await;
                assert!([201, 409].contains(&answer.status), "{}", answer.text);
                u64::from(answer.status == 201)
            });
        }
        let made: u64 = tasks.join_all().await.into_iter().sum();
        assert_eq!(made, 30);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account").await, 30);
    }

    async fn each_address_is_proved_by_itself(probe: Probe) {
        let then = Timestamp::from_millis(1_500_000_000_000);
        let row = |number: u128, name: &str| {
            ImportedAccount::new(id(number)).username(name).phone(format!("+491511234567{number}"))
        };
        let rows = [
            row(1, "mail").email("mail@example.com").verified_at(then),
            row(2, "phone").email("phone@example.com").phone_verified_at(then),
            row(3, "both").email("both@example.com").verified_at(then).phone_verified_at(then),
            row(4, "neither").email("neither@example.com"),
            row(5, "alone").verified_at(then),
            row(6, "called").phone_verified_at(then),
        ];
        assert_eq!(counts(&import(&probe.auth, rows).await), (6, 6, 0, 0));
        for (name, number, verified, mail, phone) in [
            ("mail", 1, true, 1, 0),
            ("phone", 2, false, 0, 1),
            ("both", 3, true, 1, 1),
            ("neither", 4, false, 0, 0),
            // The account has no mail address, so either time must mean its phone number.
            ("alone", 5, true, 0, 1),
            ("called", 6, true, 0, 1),
        ] {
            let account = probe.auth.accounts().find(id(number)).await.expect("it answers");
            assert_eq!(account.expect("an account").is_verified(), verified, "{name}");
            for (normal, expected) in
                [(format!("{name}@example.com"), mail), (format!("+491511234567{number}"), phone)]
            {
                let query = "SELECT COUNT(*) FROM auth_login_name WHERE verified_at IS NOT NULL";
                let query = format!("{query} AND normal = '{normal}'");
                assert_eq!(probe.number(&query).await, expected, "{normal}");
            }
        }
    }
}

/// Runs an import many times. Each time its connection is cut one message later, until the import
/// succeeds. Afterwards every row exists exactly once.
async fn cut_at_every_message(probe: Probe) {
    let (wire, db) = wired(&probe).await;
    let auth = node(&probe, db.clone(), Duration::from_secs(5));
    let mut cuts = 0;
    let report = loop {
        assert!(cuts < 200, "the import never gets through");
        wire.fail_after(cuts, Mode::Down);
        let run = auth.account_import().batch(5).run(users(1..21), |_| {}).await;
        mended(&wire, &db).await;
        // Whole batches, each with its names and events.
        let [accounts, names, _, events] = probe.rows().await;
        assert_eq!((accounts % 5, names, events), (0, accounts * 2, accounts), "cut at {cuts}");
        match run {
            Ok(report) => break report,
            Err(_) => cuts += 1,
        }
    };
    assert!(cuts > 5, "it was cut {cuts} times");
    assert_eq!((report.rows, report.imported + report.skipped), (20, 20));
    assert_eq!(probe.rows().await, [20, 40, 0, 20]);
}

// SQLite has no network connection.

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_loses_its_database_is_run_again_on_postgres() {
    probe::run(Backend::Postgres, cut_at_every_message).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_loses_its_database_is_run_again_on_mysql() {
    probe::run(Backend::MySql, cut_at_every_message).await;
}

/// Imports fifty thousand rows, which are generated one by one. It runs only on SQLite, because the
/// other databases do the same work and take longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_accounts_are_imported_batch_by_batch() {
    probe::run(Backend::Sqlite, |probe: Probe| async move {
        let mut most = 0;
        let report = probe.auth.account_import().run(users(1..50_001), |so_far| most = so_far.rows);
        let (report, statements) = probe.statements(report).await;
        assert_eq!(counts(&report.expect("the database answers")), (50_000, 50_000, 0, 0));
        assert_eq!(most, 50_000);
        // Two reads and three inserts for every five hundred rows.
        assert_eq!(statements, 5 * 100);
        assert_eq!(probe.rows().await, [50_000, 100_000, 0, 50_000]);
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("user49999", PASSWORD).await.status, 200);
    })
    .await;
}

/// Cuts an import in its middle, and runs it again.
async fn cut_in_the_middle(probe: Probe, rows: u64) {
    let half = rows / 2;
    let all = || users(1..u128::from(rows) + 1);
    let cut = tokio::sync::Notify::new();
    let import = probe.auth.account_import();
    let run = import.run(all(), |so_far| {
        if so_far.rows >= half {
            cut.notify_one();
        }
    });
    tokio::select! {
        biased;
        () = cut.notified() => {}
        done = run => panic!("it was not cut: {done:?}"),
    }
    // A statement that was already running still ends.
    probe.auth.drain().await;
    let [accounts, names, _, events] = probe.rows().await.map(i64::unsigned_abs);
    assert!((half..rows).contains(&accounts), "{accounts}");
    // Whole batches, each with its names and events.
    assert_eq!((accounts % 500, names, events), (0, accounts * 2, accounts));
    let report = probe.auth.account_import().run(all(), |_| {}).await;
    let report = report.expect("the database answers");
    assert_eq!(counts(&report), (rows, rows - accounts, accounts, 0));
    assert_eq!(probe.rows().await.map(i64::unsigned_abs), [rows, rows * 2, 0, rows]);
    let browser = probe.browser().await;
    for user in [1, accounts, accounts + 1, rows] {
        let name = format!("user{user}");
        assert_eq!(browser.stranger().login(&name, PASSWORD).await.status, 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_import_that_was_cut_in_the_middle_is_run_again_on_sqlite() {
    probe::run(Backend::Sqlite, |probe| cut_in_the_middle(probe, 50_000)).await;
}

// The other databases get fewer rows, so that the test takes seconds.

#[needs("PORTCULLIS_TEST_POSTGRES_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_import_that_was_cut_in_the_middle_is_run_again_on_postgres() {
    probe::run(Backend::Postgres, |probe| cut_in_the_middle(probe, 20_000)).await;
}

#[needs("PORTCULLIS_TEST_MYSQL_URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_import_that_was_cut_in_the_middle_is_run_again_on_mysql() {
    probe::run(Backend::MySql, |probe| cut_in_the_middle(probe, 20_000)).await;
}
