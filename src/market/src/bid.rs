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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF_LIFE: Duration = Duration::from_secs(30);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_bid_is_the_budget_times_a_nearly_flat_tilt() {
        let bid = |budget, demand| {
            Bid::of(
                Budget::new(budget).unwrap(),
                Demand::from_basis_points(demand),
            )
            .get()
        };
        assert_eq!(
            [bid(600, 1000), bid(300, 0), bid(100, 10_000)],
            [5_730_000, 2_850_000, 1_000_000]
        );
        assert_eq!(bid(1_000_000, 10_000), 10_000_000_000);
    }

    #[test]
    fn half_of_the_way_in_one_half_life() {
        let start = SmoothDemand::first(Demand::ZERO);
        assert_eq!(
            start
                .then(Demand::FULL, HALF_LIFE, HALF_LIFE)
                .value()
                .basis_points(),
            5_000
        );
        assert_eq!(
            start
                .then(Demand::FULL, HALF_LIFE * 2, HALF_LIFE)
                .value()
                .basis_points(),
            7_500
        );
        assert_eq!(
            start
                .then(Demand::FULL, HALF_LIFE / 2, HALF_LIFE)
                .value()
                .basis_points(),
            2_929
        );
    }

    #[test]
    fn a_constant_demand_is_reached_exactly_and_stays() {
        let mut state = SmoothDemand::first(Demand::ZERO);
        for _ in 0..50 {
            state = state.then(Demand::from_basis_points(3_333), ms(15_000), HALF_LIFE);
        }
        assert_eq!(state.value().basis_points(), 3_333);
        let never = state.then(Demand::FULL, Duration::ZERO, HALF_LIFE);
        assert_eq!(never, state);
        assert_eq!(
            state.then(Demand::FULL, Duration::MAX, HALF_LIFE).value(),
            Demand::FULL
        );
    }

    proptest! {
        #[test]
        fn the_decay_is_a_power_of_one_half(elapsed in 0u64..300_000, half_life in 1u64..100_000) {
            #[allow(clippy::cast_precision_loss)]
            let (exact, ours) = (
                0.5f64.powf(elapsed as f64 / half_life as f64),
                decay(ms(elapsed), ms(half_life)) as f64 / ONE as f64,
            );
            prop_assert!((exact - ours).abs() < 2e-5, "{exact} {ours}");
        }

        #[test]
        fn the_average_moves_towards_the_sample_and_never_past_it(
            from in 0u64..=10_000, to in 0u64..=10_000, elapsed in 0u64..100_000,
        ) {
            let demand = Demand::from_basis_points;
            let after = SmoothDemand::first(demand(from)).then(demand(to), ms(elapsed), HALF_LIFE).value().basis_points();
            prop_assert!((from.min(to)..=from.max(to)).contains(&after));
        }

        #[test]
        fn late_and_early_samples_give_the_same(to in 0u64..=10_000, a in 1u64..60_000, b in 1u64..60_000) {
            let start = SmoothDemand::first(Demand::NEUTRAL);
            let to = Demand::from_basis_points(to);
            let whole = start.then(to, ms(a + b), HALF_LIFE).value().basis_points();
            let split = start.then(to, ms(a), HALF_LIFE).then(to, ms(b), HALF_LIFE).value().basis_points();
            prop_assert!(whole.abs_diff(split) <= 1);
        }
    }
}
