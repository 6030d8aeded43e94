//! Clearing in three tiers: what is needed, room above it, and the rest.
//!
//! ```text
//!  A   to the need               by bid      here, and only here, somebody can be short
//!  A'  loans back                by bid      floors that their owners do not need now
//!  B   to 1.5 × peak + 50m       by bid      room for a burst
//!  C   to the caps               by budget   a twentieth stays unspent
//! ```
//! Each tier is one [`pour`](crate::pour) and begins when the one before is full, so what
//! holds for one pour (more capacity harms nobody, another taker helps nobody)
//! holds for all of them. Scarcity is judged on the raw need: with a margin in
//! tier A there would be a shortage at 90 % load that nobody has.

use crate::pour::{Pourer, Rest, Taker};

/// One participant, in quanta: `need` and `floor` at most `cap`, `target` from `need` to `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimant {
    pub(crate) bid: u64,
    pub(crate) budget: u64,
    pub(crate) floor: u64,
    pub(crate) need: u64,
    pub(crate) target: u64,
    pub(crate) cap: u64,
}

/// What the tiers gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tiers {
    /// After tier A, by claimant.
    pub(crate) needs: Vec<u64>,
    /// After all tiers.
    pub(crate) grants: Vec<u64>,
    /// Σ of the bids of those whose need was not met, and what they shared; zero where nobody is short.
    pub(crate) open_bids: u128,
    pub(crate) open_amount: u64,
}

/// The part of the capacity that tier C leaves: a twentieth.
const UNSPENT: u64 = 20;

/// Clears `capacity`, in quanta, which is not below Σ of the floors.
pub(crate) fn tiers(capacity: u64, claimants: &[Claimant]) -> Tiers {
    let needed = |c: &Claimant| c.floor.min(c.need);
    let grants: Vec<u64> = claimants.iter().map(needed).collect();
    let mut filling = Filling {
        left: capacity.saturating_sub(grants.iter().sum()),
        claimants,
        grants,
        takers: Vec::with_capacity(claimants.len()),
        pourer: Pourer::default(),
    };
    let met = filling.tier(|c| (c.bid, c.need));
    let needs = filling.grants.clone();
    filling.tier(|c| (c.bid, c.floor.max(c.need)));
    filling.tier(|c| (c.bid, c.target.max(c.floor)));
    filling.left = filling.left.saturating_sub(capacity / UNSPENT);
    filling.tier(|c| (c.budget, c.cap));
    Tiers {
        needs,
        grants: filling.grants,
        open_bids: met.open_weight,
        open_amount: met.open_amount,
    }
}

/// The claimants between two tiers.
struct Filling<'a> {
    claimants: &'a [Claimant],
    grants: Vec<u64>,
    left: u64,
    takers: Vec<Taker>,
    pourer: Pourer,
}

impl Filling<'_> {
    /// One tier: everybody up to what `aim` says, by the weight that it says.
    fn tier(&mut self, aim: impl Fn(&Claimant) -> (u64, u64)) -> Rest {
        let taker = |(claimant, grant): (&Claimant, &u64)| {
            let (weight, upto) = aim(claimant);
            Taker {
                weight,
                room: upto.saturating_sub(*grant),
            }
        };
        let claimants = self.claimants.iter().zip(&self.grants);
        self.takers.clear();
        self.takers.extend(claimants.map(taker));
        let rest = self.pourer.pour(self.left, &self.takers);
        for (grant, taken) in self.grants.iter_mut().zip(self.pourer.taken()) {
            *grant += taken;
        }
        self.left = rest.left;
        rest
    }
}

#[cfg(test)]
mod tests;
