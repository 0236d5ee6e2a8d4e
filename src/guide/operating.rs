//! What an operator should watch: every finding and warning, what it means, and what to do.
//!
//! A *finding* is something the service noticed about its own set-up or about the traffic it gets. It is
//! logged once as a warning with a stable `code`, and it stays in
//! [`audit`](crate::Portcullis::audit) for a health page. An *event* is one line of the audit log.
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
//! | `no_public_url` | `service.public_url` is not set: tokens name the issuer `portcullis`, and links cannot be built. | Set it, also where no mail is sent: two services with one secret would take each other's tokens. |
//! | `insecure_cookies` | Cookies are sent without `Secure` and without the `__Host-` prefix: anyone on the network can take a session. | Serve https and switch `cookie.danger_insecure_http_cookies` off. |
//! | `same_site_none` | Cookies are sent with requests from every site; only the same-origin check stands between. | Use `Lax`, unless the service must work inside pages of other sites. |
//! | `password_alone_below_15` | `password.min_length` is below 15, which NIST SP 800-63B-4 asks for where a password is the only factor. | Raise it, or require a second factor. |
//! | `proxy_trusts_everyone` | `proxies.networks` trusts every address: anyone can claim any source, and rules about sources are worth nothing. | List the proxies alone. |
//! | `lockout_revealed` | `attempts.reveal_lockout` is on: a guesser learns when they are locked out and when to come back. | Switch it off, unless your users need it more. |
//! | `binding_off` | `session.binding` is off: a session that moves to another network and browser leaves no trace. | Use `log`, the default. |
//! | `no_peer_address` | Requests come without the address of their client: rules about sources are off. | Serve with `into_make_service_with_connect_info::<SocketAddr>()`, or insert `PeerAddr`. |
//! | `forwarded_without_proxy` | Requests carry a forwarding header, and no proxy is configured: all clients may seem to be one. | List the proxy in `proxies.networks`, or have it drop the header. |
//! | `malformed_permissions` | Stored permissions cannot be read and grant nothing. | Somebody wrote them by SQL: correct the rows that the text names. |
//! | `unknown_permissions` | Stored permissions mention what no code asks for. | A typing error, or the code that asked is gone: correct or revoke them. |
//! | `password_reset_without_notifier` | The routes of a lost password are mounted, and nothing can send mail: nobody gets a link. | Give the builder a notifier, or leave the routes out. |
//! | `maintenance_overdue` | This process has served for three days, and maintenance ran nowhere in that time: tables grow without end. | Spawn `auth.maintenance().every(..)`, or have a scheduler call `auth.maintenance().run()`. If it is called, look for its errors. |
//!
//! # Warnings and errors in the log
//!
//! All have the target `portcullis`. Events have `portcullis::event` and are described at
//! [`EventKind`](crate::EventKind).
//!
//! | text | what it means | what to do |
//! |---|---|---|
//! | "request failed" | An answer with a status of 5xx; `error` says why, which the client is not told. | Look at the database, the store of rates or the hook that `error` names. |
//! | "asked for instances of no permission" | The code calls `identity.instances(..)` with a text that is no permission; it gets none. | Correct the text in the code. |
//! | "the store of rates cannot be asked: each node counts by itself, more strictly" | Redis or the database did not answer in time. | Look at the store. Until it is back, clients get a quarter of every quota from each node. |
//! | "an event could not be written" | An event of a refused request is missing in `auth_event`. It was traced. | Look at the database. |
//! | "denials could not be counted" | The same for the counts of denials. | Look at the database. |
//! | "a role is named like a level and is not seen under its name" | A role's name could be that of a level on one resource, so it is not told as a role. | Rename the role. |
//! | "a level that is not configured gives nothing" | A membership has a level that `permission.levels` does not know (any more). | Configure it again, or remove those memberships. |
//! | "a stored permission grants nothing" | A permission in a row cannot be read. | As `malformed_permissions` above. |
//! | "memberships could not be refreshed and stay as they were" | The source of memberships failed or took too long at a sign-in. | Look at the source; until then people have the levels of their last refresh. |
//! | "the source named resources that are none, or levels that are not configured" | Some of what the source says was left out. | Correct the source, or configure the levels. |
//! | "a proof was not asked for again" | Somebody with the right password and an address that is not proved got no mail. | Look at the database. |
//! | "the outbox cannot be read" | Messages wait. | Look at the database; they leave when it is back. |
//! | "a template failed" | A template of yours cannot be filled; the message is given up. | Correct the template: `build()` found nothing wrong with made-up values. |
//! | "a message could not be sent" | The mail server refused or did not answer. It is tried again; when it is given up there is an event `message_failed`. | Look at the mail server. |
//! | "the list of breached passwords could not be asked" | New passwords are taken without that list, or refused, as `password.breached_outage` says. | Look at the list. |
//! | "a stored password is unusable" | An account's hash cannot be verified; `reason` says why: a pepper that is not configured, too much work, a broken text. Its owner sees a wrong password. | Configure the pepper again, or tell the owner to reset the password. |
//! | "maintenance failed and is tried again" | A run ended with an error. | Look at the database. |
//! | "an account that was never proved stays: a table of the application points to it without ON DELETE CASCADE" | The key of one of your tables kept maintenance from removing it. | Add `ON DELETE CASCADE`, or remove such accounts yourself. |
//! | "the hook of suspicions failed", "the hook of suspicions did not end in time" | The hook that is told of suspicious traffic gave an error, or ran for too long. The finding and the event are there all the same. | Look at the hook. |
//! | "a mounted route panicked" | See `route_panicked` above. | As there. |
//! | "a hook took too long" | See `hook_timeout` above. | As there. |
//! | `no_peer_address` | The server does not tell the address of clients. All of them count together as `rate.unknown_sources` sources, and failed tries are not counted by source at all. | Serve with `into_make_service_with_connect_info::<SocketAddr>()`, or insert `portcullis::PeerAddr` into each request. |
//! | `excess_rate_limit_exceeded` (an event, once a minute for a rule and subject) | Somebody is above a limit. The detail names it: `source`, `account`, `login`, `anonymous`, `registrations` (a source registers too often), `messages` (a source asks for too much mail) or `taken_names` (a source tries out which names are taken). | One source: block it in front, or leave it to the limit. Many sources, all the same rule: compare the limit with what honest people do, on the page of defaults. |
//! | `user_create_fail` (an event) | Somebody tried to register with a name of an account; the account and the source are in the event. | A few are people who forgot that they have an account. Hundreds from one source are a list that is tried out: strict registration tells nothing about addresses. |
//! | `clock_skew` | a token came that was issued more than 30 seconds in the future: a clock is, or was, wrong. Nobody is signed out for it | synchronize the clocks of all nodes; see how long they were apart, for events of that time have wrong times |
//! | `foreign_cookie` | a session cookie of this service's name was signed by something else: another service on the same host (cookies do not care about ports), or with a secret that was removed since | give one of the services another `cookie.name`; see [several services on one host](crate::guide::deployment#several-services-on-one-host) |
