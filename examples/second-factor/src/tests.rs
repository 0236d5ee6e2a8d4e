//! Tests of what `main.rs` describes: over plain HTTP, and in a real browser.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE,
};
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use portcullis::base::clock::MockClock;
use portcullis::config::Delivery;
use portcullis::message::RecordingNotifier;
use portcullis::{Clock, MessageKind};
use portcullis_test_needs::needs;
use sha1::Sha1;
use tower::ServiceExt;
use url::form_urlencoded::Serializer;

use super::*;

#[expect(unreachable_pub, reason = "it is a module of the tests of the library")]
#[path = "../../../tests/it/support/chromium.rs"]
mod chromium;

const PASSWORD: &str = "correct horse battery";
const SITE: &str = "http://localhost:3006";
/// How long an app shows a code. The next one is right after it.
const STEP: Duration = Duration::from_secs(30);

struct Service {
    auth: Portcullis,
    clock: MockClock,
    mails: RecordingNotifier,
    /// The password of the first administrator.
    first: String,
    _directory: tempfile::TempDir,
}

async fn started(url: &str, grace: Duration) -> Service {
    let directory = tempfile::tempdir().expect("a directory");
    let db = connect(&directory).await.expect("a database");
    let (clock, mails) = (MockClock::default(), RecordingNotifier::default());
    let auth = configured(Portcullis::builder(db), grace)
        .secret(Secret::generate())
        .public_url(url)
        .clock(clock.clone())
        .notifier(mails.clone())
        .configure(|config| {
            config.mail.delivery = Delivery::ByApplication;
            config.password.danger_cheap_hashing = true;
            config.password.memory_kib = 8;
            config.password.iterations = 1;
        })
        .build()
        .expect("the configuration is right");
    define_roles(&auth).await.expect("roles");
    let first = auth.bootstrap_admin(NewAccount::username("admin")).await.expect("an account");
    let first = first.expect("it is the first").password().to_owned();
    Service { auth, clock, mails, first, _directory: directory }
}

impl Service {
    /// Returns a value of the last mail of a kind.
    async fn mailed(&self, kind: MessageKind, value: &str) -> String {
        self.auth.outbox().deliver_due().await.expect("the mails are sent");
        let mail = self.mails.sent_of(kind).pop().expect("a mail");
        mail.value(value).expect("a value").to_owned()
    }

    async fn code_by_mail(&self) -> String {
        self.mailed(MessageKind::FactorCode, "code").await
    }

    /// Returns the code that an app shows now, as RFC 6238 says and without portcullis. Each code works
    /// once, so the clock moves on to the next one first.
    fn code(&self, secret: &str) -> String {
        self.clock.advance(STEP);
        let secret = secret.replace(' ', "");
        let seed = BASE32_NOPAD.decode(secret.as_bytes()).expect("base32");
        let mut mac = Hmac::<Sha1>::new_from_slice(&seed).expect("any length");
        mac.update(&(self.clock.now().as_secs() / 30).to_be_bytes());
        let mac = mac.finalize().into_bytes();
        let offset = usize::from(mac[19] & 0xf);
        let bytes = mac[offset..offset + 4].try_into().expect("four bytes");
        format!("{:06}", (u32::from_be_bytes(bytes) & 0x7fff_ffff) % 1_000_000)
    }

    fn client(&self) -> Client {
        Client { app: app(&self.auth).expect("requirements"), cookies: BTreeMap::new() }
    }

    /// A person whose address is confirmed.
    async fn person(&self, name: &str) -> Client {
        let mut client = self.client();
        let email = format!("{name}@example.com");
        let fields = [("username", name), ("email", &*email), ("password", PASSWORD)];
        let fields = [&fields[..], &[("next", "/account"), ("back", "/register")]].concat();
        client.post("/auth/register", &fields).await.is("/account", "not confirmed yet");
        let link = self.mailed(MessageKind::VerifyAddress, "link").await;
        let path = link.strip_prefix(SITE).expect("a link to this site");
        let shown = client.get(path).await;
        shown.is("/verify", "Confirm");
        shown.press(&mut client, "Confirm", &[]).await.is("/account?result=confirmed", "confirmed");
        client
    }

