//! How long 99 of 100 requests take, from a histogram that counts all requests ever.

use std::time::{Duration, Instant};

use crate::exposition::Histogram;

/// The percentile that an objective is about.
const PERCENTILE: f64 = 0.99;

/// Requests that make a percentile: of fewer each one is too much of it.
const REQUESTS: f64 = 20.0;

/// After so long fewer requests must do; and after so long without any, nothing is known.
const PATIENCE: Duration = Duration::from_secs(10);

/// Follows a histogram.
#[derive(Debug, Default)]
pub struct Percentile {
    before: Option<(Histogram, Instant)>,
    value: Option<f64>,
}

impl Percentile {
    /// Knows nothing.
    pub const fn new() -> Self {
        Self {
            before: None,
            value: None,
        }
    }

    /// The 99th percentile of the requests since the last calls, in seconds. None where there
    /// were none, and when the histogram has begun anew: what it says is counted from there.
    pub fn update(&mut self, histogram: Histogram, now: Instant) -> Option<f64> {
        if let Some((before, at)) = &self.before
            && let Some(since) = difference(before, &histogram)
        {
            let requests = since.last().map_or(0.0, |(_, count)| *count);
            let early = now.saturating_duration_since(*at) < PATIENCE;
            if early && requests < REQUESTS {
                return self.value;
            }
            self.value = quantile(&since);
        } else {
            self.value = None;
        }
        self.before = Some((histogram, now));
        self.value
    }

    /// Forgets everything: what comes next is not of a piece with it.
    pub fn forget(&mut self) {
        *self = Self::new();
    }
}

/// What was counted between two readings; None if a counter went back or a bound is another.
/// Counts grow from bucket to bucket, even if labels that came and went say otherwise.
fn difference(before: &Histogram, now: &Histogram) -> Option<Histogram> {
    let same = before.len() == now.len();
    same.then_some(())?;
    let mut most = 0.0_f64;
    let pairs = before.iter().zip(now);
    pairs
        .map(|((old_bound, old), (bound, new))| {
            (old_bound.total_cmp(bound).is_eq() && new >= old).then_some(())?;
            most = most.max(new - old);
            Some((*bound, most))
        })
        .collect()
}

/// As `histogram_quantile` of Prometheus does it: evenly within a bucket, from 0 in the first one,
/// and in the last one its lower bound.
fn quantile(histogram: &Histogram) -> Option<f64> {
    let (_, all) = *histogram.last()?;
    (all > 0.0).then_some(())?;
    let rank = PERCENTILE * all;
    let (mut lower, mut below) = (0.0, 0.0);
    for (upper, count) in histogram {
        if *count >= rank && upper.is_finite() {
            if *upper <= 0.0 {
                return Some(0.0);
            }
            // In this order nothing overflows, whatever the bounds and counts are.
            return Some(lower + (upper - lower) * ((rank - below) / (count - below)));
        }
        if upper.is_finite() {
            (lower, below) = (upper.max(0.0), *count);
        }
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn histogram(counts: [f64; 4]) -> Histogram {
        [0.1, 0.2, 0.4, f64::INFINITY]
            .into_iter()
            .zip(counts)
            .collect()
    }

    #[test]
    fn the_percentile_is_the_one_that_prometheus_computes() {
        for (counts, expected) in [
            // histogram_quantile(0.99, …) of the same.
            ([100.0, 100.0, 100.0, 100.0], 0.099),
            ([0.0, 98.0, 100.0, 100.0], 0.3),
            ([0.0, 0.0, 200.0, 200.0], 0.398),
            ([50.0, 50.0, 50.0, 100.0], 0.4),
            ([0.0, 0.0, 0.0, 5.0], 0.4),
        ] {
            let value = quantile(&histogram(counts)).unwrap();
            assert!((value - expected).abs() < 1e-9, "{counts:?}: {value}");
        }
        assert_eq!(quantile(&histogram([0.0; 4])), None);
        assert_eq!(quantile(&vec![(f64::INFINITY, 5.0)]), Some(0.0));
        let huge = vec![(1e300, 1e300), (1e308, 1e308), (f64::INFINITY, 1e308)];
        let value = quantile(&huge).unwrap();
        assert!((9e307..=1e308).contains(&value), "{value}");
    }

    #[test]
    fn only_what_has_come_since_counts_and_a_reset_says_nothing() {
        let mut percentile = Percentile::new();
        let begin = Instant::now();
        let mut at =
            |second: u32, counts| percentile.update(histogram(counts), begin + second * SECOND);
        assert_eq!(at(0, [9e9; 4]), None);
        let fast = 9e9 + 100.0;
        assert!((at(1, [fast; 4]).unwrap() - 0.099).abs() < 1e-6);
        // Too few to say anything new, for ten seconds.
        let slow = [fast, fast, fast + 5.0, fast + 5.0];
        assert!((at(2, slow).unwrap() - 0.099).abs() < 1e-6);
        assert!(at(12, slow).unwrap() > 0.39);
        assert_eq!(at(22, slow), None);
        // The application was started anew, and then has a bucket more.
        assert_eq!(at(23, [50.0; 4]), None);
        assert!(at(24, [90.0; 4]).is_some());
        assert_eq!(
            percentile.update(vec![(f64::INFINITY, 900.0)], begin + 25 * SECOND),
            None
        );
    }

    proptest! {
        #[test]
        fn whatever_is_counted_a_percentile_lies_within_the_finite_bounds(
            readings in prop::collection::vec((prop::array::uniform4(0.0f64..1e12), 0u32..20), 1..20)
        ) {
            let (mut percentile, mut now) = (Percentile::new(), Instant::now());
            for (counts, seconds) in readings {
                now += seconds * SECOND;
                if let Some(value) = percentile.update(histogram(counts), now) {
                    prop_assert!((0.0..=0.4).contains(&value), "{value}");
                }
            }
        }
    }
}
