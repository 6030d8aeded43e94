//! What holds for every clearing in three tiers.

use proptest::prelude::*;

use super::*;

fn claimant() -> impl Strategy<Value = Claimant> {
    (
        prop_oneof![Just(1_000u64), 1u64..1_000_000],
        0u64..=10_000,
        0u64..60,
        0u64..200,
        0u64..100,
        0u64..300,
    )
        .prop_map(|(budget, demand, floor, need, more, room)| {
            let cap = (floor.max(need) + room).max(1);
            let need = need.clamp(1, cap);
            Claimant {
                bid: budget * (9_500 + demand / 20),
                budget,
                floor,
                need,
                target: (need + more).min(cap),
                cap,
            }
        })
}

/// A node whose needed floors fit.
fn node() -> impl Strategy<Value = (u64, Vec<Claimant>)> {
    (0u64..2_000, prop::collection::vec(claimant(), 0..12)).prop_map(|(above, claimants)| {
        let floors: u64 = claimants.iter().map(|c| c.floor.min(c.need)).sum();
        (floors + above, claimants)
    })
}

/// What is needed and not given, of everybody.
fn missing(tiers: &Tiers, claimants: &[Claimant]) -> u64 {
    let missing = claimants
        .iter()
        .zip(&tiers.needs)
        .map(|(c, got)| c.need - got);
    missing.sum()
}

