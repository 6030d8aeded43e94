//! What a kubelet tells about usage and throttling, and how late.

use std::collections::VecDeque;
use std::time::Duration;

use mbcas_core::MilliCpu;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::kernel::Counters;
use super::time::Nanos;

/// Time between two readings of a pod's usage, as seen on real kubelets.
const USAGE: std::ops::Range<u64> = 10_000..15_000;

/// How old throttle counters are, in seconds, as seen on real kubelets.
const AGE: std::ops::Range<usize> = 2..24;

/// Usage over the last window between two readings that the market has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Mean over the window.
    pub cpu: MilliCpu,
    /// How long the window is.
    pub window: Duration,
    /// When it ended.
    pub until: Duration,
    /// The share of periods that were throttled, from older counters; unknown without a limit.
    pub throttled: Option<f64>,
}

/// What the kubelet keeps about one pod, and what was last read of it.
#[derive(Clone, Debug)]
struct Record {
    next: Nanos,
    sample: (Nanos, Nanos),
    read: (Nanos, Nanos),
    usage: Option<Usage>,
    /// Periods and throttled periods, second by second, the newest first.
    throttling: VecDeque<(u64, u64)>,
    throttling_read: (u64, u64),
    throttled: Option<f64>,
}

/// The kubelet of the node.
#[derive(Clone, Debug)]
pub struct Kubelet {
    records: Vec<Record>,
    random: ChaCha8Rng,
}

impl Kubelet {
    /// One for `pods` pods, whose readings are out of step with each other.
    pub fn new(pods: usize, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut record = || Record {
            next: Nanos::millis(random.random_range(0..USAGE.start)),
            sample: (Nanos::ZERO, Nanos::ZERO),
            read: (Nanos::ZERO, Nanos::ZERO),
            usage: None,
            throttling: VecDeque::with_capacity(AGE.end),
            throttling_read: (0, 0),
            throttled: None,
        };
        Self {
            records: (0..pods).map(|_| record()).collect(),
            random,
        }
    }

    /// Takes the readings that are due. To be called at least once a second, and at every full second.
    pub fn look(&mut self, now: Nanos, pod: usize, counters: &Counters) {
        let record = &mut self.records[pod];
        if now >= record.next {
            record.sample = (now, counters.usage);
            record.next = now + Nanos::millis(self.random.random_range(USAGE));
        }
        if now.get().is_multiple_of(Nanos::SECOND.get()) {
            record.throttling.truncate(AGE.end - 1);
            record
                .throttling
                .push_front((counters.periods, counters.throttled));
        }
    }

    /// Reads what is known of `pod`: nothing before there were two readings.
    pub fn read(&mut self, pod: usize) -> Option<Usage> {
        let age = self.random.random_range(AGE);
        let record = &mut self.records[pod];
        if let Some(&seen) = record.throttling.get(age) {
            let before = record.throttling_read;
            // An older age than last time would read backwards.
            if seen.0 > before.0 {
                record.throttled = Some(ratio(seen.1 - before.1, seen.0 - before.0));
                record.throttling_read = seen;
            }
        }
        let (at, used) = record.sample;
        let (since, before) = record.read;
        if at > since {
            record.read = record.sample;
            // The first reading has none before it.
            record.usage = (since > Nanos::ZERO).then(|| Usage {
                cpu: (used - before).over(at - since),
                window: (at - since).into(),
                until: at.into(),
                throttled: None,
            });
        }
        let throttled = record.throttled;
        record.usage.map(|usage| Usage { throttled, ..usage })
    }
}

#[allow(clippy::cast_precision_loss)] // periods of some minutes
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_that_between_two_readings() {
        let mut kubelet = Kubelet::new(1, 7);
        let mut last = Duration::ZERO;
        let mut windows = 0;
        for second in 0..600 {
            let now = Nanos::SECOND.times(second);
            let counters = Counters {
                usage: Nanos::millis(300).times(second),
                periods: 10 * second,
                throttled: 4 * second,
                ..Counters::default()
            };
            kubelet.look(now, 0, &counters);
            if !second.is_multiple_of(15) {
                continue;
            }
            let Some(usage) = kubelet.read(0) else {
                assert!(second < 45, "{second}");
                continue;
            };
            assert_eq!(usage.cpu, MilliCpu::new(300));
            assert!(usage.throttled.is_none_or(|t| (t - 0.4).abs() < 1e-9));
            if usage.until > last {
                assert!(last.is_zero() || usage.until == last + usage.window);
                assert!((10..=31).contains(&usage.window.as_secs()), "{usage:?}");
                (last, windows) = (usage.until, windows + 1);
            }
        }
        assert!(windows > 30, "{windows}");
    }
}
