//! Published holes of systems of this kind, what each would need here, and which tests hold the
//! answer. Tests are named by file: those below `tests/it` run on SQLite, PostgreSQL and MariaDB,
//! and `tests/it/tidy.rs` makes sure that every file named here exists.
//!
//! What is not built yet is at the end. If you build on this version, you have to answer that yourself.
//!
//! # Tokens
//!
//! | published | here | tests |
//! |---|---|---|
//! | `alg: none`, algorithm confusion, a key in the header (RFC 8725 2.1, 3.1, 3.10) | a token's header must be byte for byte one that a configured key writes; nothing else of it reaches a parser | `tests/it/token.rs`, `tests/it/fuzz.rs` |
//! | claims of the wrong type count as absent (jsonwebtoken CVE-2026-25537) | claims are read into a closed struct; a missing, repeated, unknown or mistyped member refuses the token | `tests/it/token.rs` |
//! | a token of one purpose works for another (RFC 8725 3.11) | the purpose is in the signed header and in the row, and both must agree | `tests/it/token.rs`, `tests/it/session.rs` |
//! | a publicly known default secret (Kratos GHSA-hgx2-28f8-6g2r) | there is no default; short, repetitive and placeholder secrets are refused | `src/base/secret.rs`, `tests/it/config.rs` |
//! | garbage tokens as load | signature before statement; larger than 4 KiB before signature | `tests/it/budget.rs`, `tests/it/token.rs` |
//!
//! # Cookies and other sites
//!
//! | published | here | tests |
//! |---|---|---|
//! | an insecure twin shadows the prefixed cookie (better-auth #9806) | only the exact `__Host-` name is read; of two the one that we signed and can renew counts, and if two do nobody is signed in | `src/session/cookie.rs`, `tests/it/cookie.rs`, `tests/it/fuzz.rs` |
//! | cross-site requests, and forced logins without any cookie | `Sec-Fetch-Site` and `Origin`, the rule of Go 1.25; mounted routes check it with and without a cookie; a form needs present proof | `src/base/same_origin.rs`, `tests/it/csrf.rs` |
//! | open redirects through a return address (better-auth CVE-2024-56734, Authelia GHSA-36f2-fcrx-fp4j) | a path of this site, judged in every decoded form, and by the WHATWG parser in a test; no list of hosts to get wrong | `src/base/redirect.rs`, `tests/it/guard.rs` |
//!
//! # Sessions
//!
//! | published | here | tests |
//! |---|---|---|
//! | a session exists before the second factor (better-auth GHSA-xg6x-h9c9-2m83) | a sign-in that waits is another type in the program, in the token and in the row; promotion makes a new row | `tests/it/session.rs`, `tests/it/login.rs`, `tests/ui/pending_is_no_session.rs` |
//! | the id does not change at login (tower-sessions before 0.12.1) | a login always makes a new row and ends the old one in its transaction | `tests/it/session.rs` |
//! | parallel renewals sign people out, or a replay goes unseen | generations: the old one is good until the new one was used late, afterwards its use ends the session | `tests/it/rotation.rs`, `tests/it/race.rs` |
//! | a killed browser, a lost answer, clocks apart or a slow handler look like a theft | a use counts as late after 90 s; a replay is judged by when its request arrived | `tests/it/replay.rs`, `tests/it/chromium.rs` |
//! | a thief asks so often that rotation hands them each token in time | not found by rotation. A client of another network and browser family that is handed what one client made is the event `session_shared`; `session.binding` may end the session | `tests/it/replay.rs` |
//! | a refusal clears the cookie that another tab has just got (NextAuth and others) | only signing out clears a cookie | `tests/it/replay.rs`, `tests/it/cookie.rs` |
//! | "sign out everywhere" misses a sign-in that is under way | it moves the account's epoch, which that sign-in has read before | `tests/it/race.rs` |
//! | an `Upgrade` header keeps an expired token good | only the handshake of a WebSocket counts, and it rotates on its 101 | `tests/it/rotation.rs`, `tests/it/chromium.rs` |
//! | a demoted or banned account passes through a cached session (better-auth #10187, allauth 65.13.0) | no session is cached; each request reads row, account and versions | `tests/it/node.rs`, `tests/it/account.rs`, `tests/it/permission.rs` |
//! | other sessions survive a changed password (Rodauth 2.41) | the account's epoch moves in the same transaction and every request compares it | `tests/it/password_change.rs` |
//! | a delegated session becomes the owner: it changes the password and signs in without its limit | account flows take an `AccountOwner`, which a session with a ceiling gives only where the ceiling says so | `src/identity/owner.rs`, `tests/it/limited_session.rs`, `tests/ui/limited_identity_is_no_owner.rs` |
//! | `OPTIONS`, a repeated path parameter or a negated rule goes around a guard | every method is judged; a guard that cannot decide answers 500 and lets nobody through; a narrower ceiling never meets more | `src/identity/guard.rs`, `src/identity/requirement.rs`, `tests/it/guard.rs`, `tests/it/router.rs` |
//! | an outage reads as "signed out" or, worse, as "let in" | 503, and no cookie is touched | `tests/it/outage.rs` |
//! | a leaked table of sessions is a table of tokens | the row keeps a keyed digest; its public id is no credential | `tests/it/session.rs` |
//!
//! # Passwords and accounts
//!
//! | published | here | tests |
//! |---|---|---|
//! | answers or their timing tell who has an account (Authelia #949, Vendure GHSA-6f65-4fv2-wwch) | one answer for unknown, wrong, disabled, unverified, deleted and passwordless, at the cost of one hash each, with a salt of its own for every name. Registration does tell that a name is taken | `tests/it/login.rs` |
//! | an account without a password has the hash of an empty one (allauth 65.11.1) | it has none | `tests/it/login.rs` |
//! | the commonest passwords, or the name with a year behind it, are accepted | a list of 27 579, the names of account and service, and a list of breached ones where given | `src/password/policy.rs`, `tests/it/password.rs` |
//! | truncation at 72 bytes, or at NUL | passwords are used exactly as sent; imported bcrypt hashes take only what bcrypt read | `src/password/foreign.rs`, `tests/it/registration.rs` |
//! | a stored hash asks for gigabytes (Kratos) | parameters of stored hashes are bounded before anything is allocated | `src/password/hash.rs`, `tests/it/login.rs` |
//! | a storm of logins takes all memory | a gate; its permit goes with the work, so hanging up frees nothing early | `src/password/gate.rs`, `tests/it/login.rs` |
//! | a storm of logins from one source keeps everybody else out | sources take turns at the gate, one has at most a quarter of the places (an IPv6 /48 half), and nobody waits for longer than 10 s | `src/password/queue.rs`, `tests/it/flood.rs` |
//! | names that look alike, or differ only in case, are two accounts | one normal form for login, uniqueness and records | `src/account/login_id.rs`, `tests/it/account.rs` |
//! | registering an existing name takes the account over | the unique key decides, and nothing is overwritten | `tests/it/registration.rs`, `tests/it/race.rs` |
//! | registration or a form tells whose address is known (Devise #5790) | strict registration and asking for a proof answer with the same bytes after the same statements | `tests/it/registration.rs`, `tests/it/verification.rs` |
//! | `a@x,b@y` as an address sends the link to both (NextAuth GHSA-xv97-c62v-4587) | an address is one plain mailbox, or 422 | `tests/it/registration.rs` |
//! | accounts prepared by somebody else (Sudhodanan and Paverd 2022) | the first proof from elsewhere wipes what was set before; see [`verification`](crate::guide::verification). Of the five attacks the two that need a provider (classic and federated merge, a provider that verifies nothing) have no test, for there is no sign-in by one yet; their local half, a password set before, has | `tests/it/verification.rs`, `tests/it/contact.rs`, `tests/it/ownership.rs` |
//! | an address or a number is taken by somebody who never proves it, and kept from its owner for good | a proof takes the account over; deleting an account frees what it never proved; a number yields to its proof | `tests/it/registration.rs`, `tests/it/contact.rs`, `tests/it/ownership.rs` |
//! | a request that was let in before the account changed hands is carried out afterwards | what it changes is bound to the account's epoch, in the statement that changes it | `tests/it/password_change.rs`, `tests/it/contact.rs` |
//! | a new code brings new tries (keycloak #26180) | tries are counted by purpose and account, before the answer is looked at | `tests/it/challenge.rs` |
//! | rights from a request's body (better-auth 1.6.16) | closed structs: an unknown field refuses the body; whose password it is comes from the session | `tests/it/bad_input.rs`, `tests/it/registration.rs` |
//! | a list of addresses is tried out at an open registration | each name that is found taken is an event and counts for its source, which may ask for no other one after fifty in an hour | `tests/it/flood.rs` |
//! | a default administrator, or one who registered the address first | made once, with a random password; nobody is ever promoted | `tests/it/bootstrap.rs` |
//!
//! # Mail and forgotten passwords
//!
//! | published | here | tests |
//! |---|---|---|
//! | `a@x,b@y` sends the link to somebody else too (NextAuth GHSA-xv97-c62v-4587); CR/LF in an address adds a recipient | one plain mailbox, checked when it is stored and again when mail is put into the outbox | `tests/it/outbox.rs`, `tests/it/contact.rs`, `src/account/login_id.rs` |
//! | the form for a forgotten password tells who has an account (Devise #5790) | one answer, the same statements, and mail leaves in another task | `tests/it/password_reset.rs` |
//! | a mailbox is flooded through many spellings of its address (`a+1@`, `a+2@`), or many mailboxes through one source | spellings of one mailbox share a limit, and a source has one of its own; what a stranger uses up takes nothing from an address that is proved, or from a known device | `tests/it/flood.rs`, `src/outbox/mailbox.rs` |
//! | a flood of registrations delays the mail that a person waits for | resets and codes leave first | `tests/it/flood.rs` |
//! | a link built from the request's `Host` leads to the attacker | links come from the configuration alone | `tests/it/password_reset.rs` |
//! | a link is spent by a mail scanner, works twice, or outlives a change of password or address | opening it changes nothing; one conditional UPDATE spends it; it is bound to address, hash and last sign-in, and ends with a change of factors or a disabling | `tests/it/password_reset.rs` |
//! | a thief with one session makes the owner's links worthless, by ending "the others" all the time | no mailed link that needs no session is bound to what an end of sessions moves: resets, undo links, proofs of an address | `tests/it/password_reset.rs`, `tests/it/way_back.rs`, `tests/it/verification.rs` |
//! | a reset switches the second factor off, or signs in past it (Kratos GHSA-wc43-73w7-x2f5) | it signs nobody in, and factors of a verified address stay | `tests/it/password_reset.rs` |
//! | whoever registered the victim's address first stays in after the victim's reset (pre-hijacking, Sudhodanan and Paverd 2022) | where the address was not verified, a reset ends the sessions and removes password, factors, codes and links set before | `tests/it/password_reset.rs` |
//! | of two changes at once, the token of one confirms the address of the other (Devise #1948, #5783, CVE-2026-32700) | the old and the new address are in the token's own row and bound to it; nothing reads a "pending address" of the account | `tests/it/contact.rs` |
//! | a change of address that was asked for long ago, or by whoever had the account before, is finished later | it dies with the next one, with the session that asked for it, and with whatever moves the account's epoch | `tests/it/contact.rs` |
//! | a form tells whether an address is taken; or one account takes another's | one answer, the same statements, and the owner is told; the unique key decides when the address has proved itself | `tests/it/contact.rs` |
//! | a thief changes the address and the owner is locked out | the old address can undo it for seven days, and nothing that a signed-in thief can do ends that | `tests/it/contact.rs` |
//! | the owner puts the address back, and the thief's address gets a link that undoes *that* | only the first address, or one that was there for a week, gets a link; putting an earlier one back is an undo, and what came later ends with it | `tests/it/way_back.rs`, `tests/it/ownership.rs` |
//! | two nodes order ways back by their clocks, and the thief's is the earlier one | a counter in the account's row orders them | `tests/it/way_back.rs`, `tests/it/ownership.rs` |
//! | a mail address is read as an option by a program that sends mail (`-oQ/tmp@example.com`) | a local part that begins with `-` is refused, and so is such a recipient | `tests/it/registration.rs`, `src/account/login_id.rs` |
//! | whoever registered the victim's address first leaves an identifier of their own in the account (the trojan identifier of Sudhodanan and Paverd) | an account whose own address was never proved gets no further names; those that the application gave it go with its first proof from elsewhere | `tests/it/login_name.rs` |
//! | the owner overlooks a thief's further name and moves to a new address; later the thief makes that name the own address | only an address that was the own one is put back, so the new address gets a link; but until then that name opens the account by a forgotten password: remove names that you do not know | `tests/it/way_back.rs` |
//! | a thief adds an address of their own and has passwords sent there | the account's own address is told, and its link removes exactly that name for seven days, whatever was changed since; undoing a change of address takes along what was added after it | `tests/it/login_name.rs` |
//! | the last way in is removed, or two at once each leave the other | names change while the account's row is held; the last one stays | `tests/it/login_name.rs` |
//! | a lock is a way to keep the owner out (Keycloak GHSA-cq42-vhv7-xr7p) | a reset by mail lifts it; no lock, of sign-ins or of requests, stops a good link | `tests/it/password_reset.rs` |
//! | links are asked for without end, or tokens guessed without being counted | both are tries: requests are delayed and locked alike for every name, and tokens, looked at or used, count for their source | `tests/it/password_reset.rs` |
//! | a mailbox is flooded through the form | a cool-down and a cap for each recipient, counted by a conditional UPDATE | `tests/it/password_reset.rs`, `tests/it/outbox.rs` |
//! | links and codes are read from the table of queued mail | sealed for their row, wiped when they are sent | `tests/it/outbox.rs`, `src/base/seal.rs` |
//! | a display name with markup changes the mail | HTML is escaped, values are one line, and built-in templates show nothing a stranger chose | `src/message/template.rs`, `tests/it/outbox.rs` |
//!
//! # Guessing
//!
//! | published | here | tests |
//! |---|---|---|
//! | each spelling of a name has a counter of its own (Authelia GHSA-m5mf) | one per account, whichever of its names and however it is spelt | `tests/it/attempt.rs` |
//! | a success of one's own clears the count of the attack (allauth before 65.8.1) | it closes the window of its own account; that of the source ages only | `tests/it/attempt.rs` |
//! | a new code or a new login clears the count (Keycloak #26180) | counts are of the subject, not of the challenge or session | `tests/it/attempt.rs`, `tests/it/challenge.rs` |
//! | guesses sent at once are counted late | a try takes its number, a unique key, before it is judged | `tests/it/attempt.rs` |
//! | the lock is asked in one path and forgotten in another (Keycloak CVE-2026-9798) | whatever compares a password or a code gets its permission from one place: a table holds each path against each lock | `tests/it/attempt_kind.rs` |
//! | a lock tells who has an account (Laravel #13658, Symfony CVE-2021-21424) | names that are nobody's are locked alike; a refused try gets the answer of a wrong password after the same work; what is told is counted by what was typed | `tests/it/attempt.rs`, `tests/it/told.rs` |
//! | one password is tried at many accounts from many addresses | no limit of one account sees it; the share of failed sign-ins and the names that fail from one network are watched | `src/attempt/watch.rs`, `tests/it/told.rs` |
//! | a lock tells who has an account (Laravel #13658, Symfony CVE-2021-21424) | names that are nobody's are locked alike; the answer stays that of a wrong password, after as long a time | `tests/it/attempt.rs` |
//! | the thief chooses whether the owner is told: another way to carry the token, no cookies, or so much noise that nobody reads it | a bearer has a device too; a network and kind of browser that is new is always told by itself, only repeats are summed up | `tests/it/new_device.rs` |
//! | a thief who was put out comes back with the device that the account once knew, and nobody is told | a device of before a new password or an end of all sessions is a new one | `tests/it/new_device.rs` |
//! | locking somebody out is free | a browser that has signed in before has its own count, and sessions go on | `tests/it/known_device.rs`, `tests/it/token.rs` |
//!
//! # Permissions
//!
//! | published | here | tests |
//! |---|---|---|
//! | an empty part grants everything below it (Apache Shiro: `a:`) | refused when written; grants nothing when read from an old row | `src/permission/language.rs`, `tests/it/permission.rs`, `tests/it/fuzz.rs` |
//! | an id with syntax in it widens a check | an id enters only through [`Permission::on`](crate::Permission::on); such a path is 404 | `tests/it/guard.rs`, `tests/it/fuzz.rs` |
//! | a name that is put together forges a membership: an id `7-owner`, a role named `list-7-owner` | neither a resource nor a level has a `-` in its name, so each name reads in one way; such a role cannot be made, and an older one is not seen under its name | `src/permission/level.rs`, `tests/it/membership.rs` |
//! | an old answer of another system arrives late and gives back what was taken | answers are numbered when they are asked for; an older one is dropped | `tests/it/membership.rs` |
//! | a role on one resource that holds `*` owns everything | only permissions of exactly that domain count, on exactly that instance | `src/permission/grants.rs`, `tests/it/permission.rs` |
//! | a route is added and its guard forgotten (OWASP A01, CWE-862) | a guarded router takes none without an access, guards methods it cannot list, and a test compares who may call what with a file | `tests/it/router.rs`, `tests/it/test_kit.rs` |
//!
//! # Sources and logs
//!
//! | published | here | tests |
//! |---|---|---|
//! | `X-Forwarded-For` believed from anyone (allauth 65.14.2) | believed from listed proxies only, from right to left | `src/base/client.rs` |
//! | a limit dodged by rotating addresses inside one IPv6 network (better-auth GHSA-p6v2-xcpg-h6xw) | limits count by /64, and IPv4 written as IPv6 is IPv4 | `src/base/client.rs`, `tests/it/anonymous.rs`, `tests/it/rate_limit.rs` |
//! | a limit that is doubled at the edge of its window, or gone when its store is (Redis down, fail open) | limits slide; a store that fails leaves a quarter of each, counted locally | `src/base/rate.rs`, `tests/it/rate_limit.rs` |
//! | forged log lines | texts are escaped in traces; the audit log holds ids and fixed words | `tests/it/audit_log.rs` |
//! | secrets in logs | types that hold one have no `Display`, no `Serialize` and a blank `Debug` | `tests/it/tidy.rs`, `tests/ui/secret_does_not_print.rs` |
//!
//! # Not answered yet
//!
//! - There is no captcha.
//! - Open registration makes accounts with addresses that nobody has proved yet. Treat an address as
//!   proved only if [`is_verified`](crate::Account::is_verified) says so, or register strictly.
//! - There is no second factor of its own.
//! - Open streams are not closed when their session ends.
