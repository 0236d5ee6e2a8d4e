//! Time: one type for a point in time, and the only place that reads the clock.
//!
//! Database columns store integers (Unix milliseconds), because drivers disagree about text and
//! native timestamps. Code that decides something takes the time as a parameter.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sea_orm::DeriveValueType;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time, as Unix milliseconds (UTC).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, DeriveValueType)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Creates a timestamp from Unix milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns Unix milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns Unix seconds, rounded down, as a JWT contains them.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns the time `duration` later. It stops at the latest possible time instead of
    /// overflowing.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// Returns the time `duration` earlier. It stops at the earliest possible time instead of
    /// overflowing.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// Formats the time for a mail: `22 November 2026, 02:16 UTC`.
    pub(crate) fn for_people(self) -> String {
        let format = time::macros::format_description!(
            "[day padding:none] [month repr:long] [year], [hour]:[minute] UTC"
        );
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|time| time.format(format).ok())
            .unwrap_or_else(|| self.to_string())
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(millis(after)),
            Err(before) => Self(-millis(before.duration())),
        }
    }
}

/// Writes RFC 3339 in UTC, as the API shows times.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The source of time for the library. Applications keep [`SystemClock`]. Tests use a mock clock.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// True if this clock shows the real time. Maintenance then compares it with the clock of the
    /// database. Default: true. A mock clock returns false.
    fn is_real(&self) -> bool {
        true
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn is_real(&self) -> bool {
        (**self).is_real()
    }
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// Allows something once a minute, such as a warning.
#[derive(Debug)]
pub(crate) struct OncePerMinute(AtomicI64);

impl OncePerMinute {
    /// Returns true for the first call in the minute of `now`.
    pub(crate) fn is_first(&self, now: Timestamp) -> bool {
        let minute = now.as_millis().div_euclid(60_000);
        self.0.swap(minute, Ordering::Relaxed) != minute
    }
}

impl Default for OncePerMinute {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

/// Measures how long something takes. Changes of the system clock do not affect it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the time")]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Waits until [`ALIKE`] has passed since the start.
    pub(crate) async fn alike(self) {
        tokio::time::sleep(ALIKE.saturating_sub(self.elapsed())).await;
    }
}

/// The minimum duration of an answer that must not reveal what was found. Without it, an attacker
/// could measure whether an address belongs to an account.
///
/// The same statements never take exactly the same time: a row without an account is in fewer
/// indexes, and a sent message uses resources. The value is longer than the statements take with a
/// database nearby, and too short for people to notice. If the statements take longer, the answers
/// are alike only because the same statements run.
const ALIKE: Duration = Duration::from_millis(25);

/// A clock that stands still until a test moves it.
#[cfg(feature = "test-util")]
#[derive(Debug, Clone)]
pub struct MockClock(std::sync::Arc<std::sync::atomic::AtomicI64>);

#[cfg(feature = "test-util")]
impl MockClock {
    /// Creates a clock that stands at `start`.
    pub fn at(start: Timestamp) -> Self {
        Self(std::sync::Arc::new(start.0.into()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.0.fetch_add(millis(duration), std::sync::atomic::Ordering::SeqCst);
    }

    /// Moves the clock back, as an administrator or a faulty time source may do.
    pub fn step_back(&self, duration: Duration) {
        self.0.fetch_sub(millis(duration), std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(feature = "test-util")]
impl Default for MockClock {
    /// Stands at a round time in 2026.
    fn default() -> Self {
        Self::at(Timestamp::from_millis(1_790_000_000_000))
    }
}

#[cfg(feature = "test-util")]
impl Clock for MockClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn is_real(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_shared_clock_is_a_clock() {
        #[derive(Debug)]
        struct Fixed(i64);

        impl Clock for Fixed {
            fn now(&self) -> Timestamp {
                Timestamp::from_millis(self.0)
            }
        }

        fn read(clock: &impl Clock) -> i64 {
            clock.now().as_millis()
        }

        assert_eq!(read(&Arc::new(Fixed(7))), 7);
        let any: Arc<dyn Clock> = Arc::new(Fixed(8));
        assert_eq!(read(&any), 8);
    }

    #[test]
    fn a_moment_prints_as_rfc_3339_and_never_overflows() {
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00Z");
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
        assert_eq!(Timestamp::from_millis(5).since(end), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(-1).as_secs(), -1);
    }
}
