//! The integration tests: one binary, one file a capability, each test on every database.

mod login;
mod support;
