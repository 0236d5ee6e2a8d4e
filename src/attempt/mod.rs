//! Tries to prove who one is: counted, delayed and, if there are too many, refused for a while.
//!
//! One mechanism serves every flow that takes a guess: passwords, codes, tokens, keys. A flow asks
//! before it compares and says afterwards how it ended:
//!
//! 1. The flow says what the try is about: what was typed, and the account that it belongs to, if it
//!    belongs to one.
//! 2. The latest tries are read, and with them the failures of the source. The rule says whether one
//!    more is free, has to wait, or is locked out.
//! 3. The try takes the next number **before** anything is compared. Two tries cannot take the
//!    same one, so parallel guesses are counted like others. From here on it counts as failed: also
//!    when the process dies.
//! 4. The flow compares, hashes, looks up. In its transaction it says that the try failed or
//!    succeeded. A success closes the window of its own subject and of nothing else.
//! 5. A refused try does all of that as well, and its verdict is thrown away: it is on record, but
//!    not among those that are counted, so that trying does not make a lock longer.
//!
//! The defaults: a growing delay from the 6th failure within ten minutes (1, 2, 4 … 60 s), and a
//! lock of an hour at the 15th. Apart from that, a source with a hundred failures within ten minutes
//! has to wait, whomever they were about.
//!
//! # Two counts: one that is told, one that protects
//!
//! What a stranger is told depends only on what they typed. What protects an account is counted
//! beside it and told to nobody but its known devices and its own sessions.
//!
//! | | what protects | what is told |
//! |---|---|---|
//! | counts | the account, over all its names; where there is none, what was typed in its normal form | what was typed in its normal form, whoever it belongs to |
//! | decides | whether the verdict counts | whether the answer is 429 |
//! | there is one | for every try | where anything is told at all: for codes, and everywhere with `reveal_lockout` |
//! | a success | closes its window | is taken back, and closes nothing: what an owner does must not show |
//!
//! So a name that gets an owner, loses them or moves to another account goes on being answered as
//! before. Used-up tries at one name of an account do not show at its other names: a try there gets
//! the answer of a wrong one. That is why a refusal can be silent even where locks are told.
//!
//! # Refused tries
//!
//! A refused try does the work instead of imitating it. The password is hashed with the parameters of
//! that account (with today's for a name that nobody has), behind the same gate, with the same time
//! limits. A full gate answers 503 to a locked name as to any other. The same statements run in the
//! same order. The answer has the same bytes.
//!
//! A refused try counts for its source like a wrong one, or a source could find out which names belong
//! together by watching when it is full. What a full source tries changes no count at all; it only
//! touches one row of its own. So the records of refused tries are bounded as those of wrong ones are.
//!
//! Passwords of more than 1 024 bytes are answered like wrong ones at once, whatever the name: nothing
//! is read, hashed or counted.
//!
//! # What is tried
//!
//! Each kind has counts and settings of its own; failures of one never lock another.
//!
//! | kind | about | limits | what closes its window |
//! |---|---|---|---|
//! | `Login`: a password, wherever it is compared | the account, or the name that is nobody's | as above | a right one; a reset of the password |
//! | `Forgot`: a request for a link | the same | as above; it has failed until the link is used. A refused one writes what a request for an unknown name writes | a reset of the password |
//! | `Reset`: the token of a link, looked at or used | the account that it names, or else the token | of the source alone: nobody guesses 256 bits, and who has a good link must get through. A refused one is compared in vain | |
//! | `Challenge`: a code | the account or address, and what the code is for | `challenge.tries` (or `tries_by_purpose`) in `tries_window`, and then told by what was typed | nothing: a right one uses up no try |
//!
//! | `SecondFactor`: one that the application compares | the account | as above | a right one |
//!
//! What takes long to compare is under way until it ends, and tries after it wait for that: many right
//! passwords at once all get in. What is compared at once counts as failed until it has not.
//!
//! # Guesses of your own
//!
//! A password that a directory compares, or the code of a hardware key, is counted by
//! [`begin`](Attempts::begin). It takes what is guessed at ([`Guess`](crate::login::Guess)) and returns an
//! attempt that counts as failed until you [judge](crate::login::OpenAttempt::judge) it. What a refused
//! attempt is worth is decided there, so no handler can forget it. The session is made afterwards by
//! [`auth.sign_in(..)`](crate::Portcullis::sign_in) or [`finish`](crate::login::Login::finish).
//!
//! # Known devices
//!
//! A full sign-in that is to be remembered leaves a signed token behind. A browser keeps it in a cookie
//! (`__Host-session-device`). A client that keeps its tokens itself gets it as `device_token` in the
//! answer, and shows it in the header `Portcullis-Device` of later requests. The token remembers up to
//! five accounts, each bound to its epoch; a sixth takes the place of the one used longest ago. Tries
//! from such a device have a counter of their own for each account, and neither the account's nor the
//! source's counts for them: locking an account from elsewhere does not lock its owner out. The token
//! proves nothing else; the password and every further factor are asked as ever. An account's part of
//! it goes with a changed password or an end of all sessions, except on the device that asked for them:
//! that one gets a new token with the answer, if it was known. The others are new devices afterwards.
//! A completed reset of the password makes its device a known one, because the owner reads the mail.
//! What is told of sign-ins from other devices is on the page of [`new_device`](crate::new_device).
//!
//! # Guessing at many accounts
//!
//! One password tried at many accounts from many addresses meets no limit of an account or a source.
//! Each node watches its own sign-ins for it: the share that fails, and how many names fail from one
//! network. A jump is an event, a finding and a call of [`OnSuspicion`](crate::port::OnSuspicion); nothing
//! is refused. See [`WatchConfig`](crate::config::WatchConfig).
//!
//! # Lifting a lock
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, id: portcullis::AccountId)
//! # -> Result<(), portcullis::Fault> {
//! use std::time::Duration;
//!
//! use portcullis::attempt::Purge;
//!
//! // Whatever this account's names failed at is forgotten, and it can sign in again.
//! auth.attempts().purge(Purge::everything().account(id)).await?;
//! // Everybody's: what failed more than an hour ago, as after an attack that is over.
//! auth.attempts().purge(Purge::everything().older_than(Duration::from_secs(3_600))).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Records that are too old to matter are removed by [`auth.maintenance()`](crate::maintenance).
//!
//! # What it does not do
//! - End sessions: only proving the password again is refused while an account is locked.
//! - Count links that sign nobody in and set no password: proving an address takes a session of the
//!   account, or hands over no more than the address.
//! - Slow down what is no guess, such as registering: that is for rate limits.
//! - Outlast its own records: removing them lifts the locks they made. Keep them for longer than
//!   `window` and `lockout`, and `window` and `longest_delay`, together
//!   ([`retention.attempts`](crate::config::RetentionConfig::attempts)). They are found by a digest under the newest secret, so a new
//!   secret starts them anew.
//!
//! # Configuration
//! [`AttemptConfig`](crate::config::AttemptConfig), for all kinds or for one.
//!
//! # Events
//! `authn_login_lock`, `authn_login_successafterfail`, `attempts_purged`, `authn_spraying_suspected`; the
//! failures themselves are events of their flows. Those of refused tries say `too_many_attempts`; what a
//! full source tries is only counted in metrics.
//!
//! # Errors
//! `too_many_attempts` (429), only with `reveal_lockout`; of codes `too_many_tries` (429).
//!
//! # Standard
//! OWASP ASVS 6.3.1, NIST SP 800-63B-4 3.2.2.

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
pub(crate) use subject::Subject;
pub(crate) use ticket::Ticket;

