//! All kubelets that a cycle asks, together.

use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt};
use kube::Config;
use mbcas_core::units::MilliCpu;

use crate::cluster::NodeView;
use crate::kubelet::{Kubelet, KubeletTls, UsageKey};

/// How many kubelets are asked at once.
const AT_ONCE: usize = 64;

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

    /// Usage by container on `nodes`, and how many of their kubelets gave none.
    pub async fn usage(&mut self, nodes: &[&NodeView]) -> (BTreeMap<UsageKey, MilliCpu>, u64) {
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
        let mut usage = BTreeMap::new();
        let mut failures = (nodes.len() - self.known.len()) as u64;
        let questions: Vec<_> = self
            .known
            .values_mut()
            .map(|kubelet| kubelet.usage().boxed())
            .collect();
        let answers = futures::stream::iter(questions).buffer_unordered(AT_ONCE);
        let answers: Vec<_> = answers.collect().await;
        for answer in answers {
            match answer {
                Ok(found) => usage.extend(found.iter().map(|(key, cpu)| (key.clone(), *cpu))),
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, "No usage from a kubelet; its non-participants count with their weight share");
                }
            }
        }
        (usage, failures)
    }
}
