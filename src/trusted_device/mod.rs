//! Trusted devices: a browser skips the second step of a sign-in for 30 days.
//!
//! It is off by default. A second factor protects an account from a thief of the password, also from a thief
//! who has taken the device. A trusted device gives up this second protection for comfort.
//!
//! 1. A person signs in with password and second factor, and ticks "trust this device". The answer sets a
//!    cookie of its own.
//! 2. At the next sign-in from there, the password must be right as always. The cookie then stands in for
//!    the second factor. It is replaced in the same transaction.
//! 3. After 30 days the sign-in asks for the second factor again. Using it does not make this longer. The
//!    cookie has the same end, at every use.
//!
//! # Turn it on
//! 1. Apply the migration `m0016_trusted_device`, and start this version on all nodes. An older version does not
//!    know trusted devices: it takes their sessions for ordinary ones. So if you ever go back to an older
//!    version, end all sessions before.
//! 2. Set [`trusted_device.enabled`](crate::config::TrustedDeviceConfig::enabled)
//!    (`PORTCULLIS_TRUSTED_DEVICES=true`).
//! 3. Show a box on the page of the second step, if [`PendingSession::offers_trust`] says so or
//!    `GET /second-factor` has `"offers_trust": true`. Send `trust_device: true` to `POST
//!    /second-factor/verify` if the person ticked it. Never tick it for them.
//! 4. Show the list of `GET /trusted-devices` on the page of the account.
//!
//! # Who gets one
//! - Only a sign-in that has passed a second factor in this sign-in, and no recovery code, and that asked for
//!   it. An account that must set a new password or set up a factor first gets none.
//! - No [superuser](crate::config::TrustedDeviceConfig::superusers), and nobody with a role that forbids it.
//!   A role that [requires a factor](crate::permission::Roles::require_factor) forbids it, unless
//!   [`allow_trusted_devices`](crate::permission::Roles::allow_trusted_devices) says otherwise. Any role can
//!   forbid it. This is checked at each use too, so a role that is granted later counts at the next sign-in.
//! - If a role requires a strong factor, a device that was trusted after a weaker one does not stand in
//!   for it.
//! - This also counts for a session that a device began. If its owner gets such a role, becomes a superuser, or
//!   the feature is turned off, the session has ended (401 `session_ended`). It goes on if it has passed a
//!   second factor.
//!
//! If it is not allowed, the sign-in succeeds without it. The answer says `trusted_device: false`.
//!
//! # It is no factor
//! - The session has only the password. A guard that asks for a [factor](crate::Requirement::factor) leads to a
//!   step-up.
//! - What asks for any recent factor ([`within`](crate::Requirement::within), and the changes of the account)
//!   then means a second factor of the account. A password alone is not enough in such a session, also not to
//!   [change the password](crate::password_change).
//! - [`Session::by_trusted_device`](crate::Session::by_trusted_device) is true, and `GET /session` says
//!   `trusted_device: true`.
//!
//! # What ends it
//! - 30 days; its owner, in the list; an administrator, with [`end_of`](TrustedDevices::end_of).
//! - Every change of the second factors, by the owner or an administrator.
//! - A new or reset password, a change of the address or the phone number, and the link that undoes one.
//! - The use of a recovery code: the person may have lost a device.
//! - Signing out everywhere, and disabling, closing or erasing the account.
//! - The [report of a session](crate::own_session#routes) ("this was not me"), and the
//!   [theft](crate::session#how-it-works) of a session that a retired token revealed. A person who has copied one
//!   cookie may have copied all of them.
//!
//! These end all trusted devices of the account, also the one in use. The owner can also end a single one in the
//! list. These end a single one too:
//!
//! - A second trust in the same browser replaces the first.
//! - If an account has more than the limit, the device that was not used for the longest time is removed.
//!
//! If you make the [`lifetime`](crate::config::TrustedDeviceConfig::lifetime) shorter, this also counts for devices
//! that are trusted already.
//!
//! Signing out does not end the trust: the password is asked next time. Ending one other session in the list does
//! not end it either. An end does not end the sessions that began with it.
//!
//! To forget the device on a shared computer, sign out in your own handler, with
//! [`forget_device`](crate::SignedOut::forget_device):
//! `auth.log_out(request.extensions()).await?.map(SignedOut::forget_device)`. This deletes only the cookie. The
//! device stays in the list until its owner removes it, or until its time is over.
//!
//! # The token
//! The token has its own table, its own key and its own cookie (`__Host-session-trusted`). It works only here,
//! and no other token works here. A browser can hold those of five accounts. A token that is wrong, revoked,
//! expired or of another account is ignored: the sign-in asks for the second factor. It does not end the token of
//! the other account.
//!
//! Of several sign-ins at the same time with one token, one uses it, and the others ask for the second factor.
//! So does a sign-in after an answer that was lost. There is no time in which an old token is valid too:
//! the second step is a small price, and a copy of the token would have this time as well.
//!
//! A client with bearer tokens gets `trusted_device_token`, and sends it in the header
//! `Portcullis-Trusted-Device`. Each use brings a new one.
//!
//! # Example
//!
//! ```no_run
//! use portcullis::second_factor::FactorCode;
//! use portcullis::{ClientInfo, Issued, PendingSession, Portcullis, Rejection};
//!
//! async fn second_step(
//!     auth: Portcullis,
//!     pending: PendingSession,
//!     client: ClientInfo,
//!     (code, ticked): (String, bool),
//! ) -> Result<Issued, Rejection> {
//!     let (flow, code) = (auth.second_factor(), FactorCode::any(code));
//!     let verified = match ticked {
//!         true => flow.verify_and_trust(&pending, code, &client).await?,
//!         false => flow.verify(&pending, code, &client).await?,
//!     };
//!     Ok(verified.outcome.into_issued())
//! }
//! ```
//!
//! With your own check of the factor, call
//! [`Login::finish_and_trust`](crate::login::Login::finish_and_trust).
//!
//! # What it does not do
//! - It stands in only after a password. A sign-in by mail, or one that your application makes without a
//!   password, asks for the second factor.
//! - It does not end a [recovery by an administrator](crate::account_recovery), as a second factor does. An
//!   owner who uses trusted devices proves no second factor for weeks. Show a banner on your pages
//!   while `GET /account/recovery` says `open` or `completed`.
//! - It does not recognise a device. Everyone who can read the cookie has it, and the owner gets a mail when a
//!   device becomes trusted. [Known devices](crate::attempt#known-devices) are something else: they skip
//!   nothing.
//!
//! # Routes
//! They are mounted with those of [`second_factor`](crate::second_factor#routes).
//! - `GET /trusted-devices` lists them. `current` is true for the device that asks.
//! - `DELETE /trusted-devices/{id}` answers 204, and so does `POST /trusted-devices/{id}/remove` for forms.
//! - `DELETE /trusted-devices`, and `POST /trusted-devices/remove`, answer `{"removed": 2}`.
//!
//! Removing needs no recent factor.
//!
//! # Configuration
//! [`TrustedDeviceConfig`](crate::config::TrustedDeviceConfig).
//!
//! # Messages
//! `trusted_device_added`.
//!
//! # Events
//! `trusted_device_added`; `trusted_device_removed`, without a detail if the owner removed one, and else with
//! `all`, `administrator`, `limit`, `replaced`, `recovery code used`, `session reported` or `theft`. A change of
//! the account has its own event. `authn_login_success` has the detail `trusted_device` if one stood in.
//!
//! # Errors
//! `limited_session` (403), `trusted_device_not_found` (404).
//!
//! # Standard
//! NIST SP 800-63B-4 3.1.7 does not count a browser cookie as a factor. OWASP ASVS 5.0 6.3.3.

