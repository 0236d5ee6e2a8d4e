//! The keys by which attempts are counted.

use std::time::Duration;

use crate::config::AttemptKind;

/// The part of attempts in the general count of their subject and kind.
pub(crate) const WHOLE: i64 = 0;

/// The part of refused attempts, which are recorded but in no count of a subject.
pub(crate) const REFUSED: i64 = -1;

/// The number of the row that is touched by an attempt without a record. Records start at 1.
pub(crate) const TOUCHED: i64 = 0;

/// The reason in the event of a refused attempt.
pub(crate) const TOO_MANY_ATTEMPTS: &str = "too_many_attempts";

/// The key of one count: attempts with the same key are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) subject: [u8; 32],
    pub(crate) kind: AttemptKind,
    pub(crate) part: i64,
}

/// One row: an attempt and its number in a count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Taken {
    pub(crate) key: Key,
    pub(crate) number: i64,
}

/// The limit for one source.
pub(crate) struct SourceRule<'a> {
    pub(crate) source: &'a str,
    pub(crate) limit: u32,
    pub(crate) window: Duration,
}
