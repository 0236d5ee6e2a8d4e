//! A server program that a test starts and ends.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use tokio::net::TcpStream;

/// A running program. It ends with the test.
pub struct Program {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Program {
    /// Starts a program with its own directory, and waits until it listens on this address.
    pub async fn start(launch: impl Fn(&Path, SocketAddr) -> Child) -> Self {
        let mut log = String::new();
        // Another program may take the port first. Then this program ends at once.
        for _ in 0..10 {
            let address = free_port();
            let directory = tempfile::tempdir().expect("a directory");
            let process = launch(directory.path(), address);
            let mut program = Self { process, address, directory };
            if program.listens().await {
                return program;
            }
            log = program.log();
        }
        panic!("it does not start: {log}");
    }

    /// Waits until the program listens. False if it has ended.
    async fn listens(&mut self) -> bool {
        let listening = async {
            while self.runs() {
                if TcpStream::connect(self.address).await.is_ok() {
                    // Perhaps another program listens there. Then this program is about to end.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    return self.runs();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            false
        };
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, listening).await.expect("the program listens or ends")
    }

    fn runs(&mut self) -> bool {
        self.process.try_wait().expect("its state is known").is_none()
    }

    /// Returns what it wrote into `error.log` of its directory.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default()
    }
}

fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// Replaces a part of a printed configuration. The part must be there.
pub fn replaced(text: &str, part: &str, with: &str) -> String {
    assert!(text.contains(part), "the printed configuration has no `{part}`");
    text.replace(part, with)
}
