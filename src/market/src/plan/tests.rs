//! Cycle after cycle on one node: what the guardrails of each rule promise.
//!
//! The tests in this file, in `node` and in `laws` are about the proportional rule.

use mbcas_core::annotations::Mode;
use mbcas_core::{Budget, Demand, PodId};

use super::*;
use crate::input::NodeSupply;
use crate::policy::Settings;

mod evidence;
mod history;
mod laws;
mod least;
mod node;

/// The time between two cycles.
const CYCLE: Duration = Duration::from_secs(15);

fn id(name: &str) -> ContainerId {
    let pod = PodId {
        namespace: "n".into(),
        name: name.into(),
        uid: name.into(),
    };
    ContainerId::new(pod, "app")
}

/// A participant in auto mode, at full demand, with a request of 100m.
fn observed(budget: u64, limit: Option<u64>) -> Observed {
    Observed {
        request: MilliCpu::new(100),
        limit: limit.map(MilliCpu::new),
        min_cpu: None,
        max_cpu: None,
        budget: Budget::new(budget).unwrap().into(),
        is_scaled: false,
        usage: None,
        starting: false,
        demand: Demand::FULL,
        measured: None,
        mode: Mode::Auto,
    }
}

fn proportional() -> Policy {
    Policy::new(Settings {
        rule: Rule::Proportional,
        ..Settings::default()
    })
    .unwrap()
}

/// One node whose limits do what the plans say.
struct World {
    snapshot: NodeSnapshot,
    ledger: Ledger,
    policy: Policy,
    now: Duration,
    /// Until the next cycle.
    pause: Duration,
}

impl World {
    /// A node of `capacity` without anybody else.
    fn new(capacity: u64, participants: &[(&str, Observed)]) -> Self {
        let supply = NodeSupply {
            allocatable: MilliCpu::new(capacity),
            reserve: MilliCpu::ZERO,
            cores: MilliCpu::new(capacity),
            curve: None,
        };
        let participants = participants
            .iter()
            .map(|(name, p)| (id(name), p.clone()))
            .collect();
        let snapshot = NodeSnapshot {
            node: "node".into(),
            supply,
            participants,
            non_participants: Vec::new(),
        };
        Self {
            snapshot,
            ledger: Ledger::default(),
            policy: proportional(),
            now: Duration::from_secs(1000),
            pause: CYCLE,
        }
    }

    /// One cycle, 15 s after the last one unless `pause` says otherwise.
    fn step(&mut self) -> Plan {
        self.now += std::mem::replace(&mut self.pause, CYCLE);
        let plan = plan(&self.snapshot, &self.ledger, &self.policy, self.now);
        for write in &plan.writes {
            self.participant(&write.id).limit = Some(write.to);
        }
        self.ledger = plan.ledger.clone();
        plan
    }

    fn steps(&mut self, n: usize) -> Vec<Plan> {
        (0..n).map(|_| self.step()).collect()
    }

    fn participant(&mut self, id: &ContainerId) -> &mut Observed {
        self.snapshot.participants.get_mut(id).unwrap()
    }

    fn of(&mut self, name: &str) -> &mut Observed {
        self.participant(&id(name))
    }

    fn limits(&self) -> Vec<u64> {
        self.snapshot
            .participants
            .values()
            .map(|p| p.limit.unwrap_or_default().get())
            .collect()
    }
}

/// Name, before, after.
fn writes(plan: &Plan) -> Vec<(&str, Option<u64>, u64)> {
    plan.writes
        .iter()
        .map(|w| {
            (
                w.id.pod.name.as_str(),
                w.from.map(MilliCpu::get),
                w.to.get(),
            )
        })
        .collect()
}

fn held(plan: &Plan) -> Vec<(&str, &'static str)> {
    plan.held
        .iter()
        .map(|(id, reason)| (id.pod.name.as_str(), reason.word()))
        .collect()
}

fn conditions(plan: &Plan) -> Vec<&'static str> {
    plan.conditions.iter().map(Condition::word).collect()
}

/// web, api and batch with the demo's budgets, at their grants, after a quiet minute.
fn settled() -> World {
    let mut world = World::new(
        1800,
        &[
            ("web", observed(600, None)),
            ("api", observed(300, Some(2000))),
            ("batch", observed(100, Some(2000))),
        ],
    );
    world.step();
    world.now += Duration::from_mins(1);
    assert_eq!(world.limits(), [550, 250, 1000]);
    world
}

#[test]
fn initial_limits_are_cut_at_once_and_in_order() {
    let mut world = World::new(
        1800,
        &[
            ("web", observed(600, Some(500))),
            ("api", observed(300, None)),
            ("batch", observed(100, Some(2000))),
        ],
    );
    let first = world.step();
    assert_eq!(
        writes(&first),
        [
            ("api", None, 550),
            ("batch", Some(2000), 250),
            ("web", Some(500), 1000)
        ]
    );
    assert!(first.held.is_empty() && first.conditions.is_empty());
    assert_eq!(first.writes[0].direction(), Direction::Shrink);
    assert_eq!(
        (first.writes[0].delta().get(), first.writes[2].delta().get()),
        (0, 500)
    );
    // And nothing more happens.
    assert!(
        world
            .steps(20)
            .iter()
            .all(|plan| plan.writes.is_empty() && plan.held.is_empty())
    );
}

#[test]
fn a_change_inside_the_dead_band_is_held() {
    let mut world = settled();
    world.of("web").limit = Some(MilliCpu::new(960)); // 40m short, less than 5 %
    let plan = world.step();
    assert_eq!(
        (writes(&plan), held(&plan)),
        (vec![], vec![("web", "dead_band")])
    );
    assert_eq!(
        plan.held[0].1.to_string(),
        "1000m is too near to what it has"
    );
    world.of("web").limit = Some(MilliCpu::new(940));
    assert_eq!(writes(&world.step()), [("web", Some(940), 1000)]);
}

