//! Errors of recoveries.

use crate::base::clock::Timestamp;
use crate::base::invalid_field::InvalidField;
use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault};
use crate::hook::from_hooked;
use crate::identity::AuthError;

/// Why a recovery was not opened, changed or finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountRecoveryError {
    /// The session of the administrator does not have the permission, or needs a recent factor.
    #[error(transparent)]
    Auth(AuthError),
    /// Administrators cannot recover their own account. Another one must do it.
    #[error("you cannot recover your own account; ask another administrator")]
    OwnAccount,
    /// The account has a right that the administrator does not have.
    #[error("this account has more rights than yours; ask an administrator who has them too")]
    MoreRights,
    /// The account does not exist, or it was closed, deleted or erased.
    #[error("there is no such account")]
    NotFound,
    /// The account is disabled.
    #[error("the account is disabled; enable it first")]
    Disabled,
    /// Nobody has ever verified the mail address of the account.
    #[error(
        "nobody has verified the mail address of the account; it can reset its password by mail"
    )]
    AddressNotProved,
    /// The new address belongs to another account.
    #[error("the mail address belongs to another account")]
    Taken,
    /// The account already has an open recovery.
    #[error("a recovery of this account is already open")]
    AlreadyOpen,
    /// The account has no open recovery, or it is at another step: the link was already sent, or was
    /// not sent yet.
    #[error("the account has no recovery at this step")]
    NotOpen,
    /// The recovery has a new address, and this administrator opened it. See
    /// [`second_administrator`](crate::config::AccountRecoveryConfig::second_administrator).
    #[error("you opened this recovery with a new address; another administrator must complete it")]
    SameAdministrator,
    /// The owner can still object.
    #[error("the owner can object until {0}; complete the recovery after that")]
    TooEarly(Timestamp),
    /// Some values cannot be used.
    #[error("some fields are not valid")]
    Invalid(Vec<InvalidField>),
    /// The link is wrong, was used or has expired, or the recovery has ended. The answer does not say
    /// which.
    #[error("the link is wrong or no longer valid")]
    WrongCode,
    /// This browser used the link successfully less than a minute ago.
    #[error("this link was already used; nothing is left to do")]
    UsedJustNow,
    /// A hook of the application refused. The link is still valid.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(AccountRecoveryError);
from_hooked!(AccountRecoveryError);

problem! {
    AccountRecoveryError {
        Self::OwnAccount => FORBIDDEN, "own_account";
        Self::MoreRights => FORBIDDEN, "more_rights";
        Self::NotFound => NOT_FOUND, "account_not_found";
        Self::Disabled => FORBIDDEN, "account_disabled";
        Self::AddressNotProved => FORBIDDEN, "address_not_proved";
        Self::Taken => CONFLICT, "email_taken";
        Self::AlreadyOpen => CONFLICT, "recovery_open";
        Self::NotOpen => NOT_FOUND, "recovery_not_found";
        Self::SameAdministrator => FORBIDDEN, "same_administrator";
        Self::TooEarly(_) => CONFLICT, "recovery_too_early";
        Self::Invalid(_) => UNPROCESSABLE_ENTITY, "invalid_fields";
        Self::WrongCode => FORBIDDEN, "wrong_code";
        Self::UsedJustNow => CONFLICT, "link_used";
    }
    passes on { Auth, Refused, Fault }
    members {
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}
