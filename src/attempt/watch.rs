//! Watches the sign-ins of the whole node for what no limit of an account or a source sees: one
//! password tried at many accounts from many addresses.
//!
//! Two figures are kept, of a window of ten minutes: how many sign-ins failed of how many, and which
//! names failed from each network (an IPv4 /24, an IPv6 /48). Of a name the start of its keyed digest
//! is kept, of a password nothing. Everything is in memory, of this node alone, and bounded: a node that
//! serves a tenth of the traffic sees a tenth of an attack. Nothing is refused for it.
//!
//! Compared is with the node's own last day, so that a service whose people often mistype is no attack.
//! A node that has just started assumes that every fifth sign-in fails.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;

use crate::audit_log;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::problem::ErrorChain;
use crate::base::transaction::{Fault, transaction};
use crate::config::WatchConfig;
use crate::context::{Context, PerInstance};
use crate::handle::Portcullis;
use crate::port::Suspicion;

/// How many earlier windows are compared with: with the default window, a day.
const EARLIER: usize = 144;

/// What a node assumes that has seen nothing yet: 20 of 100 sign-ins failed.
const ASSUMED: Count = Count { failed: 20, all: 100 };

/// A share counts as a jump when it is so many times the usual one.
const JUMP: u64 = 3;

/// However many usually fail, so many percent are a jump.
const ALWAYS_A_JUMP: u64 = 90;

/// How many networks are watched at once.
const NETWORKS: usize = 1024;

/// How many networks of one window are told of.
const TOLD_OF: usize = 16;

/// How long a hook may take.
const HOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// A sign-in, as far as it is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    name: u64,
    address: Option<IpAddr>,
}

impl Seen {
    /// `name` is the keyed digest of what was typed.
    pub(crate) fn new(name: &[u8; 32], address: Option<IpAddr>) -> Self {
        let start = name[..8].try_into().expect("eight of 32 bytes");
        Self { name: u64::from_be_bytes(start), address }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    failed: u64,
    all: u64,
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self { failed: self.failed + other.failed, all: self.all + other.all }
    }

    fn percent(self) -> u64 {
        (self.failed * 100).checked_div(self.all).unwrap_or(0)
    }
}

#[derive(Default)]
struct Network {
    names: HashSet<u64>,
    succeeded: u64,
    told: bool,
}

/// What one node has seen.
#[derive(Default)]
struct State {
    began: Option<Timestamp>,
    now: Count,
    told: bool,
    networks: HashMap<IpNet, Network>,
    told_of: usize,
    earlier: VecDeque<Count>,
}

/// The watch of one instance.
pub(crate) struct Watch {
    config: Option<WatchConfig>,
    state: Mutex<State>,
}

impl PerInstance for Watch {
    fn open(context: &Context) -> Self {
        Self { config: context.config.attempts.watch.clone(), state: Mutex::default() }
    }
}

/// Notes how a sign-in ended, and tells of what it makes suspicious beside the request.
pub(crate) fn note(auth: &Portcullis, seen: Seen, succeeded: bool) {
    let watch = auth.per_instance::<Watch>();
    let Some(config) = &watch.config else { return };
    let now = auth.context().now();
    let found = {
        let mut state = watch.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.note(config, seen, succeeded, now)
    };
    for suspicion in found {
        tell(auth, suspicion, now);
    }
}

impl State {
    fn note(
        &mut self,
        config: &WatchConfig,
        seen: Seen,
        succeeded: bool,
        now: Timestamp,
    ) -> Vec<Suspicion> {
        self.turn(config.window, now);
        self.now = self.now.plus(Count { failed: u64::from(!succeeded), all: 1 });
        let mut found = Vec::new();
        if let Some(network) = seen.address.and_then(network_of) {
            found.extend(self.note_network(config, network, seen.name, succeeded));
        }
        let usual = self.earlier.iter().copied().fold(ASSUMED, Count::plus);
        let jump = (usual.percent().max(1) * JUMP).min(ALWAYS_A_JUMP);
        if !self.told
            && self.now.failed >= u64::from(config.least_failures)
            && self.now.percent() >= jump
        {
            self.told = true;
            found.push(Suspicion::FailedShare {
                percent: self.now.percent(),
                usual_percent: usual.percent(),
                failed: self.now.failed,
            });
        }
        found
    }

