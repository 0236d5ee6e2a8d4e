//! What an operator should watch: every finding and warning, what it means, and what to do.
//!
//! A *finding* is something the service noticed about its own set-up or about the traffic it gets. It is
//! logged once as a warning with a stable `code`, and it stays in
//! [`findings`](crate::Portcullis::findings) for a health page. An *event* is one line of the audit log.
//!
//! # Findings
//!
//! | code | what it means | what to do |
//! |---|---|---|
