//! Factors: ways to prove who a person is, and when each was passed.

use std::fmt;

use serde::Serialize;

use crate::base::clock::Timestamp;

macro_rules! factors {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal, $key:literal);+ $(;)?) => {
        /// A way to prove who a person is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Factor { $($(#[$doc])* $name),+ }

        impl Factor {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// Returns the name, as in answers and traces.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// Returns the name for messages to people.
            pub(crate) fn in_words(self) -> String {
                match self {
                    Self::Provider => "sign-in with another service".to_owned(),
                    _ => self.as_str().replace('_', " "),
                }
            }

            /// Returns the letter for the compact column of the session row.
            const fn key(self) -> char {
                match self { $(Self::$name => $key),+ }
            }

            /// Returns the bit for the account row's column of enrolled factors.
            const fn bit(self) -> i64 {
                match self { $(Self::$name => 1 << $bit),+ }
            }
        }
    };
}

factors! {
    /// The password.
    Password = 0, "password", 'p';
    /// A code sent by mail.
    MailedCode = 1, "mailed_code", 'm';
    /// A code sent as a text message.
    TextedCode = 2, "texted_code", 's';
    /// A time-based code of an authenticator (RFC 6238).
    Totp = 3, "totp", 't';
    /// A saved recovery code.
    RecoveryCode = 4, "recovery_code", 'r';
    /// A passkey (WebAuthn). Either its authenticator has verified its user, so that it is two factors, or it
    /// was the second step.
    Passkey = 5, "passkey", 'k';
    /// A second factor that the application checks, see [`ExternalFactor`](crate::port::ExternalFactor).
    External = 6, "external", 'x';
    /// A passkey that was one factor and not two, as the first step of a sign-in: its authenticator did not
    /// verify its user, or the browser has made it by itself. It is no second factor.
    UnverifiedPasskey = 7, "unverified_passkey", 'u';
    /// A sign-in at a provider, see [`federation`](crate::federation). It is one factor.
    Provider = 8, "provider", 'o';
    /// A sign-in at a provider that counts as [two factors](crate::config::Provider::counts_as_two_when).
    ProviderTwoFactors = 9, "provider_two_factors", 'O';
}

impl Factor {
    /// The second factors in their order, the weakest first. A mailbox is easier to take over than a
    /// phone number, and a code can be told to a false page, which a passkey cannot.
    const ORDER: [Self; 4] = [Self::MailedCode, Self::TextedCode, Self::Totp, Self::Passkey];

    /// Returns this factor and all stronger ones: mailed code, texted code, authenticator, passkey.
    /// Other factors have no place in this order, and the result is then empty. A password is no
    /// second factor, a recovery code stands in for a lost one, and what
    /// [`External`](Self::External) is worth only the application knows.
    pub fn at_least(least: Self) -> impl Iterator<Item = Self> {
        let from = Self::ORDER.iter().position(|factor| *factor == least);
        Self::ORDER.into_iter().skip(from.unwrap_or(Self::ORDER.len()))
    }
}

/// The second factors that an account has enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EnrolledFactors(pub(crate) i64);

impl EnrolledFactors {
    /// Returns true if none is enrolled, so that a password alone is enough to sign in.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns true if this factor is enrolled.
    pub const fn contains(self, factor: Factor) -> bool {
        self.0 & factor.bit() != 0
    }

    /// Returns each factor that is enrolled.
    pub fn iter(self) -> impl Iterator<Item = Factor> {
        Factor::ALL.iter().copied().filter(move |factor| self.contains(*factor))
    }

    pub(crate) const fn with(self, factor: Factor) -> Self {
        Self(self.0 | factor.bit())
    }

    pub(crate) const fn without(self, factor: Factor) -> Self {
        Self(self.0 & !factor.bit())
    }

    /// Returns those that are enough where `least` or a stronger one is required. A factor that the
    /// application checks is enough, because only the application sets it.
    pub(crate) fn enough(self, least: Factor) -> Self {
        let strong = Factor::at_least(least).chain([Factor::External]);
        strong.filter(|factor| self.contains(*factor)).collect()
    }

