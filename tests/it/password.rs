//! The rules for a new password, wherever one is set.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::account::FurtherName;
use portcullis::config::{BreachedOutage, Composition, Strength};
use portcullis::password::BreachedFile;
use portcullis::port::{BreachedList, HookFuture, PasswordSha1};
use serde_json::json;

use crate::on_every_database;
use crate::support::browser::Answer;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

async fn register(browser: &Browser, username: &str, password: &str) -> Answer {
    let body = json!({ "username": username, "password": password });
    browser.stranger().post("/auth/register", body).await
}

/// How the list fails.
#[derive(Clone, Copy)]
enum Broken {
    Fails,
    Hangs,
}

/// A list in memory that records its calls.
#[derive(Clone, Default)]
struct List {
    asked: Arc<AtomicUsize>,
    prefixes: Arc<Mutex<Vec<String>>>,
    broken: Option<Broken>,
}

/// The SHA-1 of "breached but not common", computed elsewhere.
const BREACHED: (&str, &str) =
    ("breached but not common", "33649EEEE0BCA3F3F501C99A74F97FBE00EB818A");

impl BreachedList for List {
    fn contains<'a>(&'a self, password: &'a PasswordSha1) -> HookFuture<'a, bool> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.prefixes.lock().expect("nothing panics").push(password.prefix());
        Box::pin(async move {
            match self.broken {
                Some(Broken::Fails) => Err("no route to host".into()),
                Some(Broken::Hangs) => std::future::pending().await,
                None => Ok(format!("{}{}", password.prefix(), password.suffix()) == BREACHED.1),
            }
        })
    }
}

async fn with_list(probe: &Probe, list: List, outage: BreachedOutage) -> Browser {
    let auth = probe.rebuilt(|builder| {
        builder.breached_list(list).configure(|config| {
            config.password.breached_outage = outage;
            config.password.breached_timeout = Duration::from_millis(50);
        })
    });
    Browser::new(serve(app(&auth)).await)
}

