//! What a cycle asks others for: agents how urgent it is, kubelets what was used.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use mbcas_core::ContainerId;

use crate::cluster::{NodeView, View};
use crate::demand::{Demands, Readings};
use crate::discover::Discovery;
use crate::kubelets::{Evidence, Kubelets};

/// Everybody who is asked.
pub struct Senses {
    /// Every agent's last word.
    pub demands: Demands,
    /// The kubelets.
    pub kubelets: Kubelets,
}

/// Whom a cycle asks.
#[derive(Debug)]
pub struct Questions {
    /// Where the containers' agents are; nowhere without one.
    agents: BTreeMap<ContainerId, Option<IpAddr>>,
    /// The nodes that have a participant.
    nodes: Vec<NodeView>,
}

/// What a cycle heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// Of the agents.
    pub readings: Readings,
    /// Of the kubelets.
    pub evidence: Evidence,
}

impl Questions {
    /// Those about the participants that were found.
    pub fn of(view: &View, discovery: &Discovery) -> Self {
        let participants = discovery.participants.iter();
        let agents = participants.map(|(id, found)| (id.clone(), found.agent));
        let found = discovery.participants.values();
        let nodes: BTreeSet<&str> = found.map(|found| found.node.as_str()).collect();
        let nodes = nodes.into_iter().filter_map(|name| view.nodes.get(name));
        Self {
            agents: agents.collect(),
            nodes: nodes.cloned().collect(),
        }
    }
}

impl Senses {
    /// Asks agents and kubelets, at the same time, for a cycle of this `interval`.
    pub async fn ask(&mut self, questions: Questions, interval: Duration) -> Heard {
        let Questions { agents, nodes } = questions;
        let nodes: Vec<_> = nodes.iter().collect();
        let demand = self.demands.read(&agents, interval);
        let (readings, evidence) = tokio::join!(demand, self.kubelets.ask(&nodes, interval));
        Heard { readings, evidence }
    }
}
