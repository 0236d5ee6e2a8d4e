//! What a route asks of whoever calls it.
//!
//! One value serves a guard, a check inside a handler, a menu and an explanation. It has three
//! answers: [`Denied`](Outcome::Denied), [`StepUp`](Outcome::StepUp) (once a factor is proved,
//! again) and [`Met`](Outcome::Met). `all` takes the worst of its parts and `any` the best, so
//! their order never matters.
//!
//! # `not` and limited sessions
//! A session with a ceiling may do less than its account. `not` turns less into more: of somebody
//! whose role `suspended` is hidden by a ceiling, `not(role("suspended"))` would be true. So the part
//! of a `not` is judged without the ceiling, and the part of a `not` inside of it with the ceiling
//! again. Then a narrower ceiling never lets through what a wider one keeps out. What a
//! [`custom`](Requirement::custom) rule looks at is not known here, so a limited session never meets a
//! `not` that has one inside.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::factor::Factor;
use crate::base::problem::Rejection;
use crate::identity::step_up::StepUp;
use crate::identity::{AuthError, Identity};
use crate::permission::typed::TypedPermission;
use crate::permission::{Atoms, Permission, PermissionError};

/// What a route asks: the same value serves a guard, a check inside a handler, and a menu.
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
    /// `custom` says whether there is a rule of the application's own inside.
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

/// Whether the ceiling of a session counts where a part of a requirement stands.
#[derive(Clone, Copy, PartialEq)]
enum Ceiling {
    Counts,
    /// Under an odd number of `not`s, where hiding something would grant something.
    LeftOut,
}

impl Ceiling {
    fn under_not(self) -> Self {
        match self {
            Self::Counts => Self::LeftOut,
            Self::LeftOut => Self::Counts,
        }
    }
}

/// How an identity stands to a requirement. The order matters: the worse comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It may not, whatever it proves.
    Denied,
    /// It may once it proves a factor (again).
    StepUp,
    /// It may.
    Met,
}

/// Why a requirement cannot be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequirementError {
    /// `all([])` would let everyone through, `any([])` no one; neither is ever meant.
    #[error("a list of requirements must not be empty")]
    Empty,
    /// "Without a fresh factor" could be met by waiting.
    #[error("`not` cannot be asked of a factor or its age")]
    NotFactor,
}

impl Identity {
    /// Whether it meets a requirement: the same decision a guard makes.
    pub fn meets(&self, requirement: &Requirement) -> bool {
        requirement.check(self) == Outcome::Met
    }

    /// How it stands to a requirement.
    pub fn check(&self, requirement: &Requirement) -> Outcome {
        requirement.check(self)
    }

    /// The answer to give if it does not meet a requirement, for a check inside a handler:
    /// `identity.require(&rule)?`. A step-up is asked for as a guard asks for it. Unlike a guard it notes
    /// no denial in the audit log.
    ///
    /// # Errors
    /// 403 `denied`, or 401 `insufficient_user_authentication` with what would do.
    pub fn require(&self, requirement: &Requirement) -> Result<(), Rejection> {
        match requirement.check(self) {
            Outcome::Met => Ok(()),
            Outcome::StepUp => Err(AuthError::StepUp(requirement.step_up(self)).into()),
            Outcome::Denied => Err(AuthError::Denied.into()),
        }
    }

    /// How it stands to a requirement and why: which grant, factor or age decided. For an operator
    /// or a log; a client that is told learns how to get around it.
    pub fn explain(&self, requirement: &Requirement) -> Explanation {
        requirement.explain(self)
    }
}

impl Requirement {
    /// Anyone who is signed in.
    pub fn signed_in() -> Self {
        Self(Arc::new(Node::SignedIn))
    }

    /// A permission. Several alternatives (`doc:read,write`) ask for each of them; they may come
    /// from different grants.
    ///
    /// # Errors
    /// When the text is not a permission, or asks for more than 64 at once.
    pub fn permission(text: &str) -> Result<Self, PermissionError> {
        Self::from_permission(&Permission::parse(text)?)
    }

