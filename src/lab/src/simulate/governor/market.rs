//! MBCAS itself, as a governor.

use mbcas_core::annotations::Mode;
use mbcas_core::{Demand, MilliCpu};
use mbcas_market::policy::Settings;
use mbcas_market::{
    Ledger, NodeSnapshot, NodeSupply, NonParticipant, Observed, Policy, Rule, Usage, Write, plan,
};

use super::{Decision, Governor, NodeView, PodView, starting_limit};
use crate::simulate::kubelet;
use crate::simulate::pod::PodSpec;

/// The market's plan, every 15 s and on demand jumps.
#[derive(Clone, Debug)]
pub struct Market {
    policy: Policy,
    ledger: Ledger,
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
        }
    }
}

impl Governor for Market {
    fn name(&self) -> &'static str {
        match self.policy.settings().rule {
            Rule::Proportional => "proportional",
            Rule::LeastRestrictive => "market",
        }
    }

    fn hears_jumps(&self) -> bool {
        true
    }

    fn at_creation(&self, pod: &PodSpec, allocatable: MilliCpu) -> Option<MilliCpu> {
        starting_limit(pod, allocatable)
    }

    fn decide(&mut self, node: &NodeView<'_>) -> Vec<Decision> {
        let snapshot = snapshot(node);
        let plan = plan(&snapshot, &self.ledger, &self.policy, node.now);
        self.ledger = plan.ledger;
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
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 0 to 10,000
    let basis_points = |share: f64| (share * 10_000.0).round() as u64;
    Usage {
        cpu: usage.cpu,
        until: usage.until,
        throttled: usage.throttled.map(basis_points),
    }
}
