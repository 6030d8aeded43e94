//! Who could have had a write accepted, and when.

use super::Micros;

/// A process: the same machine's next one is another.
pub(super) type Process = usize;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    /// Both could write from the first moment to the second.
    Overlap([Process; 2], Micros, Micros),
    /// A term's epoch is not above an earlier one's.
    Epoch(i32, i32),
    /// Nobody leads although everything has been well for so long.
    Vacant(&'static str),
}

/// Stretches of time in which a write of `process` could be accepted.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    process: Process,
    from: Micros,
    to: Micros,
}

#[derive(Debug, Default)]
pub(super) struct Witness {
    stretches: Vec<Stretch>,
    epoch: Option<(Process, i32)>,
    breach: Option<Breach>,
}

impl Witness {
    /// `process` could begin a write from `from` to `to`, which takes effect within `tail` or never.
    pub(super) fn open(&mut self, process: Process, from: Micros, to: Micros, tail: Micros) {
        let to = to + tail;
        let last = self.stretches.iter_mut().rfind(|s| s.process == process);
        match last.filter(|last| last.to >= from) {
            Some(last) => last.to = last.to.max(to),
            None => self.stretches.push(Stretch { process, from, to }),
        }
    }

    /// All writes of `process` have had their effect at `at`.
    pub(super) fn settled(&mut self, process: Process, at: Micros) {
        let last = self.stretches.iter_mut().rfind(|s| s.process == process);
        if let Some(last) = last {
            last.to = last.to.min(at);
        }
    }

    /// `process` is in a term; `forgot`: somebody took epochs back meanwhile.
    pub(super) fn term(&mut self, process: Process, epoch: i32, forgot: bool) {
        let last = self.epoch.replace((process, epoch));
        match last {
            Some((_, before)) if !forgot && last != self.epoch && before >= epoch => {
                self.blame(Breach::Epoch(before, epoch));
            }
            _ => {}
        }
    }

    pub(super) fn blame(&mut self, breach: Breach) {
        self.breach.get_or_insert(breach);
    }

    pub(super) fn verdict(mut self) -> Result<(), Breach> {
        self.stretches.sort_by_key(|stretch| stretch.from);
        let overlap = self.stretches.iter().enumerate().find_map(|(at, a)| {
            let mut later = self.stretches[at + 1..].iter();
            let b = later.find(|b| b.process != a.process && b.from < a.to)?;
            Some(Breach::Overlap(
                [a.process, b.process],
                b.from,
                a.to.min(b.to),
            ))
        });
        overlap.or(self.breach).map_or(Ok(()), Err)
    }
}
