//! Time in the simulated world, the clock's and the CPU's.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

use mbcas_core::MilliCpu;

/// Nanoseconds: since the simulation began, or of CPU time.
///
/// One machine word where [`Duration`] is two, because the innermost loop adds
/// and compares little else. Subtraction saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(u64);

impl Nanos {
    /// No time.
    pub const ZERO: Self = Self(0);
    /// One step of the simulation.
    pub const STEP: Self = Self(1_000_000);
    /// A second.
    pub const SECOND: Self = Self(1_000_000_000);

    /// `value` nanoseconds.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// `value` milliseconds.
    pub const fn millis(value: u64) -> Self {
        Self(value * 1_000_000)
    }

    /// The number of nanoseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// From seconds; what is negative or no number is zero.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast saturates
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1e9) as u64)
    }

    /// In seconds.
    #[allow(clippy::cast_precision_loss)] // hours are far below 2^52 ns
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// `self × count`.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0 * count)
    }

    /// `self × part / whole`, rounded down, for times within one step; nothing of an empty `whole`.
    #[must_use]
    pub const fn scaled(self, part: Self, whole: Self) -> Self {
        // A step of 64 cores squared is 4·10^15: no overflow.
        match (self.0 * part.0).checked_div(whole.0) {
            Some(share) => Self(share),
            None => Self::ZERO,
        }
    }

    /// The CPU that this much CPU time is over `elapsed`, rounded down.
    pub fn over(self, elapsed: Self) -> MilliCpu {
        MilliCpu::new(1_000).scaled(self.0, elapsed.0)
    }
}

impl From<Duration> for Nanos {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Nanos> for Duration {
    fn from(nanos: Nanos) -> Self {
        Self::from_nanos(nanos.0)
    }
}

impl Add for Nanos {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for Nanos {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for Nanos {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Nanos {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::ZERO, Add::add)
    }
}

/// One step: from, and until.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it begins.
    pub from: Nanos,
    /// When it ends.
    pub until: Nanos,
}

impl Step {
    /// The step that begins at `from`.
    pub fn at(from: Nanos) -> Self {
        Self {
            from,
            until: from + Nanos::STEP,
        }
    }
}
