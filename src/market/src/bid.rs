//! From budget and demand to a bid.
//!
//! `β = budget × f(d)` with `f` nearly flat: a content participant still bids
//! 95 % of its budget. A steep `f` is a limit cycle, because urgency falls as
//! soon as the limit rises; it would also pay to cry wolf.

use std::fmt;

use mbcas_core::{Budget, Demand};
use serde::{Deserialize, Serialize};

/// `f(0)` in basis points.
pub const FLAT: u64 = 9_500;

/// `f` gains one basis point for so many basis points of demand, so that `f(1)` is 10 000.
pub const SLOPE: u64 = 20;

/// `f(d) = 9500 + d/20`, in basis points from 9500 to 10 000.
///
/// ```
/// use mbcas_core::Demand;
/// use mbcas_market::bid::tilt;
/// assert_eq!((tilt(Demand::ZERO), tilt(Demand::NEUTRAL), tilt(Demand::FULL)), (9_500, 9_750, 10_000));
/// ```
pub fn tilt(demand: Demand) -> u64 {
    FLAT + demand.basis_points() / SLOPE
}

/// A budget as the market counts it, in thousandths: what a pod names, or less
/// where its namespace has no more to give, see [`crate::allotment`].
///
/// From 1 to 10^9. Thousandths, so that a namespace cannot gain by dividing an
/// allotment among so many pods that each is rounded up to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct EffectiveBudget(u64);

impl EffectiveBudget {
    /// How many of these are one of [`Budget`].
    pub const PARTS: u64 = 1_000;

    /// `thousandths` of a budget, at least one.
    pub const fn from_thousandths(thousandths: u64) -> Self {
        let most = Budget::MAX.get() * Self::PARTS;
        Self(if thousandths == 0 {
            1
        } else if thousandths > most {
            most
        } else {
            thousandths
        })
    }

    /// So many thousandths in whole budgets, to the nearest: for sums that people read.
    pub(crate) const fn whole(thousandths: u128) -> u128 {
        (thousandths + Self::PARTS as u128 / 2) / Self::PARTS as u128
    }

    /// The number of thousandths.
    pub const fn thousandths(self) -> u64 {
        self.0
    }
}

impl From<Budget> for EffectiveBudget {
    fn from(budget: Budget) -> Self {
        Self(budget.get() * Self::PARTS)
    }
}

impl From<u64> for EffectiveBudget {
    fn from(thousandths: u64) -> Self {
        Self::from_thousandths(thousandths)
    }
}

impl From<EffectiveBudget> for u64 {
    fn from(budget: EffectiveBudget) -> Self {
        budget.thousandths()
    }
}

impl fmt::Display for EffectiveBudget {
    /// `600`, or `66.667` where it is scaled.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / Self::PARTS, self.0 % Self::PARTS);
        if rest == 0 {
            return f.pad(&whole.to_string());
        }
        f.pad(&format!("{whole}.{rest:03}"))
    }
}

/// An effective bid `β`: thousandths of a budget times basis points, up to 10^13.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bid(u64);

impl Bid {
    /// No bid. [`Bid::of`] never makes one.
    pub const ZERO: Self = Self(0);

    /// What a budget of one bids at full demand: the unit in which bids and prices are shown.
    pub const UNIT: Self = Self(EffectiveBudget::PARTS * 10_000);

    /// `budget × f(demand)`.
    pub fn of(budget: EffectiveBudget, demand: Demand) -> Self {
        Self(budget.thousandths() * tilt(demand))
    }

    /// A bid as it stands, for sums and for worlds in which there is another `f`.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In units of a budget, for gauges.
    #[allow(clippy::cast_precision_loss)] // a gauge has no more digits
    pub fn as_budget(self) -> f64 {
        self.0 as f64 / Self::UNIT.0 as f64
    }
}

impl fmt::Display for Bid {
    /// In units of a budget: `573.000` for a budget of 600 and a demand of 0.1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thousandths = self.0 / (Self::UNIT.0 / 1000);
        f.pad(&format!("{}.{:03}", thousandths / 1000, thousandths % 1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bid_is_the_budget_times_a_nearly_flat_tilt() {
        let bid = |budget, demand| {
            let budget = Budget::new(budget).unwrap().into();
            Bid::of(budget, Demand::from_basis_points(demand))
        };
        assert_eq!(
            [bid(600, 1000), bid(300, 0), bid(100, 10_000)].map(|bid| bid.to_string()),
            ["573.000", "285.000", "100.000"]
        );
        assert_eq!(bid(1_000_000, 10_000).get(), 10_000_000_000_000);
    }

    #[test]
    fn an_effective_budget_is_never_nothing() {
        let budget = EffectiveBudget::from_thousandths;
        assert_eq!(budget(0).thousandths(), 1);
        assert_eq!(budget(u64::MAX), Budget::MAX.into());
        assert_eq!(
            [budget(600_000), budget(66_667), budget(5)].map(|b| b.to_string()),
            ["600", "66.667", "0.005"]
        );
    }
}
