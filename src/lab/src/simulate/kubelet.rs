//! What a kubelet tells about usage, and how late.

use std::time::Duration;

use mbcas_core::MilliCpu;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::kernel::Counters;
use super::time::Nanos;

/// Time between two readings of a pod's usage, as seen on real kubelets before 1.37.
const USAGE: std::ops::Range<u64> = 10_000..15_000;

/// When a kubelet measures what its pods use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Measures {
    /// Every 10 to 15 s, as those before 1.37 do.
    #[default]
    Seldom,
    /// When it is asked, as those from 1.37 on do.
    Asked,
}

impl Measures {
    /// For what has to hold of both kinds: one seed's, and the next one's.
    #[cfg(test)]
    pub const fn by_turns(seed: u64) -> Self {
        if seed.is_multiple_of(2) {
            Self::Asked
        } else {
            Self::Seldom
        }
    }
}

/// Usage over the last window between two readings that the market has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Mean over the window.
    pub cpu: MilliCpu,
    /// How long the window is.
    pub window: Duration,
    /// When it was first read: the node's clock is not the controller's.
    pub until: Duration,
}

/// What the kubelet keeps about one pod, and what was last read of it.
#[derive(Clone, Debug)]
struct Record {
    next: Nanos,
    sample: (Nanos, Nanos),
    read: (Nanos, Nanos),
    usage: Option<Usage>,
}

/// The kubelet of the node.
#[derive(Clone, Debug)]
pub struct Kubelet {
    measures: Measures,
    records: Vec<Record>,
    random: ChaCha8Rng,
}

impl Kubelet {
    /// One for `pods` pods, whose readings are out of step with each other.
    pub fn new(measures: Measures, pods: usize, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut record = || Record {
            next: Nanos::millis(random.random_range(0..USAGE.start)),
            sample: (Nanos::ZERO, Nanos::ZERO),
            read: (Nanos::ZERO, Nanos::ZERO),
            usage: None,
        };
        Self {
            measures,
            records: (0..pods).map(|_| record()).collect(),
            random,
        }
    }

    /// Takes the readings that are due. To be called at least once a second, and before each [`Self::read`].
    pub fn look(&mut self, now: Nanos, pod: usize, counters: &Counters) {
        let record = &mut self.records[pod];
        if now >= record.next || self.measures == Measures::Asked {
            record.sample = (now, counters.usage);
            record.next = now + Nanos::millis(self.random.random_range(USAGE));
        }
    }

    /// Reads what is known of `pod`: nothing before there were two readings.
    pub fn read(&mut self, now: Nanos, pod: usize) -> Option<Usage> {
        let record = &mut self.records[pod];
        let (at, used) = record.sample;
        let (since, before) = record.read;
        if at > since {
            record.read = record.sample;
            // The first reading has none before it.
            record.usage = (since > Nanos::ZERO).then(|| Usage {
                cpu: (used - before).over(at - since),
                window: (at - since).into(),
                until: now.into(),
            });
        }
        record.usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The windows of an hour at 300m, read every 15 s.
    fn windows(measures: Measures) -> Vec<Duration> {
        let mut kubelet = Kubelet::new(measures, 1, 7);
        let mut windows = Vec::new();
        let mut last = Duration::ZERO;
        for second in 0..3_600 {
            let now = Nanos::SECOND.times(second);
            let counters = Counters {
                usage: Nanos::millis(300).times(second),
                ..Counters::default()
            };
            kubelet.look(now, 0, &counters);
            if !second.is_multiple_of(15) {
                continue;
            }
            let Some(usage) = kubelet.read(now, 0) else {
                assert!(second < 45, "{second}");
                continue;
            };
            assert_eq!(usage.cpu, MilliCpu::new(300));
            if usage.until > last {
                assert_eq!(usage.until, Duration::from(now));
                windows.push(usage.window);
                last = usage.until;
            }
        }
        windows
    }

    #[test]
    fn usage_is_that_between_two_readings() {
        let seldom = windows(Measures::Seldom);
        assert!(
            seldom.iter().all(|w| (10..=31).contains(&w.as_secs())),
            "{seldom:?}"
        );
        assert!(seldom.len() > 180, "{}", seldom.len());
        let asked = windows(Measures::Asked);
        assert!(asked.iter().all(|w| w.as_secs() == 15), "{asked:?}");
        assert!(asked.len() >= 238, "{}", asked.len());
    }
}
