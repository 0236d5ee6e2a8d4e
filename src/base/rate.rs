//! Arithmetic of rate limits: how often something may happen, and whether it may happen now.
//!
//! It is the generic cell rate algorithm. One number per subject says until when its allowance is
//! used up. Each admission increases this time by `period / count`. An admission that would move it
//! more than `period` beyond now is refused.
//!
//! So a subject that was inactive may do `count` at once, and after that one per `period / count`.
//! A fixed window would allow twice as many around its edge. This has no windows.

use std::time::Duration;

use crate::base::clock::Timestamp;

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quota {
    /// The number that is allowed at once after an inactive period, and per period from then on.
    pub count: u32,
    /// The length of the period.
    pub period: Duration,
}

impl Quota {
    /// Creates a quota of `count` per period. The minimum is one.
    #[must_use]
    pub const fn new(count: u32, period: Duration) -> Self {
        Self { count: if count == 0 { 1 } else { count }, period }
    }

    /// Creates a quota of `count` per minute.
    #[must_use]
    pub const fn per_minute(count: u32) -> Self {
        Self::new(count, Duration::from_secs(60))
    }

    /// Returns the cost of one admission, in microseconds.
    pub fn interval_us(&self) -> i64 {
        let period = i64::try_from(self.period.as_micros()).unwrap_or(i64::MAX / 4);
        (period.min(i64::MAX / 4) / i64::from(self.count.max(1))).max(1)
    }

    /// Returns how much can be used in advance, in microseconds: the cost of all admissions of a
    /// period.
    pub fn burst_us(&self) -> i64 {
        self.interval_us() * i64::from(self.count.max(1))
    }

    /// Decides whether one more may happen at `now`. `spent_us` is the time until which the
    /// subject's allowance is used up, in microseconds since 1970. It is 0 for an unknown subject.
    #[must_use]
    pub fn judge(&self, spent_us: i64, now: Timestamp) -> RateVerdict {
        let (interval, burst) = (self.interval_us(), self.burst_us());
        let now = now_us(now);
        // At most one period ahead, so that a clock that was set back cannot lock anyone out for
        // long.
        let spent = spent_us.clamp(now, now + burst);
        let next = spent + interval;
        if next - now > burst {
            RateVerdict {
                admitted: false,
                spent_us: spent,
                remaining: 0,
                retry_after: micros(next - burst - now),
                reset_after: micros(spent - now),
            }
        } else {
            let remaining = (burst - (next - now)) / interval;
            RateVerdict {
                admitted: true,
                spent_us: next,
                remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
                retry_after: Duration::ZERO,
                reset_after: micros(next - now),
            }
        }
    }
}

/// Returns a time in microseconds since 1970, the unit in which rates are stored.
pub fn now_us(now: Timestamp) -> i64 {
    now.as_millis().saturating_mul(1000)
}

fn micros(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

/// The result of a [limiter](crate::port::RateLimiter).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateVerdict {
    /// True if it may happen. It is then already counted.
    pub admitted: bool,
    /// The time until which the subject's allowance is now used up, in microseconds since 1970.
    pub spent_us: i64,
    /// How many more are allowed immediately.
    pub remaining: u32,
    /// How long to wait before trying again. Zero if it may happen.
    pub retry_after: Duration,
    /// How long until the whole allowance is available again.
    pub reset_after: Duration,
}

/// Identifies a subject and a rule of a rate limit. It is a keyed digest, so that a store of rates
/// is not a list of addresses and names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateKey([u8; 32]);

impl RateKey {
    pub(crate) fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Returns the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for RateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RateKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + millis)
    }

    /// Returns how many of `tries` requests at `now` are admitted, and updates `spent`.
    fn admit(quota: Quota, spent: &mut i64, now: Timestamp, tries: u32) -> u32 {
        let mut admitted = 0;
        for _ in 0..tries {
            let verdict = quota.judge(*spent, now);
            *spent = verdict.spent_us;
            admitted += u32::from(verdict.admitted);
        }
        admitted
    }

    #[test]
    fn exactly_as_many_as_the_quota_says_at_once_whatever_the_numbers() {
        for count in [1, 2, 3, 7, 10, 59, 60, 61, 100, 999, 1000, 7919, 100_000, u32::MAX] {
            for seconds in [1, 60, 61, 3600, 86_400] {
                let quota = Quota::new(count, Duration::from_secs(seconds));
                let mut spent = 0;
                let tries = count.min(20_000);
                assert_eq!(admit(quota, &mut spent, at(0), tries), tries, "{count} in {seconds} s");
                if tries == count {
                    assert_eq!(admit(quota, &mut spent, at(0), 5), 0, "{count} in {seconds} s");
                }
            }
        }
    }

    #[test]
    fn there_is_no_edge_at_which_twice_as_many_are_admitted() {
        let quota = Quota::per_minute(10);
        // Ten just before the end of a minute, and ten just after.
        let mut spent = 0;
        assert_eq!(admit(quota, &mut spent, at(59_900), 10), 10);
        assert_eq!(admit(quota, &mut spent, at(60_100), 10), 0);
        // After that one per six seconds, and all of them after a minute without any.
        assert_eq!(admit(quota, &mut spent, at(59_900 + 5_999), 10), 0);
        assert_eq!(admit(quota, &mut spent, at(59_900 + 6_000), 10), 1);
        assert_eq!(admit(quota, &mut spent, at(59_900 + 66_000), 20), 10);
    }

    #[test]
    fn who_waits_as_told_is_admitted_and_not_a_moment_earlier() {
        for (count, period) in [(1, 60), (10, 60), (7, 61), (1000, 60), (3, 1)] {
            let quota = Quota::new(count, Duration::from_secs(period));
            let mut spent = 0;
            admit(quota, &mut spent, at(0), count);
            let refused = quota.judge(spent, at(0));
            assert!(!refused.admitted && refused.remaining == 0);
            let wait = i64::try_from(refused.retry_after.as_micros().div_ceil(1000)).unwrap();
            assert!(quota.judge(spent, at(wait)).admitted, "{count} in {period} s");
            assert!(!quota.judge(spent, at(wait - 2)).admitted, "{count} in {period} s");
            // A refusal does not use up the allowance.
            assert_eq!(quota.judge(refused.spent_us, at(wait)), quota.judge(spent, at(wait)));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out_for_longer_than_a_period() {
        let quota = Quota::per_minute(10);
        let mut spent = 0;
        admit(quota, &mut spent, at(1_000_000_000), 10);
        let verdict = quota.judge(spent, at(0));
        assert!(verdict.retry_after <= Duration::from_secs(6), "{verdict:?}");
        assert!(quota.judge(i64::MAX, at(0)).retry_after <= Duration::from_secs(6));
        assert!(quota.judge(i64::MIN, at(0)).admitted);
    }

    #[test]
    fn what_is_left_is_told() {
        let quota = Quota::per_minute(3);
        let mut spent = 0;
        for expected in [2, 1, 0] {
            let verdict = quota.judge(spent, at(0));
            assert_eq!((verdict.admitted, verdict.remaining), (true, expected));
            spent = verdict.spent_us;
        }
        assert_eq!(quota.judge(spent, at(0)).reset_after, Duration::from_secs(60));
        assert_eq!(Quota::new(0, Duration::ZERO).count, 1);
        assert!(Quota::new(5, Duration::ZERO).judge(0, at(0)).admitted);
    }
}