use std::net::IpAddr;

use sea_orm::DbErr;

use crate::account::entity::account;
use crate::account::store as account_store;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::Factor;
use crate::base::id::{AccountId, TrustedDeviceId};
use crate::base::transaction::{Fault, Txn, transaction};
use crate::context::Context;
use crate::flow::sign_in::{Locked, NewSession};
use crate::handle::Portcullis;
use crate::identity::enrolment::allows_trusted_devices;
use crate::identity::resolver::Resolver;
use crate::identity::{AccountOwner, owner};
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::{self, Outgoing};
use crate::session::trusted::{Token, TrustedToken, TrustedTokens};
use crate::session::{PendingSession, SessionError, store as session_store};

pub(crate) mod entity;
mod error;
#[cfg(feature = "routes")]
mod routes;
pub(crate) mod store;

pub use error::TrustedDeviceError;
#[cfg(feature = "routes")]
pub(crate) use routes::rows;

use entity::Model;
use store::Live;

const DAY: u64 = 24 * 60 * 60;

/// Lists and removes trusted devices. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct TrustedDevices<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the flows that list and remove trusted devices.
    pub fn trusted_devices(&self) -> TrustedDevices<'_> {
        TrustedDevices { auth: self }
    }
}

/// A trusted device, as its owner sees it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustedDevice {
    /// The id.
    pub id: TrustedDeviceId,
    /// True for the device that asks.
    pub current: bool,
    /// When it became trusted.
    pub created_at: Timestamp,
    /// When it last stood in for the second factor, or when it became trusted.
    pub last_used_at: Timestamp,
    /// When the trust ends.
    pub expires_at: Timestamp,
    /// The address from which it was last used.
    pub address: Option<IpAddr>,
    /// The browser or program that last used it.
    pub user_agent: Option<String>,
}

