use mbcas_core::units::MilliCpu;
use mbcas_market::{Bid, Clearing, LimitReason, Reasoning};

use super::*;
use crate::permit::{Restrained, Restraint};

fn id(name: &str) -> ContainerId {
    let pod = PodId {
        namespace: "shop".into(),
        name: name.into(),
        uid: name.into(),
    };
    ContainerId::new(pod, "app")
}

fn plan(names: &[&str], limit: u64) -> Vec<Plan> {
    let limit = MilliCpu::new(limit);
    let allocation = |name: &&str| Allocation {
        id: id(name),
        bid: Bid::new(1),
        need: limit,
        grant: limit,
        reasoning: Reasoning::CapBinds { cap: limit },
        is_short: false,
        protected: limit,
        limit,
        limit_reason: LimitReason::Unbound,
    };
    let clearing = Clearing {
        allocations: names.iter().map(allocation).collect(),
        ..Clearing::default()
    };
    vec![Plan {
        clearing,
        ..Plan::default()
    }]
}

fn restraints(names: &[&str], mode: Mode, is_frozen: bool) -> Restraints {
    let by = Restraint::Pod;
    let restrained = Restrained {
        mode,
        by,
        is_frozen,
        let_go: None,
    };
    names.iter().map(|name| (id(name), restrained)).collect()
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

#[test]
fn a_pod_is_told_when_it_changed_and_at_most_every_five_minutes() {
    let mut recommended = Recommended::default();
    let restraints = restraints(&["a"], Mode::Recommend, false);
    let mut due = |limit, at| {
        let due = recommended.due(&plan(&["a"], limit), &restraints, minutes(at));
        due.into_iter().map(|r| r.text).collect::<Vec<_>>()
    };
    assert_eq!(
        due(500, 0),
        [r#"{"container":"app","limit":"500m","reason":"unbound"}"#]
    );
    assert!(due(700, 4).is_empty());
    assert_eq!(due(700, 5).len(), 1);
    assert!(due(700, 20).is_empty());
}

#[test]
fn only_who_is_recommended_to_is_told() {
    let mut recommended = Recommended::default();
    let plans = plan(&["a"], 500);
    let mut count =
        |restraints: &Restraints| recommended.due(&plans, restraints, Duration::ZERO).len();
    assert_eq!(count(&Restraints::new()), 0);
    assert_eq!(count(&restraints(&["a"], Mode::Observe, false)), 0);
    assert_eq!(count(&restraints(&["a"], Mode::Recommend, true)), 0);
    assert_eq!(count(&restraints(&["a"], Mode::Recommend, false)), 1);
}

#[test]
fn a_cycle_writes_a_few_and_everybody_has_his_turn() {
    let names: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let restraints = restraints(&names, Mode::Recommend, false);
    let mut recommended = Recommended::default();
    let mut seen = std::collections::BTreeSet::new();
    for turn in 0..4 {
        let now = Duration::from_secs(15 * turn);
        let due = recommended.due(&plan(&names, 500), &restraints, now);
        assert!(due.len() <= AT_MOST);
        seen.extend(due.into_iter().map(|r| r.pod.name));
    }
    assert_eq!(seen.len(), 100);
}
