//! What the application says of itself, from one question to the next.

use std::time::{Duration, Instant};

use mbcas_core::annotations::{AppMetrics, Slo};
use mbcas_core::demand::{latency_pressure, queue_pressure};

use crate::app::{Answer, AppError, Latency, Questions};
use crate::board::{Board, Watch};
use crate::latency::Percentile;
use crate::mean::{Mean, Standing};
use crate::signal::{Pressures, Source};

/// The least time between two questions.
pub const ASK_EVERY: Duration = Duration::from_secs(1);

/// The longest pause that failures make.
const PAUSE_MOST: Duration = Duration::from_secs(8);

/// A pause of so many times what the last question cost keeps the share of a core below 0.1 %.
const PAUSE_PER_COST: u32 = 1_000;

/// The longest pause for what a question costs: what was said before the oldest report that is taken
/// says nothing any more.
const PAUSE_OF_COST: Duration = Duration::from_secs(30);

/// After so many questions in vain, one after the other, what was said before counts no more,
const VAIN: u32 = 3;

/// nor if it was said so long ago.
const STALE: Duration = Duration::from_mins(1);

/// Asks, and keeps what counts of the answers.
#[derive(Debug)]
pub struct Application<'a> {
    questions: Questions<'a>,
    queue: Option<Queue>,
    latency: Option<Took>,
    /// What the last question cost.
    cost: Duration,
    /// Questions without any use, one after the other.
    vain: u32,
}

impl<'a> Application<'a> {
    /// Has not asked yet.
    pub fn new(source: &'a AppMetrics, board: &'a Board) -> Self {
        let queue = || Queue::new(Watch::new(Source::AppQueue, board));
        let took = || Took::new(board.config.slo, Watch::new(Source::AppLatency, board));
        Self {
            questions: Questions::new(source, board),
            queue: source.queue.is_some().then(queue),
            latency: source.latency.is_some().then(took),
            cost: Duration::ZERO,
            vain: 0,
        }
    }

    /// Asks once, and returns the pressures as of now.
    pub async fn pressures(&mut self) -> Pressures {
        let (outcome, cost) = self.questions.ask().await;
        self.cost = cost;
        let answer = match outcome {
            Ok(answer) => answer,
            // The whole answer's failure is noted once, where it is looked for first.
            Err(why) if self.queue.is_some() => Answer {
                queue: Some(Err(why)),
                latency: None,
            },
            Err(why) => Answer {
                queue: None,
                latency: Some(Err(why)),
            },
        };
        let is_of_use =
            matches!(&answer.queue, Some(Ok(_))) || matches!(&answer.latency, Some(Ok(_)));
        self.vain = if is_of_use {
            0
        } else {
            self.vain.saturating_add(1)
        };
        let now = Instant::now();
        let queue = self.queue.as_mut();
        let latency = self.latency.as_mut();
        Pressures::default()
            .with(
                Source::AppQueue,
                queue.and_then(|queue| queue.take(answer.queue, now)),
            )
            .with(
                Source::AppLatency,
                latency.and_then(|latency| latency.take(answer.latency, now)),
            )
    }

    /// The time from one question to the next: longer where the last one was dear, or in vain.
    pub fn pause(&self) -> Duration {
        let vain = 1_u32
            .checked_shl(self.vain.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let failures = ASK_EVERY.saturating_mul(vain).min(PAUSE_MOST);
        let cost = self.cost.saturating_mul(PAUSE_PER_COST);
        failures.max(cost.min(PAUSE_OF_COST))
    }
}

/// Tells chance from the end of a signal.
#[derive(Debug, Default)]
struct Patience {
    vain: u32,
    last: Option<Instant>,
}

impl Patience {
    /// Whether what is said now counts: something, or nothing for the last time in a row. Otherwise what was said before does.
    fn is_over(&mut self, is_known: bool, now: Instant) -> bool {
        if is_known {
            *self = Self {
                vain: 0,
                last: Some(now),
            };
            return true;
        }
        self.vain = self.vain.saturating_add(1);
        let is_old = |at| now.saturating_duration_since(at) >= STALE;
        self.vain >= VAIN || self.last.is_none_or(is_old)
    }
}

/// Requests that wait.
#[derive(Debug)]
struct Queue {
    watch: Watch<AppError>,
    patience: Patience,
    standing: Standing,
    pressure: Option<f64>,
}

impl Queue {
    fn new(watch: Watch<AppError>) -> Self {
        Self {
            watch,
            patience: Patience::default(),
            standing: Standing::default(),
            pressure: None,
        }
    }

    /// The pressure after an answer.
    fn take(&mut self, said: Option<Result<u64, AppError>>, now: Instant) -> Option<f64> {
        let waiting = said.and_then(|said| self.watch.note(said));
        if self.patience.is_over(waiting.is_some(), now) {
            self.pressure = self.standing.update(waiting, now).map(queue_pressure);
        }
        self.pressure
    }
}

/// How long requests take.
#[derive(Debug)]
struct Took {
    slo: Option<Duration>,
    watch: Watch<AppError>,
    patience: Patience,
    percentile: Percentile,
    mean: Mean,
    /// When the mean was taken.
    last: Option<Instant>,
    pressure: Option<f64>,
}

impl Took {
    fn new(slo: Option<Slo>, watch: Watch<AppError>) -> Self {
        Self {
            slo: slo.map(Slo::as_duration),
            watch,
            patience: Patience::default(),
            percentile: Percentile::new(),
            mean: Mean::default(),
            last: None,
            pressure: None,
        }
    }

    /// The pressure after an answer.
    fn take(&mut self, said: Option<Result<Latency, AppError>>, now: Instant) -> Option<f64> {
        let latency = said.and_then(|said| self.watch.note(said));
        if !self.patience.is_over(latency.is_some(), now) {
            return self.pressure;
        }
        let seconds = match latency {
            Some(Latency::Seconds(seconds)) => Some(seconds),
            Some(Latency::Histogram(all)) => self.percentile.update(all, now),
            None => {
                self.percentile.forget();
                None
            }
        };
        let last = self.last.replace(now).unwrap_or(now);
        let elapsed = now.saturating_duration_since(last);
        self.pressure = self.slo.zip(seconds).map(|(slo, seconds)| {
            let pressure = latency_pressure(seconds, slo.as_secs_f64());
            self.mean.update(pressure, elapsed)
        });
        if self.pressure.is_none() {
            self.mean = Mean::default();
        }
        self.pressure
    }
}

#[cfg(test)]
mod tests;
