//! How much CPU a container could use, from what it was seen to use.
//!
//! Usage says it, as long as nothing keeps the container from using more. Where
//! something does, its own limit or a node that is full, usage is *censored*: it
//! says "at least this much". Then the need is taken to be half as much again,
//! window after window, until a window is not censored any more, or until it shows on average that
//! the container leaves some of its limit.
//!
//! ```text
//!  usage ──▶ censored? ──no──▶ need = average of usage, half-life 30 s
//!                │yes
//!                └───────────▶ need = 1.5 × what holds it, or less by the agent's word
//! ```
//!
//! An agent may have measured what its container could use. That is a stranger's word: it counts
//! only where usage is censored, and only downwards, so that nobody gains by it.

use std::time::Duration;

use mbcas_core::{Demand, MilliCpu};
use serde::{Deserialize, Serialize};

use crate::input::Usage;
use crate::smooth::{Smooth, faded};

/// Half-life of the average of usage: two cycles (research of the control
/// loop, §2: shorter follows the noise of 10 s windows, longer is late for a ramp).
const HALF_LIFE: Duration = Duration::from_secs(30);

/// How long a peak counts whole, and how fast it is forgotten then (research of the control loop, §2). Without
/// that memory limits are cut between two bursts, and who comes back after a silence is late (laws `turns`).
const PEAK: Duration = Duration::from_mins(2);
const PEAK_HALF_LIFE: Duration = Duration::from_mins(1);

/// A censored container needs so many percent of what holds it (research of the control loop, §2). Three percent more
/// or five times as much, and a stranger's arrival moves limits (law `a_stranger_lowers_nobody`).
const ESCAPE_PERCENT: u64 = 150;

/// At so much of its limit a container that is in demand is held by it (research of the control loop, §2),
const HELD_PERCENT: u64 = 90;
/// and at so much any container is, but for those that were seen to leave some of it ([`LEAVES_PERCENT`]).
const FULL_PERCENT: u64 = 97;

/// Who was held, by its limit or by a full node, needs no less than its limit until it uses less than so many percent of it.
///
/// Without that, one whose need is near to its grant goes up and down for ever: let go by a
/// tenth it is not held any more, its need is its average again, and it is cut to that. In
/// simulation, at 1.05 of the node, 35 reversals in eleven minutes of sixteen seeds, and none with it. And one that was
/// starved beside a burner is cut to what it used before as soon as the burner is held (seen on the cluster, `make bench-demand`).
const LEFT_PERCENT: u64 = 85;

/// Who was held, and then leaves more of its limit than the rest to so many percent on average, has what
/// it asks for, if the machine is not full or its weight gives it as much as its limit: a queue that never empties would use
/// all of it. The average begins at the whole limit.
///
/// Without that, one that needs nine tenths of its grant is held there for ever: its latency is that of a
/// queue that is nearly full, and reads as need. In simulation, of 72 services that need 0.93 to 0.95 of what they
/// are entitled to on a full node, 13 were late with 10 to 36 % of their requests of an hour; with it none with more than 9 %.
const LEAVES_PERCENT: u64 = 95;
const LEAVES_HALF_LIFE: Duration = Duration::from_mins(1);

/// A demand that says that something waits. An agent says less of a load that is served: it looks for what stands in the queue
/// ([`mbcas_core::demand::StandingQueue`]). With three tenths who shouts is held where who tells the truth is
/// not, and has a tenth fewer late requests in simulation.
const WAITING: Demand = Demand::from_basis_points(1_000);

/// How long what is known counts at least of a container of whose usage nothing is known any more,
pub const KNOWN_FOR: Duration = Duration::from_mins(1);

/// and for how many windows, where they are longer.
pub const KNOWN_WINDOWS: u32 = 3;

/// How many windows the smallest need is looked for in (research of the control loop, §2). With one, a neighbour that wakes
/// has earned what it uses, and others are late (law `who_wakes_takes_nothing_from_others`).
const WINDOWS: usize = 4;

/// What holds a container back, if anything does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Censor {
    /// Its own limit.
    Limit,
    /// The node is full, and it has its whole weight share.
    Node,
}

impl Censor {
    /// One word, from a closed set, for metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Node => "node",
        }
    }
}

/// What is known about the need of one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    usage: MilliCpu,
    average: Smooth,
    peak: MilliCpu,
    peak_at: Duration,
    /// The needs of the last windows, the newest first.
    recent: [MilliCpu; WINDOWS],
    windows: u8,
    /// When the newest window ended, and how long it was.
    until: Duration,
    #[serde(default)]
    window: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    censored: Option<(Censor, MilliCpu)>,
    /// What the agent measured meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    measured: Option<MilliCpu>,
    /// Its limit, of which it has used nearly all since something held it.
    #[serde(skip_serializing_if = "Option::is_none")]
    near: Option<MilliCpu>,
    /// Its limit, of which it has used nearly all since something held it, and what it used of that on average since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    under: Option<(MilliCpu, Smooth)>,
}

/// What surrounds a container while its usage is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings {
    /// Its limit.
    pub(crate) limit: Option<MilliCpu>,
    /// What its agent says.
    pub(crate) demand: Demand,
    /// What its agent measured that it could use.
    pub(crate) measured: Option<MilliCpu>,
    /// The node is full, and this is what its weight gives it there.
    pub(crate) share: Option<MilliCpu>,
}

impl Estimate {
    /// From the first window.
    pub(crate) fn first(usage: Usage, around: Surroundings) -> Self {
        let start = Self {
            usage: usage.cpu,
            average: Smooth::first(usage.cpu.get()),
            peak: usage.cpu,
            peak_at: usage.until,
            recent: [usage.cpu; WINDOWS],
            windows: 0,
            until: usage.until,
            window: Duration::ZERO,
            censored: None,
            measured: None,
            near: None,
            under: None,
        };
        start.with(usage, around, Duration::ZERO)
    }

