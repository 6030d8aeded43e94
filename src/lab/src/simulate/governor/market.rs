//! MBCAS itself, as a governor.

use mbcas_core::annotations::Mode;
use mbcas_core::{Demand, MilliCpu};
use mbcas_market::policy::Settings;
use mbcas_market::{
    Allocation, Ledger, NodeSnapshot, NodeSupply, NonParticipant, Observed, Policy, Rule, Usage,
    Write, plan,
};

use super::{Decision, Governor, NodeView, PodView, starting_limit};
use crate::simulate::kubelet;
use crate::simulate::pod::PodSpec;

/// The market's plan, every 15 s and on demand jumps.
#[derive(Clone, Debug)]
pub struct Market {
    policy: Policy,
    ledger: Ledger,
    writes: Writes,
    /// By pod, the demand that is worth another plan before the next turn.
    ears: Vec<Option<Demand>>,
}

/// What of a plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    /// What the plan says.
    Planned,
    /// Every limit, to what the clearing wants it to be: no guardrail.
    Unguarded,
    /// Every limit, to its grant: no guardrail, and no weight that would do instead.
    Grants,
}

impl Market {
    /// One that clears by `rule`, all constants as they are by default.
    pub fn new(rule: Rule) -> Self {
        let settings = Settings {
            rule,
            ..Settings::default()
        };
        Self {
            // The defaults are in their ranges, a test of the market's says so.
            policy: Policy::new(settings).unwrap_or_default(),
            ledger: Ledger::default(),
            writes: Writes::Planned,
            ears: Vec::new(),
        }
    }

    /// One with the same grants that sets every limit to its grant in each cycle,
    /// the measure of what writes are saved.
    pub fn resizing_all() -> Self {
        Self {
            writes: Writes::Grants,
            ..Self::new(Rule::LeastRestrictive)
        }
    }

    /// One with the same limits that writes every one that differs, at once and in
    /// each cycle: the measure of what guardrails cost.
    pub fn unguarded() -> Self {
        Self {
            writes: Writes::Unguarded,
            ..Self::new(Rule::LeastRestrictive)
        }
    }
}

impl Market {
    /// The limit without any guardrail. Who grows to a grant waits for those that shrink.
    fn whole(&self, pod: usize, view: &PodView<'_>, allocation: &Allocation) -> Decision {
        let limit = match self.writes {
            Writes::Grants => allocation.grant.max(observed(view).floor()),
            Writes::Planned | Writes::Unguarded => allocation.limit,
        };
        let grows = view.limit.is_some_and(|now| now < limit);
        Decision {
            pod,
            limit,
            needs_donor: grows && self.writes == Writes::Grants,
        }
    }
}

impl Governor for Market {
    fn name(&self) -> &'static str {
        match (self.writes, self.policy.settings().rule) {
            (Writes::Grants, _) => "resize all",
            (Writes::Unguarded, _) => "unguarded",
            (Writes::Planned, Rule::Proportional) => "proportional",
            (Writes::Planned, Rule::LeastRestrictive) => "market",
        }
    }

    fn listens_for(&self, pod: usize) -> Option<Demand> {
        self.ears.get(pod).copied().flatten()
    }

    fn at_creation(&self, pod: &PodSpec, allocatable: MilliCpu) -> Option<MilliCpu> {
        starting_limit(pod, allocatable)
    }

    fn decide(&mut self, node: &NodeView<'_>) -> Vec<Decision> {
        let snapshot = snapshot(node);
        let plan = plan(&snapshot, &self.ledger, &self.policy, node.now);
        if !node.is_event {
            let jump = |pod: &PodView<'_>| plan.jump(&snapshot, &pod.id);
            self.ears = node.pods.iter().map(jump).collect();
        }
        self.ledger = plan.ledger;
        if self.writes != Writes::Planned {
            let pods = node.pods.iter().enumerate();
            let all = pods.filter_map(|(pod, view)| {
                let allocation = plan.clearing.allocation(&view.id)?;
                Some(self.whole(pod, view, allocation))
            });
            return all.collect();
        }
        let decided = |write: &Write| {
            let pod = node.pods.iter().position(|pod| pod.id == write.id)?;
            Some(Decision {
                pod,
                limit: write.to,
                needs_donor: write.needs_donor,
            })
        };
        plan.writes.iter().filter_map(decided).collect()
    }
}

fn snapshot(node: &NodeView<'_>) -> NodeSnapshot {
    let (inside, outside): (Vec<_>, Vec<_>) = node.pods.iter().partition(|pod| pod.spec.takes_part);
    NodeSnapshot {
        node: "simulated".to_owned(),
        supply: NodeSupply {
            allocatable: node.allocatable,
            reserve: node.reserve,
            cores: node.cores,
            curve: node.curve,
        },
        participants: inside
            .into_iter()
            .map(|pod| (pod.id.clone(), observed(pod)))
            .collect(),
        non_participants: outside.into_iter().map(besides).collect(),
    }
}

fn observed(pod: &PodView<'_>) -> Observed {
    Observed {
        request: pod.spec.request,
        limit: pod.limit,
        min_cpu: pod.spec.min,
        max_cpu: pod.spec.max,
        budget: pod.spec.budget.into(),
        is_scaled: false,
        demand: pod.demand.unwrap_or(Demand::NEUTRAL),
        measured: None,
        usage: pod.usage.map(seen),
        starting: false,
        mode: Mode::Auto,
    }
}

fn besides(pod: &PodView<'_>) -> NonParticipant {
    NonParticipant {
        request: pod.spec.request,
        usage: pod.usage.map(|usage| usage.cpu),
        limit: pod.limit,
    }
}

fn seen(usage: kubelet::Usage) -> Usage {
    Usage {
        cpu: usage.cpu,
        until: usage.until,
    }
}
