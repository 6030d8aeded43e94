//! Smoothing what is sampled only once a second.

use std::collections::VecDeque;
use std::time::Duration;

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

/// The least of the last samples of a queue.
///
/// A queue jumps about under a steady load. What stands in it all the time is the load's own: a
/// queue is a bad one if its minimum over some time is not zero (Nichols and Jacobson,
/// "Controlling Queue Delay", 2012).
#[derive(Clone, Debug)]
pub struct Standing {
    samples: VecDeque<u64>,
    most: usize,
}

impl Standing {
    /// Samples that are looked back on where they are taken once a second or more seldom. So many
    /// keep the intensity's standard deviation below 0.02 at a load of 0.7
    /// (`tests/steadiness.rs`).
    pub const SECONDS: usize = 8;

    /// Looks back on the last `most` samples, at least one.
    pub fn new(most: usize) -> Self {
        let samples = VecDeque::with_capacity(most);
        Self { samples, most }
    }

    /// Takes in a sample and returns what stands: the least of the last ones.
    pub fn update(&mut self, sample: u64) -> u64 {
        if self.samples.len() == self.most {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.samples.iter().copied().min().unwrap_or(sample)
    }

    /// Forgets the samples: what comes next is not of a piece with them.
    pub fn clear(&mut self) {
        self.samples.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_queue_stands_if_it_is_there_all_the_time() {
        let mut queue = Standing::new(4);
        assert_eq!([9, 7, 8].map(|sample| queue.update(sample)), [9, 7, 7]);
        assert_eq!(
            [0, 6, 6, 6, 6].map(|sample| queue.update(sample)),
            [0, 0, 0, 0, 6]
        );
        queue.clear();
        assert_eq!(queue.update(3), 3);
    }
}
