//! What a route asks of whoever calls it.
//!
//! One value serves a guard, a check inside a handler, a menu and an explanation. It has three
//! answers: [`Denied`](Outcome::Denied), [`StepUp`](Outcome::StepUp) (once a factor is proved,
//! again) and [`Met`](Outcome::Met). `all` takes the worst of its parts and `any` the best, so
//! their order never matters.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::factor::Factor;
use crate::identity::Identity;
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
    Factor { factor: Option<Factor>, within: Option<Duration> },
    All(Vec<Requirement>),
    Any(Vec<Requirement>),
    Not(Requirement),
    Custom { name: String, holds: Arc<Holds> },
}

type Holds = dyn Fn(&Identity) -> bool + Send + Sync;

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

/// What would meet a requirement that asks for a step-up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StepUp {
    /// The factors that are missing or too old; empty when any will do.
    pub factors: Vec<Factor>,
    /// How recent they must be, if that is asked.
    pub max_age: Option<Duration>,
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

    /// Whoever does not meet this.
    ///
    /// # Errors
    /// When it asks for a factor or an age anywhere inside.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and `!` is easily overlooked")]
    pub fn not(part: Self) -> Result<Self, RequirementError> {
        if part.asks_for_factor() {
            return Err(RequirementError::NotFactor);
        }
        Ok(Self(Arc::new(Node::Not(part))))
    }

    /// A rule of the application's own. It sees the identity with its limits, and must answer at
    /// once: what it needs from a database belongs into a permission.
    pub fn custom(
        name: impl Into<String>,
        holds: impl Fn(&Identity) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Node::Custom { name: name.into(), holds: Arc::new(holds) }))
    }

    /// The same requirement limited to one instance, in every permission it asks for. What is not
    /// a permission stays as it is.
    ///
    /// A permission that names only a domain asks for every action on the instance: the id must
    /// not come to stand where an action stands, or an id could spell one.
    ///
    /// # Errors
    /// When the id has permission syntax in it.
    pub fn on(&self, id: &str) -> Result<Self, PermissionError> {
        let each =
            |parts: &[Self]| parts.iter().map(|part| part.on(id)).collect::<Result<Vec<_>, _>>();
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
            Node::Not(part) => Node::Not(part.on(id)?),
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
            Node::Not(part) => part.domains(),
            Node::SignedIn | Node::Role(_) | Node::Factor { .. } | Node::Custom { .. } => {
                Vec::new()
            }
        }
    }

    fn asks_for_factor(&self) -> bool {
        match &*self.0 {
            Node::Factor { .. } => true,
            Node::All(parts) | Node::Any(parts) => parts.iter().any(Self::asks_for_factor),
            Node::Not(part) => part.asks_for_factor(),
            Node::SignedIn | Node::Permission(_) | Node::Role(_) | Node::Custom { .. } => false,
        }
    }

    /// How this identity stands to it. No allocation, no I/O.
    pub(crate) fn check(&self, identity: &Identity) -> Outcome {
        let met = |met| if met { Outcome::Met } else { Outcome::Denied };
        match &*self.0 {
            Node::SignedIn => Outcome::Met,
            Node::Permission(atoms) => met(identity.allows(atoms)),
            Node::Role(name) => met(identity.has_role(name)),
            Node::Factor { factor, within } => match passed(identity, *factor, *within) {
                true => Outcome::Met,
                false => Outcome::StepUp,
            },
            Node::All(parts) => {
                parts.iter().map(|part| part.check(identity)).min().unwrap_or(Outcome::Denied)
            }
            Node::Any(parts) => {
                parts.iter().map(|part| part.check(identity)).max().unwrap_or(Outcome::Denied)
            }
            Node::Not(part) => met(part.check(identity) == Outcome::Denied),
            Node::Custom { holds, .. } => met(holds(identity)),
        }
    }

    /// What would meet it, for an identity that has to step up.
    pub(crate) fn step_up(&self, identity: &Identity) -> StepUp {
        let mut needed = StepUp::default();
        self.collect(identity, &mut needed);
        needed.factors.sort_unstable();
        needed.factors.dedup();
        needed
    }

    fn collect(&self, identity: &Identity, needed: &mut StepUp) {
        if self.check(identity) != Outcome::StepUp {
            return;
        }
        match &*self.0 {
            Node::Factor { factor, within } => {
                needed.factors.extend(*factor);
                needed.max_age = match (needed.max_age, *within) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            Node::All(parts) => parts.iter().for_each(|part| part.collect(identity, needed)),
            // One way is enough to tell.
            Node::Any(parts) => {
                let way = parts.iter().find(|part| part.check(identity) == Outcome::StepUp);
                if let Some(part) = way {
                    part.collect(identity, needed);
                }
            }
            _ => {}
        }
    }

    /// How this identity stands to it, and what decided, part by part.
    pub(crate) fn explain(&self, identity: &Identity) -> Explanation {
        let parts = match &*self.0 {
            Node::All(parts) | Node::Any(parts) => {
                parts.iter().map(|part| part.explain(identity)).collect()
            }
            Node::Not(part) => vec![part.explain(identity)],
            _ => Vec::new(),
        };
        Explanation {
            rule: self.to_string(),
            outcome: self.check(identity),
            because: self.because(identity),
            parts,
        }
    }

    fn because(&self, identity: &Identity) -> String {
        match &*self.0 {
            Node::SignedIn => "someone is signed in".to_owned(),
            Node::Permission(atoms) => because_permission(atoms, identity),
            Node::Role(name) if identity.has_role(name) => "the account has this role".to_owned(),
            Node::Role(name) if identity.grants().has_role(name) => {
                "the account has this role, but the session's ceiling does not cover it".to_owned()
            }
            Node::Role(_) => "the account does not have this role".to_owned(),
            Node::Factor { factor, .. } => because_factor(*factor, identity),
            Node::All(_) => "the worst of its parts".to_owned(),
            Node::Any(_) => "the best of its parts".to_owned(),
            Node::Not(_) => "the opposite of its part".to_owned(),
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

fn because_permission(atoms: &Atoms, identity: &Identity) -> String {
    let mut reasons = Vec::new();
    for atom in atoms.iter() {
        let uncovered = identity.ceiling().is_some_and(|c| c.grant_for(atom).is_none());
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
            Node::Not(part) => write!(f, "not({part})"),
            Node::Custom { name, .. } => write!(f, "custom({name})"),
        }
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Requirement({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::account::Account;
    use crate::base::clock::Timestamp;
    use crate::base::factor::PassedFactors;
    use crate::base::id::{AccountId, LineageId, SessionId};
    use crate::identity::IdentityData;
    use crate::permission::{GrantRow, Grants, Levels, RoleRow};
    use crate::session::judge::SessionState;
    use crate::session::{Session, Stage, Transport};

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    /// Someone with the role `editor` (`doc:read`), who showed a password ten minutes ago.
    fn editor() -> Identity {
        let state = SessionState {
            id: SessionId::new(NOW),
            lineage_id: LineageId::new(NOW),
            account_id: Some(AccountId::new(NOW)),
            account_epoch: 0,
            stage: Stage::Full,
            generation: 0,
            rotated_at: NOW,
            used_at: None,
            previous_used_at: None,
            created_at: NOW,
            expires_at: NOW.plus(minutes(60)),
            idle: minutes(60),
            persistent: true,
            factors: PassedFactors::one(Factor::Password, NOW.minus(minutes(10))),
            ceiling: None,
            address: None,
            user_agent: None,
            ended: None,
            suspicious: false,
        };
        let account = Account {
            id: AccountId::new(NOW),
            username: None,
            email: None,
            phone: None,
            superuser: false,
            epoch: 0,
            grants_version: 0,
            enrolled: [].into_iter().collect(),
            verified_at: None,
            disabled_at: None,
            deleted_at: None,
            rate_limit: None,
        };
        let role = RoleRow {
            name: "editor".to_owned(),
            permissions: "doc:read".to_owned(),
            requires_factor: false,
            max_idle: None,
        };
        let row = GrantRow::Role { role, resource: String::new(), resource_id: String::new() };
        Identity(Arc::new(IdentityData {
            session: Session {
                state: Arc::new(state),
                transport: Transport::Cookie,
                just_rotated: false,
            },
            account: Arc::new(account),
            grants: Arc::new(Grants::compile([row], Levels::new(&BTreeMap::new()))),
            ceiling: None,
            resolved_at: NOW,
        }))
    }

    fn permission(text: &str) -> Requirement {
        Requirement::permission(text).expect("a permission")
    }

    /// A requirement as plain data, for the naive evaluator.
    #[derive(Debug, Clone)]
    enum Plain {
        Leaf(u8),
        All(Vec<Plain>),
        Any(Vec<Plain>),
        Not(Box<Plain>),
    }

    /// Leaves 0 to 2 are met, 3 to 5 denied, 6 and 7 ask for a step-up.
    fn leaf(number: u8) -> Requirement {
        match number {
            0 => permission("doc:read"),
            1 => Requirement::role("editor"),
            2 => Requirement::factor_within(Factor::Password, minutes(11)),
            3 => permission("doc:write"),
            4 => Requirement::role("admin"),
            5 => Requirement::custom("never", |_| false),
            6 => Requirement::within(minutes(10)),
            _ => Requirement::factor(Factor::Totp),
        }
    }

    fn build(plain: &Plain) -> Result<Requirement, RequirementError> {
        let each = |parts: &[Plain]| parts.iter().map(build).collect::<Result<Vec<_>, _>>();
        match plain {
            Plain::Leaf(number) => Ok(leaf(*number)),
            Plain::All(parts) => Requirement::all(each(parts)?),
            Plain::Any(parts) => Requirement::any(each(parts)?),
            Plain::Not(part) => Requirement::not(build(part)?),
        }
    }

    /// -1 denied, 0 step-up, 1 met; none where it must be refused.
    fn naive(plain: &Plain) -> Option<i8> {
        match plain {
            Plain::Leaf(0..=2) => Some(1),
            Plain::Leaf(3..=5) => Some(-1),
            Plain::Leaf(_) => Some(0),
            Plain::All(parts) => {
                parts.iter().map(naive).collect::<Option<Vec<_>>>()?.into_iter().min()
            }
            Plain::Any(parts) => {
                parts.iter().map(naive).collect::<Option<Vec<_>>>()?.into_iter().max()
            }
            Plain::Not(part) => naive(part).filter(|_| !mentions_factor(part)).map(|value| -value),
        }
    }

    fn mentions_factor(plain: &Plain) -> bool {
        match plain {
            Plain::Leaf(number) => matches!(number, 2 | 6..),
            Plain::All(parts) | Plain::Any(parts) => parts.iter().any(mentions_factor),
            Plain::Not(part) => mentions_factor(part),
        }
    }

    fn reversed(plain: &Plain) -> Plain {
        let turn = |parts: &[Plain]| parts.iter().rev().map(reversed).collect();
        match plain {
            Plain::All(parts) => Plain::All(turn(parts)),
            Plain::Any(parts) => Plain::Any(turn(parts)),
            Plain::Not(part) => Plain::Not(Box::new(reversed(part))),
            Plain::Leaf(number) => Plain::Leaf(*number),
        }
    }

    fn plain() -> impl Strategy<Value = Plain> {
        (0u8..8).prop_map(Plain::Leaf).prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Plain::All),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Plain::Any),
                inner.prop_map(|part| Plain::Not(Box::new(part))),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_naive_evaluator_in_any_order(plain in plain()) {
            let identity = editor();
            let outcome = build(&plain).ok().map(|requirement| requirement.check(&identity) as i8 - 1);
            prop_assert_eq!(outcome, naive(&plain));
            let turned = build(&reversed(&plain)).ok();
            prop_assert_eq!(turned.map(|turned| turned.check(&identity) as i8 - 1), outcome);
        }
    }

    #[test]
    fn an_age_is_counted_to_its_exact_moment() {
        let identity = editor();
        let at = |age| Requirement::within(age).check(&identity);
        assert_eq!(at(minutes(10)), Outcome::StepUp);
        assert_eq!(at(minutes(10) + Duration::from_millis(1)), Outcome::Met);
    }

    #[test]
    fn a_step_up_names_what_is_missing_and_nothing_else() {
        let identity = editor();
        let requirement = Requirement::all([
            permission("doc:read"),
            Requirement::factor(Factor::Totp),
            Requirement::within(minutes(5)),
            Requirement::factor_within(Factor::Password, minutes(60)),
        ])
        .expect("a list");
        let needed = requirement.step_up(&identity);
        assert_eq!(needed.factors, [Factor::Totp]);
        assert_eq!(needed.max_age, Some(minutes(5)));
    }

    #[test]
    fn an_explanation_names_the_grant_or_the_age_that_decided() {
        let identity = editor();
        let requirement = Requirement::any([
            permission("doc:write"),
            Requirement::all([permission("doc:read:7"), Requirement::within(minutes(5))])
                .expect("a list"),
        ])
        .expect("a list");
        let text = identity.explain(&requirement).to_string();
        for part in ["no grant implies `doc:write`", "`doc:read` implies `doc:read:7`", "600 s ago"]
        {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn an_id_narrows_every_permission_and_never_stands_for_an_action() {
        let narrowed = |requirement: Requirement, id| requirement.on(id).map(|r| r.to_string());
        let both = Requirement::all([permission("doc:read"), Requirement::role("x")]);
        assert_eq!(
            narrowed(both.expect("a list"), "7").expect("an id"),
            "all(permission(doc:read:7), role(x))"
        );
        assert_eq!(narrowed(permission("doc"), "read").expect("an id"), "permission(doc:*:read)");
        assert!(narrowed(permission("doc:read"), "*").is_err());
    }
}
