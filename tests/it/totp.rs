//! Authenticators: how they are set up and removed, and how their seeds are kept.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use portcullis::account::NewAccount;
use portcullis::base::clock::MockClock;
use portcullis::identity::owner::{AccountOwner, Factors};
use portcullis::login::{Credentials, LoginOutcome};
use portcullis::second_factor::{FactorCode, SecondFactorError};
use portcullis::totp::TotpError;
use portcullis::{
    Account, ClientInfo, Factor, Identity, MessageKind, PendingSession, Portcullis, Problem,
    Secret, Timestamp,
};
use portcullis_test_needs::needs;
use serde_json::{Value, json};
use sha1::Sha1;

use crate::on_every_database;
use crate::sent_code::prove_mailbox;
use crate::support::browser::{Answer, send};
use crate::support::call::{cookie_of, extracted};
use crate::support::{Backend, Browser, PASSWORD, Probe, needed};

pub(crate) const STEP: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

/// The code that an app shows, computed as RFC 6238 says and without portcullis.
pub(crate) fn code_at(secret: &str, at: Timestamp) -> String {
    let seed = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).expect("base32");
    let mut mac = Hmac::<Sha1>::new_from_slice(&seed).expect("any length");
    mac.update(&(at.as_secs() / 30).to_be_bytes());
    let mac = mac.finalize().into_bytes();
    let offset = usize::from(mac[19] & 0xf);
    let bytes = mac[offset..offset + 4].try_into().expect("four bytes");
    format!("{:06}", (u32::from_be_bytes(bytes) & 0x7fff_ffff) % 1_000_000)
}

/// The code that an app shows now.
pub(crate) fn code(probe: &Probe, secret: &str) -> String {
    code_at(secret, probe.auth_now())
}

/// A code that is right at no accepted time.
pub(crate) fn wrong_code(probe: &Probe, secret: &str) -> String {
    let now = probe.auth_now();
    let right: Vec<_> =
        [now.minus(STEP), now, now.plus(STEP)].into_iter().map(|at| code_at(secret, at)).collect();
    let mut candidates = (0..).map(|number| format!("{number:06}"));
    candidates.find(|candidate| !right.contains(candidate)).expect("there are four codes")
}

#[track_caller]
pub(crate) fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "{answer:?}");
}

/// Asks for a new authenticator, and returns its id and secret.
pub(crate) async fn start(browser: &mut Browser, name: &str) -> (String, String) {
    let answer = browser.post("/auth/totp", json!({ "name": name })).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let text = |member: &str| answer.json()[member].as_str().expect("a text").to_owned();
    (text("id"), text("secret"))
}

/// Sets up an authenticator. Returns its id and secret. The code of this step is used up, so the clock
/// moves to the next one.
pub(crate) async fn enrol(probe: &Probe, browser: &mut Browser, name: &str) -> (String, String) {
    let (id, secret) = start(browser, name).await;
    let body = json!({ "id": id, "code": code(probe, &secret) });
    let answer = browser.post("/auth/totp/confirm", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    probe.clock.advance(STEP);
    (id, secret)
}

/// An account with a proved address and one authenticator. Returns its browser, which is signed in, and
/// the secret.
pub(crate) async fn person(probe: &Probe, name: &str) -> (Account, Browser, String) {
    let account = probe.register_with_email(name, &format!("{name}@example.com")).await;
    probe.auth.accounts().verify(account.id()).await.expect("it is verified");
    let mut browser = probe.browser().await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    prove_mailbox(probe, &mut browser).await;
    let (_, secret) = enrol(probe, &mut browser, "phone").await;
    (account, browser, secret)
}

pub(crate) async fn verify(browser: &mut Browser, code: &str) -> Answer {
    browser.post("/auth/second-factor/verify", json!({ "code": code })).await
}

pub(crate) async fn step_up(browser: &mut Browser, code: &str) -> Answer {
    browser.post("/auth/reauthenticate", json!({ "code": code })).await
}

async fn totp_rows(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_totp").await
}

async fn enrolled(probe: &Probe, account: &Account) -> Vec<Factor> {
    let found = probe.auth.accounts().find(account.id()).await.expect("it answers");
    found.expect("an account").enrolled_factors().iter().collect()
}

/// A sign-in of an account by its methods, without a browser.
async fn pending(auth: &Portcullis, name: &str) -> PendingSession {
    let credentials = Credentials::password(name, PASSWORD);
    let outcome = auth.login().with_password(credentials, &ClientInfo::default()).await;
    match outcome.expect("the password is right") {
        LoginOutcome::SecondFactorRequired(issued) => issued.pending_session().expect("it waits"),
        other => panic!("{other:?}"),
    }
}

/// A session of an account with a recent password and mailed code, as its owner.
pub(crate) async fn owner(auth: &Portcullis, account: &Account) -> AccountOwner<Factors> {
    let client = ClientInfo::default();
    let start = auth.sessions().start(account, &client);
    let start = start.factor(Factor::Password).factor(Factor::MailedCode);
    let identity: Identity = extracted(auth, &cookie_of(&start.await.expect("a session"))).await;
    identity.owner().expect("it has no ceiling")
}

/// The time as a `Date` header shows it.
fn httpdate(at: Timestamp) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(at.as_secs()).expect("a time");
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    at.format(format).expect("a text")
}

