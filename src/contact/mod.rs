//! Changing the mail address and the phone number of an account.
//!
//! # How it works
//!
//! 1. A signed-in user who has proved a factor within the last five minutes enters the new address.
//!    The answer is 202, whether or not the address is free. A free address is sent a link and a
//!    code. If the address is taken, its owner is told by mail.
//! 2. Until the new address is confirmed, the old one stays in place.
//! 3. The link leads to a page of the application. Opening it changes nothing. The page posts the
//!    token, in a session of the same account. So a link that was sent to a stranger's mailbox is
//!    useless to them. A typed code needs the same session.
//! 4. One transaction replaces exactly the old address by the new one. The unique key decides
//!    whether the new one is still free. All sessions and all outstanding codes and links of the
//!    account end. The user who confirmed gets a new session.
//! 5. The old address gets a notice. If the rules below allow it, the notice has a link that undoes
//!    the change. It is valid for seven days.
//!
//! The token is bound to the exact old and new values, which are stored in its own row. So no
//! "pending address" exists that another request could overwrite. A requested change ends with the
//! next request, with the session that requested it, and whenever the epoch of the account
//! increases: after a reset or a changed password, a changed address, or when the account is
//! disabled.
//!
//! # Who may undo a change
//!
//! A thief with a stolen session can change the address. The owner who puts it back does the same.
//! The rules cannot tell them apart, so the address that was there first decides:
//!
//! - **An address gets a link** in two cases. Either it is the first one that was ever
//!   verified, or it has been in place for `contact.undo_lifetime` (seven days). Any other address
//!   gets only a notice, because it may be the thief's. An address that was never verified gets no
//!   link, because it may be a stranger's. A phone number of an account that was never verified
//!   gets none either. What counts is how long the address was in place.
//! - **Putting back an earlier address is an undo**, if it was the main address, was verified, and
//!   was replaced within the last 30 days. The state of its link does not matter: open, used or
//!   expired. A signed-in user may do it without a link. The address may have been added as a
//!   further name in between. The address that is removed gets a notice and no link. The event has
//!   the detail `put back`.
//! - **If codes to this address or number are a [second factor](crate::sent_code)**, a request for a
//!   change also needs a recent second factor. A recovery code is one, for a person who has lost the
//!   mailbox or the phone.
//! - **A further name is put back only if it was the main address before.** Any other further name
//!   becomes the main address by an ordinary change. The address that is replaced then gets a link,
//!   if the first rule allows it.
//! - **An undo of the mail address also removes what was added since** the address was replaced,
//!   because it may be the thief's. These are [further names](crate::login_name), a username that
//!   replaced the main one, and a phone number. An undo by link also removes the [second
//!   factors](crate::second_factor) that were set up since. The links of all later addresses end. An owner who
//!   signs in and puts an earlier address back must add their own names again. A username stays if
//!   nothing else would be left to sign in with. An undo of the phone number changes only numbers.
//! - **Nothing else ends a link** to an earlier address: no later change, no reset, no new
//!   password, and no end of all sessions. A thief would do these things first. No link to a later
//!   address is left, because an undo forgets these addresses.
//!
//! "Earlier" and "later" are counters in the account's row and never times. So nodes with different
//! clocks decide in the same way.
//!
//! An undo by link needs no session. It ends all sessions and all outstanding codes and links, and
//! works once. If another account has the old address now and never proved it, it loses the
//! address. If it has proved it, it keeps the address and the answer is 409.
//!
//! Two kinds of owners have no link:
//!
//! - An owner changes the address twice within a week. Then a thief comes after the first link has
//!   expired, and before the newest address has been in place for a week. The owner still has the
//!   password, and the replaced address gets a notice.
//! - An account was created without any address, so there is nothing to put back. The person who
//!   adds the first address counts as its owner. Ask for an address at registration.
//!
//! # Phone numbers
//!
//! Phone numbers work in the same way, with a code only, and can be removed. A number from a
//! registration or an import is proved by requesting it again. If another account has a number and
//! never proved it, it loses the number to the account that proves it. It loses a mail address only
//! if it cannot be used any more. Otherwise the owner of the mailbox can get into that account
//! through a forgotten password.
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, identity: portcullis::Identity)
//! # -> Result<(), portcullis::Rejection> {
//! use portcullis::ClientInfo;
//! use portcullis::contact::Proof;
//!
//! let client = ClientInfo::default();
//! auth.contact().change_email(&identity.owner()?, "alice@new.example", &client).await?;
//! // … with the code that was sent to the new address:
//! let owner = identity.owner()?;
//! let issued = auth.contact().confirm_email(&owner, Proof::Code("12345678"), &client).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//! - It does not ask the old address for consent. A user who has lost that mailbox could never
//!   change the address.
//! - It does not recognize a further name of a thief. Before you change to another address, remove
//!   the names that you do not know. Each of them gives access to the account through a forgotten
//!   password.
//! - It cannot tell an owner who makes a further name the main address from a thief who does so.
//!   After a theft, put back the address that was changed. If you make another name the main
//!   address, the thief's address gets a link if it was in place for a week. Putting the changed
//!   address back ends that link.
//! - It does not protect against a person who reads a mailbox that was the account's within the
//!   last 30 days *and* has a session. They can put that address back, and the present address gets
//!   no link. If you change the address because others read the mailbox, end all sessions first.
//! - A person who reads the old mailbox can use the link. The undo then also removes the second factors
//!   that were set up after the change. If you leave an address because others read it, set up a second
//!   factor before you change the address.
//! - An undo sets no new password. Lead the user to the page for a forgotten password next.
//! - A phone number does not sign anyone in, and does not prove a mail address.
//!
//! # Routes
//! With a notifier: `POST /email` `{email}` answers 202; `POST /email/confirm` `{token}` or
//! `{code}` answers with the new session; `POST /email/undo` `{token}` answers 204. With a sender
//! of text messages: `POST /phone` `{phone}`, `POST /phone/confirm` `{code}`, `POST /phone/undo`
//! `{token}`, `DELETE /phone`.
//!
//! # Configuration
//! [`ContactConfig`](crate::config::ContactConfig), `session.recent_factor`, `mail.links`,
//! [`ChallengeConfig`](crate::config::ChallengeConfig) for codes.
//!
//! # Events
//! `email_change_requested`, `email_changed`, `email_change_undone`, the same three with `phone_`,
//! `phone_removed`, and `authn_challenge_fail` for a wrong code. Wrong codes are counted like those
//! of every [`challenge`](crate::challenge). Links are not counted, because nobody can guess 256
//! bits.
//!
//! # Error codes
//! `insufficient_user_authentication` (401), `invalid_fields` (422), `wrong_code` (403),
//! `link_used` (409: a second click in the same browser, [for one minute](crate::password_reset)),
//! `too_many_attempts` (429), `too_soon` (429), `email_taken` and `phone_taken` (409, for an undo),
//! `only_login_name`, `factor_in_use` (409, to remove a number to which [codes](crate::sent_code) are
//! sent as a second factor).
//!
//! # Standard
//! ASVS 5.0 sections 6.3.5 to 6.3.7 and 7.5, NIST SP 800-63B-4 section 4.6; OWASP Authentication
//! Cheat Sheet, "Change registered email address".

