//! The pod's TCP sockets from `/proc/net/tcp`, where netlink is not to be had.
//!
//! The kernel lists listening sockets first (`tcp_get_idx` in
//! `net/ipv4/tcp_ipv4.c`), so reading them ends at the first row that is not one: a
//! pod with 50,000 connections costs no more than one with five. What cannot be
//! avoided is that the kernel looks for that row in the whole machine's table of
//! connections: 1.8 ms for each table on a machine with 24 GiB.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;

use super::SocketError;
use super::diag::LISTEN;
use super::receive::Unread;

/// The tables of the network namespace. The second one is absent where IPv6 is off.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// Bytes that are read at a time. Few, because the kernel fills the whole of a
/// read with rows, and those past the listening ones are wasted.
const CHUNK: usize = 1024;

/// The most that is read of one table: some 25,000 sockets.
const TABLE_MAX: usize = 4 * 1024 * 1024;

/// The longest row there is, with room to spare: a row of `tcp6` has some 180 bytes.
const ROW_MAX: usize = 512;

/// Connections that wait to be accepted on the listening sockets of this
/// network namespace whose local port `counts`; None where none of them does.
///
/// # Errors
/// [`SocketError`] where a table cannot be read or understood.
pub(super) fn waiting(counts: impl Fn(u16) -> bool) -> Result<Option<u64>, SocketError> {
    let mut sum = None;
    for_each_table(|row| add_waiting(row, &counts, &mut sum))?;
    Ok(sum)
}

fn add_waiting(row: Row, counts: impl Fn(u16) -> bool, sum: &mut Option<u64>) -> ControlFlow<()> {
    if row.state != LISTEN {
        return ControlFlow::Break(());
    }
    if counts(row.port) {
        *sum = Some(sum.unwrap_or_default().saturating_add(row.queue));
    }
    ControlFlow::Continue(())
}

/// Shows `unread` all sockets, for the accepted connections with bytes that nobody has read, on listening ports
/// that count.
///
/// # Errors
/// As [`waiting`].
pub(super) fn unread(counts: impl Fn(u16) -> bool, unread: &mut Unread) -> Result<(), SocketError> {
    unread.begin();
    for_each_table(|row| add_unread(row, &counts, unread))
}

fn add_unread(row: Row, counts: impl Fn(u16) -> bool, unread: &mut Unread) -> ControlFlow<()> {
    unread.take((row.state, row.port), (row.queue, row.inode), counts);
    ControlFlow::Continue(())
}

fn for_each_table(mut each: impl FnMut(Row) -> ControlFlow<()>) -> Result<(), SocketError> {
    for table in TABLES {
        let file = match File::open(table) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound && table != TABLES[0] => continue,
            Err(source) => return Err(SocketError::Read { table, source }),
        };
        for_each_row(table, file, &mut each)?;
    }
    Ok(())
}

/// Shows `each` row of one table until it breaks off; `name` is for errors.
///
/// # Errors
/// As [`waiting`].
fn for_each_row(
    name: &'static str,
    mut table: impl Read,
    mut each: impl FnMut(Row) -> ControlFlow<()>,
) -> Result<(), SocketError> {
    let mut buffer = [0; CHUNK + ROW_MAX];
    let (mut filled, mut total, mut heading) = (0, 0_usize, true);
    loop {
        let space = buffer.get_mut(filled..filled + CHUNK);
        match table.read(space.ok_or(SocketError::Malformed(name))?) {
            Ok(0) if filled == 0 && !heading => return Ok(()),
            Ok(0) => return Err(SocketError::Malformed(name)),
            Ok(read) => {
                filled += read;
                total += read;
            }
            Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(SocketError::Read {
                    table: name,
                    source,
                });
            }
        }
        if total > TABLE_MAX {
            return Err(SocketError::TooLarge(name, TABLE_MAX));
        }
        let mut rest = buffer.get(..filled).unwrap_or_default();
        while let Some(length) = rest.iter().position(|b| *b == b'\n') {
            let (line, after) = rest.split_at(length);
            rest = after.get(1..).unwrap_or_default();
            if std::mem::take(&mut heading) {
                if !line.trim_ascii_start().starts_with(b"sl ") {
                    return Err(SocketError::Malformed(name));
                }
            } else if each(Row::parse(line).ok_or(SocketError::Malformed(name))?).is_break() {
                return Ok(());
            }
        }
        let begin = filled - rest.len();
        buffer.copy_within(begin..filled, 0);
        filled -= begin;
    }
}

/// What matters of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    port: u16,
    state: u8,
    queue: u64,
    inode: u64,
}

impl Row {
    /// `sl: local:port remote:port st tx_queue:rx_queue tr:when retrnsmt uid timeout inode …`,
    /// numbers in hexadecimal, the first and the last three of these in decimal.
    fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let mut fields = line.split_ascii_whitespace();
        let slot = fields.next()?.strip_suffix(':')?;
        if slot.is_empty() || !slot.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let port = endpoint(fields.next()?)?;
        endpoint(fields.next()?)?;
        let state = u8::try_from(hex(fields.next()?, 2)?).ok()?;
        let (sending, received) = fields.next()?.split_once(':')?;
        hex(sending, 8)?;
        let inode = crate::held::number(fields.nth(4)?.as_bytes())?;
        Some(Self {
            port,
            state,
            queue: hex(received, 8)?,
            inode,
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
