//! Passkeys: for which domain they are made, and what they must prove.

use std::time::Duration;

use super::check::Checker;
use super::{Config, DAY};
use crate::base::public_url::PublicUrl;
use crate::base::rate::Quota;
use crate::base::same_origin::Origin;

/// The longest [`PasskeyConfig::challenge_lifetime`].
pub(crate) const LONGEST_CHALLENGE: Duration = Duration::from_secs(5 * 60);

/// Whether an authenticator must verify its user, by a PIN, a fingerprint or a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserVerification {
    /// It must. Authenticators that cannot do this are refused.
    Required,
    /// It does so if it can. A passkey whose authenticator did not verify its user is one factor, and not two.
    Preferred,
}

/// Rules about [passkeys](crate::passkey).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PasskeyConfig {
    /// The domain for which passkeys are made (the RP ID): the host of `service.public_url`, or a domain above
    /// it, so that its subdomains share them. **Never change it**: no passkey works afterwards. Default: the
    /// host of `service.public_url`.
    pub rp_id: Option<String>,
    /// Other origins whose pages may use the passkeys, such as `https://example.de`. Serve
    /// [`well_known`](crate::passkey::well_known) at the root of the host of `rp_id`, so that browsers allow
    /// it. Default: none.
    pub related_origins: Vec<String>,
    /// What apps state as their origin, such as `android:apk-key-hash:…`. They are compared exactly. Default:
    /// none.
    pub app_origins: Vec<String>,
    /// Whether an authenticator must verify its user. Default: [`Required`](UserVerification::Required).
    pub user_verification: UserVerification,
    /// If true, a passkey that its owner has added is asked for after a password, as every second factor is.
    /// If false, the password alone still signs in to an account that has no other second factor. Default:
    /// true.
    pub asked_after_password: bool,
    /// How many passkeys an account may have, 1 to 100. Default: 20.
    pub max_per_account: u32,
    /// For how long a challenge can be answered. 30 s to 5 min. Default: 5 min.
    pub challenge_lifetime: Duration,
    /// How many challenges may be started: by one source for sign-ins, and for one account in its sessions. Each is a
    /// row. A page that offers passkeys in its field for the name starts one each time it is shown. Default: 60 a
    /// minute.
    pub challenges: Quota,
}

impl Default for PasskeyConfig {
    fn default() -> Self {
        Self {
            rp_id: None,
            related_origins: Vec::new(),
            app_origins: Vec::new(),
            user_verification: UserVerification::Required,
            asked_after_password: true,
            max_per_account: 20,
            challenge_lifetime: LONGEST_CHALLENGE,
            challenges: Quota::per_minute(60),
        }
    }
}

impl Config {
    /// Returns the domain of passkeys.
    #[cfg(feature = "passkey")]
    pub(crate) fn rp_id(&self) -> Option<String> {
        let host = || self.public_url().map(|url| host_of(&url.origin));
        self.passkey.rp_id.clone().or_else(host)
    }

    /// Returns the origins whose pages and apps may use passkeys.
    #[cfg(feature = "passkey")]
    pub(crate) fn passkey_origins(&self) -> Vec<String> {
        let public = self.public_url().map(|url| url.origin.to_string());
        let config = &self.passkey;
        let listed = config.related_origins.iter().chain(&config.app_origins);
        public.into_iter().chain(listed.cloned()).collect()
    }

    pub(super) fn check_passkey(&self, check: &mut Checker) {
        let config = &self.passkey;
        if let Some(rp_id) = &config.rp_id {
            check.refuse_if(
                !is_domain(rp_id),
                "passkey.rp_id",
                format!("`{rp_id}` is not a domain; write it like `example.com`, without scheme and port"),
            );
            let public =
                self.service.public_url.as_deref().and_then(|url| PublicUrl::parse(url).ok());
            let host = public.map(|url| host_of(&url.origin));
            let above = |host: &str| {
                host.strip_suffix(rp_id.as_str())
                    .is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
            };
            check.refuse_if(
                !host.is_some_and(|host| above(&host)),
                "passkey.rp_id",
                "must be the host of service.public_url, or a domain above it",
            );
        }
        for text in &config.related_origins {
            let is_exact = Origin::parse_web(text).is_ok_and(|origin| origin.to_string() == *text);
            check.refuse_if(
                !is_exact,
                "passkey.related_origins",
                format!("`{text}` is not an origin; write it like `https://example.de`"),
            );
        }
        for text in &config.app_origins {
            let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
            check.refuse_if(
                matches!(scheme, "" | "http" | "https") || text.len() > 256,
                "passkey.app_origins",
                format!("`{text}` is not the origin of an app, such as `android:apk-key-hash:…`"),
            );
        }
        check.refuse_if(
            !(1..=100).contains(&config.max_per_account),
            "passkey.max_per_account",
            "must be between 1 and 100",
        );
        check.refuse_if(
            !(Duration::from_secs(30)..=LONGEST_CHALLENGE).contains(&config.challenge_lifetime),
            "passkey.challenge_lifetime",
            "must be between 30 seconds and 5 minutes",
        );
        let quota = config.challenges;
        check.refuse_if(
            quota.count == 0 || quota.period.is_zero() || quota.period > DAY,
            "passkey.challenges",
            "needs a count of at least 1 and a period of at most a day",
        );
    }
}

/// Returns the host of an origin, without its port.
fn host_of(origin: &Origin) -> String {
    let text = origin.to_string();
    let authority = text.split_once("://").map_or(text.as_str(), |(_, authority)| authority);
    let end = match authority.rfind(':') {
        // A colon inside of an IPv6 address is no port.
        Some(at) if !authority[at..].contains(']') => at,
        _ => authority.len(),
    };
    authority[..end].to_owned()
}

/// True for a domain in its normal form. An address is none: browsers make no passkeys for it.
pub(crate) fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(label) && !is_number(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_told_from_an_address() {
        for good in
            ["localhost", "example.com", "a-b.example", "xn--bcher-kva.example", "1.example"]
        {
            assert!(is_domain(good), "{good}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for bad in [
            "",
            ".",
            "example.com.",
            ".example",
            "Example.com",
            "127.0.0.1",
            "[::1]",
            "a..b",
            "-a.b",
            "a-.b",
            "a:3000",
            "https://example.com",
            "bücher.example",
            "a b",
            &long,
        ] {
            assert!(!is_domain(bad), "{bad}");
        }
    }

    #[test]
    fn the_host_of_an_origin_has_no_port() {
        for (origin, host) in [
            ("https://example.com", "example.com"),
            ("http://localhost:3000", "localhost"),
            ("http://[::1]:3000", "[::1]"),
            ("http://[::1]", "[::1]"),
        ] {
            assert_eq!(host_of(&Origin::parse_web(origin).expect("an origin")), host, "{origin}");
        }
    }
}
