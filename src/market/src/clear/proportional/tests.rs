//! The five groups of the seed, by name, and the corners between them. The laws are in `laws`.

use mbcas_core::{Budget, Demand, PodId};

use super::*;

mod laws;

fn id(name: &str) -> ContainerId {
    let pod = PodId {
        namespace: "n".into(),
        name: name.into(),
        uid: name.into(),
    };
    ContainerId::new(pod, "app")
}

/// A participant at full demand.
fn seat(name: &str, budget: u64, floor: u64, cap: u64) -> Participant {
    Participant {
        id: id(name),
        budget: Budget::new(budget).unwrap().into(),
        demand: Demand::FULL,
        floor: MilliCpu::new(floor),
        cap: MilliCpu::new(cap),
    }
}

fn solve(capacity: u64, participants: &[Participant]) -> Clearing {
    let capacity = MilliCpu::new(capacity);
    solve_cpu(&NodeMarketInput {
        capacity,
        participants: participants.to_vec(),
    })
    .unwrap()
}

/// Grants and reasons, by name.
fn outcome(clearing: &Clearing) -> Vec<(u64, &'static str)> {
    clearing
        .allocations
        .iter()
        .map(|a| (a.grant.get(), a.reasoning.word()))
        .collect()
}

#[test]
fn proportional_split_baseline() {
    let clearing = solve(
        1000,
        &[
            seat("a", 600, 0, 4000),
            seat("b", 300, 0, 4000),
            seat("c", 100, 0, 4000),
        ],
    );
    assert_eq!(
        outcome(&clearing),
        [(600, "share"), (300, "share"), (100, "share")]
    );
    assert_eq!((clearing.granted.get(), clearing.headroom.get()), (1000, 0));
    assert_eq!(clearing.price.thousandths(), 10_000_000_000);
    // 100 quanta in three equal parts: the odd one goes to the first by id.
    let thirds = solve(
        1000,
        &[
            seat("c", 1, 0, 4000),
            seat("b", 1, 0, 4000),
            seat("a", 1, 0, 4000),
        ],
    );
    assert_eq!(
        outcome(&thirds),
        [(340, "share"), (330, "share"), (330, "share")]
    );
}

#[test]
fn floors_only() {
    let clearing = solve(1000, &[seat("a", 100, 400, 4000), seat("b", 100, 0, 4000)]);
    assert_eq!(outcome(&clearing), [(700, "share"), (300, "share")]);
    // The floors take all there is.
    let tight = solve(500, &[seat("a", 900, 400, 4000), seat("b", 100, 100, 4000)]);
    assert_eq!(outcome(&tight), [(400, "floor"), (100, "floor")]);
    assert!(tight.feasible);
    assert_eq!(tight.price, Price::UNBOUNDED);
    // More than there is: they stand, and it is said.
    let short = solve(490, &[seat("a", 900, 400, 4000), seat("b", 100, 100, 4000)]);
    assert_eq!(
        outcome(&short),
        [(400, "floors_infeasible"), (100, "floors_infeasible")]
    );
    assert!(!short.feasible);
    assert_eq!(
        (
            short.floors.get(),
            short.granted.get(),
            short.headroom.get()
        ),
        (500, 500, 0)
    );
    assert_eq!(short.price, Price::UNBOUNDED);
}

#[test]
fn caps_only() {
    let clearing = solve(
        1000,
        &[
            seat("a", 600, 0, 200),
            seat("b", 300, 0, 4000),
            seat("c", 100, 0, 4000),
        ],
    );
    assert_eq!(
        outcome(&clearing),
        [(200, "cap"), (600, "share"), (200, "share")]
    );
    // Everybody full: the rest stays, and a millicore costs nothing.
    let idle = solve(1000, &[seat("a", 600, 0, 200), seat("b", 300, 0, 300)]);
    assert_eq!(outcome(&idle), [(200, "cap"), (300, "cap")]);
    assert_eq!((idle.headroom.get(), idle.price), (500, Price::ZERO));
    let exact = solve(500, &[seat("a", 200, 0, 200), seat("b", 300, 0, 300)]);
    assert_eq!((exact.headroom.get(), exact.price), (0, Price::ZERO));
}