/// The level `y` that solves `Σ min(room_i, bid_i·y) = amount`, by halving; the oracle knows no rounds.
fn oracle(amount: u64, takers: &[(u64, u64)]) -> Vec<f64> {
    #[allow(clippy::cast_precision_loss)]
    let takers: Vec<(f64, f64)> = takers.iter().map(|(w, r)| (*w as f64, *r as f64)).collect();
    #[allow(clippy::cast_precision_loss)]
    let amount = amount as f64;
    let at = |level: f64| {
        takers
            .iter()
            .map(|(w, r)| (w * level).min(*r))
            .collect::<Vec<f64>>()
    };
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if at(middle).iter().sum::<f64>() <= amount {
            low = middle;
        } else {
            high = middle;
        }
    }
    at(low)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_sum_fits_and_everybody_is_within_its_bounds((capacity, claimants) in node()) {
        let tiers = tiers(capacity, &claimants);
        prop_assert!(tiers.grants.iter().sum::<u64>() <= capacity);
        for (claimant, grant) in claimants.iter().zip(&tiers.grants) {
            prop_assert!(*grant <= claimant.cap.max(claimant.floor), "{claimant:?}: {grant}");
            prop_assert!(*grant >= claimant.floor.min(claimant.need), "{claimant:?}: {grant}");
        }
    }

    #[test]
    fn somebody_is_short_only_if_nothing_is_left((capacity, claimants) in node()) {
        let tiers = tiers(capacity, &claimants);
        let needs: u64 = claimants.iter().map(|c| c.need.max(c.need.min(c.floor))).sum();
        let given: u64 = tiers.needs.iter().sum();
        prop_assert_eq!(missing(&tiers, &claimants) > 0, needs > capacity);
        prop_assert_eq!(missing(&tiers, &claimants) > 0, tiers.open_bids > 0);
        if needs > capacity {
            prop_assert_eq!(given, capacity);
            prop_assert_eq!(&tiers.grants, &tiers.needs);
        }
    }

    #[test]
    fn tier_a_is_the_optimum_within_a_quantum((capacity, claimants) in node()) {
        let tiers = tiers(capacity, &claimants);
        let base = |c: &Claimant| c.floor.min(c.need);
        let takers: Vec<_> = claimants.iter().map(|c| (c.bid, c.need - base(c))).collect();
        let amount = capacity - claimants.iter().map(base).sum::<u64>();
        for ((claimant, got), best) in claimants.iter().zip(&tiers.needs).zip(oracle(amount, &takers)) {
            #[allow(clippy::cast_precision_loss)]
            let ours = (got - base(claimant)) as f64;
            prop_assert!((ours - best).abs() <= 1.0 + 1e-6, "{ours} and {best}");
        }
    }

    #[test]
    fn more_capacity_harms_nobody((capacity, claimants) in node(), more in 1u64..500) {
        let (less, more) = (tiers(capacity, &claimants), tiers(capacity + more, &claimants));
        for (before, after) in less.grants.iter().zip(&more.grants) {
            // Of the tiers only one ever divides what is left, so that nobody is a whole quantum from his exact share.
            prop_assert!(after + 1 >= *before, "{before} {after}");
        }
    }

    #[test]
    fn another_one_helps_nobody((capacity, mut claimants) in node(), another in claimant()) {
        let before = tiers(capacity + another.floor, &claimants);
        claimants.push(another);
        let after = tiers(capacity + another.floor, &claimants);
        for (before, after) in before.grants.iter().zip(&after.grants) {
            prop_assert!(*after <= before + 1, "{before} {after}");
        }
    }

    #[test]
    fn a_larger_budget_never_lowers_its_owner((capacity, claimants) in node(), factor in 2u64..10) {
        let Some(mut one) = claimants.first().copied() else { return Ok(()) };
        let before = tiers(capacity, &claimants).grants[0];
        one.bid *= factor;
        one.budget *= factor;
        let mut claimants = claimants;
        claimants[0] = one;
        let after = tiers(capacity, &claimants).grants[0];
        prop_assert!(after + 1 >= before, "{before} {after}");
    }

    #[test]
    fn the_scale_of_bids_changes_nothing((capacity, claimants) in node(), factor in 1u64..100) {
        let scaled: Vec<_> = claimants
            .iter()
            .map(|c| Claimant { bid: c.bid * factor, budget: c.budget * factor, ..*c })
            .collect();
        prop_assert_eq!(tiers(capacity, &claimants).grants, tiers(capacity, &scaled).grants);
    }

    #[test]
    fn the_order_changes_at_most_a_quantum_of_rounding((capacity, claimants) in node()) {
        let mut reversed = claimants.clone();
        reversed.reverse();
        let there = tiers(capacity, &claimants).grants;
        let back = tiers(capacity, &reversed).grants;
        for (a, b) in there.iter().zip(back.iter().rev()) {
            prop_assert!(a.abs_diff(*b) <= 1, "{a} {b}");
        }
    }

    #[test]
    fn nobody_envies_a_short_one_its_part((capacity, claimants) in node()) {
        let tiers = tiers(capacity, &claimants);
        let base = |c: &Claimant| c.floor.min(c.need);
        for (i, a) in claimants.iter().enumerate() {
            for (j, b) in claimants.iter().enumerate() {
                let (x, y) = (tiers.needs[i] - base(a), tiers.needs[j] - base(b));
                // Who is short has at least what anybody else has above its floor, for its bid, but for rounding.
                if tiers.needs[i] < a.need {
                    let (x, y) = (u128::from(x + 1) * u128::from(b.bid), u128::from(y.saturating_sub(1)) * u128::from(a.bid));
                    prop_assert!(x >= y, "{i} envies {j}");
                }
            }
        }
    }

    #[test]
    fn splitting_gains_nothing_at_equal_floors(
        (capacity, claimants) in node(), whole in claimant(), parts in 2u64..5,
    ) {
        // A whole that divides evenly, and its parts.
        let times = |n: u64| Claimant {
            bid: whole.bid * n, budget: whole.budget * n, floor: whole.floor * n,
            need: whole.need * n, target: whole.target * n, cap: whole.cap * n,
        };
        let others: u64 = claimants.iter().map(|c| c.floor.min(c.need)).sum();
        let capacity = capacity.max(others + whole.floor * parts);
        let with = |extra: &[Claimant]| {
            let all = [&claimants[..], extra].concat();
            tiers(capacity, &all).grants[claimants.len()..].iter().sum::<u64>()
        };
        let (one, many) = (with(&[times(parts)]), with(&vec![whole; usize::try_from(parts).unwrap()]));
        prop_assert!(one.abs_diff(many) <= parts, "{one} as one, {many} as {parts}");
    }
}

#[test]
fn idle_floors_are_lent_and_come_back_first() {
    let idle = Claimant {
        bid: 1,
        budget: 1,
        floor: 100,
        need: 10,
        target: 20,
        cap: 400,
    };
    let busy = Claimant {
        floor: 100,
        need: 170,
        target: 200,
        ..idle
    };
    assert_eq!(tiers(200, &[idle, busy]).grants, [30, 170]);
    assert_eq!(tiers(300, &[idle, busy]).grants, [100, 200]);
    // What is left then is shared, but for a twentieth of all.
    assert_eq!(tiers(400, &[idle, busy]).grants, [140, 240]);
}
