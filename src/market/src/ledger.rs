//! What the market of one node remembers between cycles.

use std::collections::BTreeMap;
use std::time::Duration;

use mbcas_core::{ContainerId, Demand, MilliCpu};

use crate::bid::SmoothDemand;
use crate::guard::Direction;
use crate::input::NodeSnapshot;
use crate::plan::Write;
use crate::policy::Policy;

/// The memory of one node's market. A new leader starts with an empty one: the
/// limits are in the cluster, and what is lost is at most one half-life of
/// smoothing and one cooldown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    entries: BTreeMap<ContainerId, Entry>,
    capacity: Option<MilliCpu>,
}

/// What is remembered of one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    demand: SmoothDemand,
    at: Duration,
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
        self.entries.get(id).map(|entry| entry.demand.value())
    }

    /// The last limit that we wrote for `id`.
    pub fn written(&self, id: &ContainerId) -> Option<&Written> {
        self.entries
            .get(id)
            .and_then(|entry| entry.written.as_ref())
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

    /// The memory with what `snapshot` shows added: every participant's demand
    /// smoothed, containers that are gone forgotten.
    pub(crate) fn observe(&self, snapshot: &NodeSnapshot, policy: &Policy, now: Duration) -> Self {
        let half_life = policy.settings().half_life;
        let seen = snapshot.participants.iter().map(|(id, observed)| {
            let known = self.entries.get(id);
            let demand = known.map_or_else(
                || SmoothDemand::first(observed.demand),
                |known| {
                    known
                        .demand
                        .then(observed.demand, now.saturating_sub(known.at), half_life)
                },
            );
            let entry = Entry {
                demand,
                at: now,
                written: known.and_then(|known| known.written),
            };
            (id.clone(), entry)
        });
        Self {
            entries: seen.collect(),
            capacity: self.capacity,
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
