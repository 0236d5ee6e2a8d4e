//! The second step of a sign-in, and proving a second factor again.
//!
//! An account with a second factor signs in in two steps. Portcullis checks the codes of
//! [authenticators](crate::totp), [recovery codes](crate::recovery_code), codes that are
//! [sent](crate::sent_code) by mail or text message, and [passkeys](crate::passkey). Other factors, such as a printed card or a
//! hardware key, are checked by your application: see [A factor of your own](#a-factor-of-your-own).
//!
//! 1. `POST /login` answers `second_factor_required`, with a token that is no session. The member
//!    `methods` lists the second factors of the account. Where a code is sent somewhere, it has a
//!    `target`, of which most is hidden.
//! 2. The person types a code. It is counted as an attempt **before** anything is compared.
//! 3. A right code is used up and makes the session, in one transaction. This ends the sign-in, so it
//!    makes only one session. The same things follow as after a sign-in with a password alone: hooks,
//!    the event, memberships, the known device and the notice of a new device.
//!
//! If the account must set a new password, that is the next step. If the code was the last [recovery
//! code](crate::recovery_code), the next step is to set up a factor: `enrolment_required`.
//!
//! # Turn it on
//! 1. Apply the migrations. The tables come with `m0014_second_factor`.
//! 2. Mount the [routes](#routes).
//! 3. Give the builder a [notifier](crate::Builder::notifier), for mailed codes and for the verification of
//!    addresses. Without one, an account without a mail address can still set up a factor. An account whose
//!    address is not verified cannot (`address_not_proved`), until you call
//!    [`verify_name`](crate::account::Accounts::verify_name). For texted codes, give the builder a sender of
//!    [text messages](crate::Builder::text_messages).
//! 4. Authenticator apps show a name of the service. It comes from
//!    [`TotpConfig::issuer`](crate::config::TotpConfig::issuer) (`PORTCULLIS_TOTP_ISSUER`), else from the
//!    name in messages, else from `public_url`. So set one of these.
//! 5. For QR codes, turn on the feature `qr`.
//! 6. Build the pages: the second step of a sign-in, the set-up of an authenticator, the recovery codes,
//!    and the page that asks for a factor again. See
//!    [`single_page`](crate::guide::single_page#second-factors-and-captchas) for scripts and
//!    [`server_pages`](crate::guide::server_pages#second-factors) for pages without one. The example
//!    `second-factor` has all of them, without a script.
//! 7. If administrators must have a second factor, see
//!    [`permissions`](crate::guide::permissions#a-second-factor-for-administrators).
//!
//! # What is checked
//! - The code must belong to the account of the sign-in. The client sends no account and no id of a
//!   challenge, so it cannot name those of another person.
//! - The account must have the factor now. A change of the factors, an end of all sessions, and
//!   disabling the account end every unfinished sign-in.
//! - A factor with which the sign-in began is not its second step.
//! - A client sends the name of a method. It only chooses the check. The session records the factor whose
//!   check succeeded. So a recovery code with the method `totp` is wrong.
//! - A mailed code is no second factor for a day after the password was replaced through the same
//!   mailbox. The answer is then `mailed_code_after_reset`.
//! - A code that another request used first is wrong, on every route and every node: for a sign-in, a
//!   step-up and the set-up of an authenticator.
//!
//! # Guessing
//! For a code that was [sent](crate::sent_code), and for a challenge of a [factor of your
//! own](crate::port::ExternalFactor), a person has five tries. Then the answer is `code_ended`: ask for a
//! new one.
//!
//! All second factors of an account have one count ([`SecondFactor`](crate::config::AttemptKind)), in
//! all sign-ins and sessions. So another method or another sign-in brings no attempts. By default,
//! delays start at the sixth wrong code within ten minutes, and the 15th locks for twelve hours. A correct
//! code is then refused too. Only a person who has proved another factor can guess, so the owner gets a
//! mail that asks for a new password. A [known device](crate::attempt#known-devices) of the account has its own
//! count, so a thief of the password cannot lock out the owner there.
//!
//! An unfinished sign-in ends after
//! [`session.pending_lifetime`](crate::config::SessionConfig::pending_lifetime): ten minutes by default.
//!
//! # Changes
//! To set up or remove a second factor, a session must have proved one in the last [five
//! minutes](crate::config::SessionConfig::recent_factor).
//! - For the [first one](crate::sent_code#the-first-second-factor-of-an-account), it must have proved the
//!   mailbox.
//! - A mailed or texted code is not enough if the account has a [stronger
//!   factor](crate::config::FactorConfig::least).
//! - A recovery code is enough to set one up, but not to remove one or to make new codes. So a person who has
//!   lost the authenticator first sets up a new one, proves it, and then removes the old one.
//!
//! # Roles that require a factor
//! A role can [require](crate::permission::Roles::require_factor) a second factor. An account with such
//! a role and without a factor that is [strong enough](crate::config::FactorConfig::least) must set one
//! up. A role counts if it is granted to the account or to one of its groups, also if the grant is only
//! for one resource. The role with the name of a level counts for accounts that have this level or a
//! higher one on any resource.
//! - A sign-in then answers `enrolment_required`. Its token reaches only the routes that set up a factor,
//!   those that prove the mailbox (`POST /reauthenticate/challenge` and `POST /reauthenticate`), and the
//!   sign-out. The first code of the new factor makes the session.
//! - A session that is already full gets `enrolment_required` too, from the request after the role was
//!   granted. After the factor was set up, it goes on.
//! - During a time of [grace](crate::config::FactorConfig::grace) the session is full.
//!   `enrolment_due_at` in the answer of the sign-in and in `GET /session` says until when. Show it.
//! - The mailbox must be proved first, as for [every first
//!   factor](crate::sent_code#the-first-second-factor-of-an-account). Such a sign-in asks for the code with
//!   `POST /reauthenticate/challenge`, and sends it to `POST /reauthenticate`.
//! - If the account has only a weaker factor, such as mailed codes, the sign-in asks for this one first.
//!   After the account has a strong one, the weaker one no longer counts as its second factor.
//! - The last strong factor cannot be removed while the account has the role.
//! - A mail address of the account that nobody has verified stops the set-up: `POST /totp` answers 403
//!   `address_not_proved`. First verify the address: `POST /verification` with `email`, then
//!   `POST /verification/confirm` with the token or code and the `password`. Then sign in again.
//! - A recovery code is enough for the sign-in of an account with such a role. It is not enough for a
//!   route that requires [`Requirement::factor`](crate::Requirement::factor) or
//!   [`Requirement::at_least`](crate::Requirement::at_least) with [`Totp`](crate::Factor::Totp).
//!
//! # Trusted devices
//! A person can ask that a browser skips the second step for 30 days. This is off by default, and it is no
//! factor. See [`trusted_device`].
//!
//! # Step-up
//! A guard that asks for a [factor](crate::Requirement::factor) or for a [recent
//! one](crate::Requirement::within) answers 401 `insufficient_user_authentication`. The member
//! `factors` lists what would help for this account. The client then calls `POST /reauthenticate` with
//! a password or a code, and sends its request again. Portcullis stores no request.
//!
//! A new session replaces the old one, with the time of the factor. The old one keeps its old rights
//! for ten seconds, so that requests which are already on their way are not signed out.
//!
//! # Undoing a new factor
//! The owner gets a mail about each new factor. It has a link that undoes this within `factor.undo_lifetime`
//! (three days), as the mail about a [changed address](crate::contact#who-may-undo-a-change) has one. The page
//! of the link (`mail.links.factor_undo`) posts the token to `POST /second-factor/undo`.
//! - It removes this factor and those that were set up after it, and tells the owner. Older factors stay. It
//!   ends all sessions, codes and links of the account, and works once, without a session.
//! - It sets no new password. Lead the user to the page for a forgotten password next: the person who set up
//!   the factor may know the password.
//! - It works only while the account has the address to which it was sent. So a thief who changed the address
//!   first gets no link that still works after the owner has put the address back.
//! - No link is sent if a role of the account requires a second factor, because the set-up has proved the
//!   mailbox already. An account without a verified address gets none either, and neither does a factor that
//!   an administrator sets.
//! - Anyone who reads the mailbox within this time can remove the factor, but still needs the password or a
//!   new one. Set `factor.undo_lifetime` to `None` if your accounts must not depend on their mailboxes.
//!
//! # A factor of your own
//! Implement [`ExternalFactor`](crate::port::ExternalFactor) and give it to
//! [`Builder::external_factor`](crate::Builder::external_factor). It has the method `external`, and works
//! like the factors above: the same routes, the same count of wrong codes, the same rules for changes.
//! `examples/own-second-factor` is a small service with printed cards.
//!
//! 1. Your page sets it up. Give the person the card or key, and store what checks it. Then call
//!    [`challenge_external`](SecondFactor::challenge_external) if the factor asks something, and
//!    [`enrol_external`](SecondFactor::enrol_external) with the first code. Before this, portcullis asks
//!    for a recent second factor, or for the mailbox if this is the first one.
//! 2. A sign-in calls `POST /second-factor/challenge`, if the factor asks something. Your factor returns
//!    what the page shows, and a state that portcullis keeps, encrypted, for this session. Then
//!    `POST /second-factor/verify`. A session does the same with `POST /reauthenticate/challenge` and
//!    `POST /reauthenticate`.
//! 3. A challenge can be answered once, within ten minutes, and only in the session that asked. The next
//!    one replaces it. [`FactorConfig::challenges`](crate::config::FactorConfig::challenges) limits how
//!    many are started for an account.
//! 4. If your factor fails, the answer is 503 `external_factor_unavailable`. Nobody gets through, and no
//!    attempt is counted.
//! 5. [`remove_external`](SecondFactor::remove_external) removes it. Portcullis also removes it at the first
//!    verification of an address, when its owner undoes a change of the address or uses the link in the
//!    notice of the set-up, when an administrator calls
//!    [`set_enrolled_factors`](crate::account::Accounts::set_enrolled_factors) without it, and when a
//!    [recovery](crate::account_recovery) is finished. So what you have stored counts only while the account
//!    has the factor. Store it anew at each set-up, and delete it in the hook
//!    [`before_erase`](crate::hook::Hooks::before_erase).
//! 6. To replace it, the person proves it, removes it and sets up the new one. If a role requires a factor
//!    and this is the only one, they first set up another one. Offer [recovery
//!    codes](crate::recovery_code) too, for a lost card. After a sign-in with such a code, the person first
//!    sets up an authenticator, because a recovery code is not enough to remove a factor.
//!
//! It is [enough](crate::config::FactorConfig::least) where a role requires a factor. A route can require
//! it with [`Requirement::factor`](crate::Requirement::factor). It has no place in the order of
//! [`at_least`](crate::Requirement::at_least).
//!
//! **Or without the port.** With [`Login::finish`](crate::login::Login::finish) and
//! [`Login::step_up`](crate::login::Login::step_up) your own handler checks the person, and says which
//! factor was proved. Then bodies, routes and challenges are yours, and so is the
//! [count](crate::attempt::Attempts::begin) of wrong codes. Use the port if a person types or sends
//! a code. Use these methods if there is no code: a redirect to another service, or a certificate. Both may
//! be used together, also for [`Factor::External`]. If another service has identified the person at the first
//! step, say [`proved`](crate::login::SignIn::proved) with [`Factor::Password`]: it is not a second factor.
//!
//! # Example
//!
//! ```no_run
//! use portcullis::second_factor::FactorCode;
//! use portcullis::{ClientInfo, Issued, PendingSession, Portcullis, Rejection};
//!
//! async fn second_step(
//!     auth: Portcullis,
//!     pending: PendingSession,
//!     client: ClientInfo,
//!     code: String,
//! ) -> Result<Issued, Rejection> {
//!     let verified = auth.second_factor().verify(&pending, FactorCode::any(code), &client).await?;
//!     Ok(verified.outcome.into_issued())
//! }
//! ```
//!
//! # What it does not do
//! - It is off until you mount its routes: [`routes`] is not part of
//!   [`Portcullis::routes`](crate::Portcullis::routes). Without pages for the second step, an owner who
//!   sets up an authenticator could not sign in any more.
//! - It has no setting that requires a second factor of all accounts. A
//!   [role](#roles-that-require-a-factor) or a [route](crate::Requirement::factor) can require one.
//!
//! # Routes
//! They are separate, and include those of [`totp`](crate::totp), [`recovery_code`](crate::recovery_code),
//! [`sent_code`](crate::sent_code) and [`trusted_device`]:
//! `.nest("/auth", auth.routes().merge(portcullis::second_factor::routes(&auth)))`.
//! - `GET /second-factor`: for an unfinished sign-in. It answers with `methods`, `expires_at` and
//!   `offers_trust`.
//! - `POST /second-factor/challenge`: for an unfinished sign-in. `POST /reauthenticate/challenge`: for a
//!   session, and for a sign-in that must set up a factor. Both take `method`: `mailed_code`,
//!   `texted_code`, `external` or `passkey`. They answer 202 with `expires_at`, and with the `target` of a sent code,
//!   of which most is hidden, or the `challenge` of a factor of your own. A factor that asks nothing answers
//!   `{"challenge": null}`, without `expires_at`. For a passkey, they answer with `options` for the browser.
//! - `POST /second-factor/verify`: takes `code` and `method` (`totp`, `recovery_code`, `mailed_code`,
//!   `texted_code` or `external`). Without a method, the form of the code decides between the first two.
//!   So all others need their `method`. For a [passkey](crate::passkey) it takes `credential` instead: what the
//!   browser returned. It answers 200, as `POST /login` does. After a recovery code it
//!   has the member `recovery_codes_left`. With `0`, the `result` is `enrolment_required`. See [what a page
//!   should do](crate::recovery_code#what-a-page-should-do). With `trust_device`, the answer has the member
//!   `trusted_device`.
//! - `POST /second-factor/undo`, if there is a notifier: takes the `token` of a
//!   [link](#undoing-a-new-factor), and answers 204. Anyone may call it.
//!
//! Routes that set up a factor also take a sign-in that must set one up. In your own handler, the
//! extractor [`FactorOwner`] accepts both.
//!
//! `POST /reauthenticate` belongs to [`login`](crate::login). It takes `password`, or `code` and
//! `method`, or `credential` as above. A sign-in that must set up a factor gets the `result` `enrolment_required` again
//! after a right code.
//!
//! # Configuration
//! [`FactorConfig`](crate::config::FactorConfig); [`AttemptConfig`](crate::config::AttemptConfig), with the differences for
//! [`SecondFactor`](crate::config::AttemptKind::SecondFactor) in its `kinds`;
//! `session.pending_lifetime`; `mail.links.factor_undo`.
//!
//! # Events
//! Those of every [sign-in](crate::login); `authn_login_fail` with the reason `wrong_second_factor`;
//! `authn_login_lock` with the detail `second_factor`; `authn_reauthenticated`; `user_updated` with the
//! detail `factor undone`. For a factor of your own: `authn_factor_code_sent` with the detail `external`;
//! `user_updated` with the detail `factors enrolled` or `factors removed`.
//!
//! # Errors
//! `wrong_code`, `code_ended`, `mailed_code_after_reset` (403), `wrong_stage` (401), `factor_used_already`,
//! `factor_not_enrolled`, `session_limit` (409), `rate_limited` (429) and `passkeys_not_configured` (500) for the
//! challenge of a passkey, `external_factor_unavailable` (503); `link_used` (409), for
//! the link that undoes; `too_many_attempts` (429), only with `attempts.reveal_lockout`. For the challenges,
//! the set-up and the removal of a factor of your own: `insufficient_user_authentication` (401),
//! `address_not_proved` (403), `factor_already_enrolled`, `factor_required` (409), `too_soon` (429).
//!
//! # Standard
//! OWASP ASVS 5.0 6.3, 6.5 and 6.6; NIST SP 800-63B-4 3.1 and 3.2.2; RFC 9470 (step-up).

