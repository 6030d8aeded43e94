//! One worker: accept, read, spend, answer, close.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::Figures;
use super::request::{Asked, parse};
use crate::cpu;

/// The longest head of a request.
const HEAD_MAX: usize = 8 * 1024;

/// Time for a client to send its head, and to take its answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pause after a failure to accept, which is never a single client's.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `listener`, one connection at a time, for ever.
pub(super) fn serve(listener: &TcpListener, cost: Duration, figures: &Figures) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                figures.in_flight.inc();
                let outcome = converse(stream, cost).unwrap_or_else(|why| {
                    debug!(%why, "a client was lost");
                    "abandoned"
                });
                figures.in_flight.dec();
                figures.requests.with_label_values(&[outcome]).inc();
            }
            Err(why) if why.kind() == ErrorKind::ConnectionAborted => {}
            Err(why) => {
                warn!(%why, "no connection can be accepted; trying again");
                std::thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

fn converse(mut stream: TcpStream, cost: Duration) -> io::Result<&'static str> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (status, body, outcome) = match parse(&read_head(&mut stream)?) {
        // Work for a client that gave up while it waited helps nobody, and
        // under overload there would soon be no other work.
        Asked::Work(_) if has_left(&stream)? => return Ok("abandoned"),
        Asked::Work(own) => {
            cpu::spend(own.unwrap_or(cost));
            ("200 OK", "done\n", "ok")
        }
        Asked::NotFound => ("404 Not Found", "GET /work?ms=12\n", "refused"),
        Asked::Malformed => (
            "400 Bad Request",
            "GET /work?ms=12, ms from 0 to 1000\n",
            "refused",
        ),
    };
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes())?;
    Ok(outcome)
}

/// Reads up to the empty line. What is too long or too late is cut, and then malformed.
fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = Vec::with_capacity(512);
    let mut part = [0; 512];
    while head.len() < HEAD_MAX && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => head.extend_from_slice(part.get(..read).unwrap_or_default()),
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(head)
}

/// Whether the client has closed its side.
fn has_left(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let left = match stream.peek(&mut [0]) {
        Ok(read) => read == 0,
        Err(why) => why.kind() != ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false)?;
    Ok(left)
}
