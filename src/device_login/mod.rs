//! Device login: a person signs in a device that has no good keyboard, from another device.
//!
//! # How it works
//! 1. A program on the device asks with its `client_id`. It gets two codes: it keeps the long one, and shows the
//!    short one, with the address of a page and three words.
//! 2. A person who is signed in elsewhere opens the page, and types the short code. The page shows who asks,
//!    from where, and for what.
//! 3. The person denies or approves it, or reports it. They may approve fewer permissions.
//! 4. The program asks with the long code every few seconds. After the approval, it gets the token of a session.
//!
//! The session has no factors, and the permissions that were approved as its ceiling. It lasts as long as the
//! configuration of its client says. The owner gets a mail, and their list of sessions says which session has
//! approved it.
//!
//! **Read [the risk assessment](crate::guide::device_login) before you mount this.** The best-known attack is a
//! code that a stranger sends to a person. If the device can show a passkey's QR code, use a passkey.
//!
//! # Example
//! ```no_run
//! use portcullis::config::DeviceClient;
//! use portcullis::device_login::{DeviceLoginError, StartedDeviceLogin};
//! use portcullis::identity::owner::{AccountOwner, Devices};
//! use portcullis::{ClientInfo, Portcullis, Rejection, Secret};
//!
//! # fn set_up(db: sea_orm::DatabaseConnection, secret: Secret) -> Result<Portcullis, portcullis::ConfigErrors> {
//! let auth = Portcullis::builder(db).secret(secret).public_url("https://example.com");
//! let auth = auth.configure(|config| {
//!     config.service.bearer = true;
//!     config.device_login.clients = vec![DeviceClient::new("tv", "The TV").ceiling(["film:watch"])];
//! });
//! # auth.build()
//! # }
//!
//! // Your own route for the start. The mounted one does the same.
//! async fn start(
//!     auth: Portcullis,
//!     parts: http::request::Parts,
//!     client: ClientInfo,
//! ) -> Result<StartedDeviceLogin, Rejection> {
//!     let start = auth.device_login().start("tv").device_name("Living room");
//!     // A browser cannot approve what it has started itself. A key that the device proves is noted.
//!     let start = start.asked_in(&parts.extensions).await?.proved_in(&parts)?;
//!     Ok(start.begin(&client).await?)
//! }
//!
//! // `view` comes from the page that has shown the request, so that the person has seen what they deny.
//! async fn deny(
//!     auth: Portcullis,
//!     owner: AccountOwner<Devices>,
//!     client: ClientInfo,
//!     code: String,
//!     view: String,
//! ) -> Result<(), DeviceLoginError> {
//!     auth.device_login().deny(&owner, &code, &view, &client).await
//! }
//! ```
//!
//! # What it does not do
//! - It does not stop phishing. A stranger who sends a person the code can send the three words too. The page must say
//!   who asks and from where, and "deny" must come first.
//! - It signs in no browser: the token is a bearer token.
//! - Its session never changes its account, whatever its ceiling is: it ends no other session, makes no API key and
//!   approves no other device. It can sign itself out.
//! - The login hooks of the application do not run, because nobody signs in. The hooks of the sign-in of the
//!   approving session have run.
//! - It does not count as the last login, makes no device known, and is no new device of the account.
//!
//! # Routes
//! Mount them with `.nest("/auth", portcullis::device_login::routes(&auth))`, and
//! `portcullis::device_login::well_known(&auth)` at the root of the host.
//!
//! | route | who | what |
//! |---|---|---|
//! | `POST /device` | device | starts: a form with `client_id`, and if wanted `scope`, `login_hint`, `device_name`, `message`, `dpop_jkt` |
//! | `POST /device/token` | device | polls: a form with `grant_type`, `device_code`, `client_id`, and for clients with a confirmation `confirmation` |
//! | `POST /device/end` | device | takes the request back while nobody has decided: a form with `device_code`, `client_id` |
//! | `GET /device/{user_code}` | person | shows the request. It writes nothing |
//! | `POST /device/{user_code}/deny` | person | `view` |
//! | `POST /device/{user_code}/approve` | person | `view`, and if wanted `scope`: fewer permissions, separated by blanks |
//! | `POST /device/{user_code}/report` | person | `view`. Also after an approval: then the session of the device is suspicious |
//!
//! A device that has a [key](crate::dpop) proves it with the header `DPoP`, at the start or with its polls, or starts
//! with `dpop_jkt`, the thumbprint of the key. The token that it gets is good only with this key. If the key was proved
//! or named at the start, so is the code.
//!
//! The first three answer errors as RFC 6749 says: `{"error": "slow_down"}`.
//!
//! # Configuration
//! [`Builder::network_names`](crate::Builder::network_names) names networks, so that two of one provider count as one.
//! [`DeviceLoginConfig`](crate::config::DeviceLoginConfig). A person can only decide with a factor that is as
//! recent as `session.recent_factor` says.
//!
//! # Events
//! `device_login_requested`, `device_login_approved`, `device_login_denied`, `device_login_reported`,
//! `device_login_success`, `device_login_ended`. Their detail is the client.
//!
//! # Error codes
//! For the device, all with 400: `authorization_pending`, `slow_down`, `access_denied`, `expired_token`,
//! `invalid_grant`, `invalid_client`, `invalid_request`, `invalid_scope`, `unsupported_grant_type`,
//! `confirmation_required`, `invalid_dpop_proof`, `use_dpop_nonce`; also `session_limit` (409),
//! `rate_limited` (429).
//!
//! For the person: `device_request_not_found` (404), `device_request_decided`, `device_view_outdated` (409),
//! `device_of_other_account`, `device_in_same_browser`, `device_on_other_network` (403), `device_scope_refused`
//! (422), `rate_limited` (429), `insufficient_user_authentication` (401), `limited_session` (403).
//!
//! # Standard
//! RFC 8628 and RFC 6749 on the wire, RFC 9449 for keys, RFC 8414 for the metadata, RFC 10027 for safety.

