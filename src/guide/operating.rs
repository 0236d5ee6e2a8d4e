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
//! | `password_spraying` | many sign-ins fail on this node that no limit of one account or one source stops: three times the usual share of a ten-minute window, or fifty different names from one network (IPv4 /24, IPv6 /48). Logged once; each window in which it goes on is an event `authn_spraying_suspected`, whose detail says what was seen, and a call of [`OnSuspicion`](crate::port::OnSuspicion). Each node judges what it serves itself, and forgets it when it restarts | look at `authn_login_fail` of those minutes: which networks, which names. If one network stands out, block it in front. If passwords from a breach are tried, ask for a second factor and switch on [`breached_list`](crate::Builder::breached_list). Where a new client of your own fails, mend it. `attempts.watch` has the thresholds |
//! | `guard_misconfigured` | a guard can decide nothing and answers 500: its path has the parameter of `on_path` not at all or twice, or `not(..)` or `role(..)` is asked of one instance | mend the route that the text names |
//! | `cross_site_requests_refused` | twenty requests in ten minutes were refused as sent by a page of another site; the text names what was compared | if they are your own pages: set `service.public_url` to what people see in the address bar, keep `Host` at the proxy, or list the page's origin in `service.trusted_origins`. Otherwise somebody tries, and is kept out |
//! | `several_credentials_refused` | twenty requests in ten minutes carried two credentials of ours | let the client send the cookie or the bearer token; give each service on one host a `cookie.name` of its own |
//! | `forms_without_origin_refused` | twenty forms in ten minutes showed no page of ours that sent them | as for `cross_site_requests_refused`; a proxy may also remove `Origin` |
//! | `hook_timeout` (a warning) | A hook of the application ran for longer than `database.hook_timeout`. Its request was rolled back and answered 503. | Do not wait for other services inside a hook. A hook that needs longer can be given more time, but others may wait for the locks of its transaction meanwhile; on SQLite all who write do. |
//! | `route_panicked` (an error) | A mounted route panicked and answered 500 `internal_error`. | The panic itself is on the standard error output, unless a panic hook sends it elsewhere. It is a fault of a hook, a `session_info`, or of portcullis: please report the last. |
