//! The guardrails of the least-restrictive rule, where limits keep promises to others.
//!
//! Who is short is held tightly and let go slowly. Who has what it needs is
//! hardly ever written to: raised before its limit could bind, cut only when it
//! has long been able to overrun others. The constants are those of the research of the control loop, §2.

use std::time::Duration;

use mbcas_core::MilliCpu;
use mbcas_core::annotations::Mode;

use super::{Direction, HoldReason, Patience, Verdict};
use crate::clear::Allocation;
use crate::input::Observed;
use crate::ledger::Entry;
use crate::policy::Policy;
use crate::reason::LimitReason;

/// A short one is cut when it has more than its limit by so many percent; letting it go by less is not worth a write.
const CUT_PERCENT: u64 = 10;

/// A short one grows when it was to grow for so long: in two cycles, not in one.
const GROW_AFTER: Duration = Duration::from_secs(10);

/// A satisfied one is cut when it has had more than its limit by so many percent
const TRIM_PERCENT: u64 = 30;
/// for so long.
const TRIM_AFTER: Duration = Duration::from_mins(1);

/// A satisfied one has room while its limit is twice its peak and as much again, up to this.
const ROOM: MilliCpu = MilliCpu::new(300);

/// One participant, and what is remembered of it.
pub(crate) struct Case<'a> {
    pub(crate) allocation: &'a Allocation,
    pub(crate) observed: &'a Observed,
    /// What the node has: one without a limit has its cap.
    pub(crate) allocatable: MilliCpu,
    pub(crate) policy: &'a Policy,
    pub(crate) now: Duration,
}

impl Case<'_> {
    /// What this plan does about it; `entry` notes how long a change has been wanted.
    pub(crate) fn judge(&self, entry: &mut Entry) -> Verdict {
        let wanted = self.allocation.limit;
        let kept = std::mem::take(&mut entry.patience);
        // Without a limit there is nothing to loosen, and one that is set can never be removed.
        let from = match self.observed.limit {
            Some(from) => from,
            None if self.binds() => self.observed.cap(self.allocatable),
            None => return Verdict::Stay,
        };
        if wanted == from {
            return Verdict::Stay;
        }
        let verdict = if from < self.observed.floor() || self.observed.starting {
            Verdict::Write(wanted)
        } else if wanted < from {
            self.shrink(from, entry, kept)
        } else {
            self.grow(from, entry, kept)
        };
        self.in_mode(verdict)
    }

    fn in_mode(&self, verdict: Verdict) -> Verdict {
        match (verdict, self.observed.mode) {
            (Verdict::Stay, _) | (_, Mode::Auto) => verdict,
            (_, mode) => Verdict::Hold(HoldReason::Mode(mode)),
        }
    }

    /// Whether the limit that is wanted keeps it from something.
    fn binds(&self) -> bool {
        matches!(
            self.allocation.limit_reason,
            LimitReason::Held | LimitReason::Overdraft | LimitReason::Recovering
        )
    }

    fn shrink(&self, from: MilliCpu, entry: &mut Entry, kept: Patience) -> Verdict {
        let wanted = self.allocation.limit;
        let excess = from - wanted;
        let percent = if self.allocation.is_short {
            CUT_PERCENT
        } else {
            TRIM_PERCENT
        };
        if excess <= self.band(wanted, percent) {
            return Verdict::Hold(HoldReason::DeadBand { wanted });
        }
        if self.allocation.is_short {
            // Cut at most by half of what it uses; a limit far above that is no loss.
            let used = entry
                .estimate()
                .map_or(from, |known| known.usage().min(from));
            let least = self.policy.least_after_shrink(used);
            return Verdict::Write(wanted.max(least).min(from));
        }
        let since = kept.trim.unwrap_or(self.now);
        self.patiently(entry, since, TRIM_AFTER, |p, since| p.trim = Some(since))
    }

    fn grow(&self, from: MilliCpu, entry: &mut Entry, kept: Patience) -> Verdict {
        let wanted = self.allocation.limit;
        if !self.allocation.is_short {
            let known = entry.estimate();
            if known.is_none() && entry.written().is_some() {
                // Why we held it is not known any more.
                return Verdict::Write(wanted);
            }
            let peak = known.map_or(self.allocation.need, |k| k.peak(self.now));
            let peak = peak.max(self.allocation.need);
            let enough = (peak + peak) + (peak + peak).min(ROOM);
            return if from >= enough {
                Verdict::Hold(HoldReason::Roomy { wanted })
            } else {
                Verdict::Write(wanted)
            };
        }
        if wanted - from <= self.band(from, self.policy.settings().dead_band_percent) {
            return Verdict::Hold(HoldReason::DeadBand { wanted });
        }
        // There is room for it: that it was held until now is why it has to be let go.
        if self.allocation.grant >= self.allocation.need {
            return Verdict::Write(wanted);
        }
        let shrunk = entry
            .written()
            .filter(|written| written.direction == Direction::Shrink);
        let remaining = shrunk.map_or(Duration::ZERO, |written| {
            let wait = self.policy.settings().reverse_after;
            wait.saturating_sub(self.now.saturating_sub(written.at))
        });
        let since = kept.grow.unwrap_or(self.now);
        let verdict = self.patiently(entry, since, GROW_AFTER, |p, since| p.grow = Some(since));
        if remaining.is_zero() {
            verdict
        } else {
            Verdict::Hold(HoldReason::Cooldown { wanted, remaining })
        }
    }

    fn band(&self, of: MilliCpu, percent: u64) -> MilliCpu {
        self.policy
            .settings()
            .dead_band
            .max(of.scaled(percent, 100))
    }

    /// Writes what has been wanted since `since` for long enough.
    fn patiently(
        &self,
        entry: &mut Entry,
        since: Duration,
        enough: Duration,
        remember: impl FnOnce(&mut Patience, Duration),
    ) -> Verdict {
        let wanted = self.allocation.limit;
        let remaining = enough.saturating_sub(self.now.saturating_sub(since));
        remember(&mut entry.patience, since);
        if remaining.is_zero() {
            Verdict::Write(wanted)
        } else {
            Verdict::Hold(HoldReason::Unsettled { wanted, remaining })
        }
    }
}
