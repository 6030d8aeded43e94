//! The pod's TCP sockets by netlink: `sock_diag`.
//!
//! The layouts are those of `linux/netlink.h`, `linux/sock_diag.h` and
//! `linux/inet_diag.h`; numbers are in the machine's own byte order, ports in the network's.
//!
//! Two kinds of question. A *dump* in the old form, `TCPDIAG_GETSOCK`, walks the kernel's tables
//! once for both families, where the new form walks them once for each. Measured with 16,384
//! buckets of listening sockets and 262,144 of connections (24 GiB), quiet and busy: 33 to 56 µs
//! for those that listen, 200 to 370 µs for all. A *look-up* of one socket, by the identity that a
//! dump gave it, costs 9 µs at the most.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SOCK_DIAG;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use super::SocketError;

/// What errors call it.
const NAME: &str = "netlink's table of sockets";

/// The kernel queues the answer while it takes the question, so this is never waited for in earnest.
const PATIENCE: Duration = Duration::from_millis(100);

/// As much as the kernel puts into one message of an answer to someone who has read no more before.
const BUFFER: usize = 8 * 1024;

/// More than the answer about one socket: 124 bytes, or an error with the question in it.
const SMALL: usize = 512;

/// The most that is read of one dump, in bytes: some 300,000 sockets.
const DUMP_MAX: usize = 32 * 1024 * 1024;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const TCPDIAG_GETSOCK: u16 = 18;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 0x1;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_ALL: u16 = 0x301;
const IPPROTO_TCP: u8 = 6;

/// Bytes of `struct inet_diag_req`, of `struct inet_diag_req_v2` and of `struct inet_diag_msg`.
const DUMP: usize = 60;
const LOOK_UP: usize = 56;
const ENTRY: usize = 72;
/// Bytes of `struct inet_diag_sockid`, and where an entry has it.
const IDENTITY: usize = 48;
const IDENTITY_AT: usize = 4;
/// Where an entry has its state, its receive queue and its inode.
const STATE_AT: usize = 1;
const QUEUE_AT: usize = 56;
const INODE_AT: usize = 68;
/// Where a dump has the states that it asks for, as bits.
const STATES_AT: usize = 52;

/// `TCP_ESTABLISHED` and `TCP_LISTEN` of `include/net/tcp_states.h`.
pub(super) const ESTABLISHED: u8 = 1;
pub(super) const LISTEN: u8 = 10;

/// Which socket it is: addresses, ports, interface, and a cookie that no other socket ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    family: u8,
    id: [u8; IDENTITY],
}

impl Identity {
    /// The port on this side.
    pub(super) const fn port(&self) -> u16 {
        u16::from_be_bytes([self.id[0], self.id[1]])
    }
}

/// A socket as the kernel shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) identity: Identity,
    pub(super) state: u8,
    /// Bytes that are not read, or, if it listens, connections that are not accepted.
    pub(super) queue: u32,
    /// 0 for a connection that is not accepted: it is nobody's file yet.
    pub(super) inode: u32,
}

/// A socket that answers questions about sockets.
#[derive(Debug)]
pub(super) struct Diag {
    socket: OwnedFd,
}

