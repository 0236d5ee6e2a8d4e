//! What every flow repeats, once: an attempt at a password, how a way to sign in ends, and how an address
//! is proved.
//!
//! It is private. A capability that signs people in finds out who somebody is and hands the rest to
//! [`sign_in`].

pub(crate) mod address;
pub(crate) mod password_attempt;
pub(crate) mod sign_in;
