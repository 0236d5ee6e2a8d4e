//! What an operator should watch: every finding and warning and the events that matter, what they mean,
//! and what to do.
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
//! | `tries_overloaded` (a warning, once a minute) | Tries of one account or name wait for each other for longer than `database.timeout`. Those requests are answered 503 with `Retry-After`, and `tries_overloaded` is counted in the metrics. | One in a while: somebody sends many tries at one name at once; others are not delayed. If it goes on, the database is slow: look at it. |
//! | `password_spraying` | many sign-ins fail on this node that no limit of one account or one source stops: three times the usual share of a ten-minute window, or fifty different names from one network (IPv4 /24, IPv6 /48). Logged once; each window in which it goes on is an event `authn_spraying_suspected`, whose detail says what was seen, and a call of [`OnSuspicion`](crate::port::OnSuspicion). Each node judges what it serves itself, and forgets it when it restarts | look at `authn_login_fail` of those minutes: which networks, which names. If one network stands out, block it in front. If passwords from a breach are tried, ask for a second factor and switch on [`breached_list`](crate::Builder::breached_list). Where a new client of your own fails, mend it. `attempts.watch` has the thresholds |
//! | `guard_misconfigured` | a guard can decide nothing and answers 500: its path has the parameter of `on_path` not at all or twice, or `not(..)` or `role(..)` is asked of one instance | mend the route that the text names |
//! | `cross_site_requests_refused` | twenty requests in ten minutes were refused as sent by a page of another site; the text names what was compared, of the latest twenty | if they are your own pages: set `service.public_url` to what people see in the address bar, keep `Host` at the proxy, or list the page's origin in `service.trusted_origins`. Otherwise somebody tries, and is kept out |
//! | `several_credentials_refused` | twenty requests in ten minutes carried two credentials of ours | let the client send the cookie or the bearer token; give each service on one host a `cookie.name` of its own |
//! | `forms_without_origin_refused` | twenty forms in ten minutes showed no page of ours that sent them | as for `cross_site_requests_refused`; a proxy may also remove `Origin` |
//! | `hook_timeout` (a warning) | A hook of the application ran for longer than `database.hook_timeout`. Its request was answered 503, and its connection ended at the server, with all locks that it had. | Do not wait for other services inside a hook. A hook that needs longer can be given more time, but others may wait for the locks of its transaction meanwhile; on SQLite all who write do. |
//! | `route_panicked` (an error) | A mounted route panicked and answered 500 `internal_error`. | The panic itself is on the standard error output, unless a panic hook sends it elsewhere. It is a fault of a hook, a `session_info`, or of portcullis: please report the last. |
//! | `no_public_url` | `service.public_url` is not set: tokens name the issuer `portcullis`, and links cannot be built. | Set it, also where no mail is sent: two services with one secret would take each other's tokens. |
//! | `guessable_secret` | An older secret or a pepper was thought up: it can be guessed from one token, or from hashes that somebody got. | Put a random one before it. Remove an older secret when its sessions are over. Remove a pepper when its accounts have signed in again; those that have not need a new password then. |
//! | `insecure_cookies` | Cookies are sent without `Secure` and without the `__Host-` prefix: anyone on the network can take a session. | Serve https and switch `cookie.danger_insecure_http_cookies` off. |
//! | `same_site_none` | Cookies are sent with requests from every site; only the same-origin check stands between. | Use `Lax`, unless the service must work inside pages of other sites. |
//! | `password_alone_below_15` | `password.min_length` is below 15, which NIST SP 800-63B-4 asks for where a password is the only factor. | Raise it, or require a second factor. |
//! | `proxy_trusts_everyone` | `proxies.networks` trusts every address: anyone can claim any source, and rules about sources are worth nothing. | List the proxies alone. |
//! | `lockout_revealed` | `attempts.reveal_lockout` is on: a guesser learns when they are locked out and when to come back. | Switch it off, unless your users need it more. |
//! | `binding_off` | `session.binding` is off: a session that moves to another network and browser leaves no trace. | Use `log`, the default. |
//! | `no_peer_address` | The server does not tell the address of clients. All of them count together as `rate.unknown_sources` sources, and failed tries are not counted by source at all. | Serve with `into_make_service_with_connect_info::<SocketAddr>()`, or insert [`PeerAddr`](crate::PeerAddr) into each request. |
//! | `forwarded_without_proxy` | Requests carry a forwarding header, and no proxy is configured: all clients may seem to be one. | List the proxy in `proxies.networks`, or have it drop the header. |
//! | `clock_skew` | A token came that was issued more than 30 seconds in the future: a clock is, or was, wrong. Nobody is signed out for it. | Synchronize the clocks of all nodes. See how long they were apart, because events of that time have wrong times. |
//! | `foreign_cookie` | A session cookie of this service's name was signed by something else: another service on the same host (cookies do not care about ports), or with a secret that was removed since. | Give one of the services another `cookie.name`; see [several services on one host](crate::guide::deployment#several-services-on-one-host). |
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
//! | "request failed" | An answer with a status of 5xx; `error` says why, which the client is not told. Answers `overloaded` are told by `hash_queue_full` and `tries_overloaded` alone. | Look at the database, the store of rates or the hook that `error` names. |
//! | "asked for instances of no permission" | The code calls `identity.instances(..)` with a text that is no permission; it gets none. | Correct the text in the code. |
//! | "the store of rates cannot be asked: each node counts by itself, more strictly" | Redis or the database did not answer in time. | Look at the store. Until it is back, clients get a quarter of every quota from each node. |
//! | "an event could not be written" | The event of a refused request, or of many failed sign-ins, is missing in `auth_event`. It was traced and counted all the same. | Look at the database. |
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
//! | "an account that was never proved stays: the database refuses to remove it; a table of the application that points to it needs ON DELETE CASCADE" | A key of one of your tables, or a trigger, kept maintenance from removing it; `error` says which. No later run tries this account again. | Add `ON DELETE CASCADE`, or remove such accounts yourself. |
//! | "the hook of suspicions failed", "the hook of suspicions did not end in time" | The hook that is told of suspicious traffic gave an error, or ran for too long. The finding and the event are there all the same. | Look at the hook. |
//! | "a mounted route panicked" | See `route_panicked` above. | As there. |
//! | "a hook took too long" | See `hook_timeout` above. | As there. |
//! | "the connection of a hook that took too long could not be ended" | A hook ran for longer than `database.hook_timeout`, and no other connection could end its statement; `error` says why. Its locks and its connection stay until that statement ends by itself; then the connection is closed. Others can write meanwhile. | Give the pool more connections than `database.writers`. Where one address stands for several servers, this happens now and then. Mend the hook. |
//!
//! # Events to watch
//!
//! Events are traced with the target `portcullis::event` and stand in the table `auth_event`, next to the
//! change that they tell of; see [`audit_log`](crate::audit_log). All of them are described at
//! [`EventKind`](crate::EventKind). Most need no action. Alert on these:
//!
//! | event | what it means | what to do |
//! |---|---|---|
//! | `administrator_bootstrapped` | The first administrator was made. It happens once in the life of a database. | If you did not do that just now, somebody else has the rights of an administrator: stop the service, disable that account, and look at who may start it and write its database. |
//! | `authz_granted`, `permission_granted` | An account got a role or a permission. | Alert where the detail names a role or permission of administrators, and ask whoever gave it. |
//! | `authn_spraying_suspected` | Many sign-ins fail that no limit of one account or one source stops; the detail says what was seen. At most one for each reason in a window. | As for the finding `password_spraying`. Afterwards look for `authn_login_successafterfail` and `authn_new_device` from the same networks: those accounts may be lost. End their sessions and require a change of the password. |
//! | `authn_login_lock` | Too many tries of one name, one source or one account failed, and more are refused for a while. The detail says what was guessed at. | One now and then is somebody who forgot a password. Many of one source: block it in front. Many of one account from many sources: somebody wants this account; ask for a second factor. |
//! | `authn_login_successafterfail` | A sign-in succeeded after others of the same name had failed; the detail says how many. | A few are mistyped passwords. From ten on, or together with `authn_new_device`, ask the owner. |
//! | `authn_new_device` | An account signed in from a browser that it had not used before. Its owner was told, if mail is configured. | Nothing, but for accounts of administrators: ask the owner. |
//! | `session_theft_suspected` | A token that had been replaced long before was used again: two have the same session. It was ended, and its owner was told. | One may be a browser that came back from a backup. Several of one account: a device of its owner is not their own any more. Several accounts at once: look for a leak, such as a log or a proxy that keeps cookies. |
//! | `session_shared` | What one client renewed was handed to another network and another browser. `session.binding` says what becomes of the session. | As for `session_theft_suspected`. A program that people gave their cookie to looks the same. |
//! | `session_source_changed` | A session came from another network and another browser. With the binding `log` it is only traced and is not in `auth_event`. | Single ones are people who travel and whose browser was updated. Many at once: as for `session_theft_suspected`. |
//! | `session_suspicious` | A session was marked as suspicious: by its owner, by the application or by the binding. It can only sign out. | If the owner reported it, look at what it did: its id stands in the events. |
//! | `authn_password_reset_fail`, `authn_challenge_fail` | A link or a code was wrong or not good any more. | Single ones are old mails. Hundreds are somebody who guesses; the limits hold. Block the source in front. |
//! | `email_change_undone`, `phone_change_undone`, `login_name_undone` | An owner took back a change of an address that they did not make. | Somebody else had that account. End its sessions, and ask the owner what else was changed. |
//! | `excess_rate_limit_exceeded` (once a minute for a rule and subject) | Somebody is above a limit. The detail names it: `source`, `account`, `login` (sign-ins with one name), `login_device` (sign-ins from one browser that the account knows), `anonymous`, `registrations` (a source registers too often), `messages` (a source asks for too much mail) or `taken_names` (a source tries out which names are taken). | One source: block it in front, or leave it to the limit. Many sources, all the same rule: compare the limit with what honest people do, on the page of [defaults](super::defaults). |
//! | `user_create_fail` | Somebody tried to register with a name of an account; the account and the source are in the event. | A few are people who forgot that they have an account. Hundreds from one source are a list that is tried out: strict registration tells nothing about addresses. |
//! | `message_failed` | A message was given up; the detail says which kind and why. | The person waits for a link or a code. Many: look at the mail server. |
//! | `attempts_purged` | Records of failed tries were removed, which lifts the locks that they made. | If nobody of yours did that, somebody makes room for guessing: look at who may call it. |
//! | `backup_restored` | A backup was restored, and what it brought back to life was ended. | Everybody signs in again; see [`backups`](super::backups). |
