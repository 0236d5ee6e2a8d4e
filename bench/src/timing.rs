//! Does the time of an answer reveal what the answer does not say?
//!
//! The cases of a flow run in random order, one at a time. Welch's t compares the times of each
//! case with those of the first. If |t| is below 4.5, these samples show no difference. The value
//! is computed on all samples, and on those below the 90th percentile. There the noise of the
//! machine does not hide a small difference.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use sea_orm::ConnectionTrait;
use tokio::task::{JoinHandle, LocalSet};

use crate::data::{ACCOUNTS, PASSWORD, fill, name, secret};
use crate::database::{Backend, Database, connect};
use crate::figures::{Goals, Table, number, percentile};
use crate::load::{Connection, Request};
use crate::process::{Cores, Server, pin_self};
use crate::server::{Kind, Setup};
use crate::slow_mail;
use crate::{Failure, Options};

const THRESHOLD: f64 = 4.5;
/// The largest ratio between two medians.
const MEDIANS: f64 = 1.05;
/// The number of failures that lock a subject, by default.
const LOCKS: usize = 15;
/// The number of connections that keep the gate busy.
const BUSY: usize = 4;
/// No account has a number from here on. All numbers have five digits, so that only the account
/// differs.
const UNKNOWN: usize = ACCOUNTS;

/// The numbers of the accounts in one state. One case uses them in turn.
#[derive(Clone, Copy)]
struct Range {
    from: usize,
    width: usize,
}

impl Range {
    const fn new(from: usize, width: usize) -> Self {
        Self { from, width }
    }

    fn name(self, number: usize) -> String {
        name(self.from + number % self.width)
    }

    fn email(self, number: usize) -> String {
        format!("{}@example.com", self.name(number))
    }
}

/// Whether other clients keep the gate of the hashes busy during the measurement.
#[derive(Clone, Copy, PartialEq)]
enum Gate {
    Free,
    /// Other clients sign in from another address as fast as they can, so each answer waits for its
    /// turn.
    Busy,
}

struct Case {
    name: &'static str,
    request: fn(usize) -> Request,
}

/// A flow that gives the same answer in all of its cases.
struct Flow {
    title: &'static str,
    status: u16,
    gate: Gate,
    /// Each case is compared with the first.
    cases: &'static [Case],
}