impl TrustedDevices<'_> {
    /// Lists the trusted devices of the owner, the one that was used last first.
    ///
    /// # Errors
    /// An outage.
    pub async fn list(
        &self,
        owner: &AccountOwner<owner::Factors>,
        client: &ClientInfo,
    ) -> Result<Vec<TrustedDevice>, TrustedDeviceError> {
        let (context, account) = (self.auth.context(), owner.account());
        let (db, now) = (context.db(), context.now());
        let executor = db.executor();
        let live = live(context, (account.id(), account.epoch), now);
        let rows = db.read(store::of_account(&executor, live)).await?;
        let tokens = self.auth.per_instance::<TrustedTokens>();
        let shown = tokens.find(client, account.id(), now);
        let shown = shown.map(|token| tokens.digests(token, account.id())).unwrap_or_default();
        let listed = rows.into_iter().map(|row| TrustedDevice {
            id: row.id,
            current: shown.contains(&row.digest),
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            expires_at: end_of(context, &row),
            address: row.address.as_deref().and_then(|text| text.parse().ok()),
            user_agent: row.user_agent,
        });
        Ok(listed.collect())
    }

    /// Removes one device. Its next sign-in asks for the second factor. Its sessions go on.
    ///
    /// # Errors
    /// [`TrustedDeviceError::NotFound`], also for a device of another account; an outage.
    pub async fn remove(
        &self,
        owner: &AccountOwner<owner::Factors>,
        id: TrustedDeviceId,
        client: &ClientInfo,
    ) -> Result<(), TrustedDeviceError> {
        let (context, account) = (self.auth.context(), owner.account());
        let now = context.now();
        let event = Event::new(EventKind::TrustedDeviceRemoved, now)
            .account(account.id())
            .session(owner.session().id())
            .from_client(client);
        let live = live(context, (account.id(), account.epoch), now);
        transaction!(context.db(), |txn| {
            if !store::remove(txn, live, id).await? {
                return Err(TrustedDeviceError::NotFound);
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        })
    }

    /// Removes all devices of the owner. Returns how many there were.
    ///
    /// # Errors
    /// An outage.
    pub async fn remove_all(
        &self,
        owner: &AccountOwner<owner::Factors>,
        client: &ClientInfo,
    ) -> Result<u64, TrustedDeviceError> {
        let (context, account) = (self.auth.context(), owner.account());
        let event = Event::new(EventKind::TrustedDeviceRemoved, context.now())
            .account(account.id())
            .session(owner.session().id())
            .from_client(client)
            .detail("all");
        self.end(account.id(), event).await
    }

    /// Removes all trusted devices of an account, for an administrator. Returns how many there were. Other
    /// changes of the account do this too, see the [module page](self#what-ends-it).
    ///
    /// # Errors
    /// An outage. It is no error if there is no such account.
    pub async fn end_of(&self, account: AccountId) -> Result<u64, TrustedDeviceError> {
        let now = self.auth.context().now();
        let event = Event::new(EventKind::TrustedDeviceRemoved, now).account(account);
        self.end(account, event.detail("administrator")).await
    }

    async fn end(&self, account: AccountId, event: Event) -> Result<u64, TrustedDeviceError> {
        let context = self.auth.context();
        transaction!(context.db(), |txn| {
            // So a sign-in that makes a device trusted ends before this, or begins after it.
            session_store::lock_account(txn, account).await?;
            let epoch = account_store::epoch_of(txn, account).await?.unwrap_or_default();
            Ok(end_all(txn, live(context, (account, epoch), event.at), &event).await?)
        })
    }
}

