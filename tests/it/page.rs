//! Pages without a script: the page after a form, what it shows, and links.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use portcullis::account::NewAccount;
use portcullis::config::{LinkConfig, Unauthenticated};
use portcullis::guard::RouteBody;
use portcullis::page::{FormFeedback, LinkToken};
use portcullis::{Factor, MessageKind, Portcullis, Requirement, Secret};
use reqwest::Method;
use serde_json::{Value, json};

use crate::login_form::{HTML, header, leads_to, post, post_with};
use crate::on_every_database;
use crate::support::browser::{Answer, COOKIE, DEVICE, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp;

const FORM: &str = "__Host-session-form";
const LINK: &str = "__Host-session-link";
const NEW_PASSWORD: &str = "another horse battery staple";
const MINUTE: Duration = Duration::from_secs(60);

fn with_pages(probe: Probe) -> Probe {
    probe.configured(|config| {
        config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
        config.service.step_up_page = Some("/again".to_owned());
        config.password.change_page = Some("/new-password".to_owned());
        config.mail.links = LinkConfig::in_query();
    })
}

/// The application, with pages that show what they get.
async fn site(probe: &Probe) -> Browser {
    let within = Requirement::within(5 * MINUTE);
    let danger = Router::new()
        .route("/danger", get(async || "danger").post(async || "done"))
        .route_layer(probe.auth.require(within));
    let pages = Router::new()
        .route("/login", get(feedback))
        .route("/page", get(feedback))
        .route("/other", get(feedback))
        .route("/link", get(link).post(link))
        .route("/{*path}", get(link))
        .merge(danger)
        .layer(probe.auth.layer());
    let own = portcullis::own_account::routes(&probe.auth);
    Browser::new(serve(app(&probe.auth).nest("/own", own).merge(pages)).await)
}

/// Returns the paths of all routes of portcullis that take a form, without their prefix.
fn forms(auth: &Portcullis) -> Vec<String> {
    let optional = portcullis::anonymous::routes(auth)
        .merge(portcullis::mail_login::routes(auth))
        .merge(portcullis::second_factor::routes(auth));
    let own = auth.router::<()>().auth_routes("/", auth.routes().merge(optional));
    let routes = own.guarded_routes();
    let described = routes.iter().filter_map(|route| route.description());
    let forms = described.filter(|route| {
        route.method == Method::POST
            && matches!(route.body, RouteBody::JsonOrForm | RouteBody::OptionalJsonOrForm)
    });
    let id = "018f0000-0000-7000-8000-000000000000";
    forms.map(|route| route.path.replace("{id}", id)).collect()
}

async fn feedback(form: FormFeedback) -> Json<Value> {
    Json(serde_json::to_value(form).expect("it serializes"))
}

async fn link(link: LinkToken) -> String {
    link.as_str().unwrap_or("no token").to_owned()
}

/// Opens a page as a browser does after a redirect.
async fn open(browser: &Browser, path: &str, cookies: &[(&str, &str)]) -> Answer {
    let session = browser.cookie.as_deref().map(|session| (COOKIE, session));
    let pairs = session.iter().chain(cookies).map(|(name, value)| format!("{name}={value}"));
    let pairs: Vec<_> = pairs.collect();
    let request = browser.raw(Method::GET, path).header("accept", HTML);
    send(request.header("sec-fetch-mode", "navigate").header("cookie", pairs.join("; "))).await
}

/// Follows the redirect of a refused form and returns what its page shows.
async fn shown(browser: &Browser, refused: &Answer) -> Value {
    let cookie = refused.cookie_of(FORM).expect("the refusal is kept");
    open(browser, header(refused, "location"), &[(FORM, &cookie)]).await.json()
}

const LOGIN: &str = include_str!("../../src/guide/server_pages/login.html");
const BY_MAIL: &str = include_str!("../../src/guide/server_pages/by-mail.html");
const MAILED_LINK: &str = include_str!("../../src/guide/server_pages/mailed-link.html");

/// Renders a template of the guide, as an application does.
fn rendered(template: &str, form: &Value, token: Option<&str>) -> String {
    let mut engine = minijinja::Environment::new();
    engine.add_template("page.html", template).expect("the template is valid");
    let page = engine.get_template("page.html").expect("it was added");
    let values = minijinja::value::Serde(json!({ "form": form, "token": token }));
    page.render(values).expect("it is rendered")
}

/// A form of a page: where it posts to, and the values of its fields.
#[derive(Debug)]
struct Form {
    action: String,
    fields: Vec<(String, String)>,
}

impl Form {
    /// Returns the fields with these values. The form must have each of them.
    fn with(&self, typed: &[(&str, &str)]) -> Vec<(String, String)> {
        for (name, _) in typed {
            assert!(
                self.fields.iter().any(|(field, _)| field == name),
                "{name} is not in {self:?}"
            );
        }
        let value = |(name, old): &(String, String)| {
            let new = typed.iter().find(|(field, _)| field == name);
            (name.clone(), new.map_or(old.clone(), |(_, value)| (*value).to_owned()))
        };
        self.fields.iter().map(value).collect()
    }
}

fn pairs(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Returns the forms of a template of the guide.
fn rendered_forms(template: &str, form: &Value, token: Option<&str>) -> Vec<Form> {
    let html = rendered(template, form, token);
    let attribute = |tag: &str, name: &str| {
        let (tag, _) = tag.split_once('>').expect("the end of a tag");
        let (_, value) = tag.split_once(&format!(" {name}=\""))?;
        let (value, _) = value.split_once('"').expect("the end of a value");
        Some(
            value
                .replace("&#x2f;", "/")
                .replace("&quot;", "\"")
                .replace("&lt;", "<")
                .replace("&gt;", ">"),
        )
    };
    let form = |text: &str| {
        let text = text.split("</form>").next().unwrap_or_default();
        assert_eq!(attribute(text, "method").as_deref(), Some("post"));
        let inputs = text.split("<input").skip(1);
        let field = |input: &str| {
            let name = attribute(input, "name").expect("a field has a name");
            (name, attribute(input, "value").unwrap_or_default())
        };
        Form {
            action: attribute(text, "action").expect("a form has an action"),
            fields: inputs.map(field).collect(),
        }
    };
    html.split("<form").skip(1).map(form).collect()
}

/// Posts a form with the cookie of the browser that asked for a mail.
async fn post_asking(browser: &mut Browser, path: &str, fields: &[(&str, &str)]) -> Answer {
    let request = browser.request(Method::POST, path).header("accept", HTML);
    browser.send(request.form(fields)).await
}

async fn token(probe: &Probe, kind: MessageKind) -> String {
    let mail = probe.mail().await.into_iter().rfind(|mail| mail.kind == kind);
    let mail = mail.expect("a mail");
    let link = mail.value("link").expect("a link");
    let (page, token) = link.split_once("?token=").expect("the token is in the query");
    assert!(page.starts_with("https://app.example.com/"), "{page}");
    token.to_owned()
}

on_every_database! {
    async fn every_way_that_a_page_needs_works_with_forms_alone(probe: Probe) {
        let probe = with_pages(probe);
        let mut browser = site(&probe).await;
        let names = [("username", "alice"), ("email", "alice@example.com"), ("phone", "")];
        let to = |fields: &[(&'static str, &'static str)]| {
            let mut fields = fields.to_vec();
            fields.extend([("next", "/page?done=1"), ("back", "/page")]);
            fields
        };
        // Registration, with a session.
        let mut fields = to(&names);
        fields.push(("password", PASSWORD));
        leads_to(&post(&mut browser, "/auth/register", &fields).await, "/page?done=1");
        assert_eq!(browser.get("/me").await.status, 200);
        // Again: the name is taken.
        let answer = post(&mut browser.stranger(), "/auth/register", &fields).await;
        leads_to(&answer, "/page?error=username_taken&next=/page%3Fdone%3D1");
        assert_eq!(answer.cookie(), None);
        // Verification by the link, in the browser that registered.
        let verify = token(&probe, MessageKind::VerifyAddress).await;
        let fields = [("token", &*verify), ("next", "/page"), ("back", "/page")];
        leads_to(&post(&mut browser, "/auth/verification/confirm", &fields).await, "/page");
        let answer = post(&mut browser, "/auth/verification/confirm", &fields).await;
        assert!(header(&answer, "location").starts_with("/page?error="), "{answer:?}");
        // The password is checked again.
        let again = |password: &'static str| to(&[("password", password)]);
        leads_to(&post(&mut browser, "/auth/reauthenticate", &again(PASSWORD)).await, "/page?done=1");
        let answer = post(&mut browser, "/auth/reauthenticate", &again("wrong")).await;
        leads_to(&answer, "/page?error=wrong_password&next=/page%3Fdone%3D1");
        // Other sessions end: one, then the others.
        let mut others = [browser.stranger(), browser.stranger(), browser.stranger()];
        let mut ids = Vec::new();
        for other in &mut others {
            let answer = other.login("alice", PASSWORD).await;
            ids.push(answer.json()["session_id"].as_str().expect("an id").to_owned());
        }
        let one = format!("/auth/sessions/{}/end", ids[0]);
        leads_to(&post(&mut browser, &one, &to(&[])).await, "/page?done=1");
        assert_eq!(others[0].get("/me").await.status, 401);
        assert_eq!(others[1].get("/me").await.status, 200);
        let unknown = "/auth/sessions/018f0000-0000-7000-8000-000000000000/end";
        let answer = post(&mut browser, unknown, &to(&[])).await;
        leads_to(&answer, "/page?error=session_not_found&next=/page%3Fdone%3D1");
        let report = format!("/auth/sessions/{}/report", ids[1]);
        leads_to(&post(&mut browser, &report, &to(&[])).await, "/page?done=1");
        leads_to(&post(&mut browser, "/auth/sessions/end", &to(&[])).await, "/page?done=1");
        assert_eq!(others[2].get("/me").await.status, 401);
        assert_eq!(browser.get("/me").await.status, 200);
        // The password changes.
        let change = |old: &'static str, new: &'static str| {
            to(&[("current_password", old), ("new_password", new), ("new_password_again", new)])
        };
        let answer = post(&mut browser, "/auth/password", &change("wrong", NEW_PASSWORD)).await;
        leads_to(&answer, "/page?error=wrong_password&next=/page%3Fdone%3D1");
        let answer = post(&mut browser, "/auth/password", &change(PASSWORD, NEW_PASSWORD)).await;
        leads_to(&answer, "/page?done=1");
        assert_eq!(browser.get("/me").await.status, 200);
        // All sessions end, also this one.
        let all = to(&[("scope", "all")]);
        let answer = post(&mut browser, "/auth/sessions/end", &all).await;
        leads_to(&answer, "/page?done=1");
        assert_eq!(answer.cookie().as_deref(), Some(""));
        // A forgotten password.
        let answer = post(&mut browser, "/auth/password/forgot", &to(&[("login", "alice")])).await;
        leads_to(&answer, "/page?done=1");
        let unknown = post(&mut browser, "/auth/password/forgot", &to(&[("login", "nobody")])).await;
        leads_to(&unknown, "/page?done=1");
        let reset = token(&probe, MessageKind::PasswordReset).await;
        let fields = |password| [("token", &*reset), ("password", password), ("back", "/page")];
        let answer = post(&mut browser, "/auth/password/reset", &fields("short")).await;
        leads_to(&answer, "/page?error=invalid_fields");
        leads_to(&post(&mut browser, "/auth/password/reset", &fields(PASSWORD)).await, "/");
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
    }

    async fn second_factors_work_with_forms_alone(probe: Probe) {
        let probe = with_pages(probe);
        let account = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(account.id()).await.expect("it is verified");
        let mut browser = site(&probe).await;
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        crate::sent_code::prove_mailbox(&probe, &mut browser).await;
        // The seed is for a script. Its code may come from a form.
        let (id, secret) = totp::start(&mut browser, "phone").await;
        let confirm = |code: &str| {
            let fields = [("id", &*id), ("code", code), ("next", "/page?done=1"), ("back", "/page")];
            fields.map(|(name, value)| (name, value.to_owned()))
        };
        let send = async |browser: &mut Browser, path: &str, fields: &[(&str, String)]| {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
            post(browser, path, &fields).await
        };
        let wrong = confirm(&totp::wrong_code(&probe, &secret));
        let refused = send(&mut browser, "/auth/totp/confirm", &wrong).await;
        leads_to(&refused, "/page?error=wrong_code&next=/page%3Fdone%3D1");
        assert_eq!(shown(&browser, &refused).await["values"], json!({ "id": id }));
        let right = confirm(&totp::code(&probe, &secret));
        let answer = send(&mut browser, "/auth/totp/confirm", &right).await;
        leads_to(&answer, "/page?done=1");
        probe.clock.advance(totp::STEP);
        // The second step of a sign-in. The login page shows its form.
        let mut other = browser.stranger();
        let fields = [("login", "alice"), ("password", PASSWORD), ("next", "/page?done=1")];
        let answer = post(&mut other, "/auth/login", &fields).await;
        leads_to(&answer, "/login?result=second_factor_required&next=/page%3Fdone%3D1");
        assert_eq!(other.get("/me").await.status, 401);
        let verify = |code: String| [("code", code), ("next", "/page?done=1".to_owned()), ("back", "/page".to_owned())];
        let wrong = verify(totp::wrong_code(&probe, &secret));
        let answer = send(&mut other, "/auth/second-factor/verify", &wrong).await;
        leads_to(&answer, "/page?error=wrong_code&next=/page%3Fdone%3D1");
        assert_eq!(other.get("/me").await.status, 401);
        let right = verify(totp::code(&probe, &secret));
        let answer = send(&mut other, "/auth/second-factor/verify", &right).await;
        leads_to(&answer, "/page?done=1");
        assert_eq!(other.get("/me").await.status, 200);
        // Without a sign-in that waits, the form leads to the login page.
        let answer = send(&mut browser.stranger(), "/auth/second-factor/verify", &right).await;
        leads_to(&answer, "/login?next=/page");
        probe.clock.advance(totp::STEP);
        // The factor is removed, after it was proved again.
        let remove = format!("/auth/totp/{id}/remove");
        let fields = [("next", "/page?done=1"), ("back", "/page")];
        probe.clock.advance(60 * MINUTE);
        leads_to(&post(&mut other, &remove, &fields).await, "/again?next=/page");
        let right = verify(totp::code(&probe, &secret));
        leads_to(&send(&mut other, "/auth/reauthenticate", &right).await, "/page?done=1");
        leads_to(&post(&mut other, &remove, &fields).await, "/page?done=1");
        let answer = post(&mut other, &remove, &fields).await;
        leads_to(&answer, "/page?error=authenticator_not_found&next=/page%3Fdone%3D1");
        assert_eq!(other.stranger().login("alice", PASSWORD).await.json()["result"], "session");
    }

    async fn a_sign_in_by_mail_and_a_phone_number_work_with_forms_alone(probe: Probe) {
        let mut probe = with_pages(probe);
        let texts = probe.notifier.clone();
        probe.auth = probe.rebuilt(|builder| {
            builder.text_messages(texts).configure(|config| {
                config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
                config.mail.links = LinkConfig::in_query();
            })
        });
        let account = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(account.id()).await.expect("it is verified");
        let mut browser = site(&probe).await;
        let fields = |name: &'static str, value: String| {
            [(name, value), ("next", "/page?done=1".to_owned()), ("back", "/page".to_owned())]
        };
        let send = async |browser: &mut Browser, path: &str, fields: &[(&str, String)]| {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
            post(browser, path, &fields).await
        };
        let sent = async |kind: MessageKind| {
            let mail = probe.mail().await.into_iter().rfind(|mail| mail.kind == kind);
            mail.expect("a message")
        };
        // By the code, and then by the link in another browser.
        let ask = fields("login", "alice".to_owned());
        let answer = send(&mut browser, "/auth/login/mail", &ask).await;
        leads_to(&answer, "/page?result=mail_sent&next=/page%3Fdone%3D1");
        let mail = sent(MessageKind::MailLogin).await;
        let code = mail.value("code").expect("a code").to_owned();
        let wrong: String =
            code.bytes().map(|digit| char::from(b'0' + (digit - b'0' + 1) % 10)).collect();
        let answer = send(&mut browser, "/auth/login/mail/confirm", &fields("code", wrong)).await;
        leads_to(&answer, "/page?error=wrong_code&next=/page%3Fdone%3D1");
        assert_eq!(browser.get("/me").await.status, 401);
        let link = token(&probe, MessageKind::MailLogin).await;
        let mut elsewhere = browser.stranger();
        let answer = send(&mut elsewhere, "/auth/login/mail/confirm", &fields("token", link)).await;
        leads_to(&answer, "/page?result=other_browser&next=/page%3Fdone%3D1");
        assert_eq!(elsewhere.get("/me").await.status, 401);
        let right = fields("code", code);
        leads_to(&send(&mut browser, "/auth/login/mail/confirm", &right).await, "/page?done=1");
        assert_eq!(browser.get("/me").await.status, 200);
        // A phone number.
        let number = fields("phone", "+4915112345678".to_owned());
        leads_to(&send(&mut browser, "/auth/phone", &number).await, "/page?done=1");
        let text = sent(MessageKind::PhoneChangeConfirm).await.text;
        let digits = text.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() >= 6);
        let code = digits.expect("a code").to_owned();
        let wrong: String =
            code.bytes().map(|digit| char::from(b'0' + (digit - b'0' + 1) % 10)).collect();
        let answer = send(&mut browser, "/auth/phone/confirm", &fields("code", wrong)).await;
        leads_to(&answer, "/page?error=wrong_code&next=/page%3Fdone%3D1");
        let answer = send(&mut browser, "/auth/phone/confirm", &fields("code", code)).await;
        leads_to(&answer, "/page?done=1");
        let phone = "SELECT phone FROM auth_account WHERE username = 'alice'";
        assert_eq!(probe.text(phone).await.as_deref(), Some("+4915112345678"));
        let bad = fields("phone", "+1".to_owned());
        let refused = send(&mut browser, "/auth/phone", &bad).await;
        leads_to(&refused, "/page?error=invalid_fields&next=/page%3Fdone%3D1");
        assert_eq!(shown(&browser, &refused).await["values"], json!({ "phone": "+1" }));
    }

    async fn a_refused_form_is_shown_again_with_its_message_and_what_was_typed(probe: Probe) {
        let probe = with_pages(probe);
        probe.register("alice").await;
        let mut browser = site(&probe).await;
        let wrong = [("login", "alice"), ("password", "s3cret"), ("back", "/page"), ("next", "/a")];
        let refused = post(&mut browser, "/auth/login", &wrong).await;
        leads_to(&refused, "/page?error=invalid_credentials&next=/a");
        let line = refused.set_cookies().into_iter().find(|line| line.starts_with(FORM));
        let line = line.expect("a cookie");
        assert!(line.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=120"), "{line}");
        assert!(!line.contains("alice"), "{line}");
        let page = shown(&browser, &refused).await;
        assert_eq!(page, json!({
            "page": "/page", "next": "/a", "result": null, "error": "invalid_credentials",
            "message": "the name or the password is wrong", "errors": {}, "values": { "login": "alice" },
        }));
        // A reload shows the same, for two minutes.
        let cookie = refused.cookie_of(FORM).expect("a cookie");
        let path = header(&refused, "location");
        probe.clock.advance(2 * MINUTE);
        let answer = open(&browser, path, &[(FORM, &cookie)]).await;
        assert_eq!(answer.json(), page);
        assert_eq!(header(&answer, "cache-control"), "no-store");
        probe.clock.advance(Duration::from_secs(1));
        let nothing = json!("this did not work; please try again");
        let stale = open(&browser, path, &[(FORM, &cookie)]).await.json();
        assert_eq!((&stale["message"], &stale["values"]), (&nothing, &json!({})));

        // The cookie is valid for one page and one refusal.
        let refused = post(&mut browser, "/auth/login", &wrong).await;
        let cookie = refused.cookie_of(FORM).expect("a cookie");
        let changed = format!("{cookie}A");
        for (path, cookies) in [
            ("/other?error=invalid_credentials", &[(FORM, &*cookie)][..]),
            ("/page?error=session_limit", &[(FORM, &cookie)]),
            ("/page?error=invalid_credentials", &[(FORM, &changed)]),
            ("/page?error=invalid_credentials", &[(FORM, "x.y")]),
            ("/page?error=invalid_credentials", &[(FORM, &cookie), (FORM, &cookie)]),
            ("/page?error=invalid_credentials", &[(LINK, &cookie)]),
            ("/page?error=invalid_credentials", &[]),
        ] {
            let page = open(&browser, path, cookies).await.json();
            assert_eq!((&page["message"], &page["values"]), (&nothing, &json!({})), "{path}");
        }
        for path in ["/page", "/page?error=", "/page?error=a&error=b", "/page?error=%3Cb%3E"] {
            let page = open(&browser, path, &[(FORM, &cookie)]).await.json();
            assert_eq!((&page["error"], &page["values"]), (&Value::Null, &json!({})), "{path}");
        }
        // After a change of the secret it can still be read. With another secret it cannot.
        let mut probe = probe;
        for (keeps_old, message) in [(true, &page["message"]), (false, &nothing)] {
            probe.auth = probe.rebuilt(|builder| {
                builder.configure(|config| {
                    config.keys.secrets.insert(0, Secret::generate());
                    config.keys.secrets.truncate(if keeps_old { 2 } else { 1 });
                })
            });
            let page = open(&site(&probe).await, path, &[(FORM, &cookie)]).await.json();
            assert_eq!(page["message"], *message, "{keeps_old}");
        }
    }

    async fn a_page_that_was_told_something_before_is_told_only_the_new(probe: Probe) {
        let probe = with_pages(probe);
        probe.register("alice").await;
        let mut browser = site(&probe).await;
        for (back, expected) in [
            ("/page?error=session_limit&next=/old", "/page?error=invalid_credentials&next=/a"),
            ("/page?result=mail_sent&tab=2", "/page?tab=2&error=invalid_credentials&next=/a"),
            ("/page?%65rror=x&error", "/page?error=invalid_credentials&next=/a"),
        ] {
            let wrong = [("login", "alice"), ("password", "s3cret"), ("back", back), ("next", "/a")];
            let refused = post(&mut browser, "/auth/login", &wrong).await;
            leads_to(&refused, expected);
            let page = shown(&browser, &refused).await;
            assert_eq!((&page["error"], &page["next"]), (&json!("invalid_credentials"), &json!("/a")));
        }
    }

    async fn a_box_that_is_not_ticked_remembers_nothing(probe: Probe) {
        let probe = with_pages(probe);
        probe.register("alice").await;
        let browser = site(&probe).await;
        let (login, password) = (("login", "alice"), ("password", PASSWORD));
        for (ticked, remembered) in [(None, false), (Some("false"), false), (Some("true"), true)] {
            let mut fields = vec![login, password];
            fields.extend(ticked.map(|value| ("remember", value)));
            let answer = post(&mut browser.stranger(), "/auth/login", &fields).await;
            assert_eq!(answer.status, 303, "{}", answer.text);
            let cookies = answer.set_cookies();
            // A browser that is remembered is also a known device.
            assert_eq!(cookies.len(), if remembered { 2 } else { 1 }, "{ticked:?}");
            assert_eq!(cookies[0].contains("Max-Age="), remembered, "{ticked:?}: {cookies:?}");
        }
        let names = [("username", "bob"), ("email", "bob@example.com"), password];
        let answer = post(&mut browser.stranger(), "/auth/register", &names).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        assert!(!answer.set_cookies()[0].contains("Max-Age="));
    }

    async fn every_invalid_field_keeps_its_reasons_and_no_secret_is_kept(probe: Probe) {
        let probe = with_pages(probe);
        let (_, signed_in) = probe.signed_in("alice").await;
        let mut browser = signed_in.at(site(&probe).await.address);
        let fields = [
            ("username", "b\u{f6}b"), ("email", "not an address"), ("password", "s3cret"),
            ("back", "/page"),
        ];
        let refused = post(&mut browser.stranger(), "/auth/register", &fields).await;
        leads_to(&refused, "/page?error=invalid_fields");
        let page = shown(&browser, &refused).await;
        assert_eq!(page["errors"]["password"][0]["code"], "too_short");
        assert_eq!(page["errors"]["password"][0]["params"]["min"], 15);
        assert!(page["errors"]["email"][0]["message"].is_string(), "{page}");
        assert_eq!(page["values"], json!({ "username": "b\u{f6}b", "email": "not an address" }));
        let long = "x".repeat(321);
        let fields = [("username", "bob"), ("email", &*long), ("password", "s3cret"), ("back", "/page")];
        let refused = post(&mut browser.stranger(), "/auth/register", &fields).await;
        assert_eq!(shown(&browser, &refused).await["values"], json!({ "username": "bob" }));

        let secrets = [
            "password", "token", "code", "new_password", "current_password", "new_password_again",
            "scope", "transport", "method", "browser_token", "captcha", "captcha_id",
        ];
        let paths = forms(&probe.auth);
        assert!(paths.len() > 20, "{paths:?}");
        for path in paths {
            for name in secrets {
                let fields = [(name, "s3cret"), ("unknown", "s3cret"), ("back", "/page")];
                let refused = post(&mut browser, &format!("/auth{path}"), &fields).await;
                let page = shown(&browser, &refused).await;
                assert!(page["error"].is_string(), "{path} {page}");
                assert!(!page.to_string().contains("s3cret"), "{path} {page}");
            }
        }
    }

    async fn a_closed_account_is_reopened_by_a_form_and_its_token_is_not_kept(probe: Probe) {
        let probe = with_pages(probe);
        let account = NewAccount::username("alice").with_email("alice@example.com").verified();
        let account = probe.auth.registration().create(account, PASSWORD).await.expect("it is made");
        probe.auth.accounts().close(account.id()).await.expect("it is closed");
        let mut browser = site(&probe).await;
        let token = token(&probe, MessageKind::AccountClosed).await;
        let fields = |token: &str| {
            [("token", token.to_owned()), ("next", "/page?kept=1".to_owned()), ("back", "/page".to_owned())]
        };
        let mut keep = async |token: &str| {
            let fields = fields(token);
            let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
            let answer = post(&mut browser, "/own/account/keep", &fields).await;
            let page = match header(&answer, "location") {
                "/page?kept=1" => Value::Null,
                _ => shown(&browser, &answer).await,
            };
            (answer, page)
        };
        let closed = "SELECT COUNT(*) FROM auth_account WHERE erase_at IS NOT NULL";
        let (answer, page) = keep(&"A".repeat(43)).await;
        leads_to(&answer, "/page?error=wrong_code&next=/page%3Fkept%3D1");
        assert_eq!((&page["error"], &page["values"]), (&json!("wrong_code"), &json!({})));
        assert_eq!(probe.number(closed).await, 1);
        leads_to(&keep(&token).await.0, "/page?kept=1");
        assert_eq!(probe.number(closed).await, 0);
        // Once more: a second click, and later.
        for (code, later) in [("link_used", MINUTE), ("wrong_code", MINUTE)] {
            let (answer, page) = keep(&token).await;
            leads_to(&answer, &format!("/page?error={code}&next=/page%3Fkept%3D1"));
            assert_eq!((&page["error"], &page["values"]), (&json!(code), &json!({})));
            assert!(!page.to_string().contains(&token), "{page}");
            probe.clock.advance(later);
        }
    }

    async fn the_pages_of_the_guide_work_as_they_are_printed(probe: Probe) {
        let probe = with_pages(probe);
        let account = NewAccount::username("alice").with_email("alice@example.com").verified();
        probe.auth.registration().create(account, PASSWORD).await.expect("it is made");
        let mut browser = site(&probe).await;
        let page = async |browser: &Browser, path: &str| open(browser, path, &[]).await.json();

        // The form to sign in. A refusal is shown on its page, with what was typed.
        let new = page(&browser, "/page?next=/other").await;
        let [login] = rendered_forms(LOGIN, &new, None).try_into().expect("one form");
        let wrong = login.with(&[("login", "a\"<b>"), ("password", "s3cret")]);
        let refused = post(&mut browser, &login.action, &pairs(&wrong)).await;
        leads_to(&refused, "/page?error=invalid_credentials&next=/other");
        let again = shown(&browser, &refused).await;
        let html = rendered(LOGIN, &again, None);
        assert!(html.contains("<p role=\"alert\">the name or the password is wrong</p>"), "{html}");
        assert!(!html.contains("<b>") && !html.contains("s3cret"), "{html}");
        let [login] = rendered_forms(LOGIN, &again, None).try_into().expect("one form");
        let right = login.with(&[("login", "alice"), ("password", PASSWORD)]);
        leads_to(&post(&mut browser, &login.action, &pairs(&right)).await, "/other");
        assert_eq!(browser.get("/me").await.status, 200);

        // The page that asks for a mail, and takes its code.
        let mut asking = browser.stranger();
        let new = page(&asking, "/page").await;
        let [ask, enter] = rendered_forms(BY_MAIL, &new, None).try_into().expect("two forms");
        let answer = post(&mut asking, &ask.action, &pairs(&ask.with(&[("login", "alice")]))).await;
        leads_to(&answer, "/page?result=mail_sent&next=/");
        let sent = page(&asking, header(&answer, "location")).await;
        let html = rendered(BY_MAIL, &sent, None);
        assert!(html.contains("we have sent it a mail"), "{html}");
        let mail = probe.mail().await.pop().expect("a mail");
        let token = token(&probe, MessageKind::MailLogin).await;

        // The page of the link, in another browser and in the one that asked.
        let opened = page(&browser, "/page").await;
        let [link] = rendered_forms(MAILED_LINK, &opened, Some(&token)).try_into().expect("one form");
        let mut elsewhere = browser.stranger();
        let filled = link.with(&[]);
        let answer = post(&mut elsewhere, &link.action, &pairs(&filled)).await;
        let location = header(&answer, "location").to_owned();
        assert!(location.contains("?result=other_browser"), "{location}");
        let other = page(&elsewhere, &location).await;
        let html = rendered(MAILED_LINK, &other, None);
        assert!(html.contains("in the browser where you asked"), "{html}");
        let code = mail.value("code").expect("a code");
        let typed = enter.with(&[("code", code)]);
        leads_to(&post_asking(&mut asking, &enter.action, &pairs(&typed)).await, "/");
        assert_eq!(asking.get("/me").await.status, 200);
        let used = post_asking(&mut asking, &link.action, &pairs(&filled)).await;
        let page = shown(&asking, &used).await;
        let html = rendered(MAILED_LINK, &page, Some(&token));
        assert!(html.contains("has just used the link") && !html.contains("<form"), "{html}");
        assert!(rendered(MAILED_LINK, &opened, None).contains("open the link in your mail again"));
    }

    async fn a_person_who_is_signed_out_signs_in_and_comes_back(probe: Probe) {
        let probe = with_pages(probe);
        let mut browser = site(&probe).await;
        let fields = [("new_password", NEW_PASSWORD), ("back", "/settings?tab=2")];
        let answer = post(&mut browser, "/auth/password", &fields).await;
        leads_to(&answer, "/login?next=/settings%3Ftab%3D2");
        // Without `back`, the login page shows the reason.
        let answer = post(&mut browser, "/auth/password", &fields[..1]).await;
        leads_to(&answer, "/login?error=not_signed_in");
        // A page of another site is not accepted.
        for evil in ["https://evil.example/", "//evil.example", "javascript:alert(1)"] {
            let fields = [("login", "x"), ("password", "y"), ("back", evil)];
            let answer = post(&mut browser, "/auth/login", &fields).await;
            leads_to(&answer, "/login?error=invalid_credentials");
        }
        // A form of another site gets no redirect.
        let evil = [("accept", HTML), ("sec-fetch-site", "cross-site")];
        let answer = post_with(&mut browser, "/auth/password", &fields, &evil).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "cross_site_request"));
        // A script gets JSON and no cookie.
        let fetch = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"), ("accept", "*/*")];
        let wrong = [("login", "x"), ("password", "y")];
        let answer = post_with(&mut browser, "/auth/login", &wrong, &fetch).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_credentials"));
        assert_eq!(answer.cookie_of(FORM), None);
    }

    async fn a_step_up_leads_to_its_page_and_back(probe: Probe) {
        let probe = with_pages(probe);
        let (account, signed_in) = probe.signed_in("alice").await;
        let mut browser = signed_in.at(site(&probe).await.address);
        assert_eq!(open(&browser, "/danger", &[]).await.status, 200);
        probe.clock.advance(6 * MINUTE);
        leads_to(&open(&browser, "/danger?x=1", &[]).await, "/again?next=/danger%3Fx%3D1");
        // Only requests that navigate to a page are redirected.
        let answer = browser.get("/danger").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "insufficient_user_authentication"));
        let answer = post(&mut browser, "/danger", &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "insufficient_user_authentication"));
        // A mounted route that needs a recent factor redirects there too.
        let fields = [("email", "alice@example.com"), ("back", "/settings")];
        leads_to(&post(&mut browser, "/auth/email", &fields).await, "/again?next=/settings");

        let fields = [("password", PASSWORD), ("next", "/danger?x=1"), ("back", "/again")];
        leads_to(&post(&mut browser, "/auth/reauthenticate", &fields).await, "/danger?x=1");
        assert_eq!(open(&browser, "/danger?x=1", &[]).await.text, "danger");
        let answer = post(&mut browser, "/danger", &[]).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "done"));

        // An account without an accepted factor is not redirected.
        let totp = Requirement::factor(Factor::Totp);
        let guarded = Router::new()
            .route("/totp", get(async || "totp"))
            .route_layer(probe.auth.require(totp))
            .layer(probe.auth.layer());
        let browser = browser.at(serve(guarded).await);
        let answer = open(&browser, "/totp", &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "insufficient_user_authentication"));
        assert_eq!(answer.json()["factors"], json!([]));
        // With an accepted factor, it is redirected.
        probe.auth.accounts().set_enrolled_factors(account.id(), [Factor::Totp]).await.expect("set");
        let account = probe.auth.accounts().find(account.id()).await.expect("found").expect("alice");
        let client = probe.auth.test().login_as(&account);
        let client = client.with_factors([(Factor::Password, Duration::ZERO)]);
        let cookie = client.cookie().await.expect("a session");
        let cookie = cookie.strip_prefix(&format!("{COOKIE}=")).expect("the session cookie").to_owned();
        leads_to(&open(&browser.with_cookie(&cookie), "/totp", &[]).await, "/again?next=/totp");
    }

    async fn a_step_up_never_repeats_the_request_that_was_refused(probe: Probe) {
        let probe = with_pages(probe);
        let done = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&done);
        let counting = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async { "done" }
        };
        let danger = Router::new()
            .route("/danger", get(async || "page").post(counting))
            .route_layer(probe.auth.require(Requirement::within(5 * MINUTE)))
            .layer(probe.auth.layer());
        let (_, first) = probe.signed_in("alice").await;
        let mut first = first.at(serve(app(&probe.auth).merge(danger)).await);
        let mut second = first.stranger();
        assert_eq!(second.login("alice", PASSWORD).await.status, 200);
        probe.clock.advance(6 * MINUTE);
        // A script and a form that the guard refuses, and a form of a mounted route.
        let script = first.post("/danger", json!({ "what": "all-of-it" })).await;
        let form = post(&mut first, "/danger", &[("what", "all-of-it"), ("back", "/danger")]).await;
        for refused in [&script, &form] {
            assert_eq!((refused.status, refused.code().as_str()), (401, "insufficient_user_authentication"));
        }
        let fields = [("email", "all-of-it@example.com"), ("back", "/danger")];
        let mounted = post(&mut first, "/auth/email", &fields).await;
        leads_to(&mounted, "/again?next=/danger");
        // Nothing of it is kept, neither readable nor encrypted.
        for refused in [&script, &form, &mounted] {
            assert_eq!(refused.set_cookies(), Vec::<String>::new());
        }
        let nothing_was_done = async |what: &str| {
            assert_eq!(done.load(Ordering::SeqCst), 0, "{what}");
            assert!(probe.mail().await.is_empty(), "{what}");
        };
        // A step-up of another session is none of this one.
        assert_eq!(second.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await.status, 200);
        nothing_was_done("another session").await;
        assert_eq!(first.post("/danger", json!({ "what": "all-of-it" })).await.status, 401);
        // 303 makes the browser send a GET.
        let fields = [("password", PASSWORD), ("next", "/danger"), ("back", "/again")];
        let stepped_up = post(&mut first, "/auth/reauthenticate", &fields).await;
        leads_to(&stepped_up, "/danger");
        let of_the_sign_in = [format!("{COOKIE}="), format!("{DEVICE}=")];
        for line in stepped_up.set_cookies() {
            assert!(of_the_sign_in.iter().any(|cookie| line.starts_with(cookie)), "{line}");
        }
        nothing_was_done("this session").await;
        assert_eq!(open(&first, "/danger", &[]).await.text, "page");
        nothing_was_done("the page after it").await;
        // The person sends it again.
        assert_eq!(first.post("/danger", json!({ "what": "all-of-it" })).await.text, "done");
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    async fn a_link_loses_its_token_at_once_and_its_page_still_knows_it(probe: Probe) {
        let probe = with_pages(probe);
        let browser = site(&probe).await;
        let moved = open(&browser, "/link?token=abc-_123&lang=de", &[]).await;
        leads_to(&moved, "/link?lang=de");
        assert_eq!(header(&moved, "referrer-policy"), "no-referrer");
        let line = moved.set_cookies().remove(0);
        assert!(line.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=3600"), "{line}");
        assert!(!line.contains("abc"), "{line}");
        let cookie = moved.cookie_of(LINK).expect("the token is kept");
        let with = [(LINK, &*cookie)];
        let page = open(&browser, "/link?lang=de", &with).await;
        assert_eq!((page.text.as_str(), header(&page, "cache-control")), ("abc-_123", "no-store"));
        assert_eq!(open(&browser, "/link?error=invalid_fields", &with).await.text, "abc-_123");
        // A newer link replaces the token in the cookie.
        let newer = open(&browser, "/link?token=new", &with).await;
        let newer = newer.cookie_of(LINK).expect("the token is kept");
        assert_eq!(open(&browser, "/link", &[(LINK, &newer)]).await.text, "new");
        // Another page, no cookie, two cookies, a changed one.
        for (path, cookies) in [
            ("/link/other", &with[..]),
            ("/link", &[]),
            ("/link", &[(LINK, &*cookie), (LINK, &*cookie)]),
            ("/link", &[(LINK, "abc")]),
            ("/link", &[(FORM, &*cookie)]),
            ("/link?token=", &[]),
            ("/link?token=a&token=b", &[]),
        ] {
            assert_eq!(open(&browser, path, cookies).await.text, "no token", "{path}");
        }
        let long = format!("/link?token={}", "a".repeat(513));
        assert_eq!(open(&browser, &long, &[]).await.text, "no token");
        // A redirect never leaves this site.
        let evil = open(&browser, "//evil.example/link?token=abc", &[]).await;
        assert_eq!((evil.status, evil.cookie_of(LINK)), (200, None));
        // A form that is posted to the page is not redirected.
        let posted = send(browser.raw(Method::POST, "/link?token=abc")).await;
        assert_eq!((posted.status, posted.text.as_str()), (200, "no token"));
        let head = send(browser.raw(Method::HEAD, "/link?token=abc")).await;
        leads_to(&head, "/link");
        probe.clock.advance(60 * MINUTE);
        assert_eq!(open(&browser, "/link", &with).await.text, "abc-_123");
        probe.clock.advance(Duration::from_secs(1));
        assert_eq!(open(&browser, "/link", &with).await.text, "no token");
    }

    async fn behind_a_prefix_everything_leads_to_paths_with_it(probe: Probe) {
        let mut probe = with_pages(probe);
        probe.register("alice").await;
        probe.auth = probe.rebuilt(|builder| {
            builder.public_url("https://example.com/app").configure(|config| {
                config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
                config.service.step_up_page = Some("/again".to_owned());
                // A `Strict` cookie would not arrive after a link in a mail.
                config.cookie.same_site = portcullis::config::SameSite::Strict;
            })
        });
        let mut browser = site(&probe).await;
        let wrong = [("login", "alice"), ("password", "wrong")];
        let refused = post(&mut browser, "/auth/login", &wrong).await;
        leads_to(&refused, "/app/login?error=invalid_credentials");
        let cookie = refused.cookie_of(FORM).expect("a cookie");
        // The proxy removes the prefix.
        let page = open(&browser, "/login?error=invalid_credentials", &[(FORM, &cookie)]).await.json();
        assert_eq!((&page["page"], &page["values"]["login"]), (&json!("/app/login"), &json!("alice")));
        let moved = open(&browser, "/link?token=abc", &[]).await;
        leads_to(&moved, "/app/link");
        assert!(moved.set_cookies()[0].contains("SameSite=Lax"), "{moved:?}");
        let cookie = moved.cookie_of(LINK).expect("a cookie");
        assert_eq!(open(&browser, "/link", &[(LINK, &cookie)]).await.text, "abc");
        let right = [("login", "alice"), ("password", PASSWORD), ("next", "/app/danger")];
        leads_to(&post(&mut browser, "/auth/login", &right).await, "/app/danger");
        probe.clock.advance(6 * MINUTE);
        leads_to(&open(&browser, "/danger", &[]).await, "/app/again?next=/app/danger");
    }
}
