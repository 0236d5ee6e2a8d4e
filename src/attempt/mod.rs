//! Attempts to prove an identity: counted, delayed and, if there are too many, refused for a while.
//!
//! # How it works
//!
//! The same mechanism serves every flow that accepts a guess: passwords, codes, tokens and keys. A
//! flow asks before it compares anything, and reports afterwards how the attempt ended.
//!
//! 1. The flow says what the attempt is about: what was typed, and the account to which it belongs,
//!    if there is one.
//! 2. The latest attempts are read, together with the failures of the source. The rule decides if
//!    one more is allowed, must wait, or is locked.
//! 3. The attempt takes the next number **before** anything is compared. Two attempts cannot take
//!    the same number, so parallel guesses are counted like sequential ones. From now on it counts
//!    as failed, even if the process dies.
//! 4. The flow compares, hashes and looks up. In its transaction it reports that the attempt failed
//!    or succeeded. A success closes the window of its own subject and of nothing else.
//! 5. A refused attempt does all of this too, and its result is discarded. It is recorded, but not
//!    in the counts of its subject. So further attempts do not make a lock longer.
//!
//! By default, delays start at the 6th failure within ten minutes (1, 2, 4 … 60 seconds). The 15th
//! failure causes a lock of one hour. Separately, a source with a hundred failures within ten
//! minutes must wait, for whatever accounts they were.
//!
//! # Two counts: one is visible, one protects
//!
//! What a stranger can see depends only on what they typed. The count that protects an account is
//! separate. It is visible only to the account's known devices and its own sessions.
//!
//! | | protective count | visible count |
//! |---|---|---|
//! | counts | the account, for all its names together; without an account, what was typed in its normal form | what was typed in its normal form, whatever account it belongs to |
//! | decides | whether the result counts | whether the answer is 429 |
//! | exists | for every attempt | where limits are visible: for codes, and everywhere with `reveal_lockout` |
//! | after a success | its window is closed | the attempt is removed, and nothing is closed: an action of the owner must not be visible |
//!
//! So the answers for a name do not change when the name gets an owner, loses its owner or moves to
//! another account. If the attempts at one name are used up, this does not show at the other names
//! of the account. There, an attempt is answered like a wrong one. That is why a refusal can be
//! silent even where limits are visible.
//!
//! # Refused attempts
//!
//! A refused attempt does the work and does not imitate it, because an imitation shows under load.
//! The password is hashed with the parameters of that account, or with the current parameters if
//! there is no account. It waits for the same limited number of hash computations, with the same
//! time limits. If that limit is reached, locked names get a 503 like all others. The same
//! statements run in the same order. The answer has the same bytes.
//!
//! A refused attempt counts for its source like a wrong one. Otherwise a source could see which
//! names belong together, by watching when its limit is reached. Attempts of a source that has
//! reached its limit change no count. They only touch one row that exists for this purpose. So the
//! number of records of refused attempts is limited like that of wrong ones.
//!
//! Passwords of more than 1 024 bytes are answered like wrong ones at once, for every name. Nothing
//! is read, hashed or counted.
//!
//! # Kinds of attempts
//!
//! Each kind has separate counts and settings. Failures of one kind never lock another.
//!
//! | kind | subject | limits | what closes its window |
//! |---|---|---|---|
//! | `Login`: a password, wherever it is compared | the account, or a name without an account | as above | a correct password; a reset of the password |
//! | `Forgot`: a request for a link | the same | as above; it counts as failed until the link is used. A refused request writes what a request for an unknown name writes | a reset of the password |
//! | `Reset`: the token of a link, checked or used | the account that it names, otherwise the token | only per source: nobody can guess 256 bits, and a person with a valid link must not be stopped. A refused token is compared, and the result is discarded | |
//! | `Challenge`: a code | the account or address, and the purpose of the code | `challenge.attempts` (or `attempts_by_purpose`) in `attempts_window`; visible by what was typed | nothing: a correct code does not count |
//! | `MailLoginRequest`: a request for a sign-in by mail | the account, or a name without an account | as above; it counts as failed until such a sign-in succeeds. A refused request writes what a request for an unknown name writes | a sign-in by mail |
//! | `MailLogin`: the code of such a mail | the account, or a name without an account | `challenge.attempts` in `attempts_window`; visible by the name for which the mail was asked | nothing: a correct code does not count |
//! | `MailLoginLink`: the link of such a mail | the token | only per source, like `Reset` | |
//! | `SecondFactor`: a code of an authenticator, a recovery code, a code that was sent, or a factor that the application compares | the account, for all its factors and sign-ins together | as above, but the lock lasts for twelve hours (`attempts.kinds`) | a correct one |
//!
//! A slow comparison is stored as pending until it ends, and later attempts wait for it. So many
//! correct passwords at once all succeed. Fast checks are stored as failed and corrected on
//! success, which saves a statement.
//!
//! # Your own comparisons
//!
//! Use [`begin`](Attempts::begin) for passwords that a directory compares, or for codes of a
//! hardware key. It takes what is guessed ([`Guess`](crate::login::Guess)). It returns an attempt
//! that counts as failed until you [judge](crate::login::OpenAttempt::judge) it. `judge` also
//! decides what a refused attempt is worth, so no handler can forget it. Create the session
//! afterwards with [`auth.sign_in(..)`](crate::Portcullis::sign_in) or
//! [`finish`](crate::login::Login::finish).
//!
//! # Known devices
//!
//! A complete sign-in that is to be remembered leaves a signed token on the device. A browser
//! stores it in a cookie (`__Host-session-device`). A client that stores its tokens itself gets it
//! as `device_token` in the answer, and sends it in the header `Portcullis-Device` of later
//! requests.
//!
//! - The token contains up to five accounts, each bound to its epoch. A sixth account replaces the
//!   one that was used longest ago.
//! - Attempts from such a device have a separate counter per account. The counters of the account
//!   and of the source do not apply to them. So an attacker who locks an account does not lock out
//!   its owner.
//! - The token proves nothing else. The password and all other factors are still required.
//! - A new password and an end of all sessions make an account's part of the token invalid. The
//!   device that requested this gets a new token with the answer, if it was known. The others are
//!   new devices afterwards.
//! - A completed reset of the password makes its device known, because the owner reads the mail.
//!
//! The page [`new_device`](crate::new_device) explains what is reported about sign-ins from other
//! devices.
//!
//! # Guesses at many accounts
//!
//! An attacker can try one password at many accounts, from many addresses. This reaches no limit of
//! an account or a source. Each node watches its own sign-ins for it: the share that fails, and the
//! number of names that fail from one network. A sudden increase causes an event, a finding and a
//! call of [`OnSuspicion`](crate::port::OnSuspicion). Nothing is refused. See
//! [`WatchConfig`](crate::config::WatchConfig).
//!
//! # Removing a lock
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, id: portcullis::AccountId)
//! # -> Result<(), portcullis::Fault> {
//! use std::time::Duration;
//!
//! use portcullis::attempt::Purge;
//!
//! // Deletes all failures of this account's names, so that it can sign in again.
//! auth.attempts().purge(Purge::everything().account(id)).await?;
//! // Deletes all failures that are older than one hour, for example after an attack.
//! auth.attempts().purge(Purge::everything().older_than(Duration::from_secs(3_600))).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`auth.maintenance()`](crate::maintenance) removes records that are too old to matter.
//!
//! # What it does not do
//!
//! - It does not end sessions. They continue while an account is locked, and only reauthentication
//!   is refused.
//! - It does not count links that sign nobody in and set no password. To verify an address takes a
//!   session of the account, or gives no more than the address.
//! - It does not limit what is not a guess, such as registrations. Rate limits do that.
//! - It does not work longer than its records exist: removing them removes the locks that they
//!   caused. Keep them for longer than `window` plus `lockout`, and than `window` plus
//!   `longest_delay` ([`retention.attempts`](crate::config::RetentionConfig::attempts)). They are
//!   found by a digest with the newest secret, so a new secret resets them.
//!
//! # Routes
//!
//! None. The flows that compare something use it.
//!
//! # Configuration
//!
//! [`AttemptConfig`](crate::config::AttemptConfig), for all kinds or for one.
//!
//! # Events
//!
//! `authn_login_lock`, `authn_login_successafterfail`, `attempts_purged`,
//! `authn_spraying_suspected`. The failures are events of their flows. Those of refused attempts
//! have the reason `too_many_attempts`. Attempts of a source that has reached its limit are only
//! counted in metrics.
//!
//! # Errors
//!
//! `too_many_attempts` (429): for codes always, for all other attempts only with `reveal_lockout`.
//!
//! # Standard
//!
//! OWASP ASVS 6.3.1, NIST SP 800-63B-4 3.2.2.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use uuid::Uuid;

