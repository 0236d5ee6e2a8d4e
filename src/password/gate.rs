//! The gate: how many passwords are hashed at once, how many wait, and what happens to the rest.
//!
//! A hash takes a core and its memory for some 20 ms. Without a bound a few hundred logins at
//! once exhaust memory, and every other request waits behind them.
//!
//! 1. A caller takes a permit, or a place in the queue; when both are gone it is told at once to
//!    come back later.
//! 2. With the permit the work moves to a blocking thread, and the permit moves with it: a client
//!    that hangs up cannot make room for another hash before its own is done.
//! 3. The working memory returns to a pool that never holds more than one per permit.
//!
//! It does not tell callers apart: limits per client and per account come before the gate. It is
//! per process. There is no timeout; a caller that gives up drops the future and loses its place.
//! Never wait for the gate inside a transaction.
//!
//! Configuration: permits ([`default_permits`]) and places in the queue.
//! Errors: [`GateError::Overloaded`] is a 503 with `Retry-After`, [`GateError::Failed`] a 500.

use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::password::hash::{Hasher, Memory, SALT_BYTES, StoredHash, Unusable, Verdict};

/// One hash at a time per core, with one core left for everything else.
pub(crate) fn default_permits() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    cores.saturating_sub(1).max(1)
}

/// Hashes passwords on blocking threads, a bounded number at a time. Clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    hasher: Hasher,
    random: fn(&mut [u8]),
    permits: usize,
    running: Arc<Semaphore>,
    /// One permit here is one place in the queue. Its guard gives it back also when the waiting
    /// future is dropped.
    queue: Semaphore,
    places: usize,
    pool: Mutex<Vec<Memory>>,
}

impl Gate {
    /// A gate for `permits` hashes at once (at least one) and `queue` callers that wait.
    /// `random` fills salts.
    pub(crate) fn new(permits: usize, queue: usize, hasher: Hasher, random: fn(&mut [u8])) -> Self {
        let permits = permits.clamp(1, Semaphore::MAX_PERMITS);
        let places = queue.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner {
            hasher,
            random,
            permits,
            running: Arc::new(Semaphore::new(permits)),
            queue: Semaphore::new(places),
            places,
            pool: Mutex::default(),
        }))
    }

    /// Hashes a new password with a fresh salt.
    ///
    /// # Errors
    /// [`GateError::Overloaded`] at once when the queue is full, [`GateError::Failed`] when there
    /// is no memory or the runtime is shutting down.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) async fn hash(&self, password: Zeroizing<Vec<u8>>) -> Result<StoredHash, GateError> {
        let random = self.0.random;
        self.run(move |hasher, memory| {
            let mut salt = [0; SALT_BYTES];
            random(&mut salt);
            hasher.hash(&password, salt, memory)
        })
        .await?
        .map_err(|_| GateError::Failed)
    }

    /// Compares a password with what the account keeps. Pass `None` for an account that does not
    /// exist or has no password: it costs the same and never matches.
    ///
    /// # Errors
    /// [`GateError::Overloaded`] at once when the queue is full, [`GateError::Failed`] when the
    /// runtime is shutting down. Neither depends on the account.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) async fn verify(
        &self,
        password: Zeroizing<Vec<u8>>,
        stored: Option<StoredHash>,
        dummy_salt: [u8; SALT_BYTES],
    ) -> Result<Verdict, GateError> {
        self.run(move |hasher, memory| match stored {
            Some(stored) => hasher.verify(&password, &stored, dummy_salt, memory),
            None => hasher.dummy(&password, dummy_salt, memory),
        })
        .await
    }

    /// Why a new password is too easy to guess, if so. It takes milliseconds of a core, so it
    /// stands in the same queue.
    ///
    /// # Errors
    /// As [`hash`](Self::hash).
    #[cfg(feature = "strength")]
    pub(crate) async fn judge(
        &self,
        password: Zeroizing<Vec<u8>>,
        words: Vec<String>,
        least: crate::config::Strength,
    ) -> Result<Option<String>, GateError> {
        self.run(move |_, _| crate::password::strength::too_weak(&password, &words, least)).await
    }

    /// Whether a hash of another system could be verified here. Computes nothing, so it does not wait.
    pub(crate) fn examine(&self, stored: &str) -> Result<(), Unusable> {
        self.0.hasher.examine(stored)
    }

    /// How many hashes were computed so far.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn hashes(&self) -> u64 {
        self.0.hasher.hashes()
    }

    async fn run<T, F>(&self, work: F) -> Result<T, GateError>
    where
        F: FnOnce(&Hasher, &mut Memory) -> T + Send + 'static,
        T: Send + 'static,
    {
        let permit = self.admit().await?;
        let inner = Arc::clone(&self.0);
        // From here on nothing is cancelled: dropping the handle leaves the task to finish.
        let task = spawn_blocking(move || {
            let mut memory = inner.take_memory();
            let outcome = work(&inner.hasher, &mut memory);
            // Before the permit, so that the next one finds the memory. A panic loses the memory
            // and still returns the permit.
            inner.keep_memory(memory);
            drop(permit);
            outcome
        });
        task.await.map_err(|_| GateError::Failed)
    }

    async fn admit(&self) -> Result<OwnedSemaphorePermit, GateError> {
        let running = Arc::clone(&self.0.running);
        // Does not overtake: a permit that is given back goes to whoever waits longest.
        if let Ok(permit) = Arc::clone(&running).try_acquire_owned() {
            return Ok(permit);
        }
        let Ok(_place) = self.0.queue.try_acquire() else {
            return Err(GateError::Overloaded { retry_after_secs: self.0.retry_after_secs() });
        };
        running.acquire_owned().await.map_err(|_| GateError::Failed)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("permits", &self.0.permits)
            .field("queue", &self.0.places)
            .field("hasher", &self.0.hasher)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn take_memory(&self) -> Memory {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn keep_memory(&self, memory: Memory) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < self.permits {
            pool.push(memory);
        }
    }

    /// About how long the full queue takes: a core fills some 2 GiB per second.
    fn retry_after_secs(&self) -> u64 {
        const KIB_PER_SECOND: u64 = 2 * 1024 * 1024;
        let params = self.hasher.params();
        let kib = u64::from(params.memory_kib) * u64::from(params.iterations);
        let rounds = self.places.div_ceil(self.permits) as u64;
        kib.saturating_mul(rounds).div_ceil(KIB_PER_SECOND).clamp(1, 30)
    }
}