    /// A person with an authenticator and recovery codes. Returns the secret and the codes.
    async fn with_authenticator(&self, name: &str) -> (Client, String, Vec<String>) {
        let mut client = self.person(name).await;
        let shown = client.get("/account/authenticator").await;
        let shown = shown.press(&mut client, "Go on", &[("name", "phone")]).await;
        // The first second factor needs a proof of the mailbox.
        let shown = shown.press(&mut client, "Send the code", &[]).await;
        let code = self.code_by_mail().await;
        let shown = shown.press(&mut client, "Continue", &[("code", &code)]).await;
        shown.is("/account/authenticator?result=proved", "press the button again");
        let shown = shown.press(&mut client, "Go on", &[("name", "phone")]).await;
        let secret = shown.text("<code id=\"secret\">", "</code>");
        let code = self.code(&secret);
        let shown = shown.press(&mut client, "Confirm", &[("code", &code)]).await;
        shown.is("/account/recovery-codes", "ten codes");
        let shown = shown.press(&mut client, "Make ten codes", &[]).await;
        let codes = codes_in(&shown.html);
        assert_eq!(codes.len(), 10);
        shown.press(&mut client, "Go on", &[("kept", "yes")]).await.is("/account", "10 of your");
        (client, secret, codes)
    }
}

fn codes_in(html: &str) -> Vec<String> {
    let (_, list) = html.split_once("<ol id=\"codes\">").expect("a list of codes");
    let (list, _) = list.split_once("</ol>").expect("its end");
    list.split("<code>").skip(1).map(|code| code[..27].to_owned()).collect()
}

/// A browser that keeps cookies and follows redirects.
struct Client {
    app: Router,
    cookies: BTreeMap<String, String>,
}

/// Where the browser is, and what it shows.
struct Shown {
    at: String,
    status: u16,
    html: String,
}

impl Shown {
    #[track_caller]
    fn is(&self, at: &str, text: &str) {
        assert_eq!((self.at.as_str(), self.status), (at, 200), "{}", self.html);
        assert!(self.html.contains(text), "`{text}` is not in {}", self.html);
    }

    fn text(&self, begin: &str, end: &str) -> String {
        let (_, rest) = self.html.split_once(begin).unwrap_or_else(|| panic!("{}", self.html));
        rest.split(end).next().unwrap_or_default().to_owned()
    }

    /// Presses a button, with the hidden fields of its form and what the person types.
    async fn press(&self, client: &mut Client, button: &str, typed: &[(&str, &str)]) -> Shown {
        let forms = self.html.split("<form ").skip(1).map(|form| form.split("</form>").next());
        let form = forms.flatten().find(|form| form.contains(&format!(">{button}</button>")));
        let form = form.unwrap_or_else(|| panic!("no button `{button}` in {}", self.html));
        let attribute = |tag: &str, name: &str| {
            let (_, rest) = tag.split_once(&format!("{name}=\""))?;
            Some(rest.split('"').next()?.replace("&#x2f;", "/").replace("&amp;", "&"))
        };
        let action = attribute(form, "action").expect("an action");
        let hidden: Vec<(String, String)> = form
            .split("<input ")
            .filter(|tag| tag.contains("type=\"hidden\""))
            .map(|tag| {
                let name = attribute(tag, "name").expect("a name");
                (name, attribute(tag, "value").expect("a value"))
            })
            .collect();
        let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        client.post(&action, &hidden.chain(typed.iter().copied()).collect::<Vec<_>>()).await
    }
}

impl Client {
    async fn get(&mut self, path: &str) -> Shown {
        self.go(request("GET", path, Body::empty())).await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let form = Serializer::new(String::new()).extend_pairs(fields).finish();
        self.go(request("POST", path, Body::from(form))).await
    }

    /// Types a name and a password on the login page.
    async fn sign_in(&mut self, name: &str, password: &str) -> Shown {
        let shown = self.get("/login").await;
        shown.press(self, "Sign in", &[("login", name), ("password", password)]).await
    }

