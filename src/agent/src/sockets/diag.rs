//! The accept queues by netlink: `sock_diag`, asked for listening TCP sockets alone.
//!
//! The layouts are those of `linux/netlink.h` and `linux/inet_diag.h`; numbers
//! are in the machine's own byte order, ports in the network's.

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
use super::proc::TABLE_MAX;

/// What errors call it.
const NAME: &str = "netlink's table of listening sockets";

/// The kernel queues the answer while it takes the question, so this is never waited for in earnest.
const PATIENCE: Duration = Duration::from_millis(100);

/// As much as the kernel puts into one message of an answer.
const BUFFER: usize = 16 * 1024;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_ALL: u16 = 0x301;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u8 = 10;

/// Bytes of `struct inet_diag_req_v2` and of `struct inet_diag_msg`.
const QUESTION: usize = 56;
const ENTRY: usize = 72;
/// Where an entry has its state, its own port and its receive queue.
const STATE_AT: usize = 1;
const PORT_AT: usize = 4;
const QUEUE_AT: usize = 56;

/// A socket that answers questions about sockets.
#[derive(Debug)]
pub(super) struct Diag(OwnedFd);

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
            Ok(Self(socket))
        };
        open().map_err(failed)
    }

    /// Connections that wait on the listening sockets whose port `counts`.
    ///
    /// # Errors
    /// [`SocketError`]; the socket is of no use after one.
    pub(super) fn waiting(&self, counts: impl Fn(u16) -> bool) -> Result<u64, SocketError> {
        let mut sum = 0_u64;
        for family in [AddressFamily::INET, AddressFamily::INET6] {
            sum = sum.saturating_add(self.waiting_of(family, &counts)?);
        }
        Ok(sum)
    }

    fn waiting_of(
        &self,
        family: AddressFamily,
        counts: impl Fn(u16) -> bool,
    ) -> Result<u64, SocketError> {
        send(&self.0, &question(family), SendFlags::empty()).map_err(failed)?;
        let mut buffer = vec![0; BUFFER];
        let (mut sum, mut total) = (0, 0);
        loop {
            // With TRUNC the length is the message's own, so that a cut one is noticed.
            let (_, length) = recv(&self.0, &mut buffer[..], RecvFlags::TRUNC).map_err(failed)?;
            total += length;
            if total > TABLE_MAX {
                return Err(SocketError::TooLarge(NAME));
            }
            let answer = buffer.get(..length).ok_or(SocketError::Malformed(NAME))?;
            if read_answer(answer, &counts, &mut sum)? {
                return Ok(sum);
            }
        }
    }

    /// One that nobody answers on.
    #[cfg(test)]
    pub(super) fn broken() -> Self {
        Self(std::fs::File::open("/dev/null").unwrap().into())
    }
}

fn failed(source: impl Into<io::Error>) -> SocketError {
    SocketError::Read {
        table: NAME,
        source: source.into(),
    }
}

/// `nlmsghdr` and `inet_diag_req_v2`: all TCP sockets of `family` that listen.
fn question(family: AddressFamily) -> [u8; HEADER + QUESTION] {
    let mut message = [0; HEADER + QUESTION];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = message.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    #[allow(clippy::cast_possible_truncation)] // 72
    put(0, &((HEADER + QUESTION) as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &REQUEST_ALL.to_ne_bytes());
    put(HEADER, &family.as_raw().to_ne_bytes()[..1]);
    put(HEADER + 1, &[IPPROTO_TCP]);
    put(HEADER + 4, &(1_u32 << TCP_LISTEN).to_ne_bytes());
    message
}

/// Adds what one part of an answer holds to `sum`; true at the answer's end.
fn read_answer(
    mut part: &[u8],
    counts: impl Fn(u16) -> bool,
    sum: &mut u64,
) -> Result<bool, SocketError> {
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
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = u32_at(payload, 0).ok_or(MALFORMED)?.cast_signed();
                return Err(failed(io::Error::from_raw_os_error(code.saturating_neg())));
            }
            SOCK_DIAG_BY_FAMILY => {
                let entry = payload.get(..ENTRY).ok_or(MALFORMED)?;
                let local = entry
                    .get(PORT_AT..PORT_AT + 2)
                    .and_then(|bytes| bytes.try_into().ok());
                let local = u16::from_be_bytes(local.ok_or(MALFORMED)?);
                let queue = u32_at(entry, QUEUE_AT).ok_or(MALFORMED)?;
                if entry.get(STATE_AT) == Some(&TCP_LISTEN) && counts(local) {
                    *sum = sum.saturating_add(queue.into());
                }
            }
            // Kinds that do not concern us, NLMSG_NOOP among them.
            _ => {}
        }
        // Messages begin at multiples of four; the last one may lack its padding.
        part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
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
        payload[PORT_AT..PORT_AT + 2].copy_from_slice(&port.to_be_bytes());
        payload[QUEUE_AT..QUEUE_AT + 4].copy_from_slice(&queue.to_ne_bytes());
        message(SOCK_DIAG_BY_FAMILY, &payload)
    }

    fn read(part: &[u8]) -> Result<(bool, u64), SocketError> {
        let mut sum = 0;
        read_answer(part, |port| port != 9465, &mut sum).map(|done| (done, sum))
    }

    #[test]
    fn the_queues_of_listening_sockets_are_added_up() {
        let sockets = [
            entry(TCP_LISTEN, 8080, 5),
            entry(TCP_LISTEN, 9465, 7),
            entry(1, 8080, 9),
            entry(TCP_LISTEN, 81, 2),
        ];
        assert_eq!(read(&sockets.concat()).unwrap(), (false, 7));
        let done = message(NLMSG_DONE, &[0; 4]);
        assert_eq!(read(&[sockets.concat(), done].concat()).unwrap(), (true, 7));
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
    fn what_is_cut_or_senseless_is_refused() {
        let whole = entry(TCP_LISTEN, 8080, 5);
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

    #[test]
    fn one_socket_answers_again_and_again() {
        let diag = Diag::open().unwrap();
        for _ in 0..100 {
            diag.waiting(|_| true).unwrap();
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic_or_go_on_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..300), headed: bool) {
            let head = if headed { entry(TCP_LISTEN, 8080, 5) } else { Vec::new() };
            let _ = read(&[head, bytes].concat());
        }
    }
}
