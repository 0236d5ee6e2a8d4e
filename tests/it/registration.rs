//! Registration by strangers.

use std::time::Duration;

use portcullis::config::{LoginIds, Registration};
use portcullis::port::{HookFuture, SessionReplaced};
use reqwest::Method;
use sea_orm::DatabaseTransaction;
use serde_json::{Value, json};

use crate::on_every_database;
use crate::support::browser::{Answer, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe, until};
use crate::verification::{asked, token_of};

async fn register(browser: &Browser, body: Value) -> Answer {
    browser.stranger().post("/auth/register", body).await
}

fn fields(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let errors = body["errors"].as_object().expect("errors by field");
    errors.keys().cloned().collect()
}

fn no_cart<'a>(_: SessionReplaced, _: &'a DatabaseTransaction) -> HookFuture<'a, ()> {
    Box::pin(async { Err("the cart could not be moved".into()) })
}

const ALICE: &str = "alice@example.com";

/// Switches to the mode in which nobody learns which addresses are known.
fn strict(probe: Probe) -> Probe {
    probe.configured(|config| {
        config.login.require_verified = true;
        config.login.registration = Registration::Strict;
    })
}

/// The states in which an address can be.
const STATES: [&str; 6] = ["free", "verified", "waiting", "disabled", "deleted", "passwordless"];

fn address(state: &str) -> String {
    format!("{state}@example.com")
}

/// Creates an account in each of these states except the first, one hour ago.
async fn addresses_in_every_state(probe: &Probe) {
    let client = portcullis::ClientInfo::default();
    let accounts = probe.auth.accounts();
    for name in &STATES[1..] {
        let new = portcullis::account::NewAccount::email(address(name));
        if *name == "passwordless" {
            accounts.create(new).await.expect("it is made");
        } else {
            let application = portcullis::registration::Application::new(new, PASSWORD);
            probe.auth.registration().apply(application, &client).await.expect("it is taken");
        }
    }
    let of = async |name: &str| {
        let found = accounts.find_by_login(&address(name)).await;
        found.expect("it answers").expect("it is there").id()
    };
    accounts.verify(of("verified").await).await.expect("it is set");
    accounts.disable(of("disabled").await).await.expect("it is set");
    accounts.delete(of("deleted").await).await.expect("it is set");
    probe.clock.advance(Duration::from_secs(3600));
}

/// Waits until there are this many messages, sent or held back. A login requests a verification
/// mail in parallel to its answer.
pub(crate) async fn messages_are_written(probe: &Probe, count: i64) {
    let written = async || probe.number("SELECT COUNT(*) FROM auth_outbox").await == count;
    until("the message is written", written).await;
}

