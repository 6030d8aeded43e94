//! What the rest of the process knows about the election, and what the election
//! knows about the rest's writes.

use tokio::sync::watch;

use super::rule::Term;
use super::times::SETTLED;
use mbcas_runtime::clock::{Clock, Moment};

/// Whether this process may write, for everybody who has to ask.
#[derive(Clone, Debug)]
pub struct Leader {
    term: watch::Receiver<Option<Term>>,
    writes: watch::Sender<Writes>,
    clock: Clock,
    led: bool,
}

/// Writes that may still take effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writes {
    under_way: usize,
    /// By then those that were given up have had their effect, or never will.
    settled: Moment,
}

impl Leader {
    /// One who reads `term` on `clock`.
    pub(super) fn new(term: watch::Receiver<Option<Term>>, clock: Clock) -> Self {
        let none = Writes {
            under_way: 0,
            settled: clock(),
        };
        Self {
            term,
            writes: watch::Sender::new(none),
            clock,
            led: false,
        }
    }

    /// The fencing epoch if this process may begin a write at this moment.
    pub fn epoch(&self) -> Option<i32> {
        let now = (self.clock)();
        let term = self.term.borrow().filter(|term| term.permits(now));
        term.map(|term| term.epoch)
    }

    /// Returns when this process has become the leader, or has ceased to be.
    pub async fn turned(&mut self) {
        let led = self.led;
        let turned = self.term.wait_for(|term| term.is_some() != led).await;
        if turned.map(drop).is_err() {
            // The election is over: nothing changes any more.
            std::future::pending::<()>().await;
        }
        self.led = !led;
    }

    /// A write that the term `epoch` decided on, if it may be begun.
    pub(super) fn begin(&self, epoch: i32) -> Option<Writing> {
        // Counted before it is permitted: who ends the term and counts then misses none.
        self.writes.send_modify(|writes| writes.under_way += 1);
        let mut writing = Writing {
            writes: self.writes.clone(),
            settles: (self.clock)() + SETTLED,
            is_answered: true,
        };
        if self.epoch() != Some(epoch) {
            return None;
        }
        writing.is_answered = false;
        Some(writing)
    }

    /// Returns when no write can take effect any more. To be called when none is begun any more.
    pub(super) async fn settled(&self) {
        let mut writes = self.writes.subscribe();
        let last = writes.wait_for(|writes| writes.under_way == 0).await;
        if let Ok(settled) = last.map(|writes| writes.settled) {
            tokio::time::sleep((self.clock)().until(settled)).await;
        }
    }
}

/// A write that is under way.
#[derive(Debug)]
pub(super) struct Writing {
    writes: watch::Sender<Writes>,
    settles: Moment,
    is_answered: bool,
}

impl Writing {
    /// The API server has answered: it has had its effect.
    pub(super) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.writes.send_modify(|writes| {
            writes.under_way -= 1;
            if !self.is_answered {
                writes.settled = writes.settled.max(self.settles);
            }
        });
    }
}
