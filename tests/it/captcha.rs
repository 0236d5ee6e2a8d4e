//! Captchas: when one is needed, that each kind is accepted once, and what it shows.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Form, Json, Router};
use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use portcullis::captcha::{
    Captcha, CaptchaError, CaptchaFuture, CaptchaRequest, CaptchaResponse, CaptchaVerdict,
    HostedCaptcha, PictureCaptcha, ProofOfWork,
};
use portcullis::config::{CaptchaConfig, Registration};
use portcullis::port::{HookFuture, HttpAnswer, HttpClient};
use portcullis::rate_limit::Quota;
use portcullis::{ClientInfo, Config, Portcullis, Problem};
use portcullis_test_needs::needs;
use serde_json::{Map, Value, json};
use sha2::Sha256;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::Answer;
use crate::support::probe::{app, builder, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe, needed, until};

const CAPTCHA: &str = "/auth/captcha";
const FORGOT: &str = "/auth/password/forgot";
const REGISTER: &str = "/auth/register";
const WRONG: &str = "not the right password";
const MOMENT: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A node of the probe with this captcha.
fn node(
    probe: &Probe,
    captcha: impl Captcha,
    change: impl FnOnce(&mut CaptchaConfig),
) -> Portcullis {
    let configured = |config: &mut Config| {
        config.captcha.per_source = Quota::per_minute(10_000);
        change(&mut config.captcha);
    };
    probe.rebuilt(|builder| builder.captcha(captcha).configure(configured))
}

pub(crate) fn easy() -> ProofOfWork {
    ProofOfWork::new().cost(1).zeros(1)
}

/// A browser of a node, which connects from `127.0.0.<source>`.
async fn browser_from(auth: &Portcullis, source: u8) -> Browser {
    Browser::from_source(serve(app(auth)).await, IpAddr::from([127, 0, 0, source]))
}

#[track_caller]
fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
}

/// Checks that a captcha is needed, and that the answer names it.
#[track_caller]
fn check_needed(answer: &Answer, code: &str, kind: &str, action: &str) {
    check(answer, 403, code);
    assert_eq!(answer.json()["captcha"], json!({ "kind": kind, "action": action }));
    assert!(answer.set_cookies().is_empty(), "{answer:?}");
}

async fn offer(browser: &Browser, action: &str) -> Value {
    let answer = browser.stranger().post(CAPTCHA, json!({ "action": action })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["action"], action);
    answer.json()
}

/// Tries keys as a browser does, and returns what a widget puts into the form.
fn solve(challenge: &Value) -> String {
    let parameters = &challenge["parameters"];
    let bytes = |name: &str| {
        HEXLOWER.decode(parameters[name].as_str().expect("a text").as_bytes()).expect("hexadecimal")
    };
    assert_eq!(parameters["cost"], 1, "this knows only one iteration");
    let (nonce, mut salt) = (bytes("nonce"), bytes("salt"));
    salt.extend(1_u32.to_be_bytes());
    let keys = (0_u32..).map(|counter| {
        let password = [&nonce[..], &counter.to_be_bytes()].concat();
        let mut mac = Hmac::<Sha256>::new_from_slice(&password).expect("a key");
        mac.update(&salt);
        (counter, HEXLOWER.encode(&mac.finalize().into_bytes()))
    });
    let prefix = parameters["keyPrefix"].as_str().expect("a text");
    let (counter, key) = keys.into_iter().find(|(_, key)| key.starts_with(prefix)).expect("a key");
    let solution = json!({ "counter": counter, "derivedKey": key, "time": 1.5 });
    BASE64.encode(json!({ "challenge": challenge, "solution": solution }).to_string().as_bytes())
}

pub(crate) async fn solved(browser: &Browser, action: &str) -> String {
    solve(&offer(browser, action).await["challenge"])
}

fn login(name: &str, password: &str, captcha: &str) -> Value {
    json!({ "login": name, "password": password, "captcha": captcha })
}

async fn fail(browser: &Browser, name: &str, times: usize) {
    for _ in 0..times {
        check(&browser.stranger().login(name, WRONG).await, 401, "invalid_credentials");
    }
}

