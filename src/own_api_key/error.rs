//! Errors of API keys.

use crate::base::invalid_field::InvalidField;
use crate::base::problem::problem;
use crate::base::transaction::{Fault, may_fault};
use crate::identity::{AuthError, JobError};

/// The reason why an API key was not made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// A factor must be proved first, or again. Or the session has ended.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// API keys are off: `api_key.prefix` is not set.
    #[error("API keys are not enabled here")]
    Off,
    /// The account has no such key, or it does not count any more, or a new one has replaced it.
    #[error("there is no such API key")]
    NotFound,
    /// Another key of the account has this name.
    #[error("another API key of the account has this name; choose another name")]
    NameTaken,
    /// The account has the maximum number of keys.
    #[error("the account has the maximum number of API keys; revoke one first")]
    TooMany,
    /// Some values cannot be used. A scope that the account does not have is among them (`not_held`).
    #[error("some fields are not valid")]
    Invalid(Vec<InvalidField>),
    /// The account for which the application acts cannot be used.
    #[error(transparent)]
    Account(JobError),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(ApiKeyError);

impl From<JobError> for ApiKeyError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Fault(fault) => Self::Fault(fault),
            other => Self::Account(other),
        }
    }
}

problem! {
    ApiKeyError {
        Self::Off => NOT_FOUND, "api_keys_off";
        Self::NotFound => NOT_FOUND, "api_key_not_found";
        Self::NameTaken => CONFLICT, "api_key_name_taken";
        Self::TooMany => CONFLICT, "too_many_api_keys";
        Self::Invalid(_) => UNPROCESSABLE_ENTITY, "invalid_fields";
    }
    passes on { Auth, Account, Fault }
    members {
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}
