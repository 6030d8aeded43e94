//! Connections with bytes that the application has not read.
//!
//! A server that keeps its connections has an empty accept queue however slow it is: the next
//! request comes on a connection that was accepted long ago, and lies in its receive queue.
//!
//! To see them the kernel walks the machine's whole table of connections: 200 to 370 µs with
//! 262,144 buckets (24 GiB of memory), and more the more connections there are. So that is done as
//! seldom as [`Pace`] asks, here every four to seven seconds, and ten times as often once there is one: then a queue
//! is heard of in seconds. What is seen so seldom jumps about, so only what stands counts ([`Standing`]).
//!
//! Bytes that lie there for a minute are nobody's request any more: some connections are never read, as one that is
//! only written to, or one whose owner hangs.

use std::time::{Duration, Instant};

use super::diag::{Diag, ESTABLISHED, LISTEN};
use super::{SocketError, proc};
use crate::mean::Standing;
use crate::pace::Pace;

/// The least time between two samples while nothing is unread.
const PAUSE: Duration = Duration::from_secs(1);

/// The least time between two samples while something is.
pub const HASTE: Duration = Duration::from_millis(400);

/// The most time between two samples, whatever they cost: the text in `/proc` takes milliseconds.
const RARELY: Duration = Duration::from_secs(30);

/// The longest that one sample counts.
const STALE: Duration = Duration::from_mins(1);

/// The longest that the same unread bytes of a connection count.
const FORGOTTEN: Duration = Duration::from_mins(1);

/// The most connections that are known one by one. Of more than these all count.
const MOST: usize = 1_024;

/// Reads the receive queues by whichever way works.
#[derive(Debug)]
pub struct ReceiveQueue {
    diag: Option<Diag>,
    unread: Unread,
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
            unread: Unread::default(),
            pace: Pace::within(PAUSE, RARELY),
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
            diag, unread, pace, ..
        } = self;
        let outcome = pace.run(now, || {
            look(diag, unread, counts)?;
            Ok(unread.count(now))
        });
        let seen = outcome.as_ref().ok().copied().flatten();
        self.is_any = seen.is_some_and(|unread| unread > 0);
        let standing = self.standing.update(seen, now);
        self.newest = standing.map(|standing| (standing, now));
        outcome.map(drop)
    }

    /// Accepted connections on the pod's listening ports that have unread bytes most of the time, but for those that
    /// nobody reads. None where there is no such port, and where it is not known or was too long ago.
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

/// The connections with unread bytes, from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// Ports that somebody listens on, and that count.
    ports: Vec<u16>,
    seen: Vec<Connection>,
    /// Those beyond [`MOST`].
    more: u64,
    before: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    /// What no other socket has.
    inode: u64,
    bytes: u64,
    /// When these bytes were seen first; absent in the look that sees them.
    since: Option<Instant>,
}

impl Unread {
    /// Begins a look, or begins it anew.
    pub(super) fn begin(&mut self) {
        self.ports.clear();
        self.seen.clear();
        self.more = 0;
    }

    /// Takes in a socket; those that listen come first.
    pub(super) fn take(
        &mut self,
        (state, port): (u8, u16),
        (bytes, inode): (u64, u64),
        counts: impl Fn(u16) -> bool,
    ) {
        match state {
            LISTEN if counts(port) => self.ports.push(port),
            ESTABLISHED if bytes > 0 && inode > 0 && self.ports.contains(&port) => {
                if self.seen.len() == MOST {
                    self.more += 1;
                    return;
                }
                self.seen.push(Connection {
                    inode,
                    bytes,
                    since: None,
                });
            }
            _ => {}
        }
    }

    /// Ends a look: how many have bytes that have come in the last minute. None where no port is listened on.
    pub(super) fn count(&mut self, now: Instant) -> Option<u64> {
        let Self {
            ports,
            seen,
            more,
            before,
        } = self;
        seen.sort_unstable_by_key(|connection| connection.inode);
        let mut sum = *more;
        for connection in &mut *seen {
            let old = before.binary_search_by_key(&connection.inode, |old| old.inode);
            let old = old.ok().and_then(|at| before.get(at));
            let same = old.filter(|old| old.bytes == connection.bytes);
            let since = same.and_then(|old| old.since).unwrap_or(now);
            connection.since = Some(since);
            sum += u64::from(now.saturating_duration_since(since) < FORGOTTEN);
        }
        std::mem::swap(seen, before);
        (!ports.is_empty()).then_some(sum)
    }
}

