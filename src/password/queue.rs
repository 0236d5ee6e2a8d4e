//! The queue of the gate: which callers wait for a hash, and which one is next.
//!
//! Callers that wait are served in turn by their origin. So one client with many connections delays
//! mainly itself:
//!
//! - A *source* is one IPv4 address or one IPv6 /64. A *network* is one IPv4 address or one IPv6
//!   /48, because a client that has a /48 has 65 536 sources.
//! - Networks are served in turn. Within a network its sources are served in turn. Within a source
//!   the oldest caller is served first.
//! - One source has at most a quarter of the places, one network at most half; each at least one.
//! - When the queue is full, a caller from elsewhere can replace one that waits: the newest caller
//!   of the network with the most callers. This happens only if that network still has at least as
//!   many callers afterwards as the network of the new caller. So two networks cannot take the
//!   place from each other forever.
//! - Callers without a known address count as one network, which may take every place, because
//!   nothing tells these callers apart. They can be replaced like the callers of any network.
//!
//! A caller that stops waiting leaves the queue at once. Its number identifies it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::base::client::{network_key, rate_key};

/// The divisor for the share of one source: at most a quarter of the places.
const SOURCE_PART: usize = 4;
/// The divisor for the share of one network: at most half of the places.
const NETWORK_PART: usize = 2;

/// Where a caller comes from. Both keys are `None` if its address is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    network: Option<IpAddr>,
    source: Option<IpAddr>,
}

impl Origin {
    fn of(address: Option<IpAddr>) -> Self {
        Self { network: address.map(network_key), source: address.map(rate_key) }
    }
}

/// The permits for hashing and the callers that wait for one. Clones are the same queue.
#[derive(Clone)]
pub(super) struct Queue(Arc<Mutex<State>>);

struct State {
    /// Permits that no caller has. As long as one is free, no caller waits.
    free: usize,
    lines: Lines<oneshot::Sender<Permit>>,
    last_number: u64,
}

/// The right to compute one hash. When it is dropped, the next caller gets it.
pub(super) struct Permit(Option<Queue>);

/// The caller got no permit in time, or there was no place to wait for one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoPermit;

impl Queue {
    pub(super) fn new(permits: usize, places: usize) -> Self {
        let state = State { free: permits, lines: Lines::new(places), last_number: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Waits for a permit, at most for `limit`. A caller that drops the future leaves the queue.
    ///
    /// # Errors
    /// [`NoPermit`] when the caller is refused a place, loses its place to another, or waits too
    /// long.
    pub(super) async fn permit(
        &self,
        address: Option<IpAddr>,
        limit: Duration,
    ) -> Result<Permit, NoPermit> {
        let origin = Origin::of(address);
        let (number, permit) = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Permit(Some(self.clone())));
            }
            state.last_number += 1;
            let number = state.last_number;
            let (sender, permit) = oneshot::channel();
            match state.lines.enter(origin, number, sender) {
                Entered::Waits => {}
                // The replaced caller learns it from its sender, which is dropped here.
                Entered::InsteadOf(_) => {}
                Entered::Refused => return Err(NoPermit),
            }
            (number, permit)
        };
        let _place = Place { queue: self, origin, number };
        match tokio::time::timeout(limit, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(NoPermit),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of free permits and of callers that wait.
    #[cfg(test)]
    pub(super) fn free_and_waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.free, state.lines.waiting)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(queue) = self.0.take() else { return };
        let mut state = queue.lock();
        while let Some(sender) = state.lines.next() {
            match sender.send(Self(Some(queue.clone()))) {
                Ok(()) => return,
                // That caller has just stopped waiting, so the permit goes to the next one. It must
                // not be dropped as a permit here: that would take the lock again, which this
                // thread holds.
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
        state.free += 1;
    }
}

/// A place in the queue. It is freed when the caller is served or stops waiting. This is a guard
/// because a cancelled request runs nothing but `drop`.
struct Place<'a> {
    queue: &'a Queue,
    origin: Origin,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.lock().lines.leave(self.origin, self.number);
    }
}

/// The result for a caller that wants a place.
#[derive(Debug, PartialEq, Eq)]
enum Entered<T> {
    Waits,
    /// It replaces this caller.
    InsteadOf(T),
    Refused,
}

