//! A device asks to be signed in.

use std::fmt;
use std::time::Duration;

use super::client::client_of;
use super::code::{DeviceCode, Keys, UserCode};
use super::entity::Model;
use super::error::DeviceTokenError;
use super::state::DeviceRequestState;
use super::{key, phrase, scope, store};
use crate::account::LoginId;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::event::{Event, EventKind};
use crate::base::id::{DeviceRequestId, LineageId};
use crate::base::jwk_thumbprint::JwkThumbprint;
use crate::base::transaction::{Db, Fault, is_unique_violation, transaction};
use crate::config::DeviceClient;
use crate::dpop::{self, DpopRefusal, ProvedKey};
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::request_identity::RequestIdentity;

/// The rule that counts the requests of one source.
const STARTS: &str = "device_starts";

/// How often another code is drawn because an open request has it. With a million open requests, one draw
/// in twenty-five thousand clashes.
const DRAWS: usize = 5;

/// The lengths of what a device says about itself, in bytes.
const LONGEST_NAME: usize = 64;
const LONGEST_MESSAGE: usize = 200;
const LONGEST_HINT: usize = 254;

/// A request that is about to be made.
#[derive(Clone)]
#[must_use = "a request is made by `begin`"]
pub struct StartDeviceLogin<'a> {
    auth: &'a Portcullis,
    db: Db<'a>,
    client_id: String,
    scope: Option<String>,
    login_hint: Option<String>,
    device_name: Option<String>,
    message: Option<String>,
    lineage: Option<LineageId>,
    key: Option<JwkThumbprint>,
    proved: Option<ProvedKey>,
    #[cfg(feature = "test-util")]
    codes: Vec<String>,
}

/// A request that was made. The device shows the code of the person, and keeps its own.
#[must_use = "the device needs the codes"]
pub struct StartedDeviceLogin {
    id: DeviceRequestId,
    device_code: String,
    user_code: String,
    verification_uri: String,
    phrase: String,
    expires_in: Duration,
    interval: Duration,
    confirms: bool,
}

impl<'a> StartDeviceLogin<'a> {
    pub(super) fn new(auth: &'a Portcullis, db: Db<'a>, client_id: String) -> Self {
        Self {
            auth,
            db,
            client_id,
            scope: None,
            login_hint: None,
            device_name: None,
            message: None,
            lineage: None,
            key: None,
            proved: None,
            #[cfg(feature = "test-util")]
            codes: Vec::new(),
        }
    }

    /// Asks for these permissions, separated by blanks. Without it, for all of the client.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Names the account that may approve it, by one of its sign-in names. Nobody learns whether there is such
    /// an account.
    pub fn login_hint(mut self, login: impl Into<String>) -> Self {
        self.login_hint = Some(login.into());
        self
    }

    /// Says how the device calls itself, such as its host name: at most 64 bytes. The person is told that it
    /// is a claim.
    pub fn device_name(mut self, name: impl Into<String>) -> Self {
        self.device_name = Some(name.into());
        self
    }

    /// Says what it is for, at most 200 bytes. The person is told that it is a claim.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Takes the session of a request, if it has one: the same browser cannot approve what it has asked for.
    /// The mounted route does this.
    ///
    /// # Errors
    /// The layer is missing, another site sent the request, or there is an outage.
    pub async fn asked_in(mut self, extensions: &http::Extensions) -> Result<Self, AuthError> {
        self.lineage = RequestIdentity::of(extensions)?.replaced().await?.lineage_id();
        Ok(self)
    }

    /// Names the [key](crate::dpop) of the device. Its code is then good only with this key.
    pub fn dpop_jkt(mut self, key: JwkThumbprint) -> Self {
        self.key = Some(key);
        self
    }

    /// Takes the [key](crate::dpop) that a request proves, if it proves one. The mounted route does this.
    ///
    /// # Errors
    /// [`DeviceTokenError::Dpop`]
    pub fn proved_in(mut self, parts: &http::request::Parts) -> Result<Self, DeviceTokenError> {
        self.proved = key::proved_in(self.auth, parts)?;
        Ok(self)
    }

