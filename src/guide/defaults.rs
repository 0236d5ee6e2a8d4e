//! Every default, with its reason and source.
//!
//! The knobs themselves are on one page too: [`config`](crate::config). `build()` checks them
//! together and names every fault at once; what works but should be known is a
//! [finding](crate::Portcullis::audit).
//!
//! # Keys
//!
//! | knob | default | why |
//! |---|---|---|
//! | `keys.secrets` | none: `build()` refuses | a default secret is a public one. At least 32 bytes; placeholders and repetitive ones are refused |
//! | `keys.signing` | HS256, keys derived from the secrets | the same service signs and verifies, so a symmetric key is enough and the fastest. HKDF-SHA-256 with a label per purpose (RFC 5869): no value made for one purpose is worth anything for another |
//!
//! # Service
//!
//! | knob | default | why |
//! |---|---|---|
//! | `service.public_url` | none, with a finding | links and the issuer must never come from a request's `Host` |
//! | `service.issuer` | the public URL, else `portcullis` | `iss` and `aud` are checked (RFC 8725 3.8, 3.9); two services with one secret need different ones |
//! | `service.trusted_origins` | none | a listed origin may do everything a signed-in person may; a subdomain is a stranger. Any scheme, compared exactly; never `null` or `file` |
//! | `service.strict_origin` | off | browsers show `Origin` on unsafe requests; scripts do not, and carry no cookie that someone else could use |
//! | `service.unauthenticated` | 401 problem+json | an API is the safer guess; a redirect is for services with pages |
//! | `service.bearer` | off | a cookie that no script can read is safer in a browser |
//! | `service.clear_site_data` | off | it also clears what the application stored |
//! | `service.no_store` | on | after signing out, Back must not show what only somebody may see; an answer that sets `Cache-Control` or `Expires` itself is left as it is, and so are public routes |
//! | path of `service.public_url` | none | only the operator knows what a proxy takes off the path |
//! | `proxies.prefix` | off | a proxy that does not remove `X-Forwarded-Prefix` lets clients choose it |
//!
//! # Cookie
//!
//! | knob | default | why |
//! |---|---|---|
//! | `cookie.name` | `session`, sent as `__Host-session` | the prefix makes the browser refuse one set by a subdomain or over http (RFC 6265bis) |
//! | attributes | `Secure; HttpOnly; Path=/; SameSite`, no `Domain` | ASVS 5.0 V3.3; not configurable but for the next two |
//! | `cookie.same_site` | `Lax` | `Strict` signs people out when they follow a link; the same-origin rule covers what `Lax` lets through |
//! | `cookie.partitioned` | off | only a service inside pages of other sites needs it; with it people sign in once for each such site |
//! | `cookie.danger_insecure_http_cookies` | off | Chromium and curl take secure cookies on loopback, so development needs no weakening |
//! | `Max-Age` | the refresh window, at most what the session has left | an older cookie could not be renewed anyway |
//!
//! # Sessions
//!
//! | knob | default | why |
//! |---|---|---|
//! | `session.token_lifetime` | 15 min | a stolen copy is noticed at the next rotation; shorter costs more writes |
//! | `session.refresh_window` | 7 d | how long a session may be idle |
//! | `session.absolute_lifetime` | 30 d | NIST SP 800-63B-4, AAL1; presets for AAL2 and AAL3: [`SessionConfig`](crate::config::SessionConfig) |
//! | `session.unremembered_lifetime` | 12 h | a day at a shared computer |
//! | `session.pending_lifetime` | 10 min | a sign-in in progress is worth a password; long enough to find a phone |
//! | `session.password_change_lifetime` | 5 min | the new password is typed at once |
//! | `session.anonymous_lifetime` | 24 h | a cart may be forgotten |
//! | `session.anonymous_per_minute` | 10 a source | each is a row that a stranger makes; IPv6 counts by /64 |
//! | `session.replay_after` | 90 s | a browser writes its cookies to disk up to 30 s late, clocks of nodes differ by up to 30 s, and 30 s to spare. Below 60 s `build()` refuses: a killed browser would be taken for a thief. `token_lifetime` must be longer |
//! | `session.recent_factor` | 5 min | for changes to the account itself |
//! | `session.binding` | `Log` | networks and browsers change for honest reasons: a trace, no sign-out; `Suspect` and `End` are stricter |
//! | `session.max_per_account`, `at_limit` | any number; above a limit the oldest ends | ASVS 5.0 7.1.2 asks for a decision: people have many devices, and each session is theirs to end. Refusing instead locks out who lost a device. A limit costs a login two statements and a lock on the account's row |
//! | random bits of a token | 128 | ASVS 5.0 7.2.3; not configurable |
//!
//! # Challenges
//!
//! | knob | default | why |
//! |---|---|---|
//! | `challenge.code_length`, `code_alphabet` | 8 digits | 26 bits; digits are typed on every keyboard. Below 20 bits `build()` refuses (NIST SP 800-63B-4) |
//! | `challenge.code_lifetime` | 10 min | ASVS 5.0 6.5.5 for codes sent out of band |
//! | `challenge.tries`, `tries_window` | 5 in any hour | for one purpose of one account, whichever codes it asked for: a year of guessing finds one in two thousand. Counted as [tries](crate::attempt) of the kind `Challenge` |
//! | `challenge.answered_lifetime` | 5 min | the action follows the answer at once |
//! | `challenge.cool_down` | 1 min | a mailbox must not be flooded by somebody else's clicks |
//! | random bits of a link's token | 256 | it is looked up, never guessed; not configurable |
//!
//! # Change of address, further addresses
//!
//! | knob | default | why |
//! |---|---|---|
//! | `contact.confirm_lifetime` | 1 h | the person waits for the mail; a mailbox that is read much later is not theirs any more |
//! | `contact.undo_lifetime` | 7 d | how long a change can be undone, and how long an address must be the account's before it may undo one (the first address may at once). Long enough for someone on holiday. Whoever reads the old mailbox can undo: switch it off (`None`) where old mailboxes are handed to others within days |
//!
//! # Login
//!
//! | knob | default | why |
//! |---|---|---|
//! | `login.id` | username or email | both are unique across all accounts and kinds, so it is never ambiguous |
//! | `login.registration` | strict where accounts must be verified and there is a notifier, else open | strict tells nobody whose address is known, but needs mail; close it where accounts are made by the application |
//! | `verification.lifetime` | 24 h | NIST SP 800-63B-4 for codes by mail |
//! | `login.max_names` | 10 | for one person plenty; more would keep names from others for nothing |
//! | `login.require_verified` | off | without a notifier it would lock everyone out; switch it on where mail can be sent |
//!
//! # Passwords
//!
//! | knob | default | why |
//! |---|---|---|
//! | `password.min_length` | 15 code points | NIST SP 800-63B-4 where a password is the only factor; 8 is the least accepted. No composition rules, no expiry: NIST forbids both |
//! | `password.composition` | any characters | NIST SP 800-63B-4 and ASVS 5.0 forbid such rules; three of four kinds is for whoever is bound by an older one |
//! | `password.context_words` | none; the host of the public URL and its parts are known | ASVS 5.0 6.2.11: words that everyone here would try first |
//! | common passwords | 27 579 are refused | NIST asks for a blocklist, ASVS 5.0 for 3 000 at least. Compared as a whole, as NIST says. Not configurable |
//! | `password.min_strength` | none (feature `strength`) | the length and the list do most; a judge of strength is a matter of taste |
//! | [`breached_list`](crate::Builder::breached_list) | none | the file has 40 GB, and asking a service is the operator's decision |
//! | `password.breached_outage`, `breached_timeout` | accept, 2 s | whoever runs the list does not decide whether people can register here; the failure is traced as an error |
//! | `password.change_page` | none | only the application knows its pages |
//! | longest | 1024 bytes | refused before hashing; nothing is ever truncated. Not configurable |
//! | cost of a stored hash | memory × passes up to 1 GiB, or four times what is configured, at most 4 GiB; 2 000 000 iterations of PBKDF2 times the digests of its output; bcrypt up to cost 14 | about a second of one core each: an import must not make one sign-in cost twenty. Not configurable |
//! | `password.memory_kib`, `iterations`, `parallelism` | 19 456, 2, 1 | Argon2id, the OWASP floor (password storage cheat sheet); weaker parameters are refused |
//! | `password.peppers` | none | a pepper that is lost locks everyone out; it is worth having where secrets are kept better than the database |
//! | `password.concurrent_hashes` | one less than there are cores, at least 1 | a storm of logins leaves a core to everybody else and costs a known amount of memory |
//! | `password.hash_queue` | 512 | beyond it 503 with `Retry-After`, instead of minutes of waiting. One source has a quarter of the places (one IPv6 /48 half), and sources take turns, so a storm from one of them delays the others by a hash, not by the storm. Callers without a known address share every place: nothing tells them apart. Behind a proxy that is not listed in `proxies.networks` all clients look like one source |
//! | `password.hash_wait` | 10 s | a person who waited longer has given up, and their browser asks again; then 503 with `Retry-After` |
//!
//! # Failed tries
//!
//! What this does to honest users is on a page of its own: [`lockout`](super::lockout).
//!
//! | knob | default | why |
//! |---|---|---|
//! | `attempts.limit`, `window`, `lockout` | 15 in 10 min lock for 1 h | 123 000 tries a year at most. NIST SP 800-63B-4 (3.2.2) allows no more than 100 in a row; more than that `build()` refuses |
//! | `attempts.delay_from`, `first_delay`, `longest_delay` | from the 6th, 1 s, doubled up to 60 s | a forgotten password is found within five; all nine waits together are four minutes, so the lock is still reached within its window |
//! | `attempts.source_limit`, `source_window` | 100 in 10 min, all kinds and subjects together | one password tried on many accounts; an office behind one address stays below. Successes never count |
//! | `attempts.reveal_lockout` | off | a guesser who is told to wait does something better meanwhile |
//! | `attempts.watch.window`, `least_failures`, `names_per_network` | 10 min, 100, 50 | passwords tried at many accounts from many addresses. A hundred failures are more than a small service has by mistake; three times the share that usually fails is more than a Monday morning. An office of fifty who all mistype and mostly fail to get in is rare |
//! | `attempts.device_lifetime` | 180 d | as long as people keep a browser; at most 400 d, where browsers cut a cookie's age |
//! | `attempts.device_lifetime` | 180 d | as long as people keep a browser; at most 400 d, where browsers cut a cookie's age. A device remembers five accounts: a family, and small enough for a cookie |
//! | messages of new devices | each network and kind of browser once in 30 d, ten a day, repeats in one message a day | not to be set: [`new_device`](crate::new_device) has the reasons |
//! | `attempts.kinds` | nothing differs | failures of one kind never lock another. What a kind leaves out is as above, for codes as `challenge.tries` and `tries_window` say. For `Reset` there is nothing to set: 256 bits are not guessed, and a lock would keep the owner from their link |
//!
//! # Proxies
//!
//! | knob | default | why |
//! |---|---|---|
//! | `proxies.networks` | none | a header anyone can send is believed from nobody |
//! | `proxies.header` | `X-Forwarded-For` | what most proxies write; the other is never read |
//!
//! # Permissions
//!
//! | knob | default | why |
//! |---|---|---|
//! | `permission.levels` | none | what someone can be on a list is the application's own order |
//! | `permission.source_timeout` | 2 s | a sign-in waits for it; afterwards it goes on with what was stored |
//!
//! # Rates
//!
//! | knob | default | why |
//! |---|---|---|
//! | `rate.per_source` | 3 000 a minute | a thousand people behind one address who all sign in within a few minutes; one machine that floods is cut at 50 a second, which the gate of the hashes would feel. IPv6 counts by /64, the part one customer has |
//! | `rate.per_principal` | 300 a minute | five a second for one account over all its sessions: more than any page asks, less than a script that reads in a loop. The same for logins under one name, a coarse bound; telling wrong passwords from right ones is another matter |
//! | `rate.taken_names` | 50 an hour and source | open registration says that a name is taken, and so does a username in every mode. Fifty are more than a person finds; a list of addresses is not tried out that way. The source may ask for no other name then, and signs in as ever |
//! | `rate.registrations` | 100 an hour and source | each leaves an account and costs a hash, and a name is the only thing it needs. An office or a class behind one address stays below; without it one source makes 180 000 an hour. Counted whatever the names and however it ends, but for fields that are refused. Where many people register behind one address at once, raise it or set it to `None` for that time |
//! | `rate.unknown_sources` | 10 | where the address of clients is not known they all count together, as ten sources: nothing tells them apart, and no limit at all would let anyone fill tables. Failed tries are the exception: a limit that everybody shares would let one stranger keep everybody from signing in, so there the limit for each name remains |
//! | `rate.store` | this process | costs nothing; several nodes multiply the limits by their number, until a store is shared |
//! | `rate.timeout` | 250 ms | a limit must not be slower than what it protects; then a quarter of the quota, counted locally |
//! | events | the first refusal of a rule and subject in a minute, 100 subjects a minute | whoever is refused in a loop must not fill a table. Not configurable |
//!
//! # Database
//!
//! | knob | default | why |
//! |---|---|---|
//! | `database.timeout` | 5 s a flow | an answer of 503 is better than a queue |
//! | `database.writers` | 6 at once (SQLite: 1) | fewer than the ten connections of the driver's default pool, so that a request that only reads finds one while writes wait for a lock; SQLite takes one writer at a time, and who waits here waits in order |
//! | `database.hook_timeout` | 2 s a transaction | less than half of what others wait for the lock that it holds, so that a hook that hangs costs its own request a 503 and the others a wait |
//! | `database.remembered_grants` | 10 000 accounts | compiled grants under their version, which each request reads: never stale, and one statement a request instead of a wide one |
//!
//! # Mail
//!
//! | knob | default | why |
//! |---|---|---|
//! | `mail.service_name`, `mail.sender` | the host of the public URL, `no-reply@` that host | something true to begin with |
//! | `mail.links` | `/verify#token=…` and its like | behind a `#` a token reaches no server, log or `Referer` |
//! | `mail.cool_down` | 60 s a recipient and kind | someone who clicks twice gets one mail |
//! | `mail.per_hour` | 5 a recipient and kind | nobody's mailbox is filled through this service. All spellings of a mailbox count together (`a+x@` is `a@`); see [`outbox`](crate::outbox) |
//! | `mail.per_source` | 100 an hour and source | more than an office asks for, and far less than it takes to be a nuisance to many mailboxes; beyond it 429, for known and unknown addresses alike |
//! | which message leaves first | what somebody waits for: resets and codes | the mails of a flood of registrations must not keep a person waiting. What has waited for an hour is as urgent. Not configurable |
//! | `mail.password_reset_lifetime` | 1 h | a mail that is read later is asked for again; NIST allows a day, OWASP asks for an hour |
//! | `mail.send_timeout` | 30 s a try | a server that hangs holds up eight messages at most, and no request |
//! | `mail.first_retry`, `mail.tries` | 30 s, doubling up to an hour; 10 tries | three hours: a mail server that is restarted or greylists |
//! | `mail.keep` | 24 h | how long it can be asked whether something was sent; what it said is gone at once. Strangers cause most of these rows, and nothing that they leave stays longer; what failed is an event |
//! | `mail.delivery` | a task of the library's | mail leaves without anything to set up |
//!
//! # Rows that are over
//!
//! [`maintenance`](crate::maintenance) removes them, if somebody calls it.
//!
//! | knob | default | why |
//! |---|---|---|
//! | `retention.sessions` | 7 d after the end | as long as a token can be renewed: until then its owner is told why it is refused. Those of visitors go after an hour: nobody has to be told, but a sign-in over one may be under way. `build()` refuses less than an hour |
//! | `retention.challenges` | 1 h after the end | a second click shortly after is told what happened; nobody needs the row later |
//! | `retention.attempts` | 24 h | no rule reads further back (a window and its lockout, or its longest delay, together); `build()` refuses less |
//! | `retention.events` | 180 d | intrusions are found after months; data protection asks for an end. Law or contract may ask for more: a year is common for card payments |
//! | `retention.denials` | 30 d | they are for alarms and for looking why something failed, not for history |
//! | `retention.unverified_accounts` | 7 d, only where `login.require_verified` is on | a link is good for a day, and its owner may be away over a weekend; after that the account only keeps an address from others. Where accounts are of use unproved none is removed |
//! | session data | as long as there is a row of its session | it goes with the last session of its lineage, and never while one is there. Not configurable |
//! | what owners were told of new devices | 30 d | as long as a place counts as told. Not configurable |
//!
//! # Bodies of the mounted routes
//!
//! | limit | value | why |
//! |---|---|---|
//! | size | 16 KiB | names and a password; checked before anything is parsed |
//! | media type | JSON; a form only with proof that a page of ours sent it | a form can be sent from anywhere without the browser asking first |
//! | unknown fields | refused | nothing can be set that is not meant to be |
