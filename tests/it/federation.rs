//! Signing in with providers: what is accepted, whose account it is, and what a provider may end.

use std::time::Duration;

use portcullis::config::{MailTrust, Provider, ProviderPolicy, TwoFactors};
use portcullis::{Account, Factor, Portcullis};
use reqwest::Method;
use serde_json::{Value, json};

use crate::on_every_database;
use crate::support::browser::{Answer, OAUTH, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

pub(crate) mod liar;
mod lies;
mod linking;
mod logout;
mod mail;
mod oidc_provider;
mod without_discovery;

use liar::{Liar, back, go, sign_in, with};

const MINUTE: Duration = Duration::from_secs(60);

/// Returns the value of the cookie of a session.
fn token_of(issued: &portcullis::Issued) -> String {
    let cookie = crate::support::call::cookie_of(issued);
    cookie.split_once('=').expect("a pair").1.to_owned()
}

/// A browser for an instance.
async fn browser(auth: &Portcullis) -> Browser {
    Browser::new(serve(app(auth)).await)
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
    assert!(answer.cookie().is_none(), "{answer:?}");
}

#[track_caller]
fn signed_in(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["result"], "session", "{}", answer.text);
    answer.json()["account_id"].as_str().expect("an account").to_owned()
}

async fn identities(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_provider_identity").await
}

async fn flows(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_provider_flow").await
}

/// An account with a proved address and a password, and its browser.
async fn member(probe: &Probe, auth: &Portcullis, name: &str) -> (Account, Browser) {
    let account = probe.register_with_email(name, &format!("{name}@example.com")).await;
    probe.auth.accounts().verify(account.id()).await.expect("it is verified");
    let mut browser = browser(auth).await;
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    (account, browser)
}

/// Links an identity to the account of a browser.
async fn link(browser: &mut Browser, liar: &Liar) {
    let query = go(browser, liar, "?intent=link").await;
    let answer = back(browser, liar, &query).await;
    assert_eq!(answer.json()["result"], "identity_pending", "{}", answer.text);
    let id = answer.json()["id"].clone();
    let answer = browser.post("/auth/pending-identity/link", json!({ "id": id })).await;
    signed_in(&answer);
}

/// Links an identity with this subject to an account. It is the next one that signs in.
pub(crate) async fn linked(auth: &Portcullis, account: &Account, liar: &Liar, subject: &str) {
    liar.is(subject, "", false);
    let client = portcullis::ClientInfo::default();
    let start = auth.sessions().start(account, &client).factor(Factor::Password);
    let mut browser = browser(auth).await;
    browser.cookie = Some(token_of(&start.await.expect("a session")));
    link(&mut browser, liar).await;
}

/// Fills all tables of this capability for an account, for the tests of exports and upgrades.
pub(crate) async fn fill(probe: &Probe, account: &Account) -> String {
    let liar = Liar::start(probe, "filled").await;
    let auth = with(probe, liar.provider().keep_tokens());
    liar.is("the one of the account", "", false);
    let mut browser = browser(&auth).await;
    let client = portcullis::ClientInfo::default();
    let start = || async {
        let account = auth.accounts().find(account.id()).await.expect("it answers");
        let account = account.expect("it is there");
        let start = auth.sessions().start(&account, &client).factor(Factor::Password);
        let start = start.factor(Factor::Totp);
        token_of(&start.await.expect("a session"))
    };
    browser.cookie = Some(start().await);
    link(&mut browser, &liar).await;
    // Signing in notes the session. Then one flow waits, and one decision.
    assert_eq!(sign_in(&mut browser.stranger(), &liar).await.status, 200);
    let token = liar.logout_token("used", &json!({ "sub": "nobody" }));
    assert!(
        auth.federation().backchannel_logout("filled", &token).await.is_ok_and(|ended| ended == 0)
    );
    browser.cookie = Some(start().await);
    let query = go(&mut browser, &liar, "?intent=link").await;
    liar.is("another one", "", false);
    assert_eq!(back(&mut browser, &liar, &query).await.status, 200);
    let _waits = go(&mut browser, &liar, "?intent=link&next=/settings").await;
    let account = probe.auth.accounts().find(account.id()).await.expect("it answers");
    let account = account.expect("it is there");
    let start = probe.auth.sessions().start(&account, &client).factor(Factor::Password);
    token_of(&start.await.expect("a session"))
}

