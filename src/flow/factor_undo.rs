//! The notice of a new second factor. It has a link that removes the factor, as the notice of a changed
//! address has one that puts the old address back.
//!
//! With the link, a person who can read the mailbox can remove the factor, and set a new password through the
//! same mailbox. So there is no link where a role requires a factor: that account is worth more than a
//! mailbox, and its set-up has already asked for a proof of the mailbox or of another factor.
//!
//! The link is bound to the address to which it was sent. Otherwise a thief who changed the address first,
//! and got such a link, could use it after the owner has put the address back.

use sea_orm::DbErr;

use crate::account::entity::account;
use crate::account::{LoginId, store as account_store};
use crate::base::client::ClientInfo;
use crate::base::factor::Factor;
use crate::base::transaction::Txn;
use crate::context::Context;
use crate::flow::enrolling::FactorOwner;
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Answer, Challenge, Start};
use crate::outbox::{self, Outgoing};
use crate::outstanding::Kind;

/// A second factor that an account got in the epoch `epoch`.
#[derive(Clone, Copy)]
pub(crate) struct NewFactor<'a> {
    pub(crate) context: &'a Context,
    pub(crate) owner: &'a FactorOwner,
    /// The account before the change.
    pub(crate) row: &'a account::Model,
    pub(crate) factor: Factor,
    pub(crate) epoch: i64,
    pub(crate) client: &'a ClientInfo,
}

impl NewFactor<'_> {
    /// Tells the owner, in the transaction of the change.
    pub(crate) async fn tell(&self, txn: &Txn<'_>) -> Result<(), DbErr> {
        let Self { context, row, factor, client, .. } = *self;
        let link = self.link(txn).await?;
        let lifetime = context.config.factor.undo_lifetime.filter(|_| link.is_some());
        let mut values = Values::new().with("factor", factor.in_words());
        values = values.with_some("address", client.address());
        if factor == Factor::Provider {
            values = values.with("linked", true);
        }
        if let (Some(link), Some(lifetime)) = (link, lifetime) {
            let days = lifetime.as_secs() / (24 * 60 * 60);
            values = values.with("link", link).with("days", days);
        }
        let to = row.email.as_deref().and_then(Recipient::email);
        let mut notice = Outgoing::new(MessageKind::FactorAdded, to).account(row.id).values(values);
        if let Some(lifetime) = lifetime {
            notice = notice.undone_within(lifetime);
        }
        outbox::put(txn, context, &notice).await?;
        Ok(())
    }

    /// Creates the link. An account without a verified address gets none: it may still be handed over to
    /// the person who proves the address.
    async fn link(&self, txn: &Txn<'_>) -> Result<Option<String>, DbErr> {
        let Self { context, owner, row, factor, epoch, .. } = *self;
        let config = &context.config;
        let (Some(lifetime), Some(normal)) = (config.factor.undo_lifetime, mailbox(row)) else {
            return Ok(None);
        };
        if config.factor.prove_mailbox && owner.is_required(context) {
            return Ok(None);
        }
        let names = account_store::names_of(txn, row.id).await?;
        if !names.iter().any(|name| name.normal == normal && name.verified_at.is_some()) {
            return Ok(None);
        }
        let start = Start {
            kind: &Kind::FactorUndo,
            account_id: Some(row.id),
            session_id: None,
            // One link for each factor that the account ever had.
            target: Some(&format!("{} {epoch}", factor.as_str())),
            data: Some(&epoch.to_string()),
            binding: Some(&[normal.as_bytes(), &epoch.to_be_bytes()]),
            answer: Answer::TokenOnly,
            lifetime,
            cool_down: std::time::Duration::ZERO,
        };
        let started = one_time::start(txn, context, &start).await?;
        let page = &config.mail.links.factor_undo;
        Ok(started.and_then(|started| config.link(page, &started.token)))
    }
}

/// Returns the epoch since which factors are removed by this link, if it was sent to the present address of
/// the account.
pub(crate) fn since(context: &Context, link: &Challenge, row: &account::Model) -> Option<i64> {
    let epoch: i64 = link.data()?.parse().ok()?;
    let normal = mailbox(row)?;
    let parts: [&[u8]; 2] = [normal.as_bytes(), &epoch.to_be_bytes()];
    link.is_bound_to(context, &parts).then_some(epoch)
}

fn mailbox(row: &account::Model) -> Option<String> {
    let email = row.email.as_deref()?;
    LoginId::parse(email).ok().map(|id| id.normal().to_owned())
}
