//! Every way to sign in, for accounts that must do more than that. No way leads past what is required.

use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use portcullis::account_recovery::{NewRecovery, RecoveryActor};
use portcullis::config::{TwoFactors, Unauthenticated};
use portcullis::login::{BasicCredentials, LoginError};
use portcullis::permission::RoleDefinition;
use portcullis::{
    AccountId, ClientInfo, Factor, Message, MessageKind, PendingSession, Portcullis, Rejection,
};
use reqwest::Method;
use serde_json::json;

use crate::federation::{self, liar::Liar};
use crate::login_form;
use crate::on_every_database;
use crate::passkey::{self, Authenticator};
use crate::sent_code::prove_mailbox;
use crate::support::browser::{Answer, send};
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp::{code, start};
use crate::verification::token_of;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NEW: &str = "another horse battery staple";

/// How a person signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Json,
    Form,
    Basic,
    Bearer,
    MailedLink,
    MailedCode,
    /// The application knows the person.
    Own,
    /// A link for a forgotten password, and then a sign-in.
    Reset,
    /// The link that verifies an address.
    Verification,
    /// A sign-in that had to set a new password first.
    NewPassword,
    /// A sign-in that had to set up a second factor first.
    Enrolled,
    /// From a trusted device, which stands in for the second factor.
    TrustedDevice,
    /// An administrator recovers the account, and then a sign-in.
    Recovery,
    /// A passkey that verifies its user, which is two factors.
    Passkey,
    /// A passkey that the browser has made by itself, which is one.
    PasskeyByBrowser,
    /// A provider, which is one factor.
    Provider,
    /// A provider that says that it has checked two, which counts.
    ProviderTwoFactors,
}

/// What an account must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Nothing,
    /// It has a second factor.
    Factor,
    /// Its role requires a second factor, and it has none.
    Role,
    /// The same, but there is still time.
    Grace,
    /// It must set a new password.
    Password,
}

const POLICIES: [Policy; 5] =
    [Policy::Nothing, Policy::Factor, Policy::Role, Policy::Grace, Policy::Password];

/// What a guarded page answers.
const FULL: &str = "";
const FACTOR: &str = "second_factor_required";
const ENROL: &str = "enrolment_required";
const CHANGE: &str = "password_change_required";
/// There is no such way for such an account.
const NO_WAY: &str = "no way";

/// Where each way leads under each of the [`POLICIES`].
const TABLE: [(Way, [&str; 5]); 17] = [
    (Way::Json, [FULL, FACTOR, ENROL, FULL, CHANGE]),
    (Way::Form, [FULL, FACTOR, ENROL, FULL, CHANGE]),
    (Way::Basic, [FULL, FACTOR, ENROL, FULL, CHANGE]),
    (Way::Bearer, [FULL, FACTOR, ENROL, FULL, CHANGE]),
    (Way::MailedLink, [FULL, FACTOR, ENROL, FULL, CHANGE]),
    (Way::MailedCode, [FULL, FACTOR, ENROL, FULL, CHANGE]),
    (Way::Own, [FULL, FACTOR, ENROL, FULL, CHANGE]),
    // The new password is the one that was due.
    (Way::Reset, [FULL, FACTOR, ENROL, FULL, FULL]),
    // The password is not proved, so the owner of the mailbox sets a new one. An account has no factor before
    // its address is verified.
    (Way::Verification, [CHANGE, NO_WAY, CHANGE, CHANGE, CHANGE]),
    (Way::NewPassword, [FULL, FULL, ENROL, FULL, FULL]),
    (Way::Enrolled, [NO_WAY, NO_WAY, FULL, NO_WAY, NO_WAY]),
    // Every such account has a factor. A role that requires one forbids trusted devices.
    (Way::TrustedDevice, [FULL, FULL, FACTOR, FACTOR, FACTOR]),
    // It removes the factors.
    (Way::Recovery, [FULL, FULL, ENROL, FULL, FULL]),
    (Way::Passkey, [FULL, FULL, FULL, FULL, CHANGE]),
    (Way::PasskeyByBrowser, [FULL, FACTOR, ENROL, FULL, CHANGE]),
    (Way::Provider, [FULL, FACTOR, ENROL, FULL, CHANGE]),
    (Way::ProviderTwoFactors, [FULL, FULL, FULL, FULL, CHANGE]),
];

