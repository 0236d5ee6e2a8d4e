//! Sign-in by a mailed link or code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, request::Parts};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use portcullis::account::{FurtherName, NewAccount};
use portcullis::config::{AttemptKind, AttemptOverrides, LoginIds, Unauthenticated};
use portcullis::hook::{HookResult, Hooks, SigningIn};
use portcullis::mail_login::{Confirmation, Confirmed, MailLoginError};
use portcullis::{
    Account, ClientInfo, Config, Factor, Identity, Message, MessageKind, PendingSession,
    Portcullis, Problem, Refusal, Rejection, Requirement,
};
use reqwest::Method;
use sea_orm::{ConnectionTrait, DatabaseTransaction, TransactionTrait};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::attempt::{fail, from, is_refused, tries};
use crate::on_every_database;
use crate::support::browser::{ASKING, Answer, send};
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, PASSWORD, Probe, until};

mod creating;

const ASK: &str = "/auth/login/mail";
const CONFIRM: &str = "/auth/login/mail/confirm";
const NEW: &str = "another horse battery staple";
const MOMENT: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A mail for a sign-in.
#[derive(Clone)]
struct Mailed {
    token: String,
    code: String,
}

impl Mailed {
    fn of(message: &Message) -> Self {
        let value = |name| message.value(name).expect("a value").to_owned();
        let link = value("link");
        let (page, token) = link.split_once("#token=").expect("a token");
        assert_eq!((page, token.len()), ("https://app.example.com/login/mail", 43));
        let code = value("code");
        assert!(message.text.contains(&link) && message.text.contains(&code), "{}", message.text);
        Self { token: token.to_owned(), code }
    }

    fn wrong(&self) -> String {
        let turned = |digit: u8| char::from(b'0' + (digit - b'0' + 1) % 10);
        self.code.bytes().map(turned).collect()
    }
}

#[track_caller]
fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
    assert!(answer.set_cookies().is_empty(), "{answer:?}");
}

#[track_caller]
fn check_result(answer: &Answer, result: &str) {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["result"], result, "{}", answer.text);
}

/// Asks for a mail. Returns it, if one was sent.
async fn try_to_ask(probe: &Probe, browser: &mut Browser, login: &str) -> Option<Mailed> {
    let before = probe.mail().await.len();
    let answer = browser.post(ASK, json!({ "login": login })).await;
    assert_eq!((answer.status, answer.json()), (202, json!({ "result": "accepted" })));
    let sent = probe.mail().await;
    let mut new = sent[before..].iter().filter(|mail| mail.kind == MessageKind::MailLogin);
    let mail = new.next().map(Mailed::of);
    assert!(new.next().is_none(), "one mail at most");
    mail
}

async fn ask(probe: &Probe, browser: &mut Browser, login: &str) -> Mailed {
    try_to_ask(probe, browser, login).await.expect("a mail")
}

async fn follow(browser: &mut Browser, mail: &Mailed) -> Answer {
    browser.post(CONFIRM, json!({ "token": mail.token })).await
}

async fn enter(browser: &mut Browser, code: &str) -> Answer {
    browser.post(CONFIRM, json!({ "code": code })).await
}

/// An account with a proved address, and a browser that is not signed in.
async fn person(probe: &Probe, name: &str) -> (Account, Browser) {
    let account = probe.register_with_email(name, &format!("{name}@example.com")).await;
    probe.auth.accounts().verify(account.id()).await.expect("it is verified");
    let account = probe.auth.accounts().find(account.id()).await.expect("it answers");
    (account.expect("an account"), probe.browser().await)
}

async fn events(probe: &Probe, kind: &str) -> i64 {
    probe.number(&format!("SELECT COUNT(*) FROM auth_event WHERE kind = '{kind}'")).await
}

async fn sessions(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM auth_session WHERE ended_at IS NULL").await
}

/// Locks after this many requests, without delays.
fn locking_at(config: &mut Config, limit: u32) {
    let mut own = AttemptOverrides::default();
    own.limit = Some(limit);
    own.first_delay = Some(Duration::ZERO);
    config.attempts.kinds.insert(AttemptKind::MailLoginRequest, own);
}

/// A hook that refuses sign-ins while the flag is set.
#[derive(Clone, Default)]
struct Nights(Arc<AtomicBool>);

impl Hooks for Nights {
    async fn before_login(&self, _: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
        match self.0.load(Ordering::SeqCst) {
            true => Err(Refusal::new(StatusCode::FORBIDDEN, "closed", "come back later").into()),
            false => Ok(()),
        }
    }
}

/// The application's own handlers, as the page of the module describes them.
async fn own_ask(
    auth: Portcullis,
    headers: HeaderMap,
    client: ClientInfo,
) -> Result<Response, Rejection> {
    let login = headers["who"].to_str().unwrap_or_default();
    let asking = auth.mail_login().with_cookie(&headers).ask(login, &client).await?;
    Ok((asking, StatusCode::ACCEPTED).into_response())
}

async fn own_confirm(
    auth: Portcullis,
    parts: Parts,
    client: ClientInfo,
) -> Result<Response, Rejection> {
    let flow = auth.mail_login().replacing(&parts.extensions).await?.with_cookie(&parts.headers);
    let code = parts.headers["code"].to_str().unwrap_or_default();
    let confirmed = flow.confirm(Confirmation::code(code), &client).await?;
    let Confirmed::SignedIn(outcome) = confirmed else { panic!("{confirmed:?}") };
    Ok((outcome.into_issued(), "signed in").into_response())
}

/// Finishes a sign-in with a factor that the application has checked.
pub(crate) async fn own_factor(
    auth: Portcullis,
    pending: PendingSession,
    client: ClientInfo,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    let factor = match headers["factor"].to_str() {
        Ok("totp") => Factor::Totp,
        Ok("mailed_code") => Factor::MailedCode,
        other => panic!("{other:?}"),
    };
    let outcome = auth.login().finish(&pending, factor, &client).await?;
    Ok((outcome.into_issued(), "finished").into_response())
}

async fn browser_of(auth: &Portcullis) -> Browser {
    let needs = |requirement: Requirement| {
        let guarded = axum::Router::new().route("/", post(async |_: Identity| "met"));
        guarded.route_layer(auth.require(requirement))
    };
    let own = axum::Router::new()
        .route("/own-ask", post(own_ask))
        .route("/own-confirm", post(own_confirm))
        .route("/own-factor", post(own_factor))
        .nest("/password", needs(Requirement::factor(Factor::Password)))
        .nest("/mailed", needs(Requirement::factor(Factor::MailedCode)))
        .layer(auth.layer());
    Browser::new(serve(app(auth).merge(own)).await)
}

