//! Sign-in and sign-out with a form that needs no script.

use axum::http::StatusCode;
use portcullis::account::NewAccount;
use portcullis::config::Unauthenticated;
use portcullis::hook::{HookResult, Hooks, SigningIn};
use portcullis::{Factor, Refusal};
use reqwest::Method;
use sea_orm::DatabaseTransaction;
use serde_json::json;

use crate::on_every_database;
use crate::support::browser::{ASKING, Answer, COOKIE, DEVICE, send};
use crate::support::{Browser, PASSWORD, Probe};

/// The `Accept` header that Chromium sends with the form of a page.
pub const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn with_page(probe: Probe) -> Probe {
    probe.configured(|config| {
        config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
    })
}

/// Posts a form as a page of the same origin does.
pub async fn post(browser: &mut Browser, path: &str, fields: &[(&str, &str)]) -> Answer {
    post_with(browser, path, fields, &[("accept", HTML), ("sec-fetch-site", "same-origin")]).await
}

pub async fn post_with(
    browser: &mut Browser,
    path: &str,
    fields: &[(&str, &str)],
    headers: &[(&str, &str)],
) -> Answer {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    let mut request = browser
        .raw(Method::POST, path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.extend_pairs(fields).finish());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let cookies = [(COOKIE, &browser.cookie), (DEVICE, &browser.device), (ASKING, &browser.asking)];
    let cookies =
        cookies.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_deref()?)));
    let cookies: Vec<_> = cookies.collect();
    if !cookies.is_empty() {
        request = request.header("cookie", cookies.join("; "));
    }
    browser.send(request).await
}

pub fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().expect("it is ASCII"))
}

fn sign_in(next: &str) -> [(&str, &str); 3] {
    [("login", "alice"), ("password", PASSWORD), ("next", next)]
}

#[track_caller]
pub fn leads_to(answer: &Answer, page: &str) {
    assert_eq!((answer.status, header(answer, "location")), (303, page), "{}", answer.text);
    assert_eq!((answer.text.as_str(), header(answer, "cache-control")), ("", "no-store"));
}

struct Banned;

impl Hooks for Banned {
    async fn before_login(&self, _: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
        Err(Refusal::new(StatusCode::FORBIDDEN, "ba\r\nnned&x=1", "not today").into())
    }
}