/// The application, with sign-ins of its own.
fn site(auth: &Portcullis) -> Router {
    async fn basic(
        auth: Portcullis,
        basic: BasicCredentials,
        client: ClientInfo,
    ) -> Result<Response, Rejection> {
        let outcome = auth.login().with_password(basic.into(), &client).await?;
        Ok((outcome.into_issued(), "").into_response())
    }
    async fn own(
        auth: Portcullis,
        client: ClientInfo,
        name: String,
    ) -> Result<Response, Rejection> {
        let found = auth.accounts().find_by_login(&name).await?;
        let account = found.ok_or(LoginError::InvalidCredentials)?;
        let outcome = auth.sign_in(&account, &client).proved(Factor::External).await?;
        Ok((outcome.into_issued(), "").into_response())
    }
    async fn second(
        auth: Portcullis,
        pending: PendingSession,
        client: ClientInfo,
    ) -> Result<Response, Rejection> {
        let outcome = auth.login().finish_and_trust(&pending, Factor::Totp, &client).await?;
        Ok((outcome.into_issued(), "").into_response())
    }
    let routes = Router::new()
        .route("/basic", post(basic))
        .route("/own", post(own))
        .route("/second", post(second))
        .nest("/lost", portcullis::account_recovery::routes(auth));
    app(auth).merge(routes.layer(auth.layer()))
}

async fn last(probe: &Probe, kind: MessageKind) -> Message {
    let sent = probe.mail().await;
    sent.into_iter().rfind(|message| message.kind == kind).unwrap_or_else(|| panic!("no {kind:?}"))
}

/// An account on its way in.
struct Person<'a> {
    probe: &'a Probe,
    browser: Browser,
    /// The token of a client that keeps it itself.
    bearer: Option<String>,
    id: AccountId,
    name: String,
    email: String,
    passkey: Option<Authenticator>,
    provider: &'a Liar,
}

