//! A person looks at the request of a device, and approves, denies or reports it.

use std::fmt;

use super::client::client_of;
use super::code::{Keys, UserCode, draw_digits};
use super::entity::Model;
use super::error::DeviceLoginError;
use super::network::ComparedNetworks;
use super::state::DeviceRequestState as State;
use super::store::{Approval, Decider};
use super::view::{self, DeviceRequest};
use super::{scope, store};
use crate::account::{Account, store as account_store};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::transaction::{Db, Txn, transaction};
use crate::config::{DeviceClient, DeviceNetworks};
use crate::guard::Requirement;
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, AuthError, owner::Devices};
use crate::permission::Permission;
use crate::rate_limit::DEVICE_CODES;
use crate::session::{SessionError, store as session_store};

/// One person, who decides about the request with this code.
#[derive(Clone, Copy)]
pub(super) struct Deciding<'a> {
    pub(super) auth: &'a Portcullis,
    pub(super) db: Db<'a>,
    pub(super) owner: &'a AccountOwner<Devices>,
    pub(super) user_code: &'a str,
    pub(super) client: &'a ClientInfo,
}

/// An approval. If the device must be confirmed, show the digits.
#[must_use = "the person may have to read the digits"]
pub struct ApprovedDevice {
    digits: Option<String>,
}

impl ApprovedDevice {
    /// Returns the two digits that the person must type on the device, if its client asks for them.
    pub fn digits(&self) -> Option<&str> {
        self.digits.as_deref()
    }
}

// Written by hand: the digits are for the person alone.
impl fmt::Debug for ApprovedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApprovedDevice(..)")
    }
}

/// A request that this person may see, and its client.
struct Found<'a> {
    row: Model,
    asking: &'a DeviceClient,
    request: DeviceRequest,
}

impl<'a> Deciding<'a> {
    pub(super) async fn look(self) -> Result<DeviceRequest, DeviceLoginError> {
        let now = self.auth.context().now();
        let Found { request, .. } = self.find(now).await?;
        let decides = matches!(request.state, State::Pending | State::Approved | State::Redeemed);
        let keys = self.auth.per_instance::<Keys>();
        let lineage = self.owner.session().lineage_id();
        let view = decides.then(|| keys.seal(&view::shown(&keys, &request, lineage, now)));
        Ok(DeviceRequest { view, ..request })
    }

    pub(super) async fn approve(
        self,
        view: &str,
        permissions: Option<&[String]>,
    ) -> Result<ApprovedDevice, DeviceLoginError> {
        let context = self.auth.context();
        let config = &context.config.device_login;
        let now = context.now();
        self.has_recent_factor()?;
        let found = self.find(now).await?;
        self.has_seen(&found, view, now)?;
        if found.request.state != State::Pending {
            return Err(DeviceLoginError::Decided);
        }
        let session = self.owner.session();
        if found.row.lineage_id == Some(session.lineage_id()) {
            return Err(DeviceLoginError::SameBrowser);
        }
        let required = config.networks == DeviceNetworks::Require;
        if required && found.request.networks != ComparedNetworks::Same {
            return Err(DeviceLoginError::OtherNetwork);
        }
        let granted = self.granted(&found, permissions)?;
        self.is_newer_than_a_lock(now).await?;
        let digits = found.asking.confirmation.then(draw_digits);
        let redeem_by = now.plus(config.redeem_within);
        let approval = Approval { granted, confirmation: digits, redeem_by };
        let (by, event) =
            (self.decider(now), self.event(EventKind::DeviceLoginApproved, &found, now));
        transaction!(self.db, |txn| {
            self.lock(txn, &by).await?;
            if !store::approve(txn, found.row.id, &by, &approval).await? {
                return Err(DeviceLoginError::Decided);
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        })?;
        Ok(ApprovedDevice { digits: digits.map(|digits| format!("{digits:02}")) })
    }

    pub(super) async fn deny(self, view: &str) -> Result<(), DeviceLoginError> {
        self.refuse(view, State::Denied, EventKind::DeviceLoginDenied).await
    }

    pub(super) async fn report(self, view: &str) -> Result<(), DeviceLoginError> {
        self.refuse(view, State::Suspicious, EventKind::DeviceLoginReported).await
    }

    async fn refuse(self, view: &str, to: State, kind: EventKind) -> Result<(), DeviceLoginError> {
        let now = self.auth.context().now();
        self.has_recent_factor()?;
        let found = self.find(now).await?;
        self.has_seen(&found, view, now)?;
        let (by, event) = (self.decider(now), self.event(kind, &found, now));
        let reports = to == State::Suspicious;
        transaction!(self.db, |txn| {
            self.lock(txn, &by).await?;
            if !store::refuse(txn, found.row.id, &by, to, reports).await? {
                return Err(DeviceLoginError::Decided);
            }
            audit_log::record(txn, &event).await?;
            if reports {
                self.suspect_session_of(txn, &found.row).await?;
            }
            Ok(())
        })
    }

    /// The device may have got its session meanwhile, so the row is read again.
    async fn suspect_session_of(&self, txn: &Txn<'_>, row: &Model) -> Result<(), DeviceLoginError> {
        let session = store::session_of(txn, row.id).await?;
        let Some(session) = session else { return Ok(()) };
        let sessions = self.auth.sessions().inside(txn);
        match sessions.report(self.owner.account().id(), session).await {
            // It has ended.
            Ok(()) | Err(SessionError::NotFound) => Ok(()),
            Err(SessionError::Fault(fault)) => Err(fault.into()),
            Err(other) => Err(DeviceLoginError::from(AuthError::from(other))),
        }
    }

    /// Finds the request, and counts a wrong code. A right one uses up nothing, and gives nothing back.
    async fn find(&self, now: Timestamp) -> Result<Found<'a>, DeviceLoginError> {
        let context = self.auth.context();
        let quota = context.config.device_login.wrong_codes;
        let limits = self.auth.rate_limits();
        let account = self.owner.account().id();
        let of_account = limits.reserve_of_account(DEVICE_CODES, account, quota)?;
        let of_source = limits.reserve(DEVICE_CODES, self.client.address(), quota)?;
        let found = match UserCode::parse(self.user_code) {
            Some(code) => {
                let digests = self.auth.per_instance::<Keys>().of_user(&code);
                self.db.read(store::find_by_user(&self.db.executor(), digests)).await?
            }
            None => None,
        };
        // What another account has decided does not exist for this one.
        let found = found.filter(|row| row.account_id.is_none_or(|decided| decided == account));
        let found = found.and_then(|row| Some((client_of(context, &row.client_id)?, row)));
        let Some((asking, row)) = found else {
            of_account.keep(context).await;
            of_source.keep(context).await;
            return Err(DeviceLoginError::NotFound);
        };
        drop((of_account, of_source));
        if let Some(hint) = &row.hint {
            let keys = self.auth.per_instance::<Keys>();
            let executor = self.db.executor();
            let own = self.db.read(account_store::names_of(&executor, account)).await?;
            let hinted = |normal: &str| keys.of_hint(normal).iter().any(|digest| digest == hint);
            if !own.iter().any(|name| hinted(&name.normal)) {
                return Err(DeviceLoginError::OtherAccount);
            }
        }
        let request = view::of(context, asking, &row, self.client, now);
        Ok(Found { row, asking, request })
    }

