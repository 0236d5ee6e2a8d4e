//! What a route requires from a request.
//!
//! You can use one value for a guard, a check inside a handler, a menu and an explanation. A check
//! has three results: [`Denied`](Outcome::Denied), [`StepUp`](Outcome::StepUp) (the user must first
//! prove a factor, or prove it again) and [`Met`](Outcome::Met). The result of `all` is the worst
//! of its parts, and the result of `any` is the best. So the order of the parts never matters.
//!
//! # `not` and limited sessions
//! A session with a ceiling may do less than its account. `not` would turn less into more. If a
//! ceiling hid the role `suspended`, `not(role("suspended"))` would be true for a suspended
//! account. So the part inside a `not` is checked without the ceiling. A `not` inside another `not`
//! is checked with the ceiling again. Then a narrower ceiling never allows what a wider one
//! forbids.
//!
//! Portcullis does not know what a [`custom`](Requirement::custom) rule looks at. So a limited
//! session never meets a `not` that contains one.
//!
//! # Jobs
//! A [job](JobIdentity) has no session. It never meets a factor, the age of one, a `custom` rule,
//! or a `not` that contains a `custom` rule. No step-up would change this, so the result is
//! [`Denied`](Outcome::Denied).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::factor::Factor;
use crate::base::problem::Rejection;
use crate::identity::resolved::{Acting, Rights};
use crate::identity::step_up::StepUp;
use crate::identity::{ApiKeyIdentity, AuthError, Identity, JobError, JobIdentity, Principal};
use crate::permission::typed::TypedPermission;
use crate::permission::{Atoms, Permission, PermissionError};

/// What a route requires. Use the same value for a guard, a check inside a handler and a menu.
///
/// ```
/// use std::time::Duration;
///
/// use portcullis::{Factor, Requirement};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let read = Requirement::permission("doc:read")?;
/// let transfer = Requirement::all([
///     Requirement::permission("account:transfer")?,
///     Requirement::factor(Factor::Totp),
///     Requirement::within(Duration::from_secs(300)),
/// ])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Requirement(Arc<Node>);

enum Node {
    SignedIn,
    Permission(Atoms),
    Role(String),
    Factor {
        factor: Option<Factor>,
        within: Option<Duration>,
    },
    All(Vec<Requirement>),
    Any(Vec<Requirement>),
    /// `custom` is true if `part` contains a rule of the application.
    Not {
        part: Requirement,
        custom: bool,
    },
    Custom {
        name: String,
        holds: Arc<Holds>,
    },
}

type Holds = dyn Fn(&Identity) -> bool + Send + Sync;

/// How a part of a requirement treats the ceiling of a session. It depends on the `not`s around the
/// part.
#[derive(Clone, Copy, PartialEq)]
enum Ceiling {
    Counts,
    /// The part is inside an odd number of `not`s. There, to hide a right would grant another one.
    LeftOut,
}

impl Ceiling {
    /// Returns the treatment inside one more `not`.
    fn under_not(self) -> Self {
        match self {
            Self::Counts => Self::LeftOut,
            Self::LeftOut => Self::Counts,
        }
    }
}

/// The result of checking an identity against a requirement. The variants are ordered from worst to
/// best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The identity does not meet the requirement, and no factor would change that.
    Denied,
    /// The user must first prove a factor, or prove it again.
    StepUp,
    /// The identity meets the requirement.
    Met,
}

/// Why a requirement cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequirementError {
    /// The list is empty. `all([])` would allow everyone and `any([])` nobody, and neither is ever
    /// intended.
    #[error("a list of requirements must not be empty")]
    Empty,
    /// There is a factor, or the age of one, inside a `not`. A user could meet such a requirement
    /// by waiting.
    #[error("`not` must not contain a factor or the age of a factor")]
    NotFactor,
}

impl Identity {
    /// Returns true if it meets a requirement. A guard decides in the same way.
    pub fn meets(&self, requirement: &Requirement) -> bool {
        requirement.check(self) == Outcome::Met
    }