const FLOWS: [Flow; 8] = [
    Flow {
        title: "refused logins",
        status: 401,
        gate: Gate::Free,
        cases: &[
            Case { name: "wrong password", request: |n| wrong(Range::new(0, 2_900).name(n)) },
            Case { name: "unknown name", request: |n| wrong(Range::new(UNKNOWN, 40_000).name(n)) },
            Case { name: "disabled account", request: |n| right(Range::new(9_000, 400).name(n)) },
            Case {
                name: "unverified account",
                request: |n| right(Range::new(5_000, 1_000).name(n)),
            },
            Case {
                name: "account without password",
                request: |n| wrong(Range::new(8_000, 1_000).name(n)),
            },
            Case { name: "locked account", request: |n| right(LOCKED.name(n)) },
            Case { name: "locked unknown name", request: |n| right(LOCKED_UNKNOWN.name(n)) },
        ],
    },
    Flow {
        title: "refused logins, gate busy",
        status: 401,
        gate: Gate::Busy,
        cases: &[
            Case { name: "wrong password", request: |n| wrong(Range::new(0, 2_900).name(n)) },
            Case { name: "unknown name", request: |n| wrong(Range::new(UNKNOWN, 40_000).name(n)) },
            Case { name: "disabled account", request: |n| right(Range::new(9_000, 400).name(n)) },
            Case { name: "locked account", request: |n| right(LOCKED.name(n)) },
            Case { name: "locked unknown name", request: |n| right(LOCKED_UNKNOWN.name(n)) },
        ],
    },
    Flow {
        title: "passwords that are too long",
        status: 401,
        gate: Gate::Free,
        cases: &[
            Case { name: "account", request: |n| too_long(Range::new(0, 2_900).name(n)) },
            Case {
                name: "unknown name",
                request: |n| too_long(Range::new(UNKNOWN, 40_000).name(n)),
            },
            Case {
                name: "disabled account",
                request: |n| too_long(Range::new(9_000, 400).name(n)),
            },
            Case {
                name: "account without password",
                request: |n| too_long(Range::new(8_000, 1_000).name(n)),
            },
            Case { name: "locked account", request: |n| too_long(LOCKED.name(n)) },
            Case { name: "locked unknown name", request: |n| too_long(LOCKED_UNKNOWN.name(n)) },
        ],
    },
    Flow {
        title: "forgotten passwords",
        status: 202,
        gate: Gate::Free,
        cases: &[
            Case { name: "account", request: |n| forgot(Range::new(3_000, 1_000).email(n)) },
            Case {
                name: "unknown address",
                request: |n| forgot(Range::new(60_000, 9_000).email(n)),
            },
            Case { name: "disabled account", request: |n| forgot(Range::new(9_400, 300).email(n)) },
        ],
    },
    Flow {
        title: "mail-login",
        status: 202,
        gate: Gate::Free,
        cases: &[
            Case { name: "account", request: |n| mail_login(Range::new(3_000, 1_000).email(n)) },
            Case {
                name: "unknown address",
                request: |n| mail_login(Range::new(60_000, 9_000).email(n)),
            },
            Case {
                name: "unverified account",
                request: |n| mail_login(Range::new(5_000, 1_000).email(n)),
            },
            Case {
                name: "disabled account",
                request: |n| mail_login(Range::new(9_400, 300).email(n)),
            },
        ],
    },
    Flow {
        title: "strict registration",
        status: 202,
        gate: Gate::Free,
        cases: &[
            Case {
                name: "free address",
                request: |n| register(Range::new(70_000, 9_000).email(n)),
            },
            Case {
                name: "verified account",
                request: |n| register(Range::new(4_000, 500).email(n)),
            },
            Case {
                name: "unverified account",
                request: |n| register(Range::new(6_000, 1_000).email(n)),
            },
            Case {
                name: "disabled account",
                request: |n| register(Range::new(9_700, 300).email(n)),
            },
        ],
    },
    Flow {
        title: "asking for a proof",
        status: 202,
        gate: Gate::Free,
        cases: &[
            Case {
                name: "unverified account",
                request: |n| verify(Range::new(7_000, 1_000).email(n)),
            },
            Case {
                name: "unknown address",
                request: |n| verify(Range::new(80_000, 9_000).email(n)),
            },
            Case { name: "verified account", request: |n| verify(Range::new(4_500, 500).email(n)) },
        ],
    },
    // This must follow the flow before it, which sends codes to the unverified accounts.
    Flow {
        title: "wrong codes",
        status: 403,
        gate: Gate::Free,
        cases: &[
            Case {
                name: "unverified account with a code",
                request: |n| code(Range::new(7_000, 1_000).email(n)),
            },
            Case {
                name: "unverified account without one",
                request: |n| code(Range::new(5_000, 1_000).email(n)),
            },
            Case { name: "unknown address", request: |n| code(Range::new(60_000, 9_000).email(n)) },
            Case { name: "verified account", request: |n| code(Range::new(0, 2_900).email(n)) },
            Case { name: "disabled account", request: |n| code(Range::new(9_000, 1_000).email(n)) },
        ],
    },
];

const LOCKED: Range = Range::new(2_900, 8);
const LOCKED_UNKNOWN: Range = Range::new(90_000, 8);

fn right(name: String) -> Request {
    Request::login(&name, PASSWORD)
}

/// A wrong password with the same length as the right one.
fn wrong(name: String) -> Request {
    Request::login(&name, &PASSWORD.replace("horses", "houses"))
}

