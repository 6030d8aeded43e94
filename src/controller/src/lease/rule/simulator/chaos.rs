//! What goes wrong, and how often.

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::server::Edit;
use super::{Micros, SECOND};

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The process does not run (a stopped process, a starved one) for this long.
    Stall(Micros),
    /// The whole machine sleeps for this long.
    Sleep(Micros),
    /// Killed, and another process is there after this long.
    Crash(Micros),
    /// Told to end; the writes on their way take the first time, a new process comes after the second.
    Terminate(Micros, Micros),
    /// Nothing passes to the API server, from it, or either way, for this long.
    Cut([bool; 2], Micros),
    /// People's clock stands still for this long.
    StandingWall(Micros),
    /// Somebody changes the record.
    Edit(Edit),
}

/// The weather of one schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// All faults are over, and their effects with them.
    pub(super) ends: Micros,
    /// Of a hundred messages, how many are lost, how many are late.
    lost: u32,
    late: u32,
    /// Of a hundred requests, before how many the process stalls once it has decided to send them.
    hesitates: u32,
}

impl Weather {
    pub(super) fn new(random: &mut SmallRng) -> Self {
        let mut some = |of: &[u32]| of.choose(random).copied().unwrap_or_default();
        let (lost, late, hesitates) = (
            some(&[0, 0, 2, 20]),
            some(&[0, 0, 5, 30]),
            some(&[0, 0, 1, 5]),
        );
        Self {
            ends: random.random_range(20 * SECOND..90 * SECOND),
            lost,
            late,
            hesitates,
        }
    }

    /// When what happens, and whether it seeks out the leader.
    pub(super) fn faults(&self, random: &mut SmallRng) -> Vec<(Micros, Fault, bool)> {
        let count = random.random_range(0..8);
        let mut one = || {
            let at = random.random_range(0..self.ends);
            let fault = Self::fault(random, self.ends - at);
            // Leaving takes its time, and another process comes only after it.
            let last = matches!(fault, Fault::Terminate(..)).then_some(self.ends - 12 * SECOND);
            let at = at.min(last.unwrap_or(at));
            (at, fault, random.random_bool(0.6))
        };
        (0..count).map(|_| one()).collect()
    }

    fn fault(random: &mut SmallRng, most: Micros) -> Fault {
        let length = length(random).min(most);
        match random.random_range(0..14) {
            0..=2 => Fault::Stall(length),
            3 => Fault::Sleep(length),
            4 => Fault::Crash(length),
            5 | 6 => {
                let writes = [0, SECOND / 50, super::WRITE];
                let writes = writes.choose(random).copied().unwrap_or_default();
                Fault::Terminate(random.random_range(0..=writes), length)
            }
            7..=9 => {
                let ways = [[true, false], [false, true], [true, true]];
                let ways = ways.choose(random).copied().unwrap_or_default();
                Fault::Cut(ways, length)
            }
            10 => Fault::StandingWall(length),
            _ => Fault::Edit(Edit::ALL.choose(random).copied().unwrap_or(Edit::Touch)),
        }
    }

    /// How long a message takes from `at` on a way that is cut until `cut`; `None`: for ever.
    pub(super) fn passes(&self, at: Micros, cut: Micros, random: &mut SmallRng) -> Option<Micros> {
        let usual = random.random_range(SECOND / 1000..SECOND / 50);
        if at >= self.ends {
            return Some(usual);
        }
        if random.random_ratio(self.lost, 100) || (at < cut && random.random_bool(0.5)) {
            return None;
        }
        // What was sent into a cut may be sent again by the kernel when it has healed.
        let waits = cut.saturating_sub(at);
        let late = if random.random_ratio(self.late, 100) {
            length(random)
        } else {
            0
        };
        let left = self.ends - at;
        let most = random.random_range(left.min(SECOND / 1000)..=left.max(SECOND / 1000));
        Some((usual + waits + late).min(most.max(usual)))
    }

    /// How long the process stalls between deciding to send and sending.
    pub(super) fn hesitation(&self, at: Micros, random: &mut SmallRng) -> Option<Micros> {
        let most = self.ends.checked_sub(at).filter(|most| *most > 0)?;
        random
            .random_ratio(self.hesitates, 100)
            .then(|| length(random).min(most))
    }
}

/// From a tenth of a second to a minute and a half, short ones more often, and
/// often about as long as a lease.
fn length(random: &mut SmallRng) -> Micros {
    match random.random_range(0..4) {
        0 => random.random_range(SECOND / 10..2 * SECOND),
        1 => random.random_range(SECOND..8 * SECOND),
        2 => random.random_range(8 * SECOND..20 * SECOND),
        _ => random.random_range(10 * SECOND..90 * SECOND),
    }
}
