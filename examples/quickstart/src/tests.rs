//! Tests of what the README says about this example.

use std::net::Ipv4Addr;

use portcullis::base::clock::MockClock;
use portcullis::config::Delivery;
use portcullis::message::RecordingNotifier;
use portcullis::test_kit::TestClient;
use portcullis_test_needs::needs;

use super::*;

#[expect(unreachable_pub, reason = "it is a module of the tests of the library")]
#[path = "../../../tests/it/support/chromium.rs"]
mod chromium;

async fn post(client: &TestClient, app: &Router, path: &str, body: Value) -> u16 {
    client.post(path).json(&body).send(app).await.status().as_u16()
}

async fn started(path: &str) -> Portcullis {
    let db = connect(path).await.expect("a database");
    Migrator::up(&db, None).await.expect("the migrations run");
    let secret = Secret::load_or_create(format!("{path}.secret")).expect("a secret");
    let auth = Portcullis::builder(db).secret(secret).build().expect("a configuration");
    define_roles(&auth).await.expect("roles");
    auth
}

#[tokio::test]
async fn roles_decide_what_an_account_may_do_and_its_session_survives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("test.sqlite").display().to_string();
    let auth = started(&path).await;
    let first = auth.bootstrap_admin(NewAccount::username("admin")).await.expect("an account");
    let first = first.expect("it is the first");

    let service = app(&auth).expect("permissions");
    let alice = auth.test().nobody();
    let get = async |path| alice.get(path).send(&service).await.status();
    assert_eq!(get("/").await, 200);
    assert_eq!(get("/public").await, 200);
    assert_eq!(get("/me").await, 401);
    let weak = json!({ "username": "alice", "password": "short" });
    let answer = alice.post("/auth/register").json(&weak).send(&service).await;
    assert_eq!(answer.status(), 422);
    assert!(answer.text().contains("at least 15 characters"), "{}", answer.text());
    let fine = json!({ "username": "alice", "password": "correct horse battery" });
    assert_eq!(post(&alice, &service, "/auth/register", fine).await, 201);
    assert_eq!(get("/me").await, 200);
    // The password was proved a moment ago. A stranger has proved nothing.
    assert_eq!(post(&alice, &service, "/danger", json!({})).await, 200);
    assert_eq!(post(&auth.test().nobody(), &service, "/danger", json!({})).await, 401);
    assert_eq!(get("/admin").await, 403);
    assert_eq!(get("/docs/1").await, 403);
    let grant = async |client: &TestClient, path| client.put(path).send(&service).await.status();
    assert_eq!(grant(&alice, "/admin/roles/admin/alice").await, 403);

    let admin = auth.test().nobody();
    let login = json!({ "login": "admin", "password": first.password() });
    assert_eq!(post(&admin, &service, "/auth/login", login).await, 200);
    assert_eq!(admin.get("/admin").send(&service).await.status(), 200);
    assert_eq!(grant(&admin, "/admin/roles/reader/alice").await, 204);
    assert_eq!(grant(&admin, "/admin/roles/reader/nobody").await, 404);
    assert_eq!(get("/docs/1").await, 200);

    let again = started(&path).await;
    assert!(again.bootstrap_admin(NewAccount::username("admin")).await.expect("no").is_none());
    let service = app(&again).expect("permissions");
    assert_eq!(alice.get("/docs/1").send(&service).await.status(), 200);
    assert_eq!(alice.post("/auth/logout").send(&service).await.status(), 204);
    assert_eq!(alice.cookie().await, None);
    assert_eq!(alice.get("/me").send(&service).await.status(), 401);
}

/// Who may call what. A change shows up in `access.txt`, so a reviewer sees it.
#[tokio::test]
async fn the_table_of_roles_and_routes_matches_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = started(&directory.path().join("test.sqlite").display().to_string()).await;
    auth.test().matrix(&app(&auth).expect("permissions")).await.check("access.txt");
}

#[tokio::test]
async fn after_some_failures_the_digits_of_a_picture_are_needed() {
    let directory = tempfile::tempdir().expect("a directory");
    let db = connect(&directory.path().join("test.sqlite").display().to_string()).await;
    let db = db.expect("a database");
    Migrator::up(&db, None).await.expect("the migrations run");
    let auth = Portcullis::builder(db).secret(Secret::generate()).captcha(PictureCaptcha::new());
    let auth = auth.build().expect("a configuration");
    let service = app(&auth).expect("permissions");
    let fine = json!({ "username": "alice", "password": "correct horse battery" });
    let alice = auth.test().nobody();
    assert_eq!(post(&alice, &service, "/auth/register", fine).await, 201);

    let elsewhere = auth.test().nobody();
    let wrong = json!({ "login": "alice", "password": "battery horse correct" });
    for status in [401, 401, 401, 401, 401, 403] {
        assert_eq!(post(&elsewhere, &service, "/auth/login", wrong.clone()).await, status);
    }
    let action = json!({ "action": "login" });
    let offer = elsewhere.post("/auth/captcha").json(&action).send(&service).await.json();
    for medium in ["image", "audio"] {
        let path = format!("/auth/{}", offer[medium].as_str().expect("a path"));
        assert_eq!(elsewhere.get(&path).send(&service).await.status(), 200);
    }
    let id = offer["captcha_id"].as_str().expect("an id");
    let digits = auth.captchas().digits(id).await.expect("digits");
    let login = json!({ "login": "alice", "password": "correct horse battery", "captcha": digits,
                        "captcha_id": id });
    assert_eq!(post(&elsewhere, &service, "/auth/login", login).await, 200);
}