use key::{Key, REFUSED, SourceRule, TOUCHED, Taken, WHOLE};
use queue::{Place, Queues, Underway};
use rule::{Outcome, Rule, Ruling};
use subject::{Origin, SubjectKey};
use ticket::{GivenUp, Standing, Telling, meanwhile};
use watch::Seen;

/// How long a try that depends on others still going on waits before it looks again: another
/// process does not tell when they end.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The least time there is here: the end of a lock still belongs to it.
const MOMENT: Duration = Duration::from_millis(1);

/// What becomes of a try.
#[expect(clippy::large_enum_variant, reason = "it is matched where it is returned")]
pub(crate) enum Admission {
    /// Do all of it, and say through the ticket how it ended. Of a refused try the verdict is thrown
    /// away: see [`Ticket::is_judged`].
    Admitted(Ticket),
    /// Answer at once that there were too many: where that is told, by what was typed.
    TooMany { retry_after: Duration },
}

/// Where one more try stands.
struct Line<'a> {
    rule: &'a Rule,
    /// What protects.
    own: &'a Key,
    /// What is told, where that is counted apart.
    told: Option<&'a Key>,
    tells: bool,
    origin: Origin,
    place: &'a Place,
}

/// What was decided about one more try.
enum Decision {
    /// It is counted.
    Free {
        own: Taken,
        told: Option<Taken>,
        underway: Underway,
        failures: usize,
        locks: bool,
        now: Timestamp,
    },
    /// It is done in vain.
    Refused { own: Taken, told: Option<Taken>, standing: Standing },
    /// Not before this moment, and that is told.
    FreeAt(Timestamp),
}

