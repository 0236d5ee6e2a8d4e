//! Servers in separate processes: starting them, pinning them to cores, and reading their resource
//! use.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::Failure;

/// The cores that a process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    /// The first core, where servers are measured.
    Server,
    /// The second core, which sends the load.
    Load,
    All,
}

impl Cores {
    fn list(self) -> String {
        let all = count();
        match self {
            Self::Server => "0".to_owned(),
            Self::Load => 1.min(all - 1).to_string(),
            Self::All => format!("0-{}", all - 1),
        }
    }
}

/// Returns the number of cores of the machine, even if this process is pinned to some of them.
fn count() -> usize {
    fs::read_to_string("/proc/cpuinfo")
        .map(|text| text.lines().filter(|line| line.starts_with("processor")).count())
        .unwrap_or(1)
        .max(1)
}

/// Pins a process and all its threads.
pub(crate) fn pin(pid: u32, cores: Cores) -> Result<(), Failure> {
    let done = Command::new("taskset")
        .args(["-a", "-p", "-c", &cores.list(), &pid.to_string()])
        .stdout(Stdio::null())
        .status()?;
    if done.success() { Ok(()) } else { Err("taskset could not pin a process".into()) }
}

/// Pins this process.
pub(crate) fn pin_self(cores: Cores) -> Result<(), Failure> {
    pin(std::process::id(), cores)
}

/// A server in a separate process. It ends when this value is dropped, or when this process dies.
pub(crate) struct Server {
    child: Child,
    _lifeline: ChildStdin,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts this program again with these arguments and waits until it listens.
    pub(crate) fn start(cores: Cores, arguments: &[String]) -> Result<Self, Failure> {
        let mut child = Command::new("taskset")
            .args(["-c", &cores.list()])
            .arg(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lifeline = child.stdin.take().ok_or("the child has an input")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("the child has an output")?)
            .read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| format!("no server came up: {line:?}"))?;
        Ok(Self { child, _lifeline: lifeline, address })
    }

    /// Returns the CPU time so far, in seconds.
    pub(crate) fn cpu_secs(&self) -> f64 {
        cpu_secs(self.child.id()).unwrap_or(f64::NAN)
    }

    /// Returns the peak of the resident memory, in MiB.
    pub(crate) fn peak_mib(&self) -> f64 {
        fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .ok()
            .and_then(|text| {
                let line = text.lines().find(|line| line.starts_with("VmHWM:"))?.to_owned();
                line.split_whitespace().nth(1)?.parse::<f64>().ok()
            })
            .map_or(f64::NAN, |kib| kib / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs in the child process: prints its address, and ends the process when the parent is gone.
pub(crate) fn announce(address: SocketAddr) {
    println!("{address}");
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
}

/// Returns the CPU time of a process in seconds, user and system together.
pub(crate) fn cpu_secs(pid: u32) -> Option<f64> {
    // Linux has reported 100 ticks per second on every architecture for decades.
    const TICKS_PER_SEC: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and can contain blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SEC)
}
