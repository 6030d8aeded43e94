//! The node as a whole under the proportional rule: who gives way, who may grow.

use mbcas_core::MilliCpu;

use super::Wish;
use crate::guard::{Direction, HoldReason, Verdict};
use crate::policy::Policy;
use crate::pour::{Taker, pour};

/// All participants of one node.
pub(crate) struct Bench<'a, 'p> {
    pub(crate) wishes: Vec<Wish<'a>>,
    pub(crate) capacity: MilliCpu,
    pub(crate) policy: &'p Policy,
}

impl Bench<'_, '_> {
    /// Looks at the node as a whole. The verdicts are in the order of the
    /// wishes; the second result is what the limits add up to after them.
    pub(crate) fn settle(mut self) -> (Vec<Verdict>, MilliCpu) {
        let over = self.kept() - self.capacity;
        self.release(over, |hold| !matches!(hold, HoldReason::Mode(_)));
        let wanted: MilliCpu = self
            .wishes
            .iter()
            .filter(|w| w.grows())
            .map(|w| w.to - w.keeps())
            .sum();
        let missing = (self.kept() + wanted) - self.capacity;
        self.release(missing, |hold| matches!(hold, HoldReason::DeadBand { .. }));
        self.grow()
    }

    fn kept(&self) -> MilliCpu {
        self.wishes.iter().map(Wish::keeps).sum()
    }

    /// Lets held shrinks go, the one that frees most first, until `missing` is
    /// found. The promise to others comes before the economy of writes.
    fn release(&mut self, mut missing: MilliCpu, may: fn(HoldReason) -> bool) {
        let able = |w: &Wish<'_>| w.hold.is_some_and(may) && w.frees() > MilliCpu::ZERO;
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

    /// Shares what is free among those that grow, by bid. Growth that comes
    /// out too small to be worth a write waits.
    fn grow(self) -> (Vec<Verdict>, MilliCpu) {
        let free = self.capacity - self.kept();
        let takers: Vec<Taker> = self.wishes.iter().map(taker).collect();
        let taken = pour(free.get(), &takers).taken;
        let (mut verdicts, mut limits) = (Vec::with_capacity(taken.len()), MilliCpu::ZERO);
        for (wish, taken) in self.wishes.iter().zip(taken) {
            let (keeps, taken) = (wish.keeps(), MilliCpu::new(taken));
            // Only what is written has to be in quanta: a limit that a pod came with need not be.
            let to = if taken > MilliCpu::ZERO {
                (keeps + taken).floor_to_quantum().max(keeps)
            } else {
                keeps
            };
            let verdict = self.verdict(wish, to);
            limits += if let Verdict::Write(to) = verdict {
                to
            } else {
                wish.has()
            };
            verdicts.push(verdict);
        }
        (verdicts, limits)
    }

    /// What becomes of one participant whose limit would come out at `to`.
    fn verdict(&self, wish: &Wish<'_>, to: MilliCpu) -> Verdict {
        let Some(direction) = wish.direction else {
            return Verdict::Stay;
        };
        let Some(from) = wish.from.filter(|_| !wish.is_held_by_mode()) else {
            return wish.hold.map_or(Verdict::Write(to), Verdict::Hold);
        };
        if let Some(reason) = wish.hold.filter(|_| to == from) {
            return Verdict::Hold(reason);
        }
        // Below its floor a container is raised by the smallest step too.
        let may_wait = direction == Direction::Grow && from >= wish.floor;
        if may_wait && self.policy.is_within_dead_band(from, to - from) {
            return Verdict::Hold(HoldReason::NoRoom { wanted: wish.to });
        }
        // The largest shrink of a few millicores is less than a quantum.
        if to == from {
            Verdict::Hold(HoldReason::DeadBand { wanted: wish.to })
        } else {
            Verdict::Write(to)
        }
    }
}

/// The room that a growing participant has; none for the others.
fn taker(wish: &Wish<'_>) -> Taker {
    let wanted = if wish.grows() {
        wish.to - wish.keeps()
    } else {
        MilliCpu::ZERO
    };
    Taker {
        weight: wish.allocation.bid.get().max(1),
        room: wanted.get(),
    }
}
