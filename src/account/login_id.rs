//! The name that a person types to sign in: a username, a mail address or a phone number.
//!
//! 1. [`LoginId::parse`] decides by the form. An `@` makes it a mail address, a leading `+` a phone
//!    number, and anything else is a username.
//! 2. Invisible characters at both ends are removed: white space and characters without width.
//!    Keyboards and password managers add a blank. Text copied from a page or an address book may
//!    contain a direction mark. No login id contains such characters, so this cannot confuse two
//!    people.
//! 3. Every value has two spellings. `as_str()` is what was typed, for display and for sending
//!    mail. `normal()` is the form that is stored in the unique column, looked up, counted by
//!    limits and written to the audit log.
//! 4. Two spellings with the same `normal()` are one person. There is intentionally no `==`:
//!    compare one of the two explicitly.
//!
//! The normal form is lower-case NFKC. So `Alice`, `ALICE` and `Ａｌｉｃｅ` are the same, and `alicé` is
//! another person. It does not depend on a locale: `İ` becomes `i` with a dot above, which never
//! equals `i`. `ς` and `σ` are equal. `ß` and `ss` are not.
//!
//! # What it does not do
//!
//! - It does not repair: white space and characters without width inside a login id are refused.
//! - It does not change passwords: a blank at either end is part of the password.
//! - It does not merge `+tag` or dots in mail addresses. The receiving host decides what they mean,
//!   and a wrong guess would give one person's account to another.
//! - It does not compare characters that look alike. A Cyrillic `а` is another letter. A mail
//!   domain that contains one is shown as `xn--…`.
//! - It does not prove that a mailbox exists. Mail is sent to the stored `as_str()`, never to what
//!   a stranger typed into a form.
//!
//! # Standard
//!
//! RFC 5321 dot-atom with RFC 6531 letters, UTS 46 domains (strict), E.164, UAX 15.

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::base::invalid_field::InvalidField;
use crate::config::LoginIds;

/// The maximum length of a normal form, in bytes. It is the width of the column that contains it.
pub(crate) const MAX_BYTES: usize = 255;

const USERNAME_CHARS: usize = 64;
const LOCAL_PART_BYTES: usize = 64;
/// RFC 5321 allows a path of 256 bytes, including its angle brackets.
const EMAIL_BYTES: usize = 254;

/// A username, mail address or phone number. The form decides which one.
#[derive(Clone)]
#[non_exhaustive]
pub enum LoginId {
    /// Neither a mail address nor a phone number.
    Username(Username),
    /// Contains an `@`.
    Email(Email),
    /// Starts with `+`.
    Phone(Phone),
}

impl LoginId {
    /// Parses what a person typed. Invisible characters at both ends are removed.
    ///
    /// Only the form decides the kind: a malformed mail address is an error and never a username.
    ///
    /// # Errors
    /// [`LoginIdError`] if the text breaks a rule of its kind. The error never contains the text.
    pub fn parse(text: &str) -> Result<Self, LoginIdError> {
        let text = trim(text);
        if text.contains('@') {
            Email::parse(text).map(Self::Email)
        } else if text.starts_with('+') {
            Phone::parse(text).map(Self::Phone)
        } else {
            Username::parse(text).map(Self::Username)
        }
    }

    /// Returns which of the three it is.
    #[must_use]
    pub fn kind(&self) -> LoginIdKind {
        match self {
            Self::Username(_) => LoginIdKind::Username,
            Self::Email(_) => LoginIdKind::Email,
            Self::Phone(_) => LoginIdKind::Phone,
        }
    }

    /// Returns the text as it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Username(name) => name.as_str(),
            Self::Email(mail) => mail.as_str(),
            Self::Phone(phone) => phone.as_str(),
        }
    }

    /// Returns the form to store, look up and count by.
    #[must_use]
    pub fn normal(&self) -> &str {
        match self {
            Self::Username(name) => name.normal(),
            Self::Email(mail) => mail.normal(),
            Self::Phone(phone) => phone.normal(),
        }
    }
}

/// The kinds of login ids, with the numbers that the database stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i16)]
pub enum LoginIdKind {
    /// [`Username`]
    Username = 1,
    /// [`Email`]
    Email = 2,
    /// [`Phone`]
    Phone = 3,
}

