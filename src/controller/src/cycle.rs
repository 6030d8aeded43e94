//! One cycle, in one sentence: Discover → Demand → Solve → Guardrail → Patch.
//!
//! Where it waits for others it takes a step aside, so that nobody who is slow to answer keeps the
//! loop from anything else:
//! ```text
//!  begin ─▶ ask ─▶ decide ─▶ write limits ─▶ conclude ─▶ write notes ─▶ the end
//!          (step)           (step)                      (step)
//!  jump ──────────▶ decide ─▶ write limits
//! ```
//! Meanwhile it takes early turns: nodes on which a demand has jumped are cleared with that demand and
//! with what the last cycle heard of everybody else. Nobody decides about a node whose writes are
//! on their way: a jump there waits for them, and a cycle, which decides about all, for all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use mbcas_actuator::ApplyError;
use mbcas_core::ContainerId;
use mbcas_core::annotations::Mode;
use mbcas_market::decision::Turn;
use mbcas_market::{Ledger, NodeSnapshot, Plan, Policy, plan, spend};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::actuate::{Actuator, Outcome, Outcomes};
use crate::canary::Canary;
use crate::cluster::{Cluster, View};
use crate::constraints::within_quotas;
use crate::discover::{Discovery, Moment, Terms, discover, snapshots};
use crate::govern::govern;
use crate::ids::Ids;
use crate::jumps::{Jump, Jumps, ears};
use crate::kubelets::Evidence;
use crate::leaving::{Leaver, Leaving, leaving};
use crate::metrics::Metrics;
use crate::observe;
use crate::permit::Circumstances;
use crate::record::{Drafts, Occasion, Record};
use crate::scribe::{Contested, News, Scribe};
use crate::senses::{Heard, Questions, Senses};
use crate::switch::{Bound, Switch};
use crate::unenforced::Unenforced;

mod under_way;

pub use under_way::{Act, Cycle, Step, Term, UnderWay};

use under_way::Scene;

/// How long a container is left alone after another resizer's claim was met:
/// a person or a tool that resizes pods by hand comes first.
const RESPECT: Duration = Duration::from_mins(5);

/// Everything that the loop keeps between two cycles.
pub struct Loop {
    /// The cluster's views.
    pub cluster: Cluster,
    /// Agents and kubelets, which one cycle asks at a time.
    pub senses: Arc<Mutex<Senses>>,
    /// Whose demand jumps between two cycles.
    pub jumps: Jumps,
    /// The hand that writes.
    pub actuator: Arc<Actuator>,
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
    pub scribe: Arc<Mutex<Scribe>>,
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
    /// Those of them of whom nobody was told yet, with the API server's words.
    pub contested: Vec<Contested>,
    /// Pods that are let go and not as they were yet.
    pub leaving: Leaving,
    /// What the participants are called.
    pub ids: Ids,
    /// The zero of the market's clock.
    pub started: Instant,
    /// What is under way.
    pub under_way: UnderWay,
}

impl Loop {
    /// Whether no cycle is under way.
    pub const fn is_idle(&self) -> bool {
        self.under_way.cycle.is_none()
    }

    /// Begins a cycle over all nodes.
    pub fn begin(&mut self, term: Term) {
        if self.epoch.replace(term.epoch) != Some(term.epoch) {
            self.ledgers.clear();
            self.actuator.forget();
            self.leaving = Leaving::default();
            self.contested.clear();
        }
        let view = self.cluster.view();
        let questions = Questions::of(&view, &discover(&view, &mut self.ids));
        let begun = Instant::now();
        let cycle = Cycle { term, begun };
        let (senses, interval) = (Arc::clone(&self.senses), self.interval);
        let under_way = &mut self.under_way;
        (under_way.cycle, under_way.fresh) = (Some(cycle), None);
        under_way.steps.spawn(async move {
            let heard = senses.lock().await.ask(questions, interval).await;
            Step::Heard(cycle, heard)
        });
    }

