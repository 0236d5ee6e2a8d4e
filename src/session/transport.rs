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

/// Returns the scheme of a token, which is its `token_type` too (RFC 6749 section 7.1, RFC 9449 section 5).
pub(crate) fn scheme_of(key_bound: bool) -> &'static str {
    if key_bound { "DPoP" } else { "Bearer" }
}
