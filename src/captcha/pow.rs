//! Proofs of work: the browser tries keys until one begins with zeros. No picture, and no third party.
//!
//! The format is that of ALTCHA's widget 3 and `altcha-lib` 2 (proof of work v2).

use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::entity::captcha::Model;
use super::keys::{CaptchaKeys, Workers};
use super::kind::{Captcha, CaptchaFuture, CaptchaRequest, CaptchaResponse, CaptchaVerdict};
use super::store;
use crate::base::clock::Timestamp;
use crate::base::secret::random_array;

const ALGORITHM: &str = "PBKDF2/SHA-256";
const KEY_BYTES: usize = 32;

/// A proof of work in the format of [ALTCHA](https://altcha.org). The server signs what is to be done,
/// and writes nothing until somebody answers. One answer is accepted for each challenge, on all nodes
/// together, and one wrong answer uses it up.
///
/// ```
/// use portcullis::captcha::ProofOfWork;
///
/// // About half a second of a phone. Each further zero makes it sixteen times as long.
/// let captcha = ProofOfWork::new().cost(5_000).zeros(2);
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct ProofOfWork {
    cost: u32,
    zeros: usize,
}

impl Default for ProofOfWork {
    fn default() -> Self {
        Self::new()
    }
}

impl ProofOfWork {
    /// Takes the default: 5 000 iterations for each key, and a key that begins with two zeros. So about
    /// 256 keys have to be tried.
    pub fn new() -> Self {
        Self { cost: 5_000, zeros: 2 }
    }

    /// Sets the iterations of PBKDF2 for each key, 1 to 100 000. The server spends this once for each
    /// answer, and the browser once for each key that it tries. Other values are brought into this
    /// range.
    pub fn cost(self, cost: u32) -> Self {
        Self { cost: cost.clamp(1, 100_000), ..self }
    }

    /// Sets how many hexadecimal zeros the key must begin with, 1 to 6. Each makes it 16 times as hard.
    /// Other values are brought into this range.
    pub fn zeros(self, zeros: usize) -> Self {
        Self { zeros: zeros.clamp(1, 6), ..self }
    }
}

impl Captcha for ProofOfWork {
    fn kind(&self) -> &'static str {
        "proof_of_work"
    }

    fn offer<'a>(&'a self, request: CaptchaRequest<'a>) -> CaptchaFuture<'a, Map<String, Value>> {
        Box::pin(async move {
            let context = request.auth.context();
            let keys = context.per_instance::<CaptchaKeys>();
            let parameters = Parameters {
                algorithm: ALGORITHM.to_owned(),
                cost: self.cost,
                data: Data { action: request.action.to_owned() },
                expires_at: request.at.plus(context.config.captcha.lifetime).as_secs(),
                key_length: KEY_BYTES,
                key_prefix: "0".repeat(self.zeros),
                nonce: HEXLOWER.encode(&random_array::<16>()),
                salt: HEXLOWER.encode(&random_array::<16>()),
            };
            let signature = keys.signatures[0].digest(parameters.signed().as_bytes());
            let challenge = json!({
                "parameters": parameters.as_json(),
                "signature": HEXLOWER.encode(&signature),
            });
            Ok([("challenge".to_owned(), challenge)].into_iter().collect())
        })
    }

    fn check<'a>(
        &'a self,
        response: &'a CaptchaResponse,
        request: CaptchaRequest<'a>,
    ) -> CaptchaFuture<'a, CaptchaVerdict> {
        Box::pin(async move {
            let context = request.auth.context();
            let keys = context.per_instance::<CaptchaKeys>();
            let Some(Payload { challenge, solution }) = Payload::read(response.text()) else {
                return Ok(CaptchaVerdict::Wrong);
            };
            let Challenge { parameters, signature } = challenge;
            let signed = parameters.signed();
            let is_ours = HEXLOWER.decode(signature.as_bytes()).is_ok_and(|signature| {
                let mut made = keys.signatures.iter().map(|key| key.digest(signed.as_bytes()));
                made.any(|made| made.ct_eq(&signature).into())
            });
            let in_time = request.at.as_secs() < parameters.expires_at;
            let work = Work::of(&parameters, &solution);
            let (true, true, true, Some(work)) =
                (is_ours, in_time, parameters.data.action == request.action, work)
            else {
                return Ok(CaptchaVerdict::Wrong);
            };
            // The row comes first. So each challenge makes the server derive one key at most, and the
            // number of challenges is limited for each source.
            let row = Model {
                id: Uuid::from_bytes(work.nonce),
                action: request.action.to_owned(),
                key_id: String::new(),
                answer: None,
                fetches: 0,
                attempts: 1,
                expires_at: after(parameters.expires_at),
                used_at: Some(request.at),
            };
            let db = context.db();
            let executor = db.executor();
            if !db.retry(|| store::insert(&executor, row.clone())).await? {
                return Ok(CaptchaVerdict::Wrong);
            }
            let done = Workers::run(context, move || work.is_done()).await?;
            Ok(if done { CaptchaVerdict::Right } else { CaptchaVerdict::Wrong })
        })
    }
}

