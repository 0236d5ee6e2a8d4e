//! The owner of an account: who may change the account itself.
//!
//! A session can be limited by a [ceiling](Identity::ceiling), for example if it was made for a
//! device or for another program. If such a session could change the password, its holder could
//! sign in with the new password, without any limit. So the flows that change an account, or show
//! where it is signed in, do not take an [`Identity`]. They take an [`AccountOwner`]. A limited
//! session can become one only if its ceiling allows it.
//!
//! 1. A session without a ceiling has all owner permissions.
//! 2. A session with a ceiling has the owner permissions that its ceiling covers.
//!    `auth-account:manage` covers all of them. Each narrower permission below covers one flow.
//! 3. An [API key](crate::api_key) never has one, whatever its scopes are. It has no identity, and the flows
//!    take no key.
//! 4. The grants of the account do not matter. People own their account without any grant, and
//!    being a superuser does not remove a ceiling.
//!
//! | permission | type | flows |
//! |---|---|---|
//! | `auth-account:manage` | | all flows below |
//! | `auth-account:password` | [`Password`] | [`password_change`](crate::password_change) |
//! | `auth-account:contact` | [`Contact`] | [`contact`](crate::contact): mail address and phone |
//! | `auth-account:login-names` | [`LoginNames`] | [`login_name`](crate::login_name) |
//! | `auth-account:sessions` | [`Sessions`] | [`own_session`](crate::own_session): list, end, report; [`action_proof`](crate::action_proof): list and take back |
//! | `auth-account:factors` | [`Factors`] | [`totp`](crate::totp), [`recovery_code`](crate::recovery_code) and [`sent_code`](crate::sent_code): set up, list and remove second factors; [`trusted_device`](crate::trusted_device): list and remove; [`account_recovery`](crate::account_recovery): list recoveries, and object |
//! | `auth-account:api-keys` | [`ApiKeys`] | [`own_api_key`](crate::own_api_key): make, list, change and revoke [API keys](crate::api_key) |
//! | `auth-account:close` | [`Close`] | [`own_account`](crate::own_account): close the account |
//! | `auth-account:export` | [`Export`] | [`own_account`](crate::own_account): export what is kept |
//! | `auth-account:devices` | [`Devices`] | [`device_login`](crate::device_login): look at, approve, deny and report the request of a device |
//! | `auth-account:memberships` | [`Memberships`] | `POST /memberships/refresh` |
//!
//! A ceiling covers what its permissions imply, as everywhere. So `*` and `auth-account` cover all
//! of them. Domains that begin with `auth-` are reserved for portcullis. An application can neither
//! declare nor grant permissions in them, so none of its permissions can mean one of these by
//! accident.
//!
//! ```
//! use portcullis::identity::owner::{AccountOwner, Sessions};
//! use portcullis::session::KnownDevice;
//! use portcullis::{ClientInfo, Identity, Portcullis, Rejection};
//!
//! async fn sign_out_elsewhere(
//!     auth: Portcullis,
//!     owner: AccountOwner<Sessions>,
//!     client: ClientInfo,
//! ) -> Result<KnownDevice, Rejection> {
//!     // The device that asks stays known: the answer carries its token.
//!     Ok(auth.own_sessions(&owner).end_others(&client).await?.device)
//! }
//!
//! // From an existing identity. The flow determines which permission is needed.
//! async fn change(auth: Portcullis, identity: Identity, new: String) -> Result<(), Rejection> {
//!     let client = ClientInfo::default();
//!     auth.password_change().change(&identity.owner()?, None, new, &client).await?;
//!     Ok(())
//! }
//! ```
//!
//! # What a limited session may do without these permissions
//! It may read its own identity (`GET /session`), renew itself, sign out, and prove a factor again
//! (the new session keeps the ceiling). It may answer [challenges](crate::challenge), consent to
//! [actions](crate::action_proof), and use its
//! [session data](crate::session_data). All of this belongs to the session and not to the account.
//!
//! # Errors
//! `limited_session` (403) if the ceiling does not cover the permission. `session_ended` (401) if a
//! step-up has replaced the session.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use axum_core::extract::FromRequestParts;
use http::request::Parts;

use crate::base::problem::Rejection;
use crate::identity::error::AuthError;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolved::Identity;
use crate::permission::Permission;

