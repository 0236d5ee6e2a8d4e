//! The owner of an account: who may change the account itself.
//!
//! A session can be limited: it carries a [ceiling](Identity::ceiling), as one does that was made
//! for a device or for another program. If such a session could change the password, its holder
//! could sign in with the new one, without any limit. So the flows that change an account, or show
//! where it is signed in, do not take an [`Identity`]. They take an [`AccountOwner`], and a limited
//! session gives one only if its ceiling says so.
//!
//! 1. A session without a ceiling is the owner's, in everything.
//! 2. A session with a ceiling is the owner's in what its ceiling covers: `auth-account:manage`
//!    covers everything here, the narrower permissions below one flow each.
//! 3. Whatever the account was granted plays no part: people own their account without any grant,
//!    and being a superuser lifts no ceiling.
//!
//! | permission | type | flows |
//! |---|---|---|
//! | `auth-account:manage` | | all of these |
//! | `auth-account:password` | [`Password`] | [`password_change`](crate::password_change) |
//! | `auth-account:contact` | [`Contact`] | [`contact`](crate::contact): mail address and phone |
//! | `auth-account:login-names` | [`LoginNames`] | [`login_name`](crate::login_name) |
//! | `auth-account:sessions` | [`Sessions`] | [`own_session`](crate::own_session): list, end, report |
//! | `auth-account:memberships` | [`Memberships`] | `POST /memberships/refresh` |
//!
//! A ceiling covers what its permissions imply, as everywhere: `*` and `auth-account` cover all of
//! them. The domains that begin with `auth-` belong to portcullis: an application can neither
//! declare nor grant permissions in them, so no permission of its own can mean one of these.
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
//!     // The device that asks stays a known one: the answer says so.
//!     Ok(auth.own_sessions(&owner).end_others(&client).await?.device)
//! }
//!
//! // From an identity that is there already. The flow says which permission it needs.
//! async fn change(auth: Portcullis, identity: Identity, new: String) -> Result<(), Rejection> {
//!     let client = ClientInfo::default();
//!     auth.password_change().change(&identity.owner()?, None, new, &client).await?;
//!     Ok(())
//! }
//! ```
//!
//! # What a limited session may do without any of this
//! Read who it is (`GET /session`), keep itself alive, sign out, prove a factor again (the new
//! session keeps the ceiling), answer [challenges](crate::challenge), and use its
//! [session data](crate::session_data): all of that belongs to the session and not to the account.
//!
//! # Errors
//! `limited_session` (403); `session_ended` (401) for one that a step-up has replaced.

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

/// What covers every permission of this page.
const MANAGE: &str = "auth-account:manage";

/// A permission of the [list](self) of this page.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no permission of an account's owner",
    label = "see `portcullis::identity::owner` for the list"
)]
pub trait AccountPermission: sealed::Sealed + Send + Sync + 'static {
    /// Its text, such as `auth-account:password`.
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
    /// To change the password.
    Password = "auth-account:password";
    /// To change the mail address or the phone number.
    Contact = "auth-account:contact";
    /// To see, add and remove names to sign in with.
    LoginNames = "auth-account:login-names";
    /// To see the account's sessions, end them and report them.
    Sessions = "auth-account:sessions";
    /// To ask the application for the account's memberships again.
    Memberships = "auth-account:memberships";
}

/// An identity that may change its account, as far as `P` goes. See the [module page](self).
///
/// It is an extractor, and [`Identity::owner`] makes one. It derefs to the [`Identity`].
pub struct AccountOwner<P> {
    identity: Identity,
    permission: PhantomData<fn() -> P>,
}

impl Identity {
    /// This identity as the owner of its account: what the flows that change an account take. Which
    /// permission is meant usually follows from the flow.
    ///
    /// # Errors
    /// [`AuthError::LimitedSession`] when the session has a ceiling that does not cover it;
    /// [`AuthError::NotSignedIn`] when a step-up has put another session in its place, which is the
    /// one to change the account with.
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
        if covered(P::TEXT) || covered(MANAGE) {
            Ok(AccountOwner { identity: self.clone(), permission: PhantomData })
        } else {
            Err(AuthError::LimitedSession(P::TEXT))
        }
    }
}

impl RequestIdentity {
    /// See [`Identity::owner`]. A refusal is noted as a denial.
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
    /// Who it is.
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