    /// Draws these codes before others, for a test.
    #[cfg(feature = "test-util")]
    pub fn drawing(mut self, codes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.codes = codes.into_iter().map(Into::into).collect();
        self
    }

    /// Makes the request.
    ///
    /// # Errors
    /// [`DeviceTokenError::InvalidClient`]; [`DeviceTokenError::InvalidScope`];
    /// [`DeviceTokenError::InvalidRequest`]; [`DeviceTokenError::Dpop`]; [`DeviceTokenError::RateLimited`]; an
    /// outage.
    pub async fn begin(self, client: &ClientInfo) -> Result<StartedDeviceLogin, DeviceTokenError> {
        let context = self.auth.context();
        let config = &context.config.device_login;
        let asking = client_of(context, &self.client_id).ok_or(DeviceTokenError::InvalidClient)?;
        let wanted = self.wanted(asking)?;
        self.check_claims()?;
        let bound_to = self.bound_to()?.map(|key| key.to_string());
        if let Some(quota) = config.starts_per_source {
            self.auth.rate_limits().source(STARTS, client.address(), quota).await?;
        }
        let keys = self.auth.per_instance::<Keys>();
        let hint = self.login_hint.as_deref().map(|text| {
            // What is no name of an account belongs to nobody, like an unknown name.
            let normal =
                LoginId::parse(text).map_or_else(|_| text.to_owned(), |id| id.normal().to_owned());
            first(keys.of_hint(&normal))
        });
        let now = context.now();
        let device_code = DeviceCode::draw();
        let phrase = phrase::draw();
        for at in 0..DRAWS {
            let user_code = self.draw(at);
            let row = Model {
                id: DeviceRequestId::new(now),
                device_digest: first(keys.of_device(&device_code)),
                user_digest: first(keys.of_user(&user_code)),
                client_id: asking.id.clone(),
                state: DeviceRequestState::Pending.number(),
                wanted: wanted.clone(),
                hint: hint.clone(),
                device_name: self.device_name.clone(),
                message: self.message.clone(),
                phrase: phrase.clone(),
                address: client.address().map(|address| address.to_string()),
                user_agent: client.user_agent().map(str::to_owned),
                lineage_id: self.lineage,
                created_at: now,
                expires_at: now.plus(config.lifetime),
                account_id: None,
                account_epoch: None,
                decided_in: None,
                decided_lineage: None,
                decided_at: None,
                factor_at: None,
                granted: None,
                confirmation: None,
                confirmations: 0,
                session_id: None,
                redeemed_at: None,
                ended_at: None,
                bound_to: bound_to.clone(),
            };
            let event = Event::new(EventKind::DeviceLoginRequested, now).from_client(client);
            let event = event.detail(asking.id.clone());
            let made = transaction!(self.db, |txn| {
                key::spend(self.auth, txn, self.proved.as_ref()).await?;
                store::insert(txn, row.clone()).await?;
                audit_log::record(txn, &event).await?;
                Ok::<_, DeviceTokenError>(())
            });
            match made {
                Ok(()) => {
                    let page = context.config.public_path(&config.page).unwrap_or_default();
                    return Ok(StartedDeviceLogin {
                        id: row.id,
                        device_code: device_code.text(),
                        user_code: user_code.to_string(),
                        verification_uri: page,
                        phrase,
                        expires_in: config.lifetime,
                        interval: config.interval,
                        confirms: asking.confirmation,
                    });
                }
                Err(DeviceTokenError::Fault(Fault::Database(error)))
                    if is_unique_violation(&error) && !self.db.is_inside() => {}
                Err(error) => return Err(error),
            }
        }
        let reason = "no code is free";
        Err(DeviceTokenError::Fault(Fault::Internal(reason.into())))
    }

