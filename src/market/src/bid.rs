//! From budget and demand to a bid.
//!
//! `β = budget × f(d)` with `f` nearly flat: a content participant still bids
//! 95 % of its budget. A steep `f` is a limit cycle, because urgency falls as
//! soon as the limit rises; it would also pay to cry wolf.

use std::fmt;
use std::time::Duration;

use mbcas_core::{Budget, Demand};

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

/// An effective bid `β`, in budget units times basis points: from 9 500 to 10^10.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bid(u64);

impl Bid {
    /// No bid. [`Bid::of`] never makes one.
    pub const ZERO: Self = Self(0);

    /// `budget × f(demand)`.
    pub fn of(budget: Budget, demand: Demand) -> Self {
        Self(budget.get() * tilt(demand))
    }

    /// A bid as it stands, for sums and for worlds in which there is another `f`.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Bid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A demand intensity, smoothed in real time: half of the way to the sample in one half-life.
///
/// `f` is a straight line and the budget does not jitter, so smoothing `d` is
/// smoothing the bid; a change of the budget, which is somebody's decision,
/// still counts at once. Kept in 2^−32 basis points, so that a constant demand
/// is reached exactly and the same history gives the same bits everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmoothDemand(u64);

/// One, with 32 binary places.
const ONE: u64 = 1 << 32;

impl SmoothDemand {
    /// The first sample counts whole: there is nothing to smooth it with.
    pub fn first(sample: Demand) -> Self {
        Self(sample.basis_points() * ONE)
    }

    /// The state after `sample` stood for `elapsed`.
    #[must_use]
    pub fn then(self, sample: Demand, elapsed: Duration, half_life: Duration) -> Self {
        let target = sample.basis_points() * ONE;
        let kept = u128::from(self.0.abs_diff(target)) * u128::from(decay(elapsed, half_life));
        let rest = u64::try_from(kept >> 32).unwrap_or(0);
        Self(if self.0 < target {
            target - rest
        } else {
            target + rest
        })
    }

    /// The demand, to the nearest basis point.
    pub fn value(self) -> Demand {
        Demand::from_basis_points((self.0 + ONE / 2) / ONE)
    }
}

/// `2^(−elapsed / half_life)` with 32 binary places, in integers: the fraction
/// of the exponent is read bit by bit against the square roots of one half.
fn decay(elapsed: Duration, half_life: Duration) -> u64 {
    const BITS: u32 = 16;
    let half_life = half_life.as_nanos().max(1);
    let halvings = elapsed.as_nanos() / half_life;
    let fraction = ((elapsed.as_nanos() % half_life) << BITS) / half_life;
    let (mut value, mut root) = (ONE, ONE / 2);
    for bit in (0..BITS).rev() {
        root = (root << 32).isqrt();
        if fraction >> bit & 1 == 1 {
            value = (value * root) >> 32;
        }
    }
    u32::try_from(halvings)
        .ok()
        .and_then(|n| value.checked_shr(n))
        .unwrap_or(0)
}