    async fn go(&mut self, mut request: Request) -> Shown {
        loop {
            let at = request.uri().to_string();
            let pairs: Vec<_> =
                self.cookies.iter().map(|(name, v)| format!("{name}={v}")).collect();
            let cookies = pairs.join("; ").parse().expect("a header value");
            request.headers_mut().insert(COOKIE, cookies);
            let response = self.app.clone().oneshot(request).await.expect("an answer");
            let headers = response.headers().clone();
            for line in headers.get_all(SET_COOKIE) {
                let pair = line.to_str().expect("ASCII").split(';').next().unwrap_or_default();
                let (name, value) = pair.split_once('=').expect("a name and a value");
                match value {
                    "" => self.cookies.remove(name),
                    value => self.cookies.insert(name.to_owned(), value.to_owned()),
                };
            }
            let policy = headers[CONTENT_SECURITY_POLICY].to_str().expect("ASCII");
            assert!(policy.starts_with("default-src 'none'; style-src"), "{at}: {policy}");
            assert_eq!(headers[CACHE_CONTROL], "no-store", "{at}");
            let status = response.status().as_u16();
            if let Some(location) = headers.get(LOCATION) {
                assert_eq!(status, 303, "{at}");
                request = self::request("GET", location.to_str().expect("ASCII"), Body::empty());
                continue;
            }
            let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
            let html = String::from_utf8(bytes.to_vec()).expect("a text");
            assert!(
                html.starts_with("<!doctype html>") && !html.contains("<script"),
                "{at}: {html}"
            );
            return Shown { at, status, html };
        }
    }
}

fn request(method: &str, path: &str, body: Body) -> Request {
    Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "text/html,*/*;q=0.8")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", "same-origin")
        .body(body)
        .expect("a request")
}

#[tokio::test]
async fn a_person_sets_up_an_authenticator_and_signs_in_with_it() {
    let service = started(SITE, Duration::ZERO).await;
    let (mut alice, secret, codes) = service.with_authenticator("alice").await;
    let shown = alice.get("/account").await;
    shown.is("/account", "<strong>phone</strong>");
    assert!(!shown.html.contains(&codes[0]) && !shown.html.contains(&secret), "shown only once");
    shown.press(&mut alice, "Sign out", &[]).await.is("/", "You are not signed in.");

    // The second step, first with a wrong code.
    let shown = alice.sign_in("alice", PASSWORD).await;
    shown.is("/second-step?next=/", "Code of your authenticator app");
    assert!(shown.html.contains("autocomplete=\"one-time-code\""), "{}", shown.html);
    assert!(shown.html.contains("inputmode=\"numeric\""), "{}", shown.html);
    let shown = shown.press(&mut alice, "Continue", &[("code", "000000")]).await;
    shown.is(
        "/second-step?method=totp&error=wrong_code&next=/",
        "the code is wrong or was already used",
    );
    let code = service.code(&secret);
    shown.press(&mut alice, "Continue", &[("code", &code)]).await.is("/", "signed in as alice");

    // A code works once.
    alice.get("/").await.press(&mut alice, "Sign out", &[]).await;
    let shown = alice.sign_in("alice", PASSWORD).await;
    let shown = shown.press(&mut alice, "Continue", &[("code", &code)]).await;
    assert!(shown.html.contains("already used"), "{}", shown.html);

    // A recovery code instead, which also works once. The way to it keeps where the person wants to go.
    let path = shown.text("<ul id=\"others\">", "</ul>");
    assert!(path.contains("Recovery code"), "{path}");
    let shown = alice.get("/second-step?method=recovery_code&next=/account").await;
    shown
        .press(&mut alice, "Continue", &[("code", &codes[0])])
        .await
        .is("/account", "9 of your codes are left");
}

