//! Reading demand: from every agent that can be asked, and a safe default for the rest.
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

use crate::report::{PullError, pull};

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
    last: Demand,
    missed: u64,
    ask_after: Instant,
}

/// Every agent's last word.
#[derive(Debug, Default)]
pub struct Demands {
    memory: BTreeMap<ContainerId, Memory>,
}

/// What one demand phase brought.
#[derive(Debug, Default)]
pub struct Readings {
    /// The demand to count with, for every container that was asked about.
    pub demand: BTreeMap<ContainerId, Demand>,
    /// How many agents answered.
    pub answered: usize,
    /// How many did not, by reason.
    pub failed: BTreeMap<&'static str, u64>,
}

impl Demands {
    /// Asks the agents at `addresses` and returns a demand for each of them;
    /// a container without an address has no agent. Those not named are forgotten.
    pub async fn read(
        &mut self,
        addresses: &BTreeMap<ContainerId, Option<IpAddr>>,
        cycle: Duration,
    ) -> Readings {
        let now = Instant::now();
        self.memory.retain(|id, _| addresses.contains_key(id));
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
        let mut answers = BTreeMap::new();
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
        self.take(addresses, answers, cycle)
    }

    fn take(
        &mut self,
        addresses: &BTreeMap<ContainerId, Option<IpAddr>>,
        mut answers: BTreeMap<ContainerId, Result<Demand, PullError>>,
        cycle: Duration,
    ) -> Readings {
        let now = Instant::now();
        let mut readings = Readings::default();
        for id in addresses.keys() {
            let fresh = Memory {
                last: Demand::NEUTRAL,
                missed: 0,
                ask_after: now,
            };
            let memory = self.memory.entry(id.clone()).or_insert(fresh);
            match answers.remove(id) {
                Some(Ok(demand)) => {
                    *memory = Memory {
                        last: demand,
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
                .demand
                .insert(id.clone(), faded(memory.last, memory.missed));
        }
        readings
    }
}

impl Readings {
    /// How many agents gave no demand.
    pub fn missing(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// `last`, moved towards neutral by a third for every missed cycle.
fn faded(last: Demand, missed: u64) -> Demand {
    let left = FADE.saturating_sub(missed);
    let mixed =
        (last.basis_points() * left + Demand::NEUTRAL.basis_points() * (FADE - left)) / FADE;
    Demand::from_basis_points(mixed)
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