use crate::account::{entity::account, store as account_store};
use crate::base::client::{ClientInfo, rate_key};
use crate::base::clock::{Stopwatch, Timestamp};
use crate::base::event::{DENIED, Event, EventKind, count};
use crate::base::id::AccountId;
use crate::base::secret::random_array;
use crate::base::transaction::{Fault, MaybeFault, transaction};
use crate::config::AttemptKind;
use crate::handle::Portcullis;
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::Outgoing;

pub(crate) mod entity;
mod key;
mod purge;
mod queue;
mod rule;
pub(crate) mod store;
mod subject;
mod ticket;
mod watch;

pub use purge::Purge;
pub(crate) use rule::Outcome;
pub(crate) use subject::{Subject, subjects_about};
pub(crate) use ticket::Ticket;

use key::{Key, REFUSED, SourceRule, TOUCHED, Taken, WHOLE};
use queue::{QueuePosition, Queues, Underway};
use rule::{Rule, Ruling};
use subject::{Origin, SubjectKey};
use ticket::{GivenUp, Reports, Standing, meanwhile};
use watch::Seen;

/// How long an attempt waits before it looks again, if its result depends on pending attempts.
/// Another process does not report when they end.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The resolution of times here. A lock includes its last millisecond.
const MOMENT: Duration = Duration::from_millis(1);