/// The codes are those of the program `oathtool`, which knows nothing of portcullis.
#[needs("PORTCULLIS_TEST_OATHTOOL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oathtool_shows_our_codes() {
    use portcullis::config::TotpAlgorithm::{Sha1, Sha256, Sha512};

    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let client = ClientInfo::default();
        let oathtool = needed("PORTCULLIS_TEST_OATHTOOL");
        for algorithm in [Sha1, Sha256, Sha512] {
            for (digits, seconds) in [(6, 30), (6, 60), (7, 30), (7, 60), (8, 30), (8, 60)] {
                let auth = probe.rebuilt(|builder| {
                    builder.configure(|config| {
                        config.totp.algorithm = algorithm;
                        config.totp.digits = digits;
                        config.totp.period = Duration::from_secs(seconds);
                    })
                });
                let what = format!("{algorithm:?} {digits} {seconds}");
                let name = what.to_lowercase().replace(' ', "-");
                let account = auth.accounts().create(NewAccount::username(name)).await;
                let owner = owner(&auth, &account.expect("made")).await;
                let new = auth.totp().start(&owner, "phone", &client).await.expect("it is started");
                let shown_at = |at: Timestamp| {
                    let output = std::process::Command::new(&oathtool)
                        .arg(format!("--totp={}", algorithm.as_str()))
                        .args(["--base32", "--digits", &digits.to_string()])
                        .args(["--time-step-size", &format!("{seconds}s")])
                        .args(["--now", &format!("@{}", at.as_secs()), new.secret()])
                        .output()
                        .expect("oathtool runs");
                    let error = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success(), "{what}: {error}");
                    String::from_utf8(output.stdout).expect("a text").trim().to_owned()
                };
                let now = probe.auth_now();
                let far = shown_at(now.minus(Duration::from_secs(3 * seconds)));
                let refused = auth.totp().confirm(&owner, new.id(), &far, &client).await;
                assert!(matches!(refused, Err(TotpError::WrongCode)), "{what}: {refused:?}");
                let right = shown_at(now);
                assert_eq!(right.len(), digits as usize, "{what}");
                let issued = auth.totp().confirm(&owner, new.id(), &right, &client).await;
                assert!(issued.is_ok(), "{what}: {issued:?}");
                // The next ones are other times.
                probe.clock.advance(Duration::from_secs(7 * 24 * 60 * 60 + 17));
            }
        }
    })
    .await;
}

