//! The connections that are open: few, and none for nothing.
//!
//! An API server keeps one connection or a few and uses them. What has never
//! asked anything, or has not for long, gives way as soon as places get rare,
//! so that whoever opens thousands keeps only himself out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::metrics::{Farewell, Metrics};

/// How many connections there may be.
pub const MOST: usize = 256;

/// How many places are kept free for newcomers, by sending the idlest away.
const SPARE: usize = 16;

/// How often it is looked who has to go.
pub(super) const SWEEP: Duration = Duration::from_secs(1);

/// How many sweeps a connection may take for its handshake and its first request's head.
const PATIENCE: u64 = 5;

/// How many sweeps a connection may be idle for. An API server closes its own after 90 s.
const IDLE: u64 = 120;

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    /// Counts sweeps: time enough to judge idleness by, and cheaper than a clock.
    sweeps: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    closing: CancellationToken,
    metrics: Metrics,
}

/// What is known about one connection.
#[derive(Debug)]
struct Connection {
    /// The sweep after which it was opened, or began or ended a request.
    since: AtomicU64,
    /// How many requests it has made.
    asked: AtomicU64,
    /// How many of them are being answered.
    running: AtomicU32,
    leave: CancellationToken,
}

/// A connection's place; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    connection: Arc<Connection>,
    all: Arc<Connections>,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Asking(Arc<Connection>, Arc<Connections>);

impl Connections {
    /// None yet. All of them are told to leave when `closing` is cancelled.
    pub(super) fn new(closing: CancellationToken, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            sweeps: AtomicU64::new(0),
            open: Mutex::default(),
            closing,
            metrics,
        })
    }

    /// A place for a new connection, unless all are taken by connections that are in use.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.open();
        if open.len() + SPARE >= MOST
            && let Some(idlest) = open
                .values()
                .filter(|c| c.is_idle())
                .min_by_key(|c| c.rank())
        {
            self.dismiss(idlest, Farewell::Crowded);
        }
        if open.len() >= MOST {
            self.metrics.connection_closed(Farewell::Refused);
            return None;
        }
        let number = open.last_key_value().map_or(0, |(number, _)| number + 1);
        let connection = Arc::new(Connection {
            since: AtomicU64::new(self.now()),
            asked: AtomicU64::new(0),
            running: AtomicU32::new(0),
            leave: self.closing.child_token(),
        });
        open.insert(number, Arc::clone(&connection));
        self.metrics.connections(open.len());
        Some(Place {
            number,
            connection,
            all: Arc::clone(self),
        })
    }

    /// Tells those to leave that have been silent or idle for too long.
    pub(super) fn sweep(&self) {
        let now = self.sweeps.fetch_add(1, Ordering::Relaxed) + 1;
        for connection in self.open().values().filter(|c| c.is_idle()) {
            let idle = now.saturating_sub(connection.since.load(Ordering::Relaxed));
            if connection.has_asked() && idle > IDLE {
                self.dismiss(connection, Farewell::Idle);
            } else if !connection.has_asked() && idle > PATIENCE {
                self.dismiss(connection, Farewell::Silent);
            }
        }
    }

    fn dismiss(&self, connection: &Connection, why: Farewell) {
        connection.leave.cancel();
        self.metrics.connection_closed(why);
    }

    fn now(&self) -> u64 {
        self.sweeps.load(Ordering::Relaxed)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    /// Nothing is being answered, and it was not told to leave yet.
    fn is_idle(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0 && !self.leave.is_cancelled()
    }

    /// Who has to go first: those that never asked, then those that have not for longest.
    fn rank(&self) -> (bool, u64) {
        (self.has_asked(), self.since.load(Ordering::Relaxed))
    }
}

impl Place {
    /// Notes that a request is being answered, until the result is dropped.
    pub(super) fn ask(&self) -> Asking {
        let connection = Arc::clone(&self.connection);
        connection.asked.fetch_add(1, Ordering::Relaxed);
        connection.running.fetch_add(1, Ordering::Relaxed);
        Asking(connection, Arc::clone(&self.all))
    }

    /// Comes back when the connection is to leave.
    pub(super) async fn told_to_leave(&self) {
        self.connection.leave.cancelled().await;
    }

    /// Whether it ever asked anything, so that it deserves a good-bye.
    pub(super) fn has_asked(&self) -> bool {
        self.connection.has_asked()
    }

    /// Whether something is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.connection.running.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.all.open();
        open.remove(&self.number);
        self.all.metrics.connections(open.len());
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Self(connection, all) = self;
        connection.since.store(all.now(), Ordering::Relaxed);
        connection.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