use std::pin::Pin;

use crate::account::entity::account;
use crate::account::{Account, recovering, store as account_store};
use crate::attempt::{Admission, Ticket};
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{EnrolledFactors, Factor, PassedFactors};
use crate::base::id::SessionId;
use crate::base::transaction::{MaybeFault, Txn, transaction};
use crate::flow::factors::{self, Reauthentication};
use crate::flow::sign_in::{self, Demands, LoginOutcome, Made, NewSession};
use crate::handle::Portcullis;
use crate::identity::Identity;
#[cfg(feature = "passkey")]
use crate::passkey::{RightPasskey, Shown, record_failure as passkey_failed};
use crate::recovery_code::RightRecoveryCode;
use crate::sent_code::{RightSentCode, Typed, is_after_reset};
use crate::session::{
    EnrolmentSession, Issued, PendingSession, SessionError, store as session_store,
};
use crate::totp::RightTotp;
use crate::trusted_device::{self, NewTrust};

mod code;
mod error;
mod external;
mod own_factor;
#[cfg(feature = "passkey")]
mod passkey;
#[cfg(feature = "routes")]
mod routes;
mod undo;

pub use crate::flow::enrolling::FactorOwner;
use external::{RightExternal, TypedExternal};

pub use code::FactorCode;
use code::Method;
pub use error::{ExternalFactorError, SecondFactorError};
pub use own_factor::FactorChallenge;
#[cfg(feature = "routes")]
pub use routes::routes;
#[cfg(feature = "routes")]
pub(crate) use routes::{CredentialBody, MethodName, code_in, left};
pub use undo::FactorUndoError;