on_every_database! {
    async fn an_authenticator_is_a_factor_from_its_first_code_on(probe: Probe) {
        let account = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(account.id()).await.expect("it is verified");
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        prove_mailbox(&probe, &mut browser).await;
        let answer = browser.post("/auth/totp", json!({ "name": " my phone ", "qr": true })).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let new = answer.json();
        let secret = new["secret"].as_str().expect("a secret").to_owned();
        assert_eq!(secret.len(), 32, "160 bits");
        let uri = format!(
            "otpauth://totp/app.example.com:alice%40example.com?secret={secret}\
             &issuer=app.example.com&algorithm=SHA1&digits=6&period=30"
        );
        assert_eq!(new["uri"], uri);
        let svg = new["qr_svg"].as_str().expect("a picture");
        assert!(svg.contains("<svg") && svg.ends_with("</svg>") && svg.len() > 2_000, "{svg}");
        assert_eq!(browser.get("/auth/totp").await.json(), json!({ "authenticators": [] }));
        // It is no factor yet.
        assert_eq!(other.stranger().login("alice", PASSWORD).await.json()["result"], "session");
        assert!(probe.mail().await.iter().all(|mail| mail.kind != MessageKind::FactorAdded));
        let confirm = |code: String| json!({ "id": new["id"], "code": code });
        let wrong = confirm(wrong_code(&probe, &secret));
        check(&browser.post("/auth/totp/confirm", wrong).await, 403, "wrong_code");
        assert_eq!(other.get("/me").await.status, 200, "nothing was changed");
        // An app shows the code with a blank.
        let right = code(&probe, &secret);
        let answer = browser.post("/auth/totp/confirm", confirm(format!("{} {}", &right[..3], &right[3..]))).await;
        assert_eq!((answer.status, answer.json()["result"].as_str()), (200, Some("session")), "{}", answer.text);
        assert_eq!(browser.get("/me").await.status, 200, "the session goes on");
        assert_eq!(other.get("/me").await.code(), "session_ended", "all others end");
        let told = probe.mail().await;
        let told = told.iter().filter(|mail| mail.kind == MessageKind::FactorAdded);
        assert_eq!(told.map(|mail| mail.value("factor").expect("a factor")).collect::<Vec<_>>(), ["totp"]);
        let listed = browser.get("/auth/totp").await.json();
        assert_eq!(listed["authenticators"][0]["name"], "my phone");
        assert_eq!(listed["authenticators"].as_array().map(Vec::len), Some(1));
        assert!(!listed.to_string().contains(&secret), "it is shown once");
        let answer = other.login("alice", PASSWORD).await.json();
        assert_eq!(answer["result"], "second_factor_required");
        assert_eq!(answer["methods"], json!([{ "method": "totp" }]));
        // The session has proved the factor.
        let session = browser.get("/auth/session").await.json();
        assert_eq!(session["account"]["second_factors"], json!(["totp"]));
        let factors = session["factors"].clone();
        let names: Vec<_> = factors.as_array().expect("a list").iter().map(|f| f["factor"].clone()).collect();
        assert_eq!(names, ["password", "mailed_code", "totp"]);
    }

    async fn the_code_that_confirms_an_authenticator_does_not_sign_in(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        let (id, secret) = start(&mut browser, "phone").await;
        let first = code(&probe, &secret);
        let answer = browser.post("/auth/totp/confirm", json!({ "id": id, "code": first })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let mut other = browser.stranger();
        other.login("alice", PASSWORD).await;
        check(&verify(&mut other, &first).await, 403, "wrong_code");
        check(&step_up(&mut browser, &first).await, 403, "wrong_code");
        // Nor does the code of the step before, which is older than the one that was used.
        let before = code_at(&secret, probe.auth_now().minus(STEP));
        check(&verify(&mut other, &before).await, 403, "wrong_code");
        // Confirmed is confirmed.
        let again = json!({ "id": id, "code": code_at(&secret, probe.auth_now().plus(STEP)) });
        check(&browser.post("/auth/totp/confirm", again).await, 404, "authenticator_not_found");
        // The code of the next step is accepted already.
        let next = code_at(&secret, probe.auth_now().plus(STEP));
        assert_eq!(verify(&mut other, &next).await.status, 200);
        assert_eq!(other.get("/me").await.status, 200);
    }

    async fn a_node_whose_clock_is_a_step_ahead_blocks_the_others_for_one_step(probe: Probe) {
        let (_, _, secret) = person(&probe, "alice").await;
        let ahead = MockClock::at(probe.auth_now().plus(STEP));
        let fast = probe.rebuilt(|builder| builder.clock(ahead.clone()));
        let slow = &probe.auth;
        let client = ClientInfo::default();
        let try_at = async |node: &Portcullis, code: &str| {
            let waiting = pending(node, "alice").await;
            match node.second_factor().verify(&waiting, FactorCode::totp(code), &client).await {
                Ok(verified) => {
                    assert!(matches!(verified.outcome, LoginOutcome::Session(_)), "{verified:?}");
                    true
                }
                Err(SecondFactorError::WrongCode) => false,
                Err(other) => panic!("{other:?}"),
            }
        };
        let shown_at = |clock: &MockClock| code_at(&secret, portcullis::Clock::now(clock));
        let own = shown_at(&probe.clock);
        let used = shown_at(&ahead);
        assert!(try_at(&fast, &used).await);
        // Neither the code that was used nor an older one is accepted, on any node.
        for node in [slow, &fast] {
            for code in [&used, &own] {
                assert!(!try_at(node, code).await);
            }
        }
        let move_on = || {
            probe.clock.advance(STEP);
            ahead.advance(STEP);
        };
        move_on();
        // The next code of the same app is accepted, first by the slow node, then by the fast one.
        assert!(try_at(slow, &shown_at(&ahead)).await);
        move_on();
        assert!(try_at(&fast, &shown_at(&ahead)).await);
        move_on();
        assert!(try_at(slow, &shown_at(&ahead)).await);
    }

    async fn a_client_does_not_choose_the_time_of_a_code(probe: Probe) {
        let (_, browser, secret) = person(&probe, "alice").await;
        let then = probe.auth_now().minus(10 * STEP);
        let (old, seconds) = (code_at(&secret, then), then.as_secs().to_string());
        let mut waiting = browser.stranger();
        waiting.login("alice", PASSWORD).await;
        const VERIFY: &str = "/auth/second-factor/verify";
        let date = httpdate(then);
        for (path, browser) in [(VERIFY, &waiting), ("/auth/reauthenticate", &browser)] {
            let request = browser.request(reqwest::Method::POST, path).json(&json!({ "code": old }));
            let request = request.header("date", &date).header("x-time", &seconds);
            check(&send(request.header("x-timestamp", &seconds)).await, 403, "wrong_code");
            // A member that the route does not know is refused before the code is compared.
            let body = json!({ "code": old, "time": then.as_secs() });
            let request = browser.request(reqwest::Method::POST, path).json(&body);
            check(&send(request).await, 400, "invalid_body");
            let address = format!("{path}?time={seconds}");
            let request = browser.request(reqwest::Method::POST, &address);
            check(&send(request.json(&json!({ "code": old }))).await, 403, "wrong_code");
        }
        // With the same headers, the code of the present time is right.
        let body = json!({ "code": code(&probe, &secret) });
        let request = waiting.request(reqwest::Method::POST, VERIFY).json(&body);
        let request = request.header("date", &date).header("x-time", &seconds);
        let answer = send(request.header("x-timestamp", &seconds)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    async fn of_many_confirmations_with_one_code_one_succeeds(probe: Probe) {
        let (account, mut browser) = probe.signed_in("alice").await;
        let (id, secret) = start(&mut browser, "phone").await;
        let body = json!({ "id": id, "code": code(&probe, &secret) });
        let mut confirming = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (mut browser, body) = (browser.clone(), body.clone());
            confirming.spawn(async move { browser.post("/auth/totp/confirm", body).await });
        }
        let answers = confirming.join_all().await;
        let confirmed = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(confirmed, 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer.status < 500), "{answers:?}");
        assert_eq!(enrolled(&probe, &account).await, [Factor::Totp]);
        assert_eq!(totp_rows(&probe).await, 1);
    }

    async fn a_change_of_factors_needs_a_recent_factor_of_the_account(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        probe.clock.advance(5 * MINUTE);
        let refused = browser.post("/auth/totp", json!({ "name": "phone" })).await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["password"]));
        assert_eq!(refused.json()["max_age"], 300);
        let password = json!({ "password": PASSWORD });
        assert_eq!(browser.post("/auth/reauthenticate", password.clone()).await.status, 200);
        let (id, secret) = enrol(&probe, &mut browser, "phone").await;
        // With a second factor, the password is not enough any more, not even a minute ago.
        probe.clock.advance(5 * MINUTE);
        assert_eq!(browser.post("/auth/reauthenticate", password).await.status, 200);
        for (method, path, body) in [
            ("POST", "/auth/totp".to_owned(), Some(json!({ "name": "tablet" }))),
            ("POST", "/auth/totp/confirm".to_owned(), Some(json!({ "id": id, "code": "123456" }))),
            ("DELETE", format!("/auth/totp/{id}"), None),
            ("POST", format!("/auth/totp/{id}/remove"), None),
            ("POST", "/auth/recovery-codes".to_owned(), Some(json!({}))),
        ] {
            let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
            let mut request = browser.request(method, &path);
            if let Some(body) = &body {
                request = request.json(body);
            }
            let refused = browser.send(request).await;
            check(&refused, 401, "insufficient_user_authentication");
            assert_eq!(refused.json()["factors"], json!(["totp"]), "{path}");
        }
        assert_eq!(step_up(&mut browser, &code(&probe, &secret)).await.status, 200);
        start(&mut browser, "tablet").await;
    }

    async fn nobody_sets_up_a_factor_before_the_address_is_proved(probe: Probe) {
        let account = probe.register_with_email("alice", "alice@example.com").await;
        let mut browser = probe.browser().await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        let name = json!({ "name": "phone" });
        check(&browser.post("/auth/totp", name.clone()).await, 403, "address_not_proved");
        assert_eq!(totp_rows(&probe).await, 0);
        probe.auth.accounts().verify(account.id()).await.expect("it is verified");
        prove_mailbox(&probe, &mut browser).await;
        assert_eq!(browser.post("/auth/totp", name).await.status, 201);
    }

    async fn names_are_checked_and_an_authenticator_does_not_wait_forever(probe: Probe) {
        let (_, mut browser) = probe.signed_in("alice").await;
        for (name, code) in [
            ("  ", "required"),
            (&*"x".repeat(65), "too_long"),
            ("a\u{7}b", "invalid_character"),
        ] {
            let answer = browser.post("/auth/totp", json!({ "name": name })).await;
            assert_eq!(answer.field_codes("name"), [code], "{name:?}");
        }
        let (first, old) = start(&mut browser, &"é".repeat(64)).await;
        // A new one takes the place of the first.
        let (second, secret) = start(&mut browser, "phone").await;
        assert_eq!(totp_rows(&probe).await, 1);
        let body = json!({ "id": first, "code": code(&probe, &old) });
        check(&browser.post("/auth/totp/confirm", body).await, 404, "authenticator_not_found");
        for id in ["", "x", "018f0000-0000-7000-8000-000000000000"] {
            let body = json!({ "id": id, "code": code(&probe, &secret) });
            check(&browser.post("/auth/totp/confirm", body).await, 404, "authenticator_not_found");
        }
        probe.clock.advance(15 * MINUTE);
        let password = json!({ "password": PASSWORD });
        assert_eq!(browser.post("/auth/reauthenticate", password).await.status, 200);
        let body = json!({ "id": second, "code": code(&probe, &secret) });
        check(&browser.post("/auth/totp/confirm", body).await, 404, "authenticator_not_found");
    }

    async fn each_authenticator_has_its_own_seed_and_its_own_step(probe: Probe) {
        let (_, mut browser, phone) = person(&probe, "alice").await;
        let (tablet_id, tablet) = enrol(&probe, &mut browser, "tablet").await;
        assert_ne!(phone, tablet);
        for secret in [&phone, &tablet] {
            let mut other = browser.stranger();
            other.login("alice", PASSWORD).await;
            assert_eq!(verify(&mut other, &code(&probe, secret)).await.status, 200);
        }
        probe.clock.advance(STEP);
        // One is removed: the other one stays, and so does the factor.
        assert_eq!(step_up(&mut browser, &code(&probe, &phone)).await.status, 200);
        let answer = browser.delete(&format!("/auth/totp/{tablet_id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        probe.clock.advance(STEP);
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.json()["result"], "second_factor_required");
        check(&verify(&mut other, &code(&probe, &tablet)).await, 403, "wrong_code");
        assert_eq!(verify(&mut other, &code(&probe, &phone)).await.status, 200);
        let told = probe.mail().await;
        let removed = told.iter().filter(|mail| mail.kind == MessageKind::FactorRemoved).count();
        assert_eq!(removed, 1, "the owner is told although the factor stays");
    }

    async fn an_account_has_a_limited_number_of_authenticators(probe: Probe) {
        let probe = probe.configured(|config| config.totp.max_per_account = 2);
        let (_, mut browser, _) = person(&probe, "alice").await;
        enrol(&probe, &mut browser, "tablet").await;
        let third = browser.post("/auth/totp", json!({ "name": "watch" })).await;
        check(&third, 409, "too_many_authenticators");
    }

    async fn the_last_authenticator_takes_its_rows_with_it(probe: Probe) {
        let (alice, mut browser, secret) = person(&probe, "alice").await;
        let (_, mut bob, _) = person(&probe, "bob").await;
        let id = |listed: Value| listed["authenticators"][0]["id"].as_str().expect("an id").to_owned();
        let (own, other) = (id(browser.get("/auth/totp").await.json()), id(bob.get("/auth/totp").await.json()));
        let codes = browser.post("/auth/recovery-codes", json!({})).await;
        assert_eq!(codes.status, 201, "{}", codes.text);
        for unknown in [&*other, "x", "018f0000-0000-7000-8000-000000000000"] {
            check(&browser.delete(&format!("/auth/totp/{unknown}")).await, 404, "authenticator_not_found");
        }
        // A waiting one is none.
        let (waiting, _) = start(&mut browser, "tablet").await;
        check(&browser.delete(&format!("/auth/totp/{waiting}")).await, 404, "authenticator_not_found");
        let answer = browser.post_empty(&format!("/auth/totp/{own}/remove")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(browser.get("/me").await.status, 200, "the session goes on");
        assert!(enrolled(&probe, &alice).await.is_empty());
        assert_eq!(totp_rows(&probe).await, 1, "only that of bob");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_recovery_code").await, 0);
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.json()["result"], "session");
        check(&step_up(&mut browser, &code(&probe, &secret)).await, 403, "wrong_code");
        let told = probe.mail().await;
        let removed = told.iter().filter(|mail| mail.kind == MessageKind::FactorRemoved);
        let removed = removed.map(|mail| mail.value("factor").expect("a factor").to_owned());
        let removed: std::collections::BTreeSet<_> = removed.collect();
        assert_eq!(removed.into_iter().collect::<Vec<_>>(), ["recovery code", "totp"]);
    }

    async fn a_factor_that_an_administrator_removed_does_not_come_back(probe: Probe) {
        let (alice, mut browser, secret) = person(&probe, "alice").await;
        let accounts = probe.auth.accounts();
        accounts.set_enrolled_factors(alice.id(), []).await.expect("set");
        assert_eq!(totp_rows(&probe).await, 0);
        // The application checks codes by itself from now on.
        accounts.set_enrolled_factors(alice.id(), [Factor::Totp]).await.expect("set");
        browser.login("alice", PASSWORD).await;
        check(&verify(&mut browser, &code(&probe, &secret)).await, 403, "wrong_code");
    }

    async fn an_authenticator_that_was_forgotten_never_counts_again(probe: Probe) {
        let (_, mut browser, stolen) = person(&probe, "alice").await;
        // An older version, which does not know the table, takes the factor away.
        probe.execute("UPDATE auth_account SET version = version + 1, enrolled_factors = 0").await;
        let (_, new) = enrol(&probe, &mut browser, "new phone").await;
        assert_eq!(totp_rows(&probe).await, 1);
        let mut thief = browser.stranger();
        thief.login("alice", PASSWORD).await;
        check(&verify(&mut thief, &code(&probe, &stolen)).await, 403, "wrong_code");
        assert_eq!(verify(&mut thief, &code(&probe, &new)).await.status, 200);
    }

    async fn a_seed_is_encrypted_and_belongs_to_its_row(probe: Probe) {
        let (alice, _, secret) = person(&probe, "alice").await;
        let (bob, _, _) = person(&probe, "bob").await;
        let seed = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).expect("base32");
        let needles = [
            data_encoding::HEXLOWER.encode(&seed),
            data_encoding::HEXLOWER.encode(secret.as_bytes()),
            data_encoding::HEXLOWER.encode(data_encoding::BASE64URL_NOPAD.encode(&seed).as_bytes()),
        ];
        for table in ["auth_totp", "auth_event", "auth_outbox", "auth_account"] {
            for value in probe.hex_dump(table).await {
                assert!(needles.iter().all(|needle| !value.contains(needle)), "{table}: {value}");
            }
        }
        // Bob gets the seed of alice, whose codes somebody knows.
        let id = |account: &Account| format!("(SELECT id FROM auth_account WHERE username = '{}')", account.username().expect("a name"));
        let sealed = format!("SELECT seed FROM auth_totp WHERE account_id = {}", id(&alice));
        let sealed = probe.text(&sealed).await.expect("a seed");
        probe.execute(&format!("UPDATE auth_totp SET seed = '{sealed}' WHERE account_id = {}", id(&bob))).await;
        let auth = &probe.auth;
        let waiting = pending(auth, "bob").await;
        let stolen = FactorCode::totp(code(&probe, &secret));
        let refused = auth.second_factor().verify(&waiting, stolen.clone(), &ClientInfo::default()).await;
        assert!(matches!(refused, Err(SecondFactorError::WrongCode)), "{refused:?}");
        assert!(auth.audit().iter().any(|finding| finding.code == "totp_seed_unreadable"));
        // At the right row it is right.
        let waiting = pending(auth, "alice").await;
        let verified = auth.second_factor().verify(&waiting, stolen, &ClientInfo::default()).await;
        assert!(matches!(verified.expect("it is right").outcome, LoginOutcome::Session(_)));
    }

    async fn a_seed_is_encrypted_again_when_its_secret_is_old(probe: Probe) {
        let (_, _, secret) = person(&probe, "alice").await;
        let before = probe.text("SELECT key_id FROM auth_totp").await.expect("a key");
        let new = Secret::generate();
        let client = ClientInfo::default();
        for secrets in [vec![new.clone(), probe.secret.clone()], vec![new]] {
            let auth = probe.rebuilt(|builder| builder.configure(|config| config.keys.secrets = secrets));
            probe.clock.advance(STEP);
            let waiting = pending(&auth, "alice").await;
            let right = FactorCode::totp(code(&probe, &secret));
            let verified = auth.second_factor().verify(&waiting, right, &client).await;
            assert!(matches!(verified.expect("it is right").outcome, LoginOutcome::Session(_)));
            assert_ne!(probe.text("SELECT key_id FROM auth_totp").await.as_ref(), Some(&before));
        }
    }

    async fn maintenance_encrypts_seeds_again_and_counts_what_needs_an_old_secret(probe: Probe) {
        let (_, mut browser, secret) = person(&probe, "alice").await;
        person(&probe, "bob").await;
        let answer = browser.post("/auth/recovery-codes", json!({})).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        probe.mail().await;
        let old = probe.text("SELECT DISTINCT key_id FROM auth_totp").await.expect("one key");
        assert_eq!(probe.auth.maintenance().old_secrets().await.expect("it answers"), []);
        let new = Secret::generate();
        let with = |secrets: Vec<Secret>| {
            probe.rebuilt(|builder| builder.configure(|config| config.keys.secrets = secrets))
        };
        let counts = |auth: Portcullis| async move {
            let left = auth.maintenance().old_secrets().await.expect("it answers");
            let left = left.into_iter().map(|old| {
                (old.key_id, old.configured, old.authenticators, old.recovery_codes, old.messages)
            });
            left.collect::<Vec<_>>()
        };
        // A secret that was removed too early is named, and nothing is changed.
        let removed = with(vec![new.clone()]);
        assert_eq!(counts(removed.clone()).await, [(old.clone(), false, 2, 10, 0)]);
        assert_eq!(removed.maintenance().run().await.expect("it runs").encrypted_seeds, 0);
        let auth = with(vec![new.clone(), probe.secret.clone()]);
        assert_eq!(counts(auth.clone()).await, [(old.clone(), true, 2, 10, 0)]);
        // A seed that somebody has changed harms no other.
        let damaged = "UPDATE auth_totp SET seed = 'damaged' WHERE account_id = \
            (SELECT id FROM auth_account WHERE username = 'bob')";
        probe.execute(damaged).await;
        assert_eq!(auth.maintenance().run().await.expect("it runs").encrypted_seeds, 1);
        assert_eq!(counts(auth.clone()).await, [(old.clone(), true, 1, 10, 0)]);
        assert_eq!(auth.maintenance().run().await.expect("it runs").encrypted_seeds, 0);
        // The old secret is not needed any more for the seed of alice.
        let waiting = pending(&removed, "alice").await;
        let right = FactorCode::totp(code(&probe, &secret));
        let verified = removed.second_factor().verify(&waiting, right, &ClientInfo::default()).await;
        assert!(matches!(verified.expect("it is right").outcome, LoginOutcome::Session(_)));
        // A message that waits needs it too.
        let forgot = probe.auth.password_reset().forgot("bob@example.com", &ClientInfo::default()).await;
        forgot.expect("a message");
        assert_eq!(counts(auth).await, [(old, true, 1, 10, 1)]);
    }

    async fn an_authenticator_that_never_got_its_code_is_removed(probe: Probe) {
        let (_, mut browser, _) = person(&probe, "alice").await;
        start(&mut browser, "tablet").await;
        let removed = async || probe.auth.maintenance().run().await.expect("it runs").authenticators;
        probe.clock.advance(60 * MINUTE);
        assert_eq!(removed().await, 0);
        probe.clock.advance(Duration::from_millis(1));
        assert_eq!(removed().await, 1);
        assert_eq!(totp_rows(&probe).await, 1, "the other one is a factor");
        // With a longer life it stays longer.
        let (_, mut browser) = probe.signed_in("bob").await;
        start(&mut browser, "phone").await;
        let auth = probe.rebuilt(|builder| builder.configure(|config| {
            config.totp.confirm_lifetime = 3 * 60 * MINUTE;
        }));
        probe.clock.advance(2 * 60 * MINUTE);
        assert_eq!(auth.maintenance().run().await.expect("it runs").authenticators, 0);
        assert_eq!(removed().await, 1);
    }

    async fn a_name_that_an_app_could_misread_is_not_in_the_address(probe: Probe) {
        let auth = probe.rebuilt(|builder| builder.configure(|config| {
            config.totp.issuer = Some("Shop & Co".to_owned());
        }));
        // A colon is refused in every name, and a long name does not fit on the screen of an app.
        let address = format!("{}@example.com", "a".repeat(60));
        let account = auth.accounts().create(NewAccount::email(address).verified()).await.expect("made");
        let new = auth.totp().start(&owner(&auth, &account).await, "phone", &ClientInfo::default()).await;
        let new = new.expect("it is started");
        let start = format!("otpauth://totp/Shop%20%26%20Co:{}?secret=", account.id());
        assert!(new.uri().starts_with(&start), "{}", new.uri());
        assert_eq!(format!("{new:?}").matches(new.secret()).count(), 0);
    }

    async fn other_settings_are_kept_with_the_authenticator(probe: Probe) {
        use portcullis::config::TotpAlgorithm;
        let auth = probe.rebuilt(|builder| builder.configure(|config| {
            config.totp.algorithm = TotpAlgorithm::Sha512;
            config.totp.digits = 8;
            config.totp.period = MINUTE;
        }));
        let account = probe.register("alice").await;
        let client = ClientInfo::default();
        let owner = owner(&auth, &account).await;
        let new = auth.totp().start(&owner, "phone", &client).await.expect("it is started");
        assert!(new.uri().ends_with("&algorithm=SHA512&digits=8&period=60"), "{}", new.uri());
        // The code of another algorithm is wrong, with any settings of this node.
        let sha1 = code(&probe, new.secret());
        for auth in [&auth, &probe.auth] {
            let refused = auth.totp().confirm(&owner, new.id(), &sha1, &client).await;
            assert!(matches!(refused, Err(TotpError::WrongCode)), "{refused:?}");
        }
        let seed = data_encoding::BASE32_NOPAD.decode(new.secret().as_bytes()).expect("base32");
        let mut mac = Hmac::<sha2::Sha512>::new_from_slice(&seed).expect("any length");
        mac.update(&(probe.auth_now().as_secs() / 60).to_be_bytes());
        let mac = mac.finalize().into_bytes();
        let offset = usize::from(mac[63] & 0xf);
        let bytes = mac[offset..offset + 4].try_into().expect("four bytes");
        let right = format!("{:08}", (u32::from_be_bytes(bytes) & 0x7fff_ffff) % 100_000_000);
        let issued = probe.auth.totp().confirm(&owner, new.id(), &right, &client).await;
        assert!(issued.is_ok(), "{issued:?}");
    }

    async fn a_session_that_ended_meanwhile_changes_no_factor(probe: Probe) {
        let account = probe.register("alice").await;
        let (auth, client) = (&probe.auth, ClientInfo::default());
        let owner = owner(auth, &account).await;
        let new = auth.totp().start(&owner, "phone", &client).await.expect("it is started");
        auth.sessions().end_all(account.id(), None).await.expect("they end");
        let refused = auth.totp().confirm(&owner, new.id(), &code(&probe, new.secret()), &client).await;
        assert_eq!(refused.expect_err("it has ended").code(), "session_ended");
        let refused = auth.totp().start(&owner, "phone", &client).await;
        assert_eq!(refused.expect_err("it has ended").code(), "session_ended");
        assert!(enrolled(&probe, &account).await.is_empty());
        // One session alone was ended: the epoch is the same.
        let account = auth.accounts().find(account.id()).await.expect("it answers").expect("alice");
        let owner = self::owner(auth, &account).await;
        let new = auth.totp().start(&owner, "phone", &client).await.expect("it is started");
        auth.sessions().end_one(account.id(), owner.session().id()).await.expect("it ends");
        let refused = auth.totp().confirm(&owner, new.id(), &code(&probe, new.secret()), &client).await;
        assert_eq!(refused.expect_err("it has ended").code(), "session_ended");
        assert!(enrolled(&probe, &account).await.is_empty());
    }
}