fn look(
    kept: &mut Option<Diag>,
    unread: &mut Unread,
    counts: impl Fn(u16) -> bool,
) -> Result<(), SocketError> {
    let mut by_netlink = || -> Result<Diag, SocketError> {
        let diag = kept.take().map_or_else(Diag::open, Ok)?;
        unread.begin();
        diag.dump(&[LISTEN, ESTABLISHED], &mut |socket| {
            let socket_at = (socket.state, socket.identity.port());
            let held = (socket.queue.into(), socket.inode.into());
            unread.take(socket_at, held, &counts);
        })?;
        Ok(diag)
    };
    match by_netlink() {
        Ok(diag) => {
            *kept = Some(diag);
            Ok(())
        }
        Err(SocketError::TooLarge(table, most)) => Err(SocketError::TooLarge(table, most)),
        Err(_) => proc::unread(counts, unread),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::super::diag::Socket;
    use super::*;

    fn settles(has: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !has() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(has());
    }

    fn unread(diag: &mut Option<Diag>, counts: impl Fn(u16) -> bool) -> Option<u64> {
        let mut unread = Unread::default();
        look(diag, &mut unread, counts).unwrap();
        unread.count(Instant::now())
    }

    fn in_text(counts: impl Fn(u16) -> bool) -> Option<u64> {
        let mut unread = Unread::default();
        proc::unread(counts, &mut unread).unwrap();
        unread.count(Instant::now())
    }

    #[test]
    fn unread_requests_on_accepted_connections_are_seen_by_both_ways() {
        unread_requests_of(&TcpListener::bind("127.0.0.1:0").unwrap());
    }

    #[test]
    fn those_of_the_newer_family_too() {
        match TcpListener::bind("[::1]:0") {
            Ok(listener) => unread_requests_of(&listener),
            // A kernel without IPv6 has none.
            Err(why) => assert_ne!(why.kind(), std::io::ErrorKind::AddrInUse, "{why}"),
        }
    }

    fn unread_requests_of(listener: &TcpListener) {
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
            let mut diag = None;
            let mut both = || {
                let netlink = unread(&mut diag, ours);
                assert!(diag.is_some(), "netlink did not answer");
                [netlink, in_text(ours)]
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
                (0..10_000).find(|tenths| queue.is_due(now + Duration::from_millis(100 * tenths)))
            };
            assert!(first_due(true) < first_due(false));
            assert!(first_due(true) >= Some(4));
            is_in_haste
        };
        assert!(!look(&mut queue));
        client.write_all(b"GET").unwrap();
        settles(|| unread(&mut None, ours) == Some(1));
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
            assert_eq!(unread(&mut diag, ours), Some(0));
            assert!(diag.is_none());
        }
    }

    #[test]
    fn bytes_that_nobody_reads_are_no_request_after_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = |port| port == listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _served = listener.accept().unwrap();
        let mut queue = ReceiveQueue::new();
        let begin = Instant::now();
        let mut sees = |seconds| {
            let now = begin + Duration::from_secs(seconds);
            queue.sample(now, ours).unwrap();
            queue.is_any
        };
        let has_come = |bytes: u32| {
            settles(|| {
                let mut held = 0;
                let diag = Diag::open().unwrap();
                let mut each = |socket: &Socket| {
                    if ours(socket.identity.port()) {
                        held = socket.queue;
                    }
                };
                diag.dump(&[ESTABLISHED], &mut each).unwrap();
                held == bytes
            });
        };
        client.write_all(b"GET").unwrap();
        has_come(3);
        assert!(sees(0) && sees(30) && sees(59));
        assert!(!sees(60) && !sees(600));
        // More of them are a new request.
        client.write_all(b" / HTTP/1.1").unwrap();
        has_come(14);
        assert!(sees(601) && sees(660) && !sees(661));
    }

    #[test]
    fn of_too_many_all_count() {
        let mut unread = Unread::default();
        let begin = Instant::now();
        for (after, expected) in [(Duration::ZERO, MOST + 9), (FORGOTTEN, 9)] {
            unread.begin();
            unread.take((LISTEN, 80), (0, 1), |_| true);
            for inode in (0..MOST + 9).rev() {
                unread.take((ESTABLISHED, 80), (5, inode as u64 + 2), |_| true);
            }
            assert_eq!(unread.count(begin + after), Some(expected as u64));
        }
    }
}
