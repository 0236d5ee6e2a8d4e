//! A certified provider: npm `oidc-provider`, on loopback. `PORTCULLIS_TEST_OIDC_PROVIDER` is the folder in which it is
//! installed.

use std::process::{Command, Stdio};

use portcullis::Portcullis;
use portcullis::config::IdTokenAlgorithm;

use super::*;
use crate::support::program::Program;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/federation/oidc_provider.mjs");

/// Starts the provider, which signs with this algorithm and tells of sign-outs there.
async fn provider(algorithm: &str, logout: &str) -> Program {
    let folder = crate::support::needed("PORTCULLIS_TEST_OIDC_PROVIDER");
    Program::start(|directory, address| {
        let log = std::fs::File::create(directory.join("log")).expect("a file");
        let port = address.port().to_string();
        let redirect = "https://example.com/auth/oauth/real/callback";
        Command::new("node")
            .args([SCRIPT, &folder, &port, redirect, logout, algorithm])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("node starts")
    })
    .await
}

/// An instance with the real clock, because the provider has no other.
fn instance(probe: &Probe, program: &Program, algorithm: IdTokenAlgorithm) -> Portcullis {
    let issuer = format!("http://{}", program.address);
    let real = Provider::openid("real", issuer, "our client", "a secret of the service")
        .algorithm(algorithm)
        .mail(MailTrust::Verified)
        .danger_private_addresses();
    probe.rebuilt(|builder| {
        builder.clock(portcullis::SystemClock).configure(crate::passkey::public).provider(real)
    })
}

/// The browser of a person at the provider.
struct AtProvider {
    http: reqwest::Client,
    base: String,
}

impl AtProvider {
    fn new(program: &Program) -> Self {
        let http = reqwest::Client::builder()
            .cookie_store(true)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        Self { http, base: format!("http://{}", program.address) }
    }

    /// Signs in there and agrees. Returns the query with which the provider sends the browser back.
    async fn agrees(&self, location: &str, name: &str) -> String {
        let mut next = location.to_owned();
        for _ in 0..20 {
            if let Some(query) = next.strip_prefix("https://example.com/auth/oauth/real/callback?")
            {
                return query.to_owned();
            }
            let answer = self.http.get(self.absolute(&next)).send().await.expect("it answers");
            if let Some(location) = answer.headers().get("location") {
                next = location.to_str().expect("ASCII").to_owned();
                continue;
            }
            // A page with a form: sign in, or agree.
            let page = answer.text().await.expect("a page");
            let action = page.split("action=\"").nth(1).and_then(|rest| rest.split('"').next());
            let action = action.unwrap_or_else(|| panic!("no form: {page}")).to_owned();
            let prompt = if page.contains("name=\"login\"") { "login" } else { "consent" };
            let form = [("prompt", prompt), ("login", name), ("password", "x")];
            let answer = self.http.post(self.absolute(&action)).form(&form).send().await;
            let answer = answer.expect("it answers");
            let location = answer.headers().get("location").expect("a redirect");
            next = location.to_str().expect("ASCII").to_owned();
        }
        panic!("it never came back: {next}");
    }

    /// Signs out there.
    async fn signs_out(&self) {
        let page = self.http.get(format!("{}/session/end", self.base)).send().await;
        let page = page.expect("it answers").text().await.expect("a page");
        let secret =
            page.split("name=\"xsrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let form = [("xsrf", secret.expect("a secret")), ("logout", "yes")];
        let answer =
            self.http.post(format!("{}/session/end/confirm", self.base)).form(&form).send().await;
        assert!(answer.expect("it answers").status().as_u16() < 400);
    }

    fn absolute(&self, path: &str) -> String {
        match path.starts_with('/') {
            true => format!("{}{path}", self.base),
            false => path.to_owned(),
        }
    }
}

async fn location(browser: &mut Browser, query: &str) -> String {
    let answer = browser.get(&format!("/auth/oauth/real{query}")).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    answer.headers["location"].to_str().expect("ASCII").to_owned()
}

async fn comes_back(browser: &mut Browser, query: &str) -> Answer {
    browser.get(&format!("/auth/oauth/real/callback?{query}")).await
}

on_every_database! {
    needs("PORTCULLIS_TEST_OIDC_PROVIDER");
    async fn a_certified_provider_signs_in_steps_up_and_ends_sessions(probe: Probe) {
        // Where the provider tells of a sign-out is known only when the service listens. So a small server passes it on.
        let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
        let list = std::sync::Arc::clone(&told);
        let listener = axum::Router::new().route(
            "/",
            axum::routing::post(async move |body: String| {
                list.lock().expect("nobody panics with it").push(body);
            }),
        );
        let listener = serve(listener).await;
        for (name, algorithm) in [
            ("RS256", IdTokenAlgorithm::Rs256),
            ("ES256", IdTokenAlgorithm::Es256),
            ("EdDSA", IdTokenAlgorithm::EdDsa),
            ("PS256", IdTokenAlgorithm::Ps256),
        ] {
            let program = provider(name, &format!("http://{listener}/")).await;
            let auth = instance(&probe, &program, algorithm);
            let mut browser = browser(&auth).await;
            let there = AtProvider::new(&program);
            let person = format!("alice-{}", name.to_lowercase());
            let query = there.agrees(&location(&mut browser, "").await, &person).await;
            assert!(query.contains("iss="), "it names its issuer: {query}");
            let id = signed_in(&comes_back(&mut browser, &query).await);
            // The code is used up, here and there.
            refused(&comes_back(&mut browser.clone(), &query).await, 403, "provider_flow_ended");
            let account = auth.accounts().find(id.parse().expect("an id")).await;
            let account = account.expect("it answers").expect("it is there");
            assert_eq!(account.email(), Some(&*format!("{person}@example.com")));
            // The provider asks again for a step-up, and tells when.
            let query = there.agrees(&location(&mut browser, "?intent=step_up").await, &person).await;
            assert_eq!(signed_in(&comes_back(&mut browser, &query).await), id);
            // Without its issuer, the answer could come from another provider.
            let query = there.agrees(&location(&mut browser, "").await, &person).await;
            let without: Vec<_> = query.split('&').filter(|pair| !pair.starts_with("iss=")).collect();
            refused(&comes_back(&mut browser.clone(), &without.join("&")).await, 403, "provider_not_accepted");
            // Another algorithm than the configured one.
            let wrong = if name == "RS256" { IdTokenAlgorithm::Es256 } else { IdTokenAlgorithm::Rs256 };
            let mut other = browser.stranger().at(serve(app(&instance(&probe, &program, wrong))).await);
            let query = there.agrees(&location(&mut other, "").await, &person).await;
            refused(&comes_back(&mut other, &query).await, 403, "provider_not_accepted");
            // Signing out there ends the session here.
            assert_eq!(browser.get("/me").await.status, 200);
            there.signs_out().await;
            let arrived = || told.lock().expect("nobody panics with it").pop();
            let mut token = None;
            crate::support::until("the provider tells", async || {
                told.lock().is_ok_and(|told| !told.is_empty())
            })
            .await;
            token = token.or_else(arrived);
            let request = browser.raw(Method::POST, "/auth/oauth/real/backchannel-logout");
            let request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(token.expect("a token"));
            let answer = send(request).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(browser.get("/me").await.status, 401);
        }
    }
}
