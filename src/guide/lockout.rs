//! Failed sign-ins: what slows a guesser down, and what that does to everybody else.
//!
//! People who guess passwords have time. Without a limit they have some fifty tries a second, as fast as
//! hashes are computed; a common password is found in a day. So tries are counted per account, and
//! refused for a while when there are too many. That has a price: somebody who wants to annoy an account's
//! owner can fail on purpose. This page says what they can reach, and why that is bearable. How the
//! counting works is on the page of [`attempt`](crate::attempt).
//!
//! # What a guesser meets
//!
//! | failures in ten minutes | then |
//! |---|---|
//! | 1 to 5 | nothing: that is a forgotten password |
//! | 6 to 14 | a wait of 1, 2, 4, 8, 16, 32, 60, 60, 60 seconds before the next try counts |
//! | 15 | an hour in which nothing is tried at all |
//! | 100 from one source, whomever they were about | that source waits until the first of them is ten minutes old |
//!
//! Fifteen tries every hour and four minutes are 123 000 a year. A password that is not among the
//! 27 579 refused ones and has fifteen characters is not found with that many; trying all that eight
//! digits can be takes eight hundred years.
//!
//! Guessers learn nothing meanwhile. A refused try gets the answer of a wrong password, byte for byte,
//! after the same work: the password is hashed and the verdict thrown away. The right password gets it too.
//! Names that are nobody's are counted, delayed and locked in the same way.
//!
//! What is told at all (that the tries at a code are used up; everything with `reveal_lockout`) depends
//! only on what was typed. It stays the same when a name gets an owner, and it does not show at the other
//! names of that owner: there a try is refused silently.
//!
//! # What each lock stops
//!
//! Passwords, requests for links, tokens and codes are counted apart, by one
//! [mechanism](crate::attempt). What somebody has used up the tries at stops this and nothing else; a
//! dash is "works as ever".
//!
//! Codes that prove an address without a session are told by the address that was typed; a second
//! address of the same account gets 403 as for a wrong code.
//!
//! | | sign-ins locked | requests for links locked | codes of one purpose used up |
//! |---|---|---|---|
//! | `POST /login`, `POST /reauthenticate`, `PUT /password` | looks like a wrong password | - | - |
//! | `POST /verification/confirm` with the password | looks like a wrong password | - | - |
//! | `POST /password/forgot` | - | looks accepted, nothing is sent | - |
//! | `POST /password/reset`, `/password/reset/check` | - | - | - |
//! | `POST /verification/confirm` with a code | - | - | 429 `too_many_tries`, for this purpose |
//! | `POST /email/confirm`, `/phone/confirm`, `/login-names/confirm` with a code | - | - | 429 `too_many_tries`, for this purpose |
//! | a code of the application's own | - | - | 429 `too_many_tries`, for this purpose |
//! | a link instead of a code | - | - | - |
//!
//! Tokens of a reset have no lock of an account: they are not guessed, and a lock would stop their
//! owner. Guesses at them count for their source, and a source with too many failures is refused in
//! every row above, except on a browser that the account is known to sign in from.
//!
//! # What an honest user meets
//!
//! - **Forgot the password, tries a few.** Five wrong ones cost nothing. From the sixth on there is a
//!   wait, of which the page says nothing: a right password within that second fails. If that confuses
//!   more people than it should, `attempts.reveal_lockout` says 429 and when to come back instead. A
//!   guesser reads that too.
//! - **Somebody else attacks the account.** Sessions go on: nobody is signed out. On a browser that
//!   has signed in before, signing in works as ever, because it has a count of its own
//!   (`__Host-session-device`), for each of the last five accounts that were used there. What is
//!   refused for the hour is signing in on a *new* browser. The owner is told by mail
//!   (`account_locked`), once per lock, and a forgotten password set anew lifts it.
//! - **Somebody else asks for links in their name.** They get a few mails. When no more are sent for a
//!   while, the last link is still good, and a browser that has signed in before can ask for another.
//! - **Somebody else uses up the rate of sign-ins under their name.** A browser that has signed in before
//!   has a rate of its own.
//! - **Somebody else uses up the codes at one of their addresses.** A right code for another address is
//!   then refused like a wrong one for up to an hour, because saying more would tell which addresses
//!   belong together. The link in the same mail works.
//! - **Locks are told, and they mistype again after a success.** What is told counts failures of the last
//!   ten minutes whatever succeeded in between, for a success must not show. A browser that is known is
//!   judged by its own count.
//! - **Everybody in the office behind one address.** Successes are never counted, whoever's they are, and
//!   failures of known browsers are not stopped by the source's limit. It takes a hundred failures from
//!   strangers within ten minutes before anybody has to wait. Where an honest network has more, raise
//!   `attempts.source_limit`, or set it to `None` and leave it to limits in front.
//! - **Somebody in the same network tries out names at the registration.** After fifty names that were
//!   taken nobody there can register for a minute or so at a time. Everybody there signs in as ever.
//!   Where that hurts, raise `rate.taken_names`.
//! - **A class registers behind one address.** A hundred registrations an hour pass, whatever their
//!   names. The next ones are told when to come back. Where an honest network has more, raise
//!   `rate.registrations`, or set it to `None` while the course is on.
//! - **Somebody else uses up what a mailbox may get.** A link that was sent before stays good, and it is
//!   in that mailbox. Requests under other spellings of the address take nothing from one that is
//!   proved. Only an address that nobody has proved yet may wait for its first mail for up to an hour.
//! - **A script with the right password, many times at once.** It gets in, every time. Tries that are
//!   still being judged make later ones wait for them instead of refusing them.
//!
//! # What an operator can do
//!
//! [`auth.attempts().purge(..)`](crate::attempt::Attempts::purge) lifts a lock by forgetting the
//! failures: of one account, of one name, of one kind, older than some age, or everything.
//! [`refused_until`](crate::attempt::Attempts::refused_until) says until when strangers are refused.
//! [`auth.maintenance()`](crate::maintenance) removes records that count no more.
//!
//! # Why not
//!
//! - **only per source?** A guesser has thousands of addresses; an account has one.
//! - **only per account?** One password against a million accounts never meets a limit per account.
//! - **locked until an operator unlocks?** Then locking everybody out is a script of ten lines. NIST SP
//!   800-63B-4 (3.2.2) allows a hundred failures in a row at most, and asks for delays before that.
//! - **a captcha instead?** It slows programs less than people. It can be added in front.
//! - **telling the owner of every failure?** They would stop reading.
//!
//! # What is left
//!
//! - An account whose owner signs in at long intervals from ever new browsers, such as private windows,
//!   can be kept locked by somebody who tries once an hour. Tell such people to let their browser keep
//!   cookies.
//! - A thief of a known browser's cookie has fifteen tries an hour more, for each of up to five accounts
//!   that have signed in there. Ending all sessions of an account takes its part away.
//! - Two people who sign in to two accounts in one browser in the same second: one of the two is not
//!   remembered there until its next sign-in.
//! - Tries at two names of one account in the same moment do not wait for each other, or the time would
//!   tell that they belong together. When one more failure is due to delay or lock the account, the later
//!   one is refused, even if both passwords are right.
//! - The failure that locks writes one event and one message more than others, for every name.
//! - The first sign-in ever is no new device, for there is nothing it could be compared with. A
//!   registration that signs in, a session that the application starts and a reset count as that first one.
