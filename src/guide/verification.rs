//! How addresses are proved, and why an account that somebody else prepared is worth nothing.
//!
//! # Setting it up
//!
//! 1. Give the builder a notifier (see [`guide::mail`](crate::guide::mail)) and a public URL.
//! 2. Make a page for `mail.links.verify`, by default `/verify`. It takes the token from behind the
//!    `#` of its address and posts it to `/auth/verification/confirm`. Opening it must change nothing:
//!    mail scanners open links too. Ask for the password on it, or say that without it a new one will
//!    have to be set.
//! 3. Switch `login.require_verified` on. Registration is strict then: nobody learns from it whose
//!    address is known, and nobody signs in before the address is proved.
//!
//! | answer to `POST /auth/verification/confirm` | the page then |
//! |---|---|
//! | 200 `{"result": "verified"}` | shows the sign-in |
//! | 200 `{"result": "password_change_required"}` | asks for a new password and sends it to `PUT /auth/password` |
//! | 403 `wrong_password` | lets it be typed again, or left out: nothing was spent |
//! | 403 `wrong_code` | offers `POST /auth/verification`, which sends a new one |
//! | 409 `already_verified` | shows the sign-in |
//!
//! # Who proves it decides what is kept
//!
//! An address proves who has the mailbox, not who made the account. So a proof from the browser that
//! registered, or with the account's password, keeps everything; a proof from anywhere else hands the
//! account over: no password, session, factor, phone number or open code that was there before is left,
//! and the new owner sets a password. Somebody who registers at a desk and opens the link on a phone
//! without the password sets a new one; that is the price.
//!
//! An account with one proved address is never handed over by another one: then a session or the
//! password is asked for.
//!
//! # Accounts that were prepared by somebody else
//!
//! Sudhodanan and Paverd ("Pre-hijacked accounts", USENIX Security 2022) found 35 of 75 large services
//! open to at least one of five attacks. All begin with an attacker who registers with the address of
//! somebody who has no account yet.
//!
//! | attack | here |
//! |---|---|
//! | classic and federated merge: the victim comes by a provider and is merged into the attacker's account | there is no sign-in by a provider yet, so there is nothing that merges; whoever proves the address takes the account over |
//! | unexpired session: the attacker stays signed in while the victim takes the account | handing over moves the account's epoch: every session there is ends with its next request, on every node |
//! | trojan identifier: the attacker adds an address or number of their own to come back by | handing over removes every name but the username and the proved address; an account whose own address was never proved gets no [further names](crate::login_name) |
//! | unexpired change of address: the attacker leaves a change to their own address open, to finish it later | handing over ends every open code and link of the account, and they are bound to its epoch |
//! | provider that verifies nothing: the attacker claims the victim's address at a careless provider | there is no sign-in by a provider yet |
//!
//! What an application hangs on the account's id is its own: look for `user_verified` with the detail
//! `handed over` in the audit log if something there must not survive.
//!
//! # The same answer for everybody
//!
//! Asking for a proof answers 202 whether or not the address is known, waits for it or was proved long
//! ago, and never sooner than after 25 ms, which is longer than the work takes with a database nearby. For a stranger's address the same
//! statements run, and the row in the outbox is of kind `none`. A wrong
//! code for an address without an account is counted and refused like any other.
//!
//! Two things are public all the same: a username that is taken (people choose another), and, with
//! registration in the open mode, an address that is.