on_every_database! {
    async fn without_a_captcha_nothing_is_asked_and_nothing_is_counted(probe: Probe) {
        let browser = probe.browser().await;
        fail(&browser, "nobody", 8).await;
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_captcha_failures").await, 0);
        assert_eq!(browser.stranger().post(CAPTCHA, json!({ "action": "login" })).await.status, 404);
        let error = probe.auth.captchas().offer("login", &ClientInfo::default()).await;
        assert!(matches!(error, Err(CaptchaError::NotConfigured)), "{error:?}");
    }

    async fn a_name_that_failed_needs_one_whether_or_not_it_has_an_account(probe: Probe) {
        let auth = node(&probe, easy(), |_| {});
        probe.register("alice").await;
        let began = probe.auth_now();
        for (name, source, right) in [("alice", 2, 200), ("nobody", 4, 401)] {
            let browser = browser_from(&auth, source).await;
            let other = browser_from(&auth, source + 1).await;
            fail(&browser, name, 4).await;
            // All spellings count together, from wherever they come.
            fail(&other, &name.to_uppercase(), 1).await;
            for password in [WRONG, PASSWORD] {
                for browser in [&browser, &other] {
                    let answer = browser.stranger().login(name, password).await;
                    check_needed(&answer, "captcha_required", "proof_of_work", "login");
                }
            }
            // What is wrong in any way does not do.
            let good = solved(&browser, "login").await;
            let of_forgot = solved(&browser, "forgot").await;
            for bad in [&of_forgot, "", "x", &good[4..], &BASE64.encode(b"{}")] {
                let answer = browser.stranger().post("/auth/login", login(name, PASSWORD, bad)).await;
                let code = if bad.is_empty() { "captcha_required" } else { "wrong_captcha" };
                check_needed(&answer, code, "proof_of_work", "login");
            }
            // A right one is asked for before each attempt, and each attempt uses it up.
            let answer = other.stranger().post("/auth/login", login(name, WRONG, &good)).await;
            check(&answer, 401, "invalid_credentials");
            let answer = other.stranger().post("/auth/login", login(name, PASSWORD, &good)).await;
            check_needed(&answer, "wrong_captcha", "proof_of_work", "login");
            // The sixth failure is also followed by a delay, which has nothing to do with captchas.
            probe.clock.advance(Duration::from_secs(1));
            let body = login(name, PASSWORD, &solved(&browser, "login").await);
            assert_eq!(browser.stranger().post("/auth/login", body).await.status, right);
            // A success shows nothing: the name needs one as before.
            let answer = browser.stranger().login(name, PASSWORD).await;
            check_needed(&answer, "captcha_required", "proof_of_work", "login");
            // A request without a captcha is no attempt.
            let tries = "SELECT COUNT(*) FROM auth_captcha_failures WHERE failures > 7";
            assert_eq!(probe.number(tries).await, 0);
        }
        // Each failure counts for the same time, from the first one.
        probe.clock.advance(began.plus(10 * MINUTE).since(probe.auth_now()) - MOMENT);
        let browser = browser_from(&auth, 9).await;
        let answer = browser.stranger().login("alice", PASSWORD).await;
        check_needed(&answer, "captcha_required", "proof_of_work", "login");
        probe.clock.advance(MOMENT);
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
    }

    async fn a_source_that_failed_needs_one_for_every_name(probe: Probe) {
        let auth = node(&probe, easy(), |config| config.login_after = Some(3));
        probe.register("alice").await;
        let (busy, quiet) = (browser_from(&auth, 2).await, browser_from(&auth, 3).await);
        for name in ["one", "two", "three"] {
            fail(&busy, name, 1).await;
        }
        let answer = busy.stranger().login("alice", PASSWORD).await;
        check_needed(&answer, "captcha_required", "proof_of_work", "login");
        assert_eq!(quiet.stranger().login("alice", PASSWORD).await.status, 200);
        // It needs none for another action.
        assert_eq!(busy.stranger().post(FORGOT, json!({ "login": "alice" })).await.status, 202);
        // All clients without a known address together may fail as often as ten sources.
        let nowhere = ClientInfo::default();
        let attempt = async |name: String| {
            let credentials = portcullis::login::Credentials::password(name, WRONG);
            auth.login().with_password(credentials, &nowhere).await.expect_err("wrong").code()
        };
        for number in 0..30 {
            assert_eq!(attempt(format!("nobody{number}")).await, "invalid_credentials");
        }
        assert_eq!(attempt("another".to_owned()).await, "captcha_required");
    }

    async fn a_burst_of_sign_ins_gets_no_further_than_one_after_the_other(probe: Probe) {
        let auths = [node(&probe, easy(), |_| {}), node(&probe, easy(), |_| {})];
        probe.register("alice").await;
        for (number, spread) in [(0_u8, false), (1, true)] {
            let at = [browser_from(&auths[0], 40 + number).await, browser_from(&auths[1], 40 + number).await];
            let answers = crate::race::parallel(60, |number| {
                // One name, or many names from one source.
                let name = if spread { format!("somebody{number}") } else { "alice".to_owned() };
                let mut browser = at[number % 2].stranger();
                async move { browser.login(&name, WRONG).await }
            })
            .await;
            let codes: Vec<_> = answers.iter().map(Answer::code).collect();
            let count = |code: &str| codes.iter().filter(|one| *one == code).count();
            assert!(count("invalid_credentials") <= 5, "{codes:?}");
            assert_eq!(count("invalid_credentials") + count("captcha_required"), 60, "{codes:?}");
            // A request that was refused does not count.
            let most = "SELECT COUNT(*) FROM auth_captcha_failures WHERE failures > 5";
            assert_eq!(probe.number(most).await, 0);
        }
    }

    async fn a_sign_in_that_succeeds_does_not_count_and_begins_no_window(probe: Probe) {
        let auth = node(&probe, easy(), |_| {});
        probe.register("alice").await;
        let browser = browser_from(&auth, 2).await;
        for _ in 0..8 {
            assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
        }
        let failures = "SELECT COUNT(*) FROM auth_captcha_failures WHERE failures > 0";
        assert_eq!(probe.number(failures).await, 0);
        // The window begins with the first failure, and not with a success before it.
        probe.clock.advance(9 * MINUTE);
        fail(&browser, "alice", 5).await;
        probe.clock.advance(2 * MINUTE);
        let answer = browser.stranger().login("alice", PASSWORD).await;
        check_needed(&answer, "captcha_required", "proof_of_work", "login");
    }

    async fn a_request_without_its_captcha_uses_up_no_mail(probe: Probe) {
        let auth = probe.rebuilt(|builder| {
            builder.captcha(easy()).configure(|config| {
                config.captcha.forgot_after = Some(0);
                config.mail.per_source = Some(Quota::per_minute(2));
            })
        });
        let browser = browser_from(&auth, 2).await;
        for _ in 0..5 {
            let answer = browser.stranger().post(FORGOT, json!({ "login": "alice" })).await;
            check_needed(&answer, "captcha_required", "proof_of_work", "forgot");
        }
        let ask = async || {
            let captcha = solved(&browser, "forgot").await;
            browser.stranger().post(FORGOT, json!({ "login": "alice", "captcha": captcha })).await
        };
        for _ in 0..2 {
            assert_eq!(ask().await.status, 202);
        }
        check(&ask().await, 429, "rate_limited");
    }

    async fn a_token_of_a_provider_is_accepted_once_while_a_secret_is_replaced(probe: Probe) {
        let provider = Provider::start().await;
        provider.says(&json!({ "success": true, "hostname": "app.example.com", "action": "login" }));
        let new = portcullis::Secret::generate();
        let with = |secrets: Vec<portcullis::Secret>| {
            probe.rebuilt(|builder| {
                let builder = builder.captcha(provider.turnstile());
                builder.configure(|config| config.keys.secrets = secrets)
            })
        };
        let (old, both) = (vec![probe.secret.clone()], vec![new.clone(), probe.secret.clone()]);
        let turned = vec![probe.secret.clone(), new];
        for (number, [first, second]) in (0..).zip([[&old, &both], [&both, &old], [&both, &turned]]) {
            let response = CaptchaResponse::token(format!("token {number}"));
            let check = async |secrets: &Vec<portcullis::Secret>| {
                let auth = with(secrets.clone());
                auth.captchas().check("login", Some(&response), &ClientInfo::default()).await
            };
            check(first).await.expect("it is right");
            assert!(matches!(check(second).await, Err(CaptchaError::Wrong(_))), "{number}");
        }
    }

    async fn a_known_device_is_never_asked(probe: Probe) {
        let auth = node(&probe, easy(), |config| {
            (config.login_after, config.forgot_after) = (Some(0), Some(0));
        });
        probe.register_with_email("alice", "alice@example.com").await;
        let mut known = browser_from(&auth, 2).await;
        check_needed(&known.login("alice", PASSWORD).await, "captcha_required", "proof_of_work", "login");
        let body = login("alice", PASSWORD, &solved(&known, "login").await);
        assert_eq!(known.post("/auth/login", body).await.status, 200);
        let counts = "SELECT COUNT(*) FROM auth_captcha_failures";
        known.cookie = None;
        for _ in 0..5 {
            check(&known.login("alice", WRONG).await, 401, "invalid_credentials");
        }
        assert_eq!(known.post(FORGOT, json!({ "login": "alice" })).await.status, 202);
        let failures = format!("{counts} WHERE failures > 0");
        assert_eq!(probe.number(&failures).await, 0, "its failures do not count here");
        assert_eq!(known.login("alice", PASSWORD).await.status, 200);
        // It is known to this account alone.
        let answer = known.post(FORGOT, json!({ "login": "bob" })).await;
        check_needed(&answer, "captcha_required", "proof_of_work", "forgot");
        let found = |auth: &Portcullis| {
            auth.audit().iter().any(|finding| finding.code == "captcha_without_another_way")
        };
        assert!(!found(&auth), "the sign-in by mail is mounted");
        // Without the sign-in by mail there is no way from a new device.
        let alone = node(&probe, easy(), |config| config.login_after = Some(0));
        let routes = Router::new().nest("/auth", alone.routes()).layer(alone.layer());
        let browser = Browser::new(serve(routes).await);
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 403);
        assert!(found(&alone));
    }

    async fn registering_and_forgetting_need_one_whatever_their_results_are(probe: Probe) {
        for (number, mode) in (0_u8..).zip([Registration::Open, Registration::Strict]) {
            let auth = probe.rebuilt(|builder| {
                builder.captcha(easy()).configure(|config| {
                    config.login.registration = mode;
                    config.login.require_verified = mode == Registration::Strict;
                })
            });
            let browser = browser_from(&auth, 20 + number).await;
            let register = async |name: &str, captcha: &str| {
                let email = format!("{name}{number}@example.com");
                let body = json!({ "email": email, "password": PASSWORD, "captcha": captcha });
                browser.stranger().post(REGISTER, body).await
            };
            let first = register("one", "").await.status;
            assert_eq!(first, if mode == Registration::Open { 201 } else { 202 });
            // A taken name counts like a free one.
            register("one", "").await;
            assert_eq!(register("two", "").await.status, first);
            for name in ["one", "two", "three"] {
                let answer = register(name, "").await;
                check_needed(&answer, "captcha_required", "proof_of_work", "register");
            }
            // Fields that cannot be used are reported before a captcha is used up.
            let good = solved(&browser, "register").await;
            let body = json!({ "email": "x", "password": PASSWORD, "captcha": good });
            check(&browser.stranger().post(REGISTER, body).await, 422, "invalid_fields");
            assert_eq!(register("three", &good).await.status, first);
            check_needed(&register("four", &good).await, "wrong_captcha", "proof_of_work", "register");
        }
        let auth = node(&probe, easy(), |_| {});
        let (here, there) = (browser_from(&auth, 30).await, browser_from(&auth, 31).await);
        for name in ["one0@example.com", "nobody"] {
            let ask = async |browser: &Browser, captcha: &str| {
                let body = json!({ "login": name, "altcha": captcha });
                browser.stranger().post(FORGOT, body).await
            };
            for browser in [&here, &there, &here] {
                assert_eq!(ask(browser, "").await.status, 202);
            }
            for browser in [&here, &there] {
                check_needed(&ask(browser, "").await, "captcha_required", "proof_of_work", "forgot");
            }
            let good = solved(&here, "forgot").await;
            assert_eq!(ask(&there, &good).await.status, 202);
            check_needed(&ask(&there, &good).await, "wrong_captcha", "proof_of_work", "forgot");
            probe.clock.advance(10 * MINUTE);
        }
    }

    async fn what_counts_is_erased_with_the_account_and_goes_after_its_window(probe: Probe) {
        let auth = node(&probe, easy(), |_| {});
        let alice = probe.register("alice").await;
        let browser = browser_from(&auth, 2).await;
        fail(&browser, "alice", 1).await;
        fail(&browser, "nobody", 1).await;
        let counts = "SELECT COUNT(*) FROM auth_captcha_failures";
        assert_eq!(probe.number(counts).await, 3, "two names and a source");
        auth.accounts().erase(alice.id()).await.expect("it is erased");
        assert_eq!(probe.number(counts).await, 2);
        offer(&browser, "login").await;
        probe.clock.advance(10 * MINUTE);
        assert_eq!(auth.maintenance().run().await.expect("it runs").captchas, 0);
        probe.clock.advance(MOMENT);
        assert_eq!(auth.maintenance().run().await.expect("it runs").captchas, 2);
    }

    async fn a_proof_of_work_is_accepted_once_on_all_nodes_together(probe: Probe) {
        let nodes = [node(&probe, easy(), |_| {}), node(&probe, easy(), |_| {})];
        let browser = browser_from(&nodes[0], 2).await;
        let good = solved(&browser, "comment").await;
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_captcha").await, 0, "nothing is written before");
        let mut tasks = JoinSet::new();
        for number in 0..100 {
            let (auth, good) = (nodes[number % 2].clone(), CaptchaResponse::token(&good));
            tasks.spawn(async move {
                auth.captchas().check("comment", Some(&good), &ClientInfo::default()).await.is_ok()
            });
        }
        let right = tasks.join_all().await.into_iter().filter(|right| *right).count();
        assert_eq!(right, 1);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_captcha").await, 1);
    }

    async fn a_proof_of_work_that_was_changed_or_is_late_is_wrong(probe: Probe) {
        let auth = node(&probe, easy(), |_| {});
        let rotated = Portcullis::builder(probe.db.clone()).clock(probe.clock.clone());
        let rotated = rotated.secret(portcullis::Secret::generate()).secret(probe.secret.clone());
        let rotated = rotated.captcha(easy()).build().expect("the configuration is right");
        let browser = browser_from(&auth, 2).await;
        let accepts = async |auth: &Portcullis, text: &str| {
            let response = CaptchaResponse::token(text);
            auth.captchas().check("comment", Some(&response), &ClientInfo::default()).await.is_ok()
        };
        let challenge = offer(&browser, "comment").await["challenge"].clone();
        for (name, value) in [
            ("cost", json!(2)),
            ("keyPrefix", json!("")),
            ("expiresAt", json!(4_000_000_000_i64)),
            ("nonce", json!("00000000000000000000000000000000")),
            ("data", json!({ "action": "login" })),
        ] {
            let mut changed = challenge.clone();
            changed["parameters"][name] = value;
            let mut solved = solve(&challenge);
            let payload: Value = serde_json::from_slice(&BASE64.decode(solved.as_bytes()).expect("base64")).expect("JSON");
            let forged = json!({ "challenge": changed, "solution": payload["solution"] });
            solved = BASE64.encode(forged.to_string().as_bytes());
            assert!(!accepts(&auth, &solved).await, "{name}");
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_captcha").await, 0, "a forgery writes nothing");
        // A key that is not the right one uses the challenge up, so nobody makes the server derive many.
        let good = solve(&challenge);
        let mut payload: Value = serde_json::from_slice(&BASE64.decode(good.as_bytes()).expect("base64")).expect("JSON");
        payload["solution"]["counter"] = json!(4_000_000_000_u32);
        assert!(!accepts(&auth, &BASE64.encode(payload.to_string().as_bytes())).await);
        assert!(!accepts(&auth, &good).await);
        // Its time.
        let (early, late) = (solved(&browser, "comment").await, solved(&browser, "comment").await);
        probe.clock.advance(5 * MINUTE - Duration::from_secs(1));
        assert!(accepts(&auth, &early).await);
        probe.clock.advance(Duration::from_secs(1));
        assert!(!accepts(&auth, &late).await);
        // After a rotation, what the older secret signed is still good. A node that does not know the
        // new secret refuses what it signed.
        let good = solved(&browser, "comment").await;
        assert!(accepts(&rotated, &good).await);
        let offered = rotated.captchas().offer("comment", &ClientInfo::default()).await;
        let new = solve(&offered.expect("a captcha").parts["challenge"]);
        assert!(!accepts(&auth, &new).await);
        assert!(accepts(&rotated, &new).await);
    }

    async fn a_picture_is_the_same_at_every_node_and_time_and_is_fetched_ten_times(probe: Probe) {
        let nodes = [node(&probe, PictureCaptcha::new(), |_| {}), node(&probe, PictureCaptcha::new(), |_| {})];
        let browsers = [browser_from(&nodes[0], 2).await, browser_from(&nodes[1], 3).await];
        let shown = offer(&browsers[0], "login").await;
        assert_eq!((&shown["kind"], &shown["expires_in"]), (&json!("picture"), &json!(300)));
        let id = shown["captcha_id"].as_str().expect("an id");
        let mut fetched: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for number in 0..10 {
            let (medium, kind) = [("image", "image/png"), ("audio", "audio/wav")][number % 2];
            let path = format!("/auth/{}", shown[medium].as_str().expect("a path"));
            assert_eq!(path, format!("/auth/captcha/{id}/{medium}"));
            let answer = browsers[number / 2 % 2].raw(reqwest::Method::GET, &path).send().await.expect("an answer");
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["content-type"], kind);
            assert_eq!(answer.headers()["cache-control"], "no-store");
            let bytes = answer.bytes().await.expect("a body").to_vec();
            let first = fetched.entry(medium).or_insert_with(|| bytes.clone());
            assert_eq!(*first, bytes, "{medium} {number}");
        }
        for path in [format!("/auth/captcha/{id}/image"), "/auth/captcha/x/audio".to_owned(), format!("/auth/captcha/{}/image", uuid::Uuid::nil())] {
            check(&browsers[0].stranger().get(&path).await, 404, "captcha_not_found");
        }
        check_picture(&fetched["image"]);
        check_sound(&fetched["audio"]);
        // Neither the row nor the answer has the digits, and the row is small.
        let digits = nodes[0].captchas().digits(id).await.expect("digits");
        assert!(digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{digits}");
        assert!(!shown.to_string().contains(&digits));
        let row = probe.dump("auth_captcha").await.concat();
        assert!(!row.contains(&digits) && row.len() < 300, "{row}");
        // It can still be answered, on the other node.
        let response = CaptchaResponse::typed(id, &digits);
        nodes[1].captchas().check("login", Some(&response), &ClientInfo::default()).await.expect("it is right");
        // Another challenge looks different, even with the same digits.
        let other = offer(&browsers[0], "login").await;
        let other = nodes[0].captchas().image(other["captcha_id"].as_str().expect("an id")).await.expect("a picture");
        assert_ne!(other, fetched["image"]);
    }

    async fn the_digits_of_a_picture_are_right_once_and_for_its_action(probe: Probe) {
        let auth = node(&probe, PictureCaptcha::new(), |config| config.login_after = Some(0));
        probe.register("alice").await;
        let browser = browser_from(&auth, 2).await;
        let make = async |action: &str| {
            let shown = offer(&browser, action).await;
            let id = shown["captcha_id"].as_str().expect("an id").to_owned();
            let digits = auth.captchas().digits(&id).await.expect("digits");
            (id, digits)
        };
        let answer = async |id: &str, digits: &str| {
            let mut body = login("alice", PASSWORD, digits);
            body["captcha_id"] = id.into();
            browser.stranger().post("/auth/login", body).await
        };
        let wrong = |digits: &str| digits.bytes().map(|b| char::from(b'0' + (b - b'0' + 1) % 10)).collect::<String>();
        let (id, digits) = make("login").await;
        check_needed(&answer("", &digits).await, "wrong_captcha", "picture", "login");
        check_needed(&answer("x", &digits).await, "wrong_captcha", "picture", "login");
        for _ in 0..2 {
            check_needed(&answer(&id, &wrong(&digits)).await, "wrong_captcha", "picture", "login");
        }
        assert_eq!(answer(&id, &format!(" {} {}", &digits[..3], &digits[3..])).await.status, 200);
        check_needed(&answer(&id, &digits).await, "wrong_captcha", "picture", "login");
        let path = format!("/auth/captcha/{id}/image");
        check(&browser.stranger().get(&path).await, 404, "captcha_not_found");
        // After three wrong answers the right one is wrong.
        let (id, digits) = make("login").await;
        for _ in 0..3 {
            check_needed(&answer(&id, &wrong(&digits)).await, "wrong_captcha", "picture", "login");
        }
        check_needed(&answer(&id, &digits).await, "wrong_captcha", "picture", "login");
        // Another action does not use up a try.
        let (id, digits) = make("forgot").await;
        for _ in 0..4 {
            check_needed(&answer(&id, &digits).await, "wrong_captcha", "picture", "login");
        }
        let body = json!({ "login": "alice", "captcha": digits, "captcha_id": id });
        assert_eq!(browser.stranger().post(FORGOT, body).await.status, 202);
        // Its time.
        let ((early, first), (late, second)) = (make("login").await, make("login").await);
        probe.clock.advance(5 * MINUTE - MOMENT);
        assert_eq!(answer(&early, &first).await.status, 200);
        probe.clock.advance(MOMENT);
        check_needed(&answer(&late, &second).await, "wrong_captcha", "picture", "login");
        // Of many answers at once, three are compared and one is right.
        let (id, digits) = make("login").await;
        let mut tasks = JoinSet::new();
        for _ in 0..100 {
            let (auth, response) = (auth.clone(), CaptchaResponse::typed(&id, &digits));
            tasks.spawn(async move {
                auth.captchas().check("login", Some(&response), &ClientInfo::default()).await.is_ok()
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|right| *right).count(), 1);
        let compared = "SELECT COUNT(*) FROM auth_captcha WHERE attempts > 3";
        assert_eq!(probe.number(compared).await, 0);
    }

    async fn a_source_asks_for_so_many_captchas_and_rows_go_an_hour_after_their_end(probe: Probe) {
        let auth = node(&probe, PictureCaptcha::new(), |config| config.per_source = Quota::per_minute(3));
        let (here, there) = (browser_from(&auth, 2).await, browser_from(&auth, 3).await);
        for _ in 0..3 {
            offer(&here, "login").await;
        }
        let answer = here.stranger().post(CAPTCHA, json!({ "action": "login" })).await;
        check(&answer, 429, "rate_limited");
        assert!(answer.headers.contains_key("retry-after"));
        offer(&there, "login").await;
        for action in ["", "a b", "LOGIN", &"x".repeat(49)] {
            let answer = there.stranger().post(CAPTCHA, json!({ "action": action })).await;
            check(&answer, 422, "invalid_action");
        }
        let rows = "SELECT COUNT(*) FROM auth_captcha";
        assert_eq!(probe.number(rows).await, 4);
        probe.clock.advance(65 * MINUTE);
        assert_eq!(auth.maintenance().run().await.expect("it runs").captchas, 0);
        probe.clock.advance(MOMENT);
        assert_eq!(auth.maintenance().run().await.expect("it runs").captchas, 4);
        assert_eq!(probe.number(rows).await, 0);
    }

    async fn the_token_of_a_provider_is_accepted_once_for_its_action_and_host(probe: Probe) {
        let provider = Provider::start().await;
        let turnstile = provider.turnstile();
        let auth = node(&probe, turnstile, |config| config.login_after = Some(0));
        probe.register("alice").await;
        let browser = browser_from(&auth, 2).await;
        assert_eq!(offer(&browser, "login").await["site_key"], "site");
        let send = async |token: &str| {
            let body = json!({ "login": "alice", "password": PASSWORD, "cf-turnstile-response": token });
            browser.stranger().post("/auth/login", body).await
        };
        let fine = json!({ "success": true, "hostname": "app.example.com", "action": "login" });
        provider.says(&fine);
        assert_eq!(send("token").await.status, 200);
        let asked: BTreeMap<_, _> = [("secret", "hush"), ("response", "token")].into();
        assert_eq!(provider.was_asked(), asked.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
        // The provider would accept it again. The same token on another node is used as well.
        check_needed(&send("token").await, "wrong_captcha", "turnstile", "login");
        let other = node(&probe, provider.turnstile(), |_| {});
        let again = CaptchaResponse::token("token");
        let error = other.captchas().check("login", Some(&again), &ClientInfo::default()).await;
        assert!(matches!(error, Err(CaptchaError::Wrong(_))), "{error:?}");
        for (number, (name, value)) in (0..).zip([
            ("success", json!(false)),
            ("hostname", json!("evil.example.com")),
            ("hostname", Value::Null),
            ("action", json!("register")),
            ("action", Value::Null),
        ]) {
            let mut told = fine.clone();
            told[name] = value;
            provider.says(&told);
            let answer = send(&format!("other {number}")).await;
            check_needed(&answer, "wrong_captcha", "turnstile", "login");
        }
        let rows = "SELECT COUNT(*) FROM auth_captcha";
        assert_eq!(probe.number(rows).await, 1, "a token that is wrong writes nothing");
        provider.says(&fine);
        assert_eq!(send("other").await.status, 200);
        // hCaptcha gets the site key, and does not tell the action.
        let auth = node(&probe, provider.hcaptcha().host("shop.example.com"), |_| {});
        provider.says(&json!({ "success": true, "hostname": "shop.example.com" }));
        let check = async |token: &str| {
            let token = CaptchaResponse::token(token);
            auth.captchas().check("comment", Some(&token), &ClientInfo::default()).await
        };
        check("a token").await.expect("it is right");
        assert_eq!(provider.was_asked()["sitekey"], "site");
        assert!(matches!(check("a token").await, Err(CaptchaError::Wrong(_))));
        assert!(matches!(check(&"x".repeat(5_000)).await, Err(CaptchaError::Wrong(_))));
        provider.says(&fine);
        assert!(matches!(check("another host").await, Err(CaptchaError::Wrong(_))));
    }

    async fn a_provider_is_asked_only_so_often_for_one_source(probe: Probe) {
        let provider = Provider::start().await;
        let auth = node(&probe, provider.turnstile(), |config| {
            config.login_after = Some(0);
            config.per_source = Quota::per_minute(3);
        });
        probe.register("alice").await;
        let (here, there) = (browser_from(&auth, 2).await, browser_from(&auth, 3).await);
        let send = async |browser: &Browser, token: &str| {
            browser.stranger().post("/auth/login", login("alice", PASSWORD, token)).await
        };
        provider.says(&json!({ "success": false }));
        for number in 0..3 {
            let token = format!("wrong {number}");
            check_needed(&send(&here, &token).await, "wrong_captcha", "turnstile", "login");
            assert_eq!(provider.was_asked()["response"], token);
        }
        let refused = send(&here, "one more").await;
        check(&refused, 429, "rate_limited");
        assert!(refused.headers.contains_key("retry-after"));
        assert_eq!(provider.was_asked()["response"], "wrong 2", "the provider is not asked");
        // Asking for captchas has its own limit. Another source is not affected.
        offer(&here, "login").await;
        check_needed(&send(&there, "another").await, "wrong_captcha", "turnstile", "login");
        assert_eq!(provider.was_asked()["response"], "another");
        probe.clock.advance(MINUTE);
        check_needed(&send(&here, "later").await, "wrong_captcha", "turnstile", "login");
    }

    async fn calls_of_a_provider_that_hang_are_limited_together(probe: Probe) {
        let hangs = Hangs::default();
        let hosted = HostedCaptcha::turnstile("site", "hush", hangs.clone());
        let auth = node(&probe, hosted, |config| config.provider_timeout = MOMENT);
        let mut checks = JoinSet::new();
        for number in 0..300 {
            let auth = auth.clone();
            checks.spawn(async move {
                let token = CaptchaResponse::token(format!("token {number}"));
                auth.captchas().check("comment", Some(&token), &ClientInfo::default()).await
            });
        }
        for checked in checks.join_all().await {
            assert!(matches!(checked, Err(CaptchaError::Unavailable(_))), "{checked:?}");
        }
        assert_eq!(hangs.begun.load(Ordering::SeqCst), 300);
        // A call with the MySQL driver is not dropped at once. The limit is for all calls together.
        let most = if probe.database.backend == Backend::MySql { 256 } else { 0 };
        until("the others are dropped", async || hangs.open.load(Ordering::SeqCst) <= most).await;
        assert_eq!(hangs.open.load(Ordering::SeqCst), most);
    }

    async fn a_provider_that_fails_lets_nobody_through(probe: Probe) {
        let provider = Provider::start().await;
        let auth = node(&probe, provider.turnstile(), |config| {
            config.login_after = Some(0);
            config.provider_timeout = Duration::from_millis(200);
        });
        probe.register("alice").await;
        let browser = browser_from(&auth, 2).await;
        let body = login("alice", PASSWORD, "token");
        for reply in [
            Reply::Never,
            Reply::Status(500),
            Reply::Status(302),
            Reply::Text("<html>"),
            Reply::Text("{}"),
            Reply::Text(r#"{"success":false,"error-codes":["invalid-input-secret"]}"#),
            Reply::Text(r#"{"success":false,"error-codes":["internal-error"]}"#),
        ] {
            provider.replies(reply.clone());
            let answer = browser.stranger().post("/auth/login", body.clone()).await;
            check(&answer, 503, "captcha_unavailable");
            assert_eq!(answer.headers["retry-after"], "5", "{reply:?}");
            assert!(!answer.text.contains("secret"), "{}", answer.text);
        }
        let nowhere = HostedCaptcha::turnstile("site", "hush", Http::new()).url("http://127.0.0.1:9/");
        let auth = node(&probe, nowhere, |_| {});
        let error = auth.captchas().check("login", Some(&CaptchaResponse::token("t")), &ClientInfo::default()).await;
        assert!(matches!(error, Err(CaptchaError::Unavailable(_))), "{error:?}");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_captcha").await, 0);
        // Who needs no captcha signs in.
        provider.replies(Reply::Status(500));
        let auth = node(&probe, provider.turnstile(), |_| {});
        assert_eq!(browser_from(&auth, 3).await.login("alice", PASSWORD).await.status, 200);
    }

    async fn an_application_has_a_kind_of_its_own(probe: Probe) {
        let auth = node(&probe, Riddle, |config| config.login_after = Some(0));
        probe.register("alice").await;
        let browser = browser_from(&auth, 2).await;
        assert_eq!(offer(&browser, "login").await["riddle"], "what for? login");
        let answer = browser.stranger().login("alice", PASSWORD).await;
        check_needed(&answer, "captcha_required", "riddle", "login");
        let answer = browser.stranger().post("/auth/login", login("alice", PASSWORD, "fun")).await;
        check_needed(&answer, "wrong_captcha", "riddle", "login");
        let answer = browser.stranger().post("/auth/login", login("alice", PASSWORD, "login")).await;
        assert_eq!(answer.status, 200);
    }
}

/// Checks a PNG: its type, its size in pixels, and its length.
fn check_picture(png: &[u8]) {
    assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
    assert_eq!((&png[12..16], number(16), number(20)), (&b"IHDR"[..], 270, 80));
    assert_eq!(png[png.len() - 8..][..4], *b"IEND");
    assert!((2_000..24_000).contains(&png.len()), "{}", png.len());
}

/// Checks a WAV: its type, and that it lasts 3 to 15 seconds.
fn check_sound(wav: &[u8]) {
    assert_eq!((&wav[..4], &wav[8..16]), (&b"RIFF"[..], &b"WAVEfmt "[..]));
    let number = |at: usize| u32::from_le_bytes(wav[at..at + 4].try_into().expect("four bytes"));
    assert_eq!(number(4) as usize, wav.len() - 8);
    let seconds = f64::from(number(40)) / f64::from(number(28));
    assert!((3.0..=15.0).contains(&seconds), "{seconds}");
}

/// A kind of captcha of the application: the answer is the action.
struct Riddle;

impl Captcha for Riddle {
    fn kind(&self) -> &'static str {
        "riddle"
    }

    fn offer<'a>(&'a self, request: CaptchaRequest<'a>) -> CaptchaFuture<'a, Map<String, Value>> {
        let riddle = format!("what for? {}", request.action);
        Box::pin(async move { Ok([("riddle".to_owned(), riddle.into())].into_iter().collect()) })
    }

    fn check<'a>(
        &'a self,
        response: &'a CaptchaResponse,
        request: CaptchaRequest<'a>,
    ) -> CaptchaFuture<'a, CaptchaVerdict> {
        let right = response.text() == request.action;
        Box::pin(
            async move { Ok(if right { CaptchaVerdict::Right } else { CaptchaVerdict::Wrong }) },
        )
    }
}

/// The HTTP client of an application.
struct Http(reqwest::Client);

impl Http {
    fn new() -> Self {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        Self(client.build().expect("a client"))
    }
}

impl HttpClient for Http {
    fn post_form<'a>(
        &'a self,
        url: &'a str,
        fields: &'a [(&'a str, &'a str)],
    ) -> HookFuture<'a, HttpAnswer> {
        Box::pin(async move {
            let answer = self.0.post(url).form(fields).send().await?;
            let status = answer.status().as_u16();
            Ok(HttpAnswer::new(status, answer.bytes().await?))
        })
    }
}