/// Which devices of an account in this epoch count.
fn live(context: &Context, (account, epoch): (AccountId, i64), now: Timestamp) -> Live {
    Live { account, epoch, now, lifetime: context.config.trusted_device.lifetime }
}

/// When the trust ends. If the lifetime was made shorter since, the shorter one counts.
fn end_of(context: &Context, row: &Model) -> Timestamp {
    row.expires_at.min(row.created_at.plus(context.config.trusted_device.lifetime))
}

/// Removes all trusted devices of an account, and records the event if there were any that count.
async fn end_all(txn: &Txn<'_>, live: Live, event: &Event) -> Result<u64, DbErr> {
    let count = store::remove_all(txn, live).await?;
    if count > 0 {
        audit_log::record(txn, event).await?;
    }
    Ok(count)
}

/// Removes all trusted devices of an account after a recovery code was used: the person may have lost one.
/// Everything else that ends them increases the epoch of the account. The transaction has locked its row.
pub(crate) async fn end_after_recovery(
    auth: &Portcullis,
    txn: &Txn<'_>,
    account: (AccountId, i64),
    client: &ClientInfo,
    now: Timestamp,
) -> Result<(), DbErr> {
    let event = Event::new(EventKind::TrustedDeviceRemoved, now).account(account.0);
    let event = event.from_client(client).detail("recovery code used");
    end_all(txn, live(auth.context(), account, now), &event).await?;
    Ok(())
}

/// Returns true if the owner of the account may trust devices. This asks for the roles of the account.
async fn is_allowed(auth: &Portcullis, row: &account::Model) -> Result<bool, Fault> {
    let context = auth.context();
    if !context.config.trusted_device.enabled {
        return Ok(false);
    }
    let found = auth.per_instance::<Resolver>().account(context, row.id).await?;
    Ok(found.is_some_and(|(_, grants)| allows_trusted_devices(context, row.superuser, &grants)))
}

/// A trusted device that may stand in for the second factor of a sign-in.
pub(crate) struct StandIn<'a> {
    auth: &'a Portcullis,
    client: &'a ClientInfo,
    live: Live,
    found: Model,
    /// The factor that was passed when it became trusted.
    factor: Factor,
    /// What the row becomes, and the token for this.
    next: Model,
    token: Token,
}

impl<'a> StandIn<'a> {
    /// Finds the device whose token the client has shown, if this sign-in may use it. A client that has no
    /// token of the account costs no statement.
    pub(crate) async fn find(
        auth: &'a Portcullis,
        row: &account::Model,
        session: &NewSession<'_>,
        client: &'a ClientInfo,
        now: Timestamp,
    ) -> Result<Option<Self>, Fault> {
        let context = auth.context();
        if !context.config.trusted_device.enabled || !session.waits_for_second_factor_alone() {
            return Ok(None);
        }
        let tokens = auth.per_instance::<TrustedTokens>();
        let Some(shown) = tokens.find(client, row.id, now) else { return Ok(None) };
        let digests = tokens.digests(shown, row.id);
        let db = context.db();
        let executor = db.executor();
        let live = live(context, (row.id, row.epoch), now);
        let found = db.read(store::find(&executor, live, &digests)).await?;
        let Some(found) = found else { return Ok(None) };
        let factor = Factor::ALL.iter().copied().find(|factor| factor.as_str() == found.factor);
        let Some(factor) = factor.filter(|factor| session.accepts(*factor)) else {
            return Ok(None);
        };
        if !is_allowed(auth, row).await? {
            return Ok(None);
        }
        let token = tokens.new_token(row.id, end_of(context, &found));
        let digest = tokens.digests(token, row.id).swap_remove(0);
        let next = Model { digest, last_used_at: now, ..on_client(found.clone(), client) };
        Ok(Some(Self { auth, client, live, found, factor, next, token }))
    }