    /// Checks it against a requirement.
    pub fn check(&self, requirement: &Requirement) -> Outcome {
        requirement.check(self)
    }

    /// Checks a requirement inside a handler: `identity.require(&rule)?`. The errors are the
    /// answers that a guard gives. Unlike a guard, it does not record a denial in the audit log.
    ///
    /// # Errors
    /// 403 `denied`, or 401 `insufficient_user_authentication` with the factors that would help.
    pub fn require(&self, requirement: &Requirement) -> Result<(), Rejection> {
        match requirement.check(self) {
            Outcome::Met => Ok(()),
            Outcome::StepUp => Err(AuthError::StepUp(requirement.step_up(self)).into()),
            Outcome::Denied => Err(AuthError::Denied.into()),
        }
    }

    /// Checks a requirement and says why: which grant, factor or age decided. This is for an
    /// operator or a log. Do not send it to a client, which would learn how to get around the rule.
    pub fn explain(&self, requirement: &Requirement) -> Explanation {
        requirement.explain(self.rights())
    }
}

impl ApiKeyIdentity {
    /// Returns true if it meets a requirement. A guard decides in the same way.
    pub fn meets(&self, requirement: &Requirement) -> bool {
        self.check(requirement) == Outcome::Met
    }

    /// Checks the key against a requirement. [`Outcome::StepUp`] means that a factor is missing, which a key
    /// cannot prove.
    pub fn check(&self, requirement: &Requirement) -> Outcome {
        requirement.judge(self.rights(), Ceiling::Counts)
    }

    /// Checks a requirement inside a handler: `key.require(&rule)?`. See [`Identity::require`].
    ///
    /// # Errors
    /// 403 `denied`, or 403 `factor_unavailable` if a factor is missing, which a key cannot prove.
    pub fn require(&self, requirement: &Requirement) -> Result<(), Rejection> {
        match self.check(requirement) {
            Outcome::Met => Ok(()),
            Outcome::StepUp => Err(AuthError::FactorUnavailable.into()),
            Outcome::Denied => Err(AuthError::Denied.into()),
        }
    }

    /// Checks a requirement and says why, for an operator or a log. See [`Identity::explain`].
    pub fn explain(&self, requirement: &Requirement) -> Explanation {
        requirement.explain(self.rights())
    }
}

impl Principal {
    /// Returns true if it meets a requirement. A guard decides in the same way.
    pub fn meets(&self, requirement: &Requirement) -> bool {
        self.check(requirement) == Outcome::Met
    }

    /// Checks it against a requirement. See [`ApiKeyIdentity::check`].
    pub fn check(&self, requirement: &Requirement) -> Outcome {
        requirement.judge(self.rights(), Ceiling::Counts)
    }

    /// Checks a requirement inside a handler: `who.require(&rule)?`.
    ///
    /// # Errors
    /// Those of [`Identity::require`] and [`ApiKeyIdentity::require`].
    pub fn require(&self, requirement: &Requirement) -> Result<(), Rejection> {
        match self {
            Self::Session(identity) => identity.require(requirement),
            Self::ApiKey(program) => program.require(requirement),
        }
    }

    /// Checks a requirement and says why, for an operator or a log. See [`Identity::explain`].
    pub fn explain(&self, requirement: &Requirement) -> Explanation {
        requirement.explain(self.rights())
    }
}

impl JobIdentity {
    /// Returns true if the job may do what the requirement says.
    pub fn meets(&self, requirement: &Requirement) -> bool {
        self.check(requirement) == Outcome::Met
    }

    /// Checks the job against a requirement. The result is never [`Outcome::StepUp`].
    pub fn check(&self, requirement: &Requirement) -> Outcome {
        requirement.judge(self.rights(), Ceiling::Counts)
    }

    /// Checks a requirement inside a job: `job.require(&rule)?`. A denial is counted like that of a
    /// request, under the name `job(..)` with the requirement in it.
    ///
    /// # Errors
    /// [`JobError::Denied`].
    pub fn require(&self, requirement: &Requirement) -> Result<(), JobError> {
        if self.meets(requirement) {
            return Ok(());
        }
        self.note_denial(&format!("job({requirement})"));
        Err(JobError::Denied)
    }