/// The permission that covers all permissions of this page.
const MANAGE: &str = "auth-account:manage";

/// A permission from the [table](self) of this page.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no permission of an account's owner",
    label = "see `portcullis::identity::owner` for the list"
)]
pub trait AccountPermission: sealed::Sealed + Send + Sync + 'static {
    /// The text of the permission, such as `auth-account:password`.
    const TEXT: &'static str;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! account_permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl sealed::Sealed for $name {}

        impl AccountPermission for $name {
            const TEXT: &'static str = $text;
        }
    )+ };
}

account_permissions! {
    /// Allows changing the password.
    Password = "auth-account:password";
    /// Allows changing the mail address or the phone number.
    Contact = "auth-account:contact";
    /// Allows listing, adding and removing the names to sign in with.
    LoginNames = "auth-account:login-names";
    /// Allows listing, ending and reporting the sessions of the account, and what was consented to in them.
    Sessions = "auth-account:sessions";
    /// Allows setting up, listing and removing second factors.
    Factors = "auth-account:factors";
    /// Allows making, listing, changing and revoking API keys.
    ApiKeys = "auth-account:api-keys";
    /// Allows closing the account.
    Close = "auth-account:close";
    /// Allows exporting everything that is kept about the account.
    Export = "auth-account:export";
    /// Allows looking at the request of a device to be signed in, and deciding about it.
    Devices = "auth-account:devices";
    /// Allows asking the application for the memberships of the account again.
    Memberships = "auth-account:memberships";
}

/// An identity that may change its account, within the permission `P`. See the [module page](self).
///
/// It is an extractor. [`Identity::owner`] creates one from an existing identity. It dereferences
/// to the [`Identity`].
pub struct AccountOwner<P> {
    identity: Identity,
    permission: PhantomData<fn() -> P>,
}

impl Identity {
    /// Returns this identity as the owner of its account. The flows that change an account take
    /// this type. The permission usually follows from the flow.
    ///
    /// # Errors
    /// [`AuthError::LimitedSession`] if the session has a ceiling that does not cover the
    /// permission, or if it is that of a [device](crate::device_login). [`AuthError::NotSignedIn`] if a step-up has replaced the session. Then the new
    /// session must be used to change the account.
    pub fn owner<P: AccountPermission>(&self) -> Result<AccountOwner<P>, AuthError> {
        if self.is_superseded() {
            return Err(AuthError::superseded());
        }
        let covered = |text: &str| match &self.0.ceiling {
            None => true,
            Some(ceiling) => Permission::parse(text)
                .and_then(|permission| ceiling.allows_permission(&permission))
                .unwrap_or(false),
        };
        // No person has signed in on a device. Its ceiling may be `*`, for the routes of the application.
        let of_device = self.session().approved_in().is_some();
        if !of_device && (covered(P::TEXT) || covered(MANAGE)) {
            Ok(AccountOwner { identity: self.clone(), permission: PhantomData })
        } else {
            Err(AuthError::LimitedSession(P::TEXT))
        }
    }
}

impl RequestIdentity {
    /// See [`Identity::owner`]. A refusal is recorded as a denial.
    pub(crate) fn owner<P: AccountPermission>(
        &self,
        identity: &Identity,
    ) -> Result<AccountOwner<P>, AuthError> {
        let owner = identity.owner();
        if matches!(owner, Err(AuthError::LimitedSession(_))) {
            self.auth().note_denial(identity.account().id(), &format!("ceiling({})", P::TEXT));
        }
        owner
    }
}

impl<P> AccountOwner<P> {
    /// Returns the identity.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl<P> Deref for AccountOwner<P> {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.identity
    }
}

impl<P> Clone for AccountOwner<P> {
    fn clone(&self) -> Self {
        Self { identity: self.identity.clone(), permission: PhantomData }
    }
}

impl<P: AccountPermission> fmt::Debug for AccountOwner<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountOwner({}, {:?})", P::TEXT, self.identity)
    }
}

impl<S: Send + Sync, P: AccountPermission> FromRequestParts<S> for AccountOwner<P> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        let identity = request_identity.full().await?;
        Ok(request_identity.owner(&identity)?)
    }
}
