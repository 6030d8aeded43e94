//! What the market of one node remembers between cycles.

use std::collections::BTreeMap;
use std::time::Duration;

use mbcas_core::{ContainerId, Demand, MilliCpu};

use crate::claim::{Claims, Signal};
use crate::guard::{Direction, Patience};
use crate::input::{NodeSnapshot, Observed};
use crate::need::{Estimate, Surroundings};
use crate::plan::Write;
use crate::policy::Policy;
use crate::smooth::Smooth;
use crate::standing::Standing;
use crate::waterline::Waterline;

/// The memory of one node's market. A new leader starts with an empty one: the
/// limits are in the cluster, and what is lost is at most one half-life of
/// smoothing and one cooldown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    entries: BTreeMap<ContainerId, Entry>,
    capacity: Option<MilliCpu>,
    now: Duration,
}

/// What is remembered of one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// In basis points.
    demand: Smooth,
    at: Duration,
    estimate: Option<Estimate>,
    claims: Claims,
    standing: Standing,
    patience: Patience,
    written: Option<Written>,
}

/// The last limit that we wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The limit.
    pub limit: MilliCpu,
    /// When, on the clock that `plan` is given.
    pub at: Duration,
    /// Whether it was less or more than before.
    pub direction: Direction,
}

impl Ledger {
    /// The smoothed demand of `id`, as the last clearing used it.
    pub fn demand(&self, id: &ContainerId) -> Option<Demand> {
        let entry = self.entries.get(id)?;
        Some(Demand::from_basis_points(entry.demand.value()))
    }

    /// The last limit that we wrote for `id`.
    pub fn written(&self, id: &ContainerId) -> Option<&Written> {
        self.entries.get(id)?.written.as_ref()
    }

    /// What is known about the need of `id`.
    pub fn estimate(&self, id: &ContainerId) -> Option<&Estimate> {
        self.entries.get(id)?.estimate.as_ref()
    }

    /// Whether `id` is short.
    pub fn standing(&self, id: &ContainerId) -> Standing {
        self.entries
            .get(id)
            .map_or_else(Standing::default, |e| e.standing)
    }

    /// The capacity that the last clearing had.
    pub fn capacity(&self) -> Option<MilliCpu> {
        self.capacity
    }

    /// Takes a write back that did not reach the cluster: `id` is remembered as
    /// `before`, the ledger that the plan was made from, had it.
    pub fn take_back(&mut self, id: &ContainerId, before: &Self) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.written = before.written(id).copied();
        }
    }

    /// The time that the cycle at hand was given.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// The memory with what `snapshot` shows added: every participant's demand
    /// smoothed and its need estimated, containers that are gone forgotten.
    pub(crate) fn observe(
        &self,
        snapshot: &NodeSnapshot,
        policy: &Policy,
        waterline: &Waterline<'_>,
        now: Duration,
    ) -> Self {
        let half_life = policy.settings().half_life;
        let seen = snapshot.participants.iter().map(|(id, observed)| {
            let known = self.entries.get(id).copied();
            let mut entry = known.unwrap_or_else(|| Entry::new(observed, now));
            let (elapsed, sample) = (now.saturating_sub(entry.at), observed.demand.basis_points());
            entry.demand = entry.demand.then(sample, elapsed, half_life);
            entry.at = now;
            entry.estimate(observed, waterline);
            (id.clone(), entry)
        });
        Self {
            entries: seen.collect(),
            capacity: self.capacity,
            now,
        }
    }

    /// The capacity to clear with: never more than `raw`, the capacity as measured.
    ///
    /// Others' usage jitters, and every small fall of a capacity that is handed
    /// out to the last quantum costs a write. So a fall counts at once, a rise only when it is
    /// beyond the dead-band: the market settles at the low end of the jitter.
    pub(crate) fn steady_capacity(&mut self, raw: MilliCpu, policy: &Policy) -> MilliCpu {
        let held = self
            .capacity
            .filter(|old| *old <= raw && policy.is_within_dead_band(*old, raw - *old));
        *self.capacity.insert(held.unwrap_or(raw))
    }

    /// Hears `signal` from `id`, and returns what it claims.
    pub(crate) fn claims(&mut self, id: &ContainerId, signal: &Signal) -> Option<MilliCpu> {
        let entry = self.entries.get_mut(id)?;
        entry.claims = entry.claims.then(signal);
        entry.claims.amount()
    }

    /// Notes what tier A gave `id` of its need, and returns whether it is short.
    pub(crate) fn stands(&mut self, id: &ContainerId, need: MilliCpu, given: MilliCpu) -> bool {
        let now = self.now;
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        let usage = entry.estimate.map(|known| known.usage());
        entry.standing = entry.standing.then(need, given, usage, now);
        entry.standing.is_short()
    }

    /// How long a change has been wanted for `id`, to be kept up to date by the guard.
    pub(crate) fn patience(&mut self, id: &ContainerId) -> Option<&mut Patience> {
        self.entries.get_mut(id).map(|entry| &mut entry.patience)
    }

    /// Notes `write` as done.
    pub(crate) fn note(&mut self, write: &Write, now: Duration) {
        if let Some(entry) = self.entries.get_mut(&write.id) {
            entry.written = Some(Written {
                limit: write.to,
                at: now,
                direction: write.direction(),
            });
        }
    }
}

impl Entry {
    fn new(observed: &Observed, now: Duration) -> Self {
        Self {
            demand: Smooth::first(observed.demand.basis_points()),
            at: now,
            estimate: None,
            claims: Claims::default(),
            standing: Standing::default(),
            patience: Patience::default(),
            written: None,
        }
    }

    fn estimate(&mut self, observed: &Observed, waterline: &Waterline<'_>) {
        let Some(usage) = observed.usage else { return };
        let around = Surroundings {
            limit: observed.limit,
            demand: observed.demand,
            share: waterline.share(observed.request),
        };
        self.estimate = Some(match self.estimate {
            Some(known) => known.then(usage, around),
            None => Estimate::first(usage, around),
        });
    }
}
