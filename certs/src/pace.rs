//! How much is written when somebody else keeps overwriting it.

use std::time::Duration;

use tokio::time::Instant;

use crate::schedule::PUBLISHED_FOR;

/// So many writes may follow each other at once.
pub const BURST: u32 = 5;

/// After that, one in this time.
pub const REFILL: Duration = Duration::from_mins(1);

/// An allowance of writes that is spent and grows back: a repair comes at once,
/// and a fight with another writer costs the API server one write a minute.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowance {
    /// When all of it will have grown back.
    whole_at: Option<Instant>,
}

impl Allowance {
    /// Takes one write, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let whole_at = self.whole_at.unwrap_or(now).max(now);
        let granted = whole_at - now <= REFILL * (BURST - 1);
        if granted {
            self.whole_at = Some(whole_at + REFILL);
        }
        granted
    }
}

/// Something that has been seen to be the same, and since when on the monotonic
/// clock: no leap of the wall clock makes it longer.
#[derive(Debug)]
pub(crate) struct Steady<T>(Option<(T, Instant)>);

impl<T> Default for Steady<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: PartialEq> Steady<T> {
    /// Notes what is seen at `now`. Nothing, or something else, begins anew.
    pub(crate) fn see(&mut self, value: Option<T>, now: Instant) {
        let same = matches!((&self.0, &value), (Some((before, _)), Some(value)) if before == value);
        if !same {
            self.0 = value.map(|value| (value, now));
        }
    }

    /// What has been the same for [`PUBLISHED_FOR`].
    pub(crate) fn settled(&self, now: Instant) -> Option<&T> {
        let (value, since) = self.0.as_ref()?;
        (now - *since >= PUBLISHED_FOR).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_gets_a_burst_and_then_a_write_a_minute() {
        let start = Instant::now();
        let mut allowance = Allowance::default();
        let mut written = Vec::new();
        for second in 0..600_u64 {
            if allowance.take(start + Duration::from_secs(second)) {
                written.push(second);
            }
        }
        assert_eq!(written[..5], [0, 1, 2, 3, 4]);
        assert_eq!(written[5..], [60, 120, 180, 240, 300, 360, 420, 480, 540]);
    }

    #[test]
    fn after_a_quiet_time_the_burst_is_whole_again_and_no_larger() {
        let start = Instant::now();
        let mut allowance = Allowance::default();
        let burst = |allowance: &mut Allowance, at| (0..20).filter(|_| allowance.take(at)).count();
        assert_eq!(burst(&mut allowance, start), 5);
        assert_eq!(burst(&mut allowance, start + REFILL * 2), 2);
        assert_eq!(burst(&mut allowance, start + REFILL * 100), 5);
    }

    #[test]
    fn a_change_or_a_gap_begins_the_waiting_anew() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut steady = Steady::default();
        steady.see(Some("a"), at(0));
        steady.see(Some("a"), at(50));
        assert_eq!(steady.settled(at(59)), None);
        assert_eq!(steady.settled(at(60)), Some(&"a"));
        for gap in [None, Some("b")] {
            steady.see(gap, at(70));
            steady.see(Some("a"), at(71));
            assert_eq!(steady.settled(at(130)), None);
            assert_eq!(steady.settled(at(131)), Some(&"a"));
        }
    }
}
