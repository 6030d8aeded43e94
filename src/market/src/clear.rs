//! Clearing: one solution of one node's market.
//!
//! Two rules, one algorithm ([`crate::pour`]): the seed's plain one, where everybody is
//! taken to want its cap, and three tiers of it, where need, room and rest come one
//! after the other. All in quanta of 10m and in integers, so that sums are exact
//! and the result is the same on every machine.

use std::fmt;

use mbcas_core::{ContainerId, MilliCpu};
use serde::{Deserialize, Serialize};

use crate::bid::Bid;
use crate::reason::{LimitReason, Reasoning};

pub(crate) mod least;
pub(crate) mod proportional;
pub(crate) mod tiers;

pub use proportional::solve_cpu;

/// What one container gets out of a clearing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// Who.
    pub id: ContainerId,
    /// What it bid.
    pub bid: Bid,
    /// What it could use now, from evidence and claims. The proportional rule asks nobody: its cap.
    pub need: MilliCpu,
    /// What the market promises it, a multiple of [`MilliCpu::QUANTUM`]; never above
    /// its cap, and below its floor only by what it does not need of it.
    pub grant: MilliCpu,
    /// Why it is promised that.
    pub reasoning: Reasoning,
    /// Its grant misses its need, or has only just met it, see [`crate::standing`].
    pub is_short: bool,
    /// What the kernel gives it whatever the short ones do; nothing to a short one itself.
    pub protected: MilliCpu,
    /// The limit to write: as loose as the rule allows, never below grant or floor.
    pub limit: MilliCpu,
    /// Why the limit is that.
    pub limit_reason: LimitReason,
}

/// One solution of one node's market, with the totals behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clearing {
    /// What each participant gets, ordered by id.
    pub allocations: Vec<Allocation>,
    /// What a millicore cost.
    pub price: Price,
    /// What was there.
    pub capacity: MilliCpu,
    /// Σ of the floors.
    pub floors: MilliCpu,
    /// Σ of the grants: at most the capacity; Σ of the floors where those are already more.
    pub granted: MilliCpu,
    /// What was granted to nobody.
    pub headroom: MilliCpu,
    /// Whether the floors fit into the capacity.
    pub feasible: bool,
}

impl Clearing {
    /// What `id` gets, if it took part.
    pub fn allocation(&self, id: &ContainerId) -> Option<&Allocation> {
        self.allocations
            .binary_search_by(|a| a.id.cmp(id))
            .ok()
            .map(|i| &self.allocations[i])
    }
}

/// The price of a millicore: bid per millicore at the margin, the dual variable
/// of the capacity, in thousandths. Zero exactly when nobody is short: every need is
/// met, or, by the proportional rule, every cap.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Price(u64);

impl Price {
    /// Nobody wanted more than there was.
    pub const ZERO: Self = Self(0);
    /// Nothing was for sale above the floors, at any price.
    pub const UNBOUNDED: Self = Self(u64::MAX);

    /// `bids / amount`, rounded up, so that scarcity never costs nothing.
    pub(crate) fn at(bids: u128, amount: MilliCpu) -> Self {
        let thousandths = bids
            .saturating_mul(1000)
            .checked_next_multiple_of(u128::from(amount.get()));
        let price = thousandths.map_or(u128::MAX, |t| t / u128::from(amount.get()));
        Self(u64::try_from(price).unwrap_or(u64::MAX))
    }

    /// Thousandths of a bid per millicore, see [`Bid::UNIT`].
    pub const fn thousandths(self) -> u64 {
        self.0
    }

    /// Budget per millicore, for gauges; infinite where nothing was for sale.
    #[allow(clippy::cast_precision_loss)] // a gauge has no more digits
    pub fn as_f64(self) -> f64 {
        if self == Self::UNBOUNDED {
            f64::INFINITY
        } else {
            self.0 as f64 / 1000.0 / Bid::UNIT.get() as f64
        }
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::UNBOUNDED {
            return f.pad("unbounded");
        }
        f.pad(&format!("{}.{:03}", self.0 / 1000, self.0 % 1000))
    }
}

/// Whole quanta in `amount`.
pub(crate) fn quanta(amount: MilliCpu) -> u64 {
    amount.get() / MilliCpu::QUANTUM.get()
}

/// So many quanta.
pub(crate) fn milli(quanta: u64) -> MilliCpu {
    MilliCpu::new(quanta.saturating_mul(MilliCpu::QUANTUM.get()))
}
