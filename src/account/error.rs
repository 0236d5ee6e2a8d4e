//! Errors of accounts.

use super::login_id::LoginIdKind;
use crate::base::invalid_field::InvalidField;
use crate::base::page::InvalidPage;
use crate::base::problem::problem;
use crate::base::transaction::{Fault, may_fault};

/// The reason why an account could not be created or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// Some fields are invalid. Each has its reason.
    #[error("some fields are not valid")]
    Invalid(Vec<InvalidField>),
    /// The name already belongs to an account.
    #[error("this {} is taken", word(*.0))]
    Taken(LoginIdKind),
    /// The account does not exist or was deleted.
    #[error("there is no such account")]
    NotFound,
    /// This is the last superuser. Without it, nobody could manage the service.
    #[error(
        "this is the last account that may do everything; give this right to another one first"
    )]
    LastSuperuser,
    /// The main mail address of the account is not verified, so it may belong to another person. A factor
    /// that was enrolled before would lock that person out once they verify it.
    #[error("verify the account's main mail address before you enrol a second factor")]
    AddressNotProved,
    /// A list was asked to continue at a place that no page has returned.
    #[error(transparent)]
    InvalidPage(#[from] InvalidPage),
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
        Self::LastSuperuser => CONFLICT, "last_superuser";
        Self::InvalidPage(_) => UNPROCESSABLE_ENTITY, "invalid_page";
        Self::AddressNotProved => FORBIDDEN, "address_not_proved";
    }
    passes on { Fault }
    members {
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}
