//! Kinds of attempts: each kind is recorded and has its own limits. A lock of one kind stops no
//! other kind.

use std::time::Duration;

use portcullis::attempt::Purge;
use portcullis::config::{AttemptKind, AttemptOverrides};
use portcullis::message::MessageKind;
use serde_json::json;

use crate::attempt::{SECOND, WRONG, fail, is_refused, login, tries};
use crate::challenge::{bank, wrong};
use crate::on_every_database;
use crate::support::probe::serve;
use crate::support::{Browser, PASSWORD, Probe};

/// The kind of attempts that strangers have used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Locked {
    SignIn,
    Forgot,
    /// Codes that verify the address of the account.
    Proof,
    /// Codes that verify a new address.
    Change,
    /// Codes for a purpose of the application.
    Transfer,
}

/// What the legitimate user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Login,
    Reauthenticate,
    ChangePassword,
    Forgot,
    Reset,
    Answer,
    ProveByCode,
    ProveByLink,
    ProveWithPassword,
    ConfirmByCode,
    ConfirmByLink,
}

const PATHS: [Path; 11] = [
    Path::Login,
    Path::Reauthenticate,
    Path::ChangePassword,
    Path::Forgot,
    Path::Reset,
    Path::Answer,
    Path::ProveByCode,
    Path::ProveByLink,
    Path::ProveWithPassword,
    Path::ConfirmByCode,
    Path::ConfirmByLink,
];

/// An account with a pending request of every kind, on a browser that is not a known device.
struct Person {
    name: String,
    browser: Browser,
    /// The text of the reset mail. `proof` and `change` contain the texts of the other mails.
    reset: String,
    proof: String,
    change: String,
    /// The id and the code of the challenge.
    transfer: (String, String),
}

impl Person {
    async fn prepare(probe: &Probe, name: &str) -> Self {
        let mut browser = Browser::new(serve(bank(&probe.auth)).await);
        let address = format!("{name}@example.com");
        let body = json!({ "username": name, "email": address, "password": PASSWORD });
        assert_eq!(browser.post("/auth/register", body).await.status, 201);
        browser.device = None;
        let body = json!({ "password": PASSWORD });
        assert_eq!(browser.post("/auth/reauthenticate", body).await.status, 200);
        browser.device = None;
        let body = json!({ "email": format!("new-{address}") });
        assert_eq!(browser.post("/auth/email", body).await.status, 202);
        let body = json!({ "login": name });
        assert_eq!(browser.post("/auth/password/forgot", body).await.status, 202);
        let answer = browser.post("/start", json!({})).await.json();
        let text = |field: &str| answer[field].as_str().expect("a text").to_owned();
        let mut person = Self {
            name: name.to_owned(),
            browser,
            reset: String::new(),
            proof: String::new(),
            change: String::new(),
            transfer: (text("id"), text("code")),
        };
        person.reset = person.sent(probe, MessageKind::PasswordReset).await;
        person.proof = person.sent(probe, MessageKind::VerifyAddress).await;
        person.change = person.sent(probe, MessageKind::EmailChangeConfirm).await;
        person
    }

    /// Returns the text of the last message of this kind.
    async fn sent(&self, probe: &Probe, kind: MessageKind) -> String {
        let mut sent = probe.mail().await;
        sent.retain(|message| message.kind == kind && message.to.as_str().contains(&self.name));
        sent.pop().expect("a message").text
    }

    async fn lock(&mut self, what: Locked) {
        for _ in 0..6 {
            match what {
                Locked::SignIn => {
                    self.browser.stranger().login(&self.name, WRONG).await;
                }
                Locked::Forgot => {
                    let body = json!({ "login": self.name });
                    let mut stranger = self.browser.stranger();
                    assert_eq!(stranger.post("/auth/password/forgot", body).await.status, 202);
                }
                codes => {
                    self.wrong_code(codes).await;
                }
            }
        }
    }

    async fn wrong_code(&mut self, what: Locked) -> u16 {
        let (path, body) = match what {
            Locked::Proof => {
                let code = wrong(&code_of(&self.proof));
                let body = json!({ "email": format!("{}@example.com", self.name), "code": code });
                ("/auth/verification/confirm", body)
            }
            Locked::Change => {
                ("/auth/email/confirm", json!({ "code": wrong(&code_of(&self.change)) }))
            }
            Locked::Transfer => {
                ("/answer", json!({ "id": self.transfer.0, "code": wrong(&self.transfer.1) }))
            }
            other => panic!("{other:?} has no code"),
        };
        self.browser.post(path, body).await.status
    }

