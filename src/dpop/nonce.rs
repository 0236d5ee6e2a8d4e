//! Nonces: a time, and a signature that only nodes of this service can make.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use crate::base::clock::Timestamp;
use crate::base::secret::{DigestKey, Purpose};
use crate::context::{Context, PerInstance};

/// How far a nonce or a proof may be in the future, because clocks differ.
pub(super) const AHEAD: Duration = Duration::from_secs(30);

const TIME_BYTES: usize = 8;
const MAC_BYTES: usize = 16;

/// The keys of the nonces, the newest first.
pub(crate) struct Nonces(Vec<DigestKey>);

impl PerInstance for Nonces {
    fn open(context: &Context) -> Self {
        let secrets = &context.config.keys.secrets;
        Self(secrets.iter().map(|secret| DigestKey::new(secret, Purpose::DpopNonce)).collect())
    }
}

impl Nonces {
    /// Returns a nonce of this time.
    pub(crate) fn make(&self, now: Timestamp) -> String {
        let time = now.as_millis().to_be_bytes();
        let key = self.0.first().expect("build() asks for a secret");
        BASE64URL_NOPAD.encode(&[&time[..], &mac(key, &time)].concat())
    }

    /// Returns when a nonce was made, if a node of this service made it.
    pub(super) fn made_at(&self, nonce: &str) -> Option<Timestamp> {
        use subtle::ConstantTimeEq;

        if nonce.len() != BASE64URL_NOPAD.encode_len(TIME_BYTES + MAC_BYTES) {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(nonce.as_bytes()).ok()?;
        let (time, shown) = bytes.split_first_chunk::<TIME_BYTES>()?;
        let ours = self.0.iter().any(|key| mac(key, time).ct_eq(shown).into());
        ours.then(|| Timestamp::from_millis(i64::from_be_bytes(*time)))
    }
}

fn mac(key: &DigestKey, time: &[u8; TIME_BYTES]) -> [u8; MAC_BYTES] {
    let digest = key.digest(time);
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    #[test]
    fn a_nonce_says_when_it_was_made_and_cannot_be_made_up() {
        let secret = Secret::generate();
        let nonces = Nonces(vec![DigestKey::new(&secret, Purpose::DpopNonce)]);
        let now = Timestamp::from_millis(1_790_000_000_123);
        let nonce = nonces.make(now);
        assert_eq!(nonces.made_at(&nonce), Some(now));
        for at in 0..nonce.len() {
            let mut other = nonce.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("text");
            assert_eq!(nonces.made_at(&other), None, "{other}");
        }
        for wrong in ["", "A", &nonce[1..], &format!("{nonce}A"), &"A".repeat(32)] {
            assert_eq!(nonces.made_at(wrong), None, "{wrong}");
        }
        let others = Nonces(vec![DigestKey::new(&secret, Purpose::DeviceView)]);
        assert_eq!(others.made_at(&nonce), None, "another purpose");
    }
}
