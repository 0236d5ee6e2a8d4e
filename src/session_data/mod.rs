//! Session data: a small value of your application, stored with a session.
//!
//! For example a cart, a half-filled form, or the language of a visitor. It is one value of your
//! own type, at most 4 KiB as JSON. It costs nothing unless you use it. Each use is one statement.
//!
//! # How it works
//!
//! 1. The value belongs to the lineage of the session, so it stays when a session is replaced. This
//!    happens when a visitor signs in or registers, and when a user signs in again, proves the
//!    password or changes it. If another user signs in with the same browser, they get nothing of
//!    it.
//! 2. Reading, writing and removing check in the same statement that the session is alive. When the
//!    session ends, its data cannot be used any more, even by code that still holds a [`Session`]
//!    value.
//! 3. If two requests write at once, the last one wins. Put data that must not be lost in this way
//!    into your own table.
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
//! [`auth.maintenance()`](crate::maintenance) deletes the data when the last session of its lineage
//! is deleted, and never before.
//!
//! # What it does not do
//!
//! - It does not encrypt the value, so do not store secrets in it.
//! - It does not store large values.
//! - It does not store what must outlive the session. That belongs to the account.
//!
//! # Error codes
//!
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

/// The maximum size of the data of a session, in bytes of JSON.
pub const MAX_SESSION_DATA: usize = 4096;

/// A session that can have data: the one of a user or of a visitor.
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
    /// The session has ended.
    #[error("the session has ended; sign in again")]
    Ended,
    /// The value is larger than [`MAX_SESSION_DATA`].
    #[error("a session keeps at most {MAX_SESSION_DATA} bytes, this has {bytes}")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// The stored data is not of this type, or the value cannot be written as JSON.
    #[error("the session data does not match the expected type")]
    Unreadable(#[source] serde_json::Error),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

problem! {
    SessionDataError {
        Self::Ended => UNAUTHORIZED, "session_ended";
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
    /// Returns the data that the application stores with a session.
    pub fn session_data(&self, session: &impl KeepsData) -> SessionData<'_> {
        SessionData { auth: self, session: session.session_id() }
    }

    /// Deletes data whose lineage has no session left and that was last written more than `kept`
    /// ago. Returns how many rows were deleted. [`maintenance`](crate::maintenance) does the same
    /// with one hour. Use this for another time.
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
    /// Returns the stored value, or `None` if nothing was written.
    ///
    /// # Errors
    /// The session has ended; the stored value is not of this type; an outage.
    pub async fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, SessionDataError> {
        let context = self.auth.context();
        let (db, verified) = (context.db(), context.config.login.require_verified);
        let executor = db.executor();
        let data = db.read(store::read(&executor, self.session, context.now(), verified)).await?;
        let text = data.ok_or(SessionDataError::Ended)?;
        let value = text.map(|text| serde_json::from_str(&text)).transpose();
        value.map_err(SessionDataError::Unreadable)
    }

    /// Stores this value. It replaces the previous one.
    ///
    /// # Errors
    /// The value is too large or cannot be written as JSON, and nothing is changed; the session has
    /// ended; an outage.
    pub async fn write<T: Serialize + Sync>(&self, value: &T) -> Result<(), SessionDataError> {
        let text = serde_json::to_string(value).map_err(SessionDataError::Unreadable)?;
        if text.len() > MAX_SESSION_DATA {
            return Err(SessionDataError::TooLarge { bytes: text.len() });
        }
        let context = self.auth.context();
        let (db, verified) = (context.db(), context.config.login.require_verified);
        let (executor, now) = (db.executor(), context.now());
        let write = || store::write(&executor, self.session, &text, now, verified);
        if db.retry(write).await? { Ok(()) } else { Err(SessionDataError::Ended) }
    }

    /// Removes the value. It is no error if there is none, or if the session has ended.
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