impl LoginIdKind {
    /// Returns the stored number. It never changes.
    #[must_use]
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// Returns true if people sign in with this kind.
    pub(crate) fn signs_in(self, ids: LoginIds) -> bool {
        match ids {
            LoginIds::Username => self == Self::Username,
            LoginIds::Email => self == Self::Email,
            LoginIds::Either => self != Self::Phone,
        }
    }

    /// Returns the kind with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: i16) -> Option<Self> {
        match number {
            1 => Some(Self::Username),
            2 => Some(Self::Email),
            3 => Some(Self::Phone),
            _ => None,
        }
    }
}

/// A name of letters, digits, `.`, `_` and `-`.
#[derive(Clone)]
pub struct Username {
    typed: String,
    normal: String,
}

impl Username {
    /// Parses a username of 1 to 64 code points with at least one letter or digit.
    ///
    /// Letters, digits and combining marks of every script are allowed. `@` is not allowed because
    /// it makes a mail address. `:` is not, because it ends the name in a Basic header. A leading
    /// `+` is not, because it makes a phone number.
    ///
    /// # Errors
    /// [`LoginIdError`] if the text, or its normal form, breaks a rule.
    pub fn parse(text: &str) -> Result<Self, LoginIdError> {
        let text = trimmed(text)?;
        username_rules(text)?;
        let normal = fold(text)?;
        // NFKC can turn allowed characters into others: `½` is a number, but its normal form
        // contains a slash.
        username_rules(&normal)?;
        Ok(Self { typed: text.to_owned(), normal })
    }

    /// Returns the username as it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.typed
    }

    /// Returns the form to store, look up and count by.
    #[must_use]
    pub fn normal(&self) -> &str {
        &self.normal
    }
}

/// Exactly one mailbox.
#[derive(Clone)]
pub struct Email {
    mailbox: String,
    normal: String,
}

impl Email {
    /// Parses one mailbox of at most 254 bytes, with a local part of at most 64 bytes.
    ///
    /// Display names, lists, comments, quoted local parts, address literals and single-label
    /// domains are refused. Each has been used to make two parsers see different recipients. A
    /// leading `-` is refused too, because a program that sends mail may read the address as an
    /// option.
    ///
    /// # Errors
    /// [`LoginIdError`] if the text, or its normal form, breaks a rule.
    pub fn parse(text: &str) -> Result<Self, LoginIdError> {
        let text = trimmed(text)?;
        if text.len() > EMAIL_BYTES {
            return Err(LoginIdError::TooLong);
        }
        // This comes before the domain is mapped, because UTS 46 silently drops a soft hyphen.
        if text.chars().any(is_invisible) {
            return Err(LoginIdError::Character);
        }
        let (local, domain) = text.split_once('@').ok_or(LoginIdError::Mailbox)?;
        let ascii = ascii_domain(domain)?;
        local_part_rules(local)?;
        let folded = fold(local)?;
        local_part_rules(&folded)?;
        // A domain in another script is sent in its ASCII form. So no mailer maps it with another
        // table than this code.
        let mailbox = if domain.is_ascii() { text.to_owned() } else { format!("{local}@{ascii}") };
        let normal = format!("{folded}@{ascii}");
        if mailbox.len() > EMAIL_BYTES || normal.len() > EMAIL_BYTES {
            return Err(LoginIdError::TooLong);
        }
        Ok(Self { mailbox, normal })
    }

    /// Returns the address for `RCPT TO`: as it was typed, except that a non-ASCII domain is in its
    /// `xn--` form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.mailbox
    }

    /// Returns the form to store, look up and count by. It keeps a `+tag`.
    #[must_use]
    pub fn normal(&self) -> &str {
        &self.normal
    }
}

/// An international phone number.
#[derive(Clone)]
pub struct Phone(String);

