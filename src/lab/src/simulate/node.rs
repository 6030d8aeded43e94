//! One node over time: kernel, agents, kubelet, governor and actuator, step by step.

use std::time::Duration;

use hdrhistogram::CreationError;
use mbcas_core::{ContainerId, Demand, MilliCpu, PodId};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::actuator::Actuator;
use super::agent::{Agent, SAMPLING};
use super::governor::{Decision, Governor, NodeView, PodView};
use super::kernel::{Group, Kernel, PERIOD};
use super::kubelet::{Kubelet, Usage};
use super::latency::Latency;
use super::load::Arrivals;
use super::outcome::{Outcome, Watch};
use super::pod::{PodSpec, Workload};
use super::scenario::Scenario;
use super::time::Nanos;
use super::work::{Burner, Service, Work};

/// When the governor is asked first: pods come up while the controller runs already.
const FIRST_TURN: Nanos = Nanos::SECOND;

/// The least time between two events: how long the controller rests after one.
const REST: Nanos = Nanos::millis(500);

/// A node while it is simulated.
struct Node<'a> {
    scenario: &'a Scenario,
    ids: Vec<ContainerId>,
    kernel: Kernel,
    agents: Vec<Agent>,
    kubelet: Kubelet,
    actuator: Actuator,
    next_turn: Nanos,
    last_event: Option<Nanos>,
    /// Whose jump was heard of since the last turn: it is heard of once.
    heard: Vec<bool>,
    /// What was seen of each pod in the last turn. An event adds the demands that jumped, and nothing else.
    seen: Vec<(Option<Usage>, Option<Demand>)>,
}

