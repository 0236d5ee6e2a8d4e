//! What is known about a request after it was resolved.

use std::sync::Arc;

use crate::account::Account;
use crate::base::clock::Timestamp;
use crate::base::factor::Factor;
use crate::context::Context;
use crate::permission::typed::IntoPermission;
use crate::permission::{Atoms, Grants, Instances, Permission, PermissionSet, parse_list};
use crate::session::Session;

/// Who sent a request: the session, the account and its grants, as one statement read them.
#[derive(Debug, Clone)]
pub struct Identity(pub(crate) Arc<IdentityData>);

/// The id of the session in its token. It is not the token, because it has no signature, but it is
/// not to be shown either.
#[derive(Clone, Copy)]
pub(crate) struct TokenId(pub(crate) [u8; 16]);

impl std::fmt::Debug for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenId(..)")
    }
}

#[derive(Debug)]
pub(crate) struct IdentityData {
    /// How the session is found again.
    pub(crate) token_id: TokenId,
    pub(crate) session: Session,
    pub(crate) account: Arc<Account>,
    pub(crate) grants: Arc<Grants>,
    /// The permissions to which the session is limited, if it has a ceiling.
    pub(crate) ceiling: Option<PermissionSet>,
    /// When the session was read. The ages of factors are computed for this time.
    pub(crate) resolved_at: Timestamp,
    /// Until when the account must set up a second factor, if it lacks one.
    pub(crate) enrolment_due_at: Option<Timestamp>,
}

impl Identity {
    pub(crate) fn new(
        token_id: TokenId,
        session: Session,
        account: Arc<Account>,
        grants: Arc<Grants>,
        now: Timestamp,
    ) -> Self {
        let ceiling = session.state.ceiling.as_deref();
        let ceiling = ceiling.map(|text| parse_list(text).0.into_iter().collect());
        let resolved_at = now;
        Self(Arc::new(IdentityData {
            token_id,
            session,
            account,
            grants,
            ceiling,
            resolved_at,
            enrolment_due_at: None,
        }))
    }

    /// Sets until when the account must set up a second factor. The value must be new.
    pub(super) fn with_enrolment_due(mut self, due: Option<Timestamp>) -> Self {
        if let Some(data) = Arc::get_mut(&mut self.0) {
            data.enrolment_due_at = due;
        }
        self
    }

    /// Returns until when the account must set up the second factor that one of its roles requires.
    /// Tell its owner. `None` if it lacks none. After this time its sessions reach only the routes that
    /// set one up.
    pub fn enrolment_due_at(&self) -> Option<Timestamp> {
        self.0.enrolment_due_at
    }

    /// Returns the session.
    pub fn session(&self) -> &Session {
        &self.0.session
    }

    /// Returns the account.
    pub fn account(&self) -> &Account {
        &self.0.account
    }

    /// Returns the grants of the account. A superuser may do everything in addition, and a session
    /// with a ceiling may do less. To decide what is allowed, use [`meets`](Self::meets).
    pub fn grants(&self) -> &Grants {
        &self.0.grants
    }

