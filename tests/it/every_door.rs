//! Every kind of token, link and code at every place where one is accepted: each opens only its own.
//! What the database keeps of them opens nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use portcullis::account::NewAccount;
use portcullis::account_recovery::{NewRecovery, RecoveryActor};
use portcullis::action_proof::VerifiedProof;
use portcullis::config::DeviceNetworks;
use portcullis::guard::RouteBody;
use portcullis::own_api_key::NewApiKey;
use portcullis::page::LinkToken;
use portcullis::rate_limit::Quota;
use portcullis::{
    AccountId, ApiKeyIdentity, ClientInfo, EnrolmentSession, Identity, Message, MessageKind,
    Portcullis, Stage,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::captcha::{easy, solved};
use crate::challenge::bank;
use crate::device_login::Person;
use crate::dpop::{Bound, ClientKey};
use crate::external_factor::{Card, card_pages};
use crate::on_every_database;
use crate::passkey::Authenticator;
use crate::sent_code::{ask, prove_mailbox};
use crate::support::browser::{ASKING, Answer, COOKIE, DEVICE, TRUSTED, send};
use crate::support::call::extracted;
use crate::support::probe::serve;
use crate::support::{Backend, Browser, PASSWORD, Probe};
use crate::totp::{code, enrol, start};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NEW: &str = "another horse battery staple";

/// The cookie of a page that was opened by a link.
const LINK: &str = "__Host-session-link";

fn node(probe: &Probe) -> Portcullis {
    let texts = probe.notifier.clone();
    probe.rebuilt(|builder| {
        let builder = builder.captcha(easy()).text_messages(texts);
        builder.external_factor(Card::default()).configure(|config| {
            crate::device_login::clients(config);
            config.api_key.prefix = Some("acme".to_owned());
            config.device_login.networks = DeviceNetworks::Off;
            config.device_login.wrong_codes = Quota::per_minute(100_000);
            config.trusted_device.enabled = true;
            config.captcha.login_after = Some(0);
            config.captcha.register_after = Some(0);
            config.captcha.forgot_after = Some(0);
            config.captcha.per_source = Quota::per_minute(100_000);
            config.session.recent_factor = 60 * MINUTE;
            config.mail.per_hour = 1000;
            config.mail.per_source = None;
            config.passkey.challenges = portcullis::rate_limit::Quota::per_minute(10_000);
            config.service.public_url = Some("https://example.com".to_owned());
            config.rate.per_source = None;
            config.rate.per_principal = None;
        })
    })
}

fn application(auth: &Portcullis) -> Router {
    let enrolling = get(|session: EnrolmentSession| async move { session.id().to_string() });
    let page = get(|link: LinkToken| async move {
        link.as_str().map(str::to_owned).ok_or(StatusCode::NOT_FOUND)
    });
    let program = get(|program: ApiKeyIdentity| async move { program.key().name().to_owned() });
    let own = Router::new().route("/enrolling", enrolling).route("/page", page);
    let own = own.route("/program", program);
    let consent = get(|proof: VerifiedProof| async move { proof.action().to_owned() });
    let consent = Router::new().route("/consent", consent);
    let own = own.merge(consent.route_layer(auth.require_action_proof("pay")));
    bank(auth)
        .merge(own.layer(auth.layer()))
        .merge(card_pages(auth))
        .nest("/own", portcullis::own_account::routes(auth))
        .nest("/lost", portcullis::account_recovery::routes(auth))
        .nest("/devices", portcullis::device_login::routes(auth))
}

/// People with one valid proof of each kind, and the browsers to which they belong.
struct World {
    /// A full session of Alice, who has every factor. The device is known.
    alice: Browser,
    /// A sign-in of Alice that waits for its second factor.
    waits: Browser,
    /// A browser that asked for a sign-in by mail.
    asked: Browser,
    /// A session of Bob, whose address is not verified.
    bob: Browser,
    proofs: BTreeMap<&'static str, String>,
    /// A device with a session of Alice that is bound to its key.
    bound: Bound,
    /// A passkey of Alice that her browser has made by itself.
    passkey: Authenticator,
    challenge: String,
    authenticator: String,
    /// The names and addresses of this world end with it.
    number: usize,
}

async fn last(probe: &Probe, kind: MessageKind) -> Message {
    let sent = probe.mail().await;
    sent.into_iter().rfind(|message| message.kind == kind).unwrap_or_else(|| panic!("no {kind:?}"))
}

#[track_caller]
fn token(message: &Message) -> String {
    let token = message.value("link").and_then(|link| link.split_once("#token="));
    token.unwrap_or_else(|| panic!("no link in {:?}", message.kind)).1.to_owned()
}

fn typed(message: &Message) -> String {
    message.value("code").expect("a code").to_owned()
}

#[track_caller]
fn worked(answer: &Answer) {
    assert!(answer.status < 300, "{}", answer.text);
}

async fn sign_in(browser: &mut Browser, name: &str) -> Answer {
    let captcha = solved(browser, "login").await;
    let body = json!({ "login": name, "password": PASSWORD, "captcha": captcha });
    let answer = browser.post("/auth/login", body).await;
    worked(&answer);
    answer
}

impl World {
    async fn new(probe: &Probe, number: usize) -> Self {
        let name = format!("alice{number}");
        let phone = |at: usize| format!("+4915112{number:03}{at:02}");
        let email = |of: &str| format!("{of}{number}@example.com");
        let mut proofs = BTreeMap::from([("password", PASSWORD.to_owned())]);
        let accounts = probe.auth.accounts();

        // An administrator recovers the account of Erin, which takes three days.
        let erin = Self::recovering(probe, &format!("erin{number}"), &email("erin")).await;

        // An address and a number get a link that undoes a change after a week.
        let new = NewAccount::username(&name).with_email(email("first")).verified();
        let created = probe.auth.registration().create(new, PASSWORD).await;
        let id = created.expect("the account is made").id();
        let mut alice = Browser::new(serve(application(&probe.auth)).await);
        sign_in(&mut alice, &name).await;
        worked(&alice.post("/auth/phone", json!({ "phone": phone(1) })).await);
        let proof = json!({ "code": typed(&last(probe, MessageKind::PhoneChangeConfirm).await) });
        worked(&alice.post("/auth/phone/confirm", proof).await);
        probe.clock.advance(8 * DAY);
        alice = alice.stranger();
        sign_in(&mut alice, &name).await;
        worked(&alice.post("/auth/login-names", json!({ "email": email("other") })).await);
        let proof = json!({ "token": token(&last(probe, MessageKind::LoginNameConfirm).await) });
        worked(&alice.post("/auth/login-names/confirm", proof).await);
        proofs.insert(
            "login_name_undo token",
            token(&last(probe, MessageKind::LoginNameAdded).await),
        );
        worked(&alice.post("/auth/phone", json!({ "phone": phone(2) })).await);
        let proof = json!({ "code": typed(&last(probe, MessageKind::PhoneChangeConfirm).await) });
        worked(&alice.post("/auth/phone/confirm", proof).await);
        proofs.insert("phone_undo token", token(&last(probe, MessageKind::PhoneChangedUndo).await));
        worked(&alice.post("/auth/email", json!({ "email": email("alice") })).await);
        let proof = json!({ "token": token(&last(probe, MessageKind::EmailChangeConfirm).await) });
        worked(&alice.post("/auth/email/confirm", proof).await);
        proofs.insert("email_undo token", token(&last(probe, MessageKind::EmailChangedUndo).await));

        prove_mailbox(probe, &mut alice).await;
        let (_, seed) = enrol(probe, &mut alice, "phone").await;
        let answer = alice.post("/auth/recovery-codes", json!({})).await;
        worked(&answer);
        let codes: Vec<String> =
            serde_json::from_value(answer.json()["codes"].clone()).expect("a list");
        proofs.insert("recovery_code", codes[0].clone());
        let answer = Self::asked_by_card(&mut alice, "/card/challenge").await;
        let request = alice.request(Method::POST, "/card").body(answer);
        worked(&alice.send(request).await);
        worked(&alice.post("/auth/sent-codes", json!({ "method": "mailed_code" })).await);
        probe.clock.advance(MINUTE);
        let texted = ask(probe, &mut alice, "/auth/reauthenticate/challenge", "texted_code").await;
        let proof = json!({ "method": "texted_code", "code": texted });
        worked(&alice.post("/auth/reauthenticate", proof).await);
        worked(&alice.post("/auth/sent-codes", json!({ "method": "texted_code" })).await);
        let added = last(probe, MessageKind::FactorAdded).await;
        proofs.insert("factor_undo token", token(&added));
        probe.clock.advance(MINUTE);

        // From here on, nothing changes the account.
        let mut trusted = alice.stranger();
        assert_eq!(sign_in(&mut trusted, &name).await.json()["result"], "second_factor_required");
        let body = json!({ "code": code(probe, &seed), "trust_device": true });
        worked(&trusted.post("/auth/second-factor/verify", body).await);
        proofs.insert("trusted_device", trusted.trusted.expect("it is trusted"));
        let (authenticator, new_seed) = start(&mut alice, "tablet").await;
        let account = accounts.find(id).await.expect("it answers").expect("an account");
        let passkey = crate::passkey::added(&probe.auth, &account, true).await;
        for (stage, kind) in [(Stage::MustChangePassword, "pwc+jwt"), (Stage::MustEnrol, "enr+jwt")]
        {
            let client = probe.auth.test().login_as(&account).at_stage(stage).into_client();
            let pair = client.cookie().await.expect("a cookie");
            proofs.insert(kind, pair.split_once('=').expect("a name").1.to_owned());
        }
        let visitor = probe.auth.test().visitor().cookie().await.expect("a cookie");
        proofs.insert("anon+jwt", visitor.split_once('=').expect("a name").1.to_owned());
        worked(&alice.post("/auth/email", json!({ "email": email("next") })).await);
        let mail = last(probe, MessageKind::EmailChangeConfirm).await;
        proofs.insert("email_change token", token(&mail));
        proofs.insert("email_change code", typed(&mail));
        worked(&alice.post("/auth/phone", json!({ "phone": phone(3) })).await);
        let text = last(probe, MessageKind::PhoneChangeConfirm).await;
        proofs.insert("phone_change code", typed(&text));
        worked(&alice.post("/auth/login-names", json!({ "email": email("more") })).await);
        let mail = last(probe, MessageKind::LoginNameConfirm).await;
        proofs.insert("login_name token", token(&mail));
        proofs.insert("login_name code", typed(&mail));
        worked(&alice.post("/auth/password/forgot", json!({ "login": email("alice") })).await);
        proofs
            .insert("password_reset token", token(&last(probe, MessageKind::PasswordReset).await));
        let mut asked = alice.stranger();
        worked(&asked.post("/auth/login/mail", json!({ "login": email("alice") })).await);
        let mail = last(probe, MessageKind::MailLogin).await;
        proofs.insert("mail_login token", token(&mail));
        proofs.insert("mail_login code", typed(&mail));
        proofs.insert("mail+jwt", asked.asking.clone().expect("a cookie"));
        let answer = alice.post("/start", json!({})).await;
        worked(&answer);
        let text = |member: &str| answer.json()[member].as_str().expect("a text").to_owned();
        let challenge = text("id");
        proofs.insert("app code", text("code"));
        let mut waits = alice.stranger();
        assert_eq!(sign_in(&mut waits, &name).await.json()["result"], "second_factor_required");
        for (session, path, mailed, texted, external) in [
            (
                &mut waits,
                "/auth/second-factor/challenge",
                "factor_code mailed",
                "factor_code texted",
                "external",
            ),
            (
                &mut alice,
                "/auth/reauthenticate/challenge",
                "factor_code mailed again",
                "factor_code texted again",
                "external again",
            ),
        ] {
            probe.clock.advance(MINUTE);
            proofs.insert(mailed, ask(probe, session, path, "mailed_code").await);
            proofs.insert(texted, ask(probe, session, path, "texted_code").await);
            proofs.insert(external, Self::asked_by_card(session, path).await);
        }

        let carol = format!("carol{number}");
        let account = probe.register_with_email(&carol, &email("carol")).await;
        accounts.verify(account.id()).await.expect("it is verified");
        accounts.close(account.id()).await.expect("it is closed");
        proofs.insert("account_keep token", token(&last(probe, MessageKind::AccountClosed).await));
        let program = RecoveryActor::Program("cli:root@db1");
        let completed = probe.auth.account_recovery().complete(erin, program).await;
        completed.expect("the link is sent");
        let link = last(probe, MessageKind::RecoveryLink).await;
        proofs.insert("account_recovery token", token(&link));
        Self::recovering(probe, &format!("frank{number}"), &email("frank")).await;
        let opened = last(probe, MessageKind::RecoveryOpened).await;
        proofs.insert("recovery_objection token", token(&opened));
        let bob_name = format!("bob{number}");
        probe.register_with_email(&bob_name, &email("bob")).await;
        let mut bob = alice.stranger();
        sign_in(&mut bob, &bob_name).await;
        worked(&bob.post_empty("/auth/verification").await);
        let mail = last(probe, MessageKind::VerifyAddress).await;
        proofs.insert("verification token", token(&mail));
        proofs.insert("verification code", typed(&mail));

        let opened = send(alice.raw(Method::GET, "/page?token=of-a-link")).await;
        proofs.insert("page", opened.cookie_of(LINK).expect("a cookie"));

        let identity: Identity = extracted(
            &probe.auth,
            &format!("{COOKIE}={}", alice.cookie.as_deref().expect("a cookie")),
        )
        .await;
        let issue = probe.auth.action_proofs().issue("pay", &identity);
        let proof = issue.sign(&ClientInfo::default()).await.expect("it is issued");
        proofs.insert("proof+jwt", proof.token().to_owned());

        let cookie = format!("{COOKIE}={}", alice.cookie.as_deref().expect("a cookie"));
        proofs.extend(crate::device_login::proofs(&probe.auth, &cookie).await);

        let key = probe.auth.api_keys().issue(id, NewApiKey::new("robot")).await;
        proofs.insert("api_key", key.expect("it is made").secret().to_owned());
        let person = Person::with(&probe.auth, &cookie).await;
        let bound = Bound::by(&probe.auth, &person, ClientKey::ed25519(7)).await;
        proofs.insert("sess+jwt bound", bound.token.clone());
        proofs.insert("dpop+jwt", bound.proof("GET", "/me"));

        let mut begun = alice.stranger();
        crate::passkey::begin(&mut begun).await;
        proofs.insert("passkey_browser", begun.begun.expect("a cookie"));

        proofs.insert("sess+jwt", alice.cookie.clone().expect("a cookie"));
        proofs.insert("mfa+jwt", waits.cookie.clone().expect("a cookie"));
        proofs.insert("dev+jwt", alice.device.clone().expect("a device"));
        for (action, name) in [
            ("login", "captcha login"),
            ("register", "captcha register"),
            ("forgot", "captcha forgot"),
        ] {
            proofs.insert(name, solved(&alice, action).await);
        }
        proofs.insert("totp", code(probe, &seed));
        proofs.insert("totp unconfirmed", code(probe, &new_seed));
        Self { alice, waits, asked, bob, proofs, bound, passkey, challenge, authenticator, number }
    }

    /// Lets the card of this person ask for a cell, and returns the answer.
    async fn asked_by_card(browser: &mut Browser, path: &str) -> String {
        let asked = browser.post(path, json!({ "method": "external" })).await;
        worked(&asked);
        format!("answer of cell {}", asked.json()["challenge"]["cell"])
    }

    /// Makes an account that an administrator begins to recover.
    async fn recovering(probe: &Probe, name: &str, email: &str) -> AccountId {
        let id = probe.register_with_email(name, email).await.id();
        probe.auth.accounts().verify(id).await.expect("it is verified");
        let program = RecoveryActor::Program("cli:root@db1");
        let recovery = NewRecovery::new("called back");
        probe.auth.account_recovery().open(id, recovery, program).await.expect("it is opened");
        id
    }

    /// A request of a session with this body.
    #[expect(clippy::needless_pass_by_value, reason = "each caller makes the body in place")]
    fn post(browser: &Browser, path: &str, body: Value) -> RequestBuilder {
        browser.request(Method::POST, path).json(&body)
    }

    fn anybody(&self, path: &str, body: Value) -> RequestBuilder {
        Self::post(&self.alice.stranger(), path, body)
    }

    fn with_cookie(&self, path: &str, name: &str, value: &str) -> RequestBuilder {
        self.alice.raw(Method::GET, path).header("cookie", format!("{name}={value}"))
    }

    fn as_bearer(&self, path: &str, value: &str) -> RequestBuilder {
        self.alice.raw(Method::GET, path).header("authorization", format!("Bearer {value}"))
    }

    /// A sign-in of Alice with the right password, from her known device. It shows this trusted device.
    fn trusting(&self, header: &str, value: String) -> RequestBuilder {
        let body = json!({ "login": format!("alice{}", self.number), "password": PASSWORD });
        let device = format!("{DEVICE}={}", self.proofs["dev+jwt"]);
        let request = self.anybody("/auth/login", body);
        match header {
            "cookie" => request.header("cookie", format!("{device}; {value}")),
            _ => request.header("cookie", device).header(header, value),
        }
    }
}

/// A place where a proof is accepted.
struct Door {
    name: &'static str,
    /// The proofs that open it.
    opens: &'static [&'static str],
    knock: fn(&World, &str) -> RequestBuilder,
}

