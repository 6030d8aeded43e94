//! The guardrails, all of them, after clearing: what one plan may change.
//!
//! Each participant is judged alone first ([`judge`]): dead-band, largest
//! shrink, cooldown. Then the node is looked at as a whole ([`Bench::settle`]):
//! held shrinks are let go where others need what they hold, and growth gets
//! what is really free.

use std::fmt;
use std::time::Duration;

use mbcas_core::annotations::Mode;
use mbcas_core::{ContainerId, MilliCpu};

use crate::clear::Allocation;
use crate::input::Observed;
use crate::ledger::Written;
use crate::policy::Policy;
use crate::pour::{Taker, pour};

/// Which way a limit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Less.
    Shrink,
    /// More.
    Grow,
}

impl Direction {
    /// A word for metrics, from a closed set.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Shrink => "shrink",
            Self::Grow => "grow",
        }
    }
}

/// Why a limit that differs from the clearing's is left alone in this plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// The container is only observed, or only advised.
    Mode(Mode),
    /// The change is too small to be worth a write.
    DeadBand {
        /// The limit that was wanted.
        wanted: MilliCpu,
    },
    /// The last write is too recent.
    Cooldown {
        /// The limit that was wanted.
        wanted: MilliCpu,
        /// How long this still lasts.
        remaining: Duration,
    },
    /// What others hold has to become free first.
    NoRoom {
        /// The limit that was wanted.
        wanted: MilliCpu,
    },
}

impl HoldReason {
    /// One word, from a closed set, for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Mode(_) => "mode",
            Self::DeadBand { .. } => "dead_band",
            Self::Cooldown { .. } => "cooldown",
            Self::NoRoom { .. } => "no_room",
        }
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode(mode) => write!(f, "its mode is {mode}"),
            Self::DeadBand { wanted } => write!(f, "{wanted} is too near to what it has"),
            Self::Cooldown { wanted, remaining } => {
                write!(
                    f,
                    "{wanted} has to wait {} s after the last write",
                    remaining.as_millis().div_ceil(1000)
                )
            }
            Self::NoRoom { wanted } => {
                write!(f, "{wanted} has to wait until others have given way")
            }
        }
    }
}

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
    let remaining = (written.at + wait).saturating_sub(now);
    (!remaining.is_zero()).then_some(HoldReason::Cooldown { wanted, remaining })
}

impl Wish<'_> {
    pub(crate) fn id(&self) -> &ContainerId {
        &self.allocation.id
    }

    /// What it holds if nothing is written; `unlimited` for a container without a limit.
    fn has(&self, unlimited: MilliCpu) -> MilliCpu {
        self.from.unwrap_or(unlimited)
    }

    /// What it holds when all shrinks of this plan are done and no growth is,
    /// but for growth up to the floor, which nobody can refuse.
    fn keeps(&self, unlimited: MilliCpu) -> MilliCpu {
        let has = self.has(unlimited);
        match (self.direction, self.hold) {
            (Some(Direction::Shrink), None) => self.to,
            (
                Some(Direction::Grow),
                None | Some(HoldReason::DeadBand { .. } | HoldReason::Cooldown { .. }),
            ) => has.max(self.floor),
            _ => has,
        }
    }

    /// What a held shrink would free.
    fn frees(&self) -> MilliCpu {
        match (self.direction, self.from) {
            (Some(Direction::Shrink), Some(from)) => from - self.to,
            _ => MilliCpu::ZERO,
        }
    }

    fn is_held_by_dead_band(&self) -> bool {
        matches!(self.hold, Some(HoldReason::DeadBand { .. }))
    }

    fn is_held_by_cooldown(&self) -> bool {
        matches!(self.hold, Some(HoldReason::Cooldown { .. }))
    }

    fn grows(&self) -> bool {
        self.direction == Some(Direction::Grow) && self.hold.is_none()
    }
}

/// What a plan does about one participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has what the clearing gave it.
    Stay,
    Hold(HoldReason),
    Write(MilliCpu),
}