    /// The same from a parsed permission.
    ///
    /// # Errors
    /// When it asks for more than 64 at once.
    pub fn from_permission(permission: &Permission) -> Result<Self, PermissionError> {
        Ok(Self(Arc::new(Node::Permission(permission.atoms()?))))
    }

    /// A permission declared with [`permissions!`](crate::permissions).
    ///
    /// # Panics
    /// If a [`TypedPermission`] made by hand holds a text that is not a permission; one made by the
    /// macro was checked when it was compiled.
    pub fn typed<P: TypedPermission>(_: P) -> Self {
        match Self::permission(P::TEXT) {
            Ok(requirement) => requirement,
            Err(error) => panic!("`{}` is not a permission: {error}", P::TEXT),
        }
    }

    /// A role by its name. Permissions age better: they say what a route does, not who may.
    pub fn role(name: impl Into<String>) -> Self {
        Self(Arc::new(Node::Role(name.into())))
    }

    /// A factor that was passed in this session, whenever.
    pub fn factor(factor: Factor) -> Self {
        Self(Arc::new(Node::Factor { factor: Some(factor), within: None }))
    }

    /// A factor that was passed in this session at most this long ago.
    pub fn factor_within(factor: Factor, age: Duration) -> Self {
        Self(Arc::new(Node::Factor { factor: Some(factor), within: Some(age) }))
    }

    /// Any factor that was passed at most this long ago.
    pub fn within(age: Duration) -> Self {
        Self(Arc::new(Node::Factor { factor: None, within: Some(age) }))
    }