/// Counts tries. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Attempts<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Tries to prove who one is.
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
    /// Tries of somebody who typed a name, in its normal form as far as it has one. `row` is the account
    /// that has it, if one has.
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

    /// Tries about an account of which only the id is at hand; its owner is not written to.
    pub(crate) fn subject_of(&self, account: AccountId) -> Subject {
        let digest = self.auth.per_instance::<SubjectKey>().account(account);
        Subject { account: Some(account), ..Subject::of(digest) }
    }

    /// Tries at a token that names no account.
    pub(crate) fn subject_of_token(&self, typed: &str) -> Subject {
        Subject::of(self.auth.per_instance::<SubjectKey>().token(typed))
    }

    /// Tries at what is about a target and no account, whoever makes them.
    pub(crate) fn subject_of_target(&self, target: &str) -> Subject {
        Subject::of(self.auth.per_instance::<SubjectKey>().name(target))
    }

    /// Tries about what has nothing but an id: a visitor's session.
    pub(crate) fn subject_of_unnamed(&self, id: Uuid) -> Subject {
        Subject::of(self.auth.per_instance::<SubjectKey>().unnamed(id))
    }

    /// Asks for one more try. Never inside a transaction: the try has to count whatever comes of
    /// it, and this may wait.
    pub(crate) async fn take(
        &self,
        kind: AttemptKind,
        subject: &Subject,
        client: &ClientInfo,
    ) -> Result<Admission, Fault> {
        let context = self.auth.context();
        let rule = Rule::of(&context.config, kind).limited_to(subject.limit);
        // To those who are asked for a code it is told how many tries there are.
        let tells = context.config.attempts.reveal_lockout || kind == AttemptKind::Challenge;
        let own = Key { subject: subject.digest, kind, part: subject.part };
        let told = subject.typed.filter(|_| tells && subject.origin == Origin::Anywhere);
        let told = told.map(|digest| Key { subject: digest, kind, part: subject.part });
        let queues = self.auth.per_instance::<Queues>();
        // By what was typed: tries at two names of one account must not be seen to meet.
        let queue = subject.typed.filter(|_| subject.origin == Origin::Anywhere);
        let queue = Key { subject: queue.unwrap_or(own.subject), ..own.clone() };
        let place = Place::take(&queues, &queue);
        let origin = subject.origin;
        let told = told.as_ref();
        let line = Line { rule: &rule, own: &own, told, tells, origin, place: &place };
        let signs_in = kind == AttemptKind::Login;
        let seen = subject.typed.filter(|_| signs_in);
        let seen = seen.map(|name| Seen::new(&name, client.address()));
        let ticket = match self.decide(&line, client).await? {
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
                    (event, signs_in.then(|| Self::notice(&rule, subject, client)))
                });
                let after_failures = (failures > 0 && signs_in).then(|| {
                    event(EventKind::LoginSucceededAfterFailures).detail(failures.to_string())
                });
                Ticket {
                    auth: self.auth.clone(),
                    place: Some(place),
                    underway: Some(underway),
                    own,
                    told,
                    standing: Standing::Counted,
                    meanwhile: meanwhile(kind),
                    telling: Box::new(Telling { locks, after_failures, seen, dropped: None }),
                    over: false,
                }
            }
            Decision::Refused { own, told, standing } => {
                queues.note_refused();
                // Nobody waits for its end.
                drop(place);
                Ticket {
                    auth: self.auth.clone(),
                    place: None,
                    underway: None,
                    own,
                    told,
                    standing,
                    meanwhile: meanwhile(kind),
                    telling: Box::new(Telling { seen, ..Telling::default() }),
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

    /// Asks the rule, one try of a subject after the other, and takes the next number.
    async fn decide(&self, line: &Line<'_>, client: &ClientInfo) -> Result<Decision, Fault> {
        let Line { rule, own, told, tells, origin, place } = *line;
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
        let Ok(_turn) = tokio::time::timeout(patience, place.queue().turn.lock()).await else {
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
            let judge = |tries: &[rule::Try]| {
                if started.elapsed() < patience {
                    rule.judge(tries, now)
                } else {
                    rule.judge_strictly(tries, now)
                }
            };
            // What was typed first: a try that is told of leaves no trace.
            let of_told = told.map(|_| judge(&records.told));
            let elsewhere = records.own.iter().any(|one| {
                let row = Taken { key: own.clone(), number: one.number };
                one.outcome == Outcome::Pending && place.is_elsewhere(&row)
            });
            let of_own = match judge(&records.own) {
                Ruling::Wait if elsewhere => rule.judge_strictly(&records.own, now),
                verdict => verdict,
            };
            let speaks = of_told.unwrap_or(of_own);
            if tells && let Some(until) = free_at(speaks) {
                return Ok(Decision::FreeAt(until));
            }
            if matches!(of_own, Ruling::Wait) || matches!(of_told, Some(Ruling::Wait)) {
                let settled = place.queue().settled.notified();
                let _ = tokio::time::timeout(LOOK_AGAIN, settled).await;
                continue;
            }
            let next = |key: &Key, tries: &[rule::Try]| Taken {
                key: key.clone(),
                number: tries.first().map_or(1, |last| last.number + 1),
            };
            let of_typed = told.map(|key| next(key, &records.told));
            let (of_subject, standing) = match of_own {
                Ruling::Free { .. } => (next(own, &records.own), Standing::Counted),
                // The source limits how many of these there are; without it they leave no record.
                _ if of_typed.is_none() && source_rule.is_none() => {
                    return self.touch(own, Standing::Unrecorded, now).await;
                }
                _ => (Taken { key: refused(own), number: any_number() }, Standing::Refused),
            };
            let rows: Vec<Taken> = std::iter::once(&of_subject).chain(&of_typed).cloned().collect();
            let reserve = || store::reserve(&executor, &rows, meanwhile, source, now);
            // A client may hang up while the rows are written.
            let armed = meanwhile == Outcome::Pending;
            let mut written = GivenUp { context, rows: rows.clone(), armed };
            let reserved = db.retry(reserve).await;
            written.armed = false;
            drop(written);
            // If not, somebody else took a number: look again.
            if reserved? {
                let (own, told) = (of_subject, of_typed);
                return Ok(match of_own {
                    Ruling::Free { failures, locks } if standing == Standing::Counted => {
                        let underway = place.begin(&own);
                        Decision::Free { own, told, underway, failures, locks, now }
                    }
                    _ => Decision::Refused { own, told, standing },
                });
            }
        }
    }

    /// Does what a record would cost, on the one row of this subject that is there for it.
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

    /// What the owner is told of a lock. Where there is no owner a message is written all the same,
    /// for nobody.
    fn notice(rule: &Rule, subject: &Subject, client: &ClientInfo) -> Outgoing {
        let to = subject.email.as_deref().and_then(Recipient::email);
        let values = Values::new()
            .with("minutes", rule.lockout_minutes())
            .with_some("address", client.address());
        let notice = Outgoing::new(MessageKind::AccountLocked, to).values(values);
        match subject.account {
            Some(id) => notice.account(id),
            None => notice,
        }
    }

    /// Ends a try that failed: writes the event that tells of it, and says so to the operator.
    pub(crate) async fn fail(&self, mut ticket: Ticket, event: &Event) -> Result<(), Fault> {
        let recorded = transaction!(self.auth.context().db(), |txn| {
            ticket.record(txn, event).await?;
            ticket.failed(txn).await?;
            Ok::<_, Fault>(())
        });
        if let Err(fault) = recorded {
            // It stays open, which counts as failed.
            ticket.over = true;
            return Err(fault);
        }
        ticket.end_failed();
        Ok(())
    }

    /// Ends a try whose failure was written down in this transaction of the flow's.
    pub(crate) fn end_failed<T, E>(
        &self,
        mut ticket: Ticket,
        result: Result<T, E>,
    ) -> Result<T, E> {
        match &result {
            Ok(_) => ticket.end_failed(),
            // It stays open, which counts as failed.
            Err(_) => ticket.over = true,
        }
        result
    }

    /// Closes the windows of an account of these kinds, in the transaction of what proved who its
    /// owner is. What failed stays on record, and counts for its source. What strangers are told of its
    /// names stays as it was: the owner is let in by a device that is known.
    pub(crate) async fn close<C: ConnectionTrait>(
        &self,
        txn: &C,
        account: AccountId,
        kinds: &[AttemptKind],
    ) -> Result<(), DbErr> {
        let subject = self.auth.per_instance::<SubjectKey>().account(account);
        store::close(txn, subject, kinds, self.auth.context().now()).await
    }

    /// Ends a try whose guess was right, with the transaction that it led to. If that was refused for
    /// another reason, the try is taken back.
    pub(crate) async fn end<T, E: MaybeFault>(
        &self,
        mut ticket: Ticket,
        result: Result<T, E>,
    ) -> Result<T, E> {
        match &result {
            Ok(_) => ticket.end_succeeded(),
            // A hook that failed is no outage of the database, and no wrong guess.
            Err(error) if error.fault().is_none_or(|fault| matches!(fault, Fault::Internal(_))) => {
                self.withdraw(ticket).await;
            }
            Err(_) => ticket.over = true,
        }
        result
    }

    /// Takes a try back that was not judged, as when too many passwords wait for it.
    pub(crate) async fn withdraw(&self, mut ticket: Ticket) {
        let db = self.auth.context().db();
        let executor = db.executor();
        let withdrawn = db.retry(|| store::withdraw(&executor, ticket.rows())).await;
        if let Err(error) = withdrawn {
            // It counts as a failure then.
            tracing::debug!(target: "portcullis", %error, "a try could not be withdrawn");
        }
        ticket.over = true;
    }
    /// What is counted about an account: itself, and what was typed to name it.
    async fn subjects_of(&self, account: AccountId) -> Result<Vec<[u8; 32]>, Fault> {
        let db = self.auth.context().db();
        let names = db.read(account_store::names_of(&db.executor(), account)).await?;
        let key = self.auth.per_instance::<SubjectKey>();
        let typed = names.iter().map(|name| key.typed(&name.normal));
        Ok(std::iter::once(key.account(account)).chain(typed).collect())
    }

    /// Until when this account is locked or delayed for strangers; none if it is not. Codes are
    /// counted for each purpose: of [`Challenge`](AttemptKind::Challenge) nothing is known here.
    ///
    /// # Errors
    /// An outage.
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

/// The line of the refused tries beside this one.
fn refused(key: &Key) -> Key {
    Key { part: REFUSED, ..key.clone() }
}

/// A number for what is counted in no line. It leaves room for one more.
fn any_number() -> i64 {
    i64::from_be_bytes(random_array()).unsigned_abs().clamp(1, i64::MAX as u64 - 1) as i64
}

/// From when on one more is free again, if it is not now.
fn free_at(verdict: Ruling) -> Option<Timestamp> {
    match verdict {
        Ruling::Free { .. } | Ruling::Wait => None,
        Ruling::Delayed { until } => Some(until),
        Ruling::Locked { until } => Some(until.plus(MOMENT)),
    }
}

/// What tests look at.
#[cfg(feature = "test-util")]
impl Attempts<'_> {
    /// How many tries were refused: answered at once, or done in vain.
    pub fn refused(&self) -> u64 {
        self.auth.per_instance::<Queues>().refused()
    }

    /// How many subjects have a try under way.
    pub fn busy(&self) -> usize {
        self.auth.per_instance::<Queues>().busy()
    }
}