/// Returns the moment after this second.
fn after(second: i64) -> Timestamp {
    Timestamp::from_millis(second.saturating_mul(1_000)).plus(Duration::from_secs(1))
}

/// What a widget sends, in base64.
#[derive(Deserialize)]
struct Payload {
    challenge: Challenge,
    solution: Solution,
}

impl Payload {
    fn read(text: &str) -> Option<Self> {
        serde_json::from_slice(&BASE64.decode(text.as_bytes()).ok()?).ok()
    }
}

#[derive(Deserialize)]
struct Challenge {
    parameters: Parameters,
    signature: String,
}

/// What is signed. A parameter that is not here could change what a browser does, so it is refused.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Parameters {
    algorithm: String,
    cost: u32,
    data: Data,
    expires_at: i64,
    key_length: usize,
    key_prefix: String,
    nonce: String,
    salt: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    action: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Solution {
    counter: u32,
    derived_key: String,
}

impl Parameters {
    fn as_json(&self) -> Value {
        json!({
            "algorithm": self.algorithm,
            "cost": self.cost,
            "data": { "action": self.data.action },
            "expiresAt": self.expires_at,
            "keyLength": self.key_length,
            "keyPrefix": self.key_prefix,
            "nonce": self.nonce,
            "salt": self.salt,
        })
    }

    /// Returns the text that is signed: JSON without spaces, with its names in alphabetical order. It
    /// is written by hand, because the order in a `serde_json::Map` depends on a feature that any crate
    /// may turn on.
    fn signed(&self) -> String {
        let text = |text: &str| Value::from(text).to_string();
        format!(
            "{{\"algorithm\":{},\"cost\":{},\"data\":{{\"action\":{}}},\"expiresAt\":{},\
             \"keyLength\":{},\"keyPrefix\":{},\"nonce\":{},\"salt\":{}}}",
            text(&self.algorithm),
            self.cost,
            text(&self.data.action),
            self.expires_at,
            self.key_length,
            text(&self.key_prefix),
            text(&self.nonce),
            text(&self.salt),
        )
    }
}

/// The key to derive, and what it must be.
struct Work {
    nonce: [u8; 16],
    salt: Vec<u8>,
    counter: u32,
    cost: u32,
    key: Vec<u8>,
}

impl Work {
    /// Returns the work of a challenge that we have signed. `None` if the key that was sent does not
    /// begin as it must.
    fn of(parameters: &Parameters, solution: &Solution) -> Option<Self> {
        let nonce = HEXLOWER.decode(parameters.nonce.as_bytes()).ok()?;
        let begins = solution.derived_key.starts_with(&parameters.key_prefix);
        let key = HEXLOWER.decode(solution.derived_key.as_bytes()).ok()?;
        let fits = begins && key.len() == KEY_BYTES;
        fits.then_some(Self {
            nonce: nonce.try_into().ok()?,
            salt: HEXLOWER.decode(parameters.salt.as_bytes()).ok()?,
            counter: solution.counter,
            cost: parameters.cost,
            key,
        })
    }

    fn is_done(&self) -> bool {
        let password = [self.nonce.as_slice(), &self.counter.to_be_bytes()].concat();
        derive(&password, &self.salt, self.cost)[..] == self.key[..]
    }
}

