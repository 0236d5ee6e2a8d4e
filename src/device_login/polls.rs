//! How often a device may ask, counted in the memory of each node. A device that waits writes nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::context::{Context, PerInstance};

/// The most devices that one node remembers. Only devices with a request are remembered, and how many of
/// them one source can start is limited.
const MOST: usize = 10_000;

/// What a device must wait longer for each time that it asks too early (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// A device that asks too early all the time is not slowed down further than this.
const SLOWEST: Duration = Duration::from_secs(60);

/// Timers of devices and networks are not exact.
const TOLERANCE: Duration = Duration::from_millis(500);

/// The polls of one instance.
#[derive(Default)]
pub(super) struct Polls(Mutex<HashMap<[u8; 32], Polled>>);

#[derive(Clone, Copy)]
struct Polled {
    at: Timestamp,
    interval: Duration,
}

impl PerInstance for Polls {
    fn open(_: &Context) -> Self {
        Self::default()
    }
}

impl Polls {
    /// Returns false if the device asks too early. It must then wait longer.
    pub(super) fn admit(&self, key: [u8; 32], interval: Duration, now: Timestamp) -> bool {
        let mut polls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if polls.len() >= MOST && !polls.contains_key(&key) {
            forget(&mut polls, now);
        }
        let before = polls.get(&key).copied();
        let early = before.is_some_and(|before| now.since(before.at) + TOLERANCE < before.interval);
        let interval = match before {
            Some(before) if early => (before.interval + SLOWER).min(SLOWEST),
            Some(before) => before.interval,
            None => interval,
        };
        polls.insert(key, Polled { at: now, interval });
        !early
    }

    /// Forgets a device that has its answer, or that has no request.
    pub(super) fn forget(&self, key: &[u8; 32]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Makes room: first for devices that have stopped asking, then for half of the others.
fn forget(polls: &mut HashMap<[u8; 32], Polled>, now: Timestamp) {
    polls.retain(|_, polled| now.since(polled.at) < 2 * SLOWEST);
    if polls.len() > MOST / 2 {
        let mut times: Vec<Timestamp> = polls.values().map(|polled| polled.at).collect();
        let (_, median, _) = times.select_nth_unstable(MOST / 2);
        let median = *median;
        polls.retain(|_, polled| polled.at > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(number: u32) -> [u8; 32] {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_le_bytes());
        key
    }

    #[test]
    fn who_asks_too_early_waits_five_seconds_longer_each_time() {
        let polls = Polls::default();
        let start = Timestamp::from_millis(1_790_000_000_000);
        let at = |seconds: u32| start.plus(seconds * SECOND);
        let admit = |seconds| polls.admit(key(1), 5 * SECOND, at(seconds));
        assert!(admit(0));
        assert!(!admit(4), "then ten seconds");
        assert!(polls.admit(key(2), 5 * SECOND, at(4)), "another device");
        assert!(!admit(13), "then fifteen");
        assert!(admit(28));
        assert!(admit(43), "the longer time stays");
        for seconds in 44..70 {
            assert!(!admit(seconds));
        }
        assert!(admit(70 + 59 + 1), "not longer than a minute");
        polls.forget(&key(1));
        assert!(polls.admit(key(1), 5 * SECOND, at(131)));
        assert!(polls.admit(key(1), 5 * SECOND, at(136)));
        // A clock that was set back slows down, and locks nobody out.
        assert!(!polls.admit(key(1), 5 * SECOND, at(130)));
        assert!(polls.admit(key(1), 5 * SECOND, at(140)));
    }

    #[test]
    fn memory_is_bounded() {
        let polls = Polls::default();
        let now = Timestamp::from_millis(1_790_000_000_000);
        for number in 0..50_000 {
            assert!(polls.admit(key(number), 5 * SECOND, now), "{number}");
        }
        let left = polls.0.lock().expect("not poisoned").len();
        assert!(left <= MOST, "{left}");
        assert!(left > 0);
    }
}
