//! Who may recover an account.

use std::fmt;

use super::error::AccountRecoveryError;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::AccountId;
use crate::base::transaction::Db;
use crate::guard::{Outcome, Requirement};
use crate::handle::Portcullis;
use crate::identity::resolver::Resolver;
use crate::identity::{AuthError, Identity};
use crate::permission::{Levels, Permission};

/// The permission of administrators who recover accounts. It can be granted and put into roles, although
/// its domain belongs to portcullis.
pub const RECOVER: &str = "auth-account:recover";

/// The longest name of a program.
const LONGEST_NAME: usize = 100;

/// Who opens, cancels or completes a recovery.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum RecoveryActor<'a> {
    /// An administrator in their session, who must have the permission [`RECOVER`] and a recent factor.
    Administrator(&'a Identity),
    /// A program of the operator, such as `cli:root@db1`. Nothing is checked. Only the name is
    /// recorded, so it must not contain personal data that should not be kept.
    Program(&'a str),
}

impl fmt::Debug for RecoveryActor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl RecoveryActor<'_> {
    /// Returns the text that is recorded.
    pub(super) fn text(self) -> String {
        match self {
            Self::Administrator(identity) => format!("account:{}", identity.account().id()),
            Self::Program(name) => {
                let plain = name.chars().filter(|c| !c.is_control());
                format!("program:{}", plain.take(LONGEST_NAME).collect::<String>())
            }
        }
    }

    /// Returns an event of what the actor does to an account, with the session of an administrator.
    pub(super) fn event(self, kind: EventKind, account: AccountId, now: Timestamp) -> Event {
        let event = Event::new(kind, now).account(account).detail(self.text());
        match self {
            Self::Administrator(identity) => event.session(identity.session().id()),
            Self::Program(_) => event,
        }
    }

    /// True for the administrator who opened a recovery. A program of the operator may do every step.
    pub(super) fn has_opened(self, opened_by: &str) -> bool {
        match self {
            Self::Administrator(_) => self.text() == opened_by,
            Self::Program(_) => false,
        }
    }

    pub(super) fn is_administrator(self) -> bool {
        match self {
            Self::Administrator(_) => true,
            Self::Program(_) => false,
        }
    }

    /// Checks that the actor may recover this account. A denial is recorded.
    pub(super) async fn check(
        self,
        auth: &Portcullis,
        db: Db<'_>,
        account: AccountId,
    ) -> Result<(), AccountRecoveryError> {
        let Self::Administrator(identity) = self else { return Ok(()) };
        let own = identity.account().id();
        let context = auth.context();
        if identity.is_superseded() {
            return Err(AccountRecoveryError::Auth(AuthError::superseded()));
        }
        let permission = Requirement::permission(RECOVER).expect("it is a permission");
        let recent = Requirement::within(context.config.session.recent_factor);
        let rule = Requirement::all([permission, recent]).expect("it has two parts");
        match rule.check(identity) {
            Outcome::Met => {}
            Outcome::StepUp => {
                return Err(AccountRecoveryError::Auth(AuthError::StepUp(rule.step_up(identity))));
            }
            Outcome::Denied => {
                auth.note_denial(own, &rule.to_string());
                return Err(AccountRecoveryError::Auth(AuthError::Denied));
            }
        }
        if own == account {
            auth.note_denial(own, "recovery(own_account)");
            return Err(AccountRecoveryError::OwnAccount);
        }
        if has_more_rights(auth, db, identity, account).await? {
            auth.note_denial(own, "recovery(more_rights)");
            return Err(AccountRecoveryError::MoreRights);
        }
        Ok(())
    }
}

/// Returns true if the account has a right that the session of the administrator does not have. A new
/// password would give the administrator this right. The name of a role is a right too, because a route
/// can ask for it.
async fn has_more_rights(
    auth: &Portcullis,
    db: Db<'_>,
    identity: &Identity,
    account: AccountId,
) -> Result<bool, AccountRecoveryError> {
    let context = auth.context();
    let resolver = auth.per_instance::<Resolver>();
    let found = resolver.account_in(db, context, account).await?;
    let (account, grants) = found.ok_or(AccountRecoveryError::NotFound)?;
    let rights = identity.rights();
    if identity.account().is_superuser() && !rights.are_limited() {
        return Ok(false);
    }
    if account.is_superuser() {
        return Ok(true);
    }
    let may = |permission: &Permission| {
        permission.atoms().is_ok_and(|atoms| rights.allow(&atoms))
            || rights.ceilings.is_empty()
                && rights.grants.permissions().grant_for(permission).is_some()
    };
    if grants.permissions().iter().any(|permission| !may(permission)) {
        return Ok(true);
    }
    // An account that may do everything needs no role for it.
    if may(&Permission::parse("*").expect("`*` is a permission")) {
        return Ok(false);
    }
    // A level gives the permissions of its role, which are compared above.
    let levels = Levels::new(&context.config.permission.levels);
    let mut roles = grants.roles().iter().filter(|role| !levels.reserve(role));
    Ok(roles.any(|role| !rights.has_role(role)))
}
