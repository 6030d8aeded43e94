//! Averages that forget exponentially, in integers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One, with 32 binary places.
const ONE: u64 = 1 << 32;

/// The largest sample that is told from larger ones.
const MOST: u64 = (1 << 31) - 1;

/// A smoothed amount: half of the way to the sample in one half-life.
///
/// Kept with 32 binary places, so that a constant sample is reached exactly, and
/// in real time, so that early and late samples give the same. The same history
/// gives the same bits on every machine.
///
/// ```
/// use std::time::Duration;
/// use mbcas_market::smooth::Smooth;
/// let half_life = Duration::from_secs(30);
/// let start = Smooth::first(0);
/// assert_eq!(start.then(1000, half_life, half_life).value(), 500);
/// assert_eq!(start.then(1000, half_life * 2, half_life).value(), 750);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct Smooth(u64);

impl Smooth {
    /// The first sample counts whole: there is nothing to smooth it with.
    pub fn first(sample: u64) -> Self {
        Self(sample.min(MOST) * ONE)
    }

    /// The state after `sample` stood for `elapsed`.
    #[must_use]
    pub fn then(self, sample: u64, elapsed: Duration, half_life: Duration) -> Self {
        let target = sample.min(MOST) * ONE;
        let kept = u128::from(self.0.abs_diff(target)) * u128::from(decay(elapsed, half_life));
        let rest = u64::try_from(kept >> 32).unwrap_or(0);
        Self(if self.0 < target {
            target - rest
        } else {
            target + rest
        })
    }

    /// The amount, to the nearest whole.
    pub fn value(self) -> u64 {
        (self.0 + ONE / 2) / ONE
    }
}

/// From its 32 binary places and what stands before them.
impl From<u64> for Smooth {
    fn from(state: u64) -> Self {
        Self(state.min(MOST * ONE))
    }
}

impl From<Smooth> for u64 {
    fn from(smooth: Smooth) -> Self {
        smooth.0
    }
}

/// `amount · 2^(−elapsed / half_life)`, rounded down.
pub(crate) fn faded(amount: u64, elapsed: Duration, half_life: Duration) -> u64 {
    let product = u128::from(amount) * u128::from(decay(elapsed, half_life));
    u64::try_from(product >> 32).unwrap_or(u64::MAX)
}

/// `2^(−elapsed / half_life)` with 32 binary places, in integers: the fraction
/// of the exponent is read bit by bit against the square roots of one half.
fn decay(elapsed: Duration, half_life: Duration) -> u64 {
    const BITS: u32 = 16;
    if elapsed.is_zero() {
        return ONE;
    }
    let half_lives = (elapsed.as_nanos() << BITS) / half_life.as_nanos().max(1);
    let mut value = ONE;
    for bit in 0..BITS {
        if half_lives >> (BITS - 1 - bit) & 1 == 1 {
            value = (value * ROOTS[bit as usize]) >> 32;
        }
    }
    u32::try_from(half_lives >> BITS)
        .ok()
        .and_then(|n| value.checked_shr(n))
        .unwrap_or(0)
}

/// `2^(−1/2)`, `2^(−1/4)`, `2^(−1/8)` and so on, with 32 binary places.
const ROOTS: [u64; 16] = {
    let mut roots = [0; 16];
    let (mut root, mut i) = (ONE / 2, 0);
    while i < roots.len() {
        root = (root << 32).isqrt();
        roots[i] = root;
        i += 1;
    }
    roots
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF_LIFE: Duration = Duration::from_secs(30);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn half_of_the_way_in_one_half_life() {
        let after = |elapsed| Smooth::first(0).then(10_000, elapsed, HALF_LIFE).value();
        assert_eq!(
            [after(HALF_LIFE / 2), after(HALF_LIFE), after(HALF_LIFE * 2)],
            [2_929, 5_000, 7_500]
        );
    }

    #[test]
    fn a_constant_sample_is_reached_exactly_and_stays() {
        let mut state = Smooth::first(0);
        for _ in 0..50 {
            state = state.then(3_333, ms(15_000), HALF_LIFE);
        }
        assert_eq!(state.value(), 3_333);
        assert_eq!(state.then(10_000, Duration::ZERO, HALF_LIFE), state);
        assert_eq!(state.then(10_000, Duration::MAX, HALF_LIFE).value(), 10_000);
        assert_eq!(Smooth::first(u64::MAX).value(), MOST);
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
            from in 0u64..=100_000, to in 0u64..=100_000, elapsed in 0u64..100_000,
        ) {
            let after = Smooth::first(from).then(to, ms(elapsed), HALF_LIFE).value();
            prop_assert!((from.min(to)..=from.max(to)).contains(&after));
        }

        #[test]
        fn late_and_early_samples_give_the_same(to in 0u64..=10_000, a in 1u64..60_000, b in 1u64..60_000) {
            let start = Smooth::first(5_000);
            let whole = start.then(to, ms(a + b), HALF_LIFE).value();
            let split = start.then(to, ms(a), HALF_LIFE).then(to, ms(b), HALF_LIFE).value();
            prop_assert!(whole.abs_diff(split) <= 1);
        }
    }
}
