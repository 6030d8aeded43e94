//! Who is at which node's market, and who is there besides.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use mbcas_api::NotParticipant;
use mbcas_core::annotations::Mode;
use mbcas_core::units::{Demand, MilliCpu};
use mbcas_core::{ContainerId, PodId};
use mbcas_market::weight::WeightCurve;
use mbcas_market::{NodeSnapshot, NodeSupply, NonParticipant, Observed, Usage};
use tokio::time::Instant;

use crate::budget_policies::PolicyView;
use crate::cluster::{Name, Participant, PodView, View};
use crate::ids::Ids;
use crate::kubelet::{UsageKey, UsageOf, Used};
use crate::report::Word;

/// What discovery found.
#[derive(Debug, Default)]
pub struct Discovery {
    /// The participants, by container, with the pod they are in.
    pub participants: BTreeMap<ContainerId, Found>,
    /// Pods of labelled namespaces that do not take part, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
    /// Those of them whose annotations cannot be read, and why.
    pub malformed: Vec<(PodId, String)>,
}

/// One participant as discovery found it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its node.
    pub node: Name,
    /// Where its agent can be asked; absent without an agent.
    pub agent: Option<IpAddr>,
    /// What it asks for and has.
    pub participation: Participant,
}

/// The participants among `view`'s pods: running pods of labelled namespaces that did not opt out. They
/// are called as they were when `ids` last met them.
pub fn discover(view: &View, ids: &mut Ids) -> Discovery {
    let mut discovery = Discovery::default();
    for pod in view
        .pods
        .values()
        .filter(|pod| view.namespaces.contains_key(pod.namespace()))
    {
        match &pod.participation {
            Ok(participation) => {
                let agent = pod
                    .address
                    .filter(|_| participation.asks.has_agent && !pod.template.host_network);
                let id = ids.of(pod, &participation.asks.container);
                let found = Found {
                    node: pod.node.clone(),
                    agent,
                    participation: participation.clone(),
                };
                discovery.participants.insert(id, found);
            }
            Err(reason) => {
                if let NotParticipant::Malformed(why) = reason {
                    discovery.malformed.push((pod.id(), why.clone()));
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
    /// The cap of a container where neither its pod nor its namespace says.
    pub default_max: MilliCpu,
    /// CPU that is kept out of every market.
    pub reserve: MilliCpu,
    /// How the nodes' kernels weigh requests, where that is known.
    pub curve: Option<WeightCurve>,
    /// How long a container keeps its cap after its start.
    pub startup_grace: Duration,
}

/// The moment at which a cycle looks, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The zero of the market's clock.
    pub zero: Instant,
    /// The time of day, to compare with what the cluster writes.
    pub wall: Timestamp,
}

/// One snapshot per node that has a participant.
pub fn snapshots(
    view: &View,
    discovery: &Discovery,
    words: &BTreeMap<ContainerId, Word>,
    usage: &UsageOf,
    terms: Terms,
    moment: Moment,
) -> Vec<NodeSnapshot> {
    let mut snapshots: BTreeMap<&str, NodeSnapshot> = BTreeMap::new();
    let silent = PolicyView::default();
    for (id, found) in &discovery.participants {
        let Some(node) = view.nodes.get(found.node.as_str()) else {
            continue;
        };
        let snapshot = snapshots.entry(&node.name).or_insert_with(|| NodeSnapshot {
            node: node.name.clone(),
            supply: NodeSupply {
                allocatable: node.allocatable,
                reserve: terms.reserve,
                cores: node.cores,
                curve: terms.curve,
            },
            ..NodeSnapshot::default()
        });
        let policy = view.policies.get(&id.pod.namespace).unwrap_or(&silent);
        let word = words.get(id).copied().unwrap_or(Word::NEUTRAL);
        let seen = Observed {
            demand: word.demand,
            measured: word.measured,
            usage: usage
                .get(&usage_key(id))
                .map(|used| used.since(moment.zero)),
            ..observed(&found.participation, policy, terms, moment.wall)
        };
        snapshot.participants.insert(id.clone(), seen);
    }
    for pod in view.pods.values() {
        if let Some(snapshot) = snapshots.get_mut(pod.node.as_str()) {
            snapshot.non_participants.extend(others(pod, view, usage));
        }
    }
    snapshots.into_values().collect()
}

/// What the pod says within its namespace's bounds; demand and usage come from elsewhere, and how
/// far MBCAS may go is [`crate::permit`]'s to say.
fn observed(
    participant: &Participant,
    policy: &PolicyView,
    terms: Terms,
    now: Timestamp,
) -> Observed {
    let settings = &participant.asks.settings;
    Observed {
        request: participant.asks.request,
        limit: participant.limit(),
        min_cpu: policy.floor(settings.min_cpu),
        max_cpu: Some(policy.cap(settings.max_cpu, terms.default_max)),
        budget: policy.budget(settings.budget).into(),
        is_scaled: false,
        demand: Demand::NEUTRAL,
        measured: None,
        usage: None,
        starting: is_starting(participant.started, terms.startup_grace, now),
        mode: Mode::Observe,
    }
}

/// A start that lies in the future by more than clocks differ is not believed.
fn is_starting(started: Option<Timestamp>, grace: Duration, now: Timestamp) -> bool {
    const CLOCKS_DIFFER: i64 = 60;
    let age = started.map(|started| now.as_second() - started.as_second());
    age.is_some_and(|age| (-CLOCKS_DIFFER..grace.as_secs().cast_signed()).contains(&age))
}

impl Used {
    fn since(self, zero: Instant) -> Usage {
        Usage {
            cpu: self.cpu,
            until: self.seen.saturating_duration_since(zero),
        }
    }
}

/// How the kubelet names `id`.
pub(crate) fn usage_key(id: &ContainerId) -> UsageKey {
    (
        id.pod.namespace.clone(),
        id.pod.name.clone(),
        id.container.clone(),
    )
}

/// The containers of `pod` that do not take part.
fn others<'a>(
    pod: &'a PodView,
    view: &View,
    usage: &'a UsageOf,
) -> impl Iterator<Item = NonParticipant> + 'a {
    let participant = pod.participation.as_ref().ok();
    let participant = participant.filter(|_| view.namespaces.contains_key(pod.namespace()));
    pod.containers()
        .filter(move |container| participant.is_none_or(|p| p.asks.container != container.name))
        .map(|container| {
            let key = (
                pod.namespace().to_owned(),
                pod.name(),
                container.name.as_str().to_owned(),
            );
            NonParticipant {
                request: container.request,
                usage: usage.get(&key).map(|used| used.cpu),
                limit: container.limit,
            }
        })
}

#[cfg(test)]
mod tests;
