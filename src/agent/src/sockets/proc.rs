//! The accept queues from `/proc/net/tcp`, where netlink is not to be had.
//!
//! The kernel lists listening sockets first (`tcp_get_idx` in
//! `net/ipv4/tcp_ipv4.c`), so reading ends at the first row that is not one: a
//! pod with 50,000 connections costs no more than one with five. What cannot be
//! avoided is that the kernel looks for that row in the whole machine's table of
//! connections: 1.8 ms for each table on a machine with 24 GiB.

use std::fs::File;
use std::io::{self, Read};

use super::SocketError;

/// The tables of the network namespace. The second one is absent where IPv6 is off.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// Bytes that are read at a time. Few, because the kernel fills the whole of a
/// read with rows, and those past the listening ones are wasted.
const CHUNK: usize = 1024;

/// The most that is read of one table: some 1,700 listening sockets.
pub(super) const TABLE_MAX: usize = 256 * 1024;

/// The longest row there is, with room to spare: a row of `tcp6` has some 180 bytes.
const ROW_MAX: usize = 512;

/// `TCP_LISTEN` of `include/net/tcp_states.h`.
const LISTEN: u64 = 0x0A;

/// Connections that wait to be accepted on the listening sockets of this
/// network namespace whose local port `counts`.
///
/// # Errors
/// [`SocketError`] where a table cannot be read or understood.
pub(super) fn waiting(counts: impl Fn(u16) -> bool) -> Result<u64, SocketError> {
    let mut sum = 0_u64;
    for table in TABLES {
        let file = match File::open(table) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound && table != TABLES[0] => continue,
            Err(source) => return Err(SocketError::Read { table, source }),
        };
        sum = sum.saturating_add(waiting_in(table, file, &counts)?);
    }
    Ok(sum)
}

/// The same for one table; `name` is for errors.
///
/// # Errors
/// As [`waiting`].
fn waiting_in(
    name: &'static str,
    mut table: impl Read,
    counts: impl Fn(u16) -> bool,
) -> Result<u64, SocketError> {
    let mut chunk = [0; CHUNK];
    let mut rest: Vec<u8> = Vec::with_capacity(CHUNK + ROW_MAX);
    let (mut sum, mut total, mut heading) = (0_u64, 0_usize, true);
    loop {
        let read = match table.read(&mut chunk) {
            Ok(0) if rest.is_empty() && !heading => return Ok(sum),
            Ok(0) => return Err(SocketError::Malformed(name)),
            Ok(read) => read,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(SocketError::Read {
                    table: name,
                    source,
                });
            }
        };
        total += read;
        if total > TABLE_MAX {
            return Err(SocketError::TooLarge(name));
        }
        rest.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let mut begin = 0;
        while let Some(length) = rest.iter().skip(begin).position(|b| *b == b'\n') {
            let line = rest.get(begin..begin + length).unwrap_or_default();
            begin += length + 1;
            if std::mem::take(&mut heading) {
                if !line.trim_ascii_start().starts_with(b"sl ") {
                    return Err(SocketError::Malformed(name));
                }
                continue;
            }
            match Row::parse(line).ok_or(SocketError::Malformed(name))? {
                Row {
                    state: LISTEN,
                    port,
                    waiting,
                } if counts(port) => sum = sum.saturating_add(waiting),
                Row { state: LISTEN, .. } => {}
                _ => return Ok(sum),
            }
        }
        rest.drain(..begin);
        if rest.len() > ROW_MAX {
            return Err(SocketError::Malformed(name));
        }
    }
}

/// What matters of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    port: u16,
    state: u64,
    waiting: u64,
}

impl Row {
    /// `sl: local:port remote:port st tx_queue:rx_queue …`, numbers in hexadecimal, `sl` in decimal.
    fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let mut fields = line.split_ascii_whitespace();
        let slot = fields.next()?.strip_suffix(':')?;
        if slot.is_empty() || !slot.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let port = endpoint(fields.next()?)?;
        endpoint(fields.next()?)?;
        let state = hex(fields.next()?, 2)?;
        let (sending, received) = fields.next()?.split_once(':')?;
        hex(sending, 8)?;
        Some(Self {
            port,
            state,
            waiting: hex(received, 8)?,
        })
    }
}

/// The port of `ADDRESS:PORT`, where the address has 8 digits or 32.
fn endpoint(text: &str) -> Option<u16> {
    let (address, port) = text.split_once(':')?;
    let known = matches!(address.len(), 8 | 32) && address.bytes().all(|b| b.is_ascii_hexdigit());
    known.then_some(())?;
    u16::try_from(hex(port, 4)?).ok()
}

/// A hexadecimal number of exactly `digits` digits.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let known = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    known.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests;