    /// Checks a requirement and says why, for an operator or a log. See [`Identity::explain`].
    pub fn explain(&self, requirement: &Requirement) -> Explanation {
        requirement.explain(self.rights())
    }
}

impl Requirement {
    /// Requires a signed-in account. A job meets it too, because it runs for an account.
    pub fn signed_in() -> Self {
        Self(Arc::new(Node::SignedIn))
    }

    /// Requires a permission. A list (`doc:read,write`) requires all of its entries. They may come
    /// from different grants.
    ///
    /// # Errors
    /// The text is not a permission, or it asks for more than 64 at once.
    pub fn permission(text: &str) -> Result<Self, PermissionError> {
        Self::from_permission(&Permission::parse(text)?)
    }

    /// Requires a permission that is already parsed. See [`permission`](Self::permission).
    ///
    /// # Errors
    /// It asks for more than 64 at once.
    pub fn from_permission(permission: &Permission) -> Result<Self, PermissionError> {
        Ok(Self(Arc::new(Node::Permission(permission.atoms()?))))
    }

    /// Requires a permission that was declared with [`permissions!`](crate::permissions).
    ///
    /// # Panics
    /// If you implemented [`TypedPermission`] yourself, with a text that is not a permission or
    /// that asks for more than 64 at once. The macro checks its texts when it is compiled.
    pub fn typed<P: TypedPermission>(_: P) -> Self {
        match Self::permission(P::TEXT) {
            Ok(requirement) => requirement,
            Err(error) => panic!("`{}` is not a permission: {error}", P::TEXT),
        }
    }

    /// Requires a role, by its name. Prefer permissions: they say what a route does and not who may
    /// call it, so they need to change less often.
    pub fn role(name: impl Into<String>) -> Self {
        Self(Arc::new(Node::Role(name.into())))
    }

    /// Requires that this factor was passed in this session, at any time.
    pub fn factor(factor: Factor) -> Self {
        Self(Arc::new(Node::Factor { factor: Some(factor), within: None }))
    }

    /// Requires that this factor was passed in this session, less than `age` ago.
    pub fn factor_within(factor: Factor, age: Duration) -> Self {
        Self(Arc::new(Node::Factor { factor: Some(factor), within: Some(age) }))
    }

    /// Requires that this factor or a stronger one was passed in this session, at any time. The order is
    /// [`Factor::at_least`].
    ///
    /// # Errors
    /// The factor has no place in the order.
    pub fn at_least(least: Factor) -> Result<Self, RequirementError> {
        Self::any(Factor::at_least(least).map(Self::factor))
    }

    /// Requires that this factor or a stronger one was passed in this session, less than `age` ago.
    ///
    /// # Errors
    /// The factor has no place in the order.
    pub fn at_least_within(least: Factor, age: Duration) -> Result<Self, RequirementError> {
        Self::any(Factor::at_least(least).map(|factor| Self::factor_within(factor, age)))
    }

    /// Requires that any factor was passed in this session, less than `age` ago.
    pub fn within(age: Duration) -> Self {
        Self(Arc::new(Node::Factor { factor: None, within: Some(age) }))
    }

