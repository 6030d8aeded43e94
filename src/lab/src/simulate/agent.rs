//! The demand agents: what each says, honestly or not.

use std::time::Duration;

use mbcas_core::Demand;
use mbcas_core::demand::{Ewma, StandingQueue, queue_pressure};

use super::time::Nanos;

/// How often an agent looks at the queue. The real one looks four times a second, and once more to believe a jump.
pub const SAMPLING: Nanos = Nanos::millis(100);

/// How an agent behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It reports what it sees.
    #[default]
    Honest,
    /// There is none.
    Absent,
    /// It sees nothing wait, because the application takes every request at once and keeps it waiting itself.
    Content,
    /// It always claims the utmost urgency.
    Shouts,
    /// It claims the utmost and nothing in turns, so that each claim looks like a jump.
    Toggles {
        /// How long each lasts.
        every: Duration,
    },
}

/// One pod's agent: the contract's average of the queue's pressure, and nothing else.
#[derive(Clone, Debug)]
pub struct Agent {
    manner: Manner,
    queue: StandingQueue,
    published: Ewma,
    demand: Option<Demand>,
}

impl Agent {
    /// One that has seen nothing yet.
    pub fn new(manner: Manner) -> Self {
        Self {
            manner,
            queue: StandingQueue::new(),
            published: Ewma::default(),
            demand: None,
        }
    }

    /// Looks at a queue of `waiting` requests, once every [`SAMPLING`]; none where nothing listens.
    pub fn sample(&mut self, waiting: Option<u64>, now: Nanos) {
        let pressure = match self.manner {
            Manner::Absent => None,
            Manner::Honest => {
                waiting.map(|waiting| queue_pressure(self.queue.update(waiting, SAMPLING.into())))
            }
            Manner::Content => waiting.map(|_| 0.0),
            Manner::Shouts => Some(1.0),
            Manner::Toggles { every } => {
                let turn = now.get() / Nanos::from(every).get().max(1);
                Some(f64::from(u8::from(turn.is_multiple_of(2))))
            }
        };
        let published = pressure.map(|pressure| self.published.update(pressure, SAMPLING.into()));
        self.demand = published.and_then(|value| Demand::from_fraction(value.clamp(0.0, 1.0)).ok());
    }

    /// What it says. Nothing where there is no agent, or where it sees nothing that tells.
    pub fn demand(&self) -> Option<Demand> {
        self.demand
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(agent: &mut Agent, waiting: Option<u64>, samples: u64) -> Option<f64> {
        for sample in 0..samples {
            agent.sample(waiting, SAMPLING.times(sample));
        }
        agent.demand().map(Demand::fraction)
    }

    #[test]
    fn a_long_queue_is_urgent_within_seconds_and_forgotten_slowly() {
        let mut agent = Agent::new(Manner::Honest);
        assert!(after(&mut agent, Some(7), 100) < Some(0.67), "seven");
        let mut agent = Agent::new(Manner::Honest);
        assert!(after(&mut agent, Some(20), 1) < Some(0.1), "one sample");
        assert!(after(&mut agent, Some(20), 30) > Some(0.67));
        assert!(after(&mut agent, Some(0), 30) > Some(0.5));
        assert!(after(&mut agent, Some(0), 600) < Some(0.02));
    }

    #[test]
    fn manners() {
        assert_eq!(after(&mut Agent::new(Manner::Absent), Some(20), 100), None);
        let content = after(&mut Agent::new(Manner::Content), Some(20), 100);
        assert_eq!(content, Some(0.0));
        assert_eq!(after(&mut Agent::new(Manner::Honest), None, 100), None);
        assert!(after(&mut Agent::new(Manner::Shouts), None, 100) > Some(0.99));
        let every = Duration::from_secs(3);
        let mut toggling = Agent::new(Manner::Toggles { every });
        assert!(after(&mut toggling, Some(0), 30) > Some(0.8));
        assert!(after(&mut toggling, Some(0), 60) < Some(0.8));
    }
}