/// The token after the `#` in the link of the last mail.
fn token(mail: &RecordingNotifier) -> String {
    let text = mail.sent().last().expect("a mail").text.clone();
    let (_, rest) = text.split_once("#token=").expect("a link");
    rest.split_whitespace().next().expect("a token").to_owned()
}

#[tokio::test]
async fn an_address_is_verified_and_a_forgotten_password_is_reset() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("test.sqlite").display().to_string();
    let db = connect(&path).await.expect("a database");
    Migrator::up(&db, None).await.expect("the migrations run");
    let mail = RecordingNotifier::default();
    let auth = Portcullis::builder(db)
        .secret(Secret::generate())
        .public_url("http://127.0.0.1:3000")
        .notifier(mail.clone())
        .configure(|config| config.mail.delivery = Delivery::ByApplication)
        .build()
        .expect("a configuration");
    let service = app(&auth).expect("permissions");
    let deliver = async || auth.outbox().deliver_due().await.expect("the outbox is read");

    let alice = auth.test().nobody();
    let (old, new) = ("correct horse battery", "another horse battery");
    let person = json!({ "username": "alice", "email": "alice@example.com", "password": old });
    assert_eq!(post(&alice, &service, "/auth/register", person).await, 201);
    deliver().await;
    assert!(mail.sent()[0].text.contains("http://127.0.0.1:3000/verify#token="));
    assert_eq!(alice.get("/verify").send(&service).await.status(), 200);
    let proof = json!({ "token": token(&mail) });
    assert_eq!(post(&alice, &service, "/auth/verification/confirm", proof.clone()).await, 200);
    assert_eq!(post(&alice, &service, "/auth/verification/confirm", proof).await, 409);

    let elsewhere = auth.test().nobody();
    let login = json!({ "login": "alice@example.com" });
    assert_eq!(post(&elsewhere, &service, "/auth/password/forgot", login).await, 202);
    deliver().await;
    let reset = json!({ "token": token(&mail), "password": new });
    assert_eq!(post(&elsewhere, &service, "/auth/password/reset", reset.clone()).await, 204);
    assert_eq!(post(&elsewhere, &service, "/auth/password/reset", reset).await, 409);
    assert_eq!(alice.get("/me").send(&service).await.status(), 401);
    for (password, status) in [(old, 401), (new, 200)] {
        let login = json!({ "login": "alice", "password": password });
        assert_eq!(post(&elsewhere, &service, "/auth/login", login).await, status);
    }
}

/// Waits until this is true in the page.
async fn until(browser: &chromium::Chromium, condition: &str) {
    let pause = "await new Promise((resume) => setTimeout(resume, 20));";
    let script = format!("while (!({condition})) {{ {pause} }} return 'true now';");
    assert_eq!(browser.run(&script).await, "true now", "{condition}");
}