    /// Requires all of these.
    ///
    /// # Errors
    /// The list is empty.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Result<Self, RequirementError> {
        Ok(Self(Arc::new(Node::All(some(parts)?))))
    }

    /// Requires at least one of these.
    ///
    /// # Errors
    /// The list is empty.
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Result<Self, RequirementError> {
        Ok(Self(Arc::new(Node::Any(some(parts)?))))
    }

    /// Requires that `part` is not met. The part is checked without the ceiling of a limited
    /// session, so that a ceiling cannot give rights. If the part contains a
    /// [`custom`](Self::custom) rule, a limited session is denied.
    ///
    /// # Errors
    /// The part contains a factor or the age of one.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and `!` is easily overlooked")]
    pub fn not(part: Self) -> Result<Self, RequirementError> {
        if part.asks_for_factor() {
            return Err(RequirementError::NotFactor);
        }
        let custom = part.has_custom();
        Ok(Self(Arc::new(Node::Not { part, custom })))
    }

    /// Requires that a rule of the application holds. The rule gets the identity with its ceiling.
    /// It must answer at once, because it cannot wait for a database. If it needs data from a
    /// database, use a permission instead.
    pub fn custom(
        name: impl Into<String>,
        holds: impl Fn(&Identity) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Node::Custom { name: name.into(), holds: Arc::new(holds) }))
    }

    /// Returns the same requirement with every permission limited to one instance. Factors, ages
    /// and rules of the application do not change.
    ///
    /// A permission that names only a domain then requires every action on the instance: `doc`
    /// becomes `doc:*:42`. The id must not take the place of the action. Otherwise an id such as
    /// `read` would mean an action.
    ///
    /// # Errors
    /// The id is not a valid part of a permission, for example because it contains permission
    /// syntax.
    ///
    /// [`PermissionError::NotOnInstance`] if the requirement cannot be limited to one instance:
    /// - It contains a `not`. Two spellings of one id (`7` and `07`) would then get two results,
    ///   and the spelling that is not granted would pass.
    /// - It contains a role. A role says nothing about an instance.
    /// - It contains no permission. Then nothing would be limited.
    pub fn on(&self, id: &str) -> Result<Self, PermissionError> {
        match self.not_on_an_instance() {
            Some(what) => Err(PermissionError::NotOnInstance { what }),
            None => self.narrowed(id),
        }
    }

    /// Returns the part of this requirement that cannot be limited to one instance.
    pub(crate) fn not_on_an_instance(&self) -> Option<&'static str> {
        if self.contains(&|node| matches!(node, Node::Not { .. })) {
            Some("`not(..)`")
        } else if self.contains(&|node| matches!(node, Node::Role(_))) {
            Some("`role(..)`")
        } else if !self.contains(&|node| matches!(node, Node::Permission(_))) {
            Some("a requirement without a permission")
        } else {
            None
        }
    }

    /// Does the same as [`on`](Self::on), without the check that it is possible.
    pub(crate) fn narrowed(&self, id: &str) -> Result<Self, PermissionError> {
        let each = |parts: &[Self]| {
            parts.iter().map(|part| part.narrowed(id)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self(Arc::new(match &*self.0 {
            Node::Permission(atoms) => {
                let permission = atoms.permission();
                let whole = !permission.as_str().contains(':');
                let narrowed = if whole {
                    Permission::parse(&format!("{permission}:*"))?.on(id)?
                } else {
                    permission.on(id)?
                };
                Node::Permission(narrowed.atoms()?)
            }
            Node::All(parts) => Node::All(each(parts)?),
            Node::Any(parts) => Node::Any(each(parts)?),
            _ => return Ok(self.clone()),
        })))
    }

    /// Returns the domains (the first parts) of the permissions that it requires.
    #[cfg(all(feature = "routes", feature = "test-util"))]
    pub(crate) fn domains(&self) -> Vec<String> {
        match &*self.0 {
            Node::Permission(atoms) => {
                let permission = atoms.permission();
                let first = permission.as_str().split(':').next().unwrap_or_default();
                first.split(',').map(str::to_owned).collect()
            }
            Node::All(parts) | Node::Any(parts) => parts.iter().flat_map(Self::domains).collect(),
            Node::Not { part, .. } => part.domains(),
            Node::SignedIn | Node::Role(_) | Node::Factor { .. } | Node::Custom { .. } => {
                Vec::new()
            }
        }
    }

    fn asks_for_factor(&self) -> bool {
        self.contains(&|node| matches!(node, Node::Factor { .. }))
    }

    fn has_custom(&self) -> bool {
        self.contains(&|node| matches!(node, Node::Custom { .. }))
    }

    /// True if this requirement, or a part of it, is such a node.
    fn contains(&self, wanted: &dyn Fn(&Node) -> bool) -> bool {
        let inside = match &*self.0 {
            Node::All(parts) | Node::Any(parts) => parts.iter().any(|part| part.contains(wanted)),
            Node::Not { part, .. } => part.contains(wanted),
            Node::SignedIn
            | Node::Permission(_)
            | Node::Role(_)
            | Node::Factor { .. }
            | Node::Custom { .. } => false,
        };
        inside || wanted(&self.0)
    }

    /// Checks an identity against it, without allocation and without I/O.
    pub(crate) fn check(&self, identity: &Identity) -> Outcome {
        self.judge(identity.rights(), Ceiling::Counts)
    }

    fn judge(&self, rights: Rights<'_>, ceiling: Ceiling) -> Outcome {
        let met = |met| if met { Outcome::Met } else { Outcome::Denied };
        match &*self.0 {
            Node::SignedIn => Outcome::Met,
            Node::Permission(atoms) if ceiling == Ceiling::LeftOut => met(rights.grant(atoms)),
            Node::Permission(atoms) => met(rights.allow(atoms)),
            Node::Role(name) if ceiling == Ceiling::LeftOut => met(rights.grants.has_role(name)),
            Node::Role(name) => met(rights.has_role(name)),
            Node::Factor { factor, within } => match rights.acting {
                Acting::Session(identity) if passed(identity, *factor, *within) => Outcome::Met,
                // An API key cannot prove a factor. But the answer says that one is missing, and not a right.
                Acting::Session(_) | Acting::ApiKey => Outcome::StepUp,
                Acting::Job => Outcome::Denied,
            },
            Node::All(parts) => parts
                .iter()
                .map(|part| part.judge(rights, ceiling))
                .min()
                .unwrap_or(Outcome::Denied),
            Node::Any(parts) => parts
                .iter()
                .map(|part| part.judge(rights, ceiling))
                .max()
                .unwrap_or(Outcome::Denied),
            // Refuses a limited session and a job (see the page of this module). Only where the
            // ceiling counts: inside an odd number of `not`s, this refusal would become a
            // permission.
            Node::Not { custom: true, .. }
                if ceiling == Ceiling::Counts && !knows_custom_rules(rights) =>
            {
                Outcome::Denied
            }
            Node::Not { part, .. } => {
                met(part.judge(rights, ceiling.under_not()) == Outcome::Denied)
            }
            Node::Custom { holds, .. } => met(rights.identity().is_some_and(|who| holds(who))),
        }
    }

    /// Returns the next step towards it, for an identity that must prove a factor.
    pub(crate) fn step_up(&self, identity: &Identity) -> StepUp {
        self.next_step(identity).unwrap_or_default()
    }

    /// Returns `None` where no step-up is missing, or where none would help.
    fn next_step(&self, identity: &Identity) -> Option<StepUp> {
        if self.check(identity) != Outcome::StepUp {
            return None;
        }
        let steps = |parts: &[Self]| -> Vec<_> {
            parts.iter().filter_map(|part| part.next_step(identity)).collect()
        };
        match &*self.0 {
            Node::Factor { factor, within } => Some(step_up_by(identity, *factor, *within)),
            Node::All(parts) => steps(parts).into_iter().reduce(StepUp::and),
            Node::Any(parts) => steps(parts).into_iter().reduce(StepUp::or),
            _ => None,
        }
    }

    /// Checks rights against the requirement, and says for each part what decided.
    pub(crate) fn explain(&self, rights: Rights<'_>) -> Explanation {
        self.explain_under(rights, Ceiling::Counts)
    }

    fn explain_under(&self, rights: Rights<'_>, ceiling: Ceiling) -> Explanation {
        let parts = match &*self.0 {
            Node::All(parts) | Node::Any(parts) => {
                parts.iter().map(|part| part.explain_under(rights, ceiling)).collect()
            }
            Node::Not { part, .. } => vec![part.explain_under(rights, ceiling.under_not())],
            _ => Vec::new(),
        };
        let mut because = self.because(rights, ceiling);
        let depends = matches!(&*self.0, Node::Permission(_) | Node::Role(_));
        if depends && ceiling == Ceiling::LeftOut && rights.are_limited() {
            because.push_str(" (inside `not`, so the ceiling is left out)");
        }
        Explanation { rule: self.to_string(), outcome: self.judge(rights, ceiling), because, parts }
    }

    fn because(&self, rights: Rights<'_>, ceiling: Ceiling) -> String {
        match &*self.0 {
            Node::SignedIn => match rights.acting {
                Acting::Session(_) => "someone is signed in".to_owned(),
                Acting::ApiKey => "the API key acts for an account".to_owned(),
                Acting::Job => "the job runs for an account".to_owned(),
            },
            Node::Permission(atoms) => because_permission(atoms, rights, ceiling),
            Node::Role(name) if rights.has_role(name) => "the account has this role".to_owned(),
            Node::Role(name) if rights.grants.has_role(name) && ceiling == Ceiling::LeftOut => {
                "the account has this role".to_owned()
            }
            Node::Role(name) if rights.grants.has_role(name) => {
                "the account has this role, but the ceiling does not cover it".to_owned()
            }
            Node::Role(_) => "the account does not have this role".to_owned(),
            Node::Factor { factor, .. } => match rights.acting {
                Acting::Session(identity) => because_factor(*factor, identity),
                Acting::ApiKey => "an API key cannot prove a factor".to_owned(),
                Acting::Job => "a job has no session, so it has proved no factor".to_owned(),
            },
            Node::All(_) => "the worst of its parts".to_owned(),
            Node::Any(_) => "the best of its parts".to_owned(),
            Node::Not { custom: true, .. }
                if ceiling == Ceiling::Counts && !knows_custom_rules(rights) =>
            {
                "the session is limited, or this is a job or an API key, and what the application's own \
                 rule looks at is not known"
                    .to_owned()
            }
            Node::Not { .. } => "the opposite of its part".to_owned(),
            Node::Custom { .. } if rights.identity().is_none() => {
                "a job and an API key have no session, which the application's own rule needs".to_owned()
            }
            Node::Custom { .. } => "a rule of the application decided".to_owned(),
        }
    }
}

