//! The rules for a new password.
//!
//! A refusal gives all reasons at once. A folded copy (NFKC, lower case) is compared with lists and
//! names. The password itself is never changed.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::typed::{MAX_PASSWORD_BYTES, Password};
use crate::account::entity::login_name;
use crate::account::{Account, LoginId};
use crate::base::guessable::COMMON;
use crate::base::invalid_field::InvalidField;
use crate::config::{Composition, Config, PasswordConfig};

/// The minimum length of a word. For shorter words, digits around the word are enough for a
/// password.
const MIN_WORD: usize = 3;

/// The names that a password of one account must not be.
#[derive(Clone)]
pub(crate) struct Names<'a>(pub(crate) Vec<&'a str>);

impl<'a> Names<'a> {
    pub(crate) fn of(account: &'a Account) -> Self {
        let names = [account.username(), account.email(), account.phone()];
        Self(names.into_iter().flatten().collect())
    }

    /// Adds the other sign-in names of the account.
    pub(crate) fn and(mut self, further: &'a [login_name::Model]) -> Self {
        self.0.extend(further.iter().filter_map(|name| name.typed.as_deref()));
        self
    }
}

/// The rules that depend only on the password and on these words.
pub(crate) struct Policy {
    min_length: usize,
    composition: Composition,
    /// The names of the service, folded.
    words: Vec<String>,
}

impl Policy {
    pub(crate) fn new(config: &Config) -> Self {
        let PasswordConfig { min_length, composition, context_words, .. } = &config.password;
        let service = [config.service.public_url.as_deref(), Some(config.issuer())];
        let service = service.into_iter().flatten().flat_map(words_of_service);
        let mut words: Vec<_> = service.chain(context_words.iter().map(|w| fold(w))).collect();
        words.retain(|word| word.chars().count() >= MIN_WORD);
        words.sort();
        words.dedup();
        Self { min_length: *min_length, composition: *composition, words }
    }

    /// Returns the names of the service, because the strength estimate needs them too.
    #[cfg(feature = "strength")]
    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }

    /// Returns all reasons to refuse this password.
    pub(crate) fn faults(
        &self,
        field: &'static str,
        password: &Password,
        names: &Names<'_>,
    ) -> Vec<InvalidField> {
        let text = password.as_str();
        if text.len() > MAX_PASSWORD_BYTES {
            // A password that is too long is not checked further, so it costs no more work.
            let message = format!("must have at most {MAX_PASSWORD_BYTES} bytes");
            let fault = InvalidField::new(field, "too_long", message);
            return vec![fault.param("max_bytes", MAX_PASSWORD_BYTES)];
        }
        let folded = Zeroizing::new(fold(text));
        let mut faults = Vec::new();
        if text.chars().count() < self.min_length {
            let message = format!("must have at least {} characters", self.min_length);
            let fault = InvalidField::new(field, "too_short", message);
            faults.push(fault.param("min", self.min_length));
        }
        if names.0.iter().any(|name| is_name(text, &folded, name)) {
            let message = "must not be the name you sign in with, with or without digits";
            faults.push(InvalidField::new(field, "is_login_name", message));
        }
        if self.words.iter().any(|word| is_word(&folded, word)) {
            let message = "must not be the name of this service, with or without digits";
            faults.push(InvalidField::new(field, "is_service_name", message));
        }
        if is_common(&folded) {
            let message = "must not be one of the most common passwords";
            faults.push(InvalidField::new(field, "common_password", message));
        }
        if self.composition == Composition::ThreeOfFour && kinds(text) < 3 {
            let message = "must have three of these kinds of characters: lower case, upper case, digits, others";
            let fault = InvalidField::new(field, "too_few_kinds_of_characters", message);
            faults.push(fault.param("min", 3));
        }
        faults
    }
}

/// Returns one form for all texts that look the same. Use it only to compare.
fn fold(text: &str) -> String {
    text.nfkc().flat_map(char::to_lowercase).collect()
}

/// Returns the host of a URL and its parts (`example.com`, `example`), or the text itself.
fn words_of_service(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once("://") else { return vec![fold(text)] };
    let host = rest.split(['/', ':', '?', '#']).next().unwrap_or_default();
    let host = fold(host.strip_prefix("www.").unwrap_or(host));
    let mut labels: Vec<_> = host.split('.').map(str::to_owned).collect();
    if labels.len() > 1 {
        // The last label, such as `com`, is no name of a service.
        labels.pop();
    }
    labels.push(host);
    labels
}

/// Returns true if the password is the name or the local part of an address, in any spelling that
/// signs in with it. Digits before or after are ignored.
fn is_name(password: &str, folded: &str, name: &str) -> bool {
    let normal =
        |text: &str| LoginId::parse(text).map_or_else(|_| fold(text), |id| id.normal().to_owned());
    let (password, name) = (Zeroizing::new(normal(password)), normal(name));
    let local = name.split_once('@').map(|(local, _)| local);
    [Some(&*name), local]
        .into_iter()
        .flatten()
        .any(|name| *password == name || is_word(folded, name))
}

/// Returns true if a folded password is the word. Digits before or after are ignored.
fn is_word(password: &str, word: &str) -> bool {
    let core =
        |text: &str| -> String { text.trim_matches(|c: char| c.is_ascii_digit()).to_owned() };
    let (inner, word_inner) = (Zeroizing::new(core(password)), core(word));
    password == word || word_inner.chars().count() >= MIN_WORD && *inner == word_inner
}

