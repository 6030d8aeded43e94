//! The budget of writes, one for the whole cluster.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mbcas_market::decision::Turn;
use tokio::sync::Mutex as Queue;
use tokio::time::{Instant, sleep_until};

/// A token bucket that everybody waits at in turn, and that the API server can stop.
#[derive(Debug)]
pub struct Pace {
    /// Who is first in it waits at the gate; the others wait behind him.
    queue: Queue<()>,
    /// Who is first at it looks at the bucket. Whoever is in a hurry comes here at once, and waits
    /// for one of the queue and no more.
    gate: Queue<()>,
    bucket: Mutex<Bucket>,
}

impl Pace {
    /// `per_second` writes per second, and `burst` at once after a calm. Both at least one.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self {
            queue: Queue::default(),
            gate: Queue::default(),
            bucket: Mutex::new(Bucket::new(per_second, burst, Instant::now())),
        }
    }

    /// Returns when it is the turn of one write of a `turn` of the loop: of an early one before those
    /// of a cycle. `false`, at once, if that will not be before `deadline`.
    pub(super) async fn turn(&self, turn: Turn, deadline: Instant) -> bool {
        let _behind = match turn {
            Turn::Cycle => Some(self.queue.lock().await),
            Turn::Early => None,
        };
        let _first = self.gate.lock().await;
        loop {
            let taken = self.bucket().take(Instant::now());
            match taken {
                Ok(()) => return true,
                Err(from) if from > deadline => return false,
                Err(from) => sleep_until(from).await,
            }
        }
    }

    /// How many writes can have their turn from now until `deadline`, if nobody else takes one.
    pub(super) fn affordable(&self, deadline: Instant) -> usize {
        self.bucket().affordable(Instant::now(), deadline)
    }

    /// Which part of the tokens was taken at most since this was asked last, from 0 to 1: at 1 a write had to wait.
    pub(super) fn used(&self) -> f64 {
        std::mem::take(&mut self.bucket().most_used)
    }

    /// The API server asks to `wait`: nobody writes before that, and up to a quarter longer,
    /// so that the replicas of several controllers do not come back together.
    pub(super) fn pause(&self, wait: Duration) {
        let longer = wait.mul_f64(0.25 * rand::random::<f64>());
        self.bucket().pause(Instant::now() + wait + longer);
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        // It is two instants, and replaced whole.
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bucket as the generic cell rate algorithm keeps it: by the moment at which it
/// would be full again (ITU-T I.371).
#[derive(Debug)]
struct Bucket {
    /// One token.
    every: Duration,
    /// All tokens but one.
    slack: Duration,
    full_at: Instant,
    paused_until: Instant,
    /// Which part of the tokens was taken at most.
    most_used: f64,
}

impl Bucket {
    fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let every = Duration::from_secs(1) / per_second.max(1);
        Self {
            every,
            slack: every * (burst.max(1) - 1),
            full_at: now,
            paused_until: now,
            most_used: 0.0,
        }
    }

    /// Takes one token, or says when there may be one.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let full_at = self.full_at.max(now);
        let from = full_at.checked_sub(self.slack).unwrap_or(now);
        let from = from.max(self.paused_until);
        if from > now {
            self.most_used = 1.0;
            return Err(from);
        }
        self.full_at = full_at + self.every;
        self.most_used = self.most_used.max(self.used(now));
        Ok(())
    }

    fn used(&self, now: Instant) -> f64 {
        let taken = self.full_at.saturating_duration_since(now);
        taken.div_duration_f64(self.slack + self.every).min(1.0)
    }

    /// How many tokens there are until `deadline`.
    fn affordable(&self, now: Instant, deadline: Instant) -> usize {
        let full_at = self.full_at.max(now);
        if self.paused_until > deadline || full_at > deadline + self.slack {
            return 0;
        }
        let more = (deadline + self.slack - full_at).as_nanos() / self.every.as_nanos().max(1);
        usize::try_from(more + 1).unwrap_or(usize::MAX)
    }

    /// Nothing before `until`, and no burst then: a server that was busy is given the plain rate.
    fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(until);
        self.full_at = self.full_at.max(self.paused_until + self.slack);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_used_at_most_is_told_once_as_a_part_of_the_burst() {
        let pace = Pace::new(20, 40);
        let now = Instant::now();
        let take = |count, now| (0..count).all(|_| pace.bucket().take(now).is_ok());
        let used = || (pace.used() * 1e6).round() / 1e6;
        assert_eq!(used().to_string(), "0");
        assert!(take(10, now));
        // What is free again since does not make it less.
        assert!(take(1, now + Duration::from_secs(9)));
        assert_eq!((used(), used()), (0.25, 0.0));
        assert!(!take(41, now + Duration::from_secs(20)));
        assert_eq!(used().to_string(), "1");
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_burst_and_the_rate(
            per_second in 1u32..50,
            burst in 1u32..60,
            steps in proptest::collection::vec((0u64..400, 0u64..40), 1..300),
        ) {
            let zero = Instant::now();
            let (mut now, mut paused) = (zero, zero);
            let mut bucket = Bucket::new(per_second, burst, now);
            let mut taken: Vec<Instant> = Vec::new();
            for (millis, pause) in steps {
                now += Duration::from_millis(millis);
                if pause == 0 {
                    paused = paused.max(now + Duration::from_secs(1));
                    bucket.pause(now + Duration::from_secs(1));
                }
                // As many as there are, and then the moment that it names is the right one.
                loop {
                    match bucket.take(now) {
                        Ok(()) => taken.push(now),
                        Err(from) => {
                            prop_assert!(from > now);
                            break;
                        }
                    }
                    prop_assert!(now >= paused);
                }
            }
            for (index, first) in taken.iter().enumerate() {
                for (count, last) in (1u32..).zip(&taken[index..]) {
                    let seconds = (*last - *first).as_secs_f64();
                    let most = f64::from(burst) + f64::from(per_second) * seconds;
                    prop_assert!(f64::from(count) <= most + 1e-3, "{count} in {seconds} s");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_calm_bucket_gives_its_burst_and_then_its_rate() {
        let pace = Pace::new(20, 40);
        let begun = Instant::now();
        assert_eq!(pace.affordable(begun + Duration::from_secs(3)), 100);
        for _ in 0..100 {
            assert!(pace.turn(Turn::Cycle, begun + Duration::from_mins(1)).await);
        }
        assert_eq!(begun.elapsed().as_millis(), 3000);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_cannot_have_a_turn_in_time_is_told_at_once() {
        let pace = Pace::new(1, 1);
        let begun = Instant::now();
        let deadline = begun + Duration::from_secs(3);
        assert_eq!(pace.affordable(deadline), 4);
        for expected in [true, true, true, true, false, false] {
            assert_eq!(pace.turn(Turn::Cycle, deadline).await, expected);
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        assert_eq!(pace.affordable(deadline), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_in_a_hurry_waits_for_one_of_the_queue() {
        let pace = Pace::new(10, 1);
        let begun = Instant::now();
        let deadline = begun + Duration::from_mins(1);
        let all = futures::future::join_all((0..100).map(|_| pace.turn(Turn::Cycle, deadline)));
        let hurried = async {
            tokio::time::sleep(Duration::from_millis(450)).await;
            assert!(pace.turn(Turn::Early, deadline).await);
            begun.elapsed()
        };
        let (all, hurried) = tokio::join!(all, hurried);
        assert!(all.into_iter().all(|had| had));
        assert!(hurried <= Duration::from_millis(600), "{hurried:?}");
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_those_who_wait_already_and_ends_without_a_burst() {
        let pace = Pace::new(10, 10);
        let begun = Instant::now();
        let deadline = begun + Duration::from_mins(1);
        for _ in 0..10 {
            assert!(pace.turn(Turn::Cycle, deadline).await);
        }
        let waiting = pace.turn(Turn::Cycle, deadline);
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            pace.pause(Duration::from_secs(8));
        };
        assert!(tokio::join!(waiting, stopping).0);
        let (after, resumed) = (begun.elapsed(), Instant::now());
        assert!((8.0..=10.1).contains(&after.as_secs_f64()), "{after:?}");
        for _ in 0..10 {
            assert!(pace.turn(Turn::Cycle, deadline).await);
        }
        assert_eq!(resumed.elapsed().as_millis(), 1000);
    }
}