/// Whoever wants to hear what a governor saw and decided.
pub type Listener<'a> = &'a mut dyn FnMut(&NodeView<'_>, &[Decision]);

/// Simulates `scenario` under `governor`. The same seed gives the same bits,
/// and the same requests under every governor. `listener` hears of every decision.
///
/// # Errors
/// Never: the bounds of the histograms are constants that are taken.
pub fn run(
    scenario: &Scenario,
    governor: &mut dyn Governor,
    seed: u64,
    listener: Listener<'_>,
) -> Result<Outcome, CreationError> {
    let mut node = Node::new(scenario, governor, seed)?;
    let (from, end) = (
        Nanos::from(scenario.measure_from),
        Nanos::from(scenario.length),
    );
    let mut watch = Watch::new(&scenario.pods, scenario.machine.allocatable);
    while node.kernel.now() < end {
        let now = node.kernel.now();
        if now == from {
            watch.begin(&node.kernel, &node.actuator);
        }
        if now.get().is_multiple_of(SAMPLING.get()) {
            node.look(now, governor, listener);
        }
        if now > from && now.get().is_multiple_of(Nanos::SECOND.get()) {
            watch.second(&node.kernel, &node.actuator);
        }
        node.step(now);
    }
    for group in &mut node.kernel.groups {
        group.work.close(end);
    }
    Ok(watch.finish(node.kernel, &node.actuator, end - from))
}

impl<'a> Node<'a> {
    fn new(
        scenario: &'a Scenario,
        governor: &dyn Governor,
        seed: u64,
    ) -> Result<Self, CreationError> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let machine = &scenario.machine;
        let mut groups = Vec::new();
        let mut limits = Vec::new();
        for spec in &scenario.pods {
            let phase = Nanos::new(random.random_range(0..PERIOD.get()));
            let weight = machine.curve.weight(spec.request);
            let work = work(spec, scenario, random.random())?;
            let mut group = Group::new(weight, phase, work);
            let limit = governor.at_creation(spec, machine.allocatable);
            group.limit(limit);
            groups.push(group);
            limits.push(limit);
        }
        let pods = &scenario.pods;
        Ok(Self {
            scenario,
            ids: pods.iter().map(id).collect(),
            kernel: Kernel::new(machine.cores, groups),
            agents: pods.iter().map(|spec| Agent::new(spec.agent)).collect(),
            kubelet: Kubelet::new(machine.kubelet, pods.len(), random.random()),
            actuator: Actuator::new(limits, random.random()),
            next_turn: FIRST_TURN,
            last_event: None,
            heard: vec![false; pods.len()],
            seen: vec![(None, None); pods.len()],
        })
    }

    fn step(&mut self, now: Nanos) {
        let groups = &mut self.kernel.groups;
        self.actuator
            .settle(now, |pod, limit| groups[pod].limit(Some(limit)));
        self.kernel.step();
    }

    /// What happens ten times a second: agents and kubelet look, and the governor may be asked.
    fn look(&mut self, now: Nanos, governor: &mut dyn Governor, listener: Listener<'_>) {
        for (pod, (agent, group)) in self.agents.iter_mut().zip(&self.kernel.groups).enumerate() {
            agent.sample(group.work.waiting(), now);
            self.kubelet.look(now, pod, &group.counters);
        }
        let is_turn = now >= self.next_turn;
        let jumps = if is_turn {
            self.next_turn = now + governor.interval().into();
            self.heard.fill(false);
            Vec::new()
        } else {
            self.jumps(now, governor)
        };
        if !is_turn && jumps.is_empty() {
            return;
        }
        for (pod, (usage, demand)) in self.seen.iter_mut().enumerate() {
            if is_turn {
                *usage = self.kubelet.read(now, pod);
            }
            if is_turn || jumps.contains(&pod) {
                *demand = self.agents[pod].demand();
            }
        }
        let pods = self.views(&jumps);
        let machine = &self.scenario.machine;
        let view = NodeView {
            now: now.into(),
            is_event: !is_turn,
            allocatable: machine.allocatable,
            cores: MilliCpu::new(u64::from(machine.cores) * 1_000),
            reserve: machine.reserve,
            curve: machine.is_curve_known.then_some(machine.curve),
            pods: &pods,
        };
        let decisions = governor.decide(&view);
        listener(&view, &decisions);
        self.write(now, &decisions, governor.is_on_the_node());
    }

    /// The pods whose demand has jumped, where the governor listens and has rested.
    fn jumps(&mut self, now: Nanos, governor: &dyn Governor) -> Vec<usize> {
        if self.last_event.is_some_and(|last| now < last + REST) {
            return Vec::new();
        }
        let mut jumps = Vec::new();
        for (pod, heard) in self
            .heard
            .iter_mut()
            .enumerate()
            .filter(|(_, heard)| !**heard)
        {
            let above = governor.listens_for(pod);
            let demand = self.agents[pod].demand();
            if above.is_some_and(|above| demand.is_some_and(|demand| demand >= above)) {
                *heard = true;
                self.last_event = Some(now);
                jumps.push(pod);
            }
        }
        jumps
    }

    fn views(&self, jumps: &[usize]) -> Vec<PodView<'a>> {
        // Out of `self`, so that what is borrowed is the scenario and not the node.
        let scenario = self.scenario;
        let mut pods = Vec::with_capacity(scenario.pods.len());
        for (pod, spec) in scenario.pods.iter().enumerate() {
            pods.push(PodView {
                id: self.ids[pod].clone(),
                spec,
                limit: self.actuator.limit(pod),
                usage: self.seen[pod].0,
                demand: self.seen[pod].1,
                jumped: jumps.contains(&pod),
                counters: self.kernel.groups[pod].counters,
            });
        }
        pods
    }

    /// Writes what was decided; what needs a donor when all donors have given.
    fn write(&mut self, now: Nanos, decisions: &[Decision], at_once: bool) {
        let mut given = now;
        for waits in [false, true] {
            let from = given;
            for Decision { pod, limit, .. } in decisions.iter().filter(|d| d.needs_donor == waits) {
                let holds = self.actuator.write(*pod, *limit, from, at_once);
                given = given.max(holds);
            }
        }
    }
}

fn work(spec: &PodSpec, scenario: &Scenario, seed: u64) -> Result<Work, CreationError> {
    Ok(match &spec.workload {
        Workload::Service {
            load,
            cost,
            workers,
        } => {
            let arrivals = Arrivals::new(load.clone(), *cost, scenario.length.into(), seed);
            let latency = Latency::since(scenario.measure_from.into())?;
            Work::Service(Box::new(Service::new(arrivals, *workers, latency)))
        }
        Workload::Burner { threads, wakes } => {
            let (threads, wakes): (u32, Duration) = (*threads, *wakes);
            Work::Burner(Burner { threads, wakes })
        }
    })
}

fn id(spec: &PodSpec) -> ContainerId {
    let pod = PodId {
        namespace: "lab".to_owned(),
        name: spec.name.clone(),
        uid: spec.name.clone(),
    };
    ContainerId::new(pod, "app")
}

/// What a limit counts with where a mean is taken: none at all as all of the node.
pub(super) fn effective(limit: Option<MilliCpu>, allocatable: MilliCpu) -> MilliCpu {
    limit.unwrap_or(allocatable).min(allocatable)
}

#[cfg(test)]
mod tests;
