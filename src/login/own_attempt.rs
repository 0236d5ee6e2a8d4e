//! Attempts at a password or factor that your application compares. They are counted like those of
//! portcullis.
//!
//! This file is here and not in [`attempt`](crate::attempt), because that module knows neither
//! names nor known devices.

use std::fmt;

use super::LoginError;
use crate::account::{Account, store as account_store};
use crate::attempt::{Admission, Attempts, Ticket};
use crate::base::client::ClientInfo;
use crate::base::event::{Event, EventKind};
use crate::base::transaction::{Fault, transaction};
use crate::config::AttemptKind;
use crate::flow::factors;
use crate::handle::Portcullis;

/// What is guessed, for [`Attempts::begin`].
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Guess<'a> {
    /// A password for the name that a client typed, without a session. The name need not belong to
    /// an account. It counts together with the passwords that portcullis compares
    /// ([`AttemptKind::Login`]). So a directory gives an attacker no additional attempts.
    Password(&'a str),
    /// A password in a session of this account, to prove it again. It counts together with
    /// [`Password`](Self::Password).
    PasswordOf(&'a Account),
    /// A second factor, such as the code of a hardware key. It is used in a sign-in of this account
    /// that waits for it, or in a session of the account. All second factors of an account have one
    /// count ([`AttemptKind::SecondFactor`]).
    SecondFactor(&'a Account),
}

// Written by hand, because people sometimes type a password into the field for the name.
impl fmt::Debug for Guess<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guess(..)")
    }
}

/// The result of a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "sign in only after `Verdict::Right`"]
pub enum Verdict {
    /// The guess was right, and it counts.
    Right,
    /// The guess was wrong, or there were too many before it. The client must not be able to tell
    /// the two apart.
    Wrong,
}

/// An attempt that is recorded and waits for its result. Until then it counts as failed. It also
/// stays failed if it is dropped, for example because the client disconnected or the directory did
/// not answer.
#[must_use = "it counts as failed until it is judged"]
pub struct OpenAttempt {
    auth: Portcullis,
    ticket: Ticket,
    account: Option<Account>,
    failure: Event,
}