/// Does the same as [`Requirement::typed`].
impl<P: TypedPermission> From<P> for Requirement {
    fn from(permission: P) -> Self {
        Self::typed(permission)
    }
}

/// True if a custom rule can decide. A custom rule needs the session of a request, and a ceiling
/// may hide something that the rule looks for.
fn knows_custom_rules(rights: Rights<'_>) -> bool {
    rights.identity().is_some() && !rights.are_limited()
}

/// Collects the parts of a list that must not be empty.
fn some(
    parts: impl IntoIterator<Item = Requirement>,
) -> Result<Vec<Requirement>, RequirementError> {
    let parts: Vec<_> = parts.into_iter().collect();
    if parts.is_empty() { Err(RequirementError::Empty) } else { Ok(parts) }
}

/// True if the factor was passed, and less than `within` ago. If a clock was set back, this time
/// can be in the future. It then counts as just now.
fn passed(identity: &Identity, factor: Option<Factor>, within: Option<Duration>) -> bool {
    identity
        .passed_at(factor)
        .is_some_and(|at| within.is_none_or(|age| identity.resolved_at().since(at) < age))
}

fn because_factor(factor: Option<Factor>, identity: &Identity) -> String {
    match identity.passed_at(factor) {
        Some(at) => {
            format!("it was passed {} s ago", identity.resolved_at().since(at).as_secs())
        }
        None if identity.session().state.has_moved() => {
            "the session is used from another source, so what it proved before does not count"
                .to_owned()
        }
        None => "it was not passed in this session".to_owned(),
    }
}

