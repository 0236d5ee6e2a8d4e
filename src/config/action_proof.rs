//! How long a consent to one action counts.

use std::time::Duration;

use super::check::Checker;
use super::{Config, HOUR, MINUTE};

/// The rules of [action proofs](crate::action_proof).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ActionProofConfig {
    /// How long a proof is valid, unless its [`lifetime`](crate::action_proof::IssueProof::lifetime) says
    /// otherwise. Between one second and two hours. Default: 10 min.
    pub lifetime: Duration,
    /// The maximum number of open proofs of a sign-in, 1 to 1000. One more ends the oldest one. Default: 50.
    pub max_per_sign_in: u32,
    /// For how long [`check_open`](crate::action_proof::ActionProofs::check_open) remembers that a proof is
    /// open. Zero means that it asks the database each time. At most a minute. Default: 0.
    pub remember_open: Duration,
}

/// The longest lifetime of a proof.
pub(crate) const LONGEST_LIFETIME: Duration = Duration::from_secs(2 * HOUR.as_secs());

impl Default for ActionProofConfig {
    fn default() -> Self {
        Self { lifetime: 10 * MINUTE, max_per_sign_in: 50, remember_open: Duration::ZERO }
    }
}

impl Config {
    pub(super) fn check_action_proof(&self, check: &mut Checker) {
        let config = &self.action_proof;
        check.refuse_if(
            !(Duration::from_secs(1)..=LONGEST_LIFETIME).contains(&config.lifetime),
            "action_proof.lifetime",
            "must be between one second and two hours",
        );
        check.refuse_if(
            !(1..=1000).contains(&config.max_per_sign_in),
            "action_proof.max_per_sign_in",
            "must be between 1 and 1000",
        );
        check.refuse_if(
            config.remember_open > MINUTE,
            "action_proof.remember_open",
            "must be at most a minute; zero turns it off",
        );
    }
}
