//! The link for a forgotten password: the account and the address that it is for, what it is bound
//! to, and how it is written.

use std::time::Duration;

use sea_orm::DbErr;

use crate::account::entity::account::Model;
use crate::account::entity::login_name;
use crate::attempt::Ticket;
use crate::base::event::Event;
use crate::base::transaction::Txn;
use crate::context::Context;
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Answer, Start};
use crate::outbox::{self, Counted, Outgoing};
use crate::outstanding::Kind;

/// The values that a token is bound to. If one of them changes, the token becomes invalid. The
/// account's epoch is not one of them, because any session can increase it. What else ends a link
/// ends its row; see
/// [`one_time::end_of_account`].
pub(super) struct Binding([Vec<u8>; 4]);

impl Binding {
    /// Binds to the account, and to the further address if the link goes to one.
    pub(super) fn of(row: &Model, further: Option<&str>) -> Self {
        let last_login = row.last_login_at.map(|at| at.as_millis().to_be_bytes().to_vec());
        Self([
            row.email.clone().unwrap_or_default().into_bytes(),
            row.password_hash.clone().unwrap_or_default().into_bytes(),
            last_login.unwrap_or_default(),
            further.unwrap_or_default().as_bytes().to_vec(),
        ])
    }

    /// Returns the binding of a token that nobody gets. It makes the work the same for an unknown
    /// name.
    pub(super) fn of_nobody() -> Self {
        Self(Default::default())
    }

    pub(super) fn parts(&self) -> [&[u8]; 4] {
        [&self.0[0], &self.0[1], &self.0[2], &self.0[3]]
    }
}

/// The account that a link is for, and the address that it goes to.
pub(super) struct Asked {
    pub(super) row: Model,
    pub(super) to: Recipient,
    /// The normal form of the further address, if the link goes to one.
    pub(super) further: Option<String>,
}

impl Asked {
    /// Chooses the address for a link. It is the further address that was typed, if this one and
    /// the account's own address are both proved. The own address must be proved too, because only
    /// it can first prove an account. In all other cases it is the account's own address. If the
    /// account has no own address, there is no link: then its owner may be undoing what a thief
    /// changed.
    pub(super) fn of(name: &login_name::Model, row: Model) -> Option<Self> {
        let own = row.email.as_deref()?;
        let further = name.typed.as_deref();
        let further = further.filter(|_| name.verified_at.is_some() && row.verified_at.is_some());
        let to = Recipient::email(further.unwrap_or(own))?;
        let further = further.map(|_| name.normal.clone());
        Some(Self { row, to, further })
    }
}

/// A request for a link. It does the same work for every name.
pub(super) struct Request<'a> {
    pub(super) context: &'a Context,
    /// The normal form of the name that was typed.
    pub(super) asked: &'a str,
    /// `None` for an unknown name, and for a request that was refused.
    pub(super) found: Option<&'a Asked>,
    pub(super) on_known_device: bool,
    pub(super) event: Event,
}

impl Request<'_> {
    /// Writes the link and its mail, or something of the same size for nobody.
    pub(super) async fn write(&self, txn: &Txn<'_>, ticket: &Ticket) -> Result<(), DbErr> {
        let Self { context, found, .. } = *self;
        let lifetime = context.config.mail.password_reset_lifetime;
        let to = found.map(|found| &found.to);
        let further = found.and_then(|found| found.further.as_deref());
        let kind = MessageKind::PasswordReset;
        let admitted = outbox::admit(txn, context, kind, self.counted()).await?;
        // A mailbox that got a link just before keeps that link. The row that is written instead
        // belongs to no account, and makes the work the same.
        let account = found.map(|found| &found.row).filter(|_| admitted.0);
        let binding = account.map_or_else(Binding::of_nobody, |row| Binding::of(row, further));
        let start = Start {
            kind: &Kind::PasswordReset,
            account_id: account.map(|row| row.id),
            session_id: None,
            target: account.and_then(|row| row.email.as_deref()),
            data: account.and(further),
            binding: Some(&binding.parts()),
            answer: Answer::TokenOnly,
            lifetime,
            cool_down: Duration::ZERO,
        };
        let started = one_time::start(txn, context, &start).await?;
        let link = started.as_ref().and_then(|started| {
            let page = &context.config.mail.links.password_reset;
            context.config.link(page, &started.token)
        });
        let outgoing = Outgoing {
            account_id: account.map(|row| row.id),
            ..Outgoing::new(kind, to.cloned())
                .values(Values::new().with_some("link", link))
                .good_for(lifetime)
        };
        outbox::put_admitted(txn, context, &outgoing, admitted).await?;
        ticket.record(txn, &self.event).await?;
        // The attempt counts as failed, because nobody has proved anything yet.
        ticket.failed(txn).await
    }

    /// The owner's device has its own count, and a verified address one for all spellings. So
    /// strangers cannot use up what the owner may request.
    fn counted(&self) -> Counted<'_> {
        match self.found {
            Some(found) if self.on_known_device => Counted::OnKnownDevice(found.to.as_str()),
            Some(found) if found.row.verified_at.is_some() => Counted::Proved(found.to.as_str()),
            Some(found) => Counted::Mailbox(found.to.as_str()),
            None => Counted::Nobody(self.asked),
        }
    }
}
