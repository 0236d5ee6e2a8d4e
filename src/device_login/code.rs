//! The two codes of a request, and the keys of everything that follows from them.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use super::entity::Model;
use crate::base::clock::Timestamp;
use crate::base::id::{DeviceRequestId, LineageId};
use crate::base::jwk_thumbprint::JwkThumbprint;
use crate::base::seal::Sealer;
use crate::base::secret::{DigestKey, Purpose, random_array};
use crate::context::{Context, PerInstance};

/// Consonants only, so that no code is a word (RFC 8628, section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

const CODE_LETTERS: usize = 8;

/// The longest text that is read as a code of a person. People add blanks and dashes.
const LONGEST_TYPED: usize = 64;

/// A bound on what a sealed view can be: a name of a key, a dot, and about 150 characters.
const LONGEST_VIEW: usize = 512;

/// The code that the device keeps: 256 random bits.
pub(super) struct DeviceCode(Zeroizing<[u8; 32]>);

impl DeviceCode {
    pub(super) fn draw() -> Self {
        Self(Zeroizing::new(random_array()))
    }

    /// Reads it as it was sent. Anything that never was a code is refused without a statement.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?);
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    pub(super) fn text(&self) -> String {
        BASE64URL_NOPAD.encode(&*self.0)
    }
}

impl fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceCode(..)")
    }
}

/// The code that a person types: eight letters.
#[derive(Clone)]
pub(super) struct UserCode([u8; CODE_LETTERS]);

impl UserCode {
    pub(super) fn draw() -> Self {
        let mut code = [0; CODE_LETTERS];
        for letter in &mut code {
            // Bytes from 240 on would make the first letters of the list more frequent.
            *letter = loop {
                let byte = random_array::<1>()[0];
                if byte < 240 {
                    break LETTERS[usize::from(byte % 20)];
                }
            };
        }
        Self(code)
    }

    /// Reads it as it was typed: in lower case too, with blanks and dashes anywhere.
    pub(super) fn parse(typed: &str) -> Option<Self> {
        if typed.len() > LONGEST_TYPED {
            return None;
        }
        let letters = typed.chars().filter(|found| !found.is_whitespace() && !is_dash(*found));
        let mut code = Vec::with_capacity(CODE_LETTERS);
        for letter in letters {
            let letter = u8::try_from(letter.to_ascii_uppercase()).ok()?;
            if !LETTERS.contains(&letter) {
                return None;
            }
            code.push(letter);
        }
        Some(Self(code.try_into().ok()?))
    }
}

/// The dashes that keyboards and programs write.
fn is_dash(found: char) -> bool {
    matches!(found, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// Writes it in two groups, as it is shown.
impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, right) = self.0.split_at(CODE_LETTERS / 2);
        let text = |letters: &[u8]| String::from_utf8_lossy(letters).into_owned();
        write!(f, "{}-{}", text(left), text(right))
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(..)")
    }
}

/// What a person was shown before they decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) request: DeviceRequestId,
    /// The sign-in of the person. A step-up keeps it, so the person need not look again after one.
    pub(super) lineage: LineageId,
    pub(super) digest: [u8; 32],
    pub(super) at: Timestamp,
}

/// One key for each secret, the newest first.
pub(super) struct Keys {
    codes: Vec<DigestKey>,
    sessions: Vec<DigestKey>,
    views: Sealer,
}

impl PerInstance for Keys {
    fn open(context: &Context) -> Self {
        let secrets = &context.config.keys.secrets;
        let of =
            |purpose| secrets.iter().map(move |secret| DigestKey::new(secret, purpose)).collect();
        Self {
            codes: of(Purpose::DeviceCode),
            sessions: of(Purpose::DeviceSession),
            views: Sealer::new(secrets, Purpose::DeviceView),
        }
    }
}

impl Keys {
    fn digests(&self, what: &[u8], value: &[u8]) -> Vec<Vec<u8>> {
        self.codes.iter().map(|key| key.digest_parts(&[what, value]).to_vec()).collect()
    }

    fn newest(&self) -> &DigestKey {
        self.codes.first().expect("build() asks for a secret")
    }

    /// Returns the digests of a device's code, the newest first.
    pub(super) fn of_device(&self, code: &DeviceCode) -> Vec<Vec<u8>> {
        self.digests(b"device", &*code.0)
    }

    /// Returns the digests of a person's code, the newest first.
    pub(super) fn of_user(&self, code: &UserCode) -> Vec<Vec<u8>> {
        self.digests(b"user", &code.0)
    }

    /// Returns the digests of a sign-in name in its normal form, the newest first.
    pub(super) fn of_hint(&self, normal: &str) -> Vec<Vec<u8>> {
        self.digests(b"hint", normal.as_bytes())
    }

