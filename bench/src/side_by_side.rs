//! Servers compared with each other: one core for the server, one for the load, in several rounds.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;

use crate::data::{Tokens, fill, forge, secret};
use crate::database::{Backend, Database};
use crate::figures::{Goals, Table, median, number};
use crate::load::{Origin, Outcome, Pressure, Request, run};
use crate::process::{Cores, Server, cpu_secs, pin, pin_self};
use crate::server::{Kind, Setup};
use crate::{Failure, Options};

/// One row of the comparison: a server and the requests that it gets.
struct Contestant {
    kind: Kind,
    title: String,
    requests: Rc<Vec<Request>>,
    expect: u16,
    rounds: Vec<Round>,
}

/// The figures of one round.
struct Round {
    per_sec: f64,
    /// Of the server and its database processes, per request.
    cpu_micros: f64,
    p50: f64,
    p99: f64,
}

impl Contestant {
    fn new(kind: Kind, what: &str, path: &str, tokens: &[String], expect: u16) -> Self {
        let requests = if tokens.is_empty() {
            vec![Request::get(path, None)]
        } else {
            tokens.iter().map(|token| Request::get(path, Some(token))).collect()
        };
        let title = format!("{}{what}", kind.title());
        Self { kind, title, requests: Rc::new(requests), expect, rounds: Vec::new() }
    }

    fn median(&self, figure: fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure))
    }

    /// Returns how many requests this server answers for each request of the other, in the same
    /// round.
    fn against(&self, other: &Self) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(mine, theirs)| mine.per_sec / theirs.per_sec))
    }

    fn cpu_against(&self, other: &Self) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(mine, theirs)| mine.cpu_micros / theirs.cpu_micros))
    }
}

/// Returns the rows of the comparison on one database.
fn contestants(backend: Backend, tokens: &Tokens) -> Vec<Contestant> {
    let mut all: Vec<_> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let tokens = match kind {
                Kind::Portcullis | Kind::Forgetful => &tokens.portcullis,
                _ => &tokens.by_hand,
            };
            Contestant::new(kind, "", "/me", tokens, 200)
        })
        .collect();
    for kind in [Kind::Portcullis, Kind::Forgetful] {
        all.push(Contestant::new(kind, ", guarded", "/admin", &tokens.portcullis, 200));
    }
    if backend == Backend::Sqlite {
        // These never reach the database, so one database is enough.
        let forged =
            |tokens: &[String]| tokens.iter().map(|token| forge(token)).collect::<Vec<_>>();
        let (ours, theirs) = (forged(&tokens.portcullis), forged(&tokens.by_hand));
        for (what, ours, theirs) in [
            (", forged", &ours, &theirs),
            (", expired", &tokens.portcullis_expired, &tokens.by_hand_expired),
            (", missing", &Vec::new(), &Vec::new()),
        ] {
            all.push(Contestant::new(Kind::Stateless, what, "/me", theirs, 401));
            all.push(Contestant::new(Kind::Portcullis, what, "/me", ours, 401));
        }
    }
    all
}

/// Measures one database and prints the results.
pub(crate) async fn compare(backend: Backend, options: &Options) -> Result<(), Failure> {
    let Some(database) = Database::create(backend).await? else { return Ok(()) };
    let result = measure(backend, &database, options).await;
    database.remove().await?;
    result
}

async fn measure(backend: Backend, database: &Database, options: &Options) -> Result<(), Failure> {
    let secret = secret()?;
    let tokens = fill(database, &secret).await?;
    pin_self(Cores::Load)?;
    let mut servers = Vec::new();
    for kind in Kind::ALL {
        let url = database.url.clone();
        let setup = Setup::new(kind, url, &secret);
        let server = Server::start(Cores::Server, &setup.arguments())?;
        let helpers = database.processes(&Setup::application(kind)).await?;
        for pid in &helpers {
            pin(*pid, Cores::Server)?;
        }
        servers.push((kind, server, helpers));
    }
    let mut all = contestants(backend, &tokens);
    let warm_up = Options { seconds: options.seconds.min(0.5), ..*options };
    for round in 0..=options.rounds {
        let options = if round == 0 { &warm_up } else { options };
        for contestant in &mut all {
            let of_its_kind = servers.iter().find(|(kind, ..)| *kind == contestant.kind);
            let (_, server, helpers) = of_its_kind.ok_or("every server was started")?;
            let measured = one_round(contestant, server, helpers, options).await?;
            if round > 0 {
                contestant.rounds.push(measured);
            }
        }
    }
    drop(servers);
    pin_self(Cores::All)?;
    print(backend, &all, options);
    Ok(())
}

async fn one_round(
    contestant: &Contestant,
    server: &Server,
    helpers: &[u32],
    options: &Options,
) -> Result<Round, Failure> {
    let pressure = Pressure {
        connections: options.connections,
        duration: Duration::from_secs_f64(options.seconds),
        pause: None,
        expect: contestant.expect,
        from: Origin::One(Ipv4Addr::LOCALHOST),
    };
    let cpu = || server.cpu_secs() + helpers.iter().filter_map(|pid| cpu_secs(*pid)).sum::<f64>();
    let before = cpu();
    let load = run(server.address, &contestant.requests, pressure);
    let outcome: Outcome = LocalSet::new().run_until(load).await?;
    let used = cpu() - before;
    if outcome.unexpected > 0 || outcome.latencies.is_empty() {
        let (title, bad) = (&contestant.title, outcome.unexpected);
        return Err(format!("{title}: {bad} answers were not {}", contestant.expect).into());
    }
    Ok(Round {
        per_sec: outcome.per_sec(),
        cpu_micros: used * 1e6 / outcome.latencies.len() as f64,
        p50: outcome.percentile(0.5),
        p99: outcome.percentile(0.99),
    })
}

fn print(backend: Backend, all: &[Contestant], options: &Options) {
    let title = format!(
        "{}: {} connections, medians of {} rounds of {} s",
        backend.name(),
        options.connections,
        options.rounds,
        number(options.seconds),
    );
    let columns =
        ["server", "requests/s", "CPU µs/request", "p50 ms", "p99 ms", "req/s ÷ (b)", "CPU ÷ (b)"];
    let mut table = Table::new(title, &columns);
    let base = &all[1];
    for one in all {
        table.row([
            one.title.clone(),
            number(one.median(|round| round.per_sec)),
            number(one.median(|round| round.cpu_micros)),
            number(one.median(|round| round.p50)),
            number(one.median(|round| round.p99)),
            number(one.against(base)),
            number(one.cpu_against(base)),
        ]);
    }
    table.print();

    let [_, sqlx, sea_orm, portcullis, _, _, guarded, _, refusals @ ..] = all else { return };
    let mut goals = Goals::new(format!("{}: requests/s, goals", backend.name()));
    match backend {
        Backend::Sqlite => {
            goals.at_least("(d) ÷ (c)", portcullis.against(sea_orm), 0.95);
            goals.at_least("(d) ÷ (b), stretch", portcullis.against(sqlx), 0.90);
        }
        Backend::Postgres => {
            goals.at_least("(d) ÷ (b)", portcullis.against(sqlx), 0.90);
            goals.at_least("(d) ÷ (b), stretch", portcullis.against(sqlx), 0.95);
        }
    }
    goals.at_least("(d) guarded ÷ (d)", guarded.against(portcullis), 0.95);
    for pair in refusals.chunks_exact(2) {
        let name = format!("{} ÷ (f)", pair[1].title);
        goals.at_least(&name, pair[1].against(&pair[0]), 0.95);
    }
    goals.print();
}
