//! Nodes whose kernel does not keep to limits.
//!
//! A kubelet with `cpuCFSQuota: false` takes limits and enforces none; its
//! configuration can be asked for only with `nodes/proxy`, which would allow far
//! more. So it is told by what cannot be otherwise: a container that uses a
//! quarter more than its limit for two windows. There MBCAS only recommends.

use std::collections::BTreeMap;
use std::time::Duration;

use mbcas_core::ContainerId;
use mbcas_core::units::MilliCpu;
use mbcas_market::NodeSnapshot;

/// How much more than its limit it has to use, in percent: counters are read a
/// little late or early, and a quota's slices run over by a little.
const EXCESS_PERCENT: u64 = 25;

/// In how many windows.
const WINDOWS: u8 = 2;

/// How long a node stays under suspicion after the last such window. Its kubelet may
/// have been started anew with other settings.
const MEMORY: Duration = Duration::from_hours(1);

/// What is known about nodes that do not keep to limits.
#[derive(Clone, Debug, Default)]
pub struct Unenforced {
    suspects: BTreeMap<ContainerId, Suspect>,
    nodes: BTreeMap<String, Duration>,
}

/// A container that used more than its limit.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    limit: MilliCpu,
    until: Duration,
    windows: u8,
}

impl Unenforced {
    /// Whether limits mean nothing on `node`.
    pub fn is_on(&self, node: &str) -> bool {
        self.nodes.contains_key(node)
    }

    /// One to whom `node` has given itself away.
    #[cfg(test)]
    pub(crate) fn known(node: &str) -> Self {
        let nodes = BTreeMap::from([(node.to_owned(), Duration::ZERO)]);
        Self {
            nodes,
            ..Self::default()
        }
    }

    /// The nodes on which limits mean nothing.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// Looks at what the kubelets saw; `now` is on the clock of the windows' ends.
    pub fn observe(&mut self, snapshots: &[NodeSnapshot], now: Duration) {
        let before = std::mem::take(&mut self.suspects);
        for snapshot in snapshots {
            for (id, observed) in &snapshot.participants {
                let (Some(usage), Some(limit)) = (observed.usage, observed.limit) else {
                    continue;
                };
                let known = before.get(id);
                if let Some(same) = known.filter(|known| known.until == usage.until) {
                    self.suspects.insert(id.clone(), *same);
                    continue;
                }
                // In the window before, it may have run under the limit before.
                let most = known.map_or(limit, |known| known.limit.max(limit));
                if usage.cpu <= most.scaled(100 + EXCESS_PERCENT, 100) {
                    continue;
                }
                // In the window of the first sight the limit may have been another: it does not count.
                let windows = known.map_or(0, |known| known.windows.saturating_add(1));
                if windows >= WINDOWS && self.nodes.insert(snapshot.node.clone(), now).is_none() {
                    let (node, usage) = (&snapshot.node, usage.cpu);
                    tracing::warn!(%node, container = %id, %usage, %limit, "Limits are not enforced on a node: only recommending there");
                }
                let until = usage.until;
                let suspect = Suspect {
                    limit,
                    until,
                    windows,
                };
                self.suspects.insert(id.clone(), suspect);
            }
        }
        self.nodes
            .retain(|_, last| now.saturating_sub(*last) < MEMORY);
    }
}

#[cfg(test)]
mod tests;
