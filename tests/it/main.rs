//! The integration tests: one binary, one file a capability, each test on every database.
#![expect(unreachable_pub, reason = "a test binary exports nothing")]

mod account;
mod account_import;
mod anonymous;
mod audit_log;
mod bad_input;
mod bootstrap;
mod budget;
mod challenge;
mod compile_fail;
mod config;
mod cookie;
mod csrf;
mod fuzz;
mod group;
mod guard;
mod hooks;
mod login;
mod membership;
mod metrics;
mod node;
mod outage;
mod own_session;
mod password;
mod password_change;
mod permission;
mod plain_tower;
mod race;
mod registration;
mod rotation;
mod schema;
mod session;
mod support;
mod tidy;
mod token;
