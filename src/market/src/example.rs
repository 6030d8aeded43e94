//! Small nodes for examples and tests: pods that want something, a kernel that
//! shares by weight and limit, a kubelet that sees what came of it, and the market.
//!
//! No queues, no noise, no time but cycles: what the numbers in docs/mechanism.md are made
//! with. How services fare under load is what `mbcas-lab simulate` is for.

use std::collections::BTreeMap;
use std::time::Duration;

use mbcas_core::annotations::Mode;
use mbcas_core::units::BudgetError;
use mbcas_core::{Budget, ContainerId, Demand, MilliCpu, PodId};

use crate::bid::EffectiveBudget;
use crate::input::{NodeSnapshot, NodeSupply, Observed, Usage};
use crate::ledger::Ledger;
use crate::plan::{Plan, plan};
use crate::policy::Policy;
use crate::weight::{Runner, WeightCurve, delivered};

/// The time between two cycles.
const CYCLE: Duration = Duration::from_secs(15);

/// A node, its pods, and how it has fared.
#[derive(Clone, Debug)]
pub struct Node {
    snapshot: NodeSnapshot,
    wants: BTreeMap<ContainerId, MilliCpu>,
    ledger: Ledger,
    policy: Policy,
    now: Duration,
    last: Plan,
}

/// One pod as it is to be. Amounts in millicores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: &'static str,
    /// `mbcas.budget`.
    pub budget: u64,
    /// Its CPU request.
    pub request: u64,
    /// What it would use if it could.
    pub wants: u64,
}

/// What the market made of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What it used in the last cycle, in millicores.
    pub used: u64,
    /// What it could use, as the market sees it.
    pub need: u64,
    /// What it is promised.
    pub grant: u64,
    /// Its limit.
    pub limit: u64,
    /// Why the limit is that, in a word.
    pub why: &'static str,
}

impl Node {
    /// A node with so many millicores for pods, on cgroup v1, where a weight is a request.
    pub fn new(allocatable: u64) -> Self {
        let snapshot = NodeSnapshot {
            node: "node".into(),
            supply: NodeSupply {
                allocatable: MilliCpu::new(allocatable),
                reserve: MilliCpu::ZERO,
                cores: MilliCpu::new(allocatable),
                curve: Some(WeightCurve::Shares),
            },
            ..NodeSnapshot::default()
        };
        Self {
            snapshot,
            wants: BTreeMap::new(),
            ledger: Ledger::default(),
            policy: Policy::default(),
            now: Duration::from_secs(1_000),
            last: Plan::default(),
        }
    }

    /// With another pod, whose limit is the whole node.
    ///
    /// # Errors
    /// [`BudgetError`] if its budget is none.
    pub fn with(mut self, pod: Pod) -> Result<Self, BudgetError> {
        let observed = Observed {
            request: MilliCpu::new(pod.request),
            limit: Some(self.snapshot.supply.allocatable.floor_to_quantum()),
            min_cpu: None,
            max_cpu: None,
            budget: EffectiveBudget::from(Budget::new(pod.budget)?),
            is_scaled: false,
            demand: Demand::ZERO,
            measured: None,
            usage: None,
            starting: false,
            mode: Mode::Auto,
        };
        self.snapshot.participants.insert(id(pod.name), observed);
        self.wants.insert(id(pod.name), MilliCpu::new(pod.wants));
        Ok(self)
    }

    /// With another policy.
    #[must_use]
    pub fn by(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets what a pod wants from now on, in millicores.
    pub fn want(&mut self, name: &str, wants: u64) {
        self.wants.insert(id(name), MilliCpu::new(wants));
    }

    /// Goes through so many cycles of 15 s, and returns their plans.
    pub fn cycles(&mut self, count: usize) -> Vec<Plan> {
        (0..count).map(|_| self.cycle()).collect()
    }

    fn cycle(&mut self) -> Plan {
        self.now += CYCLE;
        let used = self.used();
        let participants = self.snapshot.participants.iter_mut();
        for ((id, observed), cpu) in participants.zip(used) {
            // An agent sees that something waits.
            let waits = self.wants.get(id).is_some_and(|wants| *wants > cpu);
            observed.demand = if waits { Demand::FULL } else { Demand::ZERO };
            observed.usage = Some(Usage {
                cpu,
                until: self.now,
            });
        }
        let plan = plan(&self.snapshot, &self.ledger, &self.policy, self.now);
        for write in &plan.writes {
            if let Some(observed) = self.snapshot.participants.get_mut(&write.id) {
                observed.limit = Some(write.to);
            }
        }
        self.ledger = plan.ledger.clone();
        self.last = plan.clone();
        plan
    }

    /// What the kernel gives everybody.
    fn used(&self) -> Vec<MilliCpu> {
        let curve = self.snapshot.supply.curve.unwrap_or(WeightCurve::Shares);
        let runner = |(id, observed): (&ContainerId, &Observed)| {
            let wants = self.wants.get(id).copied().unwrap_or_default();
            Runner {
                weight: curve.weight(observed.request),
                most: wants.min(observed.limit.unwrap_or(wants)),
            }
        };
        let runners: Vec<Runner> = self.snapshot.participants.iter().map(runner).collect();
        delivered(self.snapshot.supply.allocatable, &runners)
    }

    /// How everybody fares after the last cycle, by name.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let all = self.snapshot.participants.iter();
        let outcome =
            |((id, observed), allocation): ((&ContainerId, &Observed), &crate::Allocation)| {
                Outcome {
                    name: id.pod.name.clone(),
                    used: observed.usage.map_or(0, |usage| usage.cpu.get()),
                    need: allocation.need.get(),
                    grant: allocation.grant.get(),
                    limit: observed.limit.unwrap_or_default().get(),
                    why: allocation.limit_reason.word(),
                }
            };
        all.zip(&self.last.clearing.allocations)
            .map(outcome)
            .collect()
    }

    /// The last plan.
    pub fn last(&self) -> &Plan {
        &self.last
    }
}

fn id(name: &str) -> ContainerId {
    let pod = PodId {
        namespace: "shop".into(),
        name: name.into(),
        uid: name.into(),
    };
    ContainerId::new(pod, "app")
}
