//! MBCAS itself, as a governor.

use mbcas_core::annotations::Mode;
use mbcas_core::{Demand, MilliCpu};
use mbcas_market::{Ledger, NodeSnapshot, NodeSupply, NonParticipant, Observed, Policy, plan};

use super::{Decision, Governor, NodeView, PodView, starting_limit};
use crate::simulate::pod::PodSpec;

/// The market's plan, every 15 s and on demand jumps.
#[derive(Clone, Debug, Default)]
pub struct Market {
    policy: Policy,
    ledger: Ledger,
}

impl Governor for Market {
    fn name(&self) -> &'static str {
        "market"
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
        let place = |write: &mbcas_market::Write| {
            let pod = node.pods.iter().position(|pod| *pod.id == write.id)?;
            Some(Decision {
                pod,
                limit: write.to,
            })
        };
        plan.writes.iter().filter_map(place).collect()
    }
}

fn snapshot(node: &NodeView<'_>) -> NodeSnapshot {
    let (inside, outside): (Vec<_>, Vec<_>) = node.pods.iter().partition(|pod| pod.spec.takes_part);
    NodeSnapshot {
        node: "simulated".to_owned(),
        supply: NodeSupply {
            allocatable: node.allocatable,
            reserve: node.reserve,
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
        budget: pod.spec.budget,
        demand: pod.demand.unwrap_or(Demand::NEUTRAL),
        mode: Mode::Auto,
    }
}

fn besides(pod: &PodView<'_>) -> NonParticipant {
    NonParticipant {
        request: pod.spec.request,
        usage: pod.usage.map(|usage| usage.cpu).unwrap_or_default(),
        limit: pod.limit,
    }
}