/// A sign-in whose second factor was right.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "the client is signed in when it gets this"]
pub struct Verified {
    /// How the sign-in goes on.
    pub outcome: LoginOutcome,
    /// After a recovery code: how many are left.
    pub recovery_codes_left: Option<u64>,
}

/// A session in which a second factor was proved again.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "the session goes on as a new one"]
pub struct SteppedUp {
    /// The session that replaces the old one, for the answer.
    pub issued: Issued,
    /// After a recovery code: how many are left.
    pub recovery_codes_left: Option<u64>,
}

/// Checks second factors. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct SecondFactor<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the flows that check second factors.
    pub fn second_factor(&self) -> SecondFactor<'_> {
        SecondFactor { auth: self }
    }
}

/// A part of the flow whose type the compiler need not know outside.
type Boxed<'f, T> = Pin<Box<dyn Future<Output = Result<T, SecondFactorError>> + Send + 'f>>;

/// A code that was found right, in its attempt.
struct Right {
    code: RightCode,
    factor: Factor,
    ticket: Ticket,
    row: account::Model,
    demands: Demands,
}

enum RightCode {
    Totp(RightTotp),
    RecoveryCode(RightRecoveryCode),
    Sent(Box<RightSentCode>),
    External(Box<RightExternal>),
    #[cfg(feature = "passkey")]
    Passkey(Box<RightPasskey>),
}

