//! Which credentials a guard accepts.

use std::fmt;

/// The credentials that a guard accepts. Set them with [`Require::credentials`](super::Require::credentials).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AcceptedCredentials {
    /// Only sessions: a person is signed in. An [API key](crate::api_key) gets 403 `session_required`.
    #[default]
    Session,
    /// Sessions and API keys.
    SessionOrApiKey,
    /// Only API keys. A session gets 403 `api_key_required`.
    ApiKey,
}

impl fmt::Display for AcceptedCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "session",
            Self::SessionOrApiKey => "session or API key",
            Self::ApiKey => "API key",
        })
    }
}
