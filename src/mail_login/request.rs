//! The mail for a sign-in, and how it is written.

use std::time::Duration;

use sea_orm::DbErr;

use super::destination::{Binding, Destination};
use crate::account::Email;
use crate::account::entity::account::Model;
use crate::attempt::Ticket;
use crate::base::event::Event;
use crate::base::transaction::Txn;
use crate::context::Context;
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Answer, Start};
use crate::outbox::{self, Counted, Outgoing};
use crate::outstanding::Kind;

/// A request for a mail. It does the same work for every name.
pub(super) struct Request<'a> {
    pub(super) context: &'a Context,
    /// The normal form of the name that was typed.
    pub(super) asked: &'a str,
    /// `None` for an unknown name, and for a request that was refused.
    pub(super) found: Option<(&'a Model, Destination)>,
    /// The address of an account that does not exist yet.
    pub(super) new: Option<Email>,
    /// The browser that asks. `None` for a request that was refused.
    pub(super) target: Option<String>,
    pub(super) on_known_device: bool,
    pub(super) event: Event,
}

impl Request<'_> {
    /// Writes the code and its mail, or something of the same size for nobody.
    pub(super) async fn write(&self, txn: &Txn<'_>, ticket: &Ticket) -> Result<(), DbErr> {
        let context = self.context;
        let to = self.to();
        let lifetime = context.config.mail.login_lifetime;
        let kind = MessageKind::MailLogin;
        let address_id = one_time::address_id(context, self.asked);
        let admitted = outbox::admit(txn, context, kind, self.counted(to.as_ref())).await?;
        let found = self.found.as_ref().filter(|_| admitted.0);
        let new = self.new.as_ref().filter(|_| admitted.0);
        let binding = match found {
            Some((row, to)) => Binding::of(row, &to.normal),
            None => Binding::of_nobody(),
        };
        let start = Start {
            kind: &Kind::MailLogin,
            account_id: found.map(|(row, _)| row.id),
            // If the address gets an account, an erasure must find this row.
            session_id: new.map(|_| address_id),
            // If a mail was sent just before, it stays valid. The row that is written instead belongs
            // to no browser, and keeps the work the same. An unknown name has a row too, so that a
            // wrong code is compared with something.
            target: self.target.as_deref().filter(|_| admitted.0),
            data: found.map(|(_, to)| &*to.normal).or(new.map(Email::as_str)),
            binding: Some(&binding.parts()),
            answer: Answer::CodeOfToken,
            lifetime,
            cool_down: Duration::ZERO,
        };
        let started = one_time::start(txn, context, &start).await?;
        let link = started
            .as_ref()
            .and_then(|one| context.config.link(&context.config.mail.links.login, &one.token));
        let code = started.as_ref().and_then(|one| one.code.as_ref());
        let values =
            Values::new().with_some("link", link).with_some("code", code.map(|code| code.as_str()));
        let outgoing = Outgoing {
            account_id: found.map(|(row, _)| row.id),
            ..Outgoing::new(kind, to).values(values).good_for(lifetime)
        };
        outbox::put_admitted(txn, context, &outgoing, admitted).await?;
        ticket.record(txn, &self.event).await?;
        // The attempt counts as failed, because nobody has proved anything yet.
        ticket.failed(txn).await
    }

    fn to(&self) -> Option<Recipient> {
        match (&self.found, &self.new) {
            (Some((_, to)), _) => Recipient::email(&to.mailbox),
            (None, Some(new)) => Recipient::email(new.as_str()),
            (None, None) => None,
        }
    }

    /// A known device has its own count, and so has a verified address. So strangers cannot use up
    /// the owner's requests.
    fn counted<'c>(&'c self, to: Option<&'c Recipient>) -> Counted<'c> {
        match (to.map(Recipient::as_str), &self.found) {
            (Some(to), _) if self.on_known_device => Counted::OnKnownDevice(to),
            (Some(to), Some((_, found))) if found.is_proved => Counted::Proved(to),
            (Some(to), _) => Counted::Mailbox(to),
            (None, _) => Counted::Nobody(self.asked),
        }
    }
}
