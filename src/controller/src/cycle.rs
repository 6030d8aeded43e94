//! One cycle, in one sentence: Discover → Demand → Solve → Guardrail → Patch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use mbcas_core::ContainerId;
use mbcas_core::annotations::Mode;
use mbcas_market::{Ledger, NodeSnapshot, Plan, Policy, plan, spend};
use tokio::time::Instant;

use crate::actuate::{Actuator, Outcome, Outcomes};
use crate::canary::Canary;
use crate::cluster::{Cluster, View};
use crate::constraints::within_quotas;
use crate::demand::{Demands, Readings};
use crate::discover::{Discovery, Moment, Terms, discover, snapshots};
use crate::govern::govern;
use crate::kubelets::{Evidence, Kubelets};
use crate::metrics::Metrics;
use crate::observe;
use crate::permit::Circumstances;
use crate::scribe::Scribe;
use crate::switch::{Bound, Switch};
use crate::unenforced::Unenforced;

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
    /// How far it goes at most.
    pub mode: Mode,
    /// Which part of the participants is resized.
    pub canary: Canary,
    /// Where whoever runs the cluster stops it.
    pub switch: Switch,
    /// Who writes what is not a resize.
    pub scribe: Scribe,
    /// Nodes that do not keep to limits.
    pub unenforced: Unenforced,
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
            self.actuator.forget();
        }
        let view = self.cluster.view();
        let switch = self.switch.look().await;
        let discovery = discover(&view);
        observe::discovered(&discovery, &view);

        let (readings, evidence) = self.ask(&view, &discovery).await;
        observe::demanded(&readings, &evidence, &self.metrics);

        let mut snapshots = self.snapshots(&view, &discovery, &readings, &evidence);
        let circumstances = self.circumstances(mode, switch, &snapshots, &evidence);
        let governed = govern(&mut snapshots, &view, &discovery, circumstances);
        let plans = self.plans(&snapshots, &view);
        observe::solved(&snapshots, &plans);

        let started = |id: &ContainerId| discovery.participants.get(id)?.participation.started;
        let outcomes = self.actuator.actuate(&plans, epoch, started).await;
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
        observe::bounded(&governed, &self.unenforced, &view, &self.metrics);
        self.scribe
            .write(&view, &plans, &governed, &self.metrics, epoch)
            .await;
        self.forget_gone(&discovery);
    }

    /// Asks agents and kubelets, at the same time.
    async fn ask(&mut self, view: &View, discovery: &Discovery) -> (Readings, Evidence) {
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
        tokio::join!(demand, self.kubelets.ask(&nodes))
    }

    /// Every node as it is now.
    fn snapshots(
        &self,
        view: &View,
        discovery: &Discovery,
        readings: &Readings,
        evidence: &Evidence,
    ) -> Vec<NodeSnapshot> {
        let moment = Moment {
            zero: self.started,
            wall: Timestamp::now(),
        };
        let (demand, usage) = (&readings.demand, &evidence.usage);
        snapshots(view, discovery, demand, usage, self.terms, moment)
    }

    /// What bounds this cycle. Another resizer's claim is forgotten in time.
    fn circumstances<'a>(
        &'a mut self,
        mode: Mode,
        switch: Bound,
        snapshots: &[NodeSnapshot],
        evidence: &'a Evidence,
    ) -> Circumstances<'a> {
        self.unenforced.observe(snapshots, self.started.elapsed());
        self.respected.retain(|_, until| Instant::now() < *until);
        Circumstances {
            mode,
            switch,
            canary: self.canary,
            unenforced: &self.unenforced,
            contested: &self.respected,
            warming_up: &evidence.warming_up,
        }
    }

    /// Clears every node's market, guards what comes out, and leaves out what quotas have no room
    /// for; of the rest, what brings most is written if not everything can be.
    fn plans(&self, snapshots: &[NodeSnapshot], view: &View) -> Vec<Plan> {
        let (empty, now) = (Ledger::default(), self.started.elapsed());
        let ledger = |node: &str| self.ledgers.get(node).unwrap_or(&empty);
        let mut plans: Vec<_> = snapshots
            .iter()
            .map(|snapshot| plan(snapshot, ledger(&snapshot.node), &self.policy, now))
            .collect();
        let held = within_quotas(&mut plans, snapshots, &self.ledgers, view);
        self.metrics.quota_held.inc_by(held);
        let before: Vec<_> = snapshots.iter().map(|s| ledger(&s.node)).collect();
        let put_off = spend(&mut plans, snapshots, &before, self.actuator.affordable());
        self.metrics.put_off.inc_by(put_off);
        plans
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
