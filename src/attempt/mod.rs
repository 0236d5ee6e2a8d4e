//! Tries to prove who one is: counted, delayed and, if there are too many, refused for a while.
//!
//! One mechanism serves every flow that takes a guess: passwords, codes, tokens, keys. A flow asks
//! before it judges and says afterwards how it ended:
//!
//! 1. Whom the try is about is found: the account, whichever of its names was typed and however it
//!    was spelt; for a name that is nobody's, its normal form.
//! 2. The latest tries of this subject and kind are read, and with them the failures of the source.
//!    The rule says whether one more is free, has to wait, or is locked out.
//! 3. A free try takes the next number **before** anything is judged. Two tries cannot take the
//!    same one, so parallel guesses are counted like others. From here on it counts as failed: also
//!    when the process dies.
//! 4. The flow compares, hashes, looks up. In its transaction it says that the try failed or
//!    succeeded. A success closes the window of its own subject and of nothing else.
//! 5. A refused try is not judged at all: the right password is neither hashed nor compared. It
//!    waits as long as recent failures took, and looks like one. It is not counted, so that trying
//!    does not make a lock longer.
//!
//! The defaults: a growing delay from the 6th failure within ten minutes (1, 2, 4 … 60 s), and a
//! lock of an hour at the 15th. Apart from that, a source with a hundred failures within ten minutes
//! has to wait, whomever they were about.
//!
//! # What is tried
//!
//! Each kind has counts and settings of its own; failures of one never lock another.
//!
//! | kind | about | limits | what closes its window |
//! |---|---|---|---|
//! | `Login`: a password, wherever it is compared | the account, or the name that is nobody's | as above | a right one; a reset of the password |
//! | `Forgot`: a request for a link | the same | as above; it has failed until the link is used | a reset of the password |
//! | `Reset`: the token of a link, looked at or used | the account that it names, or else the token | of the source alone: nobody guesses 256 bits, and whoever has a good link must get through | |
//! | `Challenge`: a code | the account or address, and what the code is for | `challenge.tries` in `tries_window`, and then told | nothing: a right one uses up no try |
//!
//! What takes long to judge is under way until it ends, and tries after it wait for that: many right
//! passwords at once all get in. What is judged at once counts as failed until it has not.
//!
//! # Known devices
//!
//! A full sign-in that is to be remembered leaves a cookie (`__Host-session-device`) behind that says so, bound to the account
//! and its epoch. Tries from such a browser have a counter of their own, and neither the account's
//! nor the source's counts for them: who locks an account from elsewhere does not lock its owner out.
//! The cookie proves nothing else; the password and every further factor are asked as ever. It goes
//! with a changed password or an end of all sessions, except in the browser that asked for them.
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
//! // Once a day: what is too old to matter.
//! auth.attempts().purge(Purge::everything().older_than(Duration::from_secs(86_400))).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//! - Lock whoever is signed in already: sessions go on, only proving the password again is refused.
//! - Count links that sign nobody in and set no password: proving an address takes one's own session,
//!   or hands over no more than the address.
//! - Slow down what is no guess, such as registering: that is for rate limits.
//! - Outlast its own records: removing them lifts the locks they made. Keep them for longer than
//!   `window` and `lockout` together. They are found by a digest under the newest secret, so a new
//!   secret starts them anew.
//!
//! # Configuration
//! [`AttemptConfig`](crate::config::AttemptConfig), for all kinds or for one.
//!
//! # Events
//! `authn_login_lock`, `authn_login_successafterfail`, `attempts_purged`; the failures themselves are
//! events of their flows. Refused tries are denials of the rule `attempt:login` (or another kind, but
//! for codes).
//!
//! # Errors
//! `too_many_attempts` (429), only with `reveal_lockout`; of codes `too_many_tries` (429).
//!
//! # Standard
//! OWASP ASVS 6.3.1, NIST SP 800-63B-4 3.2.2.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use uuid::Uuid;

