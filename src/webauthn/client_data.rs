//! What the browser itself says about a request: the bytes that the authenticator signs with its own.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::refusal::PasskeyRefusal;

/// The length of a challenge in bytes. The standard asks for at least 16.
pub(crate) const CHALLENGE: usize = 32;

/// A browser writes about 200 bytes.
const LONGEST: usize = 8 * 1024;

/// Which of the two requests a browser has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Get,
}

/// Other members mean nothing: browsers may add some.
#[derive(Deserialize)]
pub(super) struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    cross_origin: Option<bool>,
    #[serde(default, rename = "topOrigin")]
    top_origin: Option<serde::de::IgnoredAny>,
}

impl ClientData {
    pub(super) fn read(json: &[u8]) -> Result<Self, PasskeyRefusal> {
        // A list of the right values could be read too.
        let is_object = json.starts_with(b"{") && json.len() <= LONGEST;
        let read = if is_object { serde_json::from_slice(json).ok() } else { None };
        read.ok_or(PasskeyRefusal::Malformed)
    }

    /// Returns the challenge that was signed.
    pub(super) fn challenge(&self) -> Option<[u8; CHALLENGE]> {
        BASE64URL_NOPAD.decode(self.challenge.as_bytes()).ok()?.try_into().ok()
    }

    /// Checks everything but the challenge. Origins are compared as texts: what is a part of another origin
    /// is another origin.
    pub(super) fn check(
        &self,
        operation: Operation,
        origins: &[String],
    ) -> Result<(), PasskeyRefusal> {
        let kind = match operation {
            Operation::Create => "webauthn.create",
            Operation::Get => "webauthn.get",
        };
        if self.kind != kind {
            return Err(PasskeyRefusal::WrongType);
        }
        if !origins.contains(&self.origin) {
            return Err(PasskeyRefusal::WrongOrigin);
        }
        if self.cross_origin == Some(true) || self.top_origin.is_some() {
            return Err(PasskeyRefusal::Embedded);
        }
        Ok(())
    }
}