    /// Follows this path and returns the result.
    async fn walk(&mut self, probe: &Probe, path: Path) -> String {
        let name = self.name.clone();
        let browser = &mut self.browser;
        let mails = probe.mail().await.len();
        let answer = match path {
            Path::Login => browser.stranger().login(&name, PASSWORD).await,
            Path::Reauthenticate => {
                browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await
            }
            Path::ChangePassword => {
                let new = "another long password";
                let body = json!({ "current_password": PASSWORD, "new_password": new });
                browser.put("/auth/password", body).await
            }
            Path::Forgot => {
                // The message limit of a mailbox is not tested here.
                probe.execute("DELETE FROM auth_outbox_limit").await;
                let answer = browser.post("/auth/password/forgot", json!({ "login": name })).await;
                if answer.status == 202 && probe.mail().await.len() == mails {
                    return "nothing is sent".to_owned();
                }
                answer
            }
            Path::Reset => {
                let token = token_of(&self.reset);
                let body = json!({ "token": token, "password": "another long password" });
                browser.stranger().post("/auth/password/reset", body).await
            }
            Path::Answer => {
                browser
                    .post("/answer", json!({ "id": self.transfer.0, "code": self.transfer.1 }))
                    .await
            }
            Path::ProveByCode => {
                let body = json!({ "code": code_of(&self.proof) });
                browser.post("/auth/verification/confirm", body).await
            }
            Path::ProveByLink => {
                let body = json!({ "token": token_of(&self.proof) });
                browser.post("/auth/verification/confirm", body).await
            }
            Path::ProveWithPassword => {
                let body = json!({ "token": token_of(&self.proof), "password": PASSWORD });
                browser.stranger().post("/auth/verification/confirm", body).await
            }
            Path::ConfirmByCode => {
                let body = json!({ "code": code_of(&self.change) });
                browser.post("/auth/email/confirm", body).await
            }
            Path::ConfirmByLink => {
                let body = json!({ "token": token_of(&self.change) });
                browser.post("/auth/email/confirm", body).await
            }
        };
        match answer.status {
            200..300 => "it works".to_owned(),
            status => format!("{status} {}", answer.code()),
        }
    }
}

/// Returns the token of the link in a message.
fn token_of(text: &str) -> String {
    let (_, rest) = text.split_once("#token=").expect("a link");
    rest.split_whitespace().next().expect("a token").to_owned()
}

/// Returns the code in a message.
fn code_of(text: &str) -> String {
    let (_, rest) = text.split_once("code is: ").expect("a code");
    rest.split_whitespace().next().expect("a code").to_owned()
}

