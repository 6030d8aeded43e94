//! Requests that wait, as a pressure.

use std::collections::VecDeque;
use std::time::Duration;

/// Waiting requests at which the urgency is one half.
///
/// From the simulated loop: with `d = q / (q + 4)` the spread of `d` stays
/// below 0.01 up to a load of 0.7 and reaches 2/3 at a queue of eight.
pub const QUEUE_HALF: f64 = 4.0;

/// Urgency of `waiting` queued requests: `q / (q + 4)`, from 0 towards 1.
///
/// ```
/// use mbcas_core::demand::queue_pressure;
/// assert_eq!(queue_pressure(0), 0.0);
/// assert_eq!(queue_pressure(4), 0.5);
/// assert!(queue_pressure(1_000) < 1.0);
/// ```
#[allow(clippy::cast_precision_loss)] // a queue of 2^52 is not a queue
pub fn queue_pressure(waiting: u64) -> f64 {
    let q = waiting as f64;
    q / (q + QUEUE_HALF)
}

/// What counts of a queue that is looked at now and then.
///
/// A queue jumps about under a steady load. What stands in it for most of the time is the load's own: a
/// queue is a bad one if it does not empty for some time (Nichols and Jacobson, "Controlling Queue Delay", 2012, who take
/// the minimum; it hears a load of nine tenths half as well). So the least of the last looks counts, but for a
/// quarter of those that there are beyond eight. A queue that is long twice within a moment is
/// believed at once: a steady load that can be served hardly ever makes such a one.
///
/// ```
/// use std::time::Duration;
/// use mbcas_core::demand::StandingQueue;
/// let tenth = Duration::from_millis(100);
/// let mut queue = StandingQueue::new();
/// assert_eq!([9, 7, 8].map(|waiting| queue.update(waiting, tenth)), [9, 7, 7]);
/// assert_eq!([90, 80, 9].map(|waiting| queue.update(waiting, tenth)), [7, 80, 7]);
/// ```
#[derive(Clone, Debug)]
pub struct StandingQueue {
    /// What waited, and how long after the look before it.
    looks: VecDeque<(u64, Duration)>,
    /// From the oldest look to the newest.
    span: Duration,
}

impl StandingQueue {
    /// It looks back at least so far: under a steady load of seven tenths the intensity's standard
    /// deviation is at most 0.02 (for which services, `tests/steadiness.rs` of the agent says), where what waits
    /// now makes it 0.03 to 0.09, and five seconds up to 0.04.
    pub const SPAN: Duration = Duration::from_secs(8);

    /// and at least on so many looks, where they are a second or more apart. Of these the least counts.
    pub const LOOKS: usize = 8;

    /// So many that wait in two looks running are a jump, and count,
    pub const JUMP: u64 = 24;

    /// where the looks are no further apart than this.
    pub const MOMENT: Duration = Duration::from_millis(350);

    /// Room for ten looks a second.
    const ROOM: usize = 82;

    /// One that was not looked at yet.
    pub fn new() -> Self {
        Self {
            looks: VecDeque::with_capacity(Self::ROOM),
            span: Duration::ZERO,
        }
    }

    /// Takes in that `waiting` requests stand in it, `elapsed` after the last look, and returns how many count.
    /// Allocates nothing.
    pub fn update(&mut self, waiting: u64, elapsed: Duration) -> u64 {
        let before = self.looks.back().filter(|_| elapsed <= Self::MOMENT);
        let twice = before.map_or(0, |(before, _)| waiting.min(*before));
        self.looks.push_back((waiting, elapsed));
        if self.looks.len() > 1 {
            self.span = self.span.saturating_add(elapsed);
        }
        self.forget();
        let jumped = if twice >= Self::JUMP { twice } else { 0 };
        self.standing().max(jumped)
    }

    /// What stood in it, or more, in all looks but for some.
    fn standing(&self) -> u64 {
        let mut all = [0; Self::ROOM];
        let count = self.looks.len().min(all.len());
        for (place, (waiting, _)) in all.iter_mut().zip(&self.looks) {
            *place = *waiting;
        }
        let all = &mut all[..count];
        let (_, standing, _) = all.select_nth_unstable(count.saturating_sub(Self::LOOKS) / 4);
        *standing
    }

    /// Forgets the looks: what comes next is not of a piece with them.
    pub fn clear(&mut self) {
        self.looks.clear();
        self.span = Duration::ZERO;
    }

    /// Forgets the oldest looks, as long as those that are left go back far enough.
    fn forget(&mut self) {
        while let Some((_, elapsed)) = self.looks.get(1) {
            let left = self.span.saturating_sub(*elapsed);
            let is_enough = self.looks.len() > Self::LOOKS && left >= Self::SPAN;
            if !is_enough && self.looks.len() < Self::ROOM {
                return;
            }
            self.span = left;
            self.looks.pop_front();
        }
    }
}

impl Default for StandingQueue {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn what_stood_in_four_of_five_looks_of_eight_seconds_counts() {
        let mut queue = StandingQueue::new();
        let mut feed = |waiting, times| {
            let counts = (0..times).map(|_| queue.update(waiting, TENTH));
            counts.collect::<Vec<_>>()
        };
        assert!(feed(0, 81).iter().all(|counts| *counts == 0));
        let risen = feed(9, 81);
        assert_eq!(risen.iter().filter(|counts| **counts == 0).count(), 62);
        assert_eq!((risen[61], risen[62]), (0, 9));
        let fallen = feed(0, 81);
        assert_eq!((fallen[17], fallen[18]), (9, 0));
    }

    #[test]
    fn what_counts_of_a_queue_that_drains_never_rises() {
        let mut queue = StandingQueue::new();
        assert!((0..81).all(|_| queue.update(100, TENTH) == 100));
        let drained = (0..60_u64).map(|look| queue.update(60_u64.saturating_sub(9 * look), TENTH));
        let drained: Vec<_> = drained.collect();
        assert!(drained.is_sorted_by(|a, b| a >= b), "{drained:?}");
        assert_eq!(drained[25], 0, "{drained:?}");
    }

    #[test]
    fn eight_looks_at_least_are_remembered_however_far_apart() {
        let mut queue = StandingQueue::new();
        let minute = Duration::from_mins(1);
        assert_eq!([0, 0].map(|q| queue.update(q, minute)), [0, 0]);
        let risen = [9; 8].map(|q| queue.update(q, minute));
        assert_eq!(risen, [0, 0, 0, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn a_long_queue_counts_at_its_second_look_and_what_was_forgotten_does_not() {
        let mut queue = StandingQueue::new();
        queue.update(0, TENTH);
        assert_eq!([24, 30, 23].map(|q| queue.update(q, TENTH)), [0, 24, 0]);
        let second = Duration::from_secs(1);
        assert_eq!([90, 90].map(|q| queue.update(q, second)), [0, 0]);
        queue.clear();
        assert_eq!([9, 5].map(|q| queue.update(q, TENTH)), [9, 5]);
    }

    proptest! {
        #[test]
        fn what_counts_was_seen_and_the_room_is_enough(
            looks in prop::collection::vec((0u64..100, any::<Duration>()), 1..200)
        ) {
            let mut queue = StandingQueue::new();
            let room = queue.looks.capacity();
            for (at, (waiting, elapsed)) in looks.iter().enumerate() {
                let counts = queue.update(*waiting, *elapsed);
                prop_assert!(looks[..=at].iter().any(|(seen, _)| *seen == counts));
            }
            prop_assert_eq!(queue.looks.capacity(), room);
        }
    }
}
