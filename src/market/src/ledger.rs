//! What the market of one node remembers between cycles.

use std::collections::BTreeMap;
use std::time::Duration;

use mbcas_core::{ContainerId, Demand, MilliCpu};
use serde::{Deserialize, Serialize};

use crate::anomaly::Anomaly;
use crate::claim::{self, Claims, Signal};
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub(crate) entries: BTreeMap<ContainerId, Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capacity: Option<MilliCpu>,
    pub(crate) now: Duration,
}

/// What is remembered of one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// In basis points.
    pub(crate) demand: Smooth,
    pub(crate) at: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) estimate: Option<Estimate>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) claims: Claims,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) standing: Standing,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) patience: Patience,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) written: Option<Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<Duration>,
}

/// The last limit that we wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The limit.
    pub limit: MilliCpu,
    /// When, on the clock that `plan` is given.
    pub at: Duration,
    /// Whether it was less or more than before.
    pub direction: Direction,
}

/// What is so of most containers is not written down.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Ledger {
    /// The smoothed demand of `id`, as the last clearing used it.
    pub fn demand(&self, id: &ContainerId) -> Option<Demand> {
        self.entries.get(id).map(Entry::demand)
    }

    /// The least demand of `id` that would be heard as a jump: see [`crate::claim`]. None while
    /// no claim of its would be, and for somebody who is not known.
    pub(crate) fn jump(&self, id: &ContainerId) -> Option<Demand> {
        let entry = self.entries.get(id)?;
        let is_heard = entry.claims.amount().is_none()
            && entry.claims.blocked_until() <= self.now
            && entry.standing != Standing::Short;
        claim::jump(entry.demand()).filter(|_| is_heard)
    }

    /// What is odd about what the agent of `id` says, who was last seen as `observed`.
    pub fn anomaly(&self, id: &ContainerId, observed: &Observed) -> Option<Anomaly> {
        Anomaly::of(self.entries.get(id)?, observed, self.now)
    }

    /// The last limit that we wrote for `id`.
    pub fn written(&self, id: &ContainerId) -> Option<&Written> {
        self.entries.get(id)?.written.as_ref()
    }

    /// What is known about the need of `id`.
    pub fn estimate(&self, id: &ContainerId) -> Option<&Estimate> {
        self.entries.get(id)?.estimate.as_ref()
    }

    /// The capacity that the last clearing had.
    pub fn capacity(&self) -> Option<MilliCpu> {
        self.capacity
    }

    /// Since when a write for `id` has been put off for others that gain more.
    pub fn waiting(&self, id: &ContainerId) -> Option<Duration> {
        self.entries.get(id)?.waiting
    }

    /// Takes a write back that did not reach the cluster: `id` is remembered as
    /// `before`, the ledger that the plan was made from, had it.
    pub fn take_back(&mut self, id: &ContainerId, before: &Self) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.written = before.written(id).copied();
        }
    }

    /// As [`Self::take_back`], for a write that was put off for others that gain more.
    pub(crate) fn put_off(&mut self, id: &ContainerId, before: &Self) {
        self.take_back(id, before);
        let (now, since) = (self.now, before.waiting(id));
        if let Some(entry) = self.entries.get_mut(id) {
            entry.waiting = since.or(Some(now));
        }
    }

    /// The time that the cycle at hand was given.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// What is remembered, in the order of the snapshot that was observed last.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&ContainerId, &Entry)> {
        self.entries.iter()
    }

    /// The same, to be changed.
    pub(crate) fn entries_mut(&mut self) -> impl Iterator<Item = (&ContainerId, &mut Entry)> {
        self.entries.iter_mut()
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
        let mut entries = self.known(snapshot, now);
        // Both are ordered by id.
        for (entry, observed) in entries.values_mut().zip(snapshot.participants.values()) {
            let (elapsed, sample) = (now.saturating_sub(entry.at), observed.demand.basis_points());
            entry.demand = entry.demand.then(sample, elapsed, half_life);
            entry.at = now;
            entry.waiting = None;
            entry.look(observed, waterline);
        }
        Self {
            entries,
            capacity: self.capacity,
            now,
        }
    }

    /// What is remembered of exactly those in `snapshot`, new ones included.
    ///
    /// As a rule they are those of the cycle before: then no name is searched for. Names stay those
    /// that were remembered, and a plan points to them: a snapshot's own go with it.
    fn known(&self, snapshot: &NodeSnapshot, now: Duration) -> BTreeMap<ContainerId, Entry> {
        let mut entries = self.entries.clone();
        if !entries.keys().eq(snapshot.participants.keys()) {
            entries.retain(|id, _| snapshot.participants.contains_key(id));
            for (id, observed) in &snapshot.participants {
                let new = || Entry::new(observed, now);
                entries.entry(id.clone()).or_insert_with(new);
            }
        }
        entries
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
            waiting: None,
        }
    }

    /// Adds the newest usage. Without any it is known for a while yet, and then nobody: no word of before is
    /// held against it.
    fn look(&mut self, observed: &Observed, waterline: &Waterline<'_>) {
        let Some(usage) = observed.usage else {
            if self.estimate.is_some_and(|known| known.is_old(self.at)) {
                (self.estimate, self.standing) = (None, Standing::default());
            }
            return;
        };
        let around = Surroundings {
            limit: observed.limit,
            demand: observed.demand,
            measured: observed.measured,
            share: waterline.share(observed.request),
        };
        self.estimate = Some(match self.estimate {
            Some(known) => known.then(usage, around),
            None => Estimate::first(usage, around),
        });
    }

    /// Its demand on average.
    pub(crate) fn demand(&self) -> Demand {
        Demand::from_basis_points(self.demand.value())
    }

    /// What is known about its need.
    pub(crate) fn estimate(&self) -> Option<&Estimate> {
        self.estimate.as_ref()
    }

    /// Notes `write` as done.
    pub(crate) fn note(&mut self, write: &Write, now: Duration) {
        self.written = Some(Written {
            limit: write.to,
            at: now,
            direction: write.direction(),
        });
    }

    /// The last limit that we wrote for it.
    pub(crate) fn written(&self) -> Option<&Written> {
        self.written.as_ref()
    }

    /// How it stood after the last clearing.
    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// Hears `signal`, and returns what is claimed.
    pub(crate) fn claims(&mut self, signal: &Signal) -> Option<MilliCpu> {
        self.claims = self.claims.then(signal);
        self.claims.amount()
    }

    /// Notes what tier A gave of its need, and returns how it stands.
    pub(crate) fn stands(&mut self, need: MilliCpu, given: MilliCpu, now: Duration) -> Standing {
        let is_held = self.estimate.is_some_and(|known| known.is_held());
        self.standing = self.standing.then(need, given, is_held, now);
        self.standing
    }
}