/// An HTTP client whose calls never end. It counts those that were not dropped.
#[derive(Clone, Default)]
struct Hangs {
    begun: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl HttpClient for Hangs {
    fn post_form<'a>(
        &'a self,
        _: &'a str,
        _: &'a [(&'a str, &'a str)],
    ) -> HookFuture<'a, HttpAnswer> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        let open = Open(Arc::clone(&self.open));
        Box::pin(async move {
            let _open = open;
            std::future::pending().await
        })
    }
}

/// What a provider answers.
#[derive(Debug, Clone)]
enum Reply {
    Json(Value),
    Text(&'static str),
    Status(u16),
    Never,
}

type Asked = (Reply, BTreeMap<String, String>);

/// A provider on this machine. It says what the test says.
struct Provider {
    url: String,
    state: Arc<Mutex<Asked>>,
}

impl Provider {
    async fn start() -> Self {
        let state = Arc::new(Mutex::new((Reply::Never, BTreeMap::new())));
        let routes = Router::new()
            .route("/siteverify", axum::routing::post(verify))
            .with_state(Arc::clone(&state));
        Self { url: format!("http://{}/siteverify", serve(routes).await), state }
    }

    fn turnstile(&self) -> HostedCaptcha {
        HostedCaptcha::turnstile("site", "hush", Http::new()).url(&self.url)
    }

