//! Notices to the owner of an account, sent apart from the answer to the request.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use crate::base::clock::Timestamp;
use crate::base::id::AccountId;

/// What the owner of an account is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoticeKind {
    /// A retired session token was used again; the session was ended.
    SessionTheftSuspected,
    /// The password was changed.
    PasswordChanged,
}

/// A notice: time and place, never a secret or a link that signs in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Notice {
    /// What happened.
    pub kind: NoticeKind,
    /// Whose account.
    pub account_id: AccountId,
    /// Where to write to, if the account has an address.
    pub email: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// Where it came from, if known.
    pub address: Option<IpAddr>,
}

/// What a [`Notifier`] answers when it could not send.
pub type NotifyError = Box<dyn std::error::Error + Send + Sync>;

/// Sends notices. It is called after the change is committed, in a task of its own, so a slow or
/// failing one neither delays an answer nor undoes a change.
pub trait Notifier: Send + Sync + fmt::Debug + 'static {
    /// Sends one notice.
    fn notify<'a>(
        &'a self,
        notice: &'a Notice,
    ) -> Pin<Box<dyn Future<Output = Result<(), NotifyError>> + Send + 'a>>;
}

/// Remembers notices for a test to look at.
#[cfg(feature = "test-util")]
#[derive(Debug, Clone, Default)]
pub struct RecordingNotifier(std::sync::Arc<std::sync::Mutex<Vec<Notice>>>);

#[cfg(feature = "test-util")]
impl RecordingNotifier {
    /// The notices sent so far.
    pub fn sent(&self) -> Vec<Notice> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

#[cfg(feature = "test-util")]
impl Notifier for RecordingNotifier {
    fn notify<'a>(
        &'a self,
        notice: &'a Notice,
    ) -> Pin<Box<dyn Future<Output = Result<(), NotifyError>> + Send + 'a>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(notice.clone());
        Box::pin(std::future::ready(Ok(())))
    }
}
