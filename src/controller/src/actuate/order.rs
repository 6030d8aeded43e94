//! Which write waits for which. Pure.

use std::cmp::Reverse;

use mbcas_core::units::MilliCpu;
use mbcas_market::{Direction, Plan, Write};

use super::Outcome;

/// The writes of one node by what they wait for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lanes<'a> {
    /// Growth that needs nobody to give way.
    pub(super) free: Vec<&'a Write>,
    /// What gives way.
    pub(super) shrinks: Vec<&'a Write>,
    /// Growth that takes what the shrinks give.
    pub(super) grows: Vec<&'a Write>,
}

impl<'a> Lanes<'a> {
    pub(super) fn of(writes: &'a [Write]) -> Self {
        let mut lanes = Self::default();
        for write in writes {
            match (write.direction(), write.needs_donor) {
                (Direction::Shrink, _) => lanes.shrinks.push(write),
                (Direction::Grow, false) => lanes.free.push(write),
                (Direction::Grow, true) => lanes.grows.push(write),
            }
        }
        lanes
    }
}

/// Splits `grows` into those that what is free now covers, and the others.
///
/// The plan as a whole keeps the node's promises. What a shrink that did not come about
/// would have given is missing, so growth of as much has to wait: then nobody holds what
/// somebody else has been given. Growth comes in the plan's order, and what does not fit
/// lets smaller growth pass.
pub(super) fn covered<'a>(
    grows: &[&'a Write],
    shrinks: &[(&Write, &Outcome)],
) -> (Vec<&'a Write>, Vec<&'a Write>) {
    let held = shrinks.iter().filter(|(_, outcome)| !has_freed(outcome));
    let mut missing = MilliCpu::ZERO;
    for (write, _) in held {
        if write.from.is_none() {
            // It has no limit: nobody knows how much it takes.
            return (Vec::new(), grows.to_vec());
        }
        missing += write.delta();
    }
    let all: MilliCpu = grows.iter().map(|write| write.delta()).sum();
    let mut left = if missing > all {
        MilliCpu::ZERO
    } else {
        all - missing
    };
    let (mut now, mut later) = (Vec::new(), Vec::new());
    for write in grows {
        if write.delta() <= left {
            left -= write.delta();
            now.push(*write);
        } else {
            later.push(*write);
        }
    }
    (now, later)
}

/// Whether the kubelet has taken back what a shrink gives, or the pod is gone with all it had.
const fn has_freed(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Done(_)
            | Outcome::Unneeded
            | Outcome::Ended
            | Outcome::Refused(mbcas_actuator::ApplyError::Gone(_))
    )
}

/// The plans in the order in which they are served: first those with the write that was put
/// off most often, so that a cluster with more writes than its budget starves nobody.
pub(super) fn in_turn(plans: &[Plan], waited: impl Fn(&Write) -> u32) -> Vec<&Plan> {
    let mut plans: Vec<&Plan> = plans.iter().collect();
    plans.sort_by_cached_key(|plan| Reverse(plan.writes.iter().map(&waited).max()));
    plans
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::stage::write;
    use super::*;

    fn names(writes: &[&Write]) -> Vec<String> {
        writes.iter().map(|w| w.id.pod.name.clone()).collect()
    }

    #[test]
    fn growth_without_a_donor_waits_for_nobody() {
        let mut free = write("free", 100, 200);
        free.needs_donor = false;
        let writes = [write("give", 300, 100), free, write("take", 100, 300)];
        let lanes = Lanes::of(&writes);
        assert_eq!(names(&lanes.free), ["free"]);
        assert_eq!(names(&lanes.shrinks), ["give"]);
        assert_eq!(names(&lanes.grows), ["take"]);
    }

    #[test]
    fn growth_is_covered_by_what_has_come_free_in_the_plans_order() {
        let (shrink, stuck) = (write("a", 500, 300), write("b", 500, 300));
        let grows = [
            write("x", 100, 250),
            write("y", 100, 200),
            write("z", 100, 150),
        ];
        let grows: Vec<&Write> = grows.iter().collect();
        let done = Outcome::Done(Duration::ZERO);
        let split = |second: &Outcome| {
            let (now, later) = covered(&grows, &[(&shrink, &done), (&stuck, second)]);
            (names(&now), names(&later))
        };
        let all = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(split(&done), (all(&["x", "y", "z"]), vec![]));
        let gone = Outcome::Refused(mbcas_actuator::ApplyError::Gone(String::new()));
        assert_eq!(split(&gone).1, all(&[]));
        // 300m of growth, 200m of it uncovered: 100m are left.
        for held in [Outcome::Unconfirmed, Outcome::PutOff, Outcome::NotLeading] {
            assert_eq!(split(&held), (all(&["y"]), all(&["x", "z"])), "{held:?}");
        }
        let unlimited = Write {
            from: None,
            ..stuck.clone()
        };
        let (now, _) = covered(
            &grows,
            &[(&shrink, &done), (&unlimited, &Outcome::Unconfirmed)],
        );
        assert!(now.is_empty());
    }

    #[test]
    fn whoever_waited_comes_first() {
        let plan = |name: &str| Plan {
            writes: vec![write(name, 100, 200)],
            ..Plan::default()
        };
        let plans = [plan("a"), plan("b"), plan("c")];
        let order = in_turn(&plans, |write| u32::from(write.id.pod.name == "c"));
        let order: Vec<_> = order
            .iter()
            .map(|p| p.writes[0].id.pod.name.as_str())
            .collect();
        assert_eq!(order, ["c", "a", "b"]);
    }
}
