//! Hooks at registration, login, logout and a change of the password, and the application's own
//! fields in a registration.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use portcullis::account::{AccountError, NewAccount};
use portcullis::hook::{ChangingPassword, HookResult, Hooks, Registering, SigningIn, SigningOut};
use portcullis::login::{Credentials, LoginError};
use portcullis::registration::Application;
use portcullis::session::SessionError;
use portcullis::{ClientInfo, Factor, Portcullis, Problem, Refusal};
use sea_orm::{ConnectionTrait, DatabaseTransaction, TransactionTrait};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::browser::Answer;
use crate::support::call::{call, request};
use crate::support::fault::reported;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};

const NEW: &str = "another horse battery staple";
const WRONG: &str = "wrong horse battery staple";

/// What a hook does at the chosen place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Refuse,
    Fail,
    Panic,
    /// Reports a deadlock this many times.
    Deadlock(usize),
}

/// Writes a row at each call, and fails at one place.
#[derive(Clone, Default)]
struct Journal {
    name: &'static str,
    at: &'static str,
    deed: Option<Deed>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Journal {
    fn misbehaves(at: &'static str, deed: Deed) -> Self {
        Self { at, deed: Some(deed), ..Self::default() }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().expect("nothing panics while it is held"))
    }

    async fn note(&self, at: &str, told: String, txn: &DatabaseTransaction) -> HookResult {
        txn.execute_unprepared(&format!("INSERT INTO app_step (name) VALUES ('{at}')")).await?;
        let times = {
            let mut seen = self.seen.lock().expect("nothing panics while it is held");
            seen.push(format!("{}{at}{told}", self.name));
            seen.iter().filter(|line| line.starts_with(at)).count()
        };
        if at != self.at {
            return Ok(());
        }
        match self.deed {
            Some(Deed::Refuse) => Err(Refusal::of(Banned))?,
            Some(Deed::Fail) => Err("the ledger is at 10.0.0.7")?,
            Some(Deed::Panic) => panic!("a hook of the application's"),
            Some(Deed::Deadlock(most)) if times <= most => Err(reported("40P01", "Verklemmung"))?,
            Some(Deed::Deadlock(_)) | None => Ok(()),
        }
    }
}

impl Hooks for Journal {
    async fn before_register(&self, r: Registering<'_>, txn: &DatabaseTransaction) -> HookResult {
        self.note("before_register", format!(" {:?}", r.username), txn).await
    }

    async fn after_register(&self, r: Registering<'_>, txn: &DatabaseTransaction) -> HookResult {
        self.note("after_register", format!(" {:?}", r.username), txn).await
    }

    async fn before_login(&self, login: SigningIn<'_>, txn: &DatabaseTransaction) -> HookResult {
        self.note("before_login", format!(" {:?}", login.token_type), txn).await
    }

    async fn after_login(&self, login: SigningIn<'_>, txn: &DatabaseTransaction) -> HookResult {
        self.note("after_login", format!(" {:?}", login.token_type), txn).await
    }

    async fn before_logout(&self, _: SigningOut<'_>, txn: &DatabaseTransaction) -> HookResult {
        self.note("before_logout", String::new(), txn).await
    }

    async fn after_logout(&self, _: SigningOut<'_>, txn: &DatabaseTransaction) -> HookResult {
        self.note("after_logout", String::new(), txn).await
    }

    async fn before_password_change(
        &self,
        _: ChangingPassword<'_>,
        txn: &DatabaseTransaction,
    ) -> HookResult {
        self.note("before_password_change", String::new(), txn).await
    }

    async fn after_password_change(
        &self,
        _: ChangingPassword<'_>,
        txn: &DatabaseTransaction,
    ) -> HookResult {
        self.note("after_password_change", String::new(), txn).await
    }
}

/// A problem that the application defines.
#[derive(Debug, thiserror::Error)]
#[error("banned until tomorrow")]
struct Banned;

impl Problem for Banned {
    fn status(&self) -> StatusCode {
        StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS
    }

    fn code(&self) -> &'static str {
        "banned"
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(Duration::from_secs(3600))
    }

    fn members(&self) -> Map<String, Value> {
        Map::from_iter([("until".to_owned(), json!("tomorrow"))])
    }
}

/// Four flows. Each calls its hooks in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Register,
    Login,
    Logout,
    ChangePassword,
}