use crate::account::{LoginId, entity::account, store as account_store};
use crate::audit_log;
use crate::base::client::{ClientInfo, rate_key};
use crate::base::clock::{Stopwatch, Timestamp};
use crate::base::event::{Event, EventKind, count};
use crate::base::id::AccountId;
use crate::base::secret::{DigestKey, Purpose};
use crate::base::transaction::{Fault, MaybeFault, transaction};
use crate::config::AttemptKind;
use crate::context::{Context, Room};
use crate::handle::Portcullis;
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::{self, Outgoing};

pub(crate) mod entity;
mod lane;
mod rule;
mod store;

use lane::{Lanes, Place};
use rule::{Outcome, Rule, Verdict};

/// How long a try that depends on others still going on waits before it looks again: another
/// process does not tell when they end.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The least time there is here: the end of a lock still belongs to it.
const MOMENT: Duration = Duration::from_millis(1);

/// The part of what is counted with the rest of its subject and kind.
const WHOLE: i64 = 0;

/// How many rows one statement of a purge removes, about.
const PURGE_BATCH: u64 = 1000;

/// Whom a try is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    digest: [u8; 32],
    account: Option<AccountId>,
    email: Option<String>,
    part: i64,
    origin: Origin,
}

/// From where a try comes, as far as its subject can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    KnownDevice,
    Anywhere,
}

impl Subject {
    fn of(digest: [u8; 32]) -> Self {
        Self { digest, account: None, email: None, part: WHOLE, origin: Origin::Anywhere }
    }

    /// The same on a device that the account is known to sign in from: it is counted by itself, and
    /// what strangers fail at does not touch it.
    pub(crate) fn on_device(mut self, auth: &Portcullis, device: Option<[u8; 16]>) -> Self {
        if let Some(id) = device {
            self.part = auth.room::<SubjectKey>().part(b"device ", &id);
            self.origin = Origin::KnownDevice;
        }
        self
    }

    /// The same with a count for each purpose: wrong codes for one thing use up no tries at another.
    /// A known device has no count of its own here, or whoever sits at it had twice as many.
    pub(crate) fn for_purpose(mut self, auth: &Portcullis, purpose: &str) -> Self {
        self.part = auth.room::<SubjectKey>().part(b"purpose ", purpose.as_bytes());
        self
    }
}

/// One line of tries: what is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) subject: [u8; 32],
    pub(crate) kind: AttemptKind,
    pub(crate) part: i64,
}

/// The rule for one source.
pub(crate) struct SourceRule<'a> {
    pub(crate) source: &'a str,
    pub(crate) limit: u32,
    pub(crate) window: Duration,
}

/// The key of subjects' digests.
struct SubjectKey(DigestKey);

impl Room for SubjectKey {
    fn open(context: &Context) -> Self {
        Self(DigestKey::new(&context.config.keys.secrets[0], Purpose::AttemptSubject))
    }
}

impl SubjectKey {
    fn account(&self, id: AccountId) -> [u8; 32] {
        self.0.digest(&[b"account ", id.as_uuid().as_bytes().as_slice()].concat())
    }

    fn name(&self, normal: &str) -> [u8; 32] {
        self.0.digest(&[b"name ", normal.as_bytes()].concat())
    }

    fn token(&self, typed: &str) -> [u8; 32] {
        self.0.digest(&[b"token ", typed.as_bytes()].concat())
    }

    fn unnamed(&self, id: Uuid) -> [u8; 32] {
        self.0.digest(&[b"unnamed ", id.as_bytes().as_slice()].concat())
    }

    fn part(&self, of: &[u8], id: &[u8]) -> i64 {
        let digest = self.0.digest(&[of, id].concat());
        let start = digest[..8].try_into().expect("eight of 32 bytes");
        match i64::from_be_bytes(start) {
            WHOLE => 1,
            number => number,
        }
    }
}

