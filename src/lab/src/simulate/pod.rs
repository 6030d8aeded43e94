//! What a scenario says about a pod.

use std::time::Duration;

use mbcas_core::{Budget, MilliCpu};

use super::agent::Manner;
use super::load::{Cost, Load};
use super::time::Nanos;

/// What runs in it.
#[derive(Clone, Debug)]
pub enum Workload {
    /// A service.
    Service {
        /// What is asked of it.
        load: Load,
        /// What one request costs.
        cost: Cost,
        /// How many requests it works on at once.
        workers: usize,
    },
    /// A noisy neighbour.
    Burner {
        /// Its threads.
        threads: u32,
        /// From when on.
        wakes: Duration,
    },
}

/// Its part in the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one whose latency the table shows.
    Focus,
    /// Another one that counts in the shares of slow requests.
    Service,
    /// The one whose CPU the table shows.
    Neighbour,
}

/// A pod of one container.
#[derive(Clone, Debug)]
pub struct PodSpec {
    /// Its name, unique in its scenario.
    pub name: String,
    /// Its part.
    pub role: Role,
    /// Whether MBCAS and the other governors may set its limit.
    pub takes_part: bool,
    /// Its weight, what its namespace's allotment left of it.
    pub budget: Budget,
    /// Its CPU request; zero: it has none.
    pub request: MilliCpu,
    /// `mbcas.minCPU`.
    pub min: Option<MilliCpu>,
    /// `mbcas.maxCPU`.
    pub max: Option<MilliCpu>,
    /// The limit that it starts with, instead of its cap.
    pub start: Option<MilliCpu>,
    /// What its owner expects it to use.
    pub expected: MilliCpu,
    /// What runs in it.
    pub workload: Workload,
    /// How its agent behaves.
    pub agent: Manner,
}

impl PodSpec {
    /// A service under `load`, 10 ms of CPU per request in the mean, eight
    /// workers, of budget 100. `expected` millicores are what its owner expects.
    pub fn service(name: impl Into<String>, load: Load, expected: u64) -> Self {
        Self {
            name: name.into(),
            role: Role::Service,
            takes_part: true,
            budget: Budget::DEFAULT,
            request: MilliCpu::new(100),
            min: None,
            max: None,
            start: None,
            expected: MilliCpu::new(expected),
            workload: Workload::Service {
                load,
                cost: Cost::Exponential(Nanos::millis(10)),
                workers: 8,
            },
            agent: Manner::Honest,
        }
    }

    /// A noisy neighbour of eight threads and budget 100, that its owner
    /// expects to use 200m.
    pub fn burner(name: impl Into<String>) -> Self {
        let (threads, wakes) = (8, Duration::ZERO);
        Self {
            role: Role::Neighbour,
            workload: Workload::Burner { threads, wakes },
            ..Self::service(name, Load::Steady(0.0), 200)
        }
    }

    /// With this role.
    #[must_use]
    pub fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// With this budget; what is none becomes the nearest that is one.
    #[must_use]
    pub fn budget(self, budget: u64) -> Self {
        let clamped = budget.clamp(Budget::MIN.get(), Budget::MAX.get());
        let budget = Budget::new(clamped).unwrap_or_default();
        Self { budget, ..self }
    }

    /// With a request of this many millicores.
    #[must_use]
    pub fn request(self, millis: u64) -> Self {
        let request = MilliCpu::new(millis);
        Self { request, ..self }
    }

    /// With this agent.
    #[must_use]
    pub fn agent(self, agent: Manner) -> Self {
        Self { agent, ..self }
    }
}
