//! Codes and links that work once: what all flows share that send one.
//!
//! A challenge has a token of 256 random bits for a link, and sometimes a short code to type. The
//! row stores keyed digests of both, never the values. A token is found by its digest. A code is
//! compared in constant time with the only challenge to which it can belong, after an attempt was
//! counted.

mod attempt;
mod code;
mod digest;
pub(crate) mod entity;
mod proof;
mod row;
mod start;
pub(crate) mod store;

pub(crate) use attempt::{CodeAttempt, end_right, take_attempt_at};
pub(crate) use digest::{address_id, traces_of};
pub use proof::Proof;
pub(crate) use row::{
    Challenge, Tries, answered, end_by_session, end_of_account, find, find_by_proof, find_by_token,
    newest, was_used_by,
};
pub(crate) use start::{Answer, LONGEST_COOL_DOWN, Start, Started, start, start_if};
