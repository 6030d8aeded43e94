//! From a written limit to one that holds: late, and counted.

use mbcas_core::MilliCpu;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::time::Nanos;

/// How long a kubelet takes to bring a limit to the kernel, in milliseconds.
const DELAY: std::ops::RangeInclusive<u64> = 100..=2_000;

/// Writes of one pod's limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// How many.
    pub count: u64,
    /// Those in the other direction than the one before.
    pub reversals: u64,
    grew: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    spec: Option<MilliCpu>,
    status: Option<MilliCpu>,
    due: Option<Nanos>,
    writes: Writes,
}

/// The limits of a node's pods, as wanted and as they hold.
#[derive(Clone, Debug)]
pub struct Actuator {
    slots: Vec<Slot>,
    random: ChaCha8Rng,
    due: Option<Nanos>,
}

impl Actuator {
    /// Pods that were created with these limits.
    pub fn new(limits: impl IntoIterator<Item = Option<MilliCpu>>, seed: u64) -> Self {
        let slot = |limit| Slot {
            spec: limit,
            status: limit,
            due: None,
            writes: Writes::default(),
        };
        Self {
            slots: limits.into_iter().map(slot).collect(),
            random: ChaCha8Rng::seed_from_u64(seed),
            due: None,
        }
    }

    /// Writes `limit` for `pod` at `now`, and tells when it will hold: at once
    /// where that is done on the node itself. A limit that is there already is not written.
    pub fn write(&mut self, pod: usize, limit: MilliCpu, now: Nanos, at_once: bool) -> Nanos {
        let delay = if at_once {
            Nanos::ZERO
        } else {
            Nanos::millis(self.random.random_range(DELAY))
        };
        let slot = &mut self.slots[pod];
        if slot.spec == Some(limit) {
            return now;
        }
        // From no limit to one is less than there was.
        let grew = slot.spec.is_some_and(|old| old < limit);
        slot.writes.count += 1;
        slot.writes.reversals += u64::from(slot.writes.grew.is_some_and(|before| before != grew));
        slot.writes.grew = Some(grew);
        slot.spec = Some(limit);
        slot.due = Some(now + delay);
        self.due = self.slots.iter().filter_map(|slot| slot.due).min();
        now + delay
    }

    /// Calls `apply` for each limit that begins to hold at `now`.
    pub fn settle(&mut self, now: Nanos, mut apply: impl FnMut(usize, MilliCpu)) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        for (pod, slot) in self.slots.iter_mut().enumerate() {
            if slot.due.is_some_and(|due| now >= due) {
                slot.due = None;
                slot.status = slot.spec;
                if let Some(limit) = slot.status {
                    apply(pod, limit);
                }
            }
        }
        self.due = self.slots.iter().filter_map(|slot| slot.due).min();
    }

    /// The limit that the market has to count with: while one is on its way, the larger.
    pub fn limit(&self, pod: usize) -> Option<MilliCpu> {
        let slot = &self.slots[pod];
        Some(slot.spec?.max(slot.status?))
    }

    /// What was written for `pod` so far.
    pub fn writes(&self, pod: usize) -> Writes {
        self.slots[pod].writes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_after_its_delay_and_turns_are_counted() {
        let [low, high] = [200, 900].map(MilliCpu::new);
        let mut actuator = Actuator::new([Some(low), None], 3);
        let mut held = Vec::new();
        for ms in 0..10_000 {
            let now = Nanos::millis(ms);
            let write = match ms {
                0 | 1 | 6_000 => Some((0, high, false)),
                3_000 => Some((0, low, false)),
                9_000 => Some((1, low, true)),
                _ => None,
            };
            if let Some((pod, limit, at_once)) = write {
                actuator.write(pod, limit, now, at_once);
            }
            actuator.settle(now, |pod, limit| held.push((ms, pod, limit)));
            if ms == 3_000 {
                assert_eq!(actuator.limit(0), Some(high), "it still holds");
            }
        }
        let limits: Vec<_> = held.iter().map(|(_, pod, limit)| (*pod, *limit)).collect();
        assert_eq!(limits, [(0, high), (0, low), (0, high), (1, low)]);
        assert!((100..=2_000).contains(&held[0].0) && held[3].0 == 9_000);
        let writes = actuator.writes(0);
        assert_eq!((writes.count, writes.reversals), (3, 2));
    }
}
