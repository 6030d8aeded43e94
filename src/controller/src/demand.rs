//! Reading demand: from every agent that can be asked, or from Prometheus about all of them, and a
//! safe default for the rest.
//!
//! Unreachable agents are normal (a default-deny NetworkPolicy, a strict mesh,
//! an agent that was killed): such a container takes part with what was last
//! known, which fades to [`Demand::NEUTRAL`] over three cycles. Never nothing,
//! and never an outage: the whole phase is bounded, whatever agents do.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use mbcas_core::ContainerId;
use mbcas_core::units::Demand;
use tokio::time::Instant;

use crate::monitoring::Monitoring;
use crate::report::{PullError, Word, pull};

/// How many agents are asked at once.
const AT_ONCE: usize = 64;
/// How long the whole phase may take.
const PHASE: Duration = Duration::from_secs(3);
/// How many cycles the last known demand takes to fade.
const FADE: u64 = 3;
/// The longest pause before an agent that does not answer is asked again.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// What is remembered of one agent.
#[derive(Clone, Debug)]
struct Memory {
    last: Word,
    missed: u64,
    ask_after: Instant,
}

/// Where demand comes from.
#[derive(Default)]
pub enum Source {
    /// From the agents themselves.
    #[default]
    Agents,
    /// From Prometheus, which scrapes them.
    Prometheus(Monitoring),
}

impl Source {
    /// Whether a jump can be heard of between two cycles.
    pub const fn hears_jumps(&self) -> bool {
        matches!(self, Self::Agents)
    }
}

/// Every agent's last word.
#[derive(Default)]
pub struct Demands {
    source: Source,
    memory: BTreeMap<ContainerId, Memory>,
}

/// What came of asking, for those who were.
type Answers = BTreeMap<ContainerId, Result<Word, PullError>>;

/// What one demand phase brought.
#[derive(Debug, Default)]
pub struct Readings {
    /// What to count with, for every container that was asked about.
    pub words: BTreeMap<ContainerId, Word>,
    /// How many agents answered.
    pub answered: usize,
    /// How many did not, by reason.
    pub failed: BTreeMap<&'static str, u64>,
}

impl Demands {
    /// Demand from this `source`; nobody has said anything yet.
    pub const fn from(source: Source) -> Self {
        Self {
            source,
            memory: BTreeMap::new(),
        }
    }

    /// Asks for the demand of everybody in `addresses`, of whom those with an address have an
    /// agent there, and returns one for each of them. Those not named are forgotten.
    pub async fn read(
        &mut self,
        addresses: &BTreeMap<ContainerId, Option<IpAddr>>,
        cycle: Duration,
    ) -> Readings {
        self.memory.retain(|id, _| addresses.contains_key(id));
        let answers = match &self.source {
            Source::Agents => self.pulled(addresses).await,
            Source::Prometheus(monitoring) => looked_up(monitoring, addresses).await,
        };
        self.take(addresses, answers, cycle)
    }

    /// The answers of those agents that may be asked now.
    async fn pulled(&self, addresses: &BTreeMap<ContainerId, Option<IpAddr>>) -> Answers {
        let now = Instant::now();
        let due = addresses.iter().filter_map(|(id, address)| {
            let waits = self
                .memory
                .get(id)
                .is_some_and(|memory| now < memory.ask_after);
            address
                .filter(|_| !waits)
                .map(|address| (id.clone(), address))
        });
        let due: Vec<_> = due.collect();
        let mut answers = Answers::new();
        let mut asking = futures::stream::iter(due.iter().cloned())
            .map(|(id, address)| async move { (pull(address, &id).await, id) })
            .buffer_unordered(AT_ONCE);
        while let Ok(Some((answer, id))) = tokio::time::timeout_at(now + PHASE, asking.next()).await
        {
            answers.insert(id, answer);
        }
        drop(asking);
        for (id, _) in due {
            answers.entry(id).or_insert(Err(PullError::Timeout));
        }
        answers
    }

    fn take(
        &mut self,
        addresses: &BTreeMap<ContainerId, Option<IpAddr>>,
        mut answers: Answers,
        cycle: Duration,
    ) -> Readings {
        let now = Instant::now();
        let mut readings = Readings::default();
        for id in addresses.keys() {
            let fresh = Memory {
                last: Word::NEUTRAL,
                missed: 0,
                ask_after: now,
            };
            let memory = self.memory.entry(id.clone()).or_insert(fresh);
            match answers.remove(id) {
                Some(Ok(word)) => {
                    *memory = Memory {
                        last: word,
                        missed: 0,
                        ask_after: now,
                    };
                    readings.answered += 1;
                }
                Some(Err(error)) => {
                    *readings.failed.entry(error.reason()).or_default() += 1;
                    if memory.missed == 0 {
                        tracing::info!(container = %id, %error, "An agent does not answer; its demand fades to neutral");
                    }
                    memory.missed = memory.missed.saturating_add(1);
                    memory.ask_after = now + pause(memory.missed, cycle);
                }
                None => memory.missed = memory.missed.saturating_add(1),
            }
            readings
                .words
                .insert(id.clone(), faded(memory.last, memory.missed));
        }
        readings
    }
}

/// What Prometheus says about everybody in `addresses`. One without an agent may export its demand itself.
async fn looked_up(
    monitoring: &Monitoring,
    addresses: &BTreeMap<ContainerId, Option<IpAddr>>,
) -> Answers {
    let series = monitoring.series().await;
    if let Err(error) = &series {
        tracing::warn!(%error, "No demand from Prometheus; it fades to neutral");
    }
    let answers = addresses.iter().filter_map(|(id, address)| {
        let said = series.as_ref().ok().and_then(|series| series.demand(id));
        let missing = || match series {
            Ok(_) => PullError::NoSeries,
            Err(_) => PullError::NotAsked,
        };
        let answer = said.map(Word::of).ok_or_else(missing);
        // Of one without an agent nothing is expected.
        (answer.is_ok() || address.is_some()).then(|| (id.clone(), answer))
    });
    answers.collect()
}

impl Readings {
    /// How many agents gave no demand.
    pub fn missing(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// `last`, its demand moved towards neutral by a third for every missed cycle. What was measured is as
/// good as the cycle that it came in.
fn faded(last: Word, missed: u64) -> Word {
    let left = FADE.saturating_sub(missed);
    let mixed =
        (last.demand.basis_points() * left + Demand::NEUTRAL.basis_points() * (FADE - left)) / FADE;
    Word {
        demand: Demand::from_basis_points(mixed),
        measured: last.measured.filter(|_| missed == 0),
    }
}

/// No pause for the first three misses, then twice as long each time.
fn pause(missed: u64, cycle: Duration) -> Duration {
    if missed <= FADE {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(missed - FADE).unwrap_or(u32::MAX).min(10);
    (cycle * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