#[tokio::test]
async fn a_wrong_first_code_can_be_typed_again() {
    let service = started(SITE, Duration::ZERO).await;
    let mut admin = service.client();
    let shown = admin.sign_in("admin", &service.first).await;
    shown.is("/account/authenticator?next=/", "to finish the sign-in");
    let shown = shown.press(&mut admin, "Go on", &[("name", " ")]).await;
    assert_eq!(shown.status, 422);
    assert!(shown.html.contains("<em>must not be empty</em>"), "{}", shown.html);
    let shown = shown.press(&mut admin, "Go on", &[("name", "phone")]).await;
    let secret = shown.text("<code id=\"secret\">", "</code>");
    let shown = shown.press(&mut admin, "Confirm", &[("code", "000000")]).await;
    assert_eq!(shown.status, 200);
    assert!(shown.at.starts_with("/account/authenticator/code?error=wrong_code"), "{}", shown.at);
    assert!(!shown.html.contains(&secret), "{}", shown.html);
    let code = service.code(&secret);
    let shown = shown.press(&mut admin, "Confirm", &[("code", &code)]).await;
    shown.is("/account/recovery-codes?next=/", "Make ten codes");

    // The codes must be kept.
    let shown = shown.press(&mut admin, "Make ten codes", &[]).await;
    let shown = shown.press(&mut admin, "Go on", &[]).await;
    shown.is("/account/recovery-codes?result=not_kept&next=/", "cannot show the codes again");
    let shown = shown.press(&mut admin, "Make ten codes", &[]).await;
    shown.press(&mut admin, "Go on", &[("kept", "yes")]).await.is("/", "signed in as admin");
}

#[tokio::test]
async fn codes_by_mail_are_added_used_and_removed() {
    let service = started(SITE, Duration::ZERO).await;
    let (mut alice, secret, _) = service.with_authenticator("alice").await;
    service.clock.advance(RECENT + Duration::from_secs(1));

    // It asks for a second factor that the account has, and then for the mailbox.
    let shown = alice.get("/account/mailed-codes").await;
    let proved = "&next=/account/mailed-codes%3Fresult%3Dproved";
    shown.is(&format!("/again?need=totp,recovery_code{proved}"), "Code of your authenticator");
    let code = service.code(&secret);
    let shown = shown.press(&mut alice, "Continue", &[("code", &code)]).await;
    shown.is(&format!("/again?need=mailed_code{proved}"), "Send the code");
    let shown = shown.press(&mut alice, "Send the code", &[]).await;
    let code = service.code_by_mail().await;
    let shown = shown.press(&mut alice, "Continue", &[("code", &code)]).await;
    shown.is("/account/mailed-codes?result=proved", "Use codes by mail");
    let shown = shown.press(&mut alice, "Use codes by mail", &[]).await;
    shown.is("/account?result=added", "is one of your second factors");

    // A sign-in offers all of them, and does not show the whole address.
    shown.press(&mut alice, "Sign out", &[]).await;
    let shown = alice.sign_in("alice", PASSWORD).await;
    assert!(shown.html.contains("Code by mail</a> to a***@e***.com"), "{}", shown.html);
    assert!(!shown.html.contains("alice@example.com"), "{}", shown.html);
    service.clock.advance(Duration::from_secs(60));
    let shown = alice.get("/second-step?method=mailed_code&next=/account").await;
    let shown = shown.press(&mut alice, "Send the code", &[]).await;
    shown.is("/second-step?method=mailed_code&sent=yes&next=/account", "Code from the mail");
    let too_soon = shown.press(&mut alice, "Send another code", &[]).await;
    assert!(too_soon.at.contains("&sent=yes&then=/account&error=too_soon"), "{}", too_soon.at);
    let wrong = too_soon.press(&mut alice, "Continue", &[("code", "00000000")]).await;
    assert!(wrong.html.contains("the code is wrong"), "{}", wrong.html);
    let code = service.code_by_mail().await;
    let shown = wrong.press(&mut alice, "Continue", &[("code", &code)]).await;
    shown.is("/account", "is one of your second factors");

    // Another second factor is removed after it was proved, and only after the button was pressed again.
    service.clock.advance(RECENT + Duration::from_secs(1));
    let remove = "/auth/sent-codes/mailed_code/remove";
    let paths = [("next", "/account?result=removed"), ("back", "/account?result=proved")];
    let shown = alice.post(remove, &paths).await;
    shown.is("/again?next=/account%3Fresult%3Dproved", "Code of your authenticator app");
    assert!(
        !shown.html.contains("Recovery code") && !shown.html.contains("Password"),
        "{}",
        shown.html
    );
    let code = service.code(&secret);
    let shown = shown.press(&mut alice, "Continue", &[("code", &code)]).await;
    shown.is("/account?result=proved", "press the button again");
    assert!(shown.html.contains("is one of your second factors"), "{}", shown.html);
    alice.post(remove, &paths).await.is("/account?result=removed", "Use codes by mail");
}

