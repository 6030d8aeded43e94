//! Connections that wait to be accepted.
//!
//! A server that takes a connection only when it has a worker for it leaves the rest to the
//! kernel: for a listening socket the *receive queue* is the number of connections that are
//! established and not yet accepted.
//!
//! Which sockets listen is looked up in a dump, the more seldom the longer that stays the same. In
//! between each is asked by itself, which is some five times cheaper. Sockets that share a port (`SO_REUSEPORT`) cannot be asked so:
//! the kernel answers with one of them. They, and more than [`FEW`], are dumped each time, and
//! more seldom, at the same cost.

use std::time::{Duration, Instant};

use mbcas_core::demand::StandingQueue;
use tracing::{debug, warn};

use super::diag::{Diag, Identity, LISTEN};
use super::{SocketError, proc};

/// Time between two samples: what CPU they take is most of what an agent takes.
pub const PACE: Duration = Duration::from_millis(230);

/// Time from the first sample that sees as many as a jump has to the next one, by which it is believed. With [`PACE`] or
/// [`DUMP_PACE`] a jump is published within 300 ms.
pub const SECOND_LOOK: Duration = Duration::from_millis(50);

/// Time between two samples that are dumps.
pub const DUMP_PACE: Duration = Duration::from_millis(240);

/// Time between two samples from `/proc`.
pub const PROC_PACE: Duration = Duration::from_secs(1);

/// Time after which it is looked up again which sockets listen, where none does or that has just changed. It doubles each
/// time that they are the same,
const LISTED_FOR: Duration = Duration::from_secs(1);

/// up to this: a server that opens another port later is heard that much later. One that opens its own anew is noticed
/// at once.
const LISTED_FOR_LONG: Duration = Duration::from_secs(16);

/// The most sockets that are asked one by one.
const FEW: usize = 8;

/// Samples by dump after which single sockets are asked again.
const DUMPS: u32 = 300;

/// Samples from `/proc` after which netlink is tried again.
const PROC_SAMPLES: u32 = 60;

/// Reads the accept queues by whichever way works.
#[derive(Debug, Default)]
pub struct AcceptQueue {
    diag: Option<Diag>,
    listening: Vec<Identity>,
    /// When that was looked up, and for how long it holds.
    listed: Option<(Instant, Duration)>,
    dumps_left: u32,
    proc_samples_left: u32,
    /// Samples running that saw as many as a jump has.
    jumps: u32,
    told: bool,
}

impl AcceptQueue {
    /// Begins with netlink.
    pub fn new() -> Self {
        Self::default()
    }

    /// Connections that wait to be accepted on the listening sockets of this
    /// network namespace whose local port `counts`; None where none of them does.
    ///
    /// # Errors
    /// [`SocketError`] where neither way works.
    pub fn waiting(&mut self, counts: impl Fn(u16) -> bool) -> Result<Option<u64>, SocketError> {
        self.waiting_at(Instant::now(), counts)
    }

