//! Hearing of a jump of demand as it happens, between two cycles.
//!
//! After each cycle the agents are asked to answer when their demand has jumped
//! ([`LongPoll`]): of those containers alone that a jump could bring something, because
//! their limits are below their caps or somebody on their node is short. A container is heard once between two
//! cycles, so that nobody keeps the loop busy by crying.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use mbcas_core::ContainerId;
use mbcas_core::demand::{LONGEST_WAIT, LongPoll};
use mbcas_core::units::{Demand, MilliCpu};
use mbcas_market::{NodeSnapshot, Plan};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::discover::Discovery;
use crate::report::{Word, pull_when};

/// How many agents are listened to at once: those of containers nearest to their limits.
const MOST: usize = 5_000;

/// How long the loop rests after an early turn before it hears of the next jump:
/// whoever jumps meanwhile is served together.
const REST: Duration = Duration::from_millis(500);

/// An agent that answered so much earlier than it was asked to, with no jump, does not wait for any.
const EARLY: Duration = Duration::from_secs(1);

/// One agent that is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ear {
    /// Where it is asked.
    pub agent: IpAddr,
    /// The least demand that is a jump.
    pub above: Demand,
}

/// Who is listened to, until the next cycle.
pub type Ears = BTreeMap<ContainerId, Ear>;

/// A demand that has jumped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    /// Whose.
    pub id: ContainerId,
    /// What its agent says now.
    pub word: Word,
    /// When it was heard of.
    pub at: Instant,
}

/// The loop's end: says who is listened to, and hears.
#[derive(Debug)]
pub struct Jumps {
    ears: watch::Sender<Ears>,
    heard: mpsc::Receiver<Jump>,
    rested: Instant,
}

/// The other end, which listens.
#[derive(Debug)]
pub struct Listener {
    ears: watch::Receiver<Ears>,
    heard: mpsc::Sender<Jump>,
}

impl Jumps {
    /// Nobody is listened to yet.
    pub fn new() -> (Self, Listener) {
        let (say, ears) = watch::channel(Ears::new());
        let (tell, heard) = mpsc::channel(MOST);
        let jumps = Self {
            ears: say,
            heard,
            rested: Instant::now(),
        };
        (jumps, Listener { ears, heard: tell })
    }

    /// From now on those are listened to and no others.
    pub fn listen_to(&self, ears: Ears) {
        self.ears.send_replace(ears);
    }

    /// From now on nobody is listened to.
    pub fn listen_to_nobody(&self) {
        self.ears
            .send_if_modified(|ears| !std::mem::take(ears).is_empty());
    }

    /// The next jumps, at least one, when the loop has rested. May be dropped at any time.
    pub async fn next(&mut self) -> Vec<Jump> {
        sleep_until(self.rested).await;
        let mut jumps = Vec::new();
        if self.heard.recv_many(&mut jumps, MOST).await == 0 {
            // Nobody listens any more; the process is about to end.
            std::future::pending::<()>().await;
        }
        jumps
    }

    /// An early turn was taken.
    pub fn rest(&mut self) {
        self.rested = Instant::now() + REST;
    }
}

impl Listener {
    /// Listens until the loop's end is dropped.
    ///
    /// # Errors
    /// None.
    pub async fn run(mut self) -> Result<(), Infallible> {
        loop {
            let ears = self.ears.borrow_and_update().clone();
            let polls = ears.into_iter().map(|(id, ear)| ear.hear(id));
            let mut jumps = stream::iter(polls).buffer_unordered(MOST);
            loop {
                tokio::select! {
                    changed = self.ears.changed() => {
                        if changed.is_err() {
                            return Ok(());
                        }
                        break;
                    }
                    Some(jump) = jumps.next() => {
                        if let Some(jump) = jump {
                            // Full only if the loop is busy for longer than a cycle, which hears everybody.
                            let _ = self.heard.try_send(jump);
                        }
                    }
                }
            }
        }
    }
}

impl Ear {
    /// The jump of `id`, when it comes; nothing if its agent does not wait for any.
    async fn hear(self, id: ContainerId) -> Option<Jump> {
        let wait = Duration::from_secs(LONGEST_WAIT);
        let poll = LongPoll {
            above: Some(self.above.fraction()),
            wait: Some(LONGEST_WAIT),
        };
        loop {
            let asked = Instant::now();
            match pull_when(self.agent, &id, poll).await {
                Ok(word) if word.demand >= self.above => {
                    let at = Instant::now();
                    return Some(Jump { id, word, at });
                }
                Ok(_) if asked.elapsed() + EARLY >= wait => {}
                // The next cycle asks again.
                Ok(_) | Err(_) => return None,
            }
        }
    }
}

/// Those whose agents can be asked and whom a jump could bring something, see [`Plan::jump`]. Who is `silent`
/// is asked by the cycles alone, ever more seldom.
pub fn ears(
    discovery: &Discovery,
    snapshots: &[NodeSnapshot],
    plans: &[Plan],
    silent: &BTreeSet<ContainerId>,
) -> Ears {
    let near = snapshots.iter().zip(plans).flat_map(|(snapshot, plan)| {
        let participants = snapshot.participants.iter();
        let heard = participants.filter(|(id, _)| !silent.contains(*id));
        heard.filter_map(move |(id, observed)| {
            let ear = Ear {
                agent: discovery.participants.get(id)?.agent?,
                above: plan.jump(snapshot, id)?,
            };
            let cap = observed.cap(snapshot.supply.allocatable);
            let limit = observed.limit.unwrap_or(cap);
            let left = observed.usage.map_or(limit, |usage| limit - usage.cpu);
            Some((left, id, ear))
        })
    });
    nearest(near.collect(), MOST)
}

/// Those of `all` that have least left to their limits, `most` of them.
fn nearest(mut all: Vec<(MilliCpu, &ContainerId, Ear)>, most: usize) -> Ears {
    if all.len() > most {
        all.sort_by_key(|(left, ..)| *left);
        all.truncate(most);
    }
    let ears = all.into_iter().map(|(_, id, ear)| (id.clone(), ear));
    ears.collect()
}

#[cfg(test)]
mod tests;
