use mbcas_core::annotations::Mode;
use mbcas_core::{Budget, ContainerId, Demand, PodId};
use proptest::prelude::*;

use super::*;
use crate::input::Observed;

fn id(namespace: &str, name: usize) -> ContainerId {
    let pod = PodId {
        namespace: namespace.into(),
        name: name.to_string(),
        uid: name.to_string(),
    };
    ContainerId::new(pod, "app")
}

fn observed(budget: u64, request: u64, min: Option<u64>) -> Observed {
    Observed {
        request: MilliCpu::new(request),
        limit: None,
        min_cpu: min.map(MilliCpu::new),
        max_cpu: None,
        budget: Budget::new(budget).unwrap().into(),
        is_scaled: false,
        demand: Demand::NEUTRAL,
        measured: None,
        usage: None,
        starting: false,
        mode: Mode::Auto,
    }
}

/// Two nodes that share these participants of `shop` in turns, and one of somebody else.
fn nodes(pods: &[Observed]) -> Vec<NodeSnapshot> {
    let mut nodes = vec![NodeSnapshot::default(), NodeSnapshot::default()];
    for (i, pod) in pods.iter().enumerate() {
        nodes[i % 2].participants.insert(id("shop", i), pod.clone());
    }
    nodes[0]
        .participants
        .insert(id("other", 0), observed(700, 100, None));
    nodes
}

fn allotted(pods: &[Observed], budget: Option<u64>, floors: Option<u64>) -> Vec<Observed> {
    let mut nodes = nodes(pods);
    let floors = floors.map(MilliCpu::new);
    let allotments = BTreeMap::from([("shop".into(), Allotment { budget, floors })]);
    let asked = allot(&mut nodes, &allotments);
    assert_eq!(asked["other"].budget, 700_000);
    assert_eq!(
        nodes[0].participants[&id("other", 0)],
        observed(700, 100, None)
    );
    let of = |i: usize| nodes[i % 2].participants[&id("shop", i)].clone();
    (0..pods.len()).map(of).collect()
}

#[test]
fn budgets_above_the_allotment_are_scaled_all_alike() {
    let pods = [observed(600, 100, None), observed(300, 100, None)];
    let budgets = |total| {
        let pods = allotted(&pods, total, None);
        pods.iter()
            .map(|p| (p.budget.thousandths(), p.is_scaled))
            .collect::<Vec<_>>()
    };
    assert_eq!(budgets(None), [(600_000, false), (300_000, false)]);
    assert_eq!(budgets(Some(900)), [(600_000, false), (300_000, false)]);
    assert_eq!(budgets(Some(300)), [(200_000, true), (100_000, true)]);
}

#[test]
fn floors_above_the_allotment_are_scaled_but_not_below_requests() {
    let pods = [observed(1, 100, Some(600)), observed(1, 300, Some(400))];
    let floors: Vec<u64> = allotted(&pods, None, Some(500))
        .iter()
        .map(|p| p.floor().get())
        .collect();
    assert_eq!(floors, [300, 300]);
}

proptest! {
    #[test]
    fn a_namespace_has_its_allotment_however_many_pods_it_makes(
        pods in prop::collection::vec((1u64..1_000_000, 1u64..500, prop::option::of(1u64..2_000)), 1..200),
        total in 1u64..10_000, floors in 1u64..10_000,
    ) {
        let pods: Vec<Observed> = pods.into_iter().map(|(b, r, m)| observed(b, r, m)).collect();
        let after = allotted(&pods, Some(total), Some(floors));
        let sum: u64 = after.iter().map(|p| p.budget.thousandths()).sum();
        prop_assert!(sum <= total * 1_000 + pods.len() as u64, "{sum}");
        let above = |pods: &[Observed]| pods.iter().map(|p| p.floor().get().saturating_sub(p.request.get() + 10)).sum::<u64>();
        prop_assert!(above(&after) <= floors, "{}", above(&after));
        for (before, after) in pods.iter().zip(&after) {
            prop_assert!(after.budget <= before.budget && after.floor() <= before.floor());
            prop_assert!(after.floor() >= before.request);
        }
    }
}