use sea_orm::{ConnectionTrait, DbErr};
use serde::{Deserialize, Serialize};

use crate::account::closing::reopen_and_end_sessions;
use crate::account::entity::login_name;
use crate::account::former::{self, Standing};
use crate::account::{Account, store as account_store};
use crate::api_key;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::Factor;
use crate::base::id::LineageId;
use crate::base::invalid_field::InvalidField;
use crate::base::transaction::{Txn, transaction};
use crate::context::Context;
use crate::flow::address::{self, Asking, Confirming, Undoing, Yields, recent_factor};
use crate::flow::enrolling::FactorOwner;
use crate::flow::factors::{self, Recent};
use crate::flow::way_back::{self, WayBack};
use crate::handle::Portcullis;
use crate::hook::{NamesBefore, NamesCause, NamesChange};
use crate::identity::{AccountOwner, AuthError, owner};
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time;
use crate::outbox::{self, Outgoing};
use crate::session::{Issued, SessionError};

mod channel;
mod error;
mod returning;
#[cfg(feature = "routes")]
mod routes;
mod store;

pub use crate::one_time::Proof;
pub use error::ContactError;
#[cfg(feature = "routes")]
pub use routes::routes;

use channel::{Address, Channel};
use returning::{By, Returning};
use store::Move;

/// Changes the mail address and the phone number of an account. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Contact<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the flows that change the mail address and the phone number.
    pub fn contact(&self) -> Contact<'_> {
        Contact { auth: self }
    }
}

