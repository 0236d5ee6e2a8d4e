//! Tokens that are bound to a key of their client.

use std::time::Duration;

use super::check::Checker;
use super::{Config, MINUTE};
use crate::base::same_origin::Origin;

/// The longest [`DpopConfig::lifetime`].
pub(crate) const LONGEST_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Rules about [DPoP](crate::dpop), which binds tokens to a key of their client.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DpopConfig {
    /// True if a proof must contain a nonce of this service. Then the clocks of clients do not matter, and
    /// nobody can make proofs in advance. A client learns the nonce from the first answer, and sends its
    /// request again. If false, the time of the proof (`iat`) is compared with the present. Default: true.
    pub require_nonce: bool,
    /// How old the nonce of a proof may be, or without nonces the proof itself: 10 s to 15 min. Default: 5 min.
    pub lifetime: Duration,
    /// More origins under which clients reach this service, such as `https://api.example.com`. The origin of
    /// `service.public_url` always counts. Default: none.
    pub origins: Vec<String>,
}

impl Default for DpopConfig {
    fn default() -> Self {
        Self { require_nonce: true, lifetime: 5 * MINUTE, origins: Vec::new() }
    }
}

impl Config {
    pub(super) fn check_dpop(&self, check: &mut Checker) {
        check.refuse_if(
            !(Duration::from_secs(10)..=LONGEST_LIFETIME).contains(&self.dpop.lifetime),
            "dpop.lifetime",
            "must be between ten seconds and 15 minutes",
        );
        for text in &self.dpop.origins {
            check.refuse_if(
                Origin::parse_web(text).is_err(),
                "dpop.origins",
                format!("`{text}` is not an origin; write it like `https://api.example.com`"),
            );
        }
    }
}