#[tokio::test]
async fn a_new_administrator_must_set_up_a_second_factor() {
    let service = started(SITE, Duration::ZERO).await;
    let mut alice = service.person("alice").await;
    alice.get("/account").await.is("/account", "You have no second factor");
    let id = service.auth.accounts().find_by_login("alice").await.expect("found");
    service.auth.roles().grant(id.expect("alice").id(), ADMIN).await.expect("it is granted");

    // From the next request on, the session reaches only the pages that set one up.
    let shown = alice.get("/admin").await;
    shown.is("/account/authenticator?next=/admin", "to finish the sign-in");
    alice.get("/account").await.is("/account/authenticator?next=/account", "to finish the sign-in");
    let shown = shown.press(&mut alice, "Go on", &[("name", "phone")]).await;
    shown.is(
        "/again?need=mailed_code&next=/account/authenticator%3Fnext%3D/admin%26result%3Dproved",
        "Send the code",
    );
    let shown = shown.press(&mut alice, "Send the code", &[]).await;
    let code = service.code_by_mail().await;
    let shown = shown.press(&mut alice, "Continue", &[("code", &code)]).await;
    shown.is("/account/authenticator?next=/admin&result=proved", "press the button again");
    let shown = shown.press(&mut alice, "Go on", &[("name", "phone")]).await;
    let secret = shown.text("<code id=\"secret\">", "</code>");
    let code = service.code(&secret);
    let shown = shown.press(&mut alice, "Confirm", &[("code", &code)]).await;
    shown.is("/account/recovery-codes?next=/admin", "ten codes");
    let shown = shown.press(&mut alice, "Make ten codes", &[]).await;
    let shown = shown.press(&mut alice, "Go on", &[("kept", "yes")]).await;
    shown.is("/admin", "Authenticator app, Recovery code");

    // The last one cannot be removed.
    let shown = alice.get("/account").await;
    let shown = shown.press(&mut alice, "Remove", &[]).await;
    assert!(
        shown.html.contains("a role of the account requires a second factor"),
        "{}",
        shown.html
    );
}

#[tokio::test]
async fn during_the_time_of_grace_every_page_says_until_when() {
    let service = started(SITE, DAY * 2).await;
    let mut admin = service.client();
    let due = "Please set one up before 2026-09-23 14:13 UTC";
    admin.sign_in("admin", &service.first).await.is("/", due);
    for path in ["/admin", "/account", "/account/authenticator", "/account/recovery-codes"] {
        admin.get(path).await.is(path, due);
    }
    service.clock.advance(DAY * 2);
    let shown = admin.sign_in("admin", &service.first).await;
    shown.is("/account/authenticator?next=/", "to finish the sign-in");

    // Somebody without such a role is not asked.
    let mut bob = service.person("bob").await;
    assert!(!bob.get("/account").await.html.contains("id=\"due\""));
    assert_eq!(bob.get("/admin").await.status, 403);
}

#[tokio::test]
async fn something_dangerous_needs_a_recent_proof_and_is_never_done_by_itself() {
    let service = started(SITE, Duration::ZERO).await;
    service.person("bob").await;
    let (mut alice, secret, _) = service.with_authenticator("alice").await;
    let id = service.auth.accounts().find_by_login("alice").await.expect("found");
    service.auth.roles().grant(id.expect("alice").id(), ADMIN).await.expect("it is granted");
    service.clock.advance(RECENT + Duration::from_secs(1));

    let shown = alice.get("/admin").await;
    shown.is("/admin", "Make bob an administrator");
    let refused = shown.press(&mut alice, "Make administrator", &[]).await;
    assert_eq!((refused.at.as_str(), refused.status), ("/admin", 401));
    let link = refused.text("<a id=\"again\" class=\"button\" href=\"", "\"");
    let shown = alice.get(&link.replace("&#x2f;", "/").replace("&amp;", "&")).await;
    assert_eq!(shown.status, 200, "{}", shown.html);
    let code = service.code(&secret);
    let shown = shown.press(&mut alice, "Continue", &[("code", &code)]).await;
    shown.is("/admin?result=proved", "press the button again");
    assert!(shown.html.contains("Make bob an administrator"), "{}", shown.html);
    let shown = shown.press(&mut alice, "Make administrator", &[]).await;
    shown.is("/admin?result=promoted", "It is done.");
    assert!(!shown.html.contains("Make bob an administrator"), "{}", shown.html);
}

