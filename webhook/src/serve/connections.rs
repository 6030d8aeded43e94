//! The connections that are open: few, and none for nothing.
//!
//! An API server keeps one connection or a few and uses them. As soon as places
//! get rare somebody gives way ([`turns`]), also in the middle of a request; and
//! whoever was asked to leave, and takes his time, is cut off when there is no
//! time left. The same holds for memory: whoever makes us hold most of it has to go.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::life::{Life, Remains};
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

/// Who has read so many answers is no stranger any more; and who has read so many more
/// than another has to go later, if nothing else tells them apart.
const REGULAR: u64 = 16;

/// How many sweeps after its last request a connection still counts as one that asks all the time.
const LATELY: u64 = 10;

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    /// Counts sweeps: time enough to judge idleness by, and cheaper than a clock.
    sweeps: AtomicU64,
    /// Looked at by who lets others in and by nobody else: a stranger's thread that holds
    /// a lock may have to wait for its next turn.
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    /// How many bytes requests and answers take.
    held: AtomicUsize,
    /// They take too many.
    is_full: Notify,
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
    /// Its place is free.
    gone: AtomicBool,
    /// It is to leave when what it does is done.
    leave: CancellationToken,
    /// It was asked to: the same, and cheaper to look at.
    is_leaving: AtomicBool,
    /// What it does, which ends in the middle of that when it is cut off.
    life: Arc<Life>,
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
    /// It asked or came just now, and another one of its address asks all the time.
    Kin,
    /// It asks all the time: newcomers, however many, do not take its place.
    Regular,
}

/// A connection's place; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
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
            is_full: Notify::new(),
            closing,
            metrics,
        })
    }

    /// A place for a new connection from `peer`, unless all are taken by connections that are in use.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        // What those held who are cut off is let go when others can come in again.
        let mut remains = Vec::new();
        let mut open = self.open();
        let has_room = open.len() + SPARE < MOST || {
            let turns = Turns::of(&open, peer, self.now());
            self.make_room(&open, &turns, &mut remains)
        };
        // Who was cut off is about to be gone.
        let cut = open.values().filter(|c| c.life.is_ended()).count();
        if !has_room || open.len() - cut >= MOST {
            self.metrics.connection_closed(Farewell::Refused);
            return None;
        }
        let known = CancellationToken::new();
        if self.is_expected(&open, peer) {
            known.cancel();
        }
        let number = open.last_key_value().map_or(0, |(number, _)| number + 1);
        let connection = Arc::new(Connection {
            peer,
            since: AtomicU64::new(self.now()),
            asked: AtomicU64::new(0),
            read: AtomicU64::new(0),
            known,
            running: AtomicU32::new(0),
            held: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            leave: self.closing.child_token(),
            is_leaving: AtomicBool::new(false),
            life: Arc::default(),
        });
        open.insert(number, Arc::clone(&connection));
        self.metrics.connections(open.len());
        Some(Place {
            connection,
            all: Arc::clone(self),
        })
    }

    /// Who comes from where somebody asks all the time is no stranger, if he is one of few.
    fn is_expected(&self, open: &BTreeMap<u64, Arc<Connection>>, newcomer: IpAddr) -> bool {
        let theirs = || open.values().filter(|c| c.peer == newcomer);
        theirs().count() < turns::FEW && theirs().any(|c| c.is_regular(self.now()))
    }

    /// Sends one away for a newcomer, and tells whether he may come in.
    fn make_room(
        &self,
        open: &BTreeMap<u64, Arc<Connection>>,
        turns: &Turns,
        remains: &mut Vec<Remains>,
    ) -> bool {
        let staying = || open.iter().filter(|(_, c)| !c.is_leaving());
        // As many as were asked to leave need not be asked once more.
        let is_enough = staying().count() + SPARE < MOST;
        let first = turns.first(staying()).filter(|_| !is_enough);
        if let Some(connection) = first {
            if turns.is_crowd(connection.peer) || connection.is_busy() {
                remains.push(self.cut(connection, Farewell::Crowded));
            } else {
                remains.extend(self.dismiss(connection, Farewell::Crowded));
            }
        }
        let uncut = open.values().filter(|c| !c.life.is_ended()).count();
        let is_last = uncut + LAST >= MOST;
        if is_last && let Some(connection) = turns.first_of_leaving(open) {
            // It was counted when it was asked to leave.
            remains.push(connection.life.end());
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
        // As above, what it held is let go afterwards.
        let _remains = self.cut_who_holds_most();
    }

    fn cut_who_holds_most(&self) -> Option<Remains> {
        let open = self.open();
        // What those hold that were cut off is about to be free.
        let staying = || open.values().filter(|c| !c.life.is_ended());
        let held = |connection: &Connection| connection.held.load(Ordering::Relaxed);
        let mut sums = HashMap::new();
        for connection in staying() {
            *sums.entry(connection.peer).or_insert(0) += held(connection);
        }
        if sums.values().sum::<usize>() <= MOST_HELD {
            return None;
        }
        let most = staying().max_by_key(|c| (sums[&c.peer], held(c)))?;
        Some(self.cut(most, Farewell::Greedy))
    }

    /// Tells those to leave that have been silent or idle for too long.
    pub(super) fn sweep(&self) {
        let now = self.sweeps.fetch_add(1, Ordering::Relaxed) + 1;
        // As above, what they held is let go afterwards.
        let mut remains = Vec::new();
        for connection in self.open().values().filter(|c| c.is_idle()) {
            let idle = now.saturating_sub(connection.since.load(Ordering::Relaxed));
            if connection.has_asked() && idle > IDLE {
                remains.extend(self.dismiss(connection, Farewell::Idle));
            } else if !connection.has_asked() && idle > PATIENCE {
                remains.extend(self.dismiss(connection, Farewell::Silent));
            }
        }
    }

    /// As [`Self::dismiss`], in the middle of whatever it does.
    fn cut(&self, connection: &Connection, why: Farewell) -> Remains {
        self.tell(connection, why);
        connection.life.end()
    }

    /// Asks it to leave. Who has never asked anything has nothing to wait for.
    fn dismiss(&self, connection: &Connection, why: Farewell) -> Option<Remains> {
        self.tell(connection, why);
        (!connection.has_asked()).then(|| connection.life.end())
    }

    fn tell(&self, connection: &Connection, why: Farewell) {
        connection.is_leaving.store(true, Ordering::Relaxed);
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

    /// Whenever requests and answers take too much, sends away who makes us hold most.
    pub(super) async fn keep_bounded(&self) -> Infallible {
        loop {
            self.is_full.notified().await;
            self.shed();
        }
    }

    /// Those that are open, without those whose places are free by now.
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, connection| !connection.gone.load(Ordering::Relaxed));
        self.metrics.connections(open.len());
        open
    }
}

