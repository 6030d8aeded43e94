//! What came of a simulation.

use mbcas_core::MilliCpu;

use super::actuator::{Actuator, Writes};
use super::kernel::{Counters, Kernel};
use super::latency::Latency;
use super::node::effective;
use super::pod::{PodSpec, Role};
use super::time::Nanos;
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
    /// Whether its budget is in the upper class.
    pub is_upper: bool,
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

/// What came of one node.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// By pod, in the scenario's order.
    pub pods: Vec<PodOutcome>,
    /// Hours that counted.
    pub hours: f64,
}

/// Watches a simulation from the moment on that counts.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    pods: &'a [PodSpec],
    allocatable: MilliCpu,
    begin: Vec<(Nanos, Writes)>,
    limits: Vec<u64>,
    seconds: u64,
}

impl<'a> Watch<'a> {
    pub(super) fn new(pods: &'a [PodSpec], allocatable: MilliCpu) -> Self {
        Self {
            pods,
            allocatable,
            begin: vec![(Nanos::ZERO, Writes::default()); pods.len()],
            limits: vec![0; pods.len()],
            seconds: 0,
        }
    }

    pub(super) fn begin(&mut self, kernel: &Kernel, actuator: &Actuator) {
        for (pod, (group, begin)) in kernel.groups.iter().zip(&mut self.begin).enumerate() {
            *begin = (group.counters.usage, actuator.writes(pod));
        }
    }

    pub(super) fn second(&mut self, actuator: &Actuator) {
        self.seconds += 1;
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
                is_upper: spec.budget.get() >= UPPER_CLASS,
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
