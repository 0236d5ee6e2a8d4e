//! The rule: what earlier attempts mean for the next one. It knows no database and no clock.

use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::config::{AttemptKind, Config};

/// For how long later attempts wait for a pending one. Its process may have died. A pending attempt
/// counts as a failure from the beginning.
const PENDING: Duration = Duration::from_secs(60);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has not ended, or nothing was left to report its end. It counts as failed.
    Pending,
    Failed,
    Succeeded,
}

impl Outcome {
    /// Returns the number that the row contains.
    pub(crate) const fn number(self) -> i16 {
        match self {
            Self::Pending => 0,
            Self::Failed => 1,
            Self::Succeeded => 2,
        }
    }

    /// Reads the number of a row. An unknown number counts as a failure.
    pub(crate) fn from_number(number: i16) -> Self {
        match number {
            0 => Self::Pending,
            2 => Self::Succeeded,
            _ => Self::Failed,
        }
    }
}

/// An attempt, as the rule sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) number: i64,
    pub(crate) at: Timestamp,
    pub(crate) outcome: Outcome,
}

/// What happens when a subject has failed too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    /// Nothing: the secret cannot be guessed, and nobody may be stopped from using it.
    Never,
    /// The next attempt must wait until the first of these failures is older than the window.
    WhileTheyCount,
    /// No attempt is allowed for this time after the last failure.
    For(Duration),
}

/// What a success does to the failures before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Success {
    /// They no longer count.
    ClosesTheWindow,
    /// Nothing. The success itself is not a failure.
    IsNoFailure,
}

/// The limits of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    limit: usize,
    window: Duration,
    lock: Lock,
    success: Success,
    delay_from: usize,
    first_delay: Duration,
    longest_delay: Duration,
}

/// What the rule says about one more attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    Free {
        /// Failures since the last success, as far back as the rule reads.
        failures: usize,
        /// True if this attempt causes a lock when it fails.
        locks: bool,
    },
    /// The decision depends on pending attempts.
    Wait,
    Delayed {
        /// The first time at which an attempt is allowed again.
        until: Timestamp,
    },
    Locked {
        /// The last time at which no attempt is allowed.
        until: Timestamp,
    },
}

impl Rule {
    /// Returns the limits of a kind. A missing setting has the general value, or for codes the
    /// value of the configuration of codes.
    pub(crate) fn of(config: &Config, kind: AttemptKind) -> Self {
        let (attempts, codes) = (&config.attempts, &config.challenge);
        let own = attempts.kinds.get(&kind).cloned().unwrap_or_default();
        let (limit, window, lock, first_delay) = match kind {
            _ if kind.is_code() => {
                // With a shorter window, one mailed code would get more attempts.
                let window = match kind {
                    AttemptKind::MailLogin => codes.attempts_window.max(config.mail.login_lifetime),
                    _ => codes.attempts_window,
                };
                (codes.attempts, window, Lock::WhileTheyCount, Duration::ZERO)
            }
            _ if kind.is_token() => (1, attempts.window, Lock::Never, Duration::ZERO),
            _ => {
                let lock = Lock::For(attempts.lockout);
                (attempts.limit, attempts.window, lock, attempts.first_delay)
            }
        };
        Self {
            limit: own.limit.unwrap_or(limit) as usize,
            window: own.window.unwrap_or(window),
            lock: own.lockout.map_or(lock, Lock::For),
            success: match kind.is_code() {
                true => Success::IsNoFailure,
                false => Success::ClosesTheWindow,
            },
            delay_from: own.delay_from.unwrap_or(attempts.delay_from) as usize,
            first_delay: own.first_delay.unwrap_or(first_delay),
            longest_delay: own.longest_delay.unwrap_or(attempts.longest_delay),
        }
    }

    /// Replaces the maximum number of failures, if a limit is given.
    pub(crate) fn limited_to(self, limit: Option<u32>) -> Self {
        Self { limit: limit.map_or(self.limit, |limit| limit as usize), ..self }
    }

    /// Returns how long a lock lasts in minutes, rounded up, for messages.
    pub(crate) fn lockout_minutes(&self) -> u64 {
        let lasts = match self.lock {
            Lock::Never => Duration::ZERO,
            Lock::WhileTheyCount => self.window,
            Lock::For(lockout) => lockout,
        };
        lasts.as_secs().div_ceil(60)
    }

