//! The proof of an address of an account: requesting it, confirming it, and undoing the change.
//!
//! The mail address, the phone number and further sign-in names share this. Each of them decides
//! itself what is changed and what the owner is told.
//!
//! 1. [`ask`] sends a link and a code to the new address. If another account has the address, its
//!    owner gets a notice instead. The work and the answer are the same in both cases, so the
//!    client learns nothing.
//! 2. [`Confirming`] accepts the link or the code, once. A second click in the same browser is told
//!    that the first one worked.
//! 3. [`Undoing`] does the same with the link that was sent to the old address.

use std::time::Duration;

use sea_orm::DbErr;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::account::{Account, store as account_store};
use crate::attempt::Ticket;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::Factor;
use crate::base::factor::PassedFactors;
use crate::base::id::SessionId;
use crate::base::transaction::{Fault, MaybeFault, Txn};
use crate::context::Context;
use crate::flow::factors::would_help;
use crate::handle::Portcullis;
use crate::identity::Identity;
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Answer, Challenge, CodeAttempt, Proof, Start};
use crate::outbox::{self, Admitted, Counted, Outgoing};
use crate::outstanding::Kind;
use crate::session::{Issued, SessionError, StartSession};

/// Creates the errors of a capability for a link that does not work.
pub(crate) trait LinkError: MaybeFault + From<DbErr> {
    fn wrong_code() -> Self;
    fn used_just_now() -> Self;
    fn is_wrong_code(&self) -> bool;
}

/// Creates the errors of a capability for what else can fail here.
pub(crate) trait AddressError: LinkError {
    fn factor_too_old(max_age: Duration, factors: Vec<Factor>) -> Self;
    fn too_many_attempts(retry_after: Duration) -> Self;
    fn too_soon(retry_after: Duration) -> Self;
}

/// Implements [`LinkError`] for an error that has variants with these names.
macro_rules! link_error {
    ($error:ident) => {
        impl $crate::flow::address::LinkError for $error {
            fn wrong_code() -> Self {
                Self::WrongCode
            }

            fn used_just_now() -> Self {
                Self::UsedJustNow
            }

            fn is_wrong_code(&self) -> bool {
                matches!(self, Self::WrongCode)
            }
        }
    };
}
pub(crate) use link_error;

/// Implements [`AddressError`] for an error that has variants with these names.
macro_rules! address_error {
    ($error:ident) => {
        $crate::flow::address::link_error!($error);

        impl $crate::flow::address::AddressError for $error {
            fn factor_too_old(
                max_age: std::time::Duration,
                factors: Vec<$crate::base::factor::Factor>,
            ) -> Self {
                Self::FactorTooOld { max_age, factors }
            }

            fn too_many_attempts(retry_after: std::time::Duration) -> Self {
                Self::TooManyAttempts { retry_after }
            }

            fn too_soon(retry_after: std::time::Duration) -> Self {
                Self::TooSoon { retry_after }
            }
        }
    };
}
pub(crate) use address_error;

/// A change that waits for its proof, as the challenge stores it. The link and the code are bound
/// to all of it.
pub(crate) trait Change: Serialize + DeserializeOwned + Sync {
    /// What must be unchanged when it is confirmed. `epoch` is the epoch of the account.
    fn binding(&self, epoch: i64) -> Vec<Vec<u8>>;

    /// True if both changes lead to the same new address.
    fn leads_where(&self, other: &Self) -> bool;

    fn of(challenge: &Challenge) -> Option<Self> {
        serde_json::from_str(challenge.data()?).ok()
    }

    fn binds(&self, context: &Context, challenge: &Challenge, epoch: i64) -> bool {
        challenge.is_bound_to(context, &parts(&self.binding(epoch)))
    }
}

fn parts(binding: &[Vec<u8>]) -> Vec<&[u8]> {
    binding.iter().map(Vec::as_slice).collect()
}

/// Checks that a factor was proved recently. A stolen session alone must not change the account.
pub(crate) fn recent_factor<E: AddressError>(
    context: &Context,
    identity: &Identity,
) -> Result<(), E> {
    if identity.has_recent_factor(context) {
        return Ok(());
    }
    let max_age = context.config.session.recent_factor;
    Err(E::factor_too_old(max_age, would_help(context, identity)))
}

/// When an account loses an address to another account that proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Yields {
    /// If it never proved the address.
    Unproved,
    /// If it never proved any address and cannot be used any more.
    Unclaimed,
}