impl Phone {
    /// Parses `+` and 8 to 15 ASCII digits, of which the first is not `0` (E.164). Spaces and
    /// dashes are refused, so there is only one spelling.
    ///
    /// # Errors
    /// [`LoginIdError`] if the text is anything else.
    pub fn parse(text: &str) -> Result<Self, LoginIdError> {
        let text = trimmed(text)?;
        let digits = text.strip_prefix('+').ok_or(LoginIdError::Phone)?;
        let well_formed = (8..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !well_formed {
            return Err(LoginIdError::Phone);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the number as it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the form to store, look up and count by, which is the same.
    #[must_use]
    pub fn normal(&self) -> &str {
        &self.0
    }
}

/// The reason why a text is not a login id. Neither the message nor `Debug` contains what was
/// typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginIdError {
    /// The text is empty.
    #[error("the login id is empty")]
    Empty,
    /// The text or its normal form is too long.
    #[error("the login id is too long")]
    TooLong,
    /// The text or its normal form contains a character that is not allowed or is invisible.
    #[error("the login id has a character that is not allowed")]
    Character,
    /// A username without a letter or digit.
    #[error("the username has no letter and no digit")]
    NoLetterOrDigit,
    /// Not a plain `name@domain`.
    #[error("not a single plain mail address")]
    Mailbox,
    /// The part after the `@` is not a domain to which mail can be sent.
    #[error("the mail address has no valid domain")]
    Domain,
    /// Not an E.164 number.
    #[error("not a phone number of + and 8 to 15 digits")]
    Phone,
}

impl LoginIdError {
    /// Returns the reason as an entry of `errors` in an answer.
    pub(crate) fn in_field(self, field: &'static str) -> InvalidField {
        let message = self.to_string();
        match self {
            Self::Empty => InvalidField::new(field, "required", message),
            Self::TooLong => InvalidField::new(field, "too_long", message),
            Self::Character => InvalidField::new(field, "invalid_character", message),
            Self::NoLetterOrDigit => InvalidField::new(field, "no_letter_or_digit", message),
            Self::Mailbox => InvalidField::new(field, "invalid_email", message),
            Self::Domain => InvalidField::new(field, "invalid_domain", message),
            Self::Phone => InvalidField::new(field, "invalid_phone", message),
        }
    }
}

// A login id is not a secret, but it is personal data, and `Debug` output is often logged.
impl fmt::Debug for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Username(name) => name.fmt(f),
            Self::Email(mail) => mail.fmt(f),
            Self::Phone(phone) => phone.fmt(f),
        }
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Username(..)")
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(..)")
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phone(..)")
    }
}

/// Removes invisible characters from both ends. HTML's mail field and most frameworks remove white
/// space. Characters without width are removed for the same reason, and no login id contains them.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c))
}

/// Does the same, and refuses an empty result.
fn trimmed(text: &str) -> Result<&str, LoginIdError> {
    match trim(text) {
        "" => Err(LoginIdError::Empty),
        text => Ok(text),
    }
}

fn username_rules(text: &str) -> Result<(), LoginIdError> {
    // Check the bytes first: counting code points reads the whole text.
    if text.len() > MAX_BYTES || text.chars().count() > USERNAME_CHARS {
        return Err(LoginIdError::TooLong);
    }
    let allowed = |c: char| is_word(c) || matches!(c, '.' | '_' | '-');
    // A leading mark would combine with the character that a page prints before the name.
    if !text.chars().all(allowed) || text.starts_with(is_combining_mark) {
        return Err(LoginIdError::Character);
    }
    if !text.contains(char::is_alphanumeric) {
        return Err(LoginIdError::NoLetterOrDigit);
    }
    Ok(())
}

fn local_part_rules(local: &str) -> Result<(), LoginIdError> {
    if local.len() > LOCAL_PART_BYTES {
        return Err(LoginIdError::TooLong);
    }
    let atom = |atom: &str| {
        !atom.is_empty() && atom.chars().all(is_atext) && !atom.starts_with(is_combining_mark)
    };
    // RFC 5321 allows a leading `-`. A program that takes the address as an argument reads it as an
    // option.
    if local.starts_with('-') || !local.split('.').all(atom) {
        return Err(LoginIdError::Mailbox);
    }
    Ok(())
}

/// Returns true for RFC 5321 `atext`, and for the letters, digits and marks that RFC 6531 adds.
fn is_atext(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
    } else {
        is_word(c)
    }
}

