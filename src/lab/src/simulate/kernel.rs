//! The kernel's part: who runs, for how long, and who is throttled.
//!
//! A fluid model of CFS. In each step of 1 ms the cores are shared between the
//! groups that want to run, by weight, nobody getting more than it can use; a
//! group with a limit gets at most its quota in each period of 100 ms and waits
//! for the next period once that is used up. Nothing else keeps a core idle.
//! What is left out: time slices, migrations, caches, hyper-threads, and the
//! hierarchy of QoS classes. All in integers.

use mbcas_core::MilliCpu;

use super::time::{Nanos, Step};
use super::work::{Given, Want, Work};

/// The period of CFS bandwidth control, as the kubelet sets it.
pub const PERIOD: Nanos = Nanos::millis(100);

/// The least quota that the kubelet writes (`pkg/kubelet/cm/helpers_linux.go`).
const LEAST_QUOTA: Nanos = Nanos::millis(1);

/// What the kernel counts of one group, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// CPU time used.
    pub usage: Nanos,
    /// Periods in which it wanted to run under a limit.
    pub periods: u64,
    /// Those at whose end it was throttled.
    pub throttled: u64,
    /// Time throttled, summed over the cores that it could have used.
    pub throttled_time: Nanos,
}

/// One pod, as the kernel sees it.
#[derive(Clone, Debug)]
pub struct Group {
    weight: u64,
    bandwidth: Bandwidth,
    /// What is counted of it.
    pub counters: Counters,
    /// What runs in it.
    pub work: Work,
}

/// CFS bandwidth control.
#[derive(Clone, Copy, Debug)]
struct Bandwidth {
    quota: Option<Nanos>,
    used: Nanos,
    refill: Nanos,
    runnable: bool,
    throttled: bool,
}

/// A node's cores and the groups on them.
#[derive(Clone, Debug)]
pub struct Kernel {
    cores: u64,
    now: Nanos,
    /// The groups.
    pub groups: Vec<Group>,
    claims: Vec<Claim>,
}

/// What one group asks of one step.
#[derive(Clone, Copy, Debug)]
struct Claim {
    group: usize,
    weight: u64,
    want: Want,
    /// What it wants, as far as its quota goes.
    asked: Nanos,
    granted: Option<Nanos>,
}

impl Group {
    /// A group without a limit. `phase` is where in the node's time its periods begin.
    pub fn new(weight: u64, phase: Nanos, work: Work) -> Self {
        let bandwidth = Bandwidth {
            quota: None,
            used: Nanos::ZERO,
            refill: phase,
            runnable: false,
            throttled: false,
        };
        Self {
            weight: weight.max(1),
            bandwidth,
            counters: Counters::default(),
            work,
        }
    }

    /// Writes its limit. What it has used in this period stays used.
    pub fn limit(&mut self, limit: Option<MilliCpu>) {
        let quota = |limit: MilliCpu| Nanos::new(PERIOD.get() / 1_000 * limit.get());
        self.bandwidth.quota = limit.map(|limit| quota(limit).max(LEAST_QUOTA));
    }

    fn turn_period(&mut self, now: Nanos) {
        let bandwidth = &mut self.bandwidth;
        while now >= bandwidth.refill {
            bandwidth.refill += PERIOD;
            if bandwidth.quota.is_some() && bandwidth.runnable {
                self.counters.periods += 1;
                self.counters.throttled += u64::from(bandwidth.throttled);
            }
            bandwidth.used = Nanos::ZERO;
            bandwidth.runnable = false;
            bandwidth.throttled = false;
        }
    }

    fn claim(&mut self, index: usize, step: Step, cores: u64) -> Option<Claim> {
        self.turn_period(step.from);
        let want = self.work.want(step, cores);
        if want.cpu == Nanos::ZERO {
            return None;
        }
        self.bandwidth.runnable = true;
        let bandwidth = &self.bandwidth;
        let rest = bandwidth.quota.map(|quota| quota - bandwidth.used);
        Some(Claim {
            group: index,
            weight: self.weight,
            want,
            asked: rest.map_or(want.cpu, |rest| rest.min(want.cpu)),
            granted: None,
        })
    }

    fn run(&mut self, step: Step, claim: &Claim) {
        let cpu = claim.granted.unwrap_or_default();
        if cpu > Nanos::ZERO {
            let alone = claim.asked;
            let used = self.work.run(step, claim.want, Given { cpu, alone });
            self.counters.usage += used;
            self.bandwidth.used += used;
        }
        // The quota was less than what it wants, and it got all of the quota.
        if claim.asked < claim.want.cpu && cpu == claim.asked {
            self.bandwidth.throttled = true;
            self.counters.throttled_time += claim.want.ready - cpu;
        }
    }
}

impl Kernel {
    /// A node with `cores` and these groups.
    pub fn new(cores: u32, groups: Vec<Group>) -> Self {
        Self {
            cores: u64::from(cores),
            now: Nanos::ZERO,
            claims: Vec::with_capacity(groups.len()),
            groups,
        }
    }

    /// How many cores.
    pub const fn cores(&self) -> u64 {
        self.cores
    }

    /// When it is.
    pub const fn now(&self) -> Nanos {
        self.now
    }

    /// One millisecond passes.
    pub fn step(&mut self) {
        let step = Step::at(self.now);
        self.claims.clear();
        for (index, group) in self.groups.iter_mut().enumerate() {
            self.claims.extend(group.claim(index, step, self.cores));
        }
        share(Nanos::STEP.times(self.cores), &mut self.claims);
        for claim in &self.claims {
            self.groups[claim.group].run(step, claim);
        }
        self.now = step.until;
    }
}

/// Shares `cores` by weight, nobody getting more than it asked for: what one
/// cannot use goes to the others, again by weight.
fn share(cores: Nanos, claims: &mut [Claim]) {
    let asked: Nanos = claims.iter().map(|claim| claim.asked).sum();
    if asked <= cores {
        for claim in claims {
            claim.granted = Some(claim.asked);
        }
        return;
    }
    let (mut rest, mut weight) = (cores.get(), claims.iter().map(|c| c.weight).sum::<u64>());
    let mut clamped = true;
    while clamped {
        clamped = false;
        for claim in claims.iter_mut().filter(|claim| claim.granted.is_none()) {
            // Taking one out that asks for less than its share raises the level
            // for all others, so that who is clamped at any level is clamped at the last.
            if claim.asked.get() * weight <= rest * claim.weight {
                claim.granted = Some(claim.asked);
                rest -= claim.asked.get();
                weight -= claim.weight;
                clamped = true;
            }
        }
    }
    let part = |claim: &Claim| rest * claim.weight / weight.max(1);
    let open = claims.iter().filter(|claim| claim.granted.is_none());
    // Fewer nanoseconds than claims are left by rounding, and each claim has room for one.
    let mut left = rest - open.map(part).sum::<u64>();
    for claim in claims.iter_mut().filter(|claim| claim.granted.is_none()) {
        let extra = left.min(1);
        left -= extra;
        claim.granted = Some(Nanos::new(part(claim) + extra));
    }
}

#[cfg(test)]
mod tests;
