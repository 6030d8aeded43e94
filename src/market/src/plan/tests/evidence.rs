//! The least-restrictive rule: how far a word goes, and evidence that goes and comes back.

use super::least::{node, pod};
use super::*;

fn bids(plan: &Plan) -> Vec<u64> {
    let allocations = plan.clearing.allocations.iter();
    allocations.map(|a| a.bid.get()).collect()
}

#[test]
fn urgency_counts_as_far_as_usage_bears_it_out() {
    // Both are entitled to 900m; nine tenths of that are 810m.
    let urgent = [
        ("a", pod(100, 100, 1900, 0)),
        ("b", pod(100, 100, 1900, 10_000)),
    ];
    let of = |used: u64| {
        let mut world = node(1900, 100, &urgent);
        let plan = world.uses(&[("a", 10), ("b", used)]);
        bids(&plan)[1] - bids(&plan)[0]
    };
    let whole = of(810);
    assert_eq!((of(405) * 2, of(0)), (whole, 0));
    assert_eq!(of(900), whole);
    assert!(of(700) < whole);
}

#[test]
fn urgency_without_evidence_counts_as_neutral() {
    let said = |demand| ("a", pod(100, 100, 1900, demand));
    let bid = |demand| bids(&node(1900, 100, &[said(demand)]).step())[0];
    assert_eq!(bid(10_000), bid(5_000));
    assert!(bid(2_000) < bid(5_000));
}

/// A burner that is held for a victim whose request is too small.
fn held() -> World {
    let burner = ("burner", pod(100, 1000, 3900, 10_000));
    let mut world = node(3900, 300, &[burner, ("victim", pod(600, 100, 3900, 0))]);
    hold(&mut world);
    world
}

/// The victim could use 1500m and has what the burner leaves: by its limit, or by its request.
fn hold(world: &mut World) {
    for cycle in 0..20 {
        world.of("victim").demand = Demand::from_basis_points(if cycle < 4 { 0 } else { 10_000 });
        let burns = world
            .of("burner")
            .limit
            .map_or(3550, MilliCpu::get)
            .min(3550);
        world.uses(&[("burner", burns), ("victim", (3900 - burns).min(1500))]);
    }
    let burner = world.of("burner").limit.unwrap().get();
    assert!((1000..2900).contains(&burner), "{burner}");
}

#[test]
fn who_is_held_is_let_go_when_nothing_is_known_any_more_and_held_again_when_it_is() {
    let mut world = held();
    let before = world.limits();
    for name in ["burner", "victim"] {
        world.of(name).usage = None;
    }
    for _ in 0..4 {
        let plan = world.step();
        assert_eq!(writes(&plan), [], "for a minute what was known counts");
    }
    assert_eq!(world.limits(), before);
    let plan = world.step();
    assert_eq!(writes(&plan), [("burner", Some(before[0]), 3900)]);
    assert!(world.steps(4).iter().all(|plan| plan.writes.is_empty()));
    hold(&mut world);
}

#[test]
fn one_of_whom_nothing_is_known_is_no_reason_to_let_others_go() {
    let mut world = held();
    let before = world.limits();
    world.of("victim").usage = None;
    for _ in 0..4 {
        world.uses(&[("burner", before[0])]);
    }
    assert_eq!(world.limits(), before);
}
