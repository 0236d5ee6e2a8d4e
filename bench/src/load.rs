//! The load: a plain HTTP/1.1 client that keeps its connections open and does nothing else.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::Failure;
use crate::figures::percentile;

/// The user agent of the client. It is as long as that of browsers, and the sessions are started
/// with the same one.
pub(crate) const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// One request, ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    pub(crate) fn get(path: &str, token: Option<&str>) -> Self {
        let cookie =
            token.map_or_else(String::new, |token| format!("cookie: __Host-session={token}\r\n"));
        Self(
            format!(
                "GET {path} HTTP/1.1\r\nhost: bench\r\nuser-agent: {USER_AGENT}\r\n\
                 accept: */*\r\n{cookie}\r\n"
            )
            .into_bytes(),
        )
    }

    pub(crate) fn login(name: &str, password: &str) -> Self {
        let body = format!(r#"{{"login":"{name}","password":"{password}"}}"#);
        Self::post("/auth/login", &body)
    }

    /// Builds a JSON request that comes from a page of the service itself.
    pub(crate) fn post(path: &str, body: &str) -> Self {
        Self(
            format!(
                "POST {path} HTTP/1.1\r\nhost: bench\r\nuser-agent: {USER_AGENT}\r\n\
                 sec-fetch-site: same-origin\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    }
}

/// The parts of an answer that are checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: bool,
    pub(crate) took: Duration,
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        Self::open_from(Ipv4Addr::LOCALHOST, address).await
    }

    /// Opens a connection from this address. All addresses in 127.0.0.0/8 belong to this machine.
    pub(crate) async fn open_from(source: Ipv4Addr, address: SocketAddr) -> Result<Self, Failure> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    pub(crate) async fn send(&mut self, request: &Request) -> Result<Answer, Failure> {
        let start = Instant::now();
        self.stream.write_all(&request.0).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server hung up".into());
            }
            if let Some((status, retry_after)) = complete(&self.buffer) {
                return Ok(Answer { status, retry_after, took: start.elapsed() });
            }
        }
    }
}

/// Returns the status and whether there is a `retry-after`, once head and body are complete.
fn complete(answer: &[u8]) -> Option<(u16, bool)> {
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..head_end]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let mut length = 0;
    let mut retry_after = false;
    for line in head.split("\r\n").skip(1) {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
        retry_after |= name.eq_ignore_ascii_case("retry-after");
    }
    (answer.len() >= head_end + 4 + length).then_some((status, retry_after))
}

/// The answers of one measurement.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// In milliseconds.
    pub(crate) latencies: Vec<f64>,
    pub(crate) secs: f64,
    pub(crate) unexpected: usize,
    pub(crate) retry_later: usize,
}

impl Outcome {
    pub(crate) fn per_sec(&self) -> f64 {
        self.latencies.len() as f64 / self.secs
    }

    pub(crate) fn percentile(&self, share: f64) -> f64 {
        percentile(self.latencies.iter().copied(), share)
    }
}

/// How much load to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pressure {
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    /// The pause after every answer. `None` sends the next request at once.
    pub(crate) pause: Option<Duration>,
    /// The status of a correct answer.
    pub(crate) expect: u16,
    pub(crate) from: Origin,
}

/// The source addresses of the connections.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin {
    /// All connections use this address.
    One(Ipv4Addr),
    /// Each connection has an address of its own, like real users.
    Each,
}

impl Origin {
    fn address(self, number: usize) -> Ipv4Addr {
        match self {
            Self::One(address) => address,
            Self::Each => {
                let [high, low] = (number as u16).to_be_bytes();
                Ipv4Addr::new(127, 1, high, low)
            }
        }
    }
}

/// Sends the requests in turn over several connections until the time has passed. Each connection
/// waits for its answer before it sends the next request. It needs a `LocalSet`.
pub(crate) async fn run(
    address: SocketAddr,
    requests: &Rc<Vec<Request>>,
    pressure: Pressure,
) -> Result<Outcome, Failure> {
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let mut connections = Vec::new();
    for number in 0..pressure.connections {
        connections.push(Connection::open_from(pressure.from.address(number), address).await?);
    }
    let start = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(number, mut connection)| {
            let requests = Rc::clone(requests);
            let outcome = Rc::clone(&outcome);
            tokio::task::spawn_local(async move {
                // Each connection starts at another request, so that all sessions are in use at
                // once.
                let mut at = number * requests.len() / pressure.connections;
                while start.elapsed() < pressure.duration {
                    let answer = connection.send(&requests[at % requests.len()]).await?;
                    at += 1;
                    let mut outcome = outcome.borrow_mut();
                    if answer.status == pressure.expect {
                        outcome.latencies.push(answer.took.as_secs_f64() * 1e3);
                    } else if answer.status == 503 && answer.retry_after {
                        outcome.retry_later += 1;
                    } else {
                        outcome.unexpected += 1;
                    }
                    drop(outcome);
                    if let Some(pause) = pressure.pause {
                        tokio::time::sleep(pause).await;
                    }
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let mut outcome = outcome.take();
    outcome.secs = start.elapsed().as_secs_f64();
    Ok(outcome)
}
