//! Rates in the memory of this process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::base::clock::Timestamp;
use crate::base::rate::{Quota, RateKey, RateVerdict, now_us};

const SHARDS: usize = 16;

/// The largest number of subjects in one shard.
const MOST_PER_SHARD: usize = 8192;

/// The time until which each subject's quota is used up. The number of subjects is limited to about
/// 130 000. Above that, subjects without recent requests are forgotten first, then those with the
/// fewest.
#[derive(Default)]
pub(crate) struct Memory {
    shards: [Mutex<HashMap<RateKey, i64>>; SHARDS],
}

impl Memory {
    pub(crate) fn admit(&self, key: RateKey, quota: Quota, now: Timestamp) -> RateVerdict {
        let shard = &self.shards[usize::from(key.as_bytes()[0]) % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= MOST_PER_SHARD && !shard.contains_key(&key) {
            forget(&mut shard, now);
        }
        let spent = shard.entry(key).or_insert(0);
        let verdict = quota.judge(*spent, now);
        *spent = verdict.spent_us;
        verdict
    }

    /// Gives one admission back.
    pub(crate) fn give_back(&self, key: RateKey, quota: Quota) {
        let shard = &self.shards[usize::from(key.as_bytes()[0]) % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spent) = shard.get_mut(&key) {
            *spent = spent.saturating_sub(quota.interval_us());
        }
    }

    /// Takes over the state of another store.
    pub(crate) fn at_least(&self, key: RateKey, spent_us: i64) {
        let shard = &self.shards[usize::from(key.as_bytes()[0]) % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = shard.entry(key).or_insert(0);
        *spent = spent_us.max(*spent);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().expect("not poisoned").len()).sum()
    }
}

/// Forgets subjects without recent requests. If there are still too many, forgets the half with the
/// fewest requests. So the subjects with the most requests stay limited, and no new subject is
/// refused.
fn forget(shard: &mut HashMap<RateKey, i64>, now: Timestamp) {
    let now = now_us(now);
    shard.retain(|_, spent| *spent > now);
    if shard.len() > MOST_PER_SHARD / 2 {
        let mut all: Vec<i64> = shard.values().copied().collect();
        let (_, median, _) = all.select_nth_unstable(shard.len() / 2);
        let median = *median;
        shard.retain(|_, spent| *spent > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> RateKey {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        RateKey::new(bytes)
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis((1_790_000_000 + secs) * 1000)
    }

    #[test]
    fn memory_is_bounded_in_a_flood_and_who_did_most_stays_limited() {
        let memory = Memory::default();
        let quota = Quota::per_minute(10);
        let busy = key(0);
        for _ in 0..10 {
            assert!(memory.admit(busy, quota, at(0)).admitted);
        }
        for number in 1..400_000 {
            assert!(memory.admit(key(number), quota, at(0)).admitted, "{number}");
        }
        assert!(memory.len() <= SHARDS * MOST_PER_SHARD, "{}", memory.len());
        assert!(!memory.admit(busy, quota, at(0)).admitted);
        // After a quiet time only the subjects that come again are remembered.
        for number in 0..200_000 {
            assert!(memory.admit(key(number), quota, at(120)).admitted, "{number}");
        }
        assert!(memory.len() <= SHARDS * MOST_PER_SHARD, "{}", memory.len());
    }

    #[test]
    fn subjects_are_told_apart_and_many_threads_are_counted_exactly() {
        let memory = Memory::default();
        let quota = Quota::per_minute(50);
        let admitted = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        if memory.admit(key(7), quota, at(0)).admitted {
                            admitted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 50);
        assert!(memory.admit(key(8), quota, at(0)).admitted);
    }
}