on_every_database! {
    async fn what_is_locked_stops_its_own_paths_and_no_other(probe: Probe) {
        let probe = probe.configured(|config| {
            config.attempts.source_limit = None;
            // Fifty-five people use one source address here.
            config.mail.per_source = None;
            config.attempts.first_delay = Duration::ZERO;
            config.attempts.limit = 3;
        });
        let mut number = 0;
        for locked in [Locked::SignIn, Locked::Forgot, Locked::Proof, Locked::Change, Locked::Transfer] {
            for path in PATHS {
                number += 1;
                let mut person = Person::prepare(&probe, &format!("user{number}")).await;
                person.lock(locked).await;
                let before = probe.auth.attempts().refused();
                let came_of_it = person.walk(&probe, path).await;
                let expected = match (locked, path) {
                    (Locked::SignIn, Path::Login) => "401 invalid_credentials",
                    (Locked::SignIn, Path::Reauthenticate | Path::ChangePassword | Path::ProveWithPassword) => {
                        "403 wrong_password"
                    }
                    (Locked::Forgot, Path::Forgot) => "nothing is sent",
                    (Locked::Proof, Path::ProveByCode)
                    | (Locked::Change, Path::ConfirmByCode)
                    | (Locked::Transfer, Path::Answer) => "429 too_many_attempts",
                    _ => "it works",
                };
                assert_eq!(came_of_it, expected, "{path:?} while locked: {locked:?}");
                let refused = probe.auth.attempts().refused() - before;
                assert_eq!(refused, u64::from(expected != "it works"), "{path:?}");
            }
        }
    }

    async fn every_kind_is_on_record_by_its_account_with_source_and_outcome(probe: Probe) {
        let mut person = Person::prepare(&probe, "alice").await;
        let stranger = person.browser.stranger();
        assert_eq!(login(&probe, &stranger, "alice", WRONG).await.0.status, 401);
        probe.clock.advance(Duration::from_secs(1));
        assert_eq!(login(&probe, &stranger, "ALICE@example.com", PASSWORD).await.0.status, 200);
        // Signing in has made the first link invalid. Its token still names the account.
        assert_eq!(person.walk(&probe, Path::Reset).await, "400 invalid_reset_token");
        person.browser.device = None;
        assert_eq!(person.walk(&probe, Path::Forgot).await, "it works");
        assert_eq!(person.wrong_code(Locked::Transfer).await, 403);
        assert_eq!(person.walk(&probe, Path::Answer).await, "it works");
        assert_eq!(person.wrong_code(Locked::Proof).await, 403);
        assert_eq!(person.wrong_code(Locked::Change).await, 403);
        assert_eq!(person.walk(&probe, Path::ConfirmByCode).await, "it works");
        let rows = async |kind: i16, outcome: i16| {
            let from = "FROM auth_attempt WHERE source = '127.0.0.1'";
            let condition = format!("kind = {kind} AND outcome = {outcome}");
            probe.number(&format!("SELECT COUNT(*) {from} AND {condition}")).await
        };
        // The kind, its failures and its successes.
        for (kind, failed, succeeded) in [(0, 1, 2), (1, 2, 0), (2, 1, 0), (4, 3, 2)] {
            assert_eq!((rows(kind, 1).await, rows(kind, 2).await), (failed, succeeded), "{kind}");
        }
        assert_eq!(tries(&probe, "outcome = 0").await, 0);
        assert_eq!(tries(&probe, "source IS NULL").await, 1, "the same code, as it is told of");
        let distinct = |what: &str| format!("SELECT COUNT(*) FROM (SELECT DISTINCT {what} FROM auth_attempt) d");
        let subjects = probe.number(&distinct("subject")).await;
        assert_eq!(subjects, 2, "all of it is about one account, and codes about an address too");
        // A purge of one kind keeps the other kinds. Each kind is found by the account.
        let purge = async |kind| {
            let purge = Purge::everything().kind(kind).login("alice");
            probe.auth.attempts().purge(purge).await.expect("it answers")
        };
        assert_eq!(tries(&probe, "1 = 1").await, 12);
        for (kind, count) in [
            (AttemptKind::Login, 3), (AttemptKind::Forgot, 2), (AttemptKind::Reset, 1),
            (AttemptKind::SecondFactor, 0), (AttemptKind::Challenge, 5),
        ] {
            assert_eq!(purge(kind).await, count, "{kind:?}");
        }
        // The count of what was typed is found by the present names. The address has changed
        // meanwhile, so this row is found only by the address that was typed.
        assert_eq!(tries(&probe, "1 = 1").await, 1);
        let purge = Purge::everything().login("alice@example.com");
        assert_eq!(probe.auth.attempts().purge(purge).await.expect("it answers"), 1);
    }

    async fn limits_of_one_kind_hold_for_it_alone_and_fall_back_to_the_general_ones(probe: Probe) {
        let probe = probe.configured(|config| {
            config.attempts.source_limit = None;
            config.attempts.first_delay = Duration::ZERO;
            config.attempts.limit = 4;
            config.attempts.lockout = 100 * SECOND;
            let mut own = AttemptOverrides::default();
            own.limit = Some(2);
            config.attempts.kinds.insert(AttemptKind::Forgot, own.clone());
            own.lockout = Some(40 * SECOND);
            config.attempts.kinds.insert(AttemptKind::Challenge, own);
        });
        let mut person = Person::prepare(&probe, "alice").await;
        person.browser.device = None;
        let stranger = person.browser.stranger();
        let counted = async |kind: i16| tries(&probe, &format!("kind = {kind} AND outcome = 1")).await;
        for _ in 0..6 {
            assert_eq!(login(&probe, &stranger, "alice", WRONG).await.0.status, 401);
            person.walk(&probe, Path::Forgot).await;
            person.wrong_code(Locked::Transfer).await;
        }
        // One of the requests was made by `Person::prepare`.
        assert_eq!((counted(0).await, counted(1).await, counted(4).await), (4, 2, 2));
        probe.clock.advance(40 * SECOND);
        assert_eq!(person.wrong_code(Locked::Transfer).await, 429, "the last second is the lock's");
        probe.clock.advance(SECOND);
        assert_eq!(person.wrong_code(Locked::Transfer).await, 403);
        assert_eq!((counted(0).await, counted(1).await), (4, 2));
        probe.clock.advance(59 * SECOND);
        assert!(is_refused(&probe, &stranger, "alice").await);
        person.walk(&probe, Path::Forgot).await;
        assert_eq!(counted(1).await, 2);
        probe.clock.advance(SECOND);
        person.walk(&probe, Path::Forgot).await;
        assert_eq!(counted(1).await, 3);
        assert!(!is_refused(&probe, &stranger, "alice").await);
    }

    async fn one_kind_of_failures_locks_no_other(probe: Probe) {
        let alice = probe.register("alice").await;
        let browser = probe.browser().await;
        fail(&probe, &browser, "alice", 15).await;
        let attempts = probe.auth.attempts();
        let until = async |kind| attempts.refused_until(alice.id(), kind).await.expect("it answers");
        assert!(until(AttemptKind::Login).await.is_some());
        for kind in [
            AttemptKind::Forgot, AttemptKind::Reset, AttemptKind::SecondFactor,
            AttemptKind::Challenge, AttemptKind::UserCode, AttemptKind::ApiKey,
            AttemptKind::MailLoginRequest, AttemptKind::MailLogin, AttemptKind::MailLoginLink,
        ] {
            assert_eq!(until(kind).await, None, "{kind:?}");
        }
    }
}
