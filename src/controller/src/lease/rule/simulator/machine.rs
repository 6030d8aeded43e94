//! A machine: its clocks, its link to the API server, and the process on it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;
use rand::rngs::SmallRng;

use super::mutant::Mutant;
use super::witness::{Process, Witness};
use super::{Candidacy, Micros, Moment, SECOND};

/// How far a machine's clock runs fast or slow at most, in millionths. Real ones keep within 500.
const DRIFT: i64 = 10_000;

#[derive(Debug)]
pub(super) struct Machine {
    /// What the process believes; `None` while there is no process.
    pub(super) candidacy: Option<Candidacy>,
    pub(super) identity: Arc<str>,
    pub(super) process: Process,
    /// Counts what the process waits for: events of before are void.
    pub(super) turn: u64,
    /// It waits for an answer.
    pub(super) is_asking: bool,
    /// The process does not run before.
    pub(super) stalled: Micros,
    /// What is sent and what comes back does not pass before.
    pub(super) cut: [Micros; 2],
    /// All writes of the term have had their effect by then; set when it leaves.
    pub(super) settles: Micros,
    /// When the next process comes, after one that has left.
    pub(super) returns: Micros,
    /// People's time: off by this, and does not move until `wall_stands`.
    wall: i64,
    pub(super) wall_stands: Micros,
    zero: Micros,
    drift: i64,
    /// Time that the clock did not count: asleep, with a mutant's clock.
    slept: Micros,
    accounted: Micros,
}

impl Machine {
    pub(super) fn new(random: &mut SmallRng) -> Self {
        let hours = random.random_range(-30..30);
        Self {
            candidacy: None,
            identity: "".into(),
            process: 0,
            turn: 0,
            is_asking: false,
            stalled: 0,
            cut: [0; 2],
            settles: 0,
            returns: 0,
            wall: hours * 600 * 1_000_000,
            wall_stands: 0,
            zero: random.random_range(0..1_000 * SECOND),
            drift: random.random_range(-DRIFT..=DRIFT),
            slept: 0,
            accounted: 0,
        }
    }

    pub(super) fn start(&mut self, process: Process, at: Micros) {
        self.process = process;
        self.identity = process.to_string().into();
        self.candidacy = Some(Candidacy::new(Arc::clone(&self.identity), self.now(at)));
        self.turn += 1;
        self.is_asking = false;
        (self.settles, self.accounted) = (0, at);
    }

    /// Its own clock at the true time `at`.
    pub(super) fn now(&self, at: Micros) -> Moment {
        let counted = i64::try_from(at - self.slept).unwrap();
        let own = counted + counted * self.drift / 1_000_000;
        let own = self.zero + u64::try_from(own).unwrap();
        Moment::after_zero(Duration::from_micros(own))
    }

    /// The first true time at which its own clock shows `moment`.
    pub(super) fn when(&self, moment: Moment) -> Micros {
        let zero = Moment::after_zero(Duration::from_micros(self.zero));
        let own = i64::try_from(zero.until(moment).as_micros()).unwrap();
        let counted = own * 1_000_000 / (1_000_000 + self.drift);
        let mut at = u64::try_from(counted).unwrap().saturating_sub(1) + self.slept;
        while self.now(at) < moment {
            at += 1;
        }
        at
    }

    /// What people's clock there shows.
    pub(super) fn wall(&self, at: Micros) -> Timestamp {
        let at = if at < self.wall_stands { 0 } else { at };
        let offset = 1_800_000_000_000_000 + self.wall;
        Timestamp::from_microsecond(offset + i64::try_from(at).unwrap()).unwrap()
    }

    /// The process, and with `asleep` the whole machine, stands still for this long.
    pub(super) fn stall(&mut self, at: Micros, length: Micros, asleep: bool) {
        self.stalled = self.stalled.max(at + length);
        if asleep {
            self.slept += length;
        }
    }

    /// Whether a write may be begun at this moment.
    pub(super) fn leads(&self, at: Micros) -> bool {
        let term = self.candidacy.as_ref().and_then(Candidacy::term);
        term.is_some_and(|term| term.permits(self.now(at)))
    }

    /// Tells `witness` when the process could write since this was last asked.
    /// To be called before anything changes.
    pub(super) fn account(&mut self, at: Micros, mutant: Mutant, witness: &mut Witness) {
        let from = self.accounted.max(self.stalled.min(at));
        self.accounted = at.max(self.accounted);
        let Some(term) = self.candidacy.as_ref().and_then(Candidacy::term) else {
            return;
        };
        let to = mutant.ends(self.when(term.until)).min(at);
        if from <= to {
            witness.open(self.process, from, to, mutant.tail());
        }
    }
}