/// What happens with an attempt.
#[expect(clippy::large_enum_variant, reason = "it is matched where it is returned")]
pub(crate) enum Admission {
    /// Do all the work, and report through the ticket how it ended. The result of a refused attempt
    /// must be discarded: see [`Ticket::counts`].
    Admitted(Ticket),
    /// Answer at once that there were too many. This only happens where limits are visible, by what
    /// was typed.
    TooMany { retry_after: Duration },
}

/// The situation of one more attempt.
struct NextAttempt<'a> {
    rule: &'a Rule,
    /// The protective count.
    own: &'a Key,
    /// The visible count, if there is a separate one.
    told: Option<&'a Key>,
    tells: bool,
    origin: Origin,
    position: &'a QueuePosition,
}

/// The decision about one more attempt.
enum Decision {
    /// The attempt counts.
    Free {
        own: Taken,
        told: Option<Taken>,
        underway: Underway,
        failures: usize,
        locks: bool,
        now: Timestamp,
    },
    /// The attempt does its work, and its result is discarded.
    Refused { own: Taken, told: Option<Taken>, standing: Standing },
    /// No attempt is allowed before this time, and the client is told so.
    FreeAt(Timestamp),
}

/// Counts attempts. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Attempts<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the methods for attempts to prove an identity.
    pub fn attempts(&self) -> Attempts<'_> {
        Attempts { auth: self }
    }
}

impl<'a> Attempts<'a> {
    pub(crate) fn auth(&self) -> &'a Portcullis {
        self.auth
    }
}

