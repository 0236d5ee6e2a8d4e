//! Signing in a television, a command-line program or an agent from a phone: what it risks, and how it works.
//!
//! The capability is [`device_login`](crate::device_login). It follows RFC 8628, and RFC 10027, which says how
//! flows across devices are made safer.
//!
//! # Should you use it?
//! Prefer a passkey where the phone can use one. If the device can show a QR code, and has Bluetooth and a
//! browser, the person can sign in with the passkey on their phone. The phone then checks that it is near the
//! device, and for which site it signs. Nobody can pass such a sign-in on by mail.
//!
//! Do not use a device login on the same device. A phone or a computer with a browser can open your sign-in page
//! itself. Portcullis refuses an approval from the browser that has asked.
//!
//! Use it for what is left: televisions, printers, programs on a command line, machines without a screen.
//!
//! # What can go wrong
//! A stranger starts the request, and sends the code to a person: "type this code to join the meeting". The
//! person approves, and the *stranger's* device is signed in. No password was stolen, and no page was false. The
//! channel between the device and the person is the person alone, and neither side can check it.
//!
//! | risk | how likely | what limits it | what is left |
//! |---|---|---|---|
//! | a code is sent to a person, who approves it | likely, if your accounts are worth it | the page names program, address, age and network; "deny" comes first; ten minutes to decide; two digits on the device, if the client asks for them | a person who is deceived well enough approves anyway, and can be led to type the two digits into a false page |
//! | a person is tired and approves what they did not start | rare: nothing is pushed to them, they must type a code | a recent factor; the code is compared | as above |
//! | a code is guessed | one in 25 000 000 000 for each guess and open request | ten wrong codes in ten minutes for each account and each source | many sources together, at a few requests: still hopeless |
//! | the code on the screen is read by another person | likely in a shop or an office | they can only approve it for *their* account. The device is then signed in as them, which the phrase and the name on the device show | a person uses a device that is signed in to another's account, and types secrets there |
//! | the token of the device is stolen | depends on the device | a [key](#keys), without which it is useless; the ceiling and the lifetime of the client; the list of sessions; a mail to the owner | without a key: until it is noticed, it does what the ceiling allows. With one: somebody who can run programs on the device can use the key |
//! | the device code is read in a log of the device | rare | if the program named its [key](#keys) at the start, the code is useless without the key. A code is used once. A second use is refused, and can mark the session suspicious | without that, a thief who polls before the device gets the token |
//! | another program uses the id of yours | easy: an id is no secret | the ceiling is small, and the page shows it | the name on the page says nothing about who asks |
//!
//! So decide for each client: how small the ceiling can be, how short the lifetime, and whether its users can
//! type two digits. If the ceiling is `*`, the first risk in the table means that a stranger takes over the account.
//! Even then, a device changes nothing of the account: it ends no other session, makes no API key and approves no other
//! device (`limited_session`).
//!
//! The three words that both sides show help a person to find the right one of two requests. They do not stop
//! phishing, because the stranger sends the words too. Networks are compared (`device_login.networks`): a person
//! in an office whose television is said to be on another continent has a reason to deny. A phone that uses the
//! mobile network is in another network as well, so requiring the same one fits a company better than a home. If you
//! have a database of providers, [`network_names`](crate::Builder::network_names) makes two networks of one provider
//! count as one, and the page can show the name.
//!
//! # The page
//! - The person types the code, or comes with it in the address. Show the code either way, and ask them to compare
//!   it with the device. Never decide because the page was opened: link scanners open pages too.
//! - Say who asks, from where, since when and for what. What the device says about itself is under `claimed`:
//!   print it in quotes, as a claim.
//! - "Deny" comes first and has the focus. Say: "If you did not start this yourself just now, deny it."
//! - The request has a `view`. Send it back with the decision. It proves that this sign-in has seen what it
//!   decides about. If something has changed, the answer is `device_view_outdated`: show it again.
//! - Offer "report" next to "deny", and in the list of sessions: also after the approval, it ends the device.
//!
//! The example `device-login` has such a page, and a program for the command line.
//!
//! # On the wire
//! A program needs the address of your service and a `client_id`. `GET /.well-known/oauth-authorization-server`
//! names the rest.
//!
//! ```text
//! POST /auth/device                                 client_id=cli&scope=doc:read
//! 200  {"device_code": "…", "user_code": "BCDF-GHJK", "verification_uri": "https://example.com/device",
//!       "verification_uri_complete": "https://example.com/device?user_code=BCDF-GHJK",
//!       "expires_in": 600, "interval": 5, "phrase": "river lamp otter"}
//!
//! POST /auth/device/token                           client_id=cli&device_code=…&grant_type=urn:ietf:params:oauth:grant-type:device_code
//! 400  {"error": "authorization_pending"}           ask again after `interval` seconds
//! 400  {"error": "slow_down"}                       from now on five seconds longer
//! 200  {"access_token": "…", "token_type": "Bearer", "expires_in": 900, "session_id": "…"}
//! ```
//!
//! The bodies of requests are forms. A parameter that is sent twice is refused, an empty one counts as not sent,
//! and others are ignored. `scope` is a list of permissions; stars and alternatives are refused. The answer has a
//! `scope` if fewer permissions were approved. Renew the token with `POST /auth/session/refresh`, see
//! [`bearer`](crate::guide::bearer).
//!
//! With a confirmation, the first answer has `"confirmation": true`. The program asks its user for the two digits,
//! and sends them as `confirmation` with a poll. Without them, or with wrong ones, an approved request answers
//! `confirmation_required`. After three wrong ones, it is denied.
//!
//! # Keys
//! A program that has a key pair can bind its session to it. Then a copy of the token is useless
//! ([`dpop`](crate::dpop), RFC 9449). There are two ways:
//!
//! - It proves the key at the start, with the header `DPoP`, or names it there with `dpop_jkt`, the thumbprint of
//!   the key. Then the code is useless without this key too. `dpop_jkt` at this route is an extension of ours;
//!   RFC 9449 section 10 has it for another request. Do this in your own programs.
//! - It proves the key only with its polls, as programs of others do that know RFC 9449. Then the token is bound,
//!   and the code is not: a thief of the code can poll first, with a key of their own.
//!
//! The answer says `"token_type": "DPoP"`. With [`key_bound`](crate::config::DeviceClient::key_bound), a program
//! without a key gets no token. Turn this on for your own programs, if they run where the key cannot be copied.
//!
//! ```text
//! POST /auth/device/token                           DPoP: eyJ0eXAiOiJkcG9wK2p3dCIs…
//! 400  {"error": "use_dpop_nonce"}                  DPoP-Nonce: AAABoMz…; send it again, with this nonce in the proof
//! 200  {"access_token": "…", "token_type": "DPoP", "expires_in": 900, "session_id": "…"}
//!
//! GET /films                                        Authorization: DPoP eyJ…   DPoP: eyJ0eXAiOiJkcG9wK2p3dCIs…
//! ```
//!
//! A refused proof changes nothing. One that is refused for its nonce does not count as a poll, so the program can repeat
//! the poll at once.
//!
//! # How often a device asks
//! Polls that wait write nothing. How often a device asks is counted in the memory of each node, so behind a load
//! balancer a device can ask as many times more often as there are nodes.
//!
//! # States
//! This table is also the test. A code is a refusal that changes nothing. An arrow is a new state.
//!
//! | state | the device polls | it polls 31 s later | another client polls | a person looks | they approve | they deny | they report | the device takes it back | its time is over |
//! |---|---|---|---|---|---|---|---|---|---|
//! | pending | `authorization_pending` | `authorization_pending` | `invalid_grant` | shown | → approved | → denied | → suspicious | → ended | → expired |
//! | approved | → redeemed | → redeemed | `invalid_grant` | shown | `device_request_decided` | → denied | → suspicious | `invalid_grant` | → expired |
//! | redeemed | the same token | `invalid_grant` | `invalid_grant` | shown | `device_request_decided` | `device_request_decided` | → suspicious | `invalid_grant` | stays |
//! | denied | `access_denied` | `access_denied` | `invalid_grant` | shown | `device_request_decided` | `device_request_decided` | `device_request_decided` | `invalid_grant` | stays |
//! | suspicious | `access_denied` | `access_denied` | `invalid_grant` | shown | `device_request_decided` | `device_request_decided` | `device_request_decided` | `invalid_grant` | stays |
//! | ended | `invalid_grant` | `invalid_grant` | `invalid_grant` | shown | `device_request_decided` | `device_request_decided` | `device_request_decided` | `invalid_grant` | stays |
//! | expired | `expired_token` | `expired_token` | `invalid_grant` | shown | `device_request_decided` | `device_request_decided` | `device_request_decided` | `invalid_grant` | stays |
//!
//! What is decided is shown to the account that has decided, until [`maintenance`](crate::maintenance) removes it
//! after a day. Others get `device_request_not_found`.
//!
//! An approval does not count any more (→ ended, and `access_denied` for the device) if, before the device comes,
//! the account is disabled, its password, address or factors change, all its sessions end, the session that has
//! approved ends or is suspicious, or somebody's guesses lock the account.
//!
//! # Signing a device out
//! A device signs itself out with `POST /auth/logout`. Its owner ends it in the list of sessions. If a route of
//! yours shall end a session by a consent to exactly that, combine it with an [action proof](crate::action_proof):
//!
//! ```no_run
//! use axum::{Router, extract::Path, routing::post};
//! use portcullis::action_proof::VerifiedProof;
//! use portcullis::{ClientInfo, Fault, Portcullis, Rejection, SessionId};
//!
//! async fn log_out(
//!     auth: Portcullis,
//!     client: ClientInfo,
//!     proof: VerifiedProof,
//!     Path(id): Path<SessionId>,
//! ) -> Result<(), Rejection> {
//!     let txn = auth.begin().await?;
//!     let account = proof.account().id();
//!     let _spent = proof.spend_within(&txn, &client).await?;
//!     // Only a session of the same account is found.
//!     auth.sessions().within(&txn).end_one(account, id).await?;
//!     Ok(txn.commit().await.map_err(Fault::from)?)
//! }
//!
//! fn routes(auth: &Portcullis) -> Router {
//!     Router::new()
//!         .route("/devices/{id}/log-out", post(log_out))
//!         .route_layer(auth.require_action_proof("logout").on_path("id"))
//! }
//! ```
