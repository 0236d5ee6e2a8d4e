//! Errors of trusted devices.

use crate::base::problem::problem;
use crate::base::transaction::{Fault, may_fault};

/// The reason why a trusted device was not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustedDeviceError {
    /// The account has no such device, or it is not trusted any more.
    #[error("there is no such trusted device")]
    NotFound,
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(TrustedDeviceError);

problem! {
    TrustedDeviceError {
        Self::NotFound => NOT_FOUND, "trusted_device_not_found";
    }
    passes on { Fault }
}
