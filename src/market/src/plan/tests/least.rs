//! The least-restrictive rule: worked nodes.

use super::*;
use crate::input::Usage;
use crate::weight::WeightCurve;

/// A node under the default rule, on cgroup v1, whose usage is what the tests say.
pub(super) fn node(allocatable: u64, reserve: u64, participants: &[(&str, Observed)]) -> World {
    let mut world = World::new(allocatable, participants);
    world.policy = Policy::default();
    world.snapshot.supply.reserve = MilliCpu::new(reserve);
    world.snapshot.supply.curve = Some(WeightCurve::Shares);
    world
}

pub(super) fn pod(budget: u64, request: u64, limit: u64, demand: u64) -> Observed {
    Observed {
        request: MilliCpu::new(request),
        demand: Demand::from_basis_points(demand),
        ..observed(budget, Some(limit))
    }
}

impl World {
    /// One cycle after which the kubelet has seen this.
    pub(super) fn uses(&mut self, usage: &[(&str, u64)]) -> Plan {
        let until = self.now + self.pause;
        for (name, cpu) in usage {
            self.of(name).usage = Some(Usage {
                cpu: MilliCpu::new(*cpu),
                until,
            });
        }
        self.step()
    }
}

/// Need, grant, reason of the grant, limit, reason of the limit.
fn outcome(plan: &Plan) -> Vec<(u64, u64, &'static str, u64, &'static str)> {
    let allocations = plan.clearing.allocations.iter();
    allocations
        .map(|a| {
            (
                a.need.get(),
                a.grant.get(),
                a.reasoning.word(),
                a.limit.get(),
                a.limit_reason.word(),
            )
        })
        .collect()
}

#[test]
fn nobody_is_written_to_where_requests_are_right() {
    // A victim of 0.8 cores beside a burner that takes the rest; the burner's request is small.
    let mut world = node(
        3900,
        300,
        &[
            ("burner", pod(100, 300, 3900, 10_000)),
            ("victim", pod(600, 900, 3900, 0)),
        ],
    );
    for _ in 0..40 {
        let plan = world.uses(&[("victim", 800), ("burner", 3000)]);
        assert!(
            plan.writes.is_empty() && plan.conditions.is_empty(),
            "{plan:?}"
        );
    }
    let plan = world.uses(&[("victim", 800), ("burner", 3000)]);
    let [burner, victim] = outcome(&plan).try_into().unwrap();
    assert_eq!((burner.2, burner.4), ("share", "weights"));
    assert_eq!((victim.0, victim.1, victim.4), (800, 800, "unbound"));
}

#[test]
fn a_jump_is_worth_another_plan_where_a_limit_binds_or_somebody_is_short() {
    let of = |plan: &Plan, world: &World, name: &str| {
        let least = plan.jump(&world.snapshot, &id(name));
        least.map(Demand::basis_points)
    };
    let (web, small) = (pod(600, 1000, 3900, 0), pod(300, 100, 500, 0));
    let mut world = node(3900, 300, &[("small", small), ("web", web)]);
    let calm = [("web", 300), ("small", 100)];
    let mut plan = world.uses(&calm);
    for _ in 0..4 {
        plan = world.uses(&calm);
    }
    // A queue of eight; one that is at its cap on a roomy node can gain nothing.
    assert_eq!(of(&plan, &world, "small"), Some(6_700));
    assert_eq!(of(&plan, &world, "web"), None);
    assert_eq!(of(&plan, &world, "gone"), None);
    for keep in [
        |p: &mut Observed| p.mode = mbcas_core::annotations::Mode::Recommend,
        |p: &mut Observed| p.starting = true,
    ] {
        let before = world.of("small").clone();
        keep(world.of("small"));
        assert_eq!(of(&plan, &world, "small"), None);
        *world.of("small") = before;
    }
    // On a short one it can, and who is short has said so already.
    let burner = pod(100, 300, 3900, 10_000);
    let mut world = node(
        3900,
        300,
        &[("burner", burner), ("victim", pod(600, 900, 3900, 0))],
    );
    for _ in 0..4 {
        plan = world.uses(&[("victim", 800), ("burner", 3000)]);
    }
    assert_eq!(of(&plan, &world, "victim"), Some(6_700));
    assert_eq!(of(&plan, &world, "burner"), None);
}

