//! The connections that are open: few, and none for nothing.
//!
//! An API server keeps one connection or a few and uses them. As soon as places
//! get rare somebody gives way ([`turns`]), also in the middle of a request; and
//! whoever was asked to leave, and takes his time, is cut off when there is no
//! time left. The same holds for memory: whoever makes us hold most of it has to go.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::listen::{DRAIN, FAREWELL};
use crate::metrics::{Farewell, Metrics};

mod turns;

use turns::Turns;

/// How many connections there may be.
pub const MOST: usize = 256;

/// How many places are kept free for newcomers, by sending others away.
const SPARE: usize = 16;

/// How many of those are for addresses that have few connections and for whom
/// somebody gives way. With no more left than these, those are cut off that were
/// asked to leave and did not yet.
const LAST: usize = 8;

/// How many of the very last are for addresses from where somebody asks all the time, if there are any.
const KEPT: usize = 4;

/// How many bytes requests and answers may take, bodies aside: more than 5,000
/// pods that come at once. Beyond it who takes most has to go.
const MOST_HELD: usize = 48 * 1024 * 1024;

/// What a request takes while it is being answered, and about what its stream
/// takes while its answer waits to be read, in bytes.
const REQUEST: usize = 8 * 1024;

/// How often it is looked who has to go.
pub(super) const SWEEP: Duration = Duration::from_secs(1);

/// How many sweeps a connection may take for its handshake and its first request's head.
const PATIENCE: u64 = 5;

/// How many sweeps a connection may be idle for. An API server closes its own after 90 s.
const IDLE: u64 = 120;

/// How many that were cut off may be there beyond that, for the moment until they are gone.
const GOING: usize = 64;

/// Who has read so many answers is no stranger any more; and who has read so many more
/// than another has to go later, if nothing else tells them apart.
const REGULAR: u64 = 16;

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    /// Counts sweeps: time enough to judge idleness by, and cheaper than a clock.
    sweeps: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    /// How many bytes requests and answers take.
    held: AtomicUsize,
    closing: CancellationToken,
    metrics: Metrics,
}

/// What is known about one connection.
#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    /// The sweep after which it was opened, or began or ended a request.
    since: AtomicU64,
    /// How many requests it has made.
    asked: AtomicU64,
    /// How many of them were reviews whose answers it has read.
    read: AtomicU64,
    /// It reads many answers: whoever it is, it is no stranger.
    known: CancellationToken,
    /// How many of them are being answered.
    running: AtomicU32,
    /// How many bytes its requests and answers take.
    held: AtomicUsize,
    /// It is to leave when what it does is done.
    leave: CancellationToken,
    /// It is to leave in the middle of whatever it does.
    cut: CancellationToken,
}

/// What a connection is used for, in the order in which they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// It had the time to ask, and did not.
    Never,
    /// It asked, and not often or not just now.
    Seldom,
    /// It has only just come.
    NotYet,
    /// It asks all the time: newcomers, however many, do not take its place.
    Regular,
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
pub(super) struct Asking(Held);

/// Memory that a connection makes us hold.
#[derive(Debug)]
pub(super) struct Held {
    connection: Arc<Connection>,
    all: Arc<Connections>,
    bytes: usize,
    /// It is the answer to a review.
    is_review: bool,
}

