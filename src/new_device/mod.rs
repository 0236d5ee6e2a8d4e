//! Telling the owner of an account that somebody signed in from a device that the account does not know.
//!
//! 1. A full sign-in without the token of a [known device](crate::attempt#known-devices) is an event,
//!    each time; one that sets a new password first is full when it has. Only the first sign-in ever is
//!    not: there is nothing to compare it with. A registration that signs in, a session that the
//!    application [started](crate::session::Sessions::start) and a reset of the password count as that
//!    first one.
//!    A device whose token was made worthless, by a new password or an end of all sessions, is a new one:
//!    it may be the device of whoever was put out.
//! 2. The first one from a network and a kind of browser is told by a message of its own, at once. The
//!    network is the IPv4 /24 or IPv6 /64; the kind of browser is its name without version numbers.
//! 3. Another one from the same place within 30 days is counted. A day after the first of them one
//!    message tells how many there were, when, and from where the last one came.
//! 4. No more than ten messages of their own leave per account and day. What is above is counted in the
//!    same digest, and its place is as new as before.
//!
//! So a script that keeps no cookies is told once, and then at most once a day. An attacker who has the
//! password cannot hide the first sign-in from a new place behind such noise: the noise that would
//! use up the ten messages is itself told to the owner, ten times at once and then in the digest.
//!
//! Someone who sets a new password hears nothing of the device that did it, and at most one message of
//! each other place that they sign in from afterwards: none of those that they were told of within the
//! last 30 days.
//!
//! # Why these numbers
//! A network and a browser together are what people recognise ("that is my office"). Thirty days is how
//! long the owner can be expected to remember a message. Ten a day is more than a person who travels
//! makes, and few enough to be read. A digest waits for a day, so that it can say how many there were.
//!
//! # What it does not do
//! - It does not ask for anything: the sign-in stands, and the account's other sessions go on.
//! - It does not find an attacker in the same network with the same kind of browser at once: that
//!   sign-in is in the digest, up to a day later.
//! - It keeps neither addresses nor names of browsers: the table holds a keyed digest per account and
//!   place, for 30 days; then [`maintenance`](crate::maintenance) removes it. With a new secret each place
//!   is told once more.
//! - Where the address of clients is not known, the kind of browser alone makes the place.
//!
//! # Messages
//! `new_device`, `new_device_digest`.
//!
//! # Configuration
//! [`attempts.device_lifetime`](crate::config::AttemptConfig::device_lifetime): `None` switches known
//! devices off, and with them these messages.
//!
//! # Events
//! `authn_new_device`.
//!
//! # Standard
//! OWASP ASVS 5.0 6.3.5.

use std::time::Duration;

use sea_orm::DbErr;

use crate::account::entity::account;
use crate::audit_log;
use crate::base::client::{ClientInfo, browser_family, network};
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::secret::{DigestKey, Purpose};
use crate::base::transaction::Txn;
use crate::context::{Context, PerInstance};
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::{self, Outgoing};
use crate::session::device::Device;

pub(crate) mod entity;
pub(crate) mod store;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a place counts as told.
pub(crate) const TOLD_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How many messages of their own leave in a day.
const MOST_A_DAY: usize = 10;
/// A row from further ahead was written by a clock that was wrong, and does not count.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60 * 60);

/// A sign-in from a device that its account does not know.
pub(crate) struct NewDevice<'a> {
    context: &'a Context,
    row: &'a account::Model,
    client: &'a ClientInfo,
    event: Event,
}

/// The key of places' digests.
struct PlaceKey(DigestKey);

impl PerInstance for PlaceKey {
    fn open(context: &Context) -> Self {
        Self(DigestKey::new(&context.config.keys.secrets[0], Purpose::ToldPlace))
    }
}

impl<'a> NewDevice<'a> {
    /// None for a known device, and for the first sign-in ever, which is from none by nature.
    pub(crate) fn of(
        context: &'a Context,
        row: &'a account::Model,
        client: &'a ClientInfo,
        device: Device,
        now: Timestamp,
    ) -> Option<Self> {
        row.last_login_at?;
        context.config.attempts.device_lifetime?;
        if device.known().is_some() {
            return None;
        }
        let event = Event::new(EventKind::NewDevice, now).account(row.id).from_client(client);
        Some(Self { context, row, client, event })
    }

    /// Writes the event, and what tells the owner. The transaction must have changed the account's row
    /// before: of many sign-ins at once each then sees what the others have written.
    pub(crate) async fn record(&self, txn: &Txn<'_>) -> Result<(), DbErr> {
        audit_log::record(txn, &self.event).await?;
        let to = self.row.email.as_deref().and_then(Recipient::email);
        let Some(to) = to.filter(|to| self.context.can_send_to(to)) else { return Ok(()) };
        let now = self.event.at;
        let place = self.place();
        let since = now.minus(TOLD_FOR);
        let told = store::told(txn, self.row.id, since, now.plus(CLOCKS_DIFFER)).await?;
        let today = told.iter().filter(|row| row.told_at > now.minus(DAY)).count();
        if today >= MOST_A_DAY || told.iter().any(|row| row.place == place) {
            return self.count(txn, to).await;
        }
        store::forget(txn, self.row.id, since).await?;
        store::tell(txn, self.row.id, place, now).await?;
        let values = Values::new().with_some("address", self.client.address());
        let notice = Outgoing::new(MessageKind::NewDevice, Some(to)).account(self.row.id);
        outbox::put(txn, self.context, &notice.values(values)).await?;
        Ok(())
    }

    /// Counts it in the digest that waits, or begins one.
    async fn count(&self, txn: &Txn<'_>, to: Recipient) -> Result<(), DbErr> {
        let now = self.event.at;
        let message = |count: i64, first: Timestamp| {
            let values = Values::new()
                .with("count", count)
                .with("first", first.for_people())
                .with("last", now.for_people())
                .with_some("address", self.client.address());
            Outgoing::new(MessageKind::NewDeviceDigest, Some(to.clone()))
                .account(self.row.id)
                .values(values)
        };
        if let Some(digest) = store::digest(txn, self.row.id).await? {
            let more = message(digest.sign_ins + 1, digest.began_at);
            if outbox::amend(txn, self.context, digest.message_id, &more).await? {
                return store::count(txn, self.row.id).await;
            }
        }
        let first = message(1, now);
        let id = outbox::put_later(txn, self.context, &first, now.plus(DAY)).await?;
        store::begin(txn, self.row.id, id, now).await
    }

    /// What tells one network and kind of browser of this account from another.
    fn place(&self) -> [u8; 32] {
        let network = self.client.address().map(network);
        let network = network.map_or_else(String::new, |network| network.to_string());
        let family = browser_family(self.client.user_agent().unwrap_or_default());
        let key = self.context.per_instance::<PlaceKey>();
        let account = self.row.id.as_uuid();
        key.0.digest_parts(&[account.as_bytes(), network.as_bytes(), family.as_bytes()])
    }
}