/// What became of a code that somebody typed.
enum Found {
    Right(RightCode),
    Wrong,
    /// The code that was sent is worth nothing any more.
    Ended,
}

/// What a code is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The second step of a sign-in.
    SecondStep,
    /// A step-up of a session.
    StepUp,
    /// The set-up of a factor.
    SetUp,
}

/// Whether a person asked to trust the device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Asked,
    NotAsked,
}

/// A code that was used up in a transaction.
struct Spent {
    recovery_codes_left: Option<u64>,
}

impl SecondFactor<'_> {
    /// Finishes a sign-in with a code of its account. Of several requests with one code or for one
    /// sign-in, one gets a session.
    ///
    /// # Errors
    /// See [`SecondFactorError`]. After [`WrongCode`](SecondFactorError::WrongCode), the sign-in can still be
    /// finished.
    pub async fn verify(
        &self,
        pending: &PendingSession,
        code: FactorCode,
        client: &ClientInfo,
    ) -> Result<Verified, SecondFactorError> {
        self.verified(pending, &code, Trust::NotAsked, client).await
    }

    /// Does the same for a person who asked that this device skips the second factor from now on. If this is
    /// [not allowed](crate::trusted_device#who-gets-one), the sign-in succeeds without it.
    /// [`Issued::trusts_device`] tells.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn verify_and_trust(
        &self,
        pending: &PendingSession,
        code: FactorCode,
        client: &ClientInfo,
    ) -> Result<Verified, SecondFactorError> {
        self.verified(pending, &code, Trust::Asked, client).await
    }

    async fn verified(
        &self,
        pending: &PendingSession,
        code: &FactorCode,
        trust: Trust,
        client: &ClientInfo,
    ) -> Result<Verified, SecondFactorError> {
        let verified: Boxed<'_, (Made, Spent)> =
            Box::pin(self.finish(pending, code, trust, client));
        let (made, spent) = verified.await?;
        let outcome = made.committed(self.auth).await;
        Ok(Verified { outcome, recovery_codes_left: spent.recovery_codes_left })
    }

    async fn finish(
        &self,
        pending: &PendingSession,
        code: &FactorCode,
        trust: Trust,
        client: &ClientInfo,
    ) -> Result<(Made, Spent), SecondFactorError> {
        let (state, account) = (&pending.state, pending.account());
        if state.began_with(code.factor()) {
            return Err(SecondFactorError::FactorUsedAlready);
        }
        // Also if it does not count any more, because the request comes from another source.
        let unverified = Factor::UnverifiedPasskey;
        let before = match state.has_proved(unverified) {
            true => &state.factors.clone().with(unverified, self.auth.context().now()),
            false => &state.factors,
        };
        let asks = (state.id, before);
        let right = self.find(account, asks, code, Use::SecondStep, client).await?;
        let context = self.auth.context();
        let (factor, now) = (right.factor, context.now());
        let proved = state.factors.clone().with(factor, now);
        let demands = right.demands;
        let session = NewSession::new(self.auth, &right.row, proved, demands, client, now)
            .finishing(state, pending.transport());
        let trusting = match trust {
            Trust::Asked => {
                let of = (pending, &session);
                NewTrust::offered(self.auth, &right.row, of, factor, client, now).await
            }
            Trust::NotAsked => Ok(None),
        };
        let trusting = match trusting {
            Ok(trusting) => trusting,
            Err(fault) => {
                self.auth.attempts().withdraw(right.ticket).await;
                return Err(fault.into());
            }
        };
        let made = transaction!(context.db(), |txn| {
            let locked = session.lock(txn).await?;
            let spent = right.spend(self.auth, txn, client, now).await?;
            let session = match spent.recovery_codes_left {
                Some(0) => session.clone().after_last_recovery_code(),
                _ => session.clone(),
            };
            let made = session.make(txn, locked).await?;
            let token = match &trusting {
                Some(trusting) => Some(trusting.add(txn).await?),
                None => None,
            };
            Ok::<_, SecondFactorError>((made.with_trusted_device(token), spent))
        });
        if let Err(SecondFactorError::Refused(_)) = &made {
            sign_in::record_refusal(self.auth, account.id(), client, now).await?;
        }
        self.end(right, state.id, client, made, is_wrong).await
    }

    /// Records that a session has proved a second factor again, with a code of its account. A new
    /// session replaces this one, with the same end and the same ceiling.
    ///
    /// # Errors
    /// See [`SecondFactorError`]. After an error the session is unchanged.
    pub async fn step_up(
        &self,
        identity: &Identity,
        code: FactorCode,
        client: &ClientInfo,
    ) -> Result<SteppedUp, SecondFactorError> {
        let stepped_up: Boxed<'_, SteppedUp> = Box::pin(self.prove(identity, &code, client));
        stepped_up.await
    }

    async fn prove(
        &self,
        identity: &Identity,
        code: &FactorCode,
        client: &ClientInfo,
    ) -> Result<SteppedUp, SecondFactorError> {
        let again = Reauthentication::of(self.auth, identity)?;
        let (account, session) = (identity.account(), identity.session());
        let asks = (session.id(), session.factors());
        let right = self.find(account, asks, code, Use::StepUp, client).await?;
        let context = self.auth.context();
        let now = context.now();
        let proved = transaction!(context.db(), |txn| {
            again.lock(txn).await?;
            let spent = right.spend(self.auth, txn, client, now).await?;
            if EnrolledFactors(right.row.enrolled_factors).contains(right.factor) {
                // An owner who has a second factor needs no recovery.
                recovering::has_factor(txn, context, &right.row, client, now).await?;
            }
            let issued = again.make(txn, right.factor, client, now).await?;
            Ok::<_, SecondFactorError>((issued, spent))
        });
        let (issued, spent) = self.end(right, session.id(), client, proved, is_wrong).await?;
        Ok(SteppedUp { issued, recovery_codes_left: spent.recovery_codes_left })
    }

    /// Records that a sign-in which must set up a second factor has proved a code: the mailbox, before
    /// the [first factor](crate::sent_code#the-first-second-factor-of-an-account) of the account. A new
    /// sign-in at the same stage replaces this one.
    ///
    /// # Errors
    /// See [`SecondFactorError`]. After an error the sign-in is unchanged.
    pub async fn prove_enrolling(
        &self,
        session: &EnrolmentSession,
        code: FactorCode,
        client: &ClientInfo,
    ) -> Result<SteppedUp, SecondFactorError> {
        let owner = FactorOwner::from(session);
        if owner.is_superseded() {
            return Err(SecondFactorError::Session(SessionError::Ended));
        }
        let (account, id) = (owner.account(), owner.session_id());
        let asks = (id, owner.passed());
        let right: Boxed<'_, Right> =
            Box::pin(self.find(account, asks, &code, Use::StepUp, client));
        let right = right.await?;
        let context = self.auth.context();
        let now = context.now();
        let passed = owner.passed().clone().with(right.factor, now);
        let start = owner.proving(self.auth, passed, client).event(EventKind::Reauthenticated);
        let proved = transaction!(context.db(), |txn| {
            session_store::lock_account(txn, account.id()).await?;
            let spent = right.spend(self.auth, txn, client, now).await?;
            let issued = Box::pin(start.clone().inside(txn).issue()).await?;
            Ok::<_, SecondFactorError>((issued, spent))
        });
        let (issued, spent) = self.end(right, id, client, proved, is_wrong).await?;
        Ok(SteppedUp { issued, recovery_codes_left: spent.recovery_codes_left })
    }

    /// Takes an attempt, and compares the code. In case of an error the attempt is already finished. A session
    /// asks, in which these factors were passed before.
    async fn find(
        &self,
        account: &Account,
        (session, passed): (SessionId, &PassedFactors),
        code: &FactorCode,
        used: Use,
        client: &ClientInfo,
    ) -> Result<Right, SecondFactorError> {
        let context = self.auth.context();
        if code.method == Method::External && context.external_factor.is_none() {
            return Err(SecondFactorError::NoExternalFactor);
        }
        let db = context.db();
        let row = db.read(account_store::find(&db.executor(), account.id())).await?;
        let require_verified = context.config.login.require_verified;
        let row = row.filter(|row| {
            let usable = Account::from(row.clone()).is_usable(context.now(), require_verified);
            row.epoch == account.epoch && usable
        });
        let row = row.ok_or(SecondFactorError::Session(SessionError::Ended))?;
        let demands = Demands::read(self.auth, &row, context.now()).await?;
        if let (Use::SecondStep, Method::Sent(channel)) = (used, code.method)
            && demands.accepts(code.factor())
            && is_after_reset(context, &row, channel)
        {
            return Err(SecondFactorError::AfterReset);
        }
        let ticket = match factors::take_attempt(self.auth, account, client).await? {
            Admission::Admitted(ticket) => ticket,
            Admission::TooMany { retry_after } => {
                return Err(SecondFactorError::TooManyAttempts { retry_after });
            }
        };
        // A step-up also takes a code that was sent to a proved address which is no second factor.
        let accepted = match (used, code.method) {
            (Use::SecondStep, _) => demands.accepts(code.factor()),
            (Use::StepUp, Method::Sent(_)) | (Use::SetUp, _) => true,
            (Use::StepUp, _) => EnrolledFactors(row.enrolled_factors).contains(code.factor()),
        };
        let found = match self.right_code(&row, session, code, accepted, client).await {
            Ok(found) => found,
            Err(error) => {
                // An outage is not the fault of the user, so it does not count as a failure.
                self.auth.attempts().withdraw(ticket).await;
                return Err(error);
            }
        };
        // What is stored for a factor counts only while the account has the factor. If the attempt
        // was refused, the result is discarded. Both are checked after the comparison, so the work is
        // the same.
        match found {
            Found::Right(right) if accepted && ticket.counts() => {
                let factor = right.factor(code, used, passed);
                if factor == Factor::UnverifiedPasskey {
                    // It was the first factor, and is not the second one too.
                    self.auth.attempts().withdraw(ticket).await;
                    return Err(SecondFactorError::FactorUsedAlready);
                }
                Ok(Right { code: right, factor, ticket, row, demands })
            }
            // Nobody learns a verdict, so it is no guess. The answer is the same while the account is locked, so
            // that it does not tell of the lock.
            Found::Ended if accepted => {
                self.auth.attempts().withdraw(ticket).await;
                Err(SecondFactorError::CodeEnded)
            }
            // A refused attempt must look like a wrong code.
            Found::Right(_) | Found::Wrong | Found::Ended => {
                let failure = self.failure(&row, session, client);
                self.auth.attempts().fail(ticket, &failure).await?;
                Err(SecondFactorError::WrongCode)
            }
        }
    }

    /// Compares a code with what is stored, or asks the application.
    async fn right_code(
        &self,
        row: &account::Model,
        session: SessionId,
        code: &FactorCode,
        accepted: bool,
        client: &ClientInfo,
    ) -> Result<Found, SecondFactorError> {
        let (auth, typed) = (self.auth, &code.text);
        let right = match code.method {
            Method::Totp => RightTotp::find(auth, row.id, typed).await?.map(RightCode::Totp),
            Method::RecoveryCode => {
                RightRecoveryCode::find(auth, row.id, typed).await?.map(RightCode::RecoveryCode)
            }
            Method::Sent(channel) => {
                return Ok(match RightSentCode::find(auth, row, session, channel, typed).await? {
                    Typed::Right(right) => Found::Right(RightCode::Sent(right)),
                    Typed::Wrong => Found::Wrong,
                    Typed::Ended => Found::Ended,
                });
            }
            #[cfg(feature = "passkey")]
            Method::Passkey => {
                let Some(response) = &code.passkey else { return Ok(Found::Wrong) };
                let shown = RightPasskey::of_account(auth.context(), row, session, response);
                return Ok(match shown.await? {
                    Shown::Right(right) => Found::Right(RightCode::Passkey(right)),
                    Shown::Wrong => Found::Wrong,
                    Shown::Ended => Found::Ended,
                    Shown::NotAccepted(refusal) if accepted => {
                        let reason = refusal.to_string();
                        return Err(SecondFactorError::PasskeyNotAccepted(reason));
                    }
                    Shown::Copied if accepted => {
                        passkey_failed(auth.context(), row.id, client, "passkey_copied").await?;
                        return Err(SecondFactorError::PasskeyCopied);
                    }
                    Shown::NotAccepted(_) | Shown::Copied => Found::Wrong,
                });
            }
            // The methods of a sign-in say who has this factor, so the time of an answer reveals nothing
            // more. The application need not know what to answer for an account that does not have it.
            Method::External if !accepted => None,
            Method::External => {
                return Ok(match RightExternal::find(auth, row, session, typed, client).await? {
                    TypedExternal::Right(right) => Found::Right(RightCode::External(right)),
                    TypedExternal::Wrong => Found::Wrong,
                    TypedExternal::Ended => Found::Ended,
                });
            }
        };
        Ok(right.map_or(Found::Wrong, Found::Right))
    }

    /// Ends the attempt after its transaction.
    async fn end<T, E: MaybeFault>(
        &self,
        right: Right,
        session: SessionId,
        client: &ClientInfo,
        result: Result<T, E>,
        is_wrong: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        let attempts = self.auth.attempts();
        match result {
            // Another request used the code first. A second use counts like a wrong code.
            Err(wrong) if is_wrong(&wrong) => {
                let failure = self.failure(&right.row, session, client);
                attempts.fail(right.ticket, &failure).await?;
                Err(wrong)
            }
            result => attempts.end(right.ticket, result).await,
        }
    }

    fn failure(&self, row: &account::Model, session: SessionId, client: &ClientInfo) -> Event {
        Event::new(EventKind::LoginFailed, self.auth.context().now())
            .account(row.id)
            .session(session)
            .from_client(client)
            .failed("wrong_second_factor")
    }
}