#[tokio::test]
async fn an_address_must_be_confirmed_first() {
    let service = started(SITE, Duration::ZERO).await;
    let mut alice = service.client();
    let email = "alice@example.com";
    let fields = [("username", "alice"), ("email", email), ("password", PASSWORD)];
    alice.post("/auth/register", &fields).await.is("/", "signed in as alice");
    let shown = alice.get("/account/authenticator").await;
    let shown = shown.press(&mut alice, "Go on", &[("name", "phone")]).await;
    assert_eq!(shown.status, 403);
    assert!(shown.html.contains("verify the mail address of the account first"), "{}", shown.html);
    service.clock.advance(Duration::from_secs(61));
    let shown = alice.get("/verify").await;
    let shown = shown.press(&mut alice, "Send the mail again", &[("email", email)]).await;
    shown.is("/verify?result=mailed", "is on its way");

    // In another browser, it needs the password.
    let link = service.mailed(MessageKind::VerifyAddress, "link").await;
    let mut other = service.client();
    let shown = other.get(link.strip_prefix(SITE).expect("a link to this site")).await;
    let shown = shown.press(&mut other, "Confirm", &[("password", PASSWORD)]).await;
    assert!(shown.at.starts_with("/login?next=/account"), "{}", shown.at);
    alice.get("/account").await.is("/account", "Use codes by mail");
}

#[tokio::test]
async fn the_owner_undoes_a_second_factor_of_a_thief_and_sets_a_new_password() {
    let service = started(SITE, Duration::ZERO).await;
    let (mut thief, secret, _) = service.with_authenticator("alice").await;
    service.auth.outbox().deliver_due().await.expect("the mails are sent");
    // The first one is about the app. The recovery codes came after it, so they go with it.
    let mails = service.mails.sent_of(MessageKind::FactorAdded);
    let link = mails[0].value("link").expect("a link");
    let mut alice = service.client();
    let shown = alice.get(link.strip_prefix(SITE).expect("a link to this site")).await;
    shown.is("/second-factor/undo", "All sessions end");
    let shown = shown.press(&mut alice, "Remove it", &[]).await;
    shown.is("/forgot?result=undone", "please set a new one now");
    thief.get("/account").await.is("/login?next=/account", "Sign in");
    let shown = shown.press(&mut alice, "Send a link", &[("login", "alice")]).await;
    shown.is("/forgot?result=mailed", "is on its way");
    let link = service.mailed(MessageKind::PasswordReset, "link").await;
    let shown = alice.get(link.strip_prefix(SITE).expect("a link to this site")).await;
    let shown = shown.press(&mut alice, "Set the password", &[("password", "short")]).await;
    assert!(shown.html.contains("<em>"), "{}", shown.html);
    let new = "another horse battery";
    let shown = shown.press(&mut alice, "Set the password", &[("password", new)]).await;
    shown.is("/login?result=reset", "The new password is set");

    // Neither the old password nor the app of the thief opens anything.
    let shown = thief.sign_in("alice", PASSWORD).await;
    assert!(shown.at.starts_with("/login?error=invalid_credentials"), "{}", shown.at);
    alice.sign_in("alice", new).await.is("/", "signed in as alice");
    alice.get("/account").await.is("/account", "You have no second factor");
    let code = service.code(&secret);
    let refused = alice.post("/auth/reauthenticate", &[("code", &code)]).await;
    assert!(refused.html.contains("code"), "{}", refused.html);
}

