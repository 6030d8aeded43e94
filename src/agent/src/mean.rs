//! What of a signal that jumps about is the load's own.

use std::time::{Duration, Instant};

use mbcas_core::demand::StandingQueue;

/// In this time a [`Mean`] goes half of the way to a new value.
pub const HALF_LIFE: Duration = Duration::from_secs(5);

/// A moving average over [`HALF_LIFE`], in time: samples may come late or unevenly.
/// It begins with the first sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean(Option<f64>);

impl Mean {
    /// Takes in `sample`, finite, which stands for the last `elapsed`, and returns the new average.
    pub fn update(&mut self, sample: f64, elapsed: Duration) -> f64 {
        let weight = 1.0 - (-elapsed.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2();
        let value = self
            .0
            .map_or(sample, |value| value + (sample - value) * weight);
        self.0 = Some(value);
        value
    }
}

/// What stands in a queue that cannot be seen at every look.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    queue: StandingQueue,
    last: Option<Instant>,
}

impl Standing {
    /// Takes in how many waited `now`, and returns how many count. Where it is not known how many wait, all
    /// looks before are forgotten: what comes next is not of a piece with them.
    pub fn update(&mut self, waiting: Option<u64>, now: Instant) -> Option<u64> {
        let Some(waiting) = waiting else {
            self.queue.clear();
            self.last = None;
            return None;
        };
        let last = self.last.replace(now).unwrap_or(now);
        let elapsed = now.saturating_duration_since(last);
        Some(self.queue.update(waiting, elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_in_vain_makes_a_queue_begin_anew() {
        let begin = Instant::now();
        let mut queue = Standing::default();
        let mut after = |seconds, waiting| {
            let now = begin + Duration::from_secs(seconds);
            queue.update(waiting, now)
        };
        assert_eq!(after(0, Some(2)), Some(2));
        assert_eq!(after(1, Some(9)), Some(2));
        assert_eq!(after(2, None), None);
        assert_eq!(after(3, Some(9)), Some(9));
    }

    #[test]
    fn a_mean_goes_half_of_the_way_in_one_half_life_however_it_is_cut() {
        let mut whole = Mean::default();
        assert!((whole.update(2.0, Duration::ZERO) - 2.0).abs() < 1e-12);
        assert!((whole.update(0.0, HALF_LIFE) - 1.0).abs() < 1e-12);
        let mut cut = Mean::default();
        cut.update(2.0, Duration::ZERO);
        for _ in 0..5 {
            cut.update(0.0, HALF_LIFE / 5);
        }
        assert!((cut.update(0.0, Duration::ZERO) - 1.0).abs() < 1e-9);
    }
}
