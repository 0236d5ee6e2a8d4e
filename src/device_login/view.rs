//! What a person sees before they decide about the request of a device.

use std::fmt;
use std::net::IpAddr;

use super::code::{Keys, Shown};
use super::entity::Model;
use super::network::{ComparedNetworks, Names};
use super::scope;
use super::state::DeviceRequestState;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::id::{DeviceRequestId, LineageId, SessionId};
use crate::config::DeviceClient;
use crate::context::Context;

/// The request of a device, for the person who decides about it.
#[derive(Clone)]
#[non_exhaustive]
pub struct DeviceRequest {
    /// The id, for support.
    pub id: DeviceRequestId,
    /// Where it stands.
    pub state: DeviceRequestState,
    /// The name of the program, from the configuration.
    pub client_name: String,
    /// Three words that the device shows too.
    pub phrase: String,
    /// How the device calls itself. This is a claim of the device.
    pub claimed_name: Option<String>,
    /// What it says that it is for. This is a claim of the device.
    pub claimed_message: Option<String>,
    /// The address from which it asked, as the server saw it.
    pub address: Option<IpAddr>,
    /// Its user agent. Anybody can send any.
    pub user_agent: Option<String>,
    /// When it asked.
    pub created_at: Timestamp,
    /// Until when it can be decided, or after an approval until when the device can come.
    pub expires_at: Timestamp,
    /// The permissions that the device asks for.
    pub permissions: Vec<String>,
    /// The permissions that were approved, if it was approved.
    pub granted: Option<Vec<String>>,
    /// Whether the device is in the network of the person.
    pub networks: ComparedNetworks,
    /// The name of the device's network, if the application [names](crate::Builder::network_names) it.
    pub network_name: Option<String>,
    /// True if the person gets two digits with the approval, for the device.
    pub confirms: bool,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// In which session it was decided.
    pub decided_in: Option<SessionId>,
    /// The session that the device has got, and when.
    pub session_id: Option<SessionId>,
    /// When the device got it.
    pub redeemed_at: Option<Timestamp>,
    /// What the person needs to decide. `None` if nothing can be decided any more.
    pub(super) view: Option<String>,
}

impl DeviceRequest {
    /// Returns the proof that the person has seen this. It is needed to decide, and only in this sign-in.
    pub fn view(&self) -> Option<&str> {
        self.view.as_deref()
    }
}

// Written by hand: the proof and what the device claims do not belong in a log.
impl fmt::Debug for DeviceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("DeviceRequest");
        shown.field("id", &self.id).field("state", &self.state).finish_non_exhaustive()
    }
}

/// Returns what the request in `row` looks like for this person.
pub(super) fn of(
    context: &Context,
    asking: &DeviceClient,
    row: &Model,
    client: &ClientInfo,
    now: Timestamp,
) -> DeviceRequest {
    let texts = |permissions: &[crate::permission::Permission]| {
        permissions.iter().map(|one| one.as_str().to_owned()).collect::<Vec<_>>()
    };
    let state = DeviceRequestState::of(row, now);
    let address = row.address.as_deref().and_then(|text| text.parse().ok());
    let networks = context.config.device_login.networks;
    let names = context.per_instance::<Names>();
    let approved = matches!(state, DeviceRequestState::Approved | DeviceRequestState::Redeemed);
    DeviceRequest {
        id: row.id,
        state,
        client_name: asking.name.clone(),
        phrase: row.phrase.clone(),
        claimed_name: row.device_name.clone(),
        claimed_message: row.message.clone(),
        address,
        user_agent: row.user_agent.clone(),
        created_at: row.created_at,
        expires_at: row.expires_at,
        permissions: texts(&scope::within(asking, row.wanted.as_deref())),
        granted: approved.then(|| texts(&scope::within(asking, row.granted.as_deref()))),
        networks: ComparedNetworks::of(networks, &names, address, client.address()),
        network_name: names.name_of(address),
        confirms: asking.confirmation,
        decided_at: row.decided_at,
        decided_in: row.decided_in,
        session_id: row.session_id,
        redeemed_at: row.redeemed_at,
        view: None,
    }
}

/// Returns what a person has seen who was shown this. It contains everything that they judge by, and not
/// what happens later, so that they can still take back what they have approved.
pub(super) fn shown(
    keys: &Keys,
    request: &DeviceRequest,
    lineage: LineageId,
    now: Timestamp,
) -> Shown {
    let address = request.address.map(|address| address.to_string()).unwrap_or_default();
    let permissions = request.permissions.join(" ");
    let text = |text: &Option<String>| match text {
        Some(text) => format!("={text}"),
        None => String::new(),
    };
    let digest = keys.of_shown(&[
        request.client_name.as_bytes(),
        request.phrase.as_bytes(),
        text(&request.claimed_name).as_bytes(),
        text(&request.claimed_message).as_bytes(),
        address.as_bytes(),
        text(&request.user_agent).as_bytes(),
        permissions.as_bytes(),
        request.networks.as_str().as_bytes(),
        text(&request.network_name).as_bytes(),
        &[u8::from(request.confirms)],
    ]);
    Shown { request: request.id, lineage, digest, at: now }
}
