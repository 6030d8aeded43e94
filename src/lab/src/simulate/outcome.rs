//! What came of a simulation.

use mbcas_core::MilliCpu;

use super::actuator::{Actuator, Writes};
use super::kernel::{Counters, Kernel};
use super::latency::Latency;
use super::node::effective;
use super::pod::{PodSpec, Role};
use super::time::Nanos;
use super::welfare::{Served, welfare};
use super::work::Work;

/// Budgets from here on are the upper class.
pub const UPPER_CLASS: u64 = 300;

/// What came of one pod, from the moment on that counts.
#[derive(Clone, Debug)]
pub struct PodOutcome {
    /// Its part.
    pub role: Role,
    /// Whether its limit could be set.
    pub takes_part: bool,
    /// Its budget.
    pub budget: u64,
    /// What it got of what it could have used.
    pub served: Served,
    /// How long its requests took; nothing for a burner.
    pub latency: Option<Latency>,
    /// Cores used, mean.
    pub cpu: f64,
    /// Its limit in cores, mean; none at all counts as all of the node.
    pub limit: f64,
    /// Limits written.
    pub writes: u64,
    /// Those against the direction of the one before.
    pub reversals: u64,
    /// What the kernel counted since the beginning.
    pub counters: Counters,
}

impl PodOutcome {
    /// Whether its budget is in the upper class.
    pub const fn is_upper(&self) -> bool {
        self.budget >= UPPER_CLASS
    }
}

/// What came of one node.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// By pod, in the scenario's order.
    pub pods: Vec<PodOutcome>,
    /// Hours that counted.
    pub hours: f64,
}

impl Outcome {
    /// How well those were served that take part, from 0 to 1; see [`welfare`].
    pub fn welfare(&self) -> f64 {
        let inside = self.pods.iter().filter(|pod| pod.takes_part);
        welfare(inside.map(|pod| (pod.budget, pod.served)))
    }
}

/// Watches a simulation from the moment on that counts.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    pods: &'a [PodSpec],
    allocatable: MilliCpu,
    begin: Vec<(Nanos, Writes)>,
    limits: Vec<u64>,
    served: Vec<(Nanos, Served)>,
    seconds: u64,
}

impl<'a> Watch<'a> {
    pub(super) fn new(pods: &'a [PodSpec], allocatable: MilliCpu) -> Self {
        Self {
            pods,
            allocatable,
            begin: vec![(Nanos::ZERO, Writes::default()); pods.len()],
            limits: vec![0; pods.len()],
            served: vec![(Nanos::ZERO, Served::default()); pods.len()],
            seconds: 0,
        }
    }

    pub(super) fn begin(&mut self, kernel: &Kernel, actuator: &Actuator) {
        for (pod, (group, begin)) in kernel.groups.iter().zip(&mut self.begin).enumerate() {
            *begin = (group.counters.usage, actuator.writes(pod));
            self.served[pod].0 = group.counters.usage;
        }
    }

    pub(super) fn second(&mut self, kernel: &Kernel, actuator: &Actuator) {
        self.seconds += 1;
        for (group, (before, served)) in kernel.groups.iter().zip(&mut self.served) {
            let usage = group.counters.usage;
            let threads = group.work.threads().min(kernel.cores());
            let most = Nanos::SECOND.times(threads);
            served.second(usage - *before, group.work.outstanding(), most);
            *before = usage;
        }
        for (pod, sum) in self.limits.iter_mut().enumerate() {
            *sum += effective(actuator.limit(pod), self.allocatable).get();
        }
    }

    pub(super) fn finish(self, kernel: Kernel, actuator: &Actuator, time: Nanos) -> Outcome {
        let mut pods = Vec::new();
        for (pod, (spec, group)) in self.pods.iter().zip(kernel.groups).enumerate() {
            let (used, before) = self.begin[pod];
            let writes = actuator.writes(pod);
            let limit = MilliCpu::new(self.limits[pod] / self.seconds.max(1));
            let latency = match group.work {
                Work::Service(service) => Some(service.latency),
                Work::Burner(_) => None,
            };
            pods.push(PodOutcome {
                role: spec.role,
                takes_part: spec.takes_part,
                budget: spec.budget.get(),
                served: self.served[pod].1,
                latency,
                cpu: (group.counters.usage - used).seconds() / time.seconds().max(1e-9),
                limit: Nanos::millis(limit.get()).seconds(),
                writes: writes.count - before.count,
                reversals: writes.reversals - before.reversals,
                counters: group.counters,
            });
        }
        Outcome {
            pods,
            hours: time.seconds() / 3_600.0,
        }
    }
}