    /// An early turn: the nodes on which `jumps` happened, and no others.
    pub async fn early(&mut self, jumps: Vec<Jump>, term: Term) {
        let under_way = &mut self.under_way;
        if under_way.fresh.is_some() {
            // A cycle is about to decide.
            under_way.late.extend(jumps);
            return;
        }
        // Nothing is known in this term before its first cycle.
        if self.epoch != Some(term.epoch) || under_way.heard.is_none() {
            return;
        }
        let view = self.cluster.view();
        let discovery = discover(&view, &mut self.ids);
        let (mut served, mut nodes) = (Vec::new(), BTreeSet::new());
        for jump in jumps {
            let Some(found) = discovery.participants.get(&jump.id) else {
                continue;
            };
            if under_way.busy.contains(found.node.as_str()) {
                under_way.late.push(jump);
                continue;
            }
            tracing::info!(node = found.node.as_str(), container = %jump.id, demand = %jump.word.demand, "Jump");
            nodes.insert(found.node.clone());
            served.push(jump);
        }
        if served.is_empty() {
            return;
        }
        let Some(mut heard) = under_way.heard.take() else {
            return;
        };
        for jump in &served {
            heard.readings.words.insert(jump.id.clone(), jump.word);
        }
        let mut scene = self.look(view, discovery, &heard, term.mode).await;
        scene
            .snapshots
            .retain(|one| nodes.contains(one.node.as_str()));
        observe::jumped(&served, &self.metrics);
        self.under_way.heard = Some(heard);
        self.act(scene, Turn::Early, term.epoch);
    }

    /// Goes on where `step` ends; without a `term` nothing new is decided.
    pub async fn go_on(&mut self, step: Step, term: Option<Term>) {
        match step {
            Step::Heard(cycle, heard) if self.under_way.cycle == Some(cycle) => {
                self.under_way.fresh = Some(heard);
            }
            Step::Noted(cycle, leavers) if self.under_way.cycle == Some(cycle) => {
                self.end(cycle, &leavers);
            }
            // Of a cycle that was given up.
            Step::Heard(..) | Step::Noted(..) => {}
            Step::Acted(act, outcomes) => self.acted(*act, &outcomes),
        }
        let Some(term) = term else {
            self.stand_by();
            return;
        };
        if self.under_way.busy.is_empty()
            && let Some(heard) = self.under_way.fresh.take()
        {
            self.decide(heard).await;
        }
        if self.under_way.fresh.is_none() && !self.under_way.late.is_empty() {
            let late = std::mem::take(&mut self.under_way.late);
            self.early(late, term).await;
        }
    }

    /// Forgets what belongs to a term that is over.
    pub fn stand_by(&mut self) {
        let under_way = &mut self.under_way;
        (under_way.cycle, under_way.heard, under_way.fresh) = (None, None, None);
        under_way.late.clear();
        self.jumps.listen_to_nobody();
        self.metrics.write_budget.set(0.0);
        observe::contradicts_nobody(&self.metrics);
    }