impl Person<'_> {
    async fn must(&self, policy: Policy) {
        let auth = &self.probe.auth;
        match policy {
            Policy::Nothing => {}
            Policy::Factor => self.has_factor().await,
            Policy::Role | Policy::Grace => {
                auth.roles().grant(self.id, "admin").await.expect("it is granted");
            }
            Policy::Password => {
                auth.accounts().require_password_change(self.id).await.expect("it is required");
            }
        }
    }

    async fn has_factor(&self) {
        let accounts = self.probe.auth.accounts();
        let found = accounts.find(self.id).await.expect("it answers").expect("an account");
        let factors = found.enrolled_factors().iter().chain([Factor::Totp]);
        accounts.set_enrolled_factors(self.id, factors).await.expect("it is set");
    }

    async fn login(&mut self, password: &str) -> Answer {
        self.browser.login(&self.name, password).await
    }

    /// Goes this way. Returns the last answer.
    async fn goes(&mut self, way: Way, policy: Policy) -> Answer {
        let (probe, name) = (self.probe, self.name.clone());
        match way {
            Way::Json => self.login(PASSWORD).await,
            Way::Form => {
                let fields = [("login", &*name), ("password", PASSWORD)];
                let answer = login_form::post(&mut self.browser, "/auth/login", &fields).await;
                assert_eq!(answer.status, 303, "{}", answer.text);
                answer
            }
            Way::Basic => {
                let request = self.browser.request(Method::POST, "/basic");
                self.browser.send(request.basic_auth(&name, Some(PASSWORD))).await
            }
            Way::Bearer => {
                let body = json!({ "login": name, "password": PASSWORD, "transport": "bearer" });
                let answer = self.browser.post("/auth/login", body).await;
                self.bearer = answer.json()["token"].as_str().map(str::to_owned);
                answer
            }
            Way::MailedLink | Way::MailedCode => {
                let body = json!({ "login": self.email });
                assert_eq!(self.browser.post("/auth/login/mail", body).await.status, 202);
                let mail = last(probe, MessageKind::MailLogin).await;
                let body = match way {
                    Way::MailedLink => json!({ "token": token_of(&mail) }),
                    _ => json!({ "code": mail.value("code").expect("a code") }),
                };
                self.browser.post("/auth/login/mail/confirm", body).await
            }
            Way::Own => {
                let request = self.browser.request(Method::POST, "/own").body(name);
                self.browser.send(request).await
            }
            Way::Reset => {
                let body = json!({ "login": self.email });
                assert_eq!(self.browser.post("/auth/password/forgot", body).await.status, 202);
                let token = token_of(&last(probe, MessageKind::PasswordReset).await);
                let body = json!({ "token": token, "password": NEW });
                assert_eq!(self.browser.post("/auth/password/reset", body).await.status, 204);
                self.login(NEW).await
            }
            Way::Verification => {
                let body = json!({ "email": self.email });
                assert_eq!(self.browser.post("/auth/verification", body).await.status, 202);
                let token = token_of(&last(probe, MessageKind::VerifyAddress).await);
                self.browser.post("/auth/verification/confirm", json!({ "token": token })).await
            }
            Way::NewPassword => {
                let mut answer = self.login(PASSWORD).await;
                if policy == Policy::Factor {
                    assert_eq!(self.page().await, FACTOR);
                    answer = self.browser.post_empty("/second").await;
                    assert!(answer.status < 300, "{}", answer.text);
                }
                assert_eq!(self.page().await, CHANGE, "{}", answer.text);
                self.browser.put("/auth/password", json!({ "new_password": NEW })).await
            }
            Way::Enrolled => {
                self.login(PASSWORD).await;
                assert_eq!(self.page().await, ENROL);
                prove_mailbox(probe, &mut self.browser).await;
                assert_eq!(self.page().await, ENROL);
                let (id, secret) = start(&mut self.browser, "phone").await;
                let body = json!({ "id": id, "code": code(probe, &secret) });
                self.browser.post("/auth/totp/confirm", body).await
            }
            Way::Passkey | Way::PasskeyByBrowser => {
                let authenticator = self.passkey.as_ref().expect("a passkey");
                passkey::sign_in(&mut self.browser, authenticator).await
            }
            Way::Provider | Way::ProviderTwoFactors => {
                let amr = if way == Way::Provider { json!(["pwd"]) } else { json!(["pwd", "mfa"]) };
                self.provider.set(|lies| lies.claims = json!({ "amr": amr }));
                federation::liar::sign_in(&mut self.browser, self.provider).await
            }
            Way::TrustedDevice => {
                self.browser.cookie = None;
                self.login(PASSWORD).await
            }
            Way::Recovery => {
                let (recovery, program) =
                    (probe.auth.account_recovery(), RecoveryActor::Program("cli"));
                let new = NewRecovery::new("called back");
                recovery.open(self.id, new, program).await.expect("it is opened");
                probe.clock.advance(3 * DAY);
                recovery.complete(self.id, program).await.expect("the link is sent");
                let token = token_of(&last(probe, MessageKind::RecoveryLink).await);
                let body = json!({ "token": token, "password": NEW });
                let answer = self.browser.post("/lost/account/recovery/finish", body).await;
                assert!(answer.status < 300, "{}", answer.text);
                self.login(NEW).await
            }
        }
    }

    /// Returns why a guarded page refuses this client. It is empty if it does not.
    async fn page(&mut self) -> String {
        let mut refusals = Vec::new();
        for path in ["/me", "/signed-in"] {
            let answer = match &self.bearer {
                Some(token) => send(self.browser.raw(Method::GET, path).bearer_auth(token)).await,
                None => self.browser.get(path).await,
            };
            assert!(matches!(answer.status, 200 | 401), "{}", answer.text);
            refusals.push(if answer.status == 200 { FULL.to_owned() } else { answer.code() });
        }
        assert_eq!(refusals[0], refusals[1]);
        refusals.swap_remove(0)
    }
}

