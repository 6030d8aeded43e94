//! What the hand remembers of a container between two cycles: what its node will never
//! do, what the API server refuses, and what has to be taken back.

use std::collections::BTreeMap;
use std::time::Duration;

use mbcas_actuator::{ApplyError, ResizeRequest};
use mbcas_core::ContainerId;
use mbcas_core::units::MilliCpu;
use mbcas_market::{Direction, Write};
use tokio::time::Instant;

use super::Outcome;

/// How long an amount that the node refused is not asked for again. A pod's node does not
/// change, but what it has may.
const INFEASIBLE: Duration = Duration::from_mins(30);
/// How long growth is left alone after it was deferred. The kubelet itself tries again
/// after 30 s and then every three minutes.
const DEFERRED: Duration = Duration::from_mins(3);
/// How long a container is left alone after its first refusal; twice as long after each further one.
const FIRST: Duration = Duration::from_secs(15);
/// The longest that the API server's refusals lead to.
pub(crate) const MOST: Duration = Duration::from_mins(10);
/// The longest that our own lead to: they cost a read, and what they are about passes.
const MOST_OWN: Duration = Duration::from_mins(1);

/// The memory, by container of one incarnation of a pod: a replacement starts afresh.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<ContainerId, Note>);

#[derive(Debug)]
struct Note {
    why: Why,
    until: Instant,
    /// How often it was so before, without a break.
    count: u32,
    undo: Option<ResizeRequest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// From this amount on the node says never.
    Infeasible(MilliCpu),
    /// No room for growth now.
    Deferred,
    Refused,
    /// Its turn did not come: it is served first next time.
    PutOff,
}

/// How long is waited after a refusal that came `count` times before: twice as long each time, and `most` at last.
pub(crate) fn back_off(count: u32, most: Duration) -> Duration {
    (FIRST * (1 << count.min(6))).min(most)
}

impl Memory {
    /// What becomes of `write` without asking anybody; nothing if it is to be tried.
    pub(super) fn blocks(&self, write: &Write, now: Instant) -> Option<Outcome> {
        let note = self.0.get(&write.id).filter(|note| now < note.until)?;
        let grows = write.direction() == Direction::Grow;
        match note.why {
            Why::Infeasible(least) if write.to >= least => Some(Outcome::KnownInfeasible),
            Why::Deferred if grows => Some(Outcome::BackedOff),
            Why::Refused => Some(Outcome::BackedOff),
            Why::Infeasible(_) | Why::Deferred | Why::PutOff => None,
        }
    }

    /// Learns what became of `write`; `undo` takes back what was accepted and will not come.
    pub(super) fn learn(
        &mut self,
        write: &Write,
        outcome: &Outcome,
        undo: Option<ResizeRequest>,
        now: Instant,
    ) {
        let before = self.0.get(&write.id);
        let again = |why| {
            let before = before.filter(|note| note.why == why);
            before.map_or(0, |note| note.count.saturating_add(1))
        };
        let count = again(Why::Refused);
        let doubled = |most| back_off(count, most);
        let (why, wait) = match outcome {
            Outcome::Infeasible | Outcome::Refused(ApplyError::Infeasible { .. }) => {
                (Why::Infeasible(write.to), INFEASIBLE)
            }
            Outcome::Deferred => (Why::Deferred, DEFERRED),
            Outcome::Refused(ApplyError::Forbidden { .. } | ApplyError::Invalid { .. }) => {
                (Why::Refused, doubled(MOST))
            }
            Outcome::Refused(ApplyError::Refused(_)) => (Why::Refused, doubled(MOST_OWN)),
            Outcome::PutOff => (Why::PutOff, MOST),
            // It was not tried, so nothing was learned.
            Outcome::KnownInfeasible | Outcome::BackedOff | Outcome::NotLeading => return,
            // Everything else passes by itself, or is somebody else's to remember.
            _ => {
                self.0.remove(&write.id);
                return;
            }
        };
        let note = Note {
            why,
            until: now + wait,
            count: again(why),
            undo,
        };
        self.0.insert(write.id.clone(), note);
    }

    /// What is to be taken back, each only once.
    pub(super) fn undoings(&mut self) -> Vec<(ContainerId, ResizeRequest)> {
        let notes = self.0.iter_mut();
        notes
            .filter_map(|(id, note)| Some((id.clone(), note.undo.take()?)))
            .collect()
    }

