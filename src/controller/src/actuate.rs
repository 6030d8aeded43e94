//! Carrying out a plan: shrink, wait for the kubelet's confirmation, then grow.
//!
//! Across pods nobody but us keeps that order (the kubelet does inside one
//! pod), and without it a node's limits would for a moment promise more than
//! its market has. Every request that writes passes the [`fence`](crate::lease::fence).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use mbcas_actuator::{
    ApplyError, ResizePlan, ResizePolicy, ResizeRequest, Settled, resize, settle,
};
use mbcas_api::names::FIELD_MANAGER;
use mbcas_core::ContainerId;
use mbcas_core::quantity::Quantity;
use mbcas_market::{Direction, Plan, Write};
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::lease::Leader;
use crate::lease::fence::{Fenced, fenced};

/// Writes per second, over all nodes: what a cluster takes as steady churn
/// (SIG Scalability's thresholds: 20 pod changes per second).
const WRITES_PER_SECOND: u32 = 20;

/// How long a shrink may take before the growth that relies on it is put off.
/// A kubelet of 1.36 or later needs 0.16 s, one of 1.33 about 1.8 s.
const CONFIRMATION: Duration = Duration::from_secs(5);

/// How many nodes are served at once.
const NODES_AT_ONCE: usize = 16;

/// What became of one write.
#[derive(Debug)]
pub enum Outcome {
    /// The kubelet has done it, after this long.
    Done(Duration),
    /// Accepted, and not confirmed in time.
    Unconfirmed,
    /// The pod was as wanted already.
    Unneeded,
    /// Growth that was put off because a shrink before it is not confirmed, or
    /// because the API server is busy.
    PutOff,
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
            Self::Unneeded => "unneeded",
            Self::PutOff => "put_off",
            Self::NotLeading => "not_leading",
            Self::Refused(error) => error.outcome(),
        }
    }

    /// The API server took the change.
    pub const fn is_written(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Unconfirmed)
    }
}

/// What became of a plan's writes, by container.
pub type Outcomes = BTreeMap<ContainerId, Outcome>;

/// The hand that writes.
pub struct Actuator {
    client: Client,
    leader: Leader,
    pace: Mutex<Interval>,
}

impl Actuator {
    /// A hand that writes through `client` while `leader` says that it may.
    pub fn new(client: Client, leader: Leader) -> Self {
        let mut pace = interval(Duration::from_secs(1) / WRITES_PER_SECOND);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            client,
            leader,
            pace: Mutex::new(pace),
        }
    }

    /// Carries out the plans of several nodes, which were made in the term `epoch`.
    pub async fn actuate(&self, plans: &[Plan], epoch: i32) -> Outcomes {
        let hand = Hand {
            client: fenced(&self.client, &self.leader, epoch),
            leader: &self.leader,
            epoch,
            pace: &self.pace,
        };
        let nodes: Vec<_> = plans
            .iter()
            .map(|plan| hand.actuate_node(&plan.writes).boxed())
            .collect();
        let nodes = futures::stream::iter(nodes).buffer_unordered(NODES_AT_ONCE);
        let outcomes: Vec<Outcomes> = nodes.collect().await;
        outcomes.into_iter().flatten().collect()
    }
}

/// The hand in one term.
struct Hand<'a> {
    client: Client,
    leader: &'a Leader,
    epoch: i32,
    pace: &'a Mutex<Interval>,
}

impl Hand<'_> {
    async fn actuate_node(&self, writes: &[Write]) -> Outcomes {
        let (shrinks, grows): (Vec<_>, Vec<_>) = writes
            .iter()
            .partition(|w| w.direction() == Direction::Shrink);
        let mut outcomes = self.write_all(&shrinks).await;
        let freed = outcomes
            .values()
            .all(|o| matches!(o, Outcome::Done(_) | Outcome::Unneeded));
        if freed {
            outcomes.extend(self.write_all(&grows).await);
        } else {
            outcomes.extend(
                grows
                    .iter()
                    .map(|write| (write.id.clone(), Outcome::PutOff)),
            );
        }
        outcomes
    }

    /// Writes one after the other, then waits for all confirmations together.
    async fn write_all(&self, writes: &[&Write]) -> Outcomes {
        let mut outcomes = Outcomes::new();
        let mut waiting = Vec::new();
        for write in writes {
            let outcome = match self.write(write).await {
                Ok(Some(accepted)) => {
                    waiting.push((write.id.clone(), accepted));
                    continue;
                }
                Ok(None) => Outcome::Unneeded,
                Err(outcome) => outcome,
            };
            outcomes.insert(write.id.clone(), outcome);
        }
        let confirmations = waiting
            .into_iter()
            .map(|(id, (plan, generation))| async move {
                let pods = self.pods(&id);
                match settle(&pods, &plan, generation, CONFIRMATION).await {
                    Settled::Done(after) => (id, Outcome::Done(after)),
                    Settled::Failed(_) | Settled::TimedOut(_) => (id, Outcome::Unconfirmed),
                }
            });
        outcomes.extend(futures::future::join_all(confirmations).await);
        outcomes
    }

    /// One write; nothing where the pod is as wanted already.
    async fn write(&self, write: &Write) -> Result<Option<(ResizePlan, Option<i64>)>, Outcome> {
        self.pace.lock().await.tick().await;
        // The fence asks again; this spares the reading.
        if self.leader.epoch() != Some(self.epoch) {
            return Err(Outcome::NotLeading);
        }
        let request = ResizeRequest {
            uid: Some(write.id.pod.uid.clone()),
            container: Some(write.id.container.clone()),
            cpu: Some(Quantity::from(write.to)),
            policy: ResizePolicy::Limits,
            ..ResizeRequest::default()
        };
        match resize(
            &self.pods(&write.id),
            &write.id.pod.name,
            &request,
            FIELD_MANAGER,
            false,
        )
        .await
        {
            Ok((plan, applied)) => Ok(applied.map(|applied| (plan, applied.generation))),
            Err(ApplyError::Busy(pause)) => {
                tracing::warn!(?pause, "The API server is busy; writing slower");
                self.pace.lock().await.reset_after(pause);
                Err(Outcome::Refused(ApplyError::Busy(pause)))
            }
            Err(ApplyError::Failed { source, .. })
                if matches!(Fenced::of(&source), Some(Fenced::NotLeading(_))) =>
            {
                Err(Outcome::NotLeading)
            }
            Err(error) => Err(Outcome::Refused(error)),
        }
    }

    fn pods(&self, id: &ContainerId) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &id.pod.namespace)
    }
}
