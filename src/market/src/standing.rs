//! Who is short, with a memory: being short is left more slowly than it is entered.
//!
//! Without it limits flip: a container that is let go uses more, is short
//! again, and is held again (18 reversals an hour in simulation, 0.3 with it).

use std::time::Duration;

use mbcas_core::MilliCpu;
use serde::{Deserialize, Serialize};

/// A grant that misses the need by no more than this, or by this part of the need, meets it (research of the control
/// loop, §2, as is what follows).
const TOLERANCE: MilliCpu = MilliCpu::new(20);
const TOLERANCE_PERCENT: u64 = 5;

/// Who was short has to be met for so long, four cycles of 15 s, and to leave some of its limit unused meanwhile
/// ([`Estimate::is_held`](crate::need::Estimate)). Not of its grant: in a shortage that is what it needs.
const MET_FOR: Duration = Duration::from_secs(45);

/// How a container stands between what it needs and what it is granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Its grant meets its need.
    #[default]
    Satisfied,
    /// Its grant misses its need, or met it only now and something holds it: how much
    /// it really needs is not known before it leaves some of what it has.
    Short,
    /// It was short, and has had what it needs and more since then.
    Recovering(Duration),
}

impl Standing {
    /// The standing after a clearing at `now`. `is_held`: something holds it
    /// back, or did and it has not left some of its limit since.
    #[must_use]
    pub(crate) fn then(
        self,
        need: MilliCpu,
        grant: MilliCpu,
        is_held: bool,
        now: Duration,
    ) -> Self {
        if need - grant > TOLERANCE.max(need.scaled(TOLERANCE_PERCENT, 100)) {
            return Self::Short;
        }
        match self {
            Self::Satisfied => self,
            _ if is_held => Self::Short,
            Self::Short => Self::Recovering(now),
            Self::Recovering(since) if now.saturating_sub(since) >= MET_FOR => Self::Satisfied,
            Self::Recovering(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn then(standing: Standing, need: u64, grant: u64, usage: u64, seconds: u64) -> Standing {
        let [need, grant] = [need, grant].map(MilliCpu::new);
        let is_held = usage * 100 > grant.get() * 85;
        standing.then(need, grant, is_held, Duration::from_secs(seconds))
    }

    #[test]
    fn a_grant_that_misses_by_little_meets_the_need() {
        let after = |need, grant| then(Standing::Satisfied, need, grant, grant, 0);
        assert_eq!(after(100, 80), Standing::Satisfied);
        assert_eq!(after(100, 70), Standing::Short);
        assert_eq!(after(1000, 950), Standing::Satisfied);
        assert_eq!(after(1000, 940), Standing::Short);
    }

    #[test]
    fn it_takes_four_cycles_with_room_to_be_satisfied_again() {
        let mut standing = then(Standing::Satisfied, 1000, 500, 500, 0);
        for seconds in [15, 30, 45] {
            standing = then(standing, 400, 500, 400, seconds);
            assert_eq!(standing, Standing::Recovering(Duration::from_secs(15)));
        }
        assert_eq!(
            then(standing, 400, 500, 450, 60),
            Standing::Short,
            "it is held"
        );
        assert_eq!(then(standing, 600, 500, 400, 60), Standing::Short);
        assert_eq!(then(standing, 400, 500, 400, 60), Standing::Satisfied);
    }
}
