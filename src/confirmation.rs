//! Sending the proof of an address: what registration, login and verification share.

use sea_orm::DbErr;

use crate::account::Email;
use crate::account::entity::account;
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;
use crate::base::problem::ErrorChain;
use crate::base::transaction::{Fault, Txn, transaction};
use crate::context::Context;
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Answer, Start};
use crate::outbox::{self, Admitted, Counted, Outgoing};
use crate::outstanding::Kind;

/// Returns the normal form of the address that an account still has to prove. `None` if the account
/// cannot be used.
pub(crate) fn unproved(row: &account::Model, now: Timestamp) -> Option<String> {
    let usable = row.deleted_at.is_none() && row.disabled_at.is_none_or(|at| at > now);
    let email = row.email.as_deref().filter(|_| usable && row.verified_at.is_none())?;
    Email::parse(email).ok().map(|email| email.normal().to_owned())
}

/// Resends the verification mail after a correct password, if only the verification is missing.
/// Does nothing for any other account. It runs in its own task, so that the refusal of this sign-in
/// takes no longer than any other.
pub(crate) fn remind_soon(context: &Context, row: &account::Model, now: Timestamp) {
    let normal = unproved(row, now).filter(|_| context.config.login.require_verified);
    let Some(normal) = normal else { return };
    let (context, row) = (context.clone(), row.clone());
    context.clone().database.beside(async move {
        if let Err(fault) = remind(&context, &row, &normal).await {
            let error = ErrorChain(&fault).to_string();
            tracing::error!(target: "portcullis", ?error, "a verification mail could not be sent again");
        }
    });
}

async fn remind(context: &Context, row: &account::Model, normal: &str) -> Result<(), Fault> {
    let Some(mailbox) = row.email.as_deref() else { return Ok(()) };
    let proof = Proof { kind: &Kind::Verification, to: Some((row.id, mailbox)), normal };
    transaction!(context.db(), |txn| { Ok::<_, Fault>(send(txn, context, &proof).await?) })?;
    Ok(())
}

/// An address that must be proved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proof<'a> {
    pub(crate) kind: &'a Kind,
    /// The account that has or will have the address, and the mailbox. `None` if nobody gets a
    /// message. The answer must not reveal this.
    pub(crate) to: Option<(AccountId, &'a str)>,
    /// The normal form of the address, or of what a stranger typed.
    pub(crate) normal: &'a str,
}

/// Sends a link and a code, unless the recipient has received too many. Then the last link and code
/// stay valid. The work is the same whether or not there is a recipient, and whether or not
/// anything is sent. So the time does not reveal which addresses have an account.
pub(crate) async fn send(txn: &Txn<'_>, context: &Context, proof: &Proof<'_>) -> Result<(), DbErr> {
    let lifetime = context.config.verification.lifetime;
    let recipient = proof.to.and_then(|(_, mailbox)| Recipient::email(mailbox));
    let mut outgoing = Outgoing::new(MessageKind::VerifyAddress, recipient).good_for(lifetime);
    if let Some((id, _)) = proof.to {
        outgoing = outgoing.account(id);
    }
    let counted = match outgoing.to {
        Some(_) => Counted::Mailbox(proof.normal),
        None => Counted::Nobody(proof.normal),
    };
    let admitted = outbox::admit(txn, context, outgoing.kind, counted).await?;
    let started = one_time::start_if(txn, context, admitted.0, &start(context, proof)).await?;
    let admitted = Admitted(started.is_some());
    if let Some(started) = &started {
        let link = context.config.link(&context.config.mail.links.verify, &started.token);
        let values = Values::new()
            .with_some("link", link)
            .with_some("code", started.code.as_ref().map(|code| code.as_str()));
        outgoing = outgoing.values(values).good_for(lifetime);
    }
    outbox::put_admitted(txn, context, &outgoing, admitted).await?;
    Ok(())
}

/// Sends another message to the address, or none, with the same work as [`send`].
pub(crate) async fn send_instead(
    txn: &Txn<'_>,
    context: &Context,
    outgoing: &Outgoing,
    normal: &str,
) -> Result<(), DbErr> {
    let counted = match outgoing.to {
        Some(_) => Counted::Mailbox(normal),
        None => Counted::Nobody(normal),
    };
    let admitted = outbox::admit(txn, context, outgoing.kind, counted).await?;
    let nobody = Proof { kind: &Kind::Verification, to: None, normal };
    one_time::start_if(txn, context, false, &start(context, &nobody)).await?;
    outbox::put_admitted(txn, context, outgoing, admitted).await?;
    Ok(())
}

fn start<'a>(context: &Context, proof: &Proof<'a>) -> Start<'a> {
    Start {
        kind: proof.kind,
        account_id: proof.to.map(|(id, _)| id),
        session_id: None,
        target: Some(proof.normal),
        data: None,
        binding: None,
        answer: Answer::Code,
        lifetime: context.config.verification.lifetime,
        cool_down: context.config.mail.cool_down,
    }
}
