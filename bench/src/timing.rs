//! Whether the time of a refused login tells why it was refused.
//!
//! Unknown names, wrong passwords and disabled accounts take turns in random order, one at a time,
//! and Welch's t compares their times: |t| below 4.5 is no difference that these samples can show.
//! It is computed on all samples and on those below the 90th percentile, where the noise of the
//! machine does not hide a small difference.

use tokio::task::LocalSet;

use crate::data::{ACCOUNTS, DISABLED, PASSWORD, fill, name, secret};
use crate::database::{Backend, Database};
use crate::figures::{Goals, Table, number, percentile};
use crate::load::{Connection, Request};
use crate::process::{Cores, Server, pin_self};
use crate::server::{Kind, Setup};
use crate::{Failure, Options};

const THRESHOLD: f64 = 4.5;

#[derive(Clone, Copy)]
enum Refusal {
    Unknown,
    Wrong,
    Disabled,
}

impl Refusal {
    const ALL: [Self; 3] = [Self::Unknown, Self::Wrong, Self::Disabled];

    fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown name",
            Self::Wrong => "wrong password",
            Self::Disabled => "disabled account",
        }
    }

    /// Names and passwords of the same length, so that nothing but the account differs.
    fn request(self, number: usize) -> Request {
        let wrong = PASSWORD.replace("horses", "houses");
        match self {
            Self::Unknown => Request::login(&name(ACCOUNTS + number), PASSWORD),
            Self::Wrong => Request::login(&name(number % (ACCOUNTS - DISABLED)), &wrong),
            Self::Disabled => {
                Request::login(&name(ACCOUNTS - DISABLED + number % DISABLED), PASSWORD)
            }
        }
    }
}

/// Measures and prints, on SQLite.
pub(crate) async fn measure(options: &Options) -> Result<(), Failure> {
    let database = Database::create(Backend::Sqlite).await?.ok_or("SQLite needs nothing")?;
    let secret = secret()?;
    fill(&database, &secret).await?;
    let url = database.url.clone();
    let setup = Setup { kind: Kind::Portcullis, url, secret, hash_queue: None };
    pin_self(Cores::Load)?;
    let server = Server::start(Cores::Server, &setup.arguments())?;
    let samples = LocalSet::new().run_until(collect(&server, options.samples)).await?;
    pin_self(Cores::All)?;
    print(&samples);
    Ok(())
}

/// Milliseconds of each kind.
async fn collect(server: &Server, count: usize) -> Result<[Vec<f64>; 3], Failure> {
    let mut connection = Connection::open(server.address).await?;
    let mut samples = [const { Vec::new() }; 3];
    for number in 0..count + 10 {
        for kind in in_random_order()? {
            let answer = connection.send(&Refusal::ALL[kind].request(number)).await?;
            if answer.status != 401 {
                let name = Refusal::ALL[kind].name();
                return Err(format!("{name}: {} instead of 401", answer.status).into());
            }
            // The first ones warm up.
            if number >= 10 {
                samples[kind].push(answer.took.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(samples)
}

fn in_random_order() -> Result<[usize; 3], Failure> {
    const ORDERS: [[usize; 3]; 6] =
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let at = getrandom::u32().map_err(|error| error.to_string())?;
    Ok(ORDERS[at as usize % ORDERS.len()])
}

fn print(samples: &[Vec<f64>; 3]) {
    let limit = percentile(samples.iter().flatten().copied(), 0.9);
    let cropped = samples
        .each_ref()
        .map(|all| all.iter().copied().filter(|took| *took < limit).collect::<Vec<_>>());
    let columns = ["refused login", "samples", "mean ms", "median ms"];
    let mut table = Table::new("Timing of refused logins", &columns);
    for (kind, samples) in Refusal::ALL.iter().zip(samples) {
        let middle = percentile(samples.iter().copied(), 0.5);
        let mean = Moments::of(samples).mean;
        table.row([kind.name(), &samples.len().to_string(), &number(mean), &number(middle)]);
    }
    table.print();
    let columns = ["pair", "difference µs", "± 95 % µs", "t, all", "t, below the 90th percentile"];
    let mut table = Table::new("Welch's t", &columns);
    let mut goals = Goals::new("Timing: goals");
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        let name = format!("{} – {}", Refusal::ALL[a].name(), Refusal::ALL[b].name());
        let (all, low) = (welch(&samples[a], &samples[b]), welch(&cropped[a], &cropped[b]));
        table.row([
            name.clone(),
            number(low.difference * 1e3),
            number(low.error * 1.96 * 1e3),
            number(all.t()),
            number(low.t()),
        ]);
        goals.at_most(&format!("{name}: \\|t\\|"), all.t().abs().max(low.t().abs()), THRESHOLD);
    }
    table.print();
    goals.print();
}

struct Moments {
    mean: f64,
    /// Of the mean.
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

/// The difference of two means and its standard error.
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