#[test]
fn where_requests_are_wrong_the_burner_is_held_and_the_victim_is_not() {
    // Starved by its request it uses 350m, and its queue grows.
    let mut world = node(
        3900,
        300,
        &[
            ("burner", pod(100, 1000, 3900, 10_000)),
            ("victim", pod(600, 100, 3900, 0)),
        ],
    );
    for _ in 0..4 {
        world.uses(&[("victim", 350), ("burner", 3550)]);
    }
    world.of("victim").demand = Demand::FULL;
    for _ in 0..4 {
        world.uses(&[("victim", 350), ("burner", 3550)]);
    }
    let burner = world.of("burner").limit.unwrap().get();
    assert!((1000..2900).contains(&burner), "{burner}");
    assert_eq!(world.of("victim").limit.unwrap().get(), 3900);
    assert!(world.step().conditions.is_empty());
}

#[test]
fn budgets_decide_between_the_saturated() {
    let three = [("a", 600), ("b", 300), ("c", 100)];
    let three = three.map(|(name, budget)| (name, pod(budget, 100, 1900, 10_000)));
    let mut world = node(1900, 100, &three);
    let mut last = Plan::default();
    for _ in 0..12 {
        let limits = world.limits();
        // The kernel gives equal parts until limits say otherwise.
        let [a, b, c] = limits.try_into().unwrap();
        let (c, b) = (c.min(630), b.min(630));
        last = world.uses(&[("a", (1900 - b - c).min(a)), ("b", b), ("c", c)]);
    }
    let grants: Vec<u64> = last
        .clearing
        .allocations
        .iter()
        .map(|a| a.grant.get())
        .collect();
    assert_eq!(grants, [1000, 550, 250]);
    let reasons: Vec<_> = last
        .clearing
        .allocations
        .iter()
        .map(|a| a.limit_reason.word())
        .collect();
    // The largest has no limit: what the others may not take is its.
    assert_eq!(reasons, ["weights", "held", "held"]);
    assert!(last.writes.is_empty(), "{:?}", writes(&last));
}

#[test]
fn a_jump_is_answered_before_anybody_has_seen_usage() {
    let mut world = node(
        1900,
        100,
        &[
            ("a", pod(600, 100, 200, 0)),
            ("b", pod(100, 100, 1900, 10_000)),
        ],
    );
    for _ in 0..5 {
        world.uses(&[("a", 50), ("b", 1700)]);
    }
    let before = world.of("a").limit;
    world.of("a").demand = Demand::FULL;
    world.pause = Duration::from_secs(1);
    let plan = world.step();
    let a = &plan.clearing.allocations[0];
    assert_eq!((before.unwrap().get(), a.need.get()), (200, 150));
    assert!(a.limit > MilliCpu::new(200), "{a:?}");
    assert!(world.of("a").limit > before);
}

#[test]
fn a_starting_container_has_its_cap() {
    let mut world = node(1900, 100, &[("a", pod(100, 100, 150, 0))]);
    world.of("a").starting = true;
    let plan = world.uses(&[("a", 150)]);
    assert_eq!(writes(&plan), [("a", Some(150), 1900)]);
    assert_eq!(plan.clearing.allocations[0].limit_reason.word(), "starting");
}

#[test]
fn nothing_is_held_against_those_of_whom_nothing_is_known() {
    let mut world = node(
        1900,
        100,
        &[
            ("a", pod(600, 100, 1900, 10_000)),
            ("b", pod(1, 1000, 1900, 0)),
        ],
    );
    for plan in world.steps(10) {
        assert!(plan.writes.is_empty(), "{:?}", writes(&plan));
    }
}

#[test]
fn a_limit_that_was_never_there_is_added_only_to_hold_somebody() {
    let mut world = node(
        1900,
        100,
        &[
            ("a", pod(600, 100, 1900, 0)),
            ("b", pod(100, 1000, 1900, 0)),
        ],
    );
    world.of("b").limit = None;
    let plan = world.uses(&[("a", 100), ("b", 300)]);
    assert_eq!(writes(&plan), []);
}

/// Who was starved beside a burner uses more than it ever did as soon as that is held. It does not lose half of it to
/// an average of calmer times.
#[test]
fn who_is_let_go_by_a_full_node_is_not_cut_to_what_it_used_before() {
    for served in [1340, 1260, 1100] {
        let participants = [
            ("burner", pod(100, 200, 1500, 0)),
            ("web", pod(300, 200, 1500, 5_000)),
        ];
        let mut world = node(1500, 70, &participants);
        world.snapshot.supply.cores = MilliCpu::new(2000);
        let mut window = |burner, web| {
            world.pause = Duration::from_secs(5);
            world.uses(&[("burner", burner), ("web", web)]);
            world.limits()
        };
        for _ in 0..12 {
            assert_eq!(window(1500, 100), [1500, 1500]);
        }
        let [burner, web] = window(980, 930).try_into().unwrap();
        assert!(
            burner < 600 && web == 1500,
            "the burner has {burner}m, web {web}m"
        );
        for _ in 0..24 {
            assert_eq!(window(burner, served), [burner, 1500], "{served}");
        }
    }
}
