//! Errors of grants.

use std::time::Duration;

use http::StatusCode;

use super::language::{Permission, PermissionError};
use super::reserved::is_reserved;
use crate::base::page::InvalidPage;
use crate::base::problem::{Problem, problem};
use crate::base::transaction::{Fault, is_foreign_key_violation, may_fault};

/// The largest number of permissions in one role. More would not fit the column of the smallest
/// database (64 KiB of text).
pub(crate) const MAX_PERMISSIONS: usize = 240;

/// The reason why something could not be granted, or a role, group or membership could not be
/// changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The name of a role or group is empty, longer than 64 bytes, or contains white space or
    /// syntax.
    #[error("a name has 1 to 64 bytes without white space, `:`, `,` or `*`")]
    InvalidName,
    /// The text is not a permission.
    #[error("`{permission}` is not a permission: {error}")]
    InvalidPermission {
        /// The text, shortened.
        permission: String,
        /// What is wrong with it.
        error: PermissionError,
    },
    /// More permissions than one role may hold.
    #[error("a role holds at most {MAX_PERMISSIONS} permissions")]
    TooManyPermissions,
    /// There is already a role of this name with other permissions.
    #[error(
        "the role `{role}` exists with other permissions; `roles().define(..)` sets a role to what \
         the code says"
    )]
    Exists {
        /// The name of the role.
        role: String,
    },
    /// A role in the code is invalid. The error names the role and the reason.
    #[error(transparent)]
    Role(InvalidRole),
    /// The code defines two roles with this name.
    #[error("it is defined twice")]
    DefinedTwice,
    /// The resource is not a domain and an id.
    #[error("a resource is one domain and one id, without white space, `:`, `,` or `*`")]
    InvalidResource,
    /// The level is not configured for this resource.
    #[error("there is no such level on this kind of resource")]
    UnknownLevel,
    /// A role of this name would look like a level on a resource.
    #[error("a role of this name would look like a level on a resource")]
    ReservedName,
    /// The permission names a domain that belongs to portcullis: one that starts with `auth-`.
    #[error("`{permission}`: the domains that begin with `auth-` belong to portcullis")]
    ReservedDomain {
        /// The text, shortened.
        permission: String,
    },
    /// The idle time is too short: a session could not renew its token in time.
    #[error("an idle time must be at least {} seconds", .least.as_secs())]
    IdleTooShort {
        /// The minimum: three times `session.replay_after`.
        least: Duration,
    },
    /// A list was asked to continue at a place that no page has returned.
    #[error(transparent)]
    InvalidPage(#[from] InvalidPage),
    /// There is no role of this name.
    #[error("there is no such role")]
    RoleNotFound,
    /// There is no group of this name.
    #[error("there is no such group")]
    GroupNotFound,
    /// There is no such account.
    #[error("there is no such account")]
    AccountNotFound,
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl GrantError {
    /// Checks that a permission that is declared or granted is not in a domain of portcullis.
    pub(crate) fn check_domain(permission: &Permission) -> Result<(), Self> {
        if !is_reserved(permission) {
            return Ok(());
        }
        Err(Self::ReservedDomain { permission: permission.as_str().chars().take(64).collect() })
    }

    /// Translates a failed insert. If a foreign key points to nothing, its target was deleted
    /// between two statements.
    pub(crate) fn or_gone(error: sea_orm::DbErr, gone: Self) -> Self {
        if is_foreign_key_violation(&error) { gone } else { error.into() }
    }
}

may_fault!(GrantError);

problem! {
    GrantError {
        Self::InvalidName => UNPROCESSABLE_ENTITY, "invalid_name";
        Self::InvalidPermission { .. } | Self::TooManyPermissions => UNPROCESSABLE_ENTITY, "invalid_permission";
        Self::Exists { .. } => CONFLICT, "role_exists";
        Self::DefinedTwice => UNPROCESSABLE_ENTITY, "role_defined_twice";
        Self::InvalidPage(_) => UNPROCESSABLE_ENTITY, "invalid_page";
        Self::InvalidResource => UNPROCESSABLE_ENTITY, "invalid_resource";
        Self::UnknownLevel => UNPROCESSABLE_ENTITY, "unknown_level";
        Self::ReservedName => UNPROCESSABLE_ENTITY, "reserved_name";
        Self::ReservedDomain { .. } => UNPROCESSABLE_ENTITY, "reserved_domain";
        Self::IdleTooShort { .. } => UNPROCESSABLE_ENTITY, "idle_too_short";
        Self::RoleNotFound => NOT_FOUND, "role_not_found";
        Self::GroupNotFound => NOT_FOUND, "group_not_found";
        Self::AccountNotFound => NOT_FOUND, "account_not_found";
    }
    passes on { Role, Fault }
}

/// A role in the code that is invalid.
#[derive(Debug, thiserror::Error)]
#[error("role `{role}`: {reason}")]
#[non_exhaustive]
pub struct InvalidRole {
    /// The name of the role, shortened.
    pub role: String,
    /// What is wrong with it.
    #[source]
    pub reason: Box<GrantError>,
}

impl InvalidRole {
    pub(crate) fn new(role: &str, reason: GrantError) -> Self {
        Self { role: role.chars().take(64).collect(), reason: Box::new(reason) }
    }
}

impl Problem for InvalidRole {
    fn status(&self) -> StatusCode {
        self.reason.status()
    }

    fn code(&self) -> &'static str {
        self.reason.code()
    }
}