impl Diag {
    /// # Errors
    /// [`SocketError::Read`] where this kernel has no such thing, or a sandbox hides it.
    pub(super) fn open() -> Result<Self, SocketError> {
        let open = || -> Result<Self, Errno> {
            let socket = socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                Some(SOCK_DIAG),
            )?;
            set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
            Ok(Self { socket })
        };
        open().map_err(failed)
    }

    /// Shows `each` of the TCP sockets of both families in one of `states`, those that listen first.
    ///
    /// # Errors
    /// [`SocketError`]; this is of no use after one.
    pub(super) fn dump(
        &self,
        states: &[u8],
        each: &mut dyn FnMut(&Socket),
    ) -> Result<(), SocketError> {
        let mut question = [0; HEADER + DUMP];
        head(&mut question, TCPDIAG_GETSOCK, REQUEST_ALL);
        let states = states.iter().fold(0_u32, |all, state| all | 1 << state);
        put(&mut question, HEADER, &[raw(AddressFamily::INET)]);
        put(&mut question, HEADER + STATES_AT, &states.to_ne_bytes());
        self.ask(&question)?;
        let (mut buffer, mut total) = ([0; BUFFER], 0);
        loop {
            let answer = self.answer(&mut buffer)?;
            total += answer.len();
            if total > DUMP_MAX {
                return Err(SocketError::TooLarge(NAME, DUMP_MAX));
            }
            if read_answer(answer, each)? {
                return Ok(());
            }
        }
    }

    /// The socket as it is now; None if it is gone, or hides behind another one of the same port.
    ///
    /// # Errors
    /// [`SocketError`]; this is of no use after one.
    pub(super) fn look_up(&self, identity: &Identity) -> Result<Option<Socket>, SocketError> {
        let mut question = [0; HEADER + LOOK_UP];
        head(&mut question, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST);
        put(&mut question, HEADER, &[identity.family, IPPROTO_TCP]);
        put(&mut question, HEADER + LOOK_UP - IDENTITY, &identity.id);
        self.ask(&question)?;
        let (mut buffer, mut found) = ([0; SMALL], None);
        let answer = self.answer(&mut buffer)?;
        match read_answer(answer, &mut |socket| found = Some(*socket)) {
            Ok(_) => Ok(found.filter(|socket| socket.identity == *identity)),
            Err(SocketError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }

    fn ask(&self, question: &[u8]) -> Result<(), SocketError> {
        send(&self.socket, question, SendFlags::empty()).map_err(failed)?;
        Ok(())
    }

    fn answer<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8], SocketError> {
        // With TRUNC the length is the message's own, so that a cut one is noticed.
        let (_, length) = loop {
            match recv(&self.socket, &mut *buffer, RecvFlags::TRUNC) {
                Err(Errno::INTR) => {}
                outcome => break outcome.map_err(failed)?,
            }
        };
        buffer.get(..length).ok_or(SocketError::Malformed(NAME))
    }

    /// One that nobody answers on.
    #[cfg(test)]
    pub(super) fn broken() -> Self {
        Self {
            socket: std::fs::File::open("/dev/null").unwrap().into(),
        }
    }

    /// One that answers the first question with `answer`.
    #[cfg(test)]
    pub(super) fn that_says(answer: &[u8]) -> Self {
        let (socket, kernel) = std::os::unix::net::UnixDatagram::pair().unwrap();
        kernel.send(answer).unwrap();
        // It has to be able to ask, though nobody reads that.
        std::mem::forget(kernel);
        Self {
            socket: socket.into(),
        }
    }

    /// One whose kernel has no `tcp_diag`: a dump that ends with `ENOENT`.
    #[cfg(test)]
    pub(super) fn without_tcp() -> Self {
        let mut refused = [0; HEADER + 4];
        head(&mut refused, NLMSG_DONE, 0);
        put(&mut refused, HEADER, &(-2_i32).to_ne_bytes());
        Self::that_says(&refused)
    }
}

fn failed(source: impl Into<io::Error>) -> SocketError {
    SocketError::Read {
        table: NAME,
        source: source.into(),
    }
}

/// Writes the `nlmsghdr` of a question.
fn head(question: &mut [u8], kind: u16, flags: u16) {
    let length = u32::try_from(question.len()).unwrap_or_default();
    put(question, 0, &length.to_ne_bytes());
    put(question, 4, &kind.to_ne_bytes());
    put(question, 6, &flags.to_ne_bytes());
}