/// Whether a try may be judged.
pub(crate) enum Admission {
    /// It may: judge it, and say how it ended.
    Admitted(Ticket),
    /// It may not: answer as if it had failed. It has waited as long as a failure takes.
    Refused,
    /// The same where the configuration says that clients are told.
    TooMany { retry_after: Duration },
}

/// A try that is counted. Dropped without a word, as when its client hangs up, it has failed.
pub(crate) struct Ticket {
    context: Context,
    /// Given up when the try is over.
    place: Option<Place>,
    key: Key,
    number: i64,
    /// What the row says of it until it ends.
    meanwhile: Outcome,
    telling: Box<Telling>,
    started: Stopwatch,
    /// Whether there is nothing more to say about it.
    over: bool,
}

/// What is told of a try besides that it failed or succeeded.
struct Telling {
    /// If it fails: that this one locks, to the operator and, of a sign-in, to the owner.
    locks: Option<(Event, Option<Outgoing>)>,
    /// If it succeeds: that others failed before.
    after_failures: Option<Event>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Ticket {
    /// Says that it failed, in the transaction of the event that tells of it.
    pub(crate) async fn failed<C: ConnectionTrait>(&self, txn: &C) -> Result<(), DbErr> {
        if let Some((event, notice)) = &self.telling.locks {
            audit_log::record(txn, event).await?;
            if let Some(notice) = notice {
                outbox::put(txn, &self.context, notice).await?;
            }
        }
        if self.meanwhile == Outcome::Failed {
            return Ok(());
        }
        store::settle(txn, &self.key, self.number, Outcome::Failed).await
    }

    /// Says that it succeeded, in the transaction of what it leads to. The window of its subject is
    /// closed.
    pub(crate) async fn succeeded<C: ConnectionTrait>(&self, txn: &C) -> Result<(), DbErr> {
        if let Some(event) = &self.telling.after_failures {
            audit_log::record(txn, event).await?;
        }
        store::settle(txn, &self.key, self.number, Outcome::Succeeded).await
    }

    /// The transaction of [`failed`](Self::failed) is committed.
    pub(crate) fn end_failed(mut self) {
        self.over = true;
        if let Some((event, _)) = &self.telling.locks {
            event.trace();
            outbox::deliver_soon(&self.context);
        }
        if let Some(place) = &self.place {
            place.note(self.key.kind, self.started.elapsed());
        }
    }

    /// The transaction of [`succeeded`](Self::succeeded) is committed.
    pub(crate) fn end_succeeded(mut self) {
        self.over = true;
        if let Some(event) = &self.telling.after_failures {
            event.trace();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.over || self.meanwhile == Outcome::Failed {
            return;
        }
        give_up(&self.context, &self.key, self.number, self.place.take());
    }
}

/// A row that is being written, for a try that has no ticket yet.
struct GivenUp<'a> {
    context: &'a Context,
    key: &'a Key,
    number: i64,
    armed: bool,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if self.armed {
            give_up(self.context, self.key, self.number, None);
        }
    }
}

/// Says in a task of its own that a try has failed: whoever waits for its end must not wait for
/// nothing.
fn give_up(context: &Context, key: &Key, number: i64, place: Option<Place>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let (context, key) = (context.clone(), key.clone());
    runtime.spawn(async move {
        let db = context.db();
        let executor = db.executor();
        let settled = db.retry(|| store::settle(&executor, &key, number, Outcome::Failed)).await;
        if let Err(error) = settled {
            tracing::debug!(target: "portcullis", %error, "a try that was given up stays open");
        }
        drop(place);
    });
}

/// What the row of a try says until it ends. What takes long to judge is under way meanwhile, and
/// later ones wait for it; what is judged at once has failed until it has not, which saves the
/// statement that would say so.
fn meanwhile(kind: AttemptKind) -> Outcome {
    match kind {
        AttemptKind::Forgot | AttemptKind::Reset | AttemptKind::Challenge => Outcome::Failed,
        _ => Outcome::Pending,
    }
}