/// All participants of one node.
pub(crate) struct Bench<'a, 'p> {
    pub(crate) wishes: Vec<Wish<'a>>,
    pub(crate) capacity: MilliCpu,
    /// What a container without a limit may take: the whole node.
    pub(crate) unlimited: MilliCpu,
    pub(crate) policy: &'p Policy,
}

impl Bench<'_, '_> {
    /// Looks at the node as a whole. The verdicts are in the order of the
    /// wishes; the second result is what the limits add up to after them.
    pub(crate) fn settle(mut self) -> (Vec<Verdict>, MilliCpu) {
        let over = self.kept() - self.capacity;
        self.release(over, |wish| {
            wish.is_held_by_dead_band() || wish.is_held_by_cooldown()
        });
        let wanted: MilliCpu = self
            .wishes
            .iter()
            .filter(|w| w.grows())
            .map(|w| w.to - self.keeps(w))
            .sum();
        let missing = (self.kept() + wanted) - self.capacity;
        self.release(missing, |wish| wish.is_held_by_dead_band());
        self.grow()
    }

    fn keeps(&self, wish: &Wish<'_>) -> MilliCpu {
        wish.keeps(self.unlimited)
    }

    fn kept(&self) -> MilliCpu {
        self.wishes.iter().map(|wish| self.keeps(wish)).sum()
    }

    /// Lets held shrinks go, the one that frees most first, until `missing` is
    /// found. The promise to others comes before the economy of writes.
    fn release(&mut self, mut missing: MilliCpu, may: impl Fn(&Wish<'_>) -> bool) {
        let able = |w: &Wish<'_>| may(w) && w.frees() > MilliCpu::ZERO;
        let mut held: Vec<_> = self.wishes.iter_mut().filter(|w| able(w)).collect();
        held.sort_by(|a, b| b.frees().cmp(&a.frees()).then_with(|| a.id().cmp(b.id())));
        for wish in held {
            if missing == MilliCpu::ZERO {
                break;
            }
            wish.hold = None;
            missing -= wish.frees();
        }
    }

    /// Shares what is free among those that grow, by bid and in quanta. Growth
    /// that comes out too small to be worth a write waits.
    fn grow(self) -> (Vec<Verdict>, MilliCpu) {
        let quantum = MilliCpu::QUANTUM.get();
        let free = (self.capacity - self.kept()).get() / quantum;
        let taker = |wish: &Wish<'_>| {
            let room = if wish.grows() {
                (wish.to - self.keeps(wish)).get().div_ceil(quantum)
            } else {
                0
            };
            Taker {
                weight: wish.allocation.bid.get().max(1),
                room,
            }
        };
        let takers: Vec<Taker> = self.wishes.iter().map(taker).collect();
        let taken = pour(free, &takers).taken;
        let mut limits = MilliCpu::ZERO;
        let verdicts = self.wishes.iter().zip(taken).map(|(wish, taken)| {
            let keeps = self.keeps(wish);
            let raised = (keeps + MilliCpu::new(taken * quantum))
                .floor_to_quantum()
                .min(wish.to);
            let verdict = self.verdict(
                wish,
                if wish.grows() {
                    raised.max(keeps)
                } else {
                    keeps
                },
            );
            limits += if let Verdict::Write(to) = verdict {
                to
            } else {
                wish.has(self.unlimited)
            };
            verdict
        });
        (verdicts.collect(), limits)
    }

    fn verdict(&self, wish: &Wish<'_>, to: MilliCpu) -> Verdict {
        let Some(direction) = wish.direction else {
            return Verdict::Stay;
        };
        match (wish.hold, wish.from) {
            (Some(reason), Some(from)) if to == from => Verdict::Hold(reason),
            (Some(reason), None) => Verdict::Hold(reason),
            (None, Some(from)) if direction == Direction::Grow && from >= wish.floor => {
                let small = self.policy.is_within_dead_band(from, to - from);
                if small {
                    Verdict::Hold(HoldReason::NoRoom { wanted: wish.to })
                } else {
                    Verdict::Write(to)
                }
            }
            (None, Some(from)) if to == from => {
                Verdict::Hold(HoldReason::DeadBand { wanted: wish.to })
            }
            _ => Verdict::Write(to),
        }
    }
}