on_every_database! {
    async fn a_mailed_link_signs_in_once_in_the_browser_that_asked(probe: Probe) {
        let (account, mut browser) = person(&probe, "alice").await;
        let answer = browser.post(ASK, json!({ "login": "Alice@Example.com" })).await;
        assert_eq!((answer.status, answer.text.as_str()), (202, "{\"result\":\"accepted\"}"));
        let [cookie] = &answer.set_cookies()[..] else { panic!("one cookie: {answer:?}") };
        for part in ["__Host-session-mail=", "; HttpOnly", "; SameSite=Lax", "; Secure", "; Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(cookie.ends_with("; Max-Age=660") && !cookie.contains("Domain"), "{cookie}");
        let [message] = &probe.mail().await[..] else { panic!("one mail") };
        assert_eq!((message.kind, message.account_id), (MessageKind::MailLogin, Some(account.id())));
        assert_eq!(message.to.as_str(), "alice@example.com");
        assert!(message.text.contains("10 minutes"), "{}", message.text);
        let mail = Mailed::of(message);
        assert_eq!(mail.code.len(), 8);

        // Opening the link changes nothing.
        for path in [CONFIRM.to_owned(), format!("{CONFIRM}?token={}", mail.token)] {
            assert_eq!(browser.get(&path).await.status, 405);
        }
        let answer = follow(&mut browser, &mail).await;
        check_result(&answer, "session");
        assert!(browser.device.is_some(), "its device is known from now on");
        assert_eq!(browser.get("/me").await.text, account.id().to_string());
        let now = probe.auth_now().to_string();
        let factors = browser.get("/auth/session").await.json()["factors"].clone();
        assert_eq!(factors, json!([{ "factor": "mailed_code", "passed_at": now }]));
        for kind in ["authn_mail_login_request", "authn_login_success"] {
            assert_eq!(events(&probe, kind).await, 1, "{kind}");
        }
        // For one minute, a second click in this browser gets the answer that the first one worked.
        probe.clock.advance(MINUTE - MOMENT);
        check(&follow(&mut browser, &mail).await, 409, "link_used");
        check(&enter(&mut browser, &mail.code).await, 409, "link_used");
        check(&follow(&mut browser.stranger(), &mail).await, 403, "wrong_code");
        assert_eq!(tries(&probe, "kind > 7 AND outcome = 1").await, 1, "only the stranger's");
        probe.clock.advance(MOMENT);
        check(&follow(&mut browser, &mail).await, 403, "wrong_code");
        check(&enter(&mut browser, &mail.code).await, 403, "wrong_code");
        assert_eq!(sessions(&probe).await, 1);
        assert_eq!(browser.get("/me").await.status, 200);
    }

    async fn a_mailed_code_signs_in_however_it_is_typed(probe: Probe) {
        let (account, mut browser) = person(&probe, "alice").await;
        let mail = ask(&probe, &mut browser, "alice").await;
        check(&enter(&mut browser, "").await, 403, "wrong_code");
        check(&enter(&mut browser, &mail.wrong()).await, 403, "wrong_code");
        let typed = format!(" {}-{}\n", &mail.code[..4], &mail.code[4..]);
        check_result(&enter(&mut browser, &typed).await, "session");
        assert_eq!(browser.get("/me").await.text, account.id().to_string());
        check(&follow(&mut browser, &mail).await, 409, "link_used");
        let both = json!({ "token": mail.token, "code": mail.code });
        for body in [json!({}), both, json!({ "code": mail.code, "login": "alice" })] {
            check(&browser.post(CONFIRM, body).await, 400, "invalid_body");
        }
    }

    async fn another_browser_gets_the_code_to_type_and_nothing_else(probe: Probe) {
        let (account, mut browser) = person(&probe, "alice").await;
        let mail = ask(&probe, &mut browser, "alice").await;
        let (_, mut bob) = person(&probe, "bob").await;
        ask(&probe, &mut bob, "bob").await;
        let mut forged = browser.stranger();
        forged.asking = Some(format!("{}x", browser.asking.as_deref().expect("a cookie")));
        for other in [browser.stranger(), bob.clone(), forged.clone()] {
            for _ in 0..7 {
                let answer = follow(&mut other.clone(), &mail).await;
                let shown = json!({ "result": "other_browser", "code": mail.code });
                assert_eq!((answer.status, answer.json()), (200, shown));
                assert!(answer.set_cookies().is_empty(), "{answer:?}");
            }
            // The code does not work there.
            check(&enter(&mut other.clone(), &mail.code).await, 403, "wrong_code");
        }
        assert_eq!((sessions(&probe).await, events(&probe, "authn_login_success").await), (0, 0));
        let counted = (tries(&probe, "kind = 8").await, tries(&probe, "kind = 9").await);
        assert_eq!(counted, (2, 0), "only the code in the browser of bob, for its name and account");
        // It works in the browser that asked.
        check_result(&enter(&mut browser, &mail.code).await, "session");
        assert_eq!(browser.get("/me").await.text, account.id().to_string());
        // A link that was used shows no code any more.
        check(&follow(&mut browser.stranger(), &mail).await, 403, "wrong_code");
    }

    /// A stranger asks for a mail of the victim, and the victim follows it.
    async fn who_asks_for_a_mail_of_somebody_else_gets_nothing(probe: Probe) {
        let (_, mut victim) = person(&probe, "alice").await;
        let mut mallory = victim.stranger();
        let own = ask(&probe, &mut victim, "alice").await;
        probe.clock.advance(MINUTE);
        let caused = ask(&probe, &mut mallory, "alice").await;
        check_result(&follow(&mut victim, &caused).await, "other_browser");
        for code in [&own.code, &caused.wrong()] {
            check(&enter(&mut mallory, code).await, 403, "wrong_code");
        }
        assert_eq!(mallory.get("/me").await.status, 401);
        // A request from another browser replaces no mail of the victim.
        check_result(&follow(&mut victim, &own).await, "session");
        // After this sign-in, the stranger's link and code are invalid.
        check(&enter(&mut mallory, &caused.code).await, 403, "wrong_code");
        check(&follow(&mut victim, &caused).await, 403, "wrong_code");
    }

    async fn the_answer_and_the_work_are_the_same_for_every_name(probe: Probe) {
        let browser = probe.browser().await;
        let accounts = probe.auth.accounts();
        let make = async |name: &str| probe.register_with_email(name, &format!("{name}@example.com")).await;
        for name in ["usual", "locked"] {
            accounts.verify(make(name).await.id()).await.expect("it is verified");
        }
        fail(&probe, &browser, "locked", 15).await;
        make("unverified").await;
        accounts.disable(make("disabled").await.id()).await.expect("it is disabled");
        accounts.delete(make("deleted").await.id()).await.expect("it is deleted");
        accounts.create(NewAccount::email("passwordless@example.com")).await.expect("it is made");
        probe.register("addressless").await;
        let mut seen = Vec::new();
        let long = format!("{}@example.com", "x".repeat(5000));
        for login in [
            "usual",
            "USUAL@example.com", // within the cool-down: held back
            "locked",
            "unverified@example.com",
            "disabled@example.com",
            "deleted",
            "passwordless@example.com",
            "addressless",
            "nobody",
            "nobody", // within the cool-down
            "nobody@example.com",
            "",
            " ",
            "a@b@c",
            "evil@example.com,usual@example.com",
            "usual@example.com\r\nBcc: evil@example.com",
            "+4915112345678",
            "\u{202e}",
            &long,
        ] {
            let mut browser = browser.stranger();
            let ask = browser.post(ASK, json!({ "login": login }));
            let (answer, statements) = probe.statements(ask).await;
            let wrong = browser.post(CONFIRM, json!({ "code": "00000000" }));
            let (wrong, of_wrong) = probe.statements(wrong).await;
            let looks = |answer: Answer| {
                let mut headers = answer.headers.clone();
                headers.remove("date");
                // Each browser has its own token. Its length does not depend on the name.
                headers.remove("set-cookie");
                let cookies = answer.set_cookies();
                let lengths: Vec<_> = cookies.iter().map(String::len).collect();
                (answer.status, answer.text, format!("{headers:?} {lengths:?}"))
            };
            seen.push((login, looks(answer), statements, looks(wrong), of_wrong));
        }
        assert_eq!((seen[0].1.0, seen[0].3.0), (202, 403));
        for (login, asked, statements, wrong, of_wrong) in &seen {
            assert_eq!(*asked, seen[0].1, "{login}");
            assert_eq!(*wrong, seen[0].3, "{login}");
            assert_eq!((*statements, *of_wrong), (seen[0].2, seen[0].4), "{login}");
        }
        let sent = probe.mail().await;
        let mut mailed: Vec<_> = sent
            .iter()
            .filter(|mail| mail.kind == MessageKind::MailLogin)
            .map(|mail| mail.to.as_str().to_owned())
            .collect();
        mailed.sort();
        let expected = ["locked", "passwordless", "unverified", "usual"];
        assert_eq!(mailed, expected.map(|name| format!("{name}@example.com")));
    }

    async fn no_answer_comes_before_all_the_work_is_done(probe: Probe) {
        let (alice, _) = person(&probe, "alice").await;
        let client = ClientInfo::default();
        let least = Duration::from_millis(25);
        for round in 0..20 {
            for name in ["alice", "nobody@example.com"] {
                let started = tokio::time::Instant::now();
                let asking = probe.auth.mail_login().ask(name, &client).await.expect("accepted");
                assert!(started.elapsed() >= least, "{name} {round}");
                if round > 2 {
                    continue;
                }
                let flow = probe.auth.mail_login().in_browser(asking.token());
                let started = tokio::time::Instant::now();
                let wrong = flow.confirm(Confirmation::code("1"), &client).await;
                assert!(matches!(wrong, Err(MailLoginError::WrongCode)), "{wrong:?}");
                assert!(started.elapsed() >= least, "code {name} {round}");
            }
        }
        let attempts = probe.auth.attempts();
        let until = attempts.refused_until(alice.id(), AttemptKind::MailLoginRequest).await;
        assert!(until.expect("it answers").is_some(), "some requests were refused");
    }

    async fn a_change_of_anything_it_is_bound_to_ends_a_mail(probe: Probe) {
        let accounts = probe.auth.accounts();
        let changes = [
            "nothing", "login", "password", "newer", "email", "disabled", "back", "factors",
            "sessions", "reset", "deleted", "time",
        ];
        for change in changes {
            let (account, mut browser) = person(&probe, change).await;
            let mut other = browser.stranger();
            assert_eq!(other.login(change, PASSWORD).await.status, 200);
            probe.clock.advance(Duration::from_secs(1));
            let mut mail = ask(&probe, &mut browser, change).await;
            let mut good = false;
            match change {
                "login" => assert_eq!(browser.stranger().login(change, PASSWORD).await.status, 200),
                "password" => {
                    let body = json!({ "current_password": PASSWORD, "new_password": NEW });
                    assert_eq!(other.put("/auth/password", body).await.status, 200);
                }
                "newer" => {
                    probe.clock.advance(MINUTE);
                    let newer = ask(&probe, &mut browser, change).await;
                    assert_ne!(newer.code, mail.code);
                    check(&follow(&mut browser, &mail).await, 403, "wrong_code");
                    check(&enter(&mut browser, &mail.code).await, 403, "wrong_code");
                    mail = newer;
                    good = true;
                }
                "email" => {
                    probe.execute("UPDATE auth_account SET email = 'e@example.com', version = version + 1 WHERE username = 'email'").await;
                }
                "disabled" => accounts.disable(account.id()).await.expect("it is disabled"),
                "back" => {
                    accounts.disable(account.id()).await.expect("it is disabled");
                    accounts.enable(account.id()).await.expect("it is enabled");
                }
                "factors" => accounts.set_enrolled_factors(account.id(), []).await.expect("it is set"),
                "sessions" => {
                    let ended = probe.auth.sessions().end_all(account.id(), None).await;
                    assert_eq!(ended.expect("they end"), 1);
                }
                "reset" => {
                    let body = json!({ "login": change });
                    other.post("/auth/password/forgot", body).await;
                    let link = probe.mail().await.pop().expect("a mail");
                    let token = link.value("link").and_then(|link| link.split_once("#token="));
                    let token = token.expect("a token").1;
                    // A link for another purpose is not accepted.
                    let body = json!({ "token": token });
                    check(&browser.post(CONFIRM, body).await, 403, "wrong_code");
                    let body = json!({ "token": mail.token, "password": NEW });
                    check(&other.post("/auth/password/reset", body).await, 400, "invalid_reset_token");
                    let body = json!({ "token": token, "password": NEW });
                    assert_eq!(other.post("/auth/password/reset", body).await.status, 204);
                }
                "deleted" => accounts.delete(account.id()).await.expect("it is deleted"),
                "time" => probe.clock.advance(10 * MINUTE),
                _ => {
                    probe.clock.advance(10 * MINUTE - MOMENT);
                    good = true;
                }
            }
            let elsewhere = follow(&mut browser.stranger(), &mail).await;
            let code = enter(&mut browser, &mail.code).await;
            if good {
                check_result(&elsewhere, "other_browser");
                check_result(&code, "session");
            } else {
                check(&elsewhere, 403, "wrong_code");
                check(&code, 403, "wrong_code");
                check(&follow(&mut browser, &mail).await, 403, "wrong_code");
            }
        }
    }

    async fn of_sixteen_confirmations_at_once_one_makes_a_session(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        let mail = ask(&probe, &mut browser, "alice").await;
        let mut racers = JoinSet::new();
        for number in 0..16 {
            let (mut browser, mail) = (browser.clone(), mail.clone());
            racers.spawn(async move {
                match number % 4 {
                    0 => enter(&mut browser, &mail.code).await,
                    _ => follow(&mut browser, &mail).await,
                }
            });
        }
        let answers = racers.join_all().await;
        // The attempts at one code wait for each other, and the later ones get the answer that it
        // worked.
        for answer in &answers {
            let told = (answer.status, answer.code());
            let fine = answer.status == 200 || told == (409, "link_used".to_owned());
            assert!(fine, "{answer:?}");
        }
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
        assert_eq!((sessions(&probe).await, events(&probe, "authn_login_success").await), (1, 1));
        assert_eq!(tries(&probe, "kind > 7 AND outcome = 1").await, 0, "nobody has guessed");
    }

    async fn a_link_that_was_used_while_it_was_looked_up_says_so(probe: Probe) {
        // Only here can a table be locked while another one is read.
        if probe.database.backend != Backend::Postgres {
            return;
        }
        for (name, used, expected) in [("alice", true, "link_used"), ("bob", false, "wrong_code")] {
            let (_, mut browser) = person(&probe, name).await;
            let mail = ask(&probe, &mut browser, name).await;
            let other = probe.db.begin().await.expect("a transaction");
            let run = async |text: &str| {
                other.execute_unprepared(text).await.expect("it runs");
            };
            run("LOCK TABLE auth_account IN ACCESS EXCLUSIVE MODE").await;
            let following = tokio::spawn({
                let (mut browser, mail) = (browser.clone(), mail.clone());
                async move { follow(&mut browser, &mail).await }
            });
            let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted \
                AND relation = 'auth_account'::regclass \
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            until("it has read the link", async || probe.number(waiting).await == 1).await;
            // The first of two clicks, which changes the account.
            let now = probe.auth_now().as_millis();
            if used {
                run(&format!("UPDATE auth_challenge SET used_at = {now} WHERE used_at IS NULL")).await;
            }
            run("UPDATE auth_account SET epoch = epoch + 1, version = version + 1").await;
            other.commit().await.expect("it commits");
            check(&following.await.expect("no panic"), if used { 409 } else { 403 }, expected);
        }
    }

    async fn wrong_codes_are_counted_over_all_mails_browsers_and_names(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        let mut mail = ask(&probe, &mut browser, "alice").await;
        for number in 0..5 {
            if number == 3 {
                // A new mail gives no new attempts, also in another browser.
                probe.clock.advance(MINUTE);
                browser = browser.stranger();
                mail = ask(&probe, &mut browser, "alice").await;
            }
            check(&enter(&mut browser, &mail.wrong()).await, 403, "wrong_code");
        }
        let locked = enter(&mut browser, &mail.code).await;
        check(&locked, 429, "too_many_attempts");
        assert!(locked.headers.contains_key("retry-after"));
        assert_eq!(events(&probe, "authn_login_lock").await, 1);
        probe.clock.advance(MINUTE);
        let mut other = browser.stranger();
        let newer = ask(&probe, &mut other, "alice").await;
        check(&enter(&mut other, &newer.code).await, 429, "too_many_attempts");
        // Under another name of the account no lock is visible, and the correct code is refused.
        probe.clock.advance(MINUTE);
        let mut silent = browser.stranger();
        let newest = ask(&probe, &mut silent, "alice@example.com").await;
        check(&enter(&mut silent, &newest.code).await, 403, "wrong_code");
        // Another account is not affected, and neither are links and passwords.
        let (_, mut bob) = person(&probe, "bob").await;
        let bobs = ask(&probe, &mut bob, "bob").await;
        check_result(&enter(&mut bob, &bobs.code).await, "session");
        assert_eq!(browser.stranger().login("bob", PASSWORD).await.status, 200);
        check_result(&follow(&mut silent, &newest).await, "session");
        // The browser is a known device, with its own count.
        probe.clock.advance(MINUTE);
        let mail = ask(&probe, &mut silent, "alice").await;
        check(&enter(&mut silent, &mail.wrong()).await, 403, "wrong_code");
        check_result(&enter(&mut silent, &mail.code).await, "session");
        // In other browsers, codes work again an hour after the first failure.
        probe.clock.advance(HOUR - 5 * MINUTE);
        let mut late = browser.stranger();
        let mail = ask(&probe, &mut late, "alice").await;
        check(&enter(&mut late, &mail.code).await, 429, "too_many_attempts");
        probe.clock.advance(2 * MINUTE);
        check_result(&enter(&mut late, &mail.code).await, "session");
    }

    async fn parallel_wrong_codes_are_compared_no_more_often_than_allowed(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        let mail = ask(&probe, &mut browser, "alice").await;
        let mut racers = JoinSet::new();
        for _ in 0..16 {
            let (mut browser, wrong) = (browser.clone(), mail.wrong());
            racers.spawn(async move { enter(&mut browser, &wrong).await.status });
        }
        let statuses = racers.join_all().await;
        let count = |status| statuses.iter().filter(|one| **one == status).count();
        assert_eq!((count(403), count(429)), (5, 11), "{statuses:?}");
        check(&enter(&mut browser, &mail.code).await, 429, "too_many_attempts");
        check_result(&follow(&mut browser, &mail).await, "session");
    }

    async fn a_source_of_wrong_links_is_refused_and_the_link_works_from_another(probe: Probe) {
        let probe = probe.configured(|config| config.attempts.source_limit = Some(3));
        person(&probe, "alice").await;
        let (guesser, owner) = (from("192.0.2.1"), from("198.51.100.1"));
        for guesses in [2, 3] {
            let asking = probe.auth.mail_login().ask("alice", &owner).await.expect("it is accepted");
            let mail = Mailed::of(probe.mail().await.last().expect("a mail"));
            let flow = probe.auth.mail_login().in_browser(asking.token());
            let confirm = async |token: &str, client: &ClientInfo| {
                match flow.confirm(Confirmation::token(token), client).await {
                    Ok(Confirmed::SignedIn(_)) => "signed in",
                    Ok(_) => "other browser",
                    Err(error) => error.code(),
                }
            };
            for number in 0..guesses {
                let wrong = format!("{number}{}", "A".repeat(42));
                assert_eq!(confirm(&wrong, &guesser).await, "wrong_code", "{number}");
            }
            // Two wrong ones are allowed. The third one uses up the limit of this source.
            let expected = if guesses < 3 { "signed in" } else { "wrong_code" };
            assert_eq!(confirm(&mail.token, &guesser).await, expected);
            if guesses == 3 {
                assert_eq!(confirm(&mail.token, &owner).await, "signed in");
            }
            probe.clock.advance(HOUR);
        }
        assert_eq!(sessions(&probe).await, 2);
    }

    async fn requests_are_counted_and_a_sign_in_closes_their_window(probe: Probe) {
        let probe = probe.configured(|config| {
            locking_at(config, 3);
            config.mail.per_hour = 100;
        });
        let (_, browser) = person(&probe, "alice").await;
        let mut browsers = [browser.stranger(), browser.stranger(), browser.stranger()];
        let mut mails = Vec::new();
        for browser in &mut browsers {
            probe.clock.advance(MINUTE);
            mails.push(ask(&probe, browser, "alice").await);
        }
        probe.clock.advance(MINUTE);
        // The fourth request is silently refused, and replaces no mail.
        let [first, _, third] = &mut browsers;
        assert!(try_to_ask(&probe, third, "alice").await.is_none());
        assert!(try_to_ask(&probe, first, "alice").await.is_none());
        check_result(&enter(third, &mails[2].code).await, "session");
        probe.clock.advance(MINUTE);
        ask(&probe, &mut browser.stranger(), "alice").await;
        // The owner's device has its own count of requests, and of mails.
        for _ in 0..3 {
            probe.clock.advance(MINUTE);
            try_to_ask(&probe, &mut browser.stranger(), "alice").await;
        }
        assert!(try_to_ask(&probe, &mut browser.stranger(), "alice").await.is_none());
        ask(&probe, third, "alice").await;
    }

    async fn a_request_that_is_held_back_leaves_the_mail_before_it_good(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        let mail = ask(&probe, &mut browser, "alice").await;
        let first = browser.asking.clone();
        assert!(try_to_ask(&probe, &mut browser, "alice").await.is_none(), "too soon");
        assert_ne!(browser.asking, None);
        check_result(&enter(&mut browser, &mail.code).await, "session");
        // A browser that asks for two accounts has both links, and the code of the last one.
        let (_, mut other) = person(&probe, "bob").await;
        other.asking = first;
        let bobs = ask(&probe, &mut other, "bob").await;
        let (carol, _) = person(&probe, "carol").await;
        let carols = ask(&probe, &mut other, "carol").await;
        check(&enter(&mut other, &bobs.code).await, 403, "wrong_code");
        check_result(&enter(&mut other, &carols.code).await, "session");
        assert_eq!(other.get("/me").await.text, carol.id().to_string());
        check_result(&follow(&mut other, &bobs).await, "session");
        assert_ne!(other.get("/me").await.text, carol.id().to_string());
    }

    async fn a_second_factor_is_asked_for_and_a_second_mailed_code_is_none(probe: Probe) {
        let (account, _) = person(&probe, "alice").await;
        let accounts = probe.auth.accounts();
        let both = [Factor::Totp, Factor::MailedCode];
        let mut browser = browser_of(&probe.auth).await;
        let finish = async |browser: &mut Browser, factor: &str| {
            let request = browser.request(Method::POST, "/own-factor").header("factor", factor);
            browser.send(request).await
        };
        for (enrolled, finishes) in [(&both[..], true), (&both[1..], false)] {
            accounts.set_enrolled_factors(account.id(), enrolled.iter().copied()).await.expect("set");
            probe.clock.advance(MINUTE);
            let mail = ask(&probe, &mut browser, "alice").await;
            check_result(&follow(&mut browser, &mail).await, "second_factor_required");
            assert_eq!(browser.get("/me").await.code(), "second_factor_required");
            check(&finish(&mut browser, "mailed_code").await, 409, "factor_used_already");
            if finishes {
                assert_eq!(finish(&mut browser, "totp").await.status, 200);
                assert_eq!(browser.get("/me").await.text, account.id().to_string());
                let factors = browser.get("/auth/session").await.json()["factors"].clone();
                let names: Vec<_> = factors.as_array().expect("a list").iter().collect();
                assert_eq!((&names[0]["factor"], &names[1]["factor"]), (&json!("mailed_code"), &json!("totp")));
            } else {
                check(&finish(&mut browser, "totp").await, 409, "factor_not_enrolled");
            }
            browser.cookie = None;
        }
    }

    async fn a_mailed_code_meets_no_requirement_of_a_password(probe: Probe) {
        person(&probe, "alice").await;
        let mut browser = browser_of(&probe.auth).await;
        let mail = ask(&probe, &mut browser, "alice").await;
        check_result(&follow(&mut browser, &mail).await, "session");
        assert_eq!(browser.post_empty("/password").await.code(), "insufficient_user_authentication");
        assert_eq!(browser.post_empty("/mailed").await.text, "met");
        let body = json!({ "password": PASSWORD });
        assert_eq!(browser.post("/auth/reauthenticate", body).await.status, 200);
        assert_eq!(browser.post_empty("/password").await.text, "met");
    }

    async fn a_required_new_password_is_asked_for(probe: Probe) {
        let (account, mut browser) = person(&probe, "alice").await;
        probe.auth.accounts().require_password_change(account.id()).await.expect("it is required");
        let mail = ask(&probe, &mut browser, "alice").await;
        check_result(&follow(&mut browser, &mail).await, "password_change_required");
        assert_eq!(browser.get("/me").await.status, 401);
        assert_eq!(browser.put("/auth/password", json!({ "new_password": NEW })).await.status, 200);
        assert_eq!(browser.get("/me").await.text, account.id().to_string());
    }

    /// Classic pre-hijacking: an attacker registers with another person's address and waits.
    async fn who_signs_in_by_mail_first_owns_an_unproved_account_alone(probe: Probe) {
        let account = probe.register_with_email("alice", "alice@example.com").await;
        let mut victim = probe.browser().await;
        let mut attacker = victim.stranger();
        // Everything that an attacker can leave in the account.
        let trojan = FurtherName::email("mallory@example.com").verified();
        probe.auth.accounts().add_name(account.id(), trojan).await.expect("it is added");
        assert_eq!(attacker.login("alice", PASSWORD).await.status, 200);
        probe.execute("UPDATE auth_account SET enrolled_factors = 8, version = version + 1").await;
        assert_eq!(attacker.get("/me").await.status, 200);
        let body = json!({ "email": "alice@example.com" });
        assert_eq!(attacker.post("/auth/verification", body).await.status, 202);
        let verification = probe.mail().await.pop().expect("a mail");
        probe.clock.advance(Duration::from_secs(1));
        let theirs = ask(&probe, &mut attacker, "alice").await;
        probe.clock.advance(MINUTE);

        let mail = ask(&probe, &mut victim, "alice@example.com").await;
        check_result(&follow(&mut victim, &theirs).await, "other_browser");
        check_result(&follow(&mut victim, &mail).await, "password_change_required");
        check(&attacker.get("/me").await, 401, "session_ended");
        assert_eq!(attacker.stranger().login("alice", PASSWORD).await.status, 401);
        assert_eq!(victim.put("/auth/password", json!({ "new_password": NEW })).await.status, 200);
        assert_eq!(victim.get("/me").await.text, account.id().to_string());
        let now = probe.auth.accounts().find(account.id()).await.expect("it answers").expect("there");
        assert!(now.is_verified() && now.enrolled_factors().is_empty());
        let names = "SELECT COUNT(*) FROM auth_login_name";
        assert_eq!(probe.number(names).await, 2, "the username and the address");
        let handed = "SELECT COUNT(*) FROM auth_event WHERE kind = 'user_verified' AND detail = 'handed over'";
        assert_eq!(probe.number(handed).await, 1);
        // Nothing that was sent before gives access.
        for code in [&theirs.code, &mail.code] {
            check(&enter(&mut attacker, code).await, 403, "wrong_code");
        }
        let link = verification.value("link").and_then(|link| link.split_once("#token="));
        let body = json!({ "token": link.expect("a token").1, "password": PASSWORD });
        let answer = attacker.post("/auth/verification/confirm", body).await;
        assert_ne!(answer.status, 200, "{}", answer.text);
        assert_eq!(attacker.login("alice", PASSWORD).await.status, 401);
        assert_eq!(victim.stranger().login("alice", NEW).await.status, 200);
        // From now on the address is proved, and a sign-in by mail removes nothing.
        probe.clock.advance(MINUTE);
        let mut again = victim.stranger();
        let mail = ask(&probe, &mut again, "alice").await;
        check_result(&follow(&mut again, &mail).await, "session");
    }

    async fn everything_stays_if_the_address_was_proved(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        probe.clock.advance(Duration::from_secs(1));
        let mail = ask(&probe, &mut browser, "alice").await;
        check_result(&follow(&mut browser, &mail).await, "session");
        assert_eq!(other.get("/me").await.status, 200);
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
        // If accounts must be verified, a sign-in by mail verifies the address too.
        let probe = probe.configured(|config| config.login.require_verified = true);
        let bob = probe.register_with_email("bob", "bob@example.com").await;
        let mut browser = probe.browser().await;
        let mail = ask(&probe, &mut browser, "bob").await;
        check_result(&follow(&mut browser, &mail).await, "password_change_required");
        assert_eq!(browser.put("/auth/password", json!({ "new_password": NEW })).await.status, 200);
        assert_eq!(browser.get("/me").await.text, bob.id().to_string());
    }

    async fn of_many_who_take_over_an_unproved_account_at_once_one_does(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        let mut browser = probe.browser().await;
        let mail = ask(&probe, &mut browser, "alice").await;
        let mut racers = JoinSet::new();
        for _ in 0..16 {
            let (mut browser, mail) = (browser.clone(), mail.clone());
            racers.spawn(async move { follow(&mut browser, &mail).await.status });
        }
        let statuses = racers.join_all().await;
        let count = |status| statuses.iter().filter(|one| **one == status).count();
        assert_eq!((count(200), count(409)), (1, 15), "{statuses:?}");
        assert_eq!(sessions(&probe).await, 1);
    }

    async fn a_lock_of_passwords_stops_no_sign_in_by_mail(probe: Probe) {
        let (account, mut owner) = person(&probe, "alice").await;
        let stranger = owner.stranger();
        fail(&probe, &stranger, "alice", 15).await;
        assert!(is_refused(&probe, &stranger, "alice").await);
        let mail = ask(&probe, &mut owner, "alice").await;
        check_result(&enter(&mut owner, &mail.code).await, "session");
        assert_eq!(owner.get("/me").await.text, account.id().to_string());
        // The browser is known now, so the password works there. Strangers stay locked out.
        assert_eq!(owner.login("alice", PASSWORD).await.status, 200);
        assert!(is_refused(&probe, &stranger, "alice").await);
    }

    async fn a_further_address_gets_the_mail_as_long_as_it_is_proved_and_there(probe: Probe) {
        let (account, mut browser) = person(&probe, "alice").await;
        let accounts = probe.auth.accounts();
        for (name, proved) in [("work@example.com", true), ("old@example.com", false)] {
            let name = FurtherName::email(name);
            let name = if proved { name.verified() } else { name };
            accounts.add_name(account.id(), name).await.expect("it is added");
        }
        let to = async |browser: &mut Browser, login: &str| {
            probe.clock.advance(MINUTE);
            let mail = ask(&probe, browser, login).await;
            let sent = probe.mail().await;
            let last = sent.iter().rfind(|mail| mail.kind == MessageKind::MailLogin);
            (last.expect("a mail").to.as_str().to_owned(), mail)
        };
        let (address, mail) = to(&mut browser, "Work@example.com").await;
        assert_eq!(address, "work@example.com");
        check_result(&follow(&mut browser, &mail).await, "session");
        for login in ["alice", "alice@example.com", "old@example.com"] {
            assert_eq!(to(&mut browser.stranger(), login).await.0, "alice@example.com", "{login}");
        }
        let mut other = browser.stranger();
        let (_, mail) = to(&mut other, "work@example.com").await;
        // A mail to a further address is no recent proof, as a person who knows the password can add one.
        let refused = browser.delete("/auth/login-names/work%40example.com").await;
        check(&refused, 401, "insufficient_user_authentication");
        let password = json!({ "password": PASSWORD });
        assert_eq!(browser.post("/auth/reauthenticate", password).await.status, 200);
        let removed = browser.delete("/auth/login-names/work%40example.com").await;
        assert_eq!(removed.status, 200, "{}", removed.text);
        check(&follow(&mut other, &mail).await, 403, "wrong_code");
        check(&enter(&mut other, &mail.code).await, 403, "wrong_code");
    }

    async fn a_name_that_does_not_sign_in_gets_no_mail(probe: Probe) {
        person(&probe, "alice").await;
        for (ids, name, other) in [
            (LoginIds::Username, "alice", "alice@example.com"),
            (LoginIds::Email, "alice@example.com", "alice"),
        ] {
            let auth = probe.rebuilt(|builder| builder.configure(|config| config.login.id = ids));
            let mut browser = Browser::new(serve(app(&auth)).await);
            probe.clock.advance(MINUTE);
            assert!(try_to_ask(&probe, &mut browser, other).await.is_none(), "{other}");
            assert!(try_to_ask(&probe, &mut browser, name).await.is_some(), "{name}");
        }
    }

    async fn a_client_without_cookies_is_bound_by_a_token(probe: Probe) {
        let off = probe.browser().await;
        for path in [ASK, CONFIRM] {
            let body = json!({ "login": "alice", "transport": "bearer" });
            let body = if path == ASK { body } else { json!({ "code": "1", "transport": "bearer" }) };
            check(&off.clone().post(path, body).await, 400, "bearer_not_enabled");
        }
        let probe = probe.configured(|config| config.service.bearer = true);
        let (account, browser) = person(&probe, "alice").await;
        let send = async |path: &str, body: Value| send(browser.raw(Method::POST, path).json(&body)).await;
        let answer = send(ASK, json!({ "login": "alice", "transport": "bearer" })).await;
        assert_eq!((answer.status, answer.set_cookies().len()), (202, 0));
        let token = answer.json()["browser_token"].as_str().expect("a token").to_owned();
        let mail = Mailed::of(&probe.mail().await.pop().expect("a mail"));
        for other in [Value::Null, json!("x"), json!(format!("{token}x")), json!(mail.token)] {
            let body = json!({ "code": mail.code, "transport": "bearer", "browser_token": other });
            check(&send(CONFIRM, body).await, 403, "wrong_code");
            let body = json!({ "token": mail.token, "transport": "bearer", "browser_token": other });
            check_result(&send(CONFIRM, body).await, "other_browser");
        }
        let body = json!({ "token": mail.token, "transport": "bearer", "browser_token": token });
        let answer = send(CONFIRM, body.clone()).await;
        check_result(&answer, "session");
        assert!(answer.set_cookies().is_empty() && answer.json()["device_token"].is_string());
        let bearer = answer.json()["token"].as_str().expect("a token").to_owned();
        let me = browser.raw(Method::GET, "/me").bearer_auth(&bearer).send().await.expect("an answer");
        assert_eq!(me.text().await.expect("text"), account.id().to_string());
        check(&send(CONFIRM, body).await, 409, "link_used");
        // The token of a browser is not accepted as the token of a session, and the other way
        // round.
        let me = browser.raw(Method::GET, "/me").bearer_auth(&token).send().await.expect("an answer");
        assert_eq!(me.status(), 401);
        check(&browser.with_cookie(&token).get("/me").await, 401, "invalid_token");
        let mut swapped = browser.stranger();
        swapped.asking = Some(bearer);
        check(&enter(&mut swapped, &mail.code).await, 403, "wrong_code");
    }

    async fn of_the_cookies_of_a_browser_the_one_that_counts_is_used(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        let mail = ask(&probe, &mut browser, "alice").await;
        let cookie = browser.asking.clone().expect("a cookie");
        let mut other = browser.stranger();
        assert!(try_to_ask(&probe, &mut other, "nobody@example.com").await.is_none());
        let twin = other.asking.clone().expect("a cookie");
        let with = async |cookies: String| {
            let request = browser.raw(Method::POST, CONFIRM).header("sec-fetch-site", "same-origin");
            let request = request.header("cookie", cookies).json(&json!({ "code": mail.code }));
            send(request).await
        };
        for cookies in [
            format!("{ASKING}={cookie}; {ASKING}={twin}"),
            format!("{ASKING}=; {ASKING}=evil"),
            format!("__host-session-mail={cookie}"),
            format!("session-mail={cookie}"),
            format!("{}{ASKING}={cookie}", format!("{ASKING}=x; ").repeat(8)),
        ] {
            check(&with(cookies).await, 403, "wrong_code");
        }
        check_result(&with(format!("{ASKING}=evil; {ASKING}={cookie}")).await, "session");
        // An expired cookie does not count.
        probe.clock.advance(11 * MINUTE);
        let mail = ask(&probe, &mut browser.clone(), "alice").await;
        check(&enter(&mut browser, &mail.code).await, 403, "wrong_code");
        check_result(&follow(&mut browser, &mail).await, "other_browser");
    }

    async fn a_session_is_remembered_and_replaced_as_at_a_sign_in(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        assert_eq!(browser.post_empty("/auth/session/anonymous").await.status, 201);
        let lineage = browser.get("/anonymous").await.text;
        let mail = ask(&probe, &mut browser, "alice").await;
        let body = json!({ "code": mail.code, "remember": false });
        let answer = browser.post(CONFIRM, body).await;
        check_result(&answer, "session");
        let cookies = answer.set_cookies();
        assert!(cookies.len() == 1 && !cookies[0].contains("Max-Age"), "{cookies:?}");
        assert_eq!(browser.get("/lineage").await.text, lineage, "the visitor goes on");
        assert_eq!(sessions(&probe).await, 1);
        // Another account ends the session before.
        let before = browser.clone();
        let (bob, _) = person(&probe, "bob").await;
        let mail = ask(&probe, &mut browser, "bob").await;
        check_result(&follow(&mut browser, &mail).await, "session");
        assert_eq!(browser.get("/me").await.text, bob.id().to_string());
        assert_ne!(browser.get("/lineage").await.text, lineage);
        check(&before.clone().get("/me").await, 401, "session_ended");
    }

    async fn a_new_device_is_told_of_and_a_known_one_is_not(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        assert_eq!(browser.stranger().login("alice", PASSWORD).await.status, 200);
        let told = async || {
            let sent = probe.mail().await;
            sent.iter().filter(|mail| mail.kind == MessageKind::NewDevice).count()
        };
        let before = told().await;
        probe.clock.advance(HOUR);
        let request = browser.request(Method::POST, ASK).header("user-agent", "Mozilla/5.0 Firefox/1");
        browser.send(request.json(&json!({ "login": "alice" }))).await;
        let mail = Mailed::of(&probe.mail().await.pop().expect("a mail"));
        let request = browser.request(Method::POST, CONFIRM).header("user-agent", "Mozilla/5.0 Firefox/1");
        check_result(&browser.send(request.json(&json!({ "code": mail.code }))).await, "session");
        assert_eq!(events(&probe, "authn_new_device").await, 1);
        assert_eq!(told().await, before + 1);
        probe.clock.advance(HOUR);
        let mail = ask(&probe, &mut browser, "alice").await;
        check_result(&follow(&mut browser, &mail).await, "session");
        assert_eq!(events(&probe, "authn_new_device").await, 1);
    }

    async fn a_hook_that_refuses_leaves_the_mail_good(probe: Probe) {
        let nights = Nights::default();
        let auth = probe.rebuilt(|builder| builder.hooks(nights.clone()));
        let (_, browser) = person(&probe, "alice").await;
        let mut browser = browser.at(serve(app(&auth)).await);
        let mail = ask(&probe, &mut browser, "alice").await;
        nights.0.store(true, Ordering::SeqCst);
        for _ in 0..7 {
            check(&enter(&mut browser, &mail.code).await, 403, "closed");
        }
        assert_eq!((sessions(&probe).await, events(&probe, "authn_login_fail").await), (0, 7));
        nights.0.store(false, Ordering::SeqCst);
        check_result(&enter(&mut browser, &mail.code).await, "session");
    }

    async fn the_limit_of_sessions_holds(probe: Probe) {
        let probe = probe.configured(|config| {
            config.session.max_per_account = Some(1);
            config.session.at_limit = portcullis::config::AtLimit::Refuse;
        });
        let (_, mut browser) = person(&probe, "alice").await;
        let mut other = browser.stranger();
        assert_eq!(other.login("alice", PASSWORD).await.status, 200);
        probe.clock.advance(Duration::from_secs(1));
        let mail = ask(&probe, &mut browser, "alice").await;
        check(&follow(&mut browser, &mail).await, 409, "session_limit");
        assert_eq!(other.post_empty("/auth/logout").await.status, 204);
        check_result(&follow(&mut browser, &mail).await, "session");
    }

    async fn a_form_without_a_script_is_answered_by_redirects(probe: Probe) {
        let probe = probe.configured(|config| {
            config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
        });
        let (_, mut browser) = person(&probe, "alice").await;
        let post = async |browser: &mut Browser, path: &str, fields: &[(&str, &str)]| {
            let request = browser.request(Method::POST, path).header("accept", "text/html");
            browser.send(request.form(fields)).await
        };
        let leads_to = |answer: &Answer, page: &str| {
            let location = answer.headers["location"].to_str().expect("ASCII").to_owned();
            assert_eq!((answer.status, location.as_str()), (303, page), "{}", answer.text);
            assert_eq!(answer.text, "");
        };
        let answer = post(&mut browser, ASK, &[("login", "alice"), ("next", "/docs/1")]).await;
        leads_to(&answer, "/login?result=mail_sent&next=/docs/1");
        assert!(browser.asking.is_some());
        let mail = Mailed::of(&probe.mail().await.pop().expect("a mail"));
        let wrong = [("code", "1"), ("next", "/docs/1")];
        leads_to(&post(&mut browser, CONFIRM, &wrong).await, "/login?error=wrong_code&next=/docs/1");
        let answer = post(&mut browser.stranger(), CONFIRM, &[("token", &mail.token)]).await;
        leads_to(&answer, "/login?result=other_browser");
        assert!(!format!("{answer:?}").contains(&mail.code), "an address ends up in logs");
        let answer = post(&mut browser, CONFIRM, &[("code", &mail.code), ("next", "/docs/1")]).await;
        leads_to(&answer, "/docs/1");
        assert_eq!(browser.get("/me").await.status, 200);
        // A form needs proof that a page of this service sent it, and JSON needs its type.
        let form = |path: &str| browser.raw(Method::POST, path).form(&[("login", "alice")]);
        for request in [form(ASK), form(CONFIRM), browser.raw(Method::POST, ASK).body("{}")] {
            assert_eq!(send(request).await.status, 415);
        }
        let foreign = browser.raw(Method::POST, ASK).header("sec-fetch-site", "cross-site");
        let foreign = send(foreign.json(&json!({ "login": "alice" }))).await;
        check(&foreign, 403, "cross_site_request");
    }

    async fn own_handlers_sign_in_by_mail_too(probe: Probe) {
        let (account, _) = person(&probe, "alice").await;
        let mut browser = browser_of(&probe.auth).await;
        let request = browser.request(Method::POST, "/own-ask").header("who", "alice");
        assert_eq!(browser.send(request).await.status, 202);
        let mail = Mailed::of(&probe.mail().await.pop().expect("a mail"));
        for (code, status) in [(mail.wrong(), 403), (mail.code.clone(), 200)] {
            let request = browser.request(Method::POST, "/own-confirm").header("code", code);
            assert_eq!(browser.send(request).await.status, status);
        }
        assert_eq!(browser.get("/me").await.text, account.id().to_string());
    }

    async fn it_is_off_unless_it_is_mounted(probe: Probe) {
        let plain = probe.rebuilt(|builder| builder);
        let app = |auth: &Portcullis, router: axum::Router| {
            axum::Router::new().nest("/auth", router).layer(auth.layer())
        };
        let mut browser = Browser::new(serve(app(&plain, plain.routes())).await);
        assert_eq!(browser.post(ASK, json!({ "login": "alice" })).await.status, 404);
        assert_eq!(browser.get("/auth/methods").await.json()["methods"], json!(["password"]));
        let with = probe.rebuilt(|builder| builder);
        let routes = with.routes().merge(portcullis::mail_login::routes(&with));
        let mut browser = Browser::new(serve(app(&with, routes)).await);
        let methods = browser.get("/auth/methods").await.json();
        assert_eq!((&methods["methods"], &methods["count"]), (&json!(["password", "mail"]), &json!(2)));
        assert_eq!(browser.post(ASK, json!({ "login": "alice" })).await.status, 202);
    }

    async fn neither_the_table_nor_the_cookie_opens_anything(probe: Probe) {
        let (account, mut browser) = person(&probe, "alice").await;
        let mail = ask(&probe, &mut browser, "alice").await;
        let values = probe.hex_dump("auth_challenge").await;
        for secret in [&mail.token, &mail.code, browser.asking.as_ref().expect("a cookie")] {
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(!values.iter().any(|value| value.contains(&hex)));
        }
        // Nothing in the row is accepted as a token of the browser.
        let targets: Vec<_> = values.iter().filter_map(|value| {
            let bytes: Vec<u8> = (0..value.len() / 2)
                .filter_map(|at| u8::from_str_radix(&value[2 * at..2 * at + 2], 16).ok())
                .collect();
            String::from_utf8(bytes).ok().filter(|text| text.len() > 20)
        }).collect();
        assert!(!targets.is_empty());
        for text in targets {
            let body = json!({ "code": mail.code, "browser_token": text });
            check(&browser.stranger().post(CONFIRM, body).await, 403, "wrong_code");
        }
        // The cookie says nothing about the account.
        let cookie = browser.asking.clone().expect("a cookie");
        let payload = cookie.split('.').nth(1).expect("a payload");
        let payload = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).expect("base64url");
        let payload: Value = serde_json::from_slice(&payload).expect("JSON");
        let mut members: Vec<_> = payload.as_object().expect("an object").keys().collect();
        members.sort();
        assert_eq!(members, ["ask", "aud", "exp", "iss"]);
        let text = payload.to_string();
        assert!(!text.contains("alice") && !text.contains(&account.id().to_string()), "{text}");
    }

    async fn a_mail_survives_a_new_secret(probe: Probe) {
        let (_, mut browser) = person(&probe, "alice").await;
        let mail = ask(&probe, &mut browser, "alice").await;
        let old = probe.secret.clone();
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| {
                config.keys.secrets = vec![portcullis::Secret::generate(), old];
            })
        });
        let mut browser = browser.at(serve(app(&auth)).await);
        let answer = follow(&mut browser.stranger(), &mail).await;
        assert_eq!(answer.json(), json!({ "result": "other_browser", "code": mail.code }));
        check_result(&enter(&mut browser, &mail.code).await, "session");
    }
}