impl Flow {
    const ALL: [(Self, &[&str]); 4] = [
        (Self::Register, &["before_register", "after_register", "before_login", "after_login"]),
        (Self::Login, &["before_login", "after_login"]),
        (Self::Logout, &["before_logout", "after_logout"]),
        (Self::ChangePassword, &["before_password_change", "after_password_change"]),
    ];

    async fn run(self, browser: &mut Browser) -> Answer {
        match self {
            Self::Register => {
                let body = json!({ "username": "bob", "password": PASSWORD });
                browser.post("/auth/register", body).await
            }
            Self::Login => browser.login("alice", PASSWORD).await,
            Self::Logout => browser.post_empty("/auth/logout").await,
            Self::ChangePassword => {
                let body = json!({ "current_password": PASSWORD, "new_password": NEW });
                browser.put("/auth/password", body).await
            }
        }
    }
}

/// Creates the application's own tables for the test, and deletes them afterwards.
async fn with_tables(probe: &Probe, test: impl Future<Output = ()>) {
    const TABLES: [&str; 2] = ["app_step", "app_profile"];
    for table in TABLES {
        probe.execute(&format!("DROP TABLE IF EXISTS {table}")).await;
    }
    probe.execute("CREATE TABLE app_step (name VARCHAR(64) NOT NULL)").await;
    let profile = "CREATE TABLE app_profile (nickname VARCHAR(64) NOT NULL PRIMARY KEY)";
    probe.execute(profile).await;
    test.await;
    for table in TABLES {
        probe.execute(&format!("DROP TABLE {table}")).await;
    }
}

async fn steps(probe: &Probe) -> i64 {
    probe.number("SELECT COUNT(*) FROM app_step").await
}

fn hooked(probe: &Probe, hooks: impl Hooks) -> Portcullis {
    probe.rebuilt(|builder| builder.hooks(hooks))
}

async fn browser_of(auth: &Portcullis) -> Browser {
    Browser::new(serve(app(auth)).await)
}

fn names(seen: &[String]) -> Vec<&str> {
    seen.iter().map(|line| line.split(' ').next().unwrap_or_default()).collect()
}

/// A hook that cannot reach its service. Its error text must not reach the client.
struct Directory;

const SECRET_WORDS: &str = "connect to ldap://10.0.0.7 as cn=svc failed";

impl Hooks for Directory {
    async fn before_login(&self, _: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
        Err(std::io::Error::other(SECRET_WORDS).into())
    }
}

