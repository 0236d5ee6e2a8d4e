//! A storm of logins: how many there are per second compared with hashing alone, how much memory
//! they use, and how it affects the requests of other users.

use std::net::Ipv4Addr;
use std::num::NonZero;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::task::LocalSet;

use crate::data::{ACCOUNTS, DISABLED, PASSWORD, Tokens, fill, name, secret};
use crate::database::{Backend, Database};
use crate::figures::{Goals, Table, median, number};
use crate::load::{Origin, Outcome, Pressure, Request, run};
use crate::process::{Cores, Server};
use crate::server::{Kind, Setup};
use crate::{Failure, Options};

const CLIENTS: [usize; 2] = [16, 256];
/// The number of connections in the storm that comes from one source.
const FROM_ONE: usize = 620;
/// The longest time in milliseconds that a sign-in of another user may take during the storm.
const HONEST_MS: f64 = 2_000.0;
/// A storm takes long, and its figures vary little, so a few rounds are enough.
const MOST_ROUNDS: usize = 3;

struct Round {
    hashes_per_sec: f64,
    logins_per_sec: f64,
    calm_p99: f64,
    storm_p99: f64,
}

/// Measures one database and prints the results.
pub(crate) async fn compare(backend: Backend, options: &Options) -> Result<(), Failure> {
    let Some(database) = Database::create(backend).await? else { return Ok(()) };
    let result = LocalSet::new().run_until(measure(backend, &database, options)).await;
    database.remove().await?;
    result
}

async fn measure(backend: Backend, database: &Database, options: &Options) -> Result<(), Failure> {
    let secret = secret()?;
    let tokens = fill(database, &secret).await?;
    let mut setup = Setup::new(Kind::Portcullis, &database.url, secret);
    let title = format!("{}: login storm, {} permits", backend.name(), permits());
    let columns = [
        "clients",
        "hashing alone/s",
        "logins/s",
        "÷",
        "peak MiB",
        "`/me` p99 ms calm",
        "in the storm",
        "÷",
    ];
    let mut table = Table::new(title, &columns);
    let mut goals = Goals::new(format!("{}: login storm, goals", backend.name()));
    for clients in CLIENTS {
        let server = Server::start(Cores::All, &setup.arguments())?;
        let mut rounds = Vec::new();
        for _ in 0..options.rounds.min(MOST_ROUNDS) {
            rounds.push(one_round(&server, &tokens, clients, options).await?);
        }
        let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
        let share = of(|round| round.logins_per_sec / round.hashes_per_sec);
        let slower = of(|round| round.storm_p99 / round.calm_p99);
        let peak = server.peak_mib();
        table.row([
            clients.to_string(),
            number(of(|round| round.hashes_per_sec)),
            number(of(|round| round.logins_per_sec)),
            number(share),
            number(peak),
            number(of(|round| round.calm_p99)),
            number(of(|round| round.storm_p99)),
            number(slower),
        ]);
        goals.at_least(&format!("{clients} clients, logins ÷ hashing alone"), share, 0.93);
        goals.at_most(&format!("{clients} clients, peak MiB"), peak, 100.0);
        goals.at_most(&format!("{clients} clients, `/me` p99 in the storm ÷ calm"), slower, 3.0);
    }
    table.print();

    setup.hash_queue = Some(32);
    let server = Server::start(Cores::All, &setup.arguments())?;
    let outcome = run(server.address, &logins(), pressure(64, 0.05, None)).await?;
    println!(
        "Beyond a queue of 32, 64 clients: {} logins, {} answers 503 with `Retry-After`, {} others.",
        outcome.latencies.len(),
        outcome.retry_later,
        outcome.unexpected,
    );
    goals.at_least("503 with `Retry-After` beyond the queue", outcome.retry_later as f64, 1.0);
    goals.at_most("other answers beyond the queue", outcome.unexpected as f64, 0.0);
    drop(server);
    setup.hash_queue = None;
    from_one_source(&setup, options, &mut goals).await?;
    goals.print();
    Ok(())
}