#[needs("PORTCULLIS_TEST_CHROMEDRIVER")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_repeats_what_needed_a_proof_once_and_shows_a_captcha() {
    let chromedriver = std::env::var("PORTCULLIS_TEST_CHROMEDRIVER").expect("the test needs it");
    let directory = tempfile::tempdir().expect("a directory");
    let db = connect(&directory.path().join("test.sqlite").display().to_string()).await;
    let db = db.expect("a database");
    Migrator::up(&db, None).await.expect("the migrations run");
    let clock = MockClock::default();
    let auth = Portcullis::builder(db).secret(Secret::generate()).clock(clock.clone());
    let auth = auth.captcha(PictureCaptcha::new()).build().expect("a configuration");
    let service = app(&auth).expect("permissions");
    let password = "correct horse battery";
    for name in ["alice", "bob"] {
        let fine = json!({ "username": name, "password": password });
        assert_eq!(post(&auth.test().nobody(), &service, "/auth/register", fine).await, 201);
    }
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let site = format!("http://{}/", listener.local_addr().expect("an address"));
    let service = service.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    let profile = tempfile::tempdir().expect("a directory");
    let browser = chromium::Chromium::start(&chromedriver, profile.path()).await;
    browser.open(&site).await;
    // Notes what the page calls, and the answers.
    let noting = "window.answers = []; const before = window.fetch; \
        window.fetch = async (path, options) => { const answer = await before(path, options); \
        window.answers.push(`${path} ${answer.status}`); return answer; }; return 'noting';";
    assert_eq!(browser.run(noting).await, "noting");
    let sign_in = async |name: &str, password: &str| {
        browser.fill("#login-login", name).await;
        browser.fill("#login-password", password).await;
        browser.check("#login button").await;
    };
    let answers = async |path: &str| {
        let script = format!("return window.answers.filter((line) => line.startsWith('{path} '));");
        browser.run(&script).await
    };

    // Something dangerous, when the last proof is too old.
    sign_in("alice", password).await;
    until(&browser, "find('#who').textContent === 'Signed in as alice'").await;
    clock.advance(Duration::from_secs(121));
    browser.check("#danger button").await;
    until(&browser, "!find('#again').hidden && find('#again-for').textContent").await;
    assert_eq!(browser.text("#again-for").await, "Type your password again.");
    assert!(!browser.text("#answer").await.contains("done, this once"));
    browser.fill("#again-password", password).await;
    browser.check("#again button:not([type])").await;
    until(&browser, "find('#answer').textContent.includes('done, this once')").await;
    assert_eq!(answers("/danger").await, json!(["/danger 401", "/danger 200"]));
    browser.check("#logout button").await;
    until(&browser, "find('#who').textContent === 'Not signed in'").await;

    // After some wrong passwords of somebody whom this browser does not know, a picture.
    for number in 1..=6 {
        assert_eq!(browser.run("return find('#login .captcha').hidden;").await, true, "{number}");
        sign_in("bob", "battery horse correct").await;
        let answered = format!(
            "window.answers.filter((line) => line.startsWith('/auth/login ')).length === {}",
            number + 1
        );
        until(&browser, &format!("{answered} && !find('#login button').disabled")).await;
    }
    until(&browser, "find('#login .captcha img')?.naturalWidth === 270").await;
    assert_eq!(browser.run("return find('#login .captcha').hidden;").await, false);
    let refused = answers("/auth/login").await;
    assert_eq!(refused[6], "/auth/login 403", "{refused}");
    browser.quit().await;
}

#[needs("PORTCULLIS_TEST_CHROMEDRIVER")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_adds_a_passkey_and_signs_in_with_it() {
    let chromedriver = std::env::var("PORTCULLIS_TEST_CHROMEDRIVER").expect("the test needs it");
    let directory = tempfile::tempdir().expect("a directory");
    let db = connect(&directory.path().join("test.sqlite").display().to_string()).await;
    let db = db.expect("a database");
    Migrator::up(&db, None).await.expect("the migrations run");
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let site = format!("http://localhost:{}", listener.local_addr().expect("an address").port());
    let auth = Portcullis::builder(db).secret(Secret::generate()).public_url(&site);
    let auth = auth.build().expect("a configuration");
    let service = app(&auth).expect("permissions");
    let password = "correct horse battery";
    let fine = json!({ "username": "alice", "password": password });
    assert_eq!(post(&auth.test().nobody(), &service, "/auth/register", fine).await, 201);
    let service = service.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    let profile = tempfile::tempdir().expect("a directory");
    let browser = chromium::Chromium::start(&chromedriver, profile.path()).await;
    browser.add_authenticator(true).await;
    browser.open(&site).await;
    let signed_in = "find('#who').textContent === 'Signed in as alice'";
    let signed_out = "find('#who').textContent === 'Not signed in'";
    let by_password = async || {
        browser.fill("#login-login", "alice").await;
        browser.fill("#login-password", password).await;
        browser.check("#login button").await;
    };
    by_password().await;
    until(&browser, signed_in).await;
    browser.check("#passkeys button:not([data-remove])").await;
    until(&browser, "document.querySelectorAll('#passkey-list li').length === 1").await;
    // Alone.
    browser.check("#logout button").await;
    until(&browser, signed_out).await;
    browser.check("#login [data-passkey]").await;
    until(&browser, signed_in).await;
    // After the password.
    browser.check("#logout button").await;
    until(&browser, signed_out).await;
    by_password().await;
    until(&browser, "!find('#second [data-passkey]').hidden").await;
    browser.check("#second [data-passkey]").await;
    until(&browser, signed_in).await;
    // It is removed.
    browser.check("#passkey-list [data-remove]").await;
    until(&browser, "document.querySelectorAll('#passkey-list li').length === 0").await;
    browser.check("#logout button").await;
    until(&browser, signed_out).await;
    by_password().await;
    until(&browser, signed_in).await;
    browser.quit().await;
}
