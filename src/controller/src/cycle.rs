//! One cycle, in one sentence: Discover → Demand → Solve → Guardrail → Patch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use mbcas_core::ContainerId;
use mbcas_core::annotations::Mode;
use mbcas_market::{Ledger, NodeSnapshot, Plan, Policy, plan};
use tokio::time::Instant;

use crate::actuate::{Actuator, Outcome, Outcomes};
use crate::cluster::Cluster;
use crate::demand::{Demands, Readings};
use crate::discover::{Discovery, Moment, Terms, discover, snapshots};
use crate::kubelets::Kubelets;
use crate::metrics::Metrics;
use crate::observe;

/// How long a container is left alone after another resizer's claim was met:
/// a person or a tool that resizes pods by hand comes first.
const RESPECT: Duration = Duration::from_mins(5);

/// Everything that the loop keeps between two cycles.
pub struct Loop {
    /// The cluster's views.
    pub cluster: Cluster,
    /// Every agent's last word.
    pub demands: Demands,
    /// The kubelets.
    pub kubelets: Kubelets,
    /// The hand that writes.
    pub actuator: Actuator,
    /// The rules.
    pub policy: Policy,
    /// What every node is taken with.
    pub terms: Terms,
    /// Time between two cycles.
    pub interval: Duration,
    /// What is published.
    pub metrics: Arc<Metrics>,
    /// What the market remembers, by node.
    pub ledgers: BTreeMap<String, Ledger>,
    /// The term in which it remembers that; another leader may have written since an earlier one.
    pub epoch: Option<i32>,
    /// Containers that another resizer owns, and until when they are left to it.
    pub respected: BTreeMap<ContainerId, Instant>,
    /// Containers that have series of their own.
    pub known: BTreeSet<ContainerId>,
    /// The zero of the market's clock.
    pub started: Instant,
}

impl Loop {
    /// One cycle over all nodes in the term `epoch`; `mode` is how far it may go today.
    pub async fn cycle(&mut self, mode: Mode, epoch: i32) {
        if self.epoch.replace(epoch) != Some(epoch) {
            self.ledgers.clear();
        }
        let view = self.cluster.view();
        let discovery = discover(&view);
        observe::discovered(&discovery, &view);

        let agents = discovery
            .participants
            .iter()
            .map(|(id, found)| (id.clone(), found.agent))
            .collect();
        let nodes: Vec<_> = view
            .nodes
            .values()
            .filter(|node| discovery.is_on(&node.name))
            .collect();
        let demand = self.demands.read(&agents, self.interval);
        let (readings, evidence) = tokio::join!(demand, self.kubelets.ask(&nodes));
        observe::demanded(&readings, &evidence, &self.metrics);

        let terms = Terms { mode, ..self.terms };
        let moment = Moment {
            zero: self.started,
            wall: Timestamp::now(),
        };
        let mut snapshots = snapshots(
            &view,
            &discovery,
            &readings.demand,
            &evidence.usage,
            terms,
            moment,
        );
        self.respect(&mut snapshots);
        hold_back(&mut snapshots, &evidence.warming_up);
        let plans = self.plans(&snapshots);
        observe::solved(&snapshots, &plans);

        let outcomes = self.actuator.actuate(&plans, epoch).await;
        self.remember(&snapshots, &plans, &outcomes);
        observe::patched(&plans, &outcomes, &self.metrics);
        observe::published(
            &snapshots,
            &plans,
            &outcomes,
            &evidence.usage,
            &discovery,
            &self.metrics,
        );
        self.forget_gone(&discovery);
    }

    /// Clears every node's market and guards what comes out.
    fn plans(&self, snapshots: &[NodeSnapshot]) -> Vec<Plan> {
        let (empty, now) = (Ledger::default(), self.started.elapsed());
        let ledger = |node: &str| self.ledgers.get(node).unwrap_or(&empty);
        snapshots
            .iter()
            .map(|snapshot| plan(snapshot, ledger(&snapshot.node), &self.policy, now))
            .collect()
    }

    /// Keeps what was really written: what the API server did not take is taken back.
    fn remember(&mut self, snapshots: &[NodeSnapshot], plans: &[Plan], outcomes: &Outcomes) {
        let before = std::mem::take(&mut self.ledgers);
        let empty = Ledger::default();
        for (snapshot, plan) in snapshots.iter().zip(plans) {
            let mut ledger = plan.ledger.clone();
            for write in &plan.writes {
                if !outcomes.get(&write.id).is_some_and(Outcome::is_written) {
                    ledger.take_back(&write.id, before.get(&snapshot.node).unwrap_or(&empty));
                }
            }
            self.ledgers.insert(snapshot.node.clone(), ledger);
        }
        for (id, outcome) in outcomes {
            if matches!(
                outcome,
                Outcome::Refused(mbcas_actuator::ApplyError::Contested { .. })
            ) {
                self.respected.insert(id.clone(), Instant::now() + RESPECT);
            }
        }
    }

    /// Drops the series of containers that are gone.
    fn forget_gone(&mut self, discovery: &Discovery) {
        let present: BTreeSet<_> = discovery.participants.keys().cloned().collect();
        self.known
            .difference(&present)
            .for_each(|id| self.metrics.forget_container(id));
        self.known = present;
    }

    /// Leaves to other resizers what is theirs: it counts as it stands and is not written.
    fn respect(&mut self, snapshots: &mut [NodeSnapshot]) {
        let now = Instant::now();
        self.respected.retain(|_, until| now < *until);
        for snapshot in snapshots {
            for (id, observed) in &mut snapshot.participants {
                if self.respected.contains_key(id) {
                    observed.mode = observed.mode.min(Mode::Recommend);
                }
            }
        }
    }
}

/// Writes nothing on nodes of which no usage is known yet: every neighbour
/// would count with its whole weight share, and limits would be cut for the
/// length of a cooldown to what that leaves.
fn hold_back(snapshots: &mut [NodeSnapshot], warming_up: &BTreeSet<String>) {
    for snapshot in snapshots
        .iter_mut()
        .filter(|s| warming_up.contains(&s.node))
    {
        for observed in snapshot.participants.values_mut() {
            observed.mode = observed.mode.min(Mode::Recommend);
        }
    }
}

impl Discovery {
    /// Whether `node` has a participant.
    fn is_on(&self, node: &str) -> bool {
        self.participants.values().any(|found| found.node == node)
    }
}

impl Readings {
    /// How many agents gave no demand.
    pub fn missing(&self) -> u64 {
        self.failed.values().sum()
    }
}

#[cfg(test)]
mod tests;
