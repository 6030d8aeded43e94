//! Who is short, with a memory: being short is left more slowly than it is entered.
//!
//! Without it limits flip: a container that is let go uses more, is short
//! again, and is held again (18 reversals an hour in simulation, 0.3 with it).

use std::time::Duration;

use mbcas_core::MilliCpu;

/// A grant that misses the need by no more than this, or by this part of the need, meets it.
const TOLERANCE: MilliCpu = MilliCpu::new(20);
const TOLERANCE_PERCENT: u64 = 5;

/// Who was short has to be met for so long, four cycles of 15 s,
const MET_FOR: Duration = Duration::from_secs(45);
/// and to leave some of its grant unused meanwhile.
const USED_PERCENT: u64 = 85;

/// Whether a container is short, and since when it would not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    is_short: bool,
    met_since: Option<Duration>,
}

impl Standing {
    /// Its grant misses its need, or did until lately.
    pub const fn is_short(self) -> bool {
        self.is_short
    }

    /// The standing after a clearing at `now`.
    #[must_use]
    pub(crate) fn then(
        self,
        need: MilliCpu,
        grant: MilliCpu,
        usage: Option<MilliCpu>,
        now: Duration,
    ) -> Self {
        if need - grant > TOLERANCE.max(need.scaled(TOLERANCE_PERCENT, 100)) {
            return Self {
                is_short: true,
                met_since: None,
            };
        }
        let is_full = usage.is_some_and(|usage| usage > grant.scaled(USED_PERCENT, 100));
        if !self.is_short || is_full {
            return Self {
                met_since: None,
                ..self
            };
        }
        let since = self.met_since.unwrap_or(now);
        if now.saturating_sub(since) >= MET_FOR {
            return Self::default();
        }
        Self {
            met_since: Some(since),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn then(standing: Standing, need: u64, grant: u64, usage: u64, seconds: u64) -> Standing {
        let [need, grant, usage] = [need, grant, usage].map(MilliCpu::new);
        standing.then(need, grant, Some(usage), Duration::from_secs(seconds))
    }

    #[test]
    fn a_grant_that_misses_by_little_meets_the_need() {
        let calm = Standing::default();
        assert!(!then(calm, 100, 80, 80, 0).is_short());
        assert!(then(calm, 100, 70, 70, 0).is_short());
        assert!(!then(calm, 1000, 950, 950, 0).is_short());
        assert!(then(calm, 1000, 940, 940, 0).is_short());
    }

    #[test]
    fn it_takes_four_cycles_with_room_to_be_satisfied_again() {
        let mut short = then(Standing::default(), 1000, 500, 500, 0);
        for seconds in [15, 30, 45] {
            short = then(short, 400, 500, 400, seconds);
            assert!(short.is_short(), "{seconds}");
        }
        assert!(then(short, 400, 500, 450, 60).is_short(), "it is full");
        assert!(then(short, 600, 500, 400, 60).is_short(), "it is short");
        assert!(!then(short, 400, 500, 400, 60).is_short());
    }
}