/// Where one more try stands.
#[derive(Clone, Copy)]
struct Line<'a> {
    rule: &'a Rule,
    key: &'a Key,
    origin: Origin,
    place: &'a Place,
}

/// What was decided about one more try.
enum Decision {
    /// It has this number.
    Free { number: i64, failures: usize, locks: bool, now: Timestamp },
    /// Not before this moment.
    FreeAt(Timestamp),
}

/// Which records of tries to remove: conditions that all have to hold.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Purge {
    kind: Option<AttemptKind>,
    account: Option<AccountId>,
    login: Option<String>,
    older_than: Option<Duration>,
}

impl Purge {
    /// All of them.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Only of this kind.
    pub fn kind(mut self, kind: AttemptKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only about this account.
    pub fn account(mut self, id: AccountId) -> Self {
        self.account = Some(id);
        self
    }

    /// Only about this name: the account that has it, and what was counted under the name while it
    /// was nobody's.
    pub fn login(mut self, login: impl Into<String>) -> Self {
        self.login = Some(login.into());
        self
    }

    /// Only older ones.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }
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

impl Attempts<'_> {
    /// Tries that are about an account; `None` where the name is nobody's, in its normal form as far
    /// as it has one.
    pub(crate) fn subject(&self, row: Option<&account::Model>, name: &str) -> Subject {
        let key = self.auth.room::<SubjectKey>();
        match row {
            Some(row) => Subject {
                account: Some(row.id),
                email: row.email.clone(),
                ..Subject::of(key.account(row.id))
            },
            None => Subject::of(key.name(name)),
        }
    }

    /// The same where only the account's id is at hand, and its owner is not written to.
    pub(crate) fn subject_of(&self, account: AccountId) -> Subject {
        let digest = self.auth.room::<SubjectKey>().account(account);
        Subject { account: Some(account), ..Subject::of(digest) }
    }

    /// Tries at a token that names no account.
    pub(crate) fn subject_of_token(&self, typed: &str) -> Subject {
        Subject::of(self.auth.room::<SubjectKey>().token(typed))
    }

    /// Tries about what has nothing but an id: a visitor's session.
    pub(crate) fn subject_of_unnamed(&self, id: Uuid) -> Subject {
        Subject::of(self.auth.room::<SubjectKey>().unnamed(id))
    }

    /// Asks for one more try. Never inside a transaction: the try has to count whatever comes of
    /// it, and this may wait.
    pub(crate) async fn begin(
        &self,
        kind: AttemptKind,
        subject: &Subject,
        client: &ClientInfo,
    ) -> Result<Admission, Fault> {
        let started = Stopwatch::start();
        let context = self.auth.context();
        let rule = Rule::of(&context.config, kind);
        let key = Key { subject: subject.digest, kind, part: subject.part };
        let lanes = self.auth.room::<Lanes>();
        let place = Place::take(&lanes, &key);
        let line = Line { rule: &rule, key: &key, origin: subject.origin, place: &place };
        match self.decide(&line, client, started).await? {
            Decision::Free { number, failures, locks, now } => {
                let event = |kind| {
                    let event = Event::new(kind, now).from_client(client);
                    match subject.account {
                        Some(id) => event.account(id),
                        None => event,
                    }
                };
                let signs_in = kind == AttemptKind::Login;
                let locks = locks.then(|| {
                    let event = event(EventKind::LoginLocked).failed(kind.as_str());
                    (event, signs_in.then(|| Self::notice(&rule, subject, client)))
                });
                let after_failures = (failures > 0 && signs_in).then(|| {
                    event(EventKind::LoginSucceededAfterFailures).detail(failures.to_string())
                });
                Ok(Admission::Admitted(Ticket {
                    context: context.clone(),
                    place: Some(place),
                    meanwhile: meanwhile(kind),
                    key,
                    number,
                    telling: Box::new(Telling { locks, after_failures }),
                    started,
                    over: false,
                }))
            }
            Decision::FreeAt(free_at) => {
                drop(place);
                self.note_refused(kind, subject);
                // Whoever is asked for a code is told how many tries there are, and then when to come
                // back.
                if context.config.attempts.reveal_lockout || kind == AttemptKind::Challenge {
                    let seconds = free_at.since(context.now()).as_millis().div_ceil(1000);
                    let retry_after = Duration::from_secs(seconds.try_into().unwrap_or(u64::MAX));
                    return Ok(Admission::TooMany { retry_after });
                }
                lanes.wait(kind, started).await;
                Ok(Admission::Refused)
            }
        }
    }

    /// Asks the rule, one try of a subject after the other, and takes the next number if it is free.
    async fn decide(
        &self,
        line: &Line<'_>,
        client: &ClientInfo,
        started: Stopwatch,
    ) -> Result<Decision, Fault> {
        let Line { rule, key, origin, place } = *line;
        let context = self.auth.context();
        let config = &context.config.attempts;
        let source = client.address().map(|address| rate_key(address).to_string());
        let source = source.as_deref();
        let source_rule = source
            .zip(config.source_limit)
            .filter(|_| origin == Origin::Anywhere)
            .map(|(source, limit)| SourceRule { source, limit, window: config.source_window });
        let db = context.db();
        let executor = db.executor();
        let patience = context.config.database.timeout;
        let Ok(_turn) = tokio::time::timeout(patience, place.lane.turn.lock()).await else {
            return Err(Fault::Overloaded { retry_after: Duration::from_secs(1) });
        };
        loop {
            let now = context.now();
            let records = store::records(&executor, key, rule, source_rule.as_ref(), now);
            let records = db.read(records).await?;
            if let Some(first) = records.source_full_since {
                return Ok(Decision::FreeAt(first.plus(config.source_window).plus(MOMENT)));
            }
            let verdict = if started.elapsed() < patience {
                rule.judge(&records.tries, now)
            } else {
                rule.judge_strictly(&records.tries, now)
            };
            match verdict {
                Verdict::Free { failures, locks } => {
                    let number = records.tries.first().map_or(1, |last| last.number + 1);
                    let meanwhile = meanwhile(key.kind);
                    let reserve = || store::reserve(&executor, key, number, meanwhile, source, now);
                    // A client may hang up while the row is written.
                    let armed = meanwhile == Outcome::Pending;
                    let mut written = GivenUp { context, key, number, armed };
                    let reserved = db.retry(reserve).await;
                    written.armed = false;
                    drop(written);
                    if reserved? {
                        return Ok(Decision::Free { number, failures, locks, now });
                    }
                }
                Verdict::Wait => {
                    let settled = place.lane.settled.notified();
                    let _ = tokio::time::timeout(LOOK_AGAIN, settled).await;
                }
                Verdict::Delayed { until } => return Ok(Decision::FreeAt(until)),
                Verdict::Locked { until } => return Ok(Decision::FreeAt(until.plus(MOMENT))),
            }
        }
    }

    /// A refused try changes nothing and may come a thousand times a second, so it is counted and
    /// not recorded. Of codes not even as a denial: the last wrong one was an event, and an address must
    /// not show by what is written whether it is somebody's.
    fn note_refused(&self, kind: AttemptKind, subject: &Subject) {
        match subject.account {
            Some(account) if kind != AttemptKind::Challenge => {
                self.auth.note_denial(account, &format!("attempt:{}", kind.as_str()));
            }
            _ => count(crate::base::event::DENIED),
        }
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
            audit_log::record(txn, event).await?;
            ticket.failed(txn).await?;
            Ok::<_, Fault>(())
        });
        if let Err(fault) = recorded {
            // It stays open, which counts as failed.
            ticket.over = true;
            return Err(fault);
        }
        event.trace();
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
    /// owner is. What failed stays on record, and counts for its source.
    pub(crate) async fn close<C: ConnectionTrait>(
        &self,
        txn: &C,
        account: AccountId,
        kinds: &[AttemptKind],
    ) -> Result<(), DbErr> {
        let subject = self.auth.room::<SubjectKey>().account(account);
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
        let withdrawn = db.retry(|| store::withdraw(&executor, &ticket.key, ticket.number)).await;
        if let Err(error) = withdrawn {
            // It counts as a failure then.
            tracing::debug!(target: "portcullis", %error, "a try could not be withdrawn");
        }
        ticket.over = true;
    }