fn put(question: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = question.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// The family's number, as `inet_diag` has it: in one byte.
fn raw(family: AddressFamily) -> u8 {
    u8::try_from(family.as_raw()).unwrap_or_default()
}

/// Shows what one part of an answer holds; true at the answer's end.
fn read_answer(mut part: &[u8], each: &mut dyn FnMut(&Socket)) -> Result<bool, SocketError> {
    const MALFORMED: SocketError = SocketError::Malformed(NAME);
    if part.is_empty() {
        return Err(MALFORMED);
    }
    while !part.is_empty() {
        let length = u32_at(part, 0)
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(MALFORMED)?;
        let kind = u16_at(part, 4).ok_or(MALFORMED)?;
        let payload = part.get(HEADER..length).ok_or(MALFORMED)?;
        match kind {
            // The end says whether all was shown: without `tcp_diag` it is an error, and all there is.
            NLMSG_DONE => return ended(u32_at(payload, 0).unwrap_or_default()).map(|()| true),
            NLMSG_ERROR => {
                ended(u32_at(payload, 0).ok_or(MALFORMED)?)?;
                return Err(MALFORMED);
            }
            SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => each(&socket(payload).ok_or(MALFORMED)?),
            // Kinds that do not concern us, NLMSG_NOOP among them.
            _ => {}
        }
        // Messages begin at multiples of four; the last one may lack its padding.
        part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// What the `code` at an answer's end says: an error, negative, or 0 or more.
fn ended(code: u32) -> Result<(), SocketError> {
    let code = code.cast_signed();
    if code < 0 {
        return Err(failed(io::Error::from_raw_os_error(code.saturating_neg())));
    }
    Ok(())
}

/// Reads a `struct inet_diag_msg`.
fn socket(entry: &[u8]) -> Option<Socket> {
    let entry = entry.get(..ENTRY)?;
    let id = entry.get(IDENTITY_AT..IDENTITY_AT + IDENTITY)?;
    Some(Socket {
        identity: Identity {
            family: *entry.first()?,
            id: id.try_into().ok()?,
        },
        state: *entry.get(STATE_AT)?,
        queue: u32_at(entry, QUEUE_AT)?,
        inode: u32_at(entry, INODE_AT)?,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + payload.len()).unwrap();
        [
            &length.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &[0; 10],
            payload,
        ]
        .concat()
    }

    fn entry(state: u8, port: u16, queue: u32) -> Vec<u8> {
        let mut payload = vec![0; ENTRY];
        payload[STATE_AT] = state;
        payload[IDENTITY_AT..IDENTITY_AT + 2].copy_from_slice(&port.to_be_bytes());
        payload[QUEUE_AT..QUEUE_AT + 4].copy_from_slice(&queue.to_ne_bytes());
        payload[INODE_AT..].copy_from_slice(&77_u32.to_ne_bytes());
        message(SOCK_DIAG_BY_FAMILY, &payload)
    }

    /// State, port and queue of each socket, and whether the answer is at its end.
    type Answer = (bool, Vec<(u8, u16, u32)>);

    fn read(part: &[u8]) -> Result<Answer, SocketError> {
        let mut seen = Vec::new();
        let mut each = |s: &Socket| seen.push((s.state, s.identity.port(), s.queue));
        read_answer(part, &mut each).map(|done| (done, seen))
    }

    #[test]
    fn every_socket_of_an_answer_is_shown() {
        let sockets = [
            entry(LISTEN, 8080, 5),
            message(1, &[]),
            entry(ESTABLISHED, 81, 2),
        ];
        let seen = vec![(LISTEN, 8080, 5), (ESTABLISHED, 81, 2)];
        assert_eq!(read(&sockets.concat()).unwrap(), (false, seen.clone()));
        let done = message(NLMSG_DONE, &[0; 4]);
        let all = [sockets.concat(), done].concat();
        assert_eq!(read(&all).unwrap(), (true, seen));
    }

    #[test]
    fn one_socket_answers_again_and_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let diag = Diag::open().unwrap();
        let mut ours = None;
        for _ in 0..100 {
            ours = None;
            diag.dump(&[LISTEN], &mut |socket| {
                if socket.identity.port() == port {
                    ours = Some(*socket);
                }
            })
            .unwrap();
            assert_eq!(ours.unwrap().queue, 1);
            let found = diag.look_up(&ours.unwrap().identity).unwrap();
            assert_eq!(found, ours);
        }
        drop(listener);
        assert_eq!(diag.look_up(&ours.unwrap().identity).unwrap(), None);
    }

    #[test]
    fn a_refusal_says_why() {
        let refused = message(NLMSG_ERROR, &(-2_i32).to_ne_bytes());
        let Err(SocketError::Read { source, .. }) = read(&refused) else {
            unreachable!("it was refused")
        };
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_dump_that_ends_in_an_error_is_none() {
        // What a kernel without `tcp_diag` says, and one whose dump breaks off.
        let refused = message(NLMSG_DONE, &(-2_i32).to_ne_bytes());
        assert!(Diag::without_tcp().dump(&[LISTEN], &mut |_| {}).is_err());
        for part in [refused.clone(), [entry(LISTEN, 8080, 5), refused].concat()] {
            let Err(SocketError::Read { source, .. }) = read(&part) else {
                unreachable!("it is no end")
            };
            assert_eq!(source.kind(), io::ErrorKind::NotFound);
            let diag = Diag::that_says(&part);
            assert!(diag.dump(&[LISTEN], &mut |_| {}).is_err());
        }
        assert!(read(&message(NLMSG_DONE, &[])).unwrap().0);
    }

    #[test]
    fn what_is_cut_or_senseless_is_refused() {
        let whole = entry(LISTEN, 8080, 5);
        let short = message(SOCK_DIAG_BY_FAMILY, &[0; ENTRY - 1]);
        let mut long = whole.clone();
        long[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        let mut none = whole.clone();
        none[..4].copy_from_slice(&0_u32.to_ne_bytes());
        for part in [
            &[][..],
            &whole[..10],
            &whole[..HEADER + 20],
            &short,
            &long,
            &none,
        ] {
            assert!(
                matches!(read(part), Err(SocketError::Malformed(_))),
                "{part:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic_or_go_on_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..300), headed: bool) {
            let head = if headed { entry(LISTEN, 8080, 5) } else { Vec::new() };
            let _ = read(&[head, bytes].concat());
        }
    }
}
