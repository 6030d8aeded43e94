//! All kubelets that a cycle asks, together.

use std::collections::{BTreeMap, BTreeSet};

use futures::{FutureExt, StreamExt};
use kube::Config;

use crate::cluster::NodeView;
use crate::kubelet::{Kubelet, KubeletTls, UsageKey, Used};

/// How many kubelets are asked at once.
const AT_ONCE: usize = 64;

/// What the kubelets said.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Usage, by container; absent for containers without two readings.
    pub usage: BTreeMap<UsageKey, Used>,
    /// How many kubelets could not be read.
    pub failures: u64,
    /// Nodes of which it is too early to say what their containers use.
    pub warming_up: BTreeSet<String>,
}

/// The kubelets of the nodes that have a market.
pub struct Kubelets {
    config: Config,
    tls: KubeletTls,
    known: BTreeMap<NodeView, Kubelet>,
}

impl Kubelets {
    /// Kubelets that are asked with the identity in `config`.
    pub fn new(config: Config, tls: KubeletTls) -> Self {
        Self {
            config,
            tls,
            known: BTreeMap::new(),
        }
    }

    /// Asks the kubelets of `nodes`, and of no others.
    pub async fn ask(&mut self, nodes: &[&NodeView]) -> Evidence {
        self.known.retain(|node, _| nodes.contains(&node));
        for node in nodes
            .iter()
            .filter(|node| !self.known.contains_key(node))
            .collect::<Vec<_>>()
        {
            let Some((address, port)) = &node.kubelet else {
                continue;
            };
            match Kubelet::new(&node.name, address, *port, &self.tls, &self.config) {
                Ok(kubelet) => drop(self.known.insert((*node).clone(), kubelet)),
                Err(error) => tracing::warn!(%error, "A kubelet cannot be asked"),
            }
        }
        let mut evidence = Evidence {
            failures: (nodes.len() - self.known.len()) as u64,
            ..Evidence::default()
        };
        let questions: Vec<_> = self
            .known
            .values_mut()
            .map(|kubelet| kubelet.usage().boxed())
            .collect();
        let answers = futures::stream::iter(questions).buffer_unordered(AT_ONCE);
        let answers: Vec<_> = answers.collect().await;
        for answer in answers {
            match answer {
                Ok(found) => evidence
                    .usage
                    .extend(found.iter().map(|(key, used)| (key.clone(), *used))),
                Err(error) => {
                    evidence.failures += 1;
                    tracing::warn!(%error, "No usage from a kubelet; its non-participants count with their weight share");
                }
            }
        }
        evidence.warming_up = self
            .known
            .iter()
            .filter(|(_, kubelet)| kubelet.is_warming_up())
            .map(|(node, _)| node.name.clone())
            .collect();
        evidence
    }
}
