//! What was found out about a request.

use std::sync::Arc;

use super::error::NotSignedIn;
use crate::account::Account;
use crate::base::clock::Timestamp;
use crate::base::id::SessionId;
use crate::context::Context;
use crate::permission::typed::IntoPermission;
use crate::permission::{Atoms, Grants, Instances, Permission, PermissionSet};
#[cfg(feature = "routes")]
use crate::session::Stage;
use crate::session::{
    AnonymousSession, EnrolmentSession, PasswordChangeSession, PendingSession, Session,
};

/// Who a request is: session, account and what it may do, as one statement saw them.
#[derive(Debug, Clone)]
pub struct Identity(pub(crate) Arc<IdentityData>);

#[derive(Debug)]
pub(crate) struct IdentityData {
    pub(crate) session: Session,
    pub(crate) account: Arc<Account>,
    pub(crate) grants: Arc<Grants>,
    /// What the session is limited to, if it is.
    pub(crate) ceiling: Option<PermissionSet>,
    /// When the statement was asked: ages of factors are counted to this moment.
    pub(crate) resolved_at: Timestamp,
}

impl Identity {
    /// The session.
    pub fn session(&self) -> &Session {
        &self.0.session
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.0.account
    }

    /// What the account was granted. A superuser may do everything besides, and a session with a
    /// ceiling may do less: to decide, ask [`meets`](Self::meets).
    pub fn grants(&self) -> &Grants {
        &self.0.grants
    }

    /// The permissions the session is limited to, if it is.
    pub fn ceiling(&self) -> Option<&PermissionSet> {
        self.0.ceiling.as_ref()
    }

    /// When this was found out; ages of factors are counted to this moment.
    pub fn resolved_at(&self) -> Timestamp {
        self.0.resolved_at
    }

    /// Whether another session has taken the place of this one by a step-up, and what is left of it is
    /// to let requests end that other tabs had under way. Account flows refuse it.
    pub(crate) fn is_superseded(&self) -> bool {
        self.session().is_superseded()
    }

    /// Whether a factor was shown recently enough for a change of the account itself.
    pub(crate) fn has_recent_factor(&self, context: &Context) -> bool {
        if self.is_superseded() {
            return false;
        }
        let max_age = context.config.session.recent_factor;
        let latest = self.session().factors().latest();
        latest.is_some_and(|at| context.now().since(at) < max_age)
    }

    /// The ids on which a permission is given, to filter a list in SQL: `doc:edit` may be given on
    /// all documents or on some. Limited by the session's ceiling, like every other answer.
    ///
    /// ```
    /// # use portcullis::{Identity, Instances};
    /// portcullis::permissions! { doc: Read, Edit; }
    ///
    /// fn filter(identity: &Identity) -> Option<Vec<String>> {
    ///     match identity.instances(doc::Edit) {
    ///         Instances::All => None,                                 // no condition
    ///         Instances::Only(ids) => Some(ids.into_iter().collect()), // `id IN (..)`
    ///     }
    /// }
    /// ```
    ///
    /// A text that is not a permission, or asks for more than 64 at once, is given on no id; the
    /// first is traced as an error.
    pub fn instances(&self, permission: impl IntoPermission) -> Instances {
        let permission = match permission.into_permission() {
            Ok(permission) => permission,
            Err(error) => {
                tracing::error!(target: "portcullis", %error, "asked for instances of no permission");
                return Instances::Only(std::collections::BTreeSet::new());
            }
        };
        let permission = &permission;
        let granted = if self.0.account.is_superuser() {
            Instances::All
        } else {
            self.0.grants.permissions().instances(permission)
        };
        match &self.0.ceiling {
            Some(ceiling) => granted.intersection(ceiling.instances(permission)),
            None => granted,
        }
    }

    /// What is asked must be implied by the account and, if the session has one, by its ceiling.
    pub(crate) fn allows(&self, atoms: &Atoms) -> bool {
        self.granted(atoms) && self.0.ceiling.as_ref().is_none_or(|ceiling| ceiling.allows(atoms))
    }

    /// What the account may do, whatever its session is limited to.
    pub(crate) fn granted(&self, atoms: &Atoms) -> bool {
        self.0.account.is_superuser() || self.0.grants.permissions().allows(atoms)
    }

    /// Whether the account has the role of this name, or the [level](crate::permission::Roles) that is
    /// named so. A ceiling hides a role unless it covers `role:<name>`.
    pub fn has_role(&self, name: &str) -> bool {
        self.0.grants.has_role(name)
            && self.0.ceiling.as_ref().is_none_or(|ceiling| {
                Permission::parse("role")
                    .and_then(|role| role.on(name))
                    .and_then(|role| ceiling.allows_permission(&role))
                    .unwrap_or(false)
            })
    }
}

/// Who a request is, of whatever stage.
#[derive(Debug, Clone)]
pub(crate) enum Resolved {
    Nobody(NotSignedIn),
    Anonymous(AnonymousSession),
    Pending(PendingSession),
    PasswordChange(PasswordChangeSession),
    Enrolment(EnrolmentSession),
    Full(Identity),
}

impl Resolved {
    /// Which session it is, of whatever stage.
    pub(crate) fn session_id(&self) -> Option<SessionId> {
        match self {
            Self::Nobody(_) => None,
            Self::Anonymous(session) => Some(session.id()),
            Self::Pending(session) => Some(session.id()),
            Self::PasswordChange(session) => Some(session.id()),
            Self::Enrolment(session) => Some(session.id()),
            Self::Full(identity) => Some(identity.session().id()),
        }
    }

    /// The stage of the session, if there is one.
    #[cfg(feature = "routes")]
    pub(crate) fn stage(&self) -> Option<Stage> {
        match self {
            Self::Nobody(_) => None,
            Self::Anonymous(_) => Some(Stage::Anonymous),
            Self::Pending(_) => Some(Stage::PendingSecondFactor),
            Self::PasswordChange(_) => Some(Stage::MustChangePassword),
            Self::Enrolment(_) => Some(Stage::MustEnrol),
            Self::Full(_) => Some(Stage::Full),
        }
    }

    /// Whose session it is, of whatever stage.
    pub(crate) fn account(&self) -> Option<&Account> {
        match self {
            Self::Nobody(_) | Self::Anonymous(_) => None,
            Self::Pending(session) => Some(session.account()),
            Self::PasswordChange(session) => Some(session.account()),
            Self::Enrolment(session) => Some(session.account()),
            Self::Full(identity) => Some(identity.account()),
        }
    }

    /// Why this is not a full session.
    pub(crate) fn not_signed_in(&self) -> NotSignedIn {
        match self {
            Self::Nobody(reason) => *reason,
            Self::Anonymous(_) => NotSignedIn::Anonymous,
            Self::Pending(_) => NotSignedIn::SecondFactorRequired,
            Self::PasswordChange(_) => NotSignedIn::PasswordChangeRequired,
            Self::Enrolment(_) => NotSignedIn::EnrolmentRequired,
            Self::Full(_) => NotSignedIn::NoCredential,
        }
    }
}