    fn hcaptcha(&self) -> HostedCaptcha {
        HostedCaptcha::hcaptcha("site", "hush", Http::new()).url(&self.url)
    }

    fn replies(&self, reply: Reply) {
        self.state.lock().expect("nothing panics").0 = reply;
    }

    fn says(&self, told: &Value) {
        self.replies(Reply::Json(told.clone()));
    }

    /// Returns the fields of the last question.
    fn was_asked(&self) -> BTreeMap<String, String> {
        self.state.lock().expect("nothing panics").1.clone()
    }
}

async fn verify(
    State(state): State<Arc<Mutex<Asked>>>,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    let reply = {
        let mut state = state.lock().expect("nothing panics");
        state.1 = fields;
        state.0.clone()
    };
    match reply {
        Reply::Json(told) => Json(told).into_response(),
        Reply::Text(text) => text.into_response(),
        Reply::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Reply::Never => std::future::pending().await,
    }
}

/// A host that never matches would let nobody in. One database is enough, because no statement runs.
#[tokio::test]
async fn a_host_that_no_provider_tells_is_refused() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let built = |hosts: &[&str]| {
            let captcha = HostedCaptcha::turnstile("site", "hush", Http::new());
            let captcha = hosts.iter().fold(captcha, |captcha, host| captcha.host(*host));
            let builder = builder(probe.db.clone(), &probe.clock, &probe.notifier);
            builder.secret(probe.secret.clone()).captcha(captcha).build()
        };
        for bad in [
            "https://shop.example.com",
            "shop.example.com:443",
            "shop.example.com/",
            "Shop.example.com",
            "*.example.com",
            "",
        ] {
            let errors = built(&["example.com", bad]).expect_err(bad).to_string();
            assert!(errors.contains("captcha") && errors.contains(&format!("{bad:?}")), "{errors}");
            assert!(!errors.contains("\"example.com\""), "{errors}");
        }
        assert!(built(&["shop.example.com", "localhost"]).is_ok());
        // Only the captcha that is used counts.
        let wrong = HostedCaptcha::turnstile("site", "hush", Http::new()).host("*");
        let builder = builder(probe.db.clone(), &probe.clock, &probe.notifier);
        let builder = builder.secret(probe.secret.clone()).captcha(wrong).captcha(easy());
        assert!(builder.build().is_ok());
    })
    .await;
}

