//! Time as this machine alone counts it, also while it sleeps.

use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A point in time on one machine's own clock. Never written anywhere, never
/// compared with another machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

/// What tells the time.
pub type Clock = fn() -> Moment;

impl Moment {
    /// This long after the clock's zero.
    pub const fn after_zero(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long it is until `later`; nothing if that is over.
    pub fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

/// The time since the machine started, sleep included.
///
/// Linux' `CLOCK_MONOTONIC`, which `std` and tokio read, stands still while the
/// machine is suspended: a leader would wake up long after its lease ended and
/// believe that no time had passed. `CLOCK_BOOTTIME` goes on (`clock_gettime(2)`).
/// No clock helps where a hypervisor stops a machine and hides that from it.
pub fn since_boot() -> Moment {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))] // there it counts sleep
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Moment(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machines_clock_goes_on() {
        let before = since_boot();
        std::thread::sleep(Duration::from_millis(2));
        let passed = before.until(since_boot());
        assert!(
            (Duration::from_millis(2)..Duration::from_mins(1)).contains(&passed),
            "{passed:?}"
        );
    }
}
