//! Devices that skip the second factor for some time.

use std::time::Duration;

use super::check::Checker;
use super::{Config, DAY, HOUR};

/// Rules about [trusted devices](crate::trusted_device).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TrustedDeviceConfig {
    /// If true, a person may trust a device after the second factor. If it is turned off again, every
    /// sign-in asks for the second factor, and sessions that a device began have ended, unless they passed a
    /// second factor. Turn it on only when all nodes know it. Default: false.
    pub enabled: bool,
    /// How long a device is trusted, from the sign-in that asked for it. Using it does not make this longer. A
    /// shorter time also counts for devices that are trusted already. 1 h to 90 d. Default: 30 d.
    pub lifetime: Duration,
    /// The maximum number of trusted devices of an account, 1 to 100. One more replaces the one that was
    /// used least recently. Default: 10.
    pub max_per_account: u32,
    /// If true, superusers may trust devices too. Default: false.
    pub superusers: bool,
}

impl Default for TrustedDeviceConfig {
    fn default() -> Self {
        Self { enabled: false, lifetime: 30 * DAY, max_per_account: 10, superusers: false }
    }
}

impl Config {
    pub(super) fn check_trusted_device(&self, check: &mut Checker) {
        let config = &self.trusted_device;
        check.refuse_if(
            !(HOUR..=90 * DAY).contains(&config.lifetime),
            "trusted_device.lifetime",
            "must be between an hour and 90 days",
        );
        check.refuse_if(
            !(1..=100).contains(&config.max_per_account),
            "trusted_device.max_per_account",
            "must be between 1 and 100",
        );
    }
}
