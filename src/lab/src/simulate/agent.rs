//! The demand agents: what each says, honestly or not, and when it cries out.

use std::time::Duration;

use mbcas_core::Demand;
use mbcas_core::demand::{Ewma, HALF_LIFE_DOWN, queue_pressure};

use super::time::Nanos;

/// How often an agent looks at the queue.
pub const SAMPLING: Nanos = Nanos::millis(100);

/// Half-life of the filter behind a jump: long enough that one sample makes none.
const JUMP_FILTER: Duration = Duration::from_millis(200);

/// Filtered pressure from which on there can be a jump: a queue of eight.
const JUMP_LEVEL: f64 = 0.67;

/// How much it must have risen since the market last looked.
const JUMP_RISE: f64 = 0.3;

/// How an agent behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It reports what it sees.
    #[default]
    Honest,
    /// There is none.
    Absent,
    /// It always claims the utmost urgency.
    Shouts,
    /// It claims the utmost and nothing in turns, so that each claim looks like a jump.
    Toggles {
        /// How long each lasts.
        every: Duration,
    },
}

/// One pod's agent.
#[derive(Clone, Debug)]
pub struct Agent {
    manner: Manner,
    published: Ewma,
    filtered: Ewma,
    told: Ewma,
}

impl Agent {
    /// One that has seen nothing yet.
    pub fn new(manner: Manner) -> Self {
        Self {
            manner,
            published: Ewma::default(),
            filtered: Ewma::new(JUMP_FILTER, JUMP_FILTER),
            told: Ewma::new(Duration::ZERO, HALF_LIFE_DOWN),
        }
    }

    /// Looks at a queue of `waiting` requests, once every [`SAMPLING`].
    pub fn sample(&mut self, waiting: u64, now: Nanos) {
        let pressure = match self.manner {
            Manner::Absent => return,
            Manner::Honest => queue_pressure(waiting),
            Manner::Shouts => 1.0,
            Manner::Toggles { every } => {
                let turn = now.get() / Nanos::from(every).get().max(1);
                f64::from(u8::from(turn.is_multiple_of(2)))
            }
        };
        self.published.update(pressure, SAMPLING.into());
        let filtered = self.filtered.update(pressure, SAMPLING.into());
        // What was told is forgotten as slowly as a published value falls, so
        // that a queue which comes and goes is one jump and not many.
        let told = self.told.value();
        self.told.update(filtered.min(told), SAMPLING.into());
    }

    /// Whether demand is urgent now.
    pub fn is_urgent(&self) -> bool {
        self.filtered.value() >= JUMP_LEVEL
    }

    /// Whether demand has jumped since the market last looked.
    pub fn has_jumped(&self) -> bool {
        let filtered = self.filtered.value();
        self.is_urgent() && filtered >= self.told.value() + JUMP_RISE
    }

    /// What the market reads; a jump is over then. Nothing where there is no agent.
    pub fn read(&mut self) -> Option<Demand> {
        if self.manner == Manner::Absent {
            return None;
        }
        let (filtered, published) = (self.filtered.value(), self.published.value());
        // It rises at once.
        self.told
            .update(filtered.max(self.told.value()), SAMPLING.into());
        // A jump speaks for itself: the published value has only begun to follow it.
        let value = if filtered >= JUMP_LEVEL {
            published.max(filtered)
        } else {
            published
        };
        Demand::from_fraction(value.clamp(0.0, 1.0)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(agent: &mut Agent, waiting: u64, samples: u64) -> bool {
        for sample in 0..samples {
            agent.sample(waiting, SAMPLING.times(sample));
        }
        agent.has_jumped()
    }

    #[test]
    fn a_long_queue_is_a_jump_once() {
        let mut agent = Agent::new(Manner::Honest);
        assert!(!after(&mut agent, 7, 100), "a queue of seven is none");
        let mut agent = Agent::new(Manner::Honest);
        assert!(!after(&mut agent, 20, 1), "one sample is none");
        assert!(after(&mut agent, 20, 10));
        assert!(agent.read().unwrap().fraction() > 0.67);
        assert!(!after(&mut agent, 20, 100), "it was told");
        assert!(!after(&mut agent, 0, 100));
        assert!(after(&mut agent, 20, 10));
    }

    #[test]
    fn manners() {
        let mut absent = Agent::new(Manner::Absent);
        assert!(!after(&mut absent, 20, 100) && absent.read().is_none());
        let mut shouting = Agent::new(Manner::Shouts);
        assert!(after(&mut shouting, 0, 100));
        assert!(shouting.read().unwrap().fraction() > 0.99);
        let every = Duration::from_secs(1);
        let mut toggling = Agent::new(Manner::Toggles { every });
        assert!(after(&mut toggling, 0, 10));
        assert!(!after(&mut toggling, 0, 20));
    }
}
