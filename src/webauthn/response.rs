//! The two answers of a browser: a new credential, and a signature of an existing one.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use sha2::{Digest, Sha256};

use super::authenticator_data::{AuthenticatorData, LONGEST_ID, stored_key};
use super::cbor::Value;
use super::client_data::{CHALLENGE, ClientData, Operation};
use super::refusal::PasskeyRefusal;

/// The longest part of an answer, before it is decoded. The certificates that some authenticators add to a
/// new credential have some thousand bytes.
const LONGEST_PART: usize = 32 * 1024;

/// The longest user handle (Web Authentication Level 3 section 5.4.3).
const LONGEST_HANDLE: usize = 64;

/// How many transports of a credential are kept. The standard knows six.
const MOST_TRANSPORTS: usize = 8;

/// Bytes in base64url.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let text = Some(text).filter(|text| text.len() <= LONGEST_PART);
        let bytes = text.and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
        bytes.map(Self).ok_or_else(|| de::Error::custom("base64url without padding is expected"))
    }
}

/// What all credentials have. Other members mean nothing: browsers add some.
#[derive(Clone, Deserialize)]
struct PublicKeyCredential<R> {
    id: Bytes,
    #[serde(rename = "rawId")]
    raw_id: Bytes,
    #[serde(rename = "type")]
    kind: String,
    response: R,
}

impl<R> PublicKeyCredential<R> {
    fn is_plain(&self) -> bool {
        self.kind == "public-key"
            && self.id.0 == self.raw_id.0
            && (1..=LONGEST_ID).contains(&self.id.0.len())
    }
}

#[derive(Clone, Deserialize)]
struct Attestation {
    #[serde(rename = "clientDataJSON")]
    client_data: Bytes,
    #[serde(rename = "attestationObject")]
    attestation_object: Bytes,
    #[serde(default)]
    transports: Vec<String>,
}

#[derive(Clone, Deserialize)]
struct Signed {
    #[serde(rename = "clientDataJSON")]
    client_data: Bytes,
    #[serde(rename = "authenticatorData")]
    authenticator_data: Bytes,
    signature: Bytes,
    #[serde(default, rename = "userHandle")]
    user_handle: Option<Bytes>,
}

/// What `navigator.credentials.create()` returned, as `toJSON()` of the credential writes it
/// (`RegistrationResponseJSON`).
///
/// It can be deserialized from this object, or from a text that contains it, as in a field of a form.
#[derive(Clone)]
pub struct RegistrationResponse(PublicKeyCredential<Attestation>);

/// What `navigator.credentials.get()` returned, as `toJSON()` of the credential writes it
/// (`AuthenticationResponseJSON`).
///
/// It can be deserialized from this object, or from a text that contains it, as in a field of a form.
#[derive(Clone)]
pub struct AuthenticationResponse(PublicKeyCredential<Signed>);

/// Reads an object, or a text that contains it.
struct ObjectOrText<T>(std::marker::PhantomData<T>);

impl<'de, T: de::DeserializeOwned> Visitor<'de> for ObjectOrText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a credential, as an object or as JSON in a text")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        // A list of the right values could be read too.
        if !text.starts_with('{') {
            return Err(E::invalid_value(de::Unexpected::Str("another text"), &self));
        }
        serde_json::from_str(text).map_err(E::custom)
    }
}

fn object_or_text<'de, T: de::DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(ObjectOrText(std::marker::PhantomData))
}

impl<'de> Deserialize<'de> for RegistrationResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object_or_text(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for AuthenticationResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object_or_text(deserializer).map(Self)
    }
}

impl fmt::Debug for RegistrationResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistrationResponse(..)")
    }
}

impl fmt::Debug for AuthenticationResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthenticationResponse(..)")
    }
}

/// What the service expects of every credential.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) rp_id: &'a str,
    pub(crate) origins: &'a [String],
    /// True if the authenticator must have verified its user.
    pub(crate) verification: bool,
}

/// Whether a person must have confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    /// For a passkey that the browser makes by itself, after a sign-in with a password.
    NotRequired,
}

/// A new credential that was accepted.
pub(crate) struct Credential {
    pub(crate) id: Vec<u8>,
    pub(crate) public_key: Vec<u8>,
    pub(crate) aaguid: [u8; 16],
    pub(crate) transports: Vec<String>,
    pub(crate) seen: Assertion,
}

/// What an authenticator says about itself and its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Assertion {
    pub(crate) verified: bool,
    pub(crate) sign_count: u32,
    pub(crate) backup_eligible: bool,
    pub(crate) backed_up: bool,
}

impl Assertion {
    fn of(data: &AuthenticatorData<'_>) -> Self {
        Self {
            verified: data.is_verified(),
            sign_count: data.sign_count,
            backup_eligible: data.is_backup_eligible(),
            backed_up: data.is_backed_up(),
        }
    }
}

fn check(
    data: &AuthenticatorData<'_>,
    expected: Expected<'_>,
    presence: Presence,
) -> Result<(), PasskeyRefusal> {
    let automatic = presence == Presence::NotRequired;
    if data.rp_id_hash != *Sha256::digest(expected.rp_id.as_bytes()) {
        Err(PasskeyRefusal::WrongRelyingParty)
    } else if !data.is_present() && !automatic {
        Err(PasskeyRefusal::NotPresent)
    } else if expected.verification && !data.is_verified() && !automatic {
        Err(PasskeyRefusal::NotVerified)
    } else {
        Ok(())
    }
}

