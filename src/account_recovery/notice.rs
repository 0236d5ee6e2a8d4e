//! Messages to the addresses and numbers of an account.

use std::time::Duration;

use sea_orm::DbErr;

use super::recovery::AccountRecovery;
use crate::account::entity::account;
use crate::account::{LoginIdKind, store as account_store};
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, AccountRecoveryId};
use crate::base::transaction::Txn;
use crate::context::Context;
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Answer, Start};
use crate::outbox::{self, Outgoing, Put};
use crate::outstanding::Kind;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Returns a duration in hours, as messages show it.
pub(super) fn in_hours(duration: Duration) -> u64 {
    duration.as_secs().div_ceil(HOUR.as_secs())
}

/// Returns every proved address and number of an account to which something can be sent, with its normal
/// form.
async fn recipients(
    txn: &Txn<'_>,
    context: &Context,
    row: &account::Model,
) -> Result<Vec<(String, Recipient)>, DbErr> {
    let mut recipients = Vec::new();
    for name in account_store::names_of(txn, row.id).await? {
        if name.verified_at.is_none() {
            continue;
        }
        let text = name.as_written(row);
        let to = match LoginIdKind::from_number(name.kind) {
            Some(LoginIdKind::Email) => Recipient::email(text),
            Some(LoginIdKind::Phone) => Recipient::phone(text),
            Some(LoginIdKind::Username) | None => None,
        };
        if let Some(to) = to.filter(|to| context.can_send_to(to)) {
            recipients.push((name.normal, to));
        }
    }
    Ok(recipients)
}

/// Tells of a new recovery, with a link for each address that objects to it. Returns how many there are.
pub(super) async fn opened(
    txn: &Txn<'_>,
    context: &Context,
    row: &account::Model,
    recovery: AccountRecoveryId,
) -> Result<usize, DbErr> {
    let config = &context.config;
    let lifetime = config.account_recovery.whole();
    let mut notices = 0;
    for (normal, to) in recipients(txn, context, row).await? {
        let link = objection(txn, context, (row.id, recovery), &normal, lifetime).await?;
        let values = Values::new()
            .with_some("link", link)
            .with("hours", in_hours(config.account_recovery.delay));
        let message = Outgoing::new(MessageKind::RecoveryOpened, Some(to))
            .account(row.id)
            .values(values)
            .undone_within(lifetime);
        notices += usize::from(outbox::put(txn, context, &message).await? == Put::Queued);
    }
    Ok(notices)
}

/// Tells that the link of a recovery was sent, with another link that objects: an address that was proved
/// since the first notice has none.
pub(super) async fn completed(
    txn: &Txn<'_>,
    context: &Context,
    row: &account::Model,
    recovery: &AccountRecovery,
    now: Timestamp,
) -> Result<(), DbErr> {
    let lifetime = recovery.expires_at.since(now) + context.config.account_recovery.link_lifetime;
    for (normal, to) in recipients(txn, context, row).await? {
        // A target of its own, which is still this address. The link of the first notice stays valid.
        let target = format!("{normal} ");
        let link = objection(txn, context, (row.id, recovery.id), &target, lifetime).await?;
        let message = Outgoing::new(MessageKind::RecoveryCompleted, Some(to))
            .account(row.id)
            .values(Values::new().with_some("link", link))
            .undone_within(lifetime);
        outbox::put(txn, context, &message).await?;
    }
    Ok(())
}

/// Returns a link that objects to a recovery. It replaces the one with the same target.
async fn objection(
    txn: &Txn<'_>,
    context: &Context,
    (account, recovery): (AccountId, AccountRecoveryId),
    target: &str,
    lifetime: Duration,
) -> Result<Option<String>, DbErr> {
    let bound = recovery.as_uuid();
    let start = Start {
        kind: &Kind::RecoveryObjection,
        account_id: Some(account),
        session_id: None,
        target: Some(target),
        data: None,
        binding: Some(&[bound.as_bytes()]),
        answer: Answer::TokenOnly,
        lifetime,
        cool_down: Duration::ZERO,
    };
    let started = one_time::start(txn, context, &start).await?;
    let page = &context.config.mail.links.recovery_object;
    Ok(started.and_then(|started| context.config.link(page, &started.token)))
}

/// Where the link of a recovery goes.
pub(super) struct Destination {
    to: Recipient,
    /// The normal form of an address of the account. The link works only while it is one.
    own: Option<String>,
}

/// Returns where the link of a recovery goes: the new address, else the own address, else the first
/// further one. An address of the account must be proved.
pub(super) async fn destination(
    txn: &Txn<'_>,
    context: &Context,
    row: &account::Model,
    email: Option<&str>,
) -> Result<Option<Destination>, DbErr> {
    if let Some(email) = email {
        let to = Recipient::email(email).filter(|to| context.can_send_to(to));
        return Ok(to.map(|to| Destination { to, own: None }));
    }
    let names = account_store::names_of(txn, row.id).await?;
    let mut proved: Vec<_> = names
        .iter()
        .filter(|name| name.kind == LoginIdKind::Email.number() && name.verified_at.is_some())
        .collect();
    proved.sort_by_key(|name| name.typed.is_some());
    let mut destinations = proved.into_iter().filter_map(|name| {
        let to = Recipient::email(name.as_written(row))?;
        Some(Destination { to, own: Some(name.normal.clone()) })
    });
    Ok(destinations.find(|destination| context.can_send_to(&destination.to)))
}

/// Sends the link with which the person sets a new password.
pub(super) async fn link(
    txn: &Txn<'_>,
    context: &Context,
    row: &account::Model,
    recovery: AccountRecoveryId,
    destination: Destination,
) -> Result<(), DbErr> {
    let config = &context.config;
    let lifetime = config.account_recovery.link_lifetime;
    let bound = recovery.as_uuid();
    let start = Start {
        kind: &Kind::AccountRecovery,
        account_id: Some(row.id),
        session_id: None,
        // There is no target, so a link that is sent again replaces the one before.
        target: None,
        data: destination.own.as_deref(),
        binding: Some(&[bound.as_bytes()]),
        answer: Answer::TokenOnly,
        lifetime,
        cool_down: Duration::ZERO,
    };
    let started = one_time::start(txn, context, &start).await?;
    let page = &config.mail.links.account_recovery;
    let link = started.and_then(|started| config.link(page, &started.token));
    let values = Values::new().with_some("link", link).with("hours", in_hours(lifetime));
    let to = Some(destination.to);
    let message = Outgoing::new(MessageKind::RecoveryLink, to).account(row.id).values(values);
    outbox::put(txn, context, &message.undone_within(lifetime)).await?;
    Ok(())
}
