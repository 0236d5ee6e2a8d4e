//! What several flows share: an attempt at a password, the end of a sign-in, a new account, and the
//! proof of an address. The first proof of an address may hand the account over to another person.
//!
//! This module is private. A capability that signs people in identifies the account, and passes the
//! rest to [`sign_in`].

pub(crate) mod address;
pub(crate) mod enrolling;
pub(crate) mod factor_undo;
pub(crate) mod factors;
pub(crate) mod hand_over;
pub(crate) mod new_account;
pub(crate) mod password_attempt;
pub(crate) mod sign_in;
pub(crate) mod way_back;
