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

#[cfg(test)]
mod tests;
