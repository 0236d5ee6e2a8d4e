//! What browsers and authenticators send for passkeys (Web Authentication Level 3), read strictly and
//! checked. It knows no tables and no accounts.

mod authenticator_data;
mod cbor;
mod client_data;
mod key;
mod refusal;
mod response;

pub(crate) use client_data::CHALLENGE;
pub(crate) use key::ALGORITHMS;
pub use refusal::PasskeyRefusal;
pub(crate) use response::{Assertion, Credential, Expected, Presence};
pub use response::{AuthenticationResponse, RegistrationResponse};

/// True if these bytes are an attestation object, with what the authenticator says in it. For the fuzz target.
#[cfg(feature = "test-util")]
pub(crate) fn reads_attestation(object: &[u8]) -> bool {
    let object = cbor::Value::read(object);
    let data = object.as_ref().and_then(|object| object.member("authData"));
    let data = data.and_then(cbor::Value::as_bytes);
    data.is_some_and(|data| authenticator_data::AuthenticatorData::read(data).is_some())
}

#[cfg(test)]
mod tests;
