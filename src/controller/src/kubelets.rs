//! All kubelets that a cycle asks, together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kube::Client;
use mbcas_market::need::{KNOWN_FOR, KNOWN_WINDOWS};
use tokio::time::{Instant, timeout_at};

use crate::cluster::NodeView;
use crate::kubelet::{Kubelet, UsageOf};

/// How many kubelets are asked at once: 5,000 that take 0.1 s each are read in 2 s.
const AT_ONCE: usize = 256;

/// What the kubelets said.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Usage, by container; absent for containers without two readings.
    pub usage: UsageOf,
    /// How many kubelets could not be read.
    pub failures: u64,
    /// Nodes of which it is too early to say what their containers use.
    pub warming_up: BTreeSet<String>,
}

/// The kubelets of the nodes that have a market.
pub struct Kubelets {
    client: Client,
    known: BTreeMap<String, Kubelet>,
}

impl Kubelets {
    /// Kubelets that are asked through `client` ([`crate::kubelet::client`]).
    pub const fn new(client: Client) -> Self {
        Self {
            client,
            known: BTreeMap::new(),
        }
    }

    /// Asks the kubelets of `nodes`, and of no others, for as long as half of the `interval` between two cycles
    /// in all. A part of the cluster that is cut off takes no time from the rest ([`Kubelet::order`]).
    pub async fn ask(&mut self, nodes: &[&NodeView], interval: Duration) -> Evidence {
        self.keep(nodes);
        let mut evidence = Evidence::default();
        let (client, end) = (&self.client, Instant::now() + interval / 2);
        let mut kubelets: Vec<_> = self.known.values_mut().collect();
        kubelets.sort_by_key(|kubelet| kubelet.order());
        let mut left = nodes.len();
        let questions = kubelets
            .into_iter()
            .map(|kubelet| kubelet.read(client).boxed());
        let questions: Vec<_> = questions.collect();
        let mut answers = futures::stream::iter(questions).buffer_unordered(AT_ONCE);
        while let Ok(Some(answer)) = timeout_at(end, answers.next()).await {
            match answer {
                Ok(()) => left -= 1,
                Err(error) => {
                    tracing::warn!(%error, "No usage from a kubelet; its non-participants count with their weight share");
                }
            }
        }
        drop(answers);
        evidence.failures = left as u64;
        for (node, kubelet) in &mut self.known {
            // As long as the market remembers: a kubelet that is restarted is back sooner.
            kubelet.forget_older(KNOWN_FOR.max(interval * KNOWN_WINDOWS));
            let usage = kubelet.usage().map(|(key, used)| (Arc::clone(key), used));
            evidence.usage.extend(usage);
            if kubelet.is_warming_up(interval) {
                evidence.warming_up.insert(node.clone());
            }
        }
        evidence
    }

    /// Knows the kubelets of `nodes` and of no others; one that has moved is another.
    fn keep(&mut self, nodes: &[&NodeView]) {
        let mut before = std::mem::take(&mut self.known);
        for node in nodes {
            let Some((address, port)) = &node.kubelet else {
                continue;
            };
            match Kubelet::new(&node.name, address, *port) {
                Ok(new) => {
                    let old = before.remove(&node.name).filter(|old| old.is_at(&new));
                    self.known.insert(node.name.clone(), old.unwrap_or(new));
                }
                Err(error) => tracing::warn!(%error, "A kubelet cannot be asked"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