impl Attempts<'_> {
    /// Returns the subject of attempts with a typed name, which is in its normal form if it has
    /// one. `row` is the account that has this name, if there is one.
    pub(crate) fn subject(&self, row: Option<&account::Model>, name: &str) -> Subject {
        let key = self.auth.per_instance::<SubjectKey>();
        let subject = match row {
            Some(row) => Subject {
                account: Some(row.id),
                email: row.email.clone(),
                ..Subject::of(key.account(row.id))
            },
            None => Subject::of(key.name(name)),
        };
        Subject { typed: Some(key.typed(name)), ..subject }
    }

    /// Returns the subject of attempts at an account of which only the id is known. Its owner gets
    /// no message.
    pub(crate) fn subject_of(&self, account: AccountId) -> Subject {
        let digest = self.auth.per_instance::<SubjectKey>().account(account);
        Subject { account: Some(account), ..Subject::of(digest) }
    }

    /// Returns the subject of attempts at a token that names no account.
    pub(crate) fn subject_of_token(&self, typed: &str) -> Subject {
        Subject::of(self.auth.per_instance::<SubjectKey>().token(typed))
    }

    /// Returns the digest by which a typed name is counted. It does not depend on the account, and
    /// reveals nothing about the name.
    pub(crate) fn digest_of_typed(&self, normal: &str) -> [u8; 32] {
        self.auth.per_instance::<SubjectKey>().typed(normal)
    }

    /// Returns the subject of attempts that are about a target and not about an account.
    pub(crate) fn subject_of_target(&self, target: &str) -> Subject {
        Subject::of(self.auth.per_instance::<SubjectKey>().name(target))
    }

    /// Returns the subject of attempts at something that has only an id: the session of a visitor.
    pub(crate) fn subject_of_unnamed(&self, id: Uuid) -> Subject {
        Subject::of(self.auth.per_instance::<SubjectKey>().unnamed(id))
    }

    /// Asks for one more attempt. Never call it inside a transaction: the attempt must stay counted
    /// if that is rolled back, and this may wait.
    pub(crate) async fn take(
        &self,
        kind: AttemptKind,
        subject: &Subject,
        client: &ClientInfo,
    ) -> Result<Admission, Fault> {
        let context = self.auth.context();
        let rule = Rule::of(&context.config, kind).limited_to(subject.limit);
        // A person who enters a code is told how many attempts there are.
        let tells = context.config.attempts.reveal_lockout || kind.is_code();
        let own = Key { subject: subject.digest, kind, part: subject.part };
        let told = subject.typed.filter(|_| tells && subject.origin == Origin::Anywhere);
        let told = told.map(|digest| Key { subject: digest, kind, part: subject.part });
        let queues = self.auth.per_instance::<Queues>();
        // By what was typed: if attempts at two names waited for each other, the waiting time would
        // reveal that the names belong to one account.
        let queue = subject.typed.filter(|_| subject.origin == Origin::Anywhere);
        let queue = Key { subject: queue.unwrap_or(own.subject), ..own.clone() };
        let position = QueuePosition::take(&queues, &queue);
        let origin = subject.origin;
        let told = told.as_ref();
        let attempt =
            NextAttempt { rule: &rule, own: &own, told, tells, origin, position: &position };
        let signs_in = kind == AttemptKind::Login;
        let seen = subject.typed.filter(|_| signs_in);
        let seen = seen.map(|name| Seen::new(&name, client.address()));
        let ticket = match self.decide(&attempt, client).await? {
            Decision::Free { own, told, underway, failures, locks, now } => {
                let event = |kind| {
                    let event = Event::new(kind, now).from_client(client);
                    match subject.account {
                        Some(id) => event.account(id),
                        None => event,
                    }
                };
                let locks = locks.then(|| {
                    let event = event(EventKind::LoginLocked).failed(kind.as_str());
                    let message = match kind {
                        AttemptKind::Login => Some(MessageKind::AccountLocked),
                        AttemptKind::SecondFactor => Some(MessageKind::SecondFactorLocked),
                        _ => None,
                    };
                    let notice = message.map(|kind| Self::notice(kind, &rule, subject, client));
                    (event, notice)
                });
                let after_failures = (failures > 0 && signs_in).then(|| {
                    event(EventKind::LoginSucceededAfterFailures).detail(failures.to_string())
                });
                Ticket {
                    auth: self.auth.clone(),
                    position: Some(position),
                    underway: Some(underway),
                    own,
                    told,
                    standing: Standing::Counted,
                    meanwhile: meanwhile(kind),
                    reports: Box::new(Reports { locks, after_failures, seen, dropped: None }),
                    reported: AtomicBool::new(false),
                    over: false,
                }
            }
            Decision::Refused { own, told, standing } => {
                queues.note_refused();
                // No attempt waits for the end of a refused one.
                drop(position);
                Ticket {
                    auth: self.auth.clone(),
                    position: None,
                    underway: None,
                    own,
                    told,
                    standing,
                    meanwhile: meanwhile(kind),
                    reports: Box::new(Reports { seen, ..Reports::default() }),
                    reported: AtomicBool::new(false),
                    over: false,
                }
            }
            Decision::FreeAt(free_at) => {
                queues.note_refused();
                count(DENIED);
                let seconds = free_at.since(context.now()).as_millis().div_ceil(1000);
                let retry_after = Duration::from_secs(seconds.try_into().unwrap_or(u64::MAX));
                return Ok(Admission::TooMany { retry_after });
            }
        };
        Ok(Admission::Admitted(ticket))
    }

    /// Applies the rule and takes the next number. The attempts of one subject do this one after
    /// the other.
    async fn decide(
        &self,
        attempt: &NextAttempt<'_>,
        client: &ClientInfo,
    ) -> Result<Decision, Fault> {
        let NextAttempt { rule, own, told, tells, origin, position } = *attempt;
        let started = Stopwatch::start();
        let context = self.auth.context();
        let config = &context.config.attempts;
        let source = client.address().map(|address| rate_key(address).to_string());
        let source = source.as_deref();
        let source_rule = source
            .zip(config.source_limit)
            .filter(|_| origin != Origin::KnownDevice)
            .map(|(source, limit)| SourceRule { source, limit, window: config.source_window });
        let db = context.db();
        let executor = db.executor();
        let patience = context.config.database.timeout;
        let Ok(_turn) = tokio::time::timeout(patience, position.queue().turn.lock()).await else {
            self.auth.per_instance::<Queues>().tell_overload(context.now());
            return Err(Fault::Overloaded { retry_after: Duration::from_secs(1) });
        };
        let meanwhile = meanwhile(own.kind);
        loop {
            let now = context.now();
            let records = store::records(&executor, own, told, rule, source_rule.as_ref(), now);
            let records = db.read(records).await?;
            if let Some(first) = records.source_full_since {
                if tells {
                    return Ok(Decision::FreeAt(first.plus(config.source_window).plus(MOMENT)));
                }
                let source =
                    self.auth.per_instance::<SubjectKey>().source(source.unwrap_or_default());
                let key = Key { subject: source, ..own.clone() };
                return self.touch(&key, Standing::SourceFull, now).await;
            }
            let judge = |attempts: &[rule::Attempt]| {
                if started.elapsed() < patience {
                    rule.judge(attempts, now)
                } else {
                    rule.judge_strictly(attempts, now)
                }
            };
            // The visible count decides first: an attempt that is answered with 429 leaves no
            // record.
            let of_told = told.map(|_| judge(&records.told));
            let elsewhere = records.own.iter().any(|one| {
                let row = Taken { key: own.clone(), number: one.number };
                one.outcome == Outcome::Pending && position.is_elsewhere(&row)
            });
            // A pending attempt at another name of the account is not waited for, because the
            // waiting time would reveal that the names belong together. It counts as failed here.
            let of_own = match judge(&records.own) {
                Ruling::Wait if elsewhere => rule.judge_strictly(&records.own, now),
                verdict => verdict,
            };
            let speaks = of_told.unwrap_or(of_own);
            if tells && let Some(until) = free_at(speaks) {
                return Ok(Decision::FreeAt(until));
            }
            if matches!(of_own, Ruling::Wait) || matches!(of_told, Some(Ruling::Wait)) {
                let settled = position.queue().settled.notified();
                let _ = tokio::time::timeout(LOOK_AGAIN, settled).await;
                continue;
            }
            let next = |key: &Key, attempts: &[rule::Attempt]| Taken {
                key: key.clone(),
                number: attempts.first().map_or(1, |last| last.number + 1),
            };
            let of_typed = told.map(|key| next(key, &records.told));
            let (of_subject, standing) = match of_own {
                Ruling::Free { .. } => (next(own, &records.own), Standing::Counted),
                // The limit per source also limits the number of these records. Without it, an
                // attacker could fill the table, so no record is written.
                _ if of_typed.is_none() && source_rule.is_none() => {
                    return self.touch(own, Standing::Unrecorded, now).await;
                }
                _ => (Taken { key: refused(own), number: any_number() }, Standing::Refused),
            };
            let rows: Vec<Taken> = std::iter::once(&of_subject).chain(&of_typed).cloned().collect();
            let reserve = || store::reserve(&executor, &rows, meanwhile, source, now);
            // If the client disconnects while the rows are written, this guard marks them as
            // failed.
            let armed = meanwhile == Outcome::Pending;
            let mut written = GivenUp { context, rows: rows.clone(), armed };
            let reserved = db.retry(reserve).await;
            written.armed = false;
            drop(written);
            // If false, another attempt took one of the numbers: look again.
            if reserved? {
                let (own, told) = (of_subject, of_typed);
                return Ok(match of_own {
                    Ruling::Free { failures, locks } if standing == Standing::Counted => {
                        let underway = position.begin(&own);
                        Decision::Free { own, told, underway, failures, locks, now }
                    }
                    _ => Decision::Refused { own, told, standing },
                });
            }
        }
    }

    /// Writes the one row that this subject has for this purpose. This costs as much as a record.
    async fn touch(
        &self,
        key: &Key,
        standing: Standing,
        now: Timestamp,
    ) -> Result<Decision, Fault> {
        let db = self.auth.context().db();
        let executor = db.executor();
        let own = Taken { key: refused(key), number: TOUCHED };
        db.retry(|| store::touch(&executor, &own, now)).await?;
        Ok(Decision::Refused { own, told: None, standing })
    }

    /// Returns the message that tells the owner about a lock. If there is no owner, a message
    /// without a recipient is written, so that the work is the same.
    fn notice(kind: MessageKind, rule: &Rule, subject: &Subject, client: &ClientInfo) -> Outgoing {
        let to = subject.email.as_deref().and_then(Recipient::email);
        let values = Values::new()
            .with("minutes", rule.lockout_minutes())
            .with_some("address", client.address());
        let notice = Outgoing::new(kind, to).values(values);
        match subject.account {
            Some(id) => notice.account(id),
            None => notice,
        }
    }

    /// Ends an attempt that failed: writes its event, and reports it to the watch.
    pub(crate) async fn fail(&self, mut ticket: Ticket, event: &Event) -> Result<(), Fault> {
        let recorded = transaction!(self.auth.context().db(), |txn| {
            ticket.record(txn, event).await?;
            ticket.failed(txn).await?;
            Ok::<_, Fault>(())
        });
        if let Err(fault) = recorded {
            // The row stays as it is, and a pending row counts as failed.
            ticket.over = true;
            return Err(fault);
        }
        ticket.end_failed();
        Ok(())
    }

    /// Ends an attempt whose failure was recorded in a transaction of the flow.
    pub(crate) fn end_failed<T, E>(
        &self,
        mut ticket: Ticket,
        result: Result<T, E>,
    ) -> Result<T, E> {
        match &result {
            Ok(_) => ticket.end_failed(),
            // The row stays as it is, and a pending row counts as failed.
            Err(_) => ticket.over = true,
        }
        result
    }

    /// Closes the windows of an account for these kinds, in the transaction that proved who its
    /// owner is. The failures stay on record and count for their source. The visible counts of its
    /// names do not change: strangers must not see what the owner does. The owner signs in from a
    /// known device.
    pub(crate) async fn close<C: ConnectionTrait>(
        &self,
        txn: &C,
        account: AccountId,
        kinds: &[AttemptKind],
    ) -> Result<(), DbErr> {
        let subject = self.auth.per_instance::<SubjectKey>().account(account);
        store::close(txn, subject, kinds, self.auth.context().now()).await
    }

    /// Ends an attempt with a correct guess, together with the transaction that followed. If that
    /// was refused for another reason, the attempt is removed.
    pub(crate) async fn end<T, E: MaybeFault>(
        &self,
        mut ticket: Ticket,
        result: Result<T, E>,
    ) -> Result<T, E> {
        match &result {
            Ok(_) => ticket.end_succeeded(),
            // If the database does not answer, the client does not wait for it once more.
            Err(error) if matches!(error.fault(), Some(Fault::Timeout)) => ticket.over = true,
            // The guess was right. A failed hook, also one with a database error, is no wrong guess.
            Err(_) => self.withdraw(ticket).await,
        }
        result
    }

    /// Removes an attempt that was not judged, for example because too many passwords wait to be
    /// hashed.
    pub(crate) async fn withdraw(&self, mut ticket: Ticket) {
        let db = self.auth.context().db();
        let executor = db.executor();
        let withdrawn = db.retry(|| store::withdraw(&executor, ticket.rows())).await;
        if let Err(error) = withdrawn {
            // The attempt then counts as a failure.
            tracing::debug!(target: "portcullis", %error, "an attempt could not be removed");
        }
        ticket.over = true;
    }
    /// Returns the subjects of an account: the account itself, and what is typed to name it.
    async fn subjects_of(&self, account: AccountId) -> Result<Vec<[u8; 32]>, Fault> {
        let db = self.auth.context().db();
        let names = db.read(account_store::names_of(&db.executor(), account)).await?;
        let key = self.auth.per_instance::<SubjectKey>();
        let typed = names.iter().map(|name| key.typed(&name.normal));
        Ok(std::iter::once(key.account(account)).chain(typed).collect())
    }

    /// Returns since when this account is locked for sign-ins or second factors from unknown devices: the
    /// time of the failure that caused the later one of these locks. `None` if it is not locked.
    pub(crate) async fn locked_since(
        &self,
        account: AccountId,
    ) -> Result<Option<Timestamp>, Fault> {
        let context = self.auth.context();
        let subject = self.auth.per_instance::<SubjectKey>().account(account);
        let (db, now) = (context.db(), context.now());
        let executor = db.executor();
        let mut since = None;
        for kind in [AttemptKind::Login, AttemptKind::SecondFactor] {
            let rule = Rule::of(&context.config, kind);
            let key = Key { subject, kind, part: WHOLE };
            let records = store::records(&executor, &key, None, &rule, None, now);
            since = since.max(rule.locked_since(&db.read(records).await?.own, now));
        }
        Ok(since)
    }

    /// Returns until when this account is locked or delayed for attempts from unknown devices, or
    /// `None` if it is not. Codes are counted per purpose, so for
    /// [`Challenge`](AttemptKind::Challenge) the result says nothing.
    ///
    /// # Errors
    /// The infrastructure failed.
    pub async fn refused_until(
        &self,
        account: AccountId,
        kind: AttemptKind,
    ) -> Result<Option<Timestamp>, Fault> {
        let context = self.auth.context();
        let rule = Rule::of(&context.config, kind);
        let subject = self.auth.per_instance::<SubjectKey>().account(account);
        let key = Key { subject, kind, part: WHOLE };
        let db = context.db();
        let executor = db.executor();
        let now = context.now();
        let records = db.read(store::records(&executor, &key, None, &rule, None, now)).await?;
        Ok(match rule.judge_strictly(&records.own, now) {
            Ruling::Delayed { until } | Ruling::Locked { until } => Some(until),
            Ruling::Free { .. } | Ruling::Wait => None,
        })
    }
}

/// Returns the key of the refused attempts of this subject and kind.
fn refused(key: &Key) -> Key {
    Key { part: REFUSED, ..key.clone() }
}

/// Returns a random number for a refused attempt, which has no position in a count. It is below the
/// maximum, so that adding one cannot overflow.
fn any_number() -> i64 {
    i64::from_be_bytes(random_array()).unsigned_abs().clamp(1, i64::MAX as u64 - 1) as i64
}

/// Returns from when on one more attempt is allowed, if it is not allowed now.
fn free_at(verdict: Ruling) -> Option<Timestamp> {
    match verdict {
        Ruling::Free { .. } | Ruling::Wait => None,
        Ruling::Delayed { until } => Some(until),
        Ruling::Locked { until } => Some(until.plus(MOMENT)),
    }
}

/// Methods for tests.
#[cfg(feature = "test-util")]
impl Attempts<'_> {
    /// Returns how many attempts were refused: answered at once, or with a discarded result.
    pub fn refused(&self) -> u64 {
        self.auth.per_instance::<Queues>().refused()
    }

    /// Returns how many subjects have an attempt in progress.
    pub fn busy(&self) -> usize {
        self.auth.per_instance::<Queues>().busy()
    }
}
