//! Every default, with its reason and source.
//!
//! The settings themselves are also on one page: [`config`](crate::config). `build()` checks all settings
//! together and reports all errors at once. A setting that works but has a risk is reported as a
//! [finding](crate::Portcullis::audit). Many settings can also be read from environment variables. The page
//! [`config::env`](crate::config::env) lists them, and says which settings have none, such as peppers, captchas and
//! `config.factor`.
//!
//! # Keys
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `keys.secrets` | none: `build()` fails | a default secret would be publicly known. At least 32 bytes; placeholders and repetitive secrets are refused |
//! | `keys.signing` | HS256, keys derived from the secrets | the same service signs and verifies, so a symmetric key is sufficient, and it is the fastest. HKDF-SHA-256 with a label per purpose (RFC 5869): a value made for one purpose cannot be used for another |
//!
//! # Service
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `service.public_url` | none, with a finding | links and the issuer must never depend on the `Host` of a request |
//! | `service.issuer` | the public URL, else `portcullis` | `iss` and `aud` are checked (RFC 8725 3.8, 3.9); two services with the same secret need different issuers |
//! | `service.trusted_origins` | none | a listed origin may do everything that a signed-in user may; a subdomain is not trusted automatically. Any scheme, compared exactly; never `null` or `file` |
//! | `service.strict_origin` | off | browsers send `Origin` with unsafe requests. Other programs do not, but they hold no cookie that another site could misuse |
//! | `service.unauthenticated` | 401 problem+json | most services are APIs; a redirect is for services with pages |
//! | `service.step_up_page` | none | only the application knows its pages |
//! | `service.bearer` | off | in a browser, a cookie that no script can read is safer |
//! | `service.clear_site_data` | off | it also deletes data that the application stored |
//! | `service.no_store` | on | after signing out, the Back button must not show pages of the user. Answers that set `Cache-Control` or `Expires` themselves are not changed, and neither are public routes |
//! | path of `service.public_url` | none | only the operator knows which prefix a proxy removes from the path |
//! | `proxies.prefix` | off | if a proxy does not remove `X-Forwarded-Prefix`, clients can choose it |
//!
//! # Cookie
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `cookie.name` | `session`, sent as `__Host-session` | with this prefix the browser refuses a cookie that a subdomain sets or that is set over http (RFC 6265bis) |
//! | attributes | `Secure; HttpOnly; Path=/; SameSite`, no `Domain` | ASVS 5.0 V3.3; not configurable, except by the next rows |
//! | `cookie.same_site` | `Lax` | `Strict` would show people as signed out when they follow a link; the same-origin rule covers the requests that `Lax` allows |
//! | `cookie.partitioned` | off | only a service inside pages of other sites needs it; people then sign in once for each such site |
//! | `cookie.danger_insecure_http_cookies` | off | Chromium and curl accept secure cookies on loopback, so development does not need it |
//! | `Max-Age` | the refresh window, or the remaining lifetime of the session if that is shorter | an older cookie could not be renewed anyway |
//!
//! # Sessions
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `session.token_lifetime` | 15 min | a stolen copy is detected at the next rotation; a shorter time costs more writes |
//! | `session.refresh_window` | 7 d | how long a session may be idle |
//! | `session.absolute_lifetime` | 30 d | NIST SP 800-63B-4, AAL1; presets for AAL2 and AAL3: [`SessionConfig`](crate::config::SessionConfig) |
//! | `session.unremembered_lifetime` | 12 h | a day at a shared computer |
//! | `session.pending_lifetime` | 10 min | a sign-in in progress is as valuable as a password; still long enough to find a phone |
//! | `session.password_change_lifetime` | 5 min | users type the new password immediately |
//! | `session.anonymous_lifetime` | 24 h | the cart of a visitor may be lost after a day |
//! | `session.anonymous_per_minute` | 10 per source | anyone can create these rows; IPv6 counts by /64 |
//! | `session.replay_after` | 90 s | 30 s because a browser may save its cookies that much later, 30 s because clocks of nodes may differ, and 30 s as a reserve. Below 60 s `build()` fails, because a killed browser would look like a thief. `token_lifetime` must be longer |
//! | `session.recent_factor` | 5 min | maximum age of a factor for changes to the account |
//! | `session.binding` | `Log` | networks and browsers also change for harmless reasons, so a change is logged and signs nobody out. `StepUp` asks for a factor again before anything that needs one, and suits services with step-ups; `Suspect` and `End` are stricter |
//! | `session.max_per_account`, `at_limit` | no limit; with a limit, the oldest session ends | ASVS 5.0 7.1.2 requires a decision: people have many devices and can end each session. Refusing a new session instead would lock out a person who lost a device. A limit costs a login two statements and a lock on the account's row |
//! | random bits of a token | 128 | ASVS 5.0 7.2.3; not configurable |
//!
//! # Challenges
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `challenge.code_length`, `code_alphabet` | 8 digits | 26 bits, and every keyboard has digits. Below 20 bits `build()` fails (NIST SP 800-63B-4) |
//! | `challenge.code_lifetime` | 10 min | ASVS 5.0 6.5.5 for codes sent out of band |
//! | `challenge.attempts`, `attempts_window` | 5 in any hour | for one purpose of one account, with any number of codes: the chance to guess a code within a year is one in two thousand. Counted as [attempts](crate::attempt) of the kind `Challenge`; codes of a sign-in by mail have the same limits and the kind `MailLogin` |
//! | `challenge.attempts_by_purpose` | none | for one purpose that needs fewer or more. It is a setting and not part of a start, because wrong codes are counted over all codes of a purpose. The lifetime and the cool-down belong to one code: set them where you [start](crate::challenge::Challenges::start) it |
//! | `challenge.answered_lifetime` | 5 min | the action usually follows immediately |
//! | `challenge.cool_down` | 1 min | other people must not be able to flood a mailbox |
//! | random bits of a link's token | 256 | it is looked up, so nobody can guess it; not configurable |
//!
//! # Change of address, additional addresses
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `contact.confirm_lifetime` | 1 h | the person waits for the mail; much later, someone else may read the mailbox |
//! | `contact.undo_lifetime` | 7 d | how long a change can be undone. It is also how long an address must belong to the account before it may undo a change. The first address may do so at once. Long enough for a holiday. Anyone who reads the old mailbox can undo the change: turn it off (`None`) if old mailboxes are given to other people within days |
//!
//! # Login
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `login.id` | username or email | a name is unique across all accounts and kinds, so it is never ambiguous |
//! | `login.registration` | strict if accounts must be verified and there is a notifier, else open | strict registration does not reveal which addresses are registered, but needs mail; use closed if the application creates the accounts |
//! | `verification.lifetime` | 24 h | NIST SP 800-63B-4 for codes by mail |
//! | `login.max_names` | 10 | enough for one person; more would only block names for others |
//! | `login.require_verified` | off | without a notifier it would lock everyone out; turn it on if the service can send mail |
//!
//! # Passwords
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `password.min_length` | 15 code points | NIST SP 800-63B-4 if a password is the only factor; the smallest allowed value is 8. No composition rules and no expiry: NIST forbids both |
//! | `password.composition` | any characters | NIST SP 800-63B-4 and ASVS 5.0 forbid such rules; "three of four kinds" is for services that must follow an older rule |
//! | `password.context_words` | none; the host of the public URL and its parts are always included | ASVS 5.0 6.2.11: words that everyone would try first for this service |
//! | common passwords | 27 579 are refused | NIST requires a blocklist, ASVS 5.0 at least 3 000. The whole password is compared, as NIST says. Not configurable |
//! | `password.min_strength` | none (feature `strength`) | the minimum length and the blocklist are more important; strength estimates are only estimates |
//! | [`breached_list`](crate::Builder::breached_list) | none | the file has 40 GB, and the operator must decide whether to ask an external service |
//! | `password.breached_outage`, `breached_timeout` | accept, 2 s | an outage of the list must not stop registrations; the failure is traced as an error |
//! | `password.change_page` | none | only the application knows its pages |
//! | maximum length | 1024 bytes | longer passwords are refused before hashing, and nothing is truncated. Not configurable |
//! | cost of a stored hash | Argon2: memory × passes up to 1 GiB, or four times what is configured, at most 4 GiB. PBKDF2: 2 000 000 iterations times the digests of its output. scrypt: 256 MiB of memory, and memory × parallelism up to 512 MiB. bcrypt: up to cost 14 | each is about one second of one core: an imported hash must not make a sign-in cost twenty seconds. Not configurable |
//! | `password.memory_kib`, `iterations`, `parallelism` | 19 456, 2, 1 | Argon2id, the OWASP minimum (password storage cheat sheet); weaker parameters are refused |
//! | `password.peppers` | none | a lost pepper locks everyone out; use one if your secrets are protected better than the database |
//! | `password.concurrent_hashes` | one less than the number of cores, at least 1 | many simultaneous logins leave one core for other requests and use a known amount of memory |
//! | `password.hash_queue` | 512 | above it, 503 with `Retry-After` instead of minutes of waiting. One source gets a quarter of the places (an IPv6 /48 half), and sources take turns. So a flood from one source delays each other source only by one hash. Callers without a known address share all places, because nothing tells them apart. Behind a proxy that is not in `proxies.networks`, all clients look like one source |
//! | `password.hash_wait` | 10 s | after a longer wait people have given up, and their browser sends the request again; then 503 with `Retry-After` |
//!
//! # Failed attempts
//!
//! The page [`lockout`](super::lockout) explains what this means for legitimate users.
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `attempts.limit`, `window`, `lockout` | 15 in 10 min lock for 1 h | at most 123 000 attempts a year. NIST SP 800-63B-4 (3.2.2) allows at most 100 consecutive failures; with more `build()` fails |
//! | `attempts.delay_from`, `first_delay`, `longest_delay` | from the 6th, 1 s, doubled up to 60 s | people usually remember a forgotten password within five attempts. All nine delays together are four minutes, so the lock is still reached within its window |
//! | `attempts.source_limit`, `source_window` | 100 in 10 min, all kinds and subjects together | stops one source that tries a password at many accounts; an office behind one address stays below it. Successes never count |
//! | `attempts.reveal_lockout` | off | an attacker who knows how long to wait does something else in that time |
//! | `attempts.watch.window`, `least_failures`, `names_per_network` | 10 min, 100, 50 | detects passwords tried at many accounts from many addresses. A small service has fewer than a hundred failures by mistake, and even a Monday morning has less than three times the usual share. An office where fifty people mistype and most of them fail is rare |
//! | `attempts.device_lifetime` | 180 d | as long as people keep a browser; at most 400 d, because browsers limit the age of a cookie to that. A device remembers five accounts: enough for a family, and small enough for a cookie |
//! | messages about new devices | each network and kind of browser once in 30 d, ten a day, repeats in one message a day | not configurable: [`new_device`](crate::new_device) has the reasons |
//! | `attempts.kinds` | `SecondFactor` locks for 12 h | 15 guesses an hour would be about 120 000 a year, and each guess at a code of six digits is right with a chance of 3 in a million. With twelve hours it is about 11 000. A person who guesses has proved the password already, and the owner is told |
//! | `attempts.kinds`, for the other kinds | nothing set | Failures of one kind never lock another. A kind uses the settings above for everything that it does not set. For codes of challenges and of sign-ins by mail, these are `challenge.attempts` and `attempts_window`. Their window must not be shorter than `challenge.code_lifetime` or `mail.login_lifetime`, because one code would get more attempts. `Reset` and `MailLoginLink` have no settings: nobody can guess 256 bits, and a lock would keep the owner from their link |
//!
//! # Proxies
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `proxies.networks` | none | any client can send this header, so by default it is never trusted |
//! | `proxies.header` | `X-Forwarded-For` | most proxies write this header; the other one is never read |
//!
//! # Permissions
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `permission.levels` | none | only the application knows its levels and their order |
//! | `permission.source_timeout` | 2 s | a sign-in waits for it; after that it continues with the stored memberships |
//!
//! # Rate limits
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `rate.per_source` | 3 000 a minute | enough for a thousand people behind one address who all sign in within a few minutes. A machine that floods the service is limited to 50 requests a second; more would overload password hashing. IPv6 counts by /64, the part that one customer has |
//! | `rate.per_principal` | 300 a minute | five a second for one account over all its sessions: more than any page needs, less than a script that reads in a loop. Logins with one name have the same limit. This is only a coarse limit; [failed attempts](crate::attempt) have their own |
//! | `rate.taken_names` | 50 an hour and source | open registration reveals that a name is taken, and every mode reveals it for usernames. No person finds fifty taken names, and nobody can test a list of addresses with fifty. Above the limit the source may not test other names, but it can still sign in |
//! | `rate.registrations` | 100 an hour and source | each registration creates an account and costs a hash, and needs nothing but a name. An office or a class behind one address stays below it. Without the limit, one source could create 180 000 accounts an hour. It counts all names and all results, except refused fields. If many people register from one address at once, raise it, or set it to `None` for that time |
//! | `rate.unknown_sources` | 10 | if client addresses are unknown, all clients share the limits of ten sources. They cannot be told apart, and without a limit anyone could fill the tables. Failed attempts are the exception: with a shared limit, one attacker could stop everyone from signing in, so only the limit per name applies |
//! | `rate.store` | this process | costs nothing; with several nodes each limit applies per node, until they share a store |
//! | `rate.timeout` | 250 ms | a limit must not be slower than what it protects; after that, a quarter of the limit applies, counted locally |
//! | events | the first refusal of a rule and subject in a minute, 100 subjects a minute | a client that is refused in a loop must not fill a table. Not configurable |
//!
//! # Captchas
//!
//! Nothing of this is used without a [captcha](crate::captcha).
//!
//! | setting | default | reason |
//! |---|---|---|
//! | [`captcha`](crate::Builder::captcha) | none | each kind costs people time, or gives data to a third party. Only you know what your users can do |
//! | `captcha.login_after` | 5 failures | people usually remember a forgotten password within five attempts. Delays begin at the sixth |
//! | `captcha.register_after`, `forgot_after` | 3 requests | one person needs one, and a household two |
//! | `captcha.window` | 10 min from the first failure | like the window of [attempts](#failed-attempts) |
//! | `captcha.lifetime` | 5 min | long enough to hear the digits twice and to fill a form. At least 30 s and at most an hour |
//! | `captcha.attempts` | 3 | people mistype a digit; a guess is right once in a million |
//! | `captcha.fetches` | 10 | a page that is loaded again, and both the picture and the sound. More would only cost time to draw |
//! | `captcha.per_source` | 30 a minute | each picture is a row, and drawing takes some milliseconds |
//! | `captcha.workers`, `wait` | 2 at once, 5 s | drawing never takes the threads of requests or of password hashes; then 503 with `Retry-After` |
//! | `captcha.provider_timeout` | 5 s | a provider that hangs must not hold requests. Then the answer is 503: without an answer nobody gets through |
//! | digits of a picture | 6 | a guess is right once in a million. Not configurable |
//!
//! # Database
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `database.timeout` | 5 s per flow | an answer of 503 is better than a queue |
//! | `database.writers` | 6 at once (SQLite: 1) | fewer than the ten connections of the driver's default pool, so that reads get a connection while writes wait for a lock. SQLite allows only one writer at a time; here writers wait in order |
//! | `database.hook_timeout` | 2 s per transaction | less than half of the time that others wait for the lock of the transaction. A hook that hangs then costs its own request a 503, and the others only a wait |
//! | `database.remembered_grants` | 10 000 accounts | compiled grants are cached by version, and each request reads the version. So the cache is never outdated, and a request needs a short statement instead of a large one |
//!
//! # Mail
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `mail.service_name`, `mail.sender` | the host of the public URL, `no-reply@` that host | a correct value to start with |
//! | `mail.link_origin` | the public URL | set it if your pages have another origin than the service: see [`single_page`](super::single_page) |
//! | `mail.links` | `/verify#token=…` and similar paths | a token after the `#` is not sent to any server, log or `Referer` |
//! | `mail.cool_down` | 60 s per recipient and kind | a user who clicks twice gets one mail |
//! | `mail.per_hour` | 5 per recipient and kind | nobody can use this service to fill a mailbox. All spellings of a mailbox count together (`a+x@` is `a@`); see [`outbox`](crate::outbox) |
//! | `mail.per_source` | 100 an hour and source | more than an office requests, and too few to disturb many mailboxes; above it the answer is 429, for known and unknown addresses alike |
//! | order of messages | resets and codes first, because people wait for them | the mails of many registrations must not delay a person who waits. A message that has waited for an hour gets the same priority. Not configurable |
//! | `mail.password_reset_lifetime` | 1 h | people who read the mail later request a new one; NIST allows a day, OWASP recommends an hour |
//! | `mail.login_lifetime` | 10 min | ASVS 5.0 6.5.5 for codes sent out of band: the person waits for the mail, and a mailbox that is read later must not open the account. At most an hour. Wrong codes are counted at least as long |
//! | `mail.login_creates_accounts` | off | a service that mounts the sign-in by mail for its accounts must not become open to everybody by that |
//! | random bits of its link, length of its code | 256; `challenge.code_length` and `code_alphabet` | see [challenges](#challenges) |
//! | `mail.send_timeout` | 30 s per attempt | a mail server that hangs delays at most eight messages, and no request |
//! | `mail.first_retry`, `mail.attempts` | 30 s, doubled up to an hour; 10 attempts | three hours: enough for a mail server that restarts or uses greylisting. A message with a link that undoes a change or reopens an account is attempted until the link expires |
//! | `mail.keep` | 24 h | How long you can look up whether a message was sent. Its text is deleted at once. Most of these rows are caused by people who are not signed in, and no data that they leave is kept longer. A failed message is an event |
//! | `mail.delivery` | a task of the library | mail is sent without any set-up |
//!
//! # Second factors
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `totp.issuer` | the name of the service in messages | the app shows it beside the code |
//! | `totp.algorithm`, `digits`, `period` | SHA-1, 6, 30 s | the defaults of RFC 6238. Several apps ignore other values and show codes that are never right |
//! | accepted codes | the present one, the one before and the one after | RFC 6238 5.2: one step for a slow person or clock. Not configurable |
//! | random bits of a seed | 160 | RFC 4226 4, as long as the output of SHA-1; not configurable |
//! | `totp.max_per_account` | 5 | a phone, a tablet and a spare. Each wrong code is compared with each of them |
//! | `totp.confirm_lifetime` | 15 min | enough to install an app; afterwards the seed on a page that was left open is useless |
//! | `factor.prove_mailbox` | on | a thief of the password must not set up the first second factor and lock out the owner. Switch it off if your users cannot read mail when they set one up |
//! | `factor.mailed_code_after_reset` | 24 h | the mailbox that replaced the password must not be the second factor too. A day gives the owner time to react to the notice. Zero switches it off |
//! | `factor.least` | authenticator | where a role requires a factor, and to change the factors of an account with an authenticator, a mailbox is not enough |
//! | `factor.grace` | none | a role that requires a factor protects something at once. A time of grace suits a rule that is new for many people |
//! | `factor.superusers` | off | with it, a superuser without a second factor must set one up during the sign-in, which needs the mounted routes. Turn it on when your pages can do this |
//! | `factor.undo_lifetime` | 3 d | how long the link in the notice of a new second factor can remove it. Long enough for a weekend. Shorter than for an address, because a person who can read the mailbox can use it too. Where a role requires a factor, there is no link |
//! | `factor.challenges` | 10 an hour | a person who has seen a part of a printed card must not ask until a question comes that they can answer. A count of its own keeps the known devices of the owner free |
//! | `factor.external_timeout` | 5 s | a person waits for the answer. Without one, nobody gets through |
//! | `passkey.rp_id` | the host of `service.public_url` | [passkeys](crate::passkey) belong to one domain, which cannot be changed later. Decide this before the first one is made |
//! | `passkey.related_origins`, `passkey.app_origins` | none | each page and app that may use the passkeys is listed by you |
//! | `passkey.user_verification` | required | a passkey then is two factors. `Preferred` also accepts security keys without a PIN, as one factor |
//! | `passkey.asked_after_password` | on | every second factor is asked for after the password. Switch it off if passkeys are only a more comfortable way to sign in |
//! | `passkey.max_per_account` | 20 | more than a person keeps track of |
//! | `passkey.challenge_lifetime` | 5 min | the default that Web Authentication recommends. A shorter time, from 30 s on, is below its range |
//! | `passkey.challenges` | 60 a minute per source, and for each account | each is a row, and a page that offers passkeys in its field begins one each time it is shown |
//! | algorithms | Ed25519, ES256, RS256 with 2048 to 4096 bits | what authenticators have; not configurable |
//! | a passkey that the browser makes by itself | within 60 s after the password | the browser makes it right after the sign-in; not configurable |
//! | `federation.providers` | none | each [provider](crate::federation) can sign people in, so you name it |
//! | `federation.flow_lifetime` | 10 min | long enough to sign in at the provider with a second factor. RFC 6749 advises the same for the life of a code |
//! | `federation.flows` | 30 a minute per source | each is a row. A person needs a few |
//! | `federation.timeout` | 5 s | a person waits for the answer, which needs up to three requests |
//! | `federation.metadata_age` | 1 h | a provider that changes its keys shows the new ones before it uses them. An unknown key is looked up at once, but at most every five minutes |
//! | policy of a provider | automatic | what most services want. It links only by an address that both sides have proved |
//! | mail addresses of a provider | not trusted; Google and Apple: those that they host | a person who makes a trusted provider state an address gets the account |
//! | two factors at a provider | never count | the service decides which provider it trusts for this |
//! | tokens of a provider | forgotten | what is not stored cannot be stolen |
//! | algorithm of ID tokens | RS256 | the only one that every OpenID provider has |
//! | answers of a provider | at most 64 KiB, no redirects, no private addresses | larger than any real answer; the service must not be used to reach its own network. Not configurable, except the addresses |
//! | `trusted_device.enabled` | off | a [trusted device](crate::trusted_device) gives up the second factor for comfort. Decide this for your service |
//! | `trusted_device.lifetime` | 30 d | like a session: a device that is used every day asks for the factor once a month. From an hour to 90 days; using it does not make it longer, and a shorter time counts at once |
//! | `trusted_device.max_per_account` | 10 | more than a person has. One more replaces the least recently used |
//! | `trusted_device.superusers` | off | the accounts that may do everything should prove both factors each time |
//! | `api_key.prefix` | none, so there are no keys | a prefix of your own lets scanners of public code find a lost key of your service: give them the pattern [`API_KEY_PATTERN`](crate::api_key::API_KEY_PATTERN), with `acme` it is `\bacme_[0-9A-Za-z]{49}\b`. 3 to 16 lower-case letters or digits |
//! | `api_key.header` | none | `Authorization: Bearer` is the standard, and every client can send it |
//! | `api_key.max_per_account` | 20 | more than a person keeps track of |
//! | `api_key.default_lifetime` | 90 d | a key that nobody remembers ends by itself |
//! | `api_key.max_lifetime` | 366 d | a year, also one with 366 days. Up to 10 years for devices that nobody can reach |
//! | `api_key.notice` | 7 d | a week is enough to replace a key, also over holidays |
//! | `retention.api_keys` | 30 d | the holder of an old key still learns why it is refused |
//! | roles that require a factor | forbid trusted devices | a service that requires a factor wants it at each sign-in. [`allow_trusted_devices`](crate::permission::Roles::allow_trusted_devices) changes this for a role |
//! | recovery codes | ten, 120 random bits each | NIST asks for 112 bits where no slow hash is used. Not configurable |
//!
//! # Action proofs
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `action_proof.lifetime` | 10 min, at most two hours | a person reads the page again, and the request comes at once. A consent that is hours old is not one to this action any more |
//! | `action_proof.max_per_sign_in` | 50 | nobody has so many open questions. One more ends the oldest one: the newest button that a person presses works, and a page that asks for proofs and never uses them locks nobody out. The ended proof is answered with `action_proof_ended`, and the page asks again |
//! | `action_proof.remember_open` | 0, at most a minute | a check that an [`OpenConsent`](crate::action_proof::OpenConsent) is still open costs one statement. With a longer time, a proof that was taken back counts for as long in such a check, which uses nothing up |
//! | the same consent again | after 1 s | a double click makes one proof; not configurable |
//! | difference of clocks | 30 s | as for sessions; not configurable |
//!
//! # Recovery by an administrator
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `account_recovery.delay` | 72 h, at least one hour | the owner of the account must be able to read the notice and object, also after a weekend. Without a delay, a person who convinces one administrator has the account |
//! | `account_recovery.open_for` | 14 d after the delay | an administrator may be away; afterwards nobody remembers what was checked |
//! | `account_recovery.link_lifetime` | 24 h | the person waits for this mail. It can be sent again |
//! | `account_recovery.second_administrator` | on | with a new address, one dishonest administrator could enter their own and have the account of somebody who does not read mail for ten days. Two must work together. It matters only for a new address: any other link goes to a mailbox of the owner. Turn it off if there is one administrator, or let a program on the server complete such a recovery |
//!
//! # Device login
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `device_login.clients` | none | nothing can be started. Each client has a ceiling of its own, so that a program for one purpose never gets the whole account |
//! | `session_lifetime` of a client | 30 d | like a session that is remembered. A machine that nobody looks at should get less |
//! | `confirmation` of a client | off | programs that only know RFC 8628 cannot ask for the digits. Turn it on for your own |
//! | `device_login.page` | `/device` | short enough to be typed |
//! | `device_login.routes_at` | `/auth` | where the examples mount routes |
//! | `device_login.lifetime` | 10 min, one to 30 | RFC 8628 leaves it open; long enough to find the phone, and to sign in there |
//! | `device_login.interval` | 5 s, 1 to 60 | the default of RFC 8628 |
//! | `device_login.redeem_within` | 2 min | a device polls every few seconds. A code that was approved must not stay usable for somebody who finds it later |
//! | `device_login.networks` | `Show` | a phone is often in the mobile network, so requiring the same network would refuse honest people. RFC 10027 (6.1.1) asks for a comparison |
//! | `device_login.on_reuse` | `Refuse` | some programs ask once more after a crash. `MarkSuspicious` follows RFC 6749 (10.5): a code that is used twice was copied |
//! | `device_login.starts_per_source` | 10 a minute | each start writes a row |
//! | `device_login.wrong_codes` | 10 in ten minutes, for an account and for a source | a person mistypes twice. There are 25 000 000 000 codes |
//! | `key_bound` of a client | off | programs that only know RFC 8628 prove no key. Turn it on for your own |
//! | code of the person | eight of twenty consonants | RFC 8628 (6.1). No vowels, so that it is never a word. Not configurable |
//! | code of the device | 256 random bits | nobody guesses it. Not configurable |
//! | the token again | for 30 s, or twice the interval if that is longer | an answer can be lost. Not configurable |
//!
//! # Tokens that are bound to a key
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `dpop.require_nonce` | on | RFC 9449 (11.2): nobody can make proofs in advance, and clocks do not matter. It costs a client one more request now and then |
//! | `dpop.lifetime` | 5 min, 10 s to 15 min | RFC 9449 (11.1) asks for seconds or minutes. Each use of a proof is a row for that long |
//! | `dpop.origins` | none | most services have one address, `service.public_url` |
//! | algorithms | ES256, and Ed25519 under its two names | what generic clients have. Not configurable |
//!
//! # Retention
//!
//! [`maintenance`](crate::maintenance) deletes old rows, if you call it.
//!
//! | setting | default | reason |
//! |---|---|---|
//! | `retention.sessions` | 7 d after the end | as long as a token can be renewed: until then its owner is told why it is refused. Sessions of visitors are kept for one hour: nobody needs the reason, but a sign-in that replaces one may be in progress. With less than an hour `build()` fails |
//! | `retention.challenges` | 1 h after the end, at least one minute | a second click soon afterwards gets the right answer, and a captcha is not accepted again by a node whose clock is behind; nobody needs the row later |
//! | `retention.attempts` | 24 h | no rule looks further back than a window plus its lockout, or plus its longest delay; with less than that `build()` fails |
//! | `retention.events` | 180 d | intrusions are often found after months, but data protection requires a limit. Laws or contracts may require more: a year is common for card payments |
//! | `retention.denials` | 30 d | they are for alerts and for finding the cause of a failure, not for history |
//! | `retention.unverified_accounts` | 7 d, only if `login.require_verified` is on | A link is valid for a day, and its owner may be away for a weekend. After that the account only blocks an address for others. If accounts can be used without verification, none is deleted |
//! | `retention.closed_accounts` | 14 d | How long a closed account can be reopened. It covers a holiday of the owner whose account a thief has closed. Data protection asks for an erasure within a month, and backups need some of that time. Between one and 90 days: with less, the link would be over before it is read |
//! | `retention.account_recoveries` | 180 d after the time for it, and after the lifetime of a link | as long as the events: a fraud is often found after months |
//! | `retention.erased_sources` | 30 d after the erasure | Network addresses and details of the events of an erased account. A person who does harm and then leaves can be traced for this long. After it, the events only count what happened |
//! | `retention.device_requests` | 24 h after the time to decide | a person can read what they have decided. Most rows are of strangers |
//! | session data | as long as its session has a row | it is deleted with the last session of its lineage, never earlier. Not configurable |
//! | record of messages about new devices | 30 d | as long as a place counts as reported. Not configurable |
//!
//! # Request bodies of the mounted routes
//!
//! | limit | value | reason |
//! |---|---|---|
//! | size | 16 KiB | enough for names and a password; checked before the body is parsed |
//! | media type | JSON; a form only with proof that a page of this service sent it | any site can send a form without a question from the browser |
//! | unknown fields | refused | clients can set only the intended fields |