    /// Locks the row of the account, and uses the token of the device, if there is one. The session is then
    /// complete. If another sign-in was faster, it waits for the second factor.
    ///
    /// This must be the first statement of the transaction.
    pub(crate) async fn lock<'s>(
        device: Option<&Self>,
        txn: &Txn<'_>,
        session: NewSession<'s>,
    ) -> Result<(NewSession<'s>, Locked, Option<TrustedToken>), SessionError> {
        let locked = session.lock(txn).await?;
        let Some(Self { auth, client, live, found, factor, next, token }) = device else {
            return Ok((session, locked, None));
        };
        if !store::rotate(txn, *live, found, next).await? {
            return Ok((session, locked, None));
        }
        let session = session.by_trusted_device(*factor);
        // Now it is complete, so this records it.
        let locked = session.lock(txn).await?;
        let tokens = auth.per_instance::<TrustedTokens>();
        let given = tokens.give(client, found.account_id, *token, next.last_used_at);
        Ok((session, locked, Some(given)))
    }
}

fn on_client(row: Model, client: &ClientInfo) -> Model {
    Model {
        address: client.address().map(|address| address.to_string()),
        // The column counts characters and the text was cut by bytes, so it fits.
        user_agent: client.user_agent().map(str::to_owned),
        ..row
    }
}

/// A device that becomes trusted when a sign-in is finished.
pub(crate) struct NewTrust<'a> {
    auth: &'a Portcullis,
    account: &'a account::Model,
    client: &'a ClientInfo,
    row: Model,
    token: Token,
}

impl<'a> NewTrust<'a> {
    /// For a person who asked for it, after this second factor. Returns `None` if it is not allowed. Asks for
    /// the roles of the account.
    pub(crate) async fn offered(
        auth: &'a Portcullis,
        account: &'a account::Model,
        (pending, session): (&PendingSession, &NewSession<'_>),
        factor: Factor,
        client: &'a ClientInfo,
        now: Timestamp,
    ) -> Result<Option<Self>, Fault> {
        let proves = !matches!(factor, Factor::Password | Factor::RecoveryCode);
        let ends = session.ends_with_second_factor() && session.accepts(factor);
        let limited = pending.state.ceiling.is_some();
        if !proves || !ends || limited || !is_allowed(auth, account).await? {
            return Ok(None);
        }
        let tokens = auth.per_instance::<TrustedTokens>();
        let expires_at = now.plus(auth.context().config.trusted_device.lifetime);
        let token = tokens.new_token(account.id, expires_at);
        let row = Model {
            id: TrustedDeviceId::new(now),
            account_id: account.id,
            digest: tokens.digests(token, account.id).swap_remove(0),
            factor: factor.as_str().to_owned(),
            epoch: account.epoch,
            address: None,
            user_agent: None,
            created_at: now,
            last_used_at: now,
            expires_at,
        };
        Ok(Some(Self { auth, account, client, row: on_client(row, client), token }))
    }

    /// Writes it, and tells the owner. The transaction has locked the row of the account.
    pub(crate) async fn add(&self, txn: &Txn<'_>) -> Result<TrustedToken, DbErr> {
        let Self { auth, account, client, row, token } = self;
        let (context, now) = (auth.context(), row.created_at);
        let config = &context.config.trusted_device;
        let tokens = auth.per_instance::<TrustedTokens>();
        let before = tokens.find(client, account.id, now);
        let before = before.map(|token| tokens.digests(token, account.id)).unwrap_or_default();
        let live = live(context, (account.id, account.epoch), now);
        let most = config.max_per_account;
        let removed = store::insert(txn, row.clone(), live, &before, most).await?;
        let event = Event::new(EventKind::TrustedDeviceAdded, now).account(account.id);
        let event = event.from_client(client);
        for (was_removed, cause) in [(removed.replaced, "replaced"), (removed.above_limit, "limit")]
        {
            if was_removed {
                let kind = EventKind::TrustedDeviceRemoved;
                audit_log::record(txn, &Event { kind, ..event.clone() }.detail(cause)).await?;
            }
        }
        audit_log::record(txn, &event).await?;
        let days = Some(config.lifetime.as_secs() / DAY).filter(|days| *days > 0);
        let values = Values::new().with_some("days", days).with_some("address", client.address());
        let to = account.email.as_deref().and_then(Recipient::email);
        let notice = Outgoing::new(MessageKind::TrustedDeviceAdded, to).account(account.id);
        outbox::put(txn, context, &notice.values(values)).await?;
        Ok(tokens.give(client, account.id, *token, now))
    }
}