/// An address that must be proved.
pub(crate) struct Asking<'a> {
    pub(crate) context: &'a Context,
    /// The account that asks.
    pub(crate) account: &'a Account,
    pub(crate) session: SessionId,
    pub(crate) kind: &'a Kind,
    /// The message to the new address, with the link and the code.
    pub(crate) confirm: MessageKind,
    /// The message to the owner, if another account has the address.
    pub(crate) taken: MessageKind,
    /// The page to which the link leads. A text message has only a code.
    pub(crate) page: Option<&'a str>,
    pub(crate) normal: &'a str,
    pub(crate) recipient: &'a Recipient,
    /// Creates a recipient from an address as its owner wrote it.
    pub(crate) recipient_of: fn(&str) -> Option<Recipient>,
    pub(crate) yields: Yields,
    pub(crate) lifetime: Duration,
}

/// Starts the challenge and sends the message. The work is the same whether or not the address is
/// free.
pub(crate) async fn ask<C: Change, E: AddressError>(
    txn: &Txn<'_>,
    asking: &Asking<'_>,
    change: &C,
) -> Result<(), E> {
    let Asking { context, account, kind, recipient, .. } = *asking;
    let message = asking.confirm;
    let admitted = outbox::admit(txn, context, message, Counted::mailbox(recipient)).await?;
    let holder = account_store::find_with_name(txn, asking.normal).await?;
    let holder = holder.filter(|(name, row)| {
        let yields = name.verified_at.is_none()
            && (asking.yields == Yields::Unproved
                || Account::from(row.clone()).has_no_claim(context.now()));
        name.account_id != account.id() && !yields
    });
    if admitted == Admitted(false) {
        // The address was sent a link a short time ago. If that link was for this change, it stays
        // valid. A change to any other address ends.
        let open = one_time::newest(txn, context, kind, Some(account.id()), "").await?;
        let open = open.and_then(|open| C::of(&open));
        if open.is_some_and(|open| !open.leads_where(change)) {
            one_time::end_of_account(txn, account.id(), Some(kind), context.now()).await?;
        }
        let held_back = Outgoing::new(message, Some(recipient.clone()));
        outbox::put_admitted(txn, context, &held_back, admitted).await?;
        return Ok(());
    }
    let config = &context.config;
    let data = serde_json::to_string(change).expect("texts and ids are always JSON");
    let binding = change.binding(account.epoch);
    // There is no target, so a new change replaces this one, even if it is for another address.
    let start = Start {
        kind,
        account_id: Some(account.id()),
        session_id: Some(asking.session),
        target: None,
        data: Some(&data),
        binding: Some(&parts(&binding)),
        answer: Answer::Code,
        lifetime: asking.lifetime,
        cool_down: config.challenge.cool_down,
    };
    let started = one_time::start(txn, context, &start).await?;
    let started = started.ok_or_else(|| E::too_soon(config.challenge.cool_down))?;
    let outgoing = match holder {
        None => {
            let link = asking.page.and_then(|page| config.link(page, &started.token));
            let code = started.code.as_ref().map(|code| code.as_str());
            Outgoing::new(message, Some(recipient.clone()))
                .account(account.id())
                .values(Values::new().with_some("link", link).with_some("code", code))
                .good_for(asking.lifetime)
        }
        // The owner's own spelling of the address is used, never that of a stranger.
        Some((name, holder)) => {
            let to = (asking.recipient_of)(name.as_written(&holder));
            let to = to.filter(|_| holder.deleted_at.is_none());
            Outgoing::new(asking.taken, to).account(holder.id)
        }
    };
    outbox::put_admitted(txn, context, &outgoing, admitted).await?;
    Ok(())
}

/// A proof of a new address, by a user who is signed in.
pub(crate) struct Confirming<'a> {
    pub(crate) auth: &'a Portcullis,
    pub(crate) identity: &'a Identity,
    pub(crate) kind: &'a Kind,
    pub(crate) proof: Proof<'a>,
    pub(crate) client: &'a ClientInfo,
    pub(crate) now: Timestamp,
}

