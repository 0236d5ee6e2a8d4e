//! Questions of a menu: what may this session do?

use std::time::Duration;

use crate::base::factor::Factor;
use crate::base::problem::problem;
use crate::guard::{Outcome, Requirement};
use crate::identity::{Identity, StepUp};
use crate::permission::PermissionError;

/// The maximum number of questions at once.
pub const MAX_QUESTIONS: usize = 64;

/// A question of a menu: would this session pass a guard?
///
/// ```
/// use std::time::Duration;
///
/// use portcullis::Factor;
/// use portcullis::own_session::Question;
///
/// let edit = Question::new("doc:edit").on("42");
/// let pay = Question::new("account:transfer")
///     .factor(Factor::Totp)
///     .within(Duration::from_secs(300));
/// # let _ = (edit, pay);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Question {
    permission: String,
    id: Option<String>,
    factor: Option<Factor>,
    within: Option<Duration>,
}

impl Question {
    /// Asks for a permission. A list (`doc:read,write`) asks for all of its entries.
    pub fn new(permission: impl Into<String>) -> Self {
        Self { permission: permission.into(), id: None, factor: None, within: None }
    }

    /// Asks about one instance, as [`Requirement::on`] does.
    pub fn on(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Asks for this factor too, as [`Requirement::factor`] does.
    pub fn factor(mut self, factor: Factor) -> Self {
        self.factor = Some(factor);
        self
    }

    /// Limits the age of the factor: of the one in [`factor`](Self::factor), or of any factor.
    pub fn within(mut self, age: Duration) -> Self {
        self.within = Some(age);
        self
    }

    fn requirement(&self) -> Result<Requirement, PermissionError> {
        let permission = Requirement::permission(&self.permission)?;
        let permission = match &self.id {
            Some(id) => permission.on(id)?,
            None => permission,
        };
        let factor = match (self.factor, self.within) {
            (None, None) => return Ok(permission),
            (Some(factor), None) => Requirement::factor(factor),
            (Some(factor), Some(age)) => Requirement::factor_within(factor, age),
            (None, Some(age)) => Requirement::within(age),
        };
        Ok(Requirement::all([permission, factor]).expect("a list of two is not empty"))
    }
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The session may do it.
    Met,
    /// The session may do it after this step-up.
    StepUp(StepUp),
    /// The session may not do it, and no factor would change that.
    Denied,
}

/// The reason why questions are not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MayError {
    /// More than [`MAX_QUESTIONS`].
    #[error("ask at most {MAX_QUESTIONS} questions at once")]
    TooMany,
    /// A question is not about a permission, or its id is not a possible id.
    #[error("questions[{index}]: {error}")]
    Invalid {
        /// The index of the question, counted from 0.
        index: usize,
        /// What is wrong with it.
        error: PermissionError,
    },
}

problem! {
    MayError {
        Self::TooMany => UNPROCESSABLE_ENTITY, "too_many_questions";
        Self::Invalid { .. } => UNPROCESSABLE_ENTITY, "invalid_permission";
    }
    passes on {  }
    members {
        Self::Invalid { index, .. } => {
            serde_json::Map::from_iter([("question".to_owned(), (*index).into())])
        },
    }
}

impl Identity {
    /// Answers the questions of a menu, in their order, as a guard would decide. The ceiling of a
    /// limited session applies. It runs no statement, and records no denials.
    ///
    /// # Errors
    /// More than [`MAX_QUESTIONS`]; a text that is not a permission, or that asks for more than 64
    /// permissions; an id that is not possible. The error says which question.
    pub fn may(&self, questions: &[Question]) -> Result<Vec<Answer>, MayError> {
        if questions.len() > MAX_QUESTIONS {
            return Err(MayError::TooMany);
        }
        let answer = |(index, question): (usize, &Question)| {
            let requirement =
                question.requirement().map_err(|error| MayError::Invalid { index, error })?;
            Ok(match self.check(&requirement) {
                Outcome::Met => Answer::Met,
                Outcome::StepUp => Answer::StepUp(requirement.step_up(self)),
                Outcome::Denied => Answer::Denied,
            })
        };
        questions.iter().enumerate().map(answer).collect()
    }
}
