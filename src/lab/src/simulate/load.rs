//! What is asked of a service: how much work, when, in which pieces.

use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::time::Nanos;

/// Work offered over time, in cores.
#[derive(Clone, Debug)]
pub enum Load {
    /// Always the same.
    Steady(f64),
    /// One amount until `at`, another from then on.
    Step {
        /// Until then.
        before: f64,
        /// From then on.
        after: f64,
        /// When.
        at: Duration,
    },
    /// From one amount to another in a straight line.
    Ramp {
        /// Until `begin`.
        from: f64,
        /// From `end` on.
        to: f64,
        /// Where the line begins.
        begin: Duration,
        /// Where it ends.
        end: Duration,
    },
    /// `busy` for `length`, then `calm`, every `every` again.
    Bursts {
        /// Between bursts.
        calm: f64,
        /// In bursts.
        busy: f64,
        /// From one burst to the next.
        every: Duration,
        /// How long a burst lasts.
        length: Duration,
    },
    /// Nothing between `from` and `until`.
    Silence {
        /// Outside of it.
        load: f64,
        /// Where it begins.
        from: Duration,
        /// Where it ends.
        until: Duration,
    },
    /// Shaped like a trace of mean one, one value per second, again and again.
    Trace {
        /// The mean.
        mean: f64,
        /// The shape.
        shape: Arc<[f64]>,
        /// Where in the shape the simulation begins.
        offset: usize,
    },
}

impl Load {
    /// Cores of work offered during the second that begins at `second`.
    pub fn during(&self, second: f64) -> f64 {
        match *self {
            Self::Steady(load) => load,
            Self::Step { before, after, at } => {
                if second < at.as_secs_f64() {
                    before
                } else {
                    after
                }
            }
            Self::Ramp {
                from,
                to,
                begin,
                end,
            } => {
                let length = (end.saturating_sub(begin)).as_secs_f64().max(1.0);
                let part = ((second - begin.as_secs_f64()) / length).clamp(0.0, 1.0);
                from + (to - from) * part
            }
            Self::Bursts {
                calm,
                busy,
                every,
                length,
            } => {
                if second % every.as_secs_f64().max(1.0) < length.as_secs_f64() {
                    busy
                } else {
                    calm
                }
            }
            Self::Silence { load, from, until } => {
                if (from.as_secs_f64()..until.as_secs_f64()).contains(&second) {
                    0.0
                } else {
                    load
                }
            }
            Self::Trace {
                mean,
                ref shape,
                offset,
            } => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                // hours, not negative
                let index = (second as usize + offset).checked_rem(shape.len());
                index.and_then(|i| shape.get(i)).map_or(0.0, |v| v * mean)
            }
        }
    }
}

/// CPU time that one request costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cost {
    /// Always the same.
    Fixed(Nanos),
    /// Exponentially distributed around this mean.
    Exponential(Nanos),
}

impl Cost {
    fn mean(self) -> Nanos {
        let (Self::Fixed(mean) | Self::Exponential(mean)) = self;
        mean
    }
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it came.
    pub arrived: Nanos,
    /// CPU time that it still needs.
    pub left: Nanos,
}

/// Open-loop Poisson arrivals: their moments and costs depend on the seed and
/// on nothing that the node does, so that every governor sees the same ones.
#[derive(Clone, Debug)]
pub struct Arrivals {
    load: Load,
    cost: Cost,
    end: f64,
    at: f64,
    random: ChaCha8Rng,
    recorded: Option<std::vec::IntoIter<Request>>,
    next: Option<Request>,
}

impl Arrivals {
    /// Arrivals from zero until `end`.
    pub fn new(load: Load, cost: Cost, end: Nanos, seed: u64) -> Self {
        let mut arrivals = Self {
            load,
            cost,
            end: end.seconds(),
            at: 0.0,
            random: ChaCha8Rng::seed_from_u64(seed),
            recorded: None,
            next: None,
        };
        arrivals.next = arrivals.draw();
        arrivals
    }

    /// These requests and no others; they must be in order of arrival.
    pub fn recorded(requests: Vec<Request>) -> Self {
        let nothing = (Load::Steady(0.0), Cost::Fixed(Nanos::STEP));
        let mut recorded = requests.into_iter();
        Self {
            next: recorded.next(),
            recorded: Some(recorded),
            ..Self::new(nothing.0, nothing.1, Nanos::ZERO, 0)
        }
    }

    /// The next request, where it comes before `until`.
    pub fn before(&mut self, until: Nanos) -> Option<Request> {
        let request = self.next.filter(|request| request.arrived < until)?;
        self.next = self.draw();
        Some(request)
    }

    /// Whether one comes before `until`.
    pub fn is_due(&self, until: Nanos) -> bool {
        self.next.is_some_and(|request| request.arrived < until)
    }

    fn draw(&mut self) -> Option<Request> {
        if let Some(recorded) = &mut self.recorded {
            return recorded.next();
        }
        let mut due = self.exponential();
        loop {
            let second = self.at.floor();
            if second >= self.end {
                return None;
            }
            let rate = self.load.during(second) / self.cost.mean().seconds().max(1e-9);
            let room = rate * (second + 1.0 - self.at);
            if due < room {
                self.at += due / rate;
                break;
            }
            due -= room;
            self.at = second + 1.0;
        }
        let left = match self.cost {
            Cost::Fixed(time) => time,
            Cost::Exponential(mean) => Nanos::from_seconds(mean.seconds() * self.exponential()),
        };
        let left = left.max(Nanos::new(1));
        let arrived = Nanos::from_seconds(self.at);
        (arrived.seconds() < self.end).then_some(Request { arrived, left })
    }

    /// Exponential with mean one.
    fn exponential(&mut self) -> f64 {
        -(1.0 - self.random.random::<f64>()).ln()
    }
}

#[cfg(test)]
mod tests;
