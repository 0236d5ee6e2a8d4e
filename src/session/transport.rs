//! How tokens travel.

/// How a token travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Transport {
    /// In the session cookie.
    #[default]
    Cookie,
    /// In the `Authorization` header; the client keeps it.
    Bearer,
}