    /// The middle of a cycle, which has `heard` what it asked for.
    async fn decide(&mut self, heard: Heard) {
        let Some(Cycle { term, .. }) = self.under_way.cycle else {
            return;
        };
        let view = self.cluster.view();
        let discovery = discover(&view, &mut self.ids);
        observe::discovered(&discovery, &view);
        observe::demanded(&heard.readings, &heard.evidence, &self.metrics);
        let scene = self.look(view, discovery, &heard, term.mode).await;
        self.under_way.heard = Some(heard);
        self.act(scene, Turn::Cycle, term.epoch);
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

    /// Decides for the nodes of `scene`, and begins to write what was decided.
    fn act(&mut self, scene: Scene, turn: Turn, term: i32) {
        let occasion = Occasion {
            term,
            turn,
            now: self.started.elapsed(),
            policy: self.policy,
        };
        let (plans, drafts) = self.plans(&scene.snapshots, &scene.view, occasion.now);
        observe::solved(&scene.snapshots, &plans);
        if turn == Turn::Cycle
            && let Some(Heard { readings, .. }) = &self.under_way.heard
        {
            let Scene {
                discovery,
                snapshots,
                ..
            } = &scene;
            self.jumps
                .listen_to(ears(discovery, snapshots, &plans, &readings.silent));
        }
        let before = self.set_aside(&plans, &scene.snapshots);
        let act = Box::new(Act {
            cycle: self.under_way.cycle.filter(|_| turn == Turn::Cycle),
            scene,
            occasion,
            plans,
            drafts,
            before,
        });
        let actuator = Arc::clone(&self.actuator);
        self.under_way.steps.spawn(async move {
            let outcomes = act.carry_out(&actuator).await;
            Step::Acted(act, outcomes)
        });
    }

    /// Takes out the ledgers of before. Where nothing is to be written the node has its new one at
    /// once, and anywhere else it is busy until that is done.
    fn set_aside(
        &mut self,
        plans: &[Plan],
        snapshots: &[NodeSnapshot],
    ) -> BTreeMap<String, Ledger> {
        let mut before = BTreeMap::new();
        for (snapshot, plan) in snapshots.iter().zip(plans) {
            let node = &snapshot.node;
            before.insert(node.clone(), self.ledgers.remove(node).unwrap_or_default());
            if plan.writes.is_empty() {
                self.ledgers.insert(node.clone(), plan.ledger.clone());
            } else {
                self.under_way.busy.insert(node.clone());
            }
        }
        before
    }

    /// Notes and records what became of `act`; a cycle goes on with what it tells others.
    fn acted(&mut self, act: Act, outcomes: &Outcomes) {
        self.record.keep(
            act.occasion,
            act.drafts,
            &act.scene.snapshots,
            &act.before,
            &act.plans,
            outcomes,
        );
        let is_current = self.epoch == Some(act.occasion.term);
        let decided = act.scene.snapshots.iter().zip(&act.plans);
        // The others had their ledgers at once, and may be busy with somebody else's writes since.
        for (snapshot, plan) in decided.filter(|(_, plan)| !plan.writes.is_empty()) {
            self.under_way.busy.remove(&snapshot.node);
            if is_current {
                let ledger = remembered(plan, &act.before[&snapshot.node], outcomes);
                self.ledgers.insert(snapshot.node.clone(), ledger);
            }
        }
        self.respect(outcomes);
        observe::patched(&act.plans, outcomes, &self.metrics);
        if let Some(cycle) = act.cycle.filter(|_| act.cycle == self.under_way.cycle) {
            self.conclude(cycle, act.scene, act.plans, outcomes);
        }
    }

    /// Publishes what a cycle has done, and begins to write its notes.
    fn conclude(&mut self, cycle: Cycle, scene: Scene, plans: Vec<Plan>, outcomes: &Outcomes) {
        let Some(heard) = &self.under_way.heard else {
            return;
        };
        observe::published(
            &scene.snapshots,
            &plans,
            outcomes,
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
        self.forget_gone(&scene);
        let (scribe, metrics) = (Arc::clone(&self.scribe), Arc::clone(&self.metrics));
        let Scene { view, governed, .. } = scene;
        let due = leaving(&view, &governed, cycle.term.mode);
        let affordable = self.actuator.affordable();
        let due = self.leaving.due(due, affordable, Instant::now());
        let actuator = Arc::clone(&self.actuator);
        let contested = std::mem::take(&mut self.contested);
        self.under_way.steps.spawn(async move {
            let epoch = cycle.term.epoch;
            let leavers = actuator.give_back(due, &view, epoch).await;
            let news = News {
                view: &view,
                plans: &plans,
                governed: &governed,
                leavers: &leavers,
                contested: &contested,
            };
            scribe.lock().await.write(news, &metrics, epoch).await;
            Step::Noted(cycle, leavers)
        });
    }

    fn end(&mut self, cycle: Cycle, leavers: &[Leaver]) {
        for one in leavers {
            self.leaving.learn(one, Instant::now());
        }
        observe::gave_back(leavers, &self.metrics);
        let used = self.actuator.budget_used();
        self.metrics.write_budget.set(used);
        let took = cycle.begun.elapsed().as_secs_f64();
        self.metrics.cycle_seconds.observe(took);
        self.under_way.cycle = None;
    }

    fn snapshots(&self, view: &View, discovery: &Discovery, heard: &Heard) -> Vec<NodeSnapshot> {
        let moment = Moment {
            zero: self.started,
            wall: Timestamp::now(),
        };
        let (words, usage) = (&heard.readings.words, &heard.evidence.usage);
        snapshots(view, discovery, words, usage, self.terms, moment)
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

    /// Leaves containers alone that another resizer owns.
    fn respect(&mut self, outcomes: &Outcomes) {
        for (id, outcome) in outcomes {
            if let Outcome::Refused(ApplyError::Contested { message, .. }) = outcome {
                self.respected.insert(id.clone(), Instant::now() + RESPECT);
                let (id, words) = (id.clone(), message.clone());
                self.contested.push(Contested { id, words });
            }
        }
    }

    /// Drops the memory of nodes, and the series of containers, that are gone.
    fn forget_gone(&mut self, scene: &Scene) {
        let nodes = scene.snapshots.iter().map(|snapshot| &snapshot.node);
        let nodes: BTreeSet<_> = nodes.collect();
        self.ledgers.retain(|node, _| nodes.contains(node));
        let present = &scene.discovery.participants;
        for gone in self.ids.forget_gone(|id| present.contains_key(id)) {
            self.metrics.forget_container(&gone);
        }
    }
}

/// What is remembered of what was really written: what the API server did not take is taken back.
fn remembered(plan: &Plan, before: &Ledger, outcomes: &Outcomes) -> Ledger {
    let mut ledger = plan.ledger.clone();
    for write in &plan.writes {
        if !outcomes.get(&write.id).is_some_and(Outcome::is_written) {
            ledger.take_back(&write.id, before);
        }
    }
    ledger
}

#[cfg(test)]
mod tests;
