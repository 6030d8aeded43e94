//! How many connections wait in the accept queues of the pod's listening sockets.
//!
//! A server that takes a connection only when it has a worker for it leaves the
//! rest to the kernel, and the kernel shows them to everyone in the pod's network
//! namespace, without any privilege: for a listening socket the *receive queue*
//! is the number of connections that are established and not yet accepted.
//!
//! There are two ways to ask. Netlink (`sock_diag`) can be asked for listening
//! sockets alone and costs some 20 µs. The text in `/proc/net/tcp` is there where
//! netlink is not, but makes the kernel walk the connections of the whole
//! machine, which takes milliseconds: it is read once a second only.

mod diag;
mod proc;

use std::io;
use std::time::Duration;

use thiserror::Error;
use tracing::{debug, warn};

use diag::Diag;

/// Time between two samples by netlink.
pub const PACE: Duration = Duration::from_millis(100);

/// Time between two samples from `/proc`.
pub const PROC_PACE: Duration = Duration::from_secs(1);

/// Samples from `/proc` after which netlink is tried again.
const PROC_SAMPLES: u32 = 60;

/// Why the accept queues could not be read.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The table cannot be opened or read.
    #[error("cannot read {table} ({source}); the accept queue is unknown")]
    Read {
        /// The table.
        table: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// An entry is not as the kernel writes it.
    #[error("an entry of {0} is not as the kernel writes it; the accept queue is unknown")]
    Malformed(&'static str),
    /// There are more listening sockets than any pod has.
    #[error("{0} has more than {max} bytes of listening sockets; the accept queue is unknown", max = proc::TABLE_MAX)]
    TooLarge(&'static str),
}

/// Reads the accept queues by whichever way works.
#[derive(Debug, Default)]
pub struct AcceptQueue {
    diag: Option<Diag>,
    proc_samples_left: u32,
    told: bool,
}

impl AcceptQueue {
    /// Begins with netlink.
    pub const fn new() -> Self {
        Self {
            diag: None,
            proc_samples_left: 0,
            told: false,
        }
    }

    /// Connections that wait to be accepted on the listening sockets of this
    /// network namespace whose local port `counts`.
    ///
    /// # Errors
    /// [`SocketError`] where neither way works.
    pub fn waiting(&mut self, counts: impl Fn(u16) -> bool) -> Result<u64, SocketError> {
        if self.proc_samples_left == 0 {
            match self.by_netlink(&counts) {
                Ok(waiting) => return Ok(waiting),
                Err(why) => {
                    self.diag = None;
                    self.proc_samples_left = PROC_SAMPLES;
                    if !std::mem::replace(&mut self.told, true) {
                        warn!(%why, "reading /proc/net/tcp once a second instead of netlink");
                    }
                }
            }
        }
        self.proc_samples_left -= 1;
        proc::waiting(counts)
    }

    fn by_netlink(&mut self, counts: impl Fn(u16) -> bool) -> Result<u64, SocketError> {
        let diag = match self.diag.take() {
            Some(diag) => diag,
            None => Diag::open().inspect(|_| debug!("reading the accept queues by netlink"))?,
        };
        // Kept only if it works: after a failure answers to old questions may still be under way in it.
        let waiting = diag.waiting(counts)?;
        self.diag = Some(diag);
        Ok(waiting)
    }

    /// How long to wait before the next sample.
    pub const fn pace(&self) -> Duration {
        if self.proc_samples_left == 0 {
            PACE
        } else {
            PROC_PACE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn both_ways_see_the_same_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ours = |port| port == address.port();
        let mut clients = Vec::new();
        let mut queue = AcceptQueue::new();
        for expected in 0..20 {
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while proc::waiting(ours).unwrap() != expected && std::time::Instant::now() < deadline {
                std::thread::yield_now();
            }
            assert_eq!(proc::waiting(ours).unwrap(), expected);
            assert_eq!(queue.waiting(ours).unwrap(), expected);
            clients.push(TcpStream::connect(address).unwrap());
        }
    }

    #[test]
    fn where_netlink_fails_the_text_is_read_and_more_seldom() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut queue = AcceptQueue {
            diag: Some(Diag::broken()),
            ..AcceptQueue::new()
        };
        assert_eq!(queue.pace(), PACE);
        assert_eq!(queue.waiting(|p| p == port).unwrap(), 0);
        assert_eq!(queue.pace(), PROC_PACE);
        for _ in 1..PROC_SAMPLES {
            queue.waiting(|p| p == port).unwrap();
        }
        assert_eq!(queue.pace(), PACE);
    }
}