impl Attempts<'_> {
    /// Begins an attempt at a password or a second factor that your application compares. Call it
    /// before you compare anything. The attempt counts from here on, so many simultaneous attempts
    /// cannot exceed the limit. Then compare, and pass the result to [`judge`](OpenAttempt::judge).
    ///
    /// ```no_run
    /// use axum::http::request::Parts;
    /// use portcullis::login::{Guess, LoginError, Verdict};
    /// use portcullis::{ClientInfo, Factor, Issued, Portcullis, Rejection};
    /// # async fn directory_accepts(_: &str, _: &str) -> Result<bool, ()> { Ok(false) }
    /// # use portcullis::Refusal;
    /// # use http::StatusCode;
    /// # struct DirectoryIsDown;
    /// # impl From<DirectoryIsDown> for Rejection {
    /// #     fn from(_: DirectoryIsDown) -> Self {
    /// #         Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "directory_down", "try later").into()
    /// #     }
    /// # }
    ///
    /// async fn sign_in_by_directory(
    ///     auth: &Portcullis,
    ///     client: &ClientInfo,
    ///     request: &Parts,
    ///     name: &str,
    ///     password: &str,
    /// ) -> Result<Issued, Rejection> {
    ///     let attempt = auth.attempts().begin(Guess::Password(name), client).await?;
    ///     // The account that the attempt counts for. Sign in no other one.
    ///     let account = attempt.account().cloned();
    ///     let Ok(accepted) = directory_accepts(name, password).await else {
    ///         attempt.withdraw().await;
    ///         return Err(DirectoryIsDown.into());
    ///     };
    ///     match (attempt.judge(accepted && account.is_some()).await?, account) {
    ///         (Verdict::Right, Some(account)) => {
    ///             let sign_in = auth.sign_in(&account, client).proved(Factor::Password);
    ///             Ok(sign_in.replacing(&request.extensions).await?.await?.into_issued())
    ///         }
    ///         _ => Err(LoginError::InvalidCredentials.into()),
    ///     }
    /// }
    /// ```
    ///
    /// After [`Verdict::Right`], [`Portcullis::sign_in`] starts the session, [`Login::finish`]
    /// continues a sign-in that waited for its second factor, or [`Login::step_up`] notes that a
    /// session has proved the factor again. None of them counts attempts.
    ///
    /// A guess at a [`Password`](Guess::Password) counts for the account that can sign in with the
    /// name ([`account`](OpenAttempt::account)), as
    /// [`login.id`](crate::config::LoginConfig::id) says. Do not look the account up in another way,
    /// for example with [`find_by_login`](crate::account::Accounts::find_by_login), which accepts
    /// other names. A guess that counts for one name and signs in the owner of another has no limit.
    ///
    /// Never call this inside a transaction of your own. It waits for other attempts at the same
    /// account.
    ///
    /// A refused attempt begins like any other, and you compare as usual. A client must not notice
    /// the refusal, not even by the time. Only with
    /// [`reveal_lockout`](crate::config::AttemptConfig::reveal_lockout) it is an error here.
    ///
    /// # What it does not do
    /// It does not limit how often a source calls your route: use
    /// [`rate_limits`](crate::rate_limit). It does not check who may use the account: `sign_in` and
    /// `finish` do.
    ///
    /// # Errors
    /// [`LoginError::RateLimited`] for too many sign-ins under one name;
    /// [`LoginError::TooManyAttempts`], only if limits are revealed; an outage. After an error,
    /// compare nothing.
    ///
    /// [`Login::finish`]: super::Login::finish
    /// [`Login::step_up`]: super::Login::step_up
    pub async fn begin(
        &self,
        guess: Guess<'_>,
        client: &ClientInfo,
    ) -> Result<OpenAttempt, LoginError> {
        let auth = self.auth();
        let now = auth.context().now();
        let failed =
            |reason| Event::new(EventKind::LoginFailed, now).from_client(client).failed(reason);
        let (kind, subject, account, failure) = match guess {
            Guess::Password(name) => {
                let login = auth.login();
                let asked = login.find(name, client).await?;
                let subject = self.subject(asked.row.as_ref(), &asked.name);
                let failure = failed("invalid_credentials");
                let failure = match &asked.row {
                    Some(row) => failure.account(row.id),
                    None => failure,
                };
                let subject = subject.on_device(auth, asked.device.known());
                (AttemptKind::Login, subject, asked.row.map(Account::from), failure)
            }
            Guess::PasswordOf(account) => {
                let db = auth.context().db();
                let row = db.read(account_store::find(&db.executor(), account.id())).await?;
                let subject = self.subject(row.as_ref(), &account.id().to_string());
                let failure = failed("wrong_password").account(account.id());
                let subject = factors::inside(auth, subject, account, client);
                (AttemptKind::Login, subject, Some(account.clone()), failure)
            }
            Guess::SecondFactor(account) => {
                let subject = self.subject_of(account.id()).told_at(account.email());
                let failure = failed("wrong_second_factor").account(account.id());
                let subject = factors::inside(auth, subject, account, client);
                (AttemptKind::SecondFactor, subject, Some(account.clone()), failure)
            }
        };
        match self.take(kind, &subject, client).await? {
            Admission::Admitted(ticket) => {
                let ticket = ticket.if_dropped(failure.clone());
                Ok(OpenAttempt { auth: auth.clone(), ticket, account, failure })
            }
            Admission::TooMany { retry_after } => Err(LoginError::TooManyAttempts { retry_after }),
        }
    }
}

impl OpenAttempt {
    /// Returns the account that the attempt counts for. It is `None` for a name that cannot sign in.
    /// Compare in this case too. Otherwise the time of the answer shows which names exist.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Removes the attempt, because nothing was compared: the directory, or the service of the key,
    /// did not answer. Never call it after a comparison. If the removal fails too, the attempt counts
    /// as failed.
    pub async fn withdraw(self) {
        self.auth.attempts().withdraw(self.ticket).await;
    }

    /// Finishes the attempt with the result of your comparison, and returns whether it counts. Sign
    /// in only after [`Verdict::Right`]. If the attempt was refused, the verdict is
    /// [`Wrong`](Verdict::Wrong) even for a right guess. One method handles both cases, so your
    /// handler cannot answer a refused right guess differently from a wrong one.
    ///
    /// After a right guess, the failures before it no longer count. After a wrong guess, the
    /// failure is an event (`authn_login_fail`) with its consequences: the event of a lock and, for
    /// a password, the notice to the owner.
    ///
    /// # Errors
    /// An outage. The attempt then counts as failed, and you must not sign in.
    pub async fn judge(self, right: bool) -> Result<Verdict, LoginError> {
        let Self { auth, ticket, failure, account: _ } = self;
        let context = auth.context();
        let attempts = auth.attempts();
        // A refused attempt fails on the same path as a wrong guess. The answer and its time must
        // not show that the guess was right.
        if !right || !ticket.counts() {
            let failure = Event { at: context.now(), ..failure };
            attempts.fail(ticket, &failure).await?;
            return Ok(Verdict::Wrong);
        }
        let succeeded = transaction!(context.db(), |txn| {
            ticket.succeeded(txn).await?;
            Ok::<_, Fault>(())
        });
        attempts.end(ticket, succeeded).await?;
        Ok(Verdict::Right)
    }
}

impl fmt::Debug for OpenAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAttempt").finish_non_exhaustive()
    }
}