fn is_wrong(error: &SecondFactorError) -> bool {
    matches!(error, SecondFactorError::WrongCode)
}

impl RightCode {
    /// Returns what it proves, for this use and beside the factors that were passed before.
    #[cfg_attr(
        not(feature = "passkey"),
        expect(unused_variables, reason = "only a passkey looks at them")
    )]
    fn factor(&self, code: &FactorCode, used: Use, passed: &PassedFactors) -> Factor {
        match self {
            #[cfg(feature = "passkey")]
            Self::Passkey(right) => {
                let alone = passed.passed_at(Factor::UnverifiedPasskey).is_some();
                right.factor(used == Use::SecondStep && !alone || is_beside(passed))
            }
            Self::Totp(_) | Self::RecoveryCode(_) | Self::Sent(_) | Self::External(_) => {
                code.factor()
            }
        }
    }
}

/// True if a factor was passed beside which a passkey is a second one.
#[cfg(feature = "passkey")]
fn is_beside(passed: &PassedFactors) -> bool {
    passed.iter().any(|(factor, _)| match factor {
        Factor::Password
        | Factor::MailedCode
        | Factor::TextedCode
        | Factor::Totp
        | Factor::External
        | Factor::Provider
        | Factor::ProviderTwoFactors => true,
        Factor::RecoveryCode | Factor::Passkey | Factor::UnverifiedPasskey => false,
    })
}

