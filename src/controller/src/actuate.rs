//! Carrying out plans: who gives way first, and only then who takes.
//!
//! ```text
//!   per node    growth without a donor ─────────────────▶ at once
//!               shrinks ──▶ confirmed by status ──▶ growth that they cover
//!   all nodes   every single write: its turn at the bucket ▶ still leading? ▶ apply
//! ```
//!
//! Across pods nobody but us keeps that order (the kubelet does inside one
//! pod), and without it a node's limits would for a moment promise more than
//! its market has. A pod that fails holds back its own share of growth and no more.
//! Every request that writes passes the [`fence`](crate::lease::fence).

mod give_back;
mod memory;
mod order;
mod pace;
#[cfg(test)]
mod stage;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::Api;
use mbcas_actuator::bounds::Bounds;
use mbcas_actuator::{
    ApplyError, Gate, Progress, ResizePlan, ResizePolicy, ResizeRequest, Settled, resize_through,
    settle, version,
};
use mbcas_api::names::FIELD_MANAGER;
use mbcas_core::ContainerId;
use mbcas_core::quantity::Quantity;
use mbcas_market::decision::Turn;
use mbcas_market::{Plan, Write};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

use crate::lease::Leader;
use crate::lease::fence::{Fenced, fenced};
use memory::Memory;
pub(crate) use memory::{MOST, back_off};
use order::{Lanes, covered, in_turn};
pub use pace::Pace;

/// Writes per second, over all nodes: what a cluster takes as steady churn
/// (SIG Scalability's thresholds: 20 pod changes per second).
pub const WRITES_PER_SECOND: u32 = 20;

/// Writes at once after a calm.
pub const WRITE_BURST: u32 = 40;

/// Writes of one node that are sent and not confirmed yet: its kubelet does one pod after
/// the other, and each costs it two status writes.
const IN_FLIGHT: usize = 5;

/// How long a shrink may take before the growth that relies on it is put off.
/// A kubelet of 1.36 or later needs 0.16 s, one of 1.33 about 1.8 s.
const CONFIRMATION: Duration = Duration::from_secs(5);

/// How many nodes are served at once: enough for the whole budget of writes while each waits
/// 2 s for confirmations.
const NODES_AT_ONCE: usize = 64;

/// How old a decision may be when it is written. What has not had its turn by then is
/// decided anew.
const FRESH: Duration = Duration::from_secs(15);

/// What became of one write.
#[derive(Debug)]
pub enum Outcome {
    /// The kubelet has done it, after this long.
    Done(Duration),
    /// Accepted, and not confirmed in time.
    Unconfirmed,
    /// Accepted, and the kubelet has no room for it now: it is taken back in the next cycle.
    Deferred,
    /// Accepted, and the kubelet will never do it: it is taken back in the next cycle.
    Infeasible,
    /// Accepted, and the pod has ended since.
    Ended,
    /// The pod was as wanted already.
    Unneeded,
    /// Put off: a shrink before it is not confirmed, its turn did not come in time, or what
    /// came before it is being taken back.
    PutOff,
    /// Not tried: the node has said that it can never do this.
    KnownInfeasible,
    /// Not tried: it was refused, and too short a time ago.
    BackedOff,
    /// Not written: this process may not write any more.
    NotLeading,
    /// Refused.
    Refused(ApplyError),
}

impl Outcome {
    /// A word for metrics, from a closed set.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Unconfirmed => "unconfirmed",
            Self::Deferred => "deferred",
            Self::Infeasible => "infeasible",
            Self::Ended => "ended",
            Self::Unneeded => "unneeded",
            Self::PutOff => "put_off",
            Self::KnownInfeasible => "known_infeasible",
            Self::BackedOff => "backed_off",
            Self::NotLeading => "not_leading",
            Self::Refused(error) => error.outcome(),
        }
    }

    /// The API server took the change.
    pub const fn is_written(&self) -> bool {
        matches!(
            self,
            Self::Done(_) | Self::Unconfirmed | Self::Deferred | Self::Infeasible | Self::Ended
        )
    }
}

/// What became of a plan's writes, by container.
pub type Outcomes = BTreeMap<ContainerId, Outcome>;

/// The hand that writes.
pub struct Actuator {
    client: Client,
    leader: Leader,
    pace: Pace,
    fresh: Duration,
    memory: Mutex<Memory>,
    pod_level: OnceCell<bool>,
}

impl Actuator {
    /// A hand that writes through `client` while `leader` says that it may. The client must
    /// not repeat requests by itself: a repeated write asks neither bucket nor Lease.
    pub fn new(client: Client, leader: Leader) -> Self {
        Self {
            client,
            leader,
            pace: Pace::new(WRITES_PER_SECOND, WRITE_BURST),
            fresh: FRESH,
            memory: Mutex::default(),
            pod_level: OnceCell::new(),
        }
    }

