//! All signals of the kernel's: each at its own pace, in one step that allocates nothing.

use std::time::{Duration, Instant};

use mbcas_core::demand::{queue_pressure, throttling_pressure, waiting_pressure};

use crate::board::{Board, Watch};
use crate::cgroup::{Cgroup, CgroupError};
use crate::mean::Standing;
use crate::node::{Node, NodeError};
use crate::pace::Pace;
use crate::processes::{ProcessError, Processes};
use crate::signal::{Pressures, Source};
use crate::sockets::{AcceptQueue, ReceiveQueue, SocketError};
use crate::threads::Threads;

/// The least time between two looks at processes.
const PAUSE: Duration = Duration::from_secs(1);

/// The least time between two looks at the node, which is for people.
const PAUSE_OF_NODE: Duration = Duration::from_secs(5);

/// The most time between two looks at processes and their threads: what was seen before a cycle of the market
/// says nothing about now. Below 250 threads looks come sooner; 4,000, of 3 µs each, take a thousandth of a core.
const OLDEST: Duration = Duration::from_secs(15);

/// What the kernel shows of the pod.
#[derive(Debug)]
pub struct Kernel {
    /// The agent's own port, whose connections are not the pod's requests.
    own: u16,
    pressures: Pressures,
    need: Option<f64>,
    accept: (AcceptQueue, Standing, Watch<SocketError>),
    receive: (ReceiveQueue, Watch<SocketError>),
    pod: Pod,
    node: (Node, Pace, Watch<NodeError>),
}

impl Kernel {
    /// Begins with every signal.
    pub fn new(board: &Board) -> Self {
        Self {
            own: board.config.listen.port(),
            pressures: Pressures::default(),
            need: None,
            accept: (
                AcceptQueue::new(),
                Standing::default(),
                Watch::new(Source::AcceptQueue, board),
            ),
            receive: (ReceiveQueue::new(), Watch::new(Source::ReceiveQueue, board)),
            pod: Pod::new(board),
            node: (
                Node::default(),
                Pace::new(PAUSE_OF_NODE),
                Watch::new(Source::Node, board),
            ),
        }
    }

    /// Looks at what is due now.
    pub fn step(&mut self, now: Instant, board: &Board) {
        let own = self.own;
        let (queue, standing, watch) = &mut self.accept;
        let asked = board.questions();
        let waiting = watch
            .note(queue.waiting_at(now, |port| port != own))
            .flatten();
        // Nor is a question to the application a request to the pod; it may come or go while this looks.
        let asked = asked.max(board.questions());
        let waiting = waiting.map(|waiting| waiting.saturating_sub(asked));
        let standing = standing.update(waiting, now).map(queue_pressure);
        self.pressures.set(Source::AcceptQueue, standing);
        let (queue, watch) = &mut self.receive;
        if queue.is_due(now) {
            watch.note(queue.sample(now, |port| port != own));
        }
        let standing = queue.standing(now).map(queue_pressure);
        self.pressures.set(Source::ReceiveQueue, standing);
        self.pod.step(now, &mut self.pressures, &mut self.need);
        let (node, pace, watch) = &mut self.node;
        if pace.is_due(now) {
            let share = pace.run(now, || watch.note(node.sample(now)));
            board.put_node(share.flatten());
        }
    }

    /// Whether it could not even be seen whether anything listens.
    pub const fn is_blind(&self) -> bool {
        self.accept.2.fails()
    }

    /// The pressures as of the last step.
    pub const fn pressures(&self) -> Pressures {
        self.pressures
    }

    /// What the application's threads could use, in cores; None where they cannot be seen.
    pub const fn need(&self) -> Option<f64> {
        self.need
    }

    /// How long to wait before the next step.
    pub fn pace(&self) -> Duration {
        self.accept.0.pace()
    }
}

/// What the kernel shows of the application's processes.
#[derive(Debug)]
struct Pod {
    /// None in the machine's own process namespace, and where `/proc` cannot be read.
    processes: Option<Processes>,
    pace: Pace,
    threads: Threads,
    pace_of_threads: Pace,
    watch_threads: Watch<ProcessError>,
    cgroup: Cgroup,
    watch_cgroup: Watch<CgroupError>,
}

impl Pod {
    fn new(board: &Board) -> Self {
        let mut watch_threads = Watch::new(Source::Threads, board);
        let processes = match Processes::open() {
            Ok(processes) => processes,
            Err(why) => watch_threads.note(Err(why)),
        };
        Self {
            processes,
            pace: Pace::within(PAUSE, OLDEST),
            threads: Threads::new(),
            pace_of_threads: Pace::within(PAUSE, OLDEST),
            watch_threads,
            cgroup: Cgroup::default(),
            watch_cgroup: Watch::new(Source::Throttling, board),
        }
    }

    /// Puts in the pressures of threads and cgroup, and the need in cores. Where no process of the
    /// application's is seen, there are none, and that is no error.
    fn step(&mut self, now: Instant, pressures: &mut Pressures, need: &mut Option<f64>) {
        let Self {
            processes: Some(processes),
            pace,
            threads,
            pace_of_threads,
            watch_threads,
            cgroup,
            watch_cgroup,
        } = self
        else {
            return;
        };
        if pace.is_due(now) {
            pace.run(now, || {
                let looked = processes.look();
                let (root, found) = (processes.root(), processes.found());
                let stops = match looked {
                    Ok(()) if found.is_empty() => None,
                    Ok(()) => watch_cgroup.note(cgroup.sample(root, found, now)),
                    Err(why) => watch_threads.note(Err(why)),
                };
                let stops = stops.unwrap_or_default();
                pressures.set(Source::Throttling, stops.throttled.map(throttling_pressure));
                pressures.set(Source::Stalls, stops.stalled.map(waiting_pressure));
            });
        }
        if processes.found().is_empty() {
            threads.forget();
            pressures.set(Source::Threads, None);
            *need = None;
        } else if pace_of_threads.is_due(now) {
            let (root, found) = (processes.root(), processes.found());
            let activity = pace_of_threads
                .run(now, || watch_threads.note(threads.sample(root, found, now)))
                .flatten();
            pressures.set(
                Source::Threads,
                activity.map(|seen| waiting_pressure(seen.waiting)),
            );
            *need = activity.map(|seen| seen.need);
        }
    }
}

#[cfg(test)]
mod tests;
