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
//! | `hash_queue_full` (a warning, once a minute) | More passwords wait to be hashed than one source or the queue may have, or they wait for longer than `password.hash_wait`. Those requests are answered 503 with `Retry-After`, and `hash_queue_full` is counted in the metrics. | A storm from one source: it delays itself and nobody else, so there is nothing to do. All clients seem to come from one address: list the proxy in `proxies.networks`. Many people at once: more cores, or `password.concurrent_hashes`. |