fn ascii_domain(domain: &str) -> Result<String, LoginIdError> {
    // Strict: letters, digits and inner hyphens, labels of 1 to 63 bytes, no root dot. `xn--`
    // labels must decode and encode to the same text.
    let ascii = idna::domain_to_ascii_strict(domain).map_err(|_| LoginIdError::Domain)?;
    let (_, top) = ascii.rsplit_once('.').ok_or(LoginIdError::Domain)?;
    // No top-level domain starts with a digit, but `127.0.0.1` and `127.0.0.0x1` end with one.
    if !top.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(LoginIdError::Domain);
    }
    Ok(ascii)
}

/// Returns true for visible letters, digits and marks.
fn is_word(c: char) -> bool {
    (c.is_alphanumeric() || is_combining_mark(c)) && !is_invisible(c)
}

/// Returns true for Unicode's `Default_Ignorable_Code_Point`. Some are letters (the Hangul
/// fillers), some are marks, and all are invisible.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
        | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}'
    )
}

/// Applies NFKC and lower case until nothing changes. So a normal form is its own normal form.
///
/// One round is enough for each single letter. The loop is for combinations of neighbouring
/// letters.
fn fold(text: &str) -> Result<String, LoginIdError> {
    let mut form: String = text.nfkc().collect();
    for _ in 0..3 {
        let next: String =
            form.chars().flat_map(char::to_lowercase).map(plain_sigma).nfkc().collect();
        if next == form {
            return Ok(form);
        }
        form = next;
    }
    Err(LoginIdError::Character)
}

/// Returns the normal form of the beginning of a name. A text that no name can contain is returned
/// unchanged, and matches nothing.
pub(crate) fn normal_prefix(text: &str) -> String {
    let text = text.trim_start();
    fold(text).unwrap_or_else(|_| text.to_owned())
}