    fn note_network(
        &mut self,
        config: &WatchConfig,
        network: IpNet,
        name: u64,
        succeeded: bool,
    ) -> Option<Suspicion> {
        if succeeded {
            // Where nothing failed there is nothing to weigh it against.
            if let Some(known) = self.networks.get_mut(&network) {
                known.succeeded += 1;
            }
            return None;
        }
        if !self.networks.contains_key(&network) && self.networks.len() >= NETWORKS {
            // The one with the fewest names: one is what an honest mistake looks like, and those that
            // somebody keeps at two to fill the table make room for who tries many.
            let fewest = self.networks.iter().min_by_key(|(_, known)| known.names.len());
            let fewest = fewest.map(|(network, _)| *network);
            fewest.and_then(|network| self.networks.remove(&network));
        }
        let known = self.networks.entry(network).or_default();
        let most = config.names_per_network as usize;
        if known.names.len() < most {
            known.names.insert(name);
        }
        // Many people behind one address get in more often than they fail.
        if known.told || known.names.len() < most || known.succeeded >= known.names.len() as u64 {
            return None;
        }
        known.told = true;
        self.told_of += 1;
        let names = known.names.len() as u64;
        (self.told_of <= TOLD_OF).then_some(Suspicion::NamesFromNetwork { network, names })
    }

    /// Begins new windows for the time that has passed.
    fn turn(&mut self, window: Duration, now: Timestamp) {
        let began = *self.began.get_or_insert(now);
        let passed = now.since(began);
        // A clock that was set back begins anew too, or the window would last as long as the step.
        if now >= began && passed < window {
            return;
        }
        let windows = (passed.as_millis() / window.as_millis().max(1)).clamp(1, EARLIER as u128);
        let over = std::mem::take(self);
        self.earlier = over.earlier;
        self.began = Some(now);
        for number in 0..windows {
            if self.earlier.len() == EARLIER {
                self.earlier.pop_front();
            }
            self.earlier.push_back(if number == 0 { over.now } else { Count::default() });
        }
    }
}

fn network_of(address: IpAddr) -> Option<IpNet> {
    let address = address.to_canonical();
    let prefix = if address.is_ipv4() { 24 } else { 48 };
    IpNet::new(address, prefix).ok().map(|network| network.trunc())
}