on_every_database! {
    async fn a_common_password_is_refused_with_its_reason_wherever_one_is_set(probe: Probe) {
        let probe = probe.configured(|config| config.password.min_length = 8);
        let (_, mut browser) = probe.signed_in("alice").await;
        let hashes = probe.auth.password_hashes();
        for (number, password) in ["iloveyou", "ILoveYou", "password1", "trustno1", "ｔｒｕｓｔｎｏ１"]
            .into_iter()
            .enumerate()
        {
            let answer = register(&browser, &format!("user-{number}"), password).await;
            assert_eq!(answer.field_codes("password"), ["common_password"]);
            let change = json!({ "current_password": PASSWORD, "new_password": password });
            let answer = browser.put("/auth/password", change).await;
            assert_eq!(answer.field_codes("new_password"), ["common_password"]);
        }
        assert_eq!(probe.auth.password_hashes(), hashes, "nothing was hashed for it");
        let created = probe
            .auth
            .registration()
            .create(portcullis::account::NewAccount::username("carol"), "iloveyou")
            .await;
        assert!(created.is_err(), "the application's own accounts have good passwords too");
        // One word longer, and the password is accepted.
        assert_eq!(register(&browser, "bob", "iloveyou bob").await.status, 201);
        let change = json!({ "current_password": PASSWORD, "new_password": "iloveyou too" });
        assert_eq!(browser.put("/auth/password", change).await.status, 200);
    }

    async fn every_reason_is_given_at_once_and_the_password_is_not_repeated(probe: Probe) {
        let probe = probe.configured(|config| {
            config.service.public_url = Some("https://dragon.example".to_owned());
            config.password.composition = Composition::ThreeOfFour;
        });
        let browser = Browser::new(serve(app(&probe.auth)).await);
        let answer = register(&browser, "dragon", "dragon").await;
        assert_eq!(answer.field_codes("password"), [
            "too_short",
            "is_login_name",
            "is_service_name",
            "common_password",
            "too_few_kinds_of_characters",
        ]);
        let short = json!({
            "code": "too_short",
            "params": { "min": 15 },
            "message": "must have at least 15 characters",
        });
        assert_eq!(answer.json()["errors"]["password"][0], short);
        assert_eq!(answer.json()["errors"]["password"][4]["params"], json!({ "min": 3 }));
        assert_eq!(register(&browser, "dragon", "Correct horse 4 staple").await.status, 201);
    }

    async fn the_names_of_the_service_and_of_the_account_are_refused_with_digits(probe: Probe) {
        let probe = probe.configured(|config| {
            config.password.min_length = 8;
            config.service.public_url = Some("https://www.gutenberg.example".to_owned());
            config.password.context_words = vec!["Letterpress".to_owned()];
        });
        let browser = Browser::new(serve(app(&probe.auth)).await);
        for (number, (email, password, status)) in [
            ("a.liddell@example.com", "gutenberg", 422),
            ("a.liddell@example.com", "Gutenberg2024", 422),
            ("a.liddell@example.com", "gutenberg.example", 422),
            ("a.liddell@example.com", "1letterpress1", 422),
            ("a.liddell@example.com", "A.Liddell1862", 422),
            ("a.liddell@example.com", "a.liddell@example.com", 422),
            ("a.liddell@example.com", "12user-number12", 422),
            ("a.liddell0@example.com", "gutenberg bible", 201),
            ("a.liddell1@example.com", "letterpress-1862", 201),
            ("a.liddell2@example.com", "a liddell 1862", 201),
        ]
        .into_iter()
        .enumerate()
        {
            let username =
                if number == 6 { "user-number".to_owned() } else { format!("user-{number}") };
            let body = json!({ "username": username, "email": email, "password": password });
            let answer = browser.stranger().post("/auth/register", body).await;
            assert_eq!(answer.status, status, "{password}: {}", answer.text);
        }
    }

    async fn a_further_name_is_no_password_either(probe: Probe) {
        let alice = probe.register_with_email("alice", "alice@example.com").await;
        let accounts = probe.auth.accounts();
        for name in [
            FurtherName::username("rosencrantz-of-denmark"),
            FurtherName::email("guildenstern@example.com").verified(),
        ] {
            accounts.add_name(alice.id(), name).await.expect("it is free");
        }
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        let taken = ["Rosencrantz-of-Denmark", "guildenstern@example.com", "rosencrantz-of-denmark1"];
        for new in taken {
            let body = json!({ "current_password": PASSWORD, "new_password": new });
            let answer = browser.put("/auth/password", body).await;
            assert_eq!(answer.status, 422, "{new}: {}", answer.text);
        }
        probe.mail().await;
        assert_eq!(browser.post("/auth/password/forgot", json!({ "login": "alice" })).await.status, 202);
        let mail = probe.mail().await.pop().expect("a link");
        let (_, rest) = mail.text.split_once("#token=").expect("a token");
        let token = rest.split_whitespace().next().expect("it ends");
        for (new, status) in taken.map(|new| (new, 422)).into_iter().chain([("hamlet of denmark", 204)]) {
            let body = json!({ "token": token, "password": new });
            let answer = browser.stranger().post("/auth/password/reset", body).await;
            assert_eq!(answer.status, status, "{new}: {}", answer.text);
        }
        // Names of other accounts do not matter.
        probe.register("bob").await;
        assert_eq!(browser.login("bob", PASSWORD).await.status, 200);
        let body = json!({ "current_password": PASSWORD, "new_password": taken[0] });
        assert_eq!(browser.put("/auth/password", body).await.status, 200);
    }

    async fn strength_is_judged_where_it_is_asked_for(probe: Probe) {
        let probe = probe.configured(|config| {
            config.password.min_length = 8;
            config.password.min_strength = Some(Strength::Good);
        });
        let (_, mut browser) = probe.signed_in("alice").await;
        for (username, password, status) in [
            ("bob", "aaaabbbbcccc", 422),
            ("xqvortlebank", "xqvortlebankx", 422),
            ("dora", "xqvortlebankx", 201),
            ("erin", "vEx9-mulk-38-tandem", 201),
        ] {
            let answer = register(&browser, username, password).await;
            assert_eq!(answer.status, status, "{password}: {}", answer.text);
            if status == 422 {
                assert_eq!(answer.field_codes("password"), ["too_easy_to_guess"]);
            }
        }
        let change = json!({ "current_password": PASSWORD, "new_password": "aaaabbbbcccc" });
        let answer = browser.put("/auth/password", change).await;
        assert_eq!(answer.field_codes("new_password"), ["too_easy_to_guess"]);
        // The longest possible password is checked in bounded time. One byte more, and it is not
        // checked.
        let mut long = "aA1!".repeat(256);
        assert_eq!(register(&browser, "frank", &long).await.status, 422);
        long.push('x');
        assert_eq!(
            register(&browser, "frank", &long).await.json()["errors"]["password"],
            json!([{
                "code": "too_long",
                "params": { "max_bytes": 1024 },
                "message": "must have at most 1024 bytes",
            }])
        );
    }

    async fn a_breached_password_is_refused_and_the_list_is_asked_last(probe: Probe) {
        let list = List::default();
        let mut browser = with_list(&probe, list.clone(), BreachedOutage::Accept).await;
        let asked = || list.asked.load(Ordering::SeqCst);
        let answer = register(&browser, "alice", BREACHED.0).await;
        assert_eq!(answer.field_codes("password"), ["breached_password"]);
        assert_eq!(asked(), 1);
        assert_eq!(register(&browser, "alice", "too short").await.status, 422);
        assert_eq!(asked(), 1, "what is refused anyway is not asked for");
        assert_eq!(register(&browser, "alice", PASSWORD).await.status, 201);
        assert_eq!(asked(), 2);
        let prefixes = list.prefixes.lock().expect("nothing panics").clone();
        assert!(prefixes.iter().all(|prefix| prefix.len() == 5), "{prefixes:?}");
        // The list is not used at a login, so a user whose password is breached later can still
        // sign in.
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        assert_eq!(asked(), 2);
        let change = json!({ "current_password": PASSWORD, "new_password": BREACHED.0 });
        let answer = browser.put("/auth/password", change).await;
        assert_eq!(answer.field_codes("new_password"), ["breached_password"]);
    }

    async fn an_outage_of_the_list_keeps_nobody_from_registering_unless_it_should(probe: Probe) {
        for (number, broken) in [Broken::Fails, Broken::Hangs].into_iter().enumerate() {
            let list = || List { broken: Some(broken), ..List::default() };
            let browser = with_list(&probe, list(), BreachedOutage::Refuse).await;
            let username = format!("user-{number}");
            let before = probe.rows().await;
            let answer = register(&browser, &username, PASSWORD).await;
            assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
            assert_eq!(probe.rows().await, before);
            let browser = with_list(&probe, list(), BreachedOutage::Accept).await;
            assert_eq!(register(&browser, &username, PASSWORD).await.status, 201);
        }
    }

    async fn a_file_of_digests_is_a_list_that_asks_nobody(probe: Probe) {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let mut lines = vec![format!("{}:42", BREACHED.1)];
        lines.extend((0..=255_u8).map(|first| format!("{first:02X}{}:1", "0".repeat(38))));
        lines.sort();
        write!(file, "{}\r\n", lines.join("\r\n")).expect("it is written");
        let list = BreachedFile::open(file.path()).expect("it is a list");
        let auth = probe.rebuilt(|builder| builder.breached_list(list));
        let browser = Browser::new(serve(app(&auth)).await);
        let answer = register(&browser, "alice", BREACHED.0).await;
        assert_eq!(answer.field_codes("password"), ["breached_password"]);
        assert_eq!(register(&browser, "alice", PASSWORD).await.status, 201);
    }

    async fn a_password_manager_is_led_to_the_page_that_is_configured(probe: Probe) {
        let page = |path: Option<&str>| {
            let path = path.map(str::to_owned);
            let auth = probe.rebuilt(|builder| {
                builder.configure(|config| config.password.change_page = path)
            });
            app(&auth).merge(portcullis::password_change::well_known(&auth))
        };
        let ask = async |app: axum::Router| {
            let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
            let url = format!("http://{}/.well-known/change-password", serve(app).await);
            let answer = http.build().expect("a client").get(url).send().await.expect("an answer");
            let location = answer.headers().get("location").map(|l| l.to_str().expect("ASCII").to_owned());
            (answer.status().as_u16(), location)
        };
        let found = ask(page(Some("/settings/password"))).await;
        assert_eq!(found, (303, Some("/settings/password".to_owned())));
        assert_eq!(ask(page(None)).await, (404, None));
        let elsewhere = portcullis::Portcullis::builder(probe.db.clone())
            .secret(probe.secret.clone())
            .configure(|config| config.password.change_page = Some("https://evil.example/".to_owned()))
            .build();
        assert!(elsewhere.is_err_and(|errors| errors.to_string().contains("change_page")));
    }
}
