//! The public key of a passkey (COSE, RFC 9052 and RFC 9053), and its signatures.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};

use super::cbor::Value;

/// The numbers of the algorithms that are asked for, the preferred one first (IANA COSE Algorithms).
pub(crate) const ALGORITHMS: [i64; 3] = [EDDSA, ES256, RS256];

const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

/// The lengths of the modulus of an RSA key that are accepted, in bytes: 2048 to 4096 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=512;

/// 65537, the only exponent that is accepted. Authenticators use no other.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// A public key that is accepted: of an algorithm that was asked for, on its curve, and long enough.
pub(super) struct PublicKey {
    pub(super) algorithm: i64,
    decoding: DecodingKey,
}

impl PublicKey {
    /// Reads a key. It must have exactly the members of its kind.
    pub(super) fn read(key: &Value<'_>) -> Option<Self> {
        let Value::Map(entries) = key else { return None };
        let number = |label| key.get(&Value::Number(label))?.as_number();
        let bytes = |label| key.get(&Value::Number(label))?.as_bytes();
        let (kind, algorithm) = (number(1)?, number(3)?);
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let (decoding, members) = match (kind, algorithm) {
            (2, ES256) => {
                let (x, y) = (bytes(-2)?, bytes(-3)?);
                if number(-1)? != 1 || x.len() != 32 || y.len() != 32 {
                    return None;
                }
                (DecodingKey::from_ec_components(&text(x), &text(y)).ok()?, 5)
            }
            (1, EDDSA) => {
                let x = bytes(-2)?;
                if number(-1)? != 6 || x.len() != 32 {
                    return None;
                }
                (DecodingKey::from_ed_components(&text(x)).ok()?, 4)
            }
            (3, RS256) => {
                let (modulus, exponent) = (bytes(-1)?, bytes(-2)?);
                let (first, odd) = (*modulus.first()?, modulus.last()? & 1 == 1);
                let least = if modulus.len() == *MODULUS.start() { 0x80 } else { 1 };
                if !MODULUS.contains(&modulus.len()) || first < least || !odd {
                    return None;
                }
                if exponent != EXPONENT {
                    return None;
                }
                (DecodingKey::from_rsa_raw_components(modulus, exponent), 4)
            }
            _ => return None,
        };
        (entries.len() == members).then_some(Self { algorithm, decoding })
    }

    /// True if the holder of the private key has signed this message.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let (algorithm, raw);
        let signature = match self.algorithm {
            ES256 => {
                algorithm = Algorithm::ES256;
                let Some(numbers) = from_der(signature) else { return false };
                raw = numbers;
                raw.as_slice()
            }
            EDDSA => {
                algorithm = Algorithm::EdDSA;
                signature
            }
            _ => {
                algorithm = Algorithm::RS256;
                signature
            }
        };
        let signature = BASE64URL_NOPAD.encode(signature);
        crypto::verify(&signature, message, &self.decoding, algorithm).unwrap_or(false)
    }
}

/// Reads the two numbers of an ECDSA signature from their only DER form (RFC 3279 section 2.2.3). A JWT has
/// them one after the other.
fn from_der(signature: &[u8]) -> Option<[u8; 64]> {
    let (sequence, rest) = der_value(0x30, signature)?;
    let (r, after) = der_value(0x02, sequence)?;
    let (s, end) = der_value(0x02, after)?;
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    let mut numbers = [0; 64];
    let (first, second) = numbers.split_at_mut(32);
    write_number(r, first)?;
    write_number(s, second)?;
    Some(numbers)
}

/// Reads a value with this tag. Those of a signature are shorter than 128 bytes.
fn der_value(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    match input {
        [found, length @ 0..128, rest @ ..] if *found == tag => {
            rest.split_at_checked(usize::from(*length))
        }
        _ => None,
    }
}

