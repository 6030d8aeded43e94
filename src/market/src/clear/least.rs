//! The market's own rule: grants by need, limits only where weights would break them.
//!
//! ```text
//!  usage, demand ─▶ need ─▶ tiers ─▶ short? ─▶ room moved ─▶ enforce ─▶ limit
//!                     ▲               │
//!                  claims ◀───────────┘ who is short claims nothing
//! ```

use std::time::Duration;

use mbcas_core::{ContainerId, Demand, MilliCpu};

use super::tiers::{Claimant, Tiers, tiers};
use super::{Allocation, Clearing, Price, milli, quanta};
use crate::bid::{Bid, EffectiveBudget};
use crate::claim::Signal;
use crate::enforce::{Binding, Bounded, Party, enforce, overdraft};
use crate::headroom::{Holder, moved};
use crate::input::{NodeSnapshot, Observed};
use crate::ledger::{Entry, Ledger};
use crate::need::Estimate;
use crate::pour::{Taker, pour};
use crate::reason::{LimitReason, Reasoning};
use crate::standing::Standing;
use crate::weight::Weights;

/// What a burst may take above the last peak, in percent of it, and besides (research of the control loop, §2).
const TARGET_PERCENT: u64 = 150;
const TARGET_MORE: MilliCpu = MilliCpu::new(50);

/// The same in a shortage, taken from what others hold above their entitlements.
const HEADROOM_PERCENT: u64 = 130;

/// A demand counts up to the part of its entitlement that a container uses, over this (research of the control loop,
/// §2).
const UTILISED_PERCENT: u64 = 90;

/// One participant on its way through the rule. Amounts in quanta.
struct Seat<'a> {
    id: &'a ContainerId,
    observed: &'a Observed,
    entry: &'a mut Entry,
    bid: Bid,
    floor: u64,
    cap: u64,
    need: u64,
    target: u64,
    /// What it would have in a shortage, where its weight would not protect it.
    roomy: u64,
    entitlement: u64,
    standing: Standing,
    grant: u64,
}

/// What one may be given, in quanta, and by what weight.
#[derive(Clone, Copy)]
struct Bounds {
    budget: EffectiveBudget,
    floor: u64,
    cap: u64,
}

