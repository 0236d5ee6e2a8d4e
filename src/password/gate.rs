//! The gate limits how many passwords are hashed at once, and how many callers wait for that.
//!
//! A hash needs one core and its working memory for about 20 ms. Without a limit, a few hundred
//! simultaneous sign-ins would use up the memory, and all other requests would wait for them.
//!
//! 1. A caller takes a permit, or waits in the [queue](super::queue) for one. It is refused at once
//!    if the queue is full, or if its source already has its share of the places. It is also
//!    refused when it has waited for the longest time allowed.
//! 2. The work moves to a blocking thread, together with the permit. So a client that disconnects
//!    does not release its permit before its hash is finished.
//! 3. The working memory returns to a pool. The pool never holds more than one per permit.
//!
//! Sources are served in turn. So many requests from one source delay the hash of another source by
//! one turn only. The gate limits one process. A caller that drops the future loses its place in
//! the queue.
//!
//! Never wait for the gate inside a transaction.
//!
//! Configuration: the number of permits ([`default_permits`]), the places in the queue, and the
//! longest time to wait.
//! Errors: [`GateError::Overloaded`] is answered with 503 and `Retry-After`, [`GateError::Failed`]
//! with 500.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::queue::{NoPermit, Queue};
use crate::password::hash::{Hasher, Memory, SALT_BYTES, StoredHash, Unusable, Verdict};

/// Returns the default number of permits: one per core, minus one core for everything else.
pub(crate) fn default_permits() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    cores.saturating_sub(1).max(1)
}

/// Hashes passwords on blocking threads, a limited number at a time. Clones share one gate.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    hasher: Hasher,
    random: fn(&mut [u8]),
    limits: Limits,
    queue: Queue,
    pool: Mutex<Vec<Memory>>,
}

/// The limits of a gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The largest number of hashes at once; at least one.
    pub(crate) permits: usize,
    /// The largest number of callers that wait.
    pub(crate) places: usize,
    /// The longest time that a caller waits.
    pub(crate) longest_wait: Duration,
}

impl Gate {
    /// Returns a gate with these limits. It calls `random` to fill salts.
    pub(crate) fn new(limits: Limits, hasher: Hasher, random: fn(&mut [u8])) -> Self {
        let limits = Limits { permits: limits.permits.max(1), ..limits };
        Self(Arc::new(Inner {
            hasher,
            random,
            limits,
            queue: Queue::new(limits.permits, limits.places),
            pool: Mutex::default(),
        }))
    }

    /// Hashes a new password with a fresh salt. `source` is the address of the client.
    ///
    /// # Errors
    /// [`GateError::Overloaded`] when the queue has no place for this source, or the wait takes too
    /// long;
    /// [`GateError::Failed`] when there is no memory, the work panics, or the runtime shuts down.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) async fn hash(
        &self,
        password: Zeroizing<Vec<u8>>,
        source: Option<IpAddr>,
    ) -> Result<StoredHash, GateError> {
        let random = self.0.random;
        self.run(source, move |hasher, memory| {
            let mut salt = [0; SALT_BYTES];
            random(&mut salt);
            hasher.hash(&password, salt, memory)
        })
        .await?
        .map_err(|_| GateError::Failed)
    }

    /// Compares a password with the stored hash of an account.
    ///
    /// Pass `None` for an account that does not exist or has no password. This computes one hash as
    /// well, and never matches. Otherwise the time of the answer would tell which names have an
    /// account.
    ///
    /// # Errors
    /// [`GateError::Overloaded`] when the queue has no place for this source, or the wait takes too
    /// long;
    /// [`GateError::Failed`] when the work panics or the runtime shuts down. Neither depends on the
    /// account.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) async fn verify(
        &self,
        password: Zeroizing<Vec<u8>>,
        stored: Option<StoredHash>,
        dummy_salt: [u8; SALT_BYTES],
        source: Option<IpAddr>,
    ) -> Result<Verdict, GateError> {
        self.run(source, move |hasher, memory| match stored {
            Some(stored) => hasher.verify(&password, &stored, dummy_salt, memory),
            None => hasher.dummy(&password, dummy_salt, memory),
        })
        .await
    }

    /// Returns why a new password is too easy to guess, if it is. This takes milliseconds of a
    /// core, so it waits in the same queue.
    ///
    /// # Errors
    /// As [`hash`](Self::hash).
    #[cfg(feature = "strength")]
    pub(crate) async fn judge(
        &self,
        password: Zeroizing<Vec<u8>>,
        words: Vec<String>,
        least: crate::config::Strength,
        source: Option<IpAddr>,
    ) -> Result<Option<String>, GateError> {
        let judge = move |_: &Hasher, _: &mut Memory| {
            crate::password::strength::too_weak(&password, &words, least)
        };
        self.run(source, judge).await
    }

    /// Returns the form in which an imported hash is stored, or why it can never be verified. It
    /// computes no hash and does not wait.
    pub(crate) fn adopt<'a>(&self, foreign: &'a str) -> Result<&'a str, Unusable> {
        self.0.hasher.adopt(foreign)
    }

    /// Returns how many hashes have been computed so far.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn hashes(&self) -> u64 {
        self.0.hasher.hashes()
    }

    async fn run<T, F>(&self, source: Option<IpAddr>, work: F) -> Result<T, GateError>
    where
        F: FnOnce(&Hasher, &mut Memory) -> T + Send + 'static,
        T: Send + 'static,
    {
        let permit = self.0.queue.permit(source, self.0.limits.longest_wait).await;
        let permit = permit.map_err(|NoPermit| GateError::Overloaded {
            retry_after_secs: self.0.retry_after_secs(),
        })?;
        let inner = Arc::clone(&self.0);
        // From here on nothing can be cancelled: if the caller drops the handle, the task still
        // finishes. So cancelled requests cannot start more hashes than there are permits.
        let task = spawn_blocking(move || {
            let mut memory = inner.take_memory();
            let outcome = work(&inner.hasher, &mut memory);
            // The memory goes back before the permit, so that the next caller finds it. After a
            // panic the memory is lost, but the permit still returns.
            inner.keep_memory(memory);
            drop(permit);
            outcome
        });
        task.await.map_err(|_| GateError::Failed)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("limits", &self.0.limits)
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
        if pool.len() < self.limits.permits {
            pool.push(memory);
        }
    }

    /// Estimates how long it takes to serve a full queue, 1 to 30 seconds. A core fills about 2 GiB
    /// per second.
    fn retry_after_secs(&self) -> u64 {
        const KIB_PER_SECOND: u64 = 2 * 1024 * 1024;
        let params = self.hasher.params();
        let kib = u64::from(params.memory_kib) * u64::from(params.iterations);
        let rounds = self.limits.places.div_ceil(self.limits.permits) as u64;
        kib.saturating_mul(rounds).div_ceil(KIB_PER_SECOND).clamp(1, 30)
    }
}

