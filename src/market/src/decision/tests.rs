use std::collections::BTreeMap;

use mbcas_core::annotations::Mode;
use mbcas_core::{Budget, Demand, MilliCpu, PodId};
use proptest::prelude::*;

use super::*;
use crate::bid::Bid;
use crate::clear::Price;
use crate::input::{NodeSupply, NonParticipant, Observed, Usage};
use crate::policy::{Rule, Settings};
use crate::reason::Reasoning;
use crate::weight::WeightCurve;

fn id(name: &str) -> ContainerId {
    let pod = PodId {
        namespace: "shop".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
    };
    ContainerId::new(pod, "app")
}

fn milli(most: u64) -> impl Strategy<Value = Option<MilliCpu>> {
    prop::option::of((0..most).prop_map(MilliCpu::new))
}

fn observed() -> impl Strategy<Value = Observed> {
    let amounts = (1u64..400, milli(4_000), milli(400), milli(3_000));
    let usage = prop::option::of((0u64..4_000, 0u64..60_000_000_000));
    let mode =
        prop_oneof![8 => Just(Mode::Auto), 1 => Just(Mode::Recommend), 1 => Just(Mode::Observe)];
    let rest = (1u64..1_000_000_000, 0u64..=10_000, any::<[bool; 2]>(), mode);
    (amounts, usage, rest).prop_map(|((request, limit, min_cpu, max_cpu), usage, rest)| {
        let (budget, demand, [is_scaled, starting], mode) = rest;
        let request = MilliCpu::new(request);
        Observed {
            request,
            limit: limit.map(|limit| limit.max(request)),
            min_cpu,
            max_cpu,
            budget: budget.into(),
            is_scaled,
            demand: Demand::from_basis_points(demand),
            measured: None,
            usage: usage.map(|(cpu, until)| Usage {
                cpu: MilliCpu::new(cpu),
                until: Duration::from_nanos(until),
            }),
            starting,
            mode,
        }
    })
}

fn neighbour() -> impl Strategy<Value = NonParticipant> {
    (0u64..300, milli(3_000), milli(2_000)).prop_map(|(request, usage, limit)| NonParticipant {
        request: MilliCpu::new(request),
        usage,
        limit,
    })
}