on_every_database! {
    async fn an_unknown_identity_gets_an_account_and_signs_in_to_it_again(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut first = browser(&auth).await;
        let answer = first.get("/auth/oauth/liar?next=/settings").await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert_eq!(answer.headers["cache-control"], "no-store");
        let cookie = answer.set_cookies().into_iter().find(|line| line.starts_with(OAUTH));
        let cookie = cookie.expect("a cookie of the browser");
        for part in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let location = answer.headers["location"].to_str().expect("ASCII");
        let url = url::Url::parse(location).expect("a URL");
        let parameter = |name: &str| {
            url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
        };
        let callback = "https://example.com/auth/oauth/liar/callback";
        assert_eq!(parameter("redirect_uri").as_deref(), Some(callback));
        assert_eq!(parameter("scope").as_deref(), Some("openid email profile"));
        for name in ["state", "nonce", "code_challenge"] {
            assert!(parameter(name).expect(name).len() >= 43, "{name}");
        }
        assert_eq!(flows(&probe).await, 1);
        // Nothing of it is in the row.
        let state = parameter("state").expect("a state");
        for value in probe.dump("auth_provider_flow").await {
            assert!(!value.contains(&state) && !value.contains(&parameter("nonce").expect("one")));
        }
        let query = liar.agrees(location);
        let answer = back(&mut first, &liar, &query).await;
        let id = signed_in(&answer);
        assert_eq!((flows(&probe).await, identities(&probe).await), (0, 1));
        // Nobody vouches for the address, so the account has none.
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_login_name").await, 0);
        let account = probe.auth.accounts().find(id.parse().expect("an id")).await;
        let account = account.expect("it answers").expect("it is there");
        assert_eq!((account.username(), account.email(), account.is_verified()), (None, None, false));

        // The same person in another browser. The name and the address at the provider have changed.
        liar.is("alice", "alice@new.example", true);
        let mut second = first.stranger();
        assert_eq!(signed_in(&sign_in(&mut second, &liar).await), id);
        assert_eq!((identities(&probe).await, probe.rows().await[0]), (1, 1));
        let email = probe.text("SELECT email FROM auth_provider_identity").await;
        assert_eq!(email.as_deref(), Some("alice@new.example"));
        // Another person with the first one's address is another person.
        liar.is("mallory", "alice@example.com", true);
        let mut third = first.stranger();
        assert_ne!(signed_in(&sign_in(&mut third, &liar).await), id);
        assert_eq!(second.get("/me").await.text, id);
    }

    async fn a_browser_is_sent_on_and_told_what_went_wrong(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = probe.rebuilt(|builder| {
            let configure = |config: &mut portcullis::Config| {
                crate::passkey::public(config);
                let page = portcullis::config::Unauthenticated::LoginPage("/login".to_owned());
                config.service.unauthenticated = page;
            };
            builder.configure(configure).provider(liar.provider())
        });
        let mut browser = browser(&auth).await;
        let navigate = |browser: &Browser, path: &str| {
            browser.request(Method::GET, path).header("sec-fetch-mode", "navigate")
        };
        let query = go(&mut browser, &liar, "?next=/settings%3Fa%3Db").await;
        let request = navigate(&browser, &format!("/auth/oauth/liar/callback?{query}"));
        let answer = browser.send(request).await;
        assert_eq!((answer.status, &answer.headers["location"]), (303, &"/settings?a=b".parse().expect("a value")));
        assert!(answer.cookie().is_some() && answer.headers["referrer-policy"] == "no-referrer");
        // An open redirect is none.
        for next in ["//evil.example", "https://evil.example", "/%5cevil.example"] {
            let mut other = browser.stranger();
            let query = go(&mut other, &liar, &format!("?next={next}")).await;
            let request = navigate(&other, &format!("/auth/oauth/liar/callback?{query}"));
            assert_eq!(other.send(request).await.headers["location"], "/", "{next}");
        }
        // A refusal leads to the login page, with the page to which the person wanted.
        let mut other = browser.stranger();
        let query = go(&mut other, &liar, "?next=/settings").await;
        let state = query.split("state=").nth(1).expect("a state");
        let path = format!("/auth/oauth/liar/callback?error=access_denied&state={state}");
        let answer = other.send(navigate(&other, &path)).await;
        assert_eq!(answer.headers["location"], "/login?error=provider_cancelled&next=/settings");
        assert!(answer.cookie().is_none());
        // It is used up.
        let answer = other.send(navigate(&other, &path)).await;
        assert_eq!(answer.headers["location"], "/login?error=provider_flow_ended");
        let answer = other.send(navigate(&other, "/auth/oauth/nobody")).await;
        assert_eq!(answer.headers["location"], "/login?error=provider_not_found");
    }

    async fn only_the_browser_that_began_can_finish_and_only_once(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let other = Liar::start(&probe, "other").await;
        let auth = probe.rebuilt(|builder| {
            builder
                .configure(crate::passkey::public)
                .provider(liar.provider())
                .provider(other.provider())
        });
        let mut mallory = browser(&auth).await;
        let mut alice = mallory.stranger();
        // Another browser, with a cookie of its own or without one.
        let query = go(&mut mallory, &liar, "").await;
        refused(&back(&mut alice, &liar, &query).await, 403, "provider_flow_ended");
        let query = go(&mut mallory, &liar, "").await;
        go(&mut alice, &liar, "").await;
        refused(&back(&mut alice, &liar, &query).await, 403, "provider_flow_ended");
        // The wrong answer has used it up.
        refused(&back(&mut mallory, &liar, &query).await, 403, "provider_flow_ended");
        // The code of one provider at the callback of another one (mix-up).
        let query = go(&mut alice, &liar, "").await;
        refused(&back(&mut alice, &other, &query).await, 403, "provider_flow_ended");
        assert_eq!(other.asked("/token"), 0);
        // A state that nobody was given, and one that is too old.
        refused(&back(&mut alice, &liar, "code=x&state=y").await, 403, "provider_flow_ended");
        let query = go(&mut alice, &liar, "").await;
        probe.clock.advance(10 * MINUTE);
        refused(&back(&mut alice, &liar, &query).await, 403, "provider_flow_ended");
        // Two cookies: nobody knows which one is ours.
        let query = go(&mut alice, &liar, "").await;
        let own = alice.oauth.clone().expect("a cookie");
        let request = alice
            .raw(Method::GET, &format!("/auth/oauth/liar/callback?{query}"))
            .header("cookie", format!("{OAUTH}={own}; {OAUTH}={own}"));
        refused(&send(request).await, 403, "provider_flow_ended");
        assert_eq!(liar.asked("/token"), 0);
        // Two tabs of one browser do not disturb each other.
        let (first, second) = (go(&mut alice, &liar, "").await, go(&mut alice, &liar, "").await);
        let id = signed_in(&back(&mut alice, &liar, &second).await);
        assert_eq!(signed_in(&back(&mut alice, &liar, &first).await), id);
        refused(&back(&mut alice, &liar, &first).await, 403, "provider_flow_ended");
    }

    async fn of_many_callbacks_with_one_code_one_signs_in(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut alice = browser(&auth).await;
        let query = go(&mut alice, &liar, "").await;
        let path = format!("/auth/oauth/liar/callback?{query}");
        let answers = crate::race::parallel(16, |_| send(alice.request(Method::GET, &path))).await;
        let good = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!((good, liar.asked("/token")), (1, 1));
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            refused(answer, 403, "provider_flow_ended");
        }
        // The same new person in many tabs at once gets one account.
        liar.is("bob", "", false);
        let mut queries = Vec::new();
        for _ in 0..8 {
            queries.push(go(&mut alice, &liar, "").await);
        }
        alice.cookie = None;
        let answers = crate::race::parallel(8, |number| {
            let path = format!("/auth/oauth/liar/callback?{}", queries[number]);
            send(alice.request(Method::GET, &path))
        })
        .await;
        for answer in &answers {
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        assert_eq!((identities(&probe).await, probe.rows().await[0]), (2, 2));
    }

    async fn other_sites_send_nobody_to_a_provider(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let (_, browser) = member(&probe, &auth, "alice").await;
        let ask = |query: &str, site: Option<&str>| {
            let request = browser.raw(Method::GET, &format!("/auth/oauth/liar{query}"));
            let cookie = format!("__Host-session={}", browser.cookie.as_deref().expect("one"));
            let request = request.header("cookie", cookie);
            match site {
                Some(site) => request.header("sec-fetch-site", site),
                None => request,
            }
        };
        for intent in ["", "?intent=link", "?intent=step_up"] {
            refused(&send(ask(intent, Some("cross-site"))).await, 403, "cross_site_request");
            for site in [Some("same-origin"), Some("none"), None] {
                assert_eq!(send(ask(intent, site)).await.status, 303, "{intent} {site:?}");
            }
        }
        assert_eq!(send(ask("", Some("same-site"))).await.status, 303);
        for intent in ["?intent=link", "?intent=step_up"] {
            refused(&send(ask(intent, Some("same-site"))).await, 403, "cross_site_request");
        }
    }

    async fn one_source_begins_only_some_sign_ins(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = probe.rebuilt(|builder| {
            builder.configure(crate::passkey::public).provider(liar.provider())
        });
        let mut browser = browser(&auth).await;
        for _ in 0..30 {
            go(&mut browser, &liar, "").await;
        }
        let answer = browser.get("/auth/oauth/liar").await;
        refused(&answer, 429, "rate_limited");
        assert_eq!(flows(&probe).await, 30);
        // They are deleted when nobody can finish them any more.
        probe.clock.advance(11 * MINUTE);
        let report = auth.maintenance().run().await.expect("it runs");
        assert_eq!((report.provider_flows, flows(&probe).await), (30, 0));
    }

    async fn a_second_factor_of_the_account_is_asked_for_unless_the_provider_counts_as_two(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut first = browser(&auth).await;
        let id = signed_in(&sign_in(&mut first, &liar).await);
        let id = id.parse().expect("an id");
        auth.accounts().set_enrolled_factors(id, [Factor::Totp]).await.expect("it is set");
        let answer = sign_in(&mut first.stranger(), &liar).await;
        assert_eq!(answer.json()["result"], "second_factor_required", "{}", answer.text);
        assert_eq!(answer.json()["methods"], json!([{ "method": "totp" }]));
        assert_eq!(first.stranger().with_cookie(&answer.cookie().expect("one")).get("/me").await.status, 401);

        // What the provider says about its own factors is worth what is configured.
        liar.set(|lies| lies.claims = json!({ "amr": ["pwd", "mfa"], "acr": "gold" }));
        let answer = sign_in(&mut first.stranger(), &liar).await;
        assert_eq!(answer.json()["result"], "second_factor_required");
        for (rule, enough) in [
            (TwoFactors::amr(["mfa"]), true),
            (TwoFactors::amr(["otp"]), false),
            (TwoFactors::acr(["gold"]), true),
            (TwoFactors::acr(["silver", "mfa"]), false),
        ] {
            let auth = with(&probe, liar.provider().counts_as_two_when(rule.clone()));
            let mut browser = browser(&auth).await;
            let answer = sign_in(&mut browser, &liar).await;
            let expected = if enough { "session" } else { "second_factor_required" };
            assert_eq!(answer.json()["result"], expected, "{rule:?}");
            if enough {
                let session = browser.get("/auth/session").await.json();
                assert_eq!(session["factors"][0]["factor"], "provider_two_factors");
            }
        }
        liar.repents();
        let auth = with(&probe, liar.provider().counts_as_two_when(TwoFactors::amr(["mfa"])));
        let answer = sign_in(&mut browser(&auth).await, &liar).await;
        assert_eq!(answer.json()["result"], "second_factor_required", "without a claim it is one");
    }

    async fn a_role_that_requires_a_factor_accepts_the_two_of_a_provider(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider().counts_as_two_when(TwoFactors::amr(["mfa"])));
        let mut first = browser(&auth).await;
        let id = signed_in(&sign_in(&mut first, &liar).await).parse().expect("an id");
        auth.roles().create("admin", ["admin:read"]).await.expect("a role");
        auth.roles().require_factor("admin", true).await.expect("it is set");
        auth.roles().grant(id, "admin").await.expect("it is granted");
        assert_eq!(first.get("/admin").await.code(), "enrolment_required");
        let answer = sign_in(&mut first.stranger(), &liar).await;
        assert_eq!(answer.json()["result"], "enrolment_required", "{}", answer.text);
        liar.set(|lies| lies.claims = json!({ "amr": ["mfa"] }));
        let mut strong = first.stranger();
        signed_in(&sign_in(&mut strong, &liar).await);
        assert_eq!(strong.get("/admin").await.text, "admin");
    }

    async fn a_disabled_account_does_not_sign_in(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut alice = browser(&auth).await;
        let id = signed_in(&sign_in(&mut alice, &liar).await).parse().expect("an id");
        auth.accounts().disable(id).await.expect("it is disabled");
        refused(&sign_in(&mut alice.stranger(), &liar).await, 403, "identity_cannot_sign_in");
        auth.accounts().enable(id).await.expect("it is enabled");
        signed_in(&sign_in(&mut alice.stranger(), &liar).await);
    }

    async fn a_provider_that_is_off_or_only_for_links_is_refused_at_the_callback_too(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut alice = browser(&auth).await;
        for (provider, status, code) in [
            (liar.provider().enabled(false), 404, "provider_not_found"),
            (liar.provider().only_linked_step_up(), 403, "provider_not_for_sign_in"),
            (liar.provider().named("renamed"), 404, "provider_not_found"),
        ] {
            let query = go(&mut alice, &liar, "").await;
            let changed = serve(app(&with(&probe, provider))).await;
            let mut there = alice.at(changed);
            refused(&there.get("/auth/oauth/liar").await, status, code);
            refused(&back(&mut there, &liar, &query).await, status, code);
        }
        assert_eq!(liar.asked("/token"), 0);
    }

    async fn a_closed_provider_signs_in_only_whom_it_is_linked_to(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider().policy(ProviderPolicy::Closed));
        let (account, mut alice) = member(&probe, &auth, "alice").await;
        refused(&sign_in(&mut alice.stranger(), &liar).await, 403, "identity_not_linked");
        link(&mut alice, &liar).await;
        let id = signed_in(&sign_in(&mut alice.stranger(), &liar).await);
        assert_eq!(id, account.id().to_string());
        // Where registration is closed, no policy opens it.
        let auth = probe.rebuilt(|builder| {
            let configure = |config: &mut portcullis::Config| {
                crate::passkey::public(config);
                config.login.registration = portcullis::config::Registration::Closed;
            };
            builder.configure(configure).provider(liar.provider())
        });
        let mut other = browser(&auth).await;
        signed_in(&sign_in(&mut other, &liar).await);
        liar.is("bob", "bob@example.com", true);
        refused(&sign_in(&mut other.stranger(), &liar).await, 403, "identity_not_linked");
        assert_eq!(probe.rows().await[0], 1);
    }

    async fn the_methods_name_the_providers(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = probe.rebuilt(|builder| {
            builder
                .configure(crate::passkey::public)
                .provider(liar.provider().label("The Liar").policy(ProviderPolicy::OnRequest))
                .provider(liar.provider().named("off").enabled(false))
                .provider(liar.provider().named("links").only_linked_step_up())
        });
        let answer = browser(&auth).await.get("/auth/methods").await.json();
        let expected = json!([{ "name": "liar", "label": "The Liar", "registration": "on_request" }]);
        assert_eq!(answer["providers"], expected);
        assert!(answer["methods"].as_array().expect("a list").contains(&"provider".into()));
        assert_eq!(answer["count"], answer["methods"].as_array().expect("a list").len());
        let without = probe.browser().await.get("/auth/methods").await.json();
        assert_eq!(without["providers"], json!([]));
        assert!(!without["methods"].as_array().expect("a list").contains(&"provider".into()));
    }

    async fn a_strict_session_comes_along_after_one_more_step(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = probe.rebuilt(|builder| {
            let configure = |config: &mut portcullis::Config| {
                crate::passkey::public(config);
                config.cookie.same_site = portcullis::config::SameSite::Strict;
            };
            builder.configure(configure).provider(liar.provider())
        });
        let (_, mut alice) = member(&probe, &auth, "alice").await;
        let query = go(&mut alice, &liar, "?intent=link").await;
        // The browser leaves out the session cookie.
        let answer = back(&mut alice.clone(), &liar, &query).await;
        assert_eq!(answer.status, 200);
        assert!(answer.headers["content-type"].to_str().expect("ASCII").starts_with("text/html"));
        assert!(answer.headers.contains_key("content-security-policy"));
        let (_, rest) = answer.text.split_once("content=\"0; url=?").expect("a refresh");
        let next = rest.split('"').next().expect("a query").replace("&amp;", "&");
        assert_eq!(flows(&probe).await, 1);
        let answer = back(&mut alice, &liar, &next).await;
        assert_eq!(answer.json()["result"], "identity_pending", "{}", answer.text);
        // What a stranger puts into the address stays text.
        let answer = back(&mut alice, &liar, "state=\"><script>alert(1)</script>").await;
        assert!(!answer.text.contains("<script>"), "{}", answer.text);
    }

    async fn a_step_up_at_a_provider_counts_only_if_it_has_asked_again(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut alice = browser(&auth).await;
        let id = signed_in(&sign_in(&mut alice, &liar).await);
        // The provider has not told when it asked. But the account has no other way in, so the sign-in is recent for a while.
        assert_eq!(alice.get("/auth/oauth/liar?intent=link").await.status, 303);
        probe.clock.advance(6 * MINUTE);
        let answer = alice.get("/auth/oauth/liar?intent=link").await;
        refused(&answer, 401, "insufficient_user_authentication");
        assert_eq!(answer.json()["factors"], json!(["provider"]));
        let answer = alice.get("/auth/oauth/liar?intent=step_up&next=/settings").await;
        let location = answer.headers["location"].to_str().expect("ASCII");
        assert!(location.contains("prompt=login") && location.contains("max_age=0"), "{location}");
        for (auth_time, good) in [
            (Value::Null, false),
            (json!(0), false),
            (json!(portcullis::Clock::now(&probe.clock).as_secs() - 11), false),
            (json!(portcullis::Clock::now(&probe.clock).as_secs() - 9), true),
        ] {
            let query = go(&mut alice, &liar, "?intent=step_up").await;
            liar.set(|lies| lies.claims = json!({ "auth_time": auth_time }));
            let answer = back(&mut alice, &liar, &query).await;
            match good {
                false => refused(&answer, 403, "provider_did_not_ask"),
                true => assert_eq!(signed_in(&answer), id),
            }
        }
        liar.repents();
        // Now it is recent. An identity of somebody else proves nothing.
        assert_eq!(alice.get("/auth/oauth/liar?intent=link").await.status, 303);
        liar.is("mallory", "", false);
        let stolen = go(&mut alice, &liar, "?intent=step_up").await;
        refused(&back(&mut alice, &liar, &stolen).await, 404, "identity_not_found");
    }

    async fn a_step_up_and_a_link_belong_to_the_session_that_began_them(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let (_, mut mallory) = member(&probe, &auth, "mallory").await;
        let (_, mut alice) = member(&probe, &auth, "alice").await;
        for intent in ["link", "step_up"] {
            // Mallory began it. Her browser has a session of Alice by now, or none.
            let query = go(&mut mallory, &liar, &format!("?intent={intent}")).await;
            let mut shared = mallory.clone();
            shared.cookie.clone_from(&alice.cookie);
            refused(&back(&mut shared, &liar, &query).await, 403, "provider_flow_ended");
            let query = go(&mut mallory, &liar, &format!("?intent={intent}")).await;
            let mut nobody = mallory.clone();
            nobody.cookie = None;
            refused(&back(&mut nobody, &liar, &query).await, 403, "provider_flow_ended");
        }
        assert_eq!(liar.asked("/token"), 0);
        // Alice in another sign-in of hers.
        let query = go(&mut alice, &liar, "?intent=link").await;
        assert_eq!(alice.login("alice", PASSWORD).await.status, 200);
        let mut again = alice.stranger();
        assert_eq!(again.login("alice", PASSWORD).await.status, 200);
        again.oauth.clone_from(&alice.oauth);
        refused(&back(&mut again, &liar, &query).await, 403, "provider_flow_ended");
        assert_eq!(identities(&probe).await, 0);
    }

    async fn each_step_costs_what_this_table_says(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, trusted(&liar));
        let (_, mut alice) = member(&probe, &auth, "alice").await;
        let mut costs = Vec::new();
        macro_rules! costs {
            ($what:literal, $work:expr) => {{
                let (answer, statements) = probe.statements($work).await;
                costs.push(($what, answer.status, statements));
                answer
            }};
        }
        let mut bob = alice.stranger();
        let answer = costs!("begin", bob.get("/auth/oauth/liar"));
        liar.is("bob", "", false);
        let query = liar.agrees(answer.headers["location"].to_str().expect("ASCII"));
        costs!("a state that nobody was given", back(&mut bob, &liar, "code=x&state=y"));
        costs!("a new account", back(&mut bob, &liar, &query));
        let mut again = bob.stranger();
        let query = go(&mut again, &liar, "").await;
        costs!("sign in", back(&mut again, &liar, &query));
        liar.is("alice", "alice@example.com", true);
        let mut other = alice.stranger();
        let query = go(&mut other, &liar, "").await;
        costs!("link by mail", back(&mut other, &liar, &query));
        let account = probe.auth.accounts().find_by_login("alice").await.expect("it answers");
        let account = account.expect("it is there");
        let client = portcullis::ClientInfo::default();
        let start = auth.sessions().start(&account, &client).factor(Factor::Password);
        alice.cookie = Some(token_of(&start.await.expect("a session")));
        costs!("list", alice.get("/auth/oauth"));
        costs!("unlink", alice.delete("/auth/oauth/liar"));
        let answer = costs!("begin a link", alice.get("/auth/oauth/liar?intent=link"));
        let query = liar.agrees(answer.headers["location"].to_str().expect("ASCII"));
        let answer = costs!("come back with a link", back(&mut alice, &liar, &query));
        costs!("look at it", alice.get("/auth/pending-identity"));
        let id = answer.json()["id"].clone();
        costs!("link", alice.post("/auth/pending-identity/link", json!({ "id": id })));
        let query = go(&mut alice, &liar, "?intent=step_up").await;
        costs!("step up", back(&mut alice, &liar, &query));
        let browser = alice.stranger();
        let token = liar.logout_token("1", &json!({ "sub": "alice" }));
        let path = "/auth/oauth/liar/backchannel-logout";
        let tell = |token: &str| browser.raw(Method::POST, path).form(&[("logout_token", token)]);
        costs!("a forged logout token", send(tell("x.y.z")));
        costs!("a logout token", send(tell(&token)));
        assert_eq!(costs, [
            ("begin", 303, 1),
            ("a state that nobody was given", 403, 1),
            ("a new account", 200, 10),
            ("sign in", 200, 12),
            ("link by mail", 200, 19),
            ("list", 200, 2),
            ("unlink", 200, 15),
            ("begin a link", 303, 4),
            ("come back with a link", 200, 4),
            ("look at it", 200, 1),
            ("link", 200, 24),
            ("step up", 200, 9),
            ("a forged logout token", 400, 0),
            ("a logout token", 200, 5),
        ]);
    }

    async fn hooks_see_the_claims_and_can_refuse(probe: Probe) {
        use portcullis::hook::{HookResult, Hooks, ProviderUse, UsingProvider};
        use std::sync::{Arc, Mutex};

        struct Gate(Arc<Mutex<Vec<(ProviderUse, String, bool)>>>);

        impl Hooks for Gate {
            async fn before_provider(
                &self,
                using: UsingProvider<'_>,
                _: &sea_orm::DatabaseTransaction,
            ) -> HookResult {
                let groups = using.claims["groups"].as_array().cloned().unwrap_or_default();
                let seen = (using.purpose, using.subject.to_owned(), using.account.is_some());
                self.0.lock().expect("nobody panics with it").push(seen);
                match groups.contains(&"staff".into()) {
                    true => Ok(()),
                    false => Err(portcullis::Refusal::new(
                        reqwest::StatusCode::FORBIDDEN,
                        "not_staff",
                        "only for staff",
                    )
                    .into()),
                }
            }
        }

        let seen = Arc::new(Mutex::new(Vec::new()));
        let liar = Liar::start(&probe, "liar").await;
        let auth = probe.rebuilt(|builder| {
            builder
                .configure(crate::passkey::public)
                .provider(liar.provider())
                .hooks(Gate(Arc::clone(&seen)))
        });
        let mut alice = browser(&auth).await;
        refused(&sign_in(&mut alice, &liar).await, 403, "not_staff");
        assert_eq!((identities(&probe).await, probe.rows().await[0]), (0, 0));
        liar.set(|lies| lies.claims = json!({ "groups": ["staff"] }));
        signed_in(&sign_in(&mut alice, &liar).await);
        liar.repents();
        refused(&sign_in(&mut alice.stranger(), &liar).await, 403, "not_staff");
        let seen = seen.lock().expect("nobody panics with it").clone();
        let subject = || "alice".to_owned();
        assert_eq!(seen, [
            (ProviderUse::Register, subject(), false),
            (ProviderUse::Register, subject(), false),
            (ProviderUse::SignIn, subject(), true),
        ]);
    }

    async fn what_a_visitor_had_goes_on_and_a_form_of_another_site_becomes_a_redirect(probe: Probe) {
        let liar = Liar::start(&probe, "liar").await;
        let auth = with(&probe, liar.provider());
        let mut visitor = browser(&auth).await;
        assert_eq!(visitor.post_empty("/auth/session/anonymous").await.status, 201);
        let lineage = visitor.get("/anonymous").await.text;
        let query = go(&mut visitor, &liar, "").await;
        // As Apple answers: a form from its own site, without cookies.
        let parameters: Vec<(String, String)> = serde_urlencoded::from_str(&query).expect("a query");
        let mut parameters: Vec<_> =
            parameters.into_iter().chain([("user".to_owned(), "{}".to_owned())]).collect();
        let apple = visitor.stranger();
        let post = |form: &[(String, String)]| {
            let request = apple.raw(Method::POST, "/auth/oauth/liar/callback");
            request.header("origin", "https://evil.example").header("sec-fetch-site", "cross-site").form(form)
        };
        let answer = send(post(&parameters)).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        let location = answer.headers["location"].to_str().expect("ASCII").to_owned();
        assert!(location.starts_with('?') && !location.contains("user="), "{location}");
        assert!(answer.set_cookies().is_empty());
        let answer = back(&mut visitor, &liar, &location[1..]).await;
        signed_in(&answer);
        assert_eq!(visitor.get("/lineage").await.text, lineage);
        parameters.push(("state".to_owned(), "twice".to_owned()));
        let answer = send(post(&parameters)).await;
        let location = answer.headers["location"].to_str().expect("ASCII").to_owned();
        refused(&back(&mut visitor, &liar, &location[1..]).await, 403, "provider_not_accepted");
    }
}

/// A provider that vouches for all its addresses.
fn trusted(liar: &Liar) -> Provider {
    liar.provider().mail(MailTrust::Verified)
}
