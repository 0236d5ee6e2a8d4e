//! The lowest layer: clock, ids, secrets, tokens, clients, problems and transactions. Nothing here
//! knows a database table.

pub(crate) mod announcement;
pub mod client;
pub mod clock;
pub(crate) mod column;
pub mod event;
pub mod factor;
pub(crate) mod guessable;
pub mod id;
pub mod invalid_field;
pub mod jwk_thumbprint;
pub mod jwt;
pub mod page;
pub mod problem;
pub(crate) mod public_url;
pub mod rate;
pub mod redirect;
pub mod same_origin;
pub(crate) mod seal;
pub mod secret;
pub mod transaction;
