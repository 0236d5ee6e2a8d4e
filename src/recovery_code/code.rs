//! The text of recovery codes: Crockford's base32, in groups.

use zeroize::Zeroizing;

use crate::base::id::AccountId;
use crate::base::secret::{DigestKey, Purpose, Secret, random_bytes};
use crate::context::{Context, PerInstance};

/// The digits. They leave out `I`, `L`, `O` and `U`.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The number of characters. Each has five random bits.
pub(super) const LENGTH: usize = 24;

/// The number of characters between two dashes.
const GROUP: usize = 6;

/// The version of the digests. It is part of them, so that another rule can be added later.
const VERSION: &[u8] = b"1";

/// Makes a new code, without dashes.
pub(super) fn new_code() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    random_bytes(&mut *bytes);
    // 256 is a multiple of 32, so each character is equally likely.
    let code = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    Zeroizing::new(code)
}

/// Adds the dashes.
pub(super) fn printed(code: &str) -> String {
    let groups: Vec<&str> = code
        .as_bytes()
        .chunks(GROUP)
        .map(|group| std::str::from_utf8(group).expect("a code is ASCII"))
        .collect();
    groups.join("-")
}

/// Returns what a person typed in the form of [`new_code`]. The case does not matter, blanks and
/// dashes are left out, and characters that look like a digit are that digit. Returns `None` for
/// everything that cannot be a code.
pub(super) fn tidy(typed: &str) -> Option<Zeroizing<String>> {
    if typed.len() > 4 * LENGTH {
        return None;
    }
    let mut code = Zeroizing::new(String::with_capacity(LENGTH));
    for c in
        typed.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '\u{2010}'..='\u{2015}'))
    {
        let c = match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        if code.len() == LENGTH || !u8::try_from(c).is_ok_and(|c| ALPHABET.contains(&c)) {
            return None;
        }
        code.push(c);
    }
    (code.len() == LENGTH).then_some(code)
}

/// The keys of the digests of codes, one for each secret, the newest first. Each has the public name
/// of its secret.
pub(super) struct CodeKeys(Vec<(String, DigestKey)>);

impl PerInstance for CodeKeys {
    fn open(context: &Context) -> Self {
        let secrets = context.config.keys.secrets.iter();
        let key = |secret: &Secret| (secret.kid(), DigestKey::new(secret, Purpose::RecoveryCode));
        Self(secrets.map(key).collect())
    }
}

impl CodeKeys {
    /// Returns the digest of a code under each secret, the newest first. The code is not readable
    /// from it. It contains the account, so a row that is moved to another account opens nothing.
    pub(super) fn digests(&self, account: AccountId, code: &str) -> Vec<Vec<u8>> {
        self.0.iter().map(|(_, key)| digest(key, account, code)).collect()
    }

    /// Returns the digest of a new code, and the name of the secret with which it was made.
    pub(super) fn newest(&self, account: AccountId, code: &str) -> (Vec<u8>, String) {
        let (id, key) = self.0.first().expect("build() asks for a secret");
        (digest(key, account, code), id.clone())
    }
}

fn digest(key: &DigestKey, account: AccountId, code: &str) -> Vec<u8> {
    let account = account.as_uuid();
    let parts: [&[u8]; 3] = [VERSION, account.as_bytes(), code.as_bytes()];
    key.digest_parts(&parts).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_in_every_form_in_which_a_person_may_write_it() {
        let code = "0123456789ABCDEFGHJKMN01";
        assert_eq!(printed(code), "012345-6789AB-CDEFGH-JKMN01");
        for typed in [
            printed(code),
            code.to_owned(),
            printed(code).to_lowercase(),
            "O1234567-89ab cdefghjkmnoi\n".to_owned(),
            "ol23456789ABCDEFGHJKMNoL".to_owned(),
            format!("  {}  ", code.replace('1', "l").replace('0', "o")),
        ] {
            assert_eq!(tidy(&typed).as_deref().map(String::as_str), Some(code), "{typed:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_code_is_none() {
        let code = "0123456789ABCDEFGHJKMN01";
        for typed in [
            "",
            "123456",
            &code[1..],
            &format!("{code}0"),
            &code.replace('A', "U"),
            &code.replace('A', "Ä"),
            &code.replace('A', "_"),
            &format!("{code}{}", " ".repeat(100)),
        ] {
            assert!(tidy(typed).is_none(), "{typed:?}");
        }
    }

    #[test]
    fn codes_differ_and_have_only_characters_of_the_alphabet() {
        let codes: std::collections::BTreeSet<String> =
            (0..100).map(|_| new_code().to_string()).collect();
        assert_eq!(codes.len(), 100);
        for code in codes {
            assert_eq!(tidy(&printed(&code)).as_deref(), Some(&code));
        }
    }
}