/// Why a password was neither hashed nor compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GateError {
    /// All permits and all places in the queue are taken.
    #[error("too many passwords are being hashed, retry in {retry_after_secs} s")]
    Overloaded {
        /// What `Retry-After` should say, 1 to 30 seconds.
        retry_after_secs: u64,
    },
    /// The task panicked, had no memory, or was dropped by a runtime that shuts down.
    #[error("the hashing task failed")]
    Failed,
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;
    use crate::password::hash::{HashParams, Peppers};

    const SALT: [u8; SALT_BYTES] = [9; SALT_BYTES];

    const CHEAP: HashParams = HashParams { memory_kib: 64, iterations: 1, parallelism: 1 };

    fn gate(permits: usize, queue: usize) -> Gate {
        /// Different at every call; what salts are made of does not matter here.
        fn counted(bytes: &mut [u8]) {
            static CALLS: AtomicUsize = AtomicUsize::new(0);
            bytes[..8].copy_from_slice(&CALLS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        }
        Gate::new(permits, queue, Hasher::new(CHEAP, Peppers::default()).unwrap(), counted)
    }

    fn password(text: &str) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(text.into())
    }

    /// Work that holds its permit until the sender is dropped; returns once it runs.
    async fn occupy(gate: &Gate) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
        let (release, released) = mpsc::channel::<()>();
        let (start, started) = tokio::sync::oneshot::channel();
        let gate = gate.clone();
        let task = tokio::spawn(async move {
            let work = move |_: &Hasher, _: &mut Memory| {
                start.send(()).unwrap();
                let _ = released.recv();
            };
            gate.run(work).await.unwrap();
        });
        started.await.unwrap();
        (release, task)
    }

    /// Waits until no hash runs.
    async fn idle(gate: &Gate) {
        let all = u32::try_from(gate.0.permits).unwrap();
        drop(gate.0.running.acquire_many(all).await.unwrap());
        assert_eq!(gate.0.running.available_permits(), gate.0.permits);
        assert_eq!(gate.0.queue.available_permits(), gate.0.places);
        assert!(gate.0.pool.lock().unwrap().len() <= gate.0.permits);
    }

    #[derive(Default)]
    struct Counted {
        running: AtomicUsize,
        peak: AtomicUsize,
        done: AtomicUsize,
    }

    impl Counted {
        fn hash(&self, hasher: &Hasher, memory: &mut Memory) {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.peak.fetch_max(running, Ordering::SeqCst);
            hasher.hash(b"password", [7; SALT_BYTES], memory).unwrap();
            self.done.fetch_add(1, Ordering::SeqCst);
            self.running.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_hash_verifies_and_every_call_costs_one() {
        let gate = gate(1, 0);
        let stored = gate.hash(password("right")).await.unwrap();
        assert_ne!(gate.hash(password("right")).await.unwrap().phc, stored.phc, "salted");
        let right = gate.verify(password("right"), Some(stored.clone()), SALT).await;
        assert_eq!(right, Ok(Verdict::Match { rehash: false }));
        let wrong = gate.verify(password("wrong"), Some(stored), SALT).await;
        assert_eq!(wrong, Ok(Verdict::NoMatch));
        assert_eq!(gate.verify(password("any"), None, SALT).await, Ok(Verdict::NoMatch));
        assert_eq!(gate.clone().hashes(), 5);
    }

    #[tokio::test]
    async fn a_row_of_four_gibibytes_is_answered_with_a_cheap_hash() {
        let gate = gate(1, 0);
        let phc = "$argon2id$v=19$m=4194304,t=64,p=1$MDEyMzQ1Njc4OWFiY2RlZg$gAwJW5vx5itn2V9KHlEUjyUCrpDYgKyQf0gMaHGx1h4";
        let stored = StoredHash { phc: phc.into(), pepper_id: None };
        // Computed, it would take minutes.
        let verdict = tokio::time::timeout(
            Duration::from_secs(5),
            gate.verify(password("x"), Some(stored), SALT),
        );
        assert_eq!(verdict.await.unwrap(), Ok(Verdict::Unusable(Unusable::OutOfBounds)));
        assert_eq!(gate.hashes(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn five_hundred_at_once_run_no_more_than_the_permits() {
        let gate = gate(3, 500);
        let counted = Arc::new(Counted::default());
        let tasks: Vec<_> = (0..500)
            .map(|_| {
                let (gate, counted) = (gate.clone(), Arc::clone(&counted));
                tokio::spawn(async move { gate.run(move |h, m| counted.hash(h, m)).await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(()));
        }
        assert_eq!(counted.done.load(Ordering::SeqCst), 500);
        assert!(counted.peak.load(Ordering::SeqCst) <= 3);
        assert_eq!(gate.hashes(), 500);
        idle(&gate).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_storm_of_cancelled_requests_neither_leaks_permits_nor_exceeds_them() {
        let gate = gate(2, 500);
        let counted = Arc::new(Counted::default());
        for round in 0..5 {
            let tasks: Vec<_> = (0..300)
                .map(|_| {
                    let (gate, counted) = (gate.clone(), Arc::clone(&counted));
                    tokio::spawn(async move { gate.run(move |h, m| counted.hash(h, m)).await })
                })
                .collect();
            for _ in 0..round * 10 {
                tokio::task::yield_now().await;
            }
            for task in &tasks {
                task.abort();
            }
            for task in tasks {
                let _ = task.await;
            }
            idle(&gate).await;
        }
        assert!(counted.peak.load(Ordering::SeqCst) <= 2);
        assert_eq!(counted.running.load(Ordering::SeqCst), 0);
        assert!(gate.hash(password("after")).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_aborted_request_keeps_its_permit_until_its_hash_is_done() {
        let gate = gate(1, 0);
        let (release, task) = occupy(&gate).await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        let refused = gate.hash(password("x")).await.unwrap_err();
        assert_eq!(refused, GateError::Overloaded { retry_after_secs: 1 });
        drop(release);
        idle(&gate).await;
        assert!(gate.hash(password("x")).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_queue_is_overload_and_recovers() {
        let gate = gate(1, 1);
        let (release, task) = occupy(&gate).await;
        let overloaded = GateError::Overloaded { retry_after_secs: 1 };
        let context = &mut Context::from_waker(Waker::noop());
        {
            let mut waiting = pin!(gate.hash(password("waits")));
            assert!(waiting.as_mut().poll(context).is_pending());
            assert_eq!(gate.hash(password("x")).await.unwrap_err(), overloaded);
            assert_eq!(gate.verify(password("x"), None, SALT).await.unwrap_err(), overloaded);
        }
        // The one that waited has gone, and its place is free again.
        let mut waiting = pin!(gate.verify(password("waits"), None, SALT));
        assert!(waiting.as_mut().poll(context).is_pending());
        assert!(matches!(pin!(gate.hash(password("x"))).poll(context), Poll::Ready(Err(_))));
        drop(release);
        assert_eq!(waiting.await, Ok(Verdict::NoMatch));
        task.await.unwrap();
        idle(&gate).await;
        assert!(gate.hash(password("x")).await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_returns_the_permit() {
        let gate = gate(1, 0);
        let failed = gate.run(|_, _| panic!("on purpose")).await;
        assert_eq!(failed, Err::<(), _>(GateError::Failed));
        idle(&gate).await;
        assert!(gate.hash(password("x")).await.is_ok());
    }

    #[test]
    fn retry_after_follows_the_length_of_the_queue() {
        let gate = |permits, queue| {
            let hasher = Hasher::new(HashParams::default(), Peppers::default()).unwrap();
            Gate::new(permits, queue, hasher, |_| {}).0.retry_after_secs()
        };
        assert_eq!(gate(1, 0), 1);
        assert_eq!(gate(1, 256), 5);
        assert_eq!(gate(7, 256), 1);
        assert_eq!(gate(1, usize::MAX), 30);
        assert!(default_permits() >= 1);
    }

    #[tokio::test]
    async fn nothing_secret_is_printed() {
        let peppers = vec![("id-1".to_owned(), b"a pepper of enough bytes".to_vec())];
        let hasher = Hasher::new(CHEAP, Peppers::new(peppers).unwrap()).unwrap();
        let gate = Gate::new(1, 2, hasher, |bytes| bytes.fill(7));
        gate.hash(password("hunter2")).await.unwrap();
        let printed = format!("{gate:?}");
        assert!(printed.starts_with("Gate { permits: 1, queue: 2,"), "{printed}");
        for secret in ["enough bytes", "hunter2", "argon2id", "97, 32, 112"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