use crate::base::client::ClientInfo;
use crate::base::transaction::{Db, OpenTransaction};
use crate::handle::Portcullis;
use crate::identity::AccountOwner;
use crate::identity::owner::Devices;

mod client;
mod code;
mod decide;
pub(crate) mod entity;
mod error;
mod key;
mod network;
mod phrase;
mod poll;
mod polls;
#[cfg(feature = "routes")]
mod routes;
mod scope;
mod start;
mod state;
pub(crate) mod store;
mod view;

pub use decide::ApprovedDevice;
pub use error::{DeviceLoginError, DeviceTokenError};
pub use network::{ComparedNetworks, NetworkNames};
pub use poll::{DeviceToken, PollDevice};
#[cfg(feature = "routes")]
pub use routes::{routes, well_known};
pub use start::{StartDeviceLogin, StartedDeviceLogin};
pub use state::DeviceRequestState;
pub use view::DeviceRequest;

use decide::Deciding;

/// Signs in devices. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct DeviceLogin<'a> {
    auth: &'a Portcullis,
    db: Db<'a>,
}

impl Portcullis {
    /// Returns the flows of device logins.
    pub fn device_login(&self) -> DeviceLogin<'_> {
        DeviceLogin { auth: self, db: self.context().db() }
    }
}

impl<'a> DeviceLogin<'a> {
    /// Does everything in a transaction of the caller. Roll it back after an error, if the method does not say
    /// otherwise.
    pub fn within(mut self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        self.db = self.db.within(txn);
        self
    }

    /// Begins the request of a device.
    pub fn start(&self, client_id: impl Into<String>) -> StartDeviceLogin<'a> {
        StartDeviceLogin::new(self.auth, self.db, client_id.into())
    }

    /// Begins a poll of a device.
    pub fn poll(
        &self,
        client_id: impl Into<String>,
        device_code: impl Into<String>,
    ) -> PollDevice<'a> {
        PollDevice::new(self.auth, self.db, client_id.into(), device_code.into())
    }

    /// Takes a request back while nobody has decided, for a device without a [key](crate::dpop). One with a key
    /// uses [`PollDevice::end`].
    ///
    /// # Errors
    /// As [`PollDevice::end`].
    pub async fn end(
        &self,
        client_id: &str,
        device_code: &str,
        client: &ClientInfo,
    ) -> Result<(), DeviceTokenError> {
        self.poll(client_id, device_code).end(client).await
    }

    /// Returns the request with the code that a person has typed. Writes nothing.
    ///
    /// # Errors
    /// [`DeviceLoginError::NotFound`]; [`DeviceLoginError::OtherAccount`];
    /// [`DeviceLoginError::RateLimited`] after too many wrong codes; an outage.
    pub async fn look(
        &self,
        owner: &AccountOwner<Devices>,
        user_code: &str,
        client: &ClientInfo,
    ) -> Result<DeviceRequest, DeviceLoginError> {
        self.deciding(owner, user_code, client).look().await
    }

    /// Approves a request, with these permissions or with all that it asks for. `view` is what
    /// [`look`](Self::look) has returned.
    ///
    /// # Errors
    /// All of [`DeviceLoginError`]. Nothing is changed after one.
    pub async fn approve(
        &self,
        owner: &AccountOwner<Devices>,
        user_code: &str,
        view: &str,
        permissions: Option<&[String]>,
        client: &ClientInfo,
    ) -> Result<ApprovedDevice, DeviceLoginError> {
        Box::pin(self.deciding(owner, user_code, client).approve(view, permissions)).await
    }

    /// Denies a request, also one that this account has approved while the device has not come yet.
    ///
    /// # Errors
    /// As [`approve`](Self::approve).
    pub async fn deny(
        &self,
        owner: &AccountOwner<Devices>,
        user_code: &str,
        view: &str,
        client: &ClientInfo,
    ) -> Result<(), DeviceLoginError> {
        Box::pin(self.deciding(owner, user_code, client).deny(view)).await
    }

    /// Reports a request: it is denied and marked suspicious. If the account has approved it, the session of
    /// the device is marked suspicious too.
    ///
    /// # Errors
    /// As [`approve`](Self::approve).
    pub async fn report(
        &self,
        owner: &AccountOwner<Devices>,
        user_code: &str,
        view: &str,
        client: &ClientInfo,
    ) -> Result<(), DeviceLoginError> {
        Box::pin(self.deciding(owner, user_code, client).report(view)).await
    }

    fn deciding<'d>(
        &self,
        owner: &'d AccountOwner<Devices>,
        user_code: &'d str,
        client: &'d ClientInfo,
    ) -> Deciding<'d>
    where
        'a: 'd,
    {
        Deciding { auth: self.auth, db: self.db, owner, user_code, client }
    }
}