on_every_database! {
    async fn what_a_hook_fails_with_is_for_the_log_and_for_nobody_else(probe: Probe) {
        let auth = probe.rebuilt(|builder| builder.hooks(Directory));
        probe.register("alice").await;
        let request = request("POST", "/auth/login")
            .header("content-type", "application/json")
            .body(Body::from(json!({ "login": "alice", "password": PASSWORD }).to_string()));
        let answer = call(&app(&auth), request.expect("a request")).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
        let rejection = answer.rejection.expect("the typed error");
        let problem = rejection.problem();
        let document = serde_json::to_string(&rejection.document()).expect("it is plain data");
        assert_eq!(document, answer.text);
        // An application that writes its own error body uses one of these texts.
        for text in
            [document, rejection.to_string(), problem.to_string(), format!("{:?}", problem.detail())]
        {
            assert!(!text.contains("10.0.0.7") && !text.contains("ldap"), "{text}");
        }
        assert_eq!(rejection.document().detail, None);
        assert!(rejection.private_cause().contains(SECRET_WORDS), "{}", rejection.private_cause());
        // The text of a refusal reaches the client, because it is meant for the client.
        let refused = portcullis::Rejection::new(Refusal::new(StatusCode::FORBIDDEN, "banned", "later"));
        assert_eq!(refused.document().detail.as_deref(), Some("later"));
    }

    async fn each_flow_calls_its_hooks_in_order_and_keeps_what_they_write(probe: Probe) {
        with_tables(&probe, async {
            probe.register("alice").await;
            let journal = Journal::default();
            let auth = hooked(&probe, journal.clone());
            for (flow, expected) in Flow::ALL {
                let mut browser = browser_of(&auth).await;
                if flow != Flow::Register {
                    assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
                }
                let (before, _) = (steps(&probe).await, journal.take());
                let answer = flow.run(&mut browser).await;
                assert!(answer.status < 300, "{flow:?}: {}", answer.text);
                assert_eq!(names(&journal.take()), expected, "{flow:?}");
                let written = steps(&probe).await - before;
                assert_eq!(written, i64::try_from(expected.len()).expect("few"), "{flow:?}");
            }
        })
        .await;
    }

    async fn whatever_a_hook_does_instead_leaves_nothing_behind(probe: Probe) {
        with_tables(&probe, async {
            let (_, ours) = probe.signed_in("alice").await;
            for (flow, hooks) in Flow::ALL {
                for at in hooks {
                    for deed in [Deed::Refuse, Deed::Fail, Deed::Panic] {
                        let auth = hooked(&probe, Journal::misbehaves(at, deed));
                        let mut browser = ours.at(serve(app(&auth)).await);
                        let before = probe.rows().await;
                        let answer = flow.run(&mut browser).await;
                        let what = format!("{flow:?} {at} {deed:?}: {}", answer.text);
                        let (status, code) = match deed {
                            Deed::Refuse => (451, "banned"),
                            _ => (503, "unavailable"),
                        };
                        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}");
                        assert!(!answer.text.contains("10.0.0.7"), "{what}");
                        assert!(answer.set_cookies().is_empty(), "{what}");
                        assert_eq!(steps(&probe).await, 0, "{what}");
                        // A refused login writes one event. Nothing else is written.
                        let told = i64::from(flow == Flow::Login && deed == Deed::Refuse);
                        let [accounts, names, sessions, events] = before;
                        assert_eq!(
                            probe.rows().await,
                            [accounts, names, sessions, events + told],
                            "{what}"
                        );
                        assert_eq!(ours.clone().get("/me").await.status, 200, "{what}");
                        let again = browser.stranger().login("bob", PASSWORD).await;
                        assert_eq!(again.code(), "invalid_credentials", "{what}");
                    }
                }
            }
            // The same flows succeed without these hooks.
            let mut browser = ours.clone();
            for flow in [Flow::ChangePassword, Flow::Logout, Flow::Register] {
                let answer = flow.run(&mut browser).await;
                assert!(answer.status < 300, "{flow:?}: {}", answer.text);
            }
        })
        .await;
    }

    async fn a_refusal_is_the_applications_own_problem_exactly_and_typed(probe: Probe) {
        with_tables(&probe, async {
            probe.register("alice").await;
            let auth = hooked(&probe, Journal::misbehaves("before_login", Deed::Refuse));
            let body = json!({ "login": "alice", "password": PASSWORD }).to_string();
            let request = request("POST", "/auth/login")
                .header("content-type", "application/json")
                .header("sec-fetch-site", "same-origin")
                .body(Body::from(body))
                .expect("a request");
            let answer = call(&app(&auth), request).await;
            assert_eq!(answer.status, 451);
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            assert_eq!(answer.headers["retry-after"], "3600");
            let expected = json!({
                "code": "banned",
                "detail": "banned until tomorrow",
                "status": 451,
                "title": "Unavailable For Legal Reasons",
                "type": "about:blank",
                "until": "tomorrow",
            });
            assert_eq!(serde_json::from_str::<Value>(&answer.text).expect("JSON"), expected);
            let rejection = answer.rejection.expect("it is in the extensions");
            assert!(rejection.downcast_ref::<Banned>().is_some(), "{rejection:?}");
            assert!(rejection.downcast_ref::<LoginError>().is_none());

            // A caller of the flow finds the refusal in the error.
            let credentials = Credentials::password("alice", PASSWORD);
            let error = auth.login().with_password(credentials, &ClientInfo::default()).await;
            let Err(LoginError::Refused(refusal)) = error else { panic!("{error:?}") };
            assert_eq!(refusal.problem().code(), "banned");
        })
        .await;
    }

    async fn a_login_is_refused_only_to_who_knew_the_password(probe: Probe) {
        with_tables(&probe, async {
            let alice = probe.register("alice").await;
            let gone = probe.register("gone").await;
            probe.auth.accounts().disable(gone.id()).await.expect("disabled");
            let journal = Journal::misbehaves("before_login", Deed::Refuse);
            let auth = hooked(&probe, journal.clone());
            let (mut plain, mut asked) = (probe.browser().await, browser_of(&auth).await);
            for (login, password) in
                [("alice", WRONG), ("nobody", PASSWORD), ("gone", PASSWORD), ("gone", WRONG)]
            {
                let (expected, answer) =
                    (plain.login(login, password).await, asked.login(login, password).await);
                assert_eq!((answer.status, &answer.text), (401, &expected.text), "{login}");
                assert_eq!(journal.take(), Vec::<String>::new(), "{login}");
            }
            let sessions = probe.number("SELECT COUNT(*) FROM auth_session").await;
            probe.clock.advance(Duration::from_secs(1));
            assert_eq!(asked.login("alice", PASSWORD).await.status, 451);
            assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, sessions);
            // Registration set the last login of both accounts. They have not signed in since.
            let last_login = "SELECT COUNT(*) FROM auth_account WHERE last_login_at <> created_at";
            assert_eq!(probe.number(last_login).await, 0);
            let events = probe.auth.audit_log().of_account(alice.id(), 1).await.expect("the log");
            assert_eq!(events[0].kind, "authn_login_fail");
            assert_eq!((events[0].succeeded, events[0].detail.as_deref()), (false, Some("refused")));
        })
        .await;
    }

    async fn a_sign_in_of_several_steps_is_asked_at_each_and_told_of_its_session_once(probe: Probe) {
        with_tables(&probe, async {
            let alice = probe.register("alice").await;
            let bob = probe.register("bob").await;
            let accounts = probe.auth.accounts();
            accounts.require_password_change(alice.id()).await.expect("required");
            accounts.set_enrolled_factors(bob.id(), [Factor::Totp]).await.expect("enrolled");
            let journal = Journal::default();
            let mut browser = browser_of(&hooked(&probe, journal.clone())).await;
            assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
            assert_eq!(journal.take(), ["before_login PasswordChange"]);
            let answer = browser.put("/auth/password", json!({ "new_password": NEW })).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let expected = [
                "before_password_change",
                "before_login Session",
                "after_login Session",
                "after_password_change",
            ];
            assert_eq!(journal.take(), expected);
            // A reauthentication is not a login.
            let again = browser.post("/auth/reauthenticate", json!({ "password": NEW })).await;
            assert_eq!((again.status, journal.take()), (200, Vec::new()));

            assert_eq!(browser.login("bob", PASSWORD).await.status, 200);
            assert_eq!(journal.take(), ["before_login SecondFactor"]);
            assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
            assert_eq!(journal.take(), ["before_logout", "after_logout"]);
        })
        .await;
    }

    async fn several_hooks_run_in_the_order_in_which_they_were_added(probe: Probe) {
        with_tables(&probe, async {
            probe.register("alice").await;
            let seen = Arc::default();
            let one = Journal { name: "1 ", seen: Arc::clone(&seen), ..Journal::default() };
            let two = Journal { name: "2 ", seen: Arc::clone(&seen), ..Journal::default() };
            let auth = probe.rebuilt(|builder| builder.hooks(one.clone()).hooks(two.clone()));
            assert_eq!(browser_of(&auth).await.login("alice", PASSWORD).await.status, 200);
            let expected = [
                "1 before_login Session",
                "2 before_login Session",
                "1 after_login Session",
                "2 after_login Session",
            ];
            assert_eq!(one.take(), expected);
            // After the first refusal no other hook is called.
            let first = Journal { deed: Some(Deed::Refuse), at: "before_login", ..one };
            let auth = probe.rebuilt(|builder| builder.hooks(first).hooks(two.clone()));
            assert_eq!(browser_of(&auth).await.login("alice", PASSWORD).await.status, 451);
            assert_eq!(two.take(), ["1 before_login Session"]);
        })
        .await;
    }

    async fn a_transaction_that_is_tried_again_calls_its_hooks_again_and_counts_once(probe: Probe) {
        with_tables(&probe, async {
            let journal = Journal::misbehaves("after_register", Deed::Deadlock(2));
            let mut browser = browser_of(&hooked(&probe, journal.clone())).await;
            let answer = Flow::Register.run(&mut browser).await;
            assert_eq!(answer.status, 201, "{}", answer.text);
            let seen = journal.take();
            assert_eq!(seen.iter().filter(|line| line.starts_with("before_register")).count(), 3);
            assert_eq!((probe.rows().await[0], steps(&probe).await), (1, 4));
            // A deadlock that does not end is an outage like any other.
            let stuck = Journal::misbehaves("before_login", Deed::Deadlock(usize::MAX));
            let mut browser = browser_of(&hooked(&probe, stuck.clone())).await;
            let answer = browser.login("bob", PASSWORD).await;
            assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
            assert_eq!((stuck.take().len(), steps(&probe).await), (4, 4));
        })
        .await;
    }

    async fn a_hook_that_never_ends_is_503_within_the_time_limit_and_holds_nothing(probe: Probe) {
        struct Stuck;
        impl Hooks for Stuck {
            async fn before_login(&self, _: SigningIn<'_>, _: &DatabaseTransaction) -> HookResult {
                std::future::pending().await
            }
        }
        probe.register("alice").await;
        let auth = probe.rebuilt(|builder| {
            builder.hooks(Stuck).configure(|c| c.database.timeout = Duration::from_millis(200))
        });
        let answer = browser_of(&auth).await.login("alice", PASSWORD).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
        assert_eq!(probe.browser().await.login("alice", PASSWORD).await.status, 200);
    }

    async fn of_many_logouts_at_once_one_calls_the_hooks(probe: Probe) {
        with_tables(&probe, async {
            let (_, browser) = probe.signed_in("alice").await;
            let journal = Journal::default();
            let browser = browser.at(serve(app(&hooked(&probe, journal.clone()))).await);
            let mut requests = JoinSet::new();
            for _ in 0..16 {
                let mut twin = browser.clone();
                requests.spawn(async move { twin.post_empty("/auth/logout").await.status });
            }
            assert_eq!(requests.join_all().await, [204; 16]);
            assert_eq!(steps(&probe).await, 2, "{:?}", journal.take());
        })
        .await;
    }

    async fn inside_a_transaction_of_the_caller_the_caller_decides_about_what_hooks_wrote(probe: Probe) {
        with_tables(&probe, async {
            let alice = probe.register("alice").await;
            let auth = hooked(&probe, Journal::default());
            let client = ClientInfo::default();
            for (keep, expected) in [(false, 0), (true, 2)] {
                let issued = auth.sessions().start(&alice, &client).await.expect("started");
                assert_eq!(steps(&probe).await, 0, "the application's own start is no login");
                let txn = probe.db.begin().await.expect("a transaction");
                let ended = auth.sessions().within(&txn).end(issued.session_id()).await;
                let _ = ended.expect("it is ended");
                if keep { txn.commit().await } else { txn.rollback().await }.expect("it ends");
                assert_eq!(steps(&probe).await, expected);
            }
            let refusing = hooked(&probe, Journal::misbehaves("before_logout", Deed::Refuse));
            let issued = auth.sessions().start(&alice, &client).await.expect("started");
            let refused = refusing.sessions().end(issued.session_id()).await;
            assert!(matches!(refused, Err(SessionError::Refused(_))), "{refused:?}");
            let live = auth.sessions().list(&alice).await.expect("the list");
            assert!(live.iter().any(|session| session.id == issued.session_id()));
            // If an administrator ends the session, no hook is called.
            refusing.sessions().end_one(alice.id(), issued.session_id()).await.expect("ended");
            assert_eq!(steps(&probe).await, 2);
        })
        .await;
    }

    async fn accounts_that_the_application_makes_itself_call_no_hook(probe: Probe) {
        with_tables(&probe, async {
            let journal = Journal::default();
            let auth = hooked(&probe, journal.clone());
            let made = auth.accounts().create(NewAccount::username("alice")).await;
            assert!(made.is_ok());
            let made = auth.registration().create(NewAccount::username("bob"), PASSWORD).await;
            assert!(made.is_ok());
            assert_eq!(journal.take(), Vec::<String>::new());
        })
        .await;
    }
}