#[test]
fn floors_caps_and_redistribution() {
    let clearing = solve(
        2000,
        &[
            seat("a", 600, 100, 500),
            seat("b", 300, 200, 700),
            seat("c", 100, 100, 4000),
            seat("d", 100, 50, 4000),
        ],
    );
    // a is full at 500, then b at 700; what both leave goes to c and d in equal parts.
    assert_eq!(
        outcome(&clearing),
        [(500, "cap"), (700, "cap"), (430, "share"), (370, "share")]
    );
    let c = &clearing.allocations[2];
    let reasoning = Reasoning::Share {
        floor: MilliCpu::new(100),
        bid: Bid::new(1_000_000_000),
        bids: 2_000_000_000,
        surplus: MilliCpu::new(650),
    };
    assert_eq!(c.reasoning, reasoning);
    assert_eq!(
        c.reasoning.to_string(),
        "its floor 100m and, for a bid of 100.000 among 200.000, its part of the 650m above the floors"
    );
    assert_eq!(clearing.allocation(&id("c")), Some(c));
    assert_eq!(clearing.allocation(&id("x")), None);
}

#[test]
fn zero_and_empty_demand() {
    // Nobody there.
    let empty = solve(1000, &[]);
    assert_eq!(
        (empty.allocations.len(), empty.headroom.get(), empty.price),
        (0, 1000, Price::ZERO)
    );
    // Content is not absent: it bids 95 %.
    let content = Participant {
        demand: Demand::ZERO,
        ..seat("b", 100, 0, 4000)
    };
    let clearing = solve(1950, &[seat("a", 100, 0, 4000), content]);
    assert_eq!(outcome(&clearing), [(1000, "share"), (950, "share")]);
    // All content: the shares are those of the budgets.
    let both = [("a", 300), ("b", 100)].map(|(name, budget)| Participant {
        demand: Demand::ZERO,
        ..seat(name, budget, 0, 4000)
    });
    assert_eq!(
        outcome(&solve(1000, &both)),
        [(750, "share"), (250, "share")]
    );
    // No capacity.
    assert_eq!(outcome(&solve(0, &[seat("a", 1, 0, 100)])), [(0, "floor")]);
}

#[test]
fn without_any_bid_the_budgets_decide() {
    let participants = [
        seat("a", 300, 100, 4000),
        seat("b", 100, 0, 4000),
        seat("c", 100, 0, 50),
    ];
    let silent = || {
        participants
            .iter()
            .map(|p| Seat {
                bid: Bid::ZERO,
                ..Seat::of(p)
            })
            .collect::<Vec<_>>()
    };
    let clearing = proportional(MilliCpu::new(950), silent());
    assert_eq!(
        outcome(&clearing),
        [(700, "by_budget"), (200, "by_budget"), (50, "cap")]
    );
    // One bid among silence takes all it has room for, the rest is by budget.
    let mut seats = silent();
    seats[2].bid = Bid::new(1);
    assert_eq!(
        outcome(&proportional(MilliCpu::new(950), seats)),
        [(700, "by_budget"), (200, "by_budget"), (50, "cap")]
    );
}

#[test]
fn bounds_between_quanta_are_drawn_inwards_and_the_floor_is_the_stronger() {
    let clearing = solve(
        1009,
        &[
            seat("a", 1, 101, 209),
            seat("b", 1, 0, 4000),
            seat("c", 1, 55, 58),
        ],
    );
    assert_eq!(
        outcome(&clearing),
        [(200, "cap"), (740, "share"), (60, "cap")]
    );
    assert_eq!(clearing.headroom.get(), 9);
}

#[test]
fn contradictions_are_refused_by_name() {
    let solve = |participants| {
        solve_cpu(&NodeMarketInput {
            capacity: MilliCpu::new(1000),
            participants,
        })
    };
    let wrong = solve(vec![seat("a", 1, 0, 100), seat("b", 1, 200, 100)]).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "cannot clear the market: n/b/app has a cap of 100m below its floor of 200m; raise the cap or lower the floor"
    );
    let twice = solve(vec![
        seat("a", 1, 0, 100),
        seat("b", 1, 0, 100),
        seat("a", 1, 0, 100),
    ])
    .unwrap_err();
    assert_eq!(twice, MarketError::Duplicate { id: id("a") });
}

#[test]
fn absurd_amounts_neither_panic_nor_wrap() {
    let clearing = solve(
        u64::MAX,
        &[
            seat("a", 1_000_000, 0, u64::MAX),
            seat("b", 1, u64::MAX, u64::MAX),
        ],
    );
    assert!(!clearing.feasible);
    let clearing = solve(
        u64::MAX,
        &[seat("a", 1_000_000, 0, u64::MAX), seat("b", 1, 0, u64::MAX)],
    );
    assert!(clearing.allocations[0].grant > clearing.allocations[1].grant);
    assert_eq!(clearing.granted, MilliCpu::new(u64::MAX).floor_to_quantum());
}
