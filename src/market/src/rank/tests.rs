use mbcas_core::annotations::Mode;
use mbcas_core::{Budget, ContainerId, Demand, PodId};
use proptest::prelude::*;

use super::*;
use crate::input::{NodeSupply, Usage};
use crate::plan::plan;
use crate::policy::Policy;

fn observed(budget: u64, limit: u64, used: u64) -> Observed {
    Observed {
        request: MilliCpu::new(100),
        limit: Some(MilliCpu::new(limit)),
        min_cpu: None,
        max_cpu: None,
        budget: Budget::new(budget).unwrap().into(),
        is_scaled: false,
        demand: Demand::ZERO,
        measured: None,
        usage: Some(Usage {
            cpu: MilliCpu::new(used),
            until: Duration::from_secs(1),
        }),
        starting: false,
        mode: Mode::Auto,
    }
}

/// A node with one container that is held far below its need.
fn node(name: usize, budget: u64) -> NodeSnapshot {
    let pod = PodId {
        namespace: "n".into(),
        name: format!("{name:05}"),
        uid: name.to_string(),
    };
    NodeSnapshot {
        node: name.to_string(),
        supply: NodeSupply {
            allocatable: MilliCpu::new(4000),
            reserve: MilliCpu::ZERO,
            cores: MilliCpu::new(4000),
            curve: Some(WeightCurve::Shares),
        },
        participants: [(ContainerId::new(pod, "app"), observed(budget, 150, 150))].into(),
        non_participants: Vec::new(),
    }
}

fn plans(snapshots: &[NodeSnapshot], ledgers: &[Ledger], now: u64) -> Vec<Plan> {
    let now = Duration::from_secs(now);
    let each = snapshots.iter().zip(ledgers);
    each.map(|(snapshot, ledger)| plan(snapshot, ledger, &Policy::default(), now))
        .collect()
}

fn spent(snapshots: &[NodeSnapshot], ledgers: &[Ledger], now: u64, most: usize) -> Vec<Plan> {
    let mut plans = plans(snapshots, ledgers, now);
    spend(
        &mut plans,
        snapshots,
        &ledgers.iter().collect::<Vec<_>>(),
        most,
    );
    plans
}

#[test]
fn those_that_bring_most_are_written_and_the_others_are_held() {
    let snapshots: Vec<_> = [100, 900, 500]
        .iter()
        .enumerate()
        .map(|(i, b)| node(i, *b))
        .collect();
    let ledgers = vec![Ledger::default(); 3];
    let plans = spent(&snapshots, &ledgers, 10, 2);
    let writes: Vec<usize> = plans.iter().map(|plan| plan.writes.len()).collect();
    assert_eq!(writes, [0, 1, 1]);
    let held: Vec<_> = plans[0]
        .held
        .iter()
        .map(|(_, reason)| reason.word())
        .collect();
    assert_eq!(held, ["write_budget"]);
    let id = &plans[0].held[0].0;
    assert_eq!(plans[0].ledger.written(id), None);
    assert_eq!(plans[0].ledger.waiting(id), Some(Duration::from_secs(10)));
}

#[test]
fn nobody_waits_for_longer_than_the_queue_is_long() {
    // Forty want a write in each cycle, four are made: one of them for the patient.
    let snapshots: Vec<_> = (0..40).map(|i| node(i, 1 + i as u64 * 20)).collect();
    let mut ledgers = vec![Ledger::default(); 40];
    let mut written = [false; 40];
    for cycle in 0..40 {
        let plans = spent(&snapshots, &ledgers, 10 + 15 * cycle, 4);
        assert_eq!(plans.iter().map(|plan| plan.writes.len()).sum::<usize>(), 4);
        for (i, plan) in plans.iter().enumerate() {
            written[i] |= !plan.writes.is_empty();
        }
        // The limits never change: the same forty want the same again.
        ledgers = plans.into_iter().map(|plan| plan.ledger).collect();
    }
    assert!(written.iter().all(|written| *written), "{written:?}");
}

#[test]
fn a_budget_that_is_enough_changes_nothing() {
    let snapshots: Vec<_> = (0..3).map(|i| node(i, 100)).collect();
    let ledgers = vec![Ledger::default(); 3];
    assert_eq!(
        spent(&snapshots, &ledgers, 10, 3),
        plans(&snapshots, &ledgers, 10)
    );
}

proptest! {
    #[test]
    fn the_logarithm_is_one(n in 1u64..u64::MAX) {
        #[allow(clippy::cast_precision_loss)]
        let (exact, ours) = ((n as f64).log2(), log2(n) as f64 / 65_536.0);
        prop_assert!((exact - ours).abs() < 2e-4, "{exact} {ours}");
    }

    #[test]
    fn never_more_than_there_are(count in 0usize..30, most in 0usize..30) {
        let snapshots: Vec<_> = (0..count).map(|i| node(i, 100)).collect();
        let ledgers = vec![Ledger::default(); count];
        let plans = spent(&snapshots, &ledgers, 10, most);
        prop_assert_eq!(plans.iter().map(|plan| plan.writes.len()).sum::<usize>(), count.min(most));
        let all: usize = plans.iter().map(|plan| plan.writes.len() + plan.held.len()).sum();
        prop_assert_eq!(all, count);
    }
}