    /// The same with another budget of writes, and other bounds on how long they may wait for it.
    #[must_use]
    pub fn paced(self, pace: Pace, fresh: Duration) -> Self {
        Self {
            pace,
            fresh,
            ..self
        }
    }

    /// How many writes can have their turn before decisions of now are too old.
    pub fn affordable(&self) -> usize {
        self.pace.affordable(Instant::now() + self.fresh)
    }

    /// Which part of the budget of writes was used at most since this was asked last, from 0 to 1.
    pub fn budget_used(&self) -> f64 {
        self.pace.used()
    }

    /// Carries out the plans of several nodes, which a `turn` in the term `epoch` has made. `started` is
    /// when the containers started that the plans were made for: one that was restarted since is
    /// left for the next cycle.
    pub async fn actuate(
        &self,
        plans: &[Plan],
        (epoch, turn): (i32, Turn),
        started: impl Fn(&ContainerId) -> Option<Timestamp> + Sync,
    ) -> Outcomes {
        let cycle = Cycle {
            hand: self,
            client: fenced(&self.client, &self.leader, epoch),
            epoch,
            turn,
            deadline: Instant::now() + self.fresh,
            pod_level: self.resizes_pod_level(plans).await,
            started: &started,
        };
        let mut outcomes = cycle.undo().await;
        let order = in_turn(plans, |write| self.memory().waited(&write.id));
        let nodes: Vec<_> = order
            .iter()
            .map(|plan| cycle.node(&plan.writes, &outcomes).boxed())
            .collect();
        let nodes = futures::stream::iter(nodes).buffer_unordered(NODES_AT_ONCE);
        let done: Vec<Outcomes> = nodes.collect().await;
        outcomes.clear();
        outcomes.extend(done.into_iter().flatten());
        self.memory().forget_old(Instant::now());
        outcomes
    }

    /// Forgets what was learnt, and what is to be taken back: another leader may have written since.
    pub fn forget(&self) {
        *self.memory() = Memory::default();
    }

    /// Asked once, when there is something to write; a server that does not say is taken for an old one.
    async fn resizes_pod_level(&self, plans: &[Plan]) -> bool {
        if plans.iter().all(|plan| plan.writes.is_empty()) {
            return false;
        }
        let asked = self.pod_level.get_or_try_init(async || {
            let version = version(&self.client).await?;
            Ok::<_, kube::Error>(version.is_some_and(mbcas_actuator::Version::resizes_pod_level))
        });
        asked.await.copied().unwrap_or(false)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Each note is replaced whole.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One cycle's writes.
struct Cycle<'a> {
    hand: &'a Actuator,
    /// Writes in this term and in no other.
    client: Client,
    /// The term in which the plans were made.
    epoch: i32,
    /// What has made them.
    turn: Turn,
    deadline: Instant,
    pod_level: bool,
    started: &'a (dyn Fn(&ContainerId) -> Option<Timestamp> + Sync),
}

impl Gate for Cycle<'_> {
    async fn pass(&self) -> bool {
        self.is_open() && self.hand.pace.turn(self.turn, self.deadline).await && self.is_open()
    }

    fn is_open(&self) -> bool {
        self.hand.leader.epoch() == Some(self.epoch)
    }

    fn busy(&self, wait: Duration) -> bool {
        tracing::warn!(?wait, "The API server is busy; nobody writes meanwhile");
        self.hand.pace.pause(wait);
        true
    }
}

