//! Connections with bytes that the application has not read.
//!
//! A server that keeps its connections has an empty accept queue however slow it is: the next
//! request comes on a connection that was accepted long ago, and lies in its receive queue.
//!
//! To see them the kernel walks the machine's whole table of connections: 200 to 370 µs with
//! 262,144 buckets (24 GiB of memory), and more the more connections there are. So that is done as
//! seldom as [`Pace`] asks, here every two to four seconds, and five times as often once there is one: then a queue
//! is heard of in seconds. What is seen so seldom jumps about, so only what stands counts ([`Standing`]).

use std::time::{Duration, Instant};

use super::diag::{Diag, ESTABLISHED, LISTEN};
use super::{SocketError, proc};
use crate::mean::Standing;
use crate::pace::Pace;

/// The least time between two samples while nothing is unread.
const PAUSE: Duration = Duration::from_secs(1);

/// The least time between two samples while something is.
pub const HASTE: Duration = Duration::from_millis(400);

/// The longest that one sample counts.
const STALE: Duration = Duration::from_mins(1);

/// Reads the receive queues by whichever way works.
#[derive(Debug)]
pub struct ReceiveQueue {
    diag: Option<Diag>,
    ports: Vec<u16>,
    pace: Pace,
    standing: Standing,
    /// Whether the last sample saw any.
    is_any: bool,
    newest: Option<(u64, Instant)>,
}

impl ReceiveQueue {
    /// Begins with netlink.
    pub fn new() -> Self {
        Self {
            diag: None,
            ports: Vec::new(),
            pace: Pace::new(PAUSE),
            standing: Standing::default(),
            is_any: false,
            newest: None,
        }
    }

    /// Whether it is time to look again.
    pub fn is_due(&self, now: Instant) -> bool {
        if self.is_any {
            self.pace.is_due_in_haste(now, HASTE)
        } else {
            self.pace.is_due(now)
        }
    }

    /// Looks again.
    ///
    /// # Errors
    /// [`SocketError`] where neither way works.
    pub fn sample(
        &mut self,
        now: Instant,
        counts: impl Fn(u16) -> bool,
    ) -> Result<(), SocketError> {
        let Self {
            diag, ports, pace, ..
        } = self;
        let outcome = pace.run(now, || unread(diag, ports, counts));
        let seen = outcome.as_ref().ok().copied().flatten();
        self.is_any = seen.is_some_and(|unread| unread > 0);
        let standing = self.standing.update(seen, now);
        self.newest = standing.map(|standing| (standing, now));
        outcome.map(drop)
    }

    /// Accepted connections on the pod's listening ports that have unread bytes most of the time. None where there is no such port, and where it is not known or was too long ago.
    pub fn standing(&self, now: Instant) -> Option<u64> {
        let (standing, at) = self.newest?;
        (now.saturating_duration_since(at) <= STALE).then_some(standing)
    }
}

impl Default for ReceiveQueue {
    fn default() -> Self {
        Self::new()
    }
}

fn unread(
    kept: &mut Option<Diag>,
    ports: &mut Vec<u16>,
    counts: impl Fn(u16) -> bool,
) -> Result<Option<u64>, SocketError> {
    let mut by_netlink = || -> Result<(Diag, Option<u64>), SocketError> {
        let diag = kept.take().map_or_else(Diag::open, Ok)?;
        let mut sum = 0;
        ports.clear();
        diag.dump(&[LISTEN, ESTABLISHED], |socket| {
            let port = socket.identity.port();
            match socket.state {
                LISTEN if counts(port) => ports.push(port),
                ESTABLISHED if socket.queue > 0 && socket.inode > 0 && ports.contains(&port) => {
                    sum += 1;
                }
                _ => {}
            }
        })?;
        Ok((diag, (!ports.is_empty()).then_some(sum)))
    };
    match by_netlink() {
        Ok((diag, sum)) => {
            *kept = Some(diag);
            Ok(sum)
        }
        Err(SocketError::TooLarge(table, most)) => Err(SocketError::TooLarge(table, most)),
        Err(_) => proc::unread(counts, ports),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn settles(has: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !has() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(has());
    }

    #[test]
    fn unread_requests_on_accepted_connections_are_seen_by_both_ways() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ours = |port| port == address.port();
        let mut pairs: Vec<_> = (0..5)
            .map(|_| {
                let client = TcpStream::connect(address).unwrap();
                (client, listener.accept().unwrap().0)
            })
            .collect();
        // One that nobody accepts is the other queue's.
        let mut waits = TcpStream::connect(address).unwrap();
        waits.write_all(b"GET").unwrap();
        for expected in 0..=pairs.len() {
            let deadline = Instant::now() + Duration::from_secs(10);
            let (mut diag, mut ports) = (None, Vec::new());
            let mut both = || {
                let netlink = unread(&mut diag, &mut ports, ours).unwrap();
                assert!(diag.is_some(), "netlink did not answer");
                [netlink, proc::unread(ours, &mut ports).unwrap()]
            };
            while both() != [Some(expected as u64); 2] && Instant::now() < deadline {
                std::thread::yield_now();
            }
            assert_eq!(both(), [Some(expected as u64); 2]);
            if let Some((client, _)) = pairs.get_mut(expected) {
                client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
            }
        }
    }

    #[test]
    fn what_was_seen_too_long_ago_is_not_known() {
        let mut queue = ReceiveQueue::new();
        let now = Instant::now();
        assert!(queue.is_due(now) && queue.standing(now).is_none());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = |port| port == listener.local_addr().unwrap().port();
        queue.sample(now, ours).unwrap();
        assert!(!queue.is_due(now + Duration::from_millis(999)));
        assert_eq!(queue.standing(now + STALE), Some(0));
        assert_eq!(queue.standing(now + STALE + PAUSE), None);
        // Nor what nothing listens for.
        queue.sample(now, |_| false).unwrap();
        assert_eq!(queue.standing(now), None);
    }

    #[test]
    fn what_is_unread_is_looked_at_more_often_until_it_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = |port| port == listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut served = listener.accept().unwrap().0;
        let mut queue = ReceiveQueue::new();
        let mut now = Instant::now();
        let mut look = |queue: &mut ReceiveQueue| {
            now += Duration::from_secs(10);
            queue.sample(now, ours).unwrap();
            let is_in_haste = queue.is_any;
            let mut first_due = |is_any| {
                queue.is_any = is_any;
                (0..100).find(|tenths| queue.is_due(now + Duration::from_millis(100 * tenths)))
            };
            assert!(first_due(true) < first_due(false));
            assert!(first_due(true) >= Some(4));
            is_in_haste
        };
        assert!(!look(&mut queue));
        client.write_all(b"GET").unwrap();
        settles(|| unread(&mut None, &mut Vec::new(), ours).unwrap() == Some(1));
        assert!(look(&mut queue));
        served.read_exact(&mut [0; 3]).unwrap();
        assert!(!look(&mut queue));
    }

    #[test]
    fn where_netlink_fails_the_text_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = |port| port == listener.local_addr().unwrap().port();
        for diag in [Diag::broken(), Diag::without_tcp()] {
            let mut diag = Some(diag);
            assert_eq!(unread(&mut diag, &mut Vec::new(), ours).unwrap(), Some(0));
            assert!(diag.is_none());
        }
    }
}
