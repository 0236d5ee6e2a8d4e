//! Code that does not concern portcullis: the arguments and the port.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;

use tokio::net::TcpListener;

const USAGE: &str = "\
cargo run -p quickstart -- [--db FILE] [--port PORT]

  --db FILE    the SQLite file, created if it does not exist (default: quickstart.sqlite)
  --port PORT  the port on 127.0.0.1 (default: the variable PORT, else 3000)
";

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) database: String,
    pub(crate) port: u16,
}

/// `None` after `--help`.
pub(crate) fn arguments() -> Result<Option<Arguments>, Box<dyn Error>> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let (mut database, mut port) = ("quickstart.sqlite".to_owned(), port);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let target = match word.as_str() {
            "--db" => &mut database,
            "--port" => &mut port,
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(None);
            }
            other => return Err(format!("unknown argument `{other}`\n\n{USAGE}").into()),
        };
        *target = words.next().ok_or_else(|| format!("`{word}` needs a value\n\n{USAGE}"))?;
    }
    let port = port.parse().map_err(|_| format!("`{port}` is not a port number"))?;
    Ok(Some(Arguments { database, port }))
}

/// Uses the given port, or any free port if it is taken. Loopback only, because this is an example.
pub(crate) async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            println!("port {port} is in use, so the quickstart uses a free port instead");
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
        }
        result => result,
    }
}
