//! Sessions as handlers see them. Each stage has its own type.

use std::sync::Arc;

use super::judge::SessionState;
use super::transport::{Transport, scheme_of};
use crate::account::Account;
use crate::base::clock::Timestamp;
use crate::base::factor::PassedFactors;
use crate::base::id::{AccountId, LineageId, SessionId};
use crate::base::jwk_thumbprint::JwkThumbprint;

/// A full session: a user is signed in. As an extractor it rejects sessions in any other stage.
#[derive(Debug, Clone)]
pub struct Session {
    pub(crate) state: Arc<SessionState>,
    pub(crate) transport: Transport,
    pub(crate) just_rotated: bool,
}

impl Session {
    /// Returns the public id, for lists and foreign keys. It is not a credential.
    pub fn id(&self) -> SessionId {
        self.state.id
    }

    /// Returns the lineage, which stays the same when the session is replaced.
    pub fn lineage_id(&self) -> LineageId {
        self.state.lineage_id
    }

    /// Returns the account of the session.
    pub fn account_id(&self) -> AccountId {
        self.state.account_id.expect("a full session was judged to have an account")
    }

    /// Returns when the session was started.
    pub fn created_at(&self) -> Timestamp {
        self.state.created_at
    }

    /// Returns the absolute end of the session.
    pub fn expires_at(&self) -> Timestamp {
        self.state.expires_at
    }

    /// Returns the factors that were proved, with their times. With
    /// [`Binding::StepUp`](crate::config::Binding::StepUp), a request from another source than that of
    /// the session has none.
    pub fn factors(&self) -> &PassedFactors {
        &self.state.factors
    }

    /// True if a [trusted device](crate::trusted_device) stood in for the second factor of this sign-in. It
    /// stays true after a step-up. [`factors`](Self::factors) says what was proved.
    pub fn by_trusted_device(&self) -> bool {
        self.state.factors.trusted_device_at().is_some()
    }

    /// Returns how its token is sent.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Returns the session that approved this one, if it is the session of a [device](crate::device_login).
    pub fn approved_in(&self) -> Option<SessionId> {
        self.state.approved_in
    }

    /// Returns the key to which the session is [bound](crate::dpop), if it is bound to one.
    pub fn bound_to(&self) -> Option<JwkThumbprint> {
        self.state.bound_to
    }

    /// Returns the scheme with which a token of it is sent in `Authorization`: `Bearer`, or `DPoP` for one that
    /// is [bound to a key](crate::dpop).
    pub fn token_scheme(&self) -> &'static str {
        scheme_of(self.state.bound_to.is_some())
    }

    /// True if a step-up has replaced this session. It keeps its old rights for ten seconds, so
    /// that requests of other tabs can finish. Do not use it to start anything that outlives it.
    pub fn is_superseded(&self) -> bool {
        self.state.ended.is_some()
    }

    /// True if the answer to this request carries the next generation of the token. It does so only
    /// if it leaves within a minute.
    pub fn just_rotated(&self) -> bool {
        self.just_rotated
    }
}

macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident $({ $($field:ident: $kind:ty),+ })?),+ $(,)?) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            pub(crate) state: Arc<SessionState>,
            pub(crate) account: Arc<Account>,
            pub(crate) transport: Transport,
            $($(pub(crate) $field: $kind,)+)?
        }

        impl $name {
            /// Returns the public id.
            pub fn id(&self) -> SessionId {
                self.state.id
            }

            /// Returns the account that is signing in.
            pub fn account(&self) -> &Account {
                &self.account
            }

            /// Returns when the sign-in must be finished.
            pub fn expires_at(&self) -> Timestamp {
                self.state.expires_at
            }

            /// Returns how its token is sent.
            pub fn transport(&self) -> Transport {
                self.transport
            }
        }
    )+ };
}

stages! {
    /// A sign-in that still needs its second factor. It is not a session:
    ///
    /// ```compile_fail
    /// # fn needs_a_session(_: portcullis::Session) {}
    /// fn handler(pending: portcullis::PendingSession) {
    ///     needs_a_session(pending);
    /// }
    /// ```
    PendingSession { offers_trust: bool },
    /// A sign-in that must set a new password first.
    PasswordChangeSession,
    /// A sign-in that must enrol a second factor first.
    EnrolmentSession,
}

impl PendingSession {
    /// True if the person may [trust this device](crate::trusted_device): it is turned on, and neither the
    /// account nor one of its roles forbids it. Then show a box to tick. It is decided again when the person
    /// ticks it.
    ///
    /// The answer to the password itself ([`Issued::pending_session`](super::Issued::pending_session)) does
    /// not know the roles yet.
    pub fn offers_trust(&self) -> bool {
        self.offers_trust
    }
}

/// The session of a visitor without an account.
#[derive(Debug, Clone)]
pub struct AnonymousSession {
    pub(crate) state: Arc<SessionState>,
    pub(crate) transport: Transport,
}

impl AnonymousSession {
    /// Returns the public id.
    pub fn id(&self) -> SessionId {
        self.state.id
    }

    /// Returns the lineage, which stays the same when the visitor signs in.
    pub fn lineage_id(&self) -> LineageId {
        self.state.lineage_id
    }

    /// Returns when it ends.
    pub fn expires_at(&self) -> Timestamp {
        self.state.expires_at
    }

    /// Returns how its token is sent.
    pub fn transport(&self) -> Transport {
        self.transport
    }
}
