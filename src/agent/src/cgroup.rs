//! What the container's own limit does to it, from its cgroup.
//!
//! A container's processes see their own cgroup at `/sys/fs/cgroup`, and whoever may trace them
//! sees it through `/proc/PID/root`: the same user, with `shareProcessNamespace`. Others may not,
//! and then there is no such signal.
//!
//! | file | says |
//! | --- | --- |
//! | `cpu.stat` | periods of the limit (100 ms), and in how many of them it stopped the container |
//! | `cpu.pressure` | time in which nothing in the container ran that could; version 2 from Linux 5.13 on |
//!
//! Of several containers beside the agent's the first one that may be looked at is shown.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::held::{Held, Path, field, number, value};
use crate::mean::Mean;
use crate::pressure::{Lasting, share, total};

/// Where `cpu.stat` may be: version 2, then the two ways to mount version 1.
const STATS: [&str; 3] = ["cpu.stat", "cpu/cpu.stat", "cpu,cpuacct/cpu.stat"];

/// Periods that make a share: of fewer each one is too much of it.
const PERIODS: u32 = 5;

/// A container whose threads hardly run has hardly any periods. After so long without
/// [`PERIODS`] of them, nothing has stopped it.
const QUIET: Duration = Duration::from_secs(10);

/// Why a cgroup says nothing.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// A file is not as the kernel writes it.
    #[error("{0} of the container's cgroup is not as the kernel writes it; it says nothing then")]
    Malformed(&'static str),
}

/// What a cgroup says, as shares from 0 to 1. What it does not say is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stops {
    /// Periods in which the limit stopped the container, on average over some ten seconds.
    pub throttled: Option<f64>,
    /// Time in which nothing ran that could, in each of the last seconds.
    pub stalled: Option<f64>,
}

/// Follows the counters of one cgroup.
#[derive(Debug, Default)]
pub struct Cgroup {
    process: Option<u32>,
    stat: Option<Held>,
    pressure: Option<Held>,
    throttling: Throttling,
    stalls: Stalls,
}

impl Cgroup {
    /// What the cgroup of the first of `processes` that may be looked at says. `root` is where
    /// they are directories.
    ///
    /// # Errors
    /// [`CgroupError`]; a file that is not there, or is somebody else's, is none.
    pub fn sample(
        &mut self,
        root: BorrowedFd<'_>,
        processes: &[u32],
        now: Instant,
    ) -> Result<Stops, CgroupError> {
        if !self.process.is_some_and(|held| processes.contains(&held)) {
            *self = Self::default();
            self.find(root, processes);
        }
        let outcome = self.read(now);
        if matches!(outcome, Err(_) | Ok(None)) {
            *self = Self::default();
        }
        outcome.map(Option::unwrap_or_default)
    }

    fn find(&mut self, root: BorrowedFd<'_>, processes: &[u32]) {
        let open = |process: u32, file: &str| {
            let path = Path::of(format_args!("{process}/root/sys/fs/cgroup/{file}"));
            Held::open(root, path.as_str()).ok()
        };
        for process in processes {
            self.stat = STATS.iter().find_map(|file| open(*process, file));
            self.pressure = open(*process, "cpu.pressure");
            if self.stat.is_some() || self.pressure.is_some() {
                self.process = Some(*process);
                return;
            }
        }
    }

    /// None once a file cannot be read any more: its cgroup is gone.
    fn read(&mut self, now: Instant) -> Result<Option<Stops>, CgroupError> {
        let mut buffer = [0; 1024];
        let mut stops = Stops::default();
        if let Some(file) = &self.stat {
            let Ok(text) = file.read(&mut buffer) else {
                return Ok(None);
            };
            stops.throttled = self.throttling.update(text, now)?;
        }
        if let Some(file) = &self.pressure {
            match file.read(&mut buffer) {
                Ok(text) => stops.stalled = self.stalls.update(text, now),
                // A kernel that was told to keep no pressures has the file all the same.
                Err(_) => self.pressure = None,
            }
        }
        let is_any = self.stat.is_some() || self.pressure.is_some();
        Ok(is_any.then_some(stops))
    }
}

/// The share of throttled periods, as an average over twice [`crate::mean::HALF_LIFE`]: what comes at random is
/// stopped at random.
#[derive(Debug, Default)]
pub struct Throttling {
    before: Option<(Counter, Counter, Instant)>,
    mean: Mean,
    share: Option<f64>,
}

impl Throttling {
    /// Takes in a `cpu.stat`. None before there is a share, and where there are no periods
    /// because it is the root's.
    ///
    /// # Errors
    /// [`CgroupError`] where the file is something else.
    pub fn update(&mut self, text: &[u8], now: Instant) -> Result<Option<f64>, CgroupError> {
        const MALFORMED: CgroupError = CgroupError::Malformed("cpu.stat");
        let (periods, throttled) = match (
            Counter::of(text, "nr_periods"),
            Counter::of(text, "nr_throttled"),
        ) {
            (Some(periods), Some(throttled)) => (periods, throttled),
            (None, None) if field(text, "usage_usec").is_some() => return Ok(None),
            _ => return Err(MALFORMED),
        };
        let Some((old_periods, old_throttled, at)) = self.before else {
            self.before = Some((periods, throttled, now));
            return Ok(None);
        };
        let passed = periods.since(old_periods);
        let stopped = throttled.since(old_throttled);
        let elapsed = now.saturating_duration_since(at);
        let share = match (passed, stopped) {
            (Some(passed), Some(stopped)) if passed >= PERIODS => {
                Some((f64::from(stopped) / f64::from(passed)).min(1.0))
            }
            (Some(_), Some(_)) if elapsed < QUIET => return Ok(self.share),
            (Some(_), Some(_)) => Some(0.0),
            // The counters began anew: what they say now is counted from here.
            _ => None,
        };
        self.before = Some((periods, throttled, now));
        if share.is_none() {
            self.mean = Mean::default();
        }
        self.share = share.map(|share| self.mean.update(share, elapsed / 2));
        Ok(self.share)
    }
}

/// A counter of 32 bits that goes on at its least value: the kernel's, which count ten times a
/// second, are below 0 after seven years.
#[derive(Clone, Copy, Debug)]
struct Counter(i32);

impl Counter {
    fn of(text: &[u8], name: &str) -> Option<Self> {
        let text = value(text, name)?;
        let digits = text.strip_prefix(b"-");
        let size = number(digits.unwrap_or(text))?;
        let size = u32::try_from(size).ok()?.cast_signed();
        let sign = if digits.is_some() { -1 } else { 1 };
        Some(Self(size.wrapping_mul(sign)))
    }

    /// How much more it is than it was; None where it is less.
    fn since(self, before: Self) -> Option<u32> {
        u32::try_from(self.0.wrapping_sub(before.0)).ok()
    }
}

/// The share of the time in which all that could run was stopped.
#[derive(Debug, Default)]
pub struct Stalls {
    before: Option<(u64, Instant)>,
    lasting: Lasting,
}

impl Stalls {
    /// Takes in a `cpu.pressure`. None at first, where the counter began anew, and where the kernel does not say
    /// it: before Linux 5.13 it has only `some`.
    pub fn update(&mut self, text: &[u8], now: Instant) -> Option<f64> {
        let stalled = total(text, "full")?;
        let (before, at) = self.before.replace((stalled, now))?;
        let share = share(before, stalled, now.saturating_duration_since(at))?;
        Some(self.lasting.update(share, now))
    }
}

#[cfg(test)]
mod tests;