fn snapshot() -> impl Strategy<Value = NodeSnapshot> {
    let curve = prop::option::of(prop::sample::select(WeightCurve::ALL.to_vec()));
    let participants = prop::collection::btree_map(
        (0u8..12).prop_map(|n| id(&n.to_string())),
        observed(),
        0..10,
    );
    let neighbours = prop::collection::vec(neighbour(), 0..4);
    (0u64..8_000, 0u64..500, curve, participants, neighbours).prop_map(
        |(allocatable, reserve, curve, participants, non_participants)| NodeSnapshot {
            node: "n1".into(),
            supply: NodeSupply {
                allocatable: MilliCpu::new(allocatable),
                reserve: MilliCpu::new(reserve),
                cores: MilliCpu::new(allocatable),
                curve,
            },
            participants,
            non_participants,
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    let rule = prop_oneof![Just(Rule::LeastRestrictive), Just(Rule::Proportional)];
    (
        rule,
        0u64..=1_000,
        0u64..=50,
        1u64..=100,
        1u64..=3_600_000_000_000,
    )
        .prop_map(
            |(rule, dead_band, dead_band_percent, max_shrink_percent, half_life)| {
                let settings = Settings {
                    rule,
                    dead_band: MilliCpu::new(dead_band),
                    dead_band_percent,
                    max_shrink_percent,
                    half_life: Duration::from_nanos(half_life).max(Duration::from_millis(1)),
                    ..Settings::default()
                };
                Policy::new(settings).unwrap()
            },
        )
}

/// What is decided about `snapshot` after `ledger`.
fn decide(
    snapshot: NodeSnapshot,
    ledger: Ledger,
    policy: Policy,
    now: Duration,
) -> Decision<'static> {
    let plan = plan(&snapshot, &ledger, &policy, now);
    let outcomes = plan
        .writes
        .iter()
        .map(|write| (write.id.clone(), "done".into()));
    Decision {
        time: Duration::new(1_800_000_000, 123_456_789),
        term: 7,
        turn: Turn::Cycle,
        now,
        policy,
        outcomes: outcomes.collect(),
        snapshot: Cow::Owned(snapshot),
        ledger: Cow::Owned(ledger),
        plan: Cow::Owned(plan),
    }
}

proptest! {
    #[test]
    fn what_is_recorded_is_read_and_decided_again_bit_for_bit(
        policy in policy(),
        snapshots in prop::collection::vec((snapshot(), 1u64..40_000_000_000), 1..6),
    ) {
        let (mut ledger, mut now) = (Ledger::default(), Duration::from_secs(1_000));
        for (snapshot, pause) in snapshots {
            now += Duration::from_nanos(pause);
            let live = decide(snapshot, ledger, policy, now);
            let line = live.line().unwrap();
            prop_assert!(!line.contains('\n'));
            let read = Decision::read(&line).unwrap();
            prop_assert_eq!(&read, &live);
            prop_assert_eq!(read.replay(), Ok(()));
            ledger = live.plan.into_owned().ledger;
        }
    }

    #[test]
    fn a_plan_that_was_tampered_with_is_found(
        snapshot in snapshot().prop_filter("nobody is there", |s| !s.participants.is_empty()),
        policy in policy(), who in any::<prop::sample::Index>(), what in 0usize..5,
    ) {
        let mut decision = decide(snapshot, Ledger::default(), policy, Duration::from_secs(1_000));
        let plan = decision.plan.to_mut();
        let allocation = who.get_mut(&mut plan.clearing.allocations);
        let id = allocation.id.clone();
        let field = match what {
            0 => { allocation.grant += MilliCpu::QUANTUM; "grant" }
            1 => { allocation.bid = Bid::ZERO; "bid" }
            2 => { allocation.is_short = !allocation.is_short; "shortness" }
            3 => {
                let entry = plan.ledger.entries.get_mut(&id).unwrap();
                entry.waiting = Some(Duration::from_nanos(1));
                "waiting"
            }
            _ => {
                plan.held.retain(|(held, _)| *held != id);
                plan.held.push((id.clone(), crate::HoldReason::WriteBudget { wanted: MilliCpu::ZERO }));
                "hold"
            }
        };
        let line = decision.line().unwrap();
        let difference = Decision::read(&line).unwrap().replay().unwrap_err();
        prop_assert_eq!(difference.container, Some(id));
        prop_assert_eq!(difference.field, field);
    }
}

/// Three pods on a small node, decided once.
fn three() -> Decision<'static> {
    let pod = |name: &str, budget| {
        let observed = Observed {
            request: MilliCpu::new(100),
            limit: Some(MilliCpu::new(2_000)),
            min_cpu: None,
            max_cpu: None,
            budget: Budget::new(budget).unwrap().into(),
            is_scaled: false,
            demand: Demand::FULL,
            measured: None,
            usage: None,
            starting: false,
            mode: Mode::Auto,
        };
        (id(name), observed)
    };
    let snapshot = NodeSnapshot {
        node: "n1".into(),
        supply: NodeSupply {
            allocatable: MilliCpu::new(1_800),
            cores: MilliCpu::new(2_000),
            ..NodeSupply::default()
        },
        participants: BTreeMap::from([pod("web", 600), pod("api", 300), pod("batch", 100)]),
        non_participants: Vec::new(),
    };
    let settings = Settings {
        rule: Rule::Proportional,
        ..Settings::default()
    };
    let policy = Policy::new(settings).unwrap();
    decide(snapshot, Ledger::default(), policy, Duration::from_secs(15))
}

#[test]
fn a_difference_names_container_field_and_both_values() {
    let mut decision = three();
    let first = decision.plan.to_mut().writes.remove(0);
    let why = decision.replay().unwrap_err();
    assert_eq!(
        (why.container, why.field, why.recorded.as_str()),
        (Some(first.id), "write", "nothing")
    );

    let mut decision = three();
    decision.plan.to_mut().clearing.allocations[0].limit = MilliCpu::new(1);
    assert_eq!(
        decision.replay().unwrap_err().to_string(),
        "shop/api/app: limit is recorded as MilliCpu(1) and replayed as MilliCpu(550)"
    );

    let mut decision = three();
    decision.plan.to_mut().clearing.allocations.swap(0, 1);
    assert_eq!(decision.replay().unwrap_err().field, "order");
}

#[test]
fn the_largest_numbers_are_exact() {
    let mut decision = three();
    let clearing = &mut decision.plan.to_mut().clearing;
    clearing.price = Price::UNBOUNDED;
    clearing.allocations[0].bid = Bid::new(u64::MAX);
    clearing.allocations[0].reasoning = Reasoning::Share {
        floor: MilliCpu::new(u64::MAX),
        bid: Bid::new(u64::MAX),
        bids: u128::MAX,
        surplus: MilliCpu::ZERO,
    };
    decision.time = Duration::MAX;
    let line = decision.line().unwrap();
    assert_eq!(Decision::read(&line).unwrap(), decision);
}

#[test]
fn another_format_and_what_is_no_decision_are_told_apart() {
    let line = three().line().unwrap();
    let newer = line.replacen(&format!("\"format\":{FORMAT}"), "\"format\":99", 1);
    let why = Decision::read(&newer).unwrap_err();
    assert!(matches!(why, DecisionError::Format(99)), "{why}");
    for bad in [
        "",
        "{}",
        "[]",
        &line[..line.len() - 2],
        &line.replace("proportional", "fair"),
    ] {
        let why = Decision::read(bad).unwrap_err();
        assert!(matches!(why, DecisionError::Malformed(_)), "{bad}: {why}");
    }
}