on_every_database! {
    async fn a_registration_makes_an_account_and_signs_it_in(probe: Probe) {
        let mut browser = probe.browser().await;
        assert_eq!(probe.rows().await, [0; 4], "nobody is there by default");
        let body = json!({
            "username": "Alice",
            "email": "Alice@Example.com",
            "phone": "+4917012345678",
            "password": PASSWORD,
        });
        let answer = browser.post("/auth/register", body).await;
        assert_eq!((answer.status, &answer.json()["result"]), (201, &json!("session")));
        let me = browser.get("/auth/session").await.json();
        assert_eq!(me["account"]["id"], answer.json()["account_id"]);
        assert_eq!(me["account"]["username"], "Alice");
        assert_eq!(me["account"]["email"], "Alice@Example.com");
        assert_eq!(me["account"]["phone"], "+4917012345678");
        assert_eq!(me["account"]["verified"], false);
        assert_eq!(me["factors"][0]["factor"], "password");
        assert_eq!(browser.get("/admin").await.status, 403, "a new account may do nothing");
        // One account with three names, one session, and two events.
        assert_eq!(probe.rows().await, [1, 3, 1, 2]);
    }

    async fn a_name_that_is_taken_is_named_by_its_kind(probe: Probe) {
        let browser = probe.browser().await;
        let first = json!({
            "username": "alice",
            "email": "alice@example.com",
            "phone": "+4917012345678",
            "password": PASSWORD,
        });
        assert_eq!(register(&browser, first).await.status, 201);
        let mut before = probe.rows().await;
        for (body, code) in [
            (json!({ "username": "alice" }), "username_taken"),
            (json!({ "username": "ALICE" }), "username_taken"),
            (json!({ "username": "Ａｌｉｃｅ" }), "username_taken"),
            (json!({ "email": "alice@example.com" }), "email_taken"),
            (json!({ "email": "Alice@EXAMPLE.com" }), "email_taken"),
            (json!({ "username": "bob", "email": "alice@example.com" }), "email_taken"),
            (json!({ "username": "bob", "phone": "+4917012345678" }), "phone_taken"),
        ] {
            let mut body = body;
            body["password"] = PASSWORD.into();
            let answer = register(&browser, body.clone()).await;
            assert_eq!((answer.status, answer.code().as_str()), (409, code), "{body}");
            assert_eq!(answer.cookie(), None);
            // Only the event is written.
            before[3] += 1;
            assert_eq!(probe.rows().await, before, "{body}");
        }
        let bob = json!({ "username": "bob", "email": "bob@example.com", "password": PASSWORD });
        assert_eq!(register(&browser, bob).await.status, 201);
    }

    async fn all_fields_that_cannot_be_used_are_named_at_once(probe: Probe) {
        let browser = probe.browser().await;
        let named = |name: &str| json!({ "username": name, "password": PASSWORD });
        let hashes = probe.auth.password_hashes();
        for (body, expected) in [
            (
                json!({
                    "username": "a b",
                    "email": "nobody",
                    "phone": "0170",
                    "password": "short",
                }),
                &[
                    ("email", "invalid_email"),
                    ("password", "too_short"),
                    ("phone", "invalid_phone"),
                    ("username", "invalid_character"),
                ][..],
            ),
            (named("al@ice"), &[("username", "invalid_character")]),
            (
                json!({ "username": "alice", "email": "a@b", "password": "" }),
                &[("email", "invalid_domain"), ("password", "too_short")],
            ),
            (json!({ "password": PASSWORD }), &[("username", "required")]),
            (json!({ "username": "", "email": "", "password": PASSWORD }), &[("username", "required")]),
            (json!({ "phone": "+4917012345678", "password": PASSWORD }), &[("username", "required")]),
            (named("nul\0nul"), &[("username", "invalid_character")]),
            (named("al\u{202e}ice"), &[("username", "invalid_character")]),
            (named("al\tice"), &[("username", "invalid_character")]),
            (named("..."), &[("username", "no_letter_or_digit")]),
            (named(&"a".repeat(65)), &[("username", "too_long")]),
        ] {
            let answer = register(&browser, body.clone()).await;
            assert_eq!((answer.status, answer.code().as_str()), (422, "invalid_fields"), "{body}");
            assert_eq!(fields(&answer), expected.iter().map(|(field, _)| *field).collect::<Vec<_>>());
            for (field, code) in expected {
                assert_eq!(answer.field_codes(field), [*code], "{body}");
            }
        }
        assert_eq!(probe.rows().await, [0; 4]);
        assert_eq!(probe.auth.password_hashes(), hashes, "nothing was hashed for it");
    }

    async fn the_name_that_signs_in_is_required(probe: Probe) {
        let username = json!({ "username": "alice", "password": PASSWORD });
        let email = json!({ "email": "alice@example.com", "password": PASSWORD });
        for (kinds, body, other, field) in [
            (LoginIds::Username, &username, &email, "username"),
            (LoginIds::Email, &email, &username, "email"),
        ] {
            let auth = probe.rebuilt(|builder| builder.configure(|c| c.login.id = kinds));
            let browser = Browser::new(serve(app(&auth)).await);
            let answer = register(&browser, other.clone()).await;
            assert_eq!((answer.status, fields(&answer)), (422, vec![field.to_owned()]));
            assert_eq!(register(&browser, body.clone()).await.status, 201);
        }
    }

    async fn a_password_is_as_long_as_it_must_be_and_not_the_name(probe: Probe) {
        let browser = probe.browser().await;
        let check = async |number: usize, names: Value, password: &str, status: u16| {
            let mut body = names;
            if body.get("username").is_none() {
                body["username"] = format!("user-{number}").into();
            }
            body["password"] = password.into();
            let answer = register(&browser, body.clone()).await;
            assert_eq!(answer.status, status, "{body}: {}", answer.text);
            if status == 422 {
                assert_eq!(fields(&answer), ["password"], "{body}");
                assert!(!answer.text.contains(password), "a password is never repeated");
            }
        };
        let none = || json!({});
        let long_name = || json!({ "username": "alice-in-wonderland" });
        let email = || json!({ "email": "alice-in-wonderland@example.com" });
        let wide = || json!({ "username": "Ａｌｉｃｅ-in-wonderland" });
        for (number, (names, password, status)) in [
            // The length is counted in code points, not in bytes.
            (none(), "aaaaaaaaaaaaaa".to_owned(), 422),
            (none(), "aaaaaaaaaaaaaaa".to_owned(), 201),
            (none(), "ä".repeat(14), 422),
            (none(), "ä".repeat(15), 201),
            (none(), "🦀".repeat(14), 422),
            (none(), "🦀".repeat(15), 201),
            (none(), "a".repeat(65), 201),
            (none(), "a".repeat(1024), 201),
            (none(), "a".repeat(1025), 422),
            (none(), "ä".repeat(512), 201),
            (none(), "ä".repeat(513), 422),
            // All characters are allowed, also spaces and control characters.
            (none(), " ".repeat(15), 201),
            (none(), "nul\0in the middle".to_owned(), 201),
            // The names in the same request are not allowed, in any spelling that signs in.
            (long_name(), "alice-in-wonderland".to_owned(), 422),
            (long_name(), "ALICE-in-Wonderland".to_owned(), 422),
            (wide(), "alice-in-wonderland".to_owned(), 422),
            (email(), "alice-in-wonderland@example.com".to_owned(), 422),
            (email(), "Alice-In-Wonderland@EXAMPLE.COM".to_owned(), 422),
            (email(), "alice-in-wonderland".to_owned(), 422),
            (long_name(), "alice-in-wonderland!".to_owned(), 201),
        ]
        .into_iter()
        .enumerate()
        {
            check(number, names, &password, status).await;
        }
    }

    async fn the_least_length_can_be_eight(probe: Probe) {
        let probe = probe.configured(|config| config.password.min_length = 8);
        let browser = probe.browser().await;
        for (username, password, status) in
            [("alice", "1234567", 422), ("alice", "1234567x", 201), ("bob", "ääääääää", 201)]
        {
            let body = json!({ "username": username, "password": password });
            assert_eq!(register(&browser, body).await.status, status, "{password}");
        }
    }

    async fn a_password_is_compared_exactly_as_it_was_sent(probe: Probe) {
        let browser = probe.browser().await;
        let long = "a".repeat(72);
        for (number, (password, others)) in [
            (format!("{long}b"), vec![format!("{long}c"), long.clone()]),
            ("Trailing space. ".to_owned(), vec!["Trailing space.".to_owned()]),
            (" leading space.".to_owned(), vec!["leading space.".to_owned()]),
            ("MiXeD cAsE iS kEpT".to_owned(), vec!["mixed case is kept".to_owned()]),
            ("before\0after the nul".to_owned(), vec!["before".to_owned()]),
            (
                "compos\u{e9} de quinze".to_owned(),
                vec!["compose\u{301} de quinze".to_owned(), "compose de quinze".to_owned()],
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("user-{number}");
            let body = json!({ "username": name, "password": password });
            assert_eq!(register(&browser, body).await.status, 201, "{password:?}");
            for other in others {
                assert_eq!(browser.stranger().login(&name, &other).await.status, 401, "{other:?}");
            }
            assert_eq!(browser.stranger().login(&name, &password).await.status, 200);
        }
    }

    async fn a_password_is_stored_as_argon2id_at_the_owasp_floor_and_salted(probe: Probe) {
        let default = portcullis::Config::default().password;
        let probe = probe.configured(|config| config.password = default);
        let browser = probe.browser().await;
        let mut hashes = Vec::new();
        for name in ["alice", "bob"] {
            let body = json!({ "username": name, "password": PASSWORD });
            assert_eq!(register(&browser, body).await.status, 201);
            let query = format!("SELECT password_hash FROM auth_account WHERE username = '{name}'");
            let hash = probe.text(&query).await.expect("a hash");
            let rest = hash.strip_prefix("$argon2id$v=19$m=19456,t=2,p=1$").expect("the floor");
            let (salt, _) = rest.split_once('$').expect("salt and output");
            let salt = data_encoding::BASE64_NOPAD.decode(salt.as_bytes()).expect("base64");
            assert!(salt.len() >= 16);
            hashes.push(hash);
        }
        assert_ne!(hashes[0], hashes[1], "one password, two salts");
    }

    async fn where_registration_is_closed_nobody_registers(probe: Probe) {
        let probe = probe.configured(|config| config.login.registration = Registration::Closed);
        let browser = probe.browser().await;
        for body in [
            json!({ "username": "alice", "password": PASSWORD }),
            json!({ "username": "a b", "password": "short" }),
        ] {
            let answer = register(&browser, body).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "registration_closed"));
            assert_eq!(answer.cookie(), None);
        }
        assert_eq!(probe.rows().await, [0; 4]);
        assert_eq!(probe.auth.password_hashes(), 0);
    }

    async fn nothing_but_names_and_a_password_is_taken_from_a_stranger(probe: Probe) {
        let browser = probe.browser().await;
        for field in [
            "role", "roles", "groups", "permissions", "superuser", "is_superuser", "is_admin",
            "admin", "verified", "verified_at", "email_verified", "id", "account_id", "epoch",
            "version", "enrolled_factors", "must_change_password", "password_hash",
            "disabled_at", "created_at", "stage", "ceiling", "Username", "USERNAME", "__proto__",
        ] {
            for value in [json!(true), json!("admin"), json!(["admin"]), Value::Null] {
                let mut body = json!({ "username": "mallory", "password": PASSWORD });
                body[field] = value;
                let answer = register(&browser, body).await;
                assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_body"));
                let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
                assert!(detail.starts_with(&format!("unknown field `{field}`")), "{detail}");
            }
            let request = browser
                .request(Method::POST, "/auth/register")
                .form(&[("username", "mallory"), ("password", PASSWORD), (field, "true")]);
            assert_eq!(send(request).await.status, 400, "{field} in a form");
        }
        assert_eq!(probe.rows().await, [0; 4]);
        let body = json!({ "username": "mallory", "password": PASSWORD });
        assert_eq!(register(&browser, body).await.status, 201);
        let superusers = "SELECT COUNT(*) FROM auth_account WHERE superuser OR verified_at IS NOT NULL";
        assert_eq!(probe.number(superusers).await, 0);
    }

    async fn a_stranger_cannot_make_a_superuser_through_the_method_either(probe: Probe) {
        use portcullis::account::NewAccount;
        use portcullis::registration::Application;

        let account = NewAccount::username("mallory").superuser().verified();
        let application = Application::new(account, PASSWORD);
        let client = portcullis::ClientInfo::default();
        let registered = probe.auth.registration().register(application, &client).await;
        let account = registered.expect("the account is made").account;
        assert!(!account.is_superuser() && !account.is_verified());
    }

    async fn a_visitor_who_registers_stays_the_same_visitor(probe: Probe) {
        let mut browser = probe.browser().await;
        assert_eq!(browser.post_empty("/auth/session/anonymous").await.status, 201);
        let visitor = browser.clone();
        let lineage = browser.get("/anonymous").await.text;
        let body = json!({ "username": "alice", "password": PASSWORD });
        assert_eq!(browser.post("/auth/register", body).await.status, 201);
        assert_eq!(browser.get("/lineage").await.text, lineage);
        assert_ne!(browser.cookie, visitor.cookie);
        let answer = visitor.clone().get("/anonymous").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"));
    }

    async fn a_user_who_is_signed_in_and_registers_again_begins_anew(probe: Probe) {
        let (alice, mut browser) = probe.signed_in("alice").await;
        let old = browser.clone();
        let lineage = browser.get("/lineage").await.text;
        let body = json!({ "username": "bob", "password": PASSWORD });
        assert_eq!(browser.post("/auth/register", body).await.status, 201);
        assert_ne!(browser.get("/me").await.text, alice.id().to_string());
        assert_ne!(browser.get("/lineage").await.text, lineage);
        assert_eq!(old.clone().get("/me").await.code(), "session_ended");
    }

    async fn an_account_that_must_be_verified_gets_no_session(probe: Probe) {
        let probe = probe.configured(|config| config.login.require_verified = true);
        let mut browser = probe.browser().await;
        let body = json!({ "username": "alice", "email": "alice@example.com", "password": PASSWORD });
        let answer = browser.post("/auth/register", body).await;
        assert_eq!((answer.status, &answer.json()["result"]), (201, &json!("verification_required")));
        assert_eq!(browser.cookie, None);
        assert_eq!(probe.rows().await[2], 0);
        assert_eq!(browser.login("alice", PASSWORD).await.status, 401);
        let alice = probe.auth.accounts().find_by_login("alice").await.expect("found");
        let alice = alice.expect("she is there").id();
        probe.auth.accounts().verify(alice).await.expect("she is verified");
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
    }

    async fn a_registration_that_fails_leaves_nothing_behind(probe: Probe) {
        let auth = probe.rebuilt(|builder| builder.on_session_replaced(no_cart));
        let mut browser = Browser::new(serve(app(&auth)).await);
        assert_eq!(browser.post_empty("/auth/session/anonymous").await.status, 201);
        let before = probe.rows().await;
        let body = json!({ "username": "alice", "password": PASSWORD });
        let answer = browser.post("/auth/register", body.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
        assert!(!answer.text.contains("cart"), "{}", answer.text);
        assert_eq!(probe.rows().await, before);
        assert_eq!(browser.get("/anonymous").await.status, 200, "the visitor goes on");
        // Nothing prevents another registration.
        assert_eq!(browser.stranger().post("/auth/register", body).await.status, 201);
    }

    async fn the_application_makes_accounts_whether_or_not_strangers_may(probe: Probe) {
        use portcullis::account::{AccountError, NewAccount};
        use portcullis::registration::RegistrationError;

        let probe = probe.configured(|config| config.login.registration = Registration::Closed);
        let registration = probe.auth.registration();
        let weak = registration.create(NewAccount::username("alice"), "alice").await;
        let Err(RegistrationError::Account(AccountError::Invalid(fields))) = weak else {
            panic!("{weak:?}")
        };
        assert_eq!(fields[0].field, "password");
        assert_eq!(probe.rows().await, [0; 4]);
        let alice = registration.create(NewAccount::username("alice"), PASSWORD).await;
        let alice = alice.expect("an account");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, 0);
        let taken = registration.create(NewAccount::username("Alice"), PASSWORD).await;
        assert!(matches!(taken, Err(RegistrationError::Account(AccountError::Taken(_)))));
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        assert_eq!(browser.get("/me").await.text, alice.id().to_string());
        let body = json!({ "username": "bob", "password": PASSWORD });
        assert_eq!(register(&browser, body).await.status, 403);
    }

    async fn a_form_registers_only_with_proof_that_a_page_of_ours_sent_it(probe: Probe) {
        let browser = probe.browser().await;
        let pairs = [("username", "alice"), ("email", ""), ("password", PASSWORD)];
        let post = || browser.raw(Method::POST, "/auth/register").form(&pairs);
        assert_eq!(send(post()).await.status, 415);
        assert_eq!(send(post().header("sec-fetch-site", "cross-site")).await.status, 403);
        assert_eq!(send(post().header("sec-fetch-site", "none")).await.status, 415);
        assert_eq!(probe.rows().await, [0; 4]);
        let answer = send(post().header("sec-fetch-site", "same-origin")).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert!(answer.cookie().is_some());
    }

    async fn a_bearer_registers_without_a_cookie_where_that_is_switched_on(probe: Probe) {
        let body = json!({ "username": "alice", "password": PASSWORD, "transport": "bearer" });
        let browser = probe.browser().await;
        let answer = register(&browser, body.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bearer_not_enabled"));
        assert_eq!(probe.rows().await, [0; 4]);
        let probe = probe.configured(|config| config.service.bearer = true);
        let answer = register(&probe.browser().await, body).await;
        assert_eq!((answer.status, answer.set_cookies().len()), (201, 0));
        assert!(answer.json()["token"].is_string());
    }
    // The strict mode: nobody learns which addresses are known.

    async fn strict_registration_answers_everybody_with_the_same_bytes_after_one_hash(probe: Probe) {
        let probe = strict(probe);
        addresses_in_every_state(&probe).await;
        let before = probe.mail().await.len();
        let rows = probe.rows().await;
        let browser = probe.browser().await;
        let mut answers = Vec::new();
        for name in STATES {
            let hashes = probe.auth.password_hashes();
            let body = json!({ "email": address(name), "password": PASSWORD });
            let answer = register(&browser, body).await;
            let headers: Vec<_> = answer
                .headers
                .iter()
                .filter(|(name, _)| *name != "date")
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            let hashes = probe.auth.password_hashes() - hashes;
            answers.push((answer.status, answer.text, headers, hashes));
        }
        assert_eq!((answers[0].0, answers[0].3), (202, 1));
        assert!(!answers[0].1.contains("account"), "{}", answers[0].1);
        assert!(answers[0].2.iter().all(|(name, _)| *name != "set-cookie"));
        for answer in &answers {
            assert_eq!(answer, &answers[0]);
        }
        // Each owner is told what applies to their account. The owner of an account that cannot be
        // used is told nothing.
        let mut told: Vec<_> = probe.mail().await[before..]
            .iter()
            .map(|message| (message.to.as_str().to_owned(), message.kind))
            .collect();
        told.sort();
        use portcullis::MessageKind::{AlreadyRegistered, VerifyAddress};
        let expected = [
            // Nobody had verified this address.
            ("deleted@example.com".to_owned(), VerifyAddress),
            ("free@example.com".to_owned(), VerifyAddress),
            ("passwordless@example.com".to_owned(), VerifyAddress),
            ("verified@example.com".to_owned(), AlreadyRegistered),
            ("waiting@example.com".to_owned(), VerifyAddress),
        ];
        assert_eq!(told, expected);
        // Two more accounts, and no session.
        let after = probe.rows().await;
        assert_eq!((after[0] - rows[0], after[1] - rows[1], after[2]), (2, 2, 0));
    }

    async fn strict_registration_costs_the_same_statements_whatever_the_address(probe: Probe) {
        let probe = strict(probe);
        addresses_in_every_state(&probe).await;
        let before = probe.rows().await;
        let browser = probe.browser().await;
        for (username, free) in [(None, "free"), (Some("somebody"), "free-too")] {
            probe.clock.advance(Duration::from_secs(3600));
            let states = STATES.map(|name| if name == "free" { free } else { name });
            let mut ran = Vec::new();
            // The second round is within the cool-down, so nothing more is sent.
            for (again, name) in [false, true].into_iter().flat_map(|again| states.map(|name| (again, name))) {
                let body = json!({ "username": username, "email": address(name), "password": PASSWORD });
                probe.database.statements.take();
                assert_eq!(register(&browser, body).await.status, 202, "{name}");
                ran.push((name, again, probe.database.statements.take()));
            }
            let (_, _, expected) = &ran[0];
            let written = |start: &str| expected.iter().filter(|text| text.starts_with(start)).count();
            assert_eq!((expected.len(), written("SELECT"), written("INSERT")), (12, 2, 7), "{expected:#?}");
            for (name, again, texts) in &ran {
                assert_eq!(texts, expected, "{name}, again: {again}, username: {username:?}");
            }
        }
        // The free addresses have an account now. For the others only the event and the message are
        // stored.
        let after = probe.rows().await;
        assert_eq!((after[0] - before[0], after[1] - before[1], after[2]), (3, 3, 0));
        let told = "SELECT COUNT(*) FROM auth_event WHERE kind = 'user_create_fail'";
        assert_eq!(probe.number(told).await, 4 * STATES.len() as i64 - 3);
    }

    async fn asking_for_a_proof_costs_the_same_statements_whatever_the_address(probe: Probe) {
        let probe = strict(probe);
        addresses_in_every_state(&probe).await;
        let browser = probe.browser().await;
        let mut ran = Vec::new();
        for (again, name) in [false, true].into_iter().flat_map(|again| STATES.map(|name| (again, name))) {
            probe.database.statements.take();
            let body = json!({ "email": address(name) });
            let answer = browser.stranger().post("/auth/verification", body).await;
            assert_eq!(answer.status, 202, "{name}");
            ran.push((name, again, probe.database.statements.take()));
        }
        assert_eq!(ran[0].2.len(), 8, "{:#?}", ran[0].2);
        for (name, again, texts) in &ran {
            assert_eq!(texts, &ran[0].2, "{name}, again: {again}");
        }
    }

    async fn a_registration_held_back_leaves_the_link_that_was_sent_good(probe: Probe) {
        let probe = strict(probe);
        let mut browser = probe.browser().await;
        let body = json!({ "email": ALICE, "password": PASSWORD });
        for _ in 0..3 {
            assert_eq!(browser.post("/auth/register", body.clone()).await.status, 202);
        }
        let sent = probe.mail().await;
        assert_eq!(sent.len(), 1);
        let body = json!({ "token": crate::verification::token_of(&sent[0]), "password": PASSWORD });
        assert_eq!(browser.post("/auth/verification/confirm", body).await.status, 200);
        assert_eq!(browser.login(ALICE, PASSWORD).await.status, 200);
    }

    async fn strict_registration_signs_in_only_after_the_proof(probe: Probe) {
        let probe = strict(probe);
        let mut browser = probe.browser().await;
        assert_eq!(browser.get("/auth/methods").await.json()["registration"], "strict");
        let body = json!({ "username": "alice", "email": ALICE, "password": PASSWORD });
        assert_eq!(browser.post("/auth/register", body).await.status, 202);
        assert_eq!(browser.cookie, None);
        let unknown = browser.login("nobody@example.com", PASSWORD).await;
        for login in [ALICE, "alice"] {
            let refused = browser.login(login, PASSWORD).await;
            assert_eq!((refused.status, &refused.text), (401, &unknown.text), "{login}");
        }
        let token = crate::verification::token_of(&crate::verification::asked(&probe, ALICE).await);
        let body = json!({ "token": token, "password": PASSWORD });
        let answer = browser.post("/auth/verification/confirm", body).await;
        assert_eq!(answer.json(), json!({ "result": "verified" }));
        for login in [ALICE, "Alice"] {
            assert_eq!(browser.login(login, PASSWORD).await.status, 200, "{login}");
        }
    }

    async fn a_right_password_asks_again_for_the_missing_proof_and_answers_the_same(probe: Probe) {
        let probe = strict(probe);
        let mut browser = probe.browser().await;
        let body = json!({ "email": ALICE, "password": PASSWORD });
        assert_eq!(browser.post("/auth/register", body).await.status, 202);
        let first = crate::verification::token_of(&crate::verification::asked(&probe, ALICE).await);
        let unknown = browser.login("nobody@example.com", PASSWORD).await;
        let bytes = |answer: &Answer| {
            let mut headers = answer.headers.clone();
            headers.remove("date");
            (answer.status, answer.text.clone(), headers)
        };
        // Within the cool-down nothing is sent. A wrong password never sends anything.
        let right = browser.login(ALICE, PASSWORD).await;
        assert_eq!(bytes(&right), bytes(&unknown));
        messages_are_written(&probe, 2).await;
        assert_eq!(probe.mail().await.len(), 1);
        probe.clock.advance(Duration::from_secs(60));
        let wrong = browser.login(ALICE, "wrong horse battery staple").await;
        assert_eq!(bytes(&wrong), bytes(&unknown));
        assert_eq!(probe.mail().await.len(), 1);
        let right = browser.login(ALICE, PASSWORD).await;
        assert_eq!(bytes(&right), bytes(&unknown));
        messages_are_written(&probe, 3).await;
        assert_eq!(probe.mail().await.len(), 2);
        let second = crate::verification::token_of(&crate::verification::asked(&probe, ALICE).await);
        assert_ne!(first, second);
        let body = json!({ "token": second, "password": PASSWORD });
        assert_eq!(browser.post("/auth/verification/confirm", body).await.status, 200);
        assert_eq!(browser.login(ALICE, PASSWORD).await.status, 200);
    }

    async fn a_username_does_not_tell_whether_an_address_is_known(probe: Probe) {
        let probe = strict(probe);
        let browser = probe.browser().await;
        let body = json!({ "username": "alice", "email": ALICE, "password": PASSWORD });
        assert_eq!(register(&browser, body).await.status, 202);
        let token = crate::verification::token_of(&crate::verification::asked(&probe, ALICE).await);
        let body = json!({ "token": token, "password": PASSWORD });
        assert_eq!(browser.clone().post("/auth/verification/confirm", body).await.status, 200);
        // A taken username gets a 409 as in the open mode, for any address.
        for email in [ALICE, "free@example.com"] {
            let body = json!({ "username": "ALICE", "email": email, "password": PASSWORD });
            let answer = register(&browser, body).await;
            assert_eq!((answer.status, answer.code().as_str()), (409, "username_taken"));
        }
        // The attack: register a new username with the address, then the same username with another
        // address.
        for (name, email) in [("probe1", ALICE), ("probe2", "unknown@example.com")] {
            for email in [email, &format!("{name}@example.com")] {
                let body = json!({ "username": name, "email": email, "password": PASSWORD });
                let answer = register(&browser, body).await;
                assert_eq!((answer.status, &answer.json()), (202, &json!({ "result": "verification_required" })));
            }
        }
    }

    async fn a_username_goes_to_the_first_who_proves_an_address(probe: Probe) {
        let probe = strict(probe);
        let mut browser = probe.browser().await;
        let mut tokens = Vec::new();
        for email in ["first@example.com", "second@example.com"] {
            let body = json!({ "username": "same", "email": email, "password": PASSWORD });
            assert_eq!(browser.post("/auth/register", body).await.status, 202);
            tokens.push(crate::verification::token_of(&crate::verification::asked(&probe, email).await));
        }
        let confirm = |token: &str| json!({ "token": token, "password": PASSWORD });
        let second = browser.post("/auth/verification/confirm", confirm(&tokens[1])).await;
        assert_eq!(second.json(), json!({ "result": "verified" }));
        let first = browser.post("/auth/verification/confirm", confirm(&tokens[0])).await;
        assert_eq!(first.json(), json!({ "result": "verified", "username_taken": true }));
        let owner = probe.auth.accounts().find_by_login("same").await.expect("it answers");
        assert_eq!(owner.expect("somebody").email(), Some("second@example.com"));
        let first = probe.auth.accounts().find_by_login("first@example.com").await;
        assert_eq!(first.expect("it answers").expect("it is there").username(), None);
    }

    async fn many_registrations_of_one_address_at_once_make_one_account(probe: Probe) {
        // A hundred requests wait for one row, perhaps on a slow machine.
        let probe = probe.configured(|config| {
            config.login.require_verified = true;
            config.login.registration = Registration::Strict;
            config.database.timeout = Duration::from_secs(60);
            // All of them come from one address.
            config.rate.taken_names = None;
            config.rate.registrations = None;
            config.mail.per_source = None;
        });
        let browser = probe.browser().await;
        for (email, many) in [("alice16@example.com", 16), ("alice100@example.com", 100)] {
            let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(many));
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..many {
                let (barrier, browser) = (std::sync::Arc::clone(&barrier), browser.clone());
                // The address in different spellings, each with a username of its own.
                let email = if number % 2 == 0 { email.to_owned() } else { email.to_uppercase() };
                tasks.spawn(async move {
                    barrier.wait().await;
                    let body = json!({ "username": format!("u{number}"), "email": email, "password": PASSWORD });
                    register(&browser, body).await
                });
            }
            let answers = tasks.join_all().await;
            for answer in &answers {
                assert_eq!((answer.status, &answer.text), (202, &answers[0].text));
            }
            let query = format!("SELECT COUNT(*) FROM auth_login_name WHERE normal = '{email}'");
            assert_eq!(probe.number(&query).await, 1);
        }
        assert_eq!(probe.rows().await[..2], [2, 2], "no name that waits is kept from others");
        assert_eq!(probe.mail().await.len(), 2, "one message each, the rest is within the cool-down");
    }

    async fn many_proofs_at_once_give_a_username_to_one_account(probe: Probe) {
        let probe = strict(probe);
        let browser = probe.browser().await;
        let mut bodies = Vec::new();
        for number in 0..8 {
            let email = format!("same{number}@example.com");
            let body = json!({ "username": "same", "email": email, "password": PASSWORD });
            assert_eq!(register(&browser, body).await.status, 202);
            let token = crate::verification::token_of(&crate::verification::asked(&probe, &email).await);
            bodies.push(json!({ "token": token, "password": PASSWORD }));
        }
        let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(bodies.len()));
        let mut tasks = tokio::task::JoinSet::new();
        for body in bodies {
            let (barrier, mut browser) = (std::sync::Arc::clone(&barrier), browser.clone());
            tasks.spawn(async move {
                barrier.wait().await;
                browser.post("/auth/verification/confirm", body).await
            });
        }
        let answers = tasks.join_all().await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        let with_name = answers.iter().filter(|a| a.json() == json!({ "result": "verified" }));
        assert_eq!(with_name.count(), 1);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_account WHERE username = 'same'").await, 1);
    }

    async fn strict_registration_asks_for_an_address_and_takes_no_number(probe: Probe) {
        let probe = strict(probe);
        let browser = probe.browser().await;
        for (body, expected) in [
            (json!({ "username": "alice" }), vec!["email"]),
            (json!({ "email": ALICE, "phone": "+4917012345678" }), vec!["phone"]),
            (json!({ "phone": "+4917012345678" }), vec!["email", "phone"]),
        ] {
            let mut body = body;
            body["password"] = PASSWORD.into();
            let answer = register(&browser, body).await;
            assert_eq!(answer.status, 422, "{}", answer.text);
            assert_eq!(fields(&answer), expected);
            for field in expected {
                let code = if field == "phone" { "add_after_sign_in" } else { "required" };
                assert_eq!(answer.field_codes(field), [code]);
            }
        }
        assert_eq!((probe.rows().await, probe.auth.password_hashes()), ([0; 4], 0));
    }

    /// NextAuth GHSA-xv97-c62v-4587: with a list of addresses, the link was also sent to the
    /// attacker.
    async fn an_address_that_is_a_list_gets_no_account_and_no_mail(probe: Probe) {
        let browser = probe.browser().await;
        let strict = strict(probe);
        for email in [
            "victim@example.com,attacker@example.com", "victim@example.com, attacker@example.com",
            "attacker@example.com,victim@example.com", "victim@example.com;attacker@example.com",
            "victim@example.com attacker@example.com", "<victim@example.com>,<attacker@example.com>",
            "victim@example.com\r\nBcc: attacker@example.com", "a@x,b@y", "\"a@x\"@example.com",
            "Victim <victim@example.com>", "victim@example.com\0attacker@example.com",
        ] {
            for browser in [&browser, &strict.browser().await] {
                let answer = register(browser, json!({ "email": email, "password": PASSWORD })).await;
                assert_eq!((answer.status, fields(&answer)), (422, vec!["email".to_owned()]), "{email:?}");
                let answer = browser.stranger().post("/auth/verification", json!({ "email": email })).await;
                assert_eq!(answer.status, 422, "{email:?}");
            }
        }
        assert_eq!(strict.rows().await, [0; 4]);
        assert_eq!(strict.mail().await.len(), 0);
    }

    /// Devise #5790: a form revealed whether an account exists, unless a mode against this was
    /// switched on.
    async fn asking_twenty_times_tells_no_more_than_asking_once(probe: Probe) {
        let probe = strict(probe);
        let browser = probe.browser().await;
        let body = json!({ "email": ALICE, "password": PASSWORD });
        assert_eq!(register(&browser, body).await.status, 202);
        let mut seen = Vec::new();
        for email in [ALICE, "nobody@example.com"] {
            let mut answers = Vec::new();
            for _ in 0..20 {
                let asked = browser.stranger().post("/auth/verification", json!({ "email": email })).await;
                answers.push((asked.status, asked.text));
            }
            seen.push(answers);
        }
        assert_eq!(seen[0], seen[1]);
        assert!(seen[0].iter().all(|(status, _)| *status == 202));
    }

    /// Fenrus #250: a registration with an existing name overwrote its password.
    async fn registering_an_address_that_is_known_changes_nothing_of_its_account(probe: Probe) {
        let probe = strict(probe);
        let browser = probe.browser().await;
        let body = json!({ "username": "alice", "email": ALICE, "password": PASSWORD });
        assert_eq!(register(&browser, body).await.status, 202);
        let row = "SELECT CONCAT(username, email, password_hash, epoch) FROM auth_account";
        let row = match probe.database.backend {
            crate::support::Backend::Sqlite => row.replace("CONCAT(username, email, password_hash, epoch)", "username || email || password_hash || epoch"),
            _ => row.to_owned(),
        };
        let before = probe.text(&row).await;
        let other = "an attackers own password";
        for verified in [false, true] {
            let body = json!({ "username": "mallory", "email": "ALICE@example.com", "password": other });
            assert_eq!(register(&browser, body).await.status, 202);
            assert_eq!(probe.text(&row).await, before, "verified: {verified}");
            let id = probe.auth.accounts().find_by_login(ALICE).await.expect("it answers");
            probe.auth.accounts().verify(id.expect("she is there").id()).await.expect("it is set");
        }
        assert_eq!(browser.stranger().login(ALICE, other).await.status, 401);
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
    }

    async fn an_address_that_nobody_proved_is_not_kept_for_an_account_that_is_over(probe: Probe) {
        // Otherwise a stranger could keep the address from its owner forever, by deleting the
        // account or by getting it banned.
        let strict = probe.rebuilt(|builder| builder.configure(|config| {
            config.login.require_verified = true;
            config.login.registration = Registration::Strict;
        }));
        let browsers = [probe.browser().await, Browser::new(serve(app(&strict)).await)];
        for (number, browser) in browsers.iter().enumerate() {
            for (end, proved) in [("disabled", false), ("deleted", false), ("disabled", true), ("deleted", true), ("kept", false)] {
                let address = format!("{end}{proved}{number}@example.com");
                let body = json!({ "email": address, "password": PASSWORD });
                assert!(register(browser, body).await.status < 300);
                probe.mail().await;
                let accounts = probe.auth.accounts();
                let before = accounts.find_by_login(&address).await.expect("it answers").expect("it is there");
                if proved {
                    accounts.verify(before.id()).await.expect("it is verified");
                }
                match end {
                    "disabled" => accounts.disable(before.id()).await.expect("it is disabled"),
                    "deleted" => accounts.delete(before.id()).await.expect("it is deleted"),
                    _ => {}
                }
                probe.clock.advance(Duration::from_secs(60));
                let owner = "the long password of the owner";
                let answer = register(browser, json!({ "email": address, "password": owner })).await;
                let freed = !proved && (end == "deleted" || end == "disabled" && number == 0);
                let status = match (number, freed) { (0, true) => 201, (0, false) => 409, _ => 202 };
                assert_eq!(answer.status, status, "{end} {proved}: {}", answer.text);
                let after = accounts.find_by_login(&address).await.expect("it answers");
                let after = after.map(|account| account.id());
                assert_eq!(after != Some(before.id()), freed, "{end} {proved}");
                if end == "disabled" {
                    let before = accounts.find(before.id()).await.expect("it answers");
                    let email = before.and_then(|account| account.email().map(str::to_owned));
                    assert_eq!(email.is_none(), freed, "the row says the same");
                }
                if freed {
                    let token = token_of(&asked(&probe, &address).await);
                    let body = json!({ "token": token, "password": owner });
                    let answer = browser.stranger().post("/auth/verification/confirm", body).await;
                    assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("verified")));
                    assert_eq!(browser.stranger().login(&address, owner).await.status, 200);
                }
            }
        }
    }

    async fn registration_is_strict_by_itself_where_accounts_must_be_verified(probe: Probe) {
        for (require_verified, mode) in [(true, "strict"), (false, "open")] {
            let auth = probe.rebuilt(|builder| {
                builder.configure(|config| {
                    config.login.require_verified = require_verified;
                    config.login.registration = Registration::Automatic;
                })
            });
            let mut browser = Browser::new(serve(app(&auth)).await);
            assert_eq!(browser.get("/auth/methods").await.json()["registration"], mode);
        }
    }

    async fn the_method_that_hands_out_a_session_is_not_for_the_strict_mode(probe: Probe) {
        let probe = strict(probe);
        let application = portcullis::registration::Application::new(
            portcullis::account::NewAccount::email(ALICE),
            PASSWORD,
        );
        let client = portcullis::ClientInfo::default();
        let refused = probe.auth.registration().register(application, &client).await;
        assert!(matches!(refused, Err(portcullis::registration::RegistrationError::Strict)));
        assert_eq!(probe.rows().await, [0; 4]);
    }
}