    /// Returns what is left after one is removed. Recovery codes alone are no factor to sign in with.
    pub(crate) const fn left_without(self, factor: Factor) -> Self {
        let left = self.without(factor);
        match left.without(Factor::RecoveryCode).is_empty() {
            true => Self(0),
            false => left,
        }
    }
}

impl FromIterator<Factor> for EnrolledFactors {
    fn from_iter<I: IntoIterator<Item = Factor>>(factors: I) -> Self {
        Self(factors.into_iter().fold(0, |bits, factor| bits | factor.bit()))
    }
}

/// The letter for a trusted device in the compact column of the session row. It is no letter of a factor,
/// so a version that does not know it leaves it out.
const TRUSTED_DEVICE: char = 'd';

/// The letter for the factor that was passed when that device became trusted. The bit of the factor follows.
const TRUSTED_AFTER: char = 'D';

/// The factors that a session has passed. Each has the time at which it was last passed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PassedFactors {
    passed: Vec<(Factor, Timestamp)>,
    trusted_device_at: Option<Timestamp>,
    trusted_after: Option<Factor>,
}

impl PassedFactors {
    /// Creates a list with one factor, passed at `at`.
    pub fn one(factor: Factor, at: Timestamp) -> Self {
        Self { passed: vec![(factor, at)], ..Self::default() }
    }

    /// Adds a factor that was passed at `at`. An older time of the same factor is replaced.
    #[must_use]
    pub fn with(mut self, factor: Factor, at: Timestamp) -> Self {
        self.passed.retain(|(known, _)| *known != factor);
        self.passed.push((factor, at));
        self.passed.sort_unstable_by_key(|(known, _)| *known);
        self
    }

    /// Removes a factor, as if it had not been passed.
    pub(crate) fn without(mut self, factor: Factor) -> Self {
        self.passed.retain(|(known, _)| *known != factor);
        self
    }

    /// Returns the same list as if no factor had been passed. What a trusted device did stays.
    pub(crate) fn none_passed(&self) -> Self {
        Self { passed: Vec::new(), ..self.clone() }
    }

    /// Notes that a trusted device stood in for the second factor, and the factor that was passed when it
    /// became trusted. It is no factor: nothing was passed.
    pub(crate) fn by_trusted_device(mut self, at: Timestamp, trusted_after: Factor) -> Self {
        self.trusted_device_at = Some(at);
        self.trusted_after = Some(trusted_after);
        self
    }

    /// Returns when a [trusted device](crate::trusted_device) stood in for the second factor of this
    /// sign-in, if one did. It is no factor: the other methods do not know it.
    pub fn trusted_device_at(&self) -> Option<Timestamp> {
        self.trusted_device_at
    }

    /// Returns the factor that was passed when that device became trusted.
    pub(crate) fn trusted_after(&self) -> Option<Factor> {
        self.trusted_after
    }

    /// Returns when this factor was last passed.
    pub fn passed_at(&self, factor: Factor) -> Option<Timestamp> {
        self.passed.iter().find(|(known, _)| *known == factor).map(|(_, at)| *at)
    }

    /// Returns when any factor was last passed.
    pub fn latest(&self) -> Option<Timestamp> {
        self.passed.iter().map(|(_, at)| *at).max()
    }

    /// Returns each factor with its time.
    pub fn iter(&self) -> impl Iterator<Item = (Factor, Timestamp)> + '_ {
        self.passed.iter().copied()
    }

    /// Writes the form for the session row, such as `p1790000000000t1790000005000`.
    pub(crate) fn to_column(&self) -> String {
        let passed = self.passed.iter().map(|(factor, at)| (factor.key(), at));
        let passed = passed.map(|(key, at)| (key, at.as_millis()));
        let device = self.trusted_device_at.iter().map(|at| (TRUSTED_DEVICE, at.as_millis()));
        let after = self.trusted_after.iter().map(|factor| (TRUSTED_AFTER, factor.bit()));
        passed.chain(device).chain(after).map(|(key, number)| format!("{key}{number}")).collect()
    }

    /// Reads the column. Unknown factors are left out and prove nothing.
    pub(crate) fn from_column(column: &str) -> Self {
        let mut read = Self::default();
        let mut rest = column;
        while let Some(key) = rest.chars().next() {
            rest = &rest[key.len_utf8()..];
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (digits, tail) = rest.split_at(end);
            rest = tail;
            let Ok(number) = digits.parse::<i64>() else { continue };
            let at = Timestamp::from_millis(number);
            let factor = Factor::ALL.iter().find(|factor| factor.key() == key);
            if let Some(factor) = factor {
                read.passed.push((*factor, at));
            } else if key == TRUSTED_DEVICE {
                read.trusted_device_at = Some(at);
            } else if key == TRUSTED_AFTER {
                read.trusted_after = Factor::ALL.iter().copied().find(|one| one.bit() == number);
            }
        }
        read
    }
}