/// Returns true if the whole folded password is on the list. It searches the list inside the
/// program, without building or copying anything.
fn is_common(password: &str) -> bool {
    let list = COMMON.split_once("\n\n").map_or("", |(_, list)| list).as_bytes();
    let wanted = password.as_bytes();
    let (mut low, mut high) = (0, list.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start =
            list[low..middle].iter().rposition(|b| *b == b'\n').map_or(low, |n| low + n + 1);
        let end = list[middle..].iter().position(|b| *b == b'\n').map_or(high, |n| middle + n);
        match list[start..end].cmp(wanted) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => low = end + 1,
            std::cmp::Ordering::Greater => high = start,
        }
    }
    false
}

/// Returns how many of four kinds of characters a password has.
fn kinds(password: &str) -> usize {
    let other = |c: char| !c.is_lowercase() && !c.is_uppercase() && !c.is_numeric();
    let kinds: [&dyn Fn(char) -> bool; 4] =
        [&char::is_lowercase, &char::is_uppercase, &char::is_numeric, &other];
    kinds.iter().filter(|kind| password.chars().any(kind)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<&'static str> {
        COMMON.split_once("\n\n").expect("a header").1.lines().collect()
    }

    fn policy(change: impl FnOnce(&mut Config)) -> Policy {
        let mut config = Config::default();
        config.password.min_length = 8;
        change(&mut config);
        Policy::new(&config)
    }

    fn faults(policy: &Policy, password: &str, names: &[&str]) -> usize {
        let password = Password::from(password.to_owned());
        policy.faults("password", &password, &Names(names.to_vec())).len()
    }

    #[test]
    fn the_list_is_long_sorted_and_folded_and_each_of_it_is_found() {
        let list = list();
        assert!(list.len() >= 20_000, "{}", list.len());
        assert!(list.is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()));
        for entry in &list {
            assert_eq!(fold(entry).to_lowercase(), fold(entry));
            assert!(is_common(entry), "{entry}");
        }
        for other in [
            "",
            "\n",
            "123456\n",
            "12345\n123456",
            "correct horse battery staple",
            "zzzzzzzzzzzzzzzzzzzz",
        ] {
            assert!(!is_common(other), "{other:?}");
        }
        assert!(!list.contains(&""), "the empty password is refused for its length");
    }

    #[test]
    fn a_common_password_is_refused_in_any_case_and_width_and_only_as_a_whole() {
        let policy = policy(|_| {});
        for (password, expected) in [
            ("iloveyou1", 1),
            ("ILoveYou1", 1),
            ("ｉｌｏｖｅｙｏｕ１", 1),
            ("iloveyou1 and my cat", 0),
            ("not iloveyou1", 0),
            // Too short and common: both reasons are given.
            ("qwerty", 2),
        ] {
            assert_eq!(faults(&policy, password, &[]), expected, "{password}");
        }
    }

    #[test]
    fn a_name_is_refused_with_digits_around_and_passes_inside_a_sentence() {
        let policy = policy(|config| {
            config.service.public_url =
                Some("https://www.printer-shop.example.com:8443".to_owned());
            config.password.context_words = vec!["Gutenberg".to_owned(), "ab".to_owned()];
        });
        let names = ["alice", "a.liddell@wonder.example", "+4917012345678"];
        for (password, expected) in [
            ("alice47112", 1),
            ("2024ALICE2024", 1),
            ("a.liddell", 1),
            ("a.liddell99", 1),
            ("A.Liddell@Wonder.Example", 1),
            ("a.liddell@wonder.example1", 1),
            ("+4917012345678", 1),
            ("printer-shop", 1),
            ("Printer-Shop2024", 1),
            ("printer-shop.example.com", 1),
            ("1gutenberg1", 1),
            ("alice likes tea", 0),
            ("alice-123", 0),
            ("printer-shop is open", 0),
            ("com123456x", 0),
            // A word with two letters is not used as a name.
            ("ab4711081", 0),
            ("9999999ab", 0),
        ] {
            assert_eq!(faults(&policy, password, &names), expected, "{password}");
        }
        assert_eq!(faults(&policy, "someone else", &[]), 0);
    }

    #[test]
    fn three_kinds_of_four_are_asked_for_only_where_configured() {
        let strict = policy(|config| config.password.composition = Composition::ThreeOfFour);
        let plain = policy(|_| {});
        for (password, expected) in [
            ("only lower", 1),
            ("onlyLower", 1),
            ("Lower and Upper", 0),
            ("lower 4 digits", 0),
            ("Lower4digits", 0),
            ("ÄÖÜäöü  ", 0),
            ("ÄÖÜäöüxx", 1),
            ("٣٣٣٣ äöü", 0),
            ("日本語日本語日本語", 1),
        ] {
            assert_eq!(faults(&strict, password, &[]), expected, "{password}");
            assert_eq!(faults(&plain, password, &[]), 0, "{password}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_with_nothing_but_that() {
        let policy = policy(|_| {});
        let long = "a".repeat(1025);
        let faults = policy.faults("new", &Password::from(long.clone()), &Names(vec![&long]));
        let [fault] = &faults[..] else { panic!("{faults:?}") };
        assert_eq!((fault.field, fault.code), ("new", "too_long"));
        assert_eq!(fault.params["max_bytes"], 1024);
    }
}
