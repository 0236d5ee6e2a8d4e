//! The outbox: each message is sent once, and nobody can read it before.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::config::Delivery;
use portcullis::hook::{ChangingPassword, HookResult, Hooks};
use portcullis::message::{FileNotifier, NotifyError, RecordingNotifier, Sending, SmtpNotifier};
use portcullis::{ClientInfo, Message, MessageKind, Notifier, Portcullis, Recipient, Secret};
use serde_json::json;
use tokio::task::JoinSet;

use crate::on_every_database;
use crate::support::log::Log;
use crate::support::probe::{app, serve};
use crate::support::smtp::{Manners, Smtp};
use crate::support::{Backend, Browser, PASSWORD, Probe, until};

const NEW: &str = "another horse battery staple";
const HALF_A_MINUTE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A notifier that fails, refuses, panics or hangs as told. It keeps the messages that it received.
#[derive(Debug, Clone)]
struct Difficult {
    how: Arc<Mutex<How>>,
    seen: Arc<Mutex<Vec<Message>>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Works,
    Fails,
    Refuses,
    Panics,
    Hangs,
}

impl Difficult {
    fn new(how: How) -> Self {
        Self { how: Arc::new(Mutex::new(how)), seen: Arc::default() }
    }

    fn now(&self, how: How) {
        *self.how.lock().expect("not poisoned") = how;
    }

    fn seen(&self) -> Vec<Message> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

impl Notifier for Difficult {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async move {
            self.seen.lock().expect("not poisoned").push(message.clone());
            let how = *self.how.lock().expect("not poisoned");
            match how {
                How::Works => Ok(()),
                // An error that reveals more than it should.
                How::Fails => Err(NotifyError::temporary(format!("no line, {message:?}"))),
                How::Refuses => Err(NotifyError::permanent("no such mailbox")),
                How::Panics => panic!("a notifier of somebody's"),
                How::Hangs => std::future::pending().await,
            }
        })
    }
}

/// Requests a link to alice's address on this instance.
async fn forgot(auth: &Portcullis) {
    auth.password_reset().forgot("alice", &ClientInfo::default()).await.expect("it is asked for");
}

