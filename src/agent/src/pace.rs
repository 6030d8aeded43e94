//! How often something that costs CPU may be done.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A pause of so many times the last cost keeps the share of a core below 0.01 %.
const PAUSE_PER_COST: u32 = 10_000;

/// Tells when the next sample is due: after a fixed pause, or after a longer one if the last
/// sample was dear. The cost is the thread's own CPU time, so that a busy machine, which makes
/// everything take longer, does not blind the agent.
///
/// All times are of the monotonic clock, which nobody can set.
#[derive(Debug)]
pub struct Pace {
    least: Duration,
    next: Option<Instant>,
}

impl Pace {
    /// Due at once, and then never sooner than `least`.
    pub const fn new(least: Duration) -> Self {
        Self { least, next: None }
    }

    /// Whether a sample may be taken.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| now >= next)
    }

    /// Runs `sample`, and puts the next one off by what this one cost.
    pub fn run<T>(&mut self, now: Instant, sample: impl FnOnce() -> T) -> T {
        let begin = cpu_time();
        let outcome = sample();
        self.spent(now, cpu_time().saturating_sub(begin));
        outcome
    }

    fn spent(&mut self, now: Instant, cost: Duration) {
        let pause = cost.saturating_mul(PAUSE_PER_COST).max(self.least);
        // Beyond the end of the clock: never again.
        self.next = Some(now.checked_add(pause).unwrap_or(now + self.least));
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cheap_sample_is_taken_after_the_least_pause_and_a_dear_one_later() {
        let mut pace = Pace::new(Duration::from_secs(1));
        let begin = Instant::now();
        let after = |ms| begin + Duration::from_millis(ms);
        assert!(pace.is_due(begin));
        pace.spent(begin, Duration::from_micros(5));
        assert!(!pace.is_due(after(999)) && pace.is_due(after(1000)));
        pace.spent(begin, Duration::from_micros(700));
        assert!(!pace.is_due(after(6_999)) && pace.is_due(after(7_000)));
    }

    #[test]
    fn the_cost_is_cpu_time_and_not_time() {
        let mut pace = Pace::new(Duration::ZERO);
        let begin = Instant::now();
        pace.run(begin, || std::thread::sleep(Duration::from_millis(20)));
        assert!(pace.is_due(begin + Duration::from_secs(100)));
        pace.run(begin, || {
            let until = cpu_time() + Duration::from_millis(20);
            while cpu_time() < until {}
        });
        assert!(!pace.is_due(begin + Duration::from_secs(199)));
    }
}
