//! The guide: how to do things, and the reasons behind them.
//!
//! # I want to …
//!
//! | begin | page |
//! |---|---|
//! | add accounts to an axum service | [`start`] |
//! | see every route, and who may call it | [`routes`] |
//! | use my existing users table | [`existing_users`] |
//! | use it in a service on sqlx, without sea-orm | [`sqlx`] |
//! | move from axum-login | [`from_axum_login`] |
//!
//! | build | page |
//! |---|---|
//! | state who may call a route, and send people to a login page | [`guards`] |
//! | render pages on the server, without a script | [`server_pages`] |
//! | serve a single-page application from another port or host | [`single_page`] |
//! | let mobile apps sign in, or use bearer tokens | [`bearer`] |
//! | let people consent to one action, such as a payment, that then happens once | [`action_proof`](crate::action_proof) |
//! | let people sign in a television, a command-line program or an agent from their phone | [`device_login`] |
//! | make a copy of a device's token useless | [`dpop`](crate::dpop) |
//! | let people sign in by a mailed link or code | [`mail_login`](crate::mail_login) |
//! | ask for a second factor: authenticator apps, recovery codes, mailed or texted codes; require one of administrators | [`second_factor`](crate::second_factor) |
//! | let people sign in with passkeys, without a password | [`passkeys`] |
//! | let people sign in with Google, GitHub, their company or another provider | [`providers`] |
//! | check a factor of my own, such as a card or a key | [`second_factor`](crate::second_factor#a-factor-of-your-own) |
//! | let programs act for an account | [`api_key`](crate::api_key) |
//! | let a browser skip the second factor for 30 days | [`trusted_device`](crate::trusted_device) |
//! | make repeated requests of strangers more expensive | [`captcha`](crate::captcha) |
//! | help people who have lost their phone, mailbox or everything | [`lost_access`] |
//! | let people close, reopen and export their account | [`own_account`](crate::own_account) |
//! | give roles, groups and levels | [`permissions`] |
//! | let people edit and share their own rows | [`rows_with_owners`] |
//! | separate the members and rows of my customers (tenants) | [`tenants`] |
//! | understand sessions, start one in my own handler, or keep a WebSocket open | [`sessions`] |
//! | run a background job for a person | [`jobs`] |
//! | make a page for administrators: accounts, roles, sessions | [`admin_page`] |
//! | send mails and text messages | [`mail`] |
//! | decide who may register, or invite people | [`registration_modes`] |
//! | run my own code in a registration, a sign-in or another change | [`hook`](crate::hook) |
//! | verify addresses | [`verification`] |
//! | know what failed sign-ins mean for attackers and for people | [`lockout`] |
//! | test my service | [`testing`] |
//!
//! | run | page |
//! |---|---|
//! | set up secrets, the database and cookies for production | [`deployment`] |
//! | put it behind nginx or Caddy, or under a path prefix | [`proxies`] |
//! | run more than one node, or release without downtime | [`nodes`] |
//! | create the tables, or upgrade to a new version | [`migrations`] |
//! | use PgBouncer | [`pgbouncer`] |
//! | delete old rows | [`housekeeping`] |
//! | know what is kept about people, erase it, or export it | [`personal_data`] |
//! | make and restore backups | [`backups`] |
//! | collect logs and metrics, and set alerts | [`telemetry`] |
//! | know what a finding, a warning or an event means | [`operating`] |
//!
//! | look up | page |
//! |---|---|
//! | every default value, with its reason and source | [`defaults`] |
//! | every error code | [`errors`] |
//! | published vulnerabilities of similar systems, and how portcullis prevents them | [`threats`] |
//!
//! The manual of each capability is the page of its module.
//!
//! # Terms
//!
//! | term | meaning |
//! |---|---|
//! | account | what a person signs in to; it has sign-in names, usually a password, and permissions |
//! | login name | a username or mail address that identifies an account at sign-in; a phone number belongs to an account too, but nobody signs in with it |
//! | main address | the mail address in the account itself, not one that was added as a further login name |
//! | visitor | a client with an anonymous session, which has no account |
//! | source | the network address of a client; IPv6 addresses count by their /64 network |
//! | known device | a browser or program that has signed in to the account before |
//! | API key | a secret with which a program acts for an account, within its scopes |
//! | principal | who acts in a request: a person with a session, or a program with an API key |
//! | trusted device | a browser or program that skips the second factor, because its owner asked for it |
//! | flow | what one route does, for example a login; you can also call it as a method |
//! | factor | a way to show who you are, such as a password or a code from an authenticator app |
//! | second factor | a factor in addition to the first step of a sign-in |
//! | factor of your own | a second factor that your application checks, such as a printed card; requests and answers call it `external` |
//! | authenticator | an app that shows codes (TOTP) |
//! | passkey | a key in a phone, computer or security key that signs in at one domain (WebAuthn) |
//! | enrolment | setting up a second factor; the codes `enrolment_required` and `enrol` mean this |
//! | unfinished sign-in | the person has passed one step and needs another one; it is not a session |
//! | verified address | an address or number whose owner has shown once that they read what is sent to it |
//! | proving the mailbox | showing this again now, with a mailed code or a sign-in by mail |
//! | step-up | passing a factor again, or another factor, before a sensitive action |
//! | stage | how far a sign-in is: full, or unfinished, because it still needs a factor, a new password or the set-up of a factor |
//! | ceiling | the permissions that a limited session may use at most |
//! | lineage | the sessions that replaced one another; they share a `lineage_id` |
//! | generation | the number of a token within its session; it increases when the token is replaced |
//! | epoch | a counter of the account; when it increases, all earlier sessions are invalid |
//! | grant | a role, permission, group or level that was given to an account |
//! | level | a role on one resource, in an order, such as viewer, editor, owner |
//! | challenge | a code or link that must be answered before an action |
//! | finding | a problem in the set-up or the traffic that the service reports to its operator |
//! | node | one process of your service |

pub mod admin_page;
pub mod backups;
pub mod bearer;
pub mod defaults;
pub mod deployment;
#[cfg(feature = "routes")]
pub mod device_login;
pub mod errors;
pub mod existing_users;
pub mod from_axum_login;
pub mod guards;
pub mod housekeeping;
pub mod jobs;
pub mod lockout;
#[cfg(feature = "routes")]
pub mod lost_access;
pub mod mail;
pub mod migrations;
pub mod nodes;
pub mod operating;
#[cfg(all(feature = "passkey", feature = "routes"))]
pub mod passkeys;
pub mod permissions;
pub mod personal_data;
pub mod pgbouncer;
#[cfg(all(feature = "federation", feature = "routes"))]
pub mod providers;
pub mod proxies;
pub mod registration_modes;
pub mod routes;
pub mod rows_with_owners;
#[cfg(feature = "routes")]
pub mod server_pages;
pub mod sessions;
#[cfg(feature = "routes")]
pub mod single_page;
pub mod sqlx;
pub mod start;
pub mod telemetry;
pub mod tenants;
pub mod testing;
pub mod threats;
pub mod verification;
