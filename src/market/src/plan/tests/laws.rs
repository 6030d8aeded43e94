//! What holds for every node and every history.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::input::NonParticipant;

/// What happens to a node between two cycles.
#[derive(Clone, Debug)]
enum Event {
    /// A participant comes, or an old one gets new settings.
    Comes(u8, Observed),
    /// One goes.
    Goes(u8),
    /// One's demand changes.
    Demands(u8, u64),
    /// The neighbours are these now.
    Neighbours(Vec<NonParticipant>),
    /// The next cycle comes early, after so many milliseconds.
    Early(u64),
}

fn participant() -> impl Strategy<Value = Observed> {
    let optional = || prop::option::of(10u64..3000);
    (1u64..1000, optional(), optional(), optional(), 1u64..300).prop_map(
        |(budget, limit, min, max, request)| Observed {
            request: MilliCpu::new(request),
            limit: limit.map(|limit| MilliCpu::new(limit.max(request))),
            min_cpu: min.filter(|min| *min < 400).map(MilliCpu::new),
            max_cpu: max.map(MilliCpu::new),
            ..observed(budget, None)
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let neighbour = (0u64..300, 0u64..3000, prop::option::of(300u64..2000)).prop_map(
        |(request, usage, limit)| NonParticipant {
            request: MilliCpu::new(request),
            usage: Some(MilliCpu::new(usage)),
            limit: limit.map(MilliCpu::new),
        },
    );
    prop_oneof![
        3 => (0u8..10, participant()).prop_map(|(who, p)| Event::Comes(who, p)),
        1 => (0u8..10).prop_map(Event::Goes),
        4 => (0u8..10, 0u64..=10_000).prop_map(|(who, d)| Event::Demands(who, d)),
        1 => prop::collection::vec(neighbour, 0..4).prop_map(Event::Neighbours),
        1 => (100u64..15_000).prop_map(Event::Early),
    ]
}

fn name(who: u8) -> String {
    format!("{who}")
}

impl World {
    fn happens(&mut self, event: Event) {
        match event {
            Event::Comes(who, p) => {
                // Somebody of this name who is there already keeps its limit.
                let limit = self
                    .snapshot
                    .participants
                    .get(&id(&name(who)))
                    .and_then(|old| old.limit);
                let limit = limit.map(|limit| limit.max(p.request)).or(p.limit);
                self.snapshot
                    .participants
                    .insert(id(&name(who)), Observed { limit, ..p });
            }
            Event::Goes(who) => {
                self.snapshot.participants.remove(&id(&name(who)));
            }
            Event::Demands(who, d) => {
                if let Some(p) = self.snapshot.participants.get_mut(&id(&name(who))) {
                    p.demand = Demand::from_basis_points(d);
                }
            }
            Event::Neighbours(neighbours) => self.snapshot.non_participants = neighbours,
            Event::Early(ms) => self.pause = Duration::from_millis(ms),
        }
    }
}

/// Sees to it that a history of plans keeps the promises.
#[derive(Default)]
struct Watch {
    /// The last write of each container: when and which way.
    last: BTreeMap<ContainerId, (Duration, Direction)>,
}

impl Watch {
    /// One cycle, checked.
    fn step(&mut self, world: &mut World) -> Result<Plan, TestCaseError> {
        let before = world.snapshot.clone();
        let ledger = world.ledger.clone();
        let plan = world.step();
        let again = super::plan(&before, &ledger, &world.policy, world.now);
        prop_assert_eq!(&plan, &again, "the same input gives the same plan");
        self.last
            .retain(|id, _| before.participants.contains_key(id));
        for write in &plan.writes {
            self.one(&before, &plan, write, world.now)?;
            self.last
                .insert(write.id.clone(), (world.now, write.direction()));
        }
        Self::order(&plan)?;
        Self::sums(&before, &world.snapshot, &plan)?;
        Self::nobody_is_passed_over(&before, &plan)?;
        Ok(plan)
    }

    /// Bounds, the largest shrink, the cooldowns.
    fn one(
        &self,
        before: &NodeSnapshot,
        plan: &Plan,
        write: &Write,
        now: Duration,
    ) -> Result<(), TestCaseError> {
        let observed = &before.participants[&write.id];
        let grant = plan.clearing.allocation(&write.id).unwrap().grant;
        prop_assert!(write.to >= observed.floor());
        let grows = write.direction() == Direction::Grow;
        prop_assert!(!grows || write.to <= observed.cap(before.supply.allocatable));
        prop_assert!(write.to.get().is_multiple_of(10) && Some(write.to) != write.from);
        let (Some(from), Some((at, direction))) = (write.from, self.last.get(&write.id)) else {
            return Ok(());
        };
        let passed = now.saturating_sub(*at);
        match write.direction() {
            Direction::Shrink => {
                prop_assert!(
                    write.to >= grant && write.to.get() * 2 >= from.get(),
                    "{write:?}"
                );
            }
            Direction::Grow if from >= observed.floor() => {
                prop_assert!(write.to <= grant, "{write:?}");
                let wait = if *direction == Direction::Shrink {
                    60
                } else {
                    10
                };
                prop_assert!(
                    passed >= Duration::from_secs(wait),
                    "{write:?} after {passed:?}"
                );
            }
            Direction::Grow => {}
        }
        Ok(())
    }

    /// Shrinks before growth, the larger ones before the smaller.
    fn order(plan: &Plan) -> Result<(), TestCaseError> {
        for pair in plan.writes.windows(2) {
            let key = |w: &Write| (w.direction(), w.from.is_some());
            prop_assert!(key(&pair[0]) <= key(&pair[1]));
            prop_assert!(key(&pair[0]) < key(&pair[1]) || pair[0].delta() >= pair[1].delta());
        }
        Ok(())
    }

    /// Limits above the capacity are said, and nobody grows above its floor then.
    fn sums(before: &NodeSnapshot, after: &NodeSnapshot, plan: &Plan) -> Result<(), TestCaseError> {
        let limits: MilliCpu = after.participants.values().filter_map(|p| p.limit).sum();
        let said = plan
            .conditions
            .iter()
            .any(|c| matches!(c, Condition::LimitsAboveCapacity { .. }));
        prop_assert_eq!(said, limits > plan.capacity);
        if said {
            for write in plan
                .writes
                .iter()
                .filter(|w| w.direction() == Direction::Grow)
            {
                prop_assert_eq!(write.to, before.participants[&write.id].floor());
            }
        }
        Ok(())
    }

    /// Whoever has not what the clearing gave it is written or held, and nobody is both.
    fn nobody_is_passed_over(before: &NodeSnapshot, plan: &Plan) -> Result<(), TestCaseError> {
        for (id, observed) in &before.participants {
            let differs = observed.limit != plan.clearing.allocation(id).map(|a| a.limit);
            let written = usize::from(plan.writes.iter().any(|w| w.id == *id));
            let held = usize::from(plan.held.iter().any(|(who, _)| who == id));
            prop_assert_eq!(written + held, usize::from(differs));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_promises_hold_in_every_history_and_every_node_comes_to_rest(
        capacity in 500u64..8000,
        events in prop::collection::vec(prop::collection::vec(event(), 0..4), 1..30),
    ) {
        let mut world = World::new(capacity, &[]);
        let mut watch = Watch::default();
        for cycle in events {
            for event in cycle {
                world.happens(event);
            }
            watch.step(&mut world)?;
        }
        // Then nothing happens for a quarter of an hour.
        let mut quiet = 0;
        for _ in 0..60 {
            quiet = if watch.step(&mut world)?.writes.is_empty() { quiet + 1 } else { 0 };
        }
        prop_assert!(quiet >= 15, "silent for {quiet} cycles only");
        let plan = watch.step(&mut world)?;
        let policy = world.policy;
        for (id, observed) in &world.snapshot.participants {
            let (has, grant) = (observed.limit.unwrap(), plan.clearing.allocation(id).unwrap().grant);
            prop_assert!(policy.is_within_dead_band(has, has.abs_diff(grant)), "{id} has {has}, granted {grant}");
        }
        let limits: MilliCpu = world.snapshot.participants.values().filter_map(|p| p.limit).sum();
        prop_assert!(limits <= plan.capacity || !plan.clearing.feasible);
    }
}
