//! What has little to do with portcullis: arguments, a port, and where the secret is kept.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::net::Ipv4Addr;

use portcullis::Secret;
use tokio::net::TcpListener;

const USAGE: &str = "\
cargo run -p quickstart -- [--db FILE] [--port PORT]

  --db FILE    the SQLite file, made if it is not there (default: quickstart.sqlite)
  --port PORT  the port on 127.0.0.1 (default: the variable PORT, else 3000)
";

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) database: String,
    pub(crate) port: u16,
}

/// None when all that was asked for is this help.
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
            other => return Err(format!("`{other}` is not known here\n\n{USAGE}").into()),
        };
        *target = words.next().ok_or_else(|| format!("`{word}` needs a value\n\n{USAGE}"))?;
    }
    let port = port.parse().map_err(|_| format!("`{port}` is not a port number"))?;
    Ok(Some(Arguments { database, port }))
}

/// The port that was asked for, else any that is free. Loopback only: this is an example.
pub(crate) async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            println!("port {port} is taken by another program, so a free one is used instead");
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
        }
        result => result,
    }
}

/// The secret beside the database: made at the first start, readable by its owner alone. Whoever
/// has it can sign tokens; in production it comes from wherever the other secrets come from.
pub(crate) fn secret(database: &str) -> Result<Secret, Box<dyn Error>> {
    let path = format!("{database}.secret");
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(&path) {
        Ok(mut file) => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes)?;
            file.write_all(&bytes)?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(format!("{path}: {error}").into()),
    }
    let bytes = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
    Ok(Secret::new(bytes).map_err(|error| format!("{path}: {error}"))?)
}