    /// With a further window. One that was seen already changes nothing.
    #[must_use]
    pub(crate) fn then(self, usage: Usage, around: Surroundings) -> Self {
        if usage.until <= self.until {
            return self;
        }
        let elapsed = usage.until.saturating_sub(self.until);
        let average = self.average.then(usage.cpu.get(), elapsed, HALF_LIFE);
        Self { average, ..self }.with(usage, around, elapsed)
    }

    fn with(mut self, usage: Usage, around: Surroundings, elapsed: Duration) -> Self {
        self.usage = usage.cpu;
        (self.until, self.window) = (usage.until, elapsed);
        if usage.cpu >= self.peak_then(usage.until) {
            (self.peak, self.peak_at) = (usage.cpu, usage.until);
        }
        let was_held = self.is_held();
        let censored = censor(usage, around);
        let is_held = was_held || matches!(censored, Some((Censor::Limit, _)));
        let is_near = |limit: &MilliCpu| usage.cpu >= limit.scaled(LEFT_PERCENT, 100);
        let near = around.limit.filter(is_near);
        // On a full machine it may be the others that leave it no more, unless its weight gives it more than its limit.
        let is_its_own = |limit: &MilliCpu| around.share.is_none_or(|share| share >= *limit);
        let told = near.filter(is_its_own);
        self.under = told.and_then(|limit| self.under_limit(limit, is_held, elapsed));
        self.censored = censored.filter(|_| !self.leaves_some());
        self.near = near.filter(|_| was_held && self.censored.is_none() && !self.leaves_some());
        self.measured = around.measured;
        self.recent.rotate_right(1);
        self.recent[0] = self.need();
        self.windows = self.windows.saturating_add(1);
        self
    }

    /// What it used on average of `limit`, of which it uses nearly all, since it was first held by it.
    fn under_limit(
        &self,
        limit: MilliCpu,
        is_held: bool,
        elapsed: Duration,
    ) -> Option<(MilliCpu, Smooth)> {
        let used = self.under.filter(|(same, _)| *same == limit);
        let used = used.map(|(_, used)| used.then(self.usage.get(), elapsed, LEAVES_HALF_LIFE));
        let used = used.or_else(|| is_held.then(|| Smooth::first(limit.get())));
        used.map(|used| (limit, used))
    }

    /// Whether its limit leaves it what it asks for, though something held it.
    pub(crate) fn leaves_some(&self) -> bool {
        self.under
            .is_some_and(|(limit, used)| used.value() < limit.scaled(LEAVES_PERCENT, 100).get())
    }

    /// What it could use.
    pub fn need(&self) -> MilliCpu {
        let average = MilliCpu::new(self.average.value());
        match self.censored {
            Some((_, held)) => {
                let escape = held.scaled(ESCAPE_PERCENT, 100);
                let measured = self.measured.map_or(escape, |measured| measured.max(held));
                escape.min(measured).max(average)
            }
            None => average.max(self.near.unwrap_or_default()),
        }
    }

    /// What it used over the newest window.
    pub fn usage(&self) -> MilliCpu {
        self.usage
    }

    /// When that window ended.
    pub fn until(&self) -> Duration {
        self.until
    }

    /// Whether it says nothing any more about `now`.
    pub(crate) fn is_old(&self, now: Duration) -> bool {
        now.saturating_sub(self.until) > KNOWN_FOR.max(self.window * KNOWN_WINDOWS)
    }

    /// What holds it back.
    pub fn censored(&self) -> Option<Censor> {
        self.censored.map(|(censor, _)| censor)
    }

    /// Whether something holds it back, or did and it has not left some of its limit since.
    pub(crate) fn is_held(&self) -> bool {
        self.censored.is_some() || self.near.is_some()
    }

    /// The most that it used in two minutes, forgotten slowly after that; not below its need.
    pub fn peak(&self, now: Duration) -> MilliCpu {
        self.peak_then(now).max(self.need())
    }

    /// The smallest need of the last four windows; nothing before there were four.
    ///
    /// A container that wakes has earned nothing yet, whatever it used once.
    pub fn least(&self) -> Option<MilliCpu> {
        (usize::from(self.windows) >= WINDOWS)
            .then(|| self.recent.into_iter().min().unwrap_or_default())
    }

    fn peak_then(&self, now: Duration) -> MilliCpu {
        let old = now.saturating_sub(self.peak_at).saturating_sub(PEAK);
        MilliCpu::new(faded(self.peak.get(), old, PEAK_HALF_LIFE))
    }
}

/// What kept the container from using more in this window, and how much that was.
///
/// On a full node those whose requests are right all use about their shares: it takes a sign that
/// something waits. Being throttled is none: a container whose threads wake together is throttled at a
/// fifth of its limit (docs/decisions/0006).
fn censor(usage: Usage, around: Surroundings) -> Option<(Censor, MilliCpu)> {
    let reaches = |percent, amount: MilliCpu| usage.cpu >= amount.scaled(percent, 100);
    let waits = around.demand >= WAITING;
    let limit = around
        .limit
        .filter(|l| reaches(FULL_PERCENT, *l) || (waits && reaches(HELD_PERCENT, *l)));
    let share = around
        .share
        .filter(|share| waits && reaches(HELD_PERCENT, *share));
    limit
        .map(|limit| (Censor::Limit, limit))
        .or_else(|| share.map(|_| (Censor::Node, usage.cpu)))
}

#[cfg(test)]
mod tests;
