//! Writes are the scarce good: which ones a cycle makes.
//!
//! A cluster takes some twenty pod changes a second (SIG Scalability's threshold for
//! steady churn), so not every cycle can write all it wants. What a write is worth
//! is asked of the kernel's weight model: how much more of the needs, weighted by
//! bids, the node delivers with this one limit changed. Three quarters of what
//! may be written go to those that bring most, and a quarter to those that have
//! waited longest; so nobody waits for more cycles than there are waiting writes to a quarter.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use mbcas_core::MilliCpu;

use crate::clear::Allocation;
use crate::guard::{Direction, HoldReason};
use crate::input::{NodeSnapshot, Observed};
use crate::ledger::Ledger;
use crate::plan::{Plan, Write};
use crate::pour::{Pourer, Taker};
use crate::weight::WeightCurve;

/// One in so many goes to who has waited longest.
const FOR_THE_PATIENT: usize = 4;

/// A write that could be made: which node's, which of its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    node: usize,
    write: usize,
}

/// Leaves at most `most` writes in `plans`, the most valuable ones. The others are held,
/// and remembered as waiting; returns how many.
///
/// `snapshots` are what the plans were made from and `before` the ledgers, in the same
/// order. Growth that waits for a donor's shrink is put off with it.
pub fn spend(
    plans: &mut [Plan],
    snapshots: &[NodeSnapshot],
    before: &[&Ledger],
    most: usize,
) -> u64 {
    let count = |plans: &[Plan]| -> usize { plans.iter().map(|plan| plan.writes.len()).sum() };
    let all = count(plans);
    if all <= most {
        return 0;
    }
    let mut places = Vec::with_capacity(all);
    for (node, (plan, snapshot)) in plans.iter().zip(snapshots).enumerate() {
        let gains = gains(plan, snapshot);
        for (write, gain) in gains.into_iter().enumerate() {
            let waiting = before[node].waiting(&plan.writes[write].id);
            places.push((Place { node, write }, gain, waiting));
        }
    }
    let chosen = chosen(places, most);
    for (node, plan) in plans.iter_mut().enumerate() {
        put_off(plan, before[node], |write| {
            chosen.contains(&Place { node, write })
        });
    }
    (all - count(plans)) as u64
}

/// The patient first, then the valuable; ties by place.
fn chosen(mut places: Vec<(Place, u64, Option<Duration>)>, most: usize) -> BTreeSet<Place> {
    places.sort_by_key(|(place, _, waiting)| (waiting.is_none(), *waiting, *place));
    let patient = places.iter().filter(|(_, _, waiting)| waiting.is_some());
    let patient = patient
        .map(|(place, ..)| *place)
        .take(most.div_ceil(FOR_THE_PATIENT));
    let mut chosen: BTreeSet<Place> = patient.collect();
    places.sort_by_key(|(place, gain, _)| (Reverse(*gain), *place));
    for (place, ..) in places {
        if chosen.len() >= most {
            break;
        }
        chosen.insert(place);
    }
    chosen
}

fn put_off(plan: &mut Plan, before: &Ledger, is_chosen: impl Fn(usize) -> bool) {
    let writes = std::mem::take(&mut plan.writes);
    let is_waiting =
        |(i, write): (usize, &Write)| write.direction() == Direction::Shrink && !is_chosen(i);
    let donor_waits = writes.iter().enumerate().any(is_waiting);
    for (i, write) in writes.into_iter().enumerate() {
        let lacks_donor = donor_waits && write.needs_donor && write.direction() == Direction::Grow;
        if is_chosen(i) && !lacks_donor {
            plan.writes.push(write);
            continue;
        }
        plan.ledger.put_off(&write.id, before);
        plan.held
            .push((write.id, HoldReason::WriteBudget { wanted: write.to }));
    }
    plan.held.sort_by(|(a, _), (b, _)| a.cmp(b));
}

/// What each write of `plan` brings by itself, in bids times 2^-16.
fn gains(plan: &Plan, snapshot: &NodeSnapshot) -> Vec<u64> {
    let mut model = Model::new(plan, snapshot);
    let before = model.welfare();
    let gain = |write: &Write| {
        let Ok(i) = plan
            .clearing
            .allocations
            .binary_search_by(|a| a.id.cmp(&write.id))
        else {
            return 0;
        };
        let after = model.with_limit(i, write.to);
        u64::try_from(after.saturating_sub(before)).unwrap_or(u64::MAX)
    };
    plan.writes.iter().map(gain).collect()
}

/// The node as its kernel shares it, everybody wanting what it needs.
struct Model<'a> {
    allocations: &'a [Allocation],
    runners: Vec<Taker>,
    capacity: u64,
    pourer: Pourer,
}

impl<'a> Model<'a> {
    fn new(plan: &'a Plan, snapshot: &NodeSnapshot) -> Self {
        // Which of several curves is asked matters little to an order.
        let curve = snapshot.supply.curve.unwrap_or(WeightCurve::Shares);
        let runner = |(observed, allocation): (&Observed, &Allocation)| Taker {
            weight: curve.weight(observed.request),
            room: allocation
                .need
                .min(observed.limit.unwrap_or(allocation.need))
                .get(),
        };
        let all = snapshot
            .participants
            .values()
            .zip(&plan.clearing.allocations);
        Self {
            allocations: &plan.clearing.allocations,
            runners: all.map(runner).collect(),
            capacity: plan.capacity.get(),
            pourer: Pourer::default(),
        }
    }

    /// Σ bid · log₂ of what is delivered: what the market maximises.
    fn welfare(&mut self) -> u128 {
        self.pourer.pour(self.capacity, &self.runners);
        let each = self.allocations.iter().zip(self.pourer.taken());
        each.map(|(a, got)| u128::from(a.bid.get()) * u128::from(log2(got + 1)))
            .sum()
    }

    fn with_limit(&mut self, i: usize, limit: MilliCpu) -> u128 {
        let need = self.allocations[i].need;
        let room = std::mem::replace(&mut self.runners[i].room, need.min(limit).get());
        let welfare = self.welfare();
        self.runners[i].room = room;
        welfare
    }
}

/// `log₂ n` with 16 binary places, for `n` from 1: by squaring, in integers.
fn log2(n: u64) -> u64 {
    let whole = 63 - u64::from(n.max(1).leading_zeros());
    let mut mantissa = u128::from(n.max(1)) << (63 - whole);
    let mut log = whole;
    for _ in 0..16 {
        mantissa = (mantissa * mantissa) >> 63;
        log <<= 1;
        if mantissa >> 64 > 0 {
            mantissa >>= 1;
            log |= 1;
        }
    }
    log
}

#[cfg(test)]
mod tests;
