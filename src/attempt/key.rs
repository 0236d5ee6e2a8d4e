//! What attempts are counted by.

use std::time::Duration;

use crate::config::AttemptKind;

/// The part of what is counted with the rest of its subject and kind.
pub(crate) const WHOLE: i64 = 0;

/// The part of refused tries: on record, and in no count of a subject.
pub(crate) const REFUSED: i64 = -1;

/// The number of the one row that a try touches which leaves no record. Others count from 1.
pub(crate) const TOUCHED: i64 = 0;

/// The reason in the event of a refused try.
pub(crate) const TOO_MANY_ATTEMPTS: &str = "too_many_attempts";

/// One line of tries: what is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) subject: [u8; 32],
    pub(crate) kind: AttemptKind,
    pub(crate) part: i64,
}

/// One row: a try in a line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Taken {
    pub(crate) key: Key,
    pub(crate) number: i64,
}

/// The rule for one source.
pub(crate) struct SourceRule<'a> {
    pub(crate) source: &'a str,
    pub(crate) limit: u32,
    pub(crate) window: Duration,
}