on_every_database! {
    async fn no_way_to_sign_in_leads_past_what_an_account_must_do(probe: Probe) {
        let mut probe = probe;
        let liar = Liar::start(&probe, "liar").await;
        let provider = liar.provider().counts_as_two_when(TwoFactors::amr(["mfa"]));
        let nodes = [Duration::ZERO, 90 * DAY].map(|grace| {
            probe.rebuilt(|builder| builder.configure(|config| {
                config.service.bearer = true;
                config.service.public_url = Some("https://example.com".to_owned());
                config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
                config.trusted_device.enabled = true;
                config.factor.grace = grace;
                config.mail.per_source = None;
                config.rate.per_source = None;
                config.rate.per_principal = None;
            }).provider(provider.clone()))
        });
        let admin = RoleDefinition::new("admin", ["user:read"]).requires_factor(true);
        nodes[0].roles().define([admin]).await.expect("it is defined");
        let sites = [serve(site(&nodes[0])).await, serve(site(&nodes[1])).await];
        for (way, row) in TABLE {
            for (policy, expected) in POLICIES.into_iter().zip(row) {
                if expected == NO_WAY {
                    continue;
                }
                let what = format!("{way:?} {policy:?}");
                let at = usize::from(policy == Policy::Grace);
                probe.auth = nodes[at].clone();
                let name = format!("{way:?}-{policy:?}").to_lowercase();
                let email = format!("{name}@example.com");
                let id = probe.register_with_email(&name, &email).await.id();
                if way != Way::Verification {
                    probe.auth.accounts().verify(id).await.expect("it is verified");
                }
                let browser = Browser::new(sites[at]);
                let (bearer, passkey) = (None, None);
                let provider = &liar;
                let mut person =
                    Person { probe: &probe, browser, bearer, id, name, email, passkey, provider };
                if matches!(way, Way::Provider | Way::ProviderTwoFactors) {
                    let found = probe.auth.accounts().find(id).await.expect("it answers");
                    let account = found.expect("an account");
                    federation::linked(&probe.auth, &account, &liar, &person.name).await;
                }
                if matches!(way, Way::Passkey | Way::PasskeyByBrowser) {
                    let found = probe.auth.accounts().find(id).await.expect("it answers");
                    let account = found.expect("an account");
                    let by_browser = way == Way::PasskeyByBrowser;
                    person.passkey = Some(passkey::added(&probe.auth, &account, by_browser).await);
                }
                if way == Way::TrustedDevice {
                    person.has_factor().await;
                    person.login(PASSWORD).await;
                    assert_eq!(person.browser.post_empty("/second").await.status, 200);
                    assert!(person.browser.trusted.is_some(), "{what}");
                } else if way == Way::NewPassword {
                    probe.auth.accounts().require_password_change(id).await.expect("it is required");
                }
                if (way, policy) != (Way::TrustedDevice, Policy::Factor) {
                    person.must(policy).await;
                }
                let answer = person.goes(way, policy).await;
                assert!(answer.status < 400, "{what}: {}", answer.text);
                assert_eq!(person.page().await, expected, "{what}: {}", answer.text);
                let said = serde_json::from_str::<serde_json::Value>(&answer.text).unwrap_or_default();
                if let Some(result) = said["result"].as_str() {
                    let full = if expected == FULL { "session" } else { expected };
                    assert_eq!(result, full, "{what}");
                }
            }
        }
    }
}
