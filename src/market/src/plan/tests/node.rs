//! The node as a whole: who gives way to whom.

use super::*;
use crate::input::NonParticipant;

#[test]
fn a_new_pod_is_cut_to_its_grant_and_the_others_give_way() {
    let mut world = settled();
    world
        .snapshot
        .participants
        .insert(id("new"), observed(1000, None));
    let plan = world.step();
    // Grants: api 310, batch 170, new 800, web 520; nobody loses more than half of what it had.
    assert_eq!(
        writes(&plan),
        [
            ("new", None, 800),
            ("web", Some(1000), 520),
            ("api", Some(550), 310),
            ("batch", Some(250), 170)
        ]
    );
    assert!(plan.conditions.is_empty());
    assert_eq!(world.limits().iter().sum::<u64>(), 1800);
}

#[test]
fn limits_above_the_capacity_are_said_and_nobody_grows_meanwhile() {
    let mut world = settled();
    world.of("web").min_cpu = Some(MilliCpu::new(1000));
    world.of("api").min_cpu = Some(MilliCpu::new(500));
    world.of("api").limit = Some(MilliCpu::new(500));
    world.of("batch").max_cpu = Some(MilliCpu::new(120));
    // A neighbour requests what web and api may not give.
    let neighbour = NonParticipant {
        request: MilliCpu::new(300),
        usage: Some(MilliCpu::ZERO),
        limit: None,
    };
    world.snapshot.non_participants.push(neighbour);
    let plan = world.step();
    assert_eq!(plan.capacity.get(), 1500);
    assert_eq!(writes(&plan), [("batch", Some(250), 130)]);
    assert_eq!(
        conditions(&plan),
        ["floors_above_capacity", "limits_above_capacity"]
    );
    assert_eq!(
        plan.conditions[0].to_string(),
        "the floors add up to 1600m and the market has 1500m: everybody gets its floor and no more"
    );
}

#[test]
fn growth_takes_what_is_free_and_the_rest_when_it_comes_free() {
    let mut world = settled();
    // web may only lose half in one plan, api wants all of it at once.
    world.of("web").max_cpu = Some(MilliCpu::new(100));
    world.of("batch").max_cpu = Some(MilliCpu::new(250));
    let plan = world.step();
    assert_eq!(
        writes(&plan),
        [("web", Some(1000), 500), ("api", Some(550), 1050)]
    );
    let plan = world.step();
    assert_eq!(
        writes(&plan),
        [("web", Some(500), 250), ("api", Some(1050), 1300)]
    );
    assert_eq!(world.limits().iter().sum::<u64>(), 1800);
}

#[test]
fn a_held_shrink_is_let_go_when_somebody_needs_what_it_holds() {
    let mut world = settled();
    // web sits 40m above its grant, inside its dead-band; batch is 40m short, beyond its own.
    world.of("web").limit = Some(MilliCpu::new(1040));
    world.of("batch").limit = Some(MilliCpu::new(210));
    let plan = world.step();
    assert_eq!(
        writes(&plan),
        [("web", Some(1040), 1000), ("batch", Some(210), 250)]
    );
}

#[test]
fn the_held_shrink_that_frees_most_goes_first_and_no_more_than_needed() {
    let mut world = settled();
    world.of("web").limit = Some(MilliCpu::new(1030));
    world.of("api").limit = Some(MilliCpu::new(570));
    world.of("batch").limit = Some(MilliCpu::new(230));
    // All three are inside their dead-bands, and 30m have to be found.
    let plan = world.step();
    assert_eq!(writes(&plan), [("web", Some(1030), 1000)]);
    assert_eq!(held(&plan), [("api", "dead_band"), ("batch", "dead_band")]);
}

#[test]
fn a_fall_of_capacity_is_followed_even_inside_the_dead_bands() {
    let mut world = settled();
    let neighbour = NonParticipant {
        request: MilliCpu::new(30),
        usage: Some(MilliCpu::ZERO),
        limit: None,
    };
    world.snapshot.non_participants.push(neighbour);
    let plan = world.step();
    assert_eq!(plan.capacity.get(), 1770);
    assert!(world.limits().iter().sum::<u64>() <= 1770);
    // Back again: the rise is inside the dead-band of the capacity and nothing moves.
    world.snapshot.non_participants.clear();
    let plan = world.step();
    assert_eq!((plan.capacity.get(), writes(&plan)), (1770, vec![]));
}

#[test]
fn jitter_of_demand_and_of_the_neighbours_settles_into_silence() {
    let mut world = settled();
    let mut quiet = 0;
    for cycle in 0..60u64 {
        let flip = |phase: u64| {
            if (cycle + phase).is_multiple_of(2) {
                Demand::FULL
            } else {
                Demand::ZERO
            }
        };
        for (phase, name) in (0..).zip(["web", "api", "batch"]) {
            world.of(name).demand = flip(phase);
        }
        let usage = MilliCpu::new(100 + cycle * 37 % 60);
        let request = MilliCpu::new(100);
        world.snapshot.non_participants = vec![NonParticipant {
            request,
            usage: Some(usage),
            limit: None,
        }];
        quiet = if world.step().writes.is_empty() {
            quiet + 1
        } else {
            0
        };
    }
    assert!(quiet >= 30, "silent for {quiet} cycles only");
}

#[test]
fn what_is_not_ours_to_write_is_cleared_but_left_alone() {
    let mut world = settled();
    world.of("web").mode = Mode::Recommend;
    world.of("web").limit = None;
    world.of("batch").mode = Mode::Observe;
    world.of("batch").limit = Some(MilliCpu::new(4000));
    world.of("api").limit = Some(MilliCpu::new(200));
    let plan = world.step();
    // The others' grants are kept for them; beyond that their limits stop nobody.
    assert_eq!(writes(&plan), [("api", Some(200), 550)]);
    assert_eq!(held(&plan), [("batch", "mode"), ("web", "mode")]);
    assert_eq!(plan.held[1].1.to_string(), "its mode is recommend");
    assert_eq!(
        plan.clearing.allocation(&id("web")).map(|a| a.limit.get()),
        Some(1000)
    );
    assert!(plan.conditions.is_empty());
}