/// What altcha-lib solves is accepted here. Its widget does the same in a browser.
#[needs("PORTCULLIS_TEST_ALTCHA")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn altcha_solves_our_challenges() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let auth = node(&probe, ProofOfWork::new().cost(20), |config| config.login_after = Some(0));
        probe.register("alice").await;
        let browser = browser_from(&auth, 2).await;
        let challenge = offer(&browser, "login").await["challenge"].to_string();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/altcha.mjs");
        let folder = needed("PORTCULLIS_TEST_ALTCHA");
        let output = Command::new("node").args([script, &folder, &challenge]).output();
        let output = output.expect("node runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let payload = String::from_utf8(output.stdout).expect("a text");
        let body = json!({ "login": "alice", "password": PASSWORD, "altcha": payload.trim() });
        assert_eq!(browser.stranger().post("/auth/login", body.clone()).await.status, 200);
        check(&browser.stranger().post("/auth/login", body).await, 403, "wrong_captcha");
    })
    .await;
}

/// Drawing has places of its own. Who waits too long for one is told to come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_wait_for_a_place_and_not_forever() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let auth = node(&probe, PictureCaptcha::new(), |config| {
            (config.workers, config.wait, config.fetches) = (1, MOMENT, 100);
        });
        let client = ClientInfo::default();
        let shown = auth.captchas().offer("login", &client).await.expect("a captcha");
        let id = shown.parts["captcha_id"].as_str().expect("an id").to_owned();
        let mut tasks = JoinSet::new();
        for _ in 0..40 {
            let (auth, id) = (auth.clone(), id.clone());
            tasks.spawn(
                async move { auth.captchas().image(&id).await.map_err(|error| error.code()) },
            );
        }
        let (mut drawn, mut refused) = (0, 0);
        for result in tasks.join_all().await {
            match result {
                Ok(_) => drawn += 1,
                Err(code) => {
                    assert_eq!(code, "overloaded");
                    refused += 1;
                }
            }
        }
        assert!(drawn > 0 && refused > 0, "{drawn} {refused}");
        // The place is free again.
        auth.captchas().image(&id).await.expect("it is drawn");
    })
    .await;
}