/// Stores the nickname of a registration.
struct Nicknames;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    nickname: String,
}

impl Hooks for Nicknames {
    fn reads_profile(&self) -> bool {
        true
    }

    async fn after_register(
        &self,
        registering: Registering<'_>,
        txn: &DatabaseTransaction,
    ) -> HookResult {
        let Profile { nickname } = registering.profile()?;
        assert!(nickname.chars().all(char::is_alphanumeric), "a test writes no SQL");
        let insert = format!("INSERT INTO app_profile (nickname) VALUES ('{nickname}')");
        match txn.execute_unprepared(&insert).await {
            Err(error)
                if error.to_string().to_lowercase().contains("unique")
                    || error.to_string().contains("Duplicate") =>
            {
                return Err(Refusal::new(
                    StatusCode::CONFLICT,
                    "nickname_taken",
                    "this nickname is taken",
                )
                .into());
            }
            result => result.map(|_| ())?,
        }
        Ok(())
    }
}

on_every_database! {
    async fn fields_of_the_applications_own_and_the_account_are_one(probe: Probe) {
        with_tables(&probe, async {
            let browser = browser_of(&hooked(&probe, Nicknames)).await;
            let register = async |username: &str, profile: Value| {
                let body = json!({ "username": username, "password": PASSWORD, "profile": profile });
                browser.stranger().post("/auth/register", body).await
            };
            assert_eq!(register("alice", json!({ "nickname": "ali" })).await.status, 201);
            assert_eq!(probe.text("SELECT nickname FROM app_profile").await.as_deref(), Some("ali"));
            let before = probe.rows().await;
            let missing = "missing field `nickname`";
            let unknown = "unknown field `admin`, expected `nickname`";
            let form = ("wrong_form", json!({}), "does not have the required form");
            let long = json!({ "a".repeat(9_000): 1 });
            let cut = "a".repeat(200);
            let long_text = format!("unknown field `{}", "a".repeat(185));
            for (profile, (code, params, message)) in [
                (Value::Null, ("required", json!({}), "is required")),
                (json!({}), ("missing_field", json!({ "name": "nickname" }), missing)),
                (
                    json!({ "nickname": "bob", "admin": true }),
                    ("unknown_field", json!({ "name": "admin" }), unknown),
                ),
                (long, ("unknown_field", json!({ "name": cut }), &long_text)),
                (json!({ "nickname": 7 }), form.clone()),
                (json!("bob"), form.clone()),
                (json!([]), form),
            ] {
                let reason = json!([{ "code": code, "params": params, "message": message }]);
                let answer = register("bob", profile.clone()).await;
                assert_eq!((answer.status, answer.code().as_str()), (422, "invalid_fields"));
                assert_eq!(answer.json()["errors"], json!({ "profile": reason }), "{profile}");
                assert_eq!(probe.rows().await, before, "{profile}");
            }
            // The application's unique key refuses the profile, so there is no account either.
            let answer = register("bob", json!({ "nickname": "ali" })).await;
            assert_eq!((answer.status, answer.code().as_str()), (409, "nickname_taken"));
            assert_eq!(probe.rows().await, before);
            // A refused account has no profile either.
            let answer = register("alice", json!({ "nickname": "other" })).await;
            assert_eq!((answer.status, answer.code().as_str()), (409, "username_taken"));
            assert_eq!(probe.number("SELECT COUNT(*) FROM app_profile").await, 1);
            assert_eq!(register("bob", json!({ "nickname": "bob" })).await.status, 201);
        })
        .await;
    }

    async fn a_profile_is_an_unknown_field_where_no_hook_reads_it(probe: Probe) {
        let mut browser = browser_of(&hooked(&probe, Journal::default())).await;
        let body = json!({ "username": "alice", "password": PASSWORD, "profile": {} });
        let answer = browser.post("/auth/register", body.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_body"));
        assert!(answer.text.contains("unknown field `profile`"), "{}", answer.text);
        assert_eq!(probe.browser().await.post("/auth/register", body).await.status, 400);
        assert_eq!(probe.rows().await, [0; 4]);
    }

    async fn an_own_handler_gives_the_profile_or_writes_it_in_its_own_transaction(probe: Probe) {
        with_tables(&probe, async {
            let auth = hooked(&probe, Nicknames);
            let client = ClientInfo::default();
            let application = Application::new(NewAccount::username("alice"), PASSWORD);
            let application = application.profile(json!({ "nickname": "ali" }));
            let _ = auth.registration().register(application, &client).await.expect("registered");

            for nickname in ["ali", "bobby"] {
                let txn = probe.db.begin().await.expect("a transaction");
                let made = auth.accounts().within(&txn).create(NewAccount::username("bob")).await;
                let insert = format!("INSERT INTO app_profile (nickname) VALUES ('{nickname}')");
                match (made, txn.execute_unprepared(&insert).await) {
                    (Ok(_), Ok(_)) => txn.commit().await.expect("committed"),
                    (Ok(_), Err(_)) => txn.rollback().await.expect("rolled back"),
                    (Err(error), _) => panic!("{error}"),
                }
                let bob = auth.accounts().find_by_login("bob").await.expect("it answers");
                assert_eq!(bob.is_some(), nickname == "bobby");
            }
            let again = auth.accounts().create(NewAccount::username("bob")).await;
            assert!(matches!(again, Err(AccountError::Taken(_))));
        })
        .await;
    }
}

#[test]
fn a_refusal_without_an_error_status_is_403() {
    for (status, expected) in [(200, 403), (302, 403), (400, 400), (409, 409), (500, 500)] {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(Refusal::new(status, "code", "text").problem().status(), expected);
    }
}