/// Tells the operator, the audit log and the application.
fn tell(auth: &Portcullis, suspicion: Suspicion, now: Timestamp) {
    if tokio::runtime::Handle::try_current().is_err() {
        return;
    }
    auth.report_finding(
        "password_spraying",
        &format!("many sign-ins fail that no limit of one account or source stops: {suspicion}"),
    );
    let mut event = Event::new(EventKind::SprayingSuspected, now).failed(&suspicion.to_string());
    if let Suspicion::NamesFromNetwork { network, .. } = &suspicion {
        event.address = Some(network.addr());
    }
    let context = auth.context().clone();
    auth.context().database.beside(async move {
        let written = transaction!(context.db(), |txn| {
            audit_log::record(txn, &event).await.map_err(Fault::from)
        });
        if let Err(error) = written {
            tracing::warn!(target: "portcullis", error = ?error.to_string(), "an event could not be written");
            // It happened all the same.
            event.trace();
        }
        let Some(hook) = &context.on_suspicion else { return };
        let told = hook.ask(HOOK_TIMEOUT, move |hook| {
            Box::pin(async move { hook.suspected(&suspicion).await })
        });
        match told.await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let error = ErrorChain(&*error).to_string();
                tracing::warn!(target: "portcullis", ?error, "the hook of suspicions failed");
            }
            None => {
                tracing::warn!(target: "portcullis", "the hook of suspicions did not end in time");
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: i64 = 600_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Notes so many sign-ins at this moment, each of another name from another network.
    fn busy(state: &mut State, now: i64, succeeded: u64, failed: u64) -> Vec<Suspicion> {
        let config = WatchConfig::default();
        let mut found = Vec::new();
        for number in 0..succeeded + failed {
            let low = u32::try_from(number % 60_000).unwrap();
            let address = Some(IpAddr::from((0x0a00_0000 | (low << 8)).to_be_bytes()));
            let seen = Seen { name: number, address };
            found.extend(state.note(&config, seen, number < succeeded, at(now)));
        }
        found
    }

    #[test]
    fn a_small_service_with_some_failures_is_no_attack() {
        let mut state = State::default();
        for window in 0..300 {
            assert_eq!(busy(&mut state, window * WINDOW, 1, 3), []);
        }
        // Not even when nobody gets in for a while.
        assert_eq!(busy(&mut state, 300 * WINDOW, 0, 99), []);
    }

    #[test]
    fn a_share_of_failures_that_jumps_is_told_once_a_window() {
        let mut state = State::default();
        for window in 0..144 {
            assert_eq!(busy(&mut state, window * WINDOW, 970, 30), [], "{window}");
        }
        let found = busy(&mut state, 144 * WINDOW, 900, 400);
        let [Suspicion::FailedShare { percent, usual_percent, failed }] = found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((usual_percent, percent), (3, 10));
        assert!(failed >= 100);
        assert_eq!(busy(&mut state, 145 * WINDOW, 1900, 120), [], "twice as many are no jump");
    }

    #[test]
    fn where_most_fail_every_day_only_almost_all_are_a_jump() {
        let mut state = State::default();
        let mut told = 0;
        for window in 0..144 {
            told += busy(&mut state, window * WINDOW, 200, 600).len();
        }
        // It took a while to be usual.
        assert!(told < 10, "{told}");
        assert_eq!(busy(&mut state, 144 * WINDOW, 200, 600), []);
        assert_eq!(busy(&mut state, 145 * WINDOW, 10, 600).len(), 1);
    }

    #[test]
    fn many_names_from_one_network_are_told_and_an_office_is_not() {
        let config = WatchConfig { least_failures: u32::MAX, ..WatchConfig::default() };
        let mut state = State::default();
        let mut try_from = |address: &str, name: u64, succeeded: bool| {
            let seen = Seen { name, address: Some(address.parse().unwrap()) };
            state.note(&config, seen, succeeded, at(0))
        };
        for name in 0..49 {
            assert_eq!(try_from(&format!("192.0.2.{name}"), name, false), []);
            // However often the same one fails.
            assert_eq!(try_from("192.0.2.1", name, false), []);
        }
        let network = "192.0.2.0/24".parse().unwrap();
        let expected = [Suspicion::NamesFromNetwork { network, names: 50 }];
        assert_eq!(try_from("192.0.2.200", 50, false), expected);
        assert_eq!(try_from("192.0.2.200", 51, false), [], "told already");
        // Three hundred people come to work; a fifth of them mistype first.
        for name in 0..300 {
            if name % 5 == 0 {
                assert_eq!(try_from("2001:db8:7::1", name, false), []);
            }
            assert_eq!(try_from("2001:db8:7:9::2", name, true), []);
        }
    }

    #[test]
    fn who_fills_the_table_blinds_the_watch_to_nobody() {
        let config = WatchConfig { least_failures: u32::MAX, ..WatchConfig::default() };
        let mut state = State::default();
        let mut fail = |address: [u8; 4], name: u64| {
            let seen = Seen { name, address: Some(IpAddr::from(address)) };
            state.note(&config, seen, false, at(0))
        };
        for network in 0..u16::try_from(NETWORKS).expect("few") {
            let [high, low] = network.to_be_bytes();
            for name in 0..2 {
                assert_eq!(fail([10, high, low, 1], name), []);
            }
        }
        let told = (0..50).flat_map(|name| fail([192, 0, 2, 1], name)).count();
        assert_eq!(told, 1);
    }

    #[test]
    fn memory_is_bounded_however_many_networks_and_names_there_are() {
        let config = WatchConfig::default();
        let mut state = State::default();
        for number in 0..200_000_u32 {
            let address = Some(IpAddr::from(((number % 5000) << 8).to_be_bytes()));
            let seen = Seen { name: u64::from(number), address };
            let _ = state.note(&config, seen, false, at(i64::from(number % 1000)));
        }
        assert!(state.networks.len() <= NETWORKS);
        let most = config.names_per_network as usize;
        assert!(state.networks.values().all(|network| network.names.len() <= most));
        state.turn(config.window, at(i64::MAX));
        assert!(state.networks.is_empty() && state.earlier.len() <= EARLIER);
        state.turn(config.window, at(0));
        assert_eq!(state.began, Some(at(0)));
    }
}
