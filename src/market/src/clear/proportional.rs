//! The plain rule of the seed: limits equal grants.
//!
//! Floors first, then `x_i = floor_i + β_i/Σβ · remaining`, clamped at the caps
//! with the excess shared again. That is the exact optimum of
//! `max Σ β_i·log(x_i − floor_i)` under the caps: Nash bargaining with the
//! floors as the point of disagreement.

use mbcas_core::{ContainerId, MilliCpu};

use super::{Allocation, Clearing, Price, milli, quanta};
use crate::bid::{Bid, EffectiveBudget};
use crate::error::MarketError;
use crate::input::{NodeMarketInput, Participant};
use crate::pour::{Poured, Taker, pour};
use crate::reason::{LimitReason, Reasoning};

/// Clears the CPU market of one node by the plain proportional rule.
///
/// # Errors
/// [`MarketError`] if a cap is below its floor or a container is there twice;
/// nothing is granted then.
pub fn solve_cpu(input: &NodeMarketInput) -> Result<Clearing, MarketError> {
    let mut participants: Vec<&Participant> = input.participants.iter().collect();
    participants.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    for pair in participants.windows(2) {
        if pair[0].id == pair[1].id {
            return Err(MarketError::Duplicate {
                id: pair[0].id.clone(),
            });
        }
    }
    if let Some(wrong) = participants.iter().find(|p| p.cap < p.floor) {
        return Err(MarketError::CapBelowFloor {
            id: wrong.id.clone(),
            floor: wrong.floor,
            cap: wrong.cap,
        });
    }
    Ok(proportional(
        input.capacity,
        participants.into_iter().map(Seat::of).collect(),
    ))
}

/// A participant in the market's own unit of account.
pub(crate) struct Seat<'a> {
    id: &'a ContainerId,
    bid: Bid,
    budget: u64,
    /// In quanta, rounded up.
    floor: u64,
    /// In quanta, rounded down, not below the floor.
    cap: u64,
}

impl<'a> Seat<'a> {
    pub(crate) fn of(participant: &'a Participant) -> Self {
        let floor = participant.floor.get().div_ceil(MilliCpu::QUANTUM.get());
        Self {
            id: &participant.id,
            bid: Bid::of(participant.budget, participant.demand),
            budget: participant.budget.thousandths(),
            floor,
            cap: quanta(participant.cap).max(floor),
        }
    }
}

/// The seed's rule. `seats` are ordered by id, each cap at or above its floor.
pub(crate) fn proportional(capacity: MilliCpu, seats: Vec<Seat<'_>>) -> Clearing {
    let floors: u128 = seats.iter().map(|s| u128::from(s.floor)).sum();
    let floors = u64::try_from(floors).unwrap_or(u64::MAX);
    let surplus = quanta(capacity).checked_sub(floors);
    let shares = surplus.map(|surplus| Shares::of(surplus, &seats));
    let price = shares.as_ref().map_or(Price::UNBOUNDED, Shares::price);
    let price = if seats.is_empty() { Price::ZERO } else { price };
    let total = Totals {
        floors: milli(floors),
        capacity,
    };
    let place =
        |(i, seat): (usize, Seat<'_>)| seat.allocation(shares.as_ref().map(|s| (s, i)), &total);
    let allocations: Vec<Allocation> = seats.into_iter().enumerate().map(place).collect();
    let granted = allocations.iter().map(|a| a.grant).sum();
    Clearing {
        allocations,
        price,
        capacity,
        floors: total.floors,
        granted,
        headroom: capacity - granted,
        feasible: surplus.is_some(),
    }
}

struct Totals {
    floors: MilliCpu,
    capacity: MilliCpu,
}

/// How the surplus above the floors was shared.
struct Shares {
    by_bid: Poured,
    /// Those without a bid take what all bidders left over, by budget.
    by_budget: Poured,
}

impl Shares {
    fn of(surplus: u64, seats: &[Seat<'_>]) -> Self {
        let room = |s: &Seat<'_>| s.cap - s.floor;
        let bidders: Vec<_> = seats
            .iter()
            .map(|s| Taker {
                weight: s.bid.get(),
                room: room(s),
            })
            .collect();
        let by_bid = pour(surplus, &bidders);
        let silent = |s: &Seat<'_>| if s.bid == Bid::ZERO { s.budget } else { 0 };
        let others: Vec<_> = seats
            .iter()
            .map(|s| Taker {
                weight: silent(s),
                room: room(s),
            })
            .collect();
        let by_budget = pour(by_bid.rest.left, &others);
        Self { by_bid, by_budget }
    }

    fn price(&self) -> Price {
        match (self.by_bid.rest.open_weight, self.by_bid.rest.open_amount) {
            (0, _) => Price::ZERO,
            (_, 0) => Price::UNBOUNDED,
            (bids, amount) => Price::at(bids, milli(amount)),
        }
    }
}

impl Seat<'_> {
    fn allocation(self, shares: Option<(&Shares, usize)>, total: &Totals) -> Allocation {
        let infeasible = Reasoning::FloorsInfeasible {
            floors: total.floors,
            capacity: total.capacity,
        };
        let explained = shares.map(|(shares, i)| self.explained(shares, i));
        let (grant, reasoning) = explained.unwrap_or_else(|| (milli(self.floor), infeasible));
        Allocation {
            id: self.id.clone(),
            bid: self.bid,
            need: milli(self.cap),
            grant,
            reasoning,
            is_short: grant < milli(self.cap),
            protected: grant,
            limit: grant,
            limit_reason: LimitReason::Rule,
        }
    }

    fn explained(&self, shares: &Shares, i: usize) -> (MilliCpu, Reasoning) {
        let (by_bid, by_budget) = (&shares.by_bid, &shares.by_budget);
        let grant = self.floor + by_bid.taken[i] + by_budget.taken[i];
        let floor = milli(self.floor);
        let reasoning = if grant == self.cap {
            Reasoning::CapBinds {
                cap: milli(self.cap),
            }
        } else if grant == self.floor {
            Reasoning::FloorBinds { floor }
        } else if self.bid == Bid::ZERO {
            let (budgets, surplus) = (
                by_budget.rest.open_weight,
                milli(by_budget.rest.open_amount),
            );
            Reasoning::ByBudget {
                floor,
                budget: EffectiveBudget::from_thousandths(self.budget),
                budgets: EffectiveBudget::whole(budgets),
                surplus,
            }
        } else {
            let (bids, surplus) = (by_bid.rest.open_weight, milli(by_bid.rest.open_amount));
            Reasoning::Share {
                floor,
                bid: self.bid,
                bids,
                surplus,
            }
        };
        (milli(grant), reasoning)
    }
}

#[cfg(test)]
mod tests;
