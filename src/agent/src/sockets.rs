//! Requests that wait in the pod's TCP sockets, without any privilege and without the application's help.
//!
//! The kernel shows the sockets of the pod's network namespace to everyone in it. Two queues tell
//! of requests that have come and that nobody works on:
//!
//! | queue | what waits | seen |
//! | --- | --- | --- |
//! | [`AcceptQueue`] | connections that the application has not accepted | four times a second, and once more to believe a jump |
//! | [`ReceiveQueue`] | accepted connections with bytes that it has not read | once a second or more seldom; where there are any, once or twice |
//!
//! A connection is in one of them at a time: one that is not accepted may have unread bytes too,
//! but it is nobody's file yet and has no inode, by which the second queue leaves it out.
//!
//! There are two ways to ask. Netlink (`sock_diag`) can be asked for single sockets and costs
//! microseconds. The text in `/proc/net/tcp` is there where netlink is not, and takes
//! milliseconds, because the kernel walks the connections of the whole machine for it.

mod accept;
mod diag;
mod proc;
mod receive;

use std::io;

use thiserror::Error;

pub use accept::{AcceptQueue, DUMP_PACE, PACE, PROC_PACE, SECOND_LOOK};
pub use receive::{HASTE, ReceiveQueue};

/// Why the queues in the sockets could not be read.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The table cannot be opened or read.
    #[error("cannot read {table} ({source}); how many requests wait in sockets is unknown")]
    Read {
        /// The table.
        table: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// An entry is not as the kernel writes it.
    #[error(
        "an entry of {0} is not as the kernel writes it; how many requests wait in sockets is unknown"
    )]
    Malformed(&'static str),
    /// There are more sockets than any pod has.
    #[error("{0} has more than {1} bytes; how many requests wait in sockets is unknown")]
    TooLarge(&'static str, usize),
}
