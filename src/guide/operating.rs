//! For operators: every finding, every warning and the important events, with their meaning and what to do.
//!
//! A *finding* is a problem that the service noticed in its set-up or in its traffic. It is logged once, as a
//! warning with a stable `code`. It stays in [`audit`](crate::Portcullis::audit), for example for a page for operators.
//! An *event* is one line of the audit log.
//!
//! # Findings
//!
//! Each process has its own list. A finding stays in it until the process ends, even if its cause is gone. There are
//! these exceptions:
//!
//! - `maintenance_overdue` goes away when maintenance has run, on this node or on another one. On another one, a later
//!   sign-in on this node notices it.
//! - `database_clock_skew` shows the result of the last maintenance on this node, and goes away if that found nothing.
//!   While the clocks differ, each run logs it again.
//! - `unknown_permissions` and `malformed_permissions` show the result of the last
//!   [`sync`](crate::permission::Catalogue::sync) or [`check`](crate::permission::Catalogue::check). They go away if it
//!   found nothing.
//! - `cross_site_requests_refused`, `several_credentials_refused` and `forms_without_origin_refused` stay, and their
//!   text is replaced when there are again twenty such requests in ten minutes.
//!
//! The rows with "(a warning)" or "(an error)" are only logged, and are not in the list.
//!
//! | code | what it means | what to do |
//! |---|---|---|
//! | `hash_queue_full` (a warning, once a minute) | Too many passwords wait to be hashed: the limit of one source or of the queue is reached, or the wait is longer than `password.hash_wait`. Those requests are answered 503 with `Retry-After`. The metrics count `hash_queue_full`. | If one source sends too many sign-ins: nothing, because it delays only itself. If all clients seem to have one address: list the proxy in `proxies.networks`. If many people sign in at once: add cores, or raise `password.concurrent_hashes`. |
//! | `attempts_overloaded` (a warning, once a minute) | Attempts for one account or name wait for each other for longer than `database.timeout`. Those requests are answered 503 with `Retry-After`. The metrics count `attempts_overloaded`. | A single warning means that someone sends many attempts for one name at once; others are not delayed. If the warnings continue, the database is slow: check it. |
//! | `password_spraying` | Many sign-ins fail on this node, but no limit per account or source stops them. The threshold is three times the usual share of failures in a ten-minute window, or fifty different names from one network (IPv4 /24, IPv6 /48). The finding is logged once. Each further window writes an event `authn_spraying_suspected` with details, and calls [`OnSuspicion`](crate::port::OnSuspicion). Each node checks only its own requests, and forgets them when it restarts | Check the `authn_login_fail` events of those minutes: which networks, which names? If most come from one network, block it at the proxy. If the passwords come from a breach, require a second factor and configure a [`breached_list`](crate::Builder::breached_list). If one of your own new clients fails, fix it. `attempts.watch` sets the thresholds |
//! | `action_proof_not_spent` | A route needs an [action proof](crate::action_proof), and its handler answered 2xx without using it up. So one consent opens the route several times. The text names the action of the first such route | Use the proof up with `spend_within` in the transaction of the action. If the route only reads, say so with `for_reading(..)` |
//! | `api_key_route_closed` | A route accepts only [API keys](crate::api_key), and `api_key.prefix` is not set, so nobody can call it. The text names the path of the first such request | Set `api_key.prefix`, or let the guard accept sessions too |
//! | `passkeys_without_domain` | The routes of [passkeys](crate::passkey) are mounted, but `service.public_url` is not set, or its host is an IP address. Passkeys belong to a domain, so these routes answer 500 `passkeys_not_configured` | Set `service.public_url` to the address that people see in the browser, such as `http://localhost:3000` |
//! | `guard_misconfigured` | A guard cannot decide and answers 500. Its path has the parameter of `on_path` zero or two times, or `not(..)` or `role(..)` is used on one instance | Correct the route that the text names |
//! | `cross_site_requests_refused` | Twenty requests in ten minutes were refused because a page of another site seems to have sent them. The text shows the compared values of the latest twenty | If they come from your own pages, do one of these: set `service.public_url` to the address that people see in the browser; let the proxy keep `Host`; list the origin of the page in `service.trusted_origins`. Otherwise it is an attack, and it was blocked |
//! | `several_credentials_refused` | Twenty requests in ten minutes had two credentials of this service | Let the client send either the cookie or the bearer token. Give each service on one host its own `cookie.name` |
//! | `forms_without_origin_refused` | Twenty forms in ten minutes had no proof that a page of this service sent them | The same as for `cross_site_requests_refused`. A proxy may also remove `Origin` |
//! | `hook_timeout` (a warning) | A hook of the application ran for longer than `database.hook_timeout`. Its request was answered 503. The database server ended its connection and released all its locks. | Do not wait for other services inside a hook. You can raise the limit for a slow hook, but other requests may then wait for the locks of its transaction. On SQLite, all requests that write wait. |
//! | `route_panicked` (an error) | A mounted route panicked and answered 500 `internal_error`. | Look for the panic in the standard error output, or where a panic hook sends it. The cause is a fault in a hook, in a `session_info`, or in portcullis. Please report a fault in portcullis. |
//! | `no_public_url` | `service.public_url` is not set: tokens have the issuer `portcullis`, and links cannot be built. | Set it, even if the service sends no mail. Otherwise two services with the same secret accept each other's tokens. |
//! | `guessable_secret` | An older secret or a pepper was not random. An attacker can guess it from one token, or from stolen hashes. | Put a random one before it. Remove an older secret when [nothing needs it](super::deployment) any more. Remove a pepper when its accounts have signed in again. Accounts that have not signed in by then need a new password. |
//! | `insecure_cookies` | Cookies are sent without `Secure` and without the `__Host-` prefix: anyone on the network can steal a session. | Use https, and turn `cookie.danger_insecure_http_cookies` off. |
//! | `same_site_none` | Browsers send the cookies with requests from every site. Only the same-origin check protects against other sites. | Use `Lax`, unless the service must work inside pages of other sites. |
//! | `password_alone_below_15` | `password.min_length` is below 15. NIST SP 800-63B-4 requires 15 if a password is the only factor. | Raise it. The finding looks only at this setting, and not at second factors. If all accounts need a second factor, you can ignore it. |
//! | `proxy_trusts_everyone` | `proxies.networks` trusts every address. Any client can claim any address, and limits per source do not work. | List only the proxies. |
//! | `lockout_revealed` | `attempts.reveal_lockout` is on: attackers learn when they are locked out and when to try again. | Turn it off, unless it is more important for your users. |
//! | `binding_off` | `session.binding` is off: a session that moves to another network and browser is not recorded. | Use `log`, the default. |
//! | `no_peer_address` | The server does not pass on client addresses. All clients share the limits of `rate.unknown_sources` sources, and failed attempts are not counted per source. | Serve with `into_make_service_with_connect_info::<SocketAddr>()`, or insert [`PeerAddr`](crate::PeerAddr) into each request. |
//! | `forwarded_without_proxy` | Requests have a forwarding header, but no proxy is configured. All clients may seem to have one address. | List the proxy in `proxies.networks`, or let the proxy remove the header. |
//! | `clock_skew` | A token has an issue time more than 30 seconds in the future: a clock is or was wrong. This signs nobody out. | Synchronize the clocks of all nodes. Check how much they differed, because events of that time have wrong times. |
//! | `database_clock_skew` | At the last maintenance of this process, its clock and the clock of the database differed by more than five seconds. If that is over, the next run removes the finding. | Synchronize the clocks of all nodes and of the database server. Sessions and codes end too early or too late by the difference, and codes of authenticators may be refused. |
//! | `foreign_cookie` | A session cookie with the name of this service has another signature. It comes from another service on the same host (cookies do not depend on the port), from another node with a different secret, or its secret was removed. | Give one of the services another `cookie.name`; see [several services on one host](crate::guide::deployment#several-services-on-one-host). Give all nodes the same secrets; see [different secrets](crate::guide::nodes#different-secrets). |
//! | `malformed_permissions` | Stored permissions cannot be parsed and grant nothing. | They were probably written with SQL. Correct the rows that the text names. |
//! | `unknown_permissions` | Stored permissions are not in the catalogue, so no code requires them. | A permission is misspelt, or its code was removed. Correct or revoke the permissions. |
//! | `password_reset_without_notifier` | The routes for a forgotten password are mounted, but there is no notifier, so nobody gets a link. | Give the builder a notifier, or do not mount the routes. |
//! | `mail_login_without_notifier` | The routes of the sign-in by mail are mounted, but there is no notifier, so nobody gets a mail. | Give the builder a notifier, or do not mount the routes. |
//! | `factor_required_without_routes` | A role requires a second factor, and an account without one was refused, but the routes that set one up are not mounted. | Mount `second_factor::routes`, or set factors up in your own handlers with the extractor `FactorOwner`. Or take the requirement from the role: `roles().require_factor(.., false)`. |
//! | `totp_seed_unreadable` | The seed of an authenticator cannot be decrypted: it was encrypted with a secret that is not configured any more. Its owner cannot sign in with it. | Configure the secret again, after the newest one. Without it, remove the factor with `accounts().set_enrolled_factors(..)`, and ask the owner to set up a new authenticator. |
//! | `captcha_without_another_way` | A captcha was asked for at a sign-in, and the routes of the sign-in by mail are not mounted. People who cannot solve it cannot sign in from a new device. | Mount [`mail_login::routes`](crate::mail_login), or set `captcha.login_after` to `None`. With a proof of work you can ignore it. |
//! | `maintenance_overdue` | This process has run for three days, and no maintenance ran on any node in that time. Tables grow without limit. | Spawn `auth.maintenance().every(..)`, or let a scheduler call `auth.maintenance().run()`. If it is already called, check its errors. |
//!
//! # Warnings and errors in the log
//!
//! All of them have the target `portcullis`. Events have the target `portcullis::event`, and
//! [`EventKind`](crate::EventKind) describes them.
//!
//! | text | what it means | what to do |
//! |---|---|---|
//! | "request failed" | An answer with a 5xx status. `error` has the cause, which the client does not see. Answers with `overloaded` are not logged here, but by `hash_queue_full` and `attempts_overloaded`. | Check the database, the store of rate limits or the hook that `error` names. |
//! | "instances() was called with an invalid permission" | The code calls `identity.instances(..)` with a text that is not a permission. The result is empty. | Correct the text in the code. |
//! | "the rate store does not answer; each node counts locally, with stricter limits" | Redis or the database did not answer in time. | Check the store. Until it works again, each node allows a quarter of every limit. |
//! | "an event could not be written" | The event of a refused request, or of many failed sign-ins, is missing in `auth_event`. It is still in the traces and metrics. | Check the database. |
//! | "the use of an API key could not be recorded" | The request went on. The list of keys shows an older time of use. If the key is still stored under an older secret, it stays so until its next use. | Check the database. |
//! | "denials could not be counted" | The counts of denials are missing in the database. They are still in the traces and metrics. | Check the database. |
//! | "a role has the name of a level and is ignored by name" | The name of a role looks like a level on one resource, so it does not count as a role. | Rename the role. |
//! | "a level that is not configured gives nothing" | A membership has a level that is not, or no longer, in `permission.levels`. | Configure the level again, or remove those memberships. |
//! | "a stored permission grants nothing" | A stored permission cannot be parsed. | The same as for `malformed_permissions` above. |
//! | "memberships could not be refreshed and stay as they were" | The source of memberships failed or took too long at a sign-in. | Check the source. Until then the levels stay as at the last refresh. |
//! | "the source returned invalid resources or unknown levels" | A part of the source's answer was ignored. | Correct the source, or configure the levels. |
//! | "a verification mail could not be sent again" | A user with the correct password and an unverified address did not get a new verification mail. | Check the database. |
//! | "the outbox cannot be read" | Messages are waiting. | Check the database. The messages are sent when it works again. |
//! | "a template failed" | One of your templates cannot be rendered. The message is not sent. | Correct the template. `build()` found no error because it uses sample values. |
//! | "a message could not be sent" | The mail server refused the message or did not answer. Portcullis retries; after the last attempt it writes an event `message_failed`. | Check the mail server. |
//! | "the list of breached passwords did not answer" | New passwords are accepted without this check, or refused, depending on `password.breached_outage`. | Check the list. |
//! | "a provider of captchas cannot be asked" | The provider did not answer in time, or its answer cannot be used; `error` says why. Requests that need a captcha are answered 503. | Check the connection to the provider, and the secret that you gave to `HostedCaptcha`. |
//! | "a provider cannot be asked" | A [provider](crate::federation) did not answer in time, or with something that is not in the standard; `provider` and `error` say which one and why. It is asked again after ten seconds, and sign-ins with it are answered 503. | Check the connection to the provider. An address in a private network needs `danger_private_addresses`. |
//! | "a provider answered with an error" | The provider sent a person back with an error; `error` has its code, such as `invalid_scope`. | Compare client id, callback and scopes with the settings at the provider. |
//! | "an answer of a provider was not accepted" | A token or an answer failed a check; `refusal` says which one. The person is not signed in, and the event `authn_login_fail` is stored. For the token of a sign-out there, no session ends. | Single ones are old pages. If every sign-in fails, compare client id, secret, issuer and algorithm with the settings at the provider, and check the clock. Otherwise somebody tries forged answers. |
//! | "a stored password is unusable" | The hash of an account cannot be verified. `reason` says why: a pepper that is not configured, parameters above the cost limit, or a malformed hash. The owner gets the answer for a wrong password. | Configure the pepper again, or ask the owner to reset the password. |
//! | "maintenance failed and will be retried" | A run ended with an error. | Check the database. |
//! | "an unverified account was kept: the database refuses to delete it; a table of the application that points to it needs ON DELETE CASCADE" | A foreign key of one of your tables, or a trigger, prevented maintenance from deleting the account. `error` says which one. Later runs skip this account. | Add `ON DELETE CASCADE`, or delete such accounts yourself. |
//! | "a closed account could not be erased; maintenance will try again" | A hook of yours refused or failed, or a statement did; `account` and `error` say which one. A later run tries again: after a day if a hook refused, else after an hour. The account stays closed, and its data stays. | Correct the hook, or what it waits for. You can call `accounts().erase(..)` yourself. |
//! | "the suspicion hook failed", "the suspicion hook did not end in time" | The hook for suspicious traffic returned an error, or ran for too long. The finding and the event exist anyway. | Check the hook. |
//! | "a mounted route panicked" | See `route_panicked` above. | See there. |
//! | "a hook took too long" | See `hook_timeout` above. | See there. |
//! | "the connection of a hook that took too long could not be ended" | A hook ran for longer than `database.hook_timeout`, and no other connection could end its statement; `error` says why. The hook keeps its locks and its connection until its statement ends. Then the connection is closed. Other requests can write in the meantime. | Give the pool more connections than `database.writers`. If one address stands for several database servers, this warning is normal now and then. Correct the hook. |
//!
//! # Events to watch
//!
//! Events are traced with the target `portcullis::event`. They are also in the table `auth_event`, written in the
//! transaction of the change that they describe; see [`audit_log`](crate::audit_log).
//! [`EventKind`](crate::EventKind) describes all of them. Most need no action. Set alerts for these:
//!
//! | event | what it means | what to do |
//! |---|---|---|
//! | `administrator_bootstrapped` | The first administrator was created. This happens once in the life of a database. | If you did not do this just now, someone else has administrator rights. Stop the service and disable that account. Check who can start the service and write to its database. |
//! | `authz_granted`, `permission_granted` | An account got a role or a permission. | Set an alert for the roles and permissions of administrators, and ask the person who granted them. |
//! | `authn_spraying_suspected` | Many sign-ins fail, but no limit per account or source stops them; the detail says what was seen. At most one event for each reason in a window. | The same as for the finding `password_spraying`. Afterwards, look for `authn_login_successafterfail` and `authn_new_device` from the same networks: those accounts may be compromised. End their sessions and require a change of the password. |
//! | `authn_login_lock` | Too many attempts for one name, source or account failed, and more are refused for a while. The detail says what was attempted. | A single event is probably a forgotten password. Many for one source: block it at the proxy. Many for one account from many sources: it is an attack on this account; require a second factor. If the detail is `second_factor`, the person who guesses has proved another factor already, usually the password: let the owner set a new password. |
//! | `authn_login_successafterfail` | A sign-in succeeded after failures for the same name; the detail says how many. | A few failures are mistyped passwords. For ten or more, or together with `authn_new_device`, ask the owner. |
//! | `authn_new_device` | An account signed in from a browser that it had not used before. The owner was notified, if mail is configured. | Nothing. For accounts of administrators, ask the owner. |
//! | `session_theft_suspected` | A client used a token that was replaced long before: two clients have the same session. It was ended, and the owner was notified. | A single event may be a browser that was restored from a backup. Several for one account: someone else may control a device of the owner. Several accounts at once: look for a leak, such as a log or a proxy that stores cookies. |
//! | `session_shared` | One client renewed a token, and a client in another network with another browser received it. `session.binding` sets what happens to the session. | The same as for `session_theft_suspected`. A program that uses a person's cookie looks the same. |
//! | `session_source_changed` | A session was used from another network and another browser. With the binding `log`, the event is only traced and is not in `auth_event`. With `step-up`, each node records it once for each network of a session. | Single events are people who travel and whose browser was updated. Many at once: the same as for `session_theft_suspected`. |
//! | `session_suspicious` | A session was marked as suspicious, by its owner, by the application or by the binding. It can only sign out. | If the owner reported it, check what the session did: its id is in the events. |
//! | `device_login_reported` | A person reported the request of a device. | Somebody has sent them a code. Look for `device_login_requested` from the same address, and warn others. |
//! | `authn_password_reset_fail`, `authn_challenge_fail` | A link or a code was wrong or no longer valid. | Single events come from old mails. Hundreds are an attack, which the limits stop. Block the source at the proxy. |
//! | `email_change_undone`, `phone_change_undone`, `login_name_undone` | An owner undid a change of an address that they did not make. | Someone else had access to that account. End its sessions, and ask the owner what else was changed. |
//! | `excess_rate_limit_exceeded` (once a minute for a rule and subject) | A rate limit was exceeded. The detail names it: `source`, `account`, `login` (sign-ins with one name), `login_device` (sign-ins from one browser that the account knows), `anonymous`, `registrations` (a source registers too often), `messages` (a source requests too much mail), `taken_names` (a source probes which names are taken), `captchas` (a source asks for too many captchas), `device_starts` (a source starts too many requests of devices), `device_codes` (too many wrong codes of devices for a source or an account), `factor_challenges` (too many challenges of a factor of your own for one account) or `factor_challenges_device` (the same on devices that the account knows). | One source: block it at the proxy, or rely on the limit. Many sources with the same rule: compare the limit with normal use, on the page of [defaults](super::defaults). |
//! | `account_recovery_opened`, `account_recovery_completed` | An administrator or a program wants to recover an account, or has sent the link; the detail says who, after `again` if the link was sent again, and the event has the session of an administrator. | Look at the reason. Many by one administrator: ask them. |
//! | `account_recovered` | The person opened the link of a recovery and set a new password. All second factors of the account were removed. | Nothing. If the owner says that it was not them: see [`lost_access`](super::lost_access#somebody-else-is-in-the-account). |
//! | `account_recovery_objected` | The owner of an account objected to its recovery. | Somebody has tried to get into this account through your help desk, or somebody else reads its mail: see [`lost_access`](super::lost_access#somebody-else-is-in-the-account). |
//! | `user_closed` | An account was closed; the event has the session and the source if its owner did it. The owner got links to reopen it. | Nothing. Many in a short time: someone may control several accounts, and their owners need help. |
//! | `user_exported` | Everything that is kept about an account was exported. | If it was not the owner, find out who called it. |
//! | `user_create_fail` | Someone tried to register with a name of an existing account; the event has the account and the source. | A few are people who forgot that they have an account. Hundreds from one source are an attacker who tests a list. Strict registration does not reveal which addresses are registered. |
//! | `message_failed` | A message could not be delivered; the detail has its kind and the reason. | A person is waiting for a link or a code. If there are many, check the mail server. |
//! | `attempts_purged` | Records of failed attempts were deleted. This removes their locks. | If nobody on your team did this, someone is preparing an attack: check who can call it. |
//! | `backup_restored` | A backup was restored, and what it brought back was ended. | Everyone must sign in again; see [`backups`](super::backups). |