#[test]
fn one_plan_takes_at_most_half() {
    let mut world = settled();
    world.of("web").max_cpu = Some(MilliCpu::new(120));
    let plan = world.step();
    assert_eq!(
        writes(&plan),
        [
            ("web", Some(1000), 500),
            ("api", Some(550), 920),
            ("batch", Some(250), 370)
        ]
    );
    let plan = world.step();
    assert_eq!(
        writes(&plan),
        [
            ("web", Some(500), 250),
            ("api", Some(920), 1110),
            ("batch", Some(370), 430)
        ]
    );
}

#[test]
fn growth_waits_a_minute_after_a_shrink() {
    let mut world = settled();
    world.of("web").max_cpu = Some(MilliCpu::new(500));
    world.step();
    world.of("web").max_cpu = None;
    for remaining in [45, 30, 15] {
        let plan = world.step();
        let web = plan.held.iter().find(|(who, _)| *who == id("web")).unwrap();
        let wait = HoldReason::Cooldown {
            wanted: MilliCpu::new(1000),
            remaining: Duration::from_secs(remaining),
        };
        assert_eq!(web.1, wait);
        assert_eq!(
            web.1.to_string(),
            format!("1000m has to wait {remaining} s after the last write")
        );
    }
    let plan = world.step();
    assert_eq!(
        plan.writes
            .last()
            .map(|w| (w.id.pod.name.as_str(), w.to.get())),
        Some(("web", 1000))
    );
}

#[test]
fn a_shrink_after_growth_waits_too_unless_the_node_is_over_its_capacity() {
    let mut world = settled();
    world.of("web").max_cpu = Some(MilliCpu::new(500));
    world.steps(2); // api and batch have grown
    world.of("web").max_cpu = None;
    world.of("web").limit = Some(MilliCpu::new(500));
    let plan = world.step();
    assert_eq!(
        held(&plan),
        [
            ("api", "cooldown"),
            ("batch", "cooldown"),
            ("web", "cooldown")
        ]
    );
    // Somebody comes: what was promised to all goes before the calm of one.
    world
        .snapshot
        .participants
        .insert(id("new"), observed(600, Some(4000)));
    let plan = world.step();
    assert_eq!(writes(&plan)[0], ("new", Some(4000), 630));
    assert!(
        plan.writes
            .iter()
            .any(|w| w.id == id("api") && w.direction() == Direction::Shrink)
    );
}

#[test]
fn bounds_come_from_the_pod_and_the_node() {
    let bounds = |p: &Observed| (p.floor().get(), p.cap(MilliCpu::new(1935)).get());
    let plain = observed(100, None);
    assert_eq!(bounds(&plain), (100, 1930));
    let m = |n| Some(MilliCpu::new(n));
    assert_eq!(
        bounds(&Observed {
            min_cpu: m(205),
            max_cpu: m(409),
            ..plain.clone()
        }),
        (210, 400)
    );
    assert_eq!(
        bounds(&Observed {
            min_cpu: m(50),
            max_cpu: m(101),
            ..plain.clone()
        }),
        (100, 100)
    );
    assert_eq!(
        bounds(&Observed {
            min_cpu: m(5000),
            ..plain.clone()
        }),
        (5000, 5000)
    );
    assert_eq!(
        bounds(&Observed {
            request: MilliCpu::ZERO,
            ..plain
        }),
        (10, 1930)
    );
}

#[test]
fn a_limit_below_the_floor_is_raised_whatever_the_guardrails_say() {
    let mut world = settled();
    world.of("api").min_cpu = Some(MilliCpu::new(560));
    world.of("api").max_cpu = Some(MilliCpu::new(560));
    let plan = world.step();
    // 10m is inside every dead-band, and web has to give them.
    assert_eq!(
        writes(&plan),
        [("web", Some(1000), 990), ("api", Some(550), 560)]
    );
}

#[test]
fn an_empty_node_plans_nothing() {
    let mut world = World::new(1000, &[]);
    let plan = world.step();
    assert_eq!(
        (plan.capacity.get(), plan.clearing.headroom.get()),
        (1000, 1000)
    );
    assert!(plan.writes.is_empty() && plan.held.is_empty() && plan.conditions.is_empty());
}

#[test]
fn the_ledger_remembers_the_living_only() {
    let mut world = settled();
    assert_eq!(
        world
            .ledger
            .written(&id("web"))
            .map(|w| (w.limit.get(), w.direction)),
        Some((1000, Direction::Shrink))
    );
    assert_eq!(world.ledger.capacity(), Some(MilliCpu::new(1800)));
    world.of("web").demand = Demand::ZERO;
    world.step();
    // 75 s, two and a half half-lives.
    assert_eq!(
        world.ledger.demand(&id("web")).map(Demand::basis_points),
        Some(1_768)
    );
    world.snapshot.participants.remove(&id("web"));
    world.step();
    assert_eq!(
        (
            world.ledger.written(&id("web")),
            world.ledger.demand(&id("web"))
        ),
        (None, None)
    );
}

#[test]
fn a_write_that_failed_is_taken_back() {
    let mut world = settled();
    world.of("web").max_cpu = Some(MilliCpu::new(500));
    let before = world.ledger.clone();
    let mut next = world.step().ledger;
    assert_ne!(next.written(&id("web")), before.written(&id("web")));
    next.take_back(&id("web"), &before);
    assert_eq!(next.written(&id("web")), before.written(&id("web")));
    next.take_back(&id("nobody"), &before);
}
