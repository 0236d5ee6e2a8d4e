//! Messages of the application, and the values of every message.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::message::{OwnMessage, TextMessages};
use portcullis::outbox::{Put, SendError};
use portcullis::{MessageKind, Portcullis, Problem, Recipient};
use serde_json::json;

use crate::on_every_database;
use crate::support::Probe;

const MINUTE: Duration = Duration::from_secs(60);
const INVITATION: &str = "invitation";
const SECRET_LINK: &str = "https://app.example.com/join#token=f3b1c0ffee";
const TEXT: &str = "Subject: Join {{ service }}\n\n{{ inviter }} invites you: {{ link }}\n";
const HTML: &str = "{% extends 'layout.html' %}{% block content %}<a href=\"{{ link }}\">{{ inviter }}</a>{% endblock %}";

fn inviting(mut probe: Probe) -> Probe {
    let texts = probe.notifier.clone();
    probe.auth = probe.rebuilt(|builder| {
        builder.template(MessageKind::Own(INVITATION), TEXT, HTML).text_messages(texts)
    });
    probe
}

fn to(address: &str) -> Recipient {
    Recipient::Email(address.to_owned())
}

fn invitation(recipient: Recipient) -> OwnMessage {
    OwnMessage::new(INVITATION, recipient).value("inviter", "Bob & Co").value("link", SECRET_LINK)
}

async fn send(auth: &Portcullis, message: OwnMessage) -> Put {
    auth.outbox().send(message).await.expect("it is put in")
}