/// The waiting callers. This type needs no clock and no task, so tests can drive it step by step.
/// The next network, and in it the next source, is in front.
struct Lines<T> {
    places: usize,
    waiting: usize,
    networks: VecDeque<Network<T>>,
}

struct Network<T> {
    key: Option<IpAddr>,
    waiting: usize,
    /// No source in it is empty.
    sources: VecDeque<Source<T>>,
}

struct Source<T> {
    key: Option<IpAddr>,
    /// The oldest caller is in front.
    callers: VecDeque<(u64, T)>,
}

impl<T> Lines<T> {
    fn new(places: usize) -> Self {
        Self { places, waiting: 0, networks: VecDeque::new() }
    }

    /// Returns how many places one source and one network may have at most. Callers without an
    /// address may have all.
    fn shares(&self, origin: Origin) -> (usize, usize) {
        match origin.network {
            None => (self.places, self.places),
            Some(_) => ((self.places / SOURCE_PART).max(1), (self.places / NETWORK_PART).max(1)),
        }
    }

    fn enter(&mut self, origin: Origin, number: u64, caller: T) -> Entered<T> {
        let (source_share, network_share) = self.shares(origin);
        let network = self.networks.iter().find(|network| network.key == origin.network);
        let in_network = network.map_or(0, |network| network.waiting);
        let in_source = network
            .and_then(|network| network.sources.iter().find(|source| source.key == origin.source))
            .map_or(0, |source| source.callers.len());
        if in_source >= source_share || in_network >= network_share {
            return Entered::Refused;
        }
        let mut displaced = None;
        if self.waiting >= self.places {
            displaced = self.displace(in_network + 1);
            if displaced.is_none() {
                return Entered::Refused;
            }
        }
        self.push(origin, number, caller);
        displaced.map_or(Entered::Waits, Entered::InsteadOf)
    }

    fn push(&mut self, origin: Origin, number: u64, caller: T) {
        let at = self.networks.iter().position(|network| network.key == origin.network);
        let at = at.unwrap_or_else(|| {
            let network = Network { key: origin.network, waiting: 0, sources: VecDeque::new() };
            self.networks.push_back(network);
            self.networks.len() - 1
        });
        let network = &mut self.networks[at];
        let at = network.sources.iter().position(|source| source.key == origin.source);
        let at = at.unwrap_or_else(|| {
            network.sources.push_back(Source { key: origin.source, callers: VecDeque::new() });
            network.sources.len() - 1
        });
        network.sources[at].callers.push_back((number, caller));
        network.waiting += 1;
        self.waiting += 1;
    }

    /// Removes the newest caller of the source with the most callers, in the network with the most
    /// callers. Returns `None` if that network has no more than `than` callers.
    fn displace(&mut self, than: usize) -> Option<T> {
        let longest = (0..self.networks.len()).max_by_key(|at| self.networks[*at].waiting)?;
        let network = &self.networks[longest];
        if network.waiting <= than {
            return None;
        }
        let sources = &network.sources;
        let source = (0..sources.len()).max_by_key(|at| sources[*at].callers.len())?;
        self.take(longest, source, VecDeque::pop_back)
    }

    /// Removes and returns the next caller. Its network then goes behind the other networks, and
    /// its source behind the other sources of that network.
    fn next(&mut self) -> Option<T> {
        let (networks, sources) = (self.networks.len(), self.networks.front()?.sources.len());
        let caller = self.take(0, 0, VecDeque::pop_front)?;
        if self.networks.len() == networks {
            if let Some(network) = self.networks.front_mut()
                && network.sources.len() == sources
            {
                network.sources.rotate_left(1);
            }
            self.networks.rotate_left(1);
        }
        Some(caller)
    }

    /// Removes a caller that no longer waits, if it is still in the queue.
    fn leave(&mut self, origin: Origin, number: u64) -> Option<T> {
        let network = self.networks.iter().position(|network| network.key == origin.network)?;
        let sources = &self.networks[network].sources;
        let source = sources.iter().position(|source| source.key == origin.source)?;
        let callers = &sources[source].callers;
        let at = callers.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.take(network, source, |callers| callers.remove(at))
    }

