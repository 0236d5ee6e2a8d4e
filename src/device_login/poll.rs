//! A device asks whether it was approved, and gets its session.

use std::fmt;
use std::time::Duration;

use super::client::client_of;
use super::code::{DeviceCode, Keys};
use super::entity::Model;
use super::error::DeviceTokenError;
use super::polls::Polls;
use super::state::DeviceRequestState as State;
use super::{key, scope, store};
use crate::account::{Account, store as account_store};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::{AccountId, SessionId};
use crate::base::jwk_thumbprint::JwkThumbprint;
use crate::base::transaction::{Db, Txn, transaction};
use crate::config::{DeviceClient, DeviceCodeReuse};
use crate::dpop::ProvedKey;
use crate::handle::Portcullis;
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::{self, Outgoing};
use crate::session::issue::Minting;
use crate::session::judge::SessionState;
use crate::session::{
    SessionError, Stage, StartSession, Transport, scheme_of, store as session_store,
};

/// For how long at least a device that lost the answer gets the token again. If it must wait long between two
/// polls, it is as long as two of them.
const AGAIN: Duration = Duration::from_secs(30);

/// How often a device may send digits.
pub(super) const CONFIRMATIONS: i16 = 3;

/// A poll that is about to be sent.
#[must_use = "a poll is made by `send`"]
pub struct PollDevice<'a> {
    auth: &'a Portcullis,
    db: Db<'a>,
    client_id: String,
    device_code: String,
    confirmation: Option<String>,
    proved: Option<ProvedKey>,
}

/// What a device gets.
#[must_use = "the device needs its token"]
pub struct DeviceToken {
    token: String,
    expires_in: Duration,
    session: SessionId,
    account: AccountId,
    scope: Option<String>,
    bound_to: Option<JwkThumbprint>,
}

/// How a redemption ended.
enum Redeemed {
    Done(Box<DeviceToken>),
    /// It does not count any more, and has ended.
    Refused,
    /// The digits are wrong or missing.
    Unconfirmed,
    /// Another poll was faster, or somebody decided otherwise.
    Changed,
}

impl<'a> PollDevice<'a> {
    pub(super) fn new(
        auth: &'a Portcullis,
        db: Db<'a>,
        client_id: String,
        device_code: String,
    ) -> Self {
        Self { auth, db, client_id, device_code, confirmation: None, proved: None }
    }

    /// Sends the two digits that the approving person reads.
    pub fn confirmation(mut self, digits: impl Into<String>) -> Self {
        self.confirmation = Some(digits.into());
        self
    }

    /// Takes the [key](crate::dpop) that a request proves, if it proves one. The mounted route does this. What
    /// this refuses does not count as a poll.
    ///
    /// # Errors
    /// [`DeviceTokenError::Dpop`]
    pub fn proved_in(mut self, parts: &http::request::Parts) -> Result<Self, DeviceTokenError> {
        self.proved = key::proved_in(self.auth, parts)?;
        Ok(self)
    }

    /// Asks for the token. Writes nothing while nobody has decided.
    ///
    /// In a transaction of yours: commit it after [`ConfirmationRequired`](DeviceTokenError::ConfirmationRequired)
    /// and [`AccessDenied`](DeviceTokenError::AccessDenied), which have been recorded in it, and roll it back after
    /// every other error.
    ///
    /// # Errors
    /// All but [`InvalidScope`](DeviceTokenError::InvalidScope) and
    /// [`UnsupportedGrantType`](DeviceTokenError::UnsupportedGrantType).
    pub async fn send(self, client: &ClientInfo) -> Result<DeviceToken, DeviceTokenError> {
        let context = self.auth.context();
        let config = &context.config.device_login;
        let asking = client_of(context, &self.client_id).ok_or(DeviceTokenError::InvalidClient)?;
        let code = DeviceCode::parse(&self.device_code).ok_or(DeviceTokenError::InvalidGrant)?;
        let keys = self.auth.per_instance::<Keys>();
        let polls = self.auth.per_instance::<Polls>();
        let key = keys.of_polls(&asking.id, &code, self.proved.map(|proved| proved.key));
        if !polls.admit(key, config.interval, context.now()) {
            return Err(DeviceTokenError::SlowDown);
        }
        let executor = self.db.executor();
        let mut looked_again = false;
        loop {
            let found = store::find_by_device(&executor, keys.of_device(&code));
            let row = self.db.read(found).await?.filter(|row| row.client_id == asking.id);
            let Some(row) = row else {
                polls.forget(&key);
                return Err(DeviceTokenError::InvalidGrant);
            };
            // A thief of the code alone learns nothing.
            key::of_request(self.auth, asking, &row, self.proved.as_ref())?;
            let now = context.now();
            match State::of(&row, now) {
                State::Pending => return Err(DeviceTokenError::AuthorizationPending),
                State::Expired => return Err(DeviceTokenError::ExpiredToken),
                State::Denied | State::Suspicious => return Err(DeviceTokenError::AccessDenied),
                State::Ended => return Err(DeviceTokenError::InvalidGrant),
                State::Redeemed => {
                    let token = Box::pin(self.again(asking, &keys, &code, &row, now)).await?;
                    polls.forget(&key);
                    return Ok(token);
                }
                State::Approved => {
                    let redeem = self.redeem(asking, &keys, &code, &row, client, now);
                    match Box::pin(redeem).await? {
                        Redeemed::Done(token) => {
                            // If the answer is lost, the device may ask again at once.
                            polls.forget(&key);
                            return Ok(*token);
                        }
                        Redeemed::Refused => return Err(DeviceTokenError::AccessDenied),
                        Redeemed::Unconfirmed => {
                            return Err(DeviceTokenError::ConfirmationRequired);
                        }
                        Redeemed::Changed if looked_again => {
                            return Err(DeviceTokenError::AuthorizationPending);
                        }
                        // This state never changes back, so a second look is enough.
                        Redeemed::Changed => looked_again = true,
                    }
                }
            }
        }
    }

