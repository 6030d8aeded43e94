//! The guardrails of the proportional rule, where limits are grants.
//!
//! Each participant is judged alone first (`judge`): dead-band, largest
//! shrink, cooldown. Then the node is looked at as a whole (`Bench::settle`):
//! held shrinks are let go where others need what they hold, and growth gets
//! what is really free.

use std::time::Duration;

use mbcas_core::annotations::Mode;
use mbcas_core::{ContainerId, MilliCpu};

use super::{Direction, HoldReason};
use crate::clear::Allocation;
use crate::input::Observed;
use crate::ledger::Written;
use crate::policy::Policy;

mod bench;

pub(crate) use bench::Bench;

/// One participant between what it has and what the clearing gave it.
#[derive(Clone, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) allocation: &'a Allocation,
    /// What it has; `None` is unlimited.
    pub(crate) from: Option<MilliCpu>,
    /// What this plan may bring it to at most (growing) or at least (shrinking).
    to: MilliCpu,
    floor: MilliCpu,
    direction: Option<Direction>,
    hold: Option<HoldReason>,
}

/// Judges one participant alone.
pub(crate) fn judge<'a>(
    allocation: &'a Allocation,
    observed: &Observed,
    written: Option<&Written>,
    policy: &Policy,
    now: Duration,
) -> Wish<'a> {
    let target = allocation.limit;
    let wish = |to, direction, hold| {
        let hold = match observed.mode {
            Mode::Auto => hold,
            mode => Some(HoldReason::Mode(mode)),
        };
        let (from, floor) = (observed.limit, observed.floor());
        Wish {
            allocation,
            from,
            to,
            floor,
            direction,
            hold,
        }
    };
    // A container without a limit has never been at this market.
    let Some(from) = observed.limit else {
        return wish(target, Some(Direction::Shrink), None);
    };
    if target == from {
        return Wish {
            hold: None,
            ..wish(target, None, None)
        };
    }
    let direction = if target < from {
        Direction::Shrink
    } else {
        Direction::Grow
    };
    let to = match (direction, written) {
        (Direction::Shrink, Some(_)) => target.max(policy.least_after_shrink(from)).min(from),
        // Growth is bounded by what is free. A limit that we never wrote is
        // what the pod came with and no allocation that somebody relies on: it is cut at once.
        _ => target,
    };
    wish(
        to,
        Some(direction),
        hold(from, target, direction, written, policy, now),
    )
}

fn hold(
    from: MilliCpu,
    wanted: MilliCpu,
    direction: Direction,
    written: Option<&Written>,
    policy: &Policy,
    now: Duration,
) -> Option<HoldReason> {
    if policy.is_within_dead_band(from, from.abs_diff(wanted)) {
        return Some(HoldReason::DeadBand { wanted });
    }
    let written = written?;
    let settings = policy.settings();
    let wait = if written.direction == direction {
        settings.repeat_after
    } else {
        settings.reverse_after
    };
    let remaining = wait.saturating_sub(now.saturating_sub(written.at));
    (!remaining.is_zero()).then_some(HoldReason::Cooldown { wanted, remaining })
}

impl Wish<'_> {
    fn id(&self) -> &ContainerId {
        &self.allocation.id
    }

    /// What it counts with while nothing is written. A container that is not
    /// ours to write counts with its grant at most: nobody may grow into that,
    /// but its own limit, which may be none at all, is not held against the others.
    fn has(&self) -> MilliCpu {
        let has = self.from.unwrap_or(self.to);
        if self.is_held_by_mode() {
            has.min(self.allocation.grant)
        } else {
            has
        }
    }

    /// What it counts with when all shrinks of this plan are done and no growth
    /// is, but for growth up to the floor, which nobody can refuse.
    fn keeps(&self) -> MilliCpu {
        match (self.direction, self.hold) {
            (Some(Direction::Shrink), None) => self.to,
            (Some(Direction::Grow), _) if !self.is_held_by_mode() => self.has().max(self.floor),
            _ => self.has(),
        }
    }

    /// What a held shrink would free.
    fn frees(&self) -> MilliCpu {
        match (self.direction, self.from) {
            (Some(Direction::Shrink), Some(from)) => from - self.to,
            _ => MilliCpu::ZERO,
        }
    }

    fn is_held_by_mode(&self) -> bool {
        matches!(self.hold, Some(HoldReason::Mode(_)))
    }

    fn grows(&self) -> bool {
        self.direction == Some(Direction::Grow) && self.hold.is_none()
    }
}
