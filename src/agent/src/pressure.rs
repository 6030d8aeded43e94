//! Going without CPU: the kernel's pressure files, `some` and `full`, each with a running total, and what of a
//! share of the time lasts.

use std::time::{Duration, Instant};

use mbcas_core::demand::StandingQueue;

/// The total of the line that begins with `kind`, in µs since the kernel or the cgroup began.
pub fn total(text: &[u8], kind: &str) -> Option<u64> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(kind.as_bytes())?.strip_prefix(b" "))?;
    let mut words = line.split(|byte| *byte == b' ');
    crate::held::number(words.find_map(|word| word.strip_prefix(b"total="))?)
}

/// The share of the time that went by between two totals, from 0 to 1. None where the total went
/// back, because the counter is another one than before, or where no time went by.
#[allow(clippy::cast_precision_loss)] // microseconds of one pause
pub fn share(before: u64, now: u64, elapsed: Duration) -> Option<f64> {
    let stalled = now.checked_sub(before)? as f64 * 1e-6;
    (!elapsed.is_zero()).then(|| (stalled / elapsed.as_secs_f64()).min(1.0))
}

/// What a share has been at least in all looks of the last eight seconds, like a queue that stands ([`StandingQueue`]).
#[derive(Clone, Debug, Default)]
pub struct Lasting {
    looks: [Option<(f64, Instant)>; Self::LOOKS],
    next: usize,
}

impl Lasting {
    /// It looks back so far, and always to the newest look.
    pub const SPAN: Duration = StandingQueue::SPAN;

    /// Looks in [`Self::SPAN`], once a second.
    const LOOKS: usize = StandingQueue::LOOKS;

    /// Takes in the share `now`, and returns the least.
    pub fn update(&mut self, share: f64, now: Instant) -> f64 {
        let is_recent = |(_, at): &&(f64, Instant)| now.saturating_duration_since(*at) < Self::SPAN;
        let before = self.looks.iter().flatten().filter(is_recent);
        let least = before.fold(share, |least, (share, _)| least.min(*share));
        self.looks[self.next] = Some((share, now));
        self.next = (self.next + 1) % Self::LOOKS;
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"some avg10=1.23 avg60=0.45 avg300=0.10 total=123456\n\
        full avg10=0.00 avg60=0.00 avg300=0.00 total=789\n";

    #[test]
    fn totals_are_read() {
        assert_eq!(total(FILE, "some"), Some(123_456));
        assert_eq!(total(FILE, "full"), Some(789));
        for bad in [
            "",
            "some",
            "some total=",
            "some total=-1",
            "full total=1",
            "sometotal=1",
        ] {
            assert_eq!(total(bad.as_bytes(), "some"), None, "{bad}");
        }
    }

    #[test]
    fn a_share_is_from_0_to_1_and_a_reset_is_none() {
        let second = Duration::from_secs(1);
        assert_eq!(share(1_000, 501_000, second), Some(0.5));
        assert_eq!(share(0, 2_000_000, second), Some(1.0));
        assert_eq!(share(u64::MAX, 5, second), None);
        assert_eq!(share(1, 2, Duration::ZERO), None);
    }

    #[test]
    fn a_share_lasts_that_was_no_less_for_eight_seconds() {
        let begin = Instant::now();
        let mut lasting = Lasting::default();
        let mut at = |second, share| lasting.update(share, begin + Duration::from_secs(second));
        assert!((at(0, 0.1) - 0.1).abs() < 1e-9);
        for second in 1..8 {
            assert!((at(second, 0.9) - 0.1).abs() < 1e-9, "{second}");
        }
        assert!((at(8, 0.9) - 0.9).abs() < 1e-9);
        assert!((at(9, 0.2) - 0.2).abs() < 1e-9);
        // One that is looked at more seldom stands for the time since.
        assert!((at(17, 0.7) - 0.7).abs() < 1e-9);
    }
}
