//! Sessions as handlers see them: each stage is a type of its own.

use std::sync::Arc;

use super::judge::SessionState;
use super::transport::Transport;
use crate::account::Account;
use crate::base::clock::Timestamp;
use crate::base::factor::PassedFactors;
use crate::base::id::{AccountId, LineageId, SessionId};

/// A full session: someone is signed in. As an extractor it refuses every other stage.
#[derive(Debug, Clone)]
pub struct Session {
    pub(crate) state: Arc<SessionState>,
    pub(crate) transport: Transport,
    pub(crate) just_rotated: bool,
}

impl Session {
    /// The public id, for lists and foreign keys; not a credential.
    pub fn id(&self) -> SessionId {
        self.state.id
    }

    /// What stays the same while the session is replaced.
    pub fn lineage_id(&self) -> LineageId {
        self.state.lineage_id
    }

    /// Whose session it is.
    pub fn account_id(&self) -> AccountId {
        self.state.account_id.expect("a full session was judged to have an account")
    }

    /// When it was started.
    pub fn created_at(&self) -> Timestamp {
        self.state.created_at
    }

    /// When it ends at the latest.
    pub fn expires_at(&self) -> Timestamp {
        self.state.expires_at
    }

    /// The factors it has passed, with their times.
    pub fn factors(&self) -> &PassedFactors {
        &self.state.factors
    }

    /// How its token travels.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether a step-up has put another session in the place of this one: it keeps its old rights for
    /// ten seconds, so that requests of other tabs end as they began. Do not start with it what
    /// outlives it.
    pub fn is_superseded(&self) -> bool {
        self.state.ended.is_some()
    }

    /// Whether this request is answered with the next generation of the token, if the answer leaves
    /// within a minute.
    pub fn just_rotated(&self) -> bool {
        self.just_rotated
    }
}

macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            pub(crate) state: Arc<SessionState>,
            pub(crate) account: Arc<Account>,
            pub(crate) transport: Transport,
        }

        impl $name {
            /// The public id.
            pub fn id(&self) -> SessionId {
                self.state.id
            }

            /// Who is signing in.
            pub fn account(&self) -> &Account {
                &self.account
            }

            /// When the sign-in has to be finished.
            pub fn expires_at(&self) -> Timestamp {
                self.state.expires_at
            }

            /// How its token travels.
            pub fn transport(&self) -> Transport {
                self.transport
            }
        }
    )+ };
}

stages! {
    /// A sign-in that still needs its second factor. Not a session:
    ///
    /// ```compile_fail
    /// # fn needs_a_session(_: portcullis::Session) {}
    /// fn handler(pending: portcullis::PendingSession) {
    ///     needs_a_session(pending);
    /// }
    /// ```
    PendingSession,
    /// A sign-in that must set a new password first.
    PasswordChangeSession,
    /// A sign-in that must enrol a second factor first.
    EnrolmentSession,
}

/// A visitor without an account.
#[derive(Debug, Clone)]
pub struct AnonymousSession {
    pub(crate) state: Arc<SessionState>,
    pub(crate) transport: Transport,
}

impl AnonymousSession {
    /// The public id.
    pub fn id(&self) -> SessionId {
        self.state.id
    }

    /// What stays the same when the visitor signs in.
    pub fn lineage_id(&self) -> LineageId {
        self.state.lineage_id
    }

    /// When it ends.
    pub fn expires_at(&self) -> Timestamp {
        self.state.expires_at
    }

    /// How its token travels.
    pub fn transport(&self) -> Transport {
        self.transport
    }
}
