//! A slow mail server.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;

/// The time that it takes for each mail.
pub(crate) const SLOW: Duration = Duration::from_secs(2);

/// Listens on a free port until the program ends. It needs a `LocalSet`.
pub(crate) async fn start() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(serve(stream));
        }
    });
    Ok(port)
}

/// Accepts every mail and stores none.
async fn serve(stream: TcpStream) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 bench\r\n").await?;
    let (mut line, mut in_mail) = (String::new(), false);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match line.trim_end() {
            "." => {
                in_mail = false;
                tokio::time::sleep(SLOW).await;
                "250 taken\r\n"
            }
            _ if in_mail => continue,
            "DATA" => {
                in_mail = true;
                "354 go on\r\n"
            }
            _ => "250 bench\r\n",
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}
