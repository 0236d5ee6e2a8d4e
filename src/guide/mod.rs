//! The guide: how to do things, and the reasons behind them. These pages contain no code items.
//!
//! | page | what it explains |
//! |---|---|
//! | [`start`] | what to add to an axum service, and which routes you get |
//! | [`sessions`] | how sessions and tokens work, and how to start one in your own handler |
//! | [`existing_users`] | how to move from a users table that you already have |
//! | [`from_axum_login`] | how to move from axum-login, trait by trait |
//! | [`guards`] | how a route states who may call it |
//! | [`permissions`] | how accounts get their permissions: roles, groups, levels |
//! | [`backups`] | what a restored backup brings back, and how to end it |
//! | [`defaults`] | every default value, with its reason and source |
//! | [`errors`] | every error code, its status and its cause |
//! | [`deployment`] | secrets, proxies, several nodes, outages |
//! | [`lockout`] | failed sign-ins: the effect on attackers and on legitimate users |
//! | [`mail`] | mail and text messages: the set-up and your own templates |
//! | [`operating`] | every finding and warning: what it means, and what to do |
//! | [`testing`] | how to test your own service |
//! | [`threats`] | published vulnerabilities of similar systems, and how portcullis prevents them |
//! | [`verification`] | how addresses are verified, and how this stops accounts that an attacker prepared |
//!
//! The manual of each capability is the page of its module.

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