    /// Removes a caller of one source. If the source or the network is then empty, it is removed
    /// too.
    fn take(
        &mut self,
        network: usize,
        source: usize,
        which: impl FnOnce(&mut VecDeque<(u64, T)>) -> Option<(u64, T)>,
    ) -> Option<T> {
        let found = self.networks.get_mut(network)?;
        let line = found.sources.get_mut(source)?;
        let (_, caller) = which(&mut line.callers)?;
        if line.callers.is_empty() {
            found.sources.remove(source);
        }
        found.waiting -= 1;
        if found.waiting == 0 {
            self.networks.remove(network);
        }
        self.waiting -= 1;
        Some(caller)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::{
        Just, ProptestConfig, Strategy, prop_assert, prop_assert_eq, prop_oneof,
    };
    use proptest::{collection, proptest};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    /// Adds callers from these addresses, and returns how many got a place.
    fn fill(lines: &mut Lines<u64>, first: u64, addresses: &[Option<IpAddr>]) -> usize {
        let numbers = first..;
        let entered = addresses.iter().zip(numbers).filter(|(address, number)| {
            !matches!(lines.enter(Origin::of(**address), *number, *number), Entered::Refused)
        });
        entered.count()
    }

    #[test]
    fn one_source_has_a_quarter_of_the_places_and_one_network_half() {
        let check = |address: fn(usize) -> Option<IpAddr>, expected: usize| {
            let mut lines = Lines::new(64);
            let addresses: Vec<_> = (0..200).map(address).collect();
            assert_eq!(fill(&mut lines, 1, &addresses), expected, "{:?}", address(1));
            // A caller from elsewhere gets a place, and is the next one or the one after.
            let other = Origin::of(ip("198.51.100.7"));
            assert!(!matches!(lines.enter(other, 1000, 1000), Entered::Refused));
            let served = [lines.next(), lines.next()];
            assert!(served.contains(&Some(1000)), "{served:?}");
        };
        check(|_| ip("192.0.2.1"), 16);
        check(|_| ip("::ffff:192.0.2.1"), 16);
        // Any addresses of one /64.
        check(|at| ip(&format!("2001:db8:1:2::{at:x}")), 16);
        // One /48, with its own /64 for each caller.
        check(|at| ip(&format!("2001:db8:1:{at:x}::1")), 32);
        // Callers without an address cannot be told apart.
        check(|_| None, 64);
    }

    #[test]
    fn a_full_queue_gives_the_newest_of_the_longest_network_up_for_one_from_elsewhere() {
        let mut lines = Lines::new(8);
        let four = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        let addresses: Vec<_> = four.iter().flat_map(|text| [ip(text), ip(text)]).collect();
        assert_eq!(fill(&mut lines, 1, &addresses), 8);
        let other = |last: u8| Origin::of(ip(&format!("198.51.100.{last}")));
        // Each of the four networks has two callers, so each loses one to a network that has none.
        let displaced: HashSet<_> = (0..4)
            .map(|at| match lines.enter(other(at), 100 + u64::from(at), 100 + u64::from(at)) {
                Entered::InsteadOf(number) => number,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(displaced, HashSet::from([2, 4, 6, 8]));
        // Now every network has one caller. Later callers are refused, whether their network waits
        // or not.
        assert_eq!(lines.enter(other(9), 200, 200), Entered::Refused);
        assert_eq!(lines.enter(other(0), 201, 201), Entered::Refused);
        let order: Vec<_> = std::iter::from_fn(|| lines.next()).collect();
        assert_eq!(order, [1, 3, 5, 7, 100, 101, 102, 103]);
        assert_eq!((lines.waiting, lines.networks.len()), (0, 0));
    }

    #[test]
    fn a_queue_without_places_takes_nobody_and_a_small_one_takes_one_of_each() {
        let mut none = Lines::new(0);
        assert_eq!(none.enter(Origin::of(ip("192.0.2.1")), 1, 1), Entered::Refused);
        assert_eq!(none.enter(Origin::of(None), 2, 2), Entered::Refused);
        let mut two = Lines::new(2);
        assert_eq!(fill(&mut two, 1, &[ip("192.0.2.1"), ip("192.0.2.1"), ip("192.0.2.2")]), 2);
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Come(usize),
        Serve,
        Leave(usize),
    }

    fn addresses() -> Vec<Option<IpAddr>> {
        let texts = [
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8:1:1::1",
            "2001:db8:1:1::2",
            "2001:db8:1:2::1",
            "2001:db8:1:3::1",
            "2001:db8:2:1::1",
        ];
        texts.iter().map(|text| ip(text)).chain([None]).collect()
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..8usize).prop_map(Step::Come),
            3 => Just(Step::Serve),
            1 => (0..64usize).prop_map(Step::Leave),
        ];
        collection::vec(step, 1..300)
    }

    /// Records what was served while something waited, to check that nothing was served twice
    /// meanwhile.
    #[derive(Default)]
    struct Turns<K>(HashMap<K, HashSet<K>>);

    impl<K: Copy + Eq + std::hash::Hash> Turns<K> {
        /// Takes what waited at the moment when `served` was served. Returns true if none was
        /// overtaken twice.
        fn fair(&mut self, served: K, waiting: &HashSet<K>) -> bool {
            self.0.retain(|key, _| waiting.contains(key));
            self.0.remove(&served);
            let others = waiting.iter().filter(|key| **key != served);
            let mut fair = true;
            for key in others {
                fair &= self.0.entry(*key).or_default().insert(served);
            }
            fair
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn nobody_is_overtaken_twice_and_nobody_has_more_than_their_share(
            places in 0..24usize,
            steps in steps(),
        ) {
            let addresses = addresses();
            let mut lines = Lines::new(places);
            // The callers that the model expects to wait, in the order in which they came.
            let mut model: Vec<(u64, Origin)> = Vec::new();
            let mut last = 0;
            let (mut networks, mut sources) = (Turns::default(), Turns::default());
            for step in steps {
                match step {
                    Step::Come(who) => {
                        last += 1;
                        let origin = Origin::of(addresses[who]);
                        let of_network = |model: &[(u64, Origin)], network| {
                            model.iter().filter(|(_, one)| one.network == network).count()
                        };
                        let in_network = of_network(&model, origin.network);
                        let in_source = model.iter().filter(|(_, one)| *one == origin).count();
                        let (source_share, network_share) = lines.shares(origin);
                        let below = in_source < source_share && in_network < network_share;
                        let longest = model.iter().map(|(_, one)| of_network(&model, one.network)).max();
                        let room = model.len() < places;
                        let displaces = longest.is_some_and(|longest| longest > in_network + 1);
                        match lines.enter(origin, last, last) {
                            Entered::Waits => prop_assert!(below && room),
                            Entered::Refused => prop_assert!(!below || !room && !displaces),
                            Entered::InsteadOf(number) => {
                                prop_assert!(below && !room && displaces);
                                let at = model.iter().position(|(one, _)| *one == number);
                                let (_, gone) = model.remove(at.expect("it waited"));
                                prop_assert_eq!(of_network(&model, gone.network) + 1, longest.unwrap_or(0));
                                let later = model.iter().any(|(one, from)| *from == gone && *one > number);
                                prop_assert!(!later, "the newest of its source goes");
                            }
                        }
                        if lines.networks.iter().any(|network| {
                            network.sources.iter().any(|source| {
                                source.callers.iter().any(|(number, _)| *number == last)
                            })
                        }) {
                            model.push((last, origin));
                        }
                    }
                    Step::Serve => {
                        let served = lines.next();
                        prop_assert_eq!(served.is_none(), model.is_empty(), "a waiting source is served");
                        let Some(number) = served else { continue };
                        let waiting: HashSet<_> = model.iter().map(|(_, one)| one.network).collect();
                        let at = model.iter().position(|(one, _)| *one == number);
                        let at = at.expect("it waited");
                        let origin = model[at].1;
                        let first = model.iter().position(|(_, one)| *one == origin);
                        prop_assert_eq!(Some(at), first, "the first of its source");
                        prop_assert!(networks.fair(origin.network, &waiting));
                        let near = model.iter().filter(|(_, one)| one.network == origin.network);
                        let near: HashSet<_> = near.map(|(_, one)| one.source).collect();
                        // The turns of sources in other networks do not change meanwhile.
                        let mut kept = std::mem::take(&mut sources.0);
                        let mut here = Turns(near.iter().filter_map(|key| kept.remove_entry(key)).collect());
                        prop_assert!(here.fair(origin.source, &near));
                        kept.extend(here.0);
                        sources.0 = kept;
                        model.remove(at);
                    }
                    Step::Leave(at) => {
                        if model.is_empty() {
                            continue;
                        }
                        let (number, origin) = model.remove(at % model.len());
                        prop_assert_eq!(lines.leave(origin, number), Some(number));
                        prop_assert_eq!(lines.leave(origin, number), None, "it has gone");
                    }
                }
                // A caller that leaves and comes again waits behind the others.
                let all: HashSet<_> = model.iter().map(|(_, one)| one.network).collect();
                networks.0.retain(|key, _| all.contains(key));
                let all: HashSet<_> = model.iter().map(|(_, one)| one.source).collect();
                sources.0.retain(|key, _| all.contains(key));
                prop_assert_eq!(lines.waiting, model.len());
                prop_assert!(lines.waiting <= places);
                let counted: usize = lines.networks.iter().map(|network| network.waiting).sum();
                prop_assert_eq!(counted, lines.waiting);
            }
        }
    }

    #[tokio::test]
    async fn who_waits_gets_the_permit_that_is_given_back() {
        let queue = Queue::new(1, 4);
        let first = queue.permit(None, LONG).await.expect("it is free");
        let mut waiting = by_hand(queue.permit(None, LONG));
        assert!(waiting.poll().is_none());
        assert_eq!(queue.free_and_waiting(), (0, 1));
        drop(first);
        assert_eq!(queue.free_and_waiting(), (0, 0), "it has been handed over");
        drop(waiting.poll().expect("it is served").expect("a permit"));
        assert_eq!(queue.free_and_waiting(), (1, 0));
    }

    #[tokio::test]
    async fn who_gives_up_leaves_at_once_and_a_permit_on_its_way_goes_on() {
        let queue = Queue::new(1, 4);
        let first = queue.permit(None, LONG).await.expect("it is free");
        let mut one = by_hand(queue.permit(ip("192.0.2.1"), LONG));
        let mut two = by_hand(queue.permit(ip("192.0.2.2"), LONG));
        let mut three = by_hand(queue.permit(ip("192.0.2.3"), LONG));
        assert!(one.poll().is_none() && two.poll().is_none() && three.poll().is_none());
        drop(one);
        assert_eq!(queue.free_and_waiting(), (0, 2));
        drop(first);
        // The permit was on its way to `two`, which goes without looking at it.
        assert_eq!(queue.free_and_waiting(), (0, 1));
        drop(two);
        assert_eq!(queue.free_and_waiting(), (0, 0));
        drop(three.poll().expect("it is served").expect("a permit"));
        assert_eq!(queue.free_and_waiting(), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_the_limit_and_who_is_displaced_hears_it_at_once() {
        let queue = Queue::new(1, 2);
        let held = queue.permit(None, LONG).await.expect("it is free");
        let limit = Duration::from_secs(10);
        let started = tokio::time::Instant::now();
        let waited = queue.permit(ip("192.0.2.1"), limit).await;
        assert_eq!((waited.err(), started.elapsed()), (Some(NoPermit), limit));
        assert_eq!(queue.free_and_waiting(), (0, 0));
        let mut old = by_hand(queue.permit(None, limit));
        let mut new = by_hand(queue.permit(None, limit));
        assert!(old.poll().is_none() && new.poll().is_none());
        let mut other = by_hand(queue.permit(ip("192.0.2.1"), limit));
        assert!(other.poll().is_none());
        assert!(matches!(new.poll(), Some(Err(NoPermit))), "the newest");
        assert!(old.poll().is_none());
        drop(held);
        assert!(matches!(old.poll(), Some(Ok(_))));
    }

    /// A future that the test polls step by step.
    struct ByHand<'a, T>(std::pin::Pin<Box<dyn Future<Output = T> + 'a>>);

    fn by_hand<'a, T>(future: impl Future<Output = T> + 'a) -> ByHand<'a, T> {
        ByHand(Box::pin(future))
    }

    impl<T> ByHand<'_, T> {
        fn poll(&mut self) -> Option<T> {
            let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
            match self.0.as_mut().poll(context) {
                std::task::Poll::Ready(value) => Some(value),
                std::task::Poll::Pending => None,
            }
        }
    }
}
