//! How authenticators make their codes.

use std::time::Duration;

use super::Config;
use super::check::Checker;

/// The names of the hash functions in an `otpauth` address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TotpAlgorithm {
    /// HMAC-SHA-1. The weakness of SHA-1 concerns collisions, and not its use in HMAC.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

impl TotpAlgorithm {
    const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    /// Returns the name in an `otpauth` address.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// Returns the number in the row.
    pub(crate) const fn number(self) -> i16 {
        match self {
            Self::Sha1 => 1,
            Self::Sha256 => 256,
            Self::Sha512 => 512,
        }
    }

    pub(crate) fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.number() == number)
    }
}

/// How [authenticators](crate::totp) make their codes. An authenticator keeps the settings with
/// which it was set up.
///
/// Several authenticator apps ignore the algorithm, the number of digits and the period, and show
/// codes that are never right. So change them only if you know the apps of your users.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TotpConfig {
    /// The name of the service in the app. It must not contain a colon. Default: the name in
    /// messages, [`service_name`](crate::config::MailConfig::service_name).
    pub issuer: Option<String>,
    /// The hash function. Default: SHA-1.
    pub algorithm: TotpAlgorithm,
    /// The length of a code, 6 to 8. Default: 6.
    pub digits: u32,
    /// How long a code is shown, 15 s to 120 s in whole seconds. Default: 30 s.
    pub period: Duration,
    /// The maximum number of authenticators of an account, 1 to 20. Default: 5.
    pub max_per_account: u32,
    /// How long an authenticator waits for its first code. Default: 15 min.
    pub confirm_lifetime: Duration,
}

impl Default for TotpConfig {
    fn default() -> Self {
        Self {
            issuer: None,
            algorithm: TotpAlgorithm::Sha1,
            digits: 6,
            period: Duration::from_secs(30),
            max_per_account: 5,
            confirm_lifetime: Duration::from_secs(15 * 60),
        }
    }
}

impl Config {
    /// Returns the name of the service in authenticator apps. It has no colon, which separates it
    /// from the name of the account.
    pub(crate) fn totp_issuer(&self) -> String {
        let named = self.totp.issuer.clone().unwrap_or_else(|| self.service_name());
        if fits_label(&named) { named } else { "portcullis".to_owned() }
    }

    pub(super) fn check_totp(&self, check: &mut Checker) {
        let totp = &self.totp;
        check.refuse_if(
            totp.issuer.as_ref().is_some_and(|issuer| !fits_label(issuer)),
            "totp.issuer",
            "must have 1 to 64 characters, and neither a colon nor a control character",
        );
        check.refuse_if(
            !(6..=8).contains(&totp.digits),
            "totp.digits",
            "must be between 6 and 8 (RFC 4226)",
        );
        check.refuse_if(
            totp.period.subsec_nanos() != 0 || !(15..=120).contains(&totp.period.as_secs()),
            "totp.period",
            "must be between 15 and 120 whole seconds",
        );
        check.refuse_if(
            !(1..=20).contains(&totp.max_per_account),
            "totp.max_per_account",
            "must be between 1 and 20",
        );
        let confirm = totp.confirm_lifetime;
        check.refuse_if(
            confirm < totp.period || confirm > Duration::from_secs(24 * 60 * 60),
            "totp.confirm_lifetime",
            "must be at least totp.period and at most a day",
        );
    }
}

/// Returns true if an app can show this as the name of a service or an account.
pub(crate) fn fits_label(text: &str) -> bool {
    let length = text.chars().count();
    (1..=64).contains(&length)
        && text.trim() == text
        && !text.chars().any(|c| c == ':' || c.is_control())
}
