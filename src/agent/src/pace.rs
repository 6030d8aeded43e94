//! How often something that costs CPU may be done.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A pause of so many times the last cost keeps the share of a core below 0.005 %.
const PAUSE_PER_COST: u32 = 20_000;

/// The same in haste: below 0.05 %.
const PAUSE_PER_COST_IN_HASTE: u32 = 2_000;

/// Tells when the next sample is due: after a fixed pause, or after a longer one if the last
/// sample was dear. The cost is the thread's own CPU time, so that a busy machine, which makes
/// everything take longer, does not blind the agent.
///
/// All times are of the monotonic clock, which nobody can set.
#[derive(Debug)]
pub struct Pace {
    least: Duration,
    most: Duration,
    /// When the last sample was taken, and its cost.
    last: Option<(Instant, Duration)>,
}

impl Pace {
    /// Due at once, and then never sooner than `least`.
    pub const fn new(least: Duration) -> Self {
        Self::within(least, Duration::MAX)
    }

    /// The same, and never later than `most`, whatever that costs.
    pub const fn within(least: Duration, most: Duration) -> Self {
        Self {
            least,
            most,
            last: None,
        }
    }

    /// Whether a sample may be taken.
    pub fn is_due(&self, now: Instant) -> bool {
        self.has_paused(now, self.least, PAUSE_PER_COST)
    }

    /// Whether one may be taken already where it matters now: never sooner than `least`, and after a tenth
    /// of the pause that a dear one asks for.
    pub fn is_due_in_haste(&self, now: Instant, least: Duration) -> bool {
        self.has_paused(now, least, PAUSE_PER_COST_IN_HASTE)
    }

    fn has_paused(&self, now: Instant, least: Duration, per_cost: u32) -> bool {
        self.last.is_none_or(|(at, cost)| {
            let pause = cost.saturating_mul(per_cost).min(self.most).max(least);
            now.saturating_duration_since(at) >= pause
        })
    }

    /// Runs `sample`, and puts the next one off by what this one cost.
    pub fn run<T>(&mut self, now: Instant, sample: impl FnOnce() -> T) -> T {
        let begin = cpu_time();
        let outcome = sample();
        self.last = Some((now, cpu_time().saturating_sub(begin)));
        outcome
    }
}

/// Lets `work` take so much CPU at the most, and says what it took. None where that was not enough.
pub async fn metered<F: Future>(most: Duration, work: F) -> (Option<F::Output>, Duration) {
    let mut work = pin!(work);
    let mut cost = Duration::ZERO;
    let outcome = poll_fn(|context| {
        let begin = cpu_time();
        let polled = work.as_mut().poll(context);
        cost += cpu_time().saturating_sub(begin);
        match polled {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if cost > most => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    (outcome, cost)
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
        pace.last = Some((begin, Duration::from_micros(5)));
        assert!(!pace.is_due(after(999)) && pace.is_due(after(1000)));
        pace.last = Some((begin, Duration::from_micros(700)));
        assert!(!pace.is_due(after(13_999)) && pace.is_due(after(14_000)));
        let in_haste =
            |pace: &Pace, ms| pace.is_due_in_haste(after(ms), Duration::from_millis(200));
        assert!(!in_haste(&pace, 1_399) && in_haste(&pace, 1_400));
        pace.last = Some((begin, Duration::from_micros(5)));
        assert!(!in_haste(&pace, 199) && in_haste(&pace, 200));
    }

    #[tokio::test]
    async fn work_between_pauses_is_metered_and_cut_short() {
        let millisecond = Duration::from_millis(1);
        let spins = |times| async move {
            for _ in 0..times {
                let until = cpu_time() + millisecond;
                while cpu_time() < until {}
                tokio::time::sleep(20 * millisecond).await;
            }
        };
        let (outcome, cost) = metered(100 * millisecond, spins(5)).await;
        assert!(outcome.is_some());
        assert!(
            (5 * millisecond..50 * millisecond).contains(&cost),
            "{cost:?}"
        );
        let (outcome, cost) = metered(3 * millisecond, spins(1_000)).await;
        assert!(outcome.is_none());
        assert!(cost < 50 * millisecond, "{cost:?}");
    }

    #[test]
    fn what_has_to_be_known_is_looked_at_however_dear_it_is() {
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(15));
        let mut pace = Pace::within(least, most);
        let begin = Instant::now();
        let after = |ms| begin + Duration::from_millis(ms);
        pace.last = Some((begin, Duration::from_micros(350)));
        assert!(!pace.is_due(after(6_999)) && pace.is_due(after(7_000)));
        pace.last = Some((begin, Duration::from_millis(12)));
        assert!(!pace.is_due(after(14_999)) && pace.is_due(after(15_000)));
    }

    #[test]
    fn the_cost_is_cpu_time_and_not_time() {
        let mut pace = Pace::new(Duration::ZERO);
        let begin = Instant::now();
        pace.run(begin, || std::thread::sleep(Duration::from_millis(20)));
        assert!(pace.is_due(begin + Duration::from_secs(200)));
        pace.run(begin, || {
            let until = cpu_time() + Duration::from_millis(20);
            while cpu_time() < until {}
        });
        assert!(!pace.is_due(begin + Duration::from_secs(399)));
    }
}