fn challenge(client_data: &Bytes) -> Option<[u8; CHALLENGE]> {
    ClientData::read(&client_data.0).ok()?.challenge()
}

impl RegistrationResponse {
    /// Returns the challenge that the browser was given. Its row is looked up before anything else.
    pub(crate) fn challenge(&self) -> Option<[u8; CHALLENGE]> {
        challenge(&self.0.response.client_data)
    }

    /// Checks a new credential (Web Authentication Level 3 section 7.1). Its challenge was found.
    ///
    /// No attestation is asked for, so a statement by the maker of the authenticator is ignored. A statement that
    /// the credential itself has signed is checked.
    pub(crate) fn check(
        &self,
        expected: Expected<'_>,
        presence: Presence,
    ) -> Result<Credential, PasskeyRefusal> {
        let malformed = PasskeyRefusal::Malformed;
        let response = &self.0.response;
        let client_data = ClientData::read(&response.client_data.0)?;
        client_data.check(Operation::Create, expected.origins)?;
        let object = Value::read(&response.attestation_object.0).ok_or(malformed)?;
        let signed = object.member("authData").and_then(Value::as_bytes).ok_or(malformed)?;
        let data = AuthenticatorData::read(signed).ok_or(malformed)?;
        check(&data, expected, presence)?;
        let found = data.credential.as_ref().ok_or(malformed)?;
        if !self.0.is_plain() || found.id != self.0.id.0 {
            return Err(malformed);
        }
        let key = found.key.as_ref().ok_or(PasskeyRefusal::UnsupportedKey)?;
        let Some(Value::Text(format)) = object.member("fmt") else { return Err(malformed) };
        let statement = object.member("attStmt").ok_or(malformed)?;
        let Value::Map(members) = statement else { return Err(malformed) };
        match *format {
            "none" if !members.is_empty() => return Err(malformed),
            "packed" if statement.member("x5c").is_none() => {
                let algorithm = statement.member("alg").and_then(Value::as_number);
                let signature = statement.member("sig").and_then(Value::as_bytes);
                let signature = signature.ok_or(malformed)?;
                if algorithm != Some(key.algorithm) {
                    return Err(malformed);
                }
                if !key.has_signed(&message(signed, &response.client_data), signature) {
                    return Err(PasskeyRefusal::WrongSignature);
                }
            }
            _ => {}
        }
        Ok(Credential {
            id: found.id.to_vec(),
            public_key: found.encoded_key.to_vec(),
            aaguid: found.aaguid,
            transports: transports(&response.transports),
            seen: Assertion::of(&data),
        })
    }
}

/// Keeps the transports that can be kept. They are hints, so an unknown one is no fault.
fn transports(told: &[String]) -> Vec<String> {
    let plain = |name: &&String| {
        (1..=16).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    let mut kept: Vec<String> = told.iter().filter(plain).take(MOST_TRANSPORTS).cloned().collect();
    kept.sort_unstable();
    kept.dedup();
    kept
}

/// Returns the bytes that the authenticator signs.
fn message(authenticator_data: &[u8], client_data: &Bytes) -> Vec<u8> {
    [authenticator_data, Sha256::digest(&client_data.0).as_slice()].concat()
}

impl AuthenticationResponse {
    /// Returns the challenge that the browser was given. Its row is looked up before anything else.
    pub(crate) fn challenge(&self) -> Option<[u8; CHALLENGE]> {
        challenge(&self.0.response.client_data)
    }

    /// Returns the id of the credential that has signed.
    pub(crate) fn credential_id(&self) -> &[u8] {
        &self.0.id.0
    }

    /// Returns the handle of the user, which the authenticator has stored with a credential that needs no
    /// name of the user.
    pub(crate) fn user_handle(&self) -> Option<&[u8]> {
        let handle = self.0.response.user_handle.as_ref().map(|handle| handle.0.as_slice());
        handle.filter(|handle| !handle.is_empty())
    }

    /// Checks everything that needs no key (Web Authentication Level 3 section 7.2). The challenge was found.
    pub(crate) fn check(&self, expected: Expected<'_>) -> Result<(), PasskeyRefusal> {
        self.read(expected).map(|_| ())
    }

    /// Checks everything, with the key of the credential.
    pub(crate) fn verify(
        &self,
        expected: Expected<'_>,
        public_key: &[u8],
    ) -> Result<Assertion, PasskeyRefusal> {
        let data = self.read(expected)?;
        let response = &self.0.response;
        let message = message(&response.authenticator_data.0, &response.client_data);
        match stored_key(public_key)?.has_signed(&message, &response.signature.0) {
            true => Ok(Assertion::of(&data)),
            false => Err(PasskeyRefusal::WrongSignature),
        }
    }

    fn read(&self, expected: Expected<'_>) -> Result<AuthenticatorData<'_>, PasskeyRefusal> {
        let malformed = PasskeyRefusal::Malformed;
        let response = &self.0.response;
        let client_data = ClientData::read(&response.client_data.0)?;
        client_data.check(Operation::Get, expected.origins)?;
        let data = AuthenticatorData::read(&response.authenticator_data.0).ok_or(malformed)?;
        let handle = response.user_handle.as_ref().map_or(0, |handle| handle.0.len());
        if !self.0.is_plain() || handle > LONGEST_HANDLE {
            return Err(malformed);
        }
        check(&data, expected, Presence::Required)?;
        Ok(data)
    }
}
