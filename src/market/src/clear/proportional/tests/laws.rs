//! What holds for every market.

use proptest::prelude::*;

use super::*;

const QUANTUM: u64 = 10;

/// A market of up to `n` participants with every kind of bound.
fn market(n: usize) -> impl Strategy<Value = NodeMarketInput> {
    let bounds = (
        prop_oneof![Just(0), 0u64..800],
        prop_oneof![Just(0), 0u64..900, Just(20_000)],
    );
    let one = (
        prop_oneof![Just(100u64), 1u64..=1_000_000],
        0u64..=10_000,
        bounds,
    );
    (0u64..20_000, prop::collection::vec(one, 0..=n)).prop_map(|(capacity, seats)| {
        let participant = |(i, (budget, demand, (floor, room)))| Participant {
            demand: Demand::from_basis_points(demand),
            ..seat(&format!("{i:03}"), budget, floor, floor + room)
        };
        NodeMarketInput {
            capacity: MilliCpu::new(capacity),
            participants: seats.into_iter().enumerate().map(participant).collect(),
        }
    })
}

/// As [`market`], with floors that fit.
fn feasible(n: usize) -> impl Strategy<Value = NodeMarketInput> {
    market(n).prop_map(|mut input| {
        let floors: u64 = input
            .participants
            .iter()
            .map(|p| p.floor.get().next_multiple_of(QUANTUM))
            .sum();
        input.capacity += MilliCpu::new(floors);
        input
    })
}

fn solved(input: &NodeMarketInput) -> Clearing {
    solve_cpu(input).unwrap()
}

fn floor_of(p: &Participant) -> u64 {
    p.floor.get().next_multiple_of(QUANTUM)
}

fn cap_of(p: &Participant) -> u64 {
    (p.cap.get() / QUANTUM * QUANTUM).max(floor_of(p))
}

/// Grants by id.
fn grants(clearing: &Clearing) -> Vec<u64> {
    clearing.allocations.iter().map(|a| a.grant.get()).collect()
}