/// Writes a positive number, which has no zero byte at its beginning that is not needed.
fn write_number(der: &[u8], to: &mut [u8]) -> Option<()> {
    let bytes = match der {
        [0, rest @ ..] if rest.first()? & 0x80 != 0 => rest,
        [1..0x80, ..] => der,
        _ => return None,
    };
    let begin = to.len().checked_sub(bytes.len())?;
    to[begin..].copy_from_slice(bytes);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(entries: &[(i64, Value<'_>)]) -> bool {
        let entries = entries.iter().map(|(label, value)| (Value::Number(*label), value.clone()));
        PublicKey::read(&Value::Map(entries.collect())).is_some()
    }

    #[test]
    fn a_key_has_exactly_the_members_of_its_kind() {
        use Value::{Bool, Bytes, Number};

        let (coordinate, short, long) = (&[7; 32][..], &[7; 31][..], &[7; 33][..]);
        let ec = |alg, curve, x, y| {
            [(1, Number(2)), (3, Number(alg)), (-1, Number(curve)), (-2, x), (-3, y)]
        };
        assert!(key(&ec(-7, 1, Bytes(coordinate), Bytes(coordinate))));
        for (alg, curve, x, y) in [
            (-7, 2, Bytes(coordinate), Bytes(coordinate)),
            (-7, 8, Bytes(coordinate), Bytes(coordinate)),
            (-35, 1, Bytes(coordinate), Bytes(coordinate)),
            (-8, 1, Bytes(coordinate), Bytes(coordinate)),
            (-7, 1, Bytes(short), Bytes(coordinate)),
            (-7, 1, Bytes(coordinate), Bytes(long)),
            (-7, 1, Bytes(coordinate), Bool(true)),
        ] {
            let entries = ec(alg, curve, x, y);
            assert!(!key(&entries), "{entries:?}");
        }
        let good = ec(-7, 1, Bytes(coordinate), Bytes(coordinate));
        for left_out in 0..good.len() {
            let mut entries = good.to_vec();
            entries.remove(left_out);
            assert!(!key(&entries), "{entries:?}");
        }
        let private = [good.as_slice(), &[(-4, Bytes(coordinate))]].concat();
        assert!(!key(&private), "a private key");

        let okp = |curve, x| [(1, Number(1)), (3, Number(-8)), (-1, Number(curve)), (-2, Bytes(x))];
        assert!(key(&okp(6, coordinate)));
        for (curve, x) in [(4, coordinate), (7, coordinate), (6, short), (6, long)] {
            assert!(!key(&okp(curve, x)), "{curve} {}", x.len());
        }
        let modulus = |length: usize| vec![0xff; length];
        let rsa = |n: &[u8], e: &[u8]| {
            key(&[(1, Number(3)), (3, Number(-257)), (-1, Bytes(n)), (-2, Bytes(e))])
        };
        for length in [256, 384, 512] {
            assert!(rsa(&modulus(length), &EXPONENT), "{length}");
        }
        for (n, e, why) in [
            (modulus(255), &EXPONENT[..], "short"),
            (modulus(128), &EXPONENT, "short"),
            (modulus(513), &EXPONENT, "long"),
            (modulus(0), &EXPONENT, "empty"),
            ([vec![0], modulus(256)].concat(), &EXPONENT, "a zero at the beginning"),
            ([vec![0x7f], modulus(255)].concat(), &EXPONENT, "2047 bits"),
            ([modulus(255), vec![0]].concat(), &EXPONENT, "even"),
            (modulus(256), &[1], "an exponent of one"),
            (modulus(256), &[3], "a small exponent"),
            (modulus(256), &[], "no exponent"),
            (modulus(256), &[0, 1, 0, 1], "another form of the exponent"),
        ] {
            assert!(!rsa(&n, e), "{why}");
        }
    }

    #[test]
    fn a_signature_has_one_form() {
        let number =
            |bytes: &[u8]| [&[2, u8::try_from(bytes.len()).expect("short")], bytes].concat();
        let whole = |content: &[u8]| {
            [&[0x30, u8::try_from(content.len()).expect("short")], content].concat()
        };
        let pair = |r: &[u8], s: &[u8]| whole(&[number(r), number(s)].concat());
        let good = from_der(&pair(&[1], &[0, 0x80])).expect("it is good");
        assert_eq!((good[31], good[63]), (1, 0x80));
        assert!(good[..31].iter().chain(&good[32..63]).all(|byte| *byte == 0));
        let full = [0x7f; 32];
        assert_eq!(from_der(&pair(&full, &full)), Some([0x7f; 64]));
        for (bad, why) in [
            (vec![], "nothing"),
            (pair(&[0, 1], &[1]), "a zero that is not needed"),
            (pair(&[0x80], &[1]), "a negative number"),
            (pair(&[0], &[1]), "zero"),
            (pair(&[], &[1]), "no number"),
            (pair(&[1; 33], &[1]), "too long"),
            (whole(&number(&[1])), "one number"),
            (whole(&[number(&[1]), number(&[1]), number(&[1])].concat()), "three numbers"),
            ([pair(&[1], &[1]), vec![0]].concat(), "something follows"),
            ([&[0x31][..], &pair(&[1], &[1])[1..]].concat(), "no sequence"),
            ([&[0x30, 0x81][..], &pair(&[1], &[1])[1..]].concat(), "a long form of the length"),
        ] {
            assert_eq!(from_der(&bad), None, "{why}");
        }
    }
}