impl Door {
    /// True if something else opens it too, but not as far: a sign-in without a trusted device waits for its
    /// second factor.
    fn is_ajar(&self) -> bool {
        self.opens == ["trusted_device"]
    }

    /// True if this answer says that the proof was accepted.
    fn opened(&self, answer: &Answer) -> bool {
        answer.status < 300 && (!self.is_ajar() || answer.json()["result"] == "session")
    }
}

macro_rules! doors {
    ($($name:literal: $opens:expr, |$world:ident, $proof:ident| $request:expr;)+) => {
        const DOORS: &[Door] =
            &[$(Door { name: $name, opens: &$opens, knock: |$world, $proof| $request }),+];
    };
}

doors! {
    "cookie of a session": ["sess+jwt"], |w, p| w.with_cookie("/me", COOKIE, p);
    "cookie of a sign-in that waits": ["mfa+jwt"], |w, p| w.with_cookie("/pending", COOKIE, p);
    "cookie of a required password": ["pwc+jwt"], |w, p| w.with_cookie("/must-change", COOKIE, p);
    "cookie of a required factor": ["enr+jwt"], |w, p| w.with_cookie("/enrolling", COOKIE, p);
    "cookie of a visitor": ["anon+jwt"], |w, p| w.with_cookie("/anonymous", COOKIE, p);
    "bearer of a session": ["sess+jwt"], |w, p| w.as_bearer("/me", p);
    "bearer of a sign-in that waits": ["mfa+jwt"], |w, p| w.as_bearer("/pending", p);
    "bearer of a required password": ["pwc+jwt"], |w, p| w.as_bearer("/must-change", p);
    "bearer of a required factor": ["enr+jwt"], |w, p| w.as_bearer("/enrolling", p);
    "bearer of a visitor": ["anon+jwt"], |w, p| w.as_bearer("/anonymous", p);
    // A known device is asked for no captcha.
    "cookie of a device": ["dev+jwt"], |w, p| {
        let body = json!({ "login": format!("alice{}", w.number), "password": PASSWORD });
        w.anybody("/auth/login", body).header("cookie", format!("{DEVICE}={p}"))
    };
    "POST /login captcha": ["captcha login"], |w, p| {
        let login = format!("alice{}", w.number);
        w.anybody("/auth/login", json!({ "login": login, "password": PASSWORD, "captcha": p }))
    };
    "POST /register captcha": ["captcha register"], |w, p| {
        let name = format!("dave{}", w.number);
        w.anybody("/auth/register", json!({ "username": name, "password": PASSWORD, "captcha": p }))
    };
    "POST /password/forgot captcha": ["captcha forgot"], |w, p| {
        w.anybody("/auth/password/forgot", json!({ "login": "nobody@example.com", "captcha": p }))
    };
    "POST /password/reset/check": ["password_reset token"], |w, p| {
        w.anybody("/auth/password/reset/check", json!({ "token": p }))
    };
    "POST /account/keep": ["account_keep token"], |w, p| {
        w.anybody("/own/account/keep", json!({ "token": p }))
    };
    "a challenge of the application": ["app code"], |w, p| {
        World::post(&w.alice, "/answer", json!({ "id": w.challenge, "code": p }))
    };
    "POST /verification/confirm token": ["verification token"], |w, p| {
        World::post(&w.bob, "/auth/verification/confirm", json!({ "token": p }))
    };
    "cookie of a page": ["page"], |w, p| w.with_cookie("/page", LINK, p);
    "header of an action proof": ["proof+jwt"], |w, p| {
        w.alice.request(Method::GET, "/consent").header(portcullis::action_proof::HEADER, p)
    };
    // A device that lost the answer gets it again.
    "POST /device/token": ["device_code"], |w, p| {
        let body = format!(
            "client_id=tv&grant_type=urn:ietf:params:oauth:grant-type:device_code&device_code={p}"
        );
        form(w, "/devices/device/token", body)
    };
    "code of a device in a path": ["user_code"], |w, p| {
        w.alice.request(Method::GET, &format!("/devices/device/{p}"))
    };
    "bearer of a program": ["api_key"], |w, p| w.as_bearer("/program", p);
    "bound token of a session": ["sess+jwt bound"], |w, p| {
        let proof = w.bound.key.proof("GET", "/me", Some(p), &w.bound.nonce);
        w.alice.raw(Method::GET, "/me").header("authorization", format!("DPoP {p}")).header("dpop", proof)
    };
    // The answer to a challenge is added before it is sent.
    "POST /login/passkey browser_token": ["passkey_browser"], |w, p| {
        w.anybody("/auth/login/passkey", json!({ "browser_token": p }))
    };
    // A use replaces the token, so the other door of this kind is not among these.
    "POST /login header of a trusted device": ["trusted_device"], |w, p| {
        w.trusting("portcullis-trusted-device", p.to_owned())
    };
    // Each of the rest ends something. Those that harm each other the least are neighbours.
    // A proof of a key is good once.
    "header of a proof of a key": ["dpop+jwt"], |w, p| {
        let token = format!("DPoP {}", w.bound.token);
        w.alice.raw(Method::GET, "/me").header("authorization", token).header("dpop", p)
    };
    "POST /second-factor/verify totp": ["totp"], |w, p| verify(w, "totp", p);
    "POST /reauthenticate mailed_code": ["factor_code mailed again"], |w, p| {
        step_up(w, "mailed_code", p)
    };
    "POST /verification/confirm code": ["verification code"], |w, p| {
        World::post(&w.bob, "/auth/verification/confirm", json!({ "code": p }))
    };
    "POST /account/recovery/finish": ["account_recovery token"], |w, p| {
        w.anybody("/lost/account/recovery/finish", json!({ "token": p, "password": NEW }))
    };
    "POST /account/recovery/object": ["recovery_objection token"], |w, p| {
        w.anybody("/lost/account/recovery/object", json!({ "token": p }))
    };
    "POST /login/mail/confirm token": ["mail_login token"], |w, p| {
        World::post(&w.asked, "/auth/login/mail/confirm", json!({ "token": p }))
    };
    "POST /second-factor/verify mailed_code": ["factor_code mailed"], |w, p| {
        verify(w, "mailed_code", p)
    };
    "POST /reauthenticate totp": ["totp"], |w, p| step_up(w, "totp", p);
    "POST /verification/confirm email and code": ["verification code"], |w, p| {
        let body = json!({ "email": format!("bob{}@example.com", w.number), "code": p });
        w.anybody("/auth/verification/confirm", body)
    };
    "POST /login/mail/confirm code": ["mail_login code"], |w, p| {
        World::post(&w.asked, "/auth/login/mail/confirm", json!({ "code": p }))
    };
    "POST /second-factor/verify recovery_code": ["recovery_code"], |w, p| {
        verify(w, "recovery_code", p)
    };
    "POST /reauthenticate texted_code": ["factor_code texted again"], |w, p| {
        step_up(w, "texted_code", p)
    };
    "POST /verification/confirm password": ["password"], |w, p| {
        let token = &w.proofs["verification token"];
        w.anybody("/auth/verification/confirm", json!({ "token": token, "password": p }))
    };
    "cookie of a browser that asked": ["mail+jwt"], |w, p| {
        let body = json!({ "code": w.proofs["mail_login code"] });
        w.anybody("/auth/login/mail/confirm", body).header("cookie", format!("{ASKING}={p}"))
    };
    "POST /second-factor/verify texted_code": ["factor_code texted"], |w, p| {
        verify(w, "texted_code", p)
    };
    "POST /reauthenticate recovery_code": ["recovery_code"], |w, p| step_up(w, "recovery_code", p);
    "browser_token of POST /login/mail/confirm": ["mail+jwt"], |w, p| {
        let body = json!({ "code": w.proofs["mail_login code"], "browser_token": p });
        w.anybody("/auth/login/mail/confirm", body)
    };
    "POST /second-factor/verify external": ["external"], |w, p| verify(w, "external", p);
    "POST /reauthenticate password": ["password"], |w, p| {
        World::post(&w.alice, "/auth/reauthenticate", json!({ "password": p }))
    };
    "POST /second-factor/verify": ["totp", "recovery_code"], |w, p| {
        World::post(&w.waits, "/auth/second-factor/verify", json!({ "code": p }))
    };
    "POST /reauthenticate external": ["external again"], |w, p| step_up(w, "external", p);
    "POST /reauthenticate": ["totp", "recovery_code"], |w, p| {
        World::post(&w.alice, "/auth/reauthenticate", json!({ "code": p }))
    };
    "POST /login password": ["password"], |w, p| {
        let body = json!({ "login": format!("alice{}", w.number), "password": p });
        let device = format!("{DEVICE}={}", w.proofs["dev+jwt"]);
        w.anybody("/auth/login", body).header("cookie", device)
    };
    "POST /login cookie of a trusted device": ["trusted_device"], |w, p| {
        w.trusting("cookie", format!("{TRUSTED}={p}"))
    };
    "POST /login-names/confirm token": ["login_name token"], |w, p| {
        World::post(&w.alice, "/auth/login-names/confirm", json!({ "token": p }))
    };
    "POST /phone/confirm": ["phone_change code"], |w, p| {
        World::post(&w.alice, "/auth/phone/confirm", json!({ "code": p }))
    };
    "POST /totp/confirm": ["totp unconfirmed"], |w, p| {
        let body = json!({ "id": w.authenticator, "code": p });
        World::post(&w.alice, "/auth/totp/confirm", body)
    };
    "PUT /password": ["password"], |w, p| {
        let body = json!({ "current_password": p, "new_password": NEW });
        w.alice.request(Method::PUT, "/auth/password").json(&body)
    };
    "POST /email/confirm token": ["email_change token"], |w, p| {
        World::post(&w.alice, "/auth/email/confirm", json!({ "token": p }))
    };
    "POST /login-names/confirm code": ["login_name code"], |w, p| {
        World::post(&w.alice, "/auth/login-names/confirm", json!({ "code": p }))
    };
    "POST /password": ["password"], |w, p| {
        let body = json!({ "current_password": p, "new_password": NEW });
        World::post(&w.alice, "/auth/password", body)
    };
    "POST /email/confirm code": ["email_change code"], |w, p| {
        World::post(&w.alice, "/auth/email/confirm", json!({ "code": p }))
    };
    "POST /login-names/undo": ["login_name_undo token"], |w, p| {
        w.anybody("/auth/login-names/undo", json!({ "token": p }))
    };
    "POST /phone/undo": ["phone_undo token"], |w, p| {
        w.anybody("/auth/phone/undo", json!({ "token": p }))
    };
    "POST /email/undo": ["email_undo token"], |w, p| {
        w.anybody("/auth/email/undo", json!({ "token": p }))
    };
    "POST /device/end": ["device_code waiting"], |w, p| {
        form(w, "/devices/device/end", format!("client_id=tv&device_code={p}"))
    };
    "POST /device/{user_code}/approve": ["device_view"], |w, p| decide(w, "approve", p);
    "POST /device/{user_code}/deny": ["device_view"], |w, p| decide(w, "deny", p);
    "POST /device/{user_code}/report": ["device_view"], |w, p| decide(w, "report", p);
    "POST /second-factor/undo": ["factor_undo token"], |w, p| {
        w.anybody("/auth/second-factor/undo", json!({ "token": p }))
    };
    "POST /password/reset": ["password_reset token"], |w, p| {
        w.anybody("/auth/password/reset", json!({ "token": p, "password": NEW }))
    };
}