    /// Removes records of tries, and with them the locks that they made. Says how many there were.
    /// Rows are removed some thousand at a time.
    ///
    /// # Errors
    /// An outage. What was removed until then is gone.
    pub async fn purge(&self, purge: Purge) -> Result<u64, Fault> {
        let context = self.auth.context();
        let db = context.db();
        let executor = db.executor();
        let now = context.now();
        let mut account = purge.account;
        let mut subjects: Option<Vec<[u8; 32]>> = None;
        let key = self.auth.room::<SubjectKey>();
        if let Some(id) = purge.account {
            subjects = Some(vec![key.account(id)]);
        }
        if let Some(login) = &purge.login {
            let parsed = LoginId::parse(login);
            let normal = parsed.as_ref().map_or(login.as_str(), LoginId::normal);
            let row = db.read(account_store::find_by_name(&executor, normal)).await?;
            let mut named = vec![key.name(normal)];
            if let Some(row) = row {
                account = account.or(Some(row.id));
                named.push(key.account(row.id));
            }
            subjects = Some(match subjects {
                // Both have to hold.
                Some(given) => given.into_iter().filter(|one| named.contains(one)).collect(),
                None => named,
            });
        }
        let which = store::Which {
            subjects,
            kind: purge.kind.map(AttemptKind::number),
            until: purge.older_than.map(|age| now.minus(age)),
        };
        let mut removed = 0;
        loop {
            let end = db.read(store::end_of_batch(&executor, &which, PURGE_BATCH)).await?;
            let batch = match end {
                Some(until) => store::Which { until: Some(until), ..which.clone() },
                None => which.clone(),
            };
            removed += db.retry(|| store::remove(&executor, &batch)).await?;
            if end.is_none() {
                break;
            }
        }
        if removed > 0 {
            let mut event = Event::new(EventKind::AttemptsPurged, now).detail(removed.to_string());
            event.account_id = account;
            transaction!(db, |txn| {
                audit_log::record(txn, &event).await?;
                Ok::<_, Fault>(())
            })?;
            event.trace();
        }
        Ok(removed)
    }