/// PBKDF2 with HMAC-SHA-256 (RFC 8018 5.2), whose first block is the whole key.
fn derive(password: &[u8], salt: &[u8], iterations: u32) -> [u8; KEY_BYTES] {
    let keyed = Hmac::<Sha256>::new_from_slice(password).expect("HMAC takes keys of any length");
    let mac = |parts: &[&[u8]]| -> [u8; KEY_BYTES] {
        let mut mac = keyed.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let mut block = mac(&[salt, &1_u32.to_be_bytes()]);
    let mut key = block;
    for _ in 1..iterations {
        block = mac(&[&block]);
        key.iter_mut().zip(block).for_each(|(byte, other)| *byte ^= other);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A challenge that `altcha-lib` 2.8 has signed with a secret and solved.
    const MADE_BY_ALTCHA: &str = r#"{"challenge":{"parameters":{"algorithm":"PBKDF2/SHA-256","cost":10,"data":{"action":"login"},"expiresAt":1893456000,"keyLength":32,"keyPrefix":"00","nonce":"5e8370751b2270aaa1327602d267cc80","salt":"ea3d75877b65feaebba452c4e8215ee4"},"signature":"5cd381c84d60654863395371540ac27cfe6a0f08536114c99544e0d787a91889"},"solution":{"counter":45,"derivedKey":"003d1ef059967829e1abacb2e995c0986f791e8a499de6d39a9d956e3d148f8c","time":4.4}}"#;
    const SECRET: &[u8] = b"a secret of the test";

    fn payload(text: &str) -> Option<Payload> {
        Payload::read(&BASE64.encode(text.as_bytes()))
    }

    #[test]
    fn what_altcha_has_signed_and_solved_is_signed_and_solved_here() {
        let Payload { challenge, solution } = payload(MADE_BY_ALTCHA).expect("a payload");
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("a key");
        mac.update(challenge.parameters.signed().as_bytes());
        let signature = HEXLOWER.encode(&mac.finalize().into_bytes());
        assert_eq!(signature, challenge.signature);
        assert!(Work::of(&challenge.parameters, &solution).expect("it begins so").is_done());
        for counter in [0, 44, 46, u32::MAX] {
            let wrong = Solution { counter, derived_key: solution.derived_key.clone() };
            assert!(!Work::of(&challenge.parameters, &wrong).expect("it begins so").is_done());
        }
        let key = |key: &str| Solution { counter: 45, derived_key: key.to_owned() };
        for key in [key(""), key("00"), key(&"0".repeat(66)), key(&"a".repeat(64)), key("zz")] {
            assert!(Work::of(&challenge.parameters, &key).is_none(), "{}", key.derived_key);
        }
    }

    #[test]
    fn a_parameter_too_many_or_of_another_type_is_refused() {
        assert!(payload(MADE_BY_ALTCHA).is_some());
        for (from, to) in [
            ("\"cost\":10", "\"cost\":10,\"memoryCost\":1"),
            ("\"cost\":10", "\"cost\":10,\"cost\":1"),
            ("\"cost\":10", "\"cost\":-1"),
            ("{\"action\":\"login\"}", "{\"action\":\"login\",\"action\":\"forgot\"}"),
            ("{\"action\":\"login\"}", "{}"),
            ("\"counter\":45", "\"counter\":4294967296"),
            ("\"counter\":45", "\"counter\":45.5"),
        ] {
            assert!(payload(&MADE_BY_ALTCHA.replace(from, to)).is_none(), "{to}");
        }
        assert!(Payload::read(MADE_BY_ALTCHA).is_none(), "it is not base64");
    }

    #[test]
    fn keys_are_those_of_published_vectors() {
        // RFC 7914, section 11: the first 32 bytes.
        let key = "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc";
        assert_eq!(HEXLOWER.encode(&derive(b"passwd", b"salt", 1)), key);
        let key = "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56";
        assert_eq!(HEXLOWER.encode(&derive(b"Password", b"NaCl", 80_000)), key);
    }

    #[test]
    fn settings_stay_within_their_limits() {
        let settings = |captcha: ProofOfWork| (captcha.cost, captcha.zeros);
        assert_eq!(settings(ProofOfWork::new().cost(0).zeros(0)), (1, 1));
        assert_eq!(settings(ProofOfWork::new().cost(u32::MAX).zeros(64)), (100_000, 6));
        assert_eq!(settings(ProofOfWork::default()), (5_000, 2));
    }
}