on_every_database! {
    async fn a_message_of_the_applications_own_is_sealed_rendered_and_delivered(probe: Probe) {
        let probe = inviting(probe);
        let put = send(&probe.auth, invitation(to("alice@example.com"))).await;
        assert_eq!(put, Put::Queued);
        for row in probe.hex_dump("auth_outbox").await {
            for secret in ["f3b1c0ffee", "alice@example.com", "Bob"] {
                let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
                assert!(!row.to_lowercase().contains(&hex), "{secret} is in the row");
            }
        }
        let mail = probe.mail().await.pop().expect("it is sent");
        assert_eq!((mail.kind, mail.to.as_str()), (MessageKind::Own(INVITATION), "alice@example.com"));
        assert!(mail.subject.starts_with("Join "), "{}", mail.subject);
        assert_eq!(mail.text, format!("Bob & Co invites you: {SECRET_LINK}\n"));
        assert!(mail.html.as_deref().is_some_and(|html| html.contains("Bob &amp; Co")));
        assert_eq!(mail.value("link"), Some(SECRET_LINK));
        let names: Vec<_> = mail.values().map(|(name, _)| name).collect();
        assert_eq!(names, ["at", "inviter", "link", "service", "service_url"]);
        let printed = format!("{mail:?}");
        assert!(!printed.contains("f3b1c0ffee") && !printed.contains("alice"), "{printed}");
        // A phone number gets only the text.
        send(&probe.auth, invitation(Recipient::Phone("+4915112345678".to_owned()))).await;
        let text = probe.mail().await.pop().expect("it is sent");
        assert_eq!((text.subject.as_str(), text.html), ("", None));
    }

    async fn one_recipient_gets_no_more_than_the_limit_in_any_spelling(probe: Probe) {
        let probe = inviting(probe);
        assert_eq!(send(&probe.auth, invitation(to("alice@example.com"))).await, Put::Queued);
        for again in ["alice@example.com", "ALICE@example.com", "alice+x@example.com"] {
            assert_eq!(send(&probe.auth, invitation(to(again))).await, Put::HeldBack, "{again}");
        }
        assert_eq!(send(&probe.auth, invitation(to("bob@example.com"))).await, Put::Queued);
        for expected in [Put::Queued, Put::Queued, Put::Queued, Put::Queued, Put::HeldBack] {
            probe.clock.advance(MINUTE);
            assert_eq!(send(&probe.auth, invitation(to("alice@example.com"))).await, expected);
        }
        assert_eq!(probe.mail().await.len(), 6);
    }

    async fn it_leaves_only_with_the_transaction_of_the_caller(probe: Probe) {
        let probe = inviting(probe);
        let txn = probe.auth.begin().await.expect("it opens");
        let put = probe.auth.outbox().within(&txn).send(invitation(to("alice@example.com"))).await;
        assert_eq!(put.expect("it is put in"), Put::Queued);
        txn.rollback().await;
        assert_eq!(probe.mail().await.len(), 0);
        // The rolled back message does not count for the limit either.
        let txn = probe.auth.begin().await.expect("it opens");
        let put = probe.auth.outbox().within(&txn).send(invitation(to("alice@example.com"))).await;
        assert_eq!(put.expect("it is put in"), Put::Queued);
        txn.commit().await.expect("it commits");
        assert_eq!(probe.mail().await.len(), 1);
    }

    async fn what_cannot_be_sent_is_refused_at_once_and_nothing_is_written(probe: Probe) {
        let plain = probe.auth.clone();
        let probe = inviting(probe);
        let refused = async |auth: &Portcullis, message: OwnMessage| {
            let printed = format!("{message:?}");
            assert!(!printed.contains("f3b1c0ffee"), "{printed}");
            let error = auth.outbox().send(message).await.expect_err("it cannot be sent");
            let said = format!("{error} {error:?}");
            assert!(!said.contains("f3b1c0ffee") && !said.contains("alice"), "{said}");
            error
        };
        let alice = || to("alice@example.com");
        let error = refused(&probe.auth, OwnMessage::new("unheard_of", alice())).await;
        assert!(matches!(error, SendError::UnknownKind("unheard_of")), "{error:?}");
        // The application cannot send a message of a built-in kind this way.
        let error = refused(&probe.auth, OwnMessage::new("password_reset", alice())).await;
        assert!(matches!(error, SendError::UnknownKind(_)), "{error:?}");
        let lacking = OwnMessage::new(INVITATION, alice()).value("link", SECRET_LINK);
        let error = refused(&probe.auth, lacking).await;
        let SendError::Template { kind, missing } = &error else { panic!("{error:?}") };
        assert_eq!((*kind, missing.as_slice()), (INVITATION, &["inviter".to_owned()][..]));
        assert_eq!((error.status().as_u16(), error.code()), (500, "misconfigured"));
        for bad in [
            "", "alice", "alice@", "a@x.example,b@y.example", "alice@x.example\r\nBcc: b@y.example",
            "-alice@example.com", "<alice@example.com>", &format!("alice@{}.example", "x".repeat(300)),
        ] {
            let error = refused(&probe.auth, invitation(to(bad))).await;
            assert!(matches!(error, SendError::Recipient), "{bad:?}: {error:?}");
        }
        let error = refused(&probe.auth, invitation(Recipient::Phone("112".to_owned()))).await;
        assert_eq!((error.status().as_u16(), error.code()), (422, "invalid_recipient"));
        // Without a sender of text messages, no phone number can be a recipient.
        let by_mail = probe.rebuilt(|builder| builder.template(MessageKind::Own(INVITATION), TEXT, HTML));
        let phone = Recipient::Phone("+4915112345678".to_owned());
        let error = refused(&by_mail, invitation(phone)).await;
        assert!(matches!(error, SendError::NoNotifier), "{error:?}");
        assert!(matches!(refused(&plain, invitation(alice())).await, SendError::UnknownKind(_)));
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_outbox").await, 0);
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_outbox_limit").await, 0);
    }

    async fn a_node_that_does_not_know_a_kind_leaves_it_to_others(probe: Probe) {
        let older = probe.auth.clone();
        let probe = inviting(probe);
        send(&probe.auth, invitation(to("alice@example.com"))).await;
        let delivered = older.outbox().deliver_due().await.expect("it is read");
        assert_eq!((delivered.sent, delivered.put_off, delivered.given_up), (0, 1, 0));
        probe.clock.advance(MINUTE);
        assert_eq!(probe.mail().await.len(), 1);
    }

    async fn a_node_with_an_older_template_leaves_it_to_the_newer_ones(probe: Probe) {
        let probe = inviting(probe);
        let older = probe.rebuilt(|builder| {
            let text = "Subject: Join\n\n{{ inviter }} invites you to {{ team }}: {{ link }}\n";
            builder.template(MessageKind::Own(INVITATION), text, HTML)
        });
        // Nobody gives `team` any more.
        send(&probe.auth, invitation(to("alice@example.com"))).await;
        let delivered = older.outbox().deliver_due().await.expect("it is read");
        assert_eq!((delivered.sent, delivered.put_off, delivered.given_up), (0, 1, 0));
        probe.clock.advance(MINUTE);
        let mail = probe.mail().await.pop().expect("it is sent");
        assert_eq!(mail.value("link"), Some(SECRET_LINK));
        // Where no node can send it, it is given up like any other.
        send(&probe.auth, invitation(to("bob@example.com"))).await;
        let mut given_up = 0;
        for _ in 0..20 {
            let delivered = older.outbox().deliver_due().await.expect("it is read");
            given_up += delivered.given_up;
            probe.clock.advance(60 * MINUTE);
        }
        assert_eq!(given_up, 1);
        let kept = "SELECT COUNT(*) FROM auth_outbox WHERE payload IS NOT NULL";
        assert_eq!(probe.number(kept).await, 0);
    }

    async fn an_own_kind_may_have_the_name_of_a_built_in_one(probe: Probe) {
        let mut probe = probe;
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [
            ("password_reset.txt", "Subject: The built-in one\n\n{{ link }}\n"),
            // In a folder those of the application have `app-` before them.
            ("app-password_reset.txt", "Subject: The own one\n\n{{ link }}\n"),
        ] {
            std::fs::write(folder.path().join(name), text).expect("the file is written");
        }
        let own = MessageKind::Own("password_reset");
        let none = MessageKind::Own("none");
        probe.auth = probe.rebuilt(|builder| builder.template(own, TEXT, HTML).template(none, TEXT, HTML));
        probe.register_with_email("alice", "alice@example.com").await;
        let mut browser = probe.browser().await;
        let body = json!({ "login": "alice@example.com" });
        assert_eq!(browser.post("/auth/password/forgot", body).await.status, 202);
        // They do not share a limit either.
        let message = |kind| {
            OwnMessage::new(kind, to("alice@example.com")).value("inviter", "Bob").value("link", SECRET_LINK)
        };
        for kind in ["password_reset", "none"] {
            assert_eq!(send(&probe.auth, message(kind)).await, Put::Queued, "{kind}");
        }
        for kind in ["password_reset", "app:password_reset", "app:none"] {
            let rows = format!("SELECT COUNT(*) FROM auth_outbox WHERE kind = '{kind}'");
            assert_eq!(probe.number(&rows).await, 1, "{kind}");
        }
        let sent = probe.mail().await;
        let of = |kind| sent.iter().filter(|mail| mail.kind == kind).collect::<Vec<_>>();
        let ([reset], [invitation], [_]) = (&of(MessageKind::PasswordReset)[..], &of(own)[..], &of(none)[..])
        else { panic!("one of each: {sent:?}") };
        assert!(reset.text.contains("#token=") && !reset.text.contains(SECRET_LINK), "{}", reset.text);
        assert_eq!(invitation.text, format!("Bob invites you: {SECRET_LINK}\n"));

        let path = folder.path().to_owned();
        probe.auth = probe.rebuilt(|builder| {
            builder.template(own, "Subject: Not this\n\n-", HTML).template_folder(path)
        });
        probe.clock.advance(MINUTE);
        assert_eq!(send(&probe.auth, message("password_reset")).await, Put::Queued);
        let sent = probe.mail().await.pop().expect("it is sent");
        assert_eq!((sent.kind, sent.subject.as_str()), (own, "Not this"), "code wins over a folder");
    }

    async fn a_value_that_is_too_long_is_refused_and_never_cut(probe: Probe) {
        let probe = inviting(probe);
        let with = |link: &str| {
            let message = OwnMessage::new(INVITATION, to("alice@example.com"));
            message.value("inviter", "Bob").value("link", link)
        };
        for link in ["xyzzy".repeat(100) + "x", "\u{e9}".repeat(501), "xyzzy".repeat(2_000)] {
            let error = probe.auth.outbox().send(with(&link)).await.expect_err("it is too long");
            let said = format!("{error} {error:?}");
            assert!(said.contains("\"link\"") && said.contains("500"), "{said}");
            assert!(!said.contains("xyzzy") && !said.contains('\u{e9}'), "{said}");
        }
        // Nothing is written, and nothing counted for the recipient.
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_outbox").await, 0);
        let fits = "\u{e9}".repeat(500);
        let message = with(&"x".repeat(501)).value("link", &fits);
        assert_eq!(send(&probe.auth, message).await, Put::Queued, "the last value of a name counts");
        let mail = probe.mail().await.pop().expect("it is sent");
        assert_eq!(mail.value("link"), Some(&*fits));
    }

    async fn a_value_cannot_begin_a_line_of_its_own(probe: Probe) {
        let probe = inviting(probe);
        let message = OwnMessage::new(INVITATION, to("alice@example.com"))
            .value("inviter", "Eve\r\nBcc: all@example.com\u{202e}<script>")
            .value("link", SECRET_LINK);
        send(&probe.auth, message).await;
        let mail = probe.mail().await.pop().expect("it is sent");
        assert!(mail.text.starts_with("Eve  Bcc: all@example.com <script> invites"), "{}", mail.text);
        assert!(mail.html.as_ref().is_some_and(|html| !html.contains("<script>")));
    }

    async fn a_provider_with_templates_of_its_own_gets_the_code(probe: Probe) {
        /// Sends a template of the provider, with the values of the message.
        #[derive(Debug, Clone, Default)]
        struct Provider(Arc<Mutex<Vec<String>>>);

        impl TextMessages for Provider {
            fn send<'a>(&'a self, message: &'a portcullis::Message) -> portcullis::message::Sending<'a> {
                let code = message.value("code").unwrap_or_default().to_owned();
                self.0.lock().expect("nothing panics while it is held").push(code);
                Box::pin(async { Ok(()) })
            }
        }

        let mut probe = probe;
        let provider = Provider::default();
        probe.auth = probe.rebuilt(|builder| builder.text_messages(provider.clone()));
        let (_, mut browser) = probe.signed_in("alice").await;
        let asked = browser.post("/auth/phone", json!({ "phone": "+4915112345678" })).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        probe.mail().await;
        let code = provider.0.lock().expect("nothing panics").pop().expect("a code");
        assert!(code.len() >= 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        let answer = browser.post("/auth/phone/confirm", json!({ "code": code })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

#[test]
fn the_name_of_a_kind_is_one_that_can_be_stored_and_is_nobody_elses() {
    let build = |name: &'static str, text: &str| {
        let db = sea_orm::DatabaseConnection::default();
        Portcullis::builder(db)
            .secret(portcullis::Secret::generate())
            .template(MessageKind::Own(name), text, HTML)
            .build()
            .map(drop)
            .map_err(|errors| errors.to_string())
    };
    // Also what is the name of something else: these are stored with `app:` before them.
    let names = ["none", "layout", "password_reset"];
    for good in ["a", "invitation", "invoice_2", "x".repeat(60).leak()].into_iter().chain(names) {
        assert_eq!(build(good, TEXT), Ok(()), "{good}");
    }
    for bad in [
        "",
        "Invitation",
        "in-vitation",
        "in vitation",
        "../invitation",
        "invitation.txt",
        "\u{e9}",
        "a\0",
        "x".repeat(61).leak(),
    ] {
        let said = build(bad, TEXT).expect_err(bad);
        assert!(said.contains("mail templates"), "{said}");
    }
    for broken in
        ["no subject", "Subject: a\n\n{{ unclosed", "Subject: \n\nempty", "Subject: a\n\n"]
    {
        assert!(build("invitation", broken).is_err(), "{broken}");
    }
}
