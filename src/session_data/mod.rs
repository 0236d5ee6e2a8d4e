//! Session data: a little of the application's own, kept with a session.
//!
//! A cart, a half-filled form, the language of a visitor: one value of a type of yours, at most
//! 4 KiB as JSON. It costs nothing unless it is asked for, and then one statement.
//!
//! 1. It belongs to the session's lineage, so it stays when a session is replaced: when a visitor
//!    signs in or registers, when someone signs in again, proves the password or changes it.
//!    Somebody else who signs in over the session gets nothing of it.
//! 2. Reading, writing and removing ask for the live session in the same statement. When the
//!    session is over, so is its data, whoever still holds a copy of the session's value.
//! 3. Of two that write at once the last one wins. What must not be lost that way belongs into a
//!    table of your own.
//!
//! ```no_run
//! use portcullis::{Portcullis, Rejection, Session};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Cart {
//!     articles: Vec<u64>,
//! }
//!
//! async fn add(auth: Portcullis, session: Session) -> Result<(), Rejection> {
//!     let data = auth.session_data(&session);
//!     let mut cart = data.read::<Cart>().await?.unwrap_or_default();
//!     cart.articles.push(42);
//!     data.write(&cart).await?;
//!     Ok(())
//! }
//! ```
//!
//! [`auth.maintenance()`](crate::maintenance) deletes the data when the last session of its lineage is
//! deleted, and never while there is one.
//!
//! It is no place for secrets (it stands in the table as it is), for large values, or for what
//! outlives the session: that belongs to the account.
//!
//! # Errors
//! `session_data_too_large` (413), `session_data_unreadable` (500), `session_ended` (401).

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::id::{LineageId, SessionId};
use crate::base::problem::problem;
use crate::base::transaction::Fault;
use crate::handle::Portcullis;
use crate::session::{AnonymousSession, Session};

pub(crate) mod entity;
pub(crate) mod store;

/// The most that a session keeps, in bytes of JSON.
pub const MAX_SESSION_DATA: usize = 4096;

/// A session that data can be kept with: somebody's or a visitor's.
pub trait KeepsData: sealed::Sealed {}

impl KeepsData for Session {}
impl KeepsData for AnonymousSession {}

mod sealed {
    use crate::base::id::SessionId;
    use crate::session::{AnonymousSession, Session};

    pub trait Sealed {
        fn session_id(&self) -> SessionId;
    }

    impl Sealed for Session {
        fn session_id(&self) -> SessionId {
            self.id()
        }
    }

    impl Sealed for AnonymousSession {
        fn session_id(&self) -> SessionId {
            self.id()
        }
    }
}

/// Why the data of a session could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionDataError {
    /// The session is over.
    #[error("the session is over; sign in again")]
    Over,
    /// It is larger than [`MAX_SESSION_DATA`].
    #[error("a session keeps at most {MAX_SESSION_DATA} bytes, this has {bytes}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// What is kept is not of this type, or a value has no form in JSON.
    #[error("the data of the session does not fit its type")]
    Unreadable(#[source] serde_json::Error),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

problem! {
    SessionDataError {
        Self::Over => UNAUTHORIZED, "session_ended";
        Self::TooLarge { .. } => PAYLOAD_TOO_LARGE, "session_data_too_large";
        Self::Unreadable(_) => INTERNAL_SERVER_ERROR, "session_data_unreadable";
    }
    passes on { Fault }
}

/// The data of one session. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct SessionData<'a> {
    auth: &'a Portcullis,
    session: SessionId,
}

impl Portcullis {
    /// What the application keeps with a session.
    pub fn session_data(&self, session: &impl KeepsData) -> SessionData<'_> {
        SessionData { auth: self, session: session.session_id() }
    }

    /// Deletes data that has no session of its lineage left and was last written more than `kept` ago.
    /// Returns how many rows there were. [`maintenance`](crate::maintenance) does the same with an
    /// hour; this is for other times.
    ///
    /// # Errors
    /// An outage.
    pub async fn purge_session_data(&self, kept: Duration) -> Result<u64, Fault> {
        const BATCH: u64 = 500;
        let db = self.context().db();
        let (executor, then) = (db.executor(), self.context().now().minus(kept));
        let (mut purged, mut next) = (0, Some(LineageId::FIRST));
        while let Some(after) = next {
            let looked = db.retry(|| store::purge(&executor, then, after, BATCH)).await?;
            purged += looked.removed;
            next = looked.next;
        }
        Ok(purged)
    }
}

impl SessionData<'_> {
    /// What is kept; none if nothing was written.
    ///
    /// # Errors
    /// The session is over; what is kept is not of this type; an outage.
    pub async fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, SessionDataError> {
        let context = self.auth.context();
        let (db, verified) = (context.db(), context.config.login.require_verified);
        let executor = db.executor();
        let data = db.read(store::read(&executor, self.session, context.now(), verified)).await?;
        let text = data.ok_or(SessionDataError::Over)?;
        let value = text.map(|text| serde_json::from_str(&text)).transpose();
        value.map_err(SessionDataError::Unreadable)
    }

    /// Keeps this instead of what was there.
    ///
    /// # Errors
    /// It is too large, and nothing is changed; the session is over; an outage.
    pub async fn write<T: Serialize + Sync>(&self, value: &T) -> Result<(), SessionDataError> {
        let text = serde_json::to_string(value).map_err(SessionDataError::Unreadable)?;
        if text.len() > MAX_SESSION_DATA {
            return Err(SessionDataError::TooLarge { bytes: text.len() });
        }
        let context = self.auth.context();
        let (db, verified) = (context.db(), context.config.login.require_verified);
        let (executor, now) = (db.executor(), context.now());
        let write = || store::write(&executor, self.session, &text, now, verified);
        if db.retry(write).await? { Ok(()) } else { Err(SessionDataError::Over) }
    }

    /// Keeps nothing any more. Nothing to remove is no error, and neither is a session that is over.
    ///
    /// # Errors
    /// An outage.
    pub async fn remove(&self) -> Result<(), SessionDataError> {
        let context = self.auth.context();
        let (db, verified) = (context.db(), context.config.login.require_verified);
        let (executor, now) = (db.executor(), context.now());
        Ok(db.retry(|| store::remove(&executor, self.session, now, verified)).await?)
    }
}
