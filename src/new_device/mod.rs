//! Tells the owner of an account about a sign-in from a device that the account does not know.
//!
//! 1. A full sign-in without the token of a [known device](crate::attempt#known-devices) is an
//!    event, each time. If a new password must be set first, the sign-in is full after that. The
//!    very first sign-in is no such event, because there is nothing to compare it with. A
//!    registration that signs in, a session that the application
//!    [started](crate::session::Sessions::start) and a reset of the password count as this first
//!    one. A device whose token became invalid, by a new password or an end of all sessions, is a
//!    new device: it may belong to the person who was removed by that.
//! 2. The first such sign-in from a network and a kind of browser is told at once, in its own
//!    message. The network is the IPv4 /24 or IPv6 /64. The kind of browser is its name without
//!    version numbers.
//! 3. Another sign-in from the same network and browser within 30 days is counted. A day after the
//!    first of these, one message tells how many there were, when, and from where the last one
//!    came.
//! 4. An account gets at most ten messages of the first kind a day. Further sign-ins are counted in
//!    the same digest. Their network and browser still count as new afterwards.
//!
//! So the owner hears of a script that keeps no cookies once, and then at most once a day. An
//! attacker who has the password cannot hide a sign-in from a new place behind many others. To use
//! up the ten messages, the attacker would cause ten messages to the owner at once, and then the
//! digest.
//!
//! A user who sets a new password gets no message about the device that did it. For other devices,
//! they get at most one message for each network and browser. They get no message if they were
//! notified about this place within the last 30 days.
//!
//! # Why these numbers
//! People recognise a network together with a browser ("that is my office"). An owner can be
//! expected to remember a message for thirty days. Ten messages a day are more than a traveller
//! causes, and few enough to be read. A digest waits for a day, so that it can tell how many
//! sign-ins there were.
//!
//! # What it does not do
//! - It does not ask for anything. The sign-in succeeds, and the account's other sessions continue.
//! - It does not report an attacker in the same network with the same kind of browser at once. That
//!   sign-in is in the digest, up to a day later.
//! - It stores neither addresses nor names of browsers. The table has a keyed digest per account,
//!   network and browser for 30 days; then [`maintenance`](crate::maintenance) removes it. After a
//!   change of the secret, the owner is notified about each place once more.
//! - If the address of clients is not known, only the kind of browser is compared.
//!
//! # Messages
//! `new_device`, `new_device_digest`.
//!
//! # Configuration
//! [`attempts.device_lifetime`](crate::config::AttemptConfig::device_lifetime): `None` turns off
//! known devices and these messages.
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
/// How long a place counts as told. A place is a network with a kind of browser.
pub(crate) const TOLD_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The limit for messages about a single sign-in, per account and day.
const MOST_A_DAY: usize = 10;
/// A row from further in the future was written by a wrong clock, and does not count.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60 * 60);

/// A sign-in from a device that its account does not know.
pub(crate) struct NewDevice<'a> {
    context: &'a Context,
    row: &'a account::Model,
    client: &'a ClientInfo,
    event: Event,
}

/// The key for the digests of places.
struct PlaceKey(DigestKey);

impl PerInstance for PlaceKey {
    fn open(context: &Context) -> Self {
        Self(DigestKey::new(&context.config.keys.secrets[0], Purpose::ToldPlace))
    }
}

impl<'a> NewDevice<'a> {
    /// Returns `None` for a known device, and for the first sign-in of an account, which never has
    /// one.
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

    /// Writes the event and the message to the owner. The transaction must have changed the
    /// account's row before. This locks the row, so each of many simultaneous sign-ins sees what
    /// the others have written.
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

    /// Counts the sign-in in the digest that waits, or starts a new digest.
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

    /// Returns the digest of this network and kind of browser, for this account.
    fn place(&self) -> [u8; 32] {
        let network = self.client.address().map(network);
        let network = network.map_or_else(String::new, |network| network.to_string());
        let family = browser_family(self.client.user_agent().unwrap_or_default());
        let key = self.context.per_instance::<PlaceKey>();
        let account = self.row.id.as_uuid();
        key.0.digest_parts(&[account.as_bytes(), network.as_bytes(), family.as_bytes()])
    }
}