#[tokio::test]
async fn after_the_last_recovery_code_there_are_two_ways_in() {
    let service = started(SITE, Duration::ZERO).await;
    for (name, has_app) in [("alice", true), ("bob", false)] {
        let (mut person, secret, codes) = service.with_authenticator(name).await;
        for code in &codes[1..] {
            let proof = [("method", "recovery_code"), ("code", code), ("next", "/account")];
            let proof = [&proof[..], &[("back", "/account?result=wrong")]].concat();
            let shown = person.post("/auth/reauthenticate", &proof).await;
            assert_eq!(shown.at, "/account", "{}", shown.html);
            service.clock.advance(Duration::from_millis(1));
        }
        person.get("/").await.press(&mut person, "Sign out", &[]).await;
        person.sign_in(name, PASSWORD).await.is("/second-step?next=/", "One more step");
        let shown = person.get("/second-step?method=recovery_code&next=/").await;
        let shown = shown.press(&mut person, "Continue", &[("code", &codes[0])]).await;
        shown.is("/account/authenticator?next=/", "That was your last recovery code.");
        if has_app {
            let link = shown.text("<a id=\"codes\" href=\"", "\"").replace("&#x2f;", "/");
            let shown = person.get(&link).await;
            let shown = shown.press(&mut person, "Make ten codes", &[]).await;
            assert!(shown.at.starts_with("/again?need=totp&next="), "{}", shown.at);
            let code = service.code(&secret);
            let shown = shown.press(&mut person, "Continue", &[("code", &code)]).await;
            let shown = shown.press(&mut person, "Make ten codes", &[]).await;
            assert_eq!(codes_in(&shown.html).len(), 10);
            shown.press(&mut person, "Go on", &[("kept", "yes")]).await.is("/", "signed in as");
        } else {
            // Installing an app takes longer than a proof is recent.
            service.clock.advance(RECENT + Duration::from_secs(60));
            let shown = shown.press(&mut person, "Go on", &[("name", "new phone")]).await;
            let secret = shown.text("<code id=\"secret\">", "</code>");
            let code = service.code(&secret);
            let shown = shown.press(&mut person, "Confirm", &[("code", &code)]).await;
            shown.is("/account/recovery-codes?next=/", "Make ten codes");
            person.get("/account").await.is("/account", "new phone");
        }
    }
}

#[tokio::test]
async fn a_trusted_device_is_not_asked_for_a_code_until_it_is_removed() {
    let service = started(SITE, Duration::ZERO).await;
    let (mut alice, secret, _) = service.with_authenticator("alice").await;
    let out = async |alice: &mut Client| {
        alice.get("/").await.press(alice, "Sign out", &[]).await.is("/", "not signed in");
    };
    out(&mut alice).await;
    let shown = alice.sign_in("alice", PASSWORD).await;
    assert!(!shown.html.contains("checked"), "nobody ticks it for the person: {}", shown.html);
    let shown_codes = alice.get("/second-step?method=recovery_code").await;
    assert!(!shown_codes.html.contains("trust_device"), "{}", shown_codes.html);
    let typed = [("code", &*service.code(&secret)), ("trust_device", "true")];
    shown.press(&mut alice, "Continue", &typed).await.is("/", "signed in as alice");

    out(&mut alice).await;
    alice.sign_in("alice", PASSWORD).await.is("/", "signed in as alice");
    let shown = alice.get("/account").await;
    shown.is("/account", "<strong>This device</strong>");
    let shown = shown.press(&mut alice, "No longer trust it", &[]).await;
    shown.is("/account?result=distrusted", "needs a code again");
    assert!(!shown.html.contains("This device"), "{}", shown.html);
    out(&mut alice).await;
    alice.sign_in("alice", PASSWORD).await.is("/second-step?next=/", "One more step");

    // Another browser was never asked to trust.
    let mut other = service.client();
    other.sign_in("alice", PASSWORD).await.is("/second-step?next=/", "One more step");

    // An administrator cannot trust a device.
    let id = service.auth.accounts().find_by_login("alice").await.expect("found");
    service.auth.roles().grant(id.expect("alice").id(), ADMIN).await.expect("it is granted");
    let shown = service.client().sign_in("alice", PASSWORD).await;
    shown.is("/second-step?next=/", "One more step");
    assert!(!shown.html.contains("trust_device"), "{}", shown.html);
}