impl fmt::Debug for PassedFactors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        map.entries(self.passed.iter().map(|(k, v)| (k, v)));
        map.entries(self.trusted_device_at.iter().map(|at| ("trusted_device", at))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_survive_their_column_and_unknown_ones_prove_nothing() {
        let at = Timestamp::from_millis;
        let factors = PassedFactors::one(Factor::Password, at(5))
            .with(Factor::Totp, at(7))
            .with(Factor::Password, at(9));
        assert_eq!(factors.to_column(), "p9t7");
        assert_eq!(PassedFactors::from_column("p9t7"), factors);
        assert_eq!(PassedFactors::from_column("p9X12t7é"), factors);
        assert_eq!(PassedFactors::from_column(""), PassedFactors::default());
        assert_eq!(factors.latest(), Some(at(9)));
        assert_eq!(factors.trusted_device_at(), None);
        let trusted = factors.clone().by_trusted_device(at(11), Factor::Totp);
        assert_eq!(trusted.to_column(), "p9t7d11D8");
        assert_eq!(PassedFactors::from_column("p9t7d11D8"), trusted);
        assert_eq!(PassedFactors::from_column("p9t7d11D9").trusted_after(), None);
        // It is no factor.
        assert!(trusted.iter().eq(factors.iter()) && trusted.latest() == Some(at(9)));
        assert_ne!(trusted, factors);
        assert!(
            Factor::ALL.iter().all(|one| ![TRUSTED_DEVICE, TRUSTED_AFTER].contains(&one.key()))
        );
        let enrolled: EnrolledFactors = [Factor::Totp].into_iter().collect();
        assert!(enrolled.contains(Factor::Totp) && !enrolled.contains(Factor::Passkey));
    }

    #[test]
    fn second_factors_have_an_order() {
        use Factor::{External, MailedCode, Passkey, Password, RecoveryCode, TextedCode, Totp};

        let from = |least| Factor::at_least(least).collect::<Vec<_>>();
        assert_eq!(from(MailedCode), [MailedCode, TextedCode, Totp, Passkey]);
        assert_eq!(from(TextedCode), [TextedCode, Totp, Passkey]);
        assert_eq!(from(Totp), [Totp, Passkey]);
        assert_eq!(from(Passkey), [Passkey]);
        for none in [Password, RecoveryCode, External] {
            assert!(from(none).is_empty(), "{none:?}");
        }
        let all: EnrolledFactors = Factor::ALL.iter().copied().collect();
        assert_eq!(all.enough(Totp).iter().collect::<Vec<_>>(), [Totp, Passkey, External]);
        assert!(EnrolledFactors::default().enough(MailedCode).is_empty());
    }

    #[test]
    fn recovery_codes_go_with_the_last_other_factor() {
        use Factor::{External, MailedCode, RecoveryCode, Totp};

        let table: [(&[Factor], Factor, &[Factor]); 6] = [
            (&[Totp], Totp, &[]),
            (&[Totp, RecoveryCode], Totp, &[]),
            (&[Totp, RecoveryCode, External], Totp, &[RecoveryCode, External]),
            (&[Totp, External], Totp, &[External]),
            (&[MailedCode, RecoveryCode], MailedCode, &[]),
            (&[MailedCode, Totp, RecoveryCode], MailedCode, &[Totp, RecoveryCode]),
        ];
        for (before, removed, after) in table {
            let set = |factors: &[Factor]| factors.iter().copied().collect::<EnrolledFactors>();
            assert_eq!(set(before).left_without(removed), set(after), "{before:?}");
        }
    }
}
