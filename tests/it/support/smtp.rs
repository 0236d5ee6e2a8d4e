//! A mail server on loopback. It implements as much of RFC 5321 as a client needs, and it can
//! misbehave.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How a server treats its clients.
#[derive(Debug, Clone, Copy)]
pub enum Manners {
    /// Accepts every mail.
    Kind,
    /// Accepts connections and never answers.
    Silent,
    /// Answers every recipient with this text.
    Refuses(&'static str),
}

/// A mail as it was received.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The reverse path.
    pub from: String,
    /// The forward paths.
    pub to: Vec<String>,
    /// Headers and body. Lines end with `\n`.
    pub data: String,
}

impl Mail {
    /// Returns the values of a header, unfolded.
    pub fn header(&self, name: &str) -> Vec<String> {
        let head = self.data.split("\n\n").next().unwrap_or_default().replace("\n ", " ");
        let prefix = format!("{}:", name.to_lowercase());
        head.lines()
            .filter(|line| line.to_lowercase().starts_with(&prefix))
            .map(|line| line[prefix.len()..].trim().to_owned())
            .collect()
    }
}

/// A running server. It stops when this is dropped.
pub struct Smtp {
    pub address: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
    commands: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Smtp {
    pub async fn start(manners: Manners) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), manners).await
    }

    pub async fn start_at(address: SocketAddr, manners: Manners) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (mails, commands) = (Arc::default(), Arc::default());
        let shared = (Arc::clone(&mails), Arc::clone(&commands));
        let task = tokio::spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (mails, commands) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
                served.spawn(async move {
                    // A client that disconnects is not an error of the server.
                    let _ = serve(stream, manners, &mails, &commands).await;
                });
            }
        });
        Self { address, mails, commands, task }
    }

    /// Returns the mails so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the commands of the clients so far, without the mails themselves.
    pub fn commands(&self) -> Vec<String> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: TcpStream,
    manners: Manners,
    mails: &Mutex<Vec<Mail>>,
    commands: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    if matches!(manners, Manners::Silent) {
        while lines.next_line().await?.is_some() {}
        return Ok(());
    }
    write.write_all(b"220 mail.example.com ready\r\n").await?;
    let (mut from, mut to) = (String::new(), Vec::new());
    while let Some(line) = lines.next_line().await? {
        commands.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
        let upper = line.to_uppercase();
        let path = || line.split_once(':').map_or("", |(_, path)| path).trim().to_owned();
        let answer = if upper.starts_with("EHLO") {
            "250-mail.example.com\r\n250-8BITMIME\r\n250 SMTPUTF8".to_owned()
        } else if upper.starts_with("MAIL FROM:") {
            from = path();
            "250 ok".to_owned()
        } else if upper.starts_with("RCPT TO:") {
            match manners {
                Manners::Refuses(answer) => answer.to_owned(),
                _ => {
                    to.push(path());
                    "250 ok".to_owned()
                }
            }
        } else if upper == "DATA" {
            write.write_all(b"354 go on\r\n").await?;
            let mut data = String::new();
            while let Some(line) = lines.next_line().await? {
                if line == "." {
                    break;
                }
                data.push_str(line.strip_prefix('.').unwrap_or(&line));
                data.push('\n');
            }
            let mail = Mail { from: from.clone(), to: std::mem::take(&mut to), data };
            mails.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
            "250 taken".to_owned()
        } else if upper == "QUIT" {
            write.write_all(b"221 bye\r\n").await?;
            return Ok(());
        } else if upper == "RSET" || upper == "NOOP" {
            "250 ok".to_owned()
        } else {
            "502 what".to_owned()
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}
