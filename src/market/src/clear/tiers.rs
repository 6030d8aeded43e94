//! Clearing in three tiers: what is needed, room above it, and the rest.
//!
//! ```text
//!  A   to the need               by bid      here, and only here, somebody can be short
//!  A'  loans back                by bid      floors that their owners do not need now
//!  B   to 1.5 × peak + 50m       by bid      room for a burst
//!  C   to the caps               by budget   a twentieth stays unspent
//! ```
//! Each tier is one [`pour`] and begins when the one before is full, so what
//! holds for one pour (more capacity harms nobody, another taker helps nobody)
//! holds for all of them. Scarcity is judged on the raw need: with a margin in
//! tier A there would be a shortage at 90 % load that nobody has.

use crate::pour::{Rest, Taker, pour};

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
    let mut grants: Vec<u64> = claimants.iter().map(needed).collect();
    let mut left = capacity.saturating_sub(grants.iter().sum());
    let met = fill(&mut grants, &mut left, claimants, |c| (c.bid, c.need));
    let needs = grants.clone();
    fill(&mut grants, &mut left, claimants, |c| {
        (c.bid, c.floor.max(c.need))
    });
    fill(&mut grants, &mut left, claimants, |c| {
        (c.bid, c.target.max(c.floor))
    });
    left = left.saturating_sub(capacity / UNSPENT);
    fill(&mut grants, &mut left, claimants, |c| (c.budget, c.cap));
    Tiers {
        needs,
        grants,
        open_bids: met.open_weight,
        open_amount: met.open_amount,
    }
}

/// One tier: everybody up to what `aim` says, by the weight that it says.
fn fill(
    grants: &mut [u64],
    left: &mut u64,
    claimants: &[Claimant],
    aim: impl Fn(&Claimant) -> (u64, u64),
) -> Rest {
    let taker = |(claimant, grant): (&Claimant, &u64)| {
        let (weight, upto) = aim(claimant);
        Taker {
            weight,
            room: upto.saturating_sub(*grant),
        }
    };
    let takers: Vec<Taker> = claimants.iter().zip(grants.iter()).map(taker).collect();
    let poured = pour(*left, &takers);
    for (grant, taken) in grants.iter_mut().zip(&poured.taken) {
        *grant += taken;
    }
    *left = poured.rest.left;
    poured.rest
}

#[cfg(test)]
mod tests;