impl Connection {
    fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// Something is being answered.
    fn is_busy(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// Nothing is being answered, and it was not told to leave yet.
    fn is_idle(&self) -> bool {
        !self.is_busy() && !self.is_leaving()
    }

    /// It asks all the time.
    fn is_regular(&self, now: u64) -> bool {
        self.read.load(Ordering::Relaxed) >= REGULAR
            && self.since.load(Ordering::Relaxed) + LATELY >= now
    }

    /// Who has to go first of two alike: by their use, then those that have not asked
    /// for longest, then those that have read least.
    fn rank(&self, now: u64) -> (Use, u64, u64) {
        let (read, since) = (&self.read, &self.since);
        let (read, since) = (read.load(Ordering::Relaxed), since.load(Ordering::Relaxed));
        let used = if self.is_regular(now) {
            Use::Regular
        } else if self.has_asked() {
            Use::Seldom
        } else if since + 1 >= now {
            Use::NotYet
        } else {
            Use::Never
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

    /// What the connection does, which ends when it is cut off.
    pub(super) fn life(&self) -> Arc<Life> {
        Arc::clone(&self.connection.life)
    }

    /// Enough was read by the connection that it is no stranger any more.
    pub(super) fn is_known(&self) -> bool {
        self.connection.known.is_cancelled()
    }

    /// Cancelled when it is.
    pub(super) fn known(&self) -> CancellationToken {
        self.connection.known.clone()
    }

    /// Comes back when the connection is to leave.
    pub(super) async fn told_to_leave(&self) {
        self.connection.leave.cancelled().await;
    }

    /// How long the connection may take to say good-bye.
    pub(super) fn patience(&self) -> Duration {
        if !self.connection.has_asked() {
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
        self.connection.gone.store(true, Ordering::Relaxed);
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
            all.is_full.notify_one();
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
