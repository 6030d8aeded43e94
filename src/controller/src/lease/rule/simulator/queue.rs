//! What is to happen, in the order of true time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::chaos::Fault;
use super::{Answer, Ask, Micros};

#[derive(Debug)]
pub(super) enum Event {
    /// The process of a machine goes on.
    Turn,
    /// A request leaves it.
    Depart(Ask),
    /// A request arrives; after this moment nobody waits for the answer any more.
    Arrive(Ask, Micros),
    /// An answer is there.
    Hear(Answer),
    /// A process is started.
    Start,
    Fault(Fault, bool),
}

/// An event at one machine, for the process's turn it was meant for.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) at: Micros,
    order: u64,
    pub(super) machine: usize,
    pub(super) turn: u64,
    pub(super) event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
impl Entry {
    const fn key(&self) -> (Micros, u64) {
        (self.at, self.order)
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Micros, machine: usize, turn: u64, event: Event) {
        self.order += 1;
        let order = self.order;
        self.entries.push(Reverse(Entry {
            at,
            order,
            machine,
            turn,
            event,
        }));
    }

    /// What happens next, if it is not after `end`.
    pub(super) fn pop_until(&mut self, end: Micros) -> Option<Entry> {
        self.entries.peek().filter(|next| next.0.at <= end)?;
        self.entries.pop().map(|next| next.0)
    }
}