/// A change, as its challenge stores it. The token is bound to all of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Change {
    old: Option<String>,
    new: Option<String>,
    /// The sign-in that requested it.
    lineage: LineageId,
}

impl address::Change for Change {
    fn binding(&self, epoch: i64) -> Vec<Vec<u8>> {
        let text = |value: &Option<String>| match value {
            Some(text) => format!("={text}").into_bytes(),
            None => Vec::new(),
        };
        vec![
            text(&self.old),
            text(&self.new),
            self.lineage.as_uuid().as_bytes().to_vec(),
            epoch.to_be_bytes().to_vec(),
        ]
    }

    fn leads_where(&self, other: &Self) -> bool {
        self.new == other.new
    }
}

impl Contact<'_> {
    /// Requests a new mail address. Success does not say whether it is free.
    ///
    /// # Errors
    /// No recent factor; the address is not valid, or is the present one; the last request was a
    /// short time ago; an outage.
    pub async fn change_email(
        &self,
        identity: &AccountOwner<owner::Contact>,
        new: &str,
        client: &ClientInfo,
    ) -> Result<(), ContactError> {
        self.request(identity, Channel::Email, new, client).await
    }

    /// Changes the mail address to the one that was requested. All other sessions end.
    ///
    /// # Errors
    /// See [`ContactError`]. If it fails, nothing is changed.
    pub async fn confirm_email(
        &self,
        identity: &AccountOwner<owner::Contact>,
        proof: Proof<'_>,
        client: &ClientInfo,
    ) -> Result<Issued, ContactError> {
        self.confirm(identity, Channel::Email, proof, client).await
    }

    /// Puts the old mail address back, with the token that was sent to it. All sessions end.
    ///
    /// # Errors
    /// [`ContactError::WrongCode`] if anything is wrong with the token;
    /// [`ContactError::UsedJustNow`]; [`ContactError::Taken`]; a hook refused; an outage. If it
    /// fails, nothing is changed.
    pub async fn undo_email(&self, token: &str, client: &ClientInfo) -> Result<(), ContactError> {
        self.undo(Channel::Email, token, client).await
    }

    /// Requests a new phone number, like [`change_email`](Self::change_email).
    ///
    /// # Errors
    /// The same.
    pub async fn change_phone(
        &self,
        identity: &AccountOwner<owner::Contact>,
        new: &str,
        client: &ClientInfo,
    ) -> Result<(), ContactError> {
        self.request(identity, Channel::Phone, new, client).await
    }

    /// Changes the phone number to the one that was requested. All other sessions end.
    ///
    /// # Errors
    /// See [`ContactError`]. If it fails, nothing is changed.
    pub async fn confirm_phone(
        &self,
        identity: &AccountOwner<owner::Contact>,
        code: &str,
        client: &ClientInfo,
    ) -> Result<Issued, ContactError> {
        self.confirm(identity, Channel::Phone, Proof::Code(code), client).await
    }

    /// Puts the old phone number back, like [`undo_email`](Self::undo_email).
    ///
    /// # Errors
    /// The same.
    pub async fn undo_phone(&self, token: &str, client: &ClientInfo) -> Result<(), ContactError> {
        self.undo(Channel::Phone, token, client).await
    }

    /// Removes the phone number. All other sessions end. Returns `None` if there was no number.
    ///
    /// # Errors
    /// No recent factor; [`ContactError::OnlyLoginName`]; [`ContactError::FactorInUse`];
    /// [`ContactError::Session`]; a hook refused; an outage. If it fails, nothing is changed.
    pub async fn remove_phone(
        &self,
        identity: &AccountOwner<owner::Contact>,
        client: &ClientInfo,
    ) -> Result<Option<Issued>, ContactError> {
        let context = self.auth.context();
        recent_factor::<ContactError>(context, identity)?;
        let account = identity.account();
        let Some(old) = account.phone() else { return Ok(None) };
        if account.email().is_none() && account.username().is_none() {
            return Err(ContactError::OnlyLoginName);
        }
        if account.enrolled_factors().contains(Factor::TextedCode) {
            return Err(ContactError::FactorInUse);
        }
        let change = Change {
            old: Some(old.to_owned()),
            new: None,
            lineage: identity.session().lineage_id(),
        };
        let now = context.now();
        let event = event_of(EventKind::PhoneRemoved, identity, client, now);
        let issued = transaction!(context.db(), |txn| {
            let applying = Applying { context, identity, client, channel: Channel::Phone, now };
            let applied = applying.apply(txn, &change, &event).await?;
            applied.ok_or(ContactError::Session(SessionError::Ended))
        })?;
        Ok(Some(issued))
    }

    async fn request(
        &self,
        identity: &AccountOwner<owner::Contact>,
        channel: Channel,
        new: &str,
        client: &ClientInfo,
    ) -> Result<(), ContactError> {
        let context = self.auth.context();
        recent_factor::<ContactError>(context, identity)?;
        self.check_second_factor(identity)?;
        let invalid = |field| ContactError::Invalid(vec![field]);
        let address = channel.parse_field(new).map_err(invalid)?;
        let account = identity.account();
        let old = channel.of(account);
        if old == Some(address.as_str())
            && !self.waits_for_proof(channel, account, &address).await?
        {
            let message = "is the present one";
            return Err(invalid(InvalidField::new(channel.field(), "unchanged", message)));
        }
        let recipient = channel.recipient(address.as_str()).ok_or_else(|| {
            let message = "is not a single plain address";
            invalid(InvalidField::new(channel.field(), "undeliverable", message))
        })?;
        let change = Change {
            old: old.map(str::to_owned),
            new: Some(address.as_str().to_owned()),
            lineage: identity.session().lineage_id(),
        };
        let limited = self.auth.count_message(client).await;
        limited.map_err(|l| ContactError::TooSoon { retry_after: l.retry_after })?;
        let now = context.now();
        let event = event_of(channel.requested(), identity, client, now);
        let config = &context.config;
        let asking = Asking {
            context,
            account,
            session: identity.session().id(),
            kind: &channel.change(),
            confirm: channel.confirm_message(),
            taken: channel.taken_message(),
            page: match channel {
                Channel::Email => Some(&*config.mail.links.email_confirm),
                Channel::Phone => None,
            },
            normal: address.normal(),
            recipient: &recipient,
            recipient_of: match channel {
                Channel::Email => Recipient::email,
                Channel::Phone => Recipient::phone,
            },
            yields: match channel {
                Channel::Email => Yields::Unclaimed,
                Channel::Phone => Yields::Unproved,
            },
            lifetime: match channel {
                Channel::Email => config.contact.confirm_lifetime,
                Channel::Phone => config.challenge.code_lifetime,
            },
        };
        transaction!(context.db(), |txn| {
            address::ask::<_, ContactError>(txn, &asking, &change).await?;
            audit_log::record(txn, &event).await?;
            Ok(())
        })
    }

    /// If the account has second factors, a change of the address needs a recent one. Otherwise a thief of
    /// a session and of the password could let codes come to them, which are a factor or prove the mailbox.
    fn check_second_factor(
        &self,
        identity: &AccountOwner<owner::Contact>,
    ) -> Result<(), ContactError> {
        if identity.account().enrolled_factors().is_empty() {
            return Ok(());
        }
        let owner = FactorOwner::of(identity.identity());
        match factors::require_recent(self.auth, &owner, Recent::SecondFactor) {
            Ok(()) => Ok(()),
            Err(AuthError::StepUp(step_up)) => {
                let age = self.auth.context().config.session.recent_factor;
                let max_age = step_up.max_age.unwrap_or(age);
                Err(ContactError::FactorTooOld { max_age, factors: step_up.factors })
            }
            Err(_) => Err(ContactError::Session(SessionError::Ended)),
        }
    }

    /// True if the account's own number was never proved. It came with a registration or an import,
    /// and the request only has to prove it. A mail address is proved by
    /// [`verification`](crate::verification) instead.
    async fn waits_for_proof(
        &self,
        channel: Channel,
        account: &Account,
        address: &Address,
    ) -> Result<bool, ContactError> {
        if channel != Channel::Phone {
            return Ok(false);
        }
        let db = self.auth.context().db();
        let names = db.read(account_store::names_of(&db.executor(), account.id())).await?;
        let own = names.iter().find(|name| name.normal == address.normal());
        Ok(own.is_some_and(|name| name.verified_at.is_none()))
    }

    async fn confirm(
        &self,
        identity: &AccountOwner<owner::Contact>,
        channel: Channel,
        proof: Proof<'_>,
        client: &ClientInfo,
    ) -> Result<Issued, ContactError> {
        let context = self.auth.context();
        let (kind, now) = (channel.change(), context.now());
        let confirming = Confirming { auth: self.auth, identity, kind: &kind, proof, client, now };
        let (challenge, change) = confirming.find::<Change, ContactError>().await?;
        if change.old.as_deref() != channel.of(identity.account()) {
            return Err(ContactError::WrongCode);
        }
        let event = event_of(channel.changed(), identity, client, now);
        let ticket = confirming.attempt::<ContactError>(&challenge).await?;
        let done = transaction!(context.db(), |txn| {
            confirming.spend::<ContactError>(txn, &challenge, ticket.as_ref()).await?;
            let applying = Applying { context, identity, client, channel, now };
            let applied = applying.apply(txn, &change, &event).await?;
            // Another account has the address, or the change has ended. The answer does not say
            // which.
            applied.ok_or(ContactError::WrongCode)
        });
        confirming.end(ticket, done).await
    }

    async fn undo(
        &self,
        channel: Channel,
        token: &str,
        client: &ClientInfo,
    ) -> Result<(), ContactError> {
        let context = self.auth.context();
        let (kind, now) = (channel.undo(), context.now());
        let undoing = Undoing { context, kind: &kind, token, client, now };
        let challenge = undoing.find::<ContactError>().await?;
        let way = WayBack::of(context, &challenge).ok_or(ContactError::WrongCode)?;
        let id = challenge.account_id().ok_or(ContactError::WrongCode)?;
        let old = way.address.as_str();
        let normal = channel.normal(old).ok_or(ContactError::WrongCode)?;
        let event = Event::new(channel.undone(), now).account(id).from_client(client);
        let values = Values::new().with_some("address", client.address());
        let notice = Outgoing::new(channel.undone_message(), channel.recipient(old))
            .account(id)
            .values(values);
        let done = transaction!(context.db(), |txn| {
            let spent = challenge.spend_from(txn, context, client, now).await?;
            // The account is locked before its names are read. So no other change can come between.
            if !spent || !reopen_and_end_sessions(txn, id, client, now).await? {
                return Err(ContactError::WrongCode);
            }
            let remembered = former::find(txn, context, id, &normal, now).await?;
            let remembered =
                remembered.filter(|former| former.settled && former.sequence == way.sequence);
            let remembered = remembered.ok_or(ContactError::WrongCode)?;
            let row = account_store::find(txn, id).await?.ok_or(ContactError::WrongCode)?;
            let names = account_store::names_of(txn, id).await?;
            let before = NamesBefore::read(self.auth, txn, id).await?;
            let standing = remembered.standing();
            let name = channel.proved(id, &normal, now, standing);
            if !account_store::claim_name(txn, name, now).await? {
                let lost = NamesChange::lost(self.auth, client, now);
                evict_holder(txn, channel, &normal, lost).await?;
                if !account_store::claim_name(txn, name, now).await? {
                    return Err(ContactError::Taken(channel.kind()));
                }
            }
            let present = channel.of_row(&row).and_then(|present| channel.normal(present));
            if let Some(present) = present.filter(|present| *present != normal) {
                store::release(txn, id, &present).await?;
            }
            store::restore(txn, id, channel, old, now).await?;
            let back = Returning { standing, left_epoch: remembered.left_epoch, by: By::Link };
            back.take_along(txn, context, id, channel, &normal, &names).await?;
            one_time::end_of_account(txn, id, None, now).await?;
            // The person who made the change may have made a key too.
            api_key::end_all(txn, id, "change undone", now).await?;
            outbox::put(txn, context, &notice).await?;
            audit_log::record(txn, &event).await?;
            let cause = NamesCause::Undone;
            let change = NamesChange { auth: self.auth, cause, session_id: None, client, at: now };
            before.changed(txn, change).await?;
            Ok(())
        });
        undoing.end(done).await
    }
}

