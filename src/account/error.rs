//! What can be wrong with an account.

use super::login_id::LoginIdKind;
use crate::base::invalid_field::InvalidField;
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