    /// Returns the rights against which a requirement is checked.
    pub(crate) fn rights(&self) -> Rights<'_> {
        let IdentityData { account, grants, ceiling, .. } = &*self.0;
        Rights { account, grants, ceilings: ceiling.as_slice(), acting: Acting::Session(self) }
    }

    /// Returns the permissions to which the session is limited, or `None` if it has no ceiling.
    pub fn ceiling(&self) -> Option<&PermissionSet> {
        self.0.ceiling.as_ref()
    }

    /// Returns when the session was read. The ages of factors are computed for this time.
    pub fn resolved_at(&self) -> Timestamp {
        self.0.resolved_at
    }

    /// True if a step-up has replaced this session. It only lets requests finish that other tabs
    /// have already sent. The flows that change the account refuse it.
    pub(crate) fn is_superseded(&self) -> bool {
        self.session().is_superseded()
    }

    /// True if a factor was proved recently enough to change the account itself.
    pub(crate) fn has_recent_factor(&self, context: &Context) -> bool {
        if self.is_superseded() {
            return false;
        }
        let max_age = context.config.session.recent_factor;
        let latest = self.passed_at(None);
        latest.is_some_and(|at| context.now().since(at) < max_age)
    }

    /// Returns when this factor, or without one any factor, was last passed and counts. A texted code
    /// counts only if it is a second factor of the account. A phone number signs nobody in, so its
    /// holder must not get what belongs to the owner. A mailbox can replace the password anyway.
    ///
    /// If a trusted device stood in for the second factor, "any factor" means a second factor of the
    /// account. Otherwise a thief of the password and the device could change the account.
    pub(crate) fn passed_at(&self, factor: Option<Factor>) -> Option<Timestamp> {
        let enrolled = self.account().enrolled_factors();
        let only_second = factor.is_none() && self.lacks_second_factor();
        let counts = |one: Factor| match one {
            // The last one is not enrolled any more after its use.
            Factor::RecoveryCode => true,
            Factor::Password if only_second => false,
            Factor::TextedCode => enrolled.contains(one),
            _ => !only_second || enrolled.contains(one),
        };
        let passed = self.session().factors().iter();
        let passed = passed.filter(|(one, _)| factor.is_none_or(|it| it == *one) && counts(*one));
        passed.map(|(_, at)| at).max()
    }

    /// True if a trusted device stood in for the second factor that the account has.
    pub(crate) fn lacks_second_factor(&self) -> bool {
        let has_some = !self.account().enrolled_factors().is_empty();
        has_some && self.session().by_trusted_device()
    }

    /// Returns the ids on which a permission is granted, to filter a list in SQL. `doc:edit` may be
    /// granted on all documents or on some. The ceiling of the session limits the result, as in
    /// every other check.
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
    /// The result is empty for a text that is not a permission, or that asks for more than 64 at
    /// once. The first error is traced.
    pub fn instances(&self, permission: impl IntoPermission) -> Instances {
        self.rights().instances(permission)
    }

    /// True if the account has the role with this name, or the [level](crate::permission::Roles)
    /// with this name. A ceiling hides a role unless it covers `role:<name>`.
    pub fn has_role(&self, name: &str) -> bool {
        self.rights().has_role(name)
    }
}

/// Who acts. Only a session has proved factors.
#[derive(Clone, Copy)]
pub(crate) enum Acting<'a> {
    Session(&'a Identity),
    ApiKey,
    Job,
}

/// The rights against which a requirement is checked: those of a request, or of a job.
#[derive(Clone, Copy)]
pub(crate) struct Rights<'a> {
    pub(crate) account: &'a Account,
    pub(crate) grants: &'a Grants,
    /// The permissions to which the rights are limited. Each of these sets counts.
    pub(crate) ceilings: &'a [PermissionSet],
    pub(crate) acting: Acting<'a>,
}

impl<'a> Rights<'a> {
    /// Returns the request with its session. An API key and a job have none.
    pub(crate) fn identity(&self) -> Option<&'a Identity> {
        match self.acting {
            Acting::Session(identity) => Some(identity),
            Acting::ApiKey | Acting::Job => None,
        }
    }

    /// True if there is a ceiling.
    pub(crate) fn are_limited(&self) -> bool {
        !self.ceilings.is_empty()
    }

    /// True if the account allows all of `atoms`, and each ceiling does too.
    pub(crate) fn allow(&self, atoms: &Atoms) -> bool {
        self.grant(atoms) && self.ceilings.iter().all(|ceiling| ceiling.allows(atoms))
    }

    /// True if the account allows all of `atoms`, without its ceilings.
    pub(crate) fn grant(&self, atoms: &Atoms) -> bool {
        self.account.is_superuser() || self.grants.permissions().allows(atoms)
    }

    /// See [`Identity::has_role`].
    pub(crate) fn has_role(&self, name: &str) -> bool {
        let covers = |ceiling: &PermissionSet| {
            Permission::parse("role")
                .and_then(|role| role.on(name))
                .and_then(|role| ceiling.allows_permission(&role))
                .unwrap_or(false)
        };
        self.grants.has_role(name) && self.ceilings.iter().all(covers)
    }

    /// See [`Identity::instances`].
    pub(crate) fn instances(&self, permission: impl IntoPermission) -> Instances {
        let permission = match permission.into_permission() {
            Ok(permission) => permission,
            Err(error) => {
                tracing::error!(target: "portcullis", %error, "instances() was called with an invalid permission");
                return Instances::Only(std::collections::BTreeSet::new());
            }
        };
        let granted = if self.account.is_superuser() {
            Instances::All
        } else {
            self.grants.permissions().instances(&permission)
        };
        let limit = |found: Instances, ceiling: &PermissionSet| {
            found.intersection(ceiling.instances(&permission))
        };
        self.ceilings.iter().fold(granted, limit)
    }
}
