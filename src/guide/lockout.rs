//! Failed sign-ins: how they slow down an attacker, and what they mean for legitimate users.
//!
//! Attackers who guess passwords have a lot of time. Without a limit they could make about fifty
//! attempts a second, as fast as the server computes hashes. They would find a common password
//! within a day. So portcullis counts the attempts per account, and refuses attempts for a while
//! when there are too many.
//!
//! This has a cost: an attacker can fail on purpose, to lock the owner of an account out. This page
//! explains what such an attacker can achieve, and why this is acceptable. The page
//! [`attempt`](crate::attempt) explains how attempts are counted.
//!
//! # What an attacker experiences
//!
//! | failures in ten minutes | consequence |
//! |---|---|
//! | 1 to 5 | none: the user may have forgotten the password |
//! | 6 to 14 | a delay of 1, 2, 4, 8, 16, 32, 60, 60, 60 seconds before the next attempt counts |
//! | 15 | for one hour every attempt is refused |
//! | 15 wrong codes of second factors | for twelve hours every code of the account is refused, except on a known device |
//! | 100 from one source, for any accounts | the source must wait until the first of these failures is ten minutes old |
//!
//! Fifteen attempts every hour and four minutes are 123 000 a year. That is not enough to guess a password
//! that has fifteen characters and is not among the 27 579 refused ones. To try all numbers with eight digits
//! would take eight hundred years.
//!
//! The attacker learns nothing from the answers:
//!
//! - A refused attempt gets the same bytes as a wrong password, after the same work. The password is hashed,
//!   and the result is discarded. The correct password gets this answer too.
//! - Names without an account are counted, delayed and locked in the same way.
//!
//! Two kinds of limits are visible to the client: the limit on attempts at a code, and, with `reveal_lockout`,
//! all limits. Such an answer depends only on the name that was typed. It does not change when an account gets
//! this name. It does not appear at the other names of that account either: there, an attempt is refused
//! without saying so.
//!
//! # What each lock stops
//!
//! Passwords, requests for links, tokens and codes are counted separately, by the same
//! [mechanism](crate::attempt). If the attempts of one kind are used up, only this kind is locked. In the table,
//! a dash means "works as usual".
//!
//! A code that verifies an address without a session is limited by the address that was typed. At a second
//! address of the same account, the answer is then 403, as for a wrong code.
//!
//! | | sign-ins locked | requests for links locked | codes for one purpose used up |
//! |---|---|---|---|
//! | `POST /login`, `POST /reauthenticate`, `PUT /password` | same answer as for a wrong password | - | - |
//! | `POST /verification/confirm` with the password | same answer as for a wrong password | - | - |
//! | `POST /password/forgot` | same answer as for an accepted request, but nothing is sent | - | - |
//! | `POST /password/reset`, `/password/reset/check` | - | - | - |
//! | `POST /verification/confirm` with a code | - | - | 429 `too_many_attempts`, for this purpose |
//! | `POST /email/confirm`, `/phone/confirm`, `/login-names/confirm` with a code | - | - | 429 `too_many_attempts`, for this purpose |
//! | a code of your application | - | - | 429 `too_many_attempts`, for this purpose |
//! | `POST /login/mail`, which has its own lock for requests | - | - | - |
//! | `POST /login/mail/confirm` with a code | - | - | 429 `too_many_attempts`, for codes of sign-ins by mail |
//! | a link instead of a code | - | - | - |
//!
//! Passwords and second factors that your application compares, in a directory for example, are counted by
//! [`auth.attempts().begin(..)`](crate::attempt::Attempts::begin). Such a password counts with the sign-ins of
//! the table. Second factors have a count of their own, which codes of authenticators, recovery codes and sent
//! codes share.
//!
//! No lock stops the [API keys](crate::api_key) and sessions of an account. Otherwise a stranger could stop your programs
//! by guessing.
//!
//! Reset tokens have no lock per account. Nobody can guess them, and a lock would stop the owner. Wrong tokens
//! count for their source. A source with too many failures is refused in every row of the table, except on a
//! browser that is known to the account.
//!
//! # What a legitimate user experiences
//!
//! - **A user forgot the password and guesses.** Five wrong passwords have no consequence. From the
//!   sixth failure on there is a delay, which the answer does not mention: a correct password
//!   within the delay fails too. If this confuses too many people, turn on
//!   `attempts.reveal_lockout`. The answer is then 429 and says when to try again. An attacker can
//!   read that too.
//! - **Somebody who has the password guesses codes of the second factor.** After 15 wrong codes, every code is refused
//!   for twelve hours, a recovery code too. Sessions continue, and so do sign-ins on known devices. The owner gets a mail
//!   (`second_factor_locked`) that asks for a new password. An operator can remove the lock with
//!   [`auth.attempts().purge(..)`](crate::attempt::Attempts::purge).
//! - **An attacker guesses passwords of the account.** Existing sessions continue. A browser that has signed in
//!   before can still sign in, because it has its own counter (cookie `__Host-session-device`). It has one for
//!   each of the last five accounts that used it. For one hour, only sign-ins from *new* browsers are refused.
//!   The owner gets one mail per lock (`account_locked`). Resetting a forgotten password removes the lock.
//! - **An attacker requests links for another person's account.** The owner gets a few mails. While requests are
//!   locked, no more mails are sent, but the last link stays valid. A browser that has signed in before can
//!   request another link.
//! - **An attacker uses up the attempts at codes of a sign-in by mail.** For up to one hour, the
//!   owner cannot type a code on a new browser. The link still works in the browser that asked, and
//!   so does the code on a browser that has signed in before. A lock of passwords does not stop a
//!   sign-in by mail, and such a sign-in does not remove the lock: an attacker would get new
//!   attempts at the same password.
//! - **An attacker uses up the rate limit for sign-ins with one name.** A browser that has signed in before has
//!   its own rate limit.
//! - **An attacker uses up the attempts at codes for one address of the account.** For up to one hour, a
//!   correct code for another address of the account is refused like a wrong one. Another answer would reveal
//!   which addresses belong together. The link in the same mail still works.
//! - **Lockouts are revealed, and a user mistypes again after a success.** The revealed limit counts all failures
//!   of the last ten minutes, even if a sign-in succeeded between them. Otherwise the answer would show a
//!   success. A known device has its own counter.
//! - **A whole office shares one address.** Successes never count. The limit of the source does not stop known
//!   devices. Other people must wait only after a hundred failures from unknown devices within ten minutes. If
//!   a legitimate network has more failures, raise `attempts.source_limit`. You can also set it to `None` and
//!   rely on limits at the proxy.
//! - **Someone in the same network probes names at registration.** After fifty names that were taken, nobody in
//!   that network can register for about a minute at a time. Signing in works as usual. If this is a problem,
//!   raise `rate.taken_names`.
//! - **A class registers from one address.** A hundred registrations an hour are allowed, with any names. Later
//!   ones get the time when to try again. If a legitimate network needs more, raise `rate.registrations`, or set
//!   it to `None` during the course.
//! - **An attacker uses up the message limit of a mailbox.** A link that was sent before stays valid, and it is
//!   in that mailbox. Requests for other spellings of the address do not count for a verified address. Only an
//!   address that nobody has verified may wait up to one hour for its first mail.
//! - **A script sends the correct password many times at once.** Every sign-in succeeds. While attempts are still
//!   being checked, later attempts wait for them and are not refused.
//!
//! # What an operator can do
//!
//! - [`auth.attempts().purge(..)`](crate::attempt::Attempts::purge) removes a lock by deleting the recorded
//!   failures. You can select one account, one name, one kind, a minimum age, or everything.
//! - [`refused_until`](crate::attempt::Attempts::refused_until) returns the time until which attempts from
//!   unknown devices are refused.
//! - [`auth.maintenance()`](crate::maintenance) deletes records that no longer count.
//!
//! # Alternatives that were not chosen
//!
//! - **Limits only per source.** An attacker has thousands of addresses, but an account is only one.
//! - **Limits only per account.** An attacker who tries one password at a million accounts never reaches a limit
//!   per account.
//! - **A lock until an operator removes it.** Then a script of ten lines could lock everyone out. NIST SP
//!   800-63B-4 (3.2.2) allows at most a hundred consecutive failures, and recommends delays before that.
//! - **A captcha.** Programs solve it too, so nothing here relies on one. A [captcha](crate::captcha) can make
//!   attempts more expensive before a delay begins.
//! - **A mail to the owner for every failure.** The owner would stop reading them.
//!
//! # Remaining limitations
//!
//! - Some people sign in rarely and always from new browsers, such as private windows. An attacker can keep their
//!   account locked with attempts every hour. Ask these users to let their browser keep cookies.
//! - A thief with the cookie of a known device has fifteen additional attempts an hour, for each of up to five
//!   accounts that have signed in there. Ending all sessions of an account makes its part of the cookie invalid.
//! - If two people sign in to two accounts in one browser in the same second, the browser remembers only one of
//!   them. The other is remembered at the next sign-in.
//! - Simultaneous attempts at two names of one account do not wait for each other. The waiting time would reveal
//!   that the names belong together. If one more failure would delay or lock the account, the later attempt is
//!   refused, even if both passwords are correct.
//! - The failure that causes the lock writes one event and one message more than other failures. This is the same
//!   for every name.
//! - The first sign-in of an account never counts as a new device, because there is nothing to compare it with.
//!   A registration that signs in, a session that the application starts, and a reset count as this first one.