    fn draw(&self, at: usize) -> UserCode {
        #[cfg(feature = "test-util")]
        if let Some(code) = self.codes.get(at).and_then(|code| UserCode::parse(code)) {
            return code;
        }
        let _ = at;
        UserCode::draw()
    }

    /// Returns the permissions of the scope, as a row has them.
    fn wanted(&self, asking: &DeviceClient) -> Result<Option<String>, DeviceTokenError> {
        let Some(text) = &self.scope else { return Ok(None) };
        let wanted = scope::parse(text.split(' ')).ok_or(DeviceTokenError::InvalidScope)?;
        if !scope::covers(&scope::ceiling(asking), &wanted) {
            return Err(DeviceTokenError::InvalidScope);
        }
        Ok(Some(scope::write(&wanted)))
    }

    fn bound_to(&self) -> Result<Option<JwkThumbprint>, DeviceTokenError> {
        match (self.key, self.proved.map(|proved| proved.key)) {
            (Some(named), Some(proved)) if named != proved => {
                Err(key::refused(self.auth, dpop::refused(DpopRefusal::WrongKey)))
            }
            (named, proved) => Ok(proved.or(named)),
        }
    }

    fn check_claims(&self) -> Result<(), DeviceTokenError> {
        let fits = |text: &Option<String>, most| {
            // People read it, so no character may reverse the text, be invisible or break the line.
            let printable = |found: char| {
                !found.is_control()
                    && !matches!(found, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}')
                    && !matches!(found, '\u{2060}'..='\u{206F}' | '\u{FEFF}')
            };
            let text = text.as_deref();
            text.is_none_or(|text| (1..=most).contains(&text.len()) && text.chars().all(printable))
        };
        let invalid = |text| Err(DeviceTokenError::InvalidRequest(text));
        if !fits(&self.device_name, LONGEST_NAME) {
            return invalid("device_name has 1 to 64 bytes of printable text");
        }
        if !fits(&self.message, LONGEST_MESSAGE) {
            return invalid("message has 1 to 200 bytes of printable text");
        }
        if !fits(&self.login_hint, LONGEST_HINT) {
            return invalid("login_hint has 1 to 254 bytes of printable text");
        }
        Ok(())
    }
}

fn first(digests: Vec<Vec<u8>>) -> Vec<u8> {
    digests.into_iter().next().expect("one for each secret")
}

impl StartedDeviceLogin {
    /// Returns the id of the request, for support. It is not a secret.
    pub fn request_id(&self) -> DeviceRequestId {
        self.id
    }

    /// Returns the code that the device keeps. Anyone who has it gets the token.
    pub fn device_code(&self) -> &str {
        &self.device_code
    }

    /// Returns the code that the device shows, such as `BCDF-GHJK`.
    pub fn user_code(&self) -> &str {
        &self.user_code
    }

    /// Returns the address of the page on which a person types the code.
    pub fn verification_uri(&self) -> &str {
        &self.verification_uri
    }

    /// Returns the same address with the code, for a QR code. The page must show the code, and must not
    /// decide by itself.
    pub fn verification_uri_complete(&self) -> String {
        format!("{}?user_code={}", self.verification_uri, self.user_code)
    }

    /// Returns three words that the device and the page both show. They do not stop phishing: a stranger who sends
    /// a person the code can send the words too.
    pub fn phrase(&self) -> &str {
        &self.phrase
    }

    /// Returns how long a person has time to decide.
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// Returns how long the device must wait between two polls.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// True if the device must ask its user for two digits, and send them with a poll.
    pub fn confirms(&self) -> bool {
        self.confirms
    }
}

// Written by hand: the codes must not be printed.
impl fmt::Debug for StartedDeviceLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartedDeviceLogin").field("id", &self.id).finish_non_exhaustive()
    }
}

// Written by hand: what a device claims is personal data.
impl fmt::Debug for StartDeviceLogin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartDeviceLogin")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}