/// One source signs in over many connections. Meanwhile another user signs in from another address.
async fn from_one_source(
    setup: &Setup,
    options: &Options,
    goals: &mut Goals,
) -> Result<(), Failure> {
    let server = Server::start(Cores::All, &setup.arguments())?;
    let seconds = options.seconds.max(5.0);
    let storm = Pressure {
        from: Origin::One(Ipv4Addr::new(127, 0, 0, 2)),
        ..pressure(FROM_ONE, seconds + 1.0, None)
    };
    let honest = Pressure {
        from: Origin::One(Ipv4Addr::new(127, 0, 0, 3)),
        ..pressure(1, seconds, Some(Duration::from_millis(100)))
    };
    let logins = logins();
    let (storm, honest) = tokio::join!(run(server.address, &logins, storm), async {
        // The storm starts first and fills the queue.
        tokio::time::sleep(Duration::from_secs(1)).await;
        run(server.address, &logins, honest).await
    });
    let (storm, honest) = (storm?, honest?);
    let longest = honest.percentile(1.0);
    println!(
        "{FROM_ONE} connections of one source: {} logins a second and {} answers 503 with `Retry-After` \
         for it; somebody else's {} logins took {} ms by the median and {} ms at most.",
        number(storm.per_sec()),
        storm.retry_later,
        honest.latencies.len(),
        number(honest.percentile(0.5)),
        number(longest),
    );
    goals.at_most("storm from one source: somebody else's login, ms at most", longest, HONEST_MS);
    let lost = honest.retry_later + honest.unexpected;
    goals.at_most("storm from one source: somebody else's logins that fail", lost as f64, 0.0);
    goals.at_least("somebody else's logins", honest.latencies.len() as f64, 1.0);
    goals.at_most("storm from one source: strange answers", storm.unexpected as f64, 0.0);
    Ok(())
}

async fn one_round(
    server: &Server,
    tokens: &Tokens,
    clients: usize,
    options: &Options,
) -> Result<Round, Failure> {
    let me = tokens.portcullis.iter().map(|token| Request::get("/me", Some(token)));
    let me = Rc::new(me.collect::<Vec<_>>());
    // A few requests now and then show what another user experiences. They are no load themselves.
    let calmly = pressure(4, options.seconds, Some(Duration::from_millis(5)));
    let hashes_per_sec = hashing_alone(Duration::from_secs_f64(options.seconds))?;
    let calm = good(run(server.address, &me, calmly).await?)?;
    let logins = logins();
    let (storm, me) = tokio::join!(
        run(server.address, &logins, pressure(clients, options.seconds, None)),
        run(server.address, &me, calmly),
    );
    Ok(Round {
        hashes_per_sec,
        logins_per_sec: good(storm?)?.per_sec(),
        calm_p99: calm.percentile(0.99),
        storm_p99: good(me?)?.percentile(0.99),
    })
}

fn pressure(connections: usize, seconds: f64, pause: Option<Duration>) -> Pressure {
    let duration = Duration::from_secs_f64(seconds);
    Pressure { connections, duration, pause, expect: 200, from: Origin::Each }
}

fn logins() -> Rc<Vec<Request>> {
    Rc::new((0..ACCOUNTS - DISABLED).map(|n| Request::login(&name(n), PASSWORD)).collect())
}

fn good(outcome: Outcome) -> Result<Outcome, Failure> {
    match (outcome.unexpected, outcome.retry_later) {
        (0, 0) => Ok(outcome),
        (bad, later) => Err(format!("{bad} answers were not 200, {later} were 503").into()),
    }
}

/// Returns the number of threads: as many as the gate has permits by default.
fn permits() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    cores.saturating_sub(1).max(1)
}

/// Returns the hashes per second if nothing else runs. Each thread keeps its memory between hashes.
fn hashing_alone(duration: Duration) -> Result<f64, Failure> {
    let params = Params::new(19 * 1024, 2, 1, Some(32)).map_err(|error| error.to_string())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hashes = AtomicU32::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..permits() {
            scope.spawn(|| {
                let mut memory = vec![Block::new(); argon2.params().block_count()];
                let mut output = [0; 32];
                while start.elapsed() < duration {
                    argon2
                        .hash_password_into_with_memory(
                            PASSWORD.as_bytes(),
                            b"sixteen bytes ok",
                            &mut output,
                            &mut memory,
                        )
                        .expect("the parameters are the defaults");
                    hashes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    Ok(f64::from(hashes.into_inner()) / start.elapsed().as_secs_f64())
}