fn because_permission(atoms: &Atoms, rights: Rights<'_>, ceiling: Ceiling) -> String {
    let mut reasons = Vec::new();
    for atom in atoms.iter() {
        let uncovered = ceiling == Ceiling::Counts
            && rights.ceilings.iter().any(|ceiling| ceiling.grant_for(atom).is_none());
        let grant = rights.grants.permissions().grant_for(atom);
        reasons.push(match (rights.account.is_superuser(), grant) {
            _ if uncovered => format!("the ceiling does not cover `{atom}`"),
            (true, _) => "the account may do everything".to_owned(),
            (false, Some(grant)) => format!("`{grant}` implies `{atom}`"),
            (false, None) => format!("no grant implies `{atom}`"),
        });
    }
    reasons.dedup();
    reasons.join("; ")
}

/// The result of a check and its reason. It is for an operator or a log, never for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The rule.
    pub rule: String,
    /// The result of the check.
    pub outcome: Outcome,
    /// The grant, factor or age that decided.
    pub because: String,
    /// The explanations of its parts.
    pub parts: Vec<Explanation>,
}

impl Explanation {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let Self { rule, outcome, because, parts } = self;
        writeln!(f, "{:indent$}{outcome:?}: {rule}: {because}", "", indent = depth * 2)?;
        parts.iter().try_for_each(|part| part.write(f, depth + 1))
    }
}

