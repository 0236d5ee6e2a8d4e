//! The guide: how to do things, and the reasons behind them.
//!
//! | page | what it explains |
//! |---|---|
//! | [`start`] | what to add to an axum service, and which routes you get |
//! | [`routes`] | every route: who may call it, what it takes, what it answers |
//! | [`sessions`] | how sessions and tokens work, and how to start one in your own handler |
//! | [`server_pages`] | pages without a script: forms, errors, links in mails |
//! | [`single_page`] | a single-page application on another port or host: CORS, cookies, a wrapper around `fetch` |
//! | [`bearer`] | mobile apps and bearer tokens |
//! | [`existing_users`] | how to move from a users table that you already have |
//! | [`from_axum_login`] | how to move from axum-login, trait by trait |
//! | [`guards`] | how a route states who may call it |
//! | [`permissions`] | how accounts get their permissions: roles, groups, levels |
//! | [`migrations`] | how the tables are created: several nodes, SQL files, new versions |
//! | [`sqlx`] | how to use portcullis in a service on sqlx |
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
//!
//! # Terms
//!
//! | term | meaning |
//! |---|---|
//! | account | what a person signs in to; it has sign-in names, usually a password, and permissions |
//! | login name | a username, mail address or phone number that identifies an account at sign-in |
//! | main address | the mail address in the account itself, not one that was added as a further login name |
//! | visitor | a client with an anonymous session, which has no account |
//! | source | the network address of a client; IPv6 addresses count by their /64 network |
//! | known device | a browser or program that has signed in to the account before |
//! | flow | what one route does, for example a login; you can also call it as a method |
//! | factor | a way to show who you are, such as a password or a code from an authenticator app |
//! | step-up | passing a factor again, or another factor, before a sensitive action |
//! | stage | how far a sign-in is: full, or still waiting for a factor or a new password |
//! | ceiling | the permissions that a limited session may use at most |
//! | lineage | the sessions that replaced one another; they share a `lineage_id` |
//! | generation | the number of a token within its session; it increases when the token is replaced |
//! | epoch | a counter of the account; when it increases, all earlier sessions are invalid |
//! | grant | a role, permission, group or level that was given to an account |
//! | level | a role on one resource, in an order, such as viewer, editor, owner |
//! | challenge | a code or link that must be answered before an action |
//! | finding | a problem in the set-up or the traffic that the service reports to its operator |
//! | node | one process of your service |

pub mod backups;
pub mod bearer;
pub mod defaults;
pub mod deployment;
pub mod errors;
pub mod existing_users;
pub mod from_axum_login;
pub mod guards;
pub mod lockout;
pub mod mail;
pub mod migrations;
pub mod operating;
pub mod permissions;
pub mod routes;
#[cfg(feature = "routes")]
pub mod server_pages;
pub mod sessions;
#[cfg(feature = "routes")]
pub mod single_page;
pub mod sqlx;
pub mod start;
pub mod testing;
pub mod threats;
pub mod verification;