impl Cycle<'_> {
    fn pods(&self, id: &ContainerId) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &id.pod.namespace)
    }

    /// Takes back what was deferred or cannot be done: the spec's amounts count against node
    /// and quota as if they had been given (kubernetes#135107).
    async fn undo(&self) -> Outcomes {
        let mut outcomes = Outcomes::new();
        let undoings = self.hand.memory().undoings();
        for (id, request) in undoings {
            let done = self.resize(&id, &request).await;
            tracing::info!(container = %id, outcome = ?done.as_ref().err(), "Taken back");
            let passing = matches!(
                done,
                Err(ApplyError::Stopped(_)
                    | ApplyError::Stale(_)
                    | ApplyError::Busy(_)
                    | ApplyError::Unanswered { .. }
                    | ApplyError::Failed { .. })
            );
            if passing {
                self.hand.memory().undo_later(&id, request);
            }
            outcomes.insert(id, Outcome::PutOff);
        }
        outcomes
    }

    async fn node(&self, writes: &[Write], undone: &Outcomes) -> Outcomes {
        let slots = Semaphore::new(IN_FLIGHT);
        let lanes = Lanes::of(writes);
        let dependent = async {
            let mut outcomes = self.lane(&lanes.shrinks, &slots, undone).await;
            let shrinks = lanes.shrinks.iter();
            let shrinks: Vec<_> = shrinks
                .filter_map(|write| Some((*write, outcomes.get(&write.id)?)))
                .collect();
            let (now, later) = covered(&lanes.grows, &shrinks);
            outcomes.extend(self.lane(&now, &slots, undone).await);
            let later = later
                .iter()
                .map(|write| (write.id.clone(), Outcome::PutOff));
            outcomes.extend(later);
            outcomes
        };
        let free = self.lane(&lanes.free, &slots, undone);
        let (free, mut outcomes) = tokio::join!(free, dependent);
        outcomes.extend(free);
        outcomes
    }

    /// Writes that wait for each other's slots and for nothing else.
    async fn lane(&self, writes: &[&Write], slots: &Semaphore, undone: &Outcomes) -> Outcomes {
        let each = writes.iter().map(|write| async {
            let outcome = match slots.acquire().await {
                Ok(_slot) if !undone.contains_key(&write.id) => self.write(write).await,
                _ => Outcome::PutOff,
            };
            (write.id.clone(), outcome)
        });
        join_all(each).await.into_iter().collect()
    }

    /// One write, from what is remembered to the kubelet's confirmation.
    async fn write(&self, write: &Write) -> Outcome {
        if let Some(known) = self.hand.memory().blocks(write, Instant::now()) {
            return known;
        }
        let (outcome, plan) = match self.resize(&write.id, &self.request(write)).await {
            Ok((plan, generation)) => (self.settled(write, &plan, generation).await, Some(plan)),
            Err(ApplyError::Stopped(_)) if self.is_open() => (Outcome::PutOff, None),
            Err(ApplyError::Stopped(_)) => (Outcome::NotLeading, None),
            Err(ApplyError::Failed { source, .. }) if is_fenced(&source) => {
                (Outcome::NotLeading, None)
            }
            Err(error) => (Outcome::Refused(error), None),
        };
        let hopeless = matches!(outcome, Outcome::Deferred | Outcome::Infeasible);
        let undo = plan.filter(|_| hopeless).and_then(|plan| plan.undo());
        let mut memory = self.hand.memory();
        memory.learn(write, &outcome, undo, Instant::now());
        outcome
    }

    async fn settled(&self, write: &Write, plan: &ResizePlan, generation: Option<i64>) -> Outcome {
        let pods = self.pods(&write.id);
        match settle(&pods, plan, generation, CONFIRMATION).await {
            Settled::Done(_) if plan.changes.is_empty() => Outcome::Unneeded,
            Settled::Done(after) => Outcome::Done(after),
            Settled::Failed(Progress::Infeasible(_)) => Outcome::Infeasible,
            Settled::Failed(Progress::Gone) => Outcome::Ended,
            Settled::TimedOut(Progress::Deferred(_)) => Outcome::Deferred,
            // The kubelet's errors pass: it tries again, and so do we.
            Settled::Failed(_) | Settled::TimedOut(_) => Outcome::Unconfirmed,
        }
    }

    fn request(&self, write: &Write) -> ResizeRequest {
        ResizeRequest {
            uid: Some(write.id.pod.uid.clone()),
            container: Some(write.id.container.clone()),
            cpu: Some(Quantity::from(write.to)),
            policy: ResizePolicy::Limits,
            started: (self.started)(&write.id),
            pod_level: self.pod_level,
            considerate: Some(Timestamp::now()),
            // What namespaces allow is in the plan already (crate::constraints).
            bounds: Some(Bounds::default()),
            ..ResizeRequest::default()
        }
    }

    /// Carries `request` out; the plan, and the generation at which it has to be observed.
    async fn resize(
        &self,
        id: &ContainerId,
        request: &ResizeRequest,
    ) -> Result<(ResizePlan, Option<i64>), ApplyError> {
        let (pods, name) = (self.pods(id), &id.pod.name);
        let (plan, applied) =
            resize_through(self, &pods, name, request, FIELD_MANAGER, false).await?;
        let generation = applied.map_or(plan.generation, |applied| applied.generation);
        Ok((plan, generation))
    }
}

/// The term ended with the request in hand.
fn is_fenced(error: &kube::Error) -> bool {
    matches!(Fenced::of(error), Some(Fenced::NotLeading(_)))
}

#[cfg(test)]
mod tests;