/// An oracle that knows nothing of clamping or remainders: it finds the water
/// level by halving an interval, in floating point, for divisible CPU.
#[allow(clippy::cast_precision_loss)]
fn oracle(input: &NodeMarketInput) -> Vec<f64> {
    let weights: Vec<f64> = input
        .participants
        .iter()
        .map(|p| p.budget.thousandths() as f64 * (9500 + p.demand.basis_points() / 20) as f64)
        .collect();
    let floors: Vec<f64> = input
        .participants
        .iter()
        .map(|p| floor_of(p) as f64)
        .collect();
    let caps: Vec<f64> = input
        .participants
        .iter()
        .map(|p| cap_of(p) as f64)
        .collect();
    let at = |level: f64| -> Vec<f64> {
        (0..weights.len())
            .map(|i| (floors[i] + weights[i] * level).min(caps[i]))
            .collect()
    };
    let capacity = (input.capacity.get() / QUANTUM * QUANTUM) as f64;
    let (mut low, mut high) = (0.0, 1.0e6);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if at(middle).iter().sum::<f64>() > capacity {
            high = middle;
        } else {
            low = middle;
        }
    }
    at(low)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_sum_is_exact(input in feasible(12)) {
        let clearing = solved(&input);
        let caps: u64 = input.participants.iter().map(cap_of).sum();
        let expected = (input.capacity.get() / QUANTUM * QUANTUM).min(caps);
        prop_assert_eq!(grants(&clearing).iter().sum::<u64>(), expected);
        prop_assert_eq!(clearing.granted.get(), expected);
        prop_assert_eq!(clearing.headroom.get(), input.capacity.get() - expected);
        prop_assert!(clearing.feasible);
    }

    #[test]
    fn bounds_are_kept_and_grants_are_quanta(input in market(12)) {
        for (p, a) in input.participants.iter().zip(&solved(&input).allocations) {
            prop_assert_eq!(&p.id, &a.id);
            prop_assert!(a.grant >= p.floor && a.grant.get() <= cap_of(p));
            prop_assert!(a.grant.get().is_multiple_of(QUANTUM));
            prop_assert!(a.limit >= a.grant);
        }
    }

    #[test]
    fn floors_that_do_not_fit_stand_and_nothing_is_given_above_them(input in market(12)) {
        let clearing = solved(&input);
        let floors: Vec<u64> = input.participants.iter().map(floor_of).collect();
        let fit = floors.iter().sum::<u64>() <= input.capacity.get() / QUANTUM * QUANTUM;
        prop_assert_eq!(clearing.feasible, fit);
        if !fit {
            prop_assert_eq!(grants(&clearing), floors);
        }
    }

    #[test]
    fn nobody_is_short_exactly_when_a_millicore_costs_nothing(input in market(12)) {
        let clearing = solved(&input);
        let short = input.participants.iter().zip(&clearing.allocations).any(|(p, a)| a.grant.get() < cap_of(p));
        prop_assert_eq!(clearing.price > Price::ZERO, short || !clearing.feasible);
    }

    #[test]
    fn the_order_of_the_input_changes_nothing((input, shuffled) in market(12).prop_flat_map(|input| {
        let shuffled = Just(input.participants.clone()).prop_shuffle();
        (Just(input), shuffled)
    })) {
        let other = NodeMarketInput { participants: shuffled, ..input.clone() };
        prop_assert_eq!(solved(&input), solved(&other));
    }

    #[test]
    fn the_scale_of_the_bids_changes_nothing(input in market(12), factor in 1u64..100) {
        let mut scaled = input.clone();
        for p in &mut scaled.participants {
            p.budget = EffectiveBudget::from_thousandths(p.budget.thousandths() % 10_000_000 + 1);
        }
        let small = solved(&scaled);
        for p in &mut scaled.participants {
            p.budget = EffectiveBudget::from_thousandths(p.budget.thousandths() * factor);
        }
        prop_assert_eq!(grants(&small), grants(&solved(&scaled)));
    }

    #[test]
    fn more_capacity_takes_from_nobody(input in feasible(12), more in 0u64..5000) {
        let larger = NodeMarketInput { capacity: input.capacity + MilliCpu::new(more), ..input.clone() };
        // One quantum may go round: largest remainders are not house-monotone.
        for (before, after) in grants(&solved(&input)).iter().zip(grants(&solved(&larger))) {
            prop_assert!(after + QUANTUM >= *before);
        }
    }

    #[test]
    fn one_more_participant_raises_nobody(input in feasible(12), index in any::<prop::sample::Index>()) {
        prop_assume!(!input.participants.is_empty());
        let mut fewer = input.clone();
        let gone = fewer.participants.remove(index.index(input.participants.len()));
        let (with, without) = (solved(&input), solved(&fewer));
        for allocation in with.allocations.iter().filter(|a| a.id != gone.id) {
            let alone = without.allocation(&allocation.id).unwrap();
            prop_assert!(allocation.grant <= alone.grant + MilliCpu::QUANTUM);
        }
    }

    #[test]
    fn a_higher_bid_never_lowers_the_bidders_grant(input in market(12), index in any::<prop::sample::Index>(), more in 1u64..1000) {
        prop_assume!(!input.participants.is_empty());
        let i = index.index(input.participants.len());
        let mut raised = input.clone();
        let budget = input.participants[i].budget.thousandths() + more * 1000;
        raised.participants[i].budget = EffectiveBudget::from_thousandths(budget);
        prop_assert!(solved(&raised).allocations[i].grant >= solved(&input).allocations[i].grant);
    }

    /// Who is below its cap has, per bid, no less above its floor than anybody
    /// else, but for one quantum of the smaller bid.
    #[test]
    fn nobody_below_its_cap_envies(input in feasible(8)) {
        let clearing = solved(&input);
        let surplus = |p: &Participant, a: &Allocation| u128::from((a.grant.get() - floor_of(p)) / QUANTUM);
        let all: Vec<_> = input.participants.iter().zip(&clearing.allocations).collect();
        for (p, a) in all.iter().filter(|(p, a)| a.grant.get() < cap_of(p)) {
            for (q, b) in &all {
                let (mine, theirs) = (u128::from(a.bid.get()), u128::from(b.bid.get()));
                prop_assert!(surplus(q, b) * mine <= surplus(p, a) * theirs + mine.max(theirs));
            }
        }
    }

    #[test]
    fn the_oracle_agrees_to_the_quantum(input in feasible(12)) {
        for (a, exact) in solved(&input).allocations.iter().zip(oracle(&input)) {
            #[allow(clippy::cast_precision_loss)]
            let distance = (a.grant.get() as f64 - exact).abs();
            prop_assert!(distance < 10.0 + 1e-3, "{} granted, {exact} by the oracle", a.grant);
        }
    }

    #[test]
    fn the_same_market_clears_the_same_way(input in market(12)) {
        prop_assert_eq!(solved(&input), solved(&input));
    }
}

/// Bids of very different size make rounds of clamping: the sorted way must say the same.
#[test]
fn a_market_that_needs_many_rounds_is_exact_too() {
    let participants: Vec<Participant> = (0..60u32)
        .map(|i| {
            seat(
                &format!("{i:02}"),
                1 + u64::from(i) * 37 % 500,
                0,
                10 * (1u64 << (i % 40)),
            )
        })
        .collect();
    for capacity in [1000, 100_000, 10_000_000] {
        let input = NodeMarketInput {
            capacity: MilliCpu::new(capacity),
            participants: participants.clone(),
        };
        let clearing = solved(&input);
        assert_eq!(clearing.granted.get(), capacity);
        for (a, exact) in clearing.allocations.iter().zip(oracle(&input)) {
            #[allow(clippy::cast_precision_loss)]
            let distance = (a.grant.get() as f64 - exact).abs();
            assert!(
                distance < 10.0 + 1e-2,
                "{} granted, {exact} by the oracle",
                a.grant
            );
        }
    }
}