/// The reason why a password was neither hashed nor compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GateError {
    /// The queue had no place for this caller, or the wait took too long.
    #[error("too many passwords are being hashed, retry in {retry_after_secs} s")]
    Overloaded {
        /// The value for `Retry-After`: 1 to 30 seconds.
        retry_after_secs: u64,
    },
    /// The task panicked, had no memory, or was dropped while the runtime shut down.
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
        /// Fills the salt with different bytes at every call. Their values do not matter here.
        fn counted(bytes: &mut [u8]) {
            static CALLS: AtomicUsize = AtomicUsize::new(0);
            bytes[..8].copy_from_slice(&CALLS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        }
        Gate::new(limits(permits, queue), Hasher::new(CHEAP, Peppers::default()).unwrap(), counted)
    }

    fn limits(permits: usize, places: usize) -> Limits {
        Limits { permits, places, longest_wait: Duration::from_secs(3600) }
    }

    fn password(text: &str) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(text.into())
    }

    /// Starts work that holds its permit until the sender is dropped. Returns when the work runs.
    async fn occupy(gate: &Gate) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
        let (release, released) = mpsc::channel::<()>();
        let (start, started) = tokio::sync::oneshot::channel();
        let gate = gate.clone();
        let task = tokio::spawn(async move {
            let work = move |_: &Hasher, _: &mut Memory| {
                start.send(()).unwrap();
                let _ = released.recv();
            };
            gate.run(None, work).await.unwrap();
        });
        started.await.unwrap();
        (release, task)
    }

    /// Waits until no hash is being computed.
    async fn idle(gate: &Gate) {
        while gate.0.queue.free_and_waiting() != (gate.0.limits.permits, 0) {
            tokio::task::yield_now().await;
        }
        assert!(gate.0.pool.lock().unwrap().len() <= gate.0.limits.permits);
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
        let stored = gate.hash(password("right"), None).await.unwrap();
        assert_ne!(gate.hash(password("right"), None).await.unwrap().phc, stored.phc, "salted");
        let right = gate.verify(password("right"), Some(stored.clone()), SALT, None).await;
        assert_eq!(right, Ok(Verdict::Match { rehash: false }));
        let wrong = gate.verify(password("wrong"), Some(stored), SALT, None).await;
        assert_eq!(wrong, Ok(Verdict::NoMatch));
        assert_eq!(gate.verify(password("any"), None, SALT, None).await, Ok(Verdict::NoMatch));
        assert_eq!(gate.clone().hashes(), 5);
    }

    #[tokio::test]
    async fn a_row_of_four_gibibytes_is_answered_with_a_cheap_hash() {
        let gate = gate(1, 0);
        let phc = "$argon2id$v=19$m=4194304,t=64,p=1$MDEyMzQ1Njc4OWFiY2RlZg$gAwJW5vx5itn2V9KHlEUjyUCrpDYgKyQf0gMaHGx1h4";
        let stored = StoredHash { phc: phc.into(), pepper_id: None };
        // To compute it would take minutes.
        let verdict = tokio::time::timeout(
            Duration::from_secs(5),
            gate.verify(password("x"), Some(stored), SALT, None),
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
                tokio::spawn(async move { gate.run(None, move |h, m| counted.hash(h, m)).await })
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
                    tokio::spawn(
                        async move { gate.run(None, move |h, m| counted.hash(h, m)).await },
                    )
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
        assert!(gate.hash(password("after"), None).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_aborted_request_keeps_its_permit_until_its_hash_is_done() {
        let gate = gate(1, 0);
        let (release, task) = occupy(&gate).await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        let refused = gate.hash(password("x"), None).await.unwrap_err();
        assert_eq!(refused, GateError::Overloaded { retry_after_secs: 1 });
        drop(release);
        idle(&gate).await;
        assert!(gate.hash(password("x"), None).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_queue_is_overload_and_recovers() {
        let gate = gate(1, 1);
        let (release, task) = occupy(&gate).await;
        let overloaded = GateError::Overloaded { retry_after_secs: 1 };
        let context = &mut Context::from_waker(Waker::noop());
        {
            let mut waiting = pin!(gate.hash(password("waits"), None));
            assert!(waiting.as_mut().poll(context).is_pending());
            assert_eq!(gate.hash(password("x"), None).await.unwrap_err(), overloaded);
            assert_eq!(gate.verify(password("x"), None, SALT, None).await.unwrap_err(), overloaded);
        }
        // The caller that waited has gone, so its place is free again.
        let mut waiting = pin!(gate.verify(password("waits"), None, SALT, None));
        assert!(waiting.as_mut().poll(context).is_pending());
        assert!(matches!(pin!(gate.hash(password("x"), None)).poll(context), Poll::Ready(Err(_))));
        drop(release);
        assert_eq!(waiting.await, Ok(Verdict::NoMatch));
        task.await.unwrap();
        idle(&gate).await;
        assert!(gate.hash(password("x"), None).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_storm_from_one_source_delays_another_by_a_turn_and_no_more() {
        let gate = gate(1, 64);
        let (release, task) = occupy(&gate).await;
        let done = Arc::new(Mutex::new(Vec::new()));
        let start = |source: [u8; 4], name: usize| {
            let (gate, done) = (gate.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let work = move |_: &Hasher, _: &mut Memory| done.lock().unwrap().push(name);
                gate.run(Some(IpAddr::from(source)), work).await
            })
        };
        let storm: Vec<_> = (0..500).map(|name| start([192, 0, 2, 1], name)).collect();
        while gate.0.queue.free_and_waiting().1 < 16 {
            tokio::task::yield_now().await;
        }
        let honest = start([198, 51, 100, 1], 1000);
        while gate.0.queue.free_and_waiting().1 < 17 {
            tokio::task::yield_now().await;
        }
        drop(release);
        assert_eq!(honest.await.unwrap(), Ok(()));
        let at = done.lock().unwrap().iter().position(|name| *name == 1000).unwrap();
        assert!(at <= 1, "{at} of the storm were served before");
        let mut served = 0;
        for one in storm {
            served += usize::from(one.await.unwrap().is_ok());
        }
        assert!(served >= 16, "what has its place is served: {served}");
        task.await.unwrap();
        idle(&gate).await;
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_returns_the_permit() {
        let gate = gate(1, 0);
        let failed = gate.run(None, |_, _| panic!("on purpose")).await;
        assert_eq!(failed, Err::<(), _>(GateError::Failed));
        idle(&gate).await;
        assert!(gate.hash(password("x"), None).await.is_ok());
    }

    #[test]
    fn retry_after_follows_the_length_of_the_queue() {
        let gate = |permits, queue| {
            let hasher = Hasher::new(HashParams::default(), Peppers::default()).unwrap();
            Gate::new(limits(permits, queue), hasher, |_| {}).0.retry_after_secs()
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
        let gate = Gate::new(limits(1, 2), hasher, |bytes| bytes.fill(7));
        gate.hash(password("hunter2"), None).await.unwrap();
        let printed = format!("{gate:?}");
        assert!(printed.starts_with("Gate { limits: Limits { permits: 1, places: 2,"), "{printed}");
        for secret in ["enough bytes", "hunter2", "argon2id", "97, 32, 112"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
