//! What portcullis costs, compared with hand-written code. See `bench/README.md`.

use std::error::Error;

use jsonwebtoken::crypto;

use crate::database::Backend;
use crate::server::Setup;

mod alloc;
mod by_hand;
mod data;
mod database;
mod figures;
mod grants;
mod hs256;
mod in_process;
mod load;
mod process;
mod server;
mod side_by_side;
mod slow_mail;
mod storm;
mod timing;

type Failure = Box<dyn Error + Send + Sync>;

const USAGE: &str = "\
bench all | servers | inprocess | grants | hs256 | storm | timing [--option value ..]

  --seconds S        how long one stretch of load lasts (3)
  --rounds N         how often everything is measured in turn (5)
  --connections N    of the load (64)
  --samples N        of each case in `timing` (1000)
  --flow TEXTS       only flows of `timing` whose title has one of these, with commas between
  --database NAME    sqlite, postgres or both (both)";

/// The options of the command line.
#[derive(Debug, Clone, Copy)]
struct Options {
    seconds: f64,
    rounds: usize,
    connections: usize,
    samples: usize,
    /// Empty for all flows.
    flow: &'static str,
    backends: &'static [Backend],
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut options = Self {
            seconds: 3.0,
            rounds: 5,
            connections: 64,
            samples: 1_000,
            flow: "",
            backends: &[Backend::Sqlite, Backend::Postgres],
        };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return Err(USAGE.into()) };
            match name.as_str() {
                "--seconds" => options.seconds = value.parse()?,
                "--rounds" => options.rounds = value.parse()?,
                "--connections" => options.connections = value.parse()?,
                "--samples" => options.samples = value.parse()?,
                "--flow" => options.flow = value.clone().leak(),
                "--database" => {
                    options.backends = match value.as_str() {
                        "sqlite" => &[Backend::Sqlite],
                        "postgres" => &[Backend::Postgres],
                        "both" => options.backends,
                        _ => return Err(USAGE.into()),
                    }
                }
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else { return Err(USAGE.into()) };
    if command == "hs256-backend" {
        return hs256::measure(rest);
    }
    // This is the default of the library. `hs256` measures the other backend.
    let _ = crypto::rust_crypto::DEFAULT_PROVIDER.install_default();
    if command == "serve" {
        let setup = Setup::from_arguments(rest)?;
        return tokio::runtime::Runtime::new()?.block_on(server::serve(setup));
    }
    let options = Options::parse(rest)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(command, &options))
}

async fn run(command: &str, options: &Options) -> Result<(), Failure> {
    let all = command == "all";
    let mut known = all;
    if all || command == "inprocess" {
        in_process::measure(options).await?;
        known = true;
    }
    if all || command == "grants" {
        for backend in options.backends {
            grants::measure(*backend, options).await?;
        }
        known = true;
    }
    if all || command == "hs256" {
        hs256::compare()?;
        known = true;
    }
    if all || command == "servers" {
        for backend in options.backends {
            side_by_side::compare(*backend, options).await?;
        }
        known = true;
    }
    if all || command == "storm" {
        for backend in options.backends {
            storm::compare(*backend, options).await?;
        }
        known = true;
    }
    if all || command == "timing" {
        for backend in options.backends {
            timing::compare(*backend, options).await?;
        }
        known = true;
    }
    if known { Ok(()) } else { Err(USAGE.into()) }
}
