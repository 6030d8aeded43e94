//! One request, one connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::tally::Outcome;
use super::target::Target;

/// The most that is read of an answer; more is a failure.
const ANSWER_MAX: u64 = 64 * 1024;

/// Sends a request that was due at `due` and reads the answer to its end.
pub(super) async fn ask(target: &Target, due: Instant, timeout: Duration) -> Outcome {
    match timeout_at(due + timeout, converse(target)).await {
        Ok(Ok(true)) => Outcome::Answered(due.elapsed()),
        Ok(Ok(false) | Err(_)) => Outcome::Failed,
        Err(_) => Outcome::TimedOut,
    }
}

/// Whether the answer is a whole one with status 200.
async fn converse(target: &Target) -> io::Result<bool> {
    let mut stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    let Target { address, path, .. } = target;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(256);
    let read = stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    let good = answer.starts_with(b"HTTP/1.1 200 ") || answer.starts_with(b"HTTP/1.0 200 ");
    Ok(good && (read as u64) < ANSWER_MAX)
}