/// The doors that end nothing which another one needs.
const HARMLESS: usize = 26;

/// A form of a program, without a session.
fn form(world: &World, path: &str, body: String) -> RequestBuilder {
    let request = world.alice.raw(Method::POST, path);
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

fn decide(world: &World, decision: &str, proof: &str) -> RequestBuilder {
    let path = format!("/devices/device/{}/{decision}", world.proofs["user_code"]);
    World::post(&world.alice, &path, json!({ "view": proof }))
}

fn verify(world: &World, method: &str, proof: &str) -> RequestBuilder {
    let body = json!({ "method": method, "code": proof });
    World::post(&world.waits, "/auth/second-factor/verify", body)
}

fn step_up(world: &World, method: &str, proof: &str) -> RequestBuilder {
    let body = json!({ "method": method, "code": proof });
    World::post(&world.alice, "/auth/reauthenticate", body)
}

/// Mounted routes with a body that take no proof. They ask for one, or change what a session may change.
const WITHOUT_A_PROOF: [&str; 23] = [
    "POST /action-proofs",
    "POST /api-keys",
    "POST /api-keys/{id}/rotate",
    "PUT /api-keys/{id}/scopes",
    "POST /captcha",
    "POST /device",
    "POST /email",
    "POST /login-names",
    "POST /login/mail",
    "POST /login/passkey/challenge",
    "POST /passkeys",
    "PUT /passkeys/{id}/name",
    "POST /passkeys/{id}/name",
    "POST /phone",
    "POST /reauthenticate/challenge",
    "POST /recovery-codes",
    "POST /second-factor/challenge",
    "POST /sent-codes",
    "POST /session/anonymous",
    "POST /session/may",
    "POST /sessions/end",
    "POST /totp",
    "POST /verification",
];

/// Returns every digest of 32 bytes in the rows of a table that contain this text.
async fn digests(probe: &Probe, table: &str, of: &str) -> Vec<Vec<u8>> {
    let rows = probe.dump(table).await;
    let fields = rows.iter().filter(|row| row.contains(of)).flat_map(|row| row.split('|'));
    let hex = fields.map(|field| field.trim_start_matches("\\x").to_lowercase());
    let bytes = hex.filter_map(|hex| data_encoding::HEXLOWER.decode(hex.as_bytes()).ok());
    bytes.filter(|bytes| bytes.len() == 32).collect()
}

/// Returns what is stored of the proofs that open a door.
async fn stored(probe: &Probe, door: &Door) -> Vec<Vec<u8>> {
    let mut stored = Vec::new();
    for opens in door.opens {
        let kind = opens.split(' ').next().unwrap_or_default();
        stored.extend(match kind {
            "sess+jwt" | "mfa+jwt" | "pwc+jwt" | "enr+jwt" | "anon+jwt" => {
                digests(probe, "auth_session", "").await
            }
            "recovery_code" => digests(probe, "auth_recovery_code", "").await,
            "captcha" => digests(probe, "auth_captcha", "").await,
            "app" => digests(probe, "auth_challenge", "|app:transfer|").await,
            "trusted_device" => {
                let found = digests(probe, "auth_trusted_device", "").await;
                assert!(!found.is_empty(), "it has a digest");
                found
            }
            // The application has the answer, and the data of the challenge are encrypted.
            "external" => digests(probe, "auth_challenge", "|factor_code|").await,
            "device_code" | "user_code" => digests(probe, "auth_device_request", "").await,
            // It is sealed, and nothing is stored.
            "device_view" => Vec::new(),
            "dev+jwt" | "mail+jwt" | "password" | "totp" | "page" => Vec::new(),
            "api_key" => digests(probe, "auth_api_key", "").await,
            "dpop+jwt" => digests(probe, "auth_dpop_proof", "").await,
            "passkey_browser" => digests(probe, "auth_passkey_challenge", "").await,
            "proof+jwt" => digests(probe, "auth_challenge", "|action_proof|").await,
            _ => {
                let found = digests(probe, "auth_challenge", &format!("|{kind}|")).await;
                assert!(found.len() >= 2, "{kind} has a subject and a token");
                found
            }
        });
    }
    stored
}

/// An attempt that is refused because of too many others would say nothing about the proof.
async fn forget_attempts(probe: &Probe) {
    probe.forget_attempts().await;
    // The tries of sent codes and of cards are counted in their rows. A card keeps its question there too.
    let none_of_a_card = match probe.database.backend {
        Backend::MySql => "CONCAT('0', SUBSTR(data, 2))",
        Backend::Sqlite | Backend::Postgres => "'0' || SUBSTR(data, 2)",
    };
    let none = format!("CASE WHEN data LIKE '_:%' THEN {none_of_a_card} ELSE NULL END");
    let rows = "purpose = 'factor_code' AND data IS NOT NULL";
    probe.execute(&format!("UPDATE auth_challenge SET data = {none} WHERE {rows}")).await;
}

async fn present(probe: &Probe, world: &World, door: &Door, proof: &str) -> Answer {
    forget_attempts(probe).await;
    if door.opens == ["passkey_browser"] {
        // The first answer ends a challenge, so each has one of its own.
        let mut browser = world.alice.stranger();
        browser.begun = Some(world.proofs["passkey_browser"].clone());
        let credential = world.passkey.get(&crate::passkey::begin(&mut browser).await);
        let body = json!({ "credential": credential, "browser_token": proof,
            "transport": "bearer" });
        return send(world.anybody("/auth/login/passkey", body)).await;
    }
    send((door.knock)(world, proof)).await
}

#[track_caller]
fn stays_shut(answer: &Answer, door: &Door, what: &str) {
    let no_answer = answer.status == 429 || answer.text.contains("code_ended");
    let refused = (300..500).contains(&answer.status) && !no_answer;
    let waits = door.is_ajar() && answer.status == 200 && !door.opened(answer);
    assert!(refused || waits, "{} and {what}: {} {}", door.name, answer.status, answer.text);
    let cookies = match waits {
        // The sign-in that waits has a cookie, as always.
        true => &[TRUSTED, DEVICE][..],
        false => &[TRUSTED, DEVICE, COOKIE][..],
    };
    for name in cookies {
        let set = answer.cookie_of(name).filter(|value| !value.is_empty());
        assert_eq!(set, None, "{} and {what}", door.name);
    }
}

on_every_database! {
    async fn each_proof_opens_its_own_doors(probe: Probe) {
        let mut probe = probe;
        probe.auth = node(&probe);
        let mut world = World::new(&probe, 0).await;
        let known: BTreeSet<_> =
            world.proofs.keys().map(|name| name.split(' ').next().expect("a kind").to_owned()).collect();
        assert_eq!(known, portcullis::test_kit::kinds_of_proofs(), "a kind is missing in this test");
        let without: BTreeSet<_> = WITHOUT_A_PROOF.into_iter().collect();
        let mut number = 0;
        for (at, door) in DOORS.iter().enumerate() {
            for opens in door.opens {
                let mut answer = present(&probe, &world, door, &world.proofs[opens]).await;
                // Another door may have ended what this one needs.
                if at >= HARMLESS && !door.opened(&answer) {
                    number += 1;
                    world = World::new(&probe, number).await;
                    answer = present(&probe, &world, door, &world.proofs[opens]).await;
                }
                assert!(door.opened(&answer), "{} and {opens}: {}", door.name, answer.text);
            }
        }
        let opened: BTreeSet<_> = DOORS.iter().flat_map(|door| door.opens).copied().collect();
        assert_eq!(opened, world.proofs.keys().copied().collect());
        // A new route with a body is one of these doors, or takes no proof.
        let guarded = probe
            .auth
            .router()
            .auth_routes("/auth", probe.auth.routes())
            .auth_routes("/auth", portcullis::anonymous::routes(&probe.auth))
            .auth_routes("/auth", portcullis::mail_login::routes(&probe.auth))
            .auth_routes("/auth", portcullis::own_account::routes(&probe.auth))
            .auth_routes("/auth", portcullis::account_recovery::routes(&probe.auth))
            .auth_routes("/auth", portcullis::action_proof::routes(&probe.auth, ["pay"]))
            .auth_routes("/auth", portcullis::device_login::routes(&probe.auth))
            .auth_routes("/auth", portcullis::own_api_key::routes(&probe.auth))
            .auth_routes("/auth", portcullis::passkey::routes(&probe.auth))
            .auth_routes("/auth", portcullis::second_factor::routes(&probe.auth));
        let _mounted: Router = guarded.into_router();
        let routes = probe.auth.guarded_routes();
        for route in routes.iter() {
            let row = route.description().expect("a route of portcullis");
            let name = format!("{} {}", row.method, row.path);
            let is_door = DOORS.iter().any(|door| {
                door.name.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            });
            let known = row.body == RouteBody::None || is_door || without.contains(&*name);
            assert!(known, "{name} is missing in this test");
        }
    }

    async fn no_proof_opens_the_door_of_another_one_and_no_digest_opens_any(probe: Probe) {
        let mut probe = probe;
        probe.auth = node(&probe);
        let world = World::new(&probe, 0).await;
        for door in DOORS {
            for (name, proof) in &world.proofs {
                // The password belongs to both people of this world.
                if !door.opens.contains(name) {
                    let answer = present(&probe, &world, door, proof).await;
                    stays_shut(&answer, door, name);
                }
            }
        }
        for door in DOORS {
            for digest in stored(&probe, door).await {
                let hex = data_encoding::HEXLOWER.encode(&digest);
                for text in [data_encoding::BASE64URL_NOPAD.encode(&digest), hex] {
                    let answer = present(&probe, &world, door, &text).await;
                    stays_shut(&answer, door, "a stored digest");
                }
            }
        }
        // None of that used up or ended anything: the harmless doors still open.
        for door in &DOORS[..HARMLESS] {
            for opens in door.opens {
                let answer = present(&probe, &world, door, &world.proofs[opens]).await;
                assert!(door.opened(&answer), "{} and {opens}: {}", door.name, answer.text);
            }
        }
    }
}