impl Right {
    /// Uses up the code, and reports that the attempt succeeded. The transaction has locked the row of
    /// the account.
    async fn spend(
        &self,
        auth: &Portcullis,
        txn: &Txn<'_>,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<Spent, SecondFactorError> {
        let recovery_codes_left = match &self.code {
            RightCode::Totp(right) => right.spend(txn).await?.then_some(None),
            RightCode::RecoveryCode(right) => {
                let left = right.spend(auth, txn, &self.row, client, now).await?;
                if left.is_some() {
                    let account = (self.row.id, self.row.epoch);
                    trusted_device::end_after_recovery(auth, txn, account, client, now).await?;
                }
                left.map(Some)
            }
            RightCode::Sent(right) => right.spend(txn, now).await?.then_some(None),
            RightCode::External(right) => right.spend(txn, now).await?.then_some(None),
            #[cfg(feature = "passkey")]
            RightCode::Passkey(right) => {
                let beside = self.factor == Factor::Passkey;
                right.spend(txn, beside, client, now).await?.then_some(None)
            }
        };
        let recovery_codes_left = recovery_codes_left.ok_or(SecondFactorError::WrongCode)?;
        // A code that is no second factor of the account must not end the count of guesses at one that is.
        match self.demands.accepts(self.factor) {
            true => self.ticket.succeeded(txn).await?,
            false => self.ticket.taken_back(txn).await?,
        }
        Ok(Spent { recovery_codes_left })
    }
}