    /// Takes the request back while nobody has decided.
    ///
    /// # Errors
    /// [`DeviceTokenError::InvalidClient`]; [`DeviceTokenError::InvalidGrant`], also if it was decided;
    /// [`DeviceTokenError::Dpop`]; an outage.
    pub async fn end(self, client: &ClientInfo) -> Result<(), DeviceTokenError> {
        let context = self.auth.context();
        let asking = client_of(context, &self.client_id).ok_or(DeviceTokenError::InvalidClient)?;
        let code = DeviceCode::parse(&self.device_code).ok_or(DeviceTokenError::InvalidGrant)?;
        let digests = self.auth.per_instance::<Keys>().of_device(&code);
        let found = self.db.read(store::find_by_device(&self.db.executor(), digests)).await?;
        let row = found.filter(|row| row.client_id == asking.id);
        let row = row.ok_or(DeviceTokenError::InvalidGrant)?;
        key::of_request(self.auth, asking, &row, self.proved.as_ref())?;
        let (id, now) = (row.id, context.now());
        let event = Event::new(EventKind::DeviceLoginEnded, now).from_client(client);
        let event = event.detail(asking.id.clone());
        transaction!(self.db, |txn| {
            if !store::end(txn, id, State::Pending, now).await? {
                return Err(DeviceTokenError::InvalidGrant);
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        })
    }

    /// Makes the session. It is no sign-in: no factor was passed here, so `flow::sign_in` would ask for one.
    /// A person with a full session has approved it, and it has a ceiling.
    async fn redeem(
        &self,
        asking: &DeviceClient,
        keys: &Keys,
        code: &DeviceCode,
        row: &Model,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<Redeemed, DeviceTokenError> {
        let context = self.auth.context();
        let approved = row.account_id.zip(row.account_epoch).zip(row.decided_in);
        let Some((((account_id, epoch), decided_in), lineage)) = approved.zip(row.decided_lineage)
        else {
            return Ok(Redeemed::Refused);
        };
        if row.confirmation.is_some() && self.confirmation.is_none() {
            return Ok(Redeemed::Unconfirmed);
        }
        let locked = self.auth.attempts().locked_since(account_id).await?;
        let is_locked = locked.is_some_and(|since| row.factor_at.is_none_or(|at| at <= since));
        let ceiling = scope::within(asking, row.granted.as_deref());
        let sid = keys.session_of(code, row);
        let key = key::of_request(self.auth, asking, row, self.proved.as_ref())?;
        let ended = Event::new(EventKind::DeviceLoginEnded, now).account(account_id);
        let ended = ended.from_client(client).detail(asking.id.clone());
        let require_verified = context.config.login.require_verified;
        transaction!(self.db, |txn| {
            session_store::lock_account(txn, account_id).await?;
            if let Some(digits) = row.confirmation
                && !self.confirms(txn, row, digits, now).await?
            {
                // The attempt counts only if the proof is a new one.
                key::spend(self.auth, txn, self.proved.as_ref()).await?;
                return Ok(Redeemed::Unconfirmed);
            }
            let found = account_store::find(txn, account_id).await?;
            let found = found.filter(|found| found.epoch == epoch).map(|found| {
                let email = found.email.clone();
                (Account::from(found), email)
            });
            let found = found.filter(|(account, _)| account.is_usable(now, require_verified));
            let goes_on = session_store::goes_on(txn, account_id, lineage, now).await?;
            let usable = found.filter(|_| goes_on && !is_locked && !ceiling.is_empty());
            let Some((account, email)) = usable else {
                if !store::end(txn, row.id, State::Approved, now).await? {
                    return Ok(Redeemed::Changed);
                }
                audit_log::record(txn, &ended).await?;
                return Ok(Redeemed::Refused);
            };
            let start = StartSession::new(context, context.db(), client)
                .of(&account)
                .transport(Transport::Bearer)
                .ceiling(ceiling.clone())
                .lasting(asking.session_lifetime)
                .approved_in(decided_in, sid)
                .bound_to(key)
                .event(EventKind::DeviceLoginSucceeded);
            // The row moves first, so that only one of many polls makes the session.
            if !store::redeem(txn, row.id, key, now).await? {
                return Ok(Redeemed::Changed);
            }
            key::spend(self.auth, txn, self.proved.as_ref()).await?;
            let issued = start.inside(txn).issue().await?;
            store::note_session(txn, row.id, issued.session_id()).await?;
            let to = email.as_deref().and_then(Recipient::email);
            if let Some(to) = to.filter(|to| context.can_send_to(to)) {
                let values = Values::new()
                    .with("client", &asking.name)
                    .with_some("address", client.address());
                let notice = Outgoing::new(MessageKind::DeviceLogin, Some(to)).account(account_id);
                outbox::put(txn, context, &notice.values(values)).await?;
            }
            let token = DeviceToken {
                token: issued.token().unwrap_or_default().to_owned(),
                expires_in: issued.expires_in(),
                session: issued.session_id(),
                account: account_id,
                scope: narrowed(asking, row),
                bound_to: key,
            };
            Ok(Redeemed::Done(Box::new(token)))
        })
    }

    /// Compares the digits. The attempt is taken before, so that parallel polls have no more of them.
    async fn confirms(
        &self,
        txn: &Txn<'_>,
        row: &Model,
        digits: i16,
        now: Timestamp,
    ) -> Result<bool, DeviceTokenError> {
        if !store::take_confirmation(txn, row.id, CONFIRMATIONS).await? {
            return Ok(false);
        }
        if self.confirmation.as_deref() == Some(&*format!("{digits:02}")) {
            return Ok(true);
        }
        if store::deny_unconfirmed(txn, row.id, CONFIRMATIONS, now).await? {
            let mut event = Event::new(EventKind::DeviceLoginDenied, now).failed("confirmation");
            event.account_id = row.account_id;
            audit_log::record(txn, &event).await?;
        }
        Ok(false)
    }

    /// Gives the token of the session again that the device has got before, for an answer that was lost.
    async fn again(
        &self,
        asking: &DeviceClient,
        keys: &Keys,
        code: &DeviceCode,
        row: &Model,
        now: Timestamp,
    ) -> Result<DeviceToken, DeviceTokenError> {
        let context = self.auth.context();
        let got = row.session_id.zip(row.redeemed_at);
        let (session, redeemed_at) = got.ok_or(DeviceTokenError::InvalidGrant)?;
        if now.since(redeemed_at) >= AGAIN.max(2 * context.config.device_login.interval) {
            if context.config.device_login.on_reuse == DeviceCodeReuse::MarkSuspicious {
                match self.auth.sessions().mark_suspicious(session).await {
                    // It has ended, or is marked already.
                    Ok(()) | Err(SessionError::NotFound) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            return Err(DeviceTokenError::InvalidGrant);
        }
        let require_verified = context.config.login.require_verified;
        let executor = self.db.executor();
        let live = session_store::live_one(&executor, session, now, require_verified);
        let state = self.db.read(live).await?.and_then(|row| SessionState::try_from(row).ok());
        let state = state.ok_or(DeviceTokenError::InvalidGrant)?;
        let account = state.account_id.ok_or(DeviceTokenError::InvalidGrant)?;
        let sid = keys.session_of(code, row);
        transaction!(self.db, |txn| { key::spend(self.auth, txn, self.proved.as_ref()).await })?;
        let minted = Minting {
            stage: Stage::Full,
            sid,
            generation: state.generation,
            end: state.expires_at,
            idle: None,
            bound_to: state.bound_to,
        }
        .sign(context, now);
        Ok(DeviceToken {
            token: minted.token,
            expires_in: minted.expires_in,
            session,
            account,
            scope: narrowed(asking, row),
            bound_to: state.bound_to,
        })
    }
}

/// Returns the scope that was granted, if it is not what the device asked for (RFC 6749 section 5.1).
fn narrowed(asking: &DeviceClient, row: &Model) -> Option<String> {
    let granted = scope::write(&scope::within(asking, row.granted.as_deref()));
    let wanted = match &row.wanted {
        Some(wanted) => wanted.clone(),
        None => scope::write(&scope::ceiling(asking)),
    };
    (granted != wanted).then_some(granted)
}

impl DeviceToken {
    /// Returns the token of the session.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns the scheme with which the token is sent in `Authorization`: `Bearer`, or `DPoP` for one that is
    /// [bound to a key](crate::dpop).
    pub fn token_scheme(&self) -> &'static str {
        scheme_of(self.bound_to.is_some())
    }

    /// Returns the key to which the session is bound, if the device has proved one.
    pub fn bound_to(&self) -> Option<JwkThumbprint> {
        self.bound_to
    }

    /// Returns how long the token is valid before it must be renewed.
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// Returns the public id of the session.
    pub fn session_id(&self) -> SessionId {
        self.session
    }

    /// Returns the account that approved it.
    pub fn account_id(&self) -> AccountId {
        self.account
    }

    /// Returns the permissions that were granted, separated by blanks, if they are fewer than the device
    /// asked for.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }
}

// Written by hand: the token must not be printed.
impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceToken").field("session", &self.session).finish_non_exhaustive()
    }
}

// Written by hand: the code must not be printed.
impl fmt::Debug for PollDevice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollDevice").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}