#[tokio::test]
async fn who_may_call_what_is_written_down() {
    let service = started(SITE, Duration::ZERO).await;
    let app = app(&service.auth).expect("requirements");
    service.auth.test().matrix(&app).await.check("access.txt");
}

#[needs("PORTCULLIS_TEST_CHROMEDRIVER")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_way_in_a_real_browser() {
    let chromedriver = std::env::var("PORTCULLIS_TEST_CHROMEDRIVER").expect("the test needs it");
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let site = format!("http://{}", listener.local_addr().expect("an address"));
    let service = started(&site, Duration::ZERO).await;
    let bob = NewAccount::username("bob");
    service.auth.accounts().create(bob).await.expect("an account");
    let serve = app(&service.auth).expect("requirements");
    let serve = serve.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, serve).await });
    let profile = tempfile::tempdir().expect("a directory");
    let browser = chromium::Chromium::start(&chromedriver, profile.path()).await;
    let at = async |path: &str| assert_eq!(browser.address().await, format!("{site}{path}"));
    let sign_in = async || {
        browser.open(&format!("{site}/login?next=/admin")).await;
        browser.fill("#login", "admin").await;
        browser.fill("#password", &service.first).await;
        browser.press("main button").await;
    };

    // The first administrator must set up a second factor.
    sign_in().await;
    at("/account/authenticator?next=/admin").await;
    assert!(browser.text("#must").await.contains("Your role needs a second factor"));
    browser.fill("#name", "Phone of the first administrator").await;
    browser.press("main button").await;
    assert_eq!(browser.property("#qr svg path", "tagName").await, "path");
    let secret = browser.text("#secret").await;
    assert_eq!(secret.len(), 39, "{secret}");
    let uri = browser.property("#uri", "href").await;
    assert!(uri.contains(&format!("secret={}&", secret.replace(' ', ""))), "{uri}");
    browser.fill("#code", &service.code(&secret)).await;
    browser.press("main button").await;

    // The recovery codes are shown once.
    at("/account/recovery-codes?next=/admin").await;
    browser.press("#make").await;
    let code = browser.text("#codes li:nth-child(3)").await;
    assert_eq!(code.len(), 27, "{code}");
    browser.check("#kept").await;
    browser.press("main button").await;
    at("/admin").await;
    assert!(browser.text("#accounts").await.contains("Authenticator app, Recovery code"));

    // Something dangerous, some minutes later.
    service.clock.advance(RECENT + Duration::from_secs(1));
    browser.press("#accounts button").await;
    assert!(browser.text("main").await.contains("Nothing has been changed yet"));
    browser.press("#again").await;
    browser.fill("#code", &service.code(&secret)).await;
    browser.press("main button").await;
    at("/admin?result=proved").await;
    assert!(browser.text("[role=status]").await.contains("press the button again"));
    browser.press("#accounts button").await;
    at("/admin?result=promoted").await;

    // Sign in with a code of the app, first with a wrong one.
    browser.press("#sign-out").await;
    at("/").await;
    sign_in().await;
    at("/second-step?next=/admin").await;
    browser.fill("#code", "123").await;
    browser.press("main button").await;
    assert_eq!(browser.text("[role=alert]").await, "the code is wrong or was already used");
    browser.fill("#code", &service.code(&secret)).await;
    browser.press("main button").await;
    at("/admin").await;

    // And with a recovery code.
    browser.press("#sign-out").await;
    sign_in().await;
    browser.press("#others a").await;
    at("/second-step?method=recovery_code&next=/admin").await;
    browser.fill("#code", &code.to_lowercase()).await;
    browser.press("main button").await;
    at("/admin").await;
    browser.open(&format!("{site}/account")).await;
    assert_eq!(browser.text("#left").await, "9 of your codes are left.");
    assert!(browser.text("#authenticators").await.contains("Phone of the first administrator"));
    browser.quit().await;
}
