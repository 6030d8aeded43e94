//! All kubelets that a cycle asks, together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use kube::Client;

use crate::cluster::NodeView;
use crate::kubelet::{Kubelet, UsageOf};

/// How many kubelets are asked at once.
const AT_ONCE: usize = 64;

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

    /// Asks the kubelets of `nodes`, and of no others.
    pub async fn ask(&mut self, nodes: &[&NodeView]) -> Evidence {
        self.keep(nodes);
        let mut evidence = Evidence {
            failures: (nodes.len() - self.known.len()) as u64,
            ..Evidence::default()
        };
        let client = &self.client;
        let questions: Vec<_> = self
            .known
            .values_mut()
            .map(|kubelet| kubelet.read(client).boxed())
            .collect();
        let mut answers = futures::stream::iter(questions).buffer_unordered(AT_ONCE);
        while let Some(answer) = answers.next().await {
            if let Err(error) = answer {
                evidence.failures += 1;
                tracing::warn!(%error, "No usage from a kubelet; its non-participants count with their weight share");
            }
        }
        drop(answers);
        for (node, kubelet) in &self.known {
            let usage = kubelet.usage().map(|(key, used)| (Arc::clone(key), used));
            evidence.usage.extend(usage);
            if kubelet.is_warming_up() {
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
