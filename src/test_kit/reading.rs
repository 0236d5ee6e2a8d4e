//! Strict readers for the fuzz targets of this crate.

/// True if these bytes are an attestation object of a passkey, with what the authenticator says in it.
#[cfg(feature = "passkey")]
#[doc(hidden)]
pub fn reads_attestation(object: &[u8]) -> bool {
    crate::webauthn::reads_attestation(object)
}

/// Reads these bytes as everything that a provider sends. Nobody has signed them, so no token in them may count.
///
/// # Panics
/// Panics if a token counts, or if a document is read in two ways.
#[cfg(feature = "federation")]
#[doc(hidden)]
pub fn reads_provider(bytes: &[u8]) -> bool {
    crate::oidc::reads_unsigned(bytes)
}
