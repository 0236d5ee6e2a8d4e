//! Attempts at what the application compares by means of its own, counted as ours are.
//!
//! It stands here and not in [`attempt`](crate::attempt), which knows neither names nor known devices.

use std::fmt;

use super::LoginError;
use crate::account::{Account, store as account_store};
use crate::attempt::{Admission, Attempts, Subject, Ticket};
use crate::base::client::ClientInfo;
use crate::base::event::{Event, EventKind};
use crate::base::transaction::{Fault, transaction};
use crate::config::AttemptKind;
use crate::handle::Portcullis;
use crate::session::device::Devices;

/// What somebody guesses at, for [`Attempts::begin`].
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Guess<'a> {
    /// A password, for the name that somebody typed who is not signed in. The name need not be one of an
    /// account. It counts together with the passwords that portcullis compares
    /// ([`AttemptKind::Login`]): a directory gives nobody more attempts.
    Password(&'a str),
    /// A password, in a session of this account: to prove it again. It counts together with
    /// [`Password`](Self::Password).
    PasswordOf(&'a Account),
    /// A second factor, such as the code of a hardware key, in a sign-in of this account that waits for it
    /// or in a session of the account. All second factors of an account have one count
    /// ([`AttemptKind::SecondFactor`]).
    SecondFactor(&'a Account),
}

// Written by hand: people type passwords into the field of the name.
impl fmt::Debug for Guess<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guess(..)")
    }
}

/// What a guess is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a guess that was right counts only if this says so"]
pub enum Verdict {
    /// It was right, and it counts.
    Right,
    /// It was wrong, or there were too many before it. The two must look alike to the client.
    Wrong,
}

/// An attempt that is on record and waits for its verdict. Until then it counts as failed, also when it is
/// dropped because the client hung up. [`withdraw`](Self::withdraw) it if nothing could be compared.
#[must_use = "it counts as failed until it is judged"]
pub struct OpenAttempt {
    auth: Portcullis,
    ticket: Ticket,
    account: Option<Account>,
    failure: Event,
}

impl Attempts<'_> {
    /// Begins an attempt at a password or a second factor that the application compares by its own means.
    /// Call it before you compare anything: from here on the attempt counts, so that many at once are not
    /// more than there may be. Then compare, and say through [`judge`](OpenAttempt::judge) whether it was
    /// right.
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
    /// After [`Verdict::Right`], [`Portcullis::sign_in`] makes the session, [`Login::finish`] goes on
    /// with a sign-in that waited for its second factor, or [`Login::step_up`] notes that a session has
    /// proved it again. None of them counts anything.
    ///
    /// The guess at a [`Password`](Guess::Password) counts for the account that may sign in with the name
    /// ([`account`](OpenAttempt::account)), as [`login.id`](crate::config::LoginConfig::id) says. Other
    /// ways to find an account have other rules, such as
    /// [`find_by_login`](crate::account::Accounts::find_by_login): a guess that counts for one name and
    /// signs in the owner of another has no limit.
    ///
    /// Never call it inside a transaction of your own: it waits for attempts of the same account that are
    /// still going on.
    ///
    /// A refused attempt begins like any other, and you compare as usual: a client must not see whether it
    /// was refused, not even by the time. Only with
    /// [`reveal_lockout`](crate::config::AttemptConfig::reveal_lockout) it is told here.
    ///
    /// # What it does not do
    /// It does not limit how often a source calls your route: use
    /// [`rate_limits`](crate::rate_limit). It does not check who may use the account: `sign_in` and
    /// `finish` do.
    ///
    /// # Errors
    /// [`LoginError::RateLimited`] for too many sign-ins under one name;
    /// [`LoginError::TooManyAttempts`] where that is told; an outage. Compare nothing then.
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
                let subject = inside(auth, subject, account, client);
                (AttemptKind::Login, subject, Some(account.clone()), failure)
            }
            Guess::SecondFactor(account) => {
                let subject = self.subject_of(account.id());
                let failure = failed("wrong_second_factor").account(account.id());
                let subject = inside(auth, subject, account, client);
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

/// The same subject for somebody who has proved before that the account is theirs.
fn inside(auth: &Portcullis, subject: Subject, account: &Account, client: &ClientInfo) -> Subject {
    let devices = auth.per_instance::<Devices>();
    let device = devices.recognize(auth.context(), client, account.id(), account.epoch);
    subject.on_device(auth, device.known()).inside()
}

impl OpenAttempt {
    /// The account that the attempt counts for. None for a name that signs nobody in: compare
    /// nevertheless, or the time tells which names there are.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Takes the attempt back, because nothing was compared: the directory or the service of the key did
    /// not answer. Never call it after a comparison. If this fails too, the attempt counts as failed.
    pub async fn withdraw(self) {
        self.auth.attempts().withdraw(self.ticket).await;
    }

    /// Says whether the guess was right, and returns what that is worth. Only [`Verdict::Right`] lets
    /// anybody in: of an attempt that was refused the verdict is [`Wrong`](Verdict::Wrong), whatever the
    /// guess. There is one method for both cases, so a right guess that was refused cannot be answered in
    /// another way than a wrong one.
    ///
    /// Right: the failures before it count no more. Wrong: the failure is an event (`authn_login_fail`),
    /// and what follows from it happens: the event of a lock, and for passwords the notice to the owner.
    ///
    /// # Errors
    /// An outage. The attempt counts as failed then, and nobody may be let in.
    pub async fn judge(self, right: bool) -> Result<Verdict, LoginError> {
        let Self { auth, ticket, failure, account: _ } = self;
        let context = auth.context();
        let attempts = auth.attempts();
        if !right || !ticket.is_judged() {
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