    /// Until when this account is locked or delayed for strangers; none if it is not. Codes are
    /// counted for each purpose, and whoever types one is told: of
    /// [`Challenge`](AttemptKind::Challenge) nothing is known here.
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
        let subject = self.auth.room::<SubjectKey>().account(account);
        let key = Key { subject, kind, part: WHOLE };
        let db = context.db();
        let executor = db.executor();
        let now = context.now();
        let records = db.read(store::records(&executor, &key, &rule, None, now)).await?;
        Ok(match rule.judge_strictly(&records.tries, now) {
            Verdict::Delayed { until } | Verdict::Locked { until } => Some(until),
            Verdict::Free { .. } | Verdict::Wait => None,
        })
    }
}

/// What tests look at.
#[cfg(feature = "test-util")]
impl Attempts<'_> {
    /// How long each refused try was made to wait, counted from its beginning.
    pub fn waits(&self) -> Vec<Duration> {
        self.auth.room::<Lanes>().waited()
    }

    /// How long failures of this kind take, by their median.
    pub fn typical_failure(&self, kind: AttemptKind) -> Duration {
        self.auth.room::<Lanes>().median(kind)
    }

    /// How many subjects have a try under way.
    pub fn busy(&self) -> usize {
        self.auth.room::<Lanes>().busy()
    }
}