    /// Takes back later what could not be taken back now.
    pub(super) fn undo_later(&mut self, id: &ContainerId, undo: ResizeRequest) {
        if let Some(note) = self.0.get_mut(id) {
            note.undo = Some(undo);
        }
    }

    /// For how many cycles `id` has been put off.
    pub(super) fn waited(&self, id: &ContainerId) -> u32 {
        let note = self.0.get(id).filter(|note| note.why == Why::PutOff);
        note.map_or(0, |note| note.count.saturating_add(1))
    }

    /// Drops what is long over. A count of refusals outlives its wait by the longest one,
    /// so that it can double.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.0
            .retain(|_, note| now < note.until + MOST || note.undo.is_some());
    }
}

#[cfg(test)]
mod tests {
    use mbcas_actuator::{Ban, Refusal};

    use super::super::stage::write;
    use super::*;

    fn forbidden() -> Outcome {
        Outcome::Refused(ApplyError::Forbidden {
            pod: String::new(),
            by: Ban::LimitRange,
            message: String::new(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_node_can_never_do_is_not_asked_again_and_less_is() {
        let by_condition = Outcome::Infeasible;
        let by_answer = Outcome::Refused(ApplyError::Infeasible {
            pod: String::new(),
            message: String::new(),
        });
        for infeasible in [by_condition, by_answer] {
            let (mut memory, now) = (Memory::default(), Instant::now());
            let asked = write("a", 100, 900);
            memory.learn(&asked, &infeasible, None, now);
            let blocked = |to: u64, now| memory.blocks(&write("a", 100, to), now).map(|o| o.word());
            assert_eq!(blocked(900, now), Some("known_infeasible"));
            assert_eq!(blocked(1000, now), Some("known_infeasible"));
            assert_eq!(blocked(890, now), None);
            assert_eq!(blocked(900, now + INFEASIBLE), None);
            // A replacement under the same name is somebody else.
            let mut other = write("a", 100, 900);
            let mut pod = other.id.pod.clone();
            pod.uid = "another".into();
            other.id = ContainerId::new(pod, other.id.container.clone());
            assert!(memory.blocks(&other, now).is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_tried_again_after_longer_and_longer() {
        let (mut memory, mut now) = (Memory::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..8 {
            memory.learn(&write("a", 100, 200), &forbidden(), None, now);
            let begun = now;
            while memory.blocks(&write("a", 100, 200), now).is_some() {
                now += Duration::from_secs(1);
            }
            memory.forget_old(now);
            waits.push((now - begun).as_secs());
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 600, 600]);
        memory.learn(&write("a", 100, 200), &Outcome::Unconfirmed, None, now);
        memory.learn(&write("a", 100, 200), &forbidden(), None, now);
        assert!(memory.blocks(&write("a", 100, 200), now + FIRST).is_none());
        let own = Outcome::Refused(ApplyError::Refused(Refusal::NotReady(String::new())));
        for _ in 0..9 {
            memory.learn(&write("b", 200, 100), &own, None, now);
        }
        assert!(
            memory
                .blocks(&write("b", 200, 100), now + MOST_OWN)
                .is_none()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_by_itself_is_not_remembered() {
        let now = Instant::now();
        for outcome in [
            Outcome::Unconfirmed,
            Outcome::Unneeded,
            Outcome::Done(Duration::ZERO),
            Outcome::Refused(ApplyError::Stale(String::new())),
            Outcome::Refused(ApplyError::Busy(Duration::ZERO)),
        ] {
            let mut memory = Memory::default();
            memory.learn(&write("a", 100, 200), &forbidden(), None, now);
            memory.learn(&write("a", 100, 200), &outcome, None, now);
            assert!(
                memory.blocks(&write("a", 100, 200), now).is_none(),
                "{outcome:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn deferred_growth_rests_and_a_shrink_does_not() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let undo = ResizeRequest::default();
        memory.learn(&write("a", 100, 200), &Outcome::Deferred, Some(undo), now);
        assert!(memory.blocks(&write("a", 100, 200), now).is_some());
        assert!(memory.blocks(&write("a", 200, 100), now).is_none());
        assert!(
            memory
                .blocks(&write("a", 100, 200), now + DEFERRED)
                .is_none()
        );
        assert_eq!(memory.undoings().len(), 1);
        assert!(memory.undoings().is_empty(), "each only once");
    }
}