/// A password that is longer than any password may be.
fn too_long(name: String) -> Request {
    Request::login(&name, &PASSWORD.repeat(1_100 / PASSWORD.len() + 1))
}

fn code(email: String) -> Request {
    let body = format!(r#"{{"email":"{email}","code":"00000000"}}"#);
    Request::post("/auth/verification/confirm", &body)
}

fn forgot(email: String) -> Request {
    Request::post("/auth/password/forgot", &format!(r#"{{"login":"{email}"}}"#))
}

fn mail_login(email: String) -> Request {
    Request::post("/auth/login/mail", &format!(r#"{{"login":"{email}"}}"#))
}

fn register(email: String) -> Request {
    let body = format!(r#"{{"email":"{email}","password":"{PASSWORD}"}}"#);
    Request::post("/auth/register", &body)
}

fn verify(email: String) -> Request {
    Request::post("/auth/verification", &format!(r#"{{"email":"{email}"}}"#))
}

/// Every account gets an address. The accounts 5 000 to 7 999 are not verified, 8 000 to 8 999 have
/// no password, and the last thousand is disabled, as in all parts of the bench.
const STATES: [&str; 2] = [
    "UPDATE auth_account SET email = username || '@example.com', \
     verified_at = CASE WHEN username >= 'user05000' AND username < 'user08000' THEN NULL ELSE 1 END, \
     password_hash = CASE WHEN username >= 'user08000' AND username < 'user09000' \
                          THEN NULL ELSE password_hash END",
    "INSERT INTO auth_login_name (normal, account_id, kind, verified_at, created_at) \
     SELECT email, id, 2, verified_at, created_at FROM auth_account",
];

/// Measures one database and prints the results.
pub(crate) async fn compare(backend: Backend, options: &Options) -> Result<(), Failure> {
    let Some(database) = Database::create(backend).await? else { return Ok(()) };
    let result = LocalSet::new().run_until(measure(backend, &database, options)).await;
    pin_self(Cores::All)?;
    database.remove().await?;
    result
}

async fn measure(backend: Backend, database: &Database, options: &Options) -> Result<(), Failure> {
    let secret = secret()?;
    fill(database, &secret).await?;
    let db = connect(&database.url, "bench-data", 1).await?;
    for text in STATES {
        db.execute_unprepared(text).await?;
    }
    db.close().await?;
    let mut setup = Setup::new(Kind::Portcullis, &database.url, secret);
    setup.mail = Some(slow_mail::start().await?);
    pin_self(Cores::Load)?;
    let server = Server::start(Cores::Server, &setup.arguments())?;
    let mut connection = Connection::open(server.address).await?;
    for number in 0..LOCKED.width * LOCKS {
        for range in [LOCKED, LOCKED_UNKNOWN] {
            let answer = connection.send(&wrong(range.name(number))).await?;
            if answer.status != 401 {
                return Err(format!("{} instead of 401", answer.status).into());
            }
        }
    }
    let mut goals = Goals::new(format!("{}: timing, goals", backend.name()));
    let wanted = |flow: &&Flow| options.flow.split(',').any(|text| flow.title.contains(text));
    for flow in FLOWS.iter().filter(wanted) {
        let over = Rc::new(Cell::new(false));
        let (busy, count) = match flow.gate {
            Gate::Free => (None, options.samples),
            // Each sample takes several times as long.
            Gate::Busy => (Some(keep_busy(server.address, &over).await?), options.samples / 4),
        };
        let samples = collect(&mut connection, flow, count).await?;
        over.set(true);
        for task in busy.into_iter().flatten() {
            task.await??;
        }
        print(backend, flow, &samples, &mut goals);
    }
    goals.print();
    Ok(())
}

/// Signs in from another address until `over` is true.
async fn keep_busy(
    address: SocketAddr,
    over: &Rc<Cell<bool>>,
) -> Result<Vec<JoinHandle<Result<(), Failure>>>, Failure> {
    let mut tasks = Vec::new();
    for number in 0..BUSY {
        let source = Ipv4Addr::new(127, 0, 0, 2);
        let mut connection = Connection::open_from(source, address).await?;
        let over = Rc::clone(over);
        tasks.push(tokio::task::spawn_local(async move {
            let login = right(Range::new(100 * number, 1).name(0));
            while !over.get() {
                connection.send(&login).await?;
            }
            Ok(())
        }));
    }
    Ok(tasks)
}

/// Returns the times of each case, in milliseconds.
async fn collect(
    connection: &mut Connection,
    flow: &Flow,
    count: usize,
) -> Result<Vec<Vec<f64>>, Failure> {
    let mut samples = vec![Vec::new(); flow.cases.len()];
    let mut order: Vec<usize> = (0..flow.cases.len()).collect();
    for number in 0..count + 10 {
        shuffle(&mut order)?;
        for at in order.iter().copied() {
            let case = &flow.cases[at];
            let answer = connection.send(&(case.request)(number)).await?;
            if answer.status != flow.status {
                let (name, status) = (case.name, flow.status);
                return Err(format!("{name}: {} instead of {status}", answer.status).into());
            }
            // The first ten requests only warm up.
            if number >= 10 {
                samples[at].push(answer.took.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(samples)
}

fn shuffle(order: &mut [usize]) -> Result<(), Failure> {
    for end in (1..order.len()).rev() {
        let drawn = getrandom::u32().map_err(|error| error.to_string())?;
        order.swap(end, drawn as usize % (end + 1));
    }
    Ok(())
}

fn print(backend: Backend, flow: &Flow, samples: &[Vec<f64>], goals: &mut Goals) {
    let limit = percentile(samples.iter().flatten().copied(), 0.9);
    let below = |all: &[f64]| all.iter().copied().filter(|took| *took < limit).collect::<Vec<_>>();
    let medians: Vec<_> = samples.iter().map(|all| percentile(all.iter().copied(), 0.5)).collect();
    let columns = [
        "case",
        "samples",
        "mean ms",
        "median ms",
        "÷",
        "difference µs",
        "± 95 % µs",
        "t, all",
        "t, below the 90th percentile",
    ];
    let mut table = Table::new(format!("{}: {}", backend.name(), flow.title), &columns);
    for (at, case) in flow.cases.iter().enumerate() {
        let (all, low) =
            (welch(&samples[at], &samples[0]), welch(&below(&samples[at]), &below(&samples[0])));
        let ratio = medians[at] / medians[0];
        let compared = [ratio, low.difference * 1e3, low.error * 1.96 * 1e3, all.t(), low.t()];
        let compared = compared.map(|figure| if at == 0 { String::new() } else { number(figure) });
        let mean = Moments::of(&samples[at]).mean;
        let figures = [samples[at].len().to_string(), number(mean), number(medians[at])];
        table.row([case.name.to_owned()].into_iter().chain(figures).chain(compared));
        if at > 0 {
            let name = format!("{}: {}", flow.title, case.name);
            let t = all.t().abs().max(low.t().abs());
            goals.at_most(&format!("{name}, \\|t\\|"), t, THRESHOLD);
            goals.at_most(&format!("{name}, medians"), ratio.max(1.0 / ratio), MEDIANS);
        }
    }
    table.print();
}

struct Moments {
    mean: f64,
    /// The variance of the mean.
    variance: f64,
}

impl Moments {
    fn of(samples: &[f64]) -> Self {
        let count = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / count;
        let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
        Self { mean, variance: squares / (count - 1.0) / count }
    }
}

/// The difference of two means, and its standard error.
struct Welch {
    difference: f64,
    error: f64,
}

impl Welch {
    fn t(&self) -> f64 {
        self.difference / self.error
    }
}

fn welch(a: &[f64], b: &[f64]) -> Welch {
    let (a, b) = (Moments::of(a), Moments::of(b));
    Welch { difference: a.mean - b.mean, error: (a.variance + b.variance).sqrt() }
}
