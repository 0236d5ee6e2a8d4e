//! How tokens are sent.

/// How a token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Transport {
    /// In the session cookie.
    #[default]
    Cookie,
    /// In the `Authorization` header. The client stores the token itself.
    Bearer,
}