impl Confirming<'_> {
    /// Returns the challenge of the proof and its change, if both are still valid.
    pub(crate) async fn find<C: Change, E: AddressError>(&self) -> Result<(Challenge, C), E> {
        let context = self.auth.context();
        let account = self.identity.account();
        let found = self.look_up().await?;
        if self.is_used(found.as_ref()) {
            return Err(E::used_just_now());
        }
        found
            .filter(|challenge| challenge.account_id() == Some(account.id()))
            .filter(|challenge| challenge.is_open(self.now))
            .and_then(|challenge| C::of(&challenge).map(|change| (challenge, change)))
            .filter(|(challenge, change)| change.binds(context, challenge, account.epoch))
            .ok_or_else(E::wrong_code)
    }

    /// Checks the code, if the proof is one. A link needs no check, because its token found the
    /// challenge.
    pub(crate) async fn attempt<E: AddressError>(
        &self,
        challenge: &Challenge,
    ) -> Result<Option<Ticket>, E> {
        let Proof::Code(code) = self.proof else { return Ok(None) };
        let account = self.identity.account();
        let taken = challenge.take_attempt(self.auth, Some(account.epoch), self.client).await?;
        let ticket = match taken {
            CodeAttempt::Taken(ticket) => ticket,
            CodeAttempt::TooMany(retry_after) => return Err(E::too_many_attempts(retry_after)),
        };
        if challenge.is_code(self.auth.context(), code) {
            return Ok(Some(ticket));
        }
        let failed = Event::new(EventKind::ChallengeFailed, self.now)
            .account(account.id())
            .session(self.identity.session().id())
            .from_client(self.client)
            .detail(self.kind.name());
        self.auth.attempts().fail(ticket, &Event { succeeded: false, ..failed }).await?;
        Err(E::wrong_code())
    }

    /// Uses up the proof. Of several simultaneous requests, only one continues.
    pub(crate) async fn spend<E: AddressError>(
        &self,
        txn: &Txn<'_>,
        challenge: &Challenge,
        ticket: Option<&Ticket>,
    ) -> Result<(), E> {
        if !challenge.spend_from(txn, self.auth.context(), self.client, self.now).await? {
            return Err(E::wrong_code());
        }
        if let Some(ticket) = ticket {
            ticket.succeeded(txn).await?;
        }
        Ok(())
    }

    /// Finishes the confirmation after its transaction. If the code was wrong, the same user may
    /// only have clicked twice.
    pub(crate) async fn end<T, E: AddressError>(
        &self,
        ticket: Option<Ticket>,
        result: Result<T, E>,
    ) -> Result<T, E> {
        if result.as_ref().is_err_and(E::is_wrong_code)
            && self.is_used(self.look_up().await?.as_ref())
        {
            if let Some(ticket) = ticket {
                self.auth.attempts().withdraw(ticket).await;
            }
            return Err(E::used_just_now());
        }
        if let Some(ticket) = ticket {
            one_time::end_right(self.auth, ticket, &result, E::is_wrong_code).await;
        }
        result
    }

    async fn look_up(&self) -> Result<Option<Challenge>, Fault> {
        let context = self.auth.context();
        let db = context.db();
        let executor = db.executor();
        let account = self.identity.account().id();
        db.read(one_time::find_by_proof(&executor, context, self.kind, account, self.proof)).await
    }

    fn is_used(&self, found: Option<&Challenge>) -> bool {
        let account = self.identity.account().id();
        one_time::was_used_by(self.auth.context(), found, account, self.proof, self.client)
    }
}

/// A link that undoes a change. It works without a session.
pub(crate) struct Undoing<'a> {
    pub(crate) context: &'a Context,
    pub(crate) kind: &'a Kind,
    pub(crate) token: &'a str,
    pub(crate) client: &'a ClientInfo,
    pub(crate) now: Timestamp,
}

impl Undoing<'_> {
    /// Returns the challenge of the link, if it is still open.
    pub(crate) async fn find<E: LinkError>(&self) -> Result<Challenge, E> {
        let found = self.look_up().await?;
        if self.is_used(found.as_ref()) {
            return Err(E::used_just_now());
        }
        found.filter(|found| found.is_open(self.now)).ok_or_else(E::wrong_code)
    }

    /// Finishes the undo after its transaction.
    pub(crate) async fn end<T, E: LinkError>(&self, result: Result<T, E>) -> Result<T, E> {
        // The same user may have clicked twice.
        if result.as_ref().is_err_and(E::is_wrong_code)
            && self.is_used(self.look_up().await?.as_ref())
        {
            return Err(E::used_just_now());
        }
        result
    }

    async fn look_up(&self) -> Result<Option<Challenge>, Fault> {
        let db = self.context.db();
        let executor = db.executor();
        db.read(one_time::find_by_token(&executor, self.context, self.kind, self.token)).await
    }

    fn is_used(&self, found: Option<&Challenge>) -> bool {
        found.is_some_and(|found| found.was_used_by(self.context, self.client, self.now))
    }
}

/// Starts the session that continues after a change that increased the epoch of the account.
pub(crate) async fn go_on(
    txn: &Txn<'_>,
    context: &Context,
    identity: &Identity,
    passed: PassedFactors,
    client: &ClientInfo,
) -> Result<Issued, SessionError> {
    let (account, session) = (identity.account(), identity.session());
    StartSession::new(context, context.db(), client)
        .of(account)
        .at_epoch(account.epoch + 1)
        .going_on_from(&session.state, session.transport())
        .passed(passed)
        .inside(txn)
        .issue()
        .await
}
