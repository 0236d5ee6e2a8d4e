//! The guide: how to do things, and why they are as they are. Pages without code.
//!
//! | page | answers |
//! |---|---|
//! | [`start`] | what to add to an axum service, and what it can do then |
//! | [`sessions`] | how sessions and tokens work, and how to make one in a handler of your own |
//! | [`existing_users`] | you already have a users table |
//! | [`from_axum_login`] | coming from axum-login, trait by trait |
//! | [`guards`] | how a route says who may call it |
//! | [`permissions`] | how people come to their permissions: roles, groups, levels |
//! | [`backups`] | restoring a backup: what comes back to life, and how it is ended |
//! | [`defaults`] | every default, with its reason and source |
//! | [`errors`] | every error code, its status and when it comes |
//! | [`deployment`] | secrets, proxies, several nodes, outages |
//! | [`lockout`] | failed sign-ins: what a guesser meets, and what an honest user under attack |
//! | [`mail`] | mail and text messages: setting them up, in your own words |
//! | [`operating`] | every finding and warning: what it means, and what to do |
//! | [`testing`] | tests of your own service |
//! | [`threats`] | published holes of systems of this kind, and what they would need here |
//! | [`verification`] | how addresses are proved, and how accounts that somebody else prepared come to nothing |
//!
//! The manual of each capability is on the page of its module.

pub mod backups;
pub mod defaults;
pub mod deployment;
pub mod errors;
pub mod existing_users;
pub mod from_axum_login;
pub mod guards;
pub mod lockout;
pub mod mail;
pub mod operating;
pub mod permissions;
pub mod sessions;
pub mod start;
pub mod testing;
pub mod threats;
pub mod verification;
