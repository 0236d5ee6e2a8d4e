//! Published vulnerabilities of similar systems, how portcullis prevents each, and the tests that check it.
//!
//! The tables name tests by file. Tests below `tests/it` run on SQLite, PostgreSQL and MariaDB. The test
//! `tests/it/tidy.rs` makes sure that every file named here exists.
//!
//! The end of this page lists what is not solved yet. If you use this version, you must handle those points
//! yourself.
//!
//! # Tokens
//!
//! | vulnerability | protection | tests |
//! |---|---|---|
//! | `alg: none`, algorithm confusion, a key in the header (RFC 8725 2.1, 3.1, 3.10) | the header of a token must be identical, byte for byte, to one that a configured key writes; no parser reads anything else in it | `tests/it/token.rs`, `tests/it/fuzz.rs` |
//! | claims of the wrong type count as absent (jsonwebtoken CVE-2026-25537) | claims are read into a closed struct; a missing, repeated, unknown or mistyped member makes the token invalid | `tests/it/token.rs` |
//! | a token made for one purpose is accepted for another (RFC 8725 3.11) | the purpose is in the signed header and in the row, and both must agree | `tests/it/token.rs`, `tests/it/session.rs` |
//! | a publicly known default secret (Kratos GHSA-hgx2-28f8-6g2r) | there is no default; short, repetitive and placeholder secrets are refused | `src/base/secret.rs`, `tests/it/config.rs` |
//! | an attacker sends invalid tokens to cause load | the signature is checked before any statement; tokens larger than 4 KiB are refused before the signature is checked | `tests/it/budget.rs`, `tests/it/token.rs` |
//!
//! # Cookies and other sites
//!
//! | vulnerability | protection | tests |
//! |---|---|---|
//! | an insecure cookie hides the prefixed cookie (better-auth #9806) | Only the exact `__Host-` name is read. Of two cookies, the one that portcullis signed and can renew is used. If both meet this condition, nobody is signed in | `src/session/cookie.rs`, `tests/it/cookie.rs`, `tests/it/fuzz.rs` |
//! | cross-site requests, and forced logins without a cookie | `Sec-Fetch-Site` and `Origin` are checked, with the rule of Go 1.25. Mounted routes check them with and without a cookie. A form needs proof of its origin | `src/base/same_origin.rs`, `tests/it/csrf.rs` |
//! | open redirects through a return address (better-auth CVE-2024-56734, Authelia GHSA-36f2-fcrx-fp4j) | Only a path of this site is accepted. Every decoded form is checked, and a test also checks it with the WHATWG parser. There is no list of hosts that could be wrong | `src/base/redirect.rs`, `tests/it/guard.rs` |
//!
//! # Sessions
//!
//! | vulnerability | protection | tests |
//! |---|---|---|
//! | a session exists before the second factor (better-auth GHSA-xg6x-h9c9-2m83) | an unfinished sign-in has another type in the program, in the token and in the row; finishing it creates a new row | `tests/it/session.rs`, `tests/it/login.rs`, `tests/ui/pending_is_no_session.rs` |
//! | a code of an authenticator works twice: at another route, on another node, or after it has confirmed the authenticator (Infisical PR 6112, dex PR 4884, CVE-2026-61630) | one UPDATE with the condition that the step is later uses it up, in every flow; the step belongs to the seed | `tests/it/totp.rs`, `tests/it/second_factor.rs` |
//! | another method or another sign-in brings new guesses at the second factor (better-auth PR 10240) | all second factors of an account have one count, in all sign-ins and sessions | `tests/it/second_factor.rs` |
//! | the answer to a challenge works in another sign-in, for another account or twice, or new challenges are asked for until one can be answered | a challenge belongs to one session and is used up with its answer; a limit for each account counts how many are started | `tests/it/external_factor.rs` |
//! | the client names the factor that it has proved (new-api GHSA-5353-f8fq-65vc) | the name says which check is made; the session records the factor whose check succeeded | `tests/it/second_factor.rs` |
//! | a thief of a session sets up a second factor, and the owner cannot undo it (Keycloak CVE-2026-37982 is the sibling) | the mailbox is proved before the first factor, and the notice of each new one has a link that removes it, unless a role requires a factor | `tests/it/factor_undo.rs` |
//! | a stored digest is accepted as a recovery code (SimpleLogin PR 2132) | the digest is keyed, and what is presented is always digested | `tests/it/recovery_code.rs` |
//! | a thief of the password adds a factor of their own, or removes the owner's | a change needs a recent second factor if there is one, and not a mailed or texted code if there is a stronger one. The first one needs a recent proof of the mailbox, if the account has a mail address. A change ends all other sessions, and the owner is told | `tests/it/totp.rs`, `tests/it/sent_code.rs` |
//! | a role requires a second factor, and an account without one keeps its old session, or signs in another way (better-auth PR 9122) | every way to sign in and every request look at the roles; the account reaches only the routes that set up a factor | `tests/it/enrolment.rs` |
//! | a weaker factor stands in for the one that a role requires | it is not offered, and its code is wrong | `tests/it/enrolment.rs` |
//! | one answer of an authenticator signs in twice, or in another browser (Keycloak #49920) | a challenge is a row of one browser, one session and one purpose; the first answer deletes it, right or wrong | `tests/it/passkey.rs` |
//! | the policy for passkeys is only in the options for the browser (Keycloak CVE-2026-8830) | algorithm, verification of the user, origin and domain are checked on the server | `src/webauthn/tests.rs`, `tests/it/passkey.rs` |
//! | a passkey without verification of its user counts as two factors, or does so as soon as it starts to verify its user (we-promise/sure PR 2911) | it is one factor, until another factor is proved beside it | `tests/it/passkey/second_step.rs` |
//! | a service with a wrong origin makes browsers delete all passkeys (aspnetcore #68128) | domain, origin and user are checked before a passkey is said to be unknown | `tests/it/passkey.rs` |
//! | owners are locked out when their passkeys become synchronised (supabase/auth #2732), or are moved (keepassxc #13323) | a passkey may become synchronised, and the counter of a synchronised one may start again | `tests/it/passkey.rs` |
//! | a passkey that the browser made by itself, with a stolen password, outlives the password | it is one factor, and is deleted with the password | `tests/it/passkey/by_browser.rs` |
//! | a passkey that a stranger added before the owner proved the address still works afterwards (super-productivity #9032) | none can be added before, and the first proof removes all | `tests/it/passkey.rs` |
//! | an identity is known by its mail address ("nOAuth" of Entra; Casdoor, Gitea and others) | issuer and subject identify it; an address links only if the provider is trusted for it and the account has proved it too, and never to an account with a second factor | `tests/it/federation/mail.rs` |
//! | a provider's address links to an account that a stranger created before (classic pre-hijacking) | the person gets the account without anything that its creator has set | `tests/it/federation/mail.rs` |
//! | one provider's answer is used for another (mix-up, RFC 9207), or a code is put into another browser | each provider has its own callback and its own flow; `iss` is checked, and PKCE and the nonce come from the cookie of the browser | `tests/it/federation.rs`, `tests/it/federation/lies.rs` |
//! | a link that somebody else prepared links their identity to your account (login CSRF) | linking needs a session with a recent factor, ends in a confirmation that names the identity, and belongs to one browser | `tests/it/federation/linking.rs` |
//! | an ID token is accepted with another algorithm, audience, `azp`, issuer, time or nonce | each is a check with its own test; only the configured algorithm is accepted | `src/oidc/tests.rs`, `tests/it/federation/lies.rs` |
//! | discovery or keys are read from an address in the own network, or after a redirect (SSRF) | no redirects, and the address to which the connection is made is checked, not only the name | `src/federation/client.rs` |
//! | a logout token works twice, or an ID token works as one | its id is stored until it is too old; it must have the type `logout+jwt` and no nonce | `tests/it/federation/logout.rs` |
//! | a second use of a refresh token ends all tokens | one request refreshes, decided by one UPDATE | `tests/it/federation/without_discovery.rs` |
//! | a sign-in with a provider skips the second factor of the account | it is one factor, unless the service has said when it is two | `tests/it/federation.rs`, `tests/it/every_way_in.rs` |
//! | an API key is made for the account that the body names (CVE-2025-61928) | the account is that of the session; a body that names one is refused | `tests/it/own_api_key.rs` |
//! | the restrictions of a route hold for one header that carries a key, and not for another (GHSA-57q6) | a key is read once, from either header, and then there is only one kind | `tests/it/api_key.rs` |
//! | a revoked key works on from a cache (granit PR 2894, executor PR 1870) | each request reads the row of its key | `tests/it/api_key.rs` |
//! | the digest of a key in the database is accepted as the key (soundspan PR 28) | what is shown is digested, with a key that is not in the database | `tests/it/api_key.rs` |
//! | an API key counts as a factor, or changes credentials | a key has no identity, and no flow takes it | `tests/it/api_key.rs` |
//! | an account that is locked after wrong passwords stops its programs, so a stranger can | the lock is for passwords alone | `tests/it/api_key.rs` |
//! | a trusted device counts as the second factor, and satisfies a guard that asks for a recent one | it is no factor: such a session has only the password, and every change needs a second factor of the account | `tests/it/trusted_device.rs` |
//! | a trusted device works on after a new password, a new factor or a recovery (scheb/2fa #126, vaultwarden PR 7682) | it is bound to the epoch of the account, which each of these increases; a recovery code, a reported session and a suspected theft end it too | `tests/it/trusted_device.rs` |
//! | a session that a trusted device began keeps one factor after its account got more rights | each request checks whether the device may still stand in | `tests/it/trusted_device.rs` |
//! | the trust is renewed at each use and never ends, or is lost after the first use (better-auth #2728) | the end is fixed when it is given; each use replaces the token, and the cookie keeps the end | `tests/it/trusted_device.rs` |
//! | the mailbox is the whole account: it replaces the password, and then is the second factor (authentik #18639) | after a reset by mail, a mailed code is no second factor for a day | `tests/it/sent_code.rs` |
//! | somebody convinces the help desk that they have lost their phone | a recovery waits for three days, every address of the account can stop it without a sign-in, and the link goes to a verified address, or to a new one after the notices to all verified ones | `tests/it/account_recovery.rs` |
//! | an administrator recovers the account of somebody with more rights, and signs in with it | the rights of both are compared at every step, no administrator sees the link, and with a new address another administrator must complete it | `tests/it/account_recovery.rs` |
//! | the session id does not change at login (tower-sessions before 0.12.1) | a login always creates a new row and ends the old one in the same transaction | `tests/it/session.rs` |
//! | parallel renewals sign people out, or a replay is not detected | token generations: the old one stays valid until the new one was used late; after that, its use ends the session | `tests/it/rotation.rs`, `tests/it/race.rs` |
//! | a killed browser, a lost answer, clock differences or a slow handler look like a theft | a use counts as late after 90 s; a replay is detected by the time at which its request arrived | `tests/it/replay.rs`, `tests/it/chromium.rs` |
//! | a thief sends requests so often that rotation gives them each new token | Rotation does not detect this. The event `session_shared` reports it if the thief uses another network and another browser family. `session.binding` may end the session, or let nothing count that was proved before | `tests/it/replay.rs` |
//! | a refusal clears the cookie that another tab has just received (NextAuth and others) | only signing out clears a cookie | `tests/it/replay.rs`, `tests/it/cookie.rs` |
//! | "sign out everywhere" misses a sign-in in progress | it increases the account's epoch, which that sign-in has read before | `tests/it/race.rs` |
//! | an `Upgrade` header keeps an expired token valid | only a WebSocket handshake counts as an upgrade, and its 101 answer carries the new token | `tests/it/rotation.rs`, `tests/it/chromium.rs` |
//! | a demoted or banned account keeps access through a cached session (better-auth #10187, allauth 65.13.0) | no session is cached; each request reads the row, the account and the versions | `tests/it/node.rs`, `tests/it/account.rs`, `tests/it/permission.rs` |
//! | other sessions survive a change of the password (Rodauth 2.41) | the account's epoch increases in the same transaction, and every request compares it | `tests/it/password_change.rs` |
//! | a delegated session acts as the owner: it changes the password and then signs in without its limit | the flows that change the account need an `AccountOwner`; a session with a ceiling gets one only if the ceiling allows it | `src/identity/owner.rs`, `tests/it/limited_session.rs`, `tests/ui/limited_identity_is_no_owner.rs` |
//! | `OPTIONS`, a repeated path parameter or a negated rule bypasses a guard | every method is checked; a guard that cannot decide answers 500 and allows nobody; a narrower ceiling never allows more | `src/guard/require.rs`, `src/guard/requirement.rs`, `tests/it/guard.rs`, `tests/it/router.rs` |
//! | an outage is treated as "signed out" or, worse, as "allowed" | the answer is 503, and no cookie is changed | `tests/it/outage.rs` |
//! | a leaked table of sessions contains usable tokens | the row stores a keyed digest; its public id is not a credential | `tests/it/session.rs` |
//!
//! # Passwords and accounts
//!
//! | vulnerability | protection | tests |
//! |---|---|---|
//! | answers or their timing reveal who has an account (Authelia #949, Vendure GHSA-6f65-4fv2-wwch) | The answer is the same for an unknown name, a wrong password, and a disabled, unverified, deleted or passwordless account. Each costs one hash. Every name has its own salt. Registration does reveal that a name is taken | `tests/it/login.rs` |
//! | an account without a password has the hash of an empty one (allauth 65.11.1) | it has no hash | `tests/it/login.rs` |
//! | very common passwords, or the name plus a year, are accepted | a list of 27 579 common passwords, the names of the account and the service, and an optional list of breached passwords are refused | `src/password/policy.rs`, `tests/it/password.rs` |
//! | passwords are cut off at 72 bytes, or at NUL | passwords are used exactly as sent; an imported bcrypt hash accepts only passwords that bcrypt reads completely | `src/password/foreign.rs`, `tests/it/registration.rs` |
//! | a stored hash needs gigabytes of memory (Kratos) | the parameters of stored hashes are limited before memory is allocated | `src/password/hash.rs`, `tests/it/login.rs` |
//! | many simultaneous logins use all memory | the number of simultaneous hashes is limited; a permit is held until its hash is finished, so disconnecting does not free it early | `src/password/gate.rs`, `tests/it/login.rs` |
//! | many logins from one source block everyone else | Sources take turns in the hash queue. One has at most a quarter of the places (an IPv6 /48 half), and nobody waits for longer than 10 s | `src/password/queue.rs`, `tests/it/flood.rs` |
//! | names that look alike, or differ only in case, are two accounts | the same normal form is used for login, uniqueness and records | `src/account/login_id.rs`, `tests/it/account.rs` |
//! | registering an existing name takes the account over | the unique key decides, and nothing is overwritten | `tests/it/registration.rs`, `tests/it/race.rs` |
//! | registration or a form reveals which addresses are registered (Devise #5790) | strict registration and requests for a verification mail answer with the same bytes after the same statements | `tests/it/registration.rs`, `tests/it/verification.rs` |
//! | `a@x,b@y` as an address sends the link to both (NextAuth GHSA-xv97-c62v-4587) | an address must be one plain mailbox; otherwise the answer is 422 | `tests/it/registration.rs` |
//! | an attacker prepares an account for the address of someone else (Sudhodanan and Paverd 2022) | the first verification from elsewhere removes everything that was set before; see [`verification`](crate::guide::verification). Each of the five attacks also has a test with a provider | `tests/it/verification.rs`, `tests/it/contact.rs`, `tests/it/ownership.rs`, `tests/it/federation/mail.rs` |
//! | someone takes an address or a number, never verifies it, and blocks its owner permanently | a verification takes the account over; deleting an account frees the addresses that it never verified; a number goes to the account that verifies it | `tests/it/registration.rs`, `tests/it/contact.rs`, `tests/it/ownership.rs` |
//! | a request that was accepted before the account changed hands is carried out afterwards | the statement that makes the change also checks the account's epoch | `tests/it/password_change.rs`, `tests/it/contact.rs` |
//! | a consent is shown for one payment and used for another, or twice, or it is gone although the payment failed | a proof has a digest of the details in a stated form, which must be compared before it can be used up; it is used up in the transaction of the action, and a handler that forgets this is a finding | `tests/it/action_proof.rs` |
//! | any signed-in session approves a device that it was never asked about (better-auth GHSA-cq3f-vc6p-68fh); opening the page claims it | a decision needs the sealed proof that this sign-in has seen the request as it is; looking writes nothing | `tests/it/device_login.rs` |
//! | a device is let in although the account was locked or disabled meanwhile (Keycloak CVE-2026-9798, CVE-2026-16103) | lock, disabling, the epoch and the approving session are looked at for the approval and again for the token | `tests/it/device_login.rs` |
//! | a stranger sends a person the code of their own device (RFC 8628 section 5.4, RFC 10027) | the page gets who asks, from where and since when; the same browser is refused; networks can be required to be the same; two digits on the device; the session has a ceiling and can be reported. What is left is on the page [`device_login`](crate::guide::device_login) | `tests/it/device_login.rs` |
//! | the token of a program is copied from a log, a proxy or a backup, and used elsewhere (RFC 9449 section 1) | a session can be bound to a key; each request then needs a proof, for this method, URL and token, with a nonce of this service, that no node has seen before | `tests/it/dpop.rs` |
//! | a token that is bound to a key is accepted without proof under another scheme (RFC 9449 section 7.2) | a bound token counts only as `DPoP`, and an unbound one never does; the row of the session says so too | `tests/it/dpop.rs` |
//! | many polls at once get many sessions, or write to the database each time | the row moves first, in one conditional statement; a poll that waits writes nothing | `tests/it/device_login/race.rs` |
//! | a new code gives new attempts (keycloak #26180) | attempts are counted per purpose and account, before the answer is compared | `tests/it/challenge.rs` |
//! | rights from the body of a request (better-auth 1.6.16) | bodies are closed structs: an unknown field makes the body invalid; the session decides which account's password is changed | `tests/it/bad_input.rs`, `tests/it/registration.rs` |
//! | an attacker tests a list of addresses at an open registration | Each name that was found taken is an event and counts for its source. After fifty in an hour the source may not test any other name | `tests/it/flood.rs` |
//! | a default administrator, or an attacker who registers the administrator's address first | the administrator is created once, with a random password; no existing account is promoted | `tests/it/bootstrap.rs` |
//!
//! # Mail and forgotten passwords
//!
//! | vulnerability | protection | tests |
//! |---|---|---|
//! | `a@x,b@y` sends the link to a second person (NextAuth GHSA-xv97-c62v-4587); CR/LF in an address adds a recipient | an address must be one plain mailbox; this is checked when it is stored and again when mail is put into the outbox | `tests/it/outbox.rs`, `tests/it/contact.rs`, `src/account/login_id.rs` |
//! | the form for a forgotten password reveals who has an account (Devise #5790) | the answer and the statements are always the same, and another task sends the mail | `tests/it/password_reset.rs` |
//! | an attacker floods one mailbox with many spellings of its address (`a+1@`, `a+2@`), or many mailboxes from one source | All spellings of a mailbox share one limit, and each source has a limit. Requests of an attacker do not count for a verified address or a known device | `tests/it/flood.rs`, `src/outbox/mailbox.rs` |
//! | many registrations delay the mail that a person waits for | resets and codes are sent first | `tests/it/flood.rs` |
//! | an attacker asks for a sign-in link of the victim, and the victim follows it (login by a mailed link without a bound browser) | the link and the code sign in only in the browser that asked, which has a signed cookie. Another browser is shown the code, and the mail says to give it to nobody | `tests/it/mail_login.rs` |
//! | a form for a sign-in link reveals who has an account | the answer and the statements are always the same, also for a wrong code | `tests/it/mail_login.rs` |
//! | a sign-in link skips the second factor, or a mailed code is the second factor of a sign-in by mail (Kratos GHSA-wc43-73w7-x2f5) | it ends like every sign-in. The session records one factor, and the same mailbox is not accepted as another one | `tests/it/mail_login.rs` |
//! | a sign-in link of an account that an attacker prepared gives the victim an account that both can use (pre-hijacking) | if the address was not verified, the sign-in removes everything that was set before and asks for a new password | `tests/it/mail_login.rs`, `tests/it/ownership.rs` |
//! | a new sign-in mail gives new attempts at its code, or a request of a stranger replaces the mail of the owner | wrong codes are counted for the account over all mails. A mail belongs to its browser, so no other request replaces it | `tests/it/mail_login.rs` |
//! | a link that is built from the request's `Host` leads to the attacker | links come only from the configuration | `tests/it/password_reset.rs` |
//! | a mail scanner uses up a link, a link works twice, or it stays valid after a change of password or address | Opening a link changes nothing. One conditional UPDATE uses it up. It is bound to the address, the hash and the last sign-in, and it ends when the factors change or the account is disabled | `tests/it/password_reset.rs` |
//! | a thief with one session makes the owner's links invalid, by ending "the other sessions" again and again | some mailed links need no session: resets, undo links, verification links. None of them depends on anything that ending sessions changes. A sign-in by mail does, so a reset is the way back | `tests/it/password_reset.rs`, `tests/it/way_back.rs`, `tests/it/verification.rs` |
//! | a reset turns the second factor off, or signs in without it (Kratos GHSA-wc43-73w7-x2f5) | it signs nobody in, and the factors of a verified address stay | `tests/it/password_reset.rs` |
//! | an attacker registers the victim's address first, and keeps access after the victim's reset (pre-hijacking, Sudhodanan and Paverd 2022) | if the address was not verified, a reset ends the sessions and removes the password, factors, codes and links that were set before | `tests/it/password_reset.rs` |
//! | with two changes at once, the token of one confirms the address of the other (Devise #1948, #5783, CVE-2026-32700) | The old and the new address are in the row of the token and bound to it. No code reads a "pending address" of the account | `tests/it/contact.rs` |
//! | a change of address is completed much later than it was requested, or by a former holder of the account | it becomes invalid with the next request for a change, with the session that requested it, and when the account's epoch increases | `tests/it/contact.rs` |
//! | a form reveals whether an address is taken, or one account takes the address of another | the answer and the statements are always the same, and the owner is notified; the unique key decides when the address is verified | `tests/it/contact.rs` |
//! | a thief changes the address and the owner is locked out | the old address can undo it for seven days, and a thief who is signed in cannot prevent that | `tests/it/contact.rs` |
//! | a thief closes the account, so that its owner loses it | it stays for 14 days, every verified address gets a link that reopens it, and a link that undoes a change of address reopens it too | `tests/it/own_account.rs` |
//! | a link for one purpose is used for another: an undo link reopens an account, or a link of an earlier closing undoes a later one | the digest of a token contains its purpose, and the link is bound to this closing | `tests/it/own_account.rs` |
//! | an erased account comes back with an import, or leaves rows in a forgotten table | the id stays; a test fills every table, erases, and finds nothing left | `tests/it/own_account.rs` |
//! | the owner restores their address, and the thief's address gets a link that undoes *that* | Only the first address, or one that was there for a week, gets a link. Restoring an earlier address counts as an undo, and later changes end with it | `tests/it/way_back.rs`, `tests/it/ownership.rs` |
//! | two nodes order undo links by their clocks, and the thief's seems to be the earlier one | a counter in the account's row orders them | `tests/it/way_back.rs`, `tests/it/ownership.rs` |
//! | a program that sends mail reads an address as an option (`-oQ/tmp@example.com`) | a local part that begins with `-` is refused, and so is such a recipient | `tests/it/registration.rs`, `src/account/login_id.rs` |
//! | an attacker who registers the victim's address first leaves their own identifier in the account (the trojan identifier of Sudhodanan and Paverd) | an account cannot get more names before its main address is verified; names that the application added are removed at the first verification from elsewhere | `tests/it/login_name.rs` |
//! | the owner overlooks a name that a thief added, and moves to a new address; later the thief makes that name the main address | only an address that was the main address before can be restored, so the new address gets an undo link. Until then, the thief's name can reset the password: remove names that you do not know | `tests/it/way_back.rs` |
//! | a thief adds their own address and has password links sent there | The account's main address is notified, and the link in that mail removes exactly this name for seven days, whatever was changed later. Undoing a change of address also removes names that were added after it | `tests/it/login_name.rs` |
//! | the last sign-in name is removed, or two simultaneous requests each remove one of the last two | names change while the account's row is locked; the last one stays | `tests/it/login_name.rs` |
//! | a lock keeps the owner out (Keycloak GHSA-cq42-vhv7-xr7p) | a reset by mail removes the lock; a lock of sign-ins or of requests never stops a valid link | `tests/it/password_reset.rs` |
//! | links are requested without limit, or tokens are guessed without being counted | Both count as attempts: requests are delayed and locked in the same way for every name. Tokens count for their source, whether they are checked or used | `tests/it/password_reset.rs` |
//! | an attacker floods a mailbox through the form | each recipient has a cool-down and a maximum, counted by a conditional UPDATE | `tests/it/password_reset.rs`, `tests/it/outbox.rs` |
//! | an attacker reads links and codes in the table of queued mail | they are encrypted for their row, and deleted when they are sent | `tests/it/outbox.rs`, `src/base/seal.rs` |
//! | a display name with markup changes the mail | HTML is escaped, values have only one line, and built-in templates show nothing that a stranger chose | `src/message/template.rs`, `tests/it/outbox.rs` |
//!
//! # Guessing
//!
//! | vulnerability | protection | tests |
//! |---|---|---|
//! | each spelling of a name has its own counter (Authelia GHSA-m5mf) | there is one counter per account, for all its names and all their spellings | `tests/it/attempt.rs` |
//! | an attacker signs in to their own account to reset the counter (allauth before 65.8.1) | a success resets only the counter of its own account; that of the source is reset only by time | `tests/it/attempt.rs` |
//! | a new code or a new login resets the counter (Keycloak #26180) | counters belong to the account or name, not to the challenge or session | `tests/it/attempt.rs`, `tests/it/challenge.rs` |
//! | parallel guesses are counted too late | an attempt takes its number, a unique key, before it is checked | `tests/it/attempt.rs` |
//! | one code path checks the lock and another does not (Keycloak CVE-2026-9798) | all code that compares a password or a code asks one function for permission; a test checks each path with each lock, in a table | `tests/it/attempt_kind.rs` |
//! | a lock reveals who has an account (Laravel #13658, Symfony CVE-2021-21424) | Names without an account are locked in the same way. A refused attempt gets the answer of a wrong password, after the same work and the same time. Visible limits are counted by the name that was typed | `tests/it/attempt.rs`, `tests/it/told.rs` |
//! | an attacker tries one password at many accounts from many addresses | no limit per account detects this; portcullis watches the share of failed sign-ins, and the names that fail from one network | `src/attempt/watch.rs`, `tests/it/told.rs` |
//! | a thief prevents the notification of the owner: with a bearer token, without cookies, or with so many messages that nobody reads them | A client with a bearer token has a device token too. A sign-in from a new network and kind of browser always gets its own message, and only repeats are combined | `tests/it/new_device.rs` |
//! | a thief who was signed out returns with a device that the account once knew, and the owner is not notified | after a new password or an end of all sessions, every earlier device counts as new | `tests/it/new_device.rs` |
//! | an attacker can lock the owner out | a browser that has signed in before has its own counter, and sessions continue | `tests/it/known_device.rs`, `tests/it/token.rs` |
//!
//! # Permissions
//!
//! | vulnerability | protection | tests |
//! |---|---|---|
//! | an empty part grants everything below it (Apache Shiro: `a:`) | it is refused when it is written, and grants nothing when it is read from an old row | `src/permission/language.rs`, `tests/it/permission.rs`, `tests/it/fuzz.rs` |
//! | an id with permission syntax in it makes a check broader | an id is added only through [`Permission::on`](crate::Permission::on); such a path is answered with 404 | `tests/it/guard.rs`, `tests/it/fuzz.rs` |
//! | a composed name imitates a membership: an id `7-owner`, a role named `list-7-owner` | The names of resources and levels contain no `-`, so each composed name has only one meaning. Such a role cannot be created, and an older one does not count as a role | `src/permission/level.rs`, `tests/it/membership.rs` |
//! | a late answer of another system restores revoked rights | answers are numbered at the time of the request; an older one is discarded | `tests/it/membership.rs` |
//! | a role on one resource that contains `*` grants everything | only permissions of exactly that domain count, on exactly that instance | `src/permission/grants.rs`, `tests/it/permission.rs` |
//! | a new route has no guard (OWASP A01, CWE-862) | a guarded router accepts no route without an access, guards methods that it cannot list, and a test compares who may call what with a file | `tests/it/router.rs`, `tests/it/test_kit.rs` |
//!
//! # Sources and logs
//!
//! | vulnerability | protection | tests |
//! |---|---|---|
//! | `X-Forwarded-For` is trusted from any client (allauth 65.14.2) | it is trusted only from listed proxies, and read from right to left | `src/base/client.rs` |
//! | an attacker avoids a limit by changing addresses inside one IPv6 network (better-auth GHSA-p6v2-xcpg-h6xw) | limits count by /64, and IPv4 written as IPv6 counts as IPv4 | `src/base/client.rs`, `tests/it/anonymous.rs`, `tests/it/rate_limit.rs` |
//! | a limit allows twice as much at the edge of its window, or nothing is limited when its store fails (Redis down, fail open) | limits use sliding windows; if the store fails, each node counts locally, with a quarter of each limit | `src/base/rate.rs`, `tests/it/rate_limit.rs` |
//! | forged log lines | texts are escaped in traces; the audit log contains ids and fixed words | `tests/it/audit_log.rs` |
//! | secrets in logs | types that contain a secret have no `Display`, no `Serialize` and a blank `Debug` | `tests/it/tidy.rs`, `tests/ui/secret_does_not_print.rs` |
//!
//! # Not solved yet
//!
//! - A thief of the password can set up the first second factor of an account that has no mail address, or if the
//!   service cannot send mail to it, or if `factor.prove_mailbox` is off.
//! - For three days after a second factor was set up, a person who can read the mailbox can remove it with the link in
//!   the [notice](crate::second_factor#undoing-a-new-factor). Where a role requires a factor, there is no such link.
//! - A [captcha](crate::captcha) does not stop people who pay others to solve it. It is a price, and no rule relies on it.
//! - Open registration creates accounts whose addresses are not verified yet. Trust an address only if
//!   [`is_verified`](crate::Account::is_verified) returns true, or use strict registration.
//! - Open streams are closed when their session ends only if your code waits for
//!   [`session_end`](crate::Portcullis::session_end).