/// Clears one node, and notes in `memory` who claims what and who is short.
pub(crate) fn least_restrictive(
    snapshot: &NodeSnapshot,
    memory: &mut Ledger,
    capacity: MilliCpu,
    weights: &Weights,
) -> Clearing {
    let (space, now) = (quanta(capacity), memory.now());
    let mut seats = seats(snapshot, memory, space);
    let claimants: Vec<Claimant> = seats.iter().map(Seat::claimant).collect();
    let tiers = tiers(space, &claimants);
    for ((seat, given), grant) in seats.iter_mut().zip(&tiers.needs).zip(&tiers.grants) {
        seat.grant = *grant;
        seat.standing = seat.entry.stands(milli(seat.need), milli(*given), now);
    }
    // Floors that are needed and do not fit stand all the same.
    let promised: u64 = tiers.grants.iter().sum();
    let space = space.max(promised);
    let holders: Vec<Holder> = seats.iter().map(Seat::holder).collect();
    for (seat, grant) in seats.iter_mut().zip(moved(space, &holders, weights)) {
        seat.grant = grant;
    }
    let parties: Vec<Party> = seats.iter().map(Seat::party).collect();
    let limits = enforce(space, &parties, weights);
    let of = |((seat, party), limit): ((&Seat<'_>, &Party), Bounded)| {
        seat.allocation(party, limit, &tiers)
    };
    let allocations: Vec<Allocation> = seats.iter().zip(&parties).zip(limits).map(of).collect();
    let granted = allocations.iter().map(|a| a.grant).sum();
    let floors: MilliCpu = seats.iter().map(|seat| milli(seat.floor)).sum();
    Clearing {
        allocations,
        price: price(&tiers),
        capacity,
        floors,
        granted,
        headroom: capacity - granted,
        feasible: floors <= capacity,
    }
}

fn price(tiers: &Tiers) -> Price {
    match (tiers.open_bids, tiers.open_amount) {
        (0, _) => Price::ZERO,
        (_, 0) => Price::UNBOUNDED,
        (bids, amount) => Price::at(bids, milli(amount)),
    }
}

fn seats<'a>(snapshot: &'a NodeSnapshot, memory: &'a mut Ledger, space: u64) -> Vec<Seat<'a>> {
    let now = memory.now();
    let bounds = bounds(snapshot);
    let entitlements = entitlements(&bounds, space);
    // The ledger observed this snapshot: both are in the same order.
    let participants = snapshot.participants.values().zip(memory.entries_mut());
    participants
        .zip(bounds.iter().zip(entitlements))
        .map(|((observed, (id, entry)), (bounds, entitlement))| {
            let Bounds { floor, cap, .. } = *bounds;
            let claim = claimed(observed, entry, entitlement, now);
            let known = entry.estimate();
            let need = known.map_or_else(|| milli(floor), Estimate::need);
            let need = nearest(need.max(claim)).clamp(1, cap);
            // What one that is short used while nobody held it is no measure of what it needs.
            let peak = known
                .filter(|_| entry.standing() == Standing::Satisfied)
                .map_or(need, |known| nearest(known.peak(now)));
            let target = milli(peak).scaled(TARGET_PERCENT, 100) + TARGET_MORE;
            Seat {
                id,
                observed,
                bid: Bid::of(observed.budget, believed(entry, milli(entitlement))),
                floor,
                cap,
                need,
                target: quanta(target).clamp(need, cap),
                roomy: quanta(milli(peak).scaled(HEADROOM_PERCENT, 100) + TARGET_MORE)
                    .clamp(need, cap),
                entitlement,
                standing: entry.standing(),
                entry,
                grant: 0,
            }
        })
        .collect()
}

fn bounds(snapshot: &NodeSnapshot) -> Vec<Bounds> {
    let allocatable = snapshot.supply.allocatable;
    let of = |observed: &Observed| Bounds {
        budget: observed.budget,
        floor: quanta(observed.floor()),
        cap: quanta(observed.cap(allocatable)),
    };
    snapshot.participants.values().map(of).collect()
}

/// What each participant could have of `capacity` if all wanted all.
#[cfg(test)]
pub(crate) fn entitled(snapshot: &NodeSnapshot, capacity: MilliCpu) -> Vec<MilliCpu> {
    let each = entitlements(&bounds(snapshot), quanta(capacity));
    each.into_iter().map(milli).collect()
}

/// Floors, and what is above all of them by budget: what each could have if all wanted all.
fn entitlements(all: &[Bounds], space: u64) -> Vec<u64> {
    let floors: u64 = all.iter().map(|bounds| bounds.floor).sum();
    let takers: Vec<Taker> = all
        .iter()
        .map(|bounds| Taker {
            weight: bounds.budget.thousandths(),
            room: bounds.cap - bounds.floor,
        })
        .collect();
    let above = pour(space.saturating_sub(floors), &takers).taken;
    let each = all.iter().zip(above);
    each.map(|(bounds, above)| bounds.floor + above).collect()
}

/// What is claimed, or nothing.
fn claimed(observed: &Observed, entry: &mut Entry, entitlement: u64, now: Duration) -> MilliCpu {
    let known = entry.estimate();
    let signal = Signal {
        now,
        demand: observed.demand,
        average: entry.demand(),
        need: known.map_or_else(|| observed.floor(), Estimate::need),
        entitlement: milli(entitlement),
        is_short: entry.standing() == Standing::Short,
        limit: observed.limit,
        usage: observed.usage,
    };
    entry.claims(&signal).unwrap_or_default()
}

/// The demand as far as evidence bears it out: urgency of one that leaves what it is entitled to
/// unused is not believed. Not what its limit leaves: limits follow bids, and a bid that followed them
/// would be a limit cycle. Of one without evidence no more than what is said of those who say nothing.
fn believed(entry: &Entry, entitlement: MilliCpu) -> Demand {
    let demand = entry.demand();
    let Some(known) = entry.estimate() else {
        return demand.min(Demand::NEUTRAL);
    };
    if known.censored().is_some() {
        return Demand::FULL;
    }
    let (whole, part) = (
        Demand::FULL.basis_points() * 100,
        entitlement.get() * UTILISED_PERCENT,
    );
    demand.min(Demand::from_basis_points(
        known.usage().scaled(whole, part).get(),
    ))
}

/// To the nearest quantum: rounding needs up would make a shortage of thirty halves.
fn nearest(amount: MilliCpu) -> u64 {
    quanta(amount + MilliCpu::new(MilliCpu::QUANTUM.get() / 2))
}

impl Seat<'_> {
    fn is_short(&self) -> bool {
        self.standing == Standing::Short
    }

    fn claimant(&self) -> Claimant {
        Claimant {
            bid: self.bid.get(),
            budget: self.observed.budget.thousandths(),
            floor: self.floor,
            need: self.need,
            target: self.target,
            cap: self.cap,
        }
    }

    fn holder(&self) -> Holder {
        Holder {
            grant: self.grant,
            wanted: self.roomy.min(self.entitlement),
            entitlement: self.entitlement,
            is_short: self.is_short(),
        }
    }

    fn party(&self) -> Party {
        let earned = overdraft(self.entry.estimate().and_then(Estimate::least));
        let protected = if self.is_short() {
            0
        } else {
            self.grant.min(self.target)
        };
        Party {
            bid: self.bid.get(),
            floor: self.floor,
            cap: self.cap,
            grant: self.grant,
            protected,
            entitlement: self.entitlement,
            is_short: self.is_short(),
            overdraft: quanta(earned).min(self.cap),
        }
    }

    fn allocation(&self, party: &Party, limit: Bounded, tiers: &Tiers) -> Allocation {
        let room = self.target.max(self.grant);
        let (limit, limit_reason) = if self.observed.starting {
            (self.cap, LimitReason::Starting)
        } else if matches!(self.standing, Standing::Recovering(_)) && room < limit.limit {
            (room, LimitReason::Recovering)
        } else {
            (limit.limit.max(self.grant), limit.by.into())
        };
        let limit = limit.min(self.cap).max(self.floor);
        Allocation {
            id: self.id.clone(),
            bid: self.bid,
            need: milli(self.need),
            grant: milli(self.grant),
            reasoning: self.reasoning(tiers),
            is_short: self.is_short(),
            protected: milli(party.protected),
            limit: milli(limit),
            limit_reason,
        }
    }

    fn reasoning(&self, tiers: &Tiers) -> Reasoning {
        let (need, floor) = (milli(self.need), milli(self.floor));
        if self.grant >= self.need && self.need >= self.cap {
            Reasoning::CapBinds {
                cap: milli(self.cap),
            }
        } else if self.grant < self.floor {
            Reasoning::FloorLent { need, floor }
        } else if self.grant >= self.need {
            Reasoning::NeedMet { need }
        } else if self.grant == self.floor {
            Reasoning::FloorBinds { floor }
        } else {
            Reasoning::Share {
                floor,
                bid: self.bid,
                bids: tiers.open_bids,
                surplus: milli(tiers.open_amount),
            }
        }
    }
}

impl From<Binding> for LimitReason {
    fn from(binding: Binding) -> Self {
        match binding {
            Binding::Cap => Self::Unbound,
            Binding::Weights => Self::WeightsSuffice,
            Binding::Overdraft => Self::Overdraft,
            Binding::Grant => Self::Held,
        }
    }
}
