//! Time-based codes (RFC 6238), which are counter-based codes (RFC 4226) of the time.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::base::clock::Timestamp;
use crate::config::TotpAlgorithm;

/// How many steps before and after the present one are accepted.
const WINDOW: i64 = 1;

/// How the codes of an authenticator are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) algorithm: TotpAlgorithm,
    pub(super) digits: u32,
    pub(super) period: Duration,
}

impl Settings {
    /// Returns the number of the step at this time.
    pub(super) fn step_at(&self, now: Timestamp) -> i64 {
        let period = i64::try_from(self.period.as_secs()).unwrap_or(i64::MAX).max(1);
        now.as_secs().div_euclid(period)
    }

    /// Returns the steps whose codes are accepted at this time, the earliest first.
    pub(super) fn accepted_at(&self, now: Timestamp) -> impl Iterator<Item = i64> + use<> {
        let step = self.step_at(now);
        step - WINDOW..=step + WINDOW
    }

    /// Returns the step with which the row of a new seed begins. Each step that is accepted now is
    /// later, so the first code of the seed is not refused.
    pub(super) fn before(&self, now: Timestamp) -> i64 {
        self.step_at(now) - WINDOW - 1
    }

    /// Returns the code of a step.
    pub(super) fn code(&self, seed: &[u8], step: i64) -> Zeroizing<String> {
        let counter = step.to_be_bytes();
        let mac = match self.algorithm {
            TotpAlgorithm::Sha1 => mac::<Hmac<sha1::Sha1>>(seed, &counter),
            TotpAlgorithm::Sha256 => mac::<Hmac<sha2::Sha256>>(seed, &counter),
            TotpAlgorithm::Sha512 => mac::<Hmac<sha2::Sha512>>(seed, &counter),
        };
        let number = truncated(&mac) % 10_u32.pow(self.digits.min(9));
        Zeroizing::new(format!("{number:0width$}", width = self.digits as usize))
    }

    /// Returns true if `typed` is the code of this step. The time does not show how much is right.
    pub(super) fn is_code(&self, seed: &[u8], step: i64, typed: &TypedCode) -> bool {
        self.code(seed, step).as_bytes().ct_eq(typed.0.as_bytes()).into()
    }
}

fn mac<M: Mac + KeyInit>(seed: &[u8], counter: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(seed).expect("HMAC takes keys of any length");
    mac.update(counter);
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

/// Dynamic truncation (RFC 4226 5.3): the last four bits say which four bytes are used.
fn truncated(mac: &[u8]) -> u32 {
    let offset = usize::from(mac.last().copied().unwrap_or_default() & 0xf);
    let bytes = mac[offset..offset + 4].try_into().expect("a MAC has at least 20 bytes");
    u32::from_be_bytes(bytes) & 0x7fff_ffff
}

/// A code as a person typed it, without blanks.
pub(super) struct TypedCode(Zeroizing<String>);

impl TypedCode {
    /// Accepts 6 to 8 digits, with blanks anywhere: apps show `123 456`. Nothing else is accepted.
    pub(super) fn parse(typed: &str) -> Option<Self> {
        if typed.len() > 32 {
            return None;
        }
        let digits: Zeroizing<String> =
            Zeroizing::new(typed.chars().filter(|c| !c.is_whitespace()).collect());
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        ((6..=8).contains(&digits.len()) && plain).then_some(Self(digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(algorithm: TotpAlgorithm, digits: u32) -> Settings {
        Settings { algorithm, digits, period: Duration::from_secs(30) }
    }

    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        // The seeds of appendix B have the length of their hash, as erratum 2866 says.
        let digits = b"1234567890".repeat(7);
        let table: [(i64, [&str; 3]); 6] = [
            (59, ["94287082", "46119246", "90693936"]),
            (1_111_111_109, ["07081804", "68084774", "25091201"]),
            (1_111_111_111, ["14050471", "67062674", "99943326"]),
            (1_234_567_890, ["89005924", "91819424", "93441116"]),
            (2_000_000_000, ["69279037", "90698825", "38618901"]),
            (20_000_000_000, ["65353130", "77737706", "47863826"]),
        ];
        for (second, codes) in table {
            let hashes = [
                (TotpAlgorithm::Sha1, 20),
                (TotpAlgorithm::Sha256, 32),
                (TotpAlgorithm::Sha512, 64),
            ];
            for ((algorithm, length), code) in hashes.into_iter().zip(codes) {
                let settings = settings(algorithm, 8);
                let step = settings.step_at(Timestamp::from_millis(second * 1000));
                assert_eq!(*settings.code(&digits[..length], step), code, "{algorithm:?} {second}");
                // A shorter code is the end of a longer one.
                let shorter = Settings { digits: 6, ..settings };
                assert_eq!(*shorter.code(&digits[..length], step), code[2..]);
            }
        }
    }

    #[test]
    fn the_codes_are_those_of_rfc_4226() {
        let codes = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583",
            "399871", "520489",
        ];
        for (step, code) in (0..).zip(codes) {
            let settings = settings(TotpAlgorithm::Sha1, 6);
            assert_eq!(*settings.code(b"12345678901234567890", step), code);
        }
    }

    #[test]
    fn one_step_before_and_after_is_accepted_and_no_other() {
        let settings = settings(TotpAlgorithm::Sha1, 6);
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        assert_eq!(settings.accepted_at(at(59)).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(settings.accepted_at(at(60)).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(settings.step_at(Timestamp::from_millis(59_999)), 1);
        assert_eq!(settings.step_at(Timestamp::from_millis(-1)), -1);
        let first = settings.accepted_at(at(60)).next().expect("three steps");
        assert!(settings.before(at(60)) < first);
    }

    #[test]
    fn blanks_are_accepted_inside_a_code_and_nothing_else() {
        let settings = settings(TotpAlgorithm::Sha1, 6);
        let seed = b"12345678901234567890";
        for typed in ["755224", " 755 224\n", "7 5 5 2 2 4", "755\t224"] {
            let code = TypedCode::parse(typed).expect("six digits");
            assert!(settings.is_code(seed, 0, &code), "{typed:?}");
            assert!(!settings.is_code(seed, 1, &code), "{typed:?}");
        }
        let many = " ".repeat(30) + "755224";
        for typed in
            ["", "75522", "755-224", "755224a", "７５５２２４", "+755224", &many, "123456789"]
        {
            assert!(TypedCode::parse(typed).is_none(), "{typed:?}");
        }
        // A code of another length is another code.
        let longer = TypedCode::parse("0755224").expect("seven digits");
        assert!(!settings.is_code(seed, 0, &longer));
    }
}