    /// The person must have looked in this sign-in, and everything must look as it did.
    fn has_seen(
        &self,
        found: &Found<'_>,
        view: &str,
        now: Timestamp,
    ) -> Result<(), DeviceLoginError> {
        let keys = self.auth.per_instance::<Keys>();
        let seen = keys.open(view).ok_or(DeviceLoginError::ViewOutdated)?;
        let lineage = self.owner.session().lineage_id();
        let shown = view::shown(&keys, &found.request, lineage, seen.at);
        let longest = self.auth.context().config.device_login.lifetime;
        if seen != shown || now.since(seen.at) > longest {
            return Err(DeviceLoginError::ViewOutdated);
        }
        Ok(())
    }

    fn has_recent_factor(&self) -> Result<(), DeviceLoginError> {
        let context = self.auth.context();
        if self.owner.has_recent_factor(context) {
            return Ok(());
        }
        let requirement = Requirement::within(context.config.session.recent_factor);
        Err(AuthError::StepUp(requirement.step_up(self.owner)).into())
    }

    /// Somebody is guessing at this account. A session that was stolen before cannot let a device in. A
    /// person who passes a factor now can.
    async fn is_newer_than_a_lock(&self, now: Timestamp) -> Result<(), DeviceLoginError> {
        let account = self.owner.account().id();
        let Some(since) = self.auth.attempts().locked_since(account).await? else { return Ok(()) };
        if self.owner.passed_at(None).is_some_and(|at| at > since) {
            return Ok(());
        }
        let requirement = Requirement::within(now.since(since));
        Err(AuthError::StepUp(requirement.step_up(self.owner)).into())
    }

    /// Returns the permissions to approve, as a row has them. A limited session cannot approve more than it
    /// may do itself.
    fn granted(
        &self,
        found: &Found<'_>,
        permissions: Option<&[String]>,
    ) -> Result<Option<String>, DeviceLoginError> {
        let wanted = scope::within(found.asking, found.row.wanted.as_deref());
        let granted = match permissions {
            Some(named) => {
                let named = scope::parse(named.iter().map(String::as_str));
                let named = named.filter(|named| scope::covers(&wanted, named));
                Some(named.ok_or(DeviceLoginError::WiderScope)?)
            }
            None => None,
        };
        let all = granted.as_ref().unwrap_or(&wanted);
        if let Some(ceiling) = self.owner.ceiling() {
            let own: Vec<Permission> = ceiling.iter().cloned().collect();
            if !scope::covers(&own, all) {
                return Err(DeviceLoginError::WiderScope);
            }
        }
        let whole = granted.is_none() && found.row.wanted.is_none();
        Ok((!whole).then(|| scope::write(all)))
    }

    fn decider(&self, now: Timestamp) -> Decider {
        let session = self.owner.session();
        Decider {
            account: self.owner.account().id(),
            epoch: session.state.account_epoch,
            session: session.id(),
            lineage: session.lineage_id(),
            factor_at: self.owner.passed_at(None),
            at: now,
        }
    }

    fn event(&self, kind: EventKind, found: &Found<'_>, now: Timestamp) -> Event {
        let event = Event::new(kind, now).account(self.owner.account().id());
        let event = event.session(self.owner.session().id()).from_client(self.client);
        event.detail(found.asking.id.clone())
    }

    /// Locks the account first, as every flow that makes a session. The session and the account must still
    /// count: the request was checked before, and may have waited since.
    async fn lock(&self, txn: &Txn<'_>, by: &Decider) -> Result<(), DeviceLoginError> {
        let context = self.auth.context();
        let ended = || DeviceLoginError::from(AuthError::superseded());
        session_store::lock_account(txn, by.account).await?;
        let row = account_store::find(txn, by.account).await?.ok_or_else(ended)?;
        let same_epoch = row.epoch == by.epoch;
        let usable = Account::from(row).is_usable(by.at, context.config.login.require_verified);
        let goes_on = session_store::goes_on(txn, by.account, by.lineage, by.at).await?;
        if same_epoch && usable && goes_on { Ok(()) } else { Err(ended()) }
    }
}