async fn state(probe: &Probe) -> String {
    probe.text("SELECT state FROM auth_outbox").await.expect("a row")
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn token(message: &Message) -> String {
    let (_, rest) = message.text.split_once("#token=").expect("a link");
    rest.split_whitespace().next().expect("a token").to_owned()
}

/// Causes each message to a mailbox that has the only link to undo something, and none of them is
/// delivered yet. Returns their kinds, and the days for which their links are valid.
async fn way_back(
    probe: &Probe,
    auth: &Portcullis,
    notifier: &Difficult,
) -> (Vec<MessageKind>, Vec<i64>) {
    use portcullis::account::NewAccount;

    let person = async |name: &str| {
        let account =
            NewAccount::username(name).with_email(format!("{name}@example.com")).verified();
        let account = auth.registration().create(account, PASSWORD).await.expect("it is made");
        let mut browser = Browser::new(serve(app(auth)).await);
        assert_eq!(browser.login(name, PASSWORD).await.status, 200);
        (account.id(), browser)
    };
    let (alice, _) = person("alice").await;
    let (_, mut bob) = person("bob").await;
    let (_, mut carol) = person("carol").await;
    auth.accounts().close(alice).await.expect("it is closed");
    let answer = bob.post("/auth/login-names", json!({ "username": "robert" })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = carol.post("/auth/email", json!({ "email": "carol@new.example" })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    auth.outbox().deliver_due().await.expect("the outbox is read");
    let seen = notifier.seen();
    let confirm = seen.iter().find(|message| message.kind == MessageKind::EmailChangeConfirm);
    let confirm = token(confirm.expect("the mail was attempted"));
    probe.execute("DELETE FROM auth_outbox WHERE kind = 'email_change_confirm'").await;
    let answer = carol.post("/auth/email/confirm", json!({ "token": confirm })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let kinds = vec![
        MessageKind::AccountClosed,
        MessageKind::EmailChangedUndo,
        MessageKind::LoginNameAdded,
    ];
    let days = |kind: &str| {
        format!("SELECT expires_at - created_at FROM auth_outbox WHERE kind = '{kind}'")
    };
    let mut lifetimes = Vec::new();
    for kind in &kinds {
        lifetimes.push(probe.number(&days(kind.as_str())).await / 86_400_000);
    }
    (kinds, lifetimes)
}

/// A hook that fails after everything was written.
#[derive(Clone)]
struct Breaks;

impl Hooks for Breaks {
    async fn after_password_change(
        &self,
        _: ChangingPassword<'_>,
        _: &sea_orm::DatabaseTransaction,
    ) -> HookResult {
        Err("rolled back".into())
    }
}

/// Returns a notifier that uses a mail server on loopback.
fn smtp(address: std::net::SocketAddr) -> SmtpNotifier {
    SmtpNotifier::danger_plaintext("127.0.0.1", address.port()).expect("it is loopback")
}

on_every_database! {
    async fn there_is_a_message_if_and_only_if_there_is_the_change(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        let auth = probe.rebuilt(|builder| builder.hooks(Breaks));
        let mut browser = probe.browser().await;
        browser.login("alice", PASSWORD).await;
        let mut broken = browser.at(serve(app(&auth)).await);
        let body = json!({ "current_password": PASSWORD, "new_password": NEW });
        assert_eq!(broken.put("/auth/password", body.clone()).await.status, 503);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_outbox").await, 0);
        assert_eq!(browser.put("/auth/password", body).await.status, 200);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_outbox").await, 1);
        assert_eq!(probe.mail().await.len(), 1);
    }

    async fn a_copy_of_the_table_shows_no_token_no_link_and_no_address(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        forgot(&probe.auth).await;
        let before = [probe.hex_dump("auth_outbox").await, probe.hex_dump("auth_outbox_limit").await].concat();
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_outbox WHERE payload IS NOT NULL").await, 1);
        let sent = probe.mail().await;
        let token = token(&sent[0]);
        let after = probe.hex_dump("auth_outbox").await;
        let rest = [probe.hex_dump("auth_challenge").await, probe.hex_dump("auth_event").await].concat();
        for value in before.iter().chain(&after).chain(&rest) {
            for secret in [&*token, &token[..20], "https://", "app.example.com"] {
                assert!(!value.contains(&hex(secret)), "{secret} is in the table");
            }
        }
        for value in before.iter().chain(&after) {
            assert!(!value.contains(&hex("example.com")), "the address is in the table");
        }
        // A sent message is removed from its row.
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_outbox WHERE payload IS NOT NULL").await, 0);
        assert_eq!(state(&probe).await, "sent");
        // This proves that the test works: it finds a text that is stored.
        assert!(after.contains(&hex("password_reset")));
    }

    async fn what_was_sealed_for_one_row_does_not_open_in_another(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        probe.register_with_email("bob", "bob@example.com").await;
        let client = ClientInfo::default();
        for login in ["alice", "bob"] {
            probe.auth.password_reset().forgot(login, &client).await.expect("it is asked for");
        }
        // An attacker who can write to the table wants alice's link in bob's mailbox.
        let payload = probe.text("SELECT MIN(payload) FROM auth_outbox").await.expect("a payload");
        probe.execute(&format!("UPDATE auth_outbox SET payload = '{payload}'")).await;
        assert_eq!(probe.mail().await.len(), 1, "only the row it was sealed for");
        let failed = "SELECT COUNT(*) FROM auth_outbox WHERE state = 'failed' AND payload IS NULL";
        assert_eq!(probe.number(failed).await, 1);
    }

    async fn a_payload_does_not_open_as_another_kind(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        forgot(&probe.auth).await;
        probe.execute("UPDATE auth_outbox SET kind = 'verify_address'").await;
        assert_eq!(probe.mail().await.len(), 0);
        assert_eq!(state(&probe).await, "failed");
    }

    async fn an_older_secret_still_opens_and_a_removed_one_does_not(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        forgot(&probe.auth).await;
        let newest = Secret::generate();
        let rotated = probe.rebuilt(|builder| {
            builder.configure(|config| config.keys.secrets.insert(0, newest.clone()))
        });
        let delivered = rotated.outbox().deliver_due().await.expect("the outbox is read");
        assert_eq!(delivered.sent, 1);
        assert_eq!(probe.notifier.sent().len(), 1);
        probe.clock.advance(Duration::from_secs(60));
        forgot(&probe.auth).await;
        let replaced = probe.rebuilt(|builder| {
            builder.configure(|config| config.keys.secrets = vec![newest])
        });
        // Another node may still have the older secret, so the message waits for some time.
        let delivered = replaced.outbox().deliver_due().await.expect("the outbox is read");
        assert_eq!((delivered.sent, delivered.put_off, delivered.given_up), (0, 1, 0));
        let mut given_up = 0;
        for _ in 0..24 {
            probe.clock.advance(Duration::from_secs(60 * 60));
            given_up += replaced.outbox().deliver_due().await.expect("the outbox is read").given_up;
        }
        assert_eq!((given_up, probe.notifier.sent().len()), (1, 1));
    }

    async fn a_stopped_mail_server_delays_nothing_and_loses_nothing(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        let address = Smtp::start(Manners::Kind).await.address; // and stopped
        let auth = probe.rebuilt(|builder| builder.notifier(smtp(address)));
        let mut browser = probe.browser().await.at(serve(app(&auth)).await);
        let body = json!({ "login": "alice" });
        assert_eq!(browser.post("/auth/password/forgot", body).await.status, 202);
        for _ in 0..3 {
            let delivered = auth.outbox().deliver_due().await.expect("the outbox is read");
            assert_eq!(delivered.sent, 0);
        }
        let waits = "SELECT COUNT(*) FROM auth_outbox WHERE attempts = 1 AND state = 'due'";
        assert_eq!(probe.number(waits).await, 1, "not before its time");
        let server = Smtp::start_at(address, Manners::Kind).await;
        probe.clock.advance(HALF_A_MINUTE);
        let delivered = auth.outbox().deliver_due().await.expect("the outbox is read");
        assert_eq!(delivered.sent, 1);
        let [mail] = &server.mails()[..] else { panic!("one mail") };
        // Decodes quoted-printable, in which mail encodes long lines.
        let text = mail.data.replace("=\n", "").replace("=3D", "=");
        let (_, rest) = text.split_once("#token=").expect("a link");
        let token: String = rest.chars().take(43).collect();
        let body = json!({ "token": token, "password": NEW });
        assert_eq!(browser.post("/auth/password/reset", body).await.status, 204);
    }

    async fn a_mail_server_that_never_answers_keeps_nobody_waiting(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        let server = Smtp::start(Manners::Silent).await;
        let auth = probe.rebuilt(|builder| {
            builder.notifier(smtp(server.address)).configure(|config| {
                config.mail.delivery = Delivery::Soon;
                config.mail.send_timeout = Duration::from_secs(1);
            })
        });
        let mut browser = probe.browser().await.at(serve(app(&auth)).await);
        // Both requests are answered, although no mail is ever sent.
        for login in ["alice", "nobody"] {
            let answer = browser.post("/auth/password/forgot", json!({ "login": login })).await;
            assert_eq!(answer.status, 202);
        }
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        assert!(server.mails().is_empty());
    }

    async fn each_further_try_waits_twice_as_long_and_the_last_one_is_told(probe: Probe) {
        let account = probe.register_with_email("alice", "alice@example.com").await;
        let notifier = Difficult::new(How::Fails);
        let auth = probe.rebuilt(|builder| {
            let builder = builder.notifier(notifier.clone());
            builder.configure(|config| {
                config.mail.attempts = 5;
                config.mail.password_reset_lifetime = Duration::from_secs(24 * 60 * 60);
            })
        });
        forgot(&auth).await;
        for (tries, wait) in [(1, 30), (2, 60), (3, 120), (4, 240)] {
            let delivered = auth.outbox().deliver_due().await.expect("the outbox is read");
            assert_eq!((delivered.put_off, notifier.seen().len()), (1, tries));
            probe.clock.advance(Duration::from_secs(wait) - Duration::from_millis(1));
            auth.outbox().deliver_due().await.expect("the outbox is read");
            assert_eq!(notifier.seen().len(), tries, "too early");
            probe.clock.advance(Duration::from_millis(1));
        }
        let delivered = auth.outbox().deliver_due().await.expect("the outbox is read");
        assert_eq!((delivered.given_up, notifier.seen().len()), (1, 5));
        assert_eq!(state(&probe).await, "failed");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_outbox WHERE payload IS NULL").await, 1);
        // All attempts were for the same message.
        let ids: HashSet<_> = notifier.seen().iter().map(|message| message.id).collect();
        assert_eq!(ids.len(), 1);
        let log = probe.auth.audit_log().of_account(account.id(), 10).await.expect("the log");
        let event = log.iter().find(|event| event.kind == "message_failed").expect("the event");
        assert_eq!(event.detail.as_deref(), Some("password_reset: too many attempts"));
        probe.clock.advance(Duration::from_secs(100_000));
        auth.outbox().deliver_due().await.expect("the outbox is read");
        assert_eq!(notifier.seen().len(), 5);
    }

    async fn a_link_that_nothing_replaces_is_tried_until_it_expires(probe: Probe) {
        let notifier = Difficult::new(How::Fails);
        let auth = probe.rebuilt(|builder| builder.notifier(notifier.clone()));
        // One account for each message whose link lives for days.
        let (kinds, lifetimes) = way_back(&probe, &auth, &notifier).await;
        let fail_for = async |hours: u64| {
            for _ in 0..hours {
                auth.outbox().deliver_due().await.expect("the outbox is read");
                probe.clock.advance(HOUR);
            }
        };
        let waiting = async || {
            let mut waiting = probe.texts("SELECT kind FROM auth_outbox WHERE state = 'due'").await;
            waiting.sort();
            waiting
        };
        let all: Vec<_> = kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
        // An outage of a week, less an hour. Only the link that lives longer is left after it.
        fail_for(7 * 24 - 1).await;
        assert_eq!(waiting().await, all);
        assert_eq!(lifetimes, [14, 7, 7], "the days of their links");
        notifier.now(How::Works);
        let before = notifier.seen().len();
        let delivered = auth.outbox().deliver_due().await.expect("the outbox is read");
        assert_eq!(delivered.sent, 3);
        let mut sent = HashSet::new();
        for message in &notifier.seen()[before..] {
            assert_eq!(message.value("minutes"), None, "the templates say days");
            sent.insert(message.kind);
        }
        assert_eq!(sent, kinds.into_iter().collect());
        // The link still works.
        let seen = notifier.seen();
        let link = seen.iter().rfind(|message| message.kind == MessageKind::AccountClosed);
        let link = link.expect("it was sent");
        auth.own_account().keep(&token(link), &ClientInfo::default()).await.expect("it is open");
    }

    async fn a_link_that_has_expired_is_not_sent(probe: Probe) {
        let notifier = Difficult::new(How::Fails);
        let auth = probe.rebuilt(|builder| builder.notifier(notifier.clone()));
        way_back(&probe, &auth, &notifier).await;
        let mut given_up = Vec::new();
        for hour in 0..=14 * 24 {
            let delivered = auth.outbox().deliver_due().await.expect("the outbox is read");
            if delivered.given_up > 0 {
                given_up.push((hour, delivered.given_up));
            }
            probe.clock.advance(HOUR);
        }
        assert_eq!(given_up, [(7 * 24, 2), (14 * 24, 1)]);
        let details = probe.texts("SELECT detail FROM auth_event WHERE kind = 'message_failed'").await;
        assert!(details.iter().all(|detail| detail.ends_with(": expired")), "{details:?}");
    }

    async fn what_is_refused_for_good_or_too_late_is_not_tried_again(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        let notifier = Difficult::new(How::Refuses);
        let auth = probe.rebuilt(|builder| builder.notifier(notifier.clone()));
        forgot(&auth).await;
        let delivered = auth.outbox().deliver_due().await.expect("the outbox is read");
        assert_eq!((delivered.given_up, notifier.seen().len()), (1, 1));
        probe.clock.advance(Duration::from_secs(60));
        forgot(&auth).await;
        // The link is valid for one hour. After that it is not sent.
        probe.clock.advance(Duration::from_secs(60 * 60));
        let delivered = auth.outbox().deliver_due().await.expect("the outbox is read");
        assert_eq!((delivered.given_up, notifier.seen().len()), (1, 1));
        let detail = "SELECT detail FROM auth_event WHERE kind = 'message_failed' ORDER BY at DESC";
        assert_eq!(probe.text(detail).await.as_deref(), Some("password_reset: expired"));
    }

    async fn a_notifier_that_panics_or_hangs_takes_no_other_message_along(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        probe.register_with_email("bob", "bob@example.com").await;
        for how in [How::Panics, How::Hangs] {
            let notifier = Difficult::new(how);
            let auth = probe.rebuilt(|builder| {
                builder.notifier(notifier.clone()).configure(|config| {
                    config.mail.send_timeout = Duration::from_secs(1);
                })
            });
            let client = ClientInfo::default();
            for login in ["alice", "bob"] {
                auth.password_reset().forgot(login, &client).await.expect("it is asked for");
            }
            let delivered = auth.outbox().deliver_due().await.expect("the outbox is read");
            assert_eq!((delivered.put_off, delivered.sent), (2, 0), "{how:?}");
            notifier.now(How::Works);
            probe.clock.advance(HALF_A_MINUTE);
            let delivered = auth.outbox().deliver_due().await.expect("the outbox is read");
            assert_eq!(delivered.sent, 2, "{how:?}");
            probe.clock.advance(HALF_A_MINUTE);
        }
    }

    async fn several_nodes_send_each_message_once(probe: Probe) {
        for number in 0..30 {
            let name = format!("user{number}");
            probe.register_with_email(&name, &format!("{name}@example.com")).await;
            probe.auth.password_reset().forgot(&name, &ClientInfo::default()).await.expect("asked");
        }
        let recorder = RecordingNotifier::default();
        let mut nodes = JoinSet::new();
        for _ in 0..6 {
            let node = probe.rebuilt(|builder| builder.notifier(recorder.clone()));
            nodes.spawn(async move { node.outbox().deliver_due().await });
        }
        let mut sent = 0;
        for delivered in nodes.join_all().await {
            // A node that found all messages taken reports none. The other nodes send them.
            sent += delivered.map_or(0, |delivered| delivered.sent);
        }
        sent += probe.rebuilt(|builder| builder.notifier(recorder.clone())).outbox().deliver_due().await.expect("the outbox is read").sent;
        let messages = recorder.sent();
        let ids: HashSet<_> = messages.iter().map(|message| message.id).collect();
        assert_eq!((messages.len(), ids.len()), (30, 30));
        assert_eq!(sent, 30);
    }

    async fn what_a_node_was_sending_when_it_died_is_sent_by_another_later(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        let hanging = Difficult::new(How::Hangs);
        let dying = probe.rebuilt(|builder| builder.notifier(hanging.clone()));
        forgot(&dying).await;
        let task = tokio::spawn(async move { dying.outbox().deliver_due().await });
        until("it is being sent", async || !hanging.seen().is_empty()).await;
        task.abort();
        assert!(task.await.is_err());
        assert_eq!(probe.mail().await.len(), 0, "it is still the other's");
        probe.clock.advance(Duration::from_secs(59));
        assert_eq!(probe.mail().await.len(), 0);
        probe.clock.advance(Duration::from_secs(1));
        let sent = probe.mail().await;
        assert_eq!((sent.len(), sent[0].id), (1, hanging.seen()[0].id));
    }

    async fn messages_leave_by_themselves(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| config.mail.delivery = Delivery::Soon)
        });
        for round in 1..=5 {
            forgot(&auth).await;
            until("it is sent", async || probe.notifier.sent().len() == round).await;
            probe.clock.advance(Duration::from_secs(60));
        }
    }

    async fn a_worker_of_the_applications_delivers_what_others_left(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        forgot(&probe.auth).await;
        let worker = probe.auth.clone();
        let task = tokio::spawn(async move { worker.outbox().run().await });
        until("it is sent", async || probe.notifier.sent().len() == 1).await;
        // A new message wakes the worker.
        probe.clock.advance(Duration::from_secs(60));
        forgot(&probe.auth).await;
        until("it is sent", async || probe.notifier.sent().len() == 2).await;
        task.abort();
    }

    async fn what_is_for_tomorrow_holds_up_nothing_of_today(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        put_off_till_tomorrow(&probe).await;
        let auth = probe.rebuilt(|builder| {
            builder.configure(|config| config.mail.delivery = Delivery::Soon)
        });
        // Not more messages than allowed per hour. The first one leaves a task that sleeps until
        // tomorrow.
        let mut task = None;
        for round in 1..=4 {
            probe.clock.advance(Duration::from_secs(60));
            forgot(&auth).await;
            until("it is sent", async || probe.notifier.sent().len() == round).await;
            time_to_note_it(&probe).await;
            if task.is_none() {
                let worker = auth.clone();
                task = Some(tokio::spawn(async move { worker.outbox().run().await }));
                time_to_note_it(&probe).await;
            }
        }
        let task = task.expect("it was started");
        // The same without a worker of the application.
        task.abort();
        let _ = task.await;
        for round in 5..=7 {
            probe.clock.advance(Duration::from_secs(60 * 60));
            forgot(&auth).await;
            until("it is sent", async || probe.notifier.sent().len() == round).await;
        }
        probe.clock.advance(Duration::from_secs(24 * 60 * 60));
        forgot(&auth).await;
        until("it is sent", async || probe.notifier.sent().len() == 9).await; // with what was put off
    }

    async fn old_rows_go_and_those_that_wait_stay(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        forgot(&probe.auth).await;
        probe.mail().await;
        assert_eq!(probe.auth.outbox().purge().await.expect("it is purged"), 0);
        probe.clock.advance(Duration::from_secs(30 * 24 * 60 * 60));
        let body = probe.auth.password_reset();
        body.forgot("alice", &ClientInfo::default()).await.expect("it is asked for");
        probe.clock.advance(Duration::from_millis(1));
        assert_eq!(probe.auth.outbox().purge().await.expect("it is purged"), 1);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_outbox").await, 1);
        probe.clock.advance(Duration::from_secs(60 * 60));
        assert_eq!(probe.auth.outbox().purge().await.expect("it is purged"), 1, "the count");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_outbox").await, 1);
    }

    async fn an_address_that_is_not_one_plain_mailbox_gets_nothing(probe: Probe) {
        probe.register_with_email("alice", "alice@example.com").await;
        let server = Smtp::start(Manners::Kind).await;
        let auth = probe.rebuilt(|builder| builder.notifier(smtp(server.address)));
        // Registration refuses all of these. An import by hand may have written them.
        for address in [
            "a@example.com,b@evil.example",
            "a@example.com b@evil.example",
            "a@example.com;b@evil.example",
            "a@evil.example@example.com",
            "<a@evil.example>@example.com",
            "Alice <a@example.com>",
            "\"a\"@example.com",
            "\"a@evil.example\"@example.com",
            "a@example.com\r\nBcc: b@evil.example",
            "a@example.com\nBcc: b@evil.example",
            "a@example.com\r\nRCPT TO:<b@evil.example>",
            "a(b@evil.example)@example.com",
            "a@[127.0.0.1]",
            "@example.com",
            "a@",
            "alice",
            " a@example.com",
            "a@example.com\t",
        ] {
            set_email(&probe, address).await;
            probe.clock.advance(Duration::from_secs(60));
            forgot(&auth).await;
            auth.outbox().deliver_due().await.expect("the outbox is read");
            assert!(server.mails().is_empty(), "{address:?}");
        }
        assert!(server.commands().iter().all(|line| !line.contains("evil")));
        set_email(&probe, "alice+tag@example.com").await;
        probe.clock.advance(Duration::from_secs(60));
        forgot(&auth).await;
        auth.outbox().deliver_due().await.expect("the outbox is read");
        assert_eq!(server.mails()[0].to, ["<alice+tag@example.com>"]);
    }
}

/// Writes an address without any check.
async fn set_email(probe: &Probe, address: &str) {
    use sea_orm::{ConnectionTrait, Statement};
    let backend = probe.db.get_database_backend();
    let text = if probe.database.backend == Backend::Postgres {
        "UPDATE auth_account SET version = version + 1, email = $1 WHERE username = 'alice'"
    } else {
        "UPDATE auth_account SET version = version + 1, email = ? WHERE username = 'alice'"
    };
    let statement = Statement::from_sql_and_values(backend, text, [address.into()]);
    probe.db.execute_raw(statement).await.expect("it is written");
}

/// Adds a message that is sent tomorrow, like the digest of new devices.
async fn put_off_till_tomorrow(probe: &Probe) {
    probe.clock.advance(Duration::from_secs(60));
    forgot(&probe.auth).await;
    let day = 24 * 60 * 60 * 1000;
    probe
        .execute(&format!(
            "UPDATE auth_outbox SET next_try_at = next_try_at + {day}, expires_at = expires_at + 2 * {day}"
        ))
        .await;
}

/// Waits until the sender has recorded the result and sleeps. If this is too short, no test fails.
async fn time_to_note_it(probe: &Probe) {
    for _ in 0..100 {
        probe.number("SELECT COUNT(*) FROM auth_outbox").await;
    }
}

/// Lets time pass until `there` is true, in at most five rounds, because the worker may start to
/// sleep only now. A busy task does not wait, so paused time moves only by these steps.
async fn pass_until(there: impl Fn() -> bool) {
    tokio::time::pause();
    for _ in 0..150 {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        if there() {
            break;
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    tokio::time::resume();
    until("it is there", async || there()).await;
}

// Uses one thread, because time can be paused only there.
#[tokio::test]
async fn what_another_node_left_is_found_by_a_later_round() {
    for delivery in [Delivery::Soon, Delivery::ByApplication] {
        on_sqlite(|probe| async move {
            probe.register_with_email("alice", "alice@example.com").await;
            put_off_till_tomorrow(&probe).await;
            let auth = probe.rebuilt(|builder| {
                builder.configure(|config| {
                    config.mail.delivery = delivery;
                    // The statements that run while time jumps must not time out.
                    config.database.timeout = Duration::from_secs(60 * 60);
                })
            });
            probe.clock.advance(Duration::from_secs(60));
            forgot(&auth).await;
            if delivery == Delivery::Soon {
                until("it is sent", async || probe.notifier.sent().len() == 1).await;
                time_to_note_it(&probe).await;
            }
            let worker = auth.clone();
            let task = tokio::spawn(async move { worker.outbox().run().await });
            until("it is sent", async || probe.notifier.sent().len() == 1).await;
            // The other node does not notify this one, and dies.
            probe.clock.advance(Duration::from_secs(60));
            forgot(&probe.auth).await;
            pass_until(|| probe.notifier.sent().len() == 2).await;
            task.abort();
        })
        .await;
    }
}

#[tokio::test]
async fn what_failed_is_tried_again_without_a_worker_of_the_applications() {
    on_sqlite(|probe| async move {
        probe.register_with_email("alice", "alice@example.com").await;
        let notifier = Difficult::new(How::Fails);
        let auth = probe.rebuilt(|builder| {
            builder.notifier(notifier.clone()).configure(|config| {
                config.mail.delivery = Delivery::Soon;
                config.database.timeout = Duration::from_secs(60 * 60);
            })
        });
        forgot(&auth).await;
        until("it is sent", async || notifier.seen().len() == 1).await;
        for round in 2..=3 {
            time_to_note_it(&probe).await;
            probe.clock.advance(2 * HALF_A_MINUTE);
            pass_until(|| notifier.seen().len() == round).await;
        }
    })
    .await;
}

/// Uses one database, because the following tests are about mail.
async fn on_sqlite<F: Future<Output = ()>>(test: impl FnOnce(Probe) -> F) {
    crate::support::probe::run(Backend::Sqlite, test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_has_one_sender_one_recipient_and_both_forms() {
    on_sqlite(|probe| async move {
        let server = Smtp::start(Manners::Kind).await;
        let auth = probe.rebuilt(|builder| {
            builder.notifier(smtp(server.address)).configure(|config| {
                config.mail.service_name = Some("Café <b>\"Zoë\"</b>, 北京".to_owned());
                config.mail.sender = Some("no-reply@example.com".to_owned());
            })
        });
        probe.register_with_email("alice", "Alice@bücher.example").await;
        forgot(&auth).await;
        auth.outbox().deliver_due().await.expect("the outbox is read");
        let [mail] = &server.mails()[..] else { panic!("one mail") };
        assert_eq!(mail.from, "<no-reply@example.com>");
        assert_eq!(mail.to, ["<Alice@xn--bcher-kva.example>"]);
        let one = |name: &str| {
            let [value] = &mail.header(name)[..] else { panic!("one {name} in {}", mail.data) };
            value.clone()
        };
        assert_eq!(one("To"), "Alice@xn--bcher-kva.example");
        assert!(one("From").ends_with("<no-reply@example.com>"), "{}", one("From"));
        assert!(one("From").starts_with("=?utf-8?"), "{}", one("From"));
        assert!(one("Subject").contains("=?utf-8?"), "{}", one("Subject"));
        assert!(one("Date").contains(" 20"), "{}", one("Date"));
        assert!(one("Message-ID").ends_with("@example.com>"), "{}", one("Message-ID"));
        assert_eq!(one("Auto-Submitted"), "auto-generated");
        assert!(one("Content-Type").starts_with("multipart/alternative"));
        for absent in ["Cc", "Bcc", "Reply-To", "Sender"] {
            assert!(mail.header(absent).is_empty(), "{absent}");
        }
        let parts =
            [mail.data.find("Content-Type: text/plain"), mail.data.find("Content-Type: text/html")];
        assert!(parts[0].is_some() && parts[0] < parts[1], "{}", mail.data);
        assert!(mail.data.is_ascii(), "8-bit text is encoded");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_over_a_connection_that_is_not_encrypted() {
    on_sqlite(|probe| async move {
        let server = Smtp::start(Manners::Kind).await;
        probe.register_with_email("alice", "alice@example.com").await;
        let notifier = SmtpNotifier::starttls("localhost").expect("a name");
        let notifier = notifier.port(server.address.port()).credentials("user", "hunter2hunter2");
        let auth = probe.rebuilt(|builder| builder.notifier(notifier));
        forgot(&auth).await;
        let delivered = auth.outbox().deliver_due().await.expect("the outbox is read");
        assert_eq!((delivered.sent, delivered.put_off), (0, 1));
        assert!(server.mails().is_empty());
        let said = server.commands();
        assert!(said.iter().all(|line| line.starts_with("EHLO") || line == "QUIT"), "{said:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_that_is_none_is_given_up_and_a_full_one_tried_again() {
    on_sqlite(|probe| async move {
        probe.register_with_email("alice", "alice@example.com").await;
        for (answer, given_up) in
            [("550 no such user", 1), ("452 mailbox full", 0), ("554 we do not like you", 0)]
        {
            let server = Smtp::start(Manners::Refuses(answer)).await;
            let auth = probe.rebuilt(|builder| builder.notifier(smtp(server.address)));
            probe.clock.advance(Duration::from_secs(600));
            forgot(&auth).await;
            let delivered = auth.outbox().deliver_due().await.expect("the outbox is read");
            assert_eq!(delivered.given_up, given_up, "{answer}");
            assert!(server.mails().is_empty());
            probe.execute("DELETE FROM auth_outbox").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_written_for_development() {
    on_sqlite(|probe| async move {
        let folder = tempfile::tempdir().expect("a folder");
        let mails = folder.path().join("made/when/needed");
        let auth = probe.rebuilt(|builder| builder.notifier(FileNotifier::new(&mails)));
        probe.register_with_email("alice", "alice@example.com").await;
        forgot(&auth).await;
        auth.outbox().deliver_due().await.expect("the outbox is read");
        let mut names: Vec<_> = std::fs::read_dir(&mails)
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        names.sort();
        let [html, text] = &names[..] else { panic!("two files: {names:?}") };
        let (html, text) = (std::fs::read_to_string(html), std::fs::read_to_string(text));
        assert!(html.expect("HTML").starts_with("<!doctype html>"));
        let text = text.expect("a text");
        assert!(text.contains("To: alice@example.com\n") && text.contains("#token="), "{text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_templates_are_used_and_values_escaped() {
    on_sqlite(|probe| async move {
        probe.register_with_email("alice", "alice@example.com").await;
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(
            folder.path().join("layout.html"),
            "<main>{% block content %}{% endblock %}</main>",
        )
        .expect("it is written");
        let auth = probe.rebuilt(|builder| {
            builder
                .template_folder(folder.path())
                .template(
                    MessageKind::PasswordReset,
                    "Subject: Hallo von {{ service }}\n\n{{ link }}",
                    "{% extends \"layout.html\" %}{% block content %}{{ service }}{% endblock %}",
                )
                .configure(|config| {
                    config.mail.service_name = Some("<a href=//evil.example>Shop</a>".to_owned());
                })
        });
        forgot(&auth).await;
        auth.outbox().deliver_due().await.expect("the outbox is read");
        let [mail] = &probe.notifier.sent()[..] else { panic!("one mail") };
        assert_eq!(mail.subject, "Hallo von <a href=//evil.example>Shop</a>");
        assert!(mail.text.starts_with("https://app.example.com/password/reset#token="));
        let html = mail.html.as_deref().expect("HTML");
        assert!(html.starts_with("<main>&lt;a href="), "{html}");
        assert!(matches!(&mail.to, Recipient::Email(address) if address == "alice@example.com"));
    })
    .await;
}

#[tokio::test]
async fn nothing_of_a_message_is_logged() {
    on_sqlite(|probe| async move {
        probe.register_with_email("alice", "alice@canary.example").await;
        let notifier = Difficult::new(How::Fails);
        let auth = probe.rebuilt(|builder| builder.notifier(notifier.clone()));
        let (log, _guard) = Log::start();
        forgot(&auth).await;
        auth.outbox().deliver_due().await.expect("the outbox is read");
        notifier.now(How::Refuses);
        probe.clock.advance(HALF_A_MINUTE);
        auth.outbox().deliver_due().await.expect("the outbox is read");
        let text = log.text();
        let message = &notifier.seen()[0];
        assert!(text.contains("could not be sent") && text.contains("message_failed"), "{text}");
        for secret in [&*token(message), "#token", "canary"] {
            let lines: Vec<_> = text.lines().filter(|line| line.contains(secret)).collect();
            // The driver logs the parameters of its statements at trace level. The lines of
            // portcullis never contain them.
            let ours: Vec<_> = lines.iter().filter(|line| line.contains("portcullis")).collect();
            assert!(ours.is_empty(), "{secret}: {ours:?}");
        }
        assert!(!format!("{message:?}").contains(&token(message)));
        assert!(!format!("{message:?}").contains("canary"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_notifier_nothing_is_kept_and_with_one_there_must_be_an_origin() {
    on_sqlite(|probe| async move {
        probe.register_with_email("alice", "alice@example.com").await;
        let bare = || Portcullis::builder(probe.db.clone()).secret(probe.secret.clone());
        let auth = bare().build().expect("the configuration is right");
        forgot(&auth).await;
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_outbox").await, 0);

        let faults = bare().notifier(RecordingNotifier::default()).build().expect_err("no origin");
        assert!(faults.to_string().contains("service.public_url"), "{faults}");
        let plain = || SmtpNotifier::danger_plaintext("127.0.0.1", 25).expect("it is loopback");
        let local = || bare().public_url("http://localhost:3000");
        let faults = local().notifier(plain()).build().expect_err("no sender");
        assert!(faults.to_string().contains("mail.sender"), "{faults}");
        assert!(local().notifier(RecordingNotifier::default()).build().is_ok());
        let sender = |text: &str| {
            let text = text.to_owned();
            local().notifier(plain()).configure(|config| config.mail.sender = Some(text)).build()
        };
        assert!(sender("no-reply@example.com").is_ok());
        for bad in [
            "Shop <a@example.com>",
            "a@example.com,b@example.com",
            "a@example.com\r\nBcc: b",
            "",
            "a",
        ] {
            assert!(sender(bad).is_err(), "{bad:?}");
        }
        let faults = bare()
            .public_url("https://example.com")
            .notifier(plain())
            .template(MessageKind::NewDevice, "Subject: a\n\n{{ adress }}", "b")
            .configure(|config| {
                config.mail.links.password_reset = "https://evil.example/{token}".to_owned();
                config.mail.links.verify = "/verify".to_owned();
                config.mail.attempts = 0;
            })
            .build()
            .expect_err("all of it is wrong")
            .to_string();
        for named in
            ["new_device", "mail.links.password_reset", "mail.links.verify", "mail.attempts"]
        {
            assert!(faults.contains(named), "{named} is not in {faults}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counter_of_a_recipient_holds_under_a_storm() {
    on_sqlite(|probe| async move {
        probe.register_with_email("alice", "alice@example.com").await;
        let admitted = Arc::new(AtomicUsize::new(0));
        let mut racers = JoinSet::new();
        for _ in 0..100 {
            let (auth, admitted) = (probe.auth.clone(), Arc::clone(&admitted));
            racers.spawn(async move {
                let asked = auth.password_reset().forgot("alice", &ClientInfo::default()).await;
                admitted.fetch_add(usize::from(asked.is_ok()), Ordering::SeqCst);
            });
        }
        racers.join_all().await;
        assert!(admitted.load(Ordering::SeqCst) > 0);
        assert_eq!(probe.mail().await.len(), 1);
    })
    .await;
}