    /// The same for someone who knows what time it is.
    ///
    /// # Errors
    /// As [`Self::waiting`].
    pub fn waiting_at(
        &mut self,
        now: Instant,
        counts: impl Fn(u16) -> bool,
    ) -> Result<Option<u64>, SocketError> {
        if self.proc_samples_left == 0 {
            match self.by_netlink(now, &counts) {
                Ok(waiting) => return Ok(waiting),
                Err(why) => {
                    (self.listed, self.jumps) = (None, 0);
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

    fn by_netlink(
        &mut self,
        now: Instant,
        counts: impl Fn(u16) -> bool,
    ) -> Result<Option<u64>, SocketError> {
        let diag = match self.diag.take() {
            Some(diag) => diag,
            None => Diag::open().inspect(|_| debug!("reading the accept queues by netlink"))?,
        };
        // Kept only if it works: after a failure answers to old questions may still be under way in it.
        let waiting = self.ask(&diag, now, counts)?;
        let is_jump = waiting.is_some_and(|waiting| waiting >= StandingQueue::JUMP);
        self.jumps = if is_jump {
            self.jumps.saturating_add(1)
        } else {
            0
        };
        self.diag = Some(diag);
        Ok(waiting)
    }

    fn ask(
        &mut self,
        diag: &Diag,
        now: Instant,
        counts: impl Fn(u16) -> bool,
    ) -> Result<Option<u64>, SocketError> {
        let fresh = self
            .listed
            .is_some_and(|(at, holds)| now.saturating_duration_since(at) < holds);
        if !fresh || self.listening.len() > FEW || self.dumps_left > 0 {
            self.dumps_left = self.dumps_left.saturating_sub(1);
            return self.list(diag, now, counts);
        }
        let mut sum = 0_u64;
        for at in 0..self.listening.len() {
            let identity = self.listening[at];
            let Some(socket) = diag.look_up(&identity)? else {
                let sum = self.list(diag, now, counts)?;
                // It is there, and the kernel does not find it.
                if self.listening.contains(&identity) {
                    self.dumps_left = DUMPS;
                }
                return Ok(sum);
            };
            sum = sum.saturating_add(socket.queue.into());
        }
        Ok((!self.listening.is_empty()).then_some(sum))
    }

    fn list(
        &mut self,
        diag: &Diag,
        now: Instant,
        counts: impl Fn(u16) -> bool,
    ) -> Result<Option<u64>, SocketError> {
        let mut sum = 0_u64;
        let listening = &mut self.listening;
        let (mut count, mut is_same) = (0, true);
        diag.dump(&[LISTEN], &mut |socket| {
            if socket.state == LISTEN && counts(socket.identity.port()) {
                sum = sum.saturating_add(socket.queue.into());
                if listening.get(count) != Some(&socket.identity) {
                    is_same = false;
                    listening.truncate(count);
                    listening.push(socket.identity);
                }
                count += 1;
            }
        })?;
        is_same &= count == listening.len();
        listening.truncate(count);
        let before = self.listed.filter(|_| is_same && count > 0);
        let holds = before.map_or(LISTED_FOR, |(_, held)| (2 * held).min(LISTED_FOR_LONG));
        self.listed = Some((now, holds));
        Ok((!listening.is_empty()).then_some(sum))
    }

    /// How long to wait before the next sample.
    pub fn pace(&self) -> Duration {
        if self.proc_samples_left > 0 {
            PROC_PACE
        } else if self.jumps == 1 {
            SECOND_LOOK
        } else if self.dumps_left > 0 || self.listening.len() > FEW {
            DUMP_PACE
        } else {
            PACE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use rustix::net::sockopt::set_socket_reuseport;
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

    use super::*;

    fn settles(expected: u64, read: impl Fn() -> Option<u64>) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while read() != Some(expected) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(read(), Some(expected));
    }

    #[test]
    fn both_ways_see_the_same_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ours = |port| port == address.port();
        let mut clients = Vec::new();
        let mut queue = AcceptQueue::new();
        // One moment: but for the first sample the socket is asked by itself.
        let now = Instant::now();
        for expected in 0..30 {
            settles(expected, || proc::waiting(ours).unwrap());
            assert_eq!(queue.waiting_at(now, ours).unwrap(), Some(expected));
            assert_eq!(queue.dumps_left, 0);
            assert_eq!(queue.listed, Some((now, LISTED_FOR)));
            // A jump is believed after one look more, and looked at as always from then on.
            let pace = if expected == 24 { SECOND_LOOK } else { PACE };
            assert_eq!(queue.pace(), pace);
            clients.push(TcpStream::connect(address).unwrap());
        }
    }

    #[test]
    fn a_jump_is_seen_twice_within_300_ms() {
        for pace in [PACE, DUMP_PACE] {
            assert!(pace + SECOND_LOOK <= Duration::from_millis(290));
            // One that lasts stays one, even where the machine is so busy that looks come late.
            assert!(pace + Duration::from_millis(100) <= StandingQueue::MOMENT);
        }
    }

    #[test]
    fn a_listener_that_comes_or_goes_is_noticed() {
        let old = TcpListener::bind("127.0.0.1:0").unwrap();
        let new = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("127.0.0.1:0"));
        let new = new.unwrap();
        let ports = [&old, &new].map(|l| l.local_addr().unwrap().port());
        let mut queue = AcceptQueue::new();
        let now = Instant::now();
        assert_eq!(
            queue.waiting_at(now, |port| port == ports[0]).unwrap(),
            Some(0)
        );
        let _clients = ports.map(|port| TcpStream::connect(("127.0.0.1", port)).unwrap());
        let both = |port| ports.contains(&port);
        settles(2, || proc::waiting(both).unwrap());
        // Before the second is over only the one that is known is asked.
        assert_eq!(queue.waiting_at(now, both).unwrap(), Some(1));
        assert_eq!(queue.waiting_at(now + LISTED_FOR, both).unwrap(), Some(2));
        drop(old);
        assert_eq!(queue.waiting_at(now + LISTED_FOR, both).unwrap(), Some(1));
        drop(new);
        // Nothing waits where nothing listens, and nothing is content there either.
        assert_eq!(queue.waiting_at(now + LISTED_FOR, both).unwrap(), None);
        assert_eq!(proc::waiting(both).unwrap(), None);
        assert_eq!(queue.pace(), PACE);
    }

    #[test]
    fn it_looks_for_others_the_more_seldom_the_longer_the_same_listen() {
        let old = TcpListener::bind("127.0.0.1:0").unwrap();
        let new = TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = [&old, &new].map(|l| l.local_addr().unwrap().port());
        let mut queue = AcceptQueue::new();
        let begin = Instant::now();
        let mut look = |second, counts: &dyn Fn(u16) -> bool| {
            let now = begin + Duration::from_secs(second);
            let waiting = queue.waiting_at(now, counts).unwrap();
            let (at, holds) = queue.listed.unwrap();
            (waiting.is_some(), (at - begin).as_secs(), holds.as_secs())
        };
        for second in 0..3 {
            assert_eq!(look(second, &|_| false), (false, second, 1));
        }
        let first = |port| port == ports[0];
        let listed = [3, 4, 6, 10, 18, 34, 50, 66].into_iter();
        for (second, holds) in listed.zip([1, 2, 4, 8, 16, 16, 16, 16]) {
            assert_eq!(look(second, &first), (true, second, holds));
            assert_eq!(look(second + holds - 1, &first), (true, second, holds));
        }
        let both = |port| ports.contains(&port);
        assert_eq!(look(82, &both), (true, 82, 1));
        assert_eq!(look(83, &both), (true, 83, 2));
        drop(old);
        assert_eq!(look(84, &both), (true, 84, 1));
    }

    #[test]
    fn sockets_that_share_a_port_are_all_seen() {
        let shared = |address: std::net::SocketAddr| -> OwnedFd {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            set_socket_reuseport(&socket, true).unwrap();
            bind(&socket, &address).unwrap();
            listen(&socket, 50).unwrap();
            socket
        };
        let first = TcpListener::from(shared("127.0.0.1:0".parse().unwrap()));
        let address = first.local_addr().unwrap();
        let _more = [shared(address), shared(address)];
        let ours = |port| port == address.port();
        let connect = |clients| -> Vec<_> {
            let client = |_| TcpStream::connect(address).unwrap();
            (0..clients).map(client).collect()
        };
        let mut queue = AcceptQueue::new();
        let mut sees = |expected| {
            settles(expected, || proc::waiting(ours).unwrap());
            let now = Instant::now();
            let paces = [(); 5].map(|()| {
                assert_eq!(queue.waiting_at(now, ours).unwrap(), Some(expected));
                queue.pace()
            });
            assert!(queue.dumps_left > 0);
            paces
        };
        let _few = connect(12);
        assert_eq!(sees(12)[4], DUMP_PACE);
        let _jump = connect(12);
        assert_eq!(sees(24)[..2], [SECOND_LOOK, DUMP_PACE]);
    }

    #[test]
    fn where_netlink_fails_the_text_is_read_and_more_seldom() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for diag in [Diag::broken(), Diag::without_tcp()] {
            let mut queue = AcceptQueue {
                diag: Some(diag),
                jumps: 2,
                ..AcceptQueue::new()
            };
            let now = Instant::now();
            assert_eq!(queue.pace(), PACE);
            assert_eq!(queue.waiting_at(now, |p| p == port).unwrap(), Some(0));
            assert_eq!((queue.pace(), queue.jumps), (PROC_PACE, 0));
            for _ in 1..PROC_SAMPLES {
                queue.waiting_at(now, |p| p == port).unwrap();
            }
            assert_eq!(queue.pace(), PACE);
        }
    }
}
