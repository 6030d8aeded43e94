//! Who is at which node's market, and who is there besides.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mbcas_api::{NotParticipant, Participation};
use mbcas_core::annotations::Mode;
use mbcas_core::units::{Demand, MilliCpu};
use mbcas_core::{Budget, ContainerId};
use mbcas_market::{NodeSnapshot, NodeSupply, NonParticipant, Observed};

use crate::cluster::{PodView, View};
use crate::kubelet::UsageKey;

/// What discovery found.
#[derive(Debug, Default)]
pub struct Discovery {
    /// The participants, by container, with the pod they are in.
    pub participants: BTreeMap<ContainerId, Found>,
    /// Pods of labelled namespaces that do not take part, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
}

/// One participant as discovery found it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its node.
    pub node: String,
    /// Where its agent can be asked; absent without an agent.
    pub agent: Option<IpAddr>,
    /// What it asks for and has.
    pub participation: Participation,
}

/// The participants among `view`'s pods: running pods of labelled namespaces that did not opt out.
pub fn discover(view: &View) -> Discovery {
    let mut discovery = Discovery::default();
    for pod in view
        .pods
        .values()
        .filter(|pod| view.namespaces.contains(&pod.id.namespace))
    {
        match &pod.participation {
            Ok(participation) => {
                let agent = pod
                    .address
                    .filter(|_| participation.has_agent && !pod.host_network);
                let id = pod.container(&participation.container);
                let found = Found {
                    node: pod.node.clone(),
                    agent,
                    participation: participation.clone(),
                };
                discovery.participants.insert(id, found);
            }
            Err(reason) => {
                if let NotParticipant::Malformed(why) = reason {
                    tracing::warn!(pod = %pod.id, %why, "A pod is left out: its annotations cannot be read");
                }
                *discovery.left_out.entry(reason.reason()).or_default() += 1;
            }
        }
    }
    discovery
}

/// What a cycle assumes about every node alike.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How far the controller goes at most.
    pub mode: Mode,
    /// CPU that is kept out of every market.
    pub reserve: MilliCpu,
}

/// One snapshot per node that has a participant.
pub fn snapshots(
    view: &View,
    discovery: &Discovery,
    demand: &BTreeMap<ContainerId, Demand>,
    usage: &BTreeMap<UsageKey, MilliCpu>,
    terms: Terms,
) -> Vec<NodeSnapshot> {
    let mut snapshots: BTreeMap<&str, NodeSnapshot> = BTreeMap::new();
    for (id, found) in &discovery.participants {
        let Some(node) = view.nodes.get(&found.node) else {
            continue;
        };
        let snapshot = snapshots.entry(&node.name).or_insert_with(|| NodeSnapshot {
            node: node.name.clone(),
            supply: NodeSupply {
                allocatable: node.allocatable,
                reserve: terms.reserve,
            },
            ..NodeSnapshot::default()
        });
        let demand = demand.get(id).copied().unwrap_or(Demand::NEUTRAL);
        snapshot.participants.insert(
            id.clone(),
            observed(&found.participation, demand, terms.mode),
        );
    }
    for pod in view.pods.values() {
        if let Some(snapshot) = snapshots.get_mut(pod.node.as_str()) {
            snapshot
                .non_participants
                .extend(others(pod, discovery, usage));
        }
    }
    snapshots.into_values().collect()
}

fn observed(participation: &Participation, demand: Demand, mode: Mode) -> Observed {
    let settings = &participation.settings;
    Observed {
        request: participation.request,
        limit: participation.limit,
        min_cpu: settings.min_cpu,
        max_cpu: settings.max_cpu,
        budget: settings.budget.unwrap_or(Budget::DEFAULT),
        demand,
        mode: settings.mode.unwrap_or(mode).min(mode),
    }
}

/// The containers of `pod` that do not take part.
fn others<'a>(
    pod: &'a PodView,
    discovery: &'a Discovery,
    usage: &'a BTreeMap<UsageKey, MilliCpu>,
) -> impl Iterator<Item = NonParticipant> + 'a {
    let takes_part = |name: &str| discovery.participants.contains_key(&pod.container(name));
    pod.containers
        .iter()
        .filter(move |c| !takes_part(&c.name))
        .map(|container| {
            let key = (
                pod.id.namespace.clone(),
                pod.id.name.clone(),
                container.name.clone(),
            );
            // Without a reading it counts with its whole weight share, the most that it could take.
            let used = usage.get(&key).copied().unwrap_or(MilliCpu::new(u64::MAX));
            NonParticipant {
                request: container.request,
                usage: used,
                limit: container.limit,
            }
        })
}

#[cfg(test)]
mod tests;
