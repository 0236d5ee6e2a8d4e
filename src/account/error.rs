//! What can be wrong with an account.

use super::login_id::{LoginIdError, LoginIdKind};
use crate::base::problem::problem;
use crate::base::transaction::{Fault, may_fault};

/// Why an account could not be made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// Fields that cannot be used, each with its reason.
    #[error("some fields cannot be used")]
    Invalid(Vec<InvalidField>),
    /// A name that belongs to an account already.
    #[error("this {} is taken", word(*.0))]
    Taken(LoginIdKind),
    /// There is no such account, or it was deleted.
    #[error("there is no such account")]
    NotFound,
    /// A mail address of the account was not proved, so it may be somebody else's: whoever proves it
    /// would be kept out by a factor that was enrolled before.
    #[error("prove or remove the account's unproved mail address before a factor is enrolled")]
    AddressNotProved,
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

fn word(kind: LoginIdKind) -> &'static str {
    match kind {
        LoginIdKind::Username => "username",
        LoginIdKind::Email => "email address",
        LoginIdKind::Phone => "phone number",
    }
}

/// A field that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidField {
    /// The field's name.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl InvalidField {
    pub(crate) fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }

    pub(crate) fn login_id(field: &'static str, error: &LoginIdError) -> Self {
        Self::new(field, error.to_string())
    }

    /// The `errors` member of a problem.
    pub(crate) fn members(fields: &[Self]) -> serde_json::Map<String, serde_json::Value> {
        let errors: serde_json::Map<_, _> = fields
            .iter()
            .map(|field| (field.field.to_owned(), field.reason.clone().into()))
            .collect();
        [("errors".to_owned(), errors.into())].into_iter().collect()
    }
}

may_fault!(AccountError);

problem! {
    AccountError {
        Self::Invalid(_) => UNPROCESSABLE_ENTITY, "invalid_fields";
        Self::Taken(LoginIdKind::Username) => CONFLICT, "username_taken";
        Self::Taken(LoginIdKind::Email) => CONFLICT, "email_taken";
        Self::Taken(LoginIdKind::Phone) => CONFLICT, "phone_taken";
        Self::NotFound => NOT_FOUND, "account_not_found";
        Self::AddressNotProved => FORBIDDEN, "address_not_proved";
    }
    passes on { Fault }
    members {
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}