    /// Returns how many of the latest attempts the rule must read. This is the number that causes a
    /// lock, or the number after which the delay no longer grows, whichever is larger.
    pub(crate) fn reads(&self) -> usize {
        if self.first_delay.is_zero() || self.lock == Lock::Never {
            return self.limit;
        }
        let mut until_longest = self.delay_from;
        while self.delay_after(until_longest) < self.longest_delay {
            until_longest += 1;
        }
        self.limit.max(until_longest)
    }

    /// Returns true if only attempts that did not succeed are read, because a success closes
    /// nothing.
    pub(crate) fn passes_over_successes(&self) -> bool {
        self.success == Success::IsNoFailure
    }

    /// Decides about one more attempt at `now`. `attempts` are the latest ones, the newest first, as
    /// many as [`reads`](Self::reads) says.
    pub(crate) fn judge(&self, attempts: &[Attempt], now: Timestamp) -> Ruling {
        // First with pending attempts as failures. If one more is allowed even then, it need not
        // wait.
        let verdict = self.judge_failures(&self.failures(attempts, |_| true), now);
        if matches!(verdict, Ruling::Free { .. }) {
            return verdict;
        }
        // Then without them. If one more is allowed now, the decision depends on the pending ones.
        let over =
            |t: &Attempt| t.outcome != Outcome::Pending || t.at > now || now.since(t.at) >= PENDING;
        match self.judge_failures(&self.failures(attempts, over), now) {
            Ruling::Free { .. } => Ruling::Wait,
            _ => verdict,
        }
    }

    /// Decides in the same way, but counts a pending attempt as a failure.
    pub(crate) fn judge_strictly(&self, attempts: &[Attempt], now: Timestamp) -> Ruling {
        self.judge_failures(&self.failures(attempts, |_| true), now)
    }

    /// Returns when the lock at `now` began, if there is one.
    pub(crate) fn locked_since(&self, attempts: &[Attempt], now: Timestamp) -> Option<Timestamp> {
        match self.judge_strictly(attempts, now) {
            Ruling::Locked { .. } => self.failures(attempts, |_| true).first().copied(),
            Ruling::Free { .. } | Ruling::Wait | Ruling::Delayed { .. } => None,
        }
    }

    fn judge_failures(&self, failed: &[Timestamp], now: Timestamp) -> Ruling {
        let free = |locks| Ruling::Free { failures: failed.len(), locks };
        if self.lock == Lock::Never {
            return free(false);
        }
        let Some(last) = failed.first() else { return free(self.limit == 1) };
        // Count the failures that were within the window when the last one failed. So the delay
        // does not become shorter while the older failures leave the window.
        let recent = failed.iter().filter(|at| last.since(**at) <= self.window).count();
        let waits_until = last.plus(self.delay_after(recent));
        if let Some(first) = failed.get(self.limit - 1) {
            match self.lock {
                Lock::WhileTheyCount => {
                    let until = first.plus(self.window).max(waits_until);
                    if now < until {
                        return Ruling::Delayed { until };
                    }
                }
                Lock::For(lockout) => {
                    // A lock that ends before the delay does not replace the delay.
                    let until = last.plus(lockout);
                    if last.since(*first) <= self.window && now <= until && waits_until <= until {
                        return Ruling::Locked { until };
                    }
                }
                Lock::Never => {}
            }
        }
        if now < waits_until {
            return Ruling::Delayed { until: waits_until };
        }
        let locks = match self.limit.checked_sub(2) {
            None => true,
            Some(at) => failed.get(at).is_some_and(|first| now.since(*first) <= self.window),
        };
        free(locks)
    }

    /// Returns the times of the failures that count, the newest first.
    fn failures(&self, attempts: &[Attempt], counts: impl Fn(&Attempt) -> bool) -> Vec<Timestamp> {
        let closes = |one: &Attempt| {
            one.outcome == Outcome::Succeeded && self.success == Success::ClosesTheWindow
        };
        attempts
            .iter()
            .take_while(|one| !closes(one))
            .filter(|one| one.outcome != Outcome::Succeeded && counts(one))
            .map(|one| one.at)
            .collect()
    }