    /// Each of these.
    ///
    /// # Errors
    /// An empty list.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Result<Self, RequirementError> {
        Ok(Self(Arc::new(Node::All(some(parts)?))))
    }

    /// At least one of these.
    ///
    /// # Errors
    /// An empty list.
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Result<Self, RequirementError> {
        Ok(Self(Arc::new(Node::Any(some(parts)?))))
    }

    /// Everyone who does not meet this. The part is judged without the ceiling of a limited session;
    /// with a [`custom`](Self::custom) rule inside, a limited session is denied.
    ///
    /// # Errors
    /// When it asks for a factor or an age anywhere inside.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and `!` is easily overlooked")]
    pub fn not(part: Self) -> Result<Self, RequirementError> {
        if part.asks_for_factor() {
            return Err(RequirementError::NotFactor);
        }
        let custom = part.has_custom();
        Ok(Self(Arc::new(Node::Not { part, custom })))
    }

    /// A rule of the application's own. It sees the identity with its limits, and must answer at
    /// once: what it needs from a database belongs into a permission.
    pub fn custom(
        name: impl Into<String>,
        holds: impl Fn(&Identity) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Node::Custom { name: name.into(), holds: Arc::new(holds) }))
    }

    /// The same requirement limited to one instance, in every permission it asks for. Factors, ages
    /// and rules of the application's own stay as they are.
    ///
    /// A permission that names only a domain asks for every action on the instance: the id must
    /// not come to stand where an action stands, or an id could spell one.
    ///
    /// # Errors
    /// When the id has permission syntax in it. When the requirement cannot be asked of one
    /// instance: with a `not` inside, two spellings of one id (`7` and `07`) would get two answers,
    /// and the one that is not granted would pass; a role says nothing about an instance; and without
    /// any permission inside nothing would be limited.
    pub fn on(&self, id: &str) -> Result<Self, PermissionError> {
        match self.not_on_an_instance() {
            Some(what) => Err(PermissionError::NotOnInstance { what }),
            None => self.narrowed(id),
        }
    }

    /// What in this requirement cannot be asked of one instance.
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

    /// [`on`](Self::on), for what is known to be possible on an instance.
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

    /// The first parts of the permissions it asks for.
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

    /// Whether this or a part of it is such a node.
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

    /// How this identity stands to it. No allocation, no I/O.
    pub(crate) fn check(&self, identity: &Identity) -> Outcome {
        self.judge(identity, Ceiling::Counts)
    }

    fn judge(&self, identity: &Identity, ceiling: Ceiling) -> Outcome {
        let met = |met| if met { Outcome::Met } else { Outcome::Denied };
        match &*self.0 {
            Node::SignedIn => Outcome::Met,
            Node::Permission(atoms) if ceiling == Ceiling::LeftOut => met(identity.granted(atoms)),
            Node::Permission(atoms) => met(identity.allows(atoms)),
            Node::Role(name) if ceiling == Ceiling::LeftOut => {
                met(identity.grants().has_role(name))
            }
            Node::Role(name) => met(identity.has_role(name)),
            Node::Factor { factor, within } => match passed(identity, *factor, *within) {
                true => Outcome::Met,
                false => Outcome::StepUp,
            },
            Node::All(parts) => parts
                .iter()
                .map(|part| part.judge(identity, ceiling))
                .min()
                .unwrap_or(Outcome::Denied),
            Node::Any(parts) => parts
                .iter()
                .map(|part| part.judge(identity, ceiling))
                .max()
                .unwrap_or(Outcome::Denied),
            // Of the outermost such `not` only, so that another `not` around it cannot turn this
            // refusal into a permission.
            Node::Not { custom: true, .. }
                if ceiling == Ceiling::Counts && identity.ceiling().is_some() =>
            {
                Outcome::Denied
            }
            Node::Not { part, .. } => {
                met(part.judge(identity, ceiling.under_not()) == Outcome::Denied)
            }
            Node::Custom { holds, .. } => met(holds(identity)),
        }
    }

    /// The next step towards it, for an identity that has to step up.
    pub(crate) fn step_up(&self, identity: &Identity) -> StepUp {
        self.next_step(identity).unwrap_or_default()
    }

    /// None where a step-up is not what is missing.
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

    /// How this identity stands to it, and what decided, part by part.
    pub(crate) fn explain(&self, identity: &Identity) -> Explanation {
        self.explain_under(identity, Ceiling::Counts)
    }

    fn explain_under(&self, identity: &Identity, ceiling: Ceiling) -> Explanation {
        let parts = match &*self.0 {
            Node::All(parts) | Node::Any(parts) => {
                parts.iter().map(|part| part.explain_under(identity, ceiling)).collect()
            }
            Node::Not { part, .. } => vec![part.explain_under(identity, ceiling.under_not())],
            _ => Vec::new(),
        };
        let mut because = self.because(identity, ceiling);
        let depends = matches!(&*self.0, Node::Permission(_) | Node::Role(_));
        if depends && ceiling == Ceiling::LeftOut && identity.ceiling().is_some() {
            because.push_str(" (inside `not`, so the session's ceiling is left out)");
        }
        Explanation {
            rule: self.to_string(),
            outcome: self.judge(identity, ceiling),
            because,
            parts,
        }
    }

    fn because(&self, identity: &Identity, ceiling: Ceiling) -> String {
        let limited = identity.ceiling().is_some();
        match &*self.0 {
            Node::SignedIn => "someone is signed in".to_owned(),
            Node::Permission(atoms) => because_permission(atoms, identity, ceiling),
            Node::Role(name) if identity.has_role(name) => "the account has this role".to_owned(),
            Node::Role(name) if identity.grants().has_role(name) && ceiling == Ceiling::LeftOut => {
                "the account has this role".to_owned()
            }
            Node::Role(name) if identity.grants().has_role(name) => {
                "the account has this role, but the session's ceiling does not cover it".to_owned()
            }
            Node::Role(_) => "the account does not have this role".to_owned(),
            Node::Factor { factor, .. } => because_factor(*factor, identity),
            Node::All(_) => "the worst of its parts".to_owned(),
            Node::Any(_) => "the best of its parts".to_owned(),
            Node::Not { custom: true, .. } if limited && ceiling == Ceiling::Counts => {
                "the session is limited, and what the application's own rule looks at is not known"
                    .to_owned()
            }
            Node::Not { .. } => "the opposite of its part".to_owned(),
            Node::Custom { .. } => "the application's own rule says so".to_owned(),
        }
    }
}

