//! Watches the sign-ins of the whole node for an attack that no limit of an account or a source
//! stops: one password that is tried at many accounts from many addresses.
//!
//! It counts two things in a window of ten minutes: how many of all sign-ins failed, and which
//! names failed from each network (an IPv4 /24 or an IPv6 /48). Of a name it stores the start of
//! its keyed digest, and of a password nothing.
//!
//! All data is in the memory of this node and limited in size. A node that serves a tenth of the
//! traffic sees a tenth of an attack. The watch refuses nothing.
//!
//! It compares with the last day of the same node. So a service whose users often mistype is not an
//! attack. A node that has just started assumes that every fifth sign-in fails.

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

/// How many earlier windows are compared. With the default window this is a day.
const EARLIER: usize = 144;

/// What a new node assumes: 20 of 100 sign-ins failed.
const ASSUMED: Count = Count { failed: 20, all: 100 };

/// A share is suspicious if it is this many times the usual share.
const JUMP: u64 = 3;

/// A share of this many percent is always suspicious, however many usually fail.
const ALWAYS_A_JUMP: u64 = 90;

/// How many networks are watched at once.
const NETWORKS: usize = 1024;

/// How many networks are reported in one window.
const TOLD_OF: usize = 16;

/// How long a hook may take.
const HOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// The data of a sign-in that is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    name: u64,
    address: Option<IpAddr>,
}

impl Seen {
    /// Creates the data of a sign-in. `name` is the keyed digest of what was typed.
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

/// The counts of one node.
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

/// Counts how a sign-in ended. Reports what is suspicious without delaying the request.
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
            // A network without failures does not need its successes counted.
            if let Some(known) = self.networks.get_mut(&network) {
                known.succeeded += 1;
            }
            return None;
        }
        if !self.networks.contains_key(&network) && self.networks.len() >= NETWORKS {
            // Remove the network with the fewest names. One name looks like an honest mistake. An
            // attacker may fill the table with networks of two names each, but these are removed
            // before a network with many names.
            let fewest = self.networks.iter().min_by_key(|(_, known)| known.names.len());
            let fewest = fewest.map(|(network, _)| *network);
            fewest.and_then(|network| self.networks.remove(&network));
        }
        let known = self.networks.entry(network).or_default();
        let most = config.names_per_network as usize;
        if known.names.len() < most {
            known.names.insert(name);
        }
        // Many people behind one address succeed more often than they fail.
        if known.told || known.names.len() < most || known.succeeded >= known.names.len() as u64 {
            return None;
        }
        known.told = true;
        self.told_of += 1;
        let names = known.names.len() as u64;
        (self.told_of <= TOLD_OF).then_some(Suspicion::NamesFromNetwork { network, names })
    }

    /// Starts new windows for the time that has passed.
    fn turn(&mut self, window: Duration, now: Timestamp) {
        let began = *self.began.get_or_insert(now);
        let passed = now.since(began);
        // If the clock was set back, a new window starts too. Otherwise the window would last for
        // as long as the clock was set back.
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

/// Reports to the operator, the audit log and the application.
fn tell(auth: &Portcullis, suspicion: Suspicion, now: Timestamp) {
    if tokio::runtime::Handle::try_current().is_err() {
        return;
    }
    auth.report_finding(
        "password_spraying",
        &format!(
            "many sign-ins fail without reaching a limit of an account or source: {suspicion}"
        ),
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
            // It happened even though it could not be recorded, so it is traced.
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
                tracing::warn!(target: "portcullis", ?error, "the suspicion hook failed");
            }
            None => {
                tracing::warn!(target: "portcullis", "the suspicion hook did not end in time");
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

    /// Counts this many sign-ins at one time, each with another name from another network.
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
        // Also if nobody succeeds for a while.
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
        // It took some windows until this share was the usual one.
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
            // The same name may fail any number of times.
            assert_eq!(try_from("192.0.2.1", name, false), []);
        }
        let network = "192.0.2.0/24".parse().unwrap();
        let expected = [Suspicion::NamesFromNetwork { network, names: 50 }];
        assert_eq!(try_from("192.0.2.200", 50, false), expected);
        assert_eq!(try_from("192.0.2.200", 51, false), [], "told already");
        // Three hundred people sign in at the start of work. A fifth of them mistype first.
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
