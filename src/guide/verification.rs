//! How addresses are verified, and how this stops accounts that an attacker prepared.
//!
//! # Setting it up
//!
//! 1. Give the builder a notifier (see [`guide::mail`](crate::guide::mail)) and a public URL.
//! 2. Create a page for `mail.links.verify`, by default `/verify`. It takes the token after the `#` of its address
//!    and posts it to `/auth/verification/confirm`. Opening the page must change nothing, because mail scanners
//!    open links too. Ask for the password on this page, or say that without it the user must set a new one.
//! 3. Turn `login.require_verified` on. Registration is then strict: it does not reveal which addresses are
//!    registered, and nobody can sign in before the address is verified. It also makes no session. So this page must
//!    ask for the password, or the user must set a new one: see [below](#what-a-verification-keeps).
//!
//! | answer to `POST /auth/verification/confirm` | what the page does next |
//! |---|---|
//! | 200 `{"result": "verified"}` | shows the sign-in form. With `"username_taken": true`, it also says that another account has got the username meanwhile, and that the user signs in with the address |
//! | 200 `{"result": "password_change_required"}` | asks for a new password and sends it to `PUT /auth/password` |
//! | 403 `wrong_password` | lets the user type the password again, or leave it out; the link is still valid. An empty `password` is a wrong password, and counts as a failed attempt. So leave the field out of the request if the user typed nothing |
//! | 403 `wrong_code` | offers `POST /auth/verification`, which sends a new link or code |
//! | 409 `already_verified` | shows the sign-in form |
//!
//! # What a verification keeps
//!
//! A verification shows who controls the mailbox, but not who created the account. So there are two cases:
//!
//! - **The verification comes from the browser that registered, or with the account's password.** The account
//!   keeps everything.
//! - **It comes from anywhere else.** The account is handed over to the owner of the mailbox. All earlier
//!   passwords, sessions, factors, phone numbers and open codes are removed, and the new owner sets a password.
//!
//! A browser counts as the one that registered if it has a session of the account. With `login.require_verified`, a
//! registration makes no session, in the open mode and in the strict mode. Then only the browser of a
//! [visitor](crate::anonymous) counts: it had an anonymous session when it registered, and has it still. All others
//! need the password.
//!
//! A [sign-in by mail](crate::mail_login) to an address that nobody has verified is a verification from anywhere else.
//!
//! This has a cost. A user may register on a computer and open the link on a phone without the password. This
//! user must then set a new password.
//!
//! If an account already has a verified address, another address never causes a hand-over. Its
//! verification then requires a session or the password.
//!
//! # Accounts that an attacker prepared
//!
//! Sudhodanan and Paverd ("Pre-hijacked accounts", USENIX Security 2022) found that 35 of 75 large services were
//! vulnerable to at least one of five attacks. In each of them, the attacker first registers with the address of
//! a victim who has no account yet.
//!
//! | attack | protection |
//! |---|---|
//! | classic and federated merge: the victim signs in through a provider and is merged into the attacker's account | an identity is linked only to an account that has proved the same address; otherwise the person takes the account over, as with a link, see [`federation`](crate::federation) |
//! | unexpired session: the attacker stays signed in while the victim takes over the account | the hand-over increases the account's epoch: every existing session ends with its next request, on every node |
//! | trojan identifier: the attacker adds their own address or number, to get access later | the hand-over removes every name except the username and the verified address; an account cannot get [more names](crate::login_name) before its main address is verified |
//! | unexpired change of address: the attacker starts a change to their own address, to finish it later | the hand-over ends all open codes and links of the account; they are also bound to its epoch |
//! | provider that verifies nothing: the attacker claims the victim's address at such a provider | a provider's word counts only for the addresses for which you [trust](crate::config::MailTrust) it |
//!
//! Portcullis does not change data that your application stores by account id. If some of that data must not
//! survive a hand-over, look for `user_verified` with the detail `handed over` in the audit log.
//!
//! # The same answer for every address
//!
//! A request for a verification mail is always answered with 202, whether the address is unknown, waits for
//! verification, or was verified long ago. The answer never comes before 25 ms. This is longer than the work
//! takes with a database nearby. For an unknown address the same statements run, and the row in the outbox has
//! the kind `none`. A wrong code for an address without an account is counted and refused like any other.
//!
//! Two things are public: a taken username, because people must choose another one, and, with open
//! registration, a taken address.
