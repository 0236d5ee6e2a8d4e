//! Who stands in line for one subject in this process, and how long failures take.
//!
//! Tries of one subject are admitted one after the other, so that they do not race each other for
//! the same row; how many are then judged at once, the rule says. Between processes the key of the
//! row decides.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, Notify};

use super::Key;
use crate::base::clock::Stopwatch;
use crate::config::AttemptKind;
use crate::context::{Context, Room};

/// What is waited when nothing has failed here yet: about one hash.
const FIRST_WAIT: Duration = Duration::from_millis(25);

/// How many times of failures are kept of each kind.
const KEPT: usize = 32;

/// The lanes of one instance.
pub(crate) struct Lanes {
    lanes: Mutex<HashMap<Key, Arc<Lane>>>,
    took: Mutex<HashMap<AttemptKind, VecDeque<Duration>>>,
    /// How much later than asked for the runtime woke those who waited here.
    late: Mutex<VecDeque<Duration>>,
    #[cfg(feature = "test-util")]
    waited: Mutex<Vec<Duration>>,
}

#[derive(Default)]
pub(crate) struct Lane {
    /// Held while the rule is asked for one try.
    pub(crate) turn: Turn<()>,
    /// A try of this subject has ended.
    pub(crate) settled: Notify,
}

impl Room for Lanes {
    fn open(_: &Context) -> Self {
        Self {
            lanes: Mutex::default(),
            took: Mutex::default(),
            late: Mutex::default(),
            #[cfg(feature = "test-util")]
            waited: Mutex::default(),
        }
    }
}

/// A place in a lane. The lane goes when nobody is in it any more.
pub(crate) struct Place {
    lanes: Arc<Lanes>,
    key: Key,
    pub(crate) lane: Arc<Lane>,
}

impl Place {
    pub(crate) fn take(lanes: &Arc<Lanes>, key: &Key) -> Self {
        let mut known = lanes.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = Arc::clone(known.entry(key.clone()).or_default());
        Self { lanes: Arc::clone(lanes), key: key.clone(), lane }
    }

    /// Notes how long a try took that was judged and failed.
    pub(crate) fn note(&self, kind: AttemptKind, took: Duration) {
        self.lanes.note(kind, took);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lane.settled.notify_one();
        let mut known = self.lanes.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the one in the map.
        if Arc::strong_count(&self.lane) <= 2 {
            known.remove(&self.key);
        }
    }
}

impl Lanes {
    fn note(&self, kind: AttemptKind, took: Duration) {
        let mut all = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        keep(all.entry(kind).or_default(), took);
    }

    /// The median of what recent failures took.
    pub(crate) fn median(&self, kind: AttemptKind) -> Duration {
        let all = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&kind).and_then(median).unwrap_or(FIRST_WAIT)
    }

    /// Waits as long as a failure takes, counted from when this one began. It holds nothing
    /// meanwhile that others need.
    pub(crate) async fn wait(&self, kind: AttemptKind, started: Stopwatch) {
        let wait = self.median(kind);
        #[cfg(feature = "test-util")]
        self.waited.lock().unwrap_or_else(PoisonError::into_inner).push(wait);
        // Timers count whole milliseconds and wake late, which would be seen among a thousand tries.
        let until = wait.saturating_sub(self.lateness());
        let left = until.saturating_sub(started.elapsed());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut late, started.elapsed().saturating_sub(until));
    }

    fn lateness(&self) -> Duration {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        median(&late).unwrap_or_default()
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn waited(&self) -> Vec<Duration> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many subjects have somebody in line.
    #[cfg(feature = "test-util")]
    pub(crate) fn busy(&self) -> usize {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Keeps the latest.
fn keep(times: &mut VecDeque<Duration>, took: Duration) {
    if times.len() == KEPT {
        times.pop_front();
    }
    times.push_back(took);
}

fn median(times: &VecDeque<Duration>) -> Option<Duration> {
    let mut times: Vec<_> = times.iter().copied().collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> Arc<Lanes> {
        Arc::new(Lanes {
            lanes: Mutex::default(),
            took: Mutex::default(),
            late: Mutex::default(),
            #[cfg(feature = "test-util")]
            waited: Mutex::default(),
        })
    }

    #[test]
    fn the_wait_is_the_median_of_recent_failures_of_the_kind() {
        let lanes = lanes();
        assert_eq!(lanes.median(AttemptKind::Login), FIRST_WAIT);
        for took in [9, 1, 5, 1000, 5] {
            lanes.note(AttemptKind::Login, Duration::from_millis(took));
        }
        assert_eq!(lanes.median(AttemptKind::Login), Duration::from_millis(5));
        assert_eq!(lanes.median(AttemptKind::Challenge), FIRST_WAIT);
        for _ in 0..KEPT {
            lanes.note(AttemptKind::Login, Duration::from_millis(70));
        }
        assert_eq!(lanes.median(AttemptKind::Login), Duration::from_millis(70));
    }

    #[tokio::test]
    async fn who_waits_is_back_when_a_failure_would_be_however_late_timers_are() {
        let lanes = lanes();
        lanes.note(AttemptKind::Login, Duration::from_millis(20));
        for _ in 0..KEPT {
            lanes.late.lock().unwrap().push_back(Duration::from_millis(15));
        }
        let started = Stopwatch::start();
        lanes.wait(AttemptKind::Login, started).await;
        let late = *lanes.late.lock().unwrap().back().unwrap();
        // It asked for 5 ms, and what it took longer is noted for the next.
        assert!(started.elapsed() >= Duration::from_millis(5));
        assert!(late + Duration::from_millis(5) <= started.elapsed());
        assert_eq!(lanes.late.lock().unwrap().len(), KEPT);
        // A try that took longer by itself waits no more, and tells nothing of timers.
        lanes.late.lock().unwrap().clear();
        lanes.note(AttemptKind::Challenge, Duration::ZERO);
        lanes.wait(AttemptKind::Challenge, Stopwatch::start()).await;
        assert!(lanes.late.lock().unwrap().is_empty());
    }

    #[test]
    fn a_lane_is_kept_only_while_somebody_is_in_it() {
        let lanes = lanes();
        let key = Key { subject: [1; 32], kind: AttemptKind::Login, part: 0 };
        let first = Place::take(&lanes, &key);
        let second = Place::take(&lanes, &key);
        assert!(Arc::ptr_eq(&first.lane, &second.lane));
        drop(first);
        assert_eq!(lanes.lanes.lock().unwrap().len(), 1);
        drop(second);
        assert_eq!(lanes.lanes.lock().unwrap().len(), 0);
    }
}
