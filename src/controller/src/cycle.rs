//! One cycle, in one sentence: Discover → Demand → Solve → Guardrail → Patch.
//!
//! Between two of them the loop takes early turns: nodes on which a demand has jumped are
//! cleared with that demand and with what the last cycle heard of everybody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use mbcas_core::ContainerId;
use mbcas_core::annotations::Mode;
use mbcas_market::decision::Turn;
use mbcas_market::{Ledger, NodeSnapshot, Plan, Policy, plan, spend};
use tokio::time::Instant;

use crate::actuate::{Actuator, Outcome, Outcomes};
use crate::canary::Canary;
use crate::cluster::{Cluster, View};
use crate::constraints::within_quotas;
use crate::demand::{Demands, Readings};
use crate::discover::{Discovery, Moment, Terms, discover, snapshots};
use crate::govern::{Governed, govern};
use crate::jumps::{Jump, Jumps, ears};
use crate::kubelets::{Evidence, Kubelets};
use crate::metrics::Metrics;
use crate::observe;
use crate::permit::Circumstances;
use crate::record::{Drafts, Occasion, Record};
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
    /// Whose demand jumps between two cycles.
    pub jumps: Jumps,
    /// What the last cycle of this term heard.
    pub heard: Option<Heard>,
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
    /// The last decisions, to be explained and replayed.
    pub record: Record,
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

/// What a cycle heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// Of the agents.
    pub readings: Readings,
    /// Of the kubelets.
    pub evidence: Evidence,
}

/// All nodes as a turn sees them, and what bounds it.
struct Scene {
    view: View,
    discovery: Discovery,
    snapshots: Vec<NodeSnapshot>,
    governed: Governed,
}

impl Loop {
    /// One cycle over all nodes in the term `epoch`; `mode` is how far it may go today.
    pub async fn cycle(&mut self, mode: Mode, epoch: i32) {
        if self.epoch.replace(epoch) != Some(epoch) {
            self.ledgers.clear();
            self.actuator.forget();
        }
        let view = self.cluster.view();
        let discovery = discover(&view);
        observe::discovered(&discovery, &view);

        let heard = self.ask(&view, &discovery).await;
        observe::demanded(&heard.readings, &heard.evidence, &self.metrics);

        let scene = self.look(view, discovery, &heard, mode).await;
        let (plans, outcomes) = self.act(&scene, Turn::Cycle, epoch).await;
        observe::published(
            &scene.snapshots,
            &plans,
            &outcomes,
            &heard.evidence.usage,
            &scene.discovery,
            &self.metrics,
        );
        observe::bounded(
            &scene.governed,
            &self.unenforced,
            &scene.view,
            &self.metrics,
        );
        self.jumps
            .listen_to(ears(&scene.discovery, &scene.snapshots, &plans));
        self.scribe
            .write(&scene.view, &plans, &scene.governed, &self.metrics, epoch)
            .await;
        self.forget_gone(&scene);
        self.heard = Some(heard);
    }

    /// An early turn in the term `epoch`: the nodes on which `jumps` happened, and no others.
    pub async fn early(&mut self, jumps: &[Jump], mode: Mode, epoch: i32) {
        // Nothing is known in this term before its first cycle.
        let Some(mut heard) = self.heard.take().filter(|_| self.epoch == Some(epoch)) else {
            return;
        };
        let view = self.cluster.view();
        let discovery = discover(&view);
        let mut nodes = BTreeSet::new();
        for jump in jumps {
            if let Some(found) = discovery.participants.get(&jump.id) {
                nodes.insert(found.node.clone());
                heard.readings.demand.insert(jump.id.clone(), jump.demand);
                tracing::info!(node = found.node.as_str(), container = %jump.id, demand = %jump.demand, "Jump");
            }
        }
        let mut scene = self.look(view, discovery, &heard, mode).await;
        scene
            .snapshots
            .retain(|one| nodes.contains(one.node.as_str()));
        observe::jumped(jumps, &self.metrics);
        self.act(&scene, Turn::Early, epoch).await;
        self.heard = Some(heard);
    }

    /// Forgets what belongs to a term that is over.
    pub fn stand_by(&mut self) {
        self.heard = None;
        self.jumps.listen_to_nobody();
    }