/// Maps the final `ς` to `σ`. `Σ` has two small letters. If they differed, one name would have two
/// counters.
fn plain_sigma(c: char) -> char {
    if c == 'ς' { 'σ' } else { c }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};

    use unicode_normalization::UnicodeNormalization;

    use super::{Email, LoginId, LoginIdError, LoginIdKind, Phone, Username, is_word};

    const NONE: &str = "";

    /// Parses `text` and compares kind and normal form. An empty `normal` means that it must be
    /// refused.
    fn check(text: &str, kind: LoginIdKind, normal: &str) {
        match LoginId::parse(text) {
            Ok(id) => {
                assert_eq!(id.normal(), normal, "{text:?}");
                assert_eq!(id.kind(), kind, "{text:?}");
            }
            Err(error) => assert_eq!(normal, NONE, "{text:?}: {error}"),
        }
    }

    #[test]
    fn the_shape_decides_the_kind() {
        check("alice", LoginIdKind::Username, "alice");
        check("alice@example.com", LoginIdKind::Email, "alice@example.com");
        check("+4917012345678", LoginIdKind::Phone, "+4917012345678");
        check("4917012345678", LoginIdKind::Username, "4917012345678");
        check("+4917012345678@example.com", LoginIdKind::Email, "+4917012345678@example.com");
        check("+alice", LoginIdKind::Phone, NONE);
        check("alice@", LoginIdKind::Email, NONE);
    }

    #[test]
    fn spellings_of_one_username_meet_and_neighbours_do_not() {
        for (text, normal) in [
            ("Alice", "alice"),
            ("ALICE", "alice"),
            ("Ａｌｉｃｅ", "alice"),
            ("𝓐𝓵𝓲𝓬𝓮", "alice"),
            ("Ⓐlice", "alice"),
            ("ﬁnn", "finn"),
            ("\u{212A}urt", "kurt"),
            ("Alice\u{301}", "alicé"),
            ("ALICÉ", "alicé"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευσ"),
            ("οδυσσευς", "οδυσσευσ"),
            ("οδυσσευσ", "οδυσσευσ"),
            ("İbrahim", "i\u{307}brahim"),
            ("IBRAHIM", "ibrahim"),
            ("ıbrahim", "ıbrahim"),
            ("STRAẞE", "straße"),
            ("STRASSE", "strasse"),
            ("ＡΙ\u{301}", "aί"),
            ("a.b_c-d", "a.b_c-d"),
            ("山田太郎", "山田太郎"),
            ("أحمد", "أحمد"),
            ("สมชาย์", "สมชาย์"),
            ("ﾔﾏﾀﾞ", "ヤマダ"),
        ] {
            check(text, LoginIdKind::Username, normal);
        }
    }

    #[test]
    fn bad_usernames_are_refused_and_their_neighbours_pass() {
        let long = |count: usize| "a".repeat(count);
        for (bad, why, good) in [
            ("", LoginIdError::Empty, "a"),
            (" ", LoginIdError::Empty, "a"),
            ("\u{FEFF}\u{3000}", LoginIdError::Empty, "a"),
            ("a \u{200B}b", LoginIdError::Character, " \u{200B}ab"),
            ("al ice", LoginIdError::Character, "al_ice"),
            ("al:ice", LoginIdError::Character, "al.ice"),
            ("al\0ice", LoginIdError::Character, "al-ice"),
            ("al\r\nice", LoginIdError::Character, "al-ice"),
            ("al/ice", LoginIdError::Character, "al-ice"),
            ("<alice>", LoginIdError::Character, "alice"),
            ("alice＠example", LoginIdError::Character, "alice.example"),
            ("al\u{200B}ice", LoginIdError::Character, "alice"),
            ("al\u{202E}ice", LoginIdError::Character, "alice"),
            ("al\u{AD}ice", LoginIdError::Character, "al-ice"),
            ("al\u{FE0F}ice", LoginIdError::Character, "alice\u{301}"),
            ("al\u{34F}ice", LoginIdError::Character, "al\u{301}ice"),
            ("\u{3164}", LoginIdError::Empty, "\u{3131}"),
            ("a\u{FFA0}a", LoginIdError::Character, "a\u{FFA1}a"),
            ("\u{301}a", LoginIdError::Character, "a\u{301}"),
            ("\u{FF9E}a", LoginIdError::Character, "a\u{FF9E}"),
            ("a½", LoginIdError::Character, "a²"),
            ("a⑴", LoginIdError::Character, "a①"),
            ("a😀", LoginIdError::Character, "a"),
            ("._-", LoginIdError::NoLetterOrDigit, "._-1"),
            ("\u{FDFA}", LoginIdError::Character, "\u{FDF2}"),
            (&long(65), LoginIdError::TooLong, &long(64)),
            (&"𐐀".repeat(64), LoginIdError::TooLong, &"𐐀".repeat(63)),
            (&"ﬃ".repeat(22), LoginIdError::TooLong, &"ﬃ".repeat(21)),
        ] {
            assert_eq!(Username::parse(bad).unwrap_err(), why, "{bad:?}");
            assert!(Username::parse(good).is_ok(), "{good:?}");
        }
        assert_eq!(Username::parse("alice@example.com").unwrap_err(), LoginIdError::Character);
        assert_eq!(Username::parse("+alice").unwrap_err(), LoginIdError::Character);
    }

    #[test]
    fn spellings_of_one_mailbox_meet_and_neighbours_do_not() {
        for (text, mailbox, normal) in [
            ("alice@example.com", "alice@example.com", "alice@example.com"),
            ("Alice@Example.COM", "Alice@Example.COM", "alice@example.com"),
            ("Ａlice@example.com", "Ａlice@example.com", "alice@example.com"),
            ("alice+shop@example.com", "alice+shop@example.com", "alice+shop@example.com"),
            ("a.l.i.c.e@example.com", "a.l.i.c.e@example.com", "a.l.i.c.e@example.com"),
            ("o'brien@example.co.uk", "o'brien@example.co.uk", "o'brien@example.co.uk"),
            (
                "!#$%&'*+-/=?^_`{|}~@example.com",
                "!#$%&'*+-/=?^_`{|}~@example.com",
                "!#$%&'*+-/=?^_`{|}~@example.com",
            ),
            ("Jörg@BÜCHER.example", "Jörg@xn--bcher-kva.example", "jörg@xn--bcher-kva.example"),
            (
                "jo\u{308}rg@bu\u{308}cher.example",
                "jo\u{308}rg@xn--bcher-kva.example",
                "jörg@xn--bcher-kva.example",
            ),
            (
                "jorg@XN--BCHER-KVA.example",
                "jorg@XN--BCHER-KVA.example",
                "jorg@xn--bcher-kva.example",
            ),
            ("a@faß.de", "a@xn--fa-hia.de", "a@xn--fa-hia.de"),
            ("a@fass.de", "a@fass.de", "a@fass.de"),
            ("a@ｅｘａｍｐｌｅ．com", "a@example.com", "a@example.com"),
            ("a@example。com", "a@example.com", "a@example.com"),
            ("用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v", "用户@xn--fsqu00a.xn--4rr70v"),
            // A Cyrillic а: another domain, and this is visible.
            ("a@p\u{430}ypal.com", "a@xn--pypal-4ve.com", "a@xn--pypal-4ve.com"),
            ("a@paypal.com", "a@paypal.com", "a@paypal.com"),
        ] {
            let email = Email::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!((email.as_str(), email.normal()), (mailbox, normal), "{text:?}");
        }
    }

    #[test]
    fn anything_but_one_mailbox_is_refused_and_its_neighbour_passes() {
        let label = |count: usize| format!("a@{}.com", "x".repeat(count));
        let local = |count: usize| format!("{}@example.com", "x".repeat(count));
        let total = |count: usize| format!("a@{}{}.com", "a.".repeat(98), "x".repeat(count - 202));
        for (bad, good) in [
            ("a@x.com,b@y.com", "a@x.com"),
            ("a@x,b@y", "b@y.com"),
            ("a@x.com;b@y.com", "b@y.com"),
            ("a@x.com b@y.com", "b@y.com"),
            ("a@x.com\tb@y.com", "a@x.com"),
            ("a@x.com\r\nBcc:b@y.com", "a@x.com"),
            ("a@x.com\nb", "a@x.com"),
            ("a\r\nb@x.com", "ab@x.com"),
            ("a@x.com%0ABcc:b@y.com", "a%0ABcc@x.com"),
            ("a@x.com\0", "a@x.com"),
            ("a\0@x.com", "a@x.com"),
            ("a@x.com\u{7F}", "a@x.com"),
            ("\"a b\"@x.com", "ab@x.com"),
            ("\"a@b\"@x.com", "b@x.com"),
            ("\"a\"@x.com", "a@x.com"),
            ("a\"b@x.com", "a'b@x.com"),
            ("<a@x.com>", "a@x.com"),
            ("A <a@x.com>", "a@x.com"),
            ("a@x.com <b@y.com>", "b@y.com"),
            ("a(comment)@x.com", "acomment@x.com"),
            ("a@x.com(comment)", "a@x.com"),
            ("(a)a@x.com", "a@x.com"),
            ("a@@x.com", "a@x.com"),
            ("a@b@x.com", "b@x.com"),
            ("@x.com", "a@x.com"),
            ("@x.com:a@y.com", "a@y.com"),
            ("a@", "a@x.com"),
            ("@", "a@x.com"),
            ("a..b@x.com", "a.b@x.com"),
            ("-a@x.com", "a-@x.com"),
            ("--help@x.com", "help--@x.com"),
            ("-@x.com", "_@x.com"),
            ("-oQ/tmp@x.com", "oQ-/tmp@x.com"),
            (".a@x.com", "a@x.com"),
            ("a.@x.com", "a.a@x.com"),
            ("a b@x.com", "a_b@x.com"),
            ("a\\b@x.com", "a/b@x.com"),
            ("a[b@x.com", "a{b@x.com"),
            ("a:b@x.com", "a=b@x.com"),
            (" @x.com", " a@x.com"),
            ("a@ ", "a@x.com "),
            ("a@ x.com", "a@x.com"),
            ("a @x.com", "a@x.com"),
            ("mailto:a@x.com", "mailto@x.com"),
            ("a@-x.com", "a@x-x.com"),
            ("a@x-.com", "a@x-1.com"),
            ("a@x_y.com", "a@x-y.com"),
            ("a@ab--c.com", "a@ab-c.com"),
            ("a@x..com", "a@x.com"),
            ("a@.x.com", "a@x.com"),
            ("a@x.com.", "a@x.com"),
            ("a@x", "a@x.y"),
            ("a@localhost", "a@localhost.example"),
            ("a@com", "a@com.com"),
            ("a@[127.0.0.1]", "a@127.0.0.1.example"),
            ("a@[IPv6:::1]", "a@ipv6.example"),
            ("a@127.0.0.1", "a@127.example"),
            ("a@1.0x7f", "a@0x7f.example"),
            ("a@x.123", "a@123.x"),
            ("a@x.com:25", "a@x.com"),
            ("a@x.com/b", "a/b@x.com"),
            ("a@x.com?cc=b", "a?cc=b@x.com"),
            ("a@x.com#b", "a#b@x.com"),
            ("a@x!y.com", "x!a@y.com"),
            ("a＠x.com", "a@x.com"),
            ("a@x.com，b@y.com", "a@x.com"),
            ("a\u{200B}b@x.com", "ab@x.com"),
            ("a@x\u{AD}y.com", "a@xy.com"),
            ("a@x\u{200D}y.com", "a@xy.com"),
            ("a\u{202E}b@x.com", "ab@x.com"),
            ("a\u{2028}b@x.com", "ab@x.com"),
            ("a\u{FEFF}@x.com", "a@x.com"),
            ("\u{3164}@x.com", "ㄱ@x.com\u{3164}"),
            ("\u{301}a@x.com", "a\u{301}@x.com"),
            ("a⑴@x.com", "a①@x.com"),
            ("a⒈@x.com", "a⒈b@x.com"),
            ("a😀@x.com", "aé@x.com"),
            ("a@x℀y.com", "a@xy.com"),
            ("a@x／y.com", "a@x．y.com"),
            ("a@xn--.com", "a@xn--bcher-kva.com"),
            ("a@xn--example-.com", "a@example.com"),
            ("a@\u{301}x.com", "a@x\u{301}.com"),
            (&local(65), &local(64)),
            (&label(64), &label(63)),
            (&total(255), &total(254)),
            // Short as typed but long in ASCII, and the other way round.
            (
                &format!("{}@{}com", "x".repeat(60), "ö.".repeat(24)),
                &format!("{}@{}com", "x".repeat(60), "ö.".repeat(23)),
            ),
            (
                &format!("a@{}.x", ["ｘ".repeat(42), "ｘ".repeat(42)].join(".")),
                &format!("a@{}.x", "ｘ".repeat(63)),
            ),
            (&format!("{}@x.com", "ﷺ".repeat(2)), "ﷲ@x.com"),
            (&format!("{}@x.com", "ﬃ".repeat(22)), &format!("{}@x.com", "ﬃ".repeat(21))),
        ] {
            if Email::parse(bad).is_ok() || LoginId::parse(bad).is_ok() {
                panic!("{bad:?} passed");
            }
            if let Err(error) = Email::parse(good) {
                panic!("{good:?}: {error}");
            }
        }
    }

    #[test]
    fn phones_are_e164_and_nothing_else() {
        let good = "+4917012345678";
        assert_eq!(Phone::parse(good).unwrap().normal(), good);
        for (bad, good) in [
            ("4917012345678", good),
            ("+", good),
            ("+1234567", "+12345678"),
            ("+1234567890123456", "+123456789012345"),
            ("+0491701234567", "+4917012345670"),
            ("+49 170 1234567", "+491701234567"),
            ("+49-170-1234567", "+491701234567"),
            ("++491701234567", "+491701234567"),
            ("+ 491701234567", " +491701234567"),
            ("+49170123456x", "+491701234560"),
            ("+４９１７０１２３４５６７", "+491701234567"),
            ("+٤٩١٧٠١٢٣", "+49170123"),
            ("＋491701234567", "+491701234567"),
            ("+491701234567\n8", "+491701234567\n"),
        ] {
            assert!(Phone::parse(bad).is_err(), "{bad:?}");
            assert!(Phone::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for (number, kind) in
            [(1, LoginIdKind::Username), (2, LoginIdKind::Email), (3, LoginIdKind::Phone)]
        {
            assert_eq!(kind.number(), number);
            assert_eq!(LoginIdKind::from_number(number), Some(kind));
        }
        assert_eq!(LoginIdKind::from_number(0), None);
        assert_eq!(LoginIdKind::from_number(4), None);
    }

    #[test]
    fn neither_debug_nor_an_error_repeats_what_was_typed() {
        for (text, shown) in [
            ("zaphod", "Username(..)"),
            ("zaphod@example.com", "Email(..)"),
            ("+4917012345678", "Phone(..)"),
        ] {
            assert_eq!(format!("{:?}", LoginId::parse(text).unwrap()), shown);
        }
        for bad in ["zaphod zaphod", "zaphod@zaphod", "+zaphod", " zaphod:"] {
            let error = LoginId::parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("zaphod"));
        }
    }

    /// Checks every letter of Unicode. The normal form is stable and is the same for the other
    /// case, except for the listed letters.
    #[test]
    fn each_letter_has_one_stable_normal_form() {
        // Small letters whose capital belongs to another letter. They stay different, so that no
        // two people are merged.
        let shares_its_capital = |c: char| {
            matches!(c, 'ß' | 'ı' | '\u{1C80}'..='\u{1C88}') || c.nfd().any(|c| c == '\u{345}')
        };
        for c in ('\0'..=char::MAX).filter(|&c| is_word(c)) {
            let Ok(name) = Username::parse(&format!("x{c}")) else { continue };
            let again = Username::parse(name.normal()).unwrap();
            assert_eq!(again.normal(), name.normal(), "{c:?}");
            if shares_its_capital(c) {
                continue;
            }
            let cases = [format!("x{}", c.to_uppercase()), format!("X{}", c.to_lowercase())];
            for other in cases {
                assert_eq!(
                    Username::parse(&other).unwrap().normal(),
                    name.normal(),
                    "{c:?} and {other:?}"
                );
            }
        }
    }

    /// Characters that cause problems: cases, widths, marks, compositions, expansions.
    fn spiky() -> impl Strategy<Value = String> {
        let picks = "aAzZ09._-ſ\u{212A}\u{212B}İıßẞΣσςΐΰﬁﬃǅŉⅣ①²½ªᾼᾳ𝓐ﷺﷲがｶﾞＡｚ９가ᄀ\u{1161}";
        let marks = "\u{301}\u{307}\u{308}\u{323}\u{345}\u{3099}";
        let picks: Vec<char> = picks.chars().chain(marks.chars()).collect();
        let one = (0..picks.len() * 2, any::<char>())
            .prop_map(move |(at, free)| picks.get(at).copied().unwrap_or(free));
        proptest::collection::vec(one, 1..24).prop_map(String::from_iter)
    }

    fn config() -> ProptestConfig {
        ProptestConfig { failure_persistence: None, cases: 2048, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn a_normal_form_is_its_own_normal_form(text in spiky(), domain in spiky()) {
            let mails = [format!("{text}@example.com"), format!("{text}@{domain}.com")];
            for text in [&text, &mails[0], &mails[1]] {
                let Ok(id) = LoginId::parse(text) else { continue };
                let again = LoginId::parse(id.normal()).unwrap();
                prop_assert_eq!(again.normal(), id.normal());
                prop_assert_eq!(again.as_str(), id.normal());
                prop_assert_eq!(again.kind(), id.kind());
                // The text that the mailer gets identifies the same account.
                let mailed = LoginId::parse(id.as_str()).unwrap();
                prop_assert_eq!(mailed.normal(), id.normal());
            }
        }

        #[test]
        fn case_and_width_twins_share_a_normal_form_and_accent_twins_do_not(
            name in "[a-zA-Z][a-zA-Z0-9]{0,18}[a-zA-Z]",
        ) {
            let widen = |c: char| char::from_u32(u32::from(c) + 0xFEE0);
            let wide: String = name.chars().filter_map(widen).collect();
            for suffix in ["", "@example.com"] {
                let normal = |name: &str| {
                    LoginId::parse(&format!("{name}{suffix}")).unwrap().normal().to_owned()
                };
                prop_assert_eq!(normal(&name), normal(&name.to_uppercase()));
                prop_assert_eq!(normal(&name), normal(&name.to_lowercase()));
                prop_assert_eq!(normal(&name), normal(&wide));
                assert_ne!(normal(&name), normal(&format!("{name}\u{301}")));
            }
        }
    }
}
