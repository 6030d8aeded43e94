//! How long the application's threads ran and how long they waited for a core, from
//! `/proc/PID/task/TID/schedstat`, which needs no privilege and may be another user's.
//!
//! A thread that can run and does not is the plainest sign of want: whether the limit stops it
//! or others are in its way, the kernel counts the time. With the time that it ran it gives the
//! *need*, the CPU that the threads would have used (research of the mechanism, §3.2):
//!
//! ```text
//! share that waited = Δdelay / (Δrun + Δdelay)        need = (Δrun + Δdelay) / Δt
//! ```
//!
//! The kernel counts a wait when it is over, so a thread that has not run at all is not seen yet.
//!
//! All threads are read once a second, or more seldom if there are many, 3 µs each; and every 15 s however many.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, openat};

use crate::held::{Path, number, read_once};
use crate::mean::Mean;
use crate::pressure::Lasting;
use crate::processes::{Listing, MOST, ProcessError};

/// Below so much need, in cores, what waits is noise: a thread that runs for a millisecond in a
/// second and waits for one has not gone without anything.
pub const NOISE: f64 = 0.02;

/// What the threads did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activity {
    /// The share of the time that they could run in which they did not, from 0 to 1, in each of the last
    /// seconds; 0 below [`NOISE`].
    pub waiting: f64,
    /// What they could have used, in cores, averaged over some seconds.
    pub need: f64,
}

/// What the threads' time comes to.
#[derive(Debug, Default)]
pub struct Times {
    need: Mean,
    waiting: Lasting,
}

impl Times {
    /// Takes in that the threads ran and waited for so many ns in the `elapsed`, not zero, before `now`.
    #[allow(clippy::cast_precision_loss)] // nanoseconds of one pause
    pub fn update(&mut self, run: u64, delay: u64, elapsed: Duration, now: Instant) -> Activity {
        let rate = |ns: u64| ns as f64 * 1e-9 / elapsed.as_secs_f64();
        let (delay, need) = (rate(delay), rate(run) + rate(delay));
        let waiting = if need < NOISE { 0.0 } else { delay / need };
        Activity {
            waiting: self.waiting.update(waiting, now),
            need: self.need.update(need, elapsed),
        }
    }
}

/// The two counters of one thread, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Thread {
    id: u32,
    run: u64,
    delay: u64,
}

/// Follows the counters of threads.
#[derive(Debug)]
pub struct Threads {
    listing: Listing,
    before: Vec<Thread>,
    now: Vec<Thread>,
    at: Option<Instant>,
    times: Times,
}

impl Threads {
    /// Knows no thread.
    pub fn new() -> Self {
        Self {
            listing: Listing::new(),
            before: Vec::new(),
            now: Vec::new(),
            at: None,
            times: Times::default(),
        }
    }

    /// What the threads of `processes`, which are directories under `root`, did since the last
    /// call. None at first, and where there is no thread.
    ///
    /// # Errors
    /// [`ProcessError::TooMany`]. A process or thread that vanishes is none.
    pub fn sample(
        &mut self,
        root: BorrowedFd<'_>,
        processes: &[u32],
        now: Instant,
    ) -> Result<Option<Activity>, ProcessError> {
        self.now.clear();
        for process in processes {
            if let Err(why @ ProcessError::TooMany) = self.read(root, *process) {
                self.forget();
                return Err(why);
            }
        }
        self.now.sort_unstable();
        if self.now.is_empty() {
            self.forget();
            return Ok(None);
        }
        let at = self.at.replace(now);
        let activity = at.and_then(|at| self.activity(at, now));
        std::mem::swap(&mut self.before, &mut self.now);
        Ok(activity)
    }

    /// Forgets everything: what comes next is not of a piece with it.
    pub fn forget(&mut self) {
        self.before.clear();
        self.at = None;
        self.times = Times::default();
    }

    fn read(&mut self, root: BorrowedFd<'_>, process: u32) -> Result<(), ProcessError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = Path::of(format_args!("{process}/task"));
        let tasks =
            openat(root, path.as_str(), flags, Mode::empty()).map_err(ProcessError::Read)?;
        let Self { listing, now, .. } = self;
        listing.numbers(&tasks, |id| {
            let mut buffer = [0; 96];
            let path = Path::of(format_args!("{id}/schedstat"));
            let thread = match read_once(&tasks, &path, &mut buffer) {
                Ok(text) => thread(id, text),
                Err(_) => None,
            };
            if now.len() == MOST {
                return Err(ProcessError::TooMany);
            }
            now.extend(thread);
            Ok(())
        })
    }

    /// What comes of what happened between `before`, which was read `at` that time, and `now`.
    fn activity(&mut self, at: Instant, now: Instant) -> Option<Activity> {
        let elapsed = now.saturating_duration_since(at);
        if elapsed.is_zero() {
            return None;
        }
        let (run, delay) = difference(&self.before, &self.now, elapsed);
        Some(self.times.update(run, delay, elapsed, now))
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads the first two numbers of a schedstat. A kernel that does not count writes zeros, and
/// so does one for a thread that has never run: neither says anything.
fn thread(id: u32, text: &[u8]) -> Option<Thread> {
    let mut words = text.trim_ascii_end().split(|byte| *byte == b' ');
    let run = number(words.next()?)?;
    let delay = number(words.next()?)?;
    let slices = number(words.next()?)?;
    (run > 0 || delay > 0 || slices > 0).then_some(Thread { id, run, delay })
}

/// What threads ran and waited between two readings, both in the order of their numbers, in ns.
///
/// A thread that has come since counts from zero, and for no longer than there was time; what one
/// did that has gone since is not known. A counter that went back belongs to another thread of
/// the same number, which counts as one that has come.
fn difference(before: &[Thread], now: &[Thread], elapsed: Duration) -> (u64, u64) {
    let most = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    let mut old = before.iter().peekable();
    let (mut run, mut delay) = (0_u64, 0_u64);
    for new in now {
        while old.next_if(|old| old.id < new.id).is_some() {}
        let same = old.next_if(|old| old.id == new.id).and_then(|old| {
            Some((
                new.run.checked_sub(old.run)?,
                new.delay.checked_sub(old.delay)?,
            ))
        });
        let (ran, waited) = same.unwrap_or_else(|| (new.run.min(most), new.delay.min(most)));
        run = run.saturating_add(ran);
        delay = delay.saturating_add(waited);
    }
    (run, delay)
}

#[cfg(test)]
mod tests;