/// Writes one line for the rule and one for each part, indented.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// Writes the requirement as a name for the log: `all(permission(doc:read), within(300s))`.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, parts: &[Self]| {
            write!(f, "{name}(")?;
            for (at, part) in parts.iter().enumerate() {
                write!(f, "{}{part}", if at == 0 { "" } else { ", " })?;
            }
            f.write_str(")")
        };
        match &*self.0 {
            Node::SignedIn => f.write_str("signed_in"),
            Node::Permission(atoms) => write!(f, "permission({})", atoms.permission()),
            Node::Role(name) => write!(f, "role({name})"),
            Node::Factor { factor, within } => match (factor, within) {
                (Some(factor), None) => write!(f, "factor({})", factor.as_str()),
                (Some(factor), Some(age)) => {
                    write!(f, "factor({}, within {}s)", factor.as_str(), age.as_secs())
                }
                (None, age) => write!(f, "within({}s)", age.unwrap_or_default().as_secs()),
            },
            Node::All(parts) => list(f, "all", parts),
            Node::Any(parts) => list(f, "any", parts),
            Node::Not { part, .. } => write!(f, "not({part})"),
            Node::Custom { name, .. } => write!(f, "custom({name})"),
        }
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Requirement({self})")
    }
}

/// Returns the step-up by this factor or, without one, by any factor that counts.
fn step_up_by(identity: &Identity, factor: Option<Factor>, max_age: Option<Duration>) -> StepUp {
    let enrolled = identity.account().enrolled_factors();
    // A password is no second factor, so the row does not list it. Neither does it list a mailed code
    // that can be sent although the account does not use it as a second factor. They are offered if the
    // requirement names them, or if this session has proved them before.
    let has = |candidate: Factor| {
        let account = identity.account();
        let before = || {
            // If a trusted device stood in, only a second factor of the account helps.
            !identity.lacks_second_factor() && identity.session().state.has_proved(candidate)
        };
        let named = factor.is_some() || before();
        match candidate {
            Factor::Password | Factor::Provider => named,
            Factor::MailedCode => {
                // A provider that does not tell when it asked cannot step up, and then the mailbox is left.
                let provider =
                    factor.is_none() && identity.session().state.has_proved(Factor::Provider);
                enrolled.contains(candidate)
                    || (named || provider) && account.is_verified() && account.email().is_some()
            }
            _ => enrolled.contains(candidate),
        }
    };
    let wanted = Factor::ALL.iter().copied().filter(|one| factor.is_none_or(|it| it == *one));
    let factors: Vec<_> = wanted.filter(|one| has(*one)).collect();
    let enrol = factor.filter(|_| factors.is_empty()).into_iter().collect();
    StepUp { factors, enrol, max_age }
}

#[cfg(test)]
mod tests;