/// Takes the old address from an account that has got it since and never proved it. The person with
/// the link has proved it.
async fn evict_holder(
    txn: &Txn<'_>,
    channel: Channel,
    normal: &str,
    change: NamesChange<'_>,
) -> Result<(), ContactError> {
    let holder = account_store::find_by_name(txn, normal).await?;
    let holder = holder.ok_or(ContactError::Taken(channel.kind()))?;
    let before = NamesBefore::read(change.auth, txn, holder.id).await?;
    if !account_store::evict(txn, &holder, normal).await? {
        return Err(ContactError::Taken(channel.kind()));
    }
    Ok(before.changed(txn, change).await?)
}

/// A change that is being made in its transaction.
struct Applying<'a> {
    context: &'a Context,
    identity: &'a AccountOwner<owner::Contact>,
    client: &'a ClientInfo,
    channel: Channel,
    now: Timestamp,
}

impl Applying<'_> {
    /// Makes the change and everything that belongs to it. Returns `None` if it is not possible any
    /// more. Then the transaction must not be committed.
    async fn apply(
        &self,
        txn: &Txn<'_>,
        change: &Change,
        event: &Event,
    ) -> Result<Option<Issued>, ContactError> {
        let Self { context, identity, channel, now, .. } = *self;
        let account = identity.account();
        let id = account.id();
        let to = Move {
            account: id,
            epoch: account.epoch,
            channel,
            old: change.old.as_deref(),
            new: change.new.as_deref(),
            lineage: change.lineage,
        };
        let auth = Portcullis::of(context);
        let before = NamesBefore::read(&auth, txn, id).await?;
        if !store::change(txn, &to, now).await? {
            return Ok(None);
        }
        let epoch = account.epoch + 1;
        let names = account_store::names_of(txn, id).await?;
        let normal = |typed: &Option<String>| typed.as_deref().and_then(|t| channel.normal(t));
        let (old, new) = (normal(&change.old), normal(&change.new));
        // If only the spelling changes, no address is added or removed.
        let moves = old != new;
        let leaving = old.as_ref().filter(|_| moves);
        let leaving = leaving.and_then(|old| names.iter().find(|name| name.normal == *old));
        let back = match new.as_ref().filter(|_| moves) {
            Some(new) => self.returning(txn, new, leaving).await?,
            None => None,
        };
        let same = new.as_ref().filter(|_| !moves);
        let same = same.and_then(|new| names.iter().find(|name| name.normal == *new));
        // A phone number verifies an account only if there is no mail address.
        let proves = channel == Channel::Email || account.email().is_none();
        let none_before = names.iter().all(|name| name.verified_at.is_none());
        let standing = match (&back, same) {
            (Some(back), _) => back.standing,
            (None, Some(same)) if same.verified_at.is_some() => same.standing(),
            (None, _) if proves && none_before && !account.is_verified() => Standing::FIRST,
            // This also applies to a further name. What counts is how long it has been the main
            // address.
            (None, _) => Standing::from_epoch(epoch),
        };
        if let Some(new) = &new {
            let name = channel.proved(id, new, now, standing);
            let claimed = account_store::claim_name(txn, name, now).await?
                || (self.free(txn, new).await?
                    && account_store::claim_name(txn, name, now).await?);
            if !claimed {
                return Ok(None);
            }
        }
        if let Some(leaving) = leaving {
            store::release(txn, id, &leaving.normal).await?;
        }
        if let (Some(back), Some(new)) = (&back, &new) {
            back.take_along(txn, context, id, channel, new, &names).await?;
        }
        one_time::end_of_account(txn, id, None, now).await?;
        // If the address was only proved, there is nothing to notify about.
        if let Some(typed) = change.old.as_ref().filter(|_| change.old != change.new) {
            // An unverified account gets no link. The account may be handed over to the person who
            // proves its address, and the link would outlive that.
            let proved = leaving.filter(|name| name.verified_at.is_some() && account.is_verified());
            let link = match proved.filter(|_| back.is_none()) {
                Some(leaving) => self.leave(txn, leaving, typed, epoch, new.is_some()).await?,
                None => None,
            };
            self.tell(txn, channel.undo_message(), channel.recipient(typed), link).await?;
        }
        if channel == Channel::Phone && change.old != change.new {
            let to = account.email().and_then(Recipient::email);
            self.tell(txn, MessageKind::PhoneChanged, to, None).await?;
        }
        let cause = match (&back, &change.old, &change.new) {
            (Some(_), _, _) => NamesCause::Undone,
            (None, None, _) => NamesCause::Added,
            (None, _, None) => NamesCause::Removed,
            (None, old, new) if old == new => NamesCause::Proved,
            _ => NamesCause::Changed,
        };
        let event = match back {
            Some(_) => event.clone().detail("put back"),
            None => event.clone(),
        };
        audit_log::record(txn, &event).await?;
        before.changed(txn, NamesChange { cause, ..self.names_change(&auth) }).await?;
        // What was proved about the old address says nothing about the new one.
        let passed = identity.session().factors().clone().without(channel.codes());
        Ok(Some(address::go_on(txn, context, identity, passed, self.client).await?))
    }

    fn names_change<'a>(&'a self, auth: &'a Portcullis) -> NamesChange<'a> {
        let session_id = Some(self.identity.session().id());
        let (client, at) = (self.client, self.now);
        NamesChange { auth, cause: NamesCause::Changed, session_id, client, at }
    }

    /// Returns what the account remembers of a new address, if it was the main address before the
    /// one that is replaced. Then it is put back. A further name that was never the main address is
    /// not put back. Otherwise a thief's further name that the owner overlooked could replace a
    /// later address of the owner, which would get no link.
    async fn returning<C: ConnectionTrait>(
        &self,
        txn: &C,
        new: &str,
        leaving: Option<&login_name::Model>,
    ) -> Result<Option<Returning>, DbErr> {
        let id = self.identity.account().id();
        let former = former::find(txn, self.context, id, new, self.now).await?;
        let Some(former) = former else { return Ok(None) };
        if leaving.is_none_or(|leaving| former.sequence < leaving.sequence) {
            let (standing, left_epoch) = (former.standing(), former.left_epoch);
            return Ok(Some(Returning { standing, left_epoch, by: By::Session }));
        }
        former::forget(txn, self.context, id, new).await?;
        Ok(None)
    }

    /// Remembers a verified address that is replaced. Creates the link that puts it back, if the
    /// rules allow one. An address that was removed, and had only just come, is not remembered: an
    /// owner would not remove it.
    async fn leave(
        &self,
        txn: &Txn<'_>,
        leaving: &login_name::Model,
        typed: &str,
        epoch: i64,
        replaced: bool,
    ) -> Result<Option<String>, ContactError> {
        let settled = leaving.is_settled(self.context, self.now);
        if settled || replaced {
            former::remember(txn, self.context, leaving, epoch, self.now).await?;
        }
        if !settled {
            return Ok(None);
        }
        let page = match self.channel {
            Channel::Email => &self.context.config.mail.links.email_undo,
            Channel::Phone => &self.context.config.mail.links.phone_undo,
        };
        let kind = self.channel.undo();
        Ok(way_back::link_to(txn, self.context, &kind, page, leaving, typed).await?)
    }

    /// Takes the new address from an account that never proved it. A mail address stays with an
    /// account that can be used, because the owner of the mailbox can get into it through a
    /// forgotten password. A phone number gives no such access, so it is always taken.
    async fn free(&self, txn: &Txn<'_>, normal: &str) -> Result<bool, ContactError> {
        let holder = account_store::find_by_name(txn, normal).await?;
        let holder = holder.filter(|holder| {
            self.channel == Channel::Phone || Account::from(holder.clone()).has_no_claim(self.now)
        });
        let Some(holder) = holder else { return Ok(false) };
        let auth = Portcullis::of(self.context);
        let before = NamesBefore::read(&auth, txn, holder.id).await?;
        let evicted = account_store::evict(txn, &holder, normal).await?;
        before.changed(txn, NamesChange::lost(&auth, self.client, self.now)).await?;
        Ok(evicted)
    }

    async fn tell(
        &self,
        txn: &Txn<'_>,
        kind: MessageKind,
        to: Option<Recipient>,
        link: Option<String>,
    ) -> Result<(), ContactError> {
        let mut values = Values::new().with_some("address", self.client.address());
        let undone_within = self.context.config.contact.undo_lifetime.filter(|_| link.is_some());
        if let (Some(link), Some(lifetime)) = (link, undone_within) {
            let days = lifetime.as_secs() / (24 * 60 * 60);
            values = values.with("link", link).with("days", days);
        }
        let mut message =
            Outgoing::new(kind, to).account(self.identity.account().id()).values(values);
        if let Some(lifetime) = undone_within {
            message = message.undone_within(lifetime);
        }
        outbox::put(txn, self.context, &message).await?;
        Ok(())
    }
}

fn event_of(
    kind: EventKind,
    identity: &AccountOwner<owner::Contact>,
    client: &ClientInfo,
    now: Timestamp,
) -> Event {
    let session = identity.session().id();
    Event::new(kind, now).account(identity.account().id()).session(session).from_client(client)
}
