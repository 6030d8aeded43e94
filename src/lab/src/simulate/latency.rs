//! How long requests took.

use hdrhistogram::{CreationError, Histogram};

use super::time::Nanos;

/// Above this a request counts as slow.
pub const SLOW: Nanos = Nanos::millis(100);

/// The longest latency that is told apart: an hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// The share of slow requests in a second from which on that second was a bad one.
const BAD: f64 = 0.2;

/// Latencies of the requests that came at or after a moment, from arrival to answer.
#[derive(Clone, Debug)]
pub struct Latency {
    from: Nanos,
    histogram: Histogram<u64>,
    slow: u64,
    /// Requests, and slow ones, by the second in which they came.
    seconds: Vec<(u32, u32)>,
}

impl Latency {
    /// None yet; those before `from` will not count.
    ///
    /// # Errors
    /// Never: the histogram's bounds are constants that it takes.
    pub fn since(from: Nanos) -> Result<Self, CreationError> {
        Ok(Self {
            from,
            histogram: Histogram::new_with_bounds(1, LONGEST, 3)?,
            slow: 0,
            seconds: Vec::new(),
        })
    }

    /// A request that came at `arrived` was answered at `at`.
    #[allow(clippy::cast_possible_truncation)] // an hour has 3,600 seconds
    pub fn answered(&mut self, arrived: Nanos, at: Nanos) {
        if arrived < self.from {
            return;
        }
        let latency = at - arrived;
        let slow = latency > SLOW;
        self.slow += u64::from(slow);
        self.histogram
            .saturating_record(latency.get().div_ceil(1_000));
        let second = ((arrived - self.from).get() / Nanos::SECOND.get()) as usize;
        if second >= self.seconds.len() {
            self.seconds.resize(second + 1, (0, 0));
        }
        self.seconds[second].0 += 1;
        self.seconds[second].1 += u32::from(slow);
    }

    /// A request that came at `arrived` has no answer at `end`. It counts with
    /// its age, if it is old enough to say anything: a service that starves must not look well
    /// because few of its answers came.
    pub fn unanswered(&mut self, arrived: Nanos, end: Nanos) {
        if end - arrived > SLOW {
            self.answered(arrived, end);
        }
    }

    /// Adds those of another pod.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so that nothing can be outside of them.
        let _ = self.histogram.add(&other.histogram);
        self.slow += other.slow;
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// How many were slow.
    pub const fn slow(&self) -> u64 {
        self.slow
    }

    /// The latency that `share` of them did not exceed, in milliseconds; none of none.
    #[allow(clippy::cast_precision_loss)] // at most an hour
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let any = !self.histogram.is_empty();
        any.then(|| self.histogram.value_at_quantile(share) as f64 / 1_000.0)
    }

    /// Seconds from the first that counts until no second is bad any more.
    pub fn settled_after(&self) -> usize {
        let bad = |(all, slow): &(u32, u32)| f64::from(*slow) > BAD * f64::from(*all);
        self.seconds
            .iter()
            .rposition(bad)
            .map_or(0, |last| last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_does_not_count_and_what_waits_counts_with_its_age() {
        let mut latency = Latency::since(Nanos::SECOND).unwrap();
        latency.answered(Nanos::ZERO, Nanos::SECOND.times(9));
        latency.answered(Nanos::SECOND, Nanos::SECOND + Nanos::millis(20));
        latency.unanswered(Nanos::SECOND.times(5), Nanos::SECOND.times(9));
        latency.unanswered(Nanos::SECOND.times(9) - Nanos::STEP, Nanos::SECOND.times(9));
        assert_eq!((latency.count(), latency.slow()), (2, 1));
        assert!((latency.quantile(0.5).unwrap() - 20.0).abs() < 0.1);
        assert!((latency.quantile(1.0).unwrap() - 4_000.0).abs() < 4.0);
        assert_eq!(latency.settled_after(), 5);
    }
}
