//! CPU time, spent and measured.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Multiplications between two looks at the clock: some microseconds, so that
/// reading the clock, a system call, is a small part of the work.
const STRIDE: u64 = 5_000;

/// CPU time that this thread has used since it began.
pub fn thread_time() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

/// CPU time that all threads of this process have used since it began.
pub fn process_time() -> Duration {
    time_of(ClockId::ProcessCPUTime)
}

fn time_of(clock: ClockId) -> Duration {
    // CPU clocks count up from zero, so the conversion cannot fail.
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// Uses `amount` of this thread's CPU time. How long that takes is up to the scheduler.
pub fn spend(amount: Duration) {
    let end = thread_time() + amount;
    while thread_time() < end {
        stride();
    }
}

/// A few microseconds of pure arithmetic.
pub fn stride() {
    let mut x = black_box(0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..STRIDE {
        x = x.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17);
    }
    black_box(x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_is_what_was_asked_for() {
        let amount = Duration::from_millis(10);
        let (thread, process) = (thread_time(), process_time());
        spend(amount);
        let spent = thread_time().saturating_sub(thread);
        assert!(
            spent >= amount && spent < amount + Duration::from_millis(5),
            "{spent:?}"
        );
        assert!(process_time() >= process + amount);
    }

    #[test]
    fn nothing_costs_next_to_nothing() {
        let before = thread_time();
        spend(Duration::ZERO);
        assert!(thread_time() < before + Duration::from_millis(5));
    }
}