    /// Every node as it is now, and how far it may be gone with each participant.
    async fn look(&mut self, view: View, discovery: Discovery, heard: &Heard, mode: Mode) -> Scene {
        let switch = self.switch.look().await;
        let mut snapshots = self.snapshots(&view, &discovery, heard);
        let circumstances = self.circumstances(mode, switch, &snapshots, &heard.evidence);
        let governed = govern(&mut snapshots, &view, &discovery, circumstances);
        Scene {
            view,
            discovery,
            snapshots,
            governed,
        }
    }

    /// Decides for the nodes of `scene`, writes what was decided, and records it after that.
    async fn act(&mut self, scene: &Scene, turn: Turn, term: i32) -> (Vec<Plan>, Outcomes) {
        let occasion = Occasion {
            term,
            turn,
            now: self.started.elapsed(),
            policy: self.policy,
        };
        let (plans, drafts) = self.plans(&scene.snapshots, &scene.view, occasion.now);
        observe::solved(&scene.snapshots, &plans);
        let participants = &scene.discovery.participants;
        let started = |id: &ContainerId| participants.get(id)?.participation.started;
        let outcomes = self.actuator.actuate(&plans, term, started).await;
        self.record.keep(
            occasion,
            drafts,
            &scene.snapshots,
            &self.ledgers,
            &plans,
            &outcomes,
        );
        self.remember(&scene.snapshots, &plans, &outcomes);
        observe::patched(&plans, &outcomes, &self.metrics);
        (plans, outcomes)
    }

    /// Asks agents and kubelets, at the same time.
    async fn ask(&mut self, view: &View, discovery: &Discovery) -> Heard {
        let agents = discovery
            .participants
            .iter()
            .map(|(id, found)| (id.clone(), found.agent))
            .collect();
        let nodes = discovery.nodes();
        let nodes = nodes.iter().filter_map(|name| view.nodes.get(*name));
        let nodes: Vec<_> = nodes.collect();
        let demand = self.demands.read(&agents, self.interval);
        let (readings, evidence) =
            tokio::join!(demand, self.kubelets.ask(&nodes, self.interval / 2));
        Heard { readings, evidence }
    }

    fn snapshots(&self, view: &View, discovery: &Discovery, heard: &Heard) -> Vec<NodeSnapshot> {
        let moment = Moment {
            zero: self.started,
            wall: Timestamp::now(),
        };
        let (demand, usage) = (&heard.readings.demand, &heard.evidence.usage);
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
    fn plans(&self, snapshots: &[NodeSnapshot], view: &View, now: Duration) -> (Vec<Plan>, Drafts) {
        let empty = Ledger::default();
        let ledger = |node: &str| self.ledgers.get(node).unwrap_or(&empty);
        let mut plans: Vec<_> = snapshots
            .iter()
            .map(|snapshot| plan(snapshot, ledger(&snapshot.node), &self.policy, now))
            .collect();
        let drafts = self.record.drafts(snapshots, &plans);
        let held = within_quotas(&mut plans, snapshots, &self.ledgers, view);
        self.metrics.quota_held.inc_by(held);
        let before: Vec<_> = snapshots.iter().map(|s| ledger(&s.node)).collect();
        let put_off = spend(&mut plans, snapshots, &before, self.actuator.affordable());
        self.metrics.put_off.inc_by(put_off);
        (plans, drafts)
    }

    /// Keeps what was really written: what the API server did not take is taken back.
    fn remember(&mut self, snapshots: &[NodeSnapshot], plans: &[Plan], outcomes: &Outcomes) {
        for (snapshot, plan) in snapshots.iter().zip(plans) {
            let before = self.ledgers.remove(&snapshot.node).unwrap_or_default();
            let mut ledger = plan.ledger.clone();
            for write in &plan.writes {
                if !outcomes.get(&write.id).is_some_and(Outcome::is_written) {
                    ledger.take_back(&write.id, &before);
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

    /// Drops the memory of nodes, and the series of containers, that are gone.
    fn forget_gone(&mut self, scene: &Scene) {
        let nodes = scene.snapshots.iter().map(|snapshot| &snapshot.node);
        let nodes: BTreeSet<_> = nodes.collect();
        self.ledgers.retain(|node, _| nodes.contains(node));
        let present: BTreeSet<_> = scene.discovery.participants.keys().cloned().collect();
        self.known
            .difference(&present)
            .for_each(|id| self.metrics.forget_container(id));
        self.known = present;
    }
}

impl Discovery {
    /// The nodes that have a participant.
    fn nodes(&self) -> BTreeSet<&str> {
        let participants = self.participants.values();
        participants.map(|found| found.node.as_str()).collect()
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
