//! What the user must prove in a step-up.

use std::time::Duration;

use crate::base::factor::Factor;

/// The next step towards a requirement that needs a step-up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StepUp {
    /// The factors of this account that would help. Proving one of them is the next step.
    /// Afterwards the same requirement may ask for another one.
    pub factors: Vec<Factor>,
    /// The factors that would help if the account enrolled one. Empty if the account already has
    /// one that helps.
    pub enrol: Vec<Factor>,
    /// The maximum age of the proof, if there is one.
    pub max_age: Option<Duration>,
}

impl StepUp {
    /// Either of two ways is enough. A way that is open to the account comes before one that is
    /// not.
    pub(crate) fn or(self, other: Self) -> Self {
        match (self.factors.is_empty(), other.factors.is_empty()) {
            (false, true) => self,
            (true, false) => other,
            _ => Self {
                factors: union(self.factors, other.factors),
                enrol: union(self.enrol, other.enrol),
                max_age: youngest(self.max_age, other.max_age),
            },
        }
    }

    /// Both are needed. Returns the factors that serve both, or else those of the first. What the
    /// account must enrol comes first, because nothing else helps.
    pub(crate) fn and(self, other: Self) -> Self {
        let max_age = youngest(self.max_age, other.max_age);
        if !self.enrol.is_empty() || !other.enrol.is_empty() {
            let enrol = union(self.enrol, other.enrol);
            return Self { factors: Vec::new(), enrol, max_age };
        }
        let both: Vec<_> =
            self.factors.iter().copied().filter(|one| other.factors.contains(one)).collect();
        let alone = if self.factors.is_empty() { other.factors } else { self.factors };
        let factors = if both.is_empty() { alone } else { both };
        Self { factors, enrol: Vec::new(), max_age }
    }
}

fn union(mut all: Vec<Factor>, more: Vec<Factor>) -> Vec<Factor> {
    all.extend(more);
    all.sort_unstable();
    all.dedup();
    all
}

fn youngest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
