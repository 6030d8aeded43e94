//! Reading demand: from every agent that can be asked, or from Prometheus about all of them, and a
//! safe default for the rest.
//!
//! Unreachable agents are normal (a default-deny NetworkPolicy, a strict mesh,
//! an agent that was killed): such a container takes part with what was last
//! known, which fades to [`Demand::NEUTRAL`] over three cycles. Never nothing,
//! and never an outage: the whole phase is bounded, whatever agents do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use mbcas_core::ContainerId;
use mbcas_core::units::Demand;
use tokio::time::Instant;

use crate::monitoring::Monitoring;
use crate::report::{PullError, Word, pull};

/// How many agents are asked at once: of those that do not answer, which take [`crate::report::DEADLINE`] each, 1,500
/// have their turn in one phase.
const AT_ONCE: usize = 256;
/// How long the whole phase may take: a fifth of a cycle.
const PHASE: Duration = Duration::from_secs(3);
/// How many cycles the last known demand takes to fade.
const FADE: u64 = 3;
/// The longest pause before an agent that does not answer is asked again.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// What is remembered of one agent.
#[derive(Clone, Copy, Debug)]
struct Memory {
    last: Word,
    /// When that was said.
    said: Instant,
    /// Cycles since then.
    missed: u64,
    /// Questions since then that it did not answer.
    failed: u64,
    /// When the last question came to an end.
    asked: Option<Instant>,
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
    /// Those with an agent that has not answered in this cycle.
    pub silent: BTreeSet<ContainerId>,
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

    /// The answers of those agents that may be asked now, as far as there is time. A part of the cluster that
    /// is cut off takes none from the rest: first those that answered the last time, and of each kind first those
    /// that were asked longest ago.
    async fn pulled(&self, addresses: &BTreeMap<ContainerId, Option<IpAddr>>) -> Answers {
        let now = Instant::now();
        let due = addresses.iter().filter_map(|(id, address)| {
            let memory = self.memory.get(id);
            let order = memory.map(|memory| (memory.failed > 0, memory.asked));
            let may = memory.is_none_or(|memory| now >= memory.ask_after);
            address
                .filter(|_| may)
                .map(|address| (order, id.clone(), address))
        });
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(order, ..)| *order);
        let mut answers: Answers = due
            .iter()
            .map(|(_, id, _)| (id.clone(), Err(PullError::NoTime)))
            .collect();
        let mut asking = futures::stream::iter(due)
            .map(|(_, id, address)| async move { (pull(address, &id).await, id) })
            .buffer_unordered(AT_ONCE);
        while let Ok(Some((answer, id))) = tokio::time::timeout_at(now + PHASE, asking.next()).await
        {
            answers.insert(id, answer);
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
        for (id, address) in addresses {
            let known = self.memory.entry(id.clone());
            let memory = known.or_insert_with(|| Memory::of(Word::NEUTRAL, now));
            match answers.remove(id) {
                Some(Ok(word)) => {
                    *memory = Memory::of(word, now);
                    memory.asked = Some(now);
                    readings.answered += 1;
                }
                answer => {
                    memory.misses(now, cycle);
                    if address.is_some() {
                        readings.silent.insert(id.clone());
                    }
                    if let Some(Err(error)) = answer {
                        *readings.failed.entry(error.reason()).or_default() += 1;
                        memory.fails(id, &error, now, cycle);
                    }
                }
            }
            readings.words.insert(id.clone(), memory.faded());
        }
        readings
    }
}

impl Memory {
    fn of(last: Word, said: Instant) -> Self {
        Self {
            last,
            said,
            missed: 0,
            failed: 0,
            asked: None,
            ask_after: said,
        }
    }

    /// Without a word in this cycle. Whoever did not lead for an hour has missed the cycles of an hour.
    fn misses(&mut self, now: Instant, cycle: Duration) {
        let past = now.saturating_duration_since(self.said).as_secs() / cycle.as_secs().max(1);
        self.missed = self.missed.saturating_add(1).max(past);
    }

    /// Because it did not answer a question, if it was asked one.
    fn fails(&mut self, id: &ContainerId, error: &PullError, now: Instant, cycle: Duration) {
        if matches!(error, PullError::NoTime) {
            return;
        }
        if self.failed == 0 {
            tracing::info!(container = %id, %error, "No demand of a container is heard; it fades to neutral");
        }
        self.failed = self.failed.saturating_add(1);
        self.asked = Some(now);
        self.ask_after = now + pause(self.failed, cycle);
    }

    /// The last word, its demand moved towards neutral by a third for every missed cycle. What was measured
    /// is as good as the cycle that it came in.
    fn faded(&self) -> Word {
        let left = FADE.saturating_sub(self.missed);
        let mixed = (self.last.demand.basis_points() * left
            + Demand::NEUTRAL.basis_points() * (FADE - left))
            / FADE;
        Word {
            demand: Demand::from_basis_points(mixed),
            measured: self.last.measured.filter(|_| self.missed == 0),
        }
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

/// No pause for the first three questions in vain, then twice as long each time.
fn pause(failed: u64, cycle: Duration) -> Duration {
    if failed <= FADE {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(failed - FADE).unwrap_or(u32::MAX).min(10);
    (cycle * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
