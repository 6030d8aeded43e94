//! Room above the need for those whom their weight would not protect, taken only
//! from what others hold above their own entitlement.
//!
//! A satisfied container whose request is too small beside its use cannot burst
//! while somebody else is short: the kernel gives what is idle by weight. To give
//! room to all of them would starve the short ones at high load. So the room comes from
//! short ones that hold more than their budget entitles them to, and in
//! proportion to that.

use crate::pour::{Taker, pour};
use crate::weight::{Level, Weights};

/// One participant, in quanta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) grant: u64,
    /// What a satisfied one would have: its target, at most its entitlement.
    pub(crate) wanted: u64,
    /// Its floor and its budget's share of what is above all floors, at most its cap.
    pub(crate) entitlement: u64,
    pub(crate) is_short: bool,
}

/// The grants after room was moved; Σ is what it was, nobody who gives comes
/// below its entitlement and nobody who gets above.
pub(crate) fn moved(capacity: u64, holders: &[Holder], weights: &Weights) -> Vec<u64> {
    let spare: Vec<u64> = holders.iter().map(Holder::spare).collect();
    let spared: u64 = spare.iter().sum();
    if spared == 0 {
        return holders.iter().map(|holder| holder.grant).collect();
    }
    let mut asks = vec![0; holders.len()];
    for weights in weights.by_curve() {
        let level = level(capacity, holders, weights);
        for ((ask, holder), weight) in asks.iter_mut().zip(holders).zip(weights) {
            *ask = holder.ask(level, *weight).max(*ask);
        }
    }
    let amount = asks.iter().sum::<u64>().min(spared);
    let (got, given) = (in_proportion(amount, &asks), in_proportion(amount, &spare));
    let grants = holders.iter().zip(got.into_iter().zip(given));
    grants
        .map(|(holder, (got, given))| holder.grant + got - given)
        .collect()
}

/// The level at which the short ones take all that the satisfied ones' grants leave.
fn level(capacity: u64, holders: &[Holder], weights: &[u64]) -> Level {
    let (mut left, mut weight) = (capacity, 0);
    for (holder, own) in holders.iter().zip(weights) {
        if holder.is_short {
            weight += own;
        } else {
            left = left.saturating_sub(holder.grant);
        }
    }
    Level::of(left, weight)
}

impl Holder {
    /// What is missing of what it wants; nothing where its weight would bring it there.
    fn ask(&self, level: Level, weight: u64) -> u64 {
        let is_protected = level.of_weight(weight) >= self.wanted;
        if self.is_short || is_protected {
            return 0;
        }
        self.wanted.saturating_sub(self.grant)
    }

    /// What a short one holds above its entitlement.
    fn spare(&self) -> u64 {
        if self.is_short {
            self.grant.saturating_sub(self.entitlement)
        } else {
            0
        }
    }
}

fn in_proportion(amount: u64, parts: &[u64]) -> Vec<u64> {
    let takers: Vec<Taker> = parts
        .iter()
        .map(|part| Taker {
            weight: *part,
            room: *part,
        })
        .collect();
    pour(amount, &takers).taken
}

#[cfg(test)]
mod tests {
    use mbcas_core::MilliCpu;

    use super::*;
    use crate::weight::WeightCurve;

    type Requested = (MilliCpu, Holder);

    fn holder(request: u64, grant: u64, wanted: u64, entitlement: u64) -> Requested {
        let holder = Holder {
            grant,
            wanted,
            entitlement,
            is_short: false,
        };
        (MilliCpu::new(request), holder)
    }

    fn short(request: u64, grant: u64, entitlement: u64) -> Requested {
        let (request, holder) = holder(request, grant, 0, entitlement);
        let is_short = true;
        (request, Holder { is_short, ..holder })
    }

    fn after(node: &[Requested]) -> Vec<u64> {
        let requests: Vec<MilliCpu> = node.iter().map(|(request, _)| *request).collect();
        let weights = Weights::of(&requests, &[WeightCurve::Shares]);
        let holders: Vec<Holder> = node.iter().map(|(_, holder)| *holder).collect();
        moved(360, &holders, &weights)
    }

    #[test]
    fn who_is_protected_by_its_weight_asks_for_nothing() {
        // 270 for a weight of 100: at that level a weight of 100 has all that is wanted.
        let node = [holder(100, 80, 130, 300), short(100, 280, 60)];
        assert_eq!(after(&node), [80, 280]);
    }

    #[test]
    fn the_room_comes_from_above_the_entitlement() {
        let node = [holder(10, 80, 130, 300), short(100, 280, 60)];
        assert_eq!(after(&node), [130, 230]);
        let modest = [holder(10, 80, 130, 300), short(100, 280, 260)];
        assert_eq!(after(&modest), [100, 260]);
        let entitled = [holder(10, 80, 130, 300), short(100, 280, 300)];
        assert_eq!(after(&entitled), [80, 280]);
    }

    #[test]
    fn those_who_hold_most_above_it_give_most() {
        let node = [
            holder(10, 30, 60, 300),
            short(100, 200, 140),
            short(100, 130, 100),
        ];
        assert_eq!(after(&node), [60, 180, 120]);
    }
}