on_every_database! {
    async fn a_form_is_answered_by_redirects(probe: Probe) {
        let probe = with_page(probe);
        probe.register("alice").await;
        let mut browser = probe.browser().await;
        let answer = post(&mut browser, "/auth/login", &sign_in("/docs/1?page=2#top")).await;
        leads_to(&answer, "/docs/1?page=2#top");
        assert!(answer.cookie().is_some_and(|cookie| !cookie.is_empty()));
        assert_eq!(browser.get("/me").await.status, 200);
        let answer = post(&mut browser, "/auth/logout", &[("next", "/goodbye")]).await;
        leads_to(&answer, "/goodbye");
        assert_eq!(browser.get("/me").await.status, 401);
        // Without `next` both lead to the start page. `next` can also be in the URL of the form.
        leads_to(&post(&mut browser, "/auth/login", &sign_in("")).await, "/");
        leads_to(&post(&mut browser, "/auth/logout", &[]).await, "/");
        let fields = &sign_in("")[..2];
        leads_to(&post(&mut browser, "/auth/login?next=%2Fdocs%2F2", fields).await, "/docs/2");

        // A refusal leads back to the form, and nobody is signed in.
        let mut stranger = probe.browser().await;
        let wrong = [("login", "alice"), ("password", "wrong"), ("next", "/docs/1?a=b")];
        let answer = post(&mut stranger, "/auth/login", &wrong).await;
        leads_to(&answer, "/login?error=invalid_credentials&next=/docs/1%3Fa%3Db");
        assert_eq!((answer.cookie(), header(&answer, "www-authenticate")), (None, ""));
        for (fields, code) in [
            (&[("login", "alice")][..], "invalid_body"),
            (&[("login", "alice"), ("password", "x"), ("admin", "1")], "invalid_body"),
            (&[("login", "alice"), ("login", "bob"), ("password", "x")], "invalid_body"),
            (&[], "invalid_body"),
            (&[("login", "alice"), ("password", &"x".repeat(20_000))], "body_too_large"),
        ] {
            let answer = post(&mut stranger, "/auth/login", fields).await;
            leads_to(&answer, &format!("/login?error={code}"));
        }
    }

    async fn next_leads_nowhere_but_to_this_site(probe: Probe) {
        let probe = with_page(probe);
        probe.register("alice").await;
        let mut browser = probe.browser().await;
        for evil in [
            "//evil.example", "\\\\evil.example", "/\\evil.example", "https://evil.example",
            "/%0d%0aSet-Cookie:x=1", "/\r\nSet-Cookie: x=1", "/%2f/evil.example", "/..//evil.example",
            "javascript:alert(1)", "evil", " /a", "/caf\u{e9}", &format!("/{}", "a".repeat(600)),
        ] {
            let answer = post(&mut browser, "/auth/login", &sign_in(evil)).await;
            leads_to(&answer, "/");
            let wrong = [("login", "alice"), ("password", "wrong"), ("next", evil)];
            let answer = post(&mut browser.stranger(), "/auth/login", &wrong).await;
            assert!(header(&answer, "location").starts_with("/login?error="), "{evil:?}");
            assert!(!header(&answer, "location").contains("next"), "{evil:?}");
        }
        // Two values count as none, because two programs could read different ones.
        let twice = [("login", "alice"), ("password", PASSWORD), ("next", "/a"), ("next", "/b")];
        leads_to(&post(&mut browser, "/auth/login", &twice).await, "/");
    }

    async fn a_client_that_wants_json_sees_no_difference(probe: Probe) {
        let plain = probe.browser().await;
        let probe = with_page(probe);
        probe.register("alice").await;
        let browser = probe.browser().await;
        let fields = [("login", "alice"), ("password", PASSWORD)];
        let wrong = [("login", "alice"), ("password", "wrong")];
        let same = ("sec-fetch-site", "same-origin");
        for headers in [
            &[same][..],
            &[same, ("accept", "application/json")],
            &[same, ("accept", "*/*")],
            &[same, ("accept", HTML), ("sec-fetch-mode", "cors")],
        ] {
            let mut browser = browser.stranger();
            let answer = post_with(&mut browser, "/auth/login", &fields, headers).await;
            assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("session")));
            let answer = post_with(&mut browser, "/auth/login", &wrong, headers).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_credentials"));
            let unknown = sign_in("/a");
            let answer = post_with(&mut browser, "/auth/login", &unknown, headers).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_body"));
            let answer = post_with(&mut browser, "/auth/logout", &[], headers).await;
            assert_eq!(answer.status, 204);
        }
        // JSON is not a form, even if the client accepts HTML.
        let request = browser.request(Method::POST, "/auth/login").header("accept", HTML);
        let answer = send(request.json(&json!({ "login": "alice", "password": PASSWORD }))).await;
        assert_eq!(answer.status, 200);
        // Without a configured login page there is no redirect.
        let mut plain = plain;
        let answer = post(&mut plain, "/auth/login", &fields).await;
        assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("session")));
    }

    async fn a_form_of_another_site_signs_nobody_in_and_is_led_nowhere(probe: Probe) {
        let probe = with_page(probe);
        probe.register("alice").await;
        let mut browser = probe.browser().await;
        let evil = [("accept", HTML), ("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
        let answer = post_with(&mut browser, "/auth/login", &sign_in("/a"), &evil).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "cross_site_request"));
        assert_eq!(answer.cookie(), None);
        // A browser that sends neither header proves nothing.
        let answer = post_with(&mut browser, "/auth/login", &sign_in("/a"), &[("accept", HTML)]).await;
        assert_eq!(header(&answer, "location"), "/login?error=unsupported_media_type&next=/a");
        assert_eq!(answer.cookie(), None);
    }

    async fn a_sign_in_that_is_not_finished_leads_to_its_next_step(probe: Probe) {
        let probe = with_page(probe).configured(|config| {
            config.service.unauthenticated = Unauthenticated::LoginPage("/login?lang=en".to_owned());
            config.password.change_page = Some("/new-password".to_owned());
        });
        let new = NewAccount::username("alice");
        let alice = probe.auth.registration().create(new, PASSWORD).await.expect("an account");
        probe.auth.accounts().require_password_change(alice.id()).await.expect("it is required");
        let mut browser = probe.browser().await;
        let answer = post(&mut browser, "/auth/login", &sign_in("/a")).await;
        leads_to(&answer, "/new-password?result=password_change_required&next=/a");
        probe.auth.accounts().set_enrolled_factors(alice.id(), [Factor::Totp]).await.expect("set");
        let answer = post(&mut browser, "/auth/login", &sign_in("/a")).await;
        leads_to(&answer, "/login?lang=en&result=second_factor_required&next=/a");
        let answer = post(&mut browser, "/auth/login", &[("login", "x"), ("password", "y")]).await;
        leads_to(&answer, "/login?lang=en&error=invalid_credentials");
    }

    async fn a_code_of_a_hook_cannot_break_out_of_the_address(probe: Probe) {
        let mut probe = with_page(probe);
        probe.register("alice").await;
        probe.auth = probe.rebuilt(|builder| {
            builder.hooks(Banned).configure(|config| {
                config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
            })
        });
        let mut browser = probe.browser().await;
        let answer = post(&mut browser, "/auth/login", &sign_in("/a")).await;
        leads_to(&answer, "/login?error=bannedx1&next=/a");
        assert_eq!(answer.cookie(), None);
        // A redirect cannot carry a token.
        let bearer = [("login", "x"), ("password", "y"), ("transport", "bearer")];
        let answer = post(&mut browser, "/auth/login", &bearer).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bearer_not_enabled"));
    }
}