impl Connections {
    /// None yet. All of them are told to leave when `closing` is cancelled.
    pub(super) fn new(closing: CancellationToken, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            sweeps: AtomicU64::new(0),
            open: Mutex::default(),
            held: AtomicUsize::new(0),
            closing,
            metrics,
        })
    }

    /// A place for a new connection from `peer`, unless all are taken by connections that are in use.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let mut open = self.open();
        let is_rare = open.len() + SPARE >= MOST;
        let turns = is_rare.then(|| Turns::of(&open, peer, self.now()));
        let has_room = turns.as_ref().is_none_or(|t| self.make_room(&open, t));
        let is_stranger = turns.is_some_and(|t| t.newcomer_is_stranger());
        let taken = open.len() + if is_stranger { KEPT } else { 0 };
        // Who was cut off is gone as soon as his task has its turn.
        let cut = open.values().filter(|c| c.cut.is_cancelled()).count();
        if !has_room || taken - cut >= MOST || taken >= MOST + GOING {
            self.metrics.connection_closed(Farewell::Refused);
            return None;
        }
        let number = open.last_key_value().map_or(0, |(number, _)| number + 1);
        let connection = Arc::new(Connection {
            peer,
            since: AtomicU64::new(self.now()),
            asked: AtomicU64::new(0),
            read: AtomicU64::new(0),
            known: CancellationToken::new(),
            running: AtomicU32::new(0),
            held: AtomicUsize::new(0),
            leave: self.closing.child_token(),
            cut: CancellationToken::new(),
        });
        open.insert(number, Arc::clone(&connection));
        self.metrics.connections(open.len());
        Some(Place {
            number,
            connection,
            all: Arc::clone(self),
        })
    }

    /// Sends one away for a newcomer, and tells whether he may come in.
    fn make_room(&self, open: &BTreeMap<u64, Arc<Connection>>, turns: &Turns) -> bool {
        let staying = || open.iter().filter(|(_, c)| !c.leave.is_cancelled());
        // As many as were asked to leave need not be asked once more.
        let is_enough = staying().count() + SPARE < MOST;
        let first = turns.first(staying()).filter(|_| !is_enough);
        if let Some(connection) = first {
            if turns.is_crowd(connection.peer) || connection.is_busy() {
                self.cut(connection, Farewell::Crowded);
            } else {
                self.dismiss(connection, Farewell::Crowded);
            }
        }
        let uncut = open.values().filter(|c| !c.cut.is_cancelled()).count();
        let is_last = uncut + LAST >= MOST;
        if is_last && let Some(connection) = turns.first_of_leaving(open) {
            // It was counted when it was asked to leave.
            connection.cut.cancel();
        }
        let somebody_goes = is_enough || first.is_some();
        if turns.newcomer_has_few() {
            somebody_goes || !is_last
        } else {
            somebody_goes && !is_last
        }
    }

    /// Sends away who makes us hold most: of the address that does, the connection that does.
    fn shed(&self) {
        let open = self.open();
        // What those hold that were cut off is about to be free.
        let staying = || open.values().filter(|c| !c.cut.is_cancelled());
        let held = |connection: &Connection| connection.held.load(Ordering::Relaxed);
        let mut sums = HashMap::new();
        for connection in staying() {
            *sums.entry(connection.peer).or_insert(0) += held(connection);
        }
        if sums.values().sum::<usize>() > MOST_HELD
            && let Some(most) = staying().max_by_key(|c| (sums[&c.peer], held(c)))
        {
            self.cut(most, Farewell::Greedy);
        }
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

    /// As [`Self::dismiss`], in the middle of whatever it does.
    fn cut(&self, connection: &Connection, why: Farewell) {
        connection.cut.cancel();
        self.dismiss(connection, why);
    }

    fn dismiss(&self, connection: &Connection, why: Farewell) {
        connection.leave.cancel();
        self.metrics.connection_closed(why);
    }

    /// How many bytes requests and answers take.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
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

    /// Something is being answered.
    fn is_busy(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// Nothing is being answered, and it was not told to leave yet.
    fn is_idle(&self) -> bool {
        !self.is_busy() && !self.leave.is_cancelled()
    }

    /// Who has to go first of two alike: by their use, then those that have not asked
    /// for longest, then those that have read least.
    fn rank(&self, now: u64) -> (Use, u64, u64) {
        let (read, since) = (&self.read, &self.since);
        let (read, since) = (read.load(Ordering::Relaxed), since.load(Ordering::Relaxed));
        let used = match since + 1 >= now {
            true if read >= REGULAR => Use::Regular,
            true if !self.has_asked() => Use::NotYet,
            false if !self.has_asked() => Use::Never,
            _ => Use::Seldom,
        };
        (used, since, read / REGULAR)
    }
}

impl Place {
    /// Notes that a request is being answered, until the result is dropped.
    pub(super) fn ask(&self) -> Asking {
        let connection = Arc::clone(&self.connection);
        connection.asked.fetch_add(1, Ordering::Relaxed);
        connection.running.fetch_add(1, Ordering::Relaxed);
        Asking(Held::of(connection, Arc::clone(&self.all), REQUEST, false))
    }

    /// Comes back when enough was read by the connection that it is no stranger any more.
    pub(super) fn known(&self) -> WaitForCancellationFutureOwned {
        self.connection.known.clone().cancelled_owned()
    }

    /// Comes back when the connection is to leave.
    pub(super) async fn told_to_leave(&self) {
        self.connection.leave.cancelled().await;
    }

    /// Comes back when the connection is to leave in the middle of whatever it does.
    pub(super) async fn cut_off(&self) {
        self.connection.cut.cancelled().await;
    }

    /// How long the connection may take to say good-bye, unless it is cut off.
    pub(super) fn patience(&self) -> Duration {
        if self.connection.cut.is_cancelled() || !self.connection.has_asked() {
            Duration::ZERO
        } else if self.connection.is_busy() {
            DRAIN
        } else {
            FAREWELL
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.all.open();
        open.remove(&self.number);
        self.all.metrics.connections(open.len());
    }
}

impl Asking {
    /// It was answered, with so many bytes, which wait to be read until the result is dropped.
    pub(super) fn answered(self, bytes: usize, is_review: bool) -> Held {
        let Held {
            connection, all, ..
        } = &self.0;
        let (connection, all) = (Arc::clone(connection), Arc::clone(all));
        Held::of(connection, all, bytes + REQUEST, is_review)
    }
}

impl Held {
    fn of(
        connection: Arc<Connection>,
        all: Arc<Connections>,
        bytes: usize,
        is_review: bool,
    ) -> Self {
        connection.held.fetch_add(bytes, Ordering::Relaxed);
        if all.held.fetch_add(bytes, Ordering::Relaxed) + bytes > MOST_HELD {
            all.shed();
        }
        Self {
            connection,
            all,
            bytes,
            is_review,
        }
    }

    /// All of its bytes were taken.
    pub(super) fn read(&self) {
        if self.is_review {
            let before = self.connection.read.fetch_add(1, Ordering::Relaxed);
            if before + 1 == REGULAR {
                self.connection.known.cancel();
            }
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Self(Held {
            connection, all, ..
        }) = self;
        connection.since.store(all.now(), Ordering::Relaxed);
        connection.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connection
            .held
            .fetch_sub(self.bytes, Ordering::Relaxed);
        self.all.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