    /// Returns the delay after this number of failures: none at first, then it doubles.
    fn delay_after(&self, failures: usize) -> Duration {
        let Some(doublings) = failures.checked_sub(self.delay_from) else {
            return Duration::ZERO;
        };
        // Doubling a zero delay until the factor overflows would return the longest delay.
        if self.first_delay.is_zero() {
            return Duration::ZERO;
        }
        let factor = 1_u32.checked_shl(u32::try_from(doublings).unwrap_or(u32::MAX));
        let delay = factor.and_then(|factor| self.first_delay.checked_mul(factor));
        delay.unwrap_or(self.longest_delay).min(self.longest_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn rule(limit: usize, window: u64, lockout: u64) -> Rule {
        Rule {
            limit,
            window: seconds(window),
            lock: Lock::For(seconds(lockout)),
            first_delay: Duration::ZERO,
            ..Rule::of(&Config::default(), AttemptKind::Login)
        }
    }

    fn failed(times: &[i64]) -> Vec<Attempt> {
        let attempts = times.iter().zip(1..).map(|(second, number)| Attempt {
            number,
            at: at(*second),
            outcome: Outcome::Failed,
        });
        let mut attempts: Vec<_> = attempts.collect();
        attempts.reverse();
        attempts
    }

    /// The same rule in plain code. It is locked if `limit` failures within the window ended no
    /// longer ago than the lockout.
    fn naive(limit: usize, window: i64, lockout: i64, failures: &[i64], now: i64) -> bool {
        failures.windows(limit).any(|run| {
            let (first, last) = (run[0], run[limit - 1]);
            last - first <= window && now <= last + lockout
        })
    }

    #[test]
    fn every_limit_window_and_lockout_agrees_with_the_rule_written_out() {
        let mut locked = 0;
        for limit in [1, 2, 3, 5, 15] {
            for window in [1, 2, 7, 30] {
                for lockout in [1, 3, 8, 60] {
                    for gap in [0, 1, 2, 3, 11] {
                        let rule = rule(limit, window, lockout);
                        let mut failures: Vec<i64> = Vec::new();
                        for now in 0..120 {
                            let expected = naive(
                                limit,
                                i64::try_from(window).unwrap(),
                                i64::try_from(lockout).unwrap(),
                                &failures,
                                now,
                            );
                            let from = failures.len().saturating_sub(limit);
                            let verdict = rule.judge(&failed(&failures[from..]), at(now));
                            let is_locked = matches!(verdict, Ruling::Locked { .. });
                            assert_eq!(is_locked, expected, "{limit} {window} {lockout} {now}");
                            locked += u32::from(is_locked);
                            // An attacker who makes an attempt whenever it is allowed and `gap`
                            // permits it.
                            if !is_locked && (gap == 0 || now % gap == 0) {
                                failures.push(now);
                            }
                        }
                    }
                }
            }
        }
        assert!(locked > 10_000, "{locked}");
    }

    /// Returns what the settings promise, in milliseconds: how long no attempt is allowed after
    /// this number of failures within the window.
    fn promised_gap(rule: &Rule, failures: usize) -> u128 {
        let Lock::For(lockout) = rule.lock else { panic!("nothing else is tried here") };
        let mut wait = Duration::ZERO;
        if failures >= rule.delay_from {
            wait = rule.first_delay;
            for _ in rule.delay_from..failures {
                wait = (2 * wait).min(rule.longest_delay);
            }
        }
        let lock = if failures >= rule.limit { lockout } else { Duration::ZERO };
        wait.min(rule.longest_delay).max(lock).as_millis()
    }

    /// Returns how many failures a window can contain, if all these gaps are observed.
    fn promised(rule: &Rule) -> usize {
        let (mut count, mut passed) = (1, 0);
        loop {
            passed += promised_gap(rule, count);
            if passed > rule.window.as_millis() {
                return count;
            }
            count += 1;
        }
    }

    #[test]
    fn nobody_guesses_more_often_than_the_knobs_promise_nor_is_held_up_longer() {
        let period = 4 * 3600 * 1000;
        for limit in [1, 3, 15] {
            for (window, lockout) in [(10, 1), (10, 30), (600, 1), (600, 30), (600, 3600)] {
                for delay_from in [1, 6, 20] {
                    for (first, longest) in [(0, 60), (1, 1), (1, 60), (7, 900)] {
                        let rule = Rule {
                            delay_from,
                            first_delay: seconds(first),
                            longest_delay: seconds(longest),
                            ..rule(limit, window, lockout)
                        };
                        let knobs = format!("{rule:?}");
                        let mut failures: Vec<i64> = Vec::new();
                        let mut now = 0;
                        while now <= period {
                            let from = failures.len().saturating_sub(rule.reads());
                            let attempts: Vec<_> = failures[from..]
                                .iter()
                                .rev()
                                .map(|at| Attempt {
                                    number: 1,
                                    at: Timestamp::from_millis(*at),
                                    outcome: Outcome::Failed,
                                })
                                .collect();
                            match rule.judge(&attempts, Timestamp::from_millis(now)) {
                                Ruling::Free { .. } => failures.push(now),
                                Ruling::Delayed { until } => now = until.as_millis(),
                                Ruling::Locked { until } => now = until.as_millis() + 1,
                                Ruling::Wait => panic!("nothing is pending"),
                            }
                        }
                        let most = promised(&rule);
                        let length = i64::try_from(window).unwrap() * 1000;
                        for run in failures.windows(most + 1) {
                            assert!(run[most] - run[0] > length, "{most} {knobs}");
                        }
                        let first = failures.iter().filter(|at| **at <= length).count();
                        assert!(first + 1 >= most, "{first} {most} {knobs}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_rule_reads_as_much_as_every_knob_needs() {
        let reads = |limit, delay_from, first, longest| {
            Rule {
                delay_from,
                first_delay: seconds(first),
                longest_delay: seconds(longest),
                ..rule(limit, 600, 3600)
            }
            .reads()
        };
        // The default: the 12th failure is the first with the longest delay.
        assert_eq!(reads(15, 6, 1, 60), 15);
        assert_eq!(reads(3, 6, 1, 60), 12);
        assert_eq!(reads(3, 6, 60, 60), 6);
        assert_eq!(reads(3, 6, 90, 60), 6);
        assert_eq!(reads(3, 6, 0, 60), 3);
        assert_eq!(Rule::of(&Config::default(), AttemptKind::Challenge).reads(), 5);
        assert_eq!(Rule::of(&Config::default(), AttemptKind::Reset).reads(), 1);
    }

    #[test]
    fn a_wait_that_is_longer_than_the_window_is_waited() {
        let rule = Rule {
            delay_from: 2,
            first_delay: seconds(30),
            longest_delay: seconds(120),
            ..rule(100, 10, 1)
        };
        assert_eq!(rule.judge(&failed(&[0, 5]), at(34)), Ruling::Delayed { until: at(35) });
        assert!(matches!(rule.judge(&failed(&[0, 5]), at(35)), Ruling::Free { .. }));
    }

    #[test]
    fn the_boundaries_belong_to_the_window_and_to_the_lock() {
        let rule = rule(15, 600, 3600);
        let spread = |last: i64| {
            let mut times: Vec<i64> = (0..14).collect();
            times.push(last);
            failed(&times)
        };
        let locked = |attempts: &[Attempt], now| {
            matches!(rule.judge(attempts, at(now)), Ruling::Locked { .. })
        };
        assert!(locked(&spread(600), 600));
        assert!(!locked(&spread(601), 601), "the first one is older than the window");
        assert!(locked(&spread(600), 4200));
        assert!(!locked(&spread(600), 4201));
        let free = rule.judge(&failed(&(0..14).collect::<Vec<_>>()), at(600));
        assert_eq!(free, Ruling::Free { failures: 14, locks: true });
        let free = rule.judge(&failed(&(0..14).collect::<Vec<_>>()), at(601));
        assert_eq!(free, Ruling::Free { failures: 14, locks: false });
    }

    #[test]
    fn delays_grow_from_the_sixth_failure_and_leave_room_for_the_lock() {
        let rule = Rule::of(&Config::default(), AttemptKind::Login);
        let mut times: Vec<i64> = Vec::new();
        let mut now = 0;
        let mut waits = Vec::new();
        loop {
            match rule.judge(&failed(&times), at(now)) {
                Ruling::Free { .. } => times.push(now),
                Ruling::Delayed { until } => {
                    let next = until.as_secs();
                    waits.push(next - now);
                    assert!(matches!(
                        rule.judge(&failed(&times), until.minus(Duration::from_millis(1))),
                        Ruling::Delayed { .. }
                    ));
                    now = next;
                }
                Ruling::Locked { until } => {
                    assert_eq!(until, at(now + 3600));
                    break;
                }
                Ruling::Wait => panic!("nothing is pending"),
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(times.len(), 15);
        assert!(now <= 600, "a patient guesser is locked too");
    }

    #[test]
    fn without_delays_there_is_none_however_many_failures() {
        let rule = rule(100, 600, 3600);
        for count in 0..100 {
            let verdict = rule.judge(&failed(&vec![0; count]), at(0));
            assert!(matches!(verdict, Ruling::Free { .. }), "{count}: {verdict:?}");
        }
    }

    #[test]
    fn a_success_closes_the_window_and_pending_tries_count() {
        let rule = rule(3, 600, 3600);
        let one = |number, outcome| Attempt { number, at: at(number), outcome };
        let now = at(10);
        let attempts =
            [one(3, Outcome::Failed), one(2, Outcome::Succeeded), one(1, Outcome::Failed)];
        assert_eq!(rule.judge(&attempts, now), Ruling::Free { failures: 1, locks: false });
        let attempts = [one(3, Outcome::Pending), one(2, Outcome::Failed), one(1, Outcome::Failed)];
        assert_eq!(rule.judge(&attempts, now), Ruling::Wait);
        assert!(matches!(rule.judge_strictly(&attempts, now), Ruling::Locked { .. }));
        assert!(
            matches!(rule.judge(&attempts, at(63)), Ruling::Locked { .. }),
            "who made it has died: it failed"
        );
        let attempts = [one(3, Outcome::Failed), one(2, Outcome::Failed), one(1, Outcome::Failed)];
        assert!(matches!(rule.judge(&attempts, now), Ruling::Locked { .. }));
    }

    #[test]
    fn one_kind_falls_back_to_what_is_general() {
        let mut config = Config::default();
        let own = crate::config::AttemptOverrides { limit: Some(3), ..Default::default() };
        config.attempts.kinds.insert(AttemptKind::Forgot, own.clone());
        config.attempts.kinds.insert(AttemptKind::Challenge, own);
        config.attempts.window = seconds(60);
        let of = |kind| {
            let rule = Rule::of(&config, kind);
            (rule.limit, rule.window, rule.lock)
        };
        let hour = Lock::For(seconds(3600));
        assert_eq!(of(AttemptKind::Login), (15, seconds(60), hour));
        assert_eq!(of(AttemptKind::Forgot), (3, seconds(60), hour));
        // For codes, the configuration of codes is the general one.
        assert_eq!(of(AttemptKind::Challenge), (3, seconds(3600), Lock::WhileTheyCount));
        config.challenge.attempts_window = seconds(7200);
        let own = config.attempts.kinds.get_mut(&AttemptKind::Challenge).expect("it is there");
        own.lockout = Some(seconds(5));
        let rule = Rule::of(&config, AttemptKind::Challenge);
        assert_eq!((rule.window, rule.lock), (seconds(7200), Lock::For(seconds(5))));
    }

    #[test]
    fn codes_have_so_many_tries_in_any_window_whatever_succeeds_meanwhile() {
        let rule = Rule::of(&Config::default(), AttemptKind::Challenge);
        let wrong = [0, 600, 1200, 1800, 2400];
        let mut attempts = failed(&wrong);
        let locks = Ruling::Free { failures: 4, locks: true };
        assert_eq!(rule.judge(&attempts[1..], at(2400)), locks, "the fifth may still be tried");
        let first_free = at(3600);
        for now in [2400, 3000, 3599] {
            assert_eq!(
                rule.judge(&attempts, at(now)),
                Ruling::Delayed { until: first_free },
                "{now}"
            );
        }
        assert!(matches!(rule.judge(&attempts, first_free), Ruling::Free { .. }));
        attempts.insert(0, Attempt { number: 6, at: at(2500), outcome: Outcome::Succeeded });
        assert_eq!(rule.judge(&attempts, at(3000)), Ruling::Delayed { until: first_free });
    }

    #[test]
    fn the_token_of_a_reset_is_never_locked() {
        let rule = Rule::of(&Config::default(), AttemptKind::Reset);
        let failures = failed(&[0; 200]);
        assert_eq!(rule.judge(&failures, at(0)), Ruling::Free { failures: 200, locks: false });
        assert_eq!(rule.judge(&[], at(0)), Ruling::Free { failures: 0, locks: false });
    }
}