    /// Returns the key under which the polls of a device are counted. It contains the client and the key that
    /// the device proves, so that the polls of a thief, who has only the code, do not slow it down.
    pub(super) fn of_polls(
        &self,
        client_id: &str,
        code: &DeviceCode,
        key: Option<JwkThumbprint>,
    ) -> [u8; 32] {
        let key = key.map_or([0; 32], |key| key.0);
        self.newest().digest_parts(&[b"polls", client_id.as_bytes(), &*code.0, &key])
    }

    /// Returns the secret part of the session's token. It follows from the device's code and the id of the
    /// request, so a repeated poll gets the same session, and nothing is kept. The key has no other purpose:
    /// who reads the table cannot compute it, and neither can the device. It is of the secret under which the
    /// request was written, so a new secret changes nothing.
    pub(super) fn session_of(&self, code: &DeviceCode, row: &Model) -> [u8; 16] {
        let digests = self.of_device(code);
        let at = digests.iter().position(|digest| *digest == row.device_digest).unwrap_or_default();
        let digest = self.sessions[at].digest_parts(&[row.id.as_uuid().as_bytes(), &*code.0]);
        digest[..16].try_into().expect("sixteen of 32 bytes")
    }

    /// Returns the digest of what a person is shown.
    pub(super) fn of_shown(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.newest().digest_parts(&[&[b"shown".as_slice()], parts].concat())
    }

    pub(super) fn seal(&self, shown: &Shown) -> String {
        let plain = [
            shown.request.as_uuid().as_bytes().as_slice(),
            shown.lineage.as_uuid().as_bytes(),
            &shown.digest,
            &shown.at.as_millis().to_be_bytes(),
        ]
        .concat();
        let sealed = self.views.seal(&plain, b"view");
        format!("{}.{}", sealed.key_id, sealed.text)
    }

    pub(super) fn open(&self, view: &str) -> Option<Shown> {
        let (key_id, text) = view.split_once('.').filter(|_| view.len() <= LONGEST_VIEW)?;
        let plain = self.views.open(key_id, text, b"view")?;
        let (request, rest) = plain.split_at_checked(16)?;
        let (lineage, rest) = rest.split_at_checked(16)?;
        let (digest, at) = rest.split_at_checked(32)?;
        let id = |bytes: &[u8]| Some(uuid::Uuid::from_bytes(bytes.try_into().ok()?));
        Some(Shown {
            request: id(request)?.into(),
            lineage: id(lineage)?.into(),
            digest: digest.try_into().ok()?,
            at: Timestamp::from_millis(i64::from_be_bytes(at.try_into().ok()?)),
        })
    }
}

/// Draws the two digits that a device must repeat.
pub(super) fn draw_digits() -> i16 {
    loop {
        let byte = random_array::<1>()[0];
        if byte < 200 {
            return i16::from(byte % 100);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it_and_nothing_else_is() {
        let code = UserCode::parse("BCDF-GHJK").expect("a code");
        assert_eq!(code.to_string(), "BCDF-GHJK");
        for typed in
            ["bcdfghjk", " bcdf ghjk ", "B-C-D-F–G H\tJ K", "bCdF\u{2212}gHjK", "BCDF\u{a0}GHJK"]
        {
            assert_eq!(UserCode::parse(typed).expect(typed).0, code.0, "{typed}");
        }
        for wrong in [
            "",
            "BCDF-GHJ",
            "BCDF-GHJKL",
            "ABCD-FGHJ",
            "BCDF_GHJK",
            "BCDF-GHJ0",
            "ВCDF-GHJK",
            "BCDF.GHJK",
            "BCDF-GHJK\0",
            &"BCDF-GHJK ".repeat(9),
        ] {
            assert!(UserCode::parse(wrong).is_none(), "{wrong:?}");
        }
        for _ in 0..200 {
            let code = UserCode::draw();
            assert_eq!(UserCode::parse(&code.to_string()).expect("its own form").0, code.0);
        }
        assert_eq!(format!("{code:?}"), "UserCode(..)");
    }

    #[test]
    fn only_what_can_be_a_code_of_a_device_is_read() {
        let code = DeviceCode::draw();
        let text = code.text();
        assert_eq!(text.len(), 43);
        assert_eq!(*DeviceCode::parse(&text).expect("its own form").0, *code.0);
        for wrong in [
            "",
            &text[1..],
            &format!("{text}A"),
            &format!("{text}="),
            &text.replace(&text[..1], "+"),
        ] {
            assert!(DeviceCode::parse(wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{code:?}"), "DeviceCode(..)");
    }

    #[test]
    fn digits_are_two() {
        for _ in 0..500 {
            assert!((0..100).contains(&draw_digits()));
        }
    }
}