/// As [`Requirement::typed`].
impl<P: TypedPermission> From<P> for Requirement {
    fn from(permission: P) -> Self {
        Self::typed(permission)
    }
}

fn some(
    parts: impl IntoIterator<Item = Requirement>,
) -> Result<Vec<Requirement>, RequirementError> {
    let parts: Vec<_> = parts.into_iter().collect();
    if parts.is_empty() { Err(RequirementError::Empty) } else { Ok(parts) }
}

/// When a factor was last passed, or any.
fn passed_at(identity: &Identity, factor: Option<Factor>) -> Option<Timestamp> {
    let factors = identity.session().factors();
    factor.map_or_else(|| factors.latest(), |factor| factors.passed_at(factor))
}

/// Whether it was passed, and less than `within` ago. A time in the future, which a clock that was
/// set back leaves behind, counts as just now.
fn passed(identity: &Identity, factor: Option<Factor>, within: Option<Duration>) -> bool {
    passed_at(identity, factor)
        .is_some_and(|at| within.is_none_or(|age| identity.resolved_at().since(at) < age))
}

fn because_factor(factor: Option<Factor>, identity: &Identity) -> String {
    match passed_at(identity, factor) {
        Some(at) => {
            format!("it was passed {} s ago", identity.resolved_at().since(at).as_secs())
        }
        None => "it was not passed in this session".to_owned(),
    }
}

fn because_permission(atoms: &Atoms, identity: &Identity, ceiling: Ceiling) -> String {
    let mut reasons = Vec::new();
    for atom in atoms.iter() {
        let uncovered = ceiling == Ceiling::Counts
            && identity.ceiling().is_some_and(|c| c.grant_for(atom).is_none());
        let grant = identity.grants().permissions().grant_for(atom);
        reasons.push(match (identity.account().is_superuser(), grant) {
            _ if uncovered => format!("the session's ceiling does not cover `{atom}`"),
            (true, _) => "the account may do everything".to_owned(),
            (false, Some(grant)) => format!("`{grant}` implies `{atom}`"),
            (false, None) => format!("no grant implies `{atom}`"),
        });
    }
    reasons.dedup();
    reasons.join("; ")
}

/// How an identity stands to a requirement and why: for an operator or a log, never for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The rule.
    pub rule: String,
    /// How the identity stands to it.
    pub outcome: Outcome,
    /// The grant, factor or age that decided.
    pub because: String,
    /// The same for its parts.
    pub parts: Vec<Explanation>,
}

impl Explanation {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let Self { rule, outcome, because, parts } = self;
        writeln!(f, "{:indent$}{outcome:?}: {rule}: {because}", "", indent = depth * 2)?;
        parts.iter().try_for_each(|part| part.write(f, depth + 1))
    }
}

/// A line for each part, indented.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// The requirement as a rule's name in the log: `all(permission(doc:read), within(300s))`.
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

/// The step-up by one factor, or by any factor of the account's.
fn step_up_by(identity: &Identity, factor: Option<Factor>, max_age: Option<Duration>) -> StepUp {
    let enrolled = identity.account().enrolled_factors();
    // A password is no second factor, so the row does not list it. It is offered if the requirement names
    // it, or if this session was started with it.
    let has = |candidate: Factor| {
        let by_password = identity.session().factors().passed_at(Factor::Password).is_some();
        match candidate {
            Factor::Password => factor.is_some() || by_password,
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
